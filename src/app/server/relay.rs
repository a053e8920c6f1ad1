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

/// What a connection of our own is for.
#[derive(Debug, Clone, Copy)]
enum Errand {
    /// To send a stream to a destination.
    Send(StreamId),
    /// To fetch a stream from an origin.
    Fetch(StreamId),
    /// To ask an origin about a client.
    Check(Id),
}

impl Server {
    /// Calls the destinations of a stream whose time has come.
    pub(super) fn on_forward(&mut self, stream: StreamId) {
        for to in self.world.forwards_due(stream) {
            self.reach(Errand::Send(stream), &to, None);
        }
    }

    /// Looks after a stream that is fetched, and calls its origin if it is time.
    pub(super) fn on_pull(&mut self, stream: StreamId) {
        if let Some(to) = self.world.pull_due(stream) {
            self.reach(Errand::Fetch(stream), &to, None);
        }
    }

    /// Asks an origin about a client.
    pub(super) fn on_check(&mut self, client: Id) {
        if let Some(to) = self.world.check_due(client) {
            self.reach(Errand::Check(client), &to, None);
        }
    }

    /// Calls those whose addresses have been found.
    pub(super) fn on_names(&mut self) {
        while let Some(answer) = self.world.relays.answer() {
            self.world.hooks.found(&answer, self.world.now);
            let (to, found): (Rc<str>, _) = (answer.name.as_str().into(), Some(&answer.found));
            for stream in self.world.forwards_finding(&to) {
                self.reach(Errand::Send(stream), &to, found);
            }
            for stream in self.world.pulls_finding(&to) {
                self.reach(Errand::Fetch(stream), &to, found);
            }
            for client in self.world.checks_finding(&to) {
                self.reach(Errand::Check(client), &to, found);
            }
        }
    }

    /// Calls a server. A name is looked up first, by another thread; with `found` it was.
    fn reach(&mut self, errand: Errand, to: &Rc<str>, found: Option<&Result<Vec<SocketAddr>, String>>) {
        let called = match (found, to.parse::<SocketAddr>()) {
            (None, Ok(addr)) => self.call(errand, to, addr),
            (None, Err(_)) => self.world.relays.ask(to).map_err(|why| (why, RETRY_MS)),
            (Some(Ok(list)), _) => {
                let at = match errand {
                    Errand::Send(stream) => self.world.forward_address(stream, to, list.len()),
                    Errand::Fetch(stream) => self.world.pull_address(stream, list.len()),
                    Errand::Check(client) => self.world.check_address(client, list.len()),
                };
                list.get(at).map_or(Ok(()), |addr| self.call(errand, to, *addr))
            }
            (Some(Err(why)), _) => {
                Err((format!("its address is not found: {why}; check name and DNS"), RETRY_MS))
            }
        };
        let Err((why, again_ms)) = called else { return };
        let line = format!("failed: {why}");
        match errand {
            Errand::Send(stream) => self.world.forward_ended(stream, to, &why, &line, again_ms),
            Errand::Fetch(stream) => self.world.pull_ended(stream, None, to, &why, &line, End::Unreachable),
            Errand::Check(client) => self.world.check_failed(client, &why),
        }
    }

    fn call(&mut self, errand: Errand, to: &Rc<str>, addr: SocketAddr) -> Result<(), Fault> {
        let vhost = match errand {
            Errand::Send(stream) | Errand::Fetch(stream) => {
                self.world.hub.get(stream).map(|live| live.vhost.clone())
            }
            Errand::Check(client) => self.world.relays.checks.get(client).map(|check| check.vhost.clone()),
        };
        let Some(vhost) = vhost else { return Ok(()) };
        let socket = self.dial(addr, &vhost)?;
        let mut random = [0; 64];
        sys::random(&mut random);
        let (entropy, mut hello) = (Entropy(random), Vec::new());
        let world = &mut self.world;
        let role = match errand {
            Errand::Send(stream) => {
                let Some(live) = world.hub.get(stream) else { return Ok(()) };
                Role::Relay(Box::new(RelayPeer::call((stream, to), live, entropy, world, &mut hello)))
            }
            Errand::Fetch(stream) => {
                let Some(live) = world.hub.get(stream) else { return Ok(()) };
                Role::Ingress(Box::new(Ingress::call((stream, to), live, entropy, world, &mut hello)))
            }
            Errand::Check(client) => {
                let Some(peer) = Probe::call(client, entropy, world, &mut hello) else { return Ok(()) };
                Role::Probe(Box::new(peer))
            }
        };
        let id = self.enter(socket, addr, role).map_err(cannot)?;
        let Some(conn) = self.conns.get_mut(id) else { return Ok(()) };
        conn.out.buffer().append(&mut hello);
        if let Some((at, _)) = conn.deadline(&self.world) {
            self.world.timers.set(Timer::Connection(id), at);
        }
        match errand {
            Errand::Send(stream) => self.world.forward_called(stream, to, id),
            Errand::Fetch(stream) => self.world.pull_called(stream, id),
            Errand::Check(_) => {}
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

fn cannot(error: std::io::Error) -> Fault {
    (format!("it cannot be called: {error}"), RETRY_MS)
}
