//! SIGUSR2: the program is started again and takes over, and nobody finds a closed port.
use crate::service::{BIN, SOON, Service, kill};
use crate::support::proc::Proc;
use crate::support::rtmp::Rtmp;
use crate::support::server::free_port;
use crate::support::{clips, flv, poll};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A service whose program is a link in its directory, with HTTP.
struct Upgrade {
    service: Service,
    http: u16,
}

impl Upgrade {
    fn new(more: &str) -> Upgrade {
        Upgrade::of(Service::new(""), more)
    }

    fn of(service: Service, more: &str) -> Upgrade {
        clips::prepare();
        let upgrade = Upgrade { service, http: free_port() };
        upgrade.write(more);
        upgrade.program(|to| std::os::unix::fs::symlink(BIN, to).unwrap());
        upgrade
    }

    /// Puts another program in the place of the present one, as an installer would.
    fn program(&self, make: impl Fn(&PathBuf)) {
        let (new, path) = (self.service.dir.join("new"), self.path());
        make(&new);
        std::fs::rename(new, path).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.service.dir.join("runnel-bin")
    }

    fn write(&self, more: &str) {
        let Service { dir, rtmp } = &self.service;
        let text = format!(
            "listen 127.0.0.1:{rtmp};\nhttp_server {{ enabled on; listen 127.0.0.1:{}; }}\n\
             pid runnel.pid;\nlog_file runnel.log;\nwork_dir {};\ngrace_final_wait 100ms;\n{more}\n\
             vhost __defaultVhost__ {{ http_remux {{ enabled on; no_stream wait; wait 10s; }}\n\
             http_static {{ enabled on; mount [vhost]/files; dir .; }} hls {{ enabled on; hls_storage disk; hls_path hls; }} }}\n",
            self.http,
            dir.display()
        );
        std::fs::write(self.service.conf(), text).unwrap();
    }

    fn start(&self) -> u32 {
        let mut command = Command::new(self.path());
        command.arg("-c").arg("runnel.conf").current_dir(&self.service.dir);
        let (status, said) = self.service.run(command);
        assert_eq!(status, 0, "{said}");
        self.service.pid().unwrap()
    }

    /// Has the process hand over, and waits until another has the pid file and this one is gone.
    fn upgrade(&self, old: u32) -> u32 {
        self.service.signal("USR2");
        let new = || self.service.pid().filter(|pid| *pid != old);
        assert!(poll(SOON, || new().is_some() && gone(old)), "{}", self.service.log());
        new().unwrap()
    }
}

/// Whether a process has ended, waited for or not.
fn gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z') || rest.is_empty())
}

/// What a path is answered with, on a connection of its own, after any redirects.
fn get(port: u16, path: &str) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(SOON))?;
        socket.write_all(
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        Ok(text)
    };
    for _ in 0..20 {
        let text = ask().map_err(|error| error.to_string())?;
        let line = text.lines().next().unwrap_or_default();
        match line.split(' ').nth(1) {
            Some("307") => assert!(text.contains(&format!("\r\nLocation: {path}\r\n")), "{text}"),
            Some("200") => return Ok(text),
            _ => return Err(format!("answered with {line:?}")),
        }
    }
    Err("sent on for ever".to_owned())
}

/// Runs a command again and again until the test is over; `{n}` stands for the number of the round.
fn again_and_again(upgrade: &Upgrade, name: &str, line: &str) -> Proc {
    let mut command = Command::new("bash");
    let line = format!("n=0; while [ $n -lt 200 ]; do n=$((n + 1)); {line}; sleep 0.1; done");
    command.args(["-c", &line]);
    Proc::spawn(name, &upgrade.service.dir, command)
}

