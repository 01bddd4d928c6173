//! JSON as RFC 8259 has it and nothing more: a strict reader over bytes that are known to be UTF-8, and the writing of strings.
//! The reader hands out slices of its input; it builds nothing. It knows no schema.

use super::{DEPTH_MAX, RequestError};

/// Input that is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    offset: usize,
    reason: &'static str,
}

/// What a text says that is JSON and holds more than it may.
const TOO_MANY: &str = "more elements than the bound";

impl Malformed {
    /// Whether it is JSON, but has too many elements.
    pub(super) fn is_too_many(&self) -> bool {
        self.reason == TOO_MANY
    }
}

impl From<Malformed> for RequestError {
    fn from(malformed: Malformed) -> Self {
        Self::MalformedJson { offset: malformed.offset, reason: malformed.reason }
    }
}

/// A string's text between its quotes, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'j> {
    raw: &'j [u8],
    escaped: bool,
}

/// A place in a JSON text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'j> {
    bytes: &'j [u8],
    at: usize,
    depth: usize,
    /// How many more elements of arrays and members of objects may follow.
    pub(super) elements_left: usize,
}

impl<'j> Reader<'j> {
    /// Starts at the front of a text. UTF-8 is checked once and here.
    pub(super) fn new(bytes: &'j [u8], elements_max: usize) -> Result<Self, Malformed> {
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(Self { bytes, at: 0, depth: 0, elements_left: elements_max }),
            Err(error) => Err(Malformed { offset: error.valid_up_to(), reason: "invalid UTF-8" }),
        }
    }

    /// The same text where it stands inside as many containers already.
    pub(super) const fn inside(self, depth: usize) -> Self {
        Self { depth, ..self }
    }

    pub(super) const fn fail(&self, reason: &'static str) -> Malformed {
        Malformed { offset: self.at, reason }
    }

    /// The first byte of the next token; 0 at the end, which begins no token.
    pub(super) fn peek(&mut self) -> u8 {
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                _ => return *byte,
            }
        }
        0
    }

    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Malformed> {
        if self.peek() != byte {
            return Err(self.fail(reason));
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing but white space follows.
    pub(super) fn finish(&mut self) -> Result<(), Malformed> {
        if self.peek() == 0 && self.at >= self.bytes.len() {
            Ok(())
        } else {
            Err(self.fail("data after the end"))
        }
    }

    /// Steps into `{` or `[`; the caller has peeked it.
    pub(super) fn enter(&mut self) -> Result<(), Malformed> {
        if self.depth == DEPTH_MAX {
            return Err(self.fail("nested too deep"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// The next key of an object, its colon consumed; `None` at the closing brace. `first` before the first member.
    pub(super) fn key(&mut self, first: &mut bool) -> Result<Option<Text<'j>>, Malformed> {
        match self.peek() {
            b'}' => {
                self.at += 1;
                self.depth -= 1;
                return Ok(None);
            }
            b',' if !*first => self.at += 1,
            _ if *first => {}
            _ => return Err(self.fail("expected , or }")),
        }
        *first = false;
        self.count()?;
        if self.peek() != b'"' {
            return Err(self.fail("expected a key"));
        }
        let key = self.string()?;
        self.expect(b':', "expected :")?;
        Ok(Some(key))
    }

    /// Whether another element of an array follows; consumes the comma or the closing bracket.
    pub(super) fn element(&mut self, first: &mut bool) -> Result<bool, Malformed> {
        match self.peek() {
            b']' => {
                self.at += 1;
                self.depth -= 1;
                return Ok(false);
            }
            b',' if !*first => {
                self.at += 1;
                if self.peek() == b']' {
                    return Err(self.fail("expected a value"));
                }
            }
            _ if *first => {}
            _ => return Err(self.fail("expected , or ]")),
        }
        *first = false;
        self.count()?;
        Ok(true)
    }

    /// Counts an element or a member: each may cost its reader a hundred times the three bytes that it takes here.
    fn count(&mut self) -> Result<(), Malformed> {
        self.elements_left = self.elements_left.checked_sub(1).ok_or_else(|| self.fail(TOO_MANY))?;
        Ok(())
    }

    /// A string; the caller has peeked its quote.
    pub(super) fn string(&mut self) -> Result<Text<'j>, Malformed> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at += plain_run(&self.bytes[at..]);
            self.at = at;
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    let (_, length) = unescape(&self.bytes[at..]).map_err(|reason| self.fail(reason))?;
                    at += length;
                }
                Some(_) => return Err(self.fail("control character in a string")),
                None => return Err(self.fail("string is not closed")),
            }
        }
        self.at = at + 1;
        Ok(Text { raw: &self.bytes[start..at], escaped })
    }

    /// A number as it is written; the caller has peeked a digit or a minus.
    pub(super) fn number(&mut self) -> Result<&'j str, Malformed> {
        let rest = &self.bytes[self.at..];
        let length = number_length(rest).ok_or_else(|| self.fail("malformed number"))?;
        self.at += length;
        Ok(std::str::from_utf8(&rest[..length]).unwrap_or_default())
    }

    /// `true`, `false` or `null`; the caller has peeked its first letter.
    pub(super) fn word(&mut self) -> Result<&'static str, Malformed> {
        for word in ["true", "false", "null"] {
            if self.bytes[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(word);
            }
        }
        Err(self.fail("expected a value"))
    }

    /// Steps over any value, checking it.
    pub(super) fn skip(&mut self) -> Result<(), Malformed> {
        self.walk(&mut |_, _, _| {})
    }

    /// Steps over any value and shows each member of each object in it: where the object begins, the key, and a reader that
    /// stands before the value.
    pub(super) fn walk(&mut self, show: &mut impl FnMut(usize, Text<'j>, Self)) -> Result<(), Malformed> {
        let mut first = true;
        match self.peek() {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b'{' => {
                let object = self.at;
                self.enter()?;
                while let Some(key) = self.key(&mut first)? {
                    show(object, key, *self);
                    self.walk(show)?;
                }
                Ok(())
            }
            b'[' => {
                self.enter()?;
                while self.element(&mut first)? {
                    self.walk(show)?;
                }
                Ok(())
            }
            0 if self.at >= self.bytes.len() => Err(self.fail("ends too early")),
            _ => self.word().map(drop),
        }
    }

    /// Whether the object that has been peeked has no members.
    pub(super) fn is_empty_object(mut self) -> bool {
        self.at += 1;
        self.peek() == b'}'
    }

    /// How many bytes have been read.
    pub(super) const fn offset(&self) -> usize {
        self.at
    }
}

