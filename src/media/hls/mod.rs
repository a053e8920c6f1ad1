//! HLS of one stream, in memory: frames in, playlists and segments out.
//!
//! Spec: RFC 8216; for low latency draft-pantos-hls-rfc8216bis (partial segments, blocking reload, preload hints).
//!
//! ```text
//!  Frame ─► packager ─► Piece ─► Cutter ──(part, end of segment)──► Window ─► playlist text
//!           (TS, fMP4)           where a segment ends               ├ listed segments ─► retired ─► gone
//!                                                                   └ bytes by name, shared with those who send them
//! ```
//!
//! Invariants:
//! - What a playlist has listed never changes: names are used once, numbers only grow, a segment keeps its duration. Only
//!   that it is a gap may be said later.
//! - A segment stays for one length of the playlist after it left the list, as long as the budget allows.
//! - All bytes together stay within [`Settings::budget`], by one frame and what the packager holds back. Whoever sends
//!   a body holds it weakly: a body that is gone is cut off there, so no slow reader keeps memory.
//! - The media sequence goes on over publishers; the caller's [`Settings::first_sequence`] can carry it over restarts.
//! - A date and the next differ by the length in between, to within a hundredth by which they follow the clock.
//!
//! Deviations: TARGETDURATION grows when a segment is longer than all before it (the length of an encoder's GOP is not
//! known in advance); it never shrinks. EXT-X-INDEPENDENT-SEGMENTS goes while a segment is listed that is none. A frame gap
//! longer than a segment may be is a discontinuity, not a duration. Media that are missing while the encoder is away are no
//! EXT-X-GAP segments: the time line of viewers has no hole there. Playlists are not compressed: they are short, and there is
//! no compressor in the program.

mod cutter;
mod keys;
pub mod names;
mod playlist;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod validate;
mod window;

use super::cursor::Filter;
use super::derived::Kindred;
use super::frame::{Frame, HeaderKey, Kind, Role};
use super::package::{Container, Packager, Piece};
use crate::wire::avtag::{AudioCodec, VideoCodec};
use bytes::Bytes;
use cutter::{Cutter, Made, open_share};
use keys::Keys;
use names::Names;
use std::rc::{Rc, Weak};
use window::Window;

/// What the segments are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// MPEG-TS.
    Ts,
    /// Fragmented MP4.
    Fmp4,
    /// Fragmented MP4 with partial segments.
    LowLatency,
}

/// How a stream is cut and kept. Times are milliseconds of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What the segments are.
    pub variant: Variant,
    /// A segment ends at the first keyframe at or after this.
    pub fragment_ms: u64,
    /// A segment ends here at the latest, keyframe or not.
    pub limit_ms: u64,
    /// TARGETDURATION is at least this.
    pub target_ms: u64,
    /// How much is listed.
    pub window_ms: u64,
    /// Length of a partial segment.
    pub part_ms: u64,
    /// Whether video segments end at keyframes only (until `limit_ms`).
    pub wait_key: bool,
    /// Audio is served.
    pub audio: bool,
    /// Video is served.
    pub video: bool,
    /// Bytes held at most.
    pub budget: usize,
    /// Number of the first segment.
    pub first_sequence: u64,
    /// Segments for each AES-128 key; 0: nothing is encrypted. TS only.
    pub segments_per_key: u32,
    /// What keys are derived from.
    pub secret: [u8; 32],
    /// Bytes are kept; otherwise only what the playlist says of them.
    pub keep: bool,
    /// What happens to files is told by [`Hls::take_changes`].
    pub tell: bool,
}

/// The clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never steps back.
    pub mono_ms: u64,
    /// Milliseconds since 1970, for names.
    pub unix_ms: u64,
}

/// Memory that a chunk takes besides its bytes: its place in a list, what shares it, and the allocator's heads.
const CHUNK_OVERHEAD: usize = size_of::<Bytes>() + size_of::<[usize; 8]>();

/// The bytes of one resource, as they came from the packager.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// In this order.
    pub chunks: Vec<Bytes>,
    /// Their length together.
    pub len: u64,
}

impl Body {
    fn new(chunks: Vec<Bytes>) -> Body {
        let len = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Body { chunks, len }
    }

    /// Memory that the list of chunks takes besides their bytes.
    fn lists(&self) -> usize {
        self.chunks.capacity().saturating_mul(CHUNK_OVERHEAD)
    }

    fn size(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }
}

/// What a resource is, for its content type and how long it may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A segment of MPEG-TS.
    Ts,
    /// A segment, part or initialization segment of MP4.
    Mp4,
    /// A key.
    Key,
}

