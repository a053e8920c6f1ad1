//! A day of turns under a virtual clock, without sockets: one stream, viewers who come, go and fall behind, a publisher
//! that restarts every hour and leaps in time. What matters is what grows from the second hour on: nothing may.

use std::rc::Rc;

use bytes::Bytes;
use runnel::app::hub::{Source, StreamId};
use runnel::app::world::{Action, Timer, World};
use runnel::conf::Config;
use runnel::media::cursor::{Cursor, Filter};
use runnel::media::frame::Kind;
use runnel::media::mux::{Body, Format, Wrap};
use runnel::net::slots::Id;
use runnel::wire::names::StreamName;

use crate::report::Row;
use crate::{Options, Res, runs};

const HOUR_MS: u64 = 3_600_000;
const VIEWERS: usize = 20;
const FORMAT: Format = Format::Http(Body::Flv, Wrap::Chunk);

struct Viewer {
    id: Id,
    phase: u8,
    cursor: Cursor,
    /// Takes nothing during this time.
    stalled: std::ops::Range<u64>,
    leaves: u64,
}

struct Day {
    world: World,
    stream: StreamId,
    viewers: Vec<Viewer>,
    next_id: usize,
    bytes: u64,
    skips: u64,
    random: u64,
}

/// Runs the day and prints a row for each sixth hour.
pub fn run(options: &Options) -> Res<()> {
    let mut world = World::new(Rc::new(Config::default()));
    let name = StreamName::new("", "live", "x").map_err(|e| e.to_string())?;
    let vhost = world.config.vhost("x").cloned().ok_or("no vhost")?;
    let stream = world.publish(&name, &vhost, Source::Demo)?;
    let mut day = Day { world, stream, viewers: Vec::new(), next_id: 0, bytes: 0, skips: 0, random: 1 };
    let mut rows = Vec::new();
    for hour in 0..24 {
        let started = std::time::Instant::now();
        day.hour(hour);
        if matches!(hour, 0 | 1 | 5 | 11 | 17 | 23) {
            rows.push(day.row(hour + 1, started.elapsed().as_secs_f64()));
        }
        day.world.unpublish(day.stream, Source::Demo);
        day.world.publish(&name, &vhost, Source::Demo)?;
    }
    let columns = [
        "hour",
        "seconds",
        "frames",
        "feed_frames",
        "feed_kb",
        "timers",
        "streams",
        "viewer_gb",
        "skips",
        "anon_kb",
    ];
    runs::publish_results(options, "day", &rows, &columns)
}

impl Day {
    fn chance(&mut self, one_in: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.is_multiple_of(one_in)
    }

    fn hour(&mut self, hour: u64) {
        let pictures =
            [Bytes::from(vec![0x27; 2000]), Bytes::from([&[0x17, 1, 0, 0, 0][..], &[7; 9000]].concat())];
        let picture = Bytes::from([&[0x27, 1, 0, 0, 0][..], &pictures[0]].concat());
        let sound = Bytes::from([&[0xaf, 1][..], &[7; 300]].concat());
        // Each hour's publisher has a clock of its own.
        let mut clock = hour.wrapping_mul(0x3000_0000) as u32;
        for n in 0..HOUR_MS / 40 {
            self.world.now = hour * HOUR_MS + n * 40;
            clock = clock.wrapping_add(if self.chance(20_000) { 77_000_000 } else { 40 });
            let payload = if n.is_multiple_of(50) { &pictures[1] } else { &picture };
            self.world.ingest(self.stream, Source::Demo, Kind::Video, clock, payload.clone());
            self.world.ingest(self.stream, Source::Demo, Kind::Audio, clock + 5, sound.clone());
            self.people();
            self.turn();
        }
    }

    fn people(&mut self) {
        let now = self.world.now;
        while self.viewers.len() < VIEWERS {
            let id = Id::from_token(self.next_id & 0xfffff);
            self.next_id += 1;
            let (stays, stalls) = (10_000 + self.random % 600_000, self.chance(4));
            let Some(live) = self.world.hub.get_mut(self.stream) else { return };
            let cursor =
                Cursor::join(&live.stream.feed, live.join(Filter::default(), live.stream.feed.end()));
            let phase = live.fanout.add(id);
            let stalled = if stalls { now + 5_000..now + 95_000 } else { 0..0 };
            self.viewers.push(Viewer { id, phase, cursor, stalled, leaves: now + stays });
        }
        for gone in self.viewers.extract_if(.., |viewer| viewer.leaves <= now) {
            self.skips += u64::from(gone.cursor.skipped().times);
            self.world.leave(self.stream, gone.id, gone.phase, None);
        }
    }

    fn turn(&mut self) {
        let now = self.world.now;
        while let Some(timer) = self.world.timers.pop(now) {
            match timer {
                Timer::Tick(stream) => {
                    let due = self.world.tick(stream);
                    self.write(&due);
                }
                Timer::Stream(stream) => self.world.check_stream(stream),
                _ => {}
            }
        }
        while let Some(action) = self.world.actions.pop_front() {
            if let Action::Trim(stream) = action
                && let Some(live) = self.world.hub.get_mut(stream)
            {
                let slowest = self.viewers.iter().map(|viewer| viewer.cursor.position()).min();
                live.trim(|_| slowest);
            }
        }
    }

    fn write(&mut self, due: &[Id]) {
        let Some(live) = self.world.hub.get(self.stream) else { return };
        let Some((feed, start)) = live.feed(None) else { return };
        let now = self.world.now;
        for viewer in self
            .viewers
            .iter_mut()
            .filter(|viewer| !viewer.stalled.contains(&now) && due.contains(&viewer.id))
        {
            viewer.cursor.settle(feed, start);
            while viewer.cursor.is_due(feed) {
                let before = self.bytes;
                if let Some((run, offset, base)) = viewer.cursor.run(feed)
                    && let Some(batch) = self.world.batches.get((0, None), FORMAT, feed, run, base)
                {
                    let len = batch.bytes(base).len();
                    self.bytes += (len - offset) as u64;
                    let (next, rest) = batch.place(len);
                    viewer.cursor.place(feed, next, rest);
                } else {
                    let mut scratch = [0; runnel::media::mux::SCRATCH];
                    let mut gather = runnel::media::mux::Gather::new(&mut scratch, 256 << 10);
                    viewer.cursor.gather(feed, FORMAT, &mut gather);
                    let (_, total) = gather.finish();
                    self.bytes += total as u64;
                    viewer.cursor.advance(feed, FORMAT, total);
                }
                if self.bytes == before {
                    break;
                }
                viewer.cursor.settle(feed, start);
            }
        }
    }

    fn row(&self, hour: u64, seconds: f64) -> Row {
        let mut row = Row::default();
        row.num("hour", hour as f64);
        row.num("seconds", seconds);
        if let Some(live) = self.world.hub.get(self.stream) {
            row.num("frames", live.stream.feed.end() as f64);
            row.num("feed_frames", live.stream.feed.len() as f64);
            row.num("feed_kb", live.stream.feed.bytes() as f64 / 1000.0);
        }
        row.num("timers", self.world.timers.len() as f64);
        row.num("streams", self.world.hub.len() as f64);
        row.num("viewer_gb", self.bytes as f64 / 1e9);
        row.num("skips", self.skips as f64);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let anon = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let anon = anon.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        row.num("anon_kb", anon.unwrap_or(0.0));
        row
    }
}
