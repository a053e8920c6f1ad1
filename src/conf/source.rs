//! The texts that a configuration is made of: the file, what it includes, and variables of the environment.
//!
//! Tokens borrow from these texts while more of them are still being added, so each text has a cell of its own that
//! is filled once. Invariant: no more texts than there is room for, no more bytes in all than [`MAX_TOTAL`].

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::error::{Reports, Span};

/// Files that one configuration may include, counted each time they are.
pub const MAX_INCLUDED: usize = 1024;
/// Files within files.
pub const MAX_INCLUDE_DEPTH: u32 = 8;
/// Bytes of a file and all that it includes.
pub const MAX_TOTAL: usize = 4 << 20;

/// Where a text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file.
    File,
    /// The value of a variable of the environment.
    Environment,
    /// What runs without a file.
    BuiltIn,
}

/// A text and the name that messages give it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: Rc<str>,
    pub(super) text: String,
    pub(super) kind: Kind,
    /// The `include` that named it.
    pub(super) included_at: Option<Span>,
}

/// Texts on one shelf.
const SHELF: usize = 16;

/// All texts of one configuration, by the number in [`Span::file`].
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Shelves of [`SHELF`] texts, made when the first of them comes.
    shelves: Vec<OnceCell<Vec<OnceCell<Source>>>>,
    room: usize,
    used: Cell<usize>,
    bytes: Cell<usize>,
    words: Cell<u32>,
    stopped: Cell<bool>,
}

impl Sources {
    /// Room for one file, what it may include, and `variables` of the environment.
    pub(super) fn new(variables: usize) -> Self {
        let room = (1 + MAX_INCLUDED + variables).min(usize::from(u16::MAX));
        let mut shelves = Vec::new();
        shelves.resize_with(room.div_ceil(SHELF), OnceCell::new);
        Self { shelves, room, ..Self::default() }
    }

    /// Adds a text; `None` when there is no room.
    pub(super) fn add(&self, source: Source) -> Option<u16> {
        let number = self.used.get();
        let bytes = self.bytes.get().saturating_add(source.text.len());
        let empty = || std::iter::repeat_with(OnceCell::new).take(SHELF).collect();
        let shelf = self.shelves.get(number / SHELF)?.get_or_init(empty);
        if number >= self.room || bytes > MAX_TOTAL || shelf.get(number % SHELF)?.set(source).is_err() {
            return None;
        }
        self.used.set(number + 1);
        self.bytes.set(bytes);
        u16::try_from(number).ok()
    }

    /// The text with this number.
    pub(super) fn get(&self, number: u16) -> Option<&Source> {
        let number = usize::from(number);
        self.shelves.get(number / SHELF)?.get()?.get(number % SHELF)?.get()
    }

    /// All texts that were added, in that order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Source> {
        self.shelves.iter().map_while(OnceCell::get).flatten().map_while(OnceCell::get)
    }

    /// Counts one more word, and gives how many there are in all texts.
    pub(super) fn count_word(&self) -> u32 {
        self.words.set(self.words.get().saturating_add(1));
        self.words.get()
    }

    /// Reports, once, a limit that was passed; no more files are included from then on.
    pub(super) fn stop(&self, span: Span, message: String, reports: &mut Reports<'_>) {
        if !self.stopped.replace(true) {
            reports.error(span, message, None);
        }
    }

    /// Whether a limit was passed.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// The files around the text with this number, from the inside out, itself first.
    pub(super) fn chain(&self, number: u16) -> impl Iterator<Item = &Source> {
        std::iter::successors(self.get(number), |source| self.get(source.included_at?.file))
    }
}
