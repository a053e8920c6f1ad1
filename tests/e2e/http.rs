//! HTTP as clients really speak it: methods, versions, what follows on a connection, and how a response ends.
use crate::support::flv::{self, Tag};
use crate::support::http::{Http, Viewer};
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, usual_vhost};
use crate::support::{clips, poll};
use std::time::Duration;

const TAG: Duration = Duration::from_secs(10);

/// A server that does not wait for streams, and a stream `x` on it: its first half is there, the rest follows when
/// the test says so. It is sent at once, not in real time, which keeps these tests short.
struct Stage {
    server: Server,
    publisher: Rtmp,
    tags: Vec<Tag>,
    sent: usize,
}

impl Stage {
    fn new() -> Stage {
        let server = Server::vhost(&usual_vhost("resume_wait 0;").replace("no_stream wait", "no_stream 404"));
        let tags = flv::read(&clips::av());
        let mut publisher = Rtmp::publish(server.rtmp, "x");
        let sent = tags.len() / 2;
        publisher.send(&tags[..sent]);
        let stage = Stage { server, publisher, tags, sent };
        assert!(poll(TAG, || stage.status("GET /live/x.flv HTTP/1.0\r\n\r\n") == 200), "the stream is there");
        stage
    }

    fn status(&self, request: &str) -> u16 {
        let mut http = Http::connect(self.server.http);
        http.send(request);
        http.head().status
    }

    fn request(&self, request: &str) -> Http {
        let mut http = Http::connect(self.server.http);
        http.send(request);
        http
    }

    /// Sends the second half of the clip and ends the publication.
    fn finish(&mut self) {
        self.publisher.send(&self.tags[self.sent..]);
        self.publisher.unpublish("x");
    }

    /// Fails unless `tags` goes on without a gap to the last picture.
    fn assert_whole(&self, tags: &[Tag]) {
        flv::assert_run(tags, &self.tags, 8);
        flv::assert_run(tags, &self.tags, 9);
        let last = |tags: &[Tag]| tags.iter().rfind(|tag| tag.is_picture()).unwrap().data.clone();
        assert!(last(tags) == last(&self.tags), "the last picture arrives");
    }
}

