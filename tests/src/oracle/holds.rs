//! What becomes of holds: the table of `docs/ledger.md` about posting, voiding and increasing, row by row.

use svc_ledger::domain::command::{Actor, Resolution, Resolve};
use svc_ledger::domain::verdict::{Refusal, TransferState};
use uuid::Uuid;

use super::Expected;
use super::books::{Books, Deed};
use super::transfers::{caps, first, limits, not_open};

/// What is done to one hold.
#[derive(Clone, Copy)]
enum Step {
    /// Post so much, or all; keep the rest or not.
    Post(Option<i128>, bool),
    Void,
    More(i128),
}

impl Books {
    pub(super) fn resolve(&mut self, actor: &Actor, resolve: Resolve) -> Result<(), Refusal> {
        let (step, whole) = match resolve.resolution {
            Resolution::Post { amount, keep_rest } => {
                (Step::Post(amount.map(|amount| amount.minor_units().into()), keep_rest), false)
            }
            Resolution::PostChain => (Step::Post(None, false), true),
            Resolution::Void => (Step::Void, false),
            Resolution::VoidChain => (Step::Void, true),
            Resolution::Increment(amount) => (Step::More(amount.minor_units().into()), false),
        };
        let named = self.deeds.get(&resolve.transfer).filter(|deed| deed.is_hold);
        let mut all = vec![resolve.transfer];
        if let Some(chain) = named.filter(|_| whole).and_then(|deed| deed.chain) {
            let mut holds: Vec<_> =
                self.deeds.iter().filter(|(_, deed)| deed.is_hold && deed.chain == Some(chain)).collect();
            holds.sort_by_key(|(_, deed)| deed.place);
            all = holds.into_iter().map(|(id, _)| *id).collect();
        }
        let before = self.clone();
        for id in all {
            if let Err(refusal) = self.step(actor, id, step, whole) {
                *self = before;
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn step(&mut self, actor: &Actor, id: Uuid, step: Step, whole: bool) -> Result<(), Refusal> {
        let known = self.deeds.get(&id);
        let hold = known.filter(|deed| deed.is_hold);
        let made = hold.is_some_and(|hold| hold.maker == actor.scope && !hold.external);
        let permitted = match step {
            Step::More(_) => made || (actor.staff && hold.is_none()),
            Step::Post(..) | Step::Void => {
                actor.staff || made || (actor.rail && hold.is_some_and(|hold| hold.external))
            }
        };
        if !permitted {
            return Err(Refusal::NotPermitted);
        }
        known.ok_or(Refusal::NoTransfer)?;
        let hold = hold.ok_or(Refusal::NotPending)?.clone();
        let moves_more = !matches!(step, Step::Void);
        // A rail partner acts for itself, and by no customer's consent.
        if moves_more && actor.partner.is_some() && !hold.external {
            let grant = hold.consent.and_then(|consent| self.grants.get(&consent));
            let theirs = grant.filter(|grant| Some(&grant.terms.partner) == actor.partner.as_ref());
            if !theirs.is_some_and(|grant| self.stands(grant)) {
                return Err(Refusal::NotPermitted);
            }
        }
        let partly = matches!(step, Step::More(_)) && hold.posted > 0;
        let over = hold.expires_at.is_some_and(|at| self.now >= at);
        first(&[
            (hold.state != TransferState::Pending || partly, Refusal::NotPending),
            (over, Refusal::Expired),
            (hold.half && !whole, Refusal::ExchangeMismatch),
        ])?;
        match step {
            Step::Post(amount, keep_rest) => self.post(actor, id, hold, amount, keep_rest),
            Step::Void => {
                self.end(id, &hold, TransferState::Voided);
                Ok(())
            }
            Step::More(more) => self.more(id, hold, more),
        }
    }

    fn post(
        &mut self,
        actor: &Actor,
        id: Uuid,
        hold: Deed,
        amount: Option<i128>,
        keep_rest: bool,
    ) -> Result<(), Refusal> {
        let amount = amount.unwrap_or(hold.held);
        first(&[(amount > hold.held, Refusal::ExceedsHold)])?;
        let (from, to) = (&self.accounts[&hold.debit], &self.accounts[&hold.credit]);
        first(&not_open(from, to))?;
        first(&[
            (self.in_closed_period(hold.value_date), Refusal::PeriodClosed),
            (from.is_house() && hold.maker == actor.scope, Refusal::FourEyes),
        ])?;
        let released = if keep_rest { 0 } else { hold.held - amount };
        self.row(
            (&hold.debit, &hold.credit),
            |from| {
                from.held -= amount + released;
                from.debits += amount;
            },
            |to| {
                to.expected -= amount + released;
                to.credits += amount;
            },
        );
        self.give_back(&hold, released);
        let deed = self.deeds.get_mut(&id).unwrap();
        deed.posted += amount;
        deed.held -= amount + released;
        if deed.held == 0 {
            deed.state = TransferState::Posted;
        }
        Ok(())
    }

    fn more(&mut self, id: Uuid, hold: Deed, more: i128) -> Result<(), Refusal> {
        let (from, to) = (&self.accounts[&hold.debit], &self.accounts[&hold.credit]);
        first(&not_open(from, to))?;
        if let Some(grant) = hold.consent.and_then(|consent| self.grants.get(&consent)) {
            caps(grant, hold.amount, more)?;
        }
        first(&limits(from, to, more))?;
        self.row((&hold.debit, &hold.credit), |from| from.held += more, |to| to.expected += more);
        self.give_back(&hold, -more);
        let deed = self.deeds.get_mut(&id).unwrap();
        deed.amount += more;
        deed.held += more;
        Ok(())
    }

    /// What is voided, expired or released goes back to the grant.
    fn give_back(&mut self, hold: &Deed, amount: i128) {
        if let Some(grant) = hold.consent.and_then(|consent| self.grants.get_mut(&consent)) {
            grant.used -= amount;
        }
    }

    fn end(&mut self, id: Uuid, hold: &Deed, unposted: TransferState) {
        let held = hold.held;
        self.row((&hold.debit, &hold.credit), |from| from.held -= held, |to| to.expected -= held);
        self.give_back(hold, held);
        let deed = self.deeds.get_mut(&id).unwrap();
        deed.held = 0;
        deed.state = if deed.posted > 0 { TransferState::Posted } else { unposted };
    }

    /// Ends a hold whose time is over; whatever else it finds, it is silent about.
    pub(super) fn expire(&mut self, id: &Uuid) -> Expected {
        if let Some(hold) = self.deeds.get(id).cloned() {
            let over = hold.expires_at.is_some_and(|at| self.now >= at);
            if hold.state == TransferState::Pending && over {
                self.end(*id, &hold, TransferState::Expired);
            }
        }
        Expected::Done
    }
}
