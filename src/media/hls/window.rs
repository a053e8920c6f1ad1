//! The segments of a stream that a client may ask for: those listed, those that just left the list, the parts of the
//! one in the making.

use super::cutter::Part;
use super::keys::{Key, Keys};
use super::names::{Names, Values};
use super::playlist::{self, Reload};
use super::{Body, Change, Closed, Content, Measured, Now, Settings, Variant};
use bytes::Bytes;
use std::collections::VecDeque;
use std::rc::Rc;

/// Segments that stay listed however long they are.
const MIN_LISTED: usize = 3;
/// TARGETDURATION is rounded up, as SRS does, but not for this little: clients round to the nearest second (RFC 8216,
/// 4.3.3.1), and every second more puts players three seconds back.
const SLACK_MS: u64 = 100;
/// A request that blocks waits for this many target durations at most (RFC 8216bis 6.2.5.2).
const PATIENCE: u64 = 3;

/// Dates follow the lengths of segments; by this share of a segment they are brought nearer to the clock.
const DATE_SLEW: u64 = 100;
/// A clock that is further off than this (ms) was set: dates begin anew.
const DATE_STEP_MS: u64 = 10_000;

/// A resource: its name and bytes.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: Rc<str>,
    body: Rc<Body>,
}

/// A part that can be asked for by itself.
#[derive(Debug)]
pub(super) struct ListedPart {
    pub(super) item: Item,
    pub(super) ms: u64,
    pub(super) independent: bool,
}

/// A complete segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) item: Item,
    pub(super) ms: u64,
    /// When it began, in ms since 1970.
    pub(super) date: u64,
    pub(super) discontinuity: bool,
    pub(super) independent: bool,
    /// Its file could not be written.
    pub(super) gap: bool,
    bytes: u64,
    pictures: u32,
    pub(super) init: Option<Rc<Item>>,
    pub(super) key: Option<(Rc<Key>, Rc<Item>)>,
    pub(super) parts: Vec<ListedPart>,
}

/// The segment in the making.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) discontinuity: bool,
    pub(super) date: u64,
    pub(super) parts: Vec<ListedPart>,
    values: Values,
    name: Rc<str>,
    bytes: usize,
    pictures: u32,
    /// It has no picture before its first keyframe.
    independent: bool,
}

fn lists(parts: &[ListedPart]) -> usize {
    parts.iter().map(|part| part.item.body.lists()).sum()
}

#[derive(Debug)]
struct Retired {
    until: u64,
    segment: Segment,
}

#[derive(Debug)]
pub(super) struct Window {
    low_latency: bool,
    content: Content,
    window_ms: u64,
    budget: usize,
    listed: VecDeque<Segment>,
    retired: VecDeque<Retired>,
    open: Option<Open>,
    init: Option<Rc<Item>>,
    key: Option<(Rc<Key>, Rc<Item>)>,
    next_sequence: u64,
    discontinuity_sequence: u64,
    target_s: u64,
    part_target_ms: u64,
    /// What the name of the newest segment tells of the time, and when the next one begins by its lengths.
    name_ms: Option<u64>,
    next_date: Option<u64>,
    rate: Rate,
    /// Files that could not be written and are needed for what comes.
    lost: Vec<Rc<str>>,
    /// Bytes and length of what is listed or retired, and of the parts of the segment in the making.
    bytes: usize,
    listed_ms: u64,
    ended: bool,
    squeezed: u64,
    text: Option<Rc<str>>,
    /// The same without what a client has already.
    update: Option<Rc<str>>,
    keep: bool,
    tell: bool,
    changes: Vec<Change>,
}

/// The highest rate of a stretch of segments of at least half the target duration (RFC 8216bis, 4.4.6.2).
#[derive(Debug, Default)]
struct Rate {
    peak: u64,
    bytes: u64,
    ms: u64,
}

impl Rate {
    fn add(&mut self, bytes: u64, ms: u64, target_ms: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.ms = self.ms.saturating_add(ms);
        if self.ms.saturating_mul(2) >= target_ms {
            self.peak = self.peak.max(bits_per_second(self.bytes, self.ms));
            (self.bytes, self.ms) = (0, 0);
        }
    }
}

