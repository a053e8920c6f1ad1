//! Where in an FLV file playing can begin: the keyframe at or before a place, and the headers that it needs.
//! Spec: Adobe Flash Video File Format 10.1, annex E; the file is walked from tag to tag, payloads are stepped over.
//!
//! ```text
//!   loop { bytes = file at scan.at(), scan.wants() of them;  scan.look(bytes) } until it says Done
//! ```
//!
//! Many programs that write or mend files put a list of keyframes into the metadata (`keyframes` with `filepositions` and
//! `times`). Where there is one, the walk goes as far as the first frame, then to the place that the list names. If there is
//! no keyframe, or one that is too late, the list is forgotten and the walk goes on.
//!
//! Invariants: holds a few numbers whatever the file has; every look moves on by a tag at least (but for two that the list
//! takes), and ends the walk after [`MAX_TAGS`].
//! Deviations: of several tracks of a kind the last sequence header is given, and with a list the first; metadata is not
//! repeated. The list is looked for by its names, not by the structure around it.

use super::avtag::{self, Part};
use super::flv::{FlvError, TAG_HEAD_LEN, TAG_TAIL_LEN, TagType};
use super::read::Reader;

/// Bytes that most looks want: the head of a tag and of its payload.
pub const PEEK: usize = 96;
/// Bytes of metadata that a list of keyframes is looked for in, at most.
pub const MAX_METADATA: u32 = 1 << 20;
/// Tags in a file at most; a file with more is played from what was found until there.
pub const MAX_TAGS: u32 = 1 << 23;

const FLAG_AUDIO: u8 = 0x04;
const FLAG_VIDEO: u8 = 0x01;
const TYPE_MASK: u8 = 0x1f;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The last keyframe that begins at or before this offset.
    Byte(u64),
    /// The last keyframe at or before this many milliseconds after the first frame.
    Time(u64),
}

/// A tag in the file, from its head to its PreviousTagSize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the head.
    pub at: u64,
    /// Bytes.
    pub len: u32,
}

/// A place where playing can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Offset of the keyframe's tag.
    pub at: u64,
    /// The video sequence header in force there.
    pub video: Option<Span>,
    /// The audio sequence header in force there.
    pub audio: Option<Span>,
    /// What the file header says: audio, video.
    pub flags: (bool, bool),
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Look again, at [`Scan::at`].
    More,
    /// The walk is over; `None`: nothing before the place can be begun at, so play from the start.
    Done(Option<Start>),
}

/// What is known of a list of keyframes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    /// No list, or it is of no use.
    None,
    /// There is metadata.
    Unread(Span),
    /// The metadata is looked at next; then the walk goes on here.
    Reading(u64),
    /// The place that it names is looked at next; if that is no use, the walk goes on here.
    Trying(u64),
}

/// A walk through a file.
#[derive(Debug)]
pub struct Scan {
    seek: Seek,
    at: u64,
    tags: u32,
    in_header: bool,
    flags: (bool, bool),
    first_ms: Option<u32>,
    video: Option<Span>,
    audio: Option<Span>,
    found: Option<Start>,
    list: List,
    wants: usize,
}

impl Scan {
    /// Begins a walk.
    pub fn new(seek: Seek) -> Scan {
        Scan {
            seek,
            at: 0,
            tags: 0,
            in_header: true,
            flags: (false, false),
            first_ms: None,
            video: None,
            audio: None,
            found: None,
            list: List::None,
            wants: PEEK,
        }
    }

    /// The offset whose bytes [`Scan::look`] wants.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// How many: [`PEEK`], or once the metadata, at most [`MAX_METADATA`].
    pub fn wants(&self) -> usize {
        self.wants
    }

    /// Takes the bytes at [`Scan::at`]: [`Scan::wants`] of them, fewer only where the file ends.
    ///
    /// # Errors
    /// When the file is no FLV.
    pub fn look(&mut self, bytes: &[u8]) -> Result<Step, FlvError> {
        if self.in_header {
            return self.file_header(bytes);
        }
        match self.list {
            List::Unread(span) if self.first_ms.is_some() => {
                self.list = List::Reading(self.at);
                (self.at, self.wants) = (span.at, span.len as usize);
                return Ok(Step::More);
            }
            List::Reading(back) => {
                self.wants = PEEK;
                let place = self.listed(bytes).filter(|place| *place > back);
                (self.list, self.at) = place.map_or((List::None, back), |place| (List::Trying(back), place));
                return Ok(Step::More);
            }
            List::Trying(back) => {
                self.list = List::None;
                let (place, known) = (self.at, (self.video, self.audio, self.flags, self.found));
                if self.tag(bytes).is_some() && self.found.is_some_and(|found| found.at == place) {
                    return Ok(Step::Done(self.found));
                }
                (self.video, self.audio, self.flags, self.found) = known;
                self.at = back;
                return Ok(Step::More);
            }
            List::None | List::Unread(_) => {}
        }
        self.tags += 1;
        let past = matches!(self.seek, Seek::Byte(at) if self.at > at);
        if past || self.tags > MAX_TAGS {
            return Ok(Step::Done(self.found));
        }
        Ok(match self.tag(bytes) {
            Some(()) => Step::More,
            None => Step::Done(self.found),
        })
    }

