//! Streams fetched from other servers by RTMP while somebody watches them (`cluster { mode remote; }`).
//!
//! ```text
//!   somebody asks, nobody publishes      an address          the first frame
//!      Due(at) ──────────────► Finding ────────────► Calling ───────────────► Playing
//!        ▲                        │                     │                        │
//!        └─────── the next origin, or after a pause ────┴────────────────────────┘ while somebody wants it
//!      gone: nobody has watched for KEEP_MS, or somebody publishes here
//! ```
//!
//! What is kept for one is a [`Pull`] of the stream. [`super::ingress`] is the connection; to the hub it is a publisher, so
//! viewers stay through a switch to another origin (`resume_wait`), and the time line goes on.
//!
//! Bounds: one connection for a stream; [`MAX_COLD`] at one time that have not brought a frame yet; pauses grow with the
//! attempts. Loops: the connect names the servers that will hear it (as `forward` does), and who finds its own number
//! refuses. Where that is not seen, since each was asked already, a stream that never came is not asked for again on
//! behalf of edges alone: so edges that wait for each other let go once no viewer is left.

use super::{Desk, NEXT_MS, State, Told, next};
use crate::app::hub::{Live, Publisher, Source, StreamId};
use crate::app::world::{Action, Timer, World};
use crate::conf::{HlsStorage, Vhost};
use crate::net::slots::Id;
use crate::wire::names::StreamName;
use std::rc::Rc;

/// How long a stream that nobody watches is still fetched, in milliseconds,
pub const KEEP_MS: u64 = 5_000;
/// how often it is looked whether somebody does,
const LOOK_MS: u64 = 1_000;
/// the pause after all origins have failed, which doubles each time,
const RETRY_MS: u64 = 1_000;
/// up to this,
const MAX_RETRY_MS: u64 = 8_000;
/// and how long a stream must have come for its origin to count as good.
const GOOD_MS: u64 = 3_000;
/// Streams at one time that are asked for and have not come yet.
const MAX_COLD: usize = 256;
/// Servers in a row that may name another one.
const MAX_REDIRECTS: u32 = 3;

/// What the first viewer has said.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Parameters for the origin, without `?`; they may hold secrets.
    pub params: Box<str>,
    /// The origin is to hear them with the connect, too (`token_traverse`).
    pub at_connect: bool,
    /// The servers that the viewer's side has come through.
    pub via: Option<Box<str>>,
}

impl Asked {
    /// What goes on to an origin of parameters as sent: all but the vhost, which has its own place.
    pub fn of(params: &str, via: Option<&str>) -> Asked {
        let names_vhost = |pair: &&str| !pair.starts_with("vhost=") && !pair.starts_with("domain=");
        let kept: Vec<&str> = params.trim_start_matches('?').split('&').filter(names_vhost).collect();
        Asked { params: kept.join("&").into(), at_connect: false, via: via.map(Into::into) }
    }
}

/// A stream that is fetched.
#[derive(Debug)]
pub struct Pull {
    /// The origin: `host:port`.
    pub to: Rc<str>,
    /// Where it is.
    pub state: State,
    /// Attempts in a row that came to nothing.
    pub tries: u32,
    /// Why the last one ended.
    pub fault: Box<str>,
    /// No origin could be asked at the last attempt.
    pub unreachable: bool,
    /// What the first viewer has said.
    pub asked: Asked,
    /// Addresses of its name that are left to be tried in this round.
    left: u32,
    /// The server that the origin has named instead, and how often in a row one was.
    redirect: (Option<Rc<str>>, u32),
    /// It has come at least once.
    ran: bool,
    /// Since when nobody has watched.
    unwatched: Option<u64>,
    /// Those who wait on behalf of edges.
    edges: Vec<Id>,
    told: Told,
}

impl Pull {
    fn conn(&self) -> Option<Id> {
        match self.state {
            State::Calling(id) | State::Playing(id) => Some(id),
            State::Idle | State::Due(_) | State::Finding => None,
        }
    }
}

/// How an attempt, or a stream that came, has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The origin could not be asked, or did not answer.
    Unreachable,
    /// It has answered, and has not, or not any more, the stream.
    Absent,
    /// The stream has come for so many milliseconds.
    Lost(u64),
}

