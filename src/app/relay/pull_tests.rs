use super::pull::{Asked, End, KEEP_MS};
use super::{NEXT_MS, State};
use crate::app::hub::{Publisher, Source, StreamId};
use crate::app::world::{Action, Timer, World};
use crate::conf::{self, Config, Vhost};
use crate::media::frame::Kind;
use crate::net::slots::Id;
use crate::wire::names::StreamName;
use bytes::Bytes;
use std::net::Ipv4Addr;
use std::rc::Rc;

const KEY: &[u8] = b"\x17\x01\0\0\0key";

struct Rig {
    world: World,
    vhost: Rc<Vhost>,
    id: StreamId,
    name: StreamName,
}

fn conn(n: usize) -> Id {
    Id::from_token(n)
}

/// An edge on which one viewer waits.
fn rig(origins: &str) -> Rig {
    let text = format!("vhost v {{ cluster {{ mode remote; origin {origins}; }} }}");
    let vhost = conf::load("t", &text).unwrap().config.vhosts[0].clone();
    let mut world = World::new(Rc::new(Config::default()));
    let name = StreamName::new("v", "live", "x").unwrap();
    let (id, _) = world.wait_for(&name, &vhost, conn(1)).unwrap();
    world.pull(id, Some(conn(1)), Asked::of("?vhost=v&token=t&domain=w", None));
    Rig { world, vhost, id, name }
}

impl Rig {
    /// The origin that is called when the timers up to now have run.
    fn due(&mut self) -> Option<String> {
        let mut due = None;
        while let Some(timer) = self.world.timers.pop(self.world.now) {
            match timer {
                Timer::Pull(id) => due = self.world.pull_due(id).map(|to| to.to_string()).or(due),
                Timer::Stream(id) => self.world.check_stream(id),
                _ => {}
            }
        }
        due
    }

    fn state(&self) -> State {
        self.world.hub.get(self.id).unwrap().pull.as_ref().unwrap().state
    }

    fn fails(&mut self, to: &str, n: Option<usize>, end: End) -> u64 {
        self.world.pull_ended(self.id, n.map(conn), to, "a fault", "failed", end);
        let State::Due(at) = self.state() else { panic!("{:?}", self.state()) };
        at - self.world.now
    }

    fn absent(&mut self) -> Option<bool> {
        let told = |action| if let Action::Absent(_, all) = action { Some(all) } else { None };
        self.world.actions.drain(..).find_map(told)
    }

    /// The origin has sent a first frame on connection `n`; the viewer watches.
    fn plays(&mut self, n: usize) -> Source {
        self.world.pull_called(self.id, conn(n));
        let by = self.world.pull_begins(self.id, conn(n)).unwrap();
        self.world.ingest(self.id, by, Kind::Video, 0, Bytes::from_static(KEY));
        by
    }
}

#[test]
fn origins_are_asked_in_turn_and_pauses_grow() {
    let mut rig = rig("a b");
    let pull = rig.world.hub.get(rig.id).unwrap().pull.as_ref().unwrap();
    assert_eq!(&*pull.asked.params, "token=t", "the vhost has its own place");
    let mut to = rig.due().unwrap();
    assert_eq!(rig.state(), State::Finding);
    let mut pauses = Vec::new();
    for round in 0..12 {
        let pause = rig.fails(&to, None, End::Unreachable);
        pauses.push(pause);
        assert_eq!(rig.absent(), (round % 2 == 1).then_some(false), "when all have failed");
        rig.world.now += pause;
        let next = std::iter::repeat_with(|| {
            rig.world.now += 1;
            rig.due()
        });
        let next = next.take(1_100).flatten().next().unwrap();
        assert_ne!(next, std::mem::replace(&mut to, next.clone()));
    }
    assert_eq!(pauses, [50, 1000, 50, 2000, 50, 4000, 50, 8000, 50, 8000, 50, 8000]);
    assert_eq!(rig.world.hub.get(rig.id).unwrap().absence().0, 502);
}

