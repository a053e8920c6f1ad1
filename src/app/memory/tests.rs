use super::*;
use crate::app::hub::{Source, StreamId};
use crate::app::world::World;
use crate::conf::{Config, Vhost};
use crate::media::cursor::Filter;
use crate::media::derived::Kindred;
use crate::media::frame::Kind;
use crate::media::package::Container;
use crate::wire::names::StreamName;
use bytes::Bytes;
use std::rc::Rc;

const MB: usize = 1 << 20;

fn guard(budget: usize) -> Guard {
    let mut guard = Guard::default();
    guard.set_budget(budget as u64);
    guard
}

fn feeds(bytes: usize) -> Used {
    Used { feeds: bytes, ..Used::default() }
}

/// One look at what `holds` says is held at a level; nothing can be cut.
fn look(guard: &mut Guard, now: u64, holds: impl Fn(Level) -> usize) {
    for _ in 0..LADDER.len() + 1 {
        let mut verdict = guard.weigh(now, feeds(holds(guard.level())));
        if let Verdict::Cut(excess) = verdict {
            verdict = guard.cut(now, excess, 0);
        }
        if verdict != Verdict::Less {
            return;
        }
    }
    panic!("it takes more steps than there are");
}

#[test]
fn steps_are_taken_in_their_order_and_no_further_than_needed() {
    for stop in LADDER {
        let mut guard = guard(16 * MB);
        look(&mut guard, 0, |level| if level < stop { 17 * MB } else { 15 * MB });
        assert_eq!(guard.level(), stop);
        assert_eq!(guard.report().given_up.steps as usize, stop.number());
    }
    let mut hopeless = guard(16 * MB);
    look(&mut hopeless, 0, |_| 40 * MB);
    assert_eq!(hopeless.level(), Level::NoPublishers, "and it stays there without going in circles");
    assert!(LADDER.is_sorted() && LADDER.iter().enumerate().all(|(n, level)| level.number() == n));
}

#[test]
fn everything_comes_back_one_step_after_the_other() {
    let mut guard = guard(16 * MB);
    look(&mut guard, 0, |_| 20 * MB);
    let mut levels = Vec::new();
    for now in (1_000..=200_000).step_by(1_000) {
        look(&mut guard, now, |_| 4 * MB);
        if levels.last().is_none_or(|(_, level)| *level != guard.level()) {
            levels.push((now, guard.level()));
        }
    }
    let back: Vec<Level> = levels.iter().map(|(_, level)| *level).collect();
    let whole: Vec<Level> = LADDER.into_iter().rev().collect();
    assert_eq!(back, whole);
    for pair in levels.windows(2).skip(1) {
        let hold = if pair[0].1 >= Level::Cut { HOLD_MS / HURRY } else { HOLD_MS };
        assert_eq!(pair[1].0 - pair[0].0, hold, "{pair:?}");
    }
    assert!(guard.refuse_viewer(true).is_none() && guard.refuses_publisher().is_none());
}

#[test]
fn what_is_needed_again_at_once_is_not_given_back_again_and_again() {
    // GOP caches take more than there is, and hardly anything without them.
    let mut guard = guard(16 * MB);
    let needs = |level| if level < Level::NoGops { 20 * MB } else { 2 * MB };
    let mut changes = Vec::new();
    for now in (0..24 * 3_600_000).step_by(1_000) {
        let before = guard.level();
        look(&mut guard, now, needs);
        if guard.level() != before {
            changes.push(now);
        }
    }
    assert_eq!(guard.level(), Level::NoGops);
    let last_hour = changes.iter().filter(|now| **now > 23 * 3_600_000).count();
    assert!(changes.len() > 4, "it was never tried");
    assert!(last_hour <= 12, "{last_hour} changes an hour");
}

#[test]
fn between_the_mark_and_the_budget_nothing_changes() {
    let mut guard = guard(16 * MB);
    look(&mut guard, 0, |level| if level < Level::ShortGops { 17 * MB } else { 15 * MB });
    for now in (0..3_600_000).step_by(1_000) {
        look(&mut guard, now, |_| 15 * MB);
    }
    assert_eq!(guard.level(), Level::ShortGops);
    // A look below the mark now and then is not enough.
    for now in (3_600_000..7_200_000).step_by(1_000) {
        look(&mut guard, now, |_| if now % 9_000 == 0 { 15 * MB } else { 2 * MB });
    }
    assert_eq!(guard.level(), Level::ShortGops);
}

