//! The audit: each effect leaves one event, together with it and never without; each refusal one of its own; and all of them
//! reach whoever keeps them, whatever stops in between.

use futures::future::join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use proto::accounts::v1 as pb;
use proto::accounts::v1::accounts_service_server::AccountsService as _;
use proto::edge::v1::{AuditEvent, AuditOutcome, PrincipalKind};
use tonic::Code;
use uuid::Uuid;

use super::neighbours::Mood;
use super::place::{
    Place, eventually, new_account, new_consent, new_customer, opened, owner, partner, request, staff,
};

const RPC: &str = "accounts.v1.AccountsService/";

/// What lies in the box, in the order of the ids.
fn in_the_box(place: &Place) -> Vec<AuditEvent> {
    let mut events: Vec<AuditEvent> = place
        .items()
        .iter()
        .filter_map(|item| match item.get("event") {
            Some(dynoxide::AttributeValue::B(body)) => Some(body.clone()),
            _ => None,
        })
        .map(|body| AuditEvent::decode(body.as_slice()).expect("an event"))
        .collect();
    events.sort_by(|one, other| one.event_id.cmp(&other.event_id));
    events
}

/// Of changes: what happens at once is told at once, and what the ledger may refuse when it has not.
#[tokio::test]
async fn a_change_is_told_once_and_as_what_became_of_it() {
    let place = Place::new().await;
    place.neighbours.state().keeper = Mood::Away;
    let process = place.start_without_sweep().await;
    let rpc = &process.rpc;
    let account = opened(&process, "ada").await;
    let (id, resource) = (account.account_id.clone(), format!("accounts/{}", account.account_id));
    let freeze = || pb::FreezeAccountRequest { account_id: id.clone(), ..Default::default() };
    let close = || pb::CloseAccountRequest { account_id: id.clone() };
    for _round in 0..2 {
        rpc.freeze_account(request(&staff(), freeze())).await.expect("frozen");
    }
    place.neighbours.state().funded.insert(id.clone());
    rpc.close_account(request(&staff(), close())).await.expect_err("not empty");
    holds(&place, 4).await;
    place.neighbours.state().funded.clear();
    for _round in 0..2 {
        rpc.close_account(request(&staff(), close())).await.expect("closed");
    }
    holds(&place, 5).await;
    let events = in_the_box(&place);
    let mut said = said(&events).split_off(2);
    // The refusal is written afterwards, when its id is made.
    said.sort_by_key(|(rpc, outcome, ..)| (*rpc, *outcome as i32));
    assert_eq!(
        said,
        [
            ("CloseAccount", AuditOutcome::Done, "", resource.as_str()),
            ("CloseAccount", AuditOutcome::Refused, "ACCOUNT_NOT_EMPTY", &resource),
            ("FreezeAccount", AuditOutcome::Done, "", &resource),
        ]
    );
}

/// RPC, outcome, reason and resource.
fn said(events: &[AuditEvent]) -> Vec<(&str, AuditOutcome, &str, &str)> {
    events
        .iter()
        .map(|event| {
            let rpc = event.rpc.strip_prefix(RPC).expect("an RPC of this service");
            (rpc, event.outcome(), event.reason.as_str(), event.resource.as_str())
        })
        .collect()
}

async fn holds(place: &Place, count: usize) {
    eventually("so many events are written", || async { in_the_box(place).len() == count }).await;
}

#[tokio::test]
async fn every_audited_effect_leaves_one_event_and_a_repeat_none() {
    let place = Place::new().await;
    place.neighbours.state().keeper = Mood::Away;
    let process = place.start_without_sweep().await;
    let rpc = &process.rpc;
    let mut consent = String::new();
    let mut account = pb::Account::default();
    for _round in 0..2 {
        account = opened(&process, "ada").await;
        let ada = owner(&account.customer_id);
        let wanted = pb::CreateConsentRequest {
            expire_time: Some(prost_types::Timestamp { seconds: account_end(&account), nanos: 0 }),
            ..new_consent(&account.account_id, "r1", "psp")
        };
        consent = rpc.create_consent(request(&ada, wanted)).await.expect("given").into_inner().consent_id;
        let revoke =
            pb::RevokeConsentRequest { account_id: account.account_id.clone(), consent_id: consent.clone() };
        rpc.revoke_consent(request(&ada, revoke)).await.expect("revoked");
    }
    let (customer, id) = (account.customer_id.as_str(), account.account_id.as_str());
    let events = in_the_box(&place);
    assert_eq!(
        said(&events),
        [
            ("CreateCustomer", AuditOutcome::Done, "", format!("customers/{customer}").as_str()),
            ("OpenAccount", AuditOutcome::Done, "", format!("accounts/{id}").as_str()),
            ("CreateConsent", AuditOutcome::Done, "", format!("accounts/{id}/consents/{consent}").as_str()),
            ("RevokeConsent", AuditOutcome::Done, "", format!("accounts/{id}/consents/{consent}").as_str()),
        ]
    );
    for event in &events {
        assert_eq!((event.transaction_id.as_str(), event.writer.as_str()), ("transaction", ""));
        assert!(event.event_time.is_some() && Uuid::parse_str(&event.event_id).is_ok());
    }
    let principals = events.iter().map(|event| event.principal.clone().expect("someone"));
    let principals: Vec<_> = principals
        .map(|who| (who.kind(), who.issuer.clone(), who.subject.clone(), who.customer_id))
        .collect();
    let issuer = "https://issuer.test".to_owned();
    let sam = (PrincipalKind::Subject, issuer.clone(), "sam".to_owned(), String::new());
    let ada = (PrincipalKind::Subject, issuer, "owner".to_owned(), customer.to_owned());
    assert_eq!(principals, [sam.clone(), sam, ada.clone(), ada]);
}

