//! Who may publish and play: `security { }` by address, `refer { }` by the page that the client is on.
//!
//! Asked before anything is confirmed. The rules are SRS's: `deny` comes first; then, where any `allow` stands, whoever
//! none allows is refused; no rule at all refuses everybody; a client that names no page is on none. Deviation: the host
//! of a page is compared label by label, so `evil-example.com` does not pass for `example.com`.

use super::world::World;
use crate::conf::{Act, Refer, Rule, Security, Vhost};
use crate::net::slots::Id;
use crate::wire::names::printable;
use std::net::IpAddr;

/// Bytes of a page's URL that are kept.
const MAX_PAGE: usize = 256;
/// Characters of a page's host in a log line.
const QUOTED: usize = 80;

/// Why somebody may not, for the client, and what the operator can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One line.
    pub why: String,
    /// One line.
    pub remedy: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.why, self.remedy)
    }
}

/// Whether a client at `ip`, on the page of this URL, may publish to or play from the vhost.
///
/// # Errors
/// Why not.
pub fn check(vhost: &Vhost, act: Act, ip: IpAddr, page: Option<&str>) -> Result<(), Refusal> {
    let ip = ip.to_canonical();
    if vhost.security.enabled {
        address(&vhost.security, act, ip)
            .map_err(|(why, remedy)| Refusal { why, remedy: format!("{remedy} of vhost {}", vhost.name) })?;
    }
    if vhost.refer.enabled {
        refer(&vhost.refer, act, page)
            .map_err(|(why, remedy)| Refusal { why, remedy: format!("{remedy} of vhost {}", vhost.name) })?;
    }
    Ok(())
}

fn address(security: &Security, act: Act, ip: IpAddr) -> Result<(), (String, String)> {
    let is = |rule: &&Rule| rule.act == act && rule.net.is_none_or(|net| net.contains(ip));
    let word = act.word();
    if let Some(rule) = security.deny.iter().find(is) {
        let whom = rule.net.map_or_else(|| String::from("all"), |net| format!("{}/{}", net.addr, net.prefix));
        let remedy = format!("see `deny {word} {whom}` in `security`");
        return Err((format!("{ip} may not {word} here"), remedy));
    }
    let open = security.allow.is_empty() && !security.deny.is_empty();
    if open || security.allow.iter().any(|rule| is(&rule)) {
        return Ok(());
    }
    Err((format!("{ip} may not {word} here"), format!("add `allow {word} {ip};` to `security`")))
}

