//! Chunks to messages.   Spec: Adobe RTMP 1.0, section 5.3.1 (format) and 5.4.1, 5.4.2 (chunk size, abort).
//!
//! In: any split of the bytes after the handshake.  Out: complete messages, in the order they end.
//!
//! ```text
//!          basic + message header            chunk ends
//!   Head ------------------------> Body ------------------> Head
//!     |  format 3, extended time    ^  four bytes equal the last extended time: drop them
//!     +---------------------> Peek -+  else: they are payload
//! ```
//!
//! Invariants: at most `max_csids` chunk streams and one unfinished message each; none is longer than
//! `max_message`, all together hold at most `max_message` + [`HELD_SLACK`] bytes of memory. Memory for a
//! message above [`EAGER`] bytes grows with the bytes received, not with the length it announces. Between
//! messages a chunk stream keeps only the fields of its last header. An error is final.
//!
//! Deviations and open points of the specification:
//! - Format 1 may open a chunk stream (librtmp's ping does): what it omits is 0.
//! - Format 3 that starts a message adds the last difference; after format 0 that is its timestamp.
//! - Format 0 within a message drops what came of it and starts again. Formats 1 and 2 within a message
//!   continue it if they announce the same message; their time is not added once more.
//! - Format 3 after an extended timestamp should repeat it. ffmpeg does, librtmp and older OBS do not. The next
//!   four bytes are compared with the value: equal means repeated. The first comparison that fails, if none
//!   succeeded before, proves that the peer never repeats it, and no comparison is made again, so payload that
//!   happens to be equal is safe from then on. While the peer is taken to repeat it, each chunk is compared: one
//!   that differs is payload and is counted. What remains is a peer that does not repeat it and whose very
//!   first such chunk begins with the value by chance.

use bytes::Bytes;

use super::{ChunkError, DEFAULT_CHUNK_SIZE, EXTENDED, MAX_CHUNK_SIZE};
use crate::proto::rtmp::message::{control_value, kind};

/// Default of [`Limits::max_message`]: 8 MiB.
pub const MAX_MESSAGE: u32 = 8 << 20;
/// Default of [`Limits::max_csids`].
pub const MAX_CSIDS: u16 = 64;
/// Memory for unfinished messages in bytes, beyond that of one message of the greatest length.
pub const HELD_SLACK: usize = 1 << 20;
/// Messages up to this many bytes get their memory at once.
pub const EAGER: usize = 64 << 10;
/// Longest head without an extended timestamp that a format 3 chunk repeats.
const HEAD_MAX: usize = 18;

/// What one peer may make a [`ChunkReader`] hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes.
    pub max_message: u32,
    /// Most chunk streams.
    pub max_csids: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_message: MAX_MESSAGE, max_csids: MAX_CSIDS }
    }
}

/// A complete message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Chunk stream id, 2 to 65599.
    pub csid: u32,
    /// Message type id, see [`kind`].
    pub kind: u8,
    /// Message stream id.
    pub msid: u32,
    /// Absolute time in milliseconds as the chunk stream has it, modulo 2^32.
    pub timestamp: u32,
    /// The payload, of 0 to [`Limits::max_message`] bytes.
    pub payload: Bytes,
}

/// What was unusual about a peer's chunks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Unfinished messages dropped, by an Abort or because a new one began.
    pub discarded: u32,
    /// Headers of formats 1 and 2 that came within a message and only repeated it.
    pub repeated_heads: u32,
    /// Whether the peer repeats the extended timestamp on format 3 chunks, once that is known.
    pub repeats_extended: Option<bool>,
    /// Format 3 chunks without the extended timestamp from a peer that repeats it elsewhere.
    pub extended_missing: u32,
}

/// Turns the bytes of one direction of one connection into messages.
#[derive(Debug)]
pub struct ChunkReader {
    limits: Limits,
    chunk_size: u32,
    streams: Vec<Stream>,
    /// Capacity of all unfinished messages.
    held: usize,
    state: State,
    replay: Replay,
    quirks: Quirks,
}

