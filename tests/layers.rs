//! The direction of the arrows between the layers, and a few rules that no compiler flag states.
//!
//! `wire` and `net` use nothing of the others; `conf`, `proto` and `media` use `wire`; `app` uses all. `unsafe` is
//! in `src/net/sys` alone. There are no 64-bit atomics, which 32-bit MIPS does not have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::path::{Path, PathBuf};

/// Each layer and what it may use besides itself.
const LAYERS: [(&str, &[&str]); 6] = [
    ("wire", &[]),
    ("conf", &["wire"]),
    ("net", &[]),
    ("proto", &["wire"]),
    ("media", &["wire"]),
    ("app", &["wire", "conf", "net", "proto", "media"]),
];

/// The one module with `unsafe`, in a file and a directory.
const SYS: &str = "net/sys";

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file under `src`: its path from there, and its code without comments and literals.
fn files() -> Vec<(String, String)> {
    let (mut found, mut dirs) = (Vec::new(), vec![src()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(src()).unwrap().to_str().unwrap().replace('\\', "/");
                found.push((name, code(&std::fs::read_to_string(&path).unwrap())));
            }
        }
    }
    found.sort();
    assert!(found.len() > LAYERS.len(), "the sources are in {}", src().display());
    found
}

/// The text without comments (nested ones too) and without what string and character literals hold; lines stay.
fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut out = String::new();
    let mut i = 0;
    // Leaves a stretch out but for its line ends.
    let skip = |out: &mut String, from: usize, to: usize| {
        out.extend(chars[from..to.min(chars.len())].iter().filter(|c| **c == '\n'));
        to
    };
    while i < chars.len() {
        let word = i > 0 && (chars[i - 1].is_alphanumeric() || chars[i - 1] == '_');
        let hashes = (1..).take_while(|n| at(i + n) == '#').count();
        i = if at(i) == '/' && at(i + 1) == '/' {
            let end = (i..chars.len()).find(|j| chars[*j] == '\n').unwrap_or(chars.len());
            skip(&mut out, i, end)
        } else if at(i) == '/' && at(i + 1) == '*' {
            let (mut depth, mut j) = (1, i + 2);
            while depth > 0 && j < chars.len() {
                match (at(j), at(j + 1)) {
                    ('/', '*') => (depth, j) = (depth + 1, j + 2),
                    ('*', '/') => (depth, j) = (depth - 1, j + 2),
                    _ => j += 1,
                }
            }
            skip(&mut out, i, j)
        } else if at(i) == 'r'
            && at(i + 1 + hashes) == '"'
            && (!word || matches!(at(i.wrapping_sub(1)), 'b' | 'c'))
        {
            let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let rest: String = chars[i + 2 + hashes..].iter().collect();
            let length =
                rest.find(&close).map_or(rest.len(), |end| rest[..end].chars().count() + close.len());
            skip(&mut out, i, i + 2 + hashes + length)
        } else if at(i) == '"' {
            let mut j = i + 1;
            while j < chars.len() && at(j) != '"' {
                j += if at(j) == '\\' { 2 } else { 1 };
            }
            skip(&mut out, i, j + 1)
        } else if at(i) == '\'' && at(i + 1) == '\\' {
            let end = (i + 3..chars.len()).find(|j| chars[*j] == '\'').unwrap_or(chars.len());
            skip(&mut out, i, end + 1)
        } else if at(i) == '\'' && at(i + 2) == '\'' {
            i + 3
        } else {
            out.push(at(i));
            i + 1
        };
    }
    out
}

/// The words of the code, with `::` and braces kept as words of their own.
fn words(code: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for c in code.chars() {
        if c.is_alphanumeric() || c == '_' {
            match words.last_mut() {
                Some(word) if open => word.push(c),
                _ => words.push(c.into()),
            }
            open = true;
        } else {
            open = false;
            if !c.is_whitespace() {
                words.push(c.into());
            }
        }
    }
    words
}

/// The layers that a file names: `crate::x`, `runnel::x`, each `x` of `crate::{x::.., y}`, and `super::x` where
/// that leads to the root (`depth` is the number of modules above the file's own).
fn used(code: &str, depth: usize) -> Vec<String> {
    let words = words(code);
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    let path = |index: usize| word(index) == ":" && word(index + 1) == ":";
    let mut used = Vec::new();
    for i in 0..words.len() {
        let mut next = match word(i) {
            "crate" | "runnel" if path(i + 1) => i + 3,
            "super" if i < 2 || !(path(i - 2)) => {
                let mut levels = 1;
                let mut j = i + 1;
                while path(j) && word(j + 2) == "super" {
                    (levels, j) = (levels + 1, j + 3);
                }
                if levels < depth || !path(j) {
                    continue;
                }
                j + 2
            }
            _ => continue,
        };
        if word(next) != "{" {
            used.push(word(next).to_owned());
            continue;
        }
        // A group: the first word of each of its members.
        let (mut level, mut first) = (0, true);
        loop {
            match word(next) {
                "{" => level += 1,
                "}" => level -= 1,
                "," if level == 1 => first = true,
                "" => break,
                name if level == 1 && first => {
                    used.push(name.to_owned());
                    first = false;
                }
                _ => {}
            }
            if level == 0 {
                break;
            }
            first |= word(next) == "{" && level == 1;
            next += 1;
        }
    }
    used
}

