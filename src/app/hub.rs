//! The streams by name: who publishes each, who watches it, and how long it is kept.
//!
//! ```text
//!             publish                    publisher gone              nobody back in `resume_wait`
//!   Vacant ─────────────► Live ───────────────────────────► Away ──────────────────────────────► Vacant (ended)
//!                          ▲ └── another takes over ──┐      │
//!                          └────────────────────────◄─┴──────┘ publish again: viewers stay, the time line goes on
//! ```
//!
//! A stream is freed when it is vacant and nobody watches or waits.

use super::dvr::{self, LiveDvr};
use super::fanout::{Fanout, Phase};
use super::hls::{self, LiveHls};
use super::memory::{Level, Share, Used};
use super::rate::Rate;
use super::relay::Push;
use super::relay::pull::Pull;
use super::world::{Action, Timer, World};
use crate::conf::{self, OnBusy, Vhost};
use crate::media::cursor::{Filter, Join, Start};
use crate::media::derived::{Derived, Kindred};
use crate::media::feed::{Feed, Limits};
use crate::media::frame::Kind;
use crate::media::package::{self, Container};
use crate::media::stream::{Stream, Taken};
use crate::media::timeline::Jitter;
use crate::net::slots::{Id, Slots};
use crate::wire::names::StreamName;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

/// How often frames that no viewer needs are dropped, in milliseconds.
const TRIM_EVERY_MS: u64 = 1_000;

/// Name of a stream in the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(Id);

impl StreamId {
    #[cfg(test)]
    pub(super) fn of(id: Id) -> StreamId {
        StreamId(id)
    }

    /// A number that no other stream has at the same time.
    pub fn number(self) -> usize {
        self.0.token()
    }
}

/// Who sends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A connection, from this address.
    Peer(Id, IpAddr),
    /// The built-in demo.
    Demo,
    /// The server that it is fetched from, by this connection.
    Origin(Id),
}

/// The publisher's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publisher {
    /// Nobody.
    Vacant,
    /// Somebody sends.
    Live(Source),
    /// Gone, and expected back until this time.
    Away(u64),
}

/// A stream with its people.
#[derive(Debug)]
pub struct Live {
    /// Its name.
    pub name: StreamName,
    /// The settings it runs under.
    pub vhost: Rc<Vhost>,
    /// Frames and time line.
    pub stream: Stream,
    /// Who sends it.
    pub publisher: Publisher,
    /// The same in other containers, while somebody reads them, with the number of readers.
    derived: Vec<(Derived, usize)>,
    /// Its segments.
    pub hls: Option<Box<LiveHls>>,
    /// Its recording.
    pub dvr: Option<Box<LiveDvr>>,
    /// Who watches it.
    pub fanout: Fanout,
    /// Who waits for it to start.
    pub waiting: Vec<Id>,
    /// Where it is sent on to.
    pub pushes: Vec<Push>,
    /// Where it is fetched from, while somebody wants it.
    pub pull: Option<Box<Pull>>,
    /// The servers that it has come through, as its publisher says.
    pub via: Option<Box<str>>,
    /// It is over: viewers get what is left, then the end.
    pub ended: bool,
    /// When it began; a publisher who takes over or is back in time does not begin it anew.
    pub since: u64,
    /// How fast it comes in.
    pub rate: Rate,
    /// What it may keep.
    share: Share,
    /// Bytes sent to viewers of it, ever.
    pub sent: Cell<u64>,
    /// The same over time, noted when somebody asks.
    sent_rate: RefCell<Rate>,
    last_frame: u64,
    last_trim: u64,
    ticking: bool,
    queued: bool,
    told: bool,
}

impl Live {
    fn new(name: StreamName, vhost: Rc<Vhost>) -> Live {
        let share = Share::default();
        let stream = Stream::new(limits(&vhost.play, share), jitter(vhost.play.time_jitter));
        Live {
            name,
            vhost,
            stream,
            publisher: Publisher::Vacant,
            derived: Vec::new(),
            hls: None,
            dvr: None,
            fanout: Fanout::default(),
            waiting: Vec::new(),
            pushes: Vec::new(),
            pull: None,
            via: None,
            ended: false,
            since: 0,
            rate: Rate::default(),
            share,
            sent: Cell::new(0),
            sent_rate: RefCell::default(),
            last_frame: 0,
            last_trim: 0,
            ticking: false,
            queued: false,
            told: false,
        }
    }

    /// Milliseconds for which messages are gathered; 0: each is sent at once.
    pub fn interval(&self) -> u64 {
        if self.vhost.min_latency { 0 } else { u64::from(self.vhost.play.mw_latency_ms) }
    }

