//! What the ledger promises while nothing breaks, on one server.

use std::collections::HashSet;

use futures::future::join_all;
use sqlx::Executor as _;
use svc_ledger::domain::command::Resolution;
use svc_ledger::domain::verdict::{Refusal, Transfer, TransferState, Verdict};
use svc_ledger::store::read::{Viewer, Window};
use uuid::Uuid;

use crate::bank::{
    Bank, booked, check_invariants, customer, direct, eur, eventually, hold, named, open_action, settlement,
    staff,
};
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_keeps_its_promises() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    assert!(eventually(async || bank.health.is_ready()).await);
    let mut root = server.superuser("ledger").await;

    accounts_are_their_own_keys(&bank).await;
    concurrent_transfers_keep_the_sum_and_the_floors(&bank).await;
    two_replicas_write_one_journal(&server, &bank).await;
    one_key_has_one_outcome(&bank).await;
    refusals_are_frozen(&bank).await;
    house_money_needs_four_eyes(&bank).await;
    readers_see_what_is_theirs(&bank).await;
    pages_and_past_balances_agree(&bank).await;
    check_invariants(&bank, &mut root).await;
    history_cannot_be_changed(&server, &bank).await;

    // A second start finds everything in its place, the bank's own accounts included.
    bank.stop().await;
    let again = Bank::on(&server).await;
    check_invariants(&again, &mut root).await;
    tampering_is_noticed(&server, &again).await;
    again.stop().await;
}

async fn accounts_are_their_own_keys(bank: &Bank) {
    let id = bank.open("dora", -500).await;
    let same = bank.submit(customer("dora"), open_action(id, "dora", -500)).await.unwrap();
    assert!(matches!(same, Verdict::Opened(account) if account.version == 1 && account.floor == Some(-500)));
    for (owner, floor, field) in [("emil", -500, "customer_ids"), ("dora", 0, "min_available_minor_units")] {
        let other = bank.submit(customer("dora"), open_action(id, owner, floor)).await.unwrap();
        assert_eq!(other, Verdict::AccountExists(vec![field]));
    }
    // An overdraft limit is a floor below zero.
    let other = bank.open("emil", 0).await;
    booked(bank.transfer(customer("dora"), "overdraft", &direct(id, other, 500)).await.unwrap());
    let refused = bank.transfer(customer("dora"), "too far", &direct(id, other, 1)).await.unwrap();
    assert_eq!(refused, Verdict::Refused(Refusal::InsufficientFunds));
}

async fn concurrent_transfers_keep_the_sum_and_the_floors(bank: &Bank) {
    let mut accounts = Vec::new();
    for _ in 0..10 {
        let account = bank.open("carl", 0).await;
        bank.fund(account, 1_000).await;
        accounts.push(account);
    }
    let tasks = (0..64_usize).map(|worker| {
        let accounts = &accounts;
        async move {
            let mut accepted = 0;
            for round in 0..25_usize {
                let from = (worker * 7 + round) % 10;
                let to = (from + 1 + (worker + round) % 9) % 10;
                let amount = i64::try_from((worker * 31 + round * 17) % 400 + 1).unwrap();
                let key = format!("{worker}/{round}");
                let transfer = direct(accounts[from], accounts[to], amount);
                match bank.transfer(customer("carl"), &key, &transfer).await.unwrap() {
                    Verdict::Booked(transfer) => {
                        accepted += usize::from(transfer.state == TransferState::Posted)
                    }
                    verdict => assert_eq!(verdict, Verdict::Refused(Refusal::InsufficientFunds)),
                }
            }
            accepted
        }
    });
    let accepted: usize = join_all(tasks).await.into_iter().sum();
    assert!((100..1_600).contains(&accepted), "floors must have bitten, and not always: {accepted}");
    let mut sum = 0;
    for account in accounts {
        let (posted, available) = bank.balance(account).await;
        assert!(available >= 0);
        sum += posted;
    }
    assert_eq!(sum, 10_000);
}

