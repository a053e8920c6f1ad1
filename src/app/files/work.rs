//! What the helper thread does for file requests: opening, finding the place to begin at, reading.

use crate::net::disk::{Disk, Found, Stat, Trouble};
use crate::net::slots::Id;
use crate::proto::http::mime;
use crate::proto::http::path::FilePath;
use crate::wire::flv;
use crate::wire::flv_index::{PEEK, Scan, Seek, Span, Start, Step};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What a request for a directory gets.
const INDEX: &str = "index.html";
/// Bytes of a file that are read to look for tags: a page, for tags often begin further apart.
const SCAN_WINDOW: usize = 4 << 10;
/// Windows looked through before the next question has its turn.
const SCAN_STEPS: usize = 256;
/// Bytes of a file that are read when it is opened: a small file costs one question.
pub(super) const FIRST: usize = 16 << 10;
/// Bytes of a sequence header at most; a longer one is no header.
const MAX_HEADER: u32 = 64 << 10;

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
        /// Where to begin; FLV files only.
        seek: Option<Seek>,
        /// Its first bytes are wanted for sure.
        first: bool,
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
    /// It was asked to begin within a file that is no FLV, whatever its name.
    NotFlv,
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
}

/// An open file, and what of it is sent: `prefix`, then the file from `from` on.
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
}

/// A file in which the place to begin at is being looked for.
#[derive(Debug)]
pub struct Seeking {
    opened: Opened,
    scan: Scan,
    window: Vec<u8>,
}

/// Works on a question. May block.
pub(super) fn work(disk: &mut dyn Disk, question: Question) -> Answer {
    let outcome = match question.task {
        Task::Open { root, path, seek, first } => open(disk, &root, &path, seek, first),
        Task::Seek(seeking) => go_on(disk, seeking),
        Task::Read { file, at, mut memory, want } => {
            let into = memory.get_mut(..want).unwrap_or_default();
            let filled = disk.read(&file, at, into);
            Outcome::Read { memory, filled }
        }
    };
    Answer { id: question.id, outcome }
}

fn open(disk: &mut dyn Disk, root: &str, path: &FilePath, seek: Option<Seek>, first: bool) -> Outcome {
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
    let mut opened = Opened { file, stat, media_type: mime::of(&name), prefix: Vec::new(), from: 0 };
    match seek {
        None if first => match read_first(disk, &mut opened) {
            Ok(()) => Outcome::Opened(Box::new(opened)),
            Err(error) => Outcome::Failed(Trouble::of(&error)),
        },
        None => Outcome::Opened(Box::new(opened)),
        Some(seek) => {
            let seeking = Seeking { opened, scan: Scan::new(seek), window: Vec::new() };
            go_on(disk, Box::new(seeking))
        }
    }
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

/// Looks on for a bounded time. Whoever does not find the place this time is asked again, behind the others.
fn go_on(disk: &mut dyn Disk, mut seeking: Box<Seeking>) -> Outcome {
    for _ in 0..SCAN_STEPS {
        match seeking.step(disk) {
            Ok(None) => {}
            Ok(Some(found)) => {
                let Seeking { mut opened, .. } = *seeking;
                return match found.map(|start| begin_at(disk, &mut opened, start)) {
                    None | Some(Ok(())) => Outcome::Opened(Box::new(opened)),
                    Some(Err(error)) => Outcome::Failed(Trouble::of(&error)),
                };
            }
            Err(Fault::Flv) => return Outcome::NotFlv,
            Err(Fault::Disk(error)) => return Outcome::Failed(Trouble::of(&error)),
        }
    }
    Outcome::Seeking(seeking)
}

enum Fault {
    Flv,
    Disk(io::Error),
}

impl Seeking {
    /// Looks through one window; `Some` when the walk is over.
    fn step(&mut self, disk: &mut dyn Disk) -> Result<Option<Option<Start>>, Fault> {
        self.window.resize(SCAN_WINDOW, 0);
        let from = self.scan.at();
        let filled = disk.read(&self.opened.file, from, &mut self.window).map_err(Fault::Disk)?;
        self.window.truncate(filled);
        let whole = filled < SCAN_WINDOW;
        loop {
            let within = self.scan.at().checked_sub(from).and_then(|at| usize::try_from(at).ok());
            let rest = within.and_then(|at| self.window.get(at..)).unwrap_or_default();
            if rest.len() < PEEK && !whole {
                return Ok(None);
            }
            let peek = rest.get(..PEEK).unwrap_or(rest);
            if let Step::Done(found) = self.scan.look(peek).map_err(|_| Fault::Flv)? {
                return Ok(Some(found));
            }
        }
    }
}

/// What comes before a keyframe in the middle of a file: a file header, and the sequence headers in force.
fn begin_at(disk: &mut dyn Disk, opened: &mut Opened, start: Start) -> io::Result<()> {
    let (audio, video) = start.flags;
    opened.prefix.extend_from_slice(&flv::header(audio, video));
    for span in [start.video, start.audio].into_iter().flatten() {
        copy(disk, opened, span)?;
    }
    opened.from = start.at;
    Ok(())
}

fn copy(disk: &mut dyn Disk, opened: &mut Opened, span: Span) -> io::Result<()> {
    if span.len > MAX_HEADER {
        return Ok(());
    }
    let mut tag = vec![0; span.len as usize];
    if disk.read(&opened.file, span.at, &mut tag)? == tag.len() {
        opened.prefix.extend_from_slice(&tag);
    }
    Ok(())
}
