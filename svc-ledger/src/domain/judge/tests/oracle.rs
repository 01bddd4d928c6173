//! The oracle: the contract's rules once more, one command at a time, with unbounded numbers and no thought of speed. It shares
//! no code with the judge but the types of what goes in and comes out.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::memory::Memory;
use crate::domain::account::{Account, Amount, State};
use crate::domain::command::{self, Action, Command, Resolution, Resolve, Transfer};
use crate::domain::grant::{Scope as Act, Terms};
use crate::domain::request::{BodyHash, Key, Scope};
use crate::domain::verdict::Refusal;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Done,
    Refused(Refusal),
    BodyChanged,
    Exists,
    Stale,
    NoAccount,
}

struct Book {
    account: Account,
    owners: Vec<String>,
    debits: i128,
    credits: i128,
    debit_holds: i128,
    credit_holds: i128,
}

impl Book {
    fn available(&self) -> i128 {
        self.credits - self.debits - self.debit_holds
    }
}

struct Waiting {
    creator: Scope,
    transfer: Transfer,
    open: bool,
    consent: Option<Uuid>,
}

struct Allowed {
    account: Uuid,
    terms: Terms,
    used: i128,
}

pub(super) struct Oracle {
    books: HashMap<Uuid, Book>,
    holds: HashMap<Uuid, Waiting>,
    grants: BTreeMap<Uuid, Allowed>,
    now: i64,
    keys: HashMap<Key, (BodyHash, Expected)>,
}

const LIMIT: i128 = i64::MAX as i128;

impl Oracle {
    pub(super) fn with(accounts: Vec<(Account, Vec<String>)>) -> Self {
        let book = |(account, owners): (Account, Vec<String>)| {
            (account.id, Book { account, owners, debits: 0, credits: 0, debit_holds: 0, credit_holds: 0 })
        };
        Self {
            books: accounts.into_iter().map(book).collect(),
            holds: HashMap::new(),
            grants: BTreeMap::new(),
            now: 0,
            keys: HashMap::new(),
        }
    }

    /// What becomes of the command at `now`; `created` is the id that the judge gave to the transfer, should it have made one.
    pub(super) fn judge(&mut self, command: &Command, created: Option<Uuid>, now: i64) -> Expected {
        self.now = now;
        if let Action::Grant(grant) = &command.action {
            return self.grant(grant);
        }
        let (request, _) = command.action.request().unwrap();
        if let Some((body, expected)) = self.keys.get(&request.key) {
            return if *body == request.body { expected.clone() } else { Expected::BodyChanged };
        }
        let result = match &command.action {
            Action::Transfer(_, transfer) => self.transfer(command, transfer, created),
            Action::Resolve(_, resolve) => self.resolve(command, *resolve),
            Action::Open(_) | Action::Grant(_) => unreachable!(),
        };
        let expected = result.map_or_else(Expected::Refused, |()| Expected::Done);
        self.keys.insert(request.key.clone(), (request.body.clone(), expected.clone()));
        expected
    }

    fn grant(&mut self, wanted: &command::Grant) -> Expected {
        if !self.books.contains_key(&wanted.account) {
            return Expected::NoAccount;
        }
        let terms = wanted.terms.clone();
        if let Some(known) = self.grants.get_mut(&terms.consent) {
            if known.account != wanted.account || known.terms.partner != terms.partner {
                return Expected::Exists;
            }
            if known.terms.revision > terms.revision {
                return Expected::Stale;
            }
            if known.terms.revision == terms.revision {
                return if known.terms == terms { Expected::Done } else { Expected::Exists };
            }
            known.terms = terms;
        } else {
            self.grants.insert(terms.consent, Allowed { account: wanted.account, terms, used: 0 });
        }
        Expected::Done
    }

    /// The grants by which the partner may debit the account, oldest consent first.
    fn grants_for(&self, account: Uuid, partner: &str) -> Vec<&Allowed> {
        let may = |grant: &&Allowed| {
            grant.account == account
                && grant.terms.partner == partner
                && grant.terms.scopes.contains(Act::CreateTransfers)
                && self.now < grant.terms.expires_at
        };
        self.grants.values().filter(may).collect()
    }

