//! How the packager comes to know a track: from the sequence header in force, else from the frames themselves.

use crate::media::frame::{Frame, HeaderKey, Kind};
use crate::wire::annexb;
use crate::wire::avtag::{self, AudioCodec, AudioTag, Part, VideoCodec, VideoTag};
use crate::wire::mp4::config::{self, AudioConfig, ParameterSets, VideoConfig};
use crate::wire::mp4::sample::NAL_LENGTH;
use bytes::Bytes;

/// Whether the container carries this video codec.
pub(super) fn carries_video(codec: VideoCodec) -> bool {
    matches!(codec, VideoCodec::Avc | VideoCodec::Hevc | VideoCodec::Av1)
}

/// Whether the container carries this audio codec.
pub(in crate::media::package) fn carries_audio(codec: AudioCodec) -> bool {
    use AudioCodec::{Aac, Flac, Mp3, Mp38k, Opus};
    matches!(codec, Aac | Mp3 | Mp38k | Opus | Flac)
}

/// The Enhanced RTMP track that is packaged: the lowest of those with a header.
pub(super) fn track_of(frame: &Frame, kind: Kind) -> u8 {
    let headers = frame.codec.headers().iter().filter_map(|(key, _)| match (kind, key) {
        (Kind::Video, HeaderKey::Video(track)) | (Kind::Audio, HeaderKey::Audio(track)) => Some(*track),
        _ => None,
    });
    headers.min().unwrap_or(0)
}

/// The last header looked at, and what came of it.
#[derive(Debug)]
pub(super) struct Seen<C> {
    header: Option<Bytes>,
    config: Option<C>,
    nal_length_size: u8,
}

impl<C> Default for Seen<C> {
    fn default() -> Self {
        Seen { header: None, config: None, nal_length_size: NAL_LENGTH }
    }
}

impl<C> Seen<C> {
    fn is(&self, header: Option<&Bytes>) -> bool {
        self.header.as_ref() == header
    }
}

/// The video configuration that the header in force gives, if any.
pub(super) fn video_header<'a>(seen: &'a mut Seen<VideoConfig>, frame: &Frame) -> Option<&'a VideoConfig> {
    let header = frame.codec.get(HeaderKey::Video(track_of(frame, Kind::Video)));
    if !seen.is(header) {
        *seen = Seen { header: header.cloned(), ..Seen::default() };
        if let Some(message) = header {
            let tag = avtag::video(message);
            let body = tag.data(message);
            seen.nal_length_size = nal_length_size(tag.codec, body);
            seen.config = match tag.codec {
                VideoCodec::Avc => config::avc(body),
                VideoCodec::Hevc => config::hevc(body),
                VideoCodec::Av1 => config::av1(body),
                _ => None,
            };
        }
    }
    seen.config.as_ref()
}

/// What a record without parameter sets still says.
fn nal_length_size(codec: VideoCodec, record: &[u8]) -> u8 {
    use crate::wire::{avc, hevc};
    let size = match codec {
        VideoCodec::Avc => avc::parse_config(record).map(|config| config.nal_length_size),
        VideoCodec::Hevc => hevc::parse_config(record).map(|config| config.nal_length_size),
        _ => None,
    };
    size.unwrap_or(NAL_LENGTH)
}

/// The video configuration that a keyframe carries in itself, for encoders whose header says nothing.
pub(super) fn video_frame(seen: &Seen<VideoConfig>, tag: &VideoTag, data: &[u8]) -> Option<VideoConfig> {
    let units: Vec<&[u8]> = annexb::units(data, seen.nal_length_size).collect();
    let of = |kind: u8| -> Vec<&[u8]> {
        let is = |unit: &&&[u8]| {
            unit.first().is_some_and(|head| match tag.codec {
                VideoCodec::Avc => head & 0x1f == kind,
                _ => (head >> 1) & 0x3f == kind,
            })
        };
        units.iter().filter(is).copied().collect()
    };
    let config = match tag.codec {
        VideoCodec::Avc => {
            let sets = ParameterSets { vps: &[], sps: &of(7), pps: &of(8) };
            config::avc_record(sets).and_then(|record| config::avc(&record))
        }
        VideoCodec::Hevc => {
            let sets = ParameterSets { vps: &of(32), sps: &of(33), pps: &of(34) };
            config::hevc_record(sets).and_then(|record| config::hevc(&record))
        }
        _ => None,
    };
    config.map(|config| VideoConfig { nal_length_size: seen.nal_length_size, ..config })
}

/// The audio configuration that the header in force gives, if any.
pub(super) fn audio_header<'a>(seen: &'a mut Seen<AudioConfig>, frame: &Frame) -> Option<&'a AudioConfig> {
    let header = frame.codec.get(HeaderKey::Audio(track_of(frame, Kind::Audio)));
    if !seen.is(header) {
        *seen = Seen { header: header.cloned(), ..Seen::default() };
        if let Some(message) = header {
            let tag = avtag::audio(message);
            let body = tag.data(message);
            seen.config = match tag.codec {
                _ if tag.part != Part::SequenceHeader => None,
                AudioCodec::Aac => config::aac(body),
                AudioCodec::Opus => config::opus(body),
                AudioCodec::Flac => config::flac(body),
                _ => None,
            };
        }
    }
    seen.config.as_ref()
}

/// The audio configuration that a frame carries in itself.
pub(super) fn audio_frame(tag: &AudioTag, data: &[u8]) -> Option<AudioConfig> {
    match tag.codec {
        AudioCodec::Mp3 | AudioCodec::Mp38k => config::mp3(data),
        AudioCodec::Opus => config::opus_of_packet(data),
        AudioCodec::Aac => config::adts(data).and_then(|(_, config)| config::aac(&config)),
        _ => None,
    }
}
