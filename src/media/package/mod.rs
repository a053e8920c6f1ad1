//! Packagers: the same stream in other containers.
//!
//! A packager is fed a stream's frames in order, headers among them, and gives pieces: MPEG-TS packets, ADTS or MP3 frames,
//! movie fragments. The pieces of one container are a feed of their own, filled once a stream and only while somebody
//! reads it; viewers have cursors into it as they have into the stream's own feed.

use super::frame::{Frame, Kind, Role};
use bytes::Bytes;
use std::fmt::Debug;

/// A piece of a derived stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// `Key`: a reader may start here. `Header`: what a reader needs first, such as an initialization segment; it
    /// replaces the last one.
    pub role: Role,
    /// The track it is of; `Script` for a header.
    pub kind: Kind,
    /// Time of its first sample on the stream's time line, in milliseconds.
    pub dts: u64,
    /// The bytes as they go to a reader.
    pub payload: Bytes,
}

/// Turns frames into pieces.
pub trait Packager: Debug {
    /// Takes the next frame of the stream and appends what can go out. Frames of codecs that the container cannot carry
    /// are left out.
    fn push(&mut self, frame: &Frame, out: &mut Vec<Piece>);

    /// The stream is over: appends what was held back.
    fn finish(&mut self, out: &mut Vec<Piece>);
}
