//! Programs that run beside the server: `ingest`, `transcode` and `exec`, with a real ffmpeg.
use crate::service::Service;
use crate::support::flv;
use crate::support::http::Viewer;
use crate::support::server::Server;
use crate::support::tools::{Publisher, ffmpeg_publish};
use crate::support::{clips, poll, tools};
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// A server whose default vhost has these directives, and `more` outside it.
fn conf(more: &str, vhost: &str) -> String {
    format!(
        "listen 127.0.0.1:$RTMP; max_connections 1000; ff_log_dir ./ff; {more}\n\
         http_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         vhost __defaultVhost__ {{ http_remux {{ enabled on; }}\n{vhost} }}\n"
    )
}

/// An ingest that copies a file, again and again without a gap.
fn film(name: &str, clip: &Path) -> String {
    format!(
        "ingest {name} {{ enabled on; input {{ type file; url {}; }} \
         engine {{ enabled off; perfile {{ stream_loop -1; }} output rtmp://127.0.0.1:[port]/live/{name}; }} }}\n",
        clip.display()
    )
}

/// The processes of which the log says that they run as `label`, in order.
fn pids(server: &Server, label: &str) -> Vec<u32> {
    let text = format!("{label} runs as process ");
    let log = server.log();
    let numbers = log.lines().filter_map(|line| line.split_once(&text)).map(|(_, pid)| pid.trim());
    numbers.map(|pid| pid.parse().unwrap()).collect()
}

/// Waits until so many processes have been started as `label`, and gives the last of them.
fn started(server: &Server, label: &str, count: usize) -> u32 {
    assert!(poll(SOON, || pids(server, label).len() >= count), "{label} {count}\n{}", server.log());
    pids(server, label)[count - 1]
}

/// Whether the process is there and no zombie.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn says(server: &Server, words: &str) {
    assert!(poll(SOON, || server.log().contains(words)), "{words:?}\n{}", server.log());
}

/// The sockets that a process has open.
fn sockets(pid: u32) -> HashSet<String> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    links.map(|link| link.display().to_string()).filter(|link| link.starts_with("socket:")).collect()
}

fn kill(pid: u32) {
    let line = format!("kill -KILL {pid}");
    assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
}

#[test]
fn a_file_is_played_started_again_and_left_alone_by_a_reload_that_is_not_about_it() {
    let clip = clips::other();
    let one = film("one", &clip);
    let server = Server::start(&conf("", &one));
    let first = started(&server, "ingest one of vhost __defaultVhost__", 1);
    let mut viewer = Viewer::join(server.http, "/live/one.flv");
    viewer.until(SOON, flv::Tag::is_key);
    assert!(sockets(first).is_disjoint(&sockets(server.pid())), "a socket is inherited");
    // More than one turn of the file, without a break.
    viewer.until(SOON, |tag| tag.ts > 7_000);
    kill(first);
    says(&server, "signal: 9");
    says(&server, "again in 3 s");
    let second = started(&server, "ingest one of vhost __defaultVhost__", 2);
    let tags = viewer.until(SOON, |tag| tag.ts > 9_000);
    flv::assert_monotonic(&tags);
    // Another one comes, and goes.
    let said = server.reload(&conf("", &format!("{one}{}", film("two", &clip))));
    assert!(said.contains("vhost __defaultVhost__ changed"), "{said}");
    let two = started(&server, "ingest two of vhost __defaultVhost__", 1);
    Viewer::join(server.http, "/live/two.flv").until(SOON, flv::Tag::is_key);
    server.reload(&conf("", &one));
    assert!(poll(SOON, || !runs(two)), "{}", server.log());
    assert!(runs(second) && pids(&server, "ingest one of vhost __defaultVhost__").len() == 2);
    let log = server.dir().join("ff/ffmpeg-ingest-__defaultVhost__-one-0.log");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("-re -stream_loop -1 -i") && log.contains("Input #0"), "{log}");
    drop(server);
    assert!(!runs(second), "it outlives the server");
}

#[test]
fn what_cannot_be_run_is_told_with_the_remedy_and_tried_again() {
    let ingest = |name: &str, ffmpeg: &str, url: &str| {
        format!(
            "ingest {name} {{ enabled on; ffmpeg {ffmpeg}; input {{ type file; url {url}; }} \
             engine {{ output rtmp://127.0.0.1:[port]/live/{name}; }} }}\n"
        )
    };
    let all = ingest("gone", "/nowhere/ffmpeg", "a.flv") + &ingest("bad", "ffmpeg", "./nothing.flv");
    let server = Server::start(&conf("", &all));
    says(
        &server,
        "ingest gone of vhost __defaultVhost__: there is no program /nowhere/ffmpeg: install it, or give its path in `ffmpeg`; again in 3 s",
    );
    says(&server, "ingest bad of vhost __defaultVhost__: ended after 0 s (exit status: ");
    says(&server, "No such file or directory; again in 3 s");
    says(&server, "No such file or directory; again in 6 s");
    // What is right now is run without waiting for the end of a pause.
    let said = server.reload(&conf("", &film("bad", &clips::other())));
    assert!(said.contains("changed"), "{said}");
    Viewer::join(server.http, "/live/bad.flv").until(SOON, flv::Tag::is_key);
}

