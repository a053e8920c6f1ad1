//! The server's end of an RTMP connection.   Spec: Adobe RTMP 1.0, sections 5 and 7; Enhanced RTMP v2, reconnecting.
//!
//! In: any split of the peer's bytes.  Out: events for the application, and bytes to send, appended to the
//! caller's buffer. What needs no decision (acknowledgements, pings, `createStream`, the small talk of encoders)
//! is answered here; what does is an [`Event`], and the application answers with an `accept_*` or `reject_*` call.
//!
//! ```text
//!  Handshake ──► Greeted ──connect──► Connected ──publish──► Publishing ──FCUnpublish/closeStream──► Connected
//!                                         │ ▲                                                           ▲
//!                                         └─┴──────play────► Playing ──────closeStream──────────────────┘
//! ```
//!
//! Invariants: nothing of a stream is reported before `accept_publish`; one stream at a time is published or
//! played on a connection (a second is refused in words); replies above 128 bytes follow Set Chunk Size.

use super::acks::AckWindow;
use super::chunk::{ChunkError, ChunkReader, Limits, Message};
use super::command::{Command, Level, Reply, info};
use super::handshake::{Entropy, HandshakeError, Kind as Greeting, ServerHandshake, Step};
use super::message::{
    Aggregate, Bandwidth, UserControl, control_value, kind, peer_bandwidth, split_aggregate,
};
use crate::wire::amf0::{Amf0Error, Value};
use crate::wire::flv::TagType;
use bytes::Bytes;
use std::fmt;
use std::net::Ipv4Addr;

/// `createStream` calls on one connection at most.
pub const MAX_STREAMS: u32 = 64;
/// In `capsEx` of `connect` and its answer: that side knows the request to connect anew. Enhanced RTMP v2, "Enhancing
/// NetConnection connect Command".
pub const CAN_RECONNECT: u32 = 1;
/// What is in force until a peer says otherwise, section 5.4.1.
const FIRST_CHUNK_SIZE: u32 = 128;

/// What the server tells its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes in a chunk that we send.
    pub chunk_size: u32,
    /// Window that we announce; 0 announces none.
    pub out_ack_size: u32,
    /// Window for acknowledging what we receive, unless the peer names one; 0: the default.
    pub in_ack_size: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { chunk_size: 60_000, out_ack_size: 2_500_000, in_ack_size: 0 }
    }
}

/// What a client said in `connect`. Not checked: for names see [`crate::wire::names`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Connect {
    /// The app, as sent.
    pub app: String,
    /// The URL of the server and app, as sent.
    pub tc_url: Option<String>,
    /// The page that the player is on.
    pub page_url: Option<String>,
    /// What the client calls itself.
    pub flash_ver: Option<String>,
    /// Servers that a stream to be published has come through, as one of them says.
    pub via: Option<String>,
    /// It can be asked to connect anew: [`CAN_RECONNECT`] in its `capsEx`.
    pub reconnects: bool,
    /// 0 for AMF0, 3 for AMF3.
    pub object_encoding: f64,
    tid: f64,
}

/// What the application has to know or decide.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The handshake is over; the address is what a trusted proxy gave.
    Greeted(Greeting, Option<Ipv4Addr>),
    /// Answer with `accept_connect` or `reject_connect`.
    Connect(Box<Connect>),
    /// An encoder announces a name before it publishes: answer with `answer_fc_publish`.
    FcPublish {
        /// Transaction id for the answer.
        tid: f64,
        /// The stream name as sent.
        stream: String,
    },
    /// Answer with `accept_publish` or `reject`.
    Publish {
        /// Message stream.
        msid: u32,
        /// The stream name as sent.
        stream: String,
    },
    /// Answer with `accept_play` or `reject`, now or when the stream is there.
    Play {
        /// Message stream.
        msid: u32,
        /// The stream name as sent.
        stream: String,
        /// Milliseconds to play, if the player names an end.
        duration_ms: Option<u64>,
    },
    /// A player pauses (true) or goes on (false).
    Pause(bool),
    /// An audio, video or data message of the published stream.
    Media {
        /// What it is.
        kind: TagType,
        /// Timestamp in milliseconds as sent, modulo 2^32.
        timestamp: u32,
        /// The body; of data messages in AMF0.
        payload: Bytes,
    },
    /// The published or played stream is over; the connection stays.
    Closed,
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionError {
    /// The handshake failed.
    Handshake(HandshakeError),
    /// The chunk stream is broken.
    Chunk(ChunkError),
    /// A command that cannot be read.
    Command(Amf0Error),
    /// A command that needs `connect` first.
    NotConnected,
    /// More than [`MAX_STREAMS`] calls of `createStream`.
    TooManyStreams,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Handshake(error) => error.fmt(f),
            SessionError::Chunk(error) => error.fmt(f),
            SessionError::Command(error) => write!(f, "a command cannot be read: {error}"),
            SessionError::NotConnected => {
                f.write_str("publish or play before connect: the client skipped a step")
            }
            SessionError::TooManyStreams => {
                write!(f, "more than {MAX_STREAMS} createStream calls on one connection")
            }
        }
    }
}

