//! The time a call has left. It travels as `grpc-timeout`, shrinks at every hop and is never extended.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// The header that carries a budget between gRPC peers.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The instant by which a call must have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline `budget` from this moment.
    #[must_use]
    pub fn after(budget: Duration) -> Self {
        Self(Instant::now() + budget)
    }

    /// A deadline at `instant`.
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The instant itself, for `timeout_at`.
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn expired(self) -> bool {
        self.remaining().is_zero()
    }
}

/// Reads `grpc-timeout`. `None` when it is absent or not of the form the gRPC specification gives it (at most eight digits
/// and a unit).
#[must_use]
pub fn from_headers(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(GRPC_TIMEOUT)?.to_str().ok()?)
}

/// Parses the value of `grpc-timeout`.
#[must_use]
pub fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Writes a budget in the finest unit that fits eight digits, rounded down: a hop never gains time.
#[must_use]
pub fn format(budget: Duration) -> String {
    const FITS: u64 = 99_999_999;
    let fits = |count: u128| u64::try_from(count).ok().filter(|count| *count <= FITS);
    let (count, unit) = if let Some(micros) = fits(budget.as_micros()) {
        (micros, 'u')
    } else if let Some(millis) = fits(budget.as_millis()) {
        (millis, 'm')
    } else {
        (budget.as_secs().min(FITS), 'S')
    };
    format!("{count}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_specification_writes_them() {
        let cases = [
            ("1S", Some(Duration::from_secs(1))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("", None),
            ("S", None),
            ("100000000S", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            ("1é", None),
        ];
        for (text, expect) in cases {
            assert_eq!(parse(text), expect, "{text}");
        }
    }

    #[test]
    fn a_written_budget_never_gains_time() {
        for micros in [0, 1, 999, 99_999_999, 100_000_000, 123_456_789_012] {
            let budget = Duration::from_micros(micros);
            let back = parse(&format(budget)).unwrap();
            assert!(back <= budget, "{budget:?} became {back:?}");
        }
    }
}
