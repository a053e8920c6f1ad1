//! Tree to typed configuration, by the table of directives; every mistake on the way is reported.

mod cluster;
mod dvr;
mod guard;
mod hls;
mod memory;
mod process;
mod together;

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use super::effective::{Block, Effective, Origin, Setting, written};
use super::env::Environment;
use super::error::{Reports, Span};
use super::parse::{MAX_ARGS, Node, Token};
use super::process::Open;
use super::schema::{self, Context, Directive};
use super::source::{self, Sources};
use super::suggest::nearest;
use super::typed::{Config, DEFAULT_VHOST, Draft, Vhost};
use super::value::{self, Kind, Value, clip};
use super::{Loader, compat, include, srs};

/// Characters in the name of a vhost, as many as a host name may have.
const MAX_HOST: usize = 255;

/// Checks the directives of a whole file. What is returned counts only if no error was reported.
pub(super) fn check<'a>(
    nodes: Vec<Node<'a>>,
    sources: &'a Sources,
    environment: &Environment<'a>,
    loader: &mut Loader<'_>,
    reports: &mut Reports<'_>,
) -> (Config, Effective) {
    let draft = Draft::default();
    let root = Block { context: Context::Root, name: None, parent: 0 };
    let (blocks, set) = (vec![root], Vec::new());
    let (fresh, fresh_open) = (draft.vhost.clone(), draft.open.clone());
    let names = HashSet::new();
    let mut checker =
        Checker { draft, fresh, fresh_open, names, blocks, set, sources, environment, loader, reports };
    checker.block(0, nodes);
    checker.together();
    let settings = checker.set.into_iter().map(|set| set.finish(sources)).collect();
    (checker.draft.config, Effective { blocks: checker.blocks, settings })
}

/// The names of the blocks that `context` stands in, from the outside in.
pub(super) fn context_path(context: Context) -> Vec<&'static str> {
    let chain: Vec<Context> = std::iter::successors(Some(context), |c| c.parent()).collect();
    chain.into_iter().rev().map(Context::name).filter(|name| !name.is_empty()).collect()
}

/// What the file or the environment sets, and where.
#[derive(Debug)]
struct Set {
    block: usize,
    context: Context,
    name: &'static str,
    span: Span,
    value: String,
}

impl Set {
    fn finish(self, sources: &Sources) -> Setting {
        let Self { block, name, span, value, .. } = self;
        let origin = match sources.get(span.file) {
            Some(source) => match source.kind {
                source::Kind::File => Origin::File { name: source.name.clone(), line: span.line },
                source::Kind::Environment => Origin::Environment(source.name.clone()),
                source::Kind::BuiltIn => Origin::Default,
            },
            None => Origin::Default,
        };
        Setting { block, name, value, origin }
    }
}

struct Checker<'a, 'r, 't, 'l> {
    draft: Draft,
    /// A vhost with every directive at its default, as that of `draft` is between vhosts.
    fresh: Vhost,
    /// The same of the blocks within, of which there may be several.
    fresh_open: Open,
    /// Names of vhosts in lower case.
    names: HashSet<String>,
    /// The blocks that were entered; the first is what is outside all blocks.
    blocks: Vec<Block>,
    /// What is set in them.
    set: Vec<Set>,
    sources: &'a Sources,
    environment: &'r Environment<'a>,
    loader: &'r mut Loader<'l>,
    reports: &'r mut Reports<'t>,
}