impl std::error::Error for SessionError {}

/// What the message stream in use is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    None,
    /// Asked for, not answered yet.
    Asked(u32),
    Publishing(u32),
    Playing(u32),
}

impl Job {
    fn msid(self) -> Option<u32> {
        match self {
            Job::None => None,
            Job::Asked(msid) | Job::Publishing(msid) | Job::Playing(msid) => Some(msid),
        }
    }
}

#[derive(Debug)]
enum Phase {
    Handshake(Box<ServerHandshake>),
    Greeted,
    Connected,
}

/// The server's end of one connection.
#[derive(Debug)]
pub struct ServerSession {
    phase: Phase,
    /// Chunk size that the peer knows of.
    chunk_size: u32,
    reader: ChunkReader,
    acks: AckWindow,
    received: u64,
    next_msid: u32,
    /// It can be asked to connect anew, and was not yet.
    reconnects: bool,
    job: Job,
    parts: Option<Box<Aggregate>>,
}

impl ServerSession {
    /// A session that waits for C0. `entropy` and `now_ms` go into the handshake.
    pub fn new(entropy: Entropy, now_ms: u32, trusted_proxy: bool) -> ServerSession {
        ServerSession {
            phase: Phase::Handshake(Box::new(ServerHandshake::new(entropy, now_ms, trusted_proxy))),
            chunk_size: FIRST_CHUNK_SIZE,
            reader: ChunkReader::new(Limits::default()),
            acks: AckWindow::new(0),
            received: 0,
            next_msid: 1,
            reconnects: false,
            job: Job::None,
            parts: None,
        }
    }

    /// Gives back memory that a player, who hardly speaks, will not need.
    pub fn shrink(&mut self) {
        self.reader.shrink();
    }

    /// Chunk size and message stream that a player's messages are framed with.
    pub fn framing(&self) -> (u32, u32) {
        (self.chunk_size, self.job.msid().unwrap_or(1))
    }

    /// Bytes taken from the peer, the handshake included.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The chunk reader, for its counters.
    pub fn reader(&self) -> &ChunkReader {
        &self.reader
    }

