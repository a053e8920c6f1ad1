//! An upgrade: the program is started again, as it is on disk by now, and takes over.
//!
//! ```text
//!   SIGUSR2 ─► new process, with our listening sockets ─► "ready" ─► we stop accepting, end the streams, and drain
//!                        │
//!                        └─ it fails, or says nothing in time ─► it is ended; we go on as if nothing had been
//! ```
//!
//! At no time is there no process that accepts: the sockets are the same ones, and who has connected and was not taken yet
//! is taken by the new process. Publishers and viewers are cut off so that they come back, to the new process.

use super::{Server, State};
use crate::app::conn::Role;
use crate::app::http;
use crate::app::rtmp;
use crate::app::service::PidFile;
use crate::app::world::Timer;
use crate::net::handover::{self, News, Program, Sockets, Successor};
use crate::net::notify;
use crate::net::poll::Who;

/// How long the new process may take until it is ready, in milliseconds.
const PATIENCE_MS: u64 = 30_000;
/// How long one that has closed its end may take until it has ended, in milliseconds.
const END_MS: u64 = 500;

/// What an upgrade needs.
#[derive(Debug, Default)]
pub(super) struct Upgrade {
    pub(super) program: Option<Program>,
    /// Goes when the server does, unless the new process has it by then.
    pub(super) pid: Option<PidFile>,
    pub(super) successor: Option<Successor>,
    /// Handed over to this process by another one; what is left after the start is closed.
    pub(super) sockets: Sockets,
}

impl Server {
    /// Lets SIGUSR2 hand over to `program`, started anew, with the sockets and the pid file.
    pub fn may_hand_over(&mut self, program: Program, pid: Option<PidFile>) {
        self.upgrade.program = Some(program);
        self.upgrade.pid = pid;
        self.upgrade.sockets = Sockets::default();
    }

    /// Starts the new process.
    pub(super) fn upgrade(&mut self) {
        let Some(program) = &self.upgrade.program else {
            return log::warn!(target: "upgrade", "there is no program to hand over to");
        };
        let refusal = if self.state != State::Running {
            Some("the server is about to end")
        } else if self.upgrade.successor.is_some() {
            Some("the new process is on its way already")
        } else if std::process::id() == 1 {
            Some("this is process 1, whose end would end all others: start the container again")
        } else {
            None
        };
        if let Some(why) = refusal {
            return log::warn!(target: "upgrade", "nothing is done: {why}");
        }
        let sockets = self.listeners.iter().flatten();
        let sockets = sockets.map(|l| (l.listen.addr, l.listen.port, handover::borrow(&l.socket)));
        let lock = self.upgrade.pid.as_ref().map(PidFile::file);
        let path = program.path().display().to_string();
        let started = Successor::start(program, lock, sockets).and_then(|mut new| {
            if let Err(error) = self.poll.register(new.source(), Who::Successor) {
                new.end();
                return Err(error);
            }
            Ok(new)
        });
        match started {
            Ok(new) => {
                log::info!(target: "upgrade", "{path} is started as process {}", new.pid());
                self.upgrade.successor = Some(new);
                self.world.timers.set(Timer::Upgrade, self.world.now.saturating_add(PATIENCE_MS));
            }
            Err(error) => {
                log::error!(target: "upgrade", "{path} cannot be started: {error}; nothing has changed")
            }
        }
    }

    /// The new process has said something.
    pub(super) fn on_successor(&mut self) {
        let Some(new) = &mut self.upgrade.successor else { return };
        match new.news() {
            News::None => {}
            News::Ready => self.hand_over(),
            News::Failed(why) => self.keep_on(&why),
            // Its status, which tells why, comes a moment later.
            News::Silent => self.world.timers.set(Timer::Upgrade, self.world.now.saturating_add(END_MS)),
        }
    }

    /// The new process is out of time.
    pub(super) fn on_upgrade_late(&mut self) {
        self.keep_on("");
    }

    fn keep_on(&mut self, why: &str) {
        let Some(mut new) = self.upgrade.successor.take() else { return };
        self.world.timers.clear(Timer::Upgrade);
        self.poll.deregister(new.source());
        let status = new.end();
        why.lines().for_each(|line| log::error!(target: "upgrade", "{line}"));
        let end = match status {
            Some(status) => format!("ended at its start ({status})"),
            None => "did not get ready and was ended".to_owned(),
        };
        log::error!(target: "upgrade", "process {} {end}; this one goes on", new.pid());
        if let Some(pid) = &self.upgrade.pid {
            pid.restore();
        }
    }

    fn hand_over(&mut self) {
        let Some(mut new) = self.upgrade.successor.take() else { return };
        self.world.timers.clear(Timer::Upgrade);
        self.poll.deregister(new.source());
        notify::tell(&format!("MAINPID={}\n", new.pid()));
        log::info!(
            target: "upgrade",
            "process {} has taken over; {} connections end here",
            new.pid(),
            self.conns.len()
        );
        crate::net::log::leave_files();
        (0..self.listeners.len()).for_each(|n| self.close(n));
        self.world.replaced = true;
        self.demo = None;
        let streams: Vec<_> =
            self.world.hub.entries().filter(|(_, live)| !live.ended).map(|(id, _)| id).collect();
        streams.into_iter().for_each(|id| self.world.end_stream(id));
        // The new process writes files of the same names.
        self.world.hub.drop_hls_files();
        for id in self.conns.ids() {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            match conn.role {
                Role::Rtmp(_) => rtmp::replaced(conn, &mut self.world),
                Role::Http(_) => http::replaced(conn, &mut self.world),
                Role::Ingress(_) => self.world.close(conn, rtmp::REPLACED),
                Role::Relay(_) | Role::Probe(_) | Role::Leaving(_) => {}
            }
        }
        self.drain_now();
    }
}
