//! A consent and its life: PENDING when the holder gave it, ACTIVE once the ledger knows, REVOKING when a holder took it
//! back, REVOKED once the ledger knows that too. Time ends it without a write. Every intent raises the state revision, which
//! travels to the ledger, so that a resumed grant cannot undo the revocation that followed it.
//!
//! What a consent allows is asked here and nowhere else.

use std::collections::BTreeSet;

use super::{AccountId, ConsentId, CustomerId, PartnerId, StateRevision, UnixMillis, etag};

/// What a partner may do with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsentScope {
    /// Read the account itself.
    ReadAccount,
    /// Read the balance.
    ReadBalance,
    /// Read entries and transfers.
    ReadEntries,
    /// Debit the account within the caps.
    CreateTransfers,
}

impl ConsentScope {
    /// All of them, in their order.
    pub const ALL: [Self; 4] =
        [Self::ReadAccount, Self::ReadBalance, Self::ReadEntries, Self::CreateTransfers];

    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadAccount => "READ_ACCOUNT",
            Self::ReadBalance => "READ_BALANCE",
            Self::ReadEntries => "READ_ENTRIES",
            Self::CreateTransfers => "CREATE_TRANSFERS",
        }
    }

    /// Reads the word in the table.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    /// Whether the ledger judges by it. The account itself is this service's to show.
    pub const fn is_the_ledgers(self) -> bool {
        match self {
            Self::ReadAccount => false,
            Self::ReadBalance | Self::ReadEntries | Self::CreateTransfers => true,
        }
    }
}

/// A consent to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must name at least one scope")]
pub struct NoScope;

/// Scopes, at least one, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentScopes(BTreeSet<ConsentScope>);

impl ConsentScopes {
    /// Takes the scopes; naming one twice says nothing new.
    pub fn new(scopes: impl IntoIterator<Item = ConsentScope>) -> Result<Self, NoScope> {
        let scopes: BTreeSet<ConsentScope> = scopes.into_iter().collect();
        if scopes.is_empty() { Err(NoScope) } else { Ok(Self(scopes)) }
    }

    /// Whether `scope` is among them.
    pub fn contains(&self, scope: ConsentScope) -> bool {
        self.0.contains(&scope)
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = ConsentScope> {
        self.0.iter().copied()
    }
}

/// Why an amount is no cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCap {
    /// Nobody meant to give everything away by leaving a field out.
    #[error("must be positive with CREATE_TRANSFERS")]
    NotPositive,
    /// There is nothing to cap.
    #[error("must be zero without CREATE_TRANSFERS")]
    NotZero,
    /// The whole is less than a part of it.
    #[error("must be at least per_transfer_max_minor_units")]
    LessThanOne,
}

/// How much a partner may move, in minor units of the account's currency; both zero where it may move nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    per_transfer_max: i64,
    total_max: i64,
}

impl Caps {
    /// Reads the caps of a consent; what is wrong with either.
    pub fn parse(
        may_transfer: bool,
        per_transfer_max: i64,
        total_max: i64,
    ) -> Result<Self, (Option<InvalidCap>, Option<InvalidCap>)> {
        let alone = |cap: i64| match (may_transfer, cap) {
            (true, ..=0) => Some(InvalidCap::NotPositive),
            (false, ..=-1 | 1..) => Some(InvalidCap::NotZero),
            (true, 1..) | (false, 0) => None,
        };
        match (alone(per_transfer_max), alone(total_max)) {
            (None, None) if total_max < per_transfer_max => Err((None, Some(InvalidCap::LessThanOne))),
            (None, None) => Ok(Self { per_transfer_max, total_max }),
            invalid => Err(invalid),
        }
    }

    /// Of one transfer.
    pub const fn per_transfer_max(&self) -> i64 {
        self.per_transfer_max
    }

    /// Of all transfers together.
    pub const fn total_max(&self) -> i64 {
        self.total_max
    }
}

/// Why a consent may not last that long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExpiry {
    /// It would never allow anything.
    #[error("must be in the future")]
    Past,
    /// Longer than the bank lets a consent last.
    #[error("must be at most {0} days ahead")]
    TooFar(u32),
}

