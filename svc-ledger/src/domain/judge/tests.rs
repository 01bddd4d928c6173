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
use crate::domain::command::Grant;
use crate::domain::currency::Currency;
use crate::domain::grant::{self, Scopes, Terms};
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
    /// Sets one of three consents; the caps are those of [`CAPS`].
    Grant {
        consent: u8,
        account: usize,
        partner: usize,
        scopes: i16,
        caps: usize,
        expires_at: i64,
        revision: i64,
    },
}

/// Carl and Dora, two members of staff, somebody without any account; and two partners, for Carl and for Dora.
const ACTORS: [(&str, Option<&str>); 8] = [
    ("carl", None),
    ("dora", None),
    ("anna", None),
    ("bert", None),
    ("eve", None),
    ("carl", Some(PARTNERS[0])),
    ("carl", Some(PARTNERS[1])),
    ("dora", Some(PARTNERS[0])),
];
const PARTNERS: [&str; 2] = ["psp", "tpp"];
/// Of one transfer, and of all.
const CAPS: [(Option<i64>, Option<i64>); 4] =
    [(None, None), (Some(60), None), (None, Some(200)), (Some(90), Some(120))];

fn currency(usd: bool) -> Currency {
    Currency::parse(if usd { "USD" } else { "EUR" }).unwrap()
}

fn actor(number: usize) -> Actor {
    let (name, partner) = ACTORS[number];
    let staff = ["anna", "bert"].contains(&name);
    Actor {
        scope: Scope::of(&format!("{partner:?} {name}")),
        staff,
        customer: (!staff).then(|| name.to_owned()),
        partner: partner.map(str::to_owned),
    }
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
        (0..8_usize, 0..8_usize, 1..8_usize, amount, prop::bool::weighted(0.1), any::<bool>(), 0..60_u8)
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
    let resolve = (0..8_usize, 0..60_usize, prop::bool::weighted(0.8), 0..60_u8)
        .prop_map(|(actor, target, post, key)| Op::Resolve { actor, target, post, key });
    let grant = (0..3_u8, 1..8_usize, 0..2_usize, 0..8_i16, 0..4_usize, 1_000..1_020_i64, 0..5_i64).prop_map(
        |(consent, account, partner, scopes, caps, expires_at, revision)| Op::Grant {
            consent,
            account,
            partner,
            scopes,
            caps,
            expires_at,
            revision,
        },
    );
    // Likewise a consent that is wide enough, and a partner who uses it.
    let wide = (0..3_u8, 0..4_usize, 0..5_i64).prop_map(|(consent, caps, revision)| Op::Grant {
        consent,
        account: 1,
        partner: 0,
        scopes: 7,
        caps,
        expires_at: 2_000,
        revision,
    });
    let partner = (1..100_i64, any::<bool>(), 0..60_u8).prop_map(|(amount, pending, key)| Op::Transfer {
        actor: 5,
        from: 1,
        to: 2,
        amount,
        usd: false,
        pending,
        key,
    });
    let op = prop_oneof![3 => transfer, 2 => fund, 3 => resolve, 1 => grant, 1 => wide, 2 => partner];
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
            Command {
                actor,
                nonce: 7,
                witness: None,
                action: Action::Transfer(Request { key, body }, transfer),
            }
        }
        Op::Grant { consent, account, partner, scopes, caps, expires_at, revision } => {
            let (per_transfer_max, total_max) = CAPS[caps];
            let terms = Terms {
                consent: Uuid::from_u128(u128::from(consent)),
                partner: PARTNERS[partner].to_owned(),
                scopes: Scopes::from_bits(scopes).unwrap(),
                per_transfer_max: per_transfer_max.and_then(Amount::new),
                total_max: total_max.and_then(Amount::new),
                expires_at,
                revision,
            };
            grant_command(Grant { account: account_id(account), terms })
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
                witness: None,
                action: Action::Resolve(Request { key, body }, Resolve { transfer, resolution }),
            }
        }
    }
}

