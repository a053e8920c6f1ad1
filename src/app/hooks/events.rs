//! What is said of each event, with the keys of SRS.

use super::{About, Deed};
use crate::app::api;
use crate::app::hls::Segment;
use crate::app::json::{Json, Milli};
use crate::app::world::World;
use crate::conf::Url;
use crate::net::procfs;
use crate::wire::names::{DEFAULT_VHOST, printable};
use std::net::IpAddr;

/// Characters of a name in a log line.
const QUOTED: usize = 128;

/// How the log calls what an event is about.
pub(super) fn label(about: &About, event: &str) -> Box<str> {
    let client = if about.serial > 0 { format!("[{}] {} ", about.serial, about.ip) } else { String::new() };
    match event {
        "on_connect" | "on_close" => format!("{client}{}", printable(about.name.app(), QUOTED)).into(),
        _ => format!("{client}{}", about.name).into(),
    }
}

fn common(world: &World, event: &str, about: &About) -> Json {
    let mut json = Json::default();
    let client = if about.serial > 0 { about.serial.to_string() } else { String::new() };
    let ip = if about.serial > 0 { about.ip.to_string() } else { String::new() };
    json.text("server_id", world.api.server());
    json.text("action", event);
    json.text("client_id", &client);
    json.text("ip", &ip);
    json.text("vhost", about.name.vhost());
    json.text("app", about.name.app());
    json
}

fn stream(json: &mut Json, world: &World, about: &About) {
    let name = &about.name;
    let vhost = if name.vhost() == DEFAULT_VHOST { "" } else { name.vhost() };
    json.text("stream", name.stream());
    json.text("param", &about.param);
    json.text("stream_url", &format!("{vhost}/{}/{}", name.app(), name.stream()));
    json.text("stream_id", &world.hub.find(name).map(api::stream_id).unwrap_or_default());
}

/// Before something.
pub(super) fn begin(world: &World, deed: Deed, event: &str, about: &About) -> Json {
    let mut json = common(world, event, about);
    if deed != Deed::Play {
        json.text("tcUrl", &about.tc_url);
    }
    if deed != Deed::Publish {
        json.text("pageUrl", &about.page);
    }
    match deed {
        // The stream is named later.
        Deed::Connect => {
            json.text("stream", "");
            json.text("param", &about.param);
        }
        Deed::Publish | Deed::Play => stream(&mut json, world, about),
    }
    json
}

/// After it; `bytes` that the connection has sent and received.
pub(super) fn end(world: &World, deed: Deed, event: &str, about: &About, bytes: Option<(u64, u64)>) -> Json {
    let mut json = common(world, event, about);
    match deed {
        Deed::Connect => {
            let (sent, received) = bytes.unwrap_or_default();
            json.put("send_bytes", &sent);
            json.put("recv_bytes", &received);
        }
        Deed::Publish | Deed::Play => stream(&mut json, world, about),
    }
    json
}

pub(super) fn recorded(world: &World, about: &About, file: &str) -> Json {
    let mut json = common(world, "on_dvr", about);
    stream(&mut json, world, about);
    json.text("cwd", &procfs::cwd());
    json.text("file", file);
    json
}

pub(super) fn segment(world: &World, about: &About, segment: &Segment) -> Json {
    let mut json = common(world, "on_hls", about);
    stream(&mut json, world, about);
    json.put("duration", &Milli(segment.ms));
    json.text("cwd", &procfs::cwd());
    json.text("file", &segment.file);
    json.text("url", &segment.url);
    json.text("m3u8", &segment.playlist_file);
    json.text("m3u8_url", &segment.playlist);
    json.put("seq_no", &segment.sequence);
    json
}

/// The URL with its variables replaced.
pub(super) fn notify(world: &World, url: &Url, about: &About, segment: &Segment) -> Url {
    let mut path = url.path.clone();
    for (name, value) in [
        ("[server_id]", world.api.server()),
        ("[app]", about.name.app()),
        ("[stream]", about.name.stream()),
        ("[ts_url]", &segment.url),
        ("[param]", &about.param),
    ] {
        path = path.replace(name, &escaped(value));
    }
    Url { path, ..url.clone() }
}

/// What may stand in a request line as it is stays.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'#' | b'[' | b']' => out.push_str(&format!("%{byte:02X}")),
            byte if byte.is_ascii_graphic() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub(super) fn heartbeat(device: &str, ip: IpAddr, summaries: Option<String>) -> String {
    let mut json = Json::default();
    json.text("device_id", device);
    json.text("ip", &ip.to_string());
    if let Some(summaries) = summaries {
        json.put("summaries", &summaries);
    }
    json.finish()
}
