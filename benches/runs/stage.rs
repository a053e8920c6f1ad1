//! A subject with its publisher and its two viewer processes, and the measures of a window of time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::clock::{Clock, wall_us};
use crate::control::{Fields, Helper, num, text};
use crate::process::Sample;
use crate::report::Row;
use crate::subject::{Kind, Setup, Subject};
use crate::{Options, Res};

const APP: &str = "live";
const PREFIX: &str = "s";
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const JOIN_TIMEOUT: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(50);

/// Everything of one run. Dropping it stops all processes.
pub struct Stage {
    /// The measured process.
    pub subject: Subject,
    /// Before any publisher or viewer.
    pub empty: Sample,
    publisher: Helper,
    /// Viewers that throw their bytes away.
    bulk: Helper,
    /// Viewers that parse all; apart, so that the others do not delay their clock readings.
    watch: Helper,
}

/// How a group of viewers joins.
pub struct Join<'a> {
    pub group: &'a str,
    pub proto: &'a str,
    pub viewers: u64,
    /// How many of them parse all they get.
    pub sample: u64,
    pub over_ms: u64,
    /// SO_RCVBUF, or 0 for the kernel's choice.
    pub receive_buffer: u64,
}

/// Measures over a window.
pub struct Window {
    pub seconds: f64,
    pub cpu_s: f64,
    pub before: Sample,
    pub after: Sample,
    pub load_cpu_s: f64,
    pub groups: BTreeMap<String, Seen>,
    pub published: Fields,
    /// See [`Subject::turns`].
    pub turns: Option<(f64, f64)>,
}

/// What the viewers of a group saw in a window: the plain ones and the sample.
#[derive(Default)]
pub struct Seen {
    pub plain: Fields,
    pub sample: Fields,
}

impl Stage {
    /// Starts the subject and its helpers.
    pub fn start(kind: Kind, setup: Setup, options: &Options) -> Res<Stage> {
        let origin = wall_us();
        let clock = Clock::new(origin);
        let subject = Subject::start(kind, setup, options, origin)?;
        let publisher = Helper::start("publish", origin, &[])?;
        let bulk = Helper::start("load", origin, &[])?;
        let watch = Helper::start("load", origin, &[])?;
        while clock.now_us() < 300_000 {
            sleep(POLL);
        }
        let empty = Sample::take(subject.pid());
        Ok(Stage { subject, empty, publisher, bulk, watch })
    }

    /// Starts `count` publishers and waits until all publish and `fill` has passed.
    pub fn publish(&mut self, setup: Setup, count: u64, over_ms: u64, fill: Duration) -> Res<()> {
        if self.subject.kind == Kind::Floor {
            return Ok(());
        }
        let Setup { kbps, gop, .. } = setup;
        self.publisher.ask(&format!(
            "publish n={count} kbps={kbps} gop={gop} to={} app={APP} prefix={PREFIX} over_ms={over_ms}",
            self.subject.rtmp
        ))?;
        let start = Instant::now();
        loop {
            let state = self.publisher.ask_one("mark")?;
            if num(&state, "failed") > 0 {
                return Err(format!("publishing failed: {}", text(&state, "fault")));
            }
            if num(&state, "ready") == count {
                break;
            }
            if start.elapsed() > READY_TIMEOUT + Duration::from_millis(over_ms) {
                return Err(format!("only {} of {count} publishers were accepted", num(&state, "ready")));
            }
            sleep(POLL);
        }
        sleep(fill);
        Ok(())
    }

    /// Starts a group of viewers of the first stream.
    pub fn join(&mut self, join: &Join) -> Res<()> {
        let to: SocketAddr = if join.proto == "rtmp" { self.subject.rtmp } else { self.subject.http };
        let proto = if self.subject.kind == Kind::Floor { "raw" } else { join.proto };
        let sample = join.sample.min(join.viewers);
        for (helper, count, parse) in
            [(&mut self.bulk, join.viewers - sample, 0), (&mut self.watch, sample, 1)]
        {
            helper.ask(&format!(
                "open group={} n={count} proto={proto} to={to} app={APP} stream={PREFIX}0 over_ms={} sample={parse} rcvbuf={}",
                join.group, join.over_ms, join.receive_buffer
            ))?;
        }
        Ok(())
    }

