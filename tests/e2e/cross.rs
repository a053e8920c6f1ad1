//! The programs for other machines (`target/dist/runnel-TRIPLE`, made by `cross/build.sh`), run under qemu-user as the
//! weakest processor that each is meant for: relaying frame by frame in every container, HLS, joining late, a reload,
//! signals.
//!
//! qemu translates system calls to this machine's kernel, so byte order, word size, structure layouts and missing
//! instructions show here; the kernel of the device, its speed and its memory do not.
use crate::containers::{assert_decodes, units, viewer};
use crate::hls;
use crate::media::relay_by;
use crate::support::flv::{self, Tag};
use crate::support::frames;
use crate::support::http::{Http, Viewer};
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, free_port, run_dir, usual_vhost};
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

/// A configuration; `head` goes before everything else.
fn conf(head: &str, vhost: &str) -> String {
    format!(
        "{head}\nlisten 127.0.0.1:$RTMP;\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         vhost __defaultVhost__ {{\n{vhost}\n}}\n"
    )
}

/// An emulated server.
fn server_of(triple: &str, conf: &str) -> Server {
    let (emulator, program) = (emulator(), program(triple));
    Server::of(conf, &[emulator.to_str().unwrap(), program.to_str().unwrap()], &[])
}

/// An emulated server with the usual vhost; `head` goes before everything else.
fn server(triple: &str, head: &str) -> Server {
    server_of(triple, &conf(head, &usual_vhost("resume_wait 0;")))
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

/// From ffmpeg to players that were there before, by RTMP and in every container: each frame, unchanged, while the
/// configuration is read again. Afterwards the same as HLS, encrypted, from memory; its files are on the disk too, and so
/// is a recording.
fn relays(triple: &str) {
    let files = run_dir();
    let mounts = ["flv", "ts", "mp4", "aac"].map(|end| format!("[vhost]/[app]/[stream].{end}")).join(" ");
    let vhost = format!(
        "http_remux {{ enabled on; mount {mounts}; no_stream wait; wait 10s; }}\n\
         play {{ mw_latency 350; queue_length 10; }}\n\
         publish {{ resume_wait 0; }}\n\
         hls {{ enabled on; hls_fragment 2; hls_window 60; hls_keys on; hls_fragments_per_key 2;\n\
         hls_storage both; hls_path {0}; }}\n\
         dvr {{ enabled on; dvr_path {0}/rec/[stream].flv; }}",
        files.display()
    );
    let server = server_of(triple, &conf("", &vhost));
    let clip = clips::av();
    let players = [Player::Ffmpeg5Rtmp, Player::Ffmpeg5Http, Player::Rtmpdump, Player::Curl];
    let idle = server.rss_kib();
    let mut viewers = ["x.ts", "x.mp4", "x.aac"].map(|name| viewer(&server, name));
    assert!(poll(Duration::from_secs(10), || server.connections() >= viewers.len()));
    std::thread::scope(|scope| {
        scope.spawn(|| reloads(&server, &vhost));
        relay_by(&server, Publisher::Ffmpeg5, &players, &clip);
    });
    note(&format!(
        "{triple} under qemu: resident memory, with qemu's own, {idle} KiB idle, at most {} KiB with 7 viewers",
        server.peak_kib()
    ));
    for (curl, path) in &mut viewers {
        curl.success(Duration::from_secs(10));
        assert_decodes(path);
    }
    let [ts, mp4, aac] = viewers.map(|(_, path)| path);
    let others = "filter_units=remove_types=7-9";
    let pictures = units(&clip, "v", &format!("h264_mp4toannexb,{others}"));
    assert!(pictures.len() > 100 && units(&ts, "v", others) == pictures, "MPEG-TS: the pictures differ");
    for path in [&ts, &aac] {
        let sound = units(path, "a", "aac_adtstoasc");
        assert!(sound == units(&clip, "a", "null"), "{}: the sound differs", path.display());
    }
    frames::assert_all(&frames::of(&mp4), &frames::of(&clip), "fragmented MP4", 0);
    hls::assert_same(&server, "x", &clip);
    let list = std::fs::read_to_string(files.join("live/x.m3u8")).unwrap();
    assert!(list.ends_with("#EXT-X-ENDLIST\n") && list.contains("METHOD=AES-128"), "{list}");
    let recording = files.join("rec/x.flv");
    assert!(poll(Duration::from_secs(5), || recording.exists()), "{}", server.log());
    frames::assert_all(&frames::of(&recording), &frames::of(&clip), "the recording", 0);
    drop(server);
    std::fs::remove_dir_all(files).unwrap();
}

/// While a stream is live: a file with a mistake changes nothing, a right one opens a port and adds a vhost, and
/// the first one again takes both away.
fn reloads(server: &Server, vhost: &str) {
    assert!(poll(CLIP, || server.log().contains("live/x is live")), "{}", server.log());
    let said = server.reload(&conf("oops;", vhost));
    assert!(said.contains("unknown directive `oops`") && said.contains("stays so"), "{said}");
    let port = free_port();
    let more = format!("listen 127.0.0.1:{port}; vhost other {{ min_latency on; }}");
    let said = server.reload(&conf(&more, vhost));
    assert!(said.contains("vhost other added"), "{said}");
    let open = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(open(), "the new port is closed: {said}");
    let said = server.reload(&conf("", vhost));
    assert!(said.contains("vhost other removed") && !open(), "{said}");
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