/// The answer to a request for a playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Playlist {
    /// The text as it is now.
    Text(Rc<str>),
    /// It comes with the next segment or part; ask again then, or answer 503 after this many milliseconds.
    Wait(u64),
    /// The request makes no sense, for this reason: 400.
    Bad(&'static str),
}

/// The answer to a request for anything else.
#[derive(Debug, Clone)]
pub enum File {
    /// Its bytes, while they are kept.
    Body(Content, Weak<Body>),
    /// A part that is announced; ask again at the next change, or answer 503 after this many milliseconds.
    Wait(u64),
}

/// Something for a copy of the stream on a disk, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A segment, initialization segment or key of this name holds this.
    Write(Rc<str>, Vec<Bytes>),
    /// The playlist is this now.
    Playlist(Rc<str>),
    /// The file of this name is not asked for any more.
    Remove(Rc<str>),
}

/// A segment is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Its media sequence number.
    pub sequence: u64,
    /// Its name.
    pub name: Rc<str>,
    /// Its length in milliseconds.
    pub ms: u64,
    /// Its size.
    pub bytes: u64,
}

/// What the segments were measured to be, for the multivariant playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    /// Highest and average rate in bits a second.
    peak: u64,
    average: u64,
    /// Pictures in a thousand seconds.
    pictures: u64,
    /// A player can start at each segment.
    independent: bool,
}

/// What the multivariant playlist says of the stream that segments do not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The codecs, as in RFC 6381.
    pub codecs: Option<String>,
    /// Width and height.
    pub size: Option<(u32, u32)>,
}

/// What a push did that others may wait for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The playlist has changed.
    pub changed: bool,
    /// Segments completed, in order.
    pub closed: Vec<Closed>,
}

/// Frames held back at the start of a publisher until it is known what the stream carries.
const MAX_HELD: usize = 512;

/// The codecs of a stream.
pub type Tracks = (Option<VideoCodec>, Option<AudioCodec>);

/// Makes a packager, or says why there is none for these codecs.
pub type Make = fn(Kindred, Option<VideoCodec>, Option<AudioCodec>) -> Result<Box<dyn Packager>, String>;

/// Frames from a stream's start, as if all headers had come first: a track that began a frame earlier than the other is no
/// other stream.
fn with_all_headers(mut held: Vec<Frame>) -> Vec<Frame> {
    let Some(whole) = held.last().map(|last| last.codec.clone()) else { return held };
    for frame in &mut held {
        if frame.codec.headers().iter().all(|(key, bytes)| whole.get(*key) == Some(bytes)) {
            frame.codec = whole.clone();
        }
    }
    held
}

/// HLS of one stream.
#[derive(Debug)]
pub struct Hls {
    settings: Settings,
    make: Make,
    /// One for each run of frames that go on from each other.
    packager: Option<Box<dyn Packager>>,
    tracks: Tracks,
    refusal: Option<String>,
    names: Names,
    cutter: Cutter,
    keys: Option<Keys>,
    window: Window,
    /// Frames that wait until the stream is ready; `None` once it was.
    held: Option<Vec<Frame>>,
    /// The audio and video headers in force, and the version of the set that they were read from.
    headers: Option<(u64, Vec<Bytes>)>,
    /// Video is announced or was seen.
    video: bool,
    pieces: Vec<Piece>,
    made: Vec<Made>,
}

impl Hls {
    /// HLS of a stream that has yet to begin.
    pub fn new(settings: Settings, names: Names, make: Make) -> Hls {
        let keys =
            (settings.segments_per_key > 0).then(|| Keys::new(settings.secret, settings.segments_per_key));
        Hls {
            packager: None,
            tracks: (None, None),
            refusal: None,
            cutter: Cutter::new(&settings),
            window: Window::new(&settings),
            make,
            names,
            keys,
            held: Some(Vec::new()),
            headers: None,
            video: false,
            pieces: Vec::new(),
            made: Vec::new(),
            settings,
        }
    }

    /// The settings it runs under.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes the stream's next frame, and what the stream carries once that is known: then the first segment has all
    /// tracks.
    pub fn push(&mut self, frame: &Frame, tracks: Option<Tracks>, now: Now) -> Progress {
        let wanted = match frame.kind {
            Kind::Audio => self.settings.audio,
            Kind::Video => self.settings.video,
            Kind::Script => true,
        };
        if !wanted {
            return Progress::default();
        }
        self.tracks = tracks.unwrap_or(self.tracks);
        match &mut self.held {
            None => self.feed(frame),
            Some(held) => {
                held.push(frame.clone());
                if tracks.is_none() && held.len() < MAX_HELD {
                    return Progress::default();
                }
                // Headers first: then the packager knows all tracks when it makes its first piece.
                let held = with_all_headers(self.held.take().unwrap_or_default());
                let (headers, media): (Vec<_>, Vec<_>) = held.iter().partition(|f| f.role == Role::Header);
                for frame in headers.into_iter().chain(media) {
                    self.feed(frame);
                }
            }
        }
        self.settle(now)
    }

