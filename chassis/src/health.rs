//! What a process says about itself: live as long as it runs, ready while every named condition holds and no drain has begun.
//! The admin endpoints and `grpc.health.v1` read the same state. Liveness never depends on a store.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthRpc, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::error::{Failure, Kind};

/// Handle to the health of a process; clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    conditions: BTreeMap<&'static str, bool>,
    draining: bool,
}

impl State {
    fn ready(&self) -> bool {
        !self.draining && self.conditions.values().all(|holds| *holds)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { state: Arc::new(watch::channel(State::default()).0) }
    }
}

impl Health {
    /// Says whether a condition of readiness holds ("store", "listener"). Unknown ones are added.
    pub fn set_ready(&self, condition: &'static str, holds: bool) {
        self.state.send_if_modified(|state| {
            let changed = state.conditions.insert(condition, holds) != Some(holds);
            if changed {
                tracing::info!(condition, holds, ready = state.ready(), "readiness");
            }
            changed
        });
    }

    /// From here on the process is not ready, whatever its conditions say.
    pub fn begin_drain(&self) {
        self.state.send_modify(|state| state.draining = true);
    }

    /// Whether requests are welcome.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.borrow().ready()
    }

    /// The conditions that do not hold; "draining" is one of them.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let state = self.state.borrow();
        let draining = state.draining.then_some("draining");
        state.conditions.iter().filter(|(_, holds)| !**holds).map(|(name, _)| *name).chain(draining).collect()
    }

    /// `grpc.health.v1`, with the services `live`, `ready` and the empty name, which means `ready`.
    #[must_use]
    pub fn grpc(&self) -> HealthServer<HealthGrpc> {
        HealthServer::new(HealthGrpc(self.clone()))
    }
}

/// The RPC side of [`Health`].
#[derive(Debug)]
pub struct HealthGrpc(Health);

#[derive(Clone, Copy)]
enum Probe {
    Live,
    Ready,
}

impl Probe {
    fn named(service: &str) -> Result<Self, HealthError> {
        match service {
            "live" => Ok(Self::Live),
            "" | "ready" => Ok(Self::Ready),
            _ => Err(HealthError::UnknownService),
        }
    }

    fn answer(self, state: &State) -> HealthCheckResponse {
        let serving = match self {
            Self::Live => true,
            Self::Ready => state.ready(),
        };
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        HealthCheckResponse { status: status.into() }
    }
}

#[tonic::async_trait]
impl HealthRpc for HealthGrpc {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let probe = Probe::named(&request.get_ref().service).map_err(Failure::into_status)?;
        Ok(Response::new(probe.answer(&self.0.state.borrow())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let probe = Probe::named(&request.get_ref().service).map_err(Failure::into_status)?;
        let mut last = None;
        let changes = WatchStream::new(self.0.state.subscribe()).filter_map(move |state| {
            let answer = probe.answer(&state);
            (last.replace(answer.status) != Some(answer.status)).then_some(Ok(answer))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

/// What a probe can be told.
#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("unknown service; ask for live or ready")]
    UnknownService,
}

impl Failure for HealthError {
    const DOMAIN: &'static str = "causeway";

    fn kind(&self) -> Kind {
        Kind::NotFound
    }

    fn reason(&self) -> &'static str {
        "UNKNOWN_SERVICE"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_every_condition_and_no_drain() {
        let health = Health::default();
        assert!(health.is_ready());
        health.set_ready("store", false);
        assert_eq!(health.missing(), ["store"]);
        health.set_ready("store", true);
        assert!(health.is_ready());
        health.begin_drain();
        health.set_ready("store", true);
        assert_eq!(health.missing(), ["draining"]);
    }

    #[tokio::test]
    async fn liveness_does_not_follow_readiness() {
        let health = Health::default();
        health.set_ready("store", false);
        let rpc = HealthGrpc(health);
        let ask = |service: &str| Request::new(HealthCheckRequest { service: service.into() });
        let live = rpc.check(ask("live")).await.unwrap().into_inner();
        let ready = rpc.check(ask("ready")).await.unwrap().into_inner();
        assert_eq!(live.status(), ServingStatus::Serving);
        assert_eq!(ready.status(), ServingStatus::NotServing);
        assert_eq!(rpc.check(ask("svc-ledger")).await.unwrap_err().code(), tonic::Code::NotFound);
    }
}
