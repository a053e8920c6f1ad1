//! Edges: streams that are fetched from other servers, once for all who watch, for as long as anybody does.
use crate::support::flv::{self, Tag};
use crate::support::http::{Http, Viewer};
use crate::support::proc::Proc;
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, free_port, run_dir, usual_vhost};
use crate::support::tools::{self, Player, Publisher};
use crate::support::{clips, frames, poll};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

const TAG: Duration = Duration::from_secs(15);
const CLIP: Duration = Duration::from_secs(40);

/// A configuration of the usual vhost with `vhost` in it and `more` outside; figures are at `/metrics`.
fn conf(vhost: &str, more: &str) -> String {
    format!(
        "listen 127.0.0.1:$RTMP;\n{more}\n\
         http_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         http_api {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         vhost __defaultVhost__ {{\n{vhost}\n}}\n"
    )
}

fn usual() -> String {
    usual_vhost("")
        .replace("wait 10s;", "wait 30s;")
        .replace("queue_length 10;", "queue_length 10; wait 30s;")
}

fn origin() -> Server {
    Server::start(&conf(&usual(), ""))
}

/// An edge of servers at these ports.
fn edge_conf(ports: &[u16], more: &str) -> String {
    let list: String = ports.iter().map(|port| format!(" 127.0.0.1:{port}")).collect();
    conf(&format!("{}\ncluster {{ mode remote; origin{list}; }}\n{more}", usual()), "")
}

fn edge(ports: &[u16]) -> Server {
    Server::start(&edge_conf(ports, ""))
}

/// A viewer who waits for the stream if need be.
fn viewer(server: &Server) -> Http {
    let mut http = Http::connect(server.http);
    http.get("/live/x.flv", "");
    http
}

fn get(server: &Server, path: &str) -> (u16, String) {
    let mut http = Http::connect(server.http);
    http.get(path, "");
    let head = http.head();
    let body = http.body(&head);
    (head.status, String::from_utf8_lossy(&body).into_owned())
}

