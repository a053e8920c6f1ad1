//! What is in force and where each value comes from: what `-T` prints.

use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;

use super::parse::Token;
use super::schema::{self, Context, Directive};
use super::value::Kind;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// From the table of directives, or from what runs without a file.
    Default,
    /// From a line of a file.
    File {
        /// Its name as the caller or an `include` gave it.
        name: Rc<str>,
        /// Line, from 1.
        line: u32,
    },
    /// From the variable of the environment in this text.
    Environment(Rc<str>),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { name, line } => write!(f, "{name}:{line}"),
            Origin::Environment(name) => f.write_str(name),
        }
    }
}

/// A directive that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The block it stands in, by its place in [`Effective::blocks`].
    pub block: usize,
    /// Its name.
    pub name: &'static str,
    /// Its arguments as they could be written in a file.
    pub value: String,
    /// Who set it.
    pub origin: Origin,
}

/// A block that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands in it.
    pub context: Context,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// The block around it; the first, outside all blocks, is its own.
    pub parent: usize,
}

/// What was set, block by block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The blocks; the first is what is outside all blocks.
    pub blocks: Vec<Block>,
    /// What was set in them.
    pub settings: Vec<Setting>,
}

impl Effective {
    /// Where the directive `name` outside all blocks, or in the only block of `context`, was set.
    pub fn origin(&self, context: Context, name: &str) -> Origin {
        let here =
            |s: &&Setting| s.name == name && self.blocks.get(s.block).is_some_and(|b| b.context == context);
        self.settings.iter().find(here).map_or(Origin::Default, |s| s.origin.clone())
    }

    /// Where the directive `name` in the block of `context` of a vhost was set, or if it was not, where that block is
    /// enabled.
    pub fn origin_in(&self, vhost: &str, context: Context, name: &str) -> Origin {
        let in_vhost = |block: &Block| {
            let parent = self.blocks.get(block.parent).and_then(|parent| parent.name.as_deref());
            block.context == context && parent.unwrap_or_default() == vhost
        };
        let set = |name: &str| {
            let is_it = |s: &&Setting| s.name == name && self.blocks.get(s.block).is_some_and(in_vhost);
            self.settings.iter().find(is_it)
        };
        set(name).or_else(|| set("enabled")).map_or(Origin::Default, |s| s.origin.clone())
    }
}

/// The column at which origins begin, where the line is not longer.
const ORIGIN_AT: usize = 56;

impl std::fmt::Display for Effective {
    /// A whole file that means the same, each line with a comment that tells where its value comes from. A value that
    /// cannot be written (no default, or one that depends) stands in a comment.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut printer = Printer { what: self, children: HashMap::new(), settings: HashMap::new() };
        for (number, block) in self.blocks.iter().enumerate().skip(1) {
            printer.children.entry(block.parent).or_default().push(number);
        }
        for setting in &self.settings {
            printer.settings.entry(setting.block).or_default().push(setting);
        }
        let mut out = String::new();
        printer.block(Context::Root, Some(0), 0, &mut out);
        f.write_str(&out)
    }
}

/// What is printed, by the block it stands in.
struct Printer<'e> {
    what: &'e Effective,
    children: HashMap<usize, Vec<usize>>,
    settings: HashMap<usize, Vec<&'e Setting>>,
}

impl Printer<'_> {
    /// The directives of one block; without a number, of one that nobody wrote.
    fn block(&self, context: Context, number: Option<usize>, depth: usize, out: &mut String) {
        for directive in schema::directives(context) {
            match directive.kind {
                Kind::Block(inner) => {
                    let found = self.children(number, inner).next();
                    self.inner(inner, found.map(|(n, _)| n), directive.name, depth, out);
                }
                Kind::NamedBlock(inner) => {
                    for (found, block) in self.children(number, inner) {
                        let name = block.name.as_deref().unwrap_or("");
                        let head = match name {
                            "" => directive.name.to_owned(),
                            name => format!("{} {}", directive.name, quoted(name)),
                        };
                        self.inner(inner, Some(found), &head, depth, out);
                    }
                }
                _ => self.line(number, directive, depth, out),
            }
        }
    }

    fn children(&self, parent: Option<usize>, context: Context) -> impl Iterator<Item = (usize, &Block)> {
        let within = parent.and_then(|parent| self.children.get(&parent)).into_iter().flatten();
        let all = within.filter_map(|&number| Some((number, self.what.blocks.get(number)?)));
        all.filter(move |(_, block)| block.context == context)
    }

    fn inner(&self, context: Context, number: Option<usize>, head: &str, depth: usize, out: &mut String) {
        let indent = depth * 4;
        let _ = writeln!(out, "{:indent$}{head} {{", "");
        self.block(context, number, depth + 1, out);
        let _ = writeln!(out, "{:indent$}}}", "");
    }

    fn line(&self, block: Option<usize>, directive: &Directive, depth: usize, out: &mut String) {
        let within = block.and_then(|block| self.settings.get(&block)).into_iter().flatten();
        let mut sets = within.filter(|s| s.name == directive.name);
        self.value(sets.next().copied(), directive, depth, out);
        if matches!(directive.kind, Kind::Command) {
            sets.for_each(|set| self.value(Some(set), directive, depth, out));
        }
    }

    fn value(&self, set: Option<&Setting>, directive: &Directive, depth: usize, out: &mut String) {
        let (value, origin) = match set {
            Some(set) => (set.value.as_str(), &set.origin),
            None => (directive.default, &Origin::Default),
        };
        let end = if matches!(directive.kind, Kind::Params) { "" } else { ";" };
        let indent = depth * 4;
        let text = if set.is_none() && value.starts_with('(') {
            format!("{:indent$}# {} {value}", "", directive.name)
        } else {
            format!("{:indent$}{:<20} {value}{end}", "", directive.name)
        };
        let _ = writeln!(out, "{text:<ORIGIN_AT$} # {origin}");
    }
}

/// The arguments as they could be written in a file.
pub(super) fn written(args: &[Token<'_>]) -> String {
    let words: Vec<String> = args.iter().map(|a| quoted(a.text)).collect();
    words.join(" ")
}

fn quoted(text: &str) -> String {
    let plain = !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || matches!(c, ';' | '{' | '}' | '\'' | '"' | '#'));
    match (plain, text.contains('"')) {
        (true, _) => text.to_owned(),
        (false, false) => format!("\"{text}\""),
        (false, true) => format!("'{text}'"),
    }
}
