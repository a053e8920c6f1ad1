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
