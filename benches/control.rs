//! Line protocol between the parent and its children, and how children are started and stopped.
//!
//! The parent writes one command a line (`name key=value ...`); the child answers each with any number of lines of
//! `key=value` pairs and then `end`. A child whose standard input ends stops by itself, so nothing outlives the
//! parent, and each child also has a longest life.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

use mio::{Poll, Token, Waker};

/// Token of the waker that tells a child's loop of a new command.
pub const COMMANDS: Token = Token(usize::MAX - 1);

const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// The `key=value` pairs of a line.
pub type Fields = BTreeMap<String, String>;

/// Splits a line into its first word and its pairs.
pub fn parse(line: &str) -> (String, Fields) {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default().to_string();
    let pairs = words.filter_map(|word| word.split_once('='));
    (name, pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect())
}

/// A number of a line, or zero.
pub fn num(fields: &Fields, key: &str) -> u64 {
    fields.get(key).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// A text of a line, or nothing.
pub fn text<'a>(fields: &'a Fields, key: &str) -> &'a str {
    fields.get(key).map_or("", String::as_str)
}

/// The child's end: commands as they arrive.
pub struct Commands(Receiver<String>);

/// What a look at the commands gave.
pub enum Next {
    /// A command line.
    Line(String),
    /// Nothing waits.
    Empty,
    /// The parent is gone.
    Closed,
}

impl Commands {
    /// Reads standard input on a helper thread and wakes `poll` for each line.
    pub fn new(poll: &Poll) -> std::io::Result<Commands> {
        let waker = Arc::new(Waker::new(poll.registry(), COMMANDS)?);
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
                let _ = waker.wake();
            }
            drop(sender);
            let _ = waker.wake();
        });
        Ok(Commands(receiver))
    }

    /// The next command, without waiting.
    pub fn next(&self) -> Next {
        match self.0.try_recv() {
            Ok(line) => Next::Line(line),
            Err(TryRecvError::Empty) => Next::Empty,
            Err(TryRecvError::Disconnected) => Next::Closed,
        }
    }
}

/// Answers a command.
pub fn answer(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    let _ = writeln!(out, "end");
    let _ = out.flush();
}

/// The parent's end of a child of this program.
pub struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    name: String,
}

impl Helper {
    /// Starts this program again as `role`.
    pub fn start(role: &str, origin_us: u64, more: &[String]) -> Result<Helper, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = with_many_files(&program.to_string_lossy());
        command.args(["--role", role, "--origin", &origin_us.to_string()]).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("{role}: {e}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("no standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Helper { child, input, lines, name: role.to_string() })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command and gives the lines of its answer.
    pub fn ask(&mut self, line: &str) -> Result<Vec<Fields>, String> {
        let input = self.input.as_mut().ok_or("stopped")?;
        writeln!(input, "{line}").map_err(|e| format!("{}: {e}", self.name))?;
        let mut out = Vec::new();
        loop {
            match self.lines.recv_timeout(ANSWER_TIMEOUT) {
                Ok(line) if line == "end" => return Ok(out),
                Ok(line) => out.push(parse(&line).1),
                Err(RecvTimeoutError::Timeout) => return Err(format!("{}: no answer to {line}", self.name)),
                Err(RecvTimeoutError::Disconnected) => return Err(format!("{}: ended", self.name)),
            }
        }
    }

    /// Sends a command whose answer is one line.
    pub fn ask_one(&mut self, line: &str) -> Result<Fields, String> {
        Ok(self.ask(line)?.into_iter().next().unwrap_or_default())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.input.take());
        stop(&mut self.child, STOP_TIMEOUT);
    }
}

/// Waits a little for a child that was told to end, then ends it.
pub fn stop(child: &mut Child, timeout: Duration) {
    let mut waited = Duration::ZERO;
    let step = Duration::from_millis(20);
    while waited < timeout {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(step);
        waited += step;
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A command that runs `program` with as many open files as the hard limit allows, under the same process id.
pub fn with_many_files(program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$(ulimit -Hn)\" 2>/dev/null; exec \"$0\" \"$@\"", program]);
    command
}
