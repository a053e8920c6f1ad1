//! The cursor: all that a viewer is. A number in the feed, an offset inside the message on its way, a time base.
//!
//! ```text
//!            no start found yet        headers are due              frames in order
//!   new ──►  Waiting ────────────────► Headers ───────────────────► Frames ──┐
//!                                         ▲                                  │ fell behind the feed's tail:
//!                                         └──────────────────────────────────┘ finish the message, jump to a key
//! ```
//!
//! Invariants: a message is never cut; after a jump the viewer has every header that changed before any frame
//! that needs it; frames that were jumped over are counted.

use super::feed::{FRAME_OVERHEAD, Feed};
use super::frame::{CodecSet, Frame, Kind, Role};
use super::mux::{Format, Gather, Unit};
use std::rc::Rc;

/// How long, in the stream's time, a viewer waits for a keyframe before it takes what comes (streams with intra
/// refresh never send one).
pub const MAX_KEY_WAIT_MS: u64 = 10_000;

/// For so long after a start, in milliseconds, pieces from before it may still come.
const EARLY_MS: u64 = 500;

/// What a viewer has missed by being slow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How often the viewer was moved forward.
    pub times: u32,
    /// Frames left out.
    pub frames: u64,
    /// Stream time left out, in milliseconds.
    pub ms: u64,
}

/// Which frames a viewer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Audio frames and headers.
    pub audio: bool,
    /// Video frames and headers.
    pub video: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Filter { audio: true, video: true }
    }
}

impl Filter {
    fn wants(self, kind: Kind) -> bool {
        match kind {
            Kind::Audio => self.audio,
            Kind::Video => self.video,
            Kind::Script => true,
        }
    }
}

/// Where in a feed a viewer may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At any frame (a stream of sound only).
    Anywhere,
    /// At a keyframe, or at sound that leads up to one.
    Picture,
    /// At a piece that is marked as a start (derived feeds).
    Mark,
}

/// How a viewer joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Join {
    /// Start at the newest keyframe that is there, not at the next.
    pub gop_cache: bool,
    /// The frames it wants.
    pub filter: Filter,
    /// The feed's end when it began to wait for a publisher: it gets what came since.
    pub since: Option<u64>,
    /// Its time line starts at zero (else it is the stream's).
    pub rebase: bool,
    /// Leave out pieces from before its start: fragments of sound that would overlap at time zero.
    pub exact: bool,
}

impl Default for Join {
    fn default() -> Self {
        Join { gop_cache: true, filter: Filter::default(), since: None, rebase: true, exact: false }
    }
}

#[derive(Debug, Clone)]
enum At {
    /// Looking for a place to start, from frame `next` on; `since`: the time at which it began to.
    Waiting { since: Option<u64> },
    /// Sending header `index` of `set`; the frame `next` follows.
    Headers { set: Rc<CodecSet>, index: usize },
    /// Sending frames from `next` on.
    Frames,
}

/// A viewer's place in a feed.
#[derive(Debug, Clone)]
pub struct Cursor {
    at: At,
    next: u64,
    /// Bytes of the current message's wire form that are sent.
    offset: usize,
    /// The frame that is partly sent, kept because the feed may move on.
    part: Option<Rc<Frame>>,
    /// Asked to go on at the newest keyframe; done between two messages.
    resync: bool,
    /// The stream's time at which this viewer's time begins.
    base: Option<u64>,
    started: bool,
    exact: bool,
    version: u64,
    filter: Filter,
    last_sent_dts: u64,
    /// Most viewers miss nothing.
    skipped: Option<Box<Skipped>>,
}

impl Cursor {
    /// A viewer who joins now: at the cached GOP's keyframe if there is one, else at the next keyframe.
    pub fn join(feed: &Feed, join: Join) -> Cursor {
        let Join { gop_cache, filter, since, rebase, exact } = join;
        let newest = feed.last_key().filter(|_| gop_cache && filter.video).unwrap_or_else(|| feed.end());
        Cursor {
            at: At::Waiting { since: None },
            next: newest.min(since.unwrap_or(u64::MAX)),
            offset: 0,
            part: None,
            resync: false,
            base: (!rebase).then_some(0),
            started: false,
            exact,
            version: 0,
            filter,
            last_sent_dts: 0,
            skipped: None,
        }
    }

