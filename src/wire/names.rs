//! Where a stream's name comes from: RTMP and HTTP URLs in all the forms that SRS users write, to one checked name.
//!
//! ```text
//! rtmp://host[:1935]/app/stream[?vhost=V&token=T]      parameters may stand in the app or in the stream
//! rtmp://host/app...vhost...V/stream                   also  app,vhost,V   app&vhost=V   app?domain=V
//! rtmp://host/live/_definst_/stream                    `_definst_` is dropped
//! rtmp://host/app/inner/stream                         the stream is what follows the last slash
//! ```
//!
//! The whole path is joined before it is split at its last slash, so that a publisher and a viewer agree however their
//! programs divide the URL between the RTMP fields `app` and stream.
//!
//! Invariants: a [`StreamName`] has three parts of 1 to [`MAX_PART`] bytes; none contains a control, bidirectional or
//! invisible character, a backslash, or a segment that is empty, `.` or `..`; only the app contains slashes. So it is
//! safe as a path below a directory, in a header and in a log line.
//! Deviations: the vhost is folded to lower case, as host names are; the configuration must look it up that way.

use std::fmt;
use std::rc::Rc;

/// The vhost when a client names none, and in configurations of SRS.
pub const DEFAULT_VHOST: &str = "__defaultVhost__";
/// The app when a client names none.
pub const DEFAULT_APP: &str = "__defaultApp__";
/// The port when an RTMP URL names none.
pub const DEFAULT_RTMP_PORT: u16 = 1935;
/// The longest vhost, app or stream, in bytes.
pub const MAX_PART: usize = 255;
/// The longest parameter string, in bytes.
pub const MAX_PARAMS_LEN: usize = 4096;
/// The most parameters in one request.
pub const MAX_PARAMS: usize = 64;

const DEFAULT_INSTANCE: &str = "_definst_";

/// The identity of a stream. A clone costs a reference count; not `Send`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName {
    /// `vhost/app/stream`
    text: Rc<str>,
    app_at: u16,
    stream_at: u16,
}

impl StreamName {
    /// Checks the three parts. An empty vhost or app stands for its default; a slash in `stream` belongs to the app.
    ///
    /// # Errors
    /// When a part is not fit for a name.
    pub fn new(vhost: &str, app: &str, stream: &str) -> Result<StreamName, NameError> {
        if stream.is_empty() {
            return Err(NameError::NoStream);
        }
        let joined;
        let (app, stream) = match stream.rsplit_once('/') {
            None => (app, stream),
            Some((inner, last)) => {
                joined = if app.is_empty() { inner.to_owned() } else { format!("{app}/{inner}") };
                check(Part::Stream, inner)?;
                (joined.as_str(), last)
            }
        };
        let app = if app.is_empty() { DEFAULT_APP } else { app };
        let vhost = canonical_vhost(vhost);
        check(Part::Vhost, &vhost)?;
        check(Part::App, app)?;
        check(Part::Stream, stream)?;
        let app_at = vhost.len() + 1;
        let stream_at = app_at + app.len() + 1;
        Ok(StreamName {
            text: format!("{vhost}/{app}/{stream}").into(),
            app_at: u16::try_from(app_at).map_err(|_| NameError::TooLong(Part::Vhost))?,
            stream_at: u16::try_from(stream_at).map_err(|_| NameError::TooLong(Part::App))?,
        })
    }

    /// The same app and stream under another vhost, such as the one a configuration maps this vhost to.
    ///
    /// # Errors
    /// When `vhost` is not fit for a name.
    pub fn with_vhost(&self, vhost: &str) -> Result<StreamName, NameError> {
        StreamName::new(vhost, self.app(), self.stream())
    }

    /// The vhost, in lower case, or [`DEFAULT_VHOST`].
    pub fn vhost(&self) -> &str {
        self.part(0, self.app_at.saturating_sub(1))
    }

    /// The app; it may have several segments, as in `live/room1`.
    pub fn app(&self) -> &str {
        self.part(self.app_at, self.stream_at.saturating_sub(1))
    }

    /// The stream: one segment.
    pub fn stream(&self) -> &str {
        self.text.get(usize::from(self.stream_at)..).unwrap_or("")
    }

    fn part(&self, from: u16, to: u16) -> &str {
        self.text.get(usize::from(from)..usize::from(to)).unwrap_or("")
    }
}

impl fmt::Display for StreamName {
    /// `vhost/app/stream`, or `app/stream` in the default vhost.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.vhost() == DEFAULT_VHOST { self.app_at } else { 0 };
        f.write_str(self.text.get(usize::from(from)..).unwrap_or(""))
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A part of a request, for error messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The vhost or host name.
    Vhost,
    /// The app.
    App,
    /// The stream.
    Stream,
    /// The parameters after `?`.
    Params,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Vhost => "vhost",
            Part::App => "app",
            Part::Stream => "stream name",
            Part::Params => "parameter string",
        })
    }
}

