//! A small RTMP client on a plain socket: handshake, commands, publishing of tags at any speed. It writes every
//! message as one chunk (having set a chunk size above every message) and does not parse what comes back; it only
//! looks for text in it.
use super::flv::Tag;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const CHUNK_SIZE: u32 = 8 << 20;

/// A connection.
pub(crate) struct Rtmp {
    /// The socket.
    pub(crate) socket: TcpStream,
    received: Vec<u8>,
    stream: u32,
}

/// An AMF0 value.
pub(crate) enum Amf<'a> {
    Number(f64),
    Text(&'a str),
    Null,
    Object(&'a [(&'a str, &'a str)]),
}

impl Rtmp {
    /// Connects to a port of this machine and makes the simple handshake.
    pub(crate) fn connect(port: u16) -> Rtmp {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut hello = vec![3; 1537];
        hello[1..9].fill(0);
        socket.write_all(&hello).unwrap();
        let mut answer = vec![0; 3073];
        socket.read_exact(&mut answer).expect("S0, S1 and S2");
        assert_eq!(answer[0], 3, "the version in S0");
        socket.write_all(&answer[1..1537]).unwrap();
        Rtmp { socket, received: Vec::new(), stream: 0 }
    }

    /// Connects to the application `live` and makes a stream.
    pub(crate) fn live(port: u16) -> Rtmp {
        let mut rtmp = Rtmp::connect(port);
        rtmp.message(2, 1, 0, 0, &CHUNK_SIZE.to_be_bytes());
        let url = format!("rtmp://127.0.0.1:{port}/live");
        rtmp.command(
            0,
            &[Amf::Text("connect"), Amf::Number(1.0), Amf::Object(&[("app", "live"), ("tcUrl", &url)])],
        );
        rtmp.expect("NetConnection.Connect.Success");
        rtmp.create_stream(2.0);
        rtmp
    }

    /// Makes a message stream for what is published or played next.
    pub(crate) fn create_stream(&mut self, transaction: f64) {
        self.command(0, &[Amf::Text("createStream"), Amf::Number(transaction), Amf::Null]);
        // "_result", the transaction, null, then the number asked for.
        let mut answer = b"_result\0".to_vec();
        answer.extend(transaction.to_be_bytes());
        answer.extend([5, 0]);
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let at = self.received.windows(answer.len()).position(|window| window == answer);
            if let Some(id) = at.and_then(|at| self.received.get(at + answer.len()..at + answer.len() + 8)) {
                self.stream = f64::from_be_bytes(id.try_into().unwrap()) as u32;
                return self.received.clear();
            }
            assert!(Instant::now() < end, "no answer to createStream: {:?}", self.heard());
            assert!(self.read(Duration::from_millis(100)), "closed at createStream: {:?}", self.heard());
        }
    }

    /// Ends a publication as encoders do, and keeps the connection.
    pub(crate) fn unpublish(&mut self, stream: &str) {
        self.command(0, &[Amf::Text("FCUnpublish"), Amf::Number(4.0), Amf::Null, Amf::Text(stream)]);
        let id = f64::from(self.stream);
        self.command(0, &[Amf::Text("deleteStream"), Amf::Number(5.0), Amf::Null, Amf::Number(id)]);
    }

    /// Begins to publish a stream of `live`.
    pub(crate) fn publish(port: u16, stream: &str) -> Rtmp {
        let mut rtmp = Rtmp::live(port);
        rtmp.ask_publish(stream);
        rtmp.expect("NetStream.Publish.Start");
        rtmp
    }

    /// Asks to publish, without waiting for the answer.
    pub(crate) fn ask_publish(&mut self, stream: &str) {
        self.command(
            self.stream,
            &[Amf::Text("publish"), Amf::Number(3.0), Amf::Null, Amf::Text(stream), Amf::Text("live")],
        );
    }

    /// Begins to play a stream of `live`; nothing is read.
    pub(crate) fn play(port: u16, stream: &str) -> Rtmp {
        let mut rtmp = Rtmp::live(port);
        rtmp.ask_play(stream);
        rtmp
    }

    /// Asks to play, without waiting for the answer.
    pub(crate) fn ask_play(&mut self, stream: &str) {
        self.command(self.stream, &[Amf::Text("play"), Amf::Number(3.0), Amf::Null, Amf::Text(stream)]);
    }

    /// Sends the tags of an FLV file as they are, without waiting for their time.
    pub(crate) fn send(&mut self, tags: &[Tag]) {
        for tag in tags {
            self.message(if tag.kind == 8 { 4 } else { 6 }, tag.kind, self.stream, tag.ts, &tag.data);
        }
        self.drain();
    }

    /// Sends a command on a message stream.
    pub(crate) fn command(&mut self, stream: u32, values: &[Amf<'_>]) {
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as u16).to_be_bytes());
            out.extend(text.as_bytes());
        };
        let mut body = Vec::new();
        for value in values {
            match value {
                Amf::Number(number) => {
                    body.push(0);
                    body.extend(number.to_be_bytes());
                }
                Amf::Text(value) => {
                    body.push(2);
                    text(&mut body, value);
                }
                Amf::Null => body.push(5),
                Amf::Object(fields) => {
                    body.push(3);
                    for (name, value) in *fields {
                        text(&mut body, name);
                        body.push(2);
                        text(&mut body, value);
                    }
                    body.extend([0, 0, 9]);
                }
            }
        }
        self.message(3, 20, stream, 0, &body);
    }

    /// Sends one message as one type-0 chunk.
    pub(crate) fn message(&mut self, csid: u8, kind: u8, stream: u32, ts: u32, body: &[u8]) {
        let mut bytes = vec![csid];
        bytes.extend(&ts.min(0x00ff_ffff).to_be_bytes()[1..]);
        bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
        bytes.push(kind);
        bytes.extend(stream.to_le_bytes());
        if ts >= 0x00ff_ffff {
            bytes.extend(ts.to_be_bytes());
        }
        bytes.extend(body);
        self.socket.write_all(&bytes).unwrap();
    }

    /// Reads until the peer has said `text`; fails after 5 s or at the end of the connection.
    pub(crate) fn expect(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(5);
        while !self.said(text) {
            assert!(Instant::now() < end, "no {text:?} in {:?}", String::from_utf8_lossy(&self.received));
            assert!(self.read(Duration::from_millis(100)), "closed without {text:?}: {:?}", self.heard());
        }
        // What was waited for is done with, so that a later answer of the same name is not mistaken for this one.
        self.received.clear();
    }

    fn said(&self, text: &str) -> bool {
        self.received.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// What the peer has said since the last `expect`, readable.
    pub(crate) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// Whether the peer closes the connection within `limit`.
    pub(crate) fn closes(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if !self.read(Duration::from_millis(100)) {
                return true;
            }
        }
        false
    }

    /// Reads what is there now and forgets it.
    fn drain(&mut self) {
        self.socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 65536];
        while self.socket.read(&mut bytes).is_ok_and(|count| count > 0) {}
        self.socket.set_nonblocking(false).unwrap();
    }

    /// Reads for at most `limit`; false at the end of the connection.
    fn read(&mut self, limit: Duration) -> bool {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut bytes = [0; 65536];
        match self.socket.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.received.extend_from_slice(&bytes[..count]);
                true
            }
            Err(error) => {
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
            }
        }
    }
}
