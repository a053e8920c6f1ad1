//! Packagers: the same stream in other containers.
//!
//! A packager is fed a stream's frames in order, headers among them, and gives pieces: MPEG-TS packets, ADTS or MP3 frames,
//! movie fragments. The pieces of one container are a feed of their own, filled once a stream and only while somebody
//! reads it; viewers have cursors into it as they have into the stream's own feed.

use super::derived::Kindred;
use super::frame::{Frame, Kind, Role};
use crate::wire::avtag::{self, AudioCodec, AudioTag, Part, VideoCodec};
use bytes::Bytes;
use std::fmt::Debug;

pub mod adts;
pub mod fmp4;
pub mod mp3;
mod refusal;
mod silence;
#[cfg(test)]
mod tests;
pub mod ts;

pub use refusal::{refusal, silence};

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

    /// Its pieces are for readers who play them when they come, and are nowhere kept.
    fn for_live(&mut self) {}

    /// What a segment has to begin with whose first piece is no key; empty for most containers.
    fn tables(&mut self) -> Bytes {
        Bytes::new()
    }
}

/// Milliseconds of video in one fragment of a live response: each frame goes out as it comes.
const LIVE_PART_MS: u64 = 0;

/// The containers that a stream can be had in, besides its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// MPEG-TS.
    Ts,
    /// AAC with ADTS heads; no video.
    Aac,
    /// MP3 frames; no video.
    Mp3,
    /// Fragmented MP4, one track a fragment.
    Fmp4,
}

impl Container {
    /// The one that a file name ends in (without the dot).
    pub fn of_extension(extension: &str) -> Option<Container> {
        match extension {
            "ts" => Some(Container::Ts),
            "aac" => Some(Container::Aac),
            "mp3" => Some(Container::Mp3),
            "mp4" => Some(Container::Fmp4),
            _ => None,
        }
    }

    /// What a log line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Container::Ts => "TS",
            Container::Aac => "AAC",
            Container::Mp3 => "MP3",
            Container::Fmp4 => "fMP4",
        }
    }

    /// `Content-Type` of a live response, as SRS has it where SRS has it.
    pub fn content_type(self) -> &'static str {
        match self {
            Container::Ts => "video/MP2T",
            Container::Aac => "audio/x-aac",
            Container::Mp3 => "audio/mpeg",
            Container::Fmp4 => "video/mp4",
        }
    }
}

/// The packager for a stream of these codecs.
///
/// # Errors
/// Why this container cannot carry the stream, in one line.
pub fn packager(
    kindred: Kindred,
    video: Option<VideoCodec>,
    audio: Option<AudioCodec>,
) -> Result<Box<dyn Packager>, String> {
    let video = video.filter(|_| kindred.filter.video);
    let audio = audio.filter(|_| kindred.filter.audio);
    if let Some(why) = refusal(kindred.container, video, audio) {
        return Err(why);
    }
    Ok(match kindred.container {
        Container::Ts => Box::new(ts::TsPackager::new(kindred.filter)),
        Container::Aac => Box::new(adts::AdtsPackager::default()),
        Container::Mp3 => Box::new(mp3::Mp3Packager::default()),
        Container::Fmp4 => Box::new(fmp4::Fmp4Packager::new(audio.is_some(), video.is_some(), LIVE_PART_MS)),
    })
}

/// The head of an audio message with a frame in it, when it is of `track`, or of any if that is not known yet.
fn frames_of_track(frame: &Frame, track: Option<u8>) -> Option<AudioTag> {
    let tag = avtag::audio(if frame.kind == Kind::Audio { &frame.payload } else { &[] });
    (tag.part == Part::Frame && track.is_none_or(|track| track == tag.track)).then_some(tag)
}
