//! cala-ledger, a ledger that is published as a crate, on the same server. It can enter neither our lock file nor our crypto provider,
//! so it is a program of its own (`cala/`), and comes by the Unix socket and without TLS, as the baselines do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::load::cpu_time;
use serde_json::Value;
use sqlx::{Executor as _, PgConnection};

use crate::load::Measured;
use crate::postgres::{Postgres, run};
use crate::spread::Spread;

const DATABASE: &str = "cala";

/// How it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    pub spread: Spread,
    pub clients: usize,
    /// How many transfers a call posts, in one transaction.
    pub batch: usize,
}

impl Rival {
    /// One transfer a call from as many clients as the baselines have, and as many calls with the batches it is made for as make
    /// 2,000 in flight.
    pub fn all() -> impl Iterator<Item = Self> {
        [(32, 1), (10, 200)].into_iter().flat_map(|(clients, batch)| {
            [Spread::Uniform, Spread::Hot].map(|spread| Self { spread, clients, batch })
        })
    }

    pub fn name(self) -> String {
        match self.batch {
            1 => format!("cala-ledger, {}", self.spread.name()),
            batch => format!("cala-ledger, batches of {batch}, {}", self.spread.name()),
        }
    }

    pub const fn in_flight(self) -> usize {
        self.clients * self.batch
    }
}

/// The program and where it finds its database.
pub struct Cala {
    program: PathBuf,
    url: String,
}

impl Cala {
    /// Makes its tables and accounts.
    pub async fn prepare(program: PathBuf, server: &Postgres) -> Self {
        server.create_database(DATABASE).await;
        let socket = server.socket();
        let url =
            format!("postgres://postgres@localhost:{}/{DATABASE}?host={}", server.port(), socket.display());
        run(Command::new(&program).args([&url, "prepare"]));
        server.superuser(DATABASE).await.execute("VACUUM ANALYZE").await.unwrap();
        Self { program, url }
    }

    /// Runs it for `time`, after a quarter of it that is not measured.
    pub async fn measure(
        &self,
        rival: Rival,
        time: Duration,
        server: &Postgres,
        root: &mut PgConnection,
    ) -> Measured {
        let mut child = Command::new(&self.program)
            .args([&self.url, rival.spread.name()])
            .args([rival.clients, rival.batch].map(|number| number.to_string()))
            .arg(time.as_secs().max(1).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            tokio::task::block_in_place(|| output.read_line(&mut line)).unwrap();
            line
        };
        assert_eq!(line(), "ready\n");
        let (used, spent) = (server.used(root).await, cpu_time(child.id()));
        input.write_all(b"\n").unwrap();
        let report: Value = serde_json::from_str(&line()).unwrap();
        let (used, spent) = (server.used(root).await.since(used), cpu_time(child.id()).saturating_sub(spent));
        // It waits for the end of its input, so that its time could be read.
        drop(input);
        assert!(child.wait().unwrap().success());
        let number = |name: &str| report[name].as_f64().unwrap();
        Measured {
            transfers: report["transfers"].as_u64().unwrap() as usize,
            wall: Duration::from_secs_f64(number("wall_ms") / 1e3),
            p50_ms: number("p50_ms"),
            p99_ms: number("p99_ms"),
            postgres: used,
            service: Some(spent),
            edge: None,
        }
    }
}
