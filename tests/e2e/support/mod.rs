//! The rig: everything the tests share.
pub(crate) mod clips;
pub(crate) mod flv;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod paced;
pub(crate) mod proc;
pub(crate) mod rtmp;
pub(crate) mod server;
pub(crate) mod tools;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where clips, tools and the directories of the tests are kept.
pub(crate) fn e2e_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/e2e")
}

/// Adds a measured figure to the notes that `tests/run` prints in its summary.
pub(crate) fn note(text: &str) {
    use std::io::Write;
    println!("{text}");
    let path = e2e_dir().join("notes.txt");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{text}").unwrap();
}

/// Asks `done` every 20 ms until it says yes; false when `limit` passes first.
pub(crate) fn poll(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
