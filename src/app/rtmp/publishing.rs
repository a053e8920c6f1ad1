//! Publishers: who may publish what, and who is told why not.

use super::{Command, Job, QUOTED, is_asked, resolve};
use crate::app::conn::{Conn, Role};
use crate::app::hub::Source;
use crate::app::relay::pull::Asked;
use crate::app::world::{Timer, World};
use crate::conf::Act;
use crate::wire::names::{self, printable};

pub(super) fn on_fc_publish(conn: &mut Conn, world: &mut World, tid: f64, stream: &str) {
    let Role::Rtmp(peer) = &mut conn.role else { return };
    let (id, ip) = (conn.id, conn.peer.ip());
    let verdict = resolve(peer, world, stream).and_then(|(request, vhost)| {
        world.may(&vhost, Act::Publish, id, ip).map_err(|refusal| refusal.why)?;
        world.may_publish(&request.name, &vhost, ip)
    });
    let refusal = verdict.err();
    if refusal.is_none() && is_asked(conn, world, Command::FcPublish { tid }, stream) {
        return;
    }
    let Role::Rtmp(peer) = &mut conn.role else { return };
    peer.session.answer_fc_publish(tid, stream, refusal.as_deref(), conn.out.buffer());
}

/// Whether the peer may not do this with a stream of the vhost that it names; then it is told.
pub(super) fn is_denied(conn: &mut Conn, world: &mut World, act: Act, msid: u32, stream: &str) -> bool {
    let Role::Rtmp(peer) = &mut conn.role else { return false };
    let Ok((request, vhost)) = resolve(peer, world, stream) else { return false };
    let Err(refusal) = world.may(&vhost, act, conn.id, conn.peer.ip()) else { return false };
    let code = match act {
        Act::Publish => "NetStream.Publish.Denied",
        Act::Play => "NetStream.Play.Failed",
    };
    peer.session.reject(msid, code, &refusal.why, conn.out.buffer());
    world.complain("rtmp", conn, &format!("{} of {} refused: {refusal}", act.word(), request.name));
    conn.finish(world, "refused");
    true
}

pub(super) fn on_publish(conn: &mut Conn, world: &mut World, msid: u32, stream: &str) {
    if !is_denied(conn, world, Act::Publish, msid, stream)
        && !is_asked(conn, world, Command::Publish { msid }, stream)
        && !applies(conn, world, msid, stream)
    {
        publish(conn, world, msid, stream);
    }
}

/// Whether an origin is to say first whether this may be published, or cannot be asked, which the peer is told.
fn applies(conn: &mut Conn, world: &mut World, msid: u32, stream: &str) -> bool {
    let Role::Rtmp(peer) = &mut conn.role else { return false };
    let Ok((request, vhost)) = resolve(peer, world, stream) else { return false };
    let free = world.may_publish(&request.name, &vhost, conn.peer.ip()).is_ok();
    if !vhost.cluster.remote || !free {
        return false;
    }
    let via = peer.home.as_ref().and_then(|home| home.via.as_deref());
    match world.apply(&request.name, &vhost, conn.id, Asked::of(&request.raw_params, via)) {
        Ok(false) => false,
        Ok(true) => {
            let until = world.now.saturating_add(vhost.publish.firstpkt_timeout_ms);
            let agent = Some(peer.take_agent());
            peer.job = Job::Applying { msid, name: stream.into(), until, agent };
            world.timers.set(Timer::Connection(conn.id), until);
            true
        }
        Err(why) => {
            refuse_publish(conn, world, (msid, stream), "NetStream.Publish.BadName", &why);
            true
        }
    }
}

/// The origin has said whether the peer may publish.
pub fn verdict(conn: &mut Conn, world: &mut World, refusal: Option<(Box<str>, Box<str>)>) {
    let Role::Rtmp(peer) = &mut conn.role else { return };
    let Job::Applying { msid, name, agent, .. } = &mut peer.job else { return };
    let (msid, name, agent) = (*msid, std::mem::take(name), agent.take());
    peer.job = Job::None { since: world.now, agent };
    match refusal {
        None => publish(conn, world, msid, &name),
        Some((code, why)) => refuse_publish(conn, world, (msid, &name), &code, &why),
    }
    if !conn.publishes() {
        world.withdraw(conn.id);
    }
    world.mark(conn);
}

pub(super) fn refuse_publish(
    conn: &mut Conn,
    world: &mut World,
    (msid, stream): (u32, &str),
    code: &str,
    why: &str,
) {
    let Role::Rtmp(peer) = &mut conn.role else { return };
    peer.session.reject(msid, code, why, conn.out.buffer());
    let name = printable(names::without_params(stream), QUOTED);
    world.complain("rtmp", conn, &format!("publish of {name} refused: {why}"));
    conn.finish(world, "publish refused");
}

pub(super) fn publish(conn: &mut Conn, world: &mut World, msid: u32, stream: &str) {
    let Role::Rtmp(peer) = &mut conn.role else { return };
    let by = Source::Peer(conn.id, conn.peer.ip());
    let verdict = resolve(peer, world, stream).and_then(|(request, vhost)| {
        let id = world.publish(&request.name, &vhost, by)?;
        Ok((id, request.name))
    });
    match verdict {
        Ok((id, name)) => {
            peer.session.accept_publish(msid, stream, conn.out.buffer());
            if let Some(live) = world.hub.get_mut(id) {
                live.via = peer.home.as_ref().and_then(|home| home.via.clone());
            }
            let received_before = peer.session.received();
            let agent = peer.take_agent();
            peer.job =
                Job::Publishing { stream: id, by, since: world.now, last_media: None, received_before };
            world.timers.set(Timer::Connection(conn.id), world.now);
            log::info!(target: "rtmp", "{} {}: publisher of {name} came ({agent})", conn.tag(), conn.peer);
        }
        Err(why) => {
            refuse_publish(conn, world, (msid, stream), "NetStream.Publish.BadName", &why);
        }
    }
}
