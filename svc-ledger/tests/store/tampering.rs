//! Verification of the whole journal: silent about a ledger nobody has touched, and precise about every column of every table
//! that somebody has, as only whoever may do everything on the server can.

use chrono::{NaiveDate, Utc};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use svc_ledger::domain::account::{Amount, State};
use svc_ledger::domain::command::{
    Action, AmountMode, Condition, Detail, FailureMode, Pending, Request, Resolution, Reverse, SetLimits,
    SetState, Transfer, Unit,
};
use svc_ledger::domain::grant::Scope as Allowed;
use svc_ledger::domain::replay::Finding;
use svc_ledger::domain::request::{BodyHash, Key, Operation};
use svc_ledger::domain::verdict::{TransferState, Verdict};
use svc_ledger::store::verify;
use uuid::Uuid;

use crate::bank::{
    Bank, booked, command, consent, customer, direct, eur, eventually, hold, keyed_transfer, partner, staff,
    transfer_action,
};
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_names_whatever_was_changed() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    assert!(eventually(async || bank.health.is_ready()).await);
    let mut root = server.superuser("ledger").await;
    let id = some_of_everything(&bank, &mut root).await;
    bank.stop().await;
    assert_eq!(findings(&server).await, []);

    root.execute("SET session_replication_role = replica").await.unwrap();
    keep(&mut root).await;
    let mut missed = Vec::new();
    for (sql, expect) in changes(&id) {
        let changed = change(&mut root, sql.clone()).await;
        assert!(changed > 0, "nothing to change: {sql}");
        let found = findings(&server).await;
        let named = found.iter().any(|finding| {
            let Finding { what, expected, found, .. } = finding;
            format!("{what} {expected} {found}").contains(expect)
        });
        if !named {
            missed.push(format!("{sql}: {expect} is not among {found:?}"));
        }
        restore(&mut root).await;
    }
    assert_eq!(missed, Vec::<String>::new());
    assert_eq!(findings(&server).await, []);
}

