//! `token_traverse`: who would publish or play at an edge is let in if an origin lets it connect.
//!
//! ```text
//!   may: Wait ─► Due ─► Finding ─► Calling ──_result──► Passed ─┐
//!                 ▲                   │ ──_error───► Refused ───┴─► Action::Hook: the client's command is looked at again
//!                 └─ the next origin ─┘ lost, silent (all of them: Refused)
//! ```
//!
//! A client waits as it does for a hook. What was said of it holds for its connection, the stream and the parameters.
//! Bounds: one question for a client, each origin is asked once, for [`CALL_MS`] at most.

use super::ingress::target;
use super::next;
use super::peer::{CALL_MS, QUOTED, fault};
use super::pull::Asked;
use crate::app::access::Refusal;
use crate::app::conn::{Conn, Role};
use crate::app::hooks::{Verdict, Who};
use crate::app::world::{Action, World};
use crate::conf::Vhost;
use crate::net::slots::Id;
use crate::proto::rtmp::client::{ClientSession, Event, Mode, Target};
use crate::proto::rtmp::handshake::Entropy;
use crate::wire::names::{StreamName, printable};
use std::rc::Rc;

/// Set in the numbers of these questions, which hooks do not reach.
const TICKET: u32 = 1 << 31;

/// The clients that an origin is asked about, or was: each at the place of its connection.
#[derive(Debug, Default)]
pub struct Checks(Vec<Option<Box<Check>>>);

impl Checks {
    /// What is known of a client.
    pub fn get(&mut self, client: Id) -> Option<&mut Check> {
        self.0.get_mut(client.index())?.as_deref_mut().filter(|check| check.client == client)
    }

    fn put(&mut self, check: Check) {
        let at = check.client.index();
        if self.0.len() <= at {
            self.0.resize_with(at + 1, Default::default);
        }
        if let Some(place) = self.0.get_mut(at) {
            *place = Some(Box::new(check));
        }
    }

    /// Forgets a client who is gone.
    pub fn remove(&mut self, client: Id) {
        let known = self.get(client).is_some();
        if let Some(place) = self.0.get_mut(client.index()).filter(|_| known) {
            *place = None;
        }
    }
}

/// A client that an origin is asked about, or was.
#[derive(Debug)]
pub struct Check {
    client: Id,
    name: StreamName,
    /// The settings it is under.
    pub vhost: Rc<Vhost>,
    param: Box<str>,
    page: Box<str>,
    ticket: u32,
    to: Rc<str>,
    tries: usize,
    /// Addresses of its name that are left to be tried.
    left: u32,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    Due,
    Finding,
    Calling,
    Passed,
    Refused(Refusal),
}

/// Whether a client may publish or play; asked again after the answer has come, this says what it was.
pub fn may(world: &mut World, who: &Who<'_>, vhost: &Rc<Vhost>) -> Verdict {
    if !vhost.cluster.asks() {
        return Verdict::Pass;
    }
    let page = who.page.or(world.pages.get(&who.id).map(|page| &**page)).unwrap_or_default().into();
    let before = world.relays.checks.get(who.id);
    if let Some(check) = before.filter(|check| check.name == *who.name && *check.param == *who.param) {
        return match &check.standing {
            Standing::Passed => Verdict::Pass,
            Standing::Refused(refusal) => Verdict::Refused(refusal.clone()),
            Standing::Due | Standing::Finding | Standing::Calling => Verdict::Wait(check.ticket),
        };
    }
    let turn = world.relays.turn();
    let origins = &vhost.cluster.origins;
    let ticket = TICKET | turn as u32;
    let check = Check {
        client: who.id,
        name: who.name.clone(),
        vhost: vhost.clone(),
        param: who.param.into(),
        page,
        ticket,
        to: origins.get(turn % origins.len().max(1)).map_or("", String::as_str).into(),
        tries: 0,
        left: 0,
        standing: Standing::Due,
    };
    world.relays.checks.put(check);
    world.actions.push_back(Action::Check(who.id));
    Verdict::Wait(ticket)
}

impl World {
    /// The origin that is to be asked about a client now.
    pub fn check_due(&mut self, client: Id) -> Option<Rc<str>> {
        let check = self.relays.checks.get(client)?;
        check.standing = Standing::Finding;
        Some(check.to.clone())
    }

