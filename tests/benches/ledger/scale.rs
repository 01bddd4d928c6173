//! `make bench-ledger-scale`: ten million transfers by the Rust API, 2,000 in flight, booked over 36 months. After the first 100,000,
//! after a million and after all of them: what the last 100,000 have cost, how long reads take while nothing else runs, and what
//! a transfer takes on disk. Booking time is the server's clock, so that clock is moved (`faketime`), between batches, a month
//! ahead after each 36th part of the load; the ledger is as it is. The table goes to docs/benchmarks/ledger-scale.md and .json.
//! `-- scale transfers=360000` is a smaller load, and writes no file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike as _, Months, NaiveTime, Utc};
use e2e::load::cpu_time;
use serde_json::{Value, json};
use sqlx::{Executor as _, PgConnection};
use svc_ledger::error::Error;
use svc_ledger::store::Store;
use svc_ledger::store::read::{Named, Viewer, Window};
use svc_ledger::store::verify;
use tokio::task::JoinSet;

use crate::api::{self, Ledger};
use crate::load::{Transfer, quantile_ms};
use crate::postgres::{Clock, Moved, Postgres, Used};
use crate::rows::rounded;
use crate::spread::{ACCOUNTS, Spread};
use crate::{Arguments, check, write};

const DATABASE: &str = "scale";
const TRANSFERS: usize = 10_000_000;
const MONTHS: usize = 36;
const IN_FLIGHT: usize = 2_000;
/// Of each kind, in each stage, by four readers.
const READS: usize = 4_000;
const READERS: usize = 4;
const PAGE: i64 = 50;
/// As many entries as an account has of this month in every stage, but for a few accounts in the first.
const NEWEST: i64 = 10;
/// Longer than a month's load takes, and shorter than the time between two.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Longer than any process of the server goes without looking at the clock while it is called.
const SEEN_BY_ALL: Duration = Duration::from_millis(1_300);
/// What a transfer may take on disk with its log; refuses to begin rather than to fill the disk.
const BYTES_EACH: u64 = 2_500;

/// The size of the load, in all and when it is looked at.
struct Load {
    transfers: usize,
    done: usize,
    transfer: Transfer,
}

/// What was seen after so many transfers.
struct Stage {
    transfers: usize,
    partitions: i64,
    per_second: f64,
    postgres_us: f64,
    wal_bytes: f64,
    balance: [f64; 2],
    past: [f64; 2],
    /// Of this month, which is in the server's memory.
    newest: [f64; 2],
    /// Of any time.
    entries: [f64; 2],
    bytes: f64,
}

