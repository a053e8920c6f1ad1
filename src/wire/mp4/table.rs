//! The sample tables of a track in a whole file (`stbl`), and a part of them: the tables of samples `first` to `last`.
//! Spec: ISO/IEC 14496-12, sections 8.6.1 (stts, ctts, stss), 8.7 (stsz, stz2, stsc, stco, co64).
//!
//! Invariants: runs are never expanded, so the time is bounded by the bytes of the tables, whatever counts they claim; the
//! tables written are no larger than those read, but for offsets that need 64 bits.
//! Deviations: what else a sample table may have (groups, padding, shadows, auxiliary data) is left out.

use super::read::find;
use super::{put, put_u32};
use crate::wire::read::Reader;

/// Pictures that are decoded before one that is shown earlier, at most.
const REORDERED: u32 = 32;

/// Two numbers of 32 bits.
type Pair = [u8; 8];

fn pair([a, b, c, d, e, f, g, h]: Pair) -> (u32, u32) {
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

/// The entries of a table, `N` bytes each: as many as it says, and as are there.
fn entries<const N: usize>(body: &[u8]) -> Option<&[[u8; N]]> {
    let mut r = Reader::new(body);
    let (_version, count) = (r.u32()?, r.u32()?);
    let (all, _rest) = r.rest().as_chunks::<N>();
    Some(all.get(..usize::try_from(count).unwrap_or(usize::MAX)).unwrap_or(all))
}

/// How long each sample is.
#[derive(Debug, Clone, Copy)]
enum Sizes<'a> {
    Same(u32),
    Bytes4(&'a [[u8; 4]]),
    Bytes2(&'a [[u8; 2]]),
    Bytes1(&'a [u8]),
    /// Two in a byte.
    Nibbles(&'a [u8]),
}

/// Where the chunks are.
#[derive(Debug, Clone, Copy)]
enum Places<'a> {
    Narrow(&'a [[u8; 4]]),
    Wide(&'a [[u8; 8]]),
}

/// The sample tables of one track.
#[derive(Debug, Clone)]
pub(super) struct Tables<'a> {
    description: &'a [u8],
    times: &'a [Pair],
    /// Version of the table, and its runs.
    shifts: Option<(u8, &'a [Pair])>,
    sync: Option<&'a [[u8; 4]]>,
    sizes: Sizes<'a>,
    /// Samples in the file.
    pub(super) count: u32,
    runs: &'a [[u8; 12]],
    places: Places<'a>,
}

/// What a part of the tables covers in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Covered {
    /// Offset of the first byte of any chunk.
    pub(super) from: u64,
    /// Offset behind the last byte of any chunk.
    pub(super) to: u64,
    /// Where in the output the offsets are, how many, and whether they have 64 bits.
    pub(super) offsets: (usize, usize, bool),
}

/// A walk over runs, forward only.
struct Walk<'a> {
    runs: std::slice::Iter<'a, Pair>,
    first: u32,
    count: u32,
    value: u32,
    /// Sum of the values before `first`.
    sum: u64,
}

impl<'a> Walk<'a> {
    fn new(runs: &'a [Pair]) -> Walk<'a> {
        Walk { runs: runs.iter(), first: 0, count: 0, value: 0, sum: 0 }
    }

    /// The value at `sample`, and the sum of all before; samples are asked for in order.
    fn at(&mut self, sample: u32) -> (u32, u64) {
        while sample.saturating_sub(self.first) >= self.count {
            let Some(next) = self.runs.next() else { break };
            self.sum = self.sum.saturating_add(u64::from(self.count) * u64::from(self.value));
            self.first = self.first.saturating_add(self.count);
            (self.count, self.value) = pair(*next);
        }
        let within = sample.saturating_sub(self.first).min(self.count);
        (self.value, self.sum.saturating_add(u64::from(within) * u64::from(self.value)))
    }
}

impl<'a> Tables<'a> {
    /// Reads the body of an `stbl`; `None` when a table that must be there is not.
    pub(super) fn read(stbl: &'a [u8]) -> Option<Tables<'a>> {
        let table = |kind| find(stbl, &[kind]);
        let (sizes, count) = match (table(b"stsz"), table(b"stz2")) {
            (Some(body), _) => plain_sizes(body)?,
            (None, Some(body)) => compact_sizes(body)?,
            (None, None) => return None,
        };
        let shifts = table(b"ctts").and_then(|body| Some((*body.first()?, entries(body)?)));
        let places = match (table(b"stco"), table(b"co64")) {
            (Some(body), _) => Places::Narrow(entries(body)?),
            (None, body) => Places::Wide(entries(body?)?),
        };
        Some(Tables {
            description: table(b"stsd")?,
            times: entries(table(b"stts")?)?,
            shifts,
            sync: table(b"stss").and_then(entries),
            sizes,
            count,
            runs: entries(table(b"stsc")?)?,
            places,
        })
    }

    /// The last sample that is decoded at or before `time`; behind the last one when its time is over.
    pub(super) fn sample_at(&self, time: u64) -> u32 {
        let (mut first, mut start) = (0u32, 0u64);
        for (count, delta) in self.times.iter().map(|run| pair(*run)) {
            let end = start.saturating_add(u64::from(count) * u64::from(delta));
            if time < end {
                let within = time.saturating_sub(start).checked_div(u64::from(delta)).unwrap_or(0);
                return first.saturating_add(u32::try_from(within).unwrap_or(u32::MAX)).min(self.count);
            }
            (first, start) = (first.saturating_add(count), end);
        }
        self.count
    }

    /// When a sample is decoded; for the one behind the last: when the track ends.
    pub(super) fn time_of(&self, sample: u32) -> u64 {
        Walk::new(self.times).at(sample).1
    }

    /// When the last picture is over: decoding order is not the order of showing.
    pub(super) fn over(&self) -> u64 {
        let mut dts = Walk::new(self.times);
        let mut shift = Walk::new(self.shifts.map_or(&[], |(_, runs)| runs));
        let due = |sample| {
            let (delta, time) = dts.at(sample);
            let due = time.saturating_add_signed(i64::from(shift.at(sample).0.cast_signed()));
            due.saturating_add(u64::from(delta))
        };
        (self.count.saturating_sub(REORDERED)..self.count).map(due).max().unwrap_or(0)
    }

    /// The last sample to begin at whose picture is due at or before `time`, and when it is due.
    pub(super) fn key_before(&self, time: u64) -> (u32, u64) {
        let mut dts = Walk::new(self.times);
        let mut shift = Walk::new(self.shifts.map_or(&[], |(_, runs)| runs));
        let mut due = |sample| {
            // Versions 0 and 1 differ beyond 2^31 only, where no shift is.
            let shift = i64::from(shift.at(sample).0.cast_signed());
            dts.at(sample).1.saturating_add_signed(shift)
        };
        let Some(sync) = self.sync else {
            let sample = self.sample_at(time);
            return (sample, due(sample));
        };
        let mut best = (0, due(0));
        let mut at = 0;
        for sample in sync.iter().filter_map(|number| u32::from_be_bytes(*number).checked_sub(1)) {
            if sample < at || sample >= self.count {
                continue;
            }
            at = sample;
            let due = due(sample);
            if due > time && sample > 0 {
                break;
            }
            best = (sample, due);
        }
        best
    }

    fn size_of(&self, sample: u32) -> Option<u64> {
        let at = usize::try_from(sample).ok()?;
        Some(match self.sizes {
            Sizes::Same(size) => u64::from(size),
            Sizes::Bytes4(sizes) => u64::from(u32::from_be_bytes(*sizes.get(at)?)),
            Sizes::Bytes2(sizes) => u64::from(u16::from_be_bytes(*sizes.get(at)?)),
            Sizes::Bytes1(sizes) => u64::from(*sizes.get(at)?),
            Sizes::Nibbles(sizes) => {
                let both = *sizes.get(at / 2)?;
                u64::from(if at.is_multiple_of(2) { both >> 4 } else { both & 15 })
            }
        })
    }

    /// Bytes of the samples from `first` up to `last`, which is not among them.
    fn sum(&self, first: u32, last: u32) -> Option<u64> {
        if let Sizes::Same(size) = self.sizes {
            return Some(u64::from(size).saturating_mul(u64::from(last.saturating_sub(first))));
        }
        (first..last).try_fold(0u64, |sum, sample| Some(sum.saturating_add(self.size_of(sample)?)))
    }

    /// Appends an `stbl` for the samples from `first` up to `last`, which is not among them. Offsets are as in the file.
    pub(super) fn write(&self, out: &mut Vec<u8>, first: u32, last: u32, wide: bool) -> Option<Covered> {
        let mut covered = None;
        put(out, b"stbl", |out| {
            put(out, b"stsd", |out| out.extend_from_slice(self.description));
            put_runs(out, b"stts", 0, self.times, first, last);
            if let Some((version, runs)) = self.shifts {
                put_runs(out, b"ctts", version, runs, first, last);
            }
            if let Some(sync) = self.sync {
                let numbers = sync.iter().map(|number| u32::from_be_bytes(*number));
                let kept = numbers.filter(|n| *n > first && *n <= last).map(|n| n.saturating_sub(first));
                put_list(out, b"stss", 0, kept, put_u32);
            }
            self.put_sizes(out, first, last);
            covered = self.put_chunks(out, first, last, wide);
        });
        covered
    }

    fn put_sizes(&self, out: &mut Vec<u8>, first: u32, last: u32) {
        let count = last.saturating_sub(first);
        let range = first as usize..last as usize;
        let (kind, field, bytes) = match self.sizes {
            Sizes::Same(size) => (b"stsz", size, [].as_slice()),
            Sizes::Bytes4(sizes) => (b"stsz", 0, sizes.get(range).unwrap_or_default().as_flattened()),
            Sizes::Bytes2(sizes) => (b"stz2", 16, sizes.get(range).unwrap_or_default().as_flattened()),
            Sizes::Bytes1(sizes) => (b"stz2", 8, sizes.get(range).unwrap_or_default()),
            // A part may begin in the middle of a byte.
            Sizes::Nibbles(_) => (b"stz2", 8, [].as_slice()),
        };
        put(out, kind, |out| {
            put_u32(out, 0);
            put_u32(out, field);
            put_u32(out, count);
            out.extend_from_slice(bytes);
            if let Sizes::Nibbles(_) = self.sizes {
                out.extend((first..last).map(|sample| self.size_of(sample).unwrap_or(0) as u8));
            }
        });
    }

    /// The chunks in order: offset, first sample, samples, and which description.
    fn chunks(&self) -> impl Iterator<Item = (u64, u64, u32, u32)> {
        let mut runs = self.runs.iter().map(|[a, b, c, d, e, f, g, h, description @ ..]| {
            let (chunk, count) = pair([*a, *b, *c, *d, *e, *f, *g, *h]);
            (chunk, count, u32::from_be_bytes(*description))
        });
        let (mut now, mut next) = ((0, 0, 1), runs.next());
        let total = match self.places {
            Places::Narrow(places) => places.len(),
            Places::Wide(places) => places.len(),
        };
        let mut sample = 0u64;
        (0..total).map_while(move |at| {
            while let Some(run) = next.filter(|run| run.0 as usize <= at.saturating_add(1)) {
                (now, next) = (run, runs.next());
            }
            let place = match self.places {
                Places::Narrow(places) => u64::from(u32::from_be_bytes(*places.get(at)?)),
                Places::Wide(places) => u64::from_be_bytes(*places.get(at)?),
            };
            let first = sample;
            sample = sample.saturating_add(u64::from(now.1));
            Some((place, first, now.1, now.2))
        })
    }

    /// `stsc` and the offsets; `None` when a sample lies in no chunk.
    fn put_chunks(&self, out: &mut Vec<u8>, first: u32, last: u32, wide: bool) -> Option<Covered> {
        let mut runs: Vec<[u32; 3]> = Vec::new();
        let mut places: Vec<u64> = Vec::new();
        let (mut from, mut to, mut reached) = (u64::MAX, 0u64, first);
        for (place, sample, count, description) in self.chunks() {
            let end = sample.saturating_add(u64::from(count)).min(u64::from(last));
            if end <= u64::from(first) || end <= sample {
                continue;
            }
            let begin = u32::try_from(sample.max(u64::from(first))).ok()?;
            let end = u32::try_from(end).ok()?;
            let place = place.saturating_add(self.sum(u32::try_from(sample).ok()?, begin)?);
            from = from.min(place);
            to = to.max(place.saturating_add(self.sum(begin, end)?));
            places.push(place);
            let kept = end.saturating_sub(begin);
            if runs.last().is_none_or(|run| run[1..] != [kept, description]) {
                runs.push([u32::try_from(places.len()).ok()?, kept, description]);
            }
            reached = end;
            if end >= last {
                break;
            }
        }
        if reached < last {
            return None;
        }
        put_list(out, b"stsc", 0, runs.iter(), |out, run| run.iter().for_each(|n| put_u32(out, *n)));
        let at = out.len().saturating_add(OFFSETS);
        let kind = if wide { b"co64" } else { b"stco" };
        put_list(out, kind, 0, places.iter(), |out, place| match wide {
            true => out.extend_from_slice(&place.to_be_bytes()),
            false => put_u32(out, u32::try_from(*place).unwrap_or(u32::MAX)),
        });
        Some(Covered { from, to, offsets: (at, places.len(), wide) })
    }
}

/// From a box to the first entry of its table.
const OFFSETS: usize = 16;

fn plain_sizes(body: &[u8]) -> Option<(Sizes<'_>, u32)> {
    let mut r = Reader::new(body);
    let (_version, size, count) = (r.u32()?, r.u32()?, r.u32()?);
    if size > 0 {
        return Some((Sizes::Same(size), count));
    }
    let (all, _rest) = r.rest().as_chunks::<4>();
    Some((Sizes::Bytes4(all), count.min(u32::try_from(all.len()).ok()?)))
}

fn compact_sizes(body: &[u8]) -> Option<(Sizes<'_>, u32)> {
    let mut r = Reader::new(body);
    let (_version, field, count) = (r.u32()?, r.u32()? & 0xff, r.u32()?);
    let (rest, bytes) = (r.rest(), u32::try_from(r.remaining()).ok()?);
    match field {
        4 => Some((Sizes::Nibbles(rest), count.min(bytes.saturating_mul(2)))),
        8 => Some((Sizes::Bytes1(rest), count.min(bytes))),
        16 => Some((Sizes::Bytes2(rest.as_chunks::<2>().0), count.min(bytes / 2))),
        _ => None,
    }
}

/// Appends a table with its count.
fn put_list<T>(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    items: impl Iterator<Item = T>,
    mut item: impl FnMut(&mut Vec<u8>, T),
) {
    put(out, kind, |out| {
        out.extend_from_slice(&[version, 0, 0, 0]);
        let at = out.len();
        put_u32(out, 0);
        let mut count = 0u32;
        for one in items {
            item(out, one);
            count = count.saturating_add(1);
        }
        if let Some(slot) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *slot = count.to_be_bytes();
        }
    });
}

/// The part of runs that lies between two samples.
fn put_runs(out: &mut Vec<u8>, kind: &[u8; 4], version: u8, runs: &[Pair], first: u32, last: u32) {
    let mut at = 0u32;
    let kept = runs.iter().filter_map(move |run| {
        let (count, value) = pair(*run);
        let begin = at;
        at = at.saturating_add(count);
        let kept = at.min(last).saturating_sub(begin.max(first));
        (kept > 0).then_some([kept, value])
    });
    put_list(out, kind, version, kept, |out, run| run.iter().for_each(|n| put_u32(out, *n)));
}

/// Copies a box as it is.
pub(super) fn copy(out: &mut Vec<u8>, kind: &[u8; 4], body: &[u8]) {
    put(out, kind, |out| out.extend_from_slice(body));
}
