//! Where segments and parts end: pieces in, parts and ends of segments out.
//!
//! - With video, a segment ends at the first keyframe at or after `fragment_ms`; without, at the first piece then.
//! - At `limit_ms`, and when it is as large as a quarter of the budget, a segment ends wherever it is.
//! - A segment of TS that comes to that while the picture stands is the last of its kind: what follows begins with a keyframe and a
//!   discontinuity, since players that make MP4 of TS, such as hls.js, never get over segments of sound between those of
//!   both. Only when no keyframe comes for as long again do they get sound alone.
//! - A step of the time line of more than `limit_ms`, another initialization segment and another publisher end it too;
//!   what follows is a discontinuity.
//!
//! The length of a segment is the time from its first piece to the first of the next, so that lengths add up.

use super::super::frame::{Kind, Role};
use super::super::package::Piece;
use super::{Settings, Variant};
use bytes::Bytes;

/// A keyframe this little before `fragment_ms` counts as in time: rounded timestamps come early by a millisecond or two.
const EARLY_MS: u64 = 50;
/// A segment of TS shorter than this is not listed when a publisher goes: the next one's first segment begins with it.
pub(super) const MIN_SEGMENT_MS: u64 = 100;
/// Length that is assumed for a frame while there is no other to measure by.
const USUAL_FRAME_MS: u64 = 40;
/// Without a next one for this long (ms), a picture stands.
const STANDS_MS: u64 = 1000;
/// The segment in the making takes this share of the budget at most.
const OPEN_SHARE: usize = 4;

/// What the cutter makes, in order: `(Init? Open Break? Part+ Close)*`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// An initialization segment; the segments that follow need it.
    Init(Bytes),
    /// A segment begins.
    Open {
        /// It does not go on from the one before.
        discontinuity: bool,
    },
    /// The segment that has begun does not go on from the one before after all.
    Break,
    /// A part of the segment; the only one, except for low latency.
    Part(Part),
    /// The segment is complete.
    Close {
        /// Its length.
        ms: u64,
    },
}

/// A part of a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) chunks: Vec<Bytes>,
    pub(super) ms: u64,
    /// A player may start with it.
    pub(super) independent: bool,
    /// Pieces of video in it.
    pub(super) pictures: u32,
}

/// The segment in the making.
#[derive(Debug)]
struct Open {
    start: u64,
    has_video: bool,
    bytes: usize,
    part: Part,
    part_start: u64,
    part_bytes: usize,
}

/// How long parts are: none is longer than `target`, and to see to that none goes on beyond `limit`.
#[derive(Debug, Clone, Copy)]
struct PartRule {
    wanted: u64,
    limit: u64,
    target: u64,
    measured: bool,
}

#[derive(Debug)]
pub(super) struct Cutter {
    variant: Variant,
    fragment: u64,
    limit: u64,
    wait_key: bool,
    max_open: usize,
    rule: PartRule,
    open: Option<Open>,
    init: Option<Bytes>,
    discontinuity: bool,
    /// Time of the first piece that was left out because no keyframe has come.
    waiting_since: Option<u64>,
    /// Newest time of all tracks.
    newest: u64,
    /// Time of the last piece of the track that lengths are measured by, and its distance from the one before.
    last: Option<u64>,
    gap: u64,
}

/// How large a segment may be that is part of a budget.
pub(super) fn open_share(budget: usize) -> usize {
    (budget / OPEN_SHARE).max(1)
}

impl Cutter {
    pub(super) fn new(settings: &Settings) -> Cutter {
        let wanted = settings.part_ms.max(1);
        Cutter {
            variant: settings.variant,
            fragment: settings.fragment_ms.max(1),
            limit: settings.limit_ms.max(settings.fragment_ms).max(1),
            wait_key: settings.wait_key,
            max_open: open_share(settings.budget),
            rule: PartRule { wanted, limit: wanted, target: wanted, measured: false },
            open: None,
            init: None,
            discontinuity: false,
            waiting_since: None,
            newest: 0,
            last: None,
            gap: USUAL_FRAME_MS,
        }
    }

