//! H.265 decoder configuration: what the sequence header of an HEVC stream says.
//! Spec: ISO/IEC 14496-15, section 8.3.3.1 (the record); ITU-T H.265, sections 7.3.2.2 and 7.3.3 (parameter sets).
//!
//! Invariants: any bytes give a value or `None`; arithmetic on picture sizes is checked.
//! Deviations: as for AVC, a record without a readable sequence parameter set has a size of zero, and one cut short
//! keeps the sets that are whole.

use super::bits::{BitReader, unescape};
use super::read::Reader;

const NAL_VPS: u8 = 32;
const NAL_SPS: u8 = 33;
const NAL_PPS: u8 = 34;

/// An HEVCDecoderConfigurationRecord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HevcConfig {
    /// general_profile_space, 0 to 3.
    pub profile_space: u8,
    /// general_tier_flag: false is the main tier, true the high tier.
    pub high_tier: bool,
    /// general_profile_idc: 1 main, 2 main 10 and so on.
    pub profile: u8,
    /// general_profile_compatibility_flags.
    pub compatibility: u32,
    /// general_constraint_indicator_flags, 48 bits.
    pub constraints: [u8; 6],
    /// general_level_idc: thirty times the level, so 93 is level 3.1.
    pub level: u8,
    /// Picture width in samples after cropping; 0 when unknown.
    pub width: u32,
    /// Picture height in samples after cropping; 0 when unknown.
    pub height: u32,
    /// Bytes of the length in front of each NAL unit: 1, 2 or 4.
    pub nal_length_size: u8,
    /// Video parameter sets, each a whole NAL unit.
    pub vps: Vec<Vec<u8>>,
    /// Sequence parameter sets, each a whole NAL unit.
    pub sps: Vec<Vec<u8>>,
    /// Picture parameter sets, each a whole NAL unit.
    pub pps: Vec<Vec<u8>>,
}

/// What a sequence parameter set says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// general_profile_idc.
    pub profile: u8,
    /// general_tier_flag.
    pub high_tier: bool,
    /// general_level_idc.
    pub level: u8,
    /// Width in samples after cropping.
    pub width: u32,
    /// Height in samples after cropping.
    pub height: u32,
    /// chroma_format_idc: 1 is 4:2:0.
    pub chroma_format: u8,
    /// bit_depth_luma_minus8, 0 to 7.
    pub luma_depth: u8,
    /// bit_depth_chroma_minus8, 0 to 7.
    pub chroma_depth: u8,
}

/// The usual name of a profile.
pub fn profile_name(profile: u8) -> &'static str {
    match profile {
        1 => "Main",
        2 => "Main 10",
        3 => "Main Still Picture",
        4 => "Range Extensions",
        5 => "High Throughput",
        9 => "Screen Content",
        _ => "Other",
    }
}

/// Reads the body of an HEVC sequence header. `None`: not a configuration record.
///
/// Version 0, which some encoders write, is accepted beside 1.
pub fn parse_config(data: &[u8]) -> Option<HevcConfig> {
    let mut r = Reader::new(data);
    let version = r.u8()?;
    if version > 1 {
        return None;
    }
    let general = r.u8()?;
    let compatibility = r.u32()?;
    let constraints = r.array()?;
    let level = r.u8()?;
    // min_spatial_segmentation_idc, parallelismType, chroma_format_idc, two bit depths, avgFrameRate
    r.take(8)?;
    let lengths = r.u8()?;
    let arrays = r.u8()?;
    let mut config = HevcConfig {
        profile_space: general >> 6,
        high_tier: general & 0x20 != 0,
        profile: general & 0x1f,
        compatibility,
        constraints,
        level,
        width: 0,
        height: 0,
        nal_length_size: (lengths & 0x03) + 1,
        vps: Vec::new(),
        sps: Vec::new(),
        pps: Vec::new(),
    };
    // A set that is cut short is left out; those before it stand.
    let _ = nal_arrays(&mut r, arrays, &mut config);
    if let Some(sps) = config.sps.iter().find_map(|nal| parse_sps(nal)) {
        (config.width, config.height) = (sps.width, sps.height);
    }
    Some(config)
}

fn nal_arrays(r: &mut Reader<'_>, arrays: u8, config: &mut HevcConfig) -> Option<()> {
    for _ in 0..arrays {
        let kind = r.u8()? & 0x3f;
        let count = r.u16()?;
        for _ in 0..count {
            let len = r.u16()?;
            let nal = r.take(usize::from(len))?;
            let list = match kind {
                NAL_VPS => &mut config.vps,
                NAL_SPS => &mut config.sps,
                NAL_PPS => &mut config.pps,
                _ => continue,
            };
            if !nal.is_empty() {
                list.push(nal.to_vec());
            }
        }
    }
    Some(())
}

