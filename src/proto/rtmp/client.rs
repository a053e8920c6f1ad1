//! The client's end of an RTMP connection: publishes or plays one stream.   Spec: Adobe RTMP 1.0, section 7.
//!
//! In: any split of the server's bytes.  Out: events, and bytes to send, appended to the caller's buffer.
//!
//! ```text
//!  Handshake ──► Connecting ──_result──► Creating ──_result──► Asking ──onStatus *.Start──► Running
//!                    │                      │                    │
//!                    └──────── _error / onStatus error ──────────┴──► Event::Refused
//! ```

use super::acks::AckWindow;
use super::chunk::{ChunkReader, ChunkWriter, Limits, Message};
use super::command::Command;
use super::handshake::{ClientHandshake, Entropy, Step};
use super::message::{Aggregate, UserControl, control_value, csid, kind, split_aggregate};
use super::server::SessionError;
use crate::wire::amf0::{self, Value};
use crate::wire::flv::TagType;
use bytes::Bytes;

/// What the client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Sends a stream.
    Publish,
    /// Receives a stream.
    Play,
    /// Asks for no stream: that the server lets it connect is all.
    Check,
}

/// Where the client goes and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `rtmp://host[:port]/app[?params]`.
    pub tc_url: String,
    /// The app, with its parameters if any.
    pub app: String,
    /// The stream, with its parameters if any.
    pub stream: String,
    /// Send or receive.
    pub mode: Mode,
    /// Bytes in a chunk that we send.
    pub chunk_size: u32,
    /// Whether to greet with digests.
    pub complex: bool,
    /// The page that a player is on; empty: not said.
    pub page_url: String,
    /// Servers that a published stream has come through, or that a played one will, for the one at the other end; empty:
    /// not said.
    pub via: String,
}

/// What the caller has to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The server has accepted the publish or play, or the connect if that is all.
    Started,
    /// A message of the played stream.
    Media {
        /// What it is.
        kind: TagType,
        /// Timestamp in milliseconds, modulo 2^32.
        timestamp: u32,
        /// The body.
        payload: Bytes,
    },
    /// The server refused, or ended the stream: a code of section 7.2.2 and its reason.
    Refused {
        /// Such as `NetStream.Publish.BadName`.
        code: String,
        /// The server's words.
        description: String,
        /// Which server to ask instead, as an RTMP URL; empty: none is named. A custom of SRS (`ex.redirect` of the status).
        redirect: String,
    },
    /// The publisher of the played stream is gone; it may come back.
    Paused,
    /// The played stream is over.
    Ended,
}

#[derive(Debug)]
enum Phase {
    Handshake(Box<ClientHandshake>),
    Connecting,
    Creating,
    Asking { msid: u32 },
    Running { msid: u32 },
}

/// The client's end of one connection.
#[derive(Debug)]
pub struct ClientSession {
    target: Target,
    phase: Phase,
    reader: ChunkReader,
    writer: ChunkWriter,
    acks: AckWindow,
    parts: Option<Box<Aggregate>>,
}

const TID_CONNECT: f64 = 1.0;
const TID_CREATE: f64 = 4.0;
/// How data messages begin that are for the player alone.
const ASIDES: [&[u8]; 2] = [b"\x02\x00\x11|RtmpSampleAccess", b"\x02\x00\x08onStatus"];

