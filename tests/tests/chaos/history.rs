//! What must hold of a history, whatever happened meanwhile: every acknowledged transfer is there once, asked again gives the same
//! answer, the journal's order is one in which each answer is right, and that order agrees with real time.

use std::collections::{BTreeMap, HashMap};

use e2e::World;
use sqlx::{Connection as _, PgConnection, Row as _};
use svc_ledger::store::verify;

use super::bank::{BEGINS_WITH, Bank, Fate, Operation, Wish};
use super::scene::Scene;

/// An account in the simplest of books.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    posted: i64,
    held: i64,
    version: i64,
}

/// An account as a row of the journal left it.
#[derive(Clone, Copy, Debug)]
struct Moment {
    seq: i64,
    posted: i64,
    available: i64,
    version: i64,
}

/// Checks everything, and answers how many operations there were.
pub async fn check(scene: &Scene, bank: &Bank) -> usize {
    let mut history = bank.history.lock().unwrap().clone();
    assert!(!history.is_empty(), "nothing was asked");
    asked_again_is_answered_the_same(bank, &history).await;
    in_real_time(&history);
    let moments = replay(&history, bank.accounts.len());
    reads_are_moments(&history, &moments);
    refusals_had_their_reason(&mut history, &moments);
    balances_are_the_last_moments(&scene.world, bank, &moments).await;
    journal_holds_each_once(scene, bank, &history).await;
    journal_verifies(scene).await;
    history.len()
}

/// One key, one outcome, for ever: a sample of them, and every one that an error was met for is in it by chance only.
async fn asked_again_is_answered_the_same(bank: &Bank, history: &[Operation]) {
    let writes = history.iter().filter(|operation| !matches!(operation.wish, Wish::Read { .. }));
    for operation in writes.step_by(1 + history.len() / 400) {
        assert_eq!(bank.ask_again(operation).await, operation.fate, "{operation:?}");
    }
}

/// Strictly serializable: what ended before something else began comes before it in the journal.
fn in_real_time(history: &[Operation]) {
    let seq = |operation: &Operation| match operation.fate {
        Fate::Done { seq, .. } => Some((seq, seq)),
        // A read includes all up to its seq, and must come behind what had ended before it.
        Fate::Held { seq, .. } => Some((seq + 1, seq)),
        Fate::Refused { .. } => None,
    };
    let mut by_start: Vec<(&Operation, (i64, i64))> =
        history.iter().filter_map(|operation| Some((operation, seq(operation)?))).collect();
    by_start.sort_by_key(|(operation, _)| operation.asked);
    let mut by_end = by_start.clone();
    by_end.sort_by_key(|(operation, _)| operation.answered);
    let mut ended = by_end.into_iter().peekable();
    let mut newest = 0;
    for (operation, (own, _)) in by_start {
        while let Some((_, (_, seq))) = ended.next_if(|(earlier, _)| earlier.answered < operation.asked) {
            newest = newest.max(seq);
        }
        assert!(own > newest, "the journal goes back in time behind {newest}: {operation:?}");
    }
}

/// Replays what was done in the journal's order; each account's moments, by its place.
fn replay(history: &[Operation], accounts: usize) -> Vec<Vec<Moment>> {
    let mut done: Vec<(i64, &str, &Wish)> = history
        .iter()
        .filter_map(|operation| match (&operation.fate, &operation.wish) {
            (Fate::Done { .. }, Wish::Read { .. }) => unreachable!("reads are not done"),
            (Fate::Done { transfer, seq }, wish) => Some((*seq, transfer.as_str(), wish)),
            (Fate::Refused { .. } | Fate::Held { .. }, _) => None,
        })
        .collect();
    done.sort_unstable_by_key(|(seq, ..)| *seq);
    assert!(
        done.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "two operations have one place in the journal"
    );
    // Opened, held and posted for: three versions, from which each begins.
    let mut books = vec![Account { posted: BEGINS_WITH, held: 0, version: 3 }; accounts];
    let mut moments: Vec<Vec<Moment>> = books
        .iter()
        .map(|book| vec![Moment { seq: 0, posted: book.posted, available: book.posted, version: 3 }])
        .collect();
    let mut holds: HashMap<&str, (usize, usize, i64)> = HashMap::new();
    for (seq, transfer, wish) in done {
        let (from, to, moved, held) = match wish {
            Wish::Transfer { from, to, amount, pending: false } => (*from, *to, *amount, 0),
            Wish::Transfer { from, to, amount, pending: true } => {
                assert_eq!(holds.insert(transfer, (*from, *to, *amount)), None);
                (*from, *to, 0, *amount)
            }
            Wish::Post { .. } => {
                let (from, to, amount) = holds.remove(transfer).expect("a hold is posted once");
                (from, to, amount, -amount)
            }
            Wish::Void { .. } => {
                let (from, to, amount) = holds.remove(transfer).expect("a hold is voided once");
                (from, to, 0, -amount)
            }
            Wish::Read { .. } => unreachable!(),
        };
        books[from].posted -= moved;
        books[from].held += held;
        books[to].posted += moved;
        for place in [from, to] {
            let book = &mut books[place];
            book.version += 1;
            let available = book.posted - book.held;
            assert!(available >= 0, "account {place} is below its floor at {seq}");
            moments[place].push(Moment { seq, posted: book.posted, available, version: book.version });
        }
    }
    moments
}

