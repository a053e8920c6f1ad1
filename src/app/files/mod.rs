//! Files over HTTP: `http_server { dir }` and `http_static`.
//!
//! ```text
//!   request ─► place ─┬► Opening ──(helper thread: open, find the keyframe)──► head ─► Sending ⇄ read (helper) ─► idle
//!                     │     └─ no such file: what is said of a stream that nobody publishes          ▲
//!                     └► at once, as far as all of it is in the kernel's memory ─────────────────────┘
//! ```
//!
//! The loop opens and reads no file but by [`Quick`], which never waits: a small file that is in memory is opened, read
//! and written in one go. Whether a directory is one for that is seen by the helper thread once a second ([`LOOK_MS`]); so
//! a directory that was replaced is noticed, and nobody is kept from unmounting a disk. A transfer has one question at the
//! helper thread or one piece in its connection's output, never both, and one descriptor. What is sent is as long as the
//! file was when it was opened; a file that has shrunk meanwhile ends the connection, for the promised length cannot be
//! kept.
//!
//! Memory for pieces: [`SHARED`] bytes between all transfers, each getting a share of what is left, and [`LEAST`]
//! bytes for each when nothing is left; beside that the head and first bytes of a file, [`work::FIRST`]. So however many
//! clients are slow, it is `SHARED` + [`MAX_TRANSFERS`] × (`LEAST` + `FIRST`), and what [`begin`] allows for indices. With
//! `max_memory` all of these are parts of it ([`Bounds`]).

mod begin;
mod work;

use super::conn::{Conn, Role};
use super::http;
use super::memory::Bounds;
use super::world::{Timer, World};
use crate::conf::{Config, Play, Vhost};
use crate::net::disk::{Disk, Helper, Lent, Pipe, Trouble};
use crate::net::poll::Waker;
use crate::net::quick::Quick;
use crate::net::slots::Id;
use crate::net::socket::{Options, Room};
use crate::proto::http::conditional::{self, Validators, Verdict};
use crate::proto::http::mime;
use crate::proto::http::path::{self, FilePath, PathError};
use crate::proto::http::range::Part;
use crate::proto::http::request::{Method, Request};
use crate::proto::http::response::{Cors, Head, Length};
use crate::wire::names::{self, printable};
use begin::{Budget, Share};
use std::path::Path;
use work::{Answer, Opened, Question, Right, Task};

pub use work::Outcome;

/// Files being sent at one time; a further request gets 503.
pub const MAX_TRANSFERS: usize = 512;
/// Bytes of memory shared by all transfers.
const SHARED: usize = 4 << 20;
/// Bytes that one transfer reads at a time, at most.
const MOST: usize = 128 << 10;
/// And at least.
const LEAST: usize = 8 << 10;
/// A transfer gets this part of the shared memory that is left.
const SHARE: usize = 16;
/// Pipes at most; who finds none gets pieces in memory.
const MAX_PIPES: usize = 32;
/// Empty pipes that are kept for the next file.
const SPARE_PIPES: usize = 4;
/// Bytes of a file that is read at once: beyond, a pipe is as good, and spares the copy.
const AT_ONCE: usize = 64 << 10;
/// How long it is known of a directory whether the loop may have files from it, in milliseconds.
const LOOK_MS: u64 = 1_000;
/// This part of all descriptors is never taken by files.
const SPARE: usize = 8;
const SHRUNK: &str = "the file has become shorter while it was sent";
/// Characters of a peer's words that go into a log line.
const QUOTED: usize = 128;

/// The helper thread and what the transfers hold.
#[derive(Debug)]
pub struct Store {
    helper: Option<Helper<Question, Answer>>,
    /// Memory for pieces.
    shared: usize,
    /// Transfers at one time.
    most: usize,
    /// Memory for indices.
    indices: Budget,
    /// Pipes that carry files.
    pipes: Budget,
    /// Transfers under way.
    transfers: usize,
    /// Bytes of memory that they hold.
    held: usize,
    /// What is known of directories.
    seen: Vec<Seen>,
    /// Memory for the next file that is read at once.
    spare: Vec<u8>,
    /// Empty pipes.
    spare_pipes: Vec<Pipe>,
    /// Descriptors that the process may have open.
    limit: usize,
    /// Connections there are.
    connections: usize,
}

