//! The synthetic stream: 25 video and 43 audio messages a second with valid FLV tag bodies and a stamp in each.
//!
//! Audio messages have 370 bytes (AAC of 127 kbit/s); video sizes follow from the bit rate, a keyframe being eight
//! times a P frame. The stamp is the sequence number of the message in its stream and the time at which the
//! publisher made it, as ASCII digits inside the coded data, so that a reader of any container finds it.

/// FLV tag and RTMP message type of audio.
pub const AUDIO: u8 = 8;
/// FLV tag and RTMP message type of video.
pub const VIDEO: u8 = 9;
/// Video frames a second.
pub const VIDEO_RATE: u64 = 25;
/// Audio frames a second.
pub const AUDIO_RATE: u64 = 43;
/// Bytes of a message from its start within which the stamp ends, for both kinds.
pub const HEAD: usize = 40;

const AUDIO_LEN: usize = 370;
const VIDEO_MIN: usize = 64;
const KEY_FACTOR: u64 = 8;
/// What a stamp begins with.
pub const MAGIC: &[u8; 4] = b"RNLS";
const AUDIO_STAMP_AT: usize = 2;
const VIDEO_STAMP_AT: usize = 10;

/// AVCDecoderConfigurationRecord of a 640x360 Main profile stream, as a video message body.
pub const AVC_HEADER: &[u8] = &[
    0x17, 0, 0, 0, 0, 1, 0x4d, 0x40, 0x1e, 0xff, 0xe1, 0, 0x18, 0x67, 0x4d, 0x40, 0x1e, 0xec, 0xa0, 0x50,
    0x17, 0xfc, 0xb8, 0x08, 0x80, 0, 0, 3, 0, 0x80, 0, 0, 0x19, 0x07, 0x8b, 0x16, 0xcb, 1, 0, 5, 0x68, 0xeb,
    0xe3, 0xcb, 0x20,
];
/// AudioSpecificConfig of AAC-LC, 44.1 kHz, stereo, as an audio message body.
pub const AAC_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];

/// One message of the rhythm.
#[derive(Clone, Copy)]
pub struct Beat {
    /// Microseconds after the start of the GOP.
    pub at_us: u64,
    /// [`AUDIO`] or [`VIDEO`].
    pub kind: u8,
    /// A keyframe.
    pub key: bool,
    /// Bytes of the message body.
    pub len: usize,
}

/// The messages of one GOP, in order of time; the stream repeats them.
pub struct Rhythm {
    beats: Vec<Beat>,
    period_us: u64,
}

impl Rhythm {
    /// A stream of `kbps` kilobits a second with a keyframe each `gop_s` seconds.
    pub fn new(kbps: u64, gop_s: u64) -> Rhythm {
        let gop = gop_s.max(1);
        let total = kbps * 1000 / 8 * gop;
        let video = total.saturating_sub(AUDIO_LEN as u64 * AUDIO_RATE * gop);
        let inter = usize::try_from(video / (KEY_FACTOR + VIDEO_RATE * gop - 1)).unwrap_or(0).max(VIDEO_MIN);
        let mut beats = Vec::new();
        for i in 0..VIDEO_RATE * gop {
            let len = if i == 0 { inter * KEY_FACTOR as usize } else { inter };
            beats.push(Beat { at_us: i * 1_000_000 / VIDEO_RATE, kind: VIDEO, key: i == 0, len });
        }
        for i in 0..AUDIO_RATE * gop {
            beats.push(Beat { at_us: i * 1_000_000 / AUDIO_RATE, kind: AUDIO, key: false, len: AUDIO_LEN });
        }
        beats.sort_by_key(|beat| (beat.at_us, beat.kind == AUDIO));
        Rhythm { beats, period_us: gop * 1_000_000 }
    }

    /// Message number `index` of the stream; `at_us` counts from the start of the stream.
    pub fn beat(&self, index: u64) -> Beat {
        let count = self.beats.len() as u64;
        let beat = self.beats[(index % count) as usize];
        Beat { at_us: beat.at_us + index / count * self.period_us, ..beat }
    }
}

/// Appends the body of `beat` with its stamp.
pub fn body(beat: &Beat, sequence: u32, now_us: u64, out: &mut Vec<u8>) {
    let end = out.len() + beat.len;
    if beat.kind == AUDIO {
        out.extend_from_slice(&[0xaf, 1]);
    } else {
        let head = if beat.key { 0x17 } else { 0x27 };
        out.extend_from_slice(&[head, 1, 0, 0, 0]);
        let nalu = u32::try_from(beat.len - 9).unwrap_or(0);
        out.extend_from_slice(&nalu.to_be_bytes());
        out.push(if beat.key { 0x65 } else { 0x41 });
    }
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(format!("{sequence:08x}{now_us:012x}").as_bytes());
    let fill = b'A' + (sequence % 26) as u8;
    out.resize(end, fill);
}

/// The sequence number and time of a stamped message, given its type and at least its first [`HEAD`] bytes.
pub fn stamp(kind: u8, head: &[u8]) -> Option<(u32, u64)> {
    let at = if kind == AUDIO { AUDIO_STAMP_AT } else { VIDEO_STAMP_AT };
    digits(head.get(at..)?)
}

/// The sequence number and time of the stamp that `bytes` begin with.
pub fn digits(bytes: &[u8]) -> Option<(u32, u64)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let digits = std::str::from_utf8(rest.get(..20)?).ok()?;
    let (sequence, time) = digits.split_at(8);
    Some((u32::from_str_radix(sequence, 16).ok()?, u64::from_str_radix(time, 16).ok()?))
}

/// Whether a message is a coded keyframe, not a sequence header.
pub fn is_key(kind: u8, head: &[u8]) -> bool {
    kind == VIDEO && matches!(head, [0x17, 1, ..])
}