    /// Bytes of the segment in the making that are not in the window yet.
    pub(super) fn bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.part_bytes)
    }

    /// How many pieces these are.
    pub(super) fn pieces(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.part.chunks.len())
    }

    /// A segment that is larger ends wherever it is.
    pub(super) fn set_max_open(&mut self, bytes: usize) {
        self.max_open = bytes.max(1);
    }

    /// What no part exceeds so far, in milliseconds.
    pub(super) fn part_target_ms(&self) -> u64 {
        self.rule.target
    }

    /// Takes the next piece. `video`: the stream has video, so a keyframe is worth waiting for. `tables`: what a segment
    /// begins with that does not begin with a key.
    pub(super) fn take(
        &mut self,
        piece: Piece,
        video: bool,
        tables: impl FnOnce() -> Bytes,
        made: &mut Vec<Made>,
    ) {
        if piece.role == Role::Header {
            return self.header(piece.payload, made);
        }
        if self.open.is_some() && piece.dts > self.newest.saturating_add(self.limit) {
            self.close_here(made);
        }
        if let Some(has_video) = self.open.as_ref().filter(|o| self.ends(o, &piece)).map(|o| o.has_video) {
            if has_video && self.stands(&piece) {
                self.close_here(made);
            } else {
                self.close(piece.dts, made);
            }
        }
        if self.open.is_none() && !self.begin(&piece, video, made) {
            return;
        }
        self.add(piece, tables, made);
    }

    /// The publisher is gone, or something else begins. A tail too short to be listed is kept for what follows.
    pub(super) fn interrupt(&mut self, made: &mut Vec<Made>) {
        let tail = self.open.as_ref().map(|open| self.content_end().saturating_sub(open.start));
        let keep = self.variant == Variant::Ts && tail.is_some_and(|ms| ms < MIN_SEGMENT_MS);
        if keep {
            made.push(Made::Break);
        } else {
            self.close_here(made);
        }
        self.waiting_since = None;
        self.last = None;
    }

    /// Completes the segment in the making, however short.
    pub(super) fn finish(&mut self, made: &mut Vec<Made>) {
        self.close_here(made);
    }

    fn header(&mut self, payload: Bytes, made: &mut Vec<Made>) {
        if self.variant != Variant::Ts && self.init.as_ref() != Some(&payload) {
            self.close_here(made);
            self.init = Some(payload.clone());
            made.push(Made::Init(payload));
        }
    }

    /// The end of what has come, as far as it can be known before the next piece comes.
    fn content_end(&self) -> u64 {
        self.newest.max(self.last.unwrap_or(0).saturating_add(self.gap.min(self.limit)))
    }

    fn ends(&self, open: &Open, piece: &Piece) -> bool {
        let age = piece.dts.saturating_sub(open.start);
        let here = match (open.has_video, piece.kind) {
            (false, _) => true,
            (true, Kind::Video) => piece.role == Role::Key || !self.wait_key,
            (true, _) => false,
        };
        here && age.saturating_add(EARLY_MS.min(self.fragment / 10)) >= self.fragment
            || age >= self.limit
            || open.bytes >= self.max_open
    }

    /// Whether the picture stands, and a segment without any must not follow.
    fn stands(&self, piece: &Piece) -> bool {
        let since = self.last.map_or(0, |last| piece.dts.saturating_sub(last));
        self.variant == Variant::Ts && piece.kind != Kind::Video && since > STANDS_MS
    }

    /// Opens a segment with `piece`, unless it is better to wait for a keyframe.
    fn begin(&mut self, piece: &Piece, video: bool, made: &mut Vec<Made>) -> bool {
        let start = piece.kind == Kind::Video && piece.role == Role::Key;
        let fresh = self.last.is_none();
        if fresh && video && !start {
            let since = *self.waiting_since.get_or_insert(piece.dts);
            if piece.dts.saturating_sub(since) < self.limit {
                return false;
            }
        }
        self.waiting_since = None;
        made.push(Made::Open { discontinuity: std::mem::take(&mut self.discontinuity) });
        self.open = Some(Open {
            start: piece.dts,
            has_video: false,
            bytes: 0,
            part: Part::default(),
            part_start: piece.dts,
            part_bytes: 0,
        });
        self.newest = piece.dts;
        true
    }

    fn add(&mut self, piece: Piece, tables: impl FnOnce() -> Bytes, made: &mut Vec<Made>) {
        let Some(open) = &mut self.open else { return };
        let video = piece.kind == Kind::Video;
        open.has_video |= video;
        if video || !open.has_video {
            if let Some(gap) = self.last.and_then(|last| piece.dts.checked_sub(last)).filter(|gap| *gap > 0) {
                self.gap = gap;
                self.rule.measure(gap);
            }
            self.last = Some(piece.dts);
            let age = piece.dts.saturating_sub(open.part_start);
            let full = age > 0 && age.saturating_add(self.gap) > self.rule.limit;
            if full && self.variant == Variant::LowLatency && !open.part.chunks.is_empty() {
                let mut part = std::mem::take(&mut open.part);
                part.ms = self.rule.length(age);
                made.push(Made::Part(part));
                open.part_start = piece.dts;
                open.part_bytes = 0;
            }
        }
        if open.part.chunks.is_empty() {
            open.part.independent = !open.has_video;
            let bare = open.bytes == 0 && piece.role != Role::Key;
            open.part.chunks.extend(bare.then(tables).filter(|tables| !tables.is_empty()));
        }
        if video && open.part.pictures == 0 {
            open.part.independent = piece.role == Role::Key;
        }
        open.part.pictures += u32::from(video);
        open.bytes = open.bytes.saturating_add(piece.payload.len());
        open.part_bytes = open.part_bytes.saturating_add(piece.payload.len());
        self.newest = self.newest.max(piece.dts);
        open.part.chunks.push(piece.payload);
    }

    fn close_here(&mut self, made: &mut Vec<Made>) {
        if self.open.is_some() {
            self.discontinuity = true;
            self.close(self.content_end(), made);
            self.last = None;
        }
    }

    fn close(&mut self, end: u64, made: &mut Vec<Made>) {
        let Some(mut open) = self.open.take() else { return };
        if !open.part.chunks.is_empty() {
            let age = end.saturating_sub(open.part_start).max(1);
            open.part.ms = match self.variant {
                Variant::LowLatency => self.rule.length(age),
                Variant::Ts | Variant::Fmp4 => age,
            };
            made.push(Made::Part(open.part));
        }
        made.push(Made::Close { ms: end.saturating_sub(open.start).max(1) });
    }
}

impl PartRule {
    /// Fits the parts to the distance of frames, once: parts have to be alike (no part but the last of a segment is
    /// shorter than 85 % of the target, RFC 8216bis 4.4.4.9).
    fn measure(&mut self, gap: u64) {
        if std::mem::replace(&mut self.measured, true) {
            return;
        }
        let aim = self.wanted.saturating_mul(93) / 100;
        let most = aim / gap * gap;
        if most.saturating_mul(100) >= self.wanted.saturating_mul(86) {
            self.limit = aim;
        } else {
            let frames = (self.wanted.saturating_add(gap / 2) / gap).max(1);
            let length = frames.saturating_mul(gap);
            self.target = length.saturating_add(length / 20).max(length.saturating_add(2));
            self.limit = length.saturating_add(gap / 4);
        }
    }

    /// The length of a part that spans `age`. When frames failed to come, the part is as long as its frames: the gap
    /// counts in the segment alone.
    fn length(&self, age: u64) -> u64 {
        age.min(self.target).max(1)
    }
}
