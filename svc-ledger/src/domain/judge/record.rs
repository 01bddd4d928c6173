//! The event that a judged command leaves for the audit.

use uuid::Uuid;

use super::super::account::{Account, display_name};
use super::super::audit::Event;
use super::super::command::{Action, Command};
use super::super::verdict::Verdict;
use super::Judge;

impl Judge {
    /// Writes the event of a command that was judged and not answered from what had been judged before: `place` is that of its
    /// verdict, `row` the first that it left.
    pub(super) fn record(&mut self, place: usize, command: &Command, verdict: &Verdict, row: Option<Uuid>) {
        if *verdict == Verdict::NotAttempted {
            return;
        }
        let Some(witness) = &command.witness else { return };
        let resource = self.touched(&command.action, row);
        let id = row.unwrap_or(witness.id);
        self.events.push(Event { id, place, call: witness.call.clone(), resource });
    }

    fn touched(&self, action: &Action, row: Option<Uuid>) -> Option<String> {
        match (action, row) {
            (Action::Open(open), _) => self.account(&open.id),
            (Action::SetState(wanted), _) => self.account(&wanted.account),
            (Action::SetLimits(wanted), _) => self.account(&wanted.account),
            (Action::Grant(grant), _) => {
                let account = self.account(&grant.account)?;
                Some(format!("{account}/consents/{}", grant.terms.consent))
            }
            (Action::Transfer(..) | Action::Reverse(..), Some(row)) => Some(format!("transfers/{row}")),
            (Action::Transfer(_, transfer), None) => self.account(&transfer.debit),
            (Action::Reverse(_, reverse), None) => {
                let known = self.view.holds.contains_key(&reverse.transfer)
                    || self.view.directs.contains_key(&reverse.transfer);
                known.then(|| format!("transfers/{}", reverse.transfer))
            }
            (Action::Resolve(_, resolve), _) => {
                self.view.holds.get(&resolve.transfer).map(|_| format!("transfers/{}", resolve.transfer))
            }
            (Action::Expire(hold), _) => Some(format!("transfers/{hold}")),
            (Action::ClosePeriod(_, end_date), _) => Some(format!("periods/{end_date}")),
        }
    }

    fn account(&self, id: &Uuid) -> Option<String> {
        let name = |account: &Account| display_name(account.id, account.purpose, account.currency);
        let place = self.view.accounts.place_of(id)?;
        Some(format!("accounts/{}", name(&self.view.accounts.rows()[place])))
    }
}
