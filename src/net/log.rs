//! The log: one line for each record with a time in front, to one place (the console, a file, the system's log), and
//! the newest lines in memory.
//!
//! Lines for the console go through simple_logger, which puts level and target before them. It cannot bear an output
//! that fails, so it gets no line while the output has no room, and a console that was sent to a file is written to as
//! a file. Invariant: no line waits for its reader, and none is a reason to stop.
#![forbid(unsafe_code)]

use super::logfile::LogFile;
use super::sys;
use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a line for the system's log; most take no more in a datagram.
const MAX_SYSLOG: usize = 1024;
/// The facility "daemon".
const FACILITY: u32 = 3;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Standard output.
    Console,
    /// A file.
    File(String),
    /// The socket of the system's log.
    Syslog(String),
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How much.
    pub level: LevelFilter,
    /// Where to.
    pub place: Place,
    /// Size in bytes at which a file is put aside; 0: never.
    pub max_size: u64,
    /// Files put aside that are kept.
    pub keep: u32,
    /// Bytes of lines kept in memory.
    pub ring: usize,
    /// UTC instead of local time.
    pub utc: bool,
    /// A file for lines about answers and viewers.
    pub access: Option<String>,
}

enum Sink {
    /// Standard output: simple_logger's, or as a file if it is one.
    Console(Option<File>),
    File(LogFile),
    Syslog(Option<UnixDatagram>, String),
    /// There is no console (any more).
    None,
}

/// Bytes that keeping a line in memory takes beside its text.
const LINE_COST: usize = 32;

struct State {
    sink: Sink,
    access: Option<LogFile>,
    /// What standard output was at the start.
    console: Option<File>,
    /// Standard output and error follow the log: the start is over, and what is said there now (a panic) is for the log.
    captured: bool,
    utc: bool,
    ring: VecDeque<Box<str>>,
    ring_bytes: usize,
    ring_max: usize,
}

