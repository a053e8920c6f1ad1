//! HTTP requests: bytes to heads, and bodies stepped over.   Spec: RFC 9112, sections 3, 6 and 9.
//!
//! In: any split of a connection's bytes, requests one after another.  Out: one [`Request`] at a time; the next is
//! read when the caller asks again.
//!
//! Invariants: a head takes at most [`MAX_HEAD`] bytes and [`MAX_HEADERS`] lines; nothing is held between requests.
//! Deviations: a request body is skipped, not read (no resource here takes one yet); `Transfer-Encoding` in a
//! request is refused, since nothing could be gained from it but smuggling.

use super::conditional::Conditions;
use std::fmt;

/// Longest request target in bytes.
pub const MAX_TARGET: usize = 8 << 10;
/// Longest request head in bytes.
pub const MAX_HEAD: usize = 16 << 10;
/// Header lines in a request at most.
pub const MAX_HEADERS: usize = 64;
/// Longest body that is skipped to keep a connection alive.
pub const MAX_SKIPPED_BODY: u64 = 64 << 10;

/// The method, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The resource.
    Get,
    /// The resource's head alone.
    Head,
    /// What is allowed (CORS preflight).
    Options,
    /// Have it gone.
    Delete,
    /// Any other.
    Other,
}

impl Method {
    /// As it is written, but `OTHER` for any other.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Options => "OPTIONS",
            Method::Delete => "DELETE",
            Method::Other => "OTHER",
        }
    }
}

/// A request head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, percent-encoding in place; starts with a slash, or is `*`.
    pub path: String,
    /// What follows the first `?`.
    pub query: String,
    /// The host asked for, with its port, from the request line or the `Host` header.
    pub host: Option<String>,
    /// `Origin`, when a page of another host asks.
    pub origin: bool,
    /// `Access-Control-Request-Private-Network: true`.
    pub private_network: bool,
    /// Minor version: 0 or 1.
    pub minor: u8,
    /// Whether the client lets the connection live on.
    pub keep_alive: bool,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// `Range` and the conditions of the request.
    pub conditions: Conditions,
    /// Whether the answer may be packed with gzip.
    pub gzip: bool,
    /// The key of a WebSocket upgrade.
    pub websocket: Option<String>,
    /// The page that asks, from `Referer`, else `Origin`.
    pub page: Option<String>,
    /// `X-Forwarded-For`: whom proxies ask for. To be believed only from those that are trusted.
    pub forwarded: Option<String>,
    /// `Authorization`.
    pub authorization: Option<String>,
    body: Option<u64>,
    told_host: Option<String>,
}

/// Why a request cannot be read. The connection is closed after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestError {
    /// Not HTTP, or broken.
    Malformed,
    /// It looks like RTMP.
    Rtmp,
    /// It looks like TLS.
    Tls,
    /// The head is too long or has too many lines.
    TooLong,
    /// The first line alone is too long.
    TargetTooLong,
    /// A body that is too long or of unknown length.
    Body,
}

impl RequestError {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            RequestError::Malformed | RequestError::Rtmp | RequestError::Tls => 400,
            RequestError::TooLong => 431,
            RequestError::TargetTooLong => 414,
            RequestError::Body => 413,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Malformed => f.write_str("this is no HTTP request"),
            RequestError::Rtmp => f.write_str("RTMP came to the HTTP port: use the RTMP port (1935)"),
            RequestError::Tls => f.write_str("TLS came to the plain HTTP port: use http://"),
            RequestError::TooLong => {
                write!(f, "the request head exceeds {MAX_HEAD} bytes or {MAX_HEADERS} lines")
            }
            RequestError::TargetTooLong => write!(f, "the URL exceeds {MAX_TARGET} bytes"),
            RequestError::Body => {
                write!(f, "a request body is not taken here (limit {MAX_SKIPPED_BODY} bytes)")
            }
        }
    }
}

impl std::error::Error for RequestError {}

/// Reads the requests of one connection.
#[derive(Debug, Default)]
pub struct Requests {
    head: Vec<u8>,
    skip: u64,
}

impl Requests {
    /// Takes from `input` up to the end of the next request. `Ok(None)`: all was taken, more is needed.
    ///
    /// # Errors
    /// When the bytes are no request; the connection cannot go on.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Request>, RequestError> {
        self.skip_body(input);
        while self.skip == 0 && !input.is_empty() {
            let end = input.iter().position(|b| *b == b'\n').map_or(input.len(), |at| at + 1);
            let (line, rest) = input.split_at_checked(end).unwrap_or((input, &[]));
            let blank = matches!(line, b"\r\n" | b"\n");
            if self.head.is_empty() {
                foreign(line)?;
                // Blank lines before a request are passed over (RFC 9112, 2.2).
                if blank {
                    *input = rest;
                    continue;
                }
            }
            if self.head.len() + line.len() > MAX_TARGET && !self.head.contains(&b'\n') {
                return Err(RequestError::TargetTooLong);
            }
            if self.head.len() + line.len() > MAX_HEAD {
                return Err(RequestError::TooLong);
            }
            let at_line_start = self.head.last() == Some(&b'\n');
            self.head.extend_from_slice(line);
            *input = rest;
            if at_line_start && blank || self.head.ends_with(b"\n\r\n") {
                let request = parse(&std::mem::take(&mut self.head))?;
                self.skip = request.body.unwrap_or(0);
                self.skip_body(input);
                return Ok(Some(request));
            }
        }
        Ok(None)
    }

    /// Memory taken, in bytes.
    pub fn heap(&self) -> usize {
        self.head.capacity()
    }

    /// Whether part of a head is here, so that the rest has to come soon.
    pub fn mid_head(&self) -> bool {
        !self.head.is_empty()
    }

    fn skip_body(&mut self, input: &mut &[u8]) {
        let take = usize::try_from(self.skip).unwrap_or(usize::MAX).min(input.len());
        *input = input.get(take..).unwrap_or_default();
        self.skip -= take as u64;
    }
}

