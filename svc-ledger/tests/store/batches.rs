//! BatchCreateTransfers on a real store: all is parsed before anything is judged, each transfer has the result it would have had
//! alone, and what is sent again is answered as it was.

use proto::ledger::v1 as pb;
use proto::ledger::v1::ledger_service_server::LedgerService as _;
use proto::ledger::v1::transfer_result::Result as Became;
use sqlx::PgConnection;
use svc_ledger::domain::grant::Scope;
use svc_ledger::rpc::Rpc;
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::bank::{Bank, check_invariants, consent, eur};
use crate::contract::{as_caller, expected, refusal, transfer};
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_answer_each_transfer_as_it_would_be_alone() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let mut root = server.superuser("ledger").await;
    let rpc = Rpc::new(bank.store.clone(), vec![eur()]);
    let accounts = [bank.open("paul", 0).await, bank.open("rosa", 0).await];
    bank.fund(accounts[0], 10_000).await;
    let names = accounts.map(|account| account.to_string());

    every_violation_is_named_and_nothing_judged(&rpc, &mut root, &names).await;
    results_come_in_order_and_for_ever(&rpc, &names).await;
    modes_say_what_a_refusal_means(&rpc, &names).await;
    a_validation_leaves_nothing(&rpc, &mut root, &names).await;
    partners_act_within_consent(&rpc, &bank, accounts).await;
    a_thousand_are_made_once(&rpc, &mut root, &names).await;
    check_invariants(&bank, &mut root).await;
    bank.stop().await;
}

type Names = [String; 2];

fn batch(requests: Vec<pb::CreateTransferRequest>) -> pb::BatchCreateTransfersRequest {
    pb::BatchCreateTransfersRequest { requests, ..Default::default() }
}

fn pay(key: &str, [from, to]: &Names, minor_units: i64) -> pb::CreateTransferRequest {
    transfer(key, from, to, minor_units, false)
}

fn linked(request: pb::CreateTransferRequest) -> pb::CreateTransferRequest {
    pb::CreateTransferRequest { linked: true, ..request }
}

async fn create(rpc: &Rpc, who: &str, batch: pb::BatchCreateTransfersRequest) -> Vec<Became> {
    let answer = rpc.batch_create_transfers(as_caller(who, batch)).await.unwrap().into_inner();
    answer.results.into_iter().map(|result| result.result.unwrap()).collect()
}

/// The reason of an error, and nothing for a transfer.
pub fn reason(became: &Became) -> &str {
    if let Became::Error(error) = became { &error.reason } else { "" }
}

fn words(results: &[Became]) -> Vec<&str> {
    results.iter().map(reason).collect()
}

/// How many rows each table has that a write may touch.
async fn rows(root: &mut PgConnection) -> Vec<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM ledger.journal UNION ALL SELECT count(*) FROM ledger.outcome UNION ALL \
         SELECT coalesce(sum(n), 0)::bigint FROM ledger.audit_outbox UNION ALL SELECT count(*) FROM ledger.transfer_detail UNION ALL \
         SELECT sum(version)::bigint FROM ledger.account UNION ALL SELECT count(*) FROM ledger.batch",
    )
    .fetch_all(root)
    .await
    .unwrap()
}

