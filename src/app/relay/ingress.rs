//! The connection to an origin: our client's end of RTMP, and to the hub a publisher.
//!
//! ```text
//!   Calling ──Play.Start──► Silent ──the first frame──► Playing ──► nobody watches, or either end has enough
//!      └── refused, or no answer in CALL_MS   ▲            │
//!                                             └────────────┘ its publisher is gone for now, or nothing comes
//! ```
//!
//! A stream that stops is not asked for anew while its origin is alive, which a ping shows: whoever asks gets the newest
//! pictures again.

use super::peer::{CALL_MS, QUOTED, fault};
use super::pull::{Asked, End};
use crate::app::conn::{Conn, Role, amount};
use crate::app::hub::{Live, Source, StreamId};
use crate::app::world::{Timer, World};
use crate::media::mux::MIN_PUBLISH_CHUNK;
use crate::net::slots::Id;
use crate::proto::rtmp::client::{ClientSession, Event, Mode, Target};
use crate::proto::rtmp::handshake::Entropy;
use crate::wire::flv::TagType;
use crate::wire::names::{self, DEFAULT_VHOST, MAX_PART, StreamName, printable};
use bytes::Bytes;
use std::rc::Rc;

/// How long one of several origins may be silent at the start, in milliseconds, before the next one is asked: servers of
/// other make let us wait for a stream that they do not have.
const SILENT_MS: u64 = 3_000;

#[derive(Debug)]
enum Job {
    /// `heard`: it has answered anything.
    Calling {
        until: u64,
        heard: bool,
    },
    /// `pinged`: it was asked for a sign of life and has given none yet.
    Silent {
        until: u64,
        pinged: bool,
    },
    Playing {
        by: Source,
        since: u64,
        last_media: u64,
        received_before: u64,
    },
    Done,
}

/// An origin's side of the application.
#[derive(Debug)]
pub struct Ingress {
    session: ClientSession,
    stream: StreamId,
    name: StreamName,
    to: Rc<str>,
    tc_url: Box<str>,
    /// How its end is to be taken, where it has said so.
    end: Option<End>,
    job: Job,
}

/// Where a stream is asked for at the server `to`, under another vhost if the configuration says so.
pub(super) fn target(name: &StreamName, to: &str, vhost: &str, asked: &Asked, mode: Mode) -> Target {
    let port = to.rsplit_once(':').map_or("1935", |(_, port)| port);
    let host = match vhost.replace("[vhost]", name.vhost()) {
        vhost if vhost == DEFAULT_VHOST => to.to_owned(),
        vhost => format!("{vhost}:{port}"),
    };
    let mark = if asked.params.is_empty() { "" } else { "?" };
    let tc_url = format!("rtmp://{host}/{}", name.app());
    Target {
        tc_url: if asked.at_connect { format!("{tc_url}{mark}{}", asked.params) } else { tc_url },
        app: name.app().to_owned(),
        stream: format!("{}{mark}{}", name.stream(), asked.params),
        mode,
        chunk_size: MIN_PUBLISH_CHUNK,
        complex: false,
        page_url: String::new(),
        via: String::new(),
    }
}

impl Ingress {
    /// Asks the origin `to` for the stream; the first bytes for it are appended to `out`.
    pub fn call(
        (stream, to): (StreamId, &Rc<str>),
        live: &Live,
        entropy: Entropy,
        world: &World,
        out: &mut Vec<u8>,
    ) -> Ingress {
        let asked = live.pull.as_ref().map(|pull| pull.asked.clone()).unwrap_or_default();
        let mut target = target(&live.name, to, &live.vhost.cluster.vhost, &asked, Mode::Play);
        target.via = world.relays.via(asked.via.as_deref());
        let tc_url = target.tc_url.as_str().into();
        let session = ClientSession::start(target, entropy, (world.now & 0xffff_ffff) as u32, out);
        let only = live.vhost.cluster.origins.len() == 1;
        let patience = if only { CALL_MS } else { SILENT_MS };
        let job = Job::Calling { until: world.now.saturating_add(patience), heard: false };
        Ingress { session, stream, name: live.name.clone(), to: to.clone(), tc_url, end: None, job }
    }

