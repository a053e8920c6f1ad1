//! The directives of `http_server`, `http_remux` and `http_static`.

use super::{Directive, NO_STREAM, lean, no_stream};
use crate::conf::value::{HOUR, Kind, SECOND};

pub(super) static SERVER: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Serve HTTP.",
        set: |d, v| d.config.http_server.enabled = v.flag(),
    },
    Directive {
        name: "listen",
        aliases: &[],
        kind: Kind::Listen,
        default: "8080",
        docs: "Where HTTP is served; as `listen` for RTMP.",
        set: |d, v| d.config.http_server.listen = v.listen(),
    },
    Directive {
        name: "crossdomain",
        aliases: &[],
        kind: Kind::Flag,
        default: "on",
        docs: "Answer with CORS headers, so that web pages of other hosts can play.",
        set: |d, v| d.config.http_server.crossdomain = v.flag(),
    },
    Directive {
        name: "page",
        aliases: &[],
        kind: Kind::Flag,
        default: "on",
        docs: "Serve the page at `/`, where a browser lists and plays the streams of the host that it asks for.",
        set: |d, v| d.config.http_server.page = v.flag(),
    },
    Directive {
        name: "dir",
        aliases: &[],
        kind: Kind::Text,
        default: "(none)",
        docs: "The directory whose files are served below `/`, for hosts and paths that no `http_static` serves.",
        set: |d, v| d.config.http_server.dir = Some(v.text().to_owned()),
    },
]);

pub(super) static REMUX: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Serve the streams of this vhost over HTTP; `http_server` must be on too.",
        set: |d, v| d.vhost.http_remux.enabled = v.flag(),
    },
    Directive {
        name: "mount",
        aliases: &[],
        kind: Kind::Mounts,
        default: "[vhost]/[app]/[stream].flv [vhost]/[app]/[stream].ts [vhost]/[app]/[stream].aac \
                  [vhost]/[app]/[stream].mp3 [vhost]/[app]/[stream].mp4",
        docs: "The URLs of the streams: host and path. The extension names the container; every stream can be had in \
               all of them at once.",
        set: |d, v| d.vhost.http_remux.mounts = v.mounts(),
    },
    Directive {
        name: "chunked",
        aliases: &[],
        kind: Kind::Flag,
        default: "on",
        docs: "Chunked transfer coding for HTTP/1.1; off, for old players, ends the response by closing.",
        set: |d, v| d.vhost.http_remux.chunked = v.flag(),
    },
    Directive {
        name: "no_stream",
        aliases: &[],
        kind: Kind::Words(NO_STREAM),
        default: "wait",
        docs: "A request for a stream that nobody publishes waits, or gets 404 at once.",
        set: |d, v| d.vhost.http_remux.no_stream = no_stream(v),
    },
    Directive {
        name: "wait",
        aliases: &[],
        kind: Kind::Time { unit: SECOND, min: 0, max: HOUR },
        default: "10s",
        docs: "How long such a request waits before it gets 404.",
        set: |d, v| d.vhost.http_remux.wait_ms = v.num(),
    },
    Directive {
        name: "has_audio",
        aliases: &[],
        kind: Kind::Flag,
        default: "(not said)",
        docs: "Say in the FLV header that the stream has audio, or that it has none.",
        set: |d, v| d.vhost.http_remux.has_audio = Some(v.flag()),
    },
    Directive {
        name: "has_video",
        aliases: &[],
        kind: Kind::Flag,
        default: "(not said)",
        docs: "Say in the FLV header that the stream has video, or that it has none.",
        set: |d, v| d.vhost.http_remux.has_video = Some(v.flag()),
    },
    Directive {
        name: "fast_cache",
        aliases: &[],
        kind: Kind::Time { unit: SECOND, min: 0, max: 60 * SECOND },
        default: "0",
        docs: "Seconds of sound that a viewer of .aac or .mp3 is sent at once.",
        set: |d, v| d.vhost.http_remux.fast_cache_ms = v.num(),
    },
    Directive {
        name: "drop_if_not_match",
        aliases: &[],
        kind: Kind::Flag,
        default: "on",
        docs: "Leave out the frames of a track that the FLV header denies.",
        set: |d, v| d.vhost.http_remux.drop_if_not_match = v.flag(),
    },
    Directive {
        name: "guess_has_av",
        aliases: &[],
        kind: Kind::Flag,
        default: "on",
        docs: "Make the FLV header from what the stream carries where `has_audio` and `has_video` do not say.",
        set: |d, v| d.vhost.http_remux.guess_has_av = v.flag(),
    },
]);

pub(super) static STATIC: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Serve files to those who ask for this vhost; `http_server` must be on too.",
        set: |d, v| d.vhost.http_static.enabled = v.flag(),
    },
    Directive {
        name: "mount",
        aliases: &[],
        kind: Kind::Prefix,
        default: "[vhost]/",
        docs: "The URL below which the files are: host and path.",
        set: |d, v| d.vhost.http_static.mount = v.text().to_owned(),
    },
    Directive {
        name: "dir",
        aliases: &[],
        kind: Kind::Text,
        default: "./objs/nginx/html",
        docs: "The directory of the files.",
        set: |d, v| d.vhost.http_static.dir = v.text().to_owned(),
    },
]);
