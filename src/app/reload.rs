//! Reload: what differs between two configurations, and how a running server comes from one to the other.
//!
//! Nothing of the new configuration is in force before everything that can fail has succeeded: the file has no
//! mistakes, the log's files are open, the ports are. Streams, publishers and viewers of a vhost that did not change are
//! not touched: its settings are the same value as before.

use super::server::Protocol;
use crate::conf::{Config, Listen, Vhost};
use std::collections::HashMap;
use std::rc::Rc;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A port is opened.
    Opened(Protocol, Listen),
    /// A port is closed; who is connected stays.
    Closed(Protocol, Listen),
    /// A vhost that was not there.
    VhostAdded(String),
    /// A vhost that is gone or disabled: who publishes or watches there is sent away.
    VhostRemoved(String),
    /// A vhost with other settings.
    VhostChanged(String),
    /// Where or how much is logged.
    Log,
    /// Some other setting, in force from now on.
    Setting(&'static str),
    /// A setting that needs a restart.
    Restart(&'static str),
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Opened(protocol, listen) => write!(f, "{protocol} at {listen} opened"),
            Change::Closed(protocol, listen) => write!(f, "{protocol} at {listen} closed"),
            Change::VhostAdded(name) => write!(f, "vhost {name} added"),
            Change::VhostRemoved(name) => write!(f, "vhost {name} removed"),
            Change::VhostChanged(name) => write!(f, "vhost {name} changed"),
            Change::Log => f.write_str("log changed"),
            Change::Setting(name) => write!(f, "{name} changed"),
            Change::Restart(name) => write!(f, "{name} needs a restart"),
        }
    }
}

/// Where a configuration listens, and for what.
pub fn ports(config: &Config) -> Vec<(Protocol, Listen)> {
    let rtmp = config.listen.iter().map(|listen| (Protocol::Rtmp, *listen));
    let http = config.http_server.listen.iter().filter(|_| config.http_server.enabled);
    let (api, server) = (&config.http_api, &config.http_server);
    let own = |listen: &&Listen| api.enabled && !(server.enabled && server.listen.contains(listen));
    let api = api.listen.iter().filter(own).map(|listen| (Protocol::Api, *listen));
    rtmp.chain(http.map(|listen| (Protocol::Http, *listen))).chain(api).collect()
}

/// What differs between the configuration in force and a new one.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let (had, wants) = (ports(old), ports(new));
    let mut changes = Vec::new();
    changes.extend(had.iter().filter(|p| !wants.contains(p)).map(|(p, l)| Change::Closed(*p, *l)));
    changes.extend(wants.iter().filter(|p| !had.contains(p)).map(|(p, l)| Change::Opened(*p, *l)));
    vhosts(old, new, &mut changes);
    if old.log != new.log {
        changes.push(Change::Log);
    }
    let restart = [
        ("daemon", old.daemon != new.daemon),
        ("work_dir", old.work_dir != new.work_dir),
        ("user", old.user != new.user),
        ("pid", old.pid != new.pid),
        ("reuse_port", old.reuse_port != new.reuse_port),
    ];
    changes
        .extend(restart.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| Change::Restart(name)));
    let settings = [
        ("max_connections", old.max_connections != new.max_connections),
        ("max_memory", old.max_memory != new.max_memory),
        ("chunk_size", old.chunk_size != new.chunk_size),
        ("handshake_timeout", old.handshake_timeout_ms != new.handshake_timeout_ms),
        ("trusted_proxy", old.trusted_proxies != new.trusted_proxies),
        ("inotify_auto_reload", old.auto_reload != new.auto_reload),
        ("grace_start_wait", old.grace_start_wait_ms != new.grace_start_wait_ms),
        ("grace_final_wait", old.grace_final_wait_ms != new.grace_final_wait_ms),
        ("force_grace_quit", old.force_grace_quit != new.force_grace_quit),
        ("page", old.http_server.page != new.http_server.page),
        ("dir", old.http_server.dir != new.http_server.dir),
        ("ff_log_dir", old.ff_log.dir != new.ff_log.dir),
        ("ff_log_level", old.ff_log.level != new.ff_log.level),
        ("http_api", old.http_api != new.http_api),
        ("heartbeat", old.heartbeat != new.heartbeat),
        ("crossdomain", old.http_server.crossdomain != new.http_server.crossdomain),
    ];
    changes
        .extend(settings.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| Change::Setting(name)));
    if changes.is_empty() && old != new {
        changes.push(Change::Setting("something"));
    }
    changes
}

fn vhosts(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    let (before, after) = (by_name(old), by_name(new));
    for vhost in old.vhosts.iter().filter(|v| v.enabled) {
        match after.get(&vhost.name.to_ascii_lowercase()) {
            Some(now) if now.enabled => {
                if *now != vhost {
                    changes.push(Change::VhostChanged(vhost.name.clone()));
                }
            }
            _ => changes.push(Change::VhostRemoved(vhost.name.clone())),
        }
    }
    let was = |v: &Rc<Vhost>| before.get(&v.name.to_ascii_lowercase()).is_some_and(|old| old.enabled);
    let added = new.vhosts.iter().filter(|v| v.enabled && !was(v));
    changes.extend(added.map(|v| Change::VhostAdded(v.name.clone())));
}

