//! The connections of one class to one endpoint. A call takes a free place on a connection without a lock; only when there is
//! none does it wait, and the first to wait dials. One dial at a time and never more than `connections_max` connections: a
//! burst of calls fills the connections there are before it asks for another.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Slot};
use super::dial::Dialer;
use super::error::DialError;
use super::limits::Limit;

/// The first pause after a failed dial; it doubles with every further failure.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause: how late at most the return of an endpoint is noticed when nothing checks its health.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why there is no place.
#[derive(Debug)]
pub(super) enum NoSlot {
    /// No connection exists and none can be made.
    Dial(Arc<DialError>),
    /// All are full.
    Full(Limit),
}

/// Connections to `endpoint`.
#[derive(Debug)]
pub(super) struct Group {
    endpoint: SocketAddr,
    dialer: Arc<Dialer>,
    connections: ArcSwap<Vec<Arc<Connection>>>,
    dials: Mutex<Dials>,
    gate: Gate,
    /// Whether those who wait count against the upstream's bound.
    bounded: bool,
}

/// What is known about making connections.
#[derive(Debug, Default)]
struct Dials {
    under_way: bool,
    failures: u32,
    /// The last failure, and until when it stands for an attempt of one's own.
    failed: Option<(Arc<DialError>, Instant)>,
}

/// Tells those who wait that something has changed. Waiting is rare, so giving a place back costs one load when nobody waits.
/// The order that makes this safe is SeqCst: a waiter counts itself and then looks for a place, whoever frees a place does so
/// and then looks for waiters; one of the two sees the other.
#[derive(Debug, Default)]
struct Gate {
    waiting: AtomicUsize,
    changed: Notify,
}

impl Group {
    pub(super) fn new(endpoint: SocketAddr, dialer: Arc<Dialer>, bounded: bool) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            dialer,
            connections: ArcSwap::default(),
            dials: Mutex::default(),
            gate: Gate::default(),
            bounded,
        })
    }

    /// A place for a stream, waiting for it until `until`.
    pub(super) async fn slot(self: &Arc<Self>, until: Instant) -> Result<Slot, NoSlot> {
        if let Some(slot) = self.free() {
            return Ok(slot);
        }
        let _pending = match self.bounded {
            true => Some(self.dialer.limits().wait().map_err(NoSlot::Full)?),
            false => None,
        };
        let _waiting = Waiting::at(&self.gate);
        loop {
            let changed = self.gate.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change after it is not missed.
            changed.as_mut().enable();
            if let Some(slot) = self.free() {
                return Ok(slot);
            }
            self.dial_if_due(None).map_err(NoSlot::Dial)?;
            timeout_at(until, changed).await.map_err(|_elapsed| NoSlot::Full(Limit::Connections))?;
        }
    }

    /// A place on the first connection that has one: filling the first lets the others fall idle and close.
    fn free(&self) -> Option<Slot> {
        self.connections.load().iter().find_map(Connection::slot)
    }

    /// Dials for a connection that is old. It serves on until its successor is there: a call never waits because of its age.
    pub(super) fn replace(self: &Arc<Self>, old: &Arc<Connection>) {
        // A failure is logged by the dial itself; the next look tries again.
        let _tried_again = self.dial_if_due(Some(old));
    }

    /// Starts a dial unless one is under way, the cap is reached or the last failure is too fresh. The successor of an `old`
    /// connection may exceed the cap for the moment in which both are there.
    fn dial_if_due(self: &Arc<Self>, old: Option<&Arc<Connection>>) -> Result<(), Arc<DialError>> {
        let mut dials = self.dials();
        let connections = self.connections.load().len();
        if dials.under_way || (old.is_none() && connections >= self.dialer.connections_max()) {
            return Ok(());
        }
        if let Some((error, until)) = &dials.failed
            && Instant::now() < *until
        {
            // With a connection there is hope for a place on it; without one there is none.
            return if connections == 0 { Err(error.clone()) } else { Ok(()) };
        }
        dials.under_way = true;
        drop(dials);
        // A task of its own: whoever asked for the dial may leave, and others wait for its outcome.
        let (group, old) = (self.clone(), old.cloned());
        self.dialer.spawn("upstream dial", async move {
            let mut landing = Landing { group: Some(&group) };
            let dialled = group.dialer.dial(group.endpoint, &group).await;
            landing.group = None;
            let successor = dialled.is_ok();
            group.landed(dialled);
            if let Some(old) = old.filter(|_| successor) {
                old.retire();
            }
        });
        Ok(())
    }

    fn landed(&self, dialled: Result<Arc<Connection>, DialError>) {
        let mut dials = self.dials();
        dials.under_way = false;
        match dialled {
            Ok(connection) => {
                (dials.failures, dials.failed) = (0, None);
                self.change(|connections| connections.push(connection));
            }
            Err(error) => {
                let upstream = self.dialer.upstream();
                tracing::info!(upstream, error = chassis::error::chain(&error), "upstream not connected");
                let pause = PAUSE_MAX.min(PAUSE_MIN * 2_u32.saturating_pow(dials.failures));
                dials.failures = dials.failures.saturating_add(1);
                dials.failed = Some((Arc::new(error), Instant::now() + pause));
            }
        }
        drop(dials);
        self.gate.changed.notify_waiters();
    }

    /// Drops a connection from the pool.
    pub(super) fn remove(&self, gone: &Arc<Connection>) {
        let _dials = self.dials();
        self.change(|connections| connections.retain(|connection| !Arc::ptr_eq(connection, gone)));
        drop(_dials);
        self.gate.changed.notify_waiters();
    }

    /// Lets go of connections made under an older identity.
    pub(super) fn retire_before(&self, generation: u64) {
        for connection in self.connections.load().iter() {
            if connection.generation() < generation {
                connection.retire();
            }
        }
    }

    /// A place has come free.
    pub(super) fn freed(&self) {
        if self.gate.waiting.load(Ordering::SeqCst) > 0 {
            self.gate.changed.notify_one();
        }
    }

    /// Changes the list; under the lock of `dials`, which is what keeps writers apart.
    fn change(&self, edit: impl FnOnce(&mut Vec<Arc<Connection>>)) {
        let mut connections = Vec::clone(&self.connections.load());
        let before = connections.len();
        edit(&mut connections);
        self.dialer.metrics().connections_changed(self.dialer.upstream(), before, connections.len());
        self.connections.store(Arc::new(connections));
    }

    fn dials(&self) -> MutexGuard<'_, Dials> {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The endpoint is gone from the configuration; its connections end with the streams that are on them.
        self.change(Vec::clear);
    }
}

/// Counts a waiter for as long as it waits.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn at(gate: &'a Gate) -> Self {
        gate.waiting.fetch_add(1, Ordering::SeqCst);
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Clears `under_way` if the dial's task ends early, so that the group does not wait for it for ever.
struct Landing<'a> {
    group: Option<&'a Arc<Group>>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            group.landed(Err(DialError::Abandoned));
        }
    }
}
