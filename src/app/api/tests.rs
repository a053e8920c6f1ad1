use super::reply::is_function;
use super::*;
use crate::app::hub::Source;
use crate::conf::{self, Config};
use crate::proto::http::request::Requests;
use crate::wire::names::StreamName;
use std::net::Ipv4Addr;
use std::rc::Rc;

const HERE: &str = "127.0.0.1:4711";

fn world(api: &str) -> World {
    let text = format!(
        "http_api {{ enabled on; {api} }} vhost __defaultVhost__ {{ }} vhost cams {{ hls {{ enabled on; }} }}"
    );
    World::new(Rc::new(conf::load("t", &text).unwrap().config))
}

fn publish(world: &mut World, vhost: &str, stream: &str) {
    let settings = world.config.vhost(vhost).unwrap().clone();
    let name = StreamName::new(vhost, "live", stream).unwrap().with_vhost(&settings.name).unwrap();
    let by = Source::Peer(crate::net::slots::Id::from_token(1), Ipv4Addr::LOCALHOST.into());
    world.publish(&name, &settings, by).unwrap();
}

fn request(text: &str) -> Request {
    let (first, more) = text.split_once('\n').unwrap_or((text, "Host: 10.0.0.1:1985\r\n"));
    let first = if first.starts_with('/') { format!("GET {first}") } else { first.to_owned() };
    let text = format!("{first} HTTP/1.1\r\n{more}\r\n");
    Requests::default().feed(&mut text.as_bytes()).unwrap().unwrap()
}

fn ask_from(world: &World, peer: &str, text: &str) -> Deed {
    let conns = Slots::default();
    answer(&View { world, conns: &conns }, peer.parse().unwrap(), &request(text))
}

fn ask(world: &World, text: &str) -> (u16, String) {
    match ask_from(world, HERE, text) {
        Deed::Reply(reply) => (reply.status, reply.body),
        deed => panic!("{text}: {deed:?}"),
    }
}

