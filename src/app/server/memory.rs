//! `max_memory`: what is held, counted, and what is done when it is too much. The steps are in [`crate::app::memory`].

use super::Server;
use crate::app::conn::Conn;
use crate::app::memory::{Used, Verdict, budget};
use crate::app::world::{Action, Timer};
use crate::media::derived::Kindred;
use crate::net::memory;
use crate::net::slots::{Id, Slots};
use std::cmp::Reverse;

/// How often it is counted while there is anybody, in milliseconds.
const LOOK_MS: u64 = 1_000;
/// A connection that holds more than this is closed before containers end.
const HEAVY: usize = 64 << 10;

impl Server {
    /// Sets the budget: the configured one, or what suits the machine. What was found at the start counts, for what is
    /// left later is less by what we took.
    pub(super) fn set_memory_budget(&mut self) {
        let bytes = budget(self.world.config.max_memory, self.available);
        self.world.memory.set_budget(bytes);
        self.world.hls.writer.set_budget(self.world.memory.budget());
        self.world.dvr.set_budget(self.world.memory.budget());
        self.world.deal_out();
        if bytes > 0 && self.world.config.max_memory.is_none() {
            log::info!(
                target: "memory",
                "max_memory is {} MB: half of what is left on this machine", bytes >> 20
            );
        }
        self.memory_next();
    }

    /// Sees to it that there is a next look, while there is a budget.
    pub(super) fn memory_next(&mut self) {
        if self.world.memory.budget() > 0 && !std::mem::replace(&mut self.memory_ticking, true) {
            self.world.timers.set(Timer::Memory, self.world.now.saturating_add(LOOK_MS));
        }
    }

    pub(super) fn on_memory(&mut self) {
        self.memory_ticking = false;
        self.world.batches.drop_idle();
        self.look_at_memory();
        if !self.conns.is_empty() || !self.world.hub.is_empty() || self.world.memory.level().number() > 0 {
            self.memory_next();
        }
    }

    /// Counts what is held, and takes steps until it fits.
    pub(super) fn look_at_memory(&mut self) {
        let now = self.world.now;
        loop {
            let used = self.weigh();
            let mut verdict = self.world.memory.weigh(now, used);
            if let Verdict::Cut(excess) = verdict {
                let gone = self.cut(excess);
                verdict = self.world.memory.cut(now, excess, gone);
            }
            match verdict {
                Verdict::Less => {
                    self.world.deal_out();
                    self.trim_all();
                }
                Verdict::Stay | Verdict::Cut(_) => break,
                Verdict::More => {
                    self.world.deal_out();
                    break;
                }
            }
        }
        if self.world.memory.has_shrunk() {
            memory::give_back();
        }
        self.tell_memory();
    }

    fn tell_memory(&mut self) {
        let Some(news) = self.world.memory.news(memory::resident) else { return };
        if let Some(left_out) = self.world.quiet.allow("memory", self.world.now) {
            let more = if left_out > 0 { format!(" ({left_out} steps before)") } else { String::new() };
            if news.is_bad() {
                log::warn!(target: "memory", "memory is short: {news}{more}");
            } else {
                log::info!(target: "memory", "memory: {news}{more}");
            }
        }
    }

    fn weigh(&self) -> Used {
        let mut used = self.world.weigh();
        for (_, conn) in self.conns.iter().filter(|(_, conn)| conn.gone.is_none()) {
            let (buffers, unfinished) = conn.heap();
            used.buffers = used.buffers.saturating_add(buffers);
            used.unfinished = used.unfinished.saturating_add(unfinished);
            used.pinned = used.pinned.saturating_add(self.pinned(conn));
        }
        used
    }

    /// What only this viewer, or a few who are as slow, keep of a stream that has moved on.
    fn pinned(&self, conn: &Conn) -> usize {
        let pinned = |conn: &Conn| {
            let viewer = conn.viewer()?;
            let (feed, _) = self.world.hub.get(viewer.stream)?.feed(viewer.source)?;
            Some(viewer.cursor.pinned(feed))
        };
        pinned(conn).unwrap_or(0)
    }

    /// Closes connections that hold much, then ends containers with few readers, until `excess` bytes are gone or nothing
    /// is left to cut. Gives the bytes that go.
    fn cut(&mut self, excess: usize) -> usize {
        let mut gone = 0;
        for (weight, id) in self.heavy() {
            if gone >= excess {
                return gone;
            }
            let Some(conn) = self.conns.get_mut(id) else { continue };
            self.world.close(conn, "memory is short (max_memory): it kept too much waiting");
            self.world.memory.closed_connection();
            gone = gone.saturating_add(weight);
        }
        let mut containers: Vec<_> = self
            .world
            .hub
            .entries()
            .collect::<Vec<_>>()
            .iter()
            .flat_map(|(id, live)| {
                live.containers()
                    .map(|(kindred, readers, bytes)| (readers, bytes, *id, kindred))
                    .collect::<Vec<_>>()
            })
            .collect();
        containers.sort_by_key(|(readers, bytes, ..)| (*readers, Reverse(*bytes)));
        for (readers, bytes, id, kindred) in containers {
            if gone >= excess {
                break;
            }
            let Some(live) = self.world.hub.get_mut(id) else { continue };
            log::info!(
                target: "memory",
                "{}: {} ends for {readers} viewers: memory is short (max_memory)", live.name, kindred.container.name()
            );
            live.give_up(kindred);
            self.world.memory.ended_derived();
            self.world.actions.push_back(Action::Send(id));
            gone = gone.saturating_add(bytes);
        }
        gone
    }

    /// Connections that hold much and do not publish, the worst first.
    fn heavy(&self) -> Vec<(usize, Id)> {
        let weight = |conn: &Conn| {
            let (buffers, unfinished) = conn.heap();
            let others = self.pinned(conn).saturating_add(conn.out.piece_heap());
            buffers.saturating_add(unfinished).saturating_add(others)
        };
        let candidates = self.conns.iter().filter(|(_, conn)| conn.gone.is_none() && !conn.publishes());
        let mut heavy: Vec<(usize, Id)> =
            candidates.map(|(id, conn)| (weight(conn), id)).filter(|(weight, _)| *weight > HEAVY).collect();
        heavy.sort_by_key(|(weight, _)| Reverse(*weight));
        heavy
    }

    fn trim_all(&mut self) {
        let Server { conns, world, .. } = self;
        for id in world.hub.entries().map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some(live) = world.hub.get_mut(id) {
                trim(conns, live);
            }
        }
    }
}

/// Drops of a stream what no viewer needs.
pub(super) fn trim(conns: &Slots<Conn>, live: &mut crate::app::hub::Live) {
    let mut slowest: Vec<(Option<Kindred>, u64)> = Vec::new();
    for viewer in live.fanout.all().filter_map(|id| conns.get(id)?.viewer()) {
        let at = viewer.cursor.position();
        match slowest.iter_mut().find(|(source, _)| *source == viewer.source) {
            Some((_, least)) => *least = at.min(*least),
            None => slowest.push((viewer.source, at)),
        }
    }
    live.trim(|source| slowest.iter().find(|(of, _)| *of == source).map(|(_, at)| *at));
}
