//! MPEG audio: what the head of a frame says.
//! Spec: ISO/IEC 11172-3, section 2.4.2.3; ISO/IEC 13818-3, section 2.4.2.3; MPEG 2.5 as widely implemented.
//!
//! Invariants: any bytes give a head or `None`.

use super::bits::BitReader;

/// The head of an MPEG audio frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// MPEG-1; else MPEG-2 or 2.5 with their lower rates.
    pub mpeg1: bool,
    /// 1 to 3; MP3 is 3.
    pub layer: u8,
    /// Sample rate in Hz.
    pub rate: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Samples of each channel in the frame.
    pub samples: u32,
}

/// Of MPEG-1, in the order of their index; MPEG-2 has half of them, MPEG 2.5 a quarter.
const RATES: [u32; 3] = [44_100, 48_000, 32_000];

/// Reads the head of a frame. `None`: it is not one, or a reserved value is in it.
pub fn parse_head(data: &[u8]) -> Option<Head> {
    const SYNC: u32 = 0x7ff;
    const BAD_BITRATE: u32 = 15;
    const MONO: u32 = 3;
    let mut r = BitReader::new(data);
    if r.bits(11)? != SYNC {
        return None;
    }
    let divisor = match r.bits(2)? {
        0 => 4,
        2 => 2,
        3 => 1,
        _ => return None,
    };
    let mpeg1 = divisor == 1;
    let layer = match r.bits(2)? {
        1 => 3,
        2 => 2,
        3 => 1,
        _ => return None,
    };
    r.flag()?; // protection_bit
    if r.bits(4)? == BAD_BITRATE {
        return None;
    }
    let rate = RATES.get(usize::try_from(r.bits(2)?).ok()?)? / divisor;
    r.skip(2)?; // padding_bit, private_bit
    let channels = if r.bits(2)? == MONO { 1 } else { 2 };
    let samples = match layer {
        1 => 384,
        3 if !mpeg1 => 576,
        _ => 1152,
    };
    Some(Head { mpeg1, layer, rate, channels, samples })
}

/// A frame of MP3 in which nothing is heard, of the lowest bit rate, and its samples: side information of zeros says that there
/// is no main data (11172-3, 2.4.1.7). `None`: no such rate.
pub fn silence(rate: u32, channels: u8) -> Option<(Vec<u8>, u32)> {
    const LOWEST_BITRATE: u8 = 1;
    const LAYER_3_WITHOUT_CHECKSUM: u8 = 0b011;
    let (version, divisor) = match rate {
        32_000.. => (0b11u8, 1),
        16_000.. => (0b10, 2),
        _ => (0b00, 4),
    };
    let index = u8::try_from(RATES.iter().position(|full| full / divisor == rate)?).ok()?;
    let (samples, bits_per_second) = if divisor == 1 { (1152, 32_000) } else { (576, 8_000) };
    let mode = if channels == 1 { 0xc0 } else { 0 };
    let head = [0xff, 0xe0 | version << 3 | LAYER_3_WITHOUT_CHECKSUM, LOWEST_BITRATE << 4 | index << 2, mode];
    let mut frame = head.to_vec();
    frame.resize(usize::try_from(samples / 8 * bits_per_second / rate).ok()?, 0);
    Some((frame, samples))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Noise, hex};

    #[test]
    fn heads_of_every_version() {
        let of = |text| parse_head(&hex(text)).map(|h| (h.mpeg1, h.layer, h.rate, h.channels, h.samples));
        assert_eq!(of("fffb9064"), Some((true, 3, 44_100, 2, 1152)));
        assert_eq!(of("fffb54c4"), Some((true, 3, 48_000, 1, 1152)));
        assert_eq!(of("fff38464"), Some((false, 3, 24_000, 2, 576)));
        assert_eq!(of("ffe318c4"), Some((false, 3, 8_000, 1, 576)));
        assert_eq!(of("fffd9004"), Some((true, 2, 44_100, 2, 1152)));
        for text in ["", "fffb90", "fff99064", "fffbf064", "fffb9c64", "ffeb9064", "494433"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn silence_of_every_rate_is_a_frame_of_that_rate() {
        for rate in [48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000] {
            for channels in [1, 2] {
                let (frame, samples) = silence(rate, channels).unwrap();
                let head = parse_head(&frame).unwrap();
                assert_eq!(
                    (head.layer, head.rate, head.channels, head.samples),
                    (3, rate, channels, samples)
                );
                // Head and side information have room.
                let side = [[9, 17], [17, 32]][usize::from(head.mpeg1)][usize::from(channels) - 1];
                assert!(frame.len() >= 4 + side, "{rate} {channels}: {}", frame.len());
            }
        }
        assert_eq!(silence(44_000, 2), None);
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise(3);
        for _ in 0..20_000 {
            let len = noise.below(6);
            let _ = parse_head(&noise.bytes(len));
        }
    }
}
