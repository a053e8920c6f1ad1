//! A file that grows while others may read it: made under a name of its own, completed, then given its real name. And the
//! files below a directory.
//!
//! Blocking: for the helper thread ([`super::writer`]). No file is ever overwritten: a name that is taken gets a number. A
//! file that is being written is locked (`flock`), where the file system can, so that nobody else takes it for a
//! left-over. Nothing is synced: a power cut may lose what the system had not written yet.
#![forbid(unsafe_code)]

use super::sys;
use bytes::Bytes;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Names tried for a file at most.
const MAX_NAMES: u32 = 10_000;
/// Directories entered below one another.
const MAX_DEPTH: usize = 16;
/// Slices in one write.
const MAX_SLICES: usize = 512;

/// The file.
#[derive(Debug)]
pub struct Growing {
    file: File,
    /// Where it is.
    path: PathBuf,
    /// What it will be called: stem and extension. `None`: as it is.
    wanted: Option<(String, String)>,
    len: u64,
}

impl Growing {
    /// A new file that will be called `stem` and `extension`, with a number before the extension if that is taken, and
    /// has `unfinished` there until it is complete. Directories are made on the way.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(stem: &str, unfinished: &str, extension: &str) -> io::Result<Growing> {
        if let Some(above) = Path::new(stem).parent() {
            fs::create_dir_all(above)?;
        }
        for n in 0..MAX_NAMES {
            let stem = numbered(stem, n);
            if Path::new(&format!("{stem}{extension}")).exists() {
                continue;
            }
            let path = PathBuf::from(format!("{stem}{unfinished}{extension}"));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let _ = sys::try_lock(&file);
                    return Ok(Growing { file, path, wanted: Some((stem, extension.to_owned())), len: 0 });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// A file that is there, to go on in; with `wanted`, it is renamed to that stem and extension in the end. `None`:
    /// somebody else writes it, or it is no plain file.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, wanted: Option<(String, String)>) -> io::Result<Option<Growing>> {
        if !fs::symlink_metadata(path)?.is_file() {
            return Ok(None);
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if matches!(sys::try_lock(&file), Ok(false)) {
            return Ok(None);
        }
        let len = file.metadata()?.len();
        Ok(Some(Growing { file, path: path.to_owned(), wanted, len }))
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes all of it to the end, or nothing.
    ///
    /// # Errors
    /// What the system says, such as that the disk is full.
    pub fn append(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        let written = self.file.seek(SeekFrom::Start(self.len)).and_then(|_| self.write(chunks));
        match written {
            Ok(()) => {
                let more: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
                self.len = self.len.saturating_add(more);
                Ok(())
            }
            Err(error) => {
                let _ = self.file.set_len(self.len);
                Err(error)
            }
        }
    }

    fn write(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        for run in chunks.chunks(MAX_SLICES) {
            let mut slices: Vec<IoSlice<'_>> = run.iter().map(|chunk| IoSlice::new(chunk)).collect();
            let mut left = slices.as_mut_slice();
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                match self.file.write_vectored(left) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => IoSlice::advance_slices(&mut left, n),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Writes over what is there.
    ///
    /// # Errors
    /// What the system says.
    pub fn patch(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Reads what is there; fewer bytes than fit only at the end.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, at.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Drops what is behind this length.
    ///
    /// # Errors
    /// What the system says.
    pub fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        Ok(())
    }

    /// It is complete: gives it its real name, and tells it.
    ///
    /// # Errors
    /// What the system says; the file then stays where it is.
    pub fn finish(self) -> io::Result<PathBuf> {
        let Some((stem, extension)) = self.wanted else { return Ok(self.path) };
        let free = (0..MAX_NAMES).map(|n| PathBuf::from(format!("{}{extension}", numbered(&stem, n))));
        let path = free.into_iter().find(|path| !path.exists()).ok_or(io::ErrorKind::AlreadyExists)?;
        fs::rename(&self.path, &path)?;
        Ok(path)
    }

    /// It is not wanted: removes it, unless it was there before.
    pub fn discard(self) {
        if self.wanted.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The stem for the `n`th try.
pub fn numbered(stem: &str, n: u32) -> String {
    if n == 0 { stem.to_owned() } else { format!("{stem}-{n}") }
}

/// A file below a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path from there.
    pub name: String,
    /// Bytes.
    pub len: u64,
    /// When it was written last.
    pub modified: SystemTime,
}

/// The plain files below a directory whose paths from there `wanted` says yes to, `max` at most. Links are not followed;
/// what cannot be read is left out.
pub fn below(root: &Path, max: usize, wanted: impl Fn(&str) -> bool) -> Vec<Entry> {
    let (mut found, mut dirs) = (Vec::new(), vec![(root.to_owned(), String::new(), 0)]);
    while let Some((dir, above, depth)) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let (Ok(kind), Ok(name)) = (entry.file_type(), entry.file_name().into_string()) else { continue };
            let name = if above.is_empty() { name } else { format!("{above}/{name}") };
            if kind.is_dir() && depth < MAX_DEPTH && dirs.len() < max {
                dirs.push((entry.path(), name, depth + 1));
            } else if kind.is_file() && wanted(&name) {
                let Ok(data) = entry.metadata() else { continue };
                let Ok(modified) = data.modified() else { continue };
                found.push(Entry { name, len: data.len(), modified });
                if found.len() >= max {
                    return found;
                }
            }
        }
    }
    found
}

/// Removes a file, unless somebody is writing it. True: it is gone.
pub fn remove(path: &Path) -> bool {
    let busy = File::open(path).is_ok_and(|file| matches!(sys::try_lock(&file), Ok(false)));
    !busy && fs::remove_file(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("runnel-growing-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_complete_and_takes_nobody_elses() {
        let dir = dir("names");
        let stem = dir.join("a/b/x").to_str().unwrap().to_owned();
        let mut one = Growing::create(&stem, ".tmp", ".flv").unwrap();
        let two = Growing::create(&stem, ".tmp", ".flv").unwrap();
        one.append(&[Bytes::from_static(b"hello "), Bytes::new(), Bytes::from_static(b"world")]).unwrap();
        one.patch(0, b"H").unwrap();
        assert!(one.path().ends_with("a/b/x.tmp.flv") && two.path().ends_with("a/b/x-1.tmp.flv"));
        // Somebody else's file, in the meantime.
        fs::write(format!("{stem}.flv"), b"theirs").unwrap();
        assert_eq!(one.finish().unwrap(), PathBuf::from(format!("{stem}-1.flv")));
        assert_eq!(two.finish().unwrap(), PathBuf::from(format!("{stem}-1-1.flv")));
        assert_eq!(fs::read(format!("{stem}.flv")).unwrap(), b"theirs");
        assert_eq!(fs::read(format!("{stem}-1.flv")).unwrap(), b"Hello world");
        let names = below(&dir, 100, |name| name.ends_with(".flv"));
        assert_eq!((names.len(), fs::read_dir(dir.join("a/b")).unwrap().count()), (3, 3));
        assert_eq!(below(&dir, 2, |_| true).len(), 2);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone() {
        let dir = dir("lock");
        let stem = dir.join("x").to_str().unwrap().to_owned();
        let mut file = Growing::create(&stem, ".tmp", ".flv").unwrap();
        file.append(&vec![Bytes::from_static(b"ab"); 2_000]).unwrap();
        let path = file.path().to_owned();
        assert!(Growing::open(&path, None).unwrap().is_none() && !remove(&path));
        file.cut(3).unwrap();
        drop(file);
        let mut file = Growing::open(&path, None).unwrap().unwrap();
        file.append(&[Bytes::from_static(b"c")]).unwrap();
        let mut read = [0; 9];
        assert_eq!((file.read(1, &mut read).unwrap(), &read[..3]), (3, &b"bac"[..]));
        drop(file);
        assert!(remove(&path) && !path.exists());
        std::os::unix::fs::symlink("/etc/passwd", dir.join("link")).unwrap();
        assert!(Growing::open(&dir.join("link"), None).unwrap().is_none());
        assert!(below(&dir, 9, |_| true).is_empty());
        fs::remove_dir_all(dir).unwrap();
    }
}
