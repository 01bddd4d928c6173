//! Load for the benchmarks: a number of requests always in flight, how long each took, and what a process spent on them. The CPU
//! time of the process that is measured is the figure to watch; requests/s depend on whoever else is on the machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;

/// Makes one request and checks its answer.
pub type Request = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// What a run has shown.
#[derive(Clone, Debug)]
pub struct Measured {
    pub requests: usize,
    pub wall: Duration,
    /// User and system time of the measured process.
    pub cpu: Duration,
    /// In order.
    latencies: Vec<Duration>,
}

/// Keeps `in_flight` requests under way for `time`, after a warm-up of a fifth of it, and reads what process `pid` spent.
pub async fn measure(request: &Request, in_flight: usize, time: Duration, pid: u32) -> Measured {
    run(request, in_flight, time / 5).await;
    let cpu = cpu_time(pid);
    let began = Instant::now();
    let mut latencies = run(request, in_flight, time).await;
    let (wall, cpu) = (began.elapsed(), cpu_time(pid).saturating_sub(cpu));
    latencies.sort_unstable();
    Measured { requests: latencies.len(), wall, cpu, latencies }
}

impl Measured {
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }

    /// CPU microseconds for each request.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }

    /// The latency that this share of requests stays below, in milliseconds.
    #[must_use]
    pub fn latency_ms(&self, share: f64) -> f64 {
        let last = self.latencies.len() - 1;
        self.latencies[(last as f64 * share) as usize].as_secs_f64() * 1e3
    }
}

async fn run(request: &Request, in_flight: usize, time: Duration) -> Vec<Duration> {
    let end = Instant::now() + time;
    let one = async |_| {
        let mut latencies = Vec::new();
        while Instant::now() < end {
            let began = Instant::now();
            request().await;
            latencies.push(began.elapsed());
        }
        latencies
    };
    futures::stream::iter(0..in_flight).map(one).buffer_unordered(in_flight).concat().await
}

/// The user and system time a process has used, from `/proc/<pid>/stat` (proc(5), fields 14 and 15, in ticks of 10 ms).
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let ticks: u64 = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// The resident memory of a process in MiB, from `/proc/<pid>/status`.
#[must_use]
pub fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
