//! Which streams a name may belong to: all names of a stream's segments begin with its stem, and the stems are sorted.
//!
//! A look-up costs a search for each stem that the name begins with, and one for each length at which stems part:
//! a few, however many streams there are. Streams whose names begin alike (`hls_ts_file` that begins with `[seq]`) share a
//! stem, and are looked at one after the other.

use crate::app::hub::StreamId;
use std::cell::RefCell;
use std::rc::Rc;

/// Streams by vhost and stem, in the order of those.
#[derive(Debug, Clone, Default)]
pub(super) struct Index(Rc<RefCell<Vec<Entry>>>);

#[derive(Debug)]
struct Entry {
    key: String,
    streams: Vec<StreamId>,
}

/// A stream's place in the index, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    index: Index,
    keys: [String; 2],
    stream: StreamId,
}

impl Index {
    /// Lists a stream under what its names begin with.
    pub(super) fn list(&self, vhost: &str, stems: [String; 2], stream: StreamId) -> Place {
        let keys = stems.map(|stem| key(vhost, &stem));
        let mut entries = self.0.borrow_mut();
        for key in &keys {
            match place(&entries, key) {
                Ok(at) => entries.get_mut(at).into_iter().for_each(|entry| entry.streams.push(stream)),
                Err(at) => entries.insert(at, Entry { key: key.clone(), streams: vec![stream] }),
            }
        }
        drop(entries);
        Place { index: self.clone(), keys, stream }
    }

    /// The stream that `is` says yes to, of those whose names can begin as `name` does.
    pub(super) fn find(&self, vhost: &str, name: &str, is: impl Fn(StreamId) -> bool) -> Option<StreamId> {
        let entries = self.0.borrow();
        let text = key(vhost, name);
        let mut end = text.as_str();
        loop {
            let before = entries.partition_point(|entry| entry.key.as_str() <= end).checked_sub(1)?;
            let entry = entries.get(before)?;
            let shared = shared(&entry.key, end);
            end = if shared.len() < entry.key.len() {
                shared
            } else {
                match entry.streams.iter().find(|stream| is(**stream)) {
                    Some(stream) => return Some(*stream),
                    None => shorter(shared)?,
                }
            };
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = self.index.0.borrow_mut();
        for key in &self.keys {
            let Ok(at) = place(&entries, key) else { continue };
            let Some(entry) = entries.get_mut(at) else { continue };
            if let Some(at) = entry.streams.iter().position(|stream| *stream == self.stream) {
                entry.streams.swap_remove(at);
            }
            if entry.streams.is_empty() {
                entries.remove(at);
            }
        }
    }
}

/// Where a key is, or else belongs.
fn place(entries: &[Entry], key: &str) -> Result<usize, usize> {
    entries.binary_search_by(|entry| entry.key.as_str().cmp(key))
}

/// Vhosts are compared without regard to case; none has a line break.
fn key(vhost: &str, name: &str) -> String {
    format!("{}\n{name}", vhost.to_ascii_lowercase())
}

/// What both begin with.
fn shared<'a>(a: &str, b: &'a str) -> &'a str {
    let differs = a.chars().zip(b.char_indices()).find(|(a, (_, b))| a != b);
    let end = differs.map_or(a.len().min(b.len()), |(_, (at, _))| at);
    b.get(..end).unwrap_or("")
}

fn shorter(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next_back().map(|_| chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::slots::Id;

    fn id(n: usize) -> StreamId {
        StreamId::of(Id::from_token(n))
    }

    #[test]
    fn a_name_finds_its_stream_among_those_whose_names_begin_alike() {
        let index = Index::default();
        let stems = ["live/x-", "live/x-1-", "live/", "live/xy-", "live/ü-", "live/û-", ""];
        let mut places: Vec<Place> = (0..)
            .zip(stems)
            .map(|(n, stem)| index.list("A", [stem.into(), format!("key/{stem}")], id(n)))
            .collect();
        let seen = |name: &str| {
            let tried = RefCell::new(Vec::new());
            index.find("a", name, |stream| {
                tried.borrow_mut().push(stream);
                false
            });
            tried.into_inner()
        };
        assert_eq!(seen("live/x-1-7.ts"), [1, 0, 2, 6].map(id), "the longest first");
        assert_eq!(seen("live/x-17.ts"), [0, 2, 6].map(id));
        assert_eq!(seen("live/ü-1.ts"), [4, 2, 6].map(id));
        assert_eq!(seen("key/live/xy-1.key"), [3, 2, 6, 6].map(id));
        assert_eq!(seen("zz"), [6].map(id));
        assert_eq!(index.find("b", "live/x-1.ts", |_| true), None, "of another vhost");
        assert_eq!(index.find("a", "live/x-1.ts", |stream| stream == id(2)), Some(id(2)));
        places.truncate(1);
        assert_eq!(seen("live/x-1-7.ts"), [0].map(id));
        places.clear();
        assert!(index.0.borrow().is_empty());
    }

    #[test]
    fn many_streams_cost_a_look_up_little() {
        let index = Index::default();
        let places: Vec<Place> = (0..5_000)
            .map(|n| index.list("a", [format!("live/cam{n}-"), format!("live/cam{n}-")], id(n)))
            .collect();
        for n in 0..5_000 {
            let tried = std::cell::Cell::new(0);
            let found = index.find("a", &format!("live/cam{n}-12.ts"), |stream| {
                tried.set(tried.get() + 1);
                stream == id(n)
            });
            assert_eq!((found, tried.get()), (Some(id(n)), 1));
        }
        drop(places);
    }
}
