//! One time line for all processes of a run.
//!
//! `Instant` means nothing outside its process, so every process is told the same origin (microseconds since the
//! Unix epoch, taken by the parent) and anchors its own monotonic clock to it once, when it starts. After that
//! the wall clock is not read again, so a step of the system time in the middle of a run changes nothing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the origin that the parent chose.
#[derive(Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_us: u64,
}

/// The wall clock in microseconds since the Unix epoch.
pub fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl Clock {
    /// Anchors this process to `origin_us`, a value of [`wall_us`] taken by the parent.
    pub fn new(origin_us: u64) -> Clock {
        Clock { start: Instant::now(), start_us: wall_us().saturating_sub(origin_us) }
    }

    /// Microseconds since the origin.
    pub fn now_us(&self) -> u64 {
        self.start_us + u64::try_from(self.start.elapsed().as_micros()).unwrap_or(0)
    }
}
