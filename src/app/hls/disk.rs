//! The copy of a stream's segments on the disk.

use crate::conf;
use crate::media::hls::{Change, Hls};
use crate::net::writer::{Task, Trouble, Writer};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Bytes of segments that wait for the disk at most, of all streams.
const DISK_QUEUE: usize = 64 << 20;
/// How long the end of the server waits for files to be removed.
const DISK_DRAIN: Duration = Duration::from_secs(3);
/// The disk works again when nothing went wrong for this long, in milliseconds.
const WELL_MS: u64 = 30_000;

/// The helper thread that writes segments, from the first stream on that wants it.
#[derive(Debug, Default)]
pub struct DiskWriter(Option<Rc<Writer>>, usize);

impl DiskWriter {
    /// Lets no more than the quarter of a budget wait for the disk; 0: as much as usual. For a writer to come.
    pub fn set_budget(&mut self, budget: usize) {
        self.1 = budget / 4;
    }

    /// Bytes that wait for the disk.
    pub fn heap(&self) -> usize {
        self.0.as_ref().map_or(0, |writer| writer.waiting())
    }

    fn get(&mut self) -> Option<Rc<Writer>> {
        if self.0.is_none() {
            let room = if self.1 > 0 { DISK_QUEUE.min(self.1) } else { DISK_QUEUE };
            match Writer::start(room) {
                Ok(writer) => self.0 = Some(Rc::new(writer)),
                Err(error) => log::error!(target: "hls", "no thread to write segments: {error}"),
            }
        }
        self.0.clone()
    }

    /// The server ends: what waits is done, if that does not take long.
    pub fn drain(&self) {
        if self.0.as_ref().is_some_and(|writer| !writer.drain(DISK_DRAIN)) {
            log::warn!(target: "hls", "the disk is too slow: some files of HLS are left as they are");
        }
    }
}

/// Where a stream's files go.
#[derive(Debug)]
pub(super) struct Disk {
    writer: Rc<Writer>,
    root: PathBuf,
    key_root: PathBuf,
    trouble: Trouble,
    /// Something is written at all; what is there already is removed in its time anyway.
    on: bool,
    /// When something went wrong last, until it is told that all is well again.
    faulty: Option<u64>,
}

/// What came of the disk since the last time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Something is wrong, and was not before.
    Fault(String),
    /// All is well again.
    Well,
}

impl Disk {
    /// Files below the directories of `conf`; `None` without a thread that writes them.
    pub(super) fn new(conf: &conf::Hls, writer: &mut DiskWriter) -> Option<Disk> {
        let root = PathBuf::from(&conf.path);
        let key_root = conf.key_file_path.as_ref().map_or_else(|| root.clone(), PathBuf::from);
        let (writer, trouble) = (writer.get()?, Trouble::default());
        Some(Disk { writer, root, key_root, trouble, on: true, faulty: None })
    }

    #[cfg(test)]
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Whether something is written from now on.
    pub(super) fn set(&mut self, on: bool) {
        if on && !self.on {
            (self.faulty, self.trouble) = (None, Trouble::default());
        }
        self.on = on;
    }

    /// Hands on what has changed. What could not be written is told to `hls`, so that its playlist tells it too.
    pub(super) fn save(&mut self, hls: &mut Hls, cleanup: bool, now: u64) -> Option<News> {
        let report = self.trouble.take();
        let mut fault = report.fault;
        for path in report.lost {
            let below = |root: &Path| path.strip_prefix(root).ok().and_then(Path::to_str);
            if let Some(name) = below(&self.root).or_else(|| below(&self.key_root)) {
                hls.lost(name);
            }
        }
        for change in hls.take_changes() {
            let (name, path, task) = match change {
                Change::Write(name, _) if !self.on => {
                    hls.lost(&name);
                    continue;
                }
                Change::Playlist(_) if !self.on => continue,
                Change::Write(name, chunks) => (Some(name.clone()), self.path(&name), Task::Write(chunks)),
                Change::Playlist(text) => {
                    let bytes = Bytes::copy_from_slice(text.as_bytes());
                    (None, self.path(hls.playlist_name()), Task::Write(vec![bytes]))
                }
                Change::Remove(name) if cleanup => (None, self.path(&name), Task::Remove),
                Change::Remove(_) => continue,
            };
            if self.writer.ask(path, task, &self.trouble).is_err() {
                name.into_iter().for_each(|name| hls.lost(&name));
                fault.get_or_insert_with(|| "the disk is too slow".to_owned());
            }
        }
        self.judge(fault.filter(|_| self.on), now)
    }

    fn judge(&mut self, fault: Option<String>, now: u64) -> Option<News> {
        match (fault, self.faulty) {
            (Some(fault), before) => {
                self.faulty = Some(now);
                before.is_none().then_some(News::Fault(fault))
            }
            (None, Some(last)) if now >= last.saturating_add(WELL_MS) => {
                self.faulty = None;
                Some(News::Well)
            }
            (None, _) => None,
        }
    }

    /// Removes the playlist and all that it names.
    pub(super) fn dispose(&self, hls: &Hls) {
        let files = hls.all_files();
        for name in std::iter::once(hls.playlist_name()).chain(files.iter().map(|name| &**name)) {
            // A queue that is full keeps its files; the next stream of that name writes over them.
            let _ = self.writer.ask(self.path(name), Task::Remove, &self.trouble);
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        let root = if name.ends_with(".key") { &self.key_root } else { &self.root };
        root.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_once_and_so_is_its_end() {
        let mut disk = Disk::new(&conf::Vhost::default().hls, &mut DiskWriter::default()).unwrap();
        let fault = || Some("full".to_owned());
        assert_eq!(disk.judge(None, 0), None);
        assert_eq!(disk.judge(fault(), 1_000), Some(News::Fault("full".into())));
        for now in (2_000..60_000).step_by(2_000) {
            assert_eq!(disk.judge(fault(), now), None);
            assert_eq!(disk.judge(None, now + 40), None);
        }
        assert_eq!(disk.judge(None, 80_000), None);
        assert_eq!(disk.judge(None, 88_000), Some(News::Well));
        assert_eq!(disk.judge(None, 180_000), None);
        assert_eq!(disk.judge(fault(), 181_000), Some(News::Fault("full".into())));
    }
}
