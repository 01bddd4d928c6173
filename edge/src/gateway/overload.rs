//! Whether the edge has more to do than it can, and what it does about it: it admits less, before queues have made every answer
//! late. The sign is the time that something ready waits for a core, as CoDel takes it for packets: not one bad moment, but the
//! best of many in a row. How long services take says nothing here, for they differ a thousandfold and a slow one is bounded by
//! its upstream's own limits; gradients over latency, as Envoy's adaptive concurrency has them, would shed everybody's calls for it.
//!
//! The limits then follow the rule of TCP: down by a tenth of what is really in flight, up again slowly. Outer listeners are cut
//! first; a call half way through the mesh has cost more than one at the door, so the mesh listener follows when the others have
//! nothing more to give. The admin listener, where health is asked, has no limit.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::Duration;

use chassis::Metrics;
use chassis::drain::Drain;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, sleep_until};

use super::limits::Budget;
use crate::config::Overload;
use crate::policy::Listener;

/// How often the wait is measured. Fifty timers a second cost nothing that could be seen.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// How many samples make a verdict: a pause of the machine that is shorter than their time is forgiven.
const SAMPLES: u32 = 10;

/// The budgets of all listeners, and the numbers that are shown of them.
pub struct Shedding {
    rules: Overload,
    outer: Vec<Arc<Budget>>,
    mesh: Vec<Arc<Budget>>,
    limits: Family<ListenerLabels, Gauge>,
    queueing: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

impl Shedding {
    /// Nothing is watched yet.
    #[must_use]
    pub fn new(rules: Overload, metrics: &Metrics) -> Self {
        let own = Self {
            rules,
            outer: Vec::new(),
            mesh: Vec::new(),
            limits: Family::default(),
            queueing: Gauge::default(),
        };
        metrics.register(
            "edge_in_flight_limit",
            "Requests admitted at once, streams aside",
            own.limits.clone(),
        );
        metrics.register(
            "edge_queueing_seconds",
            "How long what is ready waits for a core, at best",
            own.queueing.clone(),
        );
        own
    }

    /// Makes the budget of a listener, to be cut when the edge is overloaded.
    pub fn budget(&mut self, listener: Listener, max: usize) -> Arc<Budget> {
        let budget = Budget::new(listener.as_str(), self.rules.in_flight_min, max);
        match listener {
            Listener::Public | Listener::Partner => self.outer.push(Arc::clone(&budget)),
            Listener::Mesh => self.mesh.push(Arc::clone(&budget)),
        }
        self.show();
        budget
    }

    /// Watches until the drain.
    pub fn start(self, drain: &Drain) {
        if self.rules.queueing_ms == 0 {
            return;
        }
        let stopping = drain.stopping();
        drain.spawn("overload", async move {
            tokio::select! {
                () = stopping => (),
                () = self.watch() => (),
            }
        });
    }

    async fn watch(self) {
        let mut least = Duration::MAX;
        for sample in 1_u32.. {
            let due = Instant::now() + SAMPLE_EVERY;
            sleep_until(due).await;
            behind_the_others().await;
            least = least.min(due.elapsed());
            if sample % SAMPLES == 0 {
                self.queueing.set(least.as_secs_f64());
                self.turn(least);
                self.show();
                least = Duration::MAX;
            }
        }
    }

    /// Draws the conclusion from the shortest wait of a while.
    fn turn(&self, least: Duration) {
        let all = || self.outer.iter().chain(&self.mesh);
        if least <= self.rules.queueing() {
            all().for_each(|budget| budget.raise());
            return;
        }
        // Counted before, so that the mesh is spared in the turn that brings the others to their least.
        let spent = self.outer.iter().all(|budget| budget.is_least());
        self.outer.iter().for_each(|budget| budget.cut());
        if spent {
            self.mesh.iter().for_each(|budget| budget.cut());
        }
        tracing::warn!(queueing_ms = least.as_millis(), "overloaded");
    }

