//! Answers that are written whole, and what goes with the end of a request whoever answers it: a connection that ends with the
//! process, and a body that nobody wants any more.

use std::time::Duration;

use bytes::Bytes;
use chassis::drain::Drain;
use http::header::EXPECT;
use http::{Method as Verb, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::ServerSession as Session;
use tokio::time::timeout;

/// How much of a body that nobody wants is read away, and for how long.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Lets a kept-alive HTTP/1 connection end with this answer when the process is stopping. Must precede the answer's header.
pub(crate) fn finish_connection(session: &mut Session, drain: &Drain) {
    if drain.is_stopping() {
        session.set_keepalive(None);
    }
}

/// Asks for a body that waits to be asked for (RFC 9110 section 10.1.1). HTTP/2 has its windows for that.
pub(crate) async fn ask_for_body(session: &mut Session) -> pingora::Result<()> {
    let expect = session.req_header().headers.get(EXPECT);
    let waits = expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if waits && !session.is_http2() {
        session.write_continue_response().await?;
    }
    Ok(())
}

/// Writes a whole answer. No body goes with HEAD, 204 or 304.
pub(crate) async fn write_whole(
    session: &mut Session,
    header: Box<ResponseHeader>,
    body: Bytes,
) -> pingora::Result<()> {
    let empty = matches!(header.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if empty || session.req_header().method == Verb::HEAD {
        session.response_duplex_vec(vec![HttpTask::Header(header, true)]).await?;
        return Ok(());
    }
    session.write_response_header(header).await?;
    session.write_response_body(body, true).await?;
    // A refusal comes before the end of the body, and a service may answer a stream of messages before it has heard the last.
    read_away(session).await;
    Ok(())
}

/// Reads away what a client still sends of a body that was answered before its end. A connection of HTTP/1 that is closed on unread
/// bytes is reset, and the reset may overtake the answer; HTTP/2 resets the one stream behind it.
pub(crate) async fn read_away(session: &mut Session) {
    if session.is_http2() || session.is_body_done() {
        return;
    }
    let reading = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Ok(Some(bytes)) = session.read_request_body().await {
            match left.checked_sub(bytes.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = timeout(DRAIN_TIME, reading).await;
}