/// What a figure of `/metrics` is.
fn figure(server: &Server, name: &str) -> u64 {
    let (_, text) = get(server, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

fn says(server: &Server, text: &str) {
    let said = poll(Duration::from_secs(20), || server.log().contains(text));
    assert!(said, "no {text:?} in\n{}", server.log());
}

/// Viewers at the edge come first. What ffmpeg publishes to the origin then is theirs whole, by RTMP and by FLV, and when it
/// ends, so do they.
#[test]
fn every_frame_arrives_through_an_edge() {
    let origin = Server::start(&conf(&usual().replace("same_ip;", "same_ip; resume_wait 2s;"), ""));
    // An edge of an edge.
    let near = edge(&[origin.rtmp]);
    let far = edge(&[near.rtmp]);
    let clip = clips::av();
    let players = [(&near, Player::Curl), (&near, Player::Rtmpdump), (&far, Player::Curl)];
    let mut players = players.map(|(server, player)| player.play(server, "x"));
    assert!(poll(TAG, || figure(&origin, "runnel_viewers_waiting") == 1), "{}", near.log());
    let mut publish = Publisher::Ffmpeg5.publish(&origin, &clip, "x");
    publish.success(CLIP);
    let sent = frames::of(&clip);
    for play in &mut players {
        play.finish(Duration::from_secs(40));
        frames::assert_all(&frames::of(&play.file), &sent, &format!("{:?}", play.player), 0);
    }
    drop((players, publish));
    [&origin, &near, &far].iter().for_each(|server| server.assert_idle());
    for server in [&origin, &far] {
        assert_eq!(server.log().matches("viewer of live/x came").count(), 1, "{}", server.log());
    }
}

/// Many viewers at once are one at the origin; the API tells of it; when the last one is gone, so is that one.
#[test]
fn fifty_viewers_are_one_at_the_origin() {
    let origin = origin();
    let edge = edge(&[origin.rtmp]);
    let mut publish = Publisher::Ffmpeg5.publish(&origin, &clips::long_gop(), "x");
    says(&origin, "live/x is live");
    let viewers: Vec<_> = (0..45).map(|_| viewer(&edge)).collect();
    let players: Vec<_> = (0..5).map(|_| Rtmp::play(edge.rtmp, "x")).collect();
    let mut viewers: Vec<_> = viewers.into_iter().map(Viewer::started).collect();
    for viewer in &mut viewers {
        let tags = viewer.until(TAG, Tag::is_key);
        assert!(tags.iter().any(Tag::is_video_header) && tags.iter().any(Tag::is_audio_header));
    }
    for mut player in players {
        player.expect("NetStream.Play.Start");
    }
    assert_eq!((figure(&origin, "runnel_viewers"), figure(&edge, "runnel_pulls")), (1, 1));
    let (_, streams) = get(&edge, "/api/v1/streams");
    for part in
        ["\"active\":true", &format!("\"origin\":\"127.0.0.1:{}\",\"state\":\"running\"", origin.rtmp)]
    {
        assert!(streams.contains(part), "no {part} in {streams}");
    }
    let (_, clients) = get(&edge, "/api/v1/clients?count=100");
    assert_eq!(clients.matches("\"type\":\"edge-pull\",\"publish\":true").count(), 1, "{clients}");
    viewers.truncate(1);
    viewers[0].until(TAG, |tag| tag.ts >= 2_000);
    assert_eq!(figure(&origin, "runnel_viewers"), 1);
    drop(viewers);
    assert!(poll(TAG, || figure(&origin, "runnel_viewers") == 0), "{}", edge.log());
    says(&edge, "nobody watches it");
    assert!(publish.running() && figure(&edge, "runnel_streams") == 0);
    publish.kill();
    assert_eq!(origin.log().matches("viewer of live/x came").count(), 1, "{}", origin.log());
}

/// The origin dies and is back, later another one takes its place: who watches at the edge stays, and its time goes on.
#[test]
fn viewers_stay_while_origins_come_and_go() {
    let (one, two) = (free_port(), free_port());
    let edge = edge(&[one, two]);
    let at = |port: u16| Server::start(&conf(&usual(), &format!("listen 127.0.0.1:{port};")));
    let mut server = at(one);
    let clip = clips::long_gop();
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clip, "x");
    let mut viewer = Viewer::started(viewer(&edge));
    let mut tags = viewer.until(TAG, |tag| tag.ts >= 1_000);
    for port in [one, two] {
        publish.kill();
        server.crash();
        let before = tags.len();
        server = at(port);
        publish = Publisher::Ffmpeg5.publish(&server, &clip, "x");
        let last = tags.last().unwrap().ts;
        tags.extend(viewer.until(TAG, |tag| tag.is_picture() && tag.ts >= last + 1_000));
        let again = &tags[before..];
        assert!(again.iter().any(Tag::is_video_header) && again.iter().any(Tag::is_key));
    }
    flv::assert_monotonic(&tags);
    publish.kill();
    says(&edge, &format!("live/x comes from 127.0.0.1:{two}"));
    let lines = edge.log().lines().filter(|line| line.contains("live/x")).count();
    assert!(lines < 20, "{}", edge.log());
}

/// What no origin has is told to each viewer in its protocol: at once where the configuration says so, and else in the end.
#[test]
fn what_no_origin_has_is_told() {
    let strict = conf(
        "play { no_stream 404; } http_remux { enabled on; no_stream 404; } hls { enabled on; hls_fragment 1; }",
        "",
    );
    let origin = Server::start(&strict);
    let asks = |port: u16| {
        strict.replace("play {", &format!("cluster {{ mode remote; origin 127.0.0.1:{port}; }} play {{"))
    };
    let edge = Server::start(&asks(origin.rtmp));
    let (status, why) = get(&edge, "/live/x.flv");
    assert_eq!((status, why.trim()), (404, "nobody publishes live/x"), "{}", edge.log());
    assert_eq!(get(&edge, "/live/y.m3u8").0, 404);
    let mut player = Rtmp::play(edge.rtmp, "z?token=secret");
    player.expect("NetStream.Play.StreamNotFound");
    drop(player);
    says(&edge, "live/x from 127.0.0.1:");
    assert!(!edge.log().contains("secret") && !origin.log().contains("secret"));
    assert!(poll(TAG, || figure(&edge, "runnel_streams") == 0), "{}", edge.log());
    let lost = Server::start(&asks(free_port()));
    for path in ["/live/x.flv", "/live/x.m3u8"] {
        assert_eq!(get(&lost, path).0, 502, "{}", lost.log());
    }
    says(&lost, "is there an RTMP server");
    // Who waits is told when its wait is over.
    let waits = asks(free_port()).replace("no_stream 404;", "no_stream wait; wait 1s;");
    let waits = Server::start(&waits);
    assert_eq!(get(&waits, "/live/x.flv").0, 502);
    Rtmp::play(waits.rtmp, "x").expect("cannot be reached");
    [&edge, &lost, &waits].iter().for_each(|server| server.assert_idle());
}

/// A server through which one connection after the other goes on to `to`, as from another machine.
fn door(to: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for from in listener.incoming() {
            let (Ok(mut from), Ok(mut to)) = (from, TcpStream::connect(("127.0.0.1", to))) else { return };
            let (mut back, mut answers) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut answers, &mut back);
                let _ = back.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || {
                let mut bytes = [0; 65536];
                while let Ok(count @ 1..) = from.read(&mut bytes) {
                    if to.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    port
}

/// An edge that is its own origin, plainly and by a way that it cannot see, and two that are each other's: each viewer is
/// told, the log says why, and nothing goes on when the viewers are gone.
#[test]
fn loops_are_refused() {
    let ring = free_port();
    let a = edge(&[ring]);
    let b = edge_conf(&[a.rtmp], "").replace("$RTMP;", &format!("$RTMP 127.0.0.1:{ring};"));
    let b = Server::start(&b.replace("wait 30s;", "wait 2s;"));
    let own = conf(&format!("{} cluster {{ mode remote; origin localhost:$RTMP; }}", usual()), "");
    let own = Server::start(&own.replace("wait 30s;", "wait 1s;"));
    assert_eq!(get(&own, "/live/x.flv").0, 502);
    says(&own, "it is this server itself");
    let mut viewers = [viewer(&a), viewer(&b)];
    assert_eq!(viewers[1].head().status, 404);
    says(&b, "a loop of `forward` or `origin`");
    drop(viewers);
    let hidden = Server::start(&edge_conf(&[1], ""));
    hidden.reload(&edge_conf(&[door(hidden.rtmp)], ""));
    let waits = viewer(&hidden);
    says(&hidden, "a loop of `forward` or `origin`");
    drop(waits);
    [&a, &b, &own, &hidden].iter().for_each(|server| server.assert_idle());
}

/// A playlist is enough to have a stream fetched, and who watches by it counts.
#[test]
fn hls_has_a_stream_fetched() {
    let origin = origin();
    let edge =
        Server::start(&edge_conf(&[origin.rtmp], "hls { enabled on; hls_fragment 1; hls_window 10; }"));
    let mut publish = Publisher::Ffmpeg5.publish(&origin, &clips::other(), "x");
    says(&origin, "live/x is live");
    let (status, list) = get(&edge, "/live/x.m3u8");
    assert_eq!(status, 200, "{}", edge.log());
    let segment = list.lines().find(|line| !line.starts_with('#')).unwrap_or_else(|| panic!("{list}"));
    assert_eq!(get(&edge, &format!("/live/{segment}")).0, 200, "{list}");
    assert_eq!((figure(&edge, "runnel_pulls"), figure(&edge, "runnel_hls_viewers")), (1, 1));
    publish.kill();
}

/// A reload moves viewers to another origin, and takes the stream from them where there is none any more; another vhost is
/// not touched.
#[test]
fn a_reload_changes_origins() {
    let origins = [origin(), origin()];
    let mut publish = [0, 1].map(|n| Publisher::Ffmpeg5.publish(&origins[n], &clips::long_gop(), "x"));
    origins.iter().for_each(|origin| says(origin, "live/x is live"));
    let edge = edge(&[origins[0].rtmp]);
    let mut viewer = Viewer::started(viewer(&edge));
    let mut tags = viewer.until(TAG, |tag| tag.ts >= 500);
    edge.reload(&edge_conf(&[origins[1].rtmp], ""));
    let last = tags.last().unwrap().ts;
    tags.extend(viewer.until(TAG, |tag| tag.ts >= last + 1_500));
    flv::assert_monotonic(&tags);
    says(&edge, &format!("live/x comes from 127.0.0.1:{}", origins[1].rtmp));
    assert_eq!((figure(&origins[0], "runnel_viewers"), figure(&origins[1], "runnel_viewers")), (0, 1));
    edge.reload(&conf(&usual_vhost("resume_wait 0;"), ""));
    viewer.rest(TAG);
    assert!(poll(TAG, || figure(&origins[1], "runnel_viewers") == 0), "{}", edge.log());
    publish.iter_mut().for_each(Proc::kill);
}

/// Another server with ffmpeg's stream: the edge has every frame from it too.
#[test]
fn nginx_is_an_origin() {
    let (dir, port) = (run_dir(), free_port());
    let path = dir.join("nginx.conf");
    let text = format!(
        "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\ndaemon off; master_process off;\n\
         error_log stderr; pid {}/nginx.pid; events {{}}\n\
         rtmp {{ access_log off; server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}\n",
        dir.display()
    );
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(&path);
    let mut nginx = Proc::spawn("nginx", &dir, command);
    let up = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(poll(TAG, || nginx.running() && up()), "{}", nginx.tail());
    let edge = edge(&[port]);
    let mut players = [Player::Curl, Player::Rtmpdump].map(|player| player.play(&edge, "x"));
    assert!(poll(TAG, || edge.connections() >= 3), "{}", edge.log());
    std::thread::sleep(Duration::from_millis(500));
    let clip = clips::av();
    let mut command = Command::new(tools::ffmpeg());
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-re", "-i"]).arg(&clip);
    command.args(["-c", "copy", "-f", "flv", &format!("rtmp://127.0.0.1:{port}/live/x")]);
    Proc::spawn("publish", &dir, command).success(CLIP);
    for play in &mut players {
        play.finish(Duration::from_secs(40));
        frames::assert_tail(&frames::of(&play.file), &frames::of(&clip), &format!("{:?}", play.player), 0);
    }
}

/// What ffmpeg publishes at an edge is whole at the origin, at the edge, and at another edge; when it ends, so do all.
#[test]
fn what_is_published_at_an_edge_is_at_its_origin() {
    let origin = Server::start(&conf(&usual().replace("same_ip;", "same_ip; resume_wait 1s;"), ""));
    let edges = [edge(&[origin.rtmp]), edge(&[origin.rtmp])];
    let here = &edges[0];
    let players = [(&origin, Player::Curl), (here, Player::Rtmpdump), (&edges[1], Player::Curl)];
    let mut players = players.map(|(server, player)| player.play(server, "x"));
    assert!(poll(TAG, || figure(&origin, "runnel_viewers_waiting") == 3), "{}", here.log());
    let clip = clips::av();
    let mut publish = Publisher::Ffmpeg5.publish(here, &clip, "x");
    publish.success(CLIP);
    for play in &mut players {
        play.finish(Duration::from_secs(40));
        frames::assert_all(&frames::of(&play.file), &frames::of(&clip), &format!("{:?}", play.player), 0);
    }
    drop((players, publish));
    says(here, "its publisher has left");
    [&origin, here, &edges[1]].iter().for_each(|server| server.assert_idle());
}

/// An origin that does not want a stream is quoted to who would publish it at the edge, before it is told to start; who
/// watches there notices nothing.
#[test]
fn a_refusal_of_the_origin_reaches_the_publisher() {
    let origin = Server::start(&conf(&usual().replace("takeover_same_ip", "reject"), ""));
    let mut publish = Publisher::Ffmpeg5.publish(&origin, &clips::av(), "x");
    let edge = edge(&[origin.rtmp]);
    let mut viewer = Viewer::started(viewer(&edge));
    viewer.until(TAG, Tag::is_key);
    let mut second = Rtmp::live(edge.rtmp);
    second.ask_publish("x?token=secret");
    second.expect("is being published already");
    assert!(!second.heard().contains("Publish.Start") && second.closes(TAG));
    let tags = viewer.until(TAG, |tag| tag.ts >= 4_000);
    flv::assert_run(&tags, &flv::read(&clips::av()), 9);
    publish.kill();
    assert!(edge.log().contains("refused: the origin: it refuses: "), "{}", edge.log());
    assert!(!edge.log().contains("secret"), "{}", edge.log());
    let lost = Server::start(&edge_conf(&[free_port(), free_port()], ""));
    let mut third = Rtmp::live(lost.rtmp);
    third.ask_publish("x");
    third.expect("the origin cannot be reached");
    assert!(third.closes(TAG));
    lost.assert_idle();
}

/// An origin dies under a publisher at an edge: the next one gets the stream, and nobody at the edge notices.
#[test]
fn a_publisher_at_an_edge_survives_its_origin() {
    let mut origins = [origin(), origin()];
    let edge = edge(&[origins[0].rtmp, origins[1].rtmp]);
    let (here, far) = (viewer(&edge), viewer(&origins[1]));
    let clip = clips::other();
    let here = std::thread::spawn(move || Viewer::started(here).until(TAG, |tag| tag.ts >= 5_500));
    let mut publish = Publisher::Ffmpeg5.publish(&edge, &clip, "x");
    says(&origins[0], "live/x is live");
    origins[0].crash();
    let tags = Viewer::started(far).until(TAG, |tag| tag.ts >= 500);
    assert!(tags.iter().any(Tag::is_video_header) && tags.iter().any(Tag::is_key));
    let tags = here.join().unwrap();
    assert_eq!(flv::assert_run(&tags, &flv::read(&clip), 9), 0);
    publish.success(CLIP);
}

/// With `token_traverse` an origin is asked about each client by a connect of its own, with its parameters: who is refused is
/// told so in its protocol and costs nobody else anything, and who has no token does not profit from those who have one.
#[test]
fn an_origin_is_asked_about_each_client() {
    let hook = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = hook.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut socket in hook.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut heard, mut bytes) = (Vec::new(), [0; 4096]);
                let whole =
                    |heard: &[u8]| heard.windows(4).any(|part| part == b"\r\n\r\n") && heard.ends_with(b"}");
                while !whole(&heard) {
                    let Ok(count @ 1..) = socket.read(&mut bytes) else { return };
                    heard.extend_from_slice(&bytes[..count]);
                }
                let good = heard.windows(10).any(|part| part == b"token=good");
                let body = if good { "0" } else { "1" };
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n";
                let _ = socket.write_all(format!("{head}{body}").as_bytes());
            });
        }
    });
    let hooks = format!("http_hooks {{ enabled on; on_connect http://127.0.0.1:{port}/; }}");
    let origin = Server::start(&conf(&format!("{} {hooks}", usual()), ""));
    let cluster = format!("cluster {{ mode remote; origin 127.0.0.1:{}; token_traverse on; }}", origin.rtmp);
    let edge = Server::start(&conf(&format!("{} {cluster}", usual()), ""));
    let good = |path: &str| format!("{path}?token=good");
    let refused = |path: &str| {
        let (status, why) = get(&edge, path);
        assert!(status == 403 && why.contains("the origin refuses"), "{path}: {status} {why}");
    };
    let play = |stream: &str, says: &str| {
        let mut player = Rtmp::play(edge.rtmp, stream);
        player.expect(says);
    };
    let mut encoder = Rtmp::live(edge.rtmp);
    encoder.ask_publish("x?token=bad");
    encoder.expect("the origin refuses");
    assert!(!encoder.heard().contains("Publish.Start") && encoder.closes(TAG));
    let mut publish = Publisher::Ffmpeg5.publish(&edge, &clips::long_gop(), &good("x"));
    says(&edge, "live/x is live");
    let mut viewer = Viewer::join(edge.http, &good("/live/x.flv"));
    viewer.until(TAG, Tag::is_key);
    refused("/live/x.flv");
    refused("/live/x.flv?token=bad");
    play("x?token=bad", "NetStream.Play.Failed");
    play(&good("x"), "NetStream.Play.Start");
    viewer.until(TAG, |tag| tag.ts >= 1_000);
    assert!(publish.running() && !edge.log().contains("token="), "{}", edge.log());
    publish.kill();
    let lost = Server::start(&edge_conf(&[free_port()], "").replace("remote;", "remote; token_traverse on;"));
    let (status, why) = get(&lost, "/live/x.flv");
    assert!(status == 403 && why.contains("the origin cannot be asked"), "{status} {why}");
    lost.assert_idle();
}

