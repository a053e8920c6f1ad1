//! The HTTP API: what is live and how the process does, as JSON with SRS's paths, fields and codes.   See docs/api.md.
//!
//! ```text
//!  http ─ a request on one of its doors ─► Errand::Asked ─ Action::Api ─► server::api ─► answer ─► Errand::Sending
//! ```
//!
//! A request is answered in the turn in which it came, after the connection that asked is let go of, because an answer
//! looks at all connections. Invariants: a list has at most [`MAX_COUNT`] items, and skips at most as many connections as
//! there are; all long answers that wait to be taken have at most [`MAX_WAITING`] bytes together; nothing is shown of what
//! follows a `?` in what a client sent.

mod control;
mod lists;
mod metrics;
mod reply;
mod system;

pub use control::{kicked, reloaded};
pub use lists::stream_id;
pub use reply::write;
pub use system::summaries;

use super::access::client_ip;
use super::conn::{Conn, Role};
use super::json::Json;
use super::rate::Rate;
use super::world::{Action, World};
use crate::conf::HttpApi;
use crate::net::slots::Slots;
use crate::net::{clock, log, sys};
use crate::proto::http::request::{Method, Request};
use base64::Engine;
use std::net::SocketAddr;

/// Items of a list that are given when the request names no `count`.
const COUNT: usize = 10;
/// Items of a list at most.
pub const MAX_COUNT: usize = 100;
/// Bytes of answers that wait to be taken; beyond, requests for long ones get 503.
pub const MAX_WAITING: usize = 1 << 20;
/// Bytes of an answer that is given all the same, one to each connection.
const SMALL: usize = 8 << 10;
/// KiB of the log when the request names none, and at most.
const LOG_KB: (usize, usize) = (64, 256);
/// Bytes of a JSONP function's name.
const MAX_CALLBACK: usize = 64;

/// Codes of SRS.
mod code {
    pub(super) const OK: u32 = 0;
    pub(super) const TEST: u32 = 100;
    pub(super) const CONFIG: u32 = 1023;
    pub(super) const RAW_DISABLED: u32 = 1061;
    pub(super) const NOT_ALLOWED: u32 = 1062;
    pub(super) const RAW_PARAMS: u32 = 1063;
    pub(super) const VHOST: u32 = 2014;
    pub(super) const ACCESS: u32 = 2015;
    pub(super) const STREAM: u32 = 2048;
    pub(super) const CLIENT: u32 = 2049;
}

/// A port at which the API is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// Where it listens.
    pub at: SocketAddr,
    /// Streams and files are served there too.
    pub shared: bool,
}

/// What the last reload came to.
#[derive(Debug)]
pub struct Reloaded {
    /// Milliseconds that it took.
    pub took: u64,
    /// What has changed, or what is wrong, as the log has it.
    pub outcome: Result<Vec<String>, String>,
}

/// What the API keeps between requests.
#[derive(Debug)]
pub struct State {
    /// Where it is served.
    pub doors: Vec<Door>,
    /// Viewers moved forward because they were too slow, ever.
    pub skips: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// The last reload, and how many there were.
    pub reloaded: (u64, Option<Reloaded>),
    /// `vid-…`, another one at each start.
    server: String,
    /// Bytes of answers that wait to be taken.
    waiting: usize,
    received: Rate,
    sent: Rate,
    load: system::Load,
}

impl Default for State {
    fn default() -> Self {
        let mut seed = [0; 4];
        sys::random(&mut seed);
        State {
            doors: Vec::new(),
            skips: 0,
            turns: 0,
            reloaded: (0, None),
            server: format!("vid-{:08x}", u32::from_be_bytes(seed)),
            waiting: 0,
            received: Rate::default(),
            sent: Rate::default(),
            load: system::Load::default(),
        }
    }
}

impl State {
    /// What this process calls itself.
    pub fn server(&self) -> &str {
        &self.server
    }
}

/// A request for the API on its way.
#[derive(Debug)]
pub enum Errand {
    /// To be answered in this turn.
    Asked(Box<Request>),
    /// The answer waits to be taken.
    Sending {
        /// Its length.
        bytes: usize,
        /// Since when.
        since: u64,
        /// Whether the connection lives on.
        keep_alive: bool,
    },
}

