//! How the ledger connects: always by TLS with the certificate's name checked, with bounds on every statement, and with nothing
//! of a statement logged.

use std::str::FromStr as _;

use anyhow::Context as _;
use chassis::config::SecretFile;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::config::Store;

/// How long a writer may hold the head without sending anything: a frozen process must not stop the other replicas.
const HEAD_HELD_MAX: &str = "5s";

/// The session of the writer. The planner is forbidden everything but lookups by key, because it cannot know the length of an
/// array and would otherwise, at some size of batch, fall off a cliff into scans of whole tables.
const WRITER_SETTINGS: [(&str, &str); 7] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    // Of a table that it has seen small, it would read any index that has the columns, from end to end.
    ("enable_indexonlyscan", "off"),
    ("jit", "off"),
    ("idle_in_transaction_session_timeout", HEAD_HELD_MAX),
];

/// Connections of the service role that only read.
pub(super) fn reader(config: &Store) -> anyhow::Result<PgConnectOptions> {
    let options = options(config, "url", &config.url, Some(&config.password_file))?;
    Ok(options
        .application_name("svc-ledger/read")
        .options([("default_transaction_read_only", "on"), ("jit", "off")]))
}

/// The connection of the service role that writes.
pub(super) fn writer(config: &Store) -> anyhow::Result<PgConnectOptions> {
    let options = options(config, "url", &config.url, Some(&config.password_file))?;
    Ok(options.application_name("svc-ledger/write").options(WRITER_SETTINGS))
}

/// The connection of the service role that empties the outbox. Its statements are lookups by key like the writer's.
pub(super) fn outbox(config: &Store) -> anyhow::Result<PgConnectOptions> {
    Ok(writer(config)?.application_name("svc-ledger/outbox"))
}

/// The connection of the owner role, if the service may migrate.
pub(super) fn owner(config: &Store) -> anyhow::Result<Option<PgConnectOptions>> {
    let Some(url) = &config.migrate_url else { return Ok(None) };
    let options = options(config, "migrate_url", url, config.migrate_password_file.as_ref())?;
    // A migration may take its time, but must not wait for ever for another replica's.
    Ok(Some(options.application_name("svc-ledger/migrate").options([("statement_timeout", "10min")])))
}

fn options(
    config: &Store,
    key: &str,
    url: &str,
    password_file: Option<&SecretFile>,
) -> anyhow::Result<PgConnectOptions> {
    // The driver's error would repeat the URL.
    let mut options = PgConnectOptions::from_str(url)
        .map_err(|_| anyhow::anyhow!("store.{key} is not a PostgreSQL URL"))?;
    if let Some(file) = password_file {
        let password = file.read().with_context(|| format!("store.{key}: no password"))?;
        options = options.password(password.expose());
    }
    if let Some(ca) = &config.ca {
        options = options.ssl_root_cert(ca);
    }
    Ok(options
        .ssl_mode(PgSslMode::VerifyFull)
        .options([("statement_timeout", config.timeout_ms.to_string())])
        .disable_statement_logging())
}
