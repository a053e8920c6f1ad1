//! The time line of a stream: the publisher's 32-bit timestamps in, milliseconds that never jump out.
//!
//! Repaired once, at ingest, for all viewers:
//! - 32-bit senders wrap after 49.7 days, 31-bit senders after 24.8: both are unwrapped to 64 bits.
//! - A jump (an encoder that restarts its clock, a file that loops) moves one offset for *both* tracks, so audio
//!   and video stay in step; a track that jumps a moment later than the other keeps the older offset until then.
//! - Each track is monotonic. Tracks are not ordered against each other: cameras that interleave badly are sent on
//!   as they came.
//! - Another publisher of the same stream goes on where the last one ended.

use super::frame::Kind;

/// How timestamps are repaired (`time_jitter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// Starts at zero, jumps are closed, each track is monotonic.
    #[default]
    Full,
    /// Starts at zero; otherwise as sent.
    Zero,
    /// As sent, only unwrapped to 64 bits.
    Off,
}

/// A step forward of one track up to this is taken as real time that passed (a paused encoder, one picture in ten
/// seconds); beyond it, as a jump of the sender's clock.
pub const MAX_FORWARD_MS: i64 = 30_000;
/// A step back of one track up to this is taken as disorder and clamped; beyond it, as a jump.
pub const MAX_BACKWARD_MS: i64 = 1_000;
/// How far behind the other track a track may begin.
pub const MAX_TRACK_LAG_MS: i64 = 10_000;
/// The step that is put in place of a jump.
pub const JUMP_STEP_MS: i64 = 10;
/// The step between two publishers of one stream.
pub const TAKEOVER_STEP_MS: i64 = 40;

/// One track's last positions, and the offset of the sender's clock that it goes by.
#[derive(Debug, Clone, Copy, Default)]
struct Track {
    last_in: Option<i64>,
    last_out: Option<i64>,
    offset: i64,
}

/// What was repaired, for logs and the API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Jumps closed by moving the offset.
    pub jumps: u64,
    /// Frames that went back within their track and were clamped.
    pub clamped: u64,
    /// Wraps of a 31-bit or 32-bit sender.
    pub wraps: u64,
}

/// The time line of one stream.
#[derive(Debug)]
pub struct Timeline {
    jitter: Jitter,
    /// `out = in + offset`, as of the last jump; `None` until this publisher's first media frame.
    offset: Option<i64>,
    last_raw: Option<(u32, i64)>,
    audio: Track,
    video: Track,
    newest: Option<i64>,
    repairs: Repairs,
}

impl Timeline {
    /// A time line that starts at zero with its first frame (except with [`Jitter::Off`]).
    pub fn new(jitter: Jitter) -> Timeline {
        Timeline {
            jitter,
            offset: None,
            last_raw: None,
            audio: Track::default(),
            video: Track::default(),
            newest: None,
            repairs: Repairs::default(),
        }
    }

    /// Another publisher begins: its clock has nothing to do with the last one's.
    pub fn restart(&mut self) {
        self.offset = None;
        self.last_raw = None;
        self.audio.last_in = None;
        self.video.last_in = None;
    }

    /// Counters since the stream began.
    pub fn repairs(&self) -> Repairs {
        self.repairs
    }

    /// Time of the newest media frame, in milliseconds; what headers and metadata are stamped with.
    pub fn now(&self) -> u64 {
        self.newest.map_or(0, |ms| u64::try_from(ms).unwrap_or(0))
    }

    /// Maps the timestamp of an audio or video frame (not of headers: their timestamps say nothing).
    pub fn map(&mut self, kind: Kind, timestamp: u32) -> u64 {
        let input = self.unwrap(timestamp);
        let out = match self.jitter {
            Jitter::Full => self.full(kind, input),
            Jitter::Zero | Jitter::Off => self.plain(input),
        };
        let track = self.track(kind);
        track.last_in = Some(input);
        track.last_out = Some(out);
        self.newest = Some(self.newest.map_or(out, |newest| newest.max(out)));
        u64::try_from(out).unwrap_or(0)
    }

    fn track(&mut self, kind: Kind) -> &mut Track {
        match kind {
            Kind::Audio => &mut self.audio,
            Kind::Video | Kind::Script => &mut self.video,
        }
    }

