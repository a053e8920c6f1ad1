//! Configurations of several files and of the environment, and what is told of where values come from.

use super::schema::Context;
use super::*;
use std::collections::BTreeMap;

/// Files in memory: a pattern ends in `*` or names one.
fn loader(files: &[(&str, &str)]) -> impl FnMut(&str) -> Result<Vec<(String, Vec<u8>)>, String> + use<> {
    let files: BTreeMap<String, String> = files.iter().map(|(n, t)| (n.to_string(), t.to_string())).collect();
    move |pattern: &str| {
        let pair = |(n, t): (&String, &String)| (n.clone(), t.clone().into_bytes());
        match pattern.strip_suffix('*') {
            Some(start) => {
                let fits = |n: &str| n.strip_prefix(start).is_some_and(|rest| !rest.contains('/'));
                Ok(files.iter().filter(|(n, _)| fits(n)).map(pair).collect())
            }
            None => files.get_key_value(pattern).map(|f| vec![pair(f)]).ok_or_else(|| "no such file".into()),
        }
    }
}

fn with(main: &str, files: &[(&str, &str)], env: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let env: Vec<(String, String)> = env.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    load_all(Some(("d/main.conf", main.as_bytes())), &env, &mut loader(files)).map_err(|e| lines(&e))
}

fn lines(reports: &[ConfError]) -> Vec<String> {
    reports.iter().map(|e| format!("{}:{}:{}: {}", e.file, e.line, e.col, e.message)).collect()
}

fn good(main: &str, files: &[(&str, &str)], env: &[(&str, &str)]) -> Loaded {
    let loaded = with(main, files, env).unwrap_or_else(|e| panic!("{}", e.join("\n")));
    assert!(loaded.warnings.is_empty(), "{}", lines(&loaded.warnings).join("\n"));
    loaded
}

// ---- include

#[test]
fn what_is_included_stands_where_the_include_does() {
    let files = [
        ("d/common.conf", "listen 1936;\nmax_connections 7;"),
        ("d/v/a.conf", "vhost a { include ../play.inc; }"),
        ("d/v/b.conf", "vhost b { min_latency on; }"),
        ("d/v/../play.inc", "play { mw_latency 100; }"),
        ("cwd.conf", "chunk_size 4096;"),
    ];
    let loaded = good("include common.conf ./cwd.conf;\ninclude v/*;\n", &files, &[]);
    let c = &loaded.config;
    assert_eq!((c.listen[0].port, c.max_connections, c.chunk_size), (1936, 7, 4096));
    assert_eq!(c.vhosts.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((c.vhosts[0].play.mw_latency_ms, c.vhosts[1].min_latency), (100, true));
    let mut read = vec!["d/main.conf"];
    read.extend(["d/common.conf", "cwd.conf", "d/v/a.conf", "d/v/b.conf", "d/v/../play.inc"]);
    assert_eq!(loaded.files, read);
}

#[test]
fn a_pattern_may_name_nothing_but_a_file_must_be_there() {
    let loaded = good("include none/*; vhost a { }", &[], &[]);
    assert_eq!(loaded.config.vhosts.len(), 1);
    let errors = with("vhost a { }\n include gone.conf;", &[], &[]).unwrap_err();
    assert_eq!(errors, ["d/main.conf:2:10: cannot read `d/gone.conf`: no such file"]);
    let errors = with("include; include a { } vhost a { }", &[], &[]).unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].ends_with("`include` takes the names of files, such as `vhosts/*.conf`"));
}

