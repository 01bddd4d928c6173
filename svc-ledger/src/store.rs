//! The ledger's store: PostgreSQL through sqlx. Writes go through one queue into batches ([`writer`]), each one transaction under
//! the head lock ([`batch`]); reads use a pool of their own ([`read`]). Statements are fixed texts with bound values, so that
//! neither a log of the server nor one of ours can hold what a caller sent.

mod batch;
mod chain;
mod connect;
mod copy;
pub mod expiry;
pub mod heads;
mod link;
mod nodelay;
mod numbers;
pub mod outbox;
pub mod read;
mod rows;
mod schema;
mod tail;
pub mod verify;
mod writer;

use std::sync::Arc;

use anyhow::Context as _;
use chassis::drain::Drain;
use chassis::health::Health;
use chassis::metrics::Metrics;
use chassis::outbox::Bell;
use sqlx::postgres::{PgConnectOptions, PgPool};
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::writer::{Judging, Room, Series};
use crate::config;
use crate::domain::command::{Command, Unit};
use crate::domain::verdict::Verdict;
use crate::error::Error;

/// The store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    writer: Arc<writer::Writer>,
    end: Arc<watch::Receiver<i64>>,
}

impl Store {
    /// Migrates if it may, checks the schema and the end of the hash chain, and starts the writer.
    ///
    /// # Errors
    /// When the server cannot be reached, the schema is not this binary's, or the chain does not end where the head says.
    pub async fn start(
        config: &config::Store,
        drain: &Drain,
        health: &Health,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        health.set_ready("store", false);
        if let Some(owner) = connect::owner(config)? {
            schema::migrate(&owner, &config.service_role).await.context("cannot migrate the schema")?;
        }
        let pool = connect::readers(config, drain).await.context("cannot connect to the store")?;
        schema::check(&pool).await?;
        schema::keep_partitions(config, drain).await?;
        let writer = Arc::new(writer::Writer::start(config, drain, health, metrics)?);
        let store = Self { writer, end: Arc::new(tail::start(pool.clone(), drain)), pool };
        store.verify_chain(None).await.context("the hash chain does not end where the head says")?;
        Ok(store)
    }

    /// Where the journal ends, as it moves. It is looked at only while somebody holds one of these.
    #[must_use]
    pub fn end(&self) -> watch::Receiver<i64> {
        (*self.end).clone()
    }

    /// Where the ledger is read, for whoever reads all of it.
    #[must_use]
    pub fn source(&self) -> PgConnectOptions {
        self.pool.connect_options().as_ref().clone()
    }

    /// Rings `bell` from now on whenever a batch has put events into the outbox.
    pub fn announce(&self, bell: Bell) {
        self.writer.announce(bell);
    }

    /// Resolves when the process is to stop. Whoever would write for long ends then; what waits is still judged.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.writer.stopping()
    }

    /// Has a command judged and, unless refused, committed. An `Ok` is durable, whatever the verdict.
    ///
    /// # Errors
    /// [`Error::QueueFull`] and [`Error::NotDone`] when nothing was done, [`Error::OutcomeUnknown`] when that cannot be said.
    pub async fn submit(&self, command: Command) -> Result<Verdict, Error> {
        let mut verdicts = self.writer.submit(command.into(), None).await?;
        verdicts.pop().ok_or(Error::Corrupt("verdict"))
    }

    /// Has several commands of one caller judged together and, where they are not refused, committed: one verdict each, in order.
    ///
    /// # Errors
    /// As [`Store::submit`], of all of them.
    pub async fn submit_unit(&self, unit: Unit) -> Result<Vec<Verdict>, Error> {
        self.writer.submit(unit, None).await
    }

    /// As [`Store::submit_unit`]. While the store is away it is tried again only as long as the caller can still be answered before
    /// `by`, and not after.
    ///
    /// # Errors
    /// As [`Store::submit`], of all of them.
    pub async fn submit_by(&self, unit: Unit, by: Instant) -> Result<Vec<Verdict>, Error> {
        self.writer.submit(unit, Some(by)).await
    }

    /// Waits until so many commands of a series find room among those that wait. Giving the wait up loses only the place in line.
    ///
    /// # Errors
    /// [`Error::NotDone`] when the store is away.
    pub async fn room(&self, commands: usize) -> Result<Room<'_>, Error> {
        self.writer.room(commands).await
    }
}