#[derive(Debug)]
enum State {
    /// Inside of a basic or message header: what came of it.
    Head {
        bytes: [u8; HEAD_MAX],
        len: u8,
    },
    /// After a format 3 header: so many bytes were equal to the extended timestamp.
    Peek {
        at: u16,
        equal: u8,
    },
    /// Inside of a chunk's payload.
    Body {
        at: u16,
        left: u32,
    },
    Failed(ChunkError),
}

const NEW_HEAD: State = State::Head { bytes: [0; HEAD_MAX], len: 0 };

/// Bytes to read once more before the input: they looked like an extended timestamp, of which at most three
/// bytes can be equal without the fourth, and lie beyond the end of their chunk.
#[derive(Debug, Default)]
struct Replay {
    bytes: [u8; 3],
    len: u8,
}

/// A chunk stream: the fields of its last header, and the message that is not complete.
#[derive(Debug, Default)]
struct Stream {
    csid: u32,
    msid: u32,
    length: u32,
    timestamp: u32,
    delta: u32,
    /// The extended timestamp of the last header of format 0 to 2, if it had one.
    extended: Option<u32>,
    kind: u8,
    /// A message has begun and not ended.
    open: bool,
    /// What came of it.
    #[expect(
        clippy::box_collection,
        reason = "few chunk streams have one, and every viewer has some that never will"
    )]
    partial: Option<Box<Vec<u8>>>,
}

impl Stream {
    fn missing(&self) -> usize {
        (self.length as usize).saturating_sub(self.partial().len())
    }

    fn partial(&self) -> &[u8] {
        self.partial.as_ref().map_or(&[], |partial| partial)
    }

    /// Memory taken by what came of the message, in bytes.
    fn held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.capacity())
    }
}

