//! Between REST and gRPC messages: JSON to wire bytes and back in one pass each, by plans compiled from descriptors at load.
//! No dynamic message and no tree stands between the two. Pure: bytes in, bytes out; who reads and writes sockets is `rest`.

mod error;
pub mod frame;
mod status;

pub use error::{RequestError, ResponseError, Violation};
use serde::{Deserialize, Serialize};
pub use status::{Failed, code_name, decode_bin, http_status_of, retry_after, status_json};

use crate::route::Variables;

/// `[transcoding]` of `edge.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Query parameters of these names never bind.
    pub ignored_query: Vec<String>,
    /// Unknown query parameters are skipped instead of refused.
    pub ignore_unknown_query: bool,
    /// Unknown fields of JSON bodies are skipped instead of refused.
    pub ignore_unknown_fields: bool,
    /// `+` in a query is a space.
    pub query_plus_is_space: bool,
    /// Names of enum values match whatever their case.
    pub case_insensitive_enums: bool,
    /// Enum values are printed as numbers.
    pub print_enum_numbers: bool,
    /// Fields are printed under their proto names.
    pub print_proto_names: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ignored_query: Vec::new(),
            ignore_unknown_query: false,
            ignore_unknown_fields: false,
            query_plus_is_space: true,
            case_insensitive_enums: false,
            print_enum_numbers: false,
            print_proto_names: false,
        }
    }
}

/// The most JSON containers that may stand inside one another, both ways: protobuf's own default.
pub const DEPTH_MAX: usize = 100;

/// The message types of one descriptor set, compiled.
#[derive(Debug)]
pub struct Types;

/// What of a REST request becomes the gRPC message.
#[derive(Clone, Copy, Debug)]
pub struct RestRequest<'a> {
    pub variables: &'a Variables<'a>,
    /// Raw, without the `?`.
    pub query: Option<&'a str>,
    pub body: &'a [u8],
    pub content_type: Option<&'a str>,
    /// `Idempotency-Key`: fills the field marked `request_id`.
    pub idempotency_key: Option<&'a str>,
    /// `If-Match`: fills the request's field marked `etag`.
    pub if_match: Option<&'a str>,
    /// `Last-Event-ID`: fills the field marked `resume_position`.
    pub last_event_id: Option<&'a str>,
}

/// What a call through a binding looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// One message each way. Either may be an `HttpBody`: see [`Binding::request_is_http_body`].
    Unary,
    /// JSON messages down.
    ServerStream,
    /// Raw bytes down, one `HttpBody` after another.
    HttpBodyDownload,
    /// Raw bytes up, one `HttpBody` after another, one message down.
    HttpBodyUpload,
    /// JSON messages up, one down.
    ClientStream,
    /// JSON messages both ways.
    Bidi,
}

/// One `google.api.http` binding of one method, compiled.
#[derive(Debug)]
pub struct Binding {
    kind: BindingKind,
    success_status: u16,
    http_method: String,
    template: std::sync::Arc<str>,
}

/// An `HttpBody` taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpBody<'m> {
    /// Empty when the message names none.
    pub content_type: &'m str,
    pub data: &'m [u8],
}

impl Binding {
    #[must_use]
    pub fn kind(&self) -> BindingKind {
        self.kind
    }

    /// `GET`, or `*` for each.
    #[must_use]
    pub fn http_method(&self) -> &str {
        &self.http_method
    }

    /// `/v1/accounts/{account_id}`: what logs and metrics may say of a path.
    #[must_use]
    pub fn template(&self) -> &std::sync::Arc<str> {
        &self.template
    }

    /// The HTTP status of a success: 200, 201, 202 or 204.
    #[must_use]
    pub fn success_status(&self) -> u16 {
        self.success_status
    }

    /// Whether the body goes up as raw bytes, whatever its content type.
    #[must_use]
    pub fn request_is_http_body(&self) -> bool {
        false
    }

    /// Whether the answer's bytes are the body: see [`Binding::http_body`].
    #[must_use]
    pub fn response_is_http_body(&self) -> bool {
        false
    }

    /// Appends the request message, unframed, to `out`. What `out` holds after an error is unspecified.
    ///
    /// # Errors
    /// Every violation that could be found, or the one thing that made the body unreadable.
    pub fn encode_request(&self, _request: &RestRequest<'_>, _out: &mut Vec<u8>) -> Result<(), RequestError> {
        Err(RequestError::UnsupportedMediaType)
    }

    /// Appends the first message of an upload: variables, query, content type and the first bytes (`request.body`).
    ///
    /// # Errors
    /// As [`Binding::encode_request`].
    pub fn upload_first(&self, request: &RestRequest<'_>, out: &mut Vec<u8>) -> Result<(), RequestError> {
        self.encode_request(request, out)
    }

    /// Appends a later message of an upload: bytes and nothing else.
    pub fn upload_next(&self, _data: &[u8], _out: &mut Vec<u8>) {}

    /// Appends a response message as JSON, `response_body` and print habits honoured.
    ///
    /// # Errors
    /// When the upstream's message is not one of its type, or cannot be JSON.
    pub fn decode_response(&self, _message: &[u8], _out: &mut Vec<u8>) -> Result<(), ResponseError> {
        Err(ResponseError::Malformed)
    }

    /// The `HttpBody` of a response message, at `response_body` if the rule names one.
    ///
    /// # Errors
    /// When the message is not one of its type.
    pub fn http_body<'m>(&self, _message: &'m [u8]) -> Result<HttpBody<'m>, ResponseError> {
        Err(ResponseError::Malformed)
    }

    /// The types of the binding's descriptor set, for error details.
    #[must_use]
    pub fn types(&self) -> &Types {
        &Types
    }

    /// The Location header of a success, filled from the response message.
    #[must_use]
    pub fn location(&self, _message: &[u8]) -> Option<String> {
        None
    }

    /// The ETag header of a success, quoted, from the response message's etag field.
    #[must_use]
    pub fn etag(&self, _message: &[u8]) -> Option<String> {
        None
    }
}
