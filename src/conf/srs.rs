//! SRS directives that this build does not have, known by name so that an SRS user's file loads.
//!
//! They are facts of SRS's configuration up to version 7. A directive that becomes ours moves from here to
//! the table in `schema`.

use super::parse::Node;
use super::schema::Context;

/// When a directive without effect passes without a warning, because runnel does what it asks anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quiet {
    Never,
    /// When its only argument is this.
    At(&'static str),
    /// When it is a block that does not say `enabled on`, which is off in SRS.
    Off,
}

use Quiet::{At, Never, Off};

/// Directives by the block they stand in.
static KNOWN: &[(Context, &[(&str, Quiet)])] = &[
    (
        Context::Root,
        &[
            ("asprocess", At("off")),
            ("auto_reload_for_docker", Never),
            ("circuit_breaker", Off),
            ("disable_daemon_for_docker", Never),
            ("empty_ip_ok", Never),
            ("env_only", At("off")),
            ("exporter", Off),
            ("first_wait_for_qlv", Never),
            ("in_docker", Never),
            ("is_full", At("off")),
            ("pithy_print", Never),
            ("query_latest_version", At("off")),
            ("rtc_server", Off),
            ("rtmps", Off),
            ("rtsp_server", Off),
            ("server_id", Never),
            ("srt_server", Off),
            ("stats", Never),
            ("stream_caster", Off),
            ("tcmalloc_release_rate", Never),
            ("tencentcloud_apm", Off),
            ("tencentcloud_cls", Off),
            ("threads", Never),
        ],
    ),
    (Context::Heartbeat, &[("ports", At("off"))]),
    (Context::HttpServer, &[("https", Off)]),
    (Context::HttpApi, &[("https", Off)]),
    (Context::RawApi, &[("allow_query", At("off")), ("allow_update", At("off"))]),
    (
        Context::Vhost,
        &[
            ("atc", At("off")),
            ("atc_auto", At("off")),
            ("bandcheck", Off),
            ("cluster", Never),
            ("dash", Off),
            ("debug_srs_upnode", Never),
            ("hds", Off),
            ("mix_correct", At("off")),
            ("mode", At("local")),
            ("mr", Off),
            ("nack", Off),
            ("origin", Never),
            ("reduce_sequence_header", At("off")),
            ("rtc", Off),
            ("rtsp", Off),
            ("send_min_interval", At("0")),
            ("srt", Off),
            ("token_traverse", At("off")),
            ("twcc", Off),
            ("vhost", Never),
        ],
    ),
    (
        Context::Play,
        &[
            ("atc", At("off")),
            ("atc_auto", At("off")),
            ("mix_correct", At("off")),
            ("mw_msgs", Never),
            ("reduce_sequence_header", At("off")),
            ("send_min_interval", At("0")),
        ],
    ),
    (
        Context::Publish,
        &[
            ("kickoff_for_idle", At("0")),
            ("mr", At("off")),
            ("mr_latency", Never),
            ("parse_sps", Never),
            ("try_annexb_first", Never),
        ],
    ),
    (Context::Forward, &[("backend", Never)]),
    (Context::Hls, &[("hls_dts_directly", At("on")), ("hls_nb_notify", Never)]),
];

/// What stands inside those blocks; used to tell where a misplaced directive belongs.
static INSIDE: &[(&str, &str)] = &[
    ("stats", "network disk"),
    ("stream_caster", "caster output rtp_port_min rtp_port_max"),
    (
        "cluster",
        "mode origin token_traverse debug_srs_upnode origin_cluster coworkers protocol follow_client",
    ),
    ("hds", "hds_fragment hds_window hds_path"),
    ("dash", "dash_fragment dash_update_period dash_timeshift dash_path dash_mpd_file"),
    ("bandcheck", "key limit_kbps"),
];

/// What stands inside blocks of SRS: the block, and its directives.
#[cfg(test)]
pub(super) fn inside() -> impl Iterator<Item = (&'static str, &'static str)> {
    INSIDE.iter().copied()
}

/// The names known in `context`.
pub(super) fn names(context: Context) -> impl Iterator<Item = &'static str> {
    KNOWN.iter().filter(move |(c, _)| *c == context).flat_map(|(_, list)| list.iter().map(|(name, _)| *name))
}

/// Whether SRS has `name` in `context`.
pub(super) fn knows(context: Context, name: &str) -> bool {
    names(context).any(|known| known == name)
}

/// Whether SRS has the directive `node` in `context`. The `vhost` of an edge, which older files write into
/// the vhost itself, has no block: with one, it is another vhost after a forgotten `}`.
pub(super) fn has(context: Context, node: &Node<'_>) -> bool {
    knows(context, node.name.text) && (context.name() != node.name.text || node.block.is_none())
}

/// What to tell who brings the directive `name` from elsewhere.
pub(super) fn advice(name: &str) -> Option<String> {
    let advice = match name {
        "worker_processes" | "events" | "server" | "application" => {
            "this is a directive of nginx, not of SRS"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

/// Why a directive of SRS has no effect here, where there is more to it than that it is not built.
pub(super) fn reason(name: &str) -> Option<&'static str> {
    match name {
        "hls_dts_directly" => {
            Some("times are the encoder's, as with `on`; none are made up from sound samples")
        }
        "hls_nb_notify" => {
            Some("of the answer to `on_hls_notify` 16 KiB at most are read, and nothing is kept")
        }
        "backend" => Some("streams go to each `destination`; nobody is asked for more"),
        _ => None,
    }
}

/// The block that `name` belongs in, if SRS has it inside a block that this build has not.
pub(super) fn home(name: &str) -> Option<&'static str> {
    INSIDE.iter().find(|(_, names)| names.split(' ').any(|n| n == name)).map(|(block, _)| *block)
}

/// Whether the known directive `node` asks for nothing beyond what happens anyway.
pub(super) fn is_quiet(context: Context, node: &Node<'_>) -> bool {
    let lists = KNOWN.iter().filter(|(c, _)| *c == context).flat_map(|(_, list)| list.iter());
    let quiet = lists.filter(|(name, _)| *name == node.name.text).map(|(_, quiet)| *quiet).next();
    match quiet {
        Some(At(word)) => matches!(node.args.as_slice(), [only] if only.text == word),
        Some(Off) => node.block.as_ref().is_some_and(|nodes| !nodes.iter().any(is_enabled)),
        Some(Never) | None => false,
    }
}

fn is_enabled(node: &Node<'_>) -> bool {
    node.name.text == "enabled" && node.args.first().is_some_and(|a| a.text != "off")
}
