//! A minimal RTMP client for loads: simple handshake, connect, createStream, then play or publish.
//!
//! Written by hand and apart from the server's own code, so that a fault there is not mirrored here. No I/O: it is
//! fed bytes, appends its answers to a buffer and reports each complete message with its first bytes only.
//! Spec: Adobe RTMP 1.0, sections 5.2 (handshake), 5.3 (chunks), 7.2 (commands).

use crate::synth::HEAD;

/// What is wrong with a peer, for the report.
pub type Fault = &'static str;

/// Chunk size that a publisher announces and uses.
pub const CHUNK_OUT: usize = 60_000;

const HANDSHAKE: usize = 1536;
const MAX_MESSAGE: usize = 8 << 20;
const MAX_COMMAND: usize = 4096;
const COMMAND: u8 = 20;
const SET_CHUNK_SIZE: u8 = 1;
const PING: &[u8] = &[0, 6];
const PONG: &[u8] = &[0, 7];

/// What the client is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receive the stream.
    Play,
    /// Send the stream.
    Publish,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    Connect,
    Create,
    Start,
    Ready,
}

/// One client connection.
pub struct Rtmp {
    role: Role,
    state: State,
    app: String,
    stream: String,
    handshake: Vec<u8>,
    chunks: ChunkIn,
}

impl Rtmp {
    /// A client for `app/stream`; C0 and C1 are appended to `out`.
    pub fn new(role: Role, app: &str, stream: &str, out: &mut Vec<u8>) -> Rtmp {
        out.push(3);
        out.extend_from_slice(&[0; 8]);
        out.extend((8..HANDSHAKE).map(|i| (i * 7 % 251) as u8));
        let (app, stream) = (app.to_string(), stream.to_string());
        Rtmp { role, state: State::Handshake, app, stream, handshake: Vec::new(), chunks: ChunkIn::new() }
    }

    /// Whether play or publish was accepted.
    pub fn ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Takes the next bytes; answers go to `out`, complete audio, video and data messages to `on_message`.
    pub fn feed(
        &mut self,
        mut data: &[u8],
        out: &mut Vec<u8>,
        on_message: &mut impl FnMut(u8, usize, &[u8]),
    ) -> Result<(), Fault> {
        if self.state == State::Handshake {
            let used = data.len().min(1 + 2 * HANDSHAKE - self.handshake.len());
            self.handshake.extend_from_slice(&data[..used]);
            data = &data[used..];
            if self.handshake.len() < 1 + 2 * HANDSHAKE {
                return Ok(());
            }
            if self.handshake[0] != 3 {
                return Err("bad S0");
            }
            out.extend_from_slice(&self.handshake[1..=HANDSHAKE]);
            self.handshake = Vec::new();
            self.send_connect(out);
        }
        while !data.is_empty() {
            let used = self.chunks.feed(data)?;
            data = &data[used..];
            if let Some((kind, len, head)) = self.chunks.take() {
                match kind {
                    8 | 9 | 18 => on_message(kind, len, &head),
                    4 if head.starts_with(PING) => answer_ping(&head, out),
                    COMMAND => self.command(&head, out)?,
                    _ => {}
                }
                self.chunks.give_back(head);
            }
        }
        Ok(())
    }

    fn send_connect(&mut self, out: &mut Vec<u8>) {
        message(2, SET_CHUNK_SIZE, 0, 0, &(CHUNK_OUT as u32).to_be_bytes(), CHUNK_OUT, out);
        let mut body = Vec::new();
        string(&mut body, "connect");
        number(&mut body, 1.0);
        body.push(3);
        for (name, value) in [
            ("app", self.app.as_str()),
            ("type", "nonprivate"),
            ("flashVer", "FMLE/3.0 (compatible; runnel-bench)"),
            ("tcUrl", &format!("rtmp://127.0.0.1/{}", self.app)),
        ] {
            name_only(&mut body, name);
            string(&mut body, value);
        }
        body.extend_from_slice(&[0, 0, 9]);
        message(3, COMMAND, 0, 0, &body, CHUNK_OUT, out);
        self.state = State::Connect;
    }