/// Takes a request that is for the API; false when it is not.
pub fn take(conn: &mut Conn, world: &mut World, request: &Request) -> bool {
    if world.api.doors.is_empty() {
        return false;
    }
    let Some(shared) = door(conn, world) else { return false };
    let ours = |path: &str| path == "/metrics" || path == "/api/v1" || path.starts_with("/api/v1/");
    if shared && !ours(&request.path) {
        return false;
    }
    if let Role::Http(peer) = &mut conn.role {
        peer.call(Errand::Asked(Box::new(request.clone())));
        world.actions.push_back(Action::Api(conn.id));
    }
    true
}

/// Whether the connection came in at a door of the API, and whether streams are served there too.
fn door(conn: &Conn, world: &World) -> Option<bool> {
    let here = conn.socket.local_addr().ok()?;
    let fits = |door: &&Door| {
        let any = door.at.ip().is_unspecified();
        door.at.port() == here.port() && (any || door.at.ip().to_canonical() == here.ip().to_canonical())
    };
    world.api.doors.iter().find(fits).map(|door| door.shared)
}

/// What there is to look at.
#[derive(Debug)]
pub struct View<'a> {
    /// The streams and what is counted.
    pub world: &'a World,
    /// All connections.
    pub conns: &'a Slots<Conn>,
}

/// What to do about a request.
#[derive(Debug)]
pub enum Deed {
    /// This is the answer.
    Reply(Reply),
    /// Disconnect the client of this number, then answer by [`kicked`].
    Kick(u64),
    /// Read the configuration again, then answer by [`reloaded`].
    Reload,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    content_type: &'static str,
    extra: &'static str,
    body: String,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

impl Reply {
    fn json(json: Json) -> Reply {
        Reply { status: 200, content_type: JSON, extra: "", body: json.finish() }
    }

    fn plain(status: u16, line: &str) -> Reply {
        Reply { status, content_type: TEXT, extra: "", body: format!("{line}\n") }
    }

