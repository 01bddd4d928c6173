//! The first step of every request: is its header small enough, and is there room for it. Both answers are cheap, because they
//! are given to requests that nobody has authenticated. Once it is known who asks, a third: does that principal leave room for
//! others.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis::call::{Caller, Principal};
use http::HeaderMap;

use crate::config::Limits;
use crate::error::Error;

/// What HTTP/2 counts for a field besides its text (RFC 9113 section 6.5.2). Counting it for HTTP/1 too makes one bound of both.
const FIELD_OVERHEAD_BYTES: usize = 32;

/// How many requests a listener serves at once. Each listener has its own, so that a flood at the door leaves the mesh alone. The
/// limit moves between its bounds as `overload` says; every request reads it, so all is atomic and nothing is locked.
#[derive(Debug)]
pub struct Budget {
    listener: &'static str,
    min: usize,
    max: usize,
    limit: AtomicUsize,
    now: AtomicUsize,
    /// Of those now, the streams that only last.
    lasting: AtomicUsize,
}

/// The room one request takes.
#[derive(Debug)]
pub struct Seat {
    budget: Arc<Budget>,
    lasts: bool,
}

impl Budget {
    /// Room for `max` requests at once, and for `min` however overloaded the edge is.
    #[must_use]
    pub fn new(listener: &'static str, min: usize, max: usize) -> Arc<Self> {
        let (limit, now, lasting) = (AtomicUsize::new(max), AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { listener, min: min.min(max), max, limit, now, lasting })
    }

    /// Takes a seat.
    ///
    /// # Errors
    /// When none is left.
    pub fn take(self: &Arc<Self>) -> Result<Seat, Error> {
        // Counted before it is compared: two requests that race for the last seat may both be refused, never both admitted.
        let now = self.now.fetch_add(1, Relaxed);
        if now >= self.max || now.saturating_sub(self.lasting.load(Relaxed)) >= self.limit.load(Relaxed) {
            self.now.fetch_sub(1, Relaxed);
            return Err(Error::Overloaded { listener: self.listener });
        }
        Ok(Seat { budget: Arc::clone(self), lasts: false })
    }

    /// What it is called.
    #[must_use]
    pub const fn listener(&self) -> &'static str {
        self.listener
    }

    /// How many requests are admitted at once, streams that only last aside.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Whether the limit can come down no further.
    #[must_use]
    pub fn is_least(&self) -> bool {
        self.limit() <= self.min
    }

    /// Admits a tenth less than there is now. From one place only, as [`Budget::raise`].
    pub fn cut(&self) {
        let busy = self.now.load(Relaxed).saturating_sub(self.lasting.load(Relaxed));
        let limit = self.limit().min(busy);
        self.limit.store((limit - limit / 10).max(self.min), Relaxed);
    }

    /// Admits a little more.
    pub fn raise(&self) {
        let limit = self.limit();
        self.limit.store((limit + limit / 16 + 1).min(self.max), Relaxed);
    }
}

impl Seat {
    /// The request is a stream, which may be open for hours and costs next to nothing meanwhile: it counts against what the
    /// listener holds, not against what the edge can do at once.
    pub fn lasts(&mut self) {
        if !std::mem::replace(&mut self.lasts, true) {
            self.budget.lasting.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // In this order a stream that ends counts as busy for a moment, and no seat is ever counted below nothing.
        if self.lasts {
            self.budget.lasting.fetch_sub(1, Relaxed);
        }
        self.budget.now.fetch_sub(1, Relaxed);
    }
}

/// How many of a listener's seats one principal may hold. Without it a single customer with slow uploads keeps all others out.
#[derive(Debug)]
pub struct Shares {
    listener: &'static str,
    max: usize,
    names: RandomState,
    /// Open requests by a keyed hash of the principal: two that meet share a bound, which neither can bring about.
    open: Mutex<HashMap<u64, usize>>,
}

/// The seat of one principal's request.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    name: u64,
}

