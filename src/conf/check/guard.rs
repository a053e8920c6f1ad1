//! What in `http_api`, `security` and `refer` cannot be, or lets nobody in.

use super::Checker;
use super::together::{overlap, uncover};
use crate::conf::error::Span;
use crate::conf::guard::{Act, Security};
use crate::conf::schema::Context;

impl Checker<'_, '_, '_, '_> {
    /// Checks the block `http_api`.
    pub(super) fn api(&mut self) {
        let place = self.place(Context::HttpApi, "listen").or(self.place(Context::HttpApi, "enabled"));
        let span = place.unwrap_or(Span::START);
        let config = &mut self.draft.config;
        uncover(&mut config.http_api.listen, span, self.reports);
        if !config.http_api.enabled {
            return;
        }
        let (api, server) = (&config.http_api, &config.http_server);
        let near = |api: &&_| {
            server.enabled && !server.listen.contains(api) && server.listen.iter().any(|l| overlap(l, api))
        };
        let rtmp = api.listen.iter().find(|api| config.listen.iter().any(|rtmp| overlap(rtmp, api)));
        let fault = match (rtmp, api.listen.iter().find(near)) {
            (Some(listen), _) => {
                Some(format!("port {} is for RTMP already; the API needs another", listen.port))
            }
            (_, Some(listen)) => Some(format!(
                "port {} is for `http_server` already; to share it, write `listen` in both alike",
                listen.port
            )),
            _ => None,
        };
        if let Some(message) = fault {
            self.reports.error(span, message, None);
        }
        let api = &self.draft.config.http_api;
        let message = match (api.username.as_str(), api.password.as_str()) {
            ("", _) | (_, "") => "`auth` needs `username` and `password`",
            (name, _) if name.contains(':') => "`username` has no colon: it ends at one",
            _ => return,
        };
        if let Some(span) = self.place(Context::Auth, "enabled").filter(|_| api.auth) {
            self.reports.error(span, String::from(message), None);
        }
    }

    /// Tells of rules that let nobody in.
    pub(super) fn access(&mut self) {
        let span = self.place(Context::Security, "enabled").unwrap_or(Span::START);
        let vhosts = self.draft.config.vhosts.iter().filter(|v| v.enabled && v.security.enabled);
        let list: Vec<_> = vhosts.filter_map(|v| Some((v.name.clone(), shut(&v.security)?))).collect();
        for (name, act) in list {
            let word = act.word();
            let message =
                format!("nobody may {word} in vhost {name}: `security` has rules, and none allows it");
            let help = format!("add `allow {word} all;` or the addresses that may");
            self.reports.warn(span, message, Some(help));
        }
        let span = self.place(Context::Refer, "enabled").unwrap_or(Span::START);
        let asks_nothing = self.draft.config.vhosts.iter().any(|v| {
            let refer = &v.refer;
            refer.enabled && refer.all.is_empty() && refer.publish.is_empty() && refer.play.is_empty()
        });
        if asks_nothing {
            let help = String::from("add `all`, `publish` or `play` with the hosts of the pages that may");
            self.reports.warn(span, String::from("`refer` names no host, so it asks nothing"), Some(help));
        }
    }
}

/// What nobody may.
fn shut(security: &Security) -> Option<Act> {
    let allowed = |act: Act| security.allow.iter().any(|rule| rule.act == act);
    let open = security.allow.is_empty() && !security.deny.is_empty();
    [Act::Publish, Act::Play].into_iter().find(|act| !open && !allowed(*act))
}
