//! Heads that two servers could read in two ways. Pingora refuses most of them; what it lets through is refused here, because
//! whoever stands before the edge may read it the other way, and would then take the rest of one client's body for another
//! client's request (RFC 9112 section 11.2). Such a connection serves nothing more.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Version};
use pingora::http::RequestHeader;

use crate::error::Error;

/// One behind the verb and one behind the target (RFC 9112 section 3).
const REQUEST_LINE_SPACES: usize = 2;

/// How a line with a length begins, in any case.
const LENGTH: &[u8] = b"content-length";

/// Whether a head has one reading.
///
/// # Errors
/// When it has several.
pub fn check(head: &RequestHeader) -> Result<(), Error> {
    let headers = &head.headers;
    let refused = |header| Err(Error::InvalidHeader { header });
    // RFC 9112 section 3.2, RFC 9113 section 8.3.1: one host, however it is said.
    let mut hosts = headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let differs = |host: &[u8]| authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(host));
    if another.is_some()
        || host.is_some_and(|host| differs(host.as_bytes()))
        || (head.version == Version::HTTP_11 && host.is_none())
    {
        return refused("host");
    }
    if !plain(headers, |value| value.eq_ignore_ascii_case(b"chunked"), TRANSFER_ENCODING) {
        return refused("transfer-encoding");
    }
    let digits = |value: &[u8]| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if !plain(headers, digits, CONTENT_LENGTH) {
        return refused("content-length");
    }
    Ok(())
}

/// Whether the text of a head of HTTP/1 has one reading. What Pingora makes of it no longer shows: which bytes ended a line, how
/// many spaces parted the request line, and whether a length stood beside chunks.
///
/// # Errors
/// When it has several.
pub fn check_text(text: &[u8], headers: &HeaderMap) -> Result<(), Error> {
    // RFC 9112 section 2.2 lets a server take a bare LF for the end of a line, and another take it for a part of it. Whoever
    // sends one is no client of ours. Without a branch, for every request pays for it.
    let bare = |pair: &[u8]| pair[1] == b'\n' && pair[0] != b'\r';
    let bare = text.windows(2).fold(text.starts_with(b"\n"), |found, pair| found | bare(pair));
    // Empty lines before the request are allowed; each is its carriage return alone.
    let line = text.split(|byte| *byte == b'\n').find(|line| line.len() > 1).unwrap_or_default();
    let spaces = line.iter().filter(|byte| **byte == b' ').count();
    if bare || spaces != REQUEST_LINE_SPACES || line.contains(&b'\t') {
        return Err(Error::MalformedRequest);
    }
    // Section 6.1: both lengths at once are a smuggling attempt or a mistake; which of them counts is not for the edge to choose.
    let length = |line: &[u8]| line.get(..LENGTH.len()).is_some_and(|name| name.eq_ignore_ascii_case(LENGTH));
    if headers.contains_key(TRANSFER_ENCODING) && text.split(|byte| *byte == b'\n').any(length) {
        return Err(Error::InvalidHeader { header: "content-length" });
    }
    Ok(())
}

/// Whether a header is absent, or there once and in its one form.
fn plain(headers: &HeaderMap, form: impl Fn(&[u8]) -> bool, name: http::HeaderName) -> bool {
    let mut values = headers.get_all(name).iter();
    values.next().is_none_or(|value| form(value.as_bytes())) && values.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &[u8], version: Version, fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", path, None).unwrap();
        head.set_version(version);
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    #[test]
    fn a_head_with_one_reading_is_let_in() {
        for fields in [
            &[("host", "a")][..],
            &[("host", "a"), ("content-length", "5")],
            &[("host", "a"), ("transfer-encoding", "Chunked")],
        ] {
            assert!(check(&head(b"/v1/a", Version::HTTP_11, fields)).is_ok(), "{fields:?}");
        }
        assert!(check(&head(b"/v1/a", Version::HTTP_10, &[])).is_ok());
        assert!(check(&head(b"/v1/a", Version::HTTP_2, &[])).is_ok());
        let mut absolute = head(b"/v1/a", Version::HTTP_2, &[("host", "A.example")]);
        absolute.set_uri("https://a.example/v1/a".parse().unwrap());
        assert!(check(&absolute).is_ok());
    }

    #[test]
    fn a_text_with_one_reading_is_let_in() {
        let chunked = HeaderMap::from_iter([(TRANSFER_ENCODING, http::HeaderValue::from_static("chunked"))]);
        for text in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "\r\nGET / HTTP/1.1\r\nhost: a b  c\r\n\r\n"] {
            assert!(check_text(text.as_bytes(), &chunked).is_ok(), "{text:?}");
        }
        let length = "GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
        assert!(check_text(length.as_bytes(), &HeaderMap::new()).is_ok());
        assert!(check_text(length.as_bytes(), &chunked).is_err());
    }

    #[test]
    fn a_text_with_two_readings_is_refused() {
        for text in [
            "GET / HTTP/1.1\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\n",
            "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /  HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
        ] {
            assert!(check_text(text.as_bytes(), &HeaderMap::new()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_head_with_two_readings_is_refused() {
        for fields in [
            &[][..],
            &[("host", "a"), ("host", "b")],
            &[("host", "a"), ("transfer-encoding", "chunked, chunked")],
            &[("host", "a"), ("transfer-encoding", "identity"), ("transfer-encoding", "chunked")],
            &[("host", "a"), ("content-length", "5"), ("content-length", "5")],
            &[("host", "a"), ("content-length", "5, 5")],
            &[("host", "a"), ("content-length", "+5")],
            &[("host", "a"), ("content-length", "")],
        ] {
            let refused = check(&head(b"/v1/a", Version::HTTP_11, fields));
            assert!(matches!(refused, Err(Error::InvalidHeader { .. })), "{fields:?}");
        }
        let mut elsewhere = head(b"/v1/a", Version::HTTP_2, &[("host", "b.example")]);
        elsewhere.set_uri("https://a.example/v1/a".parse().unwrap());
        assert!(check(&elsewhere).is_err());
    }
}
