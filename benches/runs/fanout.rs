//! `fanout` and `latency`: one stream, many viewers.

use std::fs;
use std::time::Duration;

use super::publish_results;
use super::stage::{Join, Stage, pass};
use crate::control::num;
use crate::report::{Line, Panel, Row, svg};
use crate::subject::{Kind, Setup};
use crate::{Options, Res};

const JOINS_PER_MS: u64 = 2;
const UNMERGED_MAX: u64 = 1_000;

struct Case<'a> {
    kind: Kind,
    proto: &'a str,
    viewers: u64,
    sample: u64,
    setup: Setup,
}

/// CPU per GB and memory over the number of viewers; floor and servers take turns.
pub fn fanout(options: &Options) -> Res<()> {
    let default: &[u64] = if options.quick { &[100, 1_000] } else { &[100, 1_000, 5_000, 9_000] };
    let counts = if options.viewers.is_empty() { default.to_vec() } else { options.viewers.clone() };
    let mut rows = Vec::new();
    for merge_ms in merges(options) {
        let setup = Setup { merge_ms, kbps: rate(options, 500), gop: options.gop };
        for viewers in counts.iter().copied() {
            if merge_ms == 0 && viewers > UNMERGED_MAX && options.viewers.is_empty() {
                continue;
            }
            rows.extend(compare(options, setup, viewers)?);
        }
    }
    let columns = [
        "subject",
        "proto",
        "mw_ms",
        "viewers",
        "rep",
        "alive",
        "cpu_pct",
        "wait_pct",
        "load_cpu_pct",
        "gb",
        "cpu_s_per_gb",
        "ratio",
        "writes_s",
        "anon_mb",
        "viewer_bytes",
        "spread_pct",
        "gaps",
        "faults",
        "p50_ms",
        "p99_ms",
        "max_ms",
        "turn_p99_ms",
        "turn_max_ms",
    ];
    publish_results(options, "fanout", &rows, &columns)?;
    let path = options.out.join("fanout.svg");
    fs::write(&path, plot(&rows)).map_err(|e| e.to_string())?;
    println!("{}", path.display());
    Ok(())
}

/// Latency of 100 viewers, all of which parse all they get.
pub fn latency(options: &Options) -> Res<()> {
    let viewers = options.viewers.first().copied().unwrap_or(100);
    let mut rows = Vec::new();
    for merge_ms in merges(options) {
        let setup = Setup { merge_ms, kbps: rate(options, 500), gop: options.gop };
        for rep in 0..options.reps {
            for (kind, proto) in servers(options) {
                let mut row = steady(options, &Case { kind, proto, viewers, sample: viewers, setup })?;
                row.num("rep", rep as f64);
                rows.push(row);
            }
        }
    }
    let columns = [
        "subject", "proto", "mw_ms", "viewers", "rep", "alive", "cpu_pct", "wait_pct", "frames", "gaps",
        "faults", "p50_ms", "p99_ms", "max_ms",
    ];
    publish_results(options, "latency", &rows, &columns)
}

fn merges(options: &Options) -> Vec<u64> {
    if options.merges.is_empty() { vec![350, 0] } else { options.merges.clone() }
}

fn rate(options: &Options, default: u64) -> u64 {
    if options.kbps == 0 { default } else { options.kbps }
}

/// Every server with each protocol it can serve.
fn servers(options: &Options) -> Vec<(Kind, &str)> {
    let mut all = Vec::new();
    for kind in options.kinds.iter().copied().filter(|kind| *kind != Kind::Floor) {
        for proto in &options.protocols {
            if kind == Kind::Runnel || proto == "rtmp" {
                all.push((kind, proto.as_str()));
            }
        }
    }
    all
}

/// The runs of one point: floor, servers, floor, servers ... floor. Each ratio is to the floors around it.
fn compare(options: &Options, setup: Setup, viewers: u64) -> Res<Vec<Row>> {
    let floor = |rep: u64| {
        let case = Case { kind: Kind::Floor, proto: "raw", viewers, sample: 0, setup };
        steady(options, &case).map(|mut row| {
            row.num("rep", rep as f64);
            row
        })
    };
    let mut rows = vec![floor(0)?];
    for rep in 0..options.reps {
        let before = rows.last().and_then(|row| row.get("cpu_s_per_gb")).unwrap_or(f64::NAN);
        let mut group = Vec::new();
        for (kind, proto) in servers(options) {
            let mut row = steady(options, &Case { kind, proto, viewers, sample: options.sample, setup })?;
            row.num("rep", rep as f64);
            group.push(row);
        }
        let last = floor(rep + 1)?;
        let mean = (before + last.get("cpu_s_per_gb").unwrap_or(f64::NAN)) / 2.0;
        for mut row in group {
            row.num("ratio", row.get("cpu_s_per_gb").unwrap_or(f64::NAN) / mean);
            rows.push(row);
        }
        rows.push(last);
    }
    Ok(rows)
}

