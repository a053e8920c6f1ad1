//! A stream as MPEG-TS, `.ts` and the segments of HLS: H.264, H.265, AAC, MP3.
//! Spec: ISO/IEC 13818-1, sections 2.4 and 2.7; `wire::ts` for the packets, `wire::annexb` for the pictures.
//!
//! ```text
//!   piece with a keyframe   PAT PMT | PES (clock, random access): delimiter, parameter sets, slices
//!   piece with a picture              PES (clock): delimiter, slices
//!   piece with sound                  [clock alone] PES: some frames
//!   without video           PAT PMT | PES (clock): some frames                     (tables every half second)
//! ```
//!
//! Invariants: a piece is a whole number of packets; sound that was held back goes out before the next picture; no sound
//! is held back for more than [`PACK_MS`] of it; the clock never goes back, unless it says so, and is never after the
//! DTS that it comes with; the map's version changes with what the map says and with the codec configuration.
//! Deviations: timestamps are the stream's own time from its very start, so they wrap after 26.5 hours. A presentation
//! time before zero is zero. Video that is announced but does not come for [`VIDEO_SILENCE_MS`] does not keep readers
//! from starting with sound. Sound that stops is filled with silence (`silence`) for players that make MP4 of this; what of it would
//! be older than the clock is left out.

use super::adts::aac_config;
use super::silence::{self, Silence};
use super::{Packager, Piece, frames_of_track};
use crate::media::cursor::Filter;
use crate::media::frame::{CodecSet, Frame, HeaderKey, Kind, Role};
use crate::wire::aac::{self, Adts};
use crate::wire::annexb::{ByteStream, Coding};
use crate::wire::avtag::{self, AudioCodec, Part, VideoCodec};
use crate::wire::mp4::config::{self, AudioConfig};
use crate::wire::ts::{self, Counter, Elementary, Pcr, StreamType, Unit};
use crate::wire::{avc, hevc, mp3};
use bytes::Bytes;
use std::rc::Rc;

/// PID of the video.
pub const PID_VIDEO: u16 = 0x100;
/// PID of the audio.
pub const PID_AUDIO: u16 = 0x101;
/// The most audio in one piece, in milliseconds, unless a single frame is longer.
pub const PACK_MS: u64 = 100;
/// Without video, a reader may start this often, in milliseconds.
pub const AUDIO_KEY_MS: u64 = 500;
/// Audio goes on this long without video before readers may start without it, in milliseconds.
pub const VIDEO_SILENCE_MS: u64 = 3_000;

/// The clock is this far behind the decoding time, in milliseconds: what is interleaved with less disorder is in time.
const CLOCK_LEAD_MS: u64 = 100;
/// The longest way from clock to clock, in milliseconds.
const CLOCK_GAP_MS: u64 = 100;
/// Decoding times that go back by more are another time line, in milliseconds.
const JUMP_MS: u64 = 1_000;
/// The most audio bytes in one piece; a longer frame is left out.
const MAX_PACK_BYTES: usize = 32 * 1024;
/// Scratch memory that is kept from picture to picture.
const MAX_SCRATCH: usize = 512 * 1024;

