//! Recordings: every frame that a real encoder sends is in a file that real players open, whatever happens to encoder,
//! server and disk.
use crate::support::http::{Http, Viewer};
use crate::support::proc::Proc;
use crate::support::server::Server;
use crate::support::tools::{self, Publisher};
use crate::support::{clips, frames, note, poll};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longer than any clip of this module, with the time that tools take to start and to end.
const CLIP: Duration = Duration::from_secs(40);
const LIMIT: Duration = Duration::from_secs(20);
const RECORD: &str = "dvr { enabled on; dvr_path ./rec/[stream].flv; }";

/// A server that serves what it records below `rec`.
fn conf(vhost: &str) -> String {
    format!(
        "listen 127.0.0.1:$RTMP; max_connections 1000;\n\
         http_server {{ enabled on; listen 127.0.0.1:$HTTP; dir ./rec; }}\n\
         vhost __defaultVhost__ {{ publish {{ resume_wait 0; }} http_remux {{ enabled on; }}\n{vhost} }}\n"
    )
}

/// The recordings below `rec`, in the order of their names.
fn recordings(server: &Server) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(server.dir().join("rec")).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Waits until the log tells of so many recordings that are complete.
fn complete(server: &Server, count: usize) {
    let done = || server.log().matches(": recorded ").count() >= count;
    assert!(poll(LIMIT, done), "{count} recordings\n{}", server.log());
}

/// Publishes clips together, and waits for the end.
fn publish(server: &Server, clips: &[(Publisher, &Path, &str)]) {
    let mut all: Vec<Proc> =
        clips.iter().map(|(by, clip, stream)| by.publish(server, clip, stream)).collect();
    all.iter_mut().for_each(|publish| publish.success(CLIP));
}

/// Hashes of the frames that ffmpeg makes of these files, in order.
fn hashes(inputs: &[PathBuf], args: &[&str]) -> Vec<String> {
    let run = |input: &PathBuf| {
        let mut command = Command::new(tools::ffmpeg7());
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-i"]).arg(input).args(args);
        let out = command.args(["-f", "framemd5", "-"]).output().unwrap();
        let errors = String::from_utf8_lossy(&out.stderr);
        let none = errors.contains("does not contain any stream");
        assert!(out.status.success() && errors.is_empty() || none, "{}: {errors}", input.display());
        let text = String::from_utf8(out.stdout).unwrap();
        let frames = text.lines().filter(|line| !line.starts_with('#'));
        frames.map(|line| line.split(',').nth(5).unwrap().trim().to_owned()).collect::<Vec<_>>()
    };
    inputs.iter().flat_map(run).collect()
}

/// The pictures as they are decoded and the sound as it was encoded.
fn content(inputs: &[PathBuf]) -> (Vec<String>, Vec<String>) {
    let pictures = hashes(inputs, &["-an", "-fps_mode", "passthrough"]);
    (pictures, hashes(inputs, &["-vn", "-c", "copy", "-bsf:a", "aac_adtstoasc"]))
}

/// The pictures as they were encoded.
fn packets(inputs: &[PathBuf]) -> Vec<String> {
    hashes(inputs, &["-an", "-c", "copy"])
}

fn assert_same_content(files: &[PathBuf], clip: &Path) {
    let (got, sent) = (content(files), content(&[clip.to_owned()]));
    assert_eq!((got.0.len(), got.1.len()), (sent.0.len(), sent.1.len()), "{files:?}: pictures, sounds");
    assert!(got == sent, "{files:?}: the content differs");
}

/// Fails unless the file has the beginning of the clip, so much of it at least. Where pictures were still to come, the last
/// ones are not shown in their order.
fn assert_beginning(file: &Path, clip: &Path, (pictures, sounds): (usize, usize)) {
    const REORDERED: usize = 4;
    let (got, sent) = (content(&[file.to_owned()]), content(&[clip.to_owned()]));
    assert!(got.0.len() >= pictures && got.1.len() >= sounds, "{file:?}: {} {}", got.0.len(), got.1.len());
    assert!(sent.0.starts_with(&got.0[..got.0.len() - REORDERED]), "{file:?}: the pictures differ");
    assert!(sent.1.starts_with(&got.1), "{file:?}: the sounds differ");
}