    /// The clients whose question waits for the address of this origin.
    pub fn checks_finding(&self, to: &str) -> Vec<Id> {
        let all = self.relays.checks.0.iter().flatten();
        let finding = all.filter(|check| matches!(check.standing, Standing::Finding) && *check.to == *to);
        finding.map(|check| check.client).collect()
    }

    /// Which one of the `count` addresses of the origin is to be tried.
    pub fn check_address(&mut self, client: Id, count: usize) -> usize {
        self.relays.checks.get(client).map_or(0, |check| next(&mut check.left, count))
    }

    /// An origin could not be asked: another address of it is, or the next one.
    pub fn check_failed(&mut self, client: Id, why: &str) {
        let Some(check) = self.relays.checks.get(client) else { return };
        if check.left > 0 {
            check.standing = Standing::Due;
            return self.actions.push_back(Action::Check(client));
        }
        check.tries += 1;
        if check.tries < check.vhost.cluster.origins.len() {
            check.to = check.vhost.cluster.after(&check.to).unwrap_or_default().into();
            check.standing = Standing::Due;
            return self.actions.push_back(Action::Check(client));
        }
        let remedy = format!("{}: {why}", check.to);
        let why = String::from("the origin cannot be asked (token_traverse)");
        self.check_done(client, Err(Refusal { why, remedy }));
    }

    /// An origin has said what it thinks of a client.
    pub fn check_done(&mut self, client: Id, verdict: Result<(), Refusal>) {
        let Some(check) = self.relays.checks.get(client) else { return };
        check.standing = verdict.map_or_else(Standing::Refused, |()| Standing::Passed);
        self.actions.push_back(Action::Hook(client, check.ticket));
    }
}

/// The connection to an origin that is asked about a client.
#[derive(Debug)]
pub struct Probe {
    session: ClientSession,
    client: Id,
    until: u64,
    done: bool,
}

impl Probe {
    /// Asks an origin; the first bytes for it are appended to `out`.
    pub fn call(client: Id, entropy: Entropy, world: &mut World, out: &mut Vec<u8>) -> Option<Probe> {
        let via = world.relays.via(None);
        let check = world.relays.checks.get(client)?;
        let asked = Asked { at_connect: true, ..Asked::of(&check.param, None) };
        let target = target(&check.name, &check.to, &check.vhost.cluster.vhost, &asked, Mode::Check);
        let target = Target { page_url: check.page.to_string(), via, ..target };
        check.standing = Standing::Calling;
        let session = ClientSession::start(target, entropy, (world.now & 0xffff_ffff) as u32, out);
        Some(Probe { session, client, until: world.now.saturating_add(CALL_MS), done: false })
    }

    /// When it runs out of time, and why.
    pub fn deadline(&self) -> (u64, &'static str) {
        (self.until, "it gave no answer in 10 s")
    }

    /// Memory taken, in bytes.
    pub fn heap(&self) -> usize {
        size_of::<Probe>().saturating_add(self.session.reader().heap())
    }

    /// Gives up the question; another origin is asked.
    pub fn drop_job(&mut self, world: &mut World, why: &str) {
        if !std::mem::replace(&mut self.done, true) {
            world.check_failed(self.client, why);
        }
    }
}

/// Takes bytes that an origin has sent.
pub fn input(conn: &mut Conn, world: &mut World, mut bytes: &[u8]) {
    loop {
        let Role::Probe(peer) = &mut conn.role else { return };
        let verdict = match peer.session.feed(&mut bytes, conn.out.buffer()) {
            Ok(None) => break,
            Ok(Some(Event::Started)) => Ok(()),
            Ok(Some(Event::Refused { code, description, .. })) => {
                let words = if description.is_empty() { code } else { description };
                let why = format!("the origin refuses: {}", printable(&words, QUOTED));
                Err(Refusal { why, remedy: String::from("see its log") })
            }
            Ok(Some(_)) => continue,
            Err(error) => return world.close(conn, &fault(&error)),
        };
        peer.done = true;
        world.check_done(peer.client, verdict);
        return world.close(conn, "it has answered");
    }
    if !conn.out.is_empty() {
        world.mark(conn);
    }
}
