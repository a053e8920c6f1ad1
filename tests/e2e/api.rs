//! The HTTP API as its users have it, curl and a JSON parser of another house; and who may publish and play.
use crate::support::http::{Http, Viewer};
use crate::support::rtmp::{Amf, Rtmp};
use crate::support::server::{Server, free_port, usual_vhost};
use crate::support::tools::{Player, Publisher};
use crate::support::{clips, flv, note, poll};
use std::process::Command;
use std::time::{Duration, Instant};

const TAG: Duration = Duration::from_secs(10);

/// A configuration with the API at the port of HTTP, `api` in its block and `more` outside. Nobody is sent away for being
/// idle, however slow the machine is.
fn conf(api: &str, more: &str) -> String {
    let vhost = usual_vhost("resume_wait 0; firstpkt_timeout 600s; normal_timeout 600s;");
    let vhost =
        vhost.replace("wait 10s;", "wait 600s;").replace("play {", "play { wait 600s; send_timeout 600s;");
    format!(
        "listen 127.0.0.1:$RTMP;\nmax_connections 20000;\n\
         http_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         http_api {{ enabled on; listen 127.0.0.1:$HTTP; {api} }}\n{more}\n\
         vhost __defaultVhost__ {{\n{vhost}\n}}\n"
    )
}

