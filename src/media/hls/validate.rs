//! Apple's rules for live playlists, checked over every version that a stream's playlist goes through.
//! Spec: RFC 8216, sections 4.3 and 6.2; RFC 8216bis, sections 4.4.3.7 to 4.4.5.3 and 6.2.5.

use super::{Body, Content, File, Hls, Playlist, Variant};
use aes::cipher::{BlockDecryptMut, KeyIvInit, block_padding::Pkcs7};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::rc::Rc;

/// What was said of a segment; it must never be said otherwise.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    uri: String,
    extinf: String,
    /// Discontinuities before and at it since the stream began.
    discontinuities: u64,
    map: Option<String>,
    key: Option<String>,
    date: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Part {
    ms: u64,
    uri: String,
    independent: bool,
}

#[derive(Debug, Default)]
struct Parsed {
    target: u64,
    sequence: u64,
    discontinuity: u64,
    part_target: u64,
    hold_back: u64,
    segments: Vec<(Said, Vec<Part>)>,
    trailing: Vec<Part>,
    hint: Option<String>,
    ended: bool,
    independent: bool,
    skip_until: Option<u64>,
    skipped: u64,
    head: Vec<String>,
}

/// Follows one stream.
#[derive(Debug, Default)]
pub(super) struct Validator {
    said: BTreeMap<u64, Said>,
    /// Those listed for each segment, and whether it is complete.
    parts: BTreeMap<u64, (Vec<Part>, bool)>,
    bodies: BTreeMap<String, u64>,
    hint: Option<(u64, String)>,
    last: Option<(u64, u64, u64, u64)>,
    /// When a segment left the list, and how long it has to stay from then.
    left: BTreeMap<u64, u64>,
    /// Longest and count of all segments.
    pub(super) longest_ms: u64,
    pub(super) versions: u64,
    pub(super) discontinuities: u64,
    pub(super) total_ms: u64,
    text: Option<Rc<str>>,
    /// The budget may take segments before their time.
    pub(super) squeezed: bool,
    pub(super) parts_seen: u64,
    /// Last continuity counter of each PID.
    counters: BTreeMap<u16, u8>,
    /// A real packager makes the segments, without the outline's marks.
    pub(super) real: bool,
    /// Somebody set the clock: a date may step.
    pub(super) clock_set: bool,
    /// Updates that left something out.
    pub(super) updates: u64,
    /// Segments that a player cannot start at.
    pub(super) dependent: u64,
    /// Encrypted segments that could be read with their keys.
    pub(super) opened: u64,
    /// The tags of the whole list, without those that may change.
    head: Option<Vec<String>>,
    part_target: u64,
}

/// Tags that stand in a list once at most (RFC 8216bis, 4.4.1 to 4.4.3), and are there before the first segment.
const ONCE: [&str; 8] = [
    "#EXT-X-VERSION",
    "#EXT-X-TARGETDURATION",
    "#EXT-X-SERVER-CONTROL",
    "#EXT-X-PART-INF",
    "#EXT-X-MEDIA-SEQUENCE",
    "#EXT-X-DISCONTINUITY-SEQUENCE",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    "#EXT-X-SKIP",
];

/// Milliseconds since midnight of a date in a playlist.
fn of_day(date: &str) -> u64 {
    let (day, time) = date.strip_suffix('Z').unwrap().split_once('T').expect("a date and a time");
    assert!(day.len() == 10 && time.len() == 12, "{date}");
    let (clock, rest) = time.split_once('.').unwrap();
    let seconds = clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap());
    seconds * 1000 + rest.parse::<u64>().unwrap()
}

/// Signed distance of two times of day, at most half a day.
fn since(now: u64, before: u64) -> i64 {
    const DAY: i64 = 86_400_000;
    (now as i64 - before as i64 + DAY / 2).rem_euclid(DAY) - DAY / 2
}

fn ms(text: &str) -> u64 {
    let (whole, part) = text.split_once('.').expect("seconds with decimals");
    assert_eq!(part.len(), 3, "{text}");
    whole.parse::<u64>().unwrap() * 1000 + part.parse::<u64>().unwrap()
}

fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let at = list.split(',').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))?.1;
    Some(at.trim_matches('"'))
}

