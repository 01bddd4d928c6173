//! Ends holds whose time is over. Each replica proposes it by itself; the judge, whose clock is the store's, ends a hold never early
//! and only once, so that replicas need not agree who does it. What is late here costs nobody money: a hold whose time is over can
//! be neither posted nor increased, it only still takes room in its accounts.

use std::time::Duration;

use chassis::backoff::Backoff;
use chassis::drain::Drain;

use crate::domain::command::{Action, FailureMode, Unit};
use crate::error::Error;
use crate::own_command;
use crate::store::Store;

/// Holds ended at once: a small part of a batch, so that callers' writes are not held up.
const BATCH_MAX: usize = 200;
/// How late a hold can be ended that was made since the last look, with an end sooner than all others.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest pause between two looks: a hold whose end is a millisecond away is not asked for a thousand times.
const PAUSE_SHORTEST: Duration = Duration::from_millis(20);
/// Pauses while the store is away, from the first to the last.
const WAIT_FIRST: Duration = Duration::from_millis(200);
const WAIT_LAST: Duration = Duration::from_secs(10);

/// Ends holds until the drain.
pub fn start(store: Store, drain: &Drain) {
    let stopping = drain.stopping();
    drain.spawn("expiry", async move {
        tokio::select! {
            () = stopping => (),
            () = sweep_for_ever(&store) => (),
        }
    });
}

async fn sweep_for_ever(store: &Store) {
    let mut backoff = Backoff::new(WAIT_FIRST, WAIT_LAST);
    loop {
        let pause = match sweep(store).await {
            Ok(pause) => {
                backoff.reset();
                pause
            }
            Err(error) => {
                tracing::warn!(error = %error, "holds whose time is over cannot be ended");
                backoff.pause()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Ends what is due, and answers how long there is nothing to do.
async fn sweep(store: &Store) -> Result<Duration, Error> {
    let due = store.due(BATCH_MAX).await?;
    let is_full = due.holds.len() == BATCH_MAX;
    if !due.holds.is_empty() {
        let commands = due.holds.into_iter().map(|hold| own_command(Action::Expire(hold))).collect();
        store.submit_unit(Unit { commands, mode: FailureMode::Continue }).await?;
    }
    if is_full {
        return Ok(PAUSE_SHORTEST);
    }
    Ok(due.next.unwrap_or(LOOK_EVERY).clamp(PAUSE_SHORTEST, LOOK_EVERY))
}
