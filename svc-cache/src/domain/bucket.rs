//! Buckets of tokens that fill evenly: what the rate limits of all edges count in.
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Fault;

/// The most bytes of a bucket's key.
pub const BUCKET_KEY_BYTES_MAX: usize = 128;

/// The most takes of one request.
pub const TAKES_MAX: usize = 100;

/// The most tokens of anything.
const TOKENS_MAX: i64 = 1_000_000;

const PERIOD: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);

/// The key of a bucket, 1 to 128 bytes of whatever its maker likes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketKey(String);

impl BucketKey {
    pub fn parse(key: &str) -> Result<Self, Fault> {
        match key.len() {
            0 => Err(Fault::Missing),
            length if length > BUCKET_KEY_BYTES_MAX => Err(Fault::TooLong { max: BUCKET_KEY_BYTES_MAX }),
            _ => Ok(Self(key.to_owned())),
        }
    }

    /// Where the bucket lies in Redis. Every byte is written as two digits: no key can hold a hash tag and so choose its slot,
    /// nor name what is not a bucket.
    pub fn redis_key(&self) -> String {
        let mut name = String::with_capacity("cache:rate:".len() + self.0.len() * 2);
        name.push_str("cache:rate:");
        for byte in self.0.bytes() {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    }
}

/// How large a bucket is and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketLimit {
    tokens_per_period: i64,
    period: Duration,
    burst: i64,
}

impl BucketLimit {
    pub fn tokens_per_period(tokens: i64) -> Result<i64, Fault> {
        within(tokens, TOKENS_MAX)
    }

    pub fn period(period: Duration) -> Result<Duration, Fault> {
        if period > *PERIOD.end() {
            return Err(Fault::TooLasting { max_s: PERIOD.end().as_secs() });
        }
        if period < *PERIOD.start() { Err(Fault::TooShort) } else { Ok(period) }
    }

    pub fn burst(burst: i64) -> Result<i64, Fault> {
        within(burst, TOKENS_MAX)
    }

    /// Takes parts that have been checked.
    pub fn new(tokens_per_period: i64, period: Duration, burst: i64) -> Self {
        Self { tokens_per_period, period, burst }
    }
}

/// Tokens to take from a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    pub key: BucketKey,
    tokens: i64,
    limit: BucketLimit,
}

impl Take {
    /// Refuses more than the bucket ever holds: such a take would be told to come again for ever.
    pub fn new(key: BucketKey, tokens: i64, limit: BucketLimit) -> Result<Self, Fault> {
        Ok(Self { key, tokens: within(tokens, limit.burst)?, limit })
    }

    /// What the script that takes is told: tokens, tokens a period, the period in microseconds, the most there can be.
    pub fn numbers(&self) -> [i64; 4] {
        let Self { tokens, limit, .. } = self;
        let period = i64::try_from(limit.period.as_micros()).unwrap_or(i64::MAX);
        [*tokens, limit.tokens_per_period, period, limit.burst]
    }
}

/// What became of a take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub allowed: bool,
    pub remaining: i64,
    pub retry_after: Duration,
    pub reset_after: Duration,
}

fn within(number: i64, max: i64) -> Result<i64, Fault> {
    if (1..=max).contains(&number) { Ok(number) } else { Err(Fault::OutOfRange { min: 1, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_take_fits_its_bucket() {
        let limit = BucketLimit::new(10, Duration::from_secs(1), 5);
        let take = |tokens| Take::new(BucketKey::parse("k").unwrap(), tokens, limit).map(|t| t.numbers());
        assert_eq!(take(5), Ok([5, 10, 1_000_000, 5]));
        for tokens in [i64::MIN, 0, 6] {
            assert_eq!(take(tokens), Err(Fault::OutOfRange { min: 1, max: 5 }));
        }
        assert_eq!(BucketLimit::burst(1_000_001), Err(Fault::OutOfRange { min: 1, max: 1_000_000 }));
        assert_eq!(BucketLimit::period(Duration::from_micros(999)), Err(Fault::TooShort));
        assert_eq!(
            BucketLimit::period(Duration::from_secs(86_401)),
            Err(Fault::TooLasting { max_s: 86_400 })
        );
    }

    proptest! {
        /// E10: what a key holds shapes neither the slot nor the name, and no two keys meet.
        #[test]
        fn e10_no_key_reaches_outside_its_bucket(a in ".{1,30}", b in ".{1,30}") {
            let (a, b) = (BucketKey::parse(&a).unwrap(), BucketKey::parse(&b).unwrap());
            let name = a.redis_key();
            let digits = name.strip_prefix("cache:rate:").unwrap();
            prop_assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            prop_assert_eq!(a == b, name == b.redis_key());
        }
    }
}
