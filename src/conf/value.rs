//! What the arguments of a directive may be, and how they become a value.

use std::net::IpAddr;

use super::error::{Reports, Span};
use super::guard::{Act, Rule};
use super::hooks::Url;
use super::parse::Token;
use super::reference;
use super::schema::{Context, Directive};
use super::typed::{IpNet, Listen};

/// Milliseconds in a second.
pub(super) const SECOND: u64 = 1000;
/// Milliseconds in an hour.
pub(super) const HOUR: u64 = 3600 * SECOND;
/// Characters in a free text.
const MAX_TEXT: usize = 4096;

const TIMES: &[(&str, u64)] = &[("ms", 1), ("s", SECOND), ("m", 60 * SECOND), ("h", HOUR)];
const SIZES: &[(&str, u64)] = &[("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30)];

/// What a directive takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `name { … }`: a block of directives of that context.
    Block(Context),
    /// `name NAME { … }`, any number of times under different names.
    NamedBlock(Context),
    /// `on` or `off`. As in SRS, any other word means the default.
    Flag,
    /// A number from `min` to `max`.
    Count {
        /// The least allowed.
        min: u64,
        /// The greatest allowed.
        max: u64,
    },
    /// Bytes from `min` to `max`, with `k`, `m` or `g` for KiB, MiB and GiB.
    Size {
        /// The least allowed.
        min: u64,
        /// The greatest allowed.
        max: u64,
        /// The least and the greatest that draw no warning.
        usual: (u64, u64),
    },
    /// A time from `min` to `max` ms, with `ms`, `s`, `m` or `h`, decimals allowed.
    Time {
        /// Milliseconds that a number without a unit counts.
        unit: u64,
        /// The least allowed, ms.
        min: u64,
        /// The greatest allowed, ms.
        max: u64,
    },
    /// A number from `min` to `max` with up to three decimals; the value is in thousandths, as the bounds are.
    Ratio {
        /// The least allowed.
        min: u64,
        /// The greatest allowed.
        max: u64,
    },
    /// One of these words.
    Words(&'static [&'static str]),
    /// One free text, such as a path.
    Text,
    /// Places to listen at; several directives add up.
    Listen,
    /// Addresses and ranges of addresses; several directives add up.
    Nets,
    /// URL patterns; several directives add up.
    Mounts,
    /// `all`, or streams as `app/stream`; several directives add up.
    Streams,
    /// One host and path, below which all URLs are meant.
    Prefix,
    /// `publish` or `play`, then `all`, addresses or ranges of addresses; several directives add up.
    Rules,
    /// Names of hosts; several directives add up.
    Domains,
    /// One URL of HTTP.
    Url,
    /// URLs of HTTP; several directives add up.
    Urls,
    /// Hosts of RTMP servers, with ports; several directives add up.
    Servers,
    /// A block of arguments for a program: `name value;` is `-name value`.
    Params,
    /// A program with its arguments; several directives are several programs.
    Command,
}

/// The value of a directive. The table's setters take it apart; a setter that asks for another type than its
/// [`Kind`] yields gets an empty one, which the tests of the table would show.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Flag(bool),
    Num(u64),
    Text(&'a str),
    Listen(Vec<Listen>),
    Nets(Vec<IpNet>),
    Mounts(Vec<String>),
    Rules(Vec<Rule>),
    Domains(Vec<String>),
    Urls(Vec<Url>),
}

impl<'a> Value<'a> {
    pub(super) fn flag(self) -> bool {
        matches!(self, Value::Flag(true))
    }

    pub(super) fn num(self) -> u64 {
        if let Value::Num(n) = self { n } else { 0 }
    }

    pub(super) fn num32(self) -> u32 {
        u32::try_from(self.num()).unwrap_or(u32::MAX)
    }