    /// Whether somebody sends it now and it is known what it carries.
    pub fn can_start(&self, now: u64) -> bool {
        !self.ended && !matches!(self.publisher, Publisher::Vacant) && self.stream.is_ready(now)
    }

    /// Those who watch it now on a connection of their own; where it is sent on to does not count.
    pub fn watchers(&self) -> usize {
        self.fanout.len().saturating_sub(self.forwards())
    }

    /// Those who watch it now, by HLS too.
    pub fn viewers(&self) -> usize {
        self.watchers() + self.hls.as_ref().map_or(0, |hls| hls.viewers())
    }

    /// Kilobits a second that come in, over the last seconds, and that go out to viewers, since the questions before
    /// this one (at most five, each a second or more after the one before).
    pub fn kbps(&self, now: u64) -> (u64, u64) {
        let received = self.rate.kbps(now, self.stream.counters().bytes).unwrap_or(0);
        let mut rate = self.sent_rate.borrow_mut();
        rate.note(now, self.sent.get());
        (received, rate.kbps(now, self.sent.get()).unwrap_or(0))
    }

    /// How a viewer joins who began to wait when the feed's end was `since`.
    pub fn join(&self, filter: Filter, since: u64) -> Join {
        let rebase = self.vhost.play.time_jitter != conf::Jitter::Off;
        Join { gop_cache: self.vhost.play.gop_cache, filter, since: Some(since), rebase, exact: false }
    }

    /// The feed that a viewer of `source` reads (`None`: the stream's own), and where one may start in it.
    pub fn feed(&self, source: Option<Kindred>) -> Option<(&Feed, Start)> {
        let own = if self.stream.video().is_some() { Start::Picture } else { Start::Anywhere };
        match source {
            None => Some((&self.stream.feed, own)),
            Some(kindred) => self.derived(kindred).map(|derived| (&derived.feed, Start::Mark)),
        }
    }

    fn derived(&self, kindred: Kindred) -> Option<&Derived> {
        self.derived.iter().map(|(derived, _)| derived).find(|derived| derived.kindred == kindred)
    }

    /// Lets another viewer, who waits since `since`, read the stream in this form; the first one has it made.
    ///
    /// # Errors
    /// Why the stream cannot be had so, in one line, with the status of HTTP for it.
    pub fn open(&mut self, kindred: Kindred, since: u64) -> Result<Join, (u16, String)> {
        let at = self.derived.iter().position(|(derived, _)| derived.kindred == kindred);
        let at = match at {
            Some(at) => at,
            None => self.derive(kindred, since).map_err(|why| (415, why))?,
        };
        let sound = matches!(kindred.container, Container::Aac | Container::Mp3);
        let waited = since < self.stream.feed.end();
        let Some((derived, readers)) = self.derived.get_mut(at) else {
            return Err((404, String::from("it is gone")));
        };
        if derived.is_over() {
            return Err((
                503,
                String::from("memory is short (max_memory): it was just ended in this container"),
            ));
        }
        *readers += 1;
        let since = match waited {
            true => Some(derived.feed.base()),
            false => derived.feed.back(self.vhost.http_remux.fast_cache_ms).filter(|_| sound),
        };
        let exact = kindred.container == Container::Fmp4;
        // The derived stream has the wanted tracks only, and marks where a reader can start.
        Ok(Join { since, exact, ..self.join(Filter::default(), u64::MAX) })
    }

    fn derive(&mut self, kindred: Kindred, since: u64) -> Result<usize, String> {
        let (video, audio) = (self.stream.video(), self.stream.audio());
        let packager = package::packager(kindred, video, audio)?;
        if let Some(why) = package::silence(kindred.container, video, audio.filter(|_| kindred.filter.audio))
        {
            log::warn!(target: "http", "{}: no sound: {why}", self.name);
        }
        let limits = derived_limits(&self.vhost, self.share, kindred.container);
        self.derived.push((Derived::new(kindred, packager, &self.stream, since, limits), 0));
        Ok(self.derived.len() - 1)
    }

    /// Whether the stream can be had in this container.
    pub fn fits(&self, container: Container) -> bool {
        package::refusal(container, self.stream.video(), self.stream.audio()).is_none()
    }

    /// A viewer of this form is gone; true when it was the last one, and the form with it.
    fn close(&mut self, kindred: Kindred) -> bool {
        let before = self.derived.len();
        self.derived.iter_mut().filter(|(derived, _)| derived.kindred == kindred).for_each(|(_, n)| *n -= 1);
        self.derived.retain(|(_, readers)| *readers > 0);
        self.derived.len() < before
    }

