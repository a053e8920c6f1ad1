//! Live streams over HTTP: waiting for them, the first bytes, the end.

use super::{Answer, Asked, Job, QUOTED, Target, Transport, is_asked, is_denied, refuse};
use crate::app::access;
use crate::app::conn::{Conn, Role};
use crate::app::hub::{Live, Publisher};
use crate::app::relay::pull::Asked as Wanted;
use crate::app::rtmp::KICKED;
use crate::app::viewer::Viewer;
use crate::app::world::{Timer, World};
use crate::conf::{HttpRemux, NoStream};
use crate::media::cursor::{Cursor, Filter};
use crate::media::derived::Kindred;
use crate::media::mux::{Body, Format, Wrap};
use crate::media::package::Container;
use crate::media::stream::Stream;
use crate::net::socket::{Options, Room};
use crate::proto::http::request::{Method, Request};
use crate::proto::http::response::{self, Cors, Head, LAST_CHUNK, Length};
use crate::proto::http::websocket;
use crate::wire::flv;
use crate::wire::names::{self, printable};

/// What the configuration and the URL say of the tracks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracks {
    audio: Option<bool>,
    video: Option<bool>,
    guess: bool,
    drop: bool,
}

impl Tracks {
    pub(super) fn asked(request: &names::Request, remux: &HttpRemux) -> Tracks {
        let flag = |key: &str| match request.param(key) {
            Some("0" | "off" | "false") => Some(false),
            Some("1" | "on" | "true") => Some(true),
            _ => None,
        };
        let without = |other: &str| flag(other).filter(|only| *only).map(|_| false);
        Tracks {
            audio: flag("has_audio").or_else(|| without("only_video")).or(remux.has_audio),
            video: flag("has_video").or_else(|| without("only_audio")).or(remux.has_video),
            guess: remux.guess_has_av,
            drop: remux.drop_if_not_match,
        }
    }

    /// The two bits of the FLV header: what was said, else what the stream carries.
    fn of(self, stream: &Stream) -> (bool, bool) {
        let (audio, video) =
            if self.guess { (stream.audio().is_some(), stream.video().is_some()) } else { (true, true) };
        (self.audio.unwrap_or(audio), self.video.unwrap_or(video))
    }

    /// The frames that are sent.
    fn filter(self) -> Filter {
        let sent = |track: Option<bool>| !self.drop || track != Some(false);
        Filter { audio: sent(self.audio), video: sent(self.video) }
    }
}

pub(super) fn live(conn: &mut Conn, world: &mut World, request: &Request, cors: Cors, target: &Target) {
    let Target { name, vhost, container, tracks } = target;
    if is_denied(conn, world, request, cors, vhost) {
        return;
    }
    let found = world.hub.find(name).and_then(|id| world.hub.get(id)).filter(|live| !live.ended);
    let remux = &vhost.http_remux;
    let absent = found.is_none_or(|live| live.publisher == Publisher::Vacant);
    let told = remux.no_stream == NoStream::NotFound && !vhost.cluster.remote;
    if absent && (told || request.method == Method::Head) {
        return refuse(conn, world, request, cors, 404, &format!("nobody publishes {name}"));
    }
    let chunked = remux.chunked && request.minor > 0 && request.keep_alive;
    let length = if chunked { Length::Chunked } else { Length::ToClose };
    if request.method == Method::Head {
        head(length, cors, *container, request.keep_alive).write(conn.out.buffer());
        if !request.keep_alive {
            conn.finish(world, "answered");
        }
        return;
    }
    if let Some(why) = world.memory.refuse_viewer(container.is_some()) {
        world.complain("http", conn, &why);
        return refuse(conn, world, request, cors, 503, why);
    }
    if is_asked(conn, world, request, cors, target) {
        return;
    }
    let Some((stream, since)) = world.wait_for(name, vhost, conn.id) else {
        return refuse(conn, world, request, cors, 503, "there are too many streams");
    };
    world.pull(stream, Some(conn.id), Wanted::of(&request.query, None));
    // From now on the connection is this viewer's alone, whatever proxy it comes through.
    conn.peer.set_ip(access::client_ip(world, conn.peer.ip(), request.forwarded.as_deref()));
    let transport = match &request.websocket {
        Some(key) => Transport::WebSocket(websocket::accept_key(key)),
        None => Transport::Http(length),
    };
    let agent = printable(request.user_agent.as_deref().unwrap_or("-"), QUOTED);
    let asked = Asked { path: request.path.clone(), query: request.query.clone() };
    let answer = Box::new(Answer { transport, cors, container: *container, tracks: *tracks, agent, asked });
    let deadline = world.now.saturating_add(remux.wait_ms);
    if let Role::Http(peer) = &mut conn.role {
        peer.job = Job::Waiting { stream, since, deadline, answer };
        world.timers.set(Timer::Connection(conn.id), deadline);
    }
    let nodelay = vhost.tcp_nodelay || vhost.min_latency;
    conn.socket.configure(Options { nodelay, room: Room::Buffer(vhost.play.send_buffer) });
}

