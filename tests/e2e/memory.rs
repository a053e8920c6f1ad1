//! `max_memory`: what the server says it holds is what it takes, and a small budget is kept without a publisher noticing.
use crate::support::flv::Tag;
use crate::support::http::{Http, Viewer};
use crate::support::rtmp::Rtmp;
use crate::support::server::Server;
use crate::support::{note, poll};
use std::io::Write;
use std::time::{Duration, Instant};

const MB: u64 = 1 << 20;
const PICTURE_MS: u32 = 40;

/// A publisher of pictures that are all of one size.
struct Camera {
    rtmp: Rtmp,
    picture: usize,
    gop: u32,
    sent: u32,
}

impl Camera {
    fn start(server: &Server, stream: &str, picture: usize, gop: u32) -> Camera {
        let mut rtmp = Rtmp::publish(server.rtmp, stream);
        let avc = b"\x17\0\0\0\0\x01\x42\xc0\x1e\xff\xe1\0\x0b\x67\x42\xc0\x1e\xd9\x03\xc5\x68\x40\0\0\x01\0\x02\x68\xce";
        rtmp.send(&[Tag { kind: 9, ts: 0, data: avc.to_vec() }]);
        Camera { rtmp, picture, gop, sent: 0 }
    }

    fn send(&mut self, pictures: u32) {
        for _ in 0..pictures {
            let (first, unit) = if self.sent.is_multiple_of(self.gop) { (0x17, 0x65) } else { (0x27, 0x41) };
            let mut data = vec![first, 1, 0, 0, 0];
            data.extend((self.picture as u32 - 9).to_be_bytes());
            data.resize(self.picture, unit);
            self.rtmp.send(&[Tag { kind: 9, ts: self.sent * PICTURE_MS, data }]);
            self.sent += 1;
        }
    }

