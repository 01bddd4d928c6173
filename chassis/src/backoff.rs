//! The pauses between attempts at something that fails: doubled from the first to the last, and spread, so that those whom one fault
//! has stopped do not come back in step.

use std::time::Duration;

/// See the module. One for each loop that tries again for ever; what tries a few times within a deadline has its own budget.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` to `last`.
    #[must_use]
    pub const fn new(first: Duration, last: Duration) -> Self {
        Self { first, last, next: first }
    }

    /// It has worked: the next pause is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The pause after one more failure: between half of what it has grown to and the whole.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = self.next.saturating_mul(2).min(self.last);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_last_and_begin_anew_when_it_works() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for grown_ms in [100, 200, 400, 800, 1_000, 1_000] {
            let grown = Duration::from_millis(grown_ms);
            let pause = backoff.pause();
            assert!((grown / 2..=grown).contains(&pause), "{pause:?} of {grown:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
