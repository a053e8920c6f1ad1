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
                let header = match tag.part {
                    Part::Metadata => HeaderKey::AudioInfo(tag.track),
                    _ => HeaderKey::Audio(tag.track),
                };
                (tag.part, false, header)
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

#[cfg(test)]
mod tests {
    use super::*;

    const VSH: &[u8] = b"\x17\x00\0\0\0config";
    const KEY: &[u8] = b"\x17\x01\0\0\0key";
    const INTER: &[u8] = b"\x27\x01\0\0\0inter";
    const ASH: &[u8] = b"\xaf\x00\x12\x10";
    const SOUND: &[u8] = b"\xaf\x01sound";

    fn stream() -> Stream {
        Stream::new(Limits::default(), Jitter::Full)
    }

    fn put(stream: &mut Stream, kind: Kind, timestamp: u32, payload: &[u8]) -> Taken {
        stream.ingest(kind, timestamp, Bytes::copy_from_slice(payload), u64::from(timestamp))
    }

    fn on_meta_data(prefix: &[u8], properties: Vec<(String, Value)>) -> Bytes {
        let mut out = prefix.to_vec();
        amf0::encode(&Value::string("onMetaData"), &mut out);
        amf0::encode(&Value::EcmaArray(properties), &mut out);
        Bytes::from(out)
    }

    #[test]
    fn metadata_loses_the_duration_and_says_who_serves() {
        let mut stream = stream();
        let properties =
            vec![("duration".into(), Value::Number(9.0)), ("width".into(), Value::Number(640.0))];
        let message = on_meta_data(SET_DATA_FRAME, properties);
        assert_eq!(stream.ingest(Kind::Script, 0, message, 0), Taken::Header);
        let sent = stream.codec().get(HeaderKey::Metadata).unwrap();
        let values = amf0::decode_all(sent).unwrap();
        assert_eq!(values[0].as_str(), Some("onMetaData"));
        assert_eq!(values[1].get("duration"), None);
        assert_eq!(values[1].get("width"), Some(&Value::Number(640.0)));
        assert_eq!(values[1].get("server").and_then(Value::as_str), Some("runnel"));
    }

    #[test]
    fn other_data_messages_pass_untouched() {
        let mut stream = stream();
        let text = b"\x02\x00\x0aonTextData\x05";
        assert_eq!(put(&mut stream, Kind::Script, 0, text), Taken::Frame { key: false });
        assert_eq!(&stream.feed.newest().unwrap().payload[..], text);
        assert_eq!(put(&mut stream, Kind::Script, 0, b""), Taken::Ignored);
    }

    #[test]
    fn metadata_that_cannot_be_read_is_left_out() {
        let mut stream = stream();
        assert_eq!(put(&mut stream, Kind::Script, 0, b"\x02\x00\x0aonMetaData\x77"), Taken::Ignored);
        assert!(stream.feed.is_empty());
    }

    #[test]
    fn a_header_stamped_zero_in_mid_stream_does_not_disturb_the_time_line() {
        let mut stream = stream();
        for (kind, timestamp, payload) in
            [(Kind::Video, 0, VSH), (Kind::Video, 0, KEY), (Kind::Video, 8_000, INTER), (Kind::Video, 0, VSH)]
        {
            put(&mut stream, kind, timestamp, payload);
        }
        put(&mut stream, Kind::Video, 8_040, INTER);
        let times: Vec<u64> = stream.feed.from(0).map(|frame| frame.dts).collect();
        assert_eq!(times, [0, 0, 8_000, 8_000, 8_040]);
    }

    #[test]
    fn a_repeated_header_is_passed_on_but_changes_nothing() {
        let mut stream = stream();
        put(&mut stream, Kind::Video, 0, VSH);
        let version = stream.codec().version;
        assert_eq!(put(&mut stream, Kind::Video, 0, VSH), Taken::Header);
        assert_eq!((stream.codec().version, stream.feed.len()), (version, 2));
        put(&mut stream, Kind::Video, 0, b"\x17\x00\0\0\0other");
        assert_eq!(stream.codec().version, version + 1);
    }

