//! The one error shape of REST replies, AIP-193, and the table from gRPC codes to HTTP statuses.

/// The HTTP status that `google.rpc.Code` documents for a gRPC code; 500 for numbers it does not have.
#[must_use]
pub const fn http_status_of(grpc_code: u32) -> u16 {
    match grpc_code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// The name of a gRPC code as `google.rpc.Code` spells it.
#[must_use]
pub const fn code_name(grpc_code: u32) -> &'static str {
    match grpc_code {
        0 => "OK",
        1 => "CANCELLED",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        _ => "UNKNOWN",
    }
}

/// What a failed call says.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// Mostly [`http_status_of`] the code; 405, 413 and their like differ.
    pub http_status: u16,
    pub grpc_code: u32,
    pub message: &'a str,
    /// A serialized `google.rpc.Status`, of which only the details count: `grpc-status-details-bin`, decoded.
    pub details: Option<&'a [u8]>,
}

/// Appends `{"error": {"code", "status", "message", "details"}}`. Types of `google.rpc` are always known, those of `types` if
/// given; any other detail is printed as base64, as is one that does not parse.
pub fn status_json(_failed: &Failed<'_>, _types: Option<&super::Types>, _out: &mut Vec<u8>) {}

/// The value of a `-bin` header, padded or not.
#[must_use]
pub fn decode_bin(_value: &[u8]) -> Option<Vec<u8>> {
    None
}

/// The delay of a `google.rpc.RetryInfo` among the details of a serialized `google.rpc.Status`.
#[must_use]
pub fn retry_after(_details: &[u8]) -> Option<std::time::Duration> {
    None
}
