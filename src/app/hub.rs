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

use super::dvr;
use super::fanout::Phase;
use super::hls;
use super::memory::Used;
use super::world::{Action, Timer, World};
use crate::conf::{OnBusy, Vhost};
use crate::media::derived::Kindred;
use crate::media::frame::Kind;
use crate::media::stream::{Stream, Taken};
use crate::net::slots::{Id, Slots};
use crate::wire::names::StreamName;
use bytes::Bytes;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

mod live;
pub use live::Live;

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
mod tests;
