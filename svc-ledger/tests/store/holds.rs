//! Holds, reversals, accounts' settings and periods, by the RPCs on a real store.

use proto::ledger::v1 as pb;
use proto::ledger::v1::create_transfer_request::Credit;
use proto::ledger::v1::journal_service_server::JournalService as _;
use proto::ledger::v1::ledger_service_server::LedgerService as _;
use sqlx::PgConnection;
use svc_ledger::config;
use svc_ledger::rpc::Rpc;
use tonic::{Code, Response, Status};

use crate::bank::{Bank, check_invariants, eur, eventually};
use crate::contract::{as_caller, expected, refusal, transfer};
use crate::postgres::Postgres;

const IBAN: &str = "GB82WEST12345698765432";

fn rpc(bank: &Bank) -> Rpc {
    Rpc::new(bank.store.clone(), vec![eur()]).of_bank(config::Ledger {
        currencies: vec!["EUR".into()],
        own_ibans: vec!["DE50010517".into()],
        rail_partners: vec!["rail".into()],
        ..Default::default()
    })
}

type Answer = Result<Response<pb::Transfer>, Status>;

fn made(answer: Answer) -> pb::Transfer {
    answer.unwrap().into_inner()
}

/// State, amount, posted and held.
fn figures(transfer: &pb::Transfer) -> (pb::TransferState, i64, i64, i64) {
    let units = |money: &Option<pb::Money>| money.as_ref().map_or(-1, |money| money.minor_units);
    let (amount, posted, held) = (&transfer.amount, &transfer.posted_amount, &transfer.held_amount);
    (transfer.state(), units(amount), units(posted), units(held))
}

async fn create(rpc: &Rpc, who: &str, request: pb::CreateTransferRequest) -> Answer {
    rpc.create_transfer(as_caller(who, request)).await
}

fn post(id: &str, key: &str, amount: Option<i64>, keep_rest: bool) -> pb::PostTransferRequest {
    pb::PostTransferRequest {
        transfer_id: id.into(),
        request_id: key.into(),
        amount_minor_units: amount,
        keep_rest,
        ..Default::default()
    }
}

fn void(id: &str, key: &str) -> pb::VoidTransferRequest {
    pb::VoidTransferRequest { transfer_id: id.into(), request_id: key.into(), ..Default::default() }
}

fn increment(id: &str, key: &str, amount: i64) -> pb::IncrementTransferRequest {
    pb::IncrementTransferRequest {
        transfer_id: id.into(),
        request_id: key.into(),
        amount_minor_units: amount,
        ..Default::default()
    }
}

fn reverse(id: &str, key: &str, amount: Option<i64>) -> pb::ReverseTransferRequest {
    pb::ReverseTransferRequest {
        transfer_id: id.into(),
        request_id: key.into(),
        amount_minor_units: amount,
        ..Default::default()
    }
}

