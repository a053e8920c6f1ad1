//! The files in the style of SRS under `tests/conf/srs` hold every directive that SRS has, in its place.

use super::error::Reports;
use super::parse::{self, Node};
use super::schema::{self, Context};
use super::source::{Kind, Source, Sources};
use super::{compat, notes, srs};
use std::collections::BTreeSet;

/// What SRS has in blocks within blocks that this build does not look into.
const DEEPER: &[(&str, &str)] = &[
    ("https", "enabled listen key cert"),
    ("raw_api", "enabled allow_reload allow_query allow_update"),
    ("auth", "enabled username password"),
    ("input", "type url"),
    (
        "circuit_breaker",
        "enabled high_threshold high_pulse critical_threshold critical_pulse dying_threshold dying_pulse",
    ),
    ("exec", "enabled publish"),
    ("rtc", "enabled nack twcc rtmp_to_rtc rtc_to_rtmp aac bframe keep_bframe"),
    ("refer", "enabled all publish play"),
];

/// The names of `nodes` and of all blocks within, each with the block it stands in.
fn collect(block: &str, nodes: &[Node<'_>], into: &mut BTreeSet<(String, String)>) {
    for node in nodes {
        into.insert((block.to_owned(), node.name.text.to_owned()));
        collect(node.name.text, node.block.as_deref().unwrap_or_default(), into);
    }
}

fn corpus() -> BTreeSet<(String, String)> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf/srs");
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "conf") {
            continue;
        }
        let (name, text) = (path.display().to_string().into(), std::fs::read_to_string(&path).unwrap());
        let sources = Sources::new(0);
        let file = sources.add(Source { name, text, kind: Kind::File, included_at: None }).unwrap();
        let nodes = parse::parse(&sources, file, &mut Reports::new(&sources)).unwrap();
        collect("", &nodes, &mut all);
    }
    all
}

#[test]
fn the_corpus_has_every_directive_of_srs_and_every_old_form() {
    let has = corpus();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for context in Context::ALL {
        for directive in schema::directives(context) {
            let note = notes::srs(context, directive.name).unwrap_or("the same");
            if ["the same", "by default", "had it", "are read"].iter().any(|words| note.contains(words)) {
                let old = directive.aliases.iter().find(|alias| alias.starts_with("srs_"));
                // What SRS calls otherwise is among the old names.
                let name = old.copied().unwrap_or(directive.name);
                wanted.extend((name != "log_level").then_some((context.name(), name)));
            }
        }
        let known = srs::names(context).into_iter().chain(compat::names(context));
        wanted.extend(known.map(|name| (context.name(), name)));
    }
    for (block, names) in srs::inside().chain(DEEPER.iter().copied()) {
        wanted.extend(names.split(' ').map(|name| (block, name)));
    }
    let missing: Vec<_> =
        wanted.into_iter().filter(|(b, n)| !has.contains(&((*b).to_owned(), (*n).to_owned()))).collect();
    assert!(missing.is_empty(), "not in tests/conf/srs: {missing:#?}");
}

/// Every reason for which a directive has no effect is told by one of the files beside.
#[test]
fn every_reason_is_told_in_a_file() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf/srs");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let told: String = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let silent: Vec<_> =
        srs::reasons().filter(|why| !told.contains(&format!("` has no effect because {why}\n"))).collect();
    assert!(silent.is_empty(), "nowhere in tests/conf/srs: {silent:#?}");
}
