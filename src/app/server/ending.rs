//! A graceful end, step by step.
//!
//! ```text
//!   Running ─SIGQUIT─► Announced ─grace_start_wait─► Draining ─the last is gone─► Lingering ─grace_final_wait─► Stopped
//! ```
//!
//! Who is there when it drains is asked to connect anew, if it knows what that means (Enhanced RTMP): by then this address
//! leads elsewhere. A further SIGQUIT goes on to the next step at once.

use super::{Server, State};
use crate::app::rtmp;
use crate::app::world::Timer;

/// How long a drain waits for connections to end, in milliseconds.
const DRAIN_MS: u64 = 60_000;

impl Server {
    /// Begins a graceful end; told again, goes on to its next step.
    pub(super) fn drain(&mut self) {
        if self.state == State::Running {
            let count = self.conns.len();
            log::info!(target: "server", "told to drain: {count} connections may end by themselves");
            self.state = State::Announced;
            let wait = self.world.config.grace_start_wait_ms;
            self.world.timers.set(Timer::Drain, self.world.now.saturating_add(wait));
        } else {
            self.drain_step();
        }
    }

    pub(super) fn drain_step(&mut self) {
        match self.state {
            State::Announced => {
                (0..self.listeners.len()).for_each(|n| self.close(n));
                for id in self.conns.ids() {
                    if let Some(conn) = self.conns.get_mut(id) {
                        rtmp::send_away(conn, &mut self.world);
                    }
                }
                self.drain_now();
            }
            State::Running | State::Draining | State::Lingering | State::Stopped => {
                self.state = State::Stopped;
            }
        }
    }

    /// Goes to where nobody new is taken.
    pub(super) fn drain_now(&mut self) {
        self.state = State::Draining;
        self.world.close_programs();
        self.world.timers.set(Timer::Drain, self.world.now.saturating_add(DRAIN_MS));
    }

    pub(super) fn linger(&mut self) {
        self.state = State::Lingering;
        let wait = self.world.config.grace_final_wait_ms;
        self.world.timers.set(Timer::Drain, self.world.now.saturating_add(wait));
    }
}
