//! When to stop asking a cache that does not answer. After some failures in a row nothing is asked for a moment; then one
//! question at a time finds out whether it is back. Pure but for its lock: the time is an argument.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts failures and says whether to ask.
#[derive(Debug)]
pub struct Circuit {
    failures_max: u32,
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Asking; so many failures in a row.
    Closed { failures: u32 },
    /// Not asking before that instant.
    Open { until: Instant },
}

impl Circuit {
    /// A circuit that opens after `failures_max` failures in a row, for `rest`.
    pub const fn new(failures_max: u32, rest: Duration) -> Self {
        Self { failures_max, rest, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Whether to ask. When the rest is over, the first who comes is let through and the others wait for what it finds.
    pub fn admits(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed { .. } => true,
            State::Open { until } if now < until => false,
            State::Open { .. } => {
                *state = State::Open { until: now + self.rest };
                true
            }
        }
    }

    /// An answer came. Returns whether the circuit was open.
    pub fn answered(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_open = matches!(*state, State::Open { .. });
        *state = State::Closed { failures: 0 };
        was_open
    }

    /// No answer came. Returns whether that has opened the circuit.
    pub fn failed(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed { failures } if failures + 1 < self.failures_max => {
                *state = State::Closed { failures: failures + 1 };
                false
            }
            State::Closed { .. } => {
                *state = State::Open { until: now + self.rest };
                true
            }
            State::Open { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(2);

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_closes_it() {
        let start = Instant::now();
        let circuit = Circuit::new(3, REST);
        assert!(!circuit.failed(start));
        assert!(!circuit.failed(start));
        assert!(!circuit.answered(), "it was closed");
        assert!(!circuit.failed(start), "the count begins again");
        assert!(!circuit.failed(start));
        assert!(circuit.admits(start));
        assert!(circuit.failed(start), "the third in a row");
        assert!(!circuit.admits(start + REST / 2));
    }

    #[test]
    fn after_the_rest_one_asks_for_all() {
        let start = Instant::now();
        let circuit = Circuit::new(1, REST);
        assert!(circuit.failed(start));
        assert!(circuit.admits(start + REST), "the first");
        assert!(!circuit.admits(start + REST), "the others wait");
        assert!(!circuit.failed(start + REST), "it is open already");
        assert!(circuit.admits(start + REST * 2), "the next trial");
        assert!(circuit.answered());
        assert!(circuit.admits(start + REST * 2));
    }
}
