//! Recording: which streams are recorded, and what becomes of their files.
//!
//! ```text
//!   hub: publish ─► begin   ingest ─► take   unpublish ─► pause   ended, vhost changed ─► end
//!                             │ steps (media::dvr)
//!                             ▼
//!   helper thread (net::writer): open, write, close (job), tidy ─► outbox ─► waker ─► on_wake: Recorded
//! ```
//!
//! A recording may be as far behind as a viewer: `queue_bytes`. When the disk is slower, full or gone, the file is
//! completed with what it has, the log has one line, and the next file begins at a keyframe once the disk takes bytes
//! again; it is tried after a second, then ever more seldom. Live streams are not held up: nothing here waits.

mod job;
#[cfg(test)]
mod tests;
mod tidy;

use super::hooks;
use super::hub::Live;
use super::world::{Timer, World};
use crate::conf::{self, DvrPlan, Vhost};
use crate::media::dvr::names::{Template, When};
use crate::media::dvr::{Format, Item, Opening, Recorder, Settings, Step, Tracks};
use crate::media::frame::Frame;
use crate::media::timeline::Jitter;
use crate::net::poll::Waker;
use crate::net::writer::Writer;
use crate::net::{clock, sys};
use crate::wire::names::StreamName;
use job::{How, Ticket, Who};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidy::Tidy;

/// Bytes that wait to be written at most, of all recordings.
const QUEUE: usize = 64 << 20;
/// How long the end of the server waits for files to be completed.
const DRAIN: Duration = Duration::from_secs(3);
/// How long after a fault it is tried again, first and at most, in milliseconds.
const RETRY_MS: (u64, u64) = (1_000, 60_000);
/// How often old recordings are looked for, at least and at most, in milliseconds.
const TIDY_MS: (u64, u64) = (60_000, 600_000);

/// A recording is complete; [`recorded`] is the one place that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The stream.
    pub name: StreamName,
    /// The file, relative to where the program runs unless `dvr_path` is absolute.
    pub file: String,
    /// From its first message to its last, in milliseconds.
    pub duration_ms: u64,
    /// Bytes in it.
    pub bytes: u64,
}

/// The same, as the helper thread knows it.
#[derive(Debug)]
struct Done {
    who: Arc<Who>,
    file: String,
    duration_ms: u64,
    bytes: u64,
}

/// What the helper thread has to tell.
#[derive(Debug, Clone, Default)]
struct Outbox {
    list: Arc<Mutex<Vec<Done>>>,
    waker: Option<Waker>,
}

impl Outbox {
    fn put(&self, done: Done) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(done);
        self.wake();
    }

    fn wake(&self) {
        self.waker.iter().for_each(Waker::wake);
    }

    fn take(&self) -> Vec<Recorded> {
        let list = std::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner));
        let named = |done: Done| {
            let Who { vhost, app, stream } = &*done.who;
            let name = StreamName::new(vhost, app, stream).ok()?;
            Some(Recorded { name, file: done.file, duration_ms: done.duration_ms, bytes: done.bytes })
        };
        list.into_iter().filter_map(named).collect()
    }
}

/// Bytes that are counted as long as this lives.
struct Waiting(Arc<AtomicUsize>, usize);