impl ClientSession {
    /// Begins: C0 and C1 are appended to `out`.
    pub fn start(target: Target, entropy: Entropy, now_ms: u32, out: &mut Vec<u8>) -> ClientSession {
        let mut handshake = Box::new(ClientHandshake::new(entropy, now_ms, target.complex));
        handshake.start(out);
        ClientSession {
            target,
            phase: Phase::Handshake(handshake),
            reader: ChunkReader::new(Limits::default()),
            writer: ChunkWriter::new(),
            acks: AckWindow::new(0),
            parts: None,
        }
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
            if let Phase::Handshake(handshake) = &mut self.phase {
                match handshake.feed(input, out).map_err(SessionError::Handshake)? {
                    Step::NeedMore => return Ok(None),
                    Step::Done { .. } => self.connect(out),
                }
                continue;
            }
            let message = self.reader.feed(input).map_err(SessionError::Chunk)?;
            if let Some(sequence) = self.acks.received(before.saturating_sub(input.len())) {
                self.writer.write(out, csid::PROTOCOL, kind::ACK, 0, 0, &sequence.to_be_bytes());
            }
            let Some(message) = message else { return Ok(None) };
            if let Some(event) = self.message(message, out)? {
                return Ok(Some(event));
            }
        }
    }

    /// The chunk size that we send with and the message stream, once the stream runs.
    pub fn framing(&self) -> Option<(u32, u32)> {
        let Phase::Running { msid } = self.phase else { return None };
        Some((self.target.chunk_size, msid))
    }

    /// The reader of what comes in, for what it holds.
    pub fn reader(&self) -> &ChunkReader {
        &self.reader
    }

    /// Sends a message of the published stream; before [`Event::Started`] it is left out.
    pub fn send(&mut self, kind: TagType, timestamp: u32, payload: &[u8], out: &mut Vec<u8>) {
        if let Phase::Running { msid } = self.phase {
            let chunk_stream = match kind {
                TagType::Audio => csid::AUDIO,
                TagType::Video => csid::VIDEO,
                TagType::Script => csid::STREAM,
            };
            self.writer.write(out, chunk_stream, kind as u8, msid, timestamp, payload);
        }
    }

    /// Asks for a sign of life.
    pub fn ping(&mut self, now_ms: u32, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(6);
        UserControl::PingRequest(now_ms).encode(&mut payload);
        self.writer.write(out, csid::PROTOCOL, kind::USER_CONTROL, 0, 0, &payload);
    }

    /// Says that the published or played stream is over.
    pub fn stop(&mut self, out: &mut Vec<u8>) {
        let Phase::Running { msid } = self.phase else { return };
        if self.target.mode == Mode::Publish {
            let stream = Value::string(self.target.stream.as_str());
            self.command(0, "FCUnpublish", 6.0, &[Value::Null, stream], out);
        }
        self.command(0, "deleteStream", 7.0, &[Value::Null, Value::Number(f64::from(msid))], out);
    }

    fn command(&mut self, msid: u32, name: &str, tid: f64, args: &[Value], out: &mut Vec<u8>) {
        let head = [Value::string(name), Value::Number(tid)];
        let payload = amf0::encode_all(head.iter().chain(args));
        self.writer.write(out, csid::COMMAND, kind::COMMAND_AMF0, msid, 0, &payload);
    }

    fn connect(&mut self, out: &mut Vec<u8>) {
        self.phase = Phase::Connecting;
        let size = self.target.chunk_size;
        self.writer.write(out, csid::PROTOCOL, kind::SET_CHUNK_SIZE, 0, 0, &size.to_be_bytes());
        self.writer.set_chunk_size(size);
        let more = [("via", &self.target.via), ("pageUrl", &self.target.page_url)];
        let more = more.into_iter().filter(|(_, text)| !text.is_empty());
        let more = more.map(|(key, text)| (key, Value::string(text.as_str())));
        let said = [
            ("app", Value::string(self.target.app.as_str())),
            ("type", Value::string("nonprivate")),
            ("flashVer", Value::string(concat!("runnel/", env!("CARGO_PKG_VERSION")))),
            ("tcUrl", Value::string(self.target.tc_url.as_str())),
            ("fpad", Value::Boolean(false)),
            ("objectEncoding", Value::Number(0.0)),
        ];
        let object = Value::object(said.into_iter().chain(more));
        self.command(0, "connect", TID_CONNECT, &[object], out);
    }

    fn create(&mut self, out: &mut Vec<u8>) {
        self.phase = Phase::Creating;
        if self.target.mode == Mode::Publish {
            let stream = Value::string(self.target.stream.as_str());
            self.command(0, "releaseStream", 2.0, &[Value::Null, stream.clone()], out);
            self.command(0, "FCPublish", 3.0, &[Value::Null, stream], out);
        }
        self.command(0, "createStream", TID_CREATE, &[Value::Null], out);
    }

    fn ask(&mut self, msid: u32, out: &mut Vec<u8>) {
        self.phase = Phase::Asking { msid };
        let stream = Value::string(self.target.stream.as_str());
        match self.target.mode {
            Mode::Publish => {
                self.command(msid, "publish", 5.0, &[Value::Null, stream, Value::string("live")], out);
            }
            Mode::Check => {}
            Mode::Play => {
                self.command(msid, "play", 5.0, &[Value::Null, stream, Value::Number(-2000.0)], out);
                let mut payload = Vec::with_capacity(10);
                UserControl::SetBufferLength { msid, ms: 1000 }.encode(&mut payload);
                self.writer.write(out, csid::PROTOCOL, kind::USER_CONTROL, 0, 0, &payload);
            }
        }
    }

    fn message(&mut self, message: Message, out: &mut Vec<u8>) -> Result<Option<Event>, SessionError> {
        let Message { kind, timestamp, payload, .. } = message;
        match kind {
            kind::WINDOW_ACK_SIZE => {
                control_value(&payload).into_iter().for_each(|n| self.acks.set_window(n))
            }
            kind::USER_CONTROL => {
                if let Some(UserControl::PingRequest(time)) = UserControl::decode(&payload) {
                    let mut answer = Vec::with_capacity(6);
                    UserControl::PingResponse(time).encode(&mut answer);
                    self.writer.write(out, csid::PROTOCOL, kind::USER_CONTROL, 0, 0, &answer);
                }
            }
            kind::AGGREGATE => self.parts = Some(Box::new(split_aggregate(&payload, timestamp))),
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => {
                let amf3 = kind == kind::COMMAND_AMF3;
                let command = Command::decode(&payload, amf3).map_err(SessionError::Command)?;
                return Ok(self.heard(&command, out));
            }
            kind::DATA_AMF3 => {
                let skip = usize::from(payload.first() == Some(&0));
                return Ok(self.media(kind::DATA_AMF0, timestamp, payload.slice(skip..)));
            }
            _ => return Ok(self.media(kind, timestamp, payload)),
        }
        Ok(None)
    }

    fn media(&self, kind: u8, timestamp: u32, payload: Bytes) -> Option<Event> {
        let kind = TagType::from_u8(kind)?;
        // What a server tells its player is no part of the stream.
        if kind == TagType::Script && ASIDES.iter().any(|aside| payload.starts_with(aside)) {
            return None;
        }
        Some(Event::Media { kind, timestamp, payload })
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

    fn heard(&mut self, command: &Command, out: &mut Vec<u8>) -> Option<Event> {
        match (command.name.as_str(), &self.phase) {
            ("_result", Phase::Connecting) if command.tid == TID_CONNECT => {
                if self.target.mode == Mode::Check {
                    self.phase = Phase::Running { msid: 0 };
                    return Some(Event::Started);
                }
                self.create(out);
            }
            ("_result", Phase::Creating) if command.tid == TID_CREATE => {
                self.ask(command.number(1).map_or(1, |n| n as u32), out);
            }
            ("_error", Phase::Connecting | Phase::Creating) => return Some(refused(command.args.get(1))),
            ("onStatus", _) => return self.status(command.args.get(1)),
            ("onFCPublish", _) if level(command.args.get(1)) == Some("error") => {
                return Some(refused(command.args.get(1)));
            }
            _ => {}
        }
        None
    }

    fn status(&mut self, info: Option<&Value>) -> Option<Event> {
        let code = info.and_then(|info| info.get("code")).and_then(Value::as_str).unwrap_or_default();
        match (code, &self.phase) {
            ("NetStream.Publish.Start" | "NetStream.Play.Start", Phase::Asking { msid }) => {
                self.phase = Phase::Running { msid: *msid };
                Some(Event::Started)
            }
            ("NetStream.Play.UnpublishNotify", _) => Some(Event::Paused),
            ("NetStream.Play.Stop" | "NetStream.Play.Complete", _) => Some(Event::Ended),
            _ if level(info) == Some("error") => Some(refused(info)),
            _ => None,
        }
    }
}

fn level(info: Option<&Value>) -> Option<&str> {
    info?.get("level")?.as_str()
}

fn refused(info: Option<&Value>) -> Event {
    let text = |info: Option<&Value>, key: &str| {
        info.and_then(|info| info.get(key)).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let redirect = text(info.and_then(|info| info.get("ex")), "redirect");
    Event::Refused { code: text(info, "code"), description: text(info, "description"), redirect }
}
