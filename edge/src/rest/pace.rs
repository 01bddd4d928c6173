//! How fast a body must come: so many bytes a second once the client has had some time, counted only while it is waited for. An idle
//! bound alone lets a client send a byte whenever it is about to be given up, and keep its place for hours (R-U-Dead-Yet).

use std::time::Duration;

use tokio::time::Instant;

/// See the module. Pure: the caller says what time it is.
#[derive(Debug)]
pub(super) struct Pace {
    grace: Duration,
    bytes_per_s: u64,
    /// How long the client has been waited for, up to the last piece.
    waited: Duration,
    since: Option<Instant>,
}

impl Pace {
    pub(super) const fn new(grace: Duration, bytes_per_s: u64) -> Self {
        Self { grace, bytes_per_s, waited: Duration::ZERO, since: None }
    }

    /// There is nothing to read.
    pub(super) fn waits(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// A piece has come.
    pub(super) fn arrived(&mut self, now: impl FnOnce() -> Instant) {
        // What is there at once costs no look at the clock.
        if let Some(since) = self.since.take() {
            self.waited += now().duration_since(since);
        }
    }

    /// By when the next piece must have come, of a body of which so much has.
    pub(super) fn due(&self, received: u64, now: Instant) -> Instant {
        let earned_ms = received.saturating_mul(1000) / self.bytes_per_s.max(1);
        let allowed = self.grace.saturating_add(Duration::from_millis(earned_ms));
        let since = self.since.unwrap_or(now);
        // A client that has earned more than a year is not slow.
        since.checked_add(allowed.saturating_sub(self.waited)).unwrap_or(since + Duration::from_secs(86_400))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_grace_and_what_it_has_earned() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(Duration::from_secs(5), 100);
        assert_eq!(pace.due(0, at(0)), at(5));
        pace.waits(at(0));
        pace.waits(at(3));
        assert_eq!(pace.due(0, at(3)), at(5), "it has been waited for all along");
        pace.arrived(|| at(4));
        assert_eq!(pace.due(0, at(4)), at(5));
        assert_eq!(pace.due(300, at(4)), at(8), "three seconds earned");
        // Ten seconds in which the service takes nothing are not the client's.
        pace.waits(at(14));
        assert_eq!(pace.due(300, at(14)), at(18));
        pace.arrived(|| at(20));
        assert!(pace.due(300, at(20)) <= at(20));
        assert!(pace.due(u64::MAX, at(20)) > at(80_000));
    }
}
