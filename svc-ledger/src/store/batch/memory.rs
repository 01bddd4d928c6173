//! What the writer remembers from its last batch. Everything that changes an account or its parties is a row of the journal, and every
//! row changes the head's hash: where the journal ends as this process left it, the accounts stand as this process left them, and need
//! not be read again. Under the head lock the hash is compared; whoever else has written meanwhile, the memory is then of no use.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::account::Account;
use crate::domain::chain::Hash;
use crate::domain::view::{Accounts, View};

/// How many accounts are remembered, at some 400 bytes each. A process that has met more begins anew.
const ACCOUNTS_MAX: usize = 100_000;

/// Accounts and their parties as they stood after a batch.
#[derive(Debug, Default)]
pub(in crate::store) struct Memory {
    /// Of the head then; absent when nothing is remembered.
    pub(super) hash: Option<Hash>,
    pub(super) accounts: Accounts,
    /// By account number: all of an account's, or none.
    pub(super) parties: HashMap<i64, Vec<String>>,
}

impl Memory {
    /// Of a batch that is committed.
    pub(in crate::store) fn of(after: View) -> Self {
        let View { head, accounts, parties, .. } = after;
        if accounts.rows().len() > ACCOUNTS_MAX {
            return Self::default();
        }
        Self { hash: Some(head.hash), accounts, parties }
    }

    /// What is still true at a head.
    pub(super) fn at(self, hash: Hash) -> Self {
        if self.hash == Some(hash) { self } else { Self::default() }
    }

    pub(super) fn unknown_accounts(&self, ids: &[Uuid]) -> Vec<Uuid> {
        ids.iter().copied().filter(|id| self.account(id).is_none()).collect()
    }

    pub(super) fn unknown_parties(&self, ids: &[Uuid]) -> Vec<Uuid> {
        let known =
            |id: &Uuid| self.account(id).is_some_and(|account| self.parties.contains_key(&account.no));
        ids.iter().copied().filter(|id| !known(id)).collect()
    }

    fn account(&self, id: &Uuid) -> Option<&Account> {
        self.accounts.place_of(id).map(|place| &self.accounts.rows()[place])
    }
}
