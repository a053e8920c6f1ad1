//! Figures for Prometheus.   Spec: the text format, version 0.0.4.
//!
//! Each is counted or measured. None has a label that grows with what is published: a thousand streams are as many lines
//! as one.

use super::{View, lists, system};
use crate::app::hub::{Publisher, Source};
use crate::app::json::Milli;
use crate::net::{clock, sys};
use std::fmt::{Display, Write};

pub(super) fn text(view: &View<'_>) -> String {
    let world = view.world;
    let live = |publisher: &Publisher| matches!(publisher, Publisher::Live(_));
    let (mut forwards, mut pulls) = (0usize, 0usize);
    let (mut publishers, mut viewers, mut hls, mut waiting) = (0usize, 0usize, 0usize, 0usize);
    for live_stream in world.hub.iter() {
        publishers += usize::from(live(&live_stream.publisher));
        viewers += live_stream.watchers();
        forwards += live_stream.forwards();
        pulls += usize::from(matches!(live_stream.publisher, Publisher::Live(Source::Origin(_))));
        hls += live_stream.viewers().saturating_sub(live_stream.watchers());
        waiting += live_stream.waiting.len();
    }
    let usage = sys::usage();
    let mut out = String::with_capacity(2048);
    let mut one = |name: &str, kind: &str, help: &str, value: &dyn Display| {
        let base = name.split('{').next().unwrap_or_default();
        let _ = writeln!(out, "# HELP {base} {help}\n# TYPE {base} {kind}\n{name} {value}");
    };
    let build = concat!("runnel_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    one(build, "gauge", "The program.", &1);
    let seconds = Milli(world.now);
    one("runnel_uptime_seconds", "gauge", "Time since the start.", &seconds);
    one("runnel_connections", "gauge", "Connections of all protocols.", &view.conns.len());
    one("runnel_streams", "gauge", "Streams that are live, awaited or on their way out.", &world.hub.len());
    one("runnel_publishers", "gauge", "Streams that somebody sends.", &publishers);
    one("runnel_viewers", "gauge", "Viewers by RTMP, HTTP and WebSocket; not of HLS.", &viewers);
    one("runnel_hls_viewers", "gauge", "Viewers of HLS, as far as they can be told apart.", &hls);
    one("runnel_viewers_waiting", "gauge", "Viewers who wait for a stream to start.", &waiting);
    one("runnel_forwards", "gauge", "Destinations that streams are sent on to.", &forwards);
    one("runnel_pulls", "gauge", "Streams that are fetched from an origin.", &pulls);
    one("runnel_received_bytes_total", "counter", "Bytes read from all connections.", &world.received);
    one("runnel_sent_bytes_total", "counter", "Bytes written to all connections.", &world.sent);
    let help = "Times that a viewer too slow was moved forward to a keyframe.";
    one("runnel_skipped_gops_total", "counter", help, &world.api.skips);
    one("runnel_media_bytes", "gauge", "Bytes of media that are kept for viewers.", &lists::kept(world));
    one("runnel_turns_total", "counter", "Turns of the loop.", &world.api.turns);
    one(
        "runnel_reloads_total",
        "counter",
        "Times that the configuration was read again.",
        &world.api.reloaded.0,
    );
    let cpu = Milli(usage.user_ms + usage.system_ms);
    one("process_cpu_seconds_total", "counter", "Processor time used.", &cpu);
    one("process_resident_memory_bytes", "gauge", "Memory in use.", &system::resident());
    let started = clock::unix_ms().saturating_sub(world.now) / 1000;
    one("process_start_time_seconds", "gauge", "Start of the process, as Unix time.", &started);
    out
}
