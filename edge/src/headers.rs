//! What crosses the edge in a request's header. Nothing a client sent reaches a service unless it stands on a list: the
//! upstream header is built anew from the few names gRPC needs, the names `edge.toml` lets pass, and what the edge alone may
//! say (caller, transaction id, hops, trace, budget). So no `Connection` trick can remove a stamp and no spelling of
//! `x-user-id` can forge one. Pure functions over `http::HeaderMap`; clock and randomness are arguments.

mod budget;
mod pass;
mod received;
mod response;
mod timeout;
mod trace;

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};

pub use budget::{Budget, budget};
pub use pass::{Pass, PassError};
pub use received::{Received, Refusal, read};
pub use response::{downstream_grpc, downstream_rest};
pub use timeout::header as timeout;
pub use trace::Trace;

use crate::grpc_web::Dialect;

/// Who calls, signed by the edge.
pub const TXN_TOKEN: HeaderName = HeaderName::from_static(chassis::transaction_token::TXN_TOKEN);
/// The id of everything that one outside request set off.
pub const TRANSACTION_ID: HeaderName = HeaderName::from_static(chassis::call::TRANSACTION_ID);
/// How many times the request has crossed the edge before; services add one for each call onward.
pub const HOPS: HeaderName = HeaderName::from_static(chassis::call::HOPS);
pub const TRACEPARENT: HeaderName = HeaderName::from_static(chassis::trace::TRACEPARENT);
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static(chassis::deadline::GRPC_TIMEOUT);
pub const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
pub const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// The budget of a REST call, in seconds with an optional fraction, as Google's APIs and Vanguard read it.
pub const SERVER_TIMEOUT: HeaderName = HeaderName::from_static("x-server-timeout");

/// The host a REST request was sent to, for services that build links.
pub const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The prefix of every name the edge keeps for itself, in both directions.
pub const OWN_PREFIX: &str = "causeway-";

/// The most crossings before this one. Four is one more than the longest chain of services; a loop between services stops here
/// instead of at the last free stream.
pub const HOPS_MAX: u32 = 4;

/// The language of a request: it decides which headers mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// gRPC: metadata are headers.
    Grpc,
    /// gRPC-Web: the same for browsers.
    GrpcWeb(Dialect),
    /// JSON over HTTP: of the `grpc-*` names only `grpc-timeout` means anything.
    Rest,
}

/// The header of the upstream request. `token` is what `authn` made of the credentials, `left` the budget that is left.
#[must_use]
pub fn upstream(
    from: &HeaderMap,
    wire: Wire,
    pass: &Pass,
    token: &HeaderValue,
    received: &Received,
    left: Duration,
) -> HeaderMap {
    // Ten stamps and a handful of passed names: one allocation of the map's two tables.
    let mut to = HeaderMap::with_capacity(16);
    pass.copy(from, &mut to);
    match wire {
        Wire::Grpc | Wire::GrpcWeb(_) => {
            to.insert(CONTENT_TYPE, grpc_content_type(from.get(CONTENT_TYPE)));
            for name in [GRPC_ENCODING, GRPC_ACCEPT_ENCODING] {
                if let Some(value) = from.get(&name) {
                    to.insert(name, value.clone());
                }
            }
        }
        Wire::Rest => {
            to.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        }
    }
    if let Some(host) = &received.host {
        to.insert(FORWARDED_HOST, host.clone());
    }
    to.insert(TE, HeaderValue::from_static("trailers"));
    to.insert(TXN_TOKEN, token.clone());
    to.insert(TRANSACTION_ID, received.transaction_id.clone());
    to.insert(HOPS, HeaderValue::from(received.hops));
    to.insert(TRACEPARENT, received.trace.header());
    if let Some(state) = &received.trace.state {
        to.insert(TRACESTATE, state.clone());
    }
    to.insert(GRPC_TIMEOUT, timeout::header(left));
    to
}

/// gRPC-Web becomes gRPC, with the message format kept ("+proto"); what is no gRPC type at all becomes the plain one.
fn grpc_content_type(received: Option<&HeaderValue>) -> HeaderValue {
    let plain = HeaderValue::from_static("application/grpc");
    let Some(value) = received else { return plain };
    let Some(rest) = value.as_bytes().strip_prefix(b"application/grpc") else { return plain };
    match rest {
        b"" => plain,
        b"+proto" | b"-web+proto" | b"-web-text+proto" => HeaderValue::from_static("application/grpc+proto"),
        [b'+', ..] => value.clone(),
        _ => plain,
    }
}

/// The one value of a header, an error if there are several: two answers to one question are a smuggling attempt or a bug.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Several> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Several) } else { Ok(first) }
}

struct Several;

#[cfg(test)]
mod tests;
