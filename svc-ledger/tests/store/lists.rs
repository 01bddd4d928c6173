//! Lists with filters, and the past of an account, called as the chassis calls them: what they find, how far they look at once, and
//! that no more of a long journal is read than is asked for.

use std::time::Duration;

use proto::ledger::v1 as pb;
use proto::ledger::v1::ledger_service_server::LedgerService as _;
use sqlx::{Executor as _, PgConnection};
use svc_ledger::rpc::Rpc;
use svc_ledger::store::read::{Viewer, Window};
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::bank::{Bank, check_invariants, eur, named};
use crate::contract::{as_caller, expected, refusal, transfer};
use crate::postgres::Postgres;

/// What a call looks through at most.
const LOOKED_THROUGH: usize = 5_000;

fn paid(
    key: &str,
    from: Uuid,
    to: Uuid,
    amount: i64,
    text: &str,
    pending: bool,
) -> pb::CreateTransferRequest {
    let request = transfer(key, &from.to_string(), &to.to_string(), amount, pending);
    pb::CreateTransferRequest { reference: text.to_owned(), ..request }
}

async fn amounts(rpc: &Rpc, request: pb::ListEntriesRequest) -> Vec<i64> {
    let page = rpc.list_entries(as_caller("carl", request)).await.unwrap().into_inner();
    assert_eq!(page.next_page_token, "");
    page.entries.into_iter().map(|entry| entry.amount.unwrap().minor_units).collect()
}

async fn transfers(rpc: &Rpc, request: pb::ListTransfersRequest) -> Vec<i64> {
    let page = rpc.list_transfers(as_caller("carl", request)).await.unwrap().into_inner();
    assert_eq!(page.next_page_token, "");
    page.transfers.into_iter().map(|transfer| transfer.amount.unwrap().minor_units).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_find_what_they_say_and_nothing_else() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let rpc = Rpc::new(bank.store.clone(), vec![eur()]);
    let (carl, dora) = (bank.open("carl", 0).await, bank.open("dora", 0).await);
    bank.fund(carl, 9_000).await;
    let mut held = Vec::new();
    for (amount, text, pending) in [
        (700, "rent", false),
        (30, "food", false),
        (710, "rent", false),
        (40, "rent", true),
        (50, "food", true),
        (60, "food", true),
    ] {
        let request = paid(&format!("key-{amount}"), carl, dora, amount, text, pending);
        let made = rpc.create_transfer(as_caller("carl", request)).await.unwrap().into_inner();
        if pending {
            held.push(made.transfer_id);
        }
    }
    let post = pb::PostTransferRequest {
        transfer_id: held[1].clone(),
        request_id: "post".to_owned(),
        ..Default::default()
    };
    rpc.post_transfer(as_caller("carl", post)).await.unwrap();
    let void = pb::VoidTransferRequest {
        transfer_id: held[2].clone(),
        request_id: "void".to_owned(),
        ..Default::default()
    };
    rpc.void_transfer(as_caller("carl", void)).await.unwrap();

    let entries = || pb::ListEntriesRequest { account_id: carl.to_string(), ..Default::default() };
    let between = |min_amount_minor_units, max_amount_minor_units| pb::ListEntriesRequest {
        min_amount_minor_units,
        max_amount_minor_units,
        ..entries()
    };
    let reading = |text: &str| pb::ListEntriesRequest { reference: text.to_owned(), ..entries() };
    assert_eq!(amounts(&rpc, between(None, None)).await, [9_000, -700, -30, -710, -50]);
    assert_eq!(amounts(&rpc, between(Some(700), None)).await, [9_000, -700, -710]);
    assert_eq!(amounts(&rpc, between(None, Some(50))).await, [-30, -50]);
    assert_eq!(amounts(&rpc, between(Some(50), Some(700))).await, [-700, -50]);
    assert_eq!(amounts(&rpc, between(Some(0), Some(0))).await, [0; 0]);
    assert_eq!(amounts(&rpc, reading("rent")).await, [-700, -710]);
    assert_eq!(amounts(&rpc, reading("ren")).await, [0; 0], "the whole text");
    // The text of a hold is that of what is posted of it.
    assert_eq!(amounts(&rpc, reading("food")).await, [-30, -50]);
    let both = pb::ListEntriesRequest { max_amount_minor_units: Some(30), ..reading("food") };
    assert_eq!(amounts(&rpc, both).await, [-30]);

    let like = |state: pb::TransferState, text: &str| pb::ListTransfersRequest {
        account_id: carl.to_string(),
        state: state.into(),
        reference: text.to_owned(),
        ..Default::default()
    };
    use pb::TransferState::{Expired, Pending, Posted, Unspecified, Voided};
    assert_eq!(transfers(&rpc, like(Unspecified, "")).await, [60, 50, 40, 710, 30, 700, 9_000]);
    assert_eq!(transfers(&rpc, like(Pending, "")).await, [40]);
    assert_eq!(transfers(&rpc, like(Voided, "")).await, [60]);
    assert_eq!(transfers(&rpc, like(Posted, "")).await, [50, 710, 30, 700, 9_000]);
    assert_eq!(transfers(&rpc, like(Expired, "")).await, [0; 0]);
    assert_eq!(transfers(&rpc, like(Unspecified, "rent")).await, [40, 710, 700]);
    assert_eq!(transfers(&rpc, like(Posted, "rent")).await, [710, 700]);
    // Of all accounts of the caller.
    let all = pb::ListTransfersRequest { account_id: String::new(), ..like(Posted, "rent") };
    assert_eq!(transfers(&rpc, all).await, [710, 700]);

    nonsense_is_refused(&rpc, carl).await;
    bank.stop().await;
}

