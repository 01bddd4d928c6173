//! What one row says about another: the halves of a conversion, which are neighbours, and what a reversal gives back.

use uuid::Uuid;

use super::super::account::Amount;
use super::super::exchange::Rate;
use super::super::journal::Row;
use super::super::verdict::TransferState;
use super::Replay;

/// A reversal of a direct transfer, whose row is not kept here: whoever reads the journal looks it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The row that gives back.
    pub seq: i64,
    /// The transfer it gives back.
    pub transfer: Uuid,
    /// Whom that must have debited: the account this one credits.
    pub debit: i64,
    /// Whom that must have credited.
    pub credit: i64,
    /// The least that it must have moved.
    pub amount: i64,
}

impl Replay {
    /// The second half of a conversion must agree with the first, which is the row before it.
    pub(super) fn conversion(&mut self, row: &Row) {
        let Some(first) = self.half.take() else {
            self.half = row.exchange.is_some().then(|| row.clone());
            return;
        };
        let converted = || {
            let rate = Rate::parse(&first.exchange.as_ref()?.rate)?;
            let converted = rate.convert(Amount::new(first.amount?)?, first.currency?, row.currency?)?;
            Some(converted.minor_units())
        };
        let agrees = first.exchange == row.exchange
            && first.kind == row.kind
            && first.link.is_some()
            && first.link == row.link
            && converted().is_some_and(|amount| Some(amount) == row.amount);
        if !agrees {
            self.find(first.seq, "quote", "the other half of the conversion in the next row", "none");
        }
    }

    /// A reversal gives back, once, no more than what was posted, the other way round.
    pub(super) fn reversal(&mut self, row: &Row) {
        let (Some(transfer), Some(from), Some(to), Some(amount)) =
            (row.reference, row.debit, row.credit, row.amount)
        else {
            self.find(row.seq, "ref", "the transfer reversed", "none");
            return;
        };
        if let Some(earlier) = self.reversals.insert(transfer, row.id) {
            self.find(row.seq, "ref", "a transfer that was not reversed", format!("reversed by {earlier}"));
        }
        if transfer >= row.id {
            self.find(row.seq, "ref", "an earlier transfer, one that can be given back so", transfer);
        }
        let (debit, credit) = (to.account, from.account);
        let Some(hold) = self.holds.get(&transfer) else {
            self.claims.push(Claim { seq: row.seq, transfer, debit, credit, amount });
            return;
        };
        let ended = hold.state == TransferState::Posted && !hold.exchange;
        if !ended || (hold.debit, hold.credit) != (debit, credit) || amount > hold.captured {
            self.find(row.seq, "ref", "a transfer that can be given back so", transfer);
        }
    }

    /// Compares a reversal with what it gives back: whom that debited and credited, and how much; none if it cannot be given back.
    pub fn claimed(&mut self, claim: &Claim, original: Option<(i64, i64, i64)>) {
        let fits = original.is_some_and(|(debit, credit, amount)| {
            (debit, credit) == (claim.debit, claim.credit) && claim.amount <= amount
        });
        if !fits {
            self.find(claim.seq, "ref", "a transfer that can be given back so", claim.transfer);
        }
    }
}
