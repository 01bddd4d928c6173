//! Consents between the contract and the domain.

use chassis::field::RequestId;
use chassis::page::Page;
use proto::accounts::v1 as pb;

use super::Fields;
use crate::domain::consent::{InvalidExpiry, check_expiry};
use crate::domain::{
    AccountId, Caps, Consent, ConsentId, ConsentScope, ConsentScopes, ConsentState, PartnerId, Request, Seal,
    Terms, UnixMillis,
};
use crate::error::Error;
use crate::store::ConsentName;
use crate::timestamp;

/// What CreateConsent wants.
#[derive(Debug)]
pub struct CreateConsent {
    request_id: RequestId,
    /// To which account.
    pub account_id: AccountId,
    /// What the holder agrees to. Whether it may last that long is asked by [`CreateConsent::check_expiry`].
    pub terms: Terms,
}

impl CreateConsent {
    /// The request as its idempotency record knows it.
    pub fn request(&self, seal: &Seal, scope: &str) -> Request {
        let terms = &self.terms;
        let scopes = terms.scopes.iter().map(ConsentScope::as_str).collect::<Vec<_>>().join(" ");
        let (per_transfer_max, total_max) =
            (terms.caps.per_transfer_max().to_be_bytes(), terms.caps.total_max().to_be_bytes());
        let expire_time = terms.expire_time.get().to_be_bytes();
        let fields = [
            ("account_id", self.account_id.bytes().as_slice()),
            ("partner_id", terms.partner.as_str().as_bytes()),
            ("scopes", scopes.as_bytes()),
            ("per_transfer_max_minor_units", per_transfer_max.as_slice()),
            ("total_max_minor_units", total_max.as_slice()),
            ("expire_time", expire_time.as_slice()),
        ];
        Request::new(seal, scope, &self.request_id, "CreateConsent", &fields)
    }

    /// Whether a consent given `now` may last that long.
    pub fn check_expiry(&self, now: UnixMillis, days_max: u32) -> Result<(), Error> {
        check_expiry(now, self.terms.expire_time, days_max)
            .map_err(|error: InvalidExpiry| Error::invalid("expire_time", error))
    }
}

/// Reads CreateConsent.
pub fn create_consent(request: &pb::CreateConsentRequest) -> Result<CreateConsent, Error> {
    let mut fields = Fields::default();
    let account_id = fields.take("account_id", AccountId::parse(&request.account_id));
    let request_id = fields.take("request_id", RequestId::parse(request.request_id.as_str()));
    let partner = fields.take("partner_id", PartnerId::parse(&request.partner_id));
    let scopes = scopes(&mut fields, &request.scopes);
    // Without its scopes there is nothing to hold a cap against.
    let caps = scopes.as_ref().and_then(|scopes| caps(&mut fields, scopes, request));
    let expire_time = fields.take("expire_time", timestamp::read(request.expire_time));
    match (account_id, request_id, partner, scopes, caps, expire_time) {
        (Some(account_id), Some(request_id), Some(partner), Some(scopes), Some(caps), Some(expire_time)) => {
            let terms = Terms { partner, scopes, caps, expire_time };
            Ok(CreateConsent { request_id, account_id, terms })
        }
        _ => Err(fields.refused()),
    }
}

fn scopes(fields: &mut Fields, values: &[i32]) -> Option<ConsentScopes> {
    if values.len() > ConsentScope::ALL.len() {
        return fields.take("scopes", Err("must name each scope once"));
    }
    let parse = |(at, value): (usize, &i32)| fields.take(format!("scopes[{at}]"), scope(*value));
    let scopes: Vec<ConsentScope> = values.iter().enumerate().filter_map(parse).collect();
    if scopes.len() == values.len() { fields.take("scopes", ConsentScopes::new(scopes)) } else { None }
}

fn caps(fields: &mut Fields, scopes: &ConsentScopes, request: &pb::CreateConsentRequest) -> Option<Caps> {
    let may_transfer = scopes.contains(ConsentScope::CreateTransfers);
    match Caps::parse(may_transfer, request.per_transfer_max_minor_units, request.total_max_minor_units) {
        Ok(caps) => Some(caps),
        Err((per_transfer_max, total_max)) => {
            let _ = fields.take("per_transfer_max_minor_units", per_transfer_max.map_or(Ok(()), Err));
            let _ = fields.take("total_max_minor_units", total_max.map_or(Ok(()), Err));
            None
        }
    }
}

fn scope(value: i32) -> Result<ConsentScope, &'static str> {
    match pb::ConsentScope::try_from(value) {
        Ok(pb::ConsentScope::ReadAccount) => Ok(ConsentScope::ReadAccount),
        Ok(pb::ConsentScope::ReadBalance) => Ok(ConsentScope::ReadBalance),
        Ok(pb::ConsentScope::ReadEntries) => Ok(ConsentScope::ReadEntries),
        Ok(pb::ConsentScope::CreateTransfers) => Ok(ConsentScope::CreateTransfers),
        Ok(pb::ConsentScope::Unspecified) | Err(_) => Err("must be one of the scopes"),
    }
}

/// Reads what names a consent.
pub fn consent_name(account_id: &str, consent_id: &str) -> Result<ConsentName, Error> {
    let mut fields = Fields::default();
    let account = fields.take("account_id", AccountId::parse(account_id));
    let id = fields.take("consent_id", ConsentId::parse(consent_id));
    account.zip(id).map(|(account, id)| ConsentName { account, id }).ok_or_else(|| fields.refused())
}

/// Reads ListConsents.
pub fn list_consents(request: &pb::ListConsentsRequest) -> Result<(AccountId, Page), Error> {
    let mut fields = Fields::default();
    let account = fields.take("account_id", AccountId::parse(&request.account_id));
    fields.page("consents", account, AccountId::bytes, request.page_size, &request.page_token)
}

