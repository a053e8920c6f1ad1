//! A reader of boxes and of fragments such as [`super::fragment`] writes.
//!
//! Invariants: total; a box that is cut short or lies about its size ends the list.

use crate::wire::read::Reader;

/// The boxes of `data`, in order: kind and body. Ends at the first that is not whole.
pub fn boxes(data: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    const HEAD: usize = 8;
    let mut r = Reader::new(data);
    std::iter::from_fn(move || {
        let size = usize::try_from(r.u32()?).ok()?;
        let kind = r.array()?;
        Some((kind, r.take(size.checked_sub(HEAD)?)?))
    })
}

/// The body of the first box found by going down these kinds, as `[b"moov", b"trak"]`.
pub fn find<'a>(data: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(data, |data, kind| boxes(data).find(|(k, _)| k == *kind).map(|(_, body)| body))
}

/// A sample that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadSample {
    /// Decoding time in milliseconds.
    pub dts: u64,
    /// Time to the next sample, in milliseconds.
    pub duration: u32,
    /// Presentation time less decoding time, in milliseconds.
    pub cts: i32,
    /// Marked as a place to start.
    pub sync: bool,
    /// The coded data.
    pub data: Vec<u8>,
}

/// A fragment that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Its number.
    pub sequence: u32,
    /// The track.
    pub track: u32,
    /// The samples.
    pub samples: Vec<ReadSample>,
}

/// Reads the one fragment that `data` is. `None`: anything else, also when bytes are missing or left over.
pub fn fragment(data: &[u8]) -> Option<Fragment> {
    const HEAD: usize = 8;
    let mut top = boxes(data);
    let (b"moof", moof) = top.next().as_ref().map(|(kind, body)| (kind, *body))? else { return None };
    let (b"mdat", media) = top.next().as_ref().map(|(kind, body)| (kind, *body))? else { return None };
    if data.len() != moof.len().checked_add(media.len())?.checked_add(2 * HEAD)? {
        return None;
    }
    let sequence = Reader::new(find(moof, &[b"mfhd"])?.get(4..)?).u32()?;
    let track = Reader::new(find(moof, &[b"traf", b"tfhd"])?.get(4..)?).u32()?;
    let time = super::fragment::time(data)?;
    let samples = run(find(moof, &[b"traf", b"trun"])?, time, data)?;
    Some(Fragment { sequence, track, samples })
}

fn run(trun: &[u8], mut dts: u64, data: &[u8]) -> Option<Vec<ReadSample>> {
    let mut r = Reader::new(trun);
    let [1, _, high, _] = r.array()? else { return None };
    let count = r.u32()?;
    let mut media = Reader::new(data.get(usize::try_from(r.u32()?).ok()?..)?);
    let mut samples = Vec::new();
    for _ in 0..count {
        let duration = r.u32()?;
        let size = usize::try_from(r.u32()?).ok()?;
        let sync = if high & 0x04 != 0 { r.u32()? & 0x0001_0000 == 0 } else { true };
        let cts = if high & 0x08 != 0 { i32::from_be_bytes(r.array()?) } else { 0 };
        samples.push(ReadSample { dts, duration, cts, sync, data: media.take(size)?.to_vec() });
        dts = dts.checked_add(u64::from(duration))?;
    }
    (r.is_empty() && media.is_empty()).then_some(samples)
}
