//! A whole MP4 file from a keyframe on: where its index (`moov`) is, and that index for a part of the file, so that a player
//! which asks for `?start=SECONDS` gets a file that begins there.
//! Spec: ISO/IEC 14496-12, sections 4.2, 6.2, 8.2 (moov, mvhd), 8.3 (trak, tkhd), 8.4 (mdia, mdhd, hdlr), 8.6.6 (edit lists);
//! the query is that of nginx's mp4 module.
//!
//! ```text
//!   ftyp ── moov ── free ── mdat ▒▒▒▒█████████████          loop { walk.look(PEEK bytes at walk.at()) }   finds moov
//!                                    │   the part │          cut(ftyp, moov, ..)                           makes head
//!           ftyp ── moov' ── mdat' ──┴────────────┘          head, then the file's bytes `from`..`to`
//! ```
//!
//! The first picture track says where the part begins: at its last keyframe due at or before the start. All tracks get an
//! edit list that puts that moment at zero, to the tick, so sound and picture stay together though samples of sound begin
//! elsewhere.
//!
//! Invariants: total, whatever the file says; the time is bounded by the size of the index, which is at most [`MAX_INDEX`];
//! `from` and `to` lie within the file.
//! Deviations: files in fragments, with a packed index, or with several edits on a track are refused; what lies between
//! chunks is sent too.

use super::read::{boxes, find};
use super::table::{Covered, Tables, copy};
use super::{put, put_full, put_u32};
use crate::wire::read::Reader;
use std::fmt;

/// Bytes that a look wants: the largest head of a box.
pub const PEEK: usize = 16;
/// Bytes of an index at most: hours of video.
pub const MAX_INDEX: u32 = 10 << 20;
/// Boxes of a file that are looked at before its index.
const MAX_BOXES: u32 = 4096;
/// Bytes of an `ftyp` at most.
const MAX_TYPE: u32 = 4096;
/// Tracks of a file at most.
const MAX_TRACKS: usize = 32;
/// Heads and edit lists that a new index has in addition; an allowance for where 32-bit offsets end.
const ALLOWANCE: u64 = 1 << 20;
/// How long a box's head is.
const HEAD: usize = 8;
/// A rate of 1 in an edit list.
const NORMAL_RATE: u32 = 0x0001_0000;

/// Why a file cannot begin elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexError {
    /// No MP4.
    NotMp4,
    /// In fragments.
    Fragmented,
    /// The index is larger than [`MAX_INDEX`].
    TooLarge,
    /// Edit lists of several parts.
    Edited,
    /// What the index says cannot be.
    Broken,
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IndexError::NotMp4 => "`start` needs an MP4 file, and this is none",
            IndexError::Fragmented => "`start` needs an MP4 with one index, and this one is in fragments",
            IndexError::TooLarge => "the index of this MP4 is too large for `start` (10 MiB at most)",
            IndexError::Edited => {
                "`start` is not possible in an MP4 whose tracks are put together from parts"
            }
            IndexError::Broken => "the index of this MP4 is broken",
        })
    }
}

/// A box in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Offset of its head.
    pub at: u64,
    /// Bytes with its head.
    pub len: u32,
}

/// Where the boxes are that a part of the file needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// The file type.
    pub file_type: Option<Place>,
    /// The index.
    pub moov: Place,
}

/// A walk over the boxes of a file.
#[derive(Debug)]
pub struct Walk {
    size: u64,
    at: u64,
    boxes: u32,
    file_type: Option<Place>,
}

impl Walk {
    /// Begins a walk over a file of `size` bytes.
    pub fn new(size: u64) -> Walk {
        Walk { size, at: 0, boxes: 0, file_type: None }
    }

    /// The offset whose [`PEEK`] bytes [`Walk::look`] wants.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Takes the bytes at [`Walk::at`]: [`PEEK`] of them, fewer only where the file ends. `None`: look again.
    ///
    /// # Errors
    /// When the file has no index that can be cut.
    pub fn look(&mut self, bytes: &[u8]) -> Result<Option<Index>, IndexError> {
        let mut r = Reader::new(bytes);
        let (Some(size), Some(kind)) = (r.u32(), r.array::<4>()) else { return Err(IndexError::NotMp4) };
        let left = self.size.saturating_sub(self.at);
        let len = match size {
            0 => left,
            1 => u64::from_be_bytes(r.array().ok_or(IndexError::NotMp4)?),
            size => u64::from(size),
        };
        let least = r.position() as u64;
        self.boxes = self.boxes.saturating_add(1);
        if len < least || len > left || self.boxes > MAX_BOXES {
            // The data may be cut short: players play what is there. The index may not.
            return Err(if &kind == b"moov" { IndexError::Broken } else { IndexError::NotMp4 });
        }
        let place = |most: u32| u32::try_from(len).ok().filter(|len| *len <= most);
        match &kind {
            b"moof" => return Err(IndexError::Fragmented),
            b"ftyp" => self.file_type = place(MAX_TYPE).map(|len| Place { at: self.at, len }),
            b"moov" => {
                let len = place(MAX_INDEX).ok_or(IndexError::TooLarge)?;
                let moov = Place { at: self.at, len };
                return Ok(Some(Index { file_type: self.file_type, moov }));
            }
            _ => {}
        }
        self.at = self.at.saturating_add(len);
        Ok(None)
    }
}

