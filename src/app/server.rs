//! The loop. One turn:
//!
//! ```text
//!   wait ─► signals ─► accept (budget) ─► read (budget each; the rest on the run queue) ─► timers
//!        ─► actions between connections ─► write what is due (budget) ─► free closed connections ─┐
//!   ▲─────────── timeout 0 while any budget ran out, else until the next deadline ────────────────┘
//! ```
//!
//! Beside it: [`ports`] what is listened at, [`admit`] who comes in, [`traffic`] reading and writing, [`relay`] and [`hooks`]
//! connections of our own, [`programs`] what runs beside the server, [`change`] a reload, [`ending`] a graceful end, [`upgrade`] handing over to a new process, [`memory`] its bound,
//! [`stats`] a line of figures, [`turns`] how long turns take.

mod admit;
mod api;
mod change;
mod ending;
mod hooks;
mod memory;
mod ports;
mod programs;
mod relay;
mod stats;
mod traffic;
mod turns;
mod upgrade;

use self::change::Watched;
use self::stats::Traffic;
use self::traffic::write_conn;
use self::upgrade::Upgrade;
use super::conn::{Conn, Role};
use super::demo::Demo;
use super::dvr;
use super::files;
use super::hls;
use super::hooks as asking;
use super::http;
use super::relay::{ingress, peer as destination};
use super::rtmp;
use super::world::{Action, Timer, World};
use crate::conf::{Config, Listen};
use crate::net::disk::{Disk, Local};
use crate::net::handover::Sockets;
use crate::net::poll::{Poll, Ready, Who};
use crate::net::signals::{Signal, Signals};
use crate::net::slots::{Id, Slots};
use crate::net::sys;
use mio::net::TcpListener;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

/// Bytes in one read.
const READ_SIZE: usize = 64 << 10;
/// Viewers who waited for a stream and are started in one turn.
const START_BUDGET: usize = 256;
/// Descriptors kept free for files, pipes and listeners.
const SPARE_FILES: u64 = 32;

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RTMP.
    Rtmp,
    /// HTTP.
    Http,
    /// HTTP, for the API alone.
    Api,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Rtmp => "RTMP",
            Protocol::Http => "HTTP",
            Protocol::Api => "API",
        })
    }
}

#[derive(Debug)]
struct Listening {
    socket: TcpListener,
    protocol: Protocol,
    listen: Listen,
    /// There may be connections to accept.
    ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Told to end gracefully; newcomers are still taken for a while.
    Announced,
    /// Nobody new; ends with the last connection.
    Draining,
    /// Everybody is gone; the process stays for a while.
    Lingering,
    Stopped,
}

/// The server: everything there is, under one value.
#[derive(Debug)]
pub struct Server {
    poll: Poll,
    signals: Signals,
    /// By number; a port that was closed leaves a free place.
    listeners: Vec<Option<Listening>>,
    setup: Option<Watched>,
    upgrade: Upgrade,
    files: u64,
    traffic: Traffic,
    /// Bytes that were left on the machine at the start.
    available: Option<u64>,
    /// A look at what memory is taken is to come.
    memory_ticking: bool,
    conns: Slots<Conn>,
    world: World,
    demo: Option<Demo>,
    /// Connections with bytes left to read from the last turn.
    run: VecDeque<Id>,
    /// Actions left over from the last turn.
    later: Vec<Action>,
    accept_paused: bool,
    state: State,
    next_serial: u64,
    max_connections: usize,
    scratch: Box<[u8]>,
    events: Vec<Ready>,
}

impl Server {
    /// Opens the listeners. `reuse_port` lets other processes share the ports.
    ///
    /// # Errors
    /// A port that cannot be had, with its number and the reason.
    pub fn new(config: Config) -> Result<Server, String> {
        Server::with_disk(config, Local)
    }

