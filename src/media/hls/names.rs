//! Names of playlists, segments, parts and keys, from templates such as `[app]/[stream]-[seq].ts`.
//!
//! A name is a path without its first slash; a URI is what a playlist calls it: relative to the playlist, with every
//! octet escaped that could mean something else. What stands in a template as a variable is replaced once: a stream
//! whose name looks like a variable stays what it is. Dates are in UTC.

use crate::wire::names::StreamName;
use std::fmt::Write;
use std::rc::Rc;

/// The templates of a vhost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    /// Path of the playlist.
    pub playlist: String,
    /// Path of a segment, with `[seq]` or `[timestamp]`. Parts and initialization segments are named after it.
    pub segment: String,
    /// Path of a key.
    pub key: String,
    /// What the URI of a segment begins with, instead of being relative: `http://cdn.example/`.
    pub prefix: String,
    /// What the URI of a key begins with, instead of being relative.
    pub key_prefix: String,
    /// `[timestamp]` counts stretches of this many milliseconds since 1970, one more for each segment, so that servers
    /// which cut the same stream give the same names; 0: it is milliseconds, and names do not agree.
    pub floor_ms: u64,
}

/// What is known when a name is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) sequence: u64,
    pub(super) unix_ms: u64,
    pub(super) duration_ms: u64,
    /// What `[timestamp]` stands for.
    timestamp: u64,
}

impl Values {
    pub(super) fn new(sequence: u64, unix_ms: u64) -> Values {
        Values { sequence, unix_ms, ..Values::default() }
    }
}

/// The variables that change from segment to segment.
const VARIABLES: [&str; 10] =
    ["[seq]", "[timestamp]", "[duration]", "[2006]", "[01]", "[02]", "[15]", "[04]", "[05]", "[999]"];
/// How far `[timestamp]` may fall behind when it counts segments.
const MAX_BEHIND: u64 = 10;

/// The names of one stream.
#[derive(Debug, Clone)]
pub struct Names {
    stream: StreamName,
    templates: Rc<Templates>,
    playlist: String,
}

impl Names {
    /// The names of `stream` after `templates`. With `mp4`, an extension `.ts` becomes `.m4s`.
    pub fn new(stream: &StreamName, mut templates: Templates, mp4: bool) -> Names {
        if let Some(stem) = templates.segment.strip_suffix(".ts").filter(|_| mp4) {
            templates.segment = format!("{stem}.m4s");
        }
        let playlist = expand(&templates.playlist, stream, Values::default());
        Names { stream: stream.clone(), templates: Rc::new(templates), playlist }
    }

    /// The playlist's name.
    pub fn playlist(&self) -> &str {
        &self.playlist
    }

    /// The time that the name of a segment tells which begins at `unix_ms`, when the one before told `last`.
    pub(super) fn time(&self, unix_ms: u64, last: Option<u64>) -> u64 {
        let floor = self.templates.floor_ms;
        let Some(due) = unix_ms.checked_div(floor) else { return unix_ms };
        // One by one, as long as that does not fall far behind; never back, since no name is used twice.
        let next = last.map_or(due, |last| (last / floor).saturating_add(1));
        let number = if due > next.saturating_add(MAX_BEHIND) { due } else { next };
        number.saturating_mul(floor)
    }

    /// What the names of all segments begin with, and those of all keys: a stream is found by it.
    pub fn stems(&self) -> [String; 2] {
        [&self.templates.segment, &self.templates.key].map(|template| {
            let end = VARIABLES.iter().filter_map(|variable| template.find(variable)).min();
            let fixed = end.and_then(|end| template.get(..end)).unwrap_or(template);
            self.fixed(fixed).trim_start_matches(['/', '.']).to_owned()
        })
    }

    pub(super) fn segment(&self, values: Values) -> Rc<str> {
        self.name(&self.templates.segment, values).into()
    }

    /// A name: no template leads out of the root.
    fn name(&self, template: &str, mut values: Values) -> String {
        values.timestamp = values.unix_ms / self.templates.floor_ms.max(1);
        expand(template, &self.stream, values)
    }

    /// Part `n` of a segment: its number stands before the extension.
    pub(super) fn part(&self, segment: &str, n: usize) -> Rc<str> {
        let (stem, extension) = split_extension(segment);
        format!("{stem}.{n}{extension}").into()
    }

