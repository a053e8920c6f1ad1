use super::post::Fault;
use super::*;
use crate::app::hls::Segment;
use crate::conf::{self, Config};

struct Rig {
    world: World,
    vhost: Rc<Vhost>,
    name: StreamName,
}

fn rig(hooks: &str) -> Rig {
    let config: Config = conf::load("t", &format!("vhost v {{ http_hooks {{ {hooks} }} }}")).unwrap().config;
    let vhost = config.vhosts[0].clone();
    let name = StreamName::new("v", "live", "x").unwrap();
    Rig { world: World::new(Rc::new(config)), vhost, name }
}

impl Rig {
    fn may(&mut self, n: usize, deed: Deed, param: &str) -> Verdict {
        let (ip, name) = (IpAddr::from([10, 0, 0, 1]), self.name.clone());
        let id = Id::from_token(n);
        let who = Who { id, serial: n as u64, ip, name: &name, param, tc_url: "", page: Some("") };
        may(&mut self.world, deed, &who, &self.vhost)
    }

    /// What waits to be asked or told, taken away.
    fn waiting(&mut self) -> Vec<(&'static str, u64)> {
        let waiting = self.world.hooks.desk.waiting();
        self.world.hooks.desk = Desk::default();
        waiting
    }

    fn answer(&mut self, n: usize, ticket: u32, fault: Option<Fault>) {
        let fault = fault.map(|fault| post::Refused {
            meant: matches!(fault, Fault::Status(_)),
            text: format!("http://a/: {fault}"),
        });
        let asker = Some((Id::from_token(n), ticket));
        settle(&mut self.world, Outcome { event: "on_play", about: "x".into(), asker, fault });
    }

    fn told(&mut self) -> Option<u32> {
        match self.world.actions.pop_front() {
            Some(Action::Hook(_, ticket)) => Some(ticket),
            _ => None,
        }
    }
}

const PLAY: &str = "enabled on; on_play http://a/; on_stop http://b/;";

#[test]
fn without_hooks_nobody_is_asked_and_nothing_is_kept() {
    for hooks in ["", "on_play http://a/; on_publish http://a/;"] {
        let mut rig = rig(hooks);
        for deed in [Deed::Connect, Deed::Publish, Deed::Play] {
            assert_eq!(rig.may(1, deed, ""), Verdict::Pass);
        }
        let hooks = &rig.world.hooks;
        assert!(hooks.clients.is_empty() && hooks.publishers.is_empty());
        left(&mut rig.world, Id::from_token(1));
        assert_eq!(rig.waiting(), []);
    }
}

#[test]
fn who_is_asked_about_waits_and_the_answer_holds_until_it_leaves() {
    let mut rig = rig(PLAY);
    assert_eq!(rig.may(7, Deed::Play, "?a"), Verdict::Wait(1));
    assert_eq!(rig.may(7, Deed::Play, "?a"), Verdict::Wait(1));
    assert_eq!(rig.waiting(), [("on_play", 7)]);
    rig.answer(7, 9, None);
    assert_eq!(
        (rig.told(), rig.may(7, Deed::Play, "?a")),
        (None, Verdict::Wait(1)),
        "that was another question"
    );
    rig.answer(7, 1, None);
    assert_eq!((rig.told(), rig.may(7, Deed::Play, "?a")), (Some(1), Verdict::Pass));
    left(&mut rig.world, Id::from_token(7));
    left(&mut rig.world, Id::from_token(7));
    assert_eq!(rig.waiting(), [("on_stop", 7)], "once");
    assert_eq!(rig.may(7, Deed::Play, "?a"), Verdict::Wait(2), "it is asked about anew");
}

#[test]
fn another_parameter_is_another_question() {
    let mut rig = rig(PLAY);
    rig.may(7, Deed::Play, "?token=good");
    rig.answer(7, 1, None);
    assert_eq!(rig.may(7, Deed::Play, "?token=bad"), Verdict::Wait(2));
    assert_eq!(rig.waiting(), [("on_play", 7), ("on_stop", 7), ("on_play", 7)]);
}