    /// Sends as a camera does, a picture each 40 ms.
    fn roll(&mut self, pictures: u32) {
        let start = Instant::now();
        for n in 0..pictures {
            self.send(1);
            let due = start + Duration::from_millis(u64::from((n + 1) * PICTURE_MS));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// Sends the beginning of a message of 7 MB.
fn half_a_message(mut rtmp: Rtmp, bytes: usize) -> Rtmp {
    rtmp.socket.write_all(&[6, 0, 0, 0, 0x6a, 0xcf, 0xc0, 9, 1, 0, 0, 0]).unwrap();
    rtmp.socket.write_all(&vec![0x17; bytes]).unwrap();
    rtmp
}

/// What the page is told: bytes in use, and the level.
fn memory(server: &Server) -> (u64, String) {
    let mut http = Http::connect(server.http);
    http.get("/runnel/streams.json", "");
    let head = http.head();
    let text = String::from_utf8(http.body(&head)).unwrap();
    let after = |key: &str| text.split_once(key).unwrap_or_else(|| panic!("no {key} in {text}")).1;
    let used = after("\"used\":").split(',').next().unwrap().parse().unwrap();
    (used, after("\"level\":\"").split('"').next().unwrap().to_owned())
}

/// Asks for something and reads nothing.
fn stuck(server: &Server, path: &str) -> Http {
    let mut http = Http::connect(server.http);
    http.get(path, "");
    http
}

fn server(memory: &str) -> Server {
    Server::start(&format!(
        "listen 127.0.0.1:$RTMP;\nmax_memory {memory};\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         vhost __defaultVhost__ {{\n\
         http_remux {{ enabled on; no_stream 404; }}\n\
         hls {{ enabled on; hls_fragment 2; hls_window 60; hls_ram_bytes 128m; hls_dispose 1; }}\n\
         play {{ queue_length 60s; queue_bytes 64m; }}\n\
         publish {{ resume_wait 0; normal_timeout 60s; }}\n}}\n"
    ))
}

#[test]
fn what_is_counted_is_what_is_taken() {
    let server = server("500m");
    let before = server.rss_kib() * 1024;
    let mut camera = Camera::start(&server, "x", 20_000, 100_000);
    camera.send(5);
    let ways = [".flv", ".ts", ".mp4"].map(|end| format!("/live/x{end}"));
    assert!(poll(Duration::from_secs(5), || {
        let mut http = Http::connect(server.http);
        http.get("/live/x.ts", "");
        http.head().status == 200
    }));
    let viewers: Vec<Http> = ways.iter().map(|way| stuck(&server, way)).collect();
    let half = half_a_message(Rtmp::publish(server.rtmp, "half"), 6_000_000);
    assert!(poll(Duration::from_secs(5), || server.log().matches("viewer of live/x came").count() >= 4));
    camera.send(1_000);
    let (mut used, mut grown) = (0, 0);
    // The next look comes within a second.
    let right = poll(Duration::from_secs(10), || {
        used = memory(&server).0;
        grown = (server.rss_kib() * 1024).saturating_sub(before);
        used > 60 * MB && used.abs_diff(grown) < grown / 10
    });
    let mb = |bytes: u64| bytes as f64 / MB as f64;
    note(&format!("memory: {:.1} MB counted, {:.1} MB more resident", mb(used), mb(grown)));
    assert!(right, "{used} bytes are counted, {grown} more are resident");

    drop((viewers, half, camera));
    let back = poll(Duration::from_secs(10), || memory(&server).0 < MB);
    assert!(back, "{:?} after everybody left", memory(&server));
    let mut left = u64::MAX;
    poll(Duration::from_secs(2), || {
        left = left.min((server.rss_kib() * 1024).saturating_sub(before));
        left < 4 * MB
    });
    note(&format!("memory: {:.1} MB stay resident after everybody left", mb(left)));
    assert!(left < grown / 4, "{left} bytes of {grown} stay");
}

/// Many who take nothing of what they asked for: recordings, and films that begin in the middle.
#[test]
fn files_keep_to_the_budget_too() {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP;\nmax_memory 12m;\n\
         http_server { enabled on; listen 127.0.0.1:$HTTP; dir ./html; }\nvhost __defaultVhost__ { }",
    );
    let html = server.dir().join("html");
    std::fs::create_dir(&html).unwrap();
    std::fs::File::create(html.join("big.mp4")).unwrap().set_len(1 << 30).unwrap();
    // An index of 2 MB, of which the new form takes as much.
    let boxed = |kind: &[u8], body: &[u8]| [&(body.len() as u32 + 8).to_be_bytes(), kind, body].concat();
    let film = [boxed(b"ftyp", b"isom\0\0\0\0"), boxed(b"moov", &vec![0; 2 << 20]), boxed(b"mdat", &[0; 64])];
    std::fs::write(html.join("film.mp4"), film.concat()).unwrap();
    let mut http = Http::connect(server.http);
    http.get("/film.mp4?start=5", "");
    let head = http.head();
    let why = String::from_utf8(http.body(&head)).unwrap();
    assert!(head.status == 503 && why.contains("max_memory"), "{} {why}", head.status);

    let before = server.rss_kib();
    let mut clients: Vec<Http> = (0..200).map(|_| stuck(&server, "/big.mp4")).collect();
    let mut used = 0;
    let statuses: Vec<u16> = clients.iter_mut().map(|client| client.head().status).collect();
    let served = statuses.iter().filter(|status| **status == 200).count();
    let counted = poll(Duration::from_secs(5), || {
        used = memory(&server).0;
        used > 64 << 10
    });
    let grown = server.peak_kib().saturating_sub(before);
    note(&format!(
        "memory: 200 who take nothing of a file, max_memory 12m: {served} are served, {used} bytes counted, {grown} KiB more"
    ));
    assert!(served >= 90 && statuses.iter().all(|status| [200, 503].contains(status)), "{served} are served");
    assert!(counted && used < 3 * MB && grown < 6 << 10, "{used} bytes, {grown} KiB more");
    drop(clients);
    assert!(poll(Duration::from_secs(10), || memory(&server).0 < 100_000), "{:?}", memory(&server));
}

#[test]
fn a_small_budget_holds_and_publishers_notice_nothing() {
    const BUDGET: u64 = 16;
    /// What the allocator keeps, and comes in before it is looked again.
    const SLACK: u64 = 6;
    let server = server("16m");
    let before = server.rss_kib();
    // 10 Mbit/s each, a keyframe every 10 s.
    let mut cameras = ["a", "b"].map(|stream| Camera::start(&server, stream, 50_000, 250));
    cameras.iter_mut().for_each(|camera| camera.send(2));
    assert!(poll(Duration::from_secs(5), || {
        let mut http = Http::connect(server.http);
        http.get("/live/b.flv", "");
        http.head().status == 200
    }));
    let mut healthy = Viewer::join(server.http, "/live/a.flv");
    let flv: Vec<Http> = (0..8).map(|_| stuck(&server, "/live/a.flv")).collect();
    let others = [stuck(&server, "/live/a.ts"), stuck(&server, "/live/b.mp4"), stuck(&server, "/live/b.ts")];
    let rtmp: Vec<Rtmp> = (0..4).map(|_| Rtmp::play(server.rtmp, "b")).collect();
    let (tags, mut cameras) = std::thread::scope(|scope| {
        let reader =
            scope.spawn(move || (healthy.until(Duration::from_secs(20), |tag| tag.ts >= 7_000), healthy));
        let rolling = cameras.map(|mut camera| {
            scope.spawn(move || {
                camera.roll(180);
                camera
            })
        });
        let cameras = rolling.map(|camera| camera.join().unwrap());
        (reader.join().unwrap(), cameras)
    });
    let (tags, mut healthy) = tags;
    let times: Vec<u32> = tags.iter().filter(|tag| tag.is_picture()).map(|tag| tag.ts).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == PICTURE_MS), "the healthy viewer: {times:?}");
    let (used, level) = memory(&server);
    assert!(used <= BUDGET * MB && level != "normal", "{used} bytes, {level}");
    assert!(server.log().contains("memory is short: "), "{}", server.log());
    assert!(
        !server.log().contains("publisher of live/a left")
            && !server.log().contains("publisher of live/b left")
    );

