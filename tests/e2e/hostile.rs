//! Peers that mean ill or are broken, and crowds: the server goes on, and its memory stays where it was.
use crate::support::flv::{self, Tag};
use crate::support::http::{Http, Viewer};
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, usual_vhost};
use crate::support::tools::Publisher;
use crate::support::{clips, note, poll};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

const TAG: Duration = Duration::from_secs(10);

/// Fails unless a stream published now reaches a viewer.
fn assert_serves(server: &Server) {
    let tags = flv::read(&clips::av());
    let mut publisher = Rtmp::publish(server.rtmp, "check");
    publisher.send(&tags);
    let mut viewer = Viewer::join(server.http, "/live/check.flv");
    viewer.until(TAG, Tag::is_key);
    publisher.unpublish("check");
}

/// Bytes that look random and are the same each time (xorshift).
fn noise(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as u8
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn garbage_on_both_ports() {
    let server = Server::usual();
    for port in [server.rtmp, server.http] {
        for seed in 0..40 {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
            // Some begin as a peer of this port would, so that the noise reaches further in.
            let start: &[u8] = match (seed % 4, port == server.rtmp) {
                (0, _) => b"",
                (_, true) => b"\x03",
                (_, false) => b"GET /live/x.flv HTTP/1.1\r\n",
            };
            let _ = socket.write_all(start);
            let _ = socket.write_all(&noise(seed + 1, 20_000));
        }
    }
    // After a true handshake the noise is read as chunks.
    for seed in 0..40 {
        let mut rtmp = Rtmp::connect(server.rtmp);
        let _ = rtmp.socket.write_all(&noise(seed + 100, 20_000));
    }
    // And as messages of each type, on a connection that publishes.
    for kind in 0..32 {
        let mut rtmp = Rtmp::publish(server.rtmp, &format!("noise{kind}"));
        let body = noise(u32::from(kind) + 200, 500);
        let mut bytes = vec![3, 0, 0, 0, 0, 1, 244, kind, 1, 0, 0, 0];
        bytes.extend(body);
        for _ in 0..3 {
            let _ = rtmp.socket.write_all(&bytes);
        }
    }
    assert_serves(&server);
    server.assert_idle();
}

#[test]
fn http_on_the_rtmp_port_is_told_so() {
    let server = Server::usual();
    for request in
        ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST /open/1 HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.0\r\n\r\n"]
    {
        let mut http = Http::connect(server.rtmp);
        http.send(request);
        let head = http.head();
        assert_eq!(head.status, 400, "{request:?}: {head:?}");
        let body = String::from_utf8(http.body(&head)).unwrap();
        assert!(body.contains("RTMP"), "{body:?} does not tell what listens here");
        http.closed(TAG);
    }
    assert_serves(&server);
}

#[test]
fn rtmp_on_the_http_port_is_closed() {
    let server = Server::usual();
    let mut http = Http::connect(server.http);
    let mut hello = vec![3; 1537];
    hello[1..9].fill(0);
    http.send(hello);
    http.closed(TAG);
    assert_serves(&server);
}

#[test]
fn half_handshakes_do_not_stay_forever() {
    let server = Server::usual();
    let start = Instant::now();
    let port = server.rtmp;
    let halves: Vec<Http> = [&[][..], &[3], &[3; 700], &[3; 1537]]
        .iter()
        .flat_map(|bytes| {
            (0..25).map(move |_| {
                let mut http = Http::connect(port);
                http.send(bytes);
                http
            })
        })
        .collect();
    assert!(poll(TAG, || server.connections() >= halves.len()), "{} connections", server.connections());
    assert_serves(&server);
    for half in halves {
        half.closed(Duration::from_secs(60).saturating_sub(start.elapsed()));
    }
    note(&format!("half handshakes: 100 were closed within {:.0} s", start.elapsed().as_secs_f64()));
    server.assert_idle();
}

/// A length is a promise: memory is for the bytes that came.
#[test]
fn declared_lengths_take_no_memory() {
    let server = Server::usual();
    let before = server.rss_kib();
    let peers: Vec<Rtmp> = (0..200)
        .map(|_| {
            let mut rtmp = Rtmp::live(server.rtmp);
            // A video message of 7 MB on stream 1, of which a little comes.
            let mut bytes = vec![6, 0, 0, 0, 0x6a, 0xcf, 0xc0, 9, 1, 0, 0, 0];
            bytes.extend([0x17; 1000]);
            rtmp.socket.write_all(&bytes).unwrap();
            rtmp
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let grown = server.rss_kib().saturating_sub(before);
    note(&format!("200 connections that announce messages of 7 MB: {grown} KiB more"));
    assert!(grown < 200 * 64, "{grown} KiB more for {} announced messages", peers.len());
    drop(peers);

    // What exceeds the limit for one message ends the connection.
    let mut rtmp = Rtmp::live(server.rtmp);
    rtmp.socket.write_all(&[6, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0]).unwrap();
    let _ = rtmp.socket.write_all(&[0x17; 1000]);
    assert!(rtmp.closes(Duration::from_secs(5)), "16 MB are accepted");
    assert_serves(&server);
    server.assert_idle();
}

#[test]
fn ten_thousand_connections_that_say_nothing() {
    const WANTED: usize = 10_000;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let limit: usize = line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX);
    // The rest is for the other tests and for the viewer below.
    let count = WANTED.min(limit.saturating_sub(600));
    assert!(count >= 200, "the limit of open files is {limit}");

    let server = Server::usual();
    let before = server.rss_kib();
    let start = Instant::now();
    let silent: Vec<TcpStream> = (0..count)
        .map(|index| {
            let port = [server.rtmp, server.http][index % 2];
            TcpStream::connect(("127.0.0.1", port))
                .unwrap_or_else(|error| panic!("connection {index}: {error}"))
        })
        .collect();
    let accepted = poll(Duration::from_secs(20), || server.connections() >= count);
    assert!(accepted, "{} of {count} are accepted", server.connections());
    let grown = server.rss_kib().saturating_sub(before);
    let took = start.elapsed();
    assert_serves(&server);
    note(&format!(
        "silent connections: {count} of {WANTED} (limit of open files {limit}) in {:.1} s, {grown} KiB more, {} bytes each",
        took.as_secs_f64(),
        grown * 1024 / count as u64
    ));
    assert!(grown < 4096 + count as u64 * 4, "{grown} KiB for {count} silent connections");
    drop(silent);
    server.assert_idle();
}

/// Fifty viewers that never read, of a stream of 10 Mbit/s in real time; one that reads misses nothing.
#[test]
fn viewers_that_never_read() {
    const STUCK: usize = 25;
    let server = Server::vhost(&usual_vhost("resume_wait 0;"));
    let clip = clips::heavy();
    let mut healthy = Http::connect(server.http);
    healthy.get("/live/x.flv", "");
    let over_rtmp: Vec<Rtmp> = (0..STUCK).map(|_| Rtmp::play(server.rtmp, "x")).collect();
    let over_http: Vec<Http> = (0..STUCK)
        .map(|_| {
            let mut http = Http::connect(server.http);
            http.get("/live/x.flv", "");
            http
        })
        .collect();
    let before = server.rss_kib();
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clip, "x");
    let tags = Viewer::started(healthy).rest(TAG);
    publish.success(TAG);
    let size = std::fs::metadata(&clip).unwrap().len() / 1024;
    let peak = server.peak_kib().saturating_sub(before);
    note(&format!("{} viewers that never read a stream of {size} KiB: at most {peak} KiB more", 2 * STUCK));
    // One copy of the whole clip would be the most that a log of 10 s and some buffers can take.
    assert!(peak < size + 8192, "{peak} KiB more");

    let source = flv::read(&clip);
    for kind in [8, 9] {
        assert_eq!(flv::assert_run(&tags, &source, kind), 0, "from the first frame of type {kind}");
    }
    let frames = |tags: &[Tag]| tags.iter().filter(|tag| tag.is_frame()).count();
    assert_eq!(frames(&tags), frames(&source), "the healthy viewer's frames");
    flv::assert_monotonic(&tags);
    drop((over_rtmp, over_http, publish));
    server.assert_idle();
}
