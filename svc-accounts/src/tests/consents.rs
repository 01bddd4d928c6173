//! Consents: who gives, reads and takes them back, what they allow and until when, and that the ledger knows of each before
//! anyone is told, whatever stops in between.

use std::time::{Duration, Instant};

use chassis::Caller;
use futures::future::join_all;
use proto::accounts::v1 as pb;
use proto::accounts::v1::accounts_service_server::AccountsService as _;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::neighbours::Mood;
use super::place::{
    Place, Process, eventually, in_millis, new_account, new_consent, opened, owner, partner, request,
    request_within, service, staff,
};
use super::store::{asked, event};
use crate::clock;
use crate::domain::{
    AccountId, Caps, Consent, ConsentId, ConsentScope, ConsentScopes, ConsentState, CustomerId, PartnerId,
    Terms, UnixMillis,
};
use crate::error::Error;
use crate::store::{ConsentName, Given, IN_FORCE_MAX};

fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.expect_err("refused").code()
}

fn name_of(consent: &pb::Consent) -> ConsentName {
    ConsentName {
        account: AccountId::parse(&consent.account_id).expect("an id"),
        id: ConsentId::parse(&consent.consent_id).expect("an id"),
    }
}

async fn give(
    process: &Process,
    caller: &Caller,
    wanted: pb::CreateConsentRequest,
) -> Result<pb::Consent, Status> {
    process.rpc.create_consent(request(caller, wanted)).await.map(Response::into_inner)
}

async fn revoke(
    process: &Process,
    caller: &Caller,
    account: &str,
    consent: &str,
) -> Result<pb::Consent, Status> {
    let wanted = pb::RevokeConsentRequest { account_id: account.to_owned(), consent_id: consent.to_owned() };
    // What a client that is not waited for has: time for a few tries.
    let asked = request_within(caller, Duration::from_millis(1_500), wanted);
    process.rpc.revoke_consent(asked).await.map(Response::into_inner)
}

async fn read(
    process: &Process,
    caller: &Caller,
    account: &str,
    consent: &str,
) -> Result<pb::Consent, Status> {
    let wanted = pb::GetConsentRequest { account_id: account.to_owned(), consent_id: consent.to_owned() };
    process.rpc.get_consent(request(caller, wanted)).await.map(Response::into_inner)
}

async fn list(process: &Process, caller: &Caller, account: &str) -> Result<Vec<pb::Consent>, Status> {
    let wanted = pb::ListConsentsRequest { account_id: account.to_owned(), ..Default::default() };
    process.rpc.list_consents(request(caller, wanted)).await.map(|answer| answer.into_inner().consents)
}

async fn check(
    process: &Process,
    account: &str,
    partner: &str,
    scope: pb::ConsentScope,
) -> pb::CheckConsentResponse {
    let wanted = pb::CheckConsentRequest {
        account_id: account.to_owned(),
        partner_id: partner.to_owned(),
        scope: scope.into(),
    };
    let answer = process.rpc.check_consent(request(&service("svc-docs"), wanted)).await;
    answer.expect("judged").into_inner()
}

async fn allows(process: &Process, account: &str, partner: &str) -> bool {
    check(process, account, partner, pb::ConsentScope::ReadEntries).await.allowed
}