/// A day after the account was opened: the same each time.
fn account_end(account: &pb::Account) -> i64 {
    account.create_time.map(|time| time.seconds).unwrap_or_default() + 86_400
}

#[tokio::test]
async fn one_request_many_times_at_once_leaves_one_event() {
    let place = Place::new().await;
    place.neighbours.state().keeper = Mood::Away;
    let process = place.start_without_sweep().await;
    let creates = (0..10)
        .map(|_| process.rpc.create_customer(request(&staff(), new_customer("ada", "ada@example.com"))));
    for created in join_all(creates).await {
        created.expect("created or known");
    }
    assert_eq!(in_the_box(&place).len(), 1);
}

#[tokio::test]
async fn what_the_service_refuses_leaves_an_event_with_its_reason() {
    let place = Place::new().await;
    place.neighbours.state().keeper = Mood::Away;
    let process = place.start_without_sweep().await;
    let rpc = &process.rpc;
    let account = opened(&process, "ada").await;
    let (ada, id) = (owner(&account.customer_id), account.account_id.as_str());
    let nowhere = Uuid::from_u128(9).to_string();
    let mut count = in_the_box(&place).len();
    let mut check = async |refusal: Result<(), tonic::Status>, code, expect: (&str, &str, String)| {
        assert_eq!(refusal.expect_err("refused").code(), code, "{expect:?}");
        count += 1;
        holds(&place, count).await;
        let events = in_the_box(&place);
        let (rpc, reason, resource) = expect;
        let last = said(&events).into_iter().rfind(|said| said.1 == AuditOutcome::Refused);
        assert_eq!(last, Some((rpc, AuditOutcome::Refused, reason, resource.as_str())));
    };
    let taken = rpc.create_customer(request(&staff(), new_customer("eve", "Ada@example.com"))).await;
    check(taken.map(drop), Code::AlreadyExists, ("CreateCustomer", "EMAIL_TAKEN", String::new())).await;
    let opened = rpc.open_account(request(&ada, new_account(&nowhere, "r"))).await;
    let expect = ("OpenAccount", "NOT_PERMITTED", format!("customers/{nowhere}"));
    check(opened.map(drop), Code::PermissionDenied, expect).await;
    let psp = partner("psp", Some(&account.customer_id));
    let given = rpc.create_consent(request(&psp, new_consent(id, "r", "psp"))).await;
    check(
        given.map(drop),
        Code::PermissionDenied,
        ("CreateConsent", "NOT_PERMITTED", format!("accounts/{id}")),
    )
    .await;
    let revoke = pb::RevokeConsentRequest { account_id: id.to_owned(), consent_id: nowhere.clone() };
    let revoked = rpc.revoke_consent(request(&ada, revoke)).await;
    let expect = ("RevokeConsent", "CONSENT_NOT_FOUND", format!("accounts/{id}/consents/{nowhere}"));
    check(revoked.map(drop), Code::NotFound, expect).await;
    let forged = pb::RevokeConsentRequest { account_id: "a\nb".to_owned(), consent_id: nowhere };
    let revoked = rpc.revoke_consent(request(&ada, forged)).await;
    check(revoked.map(drop), Code::InvalidArgument, ("RevokeConsent", "INVALID_REQUEST", String::new()))
        .await;
    let kinds: Vec<_> = in_the_box(&place).iter().filter_map(|event| event.principal.clone()).collect();
    assert!(kinds.iter().any(|who| who.kind() == PrincipalKind::Partner && who.partner_id == "psp"));
}

