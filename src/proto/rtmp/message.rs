//! RTMP messages: their types, the chunk streams runnel sends them on, user control events, aggregates.
//!
//! Spec: Adobe RTMP 1.0, sections 5.4 (protocol control), 6.2 (user control) and 7.1 (types; 7.1.6 aggregate).
//!
//! Invariants: parts of an aggregate are slices of its payload, none is copied; each takes at least
//! [`PART_HEAD`] bytes, so a message has no more parts than its length allows.
//!
//! Deviations: the last part of an aggregate may lack its back pointer; an aggregate inside an aggregate
//! is passed over.

use bytes::Bytes;

/// Message type ids, section 7.1.
pub mod kind {
    /// Set Chunk Size: how long the sender's chunks are from now on.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message: forget the unfinished message of a chunk stream.
    pub const ABORT: u8 = 2;
    /// Acknowledgement: how many bytes have been received.
    pub const ACK: u8 = 3;
    /// User Control: see [`super::UserControl`].
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio data.
    pub const AUDIO: u8 = 8;
    /// Video data.
    pub const VIDEO: u8 = 9;
    /// Data (metadata) in AMF3.
    pub const DATA_AMF3: u8 = 15;
    /// Shared object in AMF3.
    pub const SHARED_OBJECT_AMF3: u8 = 16;
    /// Command in AMF3.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data (metadata) in AMF0.
    pub const DATA_AMF0: u8 = 18;
    /// Shared object in AMF0.
    pub const SHARED_OBJECT_AMF0: u8 = 19;
    /// Command in AMF0.
    pub const COMMAND_AMF0: u8 = 20;
    /// Aggregate: several messages in one, see [`super::split_aggregate`].
    pub const AGGREGATE: u8 = 22;
}

/// Chunk stream ids that runnel sends on. What peers choose is theirs.
pub mod csid {
    /// Protocol control messages; section 5.4 demands this one.
    pub const PROTOCOL: u32 = 2;
    /// Commands and their answers.
    pub const COMMAND: u32 = 3;
    /// Status of a stream and its data messages.
    pub const STREAM: u32 = 5;
    /// Video.
    pub const VIDEO: u32 = 6;
    /// Audio.
    pub const AUDIO: u32 = 7;
}

/// Limit type of Set Peer Bandwidth, section 5.4.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bandwidth {
    /// Limit the output to the window given.
    Hard = 0,
    /// Limit the output to the smaller of the window given and the one in force.
    Soft = 1,
    /// As hard if the last limit was hard, else ignored.
    Dynamic = 2,
}

/// Payload of Set Peer Bandwidth: a window in bytes and how it is meant.
#[must_use]
pub fn peer_bandwidth(window: u32, limit: Bandwidth) -> [u8; 5] {
    let [a, b, c, d] = window.to_be_bytes();
    [a, b, c, d, limit as u8]
}

/// The number that opens the payload of types 1, 2, 3, 5 and 6. `None` when it is shorter than four bytes.
#[must_use]
pub fn control_value(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// A user control event, section 7.1.7. Stream ids are message stream ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserControl {
    /// The stream can be used from now on.
    StreamBegin(u32),
    /// The stream played to its end.
    StreamEof(u32),
    /// No data for some time.
    StreamDry(u32),
    /// The player's buffer for this stream.
    SetBufferLength {
        /// Message stream id.
        msid: u32,
        /// Buffer length in milliseconds.
        ms: u32,
    },
    /// The stream is a recorded one.
    StreamIsRecorded(u32),
    /// Asks for a [`UserControl::PingResponse`] with the same time in milliseconds.
    PingRequest(u32),
    /// The answer to a ping, with the time that was in it.
    PingResponse(u32),
    /// Any other event: its number, and the four bytes after it when there are as many (else 0).
    Other(u16, u32),
}

