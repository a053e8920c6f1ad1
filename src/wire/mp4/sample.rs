//! Coded pictures as a sample holds them: NAL units behind lengths of four bytes, AV1 without temporal delimiters.
//! Spec: ISO/IEC 14496-15, section 4.3.2; ITU-T H.264, annex B; AV1-ISOBMFF, section 2.4.
//!
//! Invariants: whatever comes, what goes out is well formed, if perhaps empty; what needs no change is not copied.
//! Deviations: NAL units behind start codes are taken too, as some encoders send them inside FLV; empty NAL units and one
//! that is cut short are left out, since browsers end playback at either.

use crate::wire::annexb;
use crate::wire::read::Reader;
use std::borrow::Cow;

/// Bytes of the length in front of each NAL unit in what is written.
pub const NAL_LENGTH: u8 = 4;

/// A picture behind lengths of `length_size` bytes, or start codes, with lengths of [`NAL_LENGTH`] bytes.
pub fn with_lengths(data: &[u8], length_size: u8) -> Cow<'_, [u8]> {
    if length_size == NAL_LENGTH && is_clean(data) {
        return Cow::Borrowed(data);
    }
    let mut out = Vec::with_capacity(data.len().saturating_add(64));
    annexb::to_prefixed(annexb::units(data, length_size), &mut out);
    Cow::Owned(out)
}

/// A temporal unit without the delimiter in front.
pub fn without_delimiter(data: &[u8]) -> &[u8] {
    const TEMPORAL_DELIMITER: [u8; 2] = [0x12, 0];
    data.strip_prefix(&TEMPORAL_DELIMITER).unwrap_or(data)
}

/// Whether nothing is wrong with four-byte lengths: no empty unit, none cut short.
fn is_clean(data: &[u8]) -> bool {
    let mut r = Reader::new(data);
    while !r.is_empty() {
        let unit = r.u32().filter(|size| *size > 0).and_then(|size| r.take(usize::try_from(size).ok()?));
        if unit.is_none() {
            return false;
        }
    }
    true
}
