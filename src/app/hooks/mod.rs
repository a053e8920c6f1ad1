//! Hooks: other servers are asked over HTTP whether clients may connect, publish and play, and told of what they do.
//!
//! ```text
//!   rtmp, http: may? ─► Pass                                                (no hook, or it has agreed)
//!                  ├──► Wait(ticket): nothing is confirmed, nothing is read ─► post ─► Outcome ─► Action::Hook ─► may? again
//!                  └──► Refused: said in the client's protocol, one line in the log
//!   Conn::drop_job ─► left: on_unpublish, on_stop      free ─► closed: on_close       dvr, hls ─► on_dvr, on_hls
//! ```
//!
//! Invariants: who is refused, or cannot be asked about, is not let in. Who was let in is told of when it is gone, even if it
//! went before the answer came. All about one client is asked and told in order. Without hooks nothing is kept of a client.
//!
//! Keys and actions are those of SRS (`client_id` is text, `server_id`, `stream_url` and `stream_id` are there as in newer ones).
//! Deviations: a publisher hears that it may begin after the hook has agreed, not before; viewers of HLS are not asked about.

mod events;
mod post;
#[cfg(test)]
mod tests;
mod verdict;

use super::access::Refusal;
use super::conn::Conn;
use super::quiet::Quiet;
use super::world::{Action, Timer, World};
use crate::conf::{HttpHooks, Url, Vhost};
use crate::net::poll::Poll;
use crate::net::resolver::Answer;
use crate::net::slots::Id;
use crate::net::sys;
use crate::wire::names::StreamName;
use post::{Desk, Outcome, Question};
use std::net::IpAddr;
use std::rc::Rc;

/// How many publishers of streams that are over are remembered, for what is told of their recordings.
const KEPT: usize = 256;
/// Milliseconds in which a heartbeat has to be answered.
const HEARTBEAT_MS: u64 = 10_000;

/// What a client is asked about for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// An RTMP connection.
    Connect,
    /// A stream that is sent.
    Publish,
    /// A stream that is watched.
    Play,
}

impl Deed {
    /// The event before it, and who is asked.
    fn begin(self, hooks: &HttpHooks) -> (&'static str, &[Url]) {
        match self {
            Deed::Connect => ("on_connect", &hooks.on_connect),
            Deed::Publish => ("on_publish", &hooks.on_publish),
            Deed::Play => ("on_play", &hooks.on_play),
        }
    }

    /// The event after it, and who is told.
    fn end(self, hooks: &HttpHooks) -> (&'static str, &[Url]) {
        match self {
            Deed::Connect => ("on_close", &hooks.on_close),
            Deed::Publish => ("on_unpublish", &hooks.on_unpublish),
            Deed::Play => ("on_stop", &hooks.on_stop),
        }
    }
}

/// A client that wants something.
#[derive(Debug)]
pub struct Who<'a> {
    /// Its connection.
    pub id: Id,
    /// Its number in the log.
    pub serial: u64,
    /// Where it is.
    pub ip: IpAddr,
    /// The stream; for a connect any of that vhost and app.
    pub name: &'a StreamName,
    /// Parameters as sent, with `?`.
    pub param: &'a str,
    /// The URL that it connected to.
    pub tc_url: &'a str,
    /// The page that it is on; `None`: what it said in its connect.
    pub page: Option<&'a str>,
}

/// What is told of a client.
#[derive(Debug)]
struct About {
    serial: u64,
    ip: IpAddr,
    name: StreamName,
    param: Box<str>,
    tc_url: Box<str>,
    page: Box<str>,
}

#[derive(Debug, Clone)]
enum Standing {
    /// The answer to this question is awaited.
    Asked(u32),
    Passed,
    Refused(Refusal),
}

#[derive(Debug)]
struct Client {
    about: Rc<About>,
    deed: Deed,
    standing: Standing,
}

/// What is to be done about a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is let in.
    Pass,
    /// [`Action::Hook`] with this number will say.
    Wait(u32),
    /// It is not.
    Refused(Refusal),
}

