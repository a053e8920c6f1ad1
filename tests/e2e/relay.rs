//! Streams sent on to other servers: whole at the far end, and whatever happens there disturbs nobody here.
use crate::support::flv::{self, Tag};
use crate::support::http::{Http, Viewer};
use crate::support::proc::Proc;
use crate::support::server::{Server, free_port, usual_vhost};
use crate::support::tools::{self, Player, Publisher};
use crate::support::{clips, frames, note, poll};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

const TAG: Duration = Duration::from_secs(15);
const CLIP: Duration = Duration::from_secs(40);

/// A configuration of the usual vhost with `vhost` in it and `more` outside; figures are at `/metrics`.
fn conf(vhost: &str, more: &str) -> String {
    let usual = usual_vhost("resume_wait 0;").replace("wait 10s;", "wait 60s;");
    format!(
        "listen 127.0.0.1:$RTMP;\n{more}\n\
         http_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         http_api {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         vhost __defaultVhost__ {{\n{usual}\n{vhost}\n}}\n"
    )
}

fn forward(ports: &[u16]) -> String {
    let list: String = ports.iter().map(|port| format!(" 127.0.0.1:{port}")).collect();
    conf(&format!("forward {{ enabled on; destination{list}; }}"), "")
}

/// A viewer who waits for the stream if need be.
fn viewer(server: &Server) -> Http {
    let mut http = Http::connect(server.http);
    http.get("/live/x.flv", "");
    http
}

/// What a figure of `/metrics` is.
fn figure(server: &Server, name: &str) -> u64 {
    let mut http = Http::connect(server.http);
    http.get("/metrics", "");
    let head = http.head();
    let text = String::from_utf8(http.body(&head)).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

fn says(server: &Server, text: &str) {
    assert!(
        poll(Duration::from_secs(20), || server.log().contains(text)),
        "no {text:?} in\n{}",
        server.log()
    );
}

/// A port from which one connection goes on to `to`, and what was said to it.
fn overhear(to: u16) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let (mut from, _) = listener.accept().unwrap();
        let mut to = TcpStream::connect(("127.0.0.1", to)).unwrap();
        let (mut back, mut answers) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let answering = std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
        let (mut all, mut bytes) = (Vec::new(), [0; 65536]);
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            all.extend_from_slice(&bytes[..count]);
            to.write_all(&bytes[..count]).unwrap();
        }
        let _ = to.shutdown(Shutdown::Write);
        let _ = answering.join();
        all
    });
    (port, heard)
}

/// Fails unless a viewer here got every frame of the clip up to the last one it got.
fn assert_undisturbed(tags: &[Tag], source: &[Tag]) {
    for kind in [8, 9] {
        assert_eq!(flv::assert_run(tags, source, kind), 0, "type {kind}: nothing is missing at the start");
    }
    flv::assert_monotonic(tags);
}

/// Two destinations, one of them by name, and a viewer here: each gets every frame of what ffmpeg publishes, at one
/// offset in time; destinations are not counted as viewers.
#[test]
fn every_frame_arrives_at_two_destinations() {
    let (b, c) = (Server::usual(), Server::usual());
    let (port, heard) = overhear(b.rtmp);
    let list = format!("destination 127.0.0.1:{port} localhost:{};", c.rtmp);
    let a = Server::start(&conf(&format!("forward {{ enabled on; {list} }}"), ""));
    let clip = clips::av();
    let players = [(&a, Player::Curl), (&b, Player::Curl), (&c, Player::Rtmpdump)];
    let mut players = players.map(|(server, player)| player.play(server, "x"));
    assert!(poll(TAG, || a.connections() + b.connections() + c.connections() >= 3));
    std::thread::sleep(Duration::from_millis(500));
    let mut publish = Publisher::Ffmpeg5.publish(&a, &clip, "x");
    assert!(poll(TAG, || figure(&a, "runnel_forwards") == 2), "{}", a.log());
    assert_eq!(figure(&a, "runnel_viewers"), 1);
    publish.success(CLIP);
    let sent = frames::of(&clip);
    for play in &mut players {
        play.finish(Duration::from_secs(20));
        frames::assert_all(&frames::of(&play.file), &sent, &format!("{:?}", play.player), 0);
    }
    // Metadata goes out as a publisher's, and is there for those who join.
    let heard = heard.join().unwrap();
    let word = b"@setDataFrame\x02\x00\x0aonMetaData";
    assert_eq!(heard.windows(word.len()).filter(|part| part == word).count(), 1);
    assert!(flv::read(&players[1].file).iter().any(|tag| tag.kind == 18), "metadata at the far end");
    drop((players, publish));
    [&a, &b, &c].iter().for_each(|server| server.assert_idle());
    assert!(a.log().contains("ended after"), "{}", a.log());
    assert!(!a.log().contains("tried again"), "{}", a.log());
}

