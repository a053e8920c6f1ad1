//! What is done with a recording on the helper thread: the file, and the format of what goes into it.
//!
//! The loop hands on messages; heads, places and the index are made here, where it is known what the disk has taken. A
//! fault completes the file with what is in it.

use super::{Done, Outbox};
use crate::media::dvr::flv::{self, FlvFile};
use crate::media::dvr::names::{UNFINISHED, split_extension};
use crate::media::dvr::walk::Walk;
use crate::media::dvr::{Format, Item, Opening};
use crate::media::package::Container;
use crate::net::growing::{Growing, numbered};
use crate::wire::mp4::init;
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Between what a file had and what is appended, in milliseconds.
const APPEND_GAP_MS: u64 = 40;
/// Files that `dvr_plan append` looks at until one has the same headers.
const MAX_LOOKED_AT: u32 = 100;

/// Whose recording it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) vhost: String,
    pub(super) app: String,
    pub(super) stream: String,
}

/// A file of a recording, as the loop and the helper thread share it.
#[derive(Debug)]
pub(super) struct Ticket {
    who: Arc<Who>,
    outbox: Outbox,
    /// Something of the media is on the disk.
    pub(super) good: AtomicBool,
    failed: AtomicBool,
    fault: Mutex<Option<String>>,
    /// Locked while the disk is waited for: not for the loop.
    file: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    growing: Growing,
    content: Content,
}

/// What is in the file.
#[derive(Debug)]
enum Content {
    Flv(FlvFile),
    /// The times of the first and the last piece, and where the duration stands (MP4).
    Pieces {
        first_ms: Option<u64>,
        last_ms: u64,
        duration_at: Option<u64>,
    },
}

/// How a file is to be opened.
#[derive(Debug)]
pub(super) struct How {
    pub(super) path: String,
    pub(super) format: Format,
    /// Go on in a file that is there.
    pub(super) append: bool,
    /// Keyframes that there is room for.
    pub(super) entries: usize,
}

impl Ticket {
    pub(super) fn new(outbox: &Outbox, who: Arc<Who>) -> Arc<Ticket> {
        Arc::new(Ticket {
            who,
            outbox: outbox.clone(),
            good: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            fault: Mutex::default(),
            file: Mutex::default(),
        })
    }

    /// What went wrong, once.
    pub(super) fn take_fault(&self) -> Option<String> {
        if !self.failed.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.fault).take()
    }

    fn fail(&self, path: &str, error: &io::Error) {
        *lock(&self.fault) = Some(format!("{path}: {error}"));
        self.failed.store(true, Ordering::Release);
        self.outbox.wake();
    }

    /// Opens the file and writes what it begins with.
    pub(super) fn open(&self, how: &How, opening: &Opening) {
        let mut file = lock(&self.file);
        match open(how, opening) {
            Ok(open) => *file = Some(open),
            Err(error) => self.fail(&how.path, &error),
        }
    }

    /// Writes more. The first fault is told, and completes the file.
    pub(super) fn write(&self, items: &[Item]) {
        let mut file = lock(&self.file);
        let Some(open) = &mut *file else { return };
        match open.write(items) {
            Ok(()) => self.good.store(true, Ordering::Release),
            Err(error) => {
                let path = open.growing.path().display().to_string();
                self.fail(&path, &error);
                self.finish(&mut file);
            }
        }
    }

    /// Completes the file.
    pub(super) fn close(&self) {
        self.finish(&mut lock(&self.file));
    }

    fn finish(&self, file: &mut Option<Open>) {
        let Some(open) = file.take() else { return };
        let path = open.growing.path().display().to_string();
        match open.finish() {
            Ok(Some((file, duration_ms, bytes))) => {
                let who = self.who.clone();
                self.outbox.put(Done { who, file: file.display().to_string(), duration_ms, bytes });
            }
            Ok(None) => {}
            Err(error) => self.fail(&path, &error),
        }
    }
}

