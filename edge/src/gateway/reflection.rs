//! The stream of gRPC reflection, which the edge answers itself: a question up, an answer down, until the client has no more. It
//! is no relay: nothing waits upstream, so one direction at a time is enough.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession as Session;
use pingora::protocols::http::server::Session as Downstream;
use pingora::protocols::http::v2::server::HttpSession;
use prost::Message as _;
use tokio::time::{Instant, timeout_at};
use tonic::Code;
use tonic_reflection::pb::v1::ServerReflectionRequest;

use super::{Context, Gateway};
use crate::builtin::{Reflection, View};
use crate::error::Error;
use crate::request::{Ended, finish_connection};
use crate::snapshot::Snapshot;
use crate::transcode::frame::{self, PREFIX_BYTES, Prefix};

/// A question is a name.
const QUESTION_BYTES_MAX: usize = 16 * 1024;
/// How long a client may think, and how long it may ask: tools ask all they want at once.
const IDLE: Duration = Duration::from_secs(30);
const MAX_AGE: Duration = Duration::from_secs(600);

impl Gateway {
    /// Serves a stream of questions.
    pub(super) async fn serve_reflection(
        &self,
        session: &mut Session,
        context: &mut Context,
        snapshot: &Snapshot,
        reflection: &Reflection,
        path: &'static str,
    ) -> Result<(), Ended> {
        context.record.template = Some(Arc::from(path));
        let authenticated = self.admit_to(snapshot, &reflection.access, session, context).await?;
        finish_connection(session, &self.shared.drain);
        let left = authenticated.left(SystemTime::now()).min(MAX_AGE);
        let view = reflection.view(self.listener, &authenticated.caller);
        let Downstream::H2(downstream) = session else {
            return Err(Error::UnsupportedMediaType.into());
        };
        let mut header = ResponseHeader::build_no_case(200, Some(1))?;
        header.insert_header(CONTENT_TYPE, "application/grpc")?;
        downstream.write_response_header(Box::new(header), false)?;
        let mut trailers = HeaderMap::with_capacity(4);
        match converse(downstream, &view, Instant::now() + left).await {
            Ok(()) => {
                context.record.ended(Code::Ok);
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
            }
            Err(Ended::Refused(error)) => {
                context.record.refused(&error);
                // A status of ours always fits; without one the client sees a stream that ended without a status, and knows.
                let _ = context.record.status(&error).add_header(&mut trailers);
            }
            Err(aborted @ Ended::Aborted(_)) => return Err(aborted),
        }
        Ok(downstream.write_trailers(trailers)?)
    }
}

async fn converse(downstream: &mut HttpSession, view: &View<'_>, end: Instant) -> Result<(), Ended> {
    let mut read = BytesMut::new();
    loop {
        while let Some(question) = take(&mut read)? {
            let answer = view.answer(question).encode_to_vec();
            let mut out = Vec::with_capacity(PREFIX_BYTES + answer.len());
            let start = frame::begin(&mut out);
            out.extend_from_slice(&answer);
            frame::end(&mut out, start);
            downstream.write_body(Bytes::from(out), false).await?;
        }
        let idle = Instant::now() + IDLE;
        let piece = timeout_at(idle.min(end), downstream.read_body_bytes()).await;
        let refused = if end < idle { Error::DeadlineExceeded } else { Error::StreamIdle };
        match piece.map_err(|_| refused)?? {
            Some(piece) => read.extend_from_slice(&piece),
            None if read.is_empty() => return Ok(()),
            None => return Err(broken("the stream ends inside a message")),
        }
    }
}

/// The next whole question.
fn take(read: &mut BytesMut) -> Result<Option<ServerReflectionRequest>, Ended> {
    let Some(prefix) = read.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let prefix = Prefix::parse(*prefix).filter(|prefix| !prefix.compressed);
    let length = prefix.ok_or_else(|| broken("a frame that is not plain"))?.length;
    if length > QUESTION_BYTES_MAX {
        return Err(Error::BodyTooLarge { bytes_max: QUESTION_BYTES_MAX }.into());
    }
    if read.len() < PREFIX_BYTES + length {
        return Ok(None);
    }
    read.advance(PREFIX_BYTES);
    let question = ServerReflectionRequest::decode(read.split_to(length).freeze());
    Ok(Some(question.map_err(|_| broken("a message that cannot be read"))?))
}

fn broken(description: &str) -> Ended {
    let violation = chassis::error::Violation::new(String::new(), description);
    Error::InvalidRequest { violations: vec![violation] }.into()
}