/// Down at first, there, gone, and there again: each time it is sent the stream from a keyframe on, with the headers.
#[test]
fn a_destination_comes_and_goes() {
    let port = free_port();
    let a = Server::start(&forward(&[port]));
    let far = || Server::start(&conf("", &format!("listen 127.0.0.1:{port};")));
    let clip = clips::long_gop();
    let here = viewer(&a);
    let here = std::thread::spawn(move || Viewer::started(here).rest(CLIP));
    let mut publish = Publisher::Ffmpeg5.publish(&a, &clip, "x");
    says(&a, "failed: ");
    let source = flv::read(&clip);
    for round in 0..2 {
        let b = far();
        let tags = Viewer::started(viewer(&b)).until(TAG, |tag| tag.ts >= 1_500);
        let opening: Vec<&Tag> = tags.iter().take_while(|tag| !tag.is_frame()).collect();
        assert!(opening.iter().any(|tag| tag.is_video_header()), "round {round}: the header of video");
        assert!(opening.iter().any(|tag| tag.is_audio_header()), "round {round}: that of audio");
        assert!(tags.iter().find(|tag| tag.is_picture()).unwrap().is_key(), "round {round}: a keyframe");
        flv::assert_run(&tags, &source, 9);
        flv::assert_run(&tags, &source, 8);
        flv::assert_monotonic(&tags);
        drop(b);
        says(&a, "ended after");
    }
    assert!(publish.running(), "{}", publish.tail());
    publish.kill();
    assert_undisturbed(&here.join().unwrap(), &source);
    let log = a.log();
    let told = log.lines().filter(|line| line.contains("forward of")).count();
    assert!((4..=10).contains(&told), "{told} lines about it:\n{log}");
}

/// Every way in which a destination can be wrong: each is told with its reason, once, and nobody here notices.
#[test]
fn what_is_wrong_with_a_destination_is_told_and_disturbs_nobody() {
    let closed = free_port();
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let strict = Server::start(&conf("security { enabled on; deny publish all; allow play all; }", ""));
    let list = format!(
        "127.0.0.1:{closed} {} 127.0.0.1:{} 127.0.0.1:{} no-such-host.invalid 127.0.0.1:$HTTP localhost:$RTMP",
        silent.local_addr().unwrap(),
        strict.rtmp,
        strict.http,
    );
    let a = Server::start(&conf(&format!("forward {{ enabled on; destination {list}; }}"), ""));
    let clip = clips::long_gop();
    let here = viewer(&a);
    let here = std::thread::spawn(move || Viewer::started(here).rest(CLIP));
    let mut publish = Publisher::Ffmpeg5.publish(&a, &clip, "x");
    for (to, why) in [
        (format!("127.0.0.1:{closed}"), "refused"),
        (silent.local_addr().unwrap().to_string(), "no answer in 10 s"),
        (format!("127.0.0.1:{}", strict.rtmp), "it refuses: "),
        (format!("127.0.0.1:{}", strict.http), "it does not speak RTMP"),
        (format!("127.0.0.1:{}", a.http), "it does not speak RTMP"),
        ("no-such-host.invalid:1935".into(), "its address is not found"),
        (format!("localhost:{}", a.rtmp), "it is this server itself"),
    ] {
        let start = format!("forward of live/x to {to} failed: ");
        let line = || a.log().lines().find(|line| line.contains(&start)).map(str::to_owned);
        assert!(poll(Duration::from_secs(20), || line().is_some()), "nothing of {to}:\n{}", a.log());
        assert!(line().unwrap().contains(why), "{to}: {:?}", line());
    }
    // Others were tried three times and more by now.
    let lines = a.log().lines().filter(|line| line.contains("forward of")).count();
    assert!((7..=9).contains(&lines), "{lines} lines:\n{}", a.log());
    assert_eq!((figure(&a, "runnel_forwards"), figure(&a, "runnel_viewers")), (0, 1));
    assert!(publish.running(), "{}", publish.tail());
    publish.kill();
    assert_undisturbed(&here.join().unwrap(), &flv::read(&clip));
    drop(silent);
    a.assert_idle();
}

