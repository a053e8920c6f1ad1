//! How RTMP clients leave: their stream is over, they are sent away, or their time is up.

use super::publishing::refuse_publish;
use super::{Job, KICKED, QUOTED, REPLACED};
use crate::app::conn::{Conn, Role};
use crate::app::hub::Live;
use crate::app::world::World;
use crate::wire::names::{self, printable};

/// The viewer has all that it will get; the connection may play something else.
pub fn viewer_over(conn: &mut Conn, world: &mut World) {
    if conn.viewer().is_some_and(|viewer| viewer.until_ms == Some(0)) {
        return kick(conn, world);
    }
    conn.drop_job(world, "the stream is over");
    if let Role::Rtmp(peer) = &mut conn.role {
        peer.session.end("NetStream.Play.Stop", "The stream is over.", conn.out.buffer());
        world.mark(conn);
    }
    if world.replaced {
        conn.finish(world, REPLACED);
    }
}

/// The server is about to go. A client that can be asked to connect anew is; it leaves when it is ready. True if it is
/// one of those.
pub fn send_away(conn: &mut Conn, world: &mut World) -> bool {
    let Role::Rtmp(peer) = &mut conn.role else { return false };
    let asked = peer.session.ask_to_reconnect(conn.out.buffer());
    if asked {
        log::debug!(target: "rtmp", "{} {}: asked to connect anew", conn.tag(), conn.peer);
        world.mark(conn);
    }
    asked
}

/// Another process has taken over. Publishers and those who wait for a stream are cut off without a word of refusal, so
/// that they come back, or asked to, if they know what that means; viewers get what is left; who has asked for nothing yet
/// may do so.
pub fn replaced(conn: &mut Conn, world: &mut World) {
    let asked = send_away(conn, world);
    let Role::Rtmp(peer) = &conn.role else { return };
    if let Job::Publishing { .. } | Job::Applying { .. } | Job::Waiting { .. } | Job::Asking(_) = peer.job {
        conn.drop_job(world, REPLACED);
        if !asked {
            world.close(conn, REPLACED);
        }
    }
}

/// Another publisher has taken the stream.
pub fn evict(conn: &mut Conn, world: &mut World) {
    if let Role::Rtmp(peer) = &mut conn.role {
        let why = "Another publisher has taken over this stream.";
        peer.session.end("NetStream.Publish.BadName", why, conn.out.buffer());
        conn.finish(world, "another publisher took over");
    }
}

/// The operator wants the client gone: it is told so in its protocol, and the connection ends.
pub fn kick(conn: &mut Conn, world: &mut World) {
    let Role::Rtmp(peer) = &mut conn.role else { return };
    let why = "The operator has ended this connection.";
    match &mut peer.job {
        // A message in flight is finished first, or the client would take ours for the rest of it.
        Job::Playing(viewer) if viewer.cursor.mid_message() => {
            (viewer.until_ms, viewer.paused) = (Some(0), false);
            return world.mark(conn);
        }
        Job::Publishing { .. } => peer.session.end("NetStream.Publish.Denied", why, conn.out.buffer()),
        Job::Waiting { msid, .. } => {
            let msid = *msid;
            peer.session.reject(msid, "NetStream.Play.Failed", why, conn.out.buffer());
        }
        Job::Applying { msid, .. } => {
            let msid = *msid;
            peer.session.reject(msid, "NetStream.Publish.Denied", why, conn.out.buffer());
        }
        Job::Playing(_) => peer.session.end("NetStream.Play.Stop", why, conn.out.buffer()),
        Job::None { .. } | Job::Asking(_) => {}
    }
    conn.finish(world, KICKED);
}

/// The vhost of the stream that the peer publishes or waits for is gone.
pub fn dismiss(conn: &mut Conn, world: &mut World, why: &str) {
    let Role::Rtmp(peer) = &mut conn.role else { return };
    if let Job::Publishing { .. } = &peer.job {
        peer.session.end("NetStream.Publish.BadName", why, conn.out.buffer());
        return conn.finish(world, why);
    }
    timed_out(conn, world, why);
}

/// The peer has run out of time.
pub fn timed_out(conn: &mut Conn, world: &mut World, why: &str) {
    let Role::Rtmp(peer) = &mut conn.role else { return };
    if let Job::Waiting { stream, msid, name, .. } = &peer.job {
        let (msid, name) = (*msid, printable(names::without_params(name), QUOTED));
        let text = match world.hub.get(*stream).map(Live::absence) {
            Some((502, text)) => text,
            _ => format!("nobody publishes {name}"),
        };
        peer.session.reject(msid, "NetStream.Play.StreamNotFound", &text, conn.out.buffer());
        world.complain("rtmp", conn, &format!("waited in vain: {text}"));
        conn.finish(world, why);
        return;
    }
    if let Job::Applying { msid, name, .. } = &peer.job {
        let (msid, name) = (*msid, name.clone());
        return refuse_publish(conn, world, (msid, &name), "NetStream.Publish.Failed", why);
    }
    if peer.home.is_none() {
        world.complain("rtmp", conn, &why);
    }
    conn.finish(world, why);
}
