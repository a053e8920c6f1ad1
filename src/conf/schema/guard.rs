//! The directives of `http_api { }`, `security { }` and `refer { }`.

use super::super::value::Kind;
use super::{Context, Directive, lean, nothing};

pub(super) static HTTP_API: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Answer the HTTP API: what is live, who publishes and watches, figures of the process and the machine.",
        set: |d, v| d.config.http_api.enabled = v.flag(),
    },
    Directive {
        name: "listen",
        aliases: &[],
        kind: Kind::Listen,
        default: "1985",
        docs: "Where the API is served; as `listen` for RTMP. A place that stands in `http_server { listen }` too is shared.",
        set: |d, v| d.config.http_api.listen = v.listen(),
    },
    Directive {
        name: "crossdomain",
        aliases: &[],
        kind: Kind::Flag,
        default: "on",
        docs: "Let web pages of other hosts read the answers: CORS headers and, without `auth`, JSONP (`callback=`) and `method=DELETE` in the query.",
        set: |d, v| d.config.http_api.crossdomain = v.flag(),
    },
    Directive {
        name: "allow_kick",
        aliases: &[],
        kind: Kind::Flag,
        default: "on",
        docs: "Let `DELETE /api/v1/clients/ID` disconnect a client.",
        set: |d, v| d.config.http_api.allow_kick = v.flag(),
    },
    Directive {
        name: "raw_api",
        aliases: &[],
        kind: Kind::Block(Context::RawApi),
        default: "(absent)",
        docs: "What `/api/v1/raw` may do.",
        set: nothing,
    },
    Directive {
        name: "auth",
        aliases: &[],
        kind: Kind::Block(Context::Auth),
        default: "(absent)",
        docs: "Who may use the API.",
        set: nothing,
    },
]);

pub(super) static RAW_API: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Answer `/api/v1/raw`.",
        set: |d, v| d.config.http_api.raw = v.flag(),
    },
    Directive {
        name: "allow_reload",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Let `/api/v1/raw?rpc=reload` read the configuration again, as SIGHUP does.",
        set: |d, v| d.config.http_api.allow_reload = v.flag(),
    },
]);

pub(super) static AUTH: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Ask for name and password (HTTP Basic), which the connection shows to whoever can listen to it.",
        set: |d, v| d.config.http_api.auth = v.flag(),
    },
    Directive {
        name: "username",
        aliases: &[],
        kind: Kind::Text,
        default: "(none)",
        docs: "The name, without a colon.",
        set: |d, v| d.config.http_api.username = v.text().to_owned(),
    },
    Directive {
        name: "password",
        aliases: &[],
        kind: Kind::Text,
        default: "(none)",
        docs: "The password.",
        set: |d, v| d.config.http_api.password = v.text().to_owned(),
    },
]);

pub(super) static SECURITY: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Let the rules decide who may publish and play, by address. Who is there already stays.",
        set: |d, v| d.vhost.security.enabled = v.flag(),
    },
    Directive {
        name: "allow",
        aliases: &[],
        kind: Kind::Rules,
        default: "(nobody)",
        docs: "Who may. Where one rule allows, whoever no rule allows is refused; without any rule everybody is.",
        set: |d, v| d.vhost.security.allow = v.rules(),
    },
    Directive {
        name: "deny",
        aliases: &[],
        kind: Kind::Rules,
        default: "(nobody)",
        docs: "Who may not, whatever `allow` says.",
        set: |d, v| d.vhost.security.deny = v.rules(),
    },
]);

pub(super) static REFER: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Ask for the page that a client is on: `pageUrl` of RTMP, `Referer` of HTTP. Clients can say what they like there.",
        set: |d, v| d.vhost.refer.enabled = v.flag(),
    },
    Directive {
        name: "all",
        aliases: &[],
        kind: Kind::Domains,
        default: "(not asked)",
        docs: "The page must be of one of these hosts, or of one below them, to publish and to play.",
        set: |d, v| d.vhost.refer.all = v.domains(),
    },
    Directive {
        name: "publish",
        aliases: &[],
        kind: Kind::Domains,
        default: "(not asked)",
        docs: "As `all`, to publish.",
        set: |d, v| d.vhost.refer.publish = v.domains(),
    },
    Directive {
        name: "play",
        aliases: &[],
        kind: Kind::Domains,
        default: "(not asked)",
        docs: "As `all`, to play.",
        set: |d, v| d.vhost.refer.play = v.domains(),
    },
]);