/// A destination that takes nothing for a while leaps to a keyframe; the other one, and a viewer here, miss nothing.
#[test]
fn a_slow_destination_leaps_and_costs_nobody_anything() {
    let (slow, other) = (Server::usual(), Server::usual());
    let text = forward(&[slow.rtmp, other.rtmp]).replace("queue_length 10;", "queue_length 2;");
    let a = Server::start(&text);
    let clip = clips::heavy();
    let viewers = [&a, &other].map(|server| {
        let http = viewer(server);
        std::thread::spawn(move || Viewer::started(http).rest(CLIP))
    });
    let far = viewer(&slow);
    let far = std::thread::spawn(move || Viewer::started(far).rest(CLIP));
    let clock = viewer(&a);
    let mut publish = Publisher::Ffmpeg5.publish(&a, &clip, "x");
    let mut clock = Viewer::started(clock);
    clock.until(TAG, |tag| tag.ts >= 1_000);
    slow.signal("STOP");
    // Eleven seconds are some 13 MB; the kernel's buffers of both ends take a few, the feed has two seconds.
    clock.until(TAG, |tag| tag.ts >= 12_000);
    note(&format!("forward: {} MB resident with a destination that takes nothing", a.rss_kib() / 1024));
    slow.signal("CONT");
    let leapt = poll(Duration::from_secs(10), || figure(&a, "runnel_skipped_gops_total") > 0);
    assert!(leapt, "{}", a.log());
    clock.rest(TAG);
    publish.success(CLIP);
    let tags = far.join().unwrap();
    let source = flv::read(&clip);
    for viewer in viewers {
        let tags = viewer.join().unwrap();
        assert_undisturbed(&tags, &source);
        let frames = |tags: &[Tag]| tags.iter().filter(|tag| tag.is_frame()).count();
        assert_eq!(frames(&tags), frames(&source));
    }
    let pictures =
        |tags: &[Tag]| tags.iter().filter(|tag| tag.is_picture()).map(|t| t.data.clone()).collect();
    let (got, sent): (Vec<_>, Vec<_>) = (pictures(&tags), pictures(&source));
    assert!(got.len() < sent.len(), "something was left out");
    assert_eq!(got.last(), sent.last(), "and it is back");
    // After each gap a keyframe follows.
    let mut next = 0;
    for (picture, data) in tags.iter().filter(|tag| tag.is_picture()).zip(&got) {
        let at = next
            + sent[next..].iter().position(|one| one == data).expect("a picture of the source, in order");
        assert!(at == next || picture.is_key(), "picture {at} follows {next} and is no keyframe");
        next = at + 1;
    }
    says(&a, "too slow");
}

#[test]
fn a_reload_adds_and_removes_destinations_while_people_watch() {
    let (b, c) = (Server::usual(), Server::usual());
    let a = Server::start(&conf("", ""));
    let clip = clips::long_gop();
    let here = viewer(&a);
    let here = std::thread::spawn(move || Viewer::started(here).rest(CLIP));
    let mut publish = Publisher::Ffmpeg5.publish(&a, &clip, "x");
    says(&a, "live/x is live");
    let at_b = viewer(&b);
    a.reload(&forward(&[b.rtmp]));
    let mut at_b = Viewer::started(at_b);
    at_b.until(TAG, Tag::is_key);
    let at_c = viewer(&c);
    a.reload(&forward(&[c.rtmp]));
    Viewer::started(at_c).until(TAG, Tag::is_key);
    at_b.rest(TAG);
    says(&b, "publisher of live/x left");
    assert_eq!((figure(&a, "runnel_forwards"), figure(&a, "runnel_viewers")), (1, 1));
    assert!(publish.running(), "{}", publish.tail());
    publish.kill();
    assert_undisturbed(&here.join().unwrap(), &flv::read(&clip));
}

