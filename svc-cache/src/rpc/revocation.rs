//! `edge.v1.RevocationService`: tokens that are no longer believed. Every replica reads the same order of changes from Redis,
//! so a revocation that one of them has taken is told by all.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chassis::Drain;
use chassis::call::Call;
use chassis::error::{Failure as _, Kind};
use chassis::outbox::Bell;
use futures::stream::{self, BoxStream, StreamExt as _};
use proto::edge::v1 as pb;
use proto::edge::v1::revocation_service_server::RevocationService;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Request, Response, Status};

use super::{convert, edge_only};
use crate::error::Error;
use crate::store::{Changes, Store};

/// How often a watch looks for what is new and shows that it lives.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A revocation is told this much later at most. Each watch asks Redis that often, one short command; there are as many
    /// watches as edges.
    pub look: Duration,
    /// The longest silence: well below the idle time of the policy, and of what stands between.
    pub keep_alive: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { look: Duration::from_millis(200), keep_alive: Duration::from_secs(15) }
    }
}

/// The handlers. A clone shares everything.
#[derive(Clone)]
pub struct RevocationRpc {
    store: Store,
    events: Bell,
    drain: Drain,
    pace: Pace,
}

impl RevocationRpc {
    /// Revokes in the store, and rings when that has left an event. Watches end when `drain` stops: whoever watches begins anew
    /// elsewhere.
    pub fn new(store: Store, events: Bell, drain: Drain, pace: Pace) -> Self {
        Self { store, events, drain, pace }
    }

    async fn try_revoke(&self, call: &Call, asked: pb::RevokeRequest, now_ms: u64) -> Result<bool, Error> {
        let revocation = convert::revocation::revoke(asked, now_ms)?;
        let event = convert::audit::revoked(call, &event_id(), now_ms, &revocation);
        Ok(self.store.revoke(&revocation, &event).await?)
    }

    /// Leaves an event of a call that was refused. It has no effect to be written with: one that is lost is logged.
    async fn leave_refusal(&self, call: &Call, error: &Error, now_ms: u64) {
        let event = convert::audit::refused(call, &event_id(), now_ms, error);
        match self.store.leave(&event).await {
            Ok(true) => self.events.ring(),
            Ok(false) => tracing::warn!("audit event of a refusal dropped, too many wait"),
            Err(error) => tracing::warn!(%error, "audit event of a refusal lost"),
        }
    }
}

/// A UUIDv7: events are kept in the order of their time.
fn event_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[tonic::async_trait]
impl RevocationService for RevocationRpc {
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;

    async fn revoke(
        &self,
        request: Request<pb::RevokeRequest>,
    ) -> Result<Response<pb::RevokeResponse>, Status> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        let call = Call::of(&request)?;
        match self.try_revoke(&call, request.into_inner(), now_ms).await {
            Ok(news) => {
                if news {
                    self.events.ring();
                }
                tracing::info!(news, "token revoked");
                Ok(Response::new(pb::RevokeResponse {}))
            }
            Err(error) => {
                // What could not be served was not refused.
                if error.kind() == Kind::Invalid {
                    self.leave_refusal(&call, &error, now_ms).await;
                }
                Err(error.into())
            }
        }
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        edge_only(&request)?;
        let watch = Watch {
            rpc: self.clone(),
            place: 0,
            told: false,
            complete: false,
            speak_by: Instant::now() + self.pace.keep_alive,
        };
        // It reads when its client does: one that is slow or stalled makes nothing pile up here.
        Ok(Response::new(stream::unfold(Some(watch), next).boxed()))
    }
}

/// One client's way through the changes.
struct Watch {
    rpc: RevocationRpc,
    /// The last change it has been told.
    place: u64,
    /// Whether it has been told anything.
    told: bool,
    /// Whether it has been told everything there was when it began.
    complete: bool,
    /// When to speak although there is nothing to say.
    speak_by: Instant,
}

type Next = Option<(Result<pb::WatchResponse, Status>, Option<Watch>)>;

/// The next message of a watch. It ends with an error when Redis is away, and without one when the process stops.
async fn next(watch: Option<Watch>) -> Next {
    let mut watch = watch?;
    match watch.message().await {
        Ok(Some(changes)) => Some((Ok(convert::revocation::changes(changes)), Some(watch))),
        Ok(None) => None,
        Err(error) => Some((Err(error.into()), None)),
    }
}

impl Watch {
    async fn message(&mut self) -> Result<Option<Changes>, Error> {
        let Pace { look, keep_alive } = self.rpc.pace;
        loop {
            let mut changes = self.rpc.store.revoked_after(self.place).await?;
            self.place = changes.place;
            let all = changes.complete;
            let first = !self.told || all && !self.complete;
            self.complete |= all;
            changes.complete = self.complete;
            if first || !changes.revocations.is_empty() || Instant::now() >= self.speak_by {
                self.told = true;
                self.speak_by = Instant::now() + keep_alive;
                return Ok(Some(changes));
            }
            if !all {
                continue;
            }
            tokio::select! {
                () = sleep(look) => (),
                () = sleep_until(self.speak_by) => (),
                () = self.rpc.drain.stopping() => return Ok(None),
            }
        }
    }
}
