//! The RPCs on a real store, called as the chassis calls them: which status, which reason, which words an error has.

use std::sync::Arc;
use std::time::Duration;

use chassis::call::{Call, Caller, Partner, Principal, Subject};
use chassis::deadline::Deadline;
use chassis::trace::TraceContext;
use proto::ledger::v1 as pb;
use proto::ledger::v1::ledger_service_server::LedgerService as _;
use svc_ledger::rpc::Rpc;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use crate::bank::{Bank, eur};
use crate::postgres::Postgres;

/// A caller, in a word: "svc-accounts", "svc-docs", a member of staff ("anna", "bert"), a customer by name, or a partner that acts
/// for one of them ("psp/carl") or for nobody ("psp/").
pub fn as_caller<T>(who: &str, message: T) -> Request<T> {
    let (partner, who) = who.split_once('/').map_or((None, who), |(partner, who)| (Some(partner), who));
    let staff = ["anna", "bert"].contains(&who);
    let scopes: &[&str] =
        if staff { &["staff.read", "staff.write"] } else { &["accounts.read", "payments.write"] };
    let subject = Subject {
        issuer: "https://issuer.test".to_owned(),
        id: who.to_owned(),
        customer_id: (!staff).then(|| who.to_owned()),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
    };
    let service = who.starts_with("svc-").then(|| who.to_owned());
    let principal = match partner {
        Some(id) => {
            let subject = (!who.is_empty()).then_some(subject);
            Principal::Partner(Partner { id: id.to_owned(), subject })
        }
        None if service.is_some() => Principal::Service,
        None => Principal::Subject(subject),
    };
    let mut request = Request::new(message);
    request.extensions_mut().insert(Call {
        caller: Arc::new(Caller { principal, service }),
        deadline: Deadline::after(Duration::from_millis(500)),
        transaction_id: "test".into(),
        hops: 0,
        trace: TraceContext::root(),
        token: None,
    });
    request
}

pub fn account(id: &str, customer: &str) -> pb::CreateLedgerAccountRequest {
    pb::CreateLedgerAccountRequest {
        account_id: id.to_owned(),
        currency_code: "EUR".to_owned(),
        customer_ids: vec![customer.to_owned()],
        min_available_minor_units: 0,
        state_revision: 1,
        ..Default::default()
    }
}

pub fn transfer(
    key: &str,
    from: &str,
    to: &str,
    minor_units: i64,
    pending: bool,
) -> pb::CreateTransferRequest {
    pb::CreateTransferRequest {
        request_id: key.to_owned(),
        debit_account_id: from.to_owned(),
        credit: Some(pb::create_transfer_request::Credit::CreditAccountId(to.to_owned())),
        amount: Some(pb::Money { currency_code: "EUR".to_owned(), minor_units }),
        reference: "for the test".to_owned(),
        pending,
        ..Default::default()
    }
}

/// The code and the reason of a refusal.
pub fn refusal<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> (Code, String) {
    use tonic_types::StatusExt as _;
    let status = answer.unwrap_err();
    let info = status.get_error_details().error_info().cloned().unwrap();
    assert_eq!(info.domain, "ledger.v1");
    (status.code(), info.reason)
}

pub fn expected(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rpcs_keep_their_contract() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let rpc = Rpc::new(bank.store.clone(), vec![eur()]);
    let (carl, dora) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    for (id, customer) in [(&carl, "carl"), (&dora, "dora")] {
        let opened = rpc
            .create_ledger_account(as_caller("svc-accounts", account(id, customer)))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((opened.version, opened.min_available_minor_units), (1, Some(0)));
    }
    opening_has_its_errors(&rpc, &carl).await;
    money_enters(&rpc, &carl).await;
    transfers_have_their_errors_in_order(&rpc, &carl, &dora).await;
    reads_have_their_errors(&rpc, &carl).await;
    lists_go_page_by_page(&rpc, &carl, &dora).await;
    bank.stop().await;
}

