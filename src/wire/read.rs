//! A cursor over bytes that came from outside: every read is bounds-checked and answers `None` when bytes are missing.
//!
//! Invariants: a read that answers `None` consumes nothing; `position() + remaining()` never changes.

/// Reads big-endian values one after another from a slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the first byte of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Reader { rest: data, total: data.len() }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    /// The next 2 bytes, big endian.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next 3 bytes, big endian.
    pub fn u24(&mut self) -> Option<u32> {
        let [a, b, c] = self.array()?;
        Some(u32::from_be_bytes([0, a, b, c]))
    }

    /// The next 3 bytes, big endian two's complement.
    pub fn i24(&mut self) -> Option<i32> {
        let [a, b, c] = self.array()?;
        Some(i32::from_be_bytes([a, b, c, 0]) >> 8)
    }

    /// The next 4 bytes, big endian.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next 8 bytes as an IEEE 754 double, big endian.
    pub fn f64(&mut self) -> Option<f64> {
        self.array().map(f64::from_be_bytes)
    }

    /// The next byte without consuming it.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Everything not yet read; consumes nothing.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True when every byte was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.total.saturating_sub(self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_counts() {
        let mut r = Reader::new(&[1, 0, 2, 0, 0, 3, 0, 0, 0, 4, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(
            (r.u8(), r.u16(), r.u24(), r.u32(), r.f64()),
            (Some(1), Some(2), Some(3), Some(4), Some(1.0))
        );
        assert_eq!((r.position(), r.remaining(), r.rest()), (18, 1, &[9u8][..]));
        assert_eq!(r.take(1), Some(&[9u8][..]));
        assert!(r.is_empty());
    }

    #[test]
    fn a_failed_read_consumes_nothing() {
        let mut r = Reader::new(&[1, 2]);
        assert_eq!(
            (r.u24(), r.u32(), r.f64(), r.take(3), r.take(usize::MAX)),
            (None, None, None, None, None)
        );
        assert_eq!(r.position(), 0);
        assert_eq!(r.u16(), Some(0x0102));
        assert_eq!((r.u8(), r.peek(), r.take(0)), (None, None, Some(&[][..])));
    }

    #[test]
    fn signed_24_bits() {
        for (bytes, value) in [
            ([0, 0, 80], 80),
            ([0xff, 0xff, 0xff], -1),
            ([0x80, 0, 0], -8_388_608),
            ([0x7f, 0xff, 0xff], 8_388_607),
        ] {
            assert_eq!(Reader::new(&bytes).i24(), Some(value));
        }
    }
}
