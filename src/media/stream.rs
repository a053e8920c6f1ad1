//! A stream: what one name carries. Takes the publisher's messages, keeps the codec set, repairs the time line,
//! fills the feed, and knows when there is enough for a viewer to start.

use super::feed::{Feed, Limits};
use super::frame::{CodecSet, Frame, HeaderKey, Kind, Role};
use super::timeline::{Jitter, Timeline};
use crate::wire::amf0::{self, Value};
use crate::wire::avtag::{self, AudioCodec, Part, VideoCodec};
use bytes::Bytes;
use std::rc::Rc;

/// How long, after the first media frame, viewers are held back until both audio and video have shown up, so that
/// the FLV header says truly what follows.
pub const TRACK_WAIT_MS: u64 = 500;

/// What the publisher's metadata announces. Only used to wait for less, never to refuse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Announced {
    any: bool,
    audio: bool,
    video: bool,
}

/// Counters since the stream began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Payload bytes taken in.
    pub bytes: u64,
    /// Audio frames.
    pub audio: u64,
    /// Video frames.
    pub video: u64,
    /// Keyframes among them.
    pub keys: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in the feed; `key` says whether it is a keyframe.
    Frame {
        /// A viewer may start here.
        key: bool,
    },
    /// It is in the feed and the codec set.
    Header,
    /// It carried nothing for viewers.
    Ignored,
}

/// One stream.
#[derive(Debug)]
pub struct Stream {
    /// The frames.
    pub feed: Feed,
    timeline: Timeline,
    codec: Rc<CodecSet>,
    announced: Announced,
    audio: Option<AudioCodec>,
    video: Option<VideoCodec>,
    first_media_ms: Option<u64>,
    counters: Counters,
}

impl Stream {
    /// A stream without a publisher yet.
    pub fn new(limits: Limits, jitter: Jitter) -> Stream {
        Stream {
            feed: Feed::new(limits),
            timeline: Timeline::new(jitter),
            codec: Rc::new(CodecSet::default()),
            announced: Announced::default(),
            audio: None,
            video: None,
            first_media_ms: None,
            counters: Counters::default(),
        }
    }

    /// A publisher begins (the first, one who takes over, or one who is back): its headers and clock are new,
    /// the frames and the time line go on.
    pub fn publisher_begins(&mut self) {
        self.timeline.restart();
        self.codec = Rc::new(self.codec.cleared());
        self.feed.forget_key();
        self.announced = Announced::default();
        self.audio = None;
        self.video = None;
        self.first_media_ms = None;
    }

    /// Takes one message of the publisher. `now_ms` is the loop's clock.
    pub fn ingest(&mut self, kind: Kind, timestamp: u32, payload: Bytes, now_ms: u64) -> Taken {
        self.counters.bytes = self.counters.bytes.saturating_add(payload.len() as u64);
        let (part, key, header) = match kind {
            Kind::Script => return self.ingest_script(&payload),
            Kind::Video => {
                let tag = avtag::video(&payload);
                if matches!(tag.part, Part::Frame | Part::SequenceHeader) {
                    self.video = Some(tag.codec);
                }
                let header = match tag.part {
                    Part::Metadata => HeaderKey::VideoInfo(tag.track),
                    _ => HeaderKey::Video(tag.track),
                };
                (tag.part, tag.key, header)
            }
            Kind::Audio => {
                let tag = avtag::audio(&payload);
                if matches!(tag.part, Part::Frame | Part::SequenceHeader) {
                    self.audio = Some(tag.codec);
                }
                (tag.part, false, HeaderKey::Audio(tag.track))
            }
        };
        match part {
            Part::Empty => Taken::Ignored,
            Part::SequenceHeader | Part::Metadata => self.header(header, payload),
            Part::EndOfSequence | Part::Command => self.aside(kind, payload),
            Part::Frame => {
                self.first_media_ms.get_or_insert(now_ms);
                self.count(kind, key);
                let dts = self.timeline.map(kind, timestamp);
                let role = if key { Role::Key } else { Role::Delta };
                self.push(kind, role, dts, payload);
                Taken::Frame { key }
            }
        }
    }

    fn count(&mut self, kind: Kind, key: bool) {
        match kind {
            Kind::Audio => self.counters.audio += 1,
            _ => self.counters.video += 1,
        }
        self.counters.keys += u64::from(key);
    }

    fn push(&mut self, kind: Kind, role: Role, dts: u64, payload: Bytes) {
        self.feed.push(Frame { kind, role, dts, payload, codec: self.codec.clone() });
    }

