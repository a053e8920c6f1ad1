use super::*;
use crate::wire::testing::Noise;

/// A sample as a player finds it: bytes, decoding time, due time in ticks since the start of the presentation, and whether
/// it can be begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sample {
    bytes: Vec<u8>,
    dts: u64,
    due: i64,
    sync: bool,
}

fn full(out: &mut Vec<u8>, kind: &[u8; 4], version: u8, words: &[u32]) {
    put_full(out, kind, version, 0, |out| words.iter().for_each(|word| put_u32(out, *word)));
}

/// What a track of the test file is like.
#[derive(Clone)]
struct Plan {
    kind: &'static [u8; 4],
    scale: u32,
    delta: u32,
    /// Due times less decoding times, by turns; none: no table.
    shifts: Vec<u32>,
    /// Every so many samples one to begin with; 0: no table.
    gop: u32,
    samples: u32,
    chunk: u32,
    /// Bits of a size; 0: all of one size.
    bits: u32,
    wide: bool,
    edits: Vec<(u32, i32)>,
}

fn video() -> Plan {
    let edits = vec![(8000, 1024)];
    Plan {
        kind: b"vide",
        scale: 12_800,
        delta: 512,
        shifts: vec![1024, 2560, 1024, 0, 512],
        gop: 25,
        samples: 200,
        chunk: 7,
        bits: 32,
        wide: false,
        edits,
    }
}

fn audio() -> Plan {
    Plan {
        kind: b"soun",
        scale: 48_000,
        delta: 1024,
        shifts: vec![],
        gop: 0,
        samples: 376,
        chunk: 10,
        bits: 16,
        wide: true,
        edits: vec![(8000, 1024)],
    }
}

impl Plan {
    fn size(&self, n: u32) -> usize {
        match self.bits {
            0 => 9,
            4 => n as usize % 15 + 1,
            _ => (n as usize * 37) % 200 + 4,
        }
    }

    fn bytes(&self, n: u32) -> Vec<u8> {
        (0..self.size(n)).map(|at| (n as usize * 7 + at) as u8 ^ self.kind[0]).collect()
    }

    fn put(&self, out: &mut Vec<u8>, places: &[u64]) {
        put(out, b"trak", |out| {
            full(out, b"tkhd", 0, &[0, 0, 1, 0, 8000, 0, 0]);
            if !self.edits.is_empty() {
                put(out, b"edts", |out| {
                    put_full(out, b"elst", 0, 0, |out| {
                        put_u32(out, self.edits.len() as u32);
                        for (length, media) in &self.edits {
                            put_u32(out, *length);
                            put_u32(out, media.cast_unsigned());
                            put_u32(out, NORMAL_RATE);
                        }
                    });
                });
            }
            put(out, b"mdia", |out| {
                full(out, b"mdhd", 0, &[0, 0, self.scale, self.samples * self.delta, 0]);
                put_full(out, b"hdlr", 0, 0, |out| {
                    put_u32(out, 0);
                    out.extend_from_slice(self.kind);
                });
                put(out, b"minf", |out| put(out, b"stbl", |out| self.put_tables(out, places)));
            });
        });
    }

    fn put_tables(&self, out: &mut Vec<u8>, places: &[u64]) {
        full(out, b"stsd", 0, &[0]);
        full(out, b"stts", 0, &[2, 3, self.delta, self.samples - 3, self.delta]);
        if !self.shifts.is_empty() {
            let runs = (0..self.samples).flat_map(|n| [1, self.shifts[n as usize % self.shifts.len()]]);
            full(out, b"ctts", 0, &[self.samples].into_iter().chain(runs).collect::<Vec<_>>());
        }
        if self.gop > 0 {
            let keys: Vec<u32> = (0..self.samples).step_by(self.gop as usize).map(|n| n + 1).collect();
            full(out, b"stss", 0, &[&[keys.len() as u32], keys.as_slice()].concat());
        }
        let sizes: Vec<usize> = match self.bits {
            0 => vec![],
            _ => (0..self.samples).map(|n| self.size(n)).collect(),
        };
        let kind = if matches!(self.bits, 0 | 32) { b"stsz" } else { b"stz2" };
        put_full(out, kind, 0, 0, |out| {
            put_u32(out, [self.bits % 32, 9][usize::from(self.bits == 0)]);
            put_u32(out, self.samples);
            match self.bits {
                32 => sizes.iter().for_each(|size| put_u32(out, *size as u32)),
                16 => sizes.iter().for_each(|size| out.extend((*size as u16).to_be_bytes())),
                8 => out.extend(sizes.iter().map(|size| *size as u8)),
                4 => out
                    .extend(sizes.chunks(2).map(|two| (two[0] as u8) << 4 | *two.get(1).unwrap_or(&0) as u8)),
                _ => {}
            }
        });
        // The first two chunks, then the others; the last may hold fewer.
        let (chunks, rest) = (self.samples / self.chunk, self.samples % self.chunk);
        let mut runs = if chunks > 0 { vec![1, self.chunk, 1] } else { vec![] };
        if chunks > 2 {
            runs.extend([3, self.chunk, 2]);
        }
        if rest > 0 {
            runs.extend([chunks + 1, rest, 1]);
        }
        full(out, b"stsc", 0, &[&[runs.len() as u32 / 3], runs.as_slice()].concat());
        put_full(out, if self.wide { b"co64" } else { b"stco" }, 0, 0, |out| {
            put_u32(out, places.len() as u32);
            for place in places {
                match self.wide {
                    true => out.extend_from_slice(&place.to_be_bytes()),
                    false => put_u32(out, *place as u32),
                }
            }
        });
    }
}