/// What is known of a directory.
#[derive(Debug)]
struct Seen {
    root: String,
    /// Files below it may be had at once.
    quick: Option<Quick>,
    until: u64,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            helper: None,
            shared: SHARED,
            most: MAX_TRANSFERS,
            indices: Budget::new(begin::INDICES),
            pipes: Budget::new(MAX_PIPES),
            transfers: 0,
            held: 0,
            seen: Vec::new(),
            spare: Vec::new(),
            spare_pipes: Vec::new(),
            limit: 0,
            connections: 0,
        }
    }
}

impl Store {
    /// Starts the helper thread on a disk. `limit`: descriptors that the process may have open.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(&mut self, waker: Waker, limit: u64, mut disk: impl Disk + 'static) -> std::io::Result<()> {
        self.limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let budget = self.indices.clone();
        let work = move |question, closer: &_| work::work(&mut disk, &budget, closer, question);
        self.helper = Some(Helper::start("disk", waker, work)?);
        Ok(())
    }

    /// Keeps to bounds.
    pub fn keep_to(&mut self, bounds: Bounds) {
        self.shared = bounds.cache(SHARED);
        self.most = (bounds.part(MAX_TRANSFERS * LEAST, 16) / LEAST).max(1);
        self.indices.set_limit(bounds.guest(begin::INDICES));
        self.spare = Vec::new();
    }

    /// Says how many connections there are.
    pub fn count(&mut self, connections: usize) {
        self.connections = connections;
    }

    /// Whether one more file may be open. The last descriptors are for connections: nobody is to miss a live stream
    /// because of those who fetch files.
    fn has_room(&self) -> bool {
        self.transfers < self.most && self.taken() < self.limit
    }

    /// Descriptors in use or to be left alone; a pipe has two.
    fn taken(&self) -> usize {
        let pipes = self.pipes.held().saturating_add(self.spare_pipes.len());
        let files = self.transfers.saturating_add(pipes.saturating_mul(2));
        self.connections.saturating_add(files).saturating_add(self.limit / SPARE)
    }

    /// The right to a pipe.
    fn pipe(&mut self) -> Option<Right> {
        let share = (self.taken().saturating_add(2) < self.limit).then(|| self.pipes.share(1)).flatten()?;
        Some(Right { share, pipe: self.spare_pipes.pop().map(Box::new) })
    }

    fn keep_pipe(&mut self, pipe: Pipe) {
        if pipe.filled() == 0 && self.spare_pipes.len() < SPARE_PIPES {
            self.spare_pipes.push(pipe);
        }
    }

    /// Whether it has to be seen if files of this directory may be had at once; what was known for too long is forgotten.
    fn is_unseen(&mut self, root: &str, now: u64) -> bool {
        self.seen.retain(|seen| seen.until > now);
        self.seen.iter().all(|seen| seen.root != root)
    }

    /// The file at `place`, if it can be opened at once; with all of its bytes, if they are `wanted`, few and there.
    fn at_once(&mut self, place: &Place, wanted: bool, now: u64) -> Option<Opened> {
        let closer = self.helper.as_ref()?.closer();
        let known = self.seen.iter().find(|seen| seen.until > now && seen.root == place.root)?;
        let quick = known.quick.as_ref()?;
        let name = work::name_of(&place.path);
        let (file, stat) = quick.open(Path::new(&name))?;
        let few = usize::try_from(stat.size).ok().filter(|size| *size <= AT_ONCE);
        let mut whole = None;
        if let Some(size) = few.filter(|_| wanted && self.held.saturating_add(AT_ONCE) <= self.shared) {
            let mut memory = std::mem::take(&mut self.spare);
            memory.resize(AT_ONCE, 0);
            if quick.read(&file, memory.get_mut(..size).unwrap_or_default()) {
                self.held = self.held.saturating_add(memory.len());
                whole = Some(memory);
            } else {
                self.spare = memory;
            }
        }
        // Of a file that was deleted meanwhile, the thread frees the blocks.
        let keeps = whole.is_none() || !Quick::is_named(&file);
        let file = keeps.then(|| closer.lend(file));
        Some(Opened { file, whole, ..Opened::new(stat, &name) })
    }

    /// Takes back memory, of which `held` bytes are counted.
    fn keep(&mut self, memory: Vec<u8>, held: usize) {
        self.release(held);
        if self.spare.is_empty() && memory.len() == AT_ONCE {
            self.spare = memory;
        }
    }

    fn ask(&mut self, id: Id, task: Task) -> bool {
        self.helper.as_ref().is_some_and(|helper| helper.ask(Question { id, task }).is_ok())
    }

    /// Memory for the next piece of a transfer which has `memory` now and `left` bytes to send.
    fn memory(&mut self, mut memory: Vec<u8>, left: u64) -> Vec<u8> {
        self.held = self.held.saturating_sub(memory.len());
        let share = self.shared.saturating_sub(self.held) / SHARE;
        let wanted = share.clamp(LEAST, MOST).min(usize::try_from(left).unwrap_or(MOST));
        // Not for every small change of the share.
        if memory.len() < wanted || memory.len() / 2 > wanted {
            memory = vec![0; wanted];
        }
        self.held = self.held.saturating_add(memory.len());
        memory
    }

    /// Bytes of memory that all transfers hold.
    pub fn heap(&self) -> usize {
        self.held.saturating_add(self.spare.capacity()).saturating_add(self.indices.held())
    }

    fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }
}

