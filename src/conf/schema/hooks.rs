//! The directives of `http_hooks { }` and `heartbeat { }`.

use super::super::hooks::Url;
use super::super::value::{HOUR, Kind, SECOND, Value};
use super::{Directive, lean};

/// Out of line: there are many lists.
#[inline(never)]
fn put(list: &mut Vec<Url>, value: Value<'_>) {
    *list = value.urls();
}

pub(super) static HOOKS: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Ask and tell the URLs below by POST with JSON. Those that are asked agree with status 200 or 201 and the body `0` or `{\"code\":0}`; anything else, and no answer, refuses. Of several URLs of one event all have to agree.",
        set: |d, v| d.vhost.http_hooks.enabled = v.flag(),
    },
    Directive {
        name: "timeout",
        aliases: &[],
        kind: Kind::Time { unit: SECOND, min: 100, max: HOUR },
        default: "30s",
        docs: "How long each URL may take, from the moment when it is to be asked to the end of its answer. The client waits as long.",
        set: |d, v| d.vhost.http_hooks.timeout_ms = v.num(),
    },
    Directive {
        name: "on_connect",
        aliases: &[],
        kind: Kind::Urls,
        default: "(nobody)",
        docs: "Asked when an RTMP client connects, before that is confirmed.",
        set: |d, v| put(&mut d.vhost.http_hooks.on_connect, v),
    },
    Directive {
        name: "on_close",
        aliases: &[],
        kind: Kind::Urls,
        default: "(nobody)",
        docs: "Told when an RTMP connection that was let in has ended, with the bytes that it sent and received.",
        set: |d, v| put(&mut d.vhost.http_hooks.on_close, v),
    },
    Directive {
        name: "on_publish",
        aliases: &[],
        kind: Kind::Urls,
        default: "(nobody)",
        docs: "Asked when a client wants to publish, before that is confirmed.",
        set: |d, v| put(&mut d.vhost.http_hooks.on_publish, v),
    },
    Directive {
        name: "on_unpublish",
        aliases: &[],
        kind: Kind::Urls,
        default: "(nobody)",
        docs: "Told when a publisher who was let in is gone.",
        set: |d, v| put(&mut d.vhost.http_hooks.on_unpublish, v),
    },
    Directive {
        name: "on_play",
        aliases: &[],
        kind: Kind::Urls,
        default: "(nobody)",
        docs: "Asked when a client wants to play by RTMP, HTTP or WebSocket, before that is confirmed. Requests for HLS are not asked about.",
        set: |d, v| put(&mut d.vhost.http_hooks.on_play, v),
    },
    Directive {
        name: "on_stop",
        aliases: &[],
        kind: Kind::Urls,
        default: "(nobody)",
        docs: "Told when a viewer who was let in is gone.",
        set: |d, v| put(&mut d.vhost.http_hooks.on_stop, v),
    },
    Directive {
        name: "on_dvr",
        aliases: &[],
        kind: Kind::Urls,
        default: "(nobody)",
        docs: "Told when a recording is complete.",
        set: |d, v| put(&mut d.vhost.http_hooks.on_dvr, v),
    },
    Directive {
        name: "on_hls",
        aliases: &[],
        kind: Kind::Urls,
        default: "(nobody)",
        docs: "Told when a segment of HLS is complete. `file` and `m3u8` are empty where segments are in memory only.",
        set: |d, v| put(&mut d.vhost.http_hooks.on_hls, v),
    },
    Directive {
        name: "on_hls_notify",
        aliases: &[],
        kind: Kind::Urls,
        default: "(nobody)",
        docs: "One of these URLs, in turn, is fetched when a segment of HLS is complete. `[server_id]`, `[app]`, `[stream]`, `[ts_url]` and `[param]` in it are replaced.",
        set: |d, v| put(&mut d.vhost.http_hooks.on_hls_notify, v),
    },
]);

pub(super) static HEARTBEAT: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Tell another server again and again that this one lives, by POST with JSON.",
        set: |d, v| d.config.heartbeat.enabled = v.flag(),
    },
    Directive {
        name: "interval",
        aliases: &[],
        kind: Kind::Time { unit: SECOND, min: 100, max: HOUR },
        default: "9.9",
        docs: "How often it is told.",
        set: |d, v| d.config.heartbeat.interval_ms = v.num(),
    },
    Directive {
        name: "url",
        aliases: &[],
        kind: Kind::Url,
        default: "http://127.0.0.1:8085/api/v1/servers",
        docs: "Who is told.",
        set: |d, v| d.config.heartbeat.url = v.urls().pop(),
    },
    Directive {
        name: "device_id",
        aliases: &[],
        kind: Kind::Text,
        default: "(empty)",
        docs: "What this server is called there.",
        set: |d, v| d.config.heartbeat.device_id = v.text().to_owned(),
    },
    Directive {
        name: "summaries",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Tell figures of the process and the machine too, as `/api/v1/summaries` has them.",
        set: |d, v| d.config.heartbeat.summaries = v.flag(),
    },
]);