/// A file with chunks of the tracks by turns. The index comes first, or at the end.
fn file(plans: &[Plan], index_first: bool) -> Vec<u8> {
    let mut places: Vec<Vec<u64>> =
        plans.iter().map(|plan| vec![0; plan.samples.div_ceil(plan.chunk) as usize]).collect();
    let moov = |places: &[Vec<u64>]| {
        let mut out = Vec::new();
        put(&mut out, b"moov", |out| {
            full(out, b"mvhd", 0, &[0, 0, 1000, 8000, 0]);
            plans.iter().zip(places).for_each(|(plan, places)| plan.put(out, places));
            put(out, b"udta", |out| out.extend_from_slice(b"kept"));
        });
        out
    };
    let mut out = Vec::new();
    put(&mut out, b"ftyp", |out| out.extend_from_slice(b"isomiso2"));
    put(&mut out, b"free", |out| out.extend_from_slice(&[0; 5]));
    let base = out.len() + if index_first { moov(&places).len() } else { 0 } + HEAD;
    let mut data = Vec::new();
    for turn in 0..places.iter().map(Vec::len).max().unwrap() {
        for (plan, places) in plans.iter().zip(&mut places).filter(|(_, places)| turn < places.len()) {
            places[turn] = (base + data.len()) as u64;
            let first = turn as u32 * plan.chunk;
            (first..plan.samples.min(first + plan.chunk)).for_each(|n| data.extend(plan.bytes(n)));
        }
    }
    let index = moov(&places);
    if index_first {
        out.extend_from_slice(&index);
    }
    copy(&mut out, b"mdat", &data);
    if !index_first {
        out.extend_from_slice(&index);
    }
    out
}

fn words(body: &[u8]) -> Vec<u32> {
    body.chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect()
}

/// The samples of each track that are shown, read without any of the code under test but the finding of boxes.
fn samples(file: &[u8]) -> Vec<Vec<Sample>> {
    let moov = find(file, &[b"moov"]).unwrap();
    let movie = words(find(moov, &[b"mvhd"]).unwrap())[3];
    let tracks = boxes(moov).filter(|(kind, _)| kind == b"trak").map(|(_, body)| body);
    tracks.map(|trak| track_samples(file, trak, movie)).collect()
}

