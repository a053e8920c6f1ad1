//! Streams sent on to other servers by RTMP (`forward`); [`pull`] has those that are fetched from others.
//!
//! ```text
//!             its moment            an address             it takes the stream
//!   Due(at) ─────────────► Finding ────────────► Calling ──────────────────────► Playing
//!     ▲                       │                     │                               │
//!     └────── RETRY_MS ───────┴─────────────────────┴───────────────────────────────┘ it ends while somebody publishes
//!   Idle: nobody publishes just now; Due when somebody does
//! ```
//!
//! A destination is a viewer of the stream like any other: a cursor and no queue, so a slow one leaps to a keyframe and costs
//! nobody anything. What is kept for one is a [`Push`] of the stream. [`peer`] is the connection to it; the loop makes the
//! connections, since only it has the poll.
//!
//! Loops: a server tells in its connect which servers the stream has come through, itself included, as random numbers that
//! last as long as their process; whoever finds its own number among them refuses. A destination that is a port of
//! this very server is not even called.
//! Limit: a loop through a server that does not pass those numbers on (one that is not runnel) is not noticed.

pub mod check;
pub mod ingress;
pub mod peer;
pub mod pull;

use self::pull::Asked;
use super::hub::{Live, Publisher, Source, StreamId};
use super::world::{Action, Timer, World};
use crate::conf::Vhost;
use crate::net::poll::Waker;
use crate::net::resolver::{Answer, Resolver};
use crate::net::slots::Id;
use crate::net::sys;
use crate::wire::names::StreamName;
use std::rc::Rc;

/// How long after its end a destination is tried again, in milliseconds,
pub const RETRY_MS: u64 = 3_000;
/// after how long the next address of its name is tried,
pub const NEXT_MS: u64 = 50;
/// and when it is this server itself, which only another configuration changes.
pub const SELF_RETRY_MS: u64 = 60_000;
/// Bytes that the list of servers may have that a stream has come through: some 15 of them.
const MAX_VIA: usize = 256;
/// In so many milliseconds,
const TELL_MS: u64 = 600_000;
/// so many lines at most are written about one destination, each fault once.
const LINES: u32 = 10;

/// Which one of the `count` addresses of a name is to be tried, when `left` of them are left in this round; 0 begins a new one.
fn next(left: &mut u32, count: usize) -> usize {
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    let now = if *left == 0 { count } else { (*left).min(count) };
    *left = now - 1;
    (count - now) as usize
}

/// One destination of one stream.
#[derive(Debug)]
pub struct Push {
    /// `host:port`.
    pub to: Rc<str>,
    /// Where it is.
    pub state: State,
    /// Attempts in a row that came to nothing.
    pub tries: u32,
    /// Addresses of its name that are left to be tried in this round.
    left: u32,
    /// Why the last attempt ended.
    pub fault: Box<str>,
    /// The configuration still names it.
    wanted: bool,
    /// The end of the feed when the publisher came, until the first attempt: from there on nothing is missing.
    since: Option<u64>,
    told: Told,
    /// Of an edge: the destination is an origin, and this is what the publisher has said.
    pub origin: Option<Box<Asked>>,
    /// Who may publish here if the origin takes the stream.
    applicant: Option<Id>,
    /// The origin takes it.
    granted: bool,
}

/// Where a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody publishes.
    Idle,
    /// It is called at this time.
    Due(u64),
    /// Its address is looked for.
    Finding,
    /// It is asked to take the stream, or waits for it to start.
    Calling(Id),
    /// It is sent the stream.
    Playing(Id),
}

impl State {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Due(_) => "waiting",
            State::Finding | State::Calling(_) => "connecting",
            State::Playing(_) => "running",
        }
    }
}

impl Push {
    fn new(to: &str, now: u64, since: u64) -> Push {
        Push {
            to: to.into(),
            state: State::Due(now),
            tries: 0,
            left: 0,
            fault: "".into(),
            wanted: true,
            since: Some(since),
            told: Told::default(),
            origin: None,
            applicant: None,
            granted: false,
        }
    }

    fn conn(&self) -> Option<Id> {
        match self.state {
            State::Calling(id) | State::Playing(id) => Some(id),
            State::Idle | State::Due(_) | State::Finding => None,
        }
    }
}

/// What the log was told of one destination.
#[derive(Debug, Default)]
struct Told {
    since: u64,
    lines: u32,
    left_out: u32,
    last: Box<str>,
}

