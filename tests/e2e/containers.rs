//! The same stream in other containers over HTTP: what arrives is what was published, and ffmpeg finds nothing to say.
use crate::support::clips;
use crate::support::frames;
use crate::support::http::{Http, Viewer};
use crate::support::poll;
use crate::support::proc::Proc;
use crate::support::server::Server;
use crate::support::tools::{self, Publisher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const CLIP: Duration = Duration::from_secs(40);

/// A server with every container, where viewers may come first, and get the sound from the stream's start.
fn every_container() -> Server {
    let mounts =
        ["flv", "ts", "aac", "mp3", "mp4"].map(|end| format!("[vhost]/[app]/[stream].{end}")).join(" ");
    Server::vhost(&format!(
        "http_remux {{ enabled on; mount {mounts}; no_stream wait; wait 10s; }}\n\
         publish {{ resume_wait 0; }}"
    ))
}

/// Asks for a stream in the container that `file` ends in, before it is there.
pub(crate) fn viewer(server: &Server, file: &str) -> (Proc, PathBuf) {
    let (stream, extension) = file.split_once('.').unwrap();
    let url = server.http_url(stream).replace(".flv", &format!(".{extension}"));
    let path = server.dir().join(file);
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--no-buffer", &url, "-o"]).arg(&path);
    (Proc::spawn(&format!("curl-{file}"), server.dir(), command), path)
}

/// Hashes of the access units of one kind, after a bitstream filter.
pub(crate) fn units(path: &Path, kind: &str, filter: &str) -> Vec<String> {
    let out = Command::new(tools::ffmpeg7())
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-i"])
        .arg(path)
        .args(["-map", &format!("0:{kind}"), "-c", "copy", &format!("-bsf:{kind}"), filter])
        .args(["-f", "framemd5", "-"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stderr), "", "{}", path.display());
    let text = String::from_utf8(out.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(',').nth(5).unwrap().trim().to_owned()).collect()
}

/// Decoding and presentation times of the frames of one kind, in milliseconds from the end of the last one.
fn times(path: &Path, kind: &str) -> Vec<[f64; 2]> {
    let out = Command::new(tools::ffmpeg7())
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-copyts", "-i"])
        .arg(path)
        .args(["-map", &format!("0:{kind}"), "-c", "copy", "-f", "framemd5", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let base = text.lines().find_map(|line| line.strip_prefix("#tb 0: 1/")).unwrap().parse::<f64>().unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let all: Vec<[f64; 2]> = lines
        .map(|line| {
            [1, 2].map(|n| line.split(',').nth(n).unwrap().trim().parse::<f64>().unwrap() * 1000.0 / base)
        })
        .collect();
    let end = all[all.len() - 1][0];
    all.iter().map(|times| times.map(|time| time - end)).collect()
}

/// Fails unless the frames of a file have the times of the last ones of the clip, but for rounding to milliseconds.
fn same_times(path: &Path, clip: &Path, kind: &str) {
    let (got, sent) = (times(path, kind), times(clip, kind));
    assert!(got.len() <= sent.len() && got.len() > 100);
    for (got, sent) in got.iter().rev().zip(sent.iter().rev()) {
        assert!((0..2).all(|n| (got[n] - sent[n]).abs() <= 2.0), "{}: {got:?} for {sent:?}", path.display());
    }
}

/// Fails when the decoder has anything to say.
pub(crate) fn assert_decodes(path: &Path) {
    let out = Command::new(tools::ffmpeg7())
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-i"])
        .arg(path)
        .args(["-f", "null", "-"])
        .output()
        .unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn ts_aac_and_mp3_carry_every_frame() {
    let server = every_container();
    let clips = [
        ("avc", Publisher::Ffmpeg5, clips::av()),
        ("hevc", Publisher::Ffmpeg7, clips::hevc()),
        ("mp3", Publisher::Ffmpeg5, clips::mp3()),
        ("sound", Publisher::Ffmpeg5, clips::audio_only()),
        ("av1", Publisher::Ffmpeg7, clips::av1()),
    ];
    let of_ts = ["avc.ts", "avc.aac", "hevc.ts", "mp3.ts", "mp3.mp3", "sound.ts", "sound.aac"];
    let of_mp4 = ["hevc.mp4", "mp3.mp4", "sound.mp4", "av1.flv"];
    let names: Vec<&str> = of_ts.into_iter().chain(of_mp4).collect();
    let mut viewers: Vec<_> = names.iter().map(|name| viewer(&server, name)).collect();
    assert!(poll(Duration::from_secs(10), || server.connections() >= names.len()));
    let mut publishers =
        clips.each_ref().map(|(stream, publisher, clip)| publisher.publish(&server, clip, stream));
    publishers.iter_mut().for_each(|publisher| publisher.success(CLIP));
    for (curl, path) in &mut viewers {
        curl.success(Duration::from_secs(10));
        assert_decodes(path);
    }
    let file = |name: &str| server.dir().join(name);
    let [(_, _, avc), (_, _, hevc), (_, _, mp3), (_, _, sound), (_, _, av1)] = &clips;
    // Parameter sets and delimiters come with each keyframe of MPEG-TS; an HEVC record may hold SEI as well.
    let avc_rest = "filter_units=remove_types=7-9";
    let hevc_rest = "filter_units=remove_types=32-40";
    for (clip, name, prefix, rest) in [
        (avc, "avc.ts", "h264_mp4toannexb", avc_rest),
        (hevc, "hevc.ts", "hevc_mp4toannexb", hevc_rest),
        (mp3, "mp3.ts", "h264_mp4toannexb", avc_rest),
    ] {
        let sent = units(clip, "v", &format!("{prefix},{rest}"));
        assert!(sent.len() > 100);
        assert!(units(&file(name), "v", rest) == sent, "{name}: the pictures differ");
        same_times(&file(name), clip, "v");
    }
    // Those of a clip that begins with sound are joined at the keyframe behind it.
    for (clip, name, early) in
        [(hevc, "hevc.mp4", 0), (mp3, "mp3.mp4", 1), (sound, "sound.mp4", 0), (av1, "av1.flv", 0)]
    {
        let missing = frames::assert_tail(&frames::of(&file(name)), &frames::of(clip), name, 0);
        assert!(
            missing.iter().all(|(kind, count)| *count <= if kind == "audio" { early } else { 0 }),
            "{name}: {missing:?}"
        );
    }
    for (clip, name, filter) in [
        (avc, "avc.ts", "aac_adtstoasc"),
        (avc, "avc.aac", "aac_adtstoasc"),
        (hevc, "hevc.ts", "aac_adtstoasc"),
        (mp3, "mp3.ts", "null"),
        (mp3, "mp3.mp3", "null"),
        (sound, "sound.ts", "aac_adtstoasc"),
        (sound, "sound.aac", "aac_adtstoasc"),
    ] {
        let (got, sent) = (units(&file(name), "a", filter), units(clip, "a", "null"));
        assert!(sent.ends_with(&got), "{name}: the sound differs");
        // A stream is joined at its keyframe, and one frame of this clip's sound is before that.
        let early = sent.len() - got.len();
        assert!(early <= usize::from(clip == mp3), "{name}: {early} frames of sound are missing");
        if name.ends_with(".ts") {
            same_times(&file(name), clip, "a");
        }
    }
    drop((viewers, publishers));
    server.assert_idle();
}

#[test]
fn a_container_that_cannot_carry_the_stream_is_refused_with_the_reason() {
    let server = every_container();
    let _publish = Publisher::Ffmpeg5.publish(&server, &clips::av(), "x");
    for (path, said) in [
        ("/live/x.mp3", "MP3 cannot carry this stream's audio, which is AAC"),
        ("/live/x.mp3?only_video=1", "this stream has no audio for MP3"),
    ] {
        let mut http = Http::connect(server.http);
        http.get(path, "");
        let head = http.head();
        let body = String::from_utf8(http.body(&head)).unwrap();
        assert_eq!((head.status, body.trim()), (415, said), "{path}");
    }
}

/// Fragmented MP4 over HTTP, joined before the start and in the middle: the packets are the publisher's.
#[test]
fn mp4_carries_every_frame() {
    let server = Server::vhost(
        "http_remux { enabled on; mount [vhost]/[app]/[stream].mp4 [vhost]/[app]/[stream].flv; no_stream wait; wait 10s; }\n\
         publish { resume_wait 0; }",
    );
    let clip = clips::av();
    let (mut early, whole) = viewer(&server, "x.mp4");
    assert!(poll(Duration::from_secs(10), || server.connections() >= 1));
    let mut publisher = Publisher::Ffmpeg5.publish(&server, &clip, "x");
    // Past its second keyframe, the one before the last.
    Viewer::join(server.http, "/live/x.flv").until(CLIP, |tag| tag.is_picture() && tag.ts > 3000);
    let late_url = server.http_url("x").replace(".flv", ".mp4");
    let late_file = server.dir().join("late.mp4");
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--no-buffer", &late_url, "-o"]).arg(&late_file);
    let mut late = Proc::spawn("curl-late", server.dir(), command);
    publisher.success(CLIP);
    early.success(Duration::from_secs(10));
    late.success(Duration::from_secs(10));
    assert_decodes(&whole);
    assert_decodes(&late_file);
    let sent = frames::of(&clip);
    frames::assert_all(&frames::of(&whole), &sent, "who came first", 0);
    let missing = frames::assert_tail(&frames::of(&late_file), &sent, "who came late", 0);
    assert!(missing["video"] > 20, "{missing:?}");
}
