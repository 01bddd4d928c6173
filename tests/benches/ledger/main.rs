//! `make bench-ledger`: what a durable transfer costs here, beside the designs that people write first and pgbench's TPC-B, on the
//! same PostgreSQL in one run. All rows take turns in each round and ratios are taken inside a round, so that a noisy minute hits
//! both sides of a quotient. The load, the ledger, the edge and the server share the machine: compare rows, not machines.
//! `-- <word>...` runs the rows whose names hold one of the words, `-- rounds=1 seconds=1` a shorter run; neither writes the file.
//! `-- cala=<program>` adds rows of [`rival`]; `-- delay_us=2000` has every commit wait so long before the log is written, as one that
//! needs the word of another zone does, and looks at the rows without the edge. `-- scale` is `make bench-ledger-scale` (see [`scale`]); `-- profile` tells where the cost goes (see [`profile`]).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints its result"
)]

mod api;
mod baselines;
mod check;
mod load;
mod mesh;
mod postgres;
mod profile;
mod rival;
mod rows;
mod scale;
mod spread;

use std::time::Duration;

use dev::Part;
use serde_json::{Value, json};
use sqlx::{Executor as _, PgConnection};

use api::Ledger;
use baselines::Baseline;
use load::{Measured, Watched};
use mesh::World;
use postgres::{Clock, Postgres};
use rival::{Cala, Rival};
use rows::{Round, Row, Subject, Table, Way, rounded};
use spread::Spread;

/// Databases of the ledger in this process and of the one in the mesh.
const API: &str = "api";
const MESH: &str = "mesh";
const IN_FLIGHT: [usize; 3] = [32, 256, 2_000];

/// What the command line asks for.
pub struct Arguments {
    words: Vec<String>,
}

impl Arguments {
    fn read() -> Self {
        // Cargo puts an option of its own there.
        Self { words: std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect() }
    }

    /// `name=number`.
    fn number(&self, name: &str) -> Option<usize> {
        self.text(name).map(|value| value.parse().unwrap())
    }

    /// `name=text`.
    fn text(&self, name: &str) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|it| it == word)
    }

    /// Whether a row is wanted: all are, or those whose names hold one of the words.
    fn wants(&self, name: &str) -> bool {
        let mut words = self.words.iter().filter(|word| !word.contains('=')).peekable();
        words.peek().is_none() || words.any(|word| name.contains(word.as_str()))
    }
}

fn main() {
    let arguments = Arguments::read();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if arguments.has("scale") {
        runtime.block_on(scale::run(&arguments));
    } else if arguments.has("profile") {
        runtime.block_on(profile::run(&arguments));
    } else {
        runtime.block_on(run(&arguments));
    }
}

/// All that is measured.
fn subjects(arguments: &Arguments) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = Baseline::ALL.into_iter().map(Subject::Baseline).collect();
    if arguments.text("cala").is_some() {
        subjects.extend(Rival::all().map(Subject::Rival));
    }
    for way in [Way::Api, Way::Grpc, Way::Rest] {
        for spread in Spread::ALL {
            subjects.extend(IN_FLIGHT.map(|in_flight| Subject::Ledger(way, spread, in_flight)));
        }
    }
    subjects.push(Subject::Ledger(Way::ApiWithText, Spread::Uniform, 2_000));
    subjects
}

async fn run(arguments: &Arguments) {
    let (rounds, seconds) =
        (arguments.number("rounds").unwrap_or(3), arguments.number("seconds").unwrap_or(3));
    let time = Duration::from_secs(seconds as u64);
    let delay_us = arguments.number("delay_us");
    let delay = [format!("commit_delay={}", delay_us.unwrap_or_default()), "commit_siblings=0".to_owned()];
    let server = Postgres::start(&Clock::Real, &delay.each_ref().map(String::as_str)).await;
    // Of a slow commit the way to the ledger tells nothing new.
    let near = |subject: &Subject| !matches!(subject, Subject::Ledger(Way::Grpc | Way::Rest, ..));
    let wanted =
        |subject: &Subject| arguments.wants(&subject.name()) && (delay_us.is_none() || near(subject));
    let mut rows: Vec<Row> = subjects(arguments)
        .into_iter()
        .filter(wanted)
        .map(|subject| Row { subject, rounds: Vec::new() })
        .collect();
    if rows.iter().any(|row| matches!(row.subject, Subject::Baseline(_))) {
        baselines::prepare(&server).await;
    }
    let bench = Bench::start(&server, arguments.text("cala")).await;
    let mut root = server.superuser("postgres").await;
    let mut conditions = conditions(&mut root, rounds, seconds).await;
    conditions["commit_delay_us"] = json!(delay_us.unwrap_or_default());
    conditions["fdatasync_us"] = json!(rounded(server.fdatasync_us()));
    println!("{}", serde_json::to_string_pretty(&conditions).unwrap());
    for round in 1..=rounds {
        root.execute("CHECKPOINT").await.unwrap();
        for row in &mut rows {
            let one = bench.measure(row.subject, time, &mut root).await;
            println!("round {round}: {}, {:.0}/s", row.subject.name(), one.measured.per_second());
            row.rounds.push(one);
        }
    }
    bench.check().await;
    if rows.iter().any(|row| matches!(row.subject, Subject::Baseline(_))) {
        baselines::check(&server).await;
    }
    let table = Table { rows, conditions };
    println!("\n{}", table.print());
    for line in table.missed() {
        println!("missed: {line}");
    }
    if arguments.words.iter().all(|word| word.starts_with("cala=") || word.starts_with("delay_us=")) {
        write(if delay_us.is_some() { "ledger-delayed.json" } else { "ledger.json" }, &table.json());
    }
}

