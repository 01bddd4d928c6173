//! Room for what the edge must hold whole: JSON bodies, the messages made of them, answers on their way to JSON. Each of these has
//! a bound of its own, and all requests at their bounds together would be more than the machine has; so there is one budget for the
//! process. When it runs out, requests that need much are refused, those of people first, of partners later, of services last, since
//! a call half way through the mesh has cost more than one at the door. What a request needs little of is free: small requests are
//! served whatever the large ones do, and probes never come here.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use prometheus_client::metrics::gauge::Gauge;

use crate::error::Error;
use crate::policy::Listener;

/// What each request may hold uncounted: most bodies of a bank's API. All in flight together hold less than the budget by it.
const FREE_BYTES: usize = 16 * 1024;

/// How much of the budget is used before a listener's requests are refused, in hundredths.
const fn share(listener: Listener) -> usize {
    match listener {
        Listener::Public => 70,
        Listener::Partner => 85,
        Listener::Mesh => 100,
    }
}

/// The budget of the process; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Room {
    held: Gauge,
}

/// What one request holds. Given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    room: Room,
    listener: Listener,
    /// What all may hold together when this one asks for more.
    bytes_max: usize,
    bytes: AtomicUsize,
}

impl Room {
    /// A budget whose use is a metric.
    #[must_use]
    pub fn register(metrics: &chassis::Metrics) -> Self {
        let room = Self::default();
        metrics.register("edge_buffered_bytes", "Bodies and answers held whole", room.held.clone());
        room
    }

    /// For a request of `listener`, where all together may hold `bytes_max`.
    #[must_use]
    pub fn begin(&self, listener: Listener, bytes_max: usize) -> Held {
        let bytes_max = bytes_max / 100 * share(listener);
        Held { room: self.clone(), listener, bytes_max, bytes: AtomicUsize::new(0) }
    }
}

impl Held {
    /// Takes room for more bytes.
    ///
    /// # Errors
    /// When there is none left for this listener; nothing has been taken then.
    pub fn take(&self, bytes: usize) -> Result<(), Error> {
        let (counted, before) = self.count(bytes);
        if counted > 0 && before + counted > self.bytes_max {
            self.room.held.dec_by(signed(counted));
            self.bytes.fetch_sub(bytes, Relaxed);
            return Err(Error::NoRoom { listener: self.listener.as_str() });
        }
        Ok(())
    }

    /// Counts bytes that are there anyway: an answer is not refused for want of room, the call has been made.
    pub fn add(&self, bytes: usize) {
        let _ = self.count(bytes);
    }

    /// How many of these are not free, and how many others hold.
    fn count(&self, bytes: usize) -> (usize, usize) {
        let before = self.bytes.fetch_add(bytes, Relaxed);
        let counted = counted(before + bytes) - counted(before);
        if counted == 0 {
            // The common request touches nothing that others touch.
            return (0, 0);
        }
        let held = self.room.held.inc_by(signed(counted));
        (counted, usize::try_from(held).unwrap_or(0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let counted = counted(*self.bytes.get_mut());
        if counted > 0 {
            self.room.held.dec_by(signed(counted));
        }
    }
}

const fn counted(bytes: usize) -> usize {
    bytes.saturating_sub(FREE_BYTES)
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn room_runs_out_for_people_first_and_for_services_last() {
        let room = Room::default();
        let of = |listener| room.begin(listener, 10 * MIB);
        let full = of(Listener::Mesh);
        full.take(FREE_BYTES + 6 * MIB).unwrap();
        let (public, partner, mesh) = (of(Listener::Public), of(Listener::Partner), of(Listener::Mesh));
        let fits = |held: &Held| held.take(MIB / 2).is_ok();
        assert!(fits(&public) && fits(&partner) && fits(&mesh));
        full.take(MIB / 2).unwrap();
        assert!(!fits(&public) && fits(&partner) && fits(&mesh), "beyond 70 hundredths");
        full.take(MIB / 2).unwrap();
        assert!(!fits(&public) && !fits(&partner) && fits(&mesh), "beyond 85 hundredths");
        assert!(mesh.take(2 * MIB).is_err());
        assert!(of(Listener::Public).take(FREE_BYTES).is_ok(), "what is small is free");
        drop((full, public, partner, mesh));
        assert_eq!(room.held.get(), 0);
    }

    #[test]
    fn what_is_refused_takes_nothing_and_answers_are_never_refused() {
        let room = Room::default();
        let held = room.begin(Listener::Public, 10 * MIB);
        assert!(held.take(8 * MIB).is_err());
        assert_eq!(room.held.get(), 0);
        held.add(8 * MIB);
        assert_eq!(room.held.get(), signed(8 * MIB - FREE_BYTES));
        assert!(held.take(1).is_err());
        drop(held);
        assert_eq!(room.held.get(), 0);
    }
}
