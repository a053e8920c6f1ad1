//! What an edge cannot do without, and where it would go round in circles.

use std::rc::Rc;

use super::Checker;
use crate::conf::error::Span;
use crate::conf::schema::Context;
use crate::conf::typed::{Config, Vhost};

impl Checker<'_, '_, '_, '_> {
    /// Checks the block `cluster` of each vhost.
    pub(super) fn cluster(&mut self) {
        for n in 0..self.draft.config.vhosts.len() {
            let Some(vhost) = self.draft.config.vhosts.get(n).cloned() else { return };
            let origins = &vhost.cluster.origins;
            if !vhost.cluster.remote {
                continue;
            }
            if origins.is_empty() {
                let help = "add `origin HOST:PORT;`, the server that has the streams";
                self.blame(&vhost, "mode", "`mode remote` needs an `origin`", Some(help));
            }
            if vhost.forward.wanted().iter().any(|to| origins.contains(to)) {
                let help = "remove that `destination`";
                self.blame(
                    &vhost,
                    "origin",
                    "`forward` would send the streams back to an `origin`",
                    Some(help),
                );
            }
            if origins.iter().any(|origin| is_own(&self.draft.config, origin)) {
                self.blame(&vhost, "origin", "an `origin` is this server itself, which is never asked", None);
            }
            // Segments have no parameters to ask an origin about.
            if vhost.cluster.token_traverse && vhost.hls.enabled {
                let message = "`hls` is off with `token_traverse`: no origin can be asked about its viewers";
                self.blame(&vhost, "token_traverse", message, None);
                let vhost = self.draft.config.vhosts.get_mut(n);
                vhost.into_iter().for_each(|vhost| Rc::make_mut(vhost).hls.enabled = false);
            }
        }
    }

    /// Tells of a directive of `cluster` in this vhost: with `help`, that it is an error.
    fn blame(&mut self, vhost: &Vhost, name: &str, message: &str, help: Option<&str>) {
        let of = |block: usize| self.blocks.get(self.blocks.get(block)?.parent)?.name.as_deref();
        let is = |set: &&super::Set| {
            set.context == Context::Cluster && set.name == name && of(set.block) == Some(&vhost.name)
        };
        let span = self.set.iter().find(is).map_or(Span::START, |set| set.span);
        match help {
            Some(help) => self.reports.error(span, message.to_owned(), Some(help.to_owned())),
            None => self.reports.warn(span, message.to_owned(), None),
        }
    }
}

/// Whether RTMP is served here at `host:port`, as far as the name tells.
fn is_own(config: &Config, server: &str) -> bool {
    let (host, port) = server.rsplit_once(':').unwrap_or_default();
    let local = matches!(host, "localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]" | "[::]");
    config.listen.iter().any(|listen| {
        let near = listen.addr.is_none_or(|ip| ip.is_unspecified() || ip.is_loopback());
        local && near && port.parse() == Ok(listen.port) || listen.to_string() == server
    })
}
