//! Units of several commands against a real server: judged whole, in one total order whoever else writes, one outcome a key, and never
//! split, whatever happens to the batch they are in.

use std::time::Duration;

use futures::future::join_all;
use sqlx::{Executor as _, PgConnection};
use svc_ledger::domain::account::{Amount, Purpose, house_account};
use svc_ledger::domain::command::{
    Action, AmountMode, Command, Condition, FailureMode, Open, Pending, Request, Resolution, Transfer, Unit,
};
use svc_ledger::domain::currency::Currency;
use svc_ledger::domain::exchange::Exchange;
use svc_ledger::domain::request::{BodyHash, Key, Operation};
use svc_ledger::domain::verdict::{Refusal, Verdict};
use svc_ledger::error::Error;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bank::{
    Bank, Move, booked, check_invariants, command, customer, direct, eur, eventually, keyed_transfer,
    open_action, staff, transfer_action,
};
use crate::head::{break_journal, mend_journal, take_head};
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_are_judged_whole_and_answered_in_order() {
    let server = Postgres::start().await;
    let bank = Bank::on(&server).await;
    let mut root = server.superuser("ledger").await;
    let accounts = [bank.open("paul", 0).await, bank.open("paul", 0).await];
    bank.fund(accounts[0], 10_000).await;

    a_chain_is_made_or_not(&bank, &mut root, accounts).await;
    a_conversion_is_a_unit(&bank, accounts[0]).await;
    a_refused_unit_is_not_split_and_takes_no_neighbour_along(&bank, &mut root, accounts).await;
    what_nobody_waits_for_is_not_judged(&server, &bank, &mut root, accounts).await;
    a_closing_among_others_has_a_batch_of_its_own(&server, &bank, accounts).await;
    a_unit_larger_than_a_batch_is_one(&server, &mut root, accounts).await;
    units_find_their_own_room_full_and_singles_theirs(&server, &mut root, accounts).await;
    a_conflict_is_tried_again_as_long_as_its_caller_waits(&bank, &mut root, accounts).await;
    check_invariants(&bank, &mut root).await;
    a_deadline_ends_the_retries_with_an_answer(&server, &bank, accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_make_units_in_one_order_and_one_outcome_a_key() {
    let server = Postgres::start().await;
    let (one, other) = (Bank::on(&server).await, Bank::on(&server).await);
    let mut root = server.superuser("ledger").await;
    let mut accounts = Vec::new();
    for _ in 0..4 {
        let account = one.open("paul", 0).await;
        one.fund(account, 1_000).await;
        accounts.push(account);
    }
    // Each unit goes to both replicas at once, with singles between.
    let rounds = (0..60_usize).map(|round| {
        let (from, to) = (accounts[round % 4], accounts[(round + 1) % 4]);
        let length = 1 + round % 7;
        // Every fifth chain asks for too much with its last, so that it must come to nothing.
        let chain: Vec<Move> = (0..length)
            .map(|place| {
                let amount = if round % 5 == 4 && place + 1 == length { 1_000_000 } else { 1 };
                direct(from, to, amount)
            })
            .collect();
        let unit = move || chained(&format!("{round}"), &chain, FailureMode::Continue);
        let (one, other) = (&one, &other);
        async move {
            let (key, single) = (format!("single {round}"), direct(to, from, 1));
            let (first, second, verdict) = tokio::join!(
                one.store.submit_unit(unit()),
                other.store.submit_unit(unit()),
                other.transfer(customer("paul"), &key, &single)
            );
            booked(verdict.unwrap());
            (round, first.unwrap(), second.unwrap())
        }
    });
    for (round, first, second) in join_all(rounds).await {
        let made = |verdicts: &[Verdict]| verdicts.iter().filter_map(Verdict::made).collect::<Vec<_>>();
        let found = |verdicts: &[Verdict]| {
            let row =
                |verdict: &Verdict| if let Verdict::Recorded(row) = verdict { Some(*row) } else { None };
            verdicts.iter().filter_map(row).collect::<Vec<_>>()
        };
        if round % 5 == 4 {
            assert_eq!(first, second, "a refusal is frozen for both");
            assert!(first.iter().all(|verdict| matches!(verdict, Verdict::Refused(_))), "{first:?}");
        } else {
            let (made, found) =
                ([made(&first), made(&second)].concat(), [found(&first), found(&second)].concat());
            assert_eq!((made.len(), &made), (1 + round % 7, &found), "made once, found once");
        }
    }
    chains_lie_together(&mut root).await;
    check_invariants(&one, &mut root).await;
    one.stop().await;
    other.stop().await;
}

/// The rows of each chain have neighbouring sequence numbers, and name the first.
async fn chains_lie_together(root: &mut PgConnection) {
    let chains: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT link, min(seq), max(seq), count(*) FROM ledger.journal WHERE link IS NOT NULL GROUP BY link",
    )
    .fetch_all(root)
    .await
    .unwrap();
    assert!(chains.len() > 30, "{}", chains.len());
    for (link, first, last, rows) in chains {
        assert_eq!((first, last - first + 1), (link, rows), "the chain at {link} has a gap");
    }
}

/// Transfers of paul's that stand or fall together, under keys below `name`.
fn chained(name: &str, chain: &[Move], mode: FailureMode) -> Unit {
    let actor = customer("paul");
    let link = |(place, transfer): (usize, &Move)| {
        let action = transfer_action(&actor, &format!("{name}/{place}"), transfer);
        Command { linked: place + 1 < chain.len(), ..command(actor.clone(), action) }
    };
    Unit { commands: chain.iter().enumerate().map(link).collect(), mode }
}

/// As many transfers on their own.
fn unit(name: &str, transfers: &[Move], mode: FailureMode) -> Unit {
    let chained = chained(name, transfers, mode);
    let alone = |command: Command| Command { linked: false, ..command };
    Unit { commands: chained.commands.into_iter().map(alone).collect(), mode }
}

async fn outcomes(root: &mut PgConnection, below: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM ledger.outcome WHERE starts_with(request_id, $1)")
        .bind(below)
        .fetch_one(root)
        .await
        .unwrap()
}

async fn a_chain_is_made_or_not(bank: &Bank, root: &mut PgConnection, [from, to]: [Uuid; 2]) {
    let small = direct(from, to, 1);
    let too_much = direct(from, to, 1_000_000);
    let broken = [small.clone(), too_much.clone(), small.clone()];
    let before = bank.balance(from).await;
    let refused = |refusals: [Refusal; 3]| refusals.map(Verdict::Refused).to_vec();
    let chain = bank.store.submit_unit(chained("broken", &broken, FailureMode::Continue)).await.unwrap();
    let reasons = refused([Refusal::ChainFailed, Refusal::InsufficientFunds, Refusal::ChainFailed]);
    assert_eq!(chain, reasons);
    let atomic = bank.store.submit_unit(unit("atomic", &broken, FailureMode::Atomic)).await.unwrap();
    assert_eq!(atomic, reasons);
    assert_eq!(
        (bank.balance(from).await, outcomes(root, "broken/").await),
        (before, 3),
        "frozen, and nothing made"
    );

    let stop = bank.store.submit_unit(unit("stop", &broken, FailureMode::Stop)).await.unwrap();
    booked(stop[0].clone());
    assert_eq!(stop[1..], [Verdict::Refused(Refusal::InsufficientFunds), Verdict::NotAttempted]);
    assert_eq!(outcomes(root, "stop/").await, 2, "what was not attempted is not frozen");
    // It can be attempted later, and what was judged stays.
    let again = bank.store.submit_unit(unit("stop", &broken, FailureMode::Continue)).await.unwrap();
    assert_eq!(again[..2], [Verdict::Recorded(booked(stop[0].clone()).id), stop[1].clone()]);
    booked(again[2].clone());
}

/// Staff hold a customer's euros towards the bank's position and the bank's dollars towards the customer, at one rate; another member
/// of staff posts both.
async fn a_conversion_is_a_unit(bank: &Bank, euros: Uuid) {
    let usd = Currency::parse("USD").unwrap();
    svc_ledger::open_house_accounts(&bank.store, &[usd]).await.unwrap();
    let dollars = Uuid::new_v4();
    let Action::Open(open) = open_action(dollars, "paul", 0) else { panic!() };
    bank.submit(staff("anna"), Action::Open(Open { currency: usd, ..open })).await.unwrap();
    let before = bank.balance(euros).await;
    let half = |from, to, currency, minor_units| Transfer {
        debit: from,
        credit: to,
        amount: Amount::new(minor_units).unwrap(),
        mode: AmountMode::Exact,
        currency,
        pending: Some(Pending::default()),
        value_date: None,
        debit_condition: Condition::default(),
        credit_condition: Condition::default(),
        exchange: Some(Exchange { quote: "q-1".to_owned(), rate: "1.0834".to_owned() }),
        hidden: false,
        detail: None,
    };
    let convert = async |name: &str, second: i64| {
        let anna = staff("anna");
        let halves = [
            half(euros, house_account(Purpose::Exchange, eur()), eur(), 100),
            half(house_account(Purpose::Exchange, usd), dollars, usd, second),
        ];
        let commands = halves.into_iter().enumerate().map(|(place, half)| {
            let action = keyed_transfer(&anna, &format!("{name}/{place}"), half);
            Command { linked: place == 0, ..command(anna.clone(), action) }
        });
        let unit = Unit { commands: commands.collect(), mode: FailureMode::Continue };
        bank.store.submit_unit(unit).await.unwrap()
    };
    let refused = [Refusal::ChainFailed, Refusal::ExchangeMismatch].map(Verdict::Refused);
    assert_eq!(convert("too much", 109).await, refused, "1.00 EUR is 1.08 USD, rounded half to even");
    let held: Vec<_> = convert("converted", 108).await.into_iter().map(booked).collect();
    assert_eq!(held[0].link, held[1].link);
    let post =
        async |who: &str, key: &str| bank.resolve(staff(who), key, held[0].id, Resolution::PostChain).await;
    assert_eq!(post("anna", "alone").await.unwrap(), Verdict::Refused(Refusal::FourEyes));
    assert!(matches!(post("bert", "both").await.unwrap(), Verdict::Recorded(_)));
    assert_eq!(bank.balance(euros).await, (before.0 - 100, before.1 - 100));
    assert_eq!(bank.balance(dollars).await, (108, 108));
}

async fn a_refused_unit_is_not_split_and_takes_no_neighbour_along(
    bank: &Bank,
    root: &mut PgConnection,
    [from, to]: [Uuid; 2],
) {
    break_journal(root, "IF NEW.amount = 13 THEN RAISE EXCEPTION 'refused'; END IF;").await;
    let fault = [11, 12, 13, 14].map(|amount| direct(from, to, amount));
    let good = [1, 2, 3].map(|amount| direct(from, to, amount));
    let (fault, good, singles) = tokio::join!(
        bank.store.submit_unit(unit("fault", &fault, FailureMode::Continue)),
        bank.store.submit_unit(unit("good", &good, FailureMode::Continue)),
        join_all((1..=9).map(async |amount| {
            bank.transfer(customer("paul"), &format!("beside {amount}"), &direct(from, to, amount)).await
        })),
    );
    mend_journal(root).await;
    assert!(matches!(fault, Err(Error::Store(_))), "{fault:?}");
    for verdict in good.unwrap() {
        booked(verdict);
    }
    for verdict in singles {
        booked(verdict.unwrap());
    }
    assert_eq!(outcomes(root, "fault/").await, 0, "a unit is judged whole or not at all");
}

/// Waits until the writer stands at the head that somebody else holds.
pub async fn writer_waits(root: &mut PgConnection) {
    let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity \
         WHERE application_name = 'svc-ledger/write' AND wait_event_type = 'Lock')";
    assert!(eventually(async || sqlx::query_scalar(waiting).fetch_one(&mut *root).await.unwrap()).await);
}

