//! Takes back what a chain or a validation has done. Everything that changes the view while that may be necessary goes through
//! here; what is only ever appended is cut to the length it had.

use uuid::Uuid;

use super::super::account::Account;
use super::super::grant::Grant;
use super::super::view::Hold;
use super::Judge;

/// What stood before, newest last.
#[derive(Debug, Default)]
pub(super) struct Undo {
    /// With the version before the batch, if the batch had changed the account by then.
    accounts: Vec<(usize, Account, Option<i64>)>,
    /// With whether the hold was new, and whether it was changed, by then.
    holds: Vec<(Uuid, Option<Hold>, bool, bool)>,
    /// With whether the grant was changed by then.
    grants: Vec<(Uuid, Grant, bool)>,
}

/// How long the lists were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    rows: usize,
    reversals: usize,
    details: usize,
}

impl Judge {
    /// From here on everything can be taken back. Chains and validations do not nest.
    pub(super) fn begin(&mut self) -> Mark {
        self.undo = Some(Undo::default());
        Mark { rows: self.rows.len(), reversals: self.reversals.len(), details: self.details.len() }
    }

    /// What was done since the beginning stays.
    pub(super) fn keep(&mut self) {
        self.undo = None;
    }

    /// Nothing was done since the beginning.
    pub(super) fn take_back(&mut self, mark: Mark) {
        let undo = self.undo.take().unwrap_or_default();
        for (place, account, before) in undo.accounts.into_iter().rev() {
            *self.view.accounts.at_mut(place) = account;
            if before.is_none() {
                self.before.remove(&place);
            }
        }
        for (id, hold, was_new, was_changed) in undo.holds.into_iter().rev() {
            match hold {
                Some(hold) => self.view.holds.insert(id, hold),
                None => self.view.holds.remove(&id),
            };
            if !was_new {
                self.new_holds.remove(&id);
            }
            if !was_changed {
                self.resolved.remove(&id);
            }
        }
        for (consent, grant, was_changed) in undo.grants.into_iter().rev() {
            self.view.grants.insert(consent, grant);
            if !was_changed {
                self.grants.remove(&consent);
            }
        }
        for (transfer, _) in self.reversals.drain(mark.reversals..) {
            self.view.reversals.remove(&transfer);
        }
        self.rows.truncate(mark.rows);
        self.details.truncate(mark.details);
    }

    pub(super) fn remember_account(&mut self, place: usize) {
        if let Some(undo) = &mut self.undo {
            let account = self.view.accounts.rows()[place].clone();
            undo.accounts.push((place, account, self.before.get(&place).copied()));
        }
    }

    /// Puts a hold where it was not, or in the place of what it was.
    pub(super) fn put_hold(&mut self, id: Uuid, hold: Hold) {
        let old = self.view.holds.insert(id, hold);
        if let Some(undo) = &mut self.undo {
            undo.holds.push((id, old, self.new_holds.contains(&id), self.resolved.contains(&id)));
        }
        if old.is_none() {
            self.new_holds.insert(id);
        } else if !self.new_holds.contains(&id) {
            self.resolved.insert(id);
        }
    }

    /// Notes that a transfer was reversed.
    pub(super) fn put_reversal(&mut self, transfer: Uuid, by: Uuid) {
        self.view.reversals.insert(transfer, by);
        self.reversals.push((transfer, by));
    }

    /// Has transfers take from a grant, or give back.
    pub(super) fn put_used(&mut self, consent: Uuid, minor_units: i64) -> Option<i64> {
        let grant = self.view.grants.get_mut(&consent)?;
        if let Some(undo) = &mut self.undo {
            undo.grants.push((consent, grant.clone(), self.grants.contains(&consent)));
        }
        grant.used += minor_units;
        let used = grant.used;
        self.grants.insert(consent);
        Some(used)
    }
}