    /// Extends to 64 bits by the signed difference to the last timestamp, in whichever of the two moduli in use
    /// makes the step smaller.
    fn unwrap(&mut self, timestamp: u32) -> i64 {
        let Some((last_raw, last)) = self.last_raw else {
            self.last_raw = Some((timestamp, i64::from(timestamp)));
            return i64::from(timestamp);
        };
        let step32 = i64::from(timestamp.wrapping_sub(last_raw) as i32);
        let step31 = i64::from((timestamp.wrapping_sub(last_raw) << 1) as i32 >> 1);
        let both_31 = (timestamp | last_raw) >> 31 == 0;
        let step = if both_31 && step31.abs() < step32.abs() { step31 } else { step32 };
        let straight = i64::from(timestamp) - i64::from(last_raw);
        if step != straight {
            self.repairs.wraps += 1;
        }
        let value = last.saturating_add(step);
        self.last_raw = Some((timestamp, value));
        value
    }

    fn start_offset(&self, input: i64) -> i64 {
        match (self.newest, self.jitter) {
            (Some(newest), _) => newest.saturating_add(TAKEOVER_STEP_MS).saturating_sub(input),
            (None, Jitter::Off) => 0,
            (None, _) => input.saturating_neg(),
        }
    }

    fn plain(&mut self, input: i64) -> i64 {
        let start = self.start_offset(input);
        input.saturating_add(*self.offset.get_or_insert(start)).max(0)
    }

    fn full(&mut self, kind: Kind, input: i64) -> i64 {
        let track = *self.track(kind);
        let continues =
            |from: i64, to: i64| (-MAX_BACKWARD_MS..=MAX_FORWARD_MS).contains(&to.saturating_sub(from));
        let offset = match (self.offset, track.last_in) {
            (None, _) => self.start_offset(input),
            (Some(_), Some(last)) if continues(last, input) => track.offset,
            (Some(offset), Some(_))
                if continues(track.last_out.unwrap_or(0), input.saturating_add(offset)) =>
            {
                offset
            }
            (Some(offset), None) if self.near(input.saturating_add(offset)) => offset,
            _ => self.jump(input),
        };
        // A track that still goes by the offset before a jump of the other does not set it back.
        if track.last_in.is_none() || offset != track.offset {
            self.offset = Some(offset);
        }
        self.track(kind).offset = offset;
        self.guard(kind, input.saturating_add(offset))
    }

    /// Whether the first frame of a track may stand here beside the other track.
    fn near(&self, out: i64) -> bool {
        let ahead = out.saturating_sub(self.newest.unwrap_or(0));
        (-MAX_TRACK_LAG_MS..=MAX_FORWARD_MS).contains(&ahead)
    }

    fn jump(&mut self, input: i64) -> i64 {
        self.repairs.jumps += 1;
        self.newest.unwrap_or(0).saturating_add(JUMP_STEP_MS).saturating_sub(input)
    }

