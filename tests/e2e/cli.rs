//! The program itself: its options, and what it says of a configuration that it cannot use.
use crate::support::flv;
use crate::support::http::Viewer;
use crate::support::server::{Server, run_dir};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

fn runnel(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runnel")).args(arguments).output().unwrap()
}

fn conf(text: &str) -> PathBuf {
    let path = run_dir().join("test.conf");
    std::fs::write(&path, text).unwrap();
    path
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn t_checks_a_configuration() {
    let good = conf("listen 127.0.0.1:1935;\nvhost __defaultVhost__ { min_latency on; }\n");
    let out = runnel(&["-t", "-c", good.to_str().unwrap()]);
    assert!(out.status.success(), "{}", said(&out));

    let bad = conf("listen 127.0.0.1:1935;\nvhost __defaultVhost__ {\n    plya { gop_cache on; }\n}\n");
    let out = runnel(&["-t", "-c", bad.to_str().unwrap()]);
    assert!(!out.status.success(), "{}", said(&out));
    let place = format!("{}:3:5", bad.display());
    assert!(said(&out).contains(&place), "{:?} does not name {place}", said(&out));
}

#[test]
fn a_missing_configuration_is_named() {
    let out = runnel(&["-c", "/nowhere/runnel.conf"]);
    assert!(!out.status.success());
    assert!(said(&out).contains("/nowhere/runnel.conf"), "{:?}", said(&out));
    assert!(!said(&out).contains("panicked"), "{:?}", said(&out));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let path = conf(&format!("listen 127.0.0.1:{port};\nvhost __defaultVhost__ {{ }}\n"));
    let out = runnel(&["-c", path.to_str().unwrap()]);
    // Also without a file; it is this process that has the port.
    let mut plain = Command::new(env!("CARGO_BIN_EXE_runnel"));
    let plain = plain.env("RUNNEL_LISTEN", format!("127.0.0.1:{port}")).output().unwrap();
    for out in [out, plain] {
        let (said, by) = (said(&out), format!("(pid {}): stop it, or change `listen`", std::process::id()));
        assert!(!out.status.success() && said.contains(&format!("127.0.0.1:{port} is in use by ")), "{said}");
        assert!(said.contains(&by), "{said}");
    }
}

/// The end does not wait for peers, and nothing listens afterwards.
#[test]
fn sigterm_ends_at_once_with_peers_connected() {
    let server = Server::usual();
    let (rtmp, http) = (server.rtmp, server.http);
    let _peers: Vec<TcpStream> = [rtmp, http]
        .iter()
        .flat_map(|port| (0..10).map(|_| TcpStream::connect(("127.0.0.1", *port)).unwrap()))
        .collect();
    drop(server);
    for port in [rtmp, http] {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "port {port} is still open");
    }
}

/// `--demo` gives a picture with nothing else at hand, and goes on past the end of its clip.
#[test]
fn the_demo_plays_and_loops() {
    let server = Server::with(
        "listen 127.0.0.1:$RTMP; http_server { enabled on; listen 127.0.0.1:$HTTP; }\n\
         vhost __defaultVhost__ { http_remux { enabled on; } }",
        &["--demo"],
    );
    let mut viewer = Viewer::join(server.http, "/live/demo.flv");
    let clip = flv::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/app/demo.flv"));
    let length = clip[clip.len() - 1].ts;
    let tags = viewer.until(Duration::from_secs(10), |tag| tag.is_picture() && tag.ts > length + 1000);
    flv::assert_monotonic(&tags);
    for kind in [8, 9] {
        let times: Vec<u32> =
            tags.iter().filter(|tag| tag.kind == kind && tag.is_frame()).map(|tag| tag.ts).collect();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(gap <= 100, "type {kind} has a gap of {gap} ms");
    }
}
