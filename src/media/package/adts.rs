//! AAC as a file of ADTS frames, `.aac`: sound only, and a reader may start at every frame.
//! Spec: ISO/IEC 14496-3, section 1.A.2.2.
//!
//! Invariants: a piece is one message of the stream, whole.
//! Deviations: a message that holds ADTS frames already passes as it is. Frames that ADTS cannot describe are left out.

use super::{Packager, Piece, frames_of_track};
use crate::media::frame::{CodecSet, Frame, HeaderKey, Kind, Role};
use crate::wire::aac::{self, AacConfig, Adts};
use crate::wire::avtag::{self, AudioCodec};
use bytes::Bytes;

/// Makes ADTS frames.
#[derive(Debug, Default)]
pub struct AdtsPackager {
    version: Option<u64>,
    config: Option<(u8, Option<Adts>)>,
}

/// The first AAC configuration of a codec set, with its track.
pub(super) fn aac_config(set: &CodecSet) -> Option<(u8, &Bytes, AacConfig)> {
    set.headers().iter().find_map(|(key, header)| {
        let HeaderKey::Audio(track) = key else { return None };
        let tag = avtag::audio(header);
        let config = (tag.codec == AudioCodec::Aac).then(|| aac::parse_config(tag.data(header)))??;
        Some((*track, header, config))
    })
}

impl Packager for AdtsPackager {
    fn push(&mut self, frame: &Frame, out: &mut Vec<Piece>) {
        if self.version != Some(frame.codec.version) {
            self.version = Some(frame.codec.version);
            self.config = aac_config(&frame.codec).map(|(track, _, config)| (track, Adts::new(&config)));
        }
        let Some(tag) = frames_of_track(frame, self.config.map(|(track, _)| track)) else { return };
        if tag.codec != AudioCodec::Aac {
            return;
        }
        let data = tag.data(&frame.payload);
        let payload = if aac::is_adts(data) {
            frame.payload.slice(tag.body..tag.end)
        } else {
            let head = self.config.and_then(|(_, adts)| adts).and_then(|adts| adts.head(data.len()));
            let Some(head) = head else { return };
            Bytes::from([&head, data].concat())
        };
        out.push(Piece { role: Role::Key, kind: Kind::Audio, dts: frame.dts, payload });
    }

    fn finish(&mut self, _: &mut Vec<Piece>) {}
}
