//! A log file that keeps within a size: when full it becomes `FILE.1`, what was `FILE.1` becomes `FILE.2`, and the
//! oldest is deleted. So at most `keep + 1` times the size is used, whatever happens.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};

/// A file that lines are added to.
#[derive(Debug)]
pub struct LogFile {
    path: String,
    file: File,
    size: u64,
    /// Size at which it is put aside; 0: never.
    pub max: u64,
    /// Files put aside that are kept.
    pub keep: u32,
}

impl LogFile {
    /// Opens the file, which is made if it is not there and added to if it is.
    ///
    /// # Errors
    /// What the system says of the path.
    pub fn open(path: &str, max: u64, keep: u32) -> io::Result<LogFile> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let data = file.metadata()?;
        // A pipe or /dev/null has no size to keep within, and must not be renamed.
        let max = if data.is_file() { max } else { 0 };
        Ok(LogFile { path: path.to_owned(), size: data.len(), file, max, keep })
    }

    /// Its path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The file, for standard output and error to go there too.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Opens the path again, after it was moved away.
    ///
    /// # Errors
    /// What the system says of the path; the old file stays in use then.
    pub fn reopen(&mut self) -> io::Result<()> {
        *self = LogFile::open(&self.path, self.max, self.keep)?;
        Ok(())
    }

    /// Adds a line, whose end is added here. Whether the file is another one now. A full disk loses lines, no more: a
    /// log is no reason to stop.
    pub fn line(&mut self, line: &str) -> bool {
        let length = line.len() as u64 + 1;
        let full = self.max > 0 && self.size > 0 && self.size.saturating_add(length) > self.max;
        let turned = full && self.put_aside().is_ok();
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        match self.file.write_all(&bytes) {
            Ok(()) => self.size = self.size.saturating_add(length),
            Err(_) if full && !turned => {}
            Err(_) => self.size = self.file.metadata().map_or(self.size, |data| data.len()),
        }
        turned
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let name = |n: u32| format!("{}.{n}", self.path);
        if self.keep == 0 {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        for n in (1..self.keep).rev() {
            let _ = fs::rename(name(n), name(n + 1));
        }
        if let Err(error) = fs::rename(&self.path, name(1)) {
            // A directory that we may not write to: the bound holds nevertheless.
            self.file.set_len(0)?;
            self.size = 0;
            return Err(error);
        }
        self.reopen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("runnel-log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_flood_of_lines_keeps_within_its_bound_and_the_newest_are_there() {
        let dir = dir("cap");
        let path = dir.join("x.log").to_str().unwrap().to_owned();
        let mut log = LogFile::open(&path, 1000, 2).unwrap();
        let turned = (0..500).filter(|n| log.line(&format!("line {n:04}"))).count();
        assert_eq!(turned, 4);
        let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 3, "{files:?}");
        for file in &files {
            assert!(fs::metadata(file).unwrap().len() <= 1000, "{file:?}");
        }
        let text = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        assert!(text("x.log").ends_with("line 0499\n"));
        assert!(text("x.log.1").ends_with("line 0399\n") && text("x.log.2").ends_with("line 0299\n"));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn with_nothing_kept_the_file_begins_anew() {
        let dir = dir("none");
        let path = dir.join("x.log").to_str().unwrap().to_owned();
        let mut log = LogFile::open(&path, 100, 0).unwrap();
        for n in 0..50 {
            log.line(&format!("line {n:04}"));
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert!(fs::metadata(&path).unwrap().len() <= 100);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_file_that_was_there_is_added_to_and_one_that_was_moved_away_is_made_again() {
        let dir = dir("again");
        let path = dir.join("x.log").to_str().unwrap().to_owned();
        fs::write(&path, "old\n").unwrap();
        let mut log = LogFile::open(&path, 0, 3).unwrap();
        log.line("new");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nnew\n");
        fs::rename(&path, format!("{path}.moved")).unwrap();
        log.line("still there");
        log.reopen().unwrap();
        log.line("here");
        assert_eq!(fs::read_to_string(&path).unwrap(), "here\n");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_device_is_no_file_to_be_put_aside() {
        let mut log = LogFile::open("/dev/null", 10, 3).unwrap();
        assert!((0..100).all(|_| !log.line("some words")));
        // Always full: nothing is said, nothing fails.
        if let Ok(mut full) = LogFile::open("/dev/full", 10, 3) {
            full.line("some words");
        }
    }
}
