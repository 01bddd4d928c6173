//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a quoted string of RFC 9651, or the same bare, as many clients
//! write it. Both spellings are one key, for a client that changes its library in the middle of a retry must not pay twice.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

use crate::error::Error;

const NAME: HeaderName = HeaderName::from_static("idempotency-key");
/// What every owner of outcomes takes for a `request_id`.
const KEY_BYTES_MAX: usize = 64;

/// The key of a request, if it has one.
///
/// # Errors
/// When it is repeated, empty, too long or not of printable characters: a key that was shortened or mended would be another.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, Error> {
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let key = text.and_then(|text| parse(text.trim_matches([' ', '\t'])));
    let key = key.filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
    key.map(Some).ok_or(Error::InvalidHeader { header: "idempotency-key" })
}

fn parse(text: &str) -> Option<Cow<'_, str>> {
    let Some(quoted) = text.strip_prefix('"') else {
        // What is neither a token nor a quoted string could be read as one or the other.
        let plain =
            text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',' | b';'));
        return plain.then_some(Cow::Borrowed(text));
    };
    match quoted.strip_suffix('"') {
        Some(plain) if is_text(plain) && !plain.contains(['"', '\\']) => Some(Cow::Borrowed(plain)),
        _ => unescape(quoted).map(Cow::Owned),
    }
}

/// RFC 9651 section 4.2.5, behind the opening quote. Parameters mean nothing here and are passed over, as section 3.1.2 has it.
fn unescape(quoted: &str) -> Option<String> {
    let mut key = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => break,
            '\\' => key.push(rest.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            other => key.push(other),
        }
    }
    let rest = rest.as_str().trim_start_matches(' ');
    (is_text(&key) && (rest.is_empty() || rest.starts_with(';'))).then_some(key)
}

fn is_text(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, Error> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(NAME, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        key(&headers).map(|key| key.map(Cow::into_owned))
    }

    #[test]
    fn e7_a_key_is_the_same_quoted_and_bare() {
        let check = |value: &str, expect: &str| {
            assert_eq!(read(&[value]).unwrap().as_deref(), Some(expect), "{value}");
        };
        check("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324");
        check("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "8e03978e-40d5-43dd-bc93-6894a57f9324");
        check("  \"a b\" ", "a b");
        check(r#""a\"b\\c""#, r#"a"b\c"#);
        check(r#""a";v=1"#, "a");
        check(&"k".repeat(64), &"k".repeat(64));
        check(&format!("\"{}\"", "k".repeat(64)), &"k".repeat(64));
        assert_eq!(read(&[]).unwrap(), None);
    }

    #[test]
    fn e7_a_key_that_cannot_be_kept_is_refused_by_its_name() {
        let (long, huge) = ("k".repeat(65), "k".repeat(10 * 1024));
        let long_quoted = format!("\"{long}\"");
        for values in [
            &[""][..],
            &["\"\""],
            &["a b"],
            &["a\"b"],
            &["\"a"],
            &["a\""],
            &["\"a\"b"],
            &["\"a\", \"b\""],
            &["a, b"],
            &["a;v=1"],
            &[r#""a\b""#],
            &["\"a\tb\""],
            &["k\u{e9}y"],
            &["\"k\u{e9}y\""],
            &[&long],
            &[&long_quoted],
            &[&huge],
            &["a", "a"],
        ] {
            let refused = read(values);
            assert!(
                matches!(refused, Err(Error::InvalidHeader { header: "idempotency-key" })),
                "{values:?}: {refused:?}"
            );
        }
    }
}
