//! `include file;`: what stands in other files, put where the `include` stands.
//!
//! A relative name is looked for beside the file that includes it, as in nginx, then in the working directory, as in
//! SRS. Names are only taken apart here; the caller's loader finds and reads the files.
//! Bounds: [`MAX_INCLUDED`](super::MAX_INCLUDED) files, [`MAX_INCLUDE_DEPTH`] files within files, no file within
//! itself.

use super::error::Reports;
use super::parse::{self, Node, Token};
use super::source::{MAX_INCLUDE_DEPTH, Sources};
use super::value::clip;
use super::{Loader, add_file};

/// The name of the directive.
pub(super) const NAME: &str = "include";

/// Characters of a path that are shown.
const MAX_SHOWN: usize = 512;

/// The directives of the files that `node` names, each file's apart; what is wrong goes to `reports`.
pub(super) fn read<'a>(
    node: &Node<'a>,
    sources: &'a Sources,
    loader: &mut Loader<'_>,
    reports: &mut Reports<'_>,
) -> Vec<Vec<Node<'a>>> {
    let span = node.name.span;
    if node.block.is_some() || node.args.is_empty() {
        let message = String::from("`include` takes the names of files, such as `vhosts/*.conf`");
        reports.error(span, message, None);
        return Vec::new();
    }
    if sources.chain(span.file).count() > MAX_INCLUDE_DEPTH as usize {
        sources.stop(span, format!("files are included more than {MAX_INCLUDE_DEPTH} deep"), reports);
        return Vec::new();
    }
    let mut all = Vec::new();
    for arg in &node.args {
        if sources.is_stopped() {
            break;
        }
        for (name, bytes) in files(*arg, sources, loader, reports) {
            let chain: Vec<&str> = sources.chain(span.file).map(|s| &*s.name).collect();
            if chain.contains(&name.as_str()) {
                let message = format!("`{}` includes itself", clip(&name));
                let mut path: Vec<&str> = chain.into_iter().rev().collect();
                path.push(&name);
                reports.error(arg.span, message, Some(path.join(" includes ")));
            } else if let Some(file) = add_file(sources, &name, &bytes, Some(arg.span), reports) {
                all.extend(parse::parse(sources, file, reports));
            }
        }
    }
    all
}

/// The files of one pattern.
fn files(
    arg: Token<'_>,
    sources: &Sources,
    loader: &mut Loader<'_>,
    reports: &mut Reports<'_>,
) -> Vec<(String, Vec<u8>)> {
    let includer = sources.get(arg.span.file).map_or("", |s| &*s.name);
    let name = std::iter::successors(Some(arg.text), |n| n.strip_prefix("./")).last().unwrap_or(arg.text);
    let beside = beside(includer, name);
    let mut found = loader(&beside);
    let is_empty = found.as_ref().map_or(true, Vec::is_empty);
    if is_empty
        && beside != name
        && let Ok(elsewhere) = loader(name)
    {
        found = Ok(elsewhere);
    }
    found.unwrap_or_else(|why| {
        let shown: String = beside.chars().take(MAX_SHOWN).collect();
        reports.error(arg.span, format!("cannot read `{shown}`: {why}"), None);
        Vec::new()
    })
}

/// `name` as seen from the directory of the file `includer`.
fn beside(includer: &str, name: &str) -> String {
    match includer.rsplit_once('/') {
        Some((directory, _)) if !name.starts_with('/') => format!("{directory}/{name}"),
        _ => name.to_owned(),
    }
}
