//! The configuration as its user sees it: what loads, what it means, and what is said when it does not.

use std::net::IpAddr;

use super::schema::{self, Context, Directive};
use super::*;

const SAMPLE: &str = include_str!("../../conf/runnel.conf");

fn config(text: &str) -> Config {
    let loaded = load("t.conf", text).unwrap_or_else(|e| panic!("{}", shown(&e)));
    assert!(loaded.warnings.is_empty(), "{}", shown(&loaded.warnings));
    loaded.config
}

#[test]
fn the_sample_for_routers_keeps_less_than_the_defaults() {
    let router = config(include_str!("../../conf/openwrt.conf"));
    let (small, usual) = (&router.vhosts[0].play, &Vhost::default().play);
    assert!(small.queue_bytes < usual.queue_bytes && small.send_buffer < usual.send_buffer);
    assert!(router.max_connections < Config::default().max_connections);
}

/// The configuration and the warnings, one line each, of a file that loads.
fn warned(text: &str) -> (Config, Vec<String>) {
    let loaded = load("t.conf", text).unwrap_or_else(|e| panic!("{}", shown(&e)));
    (loaded.config, lines(&loaded.warnings))
}

fn failed(text: &str) -> Vec<String> {
    lines(&load("t.conf", text).expect_err("loads"))
}

fn lines(reports: &[ConfError]) -> Vec<String> {
    reports.iter().map(|e| format!("{}:{}: {}", e.line, e.col, e.message)).collect()
}

fn shown(reports: &[ConfError]) -> String {
    reports.iter().map(|e| format!("{e}\n")).collect()
}

fn first(config: &Config) -> &Vhost {
    config.vhosts.first().expect("a vhost")
}

// ---- what loads, and what it means

#[test]
fn the_sample_file_says_what_runs_without_a_file() {
    assert_eq!(config(SAMPLE), Config::default());
    let c = Config::default();
    assert_eq!(c.listen, [Listen { addr: None, port: 1935 }]);
    assert_eq!(c.http_server.listen, [Listen { addr: None, port: 8080 }]);
    assert!(c.http_server.enabled && first(&c).http_remux.enabled && first(&c).enabled);
    assert_eq!((first(&c).chunk_size, c.chunk_size, c.max_connections), (60000, 60000, 1000));
    assert_eq!((first(&c).play.queue_bytes, first(&c).play.send_buffer), (33_554_432, 131_072));
    assert_eq!(first(&c).name, DEFAULT_VHOST);
}

#[test]
fn the_sample_file_names_every_directive() {
    for directive in Context::ALL.iter().flat_map(|&c| schema::directives(c)) {
        assert!(SAMPLE.contains(directive.name), "{}", directive.name);
    }
}

#[test]
fn in_a_file_http_is_off_unless_asked_for_as_in_srs() {
    let c = config("listen 1935; vhost __defaultVhost__ {}");
    assert!(!c.http_server.enabled && !first(&c).http_remux.enabled);
    assert_eq!(first(&c), &Vhost::default());
}

#[test]
fn values_arrive_where_they_belong_with_their_units() {
    let c = config(
        "listen 1935 127.0.0.1:1936 [::1]:0;\n listen 1940;\n chunk_size 4k; handshake_timeout 1.5s;\n\
         trusted_proxy 10.1.2.3/8 ::1; log_level debug; log_file 'a b.log';\n\
         vhost Example.com { min_latency on; chunk_size 128;\n\
           play { gop_cache off; queue_length 10; mw_latency 2s; send_buffer 0; time_jitter zero; wait 0; }\n\
           publish { on_busy reject; resume_wait 2m; normal_timeout 7000; }\n\
           http_flv { mount [vhost]/[app]/[stream].flv /tv/[stream].flv; no_stream 404; has_video off; } }\n\
         vhost other { enabled off; }",
    );
    let ports: Vec<u16> = c.listen.iter().map(|l| l.port).collect();
    assert_eq!(ports, [1935, 1936, 0, 1940]);
    assert_eq!(c.listen[1].addr, Some("127.0.0.1".parse().unwrap()));
    assert_eq!((c.chunk_size, c.handshake_timeout_ms), (4096, 1500));
    assert_eq!(
        (c.log.level, c.log.tank, c.log.file.as_str()),
        (log::LevelFilter::Debug, LogTank::File, "a b.log")
    );
    let v = first(&c);
    assert!(v.min_latency && !v.play.gop_cache);
    assert_eq!((v.chunk_size, c.vhosts[1].chunk_size), (128, 4096));
    assert_eq!((v.play.queue_length_ms, v.play.mw_latency_ms, v.play.send_buffer), (10_000, 2000, 0));
    assert_eq!((v.play.time_jitter, v.play.no_stream_wait_ms), (Jitter::Zero, 0));
    assert_eq!((v.publish.on_busy, v.publish.resume_wait_ms), (OnBusy::Reject, 120_000));
    assert_eq!(v.publish.normal_timeout_ms, 7000);
    assert_eq!(v.http_remux.mounts, ["[vhost]/[app]/[stream].flv", "/tv/[stream].flv"]);
    assert_eq!((v.http_remux.no_stream, v.http_remux.has_video), (NoStream::NotFound, Some(false)));
}

#[test]
fn a_vhost_is_found_by_name_else_the_default_one_and_a_disabled_one_refuses() {
    let c = config("vhost __defaultVhost__ {} vhost Live.Example.com {} vhost closed { enabled off; }");
    let found = |host: &str| c.vhost(host).map(|v| v.name.clone());
    assert_eq!(found("live.example.COM").as_deref(), Some("Live.Example.com"));
    assert_eq!(found("else").as_deref(), Some(DEFAULT_VHOST));
    assert_eq!(found("CLOSED"), None);
    assert_eq!(config("vhost only {}").vhost("else"), None);
}

