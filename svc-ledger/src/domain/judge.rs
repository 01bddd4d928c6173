//! Judges a batch: units of commands in order, each command alone or with its chain, later ones seeing what earlier ones did. The
//! result holds one verdict a command and everything the store must write for it, or nothing of it. Checks run in the order that
//! `docs/ledger.md` promises.

mod accounts;
mod chain;
mod exchange;
mod grants;
mod period;
mod record;
mod resolve;
mod reverse;
pub mod rules;
#[cfg(test)]
mod tests;
mod transfer;
mod undo;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

pub use self::accounts::TYPE_FACTOR;
use self::undo::Undo;
use super::account::{Account, Amount, Totals};
use super::audit::Event;
use super::chain::Batch;
use super::command::{Action, Actor, Command, Detail, FailureMode, Request, Unit};
use super::grant::Grant;
use super::journal::{Kind, Row, Side, row_id};
use super::period::Period;
use super::request::{BodyHash, Key};
use super::verdict::{Outcome, Party, Refusal, Verdict};
use super::view::{Hold, View};

/// What a batch comes to.
#[derive(Debug)]
pub struct Judged {
    /// One a command, in order.
    pub verdicts: Vec<Verdict>,
    /// The rows of the journal.
    pub rows: Vec<Row>,
    /// The link of the hash chain; absent when there is no row.
    pub batch: Option<Batch>,
    /// Accounts opened, as they stand after the batch.
    pub opened: Vec<Account>,
    /// Accounts that were there before: the version the store must still have, and how they stand after the batch.
    pub changed: Vec<(i64, Account)>,
    /// Those of the changed accounts whose limits or state have changed too.
    pub settings: Vec<Account>,
    /// New parties: account number and customer.
    pub parties: Vec<(i64, String)>,
    /// Grants that the batch set, or that transfers of it took from, as they stand after it.
    pub grants: Vec<Grant>,
    /// New holds, as they stand after the batch.
    pub holds: Vec<(Uuid, Hold)>,
    /// Holds that were pending before, and have changed.
    pub resolved: Vec<(Uuid, Hold)>,
    /// Transfers that were reversed, and by what.
    pub reversals: Vec<(Uuid, Uuid)>,
    /// Periods that were closed.
    pub periods: Vec<Period>,
    /// What keys stand for from this batch on.
    pub outcomes: Vec<(Key, BodyHash, Outcome)>,
    /// Texts of transfers.
    pub details: Vec<(Uuid, Detail)>,
    /// What the audit is told.
    pub events: Vec<Event>,
}

impl Judged {
    /// Whether there is nothing to write: every command had been answered before.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.outcomes.is_empty() && self.events.is_empty()
    }
}

/// Judges `units` against `view`. Answers besides how the view stands after them: the next batch may be judged against that, if it
/// concerns nothing else.
#[must_use]
pub fn judge<'a>(view: View, units: impl IntoIterator<Item = &'a Unit>) -> (Judged, View) {
    let mut judge = Judge::new(view);
    let mut verdicts = Vec::new();
    for unit in units {
        judge.unit(unit, &mut verdicts);
    }
    judge.finish(verdicts)
}

/// The ledger while a batch goes through it.
struct Judge {
    view: View,
    /// How many of the view's accounts the store had before the batch.
    known: usize,
    /// Version before the batch, by place, of accounts that the batch changed.
    before: BTreeMap<usize, i64>,
    /// Places of accounts whose limits or state the batch changed.
    settings: BTreeSet<usize>,
    rows: Vec<Row>,
    parties: Vec<(i64, String)>,
    grants: BTreeSet<Uuid>,
    new_holds: BTreeSet<Uuid>,
    resolved: BTreeSet<Uuid>,
    reversals: Vec<(Uuid, Uuid)>,
    periods: Vec<Period>,
    outcomes: Vec<(Key, BodyHash, Outcome)>,
    details: Vec<(Uuid, Detail)>,
    events: Vec<Event>,
    /// The first row of the chain that is being judged.
    link: Option<i64>,
    /// How to take back what is being judged, while that may be necessary.
    undo: Option<Undo>,
}

impl Judge {
    fn new(view: View) -> Self {
        Self {
            known: view.accounts.rows().len(),
            view,
            before: BTreeMap::new(),
            settings: BTreeSet::new(),
            rows: Vec::new(),
            parties: Vec::new(),
            grants: BTreeSet::new(),
            new_holds: BTreeSet::new(),
            resolved: BTreeSet::new(),
            reversals: Vec::new(),
            periods: Vec::new(),
            outcomes: Vec::new(),
            details: Vec::new(),
            events: Vec::new(),
            link: None,
            undo: None,
        }
    }

