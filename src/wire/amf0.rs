//! AMF 0: the values of RTMP commands and of FLV script data.
//! Spec: Adobe "Action Message Format -- AMF 0" (2007); the AVM+ marker (section 3.1) leads into [`super::amf3`].
//!
//! Invariants: decoding allocates in proportion to the input, never to a declared count; nesting, the number of
//! values and the bytes repeated through references are bounded by the constants below.
//! Deviations, all seen from real encoders: the count of an ECMA array is ignored; an end marker missing at the very
//! end of the input is accepted; text that is not UTF-8 is repaired with U+FFFD; a reference is replaced by what it
//! refers to, so that a value never points outside itself.

use super::read::Reader;

/// The deepest nesting accepted.
pub const MAX_DEPTH: usize = 32;
/// The most values accepted in one message, those repeated through references included.
pub const MAX_VALUES: usize = 32 * 1024;
/// The most input bytes decoded again because of references in one message.
pub const MAX_REPEATED: usize = 256 * 1024;

mod marker {
    pub(super) const NUMBER: u8 = 0x00;
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const STRING: u8 = 0x02;
    pub(super) const OBJECT: u8 = 0x03;
    pub(super) const NULL: u8 = 0x05;
    pub(super) const UNDEFINED: u8 = 0x06;
    pub(super) const REFERENCE: u8 = 0x07;
    pub(super) const ECMA_ARRAY: u8 = 0x08;
    pub(super) const OBJECT_END: u8 = 0x09;
    pub(super) const STRICT_ARRAY: u8 = 0x0a;
    pub(super) const DATE: u8 = 0x0b;
    pub(super) const LONG_STRING: u8 = 0x0c;
    pub(super) const UNSUPPORTED: u8 = 0x0d;
    pub(super) const XML_DOCUMENT: u8 = 0x0f;
    pub(super) const TYPED_OBJECT: u8 = 0x10;
    pub(super) const AVM_PLUS: u8 = 0x11;
}

/// One AMF 0 value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A double.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// Text. Encoded as a long string when over 65535 bytes.
    String(String),
    /// Named properties in the order sent.
    Object(Vec<(String, Value)>),
    /// Named properties in the order sent, as `onMetaData` uses.
    EcmaArray(Vec<(String, Value)>),
    /// A list.
    StrictArray(Vec<Value>),
    /// Null.
    Null,
    /// Undefined.
    Undefined,
    /// A value its sender could not express.
    Unsupported,
    /// A moment.
    Date {
        /// Milliseconds since 1970 in UTC.
        millis: f64,
        /// Minutes from UTC; the specification reserves it and says zero.
        zone: i16,
    },
    /// Text with a 32-bit length.
    LongString(String),
    /// The text of an XML document.
    XmlDocument(String),
    /// An object of a named class.
    TypedObject {
        /// The registered name of the class.
        class: String,
        /// Named properties in the order sent.
        properties: Vec<(String, Value)>,
    },
}

impl Value {
    /// A [`Value::String`].
    pub fn string(text: impl Into<String>) -> Value {
        Value::String(text.into())
    }

    /// A [`Value::Object`] of these properties.
    pub fn object<K: Into<String>>(properties: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::Object(properties.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    /// A [`Value::EcmaArray`] of these properties.
    pub fn ecma_array<K: Into<String>>(properties: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::EcmaArray(properties.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    /// The text of a string, short or long.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) | Value::LongString(s) => Some(s),
            _ => None,
        }
    }

    /// The value of a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Number(n) => Some(*n),
            _ => None,
        }
    }

    /// The value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(b) => Some(*b),
            _ => None,
        }
    }

    /// The named properties of an object, an ECMA array or a typed object; empty for anything else.
    pub fn properties(&self) -> &[(String, Value)] {
        match self {
            Value::Object(p) | Value::EcmaArray(p) | Value::TypedObject { properties: p, .. } => p,
            _ => &[],
        }
    }

    /// The property named `key`; the first, should it occur twice.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.properties().iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
}

impl From<f64> for Value {
    fn from(n: f64) -> Self {
        Value::Number(n)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Boolean(b)
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::string(s)
    }
}

impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::String(s)
    }
}

/// Why bytes are not AMF 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amf0Error {
    /// The input ends inside a value.
    Truncated,
    /// No value begins with this marker.
    UnknownMarker(u8),
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// More than [`MAX_VALUES`] values, or more than [`MAX_REPEATED`] bytes repeated through references.
    TooLarge,
    /// A reference to a value that was not sent before.
    BadReference(u16),
}

impl std::fmt::Display for Amf0Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Amf0Error::Truncated => f.write_str("AMF0 data ends inside a value"),
            Amf0Error::UnknownMarker(m) => write!(f, "unknown AMF0 marker 0x{m:02x}"),
            Amf0Error::TooDeep => write!(f, "AMF0 data nested deeper than {MAX_DEPTH}"),
            Amf0Error::TooLarge => write!(f, "AMF0 data with more than {MAX_VALUES} values"),
            Amf0Error::BadReference(n) => write!(f, "AMF0 reference {n} to nothing"),
        }
    }
}