/// Another protocol on this port is told apart by its first byte.
fn foreign(line: &[u8]) -> Result<(), RequestError> {
    match line.first() {
        Some(3) => Err(RequestError::Rtmp),
        Some(0x16) => Err(RequestError::Tls),
        Some(first) if !first.is_ascii_graphic() && !matches!(first, b'\r' | b'\n') => {
            Err(RequestError::Malformed)
        }
        _ => Ok(()),
    }
}

fn parse(head: &[u8]) -> Result<Request, RequestError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(RequestError::Malformed),
        Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooLong),
        Err(_) => return Err(RequestError::Malformed),
    }
    let minor = parsed.version.unwrap_or(0);
    let mut request = target(parsed.path.unwrap_or_default())?;
    request.method = match parsed.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("OPTIONS") => Method::Options,
        Some("DELETE") => Method::Delete,
        _ => Method::Other,
    };
    request.minor = minor;
    request.keep_alive = minor > 0;
    for header in parsed.headers.iter() {
        field(&mut request, header.name, header.value)?;
    }
    let told = request.told_host.take();
    request.host = request.host.or(told);
    Ok(request)
}

/// The request target: `/path?query`, `http://host/path?query` or `*`.
fn target(target: &str) -> Result<Request, RequestError> {
    let scheme = target.get(..7).filter(|s| s.eq_ignore_ascii_case("http://"));
    let (host, rest) = match scheme.and_then(|s| target.get(s.len()..)) {
        Some(rest) => {
            let (host, path) =
                rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len())).unwrap_or((rest, ""));
            (Some(host.to_owned()), if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
        }
        None => (None, target.to_owned()),
    };
    if !rest.starts_with('/') && rest != "*" {
        return Err(RequestError::Malformed);
    }
    let (path, query) = rest.split_once('?').unwrap_or((&rest, ""));
    Ok(Request {
        method: Method::Other,
        path: path.to_owned(),
        query: query.to_owned(),
        host,
        origin: false,
        private_network: false,
        minor: 0,
        keep_alive: false,
        user_agent: None,
        conditions: Conditions::default(),
        gzip: false,
        websocket: None,
        page: None,
        forwarded: None,
        authorization: None,
        body: None,
        told_host: None,
    })
}

fn field(request: &mut Request, name: &str, value: &[u8]) -> Result<(), RequestError> {
    let text = || std::str::from_utf8(value).map(str::trim).map_err(|_| RequestError::Malformed);
    if name.eq_ignore_ascii_case("host") {
        // One more that says otherwise is how requests are smuggled past a proxy (RFC 9112, 3.2). An absolute target has
        // set the host already, and counts.
        let host = text()?.to_owned();
        if request.told_host.as_ref().is_some_and(|before| *before != host) {
            return Err(RequestError::Malformed);
        }
        request.told_host = Some(host);
    } else if name.eq_ignore_ascii_case("connection") {
        for token in text()?.split(',').map(str::trim) {
            if token.eq_ignore_ascii_case("close") {
                request.keep_alive = false;
            } else if token.eq_ignore_ascii_case("keep-alive") {
                request.keep_alive = true;
            }
        }
    } else if name.eq_ignore_ascii_case("origin") {
        request.origin = true;
        if request.page.is_none() {
            request.page = text().ok().map(str::to_owned);
        }
    } else if name.eq_ignore_ascii_case("referer") {
        request.page = text().ok().map(str::to_owned);
    } else if name.eq_ignore_ascii_case("x-forwarded-for") {
        // Several lines are one list (RFC 9110, 5.3).
        let line = text()?;
        request.forwarded = Some(match request.forwarded.take() {
            Some(before) => format!("{before}, {line}"),
            None => line.to_owned(),
        });
    } else if name.eq_ignore_ascii_case("authorization") {
        request.authorization = Some(text()?.to_owned());
    } else if name.eq_ignore_ascii_case("access-control-request-private-network") {
        request.private_network = text()?.eq_ignore_ascii_case("true");
    } else if name.eq_ignore_ascii_case("user-agent") {
        request.user_agent = text().ok().map(str::to_owned);
    } else if name.eq_ignore_ascii_case("accept-encoding") {
        request.gzip = text().is_ok_and(takes_gzip);
    } else if name.eq_ignore_ascii_case("sec-websocket-key") {
        request.websocket = text().ok().filter(|key| !key.is_empty()).map(str::to_owned);
    } else if name.eq_ignore_ascii_case("content-length") {
        let length = text()?.parse().map_err(|_| RequestError::Malformed)?;
        if length > MAX_SKIPPED_BODY {
            return Err(RequestError::Body);
        }
        if request.body.replace(length).is_some_and(|before| before != length) {
            return Err(RequestError::Malformed);
        }
    } else if name.eq_ignore_ascii_case("transfer-encoding") {
        return Err(RequestError::Body);
    } else if let Ok(value) = text() {
        request.conditions.field(name, value);
    }
    Ok(())
}