pub async fn run(arguments: &Arguments) {
    let transfers = arguments.number("transfers").unwrap_or(TRANSFERS);
    let library =
        PathBuf::from(arguments.text("library").expect("library=<libfaketime.so.1>: see scripts/faketime"));
    // Less log than in the comparison, where no checkpoint may come on its own.
    let clock = Clock::Moved(Moved { library, offset_s: offset_s(0) });
    let server = Postgres::start(&clock, &["max_wal_size=4GB"]).await;
    let free = nix::sys::statvfs::statvfs(server.folder()).unwrap();
    let free = free.blocks_available() * free.fragment_size();
    assert!(free > transfers as u64 * BYTES_EACH, "only {} GB are free", free >> 30);
    server.create_database(DATABASE).await;
    let ledger = Ledger::start(&server.config(DATABASE)).await;
    ledger.ship(&server.config(DATABASE));
    let mut root = server.superuser(DATABASE).await;
    sqlx::query("SELECT ledger.add_partitions($1)").bind(MONTHS as i32).execute(&mut root).await.unwrap();
    root.execute("VACUUM ANALYZE").await.unwrap();

    let transfer = ledger.transfers(Spread::Uniform, api::REFERENCE);
    let mut load = Load { transfers, done: 0, transfer };
    let (mut stages, mut months) = (Vec::new(), Vec::new());
    println!("{}", heading());
    for month in 0..MONTHS {
        set_clock(&server, &mut root, &ledger, month).await;
        let (end, began, from) = (transfers * (month + 1) / MONTHS, Instant::now(), load.done);
        for at in [transfers / 100, transfers / 10, transfers] {
            if (load.done + 1..=end).contains(&at) {
                let stage = stage(&mut load, at, &server, &ledger.store, &mut root).await;
                println!("{}", stage.line());
                stages.push(stage);
            }
        }
        let reading = began.elapsed();
        let (began, already) = (Instant::now(), load.done);
        load.up_to(end).await;
        let pure = end - already;
        let rate = if pure > 0 {
            pure as f64 / began.elapsed().as_secs_f64()
        } else {
            (end - from) as f64 / reading.as_secs_f64()
        };
        months.push(json!({ "month": month, "transfers": end, "transfers_per_second": rate.round() }));
    }
    let sizes = sizes(&mut root, transfers).await;
    let unshipped: i64 = sqlx::query_scalar("SELECT coalesce(sum(n), 0) FROM ledger.audit_outbox")
        .fetch_one(&mut root)
        .await
        .unwrap();
    let booked = check::ledger(&mut root).await;
    assert_eq!(booked, transfers as i64);
    ledger.stop().await;
    let verified = verify(&server).await;
    println!("{}", verified.line());
    let text = format!("{}\n{}\n", table(&stages, &sizes), verified.line());
    println!("\n{text}\n{unshipped} audit events not yet shipped; sums zero, versions gapless");
    if transfers == TRANSFERS {
        std::fs::write(dev::repository().join("docs/benchmarks/ledger-scale.md"), text).unwrap();
        let stages: Vec<Value> = stages.iter().map(Stage::json).collect();
        let sizes: Vec<Value> =
            sizes.iter().map(|(name, each)| json!({ "relation": name, "bytes": rounded(*each) })).collect();
        let all = json!({
            "date": Utc::now().date_naive(), "accounts": ACCOUNTS, "in_flight": IN_FLIGHT, "months": MONTHS,
            "stages": stages, "by_month": months, "bytes_per_transfer": sizes, "events_unshipped_at_end": unshipped,
            "verify": {
                "rows": verified.rows, "rows_per_second": verified.per_second().round(),
                "rows_per_cpu_second": verified.per_cpu_second().round(),
            },
        });
        write("ledger-scale.json", &all);
    }
}

/// How far ahead noon of the 15th is, so many months from the next, in seconds. Never in the past: a clock that is set back for one
/// process and not yet for another ends statements that have just begun.
fn offset_s(month: usize) -> i64 {
    let now = Utc::now();
    let day = now.date_naive().with_day(15).unwrap() + Months::new(u32::try_from(month + 1).unwrap());
    let noon = day.and_time(NaiveTime::from_hms_opt(12, 0, 0).unwrap()).and_utc();
    (noon - now).num_seconds()
}

/// Moves the clock and waits until every process of the server has seen it. Each looks once a second, and only when it asks for the
/// time; one in the middle of a statement then finds its timeouts a month overdue, and gives up. So all of them are called until none
/// has given up for a while.
async fn set_clock(server: &Postgres, root: &mut PgConnection, ledger: &Ledger, month: usize) {
    let offset_s = offset_s(month);
    server.move_clock(offset_s);
    let began = Instant::now();
    let mut sound_since = Instant::now();
    while sound_since.elapsed() < SEEN_BY_ALL {
        assert!(began.elapsed() < Duration::from_secs(60), "the server's clock did not move");
        let now: Result<DateTime<Utc>, _> =
            sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *root).await;
        let moved = now.unwrap() > Utc::now() + chrono::Duration::seconds(offset_s - 60);
        let reads = (0..READERS * 2).map(|_| try_read(&ledger.store, Read::Balance));
        let reads = futures::future::join_all(reads).await;
        if !moved || !ledger.validates().await || reads.iter().any(Result::is_err) {
            sound_since = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Load {
    /// Makes transfers until there are so many.
    async fn up_to(&mut self, end: usize) {
        let left = Arc::new(AtomicUsize::new(end.saturating_sub(self.done)));
        let mut callers = JoinSet::new();
        for number in 0..IN_FLIGHT {
            let (left, transfer) = (Arc::clone(&left), Arc::clone(&self.transfer));
            callers.spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    transfer(number).await;
                }
            });
        }
        callers.join_all().await;
        self.done = self.done.max(end);
    }
}

