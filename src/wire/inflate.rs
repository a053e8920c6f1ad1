//! gzip, to bytes.   Spec: RFC 1952 (gzip), RFC 1951 (deflate).
//!
//! For files of our own that are kept compressed, and the rare client that takes them in no other way than plain. So it is
//! small rather than fast, and the checksum at the end is left to tests.
//!
//! Invariants: what comes out is never longer than the limit given; broken input gives `None`.

/// Longest code of a Huffman table, in bits.
const MAX_BITS: usize = 15;
/// The order in which the lengths of the code of lengths come.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Unpacks a gzip file of one member, of `limit` bytes at most.
pub fn gunzip(file: &[u8], limit: usize) -> Option<Vec<u8>> {
    let (head, mut rest) = file.split_first_chunk::<10>()?;
    let [0x1f, 0x8b, 8, flags, ..] = *head else { return None };
    if flags & 4 != 0 {
        let (length, after) = rest.split_first_chunk()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    // Name and comment end with a zero each.
    for _ in 0..(flags >> 3 & 1) + (flags >> 4 & 1) {
        rest = rest.get(rest.iter().position(|byte| *byte == 0)? + 1..)?;
    }
    if flags & 2 != 0 {
        rest = rest.get(2..)?;
    }
    inflate(rest, limit)
}

fn inflate(data: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut bits = Bits { data, held: 0, count: 0 };
    let mut out = Vec::new();
    loop {
        let last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => stored(&mut bits, &mut out, limit)?,
            1 => {
                let lengths: Vec<u8> = (0..288)
                    .map(|symbol| match symbol {
                        0..=143 => 8,
                        144..=255 => 9,
                        256..=279 => 7,
                        _ => 8,
                    })
                    .collect();
                block(&mut bits, &Codes::new(&lengths), &Codes::new(&[5; 30]), &mut out, limit)?;
            }
            2 => {
                let (literals, distances) = tables(&mut bits)?;
                block(&mut bits, &literals, &distances, &mut out, limit)?;
            }
            _ => return None,
        }
        if last {
            return Some(out);
        }
    }
}

/// Bits of a byte string, the lowest of each byte first.
struct Bits<'a> {
    data: &'a [u8],
    held: u32,
    count: u32,
}

impl Bits<'_> {
    /// The next bits, 16 at most, the first one lowest.
    fn take(&mut self, count: u32) -> Option<u32> {
        while self.count < count {
            let (byte, rest) = self.data.split_first()?;
            self.data = rest;
            self.held |= u32::from(*byte) << self.count;
            self.count += 8;
        }
        let value = self.held & ((1 << count) - 1);
        self.held >>= count;
        self.count -= count;
        Some(value)
    }
}

/// A canonical Huffman code: how many codes there are of each length, and the symbols in the order of their codes.
struct Codes {
    counts: [u16; MAX_BITS + 1],
    symbols: Vec<u16>,
}

impl Codes {
    /// From the length of each symbol's code, 0 for none.
    fn new(lengths: &[u8]) -> Codes {
        let mut counts = [0; MAX_BITS + 1];
        let mut symbols = Vec::with_capacity(lengths.len());
        for (bits, count) in (1_u8..).zip(counts.iter_mut().skip(1)) {
            let before = symbols.len();
            symbols.extend(
                (0_u16..).zip(lengths).filter(|(_, length)| **length == bits).map(|(symbol, _)| symbol),
            );
            *count = u16::try_from(symbols.len() - before).unwrap_or(u16::MAX);
        }
        Codes { counts, symbols }
    }

