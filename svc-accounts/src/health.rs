//! Whether the service is ready: while the table answers. A few misses in a row are needed to say no, because taking a
//! replica out costs more than a slow second, and one answer to say yes.

use std::future::Future;
use std::time::Duration;

use chassis::Health;

use crate::store::Store;

/// The condition of readiness.
pub const STORE: &str = "store";

/// How many misses in a row mean that it is away.
const MISSES_MAX: u32 = 3;

/// Keeps the readiness of the store up to date, asking every `period`, until `stopping`.
pub async fn watch(store: Store, health: Health, period: Duration, stopping: impl Future<Output = ()>) {
    let rounds = async {
        let mut misses = 0;
        loop {
            tokio::time::sleep(period).await;
            match store.probe().await {
                Ok(()) => {
                    misses = 0;
                    health.set_ready(STORE, true);
                }
                Err(error) => {
                    misses += 1;
                    tracing::warn!(
                        error = chassis::error::chain(&error),
                        misses,
                        "the store does not answer"
                    );
                    if misses >= MISSES_MAX {
                        health.set_ready(STORE, false);
                    }
                }
            }
        }
    };
    tokio::select! {
        () = rounds => {}
        () = stopping => {}
    }
}
