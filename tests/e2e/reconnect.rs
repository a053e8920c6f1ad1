//! Clients that can be asked to connect anew (Enhanced RTMP v2) are, before the server goes.
use crate::service::{SOON, Service};
use crate::support::rtmp::Rtmp;
use crate::support::{clips, flv, poll};
use std::time::Duration;

const REQUEST: &str = "NetConnection.Connect.ReconnectRequest";

/// A connection to `live` that says what it can do beyond RTMP.
fn live(port: u16, caps: f64) -> Rtmp {
    let mut rtmp = Rtmp::connect(port);
    rtmp.message(2, 1, 0, 0, &(8u32 << 20).to_be_bytes());
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let url = format!("rtmp://127.0.0.1:{port}/live");
    let mut body = [&[2][..], &text("connect"), &[0], &1f64.to_be_bytes(), &[3]].concat();
    for (key, value) in [("app", "live"), ("tcUrl", &url)] {
        body.extend([text(key), vec![2], text(value)].concat());
    }
    body.extend([&text("capsEx")[..], &[0], &caps.to_be_bytes(), &[0, 0, 9]].concat());
    rtmp.message(3, 20, 0, 0, &body);
    rtmp.expect("NetConnection.Connect.Success");
    rtmp.create_stream(2.0);
    rtmp
}

fn publish(port: u16, name: &str) -> Rtmp {
    let mut rtmp = live(port, 3.0);
    rtmp.ask_publish(name);
    rtmp.expect("NetStream.Publish.Start");
    rtmp
}

fn play(port: u16, name: &str, caps: f64) -> Rtmp {
    let mut rtmp = live(port, caps);
    rtmp.ask_play(name);
    rtmp.expect("NetStream.Play.Start");
    rtmp
}

#[test]
fn a_graceful_end_asks_those_who_can_to_connect_elsewhere_and_serves_them_meanwhile() {
    let service = Service::new("daemon on; grace_start_wait 200ms; grace_final_wait 50ms;");
    assert_eq!(service.start().0, 0);
    let tags = flv::read(&clips::av());
    let mut publisher = publish(service.rtmp, "x");
    publisher.send(&tags[..60]);
    let mut viewer = play(service.rtmp, "x", 1.0);
    // This one can do other things.
    let mut other = play(service.rtmp, "x", 14.0);
    service.signal("QUIT");
    publisher.expect(REQUEST);
    viewer.expect(REQUEST);
    assert!(!service.up(), "the address leads nowhere by then");
    publisher.send(&tags[60..120]);
    // What is said comes between messages; the stream goes on behind it, up to its end.
    assert!(!viewer.closes(Duration::from_millis(300)) && !viewer.heard().is_empty());
    assert!(!other.closes(Duration::from_millis(50)) && !other.heard().contains(REQUEST));
    drop((publisher, viewer, other));
    assert!(service.ends(), "{}", service.log());
}

#[test]
fn an_upgrade_asks_those_who_can_to_come_to_the_new_process_and_cuts_off_the_others() {
    let service = Service::new("daemon on; grace_final_wait 50ms;");
    assert_eq!(service.start().0, 0);
    let old = service.pid().unwrap();
    let tags = flv::read(&clips::av());
    let mut publisher = publish(service.rtmp, "x");
    publisher.send(&tags[..60]);
    let mut viewer = play(service.rtmp, "x", 1.0);
    let mut plain = Rtmp::publish(service.rtmp, "y");
    service.signal("USR2");
    publisher.expect(REQUEST);
    assert!(plain.closes(SOON) && !plain.heard().contains(REQUEST), "{}", plain.heard());
    viewer.expect(REQUEST);
    assert!(viewer.closes(SOON), "the stream is over here");
    // It goes on until it is ready, and finds its name free in the new process.
    publisher.send(&tags[60..120]);
    assert!(!publisher.closes(Duration::from_millis(300)), "{}", publisher.heard());
    assert!(poll(SOON, || service.pid().is_some_and(|pid| pid != old)));
    let _moved = publish(service.rtmp, "x");
    drop(publisher);
    let gone = || service.log().lines().any(|line| line.ends_with("stopped"));
    assert!(poll(SOON, gone), "{}", service.log());
}
