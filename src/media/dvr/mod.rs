//! Recording: which frames go into which file, in what form, and when a file ends. What is done to files is told as
//! [`Step`]s; names, directories and writing are not known here.
//!
//! ```text
//!   frames ─► held until it is known what the stream carries ─► Waiting ──keyframe──► Writing ─► pieces of some seconds
//!                                                                 ▲                     │
//!                                                                 └── other headers ◄───┤ cut at a keyframe: the next file
//!                                                                     disk too slow     └ (segment)
//! ```
//!
//! A file begins with the headers in force and a keyframe, at time zero. Sound that lags behind the picture at that
//! place moves the zero, so that both stay in step. An encoder that comes back with the same headers goes on in its file;
//! other headers begin another, for few players take them within a file. An additional track of FLV does not.
//!
//! Invariants: at most [`MAX_HELD`] frames are held for the start; what is gathered goes out at [`PIECE_BYTES`],
//! [`PIECE_MS`] or [`PIECE_ITEMS`]. Large pieces spare flash: each write rewrites blocks of it.
//! Payloads are shared, not copied, except into MP4 and TS, which lay samples out anew.

pub mod flv;
pub mod names;
#[cfg(test)]
mod tests;
pub mod walk;

use super::cursor::Filter;
use super::derived::Kindred;
use super::frame::{CodecSet, Frame, HeaderKey, Kind, Role};
use super::package::fmp4::Fmp4Packager;
use super::package::{self, Container, Packager, Piece};
use super::timeline::{Jitter, Timeline};
use crate::wire::avtag::{AudioCodec, VideoCodec};
use bytes::Bytes;
use std::rc::Rc;

/// Bytes gathered before they are written.
pub const PIECE_BYTES: usize = 256 << 10;
/// Milliseconds for which frames are gathered at most.
pub const PIECE_MS: u64 = 2_000;
/// Messages gathered at most.
pub const PIECE_ITEMS: usize = 1_024;
/// Frames held at the start of a publisher until it is known what the stream carries.
const MAX_HELD: usize = 512;
/// Without any keyframe for this long, in milliseconds of the stream, a file begins with what comes.
const KEY_WAIT_MS: u64 = 30_000;
/// A stream's first sounds are recorded when they are no further before its first keyframe, in milliseconds.
const LEAD_MS: u64 = 500;
/// Sound further behind a keyframe than the first, and no further than the second, moves the zero of a file.
const LAG_MS: (u64, u64) = (60, 5_000);
/// A file may end so much before its time: with B-frames the first keyframe of a stream is decoded a little late.
const EARLY_MS: u64 = 100;
/// Video in one fragment of an MP4, in milliseconds; each keyframe begins a fragment anyway.
const FRAGMENT_MS: u64 = 1_000;

/// What the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// FLV.
    Flv,
    /// MPEG-TS or fragmented MP4.
    Packaged(Container),
}

impl Format {
    /// The format of files with this name; FLV unless it ends in `.mp4` or `.ts`.
    pub fn of_path(path: &str) -> Format {
        match path.rsplit_once('.') {
            Some((_, "mp4")) => Format::Packaged(Container::Fmp4),
            Some((_, "ts")) => Format::Packaged(Container::Ts),
            _ => Format::Flv,
        }
    }
}

/// How a stream is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What the files are.
    pub format: Format,
    /// Milliseconds after which a file ends; `None`: with the stream.
    pub segment_ms: Option<u64>,
    /// Files begin with a keyframe, where there is video.
    pub wait_key: bool,
    /// What happens to timestamps.
    pub jitter: Jitter,
    /// The stream's own time line is without jumps already.
    pub repaired: bool,
}

/// Something on its way into a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is of.
    pub kind: Kind,
    /// A player may start here.
    pub key: bool,
    /// A header: its time says nothing of the file's length.
    pub header: bool,
    /// Milliseconds in the file.
    pub ms: u64,
    /// The time that the file has reached with it; a piece of MP4 or TS holds many messages.
    pub until_ms: u64,
    /// The body of an FLV tag; in other formats the bytes as they stand in the file.
    pub payload: Bytes,
}

