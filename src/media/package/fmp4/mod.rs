//! Fragmented MP4 for Media Source Extensions and HLS.
//! Spec: ISO/IEC 14496-12; W3C Media Source Extensions and its ISO BMFF Byte Stream Format.
//!
//! ```text
//!   frames ─► learn (configurations) ─► Queue for each track ─► pieces: Header  ftyp moov
//!                                                                       Key     moof mdat, video from a keyframe
//!                                                                       Delta   moof mdat, other video, all audio
//! ```
//! Every piece but a header is one `moof` and one `mdat` of one track. Its time stands at [`TFDT_AT`] and nowhere else,
//! so that it can be moved for each viewer by writing eight bytes.
//!
//! Durations are exact: a sample goes out when the next of its track has come, one frame period later. A guess would
//! save that period, but a browser takes a step of more than twice the last duration for a discontinuity, and then drops
//! pictures up to the next keyframe: one lost frame of an encoder would freeze the picture for seconds.
//!
//! Audio is cut at the time of each keyframe and, when it is older, goes out before it: a viewer who starts with that
//! keyframe leaves out pieces of an earlier time, and has lost nothing that he could use.
//!
//! Sound that first comes when the header is out begins with the next keyframe, behind a new header: who adds tracks has to
//! begin anew, and can with a keyframe alone.
//!
//! A browser plays as far as all tracks reach. Sound that stops is filled with silence (`silence`). A picture that stands while the sound
//! goes on lasts [`HOLD_MS`] for live readers, so that they hear what there is: when the next one comes it takes the
//! rest of that time away, as the byte stream format has it for frames that overlap. (Not so with B-frames, where the last to
//! come is not the last that is shown.)
//!
//! Invariants: a new header comes before the first piece that needs it; after one that changes video or adds sound, a key comes first. Bounded: [`START_WAIT_MS`], [`MAX_HELD_BYTES`], [`MAX_SAMPLES`], [`MAX_PIECE_BYTES`].
//! Deviations: no edit lists, so B-frames show their delay as a first picture later than the first sound, as in FLV.
//! Of several tracks of a kind, one is packaged.

mod learn;
#[cfg(test)]
mod tests;
mod track;

use super::silence::{self, Silence};
use super::{Packager, Piece};
use crate::media::frame::{Frame, Kind, Role};
use crate::wire::avtag::{self, AudioCodec, Part, VideoCodec};
use crate::wire::mp4::config::{self, AudioConfig, VideoConfig};
use crate::wire::mp4::{init, sample};
use bytes::Bytes;
use learn::Seen;
use std::borrow::Cow;
use track::{Cut, Held, Queue};

pub use crate::wire::mp4::fragment::{TFDT_AT, set_time, time};
pub(super) use learn::carries_audio;
pub use track::{MAX_PIECE_BYTES, MAX_SAMPLES};

/// How long, in milliseconds of the stream, samples are held for a track that is expected and not yet known.
pub const START_WAIT_MS: u64 = 1000;
/// How many bytes of samples are held for it at most.
pub const MAX_HELD_BYTES: usize = 8 << 20;
/// How much audio is gathered into one piece when no video goes out meanwhile, in milliseconds.
pub const AUDIO_PIECE_MS: u64 = 100;
/// How long audio waits for a keyframe of an earlier time that is held for its successor, in milliseconds.
const MAX_AUDIO_HOLD_MS: u64 = 1000;
/// How much sound, in milliseconds, comes before a held picture goes out alone for live readers, and how long that then lasts.
/// Less than players have in their buffers: one that has run dry does not go on with a single picture.
const STANDS_AFTER_MS: u64 = 200;
const HOLD_MS: u64 = 10_000;
const DEFAULT_VIDEO_PERIOD_MS: u64 = 40;
const DEFAULT_AUDIO_PERIOD_MS: u64 = 21;

/// Why this container cannot carry a stream of these codecs; `None`: it can. A stream whose sound it cannot carry goes
/// without, if it has a picture.
pub fn refusal(video: Option<VideoCodec>, audio: Option<AudioCodec>) -> Option<String> {
    const HAS: &str = "fragmented MP4 here has H264, HEVC and AV1, AAC, MP3, Opus and FLAC";
    match (video, audio) {
        (Some(video), _) if !learn::carries_video(video) => Some(format!("the stream has {video}; {HAS}")),
        (None, Some(audio)) if !learn::carries_audio(audio) => Some(format!("the stream has {audio}; {HAS}")),
        _ => None,
    }
}

