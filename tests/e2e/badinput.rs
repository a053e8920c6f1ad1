//! Streams as they should not be, and requests as they should not be: what viewers in every container get then, and with
//! which status and words a request is answered. Streams are sent at once, so a minute of one takes no time.
use crate::support::flv::{self, Tag};
use crate::support::http::{Http, Viewer};
use crate::support::proc::Proc;
use crate::support::rtmp::{Amf, Rtmp};
use crate::support::server::{Server, usual_vhost};
use crate::support::tools;
use crate::support::{clips, poll};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const TAG: Duration = Duration::from_secs(10);

/// Tags that come `ms` later.
fn later(mut tags: Vec<Tag>, ms: u32) -> Vec<Tag> {
    tags.iter_mut().for_each(|tag| tag.ts += ms);
    tags
}

/// A server where viewers may come first, in every container.
pub(crate) fn server() -> Server {
    Server::vhost(&every_container(&usual_vhost("resume_wait 0;")))
}

pub(crate) fn every_container(vhost: &str) -> String {
    let mounts =
        ["flv", "ts", "aac", "mp3", "mp4"].map(|end| format!("[vhost]/[app]/[stream].{end}")).join(" ");
    vhost.replace("mount [vhost]/[app]/[stream].flv;", &format!("mount {mounts};"))
}

/// A viewer in the container that `end` names, into a file.
pub(crate) fn watch(server: &Server, end: &str) -> (Proc, PathBuf) {
    let path = server.dir().join(format!("x.{end}"));
    let mut command = Command::new("curl");
    let url = server.http_url("x").replace("flv", end);
    command.args(["--silent", "--show-error", "--fail", "--no-buffer", &url, "-o"]).arg(&path);
    (Proc::spawn(&format!("curl-{end}"), server.dir(), command), path)
}

/// Viewers in these containers that are there before the stream is; it is published as these tags, whole.
pub(crate) fn seen_by<const N: usize>(server: &Server, ends: [&str; N], tags: &[Tag]) -> [PathBuf; N] {
    let viewers = ends.map(|end| watch(server, end));
    assert!(poll(TAG, || server.connections() >= N));
    // What a viewer asks is read a moment after its connection is made.
    std::thread::sleep(Duration::from_millis(300));
    let mut publisher = Rtmp::publish(server.rtmp, "x");
    publisher.send(tags);
    publisher.unpublish("x");
    viewers.map(|(mut curl, path)| {
        curl.success(TAG);
        path
    })
}

/// What ffmpeg decodes of a file: pictures, and seconds of sound. It must have nothing to say.
pub(crate) fn decoded(path: &Path) -> (usize, f64) {
    let (found, said) = decode(path);
    assert!(said.is_empty(), "{}: {said}", path.display());
    found
}

/// The same, and what it has to say.
fn decode(path: &Path) -> ((usize, f64), String) {
    let run = |args: &[&str]| {
        let mut command = Command::new(tools::ffmpeg7());
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-i"]).arg(path).args(args);
        let out = command.args(["-f", "framemd5", "-"]).output().unwrap();
        let mut said = String::from_utf8_lossy(&out.stderr).into_owned();
        // A track that is not there, or is empty, is none.
        if said.contains("does not contain any stream") || said.contains("Cannot determine format of input") {
            said.clear();
        }
        let text = String::from_utf8(out.stdout).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let durations = lines.map(|line| line.split(',').nth(3).unwrap().trim().parse::<u32>().unwrap());
        (durations.collect::<Vec<_>>(), said)
    };
    let (pictures, said) = run(&["-an", "-fps_mode", "passthrough"]);
    let (sounds, more) = run(&["-vn", "-ar", "44100"]);
    ((pictures.len(), f64::from(sounds.iter().sum::<u32>()) / 44100.0), said + &more)
}

/// The parts of a fragmented MP4 file that each begin with a header.
fn parts(path: &Path) -> Vec<PathBuf> {
    let file = std::fs::read(path).unwrap();
    let mut starts = Vec::new();
    let mut at = 0;
    while at + 8 <= file.len() {
        if &file[at + 4..at + 8] == b"ftyp" {
            starts.push(at);
        }
        at += u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    }
    assert_eq!(at, file.len(), "whole boxes");
    starts.push(file.len());
    let part = |(n, ends): (usize, &[usize])| {
        let part = path.with_extension(format!("{n}.mp4"));
        std::fs::write(&part, &file[ends[0]..ends[1]]).unwrap();
        part
    };
    starts.windows(2).enumerate().map(part).collect()
}

pub(crate) fn pictures(tags: &[Tag]) -> usize {
    tags.iter().filter(|tag| tag.is_picture()).count()
}