impl<'j> Text<'j> {
    /// The text itself, if it has no escapes.
    pub(super) const fn plain(&self) -> Option<&'j [u8]> {
        if self.escaped { None } else { Some(self.raw) }
    }

    /// Appends the text.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        if !self.escaped {
            out.extend_from_slice(self.raw);
            return;
        }
        let mut rest = self.raw;
        while !rest.is_empty() {
            let run = rest.iter().position(|byte| *byte == b'\\').unwrap_or(rest.len());
            out.extend_from_slice(&rest[..run]);
            rest = &rest[run..];
            // Checked when the string was read.
            if let Ok((character, length)) = unescape(rest) {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[length..];
            }
        }
    }

    /// The text; `scratch` holds it if it has escapes.
    pub(super) fn as_str<'s>(&self, scratch: &'s mut Vec<u8>) -> &'s str
    where
        'j: 's,
    {
        let bytes = if self.escaped {
            scratch.clear();
            self.append_to(scratch);
            scratch.as_slice()
        } else {
            self.raw
        };
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// How many bytes at the front need no look: neither quote, backslash nor control character.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let mut run = 0;
    // Eight bytes at a time: a byte below n sets its high bit in (x - n) & !x, and a byte equal to b is one below 1 in x ^ b.
    while let Some(chunk) = bytes.get(run..run + 8).and_then(|chunk| <[u8; 8]>::try_from(chunk).ok()) {
        let word = u64::from_le_bytes(chunk);
        let below = |x: u64, n: u64| x.wrapping_sub(ONES * n) & !x & HIGHS;
        let special = below(word, 0x20) | below(word ^ (ONES * 0x22), 1) | below(word ^ (ONES * 0x5c), 1);
        if special != 0 {
            return run + special.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    bytes[run..].iter().position(special).map_or(bytes.len(), |position| run + position)
}

/// The character that an escape at the front stands for, and the escape's length: a surrogate pair is one escape.
fn unescape(bytes: &[u8]) -> Result<(char, usize), &'static str> {
    let simple = |character| Ok((character, 2));
    match bytes.get(1) {
        Some(b'"') => simple('"'),
        Some(b'\\') => simple('\\'),
        Some(b'/') => simple('/'),
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'n') => simple('\n'),
        Some(b'r') => simple('\r'),
        Some(b't') => simple('\t'),
        Some(b'u') => {
            let high = hex4(&bytes[2..]).ok_or("malformed escape")?;
            if let Some(character) = char::from_u32(high) {
                return Ok((character, 6));
            }
            let low = bytes.get(6..8).filter(|next| *next == b"\\u").and_then(|_| hex4(&bytes[8..]));
            match low {
                Some(low @ 0xdc00..=0xdfff) if high < 0xdc00 => {
                    let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    char::from_u32(code).map(|character| (character, 12)).ok_or("lone surrogate")
                }
                _ => Err("lone surrogate"),
            }
        }
        _ => Err("malformed escape"),
    }
}