fn by_name(config: &Config) -> HashMap<String, &Rc<Vhost>> {
    config.vhosts.iter().map(|v| (v.name.to_ascii_lowercase(), v)).collect()
}

/// Has `new` share what `old` has already: a vhost that did not change stays the same value, and one whose name is only
/// spelled with other capitals keeps its name, by which its streams are known.
pub fn share(old: &Config, new: &mut Config) {
    let before = by_name(old);
    for vhost in &mut new.vhosts {
        let Some(same) = before.get(&vhost.name.to_ascii_lowercase()) else { continue };
        if vhost.name != same.name {
            *vhost = Rc::new(Vhost { name: same.name.clone(), ..Vhost::clone(vhost) });
        }
        if vhost == *same {
            *vhost = Rc::clone(same);
        }
    }
}

/// Keeps in `new` what only a restart can change, so that each reload tells of it until then.
pub fn keep_until_restart(old: &Config, new: &mut Config) {
    new.daemon = old.daemon;
    new.work_dir.clone_from(&old.work_dir);
    new.user.clone_from(&old.user);
    new.pid.clone_from(&old.pid);
    new.reuse_port = old.reuse_port;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf;

    fn config(text: &str) -> Config {
        conf::load("t", text).unwrap_or_else(|e| panic!("{e:?}")).config
    }

    fn changes(old: &str, new: &str) -> Vec<String> {
        diff(&config(old), &config(new)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_differs_is_named_and_nothing_else() {
        let base = "listen 1935; vhost a { } vhost b { }";
        assert!(changes(base, base).is_empty());
        assert_eq!(
            changes(
                base,
                "listen 1935 127.0.0.1:1936; http_server { enabled on; listen 8081; } vhost A { } vhost b { }"
            ),
            ["RTMP at 127.0.0.1:1936 opened", "HTTP at port 8081 opened", "vhost a changed"]
        );
        assert_eq!(changes("listen 1 2; vhost a { }", "listen 2; vhost a { }"), ["RTMP at port 1 closed"]);
        let with = |api: &str| format!("http_server {{ enabled on; }} http_api {{ {api} }} vhost a {{ }}");
        assert_eq!(changes(&with(""), &with("enabled on;")), ["API at port 1985 opened", "http_api changed"]);
        assert_eq!(changes(&with(""), &with("enabled on; listen 8080;")), ["http_api changed"]);
        let shared = with("enabled on; listen 1985 8080;");
        assert_eq!(
            changes(&shared, &with("enabled on; listen 8080;")),
            ["API at port 1985 closed", "http_api changed"]
        );
        assert_eq!(
            changes(base, "listen 1935; vhost b { min_latency on; } vhost c { }"),
            ["vhost a removed", "vhost b changed", "vhost c added"]
        );
        assert_eq!(changes(base, "listen 1935; vhost a { enabled off; } vhost b { }"), ["vhost a removed"]);
        assert_eq!(changes("vhost a { enabled off; }", "vhost a { }"), ["vhost a added"]);
        assert_eq!(
            changes(
                base,
                &format!(
                    "daemon on; pid x; user x; work_dir /; reuse_port on; log_level debug; max_connections 7; {base}"
                )
            ),
            [
                "log changed",
                "daemon needs a restart",
                "work_dir needs a restart",
                "user needs a restart",
                "pid needs a restart",
                "reuse_port needs a restart",
                "max_connections changed",
            ]
        );
    }

    #[test]
    fn a_vhost_that_did_not_change_stays_the_same_value() {
        let old = config("vhost a { } vhost b { }");
        let mut new = config("vhost b { min_latency on; } vhost A { } vhost c { }");
        share(&old, &mut new);
        assert!(Rc::ptr_eq(&new.vhosts[1], &old.vhosts[0]));
        assert!(!Rc::ptr_eq(&new.vhosts[0], &old.vhosts[1]) && new.vhosts[0].min_latency);
    }

    #[test]
    fn what_needs_a_restart_is_told_at_each_reload_until_then() {
        let old = config("vhost a { }");
        let mut new = config("daemon on; pid x; user x; work_dir /; reuse_port on; vhost a { }");
        let told = diff(&old, &new);
        assert_eq!(told.len(), 5);
        keep_until_restart(&old, &mut new);
        assert_eq!(old, new);
    }

    #[test]
    fn every_directive_that_differs_is_seen() {
        use crate::conf::schema::{Context, directives};
        let plain = config("vhost v { }");
        for d in directives(Context::Root).iter().filter(|d| d.default == "on" || d.default == "off") {
            let other = if d.default == "on" { "off" } else { "on" };
            let new = config(&format!("{} {other}; vhost v {{ }}", d.name));
            assert!(!diff(&plain, &new).is_empty(), "{}", d.name);
        }
    }
}
