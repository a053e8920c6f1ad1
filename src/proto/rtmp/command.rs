//! RTMP commands: an AMF0 name, a transaction id and values.   Spec: Adobe RTMP 1.0, section 7.
//!
//! In: the payload of a command message (types 20 and 17).  Out: a [`Command`]; and the bytes of replies.

use super::chunk::write_message;
use super::message::{csid, kind};
use crate::wire::amf0::{self, Amf0Error, Value};

/// A command as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// What is asked for, such as `connect`.
    pub name: String,
    /// Transaction id; 0 wants no reply.
    pub tid: f64,
    /// The command object and what follows it.
    pub args: Vec<Value>,
}

impl Command {
    /// Reads a command; a type 17 payload has a zero byte in front, then AMF0.
    ///
    /// # Errors
    /// When the values cannot be read. A missing name or id is not an error: they are empty and 0.
    pub fn decode(payload: &[u8], amf3: bool) -> Result<Command, Amf0Error> {
        let payload = match payload.split_first() {
            Some((0, rest)) if amf3 => rest,
            _ => payload,
        };
        let mut values = amf0::decode_all(payload)?.into_iter();
        let name = values.next().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
        let tid = values.next().and_then(|value| value.as_f64()).unwrap_or(0.0);
        Ok(Command { name, tid, args: values.collect() })
    }

    /// Argument `n` (0 is the command object) as text.
    pub fn text(&self, n: usize) -> Option<&str> {
        self.args.get(n)?.as_str()
    }

    /// Argument `n` as a number.
    pub fn number(&self, n: usize) -> Option<f64> {
        self.args.get(n)?.as_f64()
    }
}

/// Where a reply goes: chunk size in force towards the peer, and the buffer.
#[derive(Debug)]
pub struct Reply<'a> {
    /// Bytes to send are appended here.
    pub out: &'a mut Vec<u8>,
    /// Chunk size that the peer was told.
    pub chunk_size: u32,
}

impl Reply<'_> {
    /// A command on message stream `msid`.
    pub fn command(&mut self, msid: u32, name: &str, tid: f64, args: &[Value]) {
        let head = [Value::string(name), Value::Number(tid)];
        let payload = amf0::encode_all(head.iter().chain(args));
        let csid = if msid == 0 { csid::COMMAND } else { csid::STREAM };
        write_message(self.out, self.chunk_size, csid, kind::COMMAND_AMF0, msid, 0, &payload);
    }

    /// A data message (type 18) on message stream `msid`.
    pub fn data(&mut self, msid: u32, values: &[Value]) {
        let payload = amf0::encode_all(values);
        write_message(self.out, self.chunk_size, csid::STREAM, kind::DATA_AMF0, msid, 0, &payload);
    }

    /// A protocol control message.
    pub fn control(&mut self, kind: u8, payload: &[u8]) {
        write_message(self.out, self.chunk_size, csid::PROTOCOL, kind, 0, 0, payload);
    }

    /// `onStatus`, section 7.2.2.
    pub fn status(&mut self, msid: u32, level: Level, code: &str, description: &str) {
        let info = info(level, code, description);
        self.command(msid, "onStatus", 0.0, &[Value::Null, info]);
    }
}

/// How a status is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// All is well.
    Status,
    /// Something to know.
    Warning,
    /// The command failed.
    Error,
}

/// The information object of `onStatus`, `_error` and the like.
pub fn info(level: Level, code: &str, description: &str) -> Value {
    let level = match level {
        Level::Status => "status",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    Value::object([
        ("level", Value::string(level)),
        ("code", Value::string(code)),
        ("description", Value::string(description)),
    ])
}
