//! The path of a request: limits, route, authentication, authorization, headers, then the relay or the transcoder, then the
//! access log. Each step is a module of its own; here is only their order. It stands on Pingora's HTTP sessions and not on its
//! proxy: the status of a gRPC call is in trailers, which the proxy's response filters see too late, and what the proxy keeps for
//! a request that it will not pass on costs a tenth of the request (docs/adr/0012).

mod admit;
mod builtin;
mod framing;
mod grpc;
mod limits;
mod options;
mod overload;
mod reflection;
mod refuse;

use std::sync::Arc;
use std::time::Duration;

use chassis::drain::{Drain, Guard};
use chassis::error::Failure as _;
use chassis::spans::Spans;
use http::header::{CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb};
use pingora::protocols::http::ServerSession as Session;
use tokio::time::timeout;

pub use limits::{Budget, Shares};
pub use overload::Shedding;

use crate::access_log::AccessLog;
use crate::audit::Audit;
use crate::contract::Method;
use crate::error::Error;
use crate::extras::Extras;
use crate::grpc_web::Dialect;
use crate::headers::Wire;
use crate::listener::connection::Connection;
use crate::metrics::{InFlight, ListenerMetrics, Metrics};
use crate::policy::Listener;
use crate::rate::Limiter;
use crate::request::{Call, Ended, Record};
use crate::rest;
use crate::room::Room;
use crate::route::Refusal;
use crate::snapshot::{Current, Snapshot};

/// How long a connection that is given up may take to say so: a round trip, and no more than that keeps its seat.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// What the gateways of all listeners share.
pub struct Shared {
    /// What requests are served by.
    pub snapshot: Current,
    /// How often who may ask.
    pub limiter: Arc<Limiter>,
    /// Where what they hold is counted.
    pub room: Room,
    /// What is kept of them.
    pub access_log: AccessLog,
    /// How it counts.
    pub metrics: Metrics,
    /// Who keeps what was refused.
    pub audit: Audit,
    /// Where its spans go.
    pub spans: Spans,
    /// When it must end.
    pub drain: Drain,
    /// How long after that what is in flight may go on.
    pub grace: Duration,
    /// The share of traces started here that are recorded, in millionths.
    pub sample_per_million: u32,
}

/// The gateway of one listener.
pub struct Gateway {
    shared: Arc<Shared>,
    listener: Listener,
    budget: Arc<Budget>,
    shares: Arc<Shares>,
    metrics: ListenerMetrics,
}

/// One request on its way through the phases.
pub struct Context {
    record: Record,
    connection: Option<Arc<Connection>>,
    seat: Option<limits::Seat>,
    share: Option<limits::Share>,
    _counted: InFlight,
    // HTTP/2 streams are tasks that Pingora does not wait for; the drain does.
    _guard: Guard,
}

impl Gateway {
    /// The gateway of `listener`, with room for what `budget` says, and of that for each principal what `shares` says.
    #[must_use]
    pub fn new(shared: Arc<Shared>, listener: Listener, budget: Arc<Budget>, shares: Arc<Shares>) -> Self {
        let metrics = shared.metrics.of(listener);
        Self { shared, listener, budget, shares, metrics }
    }

