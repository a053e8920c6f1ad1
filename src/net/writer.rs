//! Writes and removes small files on a thread of its own: flash can stall a write for seconds.
//!
//! Jobs are done in order. The queue is bounded in bytes and in jobs; when it is full a job is refused, so a slow disk
//! costs memory up to the bound and nothing else. A file is written under another name and renamed: who reads it sees
//! the old one or the new one, whole. Nothing is synced: a power cut may lose what is a few seconds old.

use bytes::Bytes;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Jobs that wait at most.
pub const MAX_JOBS: usize = 4096;

/// What to do with a file.
#[derive(Debug)]
pub enum Task {
    /// Write it, and the directories above it.
    Write(Vec<Bytes>),
    /// Remove it; that there is none is no fault.
    Remove,
}

/// Paths in one report at most.
pub const MAX_LOST: usize = 64;

/// Where the faults of somebody's jobs are told.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<Mutex<Report>>);

/// What went wrong since the last report.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The first fault: the file and the system's words.
    pub fault: Option<String>,
    /// Files that could not be written, the first [`MAX_LOST`] of them.
    pub lost: Vec<PathBuf>,
}

impl Trouble {
    /// What went wrong, once.
    pub fn take(&self) -> Report {
        std::mem::take(&mut lock(&self.0))
    }

    fn tell(&self, path: PathBuf, written: bool, error: &io::Error) {
        let mut report = lock(&self.0);
        report.fault.get_or_insert_with(|| format!("{}: {error}", path.display()));
        if written && report.lost.len() < MAX_LOST {
            report.lost.push(path);
        }
    }
}

#[derive(Debug)]
struct Job {
    path: PathBuf,
    task: Task,
    trouble: Trouble,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    busy: bool,
    stop: bool,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The thread and its queue.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<(Mutex<Queue>, Condvar)>,
    thread: Option<JoinHandle<()>>,
    max_bytes: usize,
}

/// A poisoned lock means that the other thread panicked; what it guards is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Starts the thread. At most `max_bytes` wait to be written.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(max_bytes: usize) -> io::Result<Writer> {
        let shared = Arc::new((Mutex::new(Queue::default()), Condvar::new()));
        let mine = shared.clone();
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || work(&mine))?;
        Ok(Writer { shared, thread: Some(thread), max_bytes })
    }

    /// Has a job done after those before it.
    ///
    /// # Errors
    /// When too much waits already; the job is dropped.
    pub fn ask(&self, path: PathBuf, task: Task, trouble: &Trouble) -> Result<(), Full> {
        let (mutex, wake) = &*self.shared;
        let mut queue = lock(mutex);
        let bytes = size(&task);
        if queue.jobs.len() >= MAX_JOBS || queue.bytes.saturating_add(bytes) > self.max_bytes && bytes > 0 {
            return Err(Full);
        }
        queue.bytes = queue.bytes.saturating_add(bytes);
        queue.jobs.push_back(Job { path, task, trouble: trouble.clone() });
        wake.notify_all();
        Ok(())
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        lock(&self.shared.0).bytes
    }

    /// Waits until everything asked for is done, for `limit` at most. True: it is.
    pub fn drain(&self, limit: Duration) -> bool {
        let (mutex, wake) = &*self.shared;
        let end = Instant::now() + limit;
        let mut queue = lock(mutex);
        while queue.busy || !queue.jobs.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.shared.0).stop = true;
        self.shared.1.notify_all();
        // A stalled disk must not keep the program from ending: the thread is left to itself.
        drop(self.thread.take());
    }
}

fn size(task: &Task) -> usize {
    match task {
        Task::Write(chunks) => chunks.iter().map(Bytes::len).sum(),
        Task::Remove => 0,
    }
}

fn work((mutex, wake): &(Mutex<Queue>, Condvar)) {
    let mut queue = lock(mutex);
    loop {
        let Some(job) = queue.jobs.pop_front() else {
            if queue.stop {
                return;
            }
            queue = wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        queue.busy = true;
        drop(queue);
        let bytes = size(&job.task);
        let written = matches!(job.task, Task::Write(_));
        if let Err(error) = run(&job.path, job.task) {
            job.trouble.tell(job.path, written, &error);
        }
        queue = lock(mutex);
        queue.busy = false;
        queue.bytes = queue.bytes.saturating_sub(bytes);
        wake.notify_all();
    }
}

fn run(path: &Path, task: Task) -> io::Result<()> {
    match task {
        Task::Remove => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        Task::Write(chunks) => {
            if let Some(above) = path.parent() {
                fs::create_dir_all(above)?;
            }
            let mut name = path.as_os_str().to_owned();
            name.push(".tmp");
            let part = PathBuf::from(name);
            let written = File::create(&part).and_then(|mut file| {
                chunks.iter().try_for_each(|chunk| file.write_all(chunk))?;
                fs::rename(&part, path)
            });
            if written.is_err() {
                let _ = fs::remove_file(&part);
            }
            written
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("runnel-writer-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn files_are_whole_and_in_order() {
        let (dir, trouble) = (dir("order"), Trouble::default());
        let writer = Writer::start(1 << 20).unwrap();
        let path = dir.join("a/b/x.ts");
        for n in 0..50u8 {
            let chunks = vec![Bytes::from(vec![n; 10]), Bytes::from(vec![n; 5])];
            writer.ask(path.clone(), Task::Write(chunks), &trouble).unwrap();
        }
        writer.ask(dir.join("gone"), Task::Remove, &trouble).unwrap();
        assert!(writer.drain(Duration::from_secs(20)));
        assert_eq!(fs::read(&path).unwrap(), [49; 15]);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
        writer.ask(path.clone(), Task::Remove, &trouble).unwrap();
        assert!(writer.drain(Duration::from_secs(20)) && !path.exists());
        assert_eq!(trouble.take(), Report::default());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_fault_is_told_once_and_a_full_queue_refuses() {
        let (dir, trouble) = (dir("fault"), Trouble::default());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("file"), b"x").unwrap();
        let writer = Writer::start(100).unwrap();
        let bytes = |n: usize| Task::Write(vec![Bytes::from(vec![0; n])]);
        writer.ask(dir.join("file/below"), bytes(10), &trouble).unwrap();
        assert!(writer.drain(Duration::from_secs(20)));
        let report = trouble.take();
        assert!(report.fault.unwrap().contains("file/below"));
        assert_eq!(report.lost, [dir.join("file/below")]);
        assert_eq!(trouble.take(), Report::default());
        assert_eq!(writer.ask(dir.join("big"), bytes(101), &trouble), Err(Full));
        writer.ask(dir.join("small"), bytes(100), &trouble).unwrap();
        assert!(writer.drain(Duration::from_secs(20)));
        fs::remove_dir_all(dir).unwrap();
    }
}