fn track_samples(file: &[u8], trak: &[u8], movie: u32) -> Vec<Sample> {
    let scale = words(find(trak, &[b"mdia", b"mdhd"]).unwrap())[3];
    let stbl = find(trak, &[b"mdia", b"minf", b"stbl"]).unwrap();
    let table = |kind| find(stbl, &[kind]).map(words);
    let runs = |words: &[u32]| -> Vec<u32> {
        words[2..].chunks(2).flat_map(|run| vec![run[1]; run[0] as usize]).collect()
    };
    let deltas = runs(&table(b"stts").unwrap());
    let shifts = table(b"ctts").map(|words| runs(&words));
    let sync = table(b"stss").map(|words| words[2..].to_vec());
    let sizes: Vec<usize> = match find(stbl, &[b"stsz"]) {
        Some(body) => match words(body)[..] {
            [_, 0, _, ref sizes @ ..] => sizes.iter().map(|size| *size as usize).collect(),
            [_, size, count] => vec![size as usize; count as usize],
            _ => panic!("stsz"),
        },
        None => {
            let body = find(stbl, &[b"stz2"]).unwrap();
            let (field, count) = (body[7], words(body)[2] as usize);
            let all: Vec<usize> = match field {
                16 => body[12..]
                    .chunks(2)
                    .map(|two| usize::from(u16::from_be_bytes(two.try_into().unwrap())))
                    .collect(),
                8 => body[12..].iter().map(|size| usize::from(*size)).collect(),
                _ => {
                    body[12..].iter().flat_map(|two| [usize::from(two >> 4), usize::from(two & 15)]).collect()
                }
            };
            all[..count].to_vec()
        }
    };
    assert_eq!(deltas.len(), sizes.len());
    let places: Vec<usize> = match (table(b"stco"), find(stbl, &[b"co64"])) {
        (Some(words), _) => words[2..].iter().map(|place| *place as usize).collect(),
        (None, body) => body.unwrap()[8..]
            .chunks(8)
            .map(|place| u64::from_be_bytes(place.try_into().unwrap()) as usize)
            .collect(),
    };
    let stsc = table(b"stsc").unwrap();
    let (mut empty, mut media, mut shown) = (0, 0, u64::MAX);
    if let Some(list) = find(trak, &[b"edts", b"elst"]) {
        let wide = list[0] == 1;
        for edit in list[8..].chunks(if wide { 20 } else { 12 }) {
            let all = words(edit);
            let (length, from) = match wide {
                true => (u64::from(all[0]) << 32 | u64::from(all[1]), i64::from(all[3].cast_signed())),
                false => (u64::from(all[0]), i64::from(all[1].cast_signed())),
            };
            if from < 0 { empty = length as i64 } else { (media, shown) = (from, length) }
        }
    }
    let shown = shown.saturating_mul(u64::from(scale)) / u64::from(movie);
    let mut out = Vec::new();
    let (mut n, mut dts) = (0, 0);
    for (chunk, place) in places.iter().enumerate() {
        let count = stsc[2..].chunks(3).take_while(|run| run[0] as usize <= chunk + 1).last().unwrap()[1];
        let mut at = *place;
        for _ in 0..count {
            let cts = dts as i64 + shifts.as_ref().map_or(0, |shifts| i64::from(shifts[n]));
            let due = cts - media + empty * i64::from(scale) / i64::from(movie);
            let sync = sync.as_ref().is_none_or(|list| list.contains(&(n as u32 + 1)));
            let bytes = file[at..at + sizes[n]].to_vec();
            if cts < media + i64::try_from(shown).unwrap_or(i64::MAX / 2) {
                out.push(Sample { bytes, dts, due, sync });
            }
            (at, dts, n) = (at + sizes[n], dts + u64::from(deltas[n]), n + 1);
        }
    }
    assert_eq!(n, sizes.len(), "every sample is in a chunk");
    out
}

/// Cuts a file as a reader would that has no more than the file.
fn cut_file(file: &[u8], start_ms: u64, end_ms: Option<u64>) -> Result<Vec<u8>, IndexError> {
    let mut walk = Walk::new(file.len() as u64);
    let index = loop {
        let at = usize::try_from(walk.at()).unwrap().min(file.len());
        if let Some(index) = walk.look(&file[at..file.len().min(at + PEEK)])? {
            break index;
        }
    };
    let part = |place: Place| &file[place.at as usize..][..place.len as usize];
    let head = index.file_type.map_or(&[][..], part);
    let cut = cut(head, part(index.moov), Span { start_ms, end_ms }, file.len() as u64)?;
    assert!(cut.from < cut.to && cut.to <= file.len() as u64);
    Ok([&cut.head, &file[cut.from as usize..cut.to as usize]].concat())
}

/// Whether what is left of a track is the end of what it was, all due earlier by `by` seconds (a fraction).
fn assert_tail(old: &[Sample], new: &[Sample], by: (i64, u32), scale: u32) {
    let skipped = old.len() - new.len();
    for (old, new) in old[skipped..].iter().zip(new) {
        assert_eq!((&old.bytes, old.sync), (&new.bytes, new.sync));
        let moved = by.0 * i64::from(scale) / i64::from(by.1);
        assert!((old.due - new.due - moved).abs() <= 1, "{} {} {moved}", old.due, new.due);
    }
}