    fn command(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let name = match body {
            [2, 0, len, rest @ ..] => rest.get(..usize::from(*len)).unwrap_or_default(),
            _ => return Err("command without a name"),
        };
        let has = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
        match (self.state, name) {
            (_, b"_error") => return Err("refused: _error"),
            (State::Connect, b"_result") => {
                let mut call = Vec::new();
                string(&mut call, "createStream");
                number(&mut call, 2.0);
                call.push(5);
                message(3, COMMAND, 0, 0, &call, CHUNK_OUT, out);
                self.state = State::Create;
            }
            (State::Create, b"_result") => {
                self.send_start(result_number(body).ok_or("createStream without a stream")?, out);
            }
            (State::Start, b"onStatus") if has("error") => return Err("refused: onStatus error"),
            (State::Start, b"onStatus") if has("Play.Start") || has("Publish.Start") => {
                self.state = State::Ready;
            }
            (State::Ready, b"onStatus") if has("error") => return Err("onStatus error while streaming"),
            _ => {}
        }
        Ok(())
    }

    fn send_start(&mut self, stream_id: u32, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        string(&mut body, if self.role == Role::Play { "play" } else { "publish" });
        number(&mut body, 3.0);
        body.push(5);
        string(&mut body, &self.stream);
        match self.role {
            Role::Play => number(&mut body, -2000.0),
            Role::Publish => string(&mut body, "live"),
        }
        message(8, COMMAND, stream_id, 0, &body, CHUNK_OUT, out);
        self.state = State::Start;
    }
}

fn answer_ping(event: &[u8], out: &mut Vec<u8>) {
    let mut body = PONG.to_vec();
    body.extend(event.iter().skip(2).take(4));
    message(2, 4, 0, 0, &body, CHUNK_OUT, out);
}

/// The last AMF0 number of a `_result`: the new stream of createStream.
fn result_number(body: &[u8]) -> Option<u32> {
    let (_, bytes) = body.split_last_chunk::<8>()?;
    Some(f64::from_be_bytes(*bytes) as u32)
}

fn name_only(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(2);
    name_only(out, text);
}

fn number(out: &mut Vec<u8>, value: f64) {
    out.push(0);
    out.extend_from_slice(&value.to_be_bytes());
}

/// The body of the metadata message of a synthetic stream.
pub fn metadata(kbps: u64) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, "@setDataFrame");
    string(&mut body, "onMetaData");
    let audio = (crate::synth::AUDIO_RATE * 370 * 8 / 1000) as f64;
    let fields = [
        ("width", 640.0),
        ("height", 360.0),
        ("framerate", crate::synth::VIDEO_RATE as f64),
        ("videocodecid", 7.0),
        ("videodatarate", (kbps as f64 - audio).max(0.0)),
        ("audiocodecid", 10.0),
        ("audiodatarate", audio),
        ("audiosamplerate", 44_100.0),
    ];
    body.push(8);
    body.extend_from_slice(&(fields.len() as u32).to_be_bytes());
    for (name, value) in fields {
        name_only(&mut body, name);
        number(&mut body, value);
    }
    body.extend_from_slice(&[0, 0, 9]);
    body
}

/// Appends one message as a type-0 chunk and as many type-3 chunks as `chunk_size` asks for.
pub fn message(
    csid: u8,
    kind: u8,
    stream_id: u32,
    timestamp: u32,
    body: &[u8],
    chunk_size: usize,
    out: &mut Vec<u8>,
) {
    let short = timestamp.min(0xff_ffff);
    out.push(csid);
    out.extend_from_slice(&short.to_be_bytes()[1..]);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    out.push(kind);
    out.extend_from_slice(&stream_id.to_le_bytes());
    for (index, part) in body.chunks(chunk_size).enumerate() {
        if index > 0 {
            out.push(0xc0 | csid);
        }
        if short == 0xff_ffff {
            out.extend_from_slice(&timestamp.to_be_bytes());
        }
        out.extend_from_slice(part);
    }
}

/// Bytes to messages. Keeps the whole body of control and command messages, the first [`HEAD`] bytes of media.
struct ChunkIn {
    chunk_size: usize,
    head: Vec<u8>,
    streams: Vec<(u32, Partial)>,
    /// Index of the chunk stream whose chunk is being read, and the bytes left in it.
    open: Option<(usize, usize)>,
    done: Option<(u8, usize, Vec<u8>)>,
    spare: Vec<u8>,
}