impl Drop for Ticket {
    /// A file whose end could not be asked for is completed all the same; a fault that came after the end of the stream is
    /// told by nobody else.
    fn drop(&mut self) {
        self.close();
        if let Some(fault) = lock(&self.fault).take() {
            let Who { vhost, app, stream } = &*self.who;
            log::error!(target: "dvr", "{vhost}/{app}/{stream}: the end of the recording is missing: {fault}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Open {
    fn write(&mut self, items: &[Item]) -> io::Result<()> {
        match &mut self.content {
            Content::Flv(file) => {
                let mark = file.mark();
                let chunks = file.write(items);
                self.growing.append(&chunks).inspect_err(|_| file.back_to(mark))
            }
            Content::Pieces { first_ms, last_ms, duration_at } => {
                let at = self.growing.len();
                let chunks: Vec<Bytes> = items.iter().map(|item| item.payload.clone()).collect();
                self.growing.append(&chunks)?;
                if let Some(first) = items.first().filter(|_| at == 0) {
                    *duration_at = init::duration_at(&first.payload).map(|at| at as u64);
                }
                for item in items.iter().filter(|item| !item.header) {
                    first_ms.get_or_insert(item.ms);
                    *last_ms = (*last_ms).max(item.until_ms);
                }
                Ok(())
            }
        }
    }

    /// Completes the file: its name, duration in milliseconds and bytes. `None`: there is nothing in it, and it is gone.
    fn finish(self) -> io::Result<Option<(PathBuf, u64, u64)>> {
        let Open { growing, content } = self;
        let (duration_ms, empty, patches) = match &content {
            Content::Flv(file) => (file.duration_ms(), file.is_empty(), file.patches()),
            Content::Pieces { first_ms, last_ms, duration_at } => {
                let ms = last_ms.saturating_sub(first_ms.unwrap_or(*last_ms));
                let patch = duration_at.map(|at| (at, Bytes::copy_from_slice(&init::duration(*last_ms))));
                (ms, first_ms.is_none(), patch.into_iter().collect())
            }
        };
        if empty {
            growing.discard();
            return Ok(None);
        }
        let len = growing.len();
        // Without the index the file plays as well.
        let _ = patches.iter().try_for_each(|(at, bytes)| growing.patch(*at, bytes));
        Ok(Some((growing.finish()?, duration_ms, len)))
    }
}

fn open(how: &How, opening: &Opening) -> io::Result<Open> {
    let (stem, extension) = split_extension(&how.path);
    if how.append {
        let wanted: Vec<&Bytes> = opening.headers.iter().map(|item| &item.payload).collect();
        for n in 0..MAX_LOOKED_AT {
            let path = PathBuf::from(format!("{}{extension}", numbered(stem, n)));
            if !path.exists() {
                break;
            }
            if let Some(open) = go_on(&path, &wanted)? {
                return Ok(open);
            }
        }
    }
    let mut growing = Growing::create(stem, UNFINISHED, extension)?;
    let begun = begin(how, opening, &mut growing);
    match begun {
        Ok(content) => Ok(Open { growing, content }),
        Err(error) => {
            growing.discard();
            Err(error)
        }
    }
}

fn begin(how: &How, opening: &Opening, growing: &mut Growing) -> io::Result<Content> {
    if how.format != Format::Flv {
        return Ok(Content::Pieces { first_ms: None, last_ms: 0, duration_at: None });
    }
    let (file, chunks) = FlvFile::begin(opening, how.entries);
    growing.append(&chunks)?;
    Ok(Content::Flv(file))
}

/// A file that is there and has these headers, to be gone on in.
fn go_on(path: &Path, headers: &[&Bytes]) -> io::Result<Option<Open>> {
    let Some(mut growing) = Growing::open(path, None)? else { return Ok(None) };
    let same = |walk: &Walk| walk.headers().iter().eq(headers.iter().copied());
    let Some(mut file) = walk(&growing, |walk| !walk.in_media() || same(walk))? else { return Ok(None) };
    if growing.len() > file.len() {
        growing.cut(file.len())?;
    }
    file.go_on(APPEND_GAP_MS);
    Ok(Some(Open { growing, content: Content::Flv(file) }))
}

/// What is in an FLV file, as long as `wanted` says yes.
fn walk(growing: &Growing, wanted: impl Fn(&Walk) -> bool) -> io::Result<Option<FlvFile>> {
    let mut walk = Walk::new(growing.len());
    let mut bytes = Vec::new();
    while let Some((at, len)) = walk.wants() {
        bytes.resize(len, 0);
        let n = growing.read(at, &mut bytes)?;
        walk.look(bytes.get(..n).unwrap_or_default());
        if !wanted(&walk) {
            return Ok(None);
        }
    }
    Ok(walk.done())
}

/// Completes a file that was left when the program or the machine stopped: what is not whole at its end is dropped. Gives
/// its name; `None`: there is nothing in it, or somebody writes it.
pub(super) fn complete(path: &Path, stem: String, extension: String) -> io::Result<Option<PathBuf>> {
    let format = Format::of_path(&extension);
    let Some(mut growing) = Growing::open(path, Some((stem, extension)))? else { return Ok(None) };
    let content = match format {
        Format::Flv => match walk(&growing, |_| true)? {
            Some(file) => {
                growing.cut(file.len())?;
                Content::Flv(file)
            }
            None => Content::Pieces { first_ms: None, last_ms: 0, duration_at: None },
        },
        Format::Packaged(container) => {
            let whole = if container == Container::Ts {
                growing.len() / TS_PACKET * TS_PACKET
            } else {
                boxes(&growing)?
            };
            growing.cut(whole)?;
            let first_ms = (whole > 0).then_some(0);
            Content::Pieces { first_ms, last_ms: 0, duration_at: None }
        }
    };
    Ok(Open { growing, content }.finish()?.map(|(path, _, _)| path))
}

/// Bytes of an MPEG-TS packet.
const TS_PACKET: u64 = 188;

/// Where the last whole fragment of an MP4 ends; 0: there is none.
fn boxes(growing: &Growing) -> io::Result<u64> {
    let (mut at, mut whole) = (0_u64, 0);
    loop {
        let mut head = [0; 8];
        if growing.read(at, &mut head)? < head.len() {
            return Ok(whole);
        }
        let [s0, s1, s2, s3, name @ ..] = head;
        let size = u64::from(u32::from_be_bytes([s0, s1, s2, s3]));
        at = at.saturating_add(size);
        if size < 8 || at > growing.len() {
            return Ok(whole);
        }
        if &name == b"mdat" {
            whole = at;
        }
    }
}

/// How many keyframes there should be room for.
pub(super) fn entries(segment_ms: Option<u64>) -> usize {
    flv::entries_for(segment_ms)
}
