//! Behind nginx: live streams pass it as they come, buffered or not, over HTTP/1.0 and 1.1 and as a WebSocket; a proxy that
//! keeps what it may keeps segments alone, never a stream, a playlist or a refusal.
use crate::support::flv::{self, Tag};
use crate::support::http::{Http, Viewer};
use crate::support::proc::Proc;
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, free_port};
use crate::support::{clips, poll};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const TAG: Duration = Duration::from_secs(10);

/// A server, nginx before it, and the port of that.
fn behind_nginx() -> (Server, Proc, u16) {
    const VHOST: &str =
        "min_latency on; http_remux { enabled on; no_stream 404; } publish { resume_wait 0; }";
    let server = Server::start(&format!(
        "listen 127.0.0.1:$RTMP;\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         vhost __defaultVhost__ {{ {VHOST} hls {{ enabled on; hls_fragment 2; }} }}\n\
         vhost cam.lan {{ {VHOST} }}\n"
    ));
    let port = free_port();
    let (dir, to) = (server.dir().display(), format!("proxy_pass http://127.0.0.1:{}/;", server.http));
    let temp =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {dir}/{of};"));
    let conf = format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr; events {{}}\n\
         http {{ access_log off; {} proxy_cache_path {dir}/cache keys_zone=kept:1m;\n\
         map $http_upgrade $upgrade {{ default upgrade; '' ''; }}\n\
         server {{ listen 127.0.0.1:{port};\n\
         location /plain/ {{ {to} }}\n\
         location /unbuffered/ {{ {to} proxy_buffering off; }}\n\
         location /modern/ {{ {to} proxy_http_version 1.1; proxy_set_header Host $http_host;\n\
           proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrade; }}\n\
         location /kept/ {{ {to} proxy_cache kept; proxy_cache_valid any 1h; add_header X-Kept $upstream_cache_status always; }}\n\
         }} }}\n",
        temp.concat()
    );
    let path = server.dir().join("nginx.conf");
    std::fs::write(&path, conf).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-p"]).arg(server.dir()).arg("-c").arg(&path);
    let mut nginx = Proc::spawn("nginx", server.dir(), command);
    let up = poll(TAG, || nginx.running() && TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(up, "{}", nginx.tail());
    (server, nginx, port)
}

fn get(port: u16, path: &str, more: &str) -> (u16, Option<String>, Vec<u8>) {
    let mut http = Http::connect(port);
    http.get(path, more);
    let head = http.head();
    (head.status, head.get("x-kept").map(str::to_owned), http.body(&head))
}

/// Each frame reaches the viewer before the next is sent: nothing is held back until some buffer is full.
#[test]
fn a_live_stream_passes_as_it_comes() {
    let (server, _nginx, port) = behind_nginx();
    let tags = flv::read(&clips::av());
    for way in ["plain", "unbuffered", "modern", "kept"] {
        let mut publisher = Rtmp::publish(server.rtmp, way);
        let (first, rest) = tags.split_at(tags.len() / 2);
        publisher.send(first);
        let path = format!("/{way}/live/{way}.flv");
        let mut viewer = None;
        assert!(poll(TAG, || {
            let mut http = Http::connect(port);
            http.get(&path, "");
            let head = http.head();
            viewer = (head.status == 200).then(|| Viewer::of(head, http));
            viewer.is_some()
        }));
        let mut viewer = viewer.unwrap();
        let mut seen = Vec::new();
        for tag in rest.iter().take(40) {
            publisher.send(std::slice::from_ref(tag));
            seen.extend(viewer.until(TAG, |seen| seen.data == tag.data));
        }
        publisher.send(&rest[40..]);
        publisher.unpublish(way);
        seen.extend(viewer.rest(TAG));
        flv::assert_run(&seen, &tags, 8);
        flv::assert_run(&seen, &tags, 9);
        assert_eq!(
            seen.iter().rfind(|tag| tag.is_picture()).map(|tag| &tag.data),
            last_picture(&tags),
            "{way}"
        );
    }
}

fn last_picture(tags: &[Tag]) -> Option<&Vec<u8>> {
    tags.iter().rfind(|tag| tag.is_picture()).map(|tag| &tag.data)
}

#[test]
fn a_websocket_and_the_host_pass_too() {
    let (server, _nginx, port) = behind_nginx();
    let mut publisher = Rtmp::publish(server.rtmp, "x?vhost=cam.lan");
    publisher.send(&flv::read(&clips::av())[..200]);
    let ask = |host: &str, more: &str| {
        let mut http = Http::connect(port);
        http.send(format!("GET /modern/live/x.flv HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"));
        http.head()
    };
    assert!(poll(TAG, || ask("cam.lan", "").status == 200));
    assert_eq!(ask("elsewhere.lan", "").status, 404, "the host that was asked for decides");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let head = ask("cam.lan", upgrade);
    assert_eq!((head.status, head.get("sec-websocket-accept")), (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
}

/// nginx is told to keep every answer for an hour that does not say otherwise.
#[test]
fn only_segments_are_kept_by_a_cache() {
    let (server, _nginx, port) = behind_nginx();
    let missing = "/kept/live/x.m3u8";
    assert_eq!(get(port, missing, "").0, 404);
    let mut publisher = Rtmp::publish(server.rtmp, "x");
    let tags = flv::read(&clips::av());
    publisher.send(&tags);
    // The refusal was not kept, nor is the list, which grows.
    let mut list = String::new();
    assert!(
        poll(TAG, || {
            list = String::from_utf8(get(port, missing, "").2).unwrap();
            list.matches("#EXTINF").count() >= 3
        }),
        "{list}"
    );
    let segment = list.lines().rfind(|line| line.ends_with(".ts")).unwrap().to_owned();
    let path = format!("/kept/live/{segment}");
    let (first, second) = (get(port, &path, ""), get(port, &path, ""));
    assert_eq!(
        (first.0, first.1.as_deref(), second.0, second.1.as_deref()),
        (200, Some("MISS"), 200, Some("HIT"))
    );
    assert!(first.2 == second.2 && first.2.len() > 10_000);
    assert_eq!(get(port, missing, "").1.as_deref(), Some("MISS"));
    // A segment that is not there yet, then is.
    let number: u64 = segment.trim_start_matches("x-").trim_end_matches(".ts").parse().unwrap();
    let next = format!("/kept/live/x-{}.ts", number + 1);
    assert_eq!(get(port, &next, "").0, 404);
    let again: Vec<Tag> = tags.into_iter().map(|tag| Tag { ts: tag.ts + 8100, ..tag }).collect();
    publisher.send(&again);
    assert!(poll(TAG, || get(port, &next, "").0 == 200), "the refusal is kept");
    for (path, status) in [("/kept/live/x.mp3", 415), ("/kept/nowhere", 404)] {
        for _ in 0..2 {
            let (got, kept, _) = get(port, path, "");
            assert_eq!((got, kept.as_deref()), (status, Some("MISS")), "{path}");
        }
    }
    // Live streams in two containers: each viewer has a stream of its own.
    for path in ["/kept/live/x.flv", "/kept/live/x.ts"] {
        for _ in 0..2 {
            let mut http = Http::connect(port);
            http.get(path, "");
            let head = http.head();
            assert_eq!((head.status, head.get("x-kept")), (200, Some("MISS")), "{path}");
        }
    }
}
