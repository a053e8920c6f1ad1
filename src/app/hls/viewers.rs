//! Who watches a stream by HLS. There is no connection that lasts: a viewer is whoever has asked for something lately.
//!
//! With `hls_ctx` a viewer is told by the parameter that its playlist's address got; else by address and `User-Agent`, so that two
//! equal programs behind one address count as one.
//!
//! Invariant: at most [`MAX_VIEWERS`] are known of a stream; who comes beyond is served and not counted.

use crate::net::sys;
use crate::proto::http::request::Request;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Viewers that are counted of a stream.
pub(super) const MAX_VIEWERS: usize = 8192;
/// A viewer who asked for nothing during this many target durations is gone; players ask at least once in each.
const PATIENCE: u64 = 3;
/// The longest `vhost=` that is repeated for each segment; names of vhosts are shorter, escaped too.
const MAX_VHOST: usize = 800;
/// How often those who are gone are looked for, in milliseconds.
const SWEEP_MS: u64 = 1000;

/// The viewers of one stream, and when each was seen.
#[derive(Debug, Default)]
pub(super) struct Viewers {
    seen: HashMap<u64, u64>,
    swept: u64,
}

impl Viewers {
    /// A viewer asks for something.
    pub(super) fn touch(&mut self, who: u64, now: u64) {
        if self.seen.len() < MAX_VIEWERS || self.seen.contains_key(&who) {
            self.seen.insert(who, now);
        }
    }

    /// Once in a while forgets those who were not seen for too long.
    pub(super) fn sweep(&mut self, target_ms: u64, now: u64) {
        if now < self.swept.saturating_add(SWEEP_MS) {
            return;
        }
        self.swept = now;
        let limit = target_ms.saturating_mul(PATIENCE);
        self.seen.retain(|_, seen| now.saturating_sub(*seen) <= limit);
        if self.seen.is_empty() {
            self.seen = HashMap::new();
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }
}

/// A viewer's number by where it is and what it calls itself; nobody can find a number that another one has.
pub(super) fn of_peer(ip: IpAddr, request: &Request, hasher: &RandomState) -> u64 {
    hasher.hash_one((ip, &request.user_agent))
}

/// The viewer's number in `hls_ctx` of a query.
pub(super) fn of_query(query: &str) -> Option<u64> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("hls_ctx="))?;
    let fits = value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(value, 16).ok().filter(|_| fits)
}

/// The query of a playlist for the viewer `who`: what it asked with, and its number.
pub(super) fn query_of(query: &str, who: Option<u64>) -> String {
    let ours = ["hls_ctx", "master", "_HLS_msn", "_HLS_part", "_HLS_skip"];
    let kept = query.split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && !ours.contains(&name)
    });
    let mut out: Vec<String> = kept.map(printable).collect();
    out.extend(who.map(|who| format!("hls_ctx={who:016x}")));
    out.join("&")
}

/// A new viewer's number.
pub(super) fn number() -> u64 {
    let mut bytes = [0; 8];
    sys::random(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// The query that segments get in a playlist asked for with `query`: the vhost, which is theirs too, and the number.
pub(super) fn for_segments(query: &str, who: Option<u64>) -> String {
    let names_vhost =
        |pair: &&str| pair.len() <= MAX_VHOST && (pair.starts_with("vhost=") || pair.starts_with("domain="));
    let vhost = query.split('&').find(names_vhost);
    query_of(vhost.unwrap_or_default(), who)
}

/// What may stand in a URL stays; a playlist must not get other lines or quotes from a query.
fn printable(text: &str) -> String {
    let fits = |c: &char| c.is_ascii_graphic() && !matches!(c, '"' | '#' | '<' | '>' | '\\');
    text.chars().filter(fits).collect()
}

/// The playlist with `query` at each address in it that leads to this server.
pub(super) fn with_query(list: &str, query: &str) -> String {
    let mut out = String::with_capacity(list.len() * 2);
    for line in list.lines() {
        let (before, uri, after) = match line.split_once("URI=\"") {
            _ if !line.starts_with('#') => ("", line, ""),
            Some((before, rest)) => match rest.split_once('"') {
                Some((uri, after)) => (before, uri, after),
                None => (line, "", ""),
            },
            None => (line, "", ""),
        };
        let (open, close) =
            if line.starts_with('#') && !uri.is_empty() { ("URI=\"", "\"") } else { ("", "") };
        out.extend([before, open, uri]);
        if !uri.is_empty() && !uri.contains("://") {
            out.extend([if uri.contains('?') { "&" } else { "?" }, query]);
        }
        out.extend([close, after, "\n"]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_count_once_and_until_they_are_silent() {
        let mut viewers = Viewers::default();
        for now in (0..20_000).step_by(100) {
            viewers.touch(1, now);
            if now < 10_000 {
                viewers.touch(2, now);
            }
            viewers.sweep(2_000, now);
            let expected = if now <= 16_000 { 2 } else { 1 };
            assert!(
                viewers.len() == expected || (15_000..=17_000).contains(&now),
                "{now}: {}",
                viewers.len()
            );
        }
        viewers.sweep(2_000, 30_000);
        assert_eq!((viewers.len(), viewers.seen.capacity()), (0, 0));
    }

    #[test]
    fn no_crowd_makes_the_list_grow_without_bound() {
        let mut viewers = Viewers::default();
        for who in 0..20_000 {
            viewers.touch(who, 5);
        }
        assert_eq!(viewers.len(), MAX_VIEWERS);
        viewers.touch(3, 5_000);
        viewers.sweep(1_000, 6_000);
        assert_eq!(viewers.len(), 1, "one who is known stays known");
    }

    #[test]
    fn numbers_in_queries_are_ours_or_none() {
        assert_eq!(of_query("a=b&hls_ctx=00000000000000ff"), Some(255));
        for query in ["", "hls_ctx=", "hls_ctx=ff", "hls_ctx=+0000000000000ff", "xhls_ctx=00000000000000ff"] {
            assert_eq!(of_query(query), None, "{query}");
        }
        assert_eq!(
            query_of("token=a%20b&hls_ctx=1&_HLS_msn=3&master", Some(255)),
            "token=a%20b&hls_ctx=00000000000000ff"
        );
        assert_eq!(query_of("master=1", None), "");
        assert_eq!(
            for_segments("token=1&vhost=a.b&hls_ctx=1", Some(1)),
            "vhost=a.b&hls_ctx=0000000000000001"
        );
        assert_eq!(for_segments("token=1", None), "");
        assert_eq!(for_segments(&format!("domain={}", "a".repeat(5_000)), None), "");
        assert_eq!(query_of("a=\"\r\n#X&b=ü", None), "a=X&b=");
    }

    #[test]
    fn each_address_here_carries_the_query_and_none_elsewhere() {
        let list = "#EXTM3U\n#EXT-X-MAP:URI=\"a\"\n#EXT-X-PART:DURATION=1.000,URI=\"x-1.0.ts\",INDEPENDENT=YES\n\
                    #EXTINF:1.000,\nx-1.ts\nhttp://cdn/x-2.ts\nx-3.ts?a=b\n";
        assert_eq!(
            with_query(list, "q=1"),
            "#EXTM3U\n#EXT-X-MAP:URI=\"a?q=1\"\n#EXT-X-PART:DURATION=1.000,URI=\"x-1.0.ts?q=1\",INDEPENDENT=YES\n\
             #EXTINF:1.000,\nx-1.ts?q=1\nhttp://cdn/x-2.ts\nx-3.ts?a=b&q=1\n"
        );
    }
}
