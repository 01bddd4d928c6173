//! A stream of answers, to one request or to a stream of them: JSON messages in the framing the client asked for, or the plain
//! bytes of a download. The answer's header waits for the first message, so that a call that fails at once is answered like a
//! unary one; events begin after one heartbeat without a message. Later a failure is told where the framing has room for it; where it has none the answer is cut, never closed as if
//! whole.

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Method as Verb};
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::ServerSession as Session;
use pingora::{Error as PingoraError, ErrorType};
use tokio::time::Instant;
use tonic::Code;

use super::answer::Answer;
use super::exchange::{Exchange, Heard, Opening};
use super::framing::Framing;
use super::{Target, reply};
use crate::error::Error;
use crate::request::{Call, Ended, Record};
use crate::transcode::{Failed, Types};

/// Messages that have arrived together leave together, up to this many bytes: one write instead of many.
const GATHER_BYTES: usize = 16 * 1024;

/// A comment: what every reader of server-sent events steps over.
const HEARTBEAT: &[u8] = b":\n\n";

/// A stream of JSON messages on its way to the client.
struct Messages<'a> {
    session: &'a mut Session,
    call: &'a Call,
    target: &'a Target<'a>,
    record: &'a mut Record,
    framing: Framing,
    /// Whether the header has gone.
    started: bool,
    /// When something last went.
    said: Instant,
}

/// A stream of JSON messages.
pub(super) async fn serve_messages(
    session: &mut Session,
    call: &Call,
    target: &Target<'_>,
    record: &mut Record,
) -> Result<(), Ended> {
    let framing = Framing::accepted(&session.req_header().headers, target.binding.grpc_gateway())?;
    let said = Instant::now();
    let mut messages = Messages { session, call, target, record, framing, started: false, said };
    match messages.run().await {
        Err(Ended::Refused(error)) if messages.started => messages.fail(error).await,
        ended => ended,
    }
}

impl Messages<'_> {
    /// Serves the stream; what is refused after its header has gone is told in its own framing.
    async fn run(&mut self) -> Result<(), Ended> {
        let mut opening = Opening::begin(self.session, self.call, self.target, self.record).await?;
        let head = loop {
            match opening.head(self.session, self.call, self.patience()).await? {
                Heard::Something(head) => break head,
                // Some services send their header with the first message: what they add to it comes too late then.
                Heard::Nothing if self.beat(&HeaderMap::new()).await? => (),
                Heard::Nothing => return Ok(()),
            }
        };
        let mut exchange = opening.answered(head, self.call)?;
        let mut empty = true;
        loop {
            let message = match exchange.next_until(self.session, self.patience()).await? {
                Heard::Something(Some(message)) => message,
                Heard::Something(None) => break,
                Heard::Nothing if self.beat(&exchange.answer.headers).await? => continue,
                Heard::Nothing => return Ok(()),
            };
            let mut out = Vec::with_capacity(128 + message.len() * 3);
            let gathered = gather(&mut exchange.answer, self.target, self.framing, empty, &message, &mut out);
            if !self.started {
                gathered?;
                if !self.start(&exchange.answer.headers).await? {
                    return Ok(());
                }
                self.write(out.into()).await?;
            } else {
                // What was printed before an error stands.
                self.write(out.into()).await?;
                gathered?;
            }
            empty = false;
        }
        self.record.upstream_ends();
        let status = exchange.answer.status();
        if status.code == Code::Ok {
            if !self.start(&exchange.answer.headers).await? {
                return Ok(());
            }
            self.record.ended(Code::Ok);
            return finish(self.session, Bytes::from_static(self.framing.end(empty))).await;
        }
        if !self.started {
            return Ok(
                reply::write_failure(self.session, self.call, self.target, &status, self.record).await?
            );
        }
        self.record.ended(status.code);
        let types = Some(self.target.binding.types());
        self.end_with(&status.failed(), types).await
    }

    /// Until when the stream may be silent. Only events have something to say that is no message.
    fn patience(&self) -> Option<Instant> {
        let heartbeat = self.target.binding.sse_heartbeat().filter(|_| self.framing == Framing::Events)?;
        Some(self.said + heartbeat)
    }

    /// Says that the stream lives, with its header if that has not gone: a client that waits for events wants to know that they
    /// will come, and whoever stands on the way that the connection is in use. Returns whether the client reads on.
    async fn beat(&mut self, upstream: &HeaderMap) -> Result<bool, Ended> {
        if !self.start(upstream).await? {
            return Ok(false);
        }
        self.write(Bytes::from_static(HEARTBEAT)).await?;
        Ok(true)
    }

    /// Sends the header if it has not gone. Returns whether a body follows.
    async fn start(&mut self, upstream: &HeaderMap) -> Result<bool, Ended> {
        if self.started {
            return Ok(true);
        }
        let header = reply::success(200, self.framing.content_type(), upstream, self.call)?;
        self.started = true;
        let follows = start(self.session, self.call, header).await?;
        if !follows {
            self.record.ended(Code::Ok);
        }
        Ok(follows)
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Ended> {
        self.session.write_response_body(bytes, false).await?;
        self.said = Instant::now();
        Ok(())
    }

    /// Tells of a failure of the edge's side in a stream that has begun.
    async fn fail(&mut self, error: Error) -> Result<(), Ended> {
        self.record.refused(&error);
        let status = self.record.status(&error);
        let failed = error.failed(&status);
        self.end_with(&failed, None).await
    }

    /// Ends with an error record, or is cut where there is no room for one.
    async fn end_with(&mut self, failed: &Failed<'_>, types: Option<&Types>) -> Result<(), Ended> {
        let mut out = Vec::new();
        if !self.framing.put_error(failed, types, &mut out) {
            return Err(cut(self.record));
        }
        finish(self.session, out.into()).await
    }
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
        session.write_response_body(message.slice_ref(part.data), false).await?;
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
    if framing == Framing::Events
        && let Some(position) = target.binding.position(message)
    {
        // What a client sends back as Last-Event-ID.
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(position.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(framing.before(first));
    if let Err(error) = target.decode(message, out) {
        out.truncate(stood);
        return Err(error);
    }
    out.extend_from_slice(framing.after());
    Ok(())
}

/// Writes the header of a stream. Returns whether a body follows: none does for HEAD, and the call is given up.
async fn start(session: &mut Session, call: &Call, mut header: Box<ResponseHeader>) -> pingora::Result<bool> {
    call.finish_connection(session);
    if session.req_header().method == Verb::HEAD {
        session.response_duplex_vec(vec![HttpTask::Header(header, true)]).await?;
        return Ok(false);
    }
    if !session.is_http2() {
        header.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    session.write_response_header(header).await?;
    Ok(true)
}

/// Writes the end of a whole stream.
async fn finish(session: &mut Session, rest: Bytes) -> Result<(), Ended> {
    Ok(session.write_response_body(rest, true).await?)
}

/// Cuts an answer that must not look whole.
fn cut(record: &mut Record) -> Ended {
    record.cut("upstream");
    Ended::Aborted(PingoraError::explain(ErrorType::InternalError, "the answer broke off"))
}