#[test]
fn a_network_contains_what_shares_its_prefix() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let contains = |net: &str, addr: &str| {
        config(&format!("trusted_proxy {net}; vhost a {{}}")).trusted_proxies[0].contains(ip(addr))
    };
    assert!(contains("10.9.9.9/8", "10.0.0.1"));
    assert!(!contains("10.0.0.0/8", "11.0.0.1"));
    assert!(contains("192.168.1.2", "::ffff:192.168.1.2"));
    assert!(!contains("192.168.1.2", "192.168.1.3"));
    assert!(contains("0.0.0.0/0", "255.1.1.1"));
    assert!(!contains("0.0.0.0/0", "::1"));
    assert!(contains("fd00::/8", "fdff::1"));
    assert!(!contains("fd00::/8", "fe80::1"));
    assert!(contains("::/0", "fe80::1"));
}

#[test]
fn rules_name_what_they_are_about_and_whom() {
    let c = config(
        "vhost a { security { enabled on; allow publish 127.0.0.1; allow play all; allow publish fd00::/8 10.1.2.3/8;\n\
         deny play ::ffff:10.0.0.0/104 publish 1.2.3.4; } refer { enabled on; all Example.COM b.c; play x; } }",
    );
    let rules = |rules: &[Rule]| -> Vec<String> {
        let net =
            |rule: &Rule| rule.net.map_or(String::from("all"), |net| format!("{}/{}", net.addr, net.prefix));
        rules.iter().map(|rule| format!("{} {}", rule.act.word(), net(rule))).collect()
    };
    let v = first(&c);
    assert_eq!(
        rules(&v.security.allow),
        ["publish 127.0.0.1/32", "play all", "publish fd00::/8", "publish 10.0.0.0/8"]
    );
    assert_eq!(rules(&v.security.deny), ["play 10.0.0.0/8", "publish 1.2.3.4/32"]);
    assert_eq!(
        (v.refer.all.as_slice(), v.refer.play.len()),
        (&["example.com".to_owned(), "b.c".to_owned()][..], 1)
    );
    for rule in [
        "all",
        "play",
        "play all publish",
        "watch all",
        "play 10.0.0.0/33",
        "play localhost",
        "publish play all",
    ] {
        let errors = failed(&format!("vhost a {{ security {{ allow {rule}; }} }}"));
        assert!(errors[0].contains("`allow` takes `publish` or `play`"), "{rule}: {errors:?}");
    }
    for host in ["http://a/", "*.a", ".a", "''", "a/b"] {
        assert!(load("t", &format!("vhost a {{ refer {{ all {host}; }} }}")).is_err(), "{host}");
    }
}

#[test]
fn rules_that_let_nobody_in_are_told() {
    let told = |rules: &str| warned(&format!("vhost a {{ {rules} }}")).1;
    assert!(told("security { enabled on; deny play all; }").is_empty());
    assert!(told("security { enabled on; allow play all; allow publish ::1; }").is_empty());
    assert!(told("security { enabled off; }").is_empty());
    let one = told("security { enabled on; allow publish 127.0.0.1; deny publish all; }");
    assert_eq!(one, ["1:30: nobody may play in vhost a: `security` has rules, and none allows it"]);
    assert!(told("security { enabled on; }")[0].contains("nobody may publish"));
    assert!(told("refer { enabled on; }")[0].contains("asks nothing"));
}

#[test]
fn destinations_have_one_form_however_they_are_written() {
    let of = |text: &str| first(&config(&format!("vhost a {{ {text} }}"))).forward.clone();
    let forward = of(
        "forward { enabled on; destination 10.0.0.1 B.Example:1936 [::1] ; destination ::2 [fe80::1]:1; }",
    );
    let list = ["10.0.0.1:1935", "b.example:1936", "[::1]:1935", "[::2]:1935", "[fe80::1]:1"];
    assert_eq!((forward.wanted(), forward.enabled), (list.map(String::from).as_slice(), true));
    assert!(of("forward { destination a.b; }").wanted().is_empty(), "it is off");
    let (old, _) = warned("vhost a { forward 127.0.0.1:19350 localhost; }");
    assert_eq!(first(&old).forward.wanted(), ["127.0.0.1:19350", "localhost:1935"]);
    for bad in ["rtmp://a.b/live", "a.b:0", "a.b:99999", "a.b:", ":1935", "a b:1", "[::1", "-a.b"] {
        assert!(load("t", &format!("vhost a {{ forward {{ destination '{bad}'; }} }}")).is_err(), "{bad}");
    }
    let (_, warnings) = warned("vhost a { forward { enabled on; } }");
    assert!(warnings[0].contains("without a `destination`"), "{warnings:?}");
}

#[test]
fn the_api_shares_a_port_or_has_its_own() {
    let api = |text: &str| load("t", &format!("{text} vhost a {{}}"));
    for good in [
        "http_api { enabled on; }",
        "http_api { enabled on; listen 8080; } http_server { enabled on; }",
        "http_api { enabled on; listen 127.0.0.1:1985 8080; } http_server { enabled on; }",
        "http_api { enabled on; listen 8080; }",
        "http_api { listen 1935; auth { enabled on; username a; password b; } }",
    ] {
        assert!(api(good).is_ok(), "{good}");
    }
    for (bad, why) in [
        ("http_api { enabled on; listen 1935; }", "for RTMP already"),
        ("http_api { enabled on; listen 127.0.0.1:8080; } http_server { enabled on; }", "in both alike"),
        ("http_api { enabled on; auth { enabled on; username a; } }", "needs `username` and `password`"),
        ("http_api { enabled on; auth { enabled on; username a:b; password c; } }", "no colon"),
    ] {
        let errors = api(bad).unwrap_err();
        assert!(errors[0].to_string().contains(why), "{bad}: {errors:?}");
    }
}

#[test]
fn the_grammar_is_that_of_srs() {
    let c = config("\u{feff}listen\t1935;#one\r\n#two ; {\r\nvhost\n'a#b' {play{gop_cache off;}} # end");
    assert_eq!(first(&c).name, "a#b");
    assert!(!first(&c).play.gop_cache);
    assert_eq!(first(&config("vhost a\"b {}")).name, "a\"b");
    assert_eq!(first(&config("vhost \"\" a '' {}")).name, "a");
    assert_eq!(failed("vhost 'a'b {}")[0], "1:10: after a closing quote only a space, `;` or `{` may follow");
}

