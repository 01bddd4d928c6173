//! From a method that was found to a call that may be made: who asks, whether they may, and what the upstream is told about it.
//! Nothing of the body has been read so far, and nothing after this looks at credentials again.

use std::sync::Arc;
use std::time::SystemTime;

use chassis::error::{Failure as _, Kind};
use chassis::trace::TraceContext;
use pingora::protocols::http::ServerSession as Session;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Context, Gateway};
use crate::authn::{Asked, Authenticated, Memory};
use crate::authz;
use crate::contract::Method;
use crate::error::Error;
use crate::headers;
use crate::policy::{Listener, RateClass};
use crate::rate::{Standing, Who};
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
        let authenticated = self.identify(snapshot, method.policy.rate_class, session, context, now).await?;
        let record = &mut context.record;
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
        let upstream = snapshot.upstreams.get(&method.upstream);
        let upstream =
            upstream.ok_or(Error::Internal { problem: "a method names an upstream that is not there" })?;
        Ok(Call {
            snapshot: Arc::clone(snapshot),
            held: self.shared.room.begin(self.listener, snapshot.limits.buffered_bytes_max),
            method: Arc::clone(method),
            deadline: record.started + budget.total,
            idle: budget.idle,
            token: authenticated.stamp(upstream.audience(), now)?,
            credentials: authenticated.credentials,
            upstream: Arc::clone(upstream),
            received,
            standing: record.standing.clone(),
            wire: record.wire,
            extras: record.extras.clone(),
            drain: self.shared.drain.clone(),
            grace: self.shared.grace,
        })
    }
}

impl Gateway {
    /// Who sends a request, counted: one that cannot be believed too, so that guessing at tokens has a limit. It is counted before
    /// the policy is asked, for being refused must not be free.
    pub(super) async fn identify(
        &self,
        snapshot: &Snapshot,
        class: RateClass,
        session: &Session,
        context: &mut Context,
        now: SystemTime,
    ) -> Result<Authenticated, Error> {
        let header = session.req_header();
        let asked = Asked { headers: &header.headers, method: &header.method, uri: &header.uri };
        let connection = context.connection.as_deref();
        let nothing = Memory::default();
        let memory = connection.map_or(&nothing, |connection| &connection.memory);
        let certificate = connection.and_then(|connection| connection.certificate.as_deref());
        let authenticator = &snapshot.authenticator;
        let authenticated = authenticator.authenticate(self.listener, certificate, memory, asked, now).await;
        let authenticated = authenticated.map_err(Error::from);
        let record = &mut context.record;
        record.standing = match &authenticated {
            Ok(authenticated) => {
                record.caller = Some(Arc::clone(&authenticated.caller));
                self.count(class, authenticated.who, session, record.started)
            }
            // A key set that cannot be had is no fault of the client's.
            Err(error) if error.kind() == Kind::Unauthenticated => {
                self.count(class, Who::NOBODY, session, record.started)
            }
            Err(_) => None,
        };
        if let Some(standing) = &record.standing {
            standing.judge()?;
        }
        authenticated
    }

    /// Takes a request from the bucket of whoever sent it: of nobody in particular, the address's.
    fn count(&self, class: RateClass, who: Who, session: &Session, now: Instant) -> Option<Standing> {
        let limiter = &self.shared.limiter;
        if who != Who::NOBODY {
            return limiter.take(class, who, now.into_std());
        }
        // Behind the mesh listener's address are services, each of which has shown who it is.
        if self.listener == Listener::Mesh {
            return None;
        }
        let peer = session.client_addr()?.as_inet()?.ip();
        limiter.take_anonymous(class, peer, &session.req_header().headers, now.into_std())
    }
}

/// A UUIDv7 from the thread's own random numbers: the crate's asks the kernel for each, and counts under a lock.
fn transaction_id(now: SystemTime) -> Uuid {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &rand::random()).into_uuid()
}
