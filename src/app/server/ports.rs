//! The ports that are listened at: opened at the start, opened and closed by a reload.

use super::{Listening, Protocol, Server};
use crate::app::reload::{self, Change};
use crate::conf::Listen;
use crate::net::listener::{self, Accepted};
use crate::net::owner;
use crate::net::poll::{MAX_LISTENERS, Who};
use std::io;

/// Connections taken from a port that is about to be closed.
const LAST_ACCEPTS: usize = 4096;

impl Server {
    pub(super) fn open_listeners(&mut self) -> Result<(), String> {
        let config = self.world.config.clone();
        for (protocol, listen) in reload::ports(&config) {
            self.open(listen, protocol, config.reuse_port)?;
        }
        self.find_doors();
        Ok(())
    }

    /// Opens a port and gives its number.
    fn open(&mut self, listen: Listen, protocol: Protocol, reuse_port: bool) -> Result<usize, String> {
        let free = self.listeners.iter().position(Option::is_none);
        let n = free.unwrap_or(self.listeners.len());
        if n >= MAX_LISTENERS {
            return Err(format!("more than {MAX_LISTENERS} listen addresses"));
        }
        let fail = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                let by = owner::listener(listen.port).unwrap_or_else(|| String::from("another program"));
                format!("{listen} is in use by {by}: stop it, or change `listen`")
            }
            io::ErrorKind::PermissionDenied => {
                format!("{listen} needs more rights: run as root, or use a port above 1023")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("{listen} is no address of this machine: change `listen`")
            }
            _ => format!("cannot listen at {listen}: {error}"),
        };
        let taken_over = self.upgrade.sockets.take(listen.addr, listen.port);
        let mut socket = match taken_over {
            Some(socket) => socket,
            None => listener::listen(listen.addr, listen.port, reuse_port).map_err(fail)?,
        };
        self.poll.register(&mut socket, Who::Listener(n)).map_err(fail)?;
        log::info!(target: "server", "{protocol} at {listen}");
        let listening = Some(Listening { socket, protocol, listen, ready: true });
        match self.listeners.get_mut(n) {
            Some(place) => *place = listening,
            None => self.listeners.push(listening),
        }
        Ok(n)
    }

    pub(super) fn close(&mut self, n: usize) {
        if let Some(mut listening) = self.listeners.get_mut(n).and_then(Option::take) {
            self.poll.deregister(&mut listening.socket);
        }
    }

    /// Opens and closes ports; on a failure, all is as before. A port that cannot be had while one that is to be closed
    /// is open comes last.
    pub(super) fn change_ports(&mut self, changes: &[Change], reuse_port: bool) -> Result<(), String> {
        let closed = |c: &Change| if let Change::Closed(p, l) = c { Some((*p, *l)) } else { None };
        let opened = |c: &Change| if let Change::Opened(p, l) = c { Some((*p, *l)) } else { None };
        let closing: Vec<(Protocol, Listen)> = changes.iter().filter_map(closed).collect();
        let opening = changes.iter().filter_map(opened);
        let (late, early): (Vec<_>, Vec<_>) =
            opening.partition(|(_, new)| closing.iter().any(|(_, old)| old.port == new.port));
        let mut new = Vec::new();
        let mut outcome = self.open_all(&early, reuse_port, &mut new);
        if outcome.is_ok() {
            for n in 0..self.listeners.len() {
                let goes = |l: &Listening| closing.contains(&(l.protocol, l.listen)) && !new.contains(&n);
                if self.listeners.get(n).and_then(Option::as_ref).is_some_and(goes) {
                    self.accept_rest(n);
                    self.close(n);
                }
            }
            outcome = self.open_all(&late, reuse_port, &mut new);
            if outcome.is_err() {
                new.drain(..).for_each(|n| self.close(n));
                let back = self.open_all(&closing, reuse_port, &mut Vec::new());
                back.unwrap_or_else(|why| log::error!(target: "reload", "{why}"));
            }
        }
        if outcome.is_err() {
            new.into_iter().for_each(|n| self.close(n));
        }
        outcome
    }

    fn open_all(
        &mut self,
        list: &[(Protocol, Listen)],
        reuse_port: bool,
        opened: &mut Vec<usize>,
    ) -> Result<(), String> {
        for (protocol, listen) in list {
            opened.push(self.open(*listen, *protocol, reuse_port)?);
        }
        Ok(())
    }

    /// Takes who has connected to a port already, before it is closed.
    fn accept_rest(&mut self, n: usize) {
        for _ in 0..LAST_ACCEPTS {
            let Some(Some(listening)) = self.listeners.get(n) else { return };
            let protocol = listening.protocol;
            match listener::accept(&listening.socket) {
                Accepted::Connection(stream, peer) => self.admit(stream, peer, protocol),
                Accepted::Retry => {}
                Accepted::WouldBlock | Accepted::Exhausted(_) => return,
            }
        }
    }
}
