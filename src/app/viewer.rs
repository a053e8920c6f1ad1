//! How a stream is written to a viewer: the one place that calls `write`.

use super::conn::Conn;
use super::fanout::Phase;
use super::hub::{Live, StreamId};
use super::shared::Shared;
use crate::media::batch::Batches;
use crate::media::cursor::Cursor;
use crate::media::derived::Kindred;
use crate::media::feed::Feed;
use crate::media::mux::{Format, Gather, SCRATCH};
use crate::net::disk::Pipe;
use crate::net::socket::{Io, Socket};
use std::io::IoSlice;

/// Bytes written to one connection in one turn; what is left is written in the next.
pub const WRITE_BUDGET: usize = 256 << 10;

/// Bytes of an answer that is written before the next connection is read from: a small file with its head.
const SHORT_ANSWER: usize = 80 << 10;

/// Viewers of a stream from which on runs are batched: below, laying out a run costs more than it saves.
const BATCH_FROM: usize = 4;

/// A connection's place in a stream.
#[derive(Debug)]
pub struct Viewer {
    /// What it watches.
    pub stream: StreamId,
    /// In which form; `None`: the stream's own.
    pub source: Option<Kindred>,
    /// Its slot in the fan-out.
    pub phase: Phase,
    /// Where it is.
    pub cursor: Cursor,
    /// How it is written to.
    pub format: Format,
    /// It asked for a pause.
    pub paused: bool,
    /// Milliseconds after which it wants to see no more.
    pub until_ms: Option<u64>,
    /// When it joined.
    pub since: u64,
    /// Bytes that the connection had sent then.
    pub sent_before: u64,
}

/// What came of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// All that is due is written.
    Done,
    /// The kernel takes no more for now.
    Blocked,
    /// There is more, in the next turn.
    Again,
    /// The viewer has all that it will get: the stream is over, or its time is.
    Over,
    /// The body that is being sent is not kept any more.
    Expired,
    /// The connection is broken.
    Broken(std::io::ErrorKind),
}

/// Bytes that wait to be sent: those of our own making (replies, heads), then a piece of a file or a body in memory.
#[derive(Debug, Default)]
pub struct Out {
    bytes: Vec<u8>,
    sent: usize,
    piece: Option<Box<Piece>>,
    pipe: Option<Box<Pipe>>,
    shared: Option<Box<Shared>>,
    /// More follows soon: the kernel may wait for it.
    more: bool,
}

/// A piece of a file; its memory is used again for the next piece.
#[derive(Debug)]
struct Piece {
    memory: Vec<u8>,
    sent: usize,
    end: usize,
}

impl Out {
    /// Where replies are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Whether all was sent.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.piece().is_empty() && self.piped() == 0 && self.shared.is_none()
    }

    /// Whether something waits that begins with bytes of our own, and all of it is short.
    pub fn is_short_answer(&self) -> bool {
        let plain = !self.bytes.is_empty() && self.pipe.is_none() && self.shared.is_none();
        plain && self.len() <= SHORT_ANSWER
    }

    /// Memory taken by bytes of our own, in bytes.
    pub fn heap(&self) -> usize {
        self.bytes.capacity()
    }

    /// Memory taken by a piece of a file, in bytes.
    pub fn piece_heap(&self) -> usize {
        self.piece.as_ref().map_or(0, |piece| piece.memory.capacity())
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent + self.piece().len() + self.piped()
    }

    /// Has the bytes of `memory` from `begin` up to `end` sent after what waits. The piece before must be sent and taken
    /// back.
    pub fn put_piece(&mut self, memory: Vec<u8>, begin: usize, end: usize) {
        debug_assert!(self.piece.is_none(), "a piece is overwritten");
        let end = end.min(memory.len());
        self.piece = Some(Box::new(Piece { memory, sent: begin, end }));
        self.more = false;
    }

    /// Has what is in a pipe sent after what waits. There must be no piece.
    pub fn put_pipe(&mut self, pipe: Box<Pipe>) {
        self.pipe = Some(pipe);
        self.more = false;
    }

    /// Says that a piece or a pipe comes soon: a head need not leave alone.
    pub fn expect_more(&mut self) {
        self.more = true;
    }

    /// The pipe, with what was not sent.
    pub fn take_pipe(&mut self) -> Option<Box<Pipe>> {
        self.pipe.take()
    }

    fn piped(&self) -> usize {
        self.pipe.as_ref().map_or(0, |pipe| pipe.filled())
    }

    /// Whether there is neither piece nor pipe, sent or not.
    pub fn has_no_piece(&self) -> bool {
        self.piece.is_none() && self.pipe.is_none()
    }

    /// Has a body in memory sent after what waits.
    pub fn put_shared(&mut self, shared: Shared) {
        self.shared = (shared.left() > 0).then(|| Box::new(shared));
    }

    /// The memory of the piece, which is no longer sent if it was not.
    pub fn take_piece(&mut self) -> Vec<u8> {
        self.piece.take().map(|piece| piece.memory).unwrap_or_default()
    }

    fn piece(&self) -> &[u8] {
        self.piece.as_ref().and_then(|piece| piece.memory.get(piece.sent..piece.end)).unwrap_or_default()
    }

    fn slices(&self) -> [IoSlice<'_>; 2] {
        [IoSlice::new(self.bytes.get(self.sent..).unwrap_or_default()), IoSlice::new(self.piece())]
    }

    /// The bytes of our own that wait behind the first `skip`.
    pub fn after(&self, skip: usize) -> &[u8] {
        self.bytes.get(self.sent.saturating_add(skip)..).unwrap_or_default()
    }

    /// Writes once; `None` when the body in memory is gone.
    fn write(&mut self, socket: &mut Socket, budget: usize) -> Option<Io> {
        if let Some(shared) = &mut self.shared {
            let (io, own) = shared.write(self.bytes.get(self.sent..).unwrap_or_default(), socket, budget)?;
            if shared.left() == 0 {
                self.shared = None;
            }
            self.advance(own);
            return Some(io);
        }
        if let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.filled() > 0) {
            let own = self.bytes.get(self.sent..).unwrap_or_default();
            if own.is_empty() {
                return Some(socket.splice(pipe, budget));
            }
            let io = socket.write_before(own);
            if let Io::Moved(n) = io {
                self.advance(n);
            }
            return Some(io);
        }
        let io = match self.slices() {
            [own, piece] if piece.is_empty() && self.more => socket.write_before(&own),
            [own, piece] if piece.is_empty() => socket.write(&[own]),
            [own, piece] if own.is_empty() => socket.write(&[piece]),
            both => socket.write(&both),
        };
        if let Io::Moved(n) = io {
            self.advance(n);
        }
        Some(io)
    }

    fn advance(&mut self, n: usize) {
        let own = n.min(self.bytes.len() - self.sent);
        self.sent += own;
        if self.sent >= self.bytes.len() {
            // Most connections are viewers, who never need it again.
            self.bytes = Vec::new();
            self.sent = 0;
        }
        if let Some(piece) = &mut self.piece {
            piece.sent += n - own;
        }
    }
}