impl Desk {
    /// A number that goes up by one with each call, so that streams go round the origins.
    pub(super) fn turn(&mut self) -> usize {
        self.turns = self.turns.wrapping_add(1);
        self.turns
    }
}

impl Live {
    /// Whether anybody wants the stream to be fetched, and whether any of them is not an edge.
    fn wanted(&self, pull: &Pull) -> (bool, bool) {
        let push = |id: &Id| self.pushes.iter().any(|push| push.conn() == Some(*id));
        let waiting = self.waiting.iter().filter(|id| !push(id));
        let own = waiting.clone().filter(|id| !pull.edges.contains(id)).count();
        // A number of requests that nobody waits for any more is no reason to begin.
        let goes_on = pull.ran && !self.ended;
        let hls = self.hls.as_ref().map_or(0, |hls| if goes_on { hls.viewers() } else { hls.awaited() });
        let watching = if self.ended { 0 } else { self.watchers() };
        let any = waiting.count() + watching + hls > 0;
        (any, pull.ran || own + hls > 0)
    }

    /// Why the stream is not there, for a viewer who waited for it, with the status of HTTP.
    pub fn absence(&self) -> (u16, String) {
        match &self.pull {
            Some(pull) if pull.unreachable => (502, format!("the origin of {} cannot be reached", self.name)),
            _ => (404, format!("nobody publishes {}", self.name)),
        }
    }
}

impl World {
    /// Has the stream fetched, if it is one of an edge and nobody publishes it here. `conn` waits for it.
    pub fn pull(&mut self, id: StreamId, conn: Option<Id>, asked: Asked) {
        let now = self.now;
        let turn = self.relays.turn();
        let Some(live) = self.hub.get_mut(id) else { return };
        let cluster = &live.vhost.cluster;
        if !cluster.remote || matches!(live.publisher, Publisher::Live(_)) || self.replaced {
            return;
        }
        let edge = conn.filter(|_| asked.via.is_some());
        if live.pull.is_none() {
            let Some(to) = cluster.origins.get(turn % cluster.origins.len().max(1)) else { return };
            live.pull = Some(Box::new(Pull {
                to: to.as_str().into(),
                state: State::Due(now),
                tries: 0,
                fault: "".into(),
                unreachable: false,
                asked: Asked { at_connect: cluster.token_traverse, ..asked },
                left: 0,
                redirect: (None, 0),
                ran: false,
                unwatched: None,
                edges: Vec::new(),
                told: Told::default(),
            }));
        }
        if let Some(pull) = &mut live.pull {
            pull.edges.retain(|id| live.waiting.contains(id));
            pull.edges.extend(edge);
            if pull.tries == 0 {
                self.timers.set(Timer::Pull(id), now);
            }
        }
    }

    /// Makes a place for a stream whose playlist is asked for, and has it fetched.
    pub fn pull_hls(&mut self, name: &StreamName, vhost: &Rc<Vhost>, asked: Asked) {
        let Some(id) = self.hub.entry(name, vhost) else { return };
        let now = self.now;
        if let Some(live) = self.hub.get_mut(id) {
            live.hls = crate::app::hls::open(live.hls.take(), (id, name), vhost, &mut self.hls, now);
        }
        self.pull(id, None, asked);
        self.reap(id);
    }

    /// Looks after a stream that is fetched; gives the origin if it is to be called now.
    pub fn pull_due(&mut self, id: StreamId) -> Option<Rc<str>> {
        let now = self.now;
        let is =
            |live: &Live, what: fn(State) -> bool| live.pull.as_ref().is_some_and(|pull| what(pull.state));
        let cold = |live: &&Live| is(live, |state| matches!(state, State::Finding | State::Calling(_)));
        let waits = self.hub.get(id).is_some_and(|live| is(live, |state| matches!(state, State::Due(_))));
        let full = waits && self.hub.iter().filter(cold).count() >= MAX_COLD;
        let stops = self.relays.stopped || self.replaced;
        let live = self.hub.get_mut(id)?;
        if let Publisher::Live(Source::Peer(..) | Source::Demo) = live.publisher {
            self.pull_stop(id, "somebody publishes it here");
            return None;
        }
        live.hls.iter_mut().for_each(|hls| hls.sweep(now));
        let (wanted, _) = live.wanted(live.pull.as_ref()?);
        let ended = live.ended;
        let pull = live.pull.as_mut()?;
        let since = *pull.unwatched.get_or_insert(now);
        if wanted {
            pull.unwatched = None;
        }
        let patience = if pull.ran && !ended { KEEP_MS } else { 0 };
        if stops || !wanted && now.saturating_sub(since) >= patience {
            self.pull_stop(id, "nobody watches it");
            return None;
        }
        let due = match pull.state {
            State::Due(at) if at > now => Some(at),
            State::Due(_) if full || !wanted => None,
            State::Due(_) => {
                pull.state = State::Finding;
                self.timers.set(Timer::Pull(id), now.saturating_add(LOOK_MS));
                return Some(pull.to.clone());
            }
            _ => None,
        };
        let look = now.saturating_add(LOOK_MS);
        self.timers.set(Timer::Pull(id), due.map_or(look, |at| at.min(look)));
        None
    }

