//! The box of audit events that have not reached their keeper. An event lies beside what it tells of, in the same slot, so that
//! the script that has the effect writes it too: neither is there without the other. What an event says is bytes here.
use super::{Store, StoreError};

/// The key, in the slot of the revocations.
pub(super) const EVENTS: &str = "cache:{revocations}:events";

/// How many may lie there when another comes that had no effect. A keeper that is away must not let refusals fill Redis.
const REFUSALS_MAX: usize = 10_000;

impl Store {
    /// Leaves the event of a call that had no effect. Says whether there was room for it.
    pub async fn leave(&self, event: &[u8]) -> Result<bool, StoreError> {
        let mut call = self.scripts.leave.key(EVENTS);
        call.arg(event).arg(REFUSALS_MAX);
        self.run(&call).await
    }

    /// The oldest events.
    pub async fn events(&self, max: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut command = redis::cmd("ZRANGE");
        command.arg(EVENTS).arg(0).arg(max.saturating_sub(1));
        self.connection.run(async |mut redis| command.query_async(&mut redis).await).await
    }

    /// Forgets events that have reached their keeper.
    pub async fn forget(&self, events: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut command = redis::cmd("ZREM");
        command.arg(EVENTS).arg(events);
        self.connection.run(async |mut redis| command.query_async::<()>(&mut redis).await).await
    }
}