// ---- the table

/// A value other than the default for every directive that takes one.
fn other_value(context: Context, directive: &Directive) -> String {
    let pick = |a: &str, b: &str| if directive.default == a { b.to_owned() } else { a.to_owned() };
    match directive.kind {
        Kind::Flag if is_on(context, directive) => String::from("off"),
        Kind::Flag => pick("off", "on"),
        Kind::Count { .. } => pick("17", "18"),
        Kind::Size { usual, .. } => {
            let size = if directive.default == "64k" { 128 << 10 } else { 64 << 10 };
            usual.0.max(size).to_string()
        }
        Kind::Time { .. } => String::from("1234ms"),
        Kind::Words(words) => words.iter().find(|w| **w != directive.default).unwrap().to_string(),
        Kind::Ratio { .. } => String::from("3.125"),
        Kind::Text if directive.default.contains("[stream]") => format!("x/{}", directive.default),
        Kind::Text => String::from("other"),
        Kind::Listen => format!("{}", 4000 + context as u16),
        Kind::Nets => String::from("10.0.0.0/8"),
        Kind::Mounts => String::from("/x/[stream].flv"),
        Kind::Prefix => String::from("[vhost]/vod/"),
        Kind::Streams => String::from("live/x"),
        Kind::Rules => String::from("publish all play 10.0.0.0/8"),
        Kind::Domains => String::from("example.com"),
        Kind::Url | Kind::Urls => String::from("http://example.com:81/x?y"),
        Kind::Servers => String::from("10.1.2.3:1936"),
        Kind::Command => String::from("a b"),
        Kind::Block(_) | Kind::NamedBlock(_) | Kind::Params => unreachable!(),
    }
}

/// `text` within the blocks that `context` stands in, in a file that otherwise draws no warning.
fn within(context: Context, text: &str) -> String {
    match context {
        Context::Root => format!("{text} vhost v {{ }}"),
        Context::HttpServer => format!("http_server {{ {text} }} vhost v {{ }}"),
        Context::HttpApi => format!("http_api {{ {text} }} vhost v {{ }}"),
        Context::Heartbeat => format!("heartbeat {{ {text} }} vhost v {{ }}"),
        Context::RawApi | Context::Auth => {
            format!("http_api {{ {} {{ {text} }} }} vhost v {{ }}", context.name())
        }
        Context::Vhost => format!("vhost v {{ {text} }}"),
        Context::HttpRemux | Context::HttpStatic | Context::Hls => {
            format!("http_server {{ enabled on; }} vhost v {{ {} {{ {text} }} }}", context.name())
        }
        Context::Security => format!("vhost v {{ security {{ {text} allow publish ::1 play ::1; }} }}"),
        Context::Ingest | Context::Input => {
            let (outer, inner) = if context == Context::Ingest { (text, "") } else { ("", text) };
            format!(
                "vhost v {{ ingest x {{ {outer} enabled on; input {{ {inner} url a; }} engine {{ output b; }} }} }}"
            )
        }
        Context::Transcode | Context::Engine => {
            let (outer, inner) = if context == Context::Transcode { (text, "") } else { ("", text) };
            format!(
                "vhost v {{ transcode {{ {outer} enabled on; engine {{ {inner} enabled on; output b; }} engine {{ enabled on; output c; }} }} }}"
            )
        }
        Context::Refer => format!("vhost v {{ refer {{ {text} all a.b; }} }}"),
        Context::Forward => format!("vhost v {{ forward {{ {text} destination ::1; }} }}"),
        Context::Cluster => format!("vhost v {{ cluster {{ {text} origin ::2; }} }}"),
        _ => format!("vhost v {{ {} {{ {text} }} }}", context.name()),
    }
}

/// Whether `within` turns it on, so that others have an effect.
fn is_on(context: Context, d: &Directive) -> bool {
    d.name == "enabled" && matches!(context, Context::Ingest | Context::Transcode | Context::Engine)
}

fn all_directives() -> impl Iterator<Item = (Context, &'static Directive)> {
    Context::ALL.into_iter().flat_map(|c| schema::directives(c).iter().map(move |d| (c, d)))
}

fn is_block(directive: &Directive) -> bool {
    directive.kind.is_block()
}

/// In tests they are as written, so the sources are looked at.
#[test]
fn every_table_leaves_its_documentation_to_the_packed_reference() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conf");
    let inner = std::fs::read_dir(dir.join("schema")).unwrap().map(|entry| entry.unwrap().path());
    let mut tables = 0;
    for path in inner.chain([dir.join("schema.rs")]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| line.contains(": &[Directive] =")) {
            assert!(line.contains("= &lean(["), "{}: {line}", path.display());
            tables += 1;
        }
    }
    assert!(tables >= Context::ALL.len() - 1, "{tables} tables");
}

#[test]
fn every_directive_is_documented_and_named_once() {
    let mut blocks = 0;
    for (context, d) in all_directives() {
        assert!(d.docs.len() > 10 && d.docs.ends_with('.'), "{}", d.name);
        assert!(!d.default.is_empty(), "{}", d.name);
        for name in [&d.name].into_iter().chain(d.aliases) {
            let same =
                schema::directives(context).iter().filter(|o| o.name == *name || o.aliases.contains(name));
            assert_eq!(same.count(), 1, "{name}");
            assert!(
                !srs::knows(context, name) && srs::home(name).is_none_or(|h| h != context.name()),
                "{name}"
            );
        }
        if let Kind::Block(inner) | Kind::NamedBlock(inner) = d.kind
            && (context, inner) != (Context::Ingest, Context::Engine)
        {
            assert_eq!((inner.name(), inner.parent()), (d.name, Some(context)));
            blocks += 1;
        }
    }
    assert_eq!(blocks, Context::ALL.len() - 1, "every context can be entered");
}

