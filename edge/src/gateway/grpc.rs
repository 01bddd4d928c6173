//! A gRPC call: opened upstream and handed to the relay of its wire. What the relay cannot say by itself, because nothing had been
//! written yet or because an answer broke off, is said here in the words of the edge's errors.

use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use pingora::protocols::http::ServerSession as Session;
use pingora::protocols::http::server::Session as Downstream;

use crate::error::Error;
use crate::extras::Extras;
use crate::grpc_web::Dialect;
use crate::headers::{self, Wire};
use crate::relay::{self, Answer, Bounds, EndedBy, Failure, Outcome};
use crate::request::{Call, Ended, Record, ask_for_body, code};

/// Relays the call to its end.
pub(super) async fn relay(session: &mut Session, call: &Call, record: &mut Record) -> Result<(), Ended> {
    let bounds = Bounds {
        deadline: Some(call.deadline),
        idle: call.idle,
        request_message_bytes_max: u32::try_from(call.snapshot.limits.message_bytes_max).unwrap_or(u32::MAX),
    };
    if let Wire::GrpcWeb(dialect) = call.wire {
        return Box::pin(relay_web(session, call, record, dialect, &bounds)).await;
    }
    let upstream = call.open(&session.req_header().headers, record).await?;
    let Downstream::H2(downstream) = session else {
        return Err(Error::UnsupportedMediaType.into());
    };
    let outcome = relay::run(downstream, upstream, &bounds, &mut Words { record, extras: None }).await;
    conclude(record, &outcome)
}

/// As [`relay`], for a client that speaks gRPC-Web.
async fn relay_web(
    session: &mut Session,
    call: &Call,
    record: &mut Record,
    dialect: Dialect,
    bounds: &Bounds,
) -> Result<(), Ended> {
    let coding = session.req_header().headers.get(CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        // Messages are compressed each for itself, and the service reads them; nobody reads a body that is compressed besides.
        return Err(Error::UnsupportedMediaType.into());
    }
    ask_for_body(session).await?;
    let upstream = call.open(&session.req_header().headers, record).await?;
    call.finish_connection(session);
    let mut words = Words { record, extras: Some(&call.extras) };
    let outcome = relay::web::run(session, upstream, dialect, bounds, &mut words).await;
    conclude(record, &outcome)?;
    if outcome.cut {
        let gone = pingora::Error::explain(pingora::ErrorType::ConnectionClosed, "the answer broke off");
        return Err(Ended::Aborted(gone));
    }
    Ok(())
}

/// Writes down how a call went. Its failure is a refusal if the client has heard nothing so far.
fn conclude(record: &mut Record, outcome: &Outcome) -> Result<(), Ended> {
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
struct Words<'a> {
    record: &'a Record,
    /// For a browser.
    extras: Option<&'a Extras>,
}

impl Answer for Words<'_> {
    fn header(&mut self, headers: &mut HeaderMap) {
        headers::downstream_grpc(headers);
        if let Some(extras) = self.extras {
            headers.extend(extras.fields());
        }
    }

    fn trailers(&mut self, trailers: &mut HeaderMap) {
        headers::downstream_grpc(trailers);
    }

    fn failure(&mut self, failure: &Failure) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(4);
        // A status of ours always fits; without one the client sees a stream that ended without a status, and knows.
        let _ = self.record.status(&Error::from(failure)).add_header(&mut trailers);
        trailers
    }
}
