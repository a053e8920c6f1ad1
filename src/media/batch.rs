//! Batches: a run of messages framed once for all viewers who stand at the same place.
//!
//! Viewers of one phase are due the same frames in the same format; only their time lines differ, since each starts at
//! zero. So the run is laid out once in one buffer, with the place of every timestamp noted, and for the next viewer
//! only those few bytes are set anew: one plain `write` a viewer, no list of slices, no head made twice.
//!
//! Invariants: a batch holds the very bytes that [`super::mux::Gather`] would give (a test compares them); there are at
//! most [`SLOTS`] batches of [`MAX_BYTES`] each, whatever the number of streams and viewers.

use super::derived::Kindred;
use super::feed::Feed;
use super::frame::Frame;
use super::mux::{Format, Gather, SCRATCH, Unit};

/// Batches kept at one time, for all streams,
pub const SLOTS: usize = 4;
/// and for one feed in one format: the viewers of a phase, and joiners among them.
const ALIKE: usize = 2;
/// Bytes in a batch. Longer runs (a joiner's GOP) are written from the frames themselves.
pub const MAX_BYTES: usize = 128 << 10;

/// Names a feed: a number of the stream, and what is derived from it if it is not the stream's own.
pub type FeedId = (usize, Option<Kindred>);

/// What a batch is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    feed: FeedId,
    format: Format,
    /// First frame, and the one after the last.
    run: (u64, u64),
    /// Whether the timestamps need RTMP's extension: then heads are longer.
    extended: bool,
}

/// A run of messages as they go over the wire.
#[derive(Debug)]
pub struct Batch {
    key: Key,
    bytes: Vec<u8>,
    /// Where each message ends.
    ends: Vec<u32>,
    /// Where each timestamp stands, and its frame's time.
    stamps: Vec<(u32, u64)>,
    /// Times of the earliest and the latest frame.
    span: (u64, u64),
    /// The time base that the timestamps are made for.
    base: u64,
    used: u64,
}

impl Batch {
    /// The bytes for a viewer whose time starts at `base`.
    pub fn bytes(&mut self, base: u64) -> &[u8] {
        if self.base != base {
            self.base = base;
            for (at, dts) in &self.stamps {
                self.key.format.set_time(
                    &mut self.bytes,
                    *at as usize,
                    dts.saturating_sub(base),
                    self.key.extended,
                );
            }
        }
        &self.bytes
    }

    /// Whether a viewer with this base has heads of the same length as this batch.
    fn fits(&self, base: u64) -> bool {
        let extended = |dts: u64| self.key.format.is_extended(dts.saturating_sub(base));
        let (earliest, latest) = self.span;
        extended(earliest) == self.key.extended && extended(latest) == self.key.extended
    }

    /// Where the byte `offset` of the batch lies: frame number, and offset in its message.
    pub fn place(&self, offset: usize) -> (u64, usize) {
        let whole = self.ends.partition_point(|end| *end as usize <= offset);
        let start = whole.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| *end as usize);
        (self.key.run.0.saturating_add(whole as u64), offset.saturating_sub(start))
    }

    fn build(&mut self, feed: &Feed, base: u64) -> Option<()> {
        self.bytes.clear();
        self.ends.clear();
        self.stamps.clear();
        self.base = base;
        self.span = (u64::MAX, 0);
        let (format, (from, to)) = (self.key.format, self.key.run);
        let frames = || feed.from(from).take(usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX));
        let time = |frame: &Frame| frame.dts.saturating_sub(base);
        let size: usize = frames().map(|frame| format.wire_len(&Unit::of(frame, time(frame)))).sum();
        if size > MAX_BYTES {
            return None;
        }
        if self.bytes.capacity() > size.saturating_mul(2) {
            // A run of a joiner or a keyframe was here; runs between keyframes are much shorter.
            self.bytes = Vec::new();
        }
        self.bytes.reserve_exact(size);
        for frame in frames() {
            let unit = Unit::of(frame, time(frame));
            let start = self.bytes.len() as u32;
            append(&mut self.bytes, format, &unit);
            self.stamps.extend(format.time_places(&unit).map(|at| (start + at as u32, frame.dts)));
            self.ends.push(self.bytes.len() as u32);
            self.span = (self.span.0.min(frame.dts), self.span.1.max(frame.dts));
        }
        self.fits(base).then_some(())
    }
}

fn append(bytes: &mut Vec<u8>, format: Format, unit: &Unit) {
    let mut done = 0;
    while done < format.wire_len(unit) {
        let mut scratch = [0; SCRATCH];
        let mut gather = Gather::new(&mut scratch, usize::MAX);
        gather.add(format, unit, done);
        let (slices, total) = gather.finish();
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        if total == 0 {
            return;
        }
        done += total;
    }
}