#[test]
fn much_that_comes_in_between_two_looks_calls_for_one() {
    let mut guard = guard(16 * MB);
    guard.weigh(0, feeds(10 * MB));
    assert!(!guard.count(5 * MB), "it still fits");
    assert!(guard.count(2 * MB));
    assert!(!guard.count(9 * MB), "one look is on its way");
    guard.weigh(0, feeds(16 * MB));
    assert!(!guard.count(MB), "not for each frame of a stream that fills the budget");
    assert!(guard.count(MB));
    let mut off = Guard::default();
    assert!(!off.count(usize::MAX));
    assert_eq!(off.weigh(0, feeds(usize::MAX)), Verdict::Stay);
}

#[test]
fn another_budget_takes_effect_at_the_next_look_and_none_ends_everything() {
    let mut guard = guard(16 * MB);
    look(&mut guard, 0, |_| 12 * MB);
    guard.set_budget(8 << 20);
    look(&mut guard, 0, |level| if level < Level::NoGops { 12 * MB } else { 6 * MB });
    assert_eq!(guard.level(), Level::NoGops);
    assert_eq!(guard.share(1).gop_bytes, 0);
    assert!(guard.news(|| None).is_some());
    guard.set_budget(0);
    assert_eq!((guard.level(), guard.share(1)), (Level::Normal, Share::default()));
    assert_eq!(guard.report().used, Used::default());
    assert!(!guard.news(|| None).unwrap().is_bad(), "it is told");
}

#[test]
fn people_are_told_and_counted() {
    let mut guard = guard(MB);
    let at = |guard: &mut Guard, stop| look(guard, 0, |level| if level < stop { 2 * MB } else { MB });
    at(&mut guard, Level::Slow);
    assert_eq!((guard.refuse_viewer(true), guard.refuse_viewer(false)), (None, None));
    at(&mut guard, Level::Cut);
    assert!(guard.refuse_viewer(true).is_some_and(|why| why.contains("max_memory")));
    assert_eq!(guard.refuse_viewer(false), None);
    at(&mut guard, Level::NoViewers);
    assert!(guard.refuse_viewer(false).is_some() && guard.refuses_publisher().is_none());
    at(&mut guard, Level::NoPublishers);
    assert!(guard.refuses_publisher().is_some());
    guard.count_publisher(true);
    let GivenUp { viewers, publishers, steps, .. } = guard.report().given_up;
    assert_eq!((viewers, publishers, steps), (2, 1, 9));
}

#[test]
fn a_change_is_told_once_with_figures_and_a_remedy() {
    let mut guard = guard(16 * MB);
    assert!(guard.news(|| None).is_none());
    let used = |level| Used {
        feeds: 2 * MB,
        hls: if level < Level::ShortHls { 15 * MB } else { 5 * MB },
        ..Used::default()
    };
    while guard.weigh(0, used(guard.level())) == Verdict::Less {}
    let news = guard.news(|| Some(20 << 20)).unwrap();
    assert!(news.is_bad());
    assert_eq!(
        news.to_string(),
        "7.0 MB of 16.0 MB in use (feeds 2.0 MB, hls 5.0 MB; 20.0 MB resident): HLS playlists are shortened; \
         raise max_memory, or lower hls_window or hls_ram_bytes"
    );
    assert!(guard.news(|| None).is_none());
    guard.weigh(1_000, feeds(MB));
    guard.weigh(20_000, feeds(MB));
    let news = guard.news(|| None).unwrap();
    assert!(!news.is_bad());
    assert_eq!(news.to_string(), "1.0 MB of 16.0 MB in use (feeds 1.0 MB): there are no GOP caches");
}

#[test]
fn small_machines_have_a_budget_by_themselves() {
    let mb = 1 << 20;
    assert_eq!(budget(None, Some(100 * mb)), 50 * mb);
    assert_eq!(budget(None, Some(256 * mb)), 0);
    assert_eq!(budget(None, None), 0);
    assert_eq!(budget(Some(0), Some(100 * mb)), 0);
    assert_eq!(budget(Some(7), Some(100 * mb)), 7);
}