fn bits_per_second(bytes: u64, ms: u64) -> u64 {
    bytes.saturating_mul(8000).checked_div(ms).unwrap_or(0)
}

impl Window {
    pub(super) fn new(settings: &Settings) -> Window {
        Window {
            low_latency: settings.variant == Variant::LowLatency,
            content: if settings.variant == Variant::Ts { Content::Ts } else { Content::Mp4 },
            window_ms: settings.window_ms,
            budget: settings.budget,
            listed: VecDeque::new(),
            retired: VecDeque::new(),
            open: None,
            init: None,
            key: None,
            next_sequence: settings.first_sequence,
            discontinuity_sequence: 0,
            target_s: settings.target_ms.div_ceil(1000).max(1),
            part_target_ms: settings.part_ms,
            bytes: 0,
            listed_ms: 0,
            ended: false,
            squeezed: 0,
            text: None,
            update: None,
            keep: settings.keep,
            tell: settings.tell,
            changes: Vec::new(),
            name_ms: None,
            next_date: None,
            rate: Rate::default(),
            lost: Vec::new(),
        }
    }

    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Whether the playlist has changed since its text was last asked for, and there is one.
    pub(super) fn is_stale(&self) -> bool {
        self.text.is_none() && !self.listed.is_empty()
    }

    /// Names of everything that could have been asked for.
    pub(super) fn all_files(&self) -> Vec<Rc<str>> {
        let segments = || self.listed.iter().chain(self.retired.iter().map(|retired| &retired.segment));
        let media = segments().map(|segment| segment.item.name.clone());
        let inits = segments().filter_map(|segment| segment.init.as_ref()).map(|item| item.name.clone());
        let keys = segments().filter_map(|segment| segment.key.as_ref()).map(|(_, item)| item.name.clone());
        let mut names: Vec<Rc<str>> = media.chain(inits).chain(keys).collect();
        names.sort();
        names.dedup();
        names
    }

    fn write(&mut self, name: &Rc<str>, chunks: &[Bytes]) {
        if self.tell {
            self.changes.push(Change::Write(name.clone(), chunks.to_vec()));
        }
    }

