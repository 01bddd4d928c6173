//! What is done to the endpoints, and what callers saw of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::fleet::Fleet;
use crate::load::{Sample, Target};

/// How long all is well before.
const BEFORE: Duration = Duration::from_secs(4);
/// How long a lasting fault lasts.
const LASTS: Duration = Duration::from_secs(5);
/// How long all endpoints are gone.
const GONE: Duration = Duration::from_secs(3);
/// Half a turn of one that flaps, and how many it makes.
const FLAP: Duration = Duration::from_secs(1);
const FLAPS: u32 = 5;
/// How long the load goes on after.
const AFTER: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug)]
pub enum Scenario {
    Quiet,
    Killed,
    Paused,
    Slowed,
    Flapping,
    Gone,
}

pub const SCENARIOS: [Scenario; 6] = [
    Scenario::Quiet,
    Scenario::Killed,
    Scenario::Paused,
    Scenario::Slowed,
    Scenario::Flapping,
    Scenario::Gone,
];

/// A row of the table.
pub struct Row {
    name: &'static str,
    samples: Vec<Sample>,
    /// When the fault lasted, from the beginning of the load.
    fault: (Duration, Duration),
    repeated: f64,
}

impl Scenario {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "nothing happens",
            Self::Killed => "one killed, restarted after 5 s",
            Self::Paused => "one stopped (SIGSTOP) for 5 s",
            Self::Slowed => "one slowed to 500 ms for 5 s",
            Self::Flapping => "one killed and started every second, 10 s",
            Self::Gone => "all gone for 3 s",
        }
    }

    const fn lasts(self) -> Duration {
        match self {
            Self::Quiet | Self::Killed | Self::Paused | Self::Slowed => LASTS,
            Self::Flapping => FLAP.saturating_mul(2 * FLAPS),
            Self::Gone => GONE,
        }
    }

    /// Runs the load with the fault in its middle.
    pub async fn run(self, fleet: &mut Fleet, target: &Arc<Target>) -> Row {
        let repeated = repeated(target).await;
        let begun = Instant::now();
        let time = BEFORE + self.lasts() + AFTER;
        let hurting = async {
            sleep_until(begun + BEFORE).await;
            let from = begun.elapsed();
            self.hurt(fleet).await;
            (from, begun.elapsed())
        };
        let (samples, fault) = tokio::join!(target.load(begun, time), hurting);
        let repeated = self::repeated(target).await - repeated;
        Row { name: self.name(), samples, fault, repeated }
    }

    async fn hurt(self, fleet: &mut Fleet) {
        match self {
            Self::Quiet => sleep(LASTS).await,
            Self::Killed => {
                fleet.kill(0);
                sleep(LASTS).await;
                fleet.launch(0);
            }
            Self::Paused => {
                fleet.pause(0);
                sleep(LASTS).await;
                fleet.resume(0);
            }
            Self::Slowed => {
                fleet.turn(0);
                sleep(LASTS).await;
                fleet.turn(0);
            }
            Self::Flapping => {
                for _ in 0..FLAPS {
                    fleet.kill(0);
                    sleep(FLAP).await;
                    fleet.launch(0);
                    sleep(FLAP).await;
                }
            }
            Self::Gone => {
                (0..fleet.len()).for_each(|at| fleet.kill(at));
                sleep(GONE).await;
                (0..fleet.len()).for_each(|at| fleet.launch(at));
            }
        }
    }
}

/// Attempts beyond the first, of all calls so far.
async fn repeated(target: &Target) -> f64 {
    let label = "upstream=\"bench\"";
    let retries = target.metric("upstream_retries_total{", "outcome=\"made\"").await;
    retries + target.metric("upstream_moved_total{", label).await
}

impl Row {
    /// The 99th percentile of what was due in a span of time, in milliseconds.
    fn p99(&self, from: Duration, to: Duration) -> f64 {
        let due = self.samples.iter().filter(|sample| (from..to).contains(&sample.at));
        let mut took: Vec<Duration> = due.map(|sample| sample.ended - sample.at).collect();
        took.sort_unstable();
        let at = took.len().saturating_sub(1) * 99 / 100;
        took.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    }
}

impl Row {
    /// How many ended with which status, besides 200.
    fn statuses(&self) -> String {
        let mut counts = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| !sample.is_ok()) {
            *counts.entry(sample.status).or_insert(0) += 1;
        }
        let told: Vec<_> = counts.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        told.join(", ")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = self.fault;
        let failed =
            |write: bool| self.samples.iter().filter(|one| !one.is_ok() && one.write == write).count();
        let (reads, writes, requests) = (failed(false), failed(true), self.samples.len());
        let last = self.samples.iter().filter(|sample| !sample.is_ok()).map(|sample| sample.ended).max();
        let last = last.map_or("none".to_owned(), |last| match last.checked_sub(to) {
            Some(after) => format!("{:.1} s after its end", after.as_secs_f64()),
            None => format!("{:.1} s after its begin", last.saturating_sub(from).as_secs_f64()),
        });
        write!(
            f,
            "| {} | {requests} | {reads} | {writes} | {} | {:.2} % | {:.0} ms | {:.0} ms | {:.0} ms | {last} | {:.3} |",
            self.name,
            self.statuses(),
            (reads + writes) as f64 * 100.0 / requests as f64,
            self.p99(Duration::from_secs(1), from),
            self.p99(from, to),
            self.p99(to + Duration::from_secs(1), Duration::MAX),
            1.0 + self.repeated / requests as f64,
        )
    }
}
