//! The programs for other machines (`target/dist/runnel-TRIPLE`, made by `cross/build.sh`), run under qemu-user as the
//! weakest processor that each is meant for: relaying frame by frame, joining late, signals.
//!
//! qemu translates system calls to this machine's kernel, so byte order, word size, structure layouts and missing
//! instructions show here; the kernel of the device, its speed and its memory do not.
use crate::media::relay_by;
use crate::support::flv::{self, Tag};
use crate::support::frames;
use crate::support::http::{Http, Viewer};
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, run_dir, usual_vhost};
use crate::support::tools::{self, Player, Publisher, ffmpeg_publish};
use crate::support::{clips, note, poll};
use std::ffi::OsStr;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const CLIP: Duration = Duration::from_secs(60);
const TAG: Duration = Duration::from_secs(20);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What runs a program of another machine.
fn emulator() -> PathBuf {
    root().join("cross/run.sh")
}

fn program(triple: &str) -> PathBuf {
    let path = root().join(format!("target/dist/runnel-{triple}"));
    assert!(path.exists(), "{} is missing; cross/build.sh {triple} makes it", path.display());
    path
}

fn runnel(triple: &str, arguments: &[&OsStr]) -> Output {
    Command::new(emulator()).arg(program(triple)).args(arguments).output().unwrap()
}

/// An emulated server with the usual vhost; `head` goes before everything else.
fn server(triple: &str, head: &str) -> Server {
    let conf = format!(
        "{head}\nlisten 127.0.0.1:$RTMP;\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         vhost __defaultVhost__ {{\n{}\n}}\n",
        usual_vhost("resume_wait 0;")
    );
    let (emulator, program) = (emulator(), program(triple));
    Server::of(&conf, &[emulator.to_str().unwrap(), program.to_str().unwrap()], &[])
}

/// The options, and what is said of a configuration: numbers in it are read and places in it named.
fn answers(triple: &str) {
    let version = runnel(triple, &["--version".as_ref()]);
    assert!(version.status.success(), "{version:?}");
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text:?}");

    let usual = runnel(triple, &["-t".as_ref(), "-c".as_ref(), root().join("conf/runnel.conf").as_ref()]);
    assert!(usual.status.success(), "{usual:?}");
    let path = run_dir().join("wrong.conf");
    std::fs::write(&path, "listen 1935;\nvhost __defaultVhost__ {\n    play { queue_length 10q; }\n}\n")
        .unwrap();
    let wrong = runnel(triple, &["-t".as_ref(), "-c".as_ref(), path.as_os_str()]);
    assert!(!wrong.status.success(), "{wrong:?}");
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains(&format!("{}:3:", path.display())), "{said:?}");
}

/// From ffmpeg to players that were there before: every frame, unchanged.
fn relays(triple: &str) {
    let server = server(triple, "");
    let players = [Player::Ffmpeg5Rtmp, Player::Ffmpeg5Http, Player::Rtmpdump, Player::Curl];
    let idle = server.rss_kib();
    relay_by(&server, Publisher::Ffmpeg5, &players, &clips::av());
    note(&format!(
        "{triple} under qemu: resident memory, with qemu's own, {idle} KiB idle, at most {} KiB with 4 viewers",
        server.peak_kib()
    ));
}

/// What joins late gets headers and a keyframe; times beyond 24 bits and signals in between change nothing.
fn serves_late_joiners(triple: &str) {
    let server = server(triple, "log_tank file;\nlog_file runnel.log;");
    let log = server.dir().join("runnel.log");
    let clip = clips::av();
    let more = ["-output_ts_offset", "16775"];
    let mut publish = ffmpeg_publish(&tools::ffmpeg(), &server, &clip, "x", &more);
    let mut first = Viewer::join(server.http, "/live/x.flv");
    first.until(TAG, |tag| tag.is_picture() && tag.ts > 2500);

    // As logrotate does it.
    std::fs::rename(&log, server.dir().join("runnel.log.1")).unwrap();
    server.signal("USR1");
    assert!(poll(Duration::from_secs(5), || log.exists()), "SIGUSR1 opens the log again");
    server.signal("HUP");

    let mut late = Viewer::join(server.http, "/live/x.flv");
    let mut rtmp = Player::Rtmpdump.play(&server, "x");
    assert_probed(&server.http_url("x"));
    assert_probed(&server.rtmp_url("x"));
    let tags = late.rest(TAG);
    publish.success(CLIP);
    rtmp.finish(Duration::from_secs(10));
    frames::assert_tail(&frames::of(&rtmp.file), &frames::of(&clip), "rtmpdump", 0);
    let picture = tags.iter().find(|tag| tag.is_picture()).unwrap();
    assert!(picture.is_key() && picture.ts < 1000, "a keyframe at {} ms", picture.ts);
    flv::assert_monotonic(&tags);
    for kind in [8, 9] {
        assert!(flv::assert_run(&tags, &flv::read(&clip), kind) > 0, "type {kind}: the joiner was late");
    }
    drop((first, rtmp, publish));
    server.assert_idle();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(!said.is_empty() && !said.contains("panicked"), "{said}");
}

/// ffprobe finds the two tracks and the size of the picture.
fn assert_probed(url: &str) {
    let out = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_name,width", "-of", "csv=p=0", url])
        .output()
        .unwrap();
    let mut tracks: Vec<String> = String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect();
    tracks.sort();
    assert_eq!(tracks, ["aac", "h264,640"], "{url}: {}", String::from_utf8_lossy(&out.stderr));
}

/// SIGQUIT: nobody new, those who are there go on, and the end comes with the last of them.
fn drains(triple: &str) {
    let mut server = server(triple, "");
    let tags = flv::read(&clips::av());
    let mut publisher = Rtmp::publish(server.rtmp, "x");
    let (now, later) = tags.split_at(tags.len() / 2);
    publisher.send(now);
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    viewer.until(TAG, Tag::is_key);
    server.signal("QUIT");
    let closed =
        |port: u16| poll(Duration::from_secs(5), || TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(closed(server.http) && closed(server.rtmp), "nobody new is taken");
    publisher.send(later);
    let last = later.iter().rfind(|tag| tag.is_picture()).unwrap();
    viewer.until(TAG, |tag| tag.data == last.data);
    drop((viewer, publisher));
    server.wait_end(Duration::from_secs(10));
}

/// Nobody publishes: a refusal with its reason, from an emulated server that then ends by SIGTERM.
fn refuses(triple: &str) {
    let server = server(triple, "");
    let mut http = Http::connect(server.http);
    http.get("/nothing.here", "");
    let head = http.head();
    assert_eq!(head.status, 404, "{head:?}");
    assert!(http.body(&head).len() > 1);
}

fn whole(triple: &str) {
    let size = std::fs::metadata(program(triple)).unwrap().len();
    note(&format!("{triple}: {size} bytes"));
    answers(triple);
    refuses(triple);
    relays(triple);
    serves_late_joiners(triple);
    drains(triple);
}

#[test]
fn mips() {
    whole("mips-unknown-linux-musl");
}

#[test]
fn mipsel() {
    whole("mipsel-unknown-linux-musl");
}

#[test]
fn armv7() {
    whole("armv7-unknown-linux-musleabihf");
}

#[test]
fn aarch64() {
    whole("aarch64-unknown-linux-musl");
}
