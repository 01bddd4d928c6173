//! A body as a client stream of `HttpBody` messages: bytes up piece by piece, one JSON message down. A piece is read only when
//! the upstream has taken the one before, so that a slow store slows the client down and nothing piles up here.

use bytes::Bytes;
use pingora::proxy::Session;

use super::answer::{Answer, within};
use super::{Target, body, unary};
use crate::error::Error;
use crate::gateway::{Call, Ended, Record};
use crate::transcode::frame;
use crate::upstream::UpstreamStream;

/// What one message carries. Large enough that frames cost nothing, small enough that many uploads fit into memory.
const PIECE_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn serve(
    session: &mut Session,
    call: &Call,
    target: &Target<'_>,
    record: &mut Record,
) -> Result<(), Ended> {
    let bytes_max = call.snapshot.limits.upload_bytes_max;
    let some = body::begin(session, bytes_max).await?;
    let mut first =
        if some { body::read_piece(session, call.snapshot.limits.body_idle()).await? } else { None };
    let mut rest = first.take().unwrap_or_default();
    let head = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
    let message = framed(|out| {
        target.with_request(session, &head, |request| target.binding.upload_first(request, out))
    })?;
    record.upstream_begins();
    let mut upstream = call.open(&session.req_header().headers).await?;
    if send(&mut upstream, call, message, false).await? {
        let upload = Upload { bytes: (head.len() + rest.len()) as u64, bytes_max, more: some };
        upload.run(session, &mut upstream, call, target, rest).await?;
    }
    let reading = async { unary::read(Answer::begin(upstream, call).await?).await };
    let reply = tokio::select! {
        biased;
        reply = reading => reply?,
        gone = body::client_gone(session) => return Err(gone),
    };
    record.upstream_ends();
    unary::write(session, call, target, record, reply).await
}

/// How far an upload is.
struct Upload {
    bytes: u64,
    bytes_max: u64,
    /// Whether the client may have more to say.
    more: bool,
}

impl Upload {
    /// Sends everything after the first message. An upstream that stops taking has answered; that answer is the upload's.
    async fn run(
        mut self,
        session: &mut Session,
        upstream: &mut UpstreamStream,
        call: &Call,
        target: &Target<'_>,
        mut rest: Bytes,
    ) -> Result<(), Ended> {
        loop {
            while !rest.is_empty() {
                let piece = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
                let message = framed(|out| {
                    target.binding.upload_next(&piece, out);
                    Ok(())
                })?;
                if !send(upstream, call, message, false).await? {
                    return Ok(());
                }
            }
            if !self.more {
                break;
            }
            match body::read_piece(session, call.snapshot.limits.body_idle()).await? {
                Some(piece) => rest = piece,
                None => break,
            }
            self.bytes += rest.len() as u64;
            if self.bytes > self.bytes_max {
                let bytes_max = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
                return Err(Error::BodyTooLarge { bytes_max }.into());
            }
        }
        send(upstream, call, Bytes::new(), true).await?;
        Ok(())
    }
}

/// One gRPC frame.
fn framed(message: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> Result<Bytes, Error> {
    let mut out = Vec::with_capacity(PIECE_BYTES_MAX + 128);
    let start = frame::begin(&mut out);
    message(&mut out)?;
    frame::end(&mut out, start);
    Ok(out.into())
}

/// Sends a part. `false` when the upstream takes no more, because it has answered or broken off; its answer tells which.
async fn send(upstream: &mut UpstreamStream, call: &Call, part: Bytes, end: bool) -> Result<bool, Error> {
    match within(call.deadline, call.idle, upstream.write_request_body(part, end)).await {
        Ok(()) => Ok(true),
        Err(Error::UpstreamUnavailable { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
