//! One connection: its socket, what its peer is, and how it ends.
//!
//! ```text
//!   Rtmp ──┐  finish(why): last bytes are written,     peer closes, or time is up
//!          ├─────────────────────────────► Leaving ────────────────────────────────► gone
//!   Http   │         close(why), without last words ───────────────────────────────► gone
//!   Relay  │
//! Ingress ─┘
//! ```
//!
//! A connection is freed by the loop at the end of the turn, never in the middle of one.

use super::hooks;
use super::http::HttpPeer;
use super::hub::StreamId;
use super::relay::check::Probe;
use super::relay::ingress::Ingress;
use super::relay::peer::RelayPeer;
use super::rtmp::RtmpPeer;
use super::viewer::{Out, Viewer};
use super::world::{Timer, World};
use crate::net::slots::Id;
use crate::net::socket::Socket;
use std::net::SocketAddr;

/// How long a peer may take to read our last words, in milliseconds.
const LINGER_MS: u64 = 3_000;
/// How long a viewer who has to go may take nothing of the message that it is in the middle of, in milliseconds.
pub const FAREWELL_MS: u64 = 10_000;

/// What the peer is to us.
#[derive(Debug)]
pub enum Role {
    /// An RTMP client.
    Rtmp(Box<RtmpPeer>),
    /// An HTTP client.
    Http(Box<HttpPeer>),
    /// A server that a stream is sent on to.
    Relay(Box<RelayPeer>),
    /// A server that a stream is fetched from.
    Ingress(Box<Ingress>),
    /// A server that is asked about a client.
    Probe(Box<Probe>),
    /// All is said; the rest is written out, then the connection ends.
    Leaving(Box<Leaving>),
}

/// A connection on its way out.
#[derive(Debug)]
pub struct Leaving {
    /// For the log.
    pub why: Box<str>,
    /// When it is cut off.
    pub until: u64,
    /// Whether our side is closed already.
    pub shut: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    /// Its slot.
    pub id: Id,
    /// Its number in the log, counted from the start.
    pub serial: u64,
    /// The peer's address; what a trusted proxy says instead, if there is one.
    pub peer: SocketAddr,
    /// The socket.
    pub socket: Socket,
    /// Replies that wait.
    pub out: Out,
    /// What the peer is.
    pub role: Role,
    /// When it was accepted.
    pub since: u64,
    /// On the list of those with something to write.
    pub dirty: bool,
    /// On the list of those with something to read.
    pub queued: bool,
    /// Since when the kernel has taken nothing though something is due.
    pub blocked_since: Option<u64>,
    /// Why it is freed at the end of this turn.
    pub gone: Option<Box<str>>,
}

impl Conn {
    /// How the log calls this connection.
    pub fn tag(&self) -> String {
        format!("[{}]", self.serial)
    }

    /// The viewer on this connection, with what is needed to write to it.
    pub fn viewer_parts(&mut self) -> (Option<&mut Viewer>, &mut Out, &mut Socket) {
        let viewer = match &mut self.role {
            Role::Rtmp(peer) => peer.viewer_mut(),
            Role::Http(peer) => peer.viewer_mut(),
            Role::Relay(peer) => peer.viewer_mut(),
            Role::Ingress(_) | Role::Probe(_) | Role::Leaving(_) => None,
        };
        (viewer, &mut self.out, &mut self.socket)
    }

    /// The viewer on this connection.
    pub fn viewer(&self) -> Option<&Viewer> {
        match &self.role {
            Role::Rtmp(peer) => peer.viewer(),
            Role::Http(peer) => peer.viewer(),
            Role::Relay(peer) => peer.viewer(),
            Role::Ingress(_) | Role::Probe(_) | Role::Leaving(_) => None,
        }
    }

    /// Memory taken, in bytes: of its state and buffers, and of messages that are not complete.
    pub fn heap(&self) -> (usize, usize) {
        let (peer, unfinished) = match &self.role {
            Role::Rtmp(peer) => peer.heap(),
            Role::Http(peer) => (peer.heap(), 0),
            Role::Relay(peer) => peer.heap(),
            Role::Ingress(peer) => peer.heap(),
            Role::Probe(peer) => (peer.heap(), 0),
            Role::Leaving(_) => (0, 0),
        };
        (size_of::<Conn>().saturating_add(self.out.heap()).saturating_add(peer), unfinished)
    }