    /// Takes from `input` up to the next event. Call again until it gives `Ok(None)`: then all was taken.
    ///
    /// # Errors
    /// When the connection cannot go on; close it.
    pub fn feed(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Event>, SessionError> {
        loop {
            if let Some(event) = self.next_part() {
                return Ok(Some(event));
            }
            let before = input.len();
            let step = self.step(input, out);
            let taken = before.saturating_sub(input.len());
            self.received = self.received.saturating_add(taken as u64);
            if let Some(sequence) = self.acks.received(taken) {
                self.reply(out).control(kind::ACK, &sequence.to_be_bytes());
            }
            match step? {
                Progress::Event(event) => return Ok(Some(event)),
                Progress::More => {}
                Progress::Starved => return Ok(None),
            }
        }
    }

    fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Progress, SessionError> {
        if let Phase::Handshake(handshake) = &mut self.phase {
            return match handshake.feed(input, out).map_err(SessionError::Handshake)? {
                Step::NeedMore => Ok(Progress::Starved),
                Step::Done { kind, client_ip } => {
                    self.phase = Phase::Greeted;
                    Ok(Progress::Event(Event::Greeted(kind, client_ip)))
                }
            };
        }
        match self.reader.feed(input).map_err(SessionError::Chunk)? {
            None => Ok(Progress::Starved),
            Some(message) => Ok(self.message(message, out)?.map_or(Progress::More, Progress::Event)),
        }
    }

    fn reply<'a>(&self, out: &'a mut Vec<u8>) -> Reply<'a> {
        Reply { out, chunk_size: self.chunk_size }
    }

    fn message(&mut self, message: Message, out: &mut Vec<u8>) -> Result<Option<Event>, SessionError> {
        let Message { kind, timestamp, payload, msid, .. } = message;
        match kind {
            kind::WINDOW_ACK_SIZE => {
                control_value(&payload).into_iter().for_each(|n| self.acks.set_window(n))
            }
            kind::USER_CONTROL => {
                if let Some(UserControl::PingRequest(time)) = UserControl::decode(&payload) {
                    self.user_control(UserControl::PingResponse(time), out);
                }
            }
            kind::AUDIO | kind::VIDEO | kind::DATA_AMF0 => return Ok(self.media(kind, timestamp, payload)),
            kind::DATA_AMF3 => {
                let skip = usize::from(payload.first() == Some(&0));
                return Ok(self.media(kind::DATA_AMF0, timestamp, payload.slice(skip..)));
            }
            kind::AGGREGATE => self.parts = Some(Box::new(split_aggregate(&payload, timestamp))),
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => {
                let amf3 = kind == kind::COMMAND_AMF3;
                let command = Command::decode(&payload, amf3).map_err(SessionError::Command)?;
                return self.command(msid, command, out);
            }
            _ => {}
        }
        Ok(None)
    }

    fn media(&self, kind: u8, timestamp: u32, payload: Bytes) -> Option<Event> {
        // Some cameras send on another message stream than they publish on; there is only one it can be for.
        match (self.job, TagType::from_u8(kind)) {
            (Job::Publishing(_), Some(kind)) => Some(Event::Media { kind, timestamp, payload }),
            _ => None,
        }
    }

    fn next_part(&mut self) -> Option<Event> {
        loop {
            let Some(part) = self.parts.as_mut()?.next() else {
                self.parts = None;
                return None;
            };
            if let Some(event) = self.media(part.kind, part.timestamp, part.payload) {
                return Some(event);
            }
        }
    }

    fn command(
        &mut self,
        msid: u32,
        command: Command,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, SessionError> {
        let connected = matches!(self.phase, Phase::Connected);
        match command.name.as_str() {
            "connect" if !connected => return Ok(Some(Event::Connect(Box::new(connect(&command))))),
            "publish" | "play" | "createStream" | "FCPublish" if !connected => {
                return Err(SessionError::NotConnected);
            }
            "createStream" => self.create_stream(&command, out)?,
            "publish" => return Ok(self.ask(msid, &command, out)),
            "play" => return Ok(self.ask(msid, &command, out)),
            "FCPublish" => {
                let stream = command.text(1).unwrap_or_default().to_owned();
                return Ok(Some(Event::FcPublish { tid: command.tid, stream }));
            }
            "FCUnpublish" => return Ok(self.fc_unpublish(&command, out)),
            "deleteStream" => {
                let which = command.number(1).map_or(msid, |n| n as u32);
                self.result(&command, Value::Undefined, out);
                return Ok(self.close(which));
            }
            "closeStream" => return Ok(self.close(msid)),
            "pause" | "pauseRaw" => {
                let pause = command.args.get(1).and_then(Value::as_bool).unwrap_or(true);
                return Ok(self.pause(msid, pause, out));
            }
            "seek" => self.reply(out).status(
                msid,
                Level::Error,
                "NetStream.Seek.Failed",
                "A live stream has no other place to go to.",
            ),
            "FCSubscribe" => {
                let name = command.text(1).unwrap_or_default().to_owned();
                let started = info(Level::Status, "NetStream.Play.Start", &name);
                self.reply(out).command(0, "onFCSubscribe", command.tid, &[Value::Null, started]);
            }
            "getStreamLength" => self.result(&command, Value::Number(0.0), out),
            "releaseStream" => self.result(&command, Value::Undefined, out),
            "_result" | "_error" | "onStatus" => {}
            _ => self.result(&command, Value::Null, out),
        }
        Ok(None)
    }

    /// `_result` to a command that wants one.
    fn result(&self, command: &Command, value: Value, out: &mut Vec<u8>) {
        if command.tid > 0.0 {
            self.reply(out).command(0, "_result", command.tid, &[Value::Null, value]);
        }
    }

    fn create_stream(&mut self, command: &Command, out: &mut Vec<u8>) -> Result<(), SessionError> {
        if self.next_msid > MAX_STREAMS {
            return Err(SessionError::TooManyStreams);
        }
        self.result(command, Value::Number(f64::from(self.next_msid)), out);
        self.next_msid += 1;
        Ok(())
    }

    /// A publish or play, refused when the connection has a stream already.
    fn ask(&mut self, msid: u32, command: &Command, out: &mut Vec<u8>) -> Option<Event> {
        let publish = command.name == "publish";
        if self.job != Job::None {
            let code = if publish { "NetStream.Publish.BadName" } else { "NetStream.Play.Failed" };
            let text = "This connection has a stream already: use another connection for another stream.";
            self.reply(out).status(msid, Level::Error, code, text);
            return None;
        }
        let msid = msid.max(1);
        let stream = command.text(1).unwrap_or_default().to_owned();
        self.job = Job::Asked(msid);
        if publish {
            return Some(Event::Publish { msid, stream });
        }
        let duration = command.number(3).filter(|ms| *ms > 0.0);
        Some(Event::Play { msid, stream, duration_ms: duration.map(|ms| ms as u64) })
    }

    fn fc_unpublish(&mut self, command: &Command, out: &mut Vec<u8>) -> Option<Event> {
        self.result(command, Value::Undefined, out);
        let Job::Publishing(msid) = self.job else { return None };
        let done = info(Level::Status, "NetStream.Unpublish.Success", "Stream is now unpublished.");
        let mut reply = self.reply(out);
        reply.command(0, "onFCUnpublish", command.tid, &[Value::Null, done]);
        reply.status(msid, Level::Status, "NetStream.Unpublish.Success", "Stream is now unpublished.");
        self.close(msid)
    }

    fn close(&mut self, msid: u32) -> Option<Event> {
        let ours = self.job.msid().is_some_and(|job| job == msid.max(1));
        ours.then(|| {
            self.job = Job::None;
            Event::Closed
        })
    }

    fn pause(&mut self, msid: u32, pause: bool, out: &mut Vec<u8>) -> Option<Event> {
        let Job::Playing(playing) = self.job else { return None };
        let (code, text, control) = if pause {
            ("NetStream.Pause.Notify", "Paused stream.", UserControl::StreamEof(playing))
        } else {
            ("NetStream.Unpause.Notify", "Unpaused stream.", UserControl::StreamBegin(playing))
        };
        self.reply(out).status(msid, Level::Status, code, text);
        self.user_control(control, out);
        Some(Event::Pause(pause))
    }

    fn user_control(&self, event: UserControl, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(10);
        event.encode(&mut payload);
        self.reply(out).control(kind::USER_CONTROL, &payload);
    }

    /// Lets the client in: window, bandwidth and chunk size, then the result with what we are.
    pub fn accept_connect(&mut self, connect: &Connect, settings: Settings, out: &mut Vec<u8>) {
        self.phase = Phase::Connected;
        if settings.in_ack_size > 0 {
            self.acks = AckWindow::starting_at(settings.in_ack_size, self.acks.total());
        }
        let window = settings.out_ack_size;
        if window > 0 {
            self.reply(out).control(kind::WINDOW_ACK_SIZE, &window.to_be_bytes());
            self.reply(out).control(kind::SET_PEER_BANDWIDTH, &peer_bandwidth(window, Bandwidth::Dynamic));
        }
        self.reply(out).control(kind::SET_CHUNK_SIZE, &settings.chunk_size.to_be_bytes());
        self.chunk_size = settings.chunk_size;
        self.reconnects = connect.reconnects;
        let mut properties = vec![
            ("fmsVer", Value::string("FMS/3,5,3,888")),
            ("capabilities", Value::Number(127.0)),
            ("mode", Value::Number(1.0)),
        ];
        if connect.reconnects {
            properties.push(("capsEx", Value::Number(f64::from(CAN_RECONNECT))));
        }
        let properties = Value::object(properties);
        let version = Value::string(env!("CARGO_PKG_VERSION"));
        let status = Value::object([
            ("level", Value::string("status")),
            ("code", Value::string("NetConnection.Connect.Success")),
            ("description", Value::string("Connection succeeded.")),
            ("objectEncoding", Value::Number(connect.object_encoding)),
            ("data", Value::ecma_array([("server", Value::string("runnel")), ("version", version)])),
        ]);
        let mut reply = self.reply(out);
        reply.command(0, "_result", connect.tid, &[properties, status]);
        reply.command(0, "onBWDone", 0.0, &[Value::Null]);
    }

    /// Asks a client that knows how to connect anew, to the same URL, and to leave then; false when it does not know, or
    /// was asked before. Enhanced RTMP v2, "Reconnect Request".
    pub fn ask_to_reconnect(&mut self, out: &mut Vec<u8>) -> bool {
        let asks = std::mem::take(&mut self.reconnects);
        if asks {
            let code = "NetConnection.Connect.ReconnectRequest";
            self.reply(out).status(0, Level::Status, code, "The server is about to end.");
        }
        asks
    }

    /// Refuses a connect, with the reason. Close the connection after the bytes are sent.
    pub fn reject_connect(&mut self, connect: &Connect, description: &str, out: &mut Vec<u8>) {
        let why = info(Level::Error, "NetConnection.Connect.Rejected", description);
        self.reply(out).command(0, "_error", connect.tid, &[Value::Null, why]);
    }

    /// Tells an encoder whether the name it announced is free (`refusal` is the reason when not). Encoders wait for
    /// `onFCPublish` with their transaction id.
    pub fn answer_fc_publish(&mut self, tid: f64, stream: &str, refusal: Option<&str>, out: &mut Vec<u8>) {
        let status = match refusal {
            None => info(Level::Status, "NetStream.Publish.Start", stream),
            Some(why) => info(Level::Error, "NetStream.Publish.BadName", why),
        };
        let mut reply = self.reply(out);
        if tid > 0.0 {
            reply.command(0, "_result", tid, &[Value::Null, Value::Undefined]);
        }
        reply.command(0, "onFCPublish", tid, &[Value::Null, status]);
    }

    /// The publisher may send: its messages are events from now on.
    pub fn accept_publish(&mut self, msid: u32, stream: &str, out: &mut Vec<u8>) {
        self.job = Job::Publishing(msid);
        self.user_control(UserControl::StreamBegin(msid), out);
        self.reply(out).status(msid, Level::Status, "NetStream.Publish.Start", stream);
    }

    /// The player gets the stream: what it needs to hear before the first message of it. `NetStream.Data.Start` is not
    /// sent: only Flash looked for it, and ffmpeg takes it for a data stream without a codec.
    pub fn accept_play(&mut self, msid: u32, stream: &str, out: &mut Vec<u8>) {
        self.job = Job::Playing(msid);
        self.user_control(UserControl::StreamBegin(msid), out);
        let mut reply = self.reply(out);
        reply.status(msid, Level::Status, "NetStream.Play.Reset", "Playing and resetting stream.");
        reply.status(msid, Level::Status, "NetStream.Play.Start", stream);
        reply.data(msid, &[Value::string("|RtmpSampleAccess"), Value::Boolean(true), Value::Boolean(true)]);
    }

    /// Refuses a publish or play with a code of section 7.2.2 and the reason. The connection may go on.
    pub fn reject(&mut self, msid: u32, code: &str, description: &str, out: &mut Vec<u8>) {
        self.job = Job::None;
        self.reply(out).status(msid, Level::Error, code, description);
    }

    /// Takes the stream from a publisher (`code` says why) or tells a player that it is over.
    pub fn end(&mut self, code: &str, description: &str, out: &mut Vec<u8>) {
        let Some(msid) = self.job.msid() else { return };
        let level = if matches!(self.job, Job::Playing(_)) { Level::Status } else { Level::Error };
        if level == Level::Status {
            self.user_control(UserControl::StreamEof(msid), out);
            let over = "The publisher has ended the stream.";
            self.reply(out).status(msid, level, "NetStream.Play.UnpublishNotify", over);
        }
        self.reply(out).status(msid, level, code, description);
        self.job = Job::None;
    }
}

enum Progress {
    Event(Event),
    /// Something was done; there may be more in the input.
    More,
    /// The input is used up.
    Starved,
}

fn connect(command: &Command) -> Connect {
    let object = command.args.first();
    let text = |key: &str| object.and_then(|o| o.get(key)).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| object.and_then(|o| o.get(key)).and_then(Value::as_f64).unwrap_or(0.0);
    Connect {
        app: text("app").unwrap_or_default(),
        tc_url: text("tcUrl"),
        page_url: text("pageUrl"),
        flash_ver: text("flashVer"),
        via: text("via"),
        reconnects: number("capsEx") as u32 & CAN_RECONNECT != 0,
        object_encoding: number("objectEncoding"),
        tid: command.tid,
    }
}
