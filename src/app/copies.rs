//! What many ask for, copied once into memory that is lent to the sockets: this spares the kernel a copy for each client.
//!
//! Copies lie one after the other in [`Pages`], which go when the last copy in them does: with its body, or to make room.

use super::memory::Bounds;
use crate::media::hls::Body;
use crate::net::lender::Lender;
use crate::net::socket::{Io, Socket};
use crate::net::sys::Pages;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

/// Requests for a body within which no copy pays.
const RARE: u32 = 3;
/// Bytes of the bodies that are copied: below, a write is as fast; above, the copying would hold up a turn.
const COPIED: std::ops::RangeInclusive<u64> = 32 << 10..=4 << 20;
/// Bodies whose requests are counted.
const KNOWN: usize = 16;
/// Bytes of memory for all copies.
const MAX_COPIED: usize = 8 << 20;
/// With less than this none can be made.
const LEAST: usize = 2 << 20;

/// The copies of the bodies that many ask for.
#[derive(Debug)]
pub struct Copies {
    /// Bytes of memory that they may take.
    limit: usize,
    known: VecDeque<Known>,
    /// The memory, the oldest first. The copies in it hold it.
    lots: Vec<Weak<RefCell<Pages>>>,
    lender: Rc<RefCell<Lender>>,
}

#[derive(Debug)]
struct Known {
    body: Weak<Body>,
    requests: u32,
    copy: Option<Rc<Copy>>,
}

/// A copy of a body.
#[derive(Debug)]
pub struct Copy {
    lot: Rc<RefCell<Pages>>,
    begin: usize,
    lender: Rc<RefCell<Lender>>,
}

impl Default for Copies {
    fn default() -> Copies {
        Copies { limit: MAX_COPIED, known: VecDeque::new(), lots: Vec::new(), lender: Rc::default() }
    }
}

impl Copies {
    /// Keeps to `bounds`: with no more memory than there is for caches.
    pub fn keep_to(&mut self, bounds: Bounds) {
        self.limit = bounds.cache(MAX_COPIED);
        if self.limit < LEAST {
            self.limit = 0;
        }
        self.make_room(0);
    }

    /// Counts a request for a body; gives its copy, if there is one.
    pub fn of(&mut self, body: &Weak<Body>) -> Option<Weak<Copy>> {
        self.sweep();
        let whole = body.upgrade().filter(|whole| COPIED.contains(&whole.len))?;
        let Some(known) = self.known.iter_mut().find(|known| Weak::ptr_eq(&known.body, body)) else {
            if self.known.len() == KNOWN {
                self.known.pop_front();
            }
            self.known.push_back(Known { body: body.clone(), requests: 1, copy: None });
            return None;
        };
        known.requests = known.requests.saturating_add(1);
        if known.copy.is_none() && known.requests > RARE {
            let copy = self.copy(&whole)?;
            let known = self.known.iter_mut().find(|known| Weak::ptr_eq(&known.body, body))?;
            known.copy = Some(Rc::new(copy));
            return known.copy.as_ref().map(Rc::downgrade);
        }
        known.copy.as_ref().map(Rc::downgrade)
    }

    fn copy(&mut self, body: &Body) -> Option<Copy> {
        let len = usize::try_from(body.len).ok().filter(|len| *len <= self.limit)?;
        let last = self.lots.last().and_then(Weak::upgrade).filter(|lot| lot.borrow().room() >= len);
        let lot = match last {
            Some(lot) => lot,
            None => self.lot(len)?,
        };
        let begin = lot.borrow().used();
        let whole = body.chunks.iter().all(|chunk| lot.borrow_mut().append(chunk));
        whole.then(|| Copy { lot, begin, lender: self.lender.clone() })
    }

    /// More memory, in place of the oldest if there is too much. Who is being sent what was there goes on without.
    fn lot(&mut self, len: usize) -> Option<Rc<RefCell<Pages>>> {
        let lot = Rc::new(RefCell::new(Pages::new(len).ok()?));
        let size = lot.borrow().size();
        if size > self.limit {
            return None;
        }
        self.make_room(size);
        self.lots.push(Rc::downgrade(&lot));
        Some(lot)
    }