/// Each sends to the other. The stream is at both; the way back is refused in words, and takes nothing over though both
/// have the address of the encoder.
#[test]
fn a_loop_is_refused_and_the_stream_goes_on() {
    let port = free_port();
    let a = Server::start(&forward(&[port]));
    let back = format!("forward {{ enabled on; destination 127.0.0.1:{}; }}", a.rtmp);
    let b = Server::start(&conf(&back, &format!("listen 127.0.0.1:{port};")));
    let clip = clips::av();
    let viewers = [&a, &b].map(|server| {
        let http = viewer(server);
        std::thread::spawn(move || Viewer::started(http).rest(CLIP))
    });
    std::thread::sleep(Duration::from_millis(300));
    let mut publish = Publisher::Ffmpeg5.publish(&a, &clip, "x");
    publish.success(CLIP);
    let source = flv::read(&clip);
    for viewer in viewers {
        let tags = viewer.join().unwrap();
        assert_undisturbed(&tags, &source);
        let frames = |tags: &[Tag]| tags.iter().filter(|tag| tag.is_frame()).count();
        assert_eq!(frames(&tags), frames(&source));
    }
    says(&b, "it refuses: this server sends out this stream itself: a loop");
    assert_eq!(a.log().matches("a loop of `forward`").count(), 1, "{}", a.log());
    assert_eq!(a.log().matches("publisher of live/x came").count(), 1, "{}", a.log());
}

/// A server that others have written: ffmpeg takes the stream, with the metadata as a publisher sends them.
#[test]
fn ffmpeg_is_a_destination() {
    let port = free_port();
    let a = Server::start(&forward(&[port]));
    let file = a.dir().join("taken.flv");
    let mut command = Command::new(tools::ffmpeg());
    command.args(["-hide_banner", "-nostdin", "-loglevel", "info", "-listen", "1"]);
    command.args(["-i", &format!("rtmp://127.0.0.1:{port}/live/x"), "-c", "copy", "-copyts"]);
    command.args(["-flvflags", "no_duration_filesize", "-f", "flv"]).arg(&file);
    let mut taker = Proc::spawn("taker", a.dir(), command);
    let clip = clips::av();
    let mut publish = Publisher::Ffmpeg5.publish(&a, &clip, "x");
    says(&a, "runs");
    publish.success(CLIP);
    taker.wait(CLIP);
    // It is called again after 3 s if it did not listen yet.
    frames::assert_tail(&frames::of(&file), &frames::of(&clip), "ffmpeg", 0);
    assert!(taker.log().contains("runnel"), "metadata: {}", taker.log());
}

/// The two samples together, with their ports moved.
#[test]
fn the_samples_of_forward_work_together() {
    let sample = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let slave = sample("forward.slave.conf");
    let slave = slave.replace("19350;", "127.0.0.1:$RTMP;").replace("18080;", "127.0.0.1:$HTTP;");
    let slave = Server::start(&slave);
    let master = sample("forward.master.conf");
    let master = master.replace("listen              1935;", "listen 127.0.0.1:$RTMP;");
    let master = master.replace("8080;", "127.0.0.1:$HTTP;");
    let master = Server::start(&master.replace("127.0.0.1:19350;", &format!("127.0.0.1:{};", slave.rtmp)));
    let far = viewer(&slave);
    let mut publish = Publisher::Ffmpeg5.publish(&master, &clips::av(), "x");
    Viewer::started(far).until(TAG, |tag| tag.ts >= 1_000);
    publish.kill();
}
