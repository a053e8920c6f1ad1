//! Files that are asked to begin elsewhere: `start=` and `start_time=` of FLV, `start=` and `end=` of MP4.
//!
//! The helper thread looks for the place, a bounded stretch at a time. Indices of MP4 are kept in memory while they are
//! read, made anew and sent: [`Share`]s of one [`Budget`] see to it that they are few.

use super::work::{Opened, Outcome};
use crate::net::disk::{Disk, Trouble};
use crate::proto::http::path::FilePath;
use crate::proto::http::request::Request;
use crate::wire::flv;
use crate::wire::flv_index::{self, Scan, Seek, Start, Step};
use crate::wire::mp4::index::{self, Span, Walk};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a file that are read to look for tags or boxes: a page, for they often begin further apart.
const WINDOW: usize = 4 << 10;
/// Windows looked through before the next question has its turn.
const STEPS: usize = 256;
/// Bytes of a sequence header at most; a longer one is no header.
const MAX_HEADER: u32 = 64 << 10;
/// Bytes of memory for all indices, where `max_memory` does not leave less: one of the largest size with its new form, and
/// some small ones.
pub(super) const INDICES: usize = 24 << 20;
/// Names of MP4 files end so.
const MP4: [&str; 4] = [".mp4", ".m4v", ".m4a", ".mov"];

/// Where a file is asked to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// At a keyframe of an FLV file.
    Flv(Seek),
    /// At a keyframe of an MP4 file.
    Mp4(Span),
}

fn ends_with(path: &FilePath, ends: &[&str]) -> bool {
    let name = path.path.to_ascii_lowercase();
    !path.directory && ends.iter().any(|end| name.ends_with(end))
}

fn param<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.query.split(['&', '?']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Seconds with a decimal fraction, such as `12.34`. Done with integers: reading an `f64` would be the only place that
/// does, and its tables are 16 KB of the program.
fn milliseconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || text.trim_matches('.').is_empty() {
        return None;
    }
    let seconds: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let places = fraction.bytes().zip([100, 10, 1]);
    let part: u64 = places.map(|(digit, unit)| u64::from(digit - b'0') * unit).sum();
    seconds.checked_mul(1000)?.checked_add(part)
}

/// A time in seconds, above zero, as milliseconds.
fn seconds(request: &Request, name: &str) -> Option<u64> {
    milliseconds(param(request, name)?).filter(|ms| *ms > 0)
}

/// Where a request wants its file to begin: in an FLV `start=BYTES` or `start_time=SECONDS`, in an MP4 `start=SECONDS`
/// and `end=SECONDS`. `None`: where the file does.
pub(super) fn asked(request: &Request, path: &FilePath) -> Option<Begin> {
    if ends_with(path, &[".flv"]) {
        let bytes = || param(request, "start")?.parse().ok().filter(|at| *at > 0).map(Seek::Byte);
        let seek = match param(request, "start_time").and_then(milliseconds) {
            Some(ms) => (ms > 0).then_some(Seek::Time(ms)),
            None => bytes(),
        };
        return seek.map(Begin::Flv);
    }
    if ends_with(path, &MP4) {
        let (start, end) = (seconds(request, "start"), seconds(request, "end"));
        let start_ms = start.unwrap_or(0);
        let end_ms = end.filter(|end| *end > start_ms);
        return (start.is_some() || end_ms.is_some()).then_some(Begin::Mp4(Span { start_ms, end_ms }));
    }
    None
}

/// The range in the query of an MP4 file, for players that can give no header: `range=FIRST-LAST` or `bytes=FIRST-LAST`.
pub(super) fn range(request: &Request, path: &FilePath) -> Option<String> {
    let value =
        ["range", "bytes"].iter().find_map(|name| param(request, name)).filter(|_| ends_with(path, &MP4))?;
    Some(format!("bytes={}", value.strip_prefix("bytes=").unwrap_or(value)))
}

/// Memory that indices may take, or pipes that there may be, between the threads.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    held: AtomicUsize,
    limit: AtomicUsize,
}

/// A part of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    amount: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Budget {
        Budget(Arc::new(Account { held: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }))
    }

    /// What may be given out.
    pub(super) fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Sets that. What is given out stays so.
    pub(super) fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// What is given out.
    pub(super) fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    pub(super) fn share(&self, amount: usize) -> Option<Share> {
        let limit = self.limit();
        let taken = |held: usize| held.checked_add(amount).filter(|held| *held <= limit);
        self.0.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok()?;
        Some(Share { budget: self.clone(), amount })
    }
}

