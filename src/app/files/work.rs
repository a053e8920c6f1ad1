//! What the helper thread does for file requests: opening, reading; where a file is to begin is looked for in `begin`.

use super::begin::{self, Begin, Budget, Seeking, Share};
use crate::net::disk::{Closer, Disk, Found, Lent, Pipe, Stat, Trouble};
use crate::net::quick::Quick;
use crate::net::slots::Id;
use crate::proto::http::mime;
use crate::proto::http::path::FilePath;
use std::fs::File;
use std::io;
use std::path::Path;

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
        right: Option<Right>,
        /// Whether the loop may have files of this directory itself is to be seen too.
        look: bool,
    },
    /// Go on looking for the place to begin at.
    Seek(Box<Seeking>),
    /// Read from a file.
    Read {
        /// The file.
        file: Lent,
        /// The offset.
        at: u64,
        /// What is filled.
        memory: Vec<u8>,
        /// Bytes wanted; when there are no more the file is closed.
        left: u64,
    },
    /// Move from a file into a pipe.
    Fill {
        /// The file.
        file: Lent,
        /// The offset.
        at: u64,
        /// The pipe, empty; none yet at the first time.
        pipe: Option<Box<Pipe>>,
        /// Bytes wanted; when there are no more the file is closed.
        left: u64,
    },
}

/// The right to a pipe, and one that others have left.
#[derive(Debug)]
pub(super) struct Right {
    pub(super) share: Share,
    pub(super) pipe: Option<Box<Pipe>>,
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub(super) struct Answer {
    /// Who has asked.
    pub(super) id: Id,
    /// What came of it.
    pub(super) outcome: Outcome,
    /// What was seen of the directory, if that was asked.
    pub(super) seen: Option<(String, Option<Quick>)>,
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
        /// The file, if there is more to be read.
        file: Option<Lent>,
    },
    /// So many bytes are in the pipe; 0 at the end of the file. An error: the file has to be read.
    Filled {
        /// The pipe, and how much is in it.
        filled: io::Result<(Box<Pipe>, usize)>,
        /// The file, if there is more to be moved.
        file: Option<Lent>,
    },
}

/// An open file, and what of it is sent: `prefix`, then the file from `from` up to `until`.
#[derive(Debug)]
pub struct Opened {
    /// The file, unless all of it was read.
    pub file: Option<Lent>,
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
    /// All of the file, from its start, and perhaps bytes that mean nothing.
    pub(super) whole: Option<Vec<u8>>,
}

impl Opened {
    /// A file as it is; the file itself is missing.
    pub(super) fn new(stat: Stat, name: &str) -> Opened {
        Opened {
            file: None,
            stat,
            media_type: mime::of(name),
            prefix: Vec::new(),
            from: 0,
            until: stat.size,
            share: None,
            piped: None,
            whole: None,
        }
    }

    pub(super) fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or(io::ErrorKind::NotFound)?.file()
    }
}

/// The name of the file that answers a request.
pub(super) fn name_of(path: &FilePath) -> String {
    match (path.directory, path.path.as_str()) {
        (false, name) => name.to_owned(),
        (true, "") => INDEX.to_owned(),
        (true, name) => format!("{name}/{INDEX}"),
    }
}

/// Works on a question. May block.
pub(super) fn work(disk: &mut dyn Disk, budget: &Budget, closer: &Closer, question: Question) -> Answer {
    let mut seen = None;
    let outcome = match question.task {
        Task::Open { root, path, begin, first, right, look } => {
            let outcome = open(disk, closer, &root, &path, first && begin.is_none(), right);
            if look {
                let quick = disk.quick(Path::new(&root));
                seen = Some((root, quick));
            }
            match (outcome, begin) {
                (Outcome::Opened(opened), Some(begin)) => begin::start(disk, budget, *opened, begin),
                (outcome, _) => outcome,
            }
        }
        Task::Seek(seeking) => begin::go_on(disk, budget, seeking),
        Task::Read { file, at, mut memory, left } => {
            let want = most(left).min(memory.len());
            let into = memory.get_mut(..want).unwrap_or_default();
            let filled = file.file().and_then(|file| disk.read(file, at, into));
            let file = rest(file, left, filled.as_ref().ok());
            Outcome::Read { memory, filled, file }
        }
        Task::Fill { file, at, pipe, left } => {
            let filled = file.file().and_then(|file| fill(disk, file, at, pipe, most(left)));
            let file = rest(file, left, filled.as_ref().ok().map(|(_, filled)| filled));
            Outcome::Filled { filled, file }
        }
    };
    Answer { id: question.id, outcome, seen }
}

fn most(left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX)
}

/// The file, if there is more of it to come.
fn rest(file: Lent, left: u64, filled: Option<&usize>) -> Option<Lent> {
    (filled.is_none_or(|filled| (*filled as u64) < left)).then_some(file)
}

fn open(
    disk: &mut dyn Disk,
    closer: &Closer,
    root: &str,
    path: &FilePath,
    first: bool,
    right: Option<Right>,
) -> Outcome {
    let name = name_of(path);
    let mut opened = match disk.open(Path::new(root), Path::new(&name)) {
        Ok(Found::File(file, stat)) => Opened { file: Some(closer.lend(file)), ..Opened::new(stat, &name) },
        Ok(Found::Directory) if path.directory => return Outcome::Failed(Trouble::Absent),
        Ok(Found::Directory) => return Outcome::IsDirectory,
        Err(error) => return Outcome::Failed(Trouble::of(&error)),
    };
    if let Some(Right { share, pipe }) = right.filter(|_| first && opened.until >= PIPE_FROM) {
        let filled = opened.file().and_then(|file| fill(disk, file, 0, pipe, most(opened.until)));
        opened.piped = filled.ok().map(|(pipe, _)| (pipe, share));
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
    let mut prefix = vec![0; most(opened.stat.size).min(FIRST)];
    let filled = disk.read(opened.file()?, 0, &mut prefix)?;
    prefix.truncate(filled);
    (opened.prefix, opened.from) = (prefix, filled as u64);
    if opened.from >= opened.until {
        opened.file = None;
    }
    Ok(())
}