/// Whether a configuration serves any file.
pub fn wanted(config: &Config) -> bool {
    config.http_server.dir.is_some() || config.vhosts.iter().any(|vhost| vhost.http_static.enabled)
}

/// A file as a request names it: a directory of the configuration, and the way from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    root: String,
    path: FilePath,
    send_timeout_ms: u64,
    send_buffer: u32,
}

/// The place of a request; `None` when no directory is served there.
pub fn place(config: &Config, request: &Request) -> Option<Result<Place, PathError>> {
    let asked = names::from_http(request.host.as_deref(), ("-", "-"), &request.query).ok()?;
    let vhost = config.vhost(asked.name.vhost())?;
    if !vhost.http_static.enabled && config.http_server.dir.is_none() {
        return None;
    }
    let path = match path::parse(&request.path) {
        Ok(path) => path,
        Err(error) => return Some(Err(error)),
    };
    let Play { send_timeout_ms, send_buffer, .. } = vhost.play;
    let place = |root: &String, path| Place { root: root.clone(), path, send_timeout_ms, send_buffer };
    let own = below_mount(vhost, &path).map(|path| place(&vhost.http_static.dir, path));
    let common = || config.http_server.dir.as_ref().map(|root| place(root, path));
    own.or_else(common).map(Ok)
}

fn below_mount(vhost: &Vhost, path: &FilePath) -> Option<FilePath> {
    let statics = Some(&vhost.http_static).filter(|statics| statics.enabled)?;
    let (_host, prefix) = statics.mount.split_once('/')?;
    path.below(prefix.trim_matches('/'))
}

/// A file on its way to a client.
#[derive(Debug)]
pub struct Transfer {
    stage: Stage,
    /// When the helper thread was asked last, or gave its answer.
    since: u64,
    /// The connection lives on afterwards.
    keep_alive: bool,
    /// Milliseconds that the client may take no data.
    send_timeout_ms: u64,
    /// For the log.
    name: String,
}

#[derive(Debug)]
enum Stage {
    /// The helper thread opens it.
    Opening(Box<Asking>),
    /// The head is written.
    Body(Body),
}

/// A request for a file.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    request: &'a Request,
    cors: Cors,
    send_timeout_ms: u64,
}

/// The same, while it waits.
#[derive(Debug)]
struct Asking {
    request: Request,
    cors: Cors,
    send_timeout_ms: u64,
}

/// What is left to read.
#[derive(Debug)]
struct Body {
    /// Here while there is something left to read, and it is not being read.
    file: Option<Lent>,
    at: u64,
    left: u64,
    /// The helper thread reads, and has the memory; else the connection's output has it.
    reading: bool,
    /// Bytes of that memory.
    held: usize,
    /// In place of it the connection's output has an index, which takes this share.
    share: Option<Share>,
    way: Way,
}