/// A change by hand, and what must be named.
fn changes(id: &Ids) -> Vec<(String, &'static str)> {
    let journal = |set: &str, row: &str| format!("UPDATE ledger.journal SET {set} WHERE {row}");
    let direct = format!("id = '{}'", id.direct);
    let held = format!("id = '{}'", id.held);
    let mut changes: Vec<(String, &'static str)> = [
        ("seq = seq + 100000", "seq"),
        ("id = overlay(id::text placing 'ffffffff' from 29)::uuid, booked_at = booked_at + interval '1 day'", "id"),
        ("amount = amount + 1", "debit.posted"),
        ("remaining = 5", "remaining"),
        ("currency = 840", "currency"),
        ("currency = 999", "currency"),
        ("flags = 4", "flags"),
        ("dr_version = dr_version + 1", "debit.version"),
        ("dr_posted = dr_posted - 1", "debit.posted"),
        ("dr_held = dr_held + 1", "debit.held"),
        ("dr_expected = dr_expected + 1", "debit.expected"),
        ("cr_version = cr_version + 1", "credit.version"),
        ("cr_posted = cr_posted + 1", "credit.posted"),
        ("cr_held = cr_held + 1", "credit.held"),
        ("cr_expected = cr_expected + 1", "credit.expected"),
        ("dr = 999999", "debit.account"),
        ("cr = 999999", "credit.account"),
        ("floor = floor - 1", "floor"),
        ("ceiling = 7", "ceiling"),
        ("revision = 7", "revision"),
        ("link = seq + 1", "link"),
        ("ref = id", "ref"),
        ("gl_code = 7", "gl_code"),
        ("value_date = NULL", "value_date"),
        ("value_date = value_date - 400", "value_date"),
        ("booked_at = booked_at + interval '1 microsecond'", "booked_at"),
        ("actor = decode(repeat('00', 16), 'hex')", "batch.root"),
        ("actor = decode('00', 'hex')", "row"),
        ("party = 'x'", "party"),
        ("detail_hash = decode(repeat('00', 32), 'hex')", "batch.root"),
        ("salt = decode(repeat('00', 16), 'hex')", "batch.root"),
        ("quote = 'q'", "quote"),
        ("quote = 'q', rate = '1'", "quote"),
        ("used = 1", "used"),
        ("per_transfer_max = 1", "per_transfer_max"),
        ("total_max = 1", "total_max"),
        ("expires_at = 'epoch'", "expires_at"),
        ("kind = 12", "ref"),
    ]
    .into_iter()
    .map(|(set, expect)| (journal(set, &direct), expect))
    .collect();
    changes.extend(
        [
            (journal("remaining = remaining + 1", &held), "remaining"),
            (journal("flags = 4", &held), "flags"),
            (journal("expires_at = booked_at", &held), "expires_at"),
            (journal("remaining = remaining + 1", "kind = 8"), "remaining"),
            (journal("ref = id", "kind = 9"), "ref"),
            (journal("used = used + 1", "kind = 6 AND consent IS NOT NULL"), "used"),
            (journal("total_max = total_max - 1", "kind = 5"), "batch.root"),
            (journal("flags = 1", "kind = 5"), "consent"),
            (journal("revision = revision - 1", "kind = 3"), "revision"),
            (journal("party = 'somebody else'", "kind = 4"), "party"),
            (
                journal(
                    "ref = (SELECT id FROM ledger.journal WHERE kind = 6 ORDER BY id DESC LIMIT 1)",
                    "kind = 12 AND seq = (SELECT min(seq) FROM ledger.journal WHERE kind = 12)",
                ),
                "given back so",
            ),
            (journal("detail_hash = salt || salt", "kind = 13"), "detail_hash"),
            (
                journal(
                    "amount = amount + 1, dr_posted = dr_posted - 1, cr_posted = cr_posted + 1",
                    "kind = 12",
                ),
                "given back so",
            ),
        ]
        .map(|(change, expect)| (change, expect)),
    );
    let others = [
        ("DELETE FROM ledger.journal WHERE kind = 6", "seq"),
        ("DELETE FROM ledger.batch WHERE seq_from = (SELECT max(seq_from) FROM ledger.batch)", "batch"),
        ("UPDATE ledger.batch SET n = n + 1 WHERE seq_from = 1", "batch"),
        ("UPDATE ledger.batch SET prev = root WHERE seq_from > 1", "batch.prev"),
        ("UPDATE ledger.batch SET root = prev", "batch.root"),
        ("UPDATE ledger.batch SET hash = prev", "batch.hash"),
        ("UPDATE ledger.batch SET booked_at = booked_at + interval '1 ms'", "batch.booked_at"),
        ("UPDATE ledger.head SET seq = seq + 1", "seq of the head"),
        ("UPDATE ledger.head SET hash = decode(repeat('00', 32), 'hex')", "hash of the head"),
        ("UPDATE ledger.head SET booked_at = booked_at + interval '1 ms'", "booked_at of the head"),
        ("UPDATE ledger.head SET closed_until = NULL", "closed_until of the head"),
        ("UPDATE ledger.account SET version = version + 1", "version: "),
        ("UPDATE ledger.account SET dr_posted = dr_posted + 1", "dr_posted: "),
        ("UPDATE ledger.account SET cr_posted = cr_posted + 1", "cr_posted: "),
        ("UPDATE ledger.account SET dr_pending = dr_pending + 1", "dr_pending: "),
        ("UPDATE ledger.account SET cr_pending = cr_pending + 1", "cr_pending: "),
        ("UPDATE ledger.account SET min_available = -9", "floor: "),
        ("UPDATE ledger.account SET max_balance = 9", "ceiling: "),
        ("UPDATE ledger.account SET state = 1", "state: "),
        ("UPDATE ledger.account SET state_revision = 99", "state_revision: "),
        ("UPDATE ledger.account SET purpose = 1", "purpose: "),
        ("UPDATE ledger.account SET type = 5", "kind: "),
        ("UPDATE ledger.account SET gl_code = 5", "gl_code: "),
        ("UPDATE ledger.account SET id = gen_random_uuid()", "id: "),
        ("UPDATE ledger.account SET currency = 840", "currency: "),
        ("UPDATE ledger.account SET opened_at = 'epoch'", "opened_at: "),
        ("DELETE FROM ledger.account WHERE purpose = 0", "account"),
        ("UPDATE ledger.party SET customer = 'mallory' WHERE customer = 'ada'", "party"),
        ("UPDATE ledger.\"grant\" SET used = 0", "grant"),
        ("UPDATE ledger.hold SET remaining = remaining + 1", "hold"),
        ("DELETE FROM ledger.hold", "hold"),
        ("DELETE FROM ledger.reversal", "reversal"),
        ("DELETE FROM ledger.period", "period"),
    ];
    changes.extend(others.map(|(change, expect)| (change.to_owned(), expect)));
    changes
}

