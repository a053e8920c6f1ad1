//! Coded pictures as a sample holds them: NAL units behind lengths of four bytes, AV1 without temporal delimiters.
//! Spec: ISO/IEC 14496-15, section 4.3.2; ITU-T H.264, annex B; AV1-ISOBMFF, section 2.4.
//!
//! Invariants: whatever comes, what goes out is well formed, if perhaps empty; what needs no change is not copied.
//! Deviations: NAL units behind start codes are taken too, as some encoders send them inside FLV; empty NAL units and one
//! that is cut short are left out, since browsers end playback at either.

use crate::wire::read::Reader;
use std::borrow::Cow;

/// Bytes of the length in front of each NAL unit in what is written.
pub const NAL_LENGTH: u8 = 4;

/// The NAL units of a coded picture: behind lengths of `length_size` bytes (1 to 4), or behind start codes.
pub fn nal_units(data: &[u8], length_size: u8) -> Vec<&[u8]> {
    let (units, whole) = prefixed(data, length_size);
    // A start code read as a length is 1, or hundreds: so what parses to its end as lengths is that.
    if !whole && (data.starts_with(&[0, 0, 1]) || data.starts_with(&[0, 0, 0, 1])) {
        return annex_b(data);
    }
    units
}

/// A picture behind lengths of `length_size` bytes, or start codes, with lengths of [`NAL_LENGTH`] bytes.
pub fn with_lengths(data: &[u8], length_size: u8) -> Cow<'_, [u8]> {
    if length_size == NAL_LENGTH && is_clean(data) {
        return Cow::Borrowed(data);
    }
    let units = nal_units(data, length_size);
    let size = units.iter().map(|unit| unit.len().saturating_add(usize::from(NAL_LENGTH))).sum();
    let mut out = Vec::with_capacity(size);
    for unit in units {
        out.extend_from_slice(&super::size32(unit.len()).to_be_bytes());
        out.extend_from_slice(unit);
    }
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

/// The whole units behind lengths, and whether these were all there is.
fn prefixed(data: &[u8], length_size: u8) -> (Vec<&[u8]>, bool) {
    let mut r = Reader::new(data);
    let mut units = Vec::new();
    while !r.is_empty() {
        let size = match length_size {
            1 => r.u8().map(u32::from),
            2 => r.u16().map(u32::from),
            3 => r.u24(),
            _ => r.u32(),
        };
        let Some(unit) = size.and_then(|size| r.take(usize::try_from(size).ok()?)) else {
            return (units, false);
        };
        if !unit.is_empty() {
            units.push(unit);
        }
    }
    (units, true)
}

/// The units behind start codes, without the zero bytes that may follow each.
fn annex_b(data: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    let mut rest = data;
    while let Some((_, after)) = split_at_start_code(rest) {
        let unit = split_at_start_code(after).map_or(after, |(unit, _)| unit);
        rest = after.get(unit.len()..).unwrap_or_default();
        let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        let unit = unit.get(..unit.len().saturating_sub(zeros)).unwrap_or_default();
        if !unit.is_empty() {
            units.push(unit);
        }
    }
    units
}

/// What stands before and after the next `00 00 01`.
fn split_at_start_code(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = data.windows(3).position(|window| window == [0, 0, 1])?;
    Some((data.get(..at)?, data.get(at.checked_add(3)?..)?))
}
