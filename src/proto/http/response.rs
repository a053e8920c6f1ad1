//! HTTP answers: heads and one-line bodies.   Spec: RFC 9110, section 15; RFC 9112, section 6; Fetch (CORS).

use std::fmt::Write;

/// What pages of other hosts may do here, as SRS answers it.
const CORS: &str = "Access-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Methods: GET, POST, HEAD, PUT, DELETE, OPTIONS\r\n\
    Access-Control-Expose-Headers: Server,range,Content-Length,Content-Range\r\n\
    Access-Control-Allow-Headers: origin,range,accept-encoding,referer,Cache-Control,X-Proxy-Authorization,\
    X-Requested-With,Content-Type\r\n";

/// Which cross-origin headers an answer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cors {
    /// None: not asked for, or `crossdomain off`.
    No,
    /// Any page may read the answer.
    Any,
    /// Any page, and public pages may reach into the private network.
    PrivateNetwork,
}

/// How a body's end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// By its length.
    Known(u64),
    /// By the last chunk.
    Chunked,
    /// By the end of the connection.
    ToClose,
}

/// An answer's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// Status code.
    pub status: u16,
    /// `Content-Type`; none when empty.
    pub content_type: &'a str,
    /// How the body ends.
    pub length: Length,
    /// Whether the connection lives on after the body.
    pub keep_alive: bool,
    /// Cross-origin headers.
    pub cors: Cors,
    /// More header lines, each with its CRLF.
    pub extra: &'a str,
}

impl Head<'_> {
    /// Appends the head to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut text = String::with_capacity(512);
        let connection = if self.keep_alive { "keep-alive" } else { "close" };
        let _ = write!(text, "HTTP/1.1 {} {}\r\nServer: runnel\r\n", self.status, reason(self.status));
        let _ = write!(text, "Connection: {connection}\r\n");
        if !self.content_type.is_empty() {
            let _ = write!(text, "Content-Type: {}\r\n", self.content_type);
        }
        match self.length {
            Length::Known(len) => {
                let _ = write!(text, "Content-Length: {len}\r\n");
            }
            Length::Chunked => text.push_str("Transfer-Encoding: chunked\r\n"),
            Length::ToClose => {}
        }
        if self.cors != Cors::No {
            text.push_str(CORS);
        }
        if self.cors == Cors::PrivateNetwork {
            text.push_str("Access-Control-Allow-Private-Network: true\r\n");
        }
        text.push_str(self.extra);
        text.push_str("\r\n");
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends the answer to a WebSocket upgrade (RFC 6455, 4.2.2).
pub fn upgrade(out: &mut Vec<u8>, accept_key: &str) {
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nServer: runnel\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    out.extend_from_slice(format!("{head}Sec-WebSocket-Accept: {accept_key}\r\n\r\n").as_bytes());
}

/// Appends a whole answer whose body is one line of text; with `head_only` the line is left out.
pub fn text(out: &mut Vec<u8>, status: u16, line: &str, keep_alive: bool, cors: Cors, head_only: bool) {
    let length = Length::Known(line.len() as u64 + 1);
    let extra = match status {
        405 => "Allow: GET, HEAD, OPTIONS\r\nCache-Control: no-store\r\n",
        _ => "Cache-Control: no-store\r\n",
    };
    Head { status, content_type: "text/plain; charset=utf-8", length, keep_alive, cors, extra }.write(out);
    if !head_only {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
}

/// The last chunk of a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_answer_is_framed_by_its_length() {
        let mut out = Vec::new();
        text(&mut out, 404, "no such stream: live/x", true, Cors::Any, false);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"));
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(head.contains("Access-Control-Allow-Origin: *"));
        assert_eq!(body, "no such stream: live/x\n");
    }

    #[test]
    fn each_status_that_is_given_has_its_phrase() {
        let given = [
            200, 204, 206, 301, 302, 304, 307, 400, 401, 403, 404, 405, 408, 412, 413, 414, 415, 416, 431,
            500, 503,
        ];
        assert!(given.iter().all(|status| reason(*status) != "Error"));
    }

    #[test]
    fn a_head_answer_has_the_length_but_no_body() {
        let mut out = Vec::new();
        text(&mut out, 404, "gone", false, Cors::No, true);
        assert!(out.ends_with(b"\r\n\r\n"));
        assert!(String::from_utf8(out).unwrap().contains("Content-Length: 5\r\n"));
    }
}
