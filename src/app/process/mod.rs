//! Programs beside the server: `ingest`, `transcode` and `exec`.
//!
//! ```text
//!   server::programs: what is wanted now ─► Programs::want: what is there and not wanted ends, what is missing waits
//!
//!   Waiting ─► Starting ─► Running ──it ends──► Waiting (3 s; longer if it fails at once again and again)
//!                             └──not wanted──► Ending (SIGTERM, then SIGKILL) ──► gone
//! ```
//!
//! Two programs are the same when all that makes them up is the same, so a reload touches what has changed, and nothing
//! else. At most [`MAX_PROGRAMS`] are there at one time; the first come stay.

pub mod command;
#[cfg(test)]
mod tests;

use super::hub::StreamId;
use super::quiet::Quiet;
use super::world::{Timer, World};
use crate::conf::Config;
use crate::media::dvr::names::When;
use crate::net::child::{self, Process, Spawner};
use crate::net::logfile::LogFile;
use crate::net::poll::Waker;
use crate::wire::names::{StreamName, printable};
use command::{Arg, Vars};
use mio::net::UnixStream;
use std::collections::HashSet;
use std::io;
use std::time::Duration;

/// Programs at one time.
pub const MAX_PROGRAMS: usize = 64;
/// The pause before a program is started again, and the longest, in milliseconds.
const PAUSE_MS: (u64, u64) = (3_000, 60_000);
/// A program that fails within this time has failed at once, in milliseconds.
const AT_ONCE_MS: u64 = 10_000;
/// How long a program may take to end by itself, in milliseconds.
const PATIENCE_MS: u64 = 3_000;
/// The same at the end of the server.
const LAST_PATIENCE: Duration = Duration::from_millis(1_500);
/// Bytes of the log of a program.
const MAX_LOG: u64 = 1 << 20;
/// Characters of what a program says, in our log.
const QUOTED: usize = 200;

/// A program that is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The stream that it belongs to; it is started only while that is published.
    pub stream: Option<StreamId>,
    /// How the log calls it.
    pub label: String,
    /// The directive that names the program, for advice.
    pub directive: &'static str,
    /// The file for what it says.
    pub log: Option<String>,
    /// Its command line.
    pub line: Vec<Arg>,
    /// What variables in it stand for.
    pub vars: Vars,
    /// The stream here that a transcode puts out.
    pub output: Option<StreamName>,
    /// Why it cannot be run at all.
    pub fault: Option<String>,
}

#[derive(Debug)]
enum State {
    /// To be started at this time.
    Waiting(u64),
    /// Ordered under this number.
    Starting(u64),
    /// The same, but not wanted any more.
    Unwanted(u64),
    /// Since this time.
    Running(Process, u64),
    /// Told to end; killed at this time.
    Ending(Process, u64),
}

#[derive(Debug)]
struct Task {
    wanted: Wanted,
    state: State,
    /// Failures at once, one after the other.
    fails: u32,
    /// The last line that it has said.
    last: String,
    log: Option<LogFile>,
}

/// All programs.
#[derive(Debug, Default)]
pub struct Programs {
    waker: Option<Waker>,
    spawner: Option<Spawner>,
    tasks: Vec<Task>,
    tickets: u64,
    /// The configuration has some.
    configured: bool,
    /// No more are started.
    closed: bool,
    /// Streams that transcodes put out.
    outputs: HashSet<StreamName>,
}

/// What [`Programs::turn`] needs of its surroundings.
pub struct Around<'a> {
    /// The loop's clock.
    pub now: u64,
    /// The operator's clock.
    pub when: When,
    /// Whether this stream is published now.
    pub is_live: &'a dyn Fn(StreamId) -> bool,
    /// Watches what a program says.
    pub register: &'a dyn Fn(&mut UnixStream) -> io::Result<()>,
    /// Limits lines about failures.
    pub quiet: &'a mut Quiet,
}

impl World {
    /// Takes over what the configuration in force says of programs.
    pub fn adopt_programs(&mut self, waker: Option<Waker>) {
        self.programs.configured = is_configured(&self.config);
        if waker.is_some() {
            self.programs.waker = waker;
        }
        self.look_at_programs();
    }

    /// Has programs started and ended as streams have come and gone.
    pub fn look_at_programs(&mut self) {
        if self.programs.is_used() {
            self.timers.set(Timer::Programs, self.now);
        }
    }

    /// Ends all programs; no more are started.
    pub fn close_programs(&mut self) {
        self.programs.closed = true;
        self.look_at_programs();
    }
}

fn is_configured(config: &Config) -> bool {
    config.vhosts.iter().any(|vhost| vhost.enabled && (!vhost.jobs.is_empty() || vhost.exec.enabled))
}

impl Programs {
    /// Whether there is anything to look at.
    pub fn is_used(&self) -> bool {
        self.configured || !self.tasks.is_empty()
    }

    /// Whether none may be started any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a transcode puts out the stream of this name.
    pub fn is_output(&self, name: &StreamName) -> bool {
        self.outputs.contains(name)
    }