async fn nonsense_is_refused(rpc: &Rpc, carl: Uuid) {
    let entries = || pb::ListEntriesRequest { account_id: carl.to_string(), ..Default::default() };
    let wrong = pb::ListEntriesRequest {
        min_amount_minor_units: Some(-1),
        max_amount_minor_units: Some(-2),
        reference: "a\nb".to_owned(),
        min_seq: -1,
        ..entries()
    };
    let fields = |status: tonic::Status| -> Vec<String> {
        let details = status.get_error_details();
        details
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|violation| violation.field.clone())
            .collect()
    };
    let refused = rpc.list_entries(as_caller("carl", wrong)).await.unwrap_err();
    assert_eq!(fields(refused), ["min_amount_minor_units", "max_amount_minor_units", "min_seq", "reference"]);
    let crossed = pb::ListEntriesRequest {
        min_amount_minor_units: Some(3),
        max_amount_minor_units: Some(2),
        ..entries()
    };
    let refused = rpc.list_entries(as_caller("carl", crossed)).await.unwrap_err();
    assert_eq!(fields(refused), ["max_amount_minor_units"]);
    let wrong = pb::ListTransfersRequest {
        account_id: carl.to_string(),
        state: 99,
        reference: "x".repeat(141),
        ..Default::default()
    };
    let refused = rpc.list_transfers(as_caller("carl", wrong)).await.unwrap_err();
    assert_eq!(fields(refused), ["state", "reference"]);

    // A token is of its filter.
    let first = pb::ListEntriesRequest { page_size: 1, max_amount_minor_units: Some(700), ..entries() };
    let page = rpc.list_entries(as_caller("carl", first.clone())).await.unwrap().into_inner();
    let page_token = page.next_page_token;
    assert_ne!(page_token, "");
    for other in [
        pb::ListEntriesRequest { max_amount_minor_units: Some(701), ..first.clone() },
        pb::ListEntriesRequest {
            min_amount_minor_units: Some(700),
            max_amount_minor_units: None,
            ..first.clone()
        },
        pb::ListEntriesRequest { reference: "rent".to_owned(), ..first.clone() },
    ] {
        let other = pb::ListEntriesRequest { page_token: page_token.clone(), ..other };
        let refused = refusal(rpc.list_entries(as_caller("carl", other)).await);
        assert_eq!(refused, expected(Code::InvalidArgument, "INVALID_REQUEST"));
    }
    let next = pb::ListEntriesRequest { page_token, ..first };
    let page = rpc.list_entries(as_caller("carl", next)).await.unwrap().into_inner();
    assert_eq!(page.entries[0].amount.as_ref().unwrap().minor_units, -30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_balances_of_the_past_reach_over_quiet_months() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let mut root = server.superuser("ledger").await;
    sqlx::query("SELECT ledger.add_partitions(36)").execute(&mut root).await.unwrap();
    let (carl, dora) = (bank.open("carl", -1_000).await, bank.open("dora", 0).await);
    let mut booked = Vec::new();
    for (number, quiet_days) in [0, 1, 40, 0, 100, 400, 0].into_iter().enumerate() {
        // The next batch is booked at the time of the last, if that is later than the server's.
        sqlx::query("UPDATE ledger.head SET booked_at = booked_at + $1 * interval '1 day'")
            .bind(quiet_days)
            .execute(&mut root)
            .await
            .unwrap();
        let request = paid(&format!("key-{number}"), carl, dora, 1 + number as i64, "", false);
        bank_time_passes(&mut root).await;
        let rpc = Rpc::new(bank.store.clone(), vec![eur()]);
        rpc.create_transfer(as_caller("carl", request)).await.unwrap();
        booked.push(bank.store.balance(&Viewer::Staff, &named(dora)).await.unwrap());
    }
    let viewer = Viewer::Customer("dora".to_owned());
    let window = |after, limit| Window { from: None, until: None, after, limit };
    for limit in [1, 2, 3, 100] {
        let (mut entries, mut after) = (Vec::new(), None);
        loop {
            let (_, page) = bank.store.entries(&viewer, &named(dora), window(after, limit)).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.row);
            entries.extend(page.iter().map(|entry| entry.amount));
        }
        assert_eq!(entries, [1, 2, 3, 4, 5, 6, 7], "{limit} a page");
        for account in [None, Some(&named(dora))] {
            let (mut transfers, mut before) = (Vec::new(), None);
            loop {
                let page = bank.store.transfers(&viewer, account, before, limit).await.unwrap();
                let Some(last) = page.last() else { break };
                before = Some(last.id);
                transfers.extend(page.iter().map(|transfer| transfer.amount));
            }
            assert_eq!(transfers, [7, 6, 5, 4, 3, 2, 1], "{limit} a page");
        }
    }
    for balance in &booked {
        let at = balance.booked_at.unwrap();
        for (time, number) in [(at, 0), (at - 1, 1)] {
            let then = bank.store.balance_as_of(&viewer, &named(dora), time).await.unwrap();
            assert_eq!(then.version, balance.version - number, "as of {time}");
        }
    }
    // Of a span within.
    let (from, until) = (booked[2].booked_at, booked[5].booked_at);
    let within = Window { from, until, after: None, limit: 100 };
    let (_, page) = bank.store.entries(&viewer, &named(dora), within).await.unwrap();
    assert_eq!(page.iter().map(|entry| entry.amount).collect::<Vec<_>>(), [3, 4, 5]);
    check_invariants(&bank, &mut root).await;
    bank.stop().await;
}

