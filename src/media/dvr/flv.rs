//! An FLV file as it grows: its heads, and the index that is put into its metadata when it is complete.
//! Spec: Adobe Flash Video File Format 10.1, annex E; `keyframes` as players know it: `filepositions` in bytes and `times`
//! in seconds, the first of which is the video header.
//!
//! ```text
//!   header │ onMetaData { what the encoder said, spacer } │ sequence headers │ tags …
//!            └ of the same length once complete: { …, duration, filesize, keyframes, spacer }
//! ```
//!
//! Room for the index is kept from the start, so that completing a file writes one place of it only. Without that, as
//! after a crash, players play the file and seek by walking through it.
//!
//! Invariants: at most [`MAX_ENTRIES`] keyframes are kept; when there are more, every other one is left out, so the index
//! covers any length. The metadata of a complete file is as long as it was at the start.

use super::{Item, Opening};
use crate::media::frame::Kind;
use crate::wire::amf0::{self, Value};
use crate::wire::flv::{self, HEADER_LEN, TAG_HEAD_LEN, TAG_TAIL_LEN};
use bytes::Bytes;

/// Keyframes in the index at most.
pub const MAX_ENTRIES: usize = 2_048;
/// Keyframes that there is room for at least.
pub const MIN_ENTRIES: usize = 32;
/// The property that keeps room.
pub(super) const SPACER: &str = "spacer";
/// Properties that are about a whole file.
const OF_FILES: [&str; 7] =
    ["duration", "filesize", "keyframes", "lasttimestamp", "lastkeyframetimestamp", "hasKeyframes", SPACER];
/// Bytes of the encoder's metadata that are kept at most.
const MAX_METADATA: usize = 64 << 10;
/// Bytes of an entry: a number in each of two arrays.
const ENTRY: usize = 18;
/// Bytes that the spacer can always fill.
const SLACK: usize = 16;
/// Where the metadata begins in a file of ours.
const METADATA_AT: u64 = (HEADER_LEN + TAG_HEAD_LEN) as u64;

/// Keyframes by their place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) entries: Vec<(u64, u64)>,
    pub(super) max: usize,
    /// One of so many keyframes is kept.
    stride: u32,
    skipped: u32,
}

impl Index {
    pub(super) fn new(max: usize) -> Index {
        Index { entries: Vec::new(), max: max.clamp(2, MAX_ENTRIES), stride: 1, skipped: 0 }
    }

    pub(super) fn note(&mut self, at: u64, ms: u64) {
        self.skipped += 1;
        if self.skipped < self.stride {
            return;
        }
        self.skipped = 0;
        self.entries.push((at, ms));
        self.thin();
    }

    /// Keeps at most `max` entries. The first one stays: it is the video header, or the first keyframe.
    fn limit(&mut self, max: usize) {
        self.max = max.clamp(2, MAX_ENTRIES);
        self.thin();
    }

    fn thin(&mut self) {
        while self.entries.len() > self.max {
            let mut n = 0;
            self.entries.retain(|_| {
                n += 1;
                n % 2 == 1
            });
            self.stride = self.stride.saturating_mul(2);
        }
    }
}

/// The file.
#[derive(Debug)]
pub struct FlvFile {
    len: u64,
    first_ms: Option<u64>,
    last_ms: u64,
    /// Added to the times of what is written: the file had something in it before.
    base_ms: u64,
    index: Index,
    properties: Vec<(String, Value)>,
    /// Bytes of the metadata; `None` in a file that has no room for an index.
    room: Option<usize>,
    flags: (bool, bool),
}

/// What to return to when bytes could not be written.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    len: u64,
    first_ms: Option<u64>,
    last_ms: u64,
}

/// What was found in a file that is there already.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) len: u64,
    pub(super) first_ms: Option<u64>,
    pub(super) last_ms: u64,
    pub(super) index: Index,
    pub(super) metadata: Option<Bytes>,
    pub(super) flags: (bool, bool),
}

impl FlvFile {
    /// A file that begins so, and its first bytes. There is room for `entries` keyframes.
    pub fn begin(opening: &Opening, entries: usize) -> (FlvFile, Vec<Bytes>) {
        let entries = entries.clamp(MIN_ENTRIES, MAX_ENTRIES);
        let properties = opening.metadata.as_ref().map(properties).unwrap_or_default();
        let mut file = FlvFile {
            len: 0,
            first_ms: None,
            last_ms: 0,
            base_ms: 0,
            index: Index::new(entries),
            properties,
            room: None,
            flags: (opening.audio, opening.video),
        };
        let room = file.complete(&vec![(0, 0); entries]).len() + SLACK;
        file.room = Some(room);
        let payload = Bytes::from(file.fitted(file.properties.clone(), room).unwrap_or_default());
        let head = Bytes::copy_from_slice(&flv::header(opening.audio, opening.video));
        file.len = head.len() as u64;
        let metadata = Item { kind: Kind::Script, key: false, header: true, ms: 0, until_ms: 0, payload };
        let mut chunks = vec![head];
        chunks.extend(file.write(std::slice::from_ref(&metadata)));
        chunks.extend(file.write(&opening.headers));
        (file, chunks)
    }

