//! Where the log's lines go, and what they say.
use crate::support::http::{Http, Viewer};
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, usual_vhost};
use crate::support::{clips, flv, poll};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn conf(more: &str) -> String {
    format!(
        "listen 127.0.0.1:$RTMP;\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n{more}\n\
         vhost __defaultVhost__ {{\n{}\n}}\n",
        usual_vhost("resume_wait 0;")
    )
}

/// A log of the system that reads until `done`.
fn lines_until(socket: &UnixDatagram, done: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let n = socket.recv(&mut bytes).unwrap_or_else(|e| panic!("{e}; so far {lines:#?}"));
        lines.push(String::from_utf8_lossy(&bytes[..n]).into_owned());
        if lines.last().is_some_and(|line| done(line)) {
            return lines;
        }
    }
}

#[test]
fn the_systems_log_gets_every_line_with_priority_time_and_process() {
    // The name of a socket must be short.
    let path = std::env::temp_dir().join(format!("runnel-log-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let server = Server::start(&conf(&format!("log_tank syslog; log_socket {};", path.display())));
    let mut rtmp = Rtmp::publish(server.rtmp, "x");
    rtmp.send(&flv::read(&clips::av())[..30]);
    let lines = lines_until(&socket, |line| line.contains("live/x is live"));
    for line in &lines {
        // <daemon.info>Mon dd hh:mm:ss runnel[pid]: [target] text
        let rest = line.strip_prefix("<30>").unwrap_or_else(|| panic!("{line}"));
        let (time, text) = rest.split_at_checked(15).unwrap();
        assert!(time.as_bytes()[3] == b' ' && time.as_bytes()[9] == b':', "{line}");
        assert!(text.starts_with(" runnel[") && text.contains("]: ["), "{line}");
    }
    assert!(lines.iter().any(|line| line.contains("publisher of live/x came")), "{lines:#?}");
    drop(
        TcpStream::connect(("127.0.0.1", server.rtmp))
            .map(|mut s| std::io::Write::write_all(&mut s, b"GET / HTTP/1.1\r\n\r\n")),
    );
    let lines = lines_until(&socket, |line| line.contains("HTTP"));
    assert!(lines.last().unwrap().starts_with("<28>"), "a warning: {lines:#?}");
    // A log that is gone stops nobody, and one that is back gets the next line.
    drop(socket);
    std::fs::remove_file(&path).unwrap();
    drop(rtmp);
    let _viewer = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let _again = Rtmp::publish(server.rtmp, "y");
    lines_until(&socket, |line| line.contains("publisher of live/y came"));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_session_has_one_number_in_every_line_and_those_who_waited_in_vain_are_there() {
    let wait = "http_remux { enabled on; mount [vhost]/[app]/[stream].flv; no_stream wait; wait 300ms; }";
    let server = Server::start(&format!(
        "listen 127.0.0.1:$RTMP;\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\naccess_log access.log;\n\
         log_level debug;\nvhost __defaultVhost__ {{ {wait} publish {{ resume_wait 0; }} }}\n"
    ));
    let access = || std::fs::read_to_string(server.dir().join("access.log")).unwrap_or_default();
    let mut http = Http::connect(server.http);
    http.get("/live/nobody.flv?token=secret", "User-Agent: me\r\n");
    assert_eq!(http.head().status, 404);
    assert!(poll(SOON, || access().contains("\"GET /live/nobody.flv\" 404 \"me\"")), "{}", access());
    assert!(!access().contains("secret"));
    let mut rtmp = Rtmp::publish(server.rtmp, "x");
    rtmp.send(&flv::read(&clips::av())[..60]);
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    viewer.until(SOON, flv::Tag::is_key);
    drop(viewer);
    assert!(poll(SOON, || server.log().contains("viewer of live/x left")));
    drop(rtmp);
    assert!(poll(SOON, || server.log().contains("publisher of live/x left")));
    let log = server.log();
    let number = |words: &str| -> String {
        let line = log.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {log}"));
        let tag = line
            .split(' ')
            .find(|word| word.starts_with('[') && word[1..].starts_with(|c: char| c.is_ascii_digit()));
        tag.unwrap_or_else(|| panic!("no number in {line}")).to_owned()
    };
    assert_eq!(number("publisher of live/x came"), number("publisher of live/x left"));
    let viewer = number("viewer of live/x came");
    assert_eq!(viewer, number("viewer of live/x left"));
    assert!(access().lines().any(|line| line.contains(&viewer) && line.contains("viewer of live/x")));
    let closed = |line: &&str| line.contains(&viewer) && line.contains("closed: ");
    assert!(poll(SOON, || server.log().lines().any(|line| closed(&line))), "{}", server.log());
}

#[test]
fn a_flood_of_faults_is_cut_and_the_rest_is_counted() {
    let server = Server::start(&conf(""));
    for _ in 0..40 {
        let mut socket = TcpStream::connect(("127.0.0.1", server.rtmp)).unwrap();
        std::io::Write::write_all(&mut socket, &[9; 10]).unwrap();
        let mut byte = [0];
        let _ = std::io::Read::read(&mut socket, &mut byte);
    }
    // Nothing else comes: the count is told nevertheless.
    let told = || server.log().contains(" more lines like those before were left out");
    assert!(poll(Duration::from_secs(20), told), "{}", server.log());
    let log = server.log();
    let faults = log.lines().filter(|line| line.starts_with("WARN ") && line.contains("[rtmp]")).count();
    assert!(faults <= 2 * 11, "{faults}: {log}");
}

/// Far from UTC, local time is another; and the other way round.
#[test]
fn time_is_local_or_utc() {
    for (utc, same) in [("on", true), ("off", false)] {
        let dir = crate::support::server::run_dir();
        let (rtmp, log) = (crate::support::server::free_port(), dir.join("log"));
        let text = format!(
            "listen 127.0.0.1:{rtmp}; log_file {}; utc_time {utc}; vhost __defaultVhost__ {{ }}",
            log.display()
        );
        std::fs::write(dir.join("t.conf"), text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_runnel"));
        command.arg("-c").arg(dir.join("t.conf")).env("TZ", "XYZ-12");
        let server = crate::support::proc::Proc::spawn("server", &dir, command);
        assert!(poll(SOON, || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("RTMP at"))));
        let line = std::fs::read_to_string(&log).unwrap();
        // INFO  [server] 2026-11-20 13:33:46.472 RTMP at …
        let hour: u64 = line.split_whitespace().nth(3).unwrap()[..2].parse().unwrap();
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let apart = (hour + 24 - unix / 3600 % 24) % 24;
        // An hour may have ended between the two.
        let near = |wanted: u64| apart == wanted || apart == (wanted + 23) % 24;
        assert!(near(if same { 0 } else { 12 }), "utc_time {utc}: {line}");
        server.signal("TERM");
    }
}
