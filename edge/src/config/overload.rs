//! `[overload]`: from which sign on the edge calls itself overloaded, and how far it then goes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[overload]`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overload {
    /// How long what is ready may wait for its turn on a core. Longer, and each further request only makes all others later. Zero:
    /// never overloaded; what remains is each listener's `in_flight_max`.
    pub queueing_ms: u64,
    /// What each listener serves at once however overloaded the edge is.
    pub in_flight_min: usize,
}

impl Default for Overload {
    fn default() -> Self {
        // A request of the edge takes a tenth of a millisecond: 25 stand for hundreds that wait on each core.
        Self { queueing_ms: 25, in_flight_min: 64 }
    }
}

impl Overload {
    /// `queueing_ms`.
    #[must_use]
    pub const fn queueing(&self) -> Duration {
        Duration::from_millis(self.queueing_ms)
    }
}
