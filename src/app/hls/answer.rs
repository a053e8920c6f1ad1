//! Requests for playlists and segments: which stream and which of its files, and what is answered.

use super::{Errand, PLAYLIST, Wanted, What, now, viewers};
use crate::app::conn::{Conn, Role};
use crate::app::hub::{Publisher, StreamId};
use crate::app::listing;
use crate::app::mount;
use crate::app::shared::Shared;
use crate::app::world::{Action, Timer, World};
use crate::conf::{HlsStorage, Vhost};
use crate::media::hls::{About, Body, Content, File, Hls, Playlist};
use crate::net::slots::Id;
use crate::net::socket::{Options, Room};
use crate::proto::http::request::{Method, Request};
use crate::proto::http::response::{self, Cors, Head, Length};
use crate::wire::names::{self, StreamName};
use std::net::IpAddr;
use std::rc::Weak;

/// What a request asks for of the HLS that there is; `None` when it is about something else.
pub fn route(world: &World, request: &Request, peer: IpAddr, cors: Cors) -> Option<Wanted> {
    let asked = names::from_http(request.host.as_deref(), ("-", "-"), &request.query).ok()?;
    let vhost = world.config.vhost(asked.name.vhost())?;
    if !vhost.hls.enabled || vhost.hls.storage == HlsStorage::Disk {
        return None;
    }
    let (stream, what) = playlist_of(world, vhost, request).or_else(|| file_of(world, vhost, request))?;
    let numbered = viewers::of_query(&request.query).filter(|_| vhost.hls.ctx);
    let what = match what {
        What::Playlist(query) if vhost.hls.ctx && numbered.is_none() || asks_for_variants(&query) => {
            What::Multivariant(query)
        }
        what => what,
    };
    let by_address = || viewers::of_peer(peer, request, &world.hls.hasher);
    Some(Wanted {
        stream,
        what,
        viewer: numbered.or_else(|| (!vhost.hls.ctx).then(by_address)),
        head_only: request.method == Method::Head,
        keep_alive: request.keep_alive,
        cors,
    })
}

/// `?master=1`
fn asks_for_variants(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "master" | "master=1"))
}

fn playlist_of(world: &World, vhost: &Vhost, request: &Request) -> Option<(StreamId, What)> {
    let stream = world.hub.find(&playlist_name(world, vhost, request)?)?;
    world.hub.get(stream)?.hls.as_ref()?;
    Some((stream, What::Playlist(request.query.clone())))
}

/// The stream of a playlist's address.
pub(super) fn playlist_name(world: &World, vhost: &Vhost, request: &Request) -> Option<StreamName> {
    let hit = mount::matches(&vhost.hls.mount, &request.path)?;
    let app = match hit.app {
        Some(app) => app,
        None => world.hub.app_of(&vhost.name, hit.stream)?,
    };
    let named = names::from_http(request.host.as_deref(), (app, hit.stream), &request.query).ok()?;
    named.name.with_vhost(&vhost.name).ok()
}

fn file_of(world: &World, vhost: &Vhost, request: &Request) -> Option<(StreamId, What)> {
    let name = names::percent_decode(request.path.strip_prefix('/')?)?;
    let stream = find_by_name(world, vhost, &name, |hls| hls.file(&name).is_some())?;
    Some((stream, What::File(name)))
}

/// Whether a request is about a segment that is not kept any more.
pub fn was_here(world: &World, request: &Request) -> bool {
    let asked = names::from_http(request.host.as_deref(), ("-", "-"), &request.query).ok();
    let vhost = asked.and_then(|asked| world.config.vhost(asked.name.vhost()));
    let name = request.path.strip_prefix('/').and_then(names::percent_decode);
    let (Some(vhost), Some(name)) = (vhost.filter(|vhost| vhost.hls.enabled), name) else { return false };
    find_by_name(world, vhost, &name, |hls| hls.may_be(&name)).is_some()
}