    fn unit(&mut self, unit: &Unit, verdicts: &mut Vec<Verdict>) {
        let mut left = unit.commands.as_slice();
        while !left.is_empty() {
            let length = match unit.mode {
                FailureMode::Atomic => left.len(),
                FailureMode::Continue | FailureMode::Stop => {
                    left.iter().position(|command| !command.linked).map_or(left.len(), |last| last + 1)
                }
            };
            let (chain, rest) = left.split_at(length);
            let first = verdicts.len();
            match chain {
                [command] => {
                    let verdict = self.single(first, command);
                    verdicts.push(verdict);
                }
                chain => self.chain(chain, verdicts),
            }
            if unit.mode == FailureMode::Stop && !verdicts[first..].iter().all(Verdict::is_done) {
                verdicts.extend(rest.iter().map(|_| Verdict::NotAttempted));
                return;
            }
            left = rest;
        }
    }

    /// Judges a command that is part of no chain; `place` is that of its verdict.
    fn single(&mut self, place: usize, command: &Command) -> Verdict {
        if let Some(known) = self.known_outcome(command) {
            if matches!(known, Verdict::BodyChanged(_)) && !command.validate_only {
                self.record(place, command, &known, None);
            }
            return known;
        }
        if command.validate_only {
            return self.validate(command);
        }
        let rows = self.rows.len();
        let verdict = self.command(command);
        self.freeze(command, &verdict);
        let row = self.rows.get(rows).map(|row| row.id);
        if row.is_some() || verdict.is_refusal() {
            self.record(place, command, &verdict, row);
        }
        verdict
    }

    /// What would become of the command. Only what moves money can be taken back, and is ever asked of in this way.
    fn validate(&mut self, command: &Command) -> Verdict {
        match &command.action {
            Action::Transfer(..) | Action::Resolve(..) | Action::Reverse(..) => {}
            Action::Open(_)
            | Action::SetState(_)
            | Action::SetLimits(_)
            | Action::Grant(_)
            | Action::Expire(_)
            | Action::ClosePeriod(..) => return Verdict::NotAttempted,
        }
        let mark = self.begin();
        let verdict = match (self.command(command), &command.action) {
            (Verdict::Recorded(_), Action::Resolve(_, resolve)) => {
                let standing = self.view.holds.get(&resolve.transfer).map(Hold::standing);
                standing.map_or(Verdict::NotAttempted, Verdict::WouldBecome)
            }
            (verdict, _) => verdict.unmade(),
        };
        self.take_back(mark);
        verdict
    }

    /// What the command's key stands for already.
    fn known_outcome(&self, command: &Command) -> Option<Verdict> {
        let (request, operation) = command.action.request()?;
        let (body, outcome) = self.view.outcomes.get(&request.key)?;
        let differences = request.body.differences(operation, body);
        Some(match outcome {
            _ if !differences.is_empty() => Verdict::BodyChanged(differences),
            Outcome::Accepted(row) => Verdict::Recorded(*row),
            Outcome::Refused(refusal) => Verdict::Refused(*refusal),
        })
    }

    fn command(&mut self, command: &Command) -> Verdict {
        match &command.action {
            Action::Open(open) => self.open(command, open),
            Action::SetState(wanted) => self.set_state(command, *wanted),
            Action::SetLimits(wanted) => self.set_limits(command, *wanted),
            Action::Grant(grant) => self.grant(command, grant),
            Action::Transfer(_, transfer) if transfer.exchange.is_some() => {
                Verdict::Refused(Refusal::ExchangeMismatch)
            }
            Action::Transfer(_, transfer) => {
                self.transfer(command, transfer).map_or_else(Verdict::Refused, Verdict::Booked)
            }
            Action::Resolve(_, resolve) => {
                self.resolve(command, *resolve).map_or_else(Verdict::Refused, Verdict::Recorded)
            }
            Action::Reverse(_, reverse) => {
                self.reverse(command, reverse).map_or_else(Verdict::Refused, Verdict::Booked)
            }
            Action::Expire(hold) => self.expire(command, *hold),
            Action::ClosePeriod(_, end_date) => self.close_period(command, *end_date),
        }
    }