/// The modules between a file's own module and the root: 1 for `wire/mod.rs`, 2 for `wire/flv.rs`. An inline
/// `mod tests` is one deeper, so its `super::super` is counted one too shallow; no file needs that path.
fn depth(file: &str) -> usize {
    let parts = file.split('/').count();
    if file.ends_with("/mod.rs") { parts - 1 } else { parts }
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        let Some((layer, _)) = file.split_once('/') else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            panic!("src/{file}: the layer {layer} is not in the list of this test");
        };
        for name in used(&code, depth(&file)) {
            let known = LAYERS.iter().any(|(layer, _)| *layer == name);
            if known && name != layer && !allowed.contains(&name.as_str()) {
                wrong.push(format!("src/{file} uses {name}; {layer} may use {allowed:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_is_in_one_module() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        if !file.starts_with(SYS) && words(&code).iter().any(|word| word == "unsafe") {
            wrong.push(format!("src/{file} has unsafe code; it belongs in src/{SYS}.rs or below"));
        }
        // net cannot forbid it for its own file sys.rs; lib.rs cannot, since it holds net.
        let root = file == "main.rs" || (file.ends_with("/mod.rs") && file.matches('/').count() == 1);
        let forbids = code.replace(' ', "").contains("#![forbid(unsafe_code)]");
        if root && file != "net/mod.rs" && !forbids {
            wrong.push(format!("src/{file} lacks #![forbid(unsafe_code)]"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first word of the code that names a 64-bit atomic.
fn wide_atomic(code: &str) -> Option<String> {
    words(code).into_iter().find(|word| matches!(word.as_str(), "AtomicU64" | "AtomicI64"))
}

#[test]
fn no_64_bit_atomics() {
    for (file, code) in files() {
        let found = wide_atomic(&code);
        assert_eq!(found, None, "src/{file}");
    }
    assert_eq!(wide_atomic("use std::sync::atomic::{AtomicI64 as A};").as_deref(), Some("AtomicI64"));
    assert_eq!(wide_atomic("AtomicUsize"), None);
}

/// The lines that print by `Debug`, of which the programs for small machines have nothing; tests and panics may.
fn debug_prints(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let prints = |line: &&str| line.contains(":?}") || line.contains(":#?}");
    code.lines().filter(prints).filter(|line| !line.contains("panic!")).collect()
}

#[test]
fn nothing_is_printed_by_debug() {
    // Modules of tests alone, apart from those whose names say so.
    let of_tests = |file: &str| {
        file.ends_with("tests.rs")
            || ["media/hls/validate.rs", "wire/ts/check.rs", "wire/testing.rs"].contains(&file)
    };
    for (file, _) in files() {
        let text = std::fs::read_to_string(src().join(&file)).unwrap();
        assert!(of_tests(&file) || debug_prints(&text).is_empty(), "src/{file}: {:?}", debug_prints(&text));
    }
    assert_eq!(debug_prints("log(\"{a} {b:?}\");\n#[cfg(test)]\nmod tests { f(\"{:?}\") }").len(), 1);
}

#[test]
fn the_reader_of_sources_sees_paths_and_nothing_else() {
    let text = r##"
        //! crate::app in a comment
        /* crate::net /* nested */ crate::conf */
        use crate::{wire::{flv, names}, media};
        use crate::proto::rtmp; // crate::app
        const A: &str = "crate::net \" unsafe"; const B: char = '"'; const C: &[u8] = br#"crate::conf"#;
        fn f<'a>(x: &'a u8) { crate::net::poll(x); super::super::conf::parse(); super::sibling(); }
    "##;
    let mut found = used(&code(text), 2);
    found.sort();
    assert_eq!(found, ["conf", "media", "net", "proto", "wire"]);
    assert!(!words(&code(text)).iter().any(|word| word == "unsafe"));
    assert_eq!(used("super::wire::x", 1), ["wire"]);
    assert_eq!((depth("wire/mod.rs"), depth("wire/flv.rs"), depth("proto/rtmp/mod.rs")), (1, 2, 2));
}
