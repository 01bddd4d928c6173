//! The opening handshake of RFC 6455, as far as Pingora has not done it: what a request for a WebSocket must say, and what is
//! answered to it. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    AsHeaderName, CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method as Verb, Version};
use pingora::http::RequestHeader;

use crate::error::Error;

const KEY_BYTES: usize = 16;
/// RFC 6455 section 1.3: what no server says that does not know WebSocket.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a request asks for a WebSocket. What it asks for beyond that may still be wrong: see [`accept`].
pub fn wishes(header: &RequestHeader) -> bool {
    let lists = |name, token| {
        let values = header.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    header.version == Version::HTTP_11
        && header.method == Verb::GET
        && lists(UPGRADE, "websocket")
        && lists(CONNECTION, "upgrade")
}

/// The `Sec-WebSocket-Accept` of a handshake that will do.
///
/// # Errors
/// What is wrong with it.
pub(super) fn accept(headers: &HeaderMap) -> Result<String, Error> {
    if single(headers, SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Error::WebSocketVersion);
    }
    let key = single(headers, SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).filter(|key| is_key(key));
    let key = key.ok_or(Error::InvalidHeader { header: "sec-websocket-key" })?;
    // What would follow the header are frames to one reader and a body to another.
    for (name, label) in [(CONTENT_LENGTH, "content-length"), (TRANSFER_ENCODING, "transfer-encoding")] {
        if headers.get(name).is_some_and(|value| value != "0") {
            return Err(Error::InvalidHeader { header: label });
        }
    }
    if !same_origin(headers) {
        return Err(Error::OriginRefused);
    }
    // No secret hangs on it: the digest only shows that the key was read.
    let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(GUID);
    Ok(STANDARD.encode(digest.finish()))
}

fn is_key(key: &[u8]) -> bool {
    STANDARD.decode(key).is_ok_and(|key| key.len() == KEY_BYTES)
}

/// Browsers let every page open a WebSocket anywhere, but say whose page it is. No cookie is a credential here, so there is
/// nothing a foreign page could borrow of most people; a client certificate, where one is asked for, it could.
fn same_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("https://"));
    let plain = |host: &str| host.strip_suffix(":443").unwrap_or(host).to_ascii_lowercase();
    origins.next().is_none() && origin.is_some_and(|origin| plain(origin) == plain(host))
}

/// The value of a header that is there once.
fn single(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use chassis::error::Failure as _;

    use super::*;

    const GOOD: [(&str, &str); 5] = [
        ("host", "api.bank.test"),
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn request(verb: &str, fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut header = RequestHeader::build(verb, b"/v1/chat", None).unwrap();
        for (name, value) in fields {
            header.append_header(*name, *value).unwrap();
        }
        header
    }

    /// The good one, with these fields in place of its own or besides them.
    fn with(fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let kept = GOOD.iter().filter(|(name, _)| fields.iter().all(|(other, _)| other != name));
        request("GET", &kept.chain(fields).copied().collect::<Vec<_>>())
    }

    #[test]
    fn a_wish_is_a_get_of_http_1_with_both_headers() {
        assert!(wishes(&with(&[])));
        assert!(wishes(&with(&[("upgrade", "h2c, WebSocket")])));
        assert!(!wishes(&with(&[("upgrade", "h2c")])));
        assert!(!wishes(&with(&[("connection", "keep-alive")])));
        assert!(!wishes(&request("POST", &GOOD)));
        let mut two = with(&[]);
        two.set_version(Version::HTTP_2);
        assert!(!wishes(&two));
    }

    #[test]
    fn a_handshake_is_answered_by_the_digest_of_its_key() {
        // The example of RFC 6455 section 1.3.
        assert_eq!(accept(&with(&[]).headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for origin in ["https://api.bank.test", "https://API.bank.test:443"] {
            assert!(accept(&with(&[("origin", origin)]).headers).is_ok(), "{origin}");
        }
        assert!(accept(&with(&[("content-length", "0")]).headers).is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_handshake_is_named() {
        let check = |fields: &[(&'static str, &'static str)], reason: &str| {
            let refused = accept(&with(fields).headers).unwrap_err();
            assert_eq!(refused.reason(), reason, "{fields:?}");
        };
        check(&[("sec-websocket-version", "8")], "WEBSOCKET_VERSION");
        check(&[("sec-websocket-version", "13"), ("sec-websocket-version", "8")], "WEBSOCKET_VERSION");
        check(&[("sec-websocket-key", "c2hvcnQ=")], "INVALID_HEADER");
        check(&[("sec-websocket-key", "not base64 at all")], "INVALID_HEADER");
        check(&[("content-length", "5")], "INVALID_HEADER");
        check(&[("transfer-encoding", "chunked")], "INVALID_HEADER");
        for origin in ["https://evil.test", "http://api.bank.test", "null", "https://api.bank.test:8443"] {
            check(&[("origin", origin)], "ORIGIN_REFUSED");
        }
        check(&[("origin", "https://api.bank.test"), ("origin", "https://api.bank.test")], "ORIGIN_REFUSED");
    }
}