#[test]
fn a_stream_is_transcoded_once_and_as_long_as_it_lives() {
    let transcode = "publish { resume_wait 0; } transcode { enabled on; engine low { enabled on; \
         vcodec libx264; vpreset ultrafast; vbitrate 200; vwidth 160; vheight 90; vthreads 1; \
         vparams { g 25; tune zerolatency; } acodec copy; \
         output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]; } }";
    let server = Server::start(&conf("", transcode));
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clips::long_gop(), "x");
    let encoder = started(&server, "transcode live/x, engine low", 1);
    says(&server, "live/x_low is live");
    let text = probed(&server, "x_low");
    assert!(text.contains("h264,160,90") && text.contains("aac"), "{text}");
    publish.kill();
    assert!(poll(SOON, || !runs(encoder)), "{}", server.log());
    // What it put out was not encoded again, and neither was it at its end.
    says(&server, "live/x_low has ended");
    assert_eq!(server.log().matches(" runs as process ").count(), 1, "{}", server.log());
}

#[test]
fn a_program_runs_while_a_stream_is_published_and_no_name_becomes_a_command() {
    let exec = "publish { resume_wait 30s; } exec { enabled on; \
         publish sh -c 'echo \"$@\" > said; sleep 600' sh [url] [app] [tcUrl]; \
         publish sh -c 'touch here [stream]'; publish touch [stream]; }";
    let server = Server::start(&conf("", exec));
    let clip = clips::long_gop();
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clip, "x");
    let pid = started(&server, "exec 1 of live/x", 1);
    let expected = format!("{} live rtmp://127.0.0.1:{}/live\n", server.rtmp_url("x"), server.rtmp);
    let said = || std::fs::read_to_string(server.dir().join("said")).unwrap_or_default();
    assert!(poll(SOON, || said() == expected), "{:?} {}", said(), server.log());
    // With the publisher, though its viewers are kept for a while.
    publish.kill();
    assert!(poll(SOON, || !runs(pid)), "{}", server.log());
    let mut publish = ffmpeg_publish(&tools::ffmpeg(), &server, &clip, "-r", &[]);
    says(&server, "exec 3 of live/-r: \"-r\" would be taken for an option; it is not run");
    publish.kill();
    let mut publish = ffmpeg_publish(&tools::ffmpeg(), &server, &clip, ";touch pwned", &[]);
    says(&server, "could be a command to a shell");
    publish.kill();
    assert!(!server.dir().join("pwned").exists());
}

#[test]
fn nothing_is_left_when_the_server_is_killed() {
    // A program that would not notice by itself.
    let exec = "exec { enabled on; publish sleep 600; }";
    let mut server = Server::start(&conf("", &format!("{exec}{}", film("one", &clips::other()))));
    let pid = started(&server, "ingest one of vhost __defaultVhost__", 1);
    let sleep = started(&server, "exec 1 of live/one", 1);
    assert!(runs(pid) && runs(sleep));
    server.crash();
    assert!(poll(SOON, || !runs(pid) && !runs(sleep)), "an orphan");
}

#[test]
fn an_upgrade_of_a_daemon_ends_its_programs_and_begins_others() {
    let clip = clips::other();
    let service = Service::new(&format!("daemon on; vhost films {{ {} }}", film("one", &clip)));
    assert_eq!(service.start().0, 0, "{}", service.log());
    let programs = || -> Vec<u32> {
        let log = service.log();
        let lines = log.lines().filter_map(|line| line.split_once(" runs as process "));
        lines.map(|(_, pid)| pid.trim().parse().unwrap()).collect()
    };
    let live = |times| poll(SOON, || service.log().matches("live/one is live").count() >= times);
    assert!(live(1), "{}", service.log());
    let (old, first) = (service.pid(), programs()[0]);
    service.signal("USR2");
    assert!(poll(SOON, || service.pid() != old && !runs(first) && live(2)), "{}", service.log());
    let last = *programs().last().unwrap();
    assert!(runs(last) && last != first);
    service.signal("TERM");
    assert!(service.ends() && poll(SOON, || !runs(last)), "{}", service.log());
}

/// What ffprobe says of the tracks of a stream.
fn probed(server: &Server, stream: &str) -> String {
    let mut probe = Command::new("ffprobe");
    probe.args(["-hide_banner", "-loglevel", "error", "-show_entries", "stream=codec_name,width,height"]);
    let out = probe.args(["-of", "csv=p=0"]).arg(server.rtmp_url(stream)).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// A sample with its ports and its file moved.
fn sample(name: &str) -> Server {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replace("listen              1935;", "listen              127.0.0.1:$RTMP;");
    let text = text.replace("    listen          8080;", "    listen          127.0.0.1:$HTTP;");
    assert!(text.contains("$RTMP") && text.contains("$HTTP"), "{text}");
    Server::start(&text.replace("./film.flv", clips::other().to_str().unwrap()))
}

#[test]
fn the_samples_play() {
    let server = sample("ingest.conf");
    Viewer::join(server.http, "/live/film.flv").until(SOON, flv::Tag::is_key);
    drop(server);
    let server = sample("transcode.conf");
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clips::long_gop(), "x");
    says(&server, "live/x_low is live");
    assert!(probed(&server, "x_low").contains("h264,320,180"));
    publish.kill();
}
