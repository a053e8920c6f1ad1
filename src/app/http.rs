//! HTTP peers: which request is which stream, and what to say when there is none.

mod live;

use self::live::{Tracks, live};
pub use self::live::{start_viewer, viewer_over};
use super::access;
use super::api;
use super::conn::{Conn, Role};
use super::files::{self, Transfer};
use super::hls::{self, Errand};
use super::hooks::{self, Deed, Verdict, Who};
use super::hub::{Live, Publisher, StreamId};
use super::mount;
use super::page;
use super::relay::check;
use super::relay::pull::Asked as Wanted;
use super::rtmp::{KICKED, REPLACED, viewer_left};
use super::viewer::Viewer;
use super::world::{Action, Timer, World};
use crate::conf::{Act, Vhost};
use crate::media::mux::Wrap;
use crate::media::package::Container;
use crate::net::slots::Id;
use crate::proto::http::request::{Method, Request, Requests};
use crate::proto::http::response::{self, Cors, Head, Length};
use crate::proto::http::websocket;
use crate::wire::names::{self, StreamName, printable};
use std::rc::Rc;

/// App of a mount that names none, when no stream of that name is live.
const APP_OF_NO_APP: &str = "live";
/// Bytes of answers that wait to be sent, above which no further request of that connection is read.
const MAX_ANSWERS: usize = 64 << 10;
/// Characters of a peer's words that go into a log line.
const QUOTED: usize = 128;

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // a peer is boxed as a whole, and nearly all peers are viewers
enum Job {
    /// Between requests, since then.
    Idle { since: u64 },
    /// For a stream to start.
    Waiting { stream: StreamId, since: u64, deadline: u64, answer: Box<Answer> },
    /// The body has begun; over a WebSocket, with what reads the viewer's messages.
    Playing(Viewer, Option<Box<websocket::Reader>>),
    /// A file is sent.
    File(Box<Transfer>),
    /// A request for HLS waits, or its answer is sent.
    Hls(Box<Errand>),
    /// A question to the API waits, or its answer is sent.
    Api(api::Errand),
    /// The answer of a hook is awaited.
    Asking(Box<Asking>),
}

/// A live request that goes on when a hook has answered.
#[derive(Debug)]
struct Asking {
    ticket: u32,
    request: Request,
    cors: Cors,
    target: Target,
}

/// How a live request is to be answered once there is something to send.
#[derive(Debug)]
struct Answer {
    transport: Transport,
    cors: Cors,
    /// `None`: FLV.
    container: Option<Container>,
    tracks: Tracks,
    agent: String,
    /// What was asked for, for the answer if no stream comes.
    asked: Asked,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Asked {
    path: String,
    query: String,
}

/// How the body goes over the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Transport {
    Http(Length),
    /// With the accept key.
    WebSocket(String),
}

impl Transport {
    fn wrap(&self) -> Wrap {
        match self {
            Transport::Http(Length::Chunked) => Wrap::Chunk,
            Transport::Http(_) => Wrap::Plain,
            Transport::WebSocket(_) => Wrap::WebSocket,
        }
    }
}

/// An HTTP client's side of the application.
#[derive(Debug)]
pub struct HttpPeer {
    requests: Requests,
    job: Job,
    /// What came after a request that is still being answered; nothing more is read until then.
    backlog: Vec<u8>,
}

impl HttpPeer {
    /// A peer that has yet to ask.
    pub fn new(now: u64) -> HttpPeer {
        HttpPeer { requests: Requests::default(), job: Job::Idle { since: now }, backlog: Vec::new() }
    }

    /// The stream that it watches or waits for.
    pub fn stream(&self) -> Option<StreamId> {
        match &self.job {
            Job::Idle { .. } | Job::File(_) | Job::Hls(_) | Job::Api(_) | Job::Asking(_) => None,
            Job::Waiting { stream, .. } => Some(*stream),
            Job::Playing(viewer, _) => Some(viewer.stream),
        }
    }

