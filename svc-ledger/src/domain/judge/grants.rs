//! Grants in a batch: how one is set, and how transfers take from it and give back.

use uuid::Uuid;

use super::super::account::Amount;
use super::super::command::{self, Actor, Command};
use super::super::grant::{Grant, Scope, Terms};
use super::super::journal::{Bounds, Kind, Taken};
use super::super::verdict::{Refusal, Verdict};
use super::super::view::Hold;
use super::Judge;

impl Judge {
    /// A consent is its own key: the same revision with the same terms again changes nothing.
    pub(super) fn grant(&mut self, command: &Command, wanted: &command::Grant) -> Verdict {
        let Some(place) = self.view.accounts.place_of(&wanted.account) else { return Verdict::NoAccount };
        let account = self.view.accounts.rows()[place].clone();
        let terms = &wanted.terms;
        let mut used = 0;
        if let Some(known) = self.view.grants.get(&terms.consent) {
            let foreign = named([
                ("account_id", known.account != account.no),
                ("partner_id", known.terms.partner != terms.partner),
            ]);
            if !foreign.is_empty() {
                return Verdict::GrantExists(foreign);
            }
            if terms.revision < known.terms.revision {
                return Verdict::StaleRevision;
            }
            if terms.revision == known.terms.revision {
                let changed = differences(&known.terms, terms);
                return if changed.is_empty() {
                    Verdict::Granted(known.clone())
                } else {
                    Verdict::GrantExists(changed)
                };
            }
            used = known.used;
        }
        let mut row = self.row(command, Kind::Grant, Some(&account));
        row.flags = terms.scopes.bits();
        row.revision = Some(terms.revision);
        row.party = Some(terms.partner.clone());
        row.consent = Some(Taken { consent: terms.consent, used });
        row.bounds = Some(Bounds {
            per_transfer_max: terms.per_transfer_max,
            total_max: terms.total_max,
            expires_at: terms.expires_at,
        });
        self.rows.push(row);
        let grant = Grant { account: account.no, terms: terms.clone(), used };
        self.view.grants.insert(terms.consent, grant.clone());
        self.grants.insert(terms.consent);
        Verdict::Granted(grant)
    }

    /// The consent that the actor's debit takes from; none for an owner and for staff, who need none.
    pub(super) fn allowance(
        &self,
        actor: &Actor,
        account: i64,
        amount: Amount,
    ) -> Result<Option<Uuid>, Refusal> {
        let Some(partner) = &actor.partner else { return Ok(None) };
        self.view.allowance(account, partner, amount).map(Some)
    }

    /// Whether the actor may post a hold of its own making. A partner may only while the consent stands that it was made under:
    /// one that was taken back moves no more money. Giving a hold up needs no consent.
    pub(super) fn still_allowed(&self, actor: &Actor, hold: &Hold) -> bool {
        let Some(partner) = &actor.partner else { return true };
        let grant = hold.consent.and_then(|consent| self.view.grants.get(&consent));
        grant.is_some_and(|grant| {
            grant.allows(hold.debit, partner, Scope::CreateTransfers, self.view.head.now)
        })
    }

    /// Whether the consent that a hold was made under leaves room for more of it.
    pub(super) fn caps_leave_room(&self, hold: &Hold, more: Amount) -> Result<(), Refusal> {
        let grant = hold.consent.and_then(|consent| self.view.grants.get(&consent));
        let exceeded = grant.and_then(|grant| grant.exceeded_by_more(hold.amount, more));
        exceeded.map_or(Ok(()), Err)
    }

    /// Takes from a consent what its caps were found to leave room for; what is negative is given back.
    pub(super) fn take(&mut self, consent: Uuid, minor_units: i64) -> Option<Taken> {
        self.put_used(consent, minor_units).map(|used| Taken { consent, used })
    }
}

fn differences(known: &Terms, wanted: &Terms) -> Vec<&'static str> {
    named([
        ("scopes", known.scopes != wanted.scopes),
        ("per_transfer_max_minor_units", known.per_transfer_max != wanted.per_transfer_max),
        ("total_max_minor_units", known.total_max != wanted.total_max),
        ("expire_time", known.expires_at != wanted.expires_at),
    ])
}

pub(super) fn named<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
