//! The samples of one track that wait for their successor, and how they are cut into pieces.
//!
//! Invariants: decoding times grow by a millisecond at least, so no sample is without duration; a piece holds at most
//! [`MAX_SAMPLES`] samples and, unless one sample alone is larger, [`MAX_PIECE_BYTES`].

use crate::media::frame::{Kind, Role};
use crate::media::package::Piece;
use crate::wire::mp4::fragment::{Sample, fragment};
use crate::wire::mp4::{AUDIO_TRACK, VIDEO_TRACK};
use bytes::Bytes;
use std::collections::VecDeque;

/// Samples in one piece at most.
pub const MAX_SAMPLES: usize = 256;
/// Bytes of samples in one piece at most, unless a single sample is larger.
pub const MAX_PIECE_BYTES: usize = 4 << 20;

/// A sample whose duration is not known before the next one comes.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) dts: u64,
    pub(super) cts: i32,
    pub(super) sync: bool,
    pub(super) data: Bytes,
}

/// Where pieces end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// A piece is full when it lasts this long, in milliseconds.
    pub(super) full_ms: u64,
    /// A piece that began before this time ends at it.
    pub(super) at: u64,
    /// Pieces that are not full go out too.
    pub(super) all: bool,
}

/// One track's queue.
#[derive(Debug)]
pub(super) struct Queue {
    kind: Kind,
    held: VecDeque<Held>,
    bytes: usize,
    last_dts: Option<u64>,
    /// What the last sample lasts when no other follows, in milliseconds.
    period: u64,
}

impl Queue {
    pub(super) fn new(kind: Kind, period: u64) -> Queue {
        Queue { kind, held: VecDeque::new(), bytes: 0, last_dts: None, period }
    }

    /// Appends a sample. Its time is moved when it is not after the last one's; what it shows at stays.
    pub(super) fn push(&mut self, mut sample: Held) {
        if let Some(last) = self.last_dts {
            let dts = sample.dts.max(last.saturating_add(1));
            let moved = i32::try_from(dts.saturating_sub(sample.dts)).unwrap_or(i32::MAX);
            sample.cts = sample.cts.saturating_sub(if self.kind == Kind::Video { moved } else { 0 });
            sample.dts = dts;
            self.period = dts.saturating_sub(last);
        }
        self.last_dts = Some(sample.dts);
        self.bytes = self.bytes.saturating_add(sample.data.len());
        self.held.push_back(sample);
    }

    /// Time of the newest sample that ever came.
    pub(super) fn last_dts(&self) -> Option<u64> {
        self.last_dts
    }

    /// From the sample before the newest to that, in milliseconds.
    pub(super) fn period(&self) -> u64 {
        self.period
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first(&self) -> Option<&Held> {
        self.held.front()
    }

    pub(super) fn newest(&self) -> Option<&Held> {
        self.held.back()
    }

    /// From the first sample held to the newest, in milliseconds.
    pub(super) fn span(&self) -> u64 {
        match (self.first(), self.newest()) {
            (Some(first), Some(newest)) => newest.dts.saturating_sub(first.dts),
            _ => 0,
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.bytes = 0;
    }

    /// The next piece, if one is due: of samples whose successors are known.
    pub(super) fn next_piece(&mut self, cut: Cut, sequence: u32) -> Option<Piece> {
        let count = self.due(cut)?;
        let end = self.held.get(count)?.dts;
        self.take(count, end, sequence)
    }

    /// The next piece when nothing follows: of all samples, the newest of which lasts up to `end`, or as long as the one
    /// before it.
    pub(super) fn last_piece(&mut self, cut: Cut, end: Option<u64>, sequence: u32) -> Option<Piece> {
        if let Some(piece) = self.next_piece(cut, sequence) {
            return Some(piece);
        }
        let newest = self.newest()?.dts;
        let end = end.unwrap_or_else(|| newest.saturating_add(self.period));
        self.take(self.held.len(), end.max(newest.saturating_add(1)), sequence)
    }

    /// Whether [`Queue::next_piece`] has one.
    pub(super) fn is_due(&self, cut: Cut) -> bool {
        self.due(cut).is_some()
    }

    /// How many samples the next piece takes.
    fn due(&self, cut: Cut) -> Option<usize> {
        let first = self.first()?;
        let mut bytes = first.data.len();
        for (index, sample) in self.held.iter().enumerate().skip(1) {
            bytes = bytes.saturating_add(sample.data.len());
            let full = sample.dts.saturating_sub(first.dts) >= cut.full_ms
                || index >= MAX_SAMPLES
                || bytes > MAX_PIECE_BYTES;
            let crosses = first.dts < cut.at && sample.dts >= cut.at;
            let key = sample.sync && self.kind == Kind::Video;
            if full || crosses || key {
                return Some(index);
            }
        }
        Some(self.held.len().saturating_sub(1)).filter(|known| cut.all && *known > 0)
    }

    fn take(&mut self, count: usize, end: u64, sequence: u32) -> Option<Piece> {
        let taken: Vec<Held> = self.held.drain(..count.min(self.held.len())).collect();
        self.bytes = taken.iter().fold(self.bytes, |bytes, sample| bytes.saturating_sub(sample.data.len()));
        let first = taken.first()?;
        let ends = taken.iter().skip(1).map(|sample| sample.dts).chain([end]);
        let samples: Vec<Sample<'_>> = taken
            .iter()
            .zip(ends)
            .map(|(sample, end)| Sample {
                duration: u32::try_from(end.saturating_sub(sample.dts)).unwrap_or(u32::MAX),
                cts: sample.cts,
                sync: sample.sync,
                data: &sample.data,
            })
            .collect();
        let video = self.kind == Kind::Video;
        let track = if video { VIDEO_TRACK } else { AUDIO_TRACK };
        let role = if video && first.sync { Role::Key } else { Role::Delta };
        let payload = Bytes::from(fragment(sequence, track, first.dts, &samples));
        Some(Piece { role, kind: self.kind, dts: first.dts, payload })
    }
}