/// Every balance that was read is that of the account after exactly the rows up to the sequence number it came with.
fn reads_are_moments(history: &[Operation], moments: &[Vec<Moment>]) {
    for operation in history {
        let (Wish::Read { account }, Fate::Held { posted, available, version, seq }) =
            (&operation.wish, &operation.fate)
        else {
            continue;
        };
        let place = moments[*account].partition_point(|moment| moment.seq <= *seq) - 1;
        let moment = moments[*account][place];
        assert_eq!(
            (moment.posted, moment.available, moment.version),
            (*posted, *available, *version),
            "{operation:?}"
        );
    }
}

/// Whoever was refused for want of money was without it at some moment between question and answer.
fn refusals_had_their_reason(history: &mut [Operation], moments: &[Vec<Moment>]) {
    history.sort_by_key(|operation| operation.asked);
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in history.iter() {
        let (Wish::Transfer { from, amount, .. }, Fate::Refused { reason }) =
            (&operation.wish, &operation.fate)
        else {
            continue;
        };
        *reasons.entry(reason).or_default() += 1;
        assert_eq!(reason, "INSUFFICIENT_FUNDS", "{operation:?}");
        let seq = |other: &Operation| if let Fate::Done { seq, .. } = other.fate { Some(seq) } else { None };
        let earliest = history
            .iter()
            .filter(|other| other.answered < operation.asked)
            .filter_map(seq)
            .max()
            .unwrap_or(0);
        let latest = history
            .iter()
            .filter(|other| other.asked > operation.answered)
            .filter_map(seq)
            .min()
            .unwrap_or(i64::MAX);
        let own = &moments[*from];
        let first = own.partition_point(|moment| moment.seq <= earliest) - 1;
        let poor = own[first..]
            .iter()
            .take_while(|moment| moment.seq < latest)
            .any(|moment| moment.available < *amount);
        assert!(poor, "refused though the money was there all the time: {operation:?}");
    }
}

async fn balances_are_the_last_moments(world: &World, bank: &Bank, moments: &[Vec<Moment>]) {
    let mut sum = 0;
    for (account, moments) in bank.accounts.iter().zip(moments) {
        let posted = world.balance(&bank.customer.token, account).await;
        assert_eq!(posted, moments.last().unwrap().posted, "{account}");
        sum += posted;
    }
    assert_eq!(sum, BEGINS_WITH * bank.accounts.len() as i64, "money was made or lost");
}

/// The journal has a row for each operation that was done, and no other of these accounts.
async fn journal_holds_each_once(scene: &Scene, bank: &Bank, history: &[Operation]) {
    let mut connection = PgConnection::connect_with(&scene.database()).await.unwrap();
    let accounts: Vec<uuid::Uuid> = bank.accounts.iter().map(|account| account.parse().unwrap()).collect();
    let rows = sqlx::query(
        "SELECT coalesce(j.ref, j.id)::text AS transfer, j.seq FROM ledger.journal j \
         JOIN ledger.account a ON a.no = j.dr WHERE a.id = ANY ($1)",
    )
    .bind(&accounts)
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut found: Vec<(String, i64)> =
        rows.iter().map(|row| (row.get::<String, _>("transfer"), row.get::<i64, _>("seq"))).collect();
    let mut told: Vec<(String, i64)> = history
        .iter()
        .filter_map(|operation| match &operation.fate {
            Fate::Done { transfer, seq } => Some((transfer.clone(), *seq)),
            Fate::Refused { .. } | Fate::Held { .. } => None,
        })
        .collect();
    found.sort_unstable_by_key(|(_, seq)| *seq);
    told.sort_unstable_by_key(|(_, seq)| *seq);
    assert_eq!(found, told, "the journal and what clients were told differ");
}

/// The whole ledger replays by the judge's rules: numbers, hashes, versions, balances, sums, tables.
async fn journal_verifies(scene: &Scene) {
    let mut findings = Vec::new();
    let source = scene.database();
    let report = verify::verify(&source, verify::Evidence::NONE, |progress| {
        findings.extend(progress.findings);
        true
    });
    let report = report.await.unwrap().unwrap();
    assert_eq!((findings, report.found), (Vec::new(), 0));
}