#[test]
fn mistakes_in_an_included_file_name_that_file() {
    let files =
        [("d/x.conf", "vhost a {\n  play { gop_cach on; }\n}"), ("d/bin", "a\u{1}"), ("d/y.conf", "}")];
    let errors = with("lisetn 1;\ninclude x.conf bin;\ninclude y.conf;\npid;", &files, &[]).unwrap_err();
    assert_eq!(
        errors,
        [
            "d/main.conf:1:1: unknown directive `lisetn`; did you mean `listen`?",
            "d/main.conf:4:1: `pid` takes one text, but nothing is given",
            "d/x.conf:2:10: unknown directive `gop_cach` in `play`; did you mean `gop_cache`?",
            "d/bin:1:2: not a text file: it holds the control character U+0001",
            "d/y.conf:1:1: this `}` closes nothing",
        ]
    );
}

#[test]
fn a_second_of_a_directive_in_another_file_is_told_with_both_places() {
    let files = [("d/x.conf", "max_connections 2;")];
    let loaded = with("max_connections 1;\ninclude x.conf; vhost a { }", &files, &[]).unwrap();
    assert_eq!(
        lines(&loaded.warnings),
        ["d/x.conf:1:1: `max_connections` stands at line 1 of d/main.conf already; this one has no effect"]
    );
}

#[test]
fn files_that_include_each_other_come_to_an_end() {
    let files = [("d/a", "include b;"), ("d/b", "include a;"), ("d/self", "include main.conf;")];
    let errors = load_all(Some(("d/main.conf", b"include a;")), &[], &mut loader(&files)).unwrap_err();
    assert_eq!(lines(&errors), ["d/b:1:9: `d/a` includes itself"]);
    assert_eq!(errors[0].help.as_deref(), Some("d/main.conf includes d/a includes d/b includes d/a"));
    let mut own = loader(&[("d/main.conf", "include main.conf;")]);
    let errors = load_all(Some(("d/main.conf", b"include main.conf;")), &[], &mut own).unwrap_err();
    assert_eq!(lines(&errors), ["d/main.conf:1:9: `d/main.conf` includes itself"]);

    // Names that are always new, as a link to the own directory makes them.
    let mut asked = 0;
    let mut deeper = |_: &str| {
        asked += 1;
        Ok(vec![(format!("m{asked}"), b"include more;".to_vec())])
    };
    let errors = load_all(Some(("m", b"include more;")), &[], &mut deeper).unwrap_err();
    assert_eq!(lines(&errors), ["m8:1:1: files are included more than 8 deep"]);

    let mut many = |_: &str| Ok((0..2000).map(|n| (format!("f{n}"), b"".to_vec())).collect());
    let errors = load_all(Some(("m", b"include more;\ninclude more;")), &[], &mut many).unwrap_err();
    assert_eq!(lines(&errors), ["m:1:9: more than 1024 files or 4194304 bytes in all are not read"]);
}

#[test]
fn an_include_after_a_missing_semicolon_is_found() {
    let loaded = with("listen 1935\ninclude x;", &[("d/x", "vhost a { }")], &[]).unwrap();
    assert_eq!(
        lines(&loaded.warnings),
        ["d/main.conf:1:12: missing `;` after `listen 1935`; it is read as if it stood there"]
    );
    assert_eq!(loaded.config.vhosts.len(), 1);
}

// ---- the environment

#[test]
fn without_a_file_the_built_in_configuration_runs_and_the_environment_changes_it() {
    let plain = load_all(None, &[], &mut loader(&[])).unwrap();
    assert_eq!(plain.config, Config::default());
    assert!(plain.warnings.is_empty() && plain.files.is_empty());
    let env = [("RUNNEL_LISTEN".to_owned(), "127.0.0.1:1936  1937".to_owned())];
    let changed = load_all(None, &env, &mut loader(&[])).unwrap().config;
    assert_eq!(changed.listen.iter().map(|l| l.port).collect::<Vec<_>>(), [1936, 1937]);
    assert_eq!(Config { listen: plain.config.listen.clone(), ..changed }, plain.config);
}

