//! Messages to chunks.
//!
//! [`write_message`], [`message_head`] and [`continuation_head`] are pure functions that use format 0 for
//! the first chunk of every message: what they make depends on no message before, so a viewer that skips
//! messages needs no state. [`ChunkWriter`] compresses heads as encoders do and so has a state for each
//! chunk stream.
//!
//! Invariant: the extended timestamp is repeated on every format 3 chunk of its message.

use super::{DEFAULT_CHUNK_SIZE, EXTENDED, MAX_CHUNK_SIZE, MAX_CSID, MIN_CSID};

/// Longest head of a chunk: three bytes of basic header, eleven of message header, four of time.
pub const HEAD_MAX: usize = 18;
/// Longest message that the 24-bit length field can express, in bytes.
pub const MAX_LENGTH: usize = 0xFF_FFFF;
/// Chunk streams a [`ChunkWriter`] remembers; messages on further ones get full heads.
const MAX_REMEMBERED: usize = 16;

/// Makes the head of the first chunk of a message (format 0) and returns its length: 12 bytes, or 16
/// from `timestamp` 0xFFFFFF on; one or two more for a `csid` above 63.
///
/// `length` is that of the whole message. Only its lower 24 bits have a place in the head.
pub fn message_head(
    buf: &mut [u8; HEAD_MAX],
    csid: u32,
    kind: u8,
    msid: u32,
    timestamp: u32,
    length: u32,
) -> usize {
    let mut head = Head::default();
    head.basic(0, csid);
    head.message(0, timestamp, length, kind, msid);
    *buf = head.bytes;
    head.len
}

/// Makes the head of every further chunk of a message (format 3): one byte, or five when its `timestamp`
/// needs the extension. `csid` is that of the message and at most 63.
#[must_use]
pub fn continuation_head(csid: u8, timestamp: u32) -> ([u8; 5], usize) {
    let [a, b, c, d] = timestamp.to_be_bytes();
    let length = if timestamp >= EXTENDED { 5 } else { 1 };
    ([0xC0 | (csid & 0x3F), a, b, c, d], length)
}

/// Appends a whole message: a format 0 head, and a format 3 head before each further chunk.
///
/// `chunk_size` in bytes, as announced to the peer. Returns false, and writes nothing, for a message that
/// RTMP cannot express: a payload above [`MAX_LENGTH`] or a `csid` outside of 2 to 65599.
pub fn write_message(
    out: &mut Vec<u8>,
    chunk_size: u32,
    csid: u32,
    kind: u8,
    msid: u32,
    timestamp: u32,
    payload: &[u8],
) -> bool {
    let Some(length) = checked_length(csid, payload) else { return false };
    let mut head = Head::default();
    head.basic(0, csid);
    head.message(0, timestamp, length, kind, msid);
    write_chunks(out, chunk_size, csid, &head, timestamp, payload);
    true
}

fn checked_length(csid: u32, payload: &[u8]) -> Option<u32> {
    let length = u32::try_from(payload.len()).ok()?;
    (payload.len() <= MAX_LENGTH && (MIN_CSID..=MAX_CSID).contains(&csid)).then_some(length)
}

/// `time` is the field of the head: what continuations repeat when it needs the extension.
fn write_chunks(out: &mut Vec<u8>, chunk_size: u32, csid: u32, head: &Head, time: u32, payload: &[u8]) {
    let mut next = Head::default();
    next.basic(3, csid);
    if time >= EXTENDED {
        next.put(&time.to_be_bytes());
    }
    let size = chunk_size.clamp(1, MAX_CHUNK_SIZE) as usize;
    let heads = payload.len().div_ceil(size).saturating_mul(next.len);
    out.reserve(head.len.saturating_add(heads).saturating_add(payload.len()));
    out.extend_from_slice(head.as_slice());
    for (index, part) in payload.chunks(size).enumerate() {
        if index > 0 {
            out.extend_from_slice(next.as_slice());
        }
        out.extend_from_slice(part);
    }
}

/// The head of a chunk under construction.
#[derive(Default)]
struct Head {
    bytes: [u8; HEAD_MAX],
    len: usize,
}

