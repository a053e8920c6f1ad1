//! The programs that publish and play.
use super::e2e_dir;
use super::proc::Proc;
use super::server::Server;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The system's ffmpeg (Debian 12 has 5.1).
pub(crate) fn ffmpeg() -> String {
    "ffmpeg".into()
}

/// An ffmpeg of version 7 or later, which knows Enhanced RTMP.
pub(crate) fn ffmpeg7() -> String {
    let path = e2e_dir().join("ffmpeg7/ffmpeg");
    assert!(path.exists(), "{} is missing; ./tests/run fetches it", path.display());
    path.to_str().unwrap().into()
}

/// What runs the scripts of tests/web: the one that `tests/run` fetches where the system has none, or the system's.
pub(crate) fn node() -> PathBuf {
    let fetched = e2e_dir().join("node/bin/node");
    if fetched.exists() { fetched } else { "node".into() }
}

/// What publishes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Publisher {
    Ffmpeg5,
    Ffmpeg7,
    Gstreamer,
}

/// What plays, and over what.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Player {
    Ffmpeg5Rtmp,
    Ffmpeg5Http,
    Ffmpeg7Rtmp,
    Ffmpeg7Http,
    Rtmpdump,
    Curl,
    GstreamerRtmp,
    GstreamerHttp,
}

/// Every player.
pub(crate) const PLAYERS: [Player; 8] = [
    Player::Ffmpeg5Rtmp,
    Player::Ffmpeg5Http,
    Player::Ffmpeg7Rtmp,
    Player::Ffmpeg7Http,
    Player::Rtmpdump,
    Player::Curl,
    Player::GstreamerRtmp,
    Player::GstreamerHttp,
];

impl Player {
    /// Whether it plays over HTTP-FLV.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Player::Ffmpeg5Http | Player::Ffmpeg7Http | Player::Curl | Player::GstreamerHttp)
    }
}

impl Player {
    /// Frames that the player itself may lose at the end of a stream: rtmp2src forgets the message that it has not
    /// handed on yet when the stream's end follows at once.
    pub(crate) fn may_lose(self) -> usize {
        usize::from(matches!(self, Player::GstreamerRtmp))
    }
}

impl Publisher {
    /// Publishes a clip in real time, once.
    pub(crate) fn publish(self, server: &Server, clip: &Path, stream: &str) -> Proc {
        match self {
            Publisher::Ffmpeg5 => ffmpeg_publish(&ffmpeg(), server, clip, stream, &[]),
            Publisher::Ffmpeg7 => {
                ffmpeg_publish(&ffmpeg7(), server, clip, stream, &["-rtmp_enhanced_codecs", "hvc1,av01"])
            }
            Publisher::Gstreamer => gstreamer_publish(server, clip, stream),
        }
    }
}

/// Publishes a clip in real time with an ffmpeg and further output options.
pub(crate) fn ffmpeg_publish(
    ffmpeg: &str,
    server: &Server,
    clip: &Path,
    stream: &str,
    more: &[&str],
) -> Proc {
    let mut command = Command::new(ffmpeg);
    command.args(["-hide_banner", "-nostdin", "-loglevel", "info", "-nostats", "-re", "-i"]).arg(clip);
    command.args(["-map", "0", "-c", "copy", "-f", "flv"]).args(more).arg(server.rtmp_url(stream));
    start("publish", server.dir(), stream, command)
}

/// GStreamer's muxer counts time anew, so what it sends is kept beside what it read: `sent.flv` in the directory of
/// the test.
fn gstreamer_publish(server: &Server, clip: &Path, stream: &str) -> Proc {
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "filesrc", &format!("location={}", clip.display()), "!", "flvdemux", "name=d"]);
    command.args(["flvmux", "name=m", "streamable=true", "!", "tee", "name=t"]);
    command.args(["t.", "!", "queue", "!", "filesink", "location=sent.flv"]);
    command.args(["t.", "!", "queue", "!", "rtmp2sink", "sync=true"]);
    command.arg(format!("location={}", server.rtmp_url(stream)));
    for pad in ["video", "audio"] {
        command.args([&format!("d.{pad}"), "!", "queue", "!", &format!("m.{pad}")]);
    }
    start("publish", server.dir(), stream, command)
}

