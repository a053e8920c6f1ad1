//! Hooks: a real server of HTTP is asked before anything is confirmed, and told of all that follows.
use crate::support::flv::{self, Tag};
use crate::support::http::{Http, Viewer};
use crate::support::proc::Proc;
use crate::support::rtmp::{Amf, Rtmp};
use crate::support::server::{Server, free_port, run_dir, usual_vhost};
use crate::support::tools::Publisher;
use crate::support::{clips, poll};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);
const ALL: [&str; 6] = ["on_connect", "on_close", "on_publish", "on_unpublish", "on_play", "on_stop"];

/// The server that is asked and told.
struct Hook {
    port: u16,
    log: PathBuf,
    _process: Proc,
}

impl Hook {
    fn start() -> Hook {
        let (port, dir) = (free_port(), run_dir());
        let log = dir.join("events");
        let mut command = Command::new("python3");
        command.arg(format!("{}/tests/e2e/hooks.py", env!("CARGO_MANIFEST_DIR")));
        command.arg(port.to_string()).arg(&log);
        let process = Proc::spawn("hooks", &dir, command);
        let up = poll(LIMIT, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(up, "{}", process.tail());
        Hook { port, log, _process: process }
    }

    /// `http_hooks` with these events, each with the URL of a path.
    fn block(&self, events: &[(&str, &str)]) -> String {
        let url = |(event, path): &(&str, &str)| format!("{event} http://127.0.0.1:{}/{path};\n", self.port);
        format!("http_hooks {{ enabled on;\n{} }}", events.iter().map(url).collect::<String>())
    }

    /// The usual server with these events.
    fn server(&self, events: &[(&str, &str)]) -> Server {
        Server::vhost(&format!("{}\n{}", usual_vhost("resume_wait 0;"), self.block(events)))
    }

    /// What came so far: paths and bodies.
    fn seen(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| line.split_once('\t').unwrap()).map(|(a, b)| (a.into(), b.into())).collect()
    }

    /// The actions so far.
    fn actions(&self) -> Vec<String> {
        self.seen().iter().map(|(_, body)| text(body, "action")).collect()
    }

    /// Waits for so many requests.
    fn wait(&self, count: usize) -> Vec<(String, String)> {
        assert!(poll(LIMIT, || self.seen().len() >= count), "{count} events: {:?}", self.seen());
        self.seen()
    }

    /// Lets those through who wait at `gate`.
    fn open(&self) {
        std::fs::write(self.log.with_file_name("events.go"), "").unwrap();
    }
}

/// The text of a key in JSON without escapes.
fn text(json: &str, key: &str) -> String {
    let rest = json.split(&format!("\"{key}\":\"")).nth(1).unwrap_or_else(|| panic!("no {key} in {json}"));
    rest.split('"').next().unwrap().to_owned()
}

/// The keys of a flat object.
fn keys(json: &str) -> Vec<&str> {
    json.split('"').collect::<Vec<_>>().windows(3).filter(|w| w[2].starts_with(':')).map(|w| w[1]).collect()
}

