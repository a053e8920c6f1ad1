//! Measures runnel on loopback: fan-out, latency, joins, slow viewers, publishers. It asserts nothing.
//!
//! `cargo bench --bench runnel -- NAME [options]`; `--help` lists both. Every process that takes part is this
//! program again with a hidden role, except the server itself, so that the CPU of each can be told apart.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, unreachable_pub)]

mod bytes;
mod clock;
mod control;
mod day;
mod fetch;
mod floor;
mod flv;
mod load;
mod lockstep;
mod process;
mod publish;
mod reload;
mod report;
mod rtmp;
mod runs;
mod stats;
mod subject;
mod synth;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use clock::Clock;

/// Result with a message for the operator.
pub type Res<T> = Result<T, String>;

/// The options of a run.
#[derive(Clone)]
pub struct Options {
    pub names: Vec<String>,
    pub quick: bool,
    pub server: String,
    pub wrapper: Vec<String>,
    pub kinds: Vec<subject::Kind>,
    pub protocols: Vec<String>,
    pub viewers: Vec<u64>,
    pub merges: Vec<u64>,
    pub kbps: u64,
    pub gop: u64,
    pub sample: u64,
    pub window_s: u64,
    pub reps: u64,
    pub messages: u64,
    pub send_buffer: usize,
    pub interval_ms: u64,
    pub hls: String,
    pub out: PathBuf,
}

fn declare() -> getopts::Options {
    let mut opts = getopts::Options::new();
    opts.optflag("h", "help", "show this");
    opts.optflag("", "bench", "ignored; cargo passes it");
    opts.optflag("q", "quick", "short form: fewer viewers, shorter windows, one repetition");
    opts.optopt("", "server", "server program (default: the one cargo built)", "PATH");
    opts.optopt("", "wrapper", "program and arguments to run the server under", "WORDS");
    opts.optopt("", "peer", "also measure another server: nginx-rtmp", "NAME");
    opts.optflag("", "no-server", "leave the server out: floor and peer only");
    opts.optopt("", "proto", "flv,rtmp (default both); in fanout and latency also ts,mp4,aac", "LIST");
    opts.optopt("", "viewers", "viewers, or publishers in `publishers`", "LIST");
    opts.optopt("", "mw", "merge intervals in ms, 0 for min_latency (default 350,0)", "LIST");
    opts.optopt("", "kbps", "bit rate of a stream (default 500; 250 in `publishers`)", "N");
    opts.optopt("", "gop", "seconds between keyframes (default 2)", "N");
    opts.optopt("", "sample", "viewers that parse all they get (default 20)", "N");
    opts.optopt("", "window", "seconds of each steady window (default 10, quick 4)", "N");
    opts.optopt("", "reps", "repetitions of each measure (default 2, quick 1)", "N");
    opts.optopt("", "messages", "messages of `lockstep` (default 500)", "N");
    opts.optopt(
        "",
        "sndbuf",
        "SO_SNDBUF of the floor's sockets; 0 leaves the kernel's (default 131072, as send_buffer)",
        "BYTES",
    );
    opts.optopt(
        "",
        "hls",
        "have the server make HLS too: ts, fmp4 or lowlatency, in segments of 2 s (default off)",
        "VARIANT",
    );
    opts.optopt("", "out", "directory of the results (default target/bench)", "DIR");
    opts.optopt("", "role", "internal", "ROLE");
    opts.optopt("", "origin", "internal", "US");
    opts.optopt("", "interval", "internal", "MS");
    opts
}

fn list(matches: &getopts::Matches, name: &str) -> Vec<u64> {
    let text = matches.opt_str(name).unwrap_or_default();
    text.split(',').filter_map(|part| part.trim().parse().ok()).collect()
}

fn options(matches: &getopts::Matches) -> Res<Options> {
    let quick = matches.opt_present("quick");
    let one = |name: &str, default: u64| list(matches, name).first().copied().unwrap_or(default);
    let mut kinds = vec![subject::Kind::Floor];
    if !matches.opt_present("no-server") {
        kinds.push(subject::Kind::Runnel);
    }
    match matches.opt_str("peer").as_deref() {
        Some("nginx-rtmp") => kinds.push(subject::Kind::NginxRtmp),
        Some(other) => return Err(format!("unknown peer: {other}")),
        None => {}
    }
    let protocols = matches.opt_str("proto").unwrap_or("flv,rtmp".into());
    let words = matches.opt_str("wrapper").unwrap_or_default();
    let out = matches
        .opt_str("out")
        .map_or(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench"), PathBuf::from);
    Ok(Options {
        names: matches.free.clone(),
        hls: matches.opt_str("hls").unwrap_or_default(),
        quick,
        server: matches.opt_str("server").unwrap_or(env!("CARGO_BIN_EXE_runnel").into()),
        wrapper: words.split_whitespace().map(String::from).collect(),
        kinds,
        protocols: protocols.split(',').map(String::from).collect(),
        viewers: list(matches, "viewers"),
        merges: list(matches, "mw"),
        kbps: one("kbps", 0),
        gop: one("gop", 2),
        sample: one("sample", 20),
        window_s: one("window", if quick { 4 } else { 10 }),
        reps: one("reps", if quick { 1 } else { 2 }),
        messages: one("messages", 500),
        send_buffer: one("sndbuf", 131_072) as usize,
        interval_ms: one("interval", 350),
        out,
    })
}

/// A listening socket on a free loopback port with room for a storm of joins.
pub fn listen(backlog: i32) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let matches = match declare().parse(arguments) {
        Ok(matches) => matches,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let result = options(&matches).and_then(|options| match matches.opt_str("role") {
        Some(role) => {
            let clock = Clock::new(list(&matches, "origin").first().copied().unwrap_or(0));
            child(&role, &options, clock).map_err(|e| format!("{role}: {e}"))
        }
        None if options.names.is_empty() || matches.opt_present("help") => {
            println!(
                "{}",
                declare().usage(&format!("cargo bench --bench runnel -- NAME [options]\n\n{}", runs::NAMES))
            );
            Ok(())
        }
        None => runs::run(&options),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn child(role: &str, options: &Options, clock: Clock) -> std::io::Result<()> {
    match role {
        "floor" => floor::run(options, clock),
        "publish" => publish::run(clock),
        "load" => load::run(clock),
        "fetch" => fetch::run(clock),
        _ => Err(std::io::Error::other("unknown role")),
    }
}
