//! What is printed at the start: where to publish to and where to watch, for each address of this machine.

use crate::conf::{Config, DEFAULT_VHOST, Listen};
use std::fmt::Write;
use std::net::IpAddr;

/// Addresses that are shown at most; a router can have dozens.
const MAX_HOSTS: usize = 4;

/// The text for a person who has just started the server. `lan` are this machine's addresses; with `demo`, the
/// demo is what there is to watch.
pub fn text(config: &Config, lan: &[IpAddr], demo: bool) -> String {
    let watch = if demo { "demo" } else { "mystream" };
    let mut out = format!("runnel {}\n", env!("CARGO_PKG_VERSION"));
    let rtmp = config.listen.first();
    let http = config.http_server.listen.first().filter(|_| config.http_server.enabled);
    if let Some(listen) = rtmp {
        let _ = writeln!(out, "\n  Publish to (OBS: server, then stream key `mystream`):");
        for host in hosts(listen, lan) {
            let _ = writeln!(out, "    rtmp://{host}{}/live/mystream", port(listen, 1935));
        }
    }
    if let Some(listen) = http.filter(|_| config.http_server.page) {
        let _ = writeln!(out, "\n  Watch in a browser:");
        for host in hosts(listen, lan) {
            let _ = writeln!(out, "    http://{host}{}/", port(listen, 80));
        }
    }
    if let Some(listen) = rtmp {
        let _ = writeln!(out, "\n  Watch in VLC, ffplay or another server:");
        for host in hosts(listen, lan) {
            let _ = writeln!(out, "    rtmp://{host}{}/live/{watch}", port(listen, 1935));
        }
    }
    if let Some(listen) = http {
        for host in hosts(listen, lan) {
            let _ = writeln!(out, "    http://{host}{}/live/{watch}.flv", port(listen, 80));
        }
        let hls = config.vhost(DEFAULT_VHOST).is_some_and(|vhost| vhost.hls.enabled);
        for host in hosts(listen, lan).iter().filter(|_| hls) {
            let _ = writeln!(out, "    http://{host}{}/live/{watch}.m3u8", port(listen, 80));
        }
    }
    out
}

/// Whether the text names this machine's addresses: those who listen on one address are reached at that one.
pub fn names_lan(config: &Config) -> bool {
    let any = |listen: &[Listen]| {
        listen.first().is_some_and(|listen| listen.addr.is_none_or(|ip| ip.is_unspecified()))
    };
    any(&config.listen) || (config.http_server.enabled && any(&config.http_server.listen))
}

/// The first address to watch at by HTTP, where this machine has one that others can reach: the page, which every
/// telephone can show, or the stream.
pub fn first_http_url(config: &Config, lan: &[IpAddr], demo: bool) -> Option<String> {
    let listen = config.http_server.listen.first().filter(|_| config.http_server.enabled)?;
    let host = hosts(listen, lan).into_iter().next().filter(|host| host != "localhost")?;
    let watch = if demo { "demo" } else { "mystream" };
    let path = if config.http_server.page { String::new() } else { format!("live/{watch}.flv") };
    Some(format!("http://{host}{}/{path}", port(listen, 80)))
}

fn hosts(listen: &Listen, lan: &[IpAddr]) -> Vec<String> {
    let show = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let addresses: Vec<String> = match listen.addr {
        Some(ip) if !ip.is_unspecified() => vec![show(&ip)],
        Some(IpAddr::V4(_)) => lan.iter().filter(|ip| ip.is_ipv4()).map(show).collect(),
        _ => lan.iter().map(show).collect(),
    };
    match addresses.is_empty() {
        true => vec!["localhost".to_owned()],
        false => addresses.into_iter().take(MAX_HOSTS).collect(),
    }
}

fn port(listen: &Listen, usual: u16) -> String {
    if listen.port == usual { String::new() } else { format!(":{}", listen.port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_addresses_are_asked_for_when_they_are_named() {
        let config = |text: &str| crate::conf::load("t.conf", text).unwrap().config;
        assert!(names_lan(&config("listen 1935; vhost __defaultVhost__ { }")));
        assert!(!names_lan(&config("listen 127.0.0.1:1935; vhost __defaultVhost__ { }")));
        let http =
            "listen 127.0.0.1:1935; http_server { enabled on; listen 8080; } vhost __defaultVhost__ { }";
        assert!(names_lan(&config(http)));
    }

    #[test]
    fn each_address_is_named_once_for_each_way() {
        let lan: [IpAddr; 2] = ["192.168.1.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let text = text(&Config::default(), &lan, true);
        for url in [
            "rtmp://192.168.1.7/live/mystream",
            "rtmp://192.168.1.7/live/demo",
            "http://192.168.1.7:8080/",
            "http://192.168.1.7:8080/live/demo.flv",
            "http://[fd00::7]:8080/live/demo.flv",
        ] {
            assert_eq!(text.matches(&format!("{url}\n")).count(), 1, "{url} in {text}");
        }
    }

    #[test]
    fn the_first_address_is_one_that_others_can_reach() {
        let lan: [IpAddr; 1] = ["192.168.1.7".parse().unwrap()];
        let url = |lan: &[IpAddr]| first_http_url(&Config::default(), lan, false);
        assert_eq!(url(&lan).as_deref(), Some("http://192.168.1.7:8080/"));
        let mut bare = Config::default();
        bare.http_server.page = false;
        let flv = first_http_url(&bare, &lan, true);
        assert_eq!(flv.as_deref(), Some("http://192.168.1.7:8080/live/demo.flv"));
        assert_eq!(url(&[]), None);
    }

    #[test]
    fn without_a_network_it_is_localhost() {
        assert!(text(&Config::default(), &[], false).contains("http://localhost:8080/live/mystream.flv"));
    }
}