/// A world with one stream whose GOPs are long, read as MPEG-TS and served by HLS too.
struct Rig {
    world: World,
    stream: StreamId,
    ts: Kindred,
    n: u64,
}

const BY: Source = Source::Demo;
/// 4 Mbit/s: 25 pictures of 20 kB a second, a keyframe every 10 s.
const PICTURE: usize = 20_000;
const GOP: u64 = 250;

impl Rig {
    fn new(budget: usize) -> Rig {
        let mut world = World::new(Rc::new(Config::default()));
        world.memory.set_budget(budget as u64);
        let mut vhost = Vhost::default();
        vhost.hls.enabled = true;
        (vhost.hls.fragment_ms, vhost.hls.window_ms, vhost.hls.ram_bytes) = (2_000, 12_000, 64 << 20);
        vhost.play.queue_length_ms = 20_000;
        let name = StreamName::new("", "live", "x").unwrap();
        let stream = world.publish(&name, &Rc::new(vhost), BY).unwrap();
        let avc = b"\x17\0\0\0\0\x01\x42\xc0\x1e\xff\xe1\0\x0b\x67\x42\xc0\x1e\xd9\x03\xc5\x68\x40\0\0\x01\0\x02\x68\xce";
        world.ingest(stream, BY, Kind::Video, 0, Bytes::from_static(avc));
        let mut rig =
            Rig { world, stream, ts: Kindred { container: Container::Ts, filter: Filter::default() }, n: 0 };
        rig.play(1_000, &[]);
        let ts = rig.ts;
        rig.live().open(ts, u64::MAX).unwrap();
        rig
    }

    fn live(&mut self) -> &mut crate::app::hub::Live {
        self.world.hub.get_mut(self.stream).unwrap()
    }

    /// Publishes for so long; once a second what is held is looked at and trimmed. `slow`: where a viewer stands who does
    /// not go on.
    fn play(&mut self, ms: u64, slow: &[u64]) {
        for _ in 0..ms / 40 {
            let key = self.n.is_multiple_of(GOP);
            let mut picture = vec![0; PICTURE];
            picture[..5].copy_from_slice(if key { b"\x17\x01\0\0\0" } else { b"\x27\x01\0\0\0" });
            picture[5..10].copy_from_slice(
                &((PICTURE - 9) as u32)
                    .to_be_bytes()
                    .iter()
                    .copied()
                    .chain([if key { 0x65 } else { 0x41 }])
                    .collect::<Vec<_>>(),
            );
            self.world.now = self.n * 40;
            self.world.ingest(self.stream, BY, Kind::Video, (self.n * 40) as u32, Bytes::from(picture));
            self.n += 1;
            if self.n.is_multiple_of(25) {
                self.look(slow);
            }
        }
    }

    /// As the loop does it, without connections.
    fn look(&mut self, slow: &[u64]) {
        let slowest = slow.iter().min().copied();
        loop {
            self.live().trim(|source| slowest.filter(|_| source.is_none()));
            let used = self.world.weigh();
            let now = self.world.now;
            match self.world.memory.weigh(now, used) {
                Verdict::Less => self.world.deal_out(),
                Verdict::More => return self.world.deal_out(),
                Verdict::Stay => return,
                Verdict::Cut(excess) => {
                    if self.world.memory.cut(now, excess, 0) == Verdict::Stay {
                        return;
                    }
                }
            }
        }
    }

    fn used(&self) -> Used {
        self.world.weigh()
    }

    fn level(&self) -> Level {
        self.world.memory.level()
    }
}

/// What the stream needs by itself: 5 MB for a GOP, as much as TS, and 15 MB and more of segments.
#[test]
fn with_room_for_everything_nothing_is_given_up() {
    let mut rig = Rig::new(200 * MB);
    rig.play(60_000, &[]);
    assert_eq!(rig.level(), Level::Normal);
    let used = rig.used();
    assert!(used.feeds < 6 * MB && used.derived < 6 * MB, "{used:?}");
    assert!(used.hls > 12 * MB, "{used:?}");
    rig.play(8_000, &[]);
    let used = rig.used();
    assert!(used.feeds > 4 * MB && used.derived > 4 * MB, "both have a GOP: {used:?}");
}

