//! A stream with its people: its frames, in other containers too, who watches it, and what is made of it.

use super::Publisher;
use crate::app::dvr::{self, LiveDvr};
use crate::app::fanout::Fanout;
use crate::app::hls::LiveHls;
use crate::app::memory::{Level, Share, Used};
use crate::app::rate::Rate;
use crate::app::relay::Push;
use crate::app::relay::pull::Pull;
use crate::conf::{self, Vhost};
use crate::media::cursor::{Filter, Join, Start};
use crate::media::derived::{Derived, Kindred};
use crate::media::feed::{Feed, Limits};
use crate::media::package::{self, Container};
use crate::media::stream::Stream;
use crate::media::timeline::Jitter;
use crate::net::slots::Id;
use crate::wire::names::StreamName;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

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
    pub(super) derived: Vec<(Derived, usize)>,
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
    pub(super) sent_rate: RefCell<Rate>,
    /// When the last frame came.
    pub(super) last_frame: u64,
    /// When frames that no viewer needs were last dropped.
    pub(super) last_trim: u64,
    /// A timer for the phases of its viewers is set.
    pub(super) ticking: bool,
    /// It waits to be sent to viewers who get each frame at once.
    pub(super) queued: bool,
    /// Those who waited for it know that it has begun.
    pub(super) told: bool,
}

impl Live {
    pub(super) fn new(name: StreamName, vhost: Rc<Vhost>) -> Live {
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
    pub(super) fn close(&mut self, kindred: Kindred) -> bool {
        let before = self.derived.len();
        self.derived.iter_mut().filter(|(derived, _)| derived.kindred == kindred).for_each(|(_, n)| *n -= 1);
        self.derived.retain(|(_, readers)| *readers > 0);
        self.derived.len() < before
    }

    /// Makes segments of the newest frame. True: somebody waits for what came of it.
    pub(super) fn feed_hls(&mut self, now: u64) -> bool {
        let (Some(hls), Some(frame)) = (&mut self.hls, self.stream.feed.newest()) else { return false };
        let tracks = self.told.then(|| (self.stream.video(), self.stream.audio()));
        hls.take(frame, tracks, &self.name, now)
    }

    pub(super) fn feed_dvr(&mut self, desk: &dvr::Desk, now: u64) {
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

    pub(super) fn idle(&self) -> bool {
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