    /// A file that is there already, to go on in or to complete.
    pub(super) fn resume(found: Found) -> FlvFile {
        let properties = found.metadata.as_ref().map(properties).unwrap_or_default();
        let ours = |payload: &Bytes| decode(payload).iter().any(|(key, _)| key == SPACER);
        let room = found.metadata.filter(ours).map(|payload| payload.len());
        let mut file = FlvFile {
            len: found.len,
            first_ms: found.first_ms,
            last_ms: found.last_ms,
            base_ms: 0,
            index: found.index,
            properties,
            room,
            flags: found.flags,
        };
        let bare = file.complete(&[]).len() + SLACK;
        file.index.limit(room.map_or(2, |room| room.saturating_sub(bare) / ENTRY));
        file
    }

    /// What is written from now on comes `gap_ms` after what is there.
    pub fn go_on(&mut self, gap_ms: u64) {
        self.base_ms = if self.first_ms.is_some() { self.last_ms.saturating_add(gap_ms) } else { 0 };
    }

    /// The bytes of more messages. Their payloads are shared.
    pub fn write(&mut self, items: &[Item]) -> Vec<Bytes> {
        const BOTH: usize = TAG_HEAD_LEN + TAG_TAIL_LEN;
        let mut heads = Vec::with_capacity(items.len() * BOTH);
        let fits = |item: &&Item| u32::try_from(item.payload.len()).is_ok_and(|len| len <= flv::MAX_PAYLOAD);
        let items: Vec<&Item> = items.iter().filter(fits).collect();
        for item in &items {
            let len = u32::try_from(item.payload.len()).unwrap_or(0);
            let ms = item.ms.saturating_add(self.base_ms);
            self.note(item, ms);
            // Times of FLV have 32 bits.
            heads.extend(flv::tag_head(item.kind, len, (ms & 0xffff_ffff) as u32));
            heads.extend(flv::tag_tail(len));
            self.len = self.len.saturating_add(u64::from(len)).saturating_add(BOTH as u64);
        }
        // One piece of memory for all heads: that of a message, its payload, then its tail with the next one's head.
        let heads = Bytes::from(heads);
        let mut chunks = Vec::with_capacity(items.len() * 2 + 1);
        let mut at = 0;
        for (n, item) in items.iter().enumerate() {
            let end = n * BOTH + TAG_HEAD_LEN;
            chunks.push(heads.slice(at..end));
            chunks.push(item.payload.clone());
            at = end;
        }
        chunks.push(heads.slice(at..));
        chunks
    }

    fn note(&mut self, item: &Item, ms: u64) {
        match item.kind {
            Kind::Audio => self.flags.0 = true,
            Kind::Video => self.flags.1 = true,
            Kind::Script => {}
        }
        let video = item.kind == Kind::Video;
        if video && (item.key || item.header && self.index.entries.is_empty()) {
            self.index.note(self.len, ms);
        }
        if !item.header {
            self.first_ms.get_or_insert(ms);
            self.last_ms = self.last_ms.max(ms);
        }
    }

    /// Bytes in the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no media in the file.
    pub fn is_empty(&self) -> bool {
        self.first_ms.is_none()
    }

    /// From its first message to its last, in milliseconds.
    pub fn duration_ms(&self) -> u64 {
        self.last_ms.saturating_sub(self.first_ms.unwrap_or(self.last_ms))
    }

    /// What is there now, to return to.
    pub fn mark(&self) -> Mark {
        Mark { len: self.len, first_ms: self.first_ms, last_ms: self.last_ms }
    }

    /// What was written since is not in the file.
    pub fn back_to(&mut self, mark: Mark) {
        (self.len, self.first_ms, self.last_ms) = (mark.len, mark.first_ms, mark.last_ms);
        self.index.entries.retain(|(at, _)| *at < mark.len);
    }

    /// What completes the file: bytes and where they belong.
    pub fn patches(&self) -> Vec<(u64, Bytes)> {
        let Some(room) = self.room else { return Vec::new() };
        let header = flv::header(self.flags.0, self.flags.1);
        let mut list = self.properties.clone();
        list.extend(self.of_file(&self.index.entries));
        let metadata = self.fitted(list, room).map(|payload| (METADATA_AT, Bytes::from(payload)));
        std::iter::once((0, Bytes::copy_from_slice(&header))).chain(metadata).collect()
    }

