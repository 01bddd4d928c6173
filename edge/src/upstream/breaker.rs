//! What an endpoint's failures say about it, and for how long it is left alone because of them: passive ejection, as Envoy's outlier
//! detection and linkerd2's breaker do it. Failures count only one after another, because one success proves that the endpoint
//! works. The time grows with each ejection that follows soon, so that a flapping endpoint costs less and less; whoever comes back
//! is on probation until the first success. Pure: clock and luck are arguments.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::config::Ejection;

/// The state of one endpoint. A success costs one load.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    ejected: AtomicBool,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    /// Ejections that followed soon upon one another.
    times: u32,
    returned: Option<Instant>,
}

impl Breaker {
    pub(super) fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed)
    }

    pub(super) fn succeeded(&self) {
        // Read first: the line stays shared between the cores as long as all goes well.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// Counts a failure, and says whether that is one too many.
    pub(super) fn failed(&self, rules: &Ejection) -> bool {
        let before = self.failures.fetch_add(1, Relaxed);
        rules.failures > 0 && before.saturating_add(1) >= rules.failures
    }

    /// Out, and for how long: doubled for each time before, give or take a fifth, so that those that fell together are not asked
    /// together. `luck` is 0 to 1.
    pub(super) fn eject(&self, rules: &Ejection, now: Instant, luck: f64) -> Duration {
        let mut history = self.history();
        let longest = Duration::from_millis(rules.ms_max);
        if history.returned.is_some_and(|returned| now.saturating_duration_since(returned) >= longest) {
            history.times = 0;
        }
        let doubled = Duration::from_millis(rules.ms).saturating_mul(2_u32.saturating_pow(history.times));
        history.times = history.times.saturating_add(1);
        self.ejected.store(true, Relaxed);
        longest.min(doubled).mul_f64(0.8 + 0.4 * luck)
    }

    /// In again: the next failure is one too many, the next success makes it like all others.
    pub(super) fn readmit(&self, rules: &Ejection, now: Instant) {
        self.history().returned = Some(now);
        self.failures.store(rules.failures.saturating_sub(1), Relaxed);
        self.ejected.store(false, Relaxed);
    }

    /// Whole after every step, so a panic elsewhere spoils nothing.
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Ejection = Ejection { failures: 3, ms: 1_000, ms_max: 30_000, percent_max: 50 };

    #[test]
    fn only_failures_one_after_another_count() {
        let breaker = Breaker::default();
        assert!(!breaker.failed(&RULES) && !breaker.failed(&RULES));
        breaker.succeeded();
        assert!(!breaker.failed(&RULES) && !breaker.failed(&RULES));
        assert!(breaker.failed(&RULES));
        let off = Ejection { failures: 0, ..RULES };
        assert!((0..100).all(|_| !breaker.failed(&off)), "zero never ejects");
    }

    #[test]
    fn the_time_out_grows_to_its_bound_and_is_forgiven() {
        let (breaker, mut now) = (Breaker::default(), Instant::now());
        for expect in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(breaker.eject(&RULES, now, 0.5).as_secs(), expect);
            assert!(breaker.is_ejected());
            now += Duration::from_secs(expect);
            breaker.readmit(&RULES, now);
            assert!(!breaker.is_ejected());
        }
        now += Duration::from_secs(30);
        assert_eq!(breaker.eject(&RULES, now, 0.5).as_secs(), 1, "it did well for long enough");
        for (luck, expect) in [(0.0, 1_600), (1.0, 2_400)] {
            let breaker = Breaker::default();
            breaker.eject(&RULES, now, 0.5);
            breaker.readmit(&RULES, now);
            assert_eq!(breaker.eject(&RULES, now, luck).as_millis(), expect);
        }
    }

    #[test]
    fn whoever_comes_back_is_on_probation() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        breaker.eject(&RULES, now, 0.5);
        breaker.readmit(&RULES, now);
        assert!(breaker.failed(&RULES), "one failure suffices");
        breaker.readmit(&RULES, now);
        breaker.succeeded();
        assert!(!breaker.failed(&RULES));
    }
}
