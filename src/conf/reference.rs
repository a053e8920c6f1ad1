//! The reference of directives, made from the table: one directive for `--explain`, all of them for
//! `docs/directives.md`.

use std::fmt::Write;

use super::check::context_path;
use super::schema::{self, Context, Directive};
use super::suggest::nearest;
use super::value::{Kind, clip};
use super::{compat, notes, srs};

/// What there is to know of the directive `name`, in each place where it may stand.
///
/// # Errors
/// That there is no such directive, with what it could be.
pub fn explain(name: &str) -> Result<String, String> {
    let mut out = String::new();
    for context in Context::ALL {
        if let Some(directive) = schema::find(context, name) {
            one(context, directive, &mut out);
        }
        if let Some(change) = compat::describe(context, name) {
            let _ = writeln!(out, "{name}, {}\n\n  {change}\n", place(context));
        }
    }
    if out.is_empty() && name == super::include::NAME {
        out.push_str(INCLUDE_TEXT);
    }
    if !out.is_empty() {
        out.truncate(out.trim_end().len());
        return Ok(out);
    }
    let name = clip(name);
    let of_srs = srs::home(&name).unwrap_or(&name);
    if let Some(why) = Context::ALL.iter().find_map(|&c| srs::reason(c, of_srs)) {
        return Err(format!("{}; it is a directive of SRS", srs::no_effect(&name, why)));
    }
    let mut names = Context::ALL.into_iter().flat_map(|c| schema::directives(c).iter().map(|d| d.name));
    let near = nearest(&name, &mut names).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
    Err(format!("there is no directive `{name}`{near}"))
}

const INCLUDE_TEXT: &str = "include, anywhere\n\n  Puts what stands in other files at this place. `*`, `?` and `[…]` \
    stand for what they do in a\n  shell; a relative name is looked for beside the file that includes it, then in the \
    working directory.\n\n  takes:        names of files, such as `vhosts/*.conf`\n  SRS:          the same, in SRS 5 \
    and later.\n";

fn one(context: Context, directive: &Directive, out: &mut String) {
    let Directive { name, docs, default, kind, aliases, .. } = directive;
    let _ = writeln!(out, "{name}, {}\n\n  {docs}\n", place(context));
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "  {:<13} {value}", format!("{key}:"));
    };
    line("takes", &kind.takes());
    if is_block(directive) {
        return out.push('\n');
    }
    line("default", default);
    line("reload", notes::reload(context, name).describe());
    if let Some(note) = notes::srs(context, name) {
        line("SRS", note);
    }
    if !aliases.is_empty() {
        line("other names", &aliases.join(", "));
    }
    line("environment", &variable(context, name));
    out.push('\n');
}

fn is_block(directive: &Directive) -> bool {
    directive.kind.is_block()
}

/// The variable of the environment that overrides the directive.
fn variable(context: Context, name: &str) -> String {
    let parts: Vec<&str> = context_path(context).into_iter().chain([name]).collect();
    format!("RUNNEL_{}", parts.join("_").to_ascii_uppercase())
}

fn place(context: Context) -> String {
    match context_path(context).as_slice() {
        [] => String::from("outside all blocks"),
        path => format!("in {}", path.join(" { ")),
    }
}

/// All directives, as a page of Markdown.
pub fn page() -> String {
    let mut out = String::from(PAGE_HEAD);
    for context in Context::ALL {
        let title = match context_path(context).as_slice() {
            [] => String::from("Outside all blocks"),
            path => format!("`{}`", path.join(" { ")),
        };
        let _ = writeln!(out, "\n## {title}\n");
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
    if is_block(directive) {
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
pub fn full() -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_is_explained_wherever_it_may_stand() {
        let text = explain("chunk_size").unwrap();
        assert!(
            text.contains("chunk_size, outside all blocks\n") && text.contains("chunk_size, in vhost\n"),
            "{text}"
        );
        let text = explain("mw_latency").unwrap();
        for part in [
            "mw_latency, in vhost { play\n",
            "  takes:        a time from 0 to 10s",
            "  default:      350\n",
            "  reload:       takes effect at once\n",
            "  SRS:          the same.\n",
            "  environment:  RUNNEL_VHOST_PLAY_MW_LATENCY",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(explain("http_stream").unwrap().contains("http_server"));
        assert!(explain("include").unwrap().contains("vhosts/*.conf"));
        assert!(explain("vhost").unwrap().contains("a name and a block"));
    }

    #[test]
    fn a_directive_that_there_is_not_is_told_with_what_it_could_be() {
        assert_eq!(
            explain("mw_latncy").unwrap_err(),
            "there is no directive `mw_latncy`; did you mean `mw_latency`?"
        );
        assert!(explain("hds_window").unwrap_err().contains("a directive of SRS"));
        assert!(explain(&"x".repeat(9999)).unwrap_err().len() < 500);
    }

    /// After a change of the table: `RUNNEL_UPDATE=1 cargo test --lib reference`.
    #[test]
    fn the_page_in_docs_and_the_full_file_are_the_table() {
        for (file, text) in [("docs/directives.md", page()), ("conf/full.conf", full())] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            if std::env::var_os("RUNNEL_UPDATE").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let there = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                there == text,
                "{file} is not what the table says: RUNNEL_UPDATE=1 cargo test --lib reference"
            );
        }
    }

    #[test]
    fn the_full_file_is_what_a_file_without_a_word_means() {
        let load = |text: &str| crate::conf::load("full.conf", text).unwrap();
        let full = load(&full());
        assert!(full.warnings.is_empty(), "{:?}", full.warnings);
        assert_eq!(full.config, load("vhost __defaultVhost__ { }").config);
        for directive in Context::ALL.into_iter().flat_map(schema::directives) {
            let named = |line: &str| line.trim_start_matches(['#', ' ']).starts_with(directive.name);
            assert!(super::full().lines().any(named), "{}", directive.name);
        }
    }
}
