//! What the helper thread does for file requests: opening, reading; where a file is to begin is looked for in `begin`.

use super::begin::{self, Begin, Budget, Seeking, Share};
use crate::net::disk::{Disk, Found, Pipe, Stat, Trouble};
use crate::net::slots::Id;
use crate::proto::http::mime;
use crate::proto::http::path::FilePath;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What a request for a directory gets.
const INDEX: &str = "index.html";
/// Bytes of a file from which on a pipe pays.
pub(super) const PIPE_FROM: u64 = 48 << 10;
/// Bytes that a pipe is made for.
const PIPE: usize = 512 << 10;
/// Bytes of a file that are read when it is opened: a small file costs one question.
pub(super) const FIRST: usize = 16 << 10;

/// A question to the helper thread, for a connection.
#[derive(Debug)]
pub(super) struct Question {
    /// Who asks.
    pub(super) id: Id,
    /// What.
    pub(super) task: Task,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Task {
    /// Open a file below a directory.
    Open {
        /// The directory.
        root: String,
        /// The file.
        path: FilePath,
        /// Where to begin, if not where the file does.
        begin: Option<Begin>,
        /// Its first bytes are wanted for sure.
        first: bool,
        /// The right to a pipe, if the file is large.
        right: Option<Share>,
    },
    /// Go on looking for the place to begin at.
    Seek(Box<Seeking>),
    /// Read from a file.
    Read {
        /// The file.
        file: Arc<File>,
        /// The offset.
        at: u64,
        /// What is filled.
        memory: Vec<u8>,
        /// Bytes wanted, at most as many as fit.
        want: usize,
    },
    /// Move from a file into a pipe.
    Fill {
        /// The file.
        file: Arc<File>,
        /// The offset.
        at: u64,
        /// The pipe, empty; none yet at the first time.
        pipe: Option<Box<Pipe>>,
        /// Bytes wanted, at most as many as fit.
        want: usize,
    },
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub(super) struct Answer {
    /// Who has asked.
    pub(super) id: Id,
    /// What came of it.
    pub(super) outcome: Outcome,
}

/// What came of a [`Task`].
#[derive(Debug)]
pub enum Outcome {
    /// The file is open.
    Opened(Box<Opened>),
    /// It is a directory, and the request did not end in a slash.
    IsDirectory,
    /// It cannot begin where it is asked to: a status, and why.
    Refused(u16, String),
    /// No file.
    Failed(Trouble),
    /// The place is not found yet: ask again.
    Seeking(Box<Seeking>),
    /// So many bytes of the memory were filled; 0 at the end of the file.
    Read {
        /// The memory.
        memory: Vec<u8>,
        /// Bytes filled.
        filled: io::Result<usize>,
    },
    /// So many bytes are in the pipe; 0 at the end of the file. An error: the file has to be read.
    Filled(io::Result<(Box<Pipe>, usize)>),
}

/// An open file, and what of it is sent: `prefix`, then the file from `from` up to `until`.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub file: Arc<File>,
    /// What is known of it.
    pub stat: Stat,
    /// Its media type.
    pub media_type: &'static str,
    /// What comes before: headers, where it begins at a keyframe, or the first bytes of the file itself.
    pub prefix: Vec<u8>,
    /// Where in the file the rest begins.
    pub from: u64,
    /// And ends; the byte there is not sent.
    pub until: u64,
    /// What a large prefix takes of the memory for such.
    pub(super) share: Option<Share>,
    /// The first bytes of the file in a pipe, and the right to it.
    pub(super) piped: Option<(Box<Pipe>, Share)>,
}

/// Works on a question. May block.
pub(super) fn work(disk: &mut dyn Disk, budget: &Budget, question: Question) -> Answer {
    let outcome = match question.task {
        Task::Open { root, path, begin: None, first, right } => open(disk, &root, &path, first, right),
        Task::Open { root, path, begin: Some(begin), .. } => match open(disk, &root, &path, false, None) {
            Outcome::Opened(opened) => begin::start(disk, budget, *opened, begin),
            other => other,
        },
        Task::Seek(seeking) => begin::go_on(disk, budget, seeking),
        Task::Read { file, at, mut memory, want } => {
            let into = memory.get_mut(..want).unwrap_or_default();
            let filled = disk.read(&file, at, into);
            Outcome::Read { memory, filled }
        }
        Task::Fill { file, at, pipe, want } => Outcome::Filled(fill(disk, &file, at, pipe, want)),
    };
    Answer { id: question.id, outcome }
}

fn open(disk: &mut dyn Disk, root: &str, path: &FilePath, first: bool, right: Option<Share>) -> Outcome {
    let mut name = path.path.clone();
    if path.directory {
        name = if name.is_empty() { INDEX.to_owned() } else { format!("{name}/{INDEX}") };
    }
    let (file, stat) = match disk.open(Path::new(root), Path::new(&name)) {
        Ok(Found::File(file, stat)) => (Arc::new(file), stat),
        Ok(Found::Directory) if path.directory => return Outcome::Failed(Trouble::Absent),
        Ok(Found::Directory) => return Outcome::IsDirectory,
        Err(error) => return Outcome::Failed(Trouble::of(&error)),
    };
    let (media_type, until) = (mime::of(&name), stat.size);
    let mut opened =
        Opened { file, stat, media_type, prefix: Vec::new(), from: 0, until, share: None, piped: None };
    if let Some(right) = right.filter(|_| first && until >= PIPE_FROM) {
        let want = usize::try_from(until).unwrap_or(usize::MAX);
        opened.piped = fill(disk, &opened.file, 0, None, want).ok().map(|(pipe, _)| (pipe, right));
    }
    match if first && opened.piped.is_none() { read_first(disk, &mut opened) } else { Ok(()) } {
        Ok(()) => Outcome::Opened(Box::new(opened)),
        Err(error) => Outcome::Failed(Trouble::of(&error)),
    }
}

fn fill(
    disk: &mut dyn Disk,
    file: &File,
    at: u64,
    pipe: Option<Box<Pipe>>,
    want: usize,
) -> io::Result<(Box<Pipe>, usize)> {
    let mut pipe = match pipe {
        Some(pipe) => pipe,
        None => Box::new(Pipe::new(PIPE)?),
    };
    let filled = disk.fill(file, at, &mut pipe, want)?;
    Ok((pipe, filled))
}

/// The first bytes become the prefix, and the file goes on behind them.
fn read_first(disk: &mut dyn Disk, opened: &mut Opened) -> io::Result<()> {
    let size = usize::try_from(opened.stat.size).unwrap_or(usize::MAX);
    opened.prefix.resize(size.min(FIRST), 0);
    let filled = disk.read(&opened.file, 0, &mut opened.prefix)?;
    opened.prefix.truncate(filled);
    opened.from = filled as u64;
    Ok(())
}