/// The stream of this vhost whose names begin as `name` does and that `is` says yes to.
pub(super) fn find_by_name(
    world: &World,
    vhost: &Vhost,
    name: &str,
    is: impl Fn(&Hls) -> bool,
) -> Option<StreamId> {
    let fits = |id| world.hub.get(id).and_then(|live| live.hls.as_ref()).is_some_and(|live| is(&live.hls));
    world.hls.index.find(&vhost.name, name, fits)
}

impl Wanted {
    /// The stream that it is of.
    pub fn stream(&self) -> StreamId {
        self.stream
    }
}

/// Answers a request, or lets it wait.
pub fn answer(conn: &mut Conn, world: &mut World, wanted: Wanted, deadline: Option<u64>) {
    let mono_ms = world.now;
    let about = about(world, &wanted);
    let Some(live) = world.hub.get_mut(wanted.stream).and_then(|live| live.hls.as_mut()) else {
        return text(conn, world, &wanted, 404, "the stream is over");
    };
    if let Some(viewer) = wanted.viewer.filter(|_| !wanted.head_only) {
        live.viewers.touch(viewer, mono_ms);
        live.viewers.sweep(live.hls.target_ms(), mono_ms);
    }
    live.hls.expire(now(mono_ms));
    if conn.socket.sent == 0 {
        let nodelay = live.vhost.tcp_nodelay || live.vhost.min_latency;
        conn.socket.configure(Options { nodelay, room: Room::Unsent(live.vhost.play.send_buffer) });
    }
    let patience = match &wanted.what {
        _ if live.hls.refusal().is_some() => {
            let why = live.hls.refusal().unwrap_or_default().to_owned();
            return text(conn, world, &wanted, 415, &why);
        }
        What::Playlist(query) => match live.hls.playlist(query) {
            Playlist::Text(list) => {
                let more =
                    viewers::for_segments(query, wanted.viewer.filter(|_| live.vhost.hls.marks_segments()));
                let list = if more.is_empty() { list } else { viewers::with_query(&list, &more).into() };
                return playlist(conn, world, &wanted, &list);
            }
            Playlist::Bad(why) => return text(conn, world, &wanted, 400, why),
            Playlist::Wait(ms) => ms,
        },
        What::Multivariant(query) => {
            let number = live.vhost.hls.ctx.then(viewers::number);
            match live.hls.multivariant(&about, &viewers::query_of(query, number)) {
                Playlist::Text(list) => return playlist(conn, world, &wanted, &list),
                Playlist::Bad(why) => return text(conn, world, &wanted, 400, why),
                Playlist::Wait(ms) => ms,
            }
        }
        What::File(name) => match live.hls.file(name) {
            Some(File::Body(content, body)) => {
                let vhost = live.vhost.clone();
                return send(conn, world, &wanted, content, body, &vhost);
            }
            Some(File::Wait(ms)) => ms,
            None => return text(conn, world, &wanted, 404, "this segment is not kept any more"),
        },
    };
    live.waiting.push(conn.id);
    let deadline = deadline.unwrap_or(mono_ms.saturating_add(patience));
    if let Role::Http(peer) = &mut conn.role {
        peer.run(Errand::Waiting(wanted, deadline));
        world.timers.set(Timer::Connection(conn.id), deadline);
    }
}

/// What a multivariant playlist says of the stream.
fn about(world: &World, wanted: &Wanted) -> About {
    match (&wanted.what, world.hub.get(wanted.stream)) {
        (What::Multivariant(_), Some(live)) => {
            let (video, audio) = (live.stream.video(), live.stream.audio());
            let silent = live.hls.as_ref().is_some_and(|own| own.silence(video, audio).is_some());
            listing::about(&live.stream, live.vhost.hls.audio && !silent, live.vhost.hls.video)
        }
        _ => About::default(),
    }
}

/// There is more: a request that waits is looked at again.
pub fn ask_again(conn: &mut Conn, world: &mut World) {
    let Role::Http(peer) = &mut conn.role else { return };
    if let Some(Errand::Waiting(wanted, deadline)) = peer.errand_done(world.now) {
        answer(conn, world, wanted, Some(deadline));
        world.mark(conn);
        resume(conn, world);
    }
}