/// What a file begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// `onMetaData` of the stream, if it has any; FLV only.
    pub metadata: Option<Bytes>,
    /// The audio and video headers; FLV only.
    pub headers: Vec<Item>,
    /// There is sound.
    pub audio: bool,
    /// There is a picture.
    pub video: bool,
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A file begins.
    Open(Opening),
    /// This goes to its end.
    Write(Vec<Item>),
    /// It is complete.
    Close,
}

/// The codecs of a stream.
pub type Tracks = (Option<VideoCodec>, Option<AudioCodec>);

type Headers = Vec<(HeaderKey, Bytes)>;

/// The file being written.
#[derive(Debug)]
struct Current {
    /// What is taken from times.
    base: u64,
    /// When it began, in milliseconds of the stream.
    began: u64,
    /// The last time of sound and of picture.
    last: [u64; 2],
    headers: Headers,
    packager: Option<Box<dyn Packager>>,
    /// The packager's header is written.
    begun: bool,
}

/// The recording of one stream.
#[derive(Debug)]
pub struct Recorder {
    settings: Settings,
    tracks: Tracks,
    held: Option<Vec<Frame>>,
    /// The version of the codec set that was compared last.
    version: Option<u64>,
    timeline: Option<Timeline>,
    /// Pictures are left out up to a keyframe; since when, once one came.
    key_due: bool,
    waiting_since: Option<u64>,
    last_audio: Option<u64>,
    current: Option<Current>,
    refusal: Option<String>,
    items: Vec<Item>,
    bytes: usize,
    since: u64,
    pieces: Vec<Piece>,
}

impl Recorder {
    /// A recording of a stream that has yet to begin, or from here on.
    pub fn new(settings: Settings) -> Recorder {
        let repairs = settings.jitter == Jitter::Full && !settings.repaired;
        Recorder {
            settings,
            tracks: (None, None),
            held: Some(Vec::new()),
            version: None,
            timeline: repairs.then(|| Timeline::new(Jitter::Full)),
            key_due: true,
            waiting_since: None,
            last_audio: None,
            current: None,
            refusal: None,
            items: Vec::new(),
            bytes: 0,
            since: 0,
            pieces: Vec::new(),
        }
    }

    /// Whether a file is being written.
    pub fn is_writing(&self) -> bool {
        self.current.is_some()
    }

    /// Why nothing is recorded: the container cannot carry this publisher's codecs.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Takes the stream's next frame, and what the stream carries once that is known. `now_ms` is any clock that does not
    /// go back.
    pub fn push(&mut self, frame: &Frame, tracks: Option<Tracks>, now_ms: u64, out: &mut Vec<Step>) {
        self.tracks = tracks.unwrap_or(self.tracks);
        match &mut self.held {
            None => self.take(frame, &frame.codec, now_ms, out),
            Some(held) => {
                held.push(frame.clone());
                let known = tracks.is_some() && is_settled(held, self.tracks.0.is_some());
                if known || held.len() >= MAX_HELD {
                    self.release(now_ms, out);
                }
            }
        }
    }

    /// What was held goes on its way, all of it under the newest headers.
    fn release(&mut self, now_ms: u64, out: &mut Vec<Step>) {
        let held = self.held.take().unwrap_or_default();
        let Some(set) = held.last().map(|frame| frame.codec.clone()) else { return };
        let first = held.iter().find(|frame| frame.role != Role::Header).map_or(0, |frame| frame.dts);
        self.compare(&set, first, now_ms, out);
        let lead = lead(&held).filter(|_| self.current.is_none());
        for (n, frame) in held.iter().enumerate() {
            self.key_due &= lead != Some(n);
            self.take(frame, &set, now_ms, out);
        }
    }