    fn file_header(&mut self, bytes: &[u8]) -> Result<Step, FlvError> {
        let mut r = Reader::new(bytes);
        if r.take(3) != Some(b"FLV") {
            return Err(FlvError::NotFlv);
        }
        let (Some(_version), Some(flags), Some(len)) = (r.u8(), r.u8(), r.u32()) else {
            return Err(FlvError::BadHeader);
        };
        self.flags = (flags & FLAG_AUDIO != 0, flags & FLAG_VIDEO != 0);
        self.at = u64::from(len).saturating_add(TAG_TAIL_LEN as u64);
        self.in_header = false;
        Ok(Step::More)
    }

    /// `None`: the file ends here, or the place lies before this tag.
    fn tag(&mut self, bytes: &[u8]) -> Option<()> {
        let mut r = Reader::new(bytes);
        let (kind, size, [t2, t1, t0, t3]) = (r.u8()?, r.u24()?, r.array::<4>()?);
        r.take(3)?;
        let span = Span { at: self.at, len: size.saturating_add((TAG_HEAD_LEN + TAG_TAIL_LEN) as u32) };
        self.at = self.at.saturating_add(u64::from(span.len));
        let payload = r.rest().get(..size as usize).unwrap_or(r.rest());
        let starts = match TagType::from_u8(kind & TYPE_MASK) {
            Some(TagType::Video) => {
                self.flags.1 = true;
                let tag = avtag::video(payload);
                if tag.part == Part::SequenceHeader {
                    self.video = Some(span);
                }
                (tag.part == Part::Frame).then_some(tag.key)
            }
            Some(TagType::Audio) => {
                self.flags.0 = true;
                let tag = avtag::audio(payload);
                if tag.part == Part::SequenceHeader {
                    self.audio = Some(span);
                }
                // Where there are pictures, sound alone is no place to begin at.
                (tag.part == Part::Frame).then_some(!self.flags.1)
            }
            Some(TagType::Script) => {
                if self.first_ms.is_none() && span.len <= MAX_METADATA {
                    self.list = List::Unread(span);
                }
                None
            }
            None => None,
        };
        let Some(starts) = starts else { return Some(()) };
        let ms = u32::from_be_bytes([t3, t2, t1, t0]);
        let since = ms.wrapping_sub(*self.first_ms.get_or_insert(ms));
        // A frame a little before the first one is at the start; no file is 24 days long.
        let since = if since > u32::MAX / 2 { 0 } else { u64::from(since) };
        if matches!(self.seek, Seek::Time(until) if since > until) {
            return None;
        }
        if starts {
            let (video, audio, flags) = (self.video, self.audio, self.flags);
            self.found = Some(Start { at: span.at, video, audio, flags });
        }
        Some(())
    }

    /// The place that a list of keyframes in this metadata names.
    fn listed(&self, metadata: &[u8]) -> Option<u64> {
        let first_ms = f64::from(self.first_ms?);
        let places = numbers(metadata, b"\x00\x0dfilepositions\x0a")?;
        let times = numbers(metadata, b"\x00\x05times\x0a")?;
        let fits = |(place, seconds): &(f64, f64)| match self.seek {
            Seek::Byte(at) => *place <= at as f64,
            Seek::Time(ms) => seconds * 1000.0 - first_ms <= ms as f64 + 0.5,
        };
        // As long as it grows; what is not a number fits nowhere.
        let last = places.zip(times).take_while(fits).last()?.0;
        (last > 0.0).then_some(last as u64)
    }
}

