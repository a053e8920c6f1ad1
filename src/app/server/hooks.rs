//! Hooks and heartbeat: where the loop goes on with them.

use super::Server;
use crate::app::api::{self, View};
use crate::app::conn::Role;
use crate::app::json::Json;
use crate::app::{hooks, http, rtmp};
use crate::net::poll::Who;
use crate::net::slots::Id;

/// How long the end of the server waits for hooks to be told, in milliseconds.
const DRAIN_MS: u64 = 2_000;

impl Server {
    /// Asks and tells what is to be asked and told.
    pub(super) fn on_hooks(&mut self) {
        hooks::turn(&mut self.world, &self.poll);
    }

    /// The answer has come that this connection waits for.
    pub(super) fn on_hook(&mut self, id: Id, ticket: u32) {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.gone.is_none()) else { return };
        match conn.role {
            Role::Rtmp(_) => rtmp::decided(conn, &mut self.world, ticket),
            Role::Http(_) => http::decided(conn, &mut self.world, ticket),
            _ => {}
        }
        // What came meanwhile was left unread.
        if conn.socket.readable && !conn.holds() && !std::mem::replace(&mut conn.queued, true) {
            self.run.push_back(id);
        }
    }

    /// It is time to say that this server lives.
    pub(super) fn on_heartbeat(&mut self) {
        let summaries = self.world.config.heartbeat.summaries.then(|| {
            self.world.api.sample(self.world.now, self.world.received, self.world.sent);
            let mut json = Json::default();
            api::summaries(&View { world: &self.world, conns: &self.conns }, &mut json);
            json.finish()
        });
        hooks::heartbeat(&mut self.world, summaries);
    }

    /// The server ends: what waits to be told is, if that does not take long.
    pub(super) fn drain_hooks(&mut self) {
        let until = self.poll.now().saturating_add(DRAIN_MS);
        let mut events = Vec::new();
        while self.world.hooks.is_busy() && self.poll.now() < until {
            self.world.now = self.poll.now();
            self.world.hooks.touch();
            self.on_hooks();
            events.clear();
            let wait = if self.world.hooks.is_due() { 0 } else { 50 };
            if self.poll.wait(Some(wait), &mut events).is_err() {
                return;
            }
            for event in &events {
                if let Who::Line(n) = event.who {
                    self.world.hooks.on_ready(n, event.readable, event.writable, event.closed);
                }
            }
            while let Some(answer) = self.world.relays.answer() {
                self.world.hooks.found(&answer, self.world.now);
            }
        }
    }
}
