//! A gRPC call: opened upstream and handed to the relay. What the relay cannot say by itself, because nothing had been written
//! yet or because an answer broke off, is said here in the words of the edge's errors.

use http::HeaderMap;
use pingora::protocols::http::ServerSession as Session;
use pingora::protocols::http::server::Session as Downstream;

use crate::error::Error;
use crate::headers;
use crate::relay::{self, Answer, Bounds, EndedBy, Failure};
use crate::request::{Call, Ended, Record, code};

/// Relays the call to its end.
pub(super) async fn relay(session: &mut Session, call: &Call, record: &mut Record) -> Result<(), Ended> {
    record.upstream_begins();
    let upstream = call.open(&session.req_header().headers).await?;
    let bounds = Bounds {
        deadline: Some(call.deadline),
        idle: call.idle,
        request_message_bytes_max: u32::try_from(call.snapshot.limits.message_bytes_max).unwrap_or(u32::MAX),
    };
    let Downstream::H2(downstream) = session else {
        return Err(Error::UnsupportedMediaType.into());
    };
    let outcome = relay::run(downstream, upstream, &bounds, &mut Words(record)).await;
    record.upstream_ends();
    record.moved(outcome.request.bytes, outcome.response.bytes);
    match outcome.ended_by {
        EndedBy::Upstream | EndedBy::Failure => (),
        EndedBy::Downstream => record.cut("downstream"),
        EndedBy::Deadline => record.cut("deadline"),
        EndedBy::Idle => record.cut("idle"),
    }
    if let Some(number) = outcome.grpc_code {
        record.ended(code(number));
    }
    let Some(failure) = &outcome.failure else { return Ok(()) };
    let error = Error::from(failure);
    if !outcome.response_started {
        return Err(error.into());
    }
    record.refused(&error);
    Ok(())
}

/// What the edge adds to an answer that it relays.
struct Words<'a>(&'a Record);

impl Answer for Words<'_> {
    fn header(&mut self, headers: &mut HeaderMap) {
        headers::downstream_grpc(headers);
    }

    fn trailers(&mut self, trailers: &mut HeaderMap) {
        headers::downstream_grpc(trailers);
    }

    fn failure(&mut self, failure: &Failure) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(4);
        // A status of ours always fits; without one the client sees a stream that ended without a status, and knows.
        let _ = Error::from(failure).status(self.0.transaction_id()).add_header(&mut trailers);
        trailers
    }
}