    /// The publisher is gone, or another one takes over: the file waits for what comes.
    pub fn interrupt(&mut self, now_ms: u64, out: &mut Vec<Step>) {
        self.release(now_ms, out);
        self.flush(out);
        self.held = Some(Vec::new());
        self.version = None;
        self.key_due = true;
        self.refusal = None;
    }

    /// The recording is over.
    pub fn finish(&mut self, now_ms: u64, out: &mut Vec<Step>) {
        self.release(now_ms, out);
        self.close(now_ms, out);
    }

    /// The file could not be written to its end: the next one begins at the next keyframe.
    pub fn reset(&mut self) {
        self.current = None;
        self.items.clear();
        self.bytes = 0;
        self.version = None;
        self.key_due = true;
        self.waiting_since = None;
        self.last_audio = None;
    }

    fn take(&mut self, frame: &Frame, set: &Rc<CodecSet>, now_ms: u64, out: &mut Vec<Step>) {
        if frame.role == Role::Header {
            return self.aside(frame, now_ms, out);
        }
        let dts = match &mut self.timeline {
            // The lower half of the time is enough: a step is small, and wraps are seen through.
            Some(timeline) => timeline.map(frame.kind, (frame.dts & 0xffff_ffff) as u32),
            None => frame.dts,
        };
        self.compare(set, dts, now_ms, out);
        if self.may_go(frame, set, dts, now_ms, out) {
            self.store(frame, dts, now_ms, out);
        }
        if frame.kind == Kind::Audio {
            self.last_audio = Some(dts);
        }
    }

    /// Messages beside the media, such as cue points, go into FLV files.
    fn aside(&mut self, frame: &Frame, now_ms: u64, out: &mut Vec<Step>) {
        let metadata = frame.payload.starts_with(b"\x02\x00\x0aonMetaData");
        let wanted =
            frame.kind == Kind::Script && !metadata && self.settings.format == Format::Flv && !self.key_due;
        if let Some(current) = self.current.as_ref().filter(|_| wanted) {
            let ms = current.last.iter().copied().max().unwrap_or(0);
            let (kind, payload) = (frame.kind, frame.payload.clone());
            let item = Item { kind, key: false, header: true, ms, until_ms: ms, payload };
            self.gather(item, now_ms, out);
        }
    }

    /// Other headers than those of the file end it; additional ones go into an FLV.
    fn compare(&mut self, set: &CodecSet, dts: u64, now_ms: u64, out: &mut Vec<Step>) {
        if self.version.replace(set.version) == Some(set.version) {
            return;
        }
        let Some(current) = &mut self.current else { return };
        let list = headers(set);
        let goes_on = current.headers.iter().all(|header| list.contains(header));
        if !goes_on || list.len() > current.headers.len() && self.settings.format != Format::Flv {
            self.close(now_ms, out);
            self.key_due = true;
            return;
        }
        let ms = dts.saturating_sub(current.base);
        let new: Headers = list.iter().filter(|header| !current.headers.contains(header)).cloned().collect();
        current.headers = list;
        new.into_iter().for_each(|header| self.gather(header_item(header, ms), now_ms, out));
    }

    /// Whether this frame goes into a file; begins one, or the next one, where it should.
    fn may_go(
        &mut self,
        frame: &Frame,
        set: &Rc<CodecSet>,
        dts: u64,
        now_ms: u64,
        out: &mut Vec<Step>,
    ) -> bool {
        let headers = set.headers().iter();
        let pictures = self.tracks.0.is_some() || headers.clone().any(|(key, _)| key.kind() == Kind::Video);
        let key = frame.kind == Kind::Video && frame.role == Role::Key;
        let place = key || !pictures || !self.settings.wait_key;
        if self.key_due {
            let since = *self.waiting_since.get_or_insert(dts);
            let patience = dts.saturating_sub(since) < KEY_WAIT_MS;
            // After an interruption sound goes on in its file; a file does not begin with it.
            if !place && patience && (frame.kind == Kind::Video || self.current.is_none()) {
                return false;
            }
            if frame.kind == Kind::Video || !pictures || !patience || !self.settings.wait_key {
                self.key_due = false;
                self.waiting_since = None;
            }
        }
        match &self.current {
            None => self.open(frame, set, dts, out),
            Some(current) => {
                let early = if key { EARLY_MS } else { 0 };
                let age = dts.saturating_sub(current.began).saturating_add(early);
                if place && self.settings.segment_ms.is_some_and(|limit| age >= limit) {
                    self.close(now_ms, out);
                    self.open(frame, set, dts, out);
                }
            }
        }
        self.current.is_some()
    }