    /// Another publisher begins: what comes does not go on from what was.
    pub fn discontinuity(&mut self, now: Now) -> Progress {
        let progress = self.interrupt(now);
        self.window.reopen();
        progress
    }

    /// The publisher is gone and may come back: the segment in the making is completed.
    pub fn interrupt(&mut self, now: Now) -> Progress {
        for frame in self.held.take().unwrap_or_default() {
            self.feed(&frame);
        }
        self.flush();
        self.held = Some(Vec::new());
        self.headers = None;
        self.settle(now)
    }

    /// The stream is over: the playlist gets its end, and everything listed stays until this is dropped.
    pub fn end(&mut self, now: Now) -> Progress {
        let mut progress = self.interrupt(now);
        self.cutter.finish(&mut self.made);
        progress.closed.extend(self.settle(now).closed);
        self.window.end();
        Progress { changed: true, ..progress }
    }

    /// The playlist. `query` may hold `_HLS_msn`, `_HLS_part` and `_HLS_skip`.
    pub fn playlist(&mut self, query: &str) -> Playlist {
        let low_latency = self.settings.variant == Variant::LowLatency;
        let listens = low_latency && !self.window.has_ended();
        let asked = match playlist::Reload::from_query(query).filter(|_| listens) {
            None => None,
            Some(Ok(asked)) => Some(asked),
            Some(Err(why)) => return Playlist::Bad(why),
        };
        match self.window.has(asked) {
            Ok(true) => {
                let update = low_latency && playlist::wants_update(query);
                Playlist::Text(self.window.text(&self.names, self.settings.variant, update))
            }
            Ok(false) if asked.is_none() => {
                Playlist::Wait(self.window.patience_ms().saturating_add(self.settings.limit_ms))
            }
            Ok(false) => Playlist::Wait(self.window.patience_ms()),
            Err(why) => Playlist::Bad(why),
        }
    }

    /// The multivariant playlist, which names the playlist with this query; empty: with none.
    pub fn multivariant(&mut self, about: &About, query: &str) -> Playlist {
        let media = self.playlist("");
        let Playlist::Text(_) = media else { return media };
        let mark = if query.is_empty() { "" } else { "?" };
        let uri = format!("{}{mark}{query}", self.names.own_uri());
        Playlist::Text(playlist::multivariant(&self.window.measured(), about, &uri).into())
    }

    /// The path of a segment's URL, or all of it when it has a prefix.
    pub fn url(&self, name: &str) -> String {
        self.names.url(name)
    }

    /// What names of this stream's segments begin with, and those of its keys.
    pub fn stems(&self) -> [String; 2] {
        self.names.stems()
    }

    /// The longest that a segment was or is meant to be, in milliseconds.
    pub fn target_ms(&self) -> u64 {
        self.window.target_ms()
    }

    /// The file of this name could not be written.
    pub fn lost(&mut self, name: &str) {
        self.window.lost(name);
    }

    /// The segment, part, initialization segment or key of this name (a path without its first slash).
    pub fn file(&self, name: &str) -> Option<File> {
        self.window.file(name).map(|(content, body)| File::Body(content, Rc::downgrade(body))).or_else(|| {
            let hinted = self.window.hint(&self.names, self.settings.variant)?;
            (&*hinted == name).then(|| File::Wait(self.window.patience_ms()))
        })
    }

    /// Whether a segment of this stream could have been called `name`, now or earlier.
    pub fn may_be(&self, name: &str) -> bool {
        self.names.may_be(name)
    }

    /// Drops what nobody may ask for any more.
    pub fn expire(&mut self, now: Now) {
        self.window.expire(now.mono_ms);
    }

    /// What has changed since the last call, for files; nothing unless [`Settings::tell`].
    pub fn take_changes(&mut self) -> Vec<Change> {
        if !self.settings.tell {
            return Vec::new();
        }
        let mut changes = self.window.take_changes();
        // Old files go when the playlist does not name them any more.
        let first =
            changes.iter().position(|change| matches!(change, Change::Remove(_))).unwrap_or(changes.len());
        if self.window.is_stale() {
            let text = self.window.text(&self.names, self.settings.variant, false);
            changes.insert(first, Change::Playlist(text));
        }
        changes
    }

    /// Names of all files that there are.
    pub fn all_files(&self) -> Vec<Rc<str>> {
        self.window.all_files()
    }