    /// Memory taken, in bytes.
    pub fn heap(&self) -> usize {
        size_of::<HttpPeer>().saturating_add(self.requests.heap()).saturating_add(self.backlog.capacity())
    }

    /// The viewer, while it plays.
    pub fn viewer(&self) -> Option<&Viewer> {
        match &self.job {
            Job::Playing(viewer, _) => Some(viewer),
            _ => None,
        }
    }

    /// The viewer, while it plays.
    pub fn viewer_mut(&mut self) -> Option<&mut Viewer> {
        match &mut self.job {
            Job::Playing(viewer, _) => Some(viewer),
            _ => None,
        }
    }

    /// The file that is sent.
    pub fn transfer(&self) -> Option<&Transfer> {
        match &self.job {
            Job::File(transfer) => Some(transfer),
            _ => None,
        }
    }

    /// The file that is sent.
    pub fn transfer_mut(&mut self) -> Option<&mut Transfer> {
        match &mut self.job {
            Job::File(transfer) => Some(transfer),
            _ => None,
        }
    }

    /// Begins to send a file.
    pub fn begin(&mut self, transfer: Transfer) {
        self.job = Job::File(Box::new(transfer));
    }

    /// Takes back the file that is sent: the peer may ask again.
    pub fn end(&mut self, now: u64) -> Option<Transfer> {
        match std::mem::replace(&mut self.job, Job::Idle { since: now }) {
            Job::File(transfer) => Some(*transfer),
            job => {
                self.job = job;
                None
            }
        }
    }

    /// Begins an errand of HLS.
    pub fn run(&mut self, errand: Errand) {
        self.job = Job::Hls(Box::new(errand));
    }

    /// Takes back the errand of HLS: the peer may ask again.
    pub fn errand_done(&mut self, now: u64) -> Option<Errand> {
        match std::mem::replace(&mut self.job, Job::Idle { since: now }) {
            Job::Hls(errand) => Some(*errand),
            job => {
                self.job = job;
                None
            }
        }
    }

    /// Begins an errand of the API.
    pub fn call(&mut self, errand: api::Errand) {
        self.job = Job::Api(errand);
    }

    /// Takes back the errand of the API: the peer may ask again.
    pub fn call_done(&mut self, now: u64) -> Option<api::Errand> {
        match std::mem::replace(&mut self.job, Job::Idle { since: now }) {
            Job::Api(errand) => Some(errand),
            job => {
                self.job = job;
                None
            }
        }
    }

    /// Whether the bytes of a segment are being sent, for how long nothing may be taken.
    pub fn sending_ms(&self) -> Option<u64> {
        match &self.job {
            Job::Hls(errand) => errand.sending_ms(),
            _ => None,
        }
    }

    /// Whether bytes of the peer wait to be looked at, so that no more are to be read.
    pub fn holds(&self) -> bool {
        !self.backlog.is_empty() || matches!(self.job, Job::Api(api::Errand::Asked(_)))
    }

    /// When it runs out of time, and why. `blocked_since`: the peer takes nothing since then.
    pub fn deadline(&self, blocked_since: Option<u64>, patience: u64) -> Option<(u64, &'static str)> {
        match &self.job {
            Job::Idle { since } => {
                Some((since.saturating_add(patience), "no request in time (handshake_timeout)"))
            }
            Job::Waiting { deadline, .. } => Some((*deadline, "the stream did not start")),
            Job::Playing(..) | Job::Asking(_) => None,
            Job::File(transfer) => Some(transfer.deadline(blocked_since, patience)),
            Job::Hls(errand) => errand.deadline(blocked_since),
            Job::Api(errand) => Some(errand.deadline(patience)),
        }
    }

    /// Gives up the job, with a line in the log.
    pub fn drop_job(&mut self, world: &mut World, id: Id, who: &str, sent: u64, why: &str) {
        match std::mem::replace(&mut self.job, Job::Idle { since: world.now }) {
            Job::Idle { .. } | Job::Asking(_) => {}
            Job::Waiting { stream, .. } => world.stop_waiting(stream, id),
            Job::Playing(viewer, _) => viewer_left(world, id, who, "http", &viewer, sent, why),
            Job::File(transfer) => transfer.drop_it(world),
            Job::Hls(errand) => hls::dropped(world, &errand, id),
            Job::Api(errand) => errand.over(world),
        }
    }
}

