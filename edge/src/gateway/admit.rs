//! From a method that was found to a call that may be made: who asks, whether they may, and what the upstream is told about it.
//! Nothing of the body has been read so far, and nothing after this looks at credentials again.

use std::sync::Arc;
use std::time::SystemTime;

use chassis::trace::TraceContext;
use http::HeaderMap;
use pingora::protocols::http::ServerSession as Session;
use uuid::Uuid;

use super::{Context, Gateway};
use crate::authn::{Authenticated, Memory};
use crate::authz;
use crate::contract::Method;
use crate::error::Error;
use crate::headers;
use crate::listener::connection::Connection;
use crate::request::Call;
use crate::snapshot::Snapshot;

impl Gateway {
    /// Authentication, authorization, headers.
    pub(super) async fn admit(
        &self,
        snapshot: &Arc<Snapshot>,
        method: &Arc<Method>,
        session: &Session,
        context: &mut Context,
    ) -> Result<Call, Error> {
        let header = session.req_header();
        let headers = &header.headers;
        let record = &mut context.record;
        record.method = Some(Arc::clone(method));
        let sampled = rand::random_range(0..1_000_000) < self.shared.sample_per_million;
        let fresh = TraceContext { sampled, ..TraceContext::root() };
        let authority = header.uri.authority().map(|authority| authority.as_str());
        let now = SystemTime::now();
        let id = transaction_id(now);
        let received = headers::read(headers, authority, self.listener, record.wire, fresh, id);
        if let Ok(received) = &received {
            record.received(received);
        }
        let authenticated = self.authenticate(context.connection.as_deref(), headers, now).await?;
        record.caller = Some(Arc::clone(&authenticated.caller));
        authz::admit(&method.policy, self.listener, &authenticated.caller)?;
        if let (true, Some(seat)) = (method.client_streaming || method.server_streaming, &mut context.seat) {
            seat.lasts();
        }
        context.share = self.shares.take(&authenticated.caller)?;
        let received = received?;
        let budget =
            headers::budget(&method.policy.bounds, received.timeout).ending_with(authenticated.left(now));
        if budget.total.is_zero() {
            return Err(Error::DeadlineExceeded);
        }
        let upstream = self.shared.upstreams.get(&method.upstream);
        let upstream =
            upstream.ok_or(Error::Internal { problem: "a method names an upstream that is not there" })?;
        Ok(Call {
            snapshot: Arc::clone(snapshot),
            method: Arc::clone(method),
            deadline: record.started + budget.total,
            idle: budget.idle,
            upstream: Arc::clone(upstream),
            caller: authenticated.stamp.clone(),
            received,
            wire: record.wire,
            drain: self.shared.drain.clone(),
            grace: self.shared.grace,
        })
    }
}

impl Gateway {
    /// Who sends a request that came by a connection.
    pub(super) async fn authenticate(
        &self,
        connection: Option<&Connection>,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Authenticated, Error> {
        let nothing = Memory::default();
        let memory = connection.map_or(&nothing, |connection| &connection.memory);
        let certificate = connection.and_then(|connection| connection.certificate.as_deref());
        let authenticator = &self.shared.authenticator;
        Ok(authenticator.authenticate(self.listener, certificate, memory, headers, now).await?)
    }
}

/// A UUIDv7 from the thread's own random numbers: the crate's asks the kernel for each, and counts under a lock.
fn transaction_id(now: SystemTime) -> Uuid {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &rand::random()).into_uuid()
}