impl Client {
    fn verdict(&self) -> Verdict {
        match &self.standing {
            Standing::Asked(ticket) => Verdict::Wait(*ticket),
            Standing::Passed => Verdict::Pass,
            Standing::Refused(refusal) => Verdict::Refused(refusal.clone()),
        }
    }
}

/// What hooks need: questions, and who they are about.
#[derive(Debug, Default)]
pub struct Hooks {
    desk: Desk,
    /// By the slot of its connection: who has connected, and who publishes or plays there.
    clients: Vec<[Option<Box<Client>>; 2]>,
    /// Those who went while they were asked about.
    gone: Vec<Client>,
    /// Who publishes or has published a stream.
    publishers: Vec<Rc<About>>,
    tickets: u32,
    notified: usize,
}

impl Hooks {
    /// Where a client is kept; `None`: nobody of so high a slot is.
    fn place(&mut self, id: Id, deed: Deed) -> Option<&mut Option<Box<Client>>> {
        let [connect, stream] = self.clients.get_mut(id.index())?;
        Some(if deed == Deed::Connect { connect } else { stream })
    }

    fn get(&mut self, id: Id, deed: Deed) -> Option<&mut Client> {
        self.place(id, deed)?.as_deref_mut()
    }

    fn put(&mut self, id: Id, client: Client) {
        if self.clients.len() <= id.index() {
            self.clients.resize_with(id.index() + 1, Default::default);
        }
        let deed = client.deed;
        if let Some(place) = self.place(id, deed) {
            *place = Some(Box::new(client));
        }
    }

    /// Takes what is known of a client who goes: of one whose answer is awaited it is kept until that has come.
    fn take(&mut self, id: Id, deed: Deed) -> Option<Client> {
        let client = *self.place(id, deed)?.take()?;
        match client.standing {
            Standing::Asked(_) => {
                self.gone.push(client);
                None
            }
            Standing::Passed => Some(client),
            Standing::Refused(_) => None,
        }
    }

    /// Whether something is to be done in this turn.
    pub fn is_due(&self) -> bool {
        self.desk.is_due()
    }

    /// Whether questions wait or are under way.
    pub fn is_busy(&self) -> bool {
        self.desk.is_busy()
    }

    /// A connection to another server is ready.
    pub fn on_ready(&mut self, line: u16, readable: bool, writable: bool, closed: bool) {
        self.desk.on_ready(line, readable, writable, closed);
    }

    /// Has the next turn look at all questions.
    pub fn touch(&mut self) {
        self.desk.touch();
    }

    /// A name that was looked up.
    pub fn found(&mut self, answer: &Answer, now: u64) {
        self.desk.found(answer, now);
    }
}

/// A configuration is in force, at the start or after a reload.
pub fn adopt(world: &mut World) {
    if world.config.heartbeat.enabled {
        world.timers.set(Timer::Heartbeat, world.now);
    } else {
        world.timers.clear(Timer::Heartbeat);
    }
}

/// Whether a client may do something in a vhost. Asked again after the answer has come, this says what it was.
pub fn may(world: &mut World, deed: Deed, who: &Who<'_>, vhost: &Rc<Vhost>) -> Verdict {
    let hooks = &vhost.http_hooks;
    if !hooks.enabled {
        return Verdict::Pass;
    }
    if let Some(client) = world.hooks.get(who.id, deed) {
        let about = &client.about;
        if client.deed == deed && about.name == *who.name && *about.param == *who.param {
            return client.verdict();
        }
        left(world, who.id);
    }
    let said = world.hooks.get(who.id, Deed::Connect).map(|client| client.about.page.clone());
    let about = Rc::new(About {
        serial: who.serial,
        ip: who.ip.to_canonical(),
        name: who.name.clone(),
        param: who.param.into(),
        tc_url: who.tc_url.into(),
        page: who.page.map(Into::into).or(said).unwrap_or_default(),
    });
    let (event, urls) = deed.begin(hooks);
    let standing = if urls.is_empty() {
        Standing::Passed
    } else {
        world.hooks.tickets = world.hooks.tickets.wrapping_add(1);
        let ticket = world.hooks.tickets;
        let json = events::begin(world, deed, event, &about).finish();
        if !send(world, (event, urls), &about, json, Some((who.id, ticket)), hooks.timeout_ms) {
            return Verdict::Refused(Refusal {
                why: format!("the hook {event} cannot be asked now"),
                remedy: format!(
                    "{} questions wait already: see whether the servers of hooks are slow",
                    post::MAX_WAITING
                ),
            });
        }
        Standing::Asked(ticket)
    };
    let client = Client { about, deed, standing };
    let verdict = client.verdict();
    if verdict == Verdict::Pass {
        passed(world, deed, &client.about);
    }
    world.hooks.put(who.id, client);
    verdict
}

