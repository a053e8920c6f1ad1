//! Files over HTTP: ranges, conditions, hostile paths, files that change, seeking, and that no disk holds up a live
//! stream.
use crate::support::flv::{self, Parser, Tag};
use crate::support::http::{Head, Http, Viewer};
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, free_port};
use crate::support::{clips, note, poll, tools};
use runnel::net::disk::{Disk, Found, Local, Pipe};
use runnel::net::quick::Quick;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
const GIB: u64 = 1 << 30;

/// A server whose directory `html` is served, and that directory.
pub(crate) fn serving() -> (Server, PathBuf) {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP;\n\
         http_server { enabled on; listen 127.0.0.1:$HTTP; dir ./html; }\n\
         vhost __defaultVhost__ { http_remux { enabled on; no_stream 404; } publish { resume_wait 0; } }\n\
         vhost vod.lan { http_static { enabled on; mount [vhost]/rec/; dir ./recordings; } }",
    );
    let html = server.dir().join("html");
    std::fs::create_dir(&html).unwrap();
    (server, html)
}

pub(crate) fn ask(http: &mut Http, path: &str, more: &str) -> (Head, Vec<u8>) {
    http.get(path, more);
    let head = http.head();
    // 304 has no body, and no length.
    let body = if head.status == 304 { Vec::new() } else { http.body(&head) };
    (head, body)
}

/// Bytes that differ everywhere, so that a shift is seen.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn parts_of_a_file_on_one_connection() {
    let (server, html) = serving();
    let data = pattern(1_000_000);
    std::fs::write(html.join("a.mp4"), &data).unwrap();
    let mut http = Http::connect(server.http);
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=131071-131072", 131_071, 131_072),
        ("bytes=999999-", 999_999, 999_999),
        ("bytes=-300000", 700_000, 999_999),
        ("bytes=5-400000,400001-500000", 5, 500_000),
        ("bytes=0-99999999999999999999", 0, 999_999),
    ] {
        let (head, body) = ask(&mut http, "/a.mp4", &format!("Range: {range}\r\nOrigin: http://x\r\n"));
        assert_eq!(head.status, 206, "{range}");
        assert_eq!(
            head.get("content-range"),
            Some(format!("bytes {first}-{last}/1000000").as_str()),
            "{range}"
        );
        assert!(body == data[first..=last], "{range}");
        assert_eq!((head.get("content-type"), head.get("accept-ranges")), (Some("video/mp4"), Some("bytes")));
        let exposed = head.get("access-control-expose-headers").unwrap_or_default();
        assert!(exposed.contains("Content-Range"), "{exposed}");
    }
    for range in ["bytes=0-1,9-10", "bytes=x", "lines=1-2", "bytes=5-1"] {
        let (head, body) = ask(&mut http, "/a.mp4", &format!("Range: {range}\r\n"));
        assert_eq!((head.status, body == data), (200, true), "{range}");
    }
    for range in ["bytes=1000000-", "bytes=-0"] {
        let (head, _) = ask(&mut http, "/a.mp4", &format!("Range: {range}\r\n"));
        assert_eq!((head.status, head.get("content-range")), (416, Some("bytes */1000000")), "{range}");
        assert_eq!(head.get("cache-control"), Some("no-store"), "{range}");
    }
    http.send("HEAD /a.mp4 HTTP/1.1\r\nHost: a\r\nRange: bytes=10-19\r\n\r\n");
    let head = http.head();
    assert_eq!((head.status, head.get("content-length")), (206, Some("10")));
    let (head, body) = ask(&mut http, "/a.mp4", "Connection: close\r\n");
    assert_eq!((head.status, body.len(), head.get("connection")), (200, data.len(), Some("close")));
    assert!(http.closed(LIMIT).is_empty());
}

