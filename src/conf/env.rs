//! Variables of the environment that override the file: `RUNNEL_<SECTION>_<NAME>`, and the names SRS gives them,
//! `SRS_<SECTION>_<NAME>`.
//!
//! The section is the path of blocks: `RUNNEL_LISTEN`, `RUNNEL_HTTP_SERVER_LISTEN`, `RUNNEL_VHOST_PLAY_GOP_CACHE`. A
//! variable of a vhost counts for every vhost, as in SRS. An empty variable counts as not set. Where both `RUNNEL_` and
//! `SRS_` name a directive, `RUNNEL_` wins.

use super::check::context_path;
use super::error::{Reports, Span};
use super::parse::{Node, Token};
use super::schema::{self, Context};
use super::source::{Kind, Source, Sources};
use super::suggest::nearest;
use super::{compat, srs};

const OURS: &str = "RUNNEL_";
const SRS: &str = "SRS_";

/// One directive that the environment sets.
#[derive(Debug)]
struct Override<'a> {
    context: Context,
    node: Node<'a>,
}

/// All that the environment sets.
#[derive(Debug)]
pub(super) struct Environment<'a> {
    list: Vec<Override<'a>>,
}

/// Whether a variable of this name is looked at.
pub(super) fn concerns(name: &str) -> bool {
    name.starts_with(OURS) || name.starts_with(SRS)
}

impl<'a> Environment<'a> {
    /// Takes what concerns us from `variables` (name and value).
    pub(super) fn read(
        sources: &'a Sources,
        variables: &[(String, String)],
        reports: &mut Reports<'_>,
    ) -> Self {
        let mut list: Vec<Override<'a>> = Vec::new();
        for prefix in [OURS, SRS] {
            for (name, value) in variables.iter().filter(|(_, value)| !value.trim().is_empty()) {
                let Some(rest) = name.strip_prefix(prefix) else { continue };
                let label = format!("environment {name}").into();
                let source =
                    Source { name: label, text: value.clone(), kind: Kind::Environment, included_at: None };
                let Some(file) = sources.add(source) else { continue };
                let here = Span { file, ..Span::START };
                match find(rest) {
                    Some((context, known)) => {
                        let node = node(sources, file, known);
                        let twin = |o: &&Override<'_>| o.context == context && o.node.name.text == known;
                        if list.iter().find(twin).is_none() {
                            list.push(Override { context, node });
                        }
                    }
                    None if prefix == OURS => {
                        let message = format!("`{name}` names no directive{}", suggestion(rest));
                        reports.warn(here, message, None);
                    }
                    None => {
                        let why = why_of_srs(rest).filter(|_| !matches!(value.trim(), "off" | "0"));
                        if let Some(why) = why {
                            reports.warn(here, srs::no_effect(name, why), None);
                        }
                    }
                }
            }
        }
        Self { list }
    }

    /// The directives that the environment sets in `context`.
    pub(super) fn nodes(&self, context: Context) -> impl Iterator<Item = &Node<'a>> {
        self.list.iter().filter(move |o| o.context == context).map(|o| &o.node)
    }

    /// A place in the environment that sets something in `context` or in a block within it.
    pub(super) fn within(&self, context: Context) -> Option<Span> {
        let inside = |c: Context| std::iter::successors(Some(c), |c| c.parent()).any(|c| c == context);
        self.list.iter().find(|o| inside(o.context)).map(|o| o.node.name.span)
    }
}

/// The directive that the part of a variable's name behind its prefix means.
fn find(rest: &str) -> Option<(Context, &'static str)> {
    // SRS 7 has these two in a block of their own.
    let rest = match rest {
        "RTMP_LISTEN" => "LISTEN",
        "RTMP_CHUNK_SIZE" => "CHUNK_SIZE",
        other => other,
    };
    Context::ALL.into_iter().find_map(|context| {
        let name = rest.strip_prefix(&prefix(context))?.to_ascii_lowercase();
        let ours = schema::find(context, &name).filter(|d| !d.kind.is_block());
        let known = ours.map(|d| d.name).or_else(|| compat::same_place(context, &name));
        let known = known.or_else(|| srs::names(context).into_iter().find(|n| *n == name));
        known.map(|known| (context, known))
    })
}

/// `VHOST_PLAY_` for `play`.
fn prefix(context: Context) -> String {
    context_path(context).iter().map(|part| format!("{}_", part.to_ascii_uppercase())).collect()
}

/// Why the variable has no effect, if its name begins with a block of SRS.
fn why_of_srs(rest: &str) -> Option<&'static str> {
    let why = |context: Context| {
        let name = rest.strip_prefix(&prefix(context))?;
        let is_it = |block: &&str| name.starts_with(&format!("{}_", block.to_ascii_uppercase()));
        srs::reason(context, srs::names(context).into_iter().find(is_it)?)
    };
    why(Context::Root).or_else(|| why(Context::Vhost))
}

fn suggestion(rest: &str) -> String {
    let best = Context::ALL.into_iter().find_map(|context| {
        let name = rest.strip_prefix(&prefix(context))?.to_ascii_lowercase();
        let mut names = schema::directives(context).iter().map(|d| d.name);
        Some(format!("{}{}", prefix(context), nearest(&name, &mut names)?.to_ascii_uppercase()))
    });
    best.map(|name| format!("; did you mean `{OURS}{name}`?")).unwrap_or_default()
}

/// The directive as if it stood in a file: several words only where several are taken.
fn node<'a>(sources: &'a Sources, file: u16, name: &'static str) -> Node<'a> {
    let text = sources.get(file).map_or("", |s| s.text.as_str());
    let trimmed = text.trim();
    let many = Context::ALL.iter().any(|&c| schema::find(c, name).is_some_and(|d| d.kind.adds_up()));
    let words: Vec<&str> = if many { trimmed.split_ascii_whitespace().collect() } else { vec![trimmed] };
    let chars = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let mut from = 0;
    let mut args = Vec::with_capacity(words.len());
    for word in words {
        let at = from + text.get(from..).and_then(|rest| rest.find(word)).unwrap_or(0);
        let col = chars(text.get(..at).unwrap_or("")).saturating_add(1);
        let span = Span { file, line: 1, col, width: chars(word) };
        args.push(Token { text: word, span, quoted: true, first: false });
        from = at + word.len();
    }
    let span = Span { file, ..Span::START };
    Node { name: Token { text: name, span, quoted: false, first: false }, args, block: None }
}