/// What is known of a track.
#[derive(Debug)]
enum Track<C> {
    /// It is not there, as far as is known.
    Absent,
    /// It is expected; the samples of both tracks are held until it is known.
    Awaited,
    /// It is in the header.
    Known(C),
}

impl<C: PartialEq> Track<C> {
    fn new(expected: bool) -> Track<C> {
        if expected { Track::Awaited } else { Track::Absent }
    }

    fn known(&self) -> Option<&C> {
        match self {
            Track::Known(config) => Some(config),
            Track::Absent | Track::Awaited => None,
        }
    }

    fn is_awaited(&self) -> bool {
        matches!(self, Track::Awaited)
    }
}

/// Makes fragmented MP4 of a stream's frames.
#[derive(Debug)]
pub struct Fmp4Packager {
    part_ms: u64,
    sequence: u32,
    video: Track<VideoConfig>,
    audio: Track<AudioConfig>,
    seen_video: Seen<VideoConfig>,
    seen_audio: Seen<AudioConfig>,
    pictures: Queue,
    sounds: Queue,
    /// A header has to go out before anything else.
    header_due: bool,
    /// Pictures are dropped up to a keyframe.
    key_due: bool,
    /// Time of the newest keyframe.
    key_dts: u64,
    /// A track of sound that came after the header; it begins with the next keyframe.
    late: Option<AudioConfig>,
    silence: Silence,
    /// Since when pictures have come without a leap of the time line.
    steady_since: u64,
    /// Its readers play what comes when it comes.
    live: bool,
    /// Time of the newest sound when the newest picture came.
    heard: u64,
    /// The latest time at which a picture is shown.
    shown: u64,
}

impl Fmp4Packager {
    /// A packager for a stream with these tracks: it waits for their configurations ([`START_WAIT_MS`] at most). A video
    /// piece lasts `part_ms` milliseconds or less; with 0 it is one sample.
    pub fn new(expect_audio: bool, expect_video: bool, part_ms: u64) -> Fmp4Packager {
        Fmp4Packager {
            part_ms,
            sequence: 0,
            video: Track::new(expect_video),
            audio: Track::new(expect_audio),
            seen_video: Seen::default(),
            seen_audio: Seen::default(),
            pictures: Queue::new(Kind::Video, DEFAULT_VIDEO_PERIOD_MS),
            sounds: Queue::new(Kind::Audio, DEFAULT_AUDIO_PERIOD_MS),
            header_due: true,
            key_due: true,
            key_dts: 0,
            late: None,
            silence: Silence::new(),
            steady_since: 0,
            live: false,
            heard: 0,
            shown: 0,
        }
    }

    /// The type of what goes out, for `MediaSource.addSourceBuffer`, as `video/mp4; codecs="avc1.64001f,mp4a.40.2"`.
    /// `None` until a track is known, and while another is awaited. A browser that began with another set of codecs has
    /// to begin again.
    pub fn mime(&self) -> Option<String> {
        if self.video.is_awaited() || self.audio.is_awaited() {
            return None;
        }
        match (self.video.known(), self.audio.known()) {
            (Some(video), Some(audio)) => {
                Some(format!("video/mp4; codecs=\"{},{}\"", video.codec, audio.codec))
            }
            (Some(video), None) => Some(format!("video/mp4; codecs=\"{}\"", video.codec)),
            (None, Some(audio)) => Some(format!("audio/mp4; codecs=\"{}\"", audio.codec)),
            (None, None) => None,
        }
    }

    fn push_video(&mut self, frame: &Frame, out: &mut Vec<Piece>) {
        let tag = avtag::video(&frame.payload);
        if tag.part != Part::Frame || tag.track != learn::track_of(frame, Kind::Video) {
            return;
        }
        if !learn::carries_video(tag.codec) {
            if self.video.is_awaited() {
                self.video = Track::Absent;
            }
            return self.go(out);
        }
        let body = frame.payload.slice(tag.body..tag.end);
        let config = match learn::video_header(&mut self.seen_video, frame) {
            Some(config) => (self.video.known() != Some(config)).then(|| config.clone()),
            None if tag.key => learn::video_frame(&self.seen_video, &tag, &body)
                .filter(|config| self.video.known() != Some(config)),
            None => None,
        };
        if let Some(config) = config {
            self.end_at(Kind::Video, frame.dts, out);
            self.video = Track::Known(config);
            self.key_due = true;
        }
        if self.video.known().is_none() || self.key_due && !tag.key {
            return;
        }
        if tag.key
            && let Some(config) = self.late.take()
        {
            self.end_at(Kind::Video, frame.dts, out);
            self.audio = Track::Known(config);
        }
        let Some(known) = self.video.known() else { return };
        let data = video_data(tag.codec, body, known.nal_length_size);
        if data.is_empty() {
            return;
        }
        self.key_due = false;
        if self.pictures.last_dts().is_none_or(|last| frame.dts.saturating_sub(last) > silence::PATIENCE_MS) {
            self.steady_since = frame.dts;
        }
        self.pictures.push(Held { dts: frame.dts, cts: tag.cts, sync: tag.key, data });
        if tag.key {
            self.key_dts = self.pictures.newest().map_or(frame.dts, |newest| newest.dts);
        }
        self.fill_sound(frame.dts);
        self.heard = self.sounds.last_dts().unwrap_or(frame.dts);
        self.shown = self.shown.max(frame.dts.saturating_add_signed(i64::from(tag.cts)));
        self.go(out);
    }

