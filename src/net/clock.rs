//! The time of day, for names and dates. Nothing is timed by it: it can be set back.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970; 0 while the clock is before that.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
