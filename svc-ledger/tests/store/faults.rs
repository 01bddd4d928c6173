//! What the ledger promises when its server fails under load: every acknowledged transfer is there, once, and the service comes
//! back by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;
use sqlx::Executor as _;
use svc_ledger::domain::verdict::Verdict;
use svc_ledger::error::Error;
use svc_ledger::store::read::Viewer;
use uuid::Uuid;

use crate::bank::{Bank, check_invariants, customer, direct, eventually};
use crate::postgres::Postgres;

const CLIENTS: usize = 24;

/// What clients were told, shared with the test that breaks things meanwhile.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
}

/// A client: moves one unit at a time between two accounts, retrying each transfer with its key until it is acknowledged.
/// Answers the acknowledged transfers by key.
async fn client(bank: &Bank, load: &Load, number: usize, accounts: [Uuid; 2]) -> Vec<(String, Uuid)> {
    let mut acknowledged = Vec::new();
    for round in 0.. {
        if load.stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{number}/{round}");
        let transfer = direct(accounts[round % 2], accounts[(round + 1) % 2], 1);
        loop {
            let id = match bank.transfer(customer("paul"), &key, &transfer).await {
                Ok(Verdict::Booked(transfer)) => transfer.id,
                Ok(Verdict::Recorded(row)) => row,
                Ok(other) => panic!("{other:?}"),
                Err(Error::NotDone | Error::OutcomeUnknown | Error::QueueFull) => {
                    // Lets others run; the store says by itself when it is back.
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    continue;
                }
                Err(error) => panic!("{error:?}"),
            };
            acknowledged.push((key, id));
            load.acknowledged.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    acknowledged
}

/// Waits until `more` further transfers have been acknowledged.
async fn progress(load: &Load, more: usize) {
    let goal = load.acknowledged.load(Ordering::Relaxed) + more;
    assert!(eventually(async || load.acknowledged.load(Ordering::Relaxed) >= goal).await, "no progress");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_server_lose_nothing_and_double_nothing() {
    let server = Postgres::start().await;
    let bank = Arc::new(Bank::on(&server).await);
    let accounts = [bank.open("paul", 0).await, bank.open("paul", 0).await];
    for account in accounts {
        bank.fund(account, 1_000).await;
    }
    let load = Arc::new(Load::default());
    let clients = join_all((0..CLIENTS).map(|number| client(&bank, &load, number, accounts)));
    let breaking = async {
        cut_connections(&server, &load).await;
        crash_the_server(&server, &load, &bank).await;
        load.stop.store(true, Ordering::Relaxed);
    };
    let (acknowledged, ()) = tokio::join!(clients, breaking);

    let mut root = server.superuser("ledger").await;
    check_invariants(&bank, &mut root).await;
    let acknowledged: Vec<(String, Uuid)> = acknowledged.into_iter().flatten().collect();
    for (key, id) in &acknowledged {
        bank.store
            .transfer(&Viewer::Staff, *id)
            .await
            .unwrap_or_else(|error| panic!("{key} is lost: {error:?}"));
    }
    let outcomes: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ledger.outcome WHERE request_id ~ '^[0-9]+/[0-9]+$'")
            .fetch_one(&mut root)
            .await
            .unwrap();
    let transfers: i64 = sqlx::query_scalar("SELECT count(*) FROM ledger.journal WHERE kind = 6")
        .fetch_one(&mut root)
        .await
        .unwrap();
    assert_eq!(
        (outcomes, transfers),
        (acknowledged.len() as i64, acknowledged.len() as i64),
        "each key moved money once"
    );
}

/// Ends the writer's connection in the middle of its work, again and again.
async fn cut_connections(server: &Postgres, load: &Load) {
    let mut root = server.superuser("postgres").await;
    for _ in 0..10 {
        progress(load, 50).await;
        root.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'svc-ledger/write' AND state <> 'idle'",
        )
        .await
        .unwrap();
    }
    progress(load, 50).await;
}

/// Stops the server without warning, twice, and starts it again.
async fn crash_the_server(server: &Postgres, load: &Load, bank: &Bank) {
    for _ in 0..2 {
        progress(load, 100).await;
        tokio::task::block_in_place(|| server.crash());
        assert!(eventually(async || !bank.health.is_ready()).await, "readiness does not follow the store");
        tokio::task::block_in_place(|| server.resume());
        progress(load, 100).await;
        assert!(bank.health.is_ready());
    }
}