/// So that no two bookings have the same time.
async fn bank_time_passes(root: &mut PgConnection) {
    root.execute("UPDATE ledger.head SET booked_at = booked_at + interval '5 milliseconds'").await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_journal_is_read_as_far_as_is_asked_for() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let rpc = Rpc::new(bank.store.clone(), vec![eur()]);
    let (carl, dora) = (bank.open("carl", 0).await, bank.open("dora", 0).await);
    bank.fund(carl, 1_000_000).await;
    let mut root = server.superuser("ledger").await;
    sqlx::query("SELECT ledger.add_partitions(36)").execute(&mut root).await.unwrap();
    let single = |key: &str, text: &str| paid(key, carl, dora, 1, text, false);
    rpc.create_transfer(as_caller("carl", single("first", "first"))).await.unwrap();
    for thousand in 0..5 {
        let requests = (0..1_000).map(|number| single(&format!("{thousand}-{number}"), "many")).collect();
        let batch = pb::BatchCreateTransfersRequest { requests, ..Default::default() };
        let answer = rpc.batch_create_transfers(as_caller("anna", batch)).await.unwrap().into_inner();
        assert_eq!(answer.results.len(), 1_000);
    }
    rpc.create_transfer(as_caller("carl", single("last", "last"))).await.unwrap();
    // The reads that follow plan as they would on any other day.
    root.execute("VACUUM ANALYZE").await.unwrap();

    each_call_looks_through_so_many(&rpc, dora).await;
    every_version_is_found(&rpc, &bank, carl).await;
    check_invariants(&bank, &mut root).await;
    drop(rpc);
    bank.stop().await;
    no_table_is_read_from_end_to_end(&server, carl, &mut root).await;
}

