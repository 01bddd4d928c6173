//! The memory of the limits: a table of fixed size, without a lock and without an allocation after its making. A bucket is one
//! number, the moment at which it will be full again (GCRA): a bucket whose moment has passed is full, and forgetting it forgets
//! nothing. Each key has a set of eight places; a new key takes the place whose bucket is fullest, which costs somebody something
//! only while all eight are in use.
//!
//! Everything is relaxed: each number stands for itself, and where two requests race, one of them may be counted in a bucket that
//! is just being given away. That is one request more or less, of a limit of hundreds.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::limits::Rate;
use super::who::{Key, mix};

const WAYS: usize = 8;

/// The places a key may have. The keys share a cache line, and so do the moments.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    keys: [AtomicU64; WAYS],
    /// The moment in nanoseconds, and in the lowest bit whether other edges have moved it.
    moments: [AtomicU64; WAYS],
    /// What was admitted and not yet told to the provider.
    unreported: [AtomicU32; WAYS],
}

/// See the module.
#[derive(Debug)]
pub(super) struct Buckets {
    sets: Box<[Set]>,
    /// Keeps which keys share a set from being known outside.
    seed: u64,
    /// What moments count from.
    beginning: Instant,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// Its bucket is now this far ahead of the clock; to make room for it, one was forgotten that was not full.
    Admitted { ahead: u64, evicted: bool },
    /// The bucket is empty for so long, through the requests of other edges or of this one alone.
    Refused { wait: u64, shared: bool },
}

impl Buckets {
    /// Room for `entries` buckets, rounded up to a power of two.
    pub(super) fn new(entries: usize) -> Self {
        let sets = entries.div_ceil(WAYS).next_power_of_two();
        Self {
            sets: std::iter::repeat_with(Set::default).take(sets).collect(),
            seed: rand::random(),
            beginning: Instant::now(),
        }
    }

    /// A moment as the table knows it.
    pub(super) fn time(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.beginning).as_nanos()).unwrap_or(u64::MAX >> 2)
    }

    /// Takes one request from a bucket, if it is there. `keep` counts it for the next report.
    pub(super) fn charge(&self, key: Key, rate: Rate, now: u64, keep: bool) -> Charge {
        let (set, way, evicted) = self.place(key, now);
        let moment = &set.moments[way];
        let mut word = moment.load(Relaxed);
        loop {
            let (full_at, shared) = (word >> 1, word & 1 == 1);
            let ahead = full_at.saturating_sub(now);
            if ahead > rate.most() {
                // It was larger under a limit that is gone, and is an empty one of today's.
                let empty = (now + rate.room) << 1 | word & 1;
                word = match moment.compare_exchange_weak(word, empty, Relaxed, Relaxed) {
                    Ok(_) => empty,
                    Err(other) => other,
                };
                continue;
            }
            let ahead = ahead + rate.each;
            if ahead > rate.room {
                return Charge::Refused { wait: ahead - rate.room, shared };
            }
            // What others have used stays theirs until the bucket has been full once.
            let shared = shared && full_at > now;
            match moment.compare_exchange_weak(word, (now + ahead) << 1 | u64::from(shared), Relaxed, Relaxed)
            {
                Ok(_) => {
                    if keep {
                        set.unreported[way].fetch_add(1, Relaxed);
                    }
                    return Charge::Admitted { ahead, evicted };
                }
                Err(other) => word = other,
            }
        }
    }

    /// Empties a bucket so far that it is `ahead` of the clock, unless it is further already.
    pub(super) fn raise(&self, key: Key, rate: Rate, ahead: u64, now: u64) {
        let (set, way, _) = self.place(key, now);
        set.moments[way].fetch_max((now + ahead.min(rate.most())) << 1 | 1, Relaxed);
    }

    /// Gives what was admitted since the last time to `report`, and forgets it.
    pub(super) fn reported(&self, mut report: impl FnMut(Key, u32)) {
        for set in &self.sets {
            for (key, unreported) in set.keys.iter().zip(&set.unreported) {
                if unreported.load(Relaxed) > 0 {
                    report(Key(key.load(Relaxed)), unreported.swap(0, Relaxed));
                }
            }
        }
    }

    /// Keeps something for the next report once more, if its bucket is still known. Returns how much there is to tell then.
    pub(super) fn report_again(&self, key: Key, requests: u32) -> u32 {
        let set = self.set(key);
        let Some(way) = set.find(key) else { return 0 };
        set.unreported[way].fetch_add(requests, Relaxed) + requests
    }

    /// The place of a key, and whether another bucket than a full one had to go for it.
    fn place(&self, key: Key, now: u64) -> (&Set, usize, bool) {
        let set = self.set(key);
        if let Some(way) = set.find(key) {
            return (set, way, false);
        }
        let (way, evicted) = set.claim(key, now);
        (set, way, evicted)
    }

    fn set(&self, key: Key) -> &Set {
        #[allow(clippy::cast_possible_truncation, reason = "a power of two that is a usize")]
        &self.sets[mix(key.0 ^ self.seed) as usize & (self.sets.len() - 1)]
    }
}

impl Set {
    fn find(&self, key: Key) -> Option<usize> {
        self.keys.iter().position(|held| held.load(Relaxed) == key.0)
    }

