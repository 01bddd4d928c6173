//! How the ledger connects: always by TLS with the certificate's name checked, with bounds on every statement, and with nothing
//! of a statement logged. Passwords are read anew for each connection of the writer and every few seconds for those of the pool, so
//! that one that was changed needs no restart.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chassis::config::SecretFile;
use chassis::drain::Drain;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::time::timeout;

use crate::config::Store;

/// How long a writer may hold the head without sending anything: a frozen process must not stop the other replicas. Between two
/// messages of a batch lies only its judgement, which takes milliseconds.
const HEAD_HELD_MAX: &str = "2s";
/// How long a writer waits for the head before it tries anew. Longer than [`HEAD_HELD_MAX`], so that whoever holds it for nothing is
/// put out first; shorter than a statement may take, so that a head that is taken is never mistaken for a server that is away.
const HEAD_AWAITED_MAX: &str = "3s";

/// The planner is forbidden everything but lookups by key, because it cannot know the length of an array and would otherwise, at some
/// size of batch, fall off a cliff into scans of whole tables. A plan is made once and kept: with the journal in dozens of partitions,
/// making one for each statement takes longer than the statement.
const LOOKUPS: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// The session of the writer, besides [`LOOKUPS`].
const WRITER_SETTINGS: [(&str, &str); 3] = [
    // Of a table that it has seen small, it would read any index that has the columns, from end to end.
    ("enable_indexonlyscan", "off"),
    ("idle_in_transaction_session_timeout", HEAD_HELD_MAX),
    ("lock_timeout", HEAD_AWAITED_MAX),
];

/// How the server finds out that a client's machine is gone, which else takes it two hours: what was sent is acknowledged by the
/// other side within ten seconds, and a silent connection is probed as fast. The driver does not let us set the same on our side of
/// the connection; there every statement has a deadline instead, and every connection of the pool is tried before it is used again.
const SESSION_SETTINGS: [(&str, &str); 5] = [
    ("tcp_user_timeout", "10s"),
    ("tcp_keepalives_idle", "5s"),
    ("tcp_keepalives_interval", "2s"),
    ("tcp_keepalives_count", "3"),
    // A statement that waits, for the head above all, ends when nobody waits for it any more.
    ("client_connection_check_interval", "2s"),
];

/// How long a connection of the pool may take to say that it is alive.
const ALIVE_WITHIN: Duration = Duration::from_secs(1);
/// How often the password file is read for the connections that the pool will make.
const PASSWORD_EVERY: Duration = Duration::from_secs(5);

/// The pool of those who read.
pub(super) async fn readers(config: &Store, drain: &Drain) -> anyhow::Result<PgPool> {
    let config = Arc::new(config.clone());
    let (released, idle) = (Arc::clone(&config), Arc::clone(&config));
    let pool = PgPoolOptions::new()
        .max_connections(config.connections)
        .acquire_timeout(config.timeout())
        // A reader that gives up leaves its connection with a statement under way. The driver waits for that without a bound before
        // the connection may be used again, and it counts as used so long: a few silent ones, and nobody can read any more, for as
        // long as TCP hopes, which is a quarter of an hour. So it is asked first, with a bound. This takes the place of asking before
        // the next use.
        .test_before_acquire(false)
        .after_release(move |connection, _| {
            let config = Arc::clone(&released);
            Box::pin(async move { Ok(is_sound(connection, &config).await) })
        })
        // Connections survive a quiet night; a server that went away meanwhile is noticed before use.
        .before_acquire(move |connection, facts| {
            let config = Arc::clone(&idle);
            Box::pin(async move { Ok(facts.idle_for < ALIVE_WITHIN || is_sound(connection, &config).await) })
        })
        .connect_with(reader(&config)?)
        .await?;
    let (renewed, stopping) = (pool.clone(), drain.stopping());
    drain.spawn("password", async move {
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(PASSWORD_EVERY) => {}
            }
            match reader(&config) {
                Ok(options) => renewed.set_connect_options(options),
                Err(error) => tracing::error!(error = format!("{error:#}"), "the password cannot be read"),
            }
        }
    });
    Ok(pool)
}

/// Whether a connection of the pool can be used. One that is silent is replaced in its place: the driver would say goodbye to it by
/// TLS and wait for the answer. The old one is dropped, which closes its socket and asks nobody.
async fn is_sound(connection: &mut PgConnection, config: &Store) -> bool {
    loop {
        if let Ok(answer) = timeout(ALIVE_WITHIN, connection.ping()).await {
            return answer.is_ok();
        }
        let Ok(options) = reader(config) else { continue };
        match timeout(config.timeout(), PgConnection::connect_with(&options)).await {
            Ok(Ok(fresh)) => *connection = fresh,
            // The next look is a second's wait.
            Ok(Err(error)) => tracing::warn!(error = %error, "a silent connection cannot be replaced"),
            Err(_) => tracing::warn!("the store does not answer"),
        }
    }
}

/// Connections of the service role that only read, by key.
fn reader(config: &Store) -> anyhow::Result<PgConnectOptions> {
    Ok(verifier(config)?.application_name("svc-ledger/read").options(LOOKUPS))
}

/// The connection of the service role that reads all there is.
pub(super) fn verifier(config: &Store) -> anyhow::Result<PgConnectOptions> {
    let options = options(config, "url", &config.url, Some(&config.password_file))?;
    Ok(options
        .application_name("svc-ledger/verify")
        .options([("default_transaction_read_only", "on"), ("jit", "off")]))
}

/// The connection of the service role that writes.
pub(super) fn writer(config: &Store) -> anyhow::Result<PgConnectOptions> {
    let options = options(config, "url", &config.url, Some(&config.password_file))?;
    Ok(options.application_name("svc-ledger/write").options(LOOKUPS).options(WRITER_SETTINGS))
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
        .options(SESSION_SETTINGS)
        .disable_statement_logging())
}
