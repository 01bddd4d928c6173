//! Which failed calls are made again, when, and how many of them. A retry is worth its cost while failures are few, and makes an
//! outage worse when they are many: hence a budget in proportion to the calls, as in Finagle and linkerd2, and a bound on what is
//! retried at once. Whether the contract allows it and whether the request is still known is asked before; what was never
//! processed moves without a budget, because it cost the service nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic_types::StatusExt as _;

use super::Upstream;
use super::config::Retry;

/// What one retry costs, so that a percent of a call can be saved.
const RETRY: i64 = 100;
/// What can be saved: enough for every call that a dying endpoint takes along, little enough that a quiet hour does not pay for a
/// storm.
const SAVED_MAX: i64 = 100 * RETRY;
/// The longest pause: the call keeps its seat meanwhile, and its caller waits. A service that asks for more gets its wish: the
/// caller is told and comes again itself.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Counts calls and retries of one upstream, without a lock.
#[derive(Debug)]
pub(super) struct Budget {
    rules: Retry,
    epoch: Instant,
    saved: AtomicI64,
    /// The second above, the retries in it below.
    second: AtomicU64,
    in_flight: AtomicUsize,
}

/// Why there is no retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRetry {
    /// Too many for the number of calls.
    Budget,
    /// Too many at once.
    InFlight,
}

impl NoRetry {
    /// The label in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget_spent",
            Self::InFlight => "too_many",
        }
    }
}

impl Budget {
    pub(super) fn new(rules: Retry, epoch: Instant) -> Self {
        Self {
            rules,
            epoch,
            saved: AtomicI64::new(0),
            second: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
        }
    }

    pub(super) fn rules(&self) -> &Retry {
        &self.rules
    }

    /// A call is made, which pays for a part of a retry.
    pub(super) fn call(&self) {
        if self.saved.load(Relaxed) < SAVED_MAX {
            self.saved.fetch_add(i64::from(self.rules.percent), Relaxed);
        }
    }

    /// Pays for a retry: from the savings or, so that an upstream with few calls has any, from the few of each second.
    fn pay(&self, now: Instant) -> bool {
        let paid = self.saved.fetch_update(Relaxed, Relaxed, |saved| (saved >= RETRY).then(|| saved - RETRY));
        let second = now.saturating_duration_since(self.epoch).as_secs() << 32;
        let counted = self.second.fetch_update(Relaxed, Relaxed, |before| {
            let made = if before >> 32 == second >> 32 { before } else { second };
            let few = made & u64::from(u32::MAX) < u64::from(self.rules.per_s_min);
            (paid.is_ok() || few).then(|| made + 1)
        });
        counted.is_ok()
    }
}

/// A retry under way.
#[derive(Debug)]
pub(super) struct Retrying(Arc<Upstream>);

impl Retrying {
    pub(super) fn begin(upstream: &Arc<Upstream>, now: Instant) -> Result<Self, NoRetry> {
        let budget = &upstream.retries;
        let retrying = Self(upstream.clone());
        if budget.in_flight.fetch_add(1, Relaxed) >= budget.rules.in_flight_max {
            return Err(NoRetry::InFlight);
        }
        if budget.pay(now) { Ok(retrying) } else { Err(NoRetry::Budget) }
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.retries.in_flight.fetch_sub(1, Relaxed);
    }
}

/// What the service said about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushback {
    Nothing,
    After(Duration),
    Never,
}

impl Pushback {
    /// Reads `grpc-retry-pushback-ms` (gRFC A6: what is no number means never), else the `RetryInfo` of the status.
    pub(super) fn read(answer: &HeaderMap) -> Self {
        if let Some(said) = answer.get("grpc-retry-pushback-ms") {
            let ms = said.to_str().ok().and_then(|ms| ms.parse::<u64>().ok());
            return ms.map_or(Self::Never, |ms| Self::After(Duration::from_millis(ms)));
        }
        let status = tonic::Status::from_header_map(answer);
        let info = status.and_then(|status| status.get_details_retry_info());
        info.and_then(|info| info.retry_delay).map_or(Self::Nothing, Self::After)
    }