#[test]
fn every_directive_changes_the_configuration_and_nothing_is_shared() {
    let mut seen: Vec<(String, Config)> = Vec::new();
    for (context, d) in all_directives().filter(|(_, d)| !is_block(d)) {
        let plain = config(&within(context, ""));
        let text = format!("{} {};", d.name, other_value(context, d));
        let changed = warned(&within(context, &text)).0;
        assert_ne!(plain, changed, "{text} in {context:?} has no effect");
        // To name a log file is to ask for one, even the default one.
        if !d.default.starts_with('(') && d.name != "log_file" && !is_on(context, d) {
            let written = config(&within(context, &format!("{} {};", d.name, d.default)));
            assert_eq!(plain, written, "the default of {} in {context:?} is another", d.name);
        }
        // Within one kind of file, no two directives do the same.
        let twin = seen.iter().find(|(place, c)| *place == within(context, "") && *c == changed);
        assert!(twin.is_none(), "{text} in {context:?} does what another does");
        seen.push((within(context, ""), changed));
        for alias in d.aliases {
            let text = format!("{alias} {};", other_value(context, d));
            assert_eq!(config(&within(context, &text)), seen.last().unwrap().1, "{alias}");
        }
    }
    assert!(seen.len() > 30);
}

#[test]
fn every_directive_checks_its_arguments_and_its_shape() {
    for (context, d) in all_directives() {
        let errors = |text: String| load("t.conf", &within(context, &text)).map(drop).map_err(|e| lines(&e));
        let none = errors(format!("{};", d.name)).unwrap_err().join(" ");
        assert!(none.contains(&format!("`{}` takes ", d.name)), "{none}");
        if is_block(d) {
            assert!(errors(format!("{} a b {{ }}", d.name)).is_err(), "{}", d.name);
            continue;
        }
        let block = errors(format!("{} {} {{ }}", d.name, other_value(context, d)));
        assert!(block.is_err(), "{}", d.name);
        if !d.kind.adds_up() && !matches!(d.kind, Kind::Command) {
            let two = errors(format!("{0} {1} {1};", d.name, other_value(context, d)));
            assert!(two.unwrap_err()[0].contains("too much"), "{}", d.name);
        }
        for bad in ["-1", "1x", "99999999999999999999", ":::", "[", "a/../b.flv"] {
            if !matches!(d.kind, Kind::Flag | Kind::Text | Kind::Command) {
                let wrong = errors(format!("{} {bad};", d.name)).unwrap_err();
                assert!(wrong[0].contains(&format!("not `{bad}`")), "{} {bad}: {wrong:?}", d.name);
            }
        }
    }
}

#[test]
fn what_srs_knows_beyond_the_table_loads_with_a_warning() {
    let (_, warnings) = warned(
        "listen 1935; tcmalloc_release_rate 0.8;\n rtmps { enabled on; listen 1443; }\n\
         vhost a { hds { enabled on; hds_window 60; }\n play { mw_msgs 8; } }",
    );
    assert_eq!(
        warnings,
        [
            "1:14: `tcmalloc_release_rate` has no effect because it is about the insides of SRS",
            "2:2: `rtmps` has no effect because TLS is not built in; a proxy in front can do it",
            "3:11: `hds` has no effect because of segments only those of HLS are made",
            "4:9: `mw_msgs` has no effect because `mw_latency` and `min_latency` alone say when is sent",
        ]
    );
}

#[test]
fn files_are_served_only_where_a_file_says_so() {
    assert_eq!(Config::default().http_server.dir, None);
    assert!(!first(&Config::default()).http_static.enabled);
    let (c, warnings) = warned(
        "http_server { enabled on; dir './my files'; }\n\
         vhost a { http { enabled on; mount [vhost]/vod; } }\n\
         vhost b { http_static { enabled on; dir ./b; } }",
    );
    assert_eq!(warnings, ["2:11: `http` is now called `http_static`"]);
    assert_eq!(c.http_server.dir.as_deref(), Some("./my files"));
    let of = |n: usize| (c.vhosts[n].http_static.mount.as_str(), c.vhosts[n].http_static.dir.as_str());
    assert_eq!((of(0), of(1)), (("[vhost]/vod", "./objs/nginx/html"), ("[vhost]/", "./b")));
    for mount in ["vod", "[vhost]/../x", "[vhost]/[app]/", "/a//b", "/.git", "/a%2f", "/x/[stream].flv"] {
        let text = format!("vhost a {{ http_static {{ mount {mount}; }} }}");
        assert!(load("t", &text).is_err(), "{mount}");
    }
}

#[test]
fn an_edge_of_old_is_read_but_a_vhost_in_a_vhost_is_a_missing_brace() {
    let (c, warnings) = warned("vhost a { mode remote; origin 1.2.3.4; vhost b; }");
    assert_eq!(warnings.len(), 3);
    assert_eq!(warnings[0], "1:11: `mode` now stands in `cluster`, as `cluster { mode …; }`");
    let cluster = &first(&c).cluster;
    assert!(cluster.remote && cluster.origins == ["1.2.3.4:1935"] && cluster.vhost == "b");
    let errors = load("t", "vhost a { play { }\nvhost b { }").unwrap_err();
    assert_eq!(
        lines(&errors),
        [
            "1:9: the block opened here has no `}`",
            "2:1: unknown directive `vhost` in `vhost`; it belongs outside all blocks",
        ]
    );
}