/// 640x360, then 320x240 with another sound, in one publication.
#[test]
fn the_picture_changes_its_size_within_a_stream() {
    let server = server();
    let (first, second) = (flv::read(&clips::av()), flv::read(&clips::other()));
    let tags = [first.clone(), later(second.clone(), 8100)].concat();
    let [flv_file, ts, mp4] = seen_by(&server, ["flv", "ts", "mp4"], &tags);
    let all = pictures(&first) + pictures(&second);
    let got = flv::read(&flv_file);
    flv::assert_monotonic(&got);
    assert_eq!(pictures(&got), all);
    assert_eq!(got.iter().filter(|tag| tag.is_video_header()).count(), 2, "the new header is passed on");
    assert_eq!(decoded(&ts).0, all);
    let parts = parts(&mp4);
    let each: Vec<usize> = parts.iter().map(|part| decoded(part).0).collect();
    // A header more where the sound changes a frame apart from the picture.
    assert!(each.len() <= 3 && each.iter().sum::<usize>() == all, "{each:?}");
    server.assert_idle();
}

/// A picture from the start, sound three seconds later, which nothing had announced.
#[test]
fn sound_that_appears_late_is_heard() {
    let server = server();
    let mut tags = flv::read(&clips::av());
    tags.retain(|tag| tag.kind != 18 && (tag.kind != 8 || tag.is_audio_header() || tag.ts >= 3000));
    let header = tags.iter().position(Tag::is_audio_header).unwrap();
    let header = tags.remove(header);
    let first = tags.iter().position(|tag| tag.kind == 8).unwrap();
    tags.insert(first, Tag { ts: 3000, ..header });
    let viewers = ["flv", "ts", "mp4"].map(|end| watch(&server, end));
    assert!(poll(TAG, || server.connections() >= viewers.len()));
    std::thread::sleep(Duration::from_millis(300));
    let mut publisher = Rtmp::publish(server.rtmp, "x");
    let (silent, rest) = tags.split_at(first);
    publisher.send(silent);
    // The viewers have begun with the picture alone.
    assert!(
        poll(TAG, || server.log().matches("viewer of live/x came").count() == viewers.len()),
        "{}",
        server.log()
    );
    publisher.send(rest);
    publisher.unpublish("x");
    let [flv_file, ts, mp4] = viewers.map(|(mut curl, path)| {
        curl.success(TAG);
        path
    });
    let all = pictures(&tags);
    for path in [&flv_file, &ts] {
        let (pictures, seconds) = decoded(path);
        assert_eq!(pictures, all, "{}", path.display());
        assert!((4.9..5.2).contains(&seconds), "{}: {seconds} s of sound", path.display());
    }
    // In MP4 it begins with the keyframe at four seconds, behind a header that has it.
    let parts = parts(&mp4);
    let each: Vec<(usize, f64)> = parts.iter().map(|part| decoded(part)).collect();
    let [(before, none), (after, sound)] = each[..] else { panic!("{each:?}") };
    assert_eq!((before + after, none), (all, 0.0), "{each:?}");
    assert!((3.9..4.2).contains(&sound), "{each:?}");
}

/// A keyframe and then none for more than a minute, as intra refresh and careless encoders have it.
#[test]
fn no_keyframe_for_a_minute() {
    let vhost = usual_vhost("resume_wait 0;").replace("mw_latency 350; queue_length 10;", "queue_length 30;");
    let server = Server::vhost(&format!("min_latency on; {}", every_container(&vhost)));
    let clip = flv::read(&clips::long_gop());
    let second_key = clip.iter().rposition(Tag::is_key).unwrap();
    let (gop, rest) = clip.split_at(second_key);
    let deltas: Vec<Tag> = gop.iter().filter(|tag| tag.is_frame() && !tag.is_key()).cloned().collect();
    let mut publisher = Rtmp::publish(server.rtmp, "x");
    publisher.send(gop);
    (1..6).for_each(|n| publisher.send(&later(deltas.clone(), n * 10_000)));
    // The answer to this comes when all of that was taken.
    publisher.command(0, &[Amf::Text("releaseStream"), Amf::Number(9.0), Amf::Null, Amf::Text("x")]);
    publisher.expect("_result");
    // The keyframe has long left the log. Who comes now waits for one for ten seconds of the stream's time, not for ever.
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    let others = ["ts", "mp4"].map(|end| watch(&server, end));
    assert!(poll(TAG, || server.log().matches("viewer of live/x came").count() == 3), "{}", server.log());
    let before = server.rss_kib();
    for half in later([deltas.clone(), later(deltas, 10_000)].concat(), 60_000).chunks(35) {
        publisher.send(half);
        // So that it is not taken for a viewer that is slow.
        std::thread::sleep(Duration::from_millis(15));
    }
    let seen = viewer.until(TAG, Tag::is_picture);
    assert!(seen.iter().any(Tag::is_video_header) && seen.iter().any(Tag::is_audio_header));
    assert!(!seen[seen.len() - 1].is_key());
    let grown = server.rss_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more");
    // With the keyframe at last all see a picture.
    publisher.send(&later(rest.to_vec(), 70_000));
    publisher.unpublish("x");
    let tags = viewer.rest(TAG);
    assert!(tags.iter().any(Tag::is_key) && pictures(&tags) >= pictures(rest));
    flv::assert_monotonic(&tags);
    for (mut curl, path) in others {
        curl.success(TAG);
        // What came before the keyframe gives a decoder something to say.
        let ((pictures, seconds), _) = decode(&path);
        assert!(pictures >= self::pictures(rest), "{}: {pictures} pictures", path.display());
        assert!(seconds > 9.0, "{}: {seconds} s of sound", path.display());
    }
}

