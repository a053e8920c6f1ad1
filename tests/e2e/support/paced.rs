//! A publisher that keeps time, whose camera can be made to stand while its microphone goes on.
use super::flv::Tag;
use super::rtmp::Rtmp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running publisher; it ends when this is dropped, or its tags are all sent.
pub(crate) struct Paced {
    stop: Arc<AtomicBool>,
    stands: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Paced {
    /// Publishes tags in real time.
    pub(crate) fn publish(port: u16, stream: &str, tags: Vec<Tag>) -> Paced {
        let rtmp = Rtmp::publish(port, stream);
        let (stop, stands) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let stream = stream.to_owned();
        let flags = (stop.clone(), stands.clone());
        let thread = std::thread::spawn(move || run(rtmp, &stream, tags, &flags.0, &flags.1));
        Paced { stop, stands, thread: Some(thread) }
    }

    /// The camera stands for so long, and goes on with the next picture then, as late as that is.
    pub(crate) fn stand(&self, time: Duration) {
        self.stands.store(true, Ordering::Relaxed);
        std::thread::sleep(time);
        self.stands.store(false, Ordering::Relaxed);
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that ended first is the test's affair.
            let _ = thread.join();
        }
    }
}

fn run(mut rtmp: Rtmp, stream: &str, tags: Vec<Tag>, stop: &AtomicBool, stands: &AtomicBool) {
    let (mut sounds, mut pictures): (VecDeque<Tag>, VecDeque<Tag>) =
        tags.into_iter().partition(|tag| tag.kind == 8);
    let (begin, mut late) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) && !(sounds.is_empty() && pictures.is_empty()) {
        let now = begin.elapsed().as_millis() as u32;
        let mut due = Vec::new();
        while sounds.front().is_some_and(|tag| tag.ts <= now) {
            due.extend(sounds.pop_front());
        }
        if stands.load(Ordering::Relaxed) {
            late = late.max(now.saturating_sub(pictures.front().map_or(now, |tag| tag.ts)));
        }
        while !stands.load(Ordering::Relaxed) && pictures.front().is_some_and(|tag| tag.ts + late <= now) {
            let tag = pictures.pop_front().unwrap();
            due.push(Tag { ts: tag.ts + late, ..tag });
        }
        due.sort_by_key(|tag| tag.ts);
        rtmp.send(&due);
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
