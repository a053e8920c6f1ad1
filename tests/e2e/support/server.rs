//! The server under test: a `runnel` process on free ports with a configuration of the test.
use super::proc::Proc;
use super::{clips, e2e_dir, poll};
use std::collections::HashSet;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A program to run in runnel's place as `PROGRAM DIRECTORY RTMP-PORT HTTP-PORT`. With another server behind it, this
/// answers one question: is a failure the server's, or the rig's?
const STAND_IN: &str = "E2E_SERVER";

/// How long the server may take to accept its first connection, and to end after SIGTERM.
const START_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running server and the directory of its test. Dropping it ends the server with SIGTERM and fails the test
/// when the server does not exit cleanly or its log tells of a panic.
pub(crate) struct Server {
    /// The port of RTMP.
    pub(crate) rtmp: u16,
    /// The port of HTTP.
    pub(crate) http: u16,
    dir: PathBuf,
    process: Proc,
    idle_fds: usize,
    ended: bool,
}

impl Server {
    /// A server with the usual vhost and short waits; `vhost` adds to or changes nothing of it: it is the whole
    /// content of the vhost block.
    pub(crate) fn vhost(vhost: &str) -> Server {
        Server::start(&format!(
            "listen 127.0.0.1:$RTMP;\nmax_connections 20000;\n\
             http_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
             vhost __defaultVhost__ {{\n{vhost}\n}}\n"
        ))
    }

    /// The vhost of most tests: viewers may come first, and a stream ends when its publisher does.
    pub(crate) fn usual() -> Server {
        Server::vhost(&usual_vhost("resume_wait 0;"))
    }

    /// A server with this configuration, where `$RTMP` and `$HTTP` stand for the two free ports.
    pub(crate) fn start(conf: &str) -> Server {
        Server::with(conf, &[])
    }

    /// The same with further arguments for the program.
    pub(crate) fn with(conf: &str, arguments: &[&str]) -> Server {
        Server::launched(conf, arguments, "")
    }

    /// As `with`, by a bash that first runs `before`, such as `ulimit -n 64;`.
    pub(crate) fn launched(conf: &str, arguments: &[&str], before: &str) -> Server {
        let line = format!("{before} exec \"$0\" \"$@\"");
        Server::of(conf, &["bash", "-c", &line, env!("CARGO_BIN_EXE_runnel")], arguments)
    }