/// A day forward, and an hour back: what viewers see goes on within a second.
#[test]
fn jumps_of_time_are_closed_in_every_container() {
    let server = server();
    let clip = flv::read(&clips::av());
    let second = clip.iter().filter(|tag| tag.is_key()).nth(1).unwrap().ts;
    let (mut tags, rest): (Vec<Tag>, Vec<Tag>) = clip.into_iter().partition(|tag| tag.ts < second);
    let frames: Vec<Tag> = rest.into_iter().filter(|tag| tag.ts < 2 * second).collect();
    const DAY: u32 = 24 * 3600 * 1000;
    tags.extend(later(frames.clone(), DAY));
    tags.extend(later(frames.clone(), DAY - 3_600_000));
    tags.extend(later(frames, 0));
    let all = pictures(&tags);
    let [flv_file, ts, mp4] = seen_by(&server, ["flv", "ts", "mp4"], &tags);
    let got = flv::read(&flv_file);
    flv::assert_monotonic(&got);
    let times: Vec<u32> = got.iter().filter(|tag| tag.is_picture()).map(|tag| tag.ts).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] < 1000), "{times:?}");
    assert_eq!(times.len(), all);
    for path in [ts, mp4] {
        let (pictures, _) = decoded(&path);
        assert_eq!(pictures, all, "{}", path.display());
    }
}

/// 415 with what does not fit, in one line; the same stream is there in what fits.
#[test]
fn codecs_that_do_not_fit_are_refused_in_one_line() {
    let server = server();
    let cases = [
        (
            "av1",
            flv::read(&clips::av1()),
            "ts",
            "MPEG-TS cannot carry this stream's video, which is AV1",
            "mp4",
        ),
        ("mp3", flv::read(&clips::mp3()), "aac", "AAC cannot carry this stream's audio, which is MP3", "mp3"),
        ("silent", flv::read(&clips::video_only()), "aac", "this stream has no audio for AAC", "ts"),
        (
            "vp6",
            vec![
                Tag { kind: 9, ts: 0, data: b"\x14\0vp6".to_vec() },
                Tag { kind: 9, ts: 40, data: b"\x24\0vp6".to_vec() },
            ],
            "mp4",
            "the stream has VP6; fragmented MP4 here has H264, HEVC and AV1, AAC, MP3, Opus and FLAC",
            "flv",
        ),
    ];
    let mut publishers = Vec::new();
    for (name, tags, bad, said, good) in cases {
        let mut publisher = Rtmp::publish(server.rtmp, name);
        publisher.send(&tags[..tags.len().min(200)]);
        publishers.push(publisher);
        let ask = |end: &str| {
            let mut http = Http::connect(server.http);
            http.get(&format!("/live/{name}.{end}"), "Origin: http://page.lan\r\n");
            let head = http.head();
            (head.status, http, head)
        };
        let (status, mut http, head) = ask(bad);
        let body = String::from_utf8(http.body(&head)).unwrap();
        assert_eq!((status, body.as_str()), (415, format!("{said}\n").as_str()), "{name}");
        assert_eq!(head.get("cache-control"), Some("no-store"), "no proxy keeps it");
        assert_eq!(head.get("access-control-allow-origin"), Some("*"), "a page may read why");
        assert_eq!(ask(good).0, 200, "{name}.{good}");
    }
}

