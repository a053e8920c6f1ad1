//! RTMP peers: turns what the session reports into deeds on streams.

mod ending;
mod publishing;

pub use self::ending::{dismiss, evict, kick, replaced, send_away, timed_out, viewer_over};
pub use self::publishing::verdict;
use self::publishing::{is_denied, on_fc_publish, on_publish};
use super::access::Refusal;
use super::conn::{Conn, Role, amount};
use super::hooks::{self, Deed, Verdict, Who};
use super::hub::{Source, StreamId};
use super::relay::check;
use super::relay::pull::Asked;
use super::viewer::Viewer;
use super::world::{Timer, World};
use crate::conf::{Act, NoStream, Vhost};
use crate::media::cursor::Cursor;
use crate::media::mux::Format;
use crate::net::slots::Id;
use crate::net::socket::{Options, Room};
use crate::proto::http::response::{self, Cors};
use crate::proto::rtmp::handshake::HandshakeError;
use crate::proto::rtmp::server::{Connect, Event, ServerSession, SessionError, Settings};
use crate::wire::flv::TagType;
use crate::wire::names::{self, Request, printable};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// How long a connection may go on without publishing or playing anything: an encoder that stopped may publish
/// again on the same connection within this time.
const IDLE_MS: u64 = 180_000;
/// How long who was asked to connect anew to a new process may take, in milliseconds.
const MOVE_MS: u64 = 10_000;
/// Characters of a peer's words that go into a log line.
const QUOTED: usize = 128;
/// Why a client goes that the operator wants gone.
pub const KICKED: &str = "disconnected by the API";

/// Why connections end when another process has taken over.
pub const REPLACED: &str = "another process has taken over";

/// What the connection does.
#[derive(Debug)]
enum Job {
    /// `agent`: what it calls itself, for its first line in the log.
    None {
        since: u64,
        agent: Agent,
    },
    /// An origin is asked whether this may be published (an edge); `name` as sent.
    Applying {
        msid: u32,
        name: Box<str>,
        until: u64,
        agent: Agent,
    },
    Publishing {
        stream: StreamId,
        by: Source,
        since: u64,
        last_media: Option<u64>,
        received_before: u64,
    },
    Waiting {
        stream: StreamId,
        since: u64,
        msid: u32,
        until_ms: Option<u64>,
        deadline: u64,
        name: String,
        agent: Agent,
    },
    Playing(Viewer),
    /// The answer of a hook is awaited.
    Asking(Box<Asking>),
}

/// What goes on when a hook has answered.
#[derive(Debug)]
struct Asking {
    ticket: u32,
    then: Then,
    /// What came behind the command; nothing more is read until then.
    rest: Vec<u8>,
    agent: Agent,
}

#[derive(Debug)]
enum Then {
    Connect(Box<Connect>),
    Stream(Command, String),
}

/// A command about a stream.
#[derive(Debug, Clone, Copy)]
enum Command {
    FcPublish { tid: f64 },
    Publish { msid: u32 },
    Play { msid: u32, until_ms: Option<u64> },
}

type Agent = Option<Box<str>>;

impl Job {
    fn idle(since: u64) -> Job {
        Job::None { since, agent: None }
    }
}

/// An RTMP client's side of the application.
#[derive(Debug)]
pub struct RtmpPeer {
    session: ServerSession,
    home: Option<Rc<Home>>,
    job: Job,
}

/// What is kept of a connect for names. Viewers of one stream mostly say the same, and then share it.
#[derive(Debug, PartialEq, Eq)]
pub struct Home {
    app: Box<str>,
    tc_url: Option<Box<str>>,
    /// The servers that what is published has come through.
    via: Option<Box<str>>,
}

impl Home {
    /// What `connect` says, shared with the one before if that said the same.
    fn of(connect: &Connect, last: &mut Option<Rc<Home>>) -> Rc<Home> {
        let (tc_url, via) = (connect.tc_url.as_deref(), connect.via.as_deref());
        let said = Home {
            app: connect.app.as_str().into(),
            tc_url: tc_url.map(Into::into),
            via: via.map(Into::into),
        };
        match last {
            Some(last) if **last == said => last.clone(),
            _ => last.insert(Rc::new(said)).clone(),
        }
    }
}