#[tokio::test]
async fn an_effect_that_is_not_written_leaves_no_event() {
    let place = Place::new().await;
    place.neighbours.state().keeper = Mood::Away;
    let process = place.start_without_sweep().await;
    let store = &process.rpc.store;
    let account = opened(&process, "ada").await;
    let before = in_the_box(&place).len();
    let customer = crate::domain::CustomerId::parse(&account.customer_id).expect("an id");
    let mut twin = super::store::account(customer, 1);
    twin.iban = crate::domain::Iban::parse(&account.iban).expect("valid");
    let asked = super::store::asked(store, "twin", "");
    let event = super::store::event();
    let opened = store.open_account(&twin, "subject:test", &asked, &event).await;
    assert_eq!(opened.expect("answered"), crate::store::Opened::IbanTaken);
    assert_eq!(in_the_box(&place).len(), before);
}

#[tokio::test]
async fn events_survive_the_process_and_reach_the_keeper_once_in_order() {
    let place = Place::new().await;
    place.neighbours.state().keeper = Mood::Away;
    let first = place.start_without_sweep().await;
    let account = opened(&first, "ada").await;
    let ada = owner(&account.customer_id);
    first
        .rpc
        .create_consent(request(&ada, new_consent(&account.account_id, "r1", "psp")))
        .await
        .expect("given");
    drop(first);
    let left = in_the_box(&place);
    assert_eq!(left.len(), 3);

    place.neighbours.state().keeper = Mood::Well;
    // Two replicas ship the same box.
    let (second, _third) = (place.start_without_sweep().await, place.start_without_sweep().await);
    eventually("the box is empty", || async { in_the_box(&place).is_empty() }).await;
    assert_eq!(place.neighbours.state().audit.values().cloned().collect::<Vec<_>>(), left);
    // What comes from here on is shipped without a wait for the next look.
    opened(&second, "bob").await;
    eventually("the events arrive", || async { place.neighbours.state().audit.len() == 5 }).await;
    eventually("the box is empty", || async { in_the_box(&place).is_empty() }).await;
    let state = place.neighbours.state();
    assert!(state.audit_received >= 5);
    assert!(!state.impersonated, "the service ships as itself");
}

#[tokio::test]
async fn refusals_are_not_written_while_the_box_overflows() {
    let place = Place::new().await;
    place.neighbours.state().keeper = Mood::Away;
    let process = place.start_without_sweep().await;
    let store = &process.rpc.store;
    let writes = (0..chassis::outbox::BATCH_MAX).map(|_| {
        let id = crate::clock::new_id();
        let body =
            AuditEvent { event_id: id.to_string(), rpc: format!("{RPC}Test"), ..AuditEvent::default() };
        let event = crate::store::Event { id, body: body.encode_to_vec() };
        async move { store.write_event(&event).await }
    });
    // A few at a time: the engine writes one after the other, and a busy machine would not get to the last in time.
    let written = stream::iter(writes).buffer_unordered(4).try_collect::<()>().await;
    written.expect("written");
    let stranger = owner(&Uuid::from_u128(1).to_string());
    eventually("refusals are dropped", || async {
        let before = in_the_box(&place).len();
        let wanted = new_account(&Uuid::from_u128(2).to_string(), "r");
        let refusal = process.rpc.open_account(request(&stranger, wanted)).await;
        assert_eq!(refusal.expect_err("refused").code(), Code::PermissionDenied);
        process.rpc.audit.lost() > 0 && in_the_box(&place).len() == before
    })
    .await;
    // An effect leaves its event all the same.
    let created =
        process.rpc.create_customer(request(&staff(), new_customer("ada", "ada@example.com"))).await;
    let customer = format!("customers/{}", created.expect("created").into_inner().customer_id);
    assert!(in_the_box(&place).iter().any(|event| event.resource == customer));
}

#[tokio::test]
async fn no_more_refusals_are_written_at_once_than_the_table_bears() {
    let place = Place::new().await;
    place.neighbours.state().keeper = Mood::Away;
    let process = place.start_without_sweep().await;
    let refuse = async || {
        let stranger = owner(&Uuid::from_u128(1).to_string());
        let wanted = new_account(&Uuid::from_u128(2).to_string(), "r");
        let refusal = process.rpc.open_account(request(&stranger, wanted)).await;
        assert_eq!(
            refusal.expect_err("refused").code(),
            Code::PermissionDenied,
            "whatever becomes of its event"
        );
    };
    let crowd = process.rpc.audit.crowded();
    refuse().await;
    assert_eq!(process.rpc.audit.lost(), 1);
    drop(crowd);
    refuse().await;
    holds(&place, 1).await;
    assert_eq!(process.rpc.audit.lost(), 1);
}
