//! What accounts are to become: beside the record, the list of those that the ledger has to be told of, and what is to be told of a
//! change once there is one.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use uuid::Uuid;

use super::item::{Item, Reader, Writer, corrupt};
use super::key::{ACCOUNT_PREFIX, CHANGING, Key};
use super::transact::Written;
use super::waiting::{self, WaitingPage};
use super::{Event, Store};
use crate::domain::change::{Reason, Refusal, Step, Verdict};
use crate::domain::{Account, AccountId, AccountState, Changes, Intent, StateRevision};
use crate::error::Error;

/// When a change is told to whoever keeps the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// With its first write: from there on it is in force here, whatever the ledger says.
    Now,
    /// With the write that says that the ledger has confirmed it: until then it may be refused.
    Confirmed,
}

impl Store {
    /// Writes `next` over `account`, if that is still what is there, and puts it among those that wait for the ledger if it does.
    /// Returns whether it was.
    pub async fn change_account(
        &self,
        account: &Account,
        next: &Account,
        event: &Event,
        telling: Telling,
    ) -> Result<bool, Error> {
        let mut steps = vec![self.replace_account(account, next)?];
        let slots = [
            (account.changes.state != next.changes.state, Key::state_told(next.id)),
            (account.changes.limit != next.changes.limit, Key::limit_told(next.id)),
        ];
        for (_, key) in slots.iter().filter(|(changes, _)| *changes) {
            // What an older wish of the kind would have told is never to be told: this one took its place.
            steps.push(match telling {
                Telling::Now => self.delete(key)?,
                Telling::Confirmed => self.put(told(key, event))?,
            });
        }
        if telling == Telling::Now {
            steps.push(self.put_event(event)?);
        }
        if next.changes.is_waiting() {
            // It may wait there already.
            steps.push(self.put(waiting::item(&Key::changing(next.id), next.update_time).done())?);
        }
        Ok(self.transact("ChangeAccount", steps).await? == Written::All)
    }

    /// Writes what the ledger has said to a step, if the account is still what it was then, and takes it off the list once nothing
    /// waits. Answers what the account then is.
    pub async fn settle_account(
        &self,
        account: &Account,
        step: Step,
        verdict: Verdict,
        next: &Account,
    ) -> Result<Option<Account>, Error> {
        let mut steps = vec![self.replace_account(account, next)?];
        let (key, confirmed) = match step {
            Step::State(intent) => (Key::state_told(next.id), next.state == intent.wanted),
            Step::Limit(intent) => {
                (Key::limit_told(next.id), next.overdraft_limit_minor_units == intent.wanted)
            }
        };
        match verdict {
            // Wished anew, and told when that is confirmed.
            Verdict::Stale => {}
            Verdict::Done | Verdict::Refused(_) if confirmed => {
                if let Some(event) = self.get(&key).await?.as_ref().map(untold).transpose()? {
                    steps.extend([self.put_event(&event)?, self.delete(&key)?]);
                }
            }
            Verdict::Done | Verdict::Refused(_) => steps.push(self.delete(&key)?),
        }
        // A closed account has no wishes left, of either kind.
        let dropped = match step {
            Step::State(_) => (account.changes.limit.is_some() && next.changes.limit.is_none())
                .then(|| Key::limit_told(next.id)),
            Step::Limit(_) => (account.changes.state.is_some() && next.changes.state.is_none())
                .then(|| Key::state_told(next.id)),
        };
        if let Some(key) = dropped {
            steps.push(self.delete(&key)?);
        }
        if !next.changes.is_waiting() {
            steps.push(self.delete(&Key::changing(next.id))?);
        }
        match self.transact("SettleAccount", steps).await? {
            Written::All => Ok(Some(next.clone())),
            Written::Nothing(_) => self.account(account.id).await,
        }
    }

