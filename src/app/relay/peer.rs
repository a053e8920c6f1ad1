//! The connection to a destination of `forward`: our client's end of RTMP, and a viewer of the stream.
//!
//! ```text
//!   Calling ──Publish.Start──► Waiting ──the stream is ready──► Playing ──► the stream is over, or either end has enough
//!      └── refused, or no answer in CALL_MS
//! ```

use super::State;
use super::ingress::target;
use super::pull::Asked;
use crate::app::conn::{Conn, Role, amount};
use crate::app::hub::{Live, Publisher, StreamId};
use crate::app::viewer::Viewer;
use crate::app::world::{Action, Timer, World};
use crate::media::cursor::Cursor;
use crate::media::mux::{Format, MIN_PUBLISH_CHUNK};
use crate::net::slots::Id;
use crate::proto::rtmp::client::{ClientSession, Event, Mode, Target};
use crate::proto::rtmp::handshake::Entropy;
use crate::proto::rtmp::server::SessionError;
use crate::wire::names::printable;
use std::rc::Rc;

/// How long a destination may take from the first packet to its consent, in milliseconds.
pub const CALL_MS: u64 = 10_000;
/// Characters of its words that go into a log line.
pub(super) const QUOTED: usize = 200;

#[derive(Debug)]
enum Job {
    /// `heard`: it has answered anything.
    Calling {
        until: u64,
        heard: bool,
    },
    Waiting,
    Playing(Viewer),
    Done,
}

/// A destination's side of the application.
#[derive(Debug)]
pub struct RelayPeer {
    session: ClientSession,
    stream: StreamId,
    to: Rc<str>,
    job: Job,
}

impl RelayPeer {
    /// Asks the destination `to` to take the stream; the first bytes for it are appended to `out`.
    pub fn call(
        (stream, to): (StreamId, &Rc<str>),
        live: &Live,
        entropy: Entropy,
        world: &World,
        out: &mut Vec<u8>,
    ) -> RelayPeer {
        let (name, now) = (&live.name, world.now);
        let origin = live.pushes.iter().find(|push| push.to == *to).and_then(|push| push.origin.as_deref());
        let target = match origin {
            Some(asked) => target(name, to, &live.vhost.cluster.vhost, asked, Mode::Publish),
            None => target(name, to, "[vhost]", &Asked::default(), Mode::Publish),
        };
        let via = origin.map_or(live.via.as_deref(), |asked| asked.via.as_deref());
        let target = Target {
            chunk_size: live.vhost.chunk_size.max(MIN_PUBLISH_CHUNK),
            via: world.relays.via(via),
            ..target
        };
        let session = ClientSession::start(target, entropy, (now & 0xffff_ffff) as u32, out);
        let job = Job::Calling { until: now.saturating_add(CALL_MS), heard: false };
        RelayPeer { session, stream, to: to.clone(), job }
    }

    /// The stream that it is sent or waits for.
    pub fn stream(&self) -> Option<StreamId> {
        (!matches!(self.job, Job::Done)).then_some(self.stream)
    }

    /// Memory taken, in bytes: beside what is not complete, and of messages that are not.
    pub fn heap(&self) -> (usize, usize) {
        let (all, held) = (self.session.reader().heap(), self.session.reader().held());
        (size_of::<RelayPeer>().saturating_add(all.saturating_sub(held)), held)
    }

    /// The viewer, while it is sent the stream.
    pub fn viewer(&self) -> Option<&Viewer> {
        if let Job::Playing(viewer) = &self.job { Some(viewer) } else { None }
    }

    /// The viewer, while it is sent the stream.
    pub fn viewer_mut(&mut self) -> Option<&mut Viewer> {
        if let Job::Playing(viewer) = &mut self.job { Some(viewer) } else { None }
    }

    /// When it runs out of time, and why.
    pub fn deadline(&self) -> Option<(u64, &'static str)> {
        match self.job {
            Job::Calling { until, .. } => Some((until, "it gave no answer in 10 s")),
            _ => None,
        }
    }

    /// Gives up the job, with a line in the log; the destination is tried again if the stream goes on.
    pub fn drop_job(&mut self, world: &mut World, id: Id, sent: u64, why: &str) {
        let remedy = match &self.job {
            Job::Calling { heard: false, .. } => "is there an RTMP server, and is the way to it open?",
            _ => "see the log of that server",
        };
        let job = std::mem::replace(&mut self.job, Job::Done);
        let line = match &job {
            Job::Done => return,
            Job::Calling { .. } => format!("failed: {why}; {remedy}"),
            Job::Waiting => format!("ended before the stream began: {why}; {remedy}"),
            Job::Playing(viewer) => {
                let ms = world.now.saturating_sub(viewer.since);
                let size = amount(ms, sent.saturating_sub(viewer.sent_before));
                let skipped = viewer.cursor.skipped();
                let slow = match skipped.times {
                    0 => String::new(),
                    times => format!("; too slow {times} times, {} frames left out", skipped.frames),
                };
                format!("ended after {size}: {why}{slow}")
            }
        };
        world.forward_ended(self.stream, &self.to, why, &line, super::RETRY_MS);
        match job {
            Job::Waiting => world.stop_waiting(self.stream, id),
            Job::Playing(viewer) => world.leave(viewer.stream, id, viewer.phase, viewer.source),
            Job::Calling { .. } | Job::Done => {}
        }
    }
}

