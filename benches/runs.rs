//! The benchmarks: what is started, in which order, over which window it is measured, and what is printed.

mod fanout;
mod others;
mod stage;

use std::fs;

use crate::report::{Row, json, table};
use crate::{Options, Res, day, lockstep, process, reload};

/// The names for the help text.
pub const NAMES: &str = "NAME is one or more of:\n\
    \x20 fanout      CPU per GB and memory a viewer over the number of viewers, beside the floor\n\
    \x20 latency     publisher to viewer, merged and min_latency\n\
    \x20 storm       1000 joins in one second: time to the first whole keyframe, and what steady viewers notice\n\
    \x20 slow        half of the viewers stop reading: what the others notice, what memory it costs\n\
    \x20 publishers  many publishers with few viewers\n\
    \x20 day         24 hours of turns under a virtual clock: what grows\n\
    \x20 lockstep    a fixed number of messages, each waited for: for instruction counts (callgrind.sh)\n\
    \x20 reload      a file of 1000 vhosts read again: what the loop pays\n\
    \x20 all         all but lockstep";

const ALL: [&str; 7] = ["fanout", "latency", "storm", "slow", "publishers", "day", "reload"];

/// Runs the named benchmarks one after the other.
pub fn run(options: &Options) -> Res<()> {
    fs::create_dir_all(&options.out).map_err(|e| e.to_string())?;
    let all = options.names.iter().any(|name| name == "all");
    let names: Vec<&str> =
        if all { ALL.to_vec() } else { options.names.iter().map(String::as_str).collect() };
    for name in names {
        eprintln!("== {name} ({})", process::machine());
        match name {
            "fanout" => fanout::fanout(options)?,
            "latency" => fanout::latency(options)?,
            "storm" => others::storm(options)?,
            "slow" => others::slow(options)?,
            "publishers" => others::publishers(options)?,
            "day" => day::run(options)?,
            "lockstep" => lockstep::run(options)?,
            "reload" => reload::run(options)?,
            other => return Err(format!("unknown benchmark: {other}\n\n{NAMES}")),
        }
    }
    Ok(())
}

/// Prints the table and writes the JSON.
pub fn publish_results(options: &Options, name: &str, rows: &[Row], columns: &[&str]) -> Res<()> {
    println!("\n{name}\n{}", table(rows, columns));
    let head = [("benchmark", name.to_string()), ("machine", process::machine())];
    let path = options.out.join(format!("{name}.json"));
    fs::write(&path, json(&head, rows)).map_err(|e| e.to_string())?;
    println!("{}", path.display());
    Ok(())
}
