//! What directives mean together: what has no effect, and what cannot be had at one time.

use std::net::IpAddr;
use std::rc::Rc;

use super::{Checker, Set};
use crate::conf::error::{Reports, Span};
use crate::conf::schema::Context;
use crate::conf::typed::{DEFAULT_VHOST, Listen, LogTank, Vhost};

impl Checker<'_, '_, '_, '_> {
    /// Checks the whole, after all its parts.
    pub(super) fn together(&mut self) {
        self.log_places();
        self.own_files();
        self.vhosts();
        self.forward();
        self.cluster();
        self.hls();
        self.memory();
        self.dvr();
        self.ports();
        self.api();
        self.access();
    }

    /// Where a directive was set first.
    pub(super) fn place(&self, context: Context, name: &str) -> Option<Span> {
        self.set.iter().find(|s| s.context == context && s.name == name).map(|s| s.span)
    }

    fn log_places(&mut self) {
        let (tank, file) = (self.place(Context::Root, "log_tank"), self.place(Context::Root, "log_file"));
        let log = &mut self.draft.config.log;
        match (tank, file) {
            (None, Some(span)) => {
                log.tank = LogTank::File;
                let (name, value) = ("log_tank", String::from("file"));
                self.set.push(Set { block: 0, context: Context::Root, name, span, value });
            }
            (Some(_), Some(span)) if log.tank != LogTank::File => {
                let tank = if log.tank == LogTank::Console { "console" } else { "syslog" };
                let message = format!("`log_file` has no effect while `log_tank` is {tank}");
                self.reports.warn(span, message, None);
            }
            _ => {}
        }
    }

    /// Files that are written must not be the same.
    fn own_files(&mut self) {
        let (pid, access) = (self.place(Context::Root, "pid"), self.place(Context::Root, "access_log"));
        let config = &self.draft.config;
        let log = (config.log.tank == LogTank::File).then_some(&config.log.file);
        let same = |a: Option<&String>, b: Option<&String>| a.is_some() && a == b;
        if let Some(span) = access.filter(|_| same(config.log.access.as_ref(), log)) {
            let message = String::from("`access_log` must be another file than `log_file`");
            self.reports.error(span, message, None);
        }
        let taken = same(config.pid.as_ref(), log) || same(config.pid.as_ref(), config.log.access.as_ref());
        if let Some(span) = pid.filter(|_| taken) {
            self.reports.error(span, String::from("the pid file must be another file than the log"), None);
        }
    }

    fn vhosts(&mut self) {
        let remux = self.place(Context::HttpRemux, "enabled");
        let files = self.place(Context::HttpStatic, "enabled");
        let config = &self.draft.config;
        if config.vhosts.is_empty() {
            let message = String::from("there is no vhost, so every stream is refused");
            let help = format!("add `vhost {DEFAULT_VHOST} {{ }}`");
            self.reports.warn(Span::START, message, Some(help));
        }
        let idle_files = !config.http_server.enabled && config.vhosts.iter().any(|v| v.http_static.enabled);
        if let Some(span) = files.filter(|_| idle_files) {
            let message = String::from("`http_static` has no effect while `http_server` is off");
            let help = String::from("add `http_server { enabled on; }` outside the vhosts");
            self.reports.warn(span, message, Some(help));
        }
        let idle = !config.http_server.enabled && config.vhosts.iter().any(|v| v.http_remux.enabled);
        if let Some(span) = remux.filter(|_| idle) {
            let message = String::from("`http_remux` has no effect while `http_server` is off");
            let help = String::from("add `http_server { enabled on; }` outside the vhosts");
            self.reports.warn(span, message, Some(help));
        }
    }

    fn forward(&mut self) {
        let nowhere = |v: &Rc<Vhost>| v.forward.enabled && v.forward.destinations.is_empty();
        let span = self.place(Context::Forward, "enabled");
        if let Some(span) = span.filter(|_| self.draft.config.vhosts.iter().any(nowhere)) {
            let message = String::from("`forward` has no effect without a `destination`");
            self.reports.warn(span, message, Some(String::from("add `destination HOST:PORT;`")));
        }
    }

    fn ports(&mut self) {
        let rtmp = self.place(Context::Root, "listen").unwrap_or(Span::START);
        let http = self.place(Context::HttpServer, "listen").or(self.place(Context::HttpServer, "enabled"));
        let http = http.unwrap_or(Span::START);
        let config = &mut self.draft.config;
        uncover(&mut config.listen, rtmp, self.reports);
        uncover(&mut config.http_server.listen, http, self.reports);
        let server = &config.http_server;
        let shared = server.listen.iter().find(|h| config.listen.iter().any(|r| overlap(r, h)));
        if let Some(listen) = shared.filter(|_| server.enabled) {
            let message = format!("port {} is for RTMP already; HTTP needs another", listen.port);
            self.reports.error(http, message, None);
        }
    }
}

/// Drops places that another one of the list covers: only one of the two could be had.
pub(super) fn uncover(list: &mut Vec<Listen>, span: Span, reports: &mut Reports<'_>) {
    let all = list.clone();
    list.retain(|listen| {
        let Some(wider) = all.iter().find(|wider| covers(wider, listen)) else { return true };
        // `1935 [::]:1935` is how SRS is told to listen at both.
        if !listen.addr.is_some_and(|ip| ip.is_unspecified()) {
            let message = format!("{listen} is part of {wider} already; it has no effect");
            reports.warn(span, message, None);
        }
        false
    });
}

/// Whether a listener at `wider` takes what one at `listen` would, and more.
fn covers(wider: &Listen, listen: &Listen) -> bool {
    let rank = |l: &Listen| match l.addr {
        None => 3,
        Some(IpAddr::V6(ip)) if ip.is_unspecified() => 2,
        Some(IpAddr::V4(ip)) if ip.is_unspecified() => 1,
        Some(_) => 0,
    };
    let family = rank(wider) > 1 || listen.addr.is_some_and(|ip| ip.is_ipv4());
    wider.port == listen.port && wider.port != 0 && rank(wider) > rank(listen) && family
}

/// Whether both cannot be listened at. Port 0 becomes a different port for each.
pub(super) fn overlap(a: &Listen, b: &Listen) -> bool {
    let all = |l: &Listen| l.addr.is_none_or(|ip| ip.is_unspecified());
    a.port == b.port && a.port != 0 && (all(a) || all(b) || a.addr == b.addr)
}