/// How bytes get from the file to the socket.
#[derive(Debug)]
enum Way {
    /// To be seen.
    Open,
    /// By a pipe of the few that there are.
    Pipe { _right: Share },
    /// By pieces in memory.
    Memory,
}

impl Body {
    /// What is left of a file from offset `at`.
    fn of(file: Option<Lent>, at: u64, left: u64) -> Body {
        Body { file, at, left, reading: false, held: 0, share: None, way: Way::Open }
    }

    /// So much of it is on its way.
    fn moved(&mut self, n: usize) {
        self.at = self.at.saturating_add(n as u64);
        self.left = self.left.saturating_sub(n as u64);
    }
}

impl Transfer {
    /// When it runs out of time, and why. `blocked_since`: the client takes nothing since then.
    pub fn deadline(&self, blocked_since: Option<u64>, patience: u64) -> (u64, &'static str) {
        match &self.stage {
            Stage::Body(Body { reading: false, .. }) => {
                let since = blocked_since.unwrap_or(self.since);
                (since.saturating_add(self.send_timeout_ms), "it took no data for too long (send_timeout)")
            }
            _ => (self.since.saturating_add(patience), "the disk did not answer in time (handshake_timeout)"),
        }
    }

    /// The client sends no more requests.
    pub fn is_the_last(&mut self) {
        self.keep_alive = false;
    }

    /// Whether an answer can still be given in place of the file.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.stage, Stage::Opening(_))
    }

    /// Gives back what it holds. Memory that the helper thread has comes back with its answer.
    pub fn drop_it(&self, world: &mut World) {
        world.files.transfers = world.files.transfers.saturating_sub(1);
        if let Stage::Body(Body { reading: false, held, .. }) = &self.stage {
            world.files.release(*held);
        }
    }
}

/// Begins to answer a request with the file at `place`.
pub fn open(conn: &mut Conn, world: &mut World, request: &Request, cors: Cors, place: Place) {
    let with_range = begin::range(request, &place.path).map(|range| {
        let mut request = request.clone();
        request.conditions.or_range(range);
        request
    });
    let request = with_range.as_ref().unwrap_or(request);
    let Place { send_timeout_ms, send_buffer, .. } = place;
    let start = begin::asked(request, &place.path);
    let options = Options { nodelay: true, room: Room::Buffer(send_buffer) };
    if start.is_none() && world.files.has_room() {
        let wanted = request.method == Method::Get;
        if let Some(opened) = world.files.at_once(&place, wanted, world.now) {
            conn.socket.configure(options);
            return answer(conn, world, Asked { request, cors, send_timeout_ms }, opened);
        }
    }
    let first = request.method == Method::Get && !request.conditions.names_a_part();
    let right = if first && start.is_none() { world.files.pipe() } else { None };
    let look = world.files.is_unseen(&place.root, world.now);
    let task = Task::Open { root: place.root, path: place.path, begin: start, first, right, look };
    if !world.files.has_room() || !world.files.ask(conn.id, task) {
        let why = "too many files are being read";
        world.complain("http", conn, &why);
        return http::refuse(conn, world, request, cors, 503, why);
    }
    conn.socket.configure(options);
    let (keep_alive, name) = (request.keep_alive, printable(&request.path, QUOTED));
    let stage = Stage::Opening(Box::new(Asking { request: request.clone(), cors, send_timeout_ms }));
    let transfer = Transfer { stage, since: world.now, keep_alive, send_timeout_ms, name };
    begin(conn, world, transfer);
}

fn begin(conn: &mut Conn, world: &mut World, transfer: Transfer) {
    if let Role::Http(peer) = &mut conn.role {
        world.files.transfers += 1;
        world.timers.set(Timer::Connection(conn.id), world.now.saturating_add(transfer.send_timeout_ms));
        peer.begin(transfer);
    }
}

fn end(conn: &mut Conn, world: &mut World) -> Option<Transfer> {
    let Role::Http(peer) = &mut conn.role else { return None };
    let transfer = peer.end(world.now)?;
    transfer.drop_it(world);
    Some(transfer)
}