    /// Makes segments of the newest frame. True: somebody waits for what came of it.
    fn feed_hls(&mut self, now: u64) -> bool {
        let (Some(hls), Some(frame)) = (&mut self.hls, self.stream.feed.newest()) else { return false };
        let tracks = self.told.then(|| (self.stream.video(), self.stream.audio()));
        hls.take(frame, tracks, &self.name, now)
    }

    fn feed_dvr(&mut self, desk: &dvr::Desk, now: u64) {
        let (Some(dvr), Some(frame)) = (&mut self.dvr, self.stream.feed.newest()) else { return };
        dvr.take(frame, self.told.then(|| (self.stream.video(), self.stream.audio())), desk, now);
    }

    /// Drops what no viewer needs; `slowest` gives the place of the slowest viewer of each feed.
    pub fn trim(&mut self, slowest: impl Fn(Option<Kindred>) -> Option<u64>) {
        self.stream.feed.trim(slowest(None));
        for (derived, _) in &mut self.derived {
            derived.feed.trim(slowest(Some(derived.kindred)));
        }
    }

    /// Goes on under other settings; what is kept of the stream shrinks or grows to them.
    pub fn set_vhost(&mut self, vhost: Rc<Vhost>) {
        if !vhost.hls.enabled {
            self.hls = None;
        }
        self.vhost = vhost;
        self.set_limits();
    }

    fn set_limits(&mut self) {
        for (derived, _) in &mut self.derived {
            derived.feed.set_limits(derived_limits(&self.vhost, self.share, derived.kindred.container));
        }
        self.stream.feed.set_limits(limits(&self.vhost.play, self.share));
    }

    /// Goes on with another share of the memory.
    pub fn set_share(&mut self, share: Share, now: u64) {
        if let Some(hls) = &mut self.hls {
            hls.set_share(share, &self.name, now);
        }
        self.share = share;
        self.set_limits();
    }

    /// Adds what it holds.
    pub fn weigh(&self, used: &mut Used) {
        used.feeds = used.feeds.saturating_add(self.stream.feed.heap());
        let derived: usize = self.derived.iter().map(|(derived, _)| derived.feed.heap()).sum();
        used.derived = used.derived.saturating_add(derived);
        used.hls = used.hls.saturating_add(self.hls.as_ref().map_or(0, |hls| hls.heap()));
    }

    /// Whether a viewer of this form gets nothing more.
    pub fn is_over(&self, source: Option<Kindred>) -> bool {
        self.ended || source.is_some_and(|kindred| self.gave_up(kindred))
    }

    #[cold]
    fn gave_up(&self, kindred: Kindred) -> bool {
        self.derived(kindred).is_some_and(Derived::is_over)
    }

    /// The other containers that it is read in, with the number of readers and bytes of each.
    pub fn containers(&self) -> impl Iterator<Item = (Kindred, usize, usize)> {
        let open = self.derived.iter().filter(|(derived, _)| !derived.is_over());
        open.map(|(derived, readers)| (derived.kindred, *readers, derived.feed.heap()))
    }

    /// Ends it in one container.
    pub fn give_up(&mut self, kindred: Kindred) {
        let found = self.derived.iter_mut().find(|(derived, _)| derived.kindred == kindred);
        found.into_iter().for_each(|(derived, _)| derived.give_up());
    }

    fn idle(&self) -> bool {
        let nobody = self.fanout.is_empty() && self.waiting.is_empty();
        self.publisher == Publisher::Vacant
            && nobody
            && self.hls.is_none()
            && self.pull.is_none()
            && !self.is_applied_for()
    }
}

/// The bounds of a stream's own feed.
fn limits(play: &conf::Play, share: Share) -> Limits {
    let frames = match play.gop_cache_max_frames {
        0 => usize::MAX,
        frames => frames as usize,
    };
    Limits {
        max_ms: play.queue_length_ms.min(share.lag_ms),
        max_bytes: usize::try_from(play.queue_bytes).unwrap_or(usize::MAX).min(share.feed_bytes),
        max_gop_frames: frames,
        gop_cache: play.gop_cache,
        max_gop_bytes: share.gop_bytes,
        keep_ms: 0,
    }
}

/// The bounds of its feed in another container.
fn derived_limits(vhost: &Vhost, share: Share, container: Container) -> Limits {
    let own = limits(&vhost.play, share);
    let short = share.level >= Level::Derived;
    let sound = matches!(container, Container::Aac | Container::Mp3);
    Limits {
        max_ms: own.max_ms.min(share.derived_lag_ms),
        max_gop_bytes: if short { 0 } else { own.max_gop_bytes },
        keep_ms: if sound && !short { vhost.http_remux.fast_cache_ms } else { 0 },
        ..own
    }
}

