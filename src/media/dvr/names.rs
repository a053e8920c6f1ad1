//! Where recordings are: names from a template such as `./rec/[app]/[stream].[timestamp].flv`, and which files are
//! recordings by such a template.
//!
//! ```text
//!   ./rec/[app]/[stream].[timestamp].flv  =  root ./rec  +  [app] "/" [stream] "." [timestamp] ".flv"
//!   while it is written: .tmp before the extension      when the name is taken: -1, -2, … before the extension
//! ```
//!
//! A stream's name is safe as a path already ([`crate::wire::names`]); here it loses what some file systems refuse, dots
//! at the beginning, and length. Variables are replaced once: a stream whose name looks like one stays what it is.

use crate::wire::names::StreamName;
use std::fmt::Write;

/// What a directory alone stands for.
const IN_DIRECTORY: &str = "[stream].[timestamp].flv";
/// Bytes of a segment of a path at most; most file systems take 255.
const MAX_SEGMENT: usize = 200;
/// Bytes of an extension, with its dot; more is part of the name.
const MAX_EXTENSION: usize = 16;
/// What the file that is being written has before its extension.
pub const UNFINISHED: &str = ".tmp";

/// A moment, as the operator's clock shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct When {
    /// Year, month, day, hour, minute, second.
    pub date: (i32, u32, u32, u32, u32, u32),
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Vhost,
    App,
    Stream,
    /// A number of so many digits; 0: any number of them.
    Number(Field, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Milli,
    Timestamp,
}

const VARIABLES: [(&str, Part); 11] = [
    ("[vhost]", Part::Vhost),
    ("[app]", Part::App),
    ("[stream]", Part::Stream),
    ("[2006]", Part::Number(Field::Year, 4)),
    ("[01]", Part::Number(Field::Month, 2)),
    ("[02]", Part::Number(Field::Day, 2)),
    ("[15]", Part::Number(Field::Hour, 2)),
    ("[04]", Part::Number(Field::Minute, 2)),
    ("[05]", Part::Number(Field::Second, 2)),
    ("[999]", Part::Number(Field::Milli, 3)),
    ("[timestamp]", Part::Number(Field::Timestamp, 0)),
];

/// A template, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    root: String,
    parts: Vec<Part>,
}

impl Template {
    /// Takes `dvr_path` apart. A path that does not end in `.flv`, `.mp4` or `.ts` is a directory.
    pub fn new(path: &str) -> Template {
        let whole = if [".flv", ".mp4", ".ts"].iter().any(|extension| path.ends_with(extension)) {
            path.to_owned()
        } else {
            format!("{}/{IN_DIRECTORY}", path.trim_end_matches('/'))
        };
        let variable = VARIABLES.iter().filter_map(|(name, _)| whole.find(name)).min().unwrap_or(whole.len());
        let fixed = whole.get(..variable).unwrap_or("");
        let (root, rest) = match fixed.rfind('/').and_then(|slash| whole.split_at_checked(slash + 1)) {
            Some((root, rest)) => (root.to_owned(), rest.to_owned()),
            None => (String::from("./"), whole),
        };
        Template { root, parts: parts(&rest) }
    }

    /// The directory that all recordings are below, with a slash at its end.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The file for this stream that begins at this moment.
    pub fn path(&self, stream: &StreamName, when: When) -> String {
        let mut name = String::new();
        let (year, month, day, hour, minute, second) = when.date;
        for part in &self.parts {
            let _ = match part {
                Part::Text(text) => write!(name, "{text}"),
                Part::Vhost => write!(name, "{}", safe(stream.vhost())),
                Part::App => write!(name, "{}", safe(stream.app())),
                Part::Stream => write!(name, "{}", safe(stream.stream())),
                Part::Number(Field::Year, _) => write!(name, "{year:04}"),
                Part::Number(Field::Month, _) => write!(name, "{month:02}"),
                Part::Number(Field::Day, _) => write!(name, "{day:02}"),
                Part::Number(Field::Hour, _) => write!(name, "{hour:02}"),
                Part::Number(Field::Minute, _) => write!(name, "{minute:02}"),
                Part::Number(Field::Second, _) => write!(name, "{second:02}"),
                Part::Number(Field::Milli, _) => write!(name, "{:03}", when.unix_ms % 1000),
                Part::Number(Field::Timestamp, _) => write!(name, "{}", when.unix_ms),
            };
        }
        let segments: Vec<String> = name.split('/').map(segment).collect();
        format!("{}{}", self.root, segments.join("/"))
    }

    /// Whether the file `name`, a path below the root, could be a recording of this vhost.
    pub fn is_recording(&self, name: &str, vhost: &str) -> bool {
        let (stem, extension) = split_extension(name);
        !stem.ends_with(UNFINISHED) && self.fits(stem, extension, vhost)
    }

