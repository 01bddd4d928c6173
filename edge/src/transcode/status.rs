//! The error shape of REST replies, AIP-193, and the table from gRPC codes to HTTP statuses. `problem` has the shape for those
//! who ask for another.

use std::sync::OnceLock;
use std::time::Duration;

use prost_reflect::DescriptorPool;

use super::json::put_string;
use super::print::{Habits, Printer};
use super::types::Types;
use super::wire::{self, Reader};
use super::{ResponseError, text};

/// Field numbers of `google.rpc.Status` and of `google.rpc.RetryInfo`.
const DETAILS: u32 = 3;
const RETRY_DELAY: u32 = 1;

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
pub fn status_json(failed: &Failed<'_>, types: Option<&Types>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":{\"code\":");
    out.extend_from_slice(itoa::Buffer::new().format(failed.http_status).as_bytes());
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(code_name(failed.grpc_code).as_bytes());
    out.push(b'"');
    put_text(failed, types, out);
    out.extend_from_slice(b"}}");
}

/// Appends `{"code", "message", "details"}`: a `google.rpc.Status` as it is, its code the number of gRPC.
pub fn status_flat(failed: &Failed<'_>, types: Option<&Types>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"code\":");
    out.extend_from_slice(itoa::Buffer::new().format(failed.grpc_code).as_bytes());
    put_text(failed, types, out);
    out.push(b'}');
}

/// Appends the message and the details, which both of these forms share.
fn put_text(failed: &Failed<'_>, types: Option<&Types>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"message\":");
    put_string(out, failed.message);
    put_details(failed, types, out);
}

/// Appends `,"details":[...]`.
pub(super) fn put_details(failed: &Failed<'_>, types: Option<&Types>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"details\":[");
    let start = out.len();
    for detail in details(failed.details.unwrap_or_default()) {
        let before = out.len();
        if before > start {
            out.push(b',');
        }
        if put_detail(detail, types, out).is_err() {
            // Not even an Any: the rest of the body is worth more.
            out.truncate(before);
        }
    }
    out.push(b']');
}

fn put_detail(detail: &[u8], types: Option<&Types>, out: &mut Vec<u8>) -> Result<(), ResponseError> {
    let type_url = wire::last_bytes(detail, 1)?.unwrap_or_default();
    let name = std::str::from_utf8(type_url).map_err(|_| ResponseError::Malformed)?.rsplit('/').next();
    let google_rpc = google_rpc();
    let types = match types {
        Some(types) if name.and_then(|name| google_rpc.find(name)).is_none() => types,
        _ => google_rpc,
    };
    Printer::new(types, Habits::default(), out).any(detail)
}

/// The details of a serialized `google.rpc.Status`, as far as it can be read.
pub(super) fn details(status: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(status);
    std::iter::from_fn(move || {
        while !reader.is_empty() {
            match reader.tag().ok()? {
                (DETAILS, wire::LEN) => return reader.len_delimited().ok(),
                (number, wire_type) => reader.skip(number, wire_type).ok()?,
            }
        }
        None
    })
}

/// The types of `google/rpc/error_details.proto`.
pub(super) fn google_rpc() -> &'static Types {
    static TYPES: OnceLock<Types> = OnceLock::new();
    TYPES.get_or_init(|| {
        // The set is a constant of tonic-types; a test says that it compiles.
        DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .ok()
            .and_then(|pool| Types::compile(&pool).ok())
            .unwrap_or_default()
    })
}

/// The value of a `-bin` header, padded or not.
#[must_use]
pub fn decode_bin(value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    text::append_base64(value, &mut out).then_some(out)
}

/// The delay of a `google.rpc.RetryInfo` among the details of a serialized `google.rpc.Status`.
#[must_use]
pub fn retry_after(status: &[u8]) -> Option<Duration> {
    details(status).find_map(|detail| {
        let type_url = wire::last_bytes(detail, 1).ok()??;
        if !type_url.ends_with(b"/google.rpc.RetryInfo") {
            return None;
        }
        let info = wire::last_bytes(detail, 2).ok()??;
        let delay = wire::last_bytes(info, RETRY_DELAY).ok()??;
        let (seconds, nanos) = super::print_known::seconds(delay).ok()?;
        Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?.min(999_999_999)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_of_google_rpc_are_always_known() {
        assert!(google_rpc().find("google.rpc.BadRequest").is_some());
        assert!(google_rpc().find("google.rpc.RetryInfo").is_some());
    }
}
