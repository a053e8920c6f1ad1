//! Recordings that are asked to begin elsewhere: MP4 by `start=` and `end=`, FLV by the list of its keyframes; what real
//! files become, as ffmpeg reads them, and what hostile ones get.
use crate::files::{LIMIT, ask, serving, tags};
use crate::support::flv::{self, Tag};
use crate::support::http::Http;
use crate::support::rtmp::Rtmp;
use crate::support::server::Server;
use crate::support::{clips, poll, tools};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

fn output(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
    String::from_utf8(out.stdout).unwrap()
}

fn ffmpeg(arguments: &[&str]) -> String {
    let quiet = ["-hide_banner", "-nostdin", "-loglevel", "error", "-y"];
    output(&tools::ffmpeg(), &[&quiet, arguments].concat())
}

/// A coded frame: when it is due, in seconds, whether it is a keyframe, and a hash.
#[derive(Debug, Clone)]
struct Packet {
    due: f64,
    key: bool,
    hash: String,
}

/// The frames of a track (`v` or `a`), by when they are due.
fn packets(path: &Path, track: &str) -> Vec<Packet> {
    let show = ["-show_entries", "packet=pts_time,flags,data_hash", "-show_data_hash", "md5"];
    let plain = ["-v", "error", "-select_streams", track, "-of", "default=nokey=1:noprint_wrappers=1"];
    let text = output("ffprobe", &[&plain, &show[..], &[path.to_str().unwrap()]].concat());
    let lines: Vec<&str> = text.lines().collect();
    let mut packets: Vec<Packet> = lines
        .chunks(3)
        .map(|packet| Packet {
            due: packet[0].parse().unwrap(),
            key: packet[1].contains('K'),
            hash: packet[2].to_owned(),
        })
        .collect();
    packets.sort_by(|a, b| a.due.total_cmp(&b.due));
    packets
}