    pub(super) fn text(self) -> &'a str {
        if let Value::Text(text) = self { text } else { "" }
    }

    pub(super) fn listen(self) -> Vec<Listen> {
        if let Value::Listen(list) = self { list } else { Vec::new() }
    }

    pub(super) fn nets(self) -> Vec<IpNet> {
        if let Value::Nets(list) = self { list } else { Vec::new() }
    }

    pub(super) fn mounts(self) -> Vec<String> {
        if let Value::Mounts(list) = self { list } else { Vec::new() }
    }

    pub(super) fn rules(self) -> Vec<Rule> {
        if let Value::Rules(list) = self { list } else { Vec::new() }
    }

    pub(super) fn domains(self) -> Vec<String> {
        if let Value::Domains(list) = self { list } else { Vec::new() }
    }

    pub(super) fn urls(self) -> Vec<Url> {
        if let Value::Urls(list) = self { list } else { Vec::new() }
    }
}

impl Kind {
    /// Whether the arguments of several directives of this name count together.
    pub(super) fn adds_up(self) -> bool {
        matches!(
            self,
            Kind::Listen
                | Kind::Nets
                | Kind::Mounts
                | Kind::Streams
                | Kind::Rules
                | Kind::Domains
                | Kind::Urls
                | Kind::Servers
        )
    }

    /// Whether it takes a block.
    pub(super) fn is_block(self) -> bool {
        matches!(self, Kind::Block(_) | Kind::NamedBlock(_) | Kind::Params)
    }

    /// Whether `word` could be one of several arguments, or a name the writer chose.
    pub(super) fn may_be(self, word: &str) -> bool {
        match self {
            Kind::Words(words) => words.contains(&word),
            Kind::NamedBlock(_) | Kind::Text | Kind::Command => true,
            Kind::Rules => matches!(word, "publish" | "play"),
            _ => false,
        }
    }