/// Loads up to `at`, measuring the last hundredth of the whole, and then reads.
async fn stage(
    load: &mut Load,
    at: usize,
    server: &Postgres,
    store: &Store,
    root: &mut PgConnection,
) -> Stage {
    let part = (load.transfers / 100).min(at - load.done);
    load.up_to(at - part).await;
    let (before, began) = (server.used(root).await, Instant::now());
    load.up_to(at).await;
    let took = began.elapsed();
    let used: Used = server.used(root).await.since(before);
    let (first, last): (i64, i64) = sqlx::query_as(
        "SELECT (extract(epoch FROM min(booked_at)) * 1000)::bigint, (extract(epoch FROM max(booked_at)) * 1000)::bigint \
         FROM ledger.batch",
    )
    .fetch_one(&mut *root)
    .await
    .unwrap();
    let partitions = sqlx::query_scalar(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'ledger.journal'::regclass AND pg_relation_size(inhrelid) > 0",
    )
    .fetch_one(&mut *root)
    .await
    .unwrap();
    let sizes = sizes(root, at).await;
    Stage {
        transfers: at,
        partitions,
        per_second: part as f64 / took.as_secs_f64(),
        postgres_us: used.cpu.as_secs_f64() * 1e6 / part as f64,
        wal_bytes: used.wal as f64 / part as f64,
        balance: read(store, Read::Balance).await,
        past: read(store, Read::Past(first, last)).await,
        newest: read(store, Read::Entries { first: last - DAY_MS, last: last - DAY_MS, page: NEWEST }).await,
        entries: read(store, Read::Entries { first, last, page: PAGE }).await,
        bytes: sizes.iter().map(|(_, each)| each).sum(),
    }
}

/// What `svc-ledger verify` does, by the same function.
struct Verified {
    rows: i64,
    wall: Duration,
    cpu: Duration,
}

impl Verified {
    fn per_second(&self) -> f64 {
        self.rows as f64 / self.wall.as_secs_f64()
    }

    /// Of the verifier's own time; the server reads beside it.
    fn per_cpu_second(&self) -> f64 {
        self.rows as f64 / self.cpu.as_secs_f64()
    }

    fn line(&self) -> String {
        format!(
            "`svc-ledger verify`: {} rows in {:.0} s, {:.0} rows/s; {:.0} rows a second of its own CPU time",
            self.rows,
            self.wall.as_secs_f64(),
            self.per_second(),
            self.per_cpu_second()
        )
    }
}

async fn verify(server: &Postgres) -> Verified {
    let source = verify::source(&server.config(DATABASE)).unwrap();
    let (began, spent) = (Instant::now(), cpu_time(std::process::id()));
    let report =
        verify::verify(&source, verify::Evidence::NONE, |_| true).await.unwrap().expect("nobody ends it");
    assert_eq!(report.found, 0, "the ledger is not as it must be");
    Verified { rows: report.rows, wall: began.elapsed(), cpu: cpu_time(std::process::id()) - spent }
}

#[derive(Clone, Copy)]
enum Read {
    /// What an account holds.
    Balance,
    /// What it held at some time in between.
    Past(i64, i64),
    /// A page of entries from some time in between.
    Entries { first: i64, last: i64, page: i64 },
}