/// The helper thread's next answer, and for whom it is.
pub fn next_answer(world: &mut World) -> Option<(Id, Outcome)> {
    let Answer { id, outcome, seen } = world.files.helper.as_ref()?.answer()?;
    if let Some((root, quick)) = seen.filter(|(root, _)| world.files.is_unseen(root, world.now)) {
        let until = world.now.saturating_add(LOOK_MS);
        world.files.seen.push(Seen { root, quick, until });
        world.timers.set(Timer::Files, until);
    }
    Some((id, outcome))
}

/// Lets go of what nobody has used of late: directories, pipes and memory.
pub fn forget(world: &mut World) {
    world.files.is_unseen("", world.now);
    world.files.spare_pipes = Vec::new();
    world.files.spare = Vec::new();
}

/// An answer for a connection that is gone.
pub fn orphaned(world: &mut World, outcome: &Outcome) {
    if let Outcome::Read { memory, .. } = outcome {
        world.files.release(memory.len());
    }
}

/// Goes on with a transfer that the helper thread has answered.
pub fn answered(conn: &mut Conn, world: &mut World, outcome: Outcome) {
    let Role::Http(peer) = &mut conn.role else { return orphaned(world, &outcome) };
    let Some(transfer) = peer.transfer_mut() else { return orphaned(world, &outcome) };
    transfer.since = world.now;
    match (&mut transfer.stage, outcome) {
        (Stage::Body(body), Outcome::Read { memory, filled, file }) => {
            (body.reading, body.file) = (false, file);
            match filled {
                Ok(n @ 1..) => {
                    body.moved(n);
                    conn.out.put_piece(memory, 0, n);
                }
                Ok(0) => cut_off(conn, world, SHRUNK),
                Err(error) => cut_off(conn, world, &format!("the disk failed: {error}")),
            }
        }
        (Stage::Body(body), Outcome::Filled { filled, file }) => {
            (body.reading, body.file) = (false, file);
            match filled {
                Ok((pipe, n @ 1..)) => {
                    body.moved(n);
                    conn.out.put_pipe(pipe);
                }
                Ok((_, 0)) => cut_off(conn, world, SHRUNK),
                // Not every file system can: what is wrong with the disk, if it is that, reading will tell.
                Err(_) => {
                    body.way = Way::Memory;
                    advance(conn, world);
                }
            }
        }
        (Stage::Opening(_), Outcome::Seeking(seeking)) => {
            if !world.files.ask(conn.id, Task::Seek(seeking)) {
                cut_off(conn, world, "too many files are being read");
            }
        }
        (Stage::Opening(_), outcome) => {
            let Some(Transfer { stage: Stage::Opening(mut asking), keep_alive, .. }) = end(conn, world)
            else {
                return;
            };
            asking.request.keep_alive = keep_alive;
            let Asking { request, cors, send_timeout_ms } = &*asking;
            let asked = Asked { request, cors: *cors, send_timeout_ms: *send_timeout_ms };
            opened(conn, world, asked, outcome);
        }
        (Stage::Body(_), outcome) => orphaned(world, &outcome),
    }
    world.mark(conn);
}

/// The body cannot be had any further: only the end of the connection can tell the client.
fn cut_off(conn: &mut Conn, world: &mut World, why: &str) {
    let name = match &mut conn.role {
        Role::Http(peer) => peer.transfer_mut().map(|transfer| transfer.name.clone()).unwrap_or_default(),
        _ => String::new(),
    };
    world.complain("http", conn, &format!("{name} is cut off: {why}"));
    world.close(conn, why);
}

/// Answers a request whose file was looked for.
fn opened(conn: &mut Conn, world: &mut World, asked: Asked<'_>, outcome: Outcome) {
    let Asked { request, cors, .. } = asked;
    let trouble = match outcome {
        Outcome::Opened(opened) => return answer(conn, world, asked, *opened),
        Outcome::IsDirectory => return redirect(conn, world, asked),
        Outcome::Refused(status, why) => return http::refuse(conn, world, request, cors, status, &why),
        Outcome::Failed(trouble) => trouble,
        Outcome::Seeking(_) | Outcome::Read { .. } | Outcome::Filled { .. } => Trouble::Absent,
    };
    match trouble {
        Trouble::Absent => http::no_file(conn, world, request, cors),
        Trouble::Forbidden => http::refuse(conn, world, request, cors, 403, "this file is not for everybody"),
        Trouble::Exhausted => {
            world.complain(
                "http",
                conn,
                &"no descriptor is left to open a file: raise the limit (ulimit -n)",
            );
            http::refuse(conn, world, request, cors, 503, "too many files are open");
        }
        Trouble::Broken(why) => {
            let name = printable(&request.path, QUOTED);
            world.complain("http", conn, &format!("cannot read {name}: {why}"));
            http::refuse(conn, world, request, cors, 500, "the disk failed");
        }
    }
}