    /// Has exactly these run; `exists` tells whether a stream of a name is there.
    pub fn want(&mut self, list: Vec<Wanted>, exists: impl Fn(&StreamName) -> bool, around: &mut Around<'_>) {
        let now = around.now;
        for task in &mut self.tasks {
            if !list.contains(&task.wanted) {
                task.state = match std::mem::replace(&mut task.state, State::Waiting(u64::MAX)) {
                    State::Running(process, _) => {
                        log::info!(target: "process", "{}: told to end", task.wanted.label);
                        process.end(false);
                        State::Ending(process, now.saturating_add(PATIENCE_MS))
                    }
                    ending @ State::Ending(..) => ending,
                    // One that is on its way is ended when it arrives.
                    State::Starting(ticket) | State::Unwanted(ticket) => State::Unwanted(ticket),
                    State::Waiting(_) => State::Waiting(u64::MAX),
                };
            }
        }
        self.tasks.retain(|task| task.is_going() || list.contains(&task.wanted));
        for wanted in list {
            if self.tasks.iter().any(|task| task.wanted == wanted && !task.is_going()) {
                continue;
            }
            if self.tasks.len() >= MAX_PROGRAMS {
                if around.quiet.allow("process", now).is_some() {
                    let label = &wanted.label;
                    log::warn!(target: "process", "{label}: not run: there are {MAX_PROGRAMS} programs already");
                }
                continue;
            }
            let (state, last) = (State::Waiting(now), String::new());
            self.tasks.push(Task { wanted, state, fails: 0, last, log: None });
        }
        let put_out = self.tasks.iter().filter_map(|task| task.wanted.output.clone());
        let mut outputs: HashSet<StreamName> = put_out.collect();
        outputs.extend(self.outputs.drain().filter(exists));
        self.outputs = outputs;
    }

    /// Does what is due, and says when to come again.
    pub fn turn(&mut self, around: &mut Around<'_>) -> Option<u64> {
        self.arrivals(around);
        let more = self.read();
        let now = around.now;
        for n in 0..self.tasks.len() {
            let Some(task) = self.tasks.get_mut(n) else { break };
            task.look(around);
            let may = |id: StreamId| (around.is_live)(id);
            let due = matches!(task.state, State::Waiting(at) if at <= now);
            if due && !self.closed && task.wanted.stream.is_none_or(may) {
                self.start(n, around);
            }
        }
        self.tasks.retain(|task| !matches!(task.state, State::Waiting(u64::MAX)));
        let next = self.tasks.iter().filter_map(|task| match task.state {
            State::Waiting(at) if at > now => Some(at),
            State::Ending(_, at) => Some(at.max(now.saturating_add(1))),
            _ => None,
        });
        next.chain(more.then_some(now.saturating_add(1))).min()
    }

    /// Whether an order is on its way, of which the waker tells.
    pub fn awaits(&self) -> bool {
        let ordered = |task: &Task| matches!(task.state, State::Starting(_) | State::Unwanted(_));
        self.tasks.iter().any(ordered)
    }

    /// Takes what programs say. True: there may be more.
    pub fn read(&mut self) -> bool {
        let mut more = false;
        for task in &mut self.tasks {
            more |= task.read();
        }
        more
    }

    /// Ends all, at the end of the server; waits for a bounded time.
    pub fn finish(&mut self) {
        let answers =
            std::iter::from_fn(|| self.spawner.as_ref()?.answer()).filter_map(|answer| answer.outcome.ok());
        let running = self.tasks.drain(..).filter_map(|task| match task.state {
            State::Running(process, _) | State::Ending(process, _) => Some(process),
            State::Waiting(_) | State::Starting(_) | State::Unwanted(_) => None,
        });
        child::end_all(answers.chain(running).collect(), LAST_PATIENCE);
        self.closed = true;
    }

    fn start(&mut self, n: usize, around: &mut Around<'_>) {
        let Some(task) = self.tasks.get_mut(n) else { return };
        let line = match task.wanted.fault.clone() {
            Some(fault) => Err(fault),
            None => command::finish(&task.wanted.line, &task.wanted.vars, around.when),
        };
        let line = match line {
            Ok(line) => line,
            Err(fault) => return task.failed(&fault, around),
        };
        if self.spawner.is_none() {
            let waker = self.waker.clone().ok_or(io::Error::from(io::ErrorKind::NotConnected));
            match waker.and_then(Spawner::start) {
                Ok(spawner) => self.spawner = Some(spawner),
                Err(error) => {
                    return task.failed(&format!("no thread to start programs: {error}"), around);
                }
            }
        }
        self.tickets = self.tickets.wrapping_add(1);
        task.begin_log(&line);
        task.state = State::Starting(self.tickets);
        if !self.spawner.as_ref().is_some_and(|spawner| spawner.order(self.tickets, line)) {
            task.failed("too many programs are about to be started", around);
        }
    }

