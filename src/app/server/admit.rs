//! Who comes in: connections are accepted within a budget, and get their slot or are turned away.

use super::{Protocol, Server};
use crate::app::conn::{Conn, Role};
use crate::app::http::HttpPeer;
use crate::app::quiet::Quiet;
use crate::app::rtmp::RtmpPeer;
use crate::app::viewer::Out;
use crate::app::world::Timer;
use crate::net::listener::{self, Accepted};
use crate::net::poll::Who;
use crate::net::slots::Id;
use crate::net::socket::Socket;
use crate::net::sys;
use crate::proto::http::response::{self, Cors};
use crate::proto::rtmp::handshake::Entropy;
use crate::proto::rtmp::server::ServerSession;
use mio::net::TcpStream;
use std::io;
use std::net::SocketAddr;

/// Connections accepted in one turn.
const ACCEPT_BUDGET: usize = 128;
/// Pause before accepting again when descriptors have run out, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 200;

impl Server {
    pub(super) fn accept(&mut self) {
        let mut budget = ACCEPT_BUDGET;
        for n in 0..self.listeners.len() {
            while budget > 0 && !self.accept_paused {
                let listening = self.listeners.get_mut(n).and_then(Option::as_mut);
                let Some(listening) = listening.filter(|listening| listening.ready) else {
                    break;
                };
                budget -= 1;
                let protocol = listening.protocol;
                match listener::accept(&listening.socket) {
                    Accepted::Connection(stream, peer) => self.admit(stream, peer, protocol),
                    Accepted::WouldBlock => listening.ready = false,
                    Accepted::Retry => {}
                    Accepted::Exhausted(error) => self.pause_accept(&error),
                }
            }
        }
    }

    fn pause_accept(&mut self, error: &io::Error) {
        self.accept_paused = true;
        self.world.timers.set(Timer::Accept, self.world.now.saturating_add(ACCEPT_PAUSE_MS));
        if self.world.quiet.allow("accept", self.world.now).is_some() {
            let count = self.conns.len();
            log::error!(
                target: "server",
                "cannot accept at {count} connections: {error}; raise the limit of open files or lower max_connections"
            );
        }
    }

    pub(super) fn admit(&mut self, stream: TcpStream, peer: SocketAddr, protocol: Protocol) {
        if self.conns.len() >= self.max_connections {
            return self.turn_away(stream, peer, protocol);
        }
        let now = self.world.now;
        let role = match protocol {
            Protocol::Http | Protocol::Api => Role::Http(Box::new(HttpPeer::new(now))),
            Protocol::Rtmp => {
                let mut entropy = [0; 64];
                sys::random(&mut entropy);
                let trusted = self.world.config.trusted_proxies.iter().any(|net| net.contains(peer.ip()));
                let session = ServerSession::new(Entropy(entropy), (now & 0xffff_ffff) as u32, trusted);
                Role::Rtmp(Box::new(RtmpPeer::new(session, now)))
            }
        };
        match self.enter(Socket::new(stream), peer, role) {
            Ok(id) => {
                let patience = self.world.config.handshake_timeout_ms;
                self.world.timers.set(Timer::Connection(id), now.saturating_add(patience));
            }
            Err(error) => self.pause_accept(&error),
        }
    }

    /// Gives a connection its slot.
    pub(super) fn enter(&mut self, mut socket: Socket, peer: SocketAddr, role: Role) -> io::Result<Id> {
        let serial = self.next_serial;
        self.next_serial += 1;
        let now = self.world.now;
        let poll = &self.poll;
        let mut registered = Ok(());
        let id = self.conns.insert_with(|id| {
            registered = poll.register(socket.source(), Who::Connection(id));
            Conn {
                id,
                serial,
                peer,
                socket,
                out: Out::default(),
                role,
                since: now,
                dirty: false,
                queued: false,
                blocked_since: None,
                gone: None,
            }
        });
        let id = id.ok_or_else(|| io::Error::other("all places for connections are taken"))?;
        if let Err(error) = registered {
            self.conns.remove(id);
            return Err(error);
        }
        self.pithy_next();
        self.memory_next();
        Ok(id)
    }

    /// Over `max_connections`: HTTP clients are told so, if it can be said at once.
    fn turn_away(&mut self, stream: TcpStream, peer: SocketAddr, protocol: Protocol) {
        if protocol != Protocol::Rtmp {
            let mut out = Vec::new();
            response::text(&mut out, 503, "too many connections (max_connections)", false, Cors::No, false);
            let _ = Socket::new(stream).write(&[io::IoSlice::new(&out)]);
        }
        if let Some(left_out) = self.world.quiet.allow("full", self.world.now) {
            let max = self.max_connections;
            let more = Quiet::more(left_out);
            log::warn!(
                target: "server",
                "{peer}: turned away at {max} connections (max_connections){more}"
            );
        }
    }
}