    fn next(&self, bits: &mut Bits<'_>) -> Option<u16> {
        let (mut code, mut first, mut index) = (0_u32, 0_u32, 0_u32);
        for count in self.counts.iter().skip(1) {
            let count = u32::from(*count);
            code |= bits.take(1)?;
            if let Some(nth) = code.checked_sub(first).filter(|nth| *nth < count) {
                return self.symbols.get((index + nth) as usize).copied();
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

/// A block as it is.
fn stored(bits: &mut Bits<'_>, out: &mut Vec<u8>, limit: usize) -> Option<()> {
    // The rest of the byte is left out, and no more than that is held.
    bits.take(bits.count % 8)?;
    let (length, check) = (bits.take(16)?, bits.take(16)?);
    let (bytes, rest) = bits.data.split_at_checked(length as usize)?;
    if length ^ check != 0xffff || out.len() + bytes.len() > limit {
        return None;
    }
    out.extend_from_slice(bytes);
    bits.data = rest;
    Some(())
}

/// The codes of a block that brings its own: of literals and lengths, and of distances.
fn tables(bits: &mut Bits<'_>) -> Option<(Codes, Codes)> {
    let literals = bits.take(5)? as usize + 257;
    let distances = bits.take(5)? as usize + 1;
    let count = bits.take(4)? as usize + 4;
    let mut of_lengths = [0; 19];
    for place in ORDER.iter().take(count) {
        *of_lengths.get_mut(*place)? = u8::try_from(bits.take(3)?).ok()?;
    }
    let codes = Codes::new(&of_lengths);
    let mut lengths: Vec<u8> = Vec::with_capacity(320);
    while lengths.len() < literals + distances {
        let (length, times) = match codes.next(bits)? {
            length @ 0..=15 => (u8::try_from(length).ok()?, 1),
            16 => (*lengths.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            _ => (0, 11 + bits.take(7)?),
        };
        lengths.extend(std::iter::repeat_n(length, times as usize));
    }
    let (literals, rest) = lengths.split_at_checked(literals)?;
    Some((Codes::new(literals), Codes::new(rest.get(..distances)?)))
}

/// Literals, and copies of what is there already.
fn block(
    bits: &mut Bits<'_>,
    literals: &Codes,
    distances: &Codes,
    out: &mut Vec<u8>,
    limit: usize,
) -> Option<()> {
    loop {
        let symbol = u32::from(literals.next(bits)?);
        if let Ok(byte) = u8::try_from(symbol) {
            out.push(byte);
        } else if symbol == 256 {
            return Some(());
        } else {
            let length = match symbol - 257 {
                28 => 258,
                n @ 0..28 => value(bits, n, 4)? + 3,
                _ => return None,
            };
            let symbol = u32::from(distances.next(bits)?);
            let distance = value(bits, symbol, 2)? + 1;
            let from = out.len().checked_sub(distance as usize)?;
            for at in from..from + length as usize {
                out.push(*out.get(at)?);
            }
        }
        if out.len() > limit {
            return None;
        }
    }
}

/// A length or distance: every `step` symbols, one more bit of it follows.
fn value(bits: &mut Bits<'_>, symbol: u32, step: u32) -> Option<u32> {
    let extra = (symbol / step).saturating_sub(1);
    if extra > 13 {
        return None;
    }
    let base = if extra == 0 { symbol } else { (step + symbol % step) << extra };
    Some(base + bits.take(extra)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Noise, hex};

    #[test]
    fn what_others_packed_is_unpacked() {
        // By gzip, with the code that is known in advance.
        let packed = hex("1f8b0800000000000203cb48cdc9c957c84090008088f9e511000000");
        assert_eq!(gunzip(&packed, 100).as_deref(), Some(&b"hello hello hello"[..]));
        // With a name, stored.
        let packed = hex("1f8b08080000000000036100 01 0300 fcff 616263 00000000 00000000");
        assert_eq!(gunzip(&packed, 100).as_deref(), Some(&b"abc"[..]));
        assert_eq!(gunzip(&packed, 2), None, "no more than the limit");
    }

    #[test]
    fn whatever_comes_ends() {
        let mut noise = Noise(7);
        for _ in 0..20_000 {
            let mut bytes = hex("1f8b0800000000000003");
            let length = noise.below(80);
            bytes.extend((0..length).map(|_| noise.below(256) as u8));
            assert!(gunzip(&bytes, 5_000).is_none_or(|out| out.len() <= 5_000));
        }
        assert_eq!(gunzip(b"", 9), None);
    }
}
