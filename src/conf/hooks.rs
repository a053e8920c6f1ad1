//! The typed part of `http_hooks { }` of a vhost and of `heartbeat { }`.

/// Bytes of a URL.
const MAX_URL: usize = 2048;
/// Bytes of a host's name.
const MAX_HOST: usize = 255;

/// An address for `http`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// As written.
    pub text: String,
    /// The host's name or address; an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query; begins with `/`.
    pub path: String,
}

impl Url {
    /// Takes `http://HOST[:PORT][/PATH]` apart. `None` for anything else: other schemes, a user in it, a fragment,
    /// characters that no URL has, more than 2048 bytes.
    pub fn parse(text: &str) -> Option<Url> {
        let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'#');
        let plain = text.len() <= MAX_URL && text.bytes().all(fits);
        let (scheme, rest) = text.split_once("://").filter(|_| plain)?;
        let (authority, path) = rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))?;
        let (host, port) = match authority.strip_prefix('[').map(|v6| v6.split_once(']')) {
            Some(v6) => v6.filter(|(v6, _)| v6.parse::<std::net::Ipv6Addr>().is_ok())?,
            None => authority.split_at_checked(authority.find(':').unwrap_or(authority.len()))?,
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port > 0 && !digits.starts_with('+'))?,
            None if port.is_empty() => 80,
            None => return None,
        };
        let named = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
        let good = scheme.eq_ignore_ascii_case("http") && named && (1..=MAX_HOST).contains(&host.len());
        let slash = if path.starts_with('/') { "" } else { "/" };
        good.then(|| Url { text: text.into(), host: host.into(), port, path: format!("{slash}{path}") })
    }

    /// Host and port as the `Host` header has them.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }
}

/// `http_hooks { }`: who is asked and told over HTTP of what clients do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpHooks {
    /// `enabled`. Default off.
    pub enabled: bool,
    /// `timeout`: ms in which each URL has to answer, waiting for its turn included. Default 30000.
    pub timeout_ms: u64,
    /// `on_connect`: asked before an RTMP connection is confirmed. This list and those below are empty by default.
    pub on_connect: Vec<Url>,
    /// `on_close`: told.
    pub on_close: Vec<Url>,
    /// `on_publish`: asked before a publisher is confirmed.
    pub on_publish: Vec<Url>,
    /// `on_unpublish`: told.
    pub on_unpublish: Vec<Url>,
    /// `on_play`: asked before a viewer is confirmed.
    pub on_play: Vec<Url>,
    /// `on_stop`: told.
    pub on_stop: Vec<Url>,
    /// `on_dvr`: told of complete recordings.
    pub on_dvr: Vec<Url>,
    /// `on_hls`: told of complete segments.
    pub on_hls: Vec<Url>,
    /// `on_hls_notify`: one of them is fetched for each complete segment, with variables in it.
    pub on_hls_notify: Vec<Url>,
}

/// `heartbeat { }`: what tells another server that this one lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// `enabled`. Default off.
    pub enabled: bool,
    /// `interval`: ms. Default 9900.
    pub interval_ms: u64,
    /// `url`. Default `http://127.0.0.1:8085/api/v1/servers`.
    pub url: Option<Url>,
    /// `device_id`. Default empty.
    pub device_id: String,
    /// `summaries`: figures of the process and the machine are told too. Default off.
    pub summaries: bool,
}

/// No value is set yet; the table of directives holds the defaults.
pub(super) const BLANK_HOOKS: HttpHooks = HttpHooks {
    enabled: false,
    timeout_ms: 0,
    on_connect: Vec::new(),
    on_close: Vec::new(),
    on_publish: Vec::new(),
    on_unpublish: Vec::new(),
    on_play: Vec::new(),
    on_stop: Vec::new(),
    on_dvr: Vec::new(),
    on_hls: Vec::new(),
    on_hls_notify: Vec::new(),
};

/// As [`BLANK_HOOKS`].
pub(super) const BLANK_HEARTBEAT: Heartbeat =
    Heartbeat { enabled: false, interval_ms: 0, url: None, device_id: String::new(), summaries: false };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_or_refused() {
        for (text, host, port, path, authority) in [
            ("http://127.0.0.1:8085/api/v1/x", "127.0.0.1", 8085, "/api/v1/x", "127.0.0.1:8085"),
            ("HTTP://hooks.local", "hooks.local", 80, "/", "hooks.local"),
            ("http://a?b=c", "a", 80, "/?b=c", "a"),
            ("http://[::1]:81/x?y=/z", "::1", 81, "/x?y=/z", "[::1]:81"),
            ("http://a/[app]/[stream][param]", "a", 80, "/[app]/[stream][param]", "a"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((&*url.host, url.port, &*url.path, &*url.authority()), (host, port, path, authority));
        }
        for text in [
            "",
            "http://",
            "https://a/",
            "ftp://a",
            "a/b",
            "http:///x",
            "http://a:0",
            "http://a:x/",
            "http://a:+8",
            "http://u@a/",
            "http://[::1/",
            "http://[a]/",
            "http://a/#b",
            "http://a/\u{fc}",
            "http://a:70000",
            "http://a b/",
            "http://a/\r\nX: y",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
        assert_eq!(Url::parse(&format!("http://a/{}", "x".repeat(2048))), None);
    }
}
