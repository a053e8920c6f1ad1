//! The reading end of HTTP-FLV: response head, chunked coding, FLV tags. Keeps only the start of each tag.
//!
//! Every length is checked: a PreviousTagSize that does not match, an unknown tag type or a broken chunk line is an
//! error, so a server that cuts a message or resumes a partial write at the wrong place is seen at once.

use crate::synth::HEAD;

const MAX_RESPONSE_HEAD: usize = 4096;
const FLV_HEAD: usize = 13;
const TAG_HEAD: usize = 11;
const MAX_TAG: usize = 8 << 20;

/// What is wrong with a stream, for the report.
pub type Fault = &'static str;

/// A parser of one response, fed with whatever the socket gave.
pub struct FlvIn {
    http: Http,
    tags: Tags,
}

enum Http {
    Head(Vec<u8>),
    Plain,
    ChunkSize { size: usize, digits: u8 },
    ChunkData(usize),
    ChunkEnd(u8),
    End,
}

#[derive(Default)]
struct Tags {
    begun: bool,
    head: Vec<u8>,
    /// Length of the current tag's body once its head is complete.
    len: Option<usize>,
    got: usize,
}

impl FlvIn {
    /// A parser that waits for the response head.
    pub fn new() -> FlvIn {
        FlvIn { http: Http::Head(Vec::new()), tags: Tags::default() }
    }

    /// Takes the next bytes and calls `on_tag(type, length, first bytes)` for each tag that became complete.
    pub fn feed(&mut self, mut data: &[u8], on_tag: &mut impl FnMut(u8, usize, &[u8])) -> Result<(), Fault> {
        while !data.is_empty() {
            let used = match &mut self.http {
                Http::Head(head) => {
                    let used = take_head(head, data)?;
                    if head.ends_with(b"\r\n\r\n") {
                        self.http = after_head(head)?;
                    }
                    used
                }
                Http::Plain => {
                    self.tags.feed(data, on_tag)?;
                    data.len()
                }
                Http::ChunkData(left) => {
                    let used = data.len().min(*left);
                    self.tags.feed(&data[..used], on_tag)?;
                    *left -= used;
                    if *left == 0 {
                        self.http = Http::ChunkEnd(0);
                    }
                    used
                }
                Http::End if matches!(data[0], b'\r' | b'\n') => 1,
                Http::End => return Err("bytes after the last chunk"),
                _ => {
                    self.chunk_line(data[0])?;
                    1
                }
            };
            data = &data[used..];
        }
        Ok(())
    }

    fn chunk_line(&mut self, byte: u8) -> Result<(), Fault> {
        self.http = match (&self.http, byte) {
            (Http::ChunkSize { size, digits }, _) if byte.is_ascii_hexdigit() && *digits < 7 => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0) as usize;
                Http::ChunkSize { size: size * 16 + digit, digits: digits + 1 }
            }
            (Http::ChunkSize { size, digits }, b'\r') if *digits > 0 => {
                Http::ChunkSize { size: *size, digits: *digits }
            }
            (Http::ChunkSize { size: 0, digits }, b'\n') if *digits > 0 => Http::End,
            (Http::ChunkSize { size, digits }, b'\n') if *digits > 0 => Http::ChunkData(*size),
            (Http::ChunkEnd(0), b'\r') => Http::ChunkEnd(1),
            (Http::ChunkEnd(1), b'\n') => Http::ChunkSize { size: 0, digits: 0 },
            _ => return Err("bad chunk line"),
        };
        Ok(())
    }
}

fn take_head(head: &mut Vec<u8>, data: &[u8]) -> Result<usize, Fault> {
    for (used, byte) in data.iter().enumerate() {
        head.push(*byte);
        if head.ends_with(b"\r\n\r\n") {
            return Ok(used + 1);
        }
    }
    if head.len() > MAX_RESPONSE_HEAD { Err("response head too long") } else { Ok(data.len()) }
}

fn after_head(head: &[u8]) -> Result<Http, Fault> {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") && !text.starts_with("http/1.0 200") {
        return Err("refused: status is not 200");
    }
    let chunked = text.contains("transfer-encoding: chunked");
    Ok(if chunked { Http::ChunkSize { size: 0, digits: 0 } } else { Http::Plain })
}

impl Tags {
    fn feed(&mut self, mut data: &[u8], on_tag: &mut impl FnMut(u8, usize, &[u8])) -> Result<(), Fault> {
        while !data.is_empty() {
            let used = match (self.begun, self.len) {
                (false, _) => self.file_head(data)?,
                (true, None) => self.tag_head(data)?,
                (true, Some(len)) => self.tag_body(len, data, on_tag)?,
            };
            data = &data[used..];
        }
        Ok(())
    }

    fn gather(&mut self, data: &[u8], wanted: usize) -> usize {
        let used = data.len().min(wanted - self.head.len());
        self.head.extend_from_slice(&data[..used]);
        used
    }

    fn file_head(&mut self, data: &[u8]) -> Result<usize, Fault> {
        let used = self.gather(data, FLV_HEAD);
        if self.head.len() == FLV_HEAD {
            if !self.head.starts_with(b"FLV\x01") || !self.head.ends_with(&[0, 0, 0, 9, 0, 0, 0, 0]) {
                return Err("bad FLV header");
            }
            self.begun = true;
            self.head.clear();
        }
        Ok(used)
    }

    fn tag_head(&mut self, data: &[u8]) -> Result<usize, Fault> {
        let used = self.gather(data, TAG_HEAD);
        if self.head.len() == TAG_HEAD {
            let len =
                usize::from(self.head[1]) << 16 | usize::from(self.head[2]) << 8 | usize::from(self.head[3]);
            if !matches!(self.head[0], 8 | 9 | 18) || len > MAX_TAG {
                return Err("bad FLV tag head");
            }
            self.len = Some(len);
            self.got = 0;
        }
        Ok(used)
    }

    /// The body and the PreviousTagSize after it; `head` keeps the tag head, the first bytes and the last four.
    fn tag_body(
        &mut self,
        len: usize,
        data: &[u8],
        on_tag: &mut impl FnMut(u8, usize, &[u8]),
    ) -> Result<usize, Fault> {
        let kept = len.min(HEAD);
        if self.got < len {
            let used = data.len().min(len - self.got);
            let keep = used.min(kept.saturating_sub(self.got));
            self.head.extend_from_slice(&data[..keep]);
            self.got += used;
            return Ok(used);
        }
        let used = self.gather(data, TAG_HEAD + kept + 4);
        if let Some((head, size)) = self.head.split_last_chunk::<4>()
            && head.len() == TAG_HEAD + kept
        {
            if u32::from_be_bytes(*size) as usize != len + TAG_HEAD {
                return Err("bad PreviousTagSize");
            }
            on_tag(head[0], len, &head[TAG_HEAD..]);
            self.head.clear();
            self.len = None;
        }
        Ok(used)
    }
}
