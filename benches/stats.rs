//! Percentiles of times in microseconds.

const MAX_SAMPLES: usize = 4_000_000;

/// Collected times.
pub struct Samples(Vec<u32>);

/// What is reported of them.
#[derive(Default)]
pub struct Summary {
    /// How many there were.
    pub count: usize,
    /// Median.
    pub p50: u32,
    /// 99th percentile.
    pub p99: u32,
    /// The largest.
    pub max: u32,
}

impl Samples {
    /// Nothing yet.
    pub fn new() -> Samples {
        Samples(Vec::new())
    }

    /// Adds a time.
    pub fn add(&mut self, micros: u64) {
        if self.0.len() < MAX_SAMPLES {
            self.0.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
    }

    /// Summarizes and starts again.
    pub fn take(&mut self) -> Summary {
        let mut all = std::mem::take(&mut self.0);
        all.sort_unstable();
        let Some(max) = all.last().copied() else { return Summary::default() };
        let at = |part: usize| all[(all.len() * part / 100).min(all.len() - 1)];
        Summary { count: all.len(), p50: at(50), p99: at(99), max }
    }
}
