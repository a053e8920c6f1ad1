//! A publisher that keeps time, to which things happen while it is watched: its camera stands while its microphone goes on, or
//! another clip goes on in the same publication.
use super::flv::Tag;
use super::rtmp::Rtmp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running publisher; it ends when this is dropped, or its tags are all sent.
pub(crate) struct Paced {
    wishes: Arc<Wishes>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Wishes {
    stop: AtomicBool,
    stands: AtomicBool,
    next: Mutex<Option<(Vec<Tag>, i64)>>,
}

impl Paced {
    /// Publishes tags in real time.
    pub(crate) fn publish(port: u16, stream: &str, tags: Vec<Tag>) -> Paced {
        let rtmp = Rtmp::publish(port, stream);
        let wishes = Arc::new(Wishes::default());
        let (stream, own) = (stream.to_owned(), wishes.clone());
        let thread = Some(std::thread::spawn(move || run(rtmp, &stream, tags, &own)));
        Paced { wishes, thread }
    }

    /// The camera stands for so long, and goes on with the next picture then, as late as that is.
    pub(crate) fn stand(&self, time: Duration) {
        self.wishes.stands.store(true, Ordering::Relaxed);
        std::thread::sleep(time);
        self.wishes.stands.store(false, Ordering::Relaxed);
    }

    /// Goes on with these tags instead, with times that are `jump` milliseconds off.
    pub(crate) fn go_on_with(&self, tags: Vec<Tag>, jump: i64) {
        *self.wishes.next.lock().unwrap() = Some((tags, jump));
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.wishes.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that ended first is the test's affair.
            let _ = thread.join();
        }
    }
}

/// Tags of sound, and all others, each with the time at which it is due.
fn queues(tags: Vec<Tag>, now: u32, jump: i64) -> [VecDeque<(u32, Tag)>; 2] {
    let due = |tag: Tag| (tag.ts + now, Tag { ts: (i64::from(tag.ts + now) + jump) as u32, ..tag });
    let (sounds, others): (Vec<Tag>, Vec<Tag>) = tags.into_iter().partition(|tag| tag.kind == 8);
    [sounds.into_iter().map(due).collect(), others.into_iter().map(due).collect()]
}

fn run(mut rtmp: Rtmp, stream: &str, tags: Vec<Tag>, wishes: &Wishes) {
    let [mut sounds, mut others] = queues(tags, 0, 0);
    let (begin, mut late) = (Instant::now(), 0);
    while !(wishes.stop.load(Ordering::Relaxed) || sounds.is_empty() && others.is_empty()) {
        let now = begin.elapsed().as_millis() as u32;
        if let Some((tags, jump)) = wishes.next.lock().unwrap().take() {
            [sounds, others] = queues(tags, now, jump);
            late = 0;
        }
        if wishes.stands.load(Ordering::Relaxed) {
            late = late.max(now.saturating_sub(others.front().map_or(now, |(due, _)| *due)));
        }
        let stands = wishes.stands.load(Ordering::Relaxed);
        let mut out = Vec::new();
        while !stands && others.front().is_some_and(|(due, _)| due + late <= now) {
            let (due, tag) = others.pop_front().unwrap();
            out.push((due + late, Tag { ts: tag.ts + late, ..tag }));
        }
        while sounds.front().is_some_and(|(due, _)| *due <= now) {
            out.extend(sounds.pop_front());
        }
        out.sort_by_key(|(due, _)| *due);
        rtmp.send(&out.into_iter().map(|(_, tag)| tag).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(10));
    }
    rtmp.unpublish(stream);
}

/// Tags over and over, `times` times; their headers once.
pub(crate) fn repeated(tags: &[Tag], times: u32) -> Vec<Tag> {
    let length = tags.iter().map(|tag| tag.ts).max().unwrap() + 40;
    let again = (1..times).flat_map(|n| {
        let frames = tags.iter().filter(|tag| tag.is_picture() || tag.kind == 8 && tag.ts > 0);
        frames.map(move |tag| Tag { ts: tag.ts + n * length, ..tag.clone() })
    });
    tags.iter().cloned().chain(again).collect()
}
