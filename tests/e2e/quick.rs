//! Small files that are in memory are answered at once; what is not, or might not be, never holds up a live stream.
use crate::files::{LIMIT, SMOOTH, SlowDisk, ask, longest_gap, pattern, serve_slowly, serving};
use crate::support::http::Http;
use crate::support::server::run_dir;
use crate::support::{clips, note, poll};
use runnel::net::disk::Local;
use runnel::net::quick::Quick;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Has the system forget what it has in memory of a file.
fn forget(path: &Path) {
    let file = format!("of={}", path.display());
    let arguments = ["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none", &file];
    assert!(Command::new("dd").args(arguments).status().unwrap().success());
}

/// A request, and how often the disk was asked for it.
fn fetch(http: &mut Http, path: &str, more: &str, calls: &AtomicUsize) -> (u16, Vec<u8>, usize) {
    let before = calls.load(Ordering::Relaxed);
    let (head, body) = ask(http, path, more);
    (head.status, body, calls.load(Ordering::Relaxed) - before)
}

#[test]
fn a_small_file_in_memory_is_answered_without_the_disk() {
    let dir = run_dir();
    let data = pattern(64 << 10);
    std::fs::write(dir.join("a.bin"), &data).unwrap();
    std::fs::create_dir(dir.join("page")).unwrap();
    std::fs::write(dir.join("page/index.html"), "a page").unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let disk = SlowDisk { wait: Duration::from_millis(300), calls: calls.clone(), pipes: true, quick: true };
    let (_, port) = serve_slowly(&dir, disk);
    let mut http = Http::connect(port);
    let (status, body, first) = fetch(&mut http, "/a.bin", "", &calls);
    assert!(status == 200 && body == data && first > 0, "nothing is known of the directory yet");
    if Quick::of(&dir).is_none() {
        note("quick: this system cannot tell what is in memory: everything is left to the helper thread");
        assert!(fetch(&mut http, "/a.bin", "", &calls).2 > 0);
        return;
    }
    let etag = ask(&mut http, "/a.bin", "").0.get("etag").unwrap().to_owned();
    // Once a second the directory is looked at again, by way of the disk; all other requests are answered without.
    let cases = [
        ("/a.bin", String::new(), 200, &data[..]),
        ("/a.bin", "Range: bytes=-5\r\n".to_owned(), 206, &data[(64 << 10) - 5..]),
        ("/a.bin", "Range: bytes=100-60000\r\n".to_owned(), 206, &data[100..=60_000]),
        ("/a.bin", format!("If-None-Match: {etag}\r\n"), 304, &[]),
        ("/page/", String::new(), 200, b"a page"),
    ];
    for (path, more, status, right) in &cases {
        let without = poll(LIMIT, || {
            let (got, body, asked) = fetch(&mut http, path, more, &calls);
            assert!((got, body.as_slice()) == (*status, *right), "{path} {more}");
            asked == 0
        });
        assert!(without, "{path} {more}");
    }
    // What is put in its place shows at once.
    for n in 0..20u8 {
        std::fs::write(dir.join("new"), [n; 100]).unwrap();
        std::fs::rename(dir.join("new"), dir.join("a.bin")).unwrap();
        assert_eq!(ask(&mut http, "/a.bin", "").1, [n; 100]);
    }
    let _ = std::fs::remove_dir_all(dir);
}

