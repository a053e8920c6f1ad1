//! What an audio or video message says about itself in its first bytes; the same in RTMP and in FLV.
//! Spec: Adobe Flash Video File Format 10.1, annex E.4.2 and E.4.3; Enhanced RTMP v1 and v2 (Veovera).
//!
//! Invariants: nothing is copied, nothing fails: a message too short to say what it is has [`Part::Empty`].
//! `body <= end <= len` always holds.
//! Deviations: legacy video codec id 12 is HEVC laid out like AVC, as widely sent before Enhanced RTMP. Of several
//! tracks in one message the first is reported.

use std::fmt;

use super::read::Reader;

/// The role of a message in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Configuration that a decoder needs before any frame.
    SequenceHeader,
    /// Coded media.
    Frame,
    /// The sequence is over; a new header will come before more frames.
    EndOfSequence,
    /// Enhanced RTMP: colour information of a video, the channel layout of an audio track.
    Metadata,
    /// Video info or command frame: seek marks, no picture.
    Command,
    /// Nothing usable: no codec data, or too short or unknown to tell.
    Empty,
}

/// What the head of a video message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoTag {
    /// The codec.
    pub codec: VideoCodec,
    /// A frame at which a decoder can start; only ever set with [`Part::Frame`], whatever the frame-type bits say.
    pub key: bool,
    /// What the message is.
    pub part: Part,
    /// Composition time offset in milliseconds, signed 24 bits; 0 when the message has none.
    pub cts: i32,
    /// Track number; 0 unless multitrack.
    pub track: u8,
    /// Enhanced RTMP form.
    pub enhanced: bool,
    /// Where the codec data begins.
    pub body: usize,
    /// Where the codec data ends: the length of the message, unless further tracks follow.
    pub end: usize,
}

/// What the head of an audio message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioTag {
    /// The codec.
    pub codec: AudioCodec,
    /// What the message is.
    pub part: Part,
    /// Track number; 0 unless multitrack.
    pub track: u8,
    /// Enhanced RTMP form.
    pub enhanced: bool,
    /// Where the codec data begins.
    pub body: usize,
    /// Where the codec data ends: the length of the message, unless further tracks follow.
    pub end: usize,
    /// Sample rate by the flag bits, in Hz: 5512, 11025, 22050 or 44100; 0 in the enhanced form.
    /// For AAC and Speex the bits are fixed and say nothing.
    pub rate: u32,
    /// Bits a sample by the flag bits: 8 or 16; 0 in the enhanced form.
    pub bits: u8,
    /// Channels by the flag bits: 1 or 2; 0 in the enhanced form. For AAC and Speex they say nothing.
    pub channels: u8,
}

/// A video codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// Sorenson H.263.
    H263,
    /// Screen video.
    Screen,
    /// On2 VP6.
    Vp6,
    /// On2 VP6 with alpha channel.
    Vp6Alpha,
    /// Screen video version 2.
    Screen2,
    /// H.264.
    Avc,
    /// H.265.
    Hevc,
    /// AV1.
    Av1,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// H.266.
    Vvc,
    /// A legacy codec id without a meaning known here.
    Other(u8),
    /// An Enhanced RTMP code without a meaning known here.
    FourCc([u8; 4]),
}

/// An audio codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// Linear PCM in the sender's byte order.
    Pcm,
    /// ADPCM.
    Adpcm,
    /// MP3.
    Mp3,
    /// Linear PCM, little endian.
    PcmLe,
    /// Nellymoser at 16 kHz, mono.
    Nellymoser16k,
    /// Nellymoser at 8 kHz, mono.
    Nellymoser8k,
    /// Nellymoser.
    Nellymoser,
    /// G.711 A-law.
    G711A,
    /// G.711 mu-law.
    G711U,
    /// AAC.
    Aac,
    /// Speex at 16 kHz, mono.
    Speex,
    /// Opus.
    Opus,
    /// FLAC.
    Flac,
    /// Dolby AC-3.
    Ac3,
    /// Dolby Digital Plus.
    Eac3,
    /// MP3 at 8 kHz.
    Mp38k,
    /// Sound specific to a device.
    Device,
    /// A legacy sound format without a meaning known here.
    Other(u8),
    /// An Enhanced RTMP code without a meaning known here.
    FourCc([u8; 4]),
}

