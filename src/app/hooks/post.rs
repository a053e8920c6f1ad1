//! Questions on their way: who waits for a turn, and the connections that carry one each.
//!
//! ```text
//!   ask ─► queue ──(name known, its client has no other under way, a line is free)──► line ─► answer ─► next URL
//!            │                                                                         │                   │ none left
//!            └────────────────────────────── timeout ──────────────────────────────────┴─────► Outcome ◄───┘
//! ```
//!
//! Invariants: at most [`MAX_WAITING`] questions wait and [`MAX_LINES`] are under way; questions about one client are asked
//! one after another, in order. A question that a kept connection did not take is asked once more on a new one.

use super::verdict;
use crate::app::relay;
use crate::conf::Url;
use crate::net::poll::{Poll, Who};
use crate::net::resolver::Answer as Found;
use crate::net::slots::Id;
use crate::net::socket::{Io, Socket};
use crate::proto::http::client::{self, Answer, AnswerError, Answers};
use mio::net::TcpStream;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};

/// Questions that wait at most.
pub(super) const MAX_WAITING: usize = 4096;
/// Connections at most, those that are kept for later included.
const MAX_LINES: usize = 32;
/// Connections to one server with a question, so that one that hangs does not hold up the others.
const MAX_OF_SERVER: usize = 24;
/// How long a connection without a question is kept, in milliseconds.
const KEEP_MS: u64 = 15_000;
/// Names whose addresses are remembered,
const MAX_NAMES: usize = 16;
/// for so many milliseconds,
const FOUND_MS: u64 = 60_000;
/// and for so many when there are none.
const FAILED_MS: u64 = 2_000;
/// Bytes read at once.
const READ: usize = 4 << 10;

/// What is to be asked, or told.
#[derive(Debug)]
pub(super) struct Question {
    /// The event's name.
    pub(super) event: &'static str,
    /// What it is about, for the log.
    pub(super) about: Box<str>,
    /// Where; all have to agree.
    pub(super) urls: Vec<Url>,
    /// The body of a POST; none: GET.
    pub(super) json: Option<String>,
    /// The number of the client that it is about; 0: none.
    pub(super) client: u64,
    /// Who waits for the answer: the connection, and the number of its question.
    pub(super) asker: Option<(Id, u32)>,
    /// Milliseconds for each URL.
    pub(super) timeout_ms: u64,
}

/// A question in the queue or under way.
#[derive(Debug)]
struct Task {
    question: Question,
    /// Which URL.
    at: usize,
    /// When that has to have answered.
    until: u64,
    /// Not on a kept connection again.
    fresh: bool,
    /// Another question about its client comes before it.
    held: bool,
}

/// Why a URL did not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It answered with this status.
    Status(u16),
    /// It answered with something else than `0` and `{"code":0}`.
    Body(String),
    /// It answered in no time.
    Late(u64),
    /// Its host has no address.
    Unknown(String),
    /// It cannot be connected to.
    Unreachable(io::ErrorKind),
    /// It closed the connection without an answer.
    Closed,
    /// Its answer cannot be read.
    Answer(AnswerError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Status(status) => write!(f, "it answered with status {status}; 200 or 201 lets in"),
            Fault::Body(body) => write!(f, "it answered {body}; 0 or {{\"code\":0}} lets in"),
            Fault::Late(ms) => {
                let (s, ms) = (ms / 1000, ms % 1000);
                write!(
                    f,
                    "no answer in {s}.{ms:03} s: see what it waits for, or raise `timeout` in `http_hooks`"
                )
            }
            Fault::Unknown(why) => write!(f, "its host has no address ({why}): correct the URL, or the DNS"),
            Fault::Unreachable(kind) => {
                write!(f, "it cannot be reached ({kind}): start it, or correct the URL")
            }
            Fault::Closed => f.write_str("it closed the connection without an answer: see its own log"),
            Fault::Answer(error) => write!(f, "{error}: see whether the URL is the right one"),
        }
    }
}

/// What came of a question. One without an asker has an outcome for each URL that did not agree.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) event: &'static str,
    pub(super) about: Box<str>,
    pub(super) asker: Option<(Id, u32)>,
    pub(super) fault: Option<Refused>,
}

/// A URL that did not agree.
#[derive(Debug)]
pub(super) struct Refused {
    /// It was understood, and refused.
    pub(super) meant: bool,
    /// The URL, and why.
    pub(super) text: String,
}

/// A connection.
#[derive(Debug)]
struct Line {
    socket: Socket,
    host: String,
    port: u16,
    /// Further addresses, if this one does not answer.
    others: Vec<SocketAddr>,
    out: Vec<u8>,
    sent: usize,
    answers: Answers,
    task: Option<Box<Task>>,
    /// It has carried an answer before.
    used: bool,
    /// When it is closed, without a question.
    until: u64,
}