fn jitter(jitter: conf::Jitter) -> Jitter {
    match jitter {
        conf::Jitter::Full => Jitter::Full,
        conf::Jitter::Zero => Jitter::Zero,
        conf::Jitter::Off => Jitter::Off,
    }
}

/// All streams.
#[derive(Debug, Default)]
pub struct Hub {
    streams: Slots<Live>,
    by_name: HashMap<StreamName, StreamId>,
}

impl Hub {
    /// The stream with this id, while it exists.
    pub fn get(&self, id: StreamId) -> Option<&Live> {
        self.streams.get(id.0)
    }

    /// The stream with this id, while it exists.
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut Live> {
        self.streams.get_mut(id.0)
    }

    /// The stream of this name.
    pub fn find(&self, name: &StreamName) -> Option<StreamId> {
        self.by_name.get(name).copied()
    }

    /// The app of a live stream with this vhost and stream name, for mounts without `[app]`.
    pub fn app_of(&self, vhost: &str, stream: &str) -> Option<&str> {
        let live = self.streams.iter().map(|(_, live)| live);
        let fits = |live: &&Live| live.name.vhost() == vhost && live.name.stream() == stream;
        live.filter(fits).find(|live| live.publisher != Publisher::Vacant).map(|live| live.name.app())
    }

    /// All streams, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Live> {
        self.streams.iter().map(|(_, live)| live)
    }

    /// All streams with their ids, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (StreamId, &Live)> {
        self.streams.iter().map(|(id, live)| (StreamId(id), live))
    }

    /// Lets go of all segments: the server ends.
    pub fn drop_hls(&mut self) {
        for id in self.streams.ids() {
            if let Some(live) = self.streams.get_mut(id) {
                live.hls = None;
            }
        }
    }

    /// Lets go of the segments of streams that write them to the disk, and of their files.
    pub fn drop_hls_files(&mut self) {
        for id in self.streams.ids() {
            if let Some(live) = self.streams.get_mut(id)
                && live.hls.as_ref().is_some_and(|hls| hls.on_disk())
            {
                live.hls = None;
            }
        }
    }

    /// Streams of which anything is kept.
    pub fn kept(&self) -> usize {
        let kept = |live: &&Live| {
            live.publisher != Publisher::Vacant || live.hls.is_some() || !live.stream.feed.is_empty()
        };
        self.iter().filter(kept).count()
    }

    /// Completes all recordings: the server ends.
    pub fn end_dvr(&mut self, desk: &mut dvr::Desk, now: u64) {
        for id in self.streams.ids() {
            let dvr = self.streams.get_mut(id).and_then(|live| live.dvr.take());
            dvr.into_iter().for_each(|dvr| dvr.end(desk, now));
        }
    }

    /// Streams held.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether no stream is held.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    pub(super) fn entry(&mut self, name: &StreamName, vhost: &Rc<Vhost>) -> Option<StreamId> {
        if let Some(id) = self.find(name) {
            return Some(id);
        }
        let id = StreamId(self.streams.insert_with(|_| Live::new(name.clone(), vhost.clone()))?);
        self.by_name.insert(name.clone(), id);
        Some(id)
    }

    fn remove(&mut self, id: StreamId) {
        if let Some(live) = self.streams.remove(id.0) {
            self.by_name.remove(&live.name);
        }
    }

    /// Whether `ip` may publish this name now.
    ///
    /// # Errors
    /// Why not, in a sentence for the encoder and the log.
    pub fn may_publish(&self, name: &StreamName, vhost: &Vhost, ip: IpAddr) -> Result<(), String> {
        let holder = self.find(name).and_then(|id| self.get(id)).map(|live| live.publisher);
        match (holder, vhost.publish.on_busy) {
            (Some(Publisher::Live(Source::Demo)), _) => {
                Err(format!("{name} is the demo's name: choose another"))
            }
            (Some(Publisher::Live(Source::Peer(..))), OnBusy::Reject) => {
                Err(format!("{name} is being published already (on_busy is reject)"))
            }
            (Some(Publisher::Live(Source::Peer(_, holder))), OnBusy::TakeoverSameIp) if holder != ip => {
                Err(format!(
                    "{name} is being published from another address (on_busy is takeover_same_ip): stop that one first"
                ))
            }
            _ => Ok(()),
        }
    }
}