    /// The stream is not fetched any more, and ends.
    fn pull_stop(&mut self, id: StreamId, why: &str) {
        let Some(live) = self.hub.get_mut(id) else { return };
        let Some(pull) = live.pull.take() else { return };
        self.timers.clear(Timer::Pull(id));
        if let Some(conn) = pull.conn() {
            self.actions.push_back(Action::Dismiss(conn, why.to_owned()));
        }
        // Whoever asks next is to wait for the stream, not to get what is left of it.
        match live.publisher {
            Publisher::Live(Source::Origin(_)) | Publisher::Away(_) => {
                live.hls = None;
                self.end_stream(id);
            }
            Publisher::Vacant if !pull.ran => live.hls = None,
            Publisher::Vacant | Publisher::Live(_) => {}
        }
        self.reap(id);
    }

    /// The configuration has changed: another origin is asked if this one is not named any more, or nobody.
    pub fn pull_changed(&mut self, id: StreamId) {
        let now = self.now;
        let Some(live) = self.hub.get_mut(id) else { return };
        let cluster = &live.vhost.cluster;
        let Some(pull) = &mut live.pull else {
            if !live.waiting.is_empty() {
                self.pull(id, None, Asked::default());
            }
            return;
        };
        if cluster.remote && cluster.origins.iter().any(|own| **own == *pull.to) {
            return;
        }
        if let Some(conn) = pull.conn() {
            let why = String::from("it is no origin any more");
            self.actions.push_back(Action::Dismiss(conn, why));
        }
        match cluster.after(&pull.to).filter(|_| cluster.remote) {
            None => live.pull = None,
            Some(to) => {
                (pull.to, pull.state, pull.tries, pull.left) = (to.into(), State::Due(now), 0, 0);
                self.timers.set(Timer::Pull(id), now);
            }
        }
    }

    /// The streams that wait for the address of this origin.
    pub fn pulls_finding(&self, to: &str) -> Vec<StreamId> {
        let finding = |live: &Live| {
            live.pull.as_ref().is_some_and(|pull| pull.state == State::Finding && *pull.to == *to)
        };
        self.hub.entries().filter(|(_, live)| finding(live)).map(|(id, _)| id).collect()
    }

    /// Which one of the `count` addresses of the origin is to be tried.
    pub fn pull_address(&mut self, id: StreamId, count: usize) -> usize {
        self.hub.get_mut(id).and_then(|live| live.pull.as_mut()).map_or(0, |pull| next(&mut pull.left, count))
    }

    /// A connection to the origin is on its way.
    pub fn pull_called(&mut self, id: StreamId, conn: Id) {
        if let Some(pull) = self.hub.get_mut(id).and_then(|live| live.pull.as_mut()) {
            pull.state = State::Calling(conn);
        }
    }

    /// The first frame has come from the origin: the stream has a publisher.
    ///
    /// # Errors
    /// Why it is not wanted.
    pub fn pull_begins(&mut self, id: StreamId, conn: Id) -> Result<Source, String> {
        let now = self.now;
        let live = self.hub.get_mut(id).ok_or("the stream is gone")?;
        let (name, vhost) = (live.name.clone(), live.vhost.clone());
        if let Publisher::Live(Source::Peer(..) | Source::Demo) = live.publisher {
            return Err(String::from("somebody publishes it here"));
        }
        let pull = live.pull.as_mut().filter(|pull| pull.conn() == Some(conn)).ok_or("it is not wanted")?;
        (pull.state, pull.ran, pull.unreachable) = (State::Playing(conn), true, false);
        pull.redirect = (None, 0);
        let to = pull.to.clone();
        let told = pull.told.may(now, &to);
        let by = Source::Origin(conn);
        self.publish(&name, &vhost, by)?;
        if let Some(left_out) = told {
            let more = crate::app::quiet::Quiet::more(left_out);
            log::info!(target: "edge", "{name} comes from {to}{more}");
        }
        Ok(by)
    }