#[test]
fn a_stream_is_let_go_of_when_nobody_has_watched_for_a_while() {
    let mut rig = rig("a");
    rig.due();
    let by = rig.plays(7);
    let live = rig.world.hub.get_mut(rig.id).unwrap();
    live.waiting.clear();
    let phase = live.fanout.add(conn(1));
    rig.world.now = 60_000;
    rig.due();
    assert_eq!(rig.state(), State::Playing(conn(7)));
    rig.world.leave(rig.id, conn(1), phase, None);
    // Somebody is back in time, and goes.
    for now in (60_000..64_000).step_by(500) {
        rig.world.now = now;
        rig.due();
    }
    let phase = rig.world.hub.get_mut(rig.id).unwrap().fanout.add(conn(2));
    rig.world.now = 65_900;
    rig.due();
    rig.world.leave(rig.id, conn(2), phase, None);
    let mut now = 66_000;
    while rig.world.hub.get(rig.id).is_some() && now < 90_000 {
        rig.world.ingest(rig.id, by, Kind::Video, now as u32, Bytes::from_static(KEY));
        now += 500;
        rig.world.now = now;
        rig.due();
    }
    assert!((66_000 + KEEP_MS..=66_000 + KEEP_MS + 2_000).contains(&now), "{now}");
    let gone = |action: &Action| matches!(action, Action::Dismiss(id, _) if *id == conn(7));
    assert!(rig.world.actions.iter().any(gone) && rig.world.hub.is_empty());
    assert_eq!(rig.world.timers.next(), None, "nothing is left to look after");
}

#[test]
fn a_stream_that_breaks_off_goes_on_from_another_origin() {
    let mut rig = rig("a b");
    let to = rig.due().unwrap();
    let by = rig.plays(7);
    rig.world.now = 10_000;
    rig.world.ingest(rig.id, by, Kind::Video, 10_000, Bytes::from_static(KEY));
    rig.world.unpublish(rig.id, by);
    assert_eq!(rig.fails(&to, Some(7), End::Lost(10_000)), NEXT_MS);
    assert_eq!(rig.absent(), None);
    rig.world.now += NEXT_MS;
    assert_ne!(rig.due().unwrap(), to);
    rig.plays(8);
    let live = rig.world.hub.get(rig.id).unwrap();
    let times: Vec<u64> = live.stream.feed.from(0).map(|frame| frame.dts).collect();
    assert!(times.is_sorted() && times.len() > 1, "{times:?}");
    // What the old connection still says is nobody's.
    rig.world.ingest(rig.id, by, Kind::Video, 10_040, Bytes::from_static(KEY));
    assert_eq!(rig.world.hub.get(rig.id).unwrap().stream.feed.from(0).count(), times.len());
    rig.world.pull_ended(rig.id, Some(conn(7)), &to, "late", "ended", End::Lost(1));
    assert_eq!(rig.state(), State::Playing(conn(8)));
}

#[test]
fn who_publishes_here_comes_before_an_origin() {
    let mut rig = rig("a");
    rig.due();
    rig.plays(7);
    let here = Source::Peer(conn(9), Ipv4Addr::LOCALHOST.into());
    rig.world.publish(&rig.name, &rig.vhost, here).unwrap();
    assert!(rig.world.actions.iter().any(|action| matches!(action, Action::Evict(id) if *id == conn(7))));
    rig.world.now += 1_000;
    assert_eq!(rig.due(), None);
    let live = rig.world.hub.get(rig.id).unwrap();
    assert!(live.pull.is_none() && live.publisher == Publisher::Live(here) && !live.ended);
    rig.world.pull(rig.id, Some(conn(1)), Asked::default());
    assert!(rig.world.hub.get(rig.id).unwrap().pull.is_none());
}

#[test]
fn edges_alone_are_told_and_do_not_keep_a_stream_asked_for() {
    let mut rig = rig("a");
    rig.world.stop_waiting(rig.id, conn(1));
    let (id, _) = rig.world.wait_for(&rig.name, &rig.vhost, conn(2)).unwrap();
    rig.world.pull(id, Some(conn(2)), Asked::of("", Some("0123")));
    let to = rig.due().unwrap();
    rig.fails(&to, None, End::Absent);
    assert_eq!(rig.absent(), Some(true));
    rig.world.stop_waiting(id, conn(2));
    rig.world.now += 10_000;
    assert_eq!(rig.due(), None);
    assert!(rig.world.hub.is_empty());
}

#[test]
fn another_configuration_asks_another_origin_or_none() {
    let mut rig = rig("a");
    rig.due();
    rig.plays(7);
    let set = |rig: &mut Rig, cluster: &str| {
        let vhost = conf::load("t", &format!("vhost v {{ cluster {{ {cluster} }} }}")).unwrap();
        rig.world.hub.get_mut(rig.id).unwrap().set_vhost(vhost.config.vhosts[0].clone());
        rig.world.pull_changed(rig.id);
    };
    set(&mut rig, "mode remote; origin b a;");
    assert_eq!(rig.state(), State::Playing(conn(7)), "it is still named");
    set(&mut rig, "mode remote; origin b;");
    assert!(matches!(rig.world.actions.back(), Some(Action::Dismiss(id, _)) if *id == conn(7)));
    assert_eq!(rig.due().as_deref(), Some("b:1935"));
    set(&mut rig, "mode local;");
    assert!(rig.world.hub.get(rig.id).unwrap().pull.is_none());
    set(&mut rig, "mode remote; origin c;");
    assert_eq!(rig.due(), None, "it is not asked for while somebody publishes");
}

