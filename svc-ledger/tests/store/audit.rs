//! The audit outbox on a real store: an event for each judged command, in the transaction of its effect, and none for what only
//! repeats an answer.

use sqlx::Executor as _;
use svc_ledger::domain::command::Resolution;
use svc_ledger::domain::grant::Scope;
use svc_ledger::domain::verdict::{Refusal, Verdict};
use svc_ledger::store::outbox::{Outbox, Stored};
use uuid::Uuid;

use crate::bank::{
    Bank, booked, check_invariants, consent, customer, direct, eventually, hold, open_action, partner,
};
use crate::postgres::Postgres;

/// What is in the box, without what was there before.
async fn new_events(outbox: &Outbox, seen: &mut Vec<Uuid>) -> Vec<(Option<String>, Option<String>)> {
    let all = outbox.pending(1_000).await.unwrap();
    assert!(all.windows(2).all(|pair| pair[0].id < pair[1].id), "oldest first, each once");
    let fresh: Vec<Stored> = all.into_iter().filter(|event| !seen.contains(&event.id)).collect();
    seen.extend(fresh.iter().map(|event| event.id));
    assert!(fresh.iter().all(|event| event.call == b"call"));
    fresh.into_iter().map(|event| (event.reason, event.resource)).collect()
}

fn done(resource: String) -> Vec<(Option<String>, Option<String>)> {
    vec![(None, Some(resource))]
}

fn refused(reason: &str, resource: Option<String>) -> Vec<(Option<String>, Option<String>)> {
    vec![(Some(reason.to_owned()), resource)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judged_command_leaves_one_event_and_its_repetition_none() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let outbox = Outbox::new(&server.config()).unwrap();
    let seen = &mut Vec::new();
    assert_eq!(new_events(&outbox, seen).await, [], "what the ledger does for itself is nobody's call");

    let (from, to) = (bank.open("anton", 0).await, bank.open("berta", 0).await);
    let both = new_events(&outbox, seen).await;
    assert_eq!(both, [(None, Some(format!("accounts/{from}"))), (None, Some(format!("accounts/{to}")))]);
    bank.submit(customer("anton"), open_action(from, "anton", 0)).await.unwrap();
    assert_eq!(new_events(&outbox, seen).await, []);
    bank.submit(customer("anton"), open_action(from, "anton", -1)).await.unwrap();
    assert_eq!(new_events(&outbox, seen).await, refused("ACCOUNT_EXISTS", Some(format!("accounts/{from}"))));
    bank.fund(from, 100).await;
    assert_eq!(new_events(&outbox, seen).await.len(), 2);

    // Done, done before, and known with another body.
    let move_it = |amount, key: &'static str| {
        let bank = &bank;
        async move { bank.transfer(customer("anton"), key, &direct(from, to, amount)).await.unwrap() }
    };
    let transfer = booked(move_it(10, "one").await);
    let all = outbox.pending(1_000).await.unwrap();
    assert!(all.iter().any(|event| event.id == transfer.id), "the event has the id of the row");
    assert_eq!(new_events(&outbox, seen).await, done(format!("transfers/{}", transfer.id)));
    assert_eq!(move_it(10, "one").await, Verdict::Recorded(transfer.id));
    assert_eq!(new_events(&outbox, seen).await, []);
    assert_eq!(move_it(11, "one").await, Verdict::BodyChanged(vec!["amount"]));
    let debited = Some(format!("accounts/{from}"));
    assert_eq!(new_events(&outbox, seen).await, refused("REQUEST_ID_REUSED", debited.clone()));

    // A frozen refusal, once.
    for _ in 0..2 {
        assert_eq!(move_it(1_000, "much").await, Verdict::Refused(Refusal::InsufficientFunds));
    }
    assert_eq!(new_events(&outbox, seen).await, refused("INSUFFICIENT_FUNDS", debited.clone()));
    let foreign = bank.transfer(customer("berta"), "theft", &direct(from, to, 1)).await.unwrap();
    assert_eq!(foreign, Verdict::Refused(Refusal::NotPermitted));
    assert_eq!(new_events(&outbox, seen).await, refused("NOT_PERMITTED", debited));
    bank.transfer(customer("berta"), "nowhere", &direct(Uuid::new_v4(), to, 1)).await.unwrap();
    assert_eq!(new_events(&outbox, seen).await, refused("NOT_PERMITTED", None));

    // Holds, and grants.
    let held = booked(bank.transfer(customer("anton"), "hold", &hold(from, to, 5)).await.unwrap());
    bank.resolve(customer("berta"), "theirs", held.id, Resolution::POST_ALL).await.unwrap();
    for _ in 0..2 {
        bank.resolve(customer("anton"), "void", held.id, Resolution::Void).await.unwrap();
    }
    let name = Some(format!("transfers/{}", held.id));
    let expect = [(None, name.clone()), (Some("NOT_PERMITTED".to_owned()), name.clone()), (None, name)];
    let mut events = new_events(&outbox, seen).await;
    events.sort_by_key(|(reason, _)| reason.is_some());
    assert_eq!(events, [expect[0].clone(), expect[2].clone(), expect[1].clone()]);
    let terms = consent("psp", &[Scope::CreateTransfers]);
    for _ in 0..2 {
        bank.grant(from, &terms).await;
    }
    assert_eq!(new_events(&outbox, seen).await, done(format!("accounts/{from}/consents/{}", terms.consent)));
    booked(bank.transfer(partner("psp", "anton"), "psp", &direct(from, to, 1)).await.unwrap());
    assert_eq!(new_events(&outbox, seen).await.len(), 1);

    a_batch_that_fails_leaves_no_event(&server, &bank, &outbox, seen, [from, to]).await;
    check_invariants(&bank, &mut server.superuser("ledger").await).await;
    what_is_shipped_is_removed_and_nothing_else(&server, &outbox).await;
    bank.stop().await;
}

