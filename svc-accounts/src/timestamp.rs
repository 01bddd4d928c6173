//! Points in time between the contracts, which have nanoseconds, and the domain, which has milliseconds.

use prost_types::Timestamp;

use crate::domain::UnixMillis;

const NANOS_PER_MILLI: i32 = 1_000_000;
/// 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, as google.protobuf.Timestamp has it.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Why a timestamp is no point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimestamp {
    /// There is none.
    #[error("is required")]
    Missing,
    /// Outside what google.protobuf.Timestamp may hold.
    #[error("must be a time from the year 1 to the year 9999")]
    OutOfRange,
}

/// As the contracts have it.
pub fn of(time: UnixMillis) -> Timestamp {
    let millis = i32::try_from(time.get().rem_euclid(1_000)).unwrap_or_default();
    Timestamp { seconds: time.get().div_euclid(1_000), nanos: millis * NANOS_PER_MILLI }
}

/// As the domain has it. What is finer than a millisecond is cut off, so that nothing lasts longer than was asked for.
pub fn read(timestamp: Option<Timestamp>) -> Result<UnixMillis, InvalidTimestamp> {
    let Timestamp { seconds, nanos } = timestamp.ok_or(InvalidTimestamp::Missing)?;
    if !SECONDS.contains(&seconds) || !(0..1_000 * NANOS_PER_MILLI).contains(&nanos) {
        return Err(InvalidTimestamp::OutOfRange);
    }
    Ok(UnixMillis::new(seconds * 1_000 + i64::from(nanos / NANOS_PER_MILLI)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_become_seconds_and_nanoseconds_and_come_back() {
        for (millis, seconds, nanos) in [(0, 0, 0), (1_234, 1, 234_000_000), (-1, -1, 999_000_000)] {
            let time = UnixMillis::new(millis);
            assert_eq!(of(time), Timestamp { seconds, nanos }, "{millis}");
            assert_eq!(read(Some(of(time))), Ok(time), "{millis}");
        }
    }

    #[test]
    fn what_is_finer_than_a_millisecond_is_cut_off() {
        let time = Timestamp { seconds: 1, nanos: 234_999_999 };
        assert_eq!(read(Some(time)), Ok(UnixMillis::new(1_234)));
    }

    #[test]
    fn a_timestamp_beyond_its_range_is_refused() {
        assert_eq!(read(None), Err(InvalidTimestamp::Missing));
        for (seconds, nanos) in
            [(i64::MAX, 0), (i64::MIN, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000), (0, i32::MIN)]
        {
            let time = Timestamp { seconds, nanos };
            assert_eq!(read(Some(time)), Err(InvalidTimestamp::OutOfRange), "{seconds} {nanos}");
        }
    }
}
