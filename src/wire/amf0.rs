//! AMF 0: the values of RTMP commands and of FLV script data.
//! Spec: Adobe "Action Message Format -- AMF 0" (2007); the AVM+ marker (section 3.1) leads into [`super::amf3`].
//!
//! Invariants: decoding allocates in proportion to the input, never to a declared count; nesting, the number of
//! values and the bytes repeated through references are bounded by the constants below.
//! Deviations, all seen from real encoders: the count of an ECMA array is ignored; an end marker missing at the very
//! end of the input is accepted; text that is not UTF-8 is repaired with U+FFFD; a reference is replaced by what it
//! refers to, so that a value never points outside itself.

use super::amf3;
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
    BadReference(u32),
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
    let mut decoder = Decoder::new();
    let mut r = Reader::new(data);
    let value = decoder.value(&mut r, 0)?;
    Ok((value, r.position()))
}

/// Decodes values one after another to the end of `data`, as in the body of a command. Empty input is no values.
///
/// # Errors
/// When any value is not AMF 0, ends early or exceeds a limit of this module.
pub fn decode_all(data: &[u8]) -> Result<Vec<Value>, Amf0Error> {
    let mut decoder = Decoder::new();
    let mut r = Reader::new(data);
    let mut values = Vec::new();
    while !r.is_empty() {
        values.push(decoder.value(&mut r, 0)?);
    }
    Ok(values)
}

/// What one message may still use up.
pub(super) struct Budget {
    values: usize,
    repeats: usize,
}

impl Budget {
    /// Charges one value at `depth`.
    pub(super) fn value(&mut self, depth: usize) -> Result<(), Amf0Error> {
        self.values = self.values.checked_sub(1).ok_or(Amf0Error::TooLarge)?;
        if depth > MAX_DEPTH { Err(Amf0Error::TooDeep) } else { Ok(()) }
    }

    /// Charges `bytes` of input that a reference repeats.
    pub(super) fn repeat(&mut self, bytes: usize) -> Result<(), Amf0Error> {
        self.repeats = self.repeats.checked_sub(bytes).ok_or(Amf0Error::TooLarge)?;
        Ok(())
    }
}

struct Decoder<'a> {
    /// The bytes of each complex value in order of appearance; `None` while it stands open.
    targets: Vec<Option<&'a [u8]>>,
    amf3: amf3::Tables<'a>,
    budget: Budget,
    /// Inside a reference: these bytes are in `targets` already.
    repeating: bool,
}

impl<'a> Decoder<'a> {
    fn new() -> Self {
        Decoder {
            targets: Vec::new(),
            amf3: amf3::Tables::default(),
            budget: Budget { values: MAX_VALUES, repeats: MAX_REPEATED },
            repeating: false,
        }
    }

