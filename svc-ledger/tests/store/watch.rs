//! Streams of entries and of rows: complete and in order whoever writes meanwhile, resumable, bounded, and over when the right to
//! read is, or the process.

use std::time::Duration;

use chassis::drain::Drain;
use futures::StreamExt as _;
use proto::ledger::v1 as pb;
use proto::ledger::v1::journal_service_server::JournalService as _;
use proto::ledger::v1::ledger_service_server::LedgerService as _;
use svc_ledger::config;
use svc_ledger::domain::grant::{Scope, Scopes, Terms};
use svc_ledger::rpc::Rpc;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use crate::bank::{Bank, check_invariants, consent, customer, direct, eur};
use crate::contract::{as_caller, expected, refusal};
use crate::postgres::Postgres;

/// Payments of each writer, of which each replica has two.
const PAYMENTS: usize = 60;
const WRITERS: usize = 4;
/// Longer than anything here takes.
const LONGEST: Duration = Duration::from_secs(30);

fn rpc(bank: &Bank, watchers_max: usize) -> Rpc {
    Rpc::new(bank.store.clone(), vec![eur()]).of_bank(config::Ledger { watchers_max, ..Default::default() })
}

fn watch(account: Uuid, after_seq: i64) -> pb::WatchEntriesRequest {
    pb::WatchEntriesRequest { account_id: account.to_string(), after_seq }
}

/// The next message, which must come in time.
async fn next<T>(stream: &mut (impl futures::Stream<Item = Result<T, Status>> + Unpin)) -> Result<T, Status> {
    tokio::time::timeout(LONGEST, stream.next()).await.expect("a message in time").expect("no end")
}

/// Entries behind a place until there are so many; none may come twice or out of order, and no promise be broken.
async fn entries(rpc: &Rpc, account: Uuid, after_seq: i64, count: usize, slow: bool) -> Vec<i64> {
    let mut stream =
        rpc.watch_entries(as_caller("ann", watch(account, after_seq))).await.unwrap().into_inner();
    let (mut seen, mut promised) = (Vec::new(), after_seq);
    while seen.len() < count {
        let message = next(&mut stream).await.unwrap();
        if let Some(entry) = message.entry {
            assert_eq!(entry.seq, message.seq);
            assert!(
                entry.seq > promised,
                "everything up to {promised} had been sent, and now comes {}",
                entry.seq
            );
            seen.push(entry.seq);
        }
        promised = promised.max(message.seq);
        if slow {
            tokio::task::yield_now().await;
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_miss_nothing_that_two_replicas_write() {
    let server = Postgres::start().await;
    let (one, two) = (Bank::on(&server).await, Bank::on(&server).await);
    let (ann, ben) = (one.open("ann", -10_000).await, one.open("ben", 0).await);
    let reading = rpc(&one, 10);
    let count = PAYMENTS * WRITERS;
    let write = |number: usize| {
        let bank = if number.is_multiple_of(2) { &one } else { &two };
        async move {
            for payment in 0..PAYMENTS {
                let key = format!("{number}/{payment}");
                bank.transfer(customer("ann"), &key, &direct(ann, ben, 1)).await.unwrap();
            }
        }
    };
    let writing = futures::future::join_all((0..WRITERS).map(write));
    let (seen, slow, _) = tokio::join!(
        entries(&reading, ann, 0, count, false),
        entries(&reading, ann, 0, count, true),
        writing
    );
    let mut root = server.superuser("ledger").await;
    let stored: Vec<i64> = sqlx::query_scalar("SELECT seq FROM ledger.journal WHERE kind = 6 ORDER BY seq")
        .fetch_all(&mut root)
        .await
        .unwrap();
    assert_eq!((&seen, &slow), (&stored, &stored), "every entry once, in order");
    // From every tenth on, as a client that lost its stream there.
    for place in (0..count).step_by(count / 10) {
        assert_eq!(
            entries(&reading, ann, stored[place], count - place - 1, false).await,
            stored[place + 1..]
        );
    }
    every_row_is_watched(&reading, *stored.last().unwrap()).await;
    check_invariants(&one, &mut root).await;
    one.stop().await;
    two.stop().await;
}

async fn every_row_is_watched(rpc: &Rpc, last: i64) {
    let request = || pb::WatchJournalRequest { after_seq: 0 };
    let refused = rpc.watch_journal(as_caller("anna", request())).await.map(|_| Response::new(()));
    assert_eq!(refusal(refused), expected(Code::PermissionDenied, "NOT_PERMITTED"));
    let mut stream = rpc.watch_journal(as_caller("svc-docs", request())).await.unwrap().into_inner();
    for seq in 1..=last {
        let message = next(&mut stream).await.unwrap();
        assert_eq!(message.row.map(|row| row.seq), Some(seq));
    }
    let idle = next(&mut stream).await.unwrap();
    assert_eq!((idle.row, idle.seq), (None, last), "it says how far it is when there is nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_are_bounded_and_end_with_the_right_and_with_the_process() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let (ann, ben) = (bank.open("ann", -100).await, bank.open("ben", 0).await);
    bank.transfer(customer("ann"), "pay", &direct(ann, ben, 1)).await.unwrap();
    let rpc = rpc(&bank, 2);
    let asked = async |who: &str, request| {
        rpc.watch_entries(as_caller(who, request)).await.map(|_| Response::new(()))
    };
    for who in ["ben", "psp/ann", "psp/"] {
        let refused = refusal(asked(who, watch(ann, 0)).await);
        assert_eq!(refused, expected(Code::PermissionDenied, "NOT_PERMITTED"), "{who}");
    }
    for after_seq in [-1, 1_000_000] {
        let refused = refusal(asked("ann", watch(ann, after_seq)).await);
        assert_eq!(refused, expected(Code::InvalidArgument, "INVALID_REQUEST"), "{after_seq}");
    }

    let terms = consent("psp", &[Scope::ReadEntries]);
    bank.grant(ann, &terms).await;
    let open = async |who: &str| rpc.watch_entries(as_caller(who, watch(ann, 0))).await.unwrap().into_inner();
    let mut partner = open("psp/ann").await;
    let mut owner = open("ann").await;
    assert_eq!(
        refusal(asked("ann", watch(ann, 0)).await),
        expected(Code::ResourceExhausted, "TOO_MANY_WATCHERS")
    );
    for stream in [&mut partner, &mut owner] {
        let first = next(stream).await.unwrap();
        assert_eq!(first.entry.map(|entry| entry.amount.unwrap().minor_units), Some(-1));
    }
    // Nothing moves, and the stream ends all the same.
    bank.grant(ann, &Terms { scopes: Scopes::default(), revision: 2, ..terms }).await;
    let ended = loop {
        if let Err(status) = next(&mut partner).await {
            break refusal::<()>(Err(status));
        }
    };
    assert_eq!(ended, expected(Code::PermissionDenied, "NOT_PERMITTED"));
    drop(partner);
    let again = open("ann").await;
    drop(again);

    let drain: Drain = bank.drain.clone();
    drain.stop();
    let ended = loop {
        if let Err(status) = next(&mut owner).await {
            break refusal::<()>(Err(status));
        }
    };
    assert_eq!(ended, expected(Code::Unavailable, "WATCH_ENDED"));
    bank.stop().await;
}