/// A request has waited long enough.
pub fn waited(conn: &mut Conn, world: &mut World) {
    let Role::Http(peer) = &mut conn.role else { return };
    if let Some(Errand::Waiting(wanted, _)) = peer.errand_done(world.now) {
        leave(world, &wanted, conn.id);
        let live = world.hub.get(wanted.stream).filter(|live| live.publisher == Publisher::Vacant);
        let late = || (503, String::from("the next segment did not come in time"));
        let (status, line) = live.map_or_else(late, |live| live.absence());
        text(conn, world, &wanted, status, &line);
        world.mark(conn);
        resume(conn, world);
    }
}

/// The connection goes, or does something else.
pub fn dropped(world: &mut World, errand: &Errand, id: Id) {
    if let Errand::Waiting(wanted, _) = errand {
        leave(world, wanted, id);
    }
}

fn leave(world: &mut World, wanted: &Wanted, id: Id) {
    if let Some(live) = world.hub.get_mut(wanted.stream).and_then(|live| live.hls.as_mut()) {
        live.waiting.retain(|waiting| *waiting != id);
    }
}

/// All bytes were written: if they were those of a segment, the request is answered.
pub fn sent(conn: &mut Conn, world: &mut World) {
    let Role::Http(peer) = &mut conn.role else { return };
    if peer.sending_ms().is_none() {
        return;
    }
    if let Some(Errand::Sending { keep_alive: false, .. }) = peer.errand_done(world.now) {
        conn.finish(world, "answered");
    }
}

/// What the peer sent meanwhile comes next.
fn resume(conn: &mut Conn, world: &mut World) {
    if conn.holds() {
        world.actions.push_back(Action::Resume(conn.id));
    }
}

pub(super) fn text(conn: &mut Conn, world: &mut World, wanted: &Wanted, status: u16, line: &str) {
    let Wanted { keep_alive, cors, head_only, .. } = *wanted;
    response::text(conn.out.buffer(), status, line, keep_alive, cors, head_only);
    if !keep_alive {
        conn.finish(world, "answered");
    }
}

pub(super) fn playlist(conn: &mut Conn, world: &mut World, wanted: &Wanted, list: &str) {
    let Wanted { keep_alive, cors, .. } = *wanted;
    let length = Length::Known(list.len() as u64);
    let extra = "Cache-Control: no-cache\r\n";
    let out = conn.out.buffer();
    Head { status: 200, content_type: PLAYLIST, length, keep_alive, cors, extra }.write(out);
    if !wanted.head_only {
        out.extend_from_slice(list.as_bytes());
    }
    if !keep_alive {
        conn.finish(world, "answered");
    }
}

fn send(
    conn: &mut Conn,
    world: &mut World,
    wanted: &Wanted,
    content: Content,
    body: Weak<Body>,
    vhost: &Vhost,
) {
    let Wanted { keep_alive, cors, .. } = *wanted;
    let copy = world.copies.of(&body);
    let Some(shared) = Shared::new(body, copy) else {
        return text(conn, world, wanted, 404, "this segment is not kept any more");
    };
    let content_type = match content {
        Content::Ts => "video/mp2t",
        Content::Mp4 => "video/mp4",
        Content::Key => "application/octet-stream",
    };
    // As long as it is listed; names are never used again.
    let max_age = vhost.hls.window_ms / 1000;
    let extra = match content {
        Content::Key => "Cache-Control: no-cache\r\n".to_owned(),
        Content::Ts | Content::Mp4 => format!("Cache-Control: max-age={max_age}\r\n"),
    };
    let length = Length::Known(shared.left());
    Head { status: 200, content_type, length, keep_alive, cors, extra: &extra }.write(conn.out.buffer());
    if wanted.head_only {
        if !keep_alive {
            conn.finish(world, "answered");
        }
        return;
    }
    conn.out.put_shared(shared);
    let send_timeout_ms = vhost.play.send_timeout_ms;
    if let Role::Http(peer) = &mut conn.role {
        peer.run(Errand::Sending { keep_alive, send_timeout_ms });
        world.timers.set(Timer::Connection(conn.id), world.now.saturating_add(send_timeout_ms));
    }
}