impl Shares {
    /// At most `max` requests at once of each principal.
    #[must_use]
    pub fn new(listener: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Self { listener, max, names: RandomState::new(), open: Mutex::default() })
    }

    /// Takes one of the caller's seats. All who do not say who they are have one share together: they can keep each other out,
    /// but nobody else. A service acts for many and is bounded by the listener.
    ///
    /// # Errors
    /// When the caller holds them all.
    pub fn take(self: &Arc<Self>, caller: &Caller) -> Result<Option<Share>, Error> {
        let name = match &caller.principal {
            Principal::Subject(subject) => self.names.hash_one((&subject.issuer, &subject.id)),
            Principal::Partner(partner) => self.names.hash_one(&partner.id),
            Principal::Anonymous => self.names.hash_one(()),
            Principal::Service => return Ok(None),
        };
        let mut open = self.open();
        let held = open.entry(name).or_default();
        if *held >= self.max {
            return Err(Error::TooManyInFlight { listener: self.listener });
        }
        *held += 1;
        drop(open);
        Ok(Some(Share { shares: Arc::clone(self), name }))
    }

    /// Counts are whole after every step, so a panic elsewhere spoils nothing.
    fn open(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.shares.open();
        if let Some(held) = open.get_mut(&self.name) {
            *held -= 1;
            if *held == 0 {
                open.remove(&self.name);
            }
        }
    }
}

/// Whether the header is within the bounds.
///
/// # Errors
/// When it is not.
pub fn check_header(path_bytes: usize, headers: &HeaderMap, limits: &Limits) -> Result<(), Error> {
    let fields: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD_BYTES).sum();
    if path_bytes + fields > limits.header_bytes_max || headers.len() > limits.header_fields_max {
        return Err(Error::HeadersTooLarge { bytes_max: limits.header_bytes_max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_comes_back_when_the_request_ends() {
        let budget = Budget::new("public", 1, 2);
        let first = budget.take().unwrap();
        let _second = budget.take().unwrap();
        assert!(matches!(budget.take(), Err(Error::Overloaded { listener: "public" })));
        drop(first);
        assert!(budget.take().is_ok());
    }

    #[test]
    fn a_principal_holds_its_share_and_leaves_the_rest() {
        let subject = |id: &str| chassis::call::Subject {
            issuer: "i".into(),
            id: id.into(),
            customer_id: None,
            scopes: chassis::call::Scopes::new(),
        };
        let caller = |principal| Caller { principal, service: None };
        let (alice, bob) =
            (caller(Principal::Subject(subject("alice"))), caller(Principal::Subject(subject("bob"))));
        let shares = Shares::new("public", 2);
        let (first, _second) = (shares.take(&alice).unwrap(), shares.take(&alice).unwrap());
        assert!(first.is_some());
        assert!(matches!(shares.take(&alice), Err(Error::TooManyInFlight { listener: "public" })));
        let other = shares.take(&bob).unwrap();
        drop(first);
        assert!(shares.take(&alice).is_ok());
        drop(other);
        assert_eq!(shares.open().len(), 1, "who has nothing open is forgotten");
        let nobody = caller(Principal::Anonymous);
        let _strangers = (shares.take(&nobody).unwrap(), shares.take(&nobody).unwrap());
        assert!(shares.take(&nobody).is_err() && shares.take(&bob).is_ok());
        assert!((0..3).all(|_| shares.take(&caller(Principal::Service)).unwrap().is_none()));
    }

    #[test]
    fn headers_are_bounded_by_bytes_and_by_count() {
        let limits = Limits { header_bytes_max: 1024, header_fields_max: 3, ..Limits::default() };
        let headers = |count: usize, bytes: usize| {
            (0..count)
                .map(|i| {
                    let name = http::HeaderName::try_from(format!("x-{i}")).unwrap();
                    (name, http::HeaderValue::try_from("v".repeat(bytes)).unwrap())
                })
                .collect::<HeaderMap>()
        };
        assert!(check_header(10, &headers(3, 200), &limits).is_ok());
        assert!(check_header(10, &headers(3, 400), &limits).is_err());
        assert!(check_header(10, &headers(4, 1), &limits).is_err());
        assert!(check_header(1025, &headers(0, 0), &limits).is_err());
    }
}