    /// The name that the file `name` gets when it is complete, if it could be a recording of this vhost that is not.
    pub fn unfinished<'a>(&self, name: &'a str, vhost: &str) -> Option<(&'a str, &'a str)> {
        let (stem, extension) = split_extension(name);
        let stem = stem.strip_suffix(UNFINISHED)?;
        self.fits(stem, extension, vhost).then_some((stem, extension))
    }

    fn fits(&self, stem: &str, extension: &str, vhost: &str) -> bool {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let bare = stem.rsplit_once('-').filter(|(_, n)| number(n)).map(|(bare, _)| bare);
        let vhost = safe(vhost);
        [Some(stem), bare].into_iter().flatten().any(|stem| {
            let name: Vec<char> = stem.chars().chain(extension.chars()).collect();
            matches(&self.pattern(&vhost), &name)
        })
    }

    fn pattern(&self, vhost: &str) -> Vec<Token> {
        let mut tokens = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => tokens.extend(text.chars().map(Token::Char)),
                Part::Vhost => tokens.extend(vhost.chars().map(Token::Char)),
                Part::App => tokens.push(Token::Some { slashes: true, digits: false }),
                Part::Stream => tokens.push(Token::Some { slashes: false, digits: false }),
                Part::Number(_, 0) => tokens.push(Token::Some { slashes: false, digits: true }),
                Part::Number(_, digits) => tokens.extend(std::iter::repeat_n(Token::Digit, *digits)),
            }
        }
        tokens
    }
}

/// What stands for characters of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    Digit,
    /// One or more.
    Some {
        slashes: bool,
        digits: bool,
    },
}

/// Whether the tokens stand for the whole name. Each token is looked at once for each place it may begin at.
fn matches(tokens: &[Token], name: &[char]) -> bool {
    // The places up to which the tokens so far may reach.
    let mut places = vec![false; name.len() + 1];
    places.iter_mut().take(1).for_each(|place| *place = true);
    for token in tokens {
        let mut next = vec![false; name.len() + 1];
        let mut open = false;
        for (n, c) in name.iter().enumerate() {
            let here = places.get(n).copied().unwrap_or(false);
            let reached = match token {
                Token::Char(wanted) => here && c == wanted,
                Token::Digit => here && c.is_ascii_digit(),
                Token::Some { slashes, digits } => {
                    let fits = (*slashes || *c != '/') && (!*digits || c.is_ascii_digit());
                    open = fits && (open || here);
                    open
                }
            };
            next.get_mut(n + 1).into_iter().for_each(|place| *place = reached);
        }
        places = next;
    }
    places.last().copied().unwrap_or(false)
}

fn parts(template: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let variable = VARIABLES.iter().find_map(|(name, part)| Some((rest.strip_prefix(name)?, part)));
        if let Some((after, part)) = variable {
            parts.push(part.clone());
            rest = after;
            continue;
        }
        let end = rest.char_indices().skip(1).map(|(at, _)| at);
        let end = end
            .chain([rest.len()])
            .find(|at| *at == rest.len() || rest.get(*at..).is_some_and(|r| r.starts_with('[')));
        let (text, after) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, ""));
        parts.push(Part::Text(text.to_owned()));
        rest = after;
    }
    parts
}

/// The name without what FAT refuses, and not hidden. No name has control characters or climbs.
fn safe(name: &str) -> String {
    let plain = name.replace(['<', '>', ':', '"', '|', '?', '*', '\\'], "_");
    let shown = |segment: &str| match segment.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => segment.to_owned(),
    };
    plain.split('/').map(shown).collect::<Vec<_>>().join("/")
}

/// A segment that is not too long and does not look unfinished.
fn segment(name: &str) -> String {
    let (stem, extension) = match split_extension(name) {
        (stem, extension) if extension.len() > MAX_EXTENSION || stem.is_empty() => (name, ""),
        both => both,
    };
    let hash =
        stem.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mut stem = match stem.strip_suffix(UNFINISHED) {
        Some(stem) => format!("{stem}_tmp"),
        None => stem.to_owned(),
    };
    if stem.len() > MAX_SEGMENT {
        let cut = (0..=MAX_SEGMENT).rev().find(|at| stem.is_char_boundary(*at)).unwrap_or(0);
        stem.truncate(cut);
        let _ = write!(stem, "~{hash:08x}");
    }
    stem + extension
}

/// A name and its extension, with the dot.
pub fn split_extension(name: &str) -> (&str, &str) {
    let of_last = name.rfind('/').map_or(0, |slash| slash + 1);
    match name.rfind('.').filter(|at| *at >= of_last) {
        Some(at) => name.split_at_checked(at).unwrap_or((name, "")),
        None => (name, ""),
    }
}
