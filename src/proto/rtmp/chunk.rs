//! RTMP chunk stream: bytes to messages and back.   Spec: Adobe RTMP 1.0, section 5.3.
//!
//! A chunk is a basic header (format and chunk stream id, 1 to 3 bytes), a message header (11, 7, 3 or 0
//! bytes for formats 0 to 3), an extended timestamp (4 bytes, if the 24-bit field is all ones) and at most
//! a chunk size of payload. [`reader`] and [`writer`] hold the two directions, which share nothing else.

mod error;
pub mod reader;
pub mod writer;

pub use error::ChunkError;
pub use reader::{ChunkReader, Limits, Message, Quirks};
pub use writer::{ChunkWriter, HEAD_MAX, continuation_head, message_head, write_message};

/// Chunk size of each direction until a Set Chunk Size changes it, in bytes.
pub const DEFAULT_CHUNK_SIZE: u32 = 128;
/// Largest chunk size that makes a difference, since no message is longer; larger ones count as this.
pub const MAX_CHUNK_SIZE: u32 = 0xFF_FFFF;
/// Lowest chunk stream id of the specification.
pub const MIN_CSID: u32 = 2;
/// Highest chunk stream id that the three-byte basic header can express.
pub const MAX_CSID: u32 = 64 + 0xFFFF;

/// The 24-bit timestamp field that says: four more bytes follow.
const EXTENDED: u32 = 0xFF_FFFF;

#[cfg(test)]
mod tests;