/// A directory is asked for without its slash: relative links in its page would miss it.
fn redirect(conn: &mut Conn, world: &mut World, asked: Asked<'_>) {
    let request = asked.request;
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    // With two slashes in front it would name another host.
    let extra =
        format!("Location: /{}/{query}\r\nCache-Control: no-cache\r\n", request.path.trim_start_matches('/'));
    write_head(conn, asked, 301, "", Length::Known(0), &extra);
    finished(conn, world, &request.path, request.keep_alive);
}

/// Answers with a file that is there.
fn answer(conn: &mut Conn, world: &mut World, asked: Asked<'_>, mut opened: Opened) {
    let mut whole = opened.whole.take();
    begin_answer(conn, world, asked, opened, &mut whole);
    // The answer has no body.
    if let Some(memory) = whole {
        let held = memory.len();
        world.files.keep(memory, held);
    }
}

/// Writes the head for a file that is there, and begins with its body. Takes what is in `whole` if it is that.
fn begin_answer(
    conn: &mut Conn,
    world: &mut World,
    asked: Asked<'_>,
    opened: Opened,
    whole: &mut Option<Vec<u8>>,
) {
    let Asked { request, cors, .. } = asked;
    let Opened { stat, media_type, prefix, from, until, .. } = &opened;
    let size = until.saturating_sub(*from).saturating_add(prefix.len() as u64);
    let etag = conditional::etag(size, stat.modified, stat.nanos);
    let modified = conditional::date(stat.modified);
    let cache = mime::cache_control(media_type);
    let known = format!("ETag: {etag}\r\nLast-Modified: {modified}\r\nCache-Control: {cache}\r\n");
    let (status, part) = match request.conditions.verdict(&Validators { etag, modified: stat.modified }, size)
    {
        Verdict::NotModified => {
            write_head(conn, asked, 304, "", Length::ToClose, &known);
            return finished(conn, world, &request.path, request.keep_alive);
        }
        Verdict::Failed => return http::refuse(conn, world, request, cors, 412, "the file has changed"),
        Verdict::NoSuchRange => {
            let extra = format!("Content-Range: bytes */{size}\r\nCache-Control: no-store\r\n");
            let line = format!("the file has {size} bytes\n");
            let length = Length::Known(line.len() as u64);
            write_head(conn, asked, 416, "text/plain; charset=utf-8", length, &extra);
            if request.method != Method::Head {
                conn.out.buffer().extend_from_slice(line.as_bytes());
            }
            return finished(conn, world, &request.path, request.keep_alive);
        }
        Verdict::Whole => (200, None),
        Verdict::Part(part) => (206, Some(part)),
    };
    let mut extra = format!("Accept-Ranges: bytes\r\n{known}");
    if let Some(Part { first, last }) = part {
        extra.push_str(&format!("Content-Range: bytes {first}-{last}/{size}\r\n"));
    }
    let (skip, length) = part.map_or((0, size), |part| (part.first, part.len()));
    write_head(conn, asked, status, media_type, Length::Known(length), &extra);
    if request.method == Method::Head || length == 0 {
        return finished(conn, world, &request.path, request.keep_alive);
    }
    if let Some(memory) = whole.take() {
        let held = memory.len();
        let first = usize::try_from(skip).unwrap_or(held);
        conn.out.put_piece(memory, first, first.saturating_add(usize::try_from(length).unwrap_or(held)));
        // A file that has been deleted goes where it came from.
        drop(opened);
        return send(conn, world, asked, Body { held, ..Body::of(None, 0, 0) });
    }
    // The body is the prefix, then the file: a range may begin and end in either.
    let begin = usize::try_from(skip).unwrap_or(usize::MAX).min(prefix.len());
    let end = begin.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(prefix.len());
    let left = length.saturating_sub(end.saturating_sub(begin) as u64);
    let at = from.saturating_add(skip.saturating_sub(prefix.len() as u64));
    let Opened { file, prefix, share, piped, .. } = opened;
    if let Some((pipe, right)) = piped {
        // It was filled from the start, and the whole file is sent.
        let filled = pipe.filled() as u64;
        conn.out.put_pipe(pipe);
        let way = Way::Pipe { _right: right };
        let rest = Body::of(file, filled, length.saturating_sub(filled));
        return send(conn, world, asked, Body { way, ..rest });
    }
    // An index is not copied.
    let share = share.filter(|_| begin < end);
    if share.is_some() {
        conn.out.put_piece(prefix, begin, end);
    } else {
        conn.out.buffer().extend_from_slice(prefix.get(begin..end).unwrap_or_default());
    }
    send(conn, world, asked, Body { share, ..Body::of(file, at, left) });
}

