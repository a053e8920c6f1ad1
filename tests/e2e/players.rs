//! Players that people have: mpv shows moving pictures from every address of a stream, GStreamer takes every container
//! apart and decodes it.
use crate::support::clips;
use crate::support::poll;
use crate::support::proc::Proc;
use crate::support::server::Server;
use crate::support::tools::Publisher;
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Pictures that each player has to show: two keyframe intervals of the clip.
const PICTURES: usize = 100;
/// Frames of sound of about the same time.
const SOUNDS: usize = 170;
const LIMIT: Duration = Duration::from_secs(35);

/// A stream of 40 s, whose every picture differs from the others, which another vhost gives without chunks.
fn live() -> (Server, Proc) {
    const VHOST: &str = "http_remux { enabled on; no_stream wait; } hls { enabled on; hls_fragment 2;";
    let server = Server::start(&format!(
        "listen 127.0.0.1:$RTMP;\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         vhost __defaultVhost__ {{ {VHOST} }} }}\n\
         vhost localhost {{ http_remux {{ enabled on; }} hls {{ enabled on; hls_fragment 2; hls_variant fmp4; }} }}\n\
         vhost plain.lan {{ http_remux {{ enabled on; chunked off; }} }}\n"
    ));
    let publish = Publisher::Ffmpeg5.publish(&server, &clips::clock(), "x");
    (server, publish)
}

fn http(server: &Server, end: &str) -> String {
    server.http_url("x").replace(".flv", end)
}

/// mpv writes each picture that it shows, at its time, into a directory.
fn mpv(server: &Server, name: &str, url: &str) -> Proc {
    let mut command = Command::new("mpv");
    command.args(["--no-config", "--ao=null", "--vo=image", "--vo-image-format=jpg"]);
    command.arg(format!("--vo-image-outdir={}", server.dir().join(name).display()));
    command.args([&format!("--frames={PICTURES}"), url]);
    Proc::spawn(&format!("mpv-{name}"), server.dir(), command)
}

/// Fails unless the pictures in a directory were shown and differ.
fn assert_moving(dir: &Path) {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let (count, different) = files.fold((0, HashSet::new()), |(count, mut seen), file| {
        seen.insert(file);
        (count + 1, seen)
    });
    assert!(count >= PICTURES - 1, "{}: {count} pictures", dir.display());
    // A player may show one twice while it finds its pace.
    assert!(different.len() > PICTURES * 9 / 10, "{}: {} of {count} differ", dir.display(), different.len());
}

#[test]
fn mpv_plays_every_address() {
    let (server, _publish) = live();
    let _plain = Publisher::Ffmpeg5.publish(&server, &clips::clock(), "x?vhost=plain.lan");
    let hls = http(&server, ".m3u8");
    assert!(poll(LIMIT, || server.log().matches("is live").count() >= 2), "{}", server.log());
    let addresses = [
        ("rtmp", server.rtmp_url("x")),
        ("flv", http(&server, ".flv")),
        ("flv-without-chunks", http(&server, ".flv?vhost=plain.lan")),
        ("ts", http(&server, ".ts")),
        ("mp4", http(&server, ".mp4")),
        ("hls", hls),
    ];
    let mut players = addresses.map(|(name, url)| (name, mpv(&server, name, &url)));
    for (name, player) in &mut players {
        player.success(LIMIT);
        assert!(player.log().contains("AO: [null] 44100Hz"), "{name}: no sound\n{}", player.tail());
        assert_moving(&server.dir().join(name));
    }
}

/// GStreamer says of each buffer that leaves a decoder when it is shown.
#[test]
fn gstreamer_decodes_every_container() {
    let (server, _publish) = live();
    let _parts = Publisher::Ffmpeg5.publish(&server, &clips::clock(), "x?vhost=localhost");
    assert!(poll(LIMIT, || server.log().matches("is live").count() >= 2), "{}", server.log());
    let addresses = [
        ("flv", http(&server, ".flv"), "flvdemux"),
        ("ts", http(&server, ".ts"), "tsdemux"),
        ("mp4", http(&server, ".mp4"), "qtdemux"),
        ("hls", http(&server, ".m3u8"), "hlsdemux ! tsdemux"),
        ("hls-mp4", http(&server, ".m3u8").replace("127.0.0.1", "localhost"), "hlsdemux ! qtdemux"),
    ];
    let players = addresses.map(|(name, url, demux)| {
        let mut command = Command::new("gst-launch-1.0");
        command.args(["-v", "souphttpsrc", &format!("location={url}"), "!"]);
        command.args(demux.split(' ')).arg("name=d");
        command.args([
            "d.",
            "!",
            "queue",
            "!",
            "h264parse",
            "!",
            "avdec_h264",
            "!",
            "fakesink",
            "silent=false",
        ]);
        command.args(["name=pictures", "d.", "!", "queue", "!", "aacparse", "!", "fakesink", "silent=false"]);
        command.arg("name=sounds");
        (name, Proc::spawn(&format!("gst-{name}"), server.dir(), command))
    });
    for (name, player) in &players {
        let of = |sink: &str| player.log().matches(&format!("chain   ******* ({sink}:sink)")).count();
        let enough = poll(LIMIT, || of("pictures") >= PICTURES && of("sounds") >= SOUNDS);
        assert!(enough, "{name}: {} pictures, {} sounds", of("pictures"), of("sounds"));
    }
}
