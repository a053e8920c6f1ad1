//! Names of hosts to addresses. The system's lookup may wait for half a minute, so each runs on a short-lived thread of
//! its own and wakes the loop when it has an answer.
//!
//! Invariant: at most [`MAX_LOOKUPS`] threads, and one for each name. Nothing is cached: the system does that.
#![forbid(unsafe_code)]

use super::poll::Waker;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

/// Lookups at one time.
pub const MAX_LOOKUPS: usize = 8;
/// Addresses of one name that are kept.
pub const MAX_ADDRESSES: usize = 16;
/// The system's lookup has buffers on its stack.
const STACK: usize = 256 << 10;

/// The addresses of a `host:port`, at least one, or why there are none.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked for.
    pub name: String,
    /// The addresses in the system's order of preference.
    pub found: Result<Vec<SocketAddr>, String>,
}

/// Lookups on their way.
#[derive(Debug)]
pub struct Resolver {
    waker: Waker,
    answers: Arc<Mutex<Vec<Answer>>>,
    asked: Vec<String>,
}

impl Resolver {
    /// Nothing is asked yet. `waker` ends the wait of the loop, which then calls [`Resolver::answer`].
    pub fn new(waker: Waker) -> Resolver {
        Resolver { waker, answers: Arc::default(), asked: Vec::new() }
    }

    /// Asks for the addresses of a `host:port`; a question that is on its way already answers this one too.
    ///
    /// # Errors
    /// When there are [`MAX_LOOKUPS`] already, or the system has no thread to give: ask again later.
    pub fn ask(&mut self, name: &str) -> io::Result<()> {
        if self.asked.iter().any(|asked| asked == name) {
            return Ok(());
        }
        if self.asked.len() >= MAX_LOOKUPS {
            return Err(io::Error::other("too many names are being looked up"));
        }
        let (asked, answers, waker) = (name.to_owned(), self.answers.clone(), self.waker.clone());
        let look = move || {
            let found = match asked.to_socket_addrs() {
                Ok(list) => Ok(list.take(MAX_ADDRESSES).collect::<Vec<_>>()),
                Err(error) => Err(error.to_string()),
            };
            let found = match found {
                Ok(list) if list.is_empty() => Err(String::from("it has no address")),
                found => found,
            };
            let answer = Answer { name: asked, found };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            waker.wake();
        };
        std::thread::Builder::new().name("resolver".into()).stack_size(STACK).spawn(look)?;
        self.asked.push(name.to_owned());
        Ok(())
    }

    /// The next answer that is there.
    pub fn answer(&mut self) -> Option<Answer> {
        let answer = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        self.asked.retain(|asked| *asked != answer.name);
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::poll::{Poll, Who};
    use super::*;

    #[test]
    fn the_loop_is_woken_with_addresses_or_with_a_reason() {
        let mut poll = Poll::new().unwrap();
        let mut resolver = Resolver::new(poll.waker().unwrap());
        for name in ["localhost:1935", "localhost:1935", "no-such-host.invalid:1"] {
            resolver.ask(name).unwrap();
        }
        assert_eq!(resolver.asked.len(), 2, "a name is looked up once");
        let mut answers = Vec::new();
        while answers.len() < 2 {
            let mut events = Vec::new();
            poll.wait(Some(60_000), &mut events).unwrap();
            assert!(events.iter().all(|event| event.who == Who::Waker) && !events.is_empty());
            answers.extend(std::iter::from_fn(|| resolver.answer()));
        }
        for answer in answers {
            match answer.found {
                Ok(list) => assert!(
                    answer.name == "localhost:1935"
                        && list.iter().all(|addr| addr.port() == 1935 && addr.ip().is_loopback())
                ),
                Err(_) => assert_eq!(answer.name, "no-such-host.invalid:1"),
            }
        }
        assert!(resolver.asked.is_empty());
    }

    #[test]
    fn lookups_are_bounded() {
        let poll = Poll::new().unwrap();
        let mut resolver = Resolver::new(poll.waker().unwrap());
        for n in 0..MAX_LOOKUPS {
            resolver.ask(&format!("127.0.0.{n}:1")).unwrap();
        }
        assert!(resolver.ask("127.0.0.99:1").is_err());
    }
}