/// A client is let in.
fn passed(world: &mut World, deed: Deed, about: &Rc<About>) {
    if deed != Deed::Publish {
        return;
    }
    let (publishers, hub) = (&mut world.hooks.publishers, &world.hub);
    let full = publishers.len() >= KEPT;
    publishers.retain(|old| old.name != about.name && (!full || hub.find(&old.name).is_some()));
    publishers.push(about.clone());
}

fn send(
    world: &mut World,
    (event, urls): (&'static str, &[Url]),
    about: &About,
    json: String,
    asker: Option<(Id, u32)>,
    timeout_ms: u64,
) -> bool {
    let question = Question {
        event,
        about: events::label(about, event),
        urls: urls.to_vec(),
        json: Some(json),
        client: about.serial,
        asker,
        timeout_ms,
    };
    world.hooks.desk.ask(question, world.now)
}

/// Tells of something, and nobody waits for the answer.
fn tell(
    world: &mut World,
    (event, urls): (&'static str, &[Url]),
    about: &About,
    json: String,
    timeout_ms: u64,
) {
    if !urls.is_empty() && !send(world, (event, urls), about, json, None, timeout_ms) {
        warn(world, &format!("{event} is not told: {} questions wait already", post::MAX_WAITING));
    }
}

fn warn(world: &mut World, line: &str) {
    if let Some(left_out) = world.quiet.allow("hooks", world.now) {
        log::warn!(target: "hooks", "{line}{}", Quiet::more(left_out));
    }
}

/// The vhost of a name, if its hooks are on.
fn hooked(world: &World, name: &StreamName) -> Option<Rc<Vhost>> {
    world.config.vhost(name.vhost()).filter(|vhost| vhost.http_hooks.enabled).cloned()
}

/// The client publishes or plays no more.
pub fn left(world: &mut World, id: Id) {
    if let Some(client) = world.hooks.take(id, Deed::Play) {
        ended(world, &client, None);
    }
}

/// The connection is gone.
pub fn closed(world: &mut World, conn: &Conn) {
    if let Some(client) = world.hooks.take(conn.id, Deed::Connect) {
        ended(world, &client, Some((conn.socket.sent, conn.socket.received)));
    }
}

/// Tells that somebody is gone who was let in.
fn ended(world: &mut World, client: &Client, bytes: Option<(u64, u64)>) {
    let Some(vhost) = hooked(world, &client.about.name) else { return };
    let (event, urls) = client.deed.end(&vhost.http_hooks);
    let json = events::end(world, client.deed, event, &client.about, bytes).finish();
    tell(world, (event, urls), &client.about, json, vhost.http_hooks.timeout_ms);
}

/// Goes on with all questions.
pub fn turn(world: &mut World, poll: &Poll) {
    segments(world);
    if !world.hooks.is_due() {
        return;
    }
    match world.hooks.desk.turn(poll, &mut world.relays, world.now) {
        Some(at) => world.timers.set(Timer::Hooks, at.max(world.now.saturating_add(1))),
        None => world.timers.clear(Timer::Hooks),
    }
    for outcome in world.hooks.desk.take_outcomes() {
        settle(world, outcome);
    }
}

fn settle(world: &mut World, outcome: Outcome) {
    let Outcome { event, about, asker, fault } = outcome;
    let Some((id, ticket)) = asker else {
        if let Some(refused) = fault {
            warn(world, &format!("{event} of {about}: {}", refused.text));
        }
        return;
    };
    let is_it = |client: &Client| matches!(client.standing, Standing::Asked(is) if is == ticket);
    let hooks = &mut world.hooks;
    if let Some(at) = hooks.gone.iter().position(is_it) {
        let client = hooks.gone.swap_remove(at);
        if fault.is_none() {
            ended(world, &client, None);
        }
        return;
    }
    let connects = hooks.get(id, Deed::Connect).is_some_and(|client| is_it(client));
    let deed = if connects { Deed::Connect } else { Deed::Play };
    let Some(client) = hooks.get(id, deed).filter(|client| is_it(client)) else { return };
    let (deed, about) = (client.deed, client.about.clone());
    match fault {
        None => {
            client.standing = Standing::Passed;
            passed(world, deed, &about);
        }
        Some(refused) => {
            let word = if refused.meant { "refused it" } else { "gave no verdict" };
            let why = format!("the hook {event} {word}");
            client.standing = Standing::Refused(Refusal { why, remedy: refused.text });
        }
    }
    world.actions.push_back(Action::Hook(id, ticket));
}

/// A recording is complete.
pub fn recorded(world: &mut World, name: &StreamName, file: &str) {
    let Some(vhost) = hooked(world, name).filter(|vhost| !vhost.http_hooks.on_dvr.is_empty()) else { return };
    let about = publisher(world, name);
    let json = events::recorded(world, &about, file).finish();
    tell(world, ("on_dvr", &vhost.http_hooks.on_dvr), &about, json, vhost.http_hooks.timeout_ms);
}

/// Tells of segments that have become complete.
fn segments(world: &mut World) {
    for segment in world.hls.take_segments() {
        let Some(vhost) = hooked(world, &segment.stream) else { continue };
        let hooks = &vhost.http_hooks;
        if hooks.on_hls.is_empty() && hooks.on_hls_notify.is_empty() {
            continue;
        }
        let about = publisher(world, &segment.stream);
        let json = events::segment(world, &about, &segment).finish();
        tell(world, ("on_hls", &hooks.on_hls), &about, json, hooks.timeout_ms);
        let count = hooks.on_hls_notify.len().max(1);
        world.hooks.notified = world.hooks.notified.wrapping_add(1) % count;
        let Some(url) = hooks.on_hls_notify.get(world.hooks.notified) else { continue };
        let question = Question {
            event: "on_hls_notify",
            about: events::label(&about, "on_hls_notify"),
            urls: vec![events::notify(world, url, &about, &segment)],
            json: None,
            client: about.serial,
            asker: None,
            timeout_ms: hooks.timeout_ms,
        };
        if !world.hooks.desk.ask(question, world.now) {
            warn(world, "on_hls_notify is not told: too many questions wait already");
        }
    }
}

/// Who publishes a stream, or did; nobody in particular if that began before there were hooks.
fn publisher(world: &World, name: &StreamName) -> Rc<About> {
    let nobody = || {
        let ip = IpAddr::from([0, 0, 0, 0]);
        let (param, tc_url, page) = Default::default();
        Rc::new(About { serial: 0, ip, name: name.clone(), param, tc_url, page })
    };
    let known = world.hooks.publishers.iter().find(|about| about.name == *name);
    known.cloned().unwrap_or_else(nobody)
}

/// Tells that this server lives; `summaries` is what else is told. Tells so again after the interval.
pub fn heartbeat(world: &mut World, summaries: Option<String>) {
    let config = world.config.clone();
    let heartbeat = &config.heartbeat;
    let (true, Some(url)) = (heartbeat.enabled, &heartbeat.url) else { return };
    world.timers.set(Timer::Heartbeat, world.now.saturating_add(heartbeat.interval_ms));
    let ip = sys::lan_addresses().first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let question = Question {
        event: "heartbeat",
        about: "this server".into(),
        urls: vec![url.clone()],
        json: Some(events::heartbeat(&heartbeat.device_id, ip, summaries)),
        client: 0,
        asker: None,
        timeout_ms: heartbeat.interval_ms.min(HEARTBEAT_MS),
    };
    world.hooks.desk.ask(question, world.now);
}
