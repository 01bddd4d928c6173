//! Random batches through the judge, against a simple oracle and against the promises of the ledger. The store of these tests is
//! a few maps that apply what was judged as strictly as the SQL does.

mod memory;
mod oracle;

use proptest::prelude::*;
use uuid::Uuid;

use self::memory::Memory;
use self::oracle::{Expected, Oracle};
use super::*;
use crate::domain::account::{Purpose, house_account};
use crate::domain::currency::Currency;
use crate::domain::request::{Operation, Scope};

/// What a test asks for, with small numbers in place of ids.
#[derive(Clone, Debug)]
enum Op {
    Transfer {
        actor: usize,
        from: usize,
        to: usize,
        amount: i64,
        usd: bool,
        pending: bool,
        key: u8,
    },
    /// Ends the transfer that the `target`th operation (modulo their number) made, if it made one.
    Resolve {
        actor: usize,
        target: usize,
        post: bool,
        key: u8,
    },
}

/// Carl and Dora, two members of staff, and somebody without any account.
const ACTORS: [(&str, bool); 5] =
    [("carl", false), ("dora", false), ("anna", true), ("bert", true), ("eve", false)];

fn currency(usd: bool) -> Currency {
    Currency::parse(if usd { "USD" } else { "EUR" }).unwrap()
}

fn actor(number: usize) -> Actor {
    let (name, staff) = ACTORS[number];
    Actor { scope: Scope::of(name), staff, customer: (!staff).then(|| name.to_owned()) }
}

fn account_id(number: usize) -> Uuid {
    if number == 0 {
        house_account(Purpose::Settlement, currency(false))
    } else {
        Uuid::from_u128(number as u128)
    }
}

/// Settlement, Carl's, Dora's with an overdraft, one they share, one in dollars, one debit-frozen, one frozen. The eighth of the
/// numbers that operations use has no account.
fn accounts() -> Vec<(Account, Vec<String>)> {
    type Line = (&'static [&'static str], Option<i64>, bool, State);
    let table: [Line; 7] = [
        (&[], None, false, State::Open),
        (&["carl"], Some(0), false, State::Open),
        (&["dora"], Some(-100), false, State::Open),
        (&["carl", "dora"], Some(0), false, State::Open),
        (&["carl"], Some(0), true, State::Open),
        (&["carl"], Some(0), false, State::DebitFrozen),
        (&["dora"], Some(0), false, State::Frozen),
    ];
    let account = |(number, (owners, floor, usd, state)): (usize, Line)| {
        let account = Account {
            no: number as i64 + 1,
            id: account_id(number),
            currency: currency(usd),
            purpose: if number == 0 { Purpose::Settlement } else { Purpose::Customer },
            floor,
            state,
            state_revision: 0,
            version: 1,
            totals: Totals::default(),
            opened_at: 0,
        };
        (account, owners.iter().map(|owner| (*owner).to_owned()).collect())
    };
    table.into_iter().enumerate().map(account).collect()
}

fn ops() -> impl Strategy<Value = Vec<Vec<Op>>> {
    let amount = prop_oneof![8 => 1..150_i64, 1 => i64::MAX - 150..=i64::MAX];
    let transfer =
        (0..5_usize, 0..8_usize, 1..8_usize, amount, prop::bool::weighted(0.1), any::<bool>(), 0..60_u8)
            .prop_map(|(actor, from, step, amount, usd, pending, key)| {
                let to = (from + step) % 8;
                Op::Transfer { actor, from, to, amount, usd, pending, key }
            });
    // Money has to enter before much can happen: staff hold from settlement more often than chance would have it.
    let fund = (1..4_usize, 1..150_i64, 0..60_u8).prop_map(|(to, amount, key)| Op::Transfer {
        actor: 2,
        from: 0,
        to,
        amount,
        usd: false,
        pending: true,
        key,
    });
    let resolve = (0..5_usize, 0..60_usize, prop::bool::weighted(0.8), 0..60_u8)
        .prop_map(|(actor, target, post, key)| Op::Resolve { actor, target, post, key });
    let op = prop_oneof![3 => transfer, 2 => fund, 3 => resolve];
    prop::collection::vec(prop::collection::vec(op, 1..8), 1..14)
}

