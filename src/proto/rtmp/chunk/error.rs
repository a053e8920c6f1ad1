//! Why a chunk stream cannot be read further, for the log.

use core::fmt;

/// Why the bytes are no chunk stream that can be read further. The connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkError {
    /// Format 2 or 3 on a chunk stream that had no header before.
    NoHeader {
        /// The chunk stream.
        csid: u32,
        /// The chunk's format.
        format: u8,
    },
    /// A header within a message announces another one.
    HeadChanged {
        /// The chunk stream.
        csid: u32,
        /// Length of the message so far, in bytes.
        was: u32,
        /// Length in the new header.
        now: u32,
    },
    /// A message longer than [`super::Limits::max_message`].
    TooLong {
        /// The chunk stream.
        csid: u32,
        /// The message's type.
        kind: u8,
        /// Its length in bytes.
        length: u32,
        /// The limit.
        max: u32,
    },
    /// More chunk streams than [`super::Limits::max_csids`].
    TooManyStreams {
        /// The one too many.
        csid: u32,
        /// The limit.
        max: u16,
    },
    /// Unfinished messages of several chunk streams together take more memory than allowed.
    TooMuchHeld {
        /// The limit in bytes.
        max: usize,
    },
    /// Set Chunk Size to 0, or with the top bit set.
    BadChunkSize(u32),
    /// Set Chunk Size or Abort with a payload of fewer than four bytes.
    ShortControl {
        /// The message's type.
        kind: u8,
    },
    /// The reader's own state does not fit together: a fault in runnel, whatever the peer sent.
    Internal,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoHeader { csid, format } => write!(
                f,
                "chunk stream {csid} begins with format {format}, which needs a header before it: \
                 out of step with the peer (desync?), or bytes lost by a proxy"
            ),
            Self::HeadChanged { csid, was, now } => write!(
                f,
                "chunk stream {csid}: the head of a message changed within it (length {was}, then {now}): \
                 out of step with the peer (desync?)"
            ),
            Self::TooLong { csid, kind, length, max } => write!(
                f,
                "message of type {kind} on chunk stream {csid} has {length} bytes, more than {max}: \
                 lower the encoder's bitrate or keyframe size, or it is out of step (desync?)"
            ),
            Self::TooManyStreams { csid, max } => {
                write!(f, "chunk stream {csid} would be one more than the {max} allowed on a connection")
            }
            Self::TooMuchHeld { max } => {
                write!(f, "unfinished messages need more than the {max} bytes allowed on a connection")
            }
            Self::BadChunkSize(size) => {
                write!(f, "chunk size {size} is not within 1 to 2147483647: check the peer's settings")
            }
            Self::ShortControl { kind } => {
                write!(f, "control message of type {kind} is shorter than its four bytes")
            }
            Self::Internal => f.write_str("internal fault of the chunk reader: please report it"),
        }
    }
}

impl core::error::Error for ChunkError {}
