//! How a stream of JSON messages is written: which framings there are, which one the client asks for, and the bytes around
//! messages and failures.

use http::HeaderMap;

use crate::accept;
use crate::error::Error;
use crate::transcode::{Failed, Types, status_flat, status_json};

/// How a stream of JSON messages is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One JSON array.
    Array,
    /// One message a line.
    Lines,
    /// One message a line, wrapped as grpc-gateway does.
    Wrapped,
    /// Server-sent events.
    Events,
}

/// The framings by media type; lines go by three names, of which none is registered.
const OFFERS: [(&str, Framing); 5] = [
    ("application/json", Framing::Array),
    ("application/x-ndjson", Framing::Lines),
    ("application/ndjson", Framing::Lines),
    ("application/jsonl", Framing::Lines),
    ("text/event-stream", Framing::Events),
];

impl Framing {
    /// What the request's `Accept` asks for: an array where it leaves the choice, for that is JSON.
    ///
    /// # Errors
    /// When it admits none.
    pub(super) fn accepted(headers: &HeaderMap, grpc_gateway: bool) -> Result<Self, Error> {
        let available = "application/json, application/x-ndjson, text/event-stream";
        match accept::choose(headers, &OFFERS).ok_or(Error::NotAcceptable { available })? {
            Self::Array | Self::Lines if grpc_gateway => Ok(Self::Wrapped),
            framing @ (Self::Array | Self::Lines | Self::Wrapped | Self::Events) => Ok(framing),
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Array | Self::Wrapped => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    /// What stands before a message; `first` if none came before.
    pub(super) const fn before(self, first: bool) -> &'static [u8] {
        match self {
            Self::Array if first => b"[",
            Self::Array => b",",
            Self::Lines => b"",
            Self::Wrapped => b"{\"result\":",
            Self::Events => b"data: ",
        }
    }

    pub(super) const fn after(self) -> &'static [u8] {
        match self {
            Self::Array => b"",
            Self::Lines => b"\n",
            Self::Wrapped => b"}\n",
            Self::Events => b"\n\n",
        }
    }

    /// What ends a whole stream; `empty` if it had no message.
    pub(super) const fn end(self, empty: bool) -> &'static [u8] {
        match self {
            Self::Array if empty => b"[]",
            Self::Array => b"]",
            Self::Lines | Self::Wrapped | Self::Events => b"",
        }
    }

    /// Appends an error record. Returns whether there is room for one. A record has the one shape whatever the client prefers of
    /// whole answers: it stands under the stream's media type, and whoever reads the stream must tell it from a message.
    pub(super) fn put_error(self, failed: &Failed<'_>, types: Option<&Types>, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Array => return false,
            Self::Lines => status_json(failed, types, out),
            Self::Wrapped => {
                out.extend_from_slice(b"{\"error\":");
                status_flat(failed, types, out);
            }
            Self::Events => {
                out.extend_from_slice(b"event: error\ndata: ");
                status_json(failed, types, out);
            }
        }
        out.extend_from_slice(self.after());
        true
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::ACCEPT;

    use super::*;

    fn accepted(accept: &'static str, grpc_gateway: bool) -> Option<Framing> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        Framing::accepted(&headers, grpc_gateway).ok()
    }

    #[test]
    fn the_client_chooses_the_framing() {
        let check = |accept: &'static str, expect: Option<Framing>| {
            assert_eq!(accepted(accept, false), expect, "{accept}");
        };
        check("", Some(Framing::Array));
        check("*/*", Some(Framing::Array));
        check("application/json", Some(Framing::Array));
        check("application/x-ndjson", Some(Framing::Lines));
        check("application/jsonl", Some(Framing::Lines));
        check("text/html, text/event-stream;q=0.9", Some(Framing::Events));
        check("application/json, text/event-stream", Some(Framing::Array));
        check("application/json;q=0.5, text/event-stream", Some(Framing::Events));
        check("text/html", None);
        assert_eq!(accepted("application/x-ndjson", true), Some(Framing::Wrapped));
        assert_eq!(accepted("", true), Some(Framing::Wrapped));
        assert_eq!(accepted("text/*", true), Some(Framing::Events));
    }

    #[test]
    fn every_framing_of_no_message_is_whole() {
        assert_eq!(Framing::Array.end(true), b"[]");
        assert_eq!(Framing::Lines.end(true), b"");
        assert_eq!(Framing::Events.end(true), b"");
    }
}
