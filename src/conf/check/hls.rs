//! What in an `hls` block cannot be.

use super::Checker;
use crate::conf::error::Span;
use crate::conf::schema::Context;
use crate::conf::typed::{Hls, HlsStorage, HlsVariant, Vhost};

impl Checker<'_, '_, '_, '_> {
    /// Checks the `hls` blocks of all vhosts.
    pub(super) fn hls(&mut self) {
        let config = &self.draft.config;
        let served = |v: &Vhost| v.hls.enabled && v.hls.storage != HlsStorage::Disk;
        let idle = !config.http_server.enabled && config.vhosts.iter().any(|v| served(v));
        if let Some(span) = self.place(Context::Hls, "enabled").filter(|_| idle) {
            let message = String::from("nobody can ask for HLS in memory while `http_server` is off");
            let help =
                String::from("add `http_server { enabled on; }` outside the vhosts, or `hls_storage disk`");
            self.reports.warn(span, message, Some(help));
        }
        let faults: Vec<_> = self.draft.config.vhosts.iter().filter_map(|v| hls_fault(&v.hls)).collect();
        for (directive, message) in faults {
            let span = self.place(Context::Hls, directive).unwrap_or(Span::START);
            self.reports.error(span, message, None);
        }
    }
}

/// What in an `hls` block cannot be, and the directive that says so.
fn hls_fault(hls: &Hls) -> Option<(&'static str, String)> {
    let climbs = |path: &str| path.split('/').any(|part| part == "..");
    let tells_time = |path: &str| {
        let variables =
            ["[timestamp]", "[duration]", "[2006]", "[01]", "[02]", "[15]", "[04]", "[05]", "[999]"];
        variables.iter().any(|variable| path.contains(variable))
    };
    let unique = |path: &str| path.contains("[seq]") || path.contains("[timestamp]");
    let fault = |name: &'static str, what: &str| Some((name, format!("`{name}` {what}")));
    let low_latency = hls.variant == HlsVariant::LowLatency;
    if !hls.mount.contains('/') || !hls.mount.contains("[stream]") || !hls.mount.ends_with(".m3u8") {
        fault("hls_mount", "is a host and a path with [stream], ending in .m3u8")
    } else if !hls.m3u8_file.contains("[stream]") || climbs(&hls.m3u8_file) {
        fault("hls_m3u8_file", "is a path with [stream] below `hls_path`")
    } else if !unique(&hls.ts_file) || !hls.ts_file.contains("[stream]") || climbs(&hls.ts_file) {
        fault(
            "hls_ts_file",
            "is a path with [stream] and with [seq] or [timestamp]: each segment has its own name",
        )
    } else if low_latency && (!hls.ts_file.contains("[seq]") || tells_time(&hls.ts_file)) {
        fault(
            "hls_ts_file",
            "has [seq] and nothing of time for `hls_variant lowlatency`: parts are announced by name",
        )
    } else if !unique(&hls.key_file) || !hls.key_file.contains("[stream]") || climbs(&hls.key_file) {
        fault("hls_key_file", "is a path with [stream] and with [seq] or [timestamp]")
    } else if hls.key_file_path.is_some() && !hls.key_file.ends_with(".key") {
        fault("hls_key_file", "ends in .key where `hls_key_file_path` is given")
    } else if hls.keys && hls.variant != HlsVariant::Ts {
        fault("hls_keys", "is for `hls_variant ts`")
    } else if low_latency && hls.storage != HlsStorage::Ram {
        fault(
            "hls_storage",
            "is ram for `hls_variant lowlatency`: its players wait for answers, which files cannot give",
        )
    } else if hls.storage == HlsStorage::Both
        && hls.mount.split_once('/').is_none_or(|(_, p)| p != hls.m3u8_file)
    {
        fault("hls_storage", "both needs the same path in `hls_mount` and `hls_m3u8_file`")
    } else {
        None
    }
}