    /// What the directive takes, in words for a message.
    pub(super) fn takes(self) -> String {
        match self {
            Kind::Block(_) => String::from("a block `{ … }`"),
            Kind::NamedBlock(Context::Vhost) => String::from("a name and a block `{ … }`"),
            Kind::NamedBlock(_) => String::from("a block `{ … }`, before it a name if wanted"),
            Kind::Params => String::from("a block of arguments, such as `{ g 50; }` for `-g 50`"),
            Kind::Command => String::from("a program and its arguments"),
            Kind::Flag => String::from("`on` or `off`"),
            Kind::Count { min, max } => format!("a number from {min} to {max}"),
            Kind::Size { min, max, .. } => {
                format!("a size from {} to {} bytes, such as `4096` or `64k`", size(min), size(max))
            }
            Kind::Time { unit, min, max } => {
                let bare = if unit == 1 { "ms" } else { "seconds" };
                format!(
                    "a time from {} to {}, such as `5s` or `250ms` (a bare number: {bare})",
                    time(min),
                    time(max)
                )
            }
            Kind::Ratio { min, max } => {
                format!("a number from {} to {}, such as `1.5`", min / 1000, max / 1000)
            }
            Kind::Words(words) => {
                let quoted: Vec<String> = words.iter().map(|w| format!("`{w}`")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Kind::Text => String::from("one text"),
            Kind::Listen => {
                String::from("ports or addresses, such as `1935`, `127.0.0.1:1935` or `[::1]:1935`")
            }
            Kind::Nets => String::from("addresses, such as `10.0.0.0/8`, `192.168.1.2` or `fd00::/8`"),
            Kind::Prefix => String::from("a host and a path, such as `[vhost]/` or `[vhost]/vod/`"),
            Kind::Streams => String::from("`all`, or streams such as `live/movie`"),
            Kind::Rules => {
                String::from("`publish` or `play`, then `all` or addresses, such as `play 10.0.0.0/8`")
            }
            Kind::Domains => String::from("names of hosts, such as `example.com`"),
            Kind::Url => String::from(
                "a URL, such as `http://127.0.0.1:8085/hook`; not of `https`, for which TLS is not built in",
            ),
            Kind::Urls => String::from(
                "URLs, such as `http://127.0.0.1:8085/hook`; not of `https`, for which TLS is not built in",
            ),
            Kind::Servers => {
                String::from("servers, such as `192.168.1.2`, `example.com:1936` or `[::1]:1935`")
            }
            Kind::Mounts => String::from("URL patterns, such as `[vhost]/[app]/[stream].flv`"),
        }
    }
}

/// The value of `directive` from its arguments, or `None` after reporting why there is none.
pub(super) fn read<'a>(
    directive: &Directive,
    args: &[Token<'a>],
    reports: &mut Reports<'_>,
) -> Option<Value<'a>> {
    let one = *args.first()?;
    let wrong = |reports: &mut Reports<'_>, arg: Token<'_>| {
        let message =
            format!("`{}` takes {}, not `{}`", directive.name, directive.kind.takes(), clip(arg.text));
        let help = (!reports.is_full()).then(|| {
            let page = reports.page.get_or_insert_with(reference::page);
            format!("{} Default: {}.", reference::purpose(page, directive), directive.default)
        });
        reports.error(arg.span, message, help);
    };
    let found = match directive.kind {
        Kind::Flag => Some(Value::Flag(flag(directive, one, reports))),
        Kind::Count { min, max } => number(one.text, 1, &[], (min, max)).map(Value::Num),
        Kind::Size { min, max, usual } => {
            let value = number(one.text, 1, SIZES, (min, max));
            if let Some(n) = value.filter(|n| !(usual.0..=usual.1).contains(n)) {
                let message =
                    format!("{n} is an unusual `{}`; usual is {} to {}", directive.name, usual.0, usual.1);
                reports.warn(one.span, message, None);
            }
            value.map(Value::Num)
        }
        Kind::Time { unit, min, max } => number(one.text, unit, TIMES, (min, max)).map(Value::Num),
        Kind::Ratio { min, max } => number(one.text, 1000, &[], (min, max)).map(Value::Num),
        Kind::Words(words) => words.contains(&one.text).then_some(Value::Text(one.text)),
        Kind::Text => (one.text.len() <= MAX_TEXT).then_some(Value::Text(one.text)),
        Kind::Listen => return each(args, listen, wrong, reports).map(Value::Listen),
        Kind::Nets => return each(args, net, wrong, reports).map(Value::Nets),
        Kind::Prefix => is_prefix(one.text).then_some(Value::Text(one.text)),
        Kind::Streams => return each(args, stream, wrong, reports).map(Value::Mounts),
        Kind::Mounts => return mounts(args, wrong, reports).map(Value::Mounts),
        Kind::Rules => return rules(args, wrong, reports).map(Value::Rules),
        Kind::Domains => return each(args, domain, wrong, reports).map(Value::Domains),
        Kind::Url | Kind::Urls => return each(args, Url::parse, wrong, reports).map(Value::Urls),
        Kind::Servers => return each(args, server, wrong, reports).map(Value::Mounts),
        Kind::Command => {
            return Some(Value::Mounts(args.iter().map(|arg| arg.text.to_owned()).collect()));
        }
        Kind::Block(_) | Kind::NamedBlock(_) | Kind::Params => None,
    };
    if found.is_none() {
        wrong(reports, one);
    }
    found
}

/// A text of the file, short enough to be part of a message.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or("")),
        None => text.to_owned(),
    }
}

/// SRS asks default-on directives for "not off" and default-off ones for "on", whatever the word is.
fn flag(directive: &Directive, arg: Token<'_>, reports: &mut Reports<'_>) -> bool {
    let by_default = directive.default != "off";
    if !matches!(arg.text, "on" | "off") {
        let means = if by_default { "on" } else { "off" };
        let message = format!("`{} {}` means {means}", directive.name, clip(arg.text));
        reports.warn(arg.span, message, Some(String::from("write `on` or `off`")));
    }
    if by_default { arg.text != "off" } else { arg.text == "on" }
}

