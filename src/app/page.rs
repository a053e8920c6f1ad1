//! The page for browsers: files that are part of the program, and the list of what is live.
//!
//! ```text
//!   /                       the page
//!   /runnel/…               its style sheet, its scripts and its icon
//!   /runnel/streams.json    what is live on the host that is asked for (`listing`)
//! ```
//!
//! The files lie beside this one; what is part of the program is each of them without its indentation and the comments
//! that have lines of their own, packed by gzip, as nearly every client takes it, and it is unpacked for who does not. A
//! test keeps the two equal.
//!
//! Paths are matched as a whole, so an app may be called `runnel`. The files carry an entity tag of their content and
//! are asked for anew each time, which costs an empty answer while they are the same. A policy lets the page run its
//! own scripts and reach its own server only. The list has no cross-origin headers: pages of other hosts may play a
//! stream that they know (`crossdomain`), but not look up which there are.

use super::conn::Conn;
use super::http::refuse;
use super::listing;
use super::world::World;
use crate::proto::http::request::{Method, Request};
use crate::proto::http::response::{Cors, Head, Length};
use crate::wire::inflate;
use std::borrow::Cow;

/// What every answer says besides.
const SAFE: &str = "X-Content-Type-Options: nosniff\r\nReferrer-Policy: same-origin\r\n";
/// What the page may do.
const POLICY: &str = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'self'; require-trusted-types-for 'script'\r\n";

/// Bytes of a file of the page at most.
const MAX_FILE: usize = 128 << 10;

/// A file in the program.
#[derive(Debug)]
struct File {
    path: &'static str,
    content_type: &'static str,
    packed: &'static [u8],
    tag: u64,
}

