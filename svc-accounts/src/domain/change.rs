//! What an account is told to be: frozen, or not, or closed, or with another limit. The wish stands beside what the account is,
//! each under the revision of its intent, until the ledger has said what became of it. There is at most one wish about the state
//! and one about the limit; a newer one takes the place of an older one of its kind, whose revision the ledger then refuses.
//!
//! A refusal does not only drop the wish. A copy of the refused call may still be on its way and succeed later, when the account
//! has become empty; so what the account was before is wished again under a newer revision, and the ledger told of that.

use serde::{Deserialize, Serialize};

use super::{Account, AccountState, StateRevision, UnixMillis};

/// A wish that the ledger has not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent<T> {
    /// What is wished.
    pub wanted: T,
    /// Of the intent.
    pub revision: StateRevision,
}

/// Why the ledger has refused a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// There is money on the account, or some is held or expected.
    NotEmpty,
    /// The account is overdrawn by more.
    LimitBreached,
    /// The account is closed.
    Closed,
}

impl Reason {
    const ALL: [Self; 3] = [Self::NotEmpty, Self::LimitBreached, Self::Closed];

    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotEmpty => "NOT_EMPTY",
            Self::LimitBreached => "LIMIT_BREACHED",
            Self::Closed => "CLOSED",
        }
    }

    /// Reads the word in the table.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// The last refusal: for whoever wished it and comes to hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Of the intent that was refused.
    pub revision: StateRevision,
    /// Why.
    pub reason: Reason,
}

/// What an account is to become, and what it was not let become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Active, frozen or closed.
    pub state: Option<Intent<AccountState>>,
    /// The overdraft limit in minor units.
    pub limit: Option<Intent<i64>>,
    /// The newest refusal.
    pub refusal: Option<Refusal>,
}

/// What the ledger is to be told next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To let the account take part, or not.
    State(Intent<AccountState>),
    /// Its floor.
    Limit(Intent<i64>),
}

/// What the ledger says to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is as wished.
    Done,
    /// It is not, and will not be.
    Refused(Reason),
    /// A newer intent has been seen.
    Stale,
}

/// Why an account cannot be told to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The ledger does not have it yet.
    #[error("the account is being opened")]
    Opening,
    /// Nothing changes any more.
    #[error("the account is closed")]
    Closed,
}

impl Changes {
    /// Whether the ledger has to be told something.
    pub const fn is_waiting(&self) -> bool {
        self.state.is_some() || self.limit.is_some()
    }

    /// The older wish first: the ledger takes them in the order of their revisions only.
    pub fn next(&self) -> Option<Step> {
        match (self.state, self.limit) {
            (Some(state), Some(limit)) if limit.revision < state.revision => Some(Step::Limit(limit)),
            (Some(state), _) => Some(Step::State(state)),
            (None, Some(limit)) => Some(Step::Limit(limit)),
            (None, None) => None,
        }
    }
}

impl Account {
    /// What the account will be if nothing is refused.
    pub fn wanted_state(&self) -> AccountState {
        self.changes.state.map_or(self.state, |intent| intent.wanted)
    }

    /// The limit there will be if nothing is refused.
    pub fn wanted_limit(&self) -> i64 {
        self.changes.limit.map_or(self.overdraft_limit_minor_units, |intent| intent.wanted)
    }

    /// The account told to become `wanted`; `None` if it is to become that already, or is.
    pub fn told(&self, wanted: AccountState, now: UnixMillis) -> Result<Option<Self>, Unfit> {
        if self.state == AccountState::Closed && wanted == AccountState::Closed {
            return Ok(None);
        }
        self.is_fit()?;
        if self.wanted_state() == wanted {
            return Ok(None);
        }
        let mut next = self.written(now);
        next.wish_state(wanted);
        Ok(Some(next))
    }

    /// The account told to have another limit; `None` if it is to have that already, or has.
    pub fn limited(&self, limit: i64, now: UnixMillis) -> Result<Option<Self>, Unfit> {
        self.is_fit()?;
        if self.wanted_limit() == limit {
            return Ok(None);
        }
        let mut next = self.written(now);
        next.wish_limit(limit);
        Ok(Some(next))
    }