/// The pictures of a file, decoded, in order.
fn pictures(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    let text = ffmpeg(&["-i", path, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-"]);
    let frames = text.lines().filter(|line| !line.starts_with('#'));
    frames.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// That each frame of `new` is one of `old`, and due earlier by `by` seconds.
fn assert_in_time(old: &[Packet], new: &[Packet], by: f64, what: &str) {
    let mut rest = old.iter();
    for packet in new {
        let same =
            rest.find(|old| old.hash == packet.hash).unwrap_or_else(|| panic!("{what}: {packet:?} is new"));
        assert!((same.due - packet.due - by).abs() < 0.0005, "{what}: {} is due at {}", same.due, packet.due);
    }
    assert_eq!(rest.next().map(|packet| packet.due), None, "{what}: up to the last one");
}

#[test]
fn an_mp4_begins_at_the_keyframe_before_the_start_and_stays_in_time() {
    let (server, html) = serving();
    let clip = clips::av();
    let clip = clip.to_str().unwrap();
    let mut http = Http::connect(server.http);
    for (name, options) in [
        ("late.mp4", &["-movflags", "-faststart"][..]),
        ("fast.mp4", &["-movflags", "+faststart"]),
        ("noedit.mp4", &["-use_editlist", "0"]),
        ("q.mov", &[]),
        ("audio.m4a", &["-vn"]),
    ] {
        let whole = html.join(name);
        ffmpeg(&[&["-i", clip, "-c", "copy"], options, &[whole.to_str().unwrap()]].concat());
        let (video, audio) = (packets(&whole, "v"), packets(&whole, "a"));
        let all = if video.is_empty() { Vec::new() } else { pictures(&whole) };
        for start in [0.4, 3.99, 4.09, 600.0] {
            let what = format!("{name}?start={start}");
            let (head, body) = ask(&mut http, &format!("/{what}"), "");
            assert_eq!(head.status, 200, "{what}");
            let part = server.dir().join(format!("part-{name}"));
            std::fs::write(&part, &body).unwrap();
            let sound = packets(&part, "a");
            if video.is_empty() {
                let by = audio[audio.len() - sound.len()].due;
                assert!((by - start).abs() < 0.03 || sound.len() == 1, "{what}: {by}");
                assert_in_time(&audio[audio.len() - sound.len()..], &sound, by - sound[0].due, &what);
                continue;
            }
            let key =
                video.iter().rfind(|packet| packet.key && packet.due <= start.max(video[0].due)).unwrap();
            let left: Vec<Packet> = video.iter().filter(|packet| packet.due >= key.due).cloned().collect();
            assert_in_time(&left, &packets(&part, "v"), key.due, &what);
            assert!(pictures(&part) == all[all.len() - left.len()..], "{what}: the same pictures");
            // The sound begins within the frame that is heard with the first picture.
            assert_in_time(&audio[audio.len() - sound.len()..], &sound, key.due, &what);
            assert!((-0.05..=0.0).contains(&sound[0].due) || key.due < 1.0, "{what}: {}", sound[0].due);
        }
    }
    let (_, whole) = ask(&mut http, "/fast.mp4?start=2.5", "");
    let (head, part) = ask(&mut http, "/fast.mp4?start=2.5", "Range: bytes=1000-200000\r\n");
    assert_eq!(head.status, 206);
    assert!(part == whole[1000..=200_000], "a range across the index and the data");
    http.send("HEAD /fast.mp4?start=2.5 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(http.head().get("content-length"), Some(whole.len().to_string().as_str()));
    let (_, short) = ask(&mut http, "/fast.mp4?start=2.5&end=4", "");
    std::fs::write(server.dir().join("short.mp4"), &short).unwrap();
    let kept = pictures(&server.dir().join("short.mp4")).len();
    assert!((48..=50).contains(&kept) && short.len() < whole.len() / 2, "{kept} pictures");
    assert_eq!(ask(&mut http, "/fast.mp4?start=0", "").1, std::fs::read(html.join("fast.mp4")).unwrap());
    drop(http);
    server.assert_idle();
}

#[test]
fn a_range_in_the_query_of_an_mp4() {
    let (server, html) = serving();
    let data: Vec<u8> = (0..10_000u32).map(|n| (n.wrapping_mul(40_503) >> 3) as u8).collect();
    std::fs::write(html.join("a.mp4"), &data).unwrap();
    std::fs::write(html.join("a.ts"), &data).unwrap();
    let mut http = Http::connect(server.http);
    for query in ["range=100-299", "bytes=100-299", "x=1&range=bytes=100-299"] {
        let (head, body) = ask(&mut http, &format!("/a.mp4?{query}"), "");
        assert_eq!((head.status, head.get("content-range")), (206, Some("bytes 100-299/10000")), "{query}");
        assert!(body == data[100..300]);
    }
    assert_eq!(ask(&mut http, "/a.mp4?range=20000-", "").0.status, 416);
    assert_eq!(ask(&mut http, "/a.mp4?range=5-1", "").0.status, 200);
    assert_eq!(
        ask(&mut http, "/a.mp4?range=0-9", "Range: bytes=5-6\r\n").1,
        data[5..7],
        "the header goes before"
    );
    assert_eq!(ask(&mut http, "/a.ts?range=0-9", "").0.status, 200, "for MP4 alone");
}

/// A box with this much in it.
fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes(), kind, body].concat()
}

#[test]
fn an_mp4_that_cannot_be_cut_is_answered_in_one_line() {
    let (server, html) = serving();
    let clip = clips::av();
    let fragmented = html.join("fragmented.mp4");
    let fragments = ["-c", "copy", "-movflags", "frag_keyframe+empty_moov"];
    ffmpeg(&[&["-i", clip.to_str().unwrap()], &fragments[..], &[fragmented.to_str().unwrap()]].concat());
    std::fs::write(html.join("text.mp4"), "no video at all, but some words").unwrap();
    std::fs::write(html.join("empty.mp4"), "").unwrap();
    std::fs::write(html.join("bare.mp4"), boxed(b"moov", b"")).unwrap();
    std::fs::write(
        html.join("lies.mp4"),
        [&boxed(b"ftyp", b"isom"), &b"\0\0\0\x01moov\x7f\0\0\0\0\0\0\0"[..]].concat(),
    )
    .unwrap();
    let huge = File::create(html.join("huge.mp4")).unwrap();
    huge.set_len(5 << 30).unwrap();
    huge.write_all_at(b"\0\0\0\0moov", 0).unwrap();
    let mut http = Http::connect(server.http);
    for (name, why) in [
        ("fragmented", "fragments"),
        ("text", "none"),
        ("empty", "none"),
        ("bare", "broken"),
        ("lies", "broken"),
        ("huge", "too large"),
    ] {
        let (head, body) = ask(&mut http, &format!("/{name}.mp4?start=5"), "");
        let body = String::from_utf8(body).unwrap();
        assert_eq!((head.status, body.lines().count()), (415, 1), "{name}: {body}");
        assert!(body.contains(why), "{name}: {body}");
        http.send(format!("HEAD /{name}.mp4 HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(http.head().status, 200, "{name} as it is");
    }
}

/// Indices in the memory of slow clients are bounded; whoever comes when there is no room is told so.
#[test]
fn clients_that_do_not_take_their_index_take_little_memory() {
    let (server, html) = serving();
    let clip = clips::av();
    let small = server.dir().join("small.mp4");
    let fast = ["-c", "copy", "-movflags", "+faststart"];
    ffmpeg(&[&["-i", clip.to_str().unwrap()], &fast[..], &[small.to_str().unwrap()]].concat());
    // The same behind an index of 5 MB, of which most is a box that means nothing.
    let whole = std::fs::read(&small).unwrap();
    let at = whole.windows(4).position(|word| word == b"moov").unwrap() - 4;
    let len = u32::from_be_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
    let filler = boxed(b"free", &vec![0; 5_000_000]);
    let moov = boxed(b"moov", &[&whole[at + 8..at + len], &filler].concat());
    let mut file = File::create(html.join("big.mp4")).unwrap();
    file.write_all(&[&whole[..at], &moov, &whole[at + len..]].concat()).unwrap();
    let before = server.rss_kib();
    let mut clients: Vec<Http> = (0..40).map(|_| Http::connect(server.http)).collect();
    clients.iter_mut().for_each(|client| client.get("/big.mp4?start=3", ""));
    let statuses: Vec<u16> = clients.iter_mut().map(|client| client.head().status).collect();
    let served = statuses.iter().filter(|status| **status == 200).count();
    let busy = statuses.iter().filter(|status| **status == 503).count();
    assert!((2..=8).contains(&served) && served + busy == 40, "{statuses:?}");
    let grown = server.peak_kib().saturating_sub(before);
    assert!(grown < 48 << 10, "{grown} KiB more");
    drop(clients);
    assert!(poll(LIMIT, || ask(&mut Http::connect(server.http), "/big.mp4?start=3", "").0.status == 200));
    server.assert_idle();
}

#[test]
fn an_flv_with_a_list_of_keyframes_begins_at_them() {
    let (server, html) = serving();
    let path = html.join("listed.flv");
    let options = ["-c", "copy", "-flvflags", "add_keyframe_index"];
    ffmpeg(&[&["-i", clips::av().to_str().unwrap()], &options[..], &[path.to_str().unwrap()]].concat());
    let whole = flv::read(&path);
    let bytes = std::fs::read(&path).unwrap();
    let list = bytes.windows(13).position(|name| name == b"filepositions").unwrap();
    // The list of another file: every place is wrong.
    let mut wrong = bytes.clone();
    for entry in wrong[list + 18..].chunks_mut(9).take(3) {
        let place = f64::from_be_bytes(entry[1..9].try_into().unwrap()) - 7.0;
        entry[1..9].copy_from_slice(&place.to_be_bytes());
    }
    std::fs::write(html.join("wrong.flv"), &wrong).unwrap();
    let mut http = Http::connect(server.http);
    for name in ["listed", "wrong"] {
        for query in ["start_time=0.5", "start_time=3.9", "start_time=4.1", "start_time=60", "start=200000"] {
            let (head, body) = ask(&mut http, &format!("/{name}.flv?{query}"), "");
            assert_eq!(head.status, 200, "{query}");
            let (headers, frames): (Vec<_>, Vec<_>) =
                tags(&body).into_iter().partition(|tag| !tag.is_frame());
            assert!(frames[0].is_key(), "{name} {query}");
            assert!(headers.iter().any(Tag::is_video_header) && headers.iter().any(Tag::is_audio_header));
            let all: Vec<_> = whole.iter().filter(|tag| tag.is_frame()).cloned().collect();
            assert!(all.ends_with(&frames), "{name} {query}: all from there on");
            let first = all[0].ts;
            let wanted = match query {
                "start_time=0.5" => 0,
                "start_time=3.9" => 2,
                "start_time=4.1" => 4,
                "start_time=60" => 6,
                _ => continue,
            };
            assert_eq!((frames[0].ts - first) / 1000, wanted, "{name} {query}");
        }
    }
}

#[test]
fn a_segment_that_many_ask_for_stays_the_same() {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP; http_server { enabled on; listen 127.0.0.1:$HTTP; }\n\
         vhost __defaultVhost__ { hls { enabled on; hls_fragment 2; hls_window 60; hls_dispose 1; } }",
    );
    let tags = flv::read(&clips::heavy());
    let mut publisher = Rtmp::publish(server.rtmp, "x");
    publisher.send(&tags);
    let mut http = Http::connect(server.http);
    let mut segments = Vec::new();
    let listed = poll(LIMIT, || {
        let (head, body) = ask(&mut http, "/live/x.m3u8", "");
        let list = String::from_utf8_lossy(&body).into_owned();
        segments = list.lines().filter(|line| line.ends_with(".ts")).map(str::to_owned).collect();
        head.status == 200 && segments.len() >= 4
    });
    assert!(listed, "{segments:?}");
    for segment in &segments[1..3] {
        let path = if segment.starts_with('/') { segment.clone() } else { format!("/live/{segment}") };
        let (head, first) = ask(&mut http, &path, "");
        assert!(head.status == 200 && first.len() > 1_000_000 && first[0] == 0x47, "{} bytes", first.len());
        let mut other = Http::connect(server.http);
        for round in 0..8 {
            let from = if round % 2 == 0 { &mut http } else { &mut other };
            assert!(ask(from, &path, "").1 == first, "round {round}");
        }
    }
    // The copies go with the stream.
    publisher.unpublish("x");
    drop((publisher, http));
    assert!(poll(LIMIT, || server.connections() == 0), "{} descriptors more", server.connections());
}