impl Head {
    fn put(&mut self, bytes: &[u8]) {
        let free = self.bytes.get_mut(self.len..).unwrap_or_default();
        free.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.len = self.len.saturating_add(bytes.len()).min(HEAD_MAX);
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn basic(&mut self, format: u8, csid: u32) {
        let format = format << 6;
        match csid {
            0..64 => self.put(&[format | csid as u8]),
            64..320 => self.put(&[format, (csid - 64) as u8]),
            _ => {
                let [_, _, high, low] = csid.saturating_sub(64).to_be_bytes();
                self.put(&[format | 1, low, high]);
            }
        }
    }

    /// The message header of formats 0 to 2 and the extended timestamp.
    fn message(&mut self, format: u8, time: u32, length: u32, kind: u8, msid: u32) {
        let [_, t2, t1, t0] = time.min(EXTENDED).to_be_bytes();
        let [_, l2, l1, l0] = length.to_be_bytes();
        self.put(&[t2, t1, t0]);
        if format < 2 {
            self.put(&[l2, l1, l0, kind]);
        }
        if format < 1 {
            self.put(&msid.to_le_bytes());
        }
        if time >= EXTENDED {
            self.put(&time.to_be_bytes());
        }
    }
}

/// Writes messages with the shortest heads that every known server understands: what an encoder sends.
///
/// Two forms that are legal are left out because peers read them in different ways: format 3 for a new
/// message straight after format 0, and a time difference that needs the extension.
#[derive(Debug)]
pub struct ChunkWriter {
    chunk_size: u32,
    streams: Vec<Sent>,
}

/// The last message on a chunk stream.
#[derive(Debug, Clone, Copy)]
struct Sent {
    csid: u32,
    msid: u32,
    length: u32,
    timestamp: u32,
    /// The difference in force, unless the last head had format 0.
    delta: Option<u32>,
    kind: u8,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkWriter {
    /// A writer with [`DEFAULT_CHUNK_SIZE`] that has sent nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { chunk_size: DEFAULT_CHUNK_SIZE, streams: Vec::new() }
    }

    /// The chunk size in force, in bytes.
    #[must_use]
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Changes the chunk size of messages written from now on, to 1 to 0xFFFFFF bytes. The peer is told by
    /// a Set Chunk Size, which the caller writes before.
    pub fn set_chunk_size(&mut self, bytes: u32) {
        self.chunk_size = bytes.clamp(1, MAX_CHUNK_SIZE);
    }

    /// Appends a whole message. Returns false, and writes nothing, as [`write_message`] does.
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        csid: u32,
        kind: u8,
        msid: u32,
        timestamp: u32,
        payload: &[u8],
    ) -> bool {
        let Some(length) = checked_length(csid, payload) else { return false };
        let last = self.streams.iter().find(|sent| sent.csid == csid);
        let (format, time) = choose_format(last, kind, msid, timestamp, length);
        let mut head = Head::default();
        head.basic(format, csid);
        if format < 3 {
            head.message(format, time, length, kind, msid);
        }
        write_chunks(out, self.chunk_size, csid, &head, time, payload);
        let delta = (format > 0).then_some(time);
        self.remember(Sent { csid, msid, length, timestamp, delta, kind });
        true
    }

    fn remember(&mut self, now: Sent) {
        if let Some(sent) = self.streams.iter_mut().find(|sent| sent.csid == now.csid) {
            *sent = now;
        } else if self.streams.len() < MAX_REMEMBERED {
            self.streams.push(now);
        }
    }
}

/// The format of the next head, and what goes into its time field.
fn choose_format(last: Option<&Sent>, kind: u8, msid: u32, timestamp: u32, length: u32) -> (u8, u32) {
    let Some(last) = last.filter(|last| last.msid == msid) else { return (0, timestamp) };
    let delta = timestamp.wrapping_sub(last.timestamp);
    if delta >= EXTENDED {
        (0, timestamp)
    } else if last.length != length || last.kind != kind {
        (1, delta)
    } else if last.delta != Some(delta) {
        (2, delta)
    } else {
        (3, delta)
    }
}
