//! One address of an upstream: whether it is fit for calls, what it has to do, and its connections by class. Health checks have a connection of
//! their own, because a check that waits behind a full pool would call a busy endpoint dead.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::StreamClass;
use super::breaker::Breaker;
use super::dial::Dialer;
use super::group::Group;
use super::load::Load;

/// An address of an upstream.
#[derive(Debug)]
pub(super) struct Endpoint {
    address: SocketAddr,
    /// What the last health check said.
    healthy: AtomicBool,
    /// What calls say.
    breaker: Breaker,
    load: Load,
    unary: Arc<Group>,
    streaming: Arc<Group>,
    checks: Arc<Group>,
}

impl Endpoint {
    /// A new endpoint is taken for healthy: the first calls need not wait for the first check.
    pub(super) fn new(address: SocketAddr, dialer: &Arc<Dialer>) -> Arc<Self> {
        let group = |bounded| Group::new(address, dialer.clone(), bounded);
        Arc::new(Self {
            address,
            healthy: AtomicBool::new(true),
            breaker: Breaker::default(),
            load: Load::new(Instant::now()),
            unary: group(true),
            streaming: group(true),
            // A check that is refused for want of room would say that the endpoint is dead.
            checks: group(false),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether calls should come here.
    pub(super) fn is_fit(&self) -> bool {
        self.is_healthy() && !self.breaker.is_ejected()
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// What it has to do.
    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// Sets what the last health check said, and says whether that is news.
    pub(super) fn set_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Ordering::Relaxed) != healthy
    }

    /// The connections for calls of a class.
    pub(super) fn group(&self, class: StreamClass) -> &Arc<Group> {
        match class {
            StreamClass::Unary => &self.unary,
            StreamClass::Streaming => &self.streaming,
        }
    }

    /// The connection of health checks.
    pub(super) fn checks(&self) -> &Arc<Group> {
        &self.checks
    }

    /// Lets go of connections made under an older identity, or of all.
    pub(super) fn retire_before(&self, generation: u64) {
        for group in [&self.unary, &self.streaming, &self.checks] {
            group.retire_before(generation);
        }
    }
}

/// A call's being under way at an endpoint, from its choice to its end: whoever waits for a connection is waited for as well.
#[derive(Debug)]
pub(super) struct Visit {
    endpoint: Arc<Endpoint>,
    class: StreamClass,
    began: Instant,
    answered: bool,
}

impl Visit {
    pub(super) fn new(endpoint: Arc<Endpoint>, class: StreamClass, now: Instant) -> Self {
        endpoint.load.begin(class, now);
        Self { endpoint, class, began: now, answered: false }
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The answer has begun. Streams begin when they please, which says nothing.
    pub(super) fn answered(&mut self, failed: bool) {
        self.answered = true;
        if self.class == StreamClass::Unary {
            self.endpoint.load.answered(self.began, Instant::now(), failed);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.class == StreamClass::Unary && !self.answered {
            self.endpoint.load.given_up(self.began, Instant::now());
        }
        self.endpoint.load.end(self.class);
    }
}