/// Why a request names no stream. The text never repeats what the peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// No stream was named.
    NoStream,
    /// Longer than [`MAX_PART`], or [`MAX_PARAMS_LEN`] for the parameters.
    TooLong(Part),
    /// More than [`MAX_PARAMS`] parameters.
    TooManyParams,
    /// A segment that is `.` or `..`.
    DotSegment(Part),
    /// An empty segment: a slash at the front or end, or two in a row.
    EmptySegment(Part),
    /// A control character, NUL and line ends included.
    Control(Part),
    /// A character that is invisible or turns the direction of writing.
    Invisible(Part),
    /// Bytes that are not UTF-8.
    NotUtf8(Part),
    /// A character that means something else in a path or URL, such as a backslash. Always printable ASCII.
    Reserved(Part, char),
    /// White space at the front or end.
    Space(Part),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::NoStream => {
                f.write_str("no stream name: set the stream key, as in rtmp://host/live/KEY")
            }
            NameError::TooLong(Part::Params) => {
                write!(f, "parameter string over {MAX_PARAMS_LEN} bytes: shorten the token")
            }
            NameError::TooLong(part) => write!(f, "{part} over {MAX_PART} bytes: choose a shorter one"),
            NameError::TooManyParams => write!(f, "more than {MAX_PARAMS} parameters: remove some"),
            NameError::DotSegment(part) => write!(f, "{part} has a segment '.' or '..': remove it"),
            NameError::EmptySegment(part) => write!(f, "{part} has a slash too many: remove it"),
            NameError::Control(part) => {
                write!(f, "{part} has a control character or line end: type it again by hand")
            }
            NameError::Invisible(part) => {
                write!(f, "{part} has an invisible character: type it again by hand")
            }
            NameError::NotUtf8(part) => write!(f, "{part} is not UTF-8: use plain letters and digits"),
            NameError::Reserved(part, c) => write!(f, "{part} has the reserved character '{c}': remove it"),
            NameError::Space(part) => write!(f, "{part} begins or ends with a space: remove it"),
        }
    }
}

impl std::error::Error for NameError {}

/// A stream that a client asks for, and what it said besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The stream.
    pub name: StreamName,
    /// The parameters in order, percent-decoded; those of the stream first, then of the app, then of the URL.
    pub params: Vec<(String, String)>,
    /// The parameters as sent, joined by `&` with `?` in front, as in `?vhost=v&token=t`; empty without any. No control
    /// characters, but it may hold secrets and is not meant for a log.
    pub raw_params: String,
}

impl Request {
    /// The first parameter of that name.
    pub fn param(&self, name: &str) -> Option<&str> {
        find(&self.params, name)
    }
}

/// An RTMP URL as clients send it in `tcUrl`, taken apart. Nothing in it has been checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcUrl {
    /// The part before `://`, such as `rtmp`.
    pub scheme: String,
    /// Host name or address; an IPv6 address without brackets; may be empty.
    pub host: String,
    /// The port; [`DEFAULT_RTMP_PORT`] when absent or not a number.
    pub port: u16,
    /// The path without slashes at its ends, without `_definst_` and without parameters.
    pub app: String,
    /// The value of a `vhost` or `domain` parameter.
    pub vhost: Option<String>,
    /// The parameters in order, percent-decoded.
    pub params: Vec<(String, String)>,
    raw: Vec<String>,
}

/// Takes a `tcUrl` apart; `None` when it has no `scheme://`.
pub fn split_tc_url(url: &str) -> Option<TcUrl> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))?;
    let (host, port) = split_host(authority);
    let path = Fields::parse(path.strip_prefix('/').unwrap_or(path));
    let params = path.params();
    Some(TcUrl {
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        port: port.unwrap_or(DEFAULT_RTMP_PORT),
        app: tidy_app(&path.name),
        vhost: vhost_param(&params).map(str::to_owned),
        params,
        raw: path.raw,
    })
}