#[test]
fn an_upgrade_refuses_nobody_and_publisher_and_viewer_come_back() {
    let upgrade = Upgrade::new("daemon on;");
    let first = upgrade.start();
    let (rtmp, http) = (upgrade.service.rtmp, upgrade.http);
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..3)
        .map(|n| {
            let over = over.clone();
            std::thread::spawn(move || {
                let (mut tries, mut faults) = (0, Vec::new());
                while !over.load(Ordering::Relaxed) {
                    tries += 1;
                    let outcome = match n {
                        0 => TcpStream::connect(("127.0.0.1", rtmp)).map(drop).map_err(|e| e.to_string()),
                        _ => get(http, "/?a=b").map(drop),
                    };
                    faults.extend(outcome.err());
                    std::thread::sleep(Duration::from_millis(2));
                }
                (tries, faults)
            })
        })
        .collect();
    let clip = clips::long_gop();
    let ffmpeg = "timeout 20 ffmpeg -hide_banner -nostdin -loglevel error";
    let publish =
        format!("{ffmpeg} -re -i {} -map 0 -c copy -f flv rtmp://127.0.0.1:{rtmp}/live/x", clip.display());
    let _publisher = again_and_again(&upgrade, "publish", &publish);
    let play = format!("{ffmpeg} -i http://127.0.0.1:{http}/live/x.flv -c copy -y seen-$n.flv");
    let _viewer = again_and_again(&upgrade, "play", &play);
    let seen = || -> Vec<PathBuf> {
        let all = (1..100).map(|n| upgrade.service.dir.join(format!("seen-{n}.flv")));
        all.filter(|path| std::fs::metadata(path).is_ok_and(|data| data.len() > 20_000)).collect()
    };
    let mut last = first;
    for round in 1..3 {
        assert!(poll(Duration::from_secs(20), || seen().len() >= round), "{}", upgrade.service.log());
        last = upgrade.upgrade(last);
    }
    assert!(poll(Duration::from_secs(20), || seen().len() >= 3), "{}", upgrade.service.log());
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        let (tries, faults) = caller.join().unwrap();
        assert!(faults.is_empty() && tries > 20, "{tries} tries: {faults:?}");
    }
    for path in seen() {
        let mut parser = flv::Parser::default();
        parser.push(&std::fs::read(&path).unwrap());
        assert!(std::iter::from_fn(|| parser.next()).any(|tag| tag.is_key()), "{}", path.display());
    }
    let log = upgrade.service.log();
    assert_eq!(log.matches("connections end here").count(), 2, "{log}");
    let ends = log.lines().filter(|line| line.contains("[server]") && line.ends_with(" stopped")).count();
    assert_eq!(ends, 2, "{log}");
    // Descriptors do not add up from one process to the next.
    let sockets = std::fs::read_dir(format!("/proc/{last}/fd")).unwrap().count();
    assert!(sockets < 40, "{sockets}");
    // The link was what was started, and the working directory is as it was.
    upgrade.service.signal("HUP");
    assert!(poll(SOON, || upgrade.service.log().contains("nothing has changed")));
    upgrade.service.signal("TERM");
    assert!(upgrade.service.ends(), "{}", upgrade.service.log());
}

#[test]
fn an_upgrade_that_fails_leaves_everything_as_it_was() {
    let upgrade = Upgrade::new("daemon on;");
    let pid = upgrade.start();
    let mut publisher = Rtmp::publish(upgrade.service.rtmp, "x");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let script = |text: &'static str| {
        move |to: &PathBuf| {
            std::fs::write(to, text).unwrap();
            std::fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
    };
    let link = |to: &PathBuf| std::os::unix::fs::symlink(BIN, to).unwrap();
    type Make = Box<dyn Fn(&PathBuf)>;
    let cases: [(String, Make, &str); 5] = [
        ("oops;".into(), Box::new(link), "unknown directive `oops`"),
        ("user nobody-at-all;".into(), Box::new(link), "there is no user `nobody-at-all`"),
        (String::new(), Box::new(script("#!/bin/sh\nexit 3\n")), "ended at its start (exit status: 3)"),
        (String::new(), Box::new(script("#!/nowhere\n")), "cannot be started"),
        (String::new(), Box::new(script("#!/bin/sh\necho ready\n")), "ended at its start (exit status: 0)"),
    ];
    for (more, make, words) in cases {
        upgrade.program(make);
        upgrade.write(&format!("daemon on; {more}"));
        let before = upgrade.service.log().len();
        upgrade.service.signal("USR2");
        let said = || upgrade.service.log().get(before..).unwrap_or_default().to_owned();
        let done = |text: &str| text.contains("this one goes on\n") || text.contains("nothing has changed\n");
        assert!(poll(SOON, || done(&said())), "{words}: {}", said());
        assert!(said().contains(words), "{words}: {}", said());
        assert_eq!(upgrade.service.pid(), Some(pid));
        assert!(get(upgrade.http, "/").is_ok());
    }
    // A port that the new configuration wants besides is another program's.
    upgrade.program(link);
    let text = std::fs::read_to_string(upgrade.service.conf()).unwrap();
    let rtmp = upgrade.service.rtmp;
    let more = text
        .replace(&format!("listen 127.0.0.1:{rtmp};"), &format!("listen 127.0.0.1:{rtmp} 127.0.0.1:{port};"));
    std::fs::write(upgrade.service.conf(), more).unwrap();
    upgrade.service.signal("USR2");
    assert!(poll(SOON, || upgrade.service.log().contains("is in use by e2e")), "{}", upgrade.service.log());
    assert_eq!(upgrade.service.pid(), Some(pid));
    publisher.send(&flv::read(&clips::av())[..30]);
    assert!(!publisher.closes(Duration::from_millis(200)), "the publisher was disturbed");
    // And then it works.
    std::fs::write(upgrade.service.conf(), text).unwrap();
    upgrade.upgrade(pid);
    assert!(publisher.closes(SOON));
    assert!(upgrade.service.up() && get(upgrade.http, "/").is_ok());
}

