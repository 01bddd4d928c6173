//! Verification of payee: what whoever pays learns of an account, and what nobody does.

use std::time::SystemTime;

use chassis::Caller;
use prost::Message as _;
use proto::accounts::v1 as pb;
use proto::accounts::v1::accounts_service_server::AccountsService as _;
use tonic::{Code, Response, Status};

use super::place::{Place, Process, another, new_customer, opened, owner, partner, request, staff};
use crate::domain::{AccountId, AccountState, IbanRange};

async fn look_up(
    process: &Process,
    caller: &Caller,
    iban: &str,
    name: &str,
) -> Result<pb::LookupAccountResponse, Status> {
    let wanted = pb::LookupAccountRequest { iban: iban.to_owned(), name: name.to_owned() };
    process.rpc.lookup_account(request(caller, wanted)).await.map(Response::into_inner)
}

#[tokio::test]
async fn a_payee_is_confirmed_and_named_by_a_token_alone() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    for caller in [owner("somebody-else"), staff(), partner("psp", None)] {
        let found = look_up(&process, &caller, &account.iban, "lovelace, ADA").await.expect("answered");
        assert_eq!((found.payee_match(), found.payee_name.as_str()), (pb::PayeeMatch::Match, ""));
        assert_eq!(found.currency_code, "EUR");
        assert!(!found.payee_token.contains(&account.account_id));
        let opened = place.payee_seal().open(&found.payee_token, SystemTime::now()).expect("genuine");
        assert!(!opened.expired);
        let payee = pb::Payee::decode(opened.content.as_slice()).expect("a payee");
        assert_eq!(
            (payee.account_id.as_str(), payee.currency_code.as_str()),
            (account.account_id.as_str(), "EUR")
        );
        let over = SystemTime::try_from(found.expire_time.expect("an end")).expect("a time");
        assert!(
            place.payee_seal().open(&found.payee_token, over).expect("genuine").expired,
            "it says its end"
        );
    }
    let close = look_up(&process, &owner("x"), &account.iban, "A. Lovelace").await.expect("answered");
    assert_eq!(
        (close.payee_match(), close.payee_name.as_str()),
        (pb::PayeeMatch::CloseMatch, "Ada Lovelace")
    );
    assert!(!close.payee_token.is_empty());
}

#[tokio::test]
async fn an_account_that_is_not_meant_and_one_that_is_not_there_are_answered_alike() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let stranger = look_up(&process, &owner("x"), &account.iban, "Charles Babbage").await.expect("answered");
    assert_eq!(
        stranger,
        pb::LookupAccountResponse { payee_match: pb::PayeeMatch::NoMatch.into(), ..Default::default() }
    );

    let free = IbanRange::new("DE", "50010517").expect("valid").iban(1);
    let nobody = look_up(&process, &owner("x"), free.as_str(), "Ada Lovelace").await.expect("answered");
    assert_eq!(nobody, stranger);

    let id = AccountId::parse(&account.account_id).expect("an id");
    let closing = pb::CloseAccountRequest { account_id: id.to_string() };
    process.rpc.close_account(request(&staff(), closing)).await.expect("closed");
    let closed = look_up(&process, &owner("x"), &account.iban, "Ada Lovelace").await.expect("answered");
    assert_eq!(closed, stranger, "a closed account is nobody's to pay to");
}

#[tokio::test]
async fn a_freeze_is_not_told_to_whoever_pays() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let account = opened(&process, "ada").await;
    let freezing = pb::FreezeAccountRequest { account_id: account.account_id.clone(), ..Default::default() };
    process.rpc.freeze_account(request(&staff(), freezing)).await.expect("frozen");
    let id = AccountId::parse(&account.account_id).expect("an id");
    let frozen = process.rpc.store.account(id).await.expect("read").expect("there");
    assert_eq!(frozen.state, AccountState::Frozen);
    let found = look_up(&process, &owner("x"), &account.iban, "Ada Lovelace").await.expect("answered");
    assert_eq!(found.payee_match(), pb::PayeeMatch::Match);
}

#[tokio::test]
async fn an_iban_of_another_bank_is_said_to_be_one() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let found = look_up(&process, &owner("x"), "GB29 NWBK 6016 1331 9268 19", "Ada Lovelace").await;
    assert_eq!(
        found.expect("answered"),
        pb::LookupAccountResponse { payee_match: pb::PayeeMatch::OtherBank.into(), ..Default::default() }
    );
    let wrong = look_up(&process, &owner("x"), "DE00500105170000000001", "").await.expect_err("refused");
    assert_eq!(wrong.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn each_account_of_a_customer_has_a_payee_of_its_own() {
    let place = Place::new().await;
    let process = place.start_without_sweep().await;
    let customer =
        process.rpc.create_customer(request(&staff(), new_customer("ada", "ada@example.com"))).await;
    let customer = customer.expect("created").into_inner().customer_id;
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let account = another(&process, &customer, name).await;
        let found = look_up(&process, &owner("x"), &account.iban, "Ada Lovelace").await.expect("answered");
        let opened = place.payee_seal().open(&found.payee_token, SystemTime::now()).expect("genuine");
        let payee = pb::Payee::decode(opened.content.as_slice()).expect("a payee");
        assert_eq!(payee.account_id, account.account_id);
        ids.push(payee.account_id);
    }
    assert_ne!(ids[0], ids[1]);
}