/// Whether `Accept-Encoding` (RFC 9110, 12.5.3) names gzip, and does not do so to refuse it.
fn takes_gzip(value: &str) -> bool {
    value.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty());
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(requests: &mut Requests, mut input: &[u8]) -> Result<Vec<Request>, RequestError> {
        let mut found = Vec::new();
        while let Some(request) = requests.feed(&mut input)? {
            found.push(request);
        }
        assert!(input.is_empty());
        Ok(found)
    }

    const TWO: &[u8] = b"\r\nGET /live/x.flv?a=1?b HTTP/1.1\r\nHost: cam.lan:8080\r\nOrigin: http://o\r\n\
        User-Agent: VLC/3\r\nContent-Length: 5\r\n\r\nhelloHEAD http://[::1]:80/y HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";

    #[test]
    fn every_split_gives_the_same_requests() {
        let whole = all(&mut Requests::default(), TWO).unwrap();
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[0].path.as_str(), whole[0].query.as_str()), ("/live/x.flv", "a=1?b"));
        assert_eq!(whole[0].host.as_deref(), Some("cam.lan:8080"));
        assert!(whole[0].keep_alive && whole[0].origin && whole[0].minor == 1);
        assert_eq!((whole[1].method, whole[1].path.as_str(), whole[1].minor), (Method::Head, "/y", 0));
        assert_eq!(whole[1].host.as_deref(), Some("[::1]:80"));
        assert!(whole[1].keep_alive);
        for cut in 0..TWO.len() {
            let mut requests = Requests::default();
            let mut found = all(&mut requests, &TWO[..cut]).unwrap();
            found.extend(all(&mut requests, &TWO[cut..]).unwrap());
            assert_eq!(found, whole, "cut at {cut}");
        }
        let mut requests = Requests::default();
        let found: Vec<_> = TWO.iter().flat_map(|b| all(&mut requests, &[*b]).unwrap()).collect();
        assert_eq!(found, whole);
    }

    #[test]
    fn gzip_is_taken_by_who_says_so() {
        for value in ["gzip", "deflate, gzip", "br;q=1.0, GZIP;q=0.5, *;q=0", "gzip ;q=1"] {
            assert!(takes_gzip(value), "{value}");
        }
        for value in ["", "identity", "br", "gzip;q=0", "gzip; q=0.00, br", "xgzip"] {
            assert!(!takes_gzip(value), "{value}");
        }
    }

    #[test]
    fn bare_newlines_end_a_head_too() {
        let found = all(&mut Requests::default(), b"GET / HTTP/1.1\nHost: a\n\n").unwrap();
        assert_eq!(found[0].host.as_deref(), Some("a"));
    }

    #[test]
    fn what_is_no_request_says_what_it_is() {
        let error = |bytes: &[u8]| all(&mut Requests::default(), bytes).unwrap_err();
        assert_eq!(error(b"\x03\0\0\0"), RequestError::Rtmp);
        assert_eq!(error(b"\x16\x03\x01"), RequestError::Tls);
        assert_eq!(error(b"\0\xff"), RequestError::Malformed);
        assert_eq!(error(b"hello there\r\n\r\n"), RequestError::Malformed);
        assert_eq!(error(b"GET live/x.flv HTTP/1.1\r\n\r\n"), RequestError::Malformed);
        assert_eq!(error(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), RequestError::Body);
        assert_eq!(error(b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"), RequestError::Body);
        assert_eq!(error(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), RequestError::Malformed);
        let twice = b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(error(twice), RequestError::Malformed);
        assert_eq!(error(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), RequestError::Malformed);
    }

    #[test]
    fn endless_heads_are_cut_off() {
        let mut requests = Requests::default();
        let mut fed = 0;
        let error = loop {
            match requests.feed(&mut &[b'a'; 100][..]) {
                Ok(_) => fed += 100,
                Err(error) => break error,
            }
        };
        assert_eq!((error, error.status()), (RequestError::TargetTooLong, 414));
        assert!(fed <= MAX_TARGET);
        let long = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(MAX_HEAD));
        assert_eq!(all(&mut Requests::default(), long.as_bytes()), Err(RequestError::TooLong));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(all(&mut Requests::default(), many.as_bytes()), Err(RequestError::TooLong));
    }
}
