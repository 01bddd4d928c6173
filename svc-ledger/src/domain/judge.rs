//! Judges a batch: commands in order, each alone, later ones seeing what earlier ones did. The result holds one verdict a
//! command and everything the store must write for it, or nothing of it. Checks run in the order the contract promises.

mod grants;
mod record;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::account::{Account, Amount, State, Totals};
use super::audit::Event;
use super::chain::Batch;
use super::command::{Action, Actor, Command, Detail, Open, Request, Resolution, Resolve, Transfer};
use super::grant::Grant;
use super::journal::{Kind, Row, Side, row_id};
use super::request::{BodyHash, Key};
use super::verdict::{self, Outcome, Party, Refusal, TransferState, Verdict};
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
    /// New parties: account number and customer.
    pub parties: Vec<(i64, String)>,
    /// Grants that the batch set, or that transfers of it took from, as they stand after it.
    pub grants: Vec<Grant>,
    /// New holds, as they stand after the batch.
    pub holds: Vec<(Uuid, Hold)>,
    /// Holds that were pending before and are not any more.
    pub resolved: Vec<(Uuid, Hold)>,
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

/// Judges `commands` against `view`.
#[must_use]
pub fn judge<'a>(view: View, commands: impl IntoIterator<Item = &'a Command>) -> Judged {
    let mut judge = Judge::new(view);
    let mut verdicts = Vec::new();
    for (place, command) in commands.into_iter().enumerate() {
        let before = judge.mark();
        let verdict = judge.command(command);
        judge.record(place, command, &verdict, before);
        verdicts.push(verdict);
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
    rows: Vec<Row>,
    parties: Vec<(i64, String)>,
    grants: BTreeSet<Uuid>,
    new_holds: BTreeSet<Uuid>,
    resolved: BTreeSet<Uuid>,
    outcomes: Vec<(Key, BodyHash, Outcome)>,
    details: Vec<(Uuid, Detail)>,
    events: Vec<Event>,
}

impl Judge {
    fn new(view: View) -> Self {
        Self {
            known: view.accounts.rows().len(),
            view,
            before: BTreeMap::new(),
            rows: Vec::new(),
            parties: Vec::new(),
            grants: BTreeSet::new(),
            new_holds: BTreeSet::new(),
            resolved: BTreeSet::new(),
            outcomes: Vec::new(),
            details: Vec::new(),
            events: Vec::new(),
        }
    }

    fn command(&mut self, command: &Command) -> Verdict {
        if let Some((request, operation)) = command.action.request()
            && let Some((body, outcome)) = self.view.outcomes.get(&request.key)
        {
            let differences = request.body.differences(operation, body);
            return match outcome {
                _ if !differences.is_empty() => Verdict::BodyChanged(differences),
                Outcome::Accepted(row) => Verdict::Recorded(*row),
                Outcome::Refused(refusal) => Verdict::Refused(*refusal),
            };
        }
        match &command.action {
            Action::Open(open) => self.open(command, open),
            Action::Grant(grant) => self.grant(command, grant),
            Action::Transfer(request, transfer) => {
                let result = self.transfer(command, transfer);
                self.freeze(request, result.as_ref().map(|booked| booked.id));
                result.map_or_else(Verdict::Refused, Verdict::Booked)
            }
            Action::Resolve(request, resolve) => {
                let result = self.resolve(command, *resolve);
                self.freeze(request, result.as_ref().copied());
                result.map_or_else(Verdict::Refused, Verdict::Recorded)
            }
        }
    }

    fn freeze(&mut self, request: &Request, result: Result<Uuid, &Refusal>) {
        let outcome = result.map_or_else(|refusal| Outcome::Refused(*refusal), Outcome::Accepted);
        self.view.outcomes.insert(request.key.clone(), (request.body.clone(), outcome));
        self.outcomes.push((request.key.clone(), request.body.clone(), outcome));
    }

    // -- accounts --------------------------------------------------------------------------------------------------------

    fn open(&mut self, command: &Command, open: &Open) -> Verdict {
        if let Some(place) = self.view.accounts.place_of(&open.id) {
            return self.reopen(&self.view.accounts.rows()[place], open);
        }
        let no = self.next_seq();
        let account = Account {
            no,
            id: open.id,
            currency: open.currency,
            purpose: open.purpose,
            floor: open.floor,
            state: State::Open,
            state_revision: open.state_revision,
            version: 1,
            totals: Totals::default(),
            opened_at: self.view.head.now,
        };
        let side = side(&account);
        let mut row = self.row(command, Kind::Open, &account, Some(side));
        row.floor = open.floor;
        row.reference = Some(open.id);
        row.flags = open.purpose as i16;
        row.revision = Some(open.state_revision);
        self.rows.push(row);
        for customer in &open.customers {
            let mut row = self.row(command, Kind::Party, &account, Some(side));
            row.party = Some(customer.clone());
            self.rows.push(row);
            self.parties.push((no, customer.clone()));
        }
        self.view.parties.insert(no, open.customers.clone());
        self.view.accounts.add(account.clone());
        Verdict::Opened(account)
    }

    /// An account is its own key: the same body again changes nothing.
    fn reopen(&self, account: &Account, open: &Open) -> Verdict {
        if open.state_revision < account.state_revision {
            return Verdict::StaleRevision;
        }
        let mut parties = self.view.parties.get(&account.no).cloned().unwrap_or_default();
        parties.sort_unstable();
        let fields = [
            ("account_id", account.purpose != open.purpose),
            ("currency_code", account.currency != open.currency),
            ("customer_ids", parties != open.customers),
            ("min_available_minor_units", account.floor != open.floor),
        ];
        let differences: Vec<&'static str> =
            fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
        if differences.is_empty() {
            Verdict::Opened(account.clone())
        } else {
            Verdict::AccountExists(differences)
        }
    }

    // -- transfers -------------------------------------------------------------------------------------------------------

    fn transfer(&mut self, command: &Command, transfer: &Transfer) -> Result<verdict::Transfer, Refusal> {
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
        let (consent, from_after, to_after) = rules::admit(transfer, from, to, allowance)?;
        let floor = from.floor;

        let (kind, state) = if transfer.pending {
            (Kind::Hold, TransferState::Pending)
        } else {
            (Kind::Transfer, TransferState::Posted)
        };
        let parties = [from, to].map(|account| Party { id: account.id, purpose: account.purpose });
        let mut row = self.pair(command, kind, transfer.amount, (debit, from_after), (credit, to_after));
        row.floor = floor;
        row.detail_hash = transfer.detail.as_ref().map(|detail| detail.hash);
        row.consent = consent.and_then(|consent| self.take(consent, transfer.amount.minor_units()));
        let booked = verdict::Transfer {
            id: row.id,
            debit: Some(parties[0]),
            credit: parties[1],
            amount: transfer.amount.minor_units(),
            currency: transfer.currency,
            state,
            reference: transfer.detail.as_ref().map(|detail| detail.reference.clone()).unwrap_or_default(),
            seq: row.seq,
            booked_at: row.booked_at,
        };
        if transfer.pending {
            self.add_hold(&row, command, transfer.amount);
        }
        if let Some(detail) = &transfer.detail {
            self.details.push((row.id, detail.clone()));
        }
        self.rows.push(row);
        Ok(booked)
    }

    fn add_hold(&mut self, row: &Row, command: &Command, amount: Amount) {
        let hold = Hold {
            creator: command.actor.scope,
            debit: row.debit.map_or(0, |side| side.account),
            credit: row.credit.map_or(0, |side| side.account),
            amount: amount.minor_units(),
            state: TransferState::Pending,
            consent: row.consent.map(|taken| taken.consent),
            resolved_by: None,
        };
        self.view.holds.insert(row.id, hold);
        self.new_holds.insert(row.id);
    }

    fn resolve(&mut self, command: &Command, resolve: Resolve) -> Result<Uuid, Refusal> {
        let hold = self.view.holds.get(&resolve.transfer).copied();
        let creator = hold.is_some_and(|hold| hold.creator == command.actor.scope);
        if !command.actor.staff && !creator {
            return Err(Refusal::NotPermitted);
        }
        let hold = hold.ok_or(Refusal::NoTransfer)?;
        if resolve.resolution == Resolution::Post && !self.still_allowed(&command.actor, &hold) {
            return Err(Refusal::NotPermitted);
        }
        let accounts = &self.view.accounts;
        let (Some(debit), Some(credit), Some(amount)) =
            (accounts.place_of_no(hold.debit), accounts.place_of_no(hold.credit), Amount::new(hold.amount))
        else {
            return Err(Refusal::NoTransfer);
        };
        if hold.state != TransferState::Pending {
            return Err(Refusal::NotPending);
        }
        let (from, to) = (&accounts.rows()[debit], &accounts.rows()[credit]);
        let (kind, state) = match resolve.resolution {
            Resolution::Post => {
                rules::may_post(from, to, creator)?;
                (Kind::Post, TransferState::Posted)
            }
            Resolution::Void => (Kind::Void, TransferState::Voided),
        };
        let (from_after, to_after) = rules::resolved(resolve.resolution, amount, from.totals, to.totals)?;
        let mut row = self.pair(command, kind, amount, (debit, from_after), (credit, to_after));
        row.reference = Some(resolve.transfer);
        if state == TransferState::Voided {
            row.consent = hold.consent.and_then(|consent| self.take(consent, -hold.amount));
        }
        let id = row.id;
        self.rows.push(row);
        self.view.holds.insert(resolve.transfer, Hold { state, resolved_by: Some(id), ..hold });
        if !self.new_holds.contains(&resolve.transfer) {
            self.resolved.insert(resolve.transfer);
        }
        Ok(id)
    }

    fn owns(&self, actor: &Actor, account: &Account) -> bool {
        let Some(customer) = &actor.customer else { return false };
        self.view.parties.get(&account.no).is_some_and(|parties| parties.contains(customer))
    }

    // -- rows ------------------------------------------------------------------------------------------------------------

    fn next_seq(&self) -> i64 {
        self.view.head.seq + 1 + i64::try_from(self.rows.len()).unwrap_or(i64::MAX)
    }

    /// The next row of the journal, about `account`.
    fn row(&self, command: &Command, kind: Kind, account: &Account, credit: Option<Side>) -> Row {
        let seq = self.next_seq();
        Row {
            id: row_id(self.view.head.now, seq, command.nonce),
            seq,
            kind,
            currency: account.currency,
            amount: None,
            debit: None,
            credit,
            floor: None,
            reference: None,
            flags: 0,
            revision: None,
            party: None,
            consent: None,
            bounds: None,
            actor: command.actor.scope,
            detail_hash: None,
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
        let from = self.advance(debit, debit_after);
        let to = self.advance(credit, credit_after);
        let mut row = self.row(command, kind, &self.view.accounts.rows()[debit], Some(to));
        row.debit = Some(from);
        row.amount = Some(amount.minor_units());
        row
    }

    fn advance(&mut self, place: usize, totals: Totals) -> Side {
        let account = self.view.accounts.at_mut(place);
        if place < self.known {
            self.before.entry(place).or_insert(account.version);
        }
        account.version += 1;
        account.totals = totals;
        side(account)
    }

    fn finish(self, verdicts: Vec<Verdict>) -> Judged {
        let accounts = self.view.accounts.rows();
        let hold = |id: &Uuid| self.view.holds.get(id).map(|hold| (*id, *hold));
        let grant = |consent: &Uuid| self.view.grants.get(consent).cloned();
        Judged {
            verdicts,
            batch: Batch::new(self.view.head.hash, &self.rows),
            opened: accounts[self.known..].to_vec(),
            changed: self
                .before
                .iter()
                .map(|(place, version)| (*version, accounts[*place].clone()))
                .collect(),
            grants: self.grants.iter().filter_map(grant).collect(),
            holds: self.new_holds.iter().filter_map(hold).collect(),
            resolved: self.resolved.iter().filter_map(hold).collect(),
            rows: self.rows,
            parties: self.parties,
            outcomes: self.outcomes,
            details: self.details,
            events: self.events,
        }
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
