//! Consents: the record, what a partner may rely on, and the list of those that wait for the ledger. What a consent allows
//! is for the domain to say of the record; the partner's item only finds it, and is gone as soon as the consent is taken back.

use std::fmt;

use aws_sdk_dynamodb::types::TransactWriteItem;

use super::item::{Item, Reader, Writer, corrupt};
use super::key::{CONSENT_PREFIX, GRANTING, Key, PARTNER_PREFIX};
use super::query::Range;
use super::request;
use super::transact::Written;
use super::waiting::{self, WaitingPage};
use super::{Event, Store};
use crate::domain::{
    AccountId, AccountState, Caps, Consent, ConsentId, ConsentScope, ConsentScopes, ConsentState, CustomerId,
    PartnerId, Request, StateRevision, Terms, UnixMillis,
};
use crate::error::Error;

/// Consents in force to one account, at most: a person deals with a few partners, and each check reads those of one partner.
pub const IN_FORCE_MAX: usize = 50;
/// Read of them at once: with those that have expired and those that many requests at once put beyond the bound.
const READ_MAX: usize = 2 * IN_FORCE_MAX;
/// DynamoDB's own bound for the steps of one transaction.
const STEPS_MAX: usize = 100;
/// How often a revocation that met another write of the consent begins anew. A consent changes three times in its life.
const TRIES: usize = 4;

/// What became of a request for a consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// It was written, PENDING.
    New,
    /// The same request has made this one before.
    Before(ConsentId),
}

/// A consent and the account it is to: what finds its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConsentName {
    /// The account.
    pub account: AccountId,
    /// The consent.
    pub id: ConsentId,
}

impl fmt::Display for ConsentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

impl Consent {
    /// What finds its record.
    pub const fn name(&self) -> ConsentName {
        ConsentName { account: self.account_id, id: self.id }
    }
}

impl Store {
    /// Writes a new consent, and puts it among those that wait for the ledger. What stands in the way is told in this order:
    /// the customer does not hold the account, a known request, too many consents, an account that is not active.
    pub async fn give_consent(
        &self,
        consent: &Consent,
        request: &Request,
        event: &Event,
    ) -> Result<Given, Error> {
        const HOLDER: usize = 0;
        const REQUEST: usize = 1;
        const ACCOUNT: usize = 2;
        let (account, customer) = (consent.account_id, consent.customer_id);
        if self.has_too_many(account, consent.create_time).await? {
            // Who may not know of the account learns nothing of its consents, and a repeat is answered as the first time.
            if !self.is_holder(account, customer).await? {
                return Err(Error::NotPermitted);
            }
            if !self.is_known(request).await? {
                return Err(Error::TooManyConsents);
            }
        }
        let marked = Key::consented(account, &consent.terms.partner, consent.id);
        let steps = vec![
            self.demand(&Key::holder(account, customer))?,
            self.put_new(request::item(request, &consent.id, consent.create_time))?,
            self.demand_text(&Key::account(account), "state", AccountState::Active.as_str())?,
            self.put_new(encode(consent))?,
            self.put_new(
                Writer::at(&marked)
                    .text("consent_id", consent.id.to_string())
                    .number("expire_time", consent.terms.expire_time.get())
                    .done(),
            )?,
            self.put_new(granting(consent))?,
            self.put_event(event)?,
        ];
        match self.transact("GiveConsent", steps).await? {
            Written::All => Ok(Given::New),
            Written::Nothing(refused) if refused.at(HOLDER) => Err(Error::NotPermitted),
            Written::Nothing(refused) if refused.at(REQUEST) => {
                self.made_before(request, ConsentId::parse).await.map(Given::Before)
            }
            Written::Nothing(refused) if refused.at(ACCOUNT) => Err(Error::AccountNotActive),
            Written::Nothing(_) => Err(corrupt("pk")),
        }
    }

    /// Takes a consent back, and puts it among those that wait for the ledger: from here on this service allows nothing by
    /// it. Answers the consent as it then is; one that was taken back before is left as it is.
    pub async fn take_consent_back(
        &self,
        name: ConsentName,
        event: &Event,
        now: UnixMillis,
    ) -> Result<Consent, Error> {
        for _ in 0..TRIES {
            let consent = self.consent(name).await?.ok_or(Error::ConsentNotFound(name.id))?;
            let Some(taken_back) = consent.taken_back(now) else {
                return Ok(consent);
            };
            let steps = vec![
                self.replace(&consent, &taken_back)?,
                self.delete(&Key::consented(name.account, &consent.terms.partner, name.id))?,
                // It may wait there still as PENDING.
                self.put(granting(&taken_back))?,
                self.put_event(event)?,
            ];
            match self.transact("TakeConsentBack", steps).await? {
                Written::All => return Ok(taken_back),
                // Another write came between: the ledger heard of the consent, or another took it back.
                Written::Nothing(_) => {}
            }
        }
        Err(Error::Contended)
    }

    /// Writes that the ledger knows of the consent's newest intent, if that is still the newest; else says what the consent
    /// is. Whoever comes second finds the work done.
    pub async fn settle_consent(
        &self,
        consent: &Consent,
        settled: &Consent,
    ) -> Result<Option<Consent>, Error> {
        let steps = vec![self.replace(consent, settled)?, self.delete(&Key::granting(consent.id))?];
        match self.transact("SettleConsent", steps).await? {
            Written::All => Ok(Some(settled.clone())),
            Written::Nothing(_) => self.consent(consent.name()).await,
        }
    }

    /// One consent.
    pub async fn consent(&self, name: ConsentName) -> Result<Option<Consent>, Error> {
        self.get(&Key::consent(name.account, name.id)).await?.as_ref().map(decode).transpose()
    }

