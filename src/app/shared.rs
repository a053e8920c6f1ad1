//! A body in memory on its way to one client: chunks that many clients share, and a place in them.
//!
//! The body is held weakly: when its owner lets go of it, nothing more can be sent, and the client's connection ends in
//! the middle. So no client, however slow, keeps a body in memory.
//!
//! What many ask for is sent from a [`Copy`] while there is one.

use super::copies::Copy;
use crate::media::hls::Body;
use crate::net::socket::{Io, Socket};
use std::io::IoSlice;
use std::rc::Weak;

/// Chunks named in one write.
const SLICES: usize = 64;

/// Bytes sent of a copy in one call: more than a turn's budget, since they are not touched.
const LENT: usize = 1 << 20;

/// A body and how much of it was sent.
#[derive(Debug)]
pub struct Shared {
    body: Weak<Body>,
    /// Its copy, while that is kept: in place of the chunks.
    copy: Weak<Copy>,
    chunk: usize,
    offset: usize,
    left: u64,
}

impl Shared {
    /// All of a body, from its copy if there is one; `None` when it is gone already.
    pub fn new(body: Weak<Body>, copy: Option<Weak<Copy>>) -> Option<Shared> {
        let left = body.upgrade()?.len;
        let copy = copy.unwrap_or_default();
        Some(Shared { body, copy, chunk: 0, offset: 0, left })
    }

    /// Writes what comes next, after what waits in `own`, at most about `budget` bytes; gives how many of them were of
    /// `own`. `None`: the body is gone.
    pub fn write(&mut self, own: &[u8], socket: &mut Socket, budget: usize) -> Option<(Io, usize)> {
        let body = self.body.upgrade()?;
        if let Some(copy) = self.copy.upgrade() {
            if !own.is_empty() {
                let io = socket.write_before(own);
                return Some((io, if let Io::Moved(n) = io { n } else { 0 }));
            }
            let len = usize::try_from(self.left).unwrap_or(LENT).min(LENT);
            let io = copy.send(body.len.saturating_sub(self.left), len, socket);
            return match io {
                Io::Moved(n @ 1..) => {
                    self.advance(&body, n);
                    Some((io, 0))
                }
                Io::WouldBlock => Some((io, 0)),
                // A kernel that cannot, or a copy that is not whole: go on from the chunks. A connection that is broken
                // is so for them too.
                Io::Moved(_) | Io::Closed | Io::Broken(_) => {
                    self.copy = Weak::new();
                    Some((Io::Moved(0), 0))
                }
            };
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = match slices.split_first_mut() {
            Some((first, rest)) if !own.is_empty() => {
                *first = IoSlice::new(own);
                1 + self.fill(&body, rest, budget)
            }
            _ => self.fill(&body, &mut slices, budget),
        };
        let io = socket.write(slices.get(..filled)?);
        let Io::Moved(n) = io else { return Some((io, 0)) };
        let of_own = n.min(own.len());
        self.advance(&body, n - of_own);
        Some((io, of_own))
    }

    /// Bytes that are left to be sent.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Fills `slices` with what comes next, at most about `budget` bytes, and says how many it filled.
    fn fill<'a>(&self, body: &'a Body, slices: &mut [IoSlice<'a>], budget: usize) -> usize {
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
    fn advance(&mut self, body: &Body, n: usize) {
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
    use crate::app::copies::Copies;
    use bytes::Bytes;
    use std::rc::Rc;

    #[test]
    fn any_way_of_sending_sends_the_same_until_the_body_goes() {
        let chunks: Vec<Bytes> =
            [10usize, 0, 1, 300, 0, 7].iter().map(|n| Bytes::from(vec![*n as u8; *n])).collect();
        let whole = chunks.concat();
        let body = Rc::new(Body { len: whole.len() as u64, chunks });
        for step in [1, 3, 11, 200, 1000] {
            let mut shared = Shared::new(Rc::downgrade(&body), None).unwrap();
            let mut sent: Vec<u8> = Vec::new();
            while shared.left() > 0 {
                let body = shared.body.upgrade().unwrap();
                let mut slices = [IoSlice::new(&[]); 3];
                let filled = shared.fill(&body, &mut slices, 100);
                let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                let n = bytes.len().min(step);
                sent.extend(&bytes[..n]);
                shared.advance(&body, n);
            }
            assert_eq!(sent, whole);
        }
        let shared = Shared::new(Rc::downgrade(&body), None).unwrap();
        drop(body);
        assert!(shared.body.upgrade().is_none());
        assert!(Shared::new(Weak::new(), None).is_none());
    }

    fn pair() -> (Socket, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sender.set_nonblocking(true).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        (Socket::new(mio::net::TcpStream::from_std(sender)), receiver)
    }

    fn body(len: usize) -> Rc<Body> {
        let chunks: Vec<Bytes> = (0..len / 1000).map(|n| Bytes::from(vec![(n * 31) as u8; 1000])).collect();
        Rc::new(Body { len: (len / 1000 * 1000) as u64, chunks })
    }

    #[test]
    fn what_many_ask_for_is_sent_from_a_copy_and_is_the_same() {
        use std::io::Read;
        let mut copies = Copies::default();
        let body = body(700_000);
        let weak = Rc::downgrade(&body);
        let given: Vec<bool> = (0..6).map(|_| copies.of(&weak).is_some()).collect();
        assert_eq!(given, [false, false, false, true, true, true]);
        // The second loses its copy in the middle, the third has none.
        for case in 0..3 {
            let copy = if case < 2 { copies.of(&weak) } else { None };
            let (mut socket, mut receiver) = pair();
            let mut shared = Shared::new(weak.clone(), copy).unwrap();
            let (mut own, mut got) = (&b"head"[..], Vec::new());
            while shared.left() > 0 {
                let (io, of_own) = shared.write(own, &mut socket, 100_000).unwrap();
                own = &own[of_own..];
                if io == Io::WouldBlock {
                    let mut some = vec![0; 50_000];
                    let n = receiver.read(&mut some).unwrap();
                    got.extend_from_slice(&some[..n]);
                }
                assert!(!matches!(io, Io::Broken(_)));
                if case == 1 && shared.left() < 400_000 {
                    copies = Copies::default();
                }
            }
            drop(socket);
            receiver.read_to_end(&mut got).unwrap();
            assert!(got.starts_with(b"head") && got[4..] == body.chunks.concat(), "case {case}");
        }
    }
}
