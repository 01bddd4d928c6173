//! A refusal on the wire: JSON over REST, in the shape that the client prefers, and trailers-only over gRPC and gRPC-Web, all
//! from the same value.

use bytes::Bytes;
use chassis::drain::Drain;
use chassis::error::{Failure as _, Kind};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::ServerSession as Session;
use tonic::Status;

use crate::accept::error_shape;
use crate::error::Error;
use crate::extras::Extras;
use crate::headers::Wire;
use crate::rate;
use crate::request::{Record, finish_connection, read_away, write_whole};
use crate::transcode::ErrorShape;

/// Answers the request of `record` with `error`. Nothing may have been written before.
pub(super) async fn write(
    session: &mut Session,
    record: &Record,
    error: &Error,
    drain: &Drain,
) -> pingora::Result<()> {
    if error.kind() == Kind::Internal {
        let cause = chassis::error::chain(error);
        tracing::error!(
            reason = error.reason(),
            cause,
            transaction_id = record.transaction_id(),
            "request failed"
        );
    }
    finish_connection(session, drain);
    let status = record.status(error);
    match record.wire {
        Wire::Grpc => {
            let mut header = ResponseHeader::build_no_case(200, Some(4))?;
            put_standing(&mut header, record)?;
            write_grpc(session, header, &status, HeaderValue::from_static("application/grpc")).await
        }
        Wire::GrpcWeb(dialect) => {
            let mut header = record.extras.begin(200)?;
            put_standing(&mut header, record)?;
            write_grpc(session, header, &status, dialect.answer.content_type()).await
        }
        Wire::Rest => write_rest(session, record, error, &status).await,
    }
}

/// Answers what cannot be read as a request, so that not even its `Accept` is known. The connection ends with it.
pub(super) async fn unreadable(session: &mut Session, extras: &Extras) -> pingora::Result<()> {
    let error = Error::MalformedRequest;
    let status = Record::begin().status(&error);
    let (header, body) = rest(extras.begin(error.http_status())?, &error, &status, ErrorShape::Plain)?;
    session.write_error_response(*header, body).await
}

async fn write_grpc(
    session: &mut Session,
    mut header: ResponseHeader,
    status: &Status,
    content_type: HeaderValue,
) -> pingora::Result<()> {
    header.insert_header(CONTENT_TYPE, content_type)?;
    let mut trailers = HeaderMap::with_capacity(4);
    if status.add_header(&mut trailers).is_err() {
        return Err(pingora::Error::explain(
            pingora::ErrorType::InternalError,
            "a status that does not fit a header",
        ));
    }
    for (name, value) in &trailers {
        header.insert_header(name, value)?;
    }
    if !session.is_http2() {
        header.insert_header(CONTENT_LENGTH, 0)?;
    }
    // The only way to a trailers-only answer: `write_response_header` never ends the stream.
    session.response_duplex_vec(vec![HttpTask::Header(Box::new(header), true)]).await?;
    read_away(session).await;
    Ok(())
}

async fn write_rest(
    session: &mut Session,
    record: &Record,
    error: &Error,
    status: &Status,
) -> pingora::Result<()> {
    let mut header = record.extras.begin(error.http_status())?;
    put_standing(&mut header, record)?;
    let (header, body) = rest(header, error, status, error_shape(&session.req_header().headers))?;
    write_whole(session, header, body).await
}

/// Says how the caller stands with its rate limit, if the request was counted before it was refused.
fn put_standing(header: &mut ResponseHeader, record: &Record) -> pingora::Result<()> {
    rate::put_fields(record.standing.as_ref(), |name, value| header.insert_header(name, value))
}

fn rest(
    mut header: ResponseHeader,
    error: &Error,
    status: &Status,
    shape: ErrorShape,
) -> pingora::Result<(Box<ResponseHeader>, Bytes)> {
    let mut body = Vec::with_capacity(512);
    shape.put(&error.failed(status), None, &mut body);
    header.insert_header(CONTENT_TYPE, shape.content_type())?;
    header.insert_header(CONTENT_LENGTH, body.len())?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    if let Some((name, value)) = error.header() {
        header.insert_header(name, value)?;
    }
    if error.http_status() == StatusCode::UPGRADE_REQUIRED {
        // RFC 9110 section 15.5.22: it names what to upgrade to.
        header.insert_header(UPGRADE, "websocket")?;
    }
    Ok((Box::new(header), body.into()))
}
