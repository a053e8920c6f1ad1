//! AV1 decoder configuration: what the sequence header of an AV1 stream says.
//! Spec: AV1 Codec ISO Media File Format Binding, section 2.3 (the record); AV1 Bitstream, sections 5.3, 5.5 and 4.10.5.
//!
//! Invariants: any bytes give a value or `None`.
//! Deviations: a record without a readable sequence header has a size of zero.

use super::bits::BitReader;
use super::read::Reader;

/// An AV1CodecConfigurationRecord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Av1Config {
    /// seq_profile: 0 main, 1 high, 2 professional.
    pub profile: u8,
    /// seq_level_idx_0.
    pub level: u8,
    /// seq_tier_0: the high tier.
    pub high_tier: bool,
    /// Bits a sample: 8, 10 or 12.
    pub bit_depth: u8,
    /// Largest picture width; 0 when unknown.
    pub width: u32,
    /// Largest picture height; 0 when unknown.
    pub height: u32,
}

/// Reads the body of an AV1 sequence header. `None`: not a configuration record.
pub fn parse_config(data: &[u8]) -> Option<Av1Config> {
    const MARKER_AND_VERSION: u8 = 0x81;
    let mut r = Reader::new(data);
    let [MARKER_AND_VERSION, profile_level, flags, _delay] = r.array()? else { return None };
    let bit_depth = match flags & 0x60 {
        0x40 => 10,
        0x60 => 12,
        _ => 8,
    };
    let (width, height) = sequence_header(r.rest()).and_then(max_size).unwrap_or((0, 0));
    Some(Av1Config {
        profile: profile_level >> 5,
        level: profile_level & 0x1f,
        high_tier: flags & 0x80 != 0,
        bit_depth,
        width,
        height,
    })
}

/// The first sequence header among the OBUs.
fn sequence_header(data: &[u8]) -> Option<&[u8]> {
    const SEQUENCE_HEADER: u8 = 1;
    let mut r = Reader::new(data);
    loop {
        let head = r.u8()?;
        if head & 0x04 != 0 {
            r.u8()?; // extension
        }
        let size = if head & 0x02 != 0 { leb128(&mut r)? } else { r.remaining() };
        let body = r.take(size)?;
        if (head >> 3) & 0x0f == SEQUENCE_HEADER {
            return Some(body);
        }
    }
}

fn leb128(r: &mut Reader<'_>) -> Option<usize> {
    let mut value = 0u64;
    for index in 0..8u32 {
        let byte = r.u8()?;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

/// max_frame_width and max_frame_height of a sequence_header_obu.
fn max_size(obu: &[u8]) -> Option<(u32, u32)> {
    let mut r = BitReader::new(obu);
    r.skip(3 + 1)?; // seq_profile, still_picture
    if r.flag()? {
        r.skip(5)?; // reduced_still_picture_header: seq_level_idx
    } else {
        operating_points(&mut r)?;
    }
    let (width_bits, height_bits) = (r.bits(4)?, r.bits(4)?);
    let width = r.bits(width_bits.checked_add(1)?)?.checked_add(1)?;
    let height = r.bits(height_bits.checked_add(1)?)?.checked_add(1)?;
    Some((width, height))
}

fn operating_points(r: &mut BitReader<'_>) -> Option<()> {
    let mut delay_bits = None;
    if r.flag()? {
        r.skip(32 + 32)?; // num_units_in_display_tick, time_scale
        if r.flag()? {
            uvlc(r)?; // num_ticks_per_picture_minus_1
        }
        if r.flag()? {
            delay_bits = Some(r.bits(5)?.checked_add(1)?);
            r.skip(32 + 5 + 5)?; // num_units_in_decoding_tick and the widths of two other fields
        }
    }
    let initial_delays = r.flag()?;
    let points = r.bits(5)?.checked_add(1)?;
    for _ in 0..points {
        r.skip(12)?; // operating_point_idc
        if r.bits(5)? > 7 {
            r.flag()?; // seq_tier
        }
        if let Some(bits) = delay_bits
            && r.flag()?
        {
            r.skip(bits.checked_mul(2)?.checked_add(1)?)?; // two buffer delays, low_delay_mode_flag
        }
        if initial_delays && r.flag()? {
            r.skip(4)?; // initial_display_delay_minus_1
        }
    }
    Some(())
}

fn uvlc(r: &mut BitReader<'_>) -> Option<()> {
    let mut zeros = 0u32;
    while !r.flag()? {
        zeros = zeros.checked_add(1).filter(|n| *n < 32)?;
    }
    r.skip(zeros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Bits, Noise, hex};

    /// Made by libaom through ffmpeg for 640x360.
    const RECORD: &str = "81010c000a0b0000000cc4ff6736a64010";

    #[test]
    fn a_record_of_libaom() {
        let config = parse_config(&hex(RECORD)).unwrap();
        let expected =
            Av1Config { profile: 0, level: 1, high_tier: false, bit_depth: 8, width: 640, height: 360 };
        assert_eq!(config, expected);
        for cut in 0..hex(RECORD).len() {
            match parse_config(&hex(RECORD)[..cut]) {
                None => assert!(cut < 4),
                Some(config) => assert_eq!((config.width, config.height), (0, 0), "cut at {cut}"),
            }
        }
        assert_eq!(parse_config(&hex("01010c00")), None, "another version");
    }

    #[test]
    fn a_sequence_header_with_every_optional_part() {
        let mut b = Bits::default();
        b.put(3, 0).put(1, 0).put(1, 0).put(1, 1); // profile, still, reduced; timing info
        b.put(32, 1).put(32, 25).put(1, 1).put(3, 0b010).put(1, 1); // ue 1; decoder model
        b.put(5, 9).put(32, 1).put(5, 4).put(5, 4).put(1, 1).put(5, 1); // initial delays, two points
        b.put(12, 0).put(5, 8).put(1, 1).put(1, 1).put(10, 1).put(10, 2).put(1, 0).put(1, 1).put(4, 3);
        b.put(12, 1).put(5, 4).put(1, 0).put(1, 0);
        let obu = b.put(4, 10).put(4, 9).put(11, 1919).put(10, 799).finish();
        // A temporal delimiter, then the header with an extension byte.
        let mut record = hex("8128ec00 1200 0e00");
        record.push(u8::try_from(obu.len()).unwrap());
        record.extend(obu);
        let config = parse_config(&record).unwrap();
        assert_eq!((config.width, config.height), (1920, 800));
        assert_eq!((config.profile, config.level, config.high_tier, config.bit_depth), (1, 8, true, 12));
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise(1);
        for _ in 0..20_000 {
            let _ = parse_config(&noise.mutate(&hex(RECORD)));
        }
    }
}