impl ChunkReader {
    /// A reader at the first byte after the handshake, with a chunk size of [`DEFAULT_CHUNK_SIZE`].
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            chunk_size: DEFAULT_CHUNK_SIZE,
            streams: Vec::new(),
            held: 0,
            state: NEW_HEAD,
            replay: Replay::default(),
            quirks: Quirks::default(),
        }
    }

    /// The chunk size the peer has set, in bytes.
    #[must_use]
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// What was unusual so far.
    #[must_use]
    pub fn quirks(&self) -> Quirks {
        self.quirks
    }

    /// Memory taken by unfinished messages, in bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Gives back memory that is kept ahead for further chunk streams.
    pub fn shrink(&mut self) {
        self.streams.shrink_to_fit();
    }

    /// Memory taken on the heap, in bytes: what is held, and the headers of all chunk streams.
    #[must_use]
    pub fn heap(&self) -> usize {
        let partials = self.streams.iter().map(Stream::held);
        let headers = self.streams.capacity().saturating_mul(size_of::<Stream>());
        partials.fold(headers, usize::saturating_add)
    }

    /// Takes bytes from `input` up to the end of the next message, which it returns; `None` once all input is
    /// taken and no message is complete. Set Chunk Size and Abort take effect here and are returned too.
    ///
    /// # Errors
    /// The bytes are no chunk stream, or pass a limit. Later calls give the same error.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        let result = self.advance(input);
        if let Err(error) = result {
            self.state = State::Failed(error);
            self.streams = Vec::new();
            self.held = 0;
        }
        result
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        loop {
            let replay = core::mem::take(&mut self.replay);
            let mut again = replay.bytes.get(..usize::from(replay.len)).unwrap_or_default();
            if again.is_empty() {
                if input.is_empty() {
                    return Ok(None);
                }
                if let Some(message) = self.step(input)? {
                    return Ok(Some(message));
                }
                continue;
            }
            let message = self.step(&mut again)?;
            self.replay.push(again);
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Goes one state further with a part of `input`, which is not empty.
    fn step(&mut self, input: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        match &mut self.state {
            State::Failed(error) => Err(*error),
            State::Head { bytes, len } => {
                if !collect_head(bytes, len, input) {
                    return Ok(None);
                }
                let head = Head::parse(bytes).ok_or(ChunkError::Internal)?;
                self.begin_chunk(&head)
            }
            State::Peek { at, equal } => {
                let (at, equal) = (*at, *equal);
                self.peek(at, equal, input)
            }
            State::Body { at, left } => {
                let (at, left) = (*at, *left);
                let count = (left as usize).min(input.len());
                let (now, later) = input.split_at_checked(count).ok_or(ChunkError::Internal)?;
                *input = later;
                self.body(at, left, now)
            }
        }
    }

    /// A header is whole: applies it to its chunk stream.
    fn begin_chunk(&mut self, head: &Head) -> Result<Option<Message>, ChunkError> {
        let at = self.find(head)?;
        let (max, known_absent) = (self.limits.max_message, self.quirks.repeats_extended == Some(false));
        let stream = self.streams.get_mut(usize::from(at)).ok_or(ChunkError::Internal)?;
        if stream.open && head.format == 0 {
            self.held = self.held.saturating_sub(stream.held());
            stream.partial = None;
            stream.open = false;
            self.quirks.discarded = self.quirks.discarded.saturating_add(1);
        }
        if stream.open && head.format < 3 {
            self.quirks.repeated_heads = self.quirks.repeated_heads.saturating_add(1);
        }
        stream.apply(head, max)?;
        if head.format == 3 && stream.extended.is_some() && !known_absent {
            self.state = State::Peek { at, equal: 0 };
            return Ok(None);
        }
        self.begin_body(at)
    }

    /// The chunk stream of a header, made if it is new and the header can open one.
    fn find(&mut self, head: &Head) -> Result<u16, ChunkError> {
        if let Some(at) = self.streams.iter().position(|stream| stream.csid == head.csid) {
            return u16::try_from(at).map_err(|_| ChunkError::Internal);
        }
        if head.format > 1 {
            return Err(ChunkError::NoHeader { csid: head.csid, format: head.format });
        }
        let at = u16::try_from(self.streams.len()).map_err(|_| ChunkError::Internal)?;
        if at >= self.limits.max_csids {
            return Err(ChunkError::TooManyStreams { csid: head.csid, max: self.limits.max_csids });
        }
        self.streams.reserve_exact(1);
        self.streams.push(Stream { csid: head.csid, ..Stream::default() });
        Ok(at)
    }

    /// Compares what follows a format 3 header with the extended timestamp it may repeat.
    fn peek(&mut self, at: u16, mut equal: u8, input: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        let stream = self.streams.get(usize::from(at)).ok_or(ChunkError::Internal)?;
        let value = stream.extended.ok_or(ChunkError::Internal)?.to_be_bytes();
        while let Some(want) = value.get(usize::from(equal)) {
            match input.split_first() {
                None => {
                    self.state = State::Peek { at, equal };
                    return Ok(None);
                }
                Some((byte, rest)) if byte == want => {
                    *input = rest;
                    equal = equal.saturating_add(1);
                }
                Some(_) => return self.not_repeated(at, value.get(..usize::from(equal)).unwrap_or_default()),
            }
        }
        self.quirks.repeats_extended = Some(true);
        self.begin_body(at)
    }

    /// The bytes after a format 3 header are payload: those that were `equal` to the timestamp come first.
    fn not_repeated(&mut self, at: u16, equal: &[u8]) -> Result<Option<Message>, ChunkError> {
        if self.quirks.repeats_extended == Some(true) {
            self.quirks.extended_missing = self.quirks.extended_missing.saturating_add(1);
        } else {
            self.quirks.repeats_extended = Some(false);
        }
        if let Some(message) = self.begin_body(at)? {
            self.replay.push(equal);
            return Ok(Some(message));
        }
        let left = match self.state {
            State::Body { left, .. } => left,
            _ => return Err(ChunkError::Internal),
        };
        let (payload, other) = equal.split_at_checked(left as usize).unwrap_or((equal, &[]));
        self.replay.push(other);
        self.body(at, left, payload)
    }

    /// The head of a chunk is over. An empty message is complete here.
    fn begin_body(&mut self, at: u16) -> Result<Option<Message>, ChunkError> {
        let stream = self.streams.get(usize::from(at)).ok_or(ChunkError::Internal)?;
        let left = u32::try_from(stream.missing()).map_err(|_| ChunkError::Internal)?.min(self.chunk_size);
        self.state = State::Body { at, left };
        if left == 0 { self.body(at, 0, &[]) } else { Ok(None) }
    }

    /// Adds payload to a message; at the end of a chunk goes on to the next head.
    fn body(&mut self, at: u16, left: u32, payload: &[u8]) -> Result<Option<Message>, ChunkError> {
        self.store(at, payload)?;
        let left = (left as usize).saturating_sub(payload.len());
        if left > 0 {
            self.state = State::Body { at, left: u32::try_from(left).map_err(|_| ChunkError::Internal)? };
            return Ok(None);
        }
        self.state = NEW_HEAD;
        let stream = self.streams.get_mut(usize::from(at)).ok_or(ChunkError::Internal)?;
        if stream.missing() > 0 {
            return Ok(None);
        }
        stream.open = false;
        let payload = stream.partial.take().map(|partial| *partial).unwrap_or_default();
        self.held = self.held.saturating_sub(payload.capacity());
        let message = Message {
            csid: stream.csid,
            kind: stream.kind,
            msid: stream.msid,
            timestamp: stream.timestamp,
            payload: payload.into(),
        };
        self.control(&message)?;
        Ok(Some(message))
    }

    fn store(&mut self, at: u16, payload: &[u8]) -> Result<(), ChunkError> {
        let stream = self.streams.get_mut(usize::from(at)).ok_or(ChunkError::Internal)?;
        let length = stream.length as usize;
        let partial = stream.partial.get_or_insert_default();
        let (have, room) = (partial.len(), partial.capacity());
        let need = have.saturating_add(payload.len());
        if need > room {
            // Twice what is there, but at the end exactly the message: nothing is left over to carry about.
            let grown = room.saturating_mul(2).max(EAGER).min(length).max(need);
            let max = (self.limits.max_message as usize).saturating_add(HELD_SLACK);
            if self.held.saturating_add(grown).saturating_sub(room) > max {
                return Err(ChunkError::TooMuchHeld { max });
            }
            partial.reserve_exact(grown.saturating_sub(have));
            self.held = self.held.saturating_sub(room).saturating_add(partial.capacity());
        }
        partial.extend_from_slice(payload);
        Ok(())
    }

    /// Applies the two control messages that concern the chunk stream itself.
    fn control(&mut self, message: &Message) -> Result<(), ChunkError> {
        if !matches!(message.kind, kind::SET_CHUNK_SIZE | kind::ABORT) {
            return Ok(());
        }
        let short = ChunkError::ShortControl { kind: message.kind };
        let value = control_value(&message.payload).ok_or(short)?;
        if message.kind == kind::ABORT {
            self.abort(value);
        } else if value == 0 || value > i32::MAX as u32 {
            return Err(ChunkError::BadChunkSize(value));
        } else {
            self.chunk_size = value.min(MAX_CHUNK_SIZE);
        }
        Ok(())
    }

    fn abort(&mut self, csid: u32) {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.csid == csid && stream.open) else {
            return;
        };
        self.held = self.held.saturating_sub(stream.held());
        stream.partial = None;
        stream.open = false;
        self.quirks.discarded = self.quirks.discarded.saturating_add(1);
    }
}