#[test]
fn a_file_from_any_second_on_has_the_keyframe_and_all_behind_it_in_time() {
    for index_first in [true, false] {
        let whole = file(&[video(), audio()], index_first);
        let old = samples(&whole);
        for start_ms in [1, 400, 999, 1000, 1039, 1040, 2500, 7039, 7999, 50_000] {
            let part = cut_file(&whole, start_ms, None).unwrap();
            let new = samples(&part);
            let start = (start_ms * 12_800 / 1000) as i64;
            let key = old[0].iter().rposition(|sample| sample.sync && sample.due <= start).unwrap();
            let by = old[0][key].due;
            assert_eq!(new[0].len(), old[0].len() - key, "{start_ms} ms");
            assert_eq!((new[0][0].due, new[0][0].dts), (0, 0));
            assert_tail(&old[0], &new[0], (by, 12_800), 12_800);
            assert_tail(&old[1], &new[1], (by, 12_800), 48_000);
            assert!(new[1][0].due <= 0 && new[1][1].due > 0, "the sound begins with the picture");
            assert!(find(&part, &[b"moov", b"udta"]).unwrap() == b"kept");
            let durations = [words(find(&part, &[b"moov", b"mvhd"]).unwrap())[4]];
            let left = 8000 - by * 1000 / 12_800;
            assert!((i64::from(durations[0]) - left).abs() <= 1, "{durations:?} {left}");
        }
    }
}

#[test]
fn every_kind_of_table_is_cut() {
    for bits in [0, 4, 8, 16, 32] {
        for (chunk, wide) in [(1, false), (3, true), (50, false), (500, true)] {
            let plan = Plan { bits, chunk, wide, ..video() };
            let sound = Plan { bits, chunk, wide: !wide, edits: vec![(300, -1), (7700, 0)], ..audio() };
            let whole = file(&[sound.clone(), plan], true);
            let old = samples(&whole);
            for start_ms in [150, 1500, 3333] {
                let new = samples(&cut_file(&whole, start_ms, None).unwrap());
                let start = (start_ms * 12_800 / 1000) as i64;
                let key = old[1].iter().rposition(|sample| sample.sync && sample.due <= start).unwrap();
                assert_eq!(new[1].len(), old[1].len() - key);
                let by = (old[1][key].due, 12_800);
                assert_tail(&old[1], &new[1], by, 12_800);
                assert_tail(&old[0], &new[0], by, 48_000);
            }
        }
    }
}

#[test]
fn without_edit_lists_the_last_picture_is_shown_too() {
    let whole = file(&[Plan { edits: vec![], ..video() }, Plan { edits: vec![], ..audio() }], true);
    let (old, new) = (samples(&whole), samples(&cut_file(&whole, 3000, None).unwrap()));
    let by = (old[0][50].due, 12_800);
    assert_eq!((new[0].len(), by), (150, (26_624, 12_800)));
    assert_tail(&old[0], &new[0], by, 12_800);
    assert_tail(&old[1], &new[1], by, 48_000);
}

#[test]
fn an_end_leaves_out_what_comes_later() {
    let whole = file(&[video(), audio()], false);
    let part = cut_file(&whole, 2100, Some(4000)).unwrap();
    assert!(part.len() < whole.len() / 2, "{} of {}", part.len(), whole.len());
    let new = samples(&part);
    let old = samples(&whole);
    assert!(new[0][0].bytes == old[0][50].bytes, "the keyframe at 2 s");
    // The keyframe is due at 2 s, so a little less than 2 s are left.
    assert_eq!(new[0].iter().filter(|sample| sample.due >= 0).count(), 50);
    assert!(new[0].iter().chain(&new[1]).all(|sample| sample.due < 2 * 48_000));
    let last = new[1].last().unwrap().due;
    assert!((94_000..96_000).contains(&last), "{last}");
    assert_eq!(words(find(&part, &[b"moov", b"mvhd"]).unwrap())[4], 2000);
}

#[test]
fn sound_alone_begins_at_any_sample() {
    let whole = file(&[audio()], true);
    let new = samples(&cut_file(&whole, 5000, None).unwrap());
    let old = samples(&whole);
    assert!(new[0][0].due == 0 && new[0].len() == 376 - (5 * 48_000 + 1024) / 1024);
    assert!(new[0].last().unwrap().bytes == old[0].last().unwrap().bytes);
    let new = samples(&cut_file(&whole, 50_000, None).unwrap());
    assert_eq!(new[0].len(), 1, "behind the end: the last sample");
}

#[test]
fn a_track_that_is_over_is_left_out() {
    let short = Plan { samples: 100, edits: vec![], ..audio() };
    let whole = file(&[short, video()], true);
    let new = samples(&cut_file(&whole, 6000, None).unwrap());
    assert_eq!(new.len(), 1);
    assert!(new[0][0].sync && new[0].len() == 50);
}

