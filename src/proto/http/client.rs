//! The client's end of HTTP/1.1, for small questions and answers.   Spec: RFC 9112, sections 3 to 7 and 9.
//!
//! In: what is asked, then any split of the peer's bytes.  Out: the bytes of the request, appended to the caller's buffer,
//! and one [`Answer`] to each.
//!
//! ```text
//!   Head ──► Body by length | by chunks ──► trailer | to the end of the connection ──► Answer, Head again
//! ```
//!
//! Invariants: a head takes at most [`MAX_HEAD`] bytes, a body [`MAX_BODY`]; whoever sends more is done with.
//! Deviations: provisional answers (1xx) are skipped; a switch of protocols was not asked for and is an error.

use std::fmt;

/// Longest head of an answer in bytes, the trailer of chunks counted too.
pub const MAX_HEAD: usize = 8 << 10;
/// Longest body of an answer in bytes.
pub const MAX_BODY: usize = 16 << 10;

/// Appends a request to `out`: a POST of JSON, or without a body a GET. `authority` and `path` come from a URL that was
/// checked: they hold neither spaces nor line ends.
pub fn request(out: &mut Vec<u8>, authority: &str, path: &str, json: Option<&str>) {
    let method = if json.is_some() { "POST" } else { "GET" };
    for part in [method, " ", path, " HTTP/1.1\r\nHost: ", authority, "\r\nUser-Agent: runnel\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    if let Some(json) = json {
        let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", json.len());
        out.extend_from_slice(head.as_bytes());
    }
    out.extend_from_slice(b"Connection: keep-alive\r\n\r\n");
    out.extend_from_slice(json.unwrap_or_default().as_bytes());
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code, from 200 on.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the connection can carry another request.
    pub keep_alive: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerError {
    /// Not HTTP, or broken.
    Malformed,
    /// More than [`MAX_HEAD`] or [`MAX_BODY`].
    TooLong,
    /// The connection ended before the answer did.
    Cut,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerError::Malformed => f.write_str("the answer is not HTTP"),
            AnswerError::TooLong => {
                write!(f, "the answer has more than {MAX_HEAD} bytes of head or {MAX_BODY} of body")
            }
            AnswerError::Cut => f.write_str("the connection ended before the answer did"),
        }
    }
}

impl std::error::Error for AnswerError {}

/// How the end of a body is known, and what is left of it.
#[derive(Debug)]
enum Left {
    Length(usize),
    ToClose,
    /// The line with the size of a chunk comes next.
    Size,
    /// Bytes of a chunk.
    Chunk(usize),
    /// The line end behind a chunk.
    ChunkEnd,
    /// Lines up to an empty one.
    Trailer,
}

/// Reads the answers of one connection.
#[derive(Debug, Default)]
pub struct Answers {
    /// A line of the head, or one between chunks, as far as it is there.
    line: Vec<u8>,
    /// Bytes of all lines of this answer.
    lines: usize,
    head: Option<Head>,
    body: Option<(Answer, Left)>,
}

impl Answers {
    /// Whether nothing of an answer has come.
    pub fn is_idle(&self) -> bool {
        self.line.is_empty() && self.head.is_none() && self.body.is_none()
    }