    /// What FFmpeg 8 sends in front of Opus: the codec's header, then the layout of its channels.
    #[test]
    fn a_layout_of_the_sound_takes_no_headers_place() {
        let mut stream = stream();
        let (head, layout): (&[u8], &[u8]) = (b"\x90OpusOpusHead\x01\x02", b"\x94Opus\x01\x02\0\0\0\x03");
        put(&mut stream, Kind::Audio, 0, head);
        assert_eq!(put(&mut stream, Kind::Audio, 0, layout), Taken::Header);
        let kept: Vec<&[u8]> = stream.codec().headers().iter().map(|(_, bytes)| &bytes[..]).collect();
        assert_eq!(kept, [head, layout], "a joiner gets both, in this order");
    }

    #[test]
    fn a_stream_is_ready_when_it_is_known_what_it_carries() {
        let mut both = stream();
        put(&mut both, Kind::Video, 0, VSH);
        put(&mut both, Kind::Video, 0, KEY);
        assert!(!both.is_ready(10));
        put(&mut both, Kind::Audio, 10, ASH);
        assert!(both.is_ready(10));

        let mut silent = stream();
        put(&mut silent, Kind::Video, 0, KEY);
        assert!(!silent.is_ready(499) && silent.is_ready(500));

        let mut announced = stream();
        let message = on_meta_data(b"", vec![("videocodecid".into(), Value::Number(7.0))]);
        announced.ingest(Kind::Script, 0, message, 0);
        assert!(!announced.is_ready(10_000), "no media yet");
        put(&mut announced, Kind::Video, 0, KEY);
        assert!(announced.is_ready(0));
    }

    #[test]
    fn another_publisher_brings_its_own_headers_and_the_time_goes_on() {
        let mut stream = stream();
        for (kind, timestamp, payload) in
            [(Kind::Video, 0, VSH), (Kind::Audio, 0, ASH), (Kind::Video, 900, KEY)]
        {
            put(&mut stream, kind, timestamp, payload);
        }
        let version = stream.codec().version;
        stream.publisher_begins();
        assert_eq!(stream.feed.last_key(), None, "nobody starts with the old one's picture");
        put(&mut stream, Kind::Video, 5, KEY);
        assert_eq!(stream.codec().headers(), []);
        assert!(stream.codec().version > version);
        assert!(stream.feed.newest().unwrap().dts > 0);
    }

    #[test]
    fn empty_tags_and_ends_of_sequence_are_no_frames() {
        let mut stream = stream();
        put(&mut stream, Kind::Video, 0, KEY);
        assert_eq!(put(&mut stream, Kind::Video, 1, b""), Taken::Ignored);
        assert_eq!(put(&mut stream, Kind::Video, 1, b"\x17\x02\0\0\0"), Taken::Frame { key: false });
        assert_eq!(put(&mut stream, Kind::Audio, 1, b""), Taken::Ignored);
        put(&mut stream, Kind::Audio, 1, SOUND);
        assert_eq!((stream.counters().video, stream.counters().audio, stream.counters().keys), (1, 1, 1));
    }

    #[test]
    fn a_virtual_day_leaves_no_more_than_a_gop() {
        let mut stream = stream();
        let mut most = 0;
        for n in 0..(24 * 3600 * 25u32) {
            let payload = if n % 50 == 0 { KEY } else { INTER };
            stream.ingest(Kind::Video, n.wrapping_mul(40), Bytes::from_static(payload), u64::from(n) * 40);
            if n % 25 == 0 {
                stream.feed.trim(None);
            }
            most = most.max(stream.feed.len());
        }
        assert!(most <= 100, "{most}");
        assert_eq!(stream.feed.newest().unwrap().dts, (24 * 3600 * 25 - 1) * 40);
    }
}
