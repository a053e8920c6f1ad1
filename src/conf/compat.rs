//! Files written for older or newer versions of SRS, brought to today's names before they are checked.

use super::error::Reports;
use super::parse::{Node, Token};
use super::schema::{self, Context};
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
    /// What it said stands in that block now, under that name, beside `enabled on`.
    Enable(&'static str, &'static str),
    /// The directives of this block stand in that one now, under other names.
    Spread(&'static str, &'static [(&'static str, &'static str)]),
}

use Change::{Enable, Into, Name, Spread, Unwrap, Words};

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
    (Context::Vhost, "http", Name("http_static")),
    (Context::Vhost, "gop_cache", Into("play", "gop_cache")),
    (Context::Vhost, "http", Name("http_static")),
    (Context::Vhost, "mw_latency", Into("play", "mw_latency")),
    (Context::Vhost, "queue_length", Into("play", "queue_length")),
    (Context::Vhost, "time_jitter", Into("play", "time_jitter")),
    (Context::Vhost, "mix_correct", Into("play", "mix_correct")),
    (Context::Vhost, "atc", Into("play", "atc")),
    (Context::Vhost, "atc_auto", Into("play", "atc_auto")),
    (Context::Vhost, "send_min_interval", Into("play", "send_min_interval")),
    (Context::Vhost, "reduce_sequence_header", Into("play", "reduce_sequence_header")),
    (Context::Vhost, "publish_1stpkt_timeout", Into("publish", "firstpkt_timeout")),
    (Context::Vhost, "publish_normal_timeout", Into("publish", "normal_timeout")),
    (Context::Vhost, "mr", Spread("publish", &[("enabled", "mr"), ("latency", "mr_latency")])),
    (Context::Vhost, "refer", Enable("refer", "all")),
    (Context::Vhost, "refer_play", Enable("refer", "play")),
    (Context::Vhost, "refer_publish", Enable("refer", "publish")),
    (Context::Vhost, "forward", Enable("forward", "destination")),
    (Context::Vhost, "mode", Into("cluster", "mode")),
    (Context::Vhost, "origin", Into("cluster", "origin")),
    (Context::Vhost, "token_traverse", Into("cluster", "token_traverse")),
    (Context::Vhost, "vhost", Into("cluster", "vhost")),
    (Context::Vhost, "debug_srs_upnode", Into("cluster", "debug_srs_upnode")),
    // SRS 2 answers 404 with `hstrs off`; later ones do not know it and wait.
    (Context::HttpRemux, "hstrs", Words("no_stream", &[("on", "wait"), ("off", "404")])),
];

fn change(context: Context, name: &str) -> Option<Change> {
    CHANGES.iter().find(|(c, old, _)| *c == context && *old == name).map(|(_, _, change)| *change)
}

/// Whether `name` is a name of another version in `context`.
pub(super) fn knows(context: Context, name: &str) -> bool {
    change(context, name).is_some()
}

/// The names of other versions in `context`.
#[cfg(test)]
pub(super) fn names(context: Context) -> impl Iterator<Item = &'static str> {
    CHANGES.iter().filter(move |(c, ..)| *c == context).map(|(_, old, _)| *old)
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
        Enable(block, new) => {
            format!("Of older versions of SRS; read as `{block} {{ enabled on; {new} …; }}`.")
        }
        Spread(block, _) => format!("Of older versions of SRS; its directives stand in `{block}` now."),
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
        match change(context, old).filter(|change| change.concerns(&node)) {
            None => kept.push(node),
            Some(Name(new)) => {
                warn(reports, node.name, format!("`{old}` is now called `{new}`"));
                node.name.text = new;
                kept.push(node);
            }
            Some(Into(block, new)) => {
                warn_of(context, block, node.name, &format!("{new} …;"), reports);
                node.name.text = new;
                moved.push((block, node, false));
            }
            Some(Enable(block, new)) => {
                warn_of(context, block, node.name, &format!("enabled on; {new} …;"), reports);
                node.name.text = new;
                moved.push((block, node, true));
            }
            Some(Spread(block, names)) => {
                let today: Vec<String> = names.iter().map(|(_, new)| format!("{new} …;")).collect();
                warn_of(context, block, node.name, &today.join(" "), reports);
                for mut inner in node.block.unwrap_or_default() {
                    let renamed = names.iter().find(|(old, _)| *old == inner.name.text);
                    inner.name.text = renamed.map_or(inner.name.text, |(_, new)| new);
                    moved.push((block, inner, false));
                }
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
    for (block, node, enable) in moved {
        push_into(&mut kept, block, node, enable);
    }
    kept
}

impl Change {
    /// Whether `node` has the old form; a name can mean something else today.
    fn concerns(self, node: &Node<'_>) -> bool {
        match self {
            Name(_) | Words(..) | Unwrap(_) => true,
            Into(..) => node.block.is_none(),
            Enable(..) => node.block.is_none() && !node.args.is_empty(),
            Spread(..) => node.block.is_some(),
        }
    }
}

/// Tells where `old` stands today; of a block that this build has not, only that is told, when it is checked.
fn warn_of(context: Context, block: &str, old: Token<'_>, today: &str, reports: &mut Reports<'_>) {
    if schema::find(context, block).is_none() {
        return;
    }
    let now = if old.text == block { "is now written" } else { "now stands in" };
    let place = if old.text == block { String::new() } else { format!(" `{block}`,") };
    warn(reports, old, format!("`{}` {now}{place} as `{block} {{ {today} }}`", old.text));
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

/// Puts `node` at the end of the first block of that name, so that what the block itself says counts first; with
/// `enable`, a block that does not say whether it is enabled is.
fn push_into<'a>(nodes: &mut Vec<Node<'a>>, block: &'static str, node: Node<'a>, enable: bool) {
    let word = |text| Token { text, quoted: false, first: false, ..node.name };
    let at = nodes.iter().position(|n| n.name.text == block && n.block.is_some());
    let at = at.unwrap_or_else(|| {
        nodes.push(Node { name: word(block), args: Vec::new(), block: Some(Vec::new()) });
        nodes.len() - 1
    });
    let Some(inner) = nodes.get_mut(at).and_then(|n| n.block.as_mut()) else { return };
    if enable && !inner.iter().any(|n| n.name.text == "enabled") {
        inner.push(Node { name: word("enabled"), args: vec![word("on")], block: None });
    }
    inner.push(node);
}