#[tokio::test]
async fn a_holder_gives_a_consent_once_and_the_ledger_knows() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let (ada, id) = (owner(&account.customer_id), account.account_id.as_str());
    let consent = give(&process, &ada, new_consent(id, "r1", "psp")).await.expect("given");
    assert_eq!(consent.state(), pb::ConsentState::Active);
    assert_eq!(
        (consent.account_id.as_str(), consent.customer_id.as_str()),
        (id, account.customer_id.as_str())
    );
    assert_eq!((consent.partner_id.as_str(), consent.scopes.as_slice()), ("psp", [1, 2, 3, 4].as_slice()));
    assert_eq!((consent.per_transfer_max_minor_units, consent.total_max_minor_units), (1_000, 5_000));
    {
        let state = place.neighbours.state();
        let [grant] = state.granted.as_slice() else { panic!("{:?}", state.granted) };
        assert_eq!((grant.consent_id.as_str(), grant.account_id.as_str()), (consent.consent_id.as_str(), id));
        assert_eq!((grant.partner_id.as_str(), grant.revision), ("psp", 1));
        assert_eq!(grant.scopes, [1, 2, 3], "the ledger's own scopes, by its own numbers");
        assert_eq!((grant.per_transfer_max_minor_units, grant.total_max_minor_units), (1_000, 5_000));
        assert_eq!(grant.expire_time, consent.expire_time, "it ends for both at the same moment");
        assert!(!state.impersonated, "the service acts for itself");
    }
    let mut wanted = new_consent(id, "r1", "psp");
    wanted.expire_time = consent.expire_time;
    assert_eq!(give(&process, &ada, wanted.clone()).await.expect("known"), consent);
    wanted.total_max_minor_units += 1;
    assert_eq!(code(give(&process, &ada, wanted).await), Code::AlreadyExists);

    assert_eq!(read(&process, &ada, id, &consent.consent_id).await.expect("read"), consent);
    assert_eq!(read(&process, &staff(), id, &consent.consent_id).await.expect("read"), consent);
    assert_eq!(list(&process, &ada, id).await.expect("read"), std::slice::from_ref(&consent));
    assert_eq!(list(&process, &staff(), id).await.expect("read"), std::slice::from_ref(&consent));
    let judged = check(&process, id, "psp", pb::ConsentScope::CreateTransfers).await;
    assert_eq!((judged.allowed, judged.consent.as_ref()), (true, Some(&consent)));
    let judged = check(&process, id, "other", pb::ConsentScope::CreateTransfers).await;
    assert_eq!(judged, pb::CheckConsentResponse::default());
}

#[tokio::test]
async fn e5_nobody_touches_consents_to_anothers_account() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let (ada, id) = (owner(&account.customer_id), account.account_id.as_str());
    let bob = opened(&process, "bob").await;
    let consent = give(&process, &ada, new_consent(id, "r1", "psp")).await.expect("given");
    let nowhere = Uuid::from_u128(9).to_string();
    let strangers = [
        owner(&bob.customer_id),
        partner("psp", Some(&account.customer_id)),
        partner("psp", None),
        service("svc-docs"),
    ];
    for stranger in &strangers {
        for account in [id, nowhere.as_str()] {
            let refusals = [
                give(&process, stranger, new_consent(account, "r2", "psp")).await.map(drop),
                revoke(&process, stranger, account, &consent.consent_id).await.map(drop),
                read(&process, stranger, account, &consent.consent_id).await.map(drop),
                list(&process, stranger, account).await.map(drop),
            ];
            for refusal in refusals {
                let refusal = refusal.expect_err("refused");
                assert_eq!(refusal.code(), Code::PermissionDenied, "{stranger:?}");
                assert_eq!(refusal.message(), "the caller may not do this, or there is no such object");
            }
        }
    }
    // Staff read, and neither give nor take back what is the holder's to give.
    assert_eq!(code(give(&process, &staff(), new_consent(id, "r2", "psp")).await), Code::PermissionDenied);
    assert_eq!(code(revoke(&process, &staff(), id, &consent.consent_id).await), Code::PermissionDenied);
    assert_eq!(code(list(&process, &staff(), &nowhere).await), Code::NotFound);
    assert_eq!(code(read(&process, &staff(), id, &nowhere).await), Code::NotFound);
    assert_eq!(code(read(&process, &ada, id, &nowhere).await), Code::NotFound);
    assert_eq!(code(revoke(&process, &ada, id, &nowhere).await), Code::NotFound);
    // A consent is found by its own account only.
    let bobs = owner(&bob.customer_id);
    assert_eq!(code(revoke(&process, &bobs, &bob.account_id, &consent.consent_id).await), Code::NotFound);
    let asked = pb::CheckConsentRequest { account_id: id.to_owned(), partner_id: "psp".to_owned(), scope: 1 };
    for outside in [&ada, &staff(), &partner("psp", Some(&account.customer_id))] {
        let answer = process.rpc.check_consent(request(outside, asked.clone())).await;
        assert_eq!(code(answer), Code::PermissionDenied, "not from outside the mesh");
    }
    // A service hands on for whom it asks, and is answered whoever that is.
    let through =
        Caller { service: Some("svc-docs".to_owned()), ..partner("psp", Some(&account.customer_id)) };
    let answer = process.rpc.check_consent(request(&through, asked)).await;
    assert!(answer.expect("judged").into_inner().allowed);
    let batch = pb::BatchGetAccountsRequest { account_ids: vec![id.to_owned()] };
    let batch = process.rpc.batch_get_accounts(request(&through, batch)).await;
    assert_eq!(batch.expect("read").into_inner().accounts, std::slice::from_ref(&account));
    assert!(allows(&process, id, "psp").await, "nothing of it had an effect");
}