impl Waiting {
    fn new(all: &Arc<AtomicUsize>, bytes: usize) -> Waiting {
        all.fetch_add(bytes, Ordering::Relaxed);
        Waiting(all.clone(), bytes)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What all recordings share: the helper thread, from the first one on, and what comes back from it.
#[derive(Debug, Default)]
pub struct Desk {
    writer: Option<Rc<Writer>>,
    outbox: Outbox,
    /// Names have UTC in them.
    utc: bool,
    tidied: u64,
    /// Bytes that may wait, of all recordings; 0: [`QUEUE`].
    room: usize,
}

impl Desk {
    /// Lets no more than the quarter of a budget wait for the disk; 0: as much as usual.
    pub fn set_budget(&mut self, budget: usize) {
        self.room = budget / 4;
    }

    /// Bytes that wait for the disk.
    pub fn heap(&self) -> usize {
        self.writer.as_ref().map_or(0, |writer| writer.waiting())
    }

    fn writer(&mut self) -> Option<Rc<Writer>> {
        if self.writer.is_none() {
            match Writer::start(QUEUE) {
                Ok(writer) => self.writer = Some(Rc::new(writer)),
                Err(error) => log::error!(target: "dvr", "no thread to write recordings: {error}"),
            }
        }
        self.writer.clone()
    }

    fn tidy(&mut self, vhost: &Vhost, complete: bool) {
        let dvr = &vhost.dvr;
        let tidy = Tidy {
            template: Template::new(&dvr.path),
            vhost: StreamName::new(&vhost.name, "", "x")
                .map_or(String::new(), |name| name.vhost().to_owned()),
            keep_ms: dvr.keep_ms,
            max_bytes: dvr.max_bytes,
            complete,
        };
        // A queue that is full has something better to do.
        let _ = self.writer().map(|writer| writer.run(1, move || tidy.run()));
    }

    /// The server ends: what waits is written, if that does not take long.
    pub fn drain(&self) {
        if self.writer.as_ref().is_some_and(|writer| !writer.drain(DRAIN)) {
            log::warn!(
                target: "dvr",
                "the disk is too slow: recordings stay unfinished (.tmp); they are completed at the next start"
            );
        }
    }
}

/// The recording of one stream.
#[derive(Debug)]
pub struct LiveDvr {
    recorder: Recorder,
    vhost: Rc<Vhost>,
    template: Template,
    name: StreamName,
    who: Arc<Who>,
    writer: Rc<Writer>,
    outbox: Outbox,
    /// The file that is written, or the last one.
    ticket: Option<Arc<Ticket>>,
    /// Bytes that wait to be written.
    waiting: Arc<AtomicUsize>,
    steps: Vec<Step>,
    /// The disk failed: when it is tried again, and how long to wait the next time.
    retry: Option<(u64, u64)>,
    /// The log knows of the fault, of the refusal.
    told: (bool, bool),
}

fn settings(vhost: &Vhost) -> Settings {
    let dvr = &vhost.dvr;
    Settings {
        format: Format::of_path(&dvr.path),
        segment_ms: (dvr.plan == DvrPlan::Segment).then_some(dvr.duration_ms),
        wait_key: dvr.wait_keyframe,
        jitter: match dvr.time_jitter {
            conf::Jitter::Full => Jitter::Full,
            conf::Jitter::Zero => Jitter::Zero,
            conf::Jitter::Off => Jitter::Off,
        },
        repaired: vhost.play.time_jitter == conf::Jitter::Full,
    }
}

fn applies(dvr: &conf::Dvr, name: &StreamName) -> bool {
    let (app, stream) = (name.app(), name.stream());
    let named = |one: &String| one == "all" || one.rsplit_once('/') == Some((app, stream));
    dvr.enabled && dvr.apply.iter().any(named)
}

/// A publisher begins: what `before` records goes on, or a recording begins if the configuration wants one.
pub fn begin(
    before: Option<Box<LiveDvr>>,
    name: &StreamName,
    vhost: &Rc<Vhost>,
    desk: &mut Desk,
    now: u64,
) -> Option<Box<LiveDvr>> {
    match before {
        Some(mut live) if live.runs_under(vhost) => {
            live.vhost = vhost.clone();
            live.pause(desk, now);
            Some(live)
        }
        before => {
            before.into_iter().for_each(|live| live.end(desk, now));
            LiveDvr::new(name, vhost, desk)
        }
    }
}

/// A stream has another vhost's settings now: its recording goes on, ends, or begins at the next keyframe.
pub fn change(live: &mut Live, desk: &mut Desk, now: u64) {
    if let Some(dvr) = live.dvr.as_mut().filter(|dvr| dvr.runs_under(&live.vhost)) {
        dvr.vhost = live.vhost.clone();
        return;
    }
    live.dvr.take().into_iter().for_each(|dvr| dvr.end(desk, now));
    live.dvr = LiveDvr::new(&live.name, &live.vhost, desk);
}

impl LiveDvr {
    fn new(name: &StreamName, vhost: &Rc<Vhost>, desk: &mut Desk) -> Option<Box<LiveDvr>> {
        if !applies(&vhost.dvr, name) {
            return None;
        }
        let who = Who {
            vhost: name.vhost().to_owned(),
            app: name.app().to_owned(),
            stream: name.stream().to_owned(),
        };
        Some(Box::new(LiveDvr {
            recorder: Recorder::new(settings(vhost)),
            vhost: vhost.clone(),
            template: Template::new(&vhost.dvr.path),
            name: name.clone(),
            who: Arc::new(who),
            writer: desk.writer()?,
            outbox: desk.outbox.clone(),
            ticket: None,
            waiting: Arc::default(),
            steps: Vec::new(),
            retry: None,
            told: (false, false),
        }))
    }

    /// Whether these are the settings that it runs under.
    fn runs_under(&self, vhost: &Vhost) -> bool {
        let (was, is) = (&self.vhost.dvr, &vhost.dvr);
        // What is kept of old recordings is no matter of the present one.
        let alike = conf::Dvr { keep_ms: is.keep_ms, max_bytes: is.max_bytes, ..was.clone() };
        alike == *is && settings(&self.vhost) == settings(vhost)
    }

    /// Whether a file is being written.
    pub fn is_recording(&self) -> bool {
        self.recorder.is_writing()
    }

    /// Takes the newest frame.
    pub fn take(&mut self, frame: &Frame, tracks: Option<Tracks>, desk: &Desk, now: u64) {
        if let Some(fault) = self.ticket.as_ref().and_then(|ticket| ticket.take_fault()) {
            self.fail(&fault, now);
        }
        if !self.may_try(now) {
            return;
        }
        self.recorder.push(frame, tracks, now, &mut self.steps);
        if let Some(why) = self.recorder.refusal().filter(|_| !self.told.1) {
            log::warn!(target: "dvr", "{}: not recorded: {why}", self.name);
            self.told.1 = true;
        }
        self.work(desk, now);
    }

    /// After a fault: whether it is time to try again, and the disk has taken what was before.
    fn may_try(&self, now: u64) -> bool {
        let due = self.retry.is_none_or(|(at, _)| now >= at);
        due && (self.recorder.is_writing()
            || self.retry.is_none()
            || self.waiting.load(Ordering::Relaxed) == 0)
    }

    /// The publisher is gone and may come back.
    pub fn pause(&mut self, desk: &Desk, now: u64) {
        self.recorder.interrupt(now, &mut self.steps);
        self.told.1 = false;
        self.work(desk, now);
    }

    /// The recording is over.
    pub fn end(mut self: Box<Self>, desk: &mut Desk, now: u64) {
        self.recorder.finish(now, &mut self.steps);
        self.work(desk, now);
    }

    fn work(&mut self, desk: &Desk, now: u64) {
        for step in std::mem::take(&mut self.steps) {
            let done = match step {
                Step::Open(opening) => {
                    let how = self.how(desk.utc);
                    self.open(how, opening)
                }
                Step::Write(items) => self.write(items, desk),
                Step::Close => {
                    self.close();
                    true
                }
            };
            if !done {
                self.fail("the disk is too slow, too much waits to be written", now);
                return;
            }
        }
    }

    fn how(&self, utc: bool) -> How {
        let unix_ms = clock::unix_ms();
        let date = if utc { sys::utc_time(unix_ms / 1000) } else { sys::local_time(unix_ms / 1000) };
        let dvr = &self.vhost.dvr;
        How {
            path: self.template.path(&self.name, When { date, unix_ms }),
            format: Format::of_path(&dvr.path),
            append: dvr.plan == DvrPlan::Append,
            entries: job::entries((dvr.plan == DvrPlan::Segment).then_some(dvr.duration_ms)),
        }
    }

    fn open(&mut self, how: How, opening: Opening) -> bool {
        let ticket = Ticket::new(&self.outbox, self.who.clone());
        self.ticket = Some(ticket.clone());
        log::debug!(target: "dvr", "{}: recorded to {}", self.name, how.path);
        self.writer.run(1, move || ticket.open(&how, &opening)).is_ok()
    }

    fn write(&mut self, items: Vec<Item>, desk: &Desk) -> bool {
        let Some(ticket) = self.ticket.clone() else { return true };
        if ticket.good.load(Ordering::Acquire) && self.retry.take().is_some() {
            self.told.0 = false;
            log::info!(target: "dvr", "{}: is recorded again", self.name);
        }
        let bytes: usize = items.iter().map(|item| item.payload.len()).sum();
        let limit = usize::try_from(self.vhost.play.queue_bytes).unwrap_or(usize::MAX);
        let before = self.waiting.load(Ordering::Relaxed);
        let crowded = desk.room > 0 && desk.heap().saturating_add(bytes) > desk.room;
        if before > 0 && (crowded || before.saturating_add(bytes) > limit) {
            return false;
        }
        let waiting = Waiting::new(&self.waiting, bytes);
        let deed = move || {
            ticket.write(&items);
            drop((items, waiting));
        };
        self.writer.run(bytes, deed).is_ok()
    }

    fn close(&mut self) {
        let Some(ticket) = &self.ticket else { return };
        let ticket = ticket.clone();
        let _ = self.writer.run(0, move || ticket.close());
    }

    fn fail(&mut self, why: &str, now: u64) {
        self.close();
        self.recorder.reset();
        self.steps.clear();
        let wait = self.retry.map_or(RETRY_MS.0, |(_, wait)| wait);
        self.retry = Some((now.saturating_add(wait), wait.saturating_mul(2).min(RETRY_MS.1)));
        if !std::mem::replace(&mut self.told.0, true) {
            log::error!(
                target: "dvr",
                "{}: the recording stops: {why}; it goes on at a keyframe when the disk takes it again",
                self.name
            );
        }
    }
}

/// The helper thread has something to tell.
pub fn on_wake(world: &mut World) {
    for one in world.dvr.outbox.take() {
        recorded(world, &one);
    }
}

/// A recording is complete.
fn recorded(world: &mut World, recorded: &Recorded) {
    let Recorded { name, file, duration_ms, bytes } = recorded;
    let (s, ms) = (duration_ms / 1000, duration_ms % 1000);
    log::info!(target: "dvr", "{name}: recorded {s}.{ms:03} s, {} kB: {file}", bytes / 1000);
    hooks::recorded(world, name, file);
    if world.now.saturating_sub(world.dvr.tidied) >= TIDY_MS.0 {
        tidy_all(world);
    }
}

/// Looks for old recordings of all vhosts, and will again.
pub fn tidy_all(world: &mut World) {
    let limited =
        |vhost: &&Rc<Vhost>| vhost.dvr.enabled && (vhost.dvr.keep_ms > 0 || vhost.dvr.max_bytes > 0);
    let vhosts: Vec<Rc<Vhost>> = world.config.vhosts.iter().filter(limited).cloned().collect();
    vhosts.iter().for_each(|vhost| world.dvr.tidy(vhost, false));
    world.dvr.tidied = world.now;
    if !vhosts.is_empty() {
        world.timers.set(Timer::Dvr, world.now.saturating_add(TIDY_MS.1));
    }
}

/// The server begins: what the last one left unfinished is completed.
pub fn start(world: &mut World, waker: Waker) {
    world.dvr.outbox.waker = Some(waker);
    let config = world.config.clone();
    let recorded = config.vhosts.iter().filter(|vhost| vhost.enabled && vhost.dvr.enabled);
    recorded.for_each(|vhost| world.dvr.tidy(vhost, true));
    adopt(world);
}

/// A configuration is in force, at the start or after a reload.
pub fn adopt(world: &mut World) {
    world.dvr.utc = world.config.log.utc;
    world.timers.clear(Timer::Dvr);
    tidy_all(world);
}
