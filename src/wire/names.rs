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
    /// A character that means something else in a path or URL, such as a backslash.
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
            NameError::Reserved(part, c) => {
                write!(f, "{part} has the reserved character '{}': remove it", c.escape_default())
            }
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
    /// The parameters as sent, `?` in front, as in `?vhost=v&token=t`; empty without any. No control characters, but
    /// it may hold secrets and is not meant for a log.
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

/// The parameters of a query, one `key=value` each; `&`, `&&` and a further `?` separate them.
fn pieces(query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut text = query;
    while !text.is_empty() {
        if let Some((separator, value)) = leading_vhost(text) {
            let end = value.find(['&', '?']).unwrap_or(value.len());
            let end = match separator {
                "..." | "," => value.find(separator).map_or(end, |at| at.min(end)),
                _ => end,
            };
            let (value, rest) = value.split_at_checked(end).unwrap_or((value, ""));
            found.push(format!("vhost={value}"));
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
    for piece in raw.iter_mut().filter(|piece| VHOST_KEYS.iter().any(|key| piece.starts_with(key))) {
        if let Some((vhost, path)) = piece.split_once('/') {
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
    vhost.to_lowercase()
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