    fn make_room(&mut self, size: usize) {
        while self.held().saturating_add(size) > self.limit && !self.lots.is_empty() {
            let oldest = self.lots.remove(0);
            let in_it = |copy: &Rc<Copy>| std::ptr::eq(Rc::as_ptr(&copy.lot), oldest.as_ptr());
            for known in &mut self.known {
                known.copy.take_if(|copy| in_it(copy));
            }
        }
    }

    /// Bytes of memory that copies take.
    pub fn held(&self) -> usize {
        self.lots.iter().filter_map(Weak::upgrade).map(|lot| lot.borrow().size()).sum()
    }

    /// Lets go of the copies whose bodies are gone.
    pub fn sweep(&mut self) {
        self.known.retain(|known| known.body.strong_count() > 0);
        self.lots.retain(|lot| lot.strong_count() > 0);
        if self.lots.is_empty() {
            self.lender.take();
        }
    }
}

impl Copy {
    /// Sends up to `len` bytes of it from offset `at`.
    pub fn send(&self, at: u64, len: usize, socket: &mut Socket) -> Io {
        let Some(begin) = usize::try_from(at).ok().and_then(|at| self.begin.checked_add(at)) else {
            return Io::Closed;
        };
        socket.lend(&mut self.lender.borrow_mut(), &self.lot.borrow(), begin, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::memory::Guard;
    use bytes::Bytes;

    fn body(len: usize) -> Rc<Body> {
        Rc::new(Body { len: len as u64, chunks: vec![Bytes::from(vec![7; len])] })
    }

    #[test]
    fn copies_are_few_and_go_with_their_bodies() {
        let mut copies = Copies::default();
        let ask = |copies: &mut Copies, body: &Rc<Body>| {
            (0..RARE).for_each(|_| drop(copies.of(&Rc::downgrade(body))));
            copies.of(&Rc::downgrade(body)).is_some()
        };
        assert!(!ask(&mut copies, &body(20_000)), "too small");
        assert!(!ask(&mut copies, &body(5 << 20)), "too large");
        for size in [3_000_000, 500_000] {
            let bodies: Vec<Rc<Body>> = (0..3 * KNOWN).map(|_| body(size)).collect();
            for body in &bodies {
                assert!(ask(&mut copies, body), "the newest always has one");
                assert!((size..=MAX_COPIED).contains(&copies.held()) && copies.known.len() <= KNOWN);
            }
            let copied = copies.known.iter().filter(|known| known.copy.is_some()).count();
            assert_eq!(copied, if size > 1_000_000 { 2 } else { KNOWN });
            drop(bodies);
            copies.sweep();
            assert_eq!((copies.held(), copies.known.len()), (0, 0));
        }
    }

    #[test]
    fn with_a_budget_there_are_fewer_copies_and_they_go_first() {
        let (mut copies, mut guard) = (Copies::default(), Guard::default());
        let bodies: Vec<Rc<Body>> = (0..4).map(|_| body(1_500_000)).collect();
        let copied = |copies: &mut Copies| {
            bodies.iter().for_each(|body| (0..=RARE).for_each(|_| drop(copies.of(&Rc::downgrade(body)))));
            copies.known.iter().filter(|known| known.copy.is_some()).count()
        };
        assert_eq!(copied(&mut copies), 4);
        for (megabytes, left) in [(1 << 10, 4), (64, 2), (32, 1), (31, 0), (12, 0)] {
            guard.set_budget(megabytes << 20);
            copies.keep_to(guard.bounds());
            assert!(copies.held() <= (megabytes as usize) << 16, "{megabytes} MB");
            assert_eq!(copied(&mut copies), left, "{megabytes} MB");
        }
        guard.set_budget(1 << 30);
        copies.keep_to(guard.bounds());
        assert_eq!(copied(&mut copies), 4);
        guard.weigh(0, crate::app::memory::Used { feeds: 2 << 30, ..Default::default() });
        copies.keep_to(guard.bounds());
        assert_eq!((copied(&mut copies), copies.held()), (0, 0), "memory is short");
    }
}