impl<'a> Checker<'a, '_, '_, '_> {
    fn context(&self, block: usize) -> Context {
        self.blocks.get(block).map_or(Context::Root, |b| b.context)
    }

    fn enter(&mut self, parent: usize, context: Context, name: Option<String>) -> usize {
        self.blocks.push(Block { context, name, parent });
        self.blocks.len() - 1
    }

    /// What was checked so far, to forget what comes after.
    fn mark(&self) -> (usize, usize) {
        (self.blocks.len(), self.set.len())
    }

    fn forget(&mut self, (blocks, set): (usize, usize)) {
        self.blocks.truncate(blocks);
        self.set.truncate(set);
    }

    fn is_environment(&self, span: Span) -> bool {
        self.sources.get(span.file).is_some_and(|s| s.kind == source::Kind::Environment)
    }

    /// The directives of a block, with what it includes, as today's SRS would have them, overridden.
    fn prepare(&mut self, context: Context, nodes: Vec<Node<'a>>) -> Vec<Node<'a>> {
        let mut nodes = self.gather(context, nodes);
        for directive in schema::directives(context) {
            let (inner, name) = match directive.kind {
                Kind::Block(inner) => (inner, None),
                Kind::NamedBlock(inner @ Context::Vhost) => (inner, Some(DEFAULT_VHOST)),
                _ => continue,
            };
            let there = nodes.iter().any(|n| directive.is(n.name.text));
            if let Some(span) = self.environment.within(inner).filter(|_| !there) {
                let token = |text| Token { text, span, quoted: false, first: false };
                let args = name.map(token).into_iter().collect();
                nodes.push(Node { name: token(directive.name), args, block: Some(Vec::new()) });
            }
        }
        let environment = self.environment;
        nodes.splice(0..0, environment.nodes(context).cloned());
        compat::modernize(context, nodes, self.reports)
    }

    /// The directives of a block and of what it includes, taken apart where a `;` is missing.
    fn gather(&mut self, context: Context, nodes: Vec<Node<'a>>) -> Vec<Node<'a>> {
        let plain = |node: &Node<'_>| node.name.text != include::NAME && !node.args.iter().any(may_begin);
        if nodes.iter().all(plain) {
            return nodes;
        }
        let mut whole = Vec::with_capacity(nodes.len());
        for node in self.split(context, nodes) {
            if node.name.text != include::NAME {
                whole.push(node);
                continue;
            }
            for nodes in include::read(&node, self.sources, self.loader, self.reports) {
                whole.extend(self.gather(context, nodes));
            }
        }
        whole
    }

    fn block(&mut self, block: usize, nodes: Vec<Node<'a>>) {
        let context = self.context(block);
        let nodes = self.prepare(context, nodes);
        // What vhosts inherit is read before them.
        let (vhosts, mut queue): (VecDeque<_>, VecDeque<_>) =
            nodes.into_iter().partition(|n| n.name.text == "vhost");
        queue.extend(vhosts);
        let mut seen: Vec<(&str, Span)> = Vec::new();
        while let Some(mut node) = queue.pop_front() {
            let Some(directive) = schema::find(context, node.name.text) else {
                self.foreign(context, &node);
                continue;
            };
            let before = seen.iter().find(|(name, _)| *name == directive.name).map(|(_, span)| *span);
            let overridden = before.is_some_and(|span| self.is_environment(span));
            if overridden && node.block.is_none() || !self.has_right_shape(directive, &node) {
                continue;
            }
            let named = matches!(directive.kind, Kind::NamedBlock(_) | Kind::Command);
            match before {
                Some(_) if directive.kind.adds_up() => continue,
                Some(first) if !named => {
                    self.repeated(block, directive, node, first);
                    continue;
                }
                Some(_) => {}
                None => seen.push((directive.name, node.name.span)),
            }
            if directive.kind.adds_up() && !self.is_environment(node.name.span) {
                let others = queue.iter().filter(|n| directive.is(n.name.text));
                node.args.extend(others.flat_map(|n| n.args.iter().copied()));
                if let Some(extra) = node.args.get(MAX_ARGS) {
                    let message = format!("more than {MAX_ARGS} arguments for `{}`", directive.name);
                    self.reports.error(extra.span, message, None);
                    continue;
                }
            }
            self.directive(block, directive, node);
        }
    }

    fn directive(&mut self, block: usize, directive: &'static Directive, node: Node<'a>) {
        let span = node.args.first().map_or(node.name.span, |a| a.span);
        let context = self.context(block);
        match (directive.kind, node.block) {
            (Kind::Block(inner), Some(nodes)) => {
                let inner = self.enter(block, inner, None);
                self.block(inner, nodes);
            }
            (Kind::NamedBlock(Context::Vhost), Some(nodes)) => {
                if let Some(name) = node.args.first() {
                    self.vhost(block, *name, nodes);
                }
            }
            (Kind::NamedBlock(inner), Some(nodes)) => {
                self.process(block, inner, node.name.span, node.args.first().copied(), nodes);
            }
            (Kind::Params, Some(nodes)) => {
                let (words, value) = self.arguments(&nodes);
                directive.apply(&mut self.draft, Value::Mounts(words));
                self.set.push(Set { block, context, name: directive.name, span, value });
            }
            _ => {
                if let Some(value) = value::read(directive, &node.args, self.reports) {
                    directive.apply(&mut self.draft, value);
                    let value = written(&node.args);
                    self.set.push(Set { block, context, name: directive.name, span, value });
                }
            }
        }
    }

    fn vhost(&mut self, parent: usize, name: Token<'a>, nodes: Vec<Node<'a>>) {
        if name.text.len() > MAX_HOST || name.text.contains(['/', ':', '[', ']']) {
            let message = format!("`{}` is not a host name; a port does not belong to it", clip(name.text));
            self.reports.error(name.span, message, None);
        }
        name.text.clone_into(&mut self.draft.vhost.name);
        self.draft.vhost.chunk_size = self.draft.config.chunk_size;
        let mark = self.mark();
        let inner = self.enter(parent, Context::Vhost, Some(name.text.to_owned()));
        self.block(inner, nodes);
        let vhost = std::mem::replace(&mut self.draft.vhost, self.fresh.clone());
        if !self.names.insert(name.text.to_ascii_lowercase()) {
            self.forget(mark);
            let message = format!("vhost `{}` stands above already; this one has no effect", clip(name.text));
            self.reports.warn(name.span, message, None);
        } else {
            self.draft.config.vhosts.push(Rc::new(vhost));
        }
    }

    /// SRS uses the first; the mistakes in the others are reported all the same.
    fn repeated(&mut self, parent: usize, directive: &'static Directive, node: Node<'a>, first: Span) {
        let span = node.name.span;
        let file = match self.sources.get(first.file).filter(|_| first.file != span.file) {
            Some(source) => format!(" of {}", source.name),
            None => String::new(),
        };
        let (name, line) = (directive.name, first.line);
        let message = format!("`{name}` stands at line {line}{file} already; this one has no effect");
        self.reports.warn(span, message, None);
        if let (Kind::Block(inner), Some(nodes)) = (directive.kind, node.block) {
            let (draft, mark) = (self.draft.clone(), self.mark());
            let inner = self.enter(parent, inner, None);
            self.block(inner, nodes);
            self.draft = draft;
            self.forget(mark);
        }
    }

    /// Whether `node` has as many arguments as `directive` takes, and a block only where it takes one.
    fn has_right_shape(&mut self, directive: &Directive, node: &Node<'_>) -> bool {
        let name = directive.name;
        let (args, block) = match directive.kind {
            Kind::Block(_) => (0..=0, true),
            Kind::NamedBlock(Context::Vhost) => (1..=1, true),
            Kind::NamedBlock(_) => (0..=1, true),
            Kind::Params => (0..=0, true),
            Kind::Command => (1..=MAX_ARGS, false),
            kind if kind.adds_up() => (1..=usize::MAX, false),
            _ => (1..=1, false),
        };
        let fault = if block != node.block.is_some() {
            (node.name.span, format!("`{name}` takes {}", directive.kind.takes()))
        } else if node.args.len() < *args.start() {
            (node.name.span, format!("`{name}` takes {}, but nothing is given", directive.kind.takes()))
        } else if let Some(extra) = node.args.get(*args.end()..).and_then(<[_]>::first) {
            match extra.first.then(|| node.args.first()).flatten().filter(|_| !block) {
                Some(one) => (one.span.after(), format!("missing `;` after `{name} {}`", clip(one.text))),
                None => (extra.span, format!("`{name}` takes {}; this is too much", directive.kind.takes())),
            }
        } else {
            return true;
        };
        self.reports.error(fault.0, fault.1, None);
        false
    }

    /// Takes apart directives that run into the next because a `;` is missing between them. That is so
    /// where the name of a directive begins a line among the arguments of another.
    fn split(&mut self, context: Context, nodes: Vec<Node<'a>>) -> Vec<Node<'a>> {
        let mut whole = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            while let Some((at, legal)) = break_in(context, &node) {
                let mut args = node.args.split_off(at).into_iter();
                let Some(name) = args.next() else { break };
                let next = Node { name, args: args.collect(), block: node.block.take() };
                let words: Vec<&str> = [node.name].iter().chain(&node.args).map(|t| t.text).collect();
                let message = format!("missing `;` after `{}`", clip(&words.join(" ")));
                let place = node.last().span.after();
                if legal {
                    self.reports.warn(place, format!("{message}; it is read as if it stood there"), None);
                } else {
                    self.reports.error(place, message, None);
                }
                whole.push(std::mem::replace(&mut node, next));
            }
            whole.push(node);
        }
        whole
    }

    /// A directive that is not in the table for this place.
    fn foreign(&mut self, context: Context, node: &Node<'_>) {
        let name = clip(node.name.text);
        if let Some(why) = srs::reason(context, node.name.text) {
            if !srs::is_quiet(node) {
                self.reports.warn(node.name.span, srs::no_effect(&name, why), None);
            }
            return;
        }
        let place = match context {
            Context::Root => String::new(),
            _ => format!(" in `{}`", context.name()),
        };
        let (hint, help) = match self.reports.is_full() {
            true => (String::new(), None),
            false => hint(context, node),
        };
        let message = format!("unknown directive `{name}`{place}{hint}");
        self.reports.error(node.name.span, message, help);
    }
}

/// Whether a directive of that name may stand in `context`, with or without effect.
fn is_legal(context: Context, name: &str) -> bool {
    schema::find(context, name).is_some()
        || compat::knows(context, name)
        || srs::knows(context, name)
        || name == include::NAME
}

/// Whether a word among arguments stands where directives begin.
fn may_begin(arg: &Token<'_>) -> bool {
    arg.first && !arg.quoted
}

/// The argument of `node` that begins another directive, and whether that may stand here.
fn break_in(context: Context, node: &Node<'_>) -> Option<(usize, bool)> {
    if !node.args.iter().any(may_begin) {
        return None;
    }
    let head = schema::find(context, node.name.text);
    node.args.iter().enumerate().filter(|(_, arg)| may_begin(arg)).find_map(|(at, arg)| {
        if at == 0 && head.is_some_and(|d| d.kind.may_be(arg.text)) {
            None
        } else if is_legal(context, arg.text) {
            Some((at, true))
        } else {
            let elsewhere = Context::ALL.iter().any(|&c| schema::find(c, arg.text).is_some());
            (at > 0 && head.is_some() && elsewhere).then_some((at, false))
        }
    })
}

/// What to tell about an unknown directive: the end of the message, and perhaps more help.
fn hint(context: Context, node: &Node<'_>) -> (String, Option<String>) {
    let name = node.name.text;
    let fits = |d: &Directive| node.block.is_none() || d.kind.is_block();
    let stands =
        |&c: &Context| c != context && (schema::find(c, name).is_some_and(fits) || srs::knows(c, name));
    if let Some(advice) = srs::advice(name) {
        return (String::new(), Some(advice));
    }
    let homes: Vec<Context> = Context::ALL.into_iter().filter(stands).collect();
    if !homes.is_empty() {
        let around = std::iter::successors(context.parent(), |c| c.parent());
        let open = around.into_iter().any(|c| homes.contains(&c));
        let help = open.then(|| format!("is the `}}` of `{}` missing above?", context.name()));
        let list: Vec<String> = homes.into_iter().map(place).collect();
        return (format!("; it belongs {}", list.join(" or ")), help);
    }
    if let Some(block) = srs::home(name) {
        return (format!("; it belongs in `{block}`"), None);
    }
    if let Some(near) = nearest(name, &mut names(context)) {
        return (format!("; did you mean `{near}`?"), None);
    }
    let elsewhere = Context::ALL.into_iter().find_map(|c| nearest(name, &mut names(c)).map(|near| (c, near)));
    match elsewhere {
        Some((c, near)) => (format!("; did you mean `{near}`, which belongs {}?", place(c)), None),
        None => (String::new(), None),
    }
}

fn place(context: Context) -> String {
    match context {
        Context::Root => String::from("outside all blocks"),
        _ => format!("in `{}`", context.name()),
    }
}

fn names(context: Context) -> impl Iterator<Item = &'static str> {
    let ours = schema::directives(context).iter();
    ours.flat_map(|d| std::iter::once(&d.name).chain(d.aliases).copied()).chain(srs::names(context))
}