    /// The account after the ledger's word on a step of its own.
    pub fn judged(&self, step: Step, verdict: Verdict, now: UnixMillis) -> Self {
        let mut next = self.written(now);
        match (step, verdict) {
            (Step::State(intent), Verdict::Done) => {
                (next.state, next.changes.state) = (intent.wanted, None);
                if intent.wanted == AccountState::Closed {
                    next.changes.limit = None;
                }
            }
            (Step::Limit(intent), Verdict::Done) => {
                (next.overdraft_limit_minor_units, next.changes.limit) = (intent.wanted, None);
            }
            // The ledger has seen a newer one than we know to have told it: ours is the newest wish all the same.
            (Step::State(intent), Verdict::Stale) => next.wish_state(intent.wanted),
            (Step::Limit(intent), Verdict::Stale) => next.wish_limit(intent.wanted),
            (
                Step::State(Intent { revision, .. }) | Step::Limit(Intent { revision, .. }),
                Verdict::Refused(Reason::Closed),
            ) => {
                (next.state, next.changes.state, next.changes.limit) = (AccountState::Closed, None, None);
                next.changes.refusal = Some(Refusal { revision, reason: Reason::Closed });
            }
            (Step::State(intent), Verdict::Refused(reason)) => {
                next.changes.refusal = Some(Refusal { revision: intent.revision, reason });
                next.changes.state = None;
                if intent.wanted != self.state {
                    next.wish_state(self.state);
                }
            }
            (Step::Limit(intent), Verdict::Refused(reason)) => {
                next.changes.refusal = Some(Refusal { revision: intent.revision, reason });
                next.changes.limit = None;
                if intent.wanted != self.overdraft_limit_minor_units {
                    next.wish_limit(self.overdraft_limit_minor_units);
                }
            }
        }
        next
    }

    /// Why the wish of an intent, or one that took its place, was refused, if it was.
    pub fn refused_since(&self, revision: StateRevision) -> Option<Reason> {
        self.changes.refusal.filter(|refusal| refusal.revision >= revision).map(|refusal| refusal.reason)
    }

    const fn is_fit(&self) -> Result<(), Unfit> {
        match self.state {
            AccountState::Opening => Err(Unfit::Opening),
            AccountState::Closed => Err(Unfit::Closed),
            AccountState::Active | AccountState::DebitFrozen | AccountState::Frozen => Ok(()),
        }
    }

    fn wish_state(&mut self, wanted: AccountState) {
        self.state_revision = self.state_revision.next();
        self.changes.state = Some(Intent { wanted, revision: self.state_revision });
    }

