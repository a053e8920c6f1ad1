//! `max_memory`: one budget for what streams and connections hold, and the order in which they give up.
//!
//! ```text
//!  bytes > budget: one step down, at once, until it fits        below the mark for `hold`: one step back
//!
//!   Normal        everything as configured
//!   Derived       no copies of segments, small pieces of files; other containers store no GOP and nothing for readers
//!                 more than 2 s behind
//!   ShortGops     GOP caches up to a quarter of the budget together; longer ones go
//!   NoGops        none: who joins waits for the next keyframe
//!   ShortHls      playlists are shortened to half of the budget together
//!   LeastHls      to one complete segment
//!   Slow          a viewer more than 2 s behind goes on at the newest keyframe
//!   Cut           connections that hold much are closed, then other containers end, the least watched first
//!   NoViewers     nobody new may watch, and no index of an MP4 is made
//!   NoPublishers  nobody new may publish
//! ```
//!
//! What is stored gives way before people do, and the slowest of these first. Whoever publishes is never cut, and may
//! come back to a stream that has not ended: what publishers have sent of unfinished messages can exceed the budget.
//!
//! Nothing is counted for a frame and a viewer: feeds know their bytes, and the loop walks streams and connections once
//! a second, and sooner when as much came in as was left of the budget. Steps back are taken one by one, when there is
//! room for what the step had freed, or after a longer time in any case: it may not be needed any more. The hold doubles
//! each time when a step back did not last, so nothing flaps.
//!
//! With a budget, one stream's feed never takes more than half of it; so one slow viewer is moved on before other streams
//! lose anything.
//!
//! Not counted: the program itself (about 1 MB), the kernel's socket buffers (`send_buffer` for each viewer), and what
//! the allocator keeps between pieces.

use std::fmt;

/// How long bytes must be below the mark before a step back, at first and at most, in milliseconds.
const HOLD_MS: u64 = 10_000;
const MAX_HOLD_MS: u64 = 600_000;
/// The hold is so much shorter where people are turned away: they are to be let in again soon.
const HURRY: u64 = 5;
/// The hold is so many times as long while what the step had freed would not fit, up to a limit in milliseconds.
const DOUBTFUL: u64 = 30;
const MAX_DOUBT_MS: u64 = 3_600_000;
/// How far behind a reader may be when memory is short, in milliseconds.
const SHORT_MS: u64 = 2_000;
/// A feed keeps at least so much, however many streams share the budget.
const LEAST_FEED: usize = 256 << 10;
/// As much may come in between two looks at least, as a part of the budget.
const LEAST_ROOM: usize = 16;
/// Freed memory is given back to the system when it is an eighth of the budget, within these bounds.
const LEAST_SHRUNK: usize = 512 << 10;
const MOST_SHRUNK: usize = 8 << 20;
/// What holds less is left out of a line in the log.
const WORTH_TELLING: usize = 100 << 10;
/// `max_memory` by default: half of what is left, where that is less than this many bytes.
const SMALL_MACHINE: u64 = 256 << 20;

/// Bytes held, by what holds them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Streams as published: GOP caches, and what slow viewers have yet to read.
    pub feeds: usize,
    /// The same in other containers.
    pub derived: usize,
    /// Segments of HLS.
    pub hls: usize,
    /// Runs of messages laid out for several viewers.
    pub batches: usize,
    /// Unfinished messages of publishers.
    pub unfinished: usize,
    /// Connections: their state, and bytes that wait to be sent or looked at.
    pub buffers: usize,
    /// Messages that were half sent to viewers when their stream moved on.
    pub pinned: usize,
    /// Copies of segments that many ask for.
    pub copies: usize,
    /// Pieces of files, and indices, on their way.
    pub files: usize,
}

impl Used {
    /// All together.
    pub fn total(&self) -> usize {
        self.kinds().iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// The kinds with their names.
    pub fn kinds(&self) -> [(&'static str, usize); 9] {
        [
            ("feeds", self.feeds),
            ("derived", self.derived),
            ("hls", self.hls),
            ("batches", self.batches),
            ("unfinished", self.unfinished),
            ("buffers", self.buffers),
            ("pinned", self.pinned),
            ("copies", self.copies),
            ("files", self.files),
        ]
    }

    /// What the operator can do about the largest part.
    fn remedy(&self) -> &'static str {
        let largest = self.kinds().into_iter().max_by_key(|(_, bytes)| *bytes);
        match largest.map_or("", |(name, _)| name) {
            "hls" => "raise max_memory, or lower hls_window or hls_ram_bytes",
            "unfinished" => "raise max_memory, or have fewer or smaller streams published",
            "buffers" | "pinned" | "files" => "raise max_memory, or lower max_connections or send_timeout",
            _ => {
                "raise max_memory, lower queue_length or queue_bytes, or have encoders make a keyframe every 2 s"
            }
        }
    }
}

/// How much is given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    Normal,
    /// What is stored in other containers.
    Derived,
    /// Long GOP caches.
    ShortGops,
    /// All GOP caches.
    NoGops,
    /// Half of the playlists.
    ShortHls,
    /// All but the newest segment.
    LeastHls,
    /// What slow viewers have yet to read.
    Slow,
    /// Connections that hold much, and other containers.
    Cut,
    /// New viewers.
    NoViewers,
    /// New publishers.
    NoPublishers,
}