#[test]
fn an_edge_needs_an_origin_that_is_another_server() {
    let (c, warnings) = warned(
        "listen 1935 10.0.0.1:1936; vhost a { cluster { mode remote; origin a.b [::1]:1936 1.2.3.4; } } \
         vhost b { cluster { mode local; } }",
    );
    assert!(warnings.is_empty() && !c.vhosts[1].cluster.remote, "{warnings:?}");
    let cluster = &first(&c).cluster;
    assert_eq!(cluster.origins, ["a.b:1935", "[::1]:1936", "1.2.3.4:1935"]);
    let after = |origin| cluster.after(origin).unwrap();
    assert_eq!(
        (after("a.b:1935"), after("1.2.3.4:1935"), after("x")),
        ("[::1]:1936", "a.b:1935", "a.b:1935")
    );
    let none = load("t", "vhost a { } vhost b { cluster { mode remote; } }").unwrap_err();
    assert_eq!(lines(&none), ["1:38: `mode remote` needs an `origin`"]);
    assert!(none[0].help.as_deref().unwrap().contains("add `origin HOST:PORT;`"));
    for own in ["127.0.0.1", "[::1]", "LOCALHOST:1935", "0.0.0.0", "10.0.0.1:1936"] {
        let text =
            format!("listen 1935 10.0.0.1:1936; vhost a {{ cluster {{ mode remote; origin {own}; }} }}");
        let (_, warnings) = warned(&text);
        assert!(warnings.len() == 1 && warnings[0].contains("is this server itself"), "{own}: {warnings:?}");
    }
    let text = "http_server { enabled on; } vhost a { hls { enabled on; } cluster { mode remote; token_traverse on; origin o; } }";
    let (c, warnings) = warned(text);
    assert!(
        warnings.len() == 1 && warnings[0].contains("`hls` is off with `token_traverse`"),
        "{warnings:?}"
    );
    assert!(!first(&c).hls.enabled && first(&c).cluster.asks());
    let back = "vhost a { cluster { mode remote; origin o; } forward { enabled on; destination p o; } }";
    assert!(lines(&load("t", back).unwrap_err())[0].contains("send the streams back"));
}

#[test]
fn a_file_for_nginx_is_told_so() {
    for text in ["worker_processes 1;", "rtmp { server { listen 1935; } }"] {
        let errors = load("t", text).unwrap_err();
        assert_eq!(errors.len(), 1);
        let help = errors[0].help.as_deref().unwrap();
        assert!(help.contains("nginx"), "{help}");
    }
}

