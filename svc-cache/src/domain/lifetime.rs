//! How long entries and leases live. Redis counts in milliseconds, so the part of a duration below one is dropped.
use std::time::Duration;

use super::Fault;

/// The longest life of an entry: 7 days.
const ENTRY_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The longest life of a lease: what takes longer than a minute to compute is not for a request to wait for.
const LEASE_MAX: Duration = Duration::from_secs(60);

/// How long an entry is kept, 1 ms to 7 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryLifetime(u64);

/// How long a lease is held at most, 1 ms to 60 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseLifetime(u64);

impl EntryLifetime {
    pub fn parse(lifetime: Duration) -> Result<Self, Fault> {
        milliseconds(lifetime, ENTRY_MAX).map(Self)
    }

    pub fn as_millis(self) -> u64 {
        self.0
    }
}

impl LeaseLifetime {
    pub fn parse(lifetime: Duration) -> Result<Self, Fault> {
        milliseconds(lifetime, LEASE_MAX).map(Self)
    }

    pub fn as_millis(self) -> u64 {
        self.0
    }
}

fn milliseconds(lifetime: Duration, max: Duration) -> Result<u64, Fault> {
    if lifetime > max {
        return Err(Fault::TooLasting { max_s: max.as_secs() });
    }
    match u64::try_from(lifetime.as_millis()) {
        Ok(millis) if millis > 0 => Ok(millis),
        Ok(_) | Err(_) => Err(Fault::TooShort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_parts_of_a_millisecond_are_dropped() {
        let cases = [
            (Duration::ZERO, Err(Fault::TooShort)),
            (Duration::from_micros(999), Err(Fault::TooShort)),
            (Duration::from_millis(1), Ok(1)),
            (Duration::from_micros(1_999), Ok(1)),
            (Duration::from_secs(60), Ok(60_000)),
            (Duration::from_millis(60_001), Err(Fault::TooLasting { max_s: 60 })),
            (Duration::MAX, Err(Fault::TooLasting { max_s: 60 })),
        ];
        for (lifetime, expected) in cases {
            assert_eq!(
                LeaseLifetime::parse(lifetime).map(LeaseLifetime::as_millis),
                expected,
                "{lifetime:?}"
            );
        }
        assert_eq!(EntryLifetime::parse(ENTRY_MAX).map(EntryLifetime::as_millis), Ok(604_800_000));
        assert!(EntryLifetime::parse(ENTRY_MAX + Duration::from_nanos(1)).is_err());
    }
}
