//! Request paths that name files: what may reach a file system, and what may not.   Spec: RFC 3986, section 3.3.
//!
//! Invariants of a [`FilePath`]: relative; no empty, `.` or `..` segment, none that begins with a dot; no NUL, control
//! character or backslash; bounded in length and depth. Percent-encoding is undone once, before all checks, so
//! `%2e%2e` and `%2f` gain nothing. Symbolic links are for whoever opens the file to judge.

use crate::wire::names::percent_decode;
use std::fmt;

/// Bytes in a path at most, decoded.
pub const MAX_PATH: usize = 1024;
/// Bytes in a segment at most: what file systems take.
pub const MAX_SEGMENT: usize = 255;
/// Segments at most.
pub const MAX_DEPTH: usize = 32;

/// A path below some directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath {
    /// Segments joined by slashes, without a leading or trailing one; empty for the directory itself.
    pub path: String,
    /// The request ended in a slash, so it names a directory.
    pub directory: bool,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// It has bytes that no file here can have in its name.
    Forbidden,
    /// It climbs with `..`.
    Climbs,
    /// It names something hidden.
    Hidden,
    /// It is longer or deeper than any path here.
    TooLong,
}

impl PathError {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            PathError::Forbidden => 400,
            PathError::Climbs | PathError::Hidden => 403,
            PathError::TooLong => 414,
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Forbidden => "no path here has such characters",
            PathError::Climbs => "a path cannot climb with `..`",
            PathError::Hidden => "names that begin with a dot are not served",
            PathError::TooLong => "the path is too long",
        })
    }
}

impl std::error::Error for PathError {}

/// Reads the path of a request, percent-encoding in place. Doubled slashes count as one.
///
/// # Errors
/// When the path is not fit for a file system.
pub fn parse(path: &str) -> Result<FilePath, PathError> {
    let decoded = percent_decode(path).ok_or(PathError::Forbidden)?;
    if decoded.contains(|c: char| c == '\\' || c.is_control()) {
        return Err(PathError::Forbidden);
    }
    let segments: Vec<&str> = decoded.split('/').filter(|segment| !segment.is_empty()).collect();
    for segment in &segments {
        match *segment {
            ".." => return Err(PathError::Climbs),
            hidden if hidden.starts_with('.') => return Err(PathError::Hidden),
            long if long.len() > MAX_SEGMENT => return Err(PathError::TooLong),
            _ => {}
        }
    }
    if decoded.len() > MAX_PATH || segments.len() > MAX_DEPTH {
        return Err(PathError::TooLong);
    }
    Ok(FilePath { path: segments.join("/"), directory: decoded.is_empty() || decoded.ends_with('/') })
}

impl FilePath {
    /// What is left of it below `prefix`, a path of whole segments without outer slashes.
    pub fn below(&self, prefix: &str) -> Option<FilePath> {
        let rest = match self.path.strip_prefix(prefix)? {
            rest if prefix.is_empty() || rest.is_empty() => rest,
            rest => rest.strip_prefix('/')?,
        };
        Some(FilePath { path: rest.to_owned(), directory: self.directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_segments() {
        let found = |path| parse(path).map(|found| (found.path, found.directory));
        assert_eq!(found("/"), Ok((String::new(), true)));
        assert_eq!(found("/a.flv"), Ok(("a.flv".into(), false)));
        assert_eq!(found("//a///b%20c/"), Ok(("a/b c".into(), true)));
        assert_eq!(found("/a%2Fb"), Ok(("a/b".into(), false)));
        assert_eq!(found("/%E4%B8%AD.mp4"), Ok(("中.mp4".into(), false)));
        assert_eq!(found("/a..b/c...d/e."), Ok(("a..b/c...d/e.".into(), false)));
        assert_eq!(found("/100%"), Ok(("100%".into(), false)));
        assert_eq!(found("/a%252e%252e"), Ok(("a%2e%2e".into(), false)), "decoded once only");
    }

    #[test]
    fn hostile_paths_are_refused() {
        use PathError::{Climbs, Forbidden, Hidden, TooLong};
        for (path, error) in [
            ("/..", Climbs),
            ("/../etc/passwd", Climbs),
            ("/a/../../etc/passwd", Climbs),
            ("/a/..", Climbs),
            ("/%2e%2e/etc/passwd", Climbs),
            ("/%2E./x", Climbs),
            ("/.%2e%2fx", Climbs),
            ("/a%2f..%2f..%2fx", Climbs),
            ("/..%2f..%2fx", Climbs),
            ("/.", Hidden),
            ("/./x", Hidden),
            ("/.git/config", Hidden),
            ("/a/.htpasswd", Hidden),
            ("/%2egit/config", Hidden),
            ("/...", Hidden),
            ("/x%00.flv", Forbidden),
            ("/%00", Forbidden),
            ("/..\\..\\x", Forbidden),
            ("/%5c..%5cx", Forbidden),
            ("/a%0d%0aSet-Cookie:x", Forbidden),
            ("/a%7f", Forbidden),
            ("/%c0%ae%c0%ae/x", Forbidden),
            ("/%ff", Forbidden),
            ("/a%c2%85", Forbidden),
        ] {
            assert_eq!(parse(path), Err(error), "{path}");
        }
        assert_eq!(parse(&format!("/{}", "a".repeat(MAX_SEGMENT + 1))), Err(TooLong));
        assert_eq!(parse(&"/a".repeat(MAX_DEPTH + 1)), Err(TooLong));
        assert_eq!(parse(&format!("/{}", "abcdefg/".repeat(200))), Err(TooLong));
        assert!(parse(&"/a".repeat(MAX_DEPTH)).is_ok());
    }

    #[test]
    fn whatever_is_accepted_stays_below() {
        let pieces = ["/", ".", "..", "%2e", "%2f", "a", "%00", "\\", "%5c", "%"];
        for n in 0..10_000 {
            let path: String = (0..4).map(|place| pieces[n / 10usize.pow(place) % 10]).collect::<String>();
            if let Ok(found) = parse(&path) {
                let fine = |s: &str| !s.is_empty() && !s.starts_with('.') && !s.contains(['\0', '\\']);
                assert!(found.path.is_empty() || found.path.split('/').all(fine), "{path}: {found:?}");
            }
        }
    }

    #[test]
    fn a_prefix_is_of_whole_segments() {
        let below = |path, prefix| parse(path).unwrap().below(prefix).map(|rest| rest.path);
        assert_eq!(below("/vod/a.flv", ""), Some("vod/a.flv".into()));
        assert_eq!(below("/vod/a.flv", "vod"), Some("a.flv".into()));
        assert_eq!(below("/vod", "vod"), Some(String::new()));
        assert_eq!(below("/vod/x/a", "vod/x"), Some("a".into()));
        assert_eq!(below("/vodka/a.flv", "vod"), None);
        assert_eq!(below("/a.flv", "vod"), None);
    }
}
