//! Reading a request body: whole and bounded, or piece by piece; and noticing a client that leaves while it waits.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use pingora::proxy::Session;
use pingora::{Error as PingoraError, ErrorType};
use tokio::time::timeout;

use crate::coding::{Coding, DecodeError};
use crate::error::Error;
use crate::request::Ended;

/// Reads the whole body and decodes it. Both forms are bounded alike.
pub(super) async fn read_whole(
    session: &mut Session,
    bytes_max: usize,
    idle: Duration,
) -> Result<Bytes, Ended> {
    let coding = content_coding(&session.req_header().headers)?;
    let received = receive(session, bytes_max, idle).await?;
    let Some(coding) = coding.filter(|_| !received.is_empty()) else { return Ok(received) };
    match coding.decode(&received, bytes_max) {
        Ok(decoded) => Ok(decoded.into()),
        Err(DecodeError::TooLarge) => Err(Error::BodyTooLarge { bytes_max }.into()),
        Err(_) => Err(Error::InvalidHeader { header: "content-encoding" }.into()),
    }
}

/// The coding of a request's body. One that is unknown is refused, and one within another.
pub(super) fn content_coding(headers: &HeaderMap) -> Result<Option<Coding>, Error> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = value.to_str().unwrap_or_default().trim();
    match (Coding::named(name), values.next()) {
        (Some(coding), None) => Ok(Some(coding)),
        (None, None) if name.is_empty() || name.eq_ignore_ascii_case("identity") => Ok(None),
        _ => Err(Error::UnsupportedMediaType),
    }
}

async fn receive(session: &mut Session, bytes_max: usize, idle: Duration) -> Result<Bytes, Ended> {
    let too_large = || Ended::from(Error::BodyTooLarge { bytes_max });
    if !begin(session, bytes_max as u64).await? {
        return Ok(Bytes::new());
    }
    let Some(first) = read_piece(session, idle).await? else { return Ok(Bytes::new()) };
    if first.len() > bytes_max {
        return Err(too_large());
    }
    if session.as_downstream_mut().is_body_done() {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while let Some(piece) = read_piece(session, idle).await? {
        if whole.len() + piece.len() > bytes_max {
            return Err(too_large());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// Prepares to read a body: refuses one that announces itself as too large, and asks for one that waits to be asked.
/// Returns whether there is one.
pub(super) async fn begin(session: &mut Session, bytes_max: u64) -> Result<bool, Ended> {
    if session.as_downstream_mut().is_body_empty() {
        return Ok(false);
    }
    let headers = &session.req_header().headers;
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        return Err(Error::BodyTooLarge { bytes_max }.into());
    }
    // RFC 9110 section 10.1.1: the client holds the body back until it is told to go on. HTTP/2 has its windows for that.
    let waits =
        headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if waits && !session.is_http2() {
        session.as_downstream_mut().write_continue_response().await?;
    }
    Ok(true)
}

/// Reads the next piece; `None` at the end.
pub(super) async fn read_piece(session: &mut Session, idle: Duration) -> Result<Option<Bytes>, Ended> {
    match timeout(idle, session.as_downstream_mut().read_request_body()).await {
        Ok(piece) => Ok(piece?),
        Err(_) => Err(Error::DeadlineExceeded.into()),
    }
}

/// Resolves when the client has gone. The request body must have been read.
pub(super) async fn client_gone(session: &mut Session) -> Ended {
    match session.as_downstream_mut().read_body_or_idle(true).await {
        Ok(_) => Ended::Aborted(PingoraError::explain(
            ErrorType::ConnectionClosed,
            "the client sent more than its body",
        )),
        Err(error) => Ended::Aborted(error),
    }
}