fn parse(text: &str, variant: Variant) -> Parsed {
    assert!(text.ends_with('\n'), "the last line is whole");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("#EXTM3U"));
    let mut p = Parsed { part_target: 0, ..Parsed::default() };
    let (mut map, mut key, mut extinf, mut parts) = (None, None, None, Vec::new());
    let mut date = None;
    let mut discontinuities = 0;
    let (mut version, mut needed) = (0, 1);
    let mut once = BTreeSet::new();
    let mut fresh = false;
    for line in lines {
        assert!(!p.ended, "nothing follows ENDLIST: {line}");
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        if ONCE.contains(&tag) {
            assert!(once.insert(tag) && p.segments.is_empty(), "{tag} twice or late\n{text}");
            // Of the whole list these may change, and what is reckoned from a target duration.
            let may_change = tag.ends_with("SEQUENCE") || tag.ends_with("SEGMENTS") || tag.ends_with("-SKIP");
            if !may_change && tag != "#EXT-X-VERSION" {
                p.head.push(tag.to_owned());
            }
        }
        needed = needed.max(match tag {
            "#EXTINF" => 3,
            "#EXT-X-MAP" => 6,
            "#EXT-X-SKIP" => 9,
            _ => 1,
        });
        match tag {
            "#EXT-X-VERSION" => version = value.parse().unwrap(),
            "#EXT-X-TARGETDURATION" => p.target = value.parse().unwrap(),
            "#EXT-X-MEDIA-SEQUENCE" => p.sequence = value.parse().unwrap(),
            "#EXT-X-DISCONTINUITY-SEQUENCE" => {
                assert!(p.segments.is_empty());
                p.discontinuity = value.parse().unwrap();
            }
            "#EXT-X-INDEPENDENT-SEGMENTS" => p.independent = true,
            "#EXT-X-PROGRAM-DATE-TIME" => {
                assert!(parts.is_empty(), "the date of a segment comes before its parts");
                assert_eq!(date.replace(value.to_owned()), None);
            }
            "#EXT-X-SKIP" => {
                assert!(p.segments.is_empty());
                p.skipped = attribute(value, "SKIPPED-SEGMENTS").unwrap().parse().unwrap();
            }
            "#EXT-X-DISCONTINUITY" => {
                assert!(
                    !std::mem::replace(&mut fresh, true) && parts.is_empty(),
                    "in front of its segment\n{text}"
                );
                discontinuities += 1;
            }
            "#EXT-X-MAP" => map = attribute(value, "URI").map(str::to_owned),
            "#EXT-X-KEY" => {
                assert_eq!(attribute(value, "METHOD"), Some("AES-128"));
                assert_eq!(
                    attribute(value, "IV"),
                    None,
                    "the initialization vector is the number of the segment"
                );
                key = attribute(value, "URI").map(str::to_owned);
            }
            "#EXTINF" => {
                assert_eq!(extinf, None);
                extinf = Some(value.strip_suffix(',').unwrap().to_owned());
            }
            "#EXT-X-SERVER-CONTROL" => {
                assert_eq!(attribute(value, "CAN-BLOCK-RELOAD"), Some("YES"));
                p.hold_back = ms(attribute(value, "PART-HOLD-BACK").unwrap());
                p.skip_until = attribute(value, "CAN-SKIP-UNTIL").map(ms);
            }
            "#EXT-X-PART-INF" => p.part_target = ms(attribute(value, "PART-TARGET").unwrap()),
            "#EXT-X-PART" => parts.push(Part {
                ms: ms(attribute(value, "DURATION").unwrap()),
                uri: attribute(value, "URI").unwrap().to_owned(),
                independent: attribute(value, "INDEPENDENT") == Some("YES"),
            }),
            "#EXT-X-PRELOAD-HINT" => {
                assert_eq!(attribute(value, "TYPE"), Some("PART"));
                p.hint = attribute(value, "URI").map(str::to_owned);
            }
            "#EXT-X-ENDLIST" => p.ended = true,
            uri => {
                assert!(!uri.starts_with('#') && !uri.is_empty(), "unknown line {line:?}");
                assert!(uri.is_ascii() && !uri.contains(['"', ' ', ',']), "{uri}");
                let said = Said {
                    uri: line.to_owned(),
                    extinf: extinf.take().expect("EXTINF before the URI"),
                    discontinuities: p.discontinuity + discontinuities,
                    map: map.clone(),
                    key: key.clone(),
                    date: date.take().expect("each segment has a date"),
                };
                assert!(ms(&said.extinf) > 0, "a segment lasts\n{text}");
                p.segments.push((said, std::mem::take(&mut parts)));
                fresh = false;
            }
        }
    }
    for required in
        ["#EXT-X-VERSION", "#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-DISCONTINUITY-SEQUENCE"]
    {
        assert!(once.contains(required), "{required} is missing\n{text}");
    }
    let low_latency = variant == Variant::LowLatency;
    for tag in ["#EXT-X-SERVER-CONTROL", "#EXT-X-PART-INF"] {
        assert_eq!(once.contains(tag), low_latency, "{tag}\n{text}");
    }
    assert_eq!(extinf, None);
    assert!(parts.is_empty() == date.is_none(), "parts have a date");
    p.trailing = parts;
    assert_eq!(version, needed, "no more and no less than what is in it needs\n{text}");
    if variant != Variant::Ts {
        assert!(p.segments.iter().all(|(said, _)| said.map.is_some()), "every segment has a map\n{text}");
    }
    p
}

