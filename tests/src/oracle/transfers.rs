//! Transfers, chains of them, and reversals: the tables of `docs/ledger.md`, row by row.

use svc_ledger::domain::account::State;
use svc_ledger::domain::command::{Action, Actor, AmountMode, Command, Condition, Reverse, Transfer};
use svc_ledger::domain::grant::Scope as Act;
use svc_ledger::domain::verdict::{Refusal, TransferState};
use uuid::Uuid;

use super::books::{Allowed, Book, Books, Deed};
use super::{Expected, exchange};

/// Where 64 bits end.
pub(super) const MOST: i128 = i64::MAX as i128;

impl Books {
    /// Judges a chain. Whoever calls takes everything back if one of the answers is a refusal.
    pub(super) fn chain(&mut self, chain: &[Command], made: &[Option<Uuid>]) -> Vec<Expected> {
        self.chains += 1;
        let mut answers = Vec::new();
        for (place, agrees) in exchange::agreements(chain).into_iter().enumerate() {
            let command = &chain[place];
            let answer = if let Action::Transfer(_, transfer) = &command.action {
                if agrees {
                    self.transfer(&command.actor, transfer, made[place], Some(self.chains))
                } else {
                    Err(Refusal::ExchangeMismatch)
                }
            } else {
                Err(Refusal::ChainFailed)
            };
            match answer {
                Ok(amount) => answers.push(Expected::Made(amount)),
                Err(refusal) => {
                    let mut failed = vec![Expected::Refused(Refusal::ChainFailed); chain.len()];
                    failed[place] = Expected::Refused(refusal);
                    return failed;
                }
            }
        }
        answers
    }

    pub(super) fn transfer(
        &mut self,
        actor: &Actor,
        transfer: &Transfer,
        made: Option<Uuid>,
        chain: Option<usize>,
    ) -> Result<i128, Refusal> {
        let asked = i128::from(transfer.amount.minor_units());
        let (consent, amount) = self.admitted(actor, transfer, asked)?;
        let accounts = (&transfer.debit, &transfer.credit);
        let pending = transfer.pending;
        if pending.is_some() {
            self.row(accounts, |from| from.held += amount, |to| to.expected += amount);
        } else {
            self.row(accounts, |from| from.debits += amount, |to| to.credits += amount);
        }
        if let Some(consent) = consent {
            self.grants.get_mut(&consent).unwrap().used += amount;
        }
        if let Some(id) = made {
            let deed = Deed {
                debit: transfer.debit,
                credit: transfer.credit,
                amount,
                posted: if pending.is_some() { 0 } else { amount },
                held: if pending.is_some() { amount } else { 0 },
                state: if pending.is_some() { TransferState::Pending } else { TransferState::Posted },
                is_hold: pending.is_some(),
                reversed: false,
                place: self.deeds.len(),
                maker: actor.scope,
                expires_at: pending.and_then(|pending| pending.expires_at),
                value_date: transfer.value_date.unwrap_or(self.today()),
                external: pending.is_some_and(|pending| pending.external),
                half: transfer.exchange.is_some(),
                reversal: false,
                consent,
                chain,
            };
            self.deeds.insert(id, deed);
        }
        Ok(amount)
    }

    /// The consent to take from, if one, and how much to move.
    fn admitted(
        &self,
        actor: &Actor,
        transfer: &Transfer,
        asked: i128,
    ) -> Result<(Option<Uuid>, i128), Refusal> {
        let grants = actor.partner.as_deref().map(|partner| self.grants_for(&transfer.debit, partner));
        let permitted = actor.staff || self.is_party(actor, &transfer.debit);
        if !permitted || grants.as_ref().is_some_and(Vec::is_empty) {
            return Err(Refusal::NotPermitted);
        }
        let from = self.accounts.get(&transfer.debit).ok_or(Refusal::NoDebitAccount)?;
        let to = self.accounts.get(&transfer.credit).ok_or(Refusal::NoCreditAccount)?;
        let expires_at = transfer.pending.and_then(|pending| pending.expires_at);
        let mut rules = vec![
            (from.currency != transfer.currency, Refusal::DebitCurrency),
            (to.currency != transfer.currency, Refusal::CreditCurrency),
            (transfer.value_date.is_some_and(|day| self.in_closed_period(day)), Refusal::PeriodClosed),
            (expires_at.is_some_and(|at| at <= self.now), Refusal::Expired),
        ];
        rules.extend(not_open(from, to));
        let other_version = |condition: &Condition, book: &Book| {
            condition.version.is_some_and(|version| version != book.balance.version)
        };
        let (debited, credited) = (&transfer.debit_condition, &transfer.credit_condition);
        rules.push((other_version(debited, from), Refusal::DebitVersion));
        rules.push((other_version(credited, to), Refusal::CreditVersion));
        first(&rules)?;
        let consent = match grants {
            Some(grants) => Some(with_room(&grants, asked)?),
            None => None,
        };
        let too_little = |condition: &Condition, book: &Book| {
            condition.available_at_least.is_some_and(|least| book.balance.available() < i128::from(least))
        };
        first(&[
            (too_little(debited, from), Refusal::DebitCondition),
            (too_little(credited, to), Refusal::CreditCondition),
        ])?;
        let mut amount = asked;
        if transfer.mode == AmountMode::AtMost {
            let rooms = [from.above_floor(), to.below_ceiling()];
            amount = rooms.into_iter().flatten().filter(|room| *room > 0).fold(asked, i128::min);
        }
        first(&limits(from, to, amount))?;
        first(&[(from.is_house() && transfer.pending.is_none(), Refusal::FourEyes)])?;
        Ok((consent, amount))
    }

