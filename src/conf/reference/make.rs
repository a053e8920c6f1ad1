//! Makes the reference of directives from the table: docs/directives.md, which is packed beside this file, and
//! conf/full.conf.

use std::fmt::Write;

use super::title;
use crate::conf::notes;
use crate::conf::schema::{self, Context, Directive};
use crate::conf::value::Kind;

/// All directives, as a page of Markdown.
pub(super) fn page() -> String {
    let mut out = String::from(PAGE_HEAD);
    for context in Context::ALL {
        let _ = writeln!(out, "\n## {}\n", title(context));
        for directive in schema::directives(context) {
            entry(context, directive, &mut out);
        }
    }
    out
}

const PAGE_HEAD: &str = "# Directives\n\n\
    Made from the table of directives by `runnel --directives`; one of them is explained by `runnel --explain NAME`.\n\n\
    A directive is `name arguments ;` or `name arguments { … }`. Times take `ms`, `s`, `m` or `h`, sizes `k`, `m` or `g`.\n\
    `#` begins a comment. `include FILE…;` stands anywhere and puts other files at its place (`*`, `?` and `[…]` as in \
    a\nshell; relative to the file that includes, then to the working directory). Every directive can be overridden by \
    a\nvariable of the environment, `RUNNEL_` with the path of blocks and the name, such as\n\
    `RUNNEL_VHOST_PLAY_GOP_CACHE=off`, which counts for every vhost; SRS's `SRS_…` names are read too. What a file \
    for\nSRS has beyond this page loads with a warning.\n\n\
    SIGHUP reads the file again. Unless said otherwise here, a change takes effect at once; a file with a mistake \
    changes\nnothing.\n";

fn entry(context: Context, directive: &Directive, out: &mut String) {
    let Directive { name, docs, default, kind, aliases, .. } = directive;
    let _ = writeln!(out, "### `{name}`\n\n{docs}\n");
    let _ = writeln!(out, "- Takes {}.", kind.takes());
    if directive.kind.is_block() {
        return out.push('\n');
    }
    match default.strip_prefix('(').and_then(|d| d.strip_suffix(')')) {
        Some(words) => drop(writeln!(out, "- Default: {words}.")),
        None => drop(writeln!(out, "- Default: `{default}`.")),
    }
    let reload = notes::reload(context, name);
    if reload != notes::Reload::AtOnce {
        let _ = writeln!(out, "- A change {}.", reload.describe());
    }
    if let Some(note) = notes::srs(context, name) {
        let _ = writeln!(out, "- SRS: {note}");
    }
    if !aliases.is_empty() {
        let _ = writeln!(out, "- Also called `{}`.", aliases.join("`, `"));
    }
    out.push('\n');
}

/// A file with all directives at their defaults, each with what it does.
pub(super) fn full() -> String {
    let mut out = String::from(FULL_HEAD);
    block(Context::Root, 0, &mut out);
    out
}

const FULL_HEAD: &str = "\
# Every directive, at the default that it has in a file. Made from the table of directives, as docs/directives.md is,
# which also tells the limits of each value and when a change takes effect. What has no default that could be
# written is commented out, with what is the case without it. A file needs no more of this than what it wants otherwise; runnel.conf is a better start.
";

/// Columns of a comment.
const COLUMNS: usize = 110;

fn block(context: Context, depth: usize, out: &mut String) {
    let indent = "    ".repeat(depth);
    for directive in schema::directives(context) {
        let Directive { name, docs, default, .. } = directive;
        out.push('\n');
        comment(&indent, docs, out);
        let _ = match (&directive.kind, default.strip_prefix('(')) {
            (Kind::Block(inner) | Kind::NamedBlock(inner), _) => {
                let named = match directive.kind {
                    Kind::NamedBlock(Context::Vhost) => " __defaultVhost__",
                    Kind::NamedBlock(Context::Ingest) => " NAME",
                    _ => "",
                };
                let _ = writeln!(out, "{indent}{name}{named} {{");
                block(*inner, depth + 1, out);
                writeln!(out, "{indent}}}")
            }
            (_, Some(words)) => writeln!(out, "{indent}# {name:<20}({words}"),
            // Said, it would move the log there.
            _ if *name == "log_file" => writeln!(out, "{indent}# {name:<20}{default};"),
            _ => writeln!(out, "{indent}{:<22}{default};", format!("{name} ")),
        };
    }
}

fn comment(indent: &str, text: &str, out: &mut String) {
    let mut line = format!("{indent}#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            let _ = writeln!(out, "{line}");
            line = format!("{indent}#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}