    fn value(&mut self, r: &mut Reader<'a>, depth: usize) -> Result<Value, Amf0Error> {
        self.budget.value(depth)?;
        let from = r.rest();
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
            marker::AVM_PLUS => amf3::decode(r, &mut self.amf3, &mut self.budget, self.repeating, depth + 1),
            m @ (marker::OBJECT | marker::ECMA_ARRAY | marker::STRICT_ARRAY | marker::TYPED_OBJECT) => {
                let slot = (!self.repeating).then(|| {
                    self.targets.push(None);
                    self.targets.len() - 1
                });
                let value = self.complex(m, r, depth)?;
                let used = from.len().saturating_sub(r.remaining());
                if let Some(target) = slot.and_then(|s| self.targets.get_mut(s)) {
                    *target = from.get(..used);
                }
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
        let target = self.targets.get(usize::from(index)).copied().flatten();
        let bytes = target.ok_or(Amf0Error::BadReference(u32::from(index)))?;
        self.budget.repeat(bytes.len())?;
        let outer = std::mem::replace(&mut self.repeating, true);
        let value = self.value(&mut Reader::new(bytes), depth + 1);
        self.repeating = outer;
        value
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Noise, hex};

    /// Every type: the bytes and what they mean.
    fn vectors() -> Vec<(&'static str, Value)> {
        let properties = || vec![("a".to_owned(), Value::Number(1.0)), ("b".to_owned(), Value::string("x"))];
        vec![
            ("00 3ff0000000000000", Value::Number(1.0)),
            ("00 c00c000000000000", Value::Number(-3.5)),
            ("01 01", Value::Boolean(true)),
            ("01 00", Value::Boolean(false)),
            ("02 0007 636f6e6e656374", Value::string("connect")),
            ("02 0000", Value::string("")),
            ("02 0002 c3a9", Value::string("é")),
            ("03 0001 61 00 3ff0000000000000 0001 62 02 0001 78 000009", Value::Object(properties())),
            ("03 000009", Value::Object(vec![])),
            ("05", Value::Null),
            ("06", Value::Undefined),
            (
                "08 00000002 0001 61 00 3ff0000000000000 0001 62 02 0001 78 000009",
                Value::EcmaArray(properties()),
            ),
            (
                "0a 00000003 05 0101 0a00000000",
                Value::StrictArray(vec![Value::Null, Value::Boolean(true), Value::StrictArray(vec![])]),
            ),
            ("0b 42774876e8000000 ffc4", Value::Date { millis: 1_600_000_000_000.0, zone: -60 }),
            ("0c 00000003 616263", Value::LongString("abc".into())),
            ("0d", Value::Unsupported),
            ("0f 00000004 3c612f3e", Value::XmlDocument("<a/>".into())),
            (
                "10 0003 4f7267 0001 61 00 3ff0000000000000 0001 62 02 0001 78 000009",
                Value::TypedObject { class: "Org".into(), properties: properties() },
            ),
        ]
    }

    #[test]
    fn every_type_decodes_and_encodes_to_the_same_bytes() {
        for (text, value) in vectors() {
            let bytes = hex(text);
            assert_eq!(decode(&bytes), Ok((value.clone(), bytes.len())), "{text}");
            assert_eq!(encode_all([&value]), bytes, "{text}");
        }
    }

    #[test]
    fn a_command_body_is_values_one_after_another() {
        let all = vectors();
        let bytes: Vec<u8> = all.iter().flat_map(|(text, _)| hex(text)).collect();
        let values: Vec<Value> = all.into_iter().map(|(_, value)| value).collect();
        assert_eq!(decode_all(&bytes), Ok(values));
        assert_eq!(decode_all(&[]), Ok(vec![]));
    }

    #[test]
    fn input_cut_anywhere_is_an_error_or_an_unclosed_object() {
        for (text, value) in vectors() {
            let bytes = hex(text);
            for cut in 0..bytes.len() {
                match decode(&bytes[..cut]) {
                    Err(error) => assert_eq!(error, Amf0Error::Truncated, "{text} at {cut}"),
                    Ok((partial, used)) => {
                        assert_eq!(used, cut);
                        let shorter = partial.properties().len() <= value.properties().len();
                        assert!(shorter && !matches!(value, Value::StrictArray(_)), "{text} at {cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn metadata_of_ffmpeg() {
        let body = hex(
            "02000a6f6e4d65746144617461080000000800086475726174696f6e003fcc8b4395810625000d617564696f646174617261746500\
             405f400000000000000f617564696f73616d706c65726174650040e5888000000000000f617564696f73616d706c6573697a650040\
             30000000000000000673746572656f0101000c617564696f636f64656369640040240000000000000007656e636f64657202000d4c\
             61766635392e32372e313030000866696c6573697a650040afbc0000000000000009",
        );
        let values = decode_all(&body).unwrap();
        assert_eq!(values[0].as_str(), Some("onMetaData"));
        let get = |key| values[1].get(key).unwrap();
        assert_eq!(get("audiosamplerate").as_f64(), Some(44100.0));
        assert_eq!(get("stereo").as_bool(), Some(true));
        assert_eq!(get("encoder").as_str(), Some("Lavf59.27.100"));
        assert_eq!((values[1].properties().len(), values[1].get("nothing")), (8, None));
        assert_eq!(encode_all(&values), body);
    }

    #[test]
    fn sloppy_encoders_are_understood() {
        let one = Value::ecma_array([("a", Value::Null)]);
        for text in [
            "08 00000000 0001 61 05 000009",
            "08 ffffffff 0001 61 05 000009",
            "08 00000001 0001 61 05",
            "08 00000001 0001 61 05 00",
            "08 00000001 0001 61 05 0000",
        ] {
            assert_eq!(decode_all(&hex(text)), Ok(vec![one.clone()]), "{text}");
        }
        assert_eq!(
            decode_all(&hex("03 0001 61 03 0001 62 05")),
            Ok(vec![Value::object([("a", Value::object([("b", Value::Null)]))])])
        );
        assert_eq!(decode_all(&hex("03 0000 05 000009")), Ok(vec![Value::object([("", Value::Null)])]));
        assert_eq!(decode_all(&hex("02 0002 61ff")), Ok(vec![Value::string("a\u{fffd}")]));
        assert_eq!(decode_all(&hex("01 07")), Ok(vec![Value::Boolean(true)]));
    }

    #[test]
    fn references_repeat_an_earlier_value() {
        // {a: [null]}, the array, the object, and an object that refers to the array
        let values =
            decode_all(&hex("03 0001 61 0a 00000001 05 000009  07 0001  07 0000  03 0001 62 07 0001 000009"));
        let list = Value::StrictArray(vec![Value::Null]);
        let object = Value::object([("a", list.clone())]);
        assert_eq!(values, Ok(vec![object.clone(), list.clone(), object, Value::object([("b", list)])]));
    }

    #[test]
    fn references_to_nothing_or_to_oneself_are_refused() {
        assert_eq!(decode_all(&hex("07 0000")), Err(Amf0Error::BadReference(0)));
        assert_eq!(decode_all(&hex("03 000009 07 0001")), Err(Amf0Error::BadReference(1)));
        assert_eq!(decode_all(&hex("03 0001 61 07 0000 000009")), Err(Amf0Error::BadReference(0)));
    }

    #[test]
    fn bombs_are_refused() {
        let nested = |depth: usize| [[0x0a, 0, 0, 0, 1].repeat(depth), vec![0x05]].concat();
        assert!(decode(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(decode(&nested(MAX_DEPTH + 1)), Err(Amf0Error::TooDeep));
        assert_eq!(decode(&nested(1_000_000)), Err(Amf0Error::TooDeep));

        // Each array holds the one before it ten times: 10^6 values in 6 steps.
        let mut doubling = hex("0a 00000001 05");
        for n in 0u16..6 {
            doubling.extend([0x0a, 0, 0, 0, 10]);
            (0..10).for_each(|_| doubling.extend([[0x07].as_slice(), &n.to_be_bytes()].concat()));
        }
        assert_eq!(decode_all(&doubling), Err(Amf0Error::TooLarge));

        // One long text, repeated.
        let mut repeated = hex("0a 00000001 0c 00010000");
        repeated.extend(vec![b'x'; 0x10000]);
        (0..100).for_each(|_| repeated.extend([0x07, 0, 0]));
        assert_eq!(decode_all(&repeated), Err(Amf0Error::TooLarge));

        assert_eq!(decode(&hex("0a ffffffff 05 05")), Err(Amf0Error::Truncated));
        assert_eq!(decode_all(&vec![0x05; MAX_VALUES + 1]), Err(Amf0Error::TooLarge));
        assert_eq!(decode(&hex("0c ffffffff 61")), Err(Amf0Error::Truncated));
        for marker in [0x04, 0x09, 0x0e, 0x12, 0xff] {
            assert_eq!(decode(&[marker]), Err(Amf0Error::UnknownMarker(marker)));
        }
    }

    #[test]
    fn text_too_long_for_its_form_is_sent_in_one_that_fits() {
        let long = "é".repeat(40_000);
        let value = Value::string(long.clone());
        assert_eq!(decode(&encode_all([&value])).unwrap().0, Value::LongString(long.clone()));
        let keyed = Value::object([(long, Value::Null)]);
        let (decoded, _) = decode(&encode_all([&keyed])).unwrap();
        assert_eq!(decoded.properties()[0].0, "é".repeat(32_767));
    }

    #[test]
    fn noise_never_panics_and_what_decodes_encodes_again() {
        let mut noise = Noise(0x9e37_79b9);
        let seeds: Vec<Vec<u8>> = vectors().iter().map(|(text, _)| hex(text)).collect();
        let whole = seeds.concat();
        for round in 0..30_000 {
            let bytes = match round % 3 {
                0 => noise.mutate(&seeds[round % seeds.len()]),
                1 => noise.mutate(&whole),
                _ => {
                    let len = noise.below(40);
                    noise.bytes(len).iter().map(|b| b & 0x13).collect()
                }
            };
            if let Ok(values) = decode_all(&bytes) {
                let again = encode_all(&values);
                let decoded = decode_all(&again).map(|v| encode_all(&v));
                assert_eq!(decoded, Ok(again));
            }
        }
    }
}
