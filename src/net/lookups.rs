//! Addresses of names without waiting: `getaddrinfo` can take many seconds, so a helper thread asks it, one name after
//! another, and wakes the loop.
//!
//! Invariants: at most [`MAX_NAMES`] names are known; an answer counts for [`FOUND_MS`], a failure for [`FAILED_MS`].
#![forbid(unsafe_code)]

use super::disk::Helper;
use super::poll::Waker;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};

/// Names that are known at one time.
const MAX_NAMES: usize = 64;
/// Addresses of a name that are kept.
const MAX_ADDRESSES: usize = 8;
/// How long an answer counts, in milliseconds.
const FOUND_MS: u64 = 60_000;
/// How long a failure counts, in milliseconds.
const FAILED_MS: u64 = 2_000;

type Found = Result<Vec<IpAddr>, String>;

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It is being asked for; the waker will tell.
    Wait,
    /// Its addresses, or why there are none.
    Known(Result<Vec<IpAddr>, String>),
}

/// Asks for names, from the first one on, and remembers.
#[derive(Debug, Default)]
pub struct Resolver {
    helper: Option<Helper<String, (String, Found)>>,
    /// `None`: asked for. Else until when it counts.
    known: HashMap<String, Option<(Found, u64)>>,
}

fn ask(host: String) -> (String, Found) {
    let found = match (host.as_str(), 0).to_socket_addrs() {
        Ok(list) => Ok(list.map(|at| at.ip()).take(MAX_ADDRESSES).collect()),
        Err(error) => Err(error.to_string()),
    };
    (host, found)
}

impl Resolver {
    /// The addresses of `host`: at once when it is an address itself, or known.
    pub fn find(&mut self, host: &str, now: u64, waker: &Waker) -> Lookup {
        if let Ok(ip) = host.parse() {
            return Lookup::Known(Ok(vec![ip]));
        }
        match self.known.get(host) {
            Some(None) => return Lookup::Wait,
            Some(Some((found, until))) if now < *until => return Lookup::Known(found.clone()),
            _ => {}
        }
        if self.known.len() >= MAX_NAMES {
            self.known.retain(|_, known| known.is_none());
        }
        if self.helper.is_none() {
            match Helper::start("names", waker.clone(), ask) {
                Ok(helper) => self.helper = Some(helper),
                Err(error) => return Lookup::Known(Err(format!("no thread to look it up: {error}"))),
            }
        }
        let room = self.known.len() < MAX_NAMES;
        let asked = |helper: &Helper<String, (String, Found)>| helper.ask(host.to_owned()).is_ok();
        if !room || !self.helper.as_ref().is_some_and(asked) {
            return Lookup::Known(Err(String::from("too many names are being looked up")));
        }
        self.known.insert(host.to_owned(), None);
        Lookup::Wait
    }

    /// Takes answers; true when there were some.
    pub fn take_answers(&mut self, now: u64) -> bool {
        let mut some = false;
        while let Some((host, found)) = self.helper.as_ref().and_then(Helper::answer) {
            let until = now.saturating_add(if found.is_ok() { FOUND_MS } else { FAILED_MS });
            self.known.insert(host, Some((found, until)));
            some = true;
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::poll::{Poll, Who};

    #[test]
    fn addresses_need_no_thread_and_names_wake_the_loop() {
        let mut poll = Poll::new().unwrap();
        let waker = poll.waker().unwrap();
        let mut names = Resolver::default();
        let literal = |ip: &str| Lookup::Known(Ok(vec![ip.parse().unwrap()]));
        assert_eq!(names.find("127.0.0.1", 0, &waker), literal("127.0.0.1"));
        assert_eq!(names.find("::1", 0, &waker), literal("::1"));
        assert!(names.helper.is_none());
        assert_eq!(names.find("localhost", 0, &waker), Lookup::Wait);
        assert_eq!(names.find("localhost", 0, &waker), Lookup::Wait);
        let mut events = Vec::new();
        while !names.take_answers(5) {
            poll.wait(Some(1_000), &mut events).unwrap();
        }
        assert!(events.iter().any(|event| event.who == Who::Waker));
        let Lookup::Known(Ok(found)) = names.find("localhost", 5, &waker) else { panic!("localhost") };
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
        assert_eq!(names.find("localhost", 5 + FOUND_MS, &waker), Lookup::Wait, "it is asked for anew");
    }
}