/// The queue and the lines.
#[derive(Debug, Default)]
pub(super) struct Desk {
    #[expect(clippy::vec_box, reason = "they move to lines and back, and up in the queue")]
    queue: Vec<Box<Task>>,
    lines: Vec<Option<Box<Line>>>,
    /// Names that were looked up, and until when that counts.
    names: Vec<(Found, u64)>,
    outcomes: Vec<Outcome>,
    /// Something has happened since the last turn.
    due: bool,
}

impl Desk {
    /// Takes a question; false when too many wait.
    pub(super) fn ask(&mut self, question: Question, now: u64) -> bool {
        if self.queue.len() >= MAX_WAITING {
            return false;
        }
        let until = now.saturating_add(question.timeout_ms);
        let client = question.client;
        let same = |task: &Task| task.question.client == client;
        let under_way =
            |line: &Option<Box<Line>>| line.as_ref().and_then(|line| line.task.as_deref()).is_some_and(same);
        let held =
            client != 0 && (self.queue.iter().any(|task| same(task)) || self.lines.iter().any(under_way));
        self.queue.push(Box::new(Task { question, at: 0, until, fresh: false, held }));
        self.due = true;
        true
    }

    /// A name was looked up.
    pub(super) fn found(&mut self, answer: &Found, now: u64) {
        if self.names.len() >= MAX_NAMES {
            self.names.remove(0);
        }
        let counts = if answer.found.is_ok() { FOUND_MS } else { FAILED_MS };
        self.names.push((answer.clone(), now.saturating_add(counts)));
    }