fn hex4(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.iter().try_fold(0, |value, byte| Some(value << 4 | char::from(*byte).to_digit(16)?))
}

/// The length of the number at the front; `None` if there is none.
pub(super) fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let integer = digits(at);
    if integer == 0 || (integer > 1 && bytes[at] == b'0') {
        return None;
    }
    at += integer;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at);
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    Some(at)
}

/// Writes a string in quotes. Nothing beyond what RFC 8259 demands is escaped.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let run = plain_run(rest);
        out.extend_from_slice(&rest[..run]);
        let Some(byte) = rest.get(run) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        rest = &rest[run + 1..];
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(text, usize::MAX)?;
        reader.skip()?;
        reader.finish()
    }

    #[test]
    fn only_rfc_8259_is_json() {
        for text in [
            "{}",
            "[]",
            " [1 , -0.5e+10 ,\t\"a\\u00e9\\ud83d\\ude00\\/\" , null,true,false ,{\"a\":{\"a\":[]}}]\r\n",
            "0",
            "-0",
            "1E9",
            "\"\u{7f}é\"",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
        for text in [
            "",
            " ",
            "{",
            "[",
            "[1,]",
            "{\"a\":1,}",
            "{,}",
            "[,]",
            "{\"a\" 1}",
            "{\"a\"}",
            "{a:1}",
            "[1 2]",
            "[1]]",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "1e+",
            "tru",
            "nul",
            "truex",
            "NaN",
            "'a'",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "// c\n1",
            "1 2",
            "\u{feff}1",
            "{\"a\":1]",
            "[1}",
            "\0",
            "1\0",
        ] {
            assert!(check(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(check(b"\"\xff\"").is_err());
        assert!(check(b"\"\xed\xa0\x80\"").is_err(), "an encoded surrogate is not UTF-8");
    }

    #[test]
    fn nesting_ends_at_the_bound() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes();
        assert_eq!(check(&nested(DEPTH_MAX)), Ok(()));
        assert!(check(&nested(DEPTH_MAX + 1)).is_err());
    }

    #[test]
    fn elements_are_counted_on_all_levels() {
        let check = |text: &str, elements: usize| {
            for (elements_max, fits) in [(elements, true), (elements - 1, false)] {
                let mut reader = Reader::new(text.as_bytes(), elements_max).unwrap();
                let verdict = reader.skip();
                assert_eq!(verdict.is_ok(), fits, "{text}");
                assert_eq!(verdict.is_err_and(|malformed| malformed.is_too_many()), !fits, "{text}");
            }
        };
        check("[1]", 1);
        check("[[], [1, 2], {\"a\": [3]}]", 7);
        check("{\"a\": {\"b\": 1, \"c\": []}}", 3);
        assert!(Reader::new(b" [ ] ", 0).unwrap().skip().is_ok());
        assert!(Reader::new(b"\"[1,2]\"", 0).unwrap().skip().is_ok());
    }

    #[test]
    fn strings_round_trip() {
        for text in
            ["", "plain", "a\"b\\c\n\r\t\u{1}\u{1f}\u{7f}", "12345678\"", "ü€😀 after", "1234567\u{0}"]
        {
            let mut json = Vec::new();
            put_string(&mut json, text);
            let mut reader = Reader::new(&json, 0).unwrap();
            assert_eq!(reader.string().unwrap().as_str(&mut Vec::new()), text);
        }
    }
}