#[test]
fn http_1_1_is_chunked() {
    let mut stage = Stage::new();
    let http = stage.request("GET /live/x.flv HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut viewer = Viewer::started(http);
    assert!(viewer.head.chunked(), "{:?}", viewer.head);
    assert!(viewer.head.line.starts_with("HTTP/1.1 200 "), "{:?}", viewer.head);
    let mut tags = viewer.until(TAG, Tag::is_key);
    stage.finish();
    tags.extend(viewer.rest(TAG));
    stage.assert_whole(&tags);
}

#[test]
fn http_1_0_is_not_chunked() {
    let mut stage = Stage::new();
    let http = stage.request("GET /live/x.flv HTTP/1.0\r\n\r\n");
    let mut viewer = Viewer::started(http);
    assert!(!viewer.head.chunked(), "{:?}", viewer.head);
    let mut tags = viewer.until(TAG, Tag::is_key);
    stage.finish();
    tags.extend(viewer.rest(TAG));
    stage.assert_whole(&tags);
}

#[test]
fn connection_close_is_not_chunked() {
    let mut stage = Stage::new();
    let http = stage.request("GET /live/x.flv HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut viewer = Viewer::started(http);
    assert!(!viewer.head.chunked(), "{:?}", viewer.head);
    assert!(viewer.head.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")));
    let mut tags = viewer.until(TAG, Tag::is_key);
    stage.finish();
    tags.extend(viewer.rest(TAG));
    stage.assert_whole(&tags);
    assert!(viewer.http.closed(TAG).is_empty(), "nothing follows");
}

#[test]
fn head_has_no_body() {
    let stage = Stage::new();
    let mut http = stage
        .request("HEAD /live/x.flv HTTP/1.1\r\nHost: a\r\n\r\nGET /live/no.flv HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = http.head();
    assert_eq!((head.status, head.get("content-type")), (200, Some("video/x-flv")));
    // What follows the head is the next response.
    let next = http.head();
    assert_eq!(next.status, 404, "{next:?}");
}

#[test]
fn preflight_is_answered() {
    let stage = Stage::new();
    let mut http = stage.request(
        "OPTIONS /live/x.flv HTTP/1.1\r\nHost: a\r\nOrigin: https://page.example\r\n\
         Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: range\r\n\
         Access-Control-Request-Private-Network: true\r\n\r\n",
    );
    let head = http.head();
    assert!(matches!(head.status, 200 | 204), "{head:?}");
    assert_eq!(head.get("access-control-allow-origin"), Some("*"));
    assert!(head.get("access-control-allow-methods").is_some_and(|value| value.contains("GET")), "{head:?}");
    let allowed = head.get("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
    assert!(allowed.contains("range"), "{head:?}");
    assert_eq!(head.get("access-control-allow-private-network"), Some("true"));
    assert!(http.body(&head).is_empty());
    // The same connection then serves the request itself.
    http.get("/live/x.flv", "Origin: https://page.example\r\n");
    let viewer = Viewer::started(http);
    assert_eq!(viewer.head.get("access-control-allow-origin"), Some("*"));
}

#[test]
fn crossdomain_off_says_nothing_of_origins() {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP; http_server { enabled on; listen 127.0.0.1:$HTTP; crossdomain off; }\n\
         vhost __defaultVhost__ { http_remux { enabled on; no_stream 404; } }",
    );
    let mut http = Http::connect(server.http);
    http.get("/live/x.flv", "Origin: https://page.example\r\n");
    let head = http.head();
    assert_eq!((head.status, head.get("access-control-allow-origin")), (404, None));
}

#[test]
fn a_404_leaves_the_connection_open() {
    let stage = Stage::new();
    let mut http = Http::connect(stage.server.http);
    for path in
        ["/live/nobody.flv", "/nowhere", "/live/x.flv/more", "/live/", "/live/x.ogg", "/%2e%2e/etc/passwd"]
    {
        http.get(path, "");
        let head = http.head();
        assert_eq!(head.status, 404, "{path}");
        let body = http.body(&head);
        assert!(
            body.len() > 1 && body.iter().filter(|byte| **byte == b'\n').count() == 1,
            "{path}: {body:?}"
        );
    }
    http.get("/live/x.flv", "");
    Viewer::started(http).until(TAG, Tag::is_key);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let stage = Stage::new();
    let line = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut http = stage.request(&(line("/live/nobody.flv") + &line("/nowhere") + &line("/live/x.flv")));
    for _ in 0..2 {
        let head = http.head();
        assert_eq!(head.status, 404);
        http.body(&head);
    }
    Viewer::started(http).until(TAG, Tag::is_key);
}

/// Bytes that a viewer sends during the stream do not disturb it.
#[test]
fn a_request_during_the_stream_does_not_disturb_it() {
    let mut stage = Stage::new();
    let mut viewer = Viewer::join(stage.server.http, "/live/x.flv");
    let mut tags = viewer.until(TAG, Tag::is_key);
    viewer.http.send("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    stage.finish();
    tags.extend(viewer.rest(TAG));
    stage.assert_whole(&tags);
}

#[test]
fn the_request_may_come_a_byte_at_a_time() {
    let stage = Stage::new();
    let mut http = Http::connect(stage.server.http);
    for byte in "GET /live/x.flv?token=a%20b HTTP/1.1\r\nHost: [::1]:8080\r\nRange: bytes=0-\r\n\r\n".bytes()
    {
        http.send([byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    // A range of a live stream is all of it: 200, not 206.
    Viewer::started(http).until(TAG, Tag::is_key);
}

#[test]
fn forms_of_the_address() {
    let stage = Stage::new();
    for target in ["/live/x.flv?a=b?c=d", "http://somewhere.example/live/x.flv", "/live/%78.flv"] {
        assert_eq!(stage.status(&format!("GET {target} HTTP/1.1\r\nHost: a:1\r\n\r\n")), 200, "{target}");
    }
}

#[test]
fn bad_requests_are_refused() {
    let stage = Stage::new();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(5000));
    let cases = [
        ("no method\r\n\r\n", 400..=400),
        ("GET / HTTP/3.7\r\n\r\n", 400..=505),
        (&long, 400..=431),
        (&many, 400..=431),
    ];
    for (request, expected) in cases {
        let mut http = Http::connect(stage.server.http);
        // The server may close before it has read everything.
        let _ = std::io::Write::write_all(&mut http.socket, request.as_bytes());
        let said = String::from_utf8_lossy(&http.closed(TAG)).into_owned();
        let status = said.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let start: String = request.chars().take(20).collect();
        // An empty answer is fine where the reset overtook it.
        assert!(said.is_empty() || expected.contains(&status), "{start:?}: {said:?}");
    }
    assert_eq!(stage.status("DELETE /live/x.flv HTTP/1.1\r\nHost: a\r\n\r\n"), 405);
    Viewer::join(stage.server.http, "/live/x.flv").until(TAG, Tag::is_key);
}

/// The messages of a WebSocket's bytes, up to the closing one: binary payloads, and whether the close came.
fn messages(mut bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut found = Vec::new();
    while let [first, len, rest @ ..] = bytes {
        let (len, rest) = match len {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            short => (usize::from(*short), rest),
        };
        match first {
            0x82 => found.push(rest[..len].to_vec()),
            0x8a => assert_eq!(&rest[..len], b"hi", "the answer to a ping"),
            0x88 => return (found, true),
            other => panic!("a message of type {other:#x}"),
        }
        bytes = &rest[len..];
    }
    (found, false)
}

/// FLV over a WebSocket: each message is the file header or one whole tag, a ping is answered, the end is a close.
#[test]
fn websocket_flv() {
    let server = Server::usual();
    let clip = clips::av();
    let mut http = Http::connect(server.http);
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    http.get("/live/x.flv", upgrade);
    let mut publish = crate::support::tools::Publisher::Ffmpeg5.publish(&server, &clip, "x");
    let head = http.head();
    assert_eq!(head.status, 101);
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    http.send([0x89, 0x82, 0, 0, 0, 0, b'h', b'i']);
    publish.success(Duration::from_secs(40));
    let (messages, closed) = messages(&http.closed(TAG));
    assert!(closed, "no closing message");
    assert_eq!(messages[0].len(), 13, "the first message is the file header");
    let mut parser = flv::Parser::default();
    messages.iter().for_each(|message| parser.push(message));
    let tags: Vec<Tag> = std::iter::from_fn(|| parser.next()).collect();
    assert_eq!(tags.len(), messages.len() - 1, "a message is a tag");
    let source = flv::read(&clip);
    for kind in [8, 9] {
        assert_eq!(flv::assert_run(&tags, &source, kind), 0, "from the first frame of type {kind}");
    }
}