#[test]
fn who_has_the_file_gets_304_and_a_stale_range_gets_all() {
    let (server, html) = serving();
    std::fs::write(html.join("a.ts"), "0123456789").unwrap();
    let mut http = Http::connect(server.http);
    let (head, _) = ask(&mut http, "/a.ts", "");
    let (etag, modified) =
        (head.get("etag").unwrap().to_owned(), head.get("last-modified").unwrap().to_owned());
    for condition in [format!("If-None-Match: {etag}"), format!("If-Modified-Since: {modified}")] {
        let (head, _) = ask(&mut http, "/a.ts", &format!("{condition}\r\n"));
        assert_eq!((head.status, head.get("etag")), (304, Some(etag.as_str())), "{condition}");
    }
    let (head, body) = ask(&mut http, "/a.ts", &format!("Range: bytes=2-3\r\nIf-Range: {etag}\r\n"));
    assert_eq!((head.status, body.as_slice()), (206, &b"23"[..]));
    std::fs::write(html.join("a.ts"), "abcdefghij!").unwrap();
    let (head, body) = ask(&mut http, "/a.ts", &format!("Range: bytes=2-3\r\nIf-Range: {etag}\r\n"));
    assert_eq!((head.status, body.as_slice()), (200, &b"abcdefghij!"[..]));
    let (head, _) = ask(&mut http, "/a.ts", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!(head.status, 200);
    let (head, _) = ask(&mut http, "/a.ts", &format!("If-Match: {etag}\r\n"));
    assert_eq!(head.status, 412);
}

#[test]
fn a_file_of_five_gigabytes() {
    let (server, html) = serving();
    let file = File::create(html.join("big.mp4")).unwrap();
    file.set_len(5 * GIB).unwrap();
    file.write_all_at(b"beyond", 4 * GIB - 3).unwrap();
    file.write_all_at(b"end", 5 * GIB - 3).unwrap();
    let mut http = Http::connect(server.http);
    let (head, body) = ask(&mut http, "/big.mp4", "Range: bytes=4294967293-4294967298\r\n");
    assert_eq!((head.status, body.as_slice()), (206, &b"beyond"[..]));
    assert_eq!(head.get("content-range"), Some("bytes 4294967293-4294967298/5368709120"));
    let (_, body) = ask(&mut http, "/big.mp4", "Range: bytes=-4\r\n");
    assert_eq!(body, b"\0end");
    http.send("HEAD /big.mp4 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(http.head().get("content-length"), Some("5368709120"));
    // With curl, across the place where 32 bits end.
    let out = Command::new("curl")
        .args(["--silent", "--fail", "--range", "4294900000-4295000000", "--write-out", "%{http_code}"])
        .args(["--output", "part", &format!("http://127.0.0.1:{}/big.mp4", server.http)])
        .current_dir(server.dir())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "206");
    let part = std::fs::read(server.dir().join("part")).unwrap();
    assert_eq!((part.len(), &part[67_293..67_299]), (100_001, &b"beyond"[..]));
}

#[test]
fn nothing_outside_is_served() {
    let (server, html) = serving();
    std::fs::write(server.dir().join("secret"), "secret").unwrap();
    std::fs::create_dir_all(html.join("sub/.git")).unwrap();
    for file in ["in", ".hidden", "sub/.git/config", "sub/x"] {
        std::fs::write(html.join(file), "inside").unwrap();
    }
    symlink("../secret", html.join("up")).unwrap();
    symlink(server.dir().join("secret"), html.join("absolute")).unwrap();
    symlink("/etc", html.join("etc")).unwrap();
    symlink("sub/x", html.join("link")).unwrap();
    let pipe = Command::new("mkfifo").arg(html.join("pipe")).status().unwrap();
    assert!(pipe.success());
    let mut http = Http::connect(server.http);
    for (path, status) in [
        ("/../secret", 403),
        ("/%2e%2e/secret", 403),
        ("/sub/../../secret", 403),
        ("/sub/..%2f..%2fsecret", 403),
        ("/..%5csecret", 400),
        ("/in%00.txt", 400),
        ("/%c0%ae%c0%ae/secret", 400),
        ("/up", 403),
        ("/absolute", 403),
        ("/etc/passwd", 403),
        ("/pipe", 403),
        ("/.hidden", 403),
        ("/sub/.git/config", 403),
        ("/sub/", 404),
        ("/no/such", 404),
        ("/in/below", 404),
        ("/in", 200),
        ("/link", 200),
        ("//in", 200),
        ("/sub/%78", 200),
    ] {
        let (head, body) = ask(&mut http, path, "");
        assert_eq!(head.status, status, "{path}");
        assert!(status != 200 || body == b"inside", "{path}");
        assert!(!body.windows(6).any(|part| part == b"secret"), "{path}");
    }
    let (head, _) = ask(&mut http, &format!("/{}", "a".repeat(2000)), "");
    assert_eq!(head.status, 414);
    let (head, _) = ask(&mut http, &format!("/{}", "a".repeat(10_000)), "");
    assert_eq!(head.status, 414);
    assert!(http.closed(LIMIT).is_empty());
    let mut http = Http::connect(server.http);
    http.send("POST /in HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    let head = http.head();
    assert_eq!((head.status, head.get("allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn directories_hosts_and_live_streams_each_have_their_place() {
    let (server, html) = serving();
    std::fs::create_dir(html.join("page")).unwrap();
    std::fs::write(html.join("page/index.html"), "a page").unwrap();
    std::fs::create_dir(server.dir().join("recordings")).unwrap();
    std::fs::write(server.dir().join("recordings/r.txt"), "a recording").unwrap();
    let mut http = Http::connect(server.http);
    let (head, _) = ask(&mut http, "/page?a=1", "");
    assert_eq!((head.status, head.get("location")), (301, Some("/page/?a=1")));
    let (head, _) = ask(&mut http, "//page", "");
    assert_eq!(head.get("location"), Some("/page/"), "never another host");
    let (head, body) = ask(&mut http, "/page/", "");
    assert_eq!(
        (head.get("content-type"), body.as_slice()),
        (Some("text/html; charset=utf-8"), &b"a page"[..])
    );
    assert_eq!(ask(&mut http, "/rec/r.txt", "").0.status, 404, "another host's");
    http.send("GET http://vod.lan/rec/r.txt HTTP/1.1\r\nHost: other\r\n\r\n");
    let head = http.head();
    assert_eq!((head.status, http.body(&head).as_slice()), (200, &b"a recording"[..]));
    // A file where a stream could be: while the stream is live it comes first.
    std::fs::create_dir(html.join("live")).unwrap();
    std::fs::write(html.join("live/x.flv"), "a file").unwrap();
    assert_eq!(ask(&mut http, "/live/x.flv", "").1, b"a file");
    assert_eq!(ask(&mut http, "/live/y.flv", "").0.status, 404);
    let tags = flv::read(&clips::av());
    let mut publisher = Rtmp::publish(server.rtmp, "x");
    publisher.send(&tags);
    let live = || {
        let mut http = Http::connect(server.http);
        http.get("/live/x.flv", "");
        http.head().chunked()
    };
    assert!(poll(LIMIT, live), "the stream");
    publisher.unpublish("x");
    assert!(poll(LIMIT, || !live()), "the file again");
}

#[test]
fn pipelined_requests_for_files_are_answered_in_order() {
    let (server, html) = serving();
    let big = pattern(3_000_000);
    std::fs::write(html.join("big"), &big).unwrap();
    std::fs::write(html.join("small"), "small").unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = "HEAD /big HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut all = String::new();
    for _ in 0..20 {
        all += &[get("/small"), get("/big"), head.to_owned(), get("/none"), get("/small")].concat();
    }
    let mut http = Http::connect(server.http);
    http.send(&all);
    for round in 0..20 {
        let mut next = |status: u16, with_body: bool| {
            let head = http.head();
            assert_eq!(head.status, status, "round {round}");
            if with_body { http.body(&head) } else { Vec::new() }
        };
        assert_eq!(next(200, true), b"small");
        assert!(next(200, true) == big);
        next(200, false);
        next(404, true);
        assert_eq!(next(200, true), b"small");
    }
    // A flood whose answers nobody reads stays where it is, and harms nobody.
    let before = server.rss_kib();
    let mut flood = Http::connect(server.http);
    flood.socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let requests = get("/none").repeat(1000);
    let sent = (0..1000).take_while(|_| flood.socket.write_all(requests.as_bytes()).is_ok()).count();
    let grown = server.rss_kib().saturating_sub(before);
    assert!(sent < 1000 && grown < 8 << 10, "{sent} thousand requests taken, {grown} KiB more");
    assert_eq!(ask(&mut Http::connect(server.http), "/small", "").1, b"small");
}

#[test]
fn a_half_closed_client_and_an_old_one_get_all() {
    let (server, html) = serving();
    let data = pattern(2_000_000);
    std::fs::write(html.join("a"), &data).unwrap();
    for request in ["GET /a HTTP/1.0\r\n\r\n", "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"] {
        let mut http = Http::connect(server.http);
        http.send(request);
        http.socket.shutdown(std::net::Shutdown::Write).unwrap();
        let head = http.head();
        assert!(http.body(&head) == data);
        assert!(http.closed(LIMIT).is_empty());
    }
    let mut http = Http::connect(server.http);
    http.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let head = http.head();
    assert_eq!((head.get("connection"), http.body(&head).len()), (Some("keep-alive"), data.len()));
}

#[test]
fn a_file_that_grows_or_shrinks_while_it_is_sent() {
    let (server, html) = serving();
    let path = html.join("rec.flv");
    let data = pattern(40_000_000);
    std::fs::write(&path, &data).unwrap();
    // The client has taken the head only; the kernel's buffers are full, and most is still to be read.
    let mut slow = Http::connect(server.http);
    slow.get("/rec.flv", "");
    let head = slow.head();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"more").unwrap();
    assert_eq!(head.get("content-length"), Some("40000000"));
    assert!(slow.body(&head) == data, "as long as it was when it was asked for");
    let (head, body) = ask(&mut slow, "/rec.flv", "Range: bytes=40000000-\r\n");
    assert_eq!((head.status, body.as_slice()), (206, &b"more"[..]));
    let mut slow = Http::connect(server.http);
    slow.get("/rec.flv", "");
    slow.head();
    File::options().write(true).open(&path).unwrap().set_len(100_000).unwrap();
    let got = slow.closed(LIMIT);
    assert!(got.len() < data.len(), "the promised length cannot be kept, so the connection ends");
    assert!(poll(LIMIT, || server.log().contains("become shorter")), "{}", server.log());
}

#[test]
fn a_playlist_that_is_replaced_is_always_whole() {
    let (server, html) = serving();
    let text = |n: usize| format!("#EXTM3U\n{}\n", n.to_string().repeat(2000));
    let path = html.join("live.m3u8");
    std::fs::write(&path, text(0)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1.. {
                let new = html.join("new");
                std::fs::write(&new, text(n % 10)).unwrap();
                std::fs::rename(&new, &path).unwrap();
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let mut http = Http::connect(server.http);
        for _ in 0..300 {
            let (head, body) = ask(&mut http, "/live.m3u8", "");
            assert_eq!((head.status, head.get("cache-control")), (200, Some("no-cache")));
            assert_eq!(head.get("content-type"), Some("application/vnd.apple.mpegurl"));
            let body = String::from_utf8(body).unwrap();
            assert!((0..10).any(|n| body == text(n)), "{body:.40}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// The tags of an FLV response.
pub(crate) fn tags(body: &[u8]) -> Vec<Tag> {
    let mut parser = Parser::default();
    parser.push(body);
    let tags = std::iter::from_fn(|| parser.next()).collect();
    assert_eq!(parser.left(), 0, "it ends with a whole tag");
    tags
}

#[test]
fn an_flv_file_begins_where_it_is_asked_to() {
    let (server, html) = serving();
    let bytes = std::fs::read(clips::av()).unwrap();
    std::fs::write(html.join("a.flv"), &bytes).unwrap();
    std::fs::write(html.join("not.flv"), "no video at all").unwrap();
    let whole = flv::read(&clips::av());
    let mut http = Http::connect(server.http);
    let mut begin = |query: &str| {
        let (head, body) = ask(&mut http, &format!("/a.flv?{query}"), "");
        assert_eq!((head.status, head.get("content-type")), (200, Some("video/x-flv")), "{query}");
        let tags = tags(&body);
        let (headers, frames): (Vec<_>, Vec<_>) = tags.into_iter().partition(|tag| !tag.is_frame());
        assert!(frames[0].is_key(), "{query}");
        assert!(
            headers.iter().any(Tag::is_video_header) && headers.iter().any(Tag::is_audio_header),
            "{query}"
        );
        let all: Vec<_> = whole.iter().filter(|tag| tag.is_frame()).cloned().collect();
        assert!(all.ends_with(&frames), "{query}: all from there on");
        frames[0].ts
    };
    let first = whole.iter().find(|tag| tag.is_frame()).unwrap().ts;
    for (seconds, wanted) in [("0.5", 0), ("1.99", 0), ("2", 2), ("5.9", 4), ("6.1", 6), ("600", 6)] {
        let at = (begin(&format!("start_time={seconds}")) - first).div_ceil(1000);
        // A frame's time is late by the delay of B-frames at most.
        assert!((wanted..=wanted + 1).contains(&at), "start_time={seconds}: {at}");
    }
    let half = bytes.len() / 2;
    let at = begin(&format!("start={half}"));
    assert!((1500..6500).contains(&at), "{at}");
    assert_eq!(begin("start=99999999999"), begin("start_time=600"));
    let (_, body) = ask(&mut http, "/a.flv?start=0", "");
    assert!(body == bytes);
    let (head, body) = ask(&mut http, &format!("/a.flv?start={half}"), "Range: bytes=0-2\r\n");
    assert_eq!((head.status, body.as_slice()), (206, &b"FLV"[..]));
    // A range across the place where the headers end and the file begins.
    let (_, all) = ask(&mut http, &format!("/a.flv?start={half}"), "");
    let (_, part) = ask(&mut http, &format!("/a.flv?start={half}"), "Range: bytes=10-5000\r\n");
    assert!(part == all[10..=5000]);
    assert_eq!(ask(&mut http, "/not.flv?start=5", "").0.status, 415);
    assert_eq!(ask(&mut http, "/not.flv", "").0.status, 200);
}

#[test]
fn ffmpeg_seeks_in_an_mp4_over_http() {
    let (server, html) = serving();
    let run = |arguments: &[&str]| {
        let out = Command::new(tools::ffmpeg())
            .args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y"])
            .args(arguments)
            .current_dir(server.dir())
            .output()
            .unwrap();
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    };
    let clip = clips::heavy();
    // The index is at the end: it cannot be played without ranges.
    run(&["-i", clip.to_str().unwrap(), "-c", "copy", html.join("v.mp4").to_str().unwrap()]);
    let url = format!("http://127.0.0.1:{}/v.mp4", server.http);
    let frame = |input: &str, at: &str| {
        run(&["-ss", at, "-i", input, "-frames:v", "3", "-an", "-f", "framemd5", "-"])
    };
    for at in ["0", "7.5", "19"] {
        let local = frame(html.join("v.mp4").to_str().unwrap(), at);
        assert!(local.len() > 100 && frame(&url, at) == local, "at {at} s");
    }
}

fn status(port: u16, path: &str) -> u16 {
    let mut http = Http::connect(port);
    http.get(path, "");
    http.head().status
}

/// Publishes a clip in real time, again and again, until it is told to stop.
fn publish_live(port: u16, stop: &AtomicBool) {
    let tags = flv::read(&clips::av());
    let mut publisher = Rtmp::publish(port, "x");
    let (started, mut base) = (Instant::now(), 0);
    loop {
        for tag in &tags {
            let due = Duration::from_millis(u64::from(base + tag.ts));
            std::thread::sleep(due.saturating_sub(started.elapsed()));
            publisher.send(&[Tag { ts: base + tag.ts, ..tag.clone() }]);
            if stop.load(Ordering::Relaxed) {
                return publisher.unpublish("x");
            }
        }
        base += 8000;
    }
}

/// The longest time without a frame for a viewer of the live stream, while `during` runs.
pub(crate) fn longest_gap(rtmp: u16, http: u16, during: impl FnOnce()) -> Duration {
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| publish_live(rtmp, &stop));
        let (playing, started) = mpsc::channel();
        let viewer = scope.spawn(|| {
            let playing = playing;
            assert!(poll(LIMIT, || status(http, "/live/x.flv") == 200), "the stream");
            let mut viewer = Viewer::join(http, "/live/x.flv");
            viewer.until(LIMIT, Tag::is_picture);
            playing.send(()).unwrap();
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !done.load(Ordering::Relaxed) {
                viewer.tag(LIMIT).unwrap();
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            longest
        });
        started.recv().unwrap();
        during();
        done.store(true, Ordering::Relaxed);
        let longest = viewer.join().unwrap();
        stop.store(true, Ordering::Relaxed);
        longest
    })
}

/// Longer than messages are gathered for, shorter than any wait for the disk in these tests.
pub(crate) const SMOOTH: Duration = Duration::from_millis(1500);

#[test]
fn slow_clients_of_a_big_file_leave_a_live_stream_and_memory_alone() {
    let (server, html) = serving();
    File::create(html.join("big")).unwrap().set_len(5 * GIB).unwrap();
    let before = server.rss_kib();
    let mut slow = Vec::new();
    let gap = longest_gap(server.rtmp, server.http, || {
        for n in 0..600 {
            let mut http = Http::connect(server.http);
            http.get("/big", &format!("Range: bytes={}-\r\n", n * 1_000_000));
            slow.push(http);
        }
        // One that is fast, meanwhile.
        let mut http = Http::connect(server.http);
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            http = Http::connect(server.http);
            http.get("/big", "Range: bytes=0-999999\r\n");
        }
        drop(http);
    });
    let statuses: Vec<u16> = slow.iter_mut().map(|http| http.head().status).collect();
    let served = statuses.iter().filter(|status| **status == 206).count();
    assert!(served >= 500 && statuses.iter().all(|status| [206, 503].contains(status)), "{served} served");
    let grown = server.peak_kib().saturating_sub(before);
    note(&format!(
        "files: 600 stuck clients: {served} served, {grown} KiB more, longest gap of live {gap:?}"
    ));
    assert!(grown < 24 << 10, "{grown} KiB more");
    assert!(gap < SMOOTH, "{gap:?} without a frame");
    drop(slow);
    server.assert_idle();
}

/// A disk that takes its time for everything. With `pipes`, it moves files into pipes as the disks of this machine do;
/// else they have to be read. With `quick`, what is in memory can be had at once.
pub(crate) struct SlowDisk {
    pub(crate) wait: Duration,
    pub(crate) calls: Arc<AtomicUsize>,
    pub(crate) pipes: bool,
    pub(crate) quick: bool,
}

impl SlowDisk {
    fn turn(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(self.wait);
    }
}

impl Disk for SlowDisk {
    fn open(&mut self, root: &Path, path: &Path) -> io::Result<Found> {
        self.turn();
        Local.open(root, path)
    }

    fn read(&mut self, file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.turn();
        Local.read(file, at, into)
    }

    fn fill(&mut self, file: &File, at: u64, pipe: &mut Pipe, len: usize) -> io::Result<usize> {
        if !self.pipes {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.turn();
        Local.fill(file, at, pipe, len)
    }

    fn quick(&mut self, root: &Path) -> Option<Quick> {
        if self.quick { Local.quick(root) } else { None }
    }
}

/// Serves a directory from a slow disk, in this process, since no other program lends us a disk that is slow; gives the
/// ports for RTMP and HTTP.
pub(crate) fn serve_slowly(dir: &Path, disk: impl Disk + 'static) -> (u16, u16) {
    let (rtmp, http) = (free_port(), free_port());
    let conf = format!(
        "listen 127.0.0.1:{rtmp}; http_server {{ enabled on; listen 127.0.0.1:{http}; dir {}; }}\n\
         vhost __defaultVhost__ {{ http_remux {{ enabled on; no_stream 404; }} }}",
        dir.display()
    );
    std::thread::spawn(move || {
        let config = runnel::conf::load("slow.conf", &conf).unwrap().config;
        runnel::app::server::Server::with_disk(config, disk).unwrap().run()
    });
    assert!(poll(LIMIT, || std::net::TcpStream::connect(("127.0.0.1", http)).is_ok()));
    (rtmp, http)
}

fn slow_disk_and_live(pipes: bool, size: usize, least: usize) {
    clips::prepare();
    let dir = crate::support::server::run_dir();
    let data = pattern(size);
    std::fs::write(dir.join("a.bin"), &data).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let disk = SlowDisk { wait: Duration::from_secs(2), calls: calls.clone(), pipes, quick: false };
    let (rtmp, http) = serve_slowly(&dir, disk);
    let mut took = Duration::ZERO;
    let gap = longest_gap(rtmp, http, || {
        let started = Instant::now();
        let (head, body) = ask(&mut Http::connect(http), "/a.bin", "");
        assert!(head.status == 200 && body == data);
        took = started.elapsed();
    });
    let calls = calls.load(Ordering::Relaxed);
    let how = if pipes { "moved by pipe" } else { "read" };
    note(&format!(
        "files: {how}, a disk of 2 s a call: {calls} calls in {took:?}, longest gap of live {gap:?}"
    ));
    let slow = Duration::from_secs(2) * least as u32;
    assert!(calls >= least && took >= slow, "{calls} calls in {took:?}: the disk was slow");
    assert!(gap < SMOOTH, "{gap:?} without a frame");
    let _ = std::fs::remove_dir_all(dir);
}

#[test]
fn a_slow_disk_leaves_a_live_stream_alone() {
    slow_disk_and_live(false, 250_000, 3);
}

#[test]
fn a_slow_disk_behind_a_pipe_leaves_a_live_stream_alone() {
    slow_disk_and_live(true, 900_000, 3);
}

#[test]
fn what_cannot_go_through_a_pipe_is_read() {
    let dir = crate::support::server::run_dir();
    let data = pattern(3_000_000);
    std::fs::write(dir.join("a.bin"), &data).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let disk = SlowDisk { wait: Duration::ZERO, calls, pipes: false, quick: false };
    let (_, http) = serve_slowly(&dir, disk);
    let mut http = Http::connect(http);
    for range in ["bytes=0-", "bytes=1000001-", "bytes=5-2000000"] {
        let (head, body) = ask(&mut http, "/a.bin", &format!("Range: {range}\r\n"));
        let first = range[6..].split('-').next().unwrap().parse::<usize>().unwrap();
        assert!(head.status == 206 && data[first..].starts_with(&body) && body.len() > 1_900_000, "{range}");
    }
    let _ = std::fs::remove_dir_all(dir);
}

/// More clients than there are pipes, all slow; then all get the right bytes, and a file that shrinks in a pipe ends the
/// connection.
#[test]
fn more_slow_clients_than_pipes_get_the_right_bytes() {
    let (server, html) = serving();
    let data = pattern(8_000_000);
    std::fs::write(html.join("a"), &data).unwrap();
    let first = |n: usize| n * 77_777;
    let mut clients: Vec<Http> = (0..60).map(|_| Http::connect(server.http)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.get("/a", &format!("Range: bytes={}-\r\n", first(n)));
    }
    let heads: Vec<Head> = clients.iter_mut().map(Http::head).collect();
    for (n, (client, head)) in clients.iter_mut().zip(&heads).enumerate() {
        assert!(head.status == 206 && client.body(head) == data[first(n)..], "client {n}");
    }
    // Those that leave in the middle give back what they had.
    for client in &mut clients {
        client.get("/a", "");
        client.head();
    }
    drop(clients);
    server.assert_idle();
    let (head, body) = ask(&mut Http::connect(server.http), "/a", "");
    assert!(head.status == 200 && body == data);
    server.assert_idle();
}

#[test]
fn a_head_request_gets_the_head_alone() {
    let (server, html) = serving();
    std::fs::create_dir(html.join("dir")).unwrap();
    std::fs::write(html.join("a.mp4"), pattern(300_000)).unwrap();
    let mut http = Http::connect(server.http);
    for (path, more, status) in [
        ("/a.mp4", "", 200),
        ("/a.mp4", "Range: bytes=5-9\r\n", 206),
        ("/a.mp4", "Range: bytes=300000-\r\n", 416),
        ("/a.mp4", "If-Match: \"other\"\r\n", 412),
        ("/a.mp4", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 412),
        ("/a.mp4", "If-None-Match: *\r\n", 304),
        ("/a.mp4?start=5", "", 415),
        ("/dir", "", 301),
        ("/none", "", 404),
        ("/.hidden", "", 403),
    ] {
        http.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n"));
        // A body would be taken for the next head.
        assert_eq!(http.head().status, status, "{path} {more}");
    }
    assert_eq!(ask(&mut http, "/a.mp4", "Range: bytes=299999-\r\n").0.status, 206);
}

/// Whether it is in a pipe, or in pieces of memory.
#[test]
fn who_takes_nothing_of_a_file_is_cut_off() {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP;\n\
         http_server { enabled on; listen 127.0.0.1:$HTTP; dir ./html; }\n\
         vhost __defaultVhost__ { play { send_timeout 1; } }",
    );
    let html = server.dir().join("html");
    std::fs::create_dir(&html).unwrap();
    File::create(html.join("big")).unwrap().set_len(GIB).unwrap();
    // More than there are pipes.
    let mut clients: Vec<Http> = (0..40).map(|_| Http::connect(server.http)).collect();
    for client in &mut clients {
        client.get("/big", "");
        assert_eq!(client.head().status, 200);
    }
    // While all are still connected, as far as they know.
    assert!(poll(LIMIT, || server.connections() == 0), "{} are still served", server.connections());
    for client in clients {
        assert!(client.closed(LIMIT).len() < GIB as usize, "what the kernel held, and no more");
    }
}
