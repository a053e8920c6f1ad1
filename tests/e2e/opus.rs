//! Opus beside H.264, HEVC and AV1, by Enhanced RTMP through the server: what carries it carries every packet, what cannot says
//! so, and pages play it with sound. What `docs/codecs.md` says of pages is tested here, and for H.264 with AAC in `browser`.
use crate::badinput::{every_container, watch};
use crate::browser::play;
use crate::fmp4::{opus, sounds};
use crate::support::clips;
use crate::support::flv::{self, Tag};
use crate::support::frames;
use crate::support::http::Http;
use crate::support::paced::{Paced, repeated};
use crate::support::proc::Proc;
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, usual_vhost};
use crate::support::{note, poll};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);

fn server(variant: &str) -> Server {
    let vhost = every_container(&usual_vhost("resume_wait 0;"));
    Server::vhost(&format!(
        "{vhost} hls {{ enabled on; hls_fragment 2; hls_window 60; hls_variant {variant}; }}"
    ))
}

/// What was sent of one kind, as it stands in the tags, but for the mark of the end, which rtmpdump finds too small.
fn data(tags: &[Tag], kind: u8) -> Vec<&[u8]> {
    tags.iter()
        .filter(|tag| tag.kind == kind && (kind == 8 || tag.data.len() > 5))
        .map(|tag| &tag.data[..])
        .collect()
}

/// A viewer by RTMP, into an FLV file.
fn by_rtmp(server: &Server) -> (Proc, PathBuf) {
    let path = server.dir().join("rtmp.flv");
    let mut command = Command::new("rtmpdump");
    command.args(["--live", "--timeout", "20", "-r", &server.rtmp_url("x"), "-o"]).arg(&path);
    (Proc::spawn("rtmpdump", server.dir(), command), path)
}

/// Publishes tags at once, to viewers by RTMP, FLV and MP4 who are there already; the packets of sound in MP4 and HLS, as hashes.
fn arrives(name: &str, tags: &[Tag]) -> [Vec<String>; 2] {
    let server = server("fmp4");
    let (mut rtmp, from_rtmp) = by_rtmp(&server);
    let viewers = ["flv", "mp4"].map(|end| watch(&server, end));
    assert!(poll(LIMIT, || server.connections() >= 3));
    // What a viewer asks is read a moment after its connection is made.
    std::thread::sleep(Duration::from_millis(500));
    let mut publisher = Rtmp::publish(server.rtmp, "x");
    publisher.send(tags);
    publisher.unpublish("x");
    let [from_flv, from_mp4] = viewers.map(|(mut curl, path)| {
        curl.success(LIMIT);
        path
    });
    rtmp.wait(Duration::from_secs(25));
    for path in [from_flv, from_rtmp] {
        let got = flv::read(&path);
        flv::assert_monotonic(&got);
        for kind in [8, 9] {
            let (got, sent) = (data(&got, kind), data(tags, kind));
            assert!(
                got == sent,
                "{name}: {} and {} of type {kind} in {}",
                got.len(),
                sent.len(),
                path.display()
            );
        }
    }
    let url = format!("http://127.0.0.1:{}/live/x.m3u8", server.http);
    let pictures = tags.iter().filter(|tag| tag.is_picture()).count();
    for file in [from_mp4.display().to_string(), url.clone()] {
        assert_eq!(frames::of(file.as_ref())["video"].len(), pictures, "{name}: {file}");
    }
    [sounds(&from_mp4), sounds(&url)]
}

#[test]
fn opus_arrives_with_every_video_codec() {
    // MP4 and HLS begin with the first keyframe; of AV1 it comes some packets after the sound.
    let cases =
        [("opus-avc", clips::av(), 0), ("opus-hevc", clips::hevc(), 0), ("opus-av1", clips::av1(), 3)];
    for (name, clip, early) in cases {
        let (tags, packets) = opus(name, &clip);
        for got in arrives(name, &tags) {
            assert!(packets.ends_with(&got), "{name}: packets differ");
            assert!(got.len() > 290 && got.len() + early >= packets.len(), "{name}: {}", got.len());
        }
    }
}

/// With colours of the picture and a layout of the sound in messages of their own.
#[test]
fn opus_as_ffmpeg_8_sends_it_arrives() {
    let tags = flv::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/ffmpeg8-opus.flv"));
    let packets = tags.iter().filter(|tag| tag.data.starts_with(b"\x91Opus")).count();
    for got in arrives("ffmpeg 8", &tags) {
        assert!(packets > 90 && got.len() + 1 >= packets, "{} of {packets} packets", got.len());
    }
}