impl VideoCodec {
    fn from_id(id: u8) -> Self {
        match id {
            2 => VideoCodec::H263,
            3 => VideoCodec::Screen,
            4 => VideoCodec::Vp6,
            5 => VideoCodec::Vp6Alpha,
            6 => VideoCodec::Screen2,
            7 => VideoCodec::Avc,
            12 => VideoCodec::Hevc,
            other => VideoCodec::Other(other),
        }
    }

    fn from_four_cc(code: [u8; 4]) -> Self {
        match &code {
            b"avc1" => VideoCodec::Avc,
            b"hvc1" => VideoCodec::Hevc,
            b"av01" => VideoCodec::Av1,
            b"vp08" => VideoCodec::Vp8,
            b"vp09" => VideoCodec::Vp9,
            b"vvc1" => VideoCodec::Vvc,
            _ => VideoCodec::FourCc(code),
        }
    }

    fn has_composition_time(self) -> bool {
        matches!(self, VideoCodec::Avc | VideoCodec::Hevc | VideoCodec::Vvc)
    }
}

impl AudioCodec {
    fn from_id(id: u8) -> Self {
        match id {
            0 => AudioCodec::Pcm,
            1 => AudioCodec::Adpcm,
            2 => AudioCodec::Mp3,
            3 => AudioCodec::PcmLe,
            4 => AudioCodec::Nellymoser16k,
            5 => AudioCodec::Nellymoser8k,
            6 => AudioCodec::Nellymoser,
            7 => AudioCodec::G711A,
            8 => AudioCodec::G711U,
            10 => AudioCodec::Aac,
            11 => AudioCodec::Speex,
            14 => AudioCodec::Mp38k,
            15 => AudioCodec::Device,
            other => AudioCodec::Other(other),
        }
    }

    fn from_four_cc(code: [u8; 4]) -> Self {
        match &code {
            b"mp4a" => AudioCodec::Aac,
            b"Opus" => AudioCodec::Opus,
            b"fLaC" => AudioCodec::Flac,
            b"ac-3" => AudioCodec::Ac3,
            b"ec-3" => AudioCodec::Eac3,
            b".mp3" => AudioCodec::Mp3,
            _ => AudioCodec::FourCc(code),
        }
    }
}

impl fmt::Display for VideoCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VideoCodec::H263 => "H263",
            VideoCodec::Screen => "Screen video",
            VideoCodec::Vp6 => "VP6",
            VideoCodec::Vp6Alpha => "VP6 alpha",
            VideoCodec::Screen2 => "Screen video 2",
            VideoCodec::Avc => "H264",
            VideoCodec::Hevc => "HEVC",
            VideoCodec::Av1 => "AV1",
            VideoCodec::Vp8 => "VP8",
            VideoCodec::Vp9 => "VP9",
            VideoCodec::Vvc => "VVC",
            VideoCodec::Other(id) => return write!(f, "video codec {id}"),
            VideoCodec::FourCc(code) => return write!(f, "video codec '{}'", code.escape_ascii()),
        })
    }
}

impl fmt::Display for AudioCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AudioCodec::Pcm => "PCM",
            AudioCodec::Adpcm => "ADPCM",
            AudioCodec::Mp3 => "MP3",
            AudioCodec::PcmLe => "PCM little endian",
            AudioCodec::Nellymoser16k => "Nellymoser 16 kHz",
            AudioCodec::Nellymoser8k => "Nellymoser 8 kHz",
            AudioCodec::Nellymoser => "Nellymoser",
            AudioCodec::G711A => "G.711 A-law",
            AudioCodec::G711U => "G.711 mu-law",
            AudioCodec::Aac => "AAC",
            AudioCodec::Speex => "Speex",
            AudioCodec::Opus => "Opus",
            AudioCodec::Flac => "FLAC",
            AudioCodec::Ac3 => "AC-3",
            AudioCodec::Eac3 => "E-AC-3",
            AudioCodec::Mp38k => "MP3 8 kHz",
            AudioCodec::Device => "device-specific sound",
            AudioCodec::Other(id) => return write!(f, "audio codec {id}"),
            AudioCodec::FourCc(code) => return write!(f, "audio codec '{}'", code.escape_ascii()),
        })
    }
}

