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
    Some(Sps { profile, compatibility, level, width, height })
}

/// In how many luma samples cropping counts.
#[derive(Clone, Copy)]
struct Chroma {
    unit_x: u32,
    unit_y: u32,
}

impl Chroma {
    const YUV420: Chroma = Chroma { unit_x: 2, unit_y: 2 };
}

fn has_chroma_format(profile: u8) -> bool {
    matches!(profile, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244)
}

fn chroma_format(r: &mut BitReader<'_>) -> Option<Chroma> {
    let format = r.ue()?;
    if format == 3 {
        r.flag()?; // separate_colour_plane_flag
    }
    r.ue()?; // bit_depth_luma_minus8
    r.ue()?; // bit_depth_chroma_minus8
    r.flag()?; // qpprime_y_zero_transform_bypass_flag
    if r.flag()? {
        let lists = if format == 3 { 12 } else { 8 };
        for list in 0..lists {
            if r.flag()? {
                scaling_list(r, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    match format {
        1 => Some(Chroma::YUV420),
        2 => Some(Chroma { unit_x: 2, unit_y: 1 }),
        0 | 3 => Some(Chroma { unit_x: 1, unit_y: 1 }),
        _ => None,
    }
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