/// Tables that are changed and put back.
const TABLES: [&str; 9] =
    ["journal", "batch", "head", "account", "party", "\"grant\"", "hold", "reversal", "period"];

/// Does it; how many rows it concerned.
async fn change(root: &mut PgConnection, sql: String) -> u64 {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(root).await.unwrap().rows_affected()
}

async fn keep(root: &mut PgConnection) {
    root.execute("CREATE SCHEMA kept").await.unwrap();
    for table in TABLES {
        change(root, format!("CREATE TABLE kept.{table} AS TABLE ledger.{table}")).await;
    }
}

async fn restore(root: &mut PgConnection) {
    for table in TABLES {
        let back =
            format!("DELETE FROM ledger.{table}; INSERT INTO ledger.{table} SELECT * FROM kept.{table}");
        change(root, back).await;
    }
}

/// What a verification finds.
async fn findings(server: &Postgres) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut done = false;
    let source = verify::source(&server.config()).unwrap();
    let report = verify::verify(&source, verify::Evidence::NONE, |progress| {
        findings.extend(progress.findings);
        done = progress.done;
        true
    });
    let report = report.await.unwrap().unwrap();
    assert_eq!((report.found, done), (findings.len(), true));
    findings
}

/// Transfers whose rows are changed.
struct Ids {
    direct: Uuid,
    held: Uuid,
}

async fn some_of_everything(bank: &Bank, root: &mut PgConnection) -> Ids {
    let (ada, bob) = (bank.open("ada", -1_000).await, bank.open("bob", 0).await);
    bank.fund(ada, 100_000).await;
    // A text, so that the row has a hash of it.
    let mut with_text = direct(ada, bob, 700);
    with_text.reference = "rent";
    let one = booked(bank.transfer(customer("ada"), "direct", &with_text).await.unwrap());
    let more = Resolution::Increment(Amount::new(50).unwrap());
    let part = Resolution::Post { amount: Amount::new(100), keep_rest: true };
    let less = Resolution::Post { amount: Amount::new(30), keep_rest: false };
    let mut held = Vec::new();
    for (key, steps) in [("a", &[more, part, less][..]), ("b", &[Resolution::Void]), ("c", &[])] {
        let id = booked(bank.transfer(customer("ada"), key, &hold(ada, bob, 300)).await.unwrap()).id;
        for (step, resolution) in steps.iter().enumerate() {
            let done = bank.resolve(customer("ada"), &format!("{key}{step}"), id, *resolution).await.unwrap();
            assert!(done.is_done(), "{done:?}");
        }
        held.push(id);
    }
    reverse(bank, one.id, "back").await;
    reverse(bank, held[0], "back too").await;
    grants(bank, ada, bob).await;
    chain(bank, ada, bob).await;
    settings(bank, bob).await;
    let two = booked(bank.transfer(customer("ada"), "direct 2", &with_text).await.unwrap());
    expire(bank, root, ada, bob).await;
    Ids { direct: two.id, held: held[2] }
}