const EX_HEADER: u8 = 0x80;
const FRAME_KEY: u8 = 1;
const FRAME_GENERATED_KEY: u8 = 4;
const FRAME_COMMAND: u8 = 5;
const SOUND_FORMAT_EX: u8 = 9;
const PACKET_MOD_EX: u8 = 7;

impl VideoTag {
    /// The codec data of `message`, which must be the message this was made from.
    pub fn data<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        message.get(self.body..self.end).unwrap_or(&[])
    }

    fn new(codec: VideoCodec, key: bool, enhanced: bool, len: usize) -> Self {
        VideoTag { codec, key, part: Part::Empty, cts: 0, track: 0, enhanced, body: len, end: len }
    }
}

impl AudioTag {
    /// The codec data of `message`, which must be the message this was made from.
    pub fn data<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        message.get(self.body..self.end).unwrap_or(&[])
    }

    fn new(codec: AudioCodec, enhanced: bool, len: usize) -> Self {
        AudioTag {
            codec,
            part: Part::Empty,
            track: 0,
            enhanced,
            body: len,
            end: len,
            rate: 0,
            bits: 0,
            channels: 0,
        }
    }
}

/// Reads the head of a video message.
pub fn video(message: &[u8]) -> VideoTag {
    let mut r = Reader::new(message);
    let Some(first) = r.u8() else {
        return VideoTag::new(VideoCodec::Other(0), false, false, message.len());
    };
    let enhanced = first & EX_HEADER != 0;
    let frame_type = (first >> 4) & 0x07;
    let key = matches!(frame_type, FRAME_KEY | FRAME_GENERATED_KEY);
    let low = first & 0x0f;
    let mut tag = if enhanced {
        let mut tag = VideoTag::new(VideoCodec::FourCc([0; 4]), key, true, message.len());
        // A message that ends inside its head keeps `Part::Empty`.
        let _ = enhanced_video(&mut tag, &mut r, low, frame_type);
        tag
    } else {
        let mut tag = VideoTag::new(VideoCodec::from_id(low), key, false, message.len());
        let _ = legacy_video(&mut tag, &mut r, frame_type);
        tag
    };
    if matches!(tag.part, Part::SequenceHeader | Part::Frame | Part::Metadata) && tag.body >= tag.end {
        tag.part = Part::Empty;
    }
    tag.key &= tag.part == Part::Frame;
    tag
}

fn legacy_video(tag: &mut VideoTag, r: &mut Reader<'_>, frame_type: u8) -> Option<()> {
    if frame_type == FRAME_COMMAND {
        tag.body = r.position();
        tag.part = Part::Command;
        return Some(());
    }
    if !matches!(tag.codec, VideoCodec::Avc | VideoCodec::Hevc) {
        tag.body = r.position();
        tag.part = Part::Frame;
        return Some(());
    }
    let part = match r.u8()? {
        0 => Part::SequenceHeader,
        1 => Part::Frame,
        2 => {
            tag.part = Part::EndOfSequence;
            return Some(());
        }
        _ => return None,
    };
    let cts = r.i24()?;
    tag.cts = if part == Part::Frame { cts } else { 0 };
    tag.body = r.position();
    tag.part = part;
    Some(())
}