#[test]
fn a_file_that_is_not_in_memory_is_left_to_the_disk_and_live_goes_on() {
    clips::prepare();
    let dir = run_dir();
    let path = dir.join("a.bin");
    let data = pattern(60_000);
    std::fs::write(&path, &data).unwrap();
    let Some(quick) = Quick::of(&dir) else {
        return note("quick: this system cannot tell what is in memory");
    };
    let is_there = || {
        let (file, _) = quick.open(Path::new("a.bin")).unwrap();
        quick.read(&file, &mut [0; 60_000])
    };
    forget(&path);
    if is_there() {
        return note("quick: this file system keeps everything in memory");
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let disk = SlowDisk { wait: Duration::from_secs(2), calls: calls.clone(), pipes: true, quick: true };
    let (rtmp, port) = serve_slowly(&dir, disk);
    std::fs::write(dir.join("b"), "b").unwrap();
    let gap = longest_gap(rtmp, port, || {
        // With this one the directory is known.
        let mut http = Http::connect(port);
        assert_eq!(ask(&mut http, "/b", "").1, b"b");
        forget(&path);
        let (status, body, asked) = fetch(&mut http, "/a.bin", "", &calls);
        assert!(status == 200 && body == data && asked > 0, "{status} {asked}");
    });
    note(&format!("quick: a file that is not in memory, a disk of 2 s a call: longest gap of live {gap:?}"));
    assert!(gap < SMOOTH, "{gap:?} without a frame");
    let _ = std::fs::remove_dir_all(dir);
}

/// A file is deleted, or made shorter, while it is asked for again and again: whole answers or none.
#[test]
fn small_files_that_come_and_go_are_whole() {
    let (server, html) = serving();
    let path = html.join("a.m3u8");
    let text = |n: usize| n.to_string().repeat(3000);
    std::fs::write(&path, text(0)).unwrap();
    let mut http = Http::connect(server.http);
    for n in 0..300 {
        match n % 3 {
            0 => std::fs::write(&path, text(n % 10)).unwrap(),
            1 => File::options().write(true).open(&path).unwrap().set_len(1000).unwrap(),
            _ => std::fs::remove_file(&path).unwrap(),
        }
        let (head, body) = ask(&mut http, "/a.m3u8", "");
        match n % 3 {
            0 => assert!(head.status == 200 && body == text(n % 10).as_bytes(), "{n}"),
            1 => assert_eq!((head.status, body.len()), (200, 1000), "{n}"),
            _ => assert_eq!(head.status, 404, "{n}"),
        }
    }
    // Nobody is kept from unmounting the disk: soon after the last request nothing is open.
    let open = || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        let files: Vec<PathBuf> = files.filter_map(|file| file.ok()?.path().read_link().ok()).collect();
        files.into_iter().find(|file| file.starts_with(&html))
    };
    assert!(poll(LIMIT, || open().is_none()), "{:?} is open", open());
}

#[test]
fn many_slow_clients_of_small_files_get_all_and_take_little_memory() {
    let (server, html) = serving();
    let data = pattern(60_000);
    std::fs::write(html.join("a"), &data).unwrap();
    ask(&mut Http::connect(server.http), "/a", "");
    let before = server.rss_kib();
    let request = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n".repeat(40);
    let mut clients: Vec<Http> = (0..200).map(|_| Http::connect(server.http)).collect();
    clients.iter_mut().for_each(|client| client.send(&request));
    // What fits into the kernel's buffers is on its way, and the rest waits.
    assert_eq!(ask(&mut Http::connect(server.http), "/a", "").1, data);
    let grown = server.peak_kib().saturating_sub(before);
    for client in &mut clients {
        for _ in 0..40 {
            let head = client.head();
            assert!(head.status == 200 && client.body(&head) == data);
        }
    }
    note(&format!("quick: 200 slow clients of 60 KB files: {grown} KiB more"));
    assert!(grown < 16 << 10, "{grown} KiB more");
    drop(clients);
    server.assert_idle();
}

/// A file system in this process, as FUSE has it: one file, whose names and sizes the kernel may keep for ever, and whose
/// opening and closing take their time.
struct Fuse {
    at: PathBuf,
}

const NAME: &[u8] = b"a.bin\0";
const ROOT: u64 = 1;
const NODE: u64 = 2;

impl Fuse {
    /// `None`: it may not be mounted here.
    fn mount(at: &Path, data: Vec<u8>, wait: Duration) -> Option<Fuse> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").ok()?;
        std::fs::create_dir_all(at).unwrap();
        let done = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other", "slow"])
            .arg(at)
            .stdin(device.try_clone().unwrap())
            .output()
            .ok()?;
        if !done.status.success() {
            return None;
        }
        std::thread::spawn(move || answer_all(device, &data, wait));
        Some(Fuse { at: at.to_owned() })
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        // By force: what is asked of it still is answered with an error, or this process could not end.
        let _ = Command::new("umount").args(["-f", "-l"]).arg(&self.at).status();
    }
}