    /// Number of the frame that this viewer needs next: the feed keeps it if it can.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// What was left out because this viewer was slow.
    pub fn skipped(&self) -> Skipped {
        self.skipped.as_deref().copied().unwrap_or_default()
    }

    /// Whether a message is partly sent, so that nothing else may be written before its rest.
    pub fn mid_message(&self) -> bool {
        self.offset > 0
    }

    /// This viewer's share of the memory that a frame takes which only those hold who are in the middle of it: the feed
    /// has dropped it.
    pub fn pinned(&self, feed: &Feed) -> usize {
        match &self.part {
            Some(frame) if self.next < feed.base() => {
                frame.payload.len().saturating_add(FRAME_OVERHEAD) / Rc::strong_count(frame).max(1)
            }
            _ => 0,
        }
    }

    /// Bytes that are left of the message in flight.
    pub fn left_in_message(&self, feed: &Feed, format: Format) -> usize {
        let current = self.due(feed).next().map_or(0, |(_, unit)| format.wire_len(&unit));
        current.saturating_sub(self.offset)
    }

    /// Whether anything of the stream was sent.
    pub fn started(&self) -> bool {
        self.started
    }

    /// How far behind the newest frame this viewer is, in milliseconds.
    pub fn lag_ms(&self, feed: &Feed) -> u64 {
        feed.newest().map_or(0, |newest| newest.dts.saturating_sub(self.last_sent_dts))
    }

    /// Stream time sent since the start, in milliseconds.
    pub fn played_ms(&self) -> u64 {
        self.last_sent_dts.saturating_sub(self.base.unwrap_or(self.last_sent_dts))
    }

    /// Leaves out what came meanwhile: the viewer goes on at the newest keyframe (pause and resume).
    pub fn catch_up(&mut self) {
        self.resync = true;
    }

    /// Finds the place to go on from: the start for a joiner, a keyframe for one who fell behind. Does nothing inside
    /// a message.
    pub fn settle(&mut self, feed: &Feed, start: Start) {
        let start = if self.filter.video || start == Start::Mark { start } else { Start::Anywhere };
        if self.offset > 0 {
            return;
        }
        if std::mem::take(&mut self.resync) {
            let to = feed.last_key().unwrap_or_else(|| feed.end()).max(self.next);
            self.leap(feed, to, false);
        }
        if self.next < feed.base() {
            let resume = if start == Start::Anywhere { feed.base() } else { feed.end() };
            self.leap(feed, feed.last_key().unwrap_or(resume), true);
        }
        if matches!(self.at, At::Waiting { .. }) {
            self.find_start(feed, start);
        }
    }

    #[cold]
    fn leap(&mut self, feed: &Feed, to: u64, slow: bool) {
        if slow && self.started {
            let dts = feed.get(to).or(feed.newest()).map_or(self.last_sent_dts, |frame| frame.dts);
            let skipped = self.skipped.get_or_insert_default();
            skipped.times = skipped.times.saturating_add(1);
            skipped.frames = skipped.frames.saturating_add(to.saturating_sub(self.next));
            skipped.ms = skipped.ms.saturating_add(dts.saturating_sub(self.last_sent_dts));
        }
        self.next = to;
        if !matches!(self.at, At::Waiting { .. }) {
            self.at = At::Waiting { since: None };
        }
    }

    #[cold]
    fn find_start(&mut self, feed: &Feed, rule: Start) {
        let (mut sound, mut start, mut useless) = (None, None, 0);
        for (ahead, frame) in feed.from(self.next).enumerate() {
            match (frame.kind, frame.role, rule) {
                (_, Role::Header, _) => {}
                (kind, _, _) if !self.filter.wants(kind) => {}
                (_, Role::Key, Start::Picture) => start = sound.or(Some(ahead)),
                (_, Role::Key, _) | (_, _, Start::Anywhere) => start = Some(ahead),
                (Kind::Audio, _, Start::Picture) => sound = sound.or(Some(ahead)),
                (_, Role::Delta, _) => (sound, useless) = (None, ahead + 1),
            }
            if start.is_some() {
                break;
            }
        }
        let start = match start {
            Some(ahead) => self.next.saturating_add(ahead as u64),
            None if self.waited_enough(feed) => feed.end().saturating_sub(1),
            None => {
                // The feed need not keep what will not be sent.
                self.next = self.next.saturating_add(useless as u64);
                return;
            }
        };
        let Some(frame) = feed.get(start) else { return };
        self.next = start;
        self.base.get_or_insert(frame.dts);
        self.started = true;
        self.last_sent_dts = frame.dts;
        self.at = if frame.codec.version == self.version {
            At::Frames
        } else {
            self.version = frame.codec.version;
            At::Headers { set: frame.codec.clone(), index: 0 }
        };
    }