impl RtmpPeer {
    /// A peer that has yet to say hello.
    pub fn new(session: ServerSession, now: u64) -> RtmpPeer {
        RtmpPeer { session, home: None, job: Job::idle(now) }
    }

    fn take_agent(&mut self) -> Box<str> {
        let agent = match &mut self.job {
            Job::None { agent, .. } | Job::Applying { agent, .. } | Job::Waiting { agent, .. } => {
                agent.take()
            }
            Job::Publishing { .. } | Job::Playing(_) | Job::Asking(_) => None,
        };
        agent.unwrap_or_else(|| "-".into())
    }

    /// The URL that it connected to, as sent; empty when it sent none. What follows a `?` may be a secret.
    pub fn tc_url(&self) -> &str {
        self.home.as_ref().and_then(|home| home.tc_url.as_deref()).unwrap_or_default()
    }

    /// The stream that it publishes, watches or waits for.
    pub fn stream(&self) -> Option<StreamId> {
        match &self.job {
            Job::None { .. } | Job::Applying { .. } | Job::Asking(_) => None,
            Job::Publishing { stream, .. } | Job::Waiting { stream, .. } => Some(*stream),
            Job::Playing(viewer) => Some(viewer.stream),
        }
    }

    /// Memory taken, in bytes: beside what is not complete, and of messages that are not.
    pub fn heap(&self) -> (usize, usize) {
        let (all, held) = (self.session.reader().heap(), self.session.reader().held());
        (size_of::<RtmpPeer>().saturating_add(all.saturating_sub(held)), held)
    }

    /// Whether it publishes.
    pub fn publishes(&self) -> bool {
        matches!(self.job, Job::Publishing { .. })
    }

    /// Whether nothing more is to be read before a hook has answered.
    pub fn holds(&self) -> bool {
        matches!(self.job, Job::Asking(_))
    }

    /// The viewer, while it plays.
    pub fn viewer(&self) -> Option<&Viewer> {
        match &self.job {
            Job::Playing(viewer) => Some(viewer),
            _ => None,
        }
    }

    /// The viewer, while it plays.
    pub fn viewer_mut(&mut self) -> Option<&mut Viewer> {
        match &mut self.job {
            Job::Playing(viewer) => Some(viewer),
            _ => None,
        }
    }

    /// When it runs out of time, and why.
    pub fn deadline(&self, since: u64, patience: u64, world: &World) -> Option<(u64, &'static str)> {
        match &self.job {
            Job::None { .. } if self.home.is_none() => {
                Some((since.saturating_add(patience), "no RTMP connect in time (handshake_timeout)"))
            }
            Job::None { since, .. } if world.replaced => Some((since.saturating_add(MOVE_MS), REPLACED)),
            Job::None { since, .. } => {
                Some((since.saturating_add(IDLE_MS), "it neither published nor played anything"))
            }
            Job::Publishing { stream, since, last_media, .. } => {
                let publish = &world.hub.get(*stream)?.vhost.publish;
                Some(match last_media {
                    None => (
                        since.saturating_add(publish.firstpkt_timeout_ms),
                        "no media came (firstpkt_timeout)",
                    ),
                    Some(at) => {
                        (at.saturating_add(publish.normal_timeout_ms), "the media stopped (normal_timeout)")
                    }
                })
            }
            Job::Applying { until, .. } => Some((*until, "the origin gave no answer")),
            Job::Waiting { deadline, .. } => Some((*deadline, "the stream did not start")),
            // The question has a deadline of its own.
            Job::Playing(_) | Job::Asking(_) => None,
        }
    }

