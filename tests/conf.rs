//! `runnel -t` on whole files: the samples in `conf/`, files in the style of SRS 2 to 7, and files with mistakes.
//!
//! What it says of each file in `tests/conf` stands beside it, with the extension `.txt`. After a change of the words:
//! `RUNNEL_UPDATE=1 cargo test --test conf`, and read the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the program in a directory, with nothing of our environment.
fn runnel(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runnel")).args(arguments).current_dir(dir).env_clear().output().unwrap()
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// The configuration files of a directory, by name.
fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".conf")).collect();
    names.sort();
    assert!(names.len() > 1, "{}", dir.display());
    names
}

/// Compares what `-t` says of each file with what stands beside it.
fn golden(dir: &str, good: bool) {
    let dir = root().join(dir);
    let mut wrong = Vec::new();
    for name in files(&dir) {
        let out = runnel(&dir, &["-t", "-c", &name]);
        assert!(!said(&out).contains("panicked"), "{name}: {}", said(&out));
        assert_eq!(out.status.code(), Some(i32::from(!good)), "{name}: {}", said(&out));
        let expected = dir.join(name.replace(".conf", ".txt"));
        if std::env::var_os("RUNNEL_UPDATE").is_some() {
            std::fs::write(&expected, said(&out)).unwrap();
        }
        let there = std::fs::read_to_string(&expected).unwrap_or_default();
        if there != said(&out) {
            wrong.push(format!("{name} says\n{}\ninstead of\n{there}", said(&out)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_with_mistakes_are_told_all_of_them() {
    golden("tests/conf/bad", false);
}

#[test]
fn files_for_srs_load_and_what_they_lack_here_is_told() {
    golden("tests/conf/srs", true);
}

/// The samples draw no warning, but for paths that a test may not write to.
#[test]
fn the_samples_are_good() {
    let dir = root().join("conf");
    for name in files(&dir) {
        let out = runnel(&dir, &["-T", "-c", &name]);
        assert!(out.status.success() && out.stderr.is_empty(), "{name}: {}", said(&out));
        // What is in force, as a file, is in force again.
        let printed = std::env::temp_dir().join(format!("runnel-{}-{name}", std::process::id()));
        let plain = |text: &[u8]| -> Vec<String> {
            let text = String::from_utf8_lossy(text).into_owned();
            text.lines()
                // It says how much memory the machine has left at this moment.
                .filter(|line| !line.starts_with("# max_memory"))
                .map(|line| line.rsplit_once(" # ").map_or(line, |(start, _)| start.trim_end()).to_owned())
                .collect()
        };
        std::fs::write(&printed, &out.stdout).unwrap();
        let again = runnel(&dir, &["-T", "-c", printed.to_str().unwrap()]);
        assert!(again.status.success(), "{name}: {}", said(&again));
        assert_eq!(plain(&again.stdout), plain(&out.stdout), "{name}");
        std::fs::remove_file(printed).unwrap();
    }
}

#[test]
fn options_are_those_of_srs_too() {
    let dir = root();
    let version = concat!("runnel ", env!("CARGO_PKG_VERSION"), "\n");
    for option in ["-v", "-V", "--version"] {
        let out = runnel(&dir, &[option]);
        assert!(out.status.success() && said(&out) == version, "{option}: {}", said(&out));
    }
    for option in ["-g", "-G"] {
        assert_eq!(said(&runnel(&dir, &[option])), version.replace(' ', "/"), "{option}");
    }
    for option in ["-h", "-?", "--help"] {
        let out = runnel(&dir, &[option]);
        assert!(out.status.success() && said(&out).contains("Usage: runnel"), "{option}: {}", said(&out));
    }
    assert!(runnel(&dir, &["-t", "-c", "conf/runnel.conf"]).status.success());
    assert!(runnel(&dir, &["-t"]).status.success(), "what is built in is good");
    assert!(!runnel(&dir, &["stray"]).status.success() && !runnel(&dir, &["-z"]).status.success());
    let out = runnel(&dir, &["--explain", "mw_latency"]);
    assert!(out.status.success() && said(&out).contains("default:      350"), "{}", said(&out));
    let out = runnel(&dir, &["--explain", "mw_latecny"]);
    assert!(!out.status.success() && said(&out).contains("did you mean `mw_latency`?"), "{}", said(&out));
    let page = std::fs::read_to_string(dir.join("docs/directives.md")).unwrap();
    assert_eq!(said(&runnel(&dir, &["--directives"])), page);
}

#[test]
fn the_environment_is_part_of_what_is_in_force() {
    let run = |arguments: &[&str], name: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runnel"));
        command.args(arguments).current_dir(root()).env_clear().env(name, value).output().unwrap()
    };
    let out = run(&["-T", "-e"], "SRS_LISTEN", "1999");
    assert!(
        said(&out).contains("1999;") && said(&out).contains("# environment SRS_LISTEN"),
        "{}",
        said(&out)
    );
    let out = run(&["-t", "-c", "conf/runnel.conf"], "RUNNEL_MAX_CONNECTIONS", "many");
    assert!(!out.status.success());
    assert!(
        said(&out).starts_with("environment RUNNEL_MAX_CONNECTIONS:1:1: error: `max_connections` takes"),
        "{}",
        said(&out)
    );
}

#[test]
fn what_cannot_be_read_is_told_in_a_sentence() {
    let dir = std::env::temp_dir().join(format!("runnel-conf-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let big = dir.join("big.conf");
    // A hundred million bytes that take no room on disk.
    std::fs::File::create(&big).unwrap().set_len(100 << 20).unwrap();
    for (file, words) in [
        (big.to_str().unwrap(), "more than 1048576 bytes"),
        (dir.to_str().unwrap(), "it is a directory"),
        ("/nowhere/x.conf", "cannot read /nowhere/x.conf: No such file"),
        ("/dev/zero", "more than 1048576 bytes"),
        // What may be opened and not be read, even by root.
        ("/proc/self/mem", "cannot read /proc/self/mem: Input/output error"),
    ] {
        let out = runnel(&dir, &["-t", "-c", file]);
        assert!(out.status.code() == Some(1) && said(&out).contains(words), "{file}: {}", said(&out));
    }
    let secret = dir.join("secret.conf");
    std::fs::write(&secret, "vhost a { }").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    // Root may read everything, so somebody else has to try, if they can get at the program.
    let root = std::fs::read(&secret).is_ok();
    let mut command = Command::new(env!("CARGO_BIN_EXE_runnel"));
    command.args(["-t", "-c"]).arg(&secret).current_dir("/").env_clear();
    if root {
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
    }
    match command.output() {
        Ok(out) => assert!(
            out.status.code() == Some(1) && said(&out).contains("secret.conf: Permission denied"),
            "{}",
            said(&out)
        ),
        Err(error) => assert!(root, "{error}"),
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Where recordings and segments are to go is looked at as who will write there, and nothing is made by looking.
#[test]
fn directories_that_cannot_be_made_are_told_with_what_is_in_the_way() {
    let dir = std::env::temp_dir().join(format!("runnel-trees-{}", std::process::id()));
    let mode = |name: &str, mode: u32| {
        std::fs::create_dir_all(dir.join(name)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(dir.join(name), mode).unwrap();
    };
    mode("open", 0o777);
    mode("shut", 0o555);
    let is_root = std::fs::write(dir.join("shut/x"), "").is_ok();
    let conf = dir.join("runnel.conf");
    let test = |below: &str, more: &str, uid: Option<u32>| {
        let path = dir.join(below).display().to_string();
        let text = format!("{more} vhost v {{ dvr {{ enabled on;\ndvr_path {path}/a/b/[stream].flv; }} }}");
        std::fs::write(&conf, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_runnel"));
        command.arg("-t").arg("-c").arg(&conf).current_dir("/").env_clear();
        if let Some(uid) = uid {
            std::os::unix::process::CommandExt::uid(&mut command, uid);
        }
        command.output()
    };
    let refused = |out: Output| {
        let shut = dir.join("shut").display().to_string();
        let told = format!("runnel.conf:2: error: `dvr_path`: {shut}/a/b cannot be made: {shut} may not be");
        assert!(out.status.code() == Some(1) && said(&out).contains(&told), "{}", said(&out));
    };
    if is_root {
        // Whoever it becomes writes, not root. Root itself may.
        refused(test("shut", "user 65534:65534;", None).unwrap());
        assert!(test("shut", "", None).unwrap().status.success());
        assert!(test("open", "user 65534:65534;", None).unwrap().status.success());
    }
    match test("shut", "", is_root.then_some(65534)) {
        Ok(out) => refused(out),
        Err(error) => assert!(is_root, "{error}"),
    }
    let out = test("open", "", None).unwrap();
    assert!(out.status.success(), "{}", said(&out));
    assert!(!dir.join("open/a").exists() && !dir.join("shut/a").exists());
    std::fs::remove_dir_all(&dir).unwrap();
}
