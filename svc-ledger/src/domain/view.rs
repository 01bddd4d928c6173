//! The part of the ledger that a batch concerns, as it stands under the head lock. The store fills it, the judge changes it in
//! place while it goes through the batch, so that a later command sees what an earlier one did.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use uuid::Uuid;

use super::account::{Account, Amount};
use super::chain::Hash;
use super::grant::{self, Grant};
use super::period::TrialBalance;
use super::request::{BodyHash, Key, Scope};
use super::verdict::{Outcome, Refusal, Standing, TransferState};

/// Where the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last sequence number given.
    pub seq: i64,
    /// The hash of the last batch.
    pub hash: Hash,
    /// The time of this batch in milliseconds of the Unix time: the store's clock, or the last booking time if that is later.
    pub now: i64,
    /// The last day of the last closed period.
    pub closed_until: Option<NaiveDate>,
}

/// A hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who made it.
    pub creator: Scope,
    /// Number of the account debited.
    pub debit: i64,
    /// Number of the account credited.
    pub credit: i64,
    /// What was held in all, increments included, in minor units.
    pub amount: i64,
    /// What is still held.
    pub remaining: i64,
    /// What of it was posted.
    pub captured: i64,
    /// What became of it.
    pub state: TransferState,
    /// When it ends by itself, in milliseconds of the Unix time.
    pub expires_at: Option<i64>,
    /// The day it counts for.
    pub value_date: NaiveDate,
    /// The first row of its chain.
    pub link: Option<i64>,
    /// Whether it pays somebody outside this bank.
    pub external: bool,
    /// Whether it is half of a conversion.
    pub exchange: bool,
    /// The consent it has taken its amount from, if a partner made it.
    pub consent: Option<Uuid>,
    /// The row that changed it last: posted a part, increased or ended it.
    pub resolved_by: Option<Uuid>,
}

impl Hold {
    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { amount: self.amount, posted: self.captured, held: self.remaining, state: self.state }
    }
}

/// A direct transfer, as far as its reversal cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direct {
    /// Number of the account debited.
    pub debit: i64,
    /// Number of the account credited.
    pub credit: i64,
    /// What was moved, in minor units.
    pub amount: i64,
    /// Whether it is itself a reversal or half of a conversion, which cannot be reversed.
    pub is_final: bool,
}

/// Accounts, found by id and by number.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    rows: Vec<Account>,
    by_id: HashMap<Uuid, usize>,
    by_no: HashMap<i64, usize>,
}

impl Accounts {
    /// Adds an account; its place stays.
    pub fn add(&mut self, account: Account) -> usize {
        let place = self.rows.len();
        self.by_id.insert(account.id, place);
        self.by_no.insert(account.no, place);
        self.rows.push(account);
        place
    }

    /// The place of an account by id.
    #[must_use]
    pub fn place_of(&self, id: &Uuid) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The place of an account by number.
    #[must_use]
    pub fn place_of_no(&self, no: i64) -> Option<usize> {
        self.by_no.get(&no).copied()
    }

    /// All of them, in the order they came.
    #[must_use]
    pub fn rows(&self) -> &[Account] {
        &self.rows
    }

    /// To change one in place. Its id and number must stay.
    pub fn at_mut(&mut self, place: usize) -> &mut Account {
        &mut self.rows[place]
    }
}

/// All that a batch concerns.
#[derive(Clone, Debug)]
pub struct View {
    /// Where the journal ends.
    pub head: Head,
    /// The accounts that commands name and those of the holds and transfers they name; unknown ones are missing, others may be there.
    pub accounts: Accounts,
    /// The customers of accounts that a customer debits, that are to be opened, or that were credited by a transfer to be reversed,
    /// by account number; all of an account's, or none.
    pub parties: HashMap<i64, Vec<String>>,
    /// The grants that commands set, those by which partners debit, and those that the holds named have taken from, by consent.
    pub grants: BTreeMap<Uuid, Grant>,
    /// The holds that commands name, and all of their chain where a command is about all of it.
    pub holds: BTreeMap<Uuid, Hold>,
    /// The direct transfers that are to be reversed, and those that staff take for holds.
    pub directs: BTreeMap<Uuid, Direct>,
    /// Of transfers that are to be reversed: what has reversed them.
    pub reversals: BTreeMap<Uuid, Uuid>,
    /// The trial balance before the batch; there if a command is to close a period.
    pub trial_balance: Option<TrialBalance>,
    /// What keys stand for already.
    pub outcomes: HashMap<Key, (BodyHash, Outcome)>,
}

impl View {
    /// A ledger at `head` of which nothing else is known.
    #[must_use]
    pub fn empty(head: Head) -> Self {
        Self {
            head,
            accounts: Accounts::default(),
            parties: HashMap::new(),
            grants: BTreeMap::new(),
            holds: BTreeMap::new(),
            directs: BTreeMap::new(),
            reversals: BTreeMap::new(),
            trial_balance: None,
            outcomes: HashMap::new(),
        }
    }

    /// The grant that a partner's debit takes from: of those that allow it, the oldest consent whose caps it keeps.
    ///
    /// # Errors
    /// `NotPermitted` when no grant allows a debit at all, else the cap of the oldest that it exceeds.
    pub fn allowance(&self, account: i64, partner: &str, amount: Amount) -> Result<Uuid, Refusal> {
        let mut first = Refusal::NotPermitted;
        for (consent, grant) in &self.grants {
            if !grant.allows(account, partner, grant::Scope::CreateTransfers, self.head.now) {
                continue;
            }
            match grant.exceeded(amount) {
                None => return Ok(*consent),
                Some(cap) if first == Refusal::NotPermitted => first = cap,
                Some(_) => {}
            }
        }
        Err(first)
    }
}
