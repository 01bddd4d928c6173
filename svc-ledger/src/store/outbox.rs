//! The outbox of audit events: batches put them in, the shipper reads the oldest and removes what has arrived. Replicas may ship
//! the same event twice; its keeper knows it by its id. There is no lock between them: one would be held across a call to
//! another service, and what it saved is a duplicate now and then.

use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use uuid::Uuid;

use super::connect;
use crate::config;

/// An event as it lies in the box.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The row it lies in, with others of its batch.
    pub row: i64,
    /// Its id, whose leading bits are its time.
    pub id: Uuid,
    /// Call and principal.
    pub call: Vec<u8>,
    /// Why it was refused; none if it was done.
    pub reason: Option<String>,
    /// What it touched.
    pub resource: Option<String>,
}

/// The box. Its one connection is its own, so that shipping neither waits for readers nor keeps them waiting.
#[derive(Clone, Debug)]
pub struct Outbox {
    pool: PgPool,
    config: config::Store,
}

impl Outbox {
    /// The box of the ledger; it connects when it is first looked into.
    ///
    /// # Errors
    /// When the configuration names no server or no password.
    pub fn new(config: &config::Store) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(config.timeout())
            .connect_lazy_with(connect::outbox(config)?);
        Ok(Self { pool, config: config.clone() })
    }

    /// The oldest events, in whole rows: `max` of them or somewhat more, unless there are fewer.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn pending(&self, max: usize) -> Result<Vec<Stored>, sqlx::Error> {
        if self.pool.size() == 0 {
            // It will connect now, with the password as it stands.
            let options = connect::outbox(&self.config);
            self.pool.set_connect_options(options.map_err(|error| sqlx::Error::Configuration(error.into()))?);
        }
        sqlx::query(
            "SELECT b.no, e.id, e.call, e.reason, e.resource FROM \
             (SELECT o.*, sum(o.n) OVER (ORDER BY o.no) AS total \
              FROM (SELECT * FROM ledger.audit_outbox ORDER BY no LIMIT $1) o) b \
             CROSS JOIN LATERAL unnest(b.ids, b.calls, b.reasons, b.resources) \
              WITH ORDINALITY e (id, call, reason, resource, place) \
             WHERE b.total - b.n < $1 ORDER BY b.no, e.place",
        )
        .bind(i64::try_from(max).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(stored)
        .collect()
    }

    /// Forgets rows whose events are kept elsewhere.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn remove(&self, rows: &[i64]) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM ledger.audit_outbox WHERE no = ANY ($1)")
            .bind(rows)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn stored(row: &PgRow) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        row: row.try_get("no")?,
        id: row.try_get("id")?,
        call: row.try_get("call")?,
        reason: row.try_get("reason")?,
        resource: row.try_get("resource")?,
    })
}