#[test]
fn a_server_that_is_named_instead_is_asked_and_only_so_many_in_a_row() {
    let mut rig = rig("a");
    let mut to = rig.due().unwrap();
    for n in 0..3 {
        rig.world.pull_called(rig.id, conn(7));
        rig.world.pull_redirect(rig.id, conn(7), &format!("other{n}:1935"));
        assert_eq!(rig.fails(&to, Some(7), End::Absent), 0);
        to = rig.due().unwrap();
        assert_eq!(to, format!("other{n}:1935"));
    }
    rig.world.pull_called(rig.id, conn(7));
    rig.world.pull_redirect(rig.id, conn(7), "another:1935");
    assert!(rig.fails(&to, Some(7), End::Absent) > 0);
    rig.world.now += 1_000;
    assert_eq!(rig.due().as_deref(), Some("a:1935"), "then the origin itself again");
}

// ---- what is published at an edge

/// An edge at which connection 1 would publish.
fn applied(origins: &str) -> Rig {
    let mut rig = rig(origins);
    rig.world.stop_waiting(rig.id, conn(1));
    rig.due();
    assert!(rig.world.hub.is_empty());
    let asked = Asked::of("?token=t", Some("0123"));
    assert_eq!(rig.world.apply(&rig.name, &rig.vhost, conn(1), asked), Ok(true));
    rig.id = rig.world.hub.find(&rig.name).unwrap();
    rig
}

impl Rig {
    /// The origin that is to be sent the stream.
    fn called(&mut self) -> Option<String> {
        let mut called = None;
        while let Some(timer) = self.world.timers.pop(self.world.now) {
            if let Timer::Forward(id) = timer {
                called = self.world.forwards_due(id).first().map(|to| to.to_string()).or(called);
            }
        }
        called
    }

    fn verdict(&mut self) -> Option<Option<String>> {
        let told = |action| match action {
            Action::Verdict(id, refusal) if id == conn(1) => Some(refusal.map(|(code, _)| code.to_string())),
            _ => None,
        };
        self.world.actions.drain(..).find_map(told)
    }
}

#[test]
fn who_would_publish_waits_for_an_origin_and_is_told_when_there_is_none() {
    let mut rig = applied("a b");
    let second = rig.world.apply(&rig.name, &rig.vhost, conn(2), Asked::default());
    assert!(second.unwrap_err().contains("about to publish"));
    assert_eq!(rig.called().as_deref(), Some("a:1935"));
    rig.world.forward_ended(rig.id, "a:1935", "refused", "failed", 3_000);
    assert_eq!(rig.verdict(), None);
    rig.world.now += NEXT_MS;
    assert_eq!(rig.called().as_deref(), Some("b:1935"));
    rig.world.forward_ended(rig.id, "b:1935", "refused", "failed", 3_000);
    assert_eq!(rig.verdict(), Some(Some("NetStream.Publish.Failed".into())));
    rig.world.withdraw(conn(1));
    assert!(rig.world.hub.is_empty(), "nothing is left of it");
}

#[test]
fn a_refusal_in_words_goes_to_who_would_publish_or_publishes() {
    let mut rig = applied("a");
    rig.called();
    rig.world.forward_called(rig.id, "a:1935", conn(7));
    rig.world.push_refused(rig.id, "a:1935", "NetConnection.Connect.Rejected", "no");
    assert_eq!(rig.verdict(), Some(Some("NetStream.Publish.Denied".into())));
    rig.world.withdraw(conn(1));
    assert!(matches!(rig.world.actions.pop_front(), Some(Action::Dismiss(id, _)) if id == conn(7)));
    let mut rig = applied("a");
    rig.called();
    rig.world.forward_called(rig.id, "a:1935", conn(7));
    rig.world.hub.get_mut(rig.id).unwrap().pushes[0].granted = true;
    let here = Source::Peer(conn(1), Ipv4Addr::LOCALHOST.into());
    rig.world.publish(&rig.name, &rig.vhost, here).unwrap();
    rig.world.push_refused(rig.id, "a:1935", "NetStream.Publish.BadName", "no");
    let told =
        |action: &Action| matches!(action, Action::Dismiss(id, why) if *id == conn(1) && why.contains("no"));
    assert!(rig.world.actions.iter().any(told));
}