    /// Accounts that wait, and whether there are more.
    pub async fn changings(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<WaitingPage<AccountId>, Error> {
        self.waiting(CHANGING, ACCOUNT_PREFIX, after.map(Key::changing), limit, |item| {
            item.sort_id(ACCOUNT_PREFIX, AccountId::parse)
        })
        .await
    }

    /// Takes an account off the list of those that wait. To be asked when it is there and nothing waits.
    pub async fn forget_changing(&self, account: &Account) -> Result<(), Error> {
        let steps = vec![
            self.demand_number(&Key::account(account.id), "revision", account.revision)?,
            self.delete(&Key::changing(account.id))?,
        ];
        self.transact("ForgetChanging", steps).await.map(drop)
    }

    /// An update and not a put: the record says more than the domain knows.
    fn replace_account(&self, account: &Account, next: &Account) -> Result<TransactWriteItem, Error> {
        let number = |value: &dyn ToString| AttributeValue::N(value.to_string());
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let Changes { state, limit, refusal } = &next.changes;
        let attributes = [
            ("display_name", Some(text(next.display_name.as_str()))),
            ("state", Some(text(next.state.as_str()))),
            ("overdraft_limit_minor_units", Some(number(&next.overdraft_limit_minor_units))),
            ("state_revision", Some(number(&next.state_revision.get()))),
            ("update_time", Some(number(&next.update_time.get()))),
            ("revision", Some(number(&next.revision))),
            ("wanted_state", state.map(|intent| text(intent.wanted.as_str()))),
            ("wanted_state_revision", state.map(|intent| number(&intent.revision.get()))),
            ("wanted_limit_minor_units", limit.map(|intent| number(&intent.wanted))),
            ("wanted_limit_revision", limit.map(|intent| number(&intent.revision.get()))),
            ("refusal", refusal.map(|refusal| text(refusal.reason.as_str()))),
            ("refusal_revision", refusal.map(|refusal| number(&refusal.revision.get()))),
        ];
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        let (mut names, mut values) = (Vec::new(), Item::new());
        for (name, value) in attributes {
            names.push((format!("#{name}"), name));
            match value {
                Some(value) => {
                    set.push(format!("#{name} = :{name}"));
                    values.insert(format!(":{name}"), value);
                }
                None => remove.push(format!("#{name}")),
            }
        }
        values.insert(":was".to_owned(), number(&account.revision));
        let mut change = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            change = format!("{change} REMOVE {}", remove.join(", "));
        }
        let names: Vec<(&str, &str)> = names.iter().map(|(place, name)| (place.as_str(), *name)).collect();
        self.update(&Key::account(account.id), &change, "#revision = :was", &names, values)
    }
}

/// An event that waits for something to tell.
fn told(key: &Key, event: &Event) -> Item {
    Writer::at(key).text("event_id", event.id.to_string()).bytes("told", Blob::new(event.body.clone())).done()
}

fn untold(item: &Item) -> Result<Event, Error> {
    let item = Reader(item);
    Ok(Event { id: item.parsed("event_id", Uuid::parse_str)?, body: item.bytes("told")?.to_vec() })
}

pub(super) fn decode(item: &Reader<'_>) -> Result<Changes, Error> {
    let revision = |name| Ok::<_, Error>(item.optional_number(name)?.map(StateRevision::new));
    let state = match revision("wanted_state_revision")? {
        Some(revision) => {
            let wanted = AccountState::parse(item.text("wanted_state")?);
            Some(Intent { wanted: wanted.ok_or_else(|| corrupt("wanted_state"))?, revision })
        }
        None => None,
    };
    let limit = match revision("wanted_limit_revision")? {
        Some(revision) => Some(Intent { wanted: item.number("wanted_limit_minor_units")?, revision }),
        None => None,
    };
    let refusal = match revision("refusal_revision")? {
        Some(revision) => {
            let reason = Reason::parse(item.text("refusal")?).ok_or_else(|| corrupt("refusal"))?;
            Some(Refusal { revision, reason })
        }
        None => None,
    };
    Ok(Changes { state, limit, refusal })
}
