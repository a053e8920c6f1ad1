//! AAC decoder configuration: what the sequence header of an AAC stream says; and ADTS, which says it in each frame.
//! Spec: ISO/IEC 14496-3, sections 1.6.2.1 and 1.6.5 (AudioSpecificConfig), 1.A.2.2 (ADTS) and 4.5.1.1 (explicit rates).
//!
//! Invariants: any bytes give a value or `None`.
//! Deviations: a configuration that ends before its optional parts is accepted without them. ADTS cannot say SBR or PS:
//! HE-AAC is marked as the LC core in it, and decoders find the rest in the frames. An explicit rate becomes the one of
//! the table that decoders use for it. A channel layout that a program config element describes becomes the
//! configuration with as many channels.

use super::bits::BitReader;

const OBJECT_ESCAPE: u32 = 31;
const OBJECT_SBR: u8 = 5;
const OBJECT_PS: u8 = 29;
const OBJECT_BSAC: u8 = 22;
const RATE_ESCAPE: u32 = 15;
const SYNC_SBR: u32 = 0x2b7;
const SYNC_PS: u32 = 0x548;

const RATES: [u32; 13] =
    [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

/// An AudioSpecificConfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AacConfig {
    /// Audio object type of the core: 2 is AAC LC. With SBR or PS signalled in front, this is the type beneath.
    pub object_type: u8,
    /// Sample rate of the core in Hz.
    pub rate: u32,
    /// The index of `rate` in the table of the specification, 0 to 12; `None` for an explicit rate.
    pub rate_index: Option<u8>,
    /// Channel configuration, 0 to 15; 0 when a program config element says it, see `channels`.
    pub channel_config: u8,
    /// Number of channels of the core; 0 when the configuration does not say it here.
    pub channels: u8,
    /// SBR (HE-AAC) is signalled.
    pub sbr: bool,
    /// Parametric stereo (HE-AAC v2) is signalled: one core channel plays as two.
    pub ps: bool,
    /// Sample rate played, in Hz: that of SBR when signalled, else `rate`.
    pub output_rate: u32,
}

impl AacConfig {
    /// The usual name of the profile.
    pub fn profile_name(&self) -> &'static str {
        match self.object_type {
            2 if self.ps => "HE-AAC v2",
            2 if self.sbr => "HE-AAC",
            1 => "AAC Main",
            2 => "AAC LC",
            3 => "AAC SSR",
            4 => "AAC LTP",
            23 => "AAC LD",
            39 => "AAC ELD",
            42 => "xHE-AAC",
            _ => "AAC",
        }
    }
}

/// Length of an ADTS head without checksum, in bytes.
pub const ADTS_HEAD_LEN: usize = 7;
/// The longest raw frame that fits into an ADTS frame, in bytes.
pub const MAX_ADTS_PAYLOAD: usize = 0x1fff - ADTS_HEAD_LEN;
/// Samples of each channel in a frame, at the rate of the core.
pub const FRAME_SAMPLES: u32 = 1024;

/// What ADTS heads say of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adts {
    profile: u8,
    rate_index: u8,
    channels: u8,
}

impl Adts {
    /// The heads for a stream with this configuration. `None`: ADTS has no way to say it (ELD, xHE-AAC, more than
    /// 7.1 channels and the like).
    pub fn new(config: &AacConfig) -> Option<Adts> {
        let object_type = match config.object_type {
            plain @ 1..=4 => plain,
            OBJECT_SBR | OBJECT_PS => 2,
            _ => return None,
        };
        let channels = match (config.channel_config, config.channels) {
            (plain @ 1..=7, _) => plain,
            (12, _) | (0, 8) => 7,
            (0, counted @ 0..=6) => counted,
            _ => return None,
        };
        let rate_index = config.rate_index.unwrap_or_else(|| nearest_rate_index(config.rate));
        Some(Adts { profile: object_type - 1, rate_index, channels })
    }

