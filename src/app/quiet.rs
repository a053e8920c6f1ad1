//! Log lines about bad peers, limited: ten thousand of them must not fill a router's flash.

use std::collections::HashMap;

/// Lines of one kind in one window that are written out.
const BURST: u32 = 10;
/// Length of a window in milliseconds.
const WINDOW_MS: u64 = 10_000;

#[derive(Debug, Default)]
struct Window {
    since: u64,
    lines: u32,
}

/// Decides which lines are written.
#[derive(Debug, Default)]
pub struct Quiet {
    kinds: HashMap<&'static str, Window>,
}

impl Quiet {
    /// Whether a line of this kind is to be written now; with a number, that many before it were left out.
    pub fn allow(&mut self, kind: &'static str, now: u64) -> Option<u32> {
        let window = self.kinds.entry(kind).or_insert(Window { since: now, lines: 0 });
        let mut left_out = 0;
        if now.saturating_sub(window.since) >= WINDOW_MS {
            left_out = window.lines.saturating_sub(BURST);
            *window = Window { since: now, lines: 0 };
        }
        window.lines = window.lines.saturating_add(1);
        (window.lines <= BURST).then_some(left_out)
    }

    /// How a line tells that `left_out` others like it were left out before.
    pub fn more(left_out: u32) -> String {
        if left_out > 0 { format!(" ({left_out} more like this before)") } else { String::new() }
    }

    /// When lines that were left out can be told of, if no other of their kind comes before.
    pub fn due(&self) -> Option<u64> {
        let cut = self.kinds.values().filter(|window| window.lines > BURST);
        cut.map(|window| window.since.saturating_add(WINDOW_MS)).min()
    }

    /// A kind of which lines were left out in a window that is over, and how many; told once.
    pub fn left_out(&mut self, now: u64) -> Option<(&'static str, u32)> {
        let over = |window: &Window| window.lines > BURST && now.saturating_sub(window.since) >= WINDOW_MS;
        let (kind, window) = self.kinds.iter_mut().find(|(_, window)| over(window))?;
        let left_out = window.lines.saturating_sub(BURST);
        *window = Window { since: now, lines: 0 };
        Some((kind, left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut quiet = Quiet::default();
        let written = (0..1000).filter(|n| quiet.allow("garbage", *n).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(quiet.allow("other", 1000), Some(0));
        assert_eq!(quiet.allow("garbage", 20_000), Some(990));
        assert_eq!(quiet.allow("garbage", 20_001), Some(0));
    }

    #[test]
    fn the_rest_of_a_flood_is_told_when_no_more_comes() {
        let mut quiet = Quiet::default();
        assert_eq!((0..10).filter(|n| quiet.allow("garbage", *n).is_some()).count(), 10);
        assert_eq!((quiet.due(), quiet.left_out(99_999)), (None, None));
        assert_eq!((10..17).filter(|n| quiet.allow("garbage", *n).is_some()).count(), 0);
        let due = quiet.due().unwrap();
        assert_eq!(quiet.left_out(due - 1), None);
        assert_eq!(quiet.left_out(due), Some(("garbage", 7)));
        assert_eq!((quiet.due(), quiet.left_out(due)), (None, None));
        assert_eq!(quiet.allow("garbage", due + 1), Some(0));
    }
}
