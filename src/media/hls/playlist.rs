//! The text of a media playlist, and of the multivariant playlist above it.   Spec: RFC 8216, section 4; RFC 8216bis, sections 4.4 and 6.2.5.
//!
//! The tags of one segment come in this order: discontinuity, key, map, date, parts, gap, length, URI.

use super::names::{Names, date};
use super::window::{Item, ListedPart, Open, Segment};
use super::{About, Measured, Variant};
use std::collections::VecDeque;
use std::fmt::Write;

/// Parts are listed for segments at most this many target durations from the end (RFC 8216bis, 4.4.4.9).
const PARTS_FOR: u64 = 3;
/// PART-HOLD-BACK in part targets: at least two, better three (RFC 8216bis, 4.4.3.8).
const HOLD_BACK: u64 = 3;

/// How many seconds of parts a request may be ahead of the newest one, and how many parts at least (RFC 8216bis, 6.2.5.2).
const ADVANCE: u64 = 3;

/// How many parts a request may be ahead of the newest one.
pub(super) fn advance_limit(part_target_ms: u64) -> u64 {
    (ADVANCE * 1000).checked_div(part_target_ms).unwrap_or(0).max(ADVANCE)
}

/// Segments further from the end than this many target durations may be left out (RFC 8216bis, 4.4.3.8: six at least).
const SKIP_UNTIL: u64 = 6;

/// The Skip Boundary in milliseconds.
pub(super) fn skip_until_ms(target_s: u64) -> u64 {
    target_s.saturating_mul(1000 * SKIP_UNTIL)
}

/// Whether a query asks for what is new only (RFC 8216bis, 6.2.5.1).
pub(super) fn wants_update(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "_HLS_skip=YES" | "_HLS_skip=v2"))
}

/// What a blocking request asks for: a playlist that holds this segment, or this part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reload {
    pub(super) sequence: u64,
    pub(super) part: Option<u64>,
}

impl Reload {
    /// `_HLS_msn=N` and `_HLS_part=N` of a query string; `None` when there is neither.
    pub(super) fn from_query(query: &str) -> Option<Result<Reload, &'static str>> {
        let find = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
                .map(|(_, v)| v)
        };
        match (find("_HLS_msn"), find("_HLS_part")) {
            (None, None) => None,
            (None, Some(_)) => Some(Err("_HLS_part needs _HLS_msn")),
            (Some(sequence), part) => Some(match (sequence.parse(), part.map(str::parse).transpose()) {
                (Ok(sequence), Ok(part)) => Ok(Reload { sequence, part }),
                _ => Err("_HLS_msn and _HLS_part are numbers"),
            }),
        }
    }
}

/// What a playlist is made from.
pub(super) struct View<'a> {
    pub(super) names: &'a Names,
    pub(super) variant: Variant,
    pub(super) target_s: u64,
    pub(super) part_target_ms: u64,
    /// Of the first segment listed.
    pub(super) sequence: u64,
    pub(super) discontinuity_sequence: u64,
    pub(super) listed: &'a VecDeque<Segment>,
    pub(super) open: Option<&'a Open>,
    pub(super) init: Option<&'a Item>,
    pub(super) hint: Option<std::rc::Rc<str>>,
    pub(super) ended: bool,
    /// Clients may ask for what is new only.
    pub(super) can_skip: bool,
}

impl View<'_> {
    /// Segments that are left out of an update.
    fn skipped(&self, total_ms: u64) -> usize {
        let until = total_ms.saturating_sub(skip_until_ms(self.target_s));
        let ends = self.listed.iter().scan(0u64, |end, segment| {
            *end = end.saturating_add(segment.ms);
            Some(*end)
        });
        ends.take_while(|end| self.can_skip && *end < until).count()
    }
}

