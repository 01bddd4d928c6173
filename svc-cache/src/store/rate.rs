//! The buckets of the edges' rate limits. Each take is a call of its own with one key, so a cluster may keep each bucket where
//! it likes; the calls of one request travel together, in one round trip.
use std::time::Duration;

use redis::{ErrorKind, ServerErrorKind};

use super::{Store, StoreError};
use crate::domain::{Take, Taken};

/// What the script answers: whether taken, tokens left, and in microseconds how long to wait and when the bucket is full.
type Answer = (bool, i64, u64, u64);

impl Store {
    /// Takes from each bucket, or not, each for itself. The answer has one item for each take, in their order.
    pub async fn take(&self, takes: &[Take]) -> Result<Vec<Taken>, StoreError> {
        let script = &self.scripts.take;
        let mut calls = redis::Pipeline::with_capacity(takes.len());
        for take in takes {
            let mut call = script.key(take.key.redis_key());
            for number in take.numbers() {
                call.arg(number);
            }
            calls.invoke_script(&call);
        }
        let answers: Vec<Answer> = self
            .connection
            .run(async |mut redis| match calls.query_async(&mut redis).await {
                // A Redis that has just started, or whose scripts were flushed, has taken nothing yet.
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    script.load_async(&mut redis).await?;
                    calls.query_async(&mut redis).await
                }
                answered => answered,
            })
            .await?;
        let taken = |(allowed, remaining, wait, full): Answer| Taken {
            allowed,
            remaining,
            retry_after: Duration::from_micros(wait),
            reset_after: Duration::from_micros(full),
        };
        Ok(answers.into_iter().map(taken).collect())
    }
}
