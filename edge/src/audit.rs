//! The record of what the edge refused: every call of an audited method that never reached its service becomes an event for
//! whoever keeps them (`edge.v1.AuditService`). What reached the service is the owner's to write down, with its effect.
//!
//! It is best effort, and says so: no call waits for it, the queue has a bound, and what does not fit is counted. An event has its
//! id from the moment of the refusal, so that sending it twice keeps it once. What is shed before it is known who calls what (a
//! full listener, a header that cannot be read) is no call of anybody's and is not here; `edge_refusals_total` counts it.

mod event;
mod ship;

use std::time::SystemTime;

use chassis::drain::Drain;
use chassis::error::Failure as _;
use prometheus_client::metrics::counter::Counter;
use proto::edge::v1::AuditEvent;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::error::Error;
use crate::request::Record;
use crate::snapshot::Current;

/// Events that may wait: minutes of a keeper that is away, at a rate of refusals that is no attack. A few megabytes.
const QUEUE_MAX: usize = 10_000;

/// Where refusals go; clones share it.
#[derive(Clone, Debug)]
pub struct Audit {
    queue: mpsc::Sender<AuditEvent>,
    numbers: Numbers,
}

/// What became of the events.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    shipped: Counter,
    dropped: Counter,
}

impl Audit {
    /// Starts to send events to whoever keeps them at the time. The sender ends when the last handle has gone, with what is left
    /// sent.
    #[must_use]
    pub fn start(current: Current, drain: &Drain, metrics: &chassis::metrics::Metrics) -> Self {
        let numbers = Numbers::register(metrics);
        let (queue, events) = mpsc::channel(QUEUE_MAX);
        drain.spawn("audit", ship::run(events, current, drain.clone(), numbers.clone()));
        Self { queue, numbers }
    }

    /// Takes note of a refusal, if the method is audited, its service has not heard of the call, and somebody keeps such events.
    pub fn refused(&self, current: &Current, record: &Record, error: &Error) {
        let Some(method) = record.method.as_ref().filter(|method| method.policy.audited) else { return };
        if record.upstream_called() || current.load().providers.audit.is_none() {
            return;
        }
        let (id, now) = (Uuid::now_v7(), SystemTime::now());
        let caller = record.caller.as_deref();
        self.offer(event::refused(id, now, method, caller, record.transaction_id(), error.reason()));
    }

    fn offer(&self, event: AuditEvent) {
        if self.queue.try_send(event).is_err() {
            self.numbers.dropped.inc();
        }
    }
}

impl Numbers {
    fn register(metrics: &chassis::metrics::Metrics) -> Self {
        let own = Self::default();
        metrics.register("edge_audit_shipped", "Audit events of refusals that are kept", own.shipped.clone());
        metrics.register(
            "edge_audit_dropped",
            "Audit events of refusals that were lost",
            own.dropped.clone(),
        );
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_finds_the_queue_full_is_lost_and_counted() {
        let numbers = Numbers::default();
        let (queue, mut events) = mpsc::channel(2);
        let audit = Audit { queue, numbers: numbers.clone() };
        for id in 1..=5 {
            audit.offer(AuditEvent { event_id: id.to_string(), ..AuditEvent::default() });
        }
        assert_eq!(numbers.dropped.get(), 3);
        let kept = [events.recv().await.unwrap(), events.recv().await.unwrap()];
        assert_eq!(kept.map(|event| event.event_id), ["1", "2"], "the first ones stay");
    }
}
