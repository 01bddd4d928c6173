//! Percent-encoding, decoded exactly once. A path is checked as a whole before it is split, so that what follows may rely on
//! each `%` having its two digits.

use std::borrow::Cow;

use super::{Refusal, Unescape};

/// The reserved characters of RFC 6570 section 1.5: a decoded one could not be told from a separator.
const RESERVED: &[u8] = b"!#$&'()*+,/:;=?@[]";

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The byte that the escape at the front of `bytes` stands for.
fn escaped(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [b'%', high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// Refuses broken escapes and encoded control characters: logs and services downstream would read them as something else.
pub(super) fn check(path: &str) -> Result<(), Refusal> {
    let bytes = path.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let decoded = if *byte == b'%' { escaped(&bytes[index..]).ok_or(Refusal::Malformed)? } else { *byte };
        if decoded.is_ascii_control() {
            return Err(Refusal::Malformed);
        }
    }
    Ok(())
}

fn decode(text: &[u8], keep: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match escaped(rest) {
            Some(byte) if !keep(byte) => {
                out.push(byte);
                rest = &rest[3..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// A segment or literal with every escape decoded.
pub(super) fn decode_whole(text: &str) -> Cow<'_, [u8]> {
    if text.as_bytes().contains(&b'%') {
        Cow::Owned(decode(text.as_bytes(), |_| false))
    } else {
        Cow::Borrowed(text.as_bytes())
    }
}

/// The value of a variable. One of a single segment is decoded whole; one of several keeps what `unescape` says.
pub(super) fn decode_variable(text: &str, single: bool, unescape: Unescape) -> Result<Cow<'_, str>, Refusal> {
    if !text.as_bytes().contains(&b'%') {
        return Ok(Cow::Borrowed(text));
    }
    let bytes = match (single, unescape) {
        (true, _) | (false, Unescape::All) => decode(text.as_bytes(), |_| false),
        (false, Unescape::ExceptSlash) => decode(text.as_bytes(), |byte| byte == b'/'),
        (false, Unescape::ExceptReserved) => decode(text.as_bytes(), |byte| RESERVED.contains(&byte)),
    };
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Refusal::Malformed)
}

/// A key or value of a query; `None` for a broken escape or bytes that are not UTF-8.
#[must_use]
pub fn decode_component(text: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    let plus = plus_is_space && bytes.contains(&b'+');
    if !plus && !bytes.contains(&b'%') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let [high, low, after @ ..] = tail else { return None };
                out.push(digit(*high)? << 4 | digit(*low)?);
                rest = after;
            }
            b'+' if plus => out.push(b' '),
            _ => out.push(*first),
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}