    /// Makes the verdict the outcome of the command's key, if it is one to keep. A key that has one keeps it.
    fn freeze(&mut self, command: &Command, verdict: &Verdict) {
        let Some((Request { key, body }, _)) = command.action.request() else { return };
        let outcome = match verdict {
            Verdict::Booked(transfer) => Outcome::Accepted(transfer.id),
            Verdict::Recorded(row) => Outcome::Accepted(*row),
            Verdict::Closed(period) => match self.rows.last() {
                Some(row) if row.seq == period.seq => Outcome::Accepted(row.id),
                Some(_) | None => return,
            },
            Verdict::Refused(refusal) => Outcome::Refused(*refusal),
            Verdict::Opened(_)
            | Verdict::Set(_)
            | Verdict::Granted(_)
            | Verdict::WouldBecome(_)
            | Verdict::Expired
            | Verdict::NotAttempted
            | Verdict::BodyChanged(_)
            | Verdict::AccountExists(_)
            | Verdict::NoAccount
            | Verdict::AccountClosed
            | Verdict::AccountNotEmpty
            | Verdict::LimitBreached(_)
            | Verdict::GrantExists(_)
            | Verdict::StaleRevision => return,
        };
        if self.view.outcomes.contains_key(key) {
            return;
        }
        self.view.outcomes.insert(key.clone(), (body.clone(), outcome));
        self.outcomes.push((key.clone(), body.clone(), outcome));
    }

    fn owns(&self, actor: &Actor, account: &Account) -> bool {
        let Some(customer) = &actor.customer else { return false };
        self.view.parties.get(&account.no).is_some_and(|parties| parties.contains(customer))
    }

    // -- rows ------------------------------------------------------------------------------------------------------------

    fn next_seq(&self) -> i64 {
        self.view.head.seq + 1 + i64::try_from(self.rows.len()).unwrap_or(i64::MAX)
    }

    /// The next row of the journal.
    fn row(&self, command: &Command, kind: Kind, account: Option<&Account>) -> Row {
        let seq = self.next_seq();
        Row {
            id: row_id(self.view.head.now, seq, command.seed.nonce),
            seq,
            kind,
            currency: account.map(|account| account.currency),
            amount: None,
            remaining: None,
            debit: None,
            credit: account.map(side),
            floor: None,
            ceiling: None,
            link: self.link,
            reference: None,
            flags: 0,
            gl_code: None,
            revision: None,
            party: None,
            consent: None,
            bounds: None,
            expires_at: None,
            value_date: None,
            exchange: None,
            actor: command.actor.scope,
            detail_hash: None,
            salt: command.seed.salt_of(seq),
            booked_at: self.view.head.now,
        }
    }

    /// The next row, which moves both accounts to their new totals.
    fn pair(
        &mut self,
        command: &Command,
        kind: Kind,
        amount: Amount,
        (debit, debit_after): (usize, Totals),
        (credit, credit_after): (usize, Totals),
    ) -> Row {
        let from = self.advance(debit, |account| account.totals = debit_after);
        let to = self.advance(credit, |account| account.totals = credit_after);
        let mut row = self.row(command, kind, Some(&self.view.accounts.rows()[credit]));
        row.debit = Some(from);
        row.credit = Some(to);
        row.amount = Some(amount.minor_units());
        row
    }

    /// The account's next version.
    fn advance(&mut self, place: usize, change: impl FnOnce(&mut Account)) -> Side {
        self.remember_account(place);
        let account = self.view.accounts.at_mut(place);
        if place < self.known {
            self.before.entry(place).or_insert(account.version);
        }
        account.version += 1;
        change(account);
        side(account)
    }

    fn party(&self, place: usize) -> Party {
        let account = &self.view.accounts.rows()[place];
        Party { id: account.id, purpose: account.purpose }
    }

    fn finish(mut self, verdicts: Vec<Verdict>) -> (Judged, View) {
        let batch = Batch::new(self.view.head.hash, &self.rows);
        if let (Some(batch), Some(last)) = (&batch, self.rows.last()) {
            (self.view.head.seq, self.view.head.hash) = (last.seq, batch.hash);
        }
        let accounts = self.view.accounts.rows();
        let hold = |id: &Uuid| self.view.holds.get(id).map(|hold| (*id, *hold));
        let grant = |consent: &Uuid| self.view.grants.get(consent).cloned();
        let judged = Judged {
            verdicts,
            batch,
            opened: accounts[self.known..].to_vec(),
            changed: self
                .before
                .iter()
                .map(|(place, version)| (*version, accounts[*place].clone()))
                .collect(),
            settings: self
                .settings
                .iter()
                .filter(|place| **place < self.known)
                .map(|place| accounts[*place].clone())
                .collect(),
            grants: self.grants.iter().filter_map(grant).collect(),
            holds: self.new_holds.iter().filter_map(hold).collect(),
            resolved: self.resolved.iter().filter_map(hold).collect(),
            rows: self.rows,
            parties: self.parties,
            reversals: self.reversals,
            periods: self.periods,
            outcomes: self.outcomes,
            details: self.details,
            events: self.events,
        };
        (judged, self.view)
    }
}

fn side(account: &Account) -> Side {
    Side {
        account: account.no,
        version: account.version,
        posted: account.totals.posted(),
        held: account.totals.dr_pending,
        expected: account.totals.cr_pending,
    }
}