/// MPEG-TS has no Opus here: beside a picture it is left out, with a line in the log, and alone it is refused.
#[test]
fn mpeg_ts_goes_without_opus_and_says_so() {
    let server = server("ts");
    let (tags, _) = opus("opus-ts", &clips::av());
    let mut publisher = Rtmp::publish(server.rtmp, "x");
    publisher.send(&tags[..300]);
    let sound = tags.iter().filter(|tag| tag.kind == 8).cloned().collect();
    let _alone = Paced::publish(server.rtmp, "radio", sound);
    // Before it is known what the stream carries.
    let (mut early, asked) = (Http::connect(server.http), Instant::now());
    early.get("/live/radio.m3u8", "");
    assert_eq!(early.head().status, 415);
    assert!(asked.elapsed() < Duration::from_secs(5), "who waits is told at once");
    let ask = |path: &str| {
        let mut http = Http::connect(server.http);
        http.get(path, "");
        let head = http.head();
        let text = if head.status == 200 { Vec::new() } else { http.body(&head) };
        (head.status, String::from_utf8(text).unwrap())
    };
    assert_eq!(ask("/live/x.ts").0, 200);
    assert_eq!(ask("/live/x.m3u8?master=1").0, 200);
    let why = "MPEG-TS cannot carry this stream's audio, which is Opus";
    for path in ["/live/radio.ts", "/live/radio.m3u8"] {
        assert_eq!(ask(path), (415, format!("{why}\n")), "{path}");
    }
    let mut http = Http::connect(server.http);
    http.get("/live/x.m3u8?master=1", "");
    let head = http.head();
    let list = String::from_utf8(http.body(&head)).unwrap();
    assert!(list.contains("CODECS=\"avc1.64001e\"") && !list.contains("opus"), "{list}");
    let said = format!("live/x: no sound in HLS: {why}");
    assert!(poll(LIMIT, || server.log().contains(&said)), "{}", server.log());
    let said = format!("live/x: no sound: {why}");
    assert!(poll(LIMIT, || server.log().contains(&said)), "{}", server.log());
}

/// The page and hls.js in a real browser: the picture moves and sound is decoded.
fn plays(name: &str, player: &[&str], end: &str, tags: Vec<Tag>) {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP;\nhttp_server { enabled on; listen 127.0.0.1:$HTTP; }\n\
         vhost __defaultVhost__ { http_remux { enabled on; } hls { enabled on; hls_fragment 2; hls_variant fmp4; } }\n",
    );
    let _publisher = Paced::publish(server.rtmp, "x", tags);
    let url = format!("http://127.0.0.1:{}/{end}", server.http);
    let seen = play(&server, name, &[player, &["--url", &url]].concat());
    note(&format!("browser: {name} {seen}"));
}

#[test]
fn the_page_plays_h264_with_opus() {
    plays("opus-page", &["--own"], "#/live/x", opus("opus-page", &clips::clock()).0);
}

#[test]
fn the_page_plays_av1_with_opus() {
    plays("opus-page-av1", &["--own"], "#/live/x", repeated(&opus("opus-page-av1", &clips::av1()).0, 7));
}

#[test]
fn the_page_plays_av1_with_aac() {
    plays("page-av1", &["--own"], "#/live/x", repeated(&flv::read(&clips::av1()), 7));
}

#[test]
fn hls_js_plays_av1_with_opus() {
    let tags = repeated(&opus("opus-hls-av1", &clips::av1()).0, 7);
    plays("opus-hls-av1", &["--player", "hls.js"], "live/x.m3u8", tags);
}

#[test]
fn mpegts_js_plays_opus() {
    plays("opus-mpegts", &["--player", "mpegts.js"], "live/x.flv", opus("opus-mpegts", &clips::clock()).0);
}

#[test]
fn mpegts_js_plays_mp3() {
    plays("mp3-mpegts", &["--player", "mpegts.js"], "live/x.flv", repeated(&flv::read(&clips::mp3()), 7));
}

#[test]
fn hls_js_plays_mp3_in_ts() {
    let server = server("ts");
    let _publisher = Paced::publish(server.rtmp, "x", repeated(&flv::read(&clips::mp3()), 7));
    let url = format!("http://127.0.0.1:{}/live/x.m3u8", server.http);
    note(&format!(
        "browser: mp3 in hls.js {}",
        play(&server, "mp3-hls", &["--player", "hls.js", "--url", &url])
    ));
}
