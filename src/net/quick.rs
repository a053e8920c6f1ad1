//! Files that can be had without waiting for a disk, so that the loop itself may take them.
//!
//! ```text
//!   helper thread: Quick::of(root) ── what kind of file system, does the kernel know how ──► loop
//!   loop:          open ─► read ── anything that would wait, or might ──► the helper thread, as any other file
//! ```
//!
//! "Would not wait" is known, not hoped for, of each call:
//!
//! - *Which file systems.* Those of this machine's own disks whose `open`, `fstat` and `close` of a file that is in memory
//!   touch nothing but memory, and those that are memory. Network shares and FUSE are not among them: their names may be in
//!   the kernel's cache, and yet `open` asks the other side. The path may not lead to another file system.
//! - *Opening.* `RESOLVE_CACHED`: names that the kernel would have to look up are refused.
//! - *The time of the last access* would be written, through the journal, which may be waiting for the disk: `O_NOATIME`.
//!   The kernel grants it for files that belong to the user that the server runs as, and to root.
//! - *Reading.* `RWF_NOWAIT` alone is not enough: for a page that is missing it first asks the disk to read ahead, and the
//!   disk's queue may be full. So `cachestat` is asked before whether all pages are there. Only files that are read whole
//!   are read so, for there is nothing to read ahead behind the end.
//! - *Closing.* The last close of a file that has been deleted frees its blocks; [`Quick::is_named`] tells.
//!
//! Linux 6.5 has all of this; tmpfs needs Linux 5.12 only. On older kernels everything is left to the helper thread.
#![forbid(unsafe_code)]

use super::disk::Stat;
use super::sys;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// ext4, XFS, Btrfs, F2FS.
const DISKS: [u32; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];
/// tmpfs, ramfs: as much in memory as this program is.
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// A directory below which files can be had so.
#[derive(Debug)]
pub struct Quick {
    directory: File,
    in_memory: bool,
    page: u64,
}

impl Quick {
    /// The directory `root`, if it is on such a file system and the kernel knows how. May block.
    pub fn of(root: &Path) -> Option<Quick> {
        let directory = File::open(root).ok()?;
        let kind = sys::file_system(&directory).ok()?;
        let in_memory = MEMORY.contains(&kind);
        if !in_memory && !DISKS.contains(&kind) {
            return None;
        }
        let refused = |result: io::Result<()>, by: &[i32]| {
            result.is_err_and(|error| error.raw_os_error().is_some_and(|code| by.contains(&code)))
        };
        // EPERM is what some sandboxes answer to calls that they do not know.
        let opened = sys::open_cached(&directory, Path::new(""), false).map(drop);
        let opens = !refused(opened, &[libc::ENOSYS, libc::EINVAL, libc::EPERM]);
        // Here it would be about the directory, and says nothing of the files in it.
        let counted = sys::pages_in_memory(&directory, 1).map(drop);
        let reads = in_memory || !refused(counted, &[libc::ENOSYS]);
        (opens && reads).then(|| Quick { directory, in_memory, page: sys::page_size() })
    }

    /// Opens a regular file below the directory; `None` when that might wait, and for whatever else is there.
    pub fn open(&self, path: &Path) -> Option<(File, Stat)> {
        let file = sys::open_cached(&self.directory, path, !self.in_memory).ok()?;
        let meta = file.metadata().ok()?;
        meta.is_file().then(|| (file, Stat::of(&meta)))
    }

    /// Fills `into` with a file that [`Quick::open`] has given, all of it; false when that might wait, or the file is shorter.
    pub fn read(&self, file: &File, into: &mut [u8]) -> bool {
        if self.in_memory || into.is_empty() {
            return file.read_exact_at(into, 0).is_ok();
        }
        let len = into.len() as u64;
        let all_there = sys::pages_in_memory(file, len).is_ok_and(|pages| pages >= len.div_ceil(self.page));
        all_there && sys::read_in_memory(file, into).is_ok_and(|n| n == into.len())
    }

    /// Whether a directory still names the file, so that closing it frees nothing.
    pub fn is_named(file: &File) -> bool {
        file.metadata().is_ok_and(|meta| meta.nlink() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::process::Command;

    /// A directory on this machine's disk, or in its memory; gone at the end.
    struct Dir(PathBuf);

    impl Dir {
        fn new(below: &Path, name: &str) -> Dir {
            let dir = below.join(format!("runnel-quick-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(dir.join("sub")).unwrap();
            Dir(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn read(quick: &Quick, path: &str) -> Option<Vec<u8>> {
        let (file, stat) = quick.open(Path::new(path))?;
        let mut bytes = vec![0; stat.size as usize];
        quick.read(&file, &mut bytes).then_some(bytes)
    }

    /// What can be had at once is right, and everything else is left to others. `None`: not on this system.
    fn check(dir: &Dir) -> Option<Quick> {
        let quick = Quick::of(&dir.0)?;
        let data: Vec<u8> = (0..70_001u32).map(|n| (n.wrapping_mul(40_503) >> 9) as u8).collect();
        for (name, len) in [("a", 70_001), ("sub/b", 4096), ("c", 4097), ("empty", 0), ("one", 1)] {
            std::fs::write(dir.0.join(name), &data[..len]).unwrap();
            assert!(read(&quick, name).is_some_and(|bytes| bytes == data[..len]), "{name}");
        }
        std::os::unix::fs::symlink("../secret", dir.0.join("up")).unwrap();
        std::os::unix::fs::symlink("/proc/version", dir.0.join("away")).unwrap();
        for path in ["", "sub", "none", "up", "away", "../x", "/etc/passwd", "a/x"] {
            assert!(quick.open(Path::new(path)).is_none(), "{path}");
        }
        let (file, _) = quick.open(Path::new("a")).unwrap();
        assert!(!quick.read(&file, &mut vec![0; 70_002]), "longer than the file");
        assert!(Quick::is_named(&file));
        std::fs::remove_file(dir.0.join("a")).unwrap();
        assert!(!Quick::is_named(&file));
        Some(quick)
    }

    #[test]
    fn what_is_in_memory_is_had_at_once_and_all_else_is_not() {
        let dir = Dir::new(&std::env::temp_dir(), "disk");
        let Some(quick) = check(&dir) else { return };
        if quick.in_memory {
            return;
        }
        // Out of the kernel's memory: it is not read, and not asked for either.
        let path = dir.0.join("cold");
        std::fs::write(&path, vec![7; 50_000]).unwrap();
        let forget = || {
            let file = format!("of={}", path.display());
            let forget = ["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none", &file];
            assert!(Command::new("dd").args(forget).status().unwrap().success());
        };
        let (file, _) = quick.open(Path::new("cold")).unwrap();
        assert!(quick.read(&file, &mut [0; 50_000]));
        forget();
        for _ in 0..3 {
            assert!(!quick.read(&file, &mut [0; 50_000]));
            assert_eq!(sys::pages_in_memory(&file, 50_000).unwrap(), 0, "nothing is read ahead");
        }
    }

    #[test]
    fn memory_file_systems_are_known() {
        let dir = Dir::new(Path::new("/dev/shm"), "shm");
        assert!(check(&dir).is_none_or(|quick| quick.in_memory));
    }

    #[test]
    fn other_file_systems_are_left_to_the_helper_thread() {
        assert!(Quick::of(Path::new("/proc")).is_none() && Quick::of(Path::new("/none")).is_none());
    }
}
