//! How long the turns of the loop take: while one lasts, everybody waits.

/// Classes of length: each is twice as long as the one before, the first below 16 µs, the last above 0.25 s.
const CLASSES: usize = 16;
const FIRST_BITS: u32 = 4;

/// Lengths of turns, waiting not counted.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Turns {
    longest_us: u64,
    classes: [u32; CLASSES],
}

impl Turns {
    /// Counts a turn of `us` microseconds.
    pub(super) fn add(&mut self, us: u64) {
        self.longest_us = self.longest_us.max(us);
        let bits = (u64::BITS - us.leading_zeros()).saturating_sub(FIRST_BITS) as usize;
        if let Some(count) = self.classes.get_mut(bits.min(CLASSES - 1)) {
            *count = count.saturating_add(1);
        }
    }

    /// The longest, in microseconds.
    pub(super) fn longest_us(&self) -> u64 {
        self.longest_us
    }

    /// Turns counted.
    pub(super) fn count(&self) -> u64 {
        self.classes.iter().map(|count| u64::from(*count)).sum()
    }

    /// Microseconds that 99 of 100 turns stay below: the upper end of a class, or the longest if that is less.
    pub(super) fn most_us(&self) -> u64 {
        let above = self.count() / 100;
        let mut left = self.count();
        for (class, count) in self.classes.iter().enumerate() {
            left -= u64::from(*count);
            if left <= above {
                return (1 << (FIRST_BITS + class as u32)).min(self.longest_us);
            }
        }
        self.longest_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_and_the_most_are_told_apart() {
        let mut turns = Turns::default();
        assert_eq!((turns.count(), turns.most_us(), turns.longest_us()), (0, 0, 0));
        for _ in 0..990 {
            turns.add(100);
        }
        for _ in 0..10 {
            turns.add(7_000);
        }
        assert_eq!((turns.count(), turns.most_us(), turns.longest_us()), (1000, 128, 7_000));
        turns.add(u64::MAX);
        turns.add(0);
        assert_eq!((turns.count(), turns.most_us()), (1002, 8192));
    }
}
