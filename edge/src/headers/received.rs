//! What a request says about itself besides who sends it: how often its transaction has crossed the edge, under which id, in
//! which trace, and how long its caller will wait. From the public and the partner listener only the trace and the wait are
//! read; the rest is the mesh's to say.

use std::time::Duration;

use chassis::trace::TraceContext;
use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use uuid::Uuid;

use super::{HOPS, HOPS_MAX, TRANSACTION_ID, Trace, Wire, single, timeout};
use crate::policy::Listener;

/// The longest transaction id that is carried on. Ours have 36 bytes.
const TRANSACTION_ID_BYTES_MAX: usize = 64;

/// What a request says about itself.
#[derive(Clone, Debug)]
pub struct Received {
    /// How often the request has crossed the edge before: 0 for a call from outside.
    pub hops: u32,
    pub transaction_id: HeaderValue,
    pub trace: Trace,
    /// The budget asked for, if any.
    pub timeout: Option<Duration>,
    /// The host that a REST request was sent to. A gRPC call needs none: it names its service.
    pub host: Option<HeaderValue>,
}

/// Why a request cannot be understood or may go no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A header the edge acts on is repeated or not in its form.
    #[error("the {header} header is malformed or repeated")]
    Malformed { header: &'static str },
    /// Services call one another in a circle.
    #[error("the call has crossed the edge more than {HOPS_MAX} times")]
    HopsExceeded,
}

/// Reads the header. `fresh` becomes the edge's span, and the trace of a call that has none; `id` the transaction id of a call
/// from outside. `authority` is the request's, where its header has no `host`.
pub fn read(
    headers: &HeaderMap,
    authority: Option<&str>,
    listener: Listener,
    wire: Wire,
    fresh: TraceContext,
    id: Uuid,
) -> Result<Received, Refusal> {
    let (hops, carried) = match listener {
        Listener::Public | Listener::Partner => (0, None),
        Listener::Mesh => (hops(headers)?, transaction_id(headers)?),
    };
    if hops > HOPS_MAX {
        return Err(Refusal::HopsExceeded);
    }
    Ok(Received {
        hops,
        transaction_id: carried.unwrap_or_else(|| new_id(id)),
        trace: Trace::of(headers, listener, fresh),
        timeout: timeout::asked(headers, wire)?,
        host: match wire {
            Wire::Grpc | Wire::GrpcWeb(_) => None,
            Wire::Rest => host(headers, authority),
        },
    })
}

/// The crossings so far. A service that leaves the header out starts a chain of its own.
fn hops(headers: &HeaderMap) -> Result<u32, Refusal> {
    const MALFORMED: Refusal = Refusal::Malformed { header: "causeway-hops" };
    let Some(value) = single(headers, &HOPS).map_err(|_| MALFORMED)? else { return Ok(0) };
    match value.as_bytes() {
        digits @ ([_] | [_, _]) if digits.iter().all(u8::is_ascii_digit) => {
            Ok(digits.iter().fold(0, |value, byte| value * 10 + u32::from(byte - b'0')))
        }
        _ => Err(MALFORMED),
    }
}

fn transaction_id(headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
    const MALFORMED: Refusal = Refusal::Malformed { header: "causeway-transaction-id" };
    let Some(value) = single(headers, &TRANSACTION_ID).map_err(|_| MALFORMED)? else { return Ok(None) };
    // It is printed in every log line: letters, digits and dashes only.
    let plain = value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    if plain && (1..=TRANSACTION_ID_BYTES_MAX).contains(&value.len()) {
        Ok(Some(value.clone()))
    } else {
        Err(MALFORMED)
    }
}

fn host(headers: &HeaderMap, authority: Option<&str>) -> Option<HeaderValue> {
    let named = || headers.get(HOST).filter(|host| host.to_str().is_ok()).cloned();
    authority.and_then(|authority| HeaderValue::from_str(authority).ok()).or_else(named)
}

fn new_id(id: Uuid) -> HeaderValue {
    let mut text = [0_u8; uuid::fmt::Hyphenated::LENGTH];
    // Hexadecimal digits and dashes are always a header value; the fallback is never read.
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text))
        .unwrap_or(HeaderValue::from_static("unknown"))
}
