//! Connections that this server makes: to the destinations and origins of streams.

use super::{Protocol, Server};
use crate::app::conn::Role;
use crate::app::hub::StreamId;
use crate::app::relay::check::Probe;
use crate::app::relay::ingress::Ingress;
use crate::app::relay::peer::RelayPeer;
use crate::app::relay::pull::End;
use crate::app::relay::{RETRY_MS, SELF_RETRY_MS};
use crate::app::world::Timer;
use crate::app::{hls, http, rtmp};
use crate::conf::{NoStream, Vhost};
use crate::net::slots::Id;
use crate::net::socket::{Options, Room, Socket};
use crate::net::sys;
use crate::proto::rtmp::handshake::Entropy;
use mio::net::TcpStream;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Why a server cannot be called, and when to try again.
type Fault = (String, u64);

fn cannot(error: std::io::Error) -> Fault {
    (format!("it cannot be called: {error}"), RETRY_MS)
}

fn entropy() -> Entropy {
    let mut entropy = [0; 64];
    sys::random(&mut entropy);
    Entropy(entropy)
}

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
            let none = |why: &str| (format!("its address is not found: {why}; check name and DNS"), RETRY_MS);
            for client in self.world.checks_finding(&answer.name) {
                let called = match &answer.found {
                    Ok(list) => list.first().map_or(Ok(()), |addr| self.probe(client, *addr)),
                    Err(why) => Err(none(why)),
                };
                self.probed(client, called);
            }
            for (stream, to) in self.world.pulls_finding(&answer.name) {
                let called = match &answer.found {
                    Ok(list) => match list.get(self.world.pull_address(stream, list.len())) {
                        Some(addr) => self.fetch(stream, &to, *addr),
                        None => Err(none("there is none")),
                    },
                    Err(why) => Err(none(why)),
                };
                self.fetched(stream, &to, called);
            }
            for (stream, to) in self.world.forwards_finding(&answer.name) {
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
        let Some(vhost) = self.world.hub.get(stream).map(|live| live.vhost.clone()) else { return Ok(()) };
        let socket = self.dial(addr, &vhost)?;
        let Some(live) = self.world.hub.get(stream) else { return Ok(()) };
        let mut hello = Vec::new();
        let peer = RelayPeer::call((stream, to), live, entropy(), &self.world, &mut hello);
        let id = self.greet(socket, addr, Role::Relay(Box::new(peer)), hello)?;
        self.world.forward_called(stream, to, id);
        Ok(())
    }

    /// Looks after a stream that is fetched, and calls its origin if it is time.
    pub(super) fn on_pull(&mut self, stream: StreamId) {
        let Some(to) = self.world.pull_due(stream) else { return };
        let called = match to.parse::<SocketAddr>() {
            Ok(addr) => self.fetch(stream, &to, addr),
            Err(_) => self.world.relays.ask(&to).map_err(|why| (why, RETRY_MS)),
        };
        self.fetched(stream, &to, called);
    }

    fn fetched(&mut self, stream: StreamId, to: &str, outcome: Result<(), Fault>) {
        if let Err((why, _)) = outcome {
            self.world.pull_ended(stream, None, to, &why, &format!("failed: {why}"), End::Unreachable);
        }
    }

    fn fetch(&mut self, stream: StreamId, to: &Rc<str>, addr: SocketAddr) -> Result<(), Fault> {
        let Some(vhost) = self.world.hub.get(stream).map(|live| live.vhost.clone()) else { return Ok(()) };
        let socket = self.dial(addr, &vhost)?;
        let Some(live) = self.world.hub.get(stream) else { return Ok(()) };
        let mut hello = Vec::new();
        let peer = Ingress::call((stream, to), live, entropy(), &self.world, &mut hello);
        let id = self.greet(socket, addr, Role::Ingress(Box::new(peer)), hello)?;
        self.world.pull_called(stream, id);
        Ok(())
    }

    /// Asks an origin about a client.
    pub(super) fn on_check(&mut self, client: Id) {
        let Some(to) = self.world.check_due(client) else { return };
        let called = match to.parse::<SocketAddr>() {
            Ok(addr) => self.probe(client, addr),
            Err(_) => self.world.relays.ask(&to).map_err(|why| (why, RETRY_MS)),
        };
        self.probed(client, called);
    }

    fn probed(&mut self, client: Id, outcome: Result<(), Fault>) {
        if let Err((why, _)) = outcome {
            self.world.check_failed(client, &why);
        }
    }

    fn probe(&mut self, client: Id, addr: SocketAddr) -> Result<(), Fault> {
        let vhost = self.world.relays.checks.get(client).map(|check| check.vhost.clone());
        let Some(vhost) = vhost else { return Ok(()) };
        let socket = self.dial(addr, &vhost)?;
        let mut hello = Vec::new();
        if let Some(peer) = Probe::call(client, entropy(), &mut self.world, &mut hello) {
            self.greet(socket, addr, Role::Probe(Box::new(peer)), hello)?;
        }
        Ok(())
    }

    /// No origin has the stream. Those who want to know at once are told, or all who wait for it.
    pub(super) fn on_absent(&mut self, stream: StreamId, all: bool) {
        let Some(live) = self.world.hub.get_mut(stream) else { return };
        let at_once = |policy: NoStream| all || policy == NoStream::NotFound;
        let (by_rtmp, by_http) =
            (at_once(live.vhost.play.no_stream), at_once(live.vhost.http_remux.no_stream));
        let waiting = live.waiting.clone();
        let listing = live.hls.as_mut().map(|hls| hls.take_waiting()).unwrap_or_default();
        for id in waiting {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            match conn.role {
                Role::Rtmp(_) if by_rtmp => {
                    rtmp::timed_out(conn, &mut self.world, "no origin has the stream")
                }
                Role::Http(_) if by_http => {
                    http::timed_out(conn, &mut self.world, "no origin has the stream")
                }
                _ => {}
            }
        }
        for id in listing {
            if let Some(conn) = self.conns.get_mut(id) {
                hls::waited(conn, &mut self.world);
            }
        }
    }

    /// Begins a connection, unless it would be one to ourselves.
    fn dial(&mut self, addr: SocketAddr, vhost: &Vhost) -> Result<Socket, Fault> {
        let myself = || (String::from("it is this server itself; remove it there"), SELF_RETRY_MS);
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
        let nodelay = vhost.tcp_nodelay || vhost.min_latency;
        socket.configure(Options { nodelay, room: Room::Buffer(vhost.play.send_buffer) });
        Ok(socket)
    }

    /// Gives a connection that was begun its place, and its first words.
    fn greet(
        &mut self,
        socket: Socket,
        addr: SocketAddr,
        role: Role,
        mut hello: Vec<u8>,
    ) -> Result<Id, Fault> {
        let id = self.enter(socket, addr, role).map_err(cannot)?;
        if let Some(conn) = self.conns.get_mut(id) {
            conn.out.buffer().append(&mut hello);
        }
        let deadline = self.conns.get(id).and_then(|conn| conn.deadline(&self.world));
        deadline.into_iter().for_each(|(at, _)| self.world.timers.set(Timer::Connection(id), at));
        Ok(id)
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
