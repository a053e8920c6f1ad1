//! The reading end of any other container over HTTP (TS, fragmented MP4, AAC): response head, chunked coding left as it is,
//! stamps wherever they are whole. A stamp that a container's packets or a chunk cut in two is missed, so frames are
//! counted, and their latency taken, but no gaps.

use crate::flv::Fault;
use crate::synth;

const MAX_HEAD: usize = 4096;

/// A parser of one response, fed with whatever the socket gave.
#[derive(Default)]
pub struct BytesIn {
    head: Vec<u8>,
    begun: bool,
}

impl BytesIn {
    /// Takes the next bytes and calls `on_stamp(time)` for each stamp; gives whether the body has begun.
    pub fn feed(&mut self, mut data: &[u8], mut on_stamp: impl FnMut(u64)) -> Result<bool, Fault> {
        if !self.begun {
            let before = self.head.len();
            self.head.extend_from_slice(data);
            let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
                return if self.head.len() > MAX_HEAD { Err("response head too long") } else { Ok(false) };
            };
            if !self.head.starts_with(b"HTTP/1.1 200") {
                return Err("refused: status is not 200");
            }
            self.begun = true;
            data = &data[end + 4 - before..];
            self.head = Vec::new();
        }
        let mut rest = data;
        while let Some(at) = rest.windows(synth::MAGIC.len()).position(|four| four == synth::MAGIC) {
            if let Some((_, time)) = synth::digits(&rest[at..]) {
                on_stamp(time);
            }
            rest = &rest[at + synth::MAGIC.len()..];
        }
        Ok(!data.is_empty())
    }
}
