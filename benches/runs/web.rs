//! `files` and `hls`: keep-alive clients that fetch files, and a segment of HLS from memory, beside nginx that serves the
//! same bytes from the page cache with sendfile.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::publish_results;
use crate::clock::wall_us;
use crate::control::{Helper, num, stop, text, with_many_files};
use crate::process::Sample;
use crate::report::Row;
use crate::{Options, Res};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_millis(500);
const CLIENTS: u64 = 32;
/// Bytes of the files, small ones to whole recordings; more clients than a few are of no use for the last.
const SIZES: [(&str, usize); 5] =
    [("1k", 1 << 10), ("16k", 16 << 10), ("64k", 64 << 10), ("1m", 1 << 20), ("200m", 200 << 20)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Runnel,
    Nginx,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Runnel => "runnel",
            Who::Nginx => "nginx",
        }
    }
}

/// A server that is measured.
struct Web {
    who: Who,
    http: SocketAddr,
    rtmp: SocketAddr,
    child: Child,
}

impl Web {
    fn start(who: Who, options: &Options, root: &Path) -> Res<Web> {
        let (http, rtmp) = (free_address()?, free_address()?);
        let directory = options.out.join("run");
        fs::create_dir_all(&directory).map_err(|e| e.to_string())?;
        let directory = fs::canonicalize(directory).map_err(|e| e.to_string())?;
        let config = directory.join(format!("web-{}.conf", who.name()));
        let words = match who {
            Who::Runnel => runnel_config(http, rtmp, root),
            Who::Nginx => nginx_config(http, root, &directory),
        };
        fs::write(&config, words).map_err(|e| e.to_string())?;
        let mut command = with_many_files(if who == Who::Nginx { "nginx" } else { &options.server });
        command.args(["-c", &config.to_string_lossy()]);
        if who == Who::Nginx {
            command.args(["-e", "stderr"]);
        }
        let log = File::create(config.with_extension("log")).map_err(|e| e.to_string())?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().map_err(|e| format!("{}: {e}", who.name()))?;
        let web = Web { who, http, rtmp, child };
        let start = Instant::now();
        while TcpStream::connect(http).is_err() {
            if start.elapsed() > START_TIMEOUT {
                return Err(format!("{} does not listen; see its log under run/", who.name()));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(web)
    }

    /// The body of a path.
    fn get(&self, path: &str) -> Res<Vec<u8>> {
        let mut stream = TcpStream::connect(self.http).map_err(|e| e.to_string())?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http);
        let mut all = Vec::new();
        stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.read_to_end(&mut all))
            .map_err(|e| e.to_string())?;
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no head")? + 4;
        if !all.starts_with(b"HTTP/1.1 200") {
            return Err(format!("{path}: {}", String::from_utf8_lossy(&all[..end])));
        }
        Ok(all.split_off(end))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        stop(&mut self.child, STOP_TIMEOUT);
    }
}

fn free_address() -> Res<SocketAddr> {
    let socket = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    socket.local_addr().map_err(|e| e.to_string())
}

fn runnel_config(http: SocketAddr, rtmp: SocketAddr, root: &Path) -> String {
    format!(
        "listen {rtmp};\nmax_connections 20000;\ndaemon off;\n\
         http_server {{\n    enabled on;\n    listen {http};\n    dir {};\n}}\n\
         vhost __defaultVhost__ {{\n    hls {{\n        enabled on;\n        hls_fragment 2;\n        hls_window 120;\n\
         \x20       hls_ram_bytes 64m;\n    }}\n}}\n",
        root.display()
    )
}

/// One process, as runnel is; no access log, no limit of requests on a connection.
fn nginx_config(http: SocketAddr, root: &Path, directory: &Path) -> String {
    let (root, directory) = (root.display(), directory.display());
    format!(
        "daemon off;\nmaster_process off;\nuser root;\nworker_rlimit_nofile 20000;\nerror_log stderr error;\n\
         pid {directory}/web-nginx.pid;\nevents {{ worker_connections 20000; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n\
         types {{ video/mp2t ts; }} default_type application/octet-stream;\n\
         client_body_temp_path {directory}/t; proxy_temp_path {directory}/t; fastcgi_temp_path {directory}/t;\n\
         uwsgi_temp_path {directory}/t; scgi_temp_path {directory}/t;\n\
         server {{ listen {http}; root {root}; }} }}\n"
    )
}

/// Fetches `path` for a window.
fn measure(web: &Web, options: &Options, path: &str, clients: u64) -> Res<Row> {
    let mut helper = Helper::start("fetch", wall_us(), &[])?;
    helper.ask(&format!("open n={clients} to={} path={path}", web.http))?;
    sleep(SETTLE);
    helper.ask("mark")?;
    let before = Sample::take(web.child.id());
    let load = Sample::take(helper.pid());
    sleep(Duration::from_secs(options.window_s));
    let after = Sample::take(web.child.id());
    let seen = helper.ask_one("mark")?;
    let load_after = Sample::take(helper.pid());
    if num(&seen, "alive") < clients {
        return Err(format!(
            "{}: only {} clients are left: {}",
            web.who.name(),
            num(&seen, "alive"),
            text(&seen, "fault")
        ));
    }
    let seconds = (after.at - before.at).as_secs_f64();
    let cpu = (after.cpu_ns - before.cpu_ns) as f64 / 1e9;
    let (requests, gb) = (num(&seen, "requests") as f64, num(&seen, "bytes") as f64 / 1e9);
    let mut row = Row::default();
    row.text("subject", web.who.name());
    row.num("clients", clients as f64);
    row.num("requests_s", requests / seconds);
    row.num("cpu_pct", cpu / seconds * 100.0);
    row.num("wait_pct", (after.wait_ns - before.wait_ns) as f64 / 1e7 / seconds);
    row.num("load_cpu_pct", (load_after.cpu_ns - load.cpu_ns) as f64 / 1e7 / seconds);
    row.num("requests_cpu_s", requests / cpu);
    row.num("gb_s", gb / seconds);
    row.num("cpu_s_per_gb", cpu / gb);
    row.num("rss_mb", after.rss_kb as f64 / 1024.0);
    Ok(row)
}