/// One run: join, settle, measure a steady window.
fn steady(options: &Options, case: &Case) -> Res<Row> {
    let Case { kind, proto, viewers, sample, setup } = *case;
    let mut stage = Stage::start(kind, setup, options)?;
    // Until the cache has been as large as it gets: two GOPs, less a frame, and what comes between two trims.
    stage.publish(setup, 1, 0, Duration::from_millis(setup.gop * 2000 + 1500))?;
    let alone = crate::process::Sample::take(stage.subject.pid());
    stage.join(&Join {
        group: "all",
        proto,
        viewers,
        sample,
        over_ms: (viewers / JOINS_PER_MS).max(500),
        receive_buffer: 0,
    })?;
    stage.wait_joined()?;
    std::thread::sleep(Duration::from_millis(2_000 + setup.merge_ms));
    let mut window = stage.window(pass(options.window_s))?;
    let seen = window.seen("all");
    let mut row = Row::default();
    row.text("subject", kind.name());
    row.text("proto", proto);
    row.num("mw_ms", setup.merge_ms as f64);
    row.num("viewers", viewers as f64);
    row.num("kbps", setup.kbps as f64);
    row.num("alive", seen.sum("alive"));
    window.costs(&mut row);
    let gb = seen.sum("bytes") / 1e9;
    row.num("gb", gb);
    row.num("cpu_s_per_gb", window.cpu_s / gb);
    let growth = window.after.anon_kb as f64 - alone.anon_kb as f64;
    row.num("viewer_bytes", (growth * 1024.0 / viewers as f64).round());
    let some = if viewers > sample { &seen.plain } else { &seen.sample };
    let (low, high) = (num(some, "min") as f64, num(some, "max") as f64);
    row.num("spread_pct", (high - low) / high.max(1.0) * 100.0);
    seen.continuity(&mut row);
    eprintln!(
        "   {} {proto} mw {} x {viewers}: {:.1} % CPU, {:.2} CPU-s/GB",
        kind.name(),
        setup.merge_ms,
        row.get("cpu_pct").unwrap_or(0.0),
        window.cpu_s / gb
    );
    Ok(row)
}

fn plot(rows: &[Row]) -> String {
    let cpu = lines(rows, "cpu_s_per_gb");
    let memory = lines(rows, "anon_mb");
    let panels = [
        Panel { title: "CPU-seconds per GB delivered".to_string(), lines: cpu },
        Panel { title: "anonymous memory, MB".to_string(), lines: memory },
    ];
    svg("viewers", &panels)
}

/// Name of a line, and its points: x, sum of y, how many.
type Sums = Vec<(String, Vec<(f64, f64, f64)>)>;

/// One line for each subject, protocol and merge interval; repetitions are averaged.
fn lines(rows: &[Row], measure: &str) -> Vec<Line> {
    let mut lines: Sums = Vec::new();
    for row in rows {
        let merge = match row.get("mw_ms") {
            Some(ms) if ms > 0.0 && row.name("subject") != Kind::NginxRtmp.name() => {
                format!("merged over {ms} ms")
            }
            _ => "each message at once".to_string(),
        };
        let name = format!("{} {}, {merge}", row.name("subject"), row.name("proto"));
        let (Some(x), Some(y)) = (row.get("viewers"), row.get(measure)) else { continue };
        let index = lines.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            lines.push((name, Vec::new()));
            lines.len() - 1
        });
        let points = &mut lines[index].1;
        match points.iter_mut().find(|(known, _, _)| *known == x) {
            Some(point) => *point = (x, point.1 + y, point.2 + 1.0),
            None => points.push((x, y, 1.0)),
        }
    }
    let mean = |points: Vec<(f64, f64, f64)>| points.into_iter().map(|(x, sum, n)| (x, sum / n)).collect();
    lines.into_iter().map(|(name, points)| Line { name, points: mean(points) }).collect()
}