impl Validator {
    /// Looks at the playlist as it is at `now` (milliseconds), and at what it lists.
    pub(super) fn look(&mut self, hls: &mut Hls, now: u64) {
        let text = match hls.playlist("") {
            Playlist::Text(text) => text,
            Playlist::Wait(_) => return assert!(self.text.is_none(), "a playlist does not go away"),
            Playlist::Bad(why) => panic!("{why}"),
        };
        self.check_left(hls, now);
        if self.text.as_ref() == Some(&text) {
            return;
        }
        let variant = hls.settings().variant;
        let p = parse(&text, variant);
        self.versions += 1;
        self.check_numbers(&p, now, &text);
        if self.versions % 5 == 1 || p.ended {
            self.check_update(hls, &p, &text);
        }
        self.check_dates(&p, &text);
        let mut start = Vec::new();
        for (n, (said, parts)) in (p.sequence..).zip(&p.segments) {
            let length = ms(&said.extinf);
            assert!((length + 500) / 1000 <= p.target, "TARGETDURATION {} under {length} ms", p.target);
            match self.said.get(&n) {
                Some(before) => assert_eq!(before, said, "a listed segment changed\n{text}"),
                None => {
                    assert!(self.said.last_key_value().is_none_or(|(last, _)| n == last + 1), "a gap at {n}");
                    self.longest_ms = self.longest_ms.max(length);
                    self.total_ms += length;
                    let fresh = self
                        .said
                        .get(&(n.wrapping_sub(1)))
                        .is_none_or(|before| before.discontinuities != said.discontinuities);
                    self.said.insert(n, said.clone());
                    self.check_body(hls, (n, said), variant, fresh, p.independent);
                }
            }
            // Further from the end than three target durations a part is not listed, and can still be had.
            let from_end: u64 =
                p.segments.iter().skip((n - p.sequence) as usize).map(|(s, _)| ms(&s.extinf)).sum();
            assert!(parts.is_empty() || from_end <= 3 * p.target * 1000, "old parts\n{text}");
            if !parts.is_empty() {
                self.check_parts(hls, n, parts, &p, Some(said), &text);
            } else if variant == Variant::LowLatency {
                assert!(start.is_empty(), "segments with parts are the last\n{text}");
            }
            start.extend(parts.first().cloned());
        }
        let next = p.sequence + p.segments.len() as u64;
        if variant == Variant::LowLatency {
            assert!(p.hold_back >= 3 * p.part_target, "PART-HOLD-BACK is three PART-TARGETs: {text}");
            assert!(self.part_target == 0 || self.part_target == p.part_target, "PART-TARGET changed");
            self.part_target = p.part_target;
            assert!(p.hint.is_some() != p.ended, "a hint until the end\n{text}");
            self.check_parts(hls, next, &p.trailing, &p, None, &text);
            self.check_hint(hls, &p, &text);
        } else {
            assert!(p.trailing.is_empty() && p.hint.is_none());
        }
        assert_eq!(
            *self.head.get_or_insert(p.head.clone()),
            p.head,
            "tags of the whole list come or go\n{text}"
        );
        self.discontinuities =
            p.segments.last().map_or(self.discontinuities, |(said, _)| said.discontinuities);
        self.text = Some(text);
    }

    fn check_numbers(&mut self, p: &Parsed, now: u64, text: &str) {
        let count = p.segments.len() as u64;
        if let Some((sequence, end, discontinuity, target)) = self.last {
            assert!(p.sequence >= sequence, "MEDIA-SEQUENCE went back");
            assert!(p.sequence + count >= end, "the list lost its end");
            assert!(p.discontinuity >= discontinuity, "DISCONTINUITY-SEQUENCE went back");
            assert!(p.target >= target, "TARGETDURATION went back");
            if p.sequence > sequence && !self.squeezed {
                let total: u64 = p.segments.iter().map(|(said, _)| ms(&said.extinf)).sum();
                assert!(total >= 3 * p.target * 1000, "shorter than three target durations\n{text}");
                for n in sequence..p.sequence {
                    // The segment's length and that of the longest list that held it; the list did not shrink here.
                    self.left.insert(n, now + ms(&self.said[&n].extinf) + total);
                }
            }
        }
        self.last = Some((p.sequence, p.sequence + count, p.discontinuity, p.target));
    }

