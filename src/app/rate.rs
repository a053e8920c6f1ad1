//! How fast a stream comes in, over the last seconds.
//!
//! Once a second the total so far is marked; the rate is what came since the oldest mark. So a message costs one
//! comparison, and the figure is measured over [`MARKS`] seconds, not smoothed.

/// Marks kept: the seconds over which is measured.
const MARKS: usize = 5;
/// Time between two marks in milliseconds.
const EVERY_MS: u64 = 1_000;

/// A total at a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    at_ms: u64,
    bytes: u64,
}

/// Measures a rate.
#[derive(Debug, Default)]
pub struct Rate {
    /// The oldest comes first.
    marks: [Mark; MARKS],
}

impl Rate {
    /// Measuring begins, or begins anew, at a total of `bytes`.
    pub fn begin(&mut self, now: u64, bytes: u64) {
        self.marks = [Mark { at_ms: now, bytes }; MARKS];
    }

    /// The total has grown to `bytes`.
    pub fn note(&mut self, now: u64, bytes: u64) {
        let [.., newest] = self.marks;
        if now.saturating_sub(newest.at_ms) >= EVERY_MS {
            self.marks.rotate_left(1);
            let [.., newest] = &mut self.marks;
            *newest = Mark { at_ms: now, bytes };
        }
    }

    /// Kilobits (1000 bits) a second, at a total of `bytes` now; `None` until a second has been measured.
    pub fn kbps(&self, now: u64, bytes: u64) -> Option<u64> {
        let [oldest, ..] = self.marks;
        let ms = now.saturating_sub(oldest.at_ms);
        let bits = bytes.saturating_sub(oldest.bytes).saturating_mul(8);
        (ms >= EVERY_MS).then(|| bits.checked_div(ms)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shows_within_the_seconds_that_are_measured() {
        let mut rate = Rate::default();
        let (mut now, mut bytes) = (90_000, 7_000);
        rate.begin(now, bytes);
        assert_eq!(rate.kbps(now + 999, bytes), None);
        let mut run = |rate: &mut Rate, seconds: u64, per_message: u64| {
            for _ in 0..seconds * 25 {
                (now, bytes) = (now + 40, bytes + per_message);
                rate.note(now, bytes);
            }
            rate.kbps(now, bytes).unwrap()
        };
        assert_eq!(run(&mut rate, 2, 5_000), 1_000, "25 messages of 5,000 bytes a second");
        assert_eq!(run(&mut rate, 60, 5_000), 1_000);
        assert_eq!(run(&mut rate, 6, 10_000), 2_000);
    }

    #[test]
    fn silence_brings_it_down() {
        let mut rate = Rate::default();
        rate.begin(0, 0);
        rate.note(1_000, 125_000);
        assert_eq!(rate.kbps(1_000, 125_000), Some(1_000));
        assert_eq!(rate.kbps(10_000, 125_000), Some(100));
        rate.begin(10_000, 125_000);
        assert_eq!(rate.kbps(11_000, 125_000), Some(0));
    }
}