fn ask(port: u16, path: &str) -> (u16, String) {
    let mut http = Http::connect(port);
    http.get(path, "");
    let head = http.head();
    let body = http.body(&head);
    (head.status, String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn each_event_is_told_once_in_order_with_the_keys_of_srs() {
    let hook = Hook::start();
    let server = hook.server(&ALL.map(|event| (event, "ok")));
    let tags = flv::read(&clips::av());
    let mut publish = Rtmp::publish(server.rtmp, "x?token=a&b=c");
    hook.wait(2);
    publish.send(&tags[..60]);
    let mut http = Http::connect(server.http);
    http.get("/live/x.flv?user=1", "Referer: http://page.example.com/a\r\n");
    let mut viewer = Viewer::started(http);
    viewer.until(LIMIT, Tag::is_key);
    hook.wait(3);
    drop(viewer);
    hook.wait(4);
    let mut play = Rtmp::play(server.rtmp, "x?user=2");
    play.expect("NetStream.Play.Start");
    drop(play);
    hook.wait(8);
    drop(publish);
    let seen = hook.wait(10);
    assert_eq!(
        hook.actions(),
        [
            "on_connect",
            "on_publish",
            "on_play",
            "on_stop",
            "on_connect",
            "on_play",
            "on_stop",
            "on_close",
            "on_unpublish",
            "on_close"
        ]
    );
    let common = ["server_id", "action", "client_id", "ip", "vhost", "app"];
    let stream = ["stream", "param", "stream_url", "stream_id"];
    let expect = |n: usize, more: &[&[&str]]| {
        let (_, body) = &seen[n];
        let mut wanted = [&[&common[..]], more].concat().concat();
        let mut found = keys(body);
        wanted.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, wanted, "{body}");
        assert_eq!((text(body, "vhost"), text(body, "app")), ("__defaultVhost__".into(), "live".into()));
        assert_eq!(text(body, "ip"), "127.0.0.1");
    };
    expect(0, &[&["tcUrl", "pageUrl", "stream", "param"]]);
    expect(1, &[&["tcUrl"], &stream]);
    expect(2, &[&["pageUrl"], &stream]);
    expect(3, &[&stream]);
    expect(8, &[&stream]);
    expect(9, &[&["send_bytes", "recv_bytes"]]);
    let id = |n: usize| text(&seen[n].1, "client_id");
    assert!(id(0) == id(1) && id(1) == id(8) && id(8) == id(9), "{seen:?}");
    assert!(id(2) == id(3) && id(4) == id(5) && id(5) == id(7) && id(0) != id(2) && id(2) != id(4));
    assert_eq!(text(&seen[1].1, "param"), "?token=a\\u0026b=c");
    assert_eq!(text(&seen[1].1, "tcUrl"), format!("rtmp://127.0.0.1:{}/live", server.rtmp));
    assert_eq!(text(&seen[2].1, "param"), "?user=1");
    assert_eq!(text(&seen[2].1, "pageUrl"), "http://page.example.com/a");
    assert_eq!(text(&seen[8].1, "stream_url"), "/live/x");
    assert!(!seen[9].1.contains("\"recv_bytes\":0"), "{}", seen[9].1);
}

/// ffmpeg announces the name first, and is asked about once; what it sends early is not lost.
#[test]
fn a_real_encoder_waits_for_its_hook_and_is_recorded_from_its_first_frame() {
    let hook = Hook::start();
    let record = "dvr { enabled on; dvr_path ./rec/[stream].flv; } \
                  hls { enabled on; hls_fragment 2; }";
    let events = [
        ("on_publish", "json"),
        ("on_unpublish", "ok"),
        ("on_dvr", "ok"),
        ("on_hls", "ok"),
        ("on_hls_notify", "ok/[app]/[stream]/[ts_url][param]"),
    ];
    let vhost = format!("{}\n{record}\n{}", usual_vhost("resume_wait 0;"), hook.block(&events));
    let server = Server::vhost(&vhost);
    let clip = clips::av();
    Publisher::Ffmpeg5.publish(&server, &clip, "x?t=1").success(Duration::from_secs(60));
    let told = || {
        ["on_dvr", "on_unpublish", "on_hls"]
            .iter()
            .all(|a| hook.seen().iter().any(|(_, body)| body.contains(&format!("\"{a}\""))))
    };
    assert!(poll(LIMIT, told), "{:?}", hook.seen());
    let seen = hook.seen();
    let of = |action: &str| -> Vec<&String> {
        let is = |body: &&String| body.contains(&format!("\"action\":\"{action}\""));
        seen.iter().map(|(_, body)| body).filter(is).collect()
    };
    assert_eq!((of("on_publish").len(), of("on_unpublish").len(), of("on_dvr").len()), (1, 1, 1), "{seen:?}");
    let id = text(of("on_publish")[0], "client_id");
    for action in ["on_unpublish", "on_dvr", "on_hls"] {
        assert!(of(action).iter().all(|body| text(body, "client_id") == id), "{seen:?}");
    }
    assert_eq!(text(of("on_dvr")[0], "file"), "./rec/x.flv");
    assert_eq!(text(of("on_dvr")[0], "cwd"), server.dir().to_str().unwrap());
    let hls = of("on_hls");
    assert!(hls.len() > 1 && hls[0].contains("\"seq_no\":"), "{hls:?}");
    assert_eq!(text(hls[0], "m3u8_url"), "live/x.m3u8");
    let wanted = format!("/ok/live/x/{}?t=1", text(hls[0], "url"));
    assert!(seen.iter().any(|(path, _)| *path == wanted), "{wanted}: {seen:?}");
    let frames = |tags: &[Tag]| tags.iter().filter(|tag| tag.is_frame()).count();
    assert_eq!(frames(&flv::read(&server.dir().join("rec/x.flv"))), frames(&flv::read(&clip)));
}

#[test]
fn nothing_is_confirmed_before_the_answer_and_others_go_on() {
    let hook = Hook::start();
    let server = hook.server(&[
        ("on_publish", "token"),
        ("on_play", "gate"),
        ("on_stop", "ok"),
        ("on_unpublish", "ok"),
    ]);
    let tags = flv::read(&clips::av());
    // Refused, in words.
    let mut bad = Rtmp::live(server.rtmp);
    bad.ask_publish("x?token=bad");
    bad.expect("NetStream.Publish.Denied");
    assert!(bad.closes(LIMIT));
    let mut publish = Rtmp::publish(server.rtmp, "x?token=good");
    publish.send(&tags[..60]);
    // Held: neither player gets a byte while the hook thinks.
    let mut play = Rtmp::play(server.rtmp, "x");
    let mut http = Http::connect(server.http);
    http.get("/live/x.flv", "");
    hook.wait(4);
    assert!(
        !play.closes(Duration::from_millis(400)) && !play.heard().contains("Play.Start"),
        "{}",
        play.heard()
    );
    http.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut byte = [0];
    assert!(std::io::Read::read(&mut http.socket, &mut byte).is_err(), "the answer has begun");
    // One leaves meanwhile; the publisher goes on, and another name can be had.
    let gone = Rtmp::play(server.rtmp, "x?gone");
    let left = {
        let mut http = Http::connect(server.http);
        http.get("/live/x.flv?left", "");
        http
    };
    hook.wait(6);
    drop((gone, left));
    publish.send(&tags[60..120]);
    let start = Instant::now();
    let mut other = Rtmp::publish(server.rtmp, "y?token=good");
    other.send(&tags[..10]);
    assert!(start.elapsed() < Duration::from_secs(5));
    hook.open();
    play.expect("NetStream.Play.Start");
    Viewer::started(http).until(LIMIT, Tag::is_key);
    // Whoever was let in after it had gone is told of as gone.
    let stopped =
        |param: &str| hook.seen().iter().any(|(_, b)| b.contains("\"on_stop\"") && text(b, "param") == param);
    assert!(poll(LIMIT, || stopped("?gone") && stopped("?left")), "{:?}", hook.seen());
    drop((play, publish, other));
}

/// Some encoders do not wait to be let in before they send.
#[test]
fn what_a_publisher_sends_early_waits_with_it() {
    let hook = Hook::start();
    let server = hook.server(&[("on_publish", "gate"), ("on_unpublish", "ok")]);
    let tags = flv::read(&clips::av());
    let mut early = Rtmp::live(server.rtmp);
    early.ask_publish("x");
    early.send(&tags[..120]);
    let mut gone = Rtmp::live(server.rtmp);
    gone.ask_publish("y");
    hook.wait(2);
    drop(gone);
    assert!(!early.closes(Duration::from_millis(300)) && !early.heard().contains("Publish.Start"));
    let mut http = Http::connect(server.http);
    http.get("/live/x.flv", "");
    hook.open();
    early.expect("NetStream.Publish.Start");
    let last = tags[..120].iter().rfind(|tag| tag.is_picture()).unwrap();
    let got = Viewer::started(http).until(LIMIT, |tag| tag.data == last.data);
    for kind in [8, 9] {
        assert_eq!(flv::assert_run(&got, &tags, kind), 0, "from the first frame on");
    }
    // Who was let in after it had gone is gone, and its name is free.
    let of_y = |(_, body): &(String, String)| body.contains("on_unpublish") && text(body, "stream") == "y";
    assert!(poll(LIMIT, || hook.seen().iter().any(of_y)), "{:?}", hook.seen());
    Rtmp::publish(server.rtmp, "y");
    drop(early);
}

/// The name is not held for who is asked about first.
#[test]
fn of_two_publishers_who_are_asked_about_one_gets_the_name() {
    let hook = Hook::start();
    let vhost = usual_vhost("resume_wait 0;").replace("takeover_same_ip", "reject");
    let events = [("on_publish", "gate"), ("on_unpublish", "ok")];
    let server = Server::vhost(&format!("{vhost}\n{}", hook.block(&events)));
    let mut two: Vec<Rtmp> = (0..2)
        .map(|n| {
            let mut rtmp = Rtmp::live(server.rtmp);
            rtmp.ask_publish("x");
            hook.wait(n + 1);
            rtmp
        })
        .collect();
    hook.open();
    let heard = |two: &mut [Rtmp], word: &str| {
        for rtmp in two.iter_mut() {
            let _ = rtmp.closes(Duration::from_millis(20));
        }
        two.iter().filter(|rtmp| rtmp.heard().contains(word)).count()
    };
    let told = poll(LIMIT, || heard(&mut two, "Publish.Start") == 1 && heard(&mut two, "BadName") == 1);
    assert!(told, "{:?}", two.iter().map(Rtmp::heard).collect::<Vec<_>>());
    // The other one was let in, and is gone.
    let gone = || hook.actions().iter().filter(|action| *action == "on_unpublish").count() == 1;
    assert!(poll(LIMIT, gone), "{:?}", hook.seen());
}

#[test]
fn a_reload_while_a_hook_thinks_holds_for_who_is_asked_about() {
    let hook = Hook::start();
    let conf = |vhosts: &str| {
        format!("listen 127.0.0.1:$RTMP;\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n{vhosts}")
    };
    let asks = format!("{}\n{}", usual_vhost("resume_wait 0;"), hook.block(&[("on_play", "gate")]));
    let server =
        Server::start(&conf(&format!("vhost __defaultVhost__ {{ {asks} }}\nvhost gone {{ {asks} }}")));
    let mut publish = Rtmp::publish(server.rtmp, "x");
    publish.send(&flv::read(&clips::av())[..60]);
    let ask = |path: &str| {
        let mut http = Http::connect(server.http);
        http.get(path, "");
        http
    };
    let (stays, mut goes) = (ask("/live/x.flv"), ask("/live/x.flv?vhost=gone"));
    let mut play = Rtmp::play(server.rtmp, "x?vhost=gone");
    hook.wait(3);
    server.reload(&conf(&format!("vhost other {{ }} vhost __defaultVhost__ {{ {} }}", usual_vhost(""))));
    hook.open();
    Viewer::started(stays).until(LIMIT, Tag::is_key);
    assert_eq!(goes.head().status, 404);
    // By RTMP the name is looked up again: the default vhost serves what no other does.
    play.expect("NetStream.Play.Start");
    Viewer::join(server.http, "/live/x.flv").until(LIMIT, Tag::is_key);
}

#[test]
fn whatever_else_is_answered_refuses_and_the_log_says_why() {
    let hook = Hook::start();
    let closed = free_port();
    let cases = [
        ("no", "it answered with status 403"),
        ("away", "it answered with status 302"),
        ("code", "it answered {\\\"code\\\":17}"),
        ("words", "it answered yes of course"),
        ("huge", "more than"),
        ("nonsense", "the answer is not HTTP"),
        ("drop", "closed the connection without an answer"),
        ("gate", "no answer in 0.300 s"),
    ];
    let mut conf =
        String::from("listen 127.0.0.1:$RTMP;\nhttp_server { enabled on; listen 127.0.0.1:$HTTP; }\n");
    for (path, _) in cases {
        // A slow machine may take a while for the others.
        let (events, timeout) = match path {
            "gate" => (["on_connect", "on_publish", "on_play"].as_slice(), "300ms"),
            _ => (["on_publish", "on_play"].as_slice(), "20s"),
        };
        let hooks = hook.block(&events.iter().map(|event| (*event, path)).collect::<Vec<_>>());
        let hooks = hooks.replace("enabled on;", &format!("enabled on; timeout {timeout};"));
        conf += &format!("vhost {path} {{ {}\n{hooks}\n}}\n", usual_vhost("resume_wait 0;"));
    }
    let down =
        |host: &str| format!("http_hooks {{ enabled on; timeout 20s; on_play http://{host}:{closed}/x; }}");
    conf += &format!("vhost down {{ {}\n{} }}\n", usual_vhost(""), down("127.0.0.1"));
    conf += &format!("vhost named {{ {}\n{} }}\n", usual_vhost(""), down("no-such-host.invalid"));
    // All of several have to agree.
    let both = format!(
        "http_hooks {{ enabled on; on_play http://127.0.0.1:{0}/ok http://127.0.0.1:{0}/no; }}",
        hook.port
    );
    conf += &format!("vhost both {{ {}\n{both} }}\n", usual_vhost(""));
    conf += &format!("vhost __defaultVhost__ {{ {} }}\n", usual_vhost(""));
    let server = Server::start(&conf);
    for (path, why) in cases {
        let (status, body) = ask(server.http, &format!("/live/x.flv?vhost={path}"));
        assert!(
            status == 403 && body.lines().count() == 1 && body.contains("on_play"),
            "{path}: {status} {body}"
        );
        let url = format!("http://127.0.0.1:{}/{path}", hook.port);
        let line = |log: &str| log.lines().any(|line| line.contains(&url) && line.contains(why));
        assert!(poll(LIMIT, || line(&server.log())), "{path}: {}", server.log());
    }
    for name in ["down", "named", "both"] {
        let (status, body) = ask(server.http, &format!("/live/x.flv?vhost={name}"));
        assert_eq!((status, body.contains("on_play")), (403, true), "{name}: {body}");
    }
    let log = server.log();
    assert!(log.contains("it cannot be reached") && log.contains("its host has no address"), "{log}");
    let mut play = Rtmp::play(server.rtmp, "x?vhost=no");
    play.expect("NetStream.Play.Failed");
    let mut publish = Rtmp::live(server.rtmp);
    publish.ask_publish("x?vhost=code");
    publish.expect("NetStream.Publish.Denied");
    // A connect is answered by its own vhost's hook, here one that never answers.
    let mut rtmp = Rtmp::connect(server.rtmp);
    let url = format!("rtmp://127.0.0.1:{}/live?vhost=gate", server.rtmp);
    rtmp.command(
        0,
        &[Amf::Text("connect"), Amf::Number(1.0), Amf::Object(&[("app", "live"), ("tcUrl", &url)])],
    );
    rtmp.expect("NetConnection.Connect.Rejected");
    assert!(rtmp.closes(LIMIT));
    assert!(!hook.actions().iter().any(|action| action == "on_stop" || action == "on_close"));
}

#[test]
fn two_hundred_at_once_are_all_asked_about_and_told_of() {
    let hook = Hook::start();
    // Connections that the server closes though it said that it would not are no fault of anybody.
    // By name, whose first address is perhaps not the one that is listened at.
    let block = hook
        .block(&[("on_publish", "ok"), ("on_play", "once"), ("on_stop", "ok")])
        .replace("127.0.0.1", "localhost");
    let server = Server::vhost(&format!("{}\n{block}", usual_vhost("resume_wait 0;")));
    let tags = flv::read(&clips::av());
    let mut publish = Rtmp::publish(server.rtmp, "x");
    publish.send(&tags[..60]);
    let join = |n: usize| {
        let mut http = Http::connect(server.http);
        http.get(&format!("/live/x.flv?n={n}"), "");
        http
    };
    let waiting: Vec<Http> = (0..200).map(join).collect();
    let viewers: Vec<Viewer> = waiting.into_iter().map(Viewer::started).collect();
    assert_eq!(viewers.len(), 200);
    drop(viewers);
    let count = |action: &str| hook.actions().iter().filter(|a| *a == action).count();
    assert!(poll(LIMIT, || count("on_stop") == 200), "{} of 200", count("on_stop"));
    assert!(count("on_play") >= 200);
    assert!(server.fds() < 100, "connections to the hooks are bounded: {}", server.fds());
    drop(publish);
}

#[test]
fn a_reload_turns_hooks_on_and_off_and_the_heart_beats() {
    let hook = Hook::start();
    let conf = |hooks: &str, heartbeat: &str| {
        format!(
            "listen 127.0.0.1:$RTMP;\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n{heartbeat}\n\
             vhost __defaultVhost__ {{ {}\n{hooks} }}\n",
            usual_vhost("resume_wait 0;")
        )
    };
    let server = Server::start(&conf("", ""));
    let tags = flv::read(&clips::av());
    let mut publish = Rtmp::publish(server.rtmp, "x");
    publish.send(&tags[..60]);
    let mut before = Viewer::join(server.http, "/live/x.flv");
    before.until(LIMIT, Tag::is_key);
    assert!(hook.seen().is_empty());
    let beat = format!(
        "heartbeat {{ enabled on; interval 200ms; url http://127.0.0.1:{}/ok/beat; device_id a; summaries on; }}",
        hook.port
    );
    let said = server.reload(&conf(&hook.block(&[("on_play", "no"), ("on_stop", "ok")]), &beat));
    assert!(said.contains("heartbeat changed"), "{said}");
    assert_eq!(ask(server.http, "/live/x.flv").0, 403);
    publish.send(&tags[60..120]);
    before.until(LIMIT, |tag| tag.ts >= tags[100].ts);
    let seen = hook.wait(4);
    let beat = seen.iter().find(|(path, _)| path == "/ok/beat").unwrap();
    assert_eq!(text(&beat.1, "device_id"), "a");
    assert!(
        !text(&beat.1, "ip").is_empty() && beat.1.contains("\"summaries\":{\"data\":{\"ok\":true"),
        "{beat:?}"
    );
    server.reload(&conf("", ""));
    Viewer::join(server.http, "/live/x.flv").until(LIMIT, Tag::is_key);
    let is_stop = |(_, body): &(String, String)| body.contains("on_stop");
    assert!(!hook.seen().iter().any(is_stop), "{:?}", hook.seen());
    drop(publish);
}

/// The sample as it is, with ports that are free here.
#[test]
fn the_sample_for_hooks_runs() {
    let hook = Hook::start();
    let sample = std::fs::read_to_string(format!("{}/conf/hooks.conf", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let text = sample.replace("1935;", "127.0.0.1:$RTMP;").replace("8080;", "127.0.0.1:$HTTP;");
    let server = Server::start(&text.replace(":8085/api/v1", &format!(":{}/ok", hook.port)));
    let mut publish = Rtmp::publish(server.rtmp, "x");
    publish.send(&flv::read(&clips::av())[..60]);
    Viewer::join(server.http, "/live/x.flv").until(LIMIT, Tag::is_key);
    drop(publish);
    let paths = || hook.seen().into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let has = |path: &str| paths().iter().any(|is| is == path);
    let all = ["/ok/servers", "/ok/clients", "/ok/streams", "/ok/sessions"];
    assert!(poll(LIMIT, || all.iter().all(|path| has(path))), "{:?}", paths());
    drop(server);
    // The end of the server is told too.
    let is_close = |(_, body): &(String, String)| body.contains("on_close");
    assert!(poll(LIMIT, || hook.seen().iter().any(is_close)), "{:?}", hook.seen());
}
