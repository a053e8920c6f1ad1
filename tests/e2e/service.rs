//! The server as a service: daemon, pid file, its log, the scripts that start and stop it, and the samples.
use crate::support::poll;
use crate::support::server::{free_port, run_dir};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

pub(crate) const SOON: Duration = Duration::from_secs(10);
pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_runnel");

/// A directory with a configuration that makes a daemon with a pid file and a log file; nothing of it outlives the test.
pub(crate) struct Service {
    pub(crate) dir: PathBuf,
    pub(crate) rtmp: u16,
}

impl Service {
    pub(crate) fn new(more: &str) -> Service {
        Service::at(run_dir(), more)
    }

    pub(crate) fn at(dir: PathBuf, more: &str) -> Service {
        let service = Service { dir, rtmp: free_port() };
        service.write(more);
        service
    }

    pub(crate) fn write(&self, more: &str) {
        let text = format!(
            "listen 127.0.0.1:{};\npid runnel.pid;\nlog_file runnel.log;\nwork_dir {};\n{more}\nvhost __defaultVhost__ {{ }}\n",
            self.rtmp,
            self.dir.display()
        );
        std::fs::write(self.conf(), text).unwrap();
    }

    pub(crate) fn conf(&self) -> PathBuf {
        self.dir.join("runnel.conf")
    }

    /// Runs the program to its end, with its output in files: a daemon would keep a pipe open.
    pub(crate) fn run(&self, mut command: Command) -> (i32, String) {
        let path = self.dir.join("said");
        let file = std::fs::File::create(&path).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}; ./tests/run installs it"));
        (status.code().unwrap_or(-1), std::fs::read_to_string(path).unwrap())
    }

    pub(crate) fn start(&self) -> (i32, String) {
        let mut command = Command::new(BIN);
        command.arg("-c").arg("runnel.conf").current_dir(&self.dir);
        self.run(command)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.dir.join("runnel.pid")).ok()?.trim().parse().ok()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("runnel.log")).unwrap_or_default()
    }

    pub(crate) fn up(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.rtmp)).is_ok()
    }

    pub(crate) fn signal(&self, signal: &str) {
        kill(self.pid().expect("a pid"), signal);
    }

    pub(crate) fn ends(&self) -> bool {
        poll(SOON, || !self.up() && self.pid().is_none())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            kill(pid, "KILL");
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

pub(crate) fn kill(pid: u32, signal: &str) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).stderr(Stdio::null()).status();
}

