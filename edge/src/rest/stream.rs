//! A stream of answers, to one request or to a stream of them: JSON messages in the framing the client asked for, or the plain
//! bytes of a download. The answer's header waits for the first message, so that a call that fails at once is answered like a
//! unary one. Later a failure is told where the framing has room for it; where it has none the answer is cut, never closed as if
//! whole.

use bytes::Bytes;
use http::Method as Verb;
use http::header::TRANSFER_ENCODING;
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::proxy::Session;
use pingora::{Error as PingoraError, ErrorType};
use tonic::Code;

use super::answer::Answer;
use super::exchange::Exchange;
use super::framing::Framing;
use super::{Target, reply};
use crate::error::Error;
use crate::request::{Call, Ended, Record};
use crate::transcode::Failed;

/// Messages that have arrived together leave together, up to this many bytes: one write instead of many.
const GATHER_BYTES: usize = 16 * 1024;

/// A stream of JSON messages.
pub(super) async fn serve_messages(
    session: &mut Session,
    call: &Call,
    target: &Target<'_>,
    record: &mut Record,
) -> Result<(), Ended> {
    let framing = Framing::accepted(&session.req_header().headers, target.binding.grpc_gateway())?;
    let mut exchange = Exchange::begin(session, call, target, record).await?;
    let mut started = false;
    loop {
        let message = match exchange.next(session).await {
            Ok(message) => message,
            Err(Ended::Refused(error)) if started => return fail(session, framing, record, error).await,
            Err(ended) => return Err(ended),
        };
        let Some(message) = message else { break };
        let mut out = Vec::with_capacity(128 + message.len() * 3);
        let gathered = gather(&mut exchange.answer, target, framing, !started, &message, &mut out);
        if !started {
            if let Err(error) = gathered {
                return Err(error.into());
            }
            let header = reply::success(200, framing.content_type(), &exchange.answer.headers, call)?;
            if !start(session, call, header).await? {
                record.ended(Code::Ok);
                return Ok(());
            }
            started = true;
            session.as_downstream_mut().write_response_body(out.into(), false).await?;
            continue;
        }
        session.as_downstream_mut().write_response_body(out.into(), false).await?;
        if let Err(error) = gathered {
            return fail(session, framing, record, error).await;
        }
    }
    record.upstream_ends();
    let status = exchange.answer.status();
    if !started && status.code != Code::Ok {
        return Ok(reply::write_failure(session, call, target, &status, record).await?);
    }
    record.ended(status.code);
    if status.code == Code::Ok {
        if !started {
            let header = reply::success(200, framing.content_type(), &exchange.answer.headers, call)?;
            if !start(session, call, header).await? {
                return Ok(());
            }
        }
        return finish(session, Bytes::from_static(framing.end(!started))).await;
    }
    let mut out = Vec::new();
    if !framing.put_error(&status.failed(), Some(target.binding.types()), &mut out) {
        return Err(cut(record));
    }
    finish(session, out.into()).await
}

/// The bytes of a download, one `HttpBody` after another.
pub(super) async fn serve_bytes(
    session: &mut Session,
    call: &Call,
    target: &Target<'_>,
    record: &mut Record,
) -> Result<(), Ended> {
    let mut exchange = Exchange::begin(session, call, target, record).await?;
    let mut started = false;
    loop {
        let message = match exchange.next(session).await {
            Ok(message) => message,
            Err(Ended::Refused(error)) if started => {
                record.refused(&error);
                return Err(cut(record));
            }
            Err(ended) => return Err(ended),
        };
        let Some(message) = message else { break };
        let part = target.binding.http_body(&message).map_err(Error::from);
        let part = match part {
            Ok(part) => part,
            Err(error) if started => {
                record.refused(&error);
                return Err(cut(record));
            }
            Err(error) => return Err(error.into()),
        };
        if !started {
            if !start(session, call, reply::bytes(200, part.content_type, &exchange.answer.headers, call)?)
                .await?
            {
                record.ended(Code::Ok);
                return Ok(());
            }
            started = true;
        }
        session.as_downstream_mut().write_response_body(message.slice_ref(part.data), false).await?;
    }
    record.upstream_ends();
    let status = exchange.answer.status();
    if status.code == Code::Ok {
        record.ended(Code::Ok);
        if !started {
            let header = reply::bytes(200, "", &exchange.answer.headers, call)?;
            if !start(session, call, header).await? {
                return Ok(());
            }
        }
        return finish(session, Bytes::new()).await;
    }
    if started {
        record.ended(status.code);
        return Err(cut(record));
    }
    Ok(reply::write_failure(session, call, target, &status, record).await?)
}

/// Prints `message` and those that have already arrived behind it. What was printed before an error stands.
fn gather(
    answer: &mut Answer,
    target: &Target<'_>,
    framing: Framing,
    first: bool,
    message: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    print(target, framing, first, message, out)?;
    while out.len() < GATHER_BYTES {
        let Some(message) = answer.take()? else { break };
        print(target, framing, false, &message, out)?;
    }
    Ok(())
}

fn print(
    target: &Target<'_>,
    framing: Framing,
    first: bool,
    message: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let stood = out.len();
    out.extend_from_slice(framing.before(first));
    if let Err(error) = target.binding.decode_response(message, out) {
        out.truncate(stood);
        return Err(error.into());
    }
    out.extend_from_slice(framing.after());
    Ok(())
}

/// Writes the header of a stream. Returns whether a body follows: none does for HEAD, and the call is given up.
async fn start(session: &mut Session, call: &Call, mut header: Box<ResponseHeader>) -> pingora::Result<bool> {
    call.finish_connection(session);
    if session.req_header().method == Verb::HEAD {
        session.write_response_tasks(vec![HttpTask::Header(header, true)]).await?;
        return Ok(false);
    }
    if !session.is_http2() {
        header.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    session.as_downstream_mut().write_response_header(header).await?;
    Ok(true)
}

/// Writes the end of a whole stream.
async fn finish(session: &mut Session, rest: Bytes) -> Result<(), Ended> {
    Ok(session.as_downstream_mut().write_response_body(rest, true).await?)
}

/// Tells of a failure of the edge's side in a stream that has begun.
async fn fail(
    session: &mut Session,
    framing: Framing,
    record: &mut Record,
    error: Error,
) -> Result<(), Ended> {
    record.refused(&error);
    let mut out = Vec::new();
    let status = error.status(record.transaction_id());
    let failed = Failed {
        http_status: error.http_status(),
        grpc_code: status.code() as u32,
        message: status.message(),
        details: Some(status.details()),
    };
    if !framing.put_error(&failed, None, &mut out) {
        return Err(cut(record));
    }
    finish(session, out.into()).await
}

/// Cuts an answer that must not look whole.
fn cut(record: &mut Record) -> Ended {
    record.cut("upstream");
    Ended::Aborted(PingoraError::explain(ErrorType::InternalError, "the answer broke off"))
}