impl Share {
    /// Takes no more than `amount`.
    fn shrink(&mut self, amount: usize) {
        let back = self.amount.saturating_sub(amount);
        self.budget.0.held.fetch_sub(back, Ordering::Relaxed);
        self.amount -= back;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// A file in which the place to begin at is being looked for.
#[derive(Debug)]
pub struct Seeking {
    opened: Opened,
    look: Look,
}

#[derive(Debug)]
enum Look {
    Flv(Scan),
    /// For the index.
    Mp4(Walk, Span),
    /// The index is being read.
    Index(Box<Index>),
}

#[derive(Debug)]
struct Index {
    file_type: Vec<u8>,
    moov: Vec<u8>,
    filled: usize,
    at: u64,
    span: Span,
    share: Option<Share>,
}

enum Fault {
    /// The file is not what it was taken for.
    Refused(String),
    /// There is no memory for it now, or never.
    Busy(&'static str),
    Disk(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Disk(error)
    }
}

impl From<index::IndexError> for Fault {
    fn from(error: index::IndexError) -> Fault {
        Fault::Refused(error.to_string())
    }
}

/// Begins to look.
pub(super) fn start(disk: &mut dyn Disk, budget: &Budget, opened: Opened, begin: Begin) -> Outcome {
    let look = match begin {
        Begin::Flv(seek) => Look::Flv(Scan::new(seek)),
        Begin::Mp4(span) => Look::Mp4(Walk::new(opened.stat.size), span),
    };
    go_on(disk, budget, Box::new(Seeking { opened, look }))
}

/// Looks on for a bounded time. Whoever does not find the place this time is asked again, behind the others.
pub(super) fn go_on(disk: &mut dyn Disk, budget: &Budget, mut seeking: Box<Seeking>) -> Outcome {
    for _ in 0..STEPS {
        match seeking.step(disk, budget) {
            Ok(false) => {}
            Ok(true) => return Outcome::Opened(Box::new(seeking.opened)),
            Err(Fault::Refused(why)) => return Outcome::Refused(415, why),
            Err(Fault::Busy(why)) => return Outcome::Refused(503, why.to_owned()),
            Err(Fault::Disk(error)) => return Outcome::Failed(Trouble::of(&error)),
        }
    }
    Outcome::Seeking(seeking)
}

impl Seeking {
    /// Looks at one window; true when the place is found.
    fn step(&mut self, disk: &mut dyn Disk, budget: &Budget) -> Result<bool, Fault> {
        let Seeking { opened, look } = self;
        match look {
            Look::Flv(scan) => {
                let Some(found) = scan_window(disk, opened, scan)? else { return Ok(false) };
                if let Some(start) = found {
                    begin_flv(disk, opened, start)?;
                }
                Ok(true)
            }
            Look::Mp4(walk, span) => {
                let bytes = read(disk, opened, walk.at(), index::PEEK)?;
                let Some(index::Index { file_type, moov }) = walk.look(&bytes)? else { return Ok(false) };
                let len = moov.len as usize;
                // As it is, and made anew.
                let both = len.saturating_mul(2);
                let share = budget.share(both).ok_or(Fault::Busy(match both > budget.limit() {
                    true => "the index of this MP4 takes more memory than max_memory leaves for it",
                    false => "too many MP4 files are being cut",
                }))?;
                let file_type = match file_type {
                    Some(place) => read(disk, opened, place.at, place.len as usize)?,
                    None => Vec::new(),
                };
                let (moov, at, span, share) = (vec![0; len], moov.at, *span, Some(share));
                *look = Look::Index(Box::new(Index { file_type, moov, filled: 0, at, span, share }));
                Ok(false)
            }
            Look::Index(index) => {
                let at = index.at.saturating_add(index.filled as u64);
                let rest = index.moov.get_mut(index.filled..).unwrap_or_default();
                let window = rest.len().min(WINDOW);
                let filled = disk.read(opened.file()?, at, rest.get_mut(..window).unwrap_or_default())?;
                index.filled = index.filled.saturating_add(filled);
                if filled == 0 && window > 0 {
                    return Err(index::IndexError::Broken.into());
                }
                if index.filled < index.moov.len() {
                    return Ok(false);
                }
                let cut = index::cut(&index.file_type, &index.moov, index.span, opened.stat.size)?;
                (opened.prefix, opened.from, opened.until) = (cut.head, cut.from, cut.to);
                if let Some(share) = &mut index.share {
                    share.shrink(opened.prefix.len());
                }
                opened.share = index.share.take();
                Ok(true)
            }
        }
    }
}

fn read(disk: &mut dyn Disk, opened: &Opened, at: u64, wanted: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; wanted];
    let filled = disk.read(opened.file()?, at, &mut bytes)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Looks through one window of an FLV file; `Some` when the walk is over.
fn scan_window(
    disk: &mut dyn Disk,
    opened: &Opened,
    scan: &mut Scan,
) -> Result<Option<Option<Start>>, Fault> {
    let not_flv = |_| Fault::Refused("`start` needs an FLV file, and this is none".to_owned());
    let (from, size) = (scan.at(), scan.wants().max(WINDOW));
    let window = read(disk, opened, from, size)?;
    let whole = window.len() < size;
    loop {
        let within = scan.at().checked_sub(from).and_then(|at| usize::try_from(at).ok());
        let rest = within.and_then(|at| window.get(at..));
        let wanted = scan.wants();
        // What lies before the window, or behind it while the file goes on, is for the next one.
        let behind = scan.at() >= from && whole;
        let rest = match rest {
            Some(rest) if rest.len() >= wanted || whole => rest,
            None if behind => &[],
            _ => return Ok(None),
        };
        if let Step::Done(found) = scan.look(rest.get(..wanted).unwrap_or(rest)).map_err(not_flv)? {
            return Ok(Some(found));
        }
    }
}

/// What comes before a keyframe in the middle of a file: a file header, and the sequence headers in force.
fn begin_flv(disk: &mut dyn Disk, opened: &mut Opened, start: Start) -> io::Result<()> {
    let (audio, video) = start.flags;
    opened.prefix.extend_from_slice(&flv::header(audio, video));
    for flv_index::Span { at, len } in [start.video, start.audio].into_iter().flatten() {
        if len > MAX_HEADER {
            continue;
        }
        let tag = read(disk, opened, at, len as usize)?;
        if tag.len() == len as usize {
            opened.prefix.extend_from_slice(&tag);
        }
    }
    opened.from = start.at;
    Ok(())
}
