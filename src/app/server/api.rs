//! The API's requests, which look at all connections, and where they come in.

use super::{Conn, Protocol, Server};
use crate::app::api::{self, Deed, Door, Errand, View};
use crate::app::conn::{FAREWELL_MS, Role};
use crate::app::world::Timer;
use crate::app::{http, rtmp};
use crate::net::slots::Id;

impl Server {
    /// Notes at which of the open ports the API is served.
    pub(super) fn find_doors(&mut self) {
        let api = &self.world.config.http_api;
        let open = self.listeners.iter().flatten().filter(|_| api.enabled);
        let door = |listening: &super::Listening| {
            let shared = listening.protocol == Protocol::Http && api.listen.contains(&listening.listen);
            let at = listening.socket.local_addr().ok()?;
            (shared || listening.protocol == Protocol::Api).then_some(Door { at, shared })
        };
        self.world.api.doors = open.filter_map(door).collect();
    }

    /// Answers what a connection has asked of the API.
    pub(super) fn on_api(&mut self, id: Id) {
        let now = self.world.now;
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Role::Http(peer) = &mut conn.role else { return };
        let Some(Errand::Asked(request)) = peer.call_done(now) else { return };
        let from = api::whence(&self.world, conn, &request);
        self.world.api.sample(now, self.world.received, self.world.sent);
        let view = View { world: &self.world, conns: &self.conns };
        let reply = match api::answer(&view, from, &request) {
            Deed::Reply(reply) => reply,
            Deed::Kick(serial) => {
                let found = self.kick(serial);
                let what = if found { "was told to go" } else { "is not there to be told to go" };
                log::info!(target: "api", "{from}: client {serial} {what}");
                api::kicked(&self.world, found)
            }
            Deed::Reload => {
                log::info!(target: "api", "{from}: reload");
                self.reload();
                api::reloaded(&self.world)
            }
        };
        let Some(conn) = self.conns.get_mut(id) else { return };
        api::write(conn, &mut self.world, &request, reply);
        // What came behind the request was left unread.
        if conn.socket.readable && !conn.holds() && !std::mem::replace(&mut conn.queued, true) {
            self.run.push_back(id);
        }
    }

    /// Disconnects the publisher or viewer of this number; false when there is none.
    fn kick(&mut self, serial: u64) -> bool {
        let is = |conn: &Conn| conn.serial == serial && conn.stream().is_some() && conn.gone.is_none();
        let id = self.conns.iter().find(|(_, conn)| is(conn)).map(|(id, _)| id);
        let Some(conn) = id.and_then(|id| self.conns.get_mut(id)) else { return false };
        let now = self.world.now;
        match conn.role {
            Role::Rtmp(_) => rtmp::kick(conn, &mut self.world),
            Role::Http(_) => http::kick(conn, &mut self.world),
            Role::Ingress(_) => self.world.close(conn, rtmp::KICKED),
            Role::Relay(_) | Role::Probe(_) | Role::Leaving(_) => return false,
        }
        // Whoever is in the middle of a message has some time to take the rest of it, from now on.
        if conn.viewer().is_some() {
            conn.blocked_since = conn.blocked_since.map(|_| now);
            self.world.timers.set(Timer::Connection(conn.id), now.saturating_add(FAREWELL_MS));
        }
        true
    }
}
