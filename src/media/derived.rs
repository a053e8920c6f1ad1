//! A stream in another container: a packager and the feed that it fills, kept only while somebody reads it.

use super::cursor::Filter;
use super::feed::{Feed, Limits};
use super::frame::{CodecSet, Frame, HeaderKey, Kind, Role};
use super::package::{Container, Packager, Piece};
use super::stream::Stream;
use std::rc::Rc;

/// What is derived from a stream: a container, and which of its tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kindred {
    /// The container.
    pub container: Container,
    /// The tracks.
    pub filter: Filter,
}

/// A stream in another container.
#[derive(Debug)]
pub struct Derived {
    /// Container and tracks.
    pub kindred: Kindred,
    /// The pieces.
    pub feed: Feed,
    packager: Box<dyn Packager>,
    codec: Rc<CodecSet>,
    /// Nothing more comes: its readers get the rest of their message and the end.
    over: bool,
    /// Room for the pieces of one frame.
    pieces: Vec<Piece>,
}

impl Derived {
    /// A derived stream that holds the GOP which `stream` holds, so that a reader starts at once, and what came from
    /// frame `since` on, for a reader who waited. `limits` are for its own feed.
    pub fn new(
        kindred: Kindred,
        mut packager: Box<dyn Packager>,
        stream: &Stream,
        since: u64,
        limits: Limits,
    ) -> Derived {
        let feed = Feed::new(limits);
        packager.for_live();
        let codec = Rc::new(CodecSet::default());
        let mut derived = Derived { kindred, feed, packager, codec, over: false, pieces: Vec::new() };
        let start = stream.feed.last_key().unwrap_or_else(|| stream.feed.base());
        let start = start.min(since).max(stream.feed.base());
        let set = stream.feed.get(start).map_or_else(|| stream.codec().clone(), |frame| frame.codec.clone());
        let dts = stream.feed.get(start).map_or(0, |frame| frame.dts);
        for (key, payload) in set.headers() {
            let (kind, payload, codec) = (key.kind(), payload.clone(), set.clone());
            derived.push(&Frame { kind, role: Role::Header, dts, payload, codec });
        }
        for frame in stream.feed.from(start) {
            derived.push(frame);
        }
        derived
    }

    /// Takes the next frame of the stream.
    pub fn push(&mut self, frame: &Frame) {
        let Filter { audio, video } = self.kindred.filter;
        if self.over {
            return;
        }
        if frame.kind == Kind::Audio && !audio || frame.kind == Kind::Video && !video {
            return;
        }
        let mut pieces = std::mem::take(&mut self.pieces);
        self.packager.push(frame, &mut pieces);
        self.keep(&mut pieces);
        self.pieces = pieces;
    }

    /// The stream is over: what was held back goes out.
    pub fn finish(&mut self) {
        let mut pieces = std::mem::take(&mut self.pieces);
        self.packager.finish(&mut pieces);
        self.keep(&mut pieces);
    }

    /// Lets go of everything, for good.
    pub fn give_up(&mut self) {
        self.over = true;
        self.feed.clear();
    }

    /// Whether it was given up.
    pub fn is_over(&self) -> bool {
        self.over
    }

    fn keep(&mut self, pieces: &mut Vec<Piece>) {
        for Piece { role, kind, dts, payload } in pieces.drain(..) {
            if role == Role::Header
                && let Some(next) = self.codec.with(HeaderKey::Metadata, &payload)
            {
                self.codec = Rc::new(next);
            }
            self.feed.push(Frame { kind, role, dts, payload, codec: self.codec.clone() });
        }
    }
}
