//! Holds whose time is over, for who ends them.

use std::time::Duration;

use sqlx::Row as _;
use uuid::Uuid;

use super::Store;
use crate::error::Error;

/// What there is to end.
#[derive(Debug)]
pub struct Due {
    /// Holds whose time is over by the store's clock, the oldest first.
    pub holds: Vec<Uuid>,
    /// How long it is until the next one's time is over; none if no other hold has an end.
    pub next: Option<Duration>,
}

impl Store {
    /// The holds whose time is over, at most `limit`. One look at the index of pending holds by their end.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn due(&self, limit: usize) -> Result<Due, Error> {
        let rows = sqlx::query(
            "SELECT id, (extract(epoch FROM expires_at - statement_timestamp()) * 1000)::bigint AS left_ms \
             FROM ledger.hold WHERE state = 0 AND expires_at IS NOT NULL ORDER BY expires_at LIMIT $1",
        )
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await
        .map_err(Error::reading)?;
        let mut due = Due { holds: Vec::new(), next: None };
        for row in rows {
            let left: i64 = row.try_get("left_ms").map_err(Error::reading)?;
            match u64::try_from(left) {
                Ok(left) if left > 0 => {
                    due.next = Some(Duration::from_millis(left));
                    break;
                }
                Ok(_) | Err(_) => due.holds.push(row.try_get("id").map_err(Error::reading)?),
            }
        }
        Ok(due)
    }
}