/// `text` as digits with decimals and a unit; a unit of `""` counts `bare`. `None` also outside the range.
fn number(text: &str, bare: u64, units: &[(&str, u64)], (min, max): (u64, u64)) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, suffix) = text.split_at_checked(end)?;
    let unit = match units.iter().find(|(name, _)| name.eq_ignore_ascii_case(suffix)) {
        Some(&(_, unit)) => unit,
        None if suffix.is_empty() => bare,
        None => return None,
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    if unit == 1 && digits.contains('.') || decimals.len() > 3 {
        return None;
    }
    let thousandths = decimals.parse::<u64>().ok()?.checked_mul(10_u64.pow(3 - decimals.len() as u32))?;
    let part = unit.checked_mul(thousandths)? / 1000;
    let value = whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part)?;
    (min..=max).contains(&value).then_some(value)
}

fn time(ms: u64) -> String {
    match ms {
        0 => String::from("0"),
        ms if ms % HOUR == 0 => format!("{}h", ms / HOUR),
        ms if ms % SECOND == 0 => format!("{}s", ms / SECOND),
        ms => format!("{ms}ms"),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0 => String::from("0"),
        n if n % (1 << 30) == 0 => format!("{}g", n >> 30),
        n if n % (1 << 20) == 0 => format!("{}m", n >> 20),
        n if n % (1 << 10) == 0 => format!("{}k", n >> 10),
        n => n.to_string(),
    }
}

/// All arguments by `read`, reporting each that cannot be read; a repeated value counts once.
fn each<T: PartialEq>(
    args: &[Token<'_>],
    read: fn(&str) -> Option<T>,
    wrong: impl Fn(&mut Reports<'_>, Token<'_>),
    reports: &mut Reports<'_>,
) -> Option<Vec<T>> {
    let mut list = Vec::new();
    let mut complete = true;
    for &arg in args {
        match read(arg.text) {
            Some(value) if list.contains(&value) => {
                reports.warn(arg.span, format!("`{}` stands here twice", clip(arg.text)), None);
            }
            Some(value) => list.push(value),
            None => {
                wrong(reports, arg);
                complete = false;
            }
        }
    }
    complete.then_some(list)
}

fn listen(text: &str) -> Option<Listen> {
    if let Some(port) = port(text) {
        return Some(Listen { addr: None, port });
    }
    let (host, number) = text.rsplit_once(':')?;
    let addr = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => IpAddr::V6(v6.parse().ok()?),
        None => IpAddr::V4(host.parse().ok()?),
    };
    Some(Listen { addr: Some(addr), port: port(number)? })
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

fn net(text: &str) -> Option<IpNet> {
    let (addr, prefix) = match text.split_once('/') {
        Some((addr, prefix)) => (addr, Some(prefix)),
        None => (text, None),
    };
    let addr: IpAddr = addr.parse().ok()?;
    let most: u8 = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => port(prefix).and_then(|n| u8::try_from(n).ok()).filter(|&n| n <= most)?,
        None => most,
    };
    // An IPv4 range in IPv6's clothes is one of IPv4, as which such clients count.
    match addr.to_canonical() {
        v4 @ IpAddr::V4(_) if addr.is_ipv6() && prefix >= 96 => Some(IpNet::new(v4, prefix - 96)),
        _ => Some(IpNet::new(addr, prefix)),
    }
}