/// Takes bytes that came on an HTTP connection. What comes after a live request is read and ignored; what comes
/// after a request for a file is kept until the file is sent.
pub fn input(conn: &mut Conn, world: &mut World, mut bytes: &[u8]) {
    loop {
        let Role::Http(peer) = &mut conn.role else { return };
        match &mut peer.job {
            Job::Idle { .. } if conn.out.len() <= MAX_ANSWERS => {}
            Job::Idle { .. } | Job::File(_) | Job::Hls(_) | Job::Api(_) => {
                peer.backlog.extend_from_slice(bytes);
                return;
            }
            Job::Playing(_, Some(reader)) => {
                if reader.feed(bytes, conn.out.buffer()).is_err() {
                    conn.finish(world, "it closed");
                }
                return world.mark(conn);
            }
            _ => return,
        }
        match peer.requests.feed(&mut bytes) {
            Ok(None) => return,
            Ok(Some(request)) => {
                peer.job = Job::Idle { since: world.now };
                let before = conn.out.len();
                on_request(conn, world, &request);
                note_answer(conn, &request, before);
            }
            Err(error) => {
                response::text(conn.out.buffer(), error.status(), &error.to_string(), false, Cors::No, false);
                world.complain("http", conn, &error);
                conn.finish(world, "bad request");
                return;
            }
        }
        world.mark(conn);
    }
}

/// All that waited for the peer was written.
pub fn flushed(conn: &mut Conn, world: &mut World) {
    files::advance(conn, world);
    hls::sent(conn, world);
    api::sent(conn, world);
    if let Role::Http(peer) = &conn.role
        && peer.holds()
        && matches!(peer.job, Job::Idle { .. })
    {
        world.actions.push_back(Action::Resume(conn.id));
    }
}

/// Goes on with what came meanwhile.
pub fn resume(conn: &mut Conn, world: &mut World) {
    if let Role::Http(peer) = &mut conn.role {
        let backlog = std::mem::take(&mut peer.backlog);
        input(conn, world, &backlog);
    }
}

/// A line in the access log about what was answered at once; who waits for a stream or watches one gets a line when it
/// leaves. `before` is how much waited to be written before the answer.
pub fn note_answer(conn: &Conn, request: &Request, before: usize) {
    let answer = conn.out.after(before);
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    let Some(status) = status.filter(|_| crate::net::log::has_access() && answer.starts_with(b"HTTP/1."))
    else {
        return;
    };
    let agent = printable(request.user_agent.as_deref().unwrap_or("-"), QUOTED);
    access(&format!("{} {}", conn.tag(), conn.peer), request.method.name(), &request.path, status, &agent);
}

fn access(who: &str, method: &str, path: &str, status: &str, agent: &str) {
    let path = printable(path, QUOTED);
    crate::net::log::access(format_args!("{who} \"{method} {path}\" {status} \"{agent}\""));
}

/// Another process has taken over: who waits for a stream is sent there, and so is who asks next; a connection between
/// two requests ends.
pub fn replaced(conn: &mut Conn, world: &mut World) {
    let Role::Http(peer) = &conn.role else { return };
    match &peer.job {
        Job::Waiting { answer, .. } => {
            send_on(conn.out.buffer(), &answer.asked.path, &answer.asked.query, answer.cors);
            conn.finish(world, REPLACED);
        }
        Job::Idle { .. } if conn.socket.sent > 0 && conn.out.is_empty() && !peer.requests.mid_head() => {
            conn.finish(world, REPLACED);
        }
        _ => {}
    }
}