/// A running player and the FLV file that it writes.
pub(crate) struct Play {
    /// Which player.
    pub(crate) player: Player,
    /// The process.
    pub(crate) process: Proc,
    /// What has been received.
    pub(crate) file: PathBuf,
}

impl Play {
    /// Waits until the player has ended by itself, as it should at the end of the stream.
    pub(crate) fn finish(&mut self, limit: Duration) {
        let status = self.process.wait(limit);
        // rtmpdump says 2 ("incomplete") for every live stream that ends: it knows no duration.
        let fine = status.success() || matches!((self.player, status.code()), (Player::Rtmpdump, Some(2)));
        assert!(fine, "{:?} ended with {status}\n{}", self.player, self.process.tail());
    }
}

impl Player {
    /// Starts to play a stream into a file.
    pub(crate) fn play(self, server: &Server, stream: &str) -> Play {
        let name = format!("{self:?}").to_lowercase();
        let file = server.dir().join(format!("{stream}-{name}.flv"));
        let url = if self.is_http() { server.http_url(stream) } else { server.rtmp_url(stream) };
        let command = match self {
            Player::Ffmpeg5Rtmp | Player::Ffmpeg5Http => ffmpeg_play(&ffmpeg(), &[], &url, &file),
            Player::Ffmpeg7Http => ffmpeg_play(&ffmpeg7(), &[], &url, &file),
            Player::Ffmpeg7Rtmp => ffmpeg_play(&ffmpeg7(), &["-rtmp_enhanced_codecs", "hvc1"], &url, &file),
            Player::Rtmpdump => {
                let mut command = Command::new("rtmpdump");
                command.args(["--live", "--timeout", "20", "-r", &url, "-o"]).arg(&file);
                command
            }
            Player::Curl => {
                let mut command = Command::new("curl");
                command.args(["--silent", "--show-error", "--fail", "--no-buffer", &url, "-o"]).arg(&file);
                command
            }
            Player::GstreamerRtmp => gstreamer_play("rtmp2src", &url, &file),
            Player::GstreamerHttp => gstreamer_play("souphttpsrc", &url, &file),
        };
        Play { player: self, process: start(&name, server.dir(), stream, command), file }
    }
}

fn ffmpeg_play(ffmpeg: &str, input: &[&str], url: &str, file: &Path) -> Command {
    let mut command = Command::new(ffmpeg);
    command.args(["-hide_banner", "-nostdin", "-loglevel", "info", "-nostats", "-y"]).args(input);
    command.args([
        "-i",
        url,
        "-map",
        "0",
        "-c",
        "copy",
        "-copyts",
        "-flvflags",
        "no_duration_filesize",
        "-f",
        "flv",
    ]);
    command.arg(file);
    command
}

/// Keeps what arrives as it is, and takes it apart as a player would.
fn gstreamer_play(source: &str, url: &str, file: &Path) -> Command {
    let mut command = Command::new("gst-launch-1.0");
    command.env("GST_DEBUG", "rtmp*:4,basesrc:4,souphttpsrc:4,flvdemux:3");
    command.args(["-q", source, &format!("location={url}"), "!", "tee", "name=t"]);
    command.args([
        "t.",
        "!",
        "queue",
        "!",
        "filesink",
        "async=false",
        &format!("location={}", file.display()),
    ]);
    command.args(["t.", "!", "queue", "!", "flvdemux", "name=d"]);
    for pad in ["video", "audio"] {
        command.args([&format!("d.{pad}"), "!", "queue", "!", "fakesink", "async=false"]);
    }
    command
}

fn start(role: &str, dir: &Path, stream: &str, command: Command) -> Proc {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    Proc::spawn(&format!("{stream}-{role}-{}", COUNT.fetch_add(1, Ordering::Relaxed)), dir, command)
}