/// The status of each bad request, its one line, and what becomes of the connection.
#[test]
fn bad_requests_have_their_status() {
    let server = Server::vhost("http_remux { enabled on; no_stream 404; }");
    let get = |target: &str, more: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    let long = |count: usize| "a".repeat(count);
    let cases = [
        ("414", get(&format!("/{}", long(9000)), ""), true),
        ("431", get("/x", &format!("Cookie: {}\r\n", long(17_000))), true),
        ("431", get("/x", &"A: b\r\n".repeat(65)), true),
        ("413", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n".to_owned(), true),
        ("400", get("/x", "Content-Length: 1\r\nContent-Length: 2\r\n"), true),
        ("400", get("/x", "Host: b\r\n"), true),
        ("400", get("x", ""), true),
        ("400", get("/x", "no colon\r\n"), true),
        ("405", "POST /live/x.flv HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_owned(), false),
        ("405", "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), false),
        ("404", get("/live/x.flv", ""), false),
        ("404", get("/nowhere", ""), false),
    ];
    for (status, request, closes) in cases {
        let mut http = Http::connect(server.http);
        http.send(&request);
        let head = http.head();
        let start: String = request.chars().take(60).collect();
        assert_eq!(head.status.to_string(), status, "{start}: {head:?}");
        let body = String::from_utf8(http.body(&head)).unwrap();
        assert!(body.ends_with('\n') && body.lines().count() == 1, "{start}: {body:?}");
        assert_eq!(head.get("cache-control"), Some("no-store"), "{start}");
        assert_eq!(head.get("allow").is_some(), status == "405", "{start}");
        assert_eq!(head.get("connection"), Some(if closes { "close" } else { "keep-alive" }), "{start}");
        if closes {
            assert!(http.closed(TAG).is_empty(), "{start}");
        } else {
            http.get("/", "");
            assert_eq!(http.head().status, 200, "{start}: the next request is read from its start");
        }
    }
    server.assert_idle();
}

/// Heads that come a byte at a time end when their time is over, however many bytes come; others are served meanwhile.
#[test]
fn heads_that_drip_are_given_up() {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP;\nhandshake_timeout 2s;\nhttp_server { enabled on; listen 127.0.0.1:$HTTP; }\n\
         vhost __defaultVhost__ { http_remux { enabled on; no_stream 404; } }\n",
    );
    let start = Instant::now();
    let mut slow: Vec<Http> = (0..40).map(|_| Http::connect(server.http)).collect();
    assert!(poll(TAG, || server.connections() == slow.len()));
    let mut sent = 0;
    let mut line = "GET /live/x.flv HTTP/1.1\r\nHost: a\r\n".bytes().chain(std::iter::repeat(b'a'));
    let gone = poll(Duration::from_secs(20), || {
        let byte = [line.next().unwrap()];
        slow.iter_mut().for_each(|http| drop(std::io::Write::write(&mut http.socket, &byte)));
        sent += 1;
        server.connections() == 0
    });
    assert!(gone, "{} are there after {sent} bytes and {:?}", server.connections(), start.elapsed());
    assert!(
        start.elapsed() >= Duration::from_secs(1) && sent > 20,
        "they had their time: {:?}",
        start.elapsed()
    );
    let said = String::from_utf8(slow.remove(0).closed(TAG)).unwrap();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    let mut http = Http::connect(server.http);
    http.get("/", "");
    assert_eq!(http.head().status, 200);
}

/// Which vhost answers: the host of an absolute address before the header, with or without port, and `vhost=` before both.
#[test]
fn the_host_decides_the_vhost() {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP;\nhttp_server { enabled on; listen 127.0.0.1:$HTTP; }\n\
         vhost __defaultVhost__ { http_remux { enabled on; no_stream 404; } }\n\
         vhost cam.lan { http_remux { enabled on; mount [vhost]/[stream].flv; no_stream 404; } }\n",
    );
    let mut publisher = Rtmp::publish(server.rtmp, "x?vhost=cam.lan");
    publisher.send(&flv::read(&clips::av())[..100]);
    let status = |request: &str| {
        let mut http = Http::connect(server.http);
        http.send(request);
        http.head().status
    };
    assert!(poll(TAG, || status("GET /x.flv HTTP/1.1\r\nHost: cam.lan\r\n\r\n") == 200));
    for (request, expected) in [
        ("GET /x.flv HTTP/1.1\r\nHost: cam.lan:8080\r\n\r\n", 200),
        ("GET /x.flv HTTP/1.1\r\nHost: CAM.lan\r\n\r\n", 200),
        ("GET http://cam.lan:80/x.flv HTTP/1.1\r\nHost: elsewhere\r\n\r\n", 200),
        ("GET /x.flv?vhost=cam.lan HTTP/1.0\r\n\r\n", 200),
        ("GET /x.flv HTTP/1.1\r\nHost: other.lan\r\n\r\n", 404),
        ("GET http://other.lan/x.flv HTTP/1.1\r\nHost: cam.lan\r\n\r\n", 404),
        ("GET /x.flv HTTP/1.0\r\n\r\n", 404),
        ("GET /x.flv HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 404),
        ("GET /x.flv HTTP/1.1\r\nHost: ../../etc\r\n\r\n", 400),
    ] {
        assert_eq!(status(request), expected, "{request}");
    }
}