const LADDER: [Level; 10] = [
    Level::Normal,
    Level::Derived,
    Level::ShortGops,
    Level::NoGops,
    Level::ShortHls,
    Level::LeastHls,
    Level::Slow,
    Level::Cut,
    Level::NoViewers,
    Level::NoPublishers,
];

impl Level {
    /// A number that grows with what is given up: 0 for nothing.
    pub fn number(self) -> usize {
        self as usize
    }

    /// In one word, for machines.
    pub fn name(self) -> &'static str {
        match self {
            Level::Normal => "normal",
            Level::Derived => "derived",
            Level::ShortGops => "short_gops",
            Level::NoGops => "no_gops",
            Level::ShortHls => "short_hls",
            Level::LeastHls => "least_hls",
            Level::Slow => "slow",
            Level::Cut => "cut",
            Level::NoViewers => "no_viewers",
            Level::NoPublishers => "no_publishers",
        }
    }

    /// What this step means, in words.
    pub fn meaning(self) -> &'static str {
        match self {
            Level::Normal => "everything is as configured",
            Level::Derived => "other containers store nothing ahead",
            Level::ShortGops => "long GOP caches are gone",
            Level::NoGops => "there are no GOP caches",
            Level::ShortHls => "HLS playlists are shortened",
            Level::LeastHls => "HLS keeps one segment",
            Level::Slow => "slow viewers skip ahead",
            Level::Cut => "the slowest viewers and the least watched containers are cut off",
            Level::NoViewers => "new viewers are refused",
            Level::NoPublishers => "new viewers and publishers are refused",
        }
    }

    fn next(self) -> Option<Level> {
        LADDER.get(self.number() + 1).copied()
    }

    fn before(self) -> Level {
        self.number().checked_sub(1).and_then(|at| LADDER.get(at)).copied().unwrap_or_default()
    }
}

/// What one stream may keep at the present level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The level.
    pub level: Level,
    /// Bytes of a feed.
    pub feed_bytes: usize,
    /// Bytes of a GOP that is kept for joiners.
    pub gop_bytes: usize,
    /// How far behind a reader may be, in milliseconds.
    pub lag_ms: u64,
    /// The same in other containers.
    pub derived_lag_ms: u64,
    /// Bytes of segments.
    pub hls_bytes: usize,
    /// Bytes of the segment in the making.
    pub segment_bytes: usize,
}

impl Default for Share {
    /// As much as the configuration says.
    fn default() -> Share {
        let all = usize::MAX;
        Share {
            level: Level::Normal,
            feed_bytes: all,
            gop_bytes: all,
            lag_ms: u64::MAX,
            derived_lag_ms: u64::MAX,
            hls_bytes: all,
            segment_bytes: all,
        }
    }
}

/// What may be kept beside the streams.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    budget: usize,
    level: Level,
}

impl Bounds {
    /// A bound of `most` bytes; with a budget, at most this part of it.
    pub fn part(self, most: usize, of: usize) -> usize {
        if self.budget == 0 { most } else { most.min(self.budget / of) }
    }

    /// The same for what is only there to save work: a sixteenth, and nothing when memory is short.
    pub fn cache(self, most: usize) -> usize {
        if self.level >= Level::Derived { 0 } else { self.part(most, 16) }
    }

    /// The same for what somebody new asks for: an eighth, and nothing when nobody new may come.
    pub fn guest(self, most: usize) -> usize {
        if self.level >= Level::NoViewers { 0 } else { self.part(most, 8) }
    }
}

/// What was given up since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Steps down.
    pub steps: u64,
    /// Streams in other containers that were ended.
    pub derived: u64,
    /// Connections that were closed.
    pub connections: u64,
    /// Viewers who were refused.
    pub viewers: u64,
    /// Publishers who were refused.
    pub publishers: u64,
}

/// How things stand, as of the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// The budget in bytes; 0: there is none, and nothing is counted.
    pub budget: usize,
    /// How much is given up.
    pub level: Level,
    /// Bytes held.
    pub used: Used,
    /// What was given up since the start.
    pub given_up: GivenUp,
}

