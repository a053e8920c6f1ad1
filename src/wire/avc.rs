//! H.264 decoder configuration: what the sequence header of an AVC stream says.
//! Spec: ISO/IEC 14496-15, section 5.3.3.1 (the record); ITU-T H.264, sections 7.3.2.1 and E.1.1 (parameter sets).
//!
//! Invariants: any bytes give a value or `None`; arithmetic on picture sizes is checked.
//! Deviations: a record without a parameter set, or with one that cannot be read, is accepted with a size of zero:
//! some cameras send their parameter sets with the frames only. A record cut short keeps the sets that are whole.

use super::bits::{BitReader, unescape};
use super::read::Reader;

/// An AVCDecoderConfigurationRecord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvcConfig {
    /// profile_idc: 66 baseline, 77 main, 100 high and so on.
    pub profile: u8,
    /// The constraint flags beside the profile.
    pub compatibility: u8,
    /// level_idc: ten times the level, so 31 is level 3.1.
    pub level: u8,
    /// Picture width in samples after cropping; 0 when unknown.
    pub width: u32,
    /// Picture height in samples after cropping; 0 when unknown.
    pub height: u32,
    /// Bytes of the length in front of each NAL unit: 1, 2 or 4.
    pub nal_length_size: u8,
    /// Sequence parameter sets, each a whole NAL unit.
    pub sps: Vec<Vec<u8>>,
    /// Picture parameter sets, each a whole NAL unit.
    pub pps: Vec<Vec<u8>>,
}

/// What a sequence parameter set says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// profile_idc.
    pub profile: u8,
    /// The constraint flags.
    pub compatibility: u8,
    /// level_idc.
    pub level: u8,
    /// Width in samples after cropping.
    pub width: u32,
    /// Height in samples after cropping.
    pub height: u32,
    /// chroma_format_idc: 1 is 4:2:0.
    pub chroma_format: u8,
    /// bit_depth_luma_minus8, 0 to 6.
    pub luma_depth: u8,
    /// bit_depth_chroma_minus8, 0 to 6.
    pub chroma_depth: u8,
}

/// The usual name of a profile.
pub fn profile_name(profile: u8) -> &'static str {
    match profile {
        44 => "CAVLC 4:4:4",
        66 => "Baseline",
        77 => "Main",
        83 => "Scalable Baseline",
        86 => "Scalable High",
        88 => "Extended",
        100 => "High",
        110 => "High 10",
        118 => "Multiview High",
        122 => "High 4:2:2",
        128 => "Stereo High",
        244 => "High 4:4:4",
        _ => "Other",
    }
}

/// Reads the body of an AVC sequence header. `None`: not a configuration record.
pub fn parse_config(data: &[u8]) -> Option<AvcConfig> {
    let mut r = Reader::new(data);
    let version = r.u8()?;
    let [profile, compatibility, level, lengths, sps_count] = r.array()?;
    if version != 1 {
        return None;
    }
    let mut config = AvcConfig {
        profile,
        compatibility,
        level,
        width: 0,
        height: 0,
        nal_length_size: (lengths & 0x03) + 1,
        sps: Vec::new(),
        pps: Vec::new(),
    };
    if nal_units(&mut r, sps_count & 0x1f, &mut config.sps).is_some()
        && let Some(pps_count) = r.u8()
    {
        // A set that is cut short is left out; those before it stand.
        let _ = nal_units(&mut r, pps_count, &mut config.pps);
    }
    if let Some(sps) = config.sps.iter().find_map(|nal| parse_sps(nal)) {
        (config.width, config.height) = (sps.width, sps.height);
    }
    Some(config)
}

fn nal_units(r: &mut Reader<'_>, count: u8, out: &mut Vec<Vec<u8>>) -> Option<()> {
    for _ in 0..count {
        let len = r.u16()?;
        let nal = r.take(usize::from(len))?;
        if !nal.is_empty() {
            out.push(nal.to_vec());
        }
    }
    Some(())
}