    /// Gives up the job, with a line in the log.
    pub fn drop_job(&mut self, world: &mut World, id: Id, who: &str, sent: u64, why: &str) {
        match std::mem::replace(&mut self.job, Job::idle(world.now)) {
            Job::None { .. } | Job::Asking(_) => {}
            Job::Applying { .. } => world.withdraw(id),
            Job::Publishing { stream, by, since, received_before, .. } => {
                let name = world.hub.get(stream).map(|live| live.name.to_string()).unwrap_or_default();
                let bytes = self.session.received().saturating_sub(received_before);
                let size = amount(world.now.saturating_sub(since), bytes);
                log::info!(target: "rtmp", "{who}: publisher of {name} left after {size}: {why}");
                world.unpublish(stream, by);
                world.reap(stream);
            }
            Job::Waiting { stream, .. } => world.stop_waiting(stream, id),
            Job::Playing(viewer) => viewer_left(world, id, who, "rtmp", &viewer, sent, why),
        }
    }
}

/// The log line and the hub's part of a viewer's end.
pub fn viewer_left(
    world: &mut World,
    id: Id,
    who: &str,
    target: &str,
    viewer: &Viewer,
    sent: u64,
    why: &str,
) {
    let name = world.hub.get(viewer.stream).map(|live| live.name.to_string()).unwrap_or_default();
    let size = amount(world.now.saturating_sub(viewer.since), sent.saturating_sub(viewer.sent_before));
    let skipped = viewer.cursor.skipped();
    let slow = if skipped.times > 0 {
        let (times, frames, ms) = (skipped.times, skipped.frames, skipped.ms);
        format!("; too slow {times} times: {frames} frames, {}.{} s left out", ms / 1000, ms / 100 % 10)
    } else {
        String::new()
    };
    log::info!(target: target, "{who}: viewer of {name} left after {size}: {why}{slow}");
    crate::net::log::access(format_args!("{who} viewer of {name} by {target}: {size}: {why}{slow}"));
    world.leave(viewer.stream, id, viewer.phase, viewer.source);
}

/// Takes bytes that came on an RTMP connection.
pub fn input(conn: &mut Conn, world: &mut World, mut bytes: &[u8]) {
    loop {
        let Role::Rtmp(peer) = &mut conn.role else { return };
        if let Job::Asking(asking) = &mut peer.job {
            asking.rest.extend_from_slice(bytes);
            break;
        }
        match peer.session.feed(&mut bytes, conn.out.buffer()) {
            Ok(None) => break,
            Ok(Some(event)) => on_event(conn, world, event),
            Err(error) => {
                on_error(conn, world, &error);
                break;
            }
        }
    }
    if !conn.out.is_empty() {
        world.mark(conn);
    }
}

fn on_error(conn: &mut Conn, world: &mut World, error: &SessionError) {
    if *error == SessionError::Handshake(HandshakeError::Http) {
        response::text(conn.out.buffer(), 400, &error.to_string(), false, Cors::No, false);
    }
    world.complain("rtmp", conn, error);
    conn.finish(world, "protocol error");
}

fn on_event(conn: &mut Conn, world: &mut World, event: Event) {
    match event {
        Event::Greeted(_, client) => {
            if let Some(ip) = client {
                conn.peer = SocketAddr::new(IpAddr::V4(ip), conn.peer.port());
            }
        }
        Event::Connect(connect) => on_connect(conn, world, connect),
        Event::FcPublish { .. } | Event::Publish { .. } | Event::Play { .. } if world.replaced => {
            world.close(conn, REPLACED);
        }
        Event::FcPublish { tid, stream } => on_fc_publish(conn, world, tid, &stream),
        Event::Publish { msid, stream } => on_publish(conn, world, msid, &stream),
        Event::Play { msid, stream, duration_ms } => on_play(conn, world, msid, &stream, duration_ms),
        Event::Pause(paused) => on_pause(conn, world, paused),
        Event::Media { kind, timestamp, payload } => on_media(conn, world, kind, timestamp, payload),
        Event::Closed => conn.drop_job(world, "it stopped"),
    }
}

