//! SRS directives that this build does not have, known by name so that an SRS user's file loads.
//!
//! They are facts of SRS's configuration up to version 7. A directive that becomes ours moves from here to
//! the table in `schema`.

use super::parse::Node;
use super::schema::Context;

/// Why directives have no effect, and which those are in which block.
static KNOWN: &[(&str, &[(Context, &str)])] = &[
    ("WebRTC is not built in", &[(Context::Root, "rtc_server"), (Context::Vhost, "nack rtc twcc")]),
    ("SRT is not built in", &[(Context::Root, "srt_server"), (Context::Vhost, "srt")]),
    ("RTSP is not built in", &[(Context::Root, "rtsp_server"), (Context::Vhost, "rtsp")]),
    (
        "TLS is not built in; a proxy in front can do it",
        &[(Context::Root, "rtmps"), (Context::HttpServer, "https"), (Context::HttpApi, "https")],
    ),
    ("streams are pushed by RTMP alone", &[(Context::Root, "stream_caster")]),
    ("of segments only those of HLS are made", &[(Context::Vhost, "dash hds")]),
    ("only Flash players could use it", &[(Context::Vhost, "bandcheck")]),
    (
        "nobody outside is asked or told",
        &[(Context::Root, "first_wait_for_qlv query_latest_version tencentcloud_apm tencentcloud_cls")],
    ),
    (
        "`daemon` and `inotify_auto_reload` mean the same in a container",
        &[(Context::Root, "auto_reload_for_docker disable_daemon_for_docker in_docker")],
    ),
    ("it is about the insides of SRS", &[(Context::Root, "circuit_breaker tcmalloc_release_rate threads")]),
    ("the HTTP API has all figures, also as `/metrics`", &[(Context::Root, "exporter stats")]),
    (
        "it is always on here",
        &[
            (Context::Root, "empty_ip_ok"),
            (Context::Vhost, "reduce_sequence_header"),
            (Context::Play, "reduce_sequence_header"),
            (Context::Publish, "parse_sps try_annexb_first"),
        ],
    ),
    (
        "times are put right once, for all viewers",
        &[(Context::Vhost, "atc atc_auto mix_correct"), (Context::Play, "atc atc_auto mix_correct")],
    ),
    (
        "`mw_latency` and `min_latency` alone say when is sent",
        &[(Context::Vhost, "send_min_interval"), (Context::Play, "mw_msgs send_min_interval")],
    ),
    ("all that has come is read at once", &[(Context::Vhost, "mr"), (Context::Publish, "mr mr_latency")]),
    ("a publisher may go on without viewers", &[(Context::Publish, "kickoff_for_idle")]),
    ("`pithy_print_ms` is for all", &[(Context::Root, "pithy_print")]),
    ("the id is a new one at each start", &[(Context::Root, "server_id")]),
    ("the option `-e` is for this", &[(Context::Root, "env_only")]),
    ("it only marks a sample of SRS", &[(Context::Root, "is_full")]),
    ("the server does not end with who started it", &[(Context::Root, "asprocess")]),
    ("the API changes no directives", &[(Context::RawApi, "allow_query allow_update")]),
    ("ports are not told", &[(Context::Heartbeat, "ports")]),
    ("streams go to each `destination`; nobody is asked for more", &[(Context::Forward, "backend")]),
    ("times are the encoder's, as with `on`", &[(Context::Hls, "hls_dts_directly")]),
    ("16 KiB of the answer are read, and nothing is kept", &[(Context::Hls, "hls_nb_notify")]),
    ("edges ask by RTMP alone", &[(Context::Cluster, "follow_client protocol")]),
    (
        "origins do not ask each other; give an edge all of them",
        &[(Context::Cluster, "coworkers origin_cluster")],
    ),
    (
        "an origin is told the name and version of this server in any case",
        &[(Context::Cluster, "debug_srs_upnode")],
    ),
];

/// Directives that pass without a warning when their only argument is this word, since that is what happens anyway;
/// without a word, when they are blocks that do not say `enabled on`, which is off in SRS.
static QUIET: &[(&str, &str)] = &[
    (
        "",
        "bandcheck circuit_breaker dash exporter hds https mr nack rtc rtc_server rtmps rtsp rtsp_server srt srt_server \
         stream_caster tencentcloud_apm tencentcloud_cls twcc",
    ),
    (
        "off",
        "allow_query allow_update asprocess atc atc_auto env_only is_full mix_correct mr ports query_latest_version \
         reduce_sequence_header follow_client origin_cluster",
    ),
    ("on", "debug_srs_upnode empty_ip_ok hls_dts_directly parse_sps try_annexb_first"),
    ("0", "kickoff_for_idle send_min_interval"),
    ("rtmp", "protocol"),
];

fn lists(names: &str, name: &str) -> bool {
    names.split(' ').any(|known| known == name)
}

/// What stands inside those blocks; used to tell where a misplaced directive belongs.
static INSIDE: &[(&str, &str)] = &[
    ("stats", "network disk"),
    ("stream_caster", "caster output rtp_port_min rtp_port_max"),
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
pub(super) fn names(context: Context) -> Vec<&'static str> {
    let mut all = Vec::new();
    for (_, places) in KNOWN {
        for (_, names) in places.iter().filter(|(c, _)| *c == context) {
            for name in names.split(' ') {
                all.push(name);
            }
        }
    }
    all
}

/// Why `name` of SRS has no effect in `context`.
pub(super) fn reason(context: Context, name: &str) -> Option<&'static str> {
    let is_here =
        |places: &[(Context, &str)]| places.iter().any(|(c, names)| *c == context && lists(names, name));
    KNOWN.iter().find(|(_, places)| is_here(places)).map(|(why, _)| *why)
}

/// All reasons.
#[cfg(test)]
pub(super) fn reasons() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(why, _)| *why)
}

/// What is said of it.
pub(super) fn no_effect(name: &str, why: &str) -> String {
    format!("`{name}` has no effect because {why}")
}

/// Whether SRS has `name` in `context`.
pub(super) fn knows(context: Context, name: &str) -> bool {
    reason(context, name).is_some()
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

/// The block that `name` belongs in, if SRS has it inside a block that this build has not.
pub(super) fn home(name: &str) -> Option<&'static str> {
    INSIDE.iter().find(|(_, names)| lists(names, name)).map(|(block, _)| *block)
}

/// Whether the known directive `node` asks for nothing beyond what happens anyway.
pub(super) fn is_quiet(node: &Node<'_>) -> bool {
    let mut words = QUIET.iter().filter(|(_, names)| lists(names, node.name.text)).map(|(word, _)| *word);
    words.any(|word| match (&node.block, node.args.as_slice()) {
        (Some(nodes), _) => word.is_empty() && !nodes.iter().any(is_enabled),
        (None, [only]) => only.text == word,
        (None, _) => false,
    })
}

fn is_enabled(node: &Node<'_>) -> bool {
    node.name.text == "enabled" && node.args.first().is_some_and(|a| a.text != "off")
}