    /// Never back within a track.
    fn guard(&mut self, kind: Kind, out: i64) -> i64 {
        let floor = self.track(kind).last_out.unwrap_or(0).max(0);
        if out < floor {
            self.repairs.clamped += 1;
        }
        out.max(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &mut Timeline, input: &[(Kind, u32)]) -> Vec<u64> {
        input.iter().map(|&(kind, timestamp)| line.map(kind, timestamp)).collect()
    }
    use Kind::{Audio as A, Video as V};

    #[test]
    fn starts_at_zero_and_keeps_the_distance_of_audio_and_video() {
        let mut line = Timeline::new(Jitter::Full);
        assert_eq!(run(&mut line, &[(V, 5000), (A, 5003), (V, 5040), (A, 5026)]), [0, 3, 40, 26]);
        assert_eq!(line.repairs(), Repairs::default());
    }

    #[test]
    fn audio_that_begins_before_the_first_picture_is_not_lost() {
        let mut line = Timeline::new(Jitter::Full);
        assert_eq!(run(&mut line, &[(V, 1000), (A, 980), (V, 1040), (A, 1003)]), [0, 0, 40, 3]);
    }

    #[test]
    fn a_file_that_loops_jumps_once_and_stays_in_step() {
        let mut line = Timeline::new(Jitter::Full);
        let out = run(
            &mut line,
            &[
                (V, 0),
                (A, 0),
                (V, 9960),
                (A, 9975), // the end
                (V, 0),
                (A, 9998),
                (A, 2),
                (V, 40),
                (A, 25), // audio jumps a frame later than video
            ],
        );
        assert_eq!(out, [0, 0, 9960, 9975, 9985, 9998, 9998, 10025, 10010]);
        assert_eq!(line.repairs().jumps, 1);
    }

    #[test]
    fn a_clock_that_leaps_forward_is_closed_for_both_tracks() {
        let mut line = Timeline::new(Jitter::Full);
        let out = run(&mut line, &[(V, 0), (A, 10), (V, 3_600_000), (A, 3_600_020), (V, 3_600_040)]);
        assert_eq!(out, [0, 10, 20, 40, 60]);
    }

    #[test]
    fn a_pause_of_the_encoder_is_real_time() {
        let mut line = Timeline::new(Jitter::Full);
        assert_eq!(run(&mut line, &[(V, 0), (V, 9_000), (A, 9_010)]), [0, 9_000, 9_010]);
    }

    #[test]
    fn wraps_at_32_and_31_bits_are_seen_through() {
        let mut line = Timeline::new(Jitter::Full);
        assert_eq!(run(&mut line, &[(V, 0xffff_fff0), (A, 0xffff_fffa), (V, 24), (A, 33)]), [0, 10, 40, 49]);
        assert_eq!(line.repairs(), Repairs { wraps: 1, ..Repairs::default() });
        let mut line = Timeline::new(Jitter::Full);
        assert_eq!(run(&mut line, &[(V, 0x7fff_fff0), (A, 0x7fff_fffa), (V, 24), (A, 33)]), [0, 10, 40, 49]);
        assert_eq!(line.repairs(), Repairs { wraps: 1, ..Repairs::default() });
    }

    #[test]
    fn a_32_bit_sender_passes_the_31_bit_mark() {
        let mut line = Timeline::new(Jitter::Full);
        assert_eq!(run(&mut line, &[(V, 0x7fff_fff0), (V, 0x8000_0018), (V, 0x8000_0040)]), [0, 40, 80]);
    }

    #[test]
    fn tracks_that_interleave_badly_are_not_squeezed() {
        let mut line = Timeline::new(Jitter::Full);
        let out = run(&mut line, &[(V, 0), (V, 800), (A, 0), (A, 400), (V, 1600), (A, 800), (A, 1200)]);
        assert_eq!(out, [0, 800, 0, 400, 1600, 800, 1200]);
        assert_eq!(line.repairs(), Repairs::default());
    }

    #[test]
    fn tracks_apart_by_seconds_are_not_taken_for_a_jump() {
        let mut line = Timeline::new(Jitter::Full);
        let mut input = vec![(V, 0), (A, 0)];
        for n in 1..200 {
            input.push((V, n * 40));
            if n > 60 {
                input.push((A, (n - 60) * 40));
            }
        }
        run(&mut line, &input);
        assert_eq!(line.repairs(), Repairs::default());
    }

    #[test]
    fn another_publisher_goes_on_where_the_last_one_ended() {
        let mut line = Timeline::new(Jitter::Full);
        run(&mut line, &[(V, 0), (A, 5), (V, 1000)]);
        line.restart();
        assert_eq!(run(&mut line, &[(V, 77_000), (A, 77_001)]), [1040, 1041]);
    }

    #[test]
    fn zero_only_moves_the_start_and_off_moves_nothing() {
        let mut zero = Timeline::new(Jitter::Zero);
        assert_eq!(run(&mut zero, &[(V, 500), (V, 900_000), (A, 400)]), [0, 899_500, 0]);
        let mut off = Timeline::new(Jitter::Off);
        assert_eq!(run(&mut off, &[(V, 500), (V, 900_000), (A, 400)]), [500, 900_000, 400]);
    }

    #[test]
    fn any_input_is_monotonic_within_each_track() {
        let mut line = Timeline::new(Jitter::Full);
        let mut seed = 0x9e37_79b9u32;
        let mut last = [0u64; 2];
        for n in 0..200_000u32 {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            let timestamp = if seed.is_multiple_of(97) { seed } else { n.wrapping_mul(23) };
            let kind = if seed & 1 == 0 { A } else { V };
            let out = line.map(kind, timestamp);
            let track = usize::from(kind == V);
            assert!(out >= last[track]);
            last[track] = out;
        }
    }
}
