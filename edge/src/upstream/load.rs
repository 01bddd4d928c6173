//! How much an endpoint has to do, as far as the edge can see: calls under way times how long it has lately taken to answer. The
//! estimate is a peak that decays (PeakEWMA, as in Finagle and linkerd2): one slow answer raises it at once, good ones and time
//! bring it down. An endpoint that owes answers and says nothing is judged by its silence, so that one which has stopped is left
//! alone after a few calls and long before any of them has failed.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::StreamClass;

/// How long the estimate remembers: after this long without news a third of it is left. Shorter, and a slow endpoint is tried
/// again and again; longer, and one that has recovered stands idle.
const DECAY: Duration = Duration::from_secs(5);
/// Below this, latencies say more about the machine's scheduling than about an endpoint: what counts then is what is under way.
/// It also lets a new endpoint, of which nothing is known, share the load instead of drawing all of it.
const NOISE_US: u64 = 1_000;

/// See the module. Times are microseconds since `epoch`; all changes are single atomic operations, because every call makes them.
#[derive(Debug)]
pub(super) struct Load {
    epoch: Instant,
    unary: AtomicUsize,
    streaming: AtomicUsize,
    /// When the endpoint last answered, or was first asked after it owed nothing.
    heard_us: AtomicU64,
    /// The estimate in microseconds above, the millisecond it was made in below: one word, so that both change together. The
    /// milliseconds wrap after fifty days, which costs one wrong guess.
    estimate: AtomicU64,
}

impl Load {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            unary: AtomicUsize::new(0),
            streaming: AtomicUsize::new(0),
            heard_us: AtomicU64::new(0),
            estimate: AtomicU64::new(0),
        }
    }

    /// A call is on its way. A stream has no latency worth comparing and counts by its being open.
    pub(super) fn begin(&self, class: StreamClass, now: Instant) {
        match class {
            StreamClass::Unary => {
                if self.unary.fetch_add(1, Relaxed) == 0 {
                    self.heard_us.store(self.us(now), Relaxed);
                }
            }
            StreamClass::Streaming => {
                self.streaming.fetch_add(1, Relaxed);
            }
        }
    }

    /// The call is over, answered or not.
    pub(super) fn end(&self, class: StreamClass) {
        match class {
            StreamClass::Unary => self.unary.fetch_sub(1, Relaxed),
            StreamClass::Streaming => self.streaming.fetch_sub(1, Relaxed),
        };
    }

    /// A unary call that began then has its answer. A failure comes quickly and must not make the endpoint look fast.
    pub(super) fn answered(&self, began: Instant, now: Instant, failed: bool) {
        self.heard_us.store(self.us(now), Relaxed);
        self.learn(began, now, failed);
    }

    /// A unary call that began then was given up: an answer would have taken longer than this.
    pub(super) fn given_up(&self, began: Instant, now: Instant) {
        self.learn(began, now, true);
    }

    fn learn(&self, began: Instant, now: Instant, at_least: bool) {
        let took = u32::try_from(now.saturating_duration_since(began).as_micros()).unwrap_or(u32::MAX);
        let before = self.estimate.load(Relaxed);
        let peak = decayed(before, self.ms(now));
        let after = if took > peak || at_least { took.max(peak) } else { blend(before, took, self.ms(now)) };
        // Whoever loses this race loses one sample of many.
        let _lost = self.estimate.compare_exchange(before, pack(after, self.ms(now)), Relaxed, Relaxed);
    }

    /// Forgets what was learnt: the endpoint comes back from being away.
    pub(super) fn forget(&self) {
        self.estimate.store(0, Relaxed);
    }

    /// What one more call of this class would cost; to be compared between endpoints only.
    pub(super) fn cost(&self, class: StreamClass, now: Instant) -> u64 {
        match class {
            StreamClass::Streaming => self.streaming.load(Relaxed) as u64,
            StreamClass::Unary => {
                let waiting = self.unary.load(Relaxed) as u64;
                let estimate = u64::from(decayed(self.estimate.load(Relaxed), self.ms(now)));
                let silence =
                    if waiting == 0 { 0 } else { self.us(now).saturating_sub(self.heard_us.load(Relaxed)) };
                estimate.max(silence).max(NOISE_US).saturating_mul(waiting + 1)
            }
        }
    }

    fn us(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX)
    }

    #[allow(clippy::cast_possible_truncation, reason = "wraps, see `estimate`")]
    fn ms(&self, now: Instant) -> u32 {
        (self.us(now) / 1_000) as u32
    }
}

fn pack(estimate_us: u32, at_ms: u32) -> u64 {
    u64::from(estimate_us) << 32 | u64::from(at_ms)
}