    /// Without a discontinuity, dates follow lengths to within a hundredth; they never go back.
    fn check_dates(&self, p: &Parsed, text: &str) {
        for pair in p.segments.windows(2) {
            let [(before, _), (said, _)] = pair else { continue };
            let length = ms(&before.extinf);
            let off = since(of_day(&said.date), of_day(&before.date)) - length as i64;
            let stepped = self.clock_set && off > 10_000;
            let most = if !stepped && before.discontinuities == said.discontinuities {
                length / 100
            } else {
                86_400_000
            };
            assert!(off >= -(length as i64 / 100) && off <= most as i64, "a date is {off} ms off\n{text}");
        }
    }

    /// An update is the end of the whole, and leaves out what is old enough.
    fn check_update(&mut self, hls: &mut Hls, whole: &Parsed, text: &str) {
        let Playlist::Text(update) = hls.playlist("a=b&_HLS_skip=YES") else { panic!("no update") };
        let p = parse(&update, hls.settings().variant);
        let Some(until) = whole.skip_until.filter(|_| !whole.ended) else {
            return assert_eq!(&*update, text);
        };
        assert!(until >= 6 * whole.target * 1000);
        self.updates += u64::from(p.skipped > 0);
        let (old, rest) = whole.segments.split_at(p.skipped as usize);
        let mut left: u64 = rest.iter().map(|(said, _)| ms(&said.extinf)).sum();
        assert!(old.is_empty() || left > until, "segments within the boundary are left out\n{update}");
        if let Some(((next, _), true)) = rest.first().map(|first| (first, rest.len() > 1)) {
            left -= ms(&next.extinf);
            assert!(left <= until, "more could be left out\n{update}");
        }
        assert_eq!(
            (p.sequence, p.discontinuity, p.target),
            (whole.sequence, whole.discontinuity, whole.target)
        );
        assert_eq!(
            (p.trailing, p.hint, p.segments.len()),
            (whole.trailing.clone(), whole.hint.clone(), rest.len())
        );
        for ((got, got_parts), (said, parts)) in p.segments.iter().zip(rest) {
            assert_eq!(
                (&got.uri, &got.extinf, &got.date, got_parts, &got.map),
                (&said.uri, &said.extinf, &said.date, parts, &said.map)
            );
        }
    }

    /// Continuity counters go on from segment to segment of one run.
    fn check_counters(&mut self, whole: &[u8], fresh: bool) {
        if fresh {
            self.counters.clear();
        }
        for packet in whole.chunks(188) {
            let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
            let (payload, counter) = (packet[3] & 0x10 != 0, packet[3] & 0x0f);
            let before = self.counters.insert(pid, counter);
            let expected = before.map(|before| if payload { (before + 1) & 0x0f } else { before });
            // The first segment after a break may begin with the end of what was before it.
            assert!(
                fresh || expected.is_none_or(|expected| expected == counter),
                "PID {pid:#x}: {before:?} {counter}"
            );
        }
    }

    /// What left the list is still there for as long as it has to be.
    fn check_left(&mut self, hls: &Hls, now: u64) {
        self.left.retain(|_, until| *until > now);
        // They go in order, so the oldest speaks for all.
        if let Some(n) = self.left.keys().next().filter(|_| !self.squeezed) {
            assert!(body(hls, &self.said[n].uri).is_some(), "segment {n} went too early");
            for part in self.parts.get(n).map_or(&[][..], |(parts, _)| parts) {
                assert!(body(hls, &part.uri).is_some(), "{} went too early", part.uri);
            }
        }
    }

