//! AMF 3 values where AMF 0 switches to them (marker 0x11), turned into AMF 0 values.
//! Spec: Adobe "Action Message Format -- AMF 3" (January 2013).
//!
//! Some encoders send their metadata so. Integers become numbers; an array with named members becomes an ECMA array,
//! its dense part under the keys `0`, `1` and so on; byte arrays, vectors of numbers and the like become
//! [`Value::Unsupported`].
//!
//! Invariants: the limits of [`super::amf0`] hold for both forms together, and repeated strings and traits are charged
//! as references are.
//! Deviations: externalizable objects, vectors and dictionaries are refused: no encoder puts them into a stream.

use super::amf0::{Amf0Error, Budget, Value};
use super::read::Reader;

mod marker {
    pub(super) const UNDEFINED: u8 = 0x00;
    pub(super) const NULL: u8 = 0x01;
    pub(super) const FALSE: u8 = 0x02;
    pub(super) const TRUE: u8 = 0x03;
    pub(super) const INTEGER: u8 = 0x04;
    pub(super) const DOUBLE: u8 = 0x05;
    pub(super) const STRING: u8 = 0x06;
    pub(super) const XML_DOCUMENT: u8 = 0x07;
    pub(super) const DATE: u8 = 0x08;
    pub(super) const ARRAY: u8 = 0x09;
    pub(super) const OBJECT: u8 = 0x0a;
    pub(super) const XML: u8 = 0x0b;
    pub(super) const BYTE_ARRAY: u8 = 0x0c;
}

/// What references in one message may name.
#[derive(Default)]
pub(super) struct Tables<'a> {
    strings: Vec<&'a [u8]>,
    /// The bytes of each complex value behind its marker; `None` while it stands open.
    objects: Vec<Option<(u8, &'a [u8])>>,
    traits: Vec<Traits<'a>>,
}

#[derive(Clone)]
struct Traits<'a> {
    class: &'a [u8],
    members: Vec<&'a [u8]>,
    dynamic: bool,
}

/// Decodes the AMF 3 value at `r`. With `repeating` the bytes were read before and fill no tables.
pub(super) fn decode<'a>(
    r: &mut Reader<'a>,
    tables: &mut Tables<'a>,
    budget: &mut Budget,
    repeating: bool,
    depth: usize,
) -> Result<Value, Amf0Error> {
    Decoder { tables, budget, repeating }.value(r, depth)
}

struct Decoder<'t, 'a> {
    tables: &'t mut Tables<'a>,
    budget: &'t mut Budget,
    repeating: bool,
}

