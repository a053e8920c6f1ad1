//! Files of the configuration: found by pattern, read with a bound, watched for change.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Names that a pattern may find; a directory with more is not meant.
const MAX_FOUND: usize = 4096;

/// Reads a file, at most `max` bytes and one more, which shows that it is larger.
///
/// # Errors
/// What the system says; a directory or a device is an error too.
pub fn read(path: &str, max: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // A pipe is fine (`-c <(…)`); what gives data for ever is cut off.
    if file.metadata()?.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    let mut bytes = Vec::new();
    file.take((max as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files that `pattern` names, in the order of their names: `*`, `?` and `[…]` stand for what they do in a shell. A
/// pattern with none of them names one file, which must be there.
///
/// # Errors
/// Why the file, or one of those found, cannot be read.
pub fn read_matching(pattern: &str, max: usize) -> Result<Vec<(String, Vec<u8>)>, String> {
    let names = if is_pattern(pattern) { matching(pattern) } else { vec![pattern.to_owned()] };
    let read = |name: String| match read(&name, max) {
        Ok(bytes) => Ok((name, bytes)),
        Err(error) if name == pattern => Err(error.to_string()),
        Err(error) => Err(format!("{name}: {error}")),
    };
    names.into_iter().map(read).collect()
}

/// What shows that a file is another than before: its time of change and its size.
pub type Stamp = Option<(SystemTime, u64)>;

/// The stamps of files, in their order; `None` for one that is not there.
pub fn stamps(files: &[String]) -> Vec<Stamp> {
    let stamp = |file: &String| {
        let data = fs::metadata(file).ok()?;
        Some((data.modified().ok()?, data.len()))
    };
    files.iter().map(stamp).collect()
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn matching(pattern: &str) -> Vec<String> {
    let (mut found, rest) = match pattern.strip_prefix('/') {
        Some(rest) => (vec![PathBuf::from("/")], rest),
        None => (vec![PathBuf::new()], pattern),
    };
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    for (n, part) in parts.iter().enumerate() {
        let last = n + 1 == parts.len();
        found = found.into_iter().flat_map(|dir| step(&dir, part, last)).take(MAX_FOUND).collect();
    }
    found.into_iter().map(|path| path.to_string_lossy().into_owned()).collect()
}

/// What one part of a pattern names within a directory.
fn step(dir: &Path, part: &str, last: bool) -> Vec<PathBuf> {
    if !is_pattern(part) {
        let path = dir.join(part);
        return if path.exists() { vec![path] } else { Vec::new() };
    }
    let here = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let Ok(entries) = fs::read_dir(here) else { return Vec::new() };
    let pattern: Vec<char> = part.chars().collect();
    let fits = |name: &str| {
        let name: Vec<char> = name.chars().collect();
        (!name.starts_with(&['.']) || pattern.starts_with(&['.'])) && fits(&pattern, &name)
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| fits(name))
        .map(|name| dir.join(name))
        .filter(|path| path.is_dir() != last)
        .collect();
    paths.sort();
    paths
}

/// Whether `name` is one that `pattern` stands for. Backs up to the last `*` only, so the time is bounded by the product
/// of the lengths.
fn fits(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&c) = name.get(n) {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => class(pattern.get(p + 1..).unwrap_or_default(), c),
            Some(&same) if same == c => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => (p, n) = (p + length, n + 1),
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

/// How long the class `[…]` is, if `c` is in it; `rest` begins behind its `[`.
fn class(rest: &[char], c: char) -> Option<usize> {
    let negated = matches!(rest.first(), Some('!' | '^'));
    let start = usize::from(negated);
    // A `]` right at the start stands for itself.
    let end = start + 1 + rest.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let set = rest.get(start..end)?;
    let mut inside = false;
    let mut at = 0;
    while let Some(&low) = set.get(at) {
        match (set.get(at + 1), set.get(at + 2)) {
            (Some('-'), Some(&high)) => {
                inside |= (low..=high).contains(&c);
                at += 3;
            }
            _ => {
                inside |= low == c;
                at += 1;
            }
        }
    }
    (inside != negated).then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(pattern: &str, name: &str) -> bool {
        fits(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
    }

    #[test]
    fn patterns_stand_for_what_they_do_in_a_shell() {
        for (pattern, name) in [
            ("*.conf", "a.conf"),
            ("*", "x"),
            ("a*b*c", "a-b-b-c"),
            ("v?.conf", "v1.conf"),
            ("v[0-9a].c", "v7.c"),
            ("v[!0-9]", "vx"),
            ("[]x]", "]"),
            ("é*", "été"),
        ] {
            assert!(is(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.conf", "a.conf~"),
            ("v?.conf", "v.conf"),
            ("v[0-9]", "vx"),
            ("v[!0-9]", "v5"),
            ("v[0", "v0"),
            ("", "a"),
            ("a", ""),
        ] {
            assert!(!is(pattern, name), "{pattern} {name}");
        }
        assert!(!is(&format!("{}b", "*a".repeat(50)), &"a".repeat(500)));
    }

    #[test]
    fn files_are_found_in_order_and_read_with_a_bound() {
        let dir = std::env::temp_dir().join(format!("runnel-files-{}", std::process::id()));
        for sub in ["s1", "s2"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
            for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt"] {
                fs::write(dir.join(sub).join(name), "0123456789").unwrap();
            }
        }
        let names = |pattern: &str| -> Vec<String> {
            let found = read_matching(&format!("{}/{pattern}", dir.display()), 4).unwrap();
            assert!(found.iter().all(|(_, bytes)| bytes == b"01234"));
            let short = |name: String| name.rsplit('/').take(2).collect::<Vec<_>>().join("<");
            found.into_iter().map(|(name, _)| short(name)).collect()
        };
        assert_eq!(names("s1/*.conf"), ["a.conf<s1", "b.conf<s1"]);
        assert_eq!(names("s*/a.conf"), ["a.conf<s1", "a.conf<s2"]);
        assert_eq!(names("s[2]/[!c]*"), ["a.conf<s2", "b.conf<s2"]);
        assert!(names("none*/x").is_empty() && names("s1/c.txt").len() == 1);
        let missing = read_matching("/nowhere/at/all.conf", 4).unwrap_err();
        assert!(missing.contains("No such file"), "{missing}");
        assert!(read_matching(dir.to_str().unwrap(), 4).unwrap_err().contains("directory"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
