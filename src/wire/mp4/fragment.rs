//! A movie fragment: one `moof` and one `mdat` with samples of one track.
//! Spec: ISO/IEC 14496-12, sections 8.8.4 to 8.8.8, 8.8.12 and 8.16.
//!
//! ```text
//!   0 moof   8 mfhd   24 traf   32 tfhd   48 tfdt (version 1; its 64 bits are at 60)   68 trun ...   mdat ...
//! ```
//! What stands before the time is the same in every fragment, so the time can be rewritten in place.

use super::{put, put_full, put_u32, size32};

/// Where the 64-bit base media decode time of a fragment stands, in bytes from its start; big endian, milliseconds.
pub const TFDT_AT: usize = 60;

/// One sample of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Time to the next sample of the track, in milliseconds.
    pub duration: u32,
    /// Presentation time less decoding time, in milliseconds.
    pub cts: i32,
    /// A decoder can start here. Of no effect in audio, where it always can.
    pub sync: bool,
    /// The coded data.
    pub data: &'a [u8],
}

const DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
const HAS_DATA_OFFSET: u32 = 0x001;
const HAS_DURATION: u32 = 0x100;
const HAS_SIZE: u32 = 0x200;
const HAS_FLAGS: u32 = 0x400;
const HAS_CTS: u32 = 0x800;
/// depends on no other, not a difference sample
const FLAGS_SYNC: u32 = 0x0200_0000;
/// depends on others, is a difference sample
const FLAGS_DELTA: u32 = 0x0101_0000;
const BOX_HEAD: usize = 8;

/// A fragment with the samples of `track`, the first of which is decoded at `time` milliseconds. `sequence` grows from
/// fragment to fragment.
pub fn fragment(sequence: u32, track: u32, time: u64, samples: &[Sample<'_>]) -> Vec<u8> {
    let video = track == super::VIDEO_TRACK;
    let flags = HAS_DATA_OFFSET | HAS_DURATION | HAS_SIZE | if video { HAS_FLAGS | HAS_CTS } else { 0 };
    let per_sample = if video { 16 } else { 8 };
    let run = 20usize.saturating_add(samples.len().saturating_mul(per_sample));
    let moof = TFDT_AT.saturating_add(8).saturating_add(run);
    let media: usize = samples.iter().map(|sample| sample.data.len()).sum();
    let mut out = Vec::with_capacity(moof.saturating_add(BOX_HEAD).saturating_add(media));
    put(&mut out, b"moof", |out| {
        put_full(out, b"mfhd", 0, 0, |out| put_u32(out, sequence));
        put(out, b"traf", |out| {
            put_full(out, b"tfhd", 0, DEFAULT_BASE_IS_MOOF, |out| put_u32(out, track));
            put_full(out, b"tfdt", 1, 0, |out| out.extend_from_slice(&time.to_be_bytes()));
            put_full(out, b"trun", 1, flags, |out| {
                put_u32(out, size32(samples.len()));
                put_u32(out, size32(moof.saturating_add(BOX_HEAD)));
                for sample in samples {
                    put_u32(out, sample.duration);
                    put_u32(out, size32(sample.data.len()));
                    if video {
                        put_u32(out, if sample.sync { FLAGS_SYNC } else { FLAGS_DELTA });
                        out.extend_from_slice(&sample.cts.to_be_bytes());
                    }
                }
            });
        });
    });
    debug_assert_eq!(out.len(), moof);
    put(&mut out, b"mdat", |out| samples.iter().for_each(|sample| out.extend_from_slice(sample.data)));
    out
}

/// The time of a fragment, in milliseconds; `None` when it is none of ours.
pub fn time(fragment: &[u8]) -> Option<u64> {
    fragment.get(TFDT_AT..)?.first_chunk().copied().map(u64::from_be_bytes)
}

/// Moves a fragment to another time, in milliseconds. A fragment too short to have one is left alone.
pub fn set_time(fragment: &mut [u8], time: u64) {
    if let Some(slot) = fragment.get_mut(TFDT_AT..).and_then(|rest| rest.first_chunk_mut()) {
        *slot = time.to_be_bytes();
    }
}
