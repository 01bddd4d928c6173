//! Where a transfer's cost goes: `cargo bench -p e2e --bench ledger -- profile [in_flight=2000] [seconds=5]` prints, of transfers by
//! the Rust API, the server's time by statement (`pg_stat_statements`, those inside functions included) and the log by table and
//! index (`pg_walinspect`). Slower than without, so its rates are no figures.

use std::time::Duration;

use sqlx::{Executor as _, PgConnection};

use crate::load::{Watched, measure};
use crate::postgres::{Clock, Postgres};
use crate::spread::Spread;
use crate::{Arguments, Ledger, api};

const DATABASE: &str = "profile";
const SETTINGS: [&str; 3] = [
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.track=all",
    "pg_stat_statements.max=1000",
];

pub async fn run(arguments: &Arguments) {
    let in_flight = arguments.number("in_flight").unwrap_or(2_000);
    let time = Duration::from_secs(arguments.number("seconds").unwrap_or(5) as u64);
    let reference = if arguments.has("text") { api::REFERENCE } else { "" };
    let server = Postgres::start(&Clock::Real, &SETTINGS).await;
    server.create_database(DATABASE).await;
    let ledger = Ledger::start(&server.config(DATABASE)).await;
    if !arguments.has("unshipped") {
        ledger.ship(&server.config(DATABASE));
    }
    let mut root = server.superuser(DATABASE).await;
    for statement in [
        "CREATE EXTENSION pg_stat_statements",
        "CREATE EXTENSION pg_walinspect",
        "VACUUM ANALYZE",
        "CHECKPOINT",
    ] {
        root.execute(statement).await.unwrap();
    }
    let spread = if arguments.has("hot") { Spread::Hot } else { Spread::Uniform };
    let transfers = ledger.transfers(spread, reference);
    root.execute("SELECT pg_stat_statements_reset()").await.unwrap();
    let before = head(&mut root).await;
    let service = Some(std::process::id());
    let mut other = server.superuser(DATABASE).await;
    let mut watched = Watched { server: &server, root: &mut other, service, edge: None };
    let measured = measure(&transfers, in_flight, time, &mut watched).await;
    let after = head(&mut root).await;
    println!(
        "{:.0}/s, p50 {:.1} ms, p99 {:.1} ms, PG {:.1} us, service {:.1} us, WAL {:.0} B a transfer",
        measured.per_second(),
        measured.p50_ms,
        measured.p99_ms,
        measured.cost_us(measured.postgres.cpu),
        measured.cost_us(measured.service.unwrap_or_default()),
        measured.wal_bytes(),
    );
    let count = (after.0 - before.0) as f64;
    statements(&mut root, count).await;
    log(&mut root, (&before.1, &after.1), count).await;
}

/// How many rows the journal has, and where the log ends.
async fn head(root: &mut PgConnection) -> (i64, String) {
    sqlx::query_as("SELECT seq, pg_current_wal_flush_lsn()::text FROM ledger.head")
        .fetch_one(root)
        .await
        .unwrap()
}

async fn statements(root: &mut PgConnection, transfers: f64) {
    let rows: Vec<(i64, f64, i64, String)> = sqlx::query_as(
        "SELECT calls, total_exec_time, wal_bytes::bigint, regexp_replace(left(query, 400), '\\s+', ' ', 'g') \
         FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 20",
    )
    .fetch_all(root)
    .await
    .unwrap();
    println!("\n{:>9} {:>12} {:>12}  statement", "calls", "us/transfer", "WAL B");
    for (calls, ms, wal, query) in rows {
        let query: String = query.chars().take(110).collect();
        println!("{calls:>9} {:>12.2} {:>12.0}  {query}", ms * 1e3 / transfers, wal as f64 / transfers);
    }
}

async fn log(root: &mut PgConnection, (from, to): (&str, &str), transfers: f64) {
    let rows: Vec<(Option<String>, String, i64, i64, i64)> = sqlx::query_as(
        "WITH record AS (SELECT *, (regexp_match(block_ref, 'rel \\d+/\\d+/(\\d+)'))[1]::oid AS node \
          FROM pg_get_wal_records_info($1::text::pg_lsn, $2::text::pg_lsn)) \
         SELECT c.relname::text, r.resource_manager || ' ' || regexp_replace(r.record_type, '\\+INIT', ''), count(*), \
          sum(r.record_length)::bigint, sum(r.fpi_length)::bigint \
         FROM record r LEFT JOIN pg_class c ON c.relfilenode = r.node GROUP BY 1, 2 ORDER BY 4 DESC LIMIT 30",
    )
    .bind(from)
    .bind(to)
    .fetch_all(root)
    .await
    .unwrap();
    println!("\n{:>12} {:>12} {:>12}  log record", "records/tr.", "bytes/tr.", "of it pages");
    for (relation, kind, records, bytes, pages) in rows {
        let [records, bytes, pages] = [records, bytes, pages].map(|sum| sum as f64 / transfers);
        println!("{records:>12.3} {bytes:>12.1} {pages:>12.1}  {} {kind}", relation.unwrap_or_default());
    }
}
