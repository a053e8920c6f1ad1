//! WebSocket, as far as a viewer needs it.   Spec: RFC 6455.
//!
//! In: the key of an upgrade request, and whatever a viewer sends afterwards.  Out: the accept key, answers to pings, and
//! word that the viewer closes. What we send is framed by [`crate::media::mux`]'s sibling of HTTP chunks, not here.
//!
//! Invariants: nothing of a data message is kept; control messages are at most 125 bytes.

use base64::Engine;
use sha1::{Digest, Sha1};

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const OPCODE_CLOSE: u8 = 8;
const OPCODE_PING: u8 = 9;
const OPCODE_PONG: u8 = 10;
/// Longest payload of a control message, section 5.5.
const MAX_CONTROL: usize = 125;

/// The value of `Sec-WebSocket-Accept`, section 4.2.2.
pub fn accept_key(key: &str) -> String {
    let digest = Sha1::new().chain_update(key.trim()).chain_update(GUID).finalize();
    base64::engine::general_purpose::STANDARD.encode(digest)
}

/// Why the connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The viewer closes.
    Closed,
    /// A message that is not masked, or a control message that is too long (section 5.1, 5.5).
    Broken,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Inside the payload of a data message.
    Skip(u64),
}

/// Reads what a viewer sends.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
    /// A head and, of control messages, the payload, as far as it is here.
    held: Vec<u8>,
}

impl Reader {
    /// Takes `input`; answers are appended to `out`.
    ///
    /// # Errors
    /// When the connection has to end; the closing message is in `out` already.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Ended> {
        for byte in input {
            match self.state {
                State::Skip(left) => self.state = if left > 1 { State::Skip(left - 1) } else { State::Head },
                State::Head => {
                    self.held.push(*byte);
                    self.head(out)?;
                }
            }
        }
        Ok(())
    }

    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), Ended> {
        let Some((&[first, second], rest)) = self.held.split_first_chunk() else { return Ok(()) };
        let opcode = first & 0x0f;
        if second & 0x80 == 0 {
            return Err(close(out, 1002, Ended::Broken));
        }
        let (len, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
                None => return Ok(()),
            },
            127 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest),
                None => return Ok(()),
            },
            short => (u64::from(short), rest),
        };
        let Some((mask, payload)) = rest.split_first_chunk::<4>() else { return Ok(()) };
        if opcode < OPCODE_CLOSE {
            self.state = if len > 0 { State::Skip(len) } else { State::Head };
            self.held.clear();
            return Ok(());
        }
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= MAX_CONTROL) else {
            return Err(close(out, 1002, Ended::Broken));
        };
        if payload.len() < len {
            return Ok(());
        }
        let plain: Vec<u8> =
            payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        self.held.clear();
        match opcode {
            OPCODE_CLOSE => Err(close(out, 1000, Ended::Closed)),
            OPCODE_PING => {
                out.extend_from_slice(&[0x80 | OPCODE_PONG, len as u8]);
                out.extend_from_slice(&plain);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Appends the closing message.
pub fn close(out: &mut Vec<u8>, code: u16, why: Ended) -> Ended {
    out.extend_from_slice(&[0x80 | OPCODE_CLOSE, 2]);
    out.extend_from_slice(&code.to_be_bytes());
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_of_the_specification() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..=125 => bytes.push(0x80 | short as u8),
            _ => {
                bytes.push(0x80 | 126);
                bytes.extend((payload.len() as u16).to_be_bytes());
            }
        }
        bytes.extend([1, 2, 3, 4]);
        bytes.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    #[test]
    fn data_is_passed_over_pings_are_answered_and_a_close_ends_it_under_every_split() {
        let talk =
            [masked(1, &[7; 300]), masked(9, b"hello"), masked(2, b""), masked(10, b"x"), masked(8, b"")]
                .concat();
        for cut in 0..talk.len() {
            let (mut reader, mut out) = (Reader::default(), Vec::new());
            reader.feed(&talk[..cut], &mut out).unwrap();
            assert_eq!(reader.feed(&talk[cut..], &mut out), Err(Ended::Closed), "cut at {cut}");
            assert_eq!(out, b"\x8a\x05hello\x88\x02\x03\xe8");
        }
    }

    #[test]
    fn what_is_no_websocket_message_ends_it() {
        for bytes in [&b"\x81\x05hello"[..], b"\x89\xfe\x01\x00abcd"] {
            let mut out = Vec::new();
            assert_eq!(Reader::default().feed(bytes, &mut out), Err(Ended::Broken));
            assert_eq!(out, b"\x88\x02\x03\xea");
        }
    }
}