    /// The stream that it is asked for.
    pub fn stream(&self) -> Option<StreamId> {
        (!matches!(self.job, Job::Done)).then_some(self.stream)
    }

    /// The URL that it was connected to.
    pub fn tc_url(&self) -> &str {
        &self.tc_url
    }

    /// Whether the stream comes.
    pub fn publishes(&self) -> bool {
        matches!(self.job, Job::Playing { .. })
    }

    /// Memory taken, in bytes: beside what is not complete, and of messages that are not.
    pub fn heap(&self) -> (usize, usize) {
        let (all, held) = (self.session.reader().heap(), self.session.reader().held());
        (size_of::<Ingress>().saturating_add(all.saturating_sub(held)), held)
    }

    /// When it runs out of time, and why.
    pub fn deadline(&self, world: &World) -> Option<(u64, &'static str)> {
        match self.job {
            Job::Calling { until, .. } => Some((until, "it gave no answer in time")),
            Job::Silent { until, .. } => Some((until, "it sends nothing")),
            Job::Playing { last_media, .. } => {
                let patience = world.hub.get(self.stream)?.vhost.publish.normal_timeout_ms;
                Some((last_media.saturating_add(patience), "the media stopped (normal_timeout)"))
            }
            Job::Done => None,
        }
    }

    /// How long nothing may come of a stream that is granted.
    fn patience(&self, world: &World) -> u64 {
        let Some(live) = world.hub.get(self.stream) else { return 0 };
        let first = live.vhost.publish.firstpkt_timeout_ms;
        if live.vhost.cluster.origins.len() > 1 { SILENT_MS.min(first) } else { first }
    }

    /// Gives up the job, with a line in the log; another origin is asked if somebody still wants the stream.
    pub fn drop_job(&mut self, world: &mut World, id: Id, received: u64, why: &str) {
        let (line, end) = match std::mem::replace(&mut self.job, Job::Done) {
            Job::Done => return,
            Job::Calling { heard: false, .. } => {
                let remedy = "is there an RTMP server, and is the way to it open?";
                (format!("failed: {why}; {remedy}"), End::Unreachable)
            }
            Job::Calling { .. } | Job::Silent { .. } => (format!("failed: {why}"), End::Absent),
            Job::Playing { by, since, received_before, .. } => {
                let ms = world.now.saturating_sub(since);
                let size = amount(ms, received.saturating_sub(received_before));
                world.unpublish(self.stream, by);
                (format!("ended after {size}: {why}"), End::Lost(ms))
            }
        };
        if world.hub.get(self.stream).is_none() {
            return log::info!(target: "edge", "{} from {} {line}", self.name, self.to);
        }
        world.pull_ended(self.stream, Some(id), &self.to, why, &line, self.end.unwrap_or(end));
    }
}

/// Takes bytes that an origin has sent.
pub fn input(conn: &mut Conn, world: &mut World, mut bytes: &[u8]) {
    while conn.gone.is_none() {
        let Role::Ingress(peer) = &mut conn.role else { return };
        match &mut peer.job {
            Job::Calling { heard: false, .. } => {
                peer.job = Job::Calling { until: world.now.saturating_add(CALL_MS), heard: true };
            }
            Job::Silent { pinged: true, .. } => {
                let until = world.now.saturating_add(peer.patience(world));
                peer.job = Job::Silent { until, pinged: false };
            }
            _ => {}
        }
        match peer.session.feed(&mut bytes, conn.out.buffer()) {
            Ok(None) => break,
            Ok(Some(Event::Started)) => silent(conn, world),
            Ok(Some(Event::Media { kind, timestamp, payload })) => {
                media(conn, world, kind, timestamp, payload);
            }
            Ok(Some(Event::Paused)) => paused(conn, world),
            Ok(Some(Event::Ended)) => return ended(conn, world),
            Ok(Some(Event::Refused { code, description, redirect })) => {
                if let Some(to) = server_of(&redirect) {
                    world.pull_redirect(peer.stream, conn.id, &to);
                    return world.close(conn, &format!("it names {to} instead"));
                }
                let words = if description.is_empty() { code } else { description };
                let why = format!("it refuses: {}", printable(&words, QUOTED));
                return world.close(conn, &why);
            }
            Err(error) => return world.close(conn, &fault(&error)),
        }
    }
    if !conn.out.is_empty() {
        world.mark(conn);
    }
}