    /// The feed may be shorter than the wait: where it began is kept, not looked up.
    fn waited_enough(&mut self, feed: &Feed) -> bool {
        let (At::Waiting { since }, Some(newest)) = (&mut self.at, feed.newest()) else { return false };
        let first = feed.get(self.next).unwrap_or(newest);
        newest.dts.saturating_sub(*since.get_or_insert(first.dts)) >= MAX_KEY_WAIT_MS
    }

    fn timestamp(&self, dts: u64) -> u64 {
        dts.saturating_sub(self.base.unwrap_or(dts))
    }

    fn unit<'a>(&self, frame: &'a Frame) -> Unit<'a> {
        Unit::of(frame, self.timestamp(frame.dts))
    }

    /// The messages that are due, oldest first: the one in flight, headers, frames.
    fn due<'a>(&'a self, feed: &'a Feed) -> impl Iterator<Item = (Step, Unit<'a>)> {
        let part = self.part.as_deref().map(|frame| (Step::Frame, self.unit(frame)));
        let next = self.next.saturating_add(u64::from(part.is_some()));
        let (headers, frames) = match &self.at {
            At::Waiting { .. } => (&[][..], u64::MAX),
            At::Headers { set, index } => (set.headers().get(*index..).unwrap_or_default(), next),
            At::Frames => (&[][..], next),
        };
        let at = self.timestamp(self.last_sent_dts);
        let headers = headers.iter().map(move |(key, payload)| {
            let step = if self.filter.wants(key.kind()) { Step::Header } else { Step::Skip(true) };
            (step, Unit { kind: key.kind(), timestamp: at, payload })
        });
        let frames = feed.from(frames).map(|frame| {
            let early = self.exact && frame.role != Role::Header && Some(frame.dts) < self.base;
            let step = if self.filter.wants(frame.kind) && !early { Step::Frame } else { Step::Skip(false) };
            (step, self.unit(frame))
        });
        part.into_iter().chain(headers).chain(frames)
    }

    /// Whether anything is due (call [`Cursor::settle`] first).
    pub fn is_due(&self, feed: &Feed) -> bool {
        self.due(feed).any(|(step, _)| !matches!(step, Step::Skip(_)))
    }

    /// The frames that are due, if they are a plain run that other viewers may share: all of them, from a frame that
    /// the feed still holds. With it, the offset in the first and the time base.
    pub fn run(&self, feed: &Feed) -> Option<((u64, u64), usize, u64)> {
        let plain = matches!(&self.at, At::Frames)
            || matches!(&self.at, At::Headers { set, index } if *index >= set.headers().len());
        let begun = !self.exact || self.played_ms() > EARLY_MS;
        let all = self.filter == Filter::default() && !self.resync && begun;
        let (from, to) = (self.next, feed.end());
        (plain && all && from >= feed.base() && from < to).then_some(((from, to), self.offset, self.base?))
    }

    /// Moves on to the byte `offset` of frame `next`, as a batch says.
    pub fn place(&mut self, feed: &Feed, next: u64, offset: usize) {
        if next > self.next {
            self.part = None;
            if let Some(frame) = feed.get(next.saturating_sub(1)) {
                self.last_sent_dts = frame.dts;
                self.version = frame.codec.version;
            }
            self.next = next;
        }
        self.offset = 0;
        self.stop_inside(feed, offset, true);
    }

    /// Puts what is due into one write (call [`Cursor::settle`] first).
    pub fn gather<'a>(&'a self, feed: &'a Feed, format: Format, into: &mut Gather<'a>) {
        let mut skip = self.offset;
        for (step, unit) in self.due(feed) {
            if matches!(step, Step::Skip(_)) {
                continue;
            }
            if !into.add(format, &unit, skip) || self.resync {
                return;
            }
            skip = 0;
        }
    }

    /// Moves on by `sent` bytes of what [`Cursor::gather`] gave.
    pub fn advance(&mut self, feed: &Feed, format: Format, sent: usize) {
        let mut sent = sent.saturating_add(self.offset);
        self.offset = 0;
        loop {
            let Some((step, unit)) = self.due(feed).next() else { return };
            let len = match step {
                Step::Skip(_) => 0,
                Step::Header | Step::Frame => format.wire_len(&unit),
            };
            if sent < len {
                self.stop_inside(feed, sent, matches!(step, Step::Frame));
                return;
            }
            sent -= len;
            self.step_over(feed, step);
        }
    }

    fn stop_inside(&mut self, feed: &Feed, sent: usize, frame: bool) {
        self.offset = sent;
        if sent > 0 && frame && self.part.is_none() {
            self.part = feed.get(self.next).cloned();
        }
    }

    fn step_over(&mut self, feed: &Feed, step: Step) {
        if matches!(step, Step::Header | Step::Skip(true)) {
            if let At::Headers { set, index } = &mut self.at {
                *index += 1;
                if *index >= set.headers().len() {
                    self.at = At::Frames;
                }
            }
            return;
        }
        let finished = self.part.take();
        if let Some(frame) = finished.as_ref().or_else(|| feed.get(self.next)) {
            self.last_sent_dts = frame.dts;
            self.version = frame.codec.version;
        }
        self.next = self.next.saturating_add(1);
    }
}

