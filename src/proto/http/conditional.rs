//! Conditional requests: whether a client needs the body that it asks for.
//! Spec: RFC 9110, section 13 (order: 13.2.2), dates: section 5.6.7.
//!
//! Deviations: a date or tag that cannot be read counts as absent, except in `If-Match` and `If-Range`, where doubt
//! means "not the same".

use super::range::{self, Part, Wanted};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that an HTTP date can name: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// The headers of a request that ask for less than the whole body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    range: Option<String>,
    if_range: Option<String>,
    if_match: Option<String>,
    if_none_match: Option<String>,
    if_modified_since: Option<String>,
    if_unmodified_since: Option<String>,
}

/// By what two versions of a body are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validators {
    /// The strong entity tag, in its quotes.
    pub etag: String,
    /// Seconds of Unix time at which the body was changed last.
    pub modified: u64,
}

/// How the request is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// 200 and all of the body.
    Whole,
    /// 206 and this part.
    Part(Part),
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client takes it for.
    Failed,
    /// 416: no such bytes.
    NoSuchRange,
}

impl Conditions {
    /// Takes a header if it is one of these; repeated lists add up, a repeated single value counts as unreadable.
    pub fn field(&mut self, name: &str, value: &str) {
        let (slot, list) = match name.to_ascii_lowercase().as_str() {
            "range" => (&mut self.range, false),
            "if-range" => (&mut self.if_range, false),
            "if-match" => (&mut self.if_match, true),
            "if-none-match" => (&mut self.if_none_match, true),
            "if-modified-since" => (&mut self.if_modified_since, false),
            "if-unmodified-since" => (&mut self.if_unmodified_since, false),
            _ => return,
        };
        *slot = Some(match slot.take() {
            None => value.to_owned(),
            Some(before) if list => format!("{before}, {value}"),
            Some(_) => String::new(),
        });
    }

    /// Whether `If-None-Match` says that the client has the body with this tag.
    pub fn knows(&self, etag: &str) -> bool {
        self.if_none_match.as_deref().is_some_and(|tags| listed(tags, etag, true))
    }

    /// Takes a range that did not come in a header; one that did goes before.
    pub fn or_range(&mut self, range: String) {
        self.range.get_or_insert(range);
    }

    /// Whether there is a `Range`, readable or not.
    pub fn names_a_part(&self) -> bool {
        self.range.is_some()
    }

    /// Judges the request for a body of `size` bytes.
    pub fn verdict(&self, validators: &Validators, size: u64) -> Verdict {
        let Validators { etag, modified } = validators;
        match (&self.if_match, self.date(&self.if_unmodified_since)) {
            (Some(tags), _) if !listed(tags, etag, false) => return Verdict::Failed,
            (None, Some(since)) if *modified > since => return Verdict::Failed,
            _ => {}
        }
        match (&self.if_none_match, self.date(&self.if_modified_since)) {
            (Some(_), _) if self.knows(etag) => return Verdict::NotModified,
            (None, Some(since)) if *modified <= since => return Verdict::NotModified,
            _ => {}
        }
        let same = self.if_range.as_deref().is_none_or(|known| {
            // A date must be the very one that was given out, and a weak tag is never enough (13.1.5).
            known == etag || (!known.contains('"') && parse_date(known) == Some(*modified))
        });
        match self.range.as_deref().filter(|_| same).map(|range| range::resolve(range, size)) {
            None | Some(Wanted::Whole) => Verdict::Whole,
            Some(Wanted::Part(part)) => Verdict::Part(part),
            Some(Wanted::Nothing) => Verdict::NoSuchRange,
        }
    }

    fn date(&self, value: &Option<String>) -> Option<u64> {
        value.as_deref().and_then(parse_date)
    }
}

/// Whether a list of tags names `etag`. The weak comparison overlooks `W/`; the strong one takes it for another.
fn listed(tags: &str, etag: &str, weak: bool) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let tag = if weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
        tag == "*" || tag == etag
    })
}

/// The tag of a file by its size and the time of its last change.
pub fn etag(size: u64, modified: u64, nanos: u32) -> String {
    format!("\"{modified:x}.{nanos:x}-{size:x}\"")
}

/// An HTTP date of seconds of Unix time.
pub fn date(seconds: u64) -> String {
    let since = Duration::from_secs(seconds.min(LAST_SECOND));
    UNIX_EPOCH.checked_add(since).map(httpdate::fmt_http_date).unwrap_or_default()
}

