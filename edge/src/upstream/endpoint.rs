//! One address of an upstream: whether it is fit for calls, and its connections by class. Health checks have a connection of
//! their own, because a check that waits behind a full pool would call a busy endpoint dead.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::StreamClass;
use super::dial::Dialer;
use super::group::Group;

/// An address of an upstream.
#[derive(Debug)]
pub(super) struct Endpoint {
    address: SocketAddr,
    healthy: AtomicBool,
    unary: Arc<Group>,
    streaming: Arc<Group>,
    checks: Arc<Group>,
}

impl Endpoint {
    /// A new endpoint is taken for healthy: the first calls need not wait for the first check.
    pub(super) fn new(address: SocketAddr, dialer: &Arc<Dialer>) -> Arc<Self> {
        let group = || Group::new(address, dialer.clone());
        Arc::new(Self {
            address,
            healthy: AtomicBool::new(true),
            unary: group(),
            streaming: group(),
            checks: group(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Sets whether calls should come here, and says whether that is news.
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

    /// Lets go of connections made under an older identity.
    pub(super) fn retire_before(&self, generation: u64) {
        for group in [&self.unary, &self.streaming, &self.checks] {
            group.retire_before(generation);
        }
    }
}
