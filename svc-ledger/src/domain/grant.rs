//! What a customer's consent allows a partner, as the ledger judges by it: which acts on which account, until when, and of
//! debits how much. svc-accounts says what a grant is ([`Terms`]); what transfers have taken of it is counted here.

use uuid::Uuid;

use super::account::Amount;
use super::verdict::Refusal;

/// One thing that a grant may allow. The numbers are bits, and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Scope {
    /// Read the balance.
    ReadBalance = 1,
    /// Read entries and transfers.
    ReadEntries = 2,
    /// Debit the account.
    CreateTransfers = 4,
}

/// What a grant allows. Nothing at all is what a revoked consent leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(i16);

impl Scopes {
    const ALL: i16 = Scope::ReadBalance as i16 | Scope::ReadEntries as i16 | Scope::CreateTransfers as i16;

    /// From its stored number; `None` if a bit has no meaning.
    #[must_use]
    pub fn from_bits(bits: i16) -> Option<Self> {
        (bits & !Self::ALL == 0).then_some(Self(bits))
    }

    /// As stored.
    #[must_use]
    pub fn bits(self) -> i16 {
        self.0
    }

    /// Whether it is among them.
    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope as i16 != 0
    }

    /// Those that are in, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        [Scope::ReadBalance, Scope::ReadEntries, Scope::CreateTransfers]
            .into_iter()
            .filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope as i16))
    }
}

/// A grant as svc-accounts wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The consent it comes from; its key.
    pub consent: Uuid,
    /// Who may act, an opaque id.
    pub partner: String,
    /// What is allowed.
    pub scopes: Scopes,
    /// The most one transfer may take; none for no cap.
    pub per_transfer_max: Option<Amount>,
    /// The most all transfers together may take, held ones included; none for no cap.
    pub total_max: Option<Amount>,
    /// From then on nothing is allowed, in milliseconds of the Unix time.
    pub expires_at: i64,
    /// The revision of the intent; a lower one than was seen is refused.
    pub revision: i64,
}

/// A grant as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The number of the account it is for. Neither it nor the partner ever changes.
    pub account: i64,
    /// What is allowed.
    pub terms: Terms,
    /// What transfers have taken, held ones included. Every unit of it is a debit of the account, so it stays within 64 bits as
    /// the account's own totals do.
    pub used: i64,
}

impl Grant {
    /// Whether `partner` may do that with the account numbered `account` at `now`, in milliseconds of the Unix time.
    #[must_use]
    pub fn allows(&self, account: i64, partner: &str, scope: Scope, now: i64) -> bool {
        self.account == account
            && self.terms.partner == partner
            && self.terms.scopes.contains(scope)
            && now < self.terms.expires_at
    }

    /// Which cap a debit of `amount` would exceed, if one; the cap of the single transfer first.
    #[must_use]
    pub fn exceeded(&self, amount: Amount) -> Option<Refusal> {
        self.exceeded_by_more(0, amount)
    }

    /// The same of `more` on top of a transfer of `so_far`, which has been taken already.
    #[must_use]
    pub fn exceeded_by_more(&self, so_far: i64, more: Amount) -> Option<Refusal> {
        let above =
            |cap: Option<Amount>, sum: i128| cap.is_some_and(|cap| sum > i128::from(cap.minor_units()));
        let more = i128::from(more.minor_units());
        if above(self.terms.per_transfer_max, i128::from(so_far) + more) {
            return Some(Refusal::PerTransferCap);
        }
        above(self.terms.total_max, i128::from(self.used) + more).then_some(Refusal::TotalCap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            account: 7,
            terms: Terms {
                consent: Uuid::from_u128(1),
                partner: "psp".to_owned(),
                scopes: [Scope::ReadBalance, Scope::CreateTransfers].into_iter().collect(),
                per_transfer_max: Amount::new(100),
                total_max: Amount::new(250),
                expires_at: 1_000,
                revision: 1,
            },
            used: 200,
        }
    }

    #[test]
    fn a_grant_allows_its_partner_its_account_its_acts_and_its_time_only() {
        use Scope::{CreateTransfers, ReadBalance, ReadEntries};
        let cases = [
            (7, "psp", ReadBalance, 999, true),
            (7, "psp", CreateTransfers, 0, true),
            (7, "psp", ReadEntries, 999, false),
            (8, "psp", ReadBalance, 999, false),
            (7, "pspx", ReadBalance, 999, false),
            (7, "psp", ReadBalance, 1_000, false),
        ];
        for (account, partner, scope, now, expect) in cases {
            assert_eq!(
                grant().allows(account, partner, scope, now),
                expect,
                "{account} {partner} {scope:?} {now}"
            );
        }
    }

    #[test]
    fn the_cap_that_is_exceeded_is_named() {
        let uncapped = |mut grant: Grant| {
            (grant.terms.per_transfer_max, grant.terms.total_max) = (None, None);
            grant
        };
        let cases = [
            (grant(), 50, None),
            (grant(), 51, Some(Refusal::TotalCap)),
            (grant(), 100, Some(Refusal::TotalCap)),
            (grant(), 101, Some(Refusal::PerTransferCap)),
            (uncapped(grant()), i64::MAX, None),
            (
                Grant { terms: Terms { per_transfer_max: None, ..grant().terms }, ..grant() },
                i64::MAX,
                Some(Refusal::TotalCap),
            ),
        ];
        for (grant, amount, expect) in cases {
            assert_eq!(grant.exceeded(Amount::new(amount).unwrap()), expect, "{amount}");
        }
    }

    #[test]
    fn bits_without_a_meaning_are_refused() {
        for bits in 0..8 {
            let scopes = Scopes::from_bits(bits).unwrap();
            assert_eq!((scopes.bits(), scopes.iter().collect::<Scopes>()), (bits, scopes));
        }
        assert_eq!((Scopes::from_bits(8), Scopes::from_bits(-1)), (None, None));
    }
}
