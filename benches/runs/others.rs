//! `storm`, `slow` and `publishers`.

use std::thread::sleep;
use std::time::Duration;

use super::publish_results;
use super::stage::{Join, Stage, Window, pass};
use crate::control::num;
use crate::report::Row;
use crate::subject::{Kind, Setup};
use crate::{Options, Res};

const STEADY: u64 = 200;
/// Keeps the kernel from taking in the whole stall in place of the server.
const STUCK_RECEIVE_BUFFER: u64 = 65_536;
/// Longer than `queue_length` and the ten seconds that kernel buffers take in, so that the stuck ones fall behind.
const STALL_S: u64 = 50;
const STALL_QUICK_S: u64 = 8;
const PUBLISHERS_PER_S: u64 = 400;
const WATCHERS: u64 = 5;
const HLS_FILL_S: u64 = 36;

fn servers(options: &Options) -> impl Iterator<Item = (Kind, &str)> {
    let kinds = options.kinds.iter().copied().filter(|kind| *kind != Kind::Floor);
    kinds.flat_map(|kind| {
        let protos = options.protocols.iter().map(String::as_str);
        protos.filter(move |proto| kind == Kind::Runnel || *proto == "rtmp").map(move |proto| (kind, proto))
    })
}

fn merge(options: &Options) -> u64 {
    options.merges.first().copied().unwrap_or(350)
}

fn rate(options: &Options, default: u64) -> u64 {
    if options.kbps == 0 { default } else { options.kbps }
}

fn head(kind: Kind, proto: &str, phase: &str) -> Row {
    let mut row = Row::default();
    row.text("subject", kind.name());
    row.text("proto", proto);
    row.text("phase", phase);
    row
}

/// A thousand joins in one second, for a short and a long GOP.
pub fn storm(options: &Options) -> Res<()> {
    let joins = options.viewers.first().copied().unwrap_or(1_000);
    let mut rows = Vec::new();
    for gop in [2, 10] {
        for _ in 0..options.reps {
            for (kind, proto) in servers(options) {
                rows.extend(storm_once(options, kind, proto, joins, gop)?);
            }
        }
    }
    let columns = [
        "subject",
        "proto",
        "gop_s",
        "phase",
        "joined",
        "join_p50_ms",
        "join_p99_ms",
        "join_max_ms",
        "cpu_pct",
        "wait_pct",
        "frames",
        "gaps",
        "lost",
        "faults",
        "closed",
        "p50_ms",
        "p99_ms",
        "max_ms",
    ];
    publish_results(options, "storm", &rows, &columns)
}

fn storm_once(options: &Options, kind: Kind, proto: &str, joins: u64, gop: u64) -> Res<Vec<Row>> {
    let setup = Setup { merge_ms: merge(options), kbps: rate(options, 500), gop };
    let mut stage = Stage::start(kind, setup, options)?;
    stage.publish(setup, 1, 0, Duration::from_millis(gop * 1500))?;
    stage.join(&Join {
        group: "steady",
        proto,
        viewers: STEADY,
        sample: options.sample,
        over_ms: 500,
        receive_buffer: 0,
    })?;
    stage.wait_joined()?;
    sleep(Duration::from_secs(2));
    let mut calm = stage.window(pass(options.window_s.min(5)))?;
    let mut joined = 0;
    let mut storm = stage.window(|stage| {
        stage.join(&Join {
            group: "storm",
            proto,
            viewers: joins,
            sample: 0,
            over_ms: 1_000,
            receive_buffer: 0,
        })?;
        joined = stage.wait_joined()?.saturating_sub(STEADY);
        sleep(Duration::from_secs(1));
        Ok(())
    })?;
    let mut rows = Vec::new();
    for (phase, window) in [("before", &mut calm), ("storm", &mut storm)] {
        let mut row = head(kind, proto, phase);
        row.num("gop_s", gop as f64);
        row.num("kbps", setup.kbps as f64);
        window.costs(&mut row);
        let seen = window.seen("steady");
        seen.continuity(&mut row);
        if phase == "storm" {
            let joiners = window.seen("storm");
            row.num("joined", joined as f64);
            for (name, key) in
                [("join_p50_ms", "join_p50"), ("join_p99_ms", "join_p99"), ("join_max_ms", "join_max")]
            {
                row.num(name, num(&joiners.plain, key) as f64 / 1000.0);
            }
            row.num("closed", joiners.sum("closed") + seen.sum("closed"));
        }
        rows.push(row);
    }
    eprintln!("   {} {proto} GOP {gop} s: {joined} of {joins} joined", kind.name());
    Ok(rows)
}

/// Half of the viewers stop reading, later go on.
pub fn slow(options: &Options) -> Res<()> {
    let viewers = options.viewers.first().copied().unwrap_or(if options.quick { 400 } else { 2_000 });
    let mut rows = Vec::new();
    for _ in 0..options.reps {
        for (kind, proto) in servers(options) {
            rows.extend(slow_once(options, kind, proto, viewers)?);
        }
    }
    let columns = [
        "subject",
        "proto",
        "phase",
        "viewers",
        "cpu_pct",
        "wait_pct",
        "rss_mb",
        "anon_mb",
        "anon_growth_mb",
        "tcp_mb",
        "alive",
        "frames",
        "gaps",
        "lost",
        "faults",
        "p50_ms",
        "p99_ms",
        "max_ms",
        "stuck_alive",
        "stuck_gaps",
        "stuck_faults",
    ];
    publish_results(options, "slow", &rows, &columns)
}