impl File {
    fn plain(&self) -> Vec<u8> {
        inflate::gunzip(self.packed, MAX_FILE).unwrap_or_default()
    }
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

static FILES: [File; 7] = [
    file("/", HTML, include_bytes!("page/index.html.gz")),
    file("/runnel/page.css", CSS, include_bytes!("page/page.css.gz")),
    file("/runnel/page.js", SCRIPT, include_bytes!("page/page.js.gz")),
    file("/runnel/player.js", SCRIPT, include_bytes!("page/player.js.gz")),
    file("/runnel/mp4.js", SCRIPT, include_bytes!("page/mp4.js.gz")),
    file("/runnel/qr.js", SCRIPT, include_bytes!("page/qr.js.gz")),
    file("/runnel/icon.svg", "image/svg+xml", include_bytes!("page/icon.svg.gz")),
];

const fn file(path: &'static str, content_type: &'static str, packed: &'static [u8]) -> File {
    File { path, content_type, packed, tag: fnv1a(packed) }
}

/// The FNV-1a hash of a file, as its entity tag.
const fn fnv1a(mut bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    while let Some((byte, rest)) = bytes.split_first() {
        hash = (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01b3);
        bytes = rest;
    }
    hash
}

/// Something that the page consists of.
#[derive(Debug, Clone, Copy)]
pub struct Resource(Kind);

#[derive(Debug, Clone, Copy)]
enum Kind {
    File(&'static File),
    Streams,
}

/// What a request asks for, if it is for the page and the page is on.
pub fn find(world: &World, request: &Request) -> Option<Resource> {
    if !world.config.http_server.page {
        return None;
    }
    let kind = match request.path.as_str() {
        "/runnel/streams.json" => Kind::Streams,
        path => Kind::File(FILES.iter().find(|file| file.path == path)?),
    };
    Some(Resource(kind))
}

/// Answers a GET or HEAD.
pub fn answer(conn: &mut Conn, world: &mut World, request: &Request, resource: Resource) {
    match resource.0 {
        Kind::File(file) => {
            let (coding, header) = if request.gzip { ("z", "Content-Encoding: gzip\r\n") } else { ("", "") };
            let tag = format!("\"{:016x}{coding}\"", file.tag);
            let same = request.conditions.knows(&tag);
            let policy = if file.content_type == HTML { POLICY } else { "" };
            let vary = "Cache-Control: no-cache\r\nVary: Accept-Encoding\r\n";
            let extra = format!("{vary}{header}ETag: {tag}\r\n{SAFE}{policy}");
            let body = if request.gzip { Cow::Borrowed(file.packed) } else { Cow::Owned(file.plain()) };
            send(conn, world, request, file.content_type, &extra, (!same).then_some(&body));
        }
        Kind::Streams => match listing::json(world, request.host.as_deref(), &request.query) {
            Ok(body) => {
                let extra = format!("Cache-Control: no-store\r\n{SAFE}");
                send(conn, world, request, "application/json", &extra, Some(body.as_bytes()));
            }
            Err((status, why)) => refuse(conn, world, request, Cors::No, status, &why),
        },
    }
}

/// Sends `body`, or without one that the client's copy is good still.
fn send(
    conn: &mut Conn,
    world: &mut World,
    request: &Request,
    content_type: &str,
    extra: &str,
    body: Option<&[u8]>,
) {
    let keep_alive = request.keep_alive;
    let head = |status, content_type, length| Head {
        status,
        content_type,
        length,
        keep_alive,
        cors: Cors::No,
        extra,
    };
    let out = conn.out.buffer();
    match body {
        Some(body) => {
            head(200, content_type, Length::Known(body.len() as u64)).write(out);
            if request.method == Method::Get {
                out.extend_from_slice(body);
            }
        }
        // An answer of this status has no body and needs no length.
        None => head(304, "", Length::ToClose).write(out),
    }
    if !keep_alive {
        conn.finish(world, "answered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::Config;
    use crate::proto::http::request::Requests;
    use crate::wire::testing::pack;
    use std::rc::Rc;

    fn world(page: bool) -> World {
        let mut config = Config::default();
        config.http_server.page = page;
        World::new(Rc::new(config))
    }

    fn get(path: &str) -> Request {
        let text = format!("GET {path} HTTP/1.1\r\nHost: cam.lan\r\n\r\n");
        Requests::default().feed(&mut text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn the_page_has_its_paths_and_no_others() {
        let world = world(true);
        for path in ["/", "/?x=1", "/runnel/page.js", "/runnel/page.css", "/runnel/streams.json?vhost=a"] {
            assert!(find(&world, &get(path)).is_some(), "{path}");
        }
        for path in ["/runnel", "/runnel/", "/runnel/x.flv", "/page.js", "//", "/index.html", "/runnel/../"] {
            assert!(find(&world, &get(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn page_off_hides_it() {
        let world = world(false);
        for path in FILES.iter().map(|file| file.path).chain(["/runnel/streams.json"]) {
            assert!(find(&world, &get(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let text = |file: &File| String::from_utf8(file.plain()).unwrap();
        let all: String = FILES.iter().map(text).collect();
        for file in &FILES {
            let name = file.path.rsplit('/').next().unwrap();
            assert!(name.is_empty() || all.contains(&format!("/{name}\"")), "{name} is used by nothing");
            let foreign = text(file).contains("http://") || text(file).contains("https://");
            assert!(
                !foreign || file.path.ends_with(".svg") || file.path.ends_with("page.js"),
                "{}",
                file.path
            );
        }
        let size: usize = FILES.iter().map(|file| file.packed.len()).sum();
        assert!(size < 24_000, "{size} bytes");
    }

    /// What a browser needs of a file: all but indentation, empty lines, and comments that have lines of their own.
    fn lean(name: &str, text: &str) -> String {
        let mut out = String::new();
        let mut lines = text.lines().map(str::trim);
        let script = name.ends_with(".js") || name.ends_with(".css");
        while let Some(line) = lines.next() {
            if script && line.starts_with("/*") {
                let end = std::iter::once(line).chain(lines.by_ref()).find(|line| line.contains("*/"));
                assert!(
                    end.is_some_and(|line| line.ends_with("*/")),
                    "{name}: code behind a comment: {line}"
                );
            } else if !(line.is_empty() || script && line.starts_with("//")) {
                assert!(line.matches('`').count() % 2 == 0, "{name}: a text of several lines: {line}");
                out.push_str(line);
                out.push('\n');
            }
        }
        out
    }

    /// With `RUNNEL_UPDATE=1` it packs them anew.
    #[test]
    fn what_is_packed_is_what_is_written() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/app/page");
        for file in &FILES {
            let name = file.path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("index.html");
            let written = lean(name, &std::fs::read_to_string(dir.join(name)).unwrap());
            if std::env::var_os("RUNNEL_UPDATE").is_some() {
                pack(&dir.join(format!("{name}.gz")), &written);
                continue;
            }
            let same = file.plain() == written.as_bytes();
            assert!(same, "{name}: run RUNNEL_UPDATE=1 cargo test --lib page");
            assert!(written.len() < MAX_FILE && file.packed.ends_with(&(written.len() as u32).to_le_bytes()));
        }
    }

    #[test]
    fn every_file_has_a_tag_of_its_own() {
        let mut tags: Vec<u64> = FILES.iter().map(|file| file.tag).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), FILES.len());
    }
}
