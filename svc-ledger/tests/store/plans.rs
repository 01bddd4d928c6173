//! The writer's statements look things up by key, one element of the batch after the other, also with plans that were made when
//! the tables were empty and known to be. A plan that goes through a table instead reads all of it in each batch.

use sqlx::{Executor as _, PgConnection};
use svc_ledger::domain::command::Resolution;

use crate::bank::{Bank, booked, customer, direct, hold};
use crate::postgres::Postgres;

/// One by one, so that each is a batch and goes through whatever its statements go through.
const TRANSFERS: i64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_made_on_empty_tables_still_look_up_by_key() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let mut root = server.superuser("ledger").await;
    // Nothing is left to the autovacuum's chance: it would have the plans made anew.
    root.execute("ALTER SYSTEM SET autovacuum = off").await.unwrap();
    root.execute("SELECT pg_reload_conf()").await.unwrap();
    root.execute("VACUUM ANALYZE").await.unwrap();
    let (from, to) = (bank.open("alice", -1_000_000).await, bank.open("bob", 0).await);
    for number in 0..TRANSFERS {
        let sent = direct(from, to, 1);
        bank.transfer(customer("alice"), &format!("direct-{number}"), &sent).await.unwrap();
        let held =
            bank.transfer(customer("alice"), &format!("hold-{number}"), &hold(from, to, 1)).await.unwrap();
        bank.resolve(customer("alice"), &format!("post-{number}"), booked(held).id, Resolution::POST_ALL)
            .await
            .unwrap();
        if number < 50 {
            bank.open("alice", 0).await;
        }
    }
    bank.stop().await;
    // Each of some 650 batches may find what it names, and a handful more: of accounts two, by number; of holds one, thrice. By id an
    // account is looked for once and its parties once, and then remembered.
    for (index, most) in
        [("outcome_pkey", 0), ("account_pkey", 8), ("account_id_key", 0), ("hold_pkey", 4), ("party_pkey", 0)]
    {
        let batches = 3 * TRANSFERS + 52;
        let read = tuples_read(&mut root, index).await;
        assert!(read <= batches * most + 100, "{read} tuples of {index} in {batches} batches");
    }
    assert!(tuples_read(&mut root, "party_by_customer").await < 100, "all parties are read in each batch");
}

/// How many entries of an index have been read.
async fn tuples_read(root: &mut PgConnection, index: &str) -> i64 {
    sqlx::query_scalar(
        "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE schemaname = 'ledger' AND indexrelname = $1",
    )
    .bind(index)
    .fetch_one(root)
    .await
    .unwrap()
}