/// Rows that the server refuses take their events with them.
async fn a_batch_that_fails_leaves_no_event(
    server: &Postgres,
    bank: &Bank,
    outbox: &Outbox,
    seen: &mut Vec<Uuid>,
    [from, to]: [Uuid; 2],
) {
    let mut root = server.superuser("ledger").await;
    root.execute("ALTER TABLE ledger.journal ADD CONSTRAINT trap CHECK (amount <> 13) NOT VALID")
        .await
        .unwrap();
    let trapped = bank.transfer(customer("anton"), "trap", &direct(from, to, 13)).await;
    assert!(trapped.is_err(), "{trapped:?}");
    assert_eq!(new_events(outbox, seen).await, []);
    root.execute("ALTER TABLE ledger.journal DROP CONSTRAINT trap").await.unwrap();
    booked(bank.transfer(customer("anton"), "trap", &direct(from, to, 13)).await.unwrap());
    assert_eq!(new_events(outbox, seen).await.len(), 1);
}

async fn what_is_shipped_is_removed_and_nothing_else(server: &Postgres, outbox: &Outbox) {
    let first = outbox.pending(3).await.unwrap();
    let ids: Vec<Uuid> = first.iter().map(|event| event.id).collect();
    let rest = outbox.pending(1_000).await.unwrap().len() - 3;
    outbox.remove(&ids).await.unwrap();
    // Another replica has shipped the same.
    outbox.remove(&ids).await.unwrap();
    let left = outbox.pending(1_000).await.unwrap();
    assert_eq!(left.len(), rest);
    assert!(left.iter().all(|event| !ids.contains(&event.id)));
    let mut service = server.connect("ledger", "ledger").await;
    let changed = service.execute("UPDATE ledger.audit_outbox SET reason = NULL").await.unwrap_err();
    assert_eq!(changed.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"));
    // The box outlives its connection.
    let mut root = server.superuser("ledger").await;
    root.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'svc-ledger/outbox'",
    )
    .await
    .unwrap();
    assert!(eventually(async || outbox.pending(1).await.is_ok()).await);
}