    /// An error in SRS's way: status 200, and a code.
    fn fault(world: &World, code: u32, why: &str) -> Reply {
        let mut json = begin(world, code);
        json.text("message", why);
        Reply::json(json)
    }
}

/// What every answer begins with.
fn begin(world: &World, code: u32) -> Json {
    let mut json = Json::default();
    json.put("code", &code);
    json.text("server", &world.api.server);
    // A process is one service; SRS tells them apart for its own upgrades.
    json.text("service", &world.api.server);
    json.text("pid", &std::process::id().to_string());
    json
}

/// The value of a parameter of the query, as sent.
fn param<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Whether the client may ask, by name and password where those are wanted.
fn is_known(api: &HttpApi, request: &Request) -> bool {
    if !api.auth {
        return true;
    }
    let said = request.authorization.as_deref().unwrap_or_default();
    let (scheme, token) = said.split_once(' ').unwrap_or_default();
    let wanted =
        base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", api.username, api.password));
    let (token, wanted) = (token.trim().as_bytes(), wanted.as_bytes());
    // All bytes are looked at, so that the time tells nothing of how many are right.
    let differ =
        token.iter().zip(wanted).fold(token.len() ^ wanted.len(), |all, (a, b)| all | usize::from(a ^ b));
    scheme.eq_ignore_ascii_case("basic") && differ == 0
}

/// Whether pages of other hosts may ask by what they can embed (JSONP, `method=DELETE`). Not with a password: a browser that
/// knows it would lend it to every page.
fn is_open(api: &HttpApi) -> bool {
    api.crossdomain && !api.auth
}

/// Whether the request comes from this machine itself: from no proxy, and from no page of another host whose name was
/// made to point here.
fn is_local(peer: SocketAddr, request: &Request) -> bool {
    let host = request.host.as_deref().unwrap_or_default();
    let name =
        host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let plain = name.eq_ignore_ascii_case("localhost")
        || name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
    peer.ip().to_canonical().is_loopback() && request.forwarded.is_none() && plain
}

/// Finds the answer to a request from `peer`.
pub fn answer(view: &View<'_>, peer: SocketAddr, request: &Request) -> Deed {
    let api = &view.world.config.http_api;
    if request.method == Method::Options && api.crossdomain {
        let extra = "Allow: GET, HEAD, DELETE, OPTIONS\r\nAccess-Control-Max-Age: 86400\r\n";
        return Deed::Reply(Reply { status: 200, content_type: "", extra, body: String::new() });
    }
    if !is_known(api, request) {
        let mut reply = Reply::fault(view.world, code::ACCESS, "name and password are needed");
        (reply.status, reply.extra) = (401, "WWW-Authenticate: Basic realm=\"runnel\"\r\n");
        return Deed::Reply(reply);
    }
    let asked = param(&request.query, "method").filter(|_| is_open(api));
    let delete = match request.method {
        Method::Get | Method::Head => asked.is_some_and(|method| method.eq_ignore_ascii_case("delete")),
        Method::Delete => true,
        Method::Options | Method::Other => return Deed::Reply(not_so()),
    };
    let path = request.path.trim_end_matches('/');
    let below = path.strip_prefix("/api/v1").filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some(rest) = below else { return Deed::Reply(outside(view, path)) };
    let mut parts = rest.split('/').skip(1);
    let (name, id, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next().is_some());
    if more {
        return Deed::Reply(unknown());
    }
    if delete {
        return match (name, id) {
            ("clients", Some(id)) => control::kick(view.world, id),
            _ => Deed::Reply(not_so()),
        };
    }
    let reply = match (name, id) {
        ("vhosts", id) => lists::vhosts(view, id, &request.query),
        ("streams", id) => lists::streams(view, id, &request.query),
        ("clients", id) => lists::clients(view, id, &request.query),
        ("raw", None) => return control::raw(view.world, &request.query),
        ("logs", None) => logs(api, peer, request),
        ("tests", Some(what)) => tests(view.world, what, request),
        (name, None) => plain(view, name, request),
        _ => unknown(),
    };
    Deed::Reply(reply)
}

fn not_so() -> Reply {
    let mut reply = Reply::plain(405, "GET and HEAD are answered here, and DELETE for /api/v1/clients/ID");
    reply.extra = "Allow: GET, HEAD, DELETE, OPTIONS\r\n";
    reply
}

fn unknown() -> Reply {
    Reply::plain(404, "there is no such thing; /api/v1/ lists what there is")
}

/// What is not below `/api/v1`.
fn outside(view: &View<'_>, path: &str) -> Reply {
    let url = match path {
        "/metrics" => {
            let content_type = "text/plain; version=0.0.4; charset=utf-8";
            return Reply { status: 200, content_type, extra: "", body: metrics::text(view) };
        }
        "" => ("api", "the api root"),
        "/api" => ("v1", "the api version 1"),
        _ => return unknown(),
    };
    let mut json = begin(view.world, code::OK);
    json.open("urls");
    json.text(url.0, url.1);
    json.close();
    Reply::json(json)
}

/// What `/api/v1/` lists.
const URLS: [(&str, &str); 16] = [
    ("versions", "the version of the server"),
    ("summaries", "figures of the process and the machine at a glance"),
    ("rusages", "what the process has used"),
    ("self_proc_stats", "the process as the kernel sees it"),
    ("system_proc_stats", "the machine's processor time"),
    ("meminfos", "the machine's memory"),
    ("authors", "licence and authors"),
    ("features", "what this program can do"),
    ("requests", "this request, echoed"),
    ("vhosts", "vhosts, or vhosts/ID"),
    ("streams", "streams, or streams/ID"),
    ("clients", "publishers and viewers, or clients/ID; DELETE clients/ID disconnects"),
    ("raw", "raw?rpc=raw, reload or reload-fetch"),
    ("logs", "the newest lines of the log, logs?kb=64"),
    ("tests", "tests/requests, errors and redirects"),
    ("perf", "figures of the loop"),
];

/// What has no id.
fn plain(view: &View<'_>, name: &str, request: &Request) -> Reply {
    let world = view.world;
    let mut json = begin(world, code::OK);
    match name {
        "" => {
            json.open("urls");
            URLS.iter().for_each(|(name, about)| json.text(name, about));
            json.close();
        }
        "versions" => {
            json.open("data");
            let parts = ["major", "minor", "revision"];
            let numbers = env!("CARGO_PKG_VERSION").split(['.', '-', '+']);
            parts.iter().zip(numbers).for_each(|(part, number)| json.put(part, &number));
            json.text("version", env!("CARGO_PKG_VERSION"));
            json.close();
        }
        "authors" => {
            json.open("data");
            json.text("license", "MIT");
            json.text("contributors", "see the repository of runnel");
            json.close();
        }
        "features" => features(&mut json),
        "requests" => echo(&mut json, request),
        "summaries" => system::summaries(view, &mut json),
        "rusages" => system::rusages(world, &mut json),
        "self_proc_stats" => system::self_proc_stats(world, &mut json),
        "system_proc_stats" => system::system_proc_stats(world, &mut json),
        "meminfos" => system::meminfos(&mut json),
        "perf" => {
            json.open("data");
            json.put("turns", &world.api.turns);
            json.put("connections", &view.conns.len());
            json.put("media_bytes", &lists::kept(world));
            json.close();
        }
        _ => return unknown(),
    }
    Reply::json(json)
}

fn features(json: &mut Json) {
    json.open("data");
    json.text("options", "");
    json.text("options2", "");
    json.text("build", env!("CARGO_PKG_VERSION"));
    json.open("features");
    let yes = [
        "hls",
        "api",
        "httpd",
        "complex_send",
        "tcp_nodelay",
        "so_sendbuf",
        "mr",
        "dvr",
        "transcode",
        "ingest",
    ];
    let no = ["ssl", "hds", "callback", "caster"];
    yes.iter().for_each(|name| json.put(name, &true));
    no.iter().for_each(|name| json.put(name, &false));
    json.put("stat", &true);
    json.close();
    json.close();
}

/// The request, as far as it is kept; of its query only the parameters' names.
fn echo(json: &mut Json, request: &Request) {
    json.open("data");
    json.text("uri", &request.path);
    json.text("path", &request.path);
    json.text("METHOD", request.method.name());
    json.list("parameters");
    let pairs = request.query.split('&').filter(|pair| !pair.is_empty());
    pairs.for_each(|pair| json.entry(pair.split('=').next().unwrap_or_default()));
    json.end();
    json.open("headers");
    json.text("Host", request.host.as_deref().unwrap_or_default());
    json.text("User-Agent", request.user_agent.as_deref().unwrap_or_default());
    json.close();
    json.open("server");
    json.text("sigature", "runnel");
    json.text("version", env!("CARGO_PKG_VERSION"));
    json.text("link", env!("CARGO_PKG_NAME"));
    json.put("time", &clock::unix_ms());
    json.close();
    json.close();
}

fn tests(world: &World, what: &str, request: &Request) -> Reply {
    match what {
        "requests" => {
            let mut json = begin(world, code::OK);
            echo(&mut json, request);
            Reply::json(json)
        }
        "errors" => Reply::fault(world, code::TEST, "an error, as asked for"),
        "redirects" => {
            let mut reply = Reply::plain(302, "see /api/v1/tests/errors");
            reply.extra = "Location: /api/v1/tests/errors\r\n";
            reply
        }
        _ => unknown(),
    }
}

/// The log, to those who are on this machine or have a password: it tells who watches what.
fn logs(api: &HttpApi, peer: SocketAddr, request: &Request) -> Reply {
    if !api.auth && !is_local(peer, request) {
        let line = "the log is told on this machine only, or with a password: see `auth` of `http_api`";
        return Reply::plain(403, line);
    }
    let (usual, most) = LOG_KB;
    let kb = param(&request.query, "kb").map_or(Some(usual), |kb| kb.parse().ok());
    let Some(kb) = kb.filter(|kb| (1..=most).contains(kb)) else {
        return Reply::plain(400, &format!("kb is a number from 1 to {most}"));
    };
    Reply { status: 200, content_type: TEXT, extra: "", body: log::tail(kb << 10) }
}

impl Errand {
    /// When the connection runs out of time, and why.
    pub fn deadline(&self, patience: u64) -> (u64, &'static str) {
        match self {
            Errand::Asked(_) => (u64::MAX, ""),
            Errand::Sending { since, .. } => (since.saturating_add(patience), "it did not take the answer"),
        }
    }

    /// The connection goes, or has taken the answer.
    pub fn over(&self, world: &mut World) {
        if let Errand::Sending { bytes, .. } = self {
            world.api.waiting = world.api.waiting.saturating_sub(*bytes);
        }
    }
}

/// All bytes were written.
pub fn sent(conn: &mut Conn, world: &mut World) {
    let Role::Http(peer) = &mut conn.role else { return };
    let now = world.now;
    if let Some(errand) = peer.call_done(now) {
        errand.over(world);
        if matches!(errand, Errand::Sending { keep_alive: false, .. }) {
            conn.finish(world, "answered");
        }
    }
}

/// Where the client of a request is, for the log's sake and for rules.
pub fn whence(world: &World, conn: &Conn, request: &Request) -> SocketAddr {
    SocketAddr::new(client_ip(world, conn.peer.ip(), request.forwarded.as_deref()), conn.peer.port())
}

#[cfg(test)]
mod tests;