fn on_media(conn: &mut Conn, world: &mut World, kind: TagType, timestamp: u32, payload: Bytes) {
    let Role::Rtmp(peer) = &mut conn.role else { return };
    if let Job::Publishing { stream, by, last_media, .. } = &mut peer.job {
        *last_media = Some(world.now);
        world.ingest(*stream, *by, kind, timestamp, payload);
    }
}

/// Whether a hook lets the client connect; `None`: it is asked.
fn ask_connect(
    conn: &mut Conn,
    world: &mut World,
    connect: &Connect,
    request: &Request,
    vhost: &Rc<Vhost>,
) -> Option<Result<(), Refusal>> {
    let Ok(name) = request.name.with_vhost(&vhost.name) else { return Some(Ok(())) };
    let who = Who {
        id: conn.id,
        serial: conn.serial,
        ip: conn.peer.ip(),
        name: &name,
        param: &request.raw_params,
        tc_url: connect.tc_url.as_deref().unwrap_or_default(),
        page: Some(connect.page_url.as_deref().unwrap_or_default()),
    };
    match hooks::may(world, Deed::Connect, &who, vhost) {
        Verdict::Pass => Some(Ok(())),
        Verdict::Refused(refusal) => Some(Err(refusal)),
        Verdict::Wait(ticket) => {
            wait(conn, ticket, Then::Connect(Box::new(connect.clone())));
            None
        }
    }
}

/// Nothing more of the peer is read before the question is answered.
fn wait(conn: &mut Conn, ticket: u32, then: Then) {
    if let Role::Rtmp(peer) = &mut conn.role {
        let agent = match &mut peer.job {
            Job::None { agent, .. } => agent.take(),
            _ => None,
        };
        peer.job = Job::Asking(Box::new(Asking { ticket, then, rest: Vec::new(), agent }));
    }
}

/// A hook has answered; what was said before it was asked is said again, and heard.
pub fn decided(conn: &mut Conn, world: &mut World, ticket: u32) {
    let Role::Rtmp(peer) = &mut conn.role else { return };
    if !matches!(&peer.job, Job::Asking(asking) if asking.ticket == ticket) {
        return;
    }
    let Job::Asking(asking) = std::mem::replace(&mut peer.job, Job::idle(world.now)) else { return };
    let Asking { then, rest, agent, .. } = *asking;
    peer.job = Job::None { since: world.now, agent };
    world.timers.set(Timer::Connection(conn.id), world.now);
    match then {
        Then::Connect(connect) => on_connect(conn, world, connect),
        Then::Stream(..) if world.replaced => return world.close(conn, REPLACED),
        Then::Stream(Command::FcPublish { tid }, stream) => on_fc_publish(conn, world, tid, &stream),
        Then::Stream(Command::Publish { msid }, stream) => on_publish(conn, world, msid, &stream),
        Then::Stream(Command::Play { msid, until_ms }, stream) => {
            on_play(conn, world, msid, &stream, until_ms)
        }
    }
    input(conn, world, &rest);
}

