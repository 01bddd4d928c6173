//! gRPC-Web, as its protocol says (PROTOCOL-WEB of the gRPC project): the messages of gRPC for browsers, which can neither read
//! trailers nor stream a request. Binary bodies are the frames of gRPC; text bodies are the same in base64; the trailers are the
//! last frame of the answer. Here are the forms and what they are made of, all pure; who carries them is `relay::web`.

mod text;
mod trailers;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

pub use text::{Decoder, Malformed, encode};
pub use trailers::put as put_trailers;

const BINARY: HeaderValue = HeaderValue::from_static("application/grpc-web+proto");
const TEXT: HeaderValue = HeaderValue::from_static("application/grpc-web-text+proto");

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Frames as they are.
    Binary,
    /// Frames in base64, in pieces that are padded each for itself.
    Text,
}

/// The forms of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// What the client sends.
    pub request: Form,
    /// What it wants to hear.
    pub answer: Form,
}

impl Form {
    /// The form that a media type names. Only the message format of the contract is spoken here: `+json` is none of it.
    fn named(media: &[u8]) -> Option<Self> {
        let essence = media.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let named = |names: [&str; 2]| names.iter().any(|name| essence.eq_ignore_ascii_case(name.as_bytes()));
        if named(["application/grpc-web+proto", "application/grpc-web"]) {
            return Some(Self::Binary);
        }
        named(["application/grpc-web-text+proto", "application/grpc-web-text"]).then_some(Self::Text)
    }

    /// The content type of an answer.
    #[must_use]
    pub const fn content_type(self) -> HeaderValue {
        match self {
            Self::Binary => BINARY,
            Self::Text => TEXT,
        }
    }
}

impl Dialect {
    /// The dialect of a request, if it is gRPC-Web at all. An answer has the request's form unless `Accept` names another one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let request = Form::named(headers.get(CONTENT_TYPE)?.as_bytes())?;
        let ranges =
            headers.get_all(ACCEPT).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let answer = ranges.into_iter().find_map(Form::named).unwrap_or(request);
        Some(Self { request, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_is_named_by_content_type_and_accept() {
        let check = |content_type: &'static str, accept: &'static str, expect: Option<(Form, Form)>| {
            let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            if !accept.is_empty() {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            let expect = expect.map(|(request, answer)| Dialect { request, answer });
            assert_eq!(Dialect::of(&headers), expect, "{content_type} {accept}");
        };
        let (binary, text) = (Form::Binary, Form::Text);
        check("application/grpc-web", "", Some((binary, binary)));
        check("application/grpc-web+proto", "*/*", Some((binary, binary)));
        check("Application/gRPC-Web; charset=utf-8", "", Some((binary, binary)));
        check("application/grpc-web-text", "", Some((text, text)));
        check("application/grpc-web-text+proto", "application/grpc-web-text", Some((text, text)));
        check("application/grpc-web", "application/grpc-web-text+proto", Some((binary, text)));
        check(
            "application/grpc-web-text",
            "text/html, application/grpc-web+proto;q=0.9",
            Some((text, binary)),
        );
        for other in
            ["application/grpc", "application/grpc-web+json", "application/grpc-webx", "application/json", ""]
        {
            check(other, "application/grpc-web", None);
        }
        assert_eq!(Dialect::of(&HeaderMap::new()), None);
    }
}