    /// The head of a frame whose raw data has `len` bytes. `None`: over [`MAX_ADTS_PAYLOAD`].
    pub fn head(self, len: usize) -> Option<[u8; ADTS_HEAD_LEN]> {
        const SYNC: u64 = 0xfff;
        const MPEG4_NO_CHECKSUM: u64 = 0b0001;
        const VARIABLE_RATE: u64 = 0x7ff;
        if len > MAX_ADTS_PAYLOAD {
            return None;
        }
        let fields = [
            (SYNC, 12),
            (MPEG4_NO_CHECKSUM, 4),
            (u64::from(self.profile), 2),
            (u64::from(self.rate_index), 4),
            (0, 1), // private_bit
            (u64::from(self.channels), 3),
            (0, 4), // original, home and the two of copyright
            ((len + ADTS_HEAD_LEN) as u64, 13),
            (VARIABLE_RATE, 11),
            (0, 2), // one raw data block
        ];
        let bits = fields.iter().fold(0u64, |bits, (value, width)| bits << width | value);
        let [_, head @ ..] = bits.to_be_bytes();
        Some(head)
    }
}

/// The index of the table's rate whose tools serve an explicit rate (table 4.82).
fn nearest_rate_index(rate: u32) -> u8 {
    const AT_LEAST: [u32; 11] =
        [92_017, 75_132, 55_426, 46_009, 37_566, 27_713, 23_004, 18_783, 13_856, 11_502, 9_391];
    AT_LEAST.iter().take_while(|least| rate < **least).count() as u8
}