fn answer_all(mut device: File, data: &[u8], wait: Duration) {
    let mut request = vec![0; 1 << 20];
    while let Ok(n) = device.read(&mut request) {
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
        let (code, unique, node, rest) = (word(4), long(8), long(16), &request[40..n]);
        let answer: Result<Vec<u8>, i32> = match code {
            // LOOKUP
            1 if node == ROOT && rest == NAME => Ok([&entry()[..], &attributes(NODE, data.len())].concat()),
            1 => Err(2),
            // FORGET, INTERRUPT, BATCH_FORGET
            2 | 36 | 42 => continue,
            // GETATTR
            3 => Ok([&longs(&[FOREVER, 0])[..], &attributes(node, data.len())].concat()),
            // OPEN, OPENDIR, READ, FLUSH, RELEASE, RELEASEDIR
            14 => (std::thread::sleep(wait), Ok(vec![0; 16])).1,
            27 => Ok(vec![0; 16]),
            15 => {
                let from = data.len().min(long(48) as usize);
                Ok(data[from..data.len().min(from + word(56) as usize)].to_vec())
            }
            25 => (std::thread::sleep(wait), Ok(Vec::new())).1,
            18 | 29 => Ok(Vec::new()),
            // STATFS
            17 => Ok(vec![0; 80]),
            // INIT, as of 7.31
            26 => Ok([7, 31, 65_536, 0, 0, 65_536, 1]
                .into_iter()
                .chain([0; 9])
                .flat_map(u32::to_ne_bytes)
                .collect()),
            _ => Err(38),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut out = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        out.extend(error.to_ne_bytes());
        out.extend(unique.to_ne_bytes());
        out.extend(body);
        let _ = device.write_all(&out);
    }
}

const FOREVER: u64 = 1 << 30;

fn longs(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

/// Node, generation, how long its name and its attributes hold.
fn entry() -> Vec<u8> {
    longs(&[NODE, 0, FOREVER, FOREVER, 0])
}

fn attributes(node: u64, size: usize) -> Vec<u8> {
    let (mode, links) = if node == ROOT { (0o40_755, 2) } else { (0o100_644, 1) };
    let mut all = longs(&[node, size as u64, 1, 0, 0, 0]);
    all.extend([0, 0, 0, mode, links, 0, 0, 0, 4096, 0].into_iter().flat_map(u32::to_ne_bytes));
    all
}

#[test]
fn a_file_system_that_answers_slowly_leaves_a_live_stream_alone() {
    const WAIT: Duration = Duration::from_secs(2);
    clips::prepare();
    let dir = run_dir();
    let data = pattern(10_000);
    let Some(fuse) = Fuse::mount(&dir.join("fuse"), data.clone(), WAIT) else {
        return note("quick: no FUSE file system can be mounted here");
    };
    let (rtmp, port) = serve_slowly(&fuse.at, Local);
    let mut took = Duration::ZERO;
    let gap = longest_gap(rtmp, port, || {
        let started = Instant::now();
        let mut http = Http::connect(port);
        // The second time the kernel knows the name and the size, and opening has to wait all the same.
        for _ in 0..2 {
            let (head, body) = ask(&mut http, "/a.bin", "");
            assert!(head.status == 200 && body == data, "{}", head.status);
        }
        // The head has all that is asked for, and the file is let go of unread.
        http.send("HEAD /a.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(http.head().status, 200);
        std::thread::sleep(WAIT);
        took = started.elapsed();
    });
    note(&format!("quick: FUSE, 2 s a call: three requests in {took:?}, longest gap of live {gap:?}"));
    assert!(took > 2 * WAIT, "{took:?}: it was slow");
    assert!(gap < SMOOTH, "{gap:?} without a frame");
    drop(fuse);
    let _ = std::fs::remove_dir_all(dir);
}
