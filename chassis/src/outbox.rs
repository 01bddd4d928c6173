//! Ships what a service has written down for others: events that were stored in the same transaction as their effect, and now have
//! to reach whoever keeps them, at least once and without holding up the effect. What is in the box survives any crash; here is
//! only the loop that empties it. It knows neither the store nor the receiver.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::drain::Drain;
use crate::metrics::Metrics;

/// Entries shipped at once: one message well below gRPC's 4 MiB.
pub const BATCH_MAX: usize = 200;
/// How long an entry that nobody announced may lie: another replica may have written it and died.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Waits after failures, from the first to the last. Half a minute keeps a dead receiver from costing anything.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_LAST: Duration = Duration::from_secs(30);
/// The longest a round may take. A store or a receiver that hangs is a failure like any other.
const ROUND_LONGEST: Duration = Duration::from_secs(30);

/// Where the entries lie and where they go.
pub trait Outbox: Send + Sync + 'static {
    /// An entry, with what removes it.
    type Entry: Send + Sync;
    /// Why a step failed; goes to the log.
    type Error: Display + Send;

    /// The oldest entries: `max`, or fewer if there are no more. Where they lie in the box by the dozen, what is over `max` may come
    /// along, up to as many again. Replicas may read the same ones: the receiver knows them by their ids.
    fn pending(&self, max: usize) -> impl Future<Output = Result<Vec<Self::Entry>, Self::Error>> + Send;
    /// Hands entries over. When this returns they are kept.
    fn ship(&self, entries: &[Self::Entry]) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Forgets entries that were shipped.
    fn remove(&self, entries: &[Self::Entry]) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Says that there is something to ship; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// To be rung after a commit that put entries into the box. Cheap, and never waits.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// Ships what is in the box and what comes into it until the drain. Returns the bell of the box.
pub fn start(outbox: impl Outbox, drain: &Drain, metrics: &Metrics) -> Bell {
    let bell = Bell::default();
    let (shipped, failures) = (Counter::default(), Counter::default());
    metrics.register("outbox_shipped", "Entries handed over to whoever keeps them", shipped.clone());
    metrics.register("outbox_failures", "Rounds that shipped nothing and will be repeated", failures.clone());
    let (stopping, rung) = (drain.stopping(), bell.0.clone());
    drain.spawn("outbox", async move {
        tokio::pin!(stopping);
        let shipping = empty_for_ever(&outbox, &rung, &shipped, &failures);
        // What is left lies in the store and is shipped by the next process, or by another replica.
        tokio::select! {
            () = &mut stopping => (),
            () = shipping => (),
        }
    });
    bell
}

async fn empty_for_ever(outbox: &impl Outbox, rung: &Notify, shipped: &Counter, failures: &Counter) {
    let mut backoff = Backoff::new(WAIT_FIRST, WAIT_LAST);
    loop {
        match timeout(ROUND_LONGEST, round(outbox)).await {
            Ok(Ok(count)) => {
                backoff.reset();
                shipped.inc_by(count as u64);
                if count < BATCH_MAX {
                    let _ = timeout(LOOK_EVERY, rung.notified()).await;
                }
                continue;
            }
            Ok(Err(error)) => tracing::warn!(%error, "outbox not shipped"),
            Err(_) => tracing::warn!("outbox not shipped in time"),
        }
        failures.inc();
        sleep(backoff.pause()).await;
    }
}

async fn round<O: Outbox>(outbox: &O) -> Result<usize, O::Error> {
    let entries = outbox.pending(BATCH_MAX).await?;
    if !entries.is_empty() {
        outbox.ship(&entries).await?;
        outbox.remove(&entries).await?;
    }
    Ok(entries.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A box in memory, with a receiver that fails as often as it is told.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        lies: Vec<u32>,
        kept: Vec<u32>,
        failures: u32,
    }

    impl Outbox for Memory {
        type Entry = u32;
        type Error = &'static str;

        async fn pending(&self, max: usize) -> Result<Vec<u32>, &'static str> {
            Ok(self.0.lock().unwrap().lies.iter().copied().take(max).collect())
        }

        async fn ship(&self, entries: &[u32]) -> Result<(), &'static str> {
            let mut state = self.0.lock().unwrap();
            if state.failures > 0 {
                state.failures -= 1;
                return Err("away");
            }
            state.kept.extend(entries);
            Ok(())
        }

        async fn remove(&self, entries: &[u32]) -> Result<(), &'static str> {
            self.0.lock().unwrap().lies.retain(|entry| !entries.contains(entry));
            Ok(())
        }
    }

    async fn until(what: impl Fn() -> bool) {
        let looks = async {
            while !what() {
                tokio::task::yield_now().await;
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(600), looks).await.expect("it happens");
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_shipped_in_order_whatever_fails_in_between() {
        let memory = Memory::default();
        memory.0.lock().unwrap().lies = (0..450).collect();
        memory.0.lock().unwrap().failures = 3;
        let drain = Drain::default();
        let bell = start(memory.clone(), &drain, &Metrics::default());
        until(|| memory.0.lock().unwrap().lies.is_empty()).await;
        assert_eq!(memory.0.lock().unwrap().kept, (0..450).collect::<Vec<_>>());
        memory.0.lock().unwrap().lies.push(450);
        bell.ring();
        until(|| memory.0.lock().unwrap().kept.last() == Some(&450)).await;
        drain.stop();
        assert!(drain.finished(Duration::from_secs(5)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_rang_for_is_found_all_the_same() {
        let memory = Memory::default();
        let drain = Drain::default();
        let _bell = start(memory.clone(), &drain, &Metrics::default());
        memory.0.lock().unwrap().lies.push(7);
        until(|| memory.0.lock().unwrap().kept == [7]).await;
        drain.stop();
        assert!(drain.finished(Duration::from_secs(5)).await);
    }
}
