//! The feed: the one bounded log of a stream's frames. Viewers hold cursors into it and nothing else.
//!
//! What is kept: the current GOP (so that a joiner starts at once), and behind it as much as the slowest viewer
//! still needs, never more than the limits. Frames are numbered from the stream's first; numbers are never
//! used twice.

use super::frame::{Frame, Kind, Role};
use std::collections::VecDeque;
use std::rc::Rc;

/// Bounds of one feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far behind the newest frame a viewer may be, in milliseconds; the current GOP may be longer.
    pub max_ms: u64,
    /// Payload bytes held at most, the GOP included.
    pub max_bytes: usize,
    /// Longest GOP, in frames, that is kept for joiners.
    pub max_gop_frames: usize,
    /// Whether a GOP is kept for joiners at all.
    pub gop_cache: bool,
    /// Bytes of the longest GOP that is kept for joiners.
    pub max_gop_bytes: usize,
    /// Milliseconds before the newest frame that are kept whatever the GOP is (`fast_cache`).
    pub keep_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_ms: 30_000,
            max_bytes: 32 << 20,
            max_gop_frames: 2500,
            gop_cache: true,
            max_gop_bytes: usize::MAX,
            keep_ms: 0,
        }
    }
}

/// Audio frames in a row, without any video, after which the last GOP is too old to start with (the picture
/// has stopped; what goes on is sound).
pub const STALE_GOP_AUDIO_FRAMES: u32 = 115;

/// Memory that a frame takes besides its payload: itself, its place in the feed, what shares the payload, and the
/// allocator's heads of all of these.
pub const FRAME_OVERHEAD: usize = size_of::<Frame>() + size_of::<[usize; 14]>();

/// A stream's frames.
#[derive(Debug)]
pub struct Feed {
    limits: Limits,
    base: u64,
    frames: VecDeque<Rc<Frame>>,
    bytes: usize,
    last_key: Option<u64>,
    /// Bytes from the newest keyframe on, also when it is too long to be kept.
    gop_bytes: usize,
    audio_run: u32,
}

impl Feed {
    /// An empty feed.
    pub fn new(limits: Limits) -> Feed {
        Feed {
            limits,
            base: 0,
            frames: VecDeque::new(),
            bytes: 0,
            last_key: None,
            gop_bytes: 0,
            audio_run: 0,
        }
    }