/// What ffprobe's part of ffmpeg says of a file.
fn probed(file: &Path) -> String {
    let out = Command::new(tools::ffmpeg7()).args(["-hide_banner", "-i"]).arg(file).output().unwrap();
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn every_frame_is_in_the_flv() {
    let server = Server::start(&conf(RECORD));
    let (av, sound, picture, hevc) = (clips::av(), clips::audio_only(), clips::video_only(), clips::hevc());
    let clips = [
        (Publisher::Ffmpeg5, av.as_path(), "av"),
        (Publisher::Ffmpeg5, &sound, "sound"),
        (Publisher::Ffmpeg5, &picture, "picture"),
        (Publisher::Ffmpeg7, &hevc, "hevc"),
    ];
    publish(&server, &clips);
    complete(&server, 4);
    for (_, clip, stream) in clips {
        let file = server.dir().join(format!("rec/{stream}.flv"));
        frames::assert_all(&frames::of(&file), &frames::of(clip), stream, 0);
    }
    let file = server.dir().join("rec/av.flv");
    let text = probed(&file);
    assert!(text.contains("Duration: 00:00:08.0"), "{text}");
    // It is served as soon as it is complete, and seeking begins at a keyframe.
    let mut http = Http::connect(server.http);
    http.get("/av.flv", "");
    let head = http.head();
    assert_eq!((head.status, http.body(&head)), (200, std::fs::read(&file).unwrap()));
    let tags = Viewer::join(server.http, "/av.flv?start_time=5").rest(LIMIT);
    assert!(tags.iter().find(|tag| tag.is_frame()).unwrap().is_key());
    // Players seek by the index: the picture at 4 s is found without reading what is before it.
    let seek = |input: &Path| {
        let mut command = Command::new(tools::ffmpeg7());
        command.args(["-hide_banner", "-loglevel", "error", "-ss", "4.5", "-i"]).arg(input);
        let out = command.args(["-an", "-frames:v", "1", "-f", "framemd5", "-"]).output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().lines().last().unwrap().rsplit(',').next().unwrap().to_owned()
    };
    assert_eq!(seek(&file), seek(&av));
}

#[test]
fn segments_of_mp4_and_ts_follow_each_other_without_a_gap() {
    let dvr = |extension: &str| {
        format!(
            "dvr {{ enabled on; dvr_plan segment; dvr_duration 2; dvr_path ./rec/[app]-[stream].[timestamp].{extension}; }}"
        )
    };
    let other = conf("").replace("__defaultVhost__", "ts").lines().skip(2).collect::<Vec<_>>().join("\n");
    let other = other.replace("http_remux { enabled on; }", &dvr("ts"));
    let server = Server::start(&format!("{}{other}", conf(&dvr("mp4"))));
    let (av, hevc, sound) = (clips::av(), clips::hevc(), clips::audio_only());
    publish(
        &server,
        &[
            (Publisher::Ffmpeg5, &av, "av"),
            (Publisher::Ffmpeg7, &hevc, "hevc"),
            (Publisher::Ffmpeg5, &sound, "sound"),
            (Publisher::Ffmpeg5, &av, "tav?vhost=ts"),
        ],
    );
    complete(&server, 4 + 3 + 3 + 4);
    for (stream, clip, count) in [("av", &av, 4), ("hevc", &hevc, 3), ("sound", &sound, 3), ("tav", &av, 4)] {
        let mut files = recordings(&server);
        files.retain(|file| {
            file.file_name().unwrap().to_str().unwrap().starts_with(&format!("live-{stream}."))
        });
        assert_eq!(files.len(), count, "{files:?}");
        if stream == "hevc" {
            // Its groups are open: some pictures refer to what is in the file before.
            assert!(packets(&files) == packets(std::slice::from_ref(clip)), "the packets differ");
        } else {
            assert_same_content(&files, clip);
        }
        let text = probed(&files[1]);
        assert!(text.contains("Duration: 00:00:02") || text.contains("Duration: 00:00:01.9"), "{text}");
    }
}

#[test]
fn a_crash_leaves_files_that_play_and_the_next_start_completes_them() {
    let text = conf(&RECORD.replace(".flv", ".[timestamp].flv"));
    let dir = {
        let server = Server::start(&text);
        server.dir().to_owned()
    };
    std::fs::create_dir_all(&dir).unwrap();
    // A server of our own that is killed.
    let (rtmp, http) = (crate::support::server::free_port(), crate::support::server::free_port());
    let text = text.replace("$RTMP", &rtmp.to_string()).replace("$HTTP", &http.to_string());
    let mp4 = text.replace("__defaultVhost__", "mp4").replace(".flv; }", ".mp4; }");
    let text = format!("{text}\n{}", mp4.lines().skip(2).collect::<Vec<_>>().join("\n"));
    std::fs::write(dir.join("runnel.conf"), text).unwrap();
    let start = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runnel"));
        command.args(["-c", "runnel.conf"]);
        let server = Proc::spawn(name, &dir, command);
        assert!(
            poll(LIMIT, || std::net::TcpStream::connect(("127.0.0.1", rtmp)).is_ok()),
            "{}",
            server.tail()
        );
        server
    };
    let mut server = start("killed");
    let clip = clips::av();
    let mut publishing = Vec::new();
    for query in ["", "?vhost=mp4"] {
        let mut command = Command::new(tools::ffmpeg());
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-i"]).arg(&clip);
        command.args(["-c", "copy", "-f", "flv", &format!("rtmp://127.0.0.1:{rtmp}/live/x{query}")]);
        publishing.push(Proc::spawn(&format!("publish{}", publishing.len()), &dir, command));
    }
    let files = |ending: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir.join("rec")).into_iter().flatten();
        entries.map(|e| e.unwrap().path()).filter(|path| path.to_str().unwrap().ends_with(ending)).collect()
    };
    let large = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|data| data.len() > 300_000);
    let both = || [".tmp.flv", ".tmp.mp4"].iter().all(|ending| files(ending).iter().any(large));
    assert!(poll(LIMIT, both), "{}", server.tail());
    server.kill();
    drop(publishing);
    let check = |ending: &str| {
        let files = files(ending);
        assert_eq!(files.len(), 1, "{ending}");
        assert_beginning(&files[0], &clip, (40, 60));
    };
    check(".tmp.flv");
    check(".tmp.mp4");
    let server = start("again");
    let done = || files(".tmp.flv").is_empty() && files(".tmp.mp4").is_empty();
    assert!(poll(LIMIT, done), "{}", server.tail());
    check(".flv");
    check(".mp4");
    let text = probed(&files(".flv")[0]);
    assert!(!text.contains("Duration: N/A") && text.contains("Duration: 00:00:0"), "{text}");
    drop(server);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_full_disk_ends_the_file_and_harms_nobody() {
    // The limit of a file's size is met as a full disk is: the write fails, and goes on to fail.
    let server = Server::launched(&conf(RECORD), &[], "ulimit -f 2000;");
    let clip = clips::heavy();
    let mut viewer = None;
    let mut publishing = Publisher::Ffmpeg5.publish(&server, &clip, "x");
    assert!(poll(LIMIT, || {
        viewer = viewer
            .take()
            .or_else(|| server.log().contains("x is live").then(|| Viewer::join(server.http, "/live/x.flv")));
        viewer.is_some()
    }));
    complete(&server, 3);
    publishing.kill();
    let tags = viewer.unwrap().rest(LIMIT);
    assert!(tags.iter().filter(|tag| tag.is_picture()).count() > 60);
    let files = recordings(&server);
    let files: Vec<PathBuf> =
        files.into_iter().filter(|file| !file.to_str().unwrap().contains(".tmp.")).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in &files {
        let size = std::fs::metadata(file).unwrap().len();
        let (pictures, sounds) = content(std::slice::from_ref(file));
        assert!(size <= 2000 << 10 && pictures.len() > 5 && sounds.len() > 5, "{file:?}: {size}");
        assert!(!probed(file).contains("Duration: N/A"), "{}", probed(file));
    }
    let log = server.log();
    assert!(log.contains("the recording stops: ./rec/x.tmp.flv: File too large"), "{log}");
    assert!(log.contains("is recorded again"), "{log}");
}