fn slow_once(options: &Options, kind: Kind, proto: &str, viewers: u64) -> Res<Vec<Row>> {
    let setup = Setup { merge_ms: merge(options), kbps: rate(options, 500), gop: options.gop };
    let mut stage = Stage::start(kind, setup, options)?;
    stage.publish(setup, 1, 0, Duration::from_millis(setup.gop * 1500))?;
    for (group, receive_buffer) in [("healthy", 0), ("stuck", STUCK_RECEIVE_BUFFER)] {
        stage.join(&Join {
            group,
            proto,
            viewers: viewers / 2,
            sample: options.sample,
            over_ms: 1_000,
            receive_buffer,
        })?;
    }
    stage.wait_joined()?;
    sleep(Duration::from_secs(2));
    let mut rows = Vec::new();
    let before = stage.window(pass(options.window_s))?;
    let base_kb = before.after.anon_kb as f64;
    rows.push(slow_row(kind, proto, "before", before, base_kb));
    stage.stall("stuck", true)?;
    let stalled = stage.window(pass(if options.quick { STALL_QUICK_S } else { STALL_S }))?;
    rows.push(slow_row(kind, proto, "stalled", stalled, base_kb));
    let resumed = stage.window(|stage| {
        stage.stall("stuck", false)?;
        sleep(Duration::from_secs(options.window_s));
        Ok(())
    })?;
    rows.push(slow_row(kind, proto, "resumed", resumed, base_kb));
    for row in &mut rows {
        row.num("viewers", viewers as f64);
        row.num("kbps", setup.kbps as f64);
    }
    eprintln!("   {} {proto}: {viewers} viewers, half of them stalled", kind.name());
    Ok(rows)
}

fn slow_row(kind: Kind, proto: &str, phase: &str, mut window: Window, base_kb: f64) -> Row {
    let mut row = head(kind, proto, phase);
    window.costs(&mut row);
    row.num("anon_growth_mb", (window.after.anon_kb as f64 - base_kb) / 1024.0);
    let (healthy, stuck) = (window.seen("healthy"), window.seen("stuck"));
    row.num("alive", healthy.sum("alive"));
    healthy.continuity(&mut row);
    row.num("stuck_alive", stuck.sum("alive"));
    row.num("stuck_gaps", num(&stuck.sample, "gaps") as f64);
    row.num("stuck_faults", stuck.sum("faults"));
    row
}

/// Many publishers, few viewers.
pub fn publishers(options: &Options) -> Res<()> {
    let default: &[u64] = if options.quick { &[100, 500] } else { &[500, 1_000, 2_000] };
    let counts = if options.viewers.is_empty() { default.to_vec() } else { options.viewers.clone() };
    let kinds: Vec<Kind> = options.kinds.iter().copied().filter(|kind| *kind != Kind::Floor).collect();
    let mut rows = Vec::new();
    for count in counts {
        for _ in 0..options.reps {
            for kind in &kinds {
                rows.push(publish_once(options, *kind, count)?);
            }
        }
    }
    let columns = [
        "subject",
        "publishers",
        "ready",
        "failed",
        "cpu_pct",
        "wait_pct",
        "messages_s",
        "mb_s",
        "cpu_s_per_gb",
        "us_per_message",
        "rss_mb",
        "publisher_kb",
        "late_p99_ms",
        "gaps",
        "faults",
        "p50_ms",
        "p99_ms",
        "max_ms",
    ];
    publish_results(options, "publishers", &rows, &columns)
}

fn publish_once(options: &Options, kind: Kind, count: u64) -> Res<Row> {
    let setup = Setup { merge_ms: merge(options), kbps: rate(options, 250), gop: options.gop };
    let mut stage = Stage::start(kind, setup, options)?;
    let over_ms = count * 1000 / PUBLISHERS_PER_S;
    // Until all segments are there that are kept: those of the list, and as long again.
    let fill_s = if options.hls.is_empty() { setup.gop * 2 } else { HLS_FILL_S };
    stage.publish(setup, count, over_ms, Duration::from_secs(fill_s))?;
    stage.join(&Join {
        group: "watch",
        proto: "rtmp",
        viewers: WATCHERS,
        sample: WATCHERS,
        over_ms: 100,
        receive_buffer: 0,
    })?;
    stage.wait_joined()?;
    sleep(Duration::from_secs(1));
    let mut window = stage.window(pass(options.window_s))?;
    let mut row = head(kind, "rtmp", "steady");
    row.num("publishers", count as f64);
    row.num("kbps", setup.kbps as f64);
    window.costs(&mut row);
    let (messages, bytes) =
        (num(&window.published, "messages") as f64, num(&window.published, "bytes") as f64);
    row.num("ready", num(&window.published, "ready") as f64);
    row.num("failed", num(&window.published, "failed") as f64);
    row.num("messages_s", messages / window.seconds);
    row.num("mb_s", bytes / 1e6 / window.seconds);
    row.num("cpu_s_per_gb", window.cpu_s / (bytes / 1e9));
    row.num("us_per_message", window.cpu_s * 1e6 / messages);
    let growth = window.after.anon_kb as f64 - stage.empty.anon_kb as f64;
    row.num("publisher_kb", growth / count as f64);
    row.num("late_p99_ms", num(&window.published, "late_p99") as f64 / 1000.0);
    window.seen("watch").continuity(&mut row);
    eprintln!("   {} {count} publishers: {:.1} % CPU", kind.name(), row.get("cpu_pct").unwrap_or(0.0));
    Ok(row)
}
