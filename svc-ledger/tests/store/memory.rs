//! What a replica remembers of accounts is of use only as long as nobody else has written, and what a part of a batch has left only if
//! all of it is committed.

use futures::future::join_all;
use sqlx::Executor as _;
use svc_ledger::domain::account::State;
use svc_ledger::domain::command::{Action, Actor, SetLimits, SetState};
use svc_ledger::domain::request::Scope;
use svc_ledger::domain::verdict::{Refusal, Verdict};
use svc_ledger::error::Error;
use uuid::Uuid;

use crate::bank::{Bank, Move, booked, check_invariants, customer, direct, staff};
use crate::head::{break_journal, mend_journal, take_head};
use crate::postgres::Postgres;
use crate::units::writer_waits;

/// The account service, whose word on states and limits is taken.
fn accounts() -> Actor {
    Actor { scope: Scope::of("service:svc-accounts"), ..staff("svc-accounts") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_replica_has_changed_is_not_remembered_otherwise() {
    let server = Postgres::start().await;
    let (one, other) = (Bank::on(&server).await, Bank::on(&server).await);
    let mut root = server.superuser("ledger").await;
    let (from, to) = (one.open("paul", 0).await, one.open("rita", 0).await);
    one.fund(from, 1_000).await;
    let mut keys = (1..).map(|number| format!("key {number}"));
    let mut pay = async |bank: &Bank, who: &str, from: Uuid, to: Uuid, amount: i64| {
        bank.transfer(customer(who), &keys.next().unwrap(), &direct(from, to, amount)).await.unwrap()
    };
    let refused = |verdict: Verdict, wanted: Refusal| assert_eq!(verdict, Verdict::Refused(wanted));

    // Money: what one has paid is gone for the other, and what it got is there.
    booked(pay(&one, "paul", from, to, 600).await);
    refused(pay(&other, "paul", from, to, 600).await, Refusal::InsufficientFunds);
    booked(pay(&other, "rita", to, from, 600).await);
    booked(pay(&one, "paul", from, to, 1_000).await);
    booked(pay(&one, "rita", to, from, 1_000).await);

    // A state.
    let state = |state, state_revision| Action::SetState(SetState { account: from, state, state_revision });
    assert!(matches!(other.submit(accounts(), state(State::Frozen, 2)).await.unwrap(), Verdict::Set(_)));
    refused(pay(&one, "paul", from, to, 1).await, Refusal::DebitNotOpen);
    assert!(matches!(one.submit(accounts(), state(State::Open, 3)).await.unwrap(), Verdict::Set(_)));
    booked(pay(&other, "paul", from, to, 1).await);

    // A limit.
    let limits = SetLimits { account: from, floor: -500, ceiling: None, state_revision: 4 };
    refused(pay(&one, "paul", from, to, 1_499).await, Refusal::InsufficientFunds);
    assert!(matches!(other.submit(accounts(), Action::SetLimits(limits)).await.unwrap(), Verdict::Set(_)));
    booked(pay(&one, "paul", from, to, 1_499).await);

    // An account that was not there, and who owns it.
    let new = other.open("olga", 0).await;
    booked(pay(&one, "rita", to, new, 10).await);
    refused(pay(&one, "paul", new, to, 10).await, Refusal::NotPermitted);
    booked(pay(&one, "olga", new, to, 10).await);

    check_invariants(&one, &mut root).await;
    one.stop().await;
    other.stop().await;
}

/// A batch that fails has changed accounts in the memory only, and must not be remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_committed_is_not_remembered() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let mut root = server.superuser("ledger").await;
    let (from, to) = (bank.open("paul", 0).await, bank.open("rita", 0).await);
    bank.fund(from, 100).await;
    booked(bank.transfer(customer("paul"), "first", &direct(from, to, 40)).await.unwrap());
    break_journal(&mut root, "RAISE EXCEPTION 'broken';").await;
    bank.transfer(customer("paul"), "broken", &direct(from, to, 60)).await.unwrap_err();
    mend_journal(&mut root).await;
    booked(bank.transfer(customer("paul"), "second", &direct(from, to, 60)).await.unwrap());
    assert_eq!(bank.balance(from).await, (0, 0));
    check_invariants(&bank, &mut root).await;
    bank.stop().await;
}

/// Far more than one part.
const LARGE: usize = 1_500;

/// A batch that is judged and written in several parts is one transaction: later parts see what earlier ones did, and all of it is there
/// or nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_is_written_in_parts_and_committed_at_once() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let mut root = server.superuser("ledger").await;
    let (from, to) = (bank.open("paul", 0).await, bank.open("rita", 0).await);
    bank.fund(from, 10_000).await;

    // In the last part one comes again that the first has made, and one asks for too much.
    let verdicts = at_once(&server, &bank, |number| match number {
        1_400 => ("large 10".to_owned(), direct(from, to, 1)),
        1_450 => ("too much".to_owned(), direct(from, to, 10_000)),
        _ => (format!("large {number}"), direct(from, to, 1)),
    })
    .await;
    let (again, refused) = (verdicts[1_400].as_ref().unwrap(), verdicts[1_450].as_ref().unwrap());
    assert_eq!(*again, Verdict::Recorded(booked(verdicts[10].as_ref().unwrap().clone()).id));
    assert_eq!(*refused, Verdict::Refused(Refusal::InsufficientFunds));
    let made = |verdicts: &[Result<Verdict, _>]| {
        verdicts.iter().filter(|verdict| matches!(verdict, Ok(Verdict::Booked(_)))).count()
    };
    assert_eq!(made(&verdicts), LARGE - 2);
    let parts: i64 =
        sqlx::query_scalar("SELECT max(n) FROM (SELECT count(*) n FROM ledger.batch GROUP BY xmin::text) x")
            .fetch_one(&mut root)
            .await
            .unwrap();
    assert_eq!(parts, 3, "links of the chain in one transaction");
    check_invariants(&bank, &mut root).await;

    // What the server refuses in the last part takes the first along, and is tried apart from then on.
    break_journal(&mut root, "IF NEW.amount = 7 THEN RAISE EXCEPTION 'broken'; END IF;").await;
    let verdicts = at_once(&server, &bank, |number| {
        (format!("again {number}"), direct(from, to, if number == 1_400 { 7 } else { 1 }))
    })
    .await;
    mend_journal(&mut root).await;
    assert!(verdicts[1_400].is_err(), "{:?}", verdicts[1_400]);
    assert_eq!(made(&verdicts), LARGE - 1);
    check_invariants(&bank, &mut root).await;
    // Either time one more has led to the head.
    assert_eq!(bank.balance(from).await.0, 10_000 - (LARGE as i64 - 2) - (LARGE as i64 - 1) - 2);
    bank.stop().await;
}

/// Makes many transfers that are one batch: they gather behind one that waits for the head.
async fn at_once(
    server: &Postgres,
    bank: &Bank,
    wanted: impl Fn(usize) -> (String, Move),
) -> Vec<Result<Verdict, Error>> {
    let (mut replica, mut root) = (server.superuser("ledger").await, server.superuser("ledger").await);
    take_head(&mut replica).await;
    let (_, transfer) = wanted(0);
    let key = Uuid::new_v4().to_string();
    let first = bank.transfer(customer("paul"), &key, &transfer);
    let rest = async {
        writer_waits(&mut root).await;
        let rest = (0..LARGE).map(|number| {
            let (key, transfer) = wanted(number);
            async move { bank.transfer(customer("paul"), &key, &transfer).await }
        });
        let release = async { replica.execute("ROLLBACK").await.unwrap() };
        // All of them wait by the time the head is free: a future is begun when it is first polled, and these come first.
        tokio::join!(join_all(rest), release).0
    };
    let (first, rest) = tokio::join!(first, rest);
    booked(first.unwrap());
    rest
}