    /// The origin names another server that has the stream; that is asked next, unless it is one too many.
    pub fn pull_redirect(&mut self, id: StreamId, conn: Id, to: &str) {
        let pull = self.hub.get_mut(id).and_then(|live| live.pull.as_mut());
        if let Some(pull) = pull.filter(|pull| pull.conn() == Some(conn) && pull.redirect.1 < MAX_REDIRECTS) {
            pull.redirect = (Some(to.into()), pull.redirect.1 + 1);
        }
    }

    /// An attempt has come to nothing, or the stream comes no more. The next origin is tried, or the same one again, while
    /// somebody wants the stream. `why` is the fault alone, `line` all that the log is told of it.
    pub fn pull_ended(&mut self, id: StreamId, conn: Option<Id>, to: &str, why: &str, line: &str, end: End) {
        let now = self.now;
        let stops = self.relays.stopped || self.replaced;
        let Some(live) = self.hub.get_mut(id) else { return };
        let name = live.name.clone();
        let wanted = live.pull.as_ref().map(|pull| live.wanted(pull));
        let ours = |pull: &&mut Box<Pull>| pull.conn() == conn;
        let Some(pull) = live.pull.as_mut().filter(ours).filter(|_| !stops) else {
            return log::info!(target: "edge", "{name} from {to} {line}");
        };
        let left = std::mem::take(&mut pull.left);
        if let Some(other) = pull.redirect.0.take() {
            pull.to = other;
            pull.state = State::Due(now);
            self.timers.set(Timer::Pull(id), now);
            return log::debug!(target: "edge", "{name} from {to} {line}");
        }
        if end == End::Unreachable && left > 0 {
            (pull.left, pull.state) = (left, State::Due(now));
            self.timers.set(Timer::Pull(id), now);
            return log::debug!(target: "edge", "{name} from {to} {line}; its next address is tried");
        }
        pull.redirect.1 = 0;
        pull.fault = why.into();
        pull.unreachable = end == End::Unreachable;
        pull.tries = match end {
            End::Lost(ms) if ms >= GOOD_MS => 0,
            _ => pull.tries.saturating_add(1),
        };
        let cluster = &live.vhost.cluster;
        let origins = u32::try_from(cluster.origins.len()).unwrap_or(u32::MAX).max(1);
        let all_failed = pull.tries > 0 && pull.tries.is_multiple_of(origins);
        let pause = match all_failed {
            true => (RETRY_MS << (pull.tries / origins - 1).min(8)).min(MAX_RETRY_MS),
            false => NEXT_MS,
        };
        pull.to = cluster.after(to).unwrap_or_default().into();
        pull.state = State::Due(now.saturating_add(pause));
        let (any, own) = wanted.unwrap_or_default();
        let next = match (any, all_failed) {
            (false, _) => String::new(),
            (true, false) if *pull.to != *to => format!("; {} is tried", pull.to),
            (true, _) => String::from("; tried again"),
        };
        if let Some(left_out) = pull.told.may(now, why)
            && self.quiet.allow("edge", now).is_some()
        {
            let more = crate::app::quiet::Quiet::more(left_out);
            log::warn!(target: "edge", "{name} from {to} {line}{next}{more}");
        }
        if all_failed {
            // Edges ask again by themselves, while they have viewers.
            self.actions.push_back(Action::Absent(id, !own));
        }
        self.timers.set(Timer::Pull(id), now.saturating_add(pause.min(LOOK_MS)));
    }
}

/// Whether a playlist of this vhost can be what has a stream fetched.
pub fn by_hls(vhost: &Vhost) -> bool {
    vhost.cluster.remote && vhost.hls.enabled && vhost.hls.storage != HlsStorage::Disk
}