fn enhanced_video(tag: &mut VideoTag, r: &mut Reader<'_>, low: u8, frame_type: u8) -> Option<()> {
    const SEQUENCE_START: u8 = 0;
    const CODED_FRAMES: u8 = 1;
    const SEQUENCE_END: u8 = 2;
    const CODED_FRAMES_X: u8 = 3;
    const METADATA: u8 = 4;
    const MPEG2TS_SEQUENCE_START: u8 = 5;
    const MULTITRACK: u8 = 6;

    let mut packet = skip_mod_ex(r, low)?;
    if frame_type == FRAME_COMMAND && packet != METADATA {
        tag.body = r.position();
        tag.part = Part::Command;
        return Some(());
    }
    let four_cc;
    if packet == MULTITRACK {
        let track = first_track(r)?;
        (packet, four_cc, tag.track, tag.end) = (track.packet, track.four_cc, track.id, track.end);
    } else {
        four_cc = r.array()?;
    }
    tag.codec = VideoCodec::from_four_cc(four_cc);
    tag.part = match packet {
        SEQUENCE_START | MPEG2TS_SEQUENCE_START => Part::SequenceHeader,
        CODED_FRAMES if tag.codec.has_composition_time() => {
            tag.cts = r.i24()?;
            Part::Frame
        }
        CODED_FRAMES | CODED_FRAMES_X => Part::Frame,
        SEQUENCE_END => Part::EndOfSequence,
        METADATA => Part::Metadata,
        _ => return None,
    };
    tag.body = r.position().min(tag.end);
    Some(())
}

/// Reads the head of an audio message.
pub fn audio(message: &[u8]) -> AudioTag {
    let mut r = Reader::new(message);
    let Some(first) = r.u8() else {
        return AudioTag::new(AudioCodec::Other(0), false, 0);
    };
    let format = first >> 4;
    let mut tag = if format == SOUND_FORMAT_EX {
        let mut tag = AudioTag::new(AudioCodec::FourCc([0; 4]), true, message.len());
        // A message that ends inside its head keeps `Part::Empty`.
        let _ = enhanced_audio(&mut tag, &mut r, first & 0x0f);
        tag
    } else {
        let mut tag = AudioTag::new(AudioCodec::from_id(format), false, message.len());
        tag.rate = match (first >> 2) & 0x03 {
            0 => 5512,
            1 => 11025,
            2 => 22050,
            _ => 44100,
        };
        tag.bits = if first & 0x02 == 0 { 8 } else { 16 };
        tag.channels = if first & 0x01 == 0 { 1 } else { 2 };
        let _ = legacy_audio(&mut tag, &mut r);
        tag
    };
    if matches!(tag.part, Part::SequenceHeader | Part::Frame | Part::Metadata) && tag.body >= tag.end {
        tag.part = Part::Empty;
    }
    tag
}

fn legacy_audio(tag: &mut AudioTag, r: &mut Reader<'_>) -> Option<()> {
    tag.part = if tag.codec != AudioCodec::Aac {
        Part::Frame
    } else {
        match r.u8()? {
            0 => Part::SequenceHeader,
            1 => Part::Frame,
            _ => return None,
        }
    };
    tag.body = r.position();
    Some(())
}

fn enhanced_audio(tag: &mut AudioTag, r: &mut Reader<'_>, low: u8) -> Option<()> {
    const SEQUENCE_START: u8 = 0;
    const CODED_FRAMES: u8 = 1;
    const SEQUENCE_END: u8 = 2;
    const MULTICHANNEL_CONFIG: u8 = 4;
    const MULTITRACK: u8 = 5;

    let mut packet = skip_mod_ex(r, low)?;
    let four_cc;
    if packet == MULTITRACK {
        let track = first_track(r)?;
        (packet, four_cc, tag.track, tag.end) = (track.packet, track.four_cc, track.id, track.end);
    } else {
        four_cc = r.array()?;
    }
    tag.codec = AudioCodec::from_four_cc(four_cc);
    tag.part = match packet {
        SEQUENCE_START => Part::SequenceHeader,
        CODED_FRAMES => Part::Frame,
        SEQUENCE_END => Part::EndOfSequence,
        MULTICHANNEL_CONFIG => Part::Metadata,
        _ => return None,
    };
    tag.body = r.position();
    Some(())
}

