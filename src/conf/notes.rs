//! What the reference says of a directive beyond the table: when a change of it takes effect on a reload, and how it
//! differs from SRS.

use super::schema::Context;

/// When a changed value takes effect after a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    /// At once, for everybody.
    AtOnce,
    /// For connections, viewers or streams that begin afterwards.
    ForNew,
    /// Not before the program is started again.
    Restart,
}

impl Reload {
    /// In words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Reload::AtOnce => "takes effect at once",
            Reload::ForNew => "takes effect for connections and streams that begin afterwards",
            Reload::Restart => "takes effect after a restart only",
        }
    }
}

static NOT_AT_ONCE: &[(Context, Reload, &[&str])] = &[
    (Context::Security, Reload::ForNew, &["enabled", "allow", "deny"]),
    (Context::Refer, Reload::ForNew, &["enabled", "all", "publish", "play"]),
    (Context::HttpHooks, Reload::ForNew, &["timeout", "on_connect", "on_publish", "on_play"]),
    (Context::Root, Reload::Restart, &["daemon", "work_dir", "user", "pid", "reuse_port"]),
    (Context::Root, Reload::ForNew, &["trusted_proxy", "handshake_timeout", "chunk_size"]),
    (Context::Vhost, Reload::ForNew, &["tcp_nodelay", "chunk_size", "in_ack_size", "out_ack_size"]),
    (Context::Play, Reload::ForNew, &["time_jitter", "send_buffer", "no_stream", "wait", "gop_cache"]),
    (Context::Publish, Reload::ForNew, &["on_busy"]),
    (
        Context::HttpRemux,
        Reload::ForNew,
        &["enabled", "mount", "chunked", "no_stream", "wait", "has_audio", "has_video", "guess_has_av"],
    ),
    (
        Context::Hls,
        Reload::ForNew,
        &[
            "enabled",
            "hls_variant",
            "hls_storage",
            "hls_ram_bytes",
            "hls_mount",
            "hls_fragment",
            "hls_part",
            "hls_td_ratio",
            "hls_aof_ratio",
            "hls_window",
            "hls_path",
            "hls_m3u8_file",
            "hls_ts_file",
            "hls_entry_prefix",
            "hls_acodec",
            "hls_vcodec",
            "hls_cleanup",
            "hls_dispose",
            "hls_wait_keyframe",
            "hls_keys",
            "hls_fragments_per_key",
            "hls_key_file",
            "hls_key_file_path",
            "hls_key_url",
            "hls_on_error",
            "hls_ts_floor",
            "hls_ctx",
            "hls_ts_ctx",
        ],
    ),
];

/// When a change of the directive `name` in `context` takes effect.
pub(super) fn reload(context: Context, name: &str) -> Reload {
    let found = NOT_AT_ONCE.iter().find(|(c, _, names)| *c == context && names.contains(&name));
    found.map_or(Reload::AtOnce, |(_, reload, _)| *reload)
}

const SAME: &str = "the same.";
const NOT: &str = "no such directive.";