impl UserControl {
    /// Reads the payload of a type 4 message. `None` when it is too short for the event it names.
    /// Bytes after the event are ignored.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (event, rest) = payload.split_first_chunk()?;
        let value = control_value(rest);
        Some(match u16::from_be_bytes(*event) {
            0 => Self::StreamBegin(value?),
            1 => Self::StreamEof(value?),
            2 => Self::StreamDry(value?),
            3 => Self::SetBufferLength { msid: value?, ms: control_value(rest.get(4..)?)? },
            4 => Self::StreamIsRecorded(value?),
            6 => Self::PingRequest(value?),
            7 => Self::PingResponse(value?),
            other => Self::Other(other, value.unwrap_or(0)),
        })
    }

    /// Appends the payload of a type 4 message: 6 bytes, 10 for a buffer length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (event, value) = match *self {
            Self::StreamBegin(msid) => (0, msid),
            Self::StreamEof(msid) => (1, msid),
            Self::StreamDry(msid) => (2, msid),
            Self::SetBufferLength { msid, .. } => (3, msid),
            Self::StreamIsRecorded(msid) => (4, msid),
            Self::PingRequest(time) => (6, time),
            Self::PingResponse(time) => (7, time),
            Self::Other(event, value) => (event, value),
        };
        out.extend_from_slice(&u16::to_be_bytes(event));
        out.extend_from_slice(&value.to_be_bytes());
        if let Self::SetBufferLength { ms, .. } = *self {
            out.extend_from_slice(&ms.to_be_bytes());
        }
    }
}

/// Bytes before each part of an aggregate: type, length, time, stream id, as in an FLV tag.
pub const PART_HEAD: usize = 11;
/// Bytes after each part: its length again.
const BACK_POINTER: usize = 4;

/// One message out of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Message type id, as in [`kind`]; never [`kind::AGGREGATE`].
    pub kind: u8,
    /// Absolute time in milliseconds, modulo 2^32.
    pub timestamp: u32,
    /// A slice of the aggregate's payload.
    pub payload: Bytes,
}

/// Takes an aggregate message (type 22) apart. `timestamp` is that of the aggregate: its first part has
/// it, and the others keep their distance from the first.
///
/// A tail too short for a part is dropped; [`Aggregate::truncated`] tells how much.
#[must_use]
pub fn split_aggregate(payload: &Bytes, timestamp: u32) -> Aggregate {
    Aggregate { rest: payload.clone(), timestamp, first: None, truncated: 0 }
}

/// Iterator over the parts of an aggregate, made by [`split_aggregate`].
#[derive(Debug, Clone)]
pub struct Aggregate {
    rest: Bytes,
    timestamp: u32,
    first: Option<u32>,
    truncated: usize,
}

impl Aggregate {
    /// Bytes at the end that made no whole part. Known once the iterator has ended.
    #[must_use]
    pub fn truncated(&self) -> usize {
        self.truncated
    }

    /// The next part whatever its kind, or `None` at the end or at a part that is cut.
    fn part(&mut self) -> Option<Part> {
        let &[kind, l2, l1, l0, t2, t1, t0, t3, _, _, _] = self.rest.first_chunk::<PART_HEAD>()?;
        let end = PART_HEAD.checked_add(u32::from_be_bytes([0, l2, l1, l0]) as usize)?;
        if end > self.rest.len() {
            return None;
        }
        let time = u32::from_be_bytes([t3, t2, t1, t0]);
        let first = *self.first.get_or_insert(time);
        let payload = self.rest.slice(PART_HEAD..end);
        let next = end.saturating_add(BACK_POINTER).min(self.rest.len());
        self.rest = self.rest.slice(next..);
        Some(Part { kind, timestamp: self.timestamp.wrapping_add(time.wrapping_sub(first)), payload })
    }
}