    fn push_audio(&mut self, frame: &Frame, out: &mut Vec<Piece>) {
        let tag = avtag::audio(&frame.payload);
        if tag.part != Part::Frame || tag.track != learn::track_of(frame, Kind::Audio) {
            return;
        }
        if !learn::carries_audio(tag.codec) {
            if self.audio.is_awaited() {
                self.audio = Track::Absent;
            }
            return self.go(out);
        }
        let mut data = frame.payload.slice(tag.body..tag.end);
        let config = match learn::audio_header(&mut self.seen_audio, frame) {
            Some(config) => (self.audio.known() != Some(config)).then(|| config.clone()),
            // A packet without a header says less than a header did: Opus and AAC are learned once.
            None if self.audio.known().is_some()
                && !matches!(tag.codec, AudioCodec::Mp3 | AudioCodec::Mp38k) =>
            {
                None
            }
            None => learn::audio_frame(&tag, &data).filter(|config| self.audio.known() != Some(config)),
        };
        if let Some(config) = config {
            if !self.header_due && self.audio.known().is_none() && self.video.known().is_some() {
                self.late = Some(config);
                return;
            }
            self.end_at(Kind::Audio, frame.dts, out);
            self.audio = Track::Known(config);
        }
        if self.audio.known().is_none() {
            return;
        }
        if tag.codec == AudioCodec::Aac
            && let Some((head, _)) = config::adts(&data)
        {
            data = data.slice(head..);
        }
        let last = self.sounds.last_dts().unwrap_or(0);
        let picture = self.pictures.last_dts().unwrap_or(0);
        if self.silence.is_filled(frame.dts, last, picture) {
            return;
        }
        self.sounds.push(Held { dts: frame.dts, cts: 0, sync: true, data });
        self.go(out);
    }

    /// A picture of time `dts` has come: sound that is missing is filled with silence, but not where pictures are missing too.
    fn fill_sound(&mut self, dts: u64) {
        if let Some(config) = self.audio.known() {
            let last = self.sounds.last_dts().unwrap_or(self.key_dts).max(self.steady_since);
            for (dts, data) in self.silence.fill(dts, last, config) {
                self.sounds.push(Held { dts, cts: 0, sync: true, data });
            }
        }
    }

    /// A configuration changes at `dts`: what was held goes out under the old one.
    fn end_at(&mut self, kind: Kind, dts: u64, out: &mut Vec<Piece>) {
        if self.header_due {
            match kind {
                Kind::Video => self.pictures.clear(),
                Kind::Audio | Kind::Script => self.sounds.clear(),
            }
            return;
        }
        self.last_pictures(Some(dts).filter(|_| kind == Kind::Video), out);
        self.last_sounds(Some(dts).filter(|_| kind == Kind::Audio), out);
        self.header_due = true;
    }

    fn last_pictures(&mut self, end: Option<u64>, out: &mut Vec<Piece>) {
        let cut = Cut { full_ms: self.part_ms, at: 0, all: false };
        while let Some(piece) = self.pictures.last_piece(cut, end, self.sequence) {
            self.send(piece, out);
        }
    }

    fn last_sounds(&mut self, end: Option<u64>, out: &mut Vec<Piece>) {
        let cut = Cut { full_ms: AUDIO_PIECE_MS, at: self.key_dts, all: false };
        while let Some(piece) = self.sounds.last_piece(cut, end, self.sequence) {
            self.send(piece, out);
        }
    }

    /// In a stream of sound a reader may start anywhere.
    fn send(&mut self, piece: Piece, out: &mut Vec<Piece>) {
        self.sequence = self.sequence.wrapping_add(1);
        let role = if matches!(self.video, Track::Absent) { Role::Key } else { piece.role };
        out.push(Piece { role, ..piece });
    }

