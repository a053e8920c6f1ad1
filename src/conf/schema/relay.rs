//! The directives of `forward`.

use super::{Directive, lean};
use crate::conf::value::Kind;

pub(super) static FORWARD: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Send every published stream on to other servers by RTMP, under the same vhost, app and name.",
        set: |d, v| d.vhost.forward.enabled = v.flag(),
    },
    Directive {
        name: "destination",
        aliases: &[],
        kind: Kind::Servers,
        default: "(nowhere)",
        docs: "Where they are sent; each destination gets all streams, and is tried again every 3 s while it does not take one.",
        set: |d, v| d.vhost.forward.destinations = v.mounts(),
    },
]);

pub(super) static CLUSTER: &[Directive] = &lean([
    Directive {
        name: "mode",
        aliases: &[],
        kind: Kind::Words(&["local", "remote"]),
        default: "local",
        docs: "`remote` makes the vhost an edge: a stream that somebody asks for and nobody publishes here is fetched from an `origin`, once for all who watch it, and what is published here is sent there.",
        set: |d, v| d.vhost.cluster.remote = v.text() == "remote",
    },
    Directive {
        name: "origin",
        aliases: &[],
        kind: Kind::Servers,
        default: "(nowhere)",
        docs: "Where an edge has its streams from, by RTMP. Of several, one after the other is asked until one has the stream.",
        set: |d, v| d.vhost.cluster.origins = v.mounts(),
    },
    Directive {
        name: "token_traverse",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Let a client publish or play at an edge only if an origin lets it connect, with its parameters and page. HLS is off then: its requests would pass unasked.",
        set: |d, v| d.vhost.cluster.token_traverse = v.flag(),
    },
    Directive {
        name: "vhost",
        aliases: &[],
        kind: Kind::Text,
        default: "[vhost]",
        docs: "Under which vhost the origin is asked; `[vhost]` is the name of this one.",
        set: |d, v| v.text().clone_into(&mut d.vhost.cluster.vhost),
    },
]);