#[tokio::test]
async fn a_revocation_is_answered_only_when_the_ledger_knows() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let (ada, id) = (owner(&account.customer_id), account.account_id.as_str());
    let consent = give(&process, &ada, new_consent(id, "r1", "psp")).await.expect("given");
    assert!(allows(&process, id, "psp").await);

    for mood in [Mood::Away, Mood::Hangs, Mood::Refuses] {
        place.neighbours.state().ledger = mood;
        let begun = Instant::now();
        let refusal = revoke(&process, &ada, id, &consent.consent_id).await.expect_err("not confirmed");
        assert_eq!(refusal.code(), Code::Unavailable, "{mood:?}");
        assert!(begun.elapsed() < Duration::from_millis(1_500), "{mood:?}: answered within the deadline");
        assert!(!allows(&process, id, "psp").await, "it allows nothing here from the first write on");
        let revoking = read(&process, &ada, id, &consent.consent_id).await.expect("read");
        assert_eq!(revoking.state(), pb::ConsentState::Revoking);
        let (account, psp) = (name_of(&revoking).account, PartnerId::parse("psp").expect("valid"));
        let found = process.rpc.store.consents_given_to(account, &psp).await.expect("read");
        assert_eq!(found, [], "nobody looks at it any more");
    }

    place.neighbours.state().ledger = Mood::Well;
    let revoked = revoke(&process, &ada, id, &consent.consent_id).await.expect("revoked");
    assert_eq!(revoked.state(), pb::ConsentState::Revoked);
    assert_eq!(revoke(&process, &ada, id, &consent.consent_id).await.expect("known"), revoked);
    let told = place.neighbours.state().granted.clone();
    let told: Vec<_> = told.iter().map(|grant| (grant.revision, grant.scopes.len())).collect();
    assert_eq!(told, [(1, 3), (2, 0)], "one intent each, and nothing is left of the grant");
    assert_eq!(process.rpc.store.grantings(None, 10).await.expect("read").0, []);
}

#[tokio::test]
async fn a_consent_killed_before_the_ledger_completes_by_itself() {
    let place = Place::new().await;
    let first = place.start_without_sweep().await;
    let account = opened(&first, "ada").await;
    let (ada, id) = (owner(&account.customer_id), account.account_id.as_str());
    // The first write and nothing more: what a kill right after it leaves.
    place.neighbours.state().ledger = Mood::Away;
    let asked = request_within(&ada, Duration::from_millis(200), new_consent(id, "r1", "psp"));
    let pending = first.rpc.create_consent(asked).await.expect("answered").into_inner();
    assert_eq!(pending.state(), pb::ConsentState::Pending);
    assert!(!allows(&first, id, "psp").await, "the ledger does not know yet");
    drop(first);
    assert_eq!(place.neighbours.state().granted, []);

    place.neighbours.state().ledger = Mood::Well;
    // Two replicas find it at the same time.
    let (second, third) = (place.start().await, place.start().await);
    for process in [&second, &third] {
        eventually("the consent becomes active", || async { allows(process, id, "psp").await }).await;
    }
    let active = second.rpc.store.consent(name_of(&pending)).await.expect("read").expect("there");
    assert_eq!((active.revision, active.state_revision.get()), (2, 1), "settled once, with its own intent");
    eventually("nothing waits", || async {
        second.rpc.store.grantings(None, 10).await.expect("read").0.is_empty()
    })
    .await;
    let told = place.neighbours.state().granted.clone();
    assert!(told.iter().all(|grant| grant == &told[0]), "repeated with the same body: {told:?}");
}