async fn two_replicas_write_one_journal(server: &Postgres, bank: &Bank) {
    let other = Bank::on(server).await;
    let (from, to) = (bank.open("rosa", 0).await, other.open("sven", 0).await);
    bank.fund(from, 100).await;
    // The same keys through both: whoever comes second finds the first one's outcome.
    let verdicts = join_all((0..200).map(|number| {
        let (store, key) = (if number % 2 == 0 { bank } else { &other }, format!("replica {}", number / 2));
        async move { store.transfer(customer("rosa"), &key, &direct(from, to, 1)).await.unwrap() }
    }))
    .await;
    let moved = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Booked(_))).count();
    let found = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Recorded(_))).count();
    assert_eq!((moved, found), (100, 100));
    assert_eq!((bank.balance(from).await, other.balance(to).await), ((0, 0), (100, 100)));
    other.stop().await;
}

async fn one_key_has_one_outcome(bank: &Bank) {
    let (from, to) = (bank.open("fred", 0).await, bank.open("gina", 0).await);
    bank.fund(from, 1_000).await;
    let transfer = direct(from, to, 100);
    let verdicts = join_all((0..50).map(|_| bank.transfer(customer("fred"), "same", &transfer))).await;
    let mut ids = HashSet::new();
    let mut first = 0;
    for verdict in verdicts {
        match verdict.unwrap() {
            Verdict::Booked(transfer) => {
                first += 1;
                ids.insert(transfer.id);
            }
            Verdict::Recorded(row) => _ = ids.insert(bank.store.transfer_of_row(row).await.unwrap().id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((first, ids.len()), (1, 1));
    assert_eq!(bank.balance(from).await, (900, 900));
    // Another body is refused, naming the field; another caller's key is another key.
    let other = bank.transfer(customer("fred"), "same", &direct(from, to, 101)).await.unwrap();
    assert_eq!(other, Verdict::BodyChanged(vec!["amount"]));
    let held = bank.transfer(customer("fred"), "same", &hold(from, to, 100)).await.unwrap();
    assert_eq!(held, Verdict::BodyChanged(vec!["pending"]));
    let void = bank.resolve(customer("fred"), "same", Uuid::nil(), Resolution::Void).await.unwrap();
    assert_eq!(void, Verdict::BodyChanged(vec!["request_id"]));
    booked(bank.transfer(staff("anna"), "same", &transfer).await.unwrap());
}

async fn refusals_are_frozen(bank: &Bank) {
    let (poor, to) = (bank.open("hugo", 0).await, bank.open("ines", 0).await);
    let transfer = direct(poor, to, 10);
    let refused = Verdict::Refused(Refusal::InsufficientFunds);
    assert_eq!(bank.transfer(customer("hugo"), "frozen", &transfer).await.unwrap(), refused);
    bank.fund(poor, 100).await;
    assert_eq!(bank.transfer(customer("hugo"), "frozen", &transfer).await.unwrap(), refused);
    booked(bank.transfer(customer("hugo"), "thawed", &transfer).await.unwrap());
    let foreign = bank.transfer(customer("ines"), "thief", &transfer).await.unwrap();
    assert_eq!(foreign, Verdict::Refused(Refusal::NotPermitted));
    let nowhere = bank.transfer(customer("ines"), "nowhere", &direct(Uuid::new_v4(), to, 1)).await.unwrap();
    assert_eq!(nowhere, Verdict::Refused(Refusal::NotPermitted));
    let nowhere = bank.transfer(staff("anna"), "nowhere", &direct(Uuid::new_v4(), to, 1)).await.unwrap();
    assert_eq!(nowhere, Verdict::Refused(Refusal::NoDebitAccount));
}

async fn house_money_needs_four_eyes(bank: &Bank) {
    let account = bank.open("jana", 0).await;
    let at_once = bank.transfer(staff("anna"), "alone", &direct(settlement(), account, 5)).await.unwrap();
    assert_eq!(at_once, Verdict::Refused(Refusal::FourEyes));
    let held = booked(bank.transfer(staff("anna"), "held", &hold(settlement(), account, 5)).await.unwrap());
    assert_eq!(held.state, TransferState::Pending);
    assert_eq!(bank.balance(account).await, (0, 0));
    let alone = bank.resolve(staff("anna"), "post", held.id, Resolution::POST_ALL).await.unwrap();
    assert_eq!(alone, Verdict::Refused(Refusal::FourEyes));
    let stranger = bank.resolve(customer("jana"), "post", held.id, Resolution::POST_ALL).await.unwrap();
    assert_eq!(stranger, Verdict::Refused(Refusal::NotPermitted));
    let posted = bank.resolve(staff("bert"), "post", held.id, Resolution::POST_ALL).await.unwrap();
    let Verdict::Recorded(row) = posted else { panic!("{posted:?}") };
    let posted = bank.store.transfer_of_row(row).await.unwrap();
    assert_eq!((posted.id, posted.state), (held.id, TransferState::Posted));
    assert!(posted.seq > held.seq);
    assert_eq!(bank.store.transfer(&Viewer::Staff, held.id).await.unwrap(), posted);
    // The hold's own answer stays what it was.
    let again = bank.transfer(staff("anna"), "held", &hold(settlement(), account, 5)).await.unwrap();
    let Verdict::Recorded(row) = again else { panic!("{again:?}") };
    assert_eq!(bank.store.transfer_of_row(row).await.unwrap(), held);
    let twice = bank.resolve(staff("bert"), "twice", held.id, Resolution::Void).await.unwrap();
    assert_eq!(twice, Verdict::Refused(Refusal::NotPending));
    // A customer's own hold binds the money and gives it back.
    let own = booked(bank.transfer(customer("jana"), "own", &hold(account, settlement(), 4)).await.unwrap());
    assert_eq!(bank.balance(account).await, (5, 1));
    bank.resolve(customer("jana"), "void", own.id, Resolution::Void).await.unwrap();
    assert_eq!(bank.balance(account).await, (5, 5));
}

async fn readers_see_what_is_theirs(bank: &Bank) {
    let (kurt, lena) = (bank.open("kurt", 0).await, bank.open("lena", 0).await);
    bank.fund(kurt, 100).await;
    let mut rent = direct(kurt, lena, 60);
    rent.reference = "rent";
    let transfer = booked(bank.transfer(customer("kurt"), "rent", &rent).await.unwrap());
    assert_eq!(transfer.reference, "rent");
    let of = |name: &str| Viewer::Customer(name.to_owned());
    for viewer in [of("kurt"), Viewer::Staff] {
        assert_eq!(bank.store.transfer(&viewer, transfer.id).await.unwrap(), transfer);
    }
    // Who is paid sees the transfer, but not the account it came from, unless that is the bank's own.
    let paid = Transfer { debit: None, ..transfer.clone() };
    assert_eq!(bank.store.transfer(&of("lena"), transfer.id).await.unwrap(), paid);
    assert_eq!(bank.store.transfers(&of("lena"), None, None, 10).await.unwrap(), [paid]);
    let seen = bank.store.transfers(&of("kurt"), Some(&named(kurt)), None, 10).await.unwrap();
    assert_eq!(
        seen.iter().map(|seen| seen.debit.map(|party| party.id)).collect::<Vec<_>>(),
        [Some(kurt), Some(settlement())]
    );
    for viewer in [of("mona"), Viewer::Nobody] {
        for id in [transfer.id, Uuid::now_v7()] {
            let error = bank.store.transfer(&viewer, id).await.unwrap_err();
            assert!(matches!(error, svc_ledger::error::Error::NotPermitted), "{error:?}");
        }
        let error = bank.store.balance(&viewer, &named(kurt)).await.unwrap_err();
        assert!(matches!(error, svc_ledger::error::Error::NotPermitted), "{error:?}");
    }
    let window = Window { from: None, until: None, after: None, limit: 10 };
    let (_, entries) = bank.store.entries(&of("lena"), &named(lena), window).await.unwrap();
    assert_eq!((entries.len(), entries[0].amount, entries[0].reference.as_str()), (1, 60, "rent"));
    assert_eq!(entries[0].counterparty, None, "another customer's account id is nobody's business");
    let (_, entries) = bank.store.entries(&of("kurt"), &named(kurt), window).await.unwrap();
    assert_eq!(entries[0].counterparty.map(|party| party.id), Some(settlement()));
    assert_eq!((entries[1].amount, entries[1].balance_after), (-60, 40));
    let (_, entries) = bank.store.entries(&Viewer::Staff, &named(lena), window).await.unwrap();
    assert_eq!(entries[0].counterparty.map(|party| party.id), Some(kurt));
}

async fn pages_and_past_balances_agree(bank: &Bank) {
    let (nora, olaf) = (bank.open("nora", 0).await, bank.open("olaf", 0).await);
    bank.fund(nora, 1_000).await;
    for amount in 1..=20 {
        let key = format!("page {amount}");
        booked(bank.transfer(customer("nora"), &key, &direct(nora, olaf, amount)).await.unwrap());
    }
    let viewer = Viewer::Customer("nora".to_owned());
    let mut window = Window { from: None, until: None, after: None, limit: 6 };
    let mut all = Vec::new();
    loop {
        let (heading, page) = bank.store.entries(&viewer, &named(nora), window).await.unwrap();
        assert_eq!(heading.currency, eur());
        let Some(last) = page.last() else { break };
        window.after = Some(last.row);
        all.extend(page);
    }
    assert_eq!(all.len(), 21);
    let mut balance = 0;
    for entry in &all {
        balance += entry.amount;
        assert_eq!(entry.balance_after, balance);
        let newest = all.iter().rfind(|other| other.booked_at <= entry.booked_at).unwrap();
        let past = bank.store.balance_as_of(&viewer, &named(nora), entry.booked_at).await.unwrap();
        assert_eq!((past.posted, past.version, past.seq), (newest.balance_after, newest.version, newest.seq));
    }
    let before = bank.store.balance_as_of(&viewer, &named(nora), 0).await.unwrap();
    assert_eq!((before.posted, before.version), (0, 0));
    let now = bank.store.balance(&viewer, &named(nora)).await.unwrap();
    assert_eq!((now.posted, now.booked_at), (1_000 - 210, all.last().map(|entry| entry.booked_at)));
    let middle = all[10].booked_at;
    let (_, late) = bank
        .store
        .entries(&viewer, &named(nora), Window { from: Some(middle), after: None, limit: 99, ..window })
        .await
        .unwrap();
    let (_, early) = bank
        .store
        .entries(&viewer, &named(nora), Window { until: Some(middle), after: None, limit: 99, ..window })
        .await
        .unwrap();
    assert_eq!([early, late].concat(), all);

    let mut listed = Vec::new();
    while let Ok(page) = bank
        .store
        .transfers(
            &viewer,
            None,
            listed.last().map(|transfer: &svc_ledger::domain::verdict::Transfer| transfer.id),
            8,
        )
        .await
    {
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert_eq!(listed.len(), 21);
    assert!(listed.windows(2).all(|pair| pair[0].id > pair[1].id), "newest first");
}

async fn history_cannot_be_changed(server: &Postgres, bank: &Bank) {
    let mut service = server.connect("ledger", "ledger").await;
    let mut owner = server.connect("ledger_owner", "ledger").await;
    for statement in [
        "UPDATE ledger.journal SET amount = 1",
        "DELETE FROM ledger.journal",
        "UPDATE ledger.outcome SET verdict = 1",
        "DELETE FROM ledger.batch",
        "TRUNCATE ledger.journal",
        "TRUNCATE ledger.outcome",
        "DELETE FROM ledger.account",
    ] {
        let refused = service.execute(statement).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{statement}");
        if !statement.contains("account") {
            assert!(
                owner.execute(statement).await.unwrap_err().to_string().contains("append-only"),
                "{statement}"
            );
        }
    }
    assert!(bank.store.verify_chain(Some(1)).await.unwrap() > 0);
}

async fn tampering_is_noticed(server: &Postgres, bank: &Bank) {
    let mut root = server.superuser("ledger").await;
    root.execute("SET session_replication_role = replica").await.unwrap();
    root.execute("UPDATE ledger.journal SET amount = amount + 1 WHERE seq = (SELECT max(seq) FROM ledger.journal WHERE kind = 6)")
        .await
        .unwrap();
    let error = bank.store.verify_chain(Some(1)).await.unwrap_err().to_string();
    assert!(error.contains("not those that were hashed"), "{error}");
}