/// Reads a sequence parameter set: a NAL unit of type 33 without start code.
pub fn parse_sps(nal: &[u8]) -> Option<Sps> {
    let (&[head, _layer], payload) = nal.split_first_chunk()?;
    if (head >> 1) & 0x3f != NAL_SPS {
        return None;
    }
    let payload = unescape(payload);
    let mut r = BitReader::new(&payload);
    r.skip(4)?; // sps_video_parameter_set_id
    let sub_layers = r.bits(3)?;
    r.flag()?; // sps_temporal_id_nesting_flag
    let (high_tier, profile, level) = profile_tier_level(&mut r, sub_layers)?;
    r.ue()?; // sps_seq_parameter_set_id
    let (chroma_format, unit_x, unit_y) = match r.ue()? {
        0 => (0, 1, 1),
        1 => (1, 2, 2),
        2 => (2, 2, 1),
        3 => {
            r.flag()?; // separate_colour_plane_flag
            (3, 1, 1)
        }
        _ => return None,
    };
    let (full_width, full_height) = (r.ue()?, r.ue()?);
    let (mut crop_x, mut crop_y) = (0, 0);
    if r.flag()? {
        let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
        crop_x = left.checked_add(right)?.checked_mul(unit_x)?;
        crop_y = top.checked_add(bottom)?.checked_mul(unit_y)?;
    }
    let width = full_width.checked_sub(crop_x).filter(|w| *w > 0)?;
    let height = full_height.checked_sub(crop_y).filter(|h| *h > 0)?;
    let depth = |code: Option<u32>| code.and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= 7);
    let (luma_depth, chroma_depth) = (depth(r.ue())?, depth(r.ue())?);
    Some(Sps { profile, high_tier, level, width, height, chroma_format, luma_depth, chroma_depth })
}

/// Reads profile_tier_level(1, sub_layers): tier, profile and level; what sub-layers add is passed over.
fn profile_tier_level(r: &mut BitReader<'_>, sub_layers: u32) -> Option<(bool, u8, u8)> {
    r.skip(2)?; // general_profile_space
    let high_tier = r.flag()?;
    let profile = u8::try_from(r.bits(5)?).ok()?;
    r.skip(32 + 48)?; // compatibility and constraint flags
    let level = u8::try_from(r.bits(8)?).ok()?;
    let mut present = Vec::new();
    for _ in 0..sub_layers {
        present.push((r.flag()?, r.flag()?));
    }
    if sub_layers > 0 {
        r.skip(2 * (8u32.saturating_sub(sub_layers)))?; // reserved_zero_2bits
    }
    for (has_profile, has_level) in present {
        r.skip(if has_profile { 88 } else { 0 })?;
        r.skip(if has_level { 8 } else { 0 })?;
    }
    Some((high_tier, profile, level))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Noise, hex};

    type Expected = (u8, bool, u8, u32, u32);

    /// Sequence headers made by x265 through ffmpeg, with what it was asked for.
    const RECORDS: [(&str, &str, Expected); 3] = [
        (
            "main",
            "01016000000090000000000078f000fcfdf8f800000f03a00001001840010c01ffff01600000030090000003000003007895\
             9809a10001002a420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000c84a2\
             000100074401c172b46240",
            (1, false, 120, 1920, 1080),
        ),
        (
            "main 10, high tier",
            "01222000000090000000000096f000fcfdfafa00000f03a00001001840010c01ffff22200000030090000003000003009695\
             9809a10001002b420101222000000300900000030000030096a00d880f1c9b65959a4932bc05a02000000300200000030321\
             a2000100074401c172b46240",
            (2, true, 150, 426, 240),
        ),
        (
            "two temporal layers",
            "0101600000009000000000003cf000fcfdf8f800001303a00001001c40010c02ffff01600000030090000003000003003c00\
             009598acc048a10001002f42010201600000030090000003000003003c0000a00d880f1c9e59598acd24995e02d010000003\
             0010000003019080a2000100074401c172b46240",
            (1, false, 60, 426, 240),
        ),
    ];

    #[test]
    fn records_of_x265() {
        for (name, text, expected) in RECORDS {
            let c = parse_config(&hex(text)).unwrap();
            assert_eq!((c.profile, c.high_tier, c.level, c.width, c.height), expected, "{name}");
            let sps = parse_sps(&c.sps[0]).unwrap();
            assert_eq!((sps.profile, sps.high_tier, sps.level, sps.width, sps.height), expected, "{name}");
            assert_eq!((c.nal_length_size, c.vps.len(), c.sps.len(), c.pps.len()), (4, 1, 1, 1), "{name}");
            assert_eq!((c.vps[0][0], c.sps[0][0], c.pps[0][0]), (0x40, 0x42, 0x44), "{name}");
        }
    }

    #[test]
    fn a_record_cut_anywhere_gives_what_is_whole() {
        for (name, text, (profile, .., width, height)) in RECORDS {
            let bytes = hex(text);
            let whole = parse_config(&bytes).unwrap();
            let sps_end = 23 + 5 + whole.vps[0].len() + 5 + whole.sps[0].len();
            for cut in 0..bytes.len() {
                let size = if cut < sps_end { (0, 0) } else { (width, height) };
                match parse_config(&bytes[..cut]) {
                    None => assert!(cut < 23, "{name} at {cut}"),
                    Some(c) => {
                        assert_eq!((c.profile, c.width, c.height), (profile, size.0, size.1), "{name}")
                    }
                }
            }
        }
    }

    #[test]
    fn other_bytes_are_no_record() {
        assert_eq!(parse_config(&[]), None);
        assert_eq!(parse_config(&[2; 40]), None);
        assert_eq!(parse_sps(&hex("4401c172b46240")), None, "a PPS");
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise(57);
        for round in 0..20_000 {
            let bytes = noise.mutate(&hex(RECORDS[round % RECORDS.len()].1));
            let _ = (parse_config(&bytes), bytes.get(57..).and_then(parse_sps));
        }
    }
}
