//! How much one upstream may have at once: calls in flight, calls that wait for a place. What exceeds a bound is refused
//! at once and by its name, because a call that waits where nothing comes free only makes its caller late, and because a service
//! that hangs must not take the listener's seats from those that want another.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use prometheus_client::metrics::gauge::Gauge;

use super::Upstream;
use super::config::UpstreamConfig;

/// A bound that a call has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Calls in flight.
    InFlight,
    /// Calls that wait for a place on a connection.
    Pending,
    /// Connections and their streams: no place came free in time.
    Connections,
}

impl Limit {
    /// What clients and metrics call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "upstream_in_flight",
            Self::Pending => "upstream_pending",
            Self::Connections => "upstream_connections",
        }
    }
}

/// The bounds of one upstream, and how close it is to them.
#[derive(Debug)]
pub(super) struct Limits {
    /// The gauge that operators see is the count itself.
    in_flight: Gauge<i64, AtomicI64>,
    in_flight_max: i64,
    pending: AtomicUsize,
    pending_max: usize,
}

impl Limits {
    pub(super) fn new(config: &UpstreamConfig, in_flight: Gauge<i64, AtomicI64>) -> Self {
        Self {
            in_flight,
            in_flight_max: i64::try_from(config.in_flight_max).unwrap_or(i64::MAX),
            pending: AtomicUsize::new(0),
            pending_max: config.pending_max,
        }
    }

    /// Counts one that waits, until it is dropped.
    pub(super) fn wait(&self) -> Result<Pending<'_>, Limit> {
        let pending = Pending(self);
        if self.pending.fetch_add(1, Relaxed) >= self.pending_max { Err(Limit::Pending) } else { Ok(pending) }
    }
}

/// A call that waits for a place.
#[derive(Debug)]
pub(super) struct Pending<'a>(&'a Limits);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Relaxed);
    }
}

/// A call's seat at its upstream, and the way to that.
#[derive(Debug)]
pub(super) struct Seat(Arc<Upstream>);

impl Seat {
    /// Counted before it is compared: of two that race for the last seat both may be refused, never both admitted.
    pub(super) fn take(upstream: &Arc<Upstream>) -> Result<Self, Limit> {
        let limits = &upstream.limits;
        let seat = Self(upstream.clone());
        if limits.in_flight.inc() >= limits.in_flight_max { Err(Limit::InFlight) } else { Ok(seat) }
    }

    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.limits.in_flight.dec();
    }
}