async fn what_nobody_waits_for_is_not_judged(
    server: &Postgres,
    bank: &Bank,
    root: &mut PgConnection,
    [from, to]: [Uuid; 2],
) {
    let mut replica = server.superuser("ledger").await;
    take_head(&mut replica).await;
    let transfer = direct(from, to, 1);
    let holds_the_writer = bank.transfer(customer("paul"), "at the head", &transfer);
    let meanwhile = async {
        writer_waits(root).await;
        let mut left = Box::pin(bank.store.submit_unit(unit(
            "left",
            &[transfer.clone(), transfer.clone()],
            FailureMode::Continue,
        )));
        assert!(futures::poll!(&mut left).is_pending(), "it waits behind the batch that waits");
        drop(left);
        replica.execute("ROLLBACK").await.unwrap();
    };
    let (verdict, ()) = tokio::join!(holds_the_writer, meanwhile);
    booked(verdict.unwrap());
    booked(bank.transfer(customer("paul"), "behind it", &transfer).await.unwrap());
    assert_eq!(outcomes(root, "left/").await, 0);
}

async fn a_closing_among_others_has_a_batch_of_its_own(
    server: &Postgres,
    bank: &Bank,
    [from, to]: [Uuid; 2],
) {
    let (mut replica, mut root) = (server.superuser("ledger").await, server.superuser("ledger").await);
    let anna = staff("anna");
    let key = Key { scope: anna.scope, request_id: "close".to_owned() };
    let body = BodyHash::new(Operation::ClosePeriod, &key, &[b"2020-12-31"]);
    let end = chrono::NaiveDate::from_ymd_opt(2020, 12, 31).unwrap();
    let closing = bank.submit(anna, Action::ClosePeriod(Request { key, body }, end));
    take_head(&mut replica).await;
    let transfer = |number: usize| {
        let transfer = direct(from, to, 1);
        async move { bank.transfer(customer("paul"), &format!("around {number}"), &transfer).await }
    };
    let release = async {
        writer_waits(&mut root).await;
        replica.execute("ROLLBACK").await.unwrap();
    };
    let (before, closed, after, ()) =
        tokio::join!(join_all((0..5).map(transfer)), closing, join_all((5..9).map(transfer)), release);
    assert!(matches!(closed, Ok(Verdict::Closed(_))), "{closed:?}");
    for verdict in before.into_iter().chain(after) {
        booked(verdict.unwrap());
    }
}

