//! The initialization segment: `ftyp` and a `moov` that describes the tracks and holds no sample.
//! Spec: ISO/IEC 14496-12, sections 4.3, 8.2 to 8.8 and 12; sample entries from the parts named at [`Entry`].

use super::{AUDIO_TRACK, TIMESCALE, VIDEO_TRACK, put, put_full, put_u16, put_u32};

/// What decodes a track: the sample entry and its configuration box. Configurations are complete box bodies as made by
/// [`super::config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// `avc1` with this `avcC` (14496-15, section 5.4.2.1).
    Avc(Vec<u8>),
    /// `hvc1` with this `hvcC` (14496-15, section 8.4.1.1).
    Hevc(Vec<u8>),
    /// `av01` with this `av1C` (AV1-ISOBMFF, section 2.2).
    Av1(Vec<u8>),
    /// `mp4a` with this AudioSpecificConfig in its `esds` (14496-14, section 6.7).
    Aac(Vec<u8>),
    /// `mp4a` whose `esds` says MP3 (object type 0x6B).
    Mp3,
    /// `Opus` with this `dOps` (Opus in ISOBMFF, section 4.3).
    Opus(Vec<u8>),
    /// `fLaC` with this `dfLa`, without version and flags (FLAC in ISOBMFF, section 3.3).
    Flac(Vec<u8>),
}

/// A video track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    /// The codec.
    pub entry: Entry,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
}

/// An audio track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// The codec.
    pub entry: Entry,
    /// Channels played.
    pub channels: u8,
    /// Sample rate in Hz.
    pub rate: u32,
}

const UNITY_MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
const UNDETERMINED_LANGUAGE: u16 = 0x55c4;
const NOT_SYNC: u32 = 0x0101_0000;
const SYNC: u32 = 0x0200_0000;
const NO_DEPTH_TABLE: u16 = 0xffff;
const OTI_AAC: u8 = 0x40;
const OTI_MP3: u8 = 0x6b;

/// The initialization segment of a stream with these tracks.
pub fn segment(video: Option<&Video>, audio: Option<&Audio>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1200);
    put(&mut out, b"ftyp", |out| out.extend_from_slice(b"iso6\0\0\0\x01iso6iso5mp41"));
    put(&mut out, b"moov", |out| {
        movie_header(out);
        if let Some(video) = video {
            let size = [u32::from(video.width) << 16, u32::from(video.height) << 16];
            track(out, VIDEO_TRACK, size, b"vide", |out| video_entry(out, video));
        }
        if let Some(audio) = audio {
            track(out, AUDIO_TRACK, [0, 0], b"soun", |out| audio_entry(out, audio));
        }
        put(out, b"mvex", |out| {
            if video.is_some() {
                track_defaults(out, VIDEO_TRACK, NOT_SYNC);
            }
            if audio.is_some() {
                track_defaults(out, AUDIO_TRACK, SYNC);
            }
        });
    });
    out
}

fn movie_header(out: &mut Vec<u8>) {
    put_full(out, b"mvhd", 0, 0, |out| {
        for value in [0, 0, TIMESCALE, 0, 0x1_0000] {
            put_u32(out, value); // created, modified, time scale, duration, rate 1.0
        }
        put_u16(out, 0x0100); // volume 1.0
        out.extend_from_slice(&[0; 10]);
        UNITY_MATRIX.iter().for_each(|value| put_u32(out, *value));
        out.extend_from_slice(&[0; 24]);
        put_u32(out, AUDIO_TRACK.saturating_add(1)); // next_track_ID
    });
}

/// Where in an initialization segment of ours the movie's duration stands, as [`duration`] makes it. Zero, as it is first,
/// says that fragments follow and nobody knows how many.
pub fn duration_at(segment: &[u8]) -> Option<usize> {
    const BEFORE: usize = 4 + 4 + 4 + 4 + 4; // name, version and flags, created, modified, time scale
    let at = segment.windows(4).take(64).position(|name| name == b"mvhd")?;
    at.checked_add(BEFORE)
}

/// The duration of a movie of so many milliseconds.
pub fn duration(ms: u64) -> [u8; 4] {
    let units = ms.saturating_mul(u64::from(TIMESCALE)) / 1000;
    u32::try_from(units).unwrap_or(0).to_be_bytes()
}

fn track_defaults(out: &mut Vec<u8>, track: u32, sample_flags: u32) {
    put_full(out, b"trex", 0, 0, |out| {
        for value in [track, 1, 0, 0, sample_flags] {
            put_u32(out, value); // track, description, duration, size, flags
        }
    });
}

fn track(out: &mut Vec<u8>, id: u32, size: [u32; 2], handler: &[u8; 4], entry: impl FnOnce(&mut Vec<u8>)) {
    const ENABLED_IN_MOVIE: u32 = 3;
    let sound = handler == b"soun";
    put(out, b"trak", |out| {
        put_full(out, b"tkhd", 0, ENABLED_IN_MOVIE, |out| {
            for value in [0, 0, id, 0, 0, 0, 0] {
                put_u32(out, value); // created, modified, track, reserved, duration, reserved twice
            }
            for value in [0, 0, if sound { 0x0100 } else { 0 }, 0] {
                put_u16(out, value); // layer, alternate group, volume, reserved
            }
            UNITY_MATRIX.iter().for_each(|value| put_u32(out, *value));
            size.iter().for_each(|value| put_u32(out, *value));
        });
        put(out, b"mdia", |out| {
            put_full(out, b"mdhd", 0, 0, |out| {
                for value in [0, 0, TIMESCALE, 0] {
                    put_u32(out, value); // created, modified, time scale, duration
                }
                put_u16(out, UNDETERMINED_LANGUAGE);
                put_u16(out, 0);
            });
            put_full(out, b"hdlr", 0, 0, |out| {
                put_u32(out, 0);
                out.extend_from_slice(handler);
                out.extend_from_slice(&[0; 12]);
                out.extend_from_slice(if sound { b"sound\0" } else { b"video\0" });
            });
            put(out, b"minf", |out| media_information(out, sound, entry));
        });
    });
}

