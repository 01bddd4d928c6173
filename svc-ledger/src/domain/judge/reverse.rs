//! Reversals: what a posted transfer moved goes back, once.

use uuid::Uuid;

use super::super::account::Amount;
use super::super::command::{AmountMode, Command, Reverse};
use super::super::journal::{HIDDEN, Kind};
use super::super::period::day_of;
use super::super::verdict::{self, Refusal, TransferState};
use super::super::view::{Direct, Hold};
use super::Judge;
use super::rules::{self, Movement};

impl Judge {
    pub(super) fn reverse(
        &mut self,
        command: &Command,
        reverse: &Reverse,
    ) -> Result<verdict::Transfer, Refusal> {
        let (debit, credit, amount) = self.reversible(command, reverse)?;
        let (from, to) = (&self.view.accounts.rows()[debit], &self.view.accounts.rows()[credit]);
        rules::open_for(from, to)?;
        rules::within_limits(AmountMode::Exact, amount, from, to)?;
        let (from_after, to_after) = rules::after(Movement::Transfer(amount), from.totals, to.totals)
            .ok_or(Refusal::BalanceOverflow)?;
        if from.purpose.is_house() {
            return Err(Refusal::FourEyes);
        }
        let (floor, ceiling, currency) = (from.floor, to.ceiling, from.currency);
        // A customer who gives money back was not told from which account it had come, and is not told by this either.
        let hidden = !command.actor.staff && !to.purpose.is_house();
        let mut row = self.pair(command, Kind::Reverse, amount, (debit, from_after), (credit, to_after));
        row.floor = floor;
        row.ceiling = ceiling;
        row.reference = Some(reverse.transfer);
        row.flags = if hidden { HIDDEN } else { 0 };
        row.detail_hash = reverse.detail.as_ref().map(|detail| detail.hash);
        let value_date = day_of(self.view.head.now);
        row.value_date = Some(value_date);
        self.put_reversal(reverse.transfer, row.id);
        if let Some(detail) = &reverse.detail {
            self.details.push((row.id, detail.clone()));
        }
        let booked = verdict::Transfer {
            id: row.id,
            debit: Some(self.party(debit)),
            credit: Some(self.party(credit)).filter(|_| !hidden),
            amount: amount.minor_units(),
            posted: amount.minor_units(),
            held: 0,
            currency,
            state: TransferState::Posted,
            reference: reverse.detail.as_ref().map(|detail| detail.reference.clone()).unwrap_or_default(),
            seq: row.seq,
            booked_at: row.booked_at,
            expires_at: None,
            value_date,
            link: row.link,
            reverses: Some(reverse.transfer),
            reversed_by: None,
            exchange: None,
            payee: None,
        };
        self.rows.push(row);
        Ok(booked)
    }

    /// The places of the accounts to debit and to credit, and how much.
    fn reversible(&self, command: &Command, reverse: &Reverse) -> Result<(usize, usize, Amount), Refusal> {
        let original = self.original(reverse.transfer);
        let accounts = &self.view.accounts;
        let places = original.and_then(|(original, _)| {
            accounts.place_of_no(original.credit).zip(accounts.place_of_no(original.debit))
        });
        // A consent is to debit, and none says that money may be given back.
        let own = command.actor.partner.is_none()
            && places.is_some_and(|(debit, _)| self.owns(&command.actor, &accounts.rows()[debit]));
        if !command.actor.staff && !own {
            return Err(Refusal::NotPermitted);
        }
        let (Some((original, is_pending)), Some((debit, credit))) = (original, places) else {
            return Err(Refusal::NoTransfer);
        };
        let posted = Amount::new(original.amount).filter(|_| !original.is_final && !is_pending);
        let posted = posted.ok_or(Refusal::NotReversible)?;
        if self.view.reversals.contains_key(&reverse.transfer) {
            return Err(Refusal::AlreadyReversed);
        }
        let amount = reverse.amount.unwrap_or(posted);
        if amount > posted { Err(Refusal::ExceedsTransfer) } else { Ok((debit, credit, amount)) }
    }

    /// A transfer, with what of it was posted, and whether it is still pending. The unit may have made it itself; what others in the
    /// same transaction have made nobody can name yet.
    pub(super) fn original(&self, transfer: Uuid) -> Option<(Direct, bool)> {
        if let Some(hold) = self.view.holds.get(&transfer) {
            return Some((of_hold(hold), hold.state == TransferState::Pending));
        }
        if let Some(direct) = self.view.directs.get(&transfer) {
            return Some((*direct, false));
        }
        let row = self.rows.iter().find(|row| row.id == transfer)?;
        let is_final = row.kind == Kind::Reverse || row.exchange.is_some();
        let (debit, credit) = (row.debit?.account, row.credit?.account);
        matches!(row.kind, Kind::Transfer | Kind::Reverse)
            .then_some((Direct { debit, credit, amount: row.amount?, is_final }, false))
    }
}

fn of_hold(hold: &Hold) -> Direct {
    Direct { debit: hold.debit, credit: hold.credit, amount: hold.captured, is_final: hold.exchange }
}