/// Both servers by turns; the ratios of runnel's rows are to nginx's just before and after.
fn compare(
    options: &Options,
    what: &str,
    clients: u64,
    nginx: (&Web, &str),
    runnel: (&Web, &str),
) -> Res<Vec<Row>> {
    let one = |(web, path): (&Web, &str), rep: u64| -> Res<Row> {
        let mut row = measure(web, options, path, clients)?;
        row.text("what", what);
        row.num("rep", rep as f64);
        eprintln!(
            "   {what} {}: {:.0} requests/s, {:.0} a CPU second, {:.3} CPU-s/GB",
            web.who.name(),
            row.get("requests_s").unwrap_or(f64::NAN),
            row.get("requests_cpu_s").unwrap_or(f64::NAN),
            row.get("cpu_s_per_gb").unwrap_or(f64::NAN),
        );
        Ok(row)
    };
    let mut rows = vec![one(nginx, 0)?];
    for rep in 0..options.reps {
        let mut ours = one(runnel, rep)?;
        let after = one(nginx, rep + 1)?;
        for (name, of) in [("ratio", "requests_cpu_s"), ("gb_ratio", "cpu_s_per_gb")] {
            let theirs = [rows.last(), Some(&after)].into_iter().flatten().filter_map(|row| row.get(of));
            let mean = theirs.sum::<f64>() / 2.0;
            ours.num(name, ours.get(of).unwrap_or(f64::NAN) / mean);
        }
        rows.extend([ours, after]);
    }
    Ok(rows)
}

const COLUMNS: [&str; 13] = [
    "what",
    "subject",
    "clients",
    "rep",
    "requests_s",
    "cpu_pct",
    "wait_pct",
    "load_cpu_pct",
    "requests_cpu_s",
    "ratio",
    "gb_s",
    "cpu_s_per_gb",
    "gb_ratio",
];

/// A directory of its own for the files.
fn root(options: &Options) -> Res<PathBuf> {
    let root = options.out.join("run/web");
    fs::create_dir_all(&root).map_err(|e| e.to_string())?;
    fs::canonicalize(root).map_err(|e| e.to_string())
}

fn clients(options: &Options) -> u64 {
    options.viewers.first().copied().unwrap_or(CLIENTS)
}

/// Files of several sizes from the page cache.
pub fn files(options: &Options) -> Res<()> {
    let root = root(options)?;
    for (name, size) in SIZES {
        let bytes: Vec<u8> = (0..size).map(|n| (n.wrapping_mul(40_503) >> 7) as u8).collect();
        fs::write(root.join(name), bytes).map_err(|e| e.to_string())?;
    }
    let nginx = Web::start(Who::Nginx, options, &root)?;
    let runnel = Web::start(Who::Runnel, options, &root)?;
    let mut rows = Vec::new();
    for (name, size) in SIZES {
        let path = format!("/{name}");
        let clients = if size > 1 << 24 { clients(options).min(4) } else { clients(options) };
        rows.extend(compare(options, name, clients, (&nginx, &path), (&runnel, &path))?);
    }
    drop((nginx, runnel));
    for (name, _) in SIZES {
        let _ = fs::remove_file(root.join(name));
    }
    publish_results(options, "files", &rows, &COLUMNS)
}

/// A segment in memory; nginx has a copy as a file.
pub fn hls(options: &Options) -> Res<()> {
    let root = root(options)?;
    let runnel = Web::start(Who::Runnel, options, &root)?;
    let mut publisher = Helper::start("publish", wall_us(), &[])?;
    let kbps = if options.kbps == 0 { 2_000 } else { options.kbps };
    publisher.ask(&format!(
        "publish n=1 kbps={kbps} gop={} to={} app=live prefix=s over_ms=0",
        options.gop, runnel.rtmp
    ))?;
    let mut rows = Vec::new();
    let nginx = Web::start(Who::Nginx, options, &root)?;
    let segment = segment(&runnel)?;
    fs::write(root.join("segment.ts"), runnel.get(&segment)?).map_err(|e| e.to_string())?;
    let what = format!("{kbps} kbit/s");
    rows.extend(compare(options, &what, clients(options), (&nginx, "/segment.ts"), (&runnel, &segment))?);
    let _ = fs::remove_file(root.join("segment.ts"));
    publish_results(options, "hls", &rows, &COLUMNS)
}

/// The path of the second segment, once there are three: the first may be short.
fn segment(web: &Web) -> Res<String> {
    let start = Instant::now();
    loop {
        if let Ok(list) = web.get("/live/s0.m3u8") {
            let list = String::from_utf8_lossy(&list).into_owned();
            let names: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
            if names.len() >= 3 {
                let name = names[1].split('?').next().unwrap_or_default();
                return Ok(if name.starts_with('/') { name.into() } else { format!("/live/{name}") });
            }
        }
        if start.elapsed() > START_TIMEOUT {
            return Err("no segments came".into());
        }
        sleep(Duration::from_millis(200));
    }
}