    /// Gives out what is due.
    fn go(&mut self, out: &mut Vec<Piece>) {
        if self.header_due && !self.header(out) {
            return;
        }
        let cut = Cut { full_ms: self.part_ms, at: 0, all: false };
        let mut video_went_out = false;
        while self.pictures.is_due(cut) {
            if let Some(key) = self.pictures.first().filter(|first| first.sync).map(|first| first.dts) {
                self.drain_sounds(Some(key), key, true, out);
            }
            let Some(piece) = self.pictures.next_piece(cut, self.sequence) else { break };
            self.send(piece, out);
            video_went_out = true;
        }
        self.hold_picture(out);
        let held_key = self.pictures.newest().filter(|newest| newest.sync).map(|newest| newest.dts);
        let before = held_key.filter(|_| self.sounds.span() < MAX_AUDIO_HOLD_MS);
        self.drain_sounds(before, self.key_dts, video_went_out, out);
    }

    /// Gives out the newest picture when the sound goes on without a next one.
    fn hold_picture(&mut self, out: &mut Vec<Piece>) {
        let Some(newest) = self.pictures.newest() else { return };
        let (dts, key) = (newest.dts, newest.sync);
        // Of a B-frame the length is of no use: another picture is shown after it.
        if dts.saturating_add_signed(i64::from(newest.cts)) < self.shown {
            return;
        }
        let since = self.sounds.last_dts().unwrap_or(0).saturating_sub(self.heard);
        if !self.live || since <= STANDS_AFTER_MS.max(self.pictures.period().saturating_mul(3)) {
            return;
        }
        if key {
            self.drain_sounds(Some(dts), dts, true, out);
        }
        self.last_pictures(Some(dts.saturating_add(HOLD_MS)), out);
    }

    /// Gives out audio that begins before a time, in pieces that end at `cut_at`.
    fn drain_sounds(&mut self, before: Option<u64>, cut_at: u64, all: bool, out: &mut Vec<Piece>) {
        let cut = Cut { full_ms: AUDIO_PIECE_MS, at: cut_at, all };
        while self.sounds.first().is_some_and(|first| before.is_none_or(|before| first.dts < before)) {
            let Some(piece) = self.sounds.next_piece(cut, self.sequence) else { break };
            self.send(piece, out);
        }
    }

    /// Gives out the header, if it is time. False: not yet.
    fn header(&mut self, out: &mut Vec<Piece>) -> bool {
        let held = self.pictures.bytes().saturating_add(self.sounds.bytes());
        let waited = self.pictures.span().max(self.sounds.span());
        if waited >= START_WAIT_MS || held >= MAX_HELD_BYTES {
            self.stop_waiting();
        }
        if self.mime().is_none() {
            return false;
        }
        let video = self.video.known().map(|config| &config.track);
        let audio = self.audio.known().map(|config| &config.track);
        let payload = Bytes::from(init::segment(video, audio));
        let times = [self.pictures.first(), self.sounds.first()];
        let dts = times.into_iter().flatten().map(|first| first.dts).min().unwrap_or(0);
        out.push(Piece { role: Role::Header, kind: Kind::Script, dts, payload });
        self.header_due = false;
        true
    }

    fn stop_waiting(&mut self) {
        if self.video.is_awaited() {
            self.video = Track::Absent;
        }
        if self.audio.is_awaited() {
            self.audio = Track::Absent;
        }
    }
}

impl Packager for Fmp4Packager {
    fn push(&mut self, frame: &Frame, out: &mut Vec<Piece>) {
        if frame.role == Role::Header {
            return;
        }
        match frame.kind {
            Kind::Video => self.push_video(frame, out),
            Kind::Audio => self.push_audio(frame, out),
            Kind::Script => {}
        }
    }

    fn for_live(&mut self) {
        self.live = true;
    }

    fn finish(&mut self, out: &mut Vec<Piece>) {
        self.stop_waiting();
        self.go(out);
        if !self.header_due {
            self.last_pictures(None, out);
            self.last_sounds(None, out);
        }
    }
}

/// A picture as a sample holds it; shared with the frame where nothing has to change.
fn video_data(codec: VideoCodec, body: Bytes, nal_length_size: u8) -> Bytes {
    if codec == VideoCodec::Av1 {
        let skip = body.len().saturating_sub(sample::without_delimiter(&body).len());
        return body.slice(skip..);
    }
    match sample::with_lengths(&body, nal_length_size) {
        Cow::Borrowed(_) => body,
        Cow::Owned(data) => Bytes::from(data),
    }
}
