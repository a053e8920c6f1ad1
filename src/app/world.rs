//! What all connections share, and how one connection's deeds reach another: by a list that the loop works off.

use super::conn::Conn;
use super::files::Store;
use super::hub::{Hub, StreamId};
use super::memory::Guard;
use super::quiet::Quiet;
use super::rtmp::Home;
use crate::conf::Config;
use crate::media::batch::Batches;
use crate::net::slots::Id;
use crate::net::timers::Timers;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// Look whether this connection has run out of time.
    Connection(Id),
    /// Viewers of this stream are due.
    Tick(StreamId),
    /// Look whether this stream can start, or has ended.
    Stream(StreamId),
    /// Try to accept again.
    Accept,
    /// The demo's next frame.
    Demo,
    /// The next step of a graceful end.
    Drain,
    /// The process that is to take over is late.
    Upgrade,
    /// Look whether the configuration's files have changed.
    Watch,
    /// A line of statistics.
    Pithy,
    /// A look at what memory is taken.
    Memory,
    /// Look for recordings that are too old.
    Dvr,
    /// A question of a hook may be late.
    Hooks,
    /// Tell that this server lives.
    Heartbeat,
    /// A destination of this stream is to be called.
    Forward(StreamId),
    /// Look after the programs that run beside the server.
    Programs,
    /// What files took that nobody has asked for of late is to be let go of.
    Files,
    /// Look after the fetching of this stream.
    Pull(StreamId),
}

/// Something for the loop to do to other connections once the present one is done with.
#[derive(Debug)]
pub enum Action {
    /// Another publisher has taken this one's stream.
    Evict(Id),
    /// Viewers who wait for this stream can be started.
    Start(StreamId),
    /// Frames came in for viewers who get each at once.
    Send(StreamId),
    /// Frames that no viewer needs can be dropped.
    Trim(StreamId),
    /// A stream has another part or segment of HLS, and somebody waits for it.
    Hls(StreamId),
    /// The stream is over: its viewers get what is left, then the end.
    End(StreamId),
    /// The stream is not to be had: those who wait for it and want to know are told; all of them, if so said.
    Absent(StreamId, bool),
    /// An origin is to be asked about this client.
    Check(Id),
    /// An origin lets this connection publish, or does not: the code and words for it.
    Verdict(Id, Option<(Box<str>, Box<str>)>),
    /// This publisher, or this destination or origin of a stream, has to go, for this reason.
    Dismiss(Id, String),
    /// This connection's last answer is written; it may have asked on meanwhile.
    Resume(Id),
    /// Much has come in since the last look at what memory is taken.
    Memory,
    /// This connection has asked something of the API.
    Api(Id),
    /// The question of this number, about this connection, is answered.
    Hook(Id, u32),
}

/// Shared state.
#[derive(Debug)]
pub struct World {
    /// The configuration in force.
    pub config: Rc<Config>,
    /// The streams.
    pub hub: Hub,
    /// Deadlines.
    pub timers: Timers<Timer>,
    /// Milliseconds of the loop's clock at the start of this turn.
    pub now: u64,
    /// Connections with something to write.
    pub dirty: VecDeque<Id>,
    /// Connections that are freed at the end of this turn.
    pub closing: Vec<Id>,
    /// Work for the loop.
    pub actions: VecDeque<Action>,
    /// What the HLS of all streams shares.
    pub hls: super::hls::Common,
    /// Another process has taken over: whoever is here still has to ask there.
    pub replaced: bool,
    /// What recordings share.
    pub dvr: super::dvr::Desk,
    /// Segments in memory that many ask for.
    pub copies: super::copies::Copies,
    /// Limits repeated log lines.
    pub quiet: Quiet,
    /// Bytes read from all connections.
    pub received: u64,
    /// Bytes written to all connections.
    pub sent: u64,
    /// What the last RTMP client said in its connect.
    pub last_home: Option<Rc<Home>>,
    /// Runs of messages, laid out for the viewers who share a place.
    pub batches: Batches,
    /// Files that are being sent, and who reads them.
    pub files: Store,
    /// What may be kept of all this.
    pub memory: Guard,
    /// The pages that RTMP clients are on, where a vhost asks for them (`refer`).
    pub pages: HashMap<Id, Box<str>>,
    /// What the API keeps.
    pub api: super::api::State,
    /// Questions of hooks, and who they are about.
    pub hooks: super::hooks::Hooks,
    /// What destinations of streams share.
    pub relays: super::relay::Desk,
    /// What runs beside the server.
    pub programs: super::process::Programs,
}

impl World {
    /// An empty world.
    pub fn new(config: Rc<Config>) -> World {
        World {
            config,
            hub: Hub::default(),
            timers: Timers::default(),
            now: 0,
            dirty: VecDeque::new(),
            closing: Vec::new(),
            actions: VecDeque::new(),
            hls: super::hls::Common::default(),
            replaced: false,
            dvr: super::dvr::Desk::default(),
            copies: super::copies::Copies::default(),
            quiet: Quiet::default(),
            received: 0,
            sent: 0,
            last_home: None,
            batches: Batches::default(),
            files: Store::default(),
            memory: Guard::default(),
            pages: HashMap::new(),
            api: super::api::State::default(),
            hooks: super::hooks::Hooks::default(),
            relays: super::relay::Desk::default(),
            programs: super::process::Programs::default(),
        }
    }

    /// Has the connection's output written in this turn.
    pub fn mark(&mut self, conn: &mut Conn) {
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push_back(conn.id);
        }
    }

    /// Frees the connection at the end of this turn.
    pub fn close(&mut self, conn: &mut Conn, why: &str) {
        if conn.gone.is_none() {
            conn.gone = Some(why.into());
            self.closing.push(conn.id);
        }
    }

    /// Writes a limited log line about a peer's fault.
    pub fn complain(&mut self, kind: &'static str, conn: &Conn, what: &dyn std::fmt::Display) {
        if let Some(left_out) = self.quiet.allow(kind, self.now) {
            let more = Quiet::more(left_out);
            log::warn!(target: kind, "{} {}: {what}{more}", conn.tag(), conn.peer);
        }
    }
}