impl std::error::Error for Amf0Error {}

/// Decodes the first value of `data`; also answers how many bytes it took.
///
/// # Errors
/// When the bytes are not AMF 0, end early or exceed a limit of this module.
pub fn decode(data: &[u8]) -> Result<(Value, usize), Amf0Error> {
    let mut decoder = Decoder::new(data);
    let mut r = Reader::new(data);
    let value = decoder.value(&mut r, 0)?;
    Ok((value, r.position()))
}

/// Decodes values one after another to the end of `data`, as in the body of a command. Empty input is no values.
///
/// # Errors
/// When any value is not AMF 0, ends early or exceeds a limit of this module.
pub fn decode_all(data: &[u8]) -> Result<Vec<Value>, Amf0Error> {
    let mut decoder = Decoder::new(data);
    let mut r = Reader::new(data);
    let mut values = Vec::new();
    while !r.is_empty() {
        values.push(decoder.value(&mut r, 0)?);
    }
    Ok(values)
}

/// A value that references may name: where its bytes are.
#[derive(Clone, Copy)]
struct Target {
    start: usize,
    end: Option<usize>,
}

struct Decoder<'a> {
    data: &'a [u8],
    targets: Vec<Target>,
    values_left: usize,
    repeats_left: usize,
    repeating: bool,
}

impl<'a> Decoder<'a> {
    fn new(data: &'a [u8]) -> Self {
        Decoder {
            data,
            targets: Vec::new(),
            values_left: MAX_VALUES,
            repeats_left: MAX_REPEATED,
            repeating: false,
        }
    }

    fn value(&mut self, r: &mut Reader<'a>, depth: usize) -> Result<Value, Amf0Error> {
        self.values_left = self.values_left.checked_sub(1).ok_or(Amf0Error::TooLarge)?;
        if depth > MAX_DEPTH {
            return Err(Amf0Error::TooDeep);
        }
        let start = self.data.len().saturating_sub(r.remaining());
        match r.u8().ok_or(Amf0Error::Truncated)? {
            marker::NUMBER => r.f64().map(Value::Number).ok_or(Amf0Error::Truncated),
            marker::BOOLEAN => r.u8().map(|b| Value::Boolean(b != 0)).ok_or(Amf0Error::Truncated),
            marker::STRING => short_text(r).map(Value::String),
            marker::LONG_STRING => long_text(r).map(Value::LongString),
            marker::XML_DOCUMENT => long_text(r).map(Value::XmlDocument),
            marker::NULL => Ok(Value::Null),
            marker::UNDEFINED => Ok(Value::Undefined),
            marker::UNSUPPORTED => Ok(Value::Unsupported),
            marker::DATE => date(r).ok_or(Amf0Error::Truncated),
            marker::REFERENCE => self.reference(r, depth),
            marker::AVM_PLUS => Err(Amf0Error::UnknownMarker(marker::AVM_PLUS)),
            m @ (marker::OBJECT | marker::ECMA_ARRAY | marker::STRICT_ARRAY | marker::TYPED_OBJECT) => {
                let slot = self.open(start);
                let value = self.complex(m, r, depth)?;
                self.close(slot, r);
                Ok(value)
            }
            other => Err(Amf0Error::UnknownMarker(other)),
        }
    }

    fn complex(&mut self, m: u8, r: &mut Reader<'a>, depth: usize) -> Result<Value, Amf0Error> {
        match m {
            marker::OBJECT => self.members(r, depth).map(Value::Object),
            marker::ECMA_ARRAY => {
                r.u32().ok_or(Amf0Error::Truncated)?;
                self.members(r, depth).map(Value::EcmaArray)
            }
            marker::TYPED_OBJECT => {
                let class = short_text(r)?;
                Ok(Value::TypedObject { class, properties: self.members(r, depth)? })
            }
            _ => {
                let count = r.u32().ok_or(Amf0Error::Truncated)?;
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(r, depth + 1)?);
                }
                Ok(Value::StrictArray(items))
            }
        }
    }

    fn members(&mut self, r: &mut Reader<'a>, depth: usize) -> Result<Vec<(String, Value)>, Amf0Error> {
        let mut members = Vec::new();
        loop {
            if matches!(r.rest(), [] | [0] | [0, 0]) {
                r.take(r.remaining());
                return Ok(members);
            }
            let key = short_text(r)?;
            if key.is_empty() && r.peek() == Some(marker::OBJECT_END) {
                r.u8();
                return Ok(members);
            }
            let value = self.value(r, depth + 1)?;
            members.push((key, value));
        }
    }

    /// Decodes the bytes of an earlier value again. Values that still stand open cannot be named: they would contain
    /// themselves.
    fn reference(&mut self, r: &mut Reader<'a>, depth: usize) -> Result<Value, Amf0Error> {
        let index = r.u16().ok_or(Amf0Error::Truncated)?;
        let target = self.targets.get(usize::from(index)).copied();
        let Some(Target { start, end: Some(end) }) = target else {
            return Err(Amf0Error::BadReference(index));
        };
        let bytes = self.data.get(start..end).ok_or(Amf0Error::BadReference(index))?;
        self.repeats_left = self.repeats_left.checked_sub(bytes.len()).ok_or(Amf0Error::TooLarge)?;
        let outer = std::mem::replace(&mut self.repeating, true);
        let value = self.value(&mut Reader::new(bytes), depth + 1);
        self.repeating = outer;
        value
    }

    fn open(&mut self, start: usize) -> Option<usize> {
        if self.repeating || self.targets.len() > usize::from(u16::MAX) {
            return None;
        }
        self.targets.push(Target { start, end: None });
        Some(self.targets.len() - 1)
    }

    fn close(&mut self, slot: Option<usize>, r: &Reader<'a>) {
        let end = self.data.len().saturating_sub(r.remaining());
        if let Some(target) = slot.and_then(|s| self.targets.get_mut(s)) {
            target.end = Some(end);
        }
    }
}