    /// A segment is gone: its file, and those that no other segment needs.
    fn forget(&mut self, gone: &Segment) {
        self.bytes = self.bytes.saturating_sub(gone.item.body.size());
        if !self.tell {
            return;
        }
        self.changes.push(Change::Remove(gone.item.name.clone()));
        let rest = self.all_files();
        let key = gone.key.as_ref().map(|(_, item)| item);
        for item in gone.init.iter().chain(key) {
            let current = self.init.as_ref().is_some_and(|init| init.name == item.name)
                || self.key.as_ref().is_some_and(|(_, key)| key.name == item.name);
            if !current && !rest.contains(&item.name) {
                self.changes.push(Change::Remove(item.name.clone()));
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many segments have no picture.
    #[cfg(test)]
    pub(super) fn listed_without_pictures(&self) -> usize {
        self.listed.iter().filter(|segment| segment.pictures == 0).count()
    }

    /// Memory taken, in bytes: the segments, and the lists of their chunks.
    pub(super) fn heap(&self) -> usize {
        let segments = self.listed.iter().chain(self.retired.iter().map(|retired| &retired.segment));
        let of_segments = segments.map(|segment| segment.item.body.lists() + lists(&segment.parts));
        let lists: usize =
            of_segments.sum::<usize>() + self.open.as_ref().map_or(0, |open| lists(&open.parts));
        self.bytes.saturating_add(lists)
    }

    /// Keeps within other bytes from now on.
    pub(super) fn set_budget(&mut self, bytes: usize) {
        self.budget = bytes;
    }

    pub(super) fn squeezed(&self) -> u64 {
        self.squeezed
    }

    pub(super) fn target_ms(&self) -> u64 {
        self.target_s.saturating_mul(1000)
    }

    pub(super) fn patience_ms(&self) -> u64 {
        self.target_s.saturating_mul(1000 * PATIENCE)
    }

    /// Segments from now on need this initialization segment.
    pub(super) fn init(&mut self, bytes: Bytes, names: &Names, now: Now) {
        let values = Values::new(self.next_sequence, names.time(now.unix_ms, self.name_ms));
        // Two in a row for the same segment: nobody has seen the first.
        let name = names.init(values);
        self.write(&name, std::slice::from_ref(&bytes));
        self.init = Some(Rc::new(Item { name, body: Rc::new(Body::new(vec![bytes])) }));
    }

    pub(super) fn open(&mut self, discontinuity: bool, names: &Names, now: Now) {
        let values = Values::new(self.next_sequence, names.time(now.unix_ms, self.name_ms));
        self.name_ms = Some(values.unix_ms);
        let name = names.segment(values);
        let date = self.date(discontinuity, now.unix_ms);
        self.open = Some(Open {
            discontinuity,
            date,
            parts: Vec::new(),
            values,
            name,
            bytes: 0,
            pictures: 0,
            independent: true,
        });
    }

    /// When the segment that begins now began: the clock's time at first and after a step, else where the one before
    /// ended, so that dates and lengths agree.
    fn date(&self, discontinuity: bool, unix_ms: u64) -> u64 {
        let Some(next) = self.next_date else { return unix_ms };
        let off = next.abs_diff(unix_ms);
        if off > DATE_STEP_MS || discontinuity && unix_ms > next {
            return unix_ms;
        }
        let step = off.min(self.listed.back().map_or(0, |last| last.ms) / DATE_SLEW);
        if unix_ms > next { next.saturating_add(step) } else { next.saturating_sub(step) }
    }

    pub(super) fn mark_discontinuity(&mut self) {
        if let Some(open) = &mut self.open {
            open.discontinuity = true;
        }
    }

    pub(super) fn part(&mut self, part: Part, names: &Names) {
        let Some(open) = &mut self.open else { return };
        let body = Rc::new(Body::new(part.chunks));
        if open.pictures == 0 {
            open.independent = part.independent;
        }
        open.pictures = open.pictures.saturating_add(part.pictures);
        open.bytes = open.bytes.saturating_add(body.size());
        self.bytes = self.bytes.saturating_add(body.size());
        let name = names.part(&open.name, open.parts.len());
        open.parts.push(ListedPart { item: Item { name, body }, ms: part.ms, independent: part.independent });
        if self.low_latency {
            self.touch();
        }
    }

    /// The segment in the making is complete and enters the list.
    pub(super) fn close(&mut self, ms: u64, names: &Names, keys: Option<&mut Keys>) -> Option<Closed> {
        let open = self.open.take()?;
        let mut values = open.values;
        values.duration_ms = ms;
        let sequence = self.next_sequence;
        let mut chunks: Vec<Bytes> =
            open.parts.iter().flat_map(|part| part.item.body.chunks.clone()).collect();
        if let Some(keys) = keys {
            let key = keys.next(sequence);
            chunks = vec![key.encrypt(sequence, &chunks)];
            if self.key.as_ref().is_none_or(|(current, _)| *current != key) {
                let name = names.key(values);
                let body = Body::new(vec![Bytes::copy_from_slice(&key.bytes)]);
                self.write(&name, &body.chunks);
                self.key = Some((key, Rc::new(Item { name, body: Rc::new(body) })));
            }
        }
        self.write_lost();
        let name = names.segment(values);
        self.write(&name, &chunks);
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let body = Rc::new(if self.keep { Body::new(chunks) } else { Body::default() });
        self.bytes = self.bytes.saturating_sub(open.bytes).saturating_add(body.size());
        self.next_sequence = sequence.saturating_add(1);
        self.target_s = self.target_s.max(ms.saturating_sub(SLACK_MS).div_ceil(1000));
        self.rate.add(bytes, ms, self.target_s.saturating_mul(1000));
        self.next_date = Some(open.date.saturating_add(ms));
        self.listed_ms = self.listed_ms.saturating_add(ms);
        let closed = Closed { sequence, name: name.clone(), ms, bytes };
        self.listed.push_back(Segment {
            item: Item { name, body },
            ms,
            date: open.date,
            discontinuity: open.discontinuity,
            gap: false,
            bytes,
            pictures: open.pictures,
            independent: open.independent,
            init: self.init.clone(),
            key: self.key.clone(),
            parts: if self.low_latency { open.parts } else { Vec::new() },
        });
        self.touch();
        Some(closed)
    }

    /// What no part exceeds.
    pub(super) fn part_target(&mut self, ms: u64) {
        if self.part_target_ms != ms {
            self.part_target_ms = ms;
            self.touch();
        }
    }

    /// Takes from the list, and then from memory, what is beyond the window or the budget. `open_bytes`: what the cutter
    /// holds besides.
    pub(super) fn slide(&mut self, now: u64, open_bytes: usize) {
        self.expire(now);
        let keep_ms =
            self.window_ms.max(self.target_s.saturating_mul(1000).saturating_mul(MIN_LISTED as u64));
        while self.listed.len() > MIN_LISTED
            && self.listed.front().is_some_and(|first| self.listed_ms.saturating_sub(first.ms) >= keep_ms)
        {
            let kept = self.listed_ms;
            if let Some(segment) = self.unlist() {
                let until = now.saturating_add(kept).saturating_add(segment.ms);
                self.retired.push_back(Retired { until, segment });
            }
        }
        while self.bytes.saturating_add(open_bytes) > self.budget {
            let gone = match self.retired.pop_front() {
                Some(retired) => retired.segment,
                None if self.listed.len() > 1 => match self.unlist() {
                    Some(segment) => segment,
                    None => return,
                },
                None => return,
            };
            self.squeezed = self.squeezed.saturating_add(1);
            self.forget(&gone);
        }
    }

    /// Forgets what left the list long enough ago.
    pub(super) fn expire(&mut self, now: u64) {
        while self.retired.front().is_some_and(|retired| retired.until <= now) {
            if let Some(Retired { segment, .. }) = self.retired.pop_front() {
                self.forget(&segment);
            }
        }
    }

    fn unlist(&mut self) -> Option<Segment> {
        let segment = self.listed.pop_front()?;
        self.listed_ms = self.listed_ms.saturating_sub(segment.ms);
        self.discontinuity_sequence += u64::from(segment.discontinuity);
        self.touch();
        Some(segment)
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
        self.touch();
    }

    /// Nothing more comes: what requests say of it is ignored.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn reopen(&mut self) {
        self.ended = false;
        self.touch();
    }

    /// Whether the playlist holds what a blocking request asks for.
    pub(super) fn has(&self, asked: Option<Reload>) -> Result<bool, &'static str> {
        if self.ended {
            return Ok(true);
        }
        if self.listed.is_empty() {
            return Ok(false);
        }
        let Some(Reload { sequence, part }) = asked else { return Ok(true) };
        if sequence > self.next_sequence.saturating_add(1) {
            return Err("_HLS_msn is too far ahead");
        }
        let open_parts = self.open.as_ref().map_or(0, |open| open.parts.len() as u64);
        let Some(part) = part else { return Ok(sequence < self.next_sequence) };
        let there = if sequence == self.next_sequence { open_parts } else { 0 };
        if sequence >= self.next_sequence {
            let most = there.saturating_add(playlist::advance_limit(self.part_target_ms));
            return if part < most { Ok(part < there) } else { Err("_HLS_part is too far ahead") };
        }
        // A part beyond the last of its segment means the first of the next.
        let behind = self.next_sequence.saturating_sub(1);
        let last = self.listed.back().map_or(0, |segment| segment.parts.len() as u64);
        Ok(sequence < behind || sequence == behind && (part < last || open_parts > 0))
    }

    /// The playlist as it is now.
    /// With `update`, what a client has that asked not long ago is left out, if that is worth it.
    pub(super) fn text(&mut self, names: &Names, variant: Variant, update: bool) -> Rc<str> {
        let update = update && !self.ended;
        let kept = if update { &self.update } else { &self.text };
        if let Some(text) = kept {
            return text.clone();
        }
        let view = playlist::View {
            names,
            variant,
            target_s: self.target_s,
            part_target_ms: self.part_target_ms,
            sequence: self.next_sequence.saturating_sub(self.listed.len() as u64),
            discontinuity_sequence: self.discontinuity_sequence,
            listed: &self.listed,
            open: self.open.as_ref(),
            init: self.init.as_deref(),
            hint: self.hint(names, variant),
            ended: self.ended,
            can_skip: self.low_latency && self.window_ms > playlist::skip_until_ms(self.target_s),
        };
        let text: Rc<str> = playlist::text(&view, update).into();
        *if update { &mut self.update } else { &mut self.text } = Some(text.clone());
        text
    }

    /// What the segments were measured to be.
    pub(super) fn measured(&self) -> Measured {
        let (bytes, pictures) = self.listed.iter().fold((0u64, 0u64), |(bytes, pictures), segment| {
            (bytes.saturating_add(segment.bytes), pictures.saturating_add(u64::from(segment.pictures)))
        });
        let average = bits_per_second(bytes, self.listed_ms);
        Measured {
            peak: self.rate.peak.max(average),
            average,
            pictures: pictures.saturating_mul(1_000_000).checked_div(self.listed_ms).unwrap_or(0),
            independent: self.listed.iter().all(|segment| segment.independent),
        }
    }

    /// The file of this name could not be written: segments that need it are gaps, and what comes gets it again.
    pub(super) fn lost(&mut self, name: &str) {
        let is = |item: &Item| &*item.name == name;
        for segment in self.listed.iter_mut().filter(|_| !self.keep) {
            let needed =
                segment.init.as_deref().into_iter().chain(segment.key.as_ref().map(|(_, key)| &**key));
            segment.gap |= needed.chain([&segment.item]).any(is);
        }
        let current = self.init.iter().chain(self.key.iter().map(|(_, key)| key));
        self.lost.extend(current.filter(|item| is(item)).map(|item| item.name.clone()));
        self.touch();
    }

    fn write_lost(&mut self) {
        for name in std::mem::take(&mut self.lost) {
            let current = self.init.iter().chain(self.key.iter().map(|(_, key)| key));
            let chunks = current.filter(|item| item.name == name).map(|item| item.body.chunks.clone()).next();
            chunks.into_iter().for_each(|chunks| self.write(&name, &chunks));
        }
    }

    /// The playlist has changed.
    fn touch(&mut self) {
        self.text = None;
        self.update = None;
    }

    /// Name of the next part, before there is one.
    pub(super) fn hint(&self, names: &Names, variant: Variant) -> Option<Rc<str>> {
        if variant != Variant::LowLatency || self.ended || self.listed.is_empty() && self.open.is_none() {
            return None;
        }
        Some(match &self.open {
            Some(open) => names.part(&open.name, open.parts.len()),
            None => names.part(&names.segment(Values::new(self.next_sequence, 0)), 0),
        })
    }

    /// The bytes of this name, while they are kept.
    pub(super) fn file(&self, name: &str) -> Option<(Content, &Rc<Body>)> {
        let retired = || self.retired.iter().rev().map(|retired| &retired.segment);
        // The newest first: they are what most players ask for.
        let segments = || self.listed.iter().rev().chain(retired());
        let is = |item: &&Item| &*item.name == name;
        let open_parts =
            self.open.iter().filter(|_| self.low_latency).flat_map(|open| open.parts.iter().rev());
        let whole = segments().flat_map(|segment| {
            std::iter::once(&segment.item).chain(segment.parts.iter().rev().map(|part| &part.item))
        });
        let media = open_parts.map(|part| &part.item).chain(whole).find(is);
        if let Some(item) = media {
            return Some((self.content, &item.body));
        }
        let mut inits = segments().filter_map(|segment| segment.init.as_deref()).chain(self.init.as_deref());
        if let Some(item) = inits.find(is) {
            return Some((Content::Mp4, &item.body));
        }
        let mut keys = segments().filter_map(|segment| segment.key.as_ref()).map(|(_, item)| item.as_ref());
        keys.find(is).map(|item| (Content::Key, &item.body))
    }
}
