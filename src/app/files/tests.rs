use super::begin::Begin;
use super::*;
use crate::app::memory::{Guard, Level, Used};
use crate::conf;
use crate::proto::http::request::Requests;
use crate::wire::flv_index::Seek;
use crate::wire::mp4::index::Span;

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

fn begins(target: &str) -> Option<Begin> {
    let request = request(&format!("GET {target} HTTP/1.1"));
    begin::asked(&request, &path::parse(&request.path).unwrap())
}

#[test]
fn a_start_is_bytes_or_seconds() {
    assert_eq!(begins("/a.flv?start=5000"), Some(Begin::Flv(Seek::Byte(5000))));
    assert_eq!(begins("/a.FLV?x=1&start_time=1.5"), Some(Begin::Flv(Seek::Time(1500))));
    for (text, milliseconds) in [(".5", 500), ("2.", 2000), ("61.0239", 61_023)] {
        let target = format!("/a.flv?start_time={text}");
        assert_eq!(begins(&target), Some(Begin::Flv(Seek::Time(milliseconds))), "{text}");
    }
    assert_eq!(begins("/a.flv?start=18446744073709551615"), Some(Begin::Flv(Seek::Byte(u64::MAX))));
    let mp4 = |start_ms, end_ms| Some(Begin::Mp4(Span { start_ms, end_ms }));
    assert_eq!(begins("/a.mp4?start=5.25"), mp4(5250, None));
    assert_eq!(begins("/a.M4A?end=7&start=5"), mp4(5000, Some(7000)));
    assert_eq!(begins("/a.mov?start=x&end=7"), mp4(0, Some(7000)));
    assert_eq!(begins("/a.mp4?start=7&end=7"), mp4(7000, None));
    assert_eq!((begins("/a.mp4?start=1e300"), begins("/a.mp4?start=99999999999999999999")), (None, None));
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
        "/a.flv/?start=5",
        "/a.mp4",
        "/a.mp4?start=0",
        "/a.mp4?start=-0.5",
        "/a.mp4?start=nan&end=inf",
        "/a.mp4?start_time=5",
        "/a.mp4/?start=5",
        "/a.ts?start=5",
    ] {
        assert_eq!(begins(target), None, "{target}");
    }
}

#[test]
fn a_range_in_the_query_is_for_mp4_files() {
    let of = |target: &str| {
        let request = request(&format!("GET {target} HTTP/1.1"));
        begin::range(&request, &path::parse(&request.path).unwrap())
    };
    for target in ["/a.mp4?range=5-9", "/a.mp4?x=1&bytes=5-9", "/a.mp4?range=bytes=5-9"] {
        assert_eq!(of(target).as_deref(), Some("bytes=5-9"), "{target}");
    }
    assert_eq!((of("/a.flv?range=5-9"), of("/a.mp4?xrange=5-9")), (None, None));
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
fn with_a_budget_files_take_a_part_of_it_and_less_when_memory_is_short() {
    const MB: usize = 1 << 20;
    let (mut store, mut guard) = (Store::default(), Guard::default());
    let indices = store.indices.clone();
    for (budget, shared, most, index) in [
        (0, SHARED, MAX_TRANSFERS, begin::INDICES),
        (1 << 30, SHARED, MAX_TRANSFERS, begin::INDICES),
        (64 * MB, 4 * MB, 512, 8 * MB),
        (12 * MB, 3 * MB / 4, 96, 3 * MB / 2),
        (MB, MB / 16, 8, MB / 8),
    ] {
        guard.set_budget(budget as u64);
        store.keep_to(guard.bounds());
        assert_eq!((store.shared, store.most, indices.limit()), (shared, most, index));
        assert!(budget == 0 || shared + most * LEAST + index <= budget / 4, "{budget}");
    }
    guard.set_budget(12 * MB as u64);
    store.keep_to(guard.bounds());
    let big = store.memory(Vec::new(), u64::MAX);
    let share = indices.share(MB).unwrap();
    assert_eq!((big.len() > LEAST, store.heap()), (true, big.len() + MB));
    // What is a little too much costs the pieces their size, and far too much the indices too.
    guard.weigh(0, Used { feeds: 13 * MB, ..Used::default() });
    store.keep_to(guard.bounds());
    assert_eq!((store.memory(big, u64::MAX).len(), indices.limit()), (LEAST, 3 * MB / 2));
    while guard.level() < Level::NoViewers {
        guard.weigh(0, Used { feeds: 13 * MB, ..Used::default() });
        guard.cut(0, MB, 0);
    }
    store.keep_to(guard.bounds());
    assert!(indices.share(1).is_none(), "nothing for anybody new");
    drop(share);
    assert_eq!(store.heap(), LEAST);
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