/// The command an operation stands for; `made` are the transfers that earlier operations made.
fn command(op: &Op, made: &[Option<Uuid>]) -> Command {
    let key = |actor: &Actor, key: u8| Key { scope: actor.scope, request_id: key.to_string() };
    match *op {
        Op::Transfer { actor: who, from, to, amount, usd, pending, key: number } => {
            let actor = actor(who);
            let key = key(&actor, number);
            let (debit, credit, currency) = (account_id(from), account_id(to), currency(usd));
            let money = [&currency.numeric().to_be_bytes()[..], &amount.to_be_bytes()].concat();
            let fields: [&[u8]; 5] = [debit.as_bytes(), credit.as_bytes(), &money, b"", &[u8::from(pending)]];
            let body = BodyHash::new(Operation::Transfer, &key, &fields);
            let amount = Amount::new(amount).unwrap();
            let transfer = Transfer { debit, credit, amount, currency, pending, detail: None };
            Command { actor, nonce: 7, action: Action::Transfer(Request { key, body }, transfer) }
        }
        Op::Resolve { actor: who, target, post, key: number } => {
            let actor = actor(who);
            let key = key(&actor, number);
            let transfer = made.get(target % made.len().max(1)).copied().flatten().unwrap_or(Uuid::max());
            let resolution = if post { Resolution::Post } else { Resolution::Void };
            let body = BodyHash::new(resolution.operation(), &key, &[transfer.as_bytes()]);
            Command {
                actor,
                nonce: 7,
                action: Action::Resolve(Request { key, body }, Resolve { transfer, resolution }),
            }
        }
    }
}

/// What the oracle can know of a verdict.
fn simplified(verdict: &Verdict) -> Expected {
    match verdict {
        Verdict::Booked(_) => Expected::Done,
        Verdict::Recorded(_) => Expected::Done,
        Verdict::Refused(refusal) => Expected::Refused(*refusal),
        Verdict::BodyChanged(_) => Expected::BodyChanged,
        Verdict::Opened(_) | Verdict::AccountExists(_) | Verdict::StaleRevision => panic!("{verdict:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_judge_agrees_with_the_oracle_and_keeps_its_promises(batches in ops()) {
        let mut memory = Memory::with(accounts());
        let mut oracle = Oracle::with(accounts());
        let mut made: Vec<Option<Uuid>> = Vec::new();
        for batch in batches {
            let before = made.clone();
            let commands: Vec<Command> = batch.iter().map(|op| command(op, &before)).collect();
            let judged = judge(memory.view(), &commands);
            // Judging is a function: a dry run is the run.
            let dry = judge(memory.view(), &commands);
            prop_assert_eq!(&dry.verdicts, &judged.verdicts);
            prop_assert_eq!(&dry.rows, &judged.rows);
            for (command, verdict) in commands.iter().zip(&judged.verdicts) {
                let created = if let Verdict::Booked(transfer) = verdict { Some(transfer.id) } else { None };
                prop_assert_eq!(oracle.judge(command, created), simplified(verdict), "{:?}", command);
                made.push(created);
            }
            memory.apply(&judged);
            memory.check();
            memory.tick();
        }
        oracle.compare(&memory);
    }

    #[test]
    fn how_commands_are_batched_does_not_matter(batches in ops()) {
        // Only transfers: what a resolution names depends on what was made before.
        let ops: Vec<Op> = batches.iter().flatten().filter(|op| matches!(op, Op::Transfer { .. })).cloned().collect();
        let commands: Vec<Command> = ops.iter().map(|op| command(op, &[])).collect();
        let mut at_once = Memory::with(accounts());
        let judged = judge(at_once.view(), &commands);
        at_once.apply(&judged);
        let mut one_by_one = Memory::with(accounts());
        for (command, verdict) in commands.iter().zip(&judged.verdicts) {
            let alone = judge(one_by_one.view(), [command]);
            prop_assert_eq!(simplified(&alone.verdicts[0]), simplified(verdict));
            one_by_one.apply(&alone);
        }
        prop_assert_eq!(at_once.rows(), one_by_one.rows());
    }
}

#[test]
fn an_account_opened_in_a_batch_can_be_used_in_it() {
    let mut memory = Memory::with(accounts());
    let open = Open {
        id: Uuid::from_u128(99),
        currency: currency(false),
        purpose: Purpose::Customer,
        floor: Some(0),
        customers: vec!["eve".to_owned()],
        state_revision: 3,
    };
    let opening = |open: Open| Command { actor: actor(4), nonce: 1, action: Action::Open(open) };
    let mut transfer = command(
        &Op::Transfer { actor: 2, from: 0, to: 1, amount: 5, usd: false, pending: true, key: 1 },
        &[],
    );
    if let Action::Transfer(_, transfer) = &mut transfer.action {
        transfer.credit = open.id;
    }
    let stale = opening(Open { state_revision: 2, ..open.clone() });
    let other = opening(Open { floor: Some(-1), currency: currency(true), ..open.clone() });
    let judged = judge(memory.view(), &[opening(open.clone()), transfer, opening(open), stale, other]);
    memory.apply(&judged);
    memory.check();
    let [Verdict::Opened(first), Verdict::Booked(_), Verdict::Opened(again), Verdict::StaleRevision, changed] =
        &judged.verdicts[..]
    else {
        panic!("{:?}", judged.verdicts);
    };
    assert_eq!((first.version, again.version, again.totals.cr_pending), (1, 2, 5));
    assert_eq!(*changed, Verdict::AccountExists(vec!["currency_code", "min_available_minor_units"]));
    assert_eq!(judged.parties, [(first.no, "eve".to_owned())]);
    assert_eq!(judged.changed.len(), 1, "an account opened in the batch is inserted as it stands after it");
}
