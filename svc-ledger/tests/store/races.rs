//! What may happen once and is tried many times at once, through two replicas; and money of the bank's own, which takes two people.

use proto::ledger::v1 as pb;
use proto::ledger::v1::ledger_service_server::LedgerService as _;
use proto::ledger::v1::transfer_result::Result as Became;
use svc_ledger::domain::currency::Currency;
use svc_ledger::rpc::Rpc;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use crate::bank::{Bank, check_invariants, eur};
use crate::contract::{account, as_caller, expected, refusal, transfer};
use crate::postgres::Postgres;

/// How many try at once.
const TRIES: usize = 24;

type Answer = Result<Response<pb::Transfer>, Status>;

/// Of all answers one is a transfer, and every other this refusal.
fn one_and_all_others_refused(answers: Vec<Answer>, code: Code, reason: &str) -> pb::Transfer {
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, TRIES - 1));
    for answer in refused {
        assert_eq!(refusal(answer), expected(code, reason));
    }
    made.into_iter().next().unwrap().unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_happen_once_happens_once() {
    let server = Postgres::start().await;
    let (bank, other) = (Bank::on(&server).await, Bank::on(&server).await);
    let rpcs = [&bank, &other].map(|bank| Rpc::new(bank.store.clone(), vec![eur()]));
    let (carl, dora) = (bank.open("carl", 0).await, bank.open("dora", 0).await);
    bank.fund(carl, 1_000).await;
    let pay = |key: &str, amount| transfer(key, &carl.to_string(), &dora.to_string(), amount, false);
    let paid = rpcs[0].create_transfer(as_caller("carl", pay("pay", 100))).await.unwrap().into_inner();

    let reversals = (0..TRIES).map(|number| {
        let request = pb::ReverseTransferRequest {
            transfer_id: paid.transfer_id.clone(),
            request_id: format!("back-{number}"),
            amount_minor_units: Some(10),
            ..Default::default()
        };
        rpcs[number % 2].reverse_transfer(as_caller("dora", request))
    });
    let answers = futures::future::join_all(reversals).await;
    let back = one_and_all_others_refused(answers, Code::FailedPrecondition, "TRANSFER_REVERSED");
    assert_eq!(back.reverses_transfer_id, paid.transfer_id);

    // Whoever has seen the account at a version may act on it if nobody else has.
    let balance = async || {
        let request = pb::GetBalanceRequest { account_id: carl.to_string(), ..Default::default() };
        rpcs[1].get_balance(as_caller("carl", request)).await.unwrap().into_inner()
    };
    let pay_if = |name: &'static str, condition: pb::AccountCondition| {
        futures::future::join_all((0..TRIES).map(|number| {
            let debit_condition = Some(condition);
            let request =
                pb::CreateTransferRequest { debit_condition, ..pay(&format!("{name}-{number}"), 1) };
            rpcs[number % 2].create_transfer(as_caller("carl", request))
        }))
    };
    let seen = balance().await.version;
    let condition = pb::AccountCondition { if_version: Some(seen), ..Default::default() };
    let answers = pay_if("version", condition).await;
    one_and_all_others_refused(answers, Code::Aborted, "VERSION_MISMATCH");
    assert_eq!(balance().await.version, seen + 1);

    // And by what must be there before: 909 are left.
    let available = balance().await.available.unwrap().minor_units;
    assert_eq!(available, 909);
    let condition =
        pb::AccountCondition { if_available_at_least_minor_units: Some(available), ..Default::default() };
    let answers = pay_if("available", condition).await;
    one_and_all_others_refused(answers, Code::FailedPrecondition, "CONDITION_NOT_MET");
    check_invariants(&bank, &mut server.superuser("ledger").await).await;
    bank.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversion_takes_two_people_and_both_halves() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let usd = Currency::parse("USD").unwrap();
    svc_ledger::open_house_accounts(&bank.store, &[eur(), usd]).await.unwrap();
    let rpc = Rpc::new(bank.store.clone(), vec![eur(), usd]);
    let (euros, dollars) = (bank.open("carl", 0).await.to_string(), Uuid::new_v4().to_string());
    bank.fund(euros.parse().unwrap(), 1_000).await;
    let open =
        pb::CreateLedgerAccountRequest { currency_code: "USD".to_owned(), ..account(&dollars, "carl") };
    rpc.create_ledger_account(as_caller("svc-accounts", open)).await.unwrap();

    let exchange = || Some(pb::Exchange { quote_id: "quote-7".to_owned(), rate: "1.0834".to_owned() });
    let sold = pb::CreateTransferRequest {
        linked: true,
        exchange: exchange(),
        ..transfer("sell", &euros, "exchange-EUR", 1_000, true)
    };
    let bought = pb::CreateTransferRequest {
        exchange: exchange(),
        amount: Some(pb::Money { currency_code: "USD".to_owned(), minor_units: 1_083 }),
        ..transfer("buy", "exchange-USD", &dollars, 1_083, true)
    };
    let batch = pb::BatchCreateTransfersRequest { requests: vec![sold, bought], ..Default::default() };
    let made = rpc.batch_create_transfers(as_caller("anna", batch)).await.unwrap().into_inner();
    let halves: Vec<pb::Transfer> = made
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            Became::Transfer(transfer) => transfer,
            other => panic!("not held: {other:?}"),
        })
        .collect();
    let post = |number: usize, key: &str, whole_chain| pb::PostTransferRequest {
        transfer_id: halves[number].transfer_id.clone(),
        request_id: key.to_owned(),
        whole_chain,
        ..Default::default()
    };
    let alone = rpc.post_transfer(as_caller("anna", post(0, "alone", true))).await;
    assert_eq!(refusal(alone), expected(Code::FailedPrecondition, "FOUR_EYES_REQUIRED"));
    for number in [0, 1] {
        let half = rpc.post_transfer(as_caller("bert", post(number, &format!("half-{number}"), false))).await;
        assert_eq!(half.unwrap_err().code(), Code::FailedPrecondition, "one half moves no money");
    }
    let posted = rpc.post_transfer(as_caller("bert", post(0, "both", true))).await.unwrap().into_inner();
    assert_eq!(posted.state(), pb::TransferState::Posted);
    for (account_id, left) in [(euros, 0), (dollars, 1_083)] {
        let request = pb::GetBalanceRequest { account_id, ..Default::default() };
        let balance = rpc.get_balance(as_caller("carl", request)).await.unwrap().into_inner();
        assert_eq!(balance.posted.unwrap().minor_units, left);
    }
    check_invariants(&bank, &mut server.superuser("ledger").await).await;
    bank.stop().await;
}
