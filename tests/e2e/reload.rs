//! The configuration read again while people publish and watch.
use crate::support::flv;
use crate::support::http::{Http, Viewer};
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, free_port, usual_vhost};
use crate::support::tools::Publisher;
use crate::support::{clips, note, poll};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const TAG: Duration = Duration::from_secs(10);

/// A configuration with the usual default vhost and `more` outside it.
fn conf(more: &str) -> String {
    format!(
        "listen 127.0.0.1:$RTMP;\nmax_connections 20000;\n\
         http_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n{more}\n\
         vhost __defaultVhost__ {{\n{}\n}}\n",
        usual_vhost("resume_wait 0;")
    )
}

/// Asks for a stream of a vhost.
fn join(server: &Server, vhost: &str, stream: &str) -> Http {
    let mut http = Http::connect(server.http);
    http.get(&format!("/live/{stream}.flv?vhost={vhost}"), "");
    http
}

#[test]
fn two_hundred_viewers_miss_not_one_byte_in_ten_reloads() {
    let server = Server::start(&conf("vhost other { }"));
    let clip = clips::av();
    let waiting: Vec<Http> = (0..200)
        .map(|_| {
            let mut http = Http::connect(server.http);
            http.get("/live/x.flv", "");
            http
        })
        .collect();
    let viewers: Vec<_> =
        waiting.into_iter().map(|http| std::thread::spawn(move || Viewer::started(http).rest(TAG))).collect();
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clip, "x");
    let port = free_port();
    let files = [
        conf("vhost other { min_latency on; }"),
        conf("vhost third { } chunk_size 4096;"),
        conf("vhost other { } log_level debug;"),
        conf("vhost other { oops; }"),
        conf(&format!("listen 127.0.0.1:{port}; vhost other {{ }}")),
        conf("vhost other { } max_connections 5000; chunk_size 60000;"),
        conf("max_connections 15000; vhost other { } log_level info;"),
        conf("vhost other { enabled off; } pithy_print_ms 1s;"),
        conf("vhost other { http_remux { enabled on; } }"),
        conf("vhost other { play { mw_latency 1; } }"),
    ];
    for file in &files {
        std::thread::sleep(Duration::from_millis(500));
        let said = server.reload(file);
        assert_eq!(said.contains("stays so"), file.contains("oops"), "{said}");
    }
    assert!(publish.running(), "the publisher left: {}", publish.tail());
    publish.success(Duration::from_secs(30));
    let source = flv::read(&clip);
    let frames = |tags: &[flv::Tag]| tags.iter().filter(|tag| tag.is_frame()).count();
    let mut all: Vec<Vec<flv::Tag>> = viewers.into_iter().map(|viewer| viewer.join().unwrap()).collect();
    let first = all.pop().unwrap();
    assert_eq!(frames(&first), frames(&source), "every frame of the source");
    for kind in [8, 9] {
        assert_eq!(flv::assert_run(&first, &source, kind), 0);
    }
    assert!(all.iter().all(|tags| *tags == first), "all 200 viewers got the same bytes");
}

#[test]
fn a_vhost_that_is_removed_sends_its_people_away_and_no_others() {
    let remux = "http_remux { enabled on; } publish { resume_wait 0; }";
    let vhosts = |names: &[&str]| -> String {
        let text = |name: &&str| format!("vhost {name} {{ {remux} }}\n");
        conf(&names.iter().map(text).collect::<String>())
    };
    let server = Server::start(&vhosts(&["a", "b"]));
    let publish: Vec<_> = ["a", "b"]
        .iter()
        .map(|v| Publisher::Ffmpeg5.publish(&server, &clips::long_gop(), &format!("x?vhost={v}")))
        .collect();
    let [mut a, mut b]: [_; 2] = publish.try_into().ok().unwrap();
    let [mut in_a, mut in_b] = ["a", "b"].map(|v| Viewer::started(join(&server, v, "x")));
    in_a.until(TAG, flv::Tag::is_key);
    in_b.until(TAG, flv::Tag::is_key);
    let said = server.reload(&vhosts(&["b"]));
    assert!(said.contains("vhost a removed"), "{said}");
    in_a.rest(TAG);
    assert!(!a.wait(TAG).success(), "the publisher was told");
    in_b.until(TAG, |tag| tag.ts > 3000);
    assert!(b.running());
    assert!(server.log().contains("its vhost is not served any more"));
    b.kill();
    in_b.rest(TAG);
}

