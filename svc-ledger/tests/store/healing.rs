//! What the store does when its server is there and does not do its part: it takes no writes, has no room, has another password,
//! has no partition for the month, answers nothing any more, or lets somebody else sit on the head. Each time callers are told the
//! truth, and the store comes back by itself.

use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use sqlx::{Executor as _, PgConnection};
use svc_ledger::domain::verdict::Verdict;
use svc_ledger::error::Error;
use uuid::Uuid;

use crate::bank::{Bank, check_invariants, customer, direct, eventually};
use crate::postgres::Postgres;

/// More readers than the pool has connections.
const READERS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_comes_back_by_itself() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let mut root = server.superuser("ledger").await;
    let accounts = [bank.open("paul", 0).await, bank.open("paul", 0).await];
    bank.fund(accounts[0], 1_000).await;

    a_full_disk_is_not_done_at_once(&bank, &mut root, accounts).await;
    a_server_that_takes_no_writes_is_no_writer(&bank, &mut root, accounts).await;
    who_waits_for_the_head_tries_again_on_the_same_connection(&server, &bank, &mut root, accounts).await;
    readers_outlive_connections_that_fall_silent(&bank, &mut root, accounts[0]).await;
    a_changed_password_needs_no_restart(&server, &bank, &mut root, accounts).await;
    a_month_without_a_partition_gets_one(&bank, &mut root, accounts).await;
    check_invariants(&bank, &mut root).await;
}

async fn pay(bank: &Bank, key: &str, [from, to]: [Uuid; 2]) -> Result<Verdict, Error> {
    bank.transfer(customer("paul"), key, &direct(from, to, 1)).await
}

fn is_booked(paid: &Result<Verdict, Error>) -> bool {
    matches!(paid, Ok(Verdict::Booked(_) | Verdict::Recorded(_)))
}

/// The server has no room: nothing is judged, nobody waits, and what is there can be read.
async fn a_full_disk_is_not_done_at_once(bank: &Bank, root: &mut PgConnection, accounts: [Uuid; 2]) {
    root.execute(
        "CREATE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON ledger.outcome EXECUTE FUNCTION public.full()",
    )
    .await
    .unwrap();
    let keys: Vec<String> = (0..READERS).map(|number| format!("full {number}")).collect();
    for paid in join_all(keys.iter().map(|key| pay(bank, key, accounts))).await {
        assert!(matches!(paid, Err(Error::NotDone)), "{paid:?}");
    }
    assert!(bank.health.is_ready(), "what is there can still be read");
    assert_eq!(bank.balance(accounts[0]).await, (1_000, 1_000));
    root.execute("DROP TRIGGER full_disk ON ledger.outcome").await.unwrap();
    for key in &keys {
        assert!(is_booked(&pay(bank, key, accounts).await), "as soon as there is room, under the same key");
    }
}

/// As after a failover that leaves the connection standing, and as providers do before a disk is full.
async fn a_server_that_takes_no_writes_is_no_writer(
    bank: &Bank,
    root: &mut PgConnection,
    accounts: [Uuid; 2],
) {
    let set = async |root: &mut PgConnection, statement: &'static str| {
        root.execute(statement).await.unwrap();
        root.execute("SELECT pg_reload_conf()").await.unwrap();
    };
    set(root, "ALTER SYSTEM SET default_transaction_read_only = on").await;
    assert!(
        eventually(async || !bank.health.is_ready()).await,
        "readiness follows the writer, without a write"
    );
    let paid = pay(bank, "read only", accounts).await;
    assert!(matches!(paid, Err(Error::NotDone)), "{paid:?}");
    set(root, "ALTER SYSTEM RESET default_transaction_read_only").await;
    assert!(eventually(async || bank.health.is_ready()).await, "not ready again");
    assert!(is_booked(&pay(bank, "read only", accounts).await));
}

/// Who writes, and since when.
async fn writer(root: &mut PgConnection) -> Option<(i32, i64)> {
    sqlx::query_as(
        "SELECT pid, (extract(epoch FROM xact_start) * 1000000)::bigint FROM pg_stat_activity \
         WHERE application_name = 'svc-ledger/write' AND wait_event_type = 'Lock'",
    )
    .fetch_optional(root)
    .await
    .unwrap()
}

/// A head that is taken is no server that is away: whoever waits tries again where it is, and the service stays ready.
async fn who_waits_for_the_head_tries_again_on_the_same_connection(
    server: &Postgres,
    bank: &Bank,
    root: &mut PgConnection,
    accounts: [Uuid; 2],
) {
    let mut replica = server.superuser("ledger").await;
    replica.execute("BEGIN").await.unwrap();
    replica.execute("SELECT FROM ledger.head FOR UPDATE").await.unwrap();
    let hold = async {
        let mut first = None;
        let again = async || {
            let waits = writer(&mut *root).await;
            first = first.or(waits);
            first.zip(waits).is_some_and(|(first, waits)| first.0 == waits.0 && first.1 < waits.1)
        };
        assert!(eventually(again).await, "the writer waits for ever, or elsewhere");
        assert!(bank.health.is_ready());
        replica.execute("ROLLBACK").await.unwrap();
    };
    let (paid, ()) = futures::join!(pay(bank, "behind another", accounts), hold);
    assert!(is_booked(&paid), "{paid:?}");
}

/// Backends that are stopped stand for a network that swallows everything: TCP has nothing to complain of.
async fn readers_outlive_connections_that_fall_silent(bank: &Bank, root: &mut PgConnection, account: Uuid) {
    join_all((0..READERS).map(|_| bank.balance(account))).await;
    let backends: Vec<i32> =
        sqlx::query_scalar("SELECT pid FROM pg_stat_activity WHERE application_name = 'svc-ledger/read'")
            .fetch_all(root)
            .await
            .unwrap();
    let signal = |name: &str| {
        let pids = backends.iter().map(i32::to_string);
        assert!(Command::new("kill").arg(name).args(pids).status().unwrap().success());
    };
    signal("-STOP");
    let impatient = || tokio::time::timeout(Duration::from_millis(200), bank.balance(account));
    let silent = join_all((0..READERS).map(|_| impatient())).await;
    let back = eventually(async || impatient().await.is_ok()).await;
    signal("-CONT");
    assert!(silent.iter().any(Result::is_err), "the connections were in use");
    assert!(back, "connections that answer nothing are kept");
}

async fn a_changed_password_needs_no_restart(
    server: &Postgres,
    bank: &Bank,
    root: &mut PgConnection,
    accounts: [Uuid; 2],
) {
    server.change_password("another one").await;
    root.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ledger'")
        .await
        .unwrap();
    assert!(eventually(async || is_booked(&pay(bank, "new password", accounts).await)).await);
    let reads = async || bank.store.last_seq().await.is_ok();
    assert!(eventually(reads).await, "readers keep the old password");
}

/// The ledger's clock is a year ahead, as if nobody had made partitions for as long.
async fn a_month_without_a_partition_gets_one(bank: &Bank, root: &mut PgConnection, accounts: [Uuid; 2]) {
    root.execute("UPDATE ledger.head SET booked_at = booked_at + interval '1 year'").await.unwrap();
    let paid = pay(bank, "next year", accounts).await;
    assert!(is_booked(&paid), "{paid:?}");
    assert!(bank.health.is_ready());
}
