//! One request, one answer. The status line waits for the trailers, because only they tell how the call ended.

use std::pin::pin;

use bytes::Bytes;
use pingora::protocols::http::ServerSession as Session;
use tokio::time::timeout_at;
use tonic::Code;

use super::answer::{Answer, Status, within};
use super::{Target, body, reply};
use crate::error::Error;
use crate::request::{Call, Ended, Record};
use crate::transcode::frame;
use crate::upstream::UpstreamStream;

/// What came of a call.
pub(super) struct Reply {
    answer: Answer,
    message: Option<Bytes>,
    status: Status,
}

pub(super) async fn serve(
    session: &mut Session,
    call: &Call,
    target: &Target<'_>,
    record: &mut Record,
) -> Result<(), Ended> {
    // Pinned where it is: a timeout would take it along wherever it moves, and it is large.
    let reply = {
        let reply = pin!(call_upstream(session, call, target, record));
        timeout_at(call.deadline, reply).await.map_err(|_| Error::DeadlineExceeded)??
    };
    record.upstream_ends();
    write(session, call, target, record, reply).await
}

async fn call_upstream(
    session: &mut Session,
    call: &Call,
    target: &Target<'_>,
    record: &mut Record,
) -> Result<Reply, Ended> {
    let body = body::read_whole(session, call).await?;
    let request = request(session, target, &body, call.snapshot.limits.message_bytes_max)?;
    let upstream = call.open(&session.req_header().headers, record).await?;
    tokio::select! {
        biased;
        reply = exchange(upstream, call, request) => Ok(reply?),
        gone = body::client_gone(session) => Err(gone),
    }
}

/// The request as one gRPC frame.
pub(super) fn request(
    session: &Session,
    target: &Target<'_>,
    body: &[u8],
    bytes_max: usize,
) -> Result<Bytes, Error> {
    // Wire bytes are shorter than their JSON; path and query add a little.
    let mut out = Vec::with_capacity(frame::PREFIX_BYTES + body.len() + 128);
    let start = frame::begin(&mut out);
    target.encode(session, body, &mut out)?;
    if out.len() > bytes_max + frame::PREFIX_BYTES {
        return Err(Error::BodyTooLarge { bytes_max });
    }
    frame::end(&mut out, start);
    Ok(out.into())
}

/// Sends the request and waits for the whole answer.
async fn exchange(mut upstream: UpstreamStream, call: &Call, request: Bytes) -> Result<Reply, Error> {
    within(call.deadline, None, upstream.write_request_body(request, true)).await?;
    read(Answer::begin(upstream, call).await?).await
}

/// Reads the one message and the status of an answer.
async fn read(mut answer: Answer) -> Result<Reply, Error> {
    let message = answer.next().await?;
    if message.is_some() && answer.next().await?.is_some() {
        return Err(Error::UpstreamMessage { problem: "two messages in a unary answer".to_owned() });
    }
    Ok(Reply::new(answer, message))
}

impl Reply {
    /// What an answer said that has ended.
    pub(super) fn new(mut answer: Answer, message: Option<Bytes>) -> Self {
        let status = answer.status();
        Self { answer, message, status }
    }
}

/// Writes what came of the call.
pub(super) async fn write(
    session: &mut Session,
    call: &Call,
    target: &Target<'_>,
    record: &mut Record,
    reply: Reply,
) -> Result<(), Ended> {
    let Reply { answer, message, status } = reply;
    if status.code != Code::Ok {
        return Ok(reply::write_failure(session, call, target, &status, record).await?);
    }
    let message = message.ok_or(Error::UpstreamBroken { problem: "success without a message" })?;
    call.held.add(message.len());
    let binding = target.binding;
    let status = binding.success_status();
    if let Some(etag) = reply::known(session, target, &message) {
        record.ended(Code::Ok);
        let mut header = reply::success(304, "", &answer.headers, call)?;
        reply::add_etag(&mut header, &etag)?;
        return Ok(reply::write(session, call, header, Bytes::new()).await?);
    }
    let (header, body) = if binding.response_is_http_body() {
        let raw = binding.http_body(&message).map_err(Error::from)?;
        let mut header = reply::bytes(status, raw.content_type, &answer.headers, call)?;
        reply::add_options(&mut header, target, &message)?;
        (header, message.slice_ref(raw.data))
    } else {
        // JSON is longer than its wire bytes, by a factor that small messages exceed and large ones seldom reach.
        let mut json = Vec::with_capacity(128 + message.len() * 3);
        target.decode(&message, &mut json)?;
        call.held.add(json.len());
        let mut header = reply::success(status, "application/json", &answer.headers, call)?;
        reply::add_options(&mut header, target, &message)?;
        let body = reply::compress(session, target.binding.compress_bytes_min(), &mut header, json)?;
        (header, body)
    };
    record.ended(Code::Ok);
    Ok(reply::write(session, call, header, body).await?)
}
