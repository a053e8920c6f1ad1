//! The page in the program: its routes as a client sees them, and a person's way through it in a real browser.
use crate::support::http::Http;
use crate::support::proc::Proc;
use crate::support::server::Server;
use crate::support::{clips, e2e_dir, tools};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn server(http: &str) -> Server {
    Server::start(&format!(
        "listen 127.0.0.1:$RTMP;\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; {http} }}\n\
         vhost __defaultVhost__ {{\nhttp_remux {{ enabled on; no_stream 404; }}\n\
         hls {{ enabled on; hls_fragment 2; }}\npublish {{ resume_wait 5s; }}\n}}\n"
    ))
}

#[test]
fn a_person_finds_and_watches_a_stream_in_a_browser() {
    let server = server("");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(tools::node());
    command.arg(root.join("tests/web/site.mjs"));
    command.args(["--modules".into(), e2e_dir().join("web")]);
    command.args(["--base", &format!("http://127.0.0.1:{}/", server.http)]);
    command.args(["--rtmp", &format!("rtmp://127.0.0.1:{}", server.rtmp)]);
    command.args(["--clip".into(), clips::av(), "--other".into(), clips::other()]);
    command.args(["--mp3".into(), clips::mp3()]);
    command.args(["--shots".into(), e2e_dir(), "--source".into(), root.join("src/app/page")]);
    let mut page = Proc::spawn("site", server.dir(), command);
    page.success(Duration::from_secs(240));
    crate::support::note(&format!("page: {}", page.log().lines().last().unwrap_or_default()));
}

#[test]
fn the_page_is_asked_for_again_only_when_it_changed() {
    let server = server("");
    let mut http = Http::connect(server.http);
    http.get("/", "");
    let head = http.head();
    assert_eq!((head.status, head.get("cache-control")), (200, Some("no-cache")));
    let policy = head.get("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let body = http.body(&head);
    assert!(body.starts_with(b"<!doctype html>") && body.ends_with(b"</html>\n"));
    let tag = head.get("etag").unwrap().to_owned();
    http.get("/", &format!("If-None-Match: W/\"other\", {tag}\r\n"));
    let head = http.head();
    assert_eq!((head.status, head.get("etag"), head.get("content-length")), (304, Some(tag.as_str()), None));
    http.send("HEAD /runnel/page.js HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = http.head();
    assert_eq!((head.status, head.get("content-type")), (200, Some("text/javascript; charset=utf-8")));
    // Nothing of a body lies before the next answer, on the same connection.
    http.get("/runnel/streams.json", "Origin: http://elsewhere\r\n");
    let head = http.head();
    assert_eq!((head.status, head.get("access-control-allow-origin")), (200, None));
    assert!(String::from_utf8(http.body(&head)).unwrap().ends_with("\"streams\":[]}"));
}

/// Who takes gzip gets it so, all others the same page plain; neither is mistaken for the other in a cache.
#[test]
fn the_page_is_packed_for_who_takes_it_so() {
    let server = server("");
    let fetch = |more: &str| {
        let mut http = Http::connect(server.http);
        http.get("/runnel/page.js", more);
        let head = http.head();
        assert_eq!((head.status, head.get("vary")), (200, Some("Accept-Encoding")));
        (http.body(&head), head)
    };
    let ((plain, said), (packed, head)) = (fetch(""), fetch("Accept-Encoding: br, gzip\r\n"));
    assert_eq!(said.get("content-encoding"), None);
    assert_eq!(head.get("content-encoding"), Some("gzip"));
    assert_ne!(head.get("etag"), said.get("etag"));
    assert!(packed.len() * 2 < plain.len(), "{} and {} bytes", packed.len(), plain.len());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/app/page/page.js");
    let source = std::fs::read_to_string(source).unwrap();
    let mut lines = source.lines().map(str::trim);
    let text = String::from_utf8(plain.clone()).unwrap();
    assert!(
        text.lines().all(|line| lines.any(|of_source| of_source == line)),
        "lines of the source, in order"
    );
    let file = server.dir().join("page.js.gz");
    std::fs::write(&file, packed).unwrap();
    let unpacked = Command::new("gzip").args(["-dc"]).arg(&file).output().unwrap();
    assert!(unpacked.status.success() && unpacked.stdout == plain);
}

#[test]
fn page_off_leaves_one_line() {
    let server = server("page off;");
    for path in ["/", "/runnel/page.js", "/runnel/streams.json"] {
        let mut http = Http::connect(server.http);
        http.get(path, "");
        let head = http.head();
        let body = String::from_utf8(http.body(&head)).unwrap();
        assert_eq!((head.status, body.lines().count()), (404, 1), "{path}: {body}");
    }
}

#[test]
fn asking_for_pages_without_reading_them_costs_little() {
    let server = server("");
    let before = server.rss_kib();
    let mut http = Http::connect(server.http);
    http.socket.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let many = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000_000);
    // Requests wait unread while answers do, so not all are taken.
    assert!(std::io::Write::write_all(&mut http.socket, many.as_bytes()).is_err());
    let grown = server.rss_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB for one client");
    assert_eq!(http.head().status, 200, "what was taken is answered");
    drop(http);
    server.assert_idle();
}
