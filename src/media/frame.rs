//! The frame: one audio, video or script message of a stream, immutable and shared; and the codec set, which
//! is everything that a decoder must have seen before a frame makes sense.

use bytes::Bytes;
use std::rc::Rc;

/// What a message carries: audio, video or script data. RTMP messages and FLV tags share the numbers, and the
/// payload means the same in both, so no frame is ever rewritten on its way to a viewer.
pub use crate::wire::flv::TagType as Kind;

/// What a frame is to a viewer who wants to start or skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A picture that can be decoded on its own: a viewer may start here.
    Key,
    /// Anything that needs what came before, and all audio.
    Delta,
    /// A sequence header or metadata: part of the codec set, worth nothing alone.
    Header,
}

/// One message of a stream.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Audio, video or script.
    pub kind: Kind,
    /// Where a viewer may start.
    pub role: Role,
    /// Decoding time in milliseconds on the stream's own time line (64 bits: it never wraps).
    pub dts: u64,
    /// The message body, byte for byte as the publisher sent it.
    pub payload: Bytes,
    /// The headers in force at this frame.
    pub codec: Rc<CodecSet>,
}

/// Which header of a codec set: a newer one with the same key takes the older one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderKey {
    /// `onMetaData`.
    Metadata,
    /// A video sequence header, by Enhanced RTMP track (0 for all others).
    Video(u8),
    /// Enhanced RTMP video metadata (colour information).
    VideoInfo(u8),
    /// An audio sequence header, by Enhanced RTMP track.
    Audio(u8),
    /// The layout of an Enhanced RTMP track of sound (MultichannelConfig).
    AudioInfo(u8),
}

impl HeaderKey {
    /// The kind of message that carries this header.
    pub fn kind(self) -> Kind {
        match self {
            HeaderKey::Metadata => Kind::Script,
            HeaderKey::Video(_) | HeaderKey::VideoInfo(_) => Kind::Video,
            HeaderKey::Audio(_) | HeaderKey::AudioInfo(_) => Kind::Audio,
        }
    }

    fn order(self) -> u8 {
        match self {
            HeaderKey::Metadata => 0,
            HeaderKey::Video(_) => 1,
            HeaderKey::VideoInfo(_) => 2,
            HeaderKey::Audio(_) => 3,
            HeaderKey::AudioInfo(_) => 4,
        }
    }
}

/// At most this many headers are kept for one stream (tracks beyond are passed on, but joiners do not get them).
pub const MAX_HEADERS: usize = 16;

/// Metadata and sequence headers in force, as sent to a viewer who joins or skips. Immutable: a change makes a
/// new set with a higher version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodecSet {
    /// Grows with each change, also across publishers of one stream.
    pub version: u64,
    headers: Vec<(HeaderKey, Bytes)>,
}

impl CodecSet {
    /// The headers in the order in which they are sent: metadata, video, audio.
    pub fn headers(&self) -> &[(HeaderKey, Bytes)] {
        &self.headers
    }

    /// The header with this key.
    pub fn get(&self, key: HeaderKey) -> Option<&Bytes> {
        self.headers.iter().find(|(k, _)| *k == key).map(|(_, bytes)| bytes)
    }

    /// A set in which `payload` is the header `key`, or `None` when it is so already or there is no room.
    pub fn with(&self, key: HeaderKey, payload: &Bytes) -> Option<CodecSet> {
        let mut next = self.clone();
        if let Some((_, old)) = next.headers.iter_mut().find(|(k, _)| *k == key) {
            if old == payload {
                return None;
            }
            *old = payload.clone();
        } else {
            if next.headers.len() >= MAX_HEADERS {
                return None;
            }
            let at = next.headers.iter().take_while(|(k, _)| k.order() <= key.order()).count();
            next.headers.insert(at, (key, payload.clone()));
        }
        next.version = next.version.saturating_add(1);
        Some(next)
    }

    /// The empty set that follows this one when another publisher takes over.
    pub fn cleared(&self) -> CodecSet {
        CodecSet { version: self.version.saturating_add(1), headers: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_stay_in_decoder_order_and_change_the_version_only_when_they_change() {
        let audio = Bytes::from_static(b"\xaf\x00");
        let set = CodecSet::default().with(HeaderKey::Audio(0), &audio).unwrap();
        let set = set.with(HeaderKey::Metadata, &Bytes::from_static(b"m")).unwrap();
        let set = set.with(HeaderKey::Video(0), &Bytes::from_static(b"\x17\x00")).unwrap();
        let order: Vec<_> = set.headers().iter().map(|(key, _)| *key).collect();
        assert_eq!(order, [HeaderKey::Metadata, HeaderKey::Video(0), HeaderKey::Audio(0)]);
        assert_eq!(set.version, 3);
        assert!(set.with(HeaderKey::Audio(0), &audio).is_none());
        assert_eq!(set.with(HeaderKey::Audio(0), &Bytes::from_static(b"x")).unwrap().version, 4);
    }

    #[test]
    fn a_flood_of_tracks_is_bounded() {
        let mut set = CodecSet::default();
        for track in 0..=255 {
            if let Some(next) = set.with(HeaderKey::Video(track), &Bytes::from_static(b"h")) {
                set = next;
            }
        }
        assert_eq!(set.headers().len(), MAX_HEADERS);
    }
}
