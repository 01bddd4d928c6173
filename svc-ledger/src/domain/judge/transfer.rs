//! Transfers and holds.

use uuid::Uuid;

use super::super::account::Amount;
use super::super::command::{Command, Transfer};
use super::super::journal::{EXTERNAL, HIDDEN, Kind, Row};
use super::super::period::day_of;
use super::super::verdict::{self, Refusal, TransferState};
use super::super::view::Hold;
use super::Judge;
use super::rules::{self, Movement};

/// What a transfer was found to come to.
struct Admitted {
    debit: usize,
    credit: usize,
    amount: Amount,
    consent: Option<Uuid>,
}

impl Judge {
    pub(super) fn transfer(
        &mut self,
        command: &Command,
        transfer: &Transfer,
    ) -> Result<verdict::Transfer, Refusal> {
        let admitted = self.admit(command, transfer)?;
        let Admitted { debit, credit, amount, consent } = admitted;
        let (from, to) = (&self.view.accounts.rows()[debit], &self.view.accounts.rows()[credit]);
        let (kind, movement) = match transfer.pending {
            Some(_) => (Kind::Hold, Movement::Hold(amount)),
            None => (Kind::Transfer, Movement::Transfer(amount)),
        };
        let (from_after, to_after) =
            rules::after(movement, from.totals, to.totals).ok_or(Refusal::BalanceOverflow)?;
        if from.purpose.is_house() && transfer.pending.is_none() {
            return Err(Refusal::FourEyes);
        }
        let (floor, ceiling) = (from.floor, to.ceiling);
        let mut row = self.pair(command, kind, amount, (debit, from_after), (credit, to_after));
        row.floor = floor;
        row.ceiling = ceiling;
        row.detail_hash = transfer.detail.as_ref().map(|detail| detail.hash);
        row.consent = consent.and_then(|consent| self.take(consent, amount.minor_units()));
        row.value_date = Some(transfer.value_date.unwrap_or_else(|| day_of(self.view.head.now)));
        row.exchange.clone_from(&transfer.exchange);
        row.flags = if transfer.hidden { HIDDEN } else { 0 };
        if let Some(pending) = transfer.pending {
            row.remaining = Some(amount.minor_units());
            row.expires_at = pending.expires_at;
            row.flags |= if pending.external { EXTERNAL } else { 0 };
            self.put_hold(row.id, hold(&row, command));
        }
        let booked = self.booked(&row, transfer, (debit, credit));
        if let Some(detail) = &transfer.detail {
            self.details.push((row.id, detail.clone()));
        }
        self.rows.push(row);
        Ok(booked)
    }

    /// Everything but overflow and four eyes.
    fn admit(&self, command: &Command, transfer: &Transfer) -> Result<Admitted, Refusal> {
        let accounts = &self.view.accounts;
        let debit = accounts.place_of(&transfer.debit);
        if !command.actor.staff
            && !debit.is_some_and(|place| self.owns(&command.actor, &accounts.rows()[place]))
        {
            return Err(Refusal::NotPermitted);
        }
        let debit = debit.ok_or(Refusal::NoDebitAccount)?;
        let allowance = self.allowance(&command.actor, accounts.rows()[debit].no, transfer.amount);
        if allowance == Err(Refusal::NotPermitted) {
            return Err(Refusal::NotPermitted);
        }
        let credit = accounts.place_of(&transfer.credit).ok_or(Refusal::NoCreditAccount)?;
        let (from, to) = (&accounts.rows()[debit], &accounts.rows()[credit]);
        if from.currency != transfer.currency {
            return Err(Refusal::DebitCurrency);
        }
        if to.currency != transfer.currency {
            return Err(Refusal::CreditCurrency);
        }
        if transfer.value_date.is_some_and(|day| self.is_closed(day)) {
            return Err(Refusal::PeriodClosed);
        }
        let expires_at = transfer.pending.and_then(|pending| pending.expires_at);
        if expires_at.is_some_and(|at| at <= self.view.head.now) {
            return Err(Refusal::Expired);
        }
        rules::open_for(from, to)?;
        let (debited, credited) = ((&transfer.debit_condition, from), (&transfer.credit_condition, to));
        rules::at_versions(debited, credited)?;
        // A cap comes before the balance: a partner who may not read the balance cannot feel for it beyond what it may debit.
        let consent = allowance?;
        rules::have_available(debited, credited)?;
        let amount = rules::within_limits(transfer.mode, transfer.amount, from, to)?;
        Ok(Admitted { debit, credit, amount, consent })
    }

    fn booked(&self, row: &Row, transfer: &Transfer, (debit, credit): (usize, usize)) -> verdict::Transfer {
        let amount = row.amount.unwrap_or_default();
        let (state, posted, held) = match transfer.pending {
            Some(_) => (TransferState::Pending, 0, amount),
            None => (TransferState::Posted, amount, 0),
        };
        let detail = transfer.detail.as_ref();
        verdict::Transfer {
            id: row.id,
            debit: Some(self.party(debit)),
            credit: Some(self.party(credit)).filter(|_| !transfer.hidden),
            amount,
            posted,
            held,
            currency: transfer.currency,
            state,
            reference: detail.map(|detail| detail.reference.clone()).unwrap_or_default(),
            seq: row.seq,
            booked_at: row.booked_at,
            expires_at: row.expires_at,
            value_date: row.value_date.unwrap_or_default(),
            link: row.link,
            reverses: None,
            reversed_by: None,
            exchange: transfer.exchange.clone(),
            payee: detail.and_then(|detail| detail.payee.clone()),
        }
    }
}

fn hold(row: &Row, command: &Command) -> Hold {
    let amount = row.amount.unwrap_or_default();
    Hold {
        creator: command.actor.scope,
        debit: row.debit.map_or(0, |side| side.account),
        credit: row.credit.map_or(0, |side| side.account),
        amount,
        remaining: amount,
        captured: 0,
        state: TransferState::Pending,
        expires_at: row.expires_at,
        value_date: row.value_date.unwrap_or_default(),
        link: row.link,
        external: row.flags & EXTERNAL != 0,
        exchange: row.exchange.is_some(),
        consent: row.consent.map(|taken| taken.consent),
        resolved_by: None,
    }
}
