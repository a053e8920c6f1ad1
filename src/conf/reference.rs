//! The reference of directives: one directive for `--explain`, all of them for `--directives`.
//!
//! It is docs/directives.md, which a test makes from the table, packed beside this file. So its texts take a quarter of their
//! room, and what makes it is no part of the program.

use std::fmt::Write;

use super::check::context_path;
use super::schema::{self, Context, Directive};
use super::suggest::nearest;
use super::value::clip;
use super::{compat, srs};
use crate::wire::inflate;

#[cfg(test)]
mod make;

static PACKED: &[u8] = include_bytes!("reference/directives.md.gz");
/// Bytes of the reference at most.
const MAX_PAGE: usize = 256 << 10;

/// All directives, as a page of Markdown.
pub fn page() -> String {
    let page = inflate::gunzip(PACKED, MAX_PAGE).and_then(|page| String::from_utf8(page).ok());
    page.unwrap_or_default()
}

/// What the page says of the directive `name` of `context`: what it is for, and a list of its properties.
fn entry<'a>(page: &'a str, context: Context, name: &str) -> Option<&'a str> {
    let (_, block) = page.split_once(&format!("\n## {}\n", title(context)))?;
    let block = block.split("\n## ").next()?;
    let (_, entry) = block.split_once(&format!("\n### `{name}`\n\n"))?;
    entry.split("\n### ").next()
}

/// What `directive` is for, in one or two sentences of the page.
pub(super) fn purpose<'a>(page: &'a str, directive: &Directive) -> &'a str {
    let of = |context: &Context| schema::directives(*context).iter().any(|d| std::ptr::eq(d, directive));
    let entry = Context::ALL.into_iter().find(of).and_then(|context| entry(page, context, directive.name));
    entry.and_then(|entry| entry.lines().next()).unwrap_or_default()
}

/// The block of a directive as a heading.
fn title(context: Context) -> String {
    match context_path(context).as_slice() {
        [] => String::from("Outside all blocks"),
        path => format!("`{}`", path.join(" { ")),
    }
}

/// What there is to know of the directive `name`, in each place where it may stand.
///
/// # Errors
/// That there is no such directive, with what it could be.
pub fn explain(name: &str) -> Result<String, String> {
    let mut out = String::new();
    let page = page();
    for context in Context::ALL {
        if let Some(directive) = schema::find(context, name) {
            let text = entry(&page, context, directive.name).unwrap_or_default();
            one(context, directive, text, &mut out);
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

fn one(context: Context, directive: &Directive, text: &str, out: &mut String) {
    let name = directive.name;
    let (purpose, list) = text.split_once('\n').unwrap_or_default();
    let _ = writeln!(out, "{name}, {}\n\n  {purpose}\n", place(context));
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "  {key:<13} {value}");
    };
    let property = |key: &str| {
        let value = list.lines().find_map(|line| line.strip_prefix("- ")?.strip_prefix(key))?.trim_start();
        Some(value.strip_suffix('.').unwrap_or(value))
    };
    line("takes:", property("Takes").unwrap_or_default());
    if directive.kind.is_block() {
        return out.push('\n');
    }
    line("default:", directive.default);
    line("reload:", property("A change").unwrap_or("takes effect at once"));
    if let Some(note) = property("SRS:") {
        line("SRS:", note);
    }
    if !directive.aliases.is_empty() {
        line("other names:", &directive.aliases.join(", "));
    }
    line("environment:", &variable(context, name));
    out.push('\n');
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::pack;

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
            "  SRS:          the same\n",
            "  environment:  RUNNEL_VHOST_PLAY_MW_LATENCY",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(explain("http_stream").unwrap().contains("http_server"));
        assert!(explain("include").unwrap().contains("vhosts/*.conf"));
        assert!(explain("vhost").unwrap().contains("a name and a block"));
    }

    #[test]
    fn every_directive_is_found_on_the_page() {
        let page = make::page();
        for context in Context::ALL {
            for directive in schema::directives(context) {
                let text = entry(&page, context, directive.name).unwrap();
                let first = text.lines().next();
                assert_eq!(first, Some(directive.docs), "{context:?} {}", directive.name);
                assert!(text.contains("\n- Takes ") && !text.contains('#'), "{text}");
            }
        }
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
        let at = |file| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let update = std::env::var_os("RUNNEL_UPDATE").is_some();
        if update {
            pack(&at("src/conf/reference/directives.md.gz"), &make::page());
        } else {
            assert!(page() == make::page(), "RUNNEL_UPDATE=1 cargo test --lib reference packs the page");
        }
        for (file, text) in [("docs/directives.md", make::page()), ("conf/full.conf", make::full())] {
            let path = at(file);
            if update {
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
        let full = load(&make::full());
        assert!(full.warnings.is_empty(), "{:?}", full.warnings);
        assert_eq!(full.config, load("vhost __defaultVhost__ { }").config);
        for directive in Context::ALL.into_iter().flat_map(schema::directives) {
            let named = |line: &str| line.trim_start_matches(['#', ' ']).starts_with(directive.name);
            assert!(make::full().lines().any(named), "{}", directive.name);
        }
    }
}
