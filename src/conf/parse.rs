//! Text to tree: `name args… ;` and `name args… { … }`, every token with its place.
//!
//! The grammar is that of SRS, which is nginx's without escapes:
//! - space, tab, CR and LF separate; `;` and `{` end a word; `}` and `#` (a comment to the end of the line)
//!   are recognised only where a word could begin;
//! - `'…'` and `"…"` quote; after the closing quote only a separator, `;` or `{` may follow; an empty quoted
//!   argument is dropped.
//!
//! Invariants: the whole text is read whatever is wrong with it, unless a limit below is passed; nothing
//! recurses deeper than [`MAX_DEPTH`].
//! Deviations: a quoted word ends on the line where it began, so that a forgotten quote spoils one line only;
//! a stray `;` is a warning; a byte order mark at the start is skipped.

use super::error::{Reports, Span};
use super::source::Sources;

/// Bytes in a file.
pub const MAX_FILE: usize = 1 << 20;
/// Blocks within blocks.
pub const MAX_DEPTH: u32 = 16;
/// Arguments of one directive.
pub const MAX_ARGS: usize = 256;
/// Words and punctuation in a file and all that it includes.
pub const MAX_TOKENS: u32 = 200_000;

/// A word of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) span: Span,
    /// Written in quotes, so never the name of a directive by accident.
    pub(super) quoted: bool,
    /// The first thing on its line.
    pub(super) first: bool,
}

/// A directive as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node<'a> {
    pub(super) name: Token<'a>,
    pub(super) args: Vec<Token<'a>>,
    pub(super) block: Option<Vec<Node<'a>>>,
}

impl<'a> Node<'a> {
    /// The last word before the `;` or `{`.
    pub(super) fn last(&self) -> Token<'a> {
        self.args.last().copied().unwrap_or(self.name)
    }
}

/// Reads the text with the number `file`; what is wrong with it goes to `reports`, and the tree holds what could be read. `None`, after
/// one error that says why, for what is no text or passes a limit: it is not worth checking.
pub(super) fn parse<'a>(sources: &'a Sources, file: u16, reports: &mut Reports<'_>) -> Option<Vec<Node<'a>>> {
    let text = sources.get(file)?.text.as_str();
    let mut parser =
        Parser { sources, file, text, pos: 0, line: 1, col: 1, first: true, stopped: false, reports };
    if parser.rest().starts_with('\u{feff}') {
        parser.pos = '\u{feff}'.len_utf8();
    }
    if parser.is_binary() {
        return None;
    }
    let nodes = parser.block(0, None);
    (!parser.stopped).then_some(nodes)
}

/// Separators, and what looks like one.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}')
}

enum Item<'a> {
    Word(Token<'a>),
    Semicolon(Span),
    Open(Span),
    Close(Span),
    End,
}

struct Parser<'a, 'r, 't> {
    sources: &'a Sources,
    file: u16,
    text: &'a str,
    pos: usize,
    line: u32,
    col: u32,
    /// Nothing but space stands on this line so far.
    first: bool,
    /// A limit was passed and reported; the rest of the file is not read.
    stopped: bool,
    reports: &'r mut Reports<'t>,
}

