//! Consents: given and taken back by the holder, read by the holder and by staff, asked for by services.

use chassis::Call;
use proto::accounts::v1 as pb;
use tokio::time::Instant;

use super::access::{Access, Reach};
use super::{Rpc, answer_by, audit, convert};
use crate::clock;
use crate::domain::{AccountId, Consent, ConsentId, ConsentScope, ConsentState, CustomerId, PartnerId};
use crate::error::Error;
use crate::store::{ConsentName, Given};

impl Rpc {
    pub(super) async fn give_consent(
        &self,
        call: &Call,
        request: &pb::CreateConsentRequest,
    ) -> Result<pb::Consent, Error> {
        let wanted = convert::create_consent(request)?;
        let request = wanted.request(self.store.seal(), &call.caller.idempotency_scope());
        let now = clock::now();
        if let Err(error) = wanted.check_expiry(now, self.consent_days_max) {
            // A repeat is answered as the first time, though the consent may have expired since.
            if !self.store.is_known(&request).await? {
                return Err(error);
            }
        }
        let holder = Access::of(&call.caller).as_holder()?;
        let id = ConsentId::new(clock::new_id());
        let consent = Consent::given(id, wanted.account_id, holder, wanted.terms, now);
        let resource = format!("accounts/{}/consents/{id}", wanted.account_id);
        let event = audit::done(call, audit::CREATE_CONSENT, resource);
        let consent = match self.store.give_consent(&consent, &request, &event).await? {
            Given::New => consent,
            Given::Before(id) => self.known_consent(ConsentName { account: wanted.account_id, id }).await?,
        };
        let consent = match consent.state {
            ConsentState::Pending => self
                .grantings
                .drive(consent.name(), answer_by(call.deadline.instant()))
                .await
                .unwrap_or(consent),
            ConsentState::Active | ConsentState::Revoking | ConsentState::Revoked => consent,
        };
        Ok(convert::consent(&consent, clock::now()))
    }

    pub(super) async fn read_consent(
        &self,
        call: &Call,
        request: &pb::GetConsentRequest,
    ) -> Result<pb::Consent, Error> {
        let name = convert::consent_name(&request.account_id, &request.consent_id)?;
        match Access::of(&call.caller).read_consents()? {
            Reach::Any => {}
            Reach::Own(customer) => self.demand_holder(name.account, customer).await?,
        }
        Ok(convert::consent(&self.known_consent(name).await?, clock::now()))
    }

    pub(super) async fn read_consents(
        &self,
        call: &Call,
        request: &pb::ListConsentsRequest,
    ) -> Result<pb::ListConsentsResponse, Error> {
        let (account, page) = convert::list_consents(request)?;
        let reach = Access::of(&call.caller).read_consents()?;
        match reach {
            Reach::Any => {}
            Reach::Own(customer) => self.demand_holder(account, customer).await?,
        }
        let after = page.after().map(ConsentId::new);
        let (consents, more) = self.store.consents(account, after, page.size()).await?;
        if consents.is_empty() && reach == Reach::Any && self.store.account(account).await?.is_none() {
            return Err(Error::AccountNotFound(account));
        }
        let last = consents.last().filter(|_| more);
        let now = clock::now();
        Ok(pb::ListConsentsResponse {
            next_page_token: last.map(|last| page.token(last.id.uuid())).unwrap_or_default(),
            consents: consents.iter().map(|consent| convert::consent(consent, now)).collect(),
        })
    }

    pub(super) async fn take_consent_back(
        &self,
        call: &Call,
        request: &pb::RevokeConsentRequest,
    ) -> Result<pb::Consent, Error> {
        let name = convert::consent_name(&request.account_id, &request.consent_id)?;
        let holder = Access::of(&call.caller).as_holder()?;
        self.demand_holder(name.account, holder).await?;
        let resource = format!("accounts/{}/consents/{}", name.account, name.id);
        let event = audit::done(call, audit::REVOKE_CONSENT, resource);
        let consent = self.store.take_consent_back(name, &event, clock::now()).await?;
        let consent = match consent.state {
            ConsentState::Revoking => self.revoke_until(name, answer_by(call.deadline.instant())).await?,
            ConsentState::Pending | ConsentState::Active | ConsentState::Revoked => consent,
        };
        Ok(convert::consent(&consent, clock::now()))
    }

    pub(super) async fn judge_consent(
        &self,
        call: &Call,
        request: &pb::CheckConsentRequest,
    ) -> Result<pb::CheckConsentResponse, Error> {
        let (account, partner, scope) = convert::check_consent(request)?;
        Access::of(&call.caller).read_for_service()?;
        let consent = self.consent_for(account, &partner, scope).await?;
        let now = clock::now();
        Ok(pb::CheckConsentResponse {
            allowed: consent.is_some(),
            consent: consent.map(|consent| convert::consent(&consent, now)),
        })
    }

    /// The consent by which the partner may do what `scope` says with the account at this moment: of several the one that
    /// lasts longest. Read from the table, never from the cache.
    pub(super) async fn consent_for(
        &self,
        account: AccountId,
        partner: &PartnerId,
        scope: ConsentScope,
    ) -> Result<Option<Consent>, Error> {
        let consents = self.store.consents_given_to(account, partner).await?;
        let now = clock::now();
        let allowing = consents.into_iter().filter(|consent| consent.allows(partner, scope, now));
        Ok(allowing.max_by_key(|consent| (consent.terms.expire_time, consent.id)))
    }

    /// Refuses who does not hold the account, in the same words whether there is such an account or not.
    pub(super) async fn demand_holder(&self, account: AccountId, customer: CustomerId) -> Result<(), Error> {
        self.store.is_holder(account, customer).await?.then_some(()).ok_or(Error::NotPermitted)
    }

    async fn known_consent(&self, name: ConsentName) -> Result<Consent, Error> {
        self.store.consent(name).await?.ok_or(Error::ConsentNotFound(name.id))
    }

    /// An answer says that the partner is shut out everywhere: there is none before the ledger has said so.
    async fn revoke_until(&self, name: ConsentName, until: Instant) -> Result<Consent, Error> {
        let consent = self.grantings.drive(name, until).await;
        consent.filter(|consent| consent.state == ConsentState::Revoked).ok_or(Error::RevocationUnconfirmed)
    }
}
