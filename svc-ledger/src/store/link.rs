//! The writer's connection and its transaction. Transactions are opened and closed by plain statements rather than by the
//! driver's guard, because COMMIT AND CHAIN saves the next batch a round trip while the queue is not empty.

use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{connect, nodelay, schema};
use crate::config::Store;

/// A connection to a server that writes, and durably.
#[derive(Debug)]
pub(super) struct Link {
    connection: PgConnection,
    in_transaction: bool,
}

impl Link {
    /// Connects, with the password as it stands and to wherever the name leads now. A server that would acknowledge a commit before
    /// it is on disk is refused, and so is one that takes no writes: see [`Link::check_writable`].
    pub(super) async fn connect(config: &Store) -> Result<Self, sqlx::Error> {
        let options = connect::writer(config).map_err(|error| sqlx::Error::Configuration(error.into()))?;
        let connection = PgConnection::connect_with(&options).await?;
        if let Err(error) = nodelay::set(options.get_port()) {
            // Slower, and otherwise right.
            tracing::warn!(%error, "cannot turn off the delay of small packets");
        }
        let mut link = Self { connection, in_transaction: false };
        link.check_writable().await?;
        let durable: bool = sqlx::query_scalar(
            "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off'",
        )
        .fetch_one(&mut link.connection)
        .await?;
        if durable { Ok(link) } else { Err(not_a_writer("the server does not commit durably")) }
    }

    /// Refuses a standby, because after a failover the name may still lead there, and a primary that was told to take no writes, as
    /// some providers do before a disk is full.
    async fn check_writable(&mut self) -> Result<(), sqlx::Error> {
        let closed: bool = sqlx::query_scalar("SELECT current_setting('transaction_read_only')::boolean")
            .fetch_one(&mut self.connection)
            .await?;
        if closed { Err(not_a_writer("the server takes no writes")) } else { Ok(()) }
    }

    /// Makes sure that a transaction is open. READ COMMITTED is what gives each statement under the head lock a fresh snapshot. That
    /// it writes is not said: a server that takes no writes shall refuse them (25006), and a standby would answer READ WRITE with
    /// "not supported".
    pub(super) async fn begin(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        if !self.in_transaction {
            self.connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
            self.in_transaction = true;
        }
        Ok(&mut self.connection)
    }

    /// Commits; `more` opens the next transaction in the same round trip.
    pub(super) async fn commit(&mut self, more: bool) -> Result<(), sqlx::Error> {
        self.connection.execute(if more { "COMMIT AND CHAIN" } else { "COMMIT" }).await?;
        self.in_transaction = more;
        Ok(())
    }

    /// Gives the transaction up.
    pub(super) async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("ROLLBACK").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Ends an idle transaction and asks whether the server is there and takes writes.
    pub(super) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        if self.in_transaction {
            self.rollback().await?;
        }
        self.check_writable().await
    }

    /// Makes the partitions that are missing, outside of a transaction.
    pub(super) async fn add_partitions(&mut self) -> Result<(), sqlx::Error> {
        schema::add_partitions(&mut self.connection).await
    }
}

/// Of a server that answers and must not be written to: to us it is away.
fn not_a_writer(why: &'static str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other(why))
}