#[test]
fn one_clients_questions_wait_for_each_other_and_for_nobody_else() {
    let mut rig = rig(PLAY);
    rig.may(7, Deed::Play, "?a");
    rig.answer(7, 1, None);
    // It changes its mind twice.
    rig.may(7, Deed::Play, "?b");
    rig.answer(7, 2, None);
    rig.may(7, Deed::Play, "?c");
    rig.may(8, Deed::Play, "");
    let desk = &mut rig.world.hooks.desk;
    let events: Vec<_> =
        desk.waiting().into_iter().map(|(event, client)| format!("{event} {client}")).collect();
    assert_eq!(events, ["on_play 7", "on_stop 7", "on_play 7", "on_stop 7", "on_play 7", "on_play 8"]);
    assert_eq!(desk.held(), [false, true, true, true, true, false]);
    desk.agree_first();
    assert_eq!(desk.held(), [false, true, true, true, false]);
    desk.agree_first();
    assert_eq!(desk.held(), [false, true, true, false]);
}

#[test]
fn who_is_refused_is_told_why_and_never_told_of_again() {
    let mut rig = rig(PLAY);
    rig.may(7, Deed::Play, "");
    rig.answer(7, 1, Some(Fault::Status(403)));
    let Verdict::Refused(refusal) = rig.may(7, Deed::Play, "") else { panic!("let in") };
    assert_eq!(
        refusal.to_string(),
        "the hook on_play refused it: http://a/: it answered with status 403; 200 or 201 lets in"
    );
    rig.waiting();
    left(&mut rig.world, Id::from_token(7));
    rig.may(8, Deed::Play, "");
    rig.answer(8, 2, Some(Fault::Closed));
    let Verdict::Refused(refusal) = rig.may(8, Deed::Play, "") else { panic!("let in") };
    assert!(refusal.why.ends_with("gave no verdict"), "{refusal}");
    left(&mut rig.world, Id::from_token(8));
    assert_eq!(rig.waiting(), [("on_play", 8)]);
}

#[test]
fn who_left_before_the_answer_is_told_of_if_it_was_let_in() {
    let mut rig = rig(PLAY);
    for n in [1, 2] {
        rig.may(n, Deed::Play, "");
        left(&mut rig.world, Id::from_token(n));
    }
    rig.waiting();
    rig.answer(1, 1, None);
    rig.answer(2, 2, Some(Fault::Status(403)));
    assert_eq!((rig.told(), rig.waiting()), (None, vec![("on_stop", 1)]));
    assert!(rig.world.hooks.gone.is_empty());
}

#[test]
fn when_too_much_waits_nobody_is_let_in_and_nothing_grows() {
    let mut rig = rig(PLAY);
    for n in 0..post::MAX_WAITING {
        assert!(matches!(rig.may(n, Deed::Play, ""), Verdict::Wait(_)));
    }
    assert!(matches!(rig.may(9_999, Deed::Play, ""), Verdict::Refused(_)));
    assert!(rig.world.hooks.get(Id::from_token(9_999), Deed::Play).is_none());
    assert_eq!(rig.waiting().len(), post::MAX_WAITING);
}

#[test]
fn what_is_fetched_for_a_segment_is_a_url_whatever_the_names_are() {
    let mut rig = rig("enabled on; on_hls_notify http://a/[app]/[stream]/[ts_url][param];");
    rig.name = StreamName::new("v", "live", "\u{fc} x").unwrap();
    rig.may(1, Deed::Publish, "?a=b c");
    let about = publisher(&rig.world, &rig.name);
    let text = String::new;
    let segment = Segment {
        stream: rig.name.clone(),
        sequence: 1,
        ms: 2_000,
        file: text(),
        url: "live/x-1.ts".into(),
        playlist_file: text(),
        playlist: text(),
    };
    let url = events::notify(&rig.world, &rig.vhost.http_hooks.on_hls_notify[0], &about, &segment);
    assert_eq!(url.path, "/live/%C3%BC%20x/live/x-1.ts?a=b%20c");
    let json = events::segment(&rig.world, &about, &segment).finish();
    assert!(json.contains("\"duration\":2.000") && json.contains("\"seq_no\":1"), "{json}");
}

#[test]
fn publishers_of_long_ago_are_forgotten() {
    let mut rig = rig("enabled on;");
    for n in 0..10 * KEPT {
        rig.name = StreamName::new("v", "live", &format!("s{n}")).unwrap();
        assert_eq!(rig.may(n, Deed::Publish, ""), Verdict::Pass);
        left(&mut rig.world, Id::from_token(n));
    }
    assert!(rig.world.hooks.publishers.len() <= KEPT);
    assert_eq!(publisher(&rig.world, &rig.name).serial, 10 * KEPT as u64 - 1);
}