#[test]
fn variables_override_the_file_by_our_names_and_by_those_of_srs() {
    let main = "listen 1935; listen 1936; max_connections 5; srs_log_level trace;\n\
                vhost a { play { mw_latency 1; } } vhost b { }";
    let env = [
        ("RUNNEL_LISTEN", "2000"),
        ("SRS_LISTEN", "3000"),
        ("SRS_MAX_CONNECTIONS", "6"),
        ("SRS_HTTP_SERVER_ENABLED", "on"),
        ("SRS_SRS_LOG_LEVEL", "info"),
        ("SRS_VHOST_PLAY_MW_LATENCY", "77"),
        ("RUNNEL_VHOST_HTTP_REMUX_ENABLED", "on"),
        ("RUNNEL_LOG_FILE", "/var/log/my log"),
        ("RUNNEL_PID", "  "),
        ("PATH", "/bin"),
        ("SRS_HOME", "/usr/local/srs"),
        ("SRS_HTTP_API_ENABLED", "off"),
    ];
    let c = good(main, &[], &env).config;
    assert_eq!(c.listen, [Listen { addr: None, port: 2000 }]);
    assert_eq!((c.max_connections, c.log.level), (6, log::LevelFilter::Debug));
    assert!(c.http_server.enabled && c.vhosts.iter().all(|v| v.http_remux.enabled));
    assert!(c.vhosts.iter().all(|v| v.play.mw_latency_ms == 77));
    assert_eq!((c.log.file.as_str(), c.log.tank, c.pid), ("/var/log/my log", LogTank::File, None));
    let env = [("SRS_RTMP_LISTEN", "4000"), ("SRS_VHOST_MIN_LATENCY", "on")];
    let c = good("", &[], &env).config;
    assert_eq!((c.listen[0].port, c.vhosts[0].name.as_str()), (4000, DEFAULT_VHOST));
    assert!(c.vhosts[0].min_latency);
}

#[test]
fn what_is_wrong_in_the_environment_is_told_by_the_variables_name() {
    let errors = with("vhost a { }", &[], &[("SRS_LISTEN", "1935 x")]).unwrap_err();
    assert!(errors[0].starts_with("environment SRS_LISTEN:1:6: `listen` takes ports"), "{errors:?}");
    let env = [
        ("RUNNEL_VHOST_PLAY_GOP_CACH", "on"),
        ("RUNNEL_X", "1"),
        ("SRS_HTTP_API_ENABLED", "on"),
        ("SRS_VHOST_HLS_HLS_FRAGMENT", "10"),
        ("SRS_THREADS", "1"),
        ("SRS_RTC_SERVER_ENABLED", "on"),
    ];
    let loaded = with("vhost a { }", &[], &env).unwrap();
    let told = lines(&loaded.warnings);
    let expected = [
        "environment RUNNEL_VHOST_PLAY_GOP_CACH:1:1: `RUNNEL_VHOST_PLAY_GOP_CACH` names no directive; did you mean `RUNNEL_VHOST_PLAY_GOP_CACHE`?",
        "environment RUNNEL_X:1:1: `RUNNEL_X` names no directive",
        "environment SRS_THREADS:1:1: `threads` has no effect because it is about the insides of SRS",
        "environment SRS_RTC_SERVER_ENABLED:1:1: `SRS_RTC_SERVER_ENABLED` has no effect because WebRTC is not built in",
    ];
    for line in expected {
        assert!(told.iter().any(|t| t == line), "{told:#?}");
    }
}

// ---- what is in force