    /// Whether a segment or part of this stream could have been called `name`. Not told of templates with times in them.
    pub fn may_be(&self, name: &str) -> bool {
        let Some((before, after)) = self.templates.segment.split_once("[seq]") else { return false };
        let (before, after) = (self.fixed(before.trim_start_matches(['/', '.'])), self.fixed(after));
        let extension = split_extension(&after).1;
        let rest = name.strip_prefix(&*before).and_then(|rest| rest.strip_suffix(extension));
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && !rest.contains('/'))
    }

    fn fixed(&self, template: &str) -> String {
        replace(template, &self.stream, Values::default())
    }

    /// The initialization segment that is first needed by segment `values.sequence`.
    pub(super) fn init(&self, values: Values) -> Rc<str> {
        let segment = self.segment(values);
        format!("{}.init.mp4", split_extension(&segment).0).into()
    }

    pub(super) fn key(&self, values: Values) -> Rc<str> {
        self.name(&self.templates.key, values).into()
    }

    /// How the playlist refers to a segment, part or initialization segment.
    pub(super) fn uri(&self, name: &str) -> String {
        self.refer(&self.templates.prefix, name)
    }

    /// The URL of a segment: all of it where it has a prefix, else its path.
    pub(super) fn url(&self, name: &str) -> String {
        if self.templates.prefix.is_empty() { format!("/{}", escape(name)) } else { self.uri(name) }
    }

    /// How the playlist refers to itself.
    pub(super) fn own_uri(&self) -> String {
        relative(&self.playlist, &self.playlist)
    }

    /// How the playlist refers to a key.
    pub(super) fn key_uri(&self, name: &str) -> String {
        self.refer(&self.templates.key_prefix, name)
    }

    fn refer(&self, prefix: &str, name: &str) -> String {
        if prefix.is_empty() {
            return relative(&self.playlist, name);
        }
        let slash = if prefix.ends_with(['/', '=']) { "" } else { "/" };
        format!("{}{slash}{}", quotable(prefix), escape(name))
    }
}

fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.').filter(|at| !name.get(*at..).unwrap_or("").contains('/')) {
        Some(at) => name.split_at_checked(at).unwrap_or((name, "")),
        None => (name, ""),
    }
}

fn expand(template: &str, stream: &StreamName, values: Values) -> String {
    replace(template, stream, values).trim_start_matches(['/', '.']).to_owned()
}

/// A time as RFC 8216 wants it (ISO 8601), in UTC.
pub(super) fn date(unix_ms: u64) -> String {
    let (year, month, day) = civil(unix_ms / 86_400_000);
    let of_day = unix_ms % 86_400_000;
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1000)
}

fn replace(template: &str, stream: &StreamName, values: Values) -> String {
    let (year, month, day) = civil(values.unix_ms / 86_400_000);
    let of_day = values.unix_ms % 86_400_000;
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, from)) = rest.find('[').and_then(|at| rest.split_at_checked(at)) {
        out.push_str(before);
        let end = from.find(']').map_or(from.len(), |at| at + 1);
        let (variable, after) = from.split_at_checked(end).unwrap_or((from, ""));
        rest = after;
        let _ = match variable {
            "[vhost]" => write!(out, "{}", stream.vhost()),
            "[app]" => write!(out, "{}", stream.app()),
            "[stream]" => write!(out, "{}", stream.stream()),
            "[seq]" => write!(out, "{}", values.sequence),
            "[timestamp]" => write!(out, "{}", values.timestamp),
            "[duration]" => write!(out, "{}", values.duration_ms),
            "[2006]" => write!(out, "{year:04}"),
            "[01]" => write!(out, "{month:02}"),
            "[02]" => write!(out, "{day:02}"),
            "[15]" => write!(out, "{:02}", of_day / 3_600_000),
            "[04]" => write!(out, "{:02}", of_day / 60_000 % 60),
            "[05]" => write!(out, "{:02}", of_day / 1000 % 60),
            "[999]" => write!(out, "{:03}", of_day % 1000),
            other => write!(out, "{other}"),
        };
    }
    out.push_str(rest);
    out
}

/// Year, month and day of a day since 1970 (Gregorian; years begin in March while counting).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The URI reference that leads from the playlist to `name`.
fn relative(playlist: &str, name: &str) -> String {
    let (mut from, mut to) = (playlist, name);
    while let (Some((a, from_rest)), Some((b, to_rest))) = (from.split_once('/'), to.split_once('/')) {
        if a != b {
            break;
        }
        (from, to) = (from_rest, to_rest);
    }
    "../".repeat(from.matches('/').count()) + &escape(to)
}