    /// A header enters the set and the feed; its own timestamp says nothing (many encoders send 0).
    fn header(&mut self, key: HeaderKey, payload: Bytes) -> Taken {
        if let Some(next) = self.codec.with(key, &payload) {
            self.codec = Rc::new(next);
        }
        self.push(key.kind(), Role::Header, self.timeline.now(), payload);
        Taken::Header
    }

    /// Passed on in order, but neither a place to start nor part of the codec set.
    fn aside(&mut self, kind: Kind, payload: Bytes) -> Taken {
        self.push(kind, Role::Header, self.timeline.now(), payload);
        Taken::Frame { key: false }
    }

    fn ingest_script(&mut self, payload: &Bytes) -> Taken {
        let Some(message) = ScriptMessage::parse(payload) else { return Taken::Ignored };
        match message {
            ScriptMessage::Metadata { properties } => {
                self.announced = Announced::from(&properties);
                self.header(HeaderKey::Metadata, metadata(&properties))
            }
            ScriptMessage::Other(body) => self.aside(Kind::Script, body),
        }
    }

    /// The headers in force.
    pub fn codec(&self) -> &Rc<CodecSet> {
        &self.codec
    }

    /// Counters since the stream began.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The time line, for its counters.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The audio codec, once a message of it came.
    pub fn audio(&self) -> Option<AudioCodec> {
        self.audio
    }

    /// The video codec, once a message of it came.
    pub fn video(&self) -> Option<VideoCodec> {
        self.video
    }

    /// Whether it is known what the stream carries: both tracks were seen, or all that the metadata announces,
    /// or the wait is over.
    pub fn is_ready(&self, now_ms: u64) -> bool {
        let Some(first) = self.first_media_ms else { return false };
        let (audio, video) = (self.audio.is_some(), self.video.is_some());
        let all_announced = self.announced.any
            && (audio || !self.announced.audio)
            && (video || !self.announced.video)
            && (audio || video);
        audio && video || all_announced || now_ms.saturating_sub(first) >= TRACK_WAIT_MS
    }

    /// When [`Stream::is_ready`] turns true by time alone; `None` before any media came.
    pub fn ready_at(&self) -> Option<u64> {
        self.first_media_ms.map(|first| first.saturating_add(TRACK_WAIT_MS))
    }
}

impl Announced {
    fn from(properties: &[(String, Value)]) -> Announced {
        let has = |name: &str| {
            properties.iter().any(|(key, value)| {
                key == name
                    && match value {
                        Value::Number(id) => *id != 0.0,
                        Value::Boolean(on) => *on,
                        Value::String(text) => !text.is_empty(),
                        _ => true,
                    }
            })
        };
        let (audio, video) = (has("audiocodecid"), has("videocodecid"));
        Announced { any: audio || video, audio, video }
    }
}

/// A data message of a publisher.
enum ScriptMessage {
    Metadata { properties: Vec<(String, Value)> },
    Other(Bytes),
}

/// Largest data message that is taken for metadata; larger ones are passed on unread.
const MAX_METADATA: usize = 64 << 10;
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

impl ScriptMessage {
    fn parse(payload: &Bytes) -> Option<ScriptMessage> {
        let skip = if payload.starts_with(SET_DATA_FRAME) { SET_DATA_FRAME.len() } else { 0 };
        let body = payload.slice(skip..);
        if body.is_empty() {
            return None;
        }
        if body.len() <= MAX_METADATA && body.starts_with(b"\x02\x00\x0aonMetaData") {
            let values = amf0::decode_all(&body).ok()?;
            let properties = values.into_iter().skip(1).find_map(|value| match value {
                Value::Object(list) | Value::EcmaArray(list) => Some(list),
                _ => None,
            });
            return properties.map(|properties| ScriptMessage::Metadata { properties });
        }
        Some(ScriptMessage::Other(body))
    }
}

/// `onMetaData` as viewers get it: without the duration of a file (players would stop there), with our name.
fn metadata(properties: &[(String, Value)]) -> Bytes {
    let ours = ["duration", "server", "server_version"];
    let mut list: Vec<(String, Value)> =
        properties.iter().filter(|(key, _)| !ours.contains(&key.as_str())).cloned().collect();
    list.push(("server".into(), Value::string("runnel")));
    list.push(("server_version".into(), Value::string(env!("CARGO_PKG_VERSION"))));
    let mut out = Vec::new();
    amf0::encode(&Value::string("onMetaData"), &mut out);
    amf0::encode(&Value::EcmaArray(list), &mut out);
    Bytes::from(out)
}