#[derive(Default)]
struct Partial {
    len: usize,
    kind: u8,
    extended: bool,
    got: usize,
    body: Vec<u8>,
}

impl ChunkIn {
    fn new() -> ChunkIn {
        let (head, streams, spare) = (Vec::new(), Vec::new(), Vec::new());
        ChunkIn { chunk_size: 128, head, streams, open: None, done: None, spare }
    }

    /// The message that the last call of `feed` completed: type, length, kept bytes.
    fn take(&mut self) -> Option<(u8, usize, Vec<u8>)> {
        self.done.take()
    }

    fn give_back(&mut self, mut body: Vec<u8>) {
        body.clear();
        self.spare = body;
    }

    /// Uses bytes up to the end of a message at most, and says how many.
    fn feed(&mut self, data: &[u8]) -> Result<usize, Fault> {
        let mut used = 0;
        while used < data.len() && self.done.is_none() {
            if let Some((index, left)) = self.open {
                let count = left.min(data.len() - used);
                self.body(index, left, &data[used..used + count])?;
                used += count;
            } else {
                self.head.push(data[used]);
                used += 1;
                self.try_head()?;
            }
        }
        Ok(used)
    }

    fn try_head(&mut self) -> Result<(), Fault> {
        let basic = match self.head[0] & 0x3f {
            0 => 2,
            1 => 3,
            _ => 1,
        };
        let format = self.head[0] >> 6;
        let fixed = basic + [11, 7, 3, 0][usize::from(format)];
        if self.head.len() < fixed {
            return Ok(());
        }
        let csid = match self.head[..basic] {
            [_, low] => 64 + u32::from(low),
            [_, low, high] => 64 + u32::from(low) + 256 * u32::from(high),
            _ => u32::from(self.head[0] & 0x3f),
        };
        let index = self.stream(csid);
        let partial = &mut self.streams[index].1;
        if format < 3 {
            partial.extended = self.head[basic..basic + 3] == [0xff; 3];
        }
        if self.head.len() < fixed + if partial.extended { 4 } else { 0 } {
            return Ok(());
        }
        if format < 2 {
            if partial.got > 0 {
                return Err("new message head inside a message");
            }
            let field = &self.head[basic + 3..basic + 7];
            partial.len = usize::from(field[0]) << 16 | usize::from(field[1]) << 8 | usize::from(field[2]);
            partial.kind = field[3];
        }
        if partial.len > MAX_MESSAGE || !matches!(partial.kind, 1..=6 | 8 | 9 | 15 | 17 | 18 | 20 | 22) {
            return Err("bad chunk head");
        }
        let left = (partial.len - partial.got).min(self.chunk_size);
        self.head.clear();
        self.open = Some((index, left));
        if left == 0 { self.body(index, 0, &[]) } else { Ok(()) }
    }

    fn stream(&mut self, csid: u32) -> usize {
        if let Some(index) = self.streams.iter().position(|(id, _)| *id == csid) {
            return index;
        }
        self.streams.push((csid, Partial::default()));
        self.streams.len() - 1
    }

    fn body(&mut self, index: usize, left: usize, data: &[u8]) -> Result<(), Fault> {
        let partial = &mut self.streams[index].1;
        let cap = if matches!(partial.kind, 8 | 9 | 18) { HEAD } else { MAX_COMMAND };
        let keep = data.len().min(cap.saturating_sub(partial.body.len()));
        partial.body.extend_from_slice(&data[..keep]);
        partial.got += data.len();
        let left = left - data.len();
        self.open = (left > 0).then_some((index, left));
        if partial.got < partial.len {
            return Ok(());
        }
        partial.got = 0;
        let body = std::mem::replace(&mut partial.body, std::mem::take(&mut self.spare));
        if partial.kind == SET_CHUNK_SIZE {
            let size = body.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            if size == 0 || size > 0xff_ffff {
                return Err("bad SetChunkSize");
            }
            self.chunk_size = size as usize;
        }
        self.done = Some((partial.kind, partial.len, body));
        Ok(())
    }
}