    fn check_body(
        &mut self,
        hls: &Hls,
        (n, said): (u64, &Said),
        variant: Variant,
        fresh: bool,
        independent: bool,
    ) {
        let (content, bytes) = body(hls, &said.uri).expect("a listed segment can be had");
        assert!(self.bodies.insert(said.uri.clone(), sum(&bytes)).is_none(), "{} was used before", said.uri);
        let whole: Vec<u8> = bytes.chunks.concat();
        assert_eq!(whole.len() as u64, bytes.len);
        match variant {
            Variant::Ts if said.key.is_none() => {
                assert_eq!((content, whole.len() % 188), (Content::Ts, 0));
                assert!(whole.chunks(188).all(|packet| packet[0] == 0x47));
                assert_eq!(whole[1] & 0x1f, 0, "PAT first");
                assert_eq!(whole[2], 0, "PAT first");
                self.check_counters(&whole, fresh);
                let start = self.real || super::tests::starts(&bytes.chunks);
                self.dependent += u64::from(!start);
                assert!(start || !independent, "{} is called independent", said.uri);
            }
            Variant::Ts => {
                assert_eq!(whole.len() % 16, 0);
                let (content, key) = body(hls, said.key.as_ref().unwrap()).expect("the key can be had");
                assert_eq!((content, key.len), (Content::Key, 16));
                let key: [u8; 16] = key.chunks.concat().try_into().unwrap();
                let (mut whole, iv) = (whole, u128::from(n).to_be_bytes());
                let cipher = cbc::Decryptor::<aes::Aes128>::new(&key.into(), &iv.into());
                let clear = cipher.decrypt_padded_mut::<Pkcs7>(&mut whole).expect("padding");
                assert!(clear.chunks(188).all(|packet| packet.len() == 188 && packet[0] == 0x47));
                self.check_counters(clear, fresh);
                self.opened += 1;
            }
            Variant::Fmp4 | Variant::LowLatency => {
                assert_eq!((content, &whole[4..8]), (Content::Mp4, &b"moof"[..]));
                let start = self.real || super::tests::starts(&bytes.chunks);
                self.dependent += u64::from(!start);
                assert!(start || !independent, "{} is called independent", said.uri);
                let (_, init) = body(hls, said.map.as_ref().unwrap()).expect("the map can be had");
                assert_eq!(&init.chunks.concat()[4..8], b"ftyp");
            }
        }
    }

    fn check_parts(
        &mut self,
        hls: &Hls,
        n: u64,
        parts: &[Part],
        p: &Parsed,
        segment: Option<&Said>,
        text: &str,
    ) {
        let whole = segment.is_some();
        let (before, done) = self.parts.entry(n).or_default();
        assert!(parts.starts_with(before), "listed parts changed: {before:?}\n{text}");
        if std::mem::replace(done, whole) == whole && before.len() == parts.len() {
            return;
        }
        self.parts_seen += (parts.len() - before.len()) as u64;
        before.clone_from(&parts.to_vec());
        let not_last = if segment.is_some() { parts.len().saturating_sub(1) } else { parts.len() };
        for part in parts {
            assert!(part.ms <= p.part_target, "a part of {} ms over {}\n{text}", part.ms, p.part_target);
        }
        // Of a segment in the making, the last part may turn out to be its last.
        for part in parts.iter().take(if segment.is_some() { not_last } else { not_last.saturating_sub(1) }) {
            assert!(
                part.ms * 100 >= p.part_target * 85,
                "a part of {} ms under 85 % of {}\n{text}",
                part.ms,
                p.part_target
            );
        }
        let mut joined = Vec::new();
        for part in parts {
            let (_, bytes) = body(hls, &part.uri).expect("a listed part can be had");
            joined.extend(bytes.chunks.concat());
        }
        if let Some(said) = segment {
            let (_, bytes) = body(hls, &said.uri).unwrap();
            assert_eq!(joined, bytes.chunks.concat(), "the parts are the segment");
            let sum: u64 = parts.iter().map(|part| part.ms).sum();
            assert!(sum <= ms(&said.extinf), "parts of {sum} ms in {}", said.extinf);
        }
    }

    /// What was announced is what came.
    fn check_hint(&mut self, hls: &Hls, p: &Parsed, text: &str) {
        let all: Vec<&Part> = p.segments.iter().flat_map(|(_, parts)| parts).chain(&p.trailing).collect();
        if let Some((count, hint)) = self.hint.take()
            && self.parts_seen > count
        {
            assert!(all.iter().any(|part| part.uri == hint), "the hint {hint} did not come true\n{text}");
        } else if let Some(hint) = &p.hint {
            assert!(all.iter().all(|part| part.uri != *hint));
        }
        if let Some(hint) = &p.hint {
            assert!(matches!(file(hls, hint), Some(File::Wait(_))), "{hint} cannot be asked for\n{text}");
        }
        self.hint = p.hint.clone().map(|hint| (self.parts_seen, hint));
    }
}

fn sum(body: &Body) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    body.chunks.iter().for_each(|chunk| hasher.write(chunk));
    hasher.finish()
}

/// What is behind a URI of a playlist of the app `live`.
fn file(hls: &Hls, uri: &str) -> Option<File> {
    hls.file(&format!("live/{}", crate::wire::names::percent_decode(uri)?))
}

fn body(hls: &Hls, uri: &str) -> Option<(Content, Rc<Body>)> {
    match file(hls, uri)? {
        File::Body(content, body) => Some((content, body.upgrade().expect("kept"))),
        File::Wait(_) => None,
    }
}
