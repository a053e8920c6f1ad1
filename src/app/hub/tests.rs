//! Publishers, viewers and those who wait, without a socket.
use super::*;
use crate::conf::Config;
use std::net::Ipv4Addr;

const KEY: &[u8] = b"\x17\x01\0\0\0key";

struct Rig {
    world: World,
    vhost: Rc<Vhost>,
    name: StreamName,
}

fn rig(on_busy: OnBusy) -> Rig {
    let world = World::new(Rc::new(Config::default()));
    let mut vhost = Vhost::default();
    vhost.publish.on_busy = on_busy;
    Rig { world, vhost: Rc::new(vhost), name: StreamName::new("", "live", "x").unwrap() }
}

fn peer(n: usize, ip: u8) -> Source {
    Source::Peer(Id::from_token(n), Ipv4Addr::new(10, 0, 0, ip).into())
}

#[test]
fn a_busy_name_goes_to_the_same_address_only() {
    let Rig { mut world, vhost, name } = rig(OnBusy::TakeoverSameIp);
    world.publish(&name, &vhost, peer(1, 1)).unwrap();
    let refusal = world.publish(&name, &vhost, peer(2, 2)).unwrap_err();
    assert!(refusal.contains("another address"), "{refusal}");
    let id = world.publish(&name, &vhost, peer(3, 1)).unwrap();
    assert!(matches!(world.actions.pop_front(), Some(Action::Evict(old)) if old == Id::from_token(1)));
    world.ingest(id, peer(1, 1), Kind::Video, 0, Bytes::from_static(KEY));
    assert!(world.hub.get(id).unwrap().stream.feed.is_empty(), "the evicted publisher has no say");
}

#[test]
fn reject_and_takeover_do_what_they_say() {
    let Rig { mut world, vhost, name } = rig(OnBusy::Reject);
    world.publish(&name, &vhost, peer(1, 1)).unwrap();
    assert!(world.publish(&name, &vhost, peer(2, 1)).is_err());
    let Rig { mut world, vhost, name } = rig(OnBusy::Takeover);
    world.publish(&name, &vhost, peer(1, 1)).unwrap();
    assert!(world.publish(&name, &vhost, peer(2, 2)).is_ok());
}

#[test]
fn a_publisher_who_is_back_in_time_finds_its_viewers() {
    let Rig { mut world, vhost, name } = rig(OnBusy::TakeoverSameIp);
    let viewer = Id::from_token(9);
    let id = world.publish(&name, &vhost, peer(1, 1)).unwrap();
    world.ingest(id, peer(1, 1), Kind::Video, 5_000, Bytes::from_static(KEY));
    world.hub.get_mut(id).unwrap().fanout.add(viewer);
    world.unpublish(id, peer(1, 1));
    world.now = 14_999;
    world.check_stream(id);
    let again = world.publish(&name, &vhost, peer(2, 7)).unwrap();
    assert_eq!(again, id);
    world.ingest(id, peer(2, 7), Kind::Video, 0, Bytes::from_static(KEY));
    let times: Vec<u64> = world.hub.get(id).unwrap().stream.feed.from(0).map(|frame| frame.dts).collect();
    assert!(times.is_sorted() && times.last() > Some(&0), "{times:?}");
}

#[test]
fn a_viewer_who_comes_after_the_last_one_left_is_served() {
    let Rig { mut world, vhost, name } = rig(OnBusy::TakeoverSameIp);
    let id = world.publish(&name, &vhost, peer(1, 1)).unwrap();
    let served = |world: &mut World, viewer: usize, from: u64| {
        let phase = world.hub.get_mut(id).unwrap().fanout.add(Id::from_token(viewer));
        let mut times = 0;
        for now in (from..from + 2_000).step_by(20) {
            world.now = now;
            world.ingest(id, peer(1, 1), Kind::Video, now as u32, Bytes::from_static(KEY));
            while let Some(timer) = world.timers.pop(now) {
                if timer == Timer::Tick(id) {
                    times += world.tick(id).len();
                }
            }
        }
        world.leave(id, Id::from_token(viewer), phase, None);
        times
    };
    assert!((5..=7).contains(&served(&mut world, 7, 0)));
    // The stream goes on without viewers, and its last tick finds nobody.
    world.now = 2_500;
    world.ingest(id, peer(1, 1), Kind::Video, 2_500, Bytes::from_static(KEY));
    while let Some(timer) = world.timers.pop(world.now) {
        if timer == Timer::Tick(id) {
            assert!(world.tick(id).is_empty());
        }
    }
    assert!((5..=7).contains(&served(&mut world, 8, 3_000)));
}

#[test]
fn a_stream_ends_after_the_wait_and_is_freed_with_its_last_viewer() {
    let Rig { mut world, vhost, name } = rig(OnBusy::TakeoverSameIp);
    let viewer = Id::from_token(9);
    let id = world.publish(&name, &vhost, peer(1, 1)).unwrap();
    let phase = world.hub.get_mut(id).unwrap().fanout.add(viewer);
    world.unpublish(id, peer(1, 1));
    assert_eq!(world.timers.pop(15_000), Some(Timer::Stream(id)));
    world.now = 15_000;
    world.check_stream(id);
    assert!(matches!(world.actions.pop_front(), Some(Action::End(_))));
    world.reap(id);
    assert_eq!(world.hub.len(), 1);
    world.leave(id, viewer, phase, None);
    assert_eq!(world.hub.len(), 0);
}

#[test]
fn who_waits_is_served_also_when_no_further_frame_comes() {
    let Rig { mut world, vhost, name } = rig(OnBusy::TakeoverSameIp);
    let id = world.publish(&name, &vhost, peer(1, 1)).unwrap();
    world.ingest(id, peer(1, 1), Kind::Video, 0, Bytes::from_static(KEY));
    world.wait_for(&name, &vhost, Id::from_token(9)).unwrap();
    assert!(world.actions.is_empty());
    world.now = 500;
    assert_eq!(world.timers.pop(500), Some(Timer::Stream(id)));
    world.check_stream(id);
    assert!(matches!(world.actions.pop_front(), Some(Action::Start(_))));
}

#[test]
fn waiting_for_streams_that_never_come_leaves_nothing() {
    let Rig { mut world, vhost, .. } = rig(OnBusy::TakeoverSameIp);
    for n in 0..1000 {
        let name = StreamName::new("", "live", &format!("s{n}")).unwrap();
        let (id, _) = world.wait_for(&name, &vhost, Id::from_token(n)).unwrap();
        world.stop_waiting(id, Id::from_token(n));
    }
    assert!(world.hub.is_empty() && world.hub.by_name.is_empty());
}