#[test]
fn each_step_makes_room_for_what_is_too_much() {
    let peak = |budget| {
        let mut rig = Rig::new(budget * MB);
        let mut most = Used::default();
        for _ in 0..90 {
            rig.play(1_000, &[]);
            let used = rig.used();
            assert!(used.total() <= budget * MB, "{used:?} at {:?} of {budget} MB", rig.level());
            for (most, now) in
                [(&mut most.feeds, used.feeds), (&mut most.derived, used.derived), (&mut most.hls, used.hls)]
            {
                *most = now.max(*most);
            }
        }
        (rig, most)
    };
    // Without the TS that is stored, everything fits; who reads TS goes on.
    let (mut rig, _) = peak(28);
    assert_eq!(rig.level(), Level::Derived);
    rig.play(7_000, &[]);
    assert!(rig.used().derived < MB && rig.used().feeds > 2 * MB, "{:?}", rig.used());
    let ts = rig.ts;
    assert!(!rig.live().is_over(Some(ts)) && rig.live().containers().count() == 1);

    // Without the GOP cache, too.
    let (mut rig, _) = peak(23);
    assert!((Level::ShortGops..=Level::NoGops).contains(&rig.level()), "{:?}", rig.level());
    rig.play(8_000, &[]);
    assert!(rig.used().feeds < MB, "{:?}", rig.used());
    assert!(rig.used().hls > 12 * MB);

    // With fewer segments.
    let (rig, _) = peak(12);
    assert!((Level::ShortHls..=Level::LeastHls).contains(&rig.level()), "{:?}", rig.level());
    assert!(rig.used().hls < 8 * MB, "{:?}", rig.used());
}

#[test]
fn a_viewer_who_holds_the_feed_back_is_moved_on_and_the_rest_comes_back_later() {
    let mut rig = Rig::new(12 * MB);
    rig.live().hls = None;
    rig.play(20_000, &[]);
    let stuck = rig.live().stream.feed.end();
    rig.play(19_000, &[stuck]);
    assert!(rig.live().stream.feed.base() > stuck, "it would hold 9.5 MB");
    let used = rig.used();
    assert!(used.total() <= 12 * MB, "{used:?}");
    // A feed never takes more than half of the budget; that was enough.
    assert!(rig.level() < Level::Slow, "{:?}", rig.level());
    let deepest = rig.level();
    rig.play(400_000, &[]);
    assert!(rig.level() < deepest || deepest == Level::Normal, "{:?}", rig.level());
}

#[test]
fn a_container_that_ends_gives_everything_back_and_takes_nobody_new() {
    let mut rig = Rig::new(200 * MB);
    rig.play(9_000, &[]);
    let ts = rig.ts;
    assert!(rig.used().derived > 4 * MB);
    rig.live().give_up(ts);
    assert_eq!(rig.used().derived, 0);
    rig.play(9_000, &[]);
    assert_eq!(rig.used().derived, 0, "nothing more is made for it");
    assert!(rig.live().is_over(Some(ts)) && !rig.live().is_over(None));
    let (status, why) = rig.live().open(ts, u64::MAX).unwrap_err();
    assert_eq!(status, 503);
    assert!(why.contains("max_memory"), "{why}");
}

#[test]
fn whoever_publishes_may_come_back_when_nobody_new_may() {
    let mut rig = Rig::new(200 * MB);
    rig.play(2_000, &[]);
    let mut hopeless = guard(MB);
    look(&mut hopeless, 0, |_| 2 * MB);
    rig.world.memory = hopeless;
    let vhost = rig.live().vhost.clone();
    let ip = std::net::Ipv4Addr::LOCALHOST.into();
    let name = |stream| StreamName::new("", "live", stream).unwrap();
    let by = Source::Peer(crate::net::slots::Id::from_token(1), ip);
    let refusal = rig.world.publish(&name("new"), &vhost, by).unwrap_err();
    assert!(refusal.contains("max_memory"), "{refusal}");
    assert_eq!(rig.world.memory.report().given_up.publishers, 1);
    rig.world.unpublish(rig.stream, BY);
    assert!(rig.world.publish(&name("x"), &vhost, by).is_ok());
}