fn grant_command(wanted: Grant) -> Command {
    Command { actor: actor(4), nonce: 7, witness: None, action: Action::Grant(wanted) }
}

/// What the oracle can know of a verdict.
fn simplified(verdict: &Verdict) -> Expected {
    match verdict {
        Verdict::Booked(_) => Expected::Done,
        Verdict::Recorded(_) => Expected::Done,
        Verdict::Refused(refusal) => Expected::Refused(*refusal),
        Verdict::BodyChanged(_) => Expected::BodyChanged,
        Verdict::Granted(_) => Expected::Done,
        Verdict::GrantExists(_) => Expected::Exists,
        Verdict::StaleRevision => Expected::Stale,
        Verdict::NoAccount => Expected::NoAccount,
        Verdict::Opened(_) | Verdict::AccountExists(_) => panic!("{verdict:?}"),
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
                prop_assert_eq!(oracle.judge(command, created, memory.now()), simplified(verdict), "{:?}", command);
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
        // No resolutions: what one names depends on what was made before.
        let ops: Vec<Op> = batches.iter().flatten().filter(|op| !matches!(op, Op::Resolve { .. })).cloned().collect();
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
    let opening =
        |open: Open| Command { actor: actor(4), nonce: 1, witness: None, action: Action::Open(open) };
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

/// Carl's account with 500 in it, and a consent for the first partner with the given caps.
fn consented(caps: usize) -> Memory {
    let mut memory = Memory::with(accounts());
    let fund = Op::Transfer { actor: 2, from: 0, to: 1, amount: 500, usd: false, pending: true, key: 1 };
    let grant =
        Op::Grant { consent: 0, account: 1, partner: 0, scopes: 7, caps, expires_at: 1_010, revision: 1 };
    let judged = judge(memory.view(), &[command(&fund, &[]), command(&grant, &[])]);
    memory.apply(&judged);
    let Verdict::Booked(held) = &judged.verdicts[0] else { panic!("{:?}", judged.verdicts) };
    let post = command(&Op::Resolve { actor: 3, target: 0, post: true, key: 2 }, &[Some(held.id)]);
    memory.apply(&judge(memory.view(), [&post]));
    memory
}

/// The verdicts of operations judged one batch each.
fn run(memory: &mut Memory, ops: &[Op]) -> Vec<Expected> {
    let mut made = Vec::new();
    let mut verdicts = Vec::new();
    for op in ops {
        let judged = judge(memory.view(), [&command(op, &made)]);
        memory.apply(&judged);
        memory.check();
        let verdict = &judged.verdicts[0];
        made.push(if let Verdict::Booked(transfer) = verdict { Some(transfer.id) } else { None });
        verdicts.push(simplified(verdict));
    }
    verdicts
}

fn debit(actor: usize, amount: i64, pending: bool, key: u8) -> Op {
    Op::Transfer { actor, from: 1, to: 2, amount, usd: false, pending, key }
}

#[test]
fn a_partner_debits_within_the_caps_of_a_consent_and_not_beyond() {
    use Expected::{Done, Refused};
    use Refusal::{InsufficientFunds, NotPermitted, PerTransferCap, TotalCap};
    // At most 90 in one transfer and 120 in all.
    let ops = [
        debit(5, 91, false, 1),
        debit(5, 90, false, 2),
        debit(5, 31, false, 3),
        debit(5, 30, true, 4),
        debit(5, 1, false, 5),
        // The owner and staff need no consent and use none up; another partner has none.
        debit(0, 200, false, 6),
        debit(2, 10, false, 7),
        debit(6, 1, false, 8),
        // A partner who acts for somebody else does not reach the account by Carl's consent.
        debit(7, 1, false, 9),
        // What a hold has taken comes back with it.
        Op::Resolve { actor: 5, target: 3, post: false, key: 10 },
        debit(5, 30, false, 11),
        debit(5, 1, false, 12),
        debit(0, 171, false, 13),
    ];
    let expect = [
        Refused(PerTransferCap),
        Done,
        Refused(TotalCap),
        Done,
        Refused(TotalCap),
        Done,
        Done,
        Refused(NotPermitted),
        Refused(NotPermitted),
        Done,
        Done,
        Refused(TotalCap),
        Refused(InsufficientFunds),
    ];
    // A partner who may take less than there is does not learn how much there is.
    let mut poor = consented(3);
    assert_eq!(
        run(&mut poor, &[debit(0, 500, false, 1), debit(5, 91, false, 2)])[1],
        Refused(PerTransferCap)
    );
    assert_eq!(run(&mut consented(3), &ops), expect);
}

#[test]
fn a_consent_taken_back_or_expired_allows_nothing_from_then_on() {
    let revoke =
        Op::Grant { consent: 0, account: 1, partner: 0, scopes: 0, caps: 0, expires_at: 1_010, revision: 2 };
    let refused = Expected::Refused(Refusal::NotPermitted);
    let mut memory = consented(0);
    let ops = [
        debit(5, 10, true, 1),
        debit(5, 10, true, 2),
        revoke,
        debit(5, 1, false, 3),
        // Held money does not move any more by the partner's word, and can still be given back.
        Op::Resolve { actor: 5, target: 0, post: true, key: 4 },
        Op::Resolve { actor: 5, target: 0, post: false, key: 5 },
        Op::Resolve { actor: 2, target: 1, post: true, key: 6 },
    ];
    let done = Expected::Done;
    let expect = [&done, &done, &done, &refused, &refused, &done, &done];
    assert_eq!(run(&mut memory, &ops).iter().collect::<Vec<_>>(), expect);
    let mut memory = consented(0);
    while memory.now() < 1_009 {
        memory.tick();
    }
    assert_eq!(run(&mut memory, &[debit(5, 1, false, 1)]), [Expected::Done]);
    memory.tick();
    assert_eq!(run(&mut memory, &[debit(5, 1, false, 2)]), [refused]);
}

#[test]
fn a_grant_is_its_own_key_and_its_revision_only_rises() {
    let mut memory = consented(3);
    let wanted = |change: fn(&mut grant::Terms)| {
        let op = Op::Grant {
            consent: 0,
            account: 1,
            partner: 0,
            scopes: 7,
            caps: 3,
            expires_at: 1_010,
            revision: 1,
        };
        let Action::Grant(mut grant) = command(&op, &[]).action else { panic!("{op:?}") };
        change(&mut grant.terms);
        grant_command(grant)
    };
    let elsewhere = |account: Uuid| {
        let mut command = wanted(|terms| terms.revision = 2);
        if let Action::Grant(grant) = &mut command.action {
            grant.account = account;
        }
        command
    };
    let commands = [
        wanted(|_| {}),
        wanted(|terms| terms.scopes = Scopes::default()),
        wanted(|terms| terms.revision = 0),
        wanted(|terms| (terms.revision, terms.partner) = (2, "tpp".to_owned())),
        elsewhere(account_id(2)),
        elsewhere(account_id(7)),
        wanted(|terms| (terms.revision, terms.total_max) = (2, None)),
    ];
    let judged = judge(memory.view(), &commands);
    memory.apply(&judged);
    memory.check();
    let [
        Verdict::Granted(same),
        Verdict::GrantExists(scopes),
        Verdict::StaleRevision,
        Verdict::GrantExists(partner),
        Verdict::GrantExists(account),
        Verdict::NoAccount,
        Verdict::Granted(raised),
    ] = &judged.verdicts[..]
    else {
        panic!("{:?}", judged.verdicts);
    };
    assert_eq!((same.terms.revision, raised.terms.revision), (1, 2));
    assert_eq!([&scopes[..], partner, account], [["scopes"], ["partner_id"], ["account_id"]]);
    assert_eq!(judged.rows.len(), 1, "only the higher revision is a change");
}