#[test]
fn a_changed_vhost_changes_for_those_who_are_there() {
    let vhost = |play: &str| format!("vhost v {{ http_remux {{ enabled on; }} play {{ {play} }} }}");
    let server = Server::start(&conf(&vhost("mw_latency 5s;")));
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clips::long_gop(), "x?vhost=v");
    let mut viewer = Viewer::started(join(&server, "v", "x"));
    viewer.until(TAG, |tag| tag.is_picture());
    let said = server.reload(&conf(&vhost("mw_latency 50ms;")));
    assert!(said.contains("vhost v changed"), "{said}");
    viewer.until(Duration::from_secs(6), |tag| tag.ts > 4000);
    let start = Instant::now();
    let tags = viewer.until(TAG, |tag| tag.ts > 6000);
    assert!(start.elapsed() > Duration::from_millis(1000), "2 s of media in {:?}", start.elapsed());
    flv::assert_monotonic(&tags);
    publish.kill();
}

#[test]
fn ports_come_and_go_and_connections_stay() {
    let server = Server::start(&conf(""));
    let _publish = Publisher::Ffmpeg5.publish(&server, &clips::long_gop(), "x");
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    viewer.until(TAG, flv::Tag::is_key);
    let other = free_port();
    let moved = conf("").replace("listen 127.0.0.1:$HTTP;", &format!("listen 127.0.0.1:{other};"));
    let said = server.reload(&moved);
    assert!(said.contains(&format!("HTTP at 127.0.0.1:{other} opened")), "{said}");
    assert!(TcpStream::connect(("127.0.0.1", server.http)).is_err(), "the old port is closed");
    Viewer::join(other, "/live/x.flv").until(TAG, flv::Tag::is_key);
    viewer.until(TAG, |tag| tag.ts > 2500);
    // The same port with another address comes in the place of the old one.
    let all = conf("").replace("listen 127.0.0.1:$HTTP;", &format!("listen 0.0.0.0:{other};"));
    let said = server.reload(&all);
    assert!(said.contains(&format!("HTTP at 0.0.0.0:{other} opened")), "{said}");
    Viewer::join(other, "/live/x.flv").until(TAG, flv::Tag::is_key);
    server.reload(&conf(""));
    viewer.until(TAG, |tag| tag.ts > 4000);
}