async fn reverse(bank: &Bank, transfer: Uuid, key: &str) {
    let key = Key { scope: staff("anna").scope, request_id: key.to_owned() };
    let body = BodyHash::new(Operation::Reverse, &key, &[transfer.as_bytes(), &[], &[]]);
    let reverse = Reverse { transfer, amount: None, detail: Detail::new("sorry".to_owned(), None, [7; 16]) };
    booked(bank.submit(staff("anna"), Action::Reverse(Request { key, body }, reverse)).await.unwrap());
}

async fn grants(bank: &Bank, ada: Uuid, bob: Uuid) {
    let mut terms = consent("psp", &[Allowed::CreateTransfers]);
    terms.total_max = Amount::new(1_000);
    bank.grant(ada, &terms).await;
    booked(bank.transfer(partner("psp", "ada"), "p1", &direct(ada, bob, 10)).await.unwrap());
    let id = booked(bank.transfer(partner("psp", "ada"), "p2", &hold(ada, bob, 20)).await.unwrap()).id;
    let voided = bank.resolve(partner("psp", "ada"), "p3", id, Resolution::Void).await.unwrap();
    assert!(voided.is_done(), "{voided:?}");
}

async fn chain(bank: &Bank, ada: Uuid, bob: Uuid) {
    let commands = ["l1", "l2"]
        .map(|key| command(customer("ada"), transfer_action(&customer("ada"), key, &direct(ada, bob, 5))));
    let unit = Unit { commands: commands.into(), mode: FailureMode::Atomic };
    let verdicts = bank.store.submit_unit(unit).await.unwrap();
    assert!(verdicts.iter().all(Verdict::is_done), "{verdicts:?}");
}

async fn settings(bank: &Bank, bob: Uuid) {
    let limits = SetLimits { account: bob, floor: -5, ceiling: Some(1_000_000), state_revision: 2 };
    let frozen = SetState { account: bob, state: State::Frozen, state_revision: 3 };
    let open = SetState { account: bob, state: State::Open, state_revision: 4 };
    for action in [Action::SetLimits(limits), Action::SetState(frozen), Action::SetState(open)] {
        let set = bank.submit(staff("anna"), action).await.unwrap();
        assert!(matches!(set, Verdict::Set(_)), "{set:?}");
    }
    let end: NaiveDate = Utc::now().date_naive().pred_opt().unwrap();
    let key = Key { scope: staff("anna").scope, request_id: "close".to_owned() };
    let body = BodyHash::new(Operation::ClosePeriod, &key, &[end.to_string().as_bytes()]);
    let closed = bank.submit(staff("anna"), Action::ClosePeriod(Request { key, body }, end)).await.unwrap();
    assert!(matches!(closed, Verdict::Closed(_)), "{closed:?}");
}

/// A hold that ends by itself: its time is a moment away, and the command is repeated until it is over.
async fn expire(bank: &Bank, root: &mut PgConnection, ada: Uuid, bob: Uuid) {
    let transfer = Transfer {
        debit: ada,
        credit: bob,
        amount: Amount::new(40).unwrap(),
        mode: AmountMode::Exact,
        currency: eur(),
        pending: Some(Pending { expires_at: Some(Utc::now().timestamp_millis() + 300), external: false }),
        value_date: None,
        debit_condition: Condition::default(),
        credit_condition: Condition::default(),
        exchange: None,
        hidden: false,
        detail: None,
    };
    let id =
        booked(bank.submit(customer("ada"), keyed_transfer(&customer("ada"), "e", transfer)).await.unwrap())
            .id;
    let over = async || {
        bank.submit(staff("clock"), Action::Expire(id)).await.unwrap();
        let state = sqlx::query_scalar("SELECT state FROM ledger.hold WHERE id = $1").bind(id);
        let state: i16 = state.fetch_one(&mut *root).await.unwrap();
        TransferState::from_number(state) == Some(TransferState::Expired)
    };
    assert!(eventually(over).await);
}