fn media_information(out: &mut Vec<u8>, sound: bool, entry: impl FnOnce(&mut Vec<u8>)) {
    const SELF_CONTAINED: u32 = 1;
    if sound {
        put_full(out, b"smhd", 0, 0, |out| put_u32(out, 0)); // balance
    } else {
        put_full(out, b"vmhd", 0, 1, |out| out.extend_from_slice(&[0; 8])); // graphics mode, colour
    }
    put(out, b"dinf", |out| {
        put_full(out, b"dref", 0, 0, |out| {
            put_u32(out, 1);
            put_full(out, b"url ", 0, SELF_CONTAINED, |_| {});
        });
    });
    put(out, b"stbl", |out| {
        put_full(out, b"stsd", 0, 0, |out| {
            put_u32(out, 1);
            entry(out);
        });
        put_full(out, b"stts", 0, 0, |out| put_u32(out, 0));
        put_full(out, b"stsc", 0, 0, |out| put_u32(out, 0));
        put_full(out, b"stsz", 0, 0, |out| out.extend_from_slice(&[0; 8]));
        put_full(out, b"stco", 0, 0, |out| put_u32(out, 0));
    });
}

fn video_entry(out: &mut Vec<u8>, video: &Video) {
    const DPI_72: u32 = 72 << 16;
    let (kind, config_kind, config) = match &video.entry {
        Entry::Avc(config) => (b"avc1", b"avcC", config.as_slice()),
        Entry::Hevc(config) => (b"hvc1", b"hvcC", config.as_slice()),
        Entry::Av1(config) => (b"av01", b"av1C", config.as_slice()),
        Entry::Aac(_) | Entry::Mp3 | Entry::Opus(_) | Entry::Flac(_) => {
            debug_assert!(false, "an audio entry in a video track");
            return;
        }
    };
    put(out, kind, |out| {
        out.extend_from_slice(&[0; 6]);
        put_u16(out, 1); // data_reference_index
        out.extend_from_slice(&[0; 16]);
        put_u16(out, video.width);
        put_u16(out, video.height);
        put_u32(out, DPI_72);
        put_u32(out, DPI_72);
        put_u32(out, 0);
        put_u16(out, 1); // frames a sample
        out.extend_from_slice(&[0; 32]); // compressor name
        put_u16(out, 24); // depth
        put_u16(out, NO_DEPTH_TABLE);
        put(out, config_kind, |out| out.extend_from_slice(config));
    });
}

fn audio_entry(out: &mut Vec<u8>, audio: &Audio) {
    let kind = match &audio.entry {
        Entry::Aac(_) | Entry::Mp3 => b"mp4a",
        Entry::Opus(_) => b"Opus",
        Entry::Flac(_) => b"fLaC",
        Entry::Avc(_) | Entry::Hevc(_) | Entry::Av1(_) => {
            debug_assert!(false, "a video entry in an audio track");
            return;
        }
    };
    put(out, kind, |out| {
        out.extend_from_slice(&[0; 6]);
        put_u16(out, 1); // data_reference_index
        out.extend_from_slice(&[0; 8]);
        put_u16(out, u16::from(audio.channels));
        put_u16(out, 16); // bits a sample
        put_u32(out, 0);
        // 16.16 fixed point cannot say more than 65535 Hz: zero then, and the configuration tells.
        put_u16(out, u16::try_from(audio.rate).unwrap_or(0));
        put_u16(out, 0);
        match &audio.entry {
            Entry::Aac(config) => elementary_stream(out, OTI_AAC, config),
            Entry::Mp3 => elementary_stream(out, OTI_MP3, &[]),
            Entry::Opus(config) => put(out, b"dOps", |out| out.extend_from_slice(config)),
            Entry::Flac(config) => put_full(out, b"dfLa", 0, 0, |out| out.extend_from_slice(config)),
            Entry::Avc(_) | Entry::Hevc(_) | Entry::Av1(_) => {}
        }
    });
}

/// `esds`: an ES_Descriptor (ISO/IEC 14496-1, section 7.2.6.5) with the decoder's specific configuration, if any.
fn elementary_stream(out: &mut Vec<u8>, object_type: u8, config: &[u8]) {
    const ES: u8 = 3;
    const DECODER_CONFIG: u8 = 4;
    const DECODER_SPECIFIC: u8 = 5;
    const SL_CONFIG: u8 = 6;
    const AUDIO_STREAM: u8 = 0x15;
    let mut decoder = vec![object_type, AUDIO_STREAM];
    decoder.extend_from_slice(&[0; 11]); // buffer size, greatest and average bit rate: unknown
    if !config.is_empty() {
        descriptor(&mut decoder, DECODER_SPECIFIC, config);
    }
    let mut stream = vec![0, 0, 0]; // ES_ID, no flags
    descriptor(&mut stream, DECODER_CONFIG, &decoder);
    descriptor(&mut stream, SL_CONFIG, &[2]);
    put_full(out, b"esds", 0, 0, |out| descriptor(out, ES, &stream));
}

fn descriptor(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    // Seven bits a byte, always in four bytes, as most writers do.
    let bits = super::size32(body.len());
    out.push(tag);
    for shift in [21, 14, 7] {
        out.push(0x80 | (bits >> shift & 0x7f) as u8);
    }
    out.push((bits & 0x7f) as u8);
    out.extend_from_slice(body);
}
