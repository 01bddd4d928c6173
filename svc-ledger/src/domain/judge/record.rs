//! The event that a judged command leaves for the audit.

use uuid::Uuid;

use super::super::account::{Account, display_name};
use super::super::audit::Event;
use super::super::command::{Action, Command};
use super::super::verdict::Verdict;
use super::Judge;

/// How much the batch had written before a command.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    rows: usize,
    outcomes: usize,
}

impl Judge {
    pub(super) fn mark(&self) -> Mark {
        Mark { rows: self.rows.len(), outcomes: self.outcomes.len() }
    }

    /// Writes the event of the command at `place`, unless it was answered from what had been judged before.
    pub(super) fn record(&mut self, place: usize, command: &Command, verdict: &Verdict, before: Mark) {
        let Some(witness) = &command.witness else { return };
        let row = self.rows.get(before.rows).map(|row| row.id);
        let judged = row.is_some() || self.outcomes.len() > before.outcomes || is_refusal_of_its_own(verdict);
        if !judged {
            return;
        }
        let resource = self.touched(&command.action, row);
        let id = row.unwrap_or(witness.id);
        self.events.push(Event { id, place, call: witness.call.clone(), resource });
    }

    fn touched(&self, action: &Action, row: Option<Uuid>) -> Option<String> {
        match (action, row) {
            (Action::Open(open), _) => self.account(&open.id),
            (Action::Grant(grant), _) => {
                let account = self.account(&grant.account)?;
                Some(format!("{account}/consents/{}", grant.terms.consent))
            }
            (Action::Transfer(..), Some(row)) => Some(format!("transfers/{row}")),
            (Action::Transfer(_, transfer), None) => self.account(&transfer.debit),
            (Action::Resolve(_, resolve), _) => {
                self.view.holds.get(&resolve.transfer).map(|_| format!("transfers/{}", resolve.transfer))
            }
        }
    }

    fn account(&self, id: &Uuid) -> Option<String> {
        let name = |account: &Account| display_name(account.id, account.purpose, account.currency);
        let place = self.view.accounts.place_of(id)?;
        Some(format!("accounts/{}", name(&self.view.accounts.rows()[place])))
    }
}

/// Whether the verdict is a refusal that no key keeps: it is given anew each time, and each time leaves an event.
fn is_refusal_of_its_own(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::BodyChanged(_)
        | Verdict::AccountExists(_)
        | Verdict::NoAccount
        | Verdict::GrantExists(_)
        | Verdict::StaleRevision => true,
        Verdict::Opened(_)
        | Verdict::Granted(_)
        | Verdict::Booked(_)
        | Verdict::Recorded(_)
        | Verdict::Refused(_) => false,
    }
}