#[allow(clippy::cast_possible_truncation, reason = "the halves of a word")]
fn unpack(estimate: u64) -> (u32, u32) {
    ((estimate >> 32) as u32, estimate as u32)
}

/// How much of an old estimate counts now.
fn weight(at_ms: u32, now_ms: u32) -> f64 {
    let age_ms = now_ms.wrapping_sub(at_ms);
    if age_ms == 0 { 1.0 } else { (-f64::from(age_ms) / DECAY.as_secs_f64() / 1e3).exp() }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no larger than it was")]
fn decayed(estimate: u64, now_ms: u32) -> u32 {
    let (us, at_ms) = unpack(estimate);
    if us == 0 { 0 } else { (f64::from(us) * weight(at_ms, now_ms)) as u32 }
}

/// The estimate with a better answer taken in. It gets its weight from the time since the last one, whatever their number: a burst
/// of quick answers must not wipe out a peak.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between the two")]
fn blend(estimate: u64, took_us: u32, now_ms: u32) -> u32 {
    let (us, at_ms) = unpack(estimate);
    let old = weight(at_ms, now_ms);
    (f64::from(us) * old + f64::from(took_us) * (1.0 - old)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const UNARY: StreamClass = StreamClass::Unary;

    /// An endpoint that has answered in these times, a millisecond apart, the last one now.
    fn answered_in(epoch: Instant, times_ms: &[u64]) -> (Load, Instant) {
        let load = Load::new(epoch);
        let mut now = epoch;
        for took in times_ms {
            load.begin(UNARY, now);
            load.answered(now, now + MS(*took), false);
            load.end(UNARY);
            now += MS(*took);
        }
        (load, now)
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_is_forgotten_slowly() {
        let epoch = Instant::now();
        let (load, now) = answered_in(epoch, &[2, 2, 500]);
        let at_once = load.cost(UNARY, now);
        assert!(at_once >= 500_000, "{at_once}");
        let later = load.cost(UNARY, now + DECAY);
        assert!((150_000..250_000).contains(&later), "a third is left: {later}");
        assert!(load.cost(UNARY, now + 10 * DECAY) <= NOISE_US, "and nothing in the end");
    }

    #[test]
    fn what_is_under_way_multiplies_and_differences_below_the_noise_do_not_count() {
        let epoch = Instant::now();
        let (load, now) = answered_in(epoch, &[10]);
        let one = load.cost(UNARY, now);
        load.begin(UNARY, now);
        load.begin(UNARY, now);
        assert_eq!(load.cost(UNARY, now), 3 * one);
        load.end(UNARY);
        load.end(UNARY);
        assert_eq!(load.cost(UNARY, now), one);
        let (fast, now) = answered_in(epoch, &[1]);
        assert_eq!(fast.cost(UNARY, now), Load::new(epoch).cost(UNARY, now), "nothing is known of a new one");
    }

    #[test]
    fn silence_costs_as_much_as_a_slow_answer() {
        let epoch = Instant::now();
        let (load, now) = answered_in(epoch, &[1, 1]);
        load.begin(UNARY, now);
        assert!(load.cost(UNARY, now + MS(300)) >= 600_000, "it owes one answer for 300 ms");
        load.answered(now, now + MS(300), false);
        load.end(UNARY);
        let idle = load.cost(UNARY, now + 10 * DECAY);
        assert!(idle <= NOISE_US, "who owes nothing may be silent: {idle}");
    }

    #[test]
    fn a_call_that_is_given_up_counts_as_slow() {
        let epoch = Instant::now();
        let (load, now) = answered_in(epoch, &[1]);
        load.begin(UNARY, now);
        load.given_up(now, now + MS(400));
        load.end(UNARY);
        assert!(load.cost(UNARY, now + MS(400)) >= 400_000);
    }

    #[test]
    fn quick_failures_do_not_make_an_endpoint_look_fast() {
        let epoch = Instant::now();
        let (load, now) = answered_in(epoch, &[50]);
        let before = load.cost(UNARY, now);
        let later = now + MS(10);
        load.answered(later, later, true);
        assert!(load.cost(UNARY, later) >= before - before / 100, "only time has worked");
        let later = later + 2 * DECAY;
        load.answered(later, later, false);
        assert!(load.cost(UNARY, later) < before / 5, "a success is believed");
    }

    #[test]
    fn streams_count_by_their_number() {
        let load = Load::new(Instant::now());
        load.begin(StreamClass::Streaming, Instant::now());
        load.begin(StreamClass::Streaming, Instant::now());
        assert_eq!(load.cost(StreamClass::Streaming, Instant::now()), 2);
        assert_eq!(load.cost(UNARY, Instant::now()), NOISE_US);
        load.end(StreamClass::Streaming);
        assert_eq!(load.cost(StreamClass::Streaming, Instant::now()), 1);
    }
}
