//! A walk through an FLV file that is there already: to go on in it, or to complete one that was cut short.
//!
//! ```text
//!   while let Some((at, len)) = walk.wants() { walk.look(bytes of the file from at on, len of them or up to its end) }
//!   walk.done()
//! ```
//!
//! A file of ours that was completed has an index: the walk goes on at its last keyframe. Any other is walked from tag to
//! tag; payloads are stepped over. What is not a whole tag ends the walk, and the file ends there.

use super::flv::{self, FlvFile, Found, Index, MAX_ENTRIES};
use crate::wire::avtag::{self, Part};
use crate::wire::flv::{HEADER_LEN, TAG_HEAD_LEN, TAG_TAIL_LEN, TagType};
use crate::wire::read::Reader;
use bytes::Bytes;

/// Bytes wanted of a tag: its head and that of its payload.
const PEEK: usize = 96;
/// Bytes of metadata or a sequence header that are read at most.
const MAX_WHOLE: usize = 256 << 10;

/// The walk.
#[derive(Debug)]
pub struct Walk {
    size: u64,
    at: u64,
    want: usize,
    over: bool,
    is_flv: bool,
    headers: Vec<Bytes>,
    metadata: Option<Bytes>,
    index: Index,
    /// What the index of a complete file says; taken when the walk leaps.
    leap: Option<Vec<(u64, u64)>>,
    /// Where it leapt to.
    landed: Option<u64>,
    first_ms: Option<u64>,
    last_ms: u64,
    flags: (bool, bool),
}

impl Walk {
    /// A walk through a file of so many bytes.
    pub fn new(size: u64) -> Walk {
        Walk {
            size,
            at: 0,
            want: HEADER_LEN,
            over: false,
            is_flv: false,
            headers: Vec::new(),
            metadata: None,
            index: Index::new(MAX_ENTRIES),
            leap: None,
            landed: None,
            first_ms: None,
            last_ms: 0,
            flags: (false, false),
        }
    }

    /// The bytes wanted next: where, and how many. `None`: the walk is over.
    pub fn wants(&self) -> Option<(u64, usize)> {
        (!self.over).then_some((self.at, self.want))
    }

    /// Whether media was found: the headers before it are all there is to compare.
    pub fn in_media(&self) -> bool {
        self.first_ms.is_some()
    }

    /// The sequence headers so far, in order.
    pub fn headers(&self) -> &[Bytes] {
        &self.headers
    }

    /// Takes the bytes wanted; fewer only where the file ends.
    pub fn look(&mut self, bytes: &[u8]) {
        if self.step(bytes).is_none() {
            // An index that lies is not believed again.
            let misled = self.at > 0 && self.landed == Some(self.at);
            if misled {
                *self = Walk { landed: Some(0), ..Walk::new(self.size) };
            } else {
                self.over = true;
            }
        }
    }

    /// The file as it was found; `None` if it is no FLV.
    pub fn done(self) -> Option<FlvFile> {
        self.is_flv.then(|| {
            FlvFile::resume(Found {
                len: self.at,
                first_ms: self.first_ms,
                last_ms: self.last_ms,
                index: self.index,
                metadata: self.metadata,
                flags: self.flags,
            })
        })
    }

    fn step(&mut self, bytes: &[u8]) -> Option<()> {
        if !self.is_flv {
            let mut r = Reader::new(bytes);
            let (name, _version, flags, len) = (r.take(3)?, r.u8()?, r.u8()?, r.u32()?);
            if name != b"FLV" || len != 9 || bytes.len() < HEADER_LEN {
                return None;
            }
            self.flags = (flags & 4 != 0, flags & 1 != 0);
            (self.is_flv, self.at, self.want) = (true, HEADER_LEN as u64, PEEK);
            return Some(());
        }
        let mut r = Reader::new(bytes);
        let (kind, size, [t2, t1, t0, t3]) = (r.u8()?, r.u24()?, r.array::<4>()?);
        r.take(3)?;
        let kind = TagType::from_u8(kind)?;
        let end = self.at.checked_add(u64::from(size))?.checked_add((TAG_HEAD_LEN + TAG_TAIL_LEN) as u64)?;
        if end > self.size {
            return None;
        }
        let payload = r.rest().get(..size as usize).unwrap_or(r.rest());
        let part = match kind {
            TagType::Video => avtag::video(payload).part,
            TagType::Audio => avtag::audio(payload).part,
            TagType::Script => Part::Metadata,
        };
        let first = kind == TagType::Script && self.at == HEADER_LEN as u64;
        let whole = first || part == Part::SequenceHeader && kind != TagType::Script;
        if whole && payload.len() < size as usize && size as usize <= MAX_WHOLE {
            let want = TAG_HEAD_LEN.saturating_add(size as usize);
            // The file has become shorter than it was.
            let stuck = std::mem::replace(&mut self.want, want) == want;
            return (!stuck).then_some(());
        }
        self.want = PEEK;
        let ms = u64::from(u32::from_be_bytes([t3, t2, t1, t0]));
        self.note(kind, part, payload, ms, first);
        self.at = end;
        self.leap();
        Some(())
    }

    fn note(&mut self, kind: TagType, part: Part, payload: &[u8], ms: u64, first: bool) {
        if first {
            let metadata = Bytes::copy_from_slice(payload);
            self.leap = flv::index_of(&metadata, self.size).filter(|_| self.landed.is_none());
            self.metadata = Some(metadata);
        }
        match kind {
            TagType::Audio => self.flags.0 = true,
            TagType::Video => self.flags.1 = true,
            TagType::Script => return,
        }
        let header = part == Part::SequenceHeader;
        let video = kind == TagType::Video;
        if video && (header && self.index.entries.is_empty() || avtag::video(payload).key) {
            self.index.note(self.at, ms);
        }
        if header {
            if self.first_ms.is_none() {
                self.headers.push(Bytes::copy_from_slice(payload));
            }
        } else {
            self.first_ms.get_or_insert(ms);
            self.last_ms = self.last_ms.max(ms);
        }
    }

    /// After the first message of media: to the last keyframe that the index knows.
    fn leap(&mut self) {
        if self.first_ms.is_none() {
            return;
        }
        let Some(mut entries) = self.leap.take() else { return };
        let Some((at, ms)) = entries.pop().filter(|(at, _)| *at > self.at) else { return };
        self.index.entries = entries;
        self.last_ms = self.last_ms.max(ms);
        (self.at, self.landed) = (at, Some(at));
    }
}
