//! Sound that stops while the picture goes on.
//!
//! A browser plays as far as every track in the header reaches: a microphone that is taken away would stop the picture for
//! good. So when the sound has fallen behind the picture by the patience that there is, frames of silence take its place up
//! to the picture, until it comes back.
//!
//! ```text
//!   Off ──(behind the picture by `patience`)──► On ──(sound that is newer)──► Off
//!    ▲                                           │ sound that is older: it was late, not gone
//!    └────────(sound that is newer)──── Over ◄───┘ `patience` grows; what has been filled is left out
//! ```

use crate::wire::mp4::config::AudioConfig;
use crate::wire::mp4::init::Entry;
use crate::wire::{aac, mp3};
use bytes::Bytes;

/// How far, in milliseconds, sound may be behind the picture before silence takes its place, at first and at most.
pub(super) const PATIENCE_MS: u64 = 1000;
const MAX_PATIENCE_MS: u64 = 8000;
/// Milliseconds of silence made at once at most.
const MAX_FILL_MS: u64 = 10_000;

/// Frames of AAC of 1,024 samples with no spectrum (ISO/IEC 14496-3, 4.4.2.1), for channel configurations 1 to 7: the elements of
/// table 1.19, pairs with a common window, then the end. Decoders of HE-AAC, whose core this is, find no SBR in them and
/// double the rate alone.
const AAC: [&[u8]; 7] = [
    &[0, 0, 0, 7],
    &[0x21, 0, 0, 0, 0, 0x1c],
    &[0, 0, 0, 1, 8, 0, 0, 0, 0, 0xe0],
    &[0, 0, 0, 1, 8, 0, 0, 0, 0, 2, 0, 0, 7],
    &[0, 0, 0, 1, 8, 0, 0, 0, 0, 0x23, 0, 0, 0, 0, 0x1c],
    &[0, 0, 0, 1, 8, 0, 0, 0, 0, 0x23, 0, 0, 0, 0, 0xc, 0, 0, 0, 0xe0],
    &[0, 0, 0, 1, 8, 0, 0, 0, 0, 0x23, 0, 0, 0, 0, 4, 0xa0, 0, 0, 0, 1, 0x80, 0, 0, 0x1c],
];
/// An Opus packet of 20 ms that says silence (RFC 6716, 4.3).
const OPUS: &[u8] = &[0xf8, 0xff, 0xfe];

#[derive(Debug)]
enum State {
    Off,
    On { from: u64, made: u64 },
    Over,
}

/// What takes the place of sound that is missing.
#[derive(Debug)]
pub(super) struct Silence {
    state: State,
    patience: u64,
}

impl Silence {
    pub(super) fn new() -> Silence {
        Silence { state: State::Off, patience: PATIENCE_MS }
    }

    /// A picture of time `picture` has come and the last sound is of time `last`: the silence that is due, each frame
    /// with its time. Of codecs for which there is none here, nothing.
    pub(super) fn fill(&mut self, picture: u64, last: u64, config: &AudioConfig) -> Vec<(u64, Bytes)> {
        let is_on = matches!(self.state, State::On { .. });
        if !is_on && picture.saturating_sub(last) <= self.patience {
            return Vec::new();
        }
        let Some((frame, samples)) = frame_of(config) else { return Vec::new() };
        let rate = u64::from(config.track.rate.max(1));
        if !is_on {
            self.state = State::On { from: last.max(picture.saturating_sub(MAX_FILL_MS)), made: 0 };
        }
        let State::On { from, made } = &mut self.state else { return Vec::new() };
        let mut out = Vec::new();
        loop {
            let dts = from.saturating_add((*made).saturating_add(1).saturating_mul(samples * 1000) / rate);
            if dts > picture {
                return out;
            }
            *made = made.saturating_add(1);
            out.push((dts, frame.clone()));
        }
    }

    /// Sound of time `dts` has come; the last sound or silence is of time `last`, the newest picture of `picture`. Whether
    /// it is to be left out, since there is silence already.
    pub(super) fn is_filled(&mut self, dts: u64, last: u64, picture: u64) -> bool {
        if matches!(self.state, State::Off) {
            return false;
        }
        if dts > last {
            self.state = State::Off;
            return false;
        }
        let behind = picture.saturating_sub(dts);
        self.patience = self.patience.max(behind.saturating_mul(2).min(MAX_PATIENCE_MS));
        self.state = State::Over;
        true
    }
}

/// A frame of silence and its samples.
fn frame_of(config: &AudioConfig) -> Option<(Bytes, u64)> {
    const MAIN: u8 = 1;
    const LC: u8 = 2;
    match &config.track.entry {
        Entry::Aac(record) => {
            let aac = aac::parse_config(record).filter(|aac| matches!(aac.object_type, MAIN | LC))?;
            let frame = AAC.get(usize::from(aac.channel_config.checked_sub(1)?))?;
            Some((Bytes::from_static(frame), u64::from(aac::FRAME_SAMPLES)))
        }
        Entry::Mp3 => {
            let (frame, samples) = mp3::silence(config.track.rate, config.track.channels)?;
            Some((Bytes::from(frame), u64::from(samples)))
        }
        Entry::Opus(_) => Some((Bytes::from_static(OPUS), 960)),
        _ => None,
    }
}