    /// The same with the listeners that another process has handed over, as far as they are wanted.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn taking_over(config: Config, sockets: Sockets) -> Result<Server, String> {
        Server::of(config, Local, sockets)
    }

    /// The same with files from `disk`.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn with_disk(config: Config, disk: impl Disk + 'static) -> Result<Server, String> {
        Server::of(config, disk, Sockets::default())
    }

    fn of(config: Config, disk: impl Disk + 'static, sockets: Sockets) -> Result<Server, String> {
        let fault = |error: io::Error| format!("the system has no poll or pipe to give: {error}");
        let poll = Poll::new().map_err(fault)?;
        let mut signals = Signals::new().map_err(fault)?;
        poll.register(signals.source(), Who::Signals).map_err(fault)?;
        let files = sys::raise_open_files();
        let mut server = Server {
            poll,
            signals,
            listeners: Vec::new(),
            setup: None,
            upgrade: Upgrade { sockets, ..Upgrade::default() },
            files,
            traffic: Traffic::default(),
            available: crate::net::memory::available(),
            memory_ticking: false,
            conns: Slots::default(),
            max_connections: allowed(config.max_connections, files),
            world: World::new(Rc::new(config)),
            demo: None,
            run: VecDeque::new(),
            later: Vec::new(),
            accept_paused: false,
            state: State::Running,
            next_serial: 1,
            scratch: vec![0; READ_SIZE].into_boxed_slice(),
            events: Vec::new(),
        };
        let waker = server.poll.waker().map_err(fault)?;
        dvr::start(&mut server.world, waker.clone());
        asking::adopt(&mut server.world);
        server.world.relays.start(waker.clone());
        server.world.adopt_programs(Some(waker.clone()));
        if files::wanted(server.config()) {
            server.world.files.start(waker, files, disk).map_err(fault)?;
        }
        server.open_listeners()?;
        server.set_memory_budget();
        Ok(server)
    }

    /// Publishes the demo clip.
    ///
    /// # Errors
    /// When its name is taken.
    pub fn start_demo(&mut self) -> Result<(), String> {
        self.world.now = self.poll.now();
        self.demo = Some(Demo::start(&mut self.world)?);
        self.memory_next();
        Ok(())
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.world.config
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// When the poll itself fails.
    pub fn run(&mut self) -> io::Result<()> {
        while self.state != State::Stopped {
            self.turn()?;
        }
        self.stop();
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        self.poll.wait(self.timeout(), &mut events)?;
        let began = self.poll.now_us();
        self.world.now = began / 1000;
        self.world.actions.extend(self.later.drain(..));
        self.world.api.turns += 1;
        self.world.files.count(self.conns.len());
        for event in &events {
            self.on_ready(*event);
        }
        self.events = events;
        self.accept();
        self.read();
        self.on_timers();
        self.on_actions();
        self.write();
        self.on_actions();
        self.free();
        self.on_hooks();
        self.world.copies.sweep();
        if self.state == State::Draining && self.conns.is_empty() {
            self.linger();
        }
        self.traffic.turns.add(self.poll.now_us().saturating_sub(began));
        Ok(())
    }

    fn timeout(&self) -> Option<u64> {
        let accepting =
            !self.accept_paused && self.listeners.iter().flatten().any(|listening| listening.ready);
        let left_over = !self.run.is_empty() || !self.world.dirty.is_empty() || !self.later.is_empty();
        if accepting || left_over || !self.world.actions.is_empty() || self.world.hooks.is_due() {
            return Some(0);
        }
        // Rounded up, so that the turn does not come a moment too early and find nothing due.
        let next = self.world.timers.next().into_iter().chain(self.world.quiet.due()).min();
        next.map(|at| at.saturating_sub(self.poll.now()).saturating_add(1).min(60_000))
    }

    fn on_ready(&mut self, event: Ready) {
        match event.who {
            Who::Signals => self.on_signals(),
            Who::Waker => {
                self.on_files();
                dvr::on_wake(&mut self.world);
                self.world.hooks.touch();
                self.on_names();
                if self.world.programs.awaits() {
                    self.on_programs();
                }
            }
            Who::Line(n) => self.world.hooks.on_ready(n, event.readable, event.writable, event.closed),
            Who::Programs => self.on_programs_said(),
            Who::Successor => self.on_successor(),
            Who::Listener(n) => {
                if let Some(Some(listening)) = self.listeners.get_mut(n) {
                    listening.ready = true;
                }
            }
            Who::Connection(id) => {
                let Some(conn) = self.conns.get_mut(id) else { return };
                if event.readable {
                    conn.socket.readable = true;
                    conn.socket.closing |= event.closed;
                    if !std::mem::replace(&mut conn.queued, true) {
                        self.run.push_back(id);
                    }
                }
                if event.writable && !std::mem::replace(&mut conn.socket.writable, true) {
                    self.world.mark(conn);
                }
            }
        }
    }

    /// Answers of the helper thread.
    fn on_files(&mut self) {
        while let Some((id, outcome)) = files::next_answer(&mut self.world) {
            match self.conns.get_mut(id) {
                Some(conn) => files::answered(conn, &mut self.world, outcome),
                None => files::orphaned(&mut self.world, &outcome),
            }
        }
    }

    fn on_signals(&mut self) {
        for signal in self.signals.take() {
            match signal {
                Signal::Stop if self.world.config.force_grace_quit => self.drain(),
                Signal::Stop => {
                    log::info!(target: "server", "told to stop");
                    self.state = State::Stopped;
                }
                Signal::Drain => self.drain(),
                Signal::ReopenLog => match crate::net::log::reopen() {
                    Ok(()) => log::info!(target: "server", "the log's files are opened again"),
                    Err(why) => log::error!(target: "server", "{why}"),
                },
                Signal::Reload => self.reload(),
                Signal::Upgrade => self.upgrade(),
                Signal::Child => self.on_programs(),
            }
        }
    }

    fn on_timers(&mut self) {
        let now = self.world.now;
        while let Some((kind, count)) = self.world.quiet.left_out(now) {
            log::warn!(target: kind, "{count} more lines like those before were left out");
        }
        while let Some(timer) = self.world.timers.pop(now) {
            match timer {
                Timer::Connection(id) => self.on_deadline(id),
                Timer::Tick(stream) => {
                    for id in self.world.tick(stream) {
                        self.mark_viewer(id);
                    }
                }
                Timer::Stream(stream) => self.world.check_stream(stream),
                Timer::Accept => self.accept_paused = false,
                Timer::Demo => {
                    if let Some(demo) = &mut self.demo {
                        demo.turn(&mut self.world);
                    }
                }
                Timer::Drain => self.drain_step(),
                Timer::Upgrade => self.on_upgrade_late(),
                Timer::Watch => self.on_watch(),
                Timer::Pithy => self.on_pithy(),
                Timer::Memory => self.on_memory(),
                Timer::Dvr => dvr::tidy_all(&mut self.world),
                Timer::Hooks => self.world.hooks.touch(),
                Timer::Heartbeat => self.on_heartbeat(),
                Timer::Forward(stream) => self.on_forward(stream),
                Timer::Programs => self.on_programs(),
                Timer::Files => files::forget(&mut self.world),
                Timer::Pull(stream) => self.on_pull(stream),
            }
        }
    }

    fn on_deadline(&mut self, id: Id) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let now = self.world.now;
        match conn.deadline(&self.world) {
            Some((at, _)) if at > now => self.world.timers.set(Timer::Connection(id), at),
            Some((_, why)) => {
                // A viewer that takes nothing would not take a farewell either.
                if conn.viewer().is_some() {
                    return self.world.close(conn, why);
                }
                match &conn.role {
                    Role::Rtmp(_) => rtmp::timed_out(conn, &mut self.world, why),
                    Role::Http(_) => http::timed_out(conn, &mut self.world, why),
                    Role::Ingress(_) => ingress::timed_out(conn, &mut self.world, why),
                    Role::Relay(_) | Role::Probe(_) | Role::Leaving(_) => self.world.close(conn, why),
                }
            }
            None => {
                if let Some(ms) = conn.recheck_ms() {
                    self.world.timers.set(Timer::Connection(id), now.saturating_add(ms.max(1)));
                }
            }
        }
    }

    /// Has a viewer written to, unless its socket is full: then the kernel will say when.
    fn mark_viewer(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(id) {
            if conn.socket.writable {
                self.world.mark(conn);
            } else {
                conn.blocked(&mut self.world);
            }
        }
    }

    fn on_actions(&mut self) {
        while let Some(action) = self.world.actions.pop_front() {
            match action {
                Action::Evict(id) => match self.conns.get_mut(id) {
                    Some(conn) if matches!(conn.role, Role::Ingress(_)) => {
                        ingress::dismiss(conn, &mut self.world, "somebody publishes it here");
                    }
                    Some(conn) => rtmp::evict(conn, &mut self.world),
                    None => {}
                },
                Action::Dismiss(id, why) => {
                    let Some(conn) = self.conns.get_mut(id) else { continue };
                    match conn.role {
                        Role::Relay(_) => destination::dismiss(conn, &mut self.world, &why),
                        Role::Ingress(_) => ingress::dismiss(conn, &mut self.world, &why),
                        _ => rtmp::dismiss(conn, &mut self.world, &why),
                    }
                }
                Action::Check(client) => self.on_check(client),
                Action::Verdict(id, refusal) => {
                    if let Some(conn) = self.conns.get_mut(id) {
                        rtmp::verdict(conn, &mut self.world, refusal);
                    }
                }
                Action::Absent(stream, all) => self.on_absent(stream, all),
                Action::Resume(id) => {
                    if let Some(conn) = self.conns.get_mut(id) {
                        http::resume(conn, &mut self.world);
                        if conn.socket.readable && !std::mem::replace(&mut conn.queued, true) {
                            self.run.push_back(id);
                        }
                    }
                }
                Action::Api(id) => self.on_api(id),
                Action::Hook(id, ticket) => self.on_hook(id, ticket),
                Action::Start(stream) => {
                    let Some(live) = self.world.hub.get_mut(stream) else { continue };
                    let rest = live.waiting.split_off(live.waiting.len().min(START_BUDGET));
                    if !rest.is_empty() {
                        self.later.push(Action::Start(stream));
                    }
                    for id in std::mem::replace(&mut live.waiting, rest) {
                        if let Some(conn) = self.conns.get_mut(id) {
                            match conn.role {
                                Role::Rtmp(_) => rtmp::start_viewer(conn, &mut self.world),
                                Role::Http(_) => http::start_viewer(conn, &mut self.world),
                                Role::Relay(_) => destination::start_viewer(conn, &mut self.world),
                                Role::Ingress(_) | Role::Probe(_) | Role::Leaving(_) => {}
                            }
                        }
                    }
                }
                Action::Hls(stream) => {
                    let live = self.world.hub.get_mut(stream).and_then(|live| live.hls.as_mut());
                    for id in live.map(|live| live.take_waiting()).unwrap_or_default() {
                        if let Some(conn) = self.conns.get_mut(id) {
                            hls::ask_again(conn, &mut self.world);
                        }
                    }
                }
                Action::Send(stream) => {
                    for id in self.world.take_send(stream) {
                        self.mark_viewer(id);
                    }
                }
                Action::End(stream) => {
                    for id in self.world.take_send(stream) {
                        self.mark_viewer(id);
                    }
                    self.world.reap(stream);
                }
                Action::Trim(stream) => {
                    if let Some(live) = self.world.hub.get_mut(stream) {
                        memory::trim(&self.conns, live);
                    }
                }
                Action::Memory => self.look_at_memory(),
            }
        }
    }

    fn free(&mut self) {
        for id in std::mem::take(&mut self.world.closing) {
            let Some(mut conn) = self.conns.remove(id) else { continue };
            let why = conn.gone.take().unwrap_or_default();
            conn.drop_job(&mut self.world, &why);
            asking::closed(&mut self.world, &conn);
            self.world.timers.clear(Timer::Connection(id));
            self.world.pages.remove(&id);
            self.world.relays.checks.remove(id);
            self.poll.deregister(conn.socket.source());
            log::debug!(target: "server", "{} {}: closed: {why}", conn.tag(), conn.peer);
        }
        self.on_actions();
    }

    /// The end: every stream's viewers get what is due and the end of their response, as far as they take it now.
    fn stop(&mut self) {
        self.world.relays.stop();
        for id in self.conns.ids() {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            if conn.viewer().is_some() && matches!(conn.role, Role::Http(_)) {
                write_conn(conn, &mut self.world);
                if !conn.viewer().is_some_and(|viewer| viewer.cursor.mid_message()) {
                    http::viewer_over(conn, &mut self.world);
                    write_conn(conn, &mut self.world);
                }
            }
            conn.drop_job(&mut self.world, "the server stops");
            asking::closed(&mut self.world, conn);
        }
        self.world.programs.finish();
        self.world.hub.end_dvr(&mut self.world.dvr, self.world.now);
        self.world.hub.drop_hls();
        self.world.hls.writer.drain();
        self.world.dvr.drain();
        dvr::on_wake(&mut self.world);
        self.drain_hooks();
        log::info!(target: "server", "stopped");
        log::logger().flush();
    }
}

fn allowed(wanted: u32, files: u64) -> usize {
    let room = files.saturating_sub(SPARE_FILES);
    if u64::from(wanted) > room {
        log::warn!(
            target: "server",
            "max_connections is {wanted}, but only {files} files may be open: {room} connections will be let in; \
             raise the limit (ulimit -n) or lower max_connections"
        );
    }
    usize::try_from(room.min(u64::from(wanted))).unwrap_or(usize::MAX)
}
