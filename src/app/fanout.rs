//! The viewers of a stream, in phases.
//!
//! Merged writing sends to each viewer once in `mw_latency`. Were all sent to at the same moment, ten thousand
//! viewers would hold up the loop for 100 ms; so the interval has [`PHASES`] slots, each viewer has one, and each slot
//! its own moment. Only slots with viewers in them tick, and none does while the stream is silent.

use crate::net::slots::Id;

/// Slots in one interval.
pub const PHASES: usize = 32;
/// Number of a slot.
pub type Phase = u8;

/// Viewers by phase.
#[derive(Debug, Default)]
pub struct Fanout {
    /// Empty until the first viewer comes.
    slots: Vec<Vec<Id>>,
    count: usize,
    ticked_at: u64,
}

/// Slots in the order in which they are filled: always far from those filled before.
fn spread(n: usize) -> usize {
    (n as u32).reverse_bits() as usize >> (32 - PHASES.trailing_zeros())
}

impl Fanout {
    /// Viewers in all phases.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no viewer.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a viewer and gives its phase.
    pub fn add(&mut self, id: Id) -> Phase {
        if self.slots.is_empty() {
            self.slots.resize_with(PHASES, Vec::new);
        }
        let load = |phase: usize| self.slots.get(phase).map_or(usize::MAX, Vec::len);
        let phase = (0..PHASES).map(spread).min_by_key(|phase| load(*phase)).unwrap_or(0);
        if let Some(slot) = self.slots.get_mut(phase) {
            slot.push(id);
            self.count += 1;
        }
        phase as Phase
    }

    /// Removes a viewer.
    pub fn remove(&mut self, id: Id, phase: Phase) {
        let Some(slot) = self.slots.get_mut(usize::from(phase)) else { return };
        if let Some(at) = slot.iter().position(|viewer| *viewer == id) {
            slot.swap_remove(at);
            self.count -= 1;
        }
        if self.count == 0 {
            self.slots = Vec::new();
        }
    }

    /// All viewers.
    pub fn all(&self) -> impl Iterator<Item = Id> {
        self.slots.iter().flatten().copied()
    }

    /// When the next slot with viewers is due after `now`, at an interval of `interval_ms`.
    pub fn next_tick(&self, now: u64, interval_ms: u64) -> Option<u64> {
        let interval = interval_ms.max(1);
        let due = |phase: usize| {
            let offset = interval * phase as u64 / PHASES as u64;
            let into = (now % interval + interval - offset) % interval;
            now + (interval - into)
        };
        let used = self.slots.iter().enumerate().filter(|(_, slot)| !slot.is_empty());
        used.map(|(phase, _)| due(phase)).min()
    }

    /// The viewers whose moment has come since the last call.
    pub fn tick(&mut self, now: u64, interval_ms: u64) -> impl Iterator<Item = Id> {
        let interval = interval_ms.max(1);
        let since = std::mem::replace(&mut self.ticked_at, now);
        let all = now.saturating_sub(since) >= interval;
        let due = move |phase: usize| {
            let offset = interval * phase as u64 / PHASES as u64;
            // Whether a moment of this phase lies in (since, now].
            all || (now + interval - offset) / interval > (since + interval - offset) / interval
        };
        let slots = self.slots.iter().enumerate();
        slots.filter(move |(phase, _)| due(*phase)).flat_map(|(_, slot)| slot.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn each_viewer_is_due_once_an_interval_and_turns_are_small() {
        let mut fanout = Fanout::default();
        for n in 0..9_000 {
            fanout.add(Id::from_token(n));
        }
        let mut seen: HashMap<Id, u32> = HashMap::new();
        let mut now = 1_000;
        let mut first = true;
        while let Some(at) = fanout.next_tick(now, 350) {
            now = at;
            if now > 1_000 + 10 * 350 {
                break;
            }
            let due: Vec<Id> = fanout.tick(now, 350).collect();
            assert!(first || due.len() <= 9_000 / PHASES + 1, "{} at {now}", due.len());
            first = false;
            for id in due {
                *seen.entry(id).or_default() += 1;
            }
        }
        assert_eq!(seen.len(), 9_000);
        assert!(seen.values().all(|times| (10..=11).contains(times)), "{:?}", seen.values().max());
    }

    #[test]
    fn one_viewer_wakes_the_loop_once_an_interval() {
        let mut fanout = Fanout::default();
        let phase = fanout.add(Id::from_token(7));
        let (mut now, mut ticks) = (0, 0);
        while let Some(at) = fanout.next_tick(now, 350).filter(|at| *at <= 35_000) {
            now = at;
            ticks += fanout.tick(now, 350).count();
        }
        assert_eq!(ticks, 100);
        fanout.remove(Id::from_token(7), phase);
        assert_eq!((fanout.next_tick(now, 350), fanout.len()), (None, 0));
    }

    #[test]
    fn few_viewers_are_far_apart() {
        let mut fanout = Fanout::default();
        let phases: Vec<Phase> = (0..4).map(|n| fanout.add(Id::from_token(n))).collect();
        assert_eq!(phases, [0, 16, 8, 24]);
    }
}
