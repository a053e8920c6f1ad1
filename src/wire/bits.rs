//! Bits of parameter sets: fixed-width and exponential-Golomb codes, and the removal of emulation prevention.
//! Spec: ITU-T H.264, sections 7.3.1 and 9.1; ITU-T H.265, sections 7.3.1.1 and 9.2.
//!
//! Invariants: every read is bounds-checked; a read that answers `None` leaves the reader unusable but safe.

/// Reads bits, the most significant first.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    data: &'a [u8],
    byte: usize,
    bit: u8,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        BitReader { data, byte: 0, bit: 0 }
    }

    /// The next bit.
    pub fn flag(&mut self) -> Option<bool> {
        let byte = *self.data.get(self.byte)?;
        let set = byte & (0x80 >> self.bit) != 0;
        if self.bit == 7 {
            self.bit = 0;
            self.byte += 1;
        } else {
            self.bit += 1;
        }
        Some(set)
    }

    /// The next `n` bits as a number; `n` is 32 at most.
    pub fn bits(&mut self, n: u32) -> Option<u32> {
        debug_assert!(n <= 32);
        let mut value = 0u32;
        for _ in 0..n {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// Passes over `n` bits.
    pub fn skip(&mut self, n: u32) -> Option<()> {
        for _ in 0..n {
            self.flag()?;
        }
        Some(())
    }

    /// Goes on to the next whole byte, if not at one.
    pub fn align(&mut self) {
        if self.bit > 0 {
            self.bit = 0;
            self.byte += 1;
        }
    }

    /// An unsigned exponential-Golomb code, `ue(v)`.
    pub fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0u32;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let tail = self.bits(zeros)?;
        ((1u32 << zeros) - 1).checked_add(tail)
    }

    /// A signed exponential-Golomb code, `se(v)`.
    pub fn se(&mut self) -> Option<i32> {
        let code = self.ue()?;
        let half = i32::try_from(code / 2).ok()?;
        if code % 2 == 1 { half.checked_add(1) } else { Some(-half) }
    }
}

/// The payload of a NAL unit without the emulation prevention bytes (the 3 of each `00 00 03`).
pub fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golomb_codes() {
        // 1 | 010 | 011 | 00100 | 00101 | 00110 | 00111 | 0001000
        let data = [0b1010_0110, 0b0100_0010, 0b1001_1000, 0b1110_0010, 0b0000_0000];
        let mut r = BitReader::new(&data);
        let codes: Vec<_> = (0..8).map(|_| r.ue().unwrap()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7]);
        let mut r = BitReader::new(&data);
        let codes: Vec<_> = (0..8).map(|_| r.se().unwrap()).collect();
        assert_eq!(codes, [0, 1, -1, 2, -2, 3, -3, 4]);
    }

    #[test]
    fn golomb_codes_too_long_or_cut_are_none() {
        assert_eq!(BitReader::new(&[0; 8]).ue(), None);
        assert_eq!(BitReader::new(&[0, 1]).ue(), None);
        assert_eq!(BitReader::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).ue(), Some(u32::MAX - 1));
        assert_eq!(BitReader::new(&[]).flag(), None);
        assert_eq!(BitReader::new(&[1]).bits(9), None);
    }

    #[test]
    fn emulation_prevention() {
        assert_eq!(unescape(&[1, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3]), [1, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(unescape(&[0, 0, 0, 3, 3, 0, 3]), [0, 0, 0, 3, 0, 3]);
    }
}