/// Reads a sequence parameter set: a NAL unit of type 7 without start code.
pub fn parse_sps(nal: &[u8]) -> Option<Sps> {
    const NAL_SPS: u8 = 7;
    let (head, payload) = nal.split_first()?;
    if head & 0x1f != NAL_SPS {
        return None;
    }
    let payload = unescape(payload);
    let (&[profile, compatibility, level], rest) = payload.split_first_chunk()?;
    let mut r = BitReader::new(rest);
    r.ue()?; // seq_parameter_set_id
    let chroma = if has_chroma_format(profile) { chroma_format(&mut r)? } else { Chroma::YUV420 };
    r.ue()?; // log2_max_frame_num_minus4
    picture_order(&mut r)?;
    r.ue()?; // max_num_ref_frames
    r.flag()?; // gaps_in_frame_num_value_allowed_flag
    let width_mbs = r.ue()?.checked_add(1)?;
    let height_units = r.ue()?.checked_add(1)?;
    let frame_only = r.flag()?;
    if !frame_only {
        r.flag()?; // mb_adaptive_frame_field_flag
    }
    r.flag()?; // direct_8x8_inference_flag
    let fields = if frame_only { 1 } else { 2 };
    let full_width = width_mbs.checked_mul(16)?;
    let full_height = height_units.checked_mul(16)?.checked_mul(fields)?;
    let (crop_x, crop_y) = if r.flag()? { cropping(&mut r, chroma, fields)? } else { (0, 0) };
    let width = full_width.checked_sub(crop_x).filter(|w| *w > 0)?;
    let height = full_height.checked_sub(crop_y).filter(|h| *h > 0)?;
    let Chroma { format: chroma_format, luma_depth, chroma_depth, .. } = chroma;
    Some(Sps { profile, compatibility, level, width, height, chroma_format, luma_depth, chroma_depth })
}

/// The sample format, and in how many luma samples cropping counts.
#[derive(Clone, Copy)]
struct Chroma {
    format: u8,
    luma_depth: u8,
    chroma_depth: u8,
    unit_x: u32,
    unit_y: u32,
}

impl Chroma {
    const YUV420: Chroma = Chroma { format: 1, luma_depth: 0, chroma_depth: 0, unit_x: 2, unit_y: 2 };
}

fn has_chroma_format(profile: u8) -> bool {
    matches!(profile, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244)
}

