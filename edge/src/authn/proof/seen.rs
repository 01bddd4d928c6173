//! The proofs that have been taken, so that none is taken twice. Two sets take turns: the younger takes in, the older still
//! counts, and when the younger has been in use for as long as a proof could be good, the older is emptied. So a proof is
//! remembered at least as long as it is good, without a timer or a place in a queue for each.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use ring::digest::{Context, SHA256};

use super::super::refusal::{ProofCause, Refusal};

/// See the module. A full set turns proofs away: to forget one would be to take it again.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Turns>);

#[derive(Debug, Default)]
struct Turns {
    /// From the earliest moment at which a proof is taken to the last.
    span_s: u64,
    each_max: usize,
    young: HashSet<u128>,
    old: HashSet<u128>,
    since: u64,
}

impl Seen {
    /// Makes room for `proofs_max` proofs, each good for `window_s` before and after the moment it was made. What was remembered
    /// for a shorter window may be taken once more if it is lengthened, and only then.
    pub fn bound(&self, proofs_max: usize, window_s: u64) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One second more, because both ends of the window count.
        (turns.span_s, turns.each_max) = (2 * window_s + 1, proofs_max.div_ceil(2));
    }

    /// Takes the proof of the key `key` with the id `id`, unless it was taken before.
    pub fn take(&self, key: &[u8; 32], id: &str, now: u64) -> Result<(), Refusal> {
        let mut hash = Context::new(&SHA256);
        hash.update(key);
        hash.update(id.as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&hash.finish().as_ref()[..16]);
        let proof = u128::from_be_bytes(half);

        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.turn(now);
        if turns.young.contains(&proof) || turns.old.contains(&proof) {
            return Err(ProofCause::Replayed.into());
        }
        if turns.young.len() >= turns.each_max {
            return Err(Refusal::ProofsExhausted);
        }
        turns.young.insert(proof);
        Ok(())
    }
}

impl Turns {
    fn turn(&mut self, now: u64) {
        let age = now.saturating_sub(self.since);
        if age < self.span_s {
            return;
        }
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.clear();
        if age >= 2 * self.span_s {
            self.old.clear();
        }
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLAYED: Result<(), Refusal> = Err(Refusal::ProofInvalid { cause: ProofCause::Replayed });

    fn seen(proofs_max: usize) -> Seen {
        let seen = Seen::default();
        seen.bound(proofs_max, 60);
        seen
    }

    #[test]
    fn a_proof_is_taken_once_as_long_as_it_could_be_good() {
        for begun in [1_000_000, 1_000_030, 1_000_119] {
            let seen = seen(100);
            assert_eq!(seen.take(&[0; 32], "first", 1_000_000), Ok(()));
            assert_eq!(seen.take(&[1; 32], "a", begun), Ok(()));
            for later in [0, 1, 60, 119, 120] {
                assert_eq!(seen.take(&[1; 32], "a", begun + later), REPLAYED, "{begun} {later}");
            }
            assert_eq!(seen.take(&[2; 32], "a", begun + 120), Ok(()), "of another key");
        }
    }

    #[test]
    fn a_full_memory_takes_no_more_and_has_room_again_later() {
        let seen = seen(4);
        assert_eq!(seen.take(&[1; 32], "a", 1_000_000), Ok(()));
        assert_eq!(seen.take(&[1; 32], "b", 1_000_000), Ok(()));
        assert_eq!(seen.take(&[1; 32], "c", 1_000_000), Err(Refusal::ProofsExhausted));
        assert_eq!(seen.take(&[1; 32], "a", 1_000_000), REPLAYED);
        assert_eq!(seen.take(&[1; 32], "c", 1_000_121), Ok(()));
        assert_eq!(seen.take(&[1; 32], "a", 1_000_121), REPLAYED, "the older set counts");
    }
}