/// Which part is wanted, in milliseconds of the presentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// It begins with the last keyframe due at or before this.
    pub start_ms: u64,
    /// Nothing is shown from this on.
    pub end_ms: Option<u64>,
}

/// A part of a file that is a file: `head`, then the bytes of the file from `from` up to `to`, which is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// File type, index, and the head of the data.
    pub head: Vec<u8>,
    /// Where in the file the data begin.
    pub from: u64,
    /// And end.
    pub to: u64,
}

/// Makes the part `span` of a file of `size` bytes with these boxes, heads included; `file_type` may be empty.
///
/// # Errors
/// When the file has no index that can be cut.
pub fn cut(file_type: &[u8], moov: &[u8], span: Span, size: u64) -> Result<Part, IndexError> {
    let moov = find(moov, &[b"moov"]).ok_or(IndexError::Broken)?;
    if find(moov, &[b"mvex"]).is_some() {
        return Err(IndexError::Fragmented);
    }
    let header = find(moov, &[b"mvhd"]).ok_or(IndexError::Broken)?;
    let (scale, _) = clock(header).ok_or(IndexError::Broken)?;
    let mut tracks = Vec::new();
    for trak in boxes(moov).filter(|(kind, _)| kind == b"trak").map(|(_, body)| body) {
        if tracks.len() == MAX_TRACKS {
            return Err(IndexError::Broken);
        }
        tracks.push(Track::read(trak, scale)?);
    }
    let playable = |track: &&Track| track.tables.count > 0;
    let pictures = tracks.iter().filter(playable).find(|track| track.is_video);
    let leader = pictures.or_else(|| tracks.iter().find(playable)).ok_or(IndexError::Broken)?;
    let begin = leader.begin(span.start_ms);
    let begin = (begin, leader.scale);
    let end = span.end_ms.map(|ms| rescale(ms, 1000, scale));
    let cuts: Vec<Option<Cut>> = tracks.iter().map(|track| track.cut(begin, end)).collect();
    write(file_type, moov, &tracks, &cuts, size)
}

/// One track of the index.
struct Track<'a> {
    /// Ticks in a second of its own time, and of the movie's.
    scale: u32,
    movie: u32,
    is_video: bool,
    tables: Tables<'a>,
    /// Nothing is shown at first, for so many ticks of the movie.
    empty: u64,
    /// Then what is due from here on, in ticks of the track,
    media: u64,
    /// for so many ticks of the movie.
    shown: u64,
}

/// What is left of a track.
struct Cut {
    first: u32,
    last: u32,
    empty: u64,
    media: u64,
    shown: u64,
}

/// `value` ticks of `from` in a second as ticks of `to` in a second, to the nearest.
fn rescale(value: u64, from: u32, to: u32) -> u64 {
    let (from, to) = (u64::from(from.max(1)), u64::from(to));
    let rest = ((value % from) * to).saturating_add(from / 2) / from;
    (value / from).saturating_mul(to).saturating_add(rest)
}

/// Ticks in a second, and the duration, of an `mvhd` or `mdhd`.
fn clock(header: &[u8]) -> Option<(u32, u64)> {
    let mut r = Reader::new(header);
    let wide = r.u32()? >> 24 == 1;
    r.take(if wide { 16 } else { 8 })?;
    let scale = r.u32().filter(|scale| *scale > 0)?;
    let duration = if wide { u64::from_be_bytes(r.array()?) } else { u64::from(r.u32()?) };
    Some((scale, duration))
}