/// What is to be done after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Stay,
    /// The level has changed: shares are to be dealt out anew, and then it is to be looked again.
    Less,
    /// So many bytes are too much; connections and containers have to go. Then tell by [`Guard::cut`].
    Cut(usize),
    /// The level has changed: shares are to be dealt out anew.
    More,
}

/// The guard.
#[derive(Debug, Default)]
pub struct Guard {
    /// 0: there is none.
    budget: usize,
    level: Level,
    used: Used,
    given: GivenUp,
    /// Since when there is room for a step back.
    low_since: Option<u64>,
    /// What each step has freed when it was taken last.
    freed: [usize; LADDER.len()],
    /// A step was just taken, with so many bytes held.
    before_step: Option<usize>,
    hold_ms: u64,
    stepped_back: Option<u64>,
    /// Bytes that may still come in before the next look; `None`: it is on its way.
    room: Option<usize>,
    /// The most that was held at any look since memory was given back to the system.
    most: usize,
    /// What was told last.
    told: Level,
}

impl Guard {
    /// Sets the budget in bytes; 0: none.
    pub fn set_budget(&mut self, bytes: u64) {
        self.budget = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.hold_ms = HOLD_MS;
        self.freed = [0; LADDER.len()];
        self.room = (self.budget > 0).then_some(self.budget / LEAST_ROOM);
        if self.budget == 0 {
            (self.level, self.used) = (Level::Normal, Used::default());
        }
    }

    /// All figures.
    pub fn report(&self) -> Report {
        let Guard { budget, level, used, given, .. } = *self;
        Report { budget, level, used, given_up: given }
    }

    /// The budget in bytes; 0: none.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// How much is given up.
    pub fn level(&self) -> Level {
        self.level
    }

    /// What was held at the last look; all zero without a budget.
    pub fn used(&self) -> Used {
        self.used
    }

    /// What may be kept beside the streams.
    pub fn bounds(&self) -> Bounds {
        Bounds { budget: self.budget, level: self.level }
    }

    /// What each of so many streams may keep.
    pub fn share(&self, streams: usize) -> Share {
        let (level, all) = (self.level, usize::MAX);
        if self.budget == 0 {
            return Share::default();
        }
        let part = |of: usize| self.budget / of / streams.max(1);
        let feed_bytes = if level >= Level::Slow { part(2).max(LEAST_FEED) } else { self.budget / 2 };
        Share {
            level,
            feed_bytes,
            gop_bytes: match level {
                Level::Normal | Level::Derived => all,
                Level::ShortGops => part(4),
                _ => 0,
            },
            lag_ms: if level >= Level::Slow { SHORT_MS } else { u64::MAX },
            derived_lag_ms: if level >= Level::Derived { SHORT_MS } else { u64::MAX },
            hls_bytes: match level {
                Level::ShortHls => part(2),
                level if level >= Level::LeastHls => 0,
                _ => all,
            },
            segment_bytes: if level >= Level::ShortHls { part(8) } else { all },
        }
    }

    /// Counts bytes that came in. True: it is time to look, before there is too much.
    #[must_use]
    pub fn count(&mut self, bytes: usize) -> bool {
        let Some(room) = &mut self.room else { return false };
        match room.checked_sub(bytes) {
            Some(left) => *room = left,
            None => self.room = None,
        }
        self.room.is_none()
    }

    /// Says what follows from what is held now.
    pub fn weigh(&mut self, now: u64, used: Used) -> Verdict {
        let total = used.total();
        self.used = used;
        self.room =
            (self.budget > 0).then(|| self.budget.saturating_sub(total).max(self.budget / LEAST_ROOM));
        if let (Some(before), Some(freed)) =
            (self.before_step.take(), self.freed.get_mut(self.level.number()))
        {
            // Those who are cut off do not come back with what they held.
            *freed = if self.level < Level::Cut { before.saturating_sub(total) } else { 0 };
        }
        if self.budget == 0 {
            return Verdict::Stay;
        }
        if total > self.budget {
            self.low_since = None;
            if self.level >= Level::Cut {
                return Verdict::Cut(total - self.budget);
            }
            return self.step_down(now);
        }
        let mark = self.budget / 8 * 7;
        if self.level == Level::Normal || total > mark {
            self.low_since = None;
            return Verdict::Stay;
        }
        let freed = self.freed.get(self.level.number()).copied().unwrap_or(0);
        let hold = match total.saturating_add(freed) <= mark {
            true if self.level >= Level::Cut => self.hold_ms / HURRY,
            true => self.hold_ms,
            false => self.hold_ms.saturating_mul(DOUBTFUL).min(MAX_DOUBT_MS),
        };
        let since = *self.low_since.get_or_insert(now);
        if now.saturating_sub(since) < hold {
            return Verdict::Stay;
        }
        self.level = self.level.before();
        self.low_since = Some(now);
        self.stepped_back = Some(now);
        Verdict::More
    }