    /// Waits until every viewer has a whole keyframe or is gone; gives how many have one.
    pub fn wait_joined(&mut self) -> Res<u64> {
        let start = Instant::now();
        loop {
            let (mut wanted, mut keyed, mut closed) = (0, 0, 0);
            let mut fault = String::new();
            for group in self.bulk.ask("state")?.iter().chain(&self.watch.ask("state")?) {
                wanted += num(group, "wanted");
                keyed += num(group, "keyed");
                closed += num(group, "closed");
                fault.push_str(text(group, "fault"));
            }
            if closed > 0 {
                eprintln!("   {closed} of {wanted} viewers were closed: {fault}");
            }
            if keyed + closed >= wanted || start.elapsed() > JOIN_TIMEOUT {
                return Ok(keyed);
            }
            sleep(POLL);
        }
    }

    /// Tells a group to stop or to go on reading.
    pub fn stall(&mut self, group: &str, stalled: bool) -> Res<()> {
        let word = if stalled { "stall" } else { "resume" };
        self.bulk.ask(&format!("{word} group={group}"))?;
        self.watch.ask(&format!("{word} group={group}"))?;
        Ok(())
    }

    /// Measures while `work` runs; most often that is a sleep.
    pub fn window(&mut self, work: impl FnOnce(&mut Stage) -> Res<()>) -> Res<Window> {
        self.publisher.ask("mark")?;
        self.watch.ask("mark")?;
        self.bulk.ask("mark")?;
        let logged = self.subject.logged();
        let before = Sample::take(self.subject.pid());
        let load = Sample::take(self.bulk.pid());
        work(self)?;
        let plain = self.bulk.ask("mark")?;
        let after = Sample::take(self.subject.pid());
        let load_after = Sample::take(self.bulk.pid());
        let sample = self.watch.ask("mark")?;
        let published = self.publisher.ask_one("mark")?;
        let mut groups: BTreeMap<String, Seen> = BTreeMap::new();
        for fields in plain {
            let name = text(&fields, "group").to_string();
            groups.entry(name).or_default().plain = fields;
        }
        for fields in sample {
            let name = text(&fields, "group").to_string();
            groups.entry(name).or_default().sample = fields;
        }
        let cpu_s = (after.cpu_ns - before.cpu_ns) as f64 / 1e9;
        let load_cpu_s = (load_after.cpu_ns - load.cpu_ns) as f64 / 1e9;
        let seconds = (after.at - before.at).as_secs_f64();
        Ok(Window {
            seconds,
            cpu_s,
            before,
            after,
            load_cpu_s,
            groups,
            published,
            turns: self.subject.turns(logged),
        })
    }
}

/// A window in which nothing is done but time passes.
pub fn pass(seconds: u64) -> impl FnOnce(&mut Stage) -> Res<()> {
    move |_| {
        sleep(Duration::from_secs(seconds));
        Ok(())
    }
}

impl Seen {
    /// A count over plain and sample viewers.
    pub fn sum(&self, key: &str) -> f64 {
        (num(&self.plain, key) + num(&self.sample, key)) as f64
    }

    /// Continuity and latency of the sample, in milliseconds.
    pub fn continuity(&self, row: &mut Row) {
        row.num("frames", num(&self.sample, "frames") as f64);
        row.num("gaps", num(&self.sample, "gaps") as f64);
        row.num("lost", num(&self.sample, "lost") as f64);
        row.num("faults", self.sum("faults"));
        row.num("closed", self.sum("closed"));
        for (name, key) in [("p50_ms", "latency_p50"), ("p99_ms", "latency_p99"), ("max_ms", "latency_max")] {
            row.num(name, num(&self.sample, key) as f64 / 1000.0);
        }
    }
}

impl Window {
    /// The group's entry, or an empty one.
    pub fn seen(&mut self, group: &str) -> Seen {
        self.groups.remove(group).unwrap_or_default()
    }

    /// CPU and memory of the subject.
    pub fn costs(&self, row: &mut Row) {
        row.num("window_s", self.seconds);
        row.num("cpu_pct", self.cpu_s / self.seconds * 100.0);
        row.num("wait_pct", (self.after.wait_ns - self.before.wait_ns) as f64 / 1e7 / self.seconds);
        row.num("load_cpu_pct", self.load_cpu_s / self.seconds * 100.0);
        let writes = self.after.writes - self.before.writes;
        if writes > 0 {
            row.num("writes_s", writes as f64 / self.seconds);
        }
        row.num("rss_mb", self.after.rss_kb as f64 / 1024.0);
        row.num("anon_mb", self.after.anon_kb as f64 / 1024.0);
        row.num("tcp_mb", self.after.tcp_kb as f64 / 1024.0);
        if let Some((most, longest)) = self.turns {
            row.num("turn_p99_ms", most);
            row.num("turn_max_ms", longest);
        }
    }
}
