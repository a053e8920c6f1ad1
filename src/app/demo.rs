//! `--demo`: a bundled clip, played for ever in real time as `live/demo`, so that a newcomer sees a picture at
//! once. A build without the cargo feature `demo` has no clip and says so when asked to play it.

use super::hub::{Source, StreamId};
use super::world::{Timer, World};
use crate::wire::flv::{Demuxer, Tag, TagType};
use crate::wire::inflate;
use crate::wire::names::StreamName;

/// The clip: a few seconds of H.264 and AAC, packed by gzip, which takes a third off its many small tags.
#[cfg(feature = "demo")]
const CLIP: &[u8] = include_bytes!("demo.flv.gz");
#[cfg(not(feature = "demo"))]
const CLIP: &[u8] = &[];
/// App and stream of the demo.
pub const NAME: (&str, &str) = ("live", "demo");
/// Bytes that the clip, and so a tag in it, may have.
const MAX_CLIP: usize = 1 << 20;
/// Length that is assumed for the last frame, in milliseconds.
const LAST_FRAME_MS: u64 = 40;

/// A clip that plays in a loop.
#[derive(Debug)]
pub struct Demo {
    stream: StreamId,
    tags: Vec<Tag>,
    next: usize,
    /// Time of the clip's start in this round, on the loop's clock and on the stream's.
    started: u64,
    length: u64,
    rounds: u64,
}

impl Demo {
    /// Publishes the demo and sets its first timer.
    ///
    /// # Errors
    /// When this build has no clip, the clip is broken or the name is taken.
    pub fn start(world: &mut World) -> Result<Demo, String> {
        if CLIP.is_empty() {
            return Err("--demo: this program was built without the clip (cargo feature `demo`)".to_owned());
        }
        let tags = read(&inflate::gunzip(CLIP, MAX_CLIP).unwrap_or_default())?;
        let last = tags.iter().map(|tag| u64::from(tag.timestamp)).max().unwrap_or(0);
        let name = StreamName::new("", NAME.0, NAME.1).map_err(|error| error.to_string())?;
        let vhost = world.config.vhost(name.vhost()).cloned().ok_or("no vhost serves the demo")?;
        let stream = world.publish(&name, &vhost, Source::Demo)?;
        world.timers.set(Timer::Demo, world.now);
        let length = last.saturating_add(LAST_FRAME_MS);
        Ok(Demo { stream, tags, next: 0, started: world.now, length, rounds: 0 })
    }

    /// Sends what is due and sets the next timer.
    pub fn turn(&mut self, world: &mut World) {
        loop {
            let Some(tag) = self.tags.get(self.next) else {
                self.next = 0;
                self.rounds += 1;
                self.started = self.started.saturating_add(self.length);
                if self.tags.is_empty() {
                    return;
                }
                continue;
            };
            let at = self.started.saturating_add(u64::from(tag.timestamp));
            if at > world.now {
                world.timers.set(Timer::Demo, at);
                return;
            }
            // 32 bits of milliseconds wrap after 49 days, as any publisher's do.
            let timestamp =
                self.rounds.wrapping_mul(self.length).wrapping_add(u64::from(tag.timestamp)) as u32;
            world.ingest(self.stream, Source::Demo, tag.kind, timestamp, tag.payload.clone());
            self.next += 1;
        }
    }
}

fn read(mut clip: &[u8]) -> Result<Vec<Tag>, String> {
    let mut demuxer = Demuxer::new(MAX_CLIP);
    let mut tags = Vec::new();
    while let Some(tag) =
        demuxer.push(&mut clip).map_err(|error| format!("the demo clip is broken: {error}"))?
    {
        tags.push(tag);
    }
    // The metadata is about a file: only its pictures and sound loop.
    let media = |tag: &Tag| tag.kind != TagType::Script;
    let first_media = tags.iter().position(media).unwrap_or(0);
    let mut kept = 0;
    tags.retain(|tag| {
        kept += 1;
        kept <= first_media || media(tag)
    });
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::Config;
    use std::rc::Rc;

    #[test]
    #[cfg(not(feature = "demo"))]
    fn a_build_without_the_clip_says_so() {
        let mut world = World::new(Rc::new(Config::default()));
        let problem = Demo::start(&mut world).err().unwrap();
        assert!(problem.contains("feature `demo`"), "{problem}");
    }

    #[test]
    #[cfg(feature = "demo")]
    fn the_clip_plays_in_real_time_and_its_rounds_join_without_a_jump() {
        let mut world = World::new(Rc::new(Config::default()));
        let mut demo = Demo::start(&mut world).unwrap();
        let frames = demo.tags.len() as u64;
        let stream = demo.stream;
        while demo.rounds < 3 {
            world.now = world.timers.next().unwrap();
            while let Some(timer) = world.timers.pop(world.now) {
                if timer == Timer::Demo {
                    demo.turn(&mut world);
                }
            }
            let live = world.hub.get(stream).unwrap();
            let newest = live.stream.feed.newest().unwrap().dts;
            assert!(newest.abs_diff(world.now) <= 100, "{newest} at {}", world.now);
        }
        let live = world.hub.get(stream).unwrap();
        assert_eq!(live.stream.timeline().repairs(), Default::default());
        assert!(live.stream.feed.end() >= 3 * frames);
    }

    #[test]
    #[cfg(feature = "demo")]
    fn the_clip_that_is_packed_is_the_one_that_was_made() {
        let made = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/src/app/demo.flv")).unwrap();
        assert!(inflate::gunzip(CLIP, MAX_CLIP).as_ref() == Some(&made), "run tests/make-demo.sh");
        assert!(CLIP.len() < 40_000);
    }
}