async fn rows(root: &mut PgConnection) -> (i64, i64, i64, i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM ledger.journal), (SELECT count(*) FROM ledger.outcome), \
         (SELECT count(*) FROM ledger.hold), (SELECT coalesce(sum(n), 0)::bigint FROM ledger.audit_outbox), \
         (SELECT count(*) FROM ledger.transfer_detail)",
    )
    .fetch_one(root)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_are_posted_in_parts_and_answers_stay_as_they_were() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let rpc = rpc(&bank);
    let (carl, dora) = (bank.open("carl", -1_000).await, bank.open("dora", 0).await);
    let (carl, dora) = (carl.to_string(), dora.to_string());
    use pb::TransferState::{Pending, Posted, Voided};

    let ask = transfer("h", &carl, &dora, 100, true);
    let held = made(create(&rpc, "carl", ask.clone()).await);
    let id = held.transfer_id.as_str();
    assert_eq!(figures(&held), (Pending, 100, 0, 100));
    let more = made(rpc.increment_transfer(as_caller("carl", increment(id, "i", 50))).await);
    assert_eq!(figures(&more), (Pending, 150, 0, 150));
    let part = made(rpc.post_transfer(as_caller("carl", post(id, "p1", Some(60), true))).await);
    assert_eq!(figures(&part), (Pending, 150, 60, 90));
    let again = refusal(rpc.increment_transfer(as_caller("carl", increment(id, "i2", 1))).await);
    assert_eq!(again, expected(Code::FailedPrecondition, "TRANSFER_NOT_PENDING"));
    let much = refusal(rpc.post_transfer(as_caller("carl", post(id, "p2", Some(91), false))).await);
    assert_eq!(much, expected(Code::FailedPrecondition, "AMOUNT_EXCEEDS_HOLD"));

    let mut root = server.superuser("ledger").await;
    let before = rows(&mut root).await;
    let dry = pb::VoidTransferRequest { validate_only: true, ..void(id, "dry") };
    assert_eq!(figures(&made(rpc.void_transfer(as_caller("carl", dry)).await)), (Posted, 150, 60, 0));
    let dry = pb::CreateTransferRequest { validate_only: true, ..transfer("dry", &carl, &dora, 1, false) };
    assert_eq!(made(create(&rpc, "carl", dry).await).transfer_id, "");
    assert_eq!(rows(&mut root).await, before, "a validation leaves nothing");

    let rest = made(rpc.void_transfer(as_caller("carl", void(id, "v"))).await);
    assert_eq!(figures(&rest), (Posted, 150, 60, 0));
    let back = made(rpc.reverse_transfer(as_caller("dora", reverse(id, "r", Some(10)))).await);
    assert_eq!((figures(&back), back.reverses_transfer_id.as_str()), ((Posted, 10, 10, 0), id));
    let read = |who: &str| {
        let request = pb::GetTransferRequest { transfer_id: back.transfer_id.clone() };
        rpc.get_transfer(as_caller(who, request))
    };
    assert_eq!((back.debit_account_id.as_str(), back.credit_account_id.as_str()), (dora.as_str(), ""));
    assert_eq!(made(read("dora").await).credit_account_id, "", "the payer's account is the payer's to tell");
    for who in ["carl", "anna"] {
        assert_eq!(made(read(who).await).credit_account_id, carl, "{who}");
    }
    let twice = refusal(rpc.reverse_transfer(as_caller("dora", reverse(id, "r2", None))).await);
    assert_eq!(twice, expected(Code::FailedPrecondition, "TRANSFER_REVERSED"));
    let stranger = refusal(rpc.reverse_transfer(as_caller("carl", reverse(id, "r3", None))).await);
    assert_eq!(stranger, expected(Code::PermissionDenied, "NOT_PERMITTED"));

    // Whatever has become of the hold since, each command is answered as it was.
    assert_eq!(made(create(&rpc, "carl", ask).await), held);
    assert_eq!(made(rpc.increment_transfer(as_caller("carl", increment(id, "i", 50))).await), more);
    assert_eq!(made(rpc.post_transfer(as_caller("carl", post(id, "p1", Some(60), true))).await), part);
    assert_eq!(made(rpc.void_transfer(as_caller("carl", void(id, "v"))).await), rest);
    assert_eq!(made(rpc.reverse_transfer(as_caller("dora", reverse(id, "r", Some(10)))).await), back);

    let given_up = made(create(&rpc, "carl", transfer("g", &carl, &dora, 5, true)).await);
    let voided = made(rpc.void_transfer(as_caller("carl", void(&given_up.transfer_id, "gv"))).await);
    assert_eq!(figures(&voided), (Voided, 5, 0, 0));
    check_invariants(&bank, &mut root).await;
    bank.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_to_outside_are_held_and_carried_out_by_the_rail_partner() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let rpc = rpc(&bank);
    let carl = bank.open("carl", -1_000).await.to_string();
    let payment = |key: &str, iban: &str| pb::CreateTransferRequest {
        credit: Some(Credit::ExternalPayee(pb::ExternalPayee { iban: iban.into(), name: "A shop".into() })),
        ..transfer(key, &carl, "", 70, false)
    };
    for wrong in ["GB82 WEST 1234 5698 7654 32", "GB83WEST12345698765432", "DE12500105170648489890", ""] {
        let refused = refusal(create(&rpc, "carl", payment("x", wrong)).await);
        assert_eq!(refused, expected(Code::InvalidArgument, "INVALID_REQUEST"), "{wrong}");
    }
    let held = made(create(&rpc, "carl", payment("a", IBAN)).await);
    assert_eq!(figures(&held), (pb::TransferState::Pending, 70, 0, 70));
    assert_eq!(held.credit_account_id, "settlement-EUR");
    assert_eq!(held.external_payee.as_ref().map(|payee| payee.iban.as_str()), Some(IBAN));
    for who in ["carl", "psp/", "rail/carl"] {
        let refused =
            refusal(rpc.post_transfer(as_caller(who, post(&held.transfer_id, "p", None, false))).await);
        assert_eq!(refused, expected(Code::PermissionDenied, "NOT_PERMITTED"), "{who}");
    }
    the_rail_reads_what_it_carries_out(&rpc, &held).await;
    let posted = made(rpc.post_transfer(as_caller("rail/", post(&held.transfer_id, "q", None, false))).await);
    assert_eq!(figures(&posted), (pb::TransferState::Posted, 70, 70, 0));
    check_invariants(&bank, &mut server.superuser("ledger").await).await;
    bank.stop().await;
}