static SRS: &[(Context, &str, &str)] = &[
    (
        Context::Root,
        "listen",
        "the same; there is no default in SRS. `rtmp { listen }` of SRS 7 is read too.",
    ),
    (Context::Root, "max_connections", SAME),
    (Context::Root, "max_memory", NOT),
    (Context::Root, "chunk_size", SAME),
    (Context::Root, "handshake_timeout", NOT),
    (Context::Root, "reuse_port", "always on in SRS 4 and later."),
    (Context::Root, "trusted_proxy", NOT),
    (Context::Root, "pid", "`./objs/srs.pid` by default."),
    (Context::Root, "log_tank", "`srs_log_tank`, `file` by default; no syslog."),
    (
        Context::Root,
        "log_level",
        "`srs_log_level` (verbose, info, trace, warn, error) and `srs_log_level_v2` are read; their `trace` is `info` and `debug` here.",
    ),
    (Context::Root, "log_file", "`srs_log_file`, `./objs/srs.log` by default."),
    (Context::Root, "log_max_size", NOT),
    (Context::Root, "log_keep", NOT),
    (Context::Root, "log_ring", NOT),
    (Context::Root, "log_socket", NOT),
    (Context::Root, "access_log", NOT),
    (Context::Root, "utc_time", SAME),
    (Context::Root, "pithy_print_ms", "10000 by default, and one line for each connection."),
    (Context::Root, "daemon", "on by default. A file that says `daemon on` gets it here too."),
    (Context::Root, "work_dir", SAME),
    (Context::Root, "user", NOT),
    (Context::Root, "inotify_auto_reload", SAME),
    (Context::Root, "grace_start_wait", SAME),
    (Context::Root, "grace_final_wait", SAME),
    (Context::Root, "force_grace_quit", SAME),
    (Context::HttpServer, "enabled", SAME),
    (Context::HttpServer, "listen", SAME),
    (Context::HttpServer, "crossdomain", SAME),
    (Context::HttpServer, "page", NOT),
    (Context::HttpServer, "dir", "`./objs/nginx/html` by default."),
    (Context::HttpApi, "enabled", SAME),
    (Context::HttpApi, "listen", SAME),
    (Context::HttpApi, "crossdomain", SAME),
    (Context::HttpApi, "allow_kick", "always on."),
    (Context::RawApi, "enabled", SAME),
    (Context::RawApi, "allow_reload", SAME),
    (Context::Auth, "enabled", "the same, in SRS 5 and later."),
    (Context::Auth, "username", "the same, in SRS 5 and later."),
    (Context::Auth, "password", "the same, in SRS 5 and later."),
    (Context::Security, "enabled", SAME),
    (Context::Security, "allow", "one address a rule, IPv4 only; ranges in SRS 5 and later."),
    (Context::Security, "deny", "as `allow`."),
    (Context::Refer, "enabled", SAME),
    (Context::Refer, "all", "for RTMP only, and `evil-example.com` passes as `example.com`."),
    (Context::Refer, "publish", "as `all`."),
    (Context::Refer, "play", "as `all`."),
    (Context::HttpHooks, "enabled", "the same; `client_id` is text, as in SRS 4 and later."),
    (Context::HttpHooks, "timeout", "always 30 seconds, to connect and again to answer."),
    (Context::HttpHooks, "on_connect", SAME),
    (Context::HttpHooks, "on_close", "the same, but told of refused connections too."),
    (
        Context::HttpHooks,
        "on_publish",
        "the same, but asked when the publisher was told already that all is well.",
    ),
    (Context::HttpHooks, "on_unpublish", SAME),
    (Context::HttpHooks, "on_play", "the same; with `hls_ctx` for viewers of HLS too, in SRS 5 and later."),
    (Context::HttpHooks, "on_stop", "as `on_play`."),
    (Context::HttpHooks, "on_dvr", SAME),
    (Context::HttpHooks, "on_hls", "the same; segments are always files there."),
    (Context::HttpHooks, "on_hls_notify", "the same, but that the URL is chosen by chance."),
    (Context::Heartbeat, "enabled", SAME),
    (Context::Heartbeat, "interval", SAME),
    (Context::Heartbeat, "url", SAME),
    (Context::Heartbeat, "device_id", SAME),
    (Context::Heartbeat, "summaries", SAME),
    (Context::HttpRemux, "fast_cache", SAME),
    (Context::HttpRemux, "drop_if_not_match", "the same, in SRS 5 and later."),
    (Context::HttpStatic, "enabled", SAME),
    (Context::HttpStatic, "mount", SAME),
    (Context::HttpStatic, "dir", SAME),
    (Context::Vhost, "enabled", SAME),
    (Context::Vhost, "min_latency", SAME),
    (Context::Vhost, "tcp_nodelay", "off by default."),
    (Context::Vhost, "chunk_size", SAME),
    (Context::Vhost, "in_ack_size", SAME),
    (Context::Vhost, "out_ack_size", SAME),
    (Context::Play, "gop_cache", SAME),
    (Context::Play, "gop_cache_max_frames", "the same, in SRS 5 and later."),
    (Context::Play, "queue_length", "the same; a viewer who falls behind goes on at a keyframe here."),
    (Context::Play, "queue_bytes", NOT),
    (Context::Play, "time_jitter", SAME),
    (Context::Play, "mw_latency", SAME),
    (Context::Play, "send_timeout", "always 30 seconds in SRS."),
    (Context::Play, "send_buffer", NOT),
    (Context::Play, "no_stream", "SRS always waits."),
    (Context::Play, "wait", NOT),
    (Context::Publish, "on_busy", "SRS always refuses, as `reject` does."),
    (Context::Publish, "resume_wait", NOT),
    (Context::Publish, "firstpkt_timeout", SAME),
    (Context::Publish, "normal_timeout", SAME),
    (Context::HttpRemux, "enabled", SAME),
    (Context::HttpRemux, "mount", "the same, but several may be given."),
    (Context::HttpRemux, "chunked", NOT),
    (Context::HttpRemux, "no_stream", "SRS waits, or answers 404 at once with `hstrs off`."),
    (Context::HttpRemux, "wait", NOT),
    (Context::HttpRemux, "has_audio", "the same, in SRS 5 and later; on by default."),
    (Context::HttpRemux, "has_video", "the same, in SRS 5 and later; on by default."),
    (Context::HttpRemux, "guess_has_av", "the same, in SRS 5 and later."),
    (Context::Hls, "enabled", SAME),
    (Context::Hls, "hls_variant", NOT),
    (Context::Hls, "hls_storage", "SRS 2 had it; later ones write to the disk only."),
    (Context::Hls, "hls_ram_bytes", NOT),
    (Context::Hls, "hls_mount", "SRS 2 had it."),
    (Context::Hls, "hls_fragment", SAME),
    (Context::Hls, "hls_part", NOT),
    (Context::Hls, "hls_td_ratio", "the same as in SRS 5 and later; 1.5 before."),
    (
        Context::Hls,
        "hls_aof_ratio",
        "the same as in SRS 5 and later, which cut streams without video by it too.",
    ),
    (Context::Hls, "hls_window", SAME),
    (Context::Hls, "hls_path", SAME),
    (Context::Hls, "hls_m3u8_file", SAME),
    (
        Context::Hls,
        "hls_ts_file",
        "the same, with local times; `[seq]` begins at 0 there, at the seconds since 2020 here.",
    ),
    (Context::Hls, "hls_entry_prefix", SAME),
    (Context::Hls, "hls_acodec", SAME),
    (Context::Hls, "hls_vcodec", SAME),
    (Context::Hls, "hls_cleanup", SAME),
    (Context::Hls, "hls_dispose", "the same as in SRS 5 and later; 0 before."),
    (Context::Hls, "hls_wait_keyframe", SAME),
    (Context::Hls, "hls_keys", SAME),
    (Context::Hls, "hls_fragments_per_key", SAME),
    (Context::Hls, "hls_key_file", SAME),
    (Context::Hls, "hls_key_file_path", SAME),
    (Context::Hls, "hls_key_url", SAME),
    (Context::Hls, "hls_on_error", "the same, but for `ignore`, which ends HLS altogether there."),
    (Context::Hls, "hls_ts_floor", "the same, but that a number is never used twice."),
    (Context::Hls, "hls_ctx", "on in SRS 5 and later, which count viewers by it alone; not known before."),
    (Context::Hls, "hls_ts_ctx", SAME),
    (Context::Forward, "enabled", SAME),
    (
        Context::Forward,
        "destination",
        "the same. A destination that is back gets the stream from its last keyframe on here, not from the next frame.",
    ),
    (Context::Cluster, "mode", SAME),
    (Context::Cluster, "origin", "the same; the pause after all have failed is always 3 s there."),
    (Context::Cluster, "token_traverse", "for RTMP alone there; who plays by HTTP is asked about here, too."),
    (Context::Cluster, "vhost", SAME),
    (Context::Dvr, "enabled", SAME),
    (Context::Dvr, "dvr_apply", SAME),
    (Context::Dvr, "dvr_plan", "the same; `append` in SRS 2 only. A session ends with the connection there."),
    (Context::Dvr, "dvr_path", "the same; an existing file is an error there. MPEG-TS is not known there."),
    (Context::Dvr, "dvr_duration", SAME),
    (Context::Dvr, "dvr_wait_keyframe", "the same, for the end of files only."),
    (Context::Dvr, "time_jitter", SAME),
    (Context::Dvr, "dvr_keep", NOT),
    (Context::Dvr, "dvr_max_bytes", NOT),
    (Context::Root, "ff_log_dir", "`./objs` by default, and without a limit for the files' size."),
    (Context::Root, "ff_log_level", SAME),
    (Context::Ingest, "enabled", SAME),
    (Context::Ingest, "ffmpeg", "no default there."),
    (Context::Input, "type", SAME),
    (Context::Input, "url", SAME),
    (Context::Transcode, "enabled", SAME),
    (Context::Transcode, "ffmpeg", "no default there."),
    (Context::Engine, "enabled", SAME),
    (Context::Engine, "iformat", "flv for an ingest too, unless it copies."),
    (Context::Engine, "vcodec", "to be given when the engine is enabled."),
    (Context::Engine, "acodec", "to be given when the engine is enabled."),
    (Context::Engine, "vthreads", "1 by default."),
    (Context::Engine, "oformat", "flv by default, whatever the output is."),
    (Context::Engine, "output", "the same; it has no times."),
    (Context::Engine, "vfilter", SAME),
    (Context::Engine, "vbitrate", SAME),
    (Context::Engine, "vfps", SAME),
    (Context::Engine, "vwidth", SAME),
    (Context::Engine, "vheight", SAME),
    (Context::Engine, "vprofile", SAME),
    (Context::Engine, "vpreset", SAME),
    (Context::Engine, "vparams", SAME),
    (Context::Engine, "abitrate", SAME),
    (Context::Engine, "asample_rate", SAME),
    (Context::Engine, "achannels", SAME),
    (Context::Engine, "aparams", SAME),
    (Context::Engine, "perfile", SAME),
    (Context::Exec, "enabled", SAME),
    (Context::Exec, "publish", "the same."),
];

/// How the directive `name` of `context` is in SRS, where that is known.
pub(super) fn srs(context: Context, name: &str) -> Option<&'static str> {
    SRS.iter().find(|(c, n, _)| *c == context && *n == name).map(|(_, _, note)| *note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::schema;

    #[test]
    fn every_note_is_of_a_directive_that_there_is() {
        let reloads = NOT_AT_ONCE.iter().flat_map(|(c, _, names)| names.iter().map(move |n| (*c, *n)));
        for (context, name) in reloads.chain(SRS.iter().map(|(c, n, _)| (*c, *n))) {
            assert!(schema::find(context, name).is_some_and(|d| d.name == name), "{context:?} {name}");
        }
    }
}