#[derive(Debug)]
struct Video {
    track: u8,
    header: Option<Bytes>,
    stream: ByteStream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sound {
    /// Raw AAC with these heads to put in front; without, only frames that have them already.
    Aac(Option<Adts>),
    Mpeg {
        mpeg1: bool,
    },
}

#[derive(Debug)]
struct Audio {
    track: u8,
    header: Option<Bytes>,
    sound: Sound,
    /// Length of a frame in microseconds.
    frame_us: u64,
    /// What its silence is like, if that is known.
    config: Option<AudioConfig>,
}

/// Audio that waits for more, to share a PES packet.
#[derive(Debug, Default)]
struct Pack {
    dts: u64,
    end_us: u64,
    data: Vec<u8>,
}

/// Makes transport stream packets.
#[derive(Debug)]
pub struct TsPackager {
    wants: Filter,
    codec: Option<Rc<CodecSet>>,
    video: Option<Video>,
    audio: Option<Audio>,
    pack: Pack,
    scratch: Vec<u8>,
    tables: Tables,
    video_counter: Counter,
    audio_counter: Counter,
    /// The clock as last sent, in milliseconds.
    clock: Option<u64>,
    /// When a reader could last start.
    last_key: Option<u64>,
    /// When video last came; the first time of all until then.
    last_video: Option<u64>,
    silence: Silence,
    /// When sound last came, or silence in its place.
    last_sound: Option<u64>,
    /// Since when pictures have come without a leap of the time line.
    steady_since: u64,
}

#[derive(Debug, Default)]
struct Tables {
    pat: Counter,
    pmt: Counter,
    version: u8,
    /// This version has been sent.
    sent: bool,
}

impl Default for TsPackager {
    fn default() -> Self {
        TsPackager::new(Filter::default())
    }
}

impl TsPackager {
    /// Takes the tracks that `wants` names; others are neither sent nor announced.
    pub fn new(wants: Filter) -> TsPackager {
        TsPackager {
            wants,
            codec: None,
            video: None,
            audio: None,
            pack: Pack::default(),
            scratch: Vec::new(),
            tables: Tables::default(),
            video_counter: Counter::default(),
            audio_counter: Counter::default(),
            clock: None,
            last_key: None,
            last_video: None,
            silence: Silence::new(),
            last_sound: None,
            steady_since: 0,
        }
    }

    fn put_tables(&mut self, out: &mut Vec<u8>) {
        let video = self.video.as_ref().map(|video| Elementary {
            kind: match video.stream.coding() {
                Coding::Avc => StreamType::Avc,
                Coding::Hevc => StreamType::Hevc,
            },
            pid: PID_VIDEO,
        });
        let audio = self.audio.as_ref().map(|audio| Elementary {
            kind: match audio.sound {
                Sound::Aac(_) => StreamType::AacAdts,
                Sound::Mpeg { mpeg1: true } => StreamType::Mpeg1Audio,
                Sound::Mpeg { mpeg1: false } => StreamType::Mpeg2Audio,
            },
            pid: PID_AUDIO,
        });
        let clock = if video.is_some() { PID_VIDEO } else { PID_AUDIO };
        ts::pat(&mut self.tables.pat, out);
        ts::pmt(&mut self.tables.pmt, self.tables.version, clock, video.into_iter().chain(audio), out);
        self.tables.sent = true;
    }

    fn map_changes(&mut self) {
        if self.tables.sent {
            self.tables.version = (self.tables.version + 1) & 0x1f;
            self.tables.sent = false;
        }
    }

    fn set_video(&mut self, video: Option<Video>, out: &mut Vec<Piece>) {
        self.flush(out);
        self.video = video;
        self.map_changes();
    }

    fn set_audio(&mut self, audio: Option<Audio>, out: &mut Vec<Piece>) {
        self.flush(out);
        self.audio = audio;
        self.map_changes();
    }

    /// Takes over the headers in force.
    fn follow(&mut self, codec: &Rc<CodecSet>, out: &mut Vec<Piece>) {
        if self.codec.as_ref().is_some_and(|old| old.version == codec.version) {
            return;
        }
        let old = self.codec.replace(codec.clone());
        // Headers only ever disappear when another publisher begins, whose tracks are yet to be seen.
        if old.is_some_and(|old| old.headers().iter().any(|(key, _)| codec.get(*key).is_none())) {
            self.set_video(None, out);
            self.set_audio(None, out);
        }
        let video = video_of(codec).filter(|_| self.wants.video);
        if header_changes(video.as_ref().map(|v| &v.header), self.video.as_ref().map(|v| &v.header)) {
            self.set_video(video, out);
        }
        let audio = audio_of(codec).filter(|_| self.wants.audio);
        if header_changes(audio.as_ref().map(|a| &a.header), self.audio.as_ref().map(|a| &a.header)) {
            self.set_audio(audio, out);
        }
    }