impl World {
    /// Whether `ip` may publish this name now, as far as other publishers and memory are concerned. A stream that has
    /// not ended may go on.
    ///
    /// # Errors
    /// Why not, in a sentence for the encoder and the log.
    pub fn may_publish(&self, name: &StreamName, vhost: &Vhost, ip: IpAddr) -> Result<(), String> {
        self.hub.may_publish(name, vhost, ip)?;
        let found = self.hub.find(name).and_then(|id| self.hub.get(id));
        let goes_on = found.is_some_and(|live| live.publisher != Publisher::Vacant);
        let refusal = self.memory.refuses_publisher().filter(|_| !goes_on);
        refusal.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    /// Gives every stream its share of the memory, and what is beside them.
    pub fn deal_out(&mut self) {
        self.copies.keep_to(self.memory.bounds());
        self.files.keep_to(self.memory.bounds());
        let share = self.memory.share(self.hub.kept());
        for id in self.hub.streams.ids() {
            if let Some(live) = self.hub.streams.get_mut(id) {
                live.set_share(share, self.now);
            }
        }
    }

    /// What streams hold, and what is theirs together.
    pub fn weigh(&self) -> Used {
        let batches = self.batches.heap();
        let hls = self.hls.writer.heap();
        let (buffers, copies, files) = (self.dvr.heap(), self.copies.held(), self.files.heap());
        let mut used = Used { batches, hls, buffers, copies, files, ..Used::default() };
        self.hub.iter().for_each(|live| live.weigh(&mut used));
        used
    }

    /// Gives the name to a publisher; the one who had it is evicted.
    ///
    /// # Errors
    /// Why not, in a sentence for the encoder and the log.
    pub fn publish(&mut self, name: &StreamName, vhost: &Rc<Vhost>, by: Source) -> Result<StreamId, String> {
        if let Source::Peer(_, ip) = by {
            let verdict = self.may_publish(name, vhost, ip);
            self.memory.count_publisher(verdict.is_err());
            verdict?;
        }
        let share = self.memory.share(self.hub.kept().saturating_add(1));
        let id = self.hub.entry(name, vhost).ok_or("there are too many streams")?;
        let now = self.now;
        let live = self.hub.get_mut(id).ok_or("the stream is gone")?;
        if let Publisher::Live(Source::Peer(old, _) | Source::Origin(old)) = live.publisher {
            self.actions.push_back(Action::Evict(old));
        }
        if live.publisher == Publisher::Vacant {
            live.since = now;
        }
        live.rate.begin(now, live.stream.counters().bytes);
        live.sent_rate.borrow_mut().begin(now, live.sent.get());
        live.publisher = Publisher::Live(by);
        live.vhost = vhost.clone();
        live.stream.publisher_begins();
        live.hls = hls::begin(live.hls.take(), (id, name), vhost, &mut self.hls, now);
        live.dvr = dvr::begin(live.dvr.take(), name, vhost, &mut self.dvr, now);
        live.set_share(share, now);
        live.ended = false;
        live.told = false;
        live.last_frame = now;
        live.via = None;
        self.forward(id);
        self.look_at_programs();
        Ok(id)
    }

    /// The publisher is gone; the stream waits for it, or for another, for `resume_wait`.
    pub fn unpublish(&mut self, id: StreamId, by: Source) {
        let now = self.now;
        let Some(live) = self.hub.get_mut(id).filter(|live| live.publisher == Publisher::Live(by)) else {
            return;
        };
        let until = now.saturating_add(live.vhost.publish.resume_wait_ms);
        live.publisher = Publisher::Away(until);
        if live.hls.as_mut().is_some_and(|hls| hls.pause(&live.name, now)) {
            self.actions.push_back(Action::Hls(id));
        }
        live.dvr.iter_mut().for_each(|dvr| dvr.pause(&self.dvr, now));
        if live.pushes.iter().any(|push| push.origin.is_some()) {
            self.actions.push_back(Action::Send(id));
        }
        self.timers.set(Timer::Stream(id), until);
        self.look_at_programs();
        self.check_stream(id);
    }

    /// Takes a message of the publisher `by`; anything from one who lost the stream is left out.
    pub fn ingest(&mut self, id: StreamId, by: Source, kind: Kind, timestamp: u32, payload: Bytes) {
        let now = self.now;
        let Some(live) = self.hub.get_mut(id).filter(|live| live.publisher == Publisher::Live(by)) else {
            return;
        };
        let taken = live.stream.ingest(kind, timestamp, payload, now);
        if taken == Taken::Ignored {
            return;
        }
        live.last_frame = now;
        if let Some(frame) = live.stream.feed.newest() {
            live.derived.iter_mut().for_each(|(derived, _)| derived.push(frame));
            // The message itself was counted when it was read.
            let copies = live.derived.len() + usize::from(live.hls.is_some());
            if self.memory.count(frame.payload.len().saturating_mul(copies)) {
                self.actions.push_back(Action::Memory);
            }
        }
        live.rate.note(now, live.stream.counters().bytes);
        if !live.told && live.stream.is_ready(now) {
            live.told = true;
            log::info!(target: "stream", "{} is live: {}", live.name, describe(&live.stream));
        }
        live.feed_dvr(&self.dvr, now);
        if live.feed_hls(now) {
            self.actions.push_back(Action::Hls(id));
        }
        if let (Source::Peer(peer, _) | Source::Origin(peer), Some(why)) =
            (by, live.hls.as_mut().and_then(|hls| hls.take_verdict()))
        {
            self.actions.push_back(Action::Dismiss(peer, why));
        }
        if !live.waiting.is_empty() {
            match live.stream.ready_at() {
                _ if live.told => self.actions.push_back(Action::Start(id)),
                Some(at) => self.timers.set(Timer::Stream(id), at),
                None => {}
            }
        }
        self.announce_frame(id, now);
        self.trim_in_time(id, taken, now);
    }

    /// Sees to it that the viewers get what came in.
    fn announce_frame(&mut self, id: StreamId, now: u64) {
        let Some(live) = self.hub.get_mut(id).filter(|live| !live.fanout.is_empty()) else { return };
        let interval = live.interval();
        if interval == 0 {
            if !std::mem::replace(&mut live.queued, true) {
                self.actions.push_back(Action::Send(id));
            }
        } else if !live.ticking {
            live.ticking = true;
            if let Some(at) = live.fanout.next_tick(now, interval) {
                self.timers.set(Timer::Tick(id), at);
            }
        }
    }

    fn trim_in_time(&mut self, id: StreamId, taken: Taken, now: u64) {
        // Those who wait for the start get everything from the first frame on.
        let Some(live) = self.hub.get_mut(id).filter(|live| live.waiting.is_empty()) else { return };
        let due = now.saturating_sub(live.last_trim) >= TRIM_EVERY_MS;
        if live.fanout.is_empty() && (due || taken == (Taken::Frame { key: true })) {
            live.last_trim = now;
            live.stream.feed.trim(None);
        } else if due {
            live.last_trim = now;
            self.actions.push_back(Action::Trim(id));
        }
    }

    /// All viewers of a stream that sends each frame at once.
    pub fn take_send(&mut self, id: StreamId) -> Vec<Id> {
        let Some(live) = self.hub.get_mut(id) else { return Vec::new() };
        live.queued = false;
        live.fanout.all().collect()
    }

    /// The viewers whose phase has come; the next tick is set while frames come in.
    pub fn tick(&mut self, id: StreamId) -> Vec<Id> {
        let now = self.now;
        let Some(live) = self.hub.get_mut(id) else { return Vec::new() };
        let interval = live.interval();
        let due = live.fanout.tick(now, interval).collect();
        let next =
            live.fanout.next_tick(now, interval).filter(|_| now <= live.last_frame.saturating_add(interval));
        live.ticking = next.is_some();
        next.into_iter().for_each(|at| self.timers.set(Timer::Tick(id), at));
        due
    }

    /// Lets a connection wait for a stream to start; makes the stream's place if there is none. With the stream comes
    /// the present end of its feed.
    pub fn wait_for(&mut self, name: &StreamName, vhost: &Rc<Vhost>, conn: Id) -> Option<(StreamId, u64)> {
        let id = self.hub.entry(name, vhost)?;
        let now = self.now;
        let live = self.hub.get_mut(id)?;
        live.waiting.push(conn);
        let since = live.stream.feed.end();
        match live.stream.ready_at() {
            _ if live.can_start(now) => self.actions.push_back(Action::Start(id)),
            // Its publisher may send no more that would have it looked at.
            Some(at) if matches!(live.publisher, Publisher::Live(_)) => {
                self.timers.set(Timer::Stream(id), at)
            }
            _ => {}
        }
        Some((id, since))
    }

    /// The connection waits no longer.
    pub fn stop_waiting(&mut self, id: StreamId, conn: Id) {
        if let Some(live) = self.hub.get_mut(id) {
            live.waiting.retain(|waiting| *waiting != conn);
        }
        self.reap(id);
    }

    /// A viewer is gone.
    pub fn leave(&mut self, id: StreamId, conn: Id, phase: Phase, source: Option<Kindred>) {
        if let Some(live) = self.hub.get_mut(id) {
            live.fanout.remove(conn, phase);
            let closed = source.filter(|kindred| live.close(*kindred));
            closed.into_iter().for_each(|kindred| self.batches.forget((id.number(), Some(kindred))));
        }
        self.reap(id);
    }

    /// Looks whether a stream can start or is over.
    pub fn check_stream(&mut self, id: StreamId) {
        let now = self.now;
        let Some(live) = self.hub.get_mut(id) else { return };
        match live.publisher {
            Publisher::Away(until) if until <= now => self.end_stream(id),
            Publisher::Vacant => match live.hls.as_ref().and_then(|hls| hls.until()) {
                Some(until) if until > now => self.timers.set(Timer::Stream(id), until),
                _ => {
                    live.hls = None;
                    self.reap(id);
                }
            },
            Publisher::Away(until) => self.timers.set(Timer::Stream(id), until),
            Publisher::Live(_) if !live.waiting.is_empty() && live.can_start(now) => {
                self.actions.push_back(Action::Start(id));
            }
            _ => {}
        }
    }

    /// Ends a stream: its viewers get what is left of it, then the end. Whoever still sends it is not heard any more.
    pub fn end_stream(&mut self, id: StreamId) {
        let now = self.now;
        let Some(live) = self.hub.get_mut(id) else { return };
        live.publisher = Publisher::Vacant;
        live.ended = true;
        live.stream.feed.forget_key();
        live.derived.iter_mut().for_each(|(derived, _)| derived.finish());
        live.dvr.take().into_iter().for_each(|dvr| dvr.end(&mut self.dvr, now));
        if let Some(hls) = &mut live.hls {
            self.timers.set(Timer::Stream(id), hls.end(&live.name, now));
            self.actions.push_back(Action::Hls(id));
        }
        log::info!(target: "stream", "{} has ended", live.name);
        self.look_at_programs();
        self.actions.push_back(Action::End(id));
        self.forward_over(id);
    }

    /// Frees a stream that nobody sends, watches or waits for.
    pub fn reap(&mut self, id: StreamId) {
        if self.hub.get(id).is_some_and(Live::idle) {
            self.timers.clear(Timer::Stream(id));
            self.timers.clear(Timer::Tick(id));
            self.timers.clear(Timer::Forward(id));
            self.timers.clear(Timer::Pull(id));
            self.batches.forget((id.number(), None));
            self.hub.remove(id);
        }
    }
}

/// The tracks in words, such as `H.264 1280x720 + AAC`.
fn describe(stream: &Stream) -> String {
    let video = stream.video().map(|codec| codec.to_string());
    let audio = stream.audio().map(|codec| codec.to_string());
    let tracks: Vec<String> = video.into_iter().chain(audio).collect();
    tracks.join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::Config;
    use std::net::Ipv4Addr;

    const KEY: &[u8] = b"\x17\x01\0\0\0key";

    struct Rig {
        world: World,
        vhost: Rc<Vhost>,
        name: StreamName,
    }

    fn rig(on_busy: OnBusy) -> Rig {
        let world = World::new(Rc::new(Config::default()));
        let mut vhost = Vhost::default();
        vhost.publish.on_busy = on_busy;
        Rig { world, vhost: Rc::new(vhost), name: StreamName::new("", "live", "x").unwrap() }
    }

    fn peer(n: usize, ip: u8) -> Source {
        Source::Peer(Id::from_token(n), Ipv4Addr::new(10, 0, 0, ip).into())
    }

    #[test]
    fn a_busy_name_goes_to_the_same_address_only() {
        let Rig { mut world, vhost, name } = rig(OnBusy::TakeoverSameIp);
        world.publish(&name, &vhost, peer(1, 1)).unwrap();
        let refusal = world.publish(&name, &vhost, peer(2, 2)).unwrap_err();
        assert!(refusal.contains("another address"), "{refusal}");
        let id = world.publish(&name, &vhost, peer(3, 1)).unwrap();
        assert!(matches!(world.actions.pop_front(), Some(Action::Evict(old)) if old == Id::from_token(1)));
        world.ingest(id, peer(1, 1), Kind::Video, 0, Bytes::from_static(KEY));
        assert!(world.hub.get(id).unwrap().stream.feed.is_empty(), "the evicted publisher has no say");
    }

    #[test]
    fn reject_and_takeover_do_what_they_say() {
        let Rig { mut world, vhost, name } = rig(OnBusy::Reject);
        world.publish(&name, &vhost, peer(1, 1)).unwrap();
        assert!(world.publish(&name, &vhost, peer(2, 1)).is_err());
        let Rig { mut world, vhost, name } = rig(OnBusy::Takeover);
        world.publish(&name, &vhost, peer(1, 1)).unwrap();
        assert!(world.publish(&name, &vhost, peer(2, 2)).is_ok());
    }

    #[test]
    fn a_publisher_who_is_back_in_time_finds_its_viewers() {
        let Rig { mut world, vhost, name } = rig(OnBusy::TakeoverSameIp);
        let viewer = Id::from_token(9);
        let id = world.publish(&name, &vhost, peer(1, 1)).unwrap();
        world.ingest(id, peer(1, 1), Kind::Video, 5_000, Bytes::from_static(KEY));
        world.hub.get_mut(id).unwrap().fanout.add(viewer);
        world.unpublish(id, peer(1, 1));
        world.now = 14_999;
        world.check_stream(id);
        let again = world.publish(&name, &vhost, peer(2, 7)).unwrap();
        assert_eq!(again, id);
        world.ingest(id, peer(2, 7), Kind::Video, 0, Bytes::from_static(KEY));
        let times: Vec<u64> = world.hub.get(id).unwrap().stream.feed.from(0).map(|frame| frame.dts).collect();
        assert!(times.is_sorted() && times.last() > Some(&0), "{times:?}");
    }

    #[test]
    fn a_viewer_who_comes_after_the_last_one_left_is_served() {
        let Rig { mut world, vhost, name } = rig(OnBusy::TakeoverSameIp);
        let id = world.publish(&name, &vhost, peer(1, 1)).unwrap();
        let served = |world: &mut World, viewer: usize, from: u64| {
            let phase = world.hub.get_mut(id).unwrap().fanout.add(Id::from_token(viewer));
            let mut times = 0;
            for now in (from..from + 2_000).step_by(20) {
                world.now = now;
                world.ingest(id, peer(1, 1), Kind::Video, now as u32, Bytes::from_static(KEY));
                while let Some(timer) = world.timers.pop(now) {
                    if timer == Timer::Tick(id) {
                        times += world.tick(id).len();
                    }
                }
            }
            world.leave(id, Id::from_token(viewer), phase, None);
            times
        };
        assert!((5..=7).contains(&served(&mut world, 7, 0)));
        // The stream goes on without viewers, and its last tick finds nobody.
        world.now = 2_500;
        world.ingest(id, peer(1, 1), Kind::Video, 2_500, Bytes::from_static(KEY));
        while let Some(timer) = world.timers.pop(world.now) {
            if timer == Timer::Tick(id) {
                assert!(world.tick(id).is_empty());
            }
        }
        assert!((5..=7).contains(&served(&mut world, 8, 3_000)));
    }

    #[test]
    fn a_stream_ends_after_the_wait_and_is_freed_with_its_last_viewer() {
        let Rig { mut world, vhost, name } = rig(OnBusy::TakeoverSameIp);
        let viewer = Id::from_token(9);
        let id = world.publish(&name, &vhost, peer(1, 1)).unwrap();
        let phase = world.hub.get_mut(id).unwrap().fanout.add(viewer);
        world.unpublish(id, peer(1, 1));
        assert_eq!(world.timers.pop(15_000), Some(Timer::Stream(id)));
        world.now = 15_000;
        world.check_stream(id);
        assert!(matches!(world.actions.pop_front(), Some(Action::End(_))));
        world.reap(id);
        assert_eq!(world.hub.len(), 1);
        world.leave(id, viewer, phase, None);
        assert_eq!(world.hub.len(), 0);
    }

    #[test]
    fn who_waits_is_served_also_when_no_further_frame_comes() {
        let Rig { mut world, vhost, name } = rig(OnBusy::TakeoverSameIp);
        let id = world.publish(&name, &vhost, peer(1, 1)).unwrap();
        world.ingest(id, peer(1, 1), Kind::Video, 0, Bytes::from_static(KEY));
        world.wait_for(&name, &vhost, Id::from_token(9)).unwrap();
        assert!(world.actions.is_empty());
        world.now = 500;
        assert_eq!(world.timers.pop(500), Some(Timer::Stream(id)));
        world.check_stream(id);
        assert!(matches!(world.actions.pop_front(), Some(Action::Start(_))));
    }

    #[test]
    fn waiting_for_streams_that_never_come_leaves_nothing() {
        let Rig { mut world, vhost, .. } = rig(OnBusy::TakeoverSameIp);
        for n in 0..1000 {
            let name = StreamName::new("", "live", &format!("s{n}")).unwrap();
            let (id, _) = world.wait_for(&name, &vhost, Id::from_token(n)).unwrap();
            world.stop_waiting(id, Id::from_token(n));
        }
        assert!(world.hub.is_empty() && world.hub.by_name.is_empty());
    }
}
