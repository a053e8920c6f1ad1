//! Whether `max_memory` is enough for what the rest of the configuration has in mind.

use super::Checker;
use crate::conf::schema::Context;
use crate::conf::typed::Vhost;

/// The stream that is reckoned with: 2 Mbit/s, 25 pictures and 47 frames of sound a second, a keyframe every 10 s.
const BYTES_PER_MS: u64 = 250;
const FRAMES_PER_S: u64 = 72;
const GOP_MS: u64 = 10_000;

impl Checker<'_, '_, '_, '_> {
    /// Warns when one stream of an ordinary bit rate does not fit.
    pub(super) fn memory(&mut self) {
        let config = &self.draft.config;
        let Some(max) = config.max_memory.filter(|max| *max > 0) else { return };
        let wants = |v: &Vhost| (gop(v), hls(v));
        let Some((gop, hls)) =
            config.vhosts.iter().filter(|v| v.enabled).map(|v| wants(v)).max_by_key(|(g, h)| g + h)
        else {
            return;
        };
        if gop + hls <= max {
            return;
        }
        let message = format!(
            "`max_memory` is less than one stream of 2 Mbit/s takes: {} of GOP cache, {} of HLS",
            megabytes(gop),
            megabytes(hls)
        );
        let less = if hls > gop { "`hls_window`" } else { "`gop_cache_max_frames`" };
        let help = format!("give it at least {}, or lower {less}", megabytes(gop + hls));
        if let Some(span) = self.place(Context::Root, "max_memory") {
            self.reports.warn(span, message, Some(help));
        }
    }
}

/// Bytes of the GOP cache of that stream.
fn gop(vhost: &Vhost) -> u64 {
    let frames = match vhost.play.gop_cache_max_frames {
        0 => u64::MAX,
        frames => u64::from(frames),
    };
    let ms = frames.saturating_mul(1000) / FRAMES_PER_S;
    let bytes = ms.min(GOP_MS) * BYTES_PER_MS;
    if vhost.play.gop_cache { bytes.min(vhost.play.queue_bytes) } else { 0 }
}

/// Bytes of its segments: those listed, as many that have left the list, and the one in the making.
fn hls(vhost: &Vhost) -> u64 {
    let hls = &vhost.hls;
    let ms = hls.window_ms.saturating_mul(2).saturating_add(hls.fragment_ms);
    let kept = hls.enabled && hls.storage != crate::conf::typed::HlsStorage::Disk;
    if kept { ms.saturating_mul(BYTES_PER_MS).min(hls.ram_bytes) } else { 0 }
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{}m", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}