/// What curl gets: status, a line end, body.
fn curl(port: u16, path: &str, options: &[&str]) -> (u16, String) {
    let url = format!("http://127.0.0.1:{port}{path}");
    let out = Command::new("curl")
        .args(["--silent", "--show-error", "--globoff", "--max-time", "20", "--write-out", "\n%{http_code}"])
        .args(options)
        .arg(&url)
        .output()
        .unwrap();
    assert!(out.status.success(), "{url}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// Python's value of `expression`, in which `d` is the answer.
fn python(json: &str, expression: &str) -> String {
    let program = format!("import json,sys\nd=json.loads(sys.argv[1])\nprint(({expression}))");
    let out = Command::new("python3").args(["-c", &program, json]).output().unwrap();
    assert!(out.status.success(), "{expression} of {json}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
}

/// The same of the answer to a GET.
fn ask(port: u16, path: &str, expression: &str) -> String {
    let (status, body) = curl(port, path, &[]);
    assert_eq!(status, 200, "{path}: {body}");
    python(&body, expression)
}

/// In Python: whether an argument is JSON of an answer and has these members.
const LOOK: &str = "
import json, sys
def look(n, fields):
  d = json.loads(sys.argv[n])
  assert d['code'] == 0 and d['server'][:4] == 'vid-', d
  for path in fields.split():
    v = d
    for k in path.split('.'):
      v = v[int(k)] if k.isdigit() else v[k]
";

#[test]
fn every_answer_is_json_with_the_fields_of_srs() {
    let server = Server::start(&conf("raw_api { enabled on; }", ""));
    let _publish = Publisher::Ffmpeg5.publish(&server, &clips::long_gop(), "x");
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    viewer.until(TAG, |tag| tag.ts > 1000);
    let mut play = Rtmp::play(server.rtmp, "x");
    play.expect("NetStream.Play.Start");
    let mut answers = Vec::new();
    let mut program = String::from(LOOK);
    for (path, fields) in [
        ("", "urls"),
        ("versions", "data.major data.minor data.revision data.version"),
        (
            "summaries",
            "data.ok data.now_ms data.self.version data.self.pid data.self.ppid data.self.argv data.self.cwd \
             data.self.mem_kbyte data.self.mem_percent data.self.cpu_percent data.self.srs_uptime \
             data.system.cpu_percent data.system.mem_ram_kbyte data.system.cpus data.system.uptime \
             data.system.ilde_time data.system.load_1m data.system.net_recv_bytes data.system.net_sendi_bytes \
             data.system.conn_sys data.system.conn_sys_et data.system.conn_srs",
        ),
        ("rusages", "data.ru_utime data.ru_maxrss data.ru_nivcsw"),
        (
            "self_proc_stats",
            "data.pid data.comm data.state data.num_threads data.vsize data.rss data.cguest_time",
        ),
        ("system_proc_stats", "data.user data.sys data.idle data.guest"),
        ("meminfos", "data.percent_ram data.MemTotal data.SwapFree data.RealInUse"),
        ("authors", "data.license"),
        ("features", "data.features.hls"),
        ("requests", "data.uri data.headers data.server.sigature"),
        (
            "vhosts",
            "vhosts.0.id vhosts.0.name vhosts.0.enabled vhosts.0.clients vhosts.0.streams vhosts.0.send_bytes \
                    vhosts.0.recv_bytes vhosts.0.kbps.recv_30s vhosts.0.kbps.send_30s vhosts.0.hls.enabled",
        ),
        (
            "streams",
            "streams.0.id streams.0.name streams.0.vhost streams.0.app streams.0.live_ms streams.0.clients \
                     streams.0.frames streams.0.send_bytes streams.0.recv_bytes streams.0.kbps.send_30s \
                     streams.0.publish.active streams.0.publish.cid streams.0.video.codec streams.0.video.profile \
                     streams.0.video.level streams.0.video.width streams.0.audio.sample_rate streams.0.audio.channel \
                     streams.0.audio.profile streams.0.runnel.repairs.jumps",
        ),
        (
            "clients",
            "clients.0.id clients.0.vhost clients.0.stream clients.0.ip clients.0.pageUrl clients.0.swfUrl \
                     clients.0.tcUrl clients.0.url clients.0.type clients.0.publish clients.0.alive \
                     clients.0.kbps.recv_30s clients.0.runnel.rtt_ms",
        ),
        ("raw?rpc=raw", "http_api.raw_api.enabled"),
        ("perf", "data.turns"),
        ("tests/requests", "data.path"),
    ] {
        let (status, body) = curl(server.http, &format!("/api/v1/{path}"), &[]);
        assert_eq!(status, 200, "{path}");
        answers.push(body);
        program += &format!("look({}, '{fields}')\n", answers.len());
    }
    let out = Command::new("python3").args(["-c", &program]).args(&answers).output().unwrap();
    assert!(out.status.success(), "{answers:?}\n{}", String::from_utf8_lossy(&out.stderr));
    let streams = "(lambda s: (s['name'], s['app'], s['clients'], s['publish']['active'], s['video']['codec'], \
                   s['audio']['codec'], s['frames'] > 20, s['recv_bytes'] > 10000, s['send_bytes'] > 10000))\
                   (d['streams'][0])";
    assert_eq!(
        ask(server.http, "/api/v1/streams", streams),
        "('x', 'live', 3, True, 'H264', 'AAC', True, True, True)"
    );
    let types = "sorted(c['type'] for c in d['clients']), d['total'], {c['ip'] for c in d['clients']}";
    assert_eq!(
        ask(server.http, "/api/v1/clients", types),
        "(['flv-play', 'fmle-publish', 'rtmp-play'], 3, {'127.0.0.1'})"
    );
    let cid = ask(server.http, "/api/v1/streams", "d['streams'][0]['publish']['cid']");
    let publisher =
        ask(server.http, &format!("/api/v1/clients/{cid}"), "d['client']['type'], d['client']['publish']");
    assert_eq!(publisher, "('fmle-publish', True)");
    assert!(server.log().contains(&format!("[{cid}] ")), "an id is the number in the log");
    let (_, answer) =
        curl(server.http, "/api/v1/clients?callback=a.b&count=1", &["-i", "-H", "Origin: http://a"]);
    assert!(
        answer.contains("Access-Control-Allow-Origin: *") && answer.contains("text/javascript"),
        "{answer}"
    );
    let json = answer.split("a.b(").nth(1).unwrap().strip_suffix(')').unwrap();
    assert_eq!(python(json, "len(d['clients'])"), "1");
    assert_eq!(curl(server.http, "/api/v1/clients?callback=alert(1)", &[]).0, 400);
    assert_eq!(curl(server.http, "/api/v1/tests/redirects", &["--location"]).1.find("\"code\":100"), Some(1));
    let (_, text) = curl(server.http, "/metrics", &[]);
    assert!(text.contains("\nrunnel_viewers 2\n") && text.contains("\nrunnel_publishers 1\n"), "{text}");
}

#[test]
fn clients_that_are_disconnected_are_told_so_in_their_protocol() {
    let server = Server::start(&conf("", ""));
    let tags = flv::read(&clips::av());
    let mut publish = Rtmp::publish(server.rtmp, "x");
    publish.send(&tags[..60]);
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    viewer.until(TAG, flv::Tag::is_key);
    let mut play = Rtmp::play(server.rtmp, "x");
    play.expect("NetStream.Play.Start");
    let mut waiting = Http::connect(server.http);
    waiting.get("/live/other.flv", "");
    let mut waits = Rtmp::play(server.rtmp, "third");
    let all = || ask(server.http, "/api/v1/clients", "d['total']") == "5";
    assert!(poll(TAG, all), "{}", curl(server.http, "/api/v1/clients", &[]).1);
    let kick = |of: &str| {
        let id = ask(server.http, "/api/v1/clients", &format!("[c['id'] for c in d['clients'] if {of}][0]"));
        let (status, body) = curl(server.http, &format!("/api/v1/clients/{id}"), &["-X", "DELETE"]);
        assert_eq!((status, python(&body, "d['code']").as_str()), (200, "0"), "{of}");
        id
    };
    kick("c['type'] == 'flv-play' and c['name'] == 'x'");
    viewer.rest(TAG);
    kick("c['type'] == 'rtmp-play' and c['name'] == 'x'");
    play.expect("NetStream.Play.Stop");
    assert!(play.closes(TAG));
    kick("c['name'] == 'other'");
    assert_eq!(waiting.head().status, 403);
    kick("c['name'] == 'third'");
    waits.expect("NetStream.Play.Failed");
    assert!(waits.closes(TAG));
    let id = kick("c['publish']");
    publish.expect("NetStream.Publish.Denied");
    assert!(publish.closes(TAG));
    let gone = || curl(server.http, &format!("/api/v1/clients/{id}"), &["-X", "DELETE"]).1;
    assert!(poll(TAG, || python(&gone(), "d['code']") == "2049"));
    assert_eq!(server.log().matches("disconnected by the API").count(), 3, "{}", server.log());
}

#[test]
fn a_viewer_in_the_middle_of_a_message_gets_its_end_before_the_farewell() {
    // Keyframes are larger than the socket takes at once, so that the viewer is in the middle of one when it is told.
    let server = Server::start(&conf("", "").replace("mw_latency 350;", "mw_latency 50; send_buffer 8k;"));
    let tags = flv::read(&clips::big_keys());
    let mut publish = Rtmp::publish(server.rtmp, "x");
    publish.send(&tags[..30]);
    let mut http = Http::connect(server.http);
    http.get("/live/x.flv", "");
    let blocked = "any(c['runnel']['blocked_ms'] > 0 for c in d['clients'] if not c['publish'])";
    let seen = poll(TAG, || ask(server.http, "/api/v1/clients", blocked) == "True");
    assert!(seen, "the viewer is never blocked");
    let id = ask(server.http, "/api/v1/clients", "[c['id'] for c in d['clients'] if not c['publish']][0]");
    assert_eq!(curl(server.http, &format!("/api/v1/clients/{id}?method=DELETE"), &[]).0, 200);
    let mut viewer = Viewer::started(http);
    // Whole tags, then the end of the body; the client was stopped for far less than it takes to be given up.
    let got = viewer.rest(TAG);
    assert!(got.iter().any(flv::Tag::is_key));
}

#[test]
fn name_password_and_permissions_hold() {
    let own = free_port();
    let api = format!(
        "http_api {{ enabled on; listen 127.0.0.1:{own}; allow_kick off; crossdomain off; \
         auth {{ enabled on; username admin; password secret; }} }}"
    );
    let plain = conf("", "").replace("http_api {", "#").replace("vhost __", &format!("{api}\nvhost __"));
    let server = Server::start(&plain);
    assert_eq!(curl(own, "/api/v1/versions", &[]).0, 401);
    assert_eq!(curl(own, "/api/v1/versions", &["-u", "admin:wrong"]).0, 401);
    let (status, body) =
        curl(own, "/api/v1/versions", &["-u", "admin:secret", "-H", "Origin: http://a", "-i"]);
    assert!(status == 200 && !body.contains("Access-Control"), "{body}");
    let (_, refused) = curl(own, "/api/v1/clients/1", &["-u", "admin:secret", "-X", "DELETE"]);
    assert_eq!(python(&refused, "d['code']"), "1062");
    assert_eq!(curl(own, "/live/x.flv", &["-u", "admin:secret"]).0, 404, "no streams at this port");
    assert_eq!(curl(server.http, "/api/v1/versions", &["-u", "admin:secret"]).0, 404, "no API at that one");
    // Requests one after another, and one that is cut off.
    let mut http = Http::connect(own);
    let auth = "Authorization: Basic YWRtaW46c2VjcmV0\r\n";
    let one = format!("GET /api/v1/streams HTTP/1.1\r\nHost: a\r\n{auth}\r\n");
    http.send(one.repeat(20));
    let mut bodies = Vec::new();
    for _ in 0..20 {
        let head = http.head();
        assert_eq!(head.status, 200);
        bodies.push(String::from_utf8(http.body(&head)).unwrap());
    }
    assert_eq!(python(&format!("[{}]", bodies.join(",")), "sum(a['streams'] == [] for a in d)"), "20");
    drop(http);
    let mut http = Http::connect(own);
    http.send(&one.as_bytes()[..40]);
    drop(http);
    // The one connection is that which asks.
    let alone = || curl(own, "/api/v1/perf", &["-u", "admin:secret"]).1.contains("\"connections\":1,");
    assert!(poll(TAG, alone), "connections stay open");
}

#[test]
fn the_newest_lines_of_the_log_are_told_without_secrets() {
    let server = Server::start(&conf("", "log_ring 16k;"));
    let mut rtmp = Rtmp::live(server.rtmp);
    rtmp.ask_publish("bad//name?token=hush");
    rtmp.expect("BadName");
    let mut http = Http::connect(server.http);
    http.get("/live/x.flv?token=hush", "");
    for n in 0..200 {
        let mut rtmp = Rtmp::live(server.rtmp);
        rtmp.ask_publish(&format!("s{n}?token=hush"));
        rtmp.expect("NetStream.Publish.Start");
    }
    let lines = || curl(server.http, "/api/v1/logs?kb=4", &[]).1;
    assert!(poll(TAG, || lines().contains("publisher of live/s199 left")), "{}", lines());
    let (_, all) = curl(server.http, "/api/v1/logs?kb=256", &[]);
    assert!(all.len() <= 17 << 10 && all.len() > 8 << 10, "{} bytes", all.len());
    let some = lines();
    assert!(some.len() <= 4 << 10 && some.len() > 2 << 10 && some.starts_with("INFO"), "{some}");
    assert!(!all.contains("hush") && !server.log().contains("hush"), "{}", server.log());
    let forwarded = curl(server.http, "/api/v1/logs", &["-H", "X-Forwarded-For: 127.0.0.1"]);
    assert_eq!(forwarded.0, 403);
}

#[test]
fn a_reload_by_the_api_tells_what_has_changed_or_every_mistake() {
    let api = "raw_api { enabled on; allow_reload on; }";
    let server = Server::start(&conf(api, ""));
    let write = |text: &str| {
        let text = text.replace("$RTMP", &server.rtmp.to_string()).replace("$HTTP", &server.http.to_string());
        std::fs::write(server.dir().join("runnel.conf"), text).unwrap();
    };
    let reload = |expression: &str| ask(server.http, "/api/v1/raw?rpc=reload", expression);
    let tags = flv::read(&clips::av());
    let mut publish = Rtmp::publish(server.rtmp, "x");
    publish.send(&tags[..60]);
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    viewer.until(TAG, flv::Tag::is_key);
    assert_eq!(reload("d['code'], d['data']['changes']"), "(0, [])");
    write(&conf(api, "vhost b { }"));
    assert_eq!(reload("d['code'], d['data']['changes']"), "(0, ['vhost b added'])");
    write(&conf(api, "vhost c { oops; }\nalso_oops;"));
    let said =
        reload("d['code'], len(d['data']['errors']), 'oops' in d['data']['errors'][0], d['data']['rid']");
    assert_eq!(said, "(1023, 2, True, '3')");
    let again = ask(server.http, "/api/v1/raw?rpc=reload-fetch", "d['data']['err'], d['data']['rid']");
    assert_eq!(again, "(1023, '3')");
    assert_eq!(
        ask(server.http, "/api/v1/vhosts", "[v['name'] for v in d['vhosts']]"),
        "['b', '__defaultVhost__']"
    );
    publish.send(&tags[60..120]);
    let last = tags[119].ts;
    viewer.until(TAG, |tag| tag.ts + 100 >= last);
    // The API can take itself away; the answer is still given.
    write(&conf(api, "").replace("http_api { enabled on;", "http_api { enabled off;"));
    assert_eq!(reload("'http_api changed' in d['data']['changes']"), "True");
    assert_eq!(curl(server.http, "/api/v1/versions", &[]).0, 404);
}

#[test]
fn two_thousand_viewers_are_listed_in_pages_without_a_pause() {
    const VIEWERS: usize = 2000;
    let server = Server::start(&conf("", ""));
    let tags = flv::read(&clips::av());
    let mut publish = Rtmp::publish(server.rtmp, "x");
    publish.send(&tags[..30]);
    let mut crowd: Vec<Http> = Vec::new();
    for _ in 0..VIEWERS {
        let mut http = Http::connect(server.http);
        http.get("/live/x.flv", "");
        crowd.push(http);
    }
    let total = (VIEWERS + 1).to_string();
    assert!(poll(TAG, || ask(server.http, "/api/v1/clients?count=1", "d['total']") == total));
    let start = Instant::now();
    let (_, page) = curl(server.http, "/api/v1/clients?start=1900&count=5000", &[]);
    let took = start.elapsed();
    assert_eq!(python(&page, "len(d['clients']), len({c['id'] for c in d['clients']})"), "(100, 100)");
    assert!(page.len() < 100 << 10, "{} bytes", page.len());
    note(&format!("API: 100 of {VIEWERS} clients are {} bytes, curl and all {took:?}", page.len()));
    // Whoever asks and does not read gets no more than a bounded amount of memory.
    let before = server.rss_kib();
    let mut idle: Vec<Http> = (0..200).map(|_| Http::connect(server.http)).collect();
    for http in &mut idle {
        http.socket.set_nonblocking(true).unwrap();
        use std::io::Write;
        let one = "GET /api/v1/clients?count=100 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
        let _ = http.socket.write(one.as_bytes());
    }
    assert!(poll(TAG, || ask(server.http, "/api/v1/perf", "d['data']['connections']")
        .parse::<usize>()
        .unwrap()
        > 2200));
    let grown = server.rss_kib().saturating_sub(before);
    note(&format!("API: 200 clients that read none of their 100 answers cost {grown} KiB"));
    assert!(grown < 24 << 10, "{grown} KiB");
}

// ---- who may publish and play

/// Connects as a client on a page.
fn on_page(port: u16, page: &str) -> Rtmp {
    let mut rtmp = Rtmp::connect(port);
    let url = format!("rtmp://127.0.0.1:{port}/live");
    let fields = [("app", "live"), ("tcUrl", url.as_str()), ("pageUrl", page)];
    rtmp.command(0, &[Amf::Text("connect"), Amf::Number(1.0), Amf::Object(&fields)]);
    rtmp.expect("NetConnection.Connect.Success");
    rtmp.create_stream(2.0);
    rtmp
}

#[test]
fn addresses_that_may_not_publish_or_play_are_told_and_a_reload_lets_them_in() {
    let with = |rules: &str| {
        // Every container, by the default mounts.
        conf("", "").replace("mount [vhost]/[app]/[stream].flv;", "").replace(
            "publish {",
            &format!("hls {{ enabled on; }} security {{ enabled on; {rules} }} publish {{"),
        )
    };
    let server = Server::start(&with("deny publish 127.0.0.0/8; deny play ::ffff:127.0.0.1;"));
    let mut rtmp = Rtmp::live(server.rtmp);
    rtmp.ask_publish("x");
    rtmp.expect("NetStream.Publish.Denied");
    assert!(rtmp.closes(TAG) && !rtmp.heard().contains("Publish.Start"));
    let status = Publisher::Ffmpeg5.publish(&server, &clips::av(), "x").wait(TAG);
    assert!(!status.success(), "ffmpeg must see that it was refused");
    let mut play = Rtmp::play(server.rtmp, "x");
    play.expect("NetStream.Play.Failed");
    for kind in ["flv", "ts", "mp4"] {
        let (status, body) = curl(server.http, &format!("/live/x.{kind}"), &[]);
        assert_eq!((status, body.as_str()), (403, "127.0.0.1 may not play here\n"), "{kind}");
    }
    assert!(server.log().contains("see `deny play 127.0.0.1/32` in `security` of vhost"), "{}", server.log());
    assert!(server.log().contains("publish of live/x refused"), "{}", server.log());

    // From now on this machine may publish, and nobody may play.
    let said = server.reload(&with("allow publish 127.0.0.1;"));
    assert!(said.contains("nobody may play") && said.contains("vhost __defaultVhost__ changed"), "{said}");
    let tags = flv::read(&clips::av());
    let mut publish = Rtmp::publish(server.rtmp, "x");
    publish.send(&tags[..60]);
    assert_eq!(curl(server.http, "/live/x.flv", &[]).0, 403);
    assert!(poll(TAG, || curl(server.http, "/live/x.m3u8", &[]).0 == 403), "HLS is playing too");
    server.reload(&with("allow publish 127.0.0.1; allow play all;"));
    Viewer::join(server.http, "/live/x.flv").until(TAG, flv::Tag::is_key);
    // Who is there stays, whatever the rules become.
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    viewer.until(TAG, flv::Tag::is_key);
    server.reload(&with("deny play all; deny publish all;"));
    publish.send(&tags[60..120]);
    let last = tags[119].ts;
    viewer.until(TAG, |tag| tag.ts + 100 >= last);
}

#[test]
fn a_trusted_proxy_tells_the_address_that_rules_are_about() {
    let rules = "security { enabled on; deny publish ::/0; deny play 10.0.0.0/8; } publish {";
    let server = Server::start(&conf("", "trusted_proxy 127.0.0.1;").replace("publish {", rules));
    let forward =
        |ip: &str| curl(server.http, "/live/x.flv", &["-I", "-H", &format!("X-Forwarded-For: {ip}")]).0;
    assert_eq!((forward("10.1.2.3"), forward("9.9.9.9, 10.1.2.3"), forward("11.1.2.3")), (403, 403, 404));
    assert_eq!(curl(server.http, "/live/x.flv", &["-I"]).0, 404);
    let mut http = Http::connect(server.http);
    http.get("/live/x.flv", "X-Forwarded-For: 11.1.2.3\r\n");
    let listed = || ask(server.http, "/api/v1/clients", "[c['ip'] for c in d['clients']]") == "['11.1.2.3']";
    assert!(poll(TAG, listed), "{}", curl(server.http, "/api/v1/clients", &[]).1);
    Rtmp::publish(server.rtmp, "x");
}

#[test]
fn pages_of_other_sites_may_not_play() {
    let rules = "refer { enabled on; play example.com; } publish {";
    let server = Server::start(&conf("", "").replace("publish {", rules));
    let tags = flv::read(&clips::av());
    let mut publish = Rtmp::publish(server.rtmp, "x");
    publish.send(&tags[..60]);
    let mut play = on_page(server.rtmp, "http://www.example.com/live?key=hush");
    let ask_play = |rtmp: &mut Rtmp| {
        rtmp.command(1, &[Amf::Text("play"), Amf::Number(3.0), Amf::Null, Amf::Text("x")]);
    };
    ask_play(&mut play);
    play.expect("NetStream.Play.Start");
    assert_eq!(
        ask(server.http, "/api/v1/clients", "[c['pageUrl'] for c in d['clients'] if not c['publish']]"),
        "['http://www.example.com/live']"
    );
    for page in ["http://evil-example.com/", "http://evil.org/?http://example.com"] {
        let mut play = on_page(server.rtmp, page);
        ask_play(&mut play);
        play.expect("NetStream.Play.Failed");
    }
    Player::Ffmpeg5Rtmp.play(&server, "x").process.wait(TAG);
    let from = |header: &str| curl(server.http, "/live/x.flv", &["--max-time", "20", "-I", "-H", header]).0;
    assert_eq!(from("Referer: http://example.com/page"), 200);
    assert_eq!(from("Origin: https://cam.example.com"), 200);
    assert_eq!(from("Referer: http://example.com.evil.org/"), 403);
    let (status, body) = curl(server.http, "/live/x.flv", &[]);
    assert!(status == 403 && body.starts_with("no page is named"), "{status} {body}");
    assert!(
        server.log().contains("see `refer` of vhost") && !server.log().contains("hush"),
        "{}",
        server.log()
    );
}

/// The samples as they are, with ports that are free here.
#[test]
fn the_samples_for_the_api_and_for_rules_run() {
    let sample = |name: &str| {
        let text = std::fs::read_to_string(format!("{}/conf/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        text.replace("1935;", "127.0.0.1:$RTMP;").replace("8080;", "127.0.0.1:$HTTP;")
    };
    let tags = flv::read(&clips::av());
    let server = Server::start(&sample("security.conf"));
    let mut publish = Rtmp::publish(server.rtmp, "x");
    publish.send(&tags[..60]);
    Viewer::join(server.http, "/live/x.flv").until(TAG, flv::Tag::is_key);
    let mut publish = Rtmp::publish(server.rtmp, "x?vhost=cam.example.com");
    publish.send(&tags[..60]);
    let of = |header: &str| curl(server.http, "/live/x.flv?vhost=cam.example.com", &["-I", "-H", header]).0;
    assert_eq!(
        (of("Referer: https://example.com/"), of("Referer: https://example.org/"), of("A: b")),
        (200, 403, 403)
    );
    drop(server);

    let own = free_port();
    let server = Server::start(&sample("http.api.conf").replace("1985;", &format!("127.0.0.1:{own};")));
    assert_eq!(ask(own, "/api/v1/raw?rpc=reload", "d['code']"), "0");
    assert_eq!(ask(own, "/api/v1/streams", "d['streams']"), "[]");
    assert_eq!(curl(server.http, "/api/v1/streams", &[]).0, 404);
}
