//! Connections that this server makes: to the destinations of streams.

use super::{Protocol, Server};
use crate::app::conn::Role;
use crate::app::hub::StreamId;
use crate::app::relay::peer::{CALL_MS, RelayPeer};
use crate::app::relay::{RETRY_MS, SELF_RETRY_MS};
use crate::app::world::Timer;
use crate::net::socket::{Options, Room, Socket};
use crate::net::sys;
use crate::proto::rtmp::handshake::Entropy;
use mio::net::TcpStream;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Why a destination cannot be called, and when to try again.
type Fault = (String, u64);

impl Server {
    /// Calls the destinations of a stream whose time has come. A name is looked up first, by another thread.
    pub(super) fn on_forward(&mut self, stream: StreamId) {
        for to in self.world.forwards_due(stream) {
            let called = match to.parse::<SocketAddr>() {
                Ok(addr) => self.call(stream, &to, addr),
                Err(_) => self.world.relays.ask(&to).map_err(|why| (why, RETRY_MS)),
            };
            self.called(stream, &to, called);
        }
    }

    /// Calls those whose addresses have been found.
    pub(super) fn on_names(&mut self) {
        while let Some(answer) = self.world.relays.answer() {
            self.world.hooks.found(&answer, self.world.now);
            for (stream, to) in self.world.forwards_finding(&answer.name) {
                let none =
                    |why: &str| (format!("its address is not found: {why}; check name and DNS"), RETRY_MS);
                let called = match &answer.found {
                    Ok(list) => match list.get(self.world.forward_address(stream, &to, list.len())) {
                        Some(addr) => self.call(stream, &to, *addr),
                        None => Err(none("there is none")),
                    },
                    Err(why) => Err(none(why)),
                };
                self.called(stream, &to, called);
            }
        }
    }

    fn called(&mut self, stream: StreamId, to: &str, outcome: Result<(), Fault>) {
        if let Err((why, again_ms)) = outcome {
            self.world.forward_ended(stream, to, &why, &format!("failed: {why}"), again_ms);
        }
    }

    fn call(&mut self, stream: StreamId, to: &Rc<str>, addr: SocketAddr) -> Result<(), Fault> {
        let myself = || (String::from("it is this server itself; remove that `destination`"), SELF_RETRY_MS);
        let cannot = |error: std::io::Error| (format!("it cannot be called: {error}"), RETRY_MS);
        if self.is_own(addr, None) {
            return Err(myself());
        }
        if self.conns.len() >= self.max_connections {
            return Err((String::from("there are too many connections; raise max_connections"), RETRY_MS));
        }
        let mut socket = Socket::new(TcpStream::connect(addr).map_err(cannot)?);
        if self.is_own(addr, socket.local_addr().ok().map(|addr| addr.ip())) {
            return Err(myself());
        }
        // It is when the connection is there: the poll will tell.
        socket.writable = false;
        let Some(live) = self.world.hub.get(stream) else { return Ok(()) };
        let nodelay = live.vhost.tcp_nodelay || live.vhost.min_latency;
        socket.configure(Options { nodelay, room: Room::Buffer(live.vhost.play.send_buffer) });
        let mut entropy = [0; 64];
        sys::random(&mut entropy);
        let mut hello = Vec::new();
        let peer = RelayPeer::call((stream, to), live, Entropy(entropy), &self.world, &mut hello);
        let id = self.enter(socket, addr, Role::Relay(Box::new(peer))).map_err(cannot)?;
        if let Some(conn) = self.conns.get_mut(id) {
            conn.out.buffer().append(&mut hello);
        }
        self.world.timers.set(Timer::Connection(id), self.world.now.saturating_add(CALL_MS));
        self.world.forward_called(stream, to, id);
        Ok(())
    }

    /// Whether this server listens for RTMP at an address, which is one of this machine if it is reached from itself
    /// (`from`).
    fn is_own(&self, at: SocketAddr, from: Option<IpAddr>) -> bool {
        let ip = at.ip().to_canonical();
        let any = ip.is_unspecified();
        let here = ip.is_loopback() || any || from.is_some_and(|from| from.to_canonical() == ip);
        here && self.listeners.iter().flatten().any(|listening| {
            let port = listening.socket.local_addr().map_or(listening.listen.port, |addr| addr.port());
            let covers = |own: IpAddr| own.is_unspecified() || any || own.to_canonical() == ip;
            listening.protocol == Protocol::Rtmp
                && port == at.port()
                && listening.listen.addr.is_none_or(covers)
        })
    }
}