/// Writes what is due on a connection. `live` is the stream that it watches.
pub fn flush(conn: &mut Conn, live: Option<&Live>, batches: &mut Batches) -> Flushed {
    let mut budget = WRITE_BUDGET;
    loop {
        if !conn.socket.writable {
            return Flushed::Blocked;
        }
        if budget == 0 {
            return Flushed::Again;
        }
        let (viewer, out, socket) = conn.viewer_parts();
        let mid_message = viewer.as_ref().is_some_and(|viewer| viewer.cursor.mid_message());
        let (step, io) = match (viewer, live) {
            _ if !out.is_empty() && !mid_message => {
                let Some(io) = out.write(socket, budget) else { return Flushed::Expired };
                (Step::Wrote, io)
            }
            (Some(viewer), Some(live)) => {
                let whole = out.is_empty();
                write_stream(viewer, live, batches, whole, budget, socket)
            }
            _ => return Flushed::Done,
        };
        match (step, io) {
            (Step::Nothing(flushed), _) => return flushed,
            (Step::Wrote, Io::Moved(n)) => {
                budget = budget.saturating_sub(n);
                conn.blocked_since = None;
            }
            (Step::Wrote, Io::WouldBlock) => return Flushed::Blocked,
            (Step::Wrote, Io::Closed) => return Flushed::Broken(std::io::ErrorKind::WriteZero),
            (Step::Wrote, Io::Broken(kind)) => return Flushed::Broken(kind),
        }
    }
}

enum Step {
    Wrote,
    Nothing(Flushed),
}

/// Writes messages of the stream; with `whole` false only the rest of the one in flight, so that a reply can follow.
fn write_stream(
    viewer: &mut Viewer,
    live: &Live,
    batches: &mut Batches,
    whole: bool,
    budget: usize,
    socket: &mut Socket,
) -> (Step, Io) {
    let idle = |flushed| (Step::Nothing(flushed), Io::WouldBlock);
    let Some((feed, start)) = live.feed(viewer.source) else { return idle(Flushed::Over) };
    let between = !viewer.cursor.mid_message();
    if between && viewer.paused {
        return idle(Flushed::Done);
    }
    if between
        && viewer.until_ms.is_some_and(|until| viewer.cursor.started() && viewer.cursor.played_ms() >= until)
    {
        return idle(Flushed::Over);
    }
    viewer.cursor.settle(feed, start);
    let whole = whole && !viewer.paused;
    if whole
        && live.fanout.len() >= BATCH_FROM
        && let Some(io) = write_batch(viewer, feed, batches, socket)
    {
        return (Step::Wrote, io);
    }
    let Viewer { cursor, format, .. } = viewer;
    if !cursor.is_due(feed) {
        return idle(if live.is_over(viewer.source) { Flushed::Over } else { Flushed::Done });
    }
    let budget = if whole { budget } else { cursor.left_in_message(feed, *format).min(budget) };
    let mut scratch = [0u8; SCRATCH];
    let mut gather = Gather::new(&mut scratch, budget);
    cursor.gather(feed, *format, &mut gather);
    let (slices, total) = gather.finish();
    if total == 0 {
        return idle(Flushed::Done);
    }
    let io = socket.write(slices);
    if let Io::Moved(n) = io {
        cursor.advance(feed, *format, n);
    }
    (Step::Wrote, io)
}

/// Writes a run that other viewers at this place get too; `None` when the viewer is not at such a place.
fn write_batch(viewer: &mut Viewer, feed: &Feed, batches: &mut Batches, socket: &mut Socket) -> Option<Io> {
    let (run, offset, base) = viewer.cursor.run(feed)?;
    let batch = batches.get((viewer.stream.number(), viewer.source), viewer.format, feed, run, base)?;
    let io = socket.write(&[IoSlice::new(batch.bytes(base).get(offset..)?)]);
    if let Io::Moved(n) = io {
        let (next, offset) = batch.place(offset + n);
        viewer.cursor.place(feed, next, offset);
    }
    Some(io)
}
