//! What the head lock promises to those who wait behind it: when a row is booked, what a reader of the past may rely on, and
//! that one write the server refuses, or a session it ends, is nobody else's trouble.

use futures::future::join_all;
use sqlx::{Executor as _, PgConnection};
use std::time::Duration;
use svc_ledger::domain::verdict::Verdict;
use svc_ledger::error::Error;
use svc_ledger::store::read::{Viewer, Window};
use uuid::Uuid;

use crate::bank::{
    Bank, booked, check_invariants, customer, direct, eventually, hold, named, settlement, staff,
};
use crate::postgres::Postgres;

/// Longer than a read takes that waits for nobody, on a machine with something to spare.
const UNHINDERED: Duration = Duration::from_millis(300);
/// What waits for the head, waits for ever: it is held until the test lets go. So whoever must not wait has time enough.
const AT_LEISURE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_head_orders_times_reads_and_refusals() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let mut root = server.superuser("ledger").await;
    let accounts = [bank.open("paul", 0).await, bank.open("paul", 0).await];
    bank.fund(accounts[0], 1_000).await;

    rows_are_booked_when_they_are_judged(&server, &bank, accounts).await;
    the_past_is_read_after_the_batches_that_belong_to_it(&server, &bank, accounts[0]).await;
    one_refused_write_takes_no_neighbour_along(&bank, &mut root, accounts).await;
    a_session_that_the_server_ends_is_only_a_retry(&bank, &mut root, accounts).await;
    check_invariants(&bank, &mut root).await;
}

async fn clock_ms(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        .fetch_one(connection)
        .await
        .unwrap()
}

/// Takes the head as another replica would.
pub async fn take_head(connection: &mut PgConnection) {
    connection.execute("BEGIN").await.unwrap();
    connection.execute("SELECT FROM ledger.head FOR UPDATE").await.unwrap();
}

async fn rows_are_booked_when_they_are_judged(server: &Postgres, bank: &Bank, [from, to]: [Uuid; 2]) {
    let (mut replica, mut root) = (server.superuser("ledger").await, server.superuser("ledger").await);
    take_head(&mut replica).await;
    let transfer = direct(from, to, 1);
    let transfer = bank.transfer(customer("paul"), "behind the head", &transfer);
    let release = async {
        let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity \
             WHERE application_name = 'svc-ledger/write' AND wait_event_type = 'Lock')";
        let waits =
            eventually(async || sqlx::query_scalar(waiting).fetch_one(&mut root).await.unwrap()).await;
        assert!(waits, "the writer does not wait for the head");
        let released = clock_ms(&mut replica).await;
        replica.execute("ROLLBACK").await.unwrap();
        released
    };
    let (verdict, released) = tokio::join!(transfer, release);
    let booked_at = booked(verdict.unwrap()).booked_at;
    assert!(booked_at >= released, "booked {} ms before it could be judged", released - booked_at);
}

async fn the_past_is_read_after_the_batches_that_belong_to_it(server: &Postgres, bank: &Bank, account: Uuid) {
    let (mut replica, mut root) = (server.superuser("ledger").await, server.superuser("ledger").await);
    let viewer = Viewer::Customer("paul".to_owned());
    take_head(&mut replica).await;
    let now = clock_ms(&mut root).await;
    let account = named(account);
    let window = Window { from: None, until: Some(now), after: None, limit: 10 };
    let balance = bank.store.balance_as_of(&viewer, &account, now - 1);
    let entries = bank.store.entries(&viewer, &account, window);
    tokio::pin!(balance, entries);
    assert!(
        tokio::time::timeout(UNHINDERED, &mut balance).await.is_err(),
        "a batch may still be booked then"
    );
    assert!(
        tokio::time::timeout(UNHINDERED, &mut entries).await.is_err(),
        "a batch may still be booked then"
    );
    // What the journal has passed is settled, whoever holds the head; and so is what has no end.
    let opened = bank.store.balance_as_of(&viewer, &account, 0);
    assert_eq!(tokio::time::timeout(AT_LEISURE, opened).await.unwrap().unwrap().version, 0);
    let open = bank.store.entries(&viewer, &account, Window { until: None, ..window });
    assert_eq!(tokio::time::timeout(AT_LEISURE, open).await.unwrap().unwrap().1.len(), 2);
    replica.execute("ROLLBACK").await.unwrap();
    assert_eq!(balance.await.unwrap().posted, 999);
    assert_eq!(entries.await.unwrap().1.len(), 2);
}

/// Lets the server refuse rows of the journal as `rule` says.
pub async fn break_journal(root: &mut PgConnection, rule: &str) {
    let function = format!(
        "CREATE FUNCTION public.break_journal() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
         $$ BEGIN {rule} RETURN NEW; END $$"
    );
    root.execute(sqlx::AssertSqlSafe(function)).await.unwrap();
    root.execute(
        "CREATE TRIGGER break_journal BEFORE INSERT ON ledger.journal \
         FOR EACH ROW EXECUTE FUNCTION public.break_journal()",
    )
    .await
    .unwrap();
}

pub async fn mend_journal(root: &mut PgConnection) {
    root.execute("DROP TRIGGER break_journal ON ledger.journal").await.unwrap();
    root.execute("DROP FUNCTION public.break_journal()").await.unwrap();
}

async fn one_refused_write_takes_no_neighbour_along(
    bank: &Bank,
    root: &mut PgConnection,
    [from, to]: [Uuid; 2],
) {
    break_journal(root, "IF NEW.amount = 13 THEN RAISE EXCEPTION 'refused'; END IF;").await;
    let verdicts = join_all((1..=20).map(async |amount| {
        let transfer = direct(from, to, amount);
        (amount, bank.transfer(customer("paul"), &format!("neighbour {amount}"), &transfer).await)
    }))
    .await;
    for (amount, verdict) in verdicts {
        match amount {
            13 => assert!(matches!(verdict, Err(Error::Store(_))), "{verdict:?}"),
            _ => _ = booked(verdict.unwrap()),
        }
    }
    mend_journal(root).await;
    // What was not judged is not frozen.
    booked(bank.transfer(customer("paul"), "neighbour 13", &direct(from, to, 13)).await.unwrap());
}

async fn a_session_that_the_server_ends_is_only_a_retry(
    bank: &Bank,
    root: &mut PgConnection,
    [from, to]: [Uuid; 2],
) {
    // A sequence counts across what is rolled back.
    root.execute("CREATE SEQUENCE public.tries").await.unwrap();
    let idle_too_long =
        "IF nextval('public.tries') = 1 THEN RAISE EXCEPTION 'idle' USING ERRCODE = '25P03'; END IF;";
    break_journal(root, idle_too_long).await;
    let verdict = bank.transfer(customer("paul"), "idle", &direct(from, to, 1)).await.unwrap();
    assert!(matches!(verdict, Verdict::Booked(_)), "{verdict:?}");
    mend_journal(root).await;
    let held = bank.transfer(staff("anna"), "after", &hold(settlement(), to, 1)).await.unwrap();
    booked(held);
}