async fn a_unit_larger_than_a_batch_is_one(
    server: &Postgres,
    root: &mut PgConnection,
    [from, to]: [Uuid; 2],
) {
    let mut config = server.config();
    (config.batch_max, config.queue_max) = (10, 20);
    let small = Bank::with(&config).await;
    let moves: Vec<Move> = (0..100).map(|_| direct(from, to, 1)).collect();
    let (large, singles) = tokio::join!(
        small.store.submit_unit(chained("large", &moves, FailureMode::Continue)),
        join_all((0..20).map(async |number| {
            small.transfer(customer("paul"), &format!("aside {number}"), &direct(from, to, 1)).await
        })),
    );
    assert_eq!(large.unwrap().into_iter().map(booked).filter(|made| made.link.is_some()).count(), 100);
    for verdict in singles {
        booked(verdict.unwrap());
    }
    let batches: i64 = sqlx::query_scalar(
        "SELECT count(DISTINCT b.seq_from) FROM ledger.outcome o JOIN ledger.journal j ON j.id = o.row_id \
         JOIN ledger.batch b ON j.seq BETWEEN b.seq_from AND b.seq_from + b.n - 1 WHERE starts_with(o.request_id, 'large/')",
    )
    .fetch_one(root)
    .await
    .unwrap();
    assert_eq!(batches, 1);
    small.stop().await;
}

