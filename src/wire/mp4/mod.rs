//! ISO base media files in fragments: initialization segments and movie fragments, for Media Source Extensions and HLS.
//! Spec: ISO/IEC 14496-12 (boxes), 14496-14 (`mp4a`), 14496-15 (`avc1`, `hvc1`); AV1 Codec ISO Media File Format
//! Binding; Encapsulation of Opus in ISO Base Media File Format; W3C ISO BMFF Byte Stream Format.
//!
//! Invariants: writers append to a buffer and cannot fail; readers are total. No edit lists, no sample tables: all
//! samples are in fragments. Sizes are 32 bits, so whoever calls keeps a fragment below 4 GiB.

pub mod config;
pub mod fragment;
pub mod index;
pub mod init;
pub mod read;
pub mod sample;
mod table;
#[cfg(test)]
mod tests;

/// The time scale of every track here: media time is in milliseconds, as in RTMP and FLV.
pub const TIMESCALE: u32 = 1000;
/// The number of the video track.
pub const VIDEO_TRACK: u32 = 1;
/// The number of the audio track.
pub const AUDIO_TRACK: u32 = 2;

/// Appends a box: its head, what `body` writes, and then the size.
fn put(out: &mut Vec<u8>, kind: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    body(out);
    let size = size32(out.len().saturating_sub(start));
    if let Some(slot) = out.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) {
        *slot = size.to_be_bytes();
    }
}

/// Appends a box with a version and flags.
fn put_full(out: &mut Vec<u8>, kind: &[u8; 4], version: u8, flags: u32, body: impl FnOnce(&mut Vec<u8>)) {
    put(out, kind, |out| {
        let [_, a, b, c] = flags.to_be_bytes();
        out.extend_from_slice(&[version, a, b, c]);
        body(out);
    });
}

fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A length in memory as the format's 32 bits.
fn size32(len: usize) -> u32 {
    debug_assert!(u32::try_from(len).is_ok(), "a box of {len} bytes");
    u32::try_from(len).unwrap_or(u32::MAX)
}
