//! Sends bytes that stay in memory to many sockets without a copy for each: their pages are lent to a pipe and moved on
//! from there.
//!
//! Invariant: the pipe is empty between two calls. What a socket did not take goes with the pipe, so that no socket ever
//! gets what was meant for another.

use super::sys::{self, Pages};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Bytes that are lent at once.
const SIZE: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Lender {
    /// Where to read and where to write; made when it is needed.
    pipe: Option<(File, File)>,
}

impl Lender {
    /// Sends up to `len` bytes of `pages` from offset `begin`; says how many, never 0.
    ///
    /// # Errors
    /// What the system says: `WouldBlock` when the socket has no room; `InvalidInput` for bytes that are not there.
    pub fn send(&mut self, pages: &Pages, begin: usize, len: usize, to: &impl AsRawFd) -> io::Result<usize> {
        let pipe = match self.pipe.take() {
            Some(pipe) => pipe,
            None => sys::pipe(SIZE).map(|(read, write, _)| (read, write))?,
        };
        let lent = pages.lend(begin, len.min(SIZE), &pipe.1)?;
        let sent = sys::splice_out(&pipe.0, to, lent, lent < len)?;
        if sent == lent {
            self.pipe = Some(pipe);
        }
        if sent == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(sent) }
    }
}