impl<'a> Track<'a> {
    fn read(trak: &'a [u8], movie: u32) -> Result<Track<'a>, IndexError> {
        let part = |path: &[&[u8; 4]]| find(trak, path).ok_or(IndexError::Broken);
        let (scale, _) = clock(part(&[b"mdia", b"mdhd"])?).ok_or(IndexError::Broken)?;
        let tables = Tables::read(part(&[b"mdia", b"minf", b"stbl"])?).ok_or(IndexError::Broken)?;
        let kind = part(&[b"mdia", b"hdlr"])?.get(8..12);
        let whole = rescale(tables.over(), scale, movie);
        let mut track =
            Track { scale, movie, is_video: kind == Some(b"vide"), tables, empty: 0, media: 0, shown: whole };
        if let Some(list) = find(trak, &[b"edts", b"elst"]) {
            track.read_edits(list).ok_or(IndexError::Broken)??;
        }
        Ok(track)
    }

    /// An edit list: nothing for a while, then one stretch of the track.
    fn read_edits(&mut self, list: &[u8]) -> Option<Result<(), IndexError>> {
        let mut r = Reader::new(list);
        let wide = r.u32()? >> 24 == 1;
        let count = r.u32()?;
        let mut found = false;
        for _ in 0..count {
            let (length, media) = match wide {
                true => (u64::from_be_bytes(r.array()?), i64::from_be_bytes(r.array()?)),
                false => (u64::from(r.u32()?), i64::from(r.u32()?.cast_signed())),
            };
            let rate = r.u32()?;
            match u64::try_from(media) {
                Err(_) if found => {}
                Err(_) => self.empty = self.empty.saturating_add(length),
                Ok(_) if found || rate != NORMAL_RATE => return Some(Err(IndexError::Edited)),
                Ok(media) => {
                    found = true;
                    self.media = media;
                    let rest = self.shown.saturating_sub(rescale(media, self.scale, self.movie));
                    self.shown = if length == 0 { rest } else { length };
                }
            }
        }
        Some(Ok(()))
    }

    /// When the part begins, if this track says so: in its ticks since the start of the presentation.
    fn begin(&self, start_ms: u64) -> u64 {
        let empty = rescale(self.empty, self.movie, self.scale);
        let start = rescale(start_ms, 1000, self.scale).saturating_sub(empty).saturating_add(self.media);
        let over = self.tables.time_of(self.tables.count);
        let (_, due) = self.tables.key_before(start.min(over.saturating_sub(1)));
        due.saturating_sub(self.media).saturating_add(empty)
    }

    /// What is left of it when the presentation begins at `begin` (a time and its scale) and ends at `end`, in ticks of
    /// the movie; `None`: nothing.
    fn cut(&self, (begin, scale): (u64, u32), end: Option<u64>) -> Option<Cut> {
        let own = rescale(begin, scale, self.scale);
        let empty = rescale(self.empty, self.movie, self.scale);
        let (media, wait) = match own.checked_sub(empty) {
            Some(since) => (self.media.saturating_add(since), 0),
            None => (self.media, empty.saturating_sub(own)),
        };
        let over = self.empty.saturating_add(self.shown);
        let over = end.map_or(over, |end| end.min(over));
        let begin = rescale(begin, scale, self.movie);
        let shown = over.saturating_sub(begin.max(self.empty));
        let (first, _) = self.tables.key_before(media);
        let last = match end {
            None => self.tables.count,
            Some(_) => {
                let until = media.saturating_add(rescale(shown, self.movie, self.scale));
                self.tables.sample_at(until.saturating_sub(1)).saturating_add(1).min(self.tables.count)
            }
        };
        let media = media.saturating_sub(self.tables.time_of(first));
        let empty = rescale(wait, self.scale, self.movie);
        (first < last && shown > 0).then_some(Cut { first, last, empty, media, shown })
    }

    /// Appends the track's part; gives what it covers of the file.
    fn write(&self, out: &mut Vec<u8>, trak: &[u8], cut: &Cut, wide: bool) -> Option<Covered> {
        let mut covered = None;
        let mut media = true;
        put(out, b"trak", |out| {
            for (kind, body) in boxes(trak) {
                match &kind {
                    b"tkhd" => {
                        put_header(out, &kind, body, 8, cut.empty.saturating_add(cut.shown));
                        put(out, b"edts", |out| put_edits(out, cut));
                    }
                    b"mdia" if std::mem::take(&mut media) => {
                        put(out, &kind, |out| covered = self.write_media(out, body, cut, wide));
                    }
                    b"mdia" | b"edts" => {}
                    _ => copy(out, &kind, body),
                }
            }
        });
        covered
    }

    fn write_media(&self, out: &mut Vec<u8>, mdia: &[u8], cut: &Cut, wide: bool) -> Option<Covered> {
        let mut covered = None;
        let mut info = true;
        for (kind, body) in boxes(mdia) {
            match &kind {
                b"mdhd" => {
                    let begin = self.tables.time_of(cut.first);
                    put_header(out, &kind, body, 4, self.tables.time_of(cut.last).saturating_sub(begin));
                }
                b"minf" if std::mem::take(&mut info) => put(out, &kind, |out| {
                    let tables = |out: &mut Vec<u8>| self.tables.write(out, cut.first, cut.last, wide);
                    let mut table = true;
                    for (kind, body) in boxes(body) {
                        match &kind {
                            b"stbl" if std::mem::take(&mut table) => covered = tables(out),
                            b"stbl" => {}
                            _ => copy(out, &kind, body),
                        }
                    }
                }),
                b"minf" => {}
                _ => copy(out, &kind, body),
            }
        }
        covered
    }
}

/// Appends an `mvhd`, `mdhd` or `tkhd` with another duration. `between`: bytes from its dates to the duration.
fn put_header(out: &mut Vec<u8>, kind: &[u8; 4], body: &[u8], between: usize, duration: u64) {
    let start = out.len().saturating_add(HEAD).saturating_add(between);
    copy(out, kind, body);
    let (at, value) = match body.first() {
        Some(1) => (start.saturating_add(20), duration.to_be_bytes().to_vec()),
        _ => (start.saturating_add(12), u32::try_from(duration).unwrap_or(u32::MAX).to_be_bytes().to_vec()),
    };
    if let Some(slot) = out.get_mut(at..at.saturating_add(value.len())) {
        slot.copy_from_slice(&value);
    }
}

fn put_edits(out: &mut Vec<u8>, cut: &Cut) {
    let mut edits = vec![(cut.shown, cut.media)];
    if cut.empty > 0 {
        edits.insert(0, (cut.empty, u64::MAX));
    }
    put_full(out, b"elst", 1, 0, |out| {
        put_u32(out, edits.len() as u32);
        for (length, media) in edits {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&media.to_be_bytes());
            put_u32(out, NORMAL_RATE);
        }
    });
}

