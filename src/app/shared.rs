//! A body in memory on its way to one client: chunks that many clients share, and a place in them.
//!
//! The body is held weakly: when its owner lets go of it, nothing more can be sent, and the client's connection ends in
//! the middle. So no client, however slow, keeps a body in memory.

use crate::media::hls::Body;
use std::io::IoSlice;
use std::rc::{Rc, Weak};

/// Chunks named in one write.
pub const SLICES: usize = 64;

/// A body and how much of it was sent.
#[derive(Debug)]
pub struct Shared {
    body: Weak<Body>,
    chunk: usize,
    offset: usize,
    left: u64,
}

impl Shared {
    /// All of a body; `None` when it is gone already.
    pub fn new(body: Weak<Body>) -> Option<Shared> {
        let left = body.upgrade()?.len;
        Some(Shared { body, chunk: 0, offset: 0, left })
    }

    /// Bytes that are left to be sent.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The body, while it is kept.
    pub fn body(&self) -> Option<Rc<Body>> {
        self.body.upgrade()
    }

    /// Fills `slices` with what comes next, at most about `budget` bytes, and says how many it filled.
    pub fn fill<'a>(&self, body: &'a Body, slices: &mut [IoSlice<'a>], budget: usize) -> usize {
        let (mut filled, mut bytes, mut skip) = (0, 0usize, self.offset);
        for (slice, chunk) in slices.iter_mut().zip(body.chunks.get(self.chunk..).unwrap_or_default()) {
            if bytes >= budget {
                break;
            }
            let rest = chunk.get(skip..).unwrap_or_default();
            skip = 0;
            bytes = bytes.saturating_add(rest.len());
            *slice = IoSlice::new(rest);
            filled += 1;
        }
        filled
    }

    /// `n` bytes were sent.
    pub fn advance(&mut self, body: &Body, n: usize) {
        self.left = self.left.saturating_sub(n as u64);
        self.offset = self.offset.saturating_add(n);
        while let Some(chunk) = body.chunks.get(self.chunk).filter(|chunk| chunk.len() <= self.offset) {
            self.offset -= chunk.len();
            self.chunk += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn any_way_of_sending_sends_the_same_until_the_body_goes() {
        let chunks: Vec<Bytes> =
            [10usize, 0, 1, 300, 0, 7].iter().map(|n| Bytes::from(vec![*n as u8; *n])).collect();
        let whole = chunks.concat();
        let body = Rc::new(Body { len: whole.len() as u64, chunks });
        for step in [1, 3, 11, 200, 1000] {
            let mut shared = Shared::new(Rc::downgrade(&body)).unwrap();
            let mut sent: Vec<u8> = Vec::new();
            while shared.left() > 0 {
                let body = shared.body().unwrap();
                let mut slices = [IoSlice::new(&[]); 3];
                let filled = shared.fill(&body, &mut slices, 100);
                let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                let n = bytes.len().min(step);
                sent.extend(&bytes[..n]);
                shared.advance(&body, n);
            }
            assert_eq!(sent, whole);
        }
        let shared = Shared::new(Rc::downgrade(&body)).unwrap();
        drop(body);
        assert!(shared.body().is_none());
        assert!(Shared::new(Weak::new()).is_none());
    }
}