    /// The playlist's name.
    pub fn playlist_name(&self) -> &str {
        self.names.playlist()
    }

    /// Bytes held, those of the segment in the making included.
    pub fn bytes(&self) -> usize {
        self.window.bytes().saturating_add(self.cutter.bytes())
    }

    /// Memory taken, in bytes: what is held, and the lists of it.
    pub fn heap(&self) -> usize {
        let making = self.cutter.pieces().saturating_mul(CHUNK_OVERHEAD);
        self.window.heap().saturating_add(self.cutter.bytes()).saturating_add(making)
    }

    /// Keeps within `bytes` from now on, or within [`Settings::budget`] if that is less; at least one segment stays. A
    /// segment in the making is no larger than `open`.
    pub fn set_budget(&mut self, bytes: usize, open: usize, now: Now) {
        self.window.set_budget(bytes.min(self.settings.budget));
        self.cutter.set_max_open(open.min(open_share(self.settings.budget)));
        self.window.slide(now.mono_ms, self.cutter.bytes());
    }

    /// Segments that left the list, or went before their time, because of the budget.
    pub fn squeezed(&self) -> u64 {
        self.window.squeezed()
    }

    /// Why there are no segments: the container cannot carry this publisher's codecs.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    fn feed(&mut self, frame: &Frame) {
        if frame.role != Role::Header
            && self.headers.as_ref().is_none_or(|(version, _)| *version != frame.codec.version)
        {
            self.compare_headers(frame);
        }
        let mut pieces = std::mem::take(&mut self.pieces);
        if let Some(packager) = self.packager() {
            packager.push(frame, &mut pieces);
        }
        self.pieces = pieces;
        self.video = self.settings.video
            && (frame.kind == Kind::Video
                || frame.codec.headers().iter().any(|(key, _)| key.kind() == Kind::Video));
        for piece in self.pieces.drain(..) {
            let tables = || self.packager.as_mut().map(|packager| packager.tables()).unwrap_or_default();
            self.cutter.take(piece, self.video, tables, &mut self.made);
        }
    }

    fn packager(&mut self) -> Option<&mut Box<dyn Packager>> {
        if self.packager.is_none() && self.refusal.is_none() {
            let container =
                if self.settings.variant == Variant::Ts { Container::Ts } else { Container::Fmp4 };
            let filter = Filter { audio: self.settings.audio, video: self.settings.video };
            match (self.make)(Kindred { container, filter }, self.tracks.0, self.tracks.1) {
                Ok(packager) => self.packager = Some(packager),
                Err(why) => self.refusal = Some(why),
            }
        }
        self.packager.as_mut()
    }

    /// Another configuration of a track, or another number of tracks, is a discontinuity.
    fn compare_headers(&mut self, frame: &Frame) {
        let audio_video = frame.codec.headers().iter().filter(|(key, _)| match key {
            HeaderKey::Video(_) => self.settings.video,
            HeaderKey::Audio(_) => self.settings.audio,
            HeaderKey::Metadata | HeaderKey::VideoInfo(_) | HeaderKey::AudioInfo(_) => false,
        });
        let list: Vec<Bytes> = audio_video.map(|(_, bytes)| bytes.clone()).collect();
        let changed = self.headers.as_ref().is_some_and(|(_, before)| *before != list);
        self.headers = Some((frame.codec.version, list));
        if changed {
            self.flush();
        }
    }

    /// Completes what the packager holds and the segment in the making; a new packager begins.
    fn flush(&mut self) {
        self.refusal = None;
        if let Some(mut packager) = self.packager.take() {
            packager.finish(&mut self.pieces);
            for piece in self.pieces.drain(..) {
                self.cutter.take(piece, self.video, || packager.tables(), &mut self.made);
            }
        }
        self.cutter.interrupt(&mut self.made);
    }

    /// Puts what was made into the window.
    fn settle(&mut self, now: Now) -> Progress {
        let mut progress = Progress { changed: !self.made.is_empty(), closed: Vec::new() };
        for made in self.made.drain(..) {
            match made {
                Made::Init(bytes) => self.window.init(bytes, &self.names, now),
                Made::Open { discontinuity } => self.window.open(discontinuity, &self.names, now),
                Made::Break => self.window.mark_discontinuity(),
                Made::Part(part) => self.window.part(part, &self.names),
                Made::Close { ms } => {
                    progress.closed.extend(self.window.close(ms, &self.names, self.keys.as_mut()));
                }
            }
        }
        self.window.part_target(self.cutter.part_target_ms());
        self.window.slide(now.mono_ms, self.cutter.bytes());
        progress
    }
}
