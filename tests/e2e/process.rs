//! The server as a process: signals, file descriptors, viewers who fall behind.
use crate::support::flv::{self, Tag};
use crate::support::http::{Http, Viewer};
use crate::support::server::{Server, usual_vhost};
use crate::support::tools::Publisher;
use crate::support::{clips, poll};
use std::net::TcpStream;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const CLIP: Duration = Duration::from_secs(40);

/// SIGUSR1 after the log was moved away, as logrotate does it: a new file takes the next lines.
#[test]
fn sigusr1_opens_the_log_again() {
    let conf = format!(
        "listen 127.0.0.1:$RTMP;\nlog_tank file;\nlog_file runnel.log;\n\
         http_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\nvhost __defaultVhost__ {{ {} }}",
        usual_vhost("resume_wait 0;")
    );
    let server = Server::start(&conf);
    let (log, old) = (server.dir().join("runnel.log"), server.dir().join("runnel.log.1"));
    std::fs::rename(&log, &old).unwrap();
    server.signal("USR1");
    assert!(poll(SOON, || log.exists()), "no new log file");
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clips::av(), "x");
    publish.success(CLIP);
    let text = || std::fs::read_to_string(&log).unwrap();
    assert!(poll(SOON, || text().contains("publisher of live/x left")), "{}", text());
    assert!(!std::fs::read_to_string(&old).unwrap().contains("live/x"));
}

/// SIGQUIT lets the stream be watched to its end, takes nobody new, and then the process ends.
#[test]
fn sigquit_drains() {
    let mut server = Server::usual();
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clips::av(), "x");
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    let mut tags = viewer.until(SOON, Tag::is_picture);
    server.signal("QUIT");
    let refused = || TcpStream::connect(("127.0.0.1", server.http)).is_err();
    assert!(poll(SOON, refused), "somebody new was let in");
    tags.extend(viewer.rest(CLIP));
    publish.success(CLIP);
    let source = flv::read(&clips::av());
    assert_eq!(flv::assert_run(&tags, &source, 9), 0);
    server.wait_end(SOON);
}

/// Fewer descriptors than connections: those who are in go on, those who are not wait or are told, nothing spins.
#[test]
fn descriptors_run_out() {
    // 64 may be open and 30 are taken from the start, which the server cannot know of.
    let inherit: String = (10..40).map(|n| format!("exec {n}</dev/null; ")).collect();
    let conf = format!(
        "listen 127.0.0.1:$RTMP;\nmax_connections 1000;\nhandshake_timeout 3s;\n\
         http_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\nvhost __defaultVhost__ {{ {} }}",
        usual_vhost("resume_wait 0;")
    );
    let server = Server::launched(&conf, &[], &format!("ulimit -n 64; {inherit}"));
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clips::av(), "x");
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    let mut tags = viewer.until(SOON, Tag::is_picture);
    let crowd: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(("127.0.0.1", server.rtmp)).unwrap()).collect();
    assert!(poll(SOON, || server.log().contains("cannot accept")), "{}", server.log());
    let before = server.cpu_ticks();
    std::thread::sleep(Duration::from_secs(2));
    let spent = server.cpu_ticks() - before;
    assert!(spent < 50, "{spent} ticks of CPU in two seconds without descriptors");
    tags.extend(viewer.rest(CLIP));
    publish.success(CLIP);
    assert_eq!(
        flv::assert_run(&tags, &flv::read(&clips::av()), 9),
        0,
        "the viewer who was in missed something"
    );
    drop(crowd);
    let mut http = Http::connect(server.http);
    http.get("/nothing", "");
    assert_eq!(http.head().status, 404, "somebody new is let in when there is room again");
}

/// Over `max_connections`, HTTP clients hear why.
#[test]
fn one_too_many_is_told() {
    let conf = format!(
        "listen 127.0.0.1:$RTMP;\nmax_connections 5;\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         vhost __defaultVhost__ {{ {} }}",
        usual_vhost("resume_wait 0;")
    );
    let server = Server::start(&conf);
    assert!(poll(SOON, || server.connections() == 0));
    let crowd: Vec<TcpStream> =
        (0..5).map(|_| TcpStream::connect(("127.0.0.1", server.http)).unwrap()).collect();
    assert!(poll(SOON, || server.connections() == 5));
    let mut late = Http::connect(server.http);
    assert_eq!(late.head().status, 503);
    assert!(poll(SOON, || server.log().contains("turned away at 5 connections (max_connections)")));
    drop(crowd);
}

/// A viewer who stops reading for longer than the feed reaches back goes on at a keyframe, with whole messages, and the
/// log says what it missed.
#[test]
fn a_slow_viewer_skips_to_a_keyframe() {
    let conf = "listen 127.0.0.1:$RTMP;\nhttp_server { enabled on; listen 127.0.0.1:$HTTP; }\n\
        vhost __defaultVhost__ { http_remux { enabled on; } play { queue_length 1; send_buffer 64k; } \
        publish { resume_wait 0; } }";
    let server = Server::start(conf);
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clips::heavy(), "x");
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    let mut tags = viewer.until(SOON, Tag::is_picture);
    // 10 Mbit/s fill what the kernel holds, some megabytes, in a few seconds.
    std::thread::sleep(Duration::from_secs(10));
    tags.extend(viewer.rest(CLIP));
    publish.success(CLIP);
    flv::assert_monotonic(&tags);
    let pictures: Vec<&Tag> = tags.iter().filter(|tag| tag.is_picture()).collect();
    let gaps: Vec<usize> =
        (1..pictures.len()).filter(|n| pictures[*n].ts - pictures[*n - 1].ts > 500).collect();
    assert!(!gaps.is_empty(), "nothing was left out of {} pictures", pictures.len());
    assert!(gaps.iter().all(|n| pictures[*n].data[0] >> 4 == 1), "a viewer went on at no keyframe");
    assert!(poll(SOON, || server.log().contains("too slow")), "{}", server.log());
}