    /// The grants by which the partner may debit the account, oldest consent first.
    fn grants_for(&self, account: &Uuid, partner: &str) -> Vec<&Allowed> {
        self.grants
            .values()
            .filter(|grant| grant.account == *account && grant.terms.partner == partner && self.stands(grant))
            .collect()
    }

    /// Whether a grant allows transfers now.
    pub(super) fn stands(&self, grant: &Allowed) -> bool {
        grant.terms.scopes.contains(Act::CreateTransfers) && self.now < grant.terms.expires_at
    }

    pub(super) fn reverse(
        &mut self,
        actor: &Actor,
        reverse: &Reverse,
        made: Option<Uuid>,
    ) -> Result<i128, Refusal> {
        let deed = self.deeds.get(&reverse.transfer);
        let own = actor.partner.is_none() && deed.is_some_and(|deed| self.is_party(actor, &deed.credit));
        if !actor.staff && !own {
            return Err(Refusal::NotPermitted);
        }
        let deed = deed.ok_or(Refusal::NoTransfer)?.clone();
        let amount = reverse.amount.map_or(deed.posted, |amount| amount.minor_units().into());
        let pending = deed.state == TransferState::Pending;
        first(&[
            (deed.posted == 0 || pending || deed.reversal || deed.half, Refusal::NotReversible),
            (deed.reversed, Refusal::AlreadyReversed),
            (amount > deed.posted, Refusal::ExceedsTransfer),
        ])?;
        let (from, to) = (&self.accounts[&deed.credit], &self.accounts[&deed.debit]);
        first(&not_open(from, to))?;
        first(&limits(from, to, amount))?;
        first(&[(from.is_house(), Refusal::FourEyes)])?;
        self.row((&deed.credit, &deed.debit), |from| from.debits += amount, |to| to.credits += amount);
        self.deeds.get_mut(&reverse.transfer).unwrap().reversed = true;
        if let Some(id) = made {
            let place = self.deeds.len();
            let reversal = Deed {
                debit: deed.credit,
                credit: deed.debit,
                amount,
                posted: amount,
                place,
                is_hold: false,
                reversed: false,
                reversal: true,
                maker: actor.scope,
                consent: None,
                chain: None,
                held: 0,
                ..deed
            };
            self.deeds.insert(id, reversal);
        }
        Ok(amount)
    }
}

/// The first refusal whose rule is broken.
pub(super) fn first(rules: &[(bool, Refusal)]) -> Result<(), Refusal> {
    rules.iter().find(|(broken, _)| *broken).map_or(Ok(()), |(_, refusal)| Err(*refusal))
}

/// Row 7.
pub(super) fn not_open(from: &Book, to: &Book) -> [(bool, Refusal); 2] {
    let receives = matches!(to.state, State::Open | State::DebitFrozen);
    [(from.state != State::Open, Refusal::DebitNotOpen), (!receives, Refusal::CreditNotOpen)]
}

/// Rows 11 to 13.
pub(super) fn limits(from: &Book, to: &Book, amount: i128) -> [(bool, Refusal); 3] {
    let debits = from.balance.debits + from.balance.held + amount;
    let credits = to.balance.credits + to.balance.expected + amount;
    [
        (from.above_floor().is_some_and(|room| room < amount), Refusal::InsufficientFunds),
        (to.below_ceiling().is_some_and(|room| room < amount), Refusal::Ceiling),
        (debits > MOST || credits > MOST, Refusal::BalanceOverflow),
    ]
}

/// The consent of the first grant whose caps leave room, else what the first lacks.
fn with_room(grants: &[&Allowed], amount: i128) -> Result<Uuid, Refusal> {
    let mut lacks = None;
    for grant in grants {
        match caps(grant, 0, amount) {
            Ok(()) => return Ok(grant.terms.consent),
            Err(refusal) => lacks = lacks.or(Some(refusal)),
        }
    }
    Err(lacks.unwrap_or(Refusal::NotPermitted))
}

/// Whether the caps leave room for `more` of a transfer of `so_far`.
pub(super) fn caps(grant: &Allowed, so_far: i128, more: i128) -> Result<(), Refusal> {
    let terms = &grant.terms;
    let per_transfer = terms.per_transfer_max.map(|cap| i128::from(cap.minor_units()));
    let total = terms.total_max.map(|cap| i128::from(cap.minor_units()));
    first(&[
        (per_transfer.is_some_and(|cap| so_far + more > cap), Refusal::PerTransferCap),
        (total.is_some_and(|cap| grant.used + more > cap), Refusal::TotalCap),
    ])
}
