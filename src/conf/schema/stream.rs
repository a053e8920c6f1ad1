//! The directives of `play` and `publish`.

use super::{Directive, NO_STREAM, jitter, lean, no_stream};
use crate::conf::typed::OnBusy;
use crate::conf::value::{HOUR, Kind, SECOND};

pub(super) static PLAY: &[Directive] = &lean([
    Directive {
        name: "gop_cache",
        aliases: &[],
        kind: Kind::Flag,
        default: "on",
        docs: "Start a viewer at the last keyframe, with a picture at once, instead of at the next.",
        set: |d, v| d.vhost.play.gop_cache = v.flag(),
    },
    Directive {
        name: "gop_cache_max_frames",
        aliases: &[],
        kind: Kind::Count { min: 0, max: 1_000_000 },
        default: "2500",
        docs: "Frames kept of a stream at most; 0 sets no such limit.",
        set: |d, v| d.vhost.play.gop_cache_max_frames = v.num32(),
    },
    Directive {
        name: "queue_length",
        aliases: &[],
        kind: Kind::Time { unit: SECOND, min: 100, max: HOUR },
        default: "30",
        docs: "Time kept of a stream, so how far a viewer may fall behind before frames are skipped.",
        set: |d, v| d.vhost.play.queue_length_ms = v.num(),
    },
    Directive {
        name: "queue_bytes",
        aliases: &[],
        kind: Kind::Size { min: 64 << 10, max: 1 << 30, usual: (64 << 10, 1 << 30) },
        default: "32m",
        docs: "Bytes kept of a stream at most.",
        set: |d, v| d.vhost.play.queue_bytes = v.num(),
    },
    Directive {
        name: "time_jitter",
        aliases: &[],
        kind: Kind::Words(&["full", "zero", "off"]),
        default: "full",
        docs: "Timestamps for viewers: `full` starts at zero and mends jumps, `zero` only starts at zero, `off` sends them as published.",
        set: |d, v| d.vhost.play.time_jitter = jitter(v),
    },
    Directive {
        name: "mw_latency",
        aliases: &[],
        kind: Kind::Time { unit: 1, min: 0, max: 10 * SECOND },
        default: "350",
        docs: "How long messages are gathered before they are written together; less costs more processor time.",
        set: |d, v| d.vhost.play.mw_latency_ms = v.num32(),
    },
    Directive {
        name: "send_timeout",
        aliases: &[],
        kind: Kind::Time { unit: SECOND, min: SECOND, max: HOUR },
        default: "30s",
        docs: "Close a viewer who takes nothing for this long.",
        set: |d, v| d.vhost.play.send_timeout_ms = v.num(),
    },
    Directive {
        name: "send_buffer",
        aliases: &[],
        kind: Kind::Size { min: 0, max: 16 << 20, usual: (0, 16 << 20) },
        default: "128k",
        docs: "Bytes that the kernel may hold for a viewer; 0 leaves it to the kernel.",
        set: |d, v| d.vhost.play.send_buffer = v.num32(),
    },
    Directive {
        name: "no_stream",
        aliases: &[],
        kind: Kind::Words(NO_STREAM),
        default: "wait",
        docs: "A player of a stream that nobody publishes waits, or is told at once that there is none.",
        set: |d, v| d.vhost.play.no_stream = no_stream(v),
    },
    Directive {
        name: "wait",
        aliases: &[],
        kind: Kind::Time { unit: SECOND, min: 0, max: HOUR },
        default: "10s",
        docs: "How long such a player waits.",
        set: |d, v| d.vhost.play.no_stream_wait_ms = v.num(),
    },
]);

pub(super) static PUBLISH: &[Directive] = &lean([
    Directive {
        name: "on_busy",
        aliases: &[],
        kind: Kind::Words(&["takeover_same_ip", "takeover", "reject"]),
        default: "takeover_same_ip",
        docs: "A second publisher of a name in use takes it over if it comes from the same address, takes it over always, or is refused.",
        set: |d, v| {
            d.vhost.publish.on_busy = match v.text() {
                "reject" => OnBusy::Reject,
                "takeover" => OnBusy::Takeover,
                _ => OnBusy::TakeoverSameIp,
            };
        },
    },
    Directive {
        name: "resume_wait",
        aliases: &[],
        kind: Kind::Time { unit: SECOND, min: 0, max: HOUR },
        default: "15s",
        docs: "How long viewers are kept when the publisher is gone, in case it comes back.",
        set: |d, v| d.vhost.publish.resume_wait_ms = v.num(),
    },
    Directive {
        name: "firstpkt_timeout",
        aliases: &[],
        kind: Kind::Time { unit: 1, min: 100, max: HOUR },
        default: "20000",
        docs: "How long a publisher may take to send its first media.",
        set: |d, v| d.vhost.publish.firstpkt_timeout_ms = v.num(),
    },
    Directive {
        name: "normal_timeout",
        aliases: &[],
        kind: Kind::Time { unit: 1, min: 100, max: HOUR },
        default: "5000",
        docs: "Close a publisher who sends nothing for this long.",
        set: |d, v| d.vhost.publish.normal_timeout_ms = v.num(),
    },
]);
