//! The line of statistics, from time to time while there is anybody.

use super::Server;
use super::turns::Turns;
use crate::app::hub::{Live, Publisher};
use crate::app::world::{Timer, World};

/// What the last line of statistics counted.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    ticking: bool,
    since: u64,
    received: u64,
    sent: u64,
    pub(super) turns: Turns,
}

impl Server {
    /// A line of statistics, while there is anything to tell.
    pub(super) fn on_pithy(&mut self) {
        self.traffic.ticking = false;
        let (now, world) = (self.world.now, &self.world);
        let ms = now.saturating_sub(self.traffic.since).max(1);
        let rate = |bytes: u64| {
            let kbit = bytes.saturating_mul(8) / ms;
            format!("{}.{} Mbit/s", kbit / 1000, kbit / 100 % 10)
        };
        let received = rate(world.received.saturating_sub(self.traffic.received));
        let sent = rate(world.sent.saturating_sub(self.traffic.sent));
        let live = |(_, live): &(_, &Live)| matches!(live.publisher, Publisher::Live(_));
        let publishers = world.hub.entries().filter(live).count();
        let viewers: usize = world.hub.entries().map(|(_, live)| live.watchers()).sum();
        let turns = &self.traffic.turns;
        let ms_of = |us: u64| format!("{}.{} ms", us / 1000, us / 100 % 10);
        let (count, most, longest) = (turns.count(), ms_of(turns.most_us()), ms_of(turns.longest_us()));
        let kept: usize = world.hub.entries().map(|(_, live)| live.stream.feed.bytes()).sum();
        if publishers + viewers > 0 {
            log::info!(
                target: "stats",
                "{publishers} publishers, {viewers} viewers, {} connections; in {received}, out {sent} in {} s; \
                 {} kB of media kept; {count} turns, 99 % below {most}, the longest {longest}",
                self.conns.len(),
                ms / 1000,
                kept / 1000,
            );
        }
        if !self.conns.is_empty() {
            self.pithy_next();
        }
    }

    pub(super) fn pithy_next(&mut self) {
        let every = self.world.config.log.pithy_ms;
        if every > 0 && !std::mem::replace(&mut self.traffic.ticking, true) {
            let World { now, received, sent, .. } = self.world;
            self.traffic = Traffic { ticking: true, since: now, received, sent, turns: Turns::default() };
            self.world.timers.set(Timer::Pithy, now.saturating_add(every));
        }
    }
}
