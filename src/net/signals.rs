//! Signals as events of the loop: each sets its flag and writes a byte into a pipe that the poll watches.
#![forbid(unsafe_code)]

use mio::net::UnixStream;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop now.
    Stop,
    /// SIGQUIT: take nobody new, let those here finish.
    Drain,
    /// SIGUSR1: open the log file again.
    ReopenLog,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR2: start the program again and hand over to it.
    Upgrade,
    /// SIGCHLD: a program that we have started has ended.
    Child,
}

const WATCHED: [(i32, Signal); 7] = [
    (SIGTERM, Signal::Stop),
    (SIGINT, Signal::Stop),
    (SIGQUIT, Signal::Drain),
    (SIGUSR1, Signal::ReopenLog),
    (SIGHUP, Signal::Reload),
    (SIGUSR2, Signal::Upgrade),
    (SIGCHLD, Signal::Child),
];

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    pipe: UnixStream,
    flags: Vec<(Arc<AtomicBool>, Signal)>,
}

impl Signals {
    /// Takes over the signals (SIGPIPE is ignored by Rust's start-up code already).
    ///
    /// # Errors
    /// When no pipe or handler can be had.
    pub fn new() -> io::Result<Signals> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // A file over the limit (`ulimit -f`) is a fault of that file, as a full disk is, and no reason to end.
        signal_hook::flag::register(libc::SIGXFSZ, Arc::default())?;
        let mut flags = Vec::new();
        for (number, signal) in WATCHED {
            let flag = Arc::new(AtomicBool::new(false));
            // The flag is set before the byte is written: handlers run in the order of registration.
            signal_hook::flag::register(number, flag.clone())?;
            signal_hook::low_level::pipe::register(number, theirs.try_clone()?)?;
            flags.push((flag, signal));
        }
        Ok(Signals { pipe: UnixStream::from_std(ours), flags })
    }

    /// The pipe, for registration.
    pub fn source(&mut self) -> &mut UnixStream {
        &mut self.pipe
    }

    /// The signals that came since the last call.
    pub fn take(&mut self) -> Vec<Signal> {
        let mut bytes = [0; 64];
        while matches!(self.pipe.read(&mut bytes), Ok(n) if n > 0) {}
        let came = |(flag, signal): &(Arc<AtomicBool>, Signal)| {
            flag.swap(false, Ordering::SeqCst).then_some(*signal)
        };
        self.flags.iter().filter_map(came).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_signal_is_seen_once() {
        let mut signals = Signals::new().unwrap();
        // Other tests start programs, which end.
        let mut take = || -> Vec<Signal> {
            signals.take().into_iter().filter(|signal| *signal != Signal::Child).collect()
        };
        assert_eq!(take(), []);
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        assert_eq!(take(), [Signal::ReopenLog]);
        assert_eq!(take(), []);
    }
}
