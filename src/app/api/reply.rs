//! How an answer is sent.

use super::{Errand, JSON, MAX_CALLBACK, MAX_WAITING, Reply, SMALL, is_open, param};
use crate::app::conn::{Conn, Role};
use crate::app::http::note_answer;
use crate::app::world::World;
use crate::proto::http::request::{Method, Request};
use crate::proto::http::response::{Cors, Head, Length};

/// Whether a JSONP function may be called so.
pub(super) fn is_function(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.');
    (1..=MAX_CALLBACK).contains(&name.len())
        && name.chars().all(fits)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Writes an answer, which the connection then has to take before it asks on.
pub fn write(conn: &mut Conn, world: &mut World, request: &Request, mut reply: Reply) {
    let api = &world.config.http_api;
    let cors = match (api.crossdomain, request.origin, request.private_network) {
        (true, true, true) => Cors::PrivateNetwork,
        (true, true, false) => Cors::Any,
        _ => Cors::No,
    };
    let function = param(&request.query, "callback").filter(|_| is_open(api) && reply.content_type == JSON);
    match function.map(|name| (name, is_function(name))) {
        Some((name, true)) => {
            reply.content_type = "text/javascript; charset=utf-8";
            reply.body = format!("{name}({})", reply.body);
        }
        Some((_, false)) => reply = Reply::plain(400, "callback is the name of a function"),
        None => {}
    }
    let small = reply.body.len() <= SMALL;
    if !small && world.api.waiting.saturating_add(reply.body.len()) > MAX_WAITING {
        reply = Reply::plain(503, "too many answers wait to be taken: ask again later");
    }
    let before = conn.out.len();
    let out = conn.out.buffer();
    let extra = format!("Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{}", reply.extra);
    let (length, keep_alive) = (Length::Known(reply.body.len() as u64), request.keep_alive);
    let head = Head {
        status: reply.status,
        content_type: reply.content_type,
        length,
        keep_alive,
        cors,
        extra: &extra,
    };
    head.write(out);
    if request.method != Method::Head {
        out.extend_from_slice(reply.body.as_bytes());
    }
    note_answer(conn, request, before);
    let bytes = conn.out.len().saturating_sub(before);
    world.api.waiting = world.api.waiting.saturating_add(bytes);
    if let Role::Http(peer) = &mut conn.role {
        peer.call(Errand::Sending { bytes, since: world.now, keep_alive });
    }
    world.mark(conn);
}
