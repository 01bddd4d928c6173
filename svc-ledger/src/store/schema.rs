//! The schema: migrations, the check that the database is what this binary expects, and partitions made ahead. Migrations belong
//! to the owner role and only ever add; a binary runs on a schema that is newer than its own, so that replicas can be replaced
//! one by one.

use std::time::Duration;

use anyhow::Context as _;
use chassis::drain::Drain;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{Connection as _, PgConnection};

use super::connect;
use crate::config::Store;

/// The migrations of this binary. Those of a newer one that ran before are no fault.
fn migrations() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    migrator
}

/// Partitions are made this many months ahead: a quarter leaves time to notice that making them fails.
const MONTHS_AHEAD: i32 = 3;
/// How often they are looked after.
const PARTITIONS_EVERY: Duration = Duration::from_secs(6 * 3600);

/// Brings the schema up to date and admits the service role. An advisory lock, taken by the driver, keeps replicas that start
/// together from migrating together.
pub(super) async fn migrate(owner: &PgConnectOptions, service_role: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect_with(owner).await.context("cannot connect as the owner")?;
    // `run` over `Acquire` has a lifetime that no `Send` future can meet; this is what it calls.
    migrations().run_direct(None, &mut connection, false).await?;
    sqlx::query("SELECT ledger.admit_service($1::text::name)")
        .bind(service_role)
        .execute(&mut connection)
        .await?;
    part(connection).await;
    Ok(())
}

/// Says goodbye. What was to be done is done, and committed: a server that has hung up by the time the goodbye is said (TLS says it
/// twice) has failed nothing.
async fn part(connection: PgConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the store hung up first");
    }
}

/// Refuses a database that lacks a migration of this binary.
pub(super) async fn check(pool: &PgPool) -> anyhow::Result<()> {
    let newest = migrations().iter().map(|migration| migration.version).max().unwrap_or_default();
    let applied: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM public._sqlx_migrations WHERE success")
            .fetch_one(pool)
            .await
            .context(
                "the database has no schema of the ledger; store.migrate_url lets the service make it",
            )?;
    anyhow::ensure!(
        applied >= Some(newest),
        "the schema is at version {} and the service needs {newest}",
        applied.unwrap_or_default()
    );
    Ok(())
}

/// Makes partitions once, so that the first row has its place, and from then on every few hours.
pub(super) async fn keep_partitions(config: &Store, drain: &Drain) -> anyhow::Result<()> {
    look_after_partitions(config).await.context("cannot make partitions")?;
    let (config, stopping) = (config.clone(), drain.stopping());
    drain.spawn("partitions", async move {
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(PARTITIONS_EVERY) => {}
            }
            if let Err(error) = look_after_partitions(&config).await {
                tracing::error!(
                    error = format!("{error:#}"),
                    "partitions not made; there is a quarter's reserve"
                );
            }
        }
    });
    Ok(())
}

async fn look_after_partitions(config: &Store) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect_with(&connect::writer(config)?).await?;
    add_partitions(&mut connection).await?;
    part(connection).await;
    Ok(())
}

/// Makes the partitions that are missing.
pub(super) async fn add_partitions(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let made: i32 = sqlx::query_scalar("SELECT ledger.add_partitions($1)")
        .bind(MONTHS_AHEAD)
        .fetch_one(connection)
        .await?;
    if made > 0 {
        tracing::info!(made, "partitions made");
    }
    Ok(())
}

/// Whether a row has found no partition: a check was violated that no table has by name.
pub(super) fn lacks_partition(error: &sqlx::Error) -> bool {
    let database = error.as_database_error();
    database
        .is_some_and(|error| error.code().is_some_and(|code| code == "23514") && error.constraint().is_none())
}