/// Has the client ask again, on a new connection.
fn send_on(out: &mut Vec<u8>, path: &str, query: &str, cors: Cors) {
    // Two slashes would begin the name of a host, and so would a backslash for some.
    let path = path.trim_start_matches(['/', '\\']);
    let mark = if query.is_empty() { "" } else { "?" };
    let plain = [path, query].iter().all(|part| part.bytes().all(|b| b.is_ascii_graphic()));
    if !plain {
        return response::text(out, 503, REPLACED, false, cors, true);
    }
    let extra = format!("Location: /{path}{mark}{query}\r\nCache-Control: no-store\r\n");
    let length = Length::Known(0);
    Head { status: 307, content_type: "", length, keep_alive: false, cors, extra: &extra }.write(out);
}

fn on_request(conn: &mut Conn, world: &mut World, request: &Request) {
    if api::take(conn, world, request) {
        return;
    }
    let cors = match (world.config.http_server.crossdomain, request.origin, request.private_network) {
        (true, true, true) => Cors::PrivateNetwork,
        (true, true, false) => Cors::Any,
        _ => Cors::No,
    };
    if world.replaced && request.method != Method::Options {
        send_on(conn.out.buffer(), &request.path, &request.query, cors);
        return conn.finish(world, REPLACED);
    }
    match request.method {
        Method::Options if world.config.http_server.crossdomain => {
            let length = Length::Known(0);
            let keep_alive = request.keep_alive;
            let extra = "Allow: GET, HEAD, OPTIONS\r\nAccess-Control-Max-Age: 86400\r\n";
            Head { status: 200, content_type: "", length, keep_alive, cors, extra }.write(conn.out.buffer());
            if !keep_alive {
                conn.finish(world, "answered");
            }
        }
        Method::Options | Method::Delete | Method::Other => {
            refuse(conn, world, request, cors, 405, "only GET, HEAD and OPTIONS are answered here");
        }
        Method::Get | Method::Head => find(conn, world, request, cors, true),
    }
}

/// Streams that are live come first, then files, then streams that may become live.
fn find(conn: &mut Conn, world: &mut World, request: &Request, cors: Cors, with_files: bool) {
    if let Some((name, vhost)) = hls::absent(world, request) {
        if is_denied(conn, world, request, cors, &vhost) {
            return;
        }
        world.pull_hls(&name, &vhost, Wanted::of(&request.query, None));
    }
    if let Some(wanted) = hls::route(world, request, conn.peer.ip(), cors) {
        let vhost = world.hub.get(wanted.stream()).map(|live| live.vhost.clone());
        if vhost.is_some_and(|vhost| is_denied(conn, world, request, cors, &vhost)) {
            return;
        }
        return hls::answer(conn, world, wanted, None);
    }
    let found = route(world, request);
    let is_live = found.as_ref().is_ok_and(|target| is_live(world, &target.name));
    let place = if with_files && !is_live { files::place(&world.config, request) } else { None };
    if !is_live && place.is_none() && hls::was_here(world, request) {
        return refuse(conn, world, request, cors, 404, "this segment is not kept any more");
    }
    // Who serves files may have a page of their own at the root.
    let page = page::find(world, request).filter(|_| place.is_none() || request.path != "/");
    if let Some(resource) = page {
        return page::answer(conn, world, request, resource);
    }
    match (place, found) {
        (Some(Ok(place)), _) => files::open(conn, world, request, cors, place),
        (Some(Err(error)), Err(_)) => {
            refuse(conn, world, request, cors, error.status(), &error.to_string());
        }
        (_, Ok(target)) => live(conn, world, request, cors, &target),
        (None, Err((status, why))) => refuse(conn, world, request, cors, status, &why),
    }
}

fn is_live(world: &World, name: &StreamName) -> bool {
    let live = world.hub.find(name).and_then(|id| world.hub.get(id));
    live.is_some_and(|live| !live.ended && live.publisher != Publisher::Vacant)
}

/// There is no file for a request; it may name a stream.
pub fn no_file(conn: &mut Conn, world: &mut World, request: &Request, cors: Cors) {
    find(conn, world, request, cors, false);
}