/// What is told of a server that does not keep to the protocol.
pub(super) fn fault(error: &SessionError) -> String {
    match error {
        SessionError::Handshake(_) => String::from("it does not speak RTMP; check the port"),
        other => printable(&other.to_string(), QUOTED),
    }
}

/// Takes bytes that a destination has sent.
pub fn input(conn: &mut Conn, world: &mut World, mut bytes: &[u8]) {
    while conn.gone.is_none() {
        let Role::Relay(peer) = &mut conn.role else { return };
        if let Job::Calling { heard, .. } = &mut peer.job {
            *heard = true;
        }
        match peer.session.feed(&mut bytes, conn.out.buffer()) {
            Ok(None) => break,
            Ok(Some(Event::Started)) => started(conn, world),
            Ok(Some(Event::Refused { code, description, .. })) => {
                let words = if description.is_empty() { &code } else { &description };
                let why = format!("it refuses: {}", printable(words, QUOTED));
                world.push_refused(peer.stream, &peer.to, &code, &why);
                return world.close(conn, &why);
            }
            Ok(Some(Event::Media { .. } | Event::Paused | Event::Ended)) => {}
            Err(error) => return world.close(conn, &fault(&error)),
        }
    }
    if !conn.out.is_empty() {
        world.mark(conn);
    }
}

/// It takes the stream, which may not have begun.
fn started(conn: &mut Conn, world: &mut World) {
    let Role::Relay(peer) = &mut conn.role else { return };
    let Some(live) = world.hub.get_mut(peer.stream) else { return world.close(conn, "the stream is over") };
    let (name, vhost, published) =
        (live.name.clone(), live.vhost.clone(), matches!(live.publisher, Publisher::Live(_)));
    peer.job = Job::Waiting;
    world.timers.clear(Timer::Connection(conn.id));
    if let Some(push) = live.push_to(&peer.to).filter(|push| push.origin.is_some()) {
        if let Some(applicant) = push.applicant {
            // It is sent the stream from the moment on when that one publishes.
            push.granted = true;
            return world.actions.push_back(Action::Verdict(applicant, None));
        }
        if !published {
            return world.close(conn, "nobody publishes");
        }
    }
    world.wait_for(&name, &vhost, conn.id);
}

/// The stream has started.
pub fn start_viewer(conn: &mut Conn, world: &mut World) {
    let Role::Relay(peer) = &mut conn.role else { return };
    let (Job::Waiting, Some((chunk_size, msid))) = (&peer.job, peer.session.framing()) else { return };
    let now = world.now;
    let Some(live) = world.hub.get_mut(peer.stream) else { return };
    let Some(push) = live.push_to(&peer.to) else { return };
    let since = push.since.take().unwrap_or(u64::MAX);
    push.state = State::Playing(conn.id);
    (push.tries, push.left) = (0, 0);
    let told = push.told.may(now, "runs");
    let cursor = Cursor::join(&live.stream.feed, live.join(Default::default(), since));
    let phase = live.fanout.add(conn.id);
    if let Some(left_out) = told {
        let more = crate::app::quiet::Quiet::more(left_out);
        log::info!(target: "forward", "forward of {} to {} runs{more}", live.name, peer.to);
    }
    peer.job = Job::Playing(Viewer {
        stream: peer.stream,
        source: None,
        phase,
        cursor,
        format: Format::Rtmp { chunk_size, msid, publish: true },
        paused: false,
        until_ms: None,
        since: now,
        sent_before: conn.socket.sent,
    });
    world.mark(conn);
}

/// It has been sent all that there is. At an edge whose publisher is gone, the origin is to know.
pub fn flushed(conn: &mut Conn, world: &mut World) {
    let Role::Relay(peer) = &conn.role else { return };
    let Some(live) = world.hub.get_mut(peer.stream).filter(|_| peer.viewer().is_some()) else { return };
    let away = matches!(live.publisher, Publisher::Away(_));
    if away && live.push_to(&peer.to).is_some_and(|push| push.origin.is_some()) {
        part(conn, world, "its publisher has left");
    }
}

/// It has all that it will get.
pub fn viewer_over(conn: &mut Conn, world: &mut World) {
    let told_to = conn.viewer().is_some_and(|viewer| viewer.until_ms == Some(0));
    part(conn, world, if told_to { "it was told to end" } else { "the stream is over" });
}

/// It is to be sent no more; a message in flight is finished first.
pub fn dismiss(conn: &mut Conn, world: &mut World, why: &str) {
    if let Role::Relay(peer) = &mut conn.role
        && let Job::Playing(viewer) = &mut peer.job
        && viewer.cursor.mid_message()
    {
        viewer.until_ms = Some(0);
        return world.mark(conn);
    }
    part(conn, world, why);
}

/// Takes leave as an encoder does.
fn part(conn: &mut Conn, world: &mut World, why: &str) {
    let Role::Relay(peer) = &mut conn.role else { return };
    peer.session.stop(conn.out.buffer());
    conn.finish(world, why);
}
