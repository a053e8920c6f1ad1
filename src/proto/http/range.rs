//! `Range`: which bytes of a body a client wants.   Spec: RFC 9110, sections 14.1.2, 14.2 and 15.3.7.
//!
//! Invariants: a [`Part`] lies within the body and is not empty, whatever the header says.
//! Deviations: an answer has one part at most (no `multipart/byteranges`): ranges that meet are joined, and where
//! that leaves more than one the whole body is sent, which section 14.2 allows. A range of an empty body is passed
//! over, since clients that ask for `bytes=0-` of everything mean no fault.

/// Ranges in one header at most; one with more is passed over.
const MAX_RANGES: usize = 16;

/// Bytes of a body: `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte; never below `first`, always below the size of the body.
    pub last: u64,
}

impl Part {
    /// Bytes in it; at least 1. (A body of 2^64 bytes cannot exist: sizes are `u64`.)
    pub fn len(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// Never: a part holds a byte at least.
    pub fn is_empty(self) -> bool {
        false
    }
}

/// What a `Range` header comes to for a body of a certain size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of it, with status 200: no range, one that cannot be read, or several apart.
    Whole,
    /// This part, with status 206.
    Part(Part),
    /// Nothing that exists: status 416.
    Nothing,
}

/// Reads the value of a `Range` header for a body of `size` bytes.
pub fn resolve(value: &str, size: u64) -> Wanted {
    let Some((unit, set)) = value.split_once('=') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || size == 0 {
        return Wanted::Whole;
    }
    let specs: Vec<&str> = set.split(',').map(str::trim).filter(|spec| !spec.is_empty()).collect();
    if specs.is_empty() || specs.len() > MAX_RANGES {
        return Wanted::Whole;
    }
    let mut parts = Vec::with_capacity(specs.len());
    for spec in specs {
        match one(spec, size) {
            Ok(part) => parts.extend(part),
            Err(Malformed) => return Wanted::Whole,
        }
    }
    joined(parts)
}

struct Malformed;

/// One range; `None` when no byte of the body lies in it.
fn one(spec: &str, size: u64) -> Result<Option<Part>, Malformed> {
    let (first, last) = spec.split_once('-').ok_or(Malformed)?;
    let end = size.saturating_sub(1);
    if first.is_empty() {
        let count = number(last)?;
        return Ok((count > 0).then(|| Part { first: size.saturating_sub(count), last: end }));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return Err(Malformed);
    }
    Ok((first < size).then(|| Part { first, last: last.min(end) }))
}

/// Digits alone. What is beyond 64 bits is beyond every body.
fn number(digits: &str) -> Result<u64, Malformed> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Malformed);
    }
    Ok(digits.parse().unwrap_or(u64::MAX))
}

fn joined(mut parts: Vec<Part>) -> Wanted {
    parts.sort_unstable_by_key(|part| part.first);
    let mut parts = parts.into_iter();
    let Some(mut whole) = parts.next() else { return Wanted::Nothing };
    for part in parts {
        if part.first > whole.last.saturating_add(1) {
            return Wanted::Whole;
        }
        whole.last = whole.last.max(part.last);
    }
    Wanted::Part(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: u64, last: u64) -> Wanted {
        Wanted::Part(Part { first, last })
    }

    #[test]
    fn ranges_are_cut_to_the_body() {
        for (value, wanted) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-", part(0, 99)),
            ("bytes=5-9", part(5, 9)),
            ("Bytes = 5-9 ", part(5, 9)),
            ("bytes=90-1000", part(90, 99)),
            ("bytes=99-99", part(99, 99)),
            ("bytes=-1", part(99, 99)),
            ("bytes=-100", part(0, 99)),
            ("bytes=-1000", part(0, 99)),
            ("bytes=7-18446744073709551615", part(7, 99)),
            ("bytes=7-99999999999999999999999", part(7, 99)),
            ("bytes=-99999999999999999999999", part(0, 99)),
        ] {
            assert_eq!(resolve(value, 100), wanted, "{value}");
        }
        assert_eq!(resolve("bytes=0-0", 1), part(0, 0));
    }

    #[test]
    fn offsets_beyond_four_gigabytes_hold() {
        let size = 5 << 30;
        assert_eq!(resolve("bytes=4294967296-4294967297", size), part(1 << 32, (1 << 32) + 1));
        assert_eq!(resolve("bytes=-1", size), part(size - 1, size - 1));
        assert_eq!(resolve("bytes=0-", u64::MAX), part(0, u64::MAX - 1));
        assert_eq!(Part { first: 0, last: u64::MAX - 1 }.len(), u64::MAX);
    }

    #[test]
    fn ranges_beyond_the_body_are_refused() {
        for value in
            ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999-", "bytes=200-,-0"]
        {
            assert_eq!(resolve(value, 100), Wanted::Nothing, "{value}");
        }
    }

    #[test]
    fn what_is_no_range_is_passed_over() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=9-5",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=0x1-2",
            "items=0-1",
            "bytes=1 - 2",
            "bytes=--1",
            "bytes=,",
            "bytes=0-1;2-3",
            "bytes:0-1",
            "=0-1",
        ] {
            assert_eq!(resolve(value, 100), Wanted::Whole, "{value}");
        }
    }

    #[test]
    fn a_range_of_an_empty_body_is_passed_over() {
        assert_eq!(resolve("bytes=0-", 0), Wanted::Whole);
        assert_eq!(resolve("bytes=-5", 0), Wanted::Whole);
    }

    #[test]
    fn several_ranges_become_one_or_the_whole() {
        assert_eq!(resolve("bytes=0-9,10-19", 100), part(0, 19));
        assert_eq!(resolve("bytes=50-, 40-60,, 45-46", 100), part(40, 99));
        assert_eq!(resolve("bytes=0-9,200-300", 100), part(0, 9), "the one that exists");
        assert_eq!(resolve("bytes=0-9,20-29", 100), Wanted::Whole);
        assert_eq!(resolve("bytes=0-0,-1", 100), Wanted::Whole);
        assert_eq!(resolve("bytes=0-9,x", 100), Wanted::Whole);
        let many = format!("bytes={}", "0-1,".repeat(MAX_RANGES + 1));
        assert_eq!(resolve(&many, 100), Wanted::Whole, "a long list costs nothing");
        let most = format!("bytes={}", "0-1,".repeat(MAX_RANGES));
        assert_eq!(resolve(&most, 100), part(0, 1));
    }

    #[test]
    fn whatever_is_asked_lies_within_the_body() {
        let numbers = ["", "0", "1", "49", "50", "51", "18446744073709551615", "18446744073709551616"];
        for size in [1, 2, 50, u64::MAX] {
            for (a, b) in numbers.iter().flat_map(|a| numbers.iter().map(move |b| (a, b))) {
                if let Wanted::Part(part) = resolve(&format!("bytes={a}-{b}"), size) {
                    assert!(part.first <= part.last && part.last < size, "{a}-{b} of {size}: {part:?}");
                }
            }
        }
    }
}