impl<'a> Parser<'a, '_, '_> {
    fn rest(&self) -> &'a str {
        self.text.get(self.pos..).unwrap_or("")
    }

    fn here(&self) -> Span {
        Span { file: self.file, line: self.line, col: self.col, width: 1 }
    }

    fn bump(&mut self, c: char) {
        self.pos += c.len_utf8();
        if c == '\n' {
            (self.line, self.col, self.first) = (self.line + 1, 1, true);
        } else {
            self.col += 1;
        }
    }

    /// One error for a file that is not text, instead of one for each word in it.
    fn is_binary(&mut self) -> bool {
        let start = Span { file: self.file, ..Span::START };
        let mut span = start;
        for c in self.rest().chars() {
            if c.is_control() && !matches!(c, '\t' | '\r' | '\n') {
                let message =
                    format!("not a text file: it holds the control character U+{:04X}", u32::from(c));
                self.reports.error(span, message, None);
                return true;
            }
            if c == '\n' {
                span = Span { line: span.line + 1, ..start };
            } else {
                span.col += 1;
            }
        }
        false
    }

    fn stop(&mut self, span: Span, message: String) {
        if !self.stopped {
            self.reports.error(span, message, None);
        }
        self.stopped = true;
    }

    fn next(&mut self) -> Item<'a> {
        self.skip_space();
        let span = self.here();
        let Some(c) = self.rest().chars().next().filter(|_| !self.stopped) else { return Item::End };
        if self.sources.count_word() > MAX_TOKENS {
            self.stop(span, format!("more than {MAX_TOKENS} words; the rest of the file is not read"));
            return Item::End;
        }
        match c {
            ';' | '{' | '}' => {
                self.bump(c);
                self.first = false;
                match c {
                    ';' => Item::Semicolon(span),
                    '{' => Item::Open(span),
                    _ => Item::Close(span),
                }
            }
            '"' | '\'' => Item::Word(self.quoted(c)),
            _ => Item::Word(self.bare()),
        }
    }

    fn skip_space(&mut self) {
        let mut comment = false;
        while let Some(c) = self.rest().chars().next() {
            comment = c != '\n' && (comment || c == '#');
            if !comment && !is_space(c) {
                break;
            }
            if !comment && !c.is_ascii() {
                self.lookalike(c);
            }
            self.bump(c);
        }
    }

    /// What text copied from a web page may hold in place of a space, a quote or a semicolon.
    fn lookalike(&mut self, c: char) {
        let message = format!("the character U+{:04X} only looks like one that belongs here", u32::from(c));
        let help = String::from("type it again: a plain space, `\"` or `;`");
        self.reports.error(self.here(), message, Some(help));
    }

    fn bare(&mut self) -> Token<'a> {
        let (start, first, mut span) = (self.pos, self.first, self.here());
        self.first = false;
        while let Some(c) = self.rest().chars().next().filter(|&c| !is_space(c) && c != ';' && c != '{') {
            if matches!(c, '“' | '”' | '；') {
                self.lookalike(c);
            }
            self.bump(c);
        }
        span.width = self.col - span.col;
        Token { text: self.text.get(start..self.pos).unwrap_or(""), span, quoted: false, first }
    }

    fn quoted(&mut self, quote: char) -> Token<'a> {
        let (first, mut span) = (self.first, self.here());
        self.first = false;
        self.bump(quote);
        let start = self.pos;
        let mut end = None;
        while let Some(c) = self.rest().chars().next().filter(|&c| c != '\n') {
            if c == quote {
                end = Some(self.pos);
                self.bump(c);
                break;
            }
            self.bump(c);
        }
        span.width = self.col - span.col;
        let after = self.rest().chars().next();
        if end.is_none() {
            let place = Span { width: 1, ..span };
            self.reports.error(place, format!("this {quote} is not closed on its line"), None);
        } else if after.is_some_and(|c| !is_space(c) && c != ';' && c != '{') {
            let message = String::from("after a closing quote only a space, `;` or `{` may follow");
            self.reports.error(self.here(), message, None);
        }
        let text = self.text.get(start..end.unwrap_or(self.pos)).unwrap_or("");
        Token { text, span, quoted: true, first }
    }

    /// The directives up to the `}` that closes the block opened at `opener`, or to the end of the file.
    fn block(&mut self, depth: u32, opener: Option<Span>) -> Vec<Node<'a>> {
        let mut nodes = Vec::new();
        if depth > MAX_DEPTH {
            let place = opener.unwrap_or(Span { file: self.file, ..Span::START });
            self.stop(place, format!("blocks are nested more than {MAX_DEPTH} deep"));
        }
        loop {
            match self.next() {
                Item::Word(name) if name.text.is_empty() => {}
                Item::Word(name) => {
                    let (node, closes) = self.directive(name, depth);
                    nodes.push(node);
                    if closes && opener.is_some() {
                        return nodes;
                    }
                }
                Item::Semicolon(span) => {
                    self.reports.warn(span, String::from("this `;` ends nothing"), None);
                }
                Item::Open(span) => {
                    self.reports.error(span, String::from("a block must have a name before its `{`"), None);
                    self.block(depth + 1, Some(span));
                }
                Item::Close(_) if opener.is_some() => return nodes,
                Item::Close(span) => {
                    self.reports.error(span, String::from("this `}` closes nothing"), None);
                }
                Item::End => {
                    if let Some(span) = opener.filter(|_| !self.stopped) {
                        self.reports.error(span, String::from("the block opened here has no `}`"), None);
                    }
                    return nodes;
                }
            }
        }
    }

    /// One directive, and whether it ended with the `}` of the block around it.
    fn directive(&mut self, name: Token<'a>, depth: u32) -> (Node<'a>, bool) {
        let mut node = Node { name, args: Vec::new(), block: None };
        let mut too_many = None;
        let closes = loop {
            match self.next() {
                Item::Word(word) if word.text.is_empty() => {}
                Item::Word(word) if node.args.len() >= MAX_ARGS => {
                    too_many = too_many.or(Some(word.span));
                }
                Item::Word(word) => node.args.push(word),
                Item::Semicolon(_) => break false,
                Item::Open(span) => {
                    node.block = Some(self.block(depth + 1, Some(span)));
                    break false;
                }
                ending @ (Item::Close(_) | Item::End) => {
                    if !self.stopped {
                        let message = format!("missing `;` after `{}`", node.last().text);
                        self.reports.error(node.last().span.after(), message, None);
                    }
                    break matches!(ending, Item::Close(_));
                }
            }
        };
        if let Some(span) = too_many {
            self.reports.error(span, format!("more than {MAX_ARGS} arguments; is a `;` missing?"), None);
        }
        (node, closes)
    }
}
