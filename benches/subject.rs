//! What is measured: the floor, a runnel server, or another server beside it. Each run starts a fresh process.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::control::{Helper, num, stop, with_many_files};
use crate::{Options, Res};

const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Long, because under valgrind the counts are written at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The bare epoll loop of this program.
    Floor,
    /// The server under test.
    Runnel,
    /// nginx with its RTMP module, one worker.
    NginxRtmp,
}

impl Kind {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Floor => "floor",
            Kind::Runnel => "runnel",
            Kind::NginxRtmp => "nginx-rtmp",
        }
    }
}

/// How the server merges and what the stream is.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Merge interval in milliseconds; 0 is `min_latency on`.
    pub merge_ms: u64,
    /// Bit rate of a stream.
    pub kbps: u64,
    /// Seconds between keyframes.
    pub gop: u64,
}

/// A running subject.
pub struct Subject {
    /// What it is.
    pub kind: Kind,
    /// RTMP address, or the only address of the floor.
    pub rtmp: SocketAddr,
    /// HTTP-FLV address.
    pub http: SocketAddr,
    /// What it says.
    log: PathBuf,
    process: Process,
}

enum Process {
    Floor(Helper),
    Server(Child),
}

impl Subject {
    /// Starts a subject and waits until it accepts.
    pub fn start(kind: Kind, setup: Setup, options: &Options, origin_us: u64) -> Res<Subject> {
        if kind == Kind::Floor {
            return floor(setup, options, origin_us);
        }
        let (rtmp, http) = (free_address()?, free_address()?);
        let directory = options.out.join("run");
        fs::create_dir_all(&directory).map_err(|e| e.to_string())?;
        let config = directory.join(format!("{}.conf", kind.name()));
        let text = if kind == Kind::Runnel {
            runnel_config(rtmp, http, setup, &options.hls)
        } else {
            nginx_config(rtmp, &directory)?
        };
        fs::write(&config, text).map_err(|e| e.to_string())?;
        let mut command = server_command(kind, options, config)?;
        let path = directory.join(format!("{}.log", kind.name()));
        let log = File::create(&path).map_err(|e| e.to_string())?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().map_err(|e| format!("{}: {e}", kind.name()))?;
        let mut subject = Subject { kind, rtmp, http, log: path, process: Process::Server(child) };
        subject.wait_for(rtmp)?;
        if kind == Kind::Runnel {
            subject.wait_for(http)?;
        }
        Ok(subject)
    }

    /// Process id of the one that serves.
    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Floor(helper) => helper.pid(),
            Process::Server(child) => child.id(),
        }
    }

    /// Bytes that it has logged so far.
    pub fn logged(&self) -> usize {
        fs::metadata(&self.log).map_or(0, |data| data.len() as usize)
    }

    /// Turns of its loop, from the lines of statistics behind byte `from` of its log: the greatest time that 99 of 100
    /// stayed below, and the longest, in milliseconds.
    pub fn turns(&self, from: usize) -> Option<(f64, f64)> {
        let log = fs::read_to_string(&self.log).ok()?;
        let number = |line: &str, before: &str| {
            line.split_once(before)?.1.split_whitespace().next()?.parse::<f64>().ok()
        };
        let pairs = log
            .get(from..)?
            .lines()
            .filter_map(|line| Some((number(line, "99 % below ")?, number(line, "the longest ")?)));
        pairs.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
    }

    fn wait_for(&mut self, address: SocketAddr) -> Res<()> {
        let start = Instant::now();
        while start.elapsed() < START_TIMEOUT {
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            if let Process::Server(child) = &mut self.process
                && let Ok(Some(status)) = child.try_wait()
            {
                return Err(format!("{} ended at once: {status}; see its log under run/", self.kind.name()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} does not listen on {address}", self.kind.name()))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Process::Server(child) = &mut self.process
            && matches!(child.try_wait(), Ok(None))
        {
            let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            stop(child, STOP_TIMEOUT);
        }
    }
}

fn floor(setup: Setup, options: &Options, origin_us: u64) -> Res<Subject> {
    let more = [
        ("--interval", setup.merge_ms.to_string()),
        ("--kbps", setup.kbps.to_string()),
        ("--gop", setup.gop.to_string()),
        ("--sndbuf", options.send_buffer.to_string()),
    ];
    let more: Vec<String> = more.into_iter().flat_map(|(key, value)| [key.to_string(), value]).collect();
    let mut helper = Helper::start("floor", origin_us, &more)?;
    let port = num(&helper.ask_one("port")?, "port") as u16;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let log = PathBuf::new();
    Ok(Subject { kind: Kind::Floor, rtmp: address, http: address, log, process: Process::Floor(helper) })
}

fn free_address() -> Res<SocketAddr> {
    let socket = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    socket.local_addr().map_err(|e| e.to_string())
}

fn server_command(kind: Kind, options: &Options, config: PathBuf) -> Res<Command> {
    let config = fs::canonicalize(config).map_err(|e| e.to_string())?;
    let config = config.to_string_lossy();
    let (program, more): (&str, &[&str]) = match kind {
        Kind::NginxRtmp => ("nginx", &["-e", "stderr"]),
        _ => (&options.server, &[]),
    };
    let mut words = options.wrapper.iter().cloned().chain([program.to_string()]);
    let mut command = with_many_files(&words.next().unwrap_or_default());
    command.args(words).args(["-c", &config]).args(more);
    Ok(command)
}

fn runnel_config(rtmp: SocketAddr, http: SocketAddr, setup: Setup, hls: &str) -> String {
    let hls = match hls {
        "" => String::new(),
        variant => format!(
            "    hls {{\n        enabled on;\n        hls_variant {variant};\n        hls_fragment 2;\n        hls_window 12;\n    }}\n"
        ),
    };
    let min_latency = if setup.merge_ms == 0 { "on" } else { "off" };
    format!(
        "listen {rtmp};\nmax_connections 20000;\ndaemon off;\npithy_print_ms 1000;\n\
         http_server {{\n    enabled on;\n    listen {http};\n}}\n\
         vhost __defaultVhost__ {{\n    min_latency {min_latency};\n\
         \x20   play {{\n        mw_latency {};\n        gop_cache on;\n        queue_length 30;\n    }}\n\
         \x20   http_remux {{\n        enabled on;\n        mount [vhost]/[app]/[stream].flv;\n\
         \x20       mount [vhost]/[app]/[stream].ts;\n        mount [vhost]/[app]/[stream].mp4;\n\
         \x20       mount [vhost]/[app]/[stream].aac;\n    }}\n{hls}}}\n",
        setup.merge_ms
    )
}

/// nginx deletes its pid file when it ends, so that must be a file of our own.
fn nginx_config(rtmp: SocketAddr, directory: &Path) -> Res<String> {
    let directory = fs::canonicalize(directory).map_err(|e| e.to_string())?;
    let pid = directory.join("nginx.pid");
    Ok(format!(
        "load_module modules/ngx_rtmp_module.so;\ndaemon off;\nmaster_process off;\nworker_rlimit_nofile 20000;\n\
         error_log stderr error;\npid {pid};\nevents {{ worker_connections 20000; }}\n\
         rtmp {{ access_log off; server {{ listen {rtmp}; chunk_size 60000; max_message 8M;\n\
         application live {{ live on; wait_key on; wait_video on; interleave on; }} }} }}\n",
        pid = pid.display()
    ))
}