impl<'a> Decoder<'_, 'a> {
    fn value(&mut self, r: &mut Reader<'a>, depth: usize) -> Result<Value, Amf0Error> {
        self.budget.value(depth)?;
        match r.u8().ok_or(Amf0Error::Truncated)? {
            marker::UNDEFINED => Ok(Value::Undefined),
            marker::NULL => Ok(Value::Null),
            marker::FALSE => Ok(Value::Boolean(false)),
            marker::TRUE => Ok(Value::Boolean(true)),
            marker::INTEGER => Ok(Value::Number(f64::from(signed(u29(r)?)))),
            marker::DOUBLE => r.f64().map(Value::Number).ok_or(Amf0Error::Truncated),
            marker::STRING => self.string(r).map(|s| Value::String(text(s))),
            m @ (marker::XML_DOCUMENT
            | marker::DATE
            | marker::ARRAY
            | marker::OBJECT
            | marker::XML
            | marker::BYTE_ARRAY) => self.complex(m, r, depth),
            other => Err(Amf0Error::UnknownMarker(other)),
        }
    }

    /// A value that can be named by a reference: its header has the lowest bit clear when it is one.
    fn complex(&mut self, m: u8, r: &mut Reader<'a>, depth: usize) -> Result<Value, Amf0Error> {
        let from = r.rest();
        let head = u29(r)?;
        if head & 1 == 0 {
            return self.object_reference(head >> 1, depth);
        }
        let slot = (!self.repeating).then(|| {
            self.tables.objects.push(None);
            self.tables.objects.len() - 1
        });
        let value = self.inline(m, head >> 1, r, depth)?;
        let used = from.len().saturating_sub(r.remaining());
        if let Some(entry) = slot.and_then(|s| self.tables.objects.get_mut(s)) {
            *entry = from.get(..used).map(|bytes| (m, bytes));
        }
        Ok(value)
    }

    fn object_reference(&mut self, index: u32, depth: usize) -> Result<Value, Amf0Error> {
        let entry = usize::try_from(index).ok().and_then(|i| self.tables.objects.get(i).copied());
        let Some(Some((m, bytes))) = entry else {
            return Err(Amf0Error::BadReference(index));
        };
        self.budget.value(depth + 1)?;
        self.budget.repeat(bytes.len())?;
        let outer = std::mem::replace(&mut self.repeating, true);
        let value = self.complex(m, &mut Reader::new(bytes), depth + 1);
        self.repeating = outer;
        value
    }

    fn inline(&mut self, m: u8, head: u32, r: &mut Reader<'a>, depth: usize) -> Result<Value, Amf0Error> {
        match m {
            marker::DATE => {
                let millis = r.f64().ok_or(Amf0Error::Truncated)?;
                Ok(Value::Date { millis, zone: 0 })
            }
            marker::ARRAY => self.array(head, r, depth),
            marker::OBJECT => self.object(head, r, depth),
            marker::BYTE_ARRAY => bytes(r, head).map(|_| Value::Unsupported),
            _ => bytes(r, head).map(|s| Value::XmlDocument(text(s))),
        }
    }

    fn array(&mut self, count: u32, r: &mut Reader<'a>, depth: usize) -> Result<Value, Amf0Error> {
        let mut named = self.dynamic_members(r, depth)?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(self.value(r, depth + 1)?);
        }
        if named.is_empty() {
            return Ok(Value::StrictArray(items));
        }
        named.extend(items.into_iter().enumerate().map(|(index, item)| (index.to_string(), item)));
        Ok(Value::EcmaArray(named))
    }

    fn object(&mut self, head: u32, r: &mut Reader<'a>, depth: usize) -> Result<Value, Amf0Error> {
        let traits = self.traits(head, r)?;
        let mut properties = Vec::new();
        for name in traits.members {
            properties.push((text(name), self.value(r, depth + 1)?));
        }
        if traits.dynamic {
            properties.extend(self.dynamic_members(r, depth)?);
        }
        if traits.class.is_empty() {
            return Ok(Value::Object(properties));
        }
        Ok(Value::TypedObject { class: text(traits.class), properties })
    }

    /// The shape of an object; `head` is its header without the reference bit.
    fn traits(&mut self, head: u32, r: &mut Reader<'a>) -> Result<Traits<'a>, Amf0Error> {
        const INLINE: u32 = 0x01;
        const EXTERNALIZABLE: u32 = 0x02;
        const DYNAMIC: u32 = 0x04;
        if head & INLINE == 0 {
            let index = head >> 1;
            let known = usize::try_from(index).ok().and_then(|i| self.tables.traits.get(i));
            let known = known.ok_or(Amf0Error::BadReference(index))?;
            let names: usize = known.members.iter().map(|m| m.len() + 1).sum();
            self.budget.repeat(names + known.class.len())?;
            return Ok(known.clone());
        }
        if head & EXTERNALIZABLE != 0 {
            return Err(Amf0Error::UnknownMarker(marker::OBJECT));
        }
        let class = self.string(r)?;
        let mut members = Vec::new();
        for _ in 0..head >> 3 {
            self.budget.value(0)?;
            members.push(self.string(r)?);
        }
        let traits = Traits { class, members, dynamic: head & DYNAMIC != 0 };
        if !self.repeating {
            self.tables.traits.push(traits.clone());
        }
        Ok(traits)
    }

    /// Names and values up to the empty name.
    fn dynamic_members(
        &mut self,
        r: &mut Reader<'a>,
        depth: usize,
    ) -> Result<Vec<(String, Value)>, Amf0Error> {
        let mut members = Vec::new();
        loop {
            let name = self.string(r)?;
            if name.is_empty() {
                return Ok(members);
            }
            members.push((text(name), self.value(r, depth + 1)?));
        }
    }

    fn string(&mut self, r: &mut Reader<'a>) -> Result<&'a [u8], Amf0Error> {
        let head = u29(r)?;
        let index = head >> 1;
        if head & 1 == 0 {
            let known = usize::try_from(index).ok().and_then(|i| self.tables.strings.get(i).copied());
            let known = known.ok_or(Amf0Error::BadReference(index))?;
            self.budget.repeat(known.len())?;
            return Ok(known);
        }
        let string = bytes(r, index)?;
        if !string.is_empty() && !self.repeating {
            self.tables.strings.push(string);
        }
        Ok(string)
    }
}

/// An unsigned 29-bit integer in 1 to 4 bytes (section 1.3.1).
fn u29(r: &mut Reader<'_>) -> Result<u32, Amf0Error> {
    let mut value = 0;
    for _ in 0..3 {
        let byte = r.u8().ok_or(Amf0Error::Truncated)?;
        value = value << 7 | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    let last = r.u8().ok_or(Amf0Error::Truncated)?;
    Ok(value << 8 | u32::from(last))
}

fn signed(value: u32) -> i32 {
    (value << 3).cast_signed() >> 3
}

fn bytes<'a>(r: &mut Reader<'a>, len: u32) -> Result<&'a [u8], Amf0Error> {
    r.take(usize::try_from(len).unwrap_or(usize::MAX)).ok_or(Amf0Error::Truncated)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use crate::wire::amf0::{Amf0Error, MAX_DEPTH, Value, decode_all};
    use crate::wire::testing::{Noise, hex};

    fn vectors() -> Vec<(&'static str, Value)> {
        let named = |pairs: &[(&str, f64)]| {
            pairs.iter().map(|(k, n)| ((*k).to_owned(), Value::Number(*n))).collect::<Vec<_>>()
        };
        vec![
            ("11 00", Value::Undefined),
            ("11 01", Value::Null),
            ("11 02", Value::Boolean(false)),
            ("11 03", Value::Boolean(true)),
            ("11 04 7f", Value::Number(127.0)),
            ("11 04 8100", Value::Number(128.0)),
            ("11 04 bfffffff", Value::Number(268_435_455.0)),
            ("11 04 ffffffff", Value::Number(-1.0)),
            ("11 04 c0808000", Value::Number(-268_435_456.0)),
            ("11 05 3ff8000000000000", Value::Number(1.5)),
            ("11 06 07 616263", Value::string("abc")),
            ("11 06 01", Value::string("")),
            ("11 07 09 3c612f3e", Value::XmlDocument("<a/>".into())),
            ("11 0b 09 3c612f3e", Value::XmlDocument("<a/>".into())),
            ("11 08 01 42774876e8000000", Value::Date { millis: 1_600_000_000_000.0, zone: 0 }),
            ("11 0c 05 aabb", Value::Unsupported),
            ("11 09 05 01 0401 0402", Value::StrictArray(vec![Value::Number(1.0), Value::Number(2.0)])),
            ("11 09 03 03 61 0401 01 0402", Value::EcmaArray(named(&[("a", 1.0), ("0", 2.0)]))),
            ("11 0a 0b 01 03 61 0401 03 62 0402 01", Value::Object(named(&[("a", 1.0), ("b", 2.0)]))),
            (
                "11 0a 13 03 43 03 61 0401",
                Value::TypedObject { class: "C".into(), properties: named(&[("a", 1.0)]) },
            ),
        ]
    }

    #[test]
    fn every_type() {
        for (text, value) in vectors() {
            assert_eq!(decode_all(&hex(text)), Ok(vec![value]), "{text}");
        }
    }

    #[test]
    fn amf0_goes_on_behind_it() {
        let values = decode_all(&hex("02 0001 78 11 0601 03 0001 61 11 0401 000009 05"));
        let object = Value::object([("a", Value::Number(1.0))]);
        assert_eq!(values, Ok(vec![Value::string("x"), Value::string(""), object, Value::Null]));
    }

    #[test]
    fn references_to_strings_traits_and_objects() {
        // ["ab", "ab", C{a: 1}, C{a: 2} by trait reference, the first C again]
        let values = decode_all(&hex("11 09 0b 01 06 05 6162 06 00 0a 13 03 43 03 61 0401 0a 01 0402 0a 02"));
        let c = |n: f64| Value::TypedObject {
            class: "C".into(),
            properties: vec![("a".into(), Value::Number(n))],
        };
        let ab = Value::string("ab");
        assert_eq!(values, Ok(vec![Value::StrictArray(vec![ab.clone(), ab, c(1.0), c(2.0), c(1.0)])]));
    }

    #[test]
    fn an_amf0_reference_repeats_amf3_content() {
        // AMF 0 [AMF 3 ["ab", "ab" again]], then a reference to the AMF 0 array, then the AMF 3 string once more
        let values = decode_all(&hex("0a 00000001 11 09 05 01 06 05 6162 06 00  07 0000  11 06 00"));
        let ab = || Value::string("ab");
        let list = Value::StrictArray(vec![Value::StrictArray(vec![ab(), ab()])]);
        assert_eq!(values, Ok(vec![list.clone(), list, ab()]));
    }

    #[test]
    fn what_is_cut_refers_to_nothing_or_is_too_much_is_refused() {
        for (text, _) in vectors() {
            let bytes = hex(text);
            for cut in 1..bytes.len() {
                assert_eq!(decode_all(&bytes[..cut]), Err(Amf0Error::Truncated), "{text} at {cut}");
            }
        }
        assert_eq!(decode_all(&hex("11 06 00")), Err(Amf0Error::BadReference(0)));
        assert_eq!(decode_all(&hex("11 0a 01")), Err(Amf0Error::BadReference(0)));
        assert_eq!(decode_all(&hex("11 09 03 01 09 00")), Err(Amf0Error::BadReference(0)), "itself");
        assert_eq!(
            decode_all(&hex("11 0a 07 03 43 01")),
            Err(Amf0Error::UnknownMarker(0x0a)),
            "externalizable"
        );
        assert_eq!(decode_all(&hex("11 0d 01 00")), Err(Amf0Error::UnknownMarker(0x0d)), "vector");

        let nested = [&[0x11][..], &[0x09, 0x03, 0x01].repeat(MAX_DEPTH + 2), &[0x01]].concat();
        assert_eq!(decode_all(&nested), Err(Amf0Error::TooDeep));
        assert_eq!(decode_all(&hex("11 09 ffffffff 01 01")), Err(Amf0Error::Truncated));

        // Traits of 2^20 members with empty names.
        let wide = [&hex("11 0a 84808003 01")[..], &[0x01; 1 << 20]].concat();
        assert_eq!(decode_all(&wide), Err(Amf0Error::TooLarge));

        // A text of 16 KiB (header 2*16384+1), then references to it.
        let mut repeated = hex("11 06 828001");
        repeated.extend(vec![b'x'; 0x4000]);
        (0..16).for_each(|_| repeated.extend([0x11, 0x06, 0x00]));
        assert!(decode_all(&repeated).is_ok());
        repeated.extend([0x11, 0x06, 0x00]);
        assert_eq!(decode_all(&repeated), Err(Amf0Error::TooLarge));
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise(303);
        let seeds: Vec<Vec<u8>> = vectors().iter().map(|(text, _)| hex(text)).collect();
        let whole = seeds.concat();
        for round in 0..30_000 {
            let bytes =
                if round % 2 == 0 { noise.mutate(&whole) } else { noise.mutate(&seeds[round % seeds.len()]) };
            let _ = decode_all(&bytes);
        }
    }
}