/// The playlist, or with `update` what is new in it. Every line ends in a newline.
pub(super) fn text(view: &View<'_>, update: bool) -> String {
    let mut out = String::with_capacity(256 + view.listed.len() * 112);
    let total: u64 = view.listed.iter().map(|segment| segment.ms).sum();
    let skipped = if update { view.skipped(total) } else { 0 };
    head(view, skipped > 0, &mut out);
    let with_parts = total.saturating_sub(view.target_s.saturating_mul(1000 * PARTS_FOR));
    let mut before = 0u64;
    let (mut init, mut key): (Option<&str>, Option<&str>) = (None, None);
    if skipped > 0 {
        let _ = writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
    }
    for (n, segment) in view.listed.iter().enumerate() {
        if n < skipped {
            // What applies to the first segment that stands here is said there again.
            before = before.saturating_add(segment.ms);
            continue;
        }
        if segment.discontinuity {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if let Some((_, item)) = segment.key.as_ref().filter(|(_, item)| key != Some(&item.name)) {
            let _ = writeln!(out, "#EXT-X-KEY:METHOD=AES-128,URI=\"{}\"", view.names.key_uri(&item.name));
            key = Some(&item.name);
        }
        map(view, segment.init.as_deref(), &mut init, &mut out);
        dated(segment.date, &mut out);
        if before >= with_parts {
            parts(view, &segment.parts, &mut out);
        }
        before = before.saturating_add(segment.ms);
        let uri = view.names.uri(&segment.item.name);
        let gap = if segment.gap { "#EXT-X-GAP\n" } else { "" };
        let _ = writeln!(out, "{gap}#EXTINF:{},\n{uri}", seconds(segment.ms));
    }
    if view.ended {
        out.push_str("#EXT-X-ENDLIST\n");
    } else if view.variant == Variant::LowLatency {
        if let Some(open) = view.open.filter(|open| !open.parts.is_empty()) {
            if open.discontinuity {
                out.push_str("#EXT-X-DISCONTINUITY\n");
            }
            map(view, view.init, &mut init, &mut out);
            dated(open.date, &mut out);
            parts(view, &open.parts, &mut out);
        }
        if let Some(hint) = &view.hint {
            let _ = writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}\"", view.names.uri(hint));
        }
    }
    out
}

/// The tags of the whole list. The version is the least that what is in the list needs (RFC 8216bis, section 8): decimal
/// lengths 3, `EXT-X-MAP` 6, `EXT-X-SKIP` 9.
fn head(view: &View<'_>, skips: bool, out: &mut String) {
    let version = match view.variant {
        Variant::Ts => 3,
        Variant::Fmp4 | Variant::LowLatency => 6,
    };
    let version = if skips { 9 } else { version };
    let _ = writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{}", view.target_s);
    if view.variant == Variant::LowLatency {
        let hold_back = seconds(view.part_target_ms.saturating_mul(HOLD_BACK));
        let _ = write!(out, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={hold_back}");
        if view.can_skip {
            let _ = write!(out, ",CAN-SKIP-UNTIL={}", seconds(skip_until_ms(view.target_s)));
        }
        out.push('\n');
        let _ = writeln!(out, "#EXT-X-PART-INF:PART-TARGET={}", seconds(view.part_target_ms));
    }
    let _ = writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", view.sequence);
    // Always there: a discontinuity may leave the list only where it stands, and it must not appear later.
    let _ = writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", view.discontinuity_sequence);
    if view.listed.iter().all(|segment| segment.independent) {
        out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
}

fn map<'a>(view: &View<'_>, item: Option<&'a Item>, last: &mut Option<&'a str>, out: &mut String) {
    if let Some(item) = item.filter(|item| *last != Some(&item.name)) {
        let _ = writeln!(out, "#EXT-X-MAP:URI=\"{}\"", view.names.uri(&item.name));
        *last = Some(&item.name);
    }
}

fn dated(unix_ms: u64, out: &mut String) {
    let _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", date(unix_ms));
}

fn parts(view: &View<'_>, parts: &[ListedPart], out: &mut String) {
    for part in parts {
        let (length, uri) = (seconds(part.ms), view.names.uri(&part.item.name));
        let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
        let _ = writeln!(out, "#EXT-X-PART:DURATION={length},URI=\"{uri}\"{independent}");
    }
}

/// The multivariant playlist of the one rendition there is, which is at `uri` (RFC 8216bis, 4.4.6.2).
pub(super) fn multivariant(measured: &Measured, about: &About, uri: &str) -> String {
    let mut out = String::from("#EXTM3U\n");
    if measured.independent {
        out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    let Measured { peak, average, pictures, .. } = *measured;
    let _ = write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average}");
    if let Some(codecs) = &about.codecs {
        let _ = write!(out, ",CODECS=\"{codecs}\"");
    }
    if let Some((width, height)) = about.size {
        let _ = write!(out, ",RESOLUTION={width}x{height}");
    }
    if pictures > 0 {
        let _ = write!(out, ",FRAME-RATE={}", seconds(pictures));
    }
    let _ = writeln!(out, "\n{uri}");
    out
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}
