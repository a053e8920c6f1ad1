//! From what a stream's sequence headers (or its first frames) say to the sample entries of the tracks and to the
//! `codecs` parameter under which a browser knows them.
//! Spec: ISO/IEC 14496-15, sections 5.3.3.1 and 8.3.3.1; RFC 6381 and 14496-15, annex E (codec strings);
//! AV1-ISOBMFF, section 5; RFC 7845, section 5.1 (OpusHead); ISO/IEC 14496-3, section 1.A.2 (ADTS).
//!
//! Invariants: any bytes give a track or `None`; a video track has a size above zero.
//! Deviations: records lose nothing on their way, but say four-byte lengths whatever they said, since that is what
//! [`super::sample`] writes.

use super::init::{Audio, Entry, Video};
use super::sample::NAL_LENGTH;
use crate::wire::{aac, av1, avc, hevc, mp3};

/// A video track and how its frames come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoConfig {
    /// The track.
    pub track: Video,
    /// Its codec string.
    pub codec: String,
    /// Bytes of the length in front of each NAL unit as the stream sends them; of no meaning for AV1.
    pub nal_length_size: u8,
}

/// An audio track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioConfig {
    /// The track.
    pub track: Audio,
    /// Its codec string.
    pub codec: String,
}

/// Parameter sets from a stream's frames, each a whole NAL unit; `vps` is empty in H.264.
#[derive(Debug, Clone, Copy)]
pub struct ParameterSets<'a> {
    /// Video parameter sets.
    pub vps: &'a [&'a [u8]],
    /// Sequence parameter sets.
    pub sps: &'a [&'a [u8]],
    /// Picture parameter sets.
    pub pps: &'a [&'a [u8]],
}

impl VideoConfig {
    fn new(entry: Entry, size: (u32, u32), codec: String, nal_length_size: u8) -> Option<VideoConfig> {
        let width = u16::try_from(size.0).ok().filter(|n| *n > 0)?;
        let height = u16::try_from(size.1).ok().filter(|n| *n > 0)?;
        Some(VideoConfig { track: Video { entry, width, height }, codec, nal_length_size })
    }
}

/// H.264 from the body of a sequence header. `None`: no record, or without a readable set.
pub fn avc(record: &[u8]) -> Option<VideoConfig> {
    let config = avc::parse_config(record)?;
    if config.sps.is_empty() || config.pps.is_empty() {
        return None;
    }
    let mut body = record.to_vec();
    *body.get_mut(4)? |= NAL_LENGTH - 1;
    let codec = format!("avc1.{:02x}{:02x}{:02x}", config.profile, config.compatibility, config.level);
    VideoConfig::new(Entry::Avc(body), (config.width, config.height), codec, config.nal_length_size)
}

/// The record of H.264 for parameter sets that came with a frame.
pub fn avc_record(sets: ParameterSets<'_>) -> Option<Vec<u8>> {
    let first = *sets.sps.first()?;
    let sps = avc::parse_sps(first)?;
    let mut out = vec![1, sps.profile, sps.compatibility, sps.level, 0xfc | (NAL_LENGTH - 1)];
    out.push(0xe0 | u8::try_from(sets.sps.len()).ok().filter(|n| *n < 0x20)?);
    sets.sps.iter().try_for_each(|unit| put_unit(&mut out, unit))?;
    out.push(u8::try_from(sets.pps.len()).ok().filter(|n| *n > 0)?);
    sets.pps.iter().try_for_each(|unit| put_unit(&mut out, unit))?;
    if matches!(sps.profile, 100 | 110 | 122 | 144) {
        out.extend_from_slice(&[0xfc | sps.chroma_format, 0xf8 | sps.luma_depth, 0xf8 | sps.chroma_depth, 0]);
    }
    Some(out)
}

fn put_unit(out: &mut Vec<u8>, unit: &[u8]) -> Option<()> {
    out.extend_from_slice(&u16::try_from(unit.len()).ok()?.to_be_bytes());
    out.extend_from_slice(unit);
    Some(())
}