impl Replay {
    fn push(&mut self, bytes: &[u8]) {
        let free = self.bytes.get_mut(usize::from(self.len)..).unwrap_or_default();
        for (to, from) in free.iter_mut().zip(bytes) {
            *to = *from;
            self.len = self.len.saturating_add(1);
        }
    }
}

/// A chunk's header as it stands in the bytes.
#[derive(Debug, Clone, Copy)]
struct Head {
    format: u8,
    csid: u32,
    /// The time field or its extension; 0 in format 3.
    time: u32,
    extended: bool,
    length: u32,
    kind: u8,
    msid: u32,
}

/// Length of the basic header that begins with this byte.
fn basic_length(first: u8) -> usize {
    match first & 0x3F {
        0 => 2,
        1 => 3,
        _ => 1,
    }
}

/// How many bytes the header has as far as those that came tell, an extended timestamp included.
fn head_length(bytes: &[u8]) -> usize {
    let Some(first) = bytes.first() else { return 1 };
    let basic = basic_length(*first);
    let message = match first >> 6 {
        0 => 11,
        1 => 7,
        2 => 3,
        _ => return basic,
    };
    let field = bytes.get(basic..).and_then(|rest| rest.first_chunk::<3>());
    basic + message + if field == Some(&[0xFF; 3]) { 4 } else { 0 }
}