    fn show(&self) {
        for budget in self.outer.iter().chain(&self.mesh) {
            let limit = i64::try_from(budget.limit()).unwrap_or(i64::MAX);
            self.limits.get_or_create(&ListenerLabels { listener: budget.listener() }).set(limit);
        }
    }
}

/// Waits until everything that is ready now on this thread has had its turn: tokio runs what a timer wakes next of all, and what
/// wakes itself behind the others.
async fn behind_the_others() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::super::limits::Seat;
    use super::*;

    const CALM: Duration = Duration::from_millis(1);
    const LATE: Duration = Duration::from_millis(60);

    fn shedding() -> (Shedding, Arc<Budget>, Arc<Budget>) {
        let rules = Overload { queueing_ms: 25, in_flight_min: 10 };
        let mut shedding = Shedding::new(rules, &Metrics::default());
        let public = shedding.budget(Listener::Public, 1_000);
        let mesh = shedding.budget(Listener::Mesh, 2_000);
        (shedding, public, mesh)
    }

    fn take(budget: &Arc<Budget>, count: usize) -> Vec<Seat> {
        (0..count).filter_map(|_| budget.take().ok()).collect()
    }

    #[test]
    fn the_limit_comes_down_to_what_the_edge_can_do_and_goes_up_again() {
        // A machine that gets through 100 requests in a turn; what it holds beyond that waits. 150 more come each turn.
        let (shedding, public, _) = shedding();
        let (mut held, mut waits) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            held.extend(take(&public, 150));
            let late = Duration::from_micros(400) * u32::try_from(held.len().saturating_sub(100)).unwrap();
            waits.push(late);
            shedding.turn(late);
            held.truncate(held.len().saturating_sub(100));
        }
        let settled = &waits[50..];
        let worst = settled.iter().max().unwrap();
        assert!(*worst < 2 * shedding.rules.queueing(), "the wait settles near the target: {worst:?}");
        let limit = public.limit();
        assert!((100..250).contains(&limit), "and the limit near what is possible: {limit}");

        drop(held);
        (0..100).for_each(|_| shedding.turn(CALM));
        assert_eq!(public.limit(), 1_000, "the load has gone");
    }

    #[test]
    fn one_late_moment_sheds_little_and_what_is_shed_comes_back_by_itself() {
        let (shedding, public, _) = shedding();
        let held = take(&public, 500);
        shedding.turn(LATE);
        assert_eq!(public.limit(), 450, "a tenth of what is in flight, however high the limit was");
        assert!(public.take().is_err());
        drop(held);
        assert!(public.take().is_ok());
    }

    #[test]
    fn the_mesh_is_shed_last_and_nobody_below_the_least() {
        let (shedding, public, mesh) = shedding();
        let (_outer, _inner) = (take(&public, 100), take(&mesh, 100));
        let mut turns = 0;
        while !public.is_least() {
            assert_eq!(mesh.limit(), 2_000);
            shedding.turn(LATE);
            turns += 1;
        }
        assert!(turns > 10, "it comes down step by step: {turns}");
        shedding.turn(LATE);
        assert!(mesh.limit() < 100, "{}", mesh.limit());
        (0..100).for_each(|_| shedding.turn(LATE));
        assert_eq!((public.limit(), mesh.limit()), (10, 10));
    }

    #[test]
    fn streams_that_only_last_leave_the_limit_to_the_others() {
        let (shedding, public, _) = shedding();
        let mut streams = take(&public, 800);
        streams.iter_mut().for_each(Seat::lasts);
        let _calls = take(&public, 100);
        shedding.turn(LATE);
        assert_eq!(public.limit(), 90, "of a hundred");
        drop(_calls);
        assert_eq!(take(&public, 100).len(), 90);
        drop(streams);
        assert_eq!(take(&public, 100).len(), 90, "and take nothing along when they end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_measured_behind_what_is_ready() {
        let order = std::cell::RefCell::new(Vec::new());
        let first = async {
            behind_the_others().await;
            order.borrow_mut().push("sample");
        };
        let second = async { order.borrow_mut().push("work") };
        tokio::join!(first, second);
        assert_eq!(*order.borrow(), ["work", "sample"]);
    }
}