    /// Takes from `input` up to the end of the next answer. `Ok(None)`: all was taken, more is needed.
    ///
    /// # Errors
    /// What is wrong; the connection is of no further use.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Answer>, AnswerError> {
        loop {
            let Some((answer, left)) = &mut self.body else {
                match self.head(input)? {
                    true => continue,
                    false => return Ok(None),
                }
            };
            match left {
                Left::Length(0) => return Ok(self.finish()),
                Left::Length(n) => {
                    *n -= copy(&mut answer.body, input, *n)?;
                    if *n > 0 {
                        return Ok(None);
                    }
                }
                Left::ToClose => {
                    copy(&mut answer.body, input, usize::MAX)?;
                    return Ok(None);
                }
                Left::Chunk(0) => *left = Left::ChunkEnd,
                Left::Chunk(n) => {
                    *n -= copy(&mut answer.body, input, *n)?;
                    if *n > 0 {
                        return Ok(None);
                    }
                }
                Left::Size | Left::ChunkEnd | Left::Trailer => {
                    if !take_line(&mut self.line, &mut self.lines, input)? {
                        return Ok(None);
                    }
                    let line = std::mem::take(&mut self.line);
                    let line = line.trim_ascii();
                    match left {
                        Left::Size => {
                            *left = match chunk_size(line)? {
                                0 => Left::Trailer,
                                n => Left::Chunk(n),
                            }
                        }
                        Left::ChunkEnd if line.is_empty() => *left = Left::Size,
                        Left::ChunkEnd => return Err(AnswerError::Malformed),
                        _ if line.is_empty() => return Ok(self.finish()),
                        _ => {}
                    }
                }
            }
        }
    }

    /// The peer has closed: the answer that ends so, if there is one.
    ///
    /// # Errors
    /// When an answer was cut.
    pub fn end(&mut self) -> Result<Option<Answer>, AnswerError> {
        match &self.body {
            Some((_, Left::ToClose)) => Ok(self.finish()),
            _ if self.is_idle() => Ok(None),
            _ => Err(AnswerError::Cut),
        }
    }

    fn finish(&mut self) -> Option<Answer> {
        self.lines = 0;
        self.body.take().map(|(answer, _)| answer)
    }

    /// Takes a head; true when it is there, or was one that is skipped.
    fn head(&mut self, input: &mut &[u8]) -> Result<bool, AnswerError> {
        while take_line(&mut self.line, &mut self.lines, input)? {
            let line = std::mem::take(&mut self.line);
            let line = line.trim_ascii_end();
            match &mut self.head {
                None => self.head = Some(Head::first(line).ok_or(AnswerError::Malformed)?),
                Some(head) if !line.is_empty() => head.add(line).ok_or(AnswerError::Malformed)?,
                Some(_) => {
                    self.body = self.head.take().map(Head::body).transpose()?.flatten();
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// What a head says of the answer, of its body's end and of the connection's.
#[derive(Debug, Default)]
struct Head {
    status: u16,
    chunked: bool,
    length: Option<u64>,
    /// The connection ends with the answer.
    close: bool,
}

impl Head {
    /// The status line.
    fn first(line: &[u8]) -> Option<Head> {
        let (version, rest) = line.strip_prefix(b"HTTP/1.")?.split_first()?;
        let (status, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
        let good = matches!(version, b'0' | b'1') && matches!(rest.first(), None | Some(b' '));
        let status = number(status).filter(|_| good)? as u16;
        Some(Head { status, close: *version == b'0', ..Head::default() })
    }

    /// A header line; `None` if it cannot be one.
    fn add(&mut self, line: &[u8]) -> Option<()> {
        let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
        let value = value.get(1..)?.trim_ascii();
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value)?;
            return (self.length.replace(length).unwrap_or(length) == length).then_some(());
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // No other coding was asked for.
            let twice = std::mem::replace(&mut self.chunked, true);
            return (value.eq_ignore_ascii_case(b"chunked") && !twice).then_some(());
        }
        if name.eq_ignore_ascii_case(b"connection") {
            let has = |word: &[u8]| {
                value.split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word))
            };
            self.close = has(b"close") || self.close && !has(b"keep-alive");
        }
        Some(())
    }

    /// The answer and how its body ends; `None` for an answer that only precedes another.
    fn body(self) -> Result<Option<(Answer, Left)>, AnswerError> {
        let left = match (self.status, self.length) {
            (100 | 102..=199, _) => return Ok(None),
            (0..=199, _) => return Err(AnswerError::Malformed),
            (204 | 304, _) => Left::Length(0),
            _ if self.chunked => Left::Size,
            (_, Some(n)) => match usize::try_from(n) {
                Ok(n @ ..=MAX_BODY) => Left::Length(n),
                _ => return Err(AnswerError::TooLong),
            },
            (_, None) => Left::ToClose,
        };
        let ends = self.close || matches!(left, Left::ToClose) || self.chunked && self.length.is_some();
        Ok(Some((Answer { status: self.status, body: Vec::new(), keep_alive: !ends }, left)))
    }
}

/// A number of digits alone, below 10^15.
fn number(digits: &[u8]) -> Option<u64> {
    let good = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    good.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Adds what `input` has up to the end of its first line; true when the end is there.
fn take_line(line: &mut Vec<u8>, lines: &mut usize, input: &mut &[u8]) -> Result<bool, AnswerError> {
    let end = input.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    let (taken, rest) = input.split_at_checked(end.unwrap_or(input.len())).unwrap_or_default();
    *lines = lines.saturating_add(taken.len());
    if *lines > MAX_HEAD {
        return Err(AnswerError::TooLong);
    }
    line.extend_from_slice(taken);
    *input = rest;
    Ok(end.is_some())
}

/// Moves at most `limit` bytes of a body; gives how many.
fn copy(body: &mut Vec<u8>, input: &mut &[u8], limit: usize) -> Result<usize, AnswerError> {
    let (taken, rest) = input.split_at_checked(limit.min(input.len())).unwrap_or_default();
    if body.len().saturating_add(taken.len()) > MAX_BODY {
        return Err(AnswerError::TooLong);
    }
    body.extend_from_slice(taken);
    *input = rest;
    Ok(taken.len())
}

/// The size in the line before a chunk; what follows a semicolon means nothing here.
fn chunk_size(line: &[u8]) -> Result<usize, AnswerError> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let digits = line.get(..end).unwrap_or_default().trim_ascii_end();
    if !(1..=8).contains(&digits.len()) {
        return Err(AnswerError::Malformed);
    }
    let mut size = 0;
    for digit in digits {
        let value = char::from(*digit).to_digit(16).ok_or(AnswerError::Malformed)?;
        size = size << 4 | value as usize;
    }
    if size > MAX_BODY { Err(AnswerError::TooLong) } else { Ok(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers in `bytes`, fed in pieces of `step`, and what the end of the connection makes of the rest.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<Answer>, AnswerError> {
        let mut answers = Answers::default();
        let mut all = Vec::new();
        for mut piece in bytes.chunks(step) {
            while let Some(answer) = answers.feed(&mut piece)? {
                all.push(answer);
            }
            assert!(piece.is_empty());
        }
        all.extend(answers.end()?);
        Ok(all)
    }

    /// As `read`, in every split.
    fn every(text: &str) -> Result<Vec<Answer>, AnswerError> {
        let whole = read(text.as_bytes(), usize::MAX);
        for step in [1, 2, 3, 7, 50] {
            assert_eq!(read(text.as_bytes(), step), whole, "in pieces of {step}: {text}");
        }
        whole
    }

    fn one(text: &str) -> (u16, String, bool) {
        let mut all = every(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(all.len(), 1, "{text}");
        let answer = all.remove(0);
        (answer.status, String::from_utf8(answer.body).unwrap(), answer.keep_alive)
    }

    #[test]
    fn requests_are_what_servers_understand() {
        let mut out = Vec::new();
        request(&mut out, "a:81", "/x?y", Some("{}"));
        request(&mut out, "b", "/", None);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "POST /x?y HTTP/1.1\r\nHost: a:81\r\nUser-Agent: runnel\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\nConnection: keep-alive\r\n\r\n{}\
             GET / HTTP/1.1\r\nHost: b\r\nUser-Agent: runnel\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn bodies_end_by_length_by_chunks_and_with_the_connection() {
        let is = |status, body: &str, lives| (status, body.to_owned(), lives);
        assert_eq!(one("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0"), is(200, "0", true));
        assert_eq!(
            one("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nConnection: Close\r\n\r\n0"),
            is(200, "0", false)
        );
        assert_eq!(one("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), is(403, "", true));
        assert_eq!(one("HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\n"), is(204, "", true));
        assert_eq!(one("HTTP/1.0 200 OK\r\n\r\n{\"code\":0}"), is(200, "{\"code\":0}", false));
        assert_eq!(
            one("HTTP/1.0 200 OK\nConnection: keep-alive\nContent-Length: 2\n\nab"),
            is(200, "ab", true)
        );
        let chunks =
            "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n{\"c\r\n07\r\node\":0}\r\n";
        assert_eq!(one(&format!("{chunks}0\r\n\r\n")), is(201, "{\"code\":0}", true));
        assert_eq!(one(&format!("{chunks}0\r\nA: b\r\nC: d\r\n\r\n")), is(201, "{\"code\":0}", true));
        assert_eq!(
            one("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0"),
            is(200, "0", true)
        );
    }

    #[test]
    fn answers_on_one_connection_follow_each_other() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0".repeat(3);
        assert_eq!(every(&text).unwrap().len(), 3);
        assert_eq!(every("").unwrap(), []);
    }

    #[test]
    fn what_is_broken_cut_or_too_long_is_no_answer() {
        let long = "x".repeat(MAX_BODY + 1);
        for (text, error) in [
            ("hello\r\n\r\n".to_owned(), AnswerError::Malformed),
            ("HTTP/1.1 101 Switch\r\n\r\n".to_owned(), AnswerError::Malformed),
            ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n0".to_owned(), AnswerError::Malformed),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n00".to_owned(),
                AnswerError::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".to_owned(),
                AnswerError::Malformed,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".to_owned(), AnswerError::Malformed),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n00\r\n".to_owned(),
                AnswerError::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n".to_owned(),
                AnswerError::TooLong,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n".to_owned(),
                AnswerError::Malformed,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_owned(), AnswerError::TooLong),
            (format!("HTTP/1.1 200 OK\r\n\r\n{long}"), AnswerError::TooLong),
            (format!("HTTP/1.1 200 OK\r\nA: {long}"), AnswerError::TooLong),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n0".to_owned(), AnswerError::Cut),
            ("HTTP/1.1 200".to_owned(), AnswerError::Cut),
        ] {
            assert_eq!(every(&text), Err(error), "{}", text.get(..80).unwrap_or(&text));
        }
        let endless =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", "1\r\n0\r\n".repeat(20_000));
        assert_eq!(read(endless.as_bytes(), 4096), Err(AnswerError::TooLong));
    }
}