impl Iterator for Aggregate {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        loop {
            match self.part() {
                Some(part) if part.kind == kind::AGGREGATE => {}
                Some(part) => return Some(part),
                None => {
                    self.truncated = self.truncated.saturating_add(self.rest.len());
                    self.rest = Bytes::new();
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: u8, time: u32, payload: &[u8]) -> Vec<u8> {
        let [t3, t2, t1, t0] = time.to_be_bytes();
        let [_, l2, l1, l0] = (payload.len() as u32).to_be_bytes();
        let mut out = vec![kind, l2, l1, l0, t2, t1, t0, t3, 0, 0, 0];
        out.extend_from_slice(payload);
        out.extend_from_slice(&(payload.len() as u32 + 11).to_be_bytes());
        out
    }

    fn aggregate(parts: &[(u8, u32, &[u8])]) -> Bytes {
        parts.iter().flat_map(|(kind, time, payload)| part(*kind, *time, payload)).collect()
    }

    #[test]
    fn parts_keep_their_distance_from_the_first() {
        let whole = aggregate(&[(8, 5000, b"audio"), (9, 5040, b"video!"), (18, 4990, b"")]);
        let mut parts = split_aggregate(&whole, 100);
        let got: Vec<_> = parts.by_ref().map(|p| (p.kind, p.timestamp, p.payload)).collect();
        let want = [
            (8, 100, Bytes::from_static(b"audio")),
            (9, 140, Bytes::from_static(b"video!")),
            (18, 90, Bytes::new()),
        ];
        assert_eq!(got, want);
        assert_eq!(parts.truncated(), 0);
    }

    #[test]
    fn part_times_use_all_four_bytes_and_wrap() {
        let whole = aggregate(&[(8, 0xFFFF_FFF0, b"a"), (8, 0x10, b"b"), (8, 0x0100_0000, b"c")]);
        let times: Vec<_> = split_aggregate(&whole, 0xFFFF_FFFF).map(|p| p.timestamp).collect();
        assert_eq!(times, [0xFFFF_FFFF, 0x1F, 0x0100_000F]);
    }

    #[test]
    fn every_cut_gives_the_whole_parts_and_reports_the_rest() {
        let whole = aggregate(&[(8, 0, b"12345"), (9, 20, b"abc")]);
        for cut in 0..whole.len() {
            let mut parts = split_aggregate(&whole.slice(..cut), 0);
            let lengths: Vec<_> = parts.by_ref().map(|p| p.payload.len()).collect();
            let (want, used): (&[usize], usize) = match cut {
                0..16 => (&[], 0),
                16..34 => (&[5], cut.min(20)),
                _ => (&[5, 3], cut),
            };
            assert_eq!(lengths, want, "cut at {cut}");
            assert_eq!(parts.truncated(), cut - used, "cut at {cut}");
            assert_eq!(parts.next(), None);
        }
    }

    #[test]
    fn parts_are_slices_and_nested_aggregates_are_passed_over() {
        let inner = aggregate(&[(8, 0, b"x")]);
        let whole = aggregate(&[(22, 0, &inner), (9, 7, b"v")]);
        let parts: Vec<_> = split_aggregate(&whole, 50).collect();
        assert_eq!(parts.len(), 1);
        assert_eq!((parts[0].kind, parts[0].timestamp), (9, 57));
        let (start, end) = (whole.as_ptr() as usize, whole.as_ptr() as usize + whole.len());
        assert!((start..end).contains(&(parts[0].payload.as_ptr() as usize)));
    }

    #[test]
    fn user_control_vectors() {
        let vectors: [(&[u8], UserControl); 8] = [
            (&[0, 0, 0, 0, 0, 1], UserControl::StreamBegin(1)),
            (&[0, 1, 0, 0, 0, 1], UserControl::StreamEof(1)),
            (&[0, 2, 0, 0, 0, 1], UserControl::StreamDry(1)),
            (&[0, 3, 0, 0, 0, 1, 0, 0, 0x0B, 0xB8], UserControl::SetBufferLength { msid: 1, ms: 3000 }),
            (&[0, 4, 0, 0, 0, 2], UserControl::StreamIsRecorded(2)),
            (&[0, 6, 1, 2, 3, 4], UserControl::PingRequest(0x0102_0304)),
            (&[0, 7, 1, 2, 3, 4], UserControl::PingResponse(0x0102_0304)),
            (&[0, 0x1F, 0, 0, 0, 1], UserControl::Other(31, 1)),
        ];
        for (bytes, event) in vectors {
            assert_eq!(UserControl::decode(bytes), Some(event));
            let mut out = Vec::new();
            event.encode(&mut out);
            assert_eq!(out, bytes);
            let named = !matches!(event, UserControl::Other(..));
            for cut in 0..bytes.len() {
                assert_eq!(
                    UserControl::decode(&bytes[..cut]).is_none(),
                    named || cut < 2,
                    "{event:?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn control_payloads() {
        assert_eq!(control_value(&[0, 0, 0x10, 0]), Some(4096));
        assert_eq!(control_value(&[0, 0, 1]), None);
        assert_eq!(peer_bandwidth(2_500_000, Bandwidth::Dynamic), [0, 0x26, 0x25, 0xA0, 2]);
    }
}