const MILLIS_PER_DAY: i64 = 86_400_000;

/// Checks that a consent given `now` may last until `expire_time`.
pub fn check_expiry(now: UnixMillis, expire_time: UnixMillis, days_max: u32) -> Result<(), InvalidExpiry> {
    let lasts = expire_time.since(now);
    if lasts <= 0 {
        return Err(InvalidExpiry::Past);
    }
    if lasts > i64::from(days_max).saturating_mul(MILLIS_PER_DAY) {
        return Err(InvalidExpiry::TooFar(days_max));
    }
    Ok(())
}

/// What a holder agrees to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Who may act.
    pub partner: PartnerId,
    /// What it may do.
    pub scopes: ConsentScopes,
    /// How much it may move.
    pub caps: Caps,
    /// From then on nothing is allowed.
    pub expire_time: UnixMillis,
}

/// How far a consent is in its life, as it is written. That it has expired is not: see [`Consent::is_expired`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConsentState {
    /// Given; the ledger is being told.
    Pending,
    /// Allows what it says.
    Active,
    /// Taken back; the ledger is being told.
    Revoking,
    /// Taken back everywhere.
    Revoked,
}

impl ConsentState {
    const ALL: [Self; 4] = [Self::Pending, Self::Active, Self::Revoking, Self::Revoked];

    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Active => "ACTIVE",
            Self::Revoking => "REVOKING",
            Self::Revoked => "REVOKED",
        }
    }

    /// Reads the word in the table.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether it was taken back.
    pub const fn is_taken_back(self) -> bool {
        match self {
            Self::Pending | Self::Active => false,
            Self::Revoking | Self::Revoked => true,
        }
    }
}

/// A consent as the table keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Made by this service; the ledger uses the same.
    pub id: ConsentId,
    /// To which account.
    pub account_id: AccountId,
    /// The holder who gave it.
    pub customer_id: CustomerId,
    /// What was agreed to; never changes.
    pub terms: Terms,
    /// How far it is in its life.
    pub state: ConsentState,
    /// Of the newest intent.
    pub state_revision: StateRevision,
    /// When it was given.
    pub create_time: UnixMillis,
    /// When it last changed.
    pub update_time: UnixMillis,
    /// Raised by one with every write, from 1.
    pub revision: u64,
}

impl Consent {
    /// A consent that was just given.
    pub const fn given(
        id: ConsentId,
        account_id: AccountId,
        customer_id: CustomerId,
        terms: Terms,
        now: UnixMillis,
    ) -> Self {
        Self {
            id,
            account_id,
            customer_id,
            terms,
            state: ConsentState::Pending,
            state_revision: StateRevision::FIRST,
            create_time: now,
            update_time: now,
            revision: 1,
        }
    }

    /// The consent once the ledger knows of its newest intent; `None` when it knows already.
    pub fn settled(&self, now: UnixMillis) -> Option<Self> {
        match self.state {
            ConsentState::Pending => Some(self.in_state(ConsentState::Active, now)),
            ConsentState::Revoking => Some(self.in_state(ConsentState::Revoked, now)),
            ConsentState::Active | ConsentState::Revoked => None,
        }
    }

    /// The consent taken back, a new intent; `None` when it was before.
    pub fn taken_back(&self, now: UnixMillis) -> Option<Self> {
        if self.state.is_taken_back() {
            return None;
        }
        let state_revision = self.state_revision.next();
        Some(Self { state_revision, ..self.in_state(ConsentState::Revoking, now) })
    }

    fn in_state(&self, state: ConsentState, now: UnixMillis) -> Self {
        Self { state, update_time: now, revision: self.revision + 1, ..self.clone() }
    }