    fn wish_limit(&mut self, wanted: i64) {
        self.state_revision = self.state_revision.next();
        self.changes.limit = Some(Intent { wanted, revision: self.state_revision });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{AccountId, AccountName, CurrencyCode, CustomerId, Iban};

    const NOW: UnixMillis = UnixMillis::new(2_000);

    fn account(state: AccountState) -> Account {
        Account {
            id: AccountId::new(Uuid::from_u128(1)),
            customer_id: CustomerId::new(Uuid::from_u128(2)),
            iban: Iban::parse("DE89370400440532013000").expect("valid"),
            currency: CurrencyCode::parse("EUR").expect("valid"),
            display_name: AccountName::parse("Everyday").expect("valid"),
            state,
            overdraft_limit_minor_units: 0,
            changes: Changes::default(),
            state_revision: StateRevision::FIRST,
            create_time: UnixMillis::new(1_000),
            update_time: UnixMillis::new(1_000),
            revision: 1,
        }
    }

    fn told(account: &Account, wanted: AccountState) -> Account {
        account.told(wanted, NOW).expect("fit").expect("a new wish")
    }

    fn judged(account: &Account, verdict: Verdict) -> Account {
        account.judged(account.changes.next().expect("a step"), verdict, NOW)
    }

    #[test]
    fn a_freeze_is_in_force_once_the_ledger_says_so() {
        let freezing = told(&account(AccountState::Active), AccountState::Frozen);
        assert_eq!((freezing.state, freezing.wanted_state()), (AccountState::Active, AccountState::Frozen));
        assert_eq!((freezing.state_revision.get(), freezing.revision), (2, 2));
        assert_eq!(freezing.told(AccountState::Frozen, NOW), Ok(None), "the same wish is no new one");
        let frozen = judged(&freezing, Verdict::Done);
        assert_eq!(
            (frozen.state, frozen.changes, frozen.state_revision.get()),
            (AccountState::Frozen, Changes::default(), 2)
        );
    }

    #[test]
    fn a_newer_wish_takes_the_place_of_an_older_one() {
        let freezing = told(&account(AccountState::Active), AccountState::Frozen);
        let thawing = told(&freezing, AccountState::Active);
        assert_eq!(
            thawing.changes.next(),
            Some(Step::State(Intent { wanted: AccountState::Active, revision: StateRevision::new(3) })),
            "the ledger may have heard of the freeze"
        );
    }

    #[test]
    fn a_refused_close_leaves_what_was_before_under_a_newer_revision() {
        for before in [AccountState::Active, AccountState::DebitFrozen, AccountState::Frozen] {
            let closing = told(&account(before), AccountState::Closed);
            let restoring = judged(&closing, Verdict::Refused(Reason::NotEmpty));
            assert_eq!((restoring.state, restoring.wanted_state()), (before, before));
            assert_eq!(
                restoring.changes.next(),
                Some(Step::State(Intent { wanted: before, revision: StateRevision::new(3) })),
                "a late copy of the close finds a newer intent"
            );
            assert_eq!(restoring.refused_since(closing.state_revision), Some(Reason::NotEmpty));
            let restored = judged(&restoring, Verdict::Done);
            assert_eq!((restored.state, restored.changes.next()), (before, None));
            assert_eq!(told(&restored, AccountState::Closed).refused_since(StateRevision::new(4)), None);
        }
    }

    #[test]
    fn a_refused_limit_leaves_the_one_before() {
        let limited = account(AccountState::Active).limited(500, NOW).expect("fit").expect("a new wish");
        assert_eq!((limited.overdraft_limit_minor_units, limited.wanted_limit()), (0, 500));
        let done = judged(&limited, Verdict::Done);
        assert_eq!((done.overdraft_limit_minor_units, done.changes.next()), (500, None));
        let lower = done.limited(100, NOW).expect("fit").expect("a new wish");
        let restoring = judged(&lower, Verdict::Refused(Reason::LimitBreached));
        assert_eq!((restoring.overdraft_limit_minor_units, restoring.wanted_limit()), (500, 500));
        assert!(restoring.changes.is_waiting(), "the ledger is told so");
        assert!(
            !judged(&restoring, Verdict::Refused(Reason::LimitBreached)).changes.is_waiting(),
            "but not for ever"
        );
    }

    #[test]
    fn a_freeze_does_not_lose_a_limit_that_waits() {
        let limited = account(AccountState::Active).limited(500, NOW).expect("fit").expect("a new wish");
        let both = told(&limited, AccountState::Frozen);
        assert!(
            matches!(both.changes.next(), Some(Step::Limit(Intent { wanted: 500, .. }))),
            "the older one first"
        );
        let rest = judged(&both, Verdict::Done);
        assert!(matches!(rest.changes.next(), Some(Step::State(_))));
        let frozen = judged(&rest, Verdict::Done);
        assert_eq!((frozen.state, frozen.overdraft_limit_minor_units), (AccountState::Frozen, 500));
    }

    #[test]
    fn a_stale_step_is_wished_anew_and_a_closed_account_stays_closed() {
        let freezing = told(&account(AccountState::Active), AccountState::Frozen);
        let again = judged(&freezing, Verdict::Stale);
        assert_eq!((again.wanted_state(), again.state_revision.get()), (AccountState::Frozen, 3));
        let closed = judged(&again, Verdict::Refused(Reason::Closed));
        assert_eq!((closed.state, closed.changes.next()), (AccountState::Closed, None));
        assert_eq!(closed.refused_since(again.state_revision), Some(Reason::Closed));
        assert_eq!(closed.told(AccountState::Closed, NOW), Ok(None));
        assert_eq!(closed.told(AccountState::Active, NOW), Err(Unfit::Closed));
        assert_eq!(closed.limited(1, NOW), Err(Unfit::Closed));
        assert_eq!(account(AccountState::Opening).told(AccountState::Closed, NOW), Err(Unfit::Opening));
    }

    #[test]
    fn reasons_read_back_as_written() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::parse(""), None);
    }

    proptest! {
        /// Whatever is wished and however it is judged: intents only get newer, every write is one, and an account that the ledger
        /// answers for comes to rest.
        #[test]
        fn every_account_comes_to_rest(wishes in prop::collection::vec((0_u8..5, 0_u8..4), 1..20)) {
            let mut account = account(AccountState::Active);
            for (wish, verdict) in wishes {
                let next = match wish {
                    0 => account.told(AccountState::Active, NOW),
                    1 => account.told(AccountState::DebitFrozen, NOW),
                    2 => account.told(AccountState::Frozen, NOW),
                    3 => account.told(AccountState::Closed, NOW),
                    _ => account.limited(i64::from(verdict), NOW),
                };
                let next = next.ok().flatten().unwrap_or_else(|| account.clone());
                let next = match next.changes.next() {
                    Some(step) if verdict < 3 => {
                        let verdict = [Verdict::Done, Verdict::Stale, Verdict::Refused(Reason::NotEmpty)][usize::from(verdict)];
                        next.judged(step, verdict, NOW)
                    }
                    _ => next,
                };
                prop_assert!(next.state_revision >= account.state_revision);
                prop_assert!(next == account || next.revision > account.revision);
                account = next;
            }
            let wanted = (account.wanted_state(), account.wanted_limit());
            let mut steps = 0;
            while let Some(step) = account.changes.next() {
                account = account.judged(step, Verdict::Done, NOW);
                steps += 1;
            }
            prop_assert!(steps <= 2);
            prop_assert_eq!(account.state, wanted.0);
            prop_assert!(account.overdraft_limit_minor_units == wanted.1 || account.state == AccountState::Closed);
        }
    }
}