/// What a due message is to the cursor.
#[derive(Debug, Clone, Copy)]
enum Step {
    Header,
    Frame,
    /// Not wanted by this viewer: a header (true) or a frame (false).
    Skip(bool),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::feed::Limits;
    use crate::media::frame::HeaderKey;
    use crate::media::mux::SCRATCH;
    use crate::media::mux::{Body, Wrap};
    use crate::wire::flv::{Demuxer, Tag};
    use bytes::Bytes;

    const FLV: Format = Format::Http(Body::Flv, Wrap::Plain);
    const FLV_CHUNKED: Format = Format::Http(Body::Flv, Wrap::Chunk);

    /// A feed with a publisher: 25 pictures a second, a key every `gop`, two audio frames between pictures.
    struct Publisher {
        feed: Feed,
        codec: Rc<CodecSet>,
        frames: u64,
        gop: u64,
    }

    impl Publisher {
        fn new(gop: u64, limits: Limits) -> Publisher {
            let set = CodecSet::default()
                .with(HeaderKey::Metadata, &Bytes::from_static(b"meta"))
                .and_then(|set| set.with(HeaderKey::Video(0), &Bytes::from_static(b"vsh")))
                .and_then(|set| set.with(HeaderKey::Audio(0), &Bytes::from_static(b"ash")));
            Publisher { feed: Feed::new(limits), codec: Rc::new(set.unwrap()), frames: 0, gop }
        }

        fn push(&mut self, kind: Kind, role: Role, dts: u64, text: &str) {
            let payload = Bytes::from(text.to_owned());
            self.feed.push(Frame { kind, role, dts, payload, codec: self.codec.clone() });
        }

        fn run(&mut self, pictures: u64) {
            for _ in 0..pictures {
                let (n, dts) = (self.frames, 1000 + self.frames * 40);
                let role = if n.is_multiple_of(self.gop) { Role::Key } else { Role::Delta };
                let name = if role == Role::Key { "K" } else { "p" };
                self.push(Kind::Video, role, dts, &format!("{name}{n}{}", "x".repeat(300)));
                self.push(Kind::Audio, Role::Delta, dts + 1, &format!("a{n}.0"));
                self.push(Kind::Audio, Role::Delta, dts + 21, &format!("a{n}.1"));
                self.frames += 1;
            }
        }

        fn header(&mut self, text: &'static str) {
            let payload = Bytes::from_static(text.as_bytes());
            self.codec = Rc::new(self.codec.with(HeaderKey::Video(0), &payload).unwrap());
            self.push(Kind::Video, Role::Header, 0, text);
        }
    }