    let peak = server.peak_kib() - before;
    note(&format!("memory: at most {peak} KiB more resident with a budget of {BUDGET} MB"));
    assert!(peak < (BUDGET + SLACK) * 1024, "{peak} KiB");

    // More than there is, and nothing of it may be given up.
    let others_too = ["c", "d", "e"].map(|stream| Rtmp::publish(server.rtmp, stream));
    let halves = others_too.map(|publisher| half_a_message(publisher, 6_900_000));
    assert!(poll(Duration::from_secs(5), || memory(&server).1 == "no_publishers"), "{:?}", memory(&server));
    let peak = server.peak_kib() - before;
    note(&format!("memory: at most {peak} KiB more resident with 20.7 MB of unfinished messages on top"));
    assert!(peak < (BUDGET + 21) * 1024, "{peak} KiB");
    let mut http = Http::connect(server.http);
    http.get("/live/a.flv", "");
    let head = http.head();
    assert_eq!(head.status, 503);
    let body = String::from_utf8(http.body(&head)).unwrap();
    assert!(body.contains("max_memory"), "{body}");
    let mut player = Rtmp::play(server.rtmp, "a");
    player.expect("NetStream.Play.Failed");
    let mut publisher = Rtmp::live(server.rtmp);
    publisher.ask_publish("new");
    assert!(publisher.closes(Duration::from_secs(5)));
    assert!(publisher.heard().contains("max_memory"), "{}", publisher.heard());
    // Those who were there go on.
    cameras[0].send(10);
    let last = cameras[0].sent;
    healthy.until(Duration::from_secs(10), |tag| tag.ts >= (last - 2) * PICTURE_MS - 2 * PICTURE_MS);

    drop((halves, flv, others, rtmp));
    let joined = poll(Duration::from_secs(30), || {
        let mut http = Http::connect(server.http);
        http.get("/live/a.flv", "");
        http.head().status == 200
    });
    assert!(joined, "nobody may watch again: {:?}", memory(&server));
    let mut again = Rtmp::live(server.rtmp);
    again.ask_publish("new");
    again.expect("NetStream.Publish.Start");
    cameras[1].send(1);
    assert!(
        !server.log().contains("publisher of live/a left")
            && !server.log().contains("publisher of live/b left")
    );
}
