//! HLS: what ffmpeg and hls.js make of it, and how it is answered.
use crate::support::flv;
use crate::support::http::{Head, Http};
use crate::support::paced::{Paced, repeated};
use crate::support::proc::Proc;
use crate::support::rtmp::{Amf, Rtmp};
use crate::support::server::{Server, run_dir};
use crate::support::tools::{self, Publisher};
use crate::support::{clips, note, poll};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Longer than any clip of this module, with the time that tools take to start and to end.
const CLIP: Duration = Duration::from_secs(40);

/// A server with these directives in its `hls` block, which keeps whole clips listed.
fn serve(hls: &str) -> Server {
    Server::vhost(&format!(
        "publish {{ resume_wait 0; }}\n http_remux {{ enabled on; }}\n\
         hls {{ enabled on; hls_fragment 2; hls_window 60; hls_aof_ratio 6; {hls} }}"
    ))
}

/// Viewers that the server tells of its one stream.
fn viewers(server: &Server) -> u64 {
    let (head, body) = get(server, "/runnel/streams.json", "");
    let text = String::from_utf8(body).unwrap();
    let (_, rest) = text.split_once("\"viewers\":").unwrap_or_else(|| panic!("{} {text}", head.status));
    rest.split(',').next().unwrap().parse().unwrap()
}

/// Publishes a clip over and over, so that no test on a slow machine comes too late.
fn endless(server: &Server) -> Proc {
    let mut command = Command::new(tools::ffmpeg());
    command.args([
        "-hide_banner",
        "-nostdin",
        "-loglevel",
        "info",
        "-nostats",
        "-re",
        "-stream_loop",
        "-1",
        "-i",
    ]);
    command.arg(clips::heavy()).args(["-map", "0", "-c", "copy", "-f", "flv", &server.rtmp_url("x")]);
    Proc::spawn("publish-x", server.dir(), command)
}

/// A stream of segments of a second, once it has one.
fn live(hls: &str) -> (Server, Proc) {
    let server = Server::vhost(&format!(
        "publish {{ resume_wait 0; }} hls {{ enabled on; {hls} hls_fragment 1; hls_window 8; hls_aof_ratio 6; }}"
    ));
    let publish = endless(&server);
    assert!(poll(Duration::from_secs(10), || server.log().contains("x is live")), "{}", server.log());
    (server, publish)
}

fn url(server: &Server, stream: &str) -> String {
    format!("http://127.0.0.1:{}/live/{stream}.m3u8", server.http)
}

/// One request on a connection of its own.
fn get(server: &Server, path: &str, more: &str) -> (Head, Vec<u8>) {
    let mut http = Http::connect(server.http);
    http.get(path, more);
    let head = http.head();
    let body = http.body(&head);
    (head, body)
}

fn playlist(server: &Server, path: &str) -> String {
    let (head, body) = get(server, path, "");
    let text = String::from_utf8(body).unwrap();
    assert_eq!(head.status, 200, "{text}");
    text
}

/// The last URI of a playlist, as a path.
fn last_segment(text: &str) -> String {
    format!("/live/{}", text.lines().rfind(|line| !line.starts_with('#')).expect("a segment"))
}

/// The pictures as they are decoded, and the sound as it was encoded: hashes, in order.
fn content(input: &str) -> (Vec<String>, Vec<String>) {
    let run = |args: &[&str]| {
        let mut command = Command::new(tools::ffmpeg7());
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]);
        if input.starts_with("http") {
            command.args(["-live_start_index", "0"]);
        }
        let out = command.args(["-i", input]).args(args).args(["-f", "framemd5", "-"]).output().unwrap();
        let errors = String::from_utf8_lossy(&out.stderr);
        let none = errors.contains("does not contain any stream");
        assert!(out.status.success() || none, "{input}: {errors}");
        let text = String::from_utf8(out.stdout).unwrap();
        let frames = text.lines().filter(|line| !line.starts_with('#'));
        frames.map(|line| line.split(',').nth(5).unwrap().trim().to_owned()).collect::<Vec<_>>()
    };
    let filter = if input.contains("mp3") { "null" } else { "aac_adtstoasc" };
    (run(&["-an", "-fps_mode", "passthrough"]), run(&["-vn", "-c", "copy", "-bsf:a", filter]))
}