fn send(conn: &mut Conn, world: &mut World, asked: Asked<'_>, body: Body) {
    let transfer = Transfer {
        stage: Stage::Body(body),
        since: world.now,
        keep_alive: asked.request.keep_alive,
        send_timeout_ms: asked.send_timeout_ms,
        name: printable(&asked.request.path, QUOTED),
    };
    let head_only = conn.out.has_no_piece();
    begin(conn, world, transfer);
    // The head goes out together with the first piece.
    if head_only {
        advance(conn, world);
    }
}

fn write_head(
    conn: &mut Conn,
    asked: Asked<'_>,
    status: u16,
    content_type: &str,
    length: Length,
    extra: &str,
) {
    let (keep_alive, cors) = (asked.request.keep_alive, asked.cors);
    Head { status, content_type, length, keep_alive, cors, extra }.write(conn.out.buffer());
}

/// All that waited was written: asks for the next piece, or is done.
pub fn advance(conn: &mut Conn, world: &mut World) {
    let Role::Http(peer) = &mut conn.role else { return };
    let Some(transfer) = peer.transfer_mut() else { return };
    let Stage::Body(body) = &mut transfer.stage else { return };
    if body.reading {
        return;
    }
    let (memory, pipe) = (conn.out.take_piece(), conn.out.take_pipe());
    if body.left == 0 {
        world.files.keep(memory, std::mem::take(&mut body.held));
        if let Some(pipe) = pipe {
            world.files.keep_pipe(*pipe);
            world.timers.set(Timer::Files, world.now.saturating_add(LOOK_MS));
        }
        if let Some(transfer) = end(conn, world) {
            finished(conn, world, &transfer.name, transfer.keep_alive);
        }
        return;
    }
    let memory = if body.share.take().is_some() { Vec::new() } else { memory };
    let mut pipe = pipe;
    if let Way::Open = body.way {
        let right = if body.left >= work::PIPE_FROM { world.files.pipe() } else { None };
        body.way = match right {
            None => Way::Memory,
            Some(Right { share, pipe: spare }) => {
                pipe = spare;
                Way::Pipe { _right: share }
            }
        };
    }
    body.reading = true;
    transfer.since = world.now;
    let (at, left) = (body.at, body.left);
    let Some(file) = body.file.take() else { return cut_off(conn, world, SHRUNK) };
    let task = match body.way {
        Way::Pipe { .. } => Task::Fill { file, at, pipe, left },
        _ => {
            let memory = world.files.memory(memory, left);
            body.held = memory.len();
            Task::Read { file, at, memory, left }
        }
    };
    conn.out.expect_more();
    if !world.files.ask(conn.id, task) {
        world.files.release(body.held);
        cut_off(conn, world, "too many files are being read");
    }
}

/// The request is answered.
fn finished(conn: &mut Conn, world: &mut World, name: &str, keep_alive: bool) {
    log::debug!(target: "http", "{} {}: {} is answered", conn.tag(), conn.peer, printable(name, QUOTED));
    if !keep_alive {
        conn.finish(world, "answered");
    }
    if !conn.out.is_empty() {
        world.mark(conn);
    }
}

#[cfg(test)]
mod tests;