#[tokio::test]
async fn a_revocation_killed_before_the_ledger_completes_and_a_late_grant_does_not_undo_it() {
    let place = Place::new().await;
    let first = place.start_without_sweep().await;
    let account = opened(&first, "ada").await;
    let (ada, id) = (owner(&account.customer_id), account.account_id.as_str());
    let consent = give(&first, &ada, new_consent(id, "r1", "psp")).await.expect("given");
    let name = name_of(&consent);
    let active = first.rpc.store.consent(name).await.expect("read").expect("there");
    let revoking = first.rpc.store.take_consent_back(name, &event(), clock::now()).await.expect("written");
    assert_eq!(revoking.state, ConsentState::Revoking);
    let ledger = first.ledger.clone();
    drop(first);

    let second = place.start().await;
    eventually("the consent is revoked", || async {
        let consent = second.rpc.store.consent(name).await.expect("read").expect("there");
        consent.state == ConsentState::Revoked
    })
    .await;
    // A replica that was stopped between its read and its call.
    ledger.set_grant(&active).await.expect_err("an older intent than the ledger knows");
    let newest = place.neighbours.state().granted.last().cloned().expect("told");
    assert_eq!((newest.revision, newest.scopes.as_slice()), (2, [].as_slice()));
    let settled = active.settled(clock::now());
    assert_eq!(settled, None);
    assert!(!allows(&second, id, "psp").await);
}

#[tokio::test]
async fn a_consent_ends_with_its_time_and_a_repeat_is_still_known() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let (ada, id) = (owner(&account.customer_id), account.account_id.as_str());
    let mut wanted = new_consent(id, "r1", "psp");
    for (expire_time, valid) in
        [(0, false), (-1_000, false), (181 * 86_400_000, false), (179 * 86_400_000, true)]
    {
        wanted.request_id = format!("bound{expire_time}");
        wanted.expire_time = Some(in_millis(expire_time));
        wanted.partner_id = "other".to_owned();
        let given = give(&process, &ada, wanted.clone()).await;
        assert_eq!(given.is_ok(), valid, "{expire_time}");
        assert!(valid || code(given) == Code::InvalidArgument, "{expire_time}");
    }
    let short =
        pb::CreateConsentRequest { expire_time: Some(in_millis(1_500)), ..new_consent(id, "short", "psp") };
    let consent = give(&process, &ada, short.clone()).await.expect("given");
    let end = crate::timestamp::read(consent.expire_time).expect("a time");
    eventually("the consent ends", || async {
        let before = clock::now();
        let allowed = allows(&process, id, "psp").await;
        assert!(allowed || clock::now() >= end, "never early");
        assert!(!allowed || before < end, "and not late");
        !allowed
    })
    .await;
    let expired = read(&process, &ada, id, &consent.consent_id).await.expect("read");
    assert_eq!(expired.state(), pb::ConsentState::Expired);
    assert_eq!(give(&process, &ada, short.clone()).await.expect("known"), expired);
    let changed = pb::CreateConsentRequest { total_max_minor_units: 9_999, ..short };
    assert_eq!(code(give(&process, &ada, changed).await), Code::AlreadyExists);
    let revoked = revoke(&process, &ada, id, &consent.consent_id).await.expect("revoked all the same");
    assert_eq!(revoked.state(), pb::ConsentState::Revoked);
}