fn refer(refer: &Refer, act: Act, page: Option<&str>) -> Result<(), (String, String)> {
    let own = match act {
        Act::Publish => &refer.publish,
        Act::Play => &refer.play,
    };
    let host = page.map(page_host).unwrap_or_default();
    let within = |domain: &String| {
        let below = host.strip_suffix(domain.as_str());
        below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let passes = |list: &[String]| list.is_empty() || list.iter().any(within);
    if passes(&refer.all) && passes(own) {
        return Ok(());
    }
    let word = act.word();
    let why = match host.as_str() {
        "" => format!("no page is named, and only those of some sites may {word} here"),
        host => format!("pages of {} may not {word} here", printable(host, QUOTED)),
    };
    Err((why, String::from("see `refer`")))
}

/// The host in a URL, in lower case; empty when there is none.
fn page_host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// The client's address as a chain of proxies tells it (`X-Forwarded-For`), as far as they are trusted.
pub fn client_ip(world: &World, peer: IpAddr, forwarded: Option<&str>) -> IpAddr {
    let trusted = |ip: IpAddr| world.config.trusted_proxies.iter().any(|net| net.contains(ip));
    let mut ip = peer.to_canonical();
    for hop in forwarded.unwrap_or_default().rsplit(',') {
        match hop.trim().parse::<IpAddr>() {
            Ok(before) if trusted(ip) => ip = before.to_canonical(),
            _ => break,
        }
    }
    ip
}

impl World {
    /// Remembers the page that an RTMP client is on, if any vhost asks for it, or tells programs of it. Its query may hold secrets and is left out.
    pub fn note_page(&mut self, id: Id, page: Option<&str>) {
        self.pages.remove(&id);
        let asked = self
            .config
            .vhosts
            .iter()
            .any(|vhost| vhost.refer.enabled || vhost.exec.enabled || vhost.cluster.asks());
        if let Some(page) = page.filter(|_| asked) {
            let plain = page.split(['?', '#']).next().unwrap_or_default();
            let end =
                plain.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX_PAGE);
            let end = end.last().unwrap_or(0);
            self.pages.insert(id, plain.get(..end).unwrap_or_default().into());
        }
    }

    /// Whether an RTMP client may; see [`check`].
    ///
    /// # Errors
    /// Why not.
    pub fn may(&self, vhost: &Vhost, act: Act, id: Id, ip: IpAddr) -> Result<(), Refusal> {
        check(vhost, act, ip, self.pages.get(&id).map(|page| &**page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf;
    use std::rc::Rc;

    fn vhost(text: &str) -> Rc<Vhost> {
        conf::load("t", &format!("vhost v {{ {text} }}")).unwrap().config.vhosts[0].clone()
    }

    #[test]
    fn deny_comes_first_then_allow_and_no_rule_refuses_all() {
        let asked = |rules: &str, act: Act, ip: &str| {
            let vhost = vhost(&format!("security {{ enabled on; {rules} }}"));
            check(&vhost, act, ip.parse().unwrap(), None).map_err(|refusal| refusal.to_string())
        };
        let publish = |rules, ip| asked(rules, Act::Publish, ip);
        let play = |rules, ip| asked(rules, Act::Play, ip);
        let both = "allow publish 10.0.0.0/8; allow play all; deny publish 10.9.0.0/16;";
        assert_eq!(publish(both, "10.1.2.3"), Ok(()));
        assert_eq!(publish(both, "::ffff:10.1.2.3"), Ok(()));
        assert_eq!(
            publish(both, "::ffff:10.9.2.3").unwrap_err(),
            "10.9.2.3 may not publish here: see `deny publish 10.9.0.0/16` in `security` of vhost v"
        );
        assert_eq!(
            publish(both, "fd00::1").unwrap_err(),
            "fd00::1 may not publish here: add `allow publish fd00::1;` to `security` of vhost v"
        );
        assert_eq!(play(both, "fd00::1"), Ok(()));
        let only_deny = "deny play fd00::/8;";
        assert!(play(only_deny, "fd12::1").is_err() && play(only_deny, "fe80::1").is_ok());
        assert!(publish(only_deny, "fd12::1").is_ok());
        let only_publish = "allow publish 127.0.0.1;";
        assert!(play(only_publish, "127.0.0.1").is_err(), "an allow of one thing allows nothing else");
        assert!(play("", "127.0.0.1").is_err() && publish("", "127.0.0.1").is_err());
        assert!(
            check(&vhost("security { allow play 1.1.1.1; }"), Act::Play, [2, 2, 2, 2].into(), None).is_ok()
        );
    }

    #[test]
    fn pages_are_known_by_whole_labels_of_their_host() {
        let vhost = vhost("refer { enabled on; all example.com 10.0.0.1; publish studio.example.com; }");
        let ip = IpAddr::from([1, 2, 3, 4]);
        let play = |page: &str| check(&vhost, Act::Play, ip, Some(page)).is_ok();
        for page in [
            "http://example.com/a?b",
            "https://WWW.Example.com:8443",
            "example.com",
            "http://a@example.com./x",
            "http://10.0.0.1:8080/",
        ] {
            assert!(play(page), "{page}");
        }
        for page in [
            "http://evil-example.com/",
            "http://example.com.evil.org/",
            "http://evil.org/example.com",
            "http://example.com@evil.org/",
            "http://evil.org?http://example.com",
            "http://evil.org\\.example.com/",
            "",
            "null",
            "http://[::1]/",
            "file:///example.com",
        ] {
            assert!(!play(page), "{page}");
        }
        let publish = |page| check(&vhost, Act::Publish, ip, Some(page)).is_ok();
        assert!(publish("http://studio.example.com/") && !publish("http://example.com/"));
        let refusal = check(&vhost, Act::Play, ip, None).unwrap_err().to_string();
        assert!(
            refusal.starts_with("no page is named") && refusal.ends_with("see `refer` of vhost v"),
            "{refusal}"
        );
    }

    #[test]
    fn a_forwarded_address_counts_as_far_as_proxies_are_trusted() {
        let config = conf::load("t", "trusted_proxy 127.0.0.1 10.0.0.0/8; vhost v { }").unwrap().config;
        let world = World::new(Rc::new(config));
        let of = |peer: &str, header| client_ip(&world, peer.parse().unwrap(), header).to_string();
        assert_eq!(of("9.9.9.9", Some("1.1.1.1")), "9.9.9.9", "anybody can write a header");
        assert_eq!(of("::ffff:127.0.0.1", Some("1.1.1.1")), "1.1.1.1");
        assert_eq!(of("127.0.0.1", Some("6.6.6.6, 1.1.1.1 , 10.0.0.7")), "1.1.1.1");
        assert_eq!(of("127.0.0.1", Some("6.6.6.6, what")), "127.0.0.1");
        assert_eq!(of("127.0.0.1", None), "127.0.0.1");
    }

    #[test]
    fn a_page_is_kept_only_where_it_is_asked_for_and_without_its_query() {
        let mut world = World::new(Rc::new(conf::Config::default()));
        let id = Id::from_token(1);
        world.note_page(id, Some("http://a.b/"));
        assert!(world.pages.is_empty());
        let config = conf::load("t", "vhost v { refer { enabled on; play a.b; } }").unwrap().config;
        let vhost = config.vhosts[0].clone();
        world.config = Rc::new(config);
        world.note_page(id, Some(&format!("http://a.b/{}?secret=1", "\u{fc}".repeat(400))));
        let kept = &world.pages[&id];
        assert!(kept.len() <= MAX_PAGE && !kept.contains("secret"), "{kept}");
        let ip = IpAddr::from([1, 2, 3, 4]);
        assert!(world.may(&vhost, Act::Play, id, ip).is_ok());
        world.note_page(id, None);
        assert!(world.may(&vhost, Act::Play, id, ip).is_err());
    }
}