    fn open(&mut self, frame: &Frame, set: &Rc<CodecSet>, dts: u64, out: &mut Vec<Step>) {
        let lag = self.last_audio.map(|last| (last, dts.saturating_sub(last)));
        let lag = lag.filter(|(_, lag)| frame.kind == Kind::Video && (LAG_MS.0..=LAG_MS.1).contains(lag));
        let base = if self.settings.jitter == Jitter::Off {
            0
        } else {
            lag.map_or(dts, |(last, _)| last.saturating_add(1))
        };
        let (video, audio) = self.tracks;
        let mut packager = match self.packager() {
            Ok(packager) => packager,
            Err(why) => {
                self.refusal = Some(why);
                return;
            }
        };
        let list = headers(set);
        let flv = packager.is_none();
        if let Some(packager) = &mut packager {
            for (key, payload) in &list {
                let (kind, payload, codec) = (key.kind(), payload.clone(), set.clone());
                packager.push(&Frame { kind, role: Role::Header, dts: 0, payload, codec }, &mut self.pieces);
            }
        }
        let of = |kind: Kind| list.iter().any(|(key, _)| key.kind() == kind);
        let ms = dts.saturating_sub(base);
        out.push(Step::Open(Opening {
            metadata: set.get(HeaderKey::Metadata).filter(|_| flv).cloned(),
            headers: if flv {
                list.iter().map(|header| header_item(header.clone(), ms)).collect()
            } else {
                Vec::new()
            },
            audio: audio.is_some() || of(Kind::Audio) || frame.kind == Kind::Audio,
            video: video.is_some() || of(Kind::Video) || frame.kind == Kind::Video,
        }));
        let current = Current { base, began: dts, last: [0; 2], headers: list, packager, begun: false };
        self.refusal = None;
        self.current = Some(current);
    }

    fn packager(&self) -> Result<Option<Box<dyn Packager>>, String> {
        let Format::Packaged(container) = self.settings.format else { return Ok(None) };
        let (video, audio) = self.tracks;
        if let Some(why) = package::refusal(container, video, audio) {
            return Err(why);
        }
        if container == Container::Fmp4 {
            return Ok(Some(Box::new(Fmp4Packager::new(audio.is_some(), video.is_some(), FRAGMENT_MS))));
        }
        let filter = Filter { audio: true, video: true };
        package::packager(Kindred { container, filter }, video, audio).map(Some)
    }

    fn store(&mut self, frame: &Frame, dts: u64, now_ms: u64, out: &mut Vec<Step>) {
        let Some(current) = &mut self.current else { return };
        let mut ms = dts.saturating_sub(current.base);
        if let Some(last) = current.last.get_mut(usize::from(frame.kind == Kind::Video)) {
            if self.settings.jitter == Jitter::Full {
                ms = ms.max(*last);
            }
            *last = ms;
        }
        match &mut current.packager {
            Some(packager) => {
                packager.push(&Frame { dts: ms, ..frame.clone() }, &mut self.pieces);
                self.packaged(now_ms, out);
            }
            None => {
                let (kind, key, payload) = (frame.kind, frame.role == Role::Key, frame.payload.clone());
                let item = Item { kind, key, header: false, ms, until_ms: ms, payload };
                self.gather(item, now_ms, out);
            }
        }
    }