    /// Writes up to `room` bytes, as a socket with that much room would take them.
    fn take(cursor: &mut Cursor, feed: &Feed, format: Format, mut room: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            cursor.settle(feed, Start::Picture);
            let mut scratch = [0; SCRATCH];
            let mut gather = Gather::new(&mut scratch, usize::MAX);
            cursor.gather(feed, format, &mut gather);
            let (slices, total) = gather.finish();
            let sent = total.min(room);
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            bytes.extend_from_slice(&all[..sent]);
            cursor.advance(feed, format, sent);
            room -= sent;
            if sent == 0 || room == 0 {
                return bytes;
            }
        }
    }

    fn tags(bytes: &[u8]) -> Vec<Tag> {
        let mut demuxer = Demuxer::new(1 << 20);
        let stream = [crate::wire::flv::header(true, true).as_slice(), bytes].concat();
        let mut input = stream.as_slice();
        let mut tags = Vec::new();
        while let Some(tag) = demuxer.push(&mut input).unwrap() {
            tags.push(tag);
        }
        assert!(demuxer.is_between_tags(), "a message was cut");
        tags
    }

    fn names(tags: &[Tag]) -> Vec<String> {
        tags.iter().map(|tag| String::from_utf8_lossy(&tag.payload).replace('x', "")).collect()
    }

    #[test]
    fn a_joiner_gets_headers_then_the_gop_from_its_key_at_time_zero() {
        let mut publisher = Publisher::new(50, Limits::default());
        publisher.run(60);
        let mut cursor = Cursor::join(&publisher.feed, Join::default());
        let got = tags(&take(&mut cursor, &publisher.feed, FLV, usize::MAX));
        assert_eq!(names(&got)[..5], ["meta", "vsh", "ash", "K50", "a50.0"]);
        assert_eq!(got.iter().map(|tag| tag.timestamp).take(6).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 21]);
        assert_eq!(got.len(), 3 + 30);
        assert!(!cursor.is_due(&publisher.feed));
    }

    #[test]
    fn without_the_gop_cache_a_joiner_starts_at_the_next_key() {
        let mut publisher = Publisher::new(50, Limits::default());
        publisher.run(60);
        let mut cursor = Cursor::join(&publisher.feed, Join { gop_cache: false, ..Join::default() });
        assert!(take(&mut cursor, &publisher.feed, FLV, usize::MAX).is_empty());
        publisher.run(41);
        let got = tags(&take(&mut cursor, &publisher.feed, FLV, usize::MAX));
        assert_eq!(names(&got)[3..6], ["a99.0", "a99.1", "K100"]);
    }

    #[test]
    fn any_room_at_any_time_gives_the_same_bytes() {
        for format in [FLV, FLV_CHUNKED, Format::Rtmp { chunk_size: 100, msid: 1, publish: false }] {
            let mut publisher = Publisher::new(50, Limits::default());
            publisher.run(1);
            let mut whole = Cursor::join(&publisher.feed, Join::default());
            let mut pieces = whole.clone();
            let (mut expect, mut got) = (Vec::new(), Vec::new());
            let mut seed = 77u32;
            for _ in 0..200 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                publisher.run(u64::from(seed >> 30));
                expect.extend(take(&mut whole, &publisher.feed, format, usize::MAX));
                got.extend(take(&mut pieces, &publisher.feed, format, (seed >> 16) as usize % 900));
                publisher.feed.trim(Some(whole.position().min(pieces.position())));
            }
            got.extend(take(&mut pieces, &publisher.feed, format, usize::MAX));
            assert_eq!(got, expect);
        }
    }

    #[test]
    fn a_slow_viewer_ends_its_message_skips_to_a_key_and_is_counted() {
        let mut publisher = Publisher::new(25, Limits { max_ms: 2_000, ..Limits::default() });
        publisher.run(30);
        let mut cursor = Cursor::join(&publisher.feed, Join::default());
        let mut bytes = take(&mut cursor, &publisher.feed, FLV, 500);
        assert!(cursor.mid_message());
        for _ in 0..20 {
            publisher.run(25);
            publisher.feed.trim(Some(cursor.position()));
        }
        bytes.extend(take(&mut cursor, &publisher.feed, FLV, usize::MAX));
        let got = tags(&bytes);
        let names = names(&got);
        let keys: Vec<&String> = names.iter().filter(|name| name.starts_with('K')).collect();
        assert_eq!(keys, ["K25", "K525"]);
        let after = names.iter().position(|name| name == "K525").unwrap();
        assert_eq!(names[after - 1], "p26", "the message in flight was ended: {names:?}");
        assert_eq!(got[after].timestamp, 500 * 40);
        assert_eq!(cursor.skipped().times, 1);
        assert!(cursor.skipped().frames > 1000 && cursor.skipped().ms > 19_000, "{:?}", cursor.skipped());
        assert_eq!(
            names.iter().filter(|name| *name == "vsh").count(),
            1,
            "headers that did not change are not sent again"
        );
    }

    #[test]
    fn headers_that_changed_during_a_skip_are_sent_before_the_key() {
        let mut publisher = Publisher::new(25, Limits { max_ms: 2_000, ..Limits::default() });
        publisher.run(30);
        let mut cursor = Cursor::join(&publisher.feed, Join::default());
        let mut bytes = take(&mut cursor, &publisher.feed, FLV, 500);
        publisher.run(20);
        publisher.header("new-vsh");
        publisher.run(200);
        publisher.feed.trim(None);
        bytes.extend(take(&mut cursor, &publisher.feed, FLV, usize::MAX));
        let names = names(&tags(&bytes));
        let key = names.iter().rposition(|name| name.starts_with('K')).unwrap();
        assert_eq!(names[key - 3..key], ["meta", "new-vsh", "ash"]);
    }

    #[test]
    fn a_new_header_in_order_is_sent_once() {
        let mut publisher = Publisher::new(25, Limits::default());
        publisher.run(10);
        let mut cursor = Cursor::join(&publisher.feed, Join::default());
        let mut bytes = take(&mut cursor, &publisher.feed, FLV, usize::MAX);
        publisher.header("new-vsh");
        publisher.run(30);
        bytes.extend(take(&mut cursor, &publisher.feed, FLV, usize::MAX));
        let names = names(&tags(&bytes));
        assert_eq!(names.iter().filter(|name| *name == "new-vsh").count(), 1);
    }

    #[test]
    fn filters_leave_out_a_track_with_its_header() {
        let mut publisher = Publisher::new(25, Limits::default());
        publisher.run(10);
        let mut sound = Cursor::join(
            &publisher.feed,
            Join { filter: Filter { audio: true, video: false }, ..Join::default() },
        );
        assert!(take(&mut sound, &publisher.feed, FLV, usize::MAX).is_empty());
        publisher.run(2);
        let heard = names(&tags(&take(&mut sound, &publisher.feed, FLV, usize::MAX)));
        assert_eq!(heard, ["meta", "ash", "a10.0", "a10.1", "a11.0", "a11.1"]);
        let mut silent = Cursor::join(
            &publisher.feed,
            Join { filter: Filter { audio: false, video: true }, ..Join::default() },
        );
        let seen = names(&tags(&take(&mut silent, &publisher.feed, FLV, usize::MAX)));
        assert_eq!(seen[..4], ["meta", "vsh", "K0", "p1"]);
    }

    #[test]
    fn who_waited_for_the_publisher_gets_all_that_it_sends() {
        let mut publisher = Publisher::new(25, Limits::default());
        publisher.push(Kind::Audio, Role::Delta, 990, "first");
        publisher.run(30);
        let early = Join { since: Some(0), ..Join::default() };
        let mut cursor = Cursor::join(&publisher.feed, early);
        let got = tags(&take(&mut cursor, &publisher.feed, FLV, usize::MAX));
        assert_eq!(names(&got)[..5], ["meta", "vsh", "ash", "first", "K0"]);
        assert_eq!((got[3].timestamp, got[4].timestamp), (0, 10));
    }

    #[test]
    fn pieces_from_before_an_exact_start_are_left_out() {
        let mut publisher = Publisher::new(25, Limits::default());
        publisher.run(1);
        publisher.push(Kind::Audio, Role::Delta, 990, "early");
        publisher.run(2);
        let sent = |exact| {
            let mut cursor = Cursor::join(&publisher.feed, Join { exact, ..Join::default() });
            names(&tags(&take(&mut cursor, &publisher.feed, FLV, usize::MAX)))
        };
        assert!(sent(false).contains(&"early".to_owned()));
        assert!(!sent(true).contains(&"early".to_owned()) && sent(true).contains(&"p2".to_owned()));
    }

    #[test]
    fn a_viewer_can_have_the_time_of_the_stream() {
        let mut publisher = Publisher::new(25, Limits::default());
        publisher.run(2);
        let mut cursor = Cursor::join(&publisher.feed, Join { rebase: false, ..Join::default() });
        let got = tags(&take(&mut cursor, &publisher.feed, FLV, usize::MAX));
        assert_eq!(got[3].timestamp, 1000);
    }

    #[test]
    fn a_stream_without_keyframes_starts_after_a_while() {
        let mut publisher = Publisher::new(u64::MAX, Limits::default());
        publisher.run(1);
        let mut cursor = Cursor::join(&publisher.feed, Join::default());
        let mut publisher = Publisher { frames: 1, feed: Feed::new(Limits::default()), ..publisher };
        cursor.next = 0;
        publisher.run(100);
        assert!(take(&mut cursor, &publisher.feed, FLV, usize::MAX).is_empty());
        publisher.run(200);
        assert!(!take(&mut cursor, &publisher.feed, FLV, usize::MAX).is_empty());
    }

    #[test]
    fn it_does_so_in_a_feed_that_is_shorter_than_the_wait() {
        let limits = Limits { max_ms: 2000, max_gop_frames: 50, ..Limits::default() };
        let mut publisher = Publisher::new(u64::MAX, limits);
        publisher.run(500);
        publisher.feed.trim(None);
        let mut cursor = Cursor::join(&publisher.feed, Join::default());
        let mut waited = 0;
        while take(&mut cursor, &publisher.feed, FLV, usize::MAX).is_empty() {
            publisher.run(100);
            publisher.feed.trim(Some(cursor.position()));
            waited += 100 * 40;
            assert!(waited < 2 * MAX_KEY_WAIT_MS, "it waits for ever");
        }
        assert!(waited >= MAX_KEY_WAIT_MS);
    }

    #[test]
    fn who_waits_for_a_key_does_not_hold_the_feed_back_and_waits_no_longer_for_it() {
        let short = Limits { max_gop_bytes: 0, max_ms: 2_000, ..Limits::default() };
        let mut publisher = Publisher::new(1_000_000, short);
        publisher.run(2);
        let mut cursor = Cursor::join(&publisher.feed, Join::default());
        let mut waited = 0u64;
        while take(&mut cursor, &publisher.feed, FLV, usize::MAX).is_empty() {
            publisher.run(1);
            publisher.feed.trim(Some(cursor.position()));
            assert!(publisher.feed.len() <= 6, "{} frames", publisher.feed.len());
            waited += 40;
        }
        assert!(waited.abs_diff(MAX_KEY_WAIT_MS) <= 80, "{waited} ms");
        // A feed that is empty at first says nothing of the time.
        let mut late = Publisher::new(1_000_000, Limits::default());
        let mut cursor = Cursor::join(&late.feed, Join::default());
        late.frames = 1_000_001;
        late.run(100);
        assert!(take(&mut cursor, &late.feed, FLV, usize::MAX).is_empty());
    }

    #[test]
    fn after_a_pause_the_viewer_goes_on_at_the_newest_key() {
        let mut publisher = Publisher::new(25, Limits::default());
        publisher.run(10);
        let mut cursor = Cursor::join(&publisher.feed, Join::default());
        let mut bytes = take(&mut cursor, &publisher.feed, FLV, 2000);
        publisher.run(100);
        cursor.catch_up();
        bytes.extend(take(&mut cursor, &publisher.feed, FLV, usize::MAX));
        let names = names(&tags(&bytes));
        let keys: Vec<&String> = names.iter().filter(|name| name.starts_with('K')).collect();
        assert_eq!(keys, ["K0", "K100"]);
        assert_eq!(cursor.skipped(), Skipped::default(), "a pause is not slowness");
    }
}
