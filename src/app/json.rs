//! JSON as it is written here: piece by piece, into one string.   Spec: RFC 8259.
//!
//! Invariant: text of peers goes through [`Text`], which no text can break out of, not even into a page's script.

use std::fmt::{self, Display, Write};

/// A JSON string. Beside what must be escaped, so are the characters that could end a script or a line in one.
pub struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\0'..='\x1f' | '\x7f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    write!(f, "\\u{:04x}", u32::from(c))?;
                }
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A value, or `null`.
pub struct OrNull<T>(pub Option<T>);

impl<T: Display> Display for OrNull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// A number with three decimals, from thousandths.
pub struct Milli(pub u64);

impl Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// An object in the making. Keys are the program's own words.
#[derive(Debug)]
pub struct Json {
    out: String,
}

impl Default for Json {
    fn default() -> Self {
        Json { out: String::from("{") }
    }
}

impl Json {
    fn comma(&mut self) {
        if !self.out.ends_with(['{', '[']) {
            self.out.push(',');
        }
    }

    fn key(&mut self, key: &str) {
        self.comma();
        for part in ["\"", key, "\":"] {
            self.out.push_str(part);
        }
    }

    /// A member whose value is JSON already: a number, a truth value, or what the types of this file show.
    pub fn put(&mut self, key: &str, value: &dyn Display) {
        self.key(key);
        let _ = write!(self.out, "{value}");
    }

    /// A member that is a string.
    pub fn text(&mut self, key: &str, value: &str) {
        self.put(key, &Text(value));
    }

    /// Begins a member that is an object.
    pub fn open(&mut self, key: &str) {
        self.key(key);
        self.out.push('{');
    }

    /// Begins a member that is an array.
    pub fn list(&mut self, key: &str) {
        self.key(key);
        self.out.push('[');
    }

    /// Begins an object in an array.
    pub fn item(&mut self) {
        self.comma();
        self.out.push('{');
    }

    /// A string in an array.
    pub fn entry(&mut self, value: &str) {
        self.comma();
        let _ = write!(self.out, "{}", Text(value));
    }

    /// Ends the object.
    pub fn close(&mut self) {
        self.out.push('}');
    }

    /// Ends the array.
    pub fn end(&mut self) {
        self.out.push(']');
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_apart_by_commas() {
        let mut json = Json::default();
        json.open("empty");
        json.close();
        json.put("n", &7);
        json.text("open", "{");
        json.list("a");
        for n in 0..2 {
            json.item();
            json.put("n", &Milli(1_005 * n));
            json.text("t", "[\"\n");
            json.close();
        }
        json.entry("x");
        json.entry("y");
        json.end();
        json.put("none", &OrNull::<u8>(None));
        assert_eq!(
            json.finish(),
            r#"{"empty":{},"n":7,"open":"{","a":[{"n":0.000,"t":"[\"\u000a"},{"n":1.005,"t":"[\"\u000a"},"x","y"],"none":null}"#
        );
        assert_eq!(Json::default().finish(), "{}");
    }
}
