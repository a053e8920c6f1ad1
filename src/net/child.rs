//! Programs that run beside the server.
//!
//! ```text
//!   loop: order ──► thread: fork, exec, wait until that has worked ──► answer, waker ──► loop: take
//! ```
//!
//! One thread starts them all, since a start waits for the disk that the program is on. It lives as long as the
//! process, for the kernel ends a program with the thread that has started it.
//!
//! Invariants: no shell; nothing is inherited but standard input and output (nothing) and error (a socket that the loop
//! reads); a program leads a process group of its own, which is signalled as a whole; it does not outlive the process,
//! however that ends (Linux; what it has started itself may). The loop never waits for a program.
#![forbid(unsafe_code)]

use super::disk::Helper;
use super::poll::Waker;
use super::sys;
use mio::net::UnixStream;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Bytes of a line that are kept.
const MAX_LINE: usize = 512;
/// Bytes read of what one program says, in one turn.
const MAX_READ: usize = 64 << 10;

/// Who starts programs.
#[derive(Debug)]
pub struct Spawner(Helper<(u64, Vec<String>), Answer>);

/// What has become of an order.
#[derive(Debug)]
pub struct Answer {
    /// The number that the order was given.
    pub ticket: u64,
    /// The program, or why there is none.
    pub outcome: io::Result<Process>,
}

impl Spawner {
    /// Starts the thread; `waker` is woken when there is an answer.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(waker: Waker) -> io::Result<Spawner> {
        let work = |(ticket, args): (u64, Vec<String>)| Answer { ticket, outcome: Process::start(&args) };
        Helper::start("spawner", waker, move |order, _| work(order)).map(Spawner)
    }

    /// Has a program started: its path or name, then its arguments. False when too many orders wait.
    pub fn order(&self, ticket: u64, args: Vec<String>) -> bool {
        self.0.ask((ticket, args)).is_ok()
    }

    /// The next thing that came of an order, if there is one.
    pub fn answer(&self) -> Option<Answer> {
        self.0.answer()
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: UnixStream,
    line: Vec<u8>,
}

impl Process {
    fn start(args: &[String]) -> io::Result<Process> {
        let (program, args) = args.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::os::fd::OwnedFd::from(theirs));
        sys::tie(&mut command);
        let child = command.spawn()?;
        Ok(Process { child, said: UnixStream::from_std(ours), line: Vec::new() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it says something, for registration.
    pub fn source(&mut self) -> &mut UnixStream {
        &mut self.said
    }

    /// Gives what it has said to `line`, line by line. True: there may be more, and no event will tell of it.
    pub fn read(&mut self, mut line: impl FnMut(&str)) -> bool {
        let mut bytes = [0; 4096];
        for _ in 0..MAX_READ / bytes.len() {
            let n = match self.said.read(&mut bytes) {
                Ok(n @ 1..) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Ok(0) | Err(_) => {
                    self.end_line(&mut line);
                    return false;
                }
            };
            for byte in bytes.iter().take(n) {
                match byte {
                    b'\n' | b'\r' => self.end_line(&mut line),
                    byte if self.line.len() < MAX_LINE => self.line.push(*byte),
                    _ => {}
                }
            }
        }
        true
    }

    fn end_line(&mut self, line: &mut impl FnMut(&str)) {
        if !self.line.trim_ascii().is_empty() {
            line(String::from_utf8_lossy(&self.line).trim());
        }
        self.line.clear();
    }

    /// How it has ended, if it has; to be asked no more then.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it and all of its group to end, or ends them.
    pub fn end(&self, at_once: bool) {
        // Its number is its own until `ended` has told of its end.
        sys::signal_group(self.child.id(), if at_once { libc::SIGKILL } else { libc::SIGTERM });
    }
}

/// Ends all of them: asked first, and killed when `patience` is over. For the end of the server; waits that long at most.
pub fn end_all(mut list: Vec<Process>, patience: Duration) {
    const STEP: Duration = Duration::from_millis(10);
    list.iter().for_each(|process| process.end(false));
    let until = Instant::now() + patience;
    loop {
        list.retain_mut(|process| {
            process.read(|_| {});
            process.ended().is_none()
        });
        if list.is_empty() || Instant::now() >= until {
            break;
        }
        std::thread::sleep(STEP);
    }
    for mut process in list {
        process.end(true);
        let _ = process.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::poll::Poll;

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(|word| (*word).to_owned()).collect()
    }

    /// What a program says until its end, and its status.
    fn run(line: &[&str]) -> (Vec<String>, ExitStatus) {
        let mut process = Process::start(&words(line)).unwrap();
        let mut said = Vec::new();
        let status = loop {
            process.read(|line| said.push(line.to_owned()));
            if let Some(status) = process.ended() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        process.read(|line| said.push(line.to_owned()));
        (said, status)
    }

    #[test]
    fn a_program_gets_its_arguments_as_they_are_and_is_read_line_by_line() {
        let hostile = ["-i", ";rm -rf /", "$(id)", "a b", "%d", "'", "", "*"];
        let mut line = vec!["sh", "-c", "for a; do printf '[%s]\\r\\n' \"$a\" >&2; done; exit 3", "sh"];
        line.extend(hostile);
        let (said, status) = run(&line);
        let expected: Vec<String> = hostile.iter().map(|word| format!("[{word}]")).collect();
        assert_eq!(said, expected);
        assert_eq!(status.code(), Some(3));
        let long = "x".repeat(100_000);
        let (said, _) = run(&["sh", "-c", "printf '%s\\nend' \"$1\" >&2", "sh", &long]);
        assert_eq!(said, ["x".repeat(MAX_LINE), String::from("end")]);
    }

    #[test]
    fn a_program_inherits_nothing_but_its_standard_files() {
        let file = std::fs::File::open("/dev/null").unwrap();
        // As while sockets are handed to another process.
        let _leak = sys::inheritable(&file).unwrap();
        let (said, status) = run(&["sh", "-c", "ls /proc/self/fd >&2"]);
        assert!(status.success());
        // The fourth is the directory that ls reads.
        assert_eq!(said, ["0", "1", "2", "3"]);
    }

    #[test]
    fn what_cannot_be_started_is_told_and_the_waker_wakes() {
        let mut poll = Poll::new().unwrap();
        let spawner = Spawner::start(poll.waker().unwrap()).unwrap();
        assert!(spawner.order(7, words(&["/nowhere/ffmpeg"])));
        assert!(spawner.order(8, words(&["sleep", "60"])));
        let mut answers = Vec::new();
        while answers.len() < 2 {
            poll.wait(Some(10_000), &mut Vec::new()).unwrap();
            answers.extend(std::iter::from_fn(|| spawner.answer()));
        }
        assert_eq!(answers[0].ticket, 7);
        assert_eq!(answers[0].outcome.as_ref().unwrap_err().kind(), io::ErrorKind::NotFound);
        let running = answers.pop().unwrap().outcome.unwrap();
        let pid = running.pid();
        end_all(vec![running], Duration::from_secs(5));
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn one_that_does_not_listen_is_killed_with_its_children() {
        let process =
            Process::start(&words(&["sh", "-c", "trap '' TERM; echo up >&2; sleep 60 & wait; wait"]));
        let mut process = process.unwrap();
        let mut up = false;
        while !up {
            process.read(|line| up = line == "up");
        }
        let start = Instant::now();
        end_all(vec![process], Duration::from_millis(100));
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
