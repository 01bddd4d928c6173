//! What becomes of holds: posted in whole or in part, voided, increased, expired; one of them or all of a chain.

use uuid::Uuid;

use super::super::account::Amount;
use super::super::command::{AmountMode, Command, Resolution, Resolve};
use super::super::journal::{Kind, Row};
use super::super::verdict::{Refusal, TransferState, Verdict};
use super::super::view::Hold;
use super::Judge;
use super::rules::{self, Movement};

/// What one row does to a hold.
#[derive(Clone, Copy)]
struct Step {
    kind: Kind,
    /// What moves, is released or is held more.
    amount: Amount,
    movement: Movement,
    /// The hold after it, but for the row that did it.
    after: Hold,
}

impl Judge {
    /// Answers the row that changed the transfer named.
    pub(super) fn resolve(&mut self, command: &Command, resolve: Resolve) -> Result<Uuid, Refusal> {
        if !resolve.resolution.is_whole_chain() {
            return self.resolve_one(command, resolve.transfer, resolve.resolution);
        }
        let named = self.view.holds.get(&resolve.transfer).and_then(|hold| hold.link);
        let mut chain: Vec<Uuid> = match named {
            Some(link) => self
                .view
                .holds
                .iter()
                .filter(|(_, hold)| hold.link == Some(link))
                .map(|(id, _)| *id)
                .collect(),
            None => Vec::new(),
        };
        if chain.is_empty() {
            // Of no chain, or unknown: then it stands for itself.
            chain.push(resolve.transfer);
        }
        let one = match resolve.resolution {
            Resolution::PostChain => Resolution::Post { amount: None, keep_rest: false },
            Resolution::VoidChain => Resolution::Void,
            single @ (Resolution::Post { .. } | Resolution::Void | Resolution::Increment(_)) => single,
        };
        // A validation can be taken back as a whole already.
        let mark = if self.undo.is_none() { Some(self.begin()) } else { None };
        let mut answer = Err(Refusal::NoTransfer);
        for id in chain {
            match self.resolve_of_chain(command, id, one) {
                Ok(row) if id == resolve.transfer => answer = Ok(row),
                Ok(_) => {}
                Err(refusal) => {
                    answer = Err(refusal);
                    break;
                }
            }
        }
        match (mark, &answer) {
            (Some(mark), Err(_)) => self.take_back(mark),
            (Some(_), Ok(_)) => self.keep(),
            (None, _) => {}
        }
        answer
    }

    fn resolve_one(&mut self, command: &Command, id: Uuid, resolution: Resolution) -> Result<Uuid, Refusal> {
        let hold = self.resolvable(command, id, resolution)?;
        // Half of a conversion without the other would leave the bank with a position that nobody agreed to.
        if hold.exchange {
            return Err(Refusal::ExchangeMismatch);
        }
        self.step(command, id, hold, resolution)
    }

    fn resolve_of_chain(
        &mut self,
        command: &Command,
        id: Uuid,
        resolution: Resolution,
    ) -> Result<Uuid, Refusal> {
        let hold = self.resolvable(command, id, resolution)?;
        self.step(command, id, hold, resolution)
    }

    /// The hold, if the actor may do that to it and it is pending.
    fn resolvable(&self, command: &Command, id: Uuid, resolution: Resolution) -> Result<Hold, Refusal> {
        let actor = &command.actor;
        let hold = self.view.holds.get(&id).copied();
        let permitted = hold.is_some_and(|hold| {
            let made = hold.creator == actor.scope;
            match resolution {
                Resolution::Increment(_) => made && !hold.external,
                Resolution::Post { .. }
                | Resolution::PostChain
                | Resolution::Void
                | Resolution::VoidChain => {
                    actor.staff || (made && !hold.external) || (actor.rail && hold.external)
                }
            }
        });
        if !permitted && (!actor.staff || hold.is_some()) {
            return Err(Refusal::NotPermitted);
        }
        let hold = hold.ok_or_else(|| match self.original(id) {
            Some(_) => Refusal::NotPending,
            None => Refusal::NoTransfer,
        })?;
        let moves_more = match resolution {
            Resolution::Post { .. } | Resolution::PostChain | Resolution::Increment(_) => true,
            Resolution::Void | Resolution::VoidChain => false,
        };
        if moves_more && !hold.external && !self.still_allowed(actor, &hold) {
            return Err(Refusal::NotPermitted);
        }
        let increases = matches!(resolution, Resolution::Increment(_));
        if hold.state != TransferState::Pending || (increases && hold.captured > 0) {
            return Err(Refusal::NotPending);
        }
        if hold.expires_at.is_some_and(|at| at <= self.view.head.now) {
            return Err(Refusal::Expired);
        }
        Ok(hold)
    }

