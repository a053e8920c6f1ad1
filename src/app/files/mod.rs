//! Files over HTTP: `http_server { dir }` and `http_static`.
//!
//! ```text
//!   request ─► place ─► Opening ──(helper thread: open, find the keyframe)──► head ─► Sending ⇄ read (helper) ─► idle
//!                          └─ no such file: what is said of a stream that nobody publishes
//! ```
//!
//! The loop never touches a file. A transfer has one question at the helper thread or one piece in its connection's
//! output, never both, and one descriptor. What is sent is as long as the file was when it was opened; a file that
//! has shrunk meanwhile ends the connection, for the promised length cannot be kept.
//!
//! Memory for pieces: [`SHARED`] bytes between all transfers, each getting a share of what is left, and [`LEAST`]
//! bytes for each when nothing is left; beside that the head and first bytes of a file, [`work::FIRST`]. So however many
//! clients are slow, it is `SHARED` + [`MAX_TRANSFERS`] × (`LEAST` + `FIRST`), and what [`begin`] allows for indices.

mod begin;
mod work;

use super::conn::{Conn, Role};
use super::http;
use super::world::{Timer, World};
use crate::conf::{Config, Play, Vhost};
use crate::net::disk::{Disk, Helper, Trouble};
use crate::net::poll::Waker;
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
use std::fs::File;
use std::sync::Arc;
use work::{Answer, Opened, Question, Task};

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
/// This part of all descriptors is never taken by files.
const SPARE: usize = 8;
const SHRUNK: &str = "the file has become shorter while it was sent";
/// Characters of a peer's words that go into a log line.
const QUOTED: usize = 128;

/// The helper thread and what the transfers hold.
#[derive(Debug)]
pub struct Store {
    helper: Option<Helper<Question, Answer>>,
    /// Memory for indices.
    indices: Budget,
    /// Pipes that carry files.
    pipes: Budget,
    /// Transfers under way.
    transfers: usize,
    /// Bytes of memory that they hold.
    held: usize,
    /// Descriptors that the process may have open.
    limit: usize,
    /// Connections there are.
    connections: usize,
}

impl Default for Store {
    fn default() -> Store {
        let (indices, pipes) = (Budget::new(begin::INDICES), Budget::new(MAX_PIPES));
        Store { helper: None, indices, pipes, transfers: 0, held: 0, limit: 0, connections: 0 }
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
        let work = move |question| work::work(&mut disk, &budget, question);
        self.helper = Some(Helper::start("disk", waker, work)?);
        Ok(())
    }

    /// Says how many connections there are.
    pub fn count(&mut self, connections: usize) {
        self.connections = connections;
    }

    /// Whether one more file may be open. The last descriptors are for connections: nobody is to miss a live stream
    /// because of those who fetch files.
    fn has_room(&self) -> bool {
        self.transfers < MAX_TRANSFERS && self.taken() < self.limit
    }

    /// Descriptors in use or to be left alone; a pipe has two.
    fn taken(&self) -> usize {
        let files = self.transfers.saturating_add(self.pipes.held().saturating_mul(2));
        self.connections.saturating_add(files).saturating_add(self.limit / SPARE)
    }

    /// The right to a pipe.
    fn pipe(&self) -> Option<Share> {
        (self.taken().saturating_add(2) < self.limit).then(|| self.pipes.share(1)).flatten()
    }

    fn ask(&mut self, id: Id, task: Task) -> bool {
        self.helper.as_ref().is_some_and(|helper| helper.ask(Question { id, task }).is_ok())
    }