    /// The properties that are known at the end.
    fn of_file(&self, entries: &[(u64, u64)]) -> [(String, Value); 3] {
        // Exact up to 2^53.
        let number = |n: u64| Value::Number(n as f64);
        let seconds = |ms: u64| Value::Number(ms as f64 / 1000.0);
        let places = entries.iter().map(|(at, _)| number(*at)).collect();
        let times = entries.iter().map(|(_, ms)| seconds(*ms)).collect();
        let keyframes = [("filepositions", Value::StrictArray(places)), ("times", Value::StrictArray(times))];
        [
            ("duration".into(), seconds(self.duration_ms())),
            ("filesize".into(), number(self.len)),
            ("keyframes".into(), Value::object(keyframes)),
        ]
    }

    fn complete(&self, entries: &[(u64, u64)]) -> Vec<u8> {
        let mut list = self.properties.clone();
        list.extend(self.of_file(entries));
        encode(list, 0)
    }

    /// `onMetaData` with these properties, `room` bytes long.
    fn fitted(&self, list: Vec<(String, Value)>, room: usize) -> Option<Vec<u8>> {
        let bare = encode(list.clone(), 0).len();
        let payload = encode(list, room.checked_sub(bare)?);
        (payload.len() == room).then_some(payload)
    }
}

/// How many keyframes a file of this length should have room for.
pub fn entries_for(segment_ms: Option<u64>) -> usize {
    let entries = segment_ms.map_or(u64::MAX, |ms| (ms / 1000).saturating_mul(2).saturating_add(2));
    usize::try_from(entries).unwrap_or(MAX_ENTRIES).clamp(MIN_ENTRIES, MAX_ENTRIES)
}

/// `onMetaData` with these properties and a spacer of `spare` bytes beyond its least.
fn encode(mut list: Vec<(String, Value)>, spare: usize) -> Vec<u8> {
    list.push((SPACER.into(), Value::StrictArray(filler(spare))));
    let mut out = Vec::new();
    amf0::encode(&Value::string("onMetaData"), &mut out);
    amf0::encode(&Value::EcmaArray(list), &mut out);
    out
}

/// Values of `bytes` bytes together, of types that every player's parser knows; a single byte cannot be had.
fn filler(bytes: usize) -> Vec<Value> {
    const NUMBER: usize = 9;
    let (mut numbers, mut rest) = (bytes / NUMBER, bytes % NUMBER);
    if rest == 1 && numbers > 0 {
        (numbers, rest) = (numbers - 1, rest + NUMBER);
    }
    let mut list = vec![Value::Number(0.0); numbers];
    if rest % 2 == 1 && rest >= 3 {
        list.push(Value::string(""));
        rest -= 3;
    }
    list.resize(list.len() + rest / 2, Value::Boolean(false));
    list
}

fn decode(payload: &Bytes) -> Vec<(String, Value)> {
    let values = amf0::decode_all(payload).unwrap_or_default();
    let list = values.into_iter().skip(1).find_map(|value| match value {
        Value::Object(list) | Value::EcmaArray(list) => Some(list),
        _ => None,
    });
    list.unwrap_or_default()
}

/// What an encoder said of the stream, without what it said of a file.
fn properties(payload: &Bytes) -> Vec<(String, Value)> {
    if payload.len() > MAX_METADATA + MAX_ENTRIES * ENTRY {
        return Vec::new();
    }
    let mut list = decode(payload);
    list.retain(|(key, _)| !OF_FILES.contains(&key.as_str()));
    list
}

/// The keyframes that the metadata of a file of this length tells of; `None` if it tells of another.
pub(super) fn index_of(payload: &Bytes, len: u64) -> Option<Vec<(u64, u64)>> {
    let list = decode(payload);
    let get = |name: &str| list.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    // Places beyond 2^53 are in no file.
    let whole = |value: &Value| value.as_f64().filter(|n| (0.0..9e15).contains(n)).map(|n| n as u64);
    let ms = |value: &Value| {
        value.as_f64().filter(|s| (0.0..9e12).contains(s)).map(|s| (s * 1000.0).round() as u64)
    };
    if get(SPACER).is_none() || get("filesize").and_then(whole) != Some(len) {
        return None;
    }
    let array = |name: &str| match get("keyframes")?.get(name)? {
        Value::StrictArray(list) => Some(list),
        _ => None,
    };
    let pairs = array("filepositions")?.iter().zip(array("times")?);
    let entries: Vec<(u64, u64)> =
        pairs.map(|(at, time)| Some((whole(at)?, ms(time)?))).collect::<Option<_>>()?;
    let sorted = entries.is_sorted_by(|a, b| a.0 < b.0) && entries.last().is_none_or(|(at, _)| *at < len);
    (sorted && entries.len() <= MAX_ENTRIES).then_some(entries)
}