/// Seconds of Unix time of an HTTP date in any of its three forms.
pub fn parse_date(text: &str) -> Option<u64> {
    let time: SystemTime = httpdate::parse_http_date(text.trim()).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AT: u64 = 784_111_777;

    fn verdict(headers: &[(&str, &str)]) -> Verdict {
        let mut conditions = Conditions::default();
        for (name, value) in headers {
            conditions.field(name, value);
        }
        conditions.verdict(&Validators { etag: "\"a-b\"".into(), modified: AT }, 100)
    }

    fn part(first: u64, last: u64) -> Verdict {
        Verdict::Part(Part { first, last })
    }

    #[test]
    fn dates_go_both_ways() {
        assert_eq!(date(AT), DAY);
        for text in [DAY, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse_date(text), Some(AT), "{text}");
        }
        for text in
            ["", "now", "Sun, 06 Nov 1994", "Sun, 99 Nov 1994 08:49:37 GMT", "Thu, 01 Jan 1969 00:00:00 GMT"]
        {
            assert_eq!(parse_date(text), None, "{text}");
        }
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(date(1 << 31), "Tue, 19 Jan 2038 03:14:08 GMT");
    }

    #[test]
    fn who_has_it_is_told_so() {
        assert_eq!(verdict(&[]), Verdict::Whole);
        for tags in ["\"a-b\"", "W/\"a-b\"", "*", "\"x\", \"a-b\"", "\"x\",W/\"a-b\" "] {
            assert_eq!(verdict(&[("If-None-Match", tags)]), Verdict::NotModified, "{tags}");
        }
        assert_eq!(
            verdict(&[("if-none-match", "\"x\""), ("if-none-match", "\"a-b\"")]),
            Verdict::NotModified
        );
        for tags in ["\"x\"", "a-b", "", "\"a-b"] {
            assert_eq!(verdict(&[("If-None-Match", tags)]), Verdict::Whole, "{tags}");
        }
        assert_eq!(verdict(&[("If-Modified-Since", DAY)]), Verdict::NotModified);
        assert_eq!(verdict(&[("If-Modified-Since", "Sun, 06 Nov 1994 08:49:36 GMT")]), Verdict::Whole);
        assert_eq!(verdict(&[("If-Modified-Since", "yesterday")]), Verdict::Whole);
        let both = [("If-None-Match", "\"x\""), ("If-Modified-Since", DAY)];
        assert_eq!(verdict(&both), Verdict::Whole, "the tag decides");
    }

    #[test]
    fn who_means_another_version_is_told_so() {
        assert_eq!(verdict(&[("If-Match", "\"x\"")]), Verdict::Failed);
        assert_eq!(verdict(&[("If-Match", "W/\"a-b\"")]), Verdict::Failed);
        assert_eq!(verdict(&[("If-Match", "\"a-b\""), ("Range", "bytes=1-2")]), part(1, 2));
        assert_eq!(verdict(&[("If-Unmodified-Since", DAY)]), Verdict::Whole);
        assert_eq!(verdict(&[("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:36 GMT")]), Verdict::Failed);
    }

    #[test]
    fn a_range_goes_with_its_version_only() {
        let range = |known| verdict(&[("Range", "bytes=1-2"), ("If-Range", known)]);
        assert_eq!(verdict(&[("Range", "bytes=1-2")]), part(1, 2));
        assert_eq!(range("\"a-b\""), part(1, 2));
        assert_eq!(range(DAY), part(1, 2));
        for known in ["\"x\"", "W/\"a-b\"", "Sun, 06 Nov 1994 08:49:38 GMT", "", "soon"] {
            assert_eq!(range(known), Verdict::Whole, "{known}");
        }
        assert_eq!(verdict(&[("Range", "bytes=100-")]), Verdict::NoSuchRange);
        assert_eq!(verdict(&[("Range", "bytes=100-"), ("If-Range", "\"x\"")]), Verdict::Whole);
        let twice = [("Range", "bytes=1-2"), ("range", "bytes=3-4")];
        assert_eq!(verdict(&twice), Verdict::Whole, "two ranges contradict each other");
        let known = [("Range", "bytes=1-2"), ("If-None-Match", "\"a-b\"")];
        assert_eq!(verdict(&known), Verdict::NotModified);
    }

    #[test]
    fn another_size_or_time_is_another_tag() {
        let tags = [etag(1, 2, 3), etag(2, 2, 3), etag(1, 3, 3), etag(1, 2, 4)];
        for (n, tag) in tags.iter().enumerate() {
            assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2);
            assert_eq!(tags.iter().position(|other| other == tag), Some(n));
        }
    }
}