fn head(length: Length, cors: Cors, container: Option<Container>, keep_alive: bool) -> Head<'static> {
    let extra = "Cache-Control: no-cache, no-store\r\nX-Accel-Buffering: no\r\n";
    let content_type = container.map_or("video/x-flv", Container::content_type);
    Head { status: 200, content_type, length, keep_alive, cors, extra }
}

/// The stream that the peer waits for has started.
pub fn start_viewer(conn: &mut Conn, world: &mut World) {
    let Role::Http(peer) = &mut conn.role else { return };
    let idle = Job::Idle { since: world.now };
    let Job::Waiting { stream, since, answer, .. } = std::mem::replace(&mut peer.job, idle) else { return };
    let Some(live) = world.hub.get_mut(stream) else { return };
    let filter = answer.tracks.filter();
    let (join, source) = match answer.container {
        None => (live.join(filter, since), None),
        Some(container) => {
            let kindred = Kindred { container, filter };
            match live.open(kindred, since) {
                Ok(join) => (join, Some(kindred)),
                Err((status, why)) => {
                    response::text(conn.out.buffer(), status, &why, false, answer.cors, false);
                    return conn.finish(world, &why);
                }
            }
        }
    };
    let wrap = answer.transport.wrap();
    begin_body(&answer, live, wrap, conn.out.buffer());
    let body = match answer.container {
        None => Body::Flv,
        Some(Container::Fmp4) => Body::Fragments,
        Some(_) => Body::Raw,
    };
    let Some((feed, _)) = live.feed(source) else { return };
    let viewer = Viewer {
        stream,
        source,
        cursor: Cursor::join(feed, join),
        phase: live.fanout.add(conn.id),
        format: Format::Http(body, wrap),
        paused: false,
        until_ms: None,
        since: world.now,
        sent_before: conn.socket.sent,
    };
    peer.job = Job::Playing(viewer, (wrap == Wrap::WebSocket).then(Box::default));
    world.timers.clear(Timer::Connection(conn.id));
    log::info!(target: "http", "{} {}: viewer of {} came ({})", conn.tag(), conn.peer, live.name, answer.agent);
    world.mark(conn);
}

/// The response head and, for FLV, the file header.
fn begin_body(answer: &Answer, live: &Live, wrap: Wrap, out: &mut Vec<u8>) {
    match &answer.transport {
        Transport::Http(length) => head(*length, answer.cors, answer.container, false).write(out),
        Transport::WebSocket(key) => response::upgrade(out, key),
    }
    if answer.container.is_none() {
        let (audio, video) = answer.tracks.of(&live.stream);
        wrap.write(&flv::header(audio, video), out);
    }
}

/// The viewer has all that it will get.
pub fn viewer_over(conn: &mut Conn, world: &mut World) {
    match conn.viewer().map(|viewer| viewer.format) {
        Some(Format::Http(_, Wrap::Chunk)) => conn.out.buffer().extend_from_slice(LAST_CHUNK),
        Some(Format::Http(_, Wrap::WebSocket)) => {
            websocket::close(conn.out.buffer(), 1000, websocket::Ended::Closed);
        }
        _ => {}
    }
    let kicked = conn.viewer().is_some_and(|viewer| viewer.until_ms == Some(0));
    conn.finish(world, if kicked { KICKED } else { "the stream is over" });
}