async fn units_find_their_own_room_full_and_singles_theirs(
    server: &Postgres,
    root: &mut PgConnection,
    [from, to]: [Uuid; 2],
) {
    let mut config = server.config();
    (config.batch_max, config.queue_max) = (100, 8);
    let small = Bank::with(&config).await;
    let mut replica = server.superuser("ledger").await;
    take_head(&mut replica).await;
    let single = |number: usize| {
        let (small, transfer) = (&small, direct(from, to, 1));
        async move { small.transfer(customer("paul"), &format!("room {number}"), &transfer).await }
    };
    let several = |name: &str| {
        let unit = chained(name, &[direct(from, to, 1), direct(from, to, 1)], FailureMode::Continue);
        small.store.submit_unit(unit)
    };
    // One at the head; then half of the room for units, all of it for singles, and one more of each.
    let first = single(0);
    let rest = async {
        writer_waits(root).await;
        let (mut units, mut singles) = (Vec::new(), Vec::new());
        for name in ["u0", "u1"] {
            units.push(Box::pin(several(name)));
            assert!(futures::poll!(units.last_mut().unwrap()).is_pending());
        }
        assert!(matches!(several("u2").await, Err(Error::QueueFull)));
        for number in 1..=8 {
            singles.push(Box::pin(single(number)));
            assert!(futures::poll!(singles.last_mut().unwrap()).is_pending());
        }
        assert!(matches!(single(9).await, Err(Error::QueueFull)));
        replica.execute("ROLLBACK").await.unwrap();
        (join_all(units).await, join_all(singles).await)
    };
    let (first, (units, singles)) = tokio::join!(first, rest);
    for verdict in singles.into_iter().chain([first]) {
        booked(verdict.unwrap());
    }
    for verdicts in units {
        verdicts.unwrap().into_iter().for_each(|verdict| _ = booked(verdict));
    }
    assert_eq!(
        (outcomes(root, "u2/").await, outcomes(root, "room 9").await),
        (0, 0),
        "not judged, and not frozen"
    );
    small.stop().await;
}