/// True when `frame` consists of whole ADTS frames already, as some encoders send it where raw data belongs.
pub fn is_adts(frame: &[u8]) -> bool {
    let mut rest = frame;
    while let Some((head, _)) = rest.split_first_chunk::<ADTS_HEAD_LEN>() {
        let [a, b, _, d, e, f, _] = *head;
        let len = usize::from(d & 0x03) << 11 | usize::from(e) << 3 | usize::from(f >> 5);
        if a != 0xff || b & 0xf6 != 0xf0 || len <= ADTS_HEAD_LEN {
            return false;
        }
        match rest.split_at_checked(len) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.is_empty() && !frame.is_empty()
}

/// Reads the body of an AAC sequence header. `None`: too short, or a reserved rate.
pub fn parse_config(data: &[u8]) -> Option<AacConfig> {
    let mut r = BitReader::new(data);
    let first_type = object_type(&mut r)?;
    let (rate, rate_index) = sample_rate(&mut r)?;
    let channel_config = u8::try_from(r.bits(4)?).ok()?;
    let mut config = AacConfig {
        object_type: first_type,
        rate,
        rate_index,
        channel_config,
        channels: channel_count(channel_config),
        sbr: false,
        ps: false,
        output_rate: rate,
    };
    if matches!(first_type, OBJECT_SBR | OBJECT_PS) {
        config.sbr = true;
        config.ps = first_type == OBJECT_PS;
        (config.output_rate, _) = sample_rate(&mut r)?;
        config.object_type = object_type(&mut r)?;
        if config.object_type == OBJECT_BSAC {
            r.bits(4)?; // extensionChannelConfiguration
        }
        // The rest only matters for the channel count.
        let _ = core_config(&mut r, &mut config);
    } else {
        let whole = core_config(&mut r, &mut config);
        if whole.is_some() {
            let _ = trailing_extension(&mut r, &mut config);
        }
    }
    Some(config)
}

fn object_type(r: &mut BitReader<'_>) -> Option<u8> {
    let short = r.bits(5)?;
    let value = if short == OBJECT_ESCAPE { 32 + r.bits(6)? } else { short };
    u8::try_from(value).ok()
}

fn sample_rate(r: &mut BitReader<'_>) -> Option<(u32, Option<u8>)> {
    let index = r.bits(4)?;
    if index == RATE_ESCAPE {
        return Some((r.bits(24)?, None));
    }
    let rate = RATES.get(usize::try_from(index).ok()?)?;
    Some((*rate, u8::try_from(index).ok()))
}

fn channel_count(channel_config: u8) -> u8 {
    match channel_config {
        n @ 1..=6 => n,
        7 | 12 | 14 => 8,
        11 => 7,
        13 => 24,
        _ => 0,
    }
}

/// GASpecificConfig (section 4.4.1) of the object types that have one. `None` for the others: what follows their
/// configuration cannot be found.
fn core_config(r: &mut BitReader<'_>, config: &mut AacConfig) -> Option<()> {
    const SCALABLE: [u8; 2] = [6, 20];
    const ERROR_RESILIENT: [u8; 4] = [17, 19, 20, 23];
    let kind = config.object_type;
    if !matches!(kind, 1..=4 | 6 | 7 | 17 | 19..=23) {
        return None;
    }
    r.flag()?; // frameLengthFlag
    if r.flag()? {
        r.bits(14)?; // coreCoderDelay
    }
    let extension = r.flag()?;
    if config.channel_config == 0 {
        config.channels = program_config_channels(r)?;
    }
    if SCALABLE.contains(&kind) {
        r.bits(3)?; // layerNr
    }
    if extension {
        if kind == OBJECT_BSAC {
            r.bits(5 + 11)?; // numOfSubFrame, layer_length
        }
        if ERROR_RESILIENT.contains(&kind) {
            r.bits(3)?; // resilience flags
        }
        r.flag()?; // extensionFlag3
    }
    // The error resilient types go on with epConfig.
    (kind < 17).then_some(())
}

/// SBR and PS signalled behind the core, which decoders without them ignore.
fn trailing_extension(r: &mut BitReader<'_>, config: &mut AacConfig) -> Option<()> {
    if r.bits(11)? != SYNC_SBR || object_type(r)? != OBJECT_SBR {
        return Some(());
    }
    config.sbr = r.flag()?;
    if config.sbr {
        (config.output_rate, _) = sample_rate(r)?;
        if r.bits(11)? == SYNC_PS {
            config.ps = r.flag()?;
        }
    }
    Some(())
}

/// The channels of a program_config_element (section 4.4.1.1), read to its end.
fn program_config_channels(r: &mut BitReader<'_>) -> Option<u8> {
    r.bits(4 + 2 + 4)?; // element_instance_tag, object_type, sampling_frequency_index
    let (front, side, back) = (r.bits(4)?, r.bits(4)?, r.bits(4)?);
    let (lfe, data, coupling) = (r.bits(2)?, r.bits(3)?, r.bits(4)?);
    for mixdown_bits in [4, 4, 3] {
        if r.flag()? {
            r.bits(mixdown_bits)?;
        }
    }
    let mut channels = lfe;
    for _ in 0..front + side + back {
        channels += if r.flag()? { 2 } else { 1 };
        r.bits(4)?;
    }
    r.skip(4 * lfe + 4 * data + 5 * coupling)?;
    r.align();
    let comment = r.bits(8)?;
    r.skip(8 * comment)?;
    u8::try_from(channels).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Bits, Noise, hex};

    /// Type, rate, channels, SBR, PS, rate played.
    fn summary(data: &[u8]) -> Option<(u8, u32, u8, bool, bool, u32)> {
        parse_config(data).map(|c| (c.object_type, c.rate, c.channels, c.sbr, c.ps, c.output_rate))
    }

    #[test]
    fn configurations_seen_in_the_wild() {
        for (name, text, expected) in [
            ("ffmpeg 44.1 kHz stereo", "1210 56e500", (2, 44100, 2, false, false, 44100)),
            ("ffmpeg 48 kHz 5.1", "11b0 56e500", (2, 48000, 6, false, false, 48000)),
            ("ffmpeg 8 kHz mono", "1588 56e500", (2, 8000, 1, false, false, 8000)),
            ("two bytes", "1190", (2, 48000, 2, false, false, 48000)),
            ("HE-AAC, signalled in front", "2b92 0800", (2, 22050, 2, true, false, 44100)),
            ("HE-AAC, signalled behind", "1390 56e5a0", (2, 22050, 2, true, false, 44100)),
            ("HE-AAC v2, signalled in front", "eb8a 0800", (2, 22050, 1, true, true, 44100)),
            ("HE-AAC v2, signalled behind", "1388 56e5a5 4880", (2, 22050, 1, true, true, 44100)),
            ("AAC Main", "0a10", (1, 44100, 2, false, false, 44100)),
            ("7.1", "11b8", (2, 48000, 8, false, false, 48000)),
        ] {
            assert_eq!(summary(&hex(text)), Some(expected), "{name}");
        }
        assert_eq!(parse_config(&hex("1388 56e5a5 4880")).unwrap().profile_name(), "HE-AAC v2");
        assert_eq!(parse_config(&hex("1210")).unwrap().rate_index, Some(4));
    }

    #[test]
    fn escapes_for_types_and_rates() {
        let mut b = Bits::default();
        let eld = b.put(5, 31).put(6, 7).put(4, 3).put(4, 1).finish();
        assert_eq!(summary(&eld), Some((39, 48000, 1, false, false, 48000)));
        let mut b = Bits::default();
        let odd = b.put(5, 2).put(4, 15).put(24, 44_000).put(4, 2).put(3, 0).finish();
        assert_eq!(summary(&odd), Some((2, 44_000, 2, false, false, 44_000)));
        assert_eq!(parse_config(&odd).unwrap().rate_index, None);
        let mut b = Bits::default();
        let sbr = b.put(5, 5).put(4, 6).put(4, 2).put(4, 15).put(24, 48_001).put(5, 2).put(3, 0).finish();
        assert_eq!(summary(&sbr), Some((2, 24000, 2, true, false, 48_001)));
    }

    #[test]
    fn channels_from_a_program_config() {
        let mut b = Bits::default();
        b.put(5, 2).put(4, 3).put(4, 0).put(3, 0);
        b.put(4, 0).put(2, 1).put(4, 3); // tag, type, rate
        b.put(4, 2).put(4, 0).put(4, 1).put(2, 1).put(3, 0).put(4, 0).put(3, 0);
        b.put(5, 0).put(5, 0x10).put(5, 0x10); // centre, front pair, back pair
        b.put(4, 0); // LFE
        let bytes = b.align().put(8, 2).put(16, 0x6869).put(11, 0x2b7).put(5, 5).put(1, 0).finish();
        assert_eq!(summary(&bytes), Some((2, 48000, 6, false, false, 48000)));
    }

    #[test]
    fn short_or_reserved_is_none() {
        for text in ["", "12", "1680", "17", "2b92", "f8"] {
            assert_eq!(parse_config(&hex(text)), None, "{text}");
        }
    }

    #[test]
    fn adts_heads() {
        let head = |config: &str, len| {
            Adts::new(&parse_config(&hex(config)).unwrap())
                .and_then(|adts| adts.head(len))
                .map(|h| h.to_vec())
        };
        for (name, config, len, expected) in [
            ("LC 44.1 kHz stereo", "1210", 4, "fff150800 17ffc"),
            ("LC 48 kHz 5.1", "11b0", 0x1ff8, "fff14d83ffff fc"),
            ("LC 8 kHz mono", "1588", 249, "fff16c40201ffc"),
            ("Main 44.1 kHz stereo", "0a10", 4, "fff110800 17ffc"),
            ("HE-AAC in front: the core", "2b920800", 100, "fff15c800d7ffc"),
            ("HE-AAC behind: the core", "139056e5a0", 100, "fff15c800d7ffc"),
            ("HE-AAC v2: the core, mono", "eb8a0800", 100, "fff15c400d7ffc"),
            ("7.1", "11b8", 0, "fff14dc000fffc"),
        ] {
            assert_eq!(head(config, len), Some(hex(expected)), "{name}");
        }
        assert_eq!(head("1210", MAX_ADTS_PAYLOAD + 1), None);
        let mut b = Bits::default();
        let eld = parse_config(&b.put(5, 31).put(6, 7).put(4, 3).put(4, 1).finish()).unwrap();
        assert_eq!(Adts::new(&eld), None, "ELD");
        let of_rate = |rate| {
            let mut b = Bits::default();
            let config = b.put(5, 2).put(4, 15).put(24, rate).put(4, 2).put(3, 0).finish();
            Adts::new(&parse_config(&config).unwrap()).unwrap().rate_index
        };
        assert_eq!([44_000, 48_001, 37_566, 37_565, 9_390, 1, 200_000].map(of_rate), [4, 3, 4, 5, 11, 11, 0]);
    }

    #[test]
    fn adts_sent_as_a_frame_is_recognised() {
        let adts = Adts::new(&parse_config(&hex("1210")).unwrap()).unwrap();
        let mut frame = adts.head(3).unwrap().to_vec();
        frame.extend([1, 2, 3]);
        assert!(is_adts(&frame) && is_adts(&frame.repeat(2)));
        assert!(!is_adts(&frame[..9]) && !is_adts(&[&frame[..], &[0xff]].concat()) && !is_adts(&[]));
        assert!(!is_adts(&hex("2111450014500146")));
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise(911);
        for _ in 0..30_000 {
            let len = noise.below(12);
            let bytes = noise.bytes(len);
            if let Some(config) = parse_config(&bytes) {
                let _ = Adts::new(&config).and_then(|adts| adts.head(len));
            }
            let _ = is_adts(&bytes);
        }
    }
}
