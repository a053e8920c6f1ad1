//! The poll and the clock of the loop.
#![forbid(unsafe_code)]

use super::slots::{Id, MAX_SLOTS};
use mio::event::Source;
use mio::{Interest, Token};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events taken from the kernel in one turn.
const EVENTS: usize = 1024;

/// Who an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The listener with this number.
    Listener(usize),
    /// The signal pipe.
    Signals,
    /// Whoever finds that a helper thread has an answer.
    Waker,
    /// The process that is to take over.
    Successor,
    /// One of the programs that run beside the server.
    Programs,
    /// A connection.
    Connection(Id),
    /// A connection that was opened from here, to ask something: its number, below [`MAX_LINES`].
    Line(u16),
}

/// Listeners at most: their tokens lie above the highest slot, in every generation's number.
pub const MAX_LISTENERS: usize = 14;
const SPECIAL: usize = MAX_SLOTS + 1;
/// Connections opened from here at most: their numbers lie where those of slots have the generation.
pub const MAX_LINES: usize = 1 << 12;
const LINES: usize = SPECIAL + 4 + MAX_LISTENERS;
const LINE_BITS: u32 = 20;

impl Who {
    fn token(self) -> Token {
        Token(match self {
            Who::Listener(n) => SPECIAL + 1 + n,
            Who::Signals => SPECIAL,
            Who::Waker => SPECIAL + 1 + MAX_LISTENERS,
            Who::Successor => SPECIAL + 2 + MAX_LISTENERS,
            Who::Programs => SPECIAL + 3 + MAX_LISTENERS,
            Who::Connection(id) => id.token(),
            Who::Line(n) => (usize::from(n) % MAX_LINES) << LINE_BITS | LINES,
        })
    }

    fn from_token(Token(token): Token) -> Who {
        if token & ((1 << LINE_BITS) - 1) == LINES {
            return Who::Line((token >> LINE_BITS) as u16);
        }
        match token.checked_sub(SPECIAL) {
            Some(0) => Who::Signals,
            Some(n) if n <= MAX_LISTENERS => Who::Listener(n - 1),
            Some(n) if n == MAX_LISTENERS + 1 => Who::Waker,
            Some(n) if n == MAX_LISTENERS + 2 => Who::Successor,
            Some(n) if n == MAX_LISTENERS + 3 => Who::Programs,
            _ => Who::Connection(Id::from_token(token)),
        }
    }
}

/// An edge of readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// For whom.
    pub who: Who,
    /// Something to read, or the peer has closed.
    pub readable: bool,
    /// Room to write, or the connection broke.
    pub writable: bool,
    /// The peer has closed its side, or the connection broke: read to the end.
    pub closed: bool,
}

/// The poll with its clock.
#[derive(Debug)]
pub struct Poll {
    poll: mio::Poll,
    events: mio::Events,
    started: Instant,
}

impl Poll {
    /// # Errors
    /// When the system has no poll left to give.
    pub fn new() -> io::Result<Poll> {
        Ok(Poll {
            poll: mio::Poll::new()?,
            events: mio::Events::with_capacity(EVENTS),
            started: Instant::now(),
        })
    }

    /// Milliseconds since the poll was made, on a clock that never steps.
    pub fn now(&self) -> u64 {
        self.now_us() / 1000
    }

    /// The same in microseconds.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Watches a source for reading and writing.
    ///
    /// # Errors
    /// What the system says.
    pub fn register(&self, source: &mut impl Source, who: Who) -> io::Result<()> {
        let interest = match who {
            Who::Connection(_) | Who::Line(_) => Interest::READABLE | Interest::WRITABLE,
            _ => Interest::READABLE,
        };
        self.poll.registry().register(source, who.token(), interest)
    }

    /// Stops watching (a source that is about to be closed needs no check).
    pub fn deregister(&self, source: &mut impl Source) {
        let _ = self.poll.registry().deregister(source);
    }

    /// What helper threads wake this poll with; its event is for [`Who::Waker`]. One for each poll: clone it.
    ///
    /// # Errors
    /// When the system has no descriptor left to give.
    pub fn waker(&self) -> io::Result<Waker> {
        Ok(Waker(Arc::new(mio::Waker::new(self.poll.registry(), Who::Waker.token())?)))
    }

    /// Waits until something happens, at most `timeout_ms` (`None`: for ever), and adds what did to `into`.
    ///
    /// # Errors
    /// What the system says; an interruption by a signal is not an error.
    pub fn wait(&mut self, timeout_ms: Option<u64>, into: &mut Vec<Ready>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout_ms.map(Duration::from_millis)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        into.extend(self.events.iter().map(|event| Ready {
            who: Who::from_token(event.token()),
            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
            closed: event.is_read_closed() || event.is_error(),
        }));
        Ok(())
    }
}

/// Ends the wait of a poll from another thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<mio::Waker>);

impl Waker {
    /// Wakes the poll. It fails only when a wake-up is pending already, or the poll is gone.
    pub fn wake(&self) {
        let _ = self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_listeners_and_signals_never_meet_those_of_connections() {
        for who in [
            Who::Signals,
            Who::Waker,
            Who::Successor,
            Who::Programs,
            Who::Listener(0),
            Who::Listener(MAX_LISTENERS - 1),
        ] {
            assert_eq!(Who::from_token(who.token()), who);
        }
        for n in [0, 1, 31, MAX_LINES as u16 - 1] {
            assert_eq!(Who::from_token(Who::Line(n).token()), Who::Line(n));
        }
        let id = Id::from_token(5 | (7 << 20));
        assert_eq!(Who::from_token(Who::Connection(id).token()), Who::Connection(id));
        const { assert!(LINES < 1 << LINE_BITS) };
        const { assert!(SPECIAL + MAX_LISTENERS + 3 < 1 << 20) };
    }
}