    /// Programs that were ordered and have been started, or not.
    fn arrivals(&mut self, around: &mut Around<'_>) {
        while let Some(answer) = self.spawner.as_ref().and_then(Spawner::answer) {
            let ordered = |task: &&mut Task| matches!(task.state, State::Starting(n) | State::Unwanted(n) if n == answer.ticket);
            let Some(task) = self.tasks.iter_mut().find(ordered) else { continue };
            let wanted = !task.is_going();
            match answer.outcome {
                Ok(process) if !wanted => {
                    process.end(false);
                    task.state = State::Ending(process, around.now.saturating_add(PATIENCE_MS));
                }
                Ok(mut process) => {
                    let (label, pid) = (&task.wanted.label, process.pid());
                    log::info!(target: "process", "{label} runs as process {pid}");
                    if let Err(error) = (around.register)(process.source()) {
                        log::warn!(target: "process", "{label}: what it says is not read: {error}");
                    }
                    task.state = State::Running(process, around.now);
                }
                Err(_) if !wanted => task.state = State::Waiting(u64::MAX),
                Err(error) => {
                    let why = task.why_not(&error);
                    task.failed(&why, around);
                }
            }
        }
    }
}

impl Task {
    /// Whether it is not wanted, and not gone yet.
    fn is_going(&self) -> bool {
        matches!(self.state, State::Ending(..) | State::Unwanted(_))
    }

    /// Looks whether it has ended, or has to.
    fn look(&mut self, around: &mut Around<'_>) {
        match &mut self.state {
            State::Running(process, since) => {
                let since = *since;
                let Some(status) = process.ended() else { return };
                self.read();
                let ran = around.now.saturating_sub(since);
                if status.success() {
                    self.fails = 0;
                    self.state = State::Waiting(around.now.saturating_add(PAUSE_MS.0));
                    let (label, seconds) = (&self.wanted.label, PAUSE_MS.0 / 1000);
                    log::info!(target: "process", "{label}: done after {} s; again in {seconds} s", ran / 1000);
                    return;
                }
                if ran >= AT_ONCE_MS {
                    self.fails = 0;
                }
                let said = match self.last.as_str() {
                    "" => String::from("it said nothing"),
                    said => format!("it said: {}", printable(said, QUOTED)),
                };
                self.failed(&format!("ended after {} s ({status}); {said}", ran / 1000), around);
            }
            State::Ending(process, kill_at) => {
                if process.ended().is_some() {
                    self.state = State::Waiting(u64::MAX);
                } else if *kill_at <= around.now {
                    log::warn!(target: "process", "{}: it did not end and is killed", self.wanted.label);
                    process.end(true);
                    *kill_at = around.now.saturating_add(PATIENCE_MS);
                }
            }
            State::Waiting(_) | State::Starting(_) | State::Unwanted(_) => {}
        }
    }

    fn failed(&mut self, why: &str, around: &mut Around<'_>) {
        let pause = PAUSE_MS.0.checked_shl(self.fails.min(8)).unwrap_or(PAUSE_MS.1).min(PAUSE_MS.1);
        self.fails = self.fails.saturating_add(1);
        self.state = State::Waiting(around.now.saturating_add(pause));
        if let Some(left_out) = around.quiet.allow("process", around.now) {
            let (label, more) = (&self.wanted.label, Quiet::more(left_out));
            log::warn!(target: "process", "{label}: {why}; again in {} s{more}", pause / 1000);
        }
    }

    fn why_not(&self, error: &io::Error) -> String {
        let program = match self.wanted.line.first() {
            Some(Arg::Plain(program) | Arg::Template(program)) => printable(program, QUOTED),
            None => String::new(),
        };
        let directive = self.wanted.directive;
        match error.kind() {
            io::ErrorKind::NotFound => {
                format!("there is no program {program}: install it, or give its path in `{directive}`")
            }
            io::ErrorKind::PermissionDenied => {
                format!("{program} may not be run: make it executable, or name another in `{directive}`")
            }
            _ => format!("{program} cannot be started: {error}"),
        }
    }

    fn read(&mut self) -> bool {
        let (State::Running(process, _) | State::Ending(process, _)) = &mut self.state else { return false };
        let (last, log) = (&mut self.last, &mut self.log);
        process.read(|line| {
            line.clone_into(last);
            if let Some(log) = log {
                log.line(&printable(line, usize::MAX));
            }
        })
    }

    /// Opens the file for what it says; its first line there is how it was started.
    fn begin_log(&mut self, line: &[String]) {
        self.last.clear();
        let Some(path) = &self.wanted.log else { return };
        let open = || -> io::Result<LogFile> {
            if let Some((dir, _)) = path.rsplit_once('/') {
                std::fs::create_dir_all(dir)?;
            }
            LogFile::open(path, MAX_LOG, 0)
        };
        match open() {
            Ok(mut log) => {
                let words: Vec<String> = line.iter().map(|word| printable(word, usize::MAX)).collect();
                log.line(&format!("# {}", words.join(" ")));
                self.log = Some(log);
            }
            Err(error) => {
                let label = &self.wanted.label;
                log::warn!(target: "process", "{label}: nothing is kept of what it says: {path}: {error}");
            }
        }
    }
}