/// The stream that an RTMP client names with `tcUrl` and `app` of its connect command and the name in publish or play.
///
/// # Errors
/// When no stream is named or a part is not fit for a name.
pub fn from_rtmp(tc_url: Option<&str>, app: &str, stream: &str) -> Result<Request, NameError> {
    let url = tc_url.and_then(split_tc_url).unwrap_or_default();
    let app_url = split_tc_url(app);
    let app_fields = match &app_url {
        Some(inner) => Fields { name: inner.app.clone(), raw: inner.raw.clone() },
        None => Fields::parse(app),
    };
    let stream_fields = Fields::parse(stream);

    let mut raw = stream_fields.raw.clone();
    let app_raw = if app_fields.raw.is_empty() { &url.raw } else { &app_fields.raw };
    raw.extend(app_raw.iter().cloned());

    let mut app = tidy_app(&app_fields.name);
    if app.is_empty() {
        app = url.app;
    }
    let mut stream = tidy_stream(&stream_fields.name).to_owned();
    if stream.is_empty() {
        (app, stream) = last_segment(app, &mut raw)?;
    }
    let host = app_url.map(|u| u.host).filter(|h| !h.is_empty()).unwrap_or(url.host);
    request(&host, &app, &stream, raw)
}

/// The stream that an HTTP client names with its `Host` header, the app and stream segments of its path (the
/// extension taken off, percent-encoding still in place) and the query (without `?`).
///
/// # Errors
/// When no stream is named or a part is not fit for a name.
pub fn from_http(host: Option<&str>, path_stream: (&str, &str), query: &str) -> Result<Request, NameError> {
    let (app, stream) = path_stream;
    let app = percent_decode(app).ok_or(NameError::NotUtf8(Part::App))?;
    let stream = percent_decode(stream).ok_or(NameError::NotUtf8(Part::Stream))?;
    let reserved = |c: &char| matches!(c, '?' | '#');
    if let Some(c) = app.chars().find(reserved) {
        return Err(NameError::Reserved(Part::App, c));
    }
    if let Some(c) = stream.chars().find(reserved) {
        return Err(NameError::Reserved(Part::Stream, c));
    }
    let (host, _port) = split_host(host.unwrap_or(""));
    request(host, &tidy_app(&app), &stream, pieces(query))
}

fn request(host: &str, app: &str, stream: &str, raw: Vec<String>) -> Result<Request, NameError> {
    let raw_params = if raw.is_empty() { String::new() } else { format!("?{}", raw.join("&")) };
    if raw_params.len() > MAX_PARAMS_LEN {
        return Err(NameError::TooLong(Part::Params));
    }
    if raw.len() > MAX_PARAMS {
        return Err(NameError::TooManyParams);
    }
    if raw_params.chars().any(char::is_control) {
        return Err(NameError::Control(Part::Params));
    }
    let params = key_values(&raw);
    let vhost = vhost_param(&params).map_or(host, |v| split_host(v).0);
    let name = StreamName::new(vhost, app, stream)?;
    Ok(Request { name, params, raw_params })
}

