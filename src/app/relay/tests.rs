use super::*;
use crate::app::hub::Source;
use crate::conf::{Config, Vhost};
use crate::media::frame::Kind;
use crate::wire::names::StreamName;
use bytes::Bytes;
use std::net::Ipv4Addr;

const A: &str = "10.0.0.1:1935";
const B: &str = "b.example:1936";

fn vhost(destinations: &[&str]) -> Rc<Vhost> {
    let mut vhost = Vhost::default();
    vhost.forward.enabled = true;
    vhost.forward.destinations = destinations.iter().map(|to| to.to_string()).collect();
    Rc::new(vhost)
}

/// The publisher.
fn peer() -> Source {
    Source::Peer(Id::from_token(1), Ipv4Addr::LOCALHOST.into())
}

/// A world in which `live/x` is published.
fn published(destinations: &[&str]) -> (World, StreamId) {
    let mut world = World::new(Rc::new(Config::default()));
    let name = StreamName::new("", "live", "x").unwrap();
    let id = world.publish(&name, &vhost(destinations), peer()).unwrap();
    (world, id)
}

fn due(world: &mut World, id: StreamId) -> Vec<String> {
    let mut due = Vec::new();
    while let Some(timer) = world.timers.pop(world.now) {
        if timer == Timer::Forward(id) {
            due.extend(world.forwards_due(id).iter().map(|to| to.to_string()));
        }
    }
    due
}

fn states(world: &World, id: StreamId) -> Vec<State> {
    world.hub.get(id).unwrap().pushes.iter().map(|push| push.state).collect()
}

fn dismissed(world: &mut World) -> Vec<Id> {
    let dismissed = |action| if let Action::Dismiss(id, _) = action { Some(id) } else { None };
    world.actions.drain(..).filter_map(dismissed).collect()
}

#[test]
fn each_destination_is_called_at_once_and_again_three_seconds_after_a_fault() {
    let (mut world, id) = published(&[A, B]);
    assert_eq!(due(&mut world, id), [A, B]);
    assert_eq!(world.forwards_finding(B).len(), 1);
    world.forward_called(id, A, Id::from_token(7));
    world.forward_ended(id, B, "refused", "failed", RETRY_MS);
    assert_eq!(states(&world, id), [State::Calling(Id::from_token(7)), State::Due(3_000)]);
    world.now = 2_999;
    assert!(due(&mut world, id).is_empty());
    world.now = 3_000;
    assert_eq!(due(&mut world, id), [B]);
    assert!(due(&mut world, id).is_empty(), "it is on its way");
    // A lasting fault: attempts are counted, nothing grows, and the log is told once in ten minutes.
    let mut told = 0;
    for n in 1..=400 {
        world.now = 3_000 * n;
        due(&mut world, id);
        let before = world.hub.get(id).unwrap().pushes[1].told.left_out;
        world.forward_ended(id, B, "refused", "failed", RETRY_MS);
        told += u32::from(world.hub.get(id).unwrap().pushes[1].told.left_out <= before);
    }
    assert_eq!((told, world.hub.get(id).unwrap().pushes.len()), (2, 2));
    assert!(world.hub.get(id).unwrap().pushes[1].tries > 300);
}

#[test]
fn a_fault_that_changes_all_the_time_fills_no_log_either() {
    let mut told = Told::default();
    let lines = (0..1_000).filter(|n| told.may(*n, if n % 2 == 0 { "runs" } else { "ended" }).is_some());
    assert_eq!(lines.count(), LINES as usize);
    assert_eq!(told.may(TELL_MS, "runs"), Some(1_000 - LINES), "those left out are told of");
}

#[test]
fn nobody_is_called_while_nobody_publishes() {
    let (mut world, id) = published(&[A]);
    world.unpublish(id, peer());
    assert!(due(&mut world, id).is_empty());
    assert_eq!(states(&world, id), [State::Idle]);
    world.now = 5_000;
    let name = world.hub.get(id).unwrap().name.clone();
    world.publish(&name, &vhost(&[A]), peer()).unwrap();
    assert_eq!(due(&mut world, id), [A]);
    // Its connection ends while the publisher is away: it is called when that one is back.
    world.forward_called(id, A, Id::from_token(7));
    world.unpublish(id, peer());
    world.forward_ended(id, A, "it closed", "ended", RETRY_MS);
    assert_eq!(states(&world, id), [State::Idle]);
    world.publish(&name, &vhost(&[A]), peer()).unwrap();
    assert_eq!(due(&mut world, id), [A]);
}

