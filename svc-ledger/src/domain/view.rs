//! The part of the ledger that a batch concerns, as it stands under the head lock. The store fills it, the judge changes it in
//! place while it goes through the batch, so that a later command sees what an earlier one did.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::account::{Account, Amount};
use super::chain::Hash;
use super::grant::{self, Grant};
use super::request::{BodyHash, Key, Scope};
use super::verdict::{Outcome, Refusal, TransferState};

/// Where the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last sequence number given.
    pub seq: i64,
    /// The hash of the last batch.
    pub hash: Hash,
    /// The time of this batch in milliseconds of the Unix time: the store's clock, or the last booking time if that is later.
    pub now: i64,
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
    /// In minor units.
    pub amount: i64,
    /// What became of it.
    pub state: TransferState,
    /// The consent it has taken its amount from, if a partner made it.
    pub consent: Option<Uuid>,
    /// The row that ended it.
    pub resolved_by: Option<Uuid>,
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
    /// The accounts that commands name and those of the holds they name; unknown ones are missing.
    pub accounts: Accounts,
    /// The customers of accounts that a customer debits or that are to be opened, by account number.
    pub parties: HashMap<i64, Vec<String>>,
    /// The grants that commands set, those by which partners debit, and those that the holds named have taken from, by consent.
    pub grants: BTreeMap<Uuid, Grant>,
    /// The holds that commands name.
    pub holds: BTreeMap<Uuid, Hold>,
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
