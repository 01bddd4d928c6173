//! Reads of the journal by place: balances at a version, totals now and then, rows behind a row.

use svc_ledger::domain::journal::Kind;
use svc_ledger::error::Error;
use svc_ledger::store::read::Viewer;

use crate::bank::{Bank, check_invariants, customer, direct, eventually, named};
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_reads_as_it_was_by_version_by_time_and_by_row() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let (ann, ben) = (bank.open("ann", 0).await, bank.open("ben", 0).await);
    bank.fund(ann, 100).await;
    let before = bank.store.balance(&Viewer::Staff, &named(ann)).await.unwrap();
    let totals = bank.store.totals(None).await.unwrap();
    // Nothing more is booked in that millisecond.
    let later = async || chrono::Utc::now().timestamp_millis() > totals.booked_at;
    assert!(eventually(later).await);
    for number in 0..5 {
        bank.transfer(customer("ann"), &format!("pay {number}"), &direct(ann, ben, 10)).await.unwrap();
    }
    let account = named(ann);
    let at = |version| bank.store.balance_at_version(&Viewer::Staff, &account, version);
    let then = async |viewer: &Viewer, version| {
        bank.store
            .balance_at_version(viewer, &named(ann), version)
            .await
            .map(|balance| (balance.posted, balance.seq))
    };
    assert_eq!(at(before.version).await.unwrap().posted, 100);
    for step in 1..=5 {
        assert_eq!(at(before.version + step).await.unwrap().posted, 100 - 10 * step);
    }
    assert!(matches!(at(before.version + 6).await, Err(Error::NoVersion)));
    assert!(matches!(then(&Viewer::Customer("ben".to_owned()), 1).await, Err(Error::NotPermitted)));

    let now = bank.store.totals(None).await.unwrap();
    assert!(
        now.seq > totals.seq
            && now.balance.hash() == bank.store.totals(Some(i64::MAX / 2)).await.unwrap().balance.hash()
    );
    // Of the time when the money had come and nothing had been paid.
    let past = bank.store.totals(Some(totals.booked_at)).await.unwrap();
    assert_eq!((past.seq, past.booked_at, &past.balance), (totals.seq, totals.booked_at, &totals.balance));
    let never = bank.store.totals(Some(0)).await.unwrap();
    assert_eq!((never.seq, never.balance.lines().count()), (0, 0));

    let mut id = bank.store.id_behind(totals.seq).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let rows = bank.store.rows_behind(id, 2).await.unwrap();
        let Some(last) = rows.last() else { break };
        id = last.row.id;
        seen.extend(rows.iter().map(|watched| (watched.row.seq, watched.row.kind)));
    }
    let expect: Vec<(i64, Kind)> = (totals.seq + 1..=now.seq).map(|seq| (seq, Kind::Transfer)).collect();
    assert_eq!(seen, expect, "every row behind a place, once and in order");
    check_invariants(&bank, &mut server.superuser("ledger").await).await;
    bank.stop().await;
}