/// Whether a hook or an origin is asked about a command, or has refused it; then the client waits, or is told.
fn is_asked(conn: &mut Conn, world: &mut World, command: Command, stream: &str) -> bool {
    let Role::Rtmp(peer) = &mut conn.role else { return false };
    let Ok((request, vhost)) = resolve(peer, world, stream) else { return false };
    let ip = conn.peer.ip();
    let deed = if matches!(command, Command::Play { .. }) { Deed::Play } else { Deed::Publish };
    // Nobody needs to be asked about one who cannot have the name.
    let checked = vhost.cluster.asks() && !matches!(command, Command::FcPublish { .. });
    if !vhost.http_hooks.enabled && !checked
        || deed == Deed::Publish && world.may_publish(&request.name, &vhost, ip).is_err()
    {
        return false;
    }
    let who = Who {
        id: conn.id,
        serial: conn.serial,
        ip,
        name: &request.name,
        param: &request.raw_params,
        tc_url: peer.tc_url(),
        page: None,
    };
    let verdict = if checked { check::may(world, &who, &vhost) } else { Verdict::Pass };
    let verdict = match verdict {
        Verdict::Pass => hooks::may(world, deed, &who, &vhost),
        verdict => verdict,
    };
    let refusal = match verdict {
        Verdict::Pass => return false,
        Verdict::Wait(ticket) => {
            wait(conn, ticket, Then::Stream(command, stream.to_owned()));
            return true;
        }
        Verdict::Refused(refusal) => refusal,
    };
    let out = conn.out.buffer();
    let word = match command {
        // The encoder goes on to publish, and hears it again then.
        Command::FcPublish { tid } => {
            peer.session.answer_fc_publish(tid, stream, Some(&refusal.why), out);
            return true;
        }
        Command::Publish { msid } => {
            peer.session.reject(msid, "NetStream.Publish.Denied", &refusal.why, out);
            "publish"
        }
        Command::Play { msid, .. } => {
            peer.session.reject(msid, "NetStream.Play.Failed", &refusal.why, out);
            "play"
        }
    };
    world.complain("rtmp", conn, &format!("{word} of {} refused: {refusal}", request.name));
    conn.finish(world, "refused");
    true
}

fn on_connect(conn: &mut Conn, world: &mut World, connect: Box<Connect>) {
    if let Err(why) = world.relays.admits(connect.via.as_deref()) {
        let Role::Rtmp(peer) = &mut conn.role else { return };
        peer.session.reject_connect(&connect, why, conn.out.buffer());
        if world.relays.tells_loop(world.now) {
            log::warn!(target: "forward", "{} {}: refused: {why}", conn.tag(), conn.peer);
        }
        return conn.finish(world, why);
    }
    // The stream comes later; any name shows which vhost is meant and whether the app is fit for one.
    let request = names::from_rtmp(connect.tc_url.as_deref(), &connect.app, "-");
    let vhost = match &request {
        Ok(request) => world.config.vhost(request.name.vhost()).cloned().ok_or_else(|| {
            format!("no vhost serves {}: see vhost in the configuration", request.name.vhost())
        }),
        Err(error) => Err(error.to_string()),
    };
    let mut remedy = String::new();
    let vhost = match (vhost, &request) {
        (Ok(vhost), Ok(request)) if vhost.http_hooks.enabled => {
            match ask_connect(conn, world, &connect, request, &vhost) {
                None => return,
                Some(Ok(())) => Ok(vhost),
                Some(Err(refusal)) => {
                    remedy = format!(": {}", refusal.remedy);
                    Err(refusal.why)
                }
            }
        }
        (vhost, _) => vhost,
    };
    let Role::Rtmp(peer) = &mut conn.role else { return };
    match vhost {
        Ok(vhost) => {
            let settings = Settings {
                chunk_size: vhost.chunk_size,
                out_ack_size: vhost.out_ack_size,
                in_ack_size: vhost.in_ack_size,
            };
            let nodelay = vhost.tcp_nodelay || vhost.min_latency;
            conn.socket.configure(Options { nodelay, room: Room::Buffer(vhost.play.send_buffer) });
            peer.session.accept_connect(&connect, settings, conn.out.buffer());
            peer.home = Some(Home::of(&connect, &mut world.last_home));
            world.note_page(conn.id, connect.page_url.as_deref());
            let agent = connect.flash_ver.map(|agent| printable(&agent, QUOTED).into());
            peer.job = Job::None { since: world.now, agent };
        }
        Err(why) => {
            peer.session.reject_connect(&connect, &why, conn.out.buffer());
            world.complain("rtmp", conn, &format!("connect refused: {why}{remedy}"));
            conn.finish(world, "connect refused");
        }
    }
}