    /// Serves a request whose header has been read, from there to its access log line. Returns whether the connection may
    /// serve another.
    pub async fn handle(&self, session: &mut Session) -> bool {
        let mut context = self.begin(session);
        let ended = match self.serve(session, &mut context).await {
            Ok(()) => Ok(()),
            Err(Ended::Refused(error)) => {
                context.record.refused(&error);
                self.shared.audit.refused(&self.shared.snapshot, &context.record, &error);
                // A refusal waits for its client, body and all; it must not keep a seat from those that are served.
                (context.seat, context.share) = (None, None);
                refuse::write(session, &context.record, &error, &self.shared.drain).await
            }
            Err(Ended::Aborted(error)) => Err(error),
        };
        if let Err(error) = &ended {
            tracing::debug!(kind = error.etype().as_str(), "request broke off");
            context.record.cut("downstream");
            // What goes wrong after an answer has begun cannot be told: the stream or connection ends, and the client sees
            // that. An HTTP/2 stream is reset when it is dropped, after what was written; an explicit reset would overtake that.
            if !session.is_http2() {
                // It takes its time to say goodbye, and a client that reads nothing would never let it.
                let _ = timeout(SHUTDOWN, session.shutdown()).await;
            }
        }
        context.record.finish(self.listener, session, &self.shared.access_log, &self.metrics);
        context.record.export(session, &self.shared.spans);
        if let Some(connection) = &context.connection {
            connection.request_ends();
        }
        ended.is_ok()
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Refuses what cannot be read as a request.
    pub async fn refuse_unreadable(&self, session: &mut Session) {
        self.metrics.refused(Error::MalformedRequest.reason());
        // Nobody else is told of a client that does not wait for the answer.
        let _ = refuse::unreadable(session, &Extras::unread(self.listener, self.shared.snapshot.load().hsts))
            .await;
    }

    fn begin(&self, session: &mut Session) -> Context {
        let mut context = Context {
            record: Record::begin(),
            connection: Connection::of(session).cloned(),
            seat: None,
            share: None,
            _counted: self.metrics.request_begins(),
            _guard: self.shared.drain.guard(),
        };
        if let Some(connection) = &context.connection {
            connection.request_begins();
        }
        let headers = &session.req_header().headers;
        context.record.wire = wire(headers, session.is_http2(), self.listener);
        // Without it, the watch for a client that leaves would take a pipelined request for a protocol error.
        session.set_pipelining_enabled(true);
        context
    }

    async fn serve(&self, session: &mut Session, context: &mut Context) -> Result<(), Ended> {
        // One for the whole request, however often the configuration is replaced meanwhile.
        let snapshot = &self.snapshot();
        let header = session.req_header();
        context.record.extras = Extras::new(self.listener, snapshot, &header.headers);
        limits::check_header(header.raw_path().len(), &header.headers, &snapshot.limits)?;
        let mut framed = framing::check(header);
        if let (Ok(()), Session::H1(http1)) = (&framed, &*session) {
            framed = framing::check_text(&http1.get_headers_raw_bytes(), &header.headers);
        }
        if let Err(error) = framed {
            session.set_keepalive(None);
            return Err(error.into());
        }
        // Where one chunk ends is read in more ways than one (an empty size, a line feed in an extension), and Pingora's is not
        // ours to change. So nothing is ever read behind chunks: what another server takes for more of them is nobody's request.
        let (chunked, tunnel) =
            (header.headers.contains_key(TRANSFER_ENCODING), header.method == Verb::CONNECT);
        if chunked {
            session.set_keepalive(None);
        }
        if tunnel {
            // The edge is nobody's tunnel, and whoever asked for one may send through it what is no request.
            session.set_keepalive(None);
            return Err(Error::MethodNotAllowed { allow: String::new() }.into());
        }
        context.seat = Some(self.budget.take()?);
        // A client that reads or writes nothing for this long has gone, whatever TCP thinks.
        session.set_write_timeout(Some(snapshot.limits.body_idle()));
        context.record.routed();
        if let Some(fields) = self.preflight(snapshot, session, &context.record.extras)? {
            return options::answer_preflight(session, context, &self.shared.drain, fields).await;
        }
        match context.record.wire {
            Wire::Grpc | Wire::GrpcWeb(_) => self.serve_grpc(session, context, snapshot).await,
            Wire::Rest => self.serve_rest(session, context, snapshot).await,
        }
    }

    /// What a page of another origin may do at a path, if that is what is asked for. Nobody is authenticated: browsers ask without
    /// credentials, and learn what anybody may learn from a refused verb.
    fn preflight(
        &self,
        snapshot: &Snapshot,
        session: &Session,
        extras: &Extras,
    ) -> Result<Option<Vec<(HeaderName, HeaderValue)>>, Error> {
        let header = session.req_header();
        let Some((grant, wanted)) = extras.cors.preflight(&header.method, &header.headers) else {
            return Ok(None);
        };
        let path = header.uri.path();
        let is_called = |method: &Arc<Method>| method.policy.visible_on(self.listener);
        let routed = if snapshot.builtin.page(path).is_some() {
            Some(builtin::ALLOW.to_owned())
        } else if snapshot.contract.by_grpc_path(path).is_some_and(is_called) {
            Some(Verb::POST.to_string())
        } else {
            snapshot.contract.verbs_on(self.listener, path)?
        };
        Ok(grant.preflight(&header.headers, &wanted, routed.as_deref()))
    }

    async fn serve_grpc(
        &self,
        session: &mut Session,
        context: &mut Context,
        snapshot: &Arc<Snapshot>,
    ) -> Result<(), Ended> {
        let header = session.req_header();
        if header.method != Verb::POST {
            return Err(Error::MethodNotAllowed { allow: "POST".to_owned() }.into());
        }
        let method = snapshot.contract.by_grpc_path(header.uri.path());
        let method = method.filter(|method| method.policy.visible_on(self.listener));
        let Some(method) = method else {
            if context.record.wire != Wire::Grpc {
                // Reflection is a dialogue, which browsers cannot have.
                return Err(Error::UnknownMethod.into());
            }
            let (reflection, path) =
                snapshot.builtin.reflection(header.uri.path()).ok_or(Error::UnknownMethod)?;
            return Box::pin(self.serve_reflection(session, context, snapshot, reflection, path)).await;
        };
        let call = self.admit(snapshot, method, session, context).await?;
        let served = while_believed(&call, grpc::relay(session, &call, &mut context.record)).await;
        served.or_else(|lost| broken_off(session, context, lost))
    }

    async fn serve_rest(
        &self,
        session: &mut Session,
        context: &mut Context,
        snapshot: &Arc<Snapshot>,
    ) -> Result<(), Ended> {
        let header = session.req_header();
        if !header.raw_path_is_utf8() {
            return Err(Error::MalformedPath.into());
        }
        // Cheap, the text is shared; the route borrows from it while the session is written to.
        let uri = header.uri.clone();
        // Pages are for people and their browsers, who come in here.
        if let (Listener::Public, Some(page)) = (self.listener, snapshot.builtin.page(uri.path())) {
            return Box::pin(self.serve_page(session, context, snapshot, page)).await;
        }
        // A wish for a WebSocket where none is to be had is overheard, as RFC 9110 section 7.8 allows.
        let dialogue = if rest::wishes_websocket(header) {
            snapshot.contract.route_websocket(self.listener, uri.path()).ok()
        } else {
            None
        };
        let framed = dialogue.is_some();
        let matched = match dialogue {
            Some(matched) => Ok(matched),
            None => snapshot.contract.route_on(self.listener, &header.method, uri.path()),
        };
        let matched = match matched {
            Err(Refusal::MethodNotAllowed { allow }) if header.method == Verb::OPTIONS => {
                return options::answer(session, context, &self.shared.drain, &allow).await;
            }
            matched => matched.map_err(Error::from)?,
        };
        context.record.template = Some(Arc::clone(matched.binding.template()));
        let call = self.admit(snapshot, matched.method, session, context).await?;
        let target = rest::Target::new(matched.binding, &matched.variables, uri.query())?;
        let record = &mut context.record;
        let served = if framed {
            while_believed(&call, Box::pin(rest::serve_websocket(session, &call, &target, record))).await
        } else {
            while_believed(&call, rest::serve(session, &call, &target, record)).await
        };
        served.or_else(|lost| broken_off(session, context, lost))
    }
}

/// Why a call was served no further.
enum Stopped {
    Ended(Ended),
    /// What its caller was believed by was taken back.
    Lost(Error),
}

/// Serves a call, and a stream only as long as its caller is believed.
async fn while_believed(
    call: &Call,
    serving: impl Future<Output = Result<(), Ended>>,
) -> Result<(), Stopped> {
    if !call.streams() {
        return serving.await.map_err(Stopped::Ended);
    }
    tokio::select! {
        biased;
        ended = serving => ended.map_err(Stopped::Ended),
        // Boxed: it must not make the future of every request larger.
        refusal = Box::pin(call.credentials.lost()) => Err(Stopped::Lost(refusal.into())),
    }
}

/// Ends what was stopped. An answer that has begun can only break off; whoever comes again is told the reason.
fn broken_off(session: &Session, context: &mut Context, stopped: Stopped) -> Result<(), Ended> {
    let error = match stopped {
        Stopped::Ended(ended) => return Err(ended),
        Stopped::Lost(error) => error,
    };
    if session.response_written().is_none() {
        return Err(error.into());
    }
    context.record.refused(&error);
    context.record.cut("credentials");
    let kind = pingora::ErrorType::Custom("CredentialsLost");
    Err(Ended::Aborted(pingora::Error::explain(kind, "the caller is no longer believed")))
}

/// The language of a request, by its content type. gRPC needs trailers, which HTTP/1 clients do not get here: such a call is
/// looked up as REST and refused as that. gRPC-Web is for those who come from outside; a service has no reason to speak it.
fn wire(headers: &HeaderMap, http2: bool, listener: Listener) -> Wire {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let Some(rest) = content_type.strip_prefix(b"application/grpc") else { return Wire::Rest };
    match rest {
        [] | [b'+' | b';', ..] if http2 => Wire::Grpc,
        [b'-', ..] if listener != Listener::Mesh => Dialect::of(headers).map_or(Wire::Rest, Wire::GrpcWeb),
        _ => Wire::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc_web::Form;

    #[test]
    fn a_content_type_names_the_language() {
        let check = |content_type: &'static str, http2: bool, listener: Listener, expect: Wire| {
            let headers =
                HeaderMap::from_iter([(CONTENT_TYPE, http::HeaderValue::from_static(content_type))]);
            assert_eq!(wire(&headers, http2, listener), expect, "{content_type}");
        };
        let web = |form| Wire::GrpcWeb(Dialect { request: form, answer: form });
        check("application/grpc", true, Listener::Public, Wire::Grpc);
        check("application/grpc+proto", true, Listener::Mesh, Wire::Grpc);
        check("application/grpc;charset=utf-8", true, Listener::Public, Wire::Grpc);
        check("application/grpc", false, Listener::Public, Wire::Rest);
        for http2 in [true, false] {
            check("application/grpc-web", http2, Listener::Public, web(Form::Binary));
            check("application/grpc-web-text", http2, Listener::Partner, web(Form::Text));
            check("application/grpc-web", http2, Listener::Mesh, Wire::Rest);
            check("application/grpc-web+json", http2, Listener::Public, Wire::Rest);
            check("application/json", http2, Listener::Public, Wire::Rest);
        }
        assert_eq!(wire(&HeaderMap::new(), true, Listener::Public), Wire::Rest);
    }
}