/// Reads CheckConsent.
pub fn check_consent(
    request: &pb::CheckConsentRequest,
) -> Result<(AccountId, PartnerId, ConsentScope), Error> {
    let mut fields = Fields::default();
    let account = fields.take("account_id", AccountId::parse(&request.account_id));
    let partner = fields.take("partner_id", PartnerId::parse(&request.partner_id));
    let scope = fields.take("scope", scope(request.scope));
    match (account, partner, scope) {
        (Some(account), Some(partner), Some(scope)) => Ok((account, partner, scope)),
        _ => Err(fields.refused()),
    }
}

/// A consent as the contract shows it at a moment.
pub fn consent(consent: &Consent, now: UnixMillis) -> pb::Consent {
    let terms = &consent.terms;
    pb::Consent {
        consent_id: consent.id.to_string(),
        account_id: consent.account_id.to_string(),
        customer_id: consent.customer_id.to_string(),
        partner_id: terms.partner.as_str().to_owned(),
        scopes: terms.scopes.iter().map(|scope| shown_scope(scope).into()).collect(),
        per_transfer_max_minor_units: terms.caps.per_transfer_max(),
        total_max_minor_units: terms.caps.total_max(),
        expire_time: Some(timestamp::of(terms.expire_time)),
        state: shown_state(consent, now).into(),
        create_time: Some(timestamp::of(consent.create_time)),
        update_time: Some(timestamp::of(consent.update_time)),
        etag: consent.etag(),
    }
}

const fn shown_scope(scope: ConsentScope) -> pb::ConsentScope {
    match scope {
        ConsentScope::ReadAccount => pb::ConsentScope::ReadAccount,
        ConsentScope::ReadBalance => pb::ConsentScope::ReadBalance,
        ConsentScope::ReadEntries => pb::ConsentScope::ReadEntries,
        ConsentScope::CreateTransfers => pb::ConsentScope::CreateTransfers,
    }
}

/// That a consent was taken back says more than that its time is over too.
fn shown_state(consent: &Consent, now: UnixMillis) -> pb::ConsentState {
    match consent.state {
        ConsentState::Revoking => pb::ConsentState::Revoking,
        ConsentState::Revoked => pb::ConsentState::Revoked,
        ConsentState::Pending | ConsentState::Active if consent.is_expired(now) => pb::ConsentState::Expired,
        ConsentState::Pending => pb::ConsentState::Pending,
        ConsentState::Active => pb::ConsentState::Active,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn fields_of<T>(read: Result<T, Error>) -> Vec<String> {
        match read.err() {
            Some(Error::Invalid(violations)) => {
                violations.into_iter().map(|violation| violation.field).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn id() -> String {
        Uuid::from_u128(1).to_string()
    }

    #[test]
    fn every_broken_field_of_a_consent_is_named_at_once() {
        let empty = pb::CreateConsentRequest::default();
        assert_eq!(
            fields_of(create_consent(&empty)),
            ["account_id", "request_id", "partner_id", "scopes", "expire_time"]
        );
        let transfers = i32::from(pb::ConsentScope::CreateTransfers);
        let right = pb::CreateConsentRequest {
            account_id: id(),
            request_id: "r".into(),
            partner_id: "psp".into(),
            scopes: vec![transfers, transfers],
            per_transfer_max_minor_units: 1,
            total_max_minor_units: 1,
            expire_time: Some(prost_types::Timestamp::default()),
        };
        assert!(create_consent(&right).is_ok());
        let check = |change: fn(&mut pb::CreateConsentRequest), expect: &[&str]| {
            let mut wrong = right.clone();
            change(&mut wrong);
            assert_eq!(fields_of(create_consent(&wrong)), expect);
        };
        check(|wrong| wrong.scopes = vec![1, 0, 9], &["scopes[1]", "scopes[2]"]);
        check(|wrong| wrong.scopes = vec![1; 5], &["scopes"]);
        check(|wrong| wrong.partner_id = "PSP".into(), &["partner_id"]);
        check(|wrong| wrong.total_max_minor_units = 0, &["total_max_minor_units"]);
        check(|wrong| wrong.scopes = vec![1], &["per_transfer_max_minor_units", "total_max_minor_units"]);
        check(
            |wrong| wrong.expire_time = Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
            &["expire_time"],
        );
    }

    #[test]
    fn the_same_body_in_other_words_is_the_same_request() {
        let seal = Seal::new(&[7; 32]).expect("long enough");
        let request = |scopes: &[i32], nanos| {
            let wanted = pb::CreateConsentRequest {
                account_id: id(),
                request_id: "r".into(),
                partner_id: "psp".into(),
                scopes: scopes.to_vec(),
                expire_time: Some(prost_types::Timestamp { seconds: 1, nanos }),
                ..pb::CreateConsentRequest::default()
            };
            create_consent(&wanted).expect("valid").request(&seal, "subject:a")
        };
        assert_eq!(request(&[1, 2], 0), request(&[2, 1, 1], 999));
        assert_ne!(request(&[1, 2], 0), request(&[1, 3], 0));
        assert_ne!(request(&[1, 2], 0), request(&[1, 2], 1_000_000));
    }

    #[test]
    fn what_names_a_consent_is_read_whole() {
        assert_eq!(fields_of(consent_name("a", "c")), ["account_id", "consent_id"]);
        let check = pb::CheckConsentRequest::default();
        assert_eq!(fields_of(check_consent(&check)), ["account_id", "partner_id", "scope"]);
        let list = pb::ListConsentsRequest { page_size: -1, ..pb::ListConsentsRequest::default() };
        assert_eq!(fields_of(list_consents(&list)), ["account_id", "page_size"]);
    }
}
