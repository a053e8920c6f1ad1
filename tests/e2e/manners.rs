//! How HTTP is spoken, whatever is asked for: connections that stay, addresses as a CDN writes them, errors that nobody
//! keeps.
use crate::files::{ask, serving};
use crate::support::flv::{self, Tag};
use crate::support::http::{Http, Viewer};
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, free_port};
use crate::support::{clips, poll};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn questions_to_the_api_may_come_before_the_answers() {
    let api = free_port();
    let server = Server::start(&format!(
        "listen 127.0.0.1:$RTMP; http_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         http_api {{ enabled on; listen 127.0.0.1:{api}; }} vhost __defaultVhost__ {{ }}"
    ));
    let mut http = Http::connect(api);
    let asked = [
        ("versions", 200, "\"major\""),
        ("streams/", 200, "\"streams\""),
        ("none", 404, ""),
        ("clients/", 200, "\"clients\""),
        ("summaries", 200, "\"self\""),
        ("versions", 200, "\"major\""),
    ];
    let request = |(name, ..): &(&str, u16, &str)| format!("GET /api/v1/{name} HTTP/1.1\r\nHost: a\r\n\r\n");
    http.send(asked.iter().map(request).collect::<String>());
    for (name, status, part) in asked {
        let head = http.head();
        let body = String::from_utf8(http.body(&head)).unwrap();
        assert_eq!((head.status, head.get("connection")), (status, Some("keep-alive")), "{name}");
        assert!(body.contains(part), "{name}: {body}");
    }
    drop(http);
    server.assert_idle();
}

/// `/flv/ID.flv`, as Gcore's origins have it: no app in the path.
#[test]
fn a_cdn_may_ask_for_streams_by_its_own_addresses() {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP; http_server { enabled on; listen 127.0.0.1:$HTTP; }\n\
         vhost __defaultVhost__ { http_remux { enabled on; mount [vhost]/flv/[stream].flv; no_stream 404; } }",
    );
    let tags = flv::read(&clips::av());
    let mut publisher = Rtmp::publish(server.rtmp, "8143");
    publisher.send(&tags);
    let status = |path: &str| {
        let mut http = Http::connect(server.http);
        http.get(path, "");
        http.head()
    };
    assert!(poll(LIMIT, || status("/flv/8143.flv").status == 200), "the stream");
    for (path, right) in
        [("/flv/8143.flv", 200), ("/flv/8144.flv", 404), ("/live/8143.flv", 404), ("/flv/8143.ts", 404)]
    {
        let head = status(path);
        let kept = head.get("cache-control").is_none_or(|words| !words.contains("no-store"));
        assert_eq!((head.status, kept), (right, false), "{path}");
    }
    let mut viewer = Viewer::join(server.http, "/flv/8143.flv?only_video=1");
    let seen = viewer.until(LIMIT, Tag::is_key);
    assert!(seen.iter().all(|tag| tag.kind != 8), "pictures alone");
    publisher.unpublish("8143");
}

/// A status that a cache would keep by itself says that it is not to be kept.
#[test]
fn errors_are_one_line_and_kept_by_nobody() {
    let (server, html) = serving();
    std::fs::write(html.join("a.mp4"), "no film").unwrap();
    std::fs::create_dir(html.join("dir")).unwrap();
    let long = format!("/{}", "a".repeat(3000));
    for (method, path, more, status) in [
        ("GET", "/none", "", 404),
        ("GET", "/.hidden", "", 403),
        ("GET", "/a%00", "", 400),
        ("GET", "/a.mp4?start=5", "", 415),
        ("GET", "/a.mp4", "Range: bytes=7-\r\n", 416),
        ("GET", "/a.mp4", "If-Match: \"x\"\r\n", 412),
        ("POST", "/a.mp4", "Content-Length: 0\r\n", 405),
        ("POST", "/a.mp4", "Content-Length: 100000000\r\n", 413),
        ("GET", &long, "", 414),
        ("GET", "/a.mp4", &format!("X: {}\r\n", "a".repeat(20_000)), 431),
    ] {
        let mut http = Http::connect(server.http);
        http.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n"));
        let head = http.head();
        let body = String::from_utf8(http.body(&head)).unwrap();
        assert_eq!((head.status, head.get("cache-control")), (status, Some("no-store")), "{path} {status}");
        assert!(body.len() > 5 && body.ends_with('\n') && body.lines().count() == 1, "{status}: {body:?}");
    }
    let (head, _) = ask(&mut Http::connect(server.http), "/dir", "");
    assert_eq!((head.status, head.get("cache-control")), (301, Some("no-cache")));
}
