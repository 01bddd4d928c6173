//! What the ledger is held against, run by pgbench on the same server: TPC-B as PostgreSQL ships it, and the designs that people
//! write first, from `baselines/`. pgbench comes by the Unix socket and without TLS, which favours them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::{Executor as _, PgConnection};

use crate::load::{Measured, quantile_ms};
use crate::postgres::{Postgres, run, server};

/// Where the baselines live.
const DATABASE: &str = "baselines";
/// pgbench's own scale: 100,000 accounts and a branch each.
pub const SCALE: usize = 100;
/// As many as pgbench's threads can serve without being the limit.
pub const CLIENTS: usize = 32;
/// The sum of all balances of the naive tables.
const MONEY: i64 = 10_000 * 1_000_000_000_000;

/// A baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    TpcB,
    NaiveUniform,
    NaiveHot,
    CallUniform,
    CallHot,
}

impl Baseline {
    pub const ALL: [Self; 5] =
        [Self::TpcB, Self::NaiveUniform, Self::NaiveHot, Self::CallUniform, Self::CallHot];

    pub const fn name(self) -> &'static str {
        match self {
            Self::TpcB => "pgbench TPC-B",
            Self::NaiveUniform => "naive, uniform",
            Self::NaiveHot => "naive, one hot account",
            Self::CallUniform => "one call, uniform",
            Self::CallHot => "one call, one hot account",
        }
    }

    const fn script(self) -> Option<&'static str> {
        match self {
            Self::TpcB => None,
            Self::NaiveUniform => Some("naive.sql"),
            Self::NaiveHot => Some("naive_hot.sql"),
            Self::CallUniform => Some("fn.sql"),
            Self::CallHot => Some("fn_hot.sql"),
        }
    }
}

fn folder() -> PathBuf {
    dev::repository().join("tests/benches/ledger/baselines")
}

/// Makes the tables.
pub async fn prepare(server: &Postgres) {
    server.create_database(DATABASE).await;
    let mut root = server.superuser(DATABASE).await;
    // The server's user may be unable to read the repository.
    let scripts = server.folder().join("baselines");
    std::fs::create_dir(&scripts).unwrap();
    for file in std::fs::read_dir(folder()).unwrap().flatten() {
        std::fs::copy(file.path(), scripts.join(file.file_name())).unwrap();
    }
    let schema = std::fs::read_to_string(folder().join("schema.sql")).unwrap();
    // VACUUM runs in no transaction, and several statements in one message are one.
    for part in schema.split("vacuum analyze n.accounts;") {
        sqlx::raw_sql(sqlx::AssertSqlSafe(part.to_owned())).execute(&mut root).await.unwrap();
        root.execute("VACUUM ANALYZE n.accounts").await.unwrap();
    }
    run(pgbench(server).args(["-i", "-q", "-s", &SCALE.to_string()]).arg(DATABASE));
}

fn pgbench(postgres: &Postgres) -> std::process::Command {
    let mut command = server(postgres.folder(), "pgbench");
    command.arg("-h").arg(postgres.socket()).args(["-p", &postgres.port().to_string(), "-U", "postgres"]);
    command
}

/// Runs one for `time`, after a quarter of it that is not measured.
pub async fn measure(
    baseline: Baseline,
    time: Duration,
    postgres: &Postgres,
    root: &mut PgConnection,
) -> Measured {
    timed(baseline, time / 4, postgres).await;
    let logs = tempfile::tempdir_in(postgres.folder()).unwrap();
    run(std::process::Command::new("chmod").arg("777").arg(logs.path()));
    let before = postgres.used(root).await;
    let began = Instant::now();
    let transfers = logged(baseline, time, postgres, logs.path()).await;
    let (after, wall) = (postgres.used(root).await, began.elapsed());
    let latencies = latencies(logs.path());
    Measured {
        transfers,
        wall,
        p50_ms: quantile_ms(&latencies, 0.5),
        p99_ms: quantile_ms(&latencies, 0.99),
        postgres: after.since(before),
        service: None,
        edge: None,
    }
}

async fn timed(baseline: Baseline, time: Duration, postgres: &Postgres) -> usize {
    logged(baseline, time, postgres, Path::new("/")).await
}

/// How many transactions were committed; with a folder that is not the root, one line a transaction in files there.
async fn logged(baseline: Baseline, time: Duration, postgres: &Postgres, logs: &Path) -> usize {
    let mut command = pgbench(postgres);
    let seconds = time.as_secs().max(1).to_string();
    command.args(["-n", "-M", "prepared", "-c", &CLIENTS.to_string(), "-j", "2", "-T", &seconds]);
    if logs != Path::new("/") {
        command.arg("-l").arg("--log-prefix").arg(logs.join("transactions"));
    }
    if let Some(script) = baseline.script() {
        command.arg("-f").arg(postgres.folder().join("baselines").join(script));
    }
    command.arg(DATABASE);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let count =
        report.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
    count.unwrap_or_else(|| panic!("{report}")).trim().parse().unwrap()
}

/// Of all lines of the logs: the third word is how long the transaction took, in microseconds.
fn latencies(logs: &Path) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for log in std::fs::read_dir(logs).unwrap() {
        let text = std::fs::read_to_string(log.unwrap().path()).unwrap();
        let micros = text.lines().map(|line| line.split(' ').nth(2).unwrap().parse().unwrap());
        latencies.extend(micros.map(Duration::from_micros));
    }
    latencies.sort_unstable();
    latencies
}

/// Money was neither made nor lost by any of them.
pub async fn check(server: &Postgres) {
    let mut root = server.superuser(DATABASE).await;
    let (sum, least): (i64, i64) =
        sqlx::query_as("SELECT sum(balance)::bigint, min(balance) FROM n.accounts")
            .fetch_one(&mut root)
            .await
            .unwrap();
    assert_eq!(sum, MONEY, "the naive tables made or lost money");
    assert!(least >= 0, "a naive account is below its floor");
    let tpc_b: bool = sqlx::query_scalar(
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches) \
         AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)",
    )
    .fetch_one(&mut root)
    .await
    .unwrap();
    assert!(tpc_b, "TPC-B made or lost money");
}