/// An origin that stands still is left for another one. One whose publisher pauses is not: nobody sees its last pictures twice.
#[test]
fn an_origin_that_stands_still_is_left_and_one_that_pauses_is_not() {
    let origins = [origin(), origin()];
    let clip = clips::long_gop();
    let mut publish = [0, 1].map(|n| Publisher::Ffmpeg5.publish(&origins[n], &clip, "x"));
    origins.iter().for_each(|origin| says(origin, "live/x is live"));
    let quick = |ports: &[u16]| edge_conf(ports, "").replace("same_ip;", "same_ip; normal_timeout 1s;");
    let both = Server::start(&quick(&[origins[0].rtmp, origins[1].rtmp]));
    let mut moved = Viewer::started(viewer(&both));
    let mut tags = moved.until(TAG, |tag| tag.ts >= 500);
    let chosen = usize::from(figure(&origins[0], "runnel_viewers") == 0);
    let other = 1 - chosen;
    let one = Server::start(&quick(&[origins[other].rtmp]));
    let mut patient = Viewer::started(viewer(&one));
    origins[chosen].signal("STOP");
    let last = tags.last().unwrap().ts;
    tags.extend(moved.until(TAG, |tag| tag.ts >= last + 1_000));
    flv::assert_monotonic(&tags);
    origins[chosen].signal("CONT");
    // The encoder of the other viewer's origin stands still for longer than it takes to notice.
    publish[other].signal("STOP");
    std::thread::sleep(Duration::from_millis(3_000));
    publish[other].signal("CONT");
    let paused = patient.until(TAG, |tag| tag.ts >= 1_500);
    let from = paused.last().unwrap().ts;
    let tags = [paused, patient.until(TAG, |tag| tag.ts >= from + 3_000)].concat();
    flv::assert_run(&tags, &flv::read(&clip), 9);
    assert_eq!(one.log().matches("live/x comes from").count(), 1, "{}", one.log());
    publish.iter_mut().for_each(Proc::kill);
}

