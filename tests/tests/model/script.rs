//! What a test asks for, with small numbers in place of ids: those are the ledger's to give, and are looked up when the script is
//! run. Numbers shrink, and a script that has lost a step still means something.

use proptest::prelude::*;
use svc_ledger::domain::account::State;
use svc_ledger::domain::command::FailureMode;

use super::bank::{ACCOUNTS, ANNA, BERT, CUSTOMERS, SETTLEMENT};

/// In place of an actor: whoever made the transfer in question.
pub const MAKER: usize = usize::MAX;

/// A step of a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// Units that the store judges as one batch.
    Batch(Vec<UnitOp>),
    /// Somebody closes the days up to so many before today.
    Close { who: usize, key: u8, days_ago: u8 },
    /// Time passes.
    Tick(i64),
}

/// What one caller sends together.
#[derive(Clone, Debug)]
pub struct UnitOp {
    pub mode: FailureMode,
    /// Whether to only say what would become of it.
    pub validate: bool,
    /// With whether each stands or falls with the next.
    pub ops: Vec<(Op, bool)>,
}

#[derive(Clone, Debug)]
pub enum Op {
    Transfer(TransferOp),
    /// Both halves of a conversion, one behind the other; a skew makes them disagree, and so does one that ends later.
    Convert {
        who: usize,
        key: u8,
        amount: i64,
        rate: usize,
        skew: i64,
        till: Option<i64>,
        late: bool,
    },
    /// About the `target`th youngest transfer.
    Resolve {
        who: usize,
        key: u8,
        target: usize,
        what: What,
    },
    Reverse {
        who: usize,
        key: u8,
        target: usize,
        amount: Option<i64>,
    },
    Expire {
        target: usize,
    },
    Open {
        account: usize,
        revision: i64,
        floor: i64,
    },
    State {
        account: usize,
        state: State,
        revision: i64,
    },
    Limits {
        account: usize,
        floor: i64,
        ceiling: Option<i64>,
        revision: i64,
    },
    Grant {
        consent: u8,
        account: usize,
        partner: usize,
        none: bool,
        caps: usize,
        till: i64,
        revision: i64,
    },
    /// The `target`th youngest command once more, word for word.
    Again {
        target: usize,
    },
}

#[derive(Clone, Debug)]
pub struct TransferOp {
    pub who: usize,
    pub key: u8,
    pub from: usize,
    pub to: usize,
    pub amount: i64,
    pub at_most: bool,
    pub usd: bool,
    pub hold: Option<HoldOp>,
    /// Days from today.
    pub value_date: Option<i64>,
    pub debit: Conditions,
    pub credit: Conditions,
}

#[derive(Clone, Debug)]
pub struct HoldOp {
    pub till: Option<i64>,
    pub external: bool,
}

/// Off what holds of the account as the batch begins.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    pub version: Option<i64>,
    pub available: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
pub enum What {
    Post { amount: Option<i64>, keep: bool },
    PostChain,
    Void,
    VoidChain,
    More(i64),
}

/// Steps of scripts.
pub fn steps() -> impl Strategy<Value = Step> {
    let close = (0..4_usize, any::<u8>(), 0..5_u8).prop_map(|(who, key, days_ago)| Step::Close {
        who: [ANNA, BERT, ANNA, 0][who],
        key,
        days_ago,
    });
    prop_oneof![
        20 => prop::collection::vec(units(), 1..5).prop_map(Step::Batch),
        1 => close,
        3 => (1..4_i64).prop_map(Step::Tick),
    ]
}

fn units() -> impl Strategy<Value = UnitOp> {
    let mode = prop_oneof![2 => Just(FailureMode::Continue), 2 => Just(FailureMode::Stop), 1 => Just(FailureMode::Atomic)];
    let single = (op(), prop::bool::weighted(0.1)).prop_map(|(op, validate)| UnitOp {
        mode: FailureMode::Continue,
        validate,
        ops: vec![(op, false)],
    });
    let transfers = prop_oneof![8 => movement(), 1 => convert(), 1 => again()];
    let several = (
        mode,
        prop::bool::weighted(0.1),
        prop::collection::vec((transfers, prop::bool::weighted(0.35)), 2..5),
    )
        .prop_map(|(mode, validate, ops)| UnitOp { mode, validate, ops });
    let convert = (convert(), prop::bool::weighted(0.1)).prop_map(|(op, validate)| UnitOp {
        mode: FailureMode::Continue,
        validate,
        ops: vec![(op, false)],
    });
    prop_oneof![12 => single, 5 => several, 2 => convert]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => movement(),
        14 => resolve(),
        5 => reverse(),
        4 => settings(),
        2 => grant(),
        2 => (0..6_usize).prop_map(|target| Op::Expire { target }),
        2 => again(),
    ]
}

fn again() -> impl Strategy<Value = Op> {
    (0..20_usize).prop_map(|target| Op::Again { target })
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![10 => 1..60_i64, 3 => 60..150_i64, 2 => 150..600_i64, 1 => i64::MAX - 600..=i64::MAX]
}

fn actors() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0), 2 => Just(1), 2 => Just(ANNA), 2 => Just(BERT), 3 => Just(4), 1 => 5..9_usize]
}

/// Somebody whose account it is, or a partner of such; sometimes somebody else.
fn payer(from: usize, choice: u8) -> usize {
    match (from, choice) {
        (_, 0) => BERT,
        (_, 1) => 8,
        (_, 2) => 5,
        (4, 3..6) => 6,
        (4, _) => 1,
        (5, 3..6) => 1,
        (3, 3..8) => 4,
        (3 | 5..=6, _) => 0,
        (_, _) => ANNA,
    }
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let rare = |off: std::ops::Range<i64>| prop_oneof![9 => Just(None), 1 => off.prop_map(Some)];
    (rare(0..2), rare(-2..2)).prop_map(|(version, available)| Conditions { version, available })
}