/// Payments to other banks, with whom they pay; no other transfer, and no other account.
async fn the_rail_reads_what_it_carries_out(rpc: &Rpc, held: &pb::Transfer) {
    let inside = transfer("in", "settlement-EUR", &held.debit_account_id, 5, true);
    let inside = made(create(rpc, "anna", inside).await);
    let list = |who: &str, account_id: &str| {
        let request = pb::ListTransfersRequest { account_id: account_id.to_owned(), ..Default::default() };
        rpc.list_transfers(as_caller(who, request))
    };
    let listed = list("rail/", "settlement-EUR").await.unwrap().into_inner().transfers;
    assert_eq!(listed.iter().map(|listed| &listed.transfer_id).collect::<Vec<_>>(), [&held.transfer_id]);
    assert_eq!(listed[0].external_payee, held.external_payee);
    let get = |who: &str, transfer_id: &str| {
        rpc.get_transfer(as_caller(who, pb::GetTransferRequest { transfer_id: transfer_id.to_owned() }))
    };
    assert_eq!(get("rail/", &held.transfer_id).await.unwrap().into_inner(), listed[0]);
    let denied = expected(Code::PermissionDenied, "NOT_PERMITTED");
    assert_eq!(refusal(get("rail/", &inside.transfer_id).await), denied);
    for (who, account) in
        [("rail/", held.debit_account_id.as_str()), ("rail/", "fees-EUR"), ("psp/", "settlement-EUR")]
    {
        assert_eq!(refusal(list(who, account).await), denied, "{who} {account}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_end_by_themselves_never_early_and_once_with_two_replicas() {
    let server = Postgres::start().await;
    let (one, two) = (Bank::on(&server).await, Bank::on(&server).await);
    for bank in [&one, &two] {
        svc_ledger::expiry::start(bank.store.clone(), &bank.drain);
    }
    let rpc = rpc(&one);
    let (carl, dora) = (one.open("carl", -1_000).await, one.open("dora", 0).await);
    let now = chrono::Utc::now().timestamp_millis() + 300;
    let expire_time = prost_types::Timestamp {
        seconds: now / 1_000,
        nanos: i32::try_from(now % 1_000 * 1_000_000).unwrap(),
    };
    let request = pb::CreateTransferRequest {
        expire_time: Some(expire_time),
        ..transfer("e", &carl.to_string(), &dora.to_string(), 100, true)
    };
    made(create(&rpc, "carl", request).await);
    let mut root = server.superuser("ledger").await;
    assert!(eventually(async || one.balance(carl).await == (0, 0)).await, "the money is free again");
    let ended: Vec<bool> = sqlx::query_scalar(
        "SELECT e.booked_at >= h.expires_at FROM ledger.journal e JOIN ledger.hold h ON h.id = e.ref WHERE e.kind = 11",
    )
    .fetch_all(&mut root)
    .await
    .unwrap();
    assert_eq!(ended, [true]);
    check_invariants(&one, &mut root).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn periods_close_once_and_nothing_counts_for_them_any_more() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let rpc = rpc(&bank);
    let (carl, dora) = (bank.open("carl", -1_000).await.to_string(), bank.open("dora", 0).await.to_string());
    let day = |days: i64| {
        use chrono::Datelike as _;
        let day = (chrono::Utc::now() - chrono::TimeDelta::days(days)).date_naive();
        let number = |part: u32| i32::try_from(part).unwrap();
        proto::google::r#type::Date { year: day.year(), month: number(day.month()), day: number(day.day()) }
    };
    let close =
        |key: &str, days| pb::ClosePeriodRequest { end_date: Some(day(days)), request_id: key.into() };
    let closed = rpc.close_period(as_caller("anna", close("a", 2))).await.unwrap().into_inner();
    assert_eq!(rpc.close_period(as_caller("anna", close("a", 2))).await.unwrap().into_inner(), closed);
    let cases = [
        ("carl", "b", 1, Code::PermissionDenied, "NOT_PERMITTED"),
        ("anna", "b", 2, Code::FailedPrecondition, "PERIOD_CLOSED"),
        ("anna", "c", -1, Code::FailedPrecondition, "PERIOD_NOT_OVER"),
        ("anna", "a", 1, Code::AlreadyExists, "REQUEST_ID_REUSED"),
    ];
    for (who, key, days, code, reason) in cases {
        assert_eq!(
            refusal(rpc.close_period(as_caller(who, close(key, days))).await),
            expected(code, reason),
            "{reason}"
        );
    }
    let dated = |key: &str, days| pb::CreateTransferRequest {
        value_date: Some(day(days)),
        ..transfer(key, &carl, &dora, 1, false)
    };
    assert_eq!(made(create(&rpc, "carl", dated("d1", 1)).await).value_date, Some(day(1)));
    let refused = refusal(create(&rpc, "carl", dated("d2", 2)).await);
    assert_eq!(refused, expected(Code::FailedPrecondition, "PERIOD_CLOSED"));
    let list = rpc.list_periods(as_caller("anna", pb::ListPeriodsRequest::default())).await;
    assert_eq!(list.unwrap().into_inner().periods, [closed]);
    bank.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_and_limits_follow_the_newest_intent() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let rpc = rpc(&bank);
    let (carl, dora) = (bank.open("carl", -100).await.to_string(), bank.open("dora", 0).await.to_string());
    let state = |account: &str, state: pb::LedgerAccountState, state_revision| {
        let request = pb::SetLedgerAccountStateRequest {
            account_id: account.into(),
            state: state.into(),
            state_revision,
        };
        rpc.set_ledger_account_state(as_caller("svc-accounts", request))
    };
    let limits = |account: &str, floor, ceiling, state_revision| {
        let request = pb::SetLedgerAccountLimitsRequest {
            account_id: account.into(),
            min_available_minor_units: floor,
            max_balance_minor_units: ceiling,
            state_revision,
        };
        rpc.set_ledger_account_limits(as_caller("svc-accounts", request))
    };
    use pb::LedgerAccountState::{Closed, DebitFrozen, Open};
    let failed = |reason| expected(Code::FailedPrecondition, reason);

    let frozen = state(&carl, DebitFrozen, 2).await.unwrap().into_inner();
    assert_eq!((frozen.state(), frozen.version, frozen.state_revision), (DebitFrozen, 2, 2));
    assert_eq!(state(&carl, DebitFrozen, 2).await.unwrap().into_inner(), frozen);
    assert_eq!(refusal(state(&carl, Open, 2).await), expected(Code::AlreadyExists, "ACCOUNT_EXISTS"));
    assert_eq!(refusal(state(&carl, Open, 1).await), failed("STALE_REVISION"));
    let pay = |key: &str, amount| create(&rpc, "carl", transfer(key, &carl, &dora, amount, false));
    assert_eq!(refusal(pay("a", 1).await), failed("ACCOUNT_NOT_OPEN"));
    state(&carl, Open, 3).await.unwrap();
    limits(&dora, 0, Some(50), 2).await.unwrap();
    assert_eq!(refusal(pay("b", 51).await), failed("CEILING_EXCEEDED"));
    let most = pb::CreateTransferRequest {
        amount_mode: pb::AmountMode::AtMost.into(),
        ..transfer("c", &carl, &dora, 90, false)
    };
    assert_eq!(figures(&made(create(&rpc, "carl", most).await)).1, 50);
    assert_eq!(refusal(limits(&carl, 0, None, 4).await), failed("LIMIT_BREACHED"));
    assert_eq!(refusal(state(&carl, Closed, 4).await), failed("ACCOUNT_NOT_EMPTY"));
    made(create(&rpc, "dora", transfer("d", &dora, &carl, 50, false)).await);
    state(&carl, Closed, 4).await.unwrap();
    assert_eq!(refusal(state(&carl, Open, 5).await), failed("ACCOUNT_CLOSED"));
    check_invariants(&bank, &mut server.superuser("ledger").await).await;
    bank.stop().await;
}