#[test]
fn offsets_beyond_four_gigabytes_become_wide() {
    let plan = Plan { wide: false, ..video() };
    let mut whole = file(std::slice::from_ref(&plan), true);
    let moov_at = 8 + 8 + 13;
    let moov = find(&whole, &[b"moov"]).unwrap().to_vec();
    let mut index = Vec::new();
    copy(&mut index, b"moov", &moov);
    assert!(whole[moov_at..].starts_with(&index));
    let part = cut(&[], &index, Span { start_ms: 3000, end_ms: None }, u64::from(u32::MAX) + 5).unwrap();
    let stbl = [b"moov", b"trak", b"mdia", b"minf", b"stbl"];
    let stbl = find(&part.head, &stbl).unwrap();
    assert!(find(stbl, &[b"stco"]).is_none());
    let first = u64::from_be_bytes(find(stbl, &[b"co64"]).unwrap()[8..16].try_into().unwrap());
    assert_eq!(first, part.head.len() as u64, "the first chunk is right behind the head");
    // A part of more than 4 GiB has a head of 16 bytes.
    let mut head = Vec::new();
    put_data_head(&mut head, 1 << 32);
    assert_eq!(words(&head)[..2], [1, u32::from_be_bytes(*b"mdat")]);
    assert_eq!(words(&head)[2..], [1, 16]);
    whole.clear();
}

#[test]
fn what_cannot_be_cut_is_refused_with_a_reason() {
    let whole = file(&[video(), audio()], true);
    let refused = |bytes: &[u8]| cut_file(bytes, 2000, None).unwrap_err();
    assert_eq!(refused(b""), IndexError::NotMp4);
    assert_eq!(refused(b"no video at all"), IndexError::NotMp4);
    assert_eq!(refused(&whole[..29]), IndexError::NotMp4, "no index");
    assert_eq!(refused(&whole[..2000]), IndexError::Broken, "half an index");
    let mut many = Vec::new();
    (0..5000).for_each(|_| put(&mut many, b"free", |_| {}));
    assert_eq!(refused(&many), IndexError::NotMp4);
    assert_eq!(refused(&[&[0, 0, 0, 1], &b"free"[..], &[0xff; 8]].concat()), IndexError::NotMp4);
    let mut fragments = Vec::new();
    put(&mut fragments, b"moof", |_| {});
    assert_eq!(refused(&fragments), IndexError::Fragmented);
    let mut walk = Walk::new(1 << 40);
    let large = [(MAX_INDEX + 1).to_be_bytes().as_slice(), b"moov"].concat();
    assert_eq!(walk.look(&large), Err(IndexError::TooLarge));
    let twice = Plan { edits: vec![(1000, 0), (1000, 5000)], ..video() };
    assert_eq!(refused(&file(&[twice], true)), IndexError::Edited);
    let none = Plan { samples: 3, gop: 0, ..video() };
    let mut empty = file(&[none], true);
    let at = empty.windows(4).position(|word| word == b"stsz").unwrap() + 12;
    empty[at..at + 4].fill(0);
    assert_eq!(refused(&empty), IndexError::Broken);
}

#[test]
fn counts_that_lie_cost_nothing() {
    // Four thousand million samples in one chunk, all of one size, in one run.
    let plan =
        Plan { bits: 0, samples: 0x7fff_ffff, delta: 1, shifts: vec![], gop: 0, edits: vec![], ..video() };
    let mut moov = Vec::new();
    put(&mut moov, b"moov", |out| {
        full(out, b"mvhd", 0, &[0, 0, 1000, 8000, 0]);
        let chunk = Plan { chunk: plan.samples, ..plan };
        chunk.put(out, &[40]);
    });
    let span = Span { start_ms: 1_000_000, end_ms: Some(2_000_000) };
    let part = cut(&[], &moov, span, 1 << 50).unwrap();
    assert_eq!((part.from, part.to), (40 + 9 * 12_800_000, 40 + 9 * 25_600_000));
    assert!(part.head.len() < 1000);
}

#[test]
fn hostile_bytes_never_panic_and_are_answered_in_bounded_size() {
    let mut noise = Noise(0x1234_5678);
    let plans: Vec<Vec<u8>> = [32, 16, 4, 0]
        .into_iter()
        .map(|bits| {
            let mut gop = Plan { bits, samples: 40, gop: 10, ..video() };
            gop.edits = vec![(100, -1), (1500, 0)];
            file(&[gop, Plan { bits, samples: 60, ..audio() }], bits != 16)
        })
        .collect();
    let mut cuts = 0;
    for n in 0..6000 {
        let whole = &plans[n % plans.len()];
        let hostile = noise.mutate(whole);
        let end = (n % 3 == 0).then_some(1200);
        if let Ok(part) = cut_file(&hostile, (n as u64 * 37) % 2000, end) {
            assert!(part.len() < 3 * whole.len());
            cuts += 1;
        }
    }
    assert!(cuts > 100, "{cuts}");
    for end in 0..plans[0].len() {
        let _ = cut_file(&plans[0][..end], 1000, None);
    }
}