#[test]
fn a_daemon_is_up_when_the_start_returns_and_only_one_runs() {
    let service = Service::new("daemon on;");
    let (status, said) = service.start();
    assert_eq!(status, 0, "{said}");
    assert!(service.up(), "{said}");
    assert!(said.contains("rtmp://127.0.0.1"), "the banner is on the terminal: {said}");
    let pid = service.pid().unwrap();
    for n in 0..3 {
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{n}")).unwrap();
        assert_ne!(link, service.dir.join("said"), "descriptor {n} is still the terminal's");
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(session, pid.to_string(), "it leads a session of its own");

    let (status, said) = service.start();
    assert_eq!(status, 1, "{said}");
    assert!(said.contains(&format!("it runs already: process {pid} holds")), "{said}");
    assert!(service.up() && service.pid() == Some(pid), "the first one is not disturbed");

    // The file was named from another directory than the one it runs in.
    service.write("daemon on; max_connections 77;");
    service.signal("HUP");
    assert!(poll(SOON, || service.log().contains("max_connections changed")), "{}", service.log());
    service.signal("TERM");
    assert!(service.ends(), "{}", service.log());
}

#[test]
fn a_daemon_that_cannot_start_says_so_where_it_was_started() {
    let service = Service::new("daemon on;");
    let taken = std::net::TcpListener::bind(("127.0.0.1", service.rtmp)).unwrap();
    let (status, said) = service.start();
    assert_eq!(status, 1, "{said}");
    assert!(said.contains(&format!("127.0.0.1:{} is in use by e2e", service.rtmp)), "{said}");
    assert_eq!(said.matches("is in use").count(), 1, "once: {said}");
    assert!(service.pid().is_none());
    drop(taken);
    assert_eq!(service.start().0, 0);

    // In the foreground too, although the log goes to a file.
    let service = Service::new("");
    let _taken = std::net::TcpListener::bind(("127.0.0.1", service.rtmp)).unwrap();
    let (status, said) = service.start();
    assert!(status == 1 && said.contains("is in use by e2e"), "{said}");
}

#[test]
fn a_crash_leaves_nothing_in_the_way() {
    let service = Service::new("daemon on;");
    assert_eq!(service.start().0, 0);
    service.signal("KILL");
    assert!(poll(SOON, || !service.up()));
    let (status, said) = service.start();
    assert_eq!(status, 0, "{said}");
}

#[test]
fn the_log_keeps_within_its_size_and_is_opened_again() {
    let service =
        Service::new("daemon on; log_level debug; log_max_size 4k; log_keep 2; access_log access.log;");
    assert_eq!(service.start().0, 0);
    let names = ["runnel.log", "runnel.log.1", "runnel.log.2"].map(|name| service.dir.join(name));
    let full = poll(SOON, || {
        (0..20).for_each(|_| drop(TcpStream::connect(("127.0.0.1", service.rtmp))));
        names[2].exists()
    });
    assert!(full, "{}", service.log());
    for name in &names {
        assert!(std::fs::metadata(name).unwrap().len() <= 4096, "{}", name.display());
    }
    assert!(!service.dir.join("runnel.log.3").exists());
    std::fs::rename(&names[0], service.dir.join("moved")).unwrap();
    service.signal("USR1");
    assert!(poll(SOON, || names[0].exists()));
    service.signal("TERM");
    assert!(service.ends());
    assert!(service.log().contains("stopped"), "{}", service.log());
}

#[test]
fn a_graceful_end_waits_before_and_after() {
    let service = Service::new("daemon on; grace_start_wait 1s; grace_final_wait 1s;");
    assert_eq!(service.start().0, 0);
    let begin = std::time::Instant::now();
    service.signal("QUIT");
    assert!(poll(SOON, || service.log().contains("told to drain")));
    assert!(service.up(), "newcomers are still taken");
    assert!(poll(SOON, || !service.up()));
    assert!(begin.elapsed() > Duration::from_millis(900));
    assert!(service.pid().is_some(), "it stays a while");
    assert!(service.ends());
    assert!(begin.elapsed() > Duration::from_millis(1900), "{:?}", begin.elapsed());
    // Told twice, it does not wait.
    let service = Service::new("daemon on; grace_start_wait 1m; grace_final_wait 1m; force_grace_quit on;");
    assert_eq!(service.start().0, 0);
    for n in 1..5 {
        service.signal("TERM");
        if poll(Duration::from_millis(500 * n), || service.pid().is_none()) {
            break;
        }
    }
    assert!(service.ends());
}

/// As root, the server gives its rights up, and still opens its log again and reloads.
#[test]
fn a_daemon_becomes_another_user() {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        return println!("not root: only root can become another user");
    }
    // The project may be in a home directory, which another user cannot enter to read the file again.
    let dir = std::env::temp_dir().join(format!("runnel-user-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let service = Service::at(dir, "daemon on; user 65534:65533;");
    let (status, said) = service.start();
    assert_eq!(status, 0, "{said}");
    let pid = service.pid().unwrap();
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ids = |key: &str| {
        text.lines().find_map(|l| l.strip_prefix(key)).unwrap().split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(ids("Uid:"), ["65534"; 4]);
    assert_eq!((ids("Gid:"), ids("Groups:")), (vec!["65533"; 4], vec!["65533"]));
    service.write("daemon on; user 65534:65533; max_connections 9;");
    for signal in ["USR1", "HUP"] {
        service.signal(signal);
    }
    let done = || service.log().contains("opened again") && service.log().contains("max_connections changed");
    assert!(poll(SOON, done), "{}", service.log());
    service.signal("TERM");
    assert!(service.ends(), "{}", service.log());
    let gone = Service::new("daemon on; user nobody-at-all;");
    let (status, said) = gone.start();
    assert!(status == 1 && said.contains("there is no user `nobody-at-all`"), "{said}");
}

/// Runs the init script with a shell; its names point into the directory of the test.
pub(crate) fn init(service: &Service, shell: &str, action: &str) -> (i32, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/service/runnel.init");
    let mut words = shell.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .arg(script)
        .arg(action)
        .env("DEFAULTS", service.dir.join("defaults"))
        .current_dir("/");
    service.run(command)
}

#[test]
fn the_init_script_does_its_work_in_every_shell() {
    for shell in ["dash", "busybox sh"] {
        let service = Service::new("");
        let (dir, bin) = (service.dir.display(), service.dir.join("bin/runnel"));
        std::fs::create_dir_all(service.dir.join("bin")).unwrap();
        std::os::unix::fs::symlink(BIN, &bin).unwrap();
        let defaults =
            format!("BIN={dir}/bin/runnel\nCONF={dir}/runnel.conf\nPID={dir}/runnel.pid\nPATIENCE=5\n");
        std::fs::write(service.dir.join("defaults"), defaults).unwrap();
        let run = |action: &str, status: i32, words: &str| {
            let (code, said) = init(&service, shell, action);
            assert!(code == status && said.contains(words), "{shell} {action}: {code} {said}");
            said
        };
        run("status", 3, "does not run");
        run("stop", 0, "does not run");
        run("start", 0, "started, process ");
        assert!(service.up());
        let pid = service.pid().unwrap();
        run("start", 0, "runs already");
        run("status", 0, &format!("runs, process {pid}"));
        service.write("max_connections 5;");
        run("reload", 0, "told to read");
        assert!(poll(SOON, || service.log().contains("max_connections changed")));
        std::fs::rename(service.dir.join("runnel.log"), service.dir.join("old.log")).unwrap();
        run("rotate", 0, "told to open");
        assert!(poll(SOON, || service.dir.join("runnel.log").exists()));
        service.write("grace_final_wait 0;");
        run("upgrade", 0, "upgraded, process ");
        assert!(service.pid().is_some_and(|new| new != pid) && service.up());
        let pid = service.pid().unwrap();
        // A mistake in the file harms nobody who runs.
        service.write("oops;");
        for action in ["reload", "restart", "upgrade"] {
            let said = run(action, 1, "is not usable");
            assert!(said.contains("unknown directive `oops`"), "{said}");
            assert!(service.pid() == Some(pid) && service.up(), "{action}");
        }
        service.write("grace_start_wait 0; grace_final_wait 0;");
        run("restart", 0, "started, process ");
        assert_ne!(service.pid(), Some(pid));
        run("grace", 0, "told to end");
        assert!(service.ends());
        run("start", 0, "started");
        service.signal("KILL");
        assert!(poll(SOON, || !service.up()));
        run("status", 1, "has left");
        // The number in the file may be another program's by now, which must be left alone, wherever it lies.
        let mut other =
            Command::new("bash").args(["-c", "exec -a /srv/runnel/other sleep 60"]).spawn().unwrap();
        let line = format!("/proc/{}/cmdline", other.id());
        assert!(poll(SOON, || std::fs::read_to_string(&line).unwrap().starts_with("/srv/runnel/")));
        std::fs::write(service.dir.join("runnel.pid"), format!("{}\n", other.id())).unwrap();
        run("stop", 0, "does not run");
        assert_eq!(other.try_wait().unwrap(), None, "another program was ended");
        other.kill().unwrap();
        other.wait().unwrap();
        run("start", 0, "started");
        run("stop", 0, "stopped");
        assert!(service.ends());
        run("reload", 1, "does not run");
        run("", 2, "usage");
    }
}

#[test]
fn the_installer_puts_everything_in_place_and_takes_it_away() {
    let dir = run_dir();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/service/install.sh");
    let install = |shell: &str, arguments: &[&str]| -> Output {
        let mut words = shell.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(&script).arg("--root").arg(&dir).args(arguments).output().unwrap()
    };
    let here = |path: &str| dir.join(path);
    for (shell, init, file) in [
        ("dash", "sysv", "etc/init.d/runnel"),
        ("busybox sh", "openwrt", "etc/init.d/runnel"),
        ("dash", "systemd", "etc/systemd/system/runnel.service"),
    ] {
        let out = install(shell, &["--init", init, BIN]);
        assert!(out.status.success(), "{shell} {init}: {}", String::from_utf8_lossy(&out.stderr));
        for path in ["usr/bin/runnel", "etc/runnel/runnel.conf", file] {
            assert!(here(path).exists(), "{init}: {path}");
        }
        let test = Command::new(here("usr/bin/runnel"))
            .arg("-T")
            .arg("-c")
            .arg(here("etc/runnel/runnel.conf"))
            .output();
        assert!(test.unwrap().status.success(), "{init}");
        if init == "sysv" {
            std::fs::write(here("etc/runnel/runnel.conf"), "vhost mine { }").unwrap();
            assert!(install(shell, &["--init", init, BIN]).status.success());
            assert!(install(shell, &["--uninstall"]).status.success());
            let kept = std::fs::read_to_string(here("etc/runnel/runnel.conf")).unwrap();
            assert_eq!(kept, "vhost mine { }", "what somebody wrote stays");
            std::fs::remove_file(here("etc/runnel/runnel.conf")).unwrap();
        }
        assert!(install(shell, &["--uninstall"]).status.success());
        for path in ["usr/bin/runnel", "etc/runnel/runnel.conf", file, "usr/share/runnel"] {
            assert!(!here(path).exists(), "{init}: {path} is left");
        }
    }
    assert!(!install("dash", &[]).status.success());
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Each sample runs, with its ports moved by the environment.
#[test]
fn the_samples_run() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    for entry in std::fs::read_dir(&samples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "conf") {
            continue;
        }
        let dir = run_dir();
        let (rtmp, http) = (free_port(), free_port());
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut child = Command::new(BIN)
            .arg("-c")
            .arg(&path)
            .current_dir(&dir)
            .env("RUNNEL_LISTEN", format!("127.0.0.1:{rtmp}"))
            .env("RUNNEL_HTTP_SERVER_LISTEN", format!("127.0.0.1:{http}"))
            .env("RUNNEL_PID", dir.join("pid"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let up = poll(SOON, || TcpStream::connect(("127.0.0.1", rtmp)).is_ok());
        let said = std::fs::read_to_string(dir.join("log")).unwrap();
        kill(child.id(), "TERM");
        let status = child.wait().unwrap();
        assert!(up && status.success(), "{}: {said}", path.display());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