async fn each_call_looks_through_so_many(rpc: &Rpc, dora: Uuid) {
    // Oldest first: 5,002 entries, of which the last is wanted.
    let mut request = pb::ListEntriesRequest {
        account_id: dora.to_string(),
        reference: "last".to_owned(),
        ..Default::default()
    };
    let page = rpc.list_entries(as_caller("dora", request.clone())).await.unwrap().into_inner();
    assert_eq!(page.entries.len(), 0, "it lies behind what is looked through");
    assert_ne!(page.next_page_token, "");
    request.page_token = page.next_page_token;
    let page = rpc.list_entries(as_caller("dora", request)).await.unwrap().into_inner();
    let texts = |page: &pb::ListEntriesResponse| -> Vec<String> {
        page.entries.iter().map(|entry| entry.reference.clone()).collect()
    };
    assert_eq!((texts(&page), page.next_page_token.as_str()), (vec!["last".to_owned()], ""));

    // Newest first: the same from the other end.
    let mut request = pb::ListTransfersRequest { reference: "first".to_owned(), ..Default::default() };
    let page = rpc.list_transfers(as_caller("dora", request.clone())).await.unwrap().into_inner();
    assert_eq!(page.transfers.len(), 0);
    request.page_token = page.next_page_token;
    assert_ne!(request.page_token, "");
    let page = rpc.list_transfers(as_caller("dora", request)).await.unwrap().into_inner();
    assert_eq!((page.transfers.len(), page.next_page_token.as_str()), (1, ""));
    assert_eq!(page.transfers[0].reference, "first");

    // A page that is full ends where it is full, whatever else was looked through: none is left out, none comes twice.
    let mut request = pb::ListEntriesRequest {
        account_id: dora.to_string(),
        reference: "many".to_owned(),
        page_size: 800,
        ..Default::default()
    };
    let mut versions = Vec::new();
    loop {
        let page = rpc.list_entries(as_caller("dora", request.clone())).await.unwrap().into_inner();
        versions.extend(page.entries.iter().map(|entry| entry.version));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    // Opening is the first version and "first" the second.
    assert!(versions.iter().copied().eq(3..3 + LOOKED_THROUGH as i64), "{}", versions.len());
}

async fn every_version_is_found(rpc: &Rpc, bank: &Bank, carl: Uuid) {
    let read = async |version: i64| {
        let request = pb::GetBalanceRequest { account_id: carl.to_string(), version, ..Default::default() };
        rpc.get_balance(as_caller("carl", request)).await
    };
    let now = bank.store.balance(&Viewer::Staff, &named(carl)).await.unwrap();
    let posted = |balance: pb::Balance| balance.posted.unwrap().minor_units;
    assert_eq!(posted(read(1).await.unwrap().into_inner()), 0, "opened");
    assert_eq!(posted(read(2).await.unwrap().into_inner()), 0, "held for it");
    for version in (3..now.version).step_by(499).chain([now.version - 1, now.version]) {
        let balance = read(version).await.unwrap().into_inner();
        assert_eq!((balance.version, posted(balance.clone())), (version, 1_000_000 - (version - 3)));
    }
    let beyond = refusal(read(now.version + 1).await);
    assert_eq!(beyond, expected(Code::FailedPrecondition, "VERSION_NOT_REACHED"));
}

/// None of the reads looks at more of the 38 partitions than it must, and none reads a table.
async fn no_table_is_read_from_end_to_end(server: &Postgres, carl: Uuid, root: &mut PgConnection) {
    // Sessions tell what they have counted when they end, or later than they are asked for it: none but the readers' may count.
    all_sessions_have_ended(root).await;
    root.execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    root.execute("SELECT pg_stat_reset()").await.unwrap();
    let bank = Bank::on(server).await;
    let account = named(carl);
    let now = chrono::Utc::now().timestamp_millis();
    for viewer in [Viewer::Staff, Viewer::Customer("carl".to_owned())] {
        for _ in 0..20 {
            bank.store.balance(&viewer, &account).await.unwrap();
            bank.store.balance_as_of(&viewer, &account, now - 60_000).await.unwrap();
            bank.store.balance_as_of(&viewer, &account, now).await.unwrap();
            bank.store.transfers(&viewer, Some(&account), None, 10).await.unwrap();
        }
    }
    bank.stop().await;
    all_sessions_have_ended(root).await;
    let scanned: Vec<(String, i64)> = sqlx::query_as(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = 'ledger' AND seq_scan > 0 \
         AND (relname LIKE 'journal%' OR relname IN ('account', 'transfer_detail', 'hold', 'party'))",
    )
    .fetch_all(root)
    .await
    .unwrap();
    assert!(scanned.is_empty(), "read from end to end: {scanned:?}");
}

async fn all_sessions_have_ended(root: &mut PgConnection) {
    for _ in 0..1_000 {
        let left: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut *root)
        .await
        .unwrap();
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("sessions are left");
}
