//! The configuration read again, by SIGHUP or because its files have changed.

use super::{Server, State, allowed};
use crate::app::api::Reloaded;
use crate::app::conn::Role;
use crate::app::dvr;
use crate::app::reload::{self, Change};
use crate::app::setup::{Setup, log_settings};
use crate::app::world::Timer;
use crate::app::{hooks, http, rtmp};
use crate::conf::Config;
use crate::net::files::{self, Stamp};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// How often the configuration's files are looked at, in milliseconds.
const WATCH_MS: u64 = 1_000;
/// Changes that are named one by one.
const SHOWN: usize = 20;

/// Where the configuration came from, to read it again.
#[derive(Debug)]
pub(super) struct Watched {
    setup: Setup,
    files: Vec<String>,
    stamps: Vec<Stamp>,
}

impl Server {
    /// Lets SIGHUP read the configuration again from where it came from; `files` are those that it was made of.
    pub fn watch(&mut self, setup: Setup, files: Vec<String>) {
        let stamps = files::stamps(&files);
        self.setup = Some(Watched { setup, files, stamps });
        self.watch_next();
    }

    fn watch_next(&mut self) {
        if self.world.config.auto_reload && self.setup.as_ref().is_some_and(|w| !w.files.is_empty()) {
            self.world.timers.set(Timer::Watch, self.world.now.saturating_add(WATCH_MS));
        }
    }

    /// Reads the configuration again. What is wrong with it is told, and the one in force stays.
    pub(super) fn reload(&mut self) {
        let started = self.poll.now();
        self.world.api.reloaded.0 += 1;
        let cannot = match (&self.setup, self.state) {
            (None, _) => "there is no configuration to read again",
            (_, State::Running) => "",
            _ => "not reloaded: the server is about to end",
        };
        let Some(watched) = self.setup.as_mut().filter(|_| cannot.is_empty()) else {
            self.world.api.reloaded.1 = Some(Reloaded { took: 0, outcome: Err(String::from(cannot)) });
            return log::warn!(target: "server", "{cannot}");
        };
        let loaded = watched.setup.load();
        if let Ok(loaded) = &loaded {
            let warnings = loaded.warnings.iter().map(ToString::to_string);
            warnings.for_each(|text| text.lines().for_each(|line| log::warn!(target: "reload", "{line}")));
            watched.stamps = files::stamps(&loaded.files);
            watched.files.clone_from(&loaded.files);
        }
        let outcome = loaded.and_then(|loaded| self.adopt(loaded.config));
        let took = self.poll.now().saturating_sub(started);
        let told = match &outcome {
            Ok(changes) => Ok(changes.iter().map(ToString::to_string).collect()),
            Err(why) => Err(why.clone()),
        };
        self.world.api.reloaded.1 = Some(Reloaded { took, outcome: told });
        match outcome {
            Ok(changes) if changes.is_empty() => {
                log::info!(target: "reload", "nothing has changed ({took} ms)");
            }
            Ok(changes) => tell(&changes, took),
            Err(why) => {
                why.lines().for_each(|line| log::error!(target: "reload", "{line}"));
                log::error!(target: "reload", "the configuration that was in force stays so");
            }
        }
        self.watch_next();
    }

    /// Puts a configuration in force, or changes nothing.
    fn adopt(&mut self, mut config: Config) -> Result<Vec<Change>, String> {
        let old = self.world.config.clone();
        reload::share(&old, &mut config);
        let changes = reload::diff(&old, &config);
        reload::keep_until_restart(&old, &mut config);
        if old.log != config.log {
            crate::net::log::start(&log_settings(&config.log))?;
        }
        if let Err(why) = self.change_ports(&changes, config.reuse_port) {
            let _ = crate::net::log::start(&log_settings(&old.log));
            return Err(why);
        }
        self.max_connections = allowed(config.max_connections, self.files);
        self.world.config = Rc::new(config);
        self.find_doors();
        dvr::adopt(&mut self.world);
        if old.heartbeat != self.world.config.heartbeat {
            hooks::adopt(&mut self.world);
        }
        self.change_streams();
        self.world.adopt_programs(None);
        if old.max_memory != self.world.config.max_memory {
            self.set_memory_budget();
        }
        if !self.conns.is_empty() {
            self.pithy_next();
        }
        Ok(changes)
    }

    /// Gives streams the settings now in force; who is in a vhost that is gone has to go too.
    fn change_streams(&mut self) {
        let mut vhosts = HashMap::new();
        for vhost in self.world.config.vhosts.iter().filter(|v| v.enabled) {
            vhosts.insert(vhost.name.to_ascii_lowercase(), vhost.clone());
        }
        let (mut lost, mut changed) = (HashSet::new(), Vec::new());
        for (id, live) in self.world.hub.entries() {
            match vhosts.get(&live.name.vhost().to_ascii_lowercase()) {
                Some(vhost) if Rc::ptr_eq(vhost, &live.vhost) => {}
                Some(vhost) => changed.push((id, vhost.clone())),
                None => drop(lost.insert(id)),
            }
        }
        for (id, vhost) in changed {
            if let Some(live) = self.world.hub.get_mut(id) {
                live.set_vhost(vhost);
                dvr::change(live, &mut self.world.dvr, self.world.now);
            }
            self.world.forward(id);
            self.world.pull_changed(id);
        }
        for id in &lost {
            self.world.end_stream(*id);
            self.world.hub.get_mut(*id).into_iter().for_each(|live| live.pull = None);
        }
        if lost.is_empty() {
            return;
        }
        let why = "its vhost is not served any more";
        for id in self.conns.ids() {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            // Viewers get what is left and the end, as with the end of any stream.
            if conn.viewer().is_none() && conn.stream().is_some_and(|stream| lost.contains(&stream)) {
                match conn.role {
                    Role::Rtmp(_) => rtmp::dismiss(conn, &mut self.world, why),
                    Role::Http(_) => http::timed_out(conn, &mut self.world, why),
                    Role::Ingress(_) => self.world.close(conn, why),
                    Role::Relay(_) | Role::Probe(_) | Role::Leaving(_) => {}
                }
            }
        }
    }

    pub(super) fn on_watch(&mut self) {
        let changed = self.setup.as_ref().is_some_and(|w| files::stamps(&w.files) != w.stamps);
        if changed {
            log::info!(target: "reload", "the configuration has changed");
            self.reload();
            // A file with a mistake is looked at again when it changes again.
            if let Some(watched) = &mut self.setup {
                watched.stamps = files::stamps(&watched.files);
            }
        }
        self.watch_next();
    }
}

/// What a reload has changed, in one line for each kind that calls for something.
fn tell(changes: &[Change], took: u64) {
    let restart = |change: &&Change| matches!(change, Change::Restart(_));
    let list: Vec<String> = changes.iter().filter(|c| !restart(c)).map(ToString::to_string).collect();
    let more = list.len().saturating_sub(SHOWN);
    let shown = list.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let shown = if shown.is_empty() { "nothing in force has changed" } else { &shown };
    log::info!(target: "reload", "{shown}{more} ({took} ms)");
    for change in changes.iter().filter(restart) {
        log::warn!(target: "reload", "{change}: until then the old value stays");
    }
}
