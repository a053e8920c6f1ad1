//! Whether the body of an answer agrees: `0`, or a JSON object whose `code` is 0.   Spec: RFC 8259.

/// Objects and arrays in each other at most.
const MAX_DEPTH: usize = 32;

/// Whether an answer's body agrees.
pub(super) fn agrees(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    if body == b"0" {
        return true;
    }
    let mut reader = Reader { rest: body, code: None };
    let whole = reader.value(0).is_some() && reader.rest.trim_ascii().is_empty();
    whole && body.starts_with(b"{") && reader.code.is_some_and(is_zero)
}

/// Whether a number is zero: no digit but 0 before its exponent. Reading it as one would cost 17 KB of program.
fn is_zero(number: &[u8]) -> bool {
    let digits = number.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or_default();
    digits.contains(&b'0') && !digits.iter().any(|byte| matches!(byte, b'1'..=b'9'))
}

/// Steps over JSON; `None`: it is none.
struct Reader<'a> {
    rest: &'a [u8],
    /// The value of `code` in the outermost object, if that is a number; the last one counts.
    code: Option<&'a [u8]>,
}

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    /// Takes the bytes for which `fits` holds.
    fn take(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !fits(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest;
        taken
    }

    /// Steps over a value; gives it if it is a number.
    fn value(&mut self, depth: usize) -> Option<Option<&'a [u8]>> {
        self.skip_space();
        match self.rest.first()? {
            b'{' => self.list(depth, b'}').map(|()| None),
            b'[' => self.list(depth, b']').map(|()| None),
            b'"' => self.string().map(|_| None),
            b'-' | b'0'..=b'9' => {
                Some(Some(self.take(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))))
            }
            _ => {
                let word = self.take(|b| b.is_ascii_lowercase());
                matches!(word, b"true" | b"false" | b"null").then_some(None)
            }
        }
    }

    /// Steps over a string; gives what is between its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.eat(b'"')?;
        let whole = self.rest;
        loop {
            self.take(|byte| byte != b'"' && byte != b'\\');
            if self.rest.first() == Some(&b'"') {
                let text = whole.get(..whole.len() - self.rest.len());
                self.eat(b'"')?;
                return text;
            }
            self.rest = self.rest.get(2..)?;
        }
    }

    /// Steps over an object or an array, up to `end`.
    fn list(&mut self, depth: usize, end: u8) -> Option<()> {
        self.rest = self.rest.get(1..).filter(|_| depth < MAX_DEPTH)?;
        self.skip_space();
        if self.rest.first() == Some(&end) {
            return self.eat(end);
        }
        loop {
            self.skip_space();
            let key = if end == b'}' { Some(self.string()?) } else { None };
            if key.is_some() {
                self.skip_space();
                self.eat(b':')?;
            }
            let number = self.value(depth + 1)?;
            if depth == 0 && key == Some(b"code") {
                self.code = number;
            }
            self.skip_space();
            if self.rest.first() == Some(&end) {
                return self.eat(end);
            }
            self.eat(b',')?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_code_zero_agree_and_nothing_else() {
        for body in [
            "0",
            " 0\r\n",
            "{\"code\":0}",
            "{ \"code\" : 0 , \"data\": null }\n",
            "{\"a\":[1,{\"code\":3}],\"code\":0}",
            "{\"msg\":\"\\\"code\\\":1}\",\"code\":0.0}",
            "{\"data\":{},\"x\":[],\"code\":0,\"y\":true}",
            "{\"code\":-0}",
        ] {
            assert!(agrees(body.as_bytes()), "{body}");
        }
        for body in [
            "",
            "1",
            "00",
            "0 0",
            "ok",
            "null",
            "true",
            "{}",
            "{\"code\":1}",
            "{\"code\":\"0\"}",
            "{\"code\":null}",
            "{\"code\":0",
            "{\"code\":0}}",
            "{\"code\":0,}",
            "[0]",
            "{\"data\":{\"code\":0}}",
            "{\"Code\":0}",
            "\"0\"",
            "{\"code\":0,\"code\":1}",
            "{code:0}",
            "{\"code\":0 \"a\":1}",
            "{\"code\":-}",
            "{\"code\":1e0}",
            "{\"code\":0.1}",
            "{\"a\\",
            "{\"a\":\"\\",
        ] {
            assert!(!agrees(body.as_bytes()), "{body}");
        }
        let deep = |n: usize| format!("{{\"a\":{}{},\"code\":0}}", "[".repeat(n), "]".repeat(n));
        assert!(agrees(deep(20).as_bytes()) && !agrees(deep(8_000).as_bytes()));
    }
}