/// H.265 from the body of a sequence header. `None`: no record, or without a readable set.
pub fn hevc(record: &[u8]) -> Option<VideoConfig> {
    let config = hevc::parse_config(record)?;
    if config.vps.is_empty() || config.sps.is_empty() || config.pps.is_empty() {
        return None;
    }
    let mut body = record.to_vec();
    *body.first_mut()? = 1;
    *body.get_mut(21)? |= NAL_LENGTH - 1;
    let codec = hevc_codec(&config);
    VideoConfig::new(Entry::Hevc(body), (config.width, config.height), codec, config.nal_length_size)
}

/// `hvc1.` profile space and profile, compatibility flags from the last bit, tier and level, constraints without
/// trailing zero bytes.
fn hevc_codec(config: &hevc::HevcConfig) -> String {
    let space = ["", "A", "B", "C"].get(usize::from(config.profile_space)).copied().unwrap_or_default();
    let tier = if config.high_tier { 'H' } else { 'L' };
    let compatibility = config.compatibility.reverse_bits();
    let mut codec = format!("hvc1.{space}{}.{compatibility:x}.{tier}{}", config.profile, config.level);
    let used = config.constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in config.constraints.iter().take(used) {
        codec.push_str(&format!(".{byte:x}"));
    }
    codec
}

/// The record of H.265 for parameter sets that came with a frame.
pub fn hevc_record(sets: ParameterSets<'_>) -> Option<Vec<u8>> {
    const PROFILE_TIER_LEVEL: std::ops::Range<usize> = 3..15;
    const ARRAYS: [u8; 3] = [32, 33, 34];
    let first = *sets.sps.first()?;
    let sps = hevc::parse_sps(first)?;
    let plain = crate::wire::bits::unescape(first.get(..first.len().min(64))?);
    let mut out = vec![1];
    out.extend_from_slice(plain.get(PROFILE_TIER_LEVEL)?);
    out.extend_from_slice(&[0xf0, 0, 0xfc, 0xfc | sps.chroma_format]);
    out.extend_from_slice(&[0xf8 | sps.luma_depth, 0xf8 | sps.chroma_depth, 0, 0]);
    // One temporal layer or more, nested: unknown is 0; then four-byte lengths.
    out.extend_from_slice(&[NAL_LENGTH - 1, 3]);
    for (kind, units) in ARRAYS.into_iter().zip([sets.vps, sets.sps, sets.pps]) {
        // Not complete: more may come in the frames.
        out.push(kind);
        out.extend_from_slice(&u16::try_from(units.len()).ok().filter(|n| *n > 0)?.to_be_bytes());
        units.iter().try_for_each(|unit| put_unit(&mut out, unit))?;
    }
    Some(out)
}

/// AV1 from the body of a sequence header.
pub fn av1(record: &[u8]) -> Option<VideoConfig> {
    let config = av1::parse_config(record)?;
    let tier = if config.high_tier { 'H' } else { 'M' };
    let codec = format!("av01.{}.{:02}{tier}.{:02}", config.profile, config.level, config.bit_depth);
    VideoConfig::new(Entry::Av1(record.to_vec()), (config.width, config.height), codec, NAL_LENGTH)
}

/// AAC from the body of a sequence header.
pub fn aac(config: &[u8]) -> Option<AudioConfig> {
    let parsed = aac::parse_config(config)?;
    let object_type = match (parsed.ps, parsed.sbr) {
        (true, _) => 29,
        (_, true) => 5,
        _ => parsed.object_type,
    };
    let channels = if parsed.channels == 0 || parsed.ps { 2 } else { parsed.channels };
    let track = Audio { entry: Entry::Aac(config.to_vec()), channels, rate: parsed.rate };
    Some(AudioConfig { track, codec: format!("mp4a.40.{object_type}") })
}

