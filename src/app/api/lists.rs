//! Vhosts, streams and clients.

use super::{COUNT, MAX_COUNT, Reply, View, begin, code, param};
use crate::app::conn::{Conn, Role};
use crate::app::hub::{Live, Publisher, Source, StreamId};
use crate::app::json::{Json, Milli, OrNull};
use crate::app::listing::{Audio, Video};
use crate::app::world::World;
use crate::conf::Vhost;
use crate::media::mux::{Format, Wrap};
use crate::media::package::Container;
use crate::net::clock;
use std::collections::HashMap;
use std::rc::Rc;

/// The id of a vhost, which stays through restarts: a hash (FNV-1a) of its name.
pub(super) fn vhost_id(name: &str) -> String {
    let step =
        |hash: u64, byte: u8| (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
    format!("vid-{:016x}", name.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The id of a stream, while it is there.
pub fn stream_id(id: StreamId) -> String {
    format!("vid-{:08x}", id.number())
}

/// The part of a list that is asked for: how many items are left out before it, and how many it has.
fn page(query: &str) -> (usize, usize) {
    let number = |name| param(query, name).and_then(|text| text.parse::<usize>().ok());
    let count = number("count").filter(|count| *count > 0).unwrap_or(COUNT);
    (number("start").unwrap_or(0), count.min(MAX_COUNT))
}

/// Those who publish, watch or wait for a stream on a connection of their own, so not by HLS.
fn people(live: &Live) -> usize {
    let publisher = matches!(live.publisher, Publisher::Live(Source::Peer(..) | Source::Origin(_)));
    live.watchers() + live.waiting.len() + usize::from(publisher)
}

fn kbps(json: &mut Json, received: u64, sent: u64) {
    json.open("kbps");
    json.put("recv_30s", &received);
    json.put("send_30s", &sent);
    json.close();
}

/// Bytes of media that are kept.
pub(super) fn kept(world: &World) -> usize {
    world.hub.iter().map(|live| live.stream.feed.bytes()).sum()
}

#[derive(Default)]
struct Sum {
    clients: usize,
    streams: usize,
    sent: u64,
    received: u64,
    kbps: (u64, u64),
}

pub(super) fn vhosts(view: &View<'_>, id: Option<&str>, query: &str) -> Reply {
    let world = view.world;
    let all = world.config.vhosts.iter();
    let (start, count) = page(query);
    let chosen: Vec<&Rc<Vhost>> = match id {
        None => all.skip(start).take(count).collect(),
        Some(id) => all.filter(|vhost| vhost_id(&vhost.name) == id).take(1).collect(),
    };
    let mut sums: HashMap<String, Sum> = HashMap::new();
    for vhost in &chosen {
        sums.insert(vhost.name.to_ascii_lowercase(), Sum::default());
    }
    for live in world.hub.iter() {
        let Some(sum) = sums.get_mut(&live.name.vhost().to_ascii_lowercase()) else { continue };
        sum.clients += people(live);
        sum.streams += 1;
        sum.sent += live.sent.get();
        sum.received += live.stream.counters().bytes;
        let (received, sent) = live.kbps(world.now);
        sum.kbps.0 += received;
        sum.kbps.1 += sent;
    }
    let mut json = begin(world, code::OK);
    let one = |json: &mut Json, vhost: &Vhost| {
        let none = Sum::default();
        let sum = sums.get(&vhost.name.to_ascii_lowercase()).unwrap_or(&none);
        json.text("id", &vhost_id(&vhost.name));
        json.text("name", &vhost.name);
        json.put("enabled", &vhost.enabled);
        json.put("clients", &sum.clients);
        json.put("streams", &sum.streams);
        json.put("send_bytes", &sum.sent);
        json.put("recv_bytes", &sum.received);
        kbps(json, sum.kbps.0, sum.kbps.1);
        json.open("hls");
        json.put("enabled", &vhost.hls.enabled);
        if vhost.hls.enabled {
            json.put("fragment", &Milli(vhost.hls.fragment_ms));
        }
        json.close();
        json.close();
    };
    match (id, chosen.first()) {
        (Some(_), None) => return Reply::fault(world, code::VHOST, "there is no such vhost"),
        (Some(_), Some(vhost)) => {
            json.open("vhost");
            one(&mut json, vhost);
        }
        (None, _) => {
            json.list("vhosts");
            for vhost in &chosen {
                json.item();
                one(&mut json, vhost);
            }
            json.end();
            json.put("total", &world.config.vhosts.len());
        }
    }
    Reply::json(json)
}

pub(super) fn streams(view: &View<'_>, id: Option<&str>, query: &str) -> Reply {
    let world = view.world;
    let mut json = begin(world, code::OK);
    if let Some(id) = id {
        let Some((id, live)) = world.hub.entries().find(|(known, _)| stream_id(*known) == id) else {
            return Reply::fault(world, code::STREAM, "there is no such stream");
        };
        json.open("stream");
        stream(&mut json, view, id, live);
        return Reply::json(json);
    }
    let (start, count) = page(query);
    json.list("streams");
    for (id, live) in world.hub.entries().skip(start).take(count) {
        json.item();
        stream(&mut json, view, id, live);
    }
    json.end();
    json.put("total", &world.hub.len());
    Reply::json(json)
}

/// The members of a stream, and the end of its object.
fn stream(json: &mut Json, view: &View<'_>, id: StreamId, live: &Live) {
    let now = view.world.now;
    let (name, counters) = (&live.name, live.stream.counters());
    json.text("id", &stream_id(id));
    json.text("name", name.stream());
    json.text("vhost", &vhost_id(name.vhost()));
    json.text("app", name.app());
    json.text("url", &format!("/{}/{}", name.app(), name.stream()));
    json.put("live_ms", &clock::unix_ms());
    json.put("clients", &people(live));
    json.put("frames", &(counters.audio + counters.video));
    json.put("send_bytes", &live.sent.get());
    json.put("recv_bytes", &counters.bytes);
    let (received, sent) = live.kbps(now);
    kbps(json, received, sent);
    json.open("publish");
    json.put("active", &matches!(live.publisher, Publisher::Live(_)));
    let publisher = match live.publisher {
        Publisher::Live(Source::Peer(id, _) | Source::Origin(id)) => {
            view.conns.get(id).map(|conn| conn.serial.to_string())
        }
        Publisher::Live(Source::Demo) => Some(String::from("demo")),
        _ => None,
    };
    if let Some(cid) = publisher {
        json.text("cid", &cid);
    }
    json.close();
    media(json, live);
    ours_of_stream(json, live, now);
    json.close();
}

fn media(json: &mut Json, live: &Live) {
    match Video::of(&live.stream) {
        None => json.put("video", &"null"),
        Some(video) => {
            let ((width, height), codec) = (video.size, video.codec.to_string());
            json.open("video");
            json.text("codec", &codec);
            json.text("profile", video.profile.unwrap_or_default());
            json.text("level", video.level.as_deref().unwrap_or_default());
            json.put("width", &width);
            json.put("height", &height);
            json.close();
        }
    }
    match Audio::of(&live.stream) {
        None => json.put("audio", &"null"),
        Some(audio) => {
            let (codec, profile) = audio.codec.split_once(' ').unwrap_or((&audio.codec, ""));
            json.open("audio");
            json.text("codec", codec);
            json.put("sample_rate", &OrNull(audio.rate));
            json.put("channel", &OrNull(audio.channels));
            json.text("profile", profile);
            json.close();
        }
    }
}

/// What SRS does not have.
fn ours_of_stream(json: &mut Json, live: &Live, now: u64) {
    let (counters, repairs) = (live.stream.counters(), live.stream.timeline().repairs());
    let state = match live.publisher {
        _ if live.ended => "ended",
        Publisher::Live(_) => "live",
        Publisher::Away(_) => "away",
        Publisher::Vacant => "awaited",
    };
    json.open("runnel");
    json.text("state", state);
    json.put("seconds", &(now.saturating_sub(live.since) / 1000));
    json.put("viewers", &live.watchers());
    json.put("hls_viewers", &live.viewers().saturating_sub(live.watchers()));
    json.put("waiting", &live.waiting.len());
    json.list("forwards");
    for push in &live.pushes {
        json.item();
        json.text("to", &push.to);
        json.text("state", push.state.word());
        json.put("tries", &push.tries);
        json.text("fault", &push.fault);
        json.close();
    }
    json.end();
    if let Some(pull) = &live.pull {
        json.open("edge");
        json.text("origin", &pull.to);
        json.text("state", pull.state.word());
        json.put("tries", &pull.tries);
        json.text("fault", &pull.fault);
        json.close();
    }
    json.put("audio_frames", &counters.audio);
    json.put("video_frames", &counters.video);
    json.put("keyframes", &counters.keys);
    json.put("kept_bytes", &live.stream.feed.bytes());
    json.open("repairs");
    json.put("jumps", &repairs.jumps);
    json.put("clamped", &repairs.clamped);
    json.put("wraps", &repairs.wraps);
    json.close();
    json.close();
}

pub(super) fn clients(view: &View<'_>, id: Option<&str>, query: &str) -> Reply {
    let world = view.world;
    let mut json = begin(world, code::OK);
    let busy = |conn: &Conn| match conn.role {
        Role::Relay(_) => false,
        Role::Ingress(_) => conn.publishes(),
        _ => conn.stream().is_some(),
    };
    if let Some(id) = id {
        let wanted = id.parse::<u64>().ok();
        let mut all = view.conns.iter().map(|(_, conn)| conn);
        let Some(conn) = all.find(|conn| Some(conn.serial) == wanted && busy(conn)) else {
            return Reply::fault(world, code::CLIENT, "there is no such client");
        };
        json.open("client");
        client(&mut json, view, conn);
        return Reply::json(json);
    }
    let (start, count) = page(query);
    json.list("clients");
    let all = view.conns.iter().map(|(_, conn)| conn).filter(|conn| busy(conn));
    for conn in all.skip(start).take(count) {
        json.item();
        client(&mut json, view, conn);
    }
    json.end();
    json.put("total", &world.hub.iter().map(people).sum::<usize>());
    Reply::json(json)
}

/// What a client does, in SRS's words.
fn kind(conn: &Conn, publishes: bool) -> &'static str {
    let container = conn.viewer().and_then(|viewer| viewer.source).map(|kindred| kindred.container);
    match (&conn.role, container) {
        (Role::Rtmp(_), _) if publishes => "fmle-publish",
        (Role::Rtmp(_), _) => "rtmp-play",
        (Role::Ingress(_), _) => "edge-pull",
        (_, Some(Container::Ts)) => "ts-play",
        (_, Some(Container::Aac)) => "aac-play",
        (_, Some(Container::Mp3)) => "mp3-play",
        (_, Some(Container::Fmp4)) => "mp4-play",
        (_, None) => "flv-play",
    }
}

/// The members of a client, and the end of its object.
fn client(json: &mut Json, view: &View<'_>, conn: &Conn) {
    let world = view.world;
    let stream = conn.stream();
    let live = stream.and_then(|id| world.hub.get(id));
    let publishes = live.is_some_and(|live| match live.publisher {
        Publisher::Live(Source::Peer(id, _) | Source::Origin(id)) => id == conn.id,
        _ => false,
    });
    let name = live.map(|live| &live.name);
    let url = name.map(|name| format!("/{}/{}", name.app(), name.stream())).unwrap_or_default();
    let tc_url = match &conn.role {
        Role::Rtmp(peer) => peer.tc_url(),
        Role::Ingress(peer) => peer.tc_url(),
        _ => "",
    };
    let id = conn.serial.to_string();
    json.text("id", &id);
    json.text("vhost", &name.map(|name| vhost_id(name.vhost())).unwrap_or_default());
    json.text("stream", &stream.map(stream_id).unwrap_or_default());
    json.text("ip", &conn.peer.ip().to_canonical().to_string());
    json.text("pageUrl", world.pages.get(&conn.id).map_or("", |page| page));
    json.text("swfUrl", "");
    // What follows may be a token.
    json.text("tcUrl", tc_url.split('?').next().unwrap_or_default());
    json.text("url", &url);
    json.text("name", name.map_or("", |name| name.stream()));
    json.text("type", kind(conn, publishes));
    json.put("publish", &publishes);
    let alive = world.now.saturating_sub(conn.since);
    json.put("alive", &Milli(alive));
    json.put("send_bytes", &conn.socket.sent);
    json.put("recv_bytes", &conn.socket.received);
    let mean = |bytes: u64| bytes.saturating_mul(8) / alive.max(1);
    kbps(json, mean(conn.socket.received), mean(conn.socket.sent));
    json.open("runnel");
    ours_of_client(json, view, conn, live);
    json.close();
    json.close();
}

fn ours_of_client(json: &mut Json, view: &View<'_>, conn: &Conn, live: Option<&Live>) {
    let now = view.world.now;
    let transport = match (&conn.role, conn.viewer().map(|viewer| viewer.format)) {
        (_, Some(Format::Http(_, Wrap::WebSocket))) => "websocket",
        (Role::Http(_), _) => "http",
        _ => "rtmp",
    };
    json.text("transport", transport);
    json.put("port", &conn.peer.port());
    json.put("waiting_bytes", &conn.out.len());
    json.put("blocked_ms", &conn.blocked_since.map_or(0, |since| now.saturating_sub(since)));
    if let Some(viewer) = conn.viewer() {
        let feed = live.and_then(|live| live.feed(viewer.source)).map(|(feed, _)| feed);
        let skipped = viewer.cursor.skipped();
        json.put("queue_ms", &OrNull(feed.map(|feed| viewer.cursor.lag_ms(feed))));
        json.put("paused", &viewer.paused);
        json.open("skipped");
        json.put("gops", &skipped.times);
        json.put("frames", &skipped.frames);
        json.put("seconds", &Milli(skipped.ms));
        json.close();
    }
    let tcp = conn.socket.tcp_info();
    json.put("rtt_ms", &OrNull(tcp.map(|tcp| Milli(u64::from(tcp.rtt_us)))));
    json.put("unacked", &OrNull(tcp.map(|tcp| tcp.unacked)));
    json.put("resent", &OrNull(tcp.map(|tcp| tcp.resent)));
}