    /// Whether its time is over: at `expire_time`, and not before.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        now >= self.terms.expire_time
    }

    /// Whether it allows `partner` to do what `scope` says.
    pub fn allows(&self, partner: &PartnerId, scope: ConsentScope, now: UnixMillis) -> bool {
        self.state == ConsentState::Active
            && !self.is_expired(now)
            && self.terms.partner == *partner
            && self.terms.scopes.contains(scope)
    }

    /// What the ledger has to let the partner do: nothing once it was taken back.
    pub fn ledger_scopes(&self) -> impl Iterator<Item = ConsentScope> {
        let in_force = !self.state.is_taken_back();
        self.terms.scopes.iter().filter(move |scope| in_force && scope.is_the_ledgers())
    }

    /// Whether the ledger must hear of the newest intent. It never hears of a consent that is none of its business, and need
    /// not hear of one that can allow nothing any more; but what it may have heard of is taken back whenever that is.
    pub fn concerns_the_ledger(&self, now: UnixMillis) -> bool {
        let granted = self.terms.scopes.iter().any(ConsentScope::is_the_ledgers);
        granted && (self.state.is_taken_back() || !self.is_expired(now))
    }

    /// Changes with every write.
    pub fn etag(&self) -> String {
        etag::of(self.id.bytes(), self.revision, self.update_time)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn terms(scopes: &[ConsentScope]) -> Terms {
        Terms {
            partner: PartnerId::parse("psp").expect("valid"),
            scopes: ConsentScopes::new(scopes.iter().copied()).expect("some"),
            caps: Caps::parse(scopes.contains(&ConsentScope::CreateTransfers), 0, 0)
                .or_else(|_| Caps::parse(true, 10, 100))
                .expect("valid"),
            expire_time: UnixMillis::new(5_000),
        }
    }

    fn pending(scopes: &[ConsentScope]) -> Consent {
        let [id, account, customer] = [1, 2, 3].map(Uuid::from_u128);
        Consent::given(
            ConsentId::new(id),
            AccountId::new(account),
            CustomerId::new(customer),
            terms(scopes),
            UnixMillis::new(1_000),
        )
    }

    fn at(millis: i64) -> UnixMillis {
        UnixMillis::new(millis)
    }

    /// What may happen to a consent.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Settle,
        TakeBack,
    }

    proptest! {
        #[test]
        fn a_consent_taken_back_never_allows_again(
            steps in prop::collection::vec(prop_oneof![Just(Step::Settle), Just(Step::TakeBack)], 0..12),
            now in 0_i64..10_000,
            scope in prop::sample::select(ConsentScope::ALL.to_vec()),
            granted in prop::sample::subsequence(ConsentScope::ALL.to_vec(), 1..=4),
        ) {
            let mut consent = pending(&granted);
            let mut taken_back = false;
            let (mut intents, mut writes) = (1, 1);
            for step in steps {
                let next = match step {
                    Step::Settle => consent.settled(at(now)),
                    Step::TakeBack => consent.taken_back(at(now)),
                };
                if let Some(next) = next {
                    writes += 1;
                    intents += u32::from(matches!(step, Step::TakeBack));
                    taken_back |= matches!(step, Step::TakeBack);
                    prop_assert!(next.state_revision >= consent.state_revision);
                    prop_assert_eq!(&next.terms, &consent.terms);
                    consent = next;
                }
                prop_assert_eq!(consent.state_revision.get(), intents, "each intent raises it, and nothing else");
                prop_assert_eq!(consent.revision, writes);
                prop_assert_eq!(consent.state.is_taken_back(), taken_back);
                let allows = consent.allows(&consent.terms.partner, scope, at(now));
                let expect = consent.state == ConsentState::Active && now < 5_000 && granted.contains(&scope);
                prop_assert_eq!(allows, expect);
                prop_assert!(!(taken_back && (allows || consent.ledger_scopes().count() > 0)));
            }
        }
    }

    #[test]
    fn a_consent_ends_at_its_expiry_and_not_before() {
        let active = pending(&[ConsentScope::ReadAccount]).settled(at(1_500)).expect("pending");
        for (now, allows) in [(0, true), (4_999, true), (5_000, false), (9_000, false)] {
            assert_eq!(
                active.allows(&active.terms.partner, ConsentScope::ReadAccount, at(now)),
                allows,
                "{now}"
            );
        }
    }

    #[test]
    fn a_consent_allows_its_partner_and_its_scopes_only() {
        let consent = pending(&[ConsentScope::ReadAccount, ConsentScope::ReadBalance]);
        let psp = consent.terms.partner.clone();
        assert!(!consent.allows(&psp, ConsentScope::ReadAccount, at(2_000)), "the ledger does not know yet");
        let active = consent.settled(at(1_500)).expect("pending");
        let other = PartnerId::parse("psp-2").expect("valid");
        for (partner, scope, allows) in [
            (&psp, ConsentScope::ReadAccount, true),
            (&psp, ConsentScope::ReadBalance, true),
            (&psp, ConsentScope::ReadEntries, false),
            (&psp, ConsentScope::CreateTransfers, false),
            (&other, ConsentScope::ReadAccount, false),
        ] {
            assert_eq!(active.allows(partner, scope, at(2_000)), allows, "{partner} {scope:?}");
        }
    }

    #[test]
    fn the_ledger_hears_of_what_it_judges_by() {
        let own = pending(&[ConsentScope::ReadAccount]);
        assert!(!own.concerns_the_ledger(at(1_000)));
        let both = pending(&[ConsentScope::ReadAccount, ConsentScope::CreateTransfers]);
        assert!(both.concerns_the_ledger(at(4_999)));
        assert!(!both.concerns_the_ledger(at(5_000)), "it would allow nothing");
        assert_eq!(both.ledger_scopes().collect::<Vec<_>>(), [ConsentScope::CreateTransfers]);
        let revoking = both.taken_back(at(2_000)).expect("given");
        assert!(revoking.concerns_the_ledger(at(9_000)), "the ledger may have heard of it");
        assert_eq!(revoking.ledger_scopes().count(), 0);
        assert_eq!(revoking.taken_back(at(3_000)), None, "once is enough");
    }

    #[test]
    fn caps_are_demanded_where_money_moves_and_nowhere_else() {
        use InvalidCap::{LessThanOne, NotPositive, NotZero};
        for (may_transfer, per_transfer, total, expect) in [
            (true, 1, 1, Ok(())),
            (true, 10, i64::MAX, Ok(())),
            (false, 0, 0, Ok(())),
            (true, 0, 0, Err((Some(NotPositive), Some(NotPositive)))),
            (true, -1, 5, Err((Some(NotPositive), None))),
            (true, 5, i64::MIN, Err((None, Some(NotPositive)))),
            (true, 5, 4, Err((None, Some(LessThanOne)))),
            (false, 1, -1, Err((Some(NotZero), Some(NotZero)))),
        ] {
            let caps = Caps::parse(may_transfer, per_transfer, total);
            assert_eq!(caps.map(|_| ()), expect, "{may_transfer} {per_transfer} {total}");
        }
    }

    #[test]
    fn a_consent_lasts_from_a_moment_to_the_banks_bound() {
        let day = MILLIS_PER_DAY;
        for (expire_time, expect) in [
            (at(1_001), Ok(())),
            (at(1_000 + 180 * day), Ok(())),
            (at(1_000), Err(InvalidExpiry::Past)),
            (at(i64::MIN), Err(InvalidExpiry::Past)),
            (at(1_001 + 180 * day), Err(InvalidExpiry::TooFar(180))),
            (at(i64::MAX), Err(InvalidExpiry::TooFar(180))),
        ] {
            assert_eq!(check_expiry(at(1_000), expire_time, 180), expect, "{expire_time:?}");
        }
    }

    #[test]
    fn words_read_back_as_written() {
        for scope in ConsentScope::ALL {
            assert_eq!(ConsentScope::parse(scope.as_str()), Some(scope));
        }
        for state in ConsentState::ALL {
            assert_eq!(ConsentState::parse(state.as_str()), Some(state));
        }
        assert_eq!((ConsentScope::parse("read_account"), ConsentState::parse("EXPIRED")), (None, None));
        assert_eq!(ConsentScopes::new([]), Err(NoScope));
    }
}