/// Puts the part together.
fn write(
    file_type: &[u8],
    moov: &[u8],
    tracks: &[Track<'_>],
    cuts: &[Option<Cut>],
    size: u64,
) -> Result<Part, IndexError> {
    let mut head = file_type.to_vec();
    let mut covered: Vec<Covered> = Vec::new();
    let wide = size.saturating_add(ALLOWANCE) > u64::from(u32::MAX) - u64::from(MAX_INDEX);
    let length = cuts.iter().flatten().map(|cut| cut.empty.saturating_add(cut.shown)).max().unwrap_or(0);
    let mut parts = tracks.iter().zip(cuts);
    let mut whole = true;
    put(&mut head, b"moov", |out| {
        for (kind, body) in boxes(moov) {
            match &kind {
                b"mvhd" => put_header(out, &kind, body, 4, length),
                b"trak" => {
                    let Some((track, Some(cut))) = parts.next() else { continue };
                    match track.write(out, body, cut, wide) {
                        Some(part) => covered.push(part),
                        None => whole = false,
                    }
                }
                _ => copy(out, &kind, body),
            }
        }
    });
    let from = covered.iter().map(|part| part.from).min().ok_or(IndexError::Broken)?;
    let to = covered.iter().map(|part| part.to).max().unwrap_or(0).min(size);
    if !whole || from >= to {
        return Err(IndexError::Broken);
    }
    put_data_head(&mut head, to.saturating_sub(from));
    let new = head.len() as u64;
    for part in covered {
        move_offsets(&mut head, part, from, new);
    }
    Ok(Part { head, from, to })
}

fn put_data_head(out: &mut Vec<u8>, len: u64) {
    match u32::try_from(len.saturating_add(HEAD as u64)) {
        Ok(size) => {
            put_u32(out, size);
            out.extend_from_slice(b"mdat");
        }
        Err(_) => {
            put_u32(out, 1);
            out.extend_from_slice(b"mdat");
            out.extend_from_slice(&len.saturating_add(2 * HEAD as u64).to_be_bytes());
        }
    }
}

/// What was at `from` is at `new` now.
fn move_offsets(head: &mut [u8], part: Covered, from: u64, new: u64) {
    let (at, count, wide) = part.offsets;
    let moved = |old: u64| old.saturating_sub(from).saturating_add(new);
    let table = head.get_mut(at..).unwrap_or_default();
    if wide {
        for slot in table.as_chunks_mut::<8>().0.iter_mut().take(count) {
            *slot = moved(u64::from_be_bytes(*slot)).to_be_bytes();
        }
    } else {
        for slot in table.as_chunks_mut::<4>().0.iter_mut().take(count) {
            let moved = moved(u64::from(u32::from_be_bytes(*slot)));
            *slot = u32::try_from(moved).unwrap_or(u32::MAX).to_be_bytes();
        }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