/// The server that an RTMP URL of a peer names.
fn server_of(url: &str) -> Option<String> {
    let url = names::split_tc_url(url).filter(|url| url.scheme == "rtmp")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    let good = (1..=MAX_PART).contains(&url.host.len()) && url.host.chars().all(fits);
    let (open, close) = if url.host.contains(':') { ("[", "]") } else { ("", "") };
    good.then(|| format!("{open}{}{close}:{}", url.host, url.port))
}

/// It lets us play; whether anything comes is another matter.
fn silent(conn: &mut Conn, world: &mut World) {
    let Role::Ingress(peer) = &mut conn.role else { return };
    if matches!(peer.job, Job::Calling { .. }) {
        let until = world.now.saturating_add(peer.patience(world));
        peer.job = Job::Silent { until, pinged: false };
        world.timers.set(Timer::Connection(conn.id), until);
    }
}

fn media(conn: &mut Conn, world: &mut World, kind: TagType, timestamp: u32, payload: Bytes) {
    let Role::Ingress(peer) = &mut conn.role else { return };
    if !peer.publishes() {
        match world.pull_begins(peer.stream, conn.id) {
            Ok(by) => {
                let (since, received_before) = (world.now, conn.socket.received);
                peer.job = Job::Playing { by, since, last_media: since, received_before };
                world.timers.set(Timer::Connection(conn.id), since);
            }
            Err(why) => return world.close(conn, &why),
        }
    }
    if let Job::Playing { by, last_media, .. } = &mut peer.job {
        *last_media = world.now;
        world.ingest(peer.stream, *by, kind, timestamp, payload);
    }
}

/// The publisher at the origin is gone; viewers wait here for as long as they would for one of ours.
fn paused(conn: &mut Conn, world: &mut World) {
    let Role::Ingress(peer) = &mut conn.role else { return };
    if let Job::Playing { by, .. } = peer.job {
        let until = world.now.saturating_add(peer.patience(world));
        peer.job = Job::Silent { until, pinged: false };
        world.unpublish(peer.stream, by);
        world.timers.set(Timer::Connection(conn.id), until);
    }
}

/// It is out of time. Where the media have stopped it gets some more, if it is alive.
pub fn timed_out(conn: &mut Conn, world: &mut World, why: &str) {
    let Role::Ingress(peer) = &mut conn.role else { return };
    let Job::Playing { by, .. } = peer.job else { return world.close(conn, why) };
    let until = world.now.saturating_add(SILENT_MS);
    peer.job = Job::Silent { until, pinged: true };
    peer.session.ping((world.now & 0xffff_ffff) as u32, conn.out.buffer());
    world.unpublish(peer.stream, by);
    world.timers.set(Timer::Connection(conn.id), until);
    world.mark(conn);
}

/// The origin has no more of it, and so have we, unless another origin may.
fn ended(conn: &mut Conn, world: &mut World) {
    let Role::Ingress(peer) = &mut conn.role else { return };
    peer.end = Some(End::Absent);
    let stream = peer.stream;
    let only = world.hub.get(stream).is_some_and(|live| live.vhost.cluster.origins.len() == 1);
    world.close(conn, "the stream is over");
    if only {
        conn.drop_job(world, "the stream is over");
        world.end_stream(stream);
        world.timers.set(Timer::Pull(stream), world.now);
    }
}

/// It is not wanted any more.
pub fn dismiss(conn: &mut Conn, world: &mut World, why: &str) {
    let Role::Ingress(peer) = &mut conn.role else { return };
    peer.session.stop(conn.out.buffer());
    conn.finish(world, why);
}
