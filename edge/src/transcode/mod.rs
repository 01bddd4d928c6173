//! Between REST and gRPC messages: JSON to wire bytes and back in one pass each, by plans compiled from descriptors at load.
//! No dynamic message and no tree stands between the two. Pure: bytes in, bytes out; who reads and writes sockets is `rest`.
//!
//! Start with `types` (the plans) and `binding` (what is done with them); then `encode`, `bind` and `form` for requests, `print`
//! and `select` for responses, `status` and `problem` for errors. `split` and `multipart` take bodies apart that are more than
//! one message.

mod assigned;
mod bind;
mod binding;
mod compile;
mod encode;
mod error;
mod form;
pub mod frame;
mod json;
mod keys;
mod multipart;
mod print;
mod print_known;
mod print_map;
mod problem;
mod scalar;
mod select;
mod split;
mod status;
mod text;
mod time;
mod types;
mod well_known;
mod wire;

use serde::{Deserialize, Serialize};

pub use binding::Binding;
pub use compile::{Looks, Marks, Source};
pub use error::{RequestError, ResponseError, Violation};
pub use form::Media;
pub use multipart::{Event, File, Multipart, Text};
pub use problem::ErrorShape;
pub use select::Selection;
pub use split::{Part, Splitter};
pub use status::{Failed, code_name, decode_bin, http_status_of, retry_after, status_flat, status_json};
pub use types::{MessageId, Types};

use crate::route::Variables;

/// The most JSON containers that may stand inside one another, both ways: protobuf's own default.
pub const DEPTH_MAX: usize = 100;

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
    /// The most elements of arrays and members of objects that one JSON message, or the JSON in one query or form, may have on all
    /// levels together.
    pub elements_max: usize,
    /// Names of enum values match whatever their case.
    pub case_insensitive_enums: bool,
    /// Scalars at their default, empty lists and empty maps are printed. A method may say otherwise of itself, here and in the
    /// next two.
    pub print_defaults: bool,
    /// Enum values are printed as numbers.
    pub print_enum_numbers: bool,
    /// Fields are printed under their proto names.
    pub print_proto_names: bool,
    /// What clients of grpc-gateway expect: `Grpc-Metadata-<name>` for the header `<name>`, and for streams
    /// `{"result": <message>}` or `{"error": <google.rpc.Status>}` a line, under `application/json`.
    pub grpc_gateway: bool,
    /// A stream of server-sent events that has said nothing for this long says that it lives; 0: never.
    pub sse_heartbeat_ms: u64,
    /// Single JSON answers of at least this many bytes are compressed if the client accepts it; 0: never.
    pub compress_bytes_min: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ignored_query: Vec::new(),
            ignore_unknown_query: false,
            ignore_unknown_fields: false,
            query_plus_is_space: true,
            // Ten times the largest list that anyone pages through. A message of 4 MiB has room for a million empty objects, which
            // would cost its service a hundred times that in memory.
            elements_max: 100_000,
            case_insensitive_enums: false,
            print_defaults: false,
            print_enum_numbers: false,
            print_proto_names: false,
            grpc_gateway: false,
            // Proxies and address translators on the way forget connections that are silent for 30 to 60 seconds.
            sse_heartbeat_ms: 15_000,
            // One packet on most ways: below it there is nothing to win.
            compress_bytes_min: 1400,
        }
    }
}

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
    /// The texts of an envelope that the body came in: they bind as a form's.
    pub texts: &'a [Text],
}

impl<'a> RestRequest<'a> {
    /// A request with nothing but its path.
    #[must_use]
    pub const fn new(variables: &'a Variables<'a>) -> Self {
        Self {
            variables,
            query: None,
            body: &[],
            content_type: None,
            idempotency_key: None,
            if_match: None,
            last_event_id: None,
            texts: &[],
        }
    }
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

/// An `HttpBody` taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpBody<'m> {
    /// Empty when the message names none.
    pub content_type: &'m str,
    pub data: &'m [u8],
}