/// Decodes `%XX` once. `%` without two hexadecimal digits stays as it is, and so does `+`.
/// `None` when the result is not UTF-8. It may contain any character: check it before use.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let escaped = match (byte, after) {
            (b'%', [high, low, tail @ ..]) => hex(*high).zip(hex(*low)).map(|(h, l)| (h << 4 | l, tail)),
            _ => None,
        };
        match escaped {
            Some((decoded, tail)) => {
                out.push(decoded);
                rest = tail;
            }
            None => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// Text that is safe in a log line: control, bidirectional and invisible characters, quotes and backslashes are
/// escaped, and what exceeds `max` bytes is cut and marked with `...`.
pub fn printable(text: &str, max: usize) -> String {
    const MARK: &str = "...";
    let mut out = String::new();
    let mut fits = 0;
    for c in text.chars() {
        let before = out.len();
        match c {
            '\\' | '"' | '\t' | '\n' | '\r' => out.extend(c.escape_default()),
            '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ if c.is_control() || is_invisible(c) => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
        if before + MARK.len() <= max {
            fits = before;
        }
        if out.len() > max {
            out.truncate(fits);
            if MARK.len() <= max {
                out.push_str(MARK);
            }
            return out;
        }
    }
    out
}

/// The part of a stream's name as sent that is no parameter: those may hold secrets.
pub fn without_params(stream: &str) -> &str {
    params_at(stream).and_then(|(end, _)| stream.get(..end)).unwrap_or(stream)
}

/// A path or name with its parameters split off.
struct Fields {
    name: String,
    /// One `key=value` for each, as sent.
    raw: Vec<String>,
}

impl Fields {
    fn parse(text: &str) -> Fields {
        let (name, params) = match params_at(text) {
            Some((name_end, params_start)) => {
                (text.get(..name_end).unwrap_or(""), text.get(params_start..).unwrap_or(""))
            }
            None => (text, ""),
        };
        Fields { name: name.to_owned(), raw: pieces(params) }
    }

    fn params(&self) -> Vec<(String, String)> {
        key_values(&self.raw)
    }
}

const VHOST_KEYS: [&str; 2] = ["vhost", "domain"];
const SEPARATORS: [&str; 5] = ["...", "&&", "&", ",", "="];

/// Where a name ends and its parameters begin: at the first `?`, or at another separator that stands before a vhost,
/// or at `&` before `key=value`. A comma, an equals sign or dots elsewhere belong to the name.
fn params_at(text: &str) -> Option<(usize, usize)> {
    text.char_indices().find_map(|(at, c)| {
        let rest = text.get(at..)?;
        if c == '?' {
            return Some((at, at + 1));
        }
        let separator = SEPARATORS.into_iter().find(|s| rest.starts_with(s))?;
        let after = rest.strip_prefix(separator)?;
        let is_param = leading_vhost(after).is_some() || (c == '&' && after.contains('='));
        is_param.then_some((at, at + separator.len()))
    })
}

/// Splits `vhost...V`, `vhost,V` or `vhost=V` into its separator and what follows.
fn leading_vhost(text: &str) -> Option<(&'static str, &str)> {
    let after = VHOST_KEYS.into_iter().find_map(|key| text.strip_prefix(key))?;
    SEPARATORS.into_iter().find_map(|s| after.strip_prefix(s).map(|value| (s, value)))
}

/// The parameters of a query, one `key=value` each; `&`, `&&` and a further `?` separate them. A vhost also ends at a
/// comma and at three dots, and where those stand for the equals sign it is written with one.
fn pieces(query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut text = query;
    while !text.is_empty() {
        if let Some((separator, value)) = leading_vhost(text) {
            let ends = ["&", "?", ",", "..."].into_iter().filter_map(|end| value.find(end));
            let end = ends.min().unwrap_or(value.len());
            let (value, rest) = value.split_at_checked(end).unwrap_or((value, ""));
            let as_sent = text.get(..text.len().saturating_sub(rest.len())).unwrap_or("");
            found.push(if separator == "=" { as_sent.to_owned() } else { format!("vhost={value}") });
            text = rest.strip_prefix("...").or(rest.strip_prefix(',')).unwrap_or(rest);
        } else {
            let (piece, rest) =
                text.split_at_checked(text.find(['&', '?']).unwrap_or(text.len())).unwrap_or((text, ""));
            if !piece.is_empty() {
                found.push(piece.to_owned());
            }
            text = rest;
        }
        text = text.trim_start_matches(['&', '?']);
    }
    found
}

fn key_values(raw: &[String]) -> Vec<(String, String)> {
    let decode = |s: &str| percent_decode(s).unwrap_or_else(|| s.to_owned());
    let split = |piece: &String| {
        let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
        (decode(key), decode(value))
    };
    raw.iter().map(split).collect()
}

fn find<'p>(params: &'p [(String, String)], name: &str) -> Option<&'p str> {
    params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn vhost_param(params: &[(String, String)]) -> Option<&str> {
    VHOST_KEYS.into_iter().filter_map(|key| find(params, key)).find(|value| !value.is_empty())
}

/// Splits `host:port`, `[v6]:port` or `user@host` into host and port. The host loses brackets and an IPv6 zone.
fn split_host(authority: &str) -> (&str, Option<u16>) {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').unwrap_or((rest, ""));
        let host = host.split_once('%').map_or(host, |(address, _zone)| address);
        return (host, after.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => (authority, None),
        Some((host, port)) => (host, port.parse().ok()),
        None => (authority, None),
    }
}

fn tidy_app(app: &str) -> String {
    let app = app.trim_end_matches('/');
    if !app.contains(DEFAULT_INSTANCE) {
        return app.to_owned();
    }
    app.split('/').filter(|segment| *segment != DEFAULT_INSTANCE).collect::<Vec<_>>().join("/")
}

fn tidy_stream(stream: &str) -> &str {
    let stream = stream.trim_end_matches('/');
    let stream = stream.strip_prefix("mp4:").or(stream.strip_prefix("flv:")).unwrap_or(stream);
    stream.strip_prefix(DEFAULT_INSTANCE).and_then(|rest| rest.strip_prefix('/')).unwrap_or(stream)
}

/// The stream of a client that put the whole path into the app: after its last slash, or, since a vhost has none,
/// after the slash of a vhost parameter as in `live?vhost=V/livestream`.
fn last_segment(app: String, raw: &mut [String]) -> Result<(String, String), NameError> {
    for piece in raw.iter_mut() {
        let key = piece.split_once('=').map_or("", |(key, _)| key);
        if VHOST_KEYS.contains(&key)
            && let Some((vhost, path)) = piece.split_once('/')
        {
            let stream = path.trim_end_matches('/').to_owned();
            *piece = vhost.to_owned();
            return Ok((app, stream));
        }
    }
    let (inner, last) = app.rsplit_once('/').ok_or(NameError::NoStream)?;
    Ok((inner.to_owned(), tidy_stream(last).to_owned()))
}

fn canonical_vhost(vhost: &str) -> String {
    let vhost = vhost.strip_suffix('.').unwrap_or(vhost);
    if vhost.is_empty() || vhost.eq_ignore_ascii_case(DEFAULT_VHOST) {
        return DEFAULT_VHOST.to_owned();
    }
    vhost.to_ascii_lowercase()
}

fn check(part: Part, text: &str) -> Result<(), NameError> {
    if text.len() > MAX_PART {
        return Err(NameError::TooLong(part));
    }
    for c in text.chars() {
        if c.is_control() {
            return Err(NameError::Control(part));
        }
        if c == char::REPLACEMENT_CHARACTER {
            return Err(NameError::NotUtf8(part));
        }
        if is_invisible(c) {
            return Err(NameError::Invisible(part));
        }
        if is_reserved(part, c) {
            return Err(NameError::Reserved(part, c));
        }
    }
    for segment in text.split('/') {
        if segment.is_empty() {
            return Err(NameError::EmptySegment(part));
        }
        if segment == "." || segment == ".." {
            return Err(NameError::DotSegment(part));
        }
        if segment.trim().len() != segment.len() {
            return Err(NameError::Space(part));
        }
    }
    Ok(())
}

fn is_reserved(part: Part, c: char) -> bool {
    match part {
        Part::Vhost => {
            c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.' | ':' | '*')
        }
        _ => c == '\\',
    }
}

/// Format characters that cannot be seen or that turn the direction of writing, line separators, and the characters
/// beyond Unicode's text. The joiners U+200C and U+200D are text in several scripts and in emoji.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Noise;

    fn rtmp(tc_url: &str, app: &str, stream: &str) -> Result<Request, NameError> {
        from_rtmp((!tc_url.is_empty()).then_some(tc_url), app, stream)
    }

    #[test]
    fn rtmp_names_in_every_form() {
        // tcUrl, app, stream: the name, the parameters as sent
        for (tc_url, app, stream, name, params) in [
            ("rtmp://h/live", "live", "key", "h/live/key", ""),
            ("rtmp://h:1935/live", "live", "key", "h/live/key", ""),
            ("rtmp://H.Example.COM./live", "live", "key", "h.example.com/live/key", ""),
            ("rtmp://192.168.1.7/live", "live", "key", "192.168.1.7/live/key", ""),
            ("rtmp://[::1]:1935/live", "live", "key", "::1/live/key", ""),
            ("rtmp://[fe80::1%25eth0]/live", "live", "key", "fe80::1/live/key", ""),
            ("rtmp://user:pw@h/live", "live", "key", "h/live/key", ""),
            // Parameters in the stream, in the app, in the URL alone
            ("rtmp://h/live", "live", "key?token=t", "h/live/key", "?token=t"),
            ("rtmp://h/live", "live", "key?vhost=v&token=t", "v/live/key", "?vhost=v&token=t"),
            ("rtmp://h/live?vhost=v", "live?vhost=v", "key", "v/live/key", "?vhost=v"),
            ("rtmp://h/live?domain=v", "live?domain=v", "key", "v/live/key", "?domain=v"),
            ("rtmp://h/live?vhost=v", "live", "key", "v/live/key", "?vhost=v"),
            ("rtmp://h/live?token=a", "live?token=a", "key?b=c", "h/live/key", "?b=c&token=a"),
            ("rtmp://h/live", "live?vhost=a", "key?vhost=b", "b/live/key", "?vhost=b&vhost=a"),
            ("rtmp://h/live", "live", "key?vhost=v:1935", "v/live/key", "?vhost=v:1935"),
            ("rtmp://h/live", "live", "key?vhost=&a=b", "h/live/key", "?vhost=&a=b"),
            ("rtmp://h/live", "live", "key?vhost=__defaultvhost__", "live/key", "?vhost=__defaultvhost__"),
            // Other separators
            ("rtmp://h/live...vhost...v", "live...vhost...v", "key", "v/live/key", "?vhost=v"),
            ("", "live...vhost...v...token...t", "key", "v/live/key", "?vhost=v&token...t"),
            ("", "live,vhost,v", "key", "v/live/key", "?vhost=v"),
            ("", "live,vhost,v,token=t", "key", "v/live/key", "?vhost=v&token=t"),
            ("", "live,vhost=v,token=t", "key", "v/live/key", "?vhost=v&token=t"),
            ("", "live...domain=v...token=t", "key", "v/live/key", "?domain=v&token=t"),
            ("", "live?vhostile=a/b", "key", "live/key", "?vhostile=a/b"),
            ("", "live&vhost=v&token=t", "key", "v/live/key", "?vhost=v&token=t"),
            ("", "live&&vhost=v&&token=t", "key", "v/live/key", "?vhost=v&token=t"),
            ("", "live=vhost=v", "key", "v/live/key", "?vhost=v"),
            ("", "live?vhost=v?token=t", "key", "v/live/key", "?vhost=v&token=t"),
            ("", "live?token=t&&vhost=v", "key", "v/live/key", "?token=t&vhost=v"),
            ("", "live", "key&token=t", "live/key", "?token=t"),
            ("", "live", "key...vhost...v", "v/live/key", "?vhost=v"),
            // What only looks like a separator stays in the name
            ("", "live", "a,b=c...d&e", "live/a,b=c...d&e", ""),
            ("", "live", "c2VjcmV0==", "live/c2VjcmV0==", ""),
            // Instances, slashes, defaults
            ("rtmp://h/live/_definst_", "live/_definst_", "key", "h/live/key", ""),
            ("", "live/_definst_/", "key", "live/key", ""),
            ("", "live", "_definst_/key", "live/key", ""),
            ("", "_definst_", "key", "__defaultApp__/key", ""),
            ("", "live/", "key", "live/key", ""),
            ("", "live/?vhost=v", "key/", "v/live/key", "?vhost=v"),
            ("", "", "key", "__defaultApp__/key", ""),
            ("rtmp://h/", "", "key", "h/__defaultApp__/key", ""),
            ("rtmp://h", "", "key", "h/__defaultApp__/key", ""),
            ("rtmp://h/live?a=b", "", "key", "h/live/key", "?a=b"),
            ("nonsense", "live", "key", "live/key", ""),
            ("", "rtmp://h/live?vhost=v", "key", "v/live/key", "?vhost=v"),
            ("", "rtmp://h:1936/live", "key", "h/live/key", ""),
            // The whole path in one field
            ("rtmp://h/live/key", "live/key", "", "h/live/key", ""),
            ("", "live/key/", "", "live/key", ""),
            ("", "live/key?token=t", "", "live/key", "?token=t"),
            ("", "live/key", "?token=t", "live/key", "?token=t"),
            ("", "live?vhost=v/key", "", "v/live/key", "?vhost=v"),
            ("", "live...vhost...v/key", "", "v/live/key", "?vhost=v"),
            ("", "a/b/key", "", "a/b/key", ""),
            ("", "a/b", "c/key", "a/b/c/key", ""),
            ("", "", "live/key", "live/key", ""),
            // Prefixes and letters
            ("", "live", "mp4:key", "live/key", ""),
            ("", "live", "flv:dir/key", "live/dir/key", ""),
            ("", "live", "ключ ü 流", "live/ключ ü 流", ""),
            ("", "live", "key?a=%20b+c", "live/key", "?a=%20b+c"),
        ] {
            let request = rtmp(tc_url, app, stream);
            let got = request.as_ref().map(|r| (r.name.to_string(), r.raw_params.as_str()));
            assert_eq!(got, Ok((name.to_owned(), params)), "{tc_url} | {app} | {stream}");
        }
    }

    #[test]
    fn a_name_is_the_same_however_the_client_divides_the_path() {
        let whole = rtmp("rtmp://h/a/b/c", "a/b/c", "").unwrap().name;
        for (app, stream) in [("a", "b/c"), ("a/b", "c"), ("a/b/", "c"), ("", "a/b/c")] {
            let name = rtmp("rtmp://h/", app, stream).unwrap().name;
            assert_eq!(name, whole, "{app} | {stream}");
            assert_eq!((name.vhost(), name.app(), name.stream()), ("h", "a/b", "c"));
        }
        assert_eq!(from_http(Some("H:8080"), ("a/b", "c"), "").unwrap().name, whole);
    }

    #[test]
    fn parameters_are_decoded_and_found() {
        let request = rtmp("", "live?x=%41%zz", "key?token=a%26b&token=2&flag&&u=a=b").unwrap();
        assert_eq!(request.param("token"), Some("a&b"));
        assert_eq!(request.param("flag"), Some(""));
        assert_eq!(request.param("u"), Some("a=b"));
        assert_eq!(request.param("x"), Some("A%zz"));
        assert_eq!(request.param("none"), None);
        assert_eq!(request.params.len(), 5);
    }

    #[test]
    fn names_that_could_do_harm_are_refused() {
        use NameError::*;
        use Part::*;
        let long = "x".repeat(256);
        for (app, stream, error) in [
            ("live", "", NoStream),
            ("", "", NoStream),
            ("live/", "", NoStream),
            ("live", "?token=t", NoStream),
            ("live", "..", DotSegment(Stream)),
            ("live", "../key", DotSegment(Stream)),
            ("live/..", "key", DotSegment(App)),
            ("../../etc", "passwd", DotSegment(App)),
            ("live", "mp4:../../etc/passwd", DotSegment(Stream)),
            ("live", ".", DotSegment(Stream)),
            ("live/../..", "", DotSegment(App)),
            ("live", "/etc/passwd", EmptySegment(Stream)),
            ("/live", "key", EmptySegment(App)),
            ("a//b", "key", EmptySegment(App)),
            ("live", "a//b", EmptySegment(Stream)),
            ("live", "..\\key", Reserved(Stream, '\\')),
            ("live\\x", "key", Reserved(App, '\\')),
            ("live", "a\0b", Control(Stream)),
            ("live", "key\r\nX: y", Control(Stream)),
            ("live\n", "key", Control(App)),
            ("live", "\u{1b}[31m", Control(Stream)),
            ("live", "\u{85}", Control(Stream)),
            ("live", "key\u{202e}gpj", Invisible(Stream)),
            ("live", "key\u{200b}", Invisible(Stream)),
            ("live", "key\u{feff}", Invisible(Stream)),
            ("live", "key\u{fffd}", NotUtf8(Stream)),
            ("live", " key", Space(Stream)),
            ("live ", "key", Space(App)),
            (long.as_str(), "key", TooLong(App)),
            ("live", long.as_str(), TooLong(Stream)),
            ("live?vhost=a/b", "key", Reserved(Vhost, '/')),
            ("live?vhost=..", "key", DotSegment(Vhost)),
            ("live?vhost=%2e%2e%2f", "key", Reserved(Vhost, '/')),
            ("live?vhost=a%0d%0ab", "key", Control(Vhost)),
            ("live?vhost=a b", "key", Reserved(Vhost, ' ')),
            ("live", "key?a=\r\n", Control(Params)),
        ] {
            assert_eq!(rtmp("rtmp://h/", app, stream).map(|r| r.name), Err(error), "{app:?} | {stream:?}");
            let reason = error.to_string();
            assert!(
                reason.len() < 100 && reason.chars().all(|c| c == ' ' || c.is_ascii_graphic()),
                "{reason}"
            );
        }
        assert_eq!(rtmp("rtmp://a b/live", "live", "key").unwrap_err(), Reserved(Vhost, ' '));
        assert_eq!(rtmp("", &"x".repeat(255), &"y".repeat(255)).unwrap().name.stream().len(), 255);
        let many = format!("key?{}", "a&".repeat(65));
        assert_eq!(rtmp("", "live", &many).unwrap_err(), TooManyParams);
        let big = format!("key?a={}", "x".repeat(4096));
        assert_eq!(rtmp("", "live", &big).unwrap_err(), TooLong(Params));
    }

    #[test]
    fn http_names() {
        use NameError::*;
        for (host, app, stream, query, name, params) in [
            (Some("h:8080"), "live", "key", "", "h/live/key", ""),
            (Some("[::1]:8080"), "live", "key", "", "::1/live/key", ""),
            (None, "live", "key", "", "live/key", ""),
            (Some(""), "live", "key", "", "live/key", ""),
            (Some("h"), "live", "key", "vhost=v&token=a%20b", "v/live/key", "?vhost=v&token=a%20b"),
            (Some("h"), "live", "key", "a=b?vhost=v", "v/live/key", "?a=b&vhost=v"),
            (Some("h"), "live", "%D0%BA%C3%BC", "", "h/live/кü", ""),
            (Some("h"), "live%2Froom", "key", "", "h/live/room/key", ""),
            (Some("h"), "live", "a%252e", "", "h/live/a%2e", ""),
            (Some("h"), "live", "a+b%zz%4", "", "h/live/a+b%zz%4", ""),
            (Some("h"), "", "key", "", "h/__defaultApp__/key", ""),
        ] {
            let request = from_http(host, (app, stream), query);
            let got = request.as_ref().map(|r| (r.name.to_string(), r.raw_params.as_str()));
            assert_eq!(got, Ok((name.to_owned(), params)), "{host:?} {app} {stream} {query}");
        }
        for (app, stream, error) in [
            ("live", "", NoStream),
            ("live", "%2e%2e", DotSegment(Part::Stream)),
            ("live", "..%2fkey", DotSegment(Part::Stream)),
            ("%2e%2E", "key", DotSegment(Part::App)),
            ("live", "a%00", Control(Part::Stream)),
            ("live", "a%0d%0a", Control(Part::Stream)),
            ("live", "a%5cb", Reserved(Part::Stream, '\\')),
            ("live", "a%3Fvhost=x", Reserved(Part::Stream, '?')),
            ("live", "%ff", NotUtf8(Part::Stream)),
            ("live", "%E2%80%AE", Invisible(Part::Stream)),
            ("live", "%2fkey", EmptySegment(Part::Stream)),
        ] {
            assert_eq!(from_http(None, (app, stream), "").map(|r| r.name), Err(error), "{app} {stream}");
        }
    }

    #[test]
    fn tc_urls_are_taken_apart() {
        let url = split_tc_url("rtmps://[2001:db8::1]:444/a/b/?vhost=v&x=y").unwrap();
        assert_eq!((url.scheme.as_str(), url.host.as_str(), url.port), ("rtmps", "2001:db8::1", 444));
        assert_eq!((url.app.as_str(), url.vhost.as_deref(), url.params.len()), ("a/b", Some("v"), 2));
        for (text, host, port, app) in [
            ("rtmp://h", "h", 1935, ""),
            ("rtmp://h:/live", "h", 1935, "live"),
            ("rtmp://h:99999/live", "h", 1935, "live"),
            ("rtmp://::1/live", "::1", 1935, "live"),
            ("rtmp://[::1", "::1", 1935, ""),
            ("rtmp:///live", "", 1935, "live"),
            ("rtmp://h?a=b", "h", 1935, ""),
        ] {
            let url = split_tc_url(text).unwrap();
            assert_eq!((url.host.as_str(), url.port, url.app.as_str()), (host, port, app), "{text}");
        }
        assert_eq!(split_tc_url("h/live"), None);
    }

    #[test]
    fn names_compare_by_value_and_move_between_vhosts() {
        let a = StreamName::new("", "live", "key").unwrap();
        assert_eq!(a, StreamName::new(DEFAULT_VHOST, "live", "key").unwrap());
        assert_eq!((a.vhost(), a.to_string().as_str()), (DEFAULT_VHOST, "live/key"));
        let b = a.with_vhost("V").unwrap();
        assert_eq!((b.to_string().as_str(), format!("{b:?}").as_str()), ("v/live/key", "v/live/key"));
        assert_ne!(a, b);
        assert_eq!(a.with_vhost("a/b"), Err(NameError::Reserved(Part::Vhost, '/')));
        assert_eq!(StreamName::new("v", "live", "key/"), Err(NameError::EmptySegment(Part::Stream)));
    }

    #[test]
    fn a_name_is_told_without_its_parameters() {
        for (sent, name) in
            [("x?token=t", "x"), ("x&key=k", "x"), ("x,vhost=v&t=1", "x"), ("a=b.c", "a=b.c"), ("", "")]
        {
            assert_eq!(without_params(sent), name);
        }
    }

    #[test]
    fn printable_text_is_one_safe_line_within_its_length() {
        assert_eq!(printable("plain ü 流", 100), "plain ü 流");
        assert_eq!(
            printable("a\r\n\t\0\x1b\"\\\u{202e}\u{85}", 100),
            "a\\r\\n\\t\\x00\\x1b\\\"\\\\\\u{202e}\\u{85}"
        );
        assert_eq!(printable("abcdef", 6), "abcdef");
        assert_eq!(printable("abcdefg", 6), "abc...");
        assert_eq!(printable("ab\u{202e}cdef", 9), "ab...");
        assert_eq!(printable("ÜÜÜÜ", 6), "Ü...");
        assert_eq!(
            (printable("abc", 2), printable("abc", 0), printable("", 0)),
            ("".into(), "".into(), "".into())
        );
    }

    #[test]
    fn noise_never_panics_and_what_passes_is_safe() {
        const WORDS: [&str; 24] = [
            "live",
            "key",
            "/",
            "?",
            "vhost",
            "=",
            "...",
            ",",
            "&",
            "&&",
            "_definst_",
            "..",
            "%2e",
            "%",
            "rtmp://",
            "[",
            "]",
            ":",
            "@",
            "\0",
            "\u{202e}",
            "ü",
            "mp4:",
            "\\",
        ];
        let mut noise = Noise(2024);
        let mut text = || (0..noise.below(7)).map(|_| WORDS[noise.below(WORDS.len())]).collect::<String>();
        for _ in 0..30_000 {
            let (a, b, c) = (text(), text(), text());
            for request in [from_rtmp(Some(&a), &b, &c), from_http(Some(&a), (&b, &c), &a)] {
                let Ok(request) = request else { continue };
                let name = &request.name;
                assert!(!name.stream().contains('/') && !name.vhost().contains('/'), "{name:?}");
                let path = format!("{}/{}/{}", name.vhost(), name.app(), name.stream());
                assert_eq!(path, format!("{name:?}"));
                assert!(path.split('/').all(|s| !matches!(s, "" | "." | "..")), "{path}");
                assert!(
                    !path.contains(['\0', '\\', '\u{202e}']) && !request.raw_params.contains('\0'),
                    "{path}"
                );
            }
            assert!(printable(&a, 12).len() <= 12);
        }
    }
}