/// In the foreground, with the log at the console, and a supervisor who is told which process is the main one.
#[test]
fn an_upgrade_in_the_foreground_keeps_the_console_and_tells_the_supervisor() {
    let upgrade = Upgrade::new("log_tank console;");
    // The name of a socket must be short.
    let path = std::env::temp_dir().join(format!("runnel-supervisor-{}", std::process::id()));
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(SOON)).unwrap();
    let told = || {
        let mut bytes = [0; 256];
        let n = supervisor.recv(&mut bytes).expect("the supervisor is told");
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    let mut command = Command::new(upgrade.path());
    command.arg("-c").arg("runnel.conf").env("NOTIFY_SOCKET", &path);
    let mut process = Proc::spawn("console", &upgrade.service.dir, command);
    assert_eq!(told(), "READY=1\n");
    let old = process.pid();
    process.signal("USR2");
    assert!(poll(SOON, || upgrade.service.pid().is_some_and(|pid| pid != old)), "{}", process.log());
    let new = upgrade.service.pid().unwrap();
    let news = [told(), told()];
    assert!(news.contains(&format!("MAINPID={new}\n")), "{news:?}");
    process.success(SOON);
    std::fs::remove_file(&path).unwrap();
    assert!(upgrade.service.up(), "{}", process.log());
    upgrade.service.signal("TERM");
    assert!(upgrade.service.ends());
    let log = process.log();
    assert_eq!(log.matches("stopped").count(), 2, "both write to the console: {log}");
    assert_eq!(log.matches("Publish to").count(), 1, "told once where to publish to: {log}");
}

/// The port needs the rights of root, which are given up by the time of the upgrade.
#[test]
fn a_port_of_root_is_handed_over_to_who_is_not() {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        return println!("not root: only root can become another user");
    }
    let low = (600..1000).rev().find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let low = low.expect("a free port");
    // The project may be in a home directory, which another user cannot enter: neither for the file nor for the program.
    let dir = std::env::temp_dir().join(format!("runnel-upgrade-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let mut upgrade = Upgrade::of(Service::at(dir, ""), "");
    upgrade.program(|to| assert!(std::fs::copy(BIN, to).unwrap() > 0));
    upgrade.service.rtmp = low;
    upgrade.write("daemon on; user 65534:65533;");
    let old = upgrade.start();
    let new = upgrade.upgrade(old);
    let status = std::fs::read_to_string(format!("/proc/{new}/status")).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
    assert!(upgrade.service.up() && get(upgrade.http, "/").is_ok());
    let third = upgrade.upgrade(new);
    upgrade.write("daemon on; user 65534:65533; max_connections 9;");
    upgrade.service.signal("HUP");
    assert!(
        poll(SOON, || upgrade.service.log().contains("max_connections changed")),
        "{}",
        upgrade.service.log()
    );
    upgrade.service.signal("TERM");
    assert!(poll(SOON, || gone(third)), "{}", upgrade.service.log());
}

/// A variable that is not from the process that starts this one means nothing; one that is has to be right.
#[test]
fn what_only_looks_like_a_handover_is_not_believed() {
    let upgrade = Upgrade::new("");
    let _taken = std::net::TcpListener::bind(("127.0.0.1", upgrade.service.rtmp)).unwrap();
    let run = |value: &str| {
        let mut command = Command::new(upgrade.path());
        command.arg("-c").arg(upgrade.service.conf()).env("RUNNEL_HANDOVER", value);
        command.current_dir(&upgrade.service.dir).stdin(Stdio::null());
        upgrade.service.run(command)
    };
    let us = std::process::id();
    for (value, words) in [
        ("", "is in use by e2e"),
        ("1;1;3;-;", "is in use by e2e"),
        ("garbage", "is in use by e2e"),
        (&*format!("2;{us};3;-;"), "RUNNEL_HANDOVER is not usable: it is of another version"),
        (&*format!("1;{us};1;-;"), "RUNNEL_HANDOVER is not usable: nobody to report to"),
        (&*format!("1;{us};77;-;*:1935=78"), "RUNNEL_HANDOVER is not usable: nobody to report to"),
        (&*format!("1;{us}"), "RUNNEL_HANDOVER is not usable"),
        (&*format!("1;{us};{}", "9".repeat(10_000)), "is in use by e2e"),
    ] {
        let (status, said) = run(value);
        assert!(status == 1 && said.contains(words), "{value:.60}: {said}");
    }
    if let Some(pid) = upgrade.service.pid() {
        kill(pid, "KILL");
    }
}