    /// Does it, and answers its row.
    fn step(
        &mut self,
        command: &Command,
        id: Uuid,
        hold: Hold,
        resolution: Resolution,
    ) -> Result<Uuid, Refusal> {
        let accounts = &self.view.accounts;
        let (Some(debit), Some(credit)) =
            (accounts.place_of_no(hold.debit), accounts.place_of_no(hold.credit))
        else {
            return Err(Refusal::NoTransfer);
        };
        let (from, to) = (&accounts.rows()[debit], &accounts.rows()[credit]);
        let step = match resolution {
            Resolution::Post { amount, keep_rest } => post(hold, amount, keep_rest)?,
            Resolution::PostChain => post(hold, None, false)?,
            Resolution::Void | Resolution::VoidChain => release(hold, Kind::Void, TransferState::Voided)?,
            Resolution::Increment(amount) => increment(hold, amount),
        };
        match step.kind {
            Kind::Post => {
                rules::open_for(from, to)?;
                if self.is_closed(hold.value_date) {
                    return Err(Refusal::PeriodClosed);
                }
                if from.purpose.is_house() && hold.creator == command.actor.scope {
                    return Err(Refusal::FourEyes);
                }
            }
            Kind::Increment => {
                rules::open_for(from, to)?;
                self.caps_leave_room(&hold, step.amount)?;
                rules::within_limits(AmountMode::Exact, step.amount, from, to)?;
            }
            Kind::Void
            | Kind::Expire
            | Kind::Open
            | Kind::Limits
            | Kind::State
            | Kind::Party
            | Kind::Grant
            | Kind::Transfer
            | Kind::Hold
            | Kind::Reverse
            | Kind::ClosePeriod => {}
        }
        let limits = (from.floor, to.ceiling);
        let mut row = self.stepped(command, id, &hold, step, (debit, credit))?;
        if step.kind == Kind::Increment {
            (row.floor, row.ceiling) = limits;
        }
        let row_id = row.id;
        self.rows.push(row);
        Ok(row_id)
    }

    /// The step's row, when its effect has been noted.
    fn stepped(
        &mut self,
        command: &Command,
        id: Uuid,
        hold: &Hold,
        step: Step,
        (debit, credit): (usize, usize),
    ) -> Result<Row, Refusal> {
        let accounts = self.view.accounts.rows();
        let (from_after, to_after) =
            rules::after(step.movement, accounts[debit].totals, accounts[credit].totals)
                .ok_or(Refusal::BalanceOverflow)?;
        let mut row = self.pair(command, step.kind, step.amount, (debit, from_after), (credit, to_after));
        row.reference = Some(id);
        row.remaining = Some(step.after.remaining);
        row.link = hold.link;
        row.value_date = (step.kind == Kind::Post).then_some(hold.value_date);
        // What was asked of the consent and did not move is given back to it.
        let taken = (step.after.captured + step.after.remaining) - (hold.captured + hold.remaining);
        row.consent = hold.consent.filter(|_| taken != 0).and_then(|consent| self.take(consent, taken));
        self.put_hold(id, Hold { resolved_by: Some(row.id), ..step.after });
        Ok(row)
    }

    /// Ends a hold whose time is over. Whoever proposes it a second time changes nothing.
    pub(super) fn expire(&mut self, command: &Command, id: Uuid) -> Verdict {
        let Some(hold) = self.view.holds.get(&id).copied() else { return Verdict::Expired };
        let over = hold.expires_at.is_some_and(|at| at <= self.view.head.now);
        let accounts = &self.view.accounts;
        let places = accounts.place_of_no(hold.debit).zip(accounts.place_of_no(hold.credit));
        let (true, TransferState::Pending, Some(places)) = (over, hold.state, places) else {
            return Verdict::Expired;
        };
        let step = release(hold, Kind::Expire, TransferState::Expired);
        if let Ok(row) = step.and_then(|step| self.stepped(command, id, &hold, step, places)) {
            self.rows.push(row);
        }
        Verdict::Expired
    }
}

fn post(hold: Hold, amount: Option<Amount>, keep_rest: bool) -> Result<Step, Refusal> {
    let held = Amount::new(hold.remaining).ok_or(Refusal::NotPending)?;
    let amount = amount.unwrap_or(held);
    if amount > held {
        return Err(Refusal::ExceedsHold);
    }
    let rest = hold.remaining - amount.minor_units();
    let (remaining, released) = if keep_rest { (rest, 0) } else { (0, rest) };
    let state = if remaining > 0 { TransferState::Pending } else { TransferState::Posted };
    let after = Hold { remaining, captured: hold.captured + amount.minor_units(), state, ..hold };
    Ok(Step { kind: Kind::Post, amount, movement: Movement::Post(amount, released), after })
}

fn release(hold: Hold, kind: Kind, unposted: TransferState) -> Result<Step, Refusal> {
    let amount = Amount::new(hold.remaining).ok_or(Refusal::NotPending)?;
    let state = if hold.captured > 0 { TransferState::Posted } else { unposted };
    Ok(Step {
        kind,
        amount,
        movement: Movement::Release(amount),
        after: Hold { remaining: 0, state, ..hold },
    })
}

/// What would leave 64 bits here leaves them in the account's totals too, of which the hold is a part: it is refused there, in the
/// place that overflow has among the reasons.
fn increment(hold: Hold, amount: Amount) -> Step {
    let more = |figure: i64| figure.saturating_add(amount.minor_units());
    let after = Hold { amount: more(hold.amount), remaining: more(hold.remaining), ..hold };
    Step { kind: Kind::Increment, amount, movement: Movement::Hold(amount), after }
}
