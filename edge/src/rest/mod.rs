//! A REST call: JSON in, one gRPC call upstream, JSON out, one message or a stream of them either way; `websocket` for both at
//! once over HTTP/1. What becomes of the bytes is `transcode`'s business; here they are read, sent, awaited and written, with a
//! bound on every size and every wait. A client that leaves takes its call along.

mod answer;
mod body;
mod client_stream;
mod exchange;
mod framing;
mod idempotency;
mod messages;
mod pace;
mod received;
mod reply;
mod stream;
mod unary;
mod up;
mod websocket;

use http::HeaderValue;
use http::header::{CONTENT_TYPE, HeaderName, IF_MATCH};
use pingora::protocols::http::ServerSession as Session;

use crate::accept;
use crate::error::Error;
use crate::request::{Call, Ended, Record};
use crate::route::Variables;
use crate::transcode::{Binding, BindingKind, RequestError, RestRequest, Selection};

pub use websocket::{serve as serve_websocket, wishes as wishes_websocket};

const JSON: &str = "application/json";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a REST request is aimed at.
pub struct Target<'a> {
    /// The binding that matched.
    pub binding: &'a Binding,
    /// What its template's variables stand for.
    pub variables: &'a Variables<'a>,
    /// Raw, without the `?`.
    pub query: Option<&'a str>,
    /// What the client wants of the answer; `None`: everything.
    selection: Option<Selection>,
}

/// Serves a REST call to its end.
///
/// # Errors
/// [`Ended`]: a refusal if nothing has been written so far.
pub async fn serve(
    session: &mut Session,
    call: &Call,
    target: &Target<'_>,
    record: &mut Record,
) -> Result<(), Ended> {
    accepts(session, target)?;
    // Boxed but for the common one: the future of a request has room for the largest of them, and is made for each.
    match target.binding.kind() {
        BindingKind::Unary => unary::serve(session, call, target, record).await,
        BindingKind::ServerStream => Box::pin(stream::serve_messages(session, call, target, record)).await,
        BindingKind::HttpBodyDownload => Box::pin(stream::serve_bytes(session, call, target, record)).await,
        BindingKind::HttpBodyUpload | BindingKind::ClientStream => {
            Box::pin(client_stream::serve(session, call, target, record)).await
        }
        BindingKind::Bidi if target.binding.response_is_http_body() => {
            Box::pin(stream::serve_bytes(session, call, target, record)).await
        }
        BindingKind::Bidi => Box::pin(stream::serve_messages(session, call, target, record)).await,
    }
}

/// Whether the client takes what a method with one answer has: JSON. It is asked before the call, which may change something.
/// Bytes may be anything, so nobody refuses them; where no answer has a body there is nothing to take; streams have a choice
/// of their own.
///
/// # Errors
/// When it does not.
fn accepts(session: &Session, target: &Target<'_>) -> Result<(), Error> {
    let binding = target.binding;
    let one = matches!(
        binding.kind(),
        BindingKind::Unary | BindingKind::ClientStream | BindingKind::HttpBodyUpload
    );
    if !one || binding.response_is_http_body() || binding.success_status() == 204 {
        return Ok(());
    }
    let json = accept::choose(&session.req_header().headers, &[(JSON, ())]);
    json.ok_or(Error::NotAcceptable { available: JSON })
}

impl<'a> Target<'a> {
    /// What a request is aimed at.
    ///
    /// # Errors
    /// When it asks for a part of the answer that there is not.
    pub fn new(
        binding: &'a Binding,
        variables: &'a Variables<'a>,
        query: Option<&'a str>,
    ) -> Result<Self, Error> {
        Ok(Self { binding, variables, query, selection: binding.selection(query)? })
    }

    /// Appends a message of the answer as JSON, as far as the client wants it.
    fn decode(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        Ok(self.binding.decode_selected(message, self.selection.as_ref(), out)?)
    }

    /// Appends the gRPC message of the request, `body` included, to `out`.
    fn encode(&self, session: &Session, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.with_request(session, body, |request| self.binding.encode_request(request, out))
    }

    fn with_request(
        &self,
        session: &Session,
        body: &[u8],
        encode: impl FnOnce(&RestRequest<'_>) -> Result<(), RequestError>,
    ) -> Result<(), Error> {
        let headers = &session.req_header().headers;
        let text = |name: HeaderName, label: &'static str| {
            let value = headers.get(name).map(HeaderValue::to_str).transpose();
            value.map_err(|_| Error::InvalidHeader { header: label })
        };
        // Where it means nothing it may say anything.
        let key = if self.binding.takes_request_id() { idempotency::key(headers)? } else { None };
        let request = RestRequest {
            variables: self.variables,
            query: self.query,
            body,
            content_type: text(CONTENT_TYPE, "content-type")?,
            idempotency_key: key.as_deref(),
            if_match: text(IF_MATCH, "if-match")?,
            last_event_id: text(LAST_EVENT_ID, "last-event-id")?,
            texts: &[],
        };
        encode(&request).map_err(Error::from)
    }
}
