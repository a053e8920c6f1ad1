//! MP3 as a file of frames, `.mp3`: sound only, and a reader may start at every frame.
//!
//! Invariants: a piece is the data of one message of the stream, shared with it and not copied.

use super::{Packager, Piece, frames_of_track};
use crate::media::frame::{Frame, Kind, Role};
use crate::wire::avtag::AudioCodec;

/// Passes MP3 frames.
#[derive(Debug, Default)]
pub struct Mp3Packager {
    track: Option<u8>,
}

impl Packager for Mp3Packager {
    fn push(&mut self, frame: &Frame, out: &mut Vec<Piece>) {
        let Some(tag) = frames_of_track(frame, self.track) else { return };
        if matches!(tag.codec, AudioCodec::Mp3 | AudioCodec::Mp38k) {
            self.track = Some(tag.track);
            let payload = frame.payload.slice(tag.body..tag.end);
            out.push(Piece { role: Role::Key, kind: Kind::Audio, dts: frame.dts, payload });
        }
    }

    fn finish(&mut self, _: &mut Vec<Piece>) {}
}