#[test]
fn a_publisher_who_is_back_at_an_edge_asks_anew() {
    let mut rig = applied("a");
    rig.called();
    rig.world.forward_called(rig.id, "a:1935", conn(7));
    let here = Source::Peer(conn(1), Ipv4Addr::LOCALHOST.into());
    rig.world.publish(&rig.name, &rig.vhost, here).unwrap();
    rig.world.unpublish(rig.id, here);
    assert!(
        rig.world.actions.iter().any(|action| matches!(action, Action::Send(_))),
        "the rest is sent at once"
    );
    rig.world.withdraw(conn(1));
    rig.world.forward_ended(rig.id, "a:1935", "its publisher has left", "ended", 3_000);
    assert_eq!(rig.called(), None);
    assert_eq!(rig.world.apply(&rig.name, &rig.vhost, conn(1), Asked::default()), Ok(true));
    assert_eq!(rig.called().as_deref(), Some("a:1935"));
}

// ---- clients that an origin is asked about

#[test]
fn what_an_origin_says_of_a_client_holds_for_its_parameters() {
    use super::check::may;
    use crate::app::hooks::{Verdict, Who};
    let text = "vhost v { cluster { mode remote; origin a b; token_traverse on; } }";
    let vhost = conf::load("t", text).unwrap().config.vhosts[0].clone();
    let mut world = World::new(Rc::new(Config::default()));
    let name = StreamName::new("v", "live", "x").unwrap();
    let ask = |world: &mut World, param: &str| {
        let (tc_url, page, ip) = ("", None, Ipv4Addr::LOCALHOST.into());
        may(world, &Who { id: conn(1), serial: 1, ip, name: &name, param, tc_url, page }, &vhost)
    };
    let hook = |world: &mut World| {
        world.actions.drain(..).find_map(|action| match action {
            Action::Hook(id, ticket) if id == conn(1) => Some(ticket),
            _ => None,
        })
    };
    let Verdict::Wait(ticket) = ask(&mut world, "?token=t") else { panic!() };
    assert!(matches!(world.actions.pop_front(), Some(Action::Check(id)) if id == conn(1)));
    let first = world.check_due(conn(1)).unwrap();
    assert_eq!(ask(&mut world, "?token=t"), Verdict::Wait(ticket), "one question for a client");
    world.check_failed(conn(1), "no way");
    assert!(matches!(world.actions.pop_front(), Some(Action::Check(_))));
    assert_ne!(world.check_due(conn(1)).unwrap(), first);
    world.check_done(conn(1), Ok(()));
    assert_eq!(hook(&mut world), Some(ticket));
    assert_eq!(ask(&mut world, "?token=t"), Verdict::Pass);
    assert!(matches!(ask(&mut world, "?token=u"), Verdict::Wait(other) if other != ticket));
    world.check_failed(conn(1), "no way");
    world.check_failed(conn(1), "no way");
    assert!(hook(&mut world).is_some());
    let Verdict::Refused(refusal) = ask(&mut world, "?token=u") else { panic!() };
    assert!(refusal.to_string().contains("cannot be asked") && refusal.to_string().contains("no way"));
    let open =
        conf::load("t", "vhost v { cluster { mode remote; origin a; } }").unwrap().config.vhosts[0].clone();
    let who = Who {
        id: conn(2),
        serial: 1,
        ip: Ipv4Addr::LOCALHOST.into(),
        name: &name,
        param: "",
        tc_url: "",
        page: None,
    };
    assert_eq!(may(&mut world, &who, &open), Verdict::Pass);
}

#[test]
fn the_addresses_of_a_name_are_tried_at_once_before_it_is_called_a_fault() {
    let mut rig = rig("a");
    let mut seen = Vec::new();
    for round in 0..6 {
        let to = rig.due().unwrap();
        seen.push(rig.world.pull_address(rig.id, 3));
        rig.world.pull_called(rig.id, conn(7));
        let pause = rig.fails(&to, Some(7), End::Unreachable);
        let last = round % 3 == 2;
        assert_eq!((pause > 0, rig.absent().is_some()), (last, last), "{round}");
        rig.world.now += pause.max(1_000);
    }
    assert_eq!(seen, [0, 1, 2, 0, 1, 2]);
}