    /// Takes the fullest bucket's place.
    #[cold]
    fn claim(&self, key: Key, now: u64) -> (usize, bool) {
        loop {
            let words = self.moments.iter().map(|moment| moment.load(Relaxed));
            let (way, word) = words.enumerate().min_by_key(|(_, word)| *word).unwrap_or_default();
            let held = self.keys[way].load(Relaxed);
            if self.keys[way].compare_exchange(held, key.0, Relaxed, Relaxed).is_err() {
                // Somebody else was first, perhaps with the same key.
                if let Some(way) = self.find(key) {
                    return (way, false);
                }
                continue;
            }
            // Full again, unless somebody has already found it under its new key.
            let _ = self.moments[way].compare_exchange(word, 0, Relaxed, Relaxed);
            self.unreported[way].store(0, Relaxed);
            return (way, word >> 1 > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;
    /// Ten a second.
    const RATE: Rate = Rate { each: SECOND / 10, room: SECOND };

    fn admitted(buckets: &Buckets, key: u64, now: u64) -> bool {
        matches!(buckets.charge(Key(key), RATE, now, true), Charge::Admitted { .. })
    }

    #[test]
    fn a_bucket_gives_what_it_holds_and_fills_evenly() {
        let buckets = Buckets::new(64);
        assert_eq!((0..12).filter(|_| admitted(&buckets, 16, SECOND)).count(), 10);
        let refused = buckets.charge(Key(16), RATE, SECOND, true);
        assert_eq!(refused, Charge::Refused { wait: SECOND / 10, shared: false });
        assert!(!admitted(&buckets, 16, SECOND + SECOND / 10 - 1));
        assert!(admitted(&buckets, 16, SECOND + SECOND / 10));
        assert!(!admitted(&buckets, 16, SECOND + SECOND / 10));
        assert!(admitted(&buckets, 32, SECOND), "another key has another bucket");
        assert_eq!(
            (0..12).filter(|_| admitted(&buckets, 16, 9 * SECOND)).count(),
            10,
            "and it does not overflow"
        );
    }

    #[test]
    fn what_others_have_used_is_theirs_until_the_bucket_is_full() {
        let buckets = Buckets::new(64);
        buckets.raise(Key(16), RATE, SECOND, SECOND);
        assert_eq!(
            buckets.charge(Key(16), RATE, SECOND, true),
            Charge::Refused { wait: SECOND / 10, shared: true }
        );
        assert!(admitted(&buckets, 16, SECOND + SECOND / 10));
        assert!(matches!(
            buckets.charge(Key(16), RATE, SECOND + SECOND / 10, true),
            Charge::Refused { shared: true, .. }
        ));
        // A bucket that is further than what the others say stays where it is.
        buckets.raise(Key(16), RATE, 0, SECOND + SECOND / 10);
        assert!(!admitted(&buckets, 16, SECOND + SECOND / 10));
        assert_eq!((0..12).filter(|_| admitted(&buckets, 16, 4 * SECOND)).count(), 10);
        assert!(matches!(
            buckets.charge(Key(16), RATE, 4 * SECOND, true),
            Charge::Refused { shared: false, .. }
        ));
    }

    #[test]
    fn a_smaller_limit_leaves_no_debt_of_the_larger_one() {
        let buckets = Buckets::new(64);
        let hour = Rate { each: 3_600 * SECOND, room: 3_600 * SECOND };
        assert!(matches!(buckets.charge(Key(16), hour, SECOND, false), Charge::Admitted { .. }));
        let Charge::Refused { wait, .. } = buckets.charge(Key(16), RATE, SECOND, false) else {
            panic!("it is empty")
        };
        assert_eq!(wait, SECOND / 10);
        assert!(admitted(&buckets, 16, SECOND + SECOND / 10), "and it is as it was told");
    }

    #[test]
    fn full_buckets_go_first_and_memory_is_bounded() {
        let buckets = Buckets::new(64);
        // One key has used all it has; a hundred thousand others come by, each once, a tenth of a second apart.
        while admitted(&buckets, 16, SECOND) {}
        for other in 2..100_000 {
            let now = SECOND + other * SECOND / 1_000_000;
            assert!(admitted(&buckets, other * 16, now), "a newcomer is always let in");
        }
        assert!(!admitted(&buckets, 16, SECOND + SECOND / 10 - 1), "the emptiest bucket is remembered");
        assert_eq!(buckets.sets.len() * WAYS, 64);
    }

    #[test]
    fn each_request_is_reported_once() {
        let buckets = Buckets::new(64);
        for _ in 0..3 {
            admitted(&buckets, 16, SECOND);
        }
        admitted(&buckets, 32, SECOND);
        let take = || {
            let mut told = Vec::new();
            buckets.reported(|key, requests| told.push((key.0, requests)));
            told.sort_unstable();
            told
        };
        assert_eq!(take(), [(16, 3), (32, 1)]);
        assert_eq!(take(), []);
        buckets.report_again(Key(16), 2);
        buckets.report_again(Key(48), 2);
        assert_eq!(take(), [(16, 2)], "of a bucket that is not known there is nothing to tell");
    }

    proptest! {
        /// Whatever the arrivals, no window sees more than a full bucket and what came in meanwhile.
        #[test]
        fn no_stretch_of_time_sees_more_than_it_may(gaps in prop::collection::vec(0_u64..SECOND / 4, 1..200)) {
            let buckets = Buckets::new(64);
            let mut now = SECOND;
            let mut times = Vec::new();
            for gap in gaps {
                now += gap;
                if admitted(&buckets, 16, now) {
                    times.push(now);
                }
            }
            for (n, from) in times.iter().enumerate() {
                for (m, to) in times.iter().enumerate().skip(n) {
                    let most = 10 + (to - from) / (SECOND / 10) + 1;
                    prop_assert!((m - n + 1) as u64 <= most);
                }
            }
        }
    }

    #[test]
    fn threads_that_race_for_one_bucket_get_what_it_holds() {
        let buckets = Buckets::new(64);
        let rate = Rate { each: SECOND / 1_000, room: SECOND };
        let admitted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        if let Charge::Admitted { .. } = buckets.charge(Key(16), rate, SECOND, true) {
                            admitted.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1_000);
    }
}