    /// As `with`, of another program, which may be one that runs a program.
    pub(crate) fn of(conf: &str, program: &[&str], arguments: &[&str]) -> Server {
        clips::prepare();
        let (rtmp, http) = (free_port(), free_port());
        let dir = run_dir();
        let text = conf.replace("$RTMP", &rtmp.to_string()).replace("$HTTP", &http.to_string());
        let path = dir.join("runnel.conf");
        std::fs::write(&path, text).unwrap();
        let command = match std::env::var(STAND_IN) {
            Ok(program) => {
                let mut command = Command::new(program);
                command.arg(&dir).args([rtmp.to_string(), http.to_string()]);
                command
            }
            Err(_) => {
                let mut command = Command::new(program[0]);
                command.args(&program[1..]).arg("-c").arg(&path).args(arguments);
                command
            }
        };
        let mut process = Proc::spawn("server", &dir, command);
        for port in [rtmp, http] {
            let up = poll(START_LIMIT, || {
                assert!(process.running(), "the server ended at its start\n{}", process.tail());
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            assert!(up, "nothing listens on port {port}\n{}", process.tail());
        }
        let mut server = Server { rtmp, http, dir, process, idle_fds: 0, ended: false };
        // The two connections just made are still being closed: the lowest count seen is the idle one.
        let mut lowest = usize::MAX;
        poll(Duration::from_millis(300), || {
            lowest = lowest.min(server.fds());
            false
        });
        server.idle_fds = lowest;
        server
    }

    /// Writes another configuration (`$RTMP` and `$HTTP` as at the start), has it read, and waits for the verdict: the
    /// log's lines about it.
    pub(crate) fn reload(&self, conf: &str) -> String {
        let text = conf.replace("$RTMP", &self.rtmp.to_string()).replace("$HTTP", &self.http.to_string());
        std::fs::write(self.dir.join("runnel.conf"), text).unwrap();
        let before = self.log().len();
        self.signal("HUP");
        self.verdict(before)
    }

    /// What the log says of a reload, from this place in it on.
    pub(crate) fn verdict(&self, before: usize) -> String {
        let said = || self.log().get(before..).unwrap_or_default().to_owned();
        let done = |text: &str| text.contains(" ms)\n") || text.contains("stays so\n");
        assert!(poll(Duration::from_secs(10), || done(&said())), "no verdict on the reload: {}", said());
        said()
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Waits until the server has ended by itself, and well.
    pub(crate) fn wait_end(&mut self, limit: Duration) {
        self.process.success(limit);
        self.ended = true;
    }

    /// Ends the server as a crash would.
    pub(crate) fn crash(&mut self) {
        self.process.kill();
        self.ended = true;
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lifts what `ulimit -S -f` has set.
    pub(crate) fn raise_file_size(&self) {
        let pid = self.process.pid().to_string();
        let out = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// CPU time used so far, in clock ticks (usually 10 ms).
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// The directory of this test.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The server's log so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// The RTMP address of a stream of the application `live`.
    pub(crate) fn rtmp_url(&self, stream: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{stream}", self.rtmp)
    }

    /// The HTTP-FLV address of a stream of the application `live`.
    pub(crate) fn http_url(&self, stream: &str) -> String {
        format!("http://127.0.0.1:{}/live/{stream}.flv", self.http)
    }

    /// Resident memory in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The highest resident memory so far in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, key: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Open file descriptors.
    pub(crate) fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.pid())).map_or(0, Iterator::count)
    }

    /// Connections beyond what was open at the start.
    pub(crate) fn connections(&self) -> usize {
        self.fds().saturating_sub(self.idle_fds)
    }

    /// Fails unless the server lets go of every connection soon after the clients have closed theirs.
    pub(crate) fn assert_idle(&self) {
        let idle = poll(Duration::from_secs(5), || self.fds() <= self.idle_fds);
        assert!(idle, "{} descriptors stay open, {} at the start", self.fds(), self.idle_fds);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.process.tail());
            return;
        }
        if self.ended {
            return;
        }
        assert!(self.process.running(), "the server ended by itself\n{}", self.process.tail());
        self.process.signal("TERM");
        let status = self.process.wait(STOP_LIMIT);
        assert!(status.success(), "SIGTERM: the server ended with {status}\n{}", self.process.tail());
        assert!(!self.log().contains("panicked"), "the server panicked\n{}", self.process.tail());
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The vhost of most tests, with these directives in its publish block.
pub(crate) fn usual_vhost(publish: &str) -> String {
    format!(
        "http_remux {{ enabled on; mount [vhost]/[app]/[stream].flv; no_stream wait; wait 10s; }}\n\
         play {{ mw_latency 350; queue_length 10; }}\n\
         publish {{ on_busy takeover_same_ip; {publish} }}"
    )
}

/// A new directory for one test, kept when the test fails.
pub(crate) fn run_dir() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = e2e_dir().join(format!("runs/{}-{count}-{test}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A port that nothing uses, below the range from which the system takes the ports of outgoing connections.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap();
    let given = given.get_or_insert_with(HashSet::new);
    let start = 20000 + (std::process::id() % 100) as u16 * 100;
    // Asked by connecting: a listener of ours could live on for a moment in a child that another test is starting.
    (start..32000)
        .find(|port| {
            !given.contains(port) && TcpStream::connect(("127.0.0.1", *port)).is_err() && given.insert(*port)
        })
        .expect("a free port")
}