/// Fails unless the whole of a clip, whose publisher has ended, can be read as HLS.
pub(crate) fn assert_same(server: &Server, stream: &str, clip: &Path) {
    // With a viewer's number the playlist itself, whether `hls_ctx` is on or not; the player has yet to get one.
    let path = format!("/live/{stream}.m3u8?hls_ctx=0123456789abcdef");
    let ended = poll(Duration::from_secs(5), || playlist(server, &path).ends_with("#EXT-X-ENDLIST\n"));
    assert!(ended, "{}", playlist(server, &path));
    let got = content(&url(server, stream));
    let sent = content(clip.to_str().unwrap());
    assert_eq!(got.0.len(), sent.0.len(), "{stream}: pictures\n{}", playlist(server, &path));
    assert!(got.0 == sent.0, "{stream}: the pictures differ");
    // A frame of MP3 comes before the keyframe that its stream begins with.
    let early = usize::from(stream == "mp3").min(sent.1.len().saturating_sub(got.1.len()));
    let sounds = sent.1.split_at(early).1;
    assert_eq!(got.1.len(), sounds.len(), "{stream}: sounds\n{}", playlist(server, &path));
    assert!(got.1 == sounds, "{stream}: the sounds differ");
}

/// Publishes clips, and fails unless the whole of each can be read once it has ended.
fn same_content(hls: &str, clips: &[(Publisher, &Path, &str)]) -> Server {
    let server = serve(hls);
    let mut publishing: Vec<Proc> =
        clips.iter().map(|(publisher, clip, stream)| publisher.publish(&server, clip, stream)).collect();
    publishing.iter_mut().for_each(|publish| publish.success(CLIP));
    for (_, clip, stream) in clips {
        assert_same(&server, stream, clip);
    }
    server
}

#[test]
fn every_frame_arrives_in_every_variant() {
    let (av, sound, picture, hevc) = (clips::av(), clips::audio_only(), clips::video_only(), clips::hevc());
    let mp3 = clips::mp3();
    for hls in ["hls_variant ts;", "hls_variant fmp4; hls_ctx on;", "hls_variant lowlatency;"] {
        same_content(
            hls,
            &[
                (Publisher::Ffmpeg5, &av, "av"),
                (Publisher::Ffmpeg5, &sound, "sound"),
                (Publisher::Ffmpeg5, &picture, "picture"),
                (Publisher::Ffmpeg7, &hevc, "hevc"),
                (Publisher::Ffmpeg5, &mp3, "mp3"),
            ],
        );
    }
}

#[test]
fn encrypted_segments_can_be_read_with_their_keys() {
    let server =
        same_content("hls_keys on; hls_fragments_per_key 2;", &[(Publisher::Ffmpeg5, &clips::av(), "x")]);
    let text = playlist(&server, "/live/x.m3u8");
    let keys: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("#EXT-X-KEY:METHOD=AES-128,URI=\"")).collect();
    assert_eq!(keys.len(), 2, "{text}");
    let (head, key) = get(&server, &format!("/live/{}", keys[0].trim_end_matches('"')), "");
    assert_eq!((head.status, key.len()), (200, 16));
    let (_, segment) = get(&server, &last_segment(&text), "");
    assert!(segment.len() % 16 == 0 && segment.iter().step_by(188).any(|byte| *byte != 0x47));
}