/// Moves bytes of a header from `input` to `bytes`; true when it is whole.
fn collect_head(bytes: &mut [u8; HEAD_MAX], len: &mut u8, input: &mut &[u8]) -> bool {
    loop {
        let have = usize::from(*len);
        let missing = head_length(bytes.get(..have).unwrap_or_default()).saturating_sub(have);
        if missing == 0 {
            return true;
        }
        let count = missing.min(input.len());
        let Some((now, later)) = input.split_at_checked(count).filter(|_| count > 0) else { return false };
        let free = bytes.get_mut(have..).unwrap_or_default();
        free.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
        *input = later;
        *len = len.saturating_add(count as u8);
    }
}

impl Head {
    /// Reads a whole header; bytes after it are ignored.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[first, low, high], _) = bytes.split_first_chunk()?;
        let csid = match first & 0x3F {
            0 => u32::from(low).saturating_add(64),
            1 => u32::from(u16::from_le_bytes([low, high])).saturating_add(64),
            direct => u32::from(direct),
        };
        let mut head =
            Self { format: first >> 6, csid, time: 0, extended: false, length: 0, kind: 0, msid: 0 };
        let mut rest = bytes.get(basic_length(first)..)?;
        if head.format < 3 {
            head.time = take_u24(&mut rest)?;
        }
        if head.format < 2 {
            head.length = take_u24(&mut rest)?;
            let (kind, after) = rest.split_first()?;
            (head.kind, rest) = (*kind, after);
        }
        if head.format < 1 {
            let (msid, after) = rest.split_first_chunk()?;
            (head.msid, rest) = (u32::from_le_bytes(*msid), after);
        }
        if head.time == EXTENDED {
            head.time = u32::from_be_bytes(*rest.first_chunk()?);
            head.extended = true;
        }
        Some(head)
    }
}

fn take_u24(bytes: &mut &[u8]) -> Option<u32> {
    let (&[a, b, c], rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes([0, a, b, c]))
}

impl Stream {
    /// Takes over a header: the fields it has, and the time if it begins a message.
    fn apply(&mut self, head: &Head, max: u32) -> Result<(), ChunkError> {
        if head.format < 2 {
            if head.length > max {
                let Head { csid, kind, length, .. } = *head;
                return Err(ChunkError::TooLong { csid, kind, length, max });
            }
            if self.open && (head.length != self.length || head.kind != self.kind) {
                return Err(ChunkError::HeadChanged { csid: head.csid, was: self.length, now: head.length });
            }
            (self.length, self.kind) = (head.length, head.kind);
        }
        if head.format == 0 {
            self.msid = head.msid;
        }
        if head.format < 3 {
            self.delta = head.time;
            self.extended = head.extended.then_some(head.time);
        }
        if !self.open {
            let base = if head.format == 0 { 0 } else { self.timestamp };
            self.timestamp = base.wrapping_add(self.delta);
            self.open = true;
        }
        Ok(())
    }
}