async fn a_conflict_is_tried_again_as_long_as_its_caller_waits(
    bank: &Bank,
    root: &mut PgConnection,
    [from, to]: [Uuid; 2],
) {
    let chain = [direct(from, to, 1), direct(from, to, 1)];
    for code in ["40001", "40P01", "55P03"] {
        // A sequence counts across what is rolled back.
        root.execute("CREATE SEQUENCE public.conflicts").await.unwrap();
        let twice = format!(
            "IF nextval('public.conflicts') <= 2 THEN RAISE EXCEPTION 'again' USING ERRCODE = '{code}'; END IF;"
        );
        break_journal(root, &twice).await;
        let verdicts = bank.store.submit_unit(chained(code, &chain, FailureMode::Continue)).await.unwrap();
        verdicts.into_iter().for_each(|verdict| _ = booked(verdict));
        mend_journal(root).await;
        root.execute("DROP SEQUENCE public.conflicts").await.unwrap();
    }
    break_journal(root, "RAISE EXCEPTION 'again' USING ERRCODE = '40001';").await;
    let never = chained("never", &chain, FailureMode::Continue);
    let answer = bank.store.submit_by(never, Instant::now() + Duration::from_secs(1));
    let answer = tokio::time::timeout(SOON, answer).await;
    mend_journal(root).await;
    assert!(matches!(answer, Ok(Err(Error::NotDone))), "{answer:?}");
    assert_eq!(outcomes(root, "never/").await, 0);
}

/// Longer than the deadline set, and far shorter than the writer's own patience.
const SOON: Duration = Duration::from_secs(10);

async fn a_deadline_ends_the_retries_with_an_answer(server: &Postgres, bank: &Bank, [from, to]: [Uuid; 2]) {
    let (mut replica, mut root) = (server.superuser("ledger").await, server.superuser("ledger").await);
    take_head(&mut replica).await;
    let wanted = unit("late", &[direct(from, to, 1), direct(from, to, 1)], FailureMode::Continue);
    let late = bank.store.submit_by(wanted, Instant::now() + Duration::from_secs(1));
    let crash = async {
        writer_waits(&mut root).await;
        tokio::task::block_in_place(|| server.crash());
    };
    let (answer, ()) = tokio::join!(tokio::time::timeout(SOON, late), crash);
    assert!(matches!(answer, Ok(Err(Error::NotDone))), "{answer:?}");
    server.resume();
}