    /// What the packager has made goes into the file. A second header, from a change within the media, begins another.
    fn packaged(&mut self, now_ms: u64, out: &mut Vec<Step>) {
        for piece in std::mem::take(&mut self.pieces) {
            let Some(current) = &mut self.current else { return };
            let header = piece.role == Role::Header;
            let until_ms = current.last.iter().copied().max().unwrap_or(0);
            if std::mem::replace(&mut current.begun, true) {
                if header && self.settings.format == Format::Packaged(Container::Fmp4) {
                    self.flush(out);
                    out.push(Step::Close);
                    let (video, audio) = self.tracks;
                    let (video, audio) = (video.is_some(), audio.is_some());
                    out.push(Step::Open(Opening { metadata: None, headers: Vec::new(), audio, video }));
                }
            } else if piece.role != Role::Key && !header {
                let tables = current.packager.as_mut().map(|packager| packager.tables()).unwrap_or_default();
                if !tables.is_empty() {
                    let (kind, ms, payload) = (Kind::Script, piece.dts, tables);
                    self.gather(Item { kind, key: false, header: true, ms, until_ms, payload }, now_ms, out);
                }
            }
            let Piece { role, kind, dts: ms, payload } = piece;
            let key = role == Role::Key;
            self.gather(Item { kind, key, header, ms, until_ms, payload }, now_ms, out);
        }
    }

    fn gather(&mut self, item: Item, now_ms: u64, out: &mut Vec<Step>) {
        if self.items.is_empty() {
            self.since = now_ms;
        }
        self.bytes = self.bytes.saturating_add(item.payload.len());
        self.items.push(item);
        let old = now_ms.saturating_sub(self.since) >= PIECE_MS;
        if old || self.bytes >= PIECE_BYTES || self.items.len() >= PIECE_ITEMS {
            self.flush(out);
        }
    }

    fn flush(&mut self, out: &mut Vec<Step>) {
        self.bytes = 0;
        if !self.items.is_empty() {
            out.push(Step::Write(std::mem::take(&mut self.items)));
        }
    }

    fn close(&mut self, now_ms: u64, out: &mut Vec<Step>) {
        let Some(current) = &mut self.current else { return };
        if let Some(packager) = &mut current.packager {
            packager.finish(&mut self.pieces);
            self.packaged(now_ms, out);
        }
        self.flush(out);
        out.push(Step::Close);
        self.current = None;
    }
}

/// Whether what is held shows how a file begins: with a picture, or with sound that no picture follows soon.
fn is_settled(held: &[Frame], pictures: bool) -> bool {
    let mut media = held.iter().filter(|frame| frame.role != Role::Header);
    let Some(first) = media.next() else { return false };
    let waited = held.last().is_some_and(|last| last.dts.saturating_sub(first.dts) > LEAD_MS);
    !pictures || waited || first.kind == Kind::Video || media.any(|frame| frame.kind == Kind::Video)
}

/// The first of the sounds right before the first keyframe: a file may begin with them.
fn lead(held: &[Frame]) -> Option<usize> {
    let key = held.iter().position(|frame| frame.role == Role::Key)?;
    let (before, key) = (held.get(..key)?, held.get(key)?);
    let sound = |frame: &Frame| frame.kind == Kind::Audio && key.dts.saturating_sub(frame.dts) <= LEAD_MS;
    let media = before.iter().enumerate().rev().filter(|(_, frame)| frame.role != Role::Header);
    media.take_while(|(_, frame)| sound(frame)).last().map(|(n, _)| n)
}

/// The audio and video headers of a set.
fn headers(set: &CodecSet) -> Headers {
    set.headers().iter().filter(|(key, _)| *key != HeaderKey::Metadata).cloned().collect()
}

fn header_item((key, payload): (HeaderKey, Bytes), ms: u64) -> Item {
    Item { kind: key.kind(), key: false, header: true, ms, until_ms: ms, payload }
}