    fn transfer(
        &mut self,
        command: &Command,
        transfer: &Transfer,
        created: Option<Uuid>,
    ) -> Result<(), Refusal> {
        let amount = i128::from(transfer.amount.minor_units());
        let from = self.books.get(&transfer.debit);
        let owner = from.is_some_and(|from| {
            command.actor.customer.as_ref().is_some_and(|customer| from.owners.contains(customer))
        });
        let partner = command.actor.partner.as_deref();
        let grants = partner.map(|partner| self.grants_for(transfer.debit, partner));
        let exceeded = |grant: &&Allowed| {
            let over =
                |cap: Option<Amount>, sum: i128| cap.is_some_and(|cap| i128::from(cap.minor_units()) < sum);
            if over(grant.terms.per_transfer_max, amount) {
                Some(Refusal::PerTransferCap)
            } else {
                over(grant.terms.total_max, grant.used + amount).then_some(Refusal::TotalCap)
            }
        };
        let fitting =
            grants.as_ref().and_then(|grants| grants.iter().find(|grant| exceeded(grant).is_none()));
        let consent = fitting.map(|grant| grant.terms.consent);
        let cap = grants.as_ref().filter(|_| consent.is_none()).and_then(|grants| exceeded(grants.first()?));
        let refusals = || {
            if !owner && !command.actor.staff || grants.as_ref().is_some_and(Vec::is_empty) {
                return Some(Refusal::NotPermitted);
            }
            let Some(from) = from else { return Some(Refusal::NoDebitAccount) };
            let Some(to) = self.books.get(&transfer.credit) else { return Some(Refusal::NoCreditAccount) };
            let rules = [
                (from.account.currency != transfer.currency, Refusal::DebitCurrency),
                (to.account.currency != transfer.currency, Refusal::CreditCurrency),
                (from.account.state != State::Open, Refusal::DebitNotOpen),
                (![State::Open, State::DebitFrozen].contains(&to.account.state), Refusal::CreditNotOpen),
                (cap.is_some(), cap.unwrap_or(Refusal::TotalCap)),
                (
                    from.account.floor.is_some_and(|floor| from.available() - amount < i128::from(floor)),
                    Refusal::InsufficientFunds,
                ),
                (from.debits + from.debit_holds + amount > LIMIT, Refusal::BalanceOverflow),
                (to.credits + to.credit_holds + amount > LIMIT, Refusal::BalanceOverflow),
                (from.account.purpose.is_house() && !transfer.pending, Refusal::FourEyes),
            ];
            rules.into_iter().find(|(broken, _)| *broken).map(|(_, refusal)| refusal)
        };
        if let Some(refusal) = refusals() {
            return Err(refusal);
        }
        let from = self.books.get_mut(&transfer.debit).unwrap();
        *(if transfer.pending { &mut from.debit_holds } else { &mut from.debits }) += amount;
        let to = self.books.get_mut(&transfer.credit).unwrap();
        *(if transfer.pending { &mut to.credit_holds } else { &mut to.credits }) += amount;
        if let Some(consent) = consent {
            self.grants.get_mut(&consent).unwrap().used += amount;
        }
        if transfer.pending {
            let (creator, transfer) = (command.actor.scope, transfer.clone());
            let waiting = Waiting { creator, transfer, open: true, consent };
            self.holds.insert(created.expect("the judge made no transfer"), waiting);
        }
        Ok(())
    }

    fn resolve(&mut self, command: &Command, resolve: Resolve) -> Result<(), Refusal> {
        let waiting = self.holds.get_mut(&resolve.transfer);
        let creator = waiting.as_ref().is_some_and(|waiting| waiting.creator == command.actor.scope);
        if !creator && !command.actor.staff {
            return Err(Refusal::NotPermitted);
        }
        let waiting = waiting.ok_or(Refusal::NoTransfer)?;
        let post = resolve.resolution == Resolution::Post;
        let grant = waiting.consent.and_then(|consent| self.grants.get_mut(&consent));
        let standing = grant.as_ref().is_some_and(|grant| {
            grant.terms.scopes.contains(Act::CreateTransfers) && self.now < grant.terms.expires_at
        });
        if post && command.actor.partner.is_some() && !standing {
            return Err(Refusal::NotPermitted);
        }
        if !waiting.open {
            return Err(Refusal::NotPending);
        }
        let (debit, credit) = (waiting.transfer.debit, waiting.transfer.credit);
        let amount = i128::from(waiting.transfer.amount.minor_units());
        // No account of these tests changes its state, and a hold on a closed one was refused.
        if post && creator && self.books[&debit].account.purpose.is_house() {
            return Err(Refusal::FourEyes);
        }
        waiting.open = false;
        if let Some(grant) = grant.filter(|_| !post) {
            grant.used -= amount;
        }
        let from = self.books.get_mut(&debit).unwrap();
        from.debit_holds -= amount;
        from.debits += if post { amount } else { 0 };
        let to = self.books.get_mut(&credit).unwrap();
        to.credit_holds -= amount;
        to.credits += if post { amount } else { 0 };
        Ok(())
    }

    /// Whether every balance, and what was taken of every consent, came out the same.
    pub(super) fn compare(&self, memory: &Memory) {
        let used = memory.grants().map(|grant| (grant.terms.consent, i128::from(grant.used)));
        let expected = self.grants.iter().map(|(consent, grant)| (*consent, grant.used));
        assert!(used.eq(expected));
        for account in memory.accounts() {
            let book = &self.books[&account.id];
            let totals = account.totals;
            let theirs =
                [totals.dr_posted, totals.cr_posted, totals.dr_pending, totals.cr_pending].map(i128::from);
            assert_eq!(
                theirs,
                [book.debits, book.credits, book.debit_holds, book.credit_holds],
                "{account:?}"
            );
        }
    }
}