    /// Memory for the next piece of a transfer which has `memory` now and `left` bytes to send.
    fn memory(&mut self, mut memory: Vec<u8>, left: u64) -> Vec<u8> {
        self.held = self.held.saturating_sub(memory.len());
        let share = SHARED.saturating_sub(self.held) / SHARE;
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
        self.held
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
    Opening(Box<Asked>),
    /// The head is written.
    Body(Body),
}

#[derive(Debug)]
struct Asked {
    request: Request,
    cors: Cors,
    send_timeout_ms: u64,
}

/// What is left to read.
#[derive(Debug)]
struct Body {
    file: Arc<File>,
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
    let mut request = request.clone();
    if let Some(range) = begin::range(&request, &place.path) {
        request.conditions.or_range(range);
    }
    let start = begin::asked(&request, &place.path);
    let first = request.method == Method::Get && !request.conditions.names_a_part();
    let right = if first && start.is_none() { world.files.pipe() } else { None };
    let task = Task::Open { root: place.root, path: place.path, begin: start, first, right };
    if !world.files.has_room() || !world.files.ask(conn.id, task) {
        let why = "too many files are being read";
        world.complain("http", conn, &why);
        return http::refuse(conn, world, &request, cors, 503, why);
    }
    conn.socket.configure(Options { nodelay: true, room: Room::Buffer(place.send_buffer) });
    let send_timeout_ms = place.send_timeout_ms;
    let (keep_alive, name) = (request.keep_alive, printable(&request.path, QUOTED));
    let stage = Stage::Opening(Box::new(Asked { request, cors, send_timeout_ms }));
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
pub fn next_answer(world: &World) -> Option<(Id, Outcome)> {
    world.files.helper.as_ref()?.answer().map(|answer| (answer.id, answer.outcome))
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
        (Stage::Body(body), Outcome::Read { memory, filled }) => {
            body.reading = false;
            match filled {
                Ok(n @ 1..) => {
                    body.at = body.at.saturating_add(n as u64);
                    body.left = body.left.saturating_sub(n as u64);
                    conn.out.put_piece(memory, 0, n);
                }
                Ok(0) => cut_off(conn, world, SHRUNK),
                Err(error) => cut_off(conn, world, &format!("the disk failed: {error}")),
            }
        }
        (Stage::Body(body), Outcome::Filled(filled)) => {
            body.reading = false;
            match filled {
                Ok((pipe, n @ 1..)) => {
                    body.at = body.at.saturating_add(n as u64);
                    body.left = body.left.saturating_sub(n as u64);
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
            let Some(Transfer { stage: Stage::Opening(mut asked), keep_alive, .. }) = end(conn, world) else {
                return;
            };
            asked.request.keep_alive = keep_alive;
            opened(conn, world, &asked, outcome);
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
fn opened(conn: &mut Conn, world: &mut World, asked: &Asked, outcome: Outcome) {
    let Asked { request, cors, .. } = asked;
    let trouble = match outcome {
        Outcome::Opened(opened) => return answer(conn, world, asked, *opened),
        Outcome::IsDirectory => return redirect(conn, world, asked),
        Outcome::Refused(status, why) => return http::refuse(conn, world, request, *cors, status, &why),
        Outcome::Failed(trouble) => trouble,
        Outcome::Seeking(_) | Outcome::Read { .. } | Outcome::Filled(_) => Trouble::Absent,
    };
    match trouble {
        Trouble::Absent => http::no_file(conn, world, request, *cors),
        Trouble::Forbidden => {
            http::refuse(conn, world, request, *cors, 403, "this file is not for everybody")
        }
        Trouble::Exhausted => {
            world.complain(
                "http",
                conn,
                &"no descriptor is left to open a file: raise the limit (ulimit -n)",
            );
            http::refuse(conn, world, request, *cors, 503, "too many files are open");
        }
        Trouble::Broken(why) => {
            let name = printable(&request.path, QUOTED);
            world.complain("http", conn, &format!("cannot read {name}: {why}"));
            http::refuse(conn, world, request, *cors, 500, "the disk failed");
        }
    }
}

/// A directory is asked for without its slash: relative links in its page would miss it.
fn redirect(conn: &mut Conn, world: &mut World, asked: &Asked) {
    let request = &asked.request;
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    // With two slashes in front it would name another host.
    let extra =
        format!("Location: /{}/{query}\r\nCache-Control: no-cache\r\n", request.path.trim_start_matches('/'));
    write_head(conn, asked, 301, "", Length::Known(0), &extra);
    finished(conn, world, &request.path, request.keep_alive);
}

/// Writes the head for a file that is there, and begins with its body.
fn answer(conn: &mut Conn, world: &mut World, asked: &Asked, opened: Opened) {
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
        Verdict::Failed => return http::refuse(conn, world, request, *cors, 412, "the file has changed"),
        Verdict::NoSuchRange => {
            let extra = format!("Content-Range: bytes */{size}\r\n");
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
        let (at, left) = (filled, length.saturating_sub(filled));
        let way = Way::Pipe { _right: right };
        return send(conn, world, asked, Body { file, at, left, reading: false, held: 0, share: None, way });
    }
    // An index is not copied.
    let share = share.filter(|_| begin < end);
    if share.is_some() {
        conn.out.put_piece(prefix, begin, end);
    } else {
        conn.out.buffer().extend_from_slice(prefix.get(begin..end).unwrap_or_default());
    }
    send(conn, world, asked, Body { file, at, left, reading: false, held: 0, share, way: Way::Open });
}

fn send(conn: &mut Conn, world: &mut World, asked: &Asked, body: Body) {
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

fn write_head(conn: &mut Conn, asked: &Asked, status: u16, content_type: &str, length: Length, extra: &str) {
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
        if let Some(transfer) = end(conn, world) {
            finished(conn, world, &transfer.name, transfer.keep_alive);
        }
        return;
    }
    let memory = if body.share.take().is_some() { Vec::new() } else { memory };
    if let Way::Open = body.way {
        let right = if body.left >= work::PIPE_FROM { world.files.pipe() } else { None };
        body.way = right.map_or(Way::Memory, |right| Way::Pipe { _right: right });
    }
    body.reading = true;
    transfer.since = world.now;
    let (file, at) = (body.file.clone(), body.at);
    let want = usize::try_from(body.left).unwrap_or(usize::MAX);
    let task = match body.way {
        Way::Pipe { .. } => Task::Fill { file, at, pipe, want },
        _ => {
            let memory = world.files.memory(memory, body.left);
            body.held = memory.len();
            let want = want.min(memory.len());
            Task::Read { file, at, memory, want }
        }
    };
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
    world.mark(conn);
}

#[cfg(test)]
mod tests;