#[test]
fn what_is_in_force_is_told_with_where_it_comes_from() {
    let main = "listen 1935 127.0.0.1:1936;\nlog_file 'a b.log';\nvhost 'x y' { play { gop_cache off; } }";
    let loaded = with(main, &[], &[("RUNNEL_MAX_CONNECTIONS", "9")]).unwrap();
    let text = loaded.effective.to_string();
    let line = |start: &str| {
        text.lines()
            .find(|l| l.trim_start().starts_with(start))
            .unwrap_or_else(|| panic!("{start} in {text}"))
    };
    assert!(line("listen ").contains("1935 127.0.0.1:1936;") && line("listen ").ends_with("# d/main.conf:1"));
    assert!(line("max_connections").contains(" 9;"));
    assert!(line("max_connections").ends_with("# environment RUNNEL_MAX_CONNECTIONS"));
    assert!(
        line("log_tank").contains(" file;") && line("log_tank").ends_with("# d/main.conf:2"),
        "it follows from log_file"
    );
    assert!(line("chunk_size").ends_with("# default"));
    assert!(line("gop_cache ").contains(" off;") && line("gop_cache ").ends_with("# d/main.conf:3"));
    assert!(line("# trusted_proxy").contains("(nobody)"));
    assert!(text.contains("vhost \"x y\" {\n"));
    assert_eq!(
        loaded.effective.origin(Context::Root, "max_connections").to_string(),
        "environment RUNNEL_MAX_CONNECTIONS"
    );
}

#[test]
fn what_is_printed_as_in_force_loads_and_means_the_same() {
    let files = [
        include_str!("../../conf/runnel.conf"),
        "vhost a { min_latency on; chunk_size 128; }\nvhost b { http_remux { mount /x/[stream].flv; } }",
        "log_file \"it's\"; trusted_proxy 10.0.0.0/8; http_server { enabled on; listen [::1]:80; } vhost a { }",
        BUILT_IN,
    ];
    for text in files {
        let loaded = load("x", text).unwrap();
        let printed = loaded.effective.to_string();
        let again = load("again", &printed).unwrap_or_else(|e| panic!("{}\n{printed}", lines(&e).join("\n")));
        assert_eq!(again.config, loaded.config, "{printed}");
    }
}

// ---- anything at all

/// Files that include each other at random, cut and spliced from samples, with variables made of anything: an answer
/// always comes, and every report has a place in one of the texts.
#[test]
fn garbage_of_many_files_gives_an_answer() {
    let mut state = 0x9E37_79B9_u32;
    let mut random = move |n: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % n
    };
    let sample = include_str!("../../conf/runnel.conf");
    let old = include_str!("../../tests/conf/srs/srs2-old-names.conf");
    let lines: Vec<&str> = sample.lines().chain(old.lines()).collect();
    let odd = [
        "include a;",
        "include b c;",
        "include *;",
        "}",
        "{",
        "vhost x {",
        "'",
        "include",
        "mr { enabled on }",
    ];
    let names =
        ["RUNNEL_LISTEN", "SRS_VHOST_PLAY_GOP_CACHE", "RUNNEL_", "SRS_", "RUNNEL_VHOST", "SRS_SRS_LOG_LEVEL"];
    let values = ["", "on", "1935 x", "\u{0}", "é;{", "info", "99999999999999999999"];
    for _ in 0..400 {
        let text = |random: &mut dyn FnMut(usize) -> usize| -> String {
            let line = |random: &mut dyn FnMut(usize) -> usize| match random(4) {
                0 => odd[random(odd.len())],
                _ => lines[random(lines.len())],
            };
            let mut text = String::new();
            for _ in 0..random(30) {
                text += line(random);
                text.push('\n');
            }
            text
        };
        let files: Vec<(String, String)> =
            ["a", "b", "c"].iter().map(|name| (name.to_string(), text(&mut random))).collect();
        let pairs: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        let env: Vec<(String, String)> = (0..random(4))
            .map(|_| (names[random(names.len())].to_owned(), values[random(values.len())].to_owned()))
            .collect();
        let main = text(&mut random);
        let reports = load_all(Some(("main", main.as_bytes())), &env, &mut loader(&pairs));
        for report in reports.map_or_else(|e| e, |l| l.warnings) {
            let known = ["main", "a", "b", "c"].contains(&report.file.as_str())
                || report.file.starts_with("environment ");
            assert!(
                known && report.line >= 1 && report.col >= 1 && report.to_string().len() < 2000,
                "{report}"
            );
        }
    }
}