/// The numbers of a strict array (AMF 0, section 2.12) behind `name`, as many as are there.
fn numbers<'a>(metadata: &'a [u8], name: &[u8]) -> Option<impl Iterator<Item = f64> + 'a> {
    let at = metadata.windows(name.len()).position(|window| window == name)?;
    let mut r = Reader::new(metadata.get(at.checked_add(name.len())?..)?);
    let count = r.u32()?;
    Some((0..count).map_while(move |_| match r.u8()? {
        0 => r.f64(),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::flv;

    /// Tags by kind (`V`, `A` headers, `k`ey, `p`icture, `s`ound, `m`etadata), 40 ms apart, with their offsets.
    fn file(tags: &str) -> (Vec<u8>, Vec<u64>) {
        let mut out = flv::header(true, tags.contains('V')).to_vec();
        let mut places = Vec::new();
        for (n, tag) in tags.chars().enumerate() {
            let filler = vec![0x55; 300 + n];
            let (kind, head): (TagType, &[u8]) = match tag {
                'V' => (TagType::Video, &[0x17, 0, 0, 0, 0]),
                'k' => (TagType::Video, &[0x17, 1, 0, 0, 0]),
                'p' => (TagType::Video, &[0x27, 1, 0, 0, 0]),
                'A' => (TagType::Audio, &[0xaf, 0]),
                's' => (TagType::Audio, &[0xaf, 1]),
                _ => (TagType::Script, &[2]),
            };
            let payload = [head, filler.as_slice()].concat();
            places.push(out.len() as u64);
            out.extend(flv::tag_head(kind, payload.len() as u32, 1000 + n as u32 * 40));
            out.extend(&payload);
            out.extend(flv::tag_tail(payload.len() as u32));
        }
        (out, places)
    }

    fn seek(file: &[u8], seek: Seek) -> Result<Option<Start>, FlvError> {
        looks(file, seek).map(|(found, _)| found)
    }

    /// With how many looks it took.
    fn looks(file: &[u8], seek: Seek) -> Result<(Option<Start>, u32), FlvError> {
        let mut scan = Scan::new(seek);
        for count in 1.. {
            let from = usize::try_from(scan.at()).map_or(file.len(), |at| at.min(file.len()));
            let peek = &file[from..file.len().min(from + scan.wants())];
            if let Step::Done(found) = scan.look(peek)? {
                return Ok((found, count));
            }
        }
        unreachable!()
    }

    /// A file of 200 keyframes 400 ms apart whose metadata lists places and times, each changed by `lie`.
    fn listed(lie: impl Fn(u64, f64) -> (f64, f64)) -> (Vec<u8>, Vec<u64>) {
        const METADATA: usize = 25 + 200 * 18 + 20;
        let tags = format!("mVA{}", "kspspspsps".repeat(200));
        let (file, _) = file(&tags);
        // The first tag is replaced by one that is longer.
        let first = 13 + TAG_HEAD_LEN + 301 + TAG_TAIL_LEN;
        let (_, plain) = self::file(&tags);
        let moved: Vec<u64> = plain
            .iter()
            .map(|at| at + (13 + TAG_HEAD_LEN + METADATA + TAG_TAIL_LEN - first) as u64)
            .collect();
        let keys: Vec<u64> = moved.iter().copied().skip(3).step_by(10).collect();
        let list: Vec<(f64, f64)> =
            keys.iter().enumerate().map(|(n, at)| lie(*at, (1120 + n * 400) as f64 / 1000.0)).collect();
        let mut body = vec![];
        let mut array = |name: &[u8], values: Vec<f64>| {
            body.extend((name.len() as u16).to_be_bytes());
            body.extend(name);
            body.push(10);
            body.extend((values.len() as u32).to_be_bytes());
            values.iter().for_each(|value| {
                body.push(0);
                body.extend(value.to_be_bytes());
            });
        };
        array(b"filepositions", list.iter().map(|(at, _)| *at).collect());
        array(b"times", list.iter().map(|(_, seconds)| *seconds).collect());
        body.resize(METADATA, 9);
        let mut out = file[..13].to_vec();
        out.extend(flv::tag_head(TagType::Script, METADATA as u32, 0));
        out.extend(body);
        out.extend(flv::tag_tail(METADATA as u32));
        out.extend(&file[first..]);
        (out, keys)
    }

    #[test]
    fn a_list_of_keyframes_spares_the_walk() {
        let (bytes, keys) = listed(|at, seconds| (at as f64, seconds));
        for (wanted, place) in [
            (Seek::Time(40_000), keys[100]),
            (Seek::Time(40_399), keys[100]),
            (Seek::Time(9_999_999), keys[199]),
            (Seek::Byte(keys[150]), keys[150]),
            (Seek::Byte(keys[150] - 1), keys[149]),
            (Seek::Time(0), keys[0]),
        ] {
            let (start, looks) = looks(&bytes, wanted).unwrap();
            let start = start.unwrap();
            assert_eq!(start.at, place, "{wanted:?}");
            assert!(looks < 20 && start.video.is_some() && start.audio.is_some(), "{looks}");
        }
    }

    #[test]
    fn a_list_that_lies_is_found_out() {
        let lies: [&dyn Fn(u64, f64) -> (f64, f64); 7] = [
            &|at, seconds| (at as f64 + 3.0, seconds),
            &|at, seconds| (at as f64, seconds - 10.0),
            &|at, _| (at as f64, 0.0),
            &|_, seconds| (1e18, seconds),
            &|_, seconds| (f64::NAN, seconds),
            &|at, _| (-(at as f64), f64::NEG_INFINITY),
            &|_, seconds| (13.0, seconds),
        ];
        for (n, lie) in lies.iter().enumerate() {
            let (bytes, keys) = listed(lie);
            for key in [1, 57, 199] {
                let start = seek(&bytes, Seek::Time(key * 400 + 10)).unwrap().unwrap();
                assert_eq!(start.at, keys[key as usize], "lie {n}, keyframe {key}");
                assert!(start.video.unwrap().at < keys[0]);
            }
        }
        let (bytes, _) = listed(|at, seconds| (at as f64, seconds));
        for end in (0..8000).step_by(37) {
            let _ = seek(&bytes[..end], Seek::Time(u64::MAX));
        }
    }

    #[test]
    fn the_keyframe_at_or_before_the_byte() {
        let (bytes, at) = file("mVAkspspVkspkp");
        let found = |place| seek(&bytes, Seek::Byte(place)).unwrap().map(|start| start.at);
        for (place, wanted) in [
            (0, None),
            (at[3] - 1, None),
            (at[3], Some(at[3])),
            (at[4], Some(at[3])),
            (at[9] - 1, Some(at[3])),
            (at[9], Some(at[9])),
            (at[9] + 1, Some(at[9])),
            (at[13], Some(at[12])),
            (u64::MAX, Some(at[12])),
        ] {
            assert_eq!(found(place), wanted, "byte {place}");
        }
        let start = seek(&bytes, Seek::Byte(at[9])).unwrap().unwrap();
        assert_eq!(start.video.unwrap().at, at[8], "the header in force there");
        assert_eq!(start.audio.unwrap().at, at[2]);
        assert_eq!(start.flags, (true, true));
        let span = seek(&bytes, Seek::Byte(at[3])).unwrap().unwrap().video.unwrap();
        assert_eq!((span.at, span.at + u64::from(span.len)), (at[1], at[2]));
    }

    #[test]
    fn the_keyframe_at_or_before_the_time() {
        let (bytes, at) = file("VAkspspkspkp");
        let found = |ms| seek(&bytes, Seek::Time(ms)).unwrap().map(|start| start.at);
        // The first frame is tag 2; key frames are tags 2, 7 and 10.
        for (ms, wanted) in
            [(0, at[2]), (199, at[2]), (200, at[7]), (319, at[7]), (320, at[10]), (9999, at[10])]
        {
            assert_eq!(found(ms), Some(wanted), "{ms} ms");
        }
    }

    #[test]
    fn sound_alone_begins_anywhere() {
        let (bytes, at) = file("Assss");
        let start = seek(&bytes, Seek::Time(100)).unwrap().unwrap();
        assert_eq!((start.at, start.video, start.audio.unwrap().at), (at[3], None, at[0]));
    }

    #[test]
    fn broken_files_end_the_walk() {
        assert_eq!(seek(b"", Seek::Byte(9)), Err(FlvError::NotFlv));
        assert_eq!(seek(b"ftypmp42", Seek::Byte(9)), Err(FlvError::NotFlv));
        assert_eq!(seek(b"FLV\x01", Seek::Byte(9)), Err(FlvError::BadHeader));
        let (bytes, at) = file("VAkspkp");
        for end in 13..bytes.len() {
            let found = seek(&bytes[..end], Seek::Byte(u64::MAX)).unwrap();
            assert!(found.is_none_or(|start| at.contains(&start.at)), "cut at {end}");
        }
        let mut noise = flv::header(true, true).to_vec();
        noise.extend((0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8));
        let _ = seek(&noise, Seek::Time(u64::MAX));
    }

    #[test]
    fn a_header_that_claims_the_whole_file_ends_the_walk() {
        let mut bytes = b"FLV\x01\x05\xff\xff\xff\xff".to_vec();
        bytes.extend([0; 100]);
        assert_eq!(seek(&bytes, Seek::Byte(u64::MAX)), Ok(None));
    }
}
