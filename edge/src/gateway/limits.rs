//! The first step of every request: is its header small enough, and is there room for it. Both answers are cheap, because they
//! are given to requests that nobody has authenticated.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::HeaderMap;

use crate::config::Limits;
use crate::error::Error;

/// What HTTP/2 counts for a field besides its text (RFC 9113 section 6.5.2). Counting it for HTTP/1 too makes one bound of both.
const FIELD_OVERHEAD_BYTES: usize = 32;

/// How many requests a listener serves at once. Each listener has its own, so that a flood at the door leaves the mesh alone.
#[derive(Debug)]
pub struct Budget {
    listener: &'static str,
    max: usize,
    now: AtomicUsize,
}

/// The room one request takes.
#[derive(Debug)]
pub struct Seat(Arc<Budget>);

impl Budget {
    /// Room for `max` requests at once.
    #[must_use]
    pub fn new(listener: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Self { listener, max, now: AtomicUsize::new(0) })
    }

    /// Takes a seat.
    ///
    /// # Errors
    /// When none is left.
    pub fn take(self: &Arc<Self>) -> Result<Seat, Error> {
        // Counted before it is compared: two requests that race for the last seat may both be refused, never both admitted.
        if self.now.fetch_add(1, Relaxed) >= self.max {
            self.now.fetch_sub(1, Relaxed);
            return Err(Error::TooManyInFlight { listener: self.listener });
        }
        Ok(Seat(Arc::clone(self)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
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
        let budget = Budget::new("public", 2);
        let first = budget.take().unwrap();
        let _second = budget.take().unwrap();
        assert!(matches!(budget.take(), Err(Error::TooManyInFlight { listener: "public" })));
        drop(first);
        assert!(budget.take().is_ok());
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