async fn opening_has_its_errors(rpc: &Rpc, carl: &str) {
    let call = async |who: &str, request| refusal(rpc.create_ledger_account(as_caller(who, request)).await);
    let good = || account(carl, "carl");
    let cases = [
        (
            "svc-accounts",
            pb::CreateLedgerAccountRequest { account_id: "x".into(), ..good() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (
            "svc-accounts",
            pb::CreateLedgerAccountRequest { currency_code: "XXX".into(), ..good() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (
            "svc-accounts",
            pb::CreateLedgerAccountRequest { currency_code: "SEK".into(), ..good() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (
            "svc-accounts",
            pb::CreateLedgerAccountRequest { customer_ids: vec![], ..good() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (
            "svc-accounts",
            pb::CreateLedgerAccountRequest { min_available_minor_units: 1, ..good() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        ("svc-docs", good(), Code::PermissionDenied, "NOT_PERMITTED"),
        ("carl", good(), Code::PermissionDenied, "NOT_PERMITTED"),
        ("svc-accounts", account(carl, "dora"), Code::AlreadyExists, "ACCOUNT_EXISTS"),
        (
            "svc-accounts",
            pb::CreateLedgerAccountRequest { state_revision: 0, ..good() },
            Code::FailedPrecondition,
            "STALE_REVISION",
        ),
    ];
    for (who, request, code, reason) in cases {
        assert_eq!(call(who, request.clone()).await, expected(code, reason), "{who} {request:?}");
    }
}

async fn money_enters(rpc: &Rpc, carl: &str) {
    let direct = transfer("direct", "settlement-EUR", carl, 1_000, false);
    let refused = refusal(rpc.create_transfer(as_caller("anna", direct)).await);
    assert_eq!(refused, expected(Code::FailedPrecondition, "FOUR_EYES_REQUIRED"));
    let held =
        rpc.create_transfer(as_caller("anna", transfer("in", "settlement-EUR", carl, 1_000, true))).await;
    let held = held.unwrap().into_inner();
    assert_eq!(
        (held.state(), held.debit_account_id.as_str()),
        (pb::TransferState::Pending, "settlement-EUR")
    );
    let post = |who: &str, key: &str| {
        let request = pb::PostTransferRequest {
            transfer_id: held.transfer_id.clone(),
            request_id: key.to_owned(),
            ..Default::default()
        };
        rpc.post_transfer(as_caller(who, request))
    };
    assert_eq!(refusal(post("anna", "p").await), expected(Code::FailedPrecondition, "FOUR_EYES_REQUIRED"));
    assert_eq!(refusal(post("carl", "p").await), expected(Code::PermissionDenied, "NOT_PERMITTED"));
    let posted = post("bert", "p").await.unwrap().into_inner();
    assert_eq!((posted.state(), posted.reference.as_str()), (pb::TransferState::Posted, "for the test"));
    assert_eq!(post("bert", "p").await.unwrap().into_inner(), posted);
    assert_eq!(refusal(post("bert", "q").await), expected(Code::FailedPrecondition, "TRANSFER_NOT_PENDING"));
    let unknown = pb::VoidTransferRequest {
        transfer_id: Uuid::now_v7().to_string(),
        request_id: "v".into(),
        ..Default::default()
    };
    let staff = refusal(rpc.void_transfer(as_caller("anna", unknown.clone())).await);
    assert_eq!(staff, expected(Code::NotFound, "TRANSFER_NOT_FOUND"));
    let customer = refusal(rpc.void_transfer(as_caller("carl", unknown)).await);
    assert_eq!(customer, expected(Code::PermissionDenied, "NOT_PERMITTED"));
}

async fn transfers_have_their_errors_in_order(rpc: &Rpc, carl: &str, dora: &str) {
    let nobody = Uuid::new_v4().to_string();
    let first = rpc
        .create_transfer(as_caller("carl", transfer("one", carl, dora, 100, false)))
        .await
        .unwrap()
        .into_inner();
    let again = rpc
        .create_transfer(as_caller("carl", transfer("one", carl, dora, 100, false)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, again);
    let usd = |mut request: pb::CreateTransferRequest| {
        request.amount = Some(pb::Money { currency_code: "USD".into(), minor_units: 1 });
        request
    };
    let long = |mut request: pb::CreateTransferRequest| {
        request.reference = "ä".repeat(141);
        request
    };
    let cases = [
        ("carl", transfer("", carl, dora, 1, false), Code::InvalidArgument, "INVALID_REQUEST"),
        ("carl", transfer("white space", carl, dora, 1, false), Code::InvalidArgument, "INVALID_REQUEST"),
        ("carl", transfer("e0", carl, carl, 1, false), Code::InvalidArgument, "INVALID_REQUEST"),
        ("carl", transfer("e1", carl, dora, 0, false), Code::InvalidArgument, "INVALID_REQUEST"),
        ("carl", long(transfer("e2", carl, dora, 1, false)), Code::InvalidArgument, "INVALID_REQUEST"),
        ("carl", transfer("one", carl, &nobody, 100, false), Code::AlreadyExists, "REQUEST_ID_REUSED"),
        ("carl", transfer("e3", dora, carl, 1, false), Code::PermissionDenied, "NOT_PERMITTED"),
        ("carl", transfer("e4", &nobody, carl, 1, false), Code::PermissionDenied, "NOT_PERMITTED"),
        ("anna", transfer("e4", &nobody, carl, 1, false), Code::NotFound, "ACCOUNT_NOT_FOUND"),
        ("carl", usd(transfer("e5", carl, &nobody, 1, false)), Code::NotFound, "ACCOUNT_NOT_FOUND"),
        ("carl", usd(transfer("e6", carl, dora, 1, false)), Code::FailedPrecondition, "CURRENCY_MISMATCH"),
        ("carl", transfer("e7", carl, dora, 100_000, false), Code::FailedPrecondition, "INSUFFICIENT_FUNDS"),
        (
            "anna",
            transfer("e8", "fees-EUR", carl, i64::MAX, true),
            Code::FailedPrecondition,
            "BALANCE_OVERFLOW",
        ),
    ];
    for (who, request, code, reason) in cases {
        let answer = rpc.create_transfer(as_caller(who, request.clone())).await;
        assert_eq!(refusal(answer), expected(code, reason), "{who} {request:?}");
    }
}

async fn reads_have_their_errors(rpc: &Rpc, carl: &str) {
    let balance = |who: &str, account_id: &str, min_seq: i64| {
        let request =
            pb::GetBalanceRequest { account_id: account_id.to_owned(), min_seq, ..Default::default() };
        rpc.get_balance(as_caller(who, request))
    };
    let nobody = Uuid::new_v4().to_string();
    for who in ["carl", "anna", "svc-docs"] {
        let answer = balance(who, carl, 1).await.unwrap().into_inner();
        assert_eq!(answer.posted.map(|money| money.minor_units), Some(900), "{who}");
        assert!(answer.seq >= answer.version && answer.book_time.is_some());
    }
    for (who, account) in
        [("dora", carl), ("dora", nobody.as_str()), ("svc-cache", carl), ("carl", "settlement-EUR")]
    {
        assert_eq!(
            refusal(balance(who, account, 0).await),
            expected(Code::PermissionDenied, "NOT_PERMITTED"),
            "{who}"
        );
    }
    for who in ["anna", "svc-docs"] {
        assert_eq!(
            refusal(balance(who, &nobody, 0).await),
            expected(Code::NotFound, "ACCOUNT_NOT_FOUND"),
            "{who}"
        );
    }
    // Permission and existence come before the wait for what never comes.
    for (who, account, code, reason) in [
        ("dora", carl, Code::PermissionDenied, "NOT_PERMITTED"),
        ("dora", nobody.as_str(), Code::PermissionDenied, "NOT_PERMITTED"),
        ("anna", nobody.as_str(), Code::NotFound, "ACCOUNT_NOT_FOUND"),
    ] {
        assert_eq!(refusal(balance(who, account, i64::MAX).await), expected(code, reason), "{who} {account}");
    }
    assert_eq!(
        refusal(balance("anna", "settlement", 0).await),
        expected(Code::InvalidArgument, "INVALID_REQUEST")
    );
    assert_eq!(
        refusal(balance("anna", carl, i64::MAX).await),
        expected(Code::Unavailable, "MIN_SEQ_NOT_REACHED")
    );
    let entries = |who: &str, account_id: &str| {
        let request = pb::ListEntriesRequest {
            account_id: account_id.to_owned(),
            min_seq: i64::MAX,
            ..Default::default()
        };
        rpc.list_entries(as_caller(who, request))
    };
    for (who, account, code, reason) in [
        ("dora", carl, Code::PermissionDenied, "NOT_PERMITTED"),
        ("anna", nobody.as_str(), Code::NotFound, "ACCOUNT_NOT_FOUND"),
        ("anna", carl, Code::Unavailable, "MIN_SEQ_NOT_REACHED"),
    ] {
        assert_eq!(refusal(entries(who, account).await), expected(code, reason), "{who} {account}");
    }
    let house = balance("anna", "settlement-EUR", 0).await.unwrap().into_inner();
    assert_eq!(
        (house.account_id.as_str(), house.posted.map(|money| money.minor_units)),
        ("settlement-EUR", Some(-1_000))
    );
}

async fn lists_go_page_by_page(rpc: &Rpc, carl: &str, dora: &str) {
    for number in 0..5 {
        let request = transfer(&format!("list {number}").replace(' ', "-"), carl, dora, 1, number % 2 == 0);
        rpc.create_transfer(as_caller("carl", request)).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListTransfersRequest { page_size: 3, page_token, ..Default::default() };
        let page = rpc.list_transfers(as_caller("carl", request)).await.unwrap().into_inner();
        assert!(page.transfers.len() <= 3);
        seen.extend(page.transfers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    // One from settlement, one direct, and five of which three are pending.
    assert_eq!(seen.len(), 7);
    assert_eq!(seen.iter().filter(|transfer| transfer.state() == pb::TransferState::Pending).count(), 3);
    let staff = pb::ListTransfersRequest::default();
    assert_eq!(
        refusal(rpc.list_transfers(as_caller("anna", staff)).await),
        expected(Code::InvalidArgument, "INVALID_REQUEST")
    );

    let entries = |page_size, page_token| pb::ListEntriesRequest {
        account_id: carl.to_owned(),
        page_size,
        page_token,
        ..pb::ListEntriesRequest::default()
    };
    let first = rpc.list_entries(as_caller("carl", entries(2, String::new()))).await.unwrap().into_inner();
    let second = rpc
        .list_entries(as_caller("carl", entries(9, first.next_page_token.clone())))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((first.entries.len(), second.entries.len(), second.next_page_token.as_str()), (2, 2, ""));
    let amounts = first.entries.iter().chain(&second.entries).filter_map(|entry| entry.amount.clone());
    assert_eq!(amounts.map(|money| money.minor_units).collect::<Vec<_>>(), [1_000, -100, -1, -1]);
    assert_eq!(first.entries[0].counterparty_account_id, "settlement-EUR");
    assert_eq!(first.entries[1].counterparty_account_id, "");
    let other = pb::ListEntriesRequest { account_id: dora.to_owned(), ..entries(2, first.next_page_token) };
    assert_eq!(
        refusal(rpc.list_entries(as_caller("dora", other)).await),
        expected(Code::InvalidArgument, "INVALID_REQUEST")
    );
}
