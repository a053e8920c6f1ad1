//! NAL units of H.264 and H.265: from length-prefixed, as FLV and MP4 have them, to a byte stream with start codes, as
//! MPEG-TS has them, and back.
//! Spec: ITU-T H.264, section 7.4.1 and annex B; ITU-T H.265, section 7.4.2 and annex B; ISO/IEC 14496-15, section 5.
//!
//! Invariants: any bytes give units that lie inside them; no unit is empty; nothing is allocated to find them; known
//! parameter sets have at most [`MAX_SETS`] entries of each kind and [`MAX_SET_BYTES`] in all.
//! Deviations: a body that is not length-prefixed from end to end but begins with a start code is taken as a byte
//! stream, and a start code inside a length prefix is dropped, since encoders send both. A unit whose length goes beyond
//! the body ends the body. Access unit delimiters of the source are replaced by exactly one (some cameras send several
//! for one picture, which would cut it in two). An access unit without a picture is left out, but its parameter sets
//! are remembered.

use super::avc::AvcConfig;
use super::hevc::HevcConfig;
use super::read::Reader;

/// The most parameter sets of one kind that are remembered.
pub const MAX_SETS: usize = 255;
/// The most bytes of parameter sets that are remembered.
pub const MAX_SET_BYTES: usize = 64 * 1024;

const START_CODE: [u8; 4] = [0, 0, 0, 1];
const SHORT_START_CODE: [u8; 3] = [0, 0, 1];
const DEFAULT_LENGTH_SIZE: u8 = 4;

/// How the NAL units are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// H.264.
    Avc,
    /// H.265.
    Hevc,
}

/// What a NAL unit is to a packager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nal {
    /// Part of a picture; `entry`: a decoder can start with it (IDR, for H.265 any IRAP picture).
    Slice {
        /// A decoder can start here.
        entry: bool,
    },
    /// A parameter set.
    Set(Set),
    /// An access unit delimiter.
    Delimiter,
    /// Anything else, such as SEI.
    Other,
}

/// The kinds of parameter sets, in the order in which they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Video parameter set, H.265 only.
    Video,
    /// Sequence parameter set.
    Sequence,
    /// Picture parameter set.
    Picture,
}

impl Coding {
    /// What `unit` is, by its first byte.
    pub fn nal(self, unit: &[u8]) -> Nal {
        let head = unit.first().copied().unwrap_or(0);
        match self {
            Coding::Avc => match head & 0x1f {
                5 => Nal::Slice { entry: true },
                1..=4 => Nal::Slice { entry: false },
                7 => Nal::Set(Set::Sequence),
                8 => Nal::Set(Set::Picture),
                9 => Nal::Delimiter,
                _ => Nal::Other,
            },
            Coding::Hevc => match head >> 1 & 0x3f {
                16..=23 => Nal::Slice { entry: true },
                0..=31 => Nal::Slice { entry: false },
                32 => Nal::Set(Set::Video),
                33 => Nal::Set(Set::Sequence),
                34 => Nal::Set(Set::Picture),
                35 => Nal::Delimiter,
                _ => Nal::Other,
            },
        }
    }

    /// An access unit delimiter that allows pictures of every type.
    fn delimiter(self) -> &'static [u8] {
        match self {
            Coding::Avc => &[0x09, 0xf0],
            Coding::Hevc => &[0x46, 0x01, 0x50],
        }
    }

    fn sets(self) -> &'static [Set] {
        match self {
            Coding::Avc => &[Set::Sequence, Set::Picture],
            Coding::Hevc => &[Set::Video, Set::Sequence, Set::Picture],
        }
    }
}

/// The NAL units of one access unit, without start codes and lengths.
#[derive(Debug, Clone)]
pub struct Units<'a> {
    layout: Layout<'a>,
}

#[derive(Debug, Clone)]
enum Layout<'a> {
    Prefixed { rest: Reader<'a>, length_size: u8 },
    ByteStream { rest: &'a [u8] },
}

/// The units of `body`, each after a length of `length_size` bytes (1 to 4), or after a start code.
pub fn units(body: &[u8], length_size: u8) -> Units<'_> {
    let prefixed = Layout::Prefixed { rest: Reader::new(body), length_size: length_size.clamp(1, 4) };
    let layout = if has_start_code(body) && !is_prefixed(body, length_size) {
        Layout::ByteStream { rest: after_start_code(body).unwrap_or(&[]) }
    } else {
        prefixed
    };
    Units { layout }
}

fn has_start_code(body: &[u8]) -> bool {
    body.starts_with(&START_CODE) || body.starts_with(&SHORT_START_CODE)
}