/// Skips the ModEx prelude (E-RTMP v2): size, data, then the next packet type. Answers the packet type proper.
fn skip_mod_ex(r: &mut Reader<'_>, mut packet: u8) -> Option<u8> {
    while packet == PACKET_MOD_EX {
        let mut size = usize::from(r.u8()?) + 1;
        if size == 256 {
            size = usize::from(r.u16()?) + 1;
        }
        r.take(size)?;
        packet = r.u8()? & 0x0f;
    }
    Some(packet)
}

struct Track {
    packet: u8,
    four_cc: [u8; 4],
    id: u8,
    end: usize,
}

/// Reads a multitrack head as far as the data of its first track.
fn first_track(r: &mut Reader<'_>) -> Option<Track> {
    const ONE_TRACK: u8 = 0;
    const MANY_TRACKS_MANY_CODECS: u8 = 2;

    let head = r.u8()?;
    let (kind, packet) = (head >> 4, head & 0x0f);
    if kind > MANY_TRACKS_MANY_CODECS {
        return None;
    }
    let four_cc = r.array()?;
    let id = r.u8()?;
    let all = r.remaining();
    let len = if kind == ONE_TRACK { all } else { usize::try_from(r.u24()?).ok()?.min(r.remaining()) };
    Some(Track { packet, four_cc, id, end: r.position() + len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Noise, hex};

    fn plain_video(codec: VideoCodec, part: Part, body: usize, end: usize) -> VideoTag {
        VideoTag { codec, key: false, part, cts: 0, track: 0, enhanced: false, body, end }
    }

    #[test]
    fn legacy_video_messages() {
        use VideoCodec::*;
        let of = plain_video;
        let key = |tag: VideoTag| VideoTag { key: true, ..tag };
        let cts = |tag: VideoTag, cts| VideoTag { cts, ..tag };
        for (text, expected) in [
            ("17 00 000000 01640028", of(Avc, Part::SequenceHeader, 5, 9)),
            ("17 01 000050 00000001 65", cts(key(of(Avc, Part::Frame, 5, 10)), 80)),
            ("27 01 ffffd8 00000001 41", cts(of(Avc, Part::Frame, 5, 10), -40)),
            ("17 02 000000", of(Avc, Part::EndOfSequence, 5, 5)),
            ("17 02", of(Avc, Part::EndOfSequence, 2, 2)),
            ("27 01 000000", of(Avc, Part::Empty, 5, 5)),
            ("17 00 000000", of(Avc, Part::Empty, 5, 5)),
            ("17 01 0000", of(Avc, Part::Empty, 4, 4)),
            ("17", of(Avc, Part::Empty, 1, 1)),
            ("17 09 000000 01", of(Avc, Part::Empty, 6, 6)),
            ("1c 00 000000 01", of(Hevc, Part::SequenceHeader, 5, 6)),
            ("2c 01 000010 01", cts(of(Hevc, Part::Frame, 5, 6), 16)),
            ("47 01 000000 01", key(of(Avc, Part::Frame, 5, 6))),
            ("12 aabb", key(of(H263, Part::Frame, 1, 3))),
            ("32 aabb", of(H263, Part::Frame, 1, 3)),
            ("24 00", of(Vp6, Part::Frame, 1, 2)),
            ("57 00", of(Avc, Part::Command, 1, 2)),
            ("52 01", of(H263, Part::Command, 1, 2)),
            ("2d 01", of(Other(13), Part::Frame, 1, 2)),
            ("22", of(H263, Part::Empty, 1, 1)),
            ("", of(Other(0), Part::Empty, 0, 0)),
        ] {
            assert_eq!(video(&hex(text)), expected, "{text}");
        }
    }

    #[test]
    fn enhanced_video_messages() {
        use VideoCodec::*;
        let of = |codec, part, body, end| VideoTag { enhanced: true, ..plain_video(codec, part, body, end) };
        let key = |tag: VideoTag| VideoTag { key: true, ..tag };
        let cts = |tag: VideoTag, cts| VideoTag { cts, ..tag };
        let track = |tag: VideoTag, track| VideoTag { track, ..tag };
        for (text, expected) in [
            ("90 68766331 0101", of(Hevc, Part::SequenceHeader, 5, 7)),
            ("91 68766331 000050 aa", cts(key(of(Hevc, Part::Frame, 8, 9)), 80)),
            ("a1 61766331 ffffff aa", cts(of(Avc, Part::Frame, 8, 9), -1)),
            ("a1 76766331 000001 aa", cts(of(Vvc, Part::Frame, 8, 9), 1)),
            ("a1 61763031 aa", of(Av1, Part::Frame, 5, 6)),
            ("91 76703039 aa", key(of(Vp9, Part::Frame, 5, 6))),
            ("91 76703038 aa", key(of(Vp8, Part::Frame, 5, 6))),
            ("a3 68766331 aa", of(Hevc, Part::Frame, 5, 6)),
            ("92 68766331", of(Hevc, Part::EndOfSequence, 5, 5)),
            ("94 68766331 02", of(Hevc, Part::Metadata, 5, 6)),
            ("95 61763031 80", of(Av1, Part::SequenceHeader, 5, 6)),
            ("d1 00", of(FourCc([0; 4]), Part::Command, 1, 2)),
            ("d4 68766331 02", of(Hevc, Part::Metadata, 5, 6)),
            ("a1 7a7a7a7a aa", of(FourCc(*b"zzzz"), Part::Frame, 5, 6)),
            // ModEx: nanosecond offset (3 bytes), then coded frames; and one with a long prelude
            ("a7 02 000102 01 68766331 000002 aa", cts(of(Hevc, Part::Frame, 13, 14), 2)),
            ("a7 ff 0002 0a0b0c 03 68766331 aa", of(Hevc, Part::Frame, 12, 13)),
            // Multitrack: one track; several of one codec; several codecs
            ("96 00 68766331 05 0101", track(of(Hevc, Part::SequenceHeader, 7, 9), 5)),
            ("a6 11 68766331 00 000004 000003 aa 01 000004 000003 bb", cts(of(Hevc, Part::Frame, 13, 14), 3)),
            ("a6 23 61763031 01 000002 aabb 76703039 02 000001 cc", track(of(Av1, Part::Frame, 10, 12), 1)),
            ("a6 13 61763031 01 ffffff aabb", track(of(Av1, Part::Frame, 10, 12), 1)),
            ("a1 687663", of(FourCc([0; 4]), Part::Empty, 4, 4)),
            ("a1 68766331 0000", of(Hevc, Part::Empty, 7, 7)),
            ("a8 68766331 0000", of(Hevc, Part::Empty, 7, 7)),
            ("a3 68766331", of(Hevc, Part::Empty, 5, 5)),
        ] {
            assert_eq!(video(&hex(text)), expected, "{text}");
        }
    }

    #[test]
    fn legacy_audio_messages() {
        use AudioCodec::*;
        for (text, codec, part, body, (rate, bits, channels)) in [
            ("af 00 1210", Aac, Part::SequenceHeader, 2, (44100, 16, 2)),
            ("af 01 21", Aac, Part::Frame, 2, (44100, 16, 2)),
            ("af 01", Aac, Part::Empty, 2, (44100, 16, 2)),
            ("af 05 21", Aac, Part::Empty, 3, (44100, 16, 2)),
            ("af", Aac, Part::Empty, 1, (44100, 16, 2)),
            ("2a ff", Mp3, Part::Frame, 1, (22050, 16, 1)),
            ("26 ff", Mp3, Part::Frame, 1, (11025, 16, 1)),
            ("00 ff", Pcm, Part::Frame, 1, (5512, 8, 1)),
            ("b2 ff", Speex, Part::Frame, 1, (5512, 16, 1)),
            ("72 ff", G711A, Part::Frame, 1, (5512, 16, 1)),
            ("82 ff", G711U, Part::Frame, 1, (5512, 16, 1)),
            ("42 ff", Nellymoser16k, Part::Frame, 1, (5512, 16, 1)),
            ("e2 ff", Mp38k, Part::Frame, 1, (5512, 16, 1)),
            ("c2 ff", Other(12), Part::Frame, 1, (5512, 16, 1)),
            ("2e", Mp3, Part::Empty, 1, (44100, 16, 1)),
            ("", Other(0), Part::Empty, 0, (0, 0, 0)),
        ] {
            let bytes = hex(text);
            let expected = AudioTag {
                codec,
                part,
                track: 0,
                enhanced: false,
                body,
                end: bytes.len(),
                rate,
                bits,
                channels,
            };
            assert_eq!(audio(&bytes), expected, "{text}");
        }
    }

    #[test]
    fn enhanced_audio_messages() {
        use AudioCodec::*;
        for (text, codec, part, track, body, end) in [
            ("90 4f707573 4f70", Opus, Part::SequenceHeader, 0, 5, 7),
            ("91 4f707573 aa", Opus, Part::Frame, 0, 5, 6),
            ("91 6d703461 aa", Aac, Part::Frame, 0, 5, 6),
            ("91 664c6143 aa", Flac, Part::Frame, 0, 5, 6),
            ("91 61632d33 aa", Ac3, Part::Frame, 0, 5, 6),
            ("91 65632d33 aa", Eac3, Part::Frame, 0, 5, 6),
            ("91 2e6d7033 aa", Mp3, Part::Frame, 0, 5, 6),
            ("92 4f707573", Opus, Part::EndOfSequence, 0, 5, 5),
            ("94 4f707573 01", Opus, Part::Metadata, 0, 5, 6),
            ("95 01 4f707573 03 aa", Opus, Part::Frame, 3, 7, 8),
            ("95 21 4f707573 03 000001 aa 6d703461 04 000001 bb", Opus, Part::Frame, 3, 10, 11),
            ("97 02 000102 01 4f707573 aa", Opus, Part::Frame, 0, 10, 11),
            ("91 7a7a7a7a aa", FourCc(*b"zzzz"), Part::Frame, 0, 5, 6),
            ("93 4f707573 aa", Opus, Part::Empty, 0, 6, 6),
            ("91 4f", FourCc([0; 4]), Part::Empty, 0, 2, 2),
            ("97", FourCc([0; 4]), Part::Empty, 0, 1, 1),
        ] {
            let tag =
                AudioTag { codec, part, track, enhanced: true, body, end, rate: 0, bits: 0, channels: 0 };
            assert_eq!(audio(&hex(text)), tag, "{text}");
        }
    }

    #[test]
    fn data_is_the_first_track_only() {
        let message = hex("a6 23 61763031 01 000002 aabb 76703039 02 000001 cc");
        assert_eq!(video(&message).data(&message), [0xaa, 0xbb]);
        let message = hex("af 01 2122");
        assert_eq!(audio(&message).data(&message), [0x21, 0x22]);
    }

    #[test]
    fn names_are_printable() {
        assert_eq!(VideoCodec::Avc.to_string(), "H264");
        assert_eq!(VideoCodec::FourCc(*b"ab\n\xff").to_string(), "video codec 'ab\\n\\xff'");
        assert_eq!(AudioCodec::Other(13).to_string(), "audio codec 13");
    }

    #[test]
    fn offsets_stay_inside_whatever_comes() {
        let mut noise = Noise(4242);
        for _ in 0..50_000 {
            let len = noise.below(24);
            let mut message = noise.bytes(len);
            if let Some(first) = message.first_mut() {
                *first |= [0, 0x80, 0x90, 0x96][noise.below(4)];
            }
            let (v, a) = (video(&message), audio(&message));
            assert!(v.body <= v.end && v.end <= message.len(), "{message:02x?} {v:?}");
            assert!(a.body <= a.end && a.end <= message.len(), "{message:02x?} {a:?}");
        }
    }
}
