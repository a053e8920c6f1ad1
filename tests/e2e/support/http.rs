//! A small HTTP/1.x client on a plain socket, to see what libraries hide: chunks, how a response ends, when the
//! first byte comes.
use super::flv::{Parser, Tag};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long any one answer may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(15);

/// A connection.
pub(crate) struct Http {
    /// The socket.
    pub(crate) socket: TcpStream,
    buffer: Vec<u8>,
}

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    /// "HTTP/1.1 200 OK".
    pub(crate) line: String,
    /// 200.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of a header by its name in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the body comes in chunks.
    pub(crate) fn chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    fn body(&self) -> Body {
        match self.get("content-length") {
            _ if self.chunked() => Body::Chunked { left: 0, first: true },
            Some(length) => Body::Length(length.parse().unwrap()),
            None => Body::Close,
        }
    }
}

/// What is left of a body.
#[derive(Debug)]
enum Body {
    Length(usize),
    Chunked { left: usize, first: bool },
    Close,
    Done,
}

impl Http {
    /// Connects to a port of this machine.
    pub(crate) fn connect(port: u16) -> Http {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        Http { socket, buffer: Vec::new() }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a GET of a path with the lines of `more` (each ending in CRLF).
    pub(crate) fn get(&mut self, path: &str, more: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n"));
    }

    /// Reads what is there into the buffer; false at the end of the connection.
    fn fill(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no answer in time; so far {:?}", String::from_utf8_lossy(&self.buffer));
        self.socket.set_read_timeout(Some(left)).unwrap();
        let mut bytes = [0; 65536];
        match self.socket.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.fill(end)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => panic!("the connection broke: {error}"),
        }
    }

    fn line(&mut self, end: Instant) -> String {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(self.buffer[..at].to_vec()).unwrap();
                self.buffer.drain(..at + 2);
                return line;
            }
            assert!(
                self.fill(end),
                "the connection ended within a line: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    /// Reads the head of a response.
    pub(crate) fn head(&mut self) -> Head {
        let end = Instant::now() + ANSWER;
        let status_line = self.line(end);
        let status = status_line.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line(end);
            if line.is_empty() {
                return Head { line: status_line, status, headers };
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header: {line:?}"));
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads a part of the body; None at its end. Fails when the connection ends before the body does.
    fn part(&mut self, body: &mut Body, end: Instant) -> Option<Vec<u8>> {
        loop {
            match body {
                Body::Done => return None,
                Body::Length(0) => *body = Body::Done,
                Body::Length(left) if !self.buffer.is_empty() => {
                    let count = (*left).min(self.buffer.len());
                    *left -= count;
                    return Some(self.buffer.drain(..count).collect());
                }
                Body::Close if !self.buffer.is_empty() => return Some(std::mem::take(&mut self.buffer)),
                Body::Chunked { left: 0, first } => {
                    let first = std::mem::replace(first, false);
                    if !first {
                        assert_eq!(self.line(end), "", "the end of a chunk");
                    }
                    let size = self.line(end);
                    let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16);
                    let size = size.expect("the size of a chunk");
                    *body = Body::Chunked { left: size, first: false };
                    if size == 0 {
                        assert_eq!(self.line(end), "", "the end of the chunks");
                        *body = Body::Done;
                    }
                }
                Body::Chunked { left, .. } if !self.buffer.is_empty() => {
                    let count = (*left).min(self.buffer.len());
                    *left -= count;
                    return Some(self.buffer.drain(..count).collect());
                }
                _ => {
                    if !self.fill(end) {
                        assert!(matches!(body, Body::Close), "the connection ended within a body: {body:?}");
                        *body = Body::Done;
                    }
                }
            }
        }
    }

    /// Reads a whole body.
    pub(crate) fn body(&mut self, head: &Head) -> Vec<u8> {
        let (mut body, end) = (head.body(), Instant::now() + ANSWER);
        let mut all = Vec::new();
        while let Some(part) = self.part(&mut body, end) {
            all.extend(part);
        }
        all
    }

    /// Fails unless the server closes the connection within `limit`; gives what it said before.
    pub(crate) fn closed(mut self, limit: Duration) -> Vec<u8> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the connection is still open after {limit:?}");
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut bytes = [0; 4096];
            match self.socket.read(&mut bytes) {
                Ok(0) => return self.buffer,
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // A reset is a close too: the server may close with our bytes unread.
                Err(_) => return self.buffer,
            }
        }
    }
}

/// A viewer of HTTP-FLV that looks at each tag.
pub(crate) struct Viewer {
    /// The head of the response.
    pub(crate) head: Head,
    /// The connection, for what follows the stream.
    pub(crate) http: Http,
    body: Body,
    parser: Parser,
}

impl Viewer {
    /// Asks for a stream and reads the head, which must say 200.
    pub(crate) fn join(port: u16, path: &str) -> Viewer {
        let mut http = Http::connect(port);
        http.get(path, "");
        Viewer::started(http)
    }

    /// Reads the head of the response to a request that was sent already.
    pub(crate) fn started(mut http: Http) -> Viewer {
        let head = http.head();
        Viewer::of(head, http)
    }

    /// From a head that was read already, which must say 200.
    pub(crate) fn of(head: Head, http: Http) -> Viewer {
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.get("content-type"), Some("video/x-flv"));
        Viewer { body: head.body(), head, http, parser: Parser::default() }
    }

    /// The next tag; None at the clean end of the stream. Fails when nothing comes within `limit`.
    pub(crate) fn tag(&mut self, limit: Duration) -> Option<Tag> {
        let end = Instant::now() + limit;
        loop {
            if let Some(tag) = self.parser.next() {
                return Some(tag);
            }
            match self.http.part(&mut self.body, end) {
                Some(part) => self.parser.push(&part),
                None => {
                    assert_eq!(self.parser.left(), 0, "the stream ends within a tag");
                    return None;
                }
            }
        }
    }

    /// All tags until the stream ends, each within `limit` after the one before.
    pub(crate) fn rest(&mut self, limit: Duration) -> Vec<Tag> {
        std::iter::from_fn(|| self.tag(limit)).collect()
    }

    /// All tags up to and with the first for which `last` holds.
    pub(crate) fn until(&mut self, limit: Duration, mut last: impl FnMut(&Tag) -> bool) -> Vec<Tag> {
        let mut tags = Vec::new();
        loop {
            let tag = self.tag(limit).unwrap_or_else(|| panic!("the stream ended after {} tags", tags.len()));
            tags.push(tag);
            if last(&tags[tags.len() - 1]) {
                return tags;
            }
        }
    }

    /// The flags byte of the FLV header.
    pub(crate) fn flags(&self) -> Option<u8> {
        self.parser.flags
    }
}
