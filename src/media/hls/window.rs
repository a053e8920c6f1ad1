//! The segments of a stream that a client may ask for: those listed, those that just left the list, the parts of the
//! one in the making.

use super::cutter::Part;
use super::keys::{Key, Keys};
use super::names::{Names, Values};
use super::playlist::{self, Reload};
use super::{Body, Change, Content, Now, Settings, Variant};
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
    pub(super) discontinuity: bool,
    pub(super) independent: bool,
    pub(super) init: Option<Rc<Item>>,
    pub(super) key: Option<(Rc<Key>, Rc<Item>)>,
    pub(super) parts: Vec<ListedPart>,
}

/// The segment in the making.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) discontinuity: bool,
    pub(super) parts: Vec<ListedPart>,
    values: Values,
    name: Rc<str>,
    bytes: usize,
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
    /// Bytes and length of what is listed or retired, and of the parts of the segment in the making.
    bytes: usize,
    listed_ms: u64,
    ended: bool,
    squeezed: u64,
    text: Option<Rc<str>>,
    keep: bool,
    tell: bool,
    changes: Vec<Change>,
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
            keep: settings.keep,
            tell: settings.tell,
            changes: Vec::new(),
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

    pub(super) fn patience_ms(&self) -> u64 {
        self.target_s.saturating_mul(1000 * PATIENCE)
    }

    /// Segments from now on need this initialization segment.
    pub(super) fn init(&mut self, bytes: Bytes, names: &Names, now: Now) {
        let values = Values { sequence: self.next_sequence, unix_ms: now.unix_ms, duration_ms: 0 };
        // Two in a row for the same segment: nobody has seen the first.
        let name = names.init(values);
        self.write(&name, std::slice::from_ref(&bytes));
        self.init = Some(Rc::new(Item { name, body: Rc::new(Body::new(vec![bytes])) }));
    }

    pub(super) fn open(&mut self, discontinuity: bool, names: &Names, now: Now) {
        let values = Values { sequence: self.next_sequence, unix_ms: now.unix_ms, duration_ms: 0 };
        let name = names.segment(values);
        self.open = Some(Open { discontinuity, parts: Vec::new(), values, name, bytes: 0 });
    }

    pub(super) fn mark_discontinuity(&mut self) {
        if let Some(open) = &mut self.open {
            open.discontinuity = true;
        }
    }

    pub(super) fn part(&mut self, part: Part, names: &Names) {
        let Some(open) = &mut self.open else { return };
        let body = Rc::new(Body::new(part.chunks));
        open.bytes = open.bytes.saturating_add(body.size());
        self.bytes = self.bytes.saturating_add(body.size());
        let name = names.part(&open.name, open.parts.len());
        open.parts.push(ListedPart { item: Item { name, body }, ms: part.ms, independent: part.independent });
        if self.low_latency {
            self.text = None;
        }
    }

    /// The segment in the making is complete and enters the list.
    pub(super) fn close(&mut self, ms: u64, names: &Names, keys: Option<&mut Keys>, now: Now) {
        let Some(open) = self.open.take() else { return };
        let values = Values { duration_ms: ms, ..open.values };
        let sequence = self.next_sequence;
        let mut chunks: Vec<Bytes> =
            open.parts.iter().flat_map(|part| part.item.body.chunks.clone()).collect();
        if let Some(keys) = keys {
            let key = keys.next(sequence);
            chunks = vec![key.encrypt(sequence, &chunks)];
            if self.key.as_ref().is_none_or(|(current, _)| *current != key) {
                let name = names.key(Values { sequence, unix_ms: now.unix_ms, duration_ms: ms });
                let body = Body::new(vec![Bytes::copy_from_slice(&key.bytes)]);
                self.write(&name, &body.chunks);
                self.key = Some((key, Rc::new(Item { name, body: Rc::new(body) })));
            }
        }
        let name = names.segment(values);
        self.write(&name, &chunks);
        let body = Rc::new(if self.keep { Body::new(chunks) } else { Body::default() });
        self.bytes = self.bytes.saturating_sub(open.bytes).saturating_add(body.size());
        self.next_sequence = sequence.saturating_add(1);
        self.target_s = self.target_s.max(ms.saturating_sub(SLACK_MS).div_ceil(1000));
        self.listed_ms = self.listed_ms.saturating_add(ms);
        self.listed.push_back(Segment {
            item: Item { name, body },
            ms,
            discontinuity: open.discontinuity,
            independent: open.parts.first().is_some_and(|part| part.independent),
            init: self.init.clone(),
            key: self.key.clone(),
            parts: if self.low_latency { open.parts } else { Vec::new() },
        });
        self.text = None;
    }

    /// What no part exceeds.
    pub(super) fn part_target(&mut self, ms: u64) {
        if self.part_target_ms != ms {
            self.part_target_ms = ms;
            self.text = None;
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
        self.text = None;
        Some(segment)
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
        self.text = None;
    }

    pub(super) fn reopen(&mut self) {
        self.ended = false;
        self.text = None;
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
        if sequence == self.next_sequence {
            return Ok(part < open_parts);
        }
        // A part beyond the last of its segment means the first of the next.
        let behind = self.next_sequence.saturating_sub(1);
        let last = self.listed.back().map_or(0, |segment| segment.parts.len() as u64);
        Ok(sequence < behind || sequence == behind && (part < last || open_parts > 0))
    }

    /// The playlist as it is now.
    pub(super) fn text(&mut self, names: &Names, variant: Variant) -> Rc<str> {
        if let Some(text) = &self.text {
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
        };
        let text: Rc<str> = playlist::text(&view).into();
        self.text = Some(text.clone());
        text
    }

    /// Name of the next part, before there is one.
    pub(super) fn hint(&self, names: &Names, variant: Variant) -> Option<Rc<str>> {
        if variant != Variant::LowLatency || self.ended || self.listed.is_empty() && self.open.is_none() {
            return None;
        }
        Some(match &self.open {
            Some(open) => names.part(&open.name, open.parts.len()),
            None => {
                names.part(&names.segment(Values { sequence: self.next_sequence, ..Values::default() }), 0)
            }
        })
    }

    /// The bytes of this name, while they are kept.
    pub(super) fn file(&self, name: &str) -> Option<(Content, &Rc<Body>)> {
        let segments = || self.listed.iter().chain(self.retired.iter().map(|retired| &retired.segment));
        let is = |item: &&Item| &*item.name == name;
        let open_parts = self.open.iter().filter(|_| self.low_latency).flat_map(|open| &open.parts);
        let parts = segments().flat_map(|segment| &segment.parts).chain(open_parts).map(|part| &part.item);
        let media = segments().map(|segment| &segment.item).chain(parts).find(is);
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