    /// Whether it publishes.
    pub fn publishes(&self) -> bool {
        match &self.role {
            Role::Rtmp(peer) => peer.publishes(),
            Role::Ingress(peer) => peer.publishes(),
            _ => false,
        }
    }

    /// Whether nothing more is to be read for now: what came before is not worked off.
    pub fn holds(&self) -> bool {
        match &self.role {
            Role::Rtmp(peer) => peer.holds(),
            Role::Http(peer) => peer.holds(),
            _ => false,
        }
    }

    /// The stream that the connection publishes, watches or waits for.
    pub fn stream(&self) -> Option<StreamId> {
        match &self.role {
            Role::Rtmp(peer) => peer.stream(),
            Role::Http(peer) => peer.stream(),
            Role::Relay(peer) => peer.stream(),
            Role::Ingress(peer) => peer.stream(),
            Role::Probe(_) | Role::Leaving(_) => None,
        }
    }

    /// Gives up what the connection publishes, watches or waits for.
    pub fn drop_job(&mut self, world: &mut World, why: &str) {
        let (id, tag, peer, sent) = (self.id, self.tag(), self.peer, self.socket.sent);
        let received = self.socket.received;
        match &mut self.role {
            Role::Rtmp(rtmp) => rtmp.drop_job(world, id, &format!("{tag} {peer}"), sent, why),
            Role::Http(http) => http.drop_job(world, id, &format!("{tag} {peer}"), sent, why),
            Role::Relay(relay) => relay.drop_job(world, id, sent, why),
            Role::Ingress(ingress) => ingress.drop_job(world, id, received, why),
            Role::Probe(probe) => probe.drop_job(world, why),
            Role::Leaving(_) => {}
        }
        hooks::left(world, id);
        // A viewer had no deadline; whatever comes now has one.
        world.timers.set(Timer::Connection(id), world.now);
    }

    /// Ends the connection after what waits in `out` is written.
    pub fn finish(&mut self, world: &mut World, why: &str) {
        if matches!(self.role, Role::Leaving(_)) {
            return;
        }
        self.drop_job(world, why);
        let until = world.now.saturating_add(LINGER_MS);
        self.role = Role::Leaving(Box::new(Leaving { why: why.into(), until, shut: false }));
        world.timers.set(Timer::Connection(self.id), until);
        world.mark(self);
    }

    /// When this connection has to be looked at again, and what for.
    pub fn deadline(&self, world: &World) -> Option<(u64, &'static str)> {
        let stuck = self.viewer().and_then(|viewer| {
            let timeout = world.hub.get(viewer.stream)?.vhost.play.send_timeout_ms;
            let kicked = viewer.until_ms == Some(0);
            let timeout = if kicked { timeout.min(FAREWELL_MS) } else { timeout };
            Some((self.blocked_since?.saturating_add(timeout), "it took no data for too long (send_timeout)"))
        });
        let patience = world.config.handshake_timeout_ms;
        match &self.role {
            Role::Rtmp(peer) => stuck.or_else(|| peer.deadline(self.since, patience, world)),
            Role::Http(peer) => stuck.or_else(|| peer.deadline(self.blocked_since, patience)),
            Role::Relay(peer) => stuck.or_else(|| peer.deadline()),
            Role::Ingress(peer) => peer.deadline(world),
            Role::Probe(peer) => Some(peer.deadline()),
            Role::Leaving(leaving) => Some((leaving.until, "it did not close")),
        }
    }

    /// How long nothing needs to be looked at while there is no deadline but may soon be one.
    pub fn recheck_ms(&self) -> Option<u64> {
        match &self.role {
            Role::Http(peer) => peer.sending_ms(),
            _ => None,
        }
    }

    /// The kernel takes no more: from now on there is a deadline. One who takes all has none, and costs no timer.
    pub fn blocked(&mut self, world: &mut World) {
        self.blocked_since.get_or_insert(world.now);
        if self.blocked_since == Some(world.now)
            && let Some((at, _)) = self.deadline(world)
        {
            world.timers.set(Timer::Connection(self.id), at);
        }
    }
}

/// `12.3 s, 4.5 MB` for the log.
pub fn amount(ms: u64, bytes: u64) -> String {
    let size = match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    };
    format!("{}.{} s, {size}", ms / 1000, ms / 100 % 10)
}