/// Whether lengths lead from the start of `body` to its very end.
fn is_prefixed(body: &[u8], length_size: u8) -> bool {
    let mut r = Reader::new(body);
    while !r.is_empty() {
        let whole = unit_length(&mut r, length_size).and_then(|len| r.take(len));
        if whole.is_none() {
            return false;
        }
    }
    true
}

fn unit_length(r: &mut Reader<'_>, length_size: u8) -> Option<usize> {
    let len = match length_size {
        1 => u32::from(r.u8()?),
        2 => u32::from(r.u16()?),
        3 => r.u24()?,
        _ => r.u32()?,
    };
    usize::try_from(len).ok()
}

/// What follows the next start code; `None` when there is none.
fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    let at = data.windows(SHORT_START_CODE.len()).position(|window| window == SHORT_START_CODE)?;
    data.get(at + SHORT_START_CODE.len()..)
}

impl<'a> Iterator for Units<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let unit = match &mut self.layout {
                Layout::Prefixed { rest, length_size } => {
                    let len = unit_length(rest, *length_size)?;
                    let unit = rest.take(len)?;
                    let inner = if has_start_code(unit) { after_start_code(unit) } else { None };
                    inner.unwrap_or(unit)
                }
                Layout::ByteStream { rest } => {
                    if rest.is_empty() {
                        return None;
                    }
                    let next = after_start_code(rest);
                    let code = next.map_or(0, |next| next.len() + SHORT_START_CODE.len());
                    let unit = rest.get(..rest.len().saturating_sub(code)).unwrap_or(&[]);
                    *rest = next.unwrap_or(&[]);
                    // A unit never ends in zeros: they belong to the next start code, or are padding.
                    let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                    unit.get(..end).unwrap_or(&[])
                }
            };
            if !unit.is_empty() {
                return Some(unit);
            }
        }
    }
}

/// Appends `units` with lengths of 4 bytes, as MP4 has them.
pub fn to_prefixed(units: Units<'_>, out: &mut Vec<u8>) {
    for unit in units {
        let Ok(len) = u32::try_from(unit.len()) else { continue };
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(unit);
    }
}

fn put(unit: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&START_CODE);
    out.extend_from_slice(unit);
}

/// The parameter sets in force, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sets {
    video: Vec<Vec<u8>>,
    sequence: Vec<Vec<u8>>,
    picture: Vec<Vec<u8>>,
}

impl Sets {
    fn of(&self, kind: Set) -> &[Vec<u8>] {
        match kind {
            Set::Video => &self.video,
            Set::Sequence => &self.sequence,
            Set::Picture => &self.picture,
        }
    }

    fn of_mut(&mut self, kind: Set) -> &mut Vec<Vec<u8>> {
        match kind {
            Set::Video => &mut self.video,
            Set::Sequence => &mut self.sequence,
            Set::Picture => &mut self.picture,
        }
    }

    fn bytes(&self) -> usize {
        [&self.video, &self.sequence, &self.picture].into_iter().flatten().map(Vec::len).sum()
    }

    /// Takes the sets of one kind that an access unit brings, when one of them is new.
    fn learn<'a>(&mut self, kind: Set, found: impl Iterator<Item = &'a [u8]> + Clone) {
        let (known, found) = (self.of(kind), found.take(MAX_SETS));
        if found.clone().all(|unit| known.iter().any(|set| set == unit)) {
            return;
        }
        self.of_mut(kind).clear();
        for unit in found {
            if self.bytes().saturating_add(unit.len()) <= MAX_SET_BYTES {
                self.of_mut(kind).push(unit.to_vec());
            }
        }
    }
}

/// Turns access units of one track into a byte stream that a receiver can join at every keyframe.
#[derive(Debug, Clone)]
pub struct ByteStream {
    coding: Coding,
    length_size: u8,
    sets: Sets,
}

/// What [`ByteStream::push`] appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// A decoder can start here.
    pub key: bool,
}

impl ByteStream {
    /// For a track whose parameter sets are with its frames only.
    pub fn new(coding: Coding) -> ByteStream {
        ByteStream { coding, length_size: DEFAULT_LENGTH_SIZE, sets: Sets::default() }
    }

    /// For an H.264 track with this configuration.
    pub fn avc(config: AvcConfig) -> ByteStream {
        let sets = Sets { video: Vec::new(), sequence: config.sps, picture: config.pps };
        ByteStream { coding: Coding::Avc, length_size: config.nal_length_size, sets }
    }

    /// For an H.265 track with this configuration.
    pub fn hevc(config: HevcConfig) -> ByteStream {
        let sets = Sets { video: config.vps, sequence: config.sps, picture: config.pps };
        ByteStream { coding: Coding::Hevc, length_size: config.nal_length_size, sets }
    }