    /// The consents to an account, oldest first, and whether there are more.
    pub async fn consents(
        &self,
        account: AccountId,
        after: Option<ConsentId>,
        limit: usize,
    ) -> Result<(Vec<Consent>, bool), Error> {
        let range = Range {
            partition: Key::consents(account),
            prefix: Some(CONSENT_PREFIX),
            after: after.map(|consent| Key::consent(account, consent)),
            limit,
        };
        let (items, more) = self.range(range).await?;
        Ok((items.iter().map(decode).collect::<Result<_, _>>()?, more))
    }

    /// What a partner may rely on: the consents to an account that were given to it and not taken back. Read from the table
    /// each time, so that a revocation is in force with its first write.
    pub async fn consents_given_to(
        &self,
        account: AccountId,
        partner: &PartnerId,
    ) -> Result<Vec<Consent>, Error> {
        let prefix = Key::partner_prefix(partner);
        let range =
            Range { partition: Key::consents(account), prefix: Some(&prefix), after: None, limit: READ_MAX };
        let (marks, _more) = self.range(range).await?;
        let key = |item: &Item| {
            let id = Reader(item).parsed("consent_id", ConsentId::parse)?;
            Ok(Key::consent(account, id))
        };
        let keys = marks.iter().map(key).collect::<Result<Vec<_>, Error>>()?;
        self.get_all(&keys).await?.iter().map(decode).collect()
    }

    /// Consents that wait for the ledger, the oldest first, and whether there are more.
    pub async fn grantings(
        &self,
        after: Option<ConsentId>,
        limit: usize,
    ) -> Result<WaitingPage<ConsentName>, Error> {
        self.waiting(GRANTING, CONSENT_PREFIX, after.map(Key::granting), limit, |item| {
            Ok(ConsentName {
                account: item.parsed("account_id", AccountId::parse)?,
                id: item.sort_id(CONSENT_PREFIX, ConsentId::parse)?,
            })
        })
        .await
    }

    /// Whether the account has as many consents in force as it may. The marks of those that have expired are removed on the
    /// way, so that nobody reads them for ever.
    async fn has_too_many(&self, account: AccountId, now: UnixMillis) -> Result<bool, Error> {
        let range = Range {
            partition: Key::consents(account),
            prefix: Some(PARTNER_PREFIX),
            after: None,
            limit: READ_MAX,
        };
        let (marks, _more) = self.range(range).await?;
        let mut expired = Vec::new();
        for mark in &marks {
            let item = Reader(mark);
            if now >= UnixMillis::new(item.number("expire_time")?) {
                expired.push(self.delete(&item.key()?)?);
            }
        }
        let in_force = marks.len() - expired.len();
        for steps in expired.chunks(STEPS_MAX) {
            // Another who gives a consent does the same; what fails is done the next time.
            if let Err(error) = self.transact("ForgetExpired", steps.to_vec()).await {
                tracing::warn!(error = chassis::error::chain(&error), "expired consents stay marked");
            }
        }
        Ok(in_force >= IN_FORCE_MAX)
    }

    /// Writes `next` in the place of `consent`, if that is still what is there.
    fn replace(&self, consent: &Consent, next: &Consent) -> Result<TransactWriteItem, Error> {
        self.put_over(encode(next), "revision", consent.revision)
    }
}

fn granting(consent: &Consent) -> Item {
    waiting::item(&Key::granting(consent.id), consent.update_time)
        .text("account_id", consent.account_id.to_string())
        .done()
}

fn encode(consent: &Consent) -> Item {
    let terms = &consent.terms;
    Writer::at(&Key::consent(consent.account_id, consent.id))
        .text("consent_id", consent.id.to_string())
        .text("account_id", consent.account_id.to_string())
        .text("customer_id", consent.customer_id.to_string())
        .text("partner_id", terms.partner.as_str())
        .words("scopes", terms.scopes.iter().map(ConsentScope::as_str))
        .number("per_transfer_max_minor_units", terms.caps.per_transfer_max())
        .number("total_max_minor_units", terms.caps.total_max())
        .number("expire_time", terms.expire_time.get())
        .text("state", consent.state.as_str())
        .number("state_revision", consent.state_revision.get())
        .number("create_time", consent.create_time.get())
        .number("update_time", consent.update_time.get())
        .number("revision", consent.revision)
        .done()
}

fn decode(item: &Item) -> Result<Consent, Error> {
    let item = Reader(item);
    let scopes = item.words("scopes", ConsentScope::parse)?;
    let scopes = ConsentScopes::new(scopes).map_err(|_| corrupt("scopes"))?;
    let per_transfer_max = item.number("per_transfer_max_minor_units")?;
    let total_max = item.number("total_max_minor_units")?;
    let caps = Caps::parse(scopes.contains(ConsentScope::CreateTransfers), per_transfer_max, total_max)
        .map_err(|_| corrupt("total_max_minor_units"))?;
    Ok(Consent {
        id: item.parsed("consent_id", ConsentId::parse)?,
        account_id: item.parsed("account_id", AccountId::parse)?,
        customer_id: item.parsed("customer_id", CustomerId::parse)?,
        terms: Terms {
            partner: item.parsed("partner_id", PartnerId::parse)?,
            scopes,
            caps,
            expire_time: UnixMillis::new(item.number("expire_time")?),
        },
        state: ConsentState::parse(item.text("state")?).ok_or_else(|| corrupt("state"))?,
        state_revision: StateRevision::new(item.number("state_revision")?),
        create_time: UnixMillis::new(item.number("create_time")?),
        update_time: UnixMillis::new(item.number("update_time")?),
        revision: item.number("revision")?,
    })
}