#[tokio::test]
async fn a_consent_needs_an_account_that_the_ledger_knows() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let ada = owner(&account.customer_id);
    place.neighbours.state().ledger = Mood::Refuses;
    let opening = process.rpc.open_account(request(&ada, new_account(&account.customer_id, "two"))).await;
    let opening = opening.expect("answered").into_inner().account_id;
    let refusal = give(&process, &ada, new_consent(&opening, "r1", "psp")).await.expect_err("refused");
    assert_eq!((refusal.code(), refusal.message()), (Code::FailedPrecondition, "the account is not active"));
    assert_eq!(list(&process, &ada, &opening).await.expect("read"), []);
}

#[tokio::test]
async fn what_the_ledger_does_not_judge_by_waits_for_no_ledger() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let (ada, id) = (owner(&account.customer_id), account.account_id.as_str());
    place.neighbours.state().ledger = Mood::Away;
    let wanted = pb::CreateConsentRequest {
        scopes: vec![pb::ConsentScope::ReadAccount.into()],
        per_transfer_max_minor_units: 0,
        total_max_minor_units: 0,
        ..new_consent(id, "r1", "psp")
    };
    let consent = give(&process, &ada, wanted).await.expect("given");
    assert_eq!(consent.state(), pb::ConsentState::Active);
    assert!(check(&process, id, "psp", pb::ConsentScope::ReadAccount).await.allowed);
    assert!(!allows(&process, id, "psp").await);
    let revoked = revoke(&process, &ada, id, &consent.consent_id).await.expect("revoked");
    assert_eq!(revoked.state(), pb::ConsentState::Revoked);
    assert_eq!(place.neighbours.state().granted, []);
}

#[tokio::test]
async fn consents_in_force_are_bounded_and_expired_ones_make_room() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let account_id = AccountId::parse(&account.account_id).expect("an id");
    let partner = PartnerId::parse("psp").expect("valid");
    let store = &process.rpc.store;
    let give_at = async |holder: &str, number: usize, now: i64| {
        let terms = Terms {
            partner: partner.clone(),
            scopes: ConsentScopes::new([ConsentScope::ReadAccount]).expect("some"),
            caps: Caps::parse(false, 0, 0).expect("valid"),
            expire_time: UnixMillis::new(2_000),
        };
        let (id, holder) = (ConsentId::new(clock::new_id()), CustomerId::parse(holder).expect("an id"));
        let consent = Consent::given(id, account_id, holder, terms, UnixMillis::new(now));
        store.give_consent(&consent, &asked(store, &format!("r{number}"), ""), &event()).await
    };
    let ada = account.customer_id.as_str();
    for given in join_all((0..IN_FORCE_MAX).map(|number| give_at(ada, number, 1_000))).await {
        assert_eq!(given.expect("written"), Given::New);
    }
    let more = give_at(ada, 50, 1_999).await;
    assert!(matches!(more, Err(Error::TooManyConsents)), "{more:?}");
    assert!(matches!(give_at(ada, 0, 1_999).await, Ok(Given::Before(_))), "a repeat is none more");
    let stranger = give_at(&Uuid::from_u128(9).to_string(), 51, 1_999).await;
    assert!(
        matches!(stranger, Err(Error::NotPermitted)),
        "{stranger:?}: learns nothing of how many there are"
    );

    assert_eq!(store.consents_given_to(account_id, &partner).await.expect("read").len(), IN_FORCE_MAX);
    assert_eq!(give_at(ada, 52, 2_000).await.expect("written"), Given::New);
    let marked = store.consents_given_to(account_id, &partner).await.expect("read");
    assert_eq!(marked.len(), 1, "nobody reads the expired ones for ever");
    let (history, more) = store.consents(account_id, None, 200).await.expect("read");
    assert_eq!((history.len(), more), (IN_FORCE_MAX + 1, false), "the records stay");
}
