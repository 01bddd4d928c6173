//! The two clocks of a call, deadline and idle time, on one timer. Movement does not touch the timer: it only takes the time,
//! and a timer that fires too early is set again.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::{Bounds, Failure};

/// The clocks of one call. The sleep is pinned by its caller, which spares the call an allocation.
pub(super) struct Timer<'a> {
    sleep: Option<Pin<&'a mut Sleep>>,
    deadline: Option<Instant>,
    idle: Option<Duration>,
    moved_at: Option<Instant>,
}

impl<'a> Timer<'a> {
    /// What to pin for `new`: a sleep until the first bound, if there is one.
    pub(super) fn sleep(bounds: &Bounds) -> Option<Sleep> {
        earliest(bounds.deadline, Some(Instant::now()), bounds.idle).map(sleep_until)
    }

    pub(super) fn new(bounds: &Bounds, sleep: Pin<&'a mut Option<Sleep>>) -> Self {
        let moved_at = bounds.idle.map(|_idle| Instant::now());
        Self { sleep: sleep.as_pin_mut(), deadline: bounds.deadline, idle: bounds.idle, moved_at }
    }

    /// Something went through, in either direction.
    pub(super) fn moved(&mut self) {
        if let Some(moved_at) = &mut self.moved_at {
            *moved_at = Instant::now();
        }
    }

    /// Waits for the first bound to be reached.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let Some(sleep) = &mut self.sleep else { return Poll::Pending };
        loop {
            ready!(sleep.as_mut().poll(cx));
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                return Poll::Ready(Failure::Deadline);
            }
            match earliest(self.deadline, self.moved_at, self.idle) {
                Some(due) if now < due => sleep.as_mut().reset(due),
                _ => return Poll::Ready(Failure::Idle),
            }
        }
    }
}

fn earliest(deadline: Option<Instant>, moved_at: Option<Instant>, idle: Option<Duration>) -> Option<Instant> {
    let idle = moved_at.zip(idle).and_then(|(moved_at, idle)| moved_at.checked_add(idle));
    [deadline, idle].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::time::advance;

    use super::*;

    fn bounds(deadline_ms: Option<u64>, idle_ms: Option<u64>) -> Bounds {
        let ms = Duration::from_millis;
        Bounds {
            deadline: deadline_ms.map(|at| Instant::now() + ms(at)),
            idle: idle_ms.map(ms),
            request_message_bytes_max: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_bound_ends_the_call() {
        for (deadline, idle, expect, after) in [
            (Some(50), None, "Deadline", 50),
            (None, Some(30), "Idle", 30),
            (Some(50), Some(60), "Deadline", 50),
        ] {
            let start = Instant::now();
            let bounds = bounds(deadline, idle);
            let sleep = pin!(Timer::sleep(&bounds));
            let mut timer = Timer::new(&bounds, sleep);
            let failure = poll_fn(|cx| timer.poll(cx)).await;
            assert_eq!((format!("{failure:?}").as_str(), start.elapsed().as_millis()), (expect, after));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn movement_puts_the_idle_bound_off_but_not_the_deadline() {
        let start = Instant::now();
        let bounds = bounds(Some(100), Some(30));
        let sleep = pin!(Timer::sleep(&bounds));
        let mut timer = Timer::new(&bounds, sleep);
        for _ in 0..4 {
            let pending = poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await;
            assert!(pending);
            advance(Duration::from_millis(25)).await;
            timer.moved();
        }
        let failure = poll_fn(|cx| timer.poll(cx)).await;
        assert!(matches!(failure, Failure::Deadline), "{failure:?}");
        assert_eq!(start.elapsed().as_millis(), 100);
    }
}