#[test]
fn the_end_of_the_server_completes_files() {
    for signal in ["TERM", "QUIT"] {
        let text = format!("grace_start_wait 0; grace_final_wait 0; {}", conf(RECORD));
        let mut server = Server::start(&text);
        let _publish = Publisher::Ffmpeg5.publish(&server, &clips::av(), "x");
        let begun =
            || recordings(&server).iter().any(|file| std::fs::metadata(file).unwrap().len() > 100_000);
        assert!(poll(LIMIT, begun), "{}", server.log());
        server.signal(signal);
        if signal == "QUIT" {
            // A second one does not wait for the encoder.
            let announced = poll(LIMIT, || server.log().contains("told to drain"));
            assert!(announced, "{}", server.log());
            server.signal("QUIT");
            server.signal("TERM");
        }
        server.wait_end(LIMIT);
        let files = recordings(&server);
        assert_eq!(files, [server.dir().join("rec/x.flv")], "{signal}");
        assert_beginning(&files[0], &clips::av(), (20, 20));
        assert!(server.log().contains(": recorded "), "{}", server.log());
        std::fs::remove_dir_all(server.dir()).unwrap();
    }
}

#[test]
fn a_reload_turns_recording_on_and_off_for_a_live_stream() {
    let server = Server::start(&conf(""));
    let clip = clips::av();
    let mut publishing = Publisher::Ffmpeg5.publish(&server, &clip, "x");
    let viewer = Viewer::join(server.http, "/live/x.flv");
    assert!(poll(LIMIT, || server.log().contains("x is live")), "{}", server.log());
    server.reload(&conf(RECORD));
    let begun = || recordings(&server).iter().any(|file| std::fs::metadata(file).unwrap().len() > 100_000);
    assert!(poll(LIMIT, begun), "{}", server.log());
    let mut http = Http::connect(server.http);
    http.get("/runnel/streams.json", "");
    let head = http.head();
    let list = String::from_utf8(http.body(&head)).unwrap();
    assert!(list.contains(r#""recording":true"#), "{list}");
    server.reload(&conf(""));
    complete(&server, 1);
    publishing.success(CLIP);
    let mut viewer = viewer;
    let pictures = viewer.rest(LIMIT).iter().filter(|tag| tag.is_picture()).count();
    assert_eq!(pictures, 200, "the viewer has seen nothing of it");
    let (got, sent) = (frames::of(&recordings(&server)[0]), frames::of(&clip));
    let first = got["video"].len();
    assert!(first >= 25 && first < sent["video"].len(), "{first}");
}

#[test]
fn an_encoder_that_is_back_goes_on_in_its_file_and_another_picture_begins_a_file() {
    let server = Server::start(&conf(RECORD).replace("resume_wait 0;", "resume_wait 10s;"));
    let (picture, other) = (clips::video_only(), clips::other());
    for clip in [&picture, &picture, &other] {
        publish(&server, &[(Publisher::Ffmpeg5, clip, "x")]);
    }
    complete(&server, 1);
    server.reload(&conf("").replace("resume_wait 0;", "resume_wait 10s;"));
    complete(&server, 2);
    let rec = |name: &str| server.dir().join("rec").join(name);
    assert_eq!(recordings(&server), [rec("x-1.flv"), rec("x.flv")]);
    let (once, both) = (packets(&[picture]), packets(&[rec("x.flv")]));
    assert!(both == [&once[..], &once].concat(), "{} pictures, twice {}", both.len(), once.len());
    let frames = frames::of(&rec("x.flv"));
    assert!(frames["video"].windows(2).all(|pair| pair[0].dts < pair[1].dts), "time goes on");
    assert_same_content(&[rec("x-1.flv")], &other);
}

/// What a recording costs beside the stream itself, in the notes of the run.
#[test]
fn the_cost_of_recording_is_small() {
    let measure = |dvr: &str| {
        let server = Server::start(&conf(dvr));
        let (cpu, memory) = (server.cpu_ticks(), server.rss_kib());
        publish(&server, &[(Publisher::Ffmpeg5, &clips::heavy(), "x")]);
        (server.cpu_ticks() - cpu, server.peak_kib().saturating_sub(memory))
    };
    let (off, on) = (measure(""), measure(RECORD));
    note(&format!(
        "dvr: 20 s of 10 Mbit/s took {} ms of CPU without recording and {} ms with it; memory grew by {} and {} KiB",
        off.0 * 10,
        on.0 * 10,
        off.1,
        on.1
    ));
    assert!(on.1 < off.1 + 8_000, "{off:?} {on:?}");
}