/// The median and the 99th hundredth of the latencies, in milliseconds.
async fn read(store: &Store, what: Read) -> [f64; 2] {
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let store = store.clone();
        readers.spawn(async move {
            let mut latencies = Vec::with_capacity(READS / READERS);
            for _ in 0..READS / READERS {
                let began = Instant::now();
                read_one(&store, what).await;
                latencies.push(began.elapsed());
            }
            latencies
        });
    }
    let mut latencies = readers.join_all().await.concat();
    latencies.sort_unstable();
    [quantile_ms(&latencies, 0.5), quantile_ms(&latencies, 0.99)]
}

async fn read_one(store: &Store, what: Read) {
    try_read(store, what).await.unwrap();
}

async fn try_read(store: &Store, what: Read) -> Result<(), Error> {
    let number = rand::random_range(0..ACCOUNTS);
    let id = api::account(number);
    let (account, viewer) =
        (Named { id, name: id.to_string() }, Viewer::Customer(api::customer(api::owner(number))));
    match what {
        Read::Balance => store.balance(&viewer, &account).await.map(|balance| balance.version),
        Read::Past(first, last) => {
            let at = rand::random_range(first..=last);
            store.balance_as_of(&viewer, &account, at).await.map(|balance| balance.version)
        }
        Read::Entries { first, last, page } => {
            let from = Some(rand::random_range(first..=last));
            let window = Window { from, until: None, after: None, limit: page };
            store.entries(&viewer, &account, window).await.map(|(_, entries)| entries.len() as i64)
        }
    }
    .map(|_| ())
}

/// Bytes a transfer of every table and index, the largest first; partitions count with what they are partitions of.
async fn sizes(root: &mut PgConnection, transfers: usize) -> Vec<(String, f64)> {
    let sizes: Vec<(String, i64)> = sqlx::query_as(
        "SELECT coalesce(i.inhparent, c.oid)::regclass::text, \
         sum(CASE c.relkind WHEN 'r' THEN pg_table_size(c.oid) ELSE pg_relation_size(c.oid) END)::bigint \
         FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid \
         WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'i') GROUP BY 1 ORDER BY 2 DESC",
    )
    .fetch_all(root)
    .await
    .unwrap();
    sizes
        .into_iter()
        .map(|(name, bytes)| (name, bytes as f64 / transfers as f64))
        .filter(|(_, each)| *each >= 0.5)
        .collect()
}

fn heading() -> &'static str {
    "| transfers | partitions | transfers/s | PG us | WAL B | GetBalance p50 / p99 ms | as of a past time | ListEntries, 10 of this month | 50 of any time | bytes on disk |\n\
     |---|---|---|---|---|---|---|---|---|---|"
}

fn table(stages: &[Stage], sizes: &[(String, f64)]) -> String {
    let mut text = format!("{}\n", heading());
    for stage in stages {
        text += &format!("{}\n", stage.line());
    }
    text += "\n| table or index | bytes a transfer |\n|---|---|\n";
    for (name, each) in sizes {
        text += &format!("| {name} | {each:.0} |\n");
    }
    text
}

impl Stage {
    fn line(&self) -> String {
        let pair = |[median, most]: [f64; 2]| format!("{median:.2} / {most:.2}");
        format!(
            "| {} | {} | {:.0} | {:.1} | {:.0} | {} | {} | {} | {} | {:.0} |",
            self.transfers,
            self.partitions,
            self.per_second,
            self.postgres_us,
            self.wal_bytes,
            pair(self.balance),
            pair(self.past),
            pair(self.newest),
            pair(self.entries),
            self.bytes,
        )
    }

    fn json(&self) -> Value {
        json!({
            "transfers": self.transfers,
            "partitions": self.partitions,
            "transfers_per_second": self.per_second.round(),
            "postgres_cpu_us": rounded(self.postgres_us),
            "wal_bytes": self.wal_bytes.round(),
            "get_balance_ms": self.balance.map(rounded),
            "get_balance_as_of_ms": self.past.map(rounded),
            "list_newest_entries_ms": self.newest.map(rounded),
            "list_entries_ms": self.entries.map(rounded),
            "bytes_on_disk": self.bytes.round(),
        })
    }
}