fn short_text(r: &mut Reader<'_>) -> Result<String, Amf0Error> {
    let len = r.u16().ok_or(Amf0Error::Truncated)?;
    text(r, usize::from(len))
}

fn long_text(r: &mut Reader<'_>) -> Result<String, Amf0Error> {
    let len = r.u32().ok_or(Amf0Error::Truncated)?;
    text(r, usize::try_from(len).unwrap_or(usize::MAX))
}

fn text(r: &mut Reader<'_>, len: usize) -> Result<String, Amf0Error> {
    let bytes = r.take(len).ok_or(Amf0Error::Truncated)?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn date(r: &mut Reader<'_>) -> Option<Value> {
    let millis = r.f64()?;
    let zone = r.array().map(i16::from_be_bytes)?;
    Some(Value::Date { millis, zone })
}

/// Appends `value` to `out`. Property and class names are cut at 65535 bytes, which no decoder of ours exceeds.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Number(n) => {
            out.push(marker::NUMBER);
            out.extend_from_slice(&n.to_be_bytes());
        }
        Value::Boolean(b) => out.extend_from_slice(&[marker::BOOLEAN, u8::from(*b)]),
        Value::String(s) if s.len() <= usize::from(u16::MAX) => {
            out.push(marker::STRING);
            put_short(s, out);
        }
        Value::String(s) | Value::LongString(s) => put_long(marker::LONG_STRING, s, out),
        Value::XmlDocument(s) => put_long(marker::XML_DOCUMENT, s, out),
        Value::Null => out.push(marker::NULL),
        Value::Undefined => out.push(marker::UNDEFINED),
        Value::Unsupported => out.push(marker::UNSUPPORTED),
        Value::Date { millis, zone } => {
            out.push(marker::DATE);
            out.extend_from_slice(&millis.to_be_bytes());
            out.extend_from_slice(&zone.to_be_bytes());
        }
        Value::Object(properties) => {
            out.push(marker::OBJECT);
            put_members(properties, out);
        }
        Value::EcmaArray(properties) => {
            out.push(marker::ECMA_ARRAY);
            out.extend_from_slice(&count(properties.len()).to_be_bytes());
            put_members(properties, out);
        }
        Value::TypedObject { class, properties } => {
            out.push(marker::TYPED_OBJECT);
            put_short(class, out);
            put_members(properties, out);
        }
        Value::StrictArray(items) => {
            out.push(marker::STRICT_ARRAY);
            let n = count(items.len());
            out.extend_from_slice(&n.to_be_bytes());
            items.iter().take(n as usize).for_each(|item| encode(item, out));
        }
    }
}

/// Encodes `values` one after another, as in the body of a command.
pub fn encode_all<'v>(values: impl IntoIterator<Item = &'v Value>) -> Vec<u8> {
    let mut out = Vec::new();
    values.into_iter().for_each(|value| encode(value, &mut out));
    out
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn put_members(properties: &[(String, Value)], out: &mut Vec<u8>) {
    for (key, value) in properties {
        put_short(key, out);
        encode(value, out);
    }
    out.extend_from_slice(&[0, 0, marker::OBJECT_END]);
}

fn put_short(s: &str, out: &mut Vec<u8>) {
    let mut len = u16::try_from(s.len()).unwrap_or(u16::MAX);
    while !s.is_char_boundary(usize::from(len)) {
        len -= 1;
    }
    out.extend_from_slice(&len.to_be_bytes());
    out.extend(s.bytes().take(usize::from(len)));
}

fn put_long(m: u8, s: &str, out: &mut Vec<u8>) {
    out.push(m);
    let bytes = s.as_bytes();
    let n = count(bytes.len());
    out.extend_from_slice(&n.to_be_bytes());
    out.extend(bytes.iter().take(n as usize));
}
