//! A closed loop: so many transfers always in flight, each caller sending the next when it has the answer to the last. What is
//! measured is a window in the middle, after the load has become steady and while it still is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::load::cpu_time;
use futures::future::BoxFuture;
use sqlx::PgConnection;
use tokio::task::JoinSet;

use crate::postgres::{Postgres, Used};

/// Makes one transfer as the caller with this number, and checks that it is booked.
pub type Transfer = Arc<dyn Fn(usize) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a window has shown.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub transfers: usize,
    pub wall: Duration,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub postgres: Used,
    /// CPU of the process the ledger runs in, where there is one.
    pub service: Option<Duration>,
    /// CPU of the edge, where it is on the way.
    pub edge: Option<Duration>,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.transfers as f64 / self.wall.as_secs_f64()
    }

    /// Microseconds a transfer.
    pub fn cost_us(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.transfers as f64
    }

    pub fn wal_bytes(&self) -> f64 {
        self.postgres.wal as f64 / self.transfers as f64
    }
}

/// Whose CPU time a row is about.
pub struct Watched<'a> {
    pub server: &'a Postgres,
    pub root: &'a mut PgConnection,
    /// The process of the ledger: this one, or that of svc-ledger.
    pub service: Option<u32>,
    pub edge: Option<u32>,
}

impl Watched<'_> {
    async fn read(&mut self) -> (Used, Option<Duration>, Option<Duration>) {
        (self.server.used(self.root).await, self.service.map(cpu_time), self.edge.map(cpu_time))
    }
}

/// Keeps `in_flight` transfers under way; the window opens after a quarter of `time` and is `time` long.
pub async fn measure(
    transfer: &Transfer,
    in_flight: usize,
    time: Duration,
    watched: &mut Watched<'_>,
) -> Measured {
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for number in 0..in_flight {
        let (transfer, stop) = (Arc::clone(transfer), Arc::clone(&stop));
        callers.spawn(async move {
            let mut done = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                transfer(number).await;
                done.push((Instant::now(), began.elapsed()));
            }
            done
        });
    }
    tokio::time::sleep(time / 4).await;
    let before = watched.read().await;
    let opened = Instant::now();
    tokio::time::sleep(time).await;
    let after = watched.read().await;
    let closed = Instant::now();
    stop.store(true, Ordering::Relaxed);
    let done = callers.join_all().await.concat();
    let inside = done.into_iter().filter(|(at, _)| (opened..closed).contains(at)).map(|(_, took)| took);
    let mut latencies: Vec<Duration> = inside.collect();
    latencies.sort_unstable();
    let spent = |after: Option<Duration>, before: Option<Duration>| Some(after?.saturating_sub(before?));
    Measured {
        transfers: latencies.len(),
        wall: closed - opened,
        p50_ms: quantile_ms(&latencies, 0.5),
        p99_ms: quantile_ms(&latencies, 0.99),
        postgres: after.0.since(before.0),
        service: spent(after.1, before.1),
        edge: spent(after.2, before.2),
    }
}

/// The latency that this share stays below, of latencies in order.
pub fn quantile_ms(latencies: &[Duration], share: f64) -> f64 {
    let last = latencies.len().checked_sub(1).expect("a window without a transfer");
    latencies[(last as f64 * share) as usize].as_secs_f64() * 1e3
}