    /// What waits.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> Vec<(&'static str, u64)> {
        self.queue.iter().map(|task| (task.question.event, task.question.client)).collect()
    }

    /// Which of those that wait are held back by another one about their client.
    #[cfg(test)]
    pub(super) fn held(&self) -> Vec<bool> {
        self.queue.iter().map(|task| task.held).collect()
    }

    /// As if the last URL of the first question had agreed.
    #[cfg(test)]
    pub(super) fn agree_first(&mut self) {
        let task = self.queue.remove(0);
        self.conclude(*task, None);
    }

    /// Whether something is to be done in this turn.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// Has the next turn look at everything.
    pub(super) fn touch(&mut self) {
        self.due |= !self.queue.is_empty() || self.lines.iter().any(Option::is_some);
    }

    /// Whether questions wait or are under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.queue.is_empty() || !self.lines.iter().all(is_free)
    }

    /// A line's socket is ready.
    pub(super) fn on_ready(&mut self, n: u16, readable: bool, writable: bool, closed: bool) {
        if let Some(Some(line)) = self.lines.get_mut(usize::from(n)) {
            line.socket.readable |= readable;
            line.socket.writable |= writable;
            line.socket.closing |= closed;
            self.due = true;
        }
    }

    /// What has come of questions.
    pub(super) fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Goes on with all that can; gives the time at which to look again at the latest.
    pub(super) fn turn(&mut self, poll: &Poll, names: &mut relay::Desk, now: u64) -> Option<u64> {
        self.due = false;
        for n in 0..self.lines.len() {
            if let Some(line) = self.lines.get_mut(n).and_then(Option::take) {
                let kept = self.work(line, n, poll, now);
                if let Some(place) = self.lines.get_mut(n) {
                    *place = kept;
                }
            }
        }
        self.hand_out(poll, names, now);
        let mut next = u64::MAX;
        for task in &self.queue {
            next = next.min(task.until);
        }
        for line in self.lines.iter().flatten() {
            next = next.min(line.task.as_ref().map_or(line.until, |task| task.until));
        }
        (next < u64::MAX).then_some(next)
    }

    /// Goes on with one line; gives it back if it lives on.
    fn work(&mut self, mut line: Box<Line>, n: usize, poll: &Poll, now: u64) -> Option<Box<Line>> {
        let Some(task) = &line.task else {
            // Nothing was asked: whatever comes is the end.
            let over = now >= line.until || line.socket.readable;
            return if over { hang_up(line, poll) } else { Some(line) };
        };
        let (until, late) = (task.until, Fault::Late(task.question.timeout_ms));
        let fault = match line.exchange() {
            Ok(Some(answer)) => {
                self.judge(line.task.take()?, &answer, now);
                if !answer.keep_alive || line.socket.readable {
                    return hang_up(line, poll);
                }
                (line.used, line.until) = (true, now.saturating_add(KEEP_MS));
                return Some(line);
            }
            Ok(None) if now < until => return Some(line),
            Ok(None) => late,
            Err(fault) => fault,
        };
        let mut task = line.task.take()?;
        let lost = matches!(fault, Fault::Closed | Fault::Unreachable(_));
        if lost && line.used && line.answers.is_idle() && !task.fresh {
            // It was closed while it was kept.
            task.fresh = true;
            self.queue.insert(0, task);
        } else if lost && line.socket.sent == 0 && !line.others.is_empty() {
            let (host, others) = (std::mem::take(&mut line.host), std::mem::take(&mut line.others));
            hang_up(line, poll);
            return self.open(poll, n, host, others, task, now);
        } else {
            self.refuse(task, &fault, now);
        }
        hang_up(line, poll)
    }

    fn judge(&mut self, mut task: Box<Task>, answer: &Answer, now: u64) {
        let good = matches!(answer.status, 200 | 201);
        // Who is only told need not say anything in particular.
        let is_told = task.question.asker.is_none();
        if good && (is_told || verdict::agrees(&answer.body)) {
            task.at += 1;
            return self.next(task, now);
        }
        let fault = if good { Fault::Body(quoted(&answer.body)) } else { Fault::Status(answer.status) };
        self.refuse(task, &fault, now);
    }

    /// Goes on with the next URL, or is done.
    fn next(&mut self, mut task: Box<Task>, now: u64) {
        if task.at < task.question.urls.len() {
            task.until = now.saturating_add(task.question.timeout_ms);
            task.fresh = false;
            self.queue.insert(0, task);
            self.due = true;
        } else {
            self.conclude(*task, None);
        }
    }

    /// A URL did not agree: that is the answer, or with nobody who waits for one, the next URL's turn.
    fn refuse(&mut self, mut task: Box<Task>, fault: &Fault, now: u64) {
        let url = task.question.urls.get(task.at).map_or("", |url| &url.text);
        let meant = matches!(fault, Fault::Status(_) | Fault::Body(_));
        let fault = Some(Refused { meant, text: format!("{url}: {fault}") });
        let Question { event, ref about, asker, .. } = task.question;
        if asker.is_some() {
            return self.conclude(*task, fault);
        }
        self.outcomes.push(Outcome { event, about: about.clone(), asker, fault });
        task.at += 1;
        self.next(task, now);
    }

    /// The question is done with: the next one about its client may be asked.
    fn conclude(&mut self, task: Task, fault: Option<Refused>) {
        let Question { event, about, asker, client, .. } = task.question;
        if asker.is_some() {
            self.outcomes.push(Outcome { event, about, asker, fault });
        }
        if client != 0
            && !task.held
            && let Some(next) = self.queue.iter_mut().find(|task| task.question.client == client)
        {
            next.held = false;
            self.due = true;
        }
    }

    /// Gives lines to those who wait.
    fn hand_out(&mut self, poll: &Poll, names: &mut relay::Desk, now: u64) {
        let mut at = 0;
        while let Some(task) = self.queue.get(at) {
            let way = match task {
                task if now >= task.until => Way::None(Fault::Late(task.question.timeout_ms)),
                task if task.held || !self.has_room() => Way::Wait,
                task => self.way(task, names, now),
            };
            if matches!(way, Way::Wait) {
                at += 1;
                continue;
            }
            let before = self.queue.len();
            let mut task = self.queue.remove(at);
            match way {
                Way::Wait => {}
                Way::None(fault) => self.refuse(task, &fault, now),
                Way::Kept(n) => {
                    if let Some(Some(line)) = self.lines.get_mut(n) {
                        line.carry(task);
                        self.due = true;
                    }
                }
                Way::New(host, list) => {
                    task.fresh = true;
                    let n = self.place(poll);
                    let line = self.open(poll, n, host, list, task, now);
                    if let Some(place) = self.lines.get_mut(n) {
                        *place = line;
                    }
                }
            }
            // With a further URL it stands at the front now.
            at += usize::from(self.queue.len() == before);
        }
    }

    /// How a question gets to its server now.
    fn way(&self, task: &Task, names: &mut relay::Desk, now: u64) -> Way {
        let Some(url) = task.question.urls.get(task.at) else { return Way::Wait };
        let (mut kept, mut busy) = (None, 0);
        for (n, line) in self.lines.iter().enumerate() {
            match line {
                Some(line) if line.port != url.port || line.host != url.host => {}
                Some(line) if line.task.is_some() => busy += 1,
                Some(_) => kept = Some(n),
                None => {}
            }
        }
        if let Some(n) = kept.filter(|_| !task.fresh) {
            return Way::Kept(n);
        }
        if busy >= MAX_OF_SERVER {
            return Way::Wait;
        }
        if let Ok(ip) = url.host.parse::<IpAddr>() {
            return Way::New(url.host.clone(), vec![SocketAddr::new(ip, url.port)]);
        }
        let name = format!("{}:{}", url.host, url.port);
        let known = self.names.iter().rev().find(|(known, until)| known.name == name && now < *until);
        let found = match known {
            Some((known, _)) => known.found.clone(),
            None => match names.ask(&name) {
                Ok(()) => return Way::Wait,
                Err(why) => Err(why),
            },
        };
        match found {
            Ok(list) => Way::New(url.host.clone(), list),
            Err(why) => Way::None(Fault::Unknown(why)),
        }
    }

    fn has_room(&self) -> bool {
        self.lines.len() < MAX_LINES || self.lines.iter().any(is_free)
    }

    /// The number of a free line, which there must be; one that is kept for later makes room.
    fn place(&mut self, poll: &Poll) -> usize {
        let unused = self.lines.iter().position(Option::is_none);
        if unused.is_none() && self.lines.len() < MAX_LINES {
            self.lines.push(None);
        }
        let n = unused.or_else(|| self.lines.iter().rposition(is_free)).unwrap_or(MAX_LINES);
        if let Some(line) = self.lines.get_mut(n).and_then(Option::take) {
            hang_up(line, poll);
        }
        n
    }

    /// Connects to the first of `list` that can be tried at all; the others are for later.
    fn open(
        &mut self,
        poll: &Poll,
        n: usize,
        host: String,
        mut list: Vec<SocketAddr>,
        task: Box<Task>,
        now: u64,
    ) -> Option<Box<Line>> {
        let mut kind = io::ErrorKind::NotFound;
        while !list.is_empty() {
            let at = list.remove(0);
            let connected = TcpStream::connect(at).and_then(|mut stream| {
                poll.register(&mut stream, Who::Line(u16::try_from(n).unwrap_or(u16::MAX)))?;
                Ok(stream)
            });
            let stream = match connected {
                Ok(stream) => stream,
                Err(error) => {
                    kind = error.kind();
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let mut socket = Socket::new(stream);
            // The poll tells when it is connected.
            socket.writable = false;
            let mut line = Box::new(Line {
                socket,
                host,
                port: at.port(),
                others: list,
                out: Vec::new(),
                sent: 0,
                answers: Answers::default(),
                task: None,
                used: false,
                until: 0,
            });
            line.carry(task);
            return Some(line);
        }
        self.refuse(task, &Fault::Unreachable(kind), now);
        None
    }
}

/// How a question gets to its server.
enum Way {
    /// Not yet.
    Wait,
    /// By this line, which is kept.
    Kept(usize),
    /// By a new connection to a host, at one of these addresses.
    New(String, Vec<SocketAddr>),
    /// Not at all.
    None(Fault),
}

/// Whether a line can be given to another server.
fn is_free(line: &Option<Box<Line>>) -> bool {
    line.as_ref().is_none_or(|line| line.task.is_none())
}

fn hang_up(mut line: Box<Line>, poll: &Poll) -> Option<Box<Line>> {
    poll.deregister(line.socket.source());
    None
}

/// The beginning of what was answered, fit for a log line.
fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..64).unwrap_or(body)).into_owned();
    let text = crate::wire::names::printable(text.trim(), 64);
    if text.is_empty() { String::from("nothing") } else { text }
}