    fn push_video(&mut self, frame: &Frame, out: &mut Vec<Piece>) {
        let tag = avtag::video(&frame.payload);
        let Some(coding) = coding_of(tag.codec).filter(|_| tag.part == Part::Frame) else { return };
        match &self.video {
            Some(video) if video.track != tag.track => return,
            Some(video) if video.stream.coding() == coding => {}
            _ => {
                let announced = self.codec.as_deref().and_then(video_of);
                let video = announced.filter(|v| v.track == tag.track && v.stream.coding() == coding);
                let bare = Video { track: tag.track, header: None, stream: ByteStream::new(coding) };
                self.set_video(Some(video.unwrap_or(bare)), out);
            }
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let data = tag.data(&frame.payload);
        let picture = self.video.as_mut().and_then(|video| video.stream.push(data, tag.key, &mut scratch));
        if let Some(picture) = picture {
            self.fill_sound(frame.dts, out);
            self.flush(out);
            let pts = frame.dts.saturating_add_signed(i64::from(tag.cts));
            self.put_picture(&scratch, picture.key, frame.dts, pts, out);
        }
        if scratch.capacity() <= MAX_SCRATCH {
            self.scratch = scratch;
        }
    }

    fn put_picture(&mut self, payload: &[u8], key: bool, dts: u64, pts: u64, out: &mut Vec<Piece>) {
        let mut bytes = Vec::with_capacity(packets_for(payload.len()));
        if key || !self.tables.sent {
            self.put_tables(&mut bytes);
        }
        let unit = Unit {
            pid: PID_VIDEO,
            stream_id: ts::STREAM_ID_VIDEO,
            pts: ts::ticks(pts),
            dts: ts::ticks(dts),
            pcr: self.next_clock(dts, key),
            random_access: key,
            payload,
        };
        ts::unit(&unit, &mut self.video_counter, &mut bytes);
        self.last_video = Some(dts);
        self.piece(key, Kind::Video, dts, bytes, out);
    }

    /// A picture of time `dts` comes: sound that is missing is filled with silence, but not where pictures are missing too.
    fn fill_sound(&mut self, dts: u64, out: &mut Vec<Piece>) {
        if self.last_video.is_none_or(|last| dts.saturating_sub(last) > silence::PATIENCE_MS) {
            self.steady_since = dts;
        }
        let Some(Audio { track, config: Some(config), .. }) = &self.audio else { return };
        let (Some(last), track) = (self.last_sound, *track) else { return };
        for (dts, data) in self.silence.fill(dts, last.max(self.steady_since), config) {
            self.last_sound = Some(dts);
            if self.clock.is_none_or(|clock| dts >= clock) {
                self.push_sound(track, dts, &data, out);
            }
        }
    }

    fn push_sound(&mut self, track: u8, dts: u64, data: &[u8], out: &mut Vec<Piece>) {
        match &self.audio {
            Some(Audio { sound: Sound::Mpeg { .. }, .. }) => self.push_mpeg(track, dts, data, out),
            _ => self.push_aac(track, dts, data, out),
        }
    }

    fn push_audio(&mut self, frame: &Frame, out: &mut Vec<Piece>) {
        let track = self.audio.as_ref().map(|audio| audio.track);
        let Some(tag) = frames_of_track(frame, track) else { return };
        let data = tag.data(&frame.payload);
        let (last, picture) = (self.last_sound.unwrap_or(0), self.last_video.unwrap_or(0));
        if self.silence.is_filled(frame.dts, last, picture) {
            return;
        }
        self.last_sound = Some(frame.dts);
        match tag.codec {
            AudioCodec::Aac => self.push_aac(tag.track, frame.dts, data, out),
            AudioCodec::Mp3 | AudioCodec::Mp38k => self.push_mpeg(tag.track, frame.dts, data, out),
            _ => {}
        }
    }

    fn push_aac(&mut self, track: u8, dts: u64, data: &[u8], out: &mut Vec<Piece>) {
        let whole = aac::is_adts(data);
        if !matches!(self.audio, Some(Audio { sound: Sound::Aac(_), .. })) {
            let announced = self.codec.as_deref().and_then(audio_of).filter(|audio| audio.track == track);
            let described = Audio { track, header: None, sound: Sound::Aac(None), frame_us: 0, config: None };
            let Some(audio) = announced.or(whole.then_some(described)) else { return };
            self.set_audio(Some(audio), out);
        }
        let Some(&Audio { sound: Sound::Aac(adts), frame_us, .. }) = self.audio.as_ref() else { return };
        if whole {
            // How many frames there are is not known: they stay by themselves.
            self.flush(out);
            self.pack(dts, PACK_MS * 1000, &[], data, out);
        } else if let Some(head) = adts.and_then(|adts| adts.head(data.len())) {
            self.pack(dts, frame_us, &head, data, out);
        }
    }

    fn push_mpeg(&mut self, track: u8, dts: u64, data: &[u8], out: &mut Vec<Piece>) {
        let known = match self.audio {
            Some(Audio { sound: Sound::Mpeg { mpeg1 }, .. }) => Some(mpeg1),
            _ => None,
        };
        if let Some(head) = mp3::parse_head(data).filter(|head| known != Some(head.mpeg1)) {
            let sound = Sound::Mpeg { mpeg1: head.mpeg1 };
            let frame_us = frame_us(head.samples, head.rate);
            let config = config::mp3(data);
            self.set_audio(Some(Audio { track, header: None, sound, frame_us, config }), out);
        }
        if let Some(&Audio { sound: Sound::Mpeg { .. }, frame_us, .. }) = self.audio.as_ref() {
            self.pack(dts, frame_us, &[], data, out);
        }
    }

    /// Adds a frame to those that wait, and sends them when one more would make it too long.
    fn pack(&mut self, dts: u64, frame_us: u64, head: &[u8], data: &[u8], out: &mut Vec<Piece>) {
        let len = head.len().saturating_add(data.len());
        if len > MAX_PACK_BYTES {
            return;
        }
        let at = dts.saturating_mul(1000);
        // Only the first frame's time is sent: one that does not follow on begins another packet.
        let follows = at.abs_diff(self.pack.end_us) <= frame_us && dts >= self.pack.dts;
        if !follows || self.pack.data.len() + len > MAX_PACK_BYTES {
            self.flush(out);
        }
        if self.pack.data.is_empty() {
            (self.pack.dts, self.pack.end_us) = (dts, at);
        }
        self.pack.data.extend_from_slice(head);
        self.pack.data.extend_from_slice(data);
        self.pack.end_us = self.pack.end_us.saturating_add(frame_us);
        let with_next = self.pack.end_us.saturating_add(frame_us);
        if with_next > self.pack.dts.saturating_add(PACK_MS).saturating_mul(1000) {
            self.flush(out);
        }
    }

    /// Sends the audio that waits.
    fn flush(&mut self, out: &mut Vec<Piece>) {
        if self.pack.data.is_empty() {
            return;
        }
        let mut pack = std::mem::take(&mut self.pack);
        let dts = pack.dts;
        let alone = self.video.is_none();
        let silence = self.last_video.is_none_or(|last| last.abs_diff(dts) >= VIDEO_SILENCE_MS);
        let rested = self.last_key.is_none_or(|last| last.abs_diff(dts) >= AUDIO_KEY_MS);
        let key = (alone || silence) && (rested || !self.tables.sent);
        let mut bytes = Vec::with_capacity(packets_for(pack.data.len()));
        if key || !self.tables.sent {
            self.put_tables(&mut bytes);
        }
        let due = self.clock.is_none_or(|last| pack.end_us > last.saturating_add(CLOCK_GAP_MS) * 1000);
        let pcr = if alone || due || key { self.next_clock(dts, key) } else { None };
        if let Some(pcr) = pcr.filter(|_| !alone) {
            ts::clock_only(PID_VIDEO, pcr, self.video_counter, &mut bytes);
        }
        let unit = Unit {
            pid: PID_AUDIO,
            stream_id: ts::STREAM_ID_AUDIO,
            pts: ts::ticks(dts),
            dts: ts::ticks(dts),
            pcr: pcr.filter(|_| alone),
            random_access: key,
            payload: &pack.data,
        };
        ts::unit(&unit, &mut self.audio_counter, &mut bytes);
        pack.data.clear();
        self.pack.data = pack.data;
        self.piece(key, Kind::Audio, dts, bytes, out);
    }

    fn piece(&mut self, key: bool, kind: Kind, dts: u64, bytes: Vec<u8>, out: &mut Vec<Piece>) {
        if key {
            self.last_key = Some(dts);
        }
        let role = if key { Role::Key } else { Role::Delta };
        out.push(Piece { role, kind, dts, payload: Bytes::from(bytes) });
    }

    /// The clock for what is decoded at `dts`, if it has moved on or `needed`. It starts at zero with the stream and falls
    /// behind by [`CLOCK_LEAD_MS`] at half speed, so that it is never negative.
    fn next_clock(&mut self, dts: u64, needed: bool) -> Option<Pcr> {
        let mut at = dts.saturating_sub(CLOCK_LEAD_MS.min(dts / 2));
        let mut jump = false;
        if let Some(last) = self.clock {
            jump = last > dts && (needed || last > dts.saturating_add(JUMP_MS));
            if at <= last && !jump {
                if !needed {
                    return None;
                }
                at = last;
            }
        }
        self.clock = Some(at);
        Some(Pcr { base: ts::ticks(at), jump })
    }
}

impl Packager for TsPackager {
    fn push(&mut self, frame: &Frame, out: &mut Vec<Piece>) {
        self.follow(&frame.codec, out);
        if frame.role == Role::Header {
            return;
        }
        self.last_video.get_or_insert(frame.dts);
        match frame.kind {
            Kind::Video if self.wants.video => self.push_video(frame, out),
            Kind::Audio if self.wants.audio => self.push_audio(frame, out),
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<Piece>) {
        self.flush(out);
    }

    /// Two packets, in order with those before and after. Empty until it is known what the stream carries.
    fn tables(&mut self) -> Bytes {
        let mut out = Vec::new();
        if self.video.is_some() || self.audio.is_some() {
            self.put_tables(&mut out);
        }
        Bytes::from(out)
    }
}

/// Whether the track that the headers tell of replaces the one there is. A track known by its frames alone stays while
/// no header speaks of another.
fn header_changes(new: Option<&Option<Bytes>>, old: Option<&Option<Bytes>>) -> bool {
    match (new, old) {
        (None, None | Some(None)) => false,
        (new, old) => new != old,
    }
}

fn coding_of(codec: VideoCodec) -> Option<Coding> {
    match codec {
        VideoCodec::Avc => Some(Coding::Avc),
        VideoCodec::Hevc => Some(Coding::Hevc),
        _ => None,
    }
}

/// The first video track whose codec can be carried.
fn video_of(set: &CodecSet) -> Option<Video> {
    set.headers().iter().find_map(|(key, header)| {
        let HeaderKey::Video(track) = key else { return None };
        let tag = avtag::video(header);
        let data = tag.data(header);
        let coding = coding_of(tag.codec)?;
        let stream = match coding {
            Coding::Avc => avc::parse_config(data).map(ByteStream::avc),
            Coding::Hevc => hevc::parse_config(data).map(ByteStream::hevc),
        };
        let stream = stream.unwrap_or_else(|| ByteStream::new(coding));
        Some(Video { track: *track, header: Some(header.clone()), stream })
    })
}

fn audio_of(set: &CodecSet) -> Option<Audio> {
    let (track, header, config) = aac_config(set)?;
    let sound = Sound::Aac(Some(Adts::new(&config)?));
    let frame_us = frame_us(aac::FRAME_SAMPLES, config.rate);
    let config = config::aac(avtag::audio(header).data(header));
    Some(Audio { track, header: Some(header.clone()), sound, frame_us, config })
}

fn frame_us(samples: u32, rate: u32) -> u64 {
    (u64::from(samples) * 1_000_000).checked_div(u64::from(rate)).unwrap_or(PACK_MS * 1000)
}

/// Room for a unit with its head, a clock and the tables, in bytes.
fn packets_for(payload: usize) -> usize {
    const SPARE_PACKETS: usize = 4;
    (payload / (ts::PACKET_LEN - 4) + SPARE_PACKETS) * ts::PACKET_LEN
}