/// Writes a file of docs/benchmarks.
fn write(name: &str, content: &Value) {
    let path = dev::repository().join("docs/benchmarks").join(name);
    std::fs::write(path, serde_json::to_string_pretty(content).unwrap() + "\n").unwrap();
}

async fn conditions(root: &mut PgConnection, rounds: usize, seconds: usize) -> Value {
    let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(&mut *root).await.unwrap();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({
        "postgresql": version,
        "durable": "fsync, synchronous_commit, full_page_writes, data checksums: on",
        "shared_buffers": "2GB",
        "processors": std::thread::available_parallelism().unwrap().get(),
        "model": model.trim_start_matches(['\t', ' ', ':']),
        "accounts": spread::ACCOUNTS,
        "tpc_b_scale": baselines::SCALE,
        "rounds": rounds,
        "seconds": seconds,
        "load": "on the same machine; of the rows by the Rust API the service's CPU includes the load's",
    })
}

/// What is measured, side by side on one server.
struct Bench<'a> {
    server: &'a Postgres,
    api: Ledger,
    world: World,
    cala: Option<Cala>,
}

impl<'a> Bench<'a> {
    async fn start(server: &'a Postgres, cala: Option<&str>) -> Self {
        for database in [API, MESH] {
            server.create_database(database).await;
        }
        // The mesh's accounts are opened here: there is no svc-accounts in it.
        Ledger::start(&server.config(MESH)).await.stop().await;
        let world = World::start(&server.config(MESH)).await;
        let api = Ledger::start(&server.config(API)).await;
        api.ship(&server.config(API));
        for database in [API, MESH] {
            let mut root = server.superuser(database).await;
            root.execute("VACUUM ANALYZE").await.unwrap();
        }
        let cala = match cala {
            Some(program) => Some(Cala::prepare(program.into(), server).await),
            None => None,
        };
        Self { server, api, world, cala }
    }

    async fn measure(&self, subject: Subject, time: Duration, root: &mut PgConnection) -> Round {
        match subject {
            Subject::Baseline(baseline) => {
                let measured = baselines::measure(baseline, time, self.server, root).await;
                Round { measured, unshipped: 0 }
            }
            Subject::Rival(rival) => {
                let cala = self.cala.as_ref().expect("its rows are there when it is");
                Round { measured: cala.measure(rival, time, self.server, root).await, unshipped: 0 }
            }
            Subject::Ledger(way, spread, in_flight) => {
                let measured = self.load(way, spread, in_flight, time, root).await;
                let database = if matches!(way, Way::Grpc | Way::Rest) { MESH } else { API };
                Round { measured, unshipped: self.forget_events(database).await }
            }
        }
    }

    async fn load(
        &self,
        way: Way,
        spread: Spread,
        in_flight: usize,
        time: Duration,
        root: &mut PgConnection,
    ) -> Measured {
        let (transfer, through) = match way {
            Way::Api => (self.api.transfers(spread, ""), false),
            Way::ApiWithText => (self.api.transfers(spread, api::REFERENCE), false),
            Way::Grpc => (self.world.by_grpc(spread), true),
            Way::Rest => (self.world.by_rest(spread), true),
        };
        let mesh = &self.world.mesh;
        let service = if through { mesh.pid(Part::Ledger) } else { Some(std::process::id()) };
        let edge = if through { mesh.pid(Part::Edge) } else { None };
        let mut watched = Watched { server: self.server, root, service, edge };
        load::measure(&transfer, in_flight, time, &mut watched).await
    }

    /// Empties the outbox, so that shipping what a row has left does not burden the next; returns how much that was.
    async fn forget_events(&self, database: &str) -> i64 {
        let mut root = self.server.superuser(database).await;
        let left = sqlx::query_scalar("SELECT coalesce(sum(n), 0) FROM ledger.audit_outbox")
            .fetch_one(&mut root)
            .await
            .unwrap();
        root.execute("TRUNCATE ledger.audit_outbox").await.unwrap();
        left
    }

    async fn check(&self) {
        for database in [API, MESH] {
            let transfers = check::ledger(&mut self.server.superuser(database).await).await;
            println!("{database}: {transfers} transfers, sums zero, versions gapless");
        }
    }
}
