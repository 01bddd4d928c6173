//! The writer's connection and its transaction. Transactions are opened and closed by plain statements rather than by the
//! driver's guard, because COMMIT AND CHAIN saves the next batch a round trip while the queue is not empty.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::nodelay;

/// A connection to a server that writes, and durably.
#[derive(Debug)]
pub(super) struct Link {
    connection: PgConnection,
    in_transaction: bool,
}

impl Link {
    /// Connects. A standby is refused (after a failover the name may still lead there), and so is a server that would
    /// acknowledge a commit before it is on disk.
    pub(super) async fn connect(options: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        let mut connection = PgConnection::connect_with(options).await?;
        if let Err(error) = nodelay::set(options.get_port()) {
            // Slower, and otherwise right.
            tracing::warn!(%error, "cannot turn off the delay of small packets");
        }
        let (standby, durable): (bool, bool) = sqlx::query_as(
            "SELECT pg_is_in_recovery(), \
             current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off'",
        )
        .fetch_one(&mut connection)
        .await?;
        if standby || !durable {
            let why = if standby { "the server is a standby" } else { "the server does not commit durably" };
            return Err(sqlx::Error::Io(std::io::Error::other(why)));
        }
        Ok(Self { connection, in_transaction: false })
    }

    /// Makes sure that a transaction is open. READ COMMITTED is what gives each statement under the head lock a fresh snapshot.
    pub(super) async fn begin(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        if !self.in_transaction {
            self.connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
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

    /// Ends an idle transaction and asks whether the server is there.
    pub(super) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        if self.in_transaction {
            self.rollback().await?;
        }
        self.connection.ping().await
    }
}