#[test]
fn with_the_stream_its_destinations_go_and_a_late_answer_finds_nobody() {
    let (mut world, id) = published(&[A, B]);
    due(&mut world, id);
    world.forward_called(id, A, Id::from_token(7));
    world.end_stream(id);
    assert_eq!(dismissed(&mut world), [Id::from_token(7)]);
    assert_eq!(states(&world, id), [State::Calling(Id::from_token(7))]);
    assert!(world.forwards_finding(B).is_empty());
    world.forward_ended(id, A, "the stream is over", "ended", RETRY_MS);
    assert!(states(&world, id).is_empty() && due(&mut world, id).is_empty());
    world.reap(id);
    assert!(world.hub.is_empty());
    world.forward_ended(id, A, "late", "ended", RETRY_MS);
}

#[test]
fn a_reload_adds_and_removes_destinations_and_leaves_the_others() {
    let (mut world, id) = published(&[A]);
    due(&mut world, id);
    world.forward_called(id, A, Id::from_token(7));
    let reload = |world: &mut World, list: &[&str]| {
        world.hub.get_mut(id).unwrap().set_vhost(vhost(list));
        world.forward(id);
    };
    reload(&mut world, &[A, B]);
    assert_eq!((due(&mut world, id), dismissed(&mut world)), (vec![B.to_owned()], Vec::new()));
    assert_eq!(states(&world, id), [State::Calling(Id::from_token(7)), State::Finding]);
    reload(&mut world, &[B]);
    assert_eq!(dismissed(&mut world), [Id::from_token(7)]);
    world.forward_ended(id, A, "it is no destination any more", "ended", RETRY_MS);
    assert_eq!(states(&world, id), [State::Finding]);
    reload(&mut world, &[]);
    assert!(states(&world, id).is_empty() && world.forwards_finding(B).is_empty());
}

#[test]
fn a_stream_that_has_been_here_is_not_let_in_again() {
    let (here, there) = (Desk::default(), Desk::default());
    assert!(here.admits(None).is_ok());
    let from_here = here.via(None);
    assert!(there.admits(Some(&from_here)).is_ok());
    let from_there = there.via(Some(&from_here));
    assert!(here.admits(Some(&from_there)).unwrap_err().contains("loop"));
    assert!(there.admits(Some(&here.via(Some("x")))).is_ok());
    let long = (0..20).fold(String::from("y"), |via, _| Desk::default().via(Some(&via)));
    assert!(here.admits(Some(&long)).unwrap_err().contains("too many"));
    let mut desk = here;
    assert!(desk.tells_loop(5) && !desk.tells_loop(6) && desk.tells_loop(5 + TELL_MS));
}

#[test]
fn destinations_are_no_viewers_in_what_is_counted() {
    let (mut world, id) = published(&[A]);
    world.ingest(id, peer(), Kind::Video, 0, Bytes::from_static(b"\x17\x01\0\0\0key"));
    let live = world.hub.get_mut(id).unwrap();
    live.pushes[0].state = State::Playing(Id::from_token(7));
    live.fanout.add(Id::from_token(7));
    assert_eq!((live.viewers(), live.watchers(), live.forwards()), (0, 0, 1));
    live.fanout.add(Id::from_token(8));
    assert_eq!((live.viewers(), live.watchers(), live.forwards()), (1, 1, 1));
}

#[test]
fn the_addresses_of_a_name_are_tried_one_after_the_other_before_it_is_called_a_fault() {
    let (mut world, id) = published(&[B]);
    let mut seen = Vec::new();
    for round in 0..4 {
        assert_eq!(due(&mut world, id), [B], "{round}");
        seen.push(world.forward_address(id, B, 2));
        world.forward_called(id, B, Id::from_token(7));
        world.forward_ended(id, B, "refused", "failed", RETRY_MS);
        let [State::Due(at)] = states(&world, id)[..] else { panic!() };
        assert_eq!(at - world.now, if round % 2 == 0 { NEXT_MS } else { RETRY_MS });
        world.now = at;
    }
    assert_eq!((seen, world.hub.get(id).unwrap().pushes[0].tries), (vec![0, 1, 0, 1], 2));
}
