//! Heads that two servers could read in two ways. Pingora refuses most of them; what it lets through is refused here, because
//! whoever stands before the edge may read it the other way, and would then take the rest of one client's body for another
//! client's request (RFC 9112 section 11.2). Such a connection serves nothing more.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Version};
use pingora::http::RequestHeader;

use crate::error::Error;

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