    /// How the NAL units are coded.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Appends the access unit `body`: a delimiter, the parameter sets before a picture to start with unless it has
    /// them itself, and its units. `key`: the container calls it a keyframe. `None`: there is no picture in it, and
    /// nothing was appended.
    pub fn push(&mut self, body: &[u8], key: bool, out: &mut Vec<u8>) -> Option<Picture> {
        let coding = self.coding;
        let units = units(body, self.length_size);
        for kind in coding.sets() {
            self.sets.learn(*kind, units.clone().filter(|unit| coding.nal(unit) == Nal::Set(*kind)));
        }
        let (mut picture, mut entry) = (false, false);
        for unit in units.clone() {
            if let Nal::Slice { entry: starts } = coding.nal(unit) {
                picture = true;
                entry |= starts;
            }
        }
        if !picture {
            return None;
        }
        let key = key || entry;
        put(coding.delimiter(), out);
        let has = |kind: Set| units.clone().any(|unit| coding.nal(unit) == Nal::Set(kind));
        if key && !coding.sets().iter().all(|kind| has(*kind)) {
            coding.sets().iter().flat_map(|kind| self.sets.of(*kind)).for_each(|set| put(set, out));
        }
        units.filter(|unit| coding.nal(unit) != Nal::Delimiter).for_each(|unit| put(unit, out));
        Some(Picture { key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Noise, hex};

    fn list(body: &[u8], length_size: u8) -> Vec<Vec<u8>> {
        units(body, length_size).map(<[u8]>::to_vec).collect()
    }

    fn avc() -> ByteStream {
        let mut stream = ByteStream::new(Coding::Avc);
        stream.sets.sequence = vec![hex("6701"), hex("6702")];
        stream.sets.picture = vec![hex("6801"), hex("6802")];
        stream
    }

    fn push(stream: &mut ByteStream, body: &str, key: bool) -> Option<(bool, Vec<u8>)> {
        let mut out = Vec::new();
        let picture = stream.push(&hex(body), key, &mut out);
        assert!(picture.is_some() || out.is_empty());
        picture.map(|picture| (picture.key, out))
    }

    #[test]
    fn units_with_lengths_of_every_size() {
        for (size, body) in
            [(1, "01aa 00 02bbcc"), (2, "0001aa 0000 0002bbcc"), (3, "000001aa 000000 000002bbcc")]
        {
            assert_eq!(list(&hex(body), size), [hex("aa"), hex("bbcc")], "{size}");
        }
        assert_eq!(list(&hex("00000001aa 00000000 00000002bbcc"), 4), [hex("aa"), hex("bbcc")]);
        assert_eq!(list(&hex("00000002aabb 00000009bbcc"), 4), [hex("aabb")], "cut short");
        assert_eq!(list(&hex("00000002aabb 0000"), 4), [hex("aabb")], "bytes left over");
        assert_eq!(list(&[], 4), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_byte_stream_inside_flv_is_taken_for_what_it_is() {
        let parts = [hex("09f0"), hex("6701"), hex("65000003aa")];
        assert_eq!(list(&hex("00000001 09f0 00000001 6701 000001 65000003aa"), 4), parts);
        assert_eq!(list(&hex("000001 09f0 00 000001 6701 0000 000001 65000003aa 0000"), 4), parts);
        assert_eq!(list(&hex("00000001 00000001 aa"), 4), [hex("aa")], "an empty unit between");
        assert_eq!(list(&hex("00000001"), 4), Vec::<Vec<u8>>::new());
        assert_eq!(list(&hex("00000005 00000001aa 00000006 00000165bbcc"), 4), [hex("aa"), hex("65bbcc")]);
        // Lengths of 256 to 511 look like a short start code, but lead to the end.
        let mut long = hex("00000123");
        long.extend([0x41; 0x123]);
        assert_eq!(list(&long, 4), [vec![0x41; 0x123]]);
    }

    #[test]
    fn there_and_back() {
        let mut noise = Noise(77);
        for _ in 0..2_000 {
            let source: Vec<Vec<u8>> = (0..noise.below(6))
                .map(|_| {
                    let len = noise.below(20);
                    let mut unit = vec![0x41];
                    unit.extend(noise.bytes(len).iter().map(|byte| byte | 1));
                    unit
                })
                .collect();
            let mut bytes = Vec::new();
            source.iter().for_each(|unit| put(unit, &mut bytes));
            let mut prefixed = Vec::new();
            to_prefixed(units(&bytes, 4), &mut prefixed);
            assert_eq!(list(&prefixed, 4), source);
            assert_eq!(list(&bytes, 4), source);
        }
    }

    #[test]
    fn a_keyframe_gets_a_delimiter_and_all_parameter_sets() {
        let start = "00000001 09f0 00000001 6701 00000001 6702 00000001 6801 00000001 6802";
        let (key, out) = push(&mut avc(), "00000002 06aa 00000002 65bb", true).unwrap();
        assert_eq!((key, out), (true, hex(&format!("{start} 00000001 06aa 00000001 65bb"))));
        let (key, out) = push(&mut avc(), "00000002 65bb", false).unwrap();
        assert_eq!((key, out), (true, hex(&format!("{start} 00000001 65bb"))), "an IDR without the flag");
        let (key, out) = push(&mut avc(), "00000002 41bb", true).unwrap();
        assert_eq!((key, out), (true, hex(&format!("{start} 00000001 41bb"))), "a flag without an IDR");
        let (key, out) = push(&mut avc(), "00000002 41bb", false).unwrap();
        assert_eq!((key, out), (false, hex("00000001 09f0 00000001 41bb")));
    }

    #[test]
    fn one_delimiter_comes_out_however_many_go_in() {
        let (_, out) =
            push(&mut avc(), "00000002 0910 00000002 41aa 00000002 0910 00000002 41bb", false).unwrap();
        assert_eq!(out, hex("00000001 09f0 00000001 41aa 00000001 41bb"));
    }

    #[test]
    fn parameter_sets_of_the_frames_are_left_alone_and_remembered() {
        let mut stream = avc();
        let (_, out) = push(&mut stream, "00000002 6703 00000002 6803 00000002 65aa", true).unwrap();
        let with_sets = "00000001 09f0 00000001 6703 00000001 6803 00000001 65";
        assert_eq!(out, hex(&format!("{with_sets}aa")));
        let (_, out) = push(&mut stream, "00000002 65bb", true).unwrap();
        assert_eq!(out, hex(&format!("{with_sets}bb")), "the newer sets are in force");
        assert_eq!(push(&mut stream, "00000002 6704 00000002 6804", true), None, "sets in a message alone");
        let (_, out) = push(&mut stream, "00000002 65cc", true).unwrap();
        assert_eq!(out, hex("00000001 09f0 00000001 6704 00000001 6804 00000001 65cc"));
        let (_, out) = push(&mut stream, "00000002 6705 00000002 65dd", true).unwrap();
        let all = "00000001 09f0 00000001 6705 00000001 6804 00000001 6705 00000001 65dd";
        assert_eq!(out, hex(all), "one kind is missing");
    }

    #[test]
    fn h265() {
        let mut stream = ByteStream::new(Coding::Hevc);
        stream.sets.video = vec![hex("4001")];
        stream.sets.sequence = vec![hex("4201")];
        stream.sets.picture = vec![hex("4401")];
        let start = "00000001 460150 00000001 4001 00000001 4201 00000001 4401 00000001";
        for entry in ["2601aa", "2801aa", "2a01aa"] {
            let (key, out) = push(&mut stream, &format!("00000003 {entry}"), false).unwrap();
            assert_eq!((key, out), (true, hex(&format!("{start} {entry}"))), "{entry}");
        }
        let (key, out) = push(&mut stream, "00000003 460150 00000003 0201aa", false).unwrap();
        assert_eq!((key, out), (false, hex("00000001 460150 00000001 0201aa")));
        assert_eq!(push(&mut stream, "00000003 4e01aa", true), None, "SEI alone");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut stream = ByteStream::new(Coding::Avc);
        for round in 0..20u8 {
            let mut body = Vec::new();
            for n in 0..300u32 {
                let mut set = vec![if round % 2 == 0 { 0x67 } else { 0x68 }, round];
                set.extend(n.to_be_bytes());
                set.resize(1000, 1);
                body.extend((set.len() as u32).to_be_bytes());
                body.extend(set);
            }
            stream.push(&body, true, &mut Vec::new());
            assert!(stream.sets.bytes() <= MAX_SET_BYTES);
            assert!(stream.sets.sequence.len() <= MAX_SETS && stream.sets.picture.len() <= MAX_SETS);
        }
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise(5);
        let seed = hex("00000001 09f0 000001 6701 0000 00000001 65000003aa 00000002 6801");
        for round in 0..20_000u32 {
            let body = noise.mutate(&seed);
            let coding = if round % 2 == 0 { Coding::Avc } else { Coding::Hevc };
            let mut stream = ByteStream::new(coding);
            stream.length_size = (round % 5) as u8;
            stream.push(&body, round % 3 == 0, &mut Vec::new());
            let total: usize = units(&body, stream.length_size).map(<[u8]>::len).sum();
            assert!(total <= body.len());
        }
    }
}