/// A server that speaks as much RTMP as it takes to name another one, as those of SRS in a cluster do.
fn names_another(to: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut hello = vec![0; 1537];
            socket.read_exact(&mut hello).unwrap();
            let answer = [&hello[..], &hello[1..]].concat();
            socket.write_all(&answer).unwrap();
            let text = |out: &mut Vec<u8>, text: &str| {
                out.extend((text.len() as u16).to_be_bytes());
                out.extend(text.as_bytes());
            };
            let mut body = b"\x02\0\x08onStatus\0\0\0\0\0\0\0\0\0\x05\x03".to_vec();
            let url = format!("rtmp://127.0.0.1:{to}/live");
            for (key, value) in [("level", "error"), ("code", "NetConnection.Connect.Rejected")] {
                text(&mut body, key);
                body.push(2);
                text(&mut body, value);
            }
            text(&mut body, "ex");
            body.push(3);
            text(&mut body, "redirect");
            body.push(2);
            text(&mut body, &url);
            body.extend([0, 0, 9, 0, 0, 9]);
            let mut message = vec![3, 0, 0, 0, 0, 0, body.len() as u8, 20, 0, 0, 0, 0];
            for (n, part) in body.chunks(128).enumerate() {
                message.extend((n > 0).then_some(0xc3));
                message.extend(part);
            }
            let _ = socket.write_all(&message);
            let _ = socket.read_to_end(&mut Vec::new());
        }
    });
    port
}

#[test]
fn an_origin_may_name_another_server() {
    let origin = origin();
    let edge = edge(&[names_another(origin.rtmp)]);
    let mut publish = Publisher::Ffmpeg5.publish(&origin, &clips::av(), "x");
    Viewer::started(viewer(&edge)).until(TAG, Tag::is_key);
    says(&edge, &format!("live/x comes from 127.0.0.1:{}", origin.rtmp));
    publish.kill();
}

/// The sample, with its ports moved.
#[test]
fn the_sample_works() {
    let origin = origin();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/edge.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replace("1936;", "127.0.0.1:$RTMP;").replace("8081;", "127.0.0.1:$HTTP;");
    let edge = Server::start(&text.replace("127.0.0.1:1935;", &format!("127.0.0.1:{};", origin.rtmp)));
    let mut publish = Publisher::Ffmpeg5.publish(&origin, &clips::av(), "x");
    Viewer::started(viewer(&edge)).until(TAG, |tag| tag.ts >= 1_000);
    publish.kill();
}
