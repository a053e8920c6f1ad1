use super::*;
use crate::conf;
use crate::proto::http::request::Requests;

fn request(text: &str) -> Request {
    Requests::default().feed(&mut format!("{text}\r\n\r\n").as_bytes()).unwrap().unwrap()
}

fn found(config: &Config, host: &str, path: &str) -> Option<Result<(String, String), PathError>> {
    let asked = request(&format!("GET {path} HTTP/1.1\r\nHost: {host}"));
    place(config, &asked).map(|place| place.map(|place| (place.root, place.path.path)))
}

#[test]
fn a_host_and_a_path_lead_to_a_directory() {
    let text = "http_server { enabled on; dir ./all; }\n\
        vhost __defaultVhost__ { }\n\
        vhost cam.lan { http_static { enabled on; mount [vhost]/vod/; dir ./cam; } }\n\
        vhost off.lan { enabled off; http_static { enabled on; dir ./off; } }";
    let config = conf::load("t", text).unwrap().config;
    let file = |root: &str, path: &str| Some(Ok((root.to_owned(), path.to_owned())));
    assert_eq!(found(&config, "x:8080", "/a/b.mp4"), file("./all", "a/b.mp4"));
    assert_eq!(found(&config, "cam.lan", "/vod/a.mp4"), file("./cam", "a.mp4"));
    assert_eq!(found(&config, "CAM.LAN:80", "/vod"), file("./cam", ""));
    assert_eq!(found(&config, "cam.lan", "/vodka"), file("./all", "vodka"));
    assert_eq!(found(&config, "cam.lan", "/vod/../x"), Some(Err(PathError::Climbs)));
    assert_eq!(found(&config, "off.lan", "/a"), None);
    assert_eq!(found(&Config::default(), "x", "/a"), None, "nothing is served by accident");
    assert_eq!(found(&Config::default(), "x", "/.."), None);
}

#[test]
fn a_start_is_for_flv_files() {
    let of = |target: &str| {
        let request = request(&format!("GET {target} HTTP/1.1"));
        seek(&request, &path::parse(&request.path).unwrap())
    };
    assert_eq!(of("/a.flv?start=5000"), Some(Seek::Byte(5000)));
    for (text, milliseconds) in [(".5", 500), ("2.", 2000), ("61.0239", 61_023)] {
        assert_eq!(of(&format!("/a.flv?start_time={text}")), Some(Seek::Time(milliseconds)), "{text}");
    }
    assert_eq!(of("/a.FLV?x=1&start_time=1.5"), Some(Seek::Time(1500)));
    for target in [
        "/a.flv",
        "/a.flv?start=0",
        "/a.flv?start=-1",
        "/a.flv?start=x",
        "/a.flv?start_time=nan",
        "/a.flv?start_time=1e3",
        "/a.flv?start_time=.",
        "/a.flv?start_time=1.2.3",
        "/a.flv?start_time=18446744073709551615",
        "/a.flv?start_time=inf",
        "/a.flv?start_time=-5",
        "/a.flv?restart=5",
        "/a.mp4?start=5000",
        "/a.flv/?start=5",
    ] {
        assert_eq!(of(target), None, "{target}");
    }
    assert_eq!(of("/a.flv?start=18446744073709551615"), Some(Seek::Byte(u64::MAX)));
}

#[test]
fn memory_is_shared_and_bounded_however_many_transfers_there_are() {
    let mut store = Store::default();
    let mut held = Vec::new();
    for n in 0..MAX_TRANSFERS {
        let memory = store.memory(Vec::new(), u64::MAX);
        assert!((LEAST..=MOST).contains(&memory.len()));
        assert!(n > 0 || memory.len() == MOST, "one alone gets the most");
        held.push(memory);
    }
    let total: usize = held.iter().map(Vec::len).sum();
    assert_eq!(store.held, total);
    assert!(total <= SHARED + MAX_TRANSFERS * LEAST, "{total}");
    // Small files take what they need.
    assert_eq!(store.memory(Vec::new(), 100).len(), 100);
    store.release(100);
    // The first gives back what is more than its share now; when the others are gone it gets more again.
    let memory = store.memory(held.swap_remove(0), u64::MAX);
    assert_eq!(memory.len(), LEAST);
    for other in held {
        store.release(other.len());
    }
    let memory = store.memory(memory, u64::MAX);
    assert_eq!((memory.len(), store.held), (MOST, MOST));
    store.release(memory.len());
    assert_eq!(store.held, 0);
}

#[test]
fn files_leave_descriptors_for_connections() {
    let mut store = Store { limit: 1024, ..Store::default() };
    store.count(700);
    while store.has_room() {
        store.transfers += 1;
    }
    assert_eq!(store.transfers, 1024 - 1024 / SPARE - 700);
    store.count(10);
    assert!(store.has_room());
    store.transfers = MAX_TRANSFERS;
    store.limit = 1 << 20;
    assert!(!store.has_room());
}