impl Told {
    /// Whether a line that says `what` is to be written now; with a number, that many before it were left out.
    fn may(&mut self, now: u64, what: &str) -> Option<u32> {
        if now.saturating_sub(self.since) >= TELL_MS || self.lines == 0 {
            *self = Told { since: now, left_out: self.left_out, ..Told::default() };
        }
        if self.lines >= LINES || *self.last == *what {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.lines += 1;
        self.last = what.into();
        Some(std::mem::take(&mut self.left_out))
    }
}

/// What all destinations share.
#[derive(Debug)]
pub struct Desk {
    /// This process among those that a stream comes through.
    number: Box<str>,
    resolver: Option<Resolver>,
    /// Streams that were to be fetched from origins, and clients that they were asked about.
    turns: usize,
    /// Clients that an origin is asked about (`token_traverse`), or was.
    pub checks: check::Checks,
    /// The server ends: nothing is tried again.
    stopped: bool,
    /// When the log was told of a loop.
    loop_told: Option<u64>,
}

impl Default for Desk {
    fn default() -> Desk {
        let mut number = [0; 8];
        sys::random(&mut number);
        let number = format!("{:016x}", u64::from_be_bytes(number)).into();
        Desk {
            number,
            resolver: None,
            turns: 0,
            checks: check::Checks::default(),
            stopped: false,
            loop_told: None,
        }
    }
}

impl Desk {
    /// Lets names be looked up; `waker` ends the wait of the loop.
    pub fn start(&mut self, waker: Waker) {
        self.resolver = Some(Resolver::new(waker));
    }

    /// The server ends.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Asks for the addresses of a `host:port`.
    ///
    /// # Errors
    /// Why it cannot be asked now.
    pub fn ask(&mut self, name: &str) -> Result<(), String> {
        let resolver = self.resolver.as_mut().ok_or("names cannot be looked up")?;
        resolver.ask(name).map_err(|error| error.to_string())
    }

    /// The next answer to [`Desk::ask`].
    pub fn answer(&mut self) -> Option<Answer> {
        self.resolver.as_mut()?.answer()
    }

    /// The servers that a stream has come through, this one being the last.
    fn via(&self, before: Option<&str>) -> String {
        before.map_or_else(|| self.number.to_string(), |before| format!("{before},{}", self.number))
    }

    /// Whether a stream that has come through these servers may come in here.
    ///
    /// # Errors
    /// Why not, in a sentence for the other server and the log.
    pub fn admits(&self, via: Option<&str>) -> Result<(), &'static str> {
        match via {
            Some(via) if via.split(',').any(|number| *number == *self.number) => Err(
                "this server sends out this stream itself: a loop of `forward` or `origin`, remove one of them",
            ),
            Some(via) if via.len() > MAX_VIA => {
                Err("the stream has come through too many servers: check their `forward` and `origin`")
            }
            _ => Ok(()),
        }
    }

    /// Whether the log is to be told of a loop: the other server tries again and again.
    pub fn tells_loop(&mut self, now: u64) -> bool {
        let tells = self.loop_told.is_none_or(|at| now.saturating_sub(at) >= TELL_MS);
        self.loop_told = if tells { Some(now) } else { self.loop_told };
        tells
    }
}

impl Live {
    /// Destinations that are sent the stream.
    pub fn forwards(&self) -> usize {
        self.pushes.iter().filter(|push| matches!(push.state, State::Playing(_))).count()
    }

    /// Whether somebody waits for an origin's consent to publish it.
    pub fn is_applied_for(&self) -> bool {
        self.pushes.iter().any(|push| push.applicant.is_some())
    }

    fn push_to(&mut self, to: &str) -> Option<&mut Push> {
        self.pushes.iter_mut().find(|push| *push.to == *to)
    }
}

impl World {
    /// Has the stream go where its vhost says: when somebody publishes it, and after a reload.
    pub fn forward(&mut self, id: StreamId) {
        let now = self.now;
        let Some(live) = self.hub.get_mut(id) else { return };
        let vhost = live.vhost.clone();
        let wanted = vhost.forward.wanted();
        let by_peer = matches!(live.publisher, Publisher::Live(Source::Peer(..)));
        let edge = vhost.cluster.remote && !matches!(live.publisher, Publisher::Live(Source::Origin(_)));
        if wanted.is_empty() && live.pushes.is_empty() && !(edge && by_peer) {
            return;
        }
        for push in &mut live.pushes {
            let list = if push.origin.is_some() { &vhost.cluster.origins } else { wanted };
            let named = list.iter().any(|to| **to == *push.to);
            push.wanted = named && (push.origin.is_none() || edge || push.applicant.is_some());
            if let Some(conn) = push.conn().filter(|_| !push.wanted) {
                self.actions.push_back(Action::Dismiss(conn, String::from("it is no destination any more")));
            }
        }
        live.pushes.retain(|push| push.wanted || push.conn().is_some());
        self.forward_next(id);
        let Some(live) = self.hub.get_mut(id) else { return };
        if !matches!(live.publisher, Publisher::Live(_)) {
            return;
        }
        let since = live.stream.feed.end();
        if edge && by_peer {
            live.push_to_origin(now, since);
        }
        for to in wanted {
            match live.push_to(to) {
                None => live.pushes.push(Push::new(to, now, since)),
                Some(push) if push.state == State::Idle => {
                    (push.state, push.since) = (State::Due(now), Some(since));
                }
                Some(_) => {}
            }
        }
        self.forward_next(id);
    }