    /// How long to wait before the retry after `made` others: what the service asks for or, unasked, a moment that grows and that
    /// no two calls share. `None`: there is no point. `luck` is 0 to 1.
    pub(super) fn pause(self, rules: &Retry, made: u32, luck: f64) -> Option<Duration> {
        let pause = match self {
            Self::Never => return None,
            Self::After(pause) => pause,
            Self::Nothing => {
                let most = Duration::from_millis(rules.pause_ms).saturating_mul(2_u32.saturating_pow(made));
                most.min(PAUSE_MAX).mul_f64(luck)
            }
        };
        (pause <= PAUSE_MAX).then_some(pause)
    }
}

/// Whether an answer that is nothing but its header says UNAVAILABLE.
pub(super) fn is_unavailable(answer: &HeaderMap) -> bool {
    answer.get("grpc-status").is_some_and(|status| status == "14")
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    const RULES: Retry = Retry { each_max: 2, percent: 10, per_s_min: 3, in_flight_max: 64, pause_ms: 25 };

    #[test]
    fn a_tenth_of_the_calls_or_a_few_a_second_are_made_again() {
        let epoch = Instant::now();
        let budget = Budget::new(RULES, epoch);
        let paid = |at_s: u64| (0..1_000).filter(|_| budget.pay(epoch + Duration::from_secs(at_s))).count();
        assert_eq!((paid(0), paid(0), paid(1)), (3, 0, 3), "few calls: a few a second");
        (0..200).for_each(|_| budget.call());
        assert_eq!(paid(2), 20, "many calls: a tenth, and nothing on top");
        (0..20).for_each(|_| budget.call());
        assert_eq!(paid(3), 3, "the greater of the two");
        (0..1_000_000).for_each(|_| budget.call());
        assert_eq!(paid(4), 100, "what is saved is bounded");
    }

    #[test]
    fn the_service_says_when_and_whether() {
        let header = |name: &'static str, value: &str| {
            HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
        };
        let check = |answer: &HeaderMap, expect| assert_eq!(Pushback::read(answer), expect, "{answer:?}");
        let ms = Duration::from_millis;
        check(&HeaderMap::new(), Pushback::Nothing);
        check(&header("grpc-retry-pushback-ms", "70"), Pushback::After(ms(70)));
        check(&header("grpc-retry-pushback-ms", "-1"), Pushback::Never);
        check(&header("grpc-retry-pushback-ms", "soon"), Pushback::Never);
        let details = ErrorDetails::with_retry_info(Some(ms(300)));
        let status = tonic::Status::with_error_details(tonic::Code::Unavailable, "away", details);
        let mut answer = HeaderMap::new();
        status.add_header(&mut answer).unwrap();
        assert!(is_unavailable(&answer));
        check(&answer, Pushback::After(ms(300)));
    }

    #[test]
    fn pauses_grow_and_a_long_one_is_none() {
        let pause =
            |said: Pushback, made, luck| said.pause(&RULES, made, luck).map(|pause| pause.as_millis());
        assert_eq!(pause(Pushback::Nothing, 0, 0.0), Some(0));
        assert_eq!(pause(Pushback::Nothing, 0, 1.0), Some(25));
        assert_eq!(pause(Pushback::Nothing, 2, 1.0), Some(100));
        assert_eq!(pause(Pushback::Nothing, 99, 1.0), Some(PAUSE_MAX.as_millis()));
        assert_eq!(pause(Pushback::After(Duration::from_secs(1)), 0, 0.0), Some(1_000));
        assert_eq!(pause(Pushback::After(Duration::from_secs(3)), 0, 0.0), None);
        assert_eq!(pause(Pushback::Never, 0, 1.0), None);
    }
}
