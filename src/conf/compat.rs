//! Files written for older or newer versions of SRS, brought to today's names before they are checked.

use super::error::Reports;
use super::parse::{Node, Token};
use super::schema::Context;
use super::srs;
use super::value::clip;

/// What happens to a directive of another version.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// It has another name now.
    Name(&'static str),
    /// It stands in that block now, under that name.
    Into(&'static str, &'static str),
    /// It has another name now, and other words for the same values. Not worth a warning.
    Words(&'static str, &'static [(&'static str, &'static str)]),
    /// The directives of this block stand outside it now. Not worth a warning.
    Unwrap(&'static [&'static str]),
}

use Change::{Into, Name, Unwrap, Words};

static CHANGES: &[(Context, &str, Change)] = &[
    (Context::Root, "http_stream", Name("http_server")),
    (Context::Root, "rtmp", Unwrap(&["listen", "chunk_size"])),
    // SRS 4 calls `info` what is more than `trace`, its usual level.
    (
        Context::Root,
        "srs_log_level",
        Words("log_level", &[("verbose", "debug"), ("info", "debug"), ("trace", "info")]),
    ),
    (Context::Root, "srs_log_level_v2", Words("log_level", &[("trace", "debug")])),
    (Context::Vhost, "gop_cache", Into("play", "gop_cache")),
    (Context::Vhost, "mw_latency", Into("play", "mw_latency")),
    (Context::Vhost, "queue_length", Into("play", "queue_length")),
    (Context::Vhost, "time_jitter", Into("play", "time_jitter")),
    (Context::Vhost, "publish_1stpkt_timeout", Into("publish", "firstpkt_timeout")),
    (Context::Vhost, "publish_normal_timeout", Into("publish", "normal_timeout")),
];

fn change(context: Context, name: &str) -> Option<Change> {
    CHANGES.iter().find(|(c, old, _)| *c == context && *old == name).map(|(_, _, change)| *change)
}

/// Whether `name` is a name of another version in `context`.
pub(super) fn knows(context: Context, name: &str) -> bool {
    change(context, name).is_some()
}

/// The old `name` of a directive that has another name now in the same place.
pub(super) fn same_place(context: Context, name: &str) -> Option<&'static str> {
    let same = |(c, old, change): &&(Context, &str, Change)| {
        *c == context && *old == name && matches!(change, Words(..))
    };
    CHANGES.iter().find(same).map(|(_, old, _)| *old)
}

/// What becomes of the old `name` in `context`, in a sentence.
pub(super) fn describe(context: Context, name: &str) -> Option<String> {
    Some(match change(context, name)? {
        Name(new) => format!("An old name of `{new}`, as which it is read."),
        Into(block, new) => format!("Of older versions of SRS; read as `{block} {{ {new} …; }}`."),
        Words(new, _) => format!("SRS's name of `{new}`, with its words for the values."),
        Unwrap(names) => format!("Of SRS 7; what is read of it: `{}`.", names.join("`, `")),
    })
}

/// The nodes of a block of `context` with today's names and places.
pub(super) fn modernize<'a>(
    context: Context,
    nodes: Vec<Node<'a>>,
    reports: &mut Reports<'_>,
) -> Vec<Node<'a>> {
    let mut kept: Vec<Node<'a>> = Vec::new();
    let mut moved = Vec::new();
    for mut node in nodes {
        let old = node.name.text;
        match change(context, old) {
            None => kept.push(node),
            Some(Name(new)) => {
                warn(reports, node.name, format!("`{old}` is now called `{new}`"));
                node.name.text = new;
                kept.push(node);
            }
            Some(Into(block, new)) => {
                warn(
                    reports,
                    node.name,
                    format!("`{old}` now stands in `{block}`, as `{block} {{ {new} …; }}`"),
                );
                node.name.text = new;
                moved.push((block, node));
            }
            Some(Words(new, words)) => {
                node.name.text = new;
                for arg in &mut node.args {
                    let word = words.iter().find(|(old, _)| *old == arg.text);
                    arg.text = word.map_or(arg.text, |(_, new)| new);
                }
                kept.push(node);
            }
            Some(Unwrap(names)) => unwrap(node, names, &mut kept, reports),
        }
    }
    for (block, node) in moved {
        push_into(&mut kept, block, node);
    }
    kept
}

fn warn(reports: &mut Reports<'_>, name: Token<'_>, message: String) {
    let help = String::from("it is read so; write it so to be rid of this warning");
    reports.warn(name.span, message, Some(help));
}

fn unwrap<'a>(node: Node<'a>, names: &[&str], kept: &mut Vec<Node<'a>>, reports: &mut Reports<'_>) {
    let outer = node.name;
    let Some(nodes) = node.block.filter(|_| node.args.is_empty()) else {
        reports.error(outer.span, format!("`{0}` takes a block: `{0} {{ … }}`", outer.text), None);
        return;
    };
    for inner in nodes {
        if names.contains(&inner.name.text) {
            kept.push(inner);
        } else {
            let message = format!("unknown directive `{}` in `{}`", clip(inner.name.text), outer.text);
            reports.error(inner.name.span, message, srs::advice(inner.name.text));
        }
    }
}

/// Puts `node` at the end of the first block of that name, so that what the block itself says counts first.
fn push_into<'a>(nodes: &mut Vec<Node<'a>>, block: &'static str, node: Node<'a>) {
    match nodes.iter_mut().find(|n| n.name.text == block && n.block.is_some()) {
        Some(Node { block: Some(inner), .. }) => inner.push(node),
        _ => {
            let name = Token { text: block, quoted: false, first: false, ..node.name };
            nodes.push(Node { name, args: Vec::new(), block: Some(vec![node]) });
        }
    }
}