/// The stream that the peer names, under the vhost that serves it now; the stream's own parameters may name another
/// vhost than the connect did.
fn resolve(peer: &RtmpPeer, world: &World, stream: &str) -> Result<(Request, Rc<Vhost>), String> {
    let Home { app, tc_url, .. } = peer.home.as_deref().ok_or("there was no connect")?;
    let mut request = names::from_rtmp(tc_url.as_deref(), app, stream).map_err(|e| e.to_string())?;
    let asked = request.name.vhost();
    let vhost = world.config.vhost(asked).ok_or_else(|| format!("no vhost serves {asked}"))?.clone();
    request.name = request.name.with_vhost(&vhost.name).map_err(|e| e.to_string())?;
    Ok((request, vhost))
}

fn on_play(conn: &mut Conn, world: &mut World, msid: u32, stream: &str, until_ms: Option<u64>) {
    if is_denied(conn, world, Act::Play, msid, stream)
        || is_asked(conn, world, Command::Play { msid, until_ms }, stream)
    {
        return;
    }
    let Role::Rtmp(peer) = &mut conn.role else { return };
    let refusal = world.memory.refuse_viewer(false);
    let waiting = resolve(peer, world, stream).and_then(|(request, vhost)| {
        if let Some(why) = refusal {
            return Err(why.to_owned());
        }
        let found = world.hub.find(&request.name).and_then(|id| world.hub.get(id));
        let edge = vhost.cluster.remote;
        if vhost.play.no_stream == NoStream::NotFound && !edge && found.is_none_or(|live| live.ended) {
            return Err(format!("nobody publishes {}", request.name));
        }
        let place = world.wait_for(&request.name, &vhost, conn.id).ok_or("there are too many streams")?;
        let via = peer.home.as_ref().and_then(|home| home.via.as_deref());
        world.pull(place.0, Some(conn.id), Asked::of(&request.raw_params, via));
        Ok((place, vhost.play.no_stream_wait_ms))
    });
    match waiting {
        Ok(((id, since), wait)) => {
            let deadline = world.now.saturating_add(wait);
            let agent = Some(peer.take_agent());
            let name = stream.to_owned();
            peer.job = Job::Waiting { stream: id, since, msid, until_ms, deadline, name, agent };
            world.timers.set(Timer::Connection(conn.id), deadline);
        }
        Err(why) => {
            let code =
                if refusal.is_some() { "NetStream.Play.Failed" } else { "NetStream.Play.StreamNotFound" };
            peer.session.reject(msid, code, &why, conn.out.buffer());
            hooks::left(world, conn.id);
            world.complain(
                "rtmp",
                conn,
                &format!("play of {} refused: {why}", printable(names::without_params(stream), QUOTED)),
            );
        }
    }
}

/// The stream that the peer waits for has started.
pub fn start_viewer(conn: &mut Conn, world: &mut World) {
    let Role::Rtmp(peer) = &mut conn.role else { return };
    let Job::Waiting { stream, since, msid, until_ms, name, .. } = &peer.job else { return };
    let (stream, since, msid, until_ms) = (*stream, *since, *msid, *until_ms);
    let Some(live) = world.hub.get_mut(stream) else { return };
    peer.session.accept_play(msid, name, conn.out.buffer());
    peer.session.shrink();
    let (chunk_size, msid) = peer.session.framing();
    let cursor = Cursor::join(&live.stream.feed, live.join(Default::default(), since));
    let phase = live.fanout.add(conn.id);
    let agent = peer.take_agent();
    log::info!(target: "rtmp", "{} {}: viewer of {} came ({agent})", conn.tag(), conn.peer, live.name);
    let Role::Rtmp(peer) = &mut conn.role else { return };
    peer.job = Job::Playing(Viewer {
        stream,
        source: None,
        phase,
        cursor,
        format: Format::Rtmp { chunk_size, msid, publish: false },
        paused: false,
        until_ms,
        since: world.now,
        sent_before: conn.socket.sent,
    });
    world.timers.clear(Timer::Connection(conn.id));
    world.mark(conn);
}

fn on_pause(conn: &mut Conn, world: &mut World, paused: bool) {
    if let (Some(viewer), ..) = conn.viewer_parts() {
        if viewer.paused && !paused {
            viewer.cursor.catch_up();
        }
        viewer.paused = paused;
        world.mark(conn);
    }
}