#[test]
fn what_cannot_be_had_leaves_everything_as_it_was() {
    let server = Server::start(&conf("vhost a { }"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let free = free_port();
    for (more, reason) in [
        ("vhost b { }\nfoo;\nbar;", "unknown directive `bar`"),
        (&*format!("listen 127.0.0.1:{free} 127.0.0.1:{port}; vhost b {{ }}"), "is in use by e2e"),
        ("log_file /nowhere/x.log; vhost b { }", "cannot write the log to /nowhere/x.log"),
        ("include gone.conf;", "gone.conf`: No such file"),
        ("vhost b {", "the block opened here has no `}`"),
    ] {
        let said = server.reload(&conf(more));
        assert!(said.contains(reason) && said.contains("stays so"), "{reason}: {said}");
        assert!(
            TcpStream::connect(("127.0.0.1", free)).is_err(),
            "a port of the failed configuration is open"
        );
        assert!(server.reload(&conf("vhost a { }")).contains("nothing has changed"));
    }
    let said = server.reload(&conf("daemon on; vhost a { }"));
    assert!(said.contains("daemon needs a restart"), "{said}");
}

#[test]
fn a_thousand_vhosts_are_reloaded_without_a_pause() {
    let vhosts = |latency: u32| -> String {
        let one = |n: u32| {
            format!(
                "vhost stream{n}.example.com {{\n  min_latency off;\n  tcp_nodelay on;\n  play {{\n    gop_cache on;\n    \
                 queue_length 10;\n    mw_latency {latency};\n  }}\n  publish {{ normal_timeout 7000; }}\n  \
                 http_remux {{ enabled on; mount [vhost]/[app]/[stream].flv; }}\n}}\n"
            )
        };
        conf(&(0..1000).map(one).collect::<String>())
    };
    let server = Server::start(&conf(""));
    let took = |said: &str| -> u64 {
        let at = said.rfind(" ms)").expect(said);
        said[..at].rsplit('(').next().unwrap().parse().unwrap()
    };
    let before = server.cpu_ticks();
    let times: Vec<u64> =
        [350, 350, 100, 200].iter().map(|latency| took(&server.reload(&vhosts(*latency)))).collect();
    // Of the processor, since others may use it meanwhile; a tick is 10 ms.
    let used = (server.cpu_ticks() - before) * 10 / times.len() as u64;
    note(&format!(
        "reload of 1,000 vhosts (added, none, all changed, again): {times:?} ms, {used} ms of CPU each"
    ));
    let limit = if cfg!(debug_assertions) { 1000 } else { 50 };
    assert!(used < limit, "{used} ms; {times:?}");
}

#[test]
fn a_file_that_changes_is_noticed_when_asked_for() {
    let server = Server::start(&conf("inotify_auto_reload on; include v-*.conf;"));
    let part = server.dir().join("v-1.conf");
    let write = |text: &str| {
        let before = server.log().len();
        std::fs::write(&part, text).unwrap();
        before
    };
    write("vhost a { }");
    // A new file of a pattern is not noticed by itself; from then on it is watched.
    server.reload(&conf("inotify_auto_reload on; include v-*.conf;"));
    let before = write("vhost a { } vhost bb { }");
    assert!(server.verdict(before).contains("vhost bb added"));
    let before = write("vhost a { } vhost b { oops; }");
    assert!(server.verdict(before).contains("unknown directive `oops`"));
    let quiet = server.log().len();
    assert!(!poll(Duration::from_millis(2500), || server.log().len() > quiet), "told once only");
    let before = write("vhost a { } vhost ccc { }");
    assert!(server.verdict(before).contains("vhost ccc added"));
}

#[test]
fn answers_and_viewers_are_in_the_access_log_and_its_path_can_change() {
    let server = Server::start(&conf("access_log access.log;"));
    let lines = |name: &str| std::fs::read_to_string(server.dir().join(name)).unwrap_or_default();
    let mut http = Http::connect(server.http);
    http.get("/no%22thing\"?secret=1", "User-Agent: me \"x\"\r\n");
    assert_eq!(http.head().status, 404);
    let tags = flv::read(&clips::av());
    let mut rtmp = Rtmp::publish(server.rtmp, "x");
    rtmp.send(&tags[..60]);
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    viewer.until(TAG, flv::Tag::is_key);
    drop(viewer);
    let both = || lines("access.log").lines().count() >= 2;
    assert!(poll(TAG, both), "{}", lines("access.log"));
    let text = lines("access.log");
    assert!(text.contains(r#""GET /no%22thing\"" 404 "me \"x\"""#) && !text.contains("secret"), "{text}");
    assert!(text.contains("viewer of live/x by http: "), "{text}");
    server.reload(&conf("access_log other.log;"));
    let mut http = Http::connect(server.http);
    http.get("/nothing", "");
    http.head();
    assert!(poll(TAG, || lines("other.log").contains("/nothing")));
    assert_eq!(lines("access.log"), text);
}