    /// What came of [`Verdict::Cut`]: so many bytes go. If that is not enough, the next step is taken.
    pub fn cut(&mut self, now: u64, excess: usize, gone: usize) -> Verdict {
        if gone >= excess { Verdict::Stay } else { self.step_down(now) }
    }

    fn step_down(&mut self, now: u64) -> Verdict {
        let Some(next) = self.level.next() else { return Verdict::Stay };
        // A step back that did not last was taken too early. The one before it may be part of the same attempt.
        if let Some(back) = self.stepped_back.take() {
            let lasted = now.saturating_sub(back);
            self.hold_ms = if lasted < self.hold_ms.saturating_mul(2).max(60_000) {
                self.hold_ms.saturating_mul(2).min(MAX_HOLD_MS)
            } else {
                HOLD_MS
            };
        }
        self.level = next;
        self.before_step = Some(self.used.total());
        self.given.steps = self.given.steps.saturating_add(1);
        Verdict::Less
    }

    /// A container was ended.
    pub fn ended_derived(&mut self) {
        self.given.derived += 1;
    }

    /// A connection was closed.
    pub fn closed_connection(&mut self) {
        self.given.connections += 1;
    }

    /// Why nobody new may watch now, if that is so; `derived`: in another container. It counts as refused.
    pub fn refuse_viewer(&mut self, derived: bool) -> Option<&'static str> {
        let why = match self.level {
            level if level >= Level::NoViewers => "memory is short (max_memory): no new viewers for now",
            Level::Cut if derived => "memory is short (max_memory): only FLV, RTMP and HLS for now",
            _ => return None,
        };
        self.given.viewers += 1;
        Some(why)
    }

    /// Why nobody new may publish now, if that is so.
    pub fn refuses_publisher(&self) -> Option<&'static str> {
        (self.level >= Level::NoPublishers)
            .then_some("memory is short (max_memory): no new publishers for now")
    }

    /// Somebody asked to publish.
    pub fn count_publisher(&mut self, refused: bool) {
        self.given.publishers += u64::from(refused && self.level >= Level::NoPublishers);
    }

    /// Whether so much was freed that the system should have it back. Call it after a look.
    pub fn has_shrunk(&mut self) -> bool {
        let total = self.used.total();
        self.most = self.most.max(total);
        let much = (self.budget / 8).clamp(LEAST_SHRUNK, MOST_SHRUNK);
        let shrunk = self.most - total >= much;
        if shrunk {
            self.most = total;
        }
        shrunk
    }

    /// A line for the log when the level is another than was told last. `resident` tells how much of the process is in
    /// memory.
    pub fn news(&mut self, resident: fn() -> Option<u64>) -> Option<News> {
        let before = std::mem::replace(&mut self.told, self.level);
        let Guard { level, used, budget, .. } = *self;
        (before != level).then(|| News { before, level, used, budget, resident: resident() })
    }
}

/// A step that was taken, as the log tells it.
#[derive(Debug)]
pub struct News {
    before: Level,
    level: Level,
    used: Used,
    budget: usize,
    resident: Option<u64>,
}

impl News {
    /// Whether less is kept than before.
    pub fn is_bad(&self) -> bool {
        self.level > self.before
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let News { level, used, budget, resident, .. } = self;
        write!(f, "{} of {} in use (", Megabytes(used.total()), Megabytes(*budget))?;
        for (n, (name, bytes)) in used.kinds().iter().filter(|(_, bytes)| *bytes >= WORTH_TELLING).enumerate()
        {
            write!(f, "{}{name} {}", if n > 0 { ", " } else { "" }, Megabytes(*bytes))?;
        }
        if let Some(resident) = resident {
            write!(f, "; {} resident", Megabytes(usize::try_from(*resident).unwrap_or(usize::MAX)))?;
        }
        write!(f, "): {}", level.meaning())?;
        if self.is_bad() { write!(f, "; {}", used.remedy()) } else { Ok(()) }
    }
}

struct Megabytes(usize);

impl fmt::Display for Megabytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 as u64).saturating_mul(10) >> 20;
        write!(f, "{}.{} MB", tenths / 10, tenths % 10)
    }
}

/// The budget for a configured `max_memory`, where so many bytes are left.
pub fn budget(configured: Option<u64>, available: Option<u64>) -> u64 {
    match (configured, available) {
        (Some(bytes), _) => bytes,
        (None, Some(left)) if left < SMALL_MACHINE => left / 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