async fn every_violation_is_named_and_nothing_judged(rpc: &Rpc, root: &mut PgConnection, names: &Names) {
    let before = rows(root).await;
    let same = pay("same", names, 1);
    let wrong = pb::CreateTransferRequest { debit_account_id: "x".into(), ..pay("wrong", names, 0) };
    let alone = pb::CreateTransferRequest { validate_only: true, ..pay("alone", names, 1) };
    let cases = [
        (batch(vec![]), vec!["requests"]),
        (batch((0..1_001).map(|number| pay(&number.to_string(), names, 1)).collect()), vec!["requests"]),
        (
            batch(vec![
                pay("good", names, 1),
                wrong,
                same.clone(),
                same,
                alone,
                linked(pay("last", names, 1)),
            ]),
            vec![
                "requests[1].amount.minor_units",
                "requests[1].debit_account_id",
                "requests[3].request_id",
                "requests[4].validate_only",
                "requests[5].linked",
            ],
        ),
        (
            batch(vec![pay("", names, 1), pay("", names, 1)]),
            vec!["requests[0].request_id", "requests[1].request_id"],
        ),
        (
            pb::BatchCreateTransfersRequest { failure_mode: 9, ..batch(vec![pay("a", names, 1)]) },
            vec!["failure_mode"],
        ),
    ];
    for (request, expect) in cases {
        let refused = rpc.batch_create_transfers(as_caller("paul", request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let details = refused.get_error_details();
        let mut fields: Vec<_> =
            details.bad_request().unwrap().field_violations.iter().map(|one| one.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(fields, expect);
    }
    assert_eq!(rows(root).await, before);
}

async fn results_come_in_order_and_for_ever(rpc: &Rpc, names: &Names) {
    let back = [names[1].clone(), names[0].clone()];
    let mut request = batch(vec![
        pay("order/0", names, 100),
        pay("order/1", names, 1_000_000),
        pay("order/2", &back, 1),
        linked(pay("order/3", names, 5)),
        pay("order/4", names, 1_000_000),
        linked(pay("order/5", names, 6)),
        pay("order/6", names, 7),
    ]);
    let first = create(rpc, "paul", request.clone()).await;
    let expect = ["", "INSUFFICIENT_FUNDS", "NOT_PERMITTED", "CHAIN_FAILED", "INSUFFICIENT_FUNDS", "", ""];
    assert_eq!(words(&first), expect);
    let (Became::Error(error), Became::Transfer(chain), Became::Transfer(next)) =
        (&first[1], &first[5], &first[6])
    else {
        panic!("{first:?}")
    };
    assert_eq!((error.status.as_str(), error.outcome()), ("FAILED_PRECONDITION", pb::Outcome::Refused));
    assert_eq!(error.metadata["field"], "debit_account_id");
    assert_eq!((chain.chain_seq, next.chain_seq, next.seq), (chain.seq, chain.seq, chain.seq + 1));

    // The same call again, and each alone, get what they got.
    assert_eq!(create(rpc, "paul", request.clone()).await, first);
    let alone =
        rpc.create_transfer(as_caller("paul", pay("order/0", names, 100))).await.unwrap().into_inner();
    assert_eq!(Became::Transfer(alone), first[0]);
    request.requests[0].amount.as_mut().unwrap().minor_units += 1;
    let changed = create(rpc, "paul", request).await;
    assert_eq!(words(&changed)[..2], ["REQUEST_ID_REUSED", "INSUFFICIENT_FUNDS"]);
    let Became::Error(error) = &changed[0] else { panic!("{changed:?}") };
    assert_eq!((error.status.as_str(), error.metadata["fields"].as_str()), ("ALREADY_EXISTS", "amount"));
    assert_eq!(changed[1..], first[1..]);
}

async fn modes_say_what_a_refusal_means(rpc: &Rpc, names: &Names) {
    let mode = |name: &str, mode: pb::FailureMode| pb::BatchCreateTransfersRequest {
        failure_mode: mode.into(),
        ..batch(vec![
            pay(&format!("{name}/0"), names, 1),
            pay(&format!("{name}/1"), names, 1_000_000),
            pay(&format!("{name}/2"), names, 1),
        ])
    };
    let cases = [
        (pb::FailureMode::Unspecified, ["", "INSUFFICIENT_FUNDS", ""]),
        (pb::FailureMode::Continue, ["", "INSUFFICIENT_FUNDS", ""]),
        (pb::FailureMode::Stop, ["", "INSUFFICIENT_FUNDS", "NOT_ATTEMPTED"]),
        (pb::FailureMode::Atomic, ["CHAIN_FAILED", "INSUFFICIENT_FUNDS", "CHAIN_FAILED"]),
    ];
    for (number, (failure_mode, expect)) in cases.into_iter().enumerate() {
        let results = create(rpc, "paul", mode(&format!("mode/{number}"), failure_mode)).await;
        assert_eq!(words(&results), expect, "{failure_mode:?}");
    }
}

async fn a_validation_leaves_nothing(rpc: &Rpc, root: &mut PgConnection, names: &Names) {
    let before = rows(root).await;
    let request = pb::BatchCreateTransfersRequest {
        validate_only: true,
        ..batch(vec![
            pay("valid/0", names, 5),
            pay("valid/1", names, 1_000_000),
            linked(pay("valid/2", names, 1)),
            pay("valid/3", names, 2),
        ])
    };
    let results = create(rpc, "paul", request).await;
    assert_eq!(words(&results), ["", "INSUFFICIENT_FUNDS", "", ""]);
    for became in &results {
        if let Became::Transfer(transfer) = became {
            assert_eq!((transfer.transfer_id.as_str(), transfer.seq, transfer.chain_seq), ("", 0, 0));
        }
    }
    assert_eq!(rows(root).await, before);
}

async fn partners_act_within_consent(rpc: &Rpc, bank: &Bank, [from, to]: [Uuid; 2]) {
    let names = [from, to].map(|account| account.to_string());
    let request = |name: &str| {
        batch(vec![pay(&format!("{name}/0"), &names, 30), pay(&format!("{name}/1"), &names, 30)])
    };
    // Without any right the call is refused, alone, in a chain and for ever; with some, each transfer is.
    let denied = async |who: &str, batch| refusal(rpc.batch_create_transfers(as_caller(who, batch)).await);
    let mut chain = request("chained");
    chain.requests[0].linked = true;
    for request in [request("without"), request("without"), chain] {
        assert_eq!(denied("psp/paul", request).await, expected(Code::PermissionDenied, "NOT_PERMITTED"));
    }
    let mut terms = consent("psp", &[Scope::CreateTransfers]);
    terms.total_max = svc_ledger::domain::account::Amount::new(50);
    bank.grant(from, &terms).await;
    let within = create(rpc, "psp/paul", request("within")).await;
    assert_eq!(words(&within), ["", "CONSENT_CAP_EXCEEDED"], "the second sees what the first took");
    let mixed =
        batch(vec![pay("mixed/0", &names, 1), pay("mixed/1", &[names[1].clone(), names[0].clone()], 1)]);
    assert_eq!(words(&create(rpc, "psp/paul", mixed).await), ["", "NOT_PERMITTED"]);
    assert_eq!(denied("psp/", request("nobody")).await, expected(Code::PermissionDenied, "NOT_PERMITTED"));
}

async fn a_thousand_are_made_once(rpc: &Rpc, root: &mut PgConnection, names: &Names) {
    let before = rows(root).await;
    let request = batch((0..1_000).map(|number| pay(&format!("many/{number}"), names, 1)).collect());
    let (one, two) = tokio::join!(create(rpc, "paul", request.clone()), create(rpc, "paul", request));
    assert_eq!(one, two);
    assert!(one.iter().all(|became| matches!(became, Became::Transfer(_))));
    let after = rows(root).await;
    assert_eq!((after[0] - before[0], after[1] - before[1], after[2] - before[2]), (1_000, 1_000, 1_000));
}
