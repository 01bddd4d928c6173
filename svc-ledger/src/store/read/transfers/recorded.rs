//! What many rows of the journal made or changed, read at once: a batch that is sent again is answered by one statement.

use std::collections::HashMap;

use sqlx::Row as _;
use uuid::Uuid;

use super::{MAKING, as_left};
use crate::domain::verdict::Transfer;
use crate::error::Error;
use crate::store::Store;

impl Store {
    /// The transfers that rows of the journal made or changed, each as its row left it, for whoever gave the commands behind them.
    /// They are found by the rows.
    ///
    /// # Errors
    /// When one of the rows is not there; [`Error::OutcomeUnknown`] when they cannot be read, for the commands are done already.
    pub async fn transfers_of_rows(&self, rows: &[Uuid]) -> Result<HashMap<Uuid, Transfer>, Error> {
        if rows.is_empty() {
            return Ok(HashMap::new());
        }
        let found = sqlx::query(concat!("SELECT o.id AS row_id, ", left!(), "WHERE o.id = ANY ($1)"))
            .bind(rows)
            .bind(MAKING)
            .fetch_all(&self.pool)
            .await
            .map_err(Error::answering)?;
        let transfers = found.iter().map(|row| Ok((row.try_get("row_id")?, as_left(row)?)));
        let transfers: HashMap<_, _> = transfers.collect::<Result<_, _>>().map_err(Error::answering)?;
        let all = rows.iter().all(|row| transfers.contains_key(row));
        if all { Ok(transfers) } else { Err(Error::Corrupt("outcome")) }
    }
}