    /// Number of the oldest frame held.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Number that the next frame will get.
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.frames.len() as u64)
    }

    /// Payload bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory taken, in bytes: payloads and what comes with each.
    pub fn heap(&self) -> usize {
        self.bytes.saturating_add(self.frames.len().saturating_mul(FRAME_OVERHEAD))
    }

    /// Frames held.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frame with this number, while it is held.
    pub fn get(&self, seq: u64) -> Option<&Rc<Frame>> {
        let index = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.frames.get(index)
    }

    /// The frames from `seq` on (nothing when it is not held).
    pub fn from(&self, seq: u64) -> impl Iterator<Item = &Rc<Frame>> {
        let skip = seq.checked_sub(self.base).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        self.frames.range(skip.min(self.frames.len())..)
    }

    /// The newest frame.
    pub fn newest(&self) -> Option<&Rc<Frame>> {
        self.frames.back()
    }

    /// Number of the newest keyframe, while it is held and fresh.
    pub fn last_key(&self) -> Option<u64> {
        self.last_key
    }

    /// Appends a frame and keeps the hard limits.
    pub fn push(&mut self, frame: Frame) {
        let seq = self.end();
        match (frame.kind, frame.role) {
            (_, Role::Key) => {
                self.last_key = Some(seq);
                self.gop_bytes = 0;
                self.audio_run = 0;
            }
            (Kind::Video, _) => self.audio_run = 0,
            (Kind::Audio, Role::Delta) => self.audio_run = self.audio_run.saturating_add(1),
            _ => {}
        }
        self.bytes = self.bytes.saturating_add(frame.payload.len());
        self.gop_bytes = self.gop_bytes.saturating_add(frame.payload.len());
        self.frames.push_back(Rc::new(frame));
        if self.audio_run > STALE_GOP_AUDIO_FRAMES || self.gop_is_too_long() {
            self.last_key = None;
        }
        while self.bytes > self.limits.max_bytes
            || self.frames.len() > self.limits.max_gop_frames.saturating_mul(2)
        {
            self.pop();
        }
    }

    fn gop_is_too_long(&self) -> bool {
        let frames = self.last_key.map_or(0, |key| self.end().saturating_sub(key));
        usize::try_from(frames).unwrap_or(usize::MAX) > self.limits.max_gop_frames
            || self.gop_bytes > self.limits.max_gop_bytes
    }

    /// Drops what nobody needs any more: all before the current GOP (before the end, when no GOP is kept)
    /// except what a viewer at `slowest` still has to read, and that only up to the time limit.
    pub fn trim(&mut self, slowest: Option<u64>) {
        let start = match self.last_key {
            Some(key) if self.limits.gop_cache => key,
            _ => self.end().saturating_sub(1),
        };
        let newest = self.frames.back().map_or(0, |frame| frame.dts);
        let start = start.min(self.back(self.limits.keep_ms).unwrap_or(start));
        let keep = slowest.map_or(start, |seq| seq.min(start));
        while let Some(oldest) = self.frames.front() {
            let late = self.base < start && newest.saturating_sub(oldest.dts) > self.limits.max_ms;
            if self.base >= keep && !late {
                break;
            }
            self.pop();
        }
        if self.frames.len() * 4 < self.frames.capacity() {
            self.frames.shrink_to(self.frames.len() * 2);
        }
    }

    /// The oldest frame that is at most `ms` older than the newest, if `ms` is not zero.
    pub fn back(&self, ms: u64) -> Option<u64> {
        let newest = self.frames.back().filter(|_| ms > 0)?.dts;
        let older = self.frames.iter().take_while(|frame| newest.saturating_sub(frame.dts) > ms).count();
        Some(self.base.saturating_add(older as u64))
    }

    /// Forgets the keyframe: a new publisher's pictures do not build on the old one's.
    pub fn forget_key(&mut self) {
        self.last_key = None;
        self.audio_run = 0;
    }

    /// Changes the limits: that of a GOP's bytes takes effect now, the others with the next frame or [`Feed::trim`].
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        if self.gop_bytes > limits.max_gop_bytes {
            self.last_key = None;
        }
    }

    /// Drops everything; numbers go on.
    pub fn clear(&mut self) {
        self.base = self.end();
        (self.frames, self.bytes, self.last_key) = (VecDeque::new(), 0, None);
    }

    fn pop(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes = self.bytes.saturating_sub(frame.payload.len());
            self.base = self.base.saturating_add(1);
            if self.last_key.is_some_and(|key| key < self.base) {
                self.last_key = None;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::media::frame::CodecSet;
    use bytes::Bytes;

    pub(crate) fn frame(kind: Kind, role: Role, dts: u64, len: usize) -> Frame {
        Frame {
            kind,
            role,
            dts,
            payload: Bytes::from(vec![dts as u8; len]),
            codec: Rc::new(CodecSet::default()),
        }
    }

    fn gops(feed: &mut Feed, from_ms: u64, count: u64) {
        for n in 0..count {
            let role = if n % 50 == 0 { Role::Key } else { Role::Delta };
            feed.push(frame(Kind::Video, role, from_ms + n * 40, 100));
        }
    }

    #[test]
    fn without_viewers_only_the_current_gop_stays() {
        let mut feed = Feed::new(Limits::default());
        gops(&mut feed, 0, 130);
        feed.trim(None);
        assert_eq!((feed.base(), feed.len(), feed.bytes()), (100, 30, 3000));
        assert_eq!(feed.last_key(), Some(100));
    }

    #[test]
    fn a_slow_viewer_holds_frames_up_to_the_time_limit() {
        let mut feed = Feed::new(Limits { max_ms: 4000, ..Limits::default() });
        gops(&mut feed, 0, 130);
        feed.trim(Some(60));
        assert_eq!(feed.base(), 60);
        gops(&mut feed, 5200, 100);
        feed.trim(Some(60));
        assert!(feed.newest().unwrap().dts - feed.get(feed.base()).unwrap().dts <= 4000);
    }

    #[test]
    fn a_stream_that_never_has_a_keyframe_is_bounded() {
        let mut feed = Feed::new(Limits { max_bytes: 50_000, ..Limits::default() });
        for n in 0..100_000 {
            feed.push(frame(Kind::Video, Role::Delta, n * 40, 100));
            assert!(feed.bytes() <= 50_000);
        }
        feed.trim(None);
        assert!(feed.len() <= 1);
        for n in 0..100_000 {
            feed.push(frame(Kind::Audio, Role::Delta, n * 23, 0));
        }
        assert!(feed.len() <= 5000);
    }

    #[test]
    fn a_gop_longer_than_the_limit_is_not_kept_for_joiners() {
        let mut feed = Feed::new(Limits { max_gop_frames: 30, ..Limits::default() });
        feed.push(frame(Kind::Video, Role::Key, 0, 10));
        for n in 1..30 {
            feed.push(frame(Kind::Video, Role::Delta, n * 40, 10));
        }
        assert_eq!(feed.last_key(), Some(0));
        feed.push(frame(Kind::Video, Role::Delta, 2000, 10));
        assert_eq!(feed.last_key(), None);
    }

    #[test]
    fn a_gop_of_too_many_bytes_is_not_kept_for_joiners_until_a_smaller_one_comes() {
        let mut feed = Feed::new(Limits { max_gop_bytes: 2_000, ..Limits::default() });
        gops(&mut feed, 0, 20);
        assert_eq!(feed.last_key(), Some(0));
        gops(&mut feed, 800, 21);
        assert_eq!(feed.last_key(), None, "21 frames of 100 bytes");
        feed.trim(None);
        assert_eq!((feed.len(), feed.bytes()), (1, 100));
        feed.push(frame(Kind::Video, Role::Key, 2_000, 10));
        assert_eq!(feed.last_key(), Some(41));
        feed.set_limits(Limits { max_gop_bytes: 9, ..Limits::default() });
        assert_eq!(feed.last_key(), None, "a limit that shrinks takes effect at once");
    }

    #[test]
    fn a_feed_that_was_cleared_never_gives_a_number_twice() {
        let mut feed = Feed::new(Limits::default());
        gops(&mut feed, 0, 60);
        feed.clear();
        assert_eq!((feed.base(), feed.end(), feed.heap(), feed.last_key()), (60, 60, 0, None));
    }

    #[test]
    fn a_picture_that_stopped_is_not_shown_to_joiners() {
        let mut feed = Feed::new(Limits::default());
        feed.push(frame(Kind::Video, Role::Key, 0, 10));
        for n in 0..=STALE_GOP_AUDIO_FRAMES {
            assert_eq!(feed.last_key(), Some(0));
            feed.push(frame(Kind::Audio, Role::Delta, u64::from(n) * 23, 10));
        }
        assert_eq!(feed.last_key(), None);
    }
}