#[test]
fn what_asks_for_nothing_passes_in_silence() {
    config(
        "asprocess off; query_latest_version off; heartbeat { enabled off; } rtc_server { listen 8000; }\n\
         vhost a { hls { hls_path x; } dvr { enabled off; } play { atc off; } http_remux { hstrs on; } }",
    );
    let (_, warnings) = warned("asprocess on; vhost a { forward 127.0.0.1:1936; dvr { enabled true; } }");
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

#[test]
fn hls_has_the_defaults_of_srs_in_a_file_and_shorter_ones_without() {
    let of = |text: &str| config(text).vhosts[0].hls.clone();
    let plain = of("vhost a { hls { } }");
    assert!(!plain.enabled && plain.storage == HlsStorage::Ram && plain.variant == HlsVariant::Ts);
    assert_eq!((plain.fragment_ms, plain.window_ms, plain.dispose_ms), (10_000, 60_000, 120_000));
    assert_eq!((plain.td_ratio, plain.aof_ratio), (1000, 2100));
    let set = of(
        "http_server { enabled on; } vhost a { hls { enabled on; hls_fragment 2.5; hls_td_ratio 1.25; hls_acodec an; } }",
    );
    assert_eq!(
        (set.enabled, set.fragment_ms, set.td_ratio, set.audio, set.video),
        (true, 2500, 1250, false, true)
    );
    let ours = &Config::default().vhosts[0].hls;
    assert_eq!((ours.enabled, ours.fragment_ms, ours.window_ms), (true, 2000, 12_000));
}

#[test]
fn what_hls_cannot_do_is_an_error_at_its_place() {
    let hls = |text: &str| failed(&format!("http_server {{ enabled on; }} vhost a {{ hls {{ {text} }} }}"));
    for (text, part) in [
        ("hls_keys on; hls_variant fmp4;", "1:54: `hls_keys` is for"),
        ("hls_ts_file [stream].ts;", "each segment has its own name"),
        ("hls_ts_file ../[stream]-[seq].ts;", "1:57: `hls_ts_file`"),
        ("hls_m3u8_file x.m3u8;", "`hls_m3u8_file` is a path"),
        ("hls_mount [stream].m3u8;", "`hls_mount` is a host and a path"),
        ("hls_variant lowlatency; hls_ts_file [stream]-[seq]-[duration].ts;", "announced by name"),
        ("hls_td_ratio 0.5;", "`hls_td_ratio` takes a number from 1 to 100, such as `1.5`, not `0.5`"),
    ] {
        let errors = hls(text);
        assert!(errors.len() == 1 && errors[0].contains(part), "{text}: {errors:?}");
    }
    let (_, warnings) = warned("vhost a { hls { enabled on; hls_nb_notify 64; } }");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

// ---- files of SRS

/// In the form of SRS's realtime.conf, with the `;` that it lacks.
const REALTIME: &str = "\
listen              1935;
max_connections     1000;
daemon              off;
srs_log_tank        console;
vhost __defaultVhost__ {
    tcp_nodelay     on
    min_latency     on;

    play {
        gop_cache       off;
        queue_length    10;
        mw_latency      100;
    }

    publish {
        mr off;
    }
}
";

#[test]
fn a_file_for_http_flv_with_srs_loads_and_serves_http_flv() {
    let (c, warnings) = warned(
        "listen 1935;\nmax_connections 1000;\npid objs/srs.flv.pid;\nsrs_log_tank file;\nsrs_log_file objs/srs.log;\n\
         http_server {\n enabled on;\n listen 8081;\n dir ./objs/nginx/html;\n}\n\
         vhost __defaultVhost__ {\n http_remux {\n enabled on;\n mount [vhost]/[app]/[stream].flv;\n hstrs on;\n }\n\
         http_static { enabled off; }\n}",
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(c.http_server.dir.as_deref(), Some("./objs/nginx/html"));
    assert_eq!(
        (c.pid.as_deref(), c.log.tank, c.log.file.as_str()),
        (Some("objs/srs.flv.pid"), LogTank::File, "objs/srs.log")
    );
    assert!(c.http_server.enabled && c.http_server.crossdomain);
    assert_eq!(c.http_server.listen, [Listen { addr: None, port: 8081 }]);
    let mut expected = first(&Config::default()).clone();
    expected.http_remux.mounts.truncate(1);
    expected.hls = Vhost::default().hls;
    assert_eq!(first(&c), &expected, "HTTP-FLV as it is without a file, and nothing else");
}

#[test]
fn a_missing_semicolon_before_a_line_that_begins_with_a_directive_is_mended_aloud() {
    let (c, warnings) = warned(REALTIME);
    assert_eq!(warnings, ["6:23: missing `;` after `tcp_nodelay on`; it is read as if it stood there"]);
    let v = first(&c);
    assert!(v.tcp_nodelay && v.min_latency && !v.play.gop_cache);
    assert_eq!((v.play.queue_length_ms, v.play.mw_latency_ms), (10_000, 100));
}

#[test]
fn several_missing_semicolons_are_mended_also_before_a_block_and_what_srs_alone_knows() {
    let (c, warnings) =
        warned("listen 1935\ndaemon off\nmax_connections 7\nvhost a { min_latency on\nplay { }\n}");
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert_eq!(warnings[2], "3:18: missing `;` after `max_connections 7`; it is read as if it stood there");
    assert_eq!((c.max_connections, first(&c).min_latency), (7, true));
}

#[test]
fn a_missing_semicolon_that_cannot_be_mended_is_an_error_at_its_place() {
    assert_eq!(
        failed("vhost a {\n  play {\n    gop_cache on\n    on_busy reject;\n  }\n}"),
        [
            "3:17: missing `;` after `gop_cache on`",
            "4:5: unknown directive `on_busy` in `play`; it belongs in `publish`",
        ]
    );
    assert_eq!(failed("vhost a {\n  min_latency on }"), ["2:17: missing `;` after `on`"]);
    assert_eq!(failed("vhost a { }\nlisten 1935"), ["2:12: missing `;` after `1935`"]);
    assert_eq!(
        failed("vhost a {\n tcp_nodelay on\n foo on;\n}"),
        ["2:16: missing `;` after `tcp_nodelay on`"]
    );
    // A value at the start of a line stays a value, although a directive has that name.
    config("vhost a { play { no_stream\nwait; } }");
    config("vhost a { play { no_stream \n 'wait'; } }");
}

#[test]
fn older_and_newer_files_of_srs_mean_the_same_as_before() {
    let (c, warnings) = warned(
        "rtmp { listen 1936 [::]:1937; chunk_size 4096; }\nhttp_stream { enabled on; }\nsrs_log_level info;\n\
         vhost a { gop_cache off; queue_length 5; time_jitter off;\n  mw_latency 100; play { mw_latency 200; }\n\
         publish_1stpkt_timeout 9000; publish_normal_timeout 6000; }",
    );
    assert_eq!((c.listen[0].port, c.listen[1].port, c.chunk_size), (1936, 1937, 4096));
    assert!(c.http_server.enabled);
    assert_eq!(c.log.level, log::LevelFilter::Debug, "SRS's info is more than its usual level, trace");
    let v = first(&c);
    assert!(!v.play.gop_cache);
    assert_eq!((v.play.queue_length_ms, v.play.time_jitter, v.play.mw_latency_ms), (5000, Jitter::Off, 200));
    assert_eq!((v.publish.firstpkt_timeout_ms, v.publish.normal_timeout_ms), (9000, 6000));
    assert_eq!(warnings[0], "2:1: `http_stream` is now called `http_server`");
    assert_eq!(warnings[1], "4:11: `gop_cache` now stands in `play`, as `play { gop_cache …; }`");
    assert!(
        warnings.iter().any(|w| w == "5:3: `mw_latency` stands at line 5 already; this one has no effect")
    );
    assert_eq!(config("srs_log_level trace; vhost a {}").log.level, log::LevelFilter::Info);
    assert_eq!(failed("rtmp { listn 1; }"), ["1:8: unknown directive `listn` in `rtmp`"]);
}

#[test]
fn odd_booleans_mean_what_they_mean_in_srs_and_are_warned_of() {
    let (c, warnings) = warned("vhost a { min_latency true; play { gop_cache false; } }");
    assert!(!first(&c).min_latency && first(&c).play.gop_cache);
    assert_eq!(warnings, ["1:23: `min_latency true` means off", "1:46: `gop_cache false` means on"]);
}

#[test]
fn the_first_of_two_counts() {
    let (c, warnings) = warned(
        "max_connections 1;\nmax_connections 2;\nvhost a { play { wait 1s; }\nplay { wait 2s; mw_latency 1; } }\nvhost A { min_latency on; }",
    );
    assert_eq!((c.max_connections, c.vhosts.len()), (1, 1));
    assert_eq!((first(&c).play.no_stream_wait_ms, first(&c).play.mw_latency_ms), (1000, 350));
    assert_eq!(
        warnings,
        [
            "2:1: `max_connections` stands at line 1 already; this one has no effect",
            "4:1: `play` stands at line 3 already; this one has no effect",
            "5:7: vhost `A` stands above already; this one has no effect",
        ]
    );
    assert_eq!(failed("vhost a { play { }\nplay { foo; } }"), ["2:8: unknown directive `foo` in `play`"]);
}

#[test]
fn what_does_not_go_together_is_said() {
    assert_eq!(
        failed("listen 8080; http_server { enabled on; } vhost a { }"),
        ["1:36: port 8080 is for RTMP already; HTTP needs another"]
    );
    config("listen 127.0.0.1:80; http_server { enabled on; listen 127.0.0.2:80; } vhost a { }");
    let cases = [
        ("", "1:1: there is no vhost, so every stream is refused"),
        (
            "vhost a { http_remux { enabled on; } }",
            "1:32: `http_remux` has no effect while `http_server` is off",
        ),
        (
            "log_tank console; log_file x; vhost a { }",
            "1:28: `log_file` has no effect while `log_tank` is console",
        ),
        ("chunk_size 100; vhost a { }", "1:12: 100 is an unusual `chunk_size`; usual is 128 to 65536"),
        ("listen 1935 1935; vhost a { }", "1:13: `1935` stands here twice"),
        ("listen 1935;; vhost a { }", "1:13: this `;` ends nothing"),
    ];
    for (text, expected) in cases {
        assert_eq!(warned(text).1, [expected]);
    }
}

// ---- what is said when it does not load

#[test]
fn a_report_shows_the_line_and_the_place() {
    let text = "vhost a {\n\tplay {\n    mw_latancy 350;\n  }\n}\nmax_connections 0;";
    let errors = load("conf/x.conf", text).unwrap_err();
    assert_eq!(
        shown(&errors),
        "conf/x.conf:3:5: error: unknown directive `mw_latancy` in `play`; did you mean `mw_latency`?\n    \
         3 |     mw_latancy 350;\n      |     ^^^^^^^^^^\n\
         conf/x.conf:6:17: error: `max_connections` takes a number from 1 to 1000000, not `0`\n    \
         6 | max_connections 0;\n      |                 ^\n      \
         = help: Connections at one time, of all protocols; more are refused. Default: 1000.\n"
    );
    let warning = &load("x", "vhost ä { hds { enabled on; } }").unwrap().warnings[0];
    assert_eq!(
        warning.to_string(),
        "x:1:11: warning: `hds` has no effect because of segments only those of HLS are made\n    \
         1 | vhost ä { hds { enabled on; } }\n      |           ^^^"
    );
}

#[test]
fn every_mistake_is_reported_in_the_order_of_the_file() {
    assert_eq!(
        failed(
            "lisetn 1935;\nvhost {\n  gop_cach off;\n}\nvhost b { foo; play { x y z { } wait 1y; }\n}\n}\npid;"
        ),
        [
            "1:1: unknown directive `lisetn`; did you mean `listen`?",
            "2:1: `vhost` takes a name and a block `{ … }`, but nothing is given",
            "5:11: unknown directive `foo` in `vhost`",
            "5:23: unknown directive `x` in `play`",
            "5:38: `wait` takes a time from 0 to 1h, such as `5s` or `250ms` (a bare number: seconds), not `1y`",
            "7:1: this `}` closes nothing",
            "8:1: `pid` takes one text, but nothing is given",
        ]
    );
}

#[test]
fn the_likely_name_or_place_is_offered() {
    for (context, name, hint) in [
        (Context::Play, "mw_latnecy", "did you mean `mw_latency`?"),
        (Context::Play, "GOP_cache", "did you mean `gop_cache`?"),
        (Context::HttpRemux, "mw_latency", "it belongs in `play`"),
        (Context::Vhost, "on_busy", "it belongs in `publish`"),
        (Context::Vhost, "on_bussy", "did you mean `on_busy`, which belongs in `publish`?"),
        (Context::Vhost, "hsl", "did you mean `hls`?"),
        (Context::Vhost, "hls_fragment", "it belongs in `hls`"),
        (Context::Vhost, "max_connections", "it belongs outside all blocks"),
        (Context::Root, "http_remux", "it belongs in `vhost`"),
    ] {
        let message = failed(&within(context, &format!("{name} on;"))).remove(0);
        assert!(
            message.contains(&format!("unknown directive `{name}`")) && message.ends_with(hint),
            "{message}"
        );
    }
    let message = failed(&within(Context::Play, "qqqqqq on;")).remove(0);
    assert!(message.ends_with("unknown directive `qqqqqq` in `play`"), "{message}");
}

#[test]
fn a_missing_brace_is_found() {
    let errors = load("t", "vhost a {\n play {\n gop_cache on;\n publish { }\n}\nlisten 1;").unwrap_err();
    assert_eq!(
        lines(&errors),
        [
            "1:9: the block opened here has no `}`",
            "4:2: unknown directive `publish` in `play`; it belongs in `vhost`",
            "6:1: unknown directive `listen` in `vhost`; it belongs outside all blocks or in `http_server` or in \
             `http_api`",
        ]
    );
    assert_eq!(errors[1].help.as_deref(), Some("is the `}` of `play` missing above?"));
    assert_eq!(failed("vhost a { } { }"), ["1:13: a block must have a name before its `{`"]);
}

#[test]
fn text_from_a_web_page_is_recognised() {
    assert_eq!(
        failed("listen\u{a0}1935;")[0],
        "1:7: the character U+00A0 only looks like one that belongs here"
    );
    assert_eq!(
        failed("pid “a”; vhost a { }")[0],
        "1:5: the character U+201C only looks like one that belongs here"
    );
    assert_eq!(failed("pid 'a;\nlog_tank x;\nvhost a { }")[0], "1:5: this ' is not closed on its line");
    assert_eq!(failed("pid 'a;\nlog_tank x; vhost a { }").len(), 2);
}

#[test]
fn what_is_no_text_gives_one_error() {
    assert_eq!(
        failed("listen 1935;\n\u{0}\u{1}{{{;"),
        ["2:1: not a text file: it holds the control character U+0000"]
    );
    let errors = load_bytes("x", b"listen 1935;\nvhost \xff\xfe{ \xff").unwrap_err();
    assert_eq!(lines(&errors), ["2:7: not a text file: it is not UTF-8 from here on"]);
    assert_eq!(load_bytes("x", SAMPLE.as_bytes()), load("x", SAMPLE));
}

#[test]
fn limits_hold_and_say_so() {
    let full = format!("#{}\nvhost a {{}}", "x".repeat(MAX_FILE - 12));
    assert_eq!(full.len(), MAX_FILE);
    config(&full);
    assert_eq!(
        failed(&format!("{full} ")),
        ["1:1: the file has more than 1048576 bytes, which is the most that is read"]
    );

    let nested = |n: usize| format!("{}{}", "hds { ".repeat(n), "} ".repeat(n));
    assert_eq!(warned(&format!("vhost a {{ {} }}", nested(15))).1, Vec::<String>::new());
    assert_eq!(failed(&format!("vhost a {{ {} }}", nested(16))).len(), 1);
    assert!(failed(&"a{".repeat(100_000))[0].ends_with("blocks are nested more than 16 deep"));

    let nets = |n: u32| (0..n).map(|i| format!("10.0.{}.{} ", i / 256, i % 256)).collect::<String>();
    assert_eq!(config(&format!("trusted_proxy {}; vhost a {{}}", nets(256))).trusted_proxies.len(), 256);
    let many = failed(&format!("trusted_proxy {}; vhost a {{}}", nets(257)));
    assert_eq!(many.len(), 1);
    assert!(many[0].ends_with("more than 256 arguments; is a `;` missing?"), "{many:?}");

    let split = failed(&format!("trusted_proxy {0};\ntrusted_proxy 11.0.0.1; vhost a {{}}", nets(256)));
    assert_eq!(split, ["2:15: more than 256 arguments for `trusted_proxy`"]);

    let words = failed(&"a;".repeat(110_000));
    assert_eq!(words, ["1:200001: more than 200000 words; the rest of the file is not read"]);
    let errors = load("x", &"foo;\n".repeat(1000)).unwrap_err();
    assert_eq!(errors.len(), MAX_REPORTS);
    assert_eq!(errors.last().unwrap().help.as_deref(), Some("900 more mistakes are not shown"));
    let long = load("x", &format!("{} {};", "y".repeat(5000), "z".repeat(5000))).unwrap_err().remove(0);
    assert!(long.to_string().len() < 500, "{long}");
}

#[test]
fn a_file_cut_anywhere_gives_an_answer() {
    for text in [SAMPLE, REALTIME] {
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            for report in load("t", &text[..end]).map_or_else(|e| e, |l| l.warnings) {
                assert!(report.line >= 1 && report.col >= 1 && !report.to_string().is_empty());
            }
        }
    }
}

#[test]
fn garbage_gives_an_answer() {
    let mut state = 0x2545_F491_u32;
    let mut random = |n: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % n
    };
    let pieces = [
        " ",
        "\n",
        ";",
        "{",
        "}",
        "'",
        "\"",
        "#",
        "vhost",
        "play",
        "listen",
        "1935",
        "on",
        "hls",
        "rtmp",
        "enabled",
        "mount",
        "[stream].flv",
        "/",
        "chunk_size",
        "9k",
        "\u{a0}",
        "é",
        "gop_cache",
        "10.0.0.0/8",
        "0.",
        ":",
        "wait",
        "\u{0}",
        "http_stream",
        "http_remux",
        "publish_normal_timeout",
        "srs_log_level",
        "info",
        "1.0625h",
        "~",
    ];
    for _ in 0..3000 {
        let text: String = (0..random(40)).map(|_| pieces[random(pieces.len())]).collect();
        let spaced: String = (0..random(40)).flat_map(|_| [pieces[random(pieces.len())], " "]).collect();
        for text in [text, spaced] {
            drop(load("t", &text).map_err(|e| shown(&e)));
        }
        let bytes: Vec<u8> = (0..random(60)).map(|_| random(256) as u8).collect();
        drop(load_bytes("t", &bytes));
    }
}

/// Processor time of this thread in nanoseconds: what else runs on the machine does not count.
fn used() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// Only mistakes that are shown have what the reference says of a directive with them, which has to be unpacked first.
#[test]
fn two_hundred_times_the_mistakes_take_far_less_than_that_in_time() {
    let time = |count: usize| -> Option<f64> {
        let text = "vhost a { play { wait 2h; } }\n".repeat(count);
        let start = used()?;
        assert!(load("t", &text).is_err());
        Some(used()? - start)
    };
    let (Some(few), Some(many)) = (time(100), time(20_000)) else { return };
    assert!(few == 0.0 || many / few < 100.0, "{few} and {many} ns");
}

/// Sixteen times as many vhosts take about sixteen times as long, not 256 times: the loop waits for a reload.
#[test]
fn the_time_to_load_grows_as_the_file_does() {
    let file = |vhosts: u32| -> String {
        let one = |n: u32| {
            format!(
                "vhost v{n}.example.com {{ play {{ gop_cache on; }} http_remux {{ mount [vhost]/[app]/[stream].flv; }} }}\n"
            )
        };
        (0..vhosts).map(one).collect()
    };
    let time = |text: &str, rounds: u32| -> Option<f64> {
        let start = used()?;
        (0..rounds).for_each(|_| assert!(load("t", text).is_ok()));
        Some((used()? - start) / f64::from(rounds))
    };
    let (Some(small), Some(large)) = (time(&file(400), 16), time(&file(6400), 1)) else { return };
    let ratio = large / small.max(1.0);
    assert!(large == 0.0 || ratio < 100.0, "16 times the vhosts take {ratio:.0} times as long");
}

#[test]
fn a_budget_of_memory_too_small_for_one_stream_is_warned_of() {
    let vhost = |inner: &str| format!("vhost v {{ {inner} }}");
    let warnings = |memory: &str, inner: &str| warned(&format!("{memory} {}", vhost(inner))).1;
    assert!(warnings("max_memory 8m;", "").is_empty());
    assert!(warnings("max_memory 0;", "").is_empty());
    assert_eq!(
        warnings("max_memory 2m;", ""),
        ["1:12: `max_memory` is less than one stream of 2 Mbit/s takes: 2.3m of GOP cache, 0.0m of HLS"]
    );
    assert!(warnings("max_memory 2m;", "play { gop_cache off; }").is_empty());
    assert!(warnings("max_memory 2m;", "play { gop_cache_max_frames 300; }").is_empty());
    let hls = "hls { enabled on; hls_window 60s; hls_storage disk; }";
    assert!(warnings("max_memory 8m;", hls).is_empty(), "files take no memory");
}
