//! Chains: commands that stand or fall together.

use std::collections::HashSet;

use super::super::command::{Action, Command};
use super::super::verdict::{self, Refusal, Verdict};
use super::{Judge, exchange};

impl Judge {
    /// Judges a chain of transfers, and appends one verdict for each.
    pub(super) fn chain(&mut self, chain: &[Command], verdicts: &mut Vec<Verdict>) {
        let first = verdicts.len();
        let validate_only = chain.iter().any(|command| command.validate_only);
        let known: Vec<Option<Verdict>> = chain.iter().map(|command| self.known_outcome(command)).collect();
        if known.iter().any(Option::is_some) {
            // All, and each as it was: the chain was judged before. Otherwise it can neither be made nor be left half.
            let refused = || Verdict::Refused(Refusal::ChainFailed);
            verdicts.extend(known.into_iter().map(|known| known.unwrap_or_else(refused)));
        } else if has_a_key_twice(chain) {
            // Two transfers cannot both be the outcome of one key, and neither can be left out.
            verdicts.extend((0..chain.len()).map(|place| repeated(chain, place)));
        } else {
            let mark = self.begin();
            let made = self.chained(chain);
            if made.is_err() || validate_only {
                self.take_back(mark);
            } else {
                self.keep();
            }
            verdicts.extend(chain_verdicts(chain.len(), made));
        }
        if validate_only {
            for verdict in &mut verdicts[first..] {
                let judged = std::mem::replace(verdict, Verdict::NotAttempted);
                *verdict = judged.unmade();
            }
            return;
        }
        for (place, command) in (first..).zip(chain) {
            self.close(place, command, &verdicts[place]);
        }
    }

    /// Freezes one of a chain and tells the audit, unless it was judged before.
    fn close(&mut self, place: usize, command: &Command, verdict: &Verdict) {
        let outcomes = self.outcomes.len();
        self.freeze(command, verdict);
        if self.outcomes.len() > outcomes || matches!(verdict, Verdict::BodyChanged(_)) {
            self.record(place, command, verdict, verdict.made());
        }
    }

    /// The transfers of the chain, or which one was refused, and why.
    fn chained(&mut self, chain: &[Command]) -> Result<Vec<verdict::Transfer>, (usize, Refusal)> {
        self.link = Some(self.next_seq());
        let made = (0..chain.len())
            .map(|place| self.chained_one(chain, place).map_err(|refusal| (place, refusal)))
            .collect();
        self.link = None;
        made
    }

    fn chained_one(&mut self, chain: &[Command], place: usize) -> Result<verdict::Transfer, Refusal> {
        let command = &chain[place];
        exchange::check(chain, place)?;
        match &command.action {
            Action::Transfer(_, transfer) => self.transfer(command, transfer),
            // Only transfers are chained: nothing else comes with a link to the next.
            Action::Open(_)
            | Action::SetState(_)
            | Action::SetLimits(_)
            | Action::Grant(_)
            | Action::Resolve(..)
            | Action::Reverse(..)
            | Action::Expire(_)
            | Action::ClosePeriod(..) => Err(Refusal::ChainFailed),
        }
    }
}

fn has_a_key_twice(chain: &[Command]) -> bool {
    let keys =
        || chain.iter().filter_map(|command| command.action.request()).map(|(request, _)| &request.key);
    keys().collect::<HashSet<_>>().len() < keys().count()
}

/// What becomes of one of a chain that has a key twice: it falls with its chain, unless its key came with another body before.
fn repeated(chain: &[Command], place: usize) -> Verdict {
    let Some((request, operation)) = chain[place].action.request() else {
        return Verdict::Refused(Refusal::ChainFailed);
    };
    let earlier = chain[..place]
        .iter()
        .filter_map(|command| command.action.request())
        .find(|(earlier, _)| earlier.key == request.key);
    let differences = earlier.map(|(earlier, _)| request.body.differences(operation, &earlier.body));
    match differences {
        Some(differences) if !differences.is_empty() => Verdict::BodyChanged(differences),
        Some(_) | None => Verdict::Refused(Refusal::ChainFailed),
    }
}

fn chain_verdicts(
    length: usize,
    made: Result<Vec<verdict::Transfer>, (usize, Refusal)>,
) -> impl Iterator<Item = Verdict> {
    let (made, refused) = match made {
        Ok(made) => (made, None),
        Err(refused) => (Vec::new(), Some(refused)),
    };
    let failed = refused.map(|(at, refusal)| {
        (0..length)
            .map(move |place| Verdict::Refused(if place == at { refusal } else { Refusal::ChainFailed }))
    });
    made.into_iter().map(Verdict::Booked).chain(failed.into_iter().flatten())
}