/// The batches in use.
#[derive(Debug, Default)]
pub struct Batches {
    slots: Vec<Batch>,
    clock: u64,
    /// The clock when [`Batches::drop_idle`] was called.
    looked: u64,
}

impl Batches {
    /// The batch of the frames `run` (first, and one after the last) for a viewer whose time starts at `base`; made if
    /// it is not there. `None` when the run is too long, or its timestamps begin to need RTMP's extension within it.
    pub fn get(
        &mut self,
        id: FeedId,
        format: Format,
        feed: &Feed,
        run: (u64, u64),
        base: u64,
    ) -> Option<&mut Batch> {
        let extended = format.is_extended(feed.get(run.0)?.dts.saturating_sub(base));
        let key = Key { feed: id, format, run, extended };
        self.clock += 1;
        let at = match self.slots.iter().position(|batch| batch.key == key) {
            Some(at) => at,
            None => self.make(key, feed, base)?,
        };
        let batch = self.slots.get_mut(at)?;
        batch.used = self.clock;
        batch.fits(base).then_some(batch)
    }

    /// Builds in the slot that was not used for the longest time, of the same feed and format if those have their share.
    fn make(&mut self, key: Key, feed: &Feed, base: u64) -> Option<usize> {
        let alike = |batch: &Batch| (batch.key.feed, batch.key.format) == (key.feed, key.format);
        let full = self.slots.iter().filter(|batch| alike(batch)).count() >= ALIKE;
        if self.slots.len() < SLOTS && !full {
            let (bytes, ends, stamps) = (Vec::new(), Vec::new(), Vec::new());
            self.slots.push(Batch { key, bytes, ends, stamps, span: (0, 0), base, used: 0 });
        }
        let slots = self.slots.iter().enumerate().filter(|(_, batch)| !full || alike(batch));
        let at = slots.min_by_key(|(_, batch)| batch.used)?.0;
        let batch = self.slots.get_mut(at)?;
        batch.key = key;
        if batch.build(feed, base).is_some() {
            return Some(at);
        }
        self.slots.swap_remove(at);
        None
    }

    /// Memory taken, in bytes.
    pub fn heap(&self) -> usize {
        let one = |batch: &Batch| {
            let places =
                batch.ends.capacity() * size_of::<u32>() + batch.stamps.capacity() * size_of::<(u32, u64)>();
            batch.bytes.capacity() + places
        };
        self.slots.iter().map(one).sum()
    }

    /// Drops the batches that nobody has used since the last call.
    pub fn drop_idle(&mut self) {
        let since = std::mem::replace(&mut self.looked, self.clock);
        self.slots.retain(|batch| batch.used > since);
    }