/// A one-line answer with the reason.
pub fn refuse(conn: &mut Conn, world: &mut World, request: &Request, cors: Cors, status: u16, why: &str) {
    let head_only = request.method == Method::Head;
    response::text(conn.out.buffer(), status, why, request.keep_alive, cors, head_only);
    log::debug!(target: "http", "{} {}: {status} {}: {why}", conn.tag(), conn.peer, printable(&request.path, QUOTED));
    if !request.keep_alive {
        conn.finish(world, "answered");
    }
}

/// Whether the client may not play here; then it is told.
fn is_denied(conn: &mut Conn, world: &mut World, request: &Request, cors: Cors, vhost: &Vhost) -> bool {
    let ip = access::client_ip(world, conn.peer.ip(), request.forwarded.as_deref());
    let Err(refusal) = access::check(vhost, Act::Play, ip, request.page.as_deref()) else { return false };
    world.complain("http", conn, &format!("{}: refused: {refusal}", printable(&request.path, QUOTED)));
    refuse(conn, world, request, cors, 403, &refusal.why);
    true
}

#[derive(Debug, Clone)]
struct Target {
    name: StreamName,
    vhost: Rc<Vhost>,
    container: Option<Container>,
    tracks: Tracks,
}

/// The stream that a request asks for.
fn route(world: &World, request: &Request) -> Result<Target, (u16, String)> {
    let not_found = |why: String| (404, why);
    // The vhost is found by name before the path is looked at: mounts belong to vhosts.
    let asked = names::from_http(request.host.as_deref(), ("-", "-"), &request.query)
        .map_err(|error| (400, error.to_string()))?;
    let vhost = world.config.vhost(asked.name.vhost()).cloned();
    let vhost = vhost.ok_or_else(|| not_found(format!("no vhost serves {}", asked.name.vhost())))?;
    let remux = &vhost.http_remux;
    let hit = remux.mounts.iter().filter(|_| remux.enabled).find_map(|m| mount::matches(m, &request.path));
    let hit = hit.ok_or_else(|| not_found("nothing is here; streams are at /app/stream.flv".to_owned()))?;
    let app = match hit.app {
        Some(app) => app,
        None => world.hub.app_of(&vhost.name, hit.stream).unwrap_or(APP_OF_NO_APP),
    };
    let named = names::from_http(request.host.as_deref(), (app, hit.stream), &request.query);
    let named = named.map_err(|error| (400, error.to_string()))?;
    let name = named.name.with_vhost(&vhost.name).map_err(|error| (400, error.to_string()))?;
    let tracks = Tracks::asked(&named, remux);
    let container = request.path.rsplit_once('.').and_then(|(_, end)| Container::of_extension(end));
    Ok(Target { name, vhost, container, tracks })
}

/// Whether a hook or an origin is asked about a request, or has refused it; then the client waits, or is told.
fn is_asked(conn: &mut Conn, world: &mut World, request: &Request, cors: Cors, target: &Target) -> bool {
    if !target.vhost.http_hooks.enabled && !target.vhost.cluster.asks() {
        return false;
    }
    let mark = if request.query.is_empty() { "" } else { "?" };
    let host = request.host.as_deref().unwrap_or_default();
    let who = Who {
        id: conn.id,
        serial: conn.serial,
        ip: access::client_ip(world, conn.peer.ip(), request.forwarded.as_deref()),
        name: &target.name,
        param: &format!("{mark}{}", request.query),
        tc_url: &format!("http://{host}/{}", target.name.app()),
        page: Some(request.page.as_deref().unwrap_or_default()),
    };
    let verdict = match check::may(world, &who, &target.vhost) {
        Verdict::Pass => hooks::may(world, Deed::Play, &who, &target.vhost),
        verdict => verdict,
    };
    match verdict {
        Verdict::Pass => return false,
        Verdict::Wait(ticket) => {
            if let Role::Http(peer) = &mut conn.role {
                let (request, target) = (request.clone(), target.clone());
                peer.job = Job::Asking(Box::new(Asking { ticket, request, cors, target }));
            }
        }
        Verdict::Refused(refusal) => {
            world.complain(
                "http",
                conn,
                &format!("{}: refused: {refusal}", printable(&request.path, QUOTED)),
            );
            // What came behind the request was not kept.
            response::text(conn.out.buffer(), 403, &refusal.why, false, cors, false);
            conn.finish(world, "refused");
        }
    }
    true
}