    /// Sets the time at which the next destination of the stream is called.
    fn forward_next(&mut self, id: StreamId) {
        let Some(live) = self.hub.get(id) else { return };
        let due = |push: &Push| if let State::Due(at) = push.state { Some(at) } else { None };
        if let Some(at) = live.pushes.iter().filter_map(due).min() {
            self.timers.set(Timer::Forward(id), at);
        }
    }

    /// The stream is over. Who is sent it gets what is left; nobody else is called any more.
    pub fn forward_over(&mut self, id: StreamId) {
        let Some(live) = self.hub.get_mut(id) else { return };
        for push in &live.pushes {
            if let State::Calling(conn) = push.state
                && push.applicant.is_none()
            {
                self.actions.push_back(Action::Dismiss(conn, String::from("the stream is over")));
            }
        }
        live.pushes.retain(|push| push.conn().is_some() || push.applicant.is_some());
        self.timers.clear(Timer::Forward(id));
        self.forward_next(id);
    }

    /// The destinations of the stream that are to be called now.
    pub fn forwards_due(&mut self, id: StreamId) -> Vec<Rc<str>> {
        let now = self.now;
        let Some(live) = self.hub.get_mut(id) else { return Vec::new() };
        let published = matches!(live.publisher, Publisher::Live(_));
        let mut due = Vec::new();
        for push in &mut live.pushes {
            match push.state {
                State::Due(_) if !published && push.applicant.is_none() => push.state = State::Idle,
                State::Due(at) if at <= now => {
                    push.state = State::Finding;
                    due.push(push.to.clone());
                }
                _ => {}
            }
        }
        self.forward_next(id);
        due
    }

    /// The streams that wait for the address of this destination.
    pub fn forwards_finding(&self, to: &str) -> Vec<StreamId> {
        let finding = |push: &Push| push.state == State::Finding && *push.to == *to;
        let all = self.hub.entries().filter(|(_, live)| live.pushes.iter().any(finding));
        all.map(|(id, _)| id).collect()
    }

    /// Which one of the `count` addresses of a destination is to be tried: one after the other, then from the first again.
    pub fn forward_address(&mut self, id: StreamId, to: &str, count: usize) -> usize {
        self.hub.get_mut(id).and_then(|live| live.push_to(to)).map_or(0, |push| next(&mut push.left, count))
    }

    /// A connection to a destination is on its way.
    pub fn forward_called(&mut self, id: StreamId, to: &str, conn: Id) {
        if let Some(push) = self.hub.get_mut(id).and_then(|live| live.push_to(to)) {
            push.state = State::Calling(conn);
        }
    }

    /// A destination takes the stream no more, or did not take it; after `again_ms` it is tried again, if somebody still
    /// publishes. `why` is the fault alone, `line` all that the log is told of it.
    pub fn forward_ended(&mut self, id: StreamId, to: &str, why: &str, line: &str, again_ms: u64) {
        let now = self.now;
        let stops = self.relays.stopped || self.replaced;
        let Some(live) = self.hub.get_mut(id) else { return };
        let (name, publisher, vhost) = (live.name.clone(), live.publisher, live.vhost.clone());
        let Some(push) = live.push_to(to) else { return };
        let round = vhost.cluster.origins.len();
        if push.origin.is_some() && push.left == 0 && push.wanted {
            push.to = vhost.cluster.after(to).unwrap_or(to).into();
        }
        if let Some(applicant) = push.applicant.filter(|_| !stops) {
            push.tries = push.tries.saturating_add(1);
            push.state = State::Due(now.saturating_add(NEXT_MS));
            if !push.wanted || push.left == 0 && push.tries as usize >= round {
                let refusal = ("NetStream.Publish.Failed".into(), "the origin cannot be reached".into());
                self.actions.push_back(Action::Verdict(applicant, Some(refusal)));
            }
            log::info!(target: "forward", "publish of {name} to {to} {line}");
            return self.forward_next(id);
        }
        if stops || !push.wanted || publisher == Publisher::Vacant {
            let gone = push.to.clone();
            live.pushes.retain(|push| *push.to != *gone);
            return log::info!(target: "forward", "forward of {name} to {to} {line}");
        }
        if matches!(publisher, Publisher::Away(_)) {
            push.state = State::Idle;
            return log::info!(target: "forward", "forward of {name} to {to} {line}");
        }
        if push.left > 0 && !matches!(push.state, State::Playing(_)) {
            log::debug!(target: "forward", "forward of {name} to {to} {line}; its next address is tried");
            push.state = State::Due(now.saturating_add(NEXT_MS));
            return self.forward_next(id);
        }
        (push.left, push.since) = (0, None);
        push.fault = why.into();
        push.tries = push.tries.saturating_add(1);
        push.state = State::Due(now.saturating_add(again_ms));
        // The same fault of a thousand streams is no thousand lines.
        if let Some(left_out) = push.told.may(now, why)
            && self.quiet.allow("forward", now).is_some()
        {
            let more = super::quiet::Quiet::more(left_out);
            log::warn!(
                target: "forward",
                "forward of {name} to {to} {line}; tried again every {} s{more}", again_ms / 1000
            );
        }
        self.forward_next(id);
    }
}