    /// Drops the batches of a feed that is gone: another one may take its name and count its frames anew.
    pub fn forget(&mut self, id: FeedId) {
        self.slots.retain(|batch| batch.key.feed != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::{CodecSet, Kind, Role};
    use crate::media::mux::{Body, Wrap};
    use bytes::Bytes;
    use std::rc::Rc;

    const FLV: Format = Format::Http(Body::Flv, Wrap::Plain);
    const FLV_CHUNKED: Format = Format::Http(Body::Flv, Wrap::Chunk);

    const HOUR: u64 = 3_600_000;

    fn feed() -> Feed {
        let mut feed = Feed::new(Default::default());
        let codec = Rc::new(CodecSet::default());
        for n in 0..40u64 {
            let (kind, len) = if n % 3 == 0 { (Kind::Video, 3000 + n) } else { (Kind::Audio, 30 + n) };
            let payload = Bytes::from(vec![n as u8; len as usize]);
            // Tracks are not ordered against each other.
            let dts = 9 * HOUR + n * 13 - (n % 3) * 20;
            feed.push(Frame { kind, role: Role::Delta, dts, payload, codec: codec.clone() });
        }
        feed
    }

    fn by_gather(feed: &Feed, format: Format, (from, to): (u64, u64), base: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in feed.from(from).take((to - from) as usize) {
            append(&mut bytes, format, &Unit::of(frame, frame.dts.saturating_sub(base)));
        }
        bytes
    }

    const FORMATS: [Format; 6] = [
        FLV,
        FLV_CHUNKED,
        Format::Rtmp { chunk_size: 60_000, msid: 1, publish: false },
        Format::Rtmp { chunk_size: 128, msid: 2, publish: false },
        Format::Http(Body::Fragments, Wrap::Chunk),
        Format::Http(Body::Raw, Wrap::WebSocket),
    ];

    #[test]
    fn a_batch_is_byte_for_byte_what_each_viewer_would_get_alone() {
        let feed = feed();
        for format in FORMATS {
            let mut batches = Batches::default();
            for base in [9 * HOUR, 9 * HOUR - 5, 9 * HOUR + 200, 8 * HOUR, 0, 4 * HOUR, 9 * HOUR, 1] {
                let batch = batches.get((1, None), format, &feed, (5, 31), base).unwrap();
                assert_eq!(batch.bytes(base), by_gather(&feed, format, (5, 31), base), "{format:?} {base}");
            }
        }
    }

    #[test]
    fn times_that_begin_to_need_the_extension_inside_a_run_are_not_batched() {
        let feed = feed();
        let edge = 9 * HOUR + 20 * 13 - 0xff_ffff;
        let mut batches = Batches::default();
        assert!(batches.get((1, None), FORMATS[2], &feed, (0, 40), edge).is_none());
        assert!(batches.get((1, None), FORMATS[1], &feed, (0, 40), edge).is_some(), "FLV has room for them");
        for base in [edge + 2000, edge - 2000] {
            let batch = batches.get((1, None), FORMATS[2], &feed, (0, 40), base).unwrap();
            assert_eq!(batch.bytes(base), by_gather(&feed, FORMATS[2], (0, 40), base));
        }
        let near = batches.get((1, None), FORMATS[2], &feed, (0, 40), edge + 2000).map(|_| ());
        assert!(near.is_some() && batches.get((1, None), FORMATS[2], &feed, (0, 40), edge).is_none());
    }

    #[test]
    fn every_byte_lies_in_its_message() {
        let feed = feed();
        let mut batches = Batches::default();
        let batch = batches.get((1, None), FORMATS[3], &feed, (5, 9), 9 * HOUR).unwrap();
        let lens: Vec<usize> = feed
            .from(5)
            .take(4)
            .map(|frame| FORMATS[3].wire_len(&Unit::of(frame, frame.dts.saturating_sub(9 * HOUR))))
            .collect();
        let mut offset = 0;
        for (n, len) in lens.iter().enumerate() {
            assert_eq!(batch.place(offset), (5 + n as u64, 0));
            assert_eq!(batch.place(offset + len - 1), (5 + n as u64, len - 1));
            offset += len;
        }
        assert_eq!(batch.place(offset), (9, 0));
    }

    #[test]
    fn a_feed_that_takes_the_name_of_another_has_batches_of_its_own() {
        let (old, mut batches) = (feed(), Batches::default());
        let before = batches.get((1, None), FLV, &old, (0, 4), 0).unwrap().bytes(0).to_vec();
        batches.forget((1, None));
        let mut new = Feed::new(Default::default());
        for frame in old.from(0) {
            new.push(Frame { payload: Bytes::from_static(b"other"), ..Frame::clone(frame) });
        }
        assert_ne!(batches.get((1, None), FLV, &new, (0, 4), 0).unwrap().bytes(0), before);
    }

    #[test]
    fn memory_is_bounded() {
        let mut feed = feed();
        let mut batches = Batches::default();
        for stream in 0..100 {
            assert!(batches.get((stream, None), FLV, &feed, (0, 40), 0).is_some());
        }
        assert_eq!(batches.slots.len(), SLOTS);
        let payload = Bytes::from(vec![0; MAX_BYTES]);
        let codec = Rc::new(CodecSet::default());
        feed.push(Frame { kind: Kind::Video, role: Role::Key, dts: 10 * HOUR, payload, codec });
        assert!(batches.get((0, None), FLV, &feed, (0, 41), 0).is_none());
        assert!(batches.slots.iter().all(|batch| batch.bytes.capacity() <= 2 * MAX_BYTES));
    }

    #[test]
    fn batches_that_nobody_uses_are_dropped() {
        let (feed, mut batches) = (feed(), Batches::default());
        for stream in 0..3 {
            assert!(batches.get((stream, None), FLV, &feed, (0, 4), 0).is_some());
        }
        assert!(batches.heap() > 3 * 3_000);
        batches.drop_idle();
        assert_eq!(batches.slots.len(), 3, "all were used since the start");
        assert!(batches.get((2, None), FLV, &feed, (0, 4), 0).is_some());
        batches.drop_idle();
        assert_eq!(batches.slots.len(), 1);
        batches.drop_idle();
        assert_eq!(batches.heap(), 0);
    }
}