/// Mostly between customers' accounts; sometimes from settlement or to it, and to where nothing is.
fn accounts() -> impl Strategy<Value = usize> {
    prop_oneof![12 => CUSTOMERS.start..CUSTOMERS.end - 1, 2 => Just(SETTLEMENT), 1 => 0..ACCOUNTS]
}

fn movement() -> impl Strategy<Value = Op> {
    let till = prop_oneof![2 => Just(None), 1 => (0..8_i64).prop_map(Some)];
    let hold = (till, prop::bool::weighted(0.2)).prop_map(|(till, external)| HoldOp { till, external });
    let hold = prop_oneof![Just(None), hold.prop_map(Some)];
    let value_date = prop_oneof![8 => Just(None), 1 => (-4..2_i64).prop_map(Some)];
    let money = (amount(), prop::bool::weighted(0.2), prop::bool::weighted(0.05));
    (0..12_u8, any::<u8>(), accounts(), 1..ACCOUNTS, money, hold, value_date, conditions(), conditions())
        .prop_map(|(choice, key, from, step, (amount, at_most, usd), hold, value_date, debit, credit)| {
            let external = hold.as_ref().is_some_and(|hold| hold.external);
            // What pays somebody outside credits settlement; nothing credits the account it debits.
            let (from, to) = match (external, from) {
                (true, SETTLEMENT) => (CUSTOMERS.start, SETTLEMENT),
                (true, from) => (from, SETTLEMENT),
                // Mostly from one of the three in euro to another.
                (false, 3..6) if choice > 1 => (from, 3 + (from - 3 + 1 + step % 2) % 3),
                (false, from) => (from, (from + step) % ACCOUNTS),
            };
            let who = payer(from, choice);
            let usd = usd != (from == super::bank::CARL_USD);
            Op::Transfer(TransferOp {
                who,
                key,
                from,
                to,
                amount,
                at_most,
                usd,
                hold,
                value_date,
                debit,
                credit,
            })
        })
}

fn convert() -> impl Strategy<Value = Op> {
    let skew = prop_oneof![6 => Just(0), 1 => -1..2_i64];
    let till = prop_oneof![Just(None), (1..6_i64).prop_map(Some)];
    let who = prop_oneof![8 => Just(ANNA), 1 => 0..5_usize];
    (who, any::<u8>(), 1..80_i64, 0..4_usize, skew, till, prop::bool::weighted(0.1)).prop_map(
        |(who, key, amount, rate, skew, till, late)| Op::Convert { who, key, amount, rate, skew, till, late },
    )
}

fn resolve() -> impl Strategy<Value = Op> {
    let part =
        prop_oneof![1 => Just(None), 2 => (1..40_i64).prop_map(Some), 1 => (40..120_i64).prop_map(Some)];
    let what = prop_oneof![
        4 => (part, any::<bool>()).prop_map(|(amount, keep)| What::Post { amount, keep }),
        2 => Just(What::PostChain),
        2 => Just(What::Void),
        1 => Just(What::VoidChain),
        3 => amount().prop_map(What::More),
    ];
    let who = prop_oneof![5 => Just(MAKER), 2 => Just(BERT), 2 => actors()];
    (who, any::<u8>(), 0..6_usize, what).prop_map(|(who, key, target, what)| Op::Resolve {
        who,
        key,
        target,
        what,
    })
}

fn reverse() -> impl Strategy<Value = Op> {
    let part = prop_oneof![2 => Just(None), 1 => (1..100_i64).prop_map(Some)];
    let who = prop_oneof![1 => Just(0), 1 => Just(1), 3 => Just(ANNA), 1 => actors()];
    (who, any::<u8>(), 0..4_usize, part).prop_map(|(who, key, target, amount)| Op::Reverse {
        who,
        key,
        target,
        amount,
    })
}

fn settings() -> impl Strategy<Value = Op> {
    // Most often the one that nothing else needs.
    let account = || prop_oneof![1 => CUSTOMERS.start..ACCOUNTS, 4 => Just(ACCOUNTS - 1)];
    let states = prop_oneof![
        3 => Just(State::Open),
        1 => Just(State::DebitFrozen),
        1 => Just(State::Frozen),
        4 => Just(State::Closed)
    ];
    let open = (account(), 0..3_i64, 0..2_i64).prop_map(|(account, revision, floor)| Op::Open {
        account,
        revision,
        floor: -floor,
    });
    let revision = || prop_oneof![1..9_i64, 20..400_i64];
    let state = (account(), states, revision()).prop_map(|(account, state, revision)| Op::State {
        account,
        state,
        revision,
    });
    let ceiling = prop_oneof![Just(None), (100..900_i64).prop_map(Some)];
    let limits = (account(), -200..20_i64, ceiling, revision())
        .prop_map(|(account, floor, ceiling, revision)| Op::Limits { account, floor, ceiling, revision });
    prop_oneof![2 => open, 4 => state, 2 => limits]
}

fn grant() -> impl Strategy<Value = Op> {
    (
        0..3_u8,
        CUSTOMERS.start..CUSTOMERS.start + 2,
        0..2_usize,
        prop::bool::weighted(0.1),
        0..4_usize,
        0..60_i64,
        0..6_i64,
    )
        .prop_map(|(consent, account, partner, none, caps, till, revision)| Op::Grant {
            consent,
            account,
            partner,
            none,
            caps,
            till,
            revision,
        })
}