/// `publish` or `play` with those whom each is about, again and again.
fn rules(
    args: &[Token<'_>],
    wrong: impl Fn(&mut Reports<'_>, Token<'_>),
    reports: &mut Reports<'_>,
) -> Option<Vec<Rule>> {
    let mut list = Vec::new();
    let mut complete = true;
    // The word in force, until it was said of whom.
    let (mut act, mut open) = (None, None);
    for &arg in args {
        let word = [Act::Publish, Act::Play].into_iter().find(|act| act.word() == arg.text);
        let whom = if arg.text == "all" { Some(None) } else { net(arg.text).map(Some) };
        match (word, act, whom) {
            (Some(word), ..) if open.is_none() => (act, open) = (Some(word), Some(arg)),
            (None, Some(act), Some(net)) => {
                open = None;
                list.push(Rule { act, net });
            }
            _ => {
                wrong(reports, arg);
                (complete, open) = (false, None);
            }
        }
    }
    open.into_iter().for_each(|arg| wrong(reports, arg));
    (complete && open.is_none()).then_some(list)
}

/// The name of a host, in lower case as far as it is ASCII, as DNS compares.
fn domain(text: &str) -> Option<String> {
    let letter = |c: char| !c.is_ascii() || c.is_ascii_alphabetic();
    let fits = |c: char| letter(c) || c.is_ascii_digit() || matches!(c, '-' | '_');
    let label = |label: &str| !label.is_empty() && !label.starts_with('-') && label.chars().all(fits);
    let is_name = text.contains('.') || text.starts_with(letter);
    let good = text.parse::<IpAddr>().is_ok() || is_name && text.len() <= 255 && text.split('.').all(label);
    good.then(|| text.to_ascii_lowercase())
}

/// The port of RTMP.
const RTMP_PORT: u16 = 1935;

/// A host and a port, in one form for all the ways to write them.
fn server(text: &str) -> Option<String> {
    if let Ok(IpAddr::V6(ip)) = text.parse() {
        return Some(format!("[{ip}]:{RTMP_PORT}"));
    }
    let (host, number) = match text.rsplit_once(':') {
        Some((host, number)) if !number.ends_with(']') => (host, port(number).filter(|port| *port > 0)?),
        _ => (text, RTMP_PORT),
    };
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok().map(|ip| format!("[{ip}]:{number}")),
        None => domain(host).map(|host| format!("{host}:{number}")),
    }
}

fn stream(text: &str) -> Option<String> {
    let fits = |part: &str| !part.is_empty() && part != "." && part != "..";
    let named = text.contains('/') && text.split('/').all(fits) && text.len() <= MAX_TEXT;
    (text == "all" || named).then(|| text.to_owned())
}

/// What a mount may end in: the containers of live streams.
const MOUNTED: [&str; 5] = [".flv", ".ts", ".aac", ".mp3", ".mp4"];

/// Mounts keep SRS's form.
fn mounts(
    args: &[Token<'_>],
    wrong: impl Fn(&mut Reports<'_>, Token<'_>),
    reports: &mut Reports<'_>,
) -> Option<Vec<String>> {
    each(args, |text| is_mount(text).then(|| text.to_owned()), wrong, reports)
}

/// Host and path, variables known, nothing that could climb out of a path.
fn is_mount(text: &str) -> bool {
    let parts_fit = text.split('/').skip(1).all(|p| !p.is_empty() && p != "." && p != "..");
    let variables = ["[vhost]", "[app]", "[stream]"];
    let rest = variables.iter().fold(text.to_owned(), |rest, v| rest.replacen(v, "", 1));
    let plain = !rest.contains(['[', ']', '?', '#', '%', '\\', ' ']);
    text.len() <= MAX_TEXT
        && text.contains('/')
        && MOUNTED.iter().any(|end| text.ends_with(end))
        && parts_fit
        && plain
}

/// As [`is_mount`], without stream variables: a host and whole segments.
fn is_prefix(text: &str) -> bool {
    let Some((_, path)) = text.split_once('/') else { return false };
    let inner = path.strip_suffix('/').unwrap_or(path);
    let parts_fit = inner.is_empty() || inner.split('/').all(|p| !p.is_empty() && !p.starts_with('.'));
    let rest = text.replacen("[vhost]", "", 1);
    text.len() <= MAX_TEXT && parts_fit && !rest.contains(['[', ']', '?', '#', '%', '\\', ' '])
}

/// The arguments of a default, which is written in the table as in a file.
pub(super) fn words(text: &'static str) -> Vec<Token<'static>> {
    let token = |text| Token { text, span: Span::START, quoted: false, first: false };
    text.split_ascii_whitespace().map(token).collect()
}
