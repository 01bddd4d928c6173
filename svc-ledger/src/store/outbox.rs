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

    /// The oldest events.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn pending(&self, max: usize) -> Result<Vec<Stored>, sqlx::Error> {
        if self.pool.size() == 0 {
            // It will connect now, with the password as it stands.
            let options = connect::outbox(&self.config);
            self.pool.set_connect_options(options.map_err(|error| sqlx::Error::Configuration(error.into()))?);
        }
        sqlx::query("SELECT id, call, reason, resource FROM ledger.audit_outbox ORDER BY id LIMIT $1")
            .bind(i64::try_from(max).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(stored)
            .collect()
    }

    /// Forgets events that are kept elsewhere.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn remove(&self, ids: &[Uuid]) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM ledger.audit_outbox WHERE id = ANY ($1)")
            .bind(ids)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn stored(row: &PgRow) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        id: row.try_get("id")?,
        call: row.try_get("call")?,
        reason: row.try_get("reason")?,
        resource: row.try_get("resource")?,
    })
}