fn chroma_format(r: &mut BitReader<'_>) -> Option<Chroma> {
    let format = r.ue()?;
    if format == 3 {
        r.flag()?; // separate_colour_plane_flag
    }
    let luma_depth = r.ue().and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= 6)?;
    let chroma_depth = r.ue().and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= 6)?;
    r.flag()?; // qpprime_y_zero_transform_bypass_flag
    if r.flag()? {
        let lists = if format == 3 { 12 } else { 8 };
        for list in 0..lists {
            if r.flag()? {
                scaling_list(r, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    let (format, unit_x, unit_y) = match format {
        0 => (0, 1, 1),
        1 => (1, 2, 2),
        2 => (2, 2, 1),
        3 => (3, 1, 1),
        _ => return None,
    };
    Some(Chroma { format, luma_depth, chroma_depth, unit_x, unit_y })
}

fn scaling_list(r: &mut BitReader<'_>, size: u32) -> Option<()> {
    let mut last = 8i32;
    for _ in 0..size {
        let next = last.checked_add(r.se()?)?.rem_euclid(256);
        if next == 0 {
            return Some(());
        }
        last = next;
    }
    Some(())
}

fn picture_order(r: &mut BitReader<'_>) -> Option<()> {
    const MAX_CYCLE: u32 = 255;
    match r.ue()? {
        0 => {
            r.ue()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            r.flag()?; // delta_pic_order_always_zero_flag
            r.se()?; // offset_for_non_ref_pic
            r.se()?; // offset_for_top_to_bottom_field
            let cycle = r.ue().filter(|n| *n <= MAX_CYCLE)?;
            for _ in 0..cycle {
                r.se()?;
            }
        }
        2 => {}
        _ => return None,
    }
    Some(())
}

fn cropping(r: &mut BitReader<'_>, chroma: Chroma, fields: u32) -> Option<(u32, u32)> {
    let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
    let x = left.checked_add(right)?.checked_mul(chroma.unit_x)?;
    let y = top.checked_add(bottom)?.checked_mul(chroma.unit_y)?.checked_mul(fields)?;
    Some((x, y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Bits, Noise, hex};

    /// Sequence headers made by x264 through ffmpeg, with what it was asked for.
    const RECORDS: [(&str, &str, u8, u8, u32, u32); 8] = [
        (
            "baseline",
            "0142c01effe100196742c01ed900a02ff97011000003000100000300320f162e4801000568cb83cb20",
            66,
            30,
            640,
            360,
        ),
        (
            "main",
            "014d401fffe10019674d401feca02802dd80880000030008000003019078c18cb001000568ebe3cb20",
            77,
            31,
            1280,
            720,
        ),
        (
            "high",
            "01640028ffe1001b67640028acd940780227e5c044000003000400000300c83c60c65801000668ebe3cb22c0fdf8f800",
            100,
            40,
            1920,
            1080,
        ),
        (
            "odd width",
            "01640015ffe1001a67640015acd941b1fe4f011000000300100000030320f162d96001000668ebe3cb22c0fdf8f800",
            100,
            21,
            426,
            240,
        ),
        (
            "no cropping",
            "0164000dffe100196764000dacd94141fb011000000300100000030320f142996001000668ebe3cb22c0fdf8f800",
            100,
            13,
            320,
            240,
        ),
        (
            "interlaced",
            "0164001effe100186764001eacd940b424d8088000000300800000190f8a14cb01000668fba3cb22c0fdf8f800",
            100,
            30,
            720,
            576,
        ),
        (
            "4:2:2 10 bit",
            "017a001effe1001b677a001eb6cd940d83de6f011000000300100000030320f162d96001000668ebe3cb22c0fefafa00",
            122,
            30,
            854,
            480,
        ),
        (
            "4:4:4",
            "01f4000dffe1001a67f4000d919b282a10f1f1f808800000030080000019078a14cb01000668ebe3c44844fff8f800",
            244,
            13,
            322,
            242,
        ),
    ];

    #[test]
    fn records_of_x264() {
        for (name, text, profile, level, width, height) in RECORDS {
            let config = parse_config(&hex(text)).unwrap();
            assert_eq!(
                (config.profile, config.level, config.width, config.height),
                (profile, level, width, height),
                "{name}"
            );
            assert_eq!((config.nal_length_size, config.sps.len(), config.pps.len()), (4, 1, 1), "{name}");
            assert_eq!((config.sps[0][0], config.pps[0][0]), (0x67, 0x68), "{name}");
        }
    }

    #[test]
    fn a_record_cut_anywhere_gives_what_is_whole() {
        for (name, text, _, _, width, height) in RECORDS {
            let bytes = hex(text);
            let whole = parse_config(&bytes).unwrap();
            let sps_end = 8 + whole.sps[0].len();
            for cut in 0..bytes.len() {
                let config = parse_config(&bytes[..cut]);
                match config {
                    None => assert!(cut < 6, "{name} at {cut}"),
                    Some(c) if cut < sps_end => assert_eq!((c.width, c.height), (0, 0), "{name} at {cut}"),
                    Some(c) => assert_eq!((c.width, c.height), (width, height), "{name} at {cut}"),
                }
            }
        }
    }

    #[test]
    fn records_without_parameter_sets_or_of_another_kind() {
        let config = parse_config(&hex("01 42c01e ff e0 00")).unwrap();
        assert_eq!((config.profile, config.level, config.width, config.sps.len()), (66, 30, 0, 0));
        assert_eq!(parse_config(&hex("00 00 00 01 67 42 c0 1e")), None, "Annex B");
        assert_eq!(parse_config(&[]), None);
    }

    /// An SPS of High profile with scaling lists, picture order type 1, interlaced, cropped by hand.
    fn rare_sps() -> Vec<u8> {
        let mut b = Bits::default();
        b.put(8, 0x67).put(24, 0x64_00_1f).ue(0);
        b.ue(1).ue(0).ue(0).put(1, 0).put(1, 1);
        b.put(1, 1).se(-8); // the first list falls back to the default at once
        b.put(1, 1);
        (0..16).for_each(|_| {
            b.se(1);
        });
        b.put(6, 0);
        b.ue(0).ue(1).put(1, 0).se(-3).se(4).ue(2).se(5).se(-6);
        b.ue(4).put(1, 0).ue(44).ue(17).put(1, 0).put(1, 1).put(1, 1);
        b.put(1, 1).ue(1).ue(2).ue(0).ue(2); // 2*3 columns and 2*2*2 rows off 720x576
        b.put(1, 0).put(1, 1);
        b.finish()
    }

    #[test]
    fn an_sps_with_every_optional_part() {
        let sps = parse_sps(&rare_sps()).unwrap();
        assert_eq!((sps.profile, sps.level, sps.width, sps.height), (100, 31, 714, 568));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let sps = |width: u32, crop: u32| {
            let mut b = Bits::default();
            b.put(8, 0x67).put(24, 0x42_00_1f).ue(0).ue(0).ue(2).ue(1).put(1, 0);
            b.ue(width)
                .ue(width)
                .put(1, 1)
                .put(1, 0)
                .put(1, 1)
                .ue(crop)
                .ue(0)
                .ue(0)
                .ue(0)
                .put(1, 0)
                .put(1, 1);
            parse_sps(&b.finish()).map(|s| (s.width, s.height))
        };
        assert_eq!(sps(9, 1), Some((158, 160)));
        assert_eq!(sps(9, 80), None);
        assert_eq!(sps(9, u32::MAX - 1), None);
        assert_eq!(sps(u32::MAX - 1, 0), None);
        assert_eq!(parse_sps(&hex("68ebe3cb20")), None, "a PPS");
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise(31);
        let seeds: Vec<Vec<u8>> = RECORDS.iter().map(|r| hex(r.1)).chain([rare_sps()]).collect();
        for round in 0..20_000 {
            let bytes = noise.mutate(&seeds[round % seeds.len()]);
            let _ = (parse_config(&bytes), parse_sps(&bytes));
        }
    }
}
