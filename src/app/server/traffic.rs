//! Reading and writing: connections in turn, each within its budget and all within that of the turn.

use super::Server;
use crate::app::conn::{Conn, Role};
use crate::app::http;
use crate::app::relay::{check, ingress, peer as destination};
use crate::app::rtmp;
use crate::app::viewer::{Flushed, flush};
use crate::app::world::{Action, World};
use crate::net::socket::Io;

/// Reads of [`READ_SIZE`] on one connection in one turn.
const READ_BUDGET: usize = 4;
/// Milliseconds of reading in one turn.
const READ_MS: u64 = 3;
/// Milliseconds of writing in one turn.
const WRITE_MS: u64 = 5;
/// Connections read from or written to between two looks at the clock.
const CLOCK_CHECK: usize = 32;

impl Server {
    pub(super) fn read(&mut self) {
        let stop_at = self.poll.now().saturating_add(READ_MS);
        for n in 0..self.run.len() {
            if n % CLOCK_CHECK == CLOCK_CHECK - 1 && self.poll.now() >= stop_at {
                return;
            }
            let Some(id) = self.run.pop_front() else { return };
            let Some(conn) = self.conns.get_mut(id) else { continue };
            conn.queued = false;
            read_conn(conn, &mut self.world, &mut self.scratch);
            // Answers leave at once: kept until all have been read, those of a storm of joins add up to megabytes.
            if conn.out.is_short_answer() && conn.viewer().is_none() && conn.gone.is_none() {
                write_conn(conn, &mut self.world);
            }
            if conn.socket.readable && conn.gone.is_none() && !conn.holds() {
                conn.queued = true;
                self.run.push_back(id);
            }
            self.on_actions();
        }
    }

    pub(super) fn write(&mut self) {
        let stop_at = self.poll.now().saturating_add(WRITE_MS);
        for n in 0..self.world.dirty.len() {
            if n % CLOCK_CHECK == CLOCK_CHECK - 1 && self.poll.now() >= stop_at {
                return;
            }
            let Some(id) = self.world.dirty.pop_front() else { return };
            let Some(conn) = self.conns.get_mut(id) else { continue };
            conn.dirty = false;
            if conn.gone.is_none() {
                write_conn(conn, &mut self.world);
            }
        }
    }
}

/// Reads from a connection and has its role see what came.
fn read_conn(conn: &mut Conn, world: &mut World, scratch: &mut [u8]) {
    for _ in 0..READ_BUDGET {
        if conn.gone.is_some() || conn.holds() {
            return;
        }
        match conn.socket.read(scratch) {
            Io::Moved(n) => {
                world.received = world.received.saturating_add(n as u64);
                if world.memory.count(n) {
                    world.actions.push_back(Action::Memory);
                }
                let bytes = scratch.get(..n).unwrap_or_default();
                match conn.role {
                    Role::Rtmp(_) => rtmp::input(conn, world, bytes),
                    Role::Http(_) => http::input(conn, world, bytes),
                    Role::Relay(_) => destination::input(conn, world, bytes),
                    Role::Ingress(_) => ingress::input(conn, world, bytes),
                    Role::Probe(_) => check::input(conn, world, bytes),
                    Role::Leaving(_) => {}
                }
                if !conn.socket.readable {
                    return;
                }
            }
            Io::WouldBlock => return,
            Io::Closed => return on_peer_closed(conn, world),
            Io::Broken(kind) => return world.close(conn, &format!("connection lost ({kind})")),
        }
    }
}

/// The peer sends no more. Whoever still had something to say gets no answer: our peers do not half-close.
fn on_peer_closed(conn: &mut Conn, world: &mut World) {
    conn.socket.readable = false;
    if let Role::Http(peer) = &mut conn.role
        && let Some(transfer) = peer.transfer_mut()
    {
        // It may have closed its side only; if both, writing will tell.
        return transfer.is_the_last();
    }
    match &conn.role {
        Role::Leaving(leaving) => {
            let why = leaving.why.clone();
            world.close(conn, &why);
        }
        _ if !conn.out.is_empty() && conn.viewer().is_none() => conn.finish(world, "it closed"),
        _ => world.close(conn, "it closed"),
    }
}

/// Writes what is due on a connection and does what follows from that.
pub(super) fn write_conn(conn: &mut Conn, world: &mut World) {
    let stream = conn.viewer().map(|viewer| viewer.stream);
    let live = stream.and_then(|stream| world.hub.get(stream));
    let before = conn.socket.sent;
    let skips = |conn: &Conn| conn.viewer().map_or(0, |viewer| viewer.cursor.skipped().times);
    let skips_before = skips(conn);
    let flushed = flush(conn, live, &mut world.batches);
    let sent = conn.socket.sent.saturating_sub(before);
    live.into_iter().for_each(|live| live.sent.set(live.sent.get().saturating_add(sent)));
    world.sent = world.sent.saturating_add(sent);
    world.api.skips += u64::from(skips(conn).saturating_sub(skips_before));
    match flushed {
        Flushed::Done if conn.out.is_empty() => match conn.role {
            Role::Relay(_) => destination::flushed(conn, world),
            _ => http::flushed(conn, world),
        },
        Flushed::Done => {}
        Flushed::Blocked => conn.blocked(world),
        Flushed::Again => world.mark(conn),
        Flushed::Over => match conn.role {
            Role::Rtmp(_) => rtmp::viewer_over(conn, world),
            Role::Relay(_) => destination::viewer_over(conn, world),
            _ => http::viewer_over(conn, world),
        },
        Flushed::Expired => return world.close(conn, "it took too long: what it read is not kept any more"),
        Flushed::Broken(kind) => return world.close(conn, &format!("connection lost ({kind})")),
    }
    if let Role::Leaving(leaving) = &mut conn.role
        && conn.out.is_empty()
        && !std::mem::replace(&mut leaving.shut, true)
    {
        conn.socket.shut_write();
    }
}