/// MP3 from the head of a frame.
pub fn mp3(frame: &[u8]) -> Option<AudioConfig> {
    let mp3::Head { rate, channels, .. } = mp3::parse_head(frame).filter(|head| head.layer == 3)?;
    Some(AudioConfig { track: Audio { entry: Entry::Mp3, channels, rate }, codec: String::from("mp4a.6B") })
}

/// Opus from its identification header, with or without its magic signature.
pub fn opus(head: &[u8]) -> Option<AudioConfig> {
    let mut r = crate::wire::read::Reader::new(head.strip_prefix(b"OpusHead").unwrap_or(head));
    let [_version, channels] = r.array()?;
    let (pre_skip, rate): ([u8; 2], [u8; 4]) = (r.array()?, r.array()?);
    let gain: [u8; 2] = r.array()?;
    let family = r.u8()?;
    // Little endian there, big endian here.
    let mut body = vec![0, channels];
    body.extend(pre_skip.iter().rev());
    body.extend(rate.iter().rev());
    body.extend(gain.iter().rev());
    body.push(family);
    if family != 0 {
        body.extend_from_slice(r.take(usize::from(channels).checked_add(2)?)?);
    }
    (channels > 0).then(|| opus_track(body, channels))
}

/// Opus without a header: one or two channels as the first packet says (RFC 6716, section 3.1).
pub fn opus_of_packet(packet: &[u8]) -> Option<AudioConfig> {
    let channels = if packet.first()? & 0x04 == 0 { 1 } else { 2 };
    let mut body = vec![0, channels, 0, 0];
    body.extend_from_slice(&48_000u32.to_be_bytes());
    body.extend_from_slice(&[0, 0, 0]);
    Some(opus_track(body, channels))
}

fn opus_track(body: Vec<u8>, channels: u8) -> AudioConfig {
    let track = Audio { entry: Entry::Opus(body), channels, rate: 48_000 };
    AudioConfig { track, codec: String::from("opus") }
}

/// FLAC from its stream header: metadata blocks, of which STREAMINFO is the first, with or without `fLaC` in front.
pub fn flac(header: &[u8]) -> Option<AudioConfig> {
    const STREAM_INFO: u8 = 0;
    const INFO_SIZE: u32 = 34;
    const LAST_BLOCK: u8 = 0x80;
    let mut r = crate::wire::read::Reader::new(header.strip_prefix(b"fLaC").unwrap_or(header));
    if r.u8()? & !LAST_BLOCK != STREAM_INFO || r.u24()? != INFO_SIZE {
        return None;
    }
    let info: [u8; 34] = r.array()?;
    let mut bits = crate::wire::bits::BitReader::new(info.get(10..)?);
    let (rate, channels) = (bits.bits(20)?, bits.bits(3)?);
    let mut body = vec![LAST_BLOCK | STREAM_INFO, 0, 0, 34];
    body.extend_from_slice(&info);
    let track =
        Audio { entry: Entry::Flac(body), channels: u8::try_from(channels).ok()?.checked_add(1)?, rate };
    Some(AudioConfig { track, codec: String::from("flac") })
}

/// An AAC frame behind an ADTS head, as some encoders send them (14496-3, section 1.A.2): the length of the head and
/// the AudioSpecificConfig that it stands for. `None`: no such head, or not one for just these bytes.
pub fn adts(frame: &[u8]) -> Option<(usize, [u8; 2])> {
    let &[0xff, sync, profile, channels, size, size_end, _] = frame.first_chunk()? else { return None };
    let head = match sync & 0xf7 {
        0xf1 => 7,
        0xf0 => 9,
        _ => return None,
    };
    let declared = u32::from(channels & 3) << 11 | u32::from(size) << 3 | u32::from(size_end >> 5);
    if usize::try_from(declared).ok()? != frame.len() || frame.len() <= head {
        return None;
    }
    let object_type = (profile >> 6).saturating_add(1);
    let rate_index = profile >> 2 & 0x0f;
    let channel_config = (profile & 1) << 2 | channels >> 6;
    Some((head, [object_type << 3 | rate_index >> 1, (rate_index & 1) << 7 | channel_config << 3]))
}
