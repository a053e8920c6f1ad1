//! What an edge cannot do without, and where it would go round in circles.

use std::net::IpAddr;
use std::rc::Rc;

use super::Checker;
use crate::conf::error::Span;
use crate::conf::schema::Context;
use crate::conf::typed::{Config, Vhost};

impl Checker<'_, '_, '_, '_> {
    /// Checks the block `cluster` of each vhost.
    pub(super) fn cluster(&mut self) {
        self.no_hls_unasked();
        for vhost in self.draft.config.vhosts.iter().filter(|vhost| vhost.cluster.remote) {
            let span = |name: &str| self.place_in(&vhost.name, name).unwrap_or(Span::START);
            let (mode, place) = (span("mode"), span("origin"));
            if vhost.cluster.origins.is_empty() {
                let message = String::from("`mode remote` needs an `origin`");
                let help = Some(String::from("add `origin HOST:PORT;`, the server that has the streams"));
                self.reports.error(mode, message, help);
            }
            for origin in vhost.cluster.origins.iter().filter(|origin| is_own(&self.draft.config, origin)) {
                let message = format!("`origin` {origin} is this server itself, which is never asked");
                let help = Some(String::from("name the server that has the streams"));
                self.reports.warn(place, message, help);
            }
            if let Some(origin) = vhost.cluster.origins.iter().find(|origin| goes_back(vhost, origin)) {
                let message = format!("`forward` would send the streams back to `origin` {origin}");
                let help = Some(String::from("remove that `destination`"));
                self.reports.error(place, message, help);
            }
        }
    }

    /// Segments have no parameters to ask an origin about.
    fn no_hls_unasked(&mut self) {
        let both = |vhost: &Rc<Vhost>| vhost.cluster.asks() && vhost.hls.enabled;
        let names: Vec<String> =
            self.draft.config.vhosts.iter().filter(|vhost| both(vhost)).map(|v| v.name.clone()).collect();
        for name in names {
            let span = self.place_in(&name, "token_traverse").unwrap_or(Span::START);
            let message =
                String::from("`hls` is off with `token_traverse`: no origin can be asked about its viewers");
            self.reports.warn(span, message, None);
        }
        for vhost in self.draft.config.vhosts.iter_mut().filter(|vhost| both(vhost)) {
            Rc::make_mut(vhost).hls.enabled = false;
        }
    }

    /// Where a directive of `cluster` was set in this vhost.
    fn place_in(&self, vhost: &str, name: &str) -> Option<Span> {
        let of = |block: usize| self.blocks.get(self.blocks.get(block)?.parent)?.name.as_deref();
        let is = |set: &&super::Set| {
            set.context == Context::Cluster && set.name == name && of(set.block) == Some(vhost)
        };
        self.set.iter().find(is).map(|set| set.span)
    }
}

fn goes_back(vhost: &Vhost, origin: &String) -> bool {
    vhost.forward.wanted().contains(origin)
}

/// Whether RTMP is served here at `host:port`, as far as the name tells.
fn is_own(config: &Config, server: &str) -> bool {
    let Some((host, port)) = server.rsplit_once(':') else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let here = match host.parse::<IpAddr>() {
        Ok(ip) => Some(ip),
        Err(_) if host.eq_ignore_ascii_case("localhost") => Some(IpAddr::from([127, 0, 0, 1])),
        Err(_) => None,
    };
    let Some(ip) = here else { return false };
    config.listen.iter().filter(|listen| port.parse() == Ok(listen.port)).any(|listen| match listen.addr {
        None => ip.is_loopback() || ip.is_unspecified(),
        Some(own) => own == ip || own.is_unspecified() && (ip.is_loopback() || ip.is_unspecified()),
    })
}
