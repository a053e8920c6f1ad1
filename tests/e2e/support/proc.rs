//! Child processes with a deadline: their output goes to files, and none outlives the test.
use super::poll;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A running program whose standard output and error go to `NAME.log` in the directory of the test.
pub(crate) struct Proc {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Proc {
    /// Starts `command`; `name` must be unique in `dir`.
    pub(crate) fn spawn(name: &str, dir: &Path, mut command: Command) -> Proc {
        let log = dir.join(format!("{name}.log"));
        let file = std::fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).current_dir(dir);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start {name} ({:?}): {error}; ./tests/run installs it", command.get_program())
        });
        Proc { name: name.into(), child, log }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the program has written so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of the log, for messages.
    pub(crate) fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("--- {}\n{}\n---", self.log.display(), lines[lines.len().saturating_sub(25)..].join("\n"))
    }

    /// Whether the program is still running.
    pub(crate) fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end; fails the test when `limit` passes.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        if !poll(limit, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        }) {
            panic!("{} still runs after {limit:?}\n{}", self.name, self.tail());
        }
        status.unwrap()
    }

    /// Waits for the end and fails the test unless the program succeeded.
    pub(crate) fn success(&mut self, limit: Duration) {
        let status = self.wait(limit);
        assert!(status.success(), "{} ended with {status}\n{}", self.name, self.tail());
    }

    /// Sends a signal by name, e.g. "TERM".
    pub(crate) fn signal(&self, signal: &str) {
        // The shell's own kill: a bare system has no /bin/kill.
        let line = format!("kill -{signal} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    }

    /// Ends the program at once, as a crash or a power cut would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.kill();
    }
}