#[cfg(test)]
mod pull_tests;
impl Live {
    /// Has what is published at an edge go to an origin.
    fn push_to_origin(&mut self, now: u64, since: u64) -> Option<&mut Push> {
        if !self.pushes.iter().any(|push| push.origin.is_some() && push.wanted) {
            let mut push = Push::new(self.vhost.cluster.origins.first()?, now, since);
            push.origin = Some(Box::default());
            self.pushes.push(push);
        }
        let push = self.pushes.iter_mut().find(|push| push.origin.is_some() && push.wanted)?;
        match push.state {
            State::Idle | State::Due(_) => (push.state, push.since) = (State::Due(now), Some(since)),
            State::Calling(conn) if std::mem::take(&mut push.granted) => {
                (push.since, push.applicant) = (Some(since), None);
                self.waiting.push(conn);
            }
            _ => {}
        }
        Some(push)
    }
}

impl World {
    /// Asks an origin whether it takes what `conn` would publish; an [`Action::Verdict`] tells. False: it takes it already.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub fn apply(
        &mut self,
        name: &StreamName,
        vhost: &Rc<Vhost>,
        conn: Id,
        asked: Asked,
    ) -> Result<bool, String> {
        let id = self.hub.entry(name, vhost).ok_or("there are too many streams")?;
        let now = self.now;
        let live = self.hub.get_mut(id).ok_or("the stream is gone")?;
        live.vhost = vhost.clone();
        let since = live.stream.feed.end();
        let push = live.push_to_origin(now, since).ok_or("the edge has no origin")?;
        match (push.state, push.applicant) {
            (State::Playing(_), _) => return Ok(false),
            (_, Some(_)) => return Err(String::from("somebody else is about to publish it")),
            _ => {}
        }
        let asked = Asked { at_connect: vhost.cluster.token_traverse, ..asked };
        (push.applicant, push.origin, push.tries) = (Some(conn), Some(Box::new(asked)), 0);
        self.forward_next(id);
        Ok(true)
    }

    /// An origin refuses what an edge sends it: who publishes here is told so.
    pub fn push_refused(&mut self, id: StreamId, to: &str, code: &str, why: &str) {
        let Some(live) = self.hub.get_mut(id) else { return };
        let publisher = live.publisher;
        let Some(push) = live.push_to(to).filter(|push| push.origin.is_some()) else { return };
        let why = format!("the origin: {why}");
        match (push.applicant, publisher) {
            (Some(applicant), _) => {
                let known = code.starts_with("NetStream.Publish.");
                let code = if known { code } else { "NetStream.Publish.Denied" };
                self.actions.push_back(Action::Verdict(applicant, Some((code.into(), why.into()))));
            }
            (None, Publisher::Live(Source::Peer(conn, _))) => {
                self.actions.push_back(Action::Dismiss(conn, why));
            }
            _ => {}
        }
    }

    /// Who was to publish has gone, or may not.
    pub fn withdraw(&mut self, conn: Id) {
        let of = |live: &Live| live.pushes.iter().any(|push| push.applicant == Some(conn));
        let Some((id, _)) = self.hub.entries().find(|(_, live)| of(live)) else { return };
        let Some(live) = self.hub.get_mut(id) else { return };
        for push in live.pushes.iter_mut().filter(|push| push.applicant == Some(conn)) {
            push.applicant = None;
            if let Some(conn) = push.conn() {
                self.actions.push_back(Action::Dismiss(conn, String::from("who was to publish has gone")));
            }
        }
        live.pushes.retain(|push| push.conn().is_some() || push.origin.is_none());
        self.reap(id);
    }
}

#[cfg(test)]
mod tests;