fn code_of(world: &World, text: &str) -> u32 {
    let (status, body) = ask(world, text);
    assert_eq!(status, 200, "{text}: {body}");
    let digits: String = body["{\"code\":".len()..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[test]
fn paths_have_their_answers_and_others_say_where_to_look() {
    let world = world("");
    for (name, _) in URLS {
        let path = match name {
            "raw" | "tests" | "logs" => continue,
            name => format!("/api/v1/{name}"),
        };
        assert_eq!(code_of(&world, &path), 0, "{path}");
        assert_eq!(code_of(&world, &format!("{path}/")), 0, "{path}/");
        assert!(ask(&world, "/api/v1").1.contains(&format!("\"{name}\":")));
    }
    assert!(ask(&world, "/").1.contains(r#""urls":{"api":"#));
    assert!(ask(&world, "/api").1.contains(r#""urls":{"v1":"#));
    assert!(ask(&world, "/api/v1/summaries").1.contains(r#""ilde_time":"#));
    for path in [
        "/api/v2",
        "/live/x.flv",
        "/api/v1/x",
        "/api/v1/versions/1",
        "/api/v1/streams/a/b",
        "/api/v1x",
        "GET *",
    ] {
        assert_eq!(ask(&world, path).0, 404, "{path}");
    }
    assert_eq!(ask(&world, "POST /api/v1/streams").0, 405);
    assert_eq!(ask(&world, "DELETE /api/v1/streams").0, 405);
    assert_eq!(ask(&world, "OPTIONS /api/v1/streams").0, 200);
}

#[test]
fn faults_have_the_codes_of_srs() {
    let mut world = world("raw_api { enabled on; }");
    for (path, code) in [
        ("/api/v1/vhosts/vid-0", 2014),
        ("/api/v1/streams/vid-99", 2048),
        ("/api/v1/clients/7", 2049),
        ("/api/v1/clients/x", 2049),
        ("/api/v1/clients/x?method=DELETE", 2049),
        ("/api/v1/raw?rpc=reload", 1062),
        ("/api/v1/raw?rpc=query", 1063),
        ("/api/v1/raw", 1063),
        ("/api/v1/raw?rpc=raw", 0),
        ("/api/v1/raw?rpc=reload-fetch", 0),
        ("/api/v1/tests/errors", 100),
        ("/api/v1/tests/requests", 0),
    ] {
        assert_eq!(code_of(&world, path), code, "{path}");
    }
    assert_eq!(ask(&world, "/api/v1/tests/redirects").0, 302);
    world = self::world("");
    assert_eq!(code_of(&world, "/api/v1/raw?rpc=reload"), 1061);
    world = self::world("raw_api { enabled on; allow_reload on; }");
    assert!(matches!(ask_from(&world, HERE, "/api/v1/raw?rpc=reload"), Deed::Reload));
}

#[test]
fn clients_are_disconnected_only_where_that_is_allowed() {
    let kicks = |api: &str, text: &str| matches!(ask_from(&world(api), HERE, text), Deed::Kick(7));
    assert!(kicks("", "DELETE /api/v1/clients/7"));
    assert!(kicks("", "/api/v1/clients/7?method=DELETE"));
    assert!(!kicks("allow_kick off;", "DELETE /api/v1/clients/7"));
    assert_eq!(code_of(&world("allow_kick off;"), "DELETE /api/v1/clients/7"), 1062);
    assert!(!kicks("crossdomain off;", "/api/v1/clients/7?method=DELETE"), "any page can send a GET");
    assert!(kicks("crossdomain off;", "DELETE /api/v1/clients/7"));
    let default = World::new(Rc::new(Config::default()));
    assert_eq!(code_of(&default, "DELETE /api/v1/clients/7"), 1062, "not without a file that says so");
}

#[test]
fn name_and_password_are_asked_for_when_they_are_set() {
    let world = world("auth { enabled on; username admin; password 'p:ss wörd'; }");
    // base64 of "admin:p:ss wörd"
    let right = "YWRtaW46cDpzcyB3w7ZyZA==";
    for (header, status) in [
        ("", 401),
        ("Authorization: Basic\r\n", 401),
        ("Authorization: Basic YWRtaW46cDpzcyB3w7ZyZB==\r\n", 401),
        ("Authorization: Basic YWRtaW46cDpzcyB3w7ZyZA\r\n", 401),
        ("Authorization: Bearer YWRtaW46cDpzcyB3w7ZyZA==\r\n", 401),
        ("Authorization: basic  YWRtaW46cDpzcyB3w7ZyZA== \r\n", 200),
    ] {
        for path in ["/api/v1/versions", "/metrics", "/api/v1/logs", "/", "DELETE /api/v1/clients/0"] {
            let (got, body) = match ask_from(&world, "10.0.0.9:1", &format!("{path}\nHost: a\r\n{header}")) {
                Deed::Reply(reply) => (reply.status, reply.body),
                deed => (200, format!("{deed:?}")),
            };
            assert_eq!(got, status, "{path} {header:?}: {body}");
        }
    }
    let known = |text: &str| ask(&world, &format!("{text}\nAuthorization: Basic {right}\r\n"));
    assert!(
        known("/api/v1/clients/7?method=DELETE").1.contains(r#""code":2049"#),
        "no page may use it: that was a GET"
    );
    assert!(matches!(
        ask_from(&world, HERE, &format!("DELETE /api/v1/clients/7\nAuthorization: Basic {right}\r\n")),
        Deed::Kick(7)
    ));
}

#[test]
fn the_log_is_told_to_this_machine_alone() {
    let world = world("");
    let status = |peer: &str, more: &str| match ask_from(&world, peer, &format!("/api/v1/logs?kb=1\n{more}"))
    {
        Deed::Reply(reply) => reply.status,
        deed => panic!("{deed:?}"),
    };
    assert_eq!(status("127.0.0.1:1", "Host: localhost:1985\r\n"), 200);
    assert_eq!(status("[::1]:1", "Host: [::1]\r\n"), 200);
    assert_eq!(status("[::ffff:127.0.0.1]:1", "Host: 127.0.0.1:1985\r\n"), 200);
    assert_eq!(status("192.168.1.2:1", "Host: 192.168.1.1\r\n"), 403);
    assert_eq!(status("127.0.0.1:1", "Host: evil.example:1985\r\n"), 403, "a name that points here");
    assert_eq!(status("127.0.0.1:1", "Host: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\n"), 403, "a proxy");
    for kb in ["0", "-1", "x", "257", ""] {
        assert_eq!(ask(&world, &format!("/api/v1/logs?kb={kb}\nHost: localhost\r\n")).0, 400, "{kb}");
    }
}

#[test]
fn lists_come_in_pages_that_are_bounded() {
    let mut world = world("");
    for n in 0..MAX_COUNT + 50 {
        publish(&mut world, "", &format!("s{n}"));
    }
    publish(&mut world, "cams", "door");
    let count =
        |query: &str| ask(&world, &format!("/api/v1/streams{query}")).1.matches("\"live_ms\"").count();
    assert_eq!((count(""), count("?count=3"), count("?start=149"), count("?start=500")), (10, 3, 2, 0));
    assert_eq!((count("?count=99999"), count("?count=0"), count("?count=-1&start=x")), (MAX_COUNT, 10, 10));
    let (_, list) = ask(&world, "/api/v1/streams?start=5&count=1");
    assert!(list.contains(r#""name":"s5""#) && list.contains(r#""total":151"#), "{list}");
    let id = list.split(r#"[{"id":""#).nth(1).unwrap().split('"').next().unwrap();
    let (_, one) = ask(&world, &format!("/api/v1/streams/{id}"));
    assert!(
        id.starts_with("vid-") && one.contains(r#""stream":{"id":"#) && one.contains(r#""name":"s5""#),
        "{one}"
    );
    let (_, vhosts) = ask(&world, "/api/v1/vhosts");
    assert!(vhosts.contains(r#""name":"cams","enabled":true,"clients":1,"streams":1"#), "{vhosts}");
    assert!(vhosts.contains(r#""hls":{"enabled":true,"fragment":10.000}"#), "{vhosts}");
    let id = vhosts.split(r#""id":""#).nth(2).unwrap().split('"').next().unwrap();
    let (_, one) = ask(&world, &format!("/api/v1/vhosts/{id}"));
    assert!(one.contains(r#""vhost":{"id":"#) && one.contains(r#""name":"cams""#), "{one}");
    assert_eq!(id, vhosts_id_of("CAMS"), "an id stays");
    assert!(list.len() < 2_000, "a stream takes {} bytes", list.len());
}

fn vhosts_id_of(name: &str) -> String {
    super::lists::vhost_id(name)
}

#[test]
fn functions_have_names_that_do_nothing_else() {
    for name in ["f", "a.b$_c1", "jQuery123_456"] {
        assert!(is_function(name), "{name}");
    }
    for name in ["", "1a", "f(x)", "a;b", "a b", "f%28", "<script>", "ä", &"x".repeat(MAX_CALLBACK + 1)] {
        assert!(!is_function(name), "{name}");
    }
}

#[test]
fn figures_for_prometheus_do_not_grow_with_streams() {
    let mut world = world("");
    let lines = |world: &World| ask(world, "/metrics").1.lines().count();
    let before = lines(&world);
    (0..30).for_each(|n| publish(&mut world, "", &format!("s{n}")));
    assert_eq!(lines(&world), before);
    let (_, text) = ask(&world, "/metrics");
    assert!(text.contains("\nrunnel_publishers 30\n"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(
            value.parse::<f64>().is_ok()
                && text.contains(&format!("# TYPE {} ", name.split('{').next().unwrap()))
        );
    }
}

#[test]
fn what_a_reload_came_to_is_told_mistake_by_mistake() {
    let mut world = world("raw_api { enabled on; }");
    let fault = "a.conf:1:1: error: unknown directive `x`\n    1 | x;\n      | ^\na.conf:2:1: error: `y`\na.conf is not usable";
    world.api.reloaded = (2, Some(Reloaded { took: 3, outcome: Err(fault.to_owned()) }));
    let reply = reloaded(&world).body;
    let wanted = r#""errors":["a.conf:1:1: error: unknown directive `x`","a.conf:2:1: error: `y`"]"#;
    assert!(reply.starts_with(r#"{"code":1023,"#) && reply.contains(wanted), "{reply}");
    world.api.reloaded = (3, Some(Reloaded { took: 3, outcome: Ok(vec!["vhost a added".to_owned()]) }));
    let reply = reloaded(&world).body;
    assert!(
        reply.starts_with(r#"{"code":0,"#) && reply.contains(r#""changes":["vhost a added"],"errors":[]"#),
        "{reply}"
    );
    assert!(ask(&world, "/api/v1/raw?rpc=reload-fetch").1.contains(r#""rid":"3""#));
}
