//! Old recordings: what was left unfinished is completed, what is too old or too much is deleted.
//!
//! Only files below the directory of `dvr_path` whose names could come from it are looked at; links are not followed, and
//! directories stay. Runs on the helper thread.

use super::job;
use crate::media::dvr::names::Template;
use crate::net::growing::{self, Entry};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Recordings of a vhost that are looked at.
const MAX_FILES: usize = 100_000;

/// What is to be done for a vhost.
#[derive(Debug, Clone)]
pub(super) struct Tidy {
    pub(super) template: Template,
    pub(super) vhost: String,
    /// 0: all are kept.
    pub(super) keep_ms: u64,
    /// 0: there is no limit.
    pub(super) max_bytes: u64,
    /// Unfinished files are completed, too.
    pub(super) complete: bool,
}

impl Tidy {
    /// Does it, and tells in the log what came of it.
    pub(super) fn run(&self) {
        let root = Path::new(self.template.root());
        if self.complete {
            self.complete(root);
        }
        if self.keep_ms == 0 && self.max_bytes == 0 {
            return;
        }
        let mut all = growing::below(root, MAX_FILES, |name| self.template.is_recording(name, &self.vhost));
        let old = too_much(&mut all, SystemTime::now(), self.keep_ms, self.max_bytes);
        let gone: Vec<&Entry> = old.iter().filter(|entry| growing::remove(&root.join(&entry.name))).collect();
        if let (Some(first), bytes) = (gone.first(), gone.iter().map(|entry| entry.len).sum::<u64>()) {
            let (count, root) = (gone.len(), root.display());
            log::info!(
                target: "dvr",
                "{count} old recordings deleted below {root}, {} kB; the oldest was {}", bytes / 1000, first.name
            );
        }
    }

    fn complete(&self, root: &Path) {
        let left = |name: &str| self.template.unfinished(name, &self.vhost).is_some();
        for entry in growing::below(root, MAX_FILES, left) {
            let Some((stem, extension)) = self.template.unfinished(&entry.name, &self.vhost) else {
                continue;
            };
            let stem = format!("{}{stem}", self.template.root());
            match job::complete(&root.join(&entry.name), stem, extension.to_owned()) {
                Ok(Some(path)) => {
                    log::info!(target: "dvr", "{} was left unfinished; it is complete now", path.display());
                }
                Ok(None) => {}
                Err(error) => log::warn!(target: "dvr", "{}{}: {error}", self.template.root(), entry.name),
            }
        }
    }
}

/// Which recordings have to go, the oldest first.
fn too_much(all: &mut Vec<Entry>, now: SystemTime, keep_ms: u64, max_bytes: u64) -> Vec<Entry> {
    all.sort_by(|a, b| (a.modified, &a.name).cmp(&(b.modified, &b.name)));
    let mut total: u64 = all.iter().map(|entry| entry.len).sum();
    let keep = Duration::from_millis(keep_ms);
    let goes = |entry: &Entry| {
        // A file from the future is not old: a clock may have been set back.
        let old = now.duration_since(entry.modified).is_ok_and(|age| keep_ms > 0 && age > keep);
        let goes = old || max_bytes > 0 && total > max_bytes;
        total = total.saturating_sub(entry.len);
        goes
    };
    let count = all.iter().map(goes).take_while(|goes| *goes).count();
    all.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64, age_s: u64, len: u64) -> (SystemTime, Entry) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        (now, Entry { name: format!("f{n}"), len, modified: now - Duration::from_secs(age_s) })
    }

    #[test]
    fn the_oldest_go_until_the_rest_is_young_and_small_enough() {
        let run = |keep_ms, max_bytes| {
            let (now, mut all) = (entry(0, 0, 0).0, Vec::new());
            all.extend(
                [(1, 50, 10), (2, 5000, 100), (3, 100, 20), (4, 1, 30)].map(|(n, a, l)| entry(n, a, l).1),
            );
            let names = too_much(&mut all, now, keep_ms, max_bytes).into_iter().map(|e| e.name);
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(run(0, 0), "");
        assert_eq!(run(200_000, 0), "f2");
        assert_eq!(run(60_000, 0), "f2 f3");
        assert_eq!(run(0, 160), "");
        assert_eq!(run(0, 159), "f2");
        assert_eq!(run(0, 40), "f2 f3");
        assert_eq!(run(0, 1), "f2 f3 f1 f4");
    }

    #[test]
    fn a_clock_that_was_set_back_deletes_nothing() {
        let mut all = vec![entry(1, 0, 10).1];
        let before = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        assert!(too_much(&mut all, before, 1, 0).is_empty());
    }
}