/// Leaves letters, digits and a few marks; the rest is escaped.
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A prefix of the configuration is taken as it is, but for what would end a line or a quoted string.
fn quotable(prefix: &str) -> String {
    prefix.chars().filter(|c| !c.is_control() && *c != '"').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn templates() -> Templates {
        Templates {
            playlist: "[app]/[stream].m3u8".into(),
            segment: "[app]/[stream]-[seq].ts".into(),
            key: "[app]/[stream]-[seq].key".into(),
            prefix: String::new(),
            key_prefix: String::new(),
            floor_ms: 0,
        }
    }

    fn names(app: &str, stream: &str, change: impl FnOnce(&mut Templates), mp4: bool) -> Names {
        let mut templates = templates();
        change(&mut templates);
        Names::new(&StreamName::new("", app, stream).unwrap(), templates, mp4)
    }

    const AT: Values = Values { sequence: 7, unix_ms: 951_827_696_789, duration_ms: 2000, timestamp: 0 };

    #[test]
    fn variables_are_replaced() {
        let names = names(
            "live/a",
            "x",
            |t| {
                t.segment = "[vhost]/[app]/[2006]-[01]-[02]/[15][04][05].[999]-[stream]-[seq]-[duration]-[timestamp]-[what].ts".into()
            },
            false,
        );
        let name = names.segment(AT);
        assert_eq!(&*name, "__defaultVhost__/live/a/2000-02-29/123456.789-x-7-2000-951827696789-[what].ts");
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }

    #[test]
    fn names_that_look_like_variables_or_markup_stay_what_they_are() {
        let names = names("live", "a[seq]\"#?% b:c", |_| {}, false);
        let name = names.segment(AT);
        assert_eq!(&*name, "live/a[seq]\"#?% b:c-7.ts");
        let uri = names.uri(&name);
        assert_eq!(uri, "a%5Bseq%5D%22%23%3F%25%20b%3Ac-7.ts");
        assert_eq!(crate::wire::names::percent_decode(&uri).unwrap(), "a[seq]\"#?% b:c-7.ts");
    }

    #[test]
    fn uris_lead_from_the_playlist_to_the_file() {
        assert_eq!(relative("live/x.m3u8", "live/x-1.ts"), "x-1.ts");
        assert_eq!(relative("x.m3u8", "live/x-1.ts"), "live/x-1.ts");
        assert_eq!(relative("a/b/x.m3u8", "a/c/d/x-1.ts"), "../c/d/x-1.ts");
        assert_eq!(relative("hls/x.m3u8", "x-1.ts"), "../x-1.ts");
        let cdn = names("live", "x", |t| t.prefix = "http://cdn.example/p".into(), false);
        assert_eq!(cdn.uri("live/x-1.ts"), "http://cdn.example/p/live/x-1.ts");
        let keys = names("live", "x", |t| t.key_prefix = "https://keys/?f=".into(), false);
        assert_eq!(
            (keys.key_uri("live/x-1.key"), keys.uri("live/x-1.ts")),
            ("https://keys/?f=live/x-1.key".into(), "x-1.ts".into())
        );
    }

    #[test]
    fn parts_and_initialization_segments_are_named_after_segments() {
        let names = names("li.ve", "x", |_| {}, true);
        let name = names.segment(AT);
        assert_eq!(&*name, "li.ve/x-7.m4s");
        assert_eq!(&*names.part(&name, 3), "li.ve/x-7.3.m4s");
        assert_eq!(&*names.init(AT), "li.ve/x-7.init.mp4");
        assert_eq!(split_extension("li.ve/x"), ("li.ve/x", ""));
    }

    #[test]
    fn what_was_a_segment_is_known_by_its_name() {
        let names = names("live", "x", |_| {}, false);
        for name in ["live/x-1.ts", "live/x-12.3.ts"] {
            assert!(names.may_be(name), "{name}");
        }
        for name in
            ["live/x.ts", "live/x-a.ts", "live/x-1.flv", "live/xy-1.ts", "x-1.ts", "live/x-1/y.ts", ""]
        {
            assert!(!names.may_be(name), "{name}");
        }
    }

    #[test]
    fn a_floored_timestamp_counts_segments_and_never_goes_back() {
        let names = names(
            "live",
            "x",
            |t| {
                t.segment = "[app]/[04][05]-[stream]-[timestamp].ts".into();
                t.floor_ms = 2000;
            },
            false,
        );
        let mut last = None;
        let mut told = Vec::new();
        // In time, early, late, and after a gap.
        for at in [60_100, 62_300, 63_000, 64_900, 70_000, 100_500, 99_000] {
            let time = names.time(at, last);
            last = Some(time);
            told.push(names.segment(Values::new(0, time)).to_string());
        }
        let numbers: Vec<&str> =
            told.iter().map(|name| name.trim_end_matches(".ts").rsplit('-').next().unwrap()).collect();
        assert_eq!(numbers, ["30", "31", "32", "33", "34", "50", "51"]);
        assert_eq!(told[1], "live/0102-x-31.ts", "dates are those of the number");
    }

    #[test]
    fn a_name_begins_with_its_stem() {
        for template in [
            "[app]/[stream]-[seq].ts",
            "/[2006]/[vhost]/[stream]/[timestamp].ts",
            "../[stream].[seq]",
            "[stream]/[what]/[15]/[seq].ts",
        ] {
            let names = names("li.ve", ".x[seq]", |t| t.segment = template.into(), false);
            let [stem, key] = names.stems();
            let name = names.segment(AT);
            for name in [&name, &names.part(&name, 2), &names.init(AT)] {
                assert!(name.starts_with(&stem), "{template}: {stem:?} {name:?}");
            }
            assert!(names.key(AT).starts_with(&key) && key == "li.ve/.x[seq]-");
        }
    }

    #[test]
    fn dates_are_written_as_players_read_them() {
        assert_eq!(date(AT.unix_ms), "2000-02-29T12:34:56.789Z");
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_template_cannot_climb_out() {
        assert_eq!(
            names("live", "x", |t| t.playlist = "/../[stream].m3u8".into(), false).playlist(),
            "x.m3u8"
        );
    }
}
