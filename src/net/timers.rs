//! Deadlines. A key has at most one; setting it again moves it. Moving later costs nothing: the entry in the
//! heap stays where it is and is put back when it comes up too early.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;

/// Memory is given back when less than one in so many places is in use,
const SPARSE: usize = 4;
/// unless there are only so many.
const SMALL: usize = 256;

/// Deadlines in milliseconds of the loop's clock, by key.
#[derive(Debug)]
pub struct Timers<K> {
    heap: BinaryHeap<Reverse<(u64, K)>>,
    due: HashMap<K, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// When the key is wanted.
    at: u64,
    /// The earliest heap entry of this key.
    queued: u64,
}

impl<K: Copy + Eq + Hash + Ord> Default for Timers<K> {
    fn default() -> Self {
        Timers { heap: BinaryHeap::new(), due: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash + Ord> Timers<K> {
    /// Sets or moves the deadline of `key`.
    pub fn set(&mut self, key: K, at: u64) {
        match self.due.get_mut(&key) {
            Some(entry) if entry.queued <= at => entry.at = at,
            _ => {
                self.due.insert(key, Entry { at, queued: at });
                self.heap.push(Reverse((at, key)));
            }
        }
    }

    /// Removes the deadline of `key`.
    pub fn clear(&mut self, key: K) {
        self.due.remove(&key);
        self.shrink();
    }

    /// Gives memory back when little of it is in use: after a storm of connections, of which few keep a deadline.
    fn shrink(&mut self) {
        if self.due.len() < self.due.capacity() / SPARSE && self.due.capacity() > SMALL {
            self.due.shrink_to(self.due.len() * 2);
        }
        if self.heap.len() < self.heap.capacity() / SPARSE && self.heap.capacity() > SMALL {
            self.heap.shrink_to(self.heap.len() * 2);
        }
    }

    /// When something is due next (it may be a little before a deadline that was moved).
    pub fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next key whose deadline has come.
    pub fn pop(&mut self, now: u64) -> Option<K> {
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            match self.due.get_mut(&key) {
                Some(entry) if entry.queued != at => {}
                Some(entry) if entry.at > now => {
                    entry.queued = entry.at;
                    self.heap.push(Reverse((entry.at, key)));
                }
                Some(_) => {
                    self.clear(key);
                    return Some(key);
                }
                None => {}
            }
        }
        self.shrink();
        None
    }

    /// Deadlines held.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether no deadline is held.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_up_once_in_order_and_not_before_their_time() {
        let mut timers = Timers::default();
        timers.set("b", 20);
        timers.set("a", 10);
        timers.set("c", 30);
        assert_eq!(timers.pop(9), None);
        assert_eq!((timers.pop(25), timers.pop(25), timers.pop(25)), (Some("a"), Some("b"), None));
        assert_eq!(timers.next(), Some(30));
    }

    #[test]
    fn a_deadline_can_move_both_ways_and_go() {
        let mut timers = Timers::default();
        timers.set(1, 10);
        timers.set(1, 50);
        assert_eq!(timers.pop(10), None);
        timers.set(1, 20);
        assert_eq!(timers.pop(20), Some(1));
        assert_eq!(timers.pop(100), None);
        timers.set(2, 5);
        timers.clear(2);
        assert_eq!(timers.pop(100), None);
        assert!(timers.is_empty());
    }

    #[test]
    fn pushing_a_deadline_forward_for_a_day_does_not_grow_the_heap() {
        let mut timers = Timers::default();
        for now in 0..100_000 {
            timers.set(7, now + 30_000);
            timers.pop(now);
            assert!(timers.heap.len() <= 2);
        }
    }
}