/// A hook has answered; the request is looked at again.
pub fn decided(conn: &mut Conn, world: &mut World, ticket: u32) {
    let Role::Http(peer) = &mut conn.role else { return };
    if !matches!(&peer.job, Job::Asking(asking) if asking.ticket == ticket) {
        return;
    }
    let idle = Job::Idle { since: world.now };
    let Job::Asking(asking) = std::mem::replace(&mut peer.job, idle) else { return };
    let Asking { request, cors, mut target, .. } = *asking;
    let is_its = |vhost: &&Rc<Vhost>| vhost.name.eq_ignore_ascii_case(target.name.vhost());
    let vhost = world.config.vhost(target.name.vhost()).filter(is_its).cloned();
    world.timers.set(Timer::Connection(conn.id), world.now);
    let before = conn.out.len();
    if world.replaced {
        send_on(conn.out.buffer(), &request.path, &request.query, cors);
        conn.finish(world, REPLACED);
    } else if let Some(vhost) = vhost {
        target.vhost = vhost;
        live(conn, world, &request, cors, &target);
    } else {
        refuse(conn, world, &request, cors, 404, "its vhost is not served any more");
    }
    note_answer(conn, &request, before);
    // Whoever is answered and not a viewer yet was let in for nothing.
    if matches!(&conn.role, Role::Http(peer) if matches!(peer.job, Job::Idle { .. })) {
        hooks::left(world, conn.id);
    }
    world.mark(conn);
}

/// The operator wants the client gone.
pub fn kick(conn: &mut Conn, world: &mut World) {
    let Role::Http(peer) = &mut conn.role else { return };
    match &mut peer.job {
        // A message in flight is finished first, so that the body has an end.
        Job::Playing(viewer, _) if viewer.cursor.mid_message() => {
            (viewer.until_ms, viewer.paused) = (Some(0), false);
            world.mark(conn);
        }
        Job::Playing(viewer, _) => {
            viewer.until_ms = Some(0);
            viewer_over(conn, world);
        }
        Job::Waiting { answer, .. } => {
            let cors = answer.cors;
            response::text(conn.out.buffer(), 403, "the operator has ended this request", false, cors, false);
            conn.finish(world, KICKED);
        }
        _ => {}
    }
}

/// The peer has run out of time.
pub fn timed_out(conn: &mut Conn, world: &mut World, why: &str) {
    let who = format!("{} {}", conn.tag(), conn.peer);
    let Role::Http(peer) = &mut conn.role else { return };
    match &peer.job {
        Job::Waiting { stream, answer, .. } => {
            let absence = world.hub.get(*stream).map(Live::absence);
            let (status, line) = absence.unwrap_or_else(|| (404, String::from("the stream is gone")));
            access(&who, "GET", &answer.asked.path, &status.to_string(), &answer.agent);
            response::text(conn.out.buffer(), status, &line, false, answer.cors, false);
            world.complain("http", conn, &format!("waited in vain: {line}"));
        }
        Job::Idle { .. } if peer.requests.mid_head() => {
            response::text(
                conn.out.buffer(),
                408,
                "the request did not come in time",
                false,
                Cors::No,
                false,
            );
            world.complain("http", conn, &why);
        }
        Job::File(transfer) if transfer.is_unanswered() => {
            response::text(conn.out.buffer(), 503, why, false, Cors::No, false);
            world.complain("http", conn, &why);
        }
        Job::File(_) => return world.close(conn, why),
        Job::Hls(errand) if errand.sending_ms().is_none() => return hls::waited(conn, world),
        Job::Hls(_) | Job::Api(_) => return world.close(conn, why),
        Job::Idle { .. } | Job::Playing(..) | Job::Asking(_) => {}
    }
    conn.finish(world, why);
}
