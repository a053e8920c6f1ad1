//! The time of day, for names and dates. Nothing is timed by it: it can be set back.

use super::sys;

/// Milliseconds since 1970; 0 while the clock is before that.
pub fn unix_ms() -> u64 {
    u64::try_from(sys::unix_time().as_millis()).unwrap_or(u64::MAX)
}