impl Line {
    fn carry(&mut self, task: Box<Task>) {
        self.out.clear();
        self.sent = 0;
        if let Some(url) = task.question.urls.get(task.at) {
            client::request(&mut self.out, &url.authority(), &url.path, task.question.json.as_deref());
        }
        self.task = Some(task);
    }

    /// Writes and reads what can be.
    fn exchange(&mut self) -> Result<Option<Answer>, Fault> {
        while self.socket.writable && self.sent < self.out.len() {
            match self.socket.write(&[IoSlice::new(self.out.get(self.sent..).unwrap_or_default())]) {
                Io::Moved(n) => self.sent = self.sent.saturating_add(n),
                Io::WouldBlock => break,
                // What it said before it closed counts.
                Io::Closed | Io::Broken(_) if self.socket.received > 0 => break,
                Io::Closed => return Err(Fault::Closed),
                Io::Broken(kind) => return Err(Fault::Unreachable(kind)),
            }
        }
        let mut buffer = [0; READ];
        while self.socket.readable {
            match self.socket.read(&mut buffer) {
                Io::Moved(n) => {
                    let mut bytes = buffer.get(..n).unwrap_or_default();
                    let answer = self.answers.feed(&mut bytes).map_err(Fault::Answer)?;
                    if let Some(mut answer) = answer {
                        answer.keep_alive &= bytes.is_empty() && self.sent == self.out.len();
                        return Ok(Some(answer));
                    }
                }
                Io::WouldBlock => return Ok(None),
                Io::Closed => {
                    return self.answers.end().map_err(Fault::Answer)?.map(Some).ok_or(Fault::Closed);
                }
                Io::Broken(kind) if self.sent == 0 => return Err(Fault::Unreachable(kind)),
                Io::Broken(_) => return Err(Fault::Closed),
            }
        }
        Ok(None)
    }
}
