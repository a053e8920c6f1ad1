//! The samples in `conf/` do what they say: each is started, published to and watched with ffmpeg.
use crate::support::proc::Proc;
use crate::support::server::{Server, free_port, run_dir};
use crate::support::tools::Publisher;
use crate::support::{clips, poll};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Runs a sample, with its ports moved, publishes a clip and has ffmpeg count the packets of `url`; `$RTMP` and
/// `$HTTP` stand for the ports.
fn watch(sample: &str, clip: &Path, url: &str) -> (u32, u32) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(sample);
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replace("listen              1935;", "listen              127.0.0.1:$RTMP;");
    let text = text.replace("    listen          8080;", "    listen          127.0.0.1:$HTTP;");
    assert!(text.contains("$RTMP") && (sample == "rtmp.conf" || text.contains("$HTTP")), "{sample}: {text}");
    // The rig waits for both ports.
    let text = match text.contains("$HTTP") {
        true => text,
        false => format!("{text}\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n"),
    };
    let server = Server::start(&text);
    let _publisher = Publisher::Ffmpeg5.publish(&server, clip, "x");
    assert!(poll(Duration::from_secs(10), || server.log().contains("live/x is live")), "{sample}");
    let url = url.replace("$RTMP", &server.rtmp.to_string()).replace("$HTTP", &server.http.to_string());
    let mut command = Command::new("ffprobe");
    command.args([
        "-hide_banner",
        "-loglevel",
        "error",
        "-read_intervals",
        "%+2",
        "-show_entries",
        "packet=codec_type",
    ]);
    command.args(["-of", "csv=p=0", &url]);
    let mut probe = Proc::spawn("probe", server.dir(), command);
    let packets = |log: &str, kind: &str| log.lines().filter(|line| line.starts_with(kind)).count() as u32;
    let enough = |log: &str| packets(log, "audio") + packets(log, "video") > 0;
    assert!(poll(Duration::from_secs(40), || !probe.running()), "{sample}: {}", probe.tail());
    let log = probe.log();
    assert!(enough(&log), "{sample}: {}\n{}", probe.tail(), server.log());
    (packets(&log, "video"), packets(&log, "audio"))
}

#[test]
fn the_samples_of_each_way_to_watch_play() {
    let flv = "http://127.0.0.1:$HTTP/live/x.flv";
    let (av, mp3) = (clips::av(), clips::mp3());
    let cases = [
        ("runnel.conf", &av, flv, true),
        ("openwrt.conf", &av, flv, true),
        ("rtmp.conf", &av, "rtmp://127.0.0.1:$RTMP/live/x", true),
        ("http.flv.live.conf", &av, flv, true),
        ("realtime.conf", &av, flv, true),
        ("http.ts.live.conf", &av, "http://127.0.0.1:$HTTP/live/x.ts", true),
        ("http.aac.live.conf", &av, "http://127.0.0.1:$HTTP/live/x.aac", false),
        ("http.mp3.live.conf", &mp3, "http://127.0.0.1:$HTTP/live/x.mp3", false),
        ("hls.conf", &av, "http://127.0.0.1:$HTTP/live/x.m3u8", true),
    ];
    let runs: Vec<_> = cases
        .into_iter()
        .map(|(sample, clip, url, pictures)| {
            let clip = clip.clone();
            (sample, pictures, std::thread::spawn(move || watch(sample, &clip, url)))
        })
        .collect();
    for (sample, pictures, run) in runs {
        let (video, audio) = run.join().unwrap_or_else(|_| panic!("{sample}"));
        assert!(audio > 10 && (video > 10) == pictures, "{sample}: {video} pictures, {audio} sounds");
    }
}

/// Without a file and without a word, at a terminal: where to publish and watch, and a code for the telephone.
#[test]
fn without_a_file_a_terminal_shows_addresses_and_a_code() {
    let dir = run_dir();
    let (rtmp, http) = (free_port(), free_port());
    let shown = |terminal: bool, name: &str| -> String {
        let program = env!("CARGO_BIN_EXE_runnel");
        let mut command = Command::new(if terminal { "script" } else { program });
        if terminal {
            command.args(["-qefc", program, "/dev/null"]);
        }
        command.env("RUNNEL_LISTEN", format!("127.0.0.1:{rtmp}"));
        command.env("RUNNEL_HTTP_SERVER_LISTEN", format!("127.0.0.1:{http}"));
        command.env("RUNNEL_PID", dir.join("pid"));
        let process = Proc::spawn(name, &dir, command);
        let told = || process.log().contains(&format!("http://127.0.0.1:{http}/live/mystream.flv"));
        assert!(poll(Duration::from_secs(10), told), "{}", process.tail());
        // The code is printed in one piece with the addresses; the server serves by then.
        assert!(poll(Duration::from_secs(10), || std::net::TcpStream::connect(("127.0.0.1", http)).is_ok()));
        let pid = std::fs::read_to_string(dir.join("pid")).unwrap();
        let line = format!("kill -TERM {}", pid.trim());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
        assert!(poll(Duration::from_secs(10), || !dir.join("pid").exists()), "{}", process.tail());
        process.log()
    };
    let terminal = shown(true, "terminal");
    assert!(terminal.contains(&format!("rtmp://127.0.0.1:{rtmp}/live/mystream")), "{terminal}");
    assert!(terminal.lines().filter(|line| line.contains('█')).count() > 10, "{terminal}");
    assert!(!shown(false, "file").contains('█'), "a file needs no code");
}