#[test]
fn answers_are_what_players_and_caches_expect() {
    let server = serve("");
    let _publish = Publisher::Ffmpeg5.publish(&server, &clips::heavy(), "x+y");
    let path = "/live/x%2By.m3u8";
    // The first request comes before the first segment, and waits for it.
    let ready = poll(Duration::from_secs(5), || server.log().contains("x+y is live"));
    assert!(ready, "{}", server.log());
    let (head, body) = get(&server, path, "Origin: http://page.example\r\n");
    let text = String::from_utf8(body).unwrap();
    assert_eq!(
        (head.status, head.get("content-type")),
        (200, Some("application/vnd.apple.mpegurl")),
        "{text}"
    );
    assert_eq!(head.get("cache-control"), Some("no-cache"));
    assert_eq!(head.get("access-control-allow-origin"), Some("*"));
    let segment = last_segment(&text);
    assert!(segment.starts_with("/live/x%2By-") && text.starts_with("#EXTM3U\n"), "{text}");
    // One connection for a list, a segment and what is not there; the first two at once.
    let mut http = Http::connect(server.http);
    http.send(format!("GET {segment} HTTP/1.1\r\nHost: a\r\n\r\nGET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let head = http.head();
    let bytes = http.body(&head);
    assert_eq!((head.status, head.get("content-type")), (200, Some("video/mp2t")));
    assert!(head.get("cache-control").is_some_and(|value| value.starts_with("max-age=")), "{head:?}");
    assert!(bytes.len().is_multiple_of(188) && bytes.len() > 10_000 && bytes[0] == 0x47);
    let head = http.head();
    assert_eq!(head.status, 200);
    http.body(&head);
    http.send(format!("HEAD {segment} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let head = http.head();
    assert_eq!(head.get("content-length"), Some(bytes.len().to_string().as_str()));
    for (hostile, status) in [
        ("/live/x%2By-1.ts", 404),
        ("/live/x%2By-99999999999999999999999.ts", 404),
        ("/live/../live/x%2By.m3u8", 404),
        ("/live/x%2By-%00.ts", 400),
        ("/live/%2e%2e/%2e%2e/etc/passwd.m3u8", 404),
        ("/nowhere/x.m3u8", 404),
        ("/live/.m3u8", 404),
    ] {
        http.get(hostile, "");
        let head = http.head();
        let body = String::from_utf8(http.body(&head)).unwrap();
        assert_eq!(head.status, status, "{hostile}: {body}");
    }
    // An old client that closes after each answer.
    let mut http = Http::connect(server.http);
    http.send(format!("GET {segment} HTTP/1.0\r\n\r\n"));
    let head = http.head();
    assert_eq!(http.body(&head), bytes);
}

#[test]
fn files_on_disk_are_served_by_any_server_and_go_when_the_server_ends() {
    let files = run_dir();
    let root = files.join("live");
    let server = Server::vhost(&format!(
        "publish {{ resume_wait 0; }} http_static {{ enabled on; dir {0}; }}\n\
         hls {{ enabled on; hls_fragment 2; hls_window 60; hls_storage disk; hls_path {0}; hls_keys on; }}",
        files.display()
    ));
    Publisher::Ffmpeg5.publish(&server, &clips::av(), "x").success(CLIP);
    let list = root.join("x.m3u8");
    let text = || std::fs::read_to_string(&list).unwrap_or_default();
    assert!(poll(Duration::from_secs(10), || text().ends_with("#EXT-X-ENDLIST\n")), "{}", text());
    let names = names_of(&root);
    let count = |ending: &str| names.iter().filter(|name| name.ends_with(ending)).count();
    assert_eq!((names.len(), count(".ts"), count(".key")), (6, 4, 1), "{names:?}\n{}", text());
    let pictures = content(clips::av().to_str().unwrap()).0;
    assert!(content(&url(&server, "x")).0 == pictures, "through http_static");
    drop(server);
    assert_eq!(names_of(&root), Vec::<String>::new(), "nothing is left for players to find");
    std::fs::remove_dir_all(files).unwrap();
}

fn names_of(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn another_publisher_goes_on_with_a_discontinuity() {
    let server = serve("");
    for clip in [clips::other(), clips::video_only()] {
        Publisher::Ffmpeg5.publish(&server, &clip, "x").success(CLIP);
    }
    let text = playlist(&server, "/live/x.m3u8");
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{text}");
    let number = |uri: &str| uri.trim_start_matches("x-").trim_end_matches(".ts").parse::<u64>().unwrap();
    let numbers: Vec<u64> = text.lines().filter(|line| line.ends_with(".ts")).map(number).collect();
    assert!(numbers.len() >= 6 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{text}");
}

#[test]
fn a_request_for_the_next_part_is_answered_when_it_is_there() {
    let server = serve("hls_variant lowlatency; hls_part 400ms;");
    let _publish = Publisher::Ffmpeg5.publish(&server, &clips::heavy(), "x");
    assert!(poll(Duration::from_secs(5), || server.log().contains("x is live")));
    playlist(&server, "/live/x.m3u8");
    let mut waits = Vec::new();
    for _ in 0..8 {
        let text = playlist(&server, "/live/x.m3u8");
        let hint = text.lines().last().unwrap();
        let hint =
            hint.strip_prefix("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"").expect(&text).trim_end_matches('"');
        let mut fields = hint.trim_start_matches("x-").split('.');
        let (sequence, part) = (fields.next().unwrap(), fields.next().unwrap());
        let mut list = Http::connect(server.http);
        let mut bytes = Http::connect(server.http);
        let asked = Instant::now();
        list.get(&format!("/live/x.m3u8?_HLS_msn={sequence}&_HLS_part={part}"), "");
        bytes.get(&format!("/live/{hint}"), "");
        let head = list.head();
        let text = String::from_utf8(list.body(&head)).unwrap();
        waits.push(asked.elapsed());
        assert!(head.status == 200 && text.contains(&format!("URI=\"{hint}\"")), "{hint}\n{text}");
        let head = bytes.head();
        let body = bytes.body(&head);
        assert!(head.status == 200 && &body[4..8] == b"moof", "{hint}: {head:?}");
    }
    let longest = waits.iter().max().unwrap();
    assert!(*longest < Duration::from_secs(2), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait > Duration::from_millis(100)), "nothing waited: {waits:?}");
    note(&format!("hls: a blocking reload took {longest:?} at most, with parts of 400 ms"));
    let (head, _) = get(&server, "/live/x.m3u8?_HLS_msn=9999999999", "");
    assert_eq!(head.status, 400);
}

/// What is asked for of a stream whose encoder says nothing more: refused, held up to three target durations, or answered
/// with the end as soon as that comes.
#[test]
fn what_cannot_come_is_refused_and_what_does_not_come_is_told() {
    let server = Server::vhost(
        "publish { resume_wait 0; } hls { enabled on; hls_variant lowlatency; hls_fragment 1; hls_aof_ratio 6; hls_td_ratio 1; }",
    );
    let mut publisher = Rtmp::publish(server.rtmp, "x");
    publisher.send(&flv::read(&clips::other()));
    // The answer to this comes when all of that was taken.
    publisher.command(0, &[Amf::Text("releaseStream"), Amf::Number(9.0), Amf::Null, Amf::Text("x")]);
    publisher.expect("_result");
    let text = playlist(&server, "/live/x.m3u8");
    assert_eq!(playlist(&server, "/live/x.m3u8"), text, "it changes with the stream alone");
    let value = |tag: &str| text.split_once(tag).unwrap().1.lines().next().unwrap().parse::<u64>().unwrap();
    let next = value("#EXT-X-MEDIA-SEQUENCE:") + text.matches("#EXTINF:").count() as u64;
    let target = Duration::from_secs(value("#EXT-X-TARGETDURATION:"));
    for query in [
        "_HLS_part=0".to_owned(),
        "_HLS_msn=x".to_owned(),
        "_HLS_msn=-1".to_owned(),
        format!("_HLS_msn={}", next + 2),
        format!("_HLS_msn={next}&_HLS_part=99"),
    ] {
        let (head, body) = get(&server, &format!("/live/x.m3u8?{query}"), "");
        let said = String::from_utf8(body).unwrap();
        assert_eq!((head.status, said.lines().count()), (400, 1), "{query}: {said}");
        assert_eq!(head.get("cache-control"), Some("no-store"), "{query}");
    }
    let asked = Instant::now();
    let (head, body) = get(&server, &format!("/live/x.m3u8?_HLS_msn={next}"), "");
    let waited = asked.elapsed();
    assert_eq!((head.status, body), (503, b"the next segment did not come in time\n".to_vec()));
    assert!(
        waited > target * 3 - Duration::from_millis(100) && waited < target * 3 + Duration::from_secs(5),
        "{waited:?}"
    );
    assert_eq!(get(&server, "/live/x-1.0.m4s", "").0.status, 404, "a part that nothing announces");
    // One who waits for what never comes gets the list with its end; from then on what is asked for is ignored.
    let mut waiting = Http::connect(server.http);
    waiting.get(&format!("/live/x.m3u8?_HLS_msn={next}"), "");
    publisher.unpublish("x");
    let head = waiting.head();
    let list = String::from_utf8(waiting.body(&head)).unwrap();
    assert!(head.status == 200 && list.ends_with("\n#EXT-X-ENDLIST\n"), "{list}");
    for query in ["_HLS_part=0", "_HLS_msn=99999999999&_HLS_skip=YES"] {
        assert_eq!(playlist(&server, &format!("/live/x.m3u8?{query}")), list);
    }
}

/// A segment can be had for as long again as the list is after it left that, and then is told to be gone.
#[test]
fn a_segment_that_expired_is_told_to_be_gone() {
    let server = Server::vhost(
        "publish { resume_wait 0; } hls { enabled on; hls_fragment 1; hls_window 2; hls_aof_ratio 6; hls_td_ratio 1; }",
    );
    let _publisher = Paced::publish(server.rtmp, "x", repeated(&flv::read(&clips::other()), 6));
    let first = last_segment(&playlist(&server, "/live/x.m3u8"));
    let listed = || playlist(&server, "/live/x.m3u8").contains(first.rsplit('/').next().unwrap());
    assert!(poll(Duration::from_secs(15), || !listed()));
    assert_eq!(get(&server, &first, "").0.status, 200, "players may still be at it");
    let mut said = String::new();
    let gone = poll(Duration::from_secs(15), || {
        let (head, body) = get(&server, &first, "");
        said = String::from_utf8_lossy(&body).into_owned();
        head.status == 404
    });
    assert!(gone && said == "this segment is not kept any more\n", "{said}");
}

#[test]
fn who_asks_is_counted_until_it_is_silent() {
    let (server, _publish) = live("");
    assert_eq!(viewers(&server), 0);
    let path = "/live/x.m3u8";
    let ask = |agent: &str| get(&server, path, &format!("User-Agent: {agent}\r\n"));
    let both = || {
        ask("tv");
        ask("phone");
        ask("tv");
        viewers(&server) == 2
    };
    assert!(poll(Duration::from_secs(10), both), "{}", viewers(&server));
    let mut http = Http::connect(server.http);
    http.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: monitor\r\n\r\n"));
    http.head();
    assert!(viewers(&server) <= 2, "a look at the head is no viewer");
    let gone = poll(Duration::from_secs(15), || {
        ask("tv");
        viewers(&server) == 1
    });
    assert!(gone, "the phone is still counted: {}", viewers(&server));
}

#[test]
fn with_hls_ctx_each_viewer_has_an_address_of_its_own() {
    let (server, _publish) = live("hls_ctx on; hls_variant lowlatency;");
    let ask = || {
        let text = playlist(&server, "/live/x.m3u8?token=a");
        assert!(text.contains("\n#EXT-X-STREAM-INF:BANDWIDTH="), "{text}");
        assert!(text.contains(",CODECS=\"avc1.") && text.contains(",mp4a.40.2\""), "{text}");
        assert!(text.contains(",RESOLUTION=640x360,FRAME-RATE=25.000\nx.m3u8?token=a&hls_ctx="), "{text}");
        last_segment(&text)
    };
    let (one, other) = (ask(), ask());
    assert_ne!(one, other);
    assert_eq!(viewers(&server), 0, "nobody has gone on yet");
    let both = || {
        playlist(&server, &one);
        playlist(&server, &one);
        playlist(&server, &other);
        viewers(&server) == 2
    };
    assert!(poll(Duration::from_secs(10), both), "{}", viewers(&server));
    let list = playlist(&server, &one);
    let number = one.split_once("hls_ctx=").unwrap().1;
    let segment = last_segment(&list);
    assert!(segment.ends_with(&format!("?hls_ctx={number}")), "{segment}");
    let part = list.split("#EXT-X-PART:").nth(1).unwrap().split('"').nth(1).unwrap();
    for path in [segment, format!("/live/{part}")] {
        assert!(path.contains(number), "{path}");
        assert_eq!(get(&server, &path, "").0.status, 200, "{path}");
    }
    assert!(viewers(&server) <= 2, "segments count for the viewer who asks");
}

#[test]
fn segments_of_a_vhost_named_in_the_address_name_it_too() {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP; http_server { enabled on; listen 127.0.0.1:$HTTP; } vhost __defaultVhost__ { }\n\
         vhost tv { publish { resume_wait 0; } hls { enabled on; hls_fragment 1; hls_variant fmp4; hls_aof_ratio 6; } }",
    );
    let _publish = Publisher::Ffmpeg5.publish(&server, &clips::other(), "x?vhost=tv");
    assert!(poll(Duration::from_secs(10), || server.log().contains("x is live")), "{}", server.log());
    let text = playlist(&server, "/live/x.m3u8?vhost=tv");
    let segment = last_segment(&text);
    assert!(segment.ends_with(".m4s?vhost=tv") && text.contains(".init.mp4?vhost=tv\"\n"), "{text}");
    assert_eq!(get(&server, &segment, "").0.status, 200);
    assert_eq!(get(&server, segment.trim_end_matches("?vhost=tv"), "").0.status, 404);
}

#[test]
fn the_multivariant_playlist_can_be_asked_for() {
    let (server, _publish) = live("");
    let text = playlist(&server, "/live/x.m3u8?master=1&token=a%20b");
    let rate = |name: &str| -> u64 {
        let (_, rest) = text.split_once(name).unwrap_or_else(|| panic!("{text}"));
        rest.split([',', '\n']).next().unwrap().parse().unwrap()
    };
    let (peak, average) = (rate(":BANDWIDTH="), rate(",AVERAGE-BANDWIDTH="));
    assert!(peak >= average && (5_000_000..20_000_000).contains(&average), "{text}");
    assert!(text.ends_with("\nx.m3u8?token=a%20b\n"), "{text}");
    assert!(playlist(&server, &last_segment(&text)).contains("#EXTINF"));
}

/// Files above 64 KiB fail, as they do on a disk that is full: playlists are written, segments are not.
fn full_disk(on_error: &str) -> (Server, Proc, std::path::PathBuf) {
    let files = run_dir();
    let conf = format!(
        "listen 127.0.0.1:$RTMP; http_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n         vhost __defaultVhost__ {{ publish {{ resume_wait 0; }} hls {{ enabled on; hls_fragment 1; hls_window 4;\n         hls_storage disk; hls_path {}; hls_on_error {on_error}; hls_dispose 0; }} }}",
        files.display()
    );
    let server = Server::launched(&conf, &[], "trap '' XFSZ; ulimit -S -f 64;");
    let publish = endless(&server);
    (server, publish, files)
}

const FAULT: &str = "HLS cannot be written; the stream goes on";

#[test]
fn a_stream_goes_on_over_a_full_disk_and_is_written_again_after_it() {
    let (server, mut publish, files) = full_disk("continue");
    let before = server.rss_kib();
    let list = || std::fs::read_to_string(files.join("live/x.m3u8")).unwrap_or_default();
    let gaps = |text: &str| text.matches("#EXT-X-GAP\n").count();
    assert!(poll(Duration::from_secs(15), || gaps(&list()) >= 3), "{}\n{}", list(), server.log());
    assert!(publish.running());
    // 1.2 MB a second for some ten seconds must not pile up.
    let grown = server.peak_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
    assert_eq!(server.log().matches(FAULT).count(), 1, "{}", server.log());
    server.raise_file_size();
    let whole = || {
        let text = list();
        let names: Vec<&str> = text.lines().filter(|line| line.ends_with(".ts")).collect();
        let there = names
            .iter()
            .all(|name| files.join("live").join(name).metadata().is_ok_and(|m| m.len() > 64 << 10));
        gaps(&text) == 0 && names.len() >= 3 && there
    };
    assert!(poll(Duration::from_secs(15), whole), "{}\n{}", list(), server.log());
    assert_eq!(server.log().matches(FAULT).count(), 1, "{}", server.log());
    drop(server);
    std::fs::remove_dir_all(files).unwrap();
}

#[test]
fn a_full_disk_ends_the_files_or_the_publisher_where_that_is_wanted() {
    let (server, mut publish, files) = full_disk("ignore");
    let told = |text: &str| server.log().contains(text);
    assert!(
        poll(Duration::from_secs(15), || told("no more files of HLS for this stream")),
        "{}",
        server.log()
    );
    assert!(publish.running());
    drop(server);
    std::fs::remove_dir_all(files).unwrap();
    let (server, mut publish, files) = full_disk("disconnect");
    assert!(poll(Duration::from_secs(15), || !publish.running()), "{}", server.log());
    assert!(publish.log().contains("its HLS cannot be written\n"), "{}", publish.log());
    assert!(server.log().contains("its publisher has to go (hls_on_error): "), "{}", server.log());
    drop(server);
    std::fs::remove_dir_all(files).unwrap();
}

/// Plays in a page with hls.js, and gives what the page saw.
fn page(hls: &str) -> String {
    let server = serve(hls);
    let _publish = Publisher::Ffmpeg5.publish(&server, &clips::heavy(), "x");
    assert!(poll(Duration::from_secs(5), || server.log().contains("x is live")));
    playlist(&server, "/live/x.m3u8");
    seen(&server, hls)
}

fn seen(server: &Server, hls: &str) -> String {
    let arguments = ["--player", "hls.js", "--url", &url(server, "x"), "--seconds", "5"];
    let seen = crate::browser::play(server, "hls", &arguments);
    note(&format!("hls.js, {hls} {seen}"));
    seen
}

#[test]
fn a_page_plays_ts() {
    page("hls_variant ts;");
}

#[test]
fn a_page_plays_fmp4() {
    page("hls_variant fmp4;");
}

#[test]
fn a_page_plays_low_latency() {
    page("hls_variant lowlatency;");
}

/// With all that hls.js has to follow: a multivariant playlist, numbers in addresses, updates that leave out segments.
#[test]
fn a_page_plays_updates_of_its_own_playlist() {
    let conf = "hls_variant lowlatency; hls_ctx on; hls_window 20;";
    let (server, _publish) = live(conf);
    // Updates pay from a list of six target durations on.
    let listed = || playlist(&server, "/live/x.m3u8?hls_ctx=0123456789abcdef").matches("#EXTINF").count();
    assert!(poll(Duration::from_secs(15), || listed() > 8));
    let seen = seen(&server, conf);
    let (_, skipped) = seen.split_once("\"skipped\":").unwrap();
    let skipped: u64 = skipped.trim_end_matches('}').split(',').next().unwrap().parse().unwrap();
    assert!(skipped > 0, "hls.js was given no update: {seen}");
}