static STATE: Mutex<State> = Mutex::new(State {
    sink: Sink::None,
    access: None,
    console: None,
    captured: false,
    utc: false,
    ring: VecDeque::new(),
    ring_bytes: 0,
    ring_max: 0,
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Logger(SimpleLogger);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            state().log(record, &self.0);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Starts logging, or goes on with other settings.
///
/// # Errors
/// Why a file cannot be opened; everything stays as it was then.
pub fn start(settings: &Settings) -> Result<(), String> {
    // A second logger is refused, which is what is wanted.
    let _ = log::set_boxed_logger(Box::new(Logger(SimpleLogger::new().with_level(LevelFilter::Trace))));
    state().change(settings)?;
    log::set_max_level(settings.level);
    Ok(())
}

/// Opens the log's files again, after they were moved away.
///
/// # Errors
/// Which file cannot be opened, and why; the old one stays in use.
pub fn reopen() -> Result<(), String> {
    let mut state = state();
    let fail = |log: &LogFile, error: io::Error| format!("cannot open {}: {error}", log.path());
    if let Sink::File(log) = &mut state.sink {
        log.reopen().map_err(|error| fail(log, error))?;
    }
    state.follow();
    match &mut state.access {
        Some(log) => log.reopen().map_err(|error| fail(log, error)),
        None => Ok(()),
    }
}

/// Writes `text` to what standard output was at the start, whatever has become of it.
pub fn say(text: &str) {
    match &mut state().console {
        Some(console) => drop(console.write_all(text.as_bytes())),
        None => drop(io::stdout().write_all(text.as_bytes())),
    }
}

/// The start is over: from now on standard output and error go where the log goes, if that is a file.
pub fn capture_output() {
    let mut state = state();
    if let Sink::File(_) = state.sink {
        state.captured = true;
        state.follow();
    }
}

/// The program leaves its terminal: nothing is written there any more.
///
/// # Errors
/// When there is no /dev/null.
pub fn leave_console() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    sys::redirect_input(&null)?;
    let mut state = state();
    sys::redirect_output(&null)?;
    if let Sink::Console(_) = state.sink {
        state.sink = Sink::None;
    }
    state.console = Some(null);
    state.captured = true;
    state.follow();
    Ok(())
}

/// Another process writes to the same files now and sees to their size; this one only adds to them.
pub fn leave_files() {
    let mut state = state();
    if let Sink::File(log) = &mut state.sink {
        log.max = 0;
    }
    if let Some(log) = &mut state.access {
        log.max = 0;
    }
}

/// What standard output was at the start, for a program that is to write there too.
pub fn console() -> Option<File> {
    state().console.as_ref()?.try_clone().ok()
}

/// Gives the log's files to a user and a group, who will have to open them again.
///
/// # Errors
/// What the system says.
pub fn give_to(user: u32, group: u32) -> io::Result<()> {
    let state = state();
    if let Sink::File(log) = &state.sink {
        sys::give_to(log.file(), user, group)?;
    }
    state.access.as_ref().map_or(Ok(()), |log| sys::give_to(log.file(), user, group))
}

/// The newest lines, oldest first.
pub fn recent() -> Vec<String> {
    state().ring.iter().map(|line| line.to_string()).collect()
}

/// Whether there is an access log.
pub fn has_access() -> bool {
    state().access.is_some()
}

/// Writes a line, with the time before it, to the access log, if there is one.
pub fn access(line: fmt::Arguments<'_>) {
    let mut state = state();
    let time = Time::now(state.utc);
    if let Some(log) = &mut state.access {
        log.line(&format!("{time} {line}"));
    }
}

impl State {
    fn change(&mut self, settings: &Settings) -> Result<(), String> {
        if self.console.is_none()
            && let Sink::None = self.sink
        {
            self.console = io::stdout().as_fd().try_clone_to_owned().ok().map(File::from);
        }
        let Settings { max_size, keep, .. } = *settings;
        let open = |path: &str| {
            LogFile::open(path, max_size, keep)
                .map_err(|error| format!("cannot write the log to {path}: {error}"))
        };
        let access = settings.access.as_deref().map(open).transpose()?;
        let sink = match &settings.place {
            Place::Console => self.to_console(),
            Place::File(path) => Sink::File(open(path)?),
            Place::Syslog(path) => Sink::Syslog(None, path.clone()),
        };
        (self.sink, self.access, self.utc) = (sink, access, settings.utc);
        self.follow();
        self.ring_max = settings.ring;
        self.trim_ring();
        Ok(())
    }

    /// Points standard output and error to where the log goes, once they are captured.
    fn follow(&mut self) {
        let target = match (&self.sink, &self.console) {
            (Sink::File(log), _) => Some(log.file()),
            (_, console) => console.as_ref(),
        };
        if let Some(file) = target.filter(|_| self.captured) {
            let _ = sys::redirect_output(file);
        }
    }

    fn to_console(&self) -> Sink {
        match &self.console {
            None => Sink::None,
            Some(console) if console.metadata().is_ok_and(|data| data.is_file()) => {
                Sink::Console(console.try_clone().ok())
            }
            Some(_) => Sink::Console(None),
        }
    }

    fn log(&mut self, record: &Record<'_>, simple: &SimpleLogger) {
        let time = Time::now(self.utc);
        let (level, target) = (record.level(), record.target());
        let line = format!("{:<5} [{target}] {time} {}", level.as_str(), record.args());
        match &mut self.sink {
            Sink::Console(Some(file)) => drop(file.write_all(format!("{line}\n").as_bytes())),
            Sink::Console(None) if sys::output_has_room() => simple.log(
                &Record::builder()
                    .metadata(record.metadata().clone())
                    .args(format_args!("{time} {}", record.args()))
                    .build(),
            ),
            Sink::File(log) => {
                if log.line(&line) {
                    self.follow();
                }
            }
            Sink::Syslog(socket, path) => {
                let text = format!("[{target}] {}", record.args());
                to_syslog(socket, path, level, &text);
            }
            Sink::Console(None) | Sink::None => {}
        }
        if self.ring_max > 0 {
            self.ring_bytes = self.ring_bytes.saturating_add(line.len() + LINE_COST);
            self.ring.push_back(line.into());
            self.trim_ring();
        }
    }

    fn trim_ring(&mut self) {
        while self.ring_bytes > self.ring_max {
            let Some(line) = self.ring.pop_front() else { break };
            self.ring_bytes = self.ring_bytes.saturating_sub(line.len() + LINE_COST);
        }
    }
}

/// One datagram in the form of RFC 3164; the time is local there. A log that does not listen is tried again with the
/// next line.
fn to_syslog(socket: &mut Option<UnixDatagram>, path: &str, level: Level, text: &str) {
    let severity = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    let Time { month, day, hour, minute, second, .. } = Time::now(false);
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = names.get(month.saturating_sub(1) as usize).unwrap_or(&"Jan");
    let (priority, pid) = (FACILITY * 8 + severity, std::process::id());
    let line = format!("<{priority}>{month} {day:2} {hour:02}:{minute:02}:{second:02} runnel[{pid}]: {text}");
    let mut bytes = line.as_bytes();
    bytes = bytes.get(..MAX_SYSLOG).unwrap_or(bytes);
    for _ in 0..2 {
        if socket.is_none() {
            *socket = UnixDatagram::unbound()
                .ok()
                .filter(|s| s.set_nonblocking(true).is_ok() && s.connect(path).is_ok());
        }
        match socket.as_ref().map(|s| s.send(bytes)) {
            Some(Ok(_)) | None => return,
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
            Some(Err(_)) => *socket = None,
        }
    }
}

struct Time {
    year: i32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    millis: u32,
}

impl Time {
    fn now(utc: bool) -> Time {
        let since = sys::unix_time();
        let split = if utc { sys::utc_time } else { sys::local_time };
        let (year, month, day, hour, minute, second) = split(since.as_secs());
        Time { year, month, day, hour, minute, second, millis: since.subsec_millis() }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Time { year, month, day, hour, minute, second, millis } = self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_log_gets_lines_also_after_it_was_started_again() {
        let path = std::env::temp_dir().join(format!("runnel-syslog-{}", std::process::id()));
        let path = path.to_str().unwrap();
        let _ = std::fs::remove_file(path);
        let mut socket = None;
        to_syslog(&mut socket, path, Level::Info, "nobody listens");
        for round in 0..2 {
            let _ = std::fs::remove_file(path);
            let log = UnixDatagram::bind(path).unwrap();
            log.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            to_syslog(&mut socket, path, Level::Warn, &format!("[server] line {round} {}", "x".repeat(5000)));
            let mut bytes = [0; 8192];
            let length = log.recv(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let pid = std::process::id();
            assert!(text.starts_with("<28>"), "{text}");
            assert!(text.contains(&format!(" runnel[{pid}]: [server] line {round}")), "{text}");
            assert!(length <= MAX_SYSLOG);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_lines_in_memory_are_the_newest_and_bounded() {
        let mut state = State {
            sink: Sink::None,
            access: None,
            console: None,
            captured: false,
            utc: true,
            ring: VecDeque::new(),
            ring_bytes: 0,
            ring_max: 2000,
        };
        let simple = SimpleLogger::new();
        for n in 0..1000 {
            let record = |args| Record::builder().level(Level::Info).target("t").args(args).build();
            state.log(&record(format_args!("line {n}")), &simple);
            assert!(
                state.ring_bytes <= 2000
                    && state.ring.iter().map(|line| line.len() + LINE_COST).sum::<usize>()
                        == state.ring_bytes
            );
        }
        assert!(state.ring.len() > 10);
        assert!(
            state.ring.back().unwrap().starts_with("INFO  [t] 2")
                && state.ring.back().unwrap().ends_with("line 999")
        );
    }
}
