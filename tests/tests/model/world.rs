//! A script being run: the store of maps, the oracle beside it, and what was made and said so far.

use chrono::Days;
use e2e::oracle::{Expected, Oracle};
use svc_ledger::domain::account::Amount;
use svc_ledger::domain::command::{
    self, Action, Actor, AmountMode, Command, Condition, FailureMode, Pending, Request, Resolution, Resolve,
    Reverse, SetLimits, SetState, Transfer, Unit,
};
use svc_ledger::domain::exchange::{Exchange, Rate};
use svc_ledger::domain::grant::{Scope, Scopes, Terms};
use svc_ledger::domain::judge::{Judged, judge};
use svc_ledger::domain::period::day_of;
use svc_ledger::domain::request::{BodyHash, Key, Operation};
use svc_ledger::domain::verdict::TransferState;
use uuid::Uuid;

use super::bank::{
    self, ANNA, BERT, CARL_USD, CUSTOMERS, EXCHANGE_EUR, EXCHANGE_USD, LEDGER, PARTNERS, SETTLEMENT, account,
    actor, currency,
};
use super::memory::Memory;
use super::promises;
use super::script::{Conditions, MAKER, Op, Step, TransferOp, UnitOp, What};

/// Of one transfer, and of all.
const CAPS: [(Option<i64>, Option<i64>); 4] =
    [(None, None), (Some(60), None), (None, Some(200)), (Some(90), Some(120))];
const RATES: [&str; 4] = ["1.085", "0.9217", "2", "0.005"];

pub struct World {
    pub memory: Memory,
    pub oracle: Oracle,
    /// What one of a script's units of time is in milliseconds.
    tick: i64,
    made: Vec<(Uuid, Actor)>,
    said: Vec<Command>,
}

impl World {
    /// A bank at `now` without accounts; a script's unit of time takes so many milliseconds.
    pub fn at(now: i64, tick: i64) -> Self {
        Self { memory: Memory::at(now), oracle: Oracle::at(now), tick, made: Vec::new(), said: Vec::new() }
    }

    /// The batches that open the accounts, hold money for those of customers, and let a partner debit one.
    pub fn beginning(&mut self) -> Vec<Vec<Unit>> {
        let opened = (0..bank::ACCOUNTS - 1)
            .map(|number| bank::command(actor(ANNA), Action::Open(bank::opening(number))).into())
            .collect();
        let fund = CUSTOMERS.filter(|number| *number != CARL_USD).map(|number| {
            let op = TransferOp {
                who: ANNA,
                key: 0,
                from: SETTLEMENT,
                to: number,
                amount: 500,
                at_most: false,
                usd: false,
                hold: Some(super::script::HoldOp { till: None, external: false }),
                value_date: None,
                debit: Conditions::default(),
                credit: Conditions::default(),
            };
            self.transfer(&op, &format!("fund-{number}"), false).into()
        });
        let fund: Vec<Unit> = fund.collect();
        let wide = Op::Grant {
            consent: 0,
            account: CUSTOMERS.start,
            partner: 0,
            none: false,
            caps: 3,
            till: 60,
            revision: 1,
        };
        let grant = self.commands(&wide, false).into_iter().map(Unit::from).collect();
        vec![opened, fund, grant]
    }

    /// The units that post what the beginning has held.
    pub fn funding(&mut self) -> Vec<Unit> {
        let holds: Vec<Uuid> = self.memory.holds.keys().copied().collect();
        let post = |id: Uuid| {
            let action = resolve(&actor(BERT), &format!("fund-{id}"), id, Resolution::POST_ALL);
            bank::command(actor(BERT), action).into()
        };
        holds.into_iter().map(post).collect()
    }

    /// The batch that a step asks for; none if it is about time alone, which has then passed.
    pub fn units(&mut self, step: &Step) -> Option<Vec<Unit>> {
        match step {
            Step::Batch(units) => Some(units.iter().map(|unit| self.unit(unit)).collect()),
            Step::Close { who, key, days_ago } => {
                let day = day_of(self.memory.head.now) - Days::new((*days_ago).into());
                let request = request(&actor(*who), &format!("close-{key}"), Operation::ClosePeriod, 1, &day);
                Some(vec![bank::command(actor(*who), Action::ClosePeriod(request, day)).into()])
            }
            Step::Tick(ticks) => {
                self.memory.head.now += ticks * self.tick;
                None
            }
        }
    }

    fn unit(&mut self, unit: &UnitOp) -> Unit {
        let mut commands = Vec::new();
        let (last, all) = (unit.ops.len() - 1, unit.ops.iter().enumerate());
        for (place, (op, linked)) in all {
            let linked = *linked && place < last && unit.mode != FailureMode::Atomic;
            commands.extend(self.commands(op, linked));
        }
        if unit.validate {
            for command in &mut commands {
                command.validate_only = true;
            }
        }
        self.said.extend(commands.iter().cloned());
        Unit { commands, mode: unit.mode }
    }

    fn commands(&self, op: &Op, linked: bool) -> Vec<Command> {
        let by = |who: usize, action: Action| vec![bank::command(actor(who), action)];
        let of = |who: usize, target: usize| if who == MAKER { self.maker(target) } else { actor(who) };
        match op {
            Op::Transfer(transfer) => vec![self.transfer(transfer, &transfer.key.to_string(), linked)],
            Op::Convert { who, key, amount, rate, skew, till, late } => {
                self.conversion(*who, *key, (*amount, *rate, *skew), (*till, *late), linked)
            }
            Op::Resolve { who, key, target, what } => {
                let whole = |amount: i64| Amount::new(amount).unwrap();
                let resolution = match *what {
                    What::Post { amount, keep } => {
                        Resolution::Post { amount: amount.map(whole), keep_rest: keep && amount.is_some() }
                    }
                    What::PostChain => Resolution::PostChain,
                    What::Void => Resolution::Void,
                    What::VoidChain => Resolution::VoidChain,
                    What::More(amount) => Resolution::Increment(whole(amount)),
                };
                let who = of(*who, *target);
                let action = resolve(&who, &key.to_string(), self.target(*target), resolution);
                vec![bank::command(who, action)]
            }
            Op::Reverse { who, key, target, amount } => {
                let (transfer, amount) = (self.target(*target), amount.and_then(Amount::new));
                let body = (transfer, amount);
                let request = request(&actor(*who), &key.to_string(), Operation::Reverse, 3, &body);
                by(*who, Action::Reverse(request, Reverse { transfer, amount, detail: None }))
            }
            Op::Expire { target } => by(LEDGER, Action::Expire(self.target(*target))),
            Op::Open { account, revision, floor } => {
                let opening = bank::opening(*account);
                let floor = opening.floor.map(|usual| usual + floor);
                by(LEDGER, Action::Open(command::Open { floor, state_revision: *revision, ..opening }))
            }
            Op::State { account: number, state, revision } => {
                let account = account(*number);
                by(LEDGER, Action::SetState(SetState { account, state: *state, state_revision: *revision }))
            }
            Op::Limits { account: number, floor, ceiling, revision } => {
                let (account, floor, ceiling) = (account(*number), *floor, *ceiling);
                by(
                    LEDGER,
                    Action::SetLimits(SetLimits { account, floor, ceiling, state_revision: *revision }),
                )
            }
            Op::Grant { .. } => by(LEDGER, Action::Grant(self.grant(op))),
            Op::Again { target } => {
                let count = self.said.len();
                let again =
                    count.checked_sub(target % count.max(1) + 1).map(|place| self.said[place].clone());
                again.into_iter().map(|command| Command { validate_only: false, ..command }).collect()
            }
        }
    }

    fn grant(&self, op: &Op) -> command::Grant {
        let Op::Grant { consent, account: number, partner, none, caps, till, revision } = op else {
            panic!("{op:?}")
        };
        let (per_transfer_max, total_max) = CAPS[*caps];
        let scopes: Scopes = [Scope::CreateTransfers].into_iter().filter(|_| !none).collect();
        let terms = Terms {
            consent: Uuid::from_u128(u128::from(*consent)),
            partner: PARTNERS[*partner].to_owned(),
            scopes,
            per_transfer_max: per_transfer_max.and_then(Amount::new),
            total_max: total_max.and_then(Amount::new),
            expires_at: self.memory.head.now + till * self.tick,
            revision: *revision,
        };
        command::Grant { account: account(*number), terms }
    }

    /// The transfer that was made so many before the youngest.
    fn target(&self, target: usize) -> Uuid {
        let count = self.made.len();
        count.checked_sub(target + 1).map_or(Uuid::max(), |place| self.made[place].0)
    }

    fn maker(&self, target: usize) -> Actor {
        let count = self.made.len();
        count.checked_sub(target + 1).map_or_else(|| actor(ANNA), |place| self.made[place].1.clone())
    }

    fn condition(&self, number: usize, wanted: &Conditions) -> Condition {
        let Some(balance) = self.oracle.balance(&account(number)) else { return Condition::default() };
        let available = i64::try_from(balance.available()).unwrap();
        Condition {
            version: wanted.version.map(|off| balance.version + off),
            available_at_least: wanted.available.map(|off| available.saturating_add(off)),
        }
    }

    fn transfer(&self, op: &TransferOp, key: &str, linked: bool) -> Command {
        let (now, today) = (self.memory.head.now, day_of(self.memory.head.now));
        let pending = op.hold.as_ref().map(|hold| Pending {
            expires_at: hold.till.map(|till| now + till * self.tick),
            external: hold.external,
        });
        let day = |days: i64| {
            if days < 0 {
                today - Days::new(days.unsigned_abs())
            } else {
                today + Days::new(days.unsigned_abs())
            }
        };
        let transfer = Transfer {
            debit: account(op.from),
            credit: account(op.to),
            amount: Amount::new(op.amount).unwrap(),
            mode: if op.at_most { AmountMode::AtMost } else { AmountMode::Exact },
            currency: currency(op.usd),
            pending,
            value_date: op.value_date.map(day),
            debit_condition: self.condition(op.from, &op.debit),
            credit_condition: self.condition(op.to, &op.credit),
            exchange: None,
            hidden: false,
            detail: None,
        };
        keyed(actor(op.who), key, transfer, linked)
    }

    fn conversion(
        &self,
        who: usize,
        key: u8,
        (amount, rate, skew): (i64, usize, i64),
        (till, late): (Option<i64>, bool),
        linked: bool,
    ) -> Vec<Command> {
        let rate = RATES[rate].to_owned();
        let (from, to) = (currency(false), currency(true));
        let first = Amount::new(amount).unwrap();
        let converted = Rate::parse(&rate).unwrap().convert(first, from, to).map_or(0, Amount::minor_units);
        let second = Amount::new((converted + skew).max(1)).unwrap();
        let expires_at = till.map(|till| self.memory.head.now + till * self.tick);
        let later = expires_at.map(|at| at + i64::from(late) * self.tick);
        let half = |debit: usize, credit: usize, amount: Amount, usd: bool| Transfer {
            debit: account(debit),
            credit: account(credit),
            amount,
            mode: AmountMode::Exact,
            currency: currency(usd),
            pending: Some(Pending { expires_at: if usd { later } else { expires_at }, external: false }),
            value_date: None,
            debit_condition: Condition::default(),
            credit_condition: Condition::default(),
            exchange: Some(Exchange { quote: "q".to_owned(), rate: rate.clone() }),
            hidden: false,
            detail: None,
        };
        let (first, second) =
            (half(CUSTOMERS.start, EXCHANGE_EUR, first, false), half(EXCHANGE_USD, CARL_USD, second, true));
        vec![
            keyed(actor(who), &format!("{key}-from"), first, true),
            keyed(actor(who), &format!("{key}-to"), second, linked),
        ]
    }

    /// Runs a batch through the judge, twice, and says what that comes to once all agree about it.
    pub fn run(&mut self, units: &[Unit]) -> Judged {
        let (judged, _) = judge(self.memory.view(), units);
        let (again, _) = judge(self.memory.view(), units);
        assert_eq!((&judged.verdicts, &judged.rows), (&again.verdicts, &again.rows), "judging is a function");
        assert_eq!((&judged.outcomes, &judged.holds), (&again.outcomes, &again.holds));
        self.dry_runs_are_runs(units);
        if !judged.verdicts.iter().any(svc_ledger::domain::verdict::Verdict::is_done) {
            leaves_nothing(&judged);
        }
        self.oracle.set_time(self.memory.head.now);
        let mut verdicts = judged.verdicts.iter();
        for unit in units {
            let verdicts: Vec<_> = verdicts.by_ref().take(unit.commands.len()).collect();
            let made: Vec<Option<Uuid>> =
                verdicts.iter().map(|verdict| verdict.made().filter(|id| !id.is_nil())).collect();
            let expected = self.oracle.unit(unit, &made);
            let found: Vec<Expected> = verdicts.iter().map(|verdict| Expected::of(verdict)).collect();
            assert_eq!(found, expected, "the judge, and the oracle: {unit:#?}");
            let makers = unit.commands.iter().map(|command| command.actor.clone());
            self.made.extend(made.into_iter().zip(makers).filter_map(|(id, maker)| Some((id?, maker))));
        }
        self.batching_does_not_matter(units);
        self.memory.apply(&judged);
        judged
    }

    /// A validation says what the run says, and leaves nothing.
    fn dry_runs_are_runs(&self, units: &[Unit]) {
        let run = &units[0];
        let keyed = |command: &Command| {
            matches!(command.action, Action::Transfer(..) | Action::Resolve(..) | Action::Reverse(..))
        };
        // Validations of a unit stand each alone: only a single command, or one chain, is the same dry.
        let is_one = run.commands.len() == 1 || run.mode == FailureMode::Atomic;
        if !is_one || run.commands.iter().any(|command| command.validate_only || !keyed(command)) {
            return;
        }
        let mut dry = run.clone();
        dry.commands.iter_mut().for_each(|command| command.validate_only = true);
        let (wet, _) = judge(self.memory.view(), [run]);
        let (dry, _) = judge(self.memory.view(), [&dry]);
        for (wet, dry) in wet.verdicts.iter().zip(&dry.verdicts) {
            let (wet, dry) = (Expected::of(wet), Expected::of(dry));
            let same = wet == dry || (wet == Expected::Done && matches!(dry, Expected::Would(..)));
            assert!(same, "run: {wet:?}, validated: {dry:?}: {run:#?}");
        }
        leaves_nothing(&dry);
        assert!(dry.outcomes.is_empty() && dry.events.is_empty());
    }

    /// Units judged at once come to what they come to one by one.
    fn batching_does_not_matter(&self, units: &[Unit]) {
        let mut at_once = self.memory.clone();
        at_once.apply(&judge(at_once.view(), units).0);
        let mut one_by_one = self.memory.clone();
        let mut kept = self.memory.view();
        for unit in units {
            // What a batch leaves is what would be read after it.
            let judged;
            (judged, kept) = judge(kept, [unit]);
            let (read, _) = judge(one_by_one.view(), [unit]);
            assert_eq!((&judged.verdicts, &judged.rows), (&read.verdicts, &read.rows), "kept, and read");
            assert_eq!((&judged.changed, &judged.settings), (&read.changed, &read.settings));
            assert_eq!((&judged.outcomes, &judged.resolved), (&read.outcomes, &read.resolved));
            one_by_one.apply(&judged);
        }
        assert_eq!(at_once.rows, one_by_one.rows);
        assert_eq!(at_once.accounts, one_by_one.accounts);
        assert_eq!(at_once.holds, one_by_one.holds);
        assert_eq!(at_once.grants, one_by_one.grants);
        assert_eq!(at_once.outcomes, one_by_one.outcomes);
    }

    /// Every promise holds, and the oracle's books say what the tables say.
    pub fn check(&self) {
        promises::check(&self.memory);
        let mut accounts = 0;
        for (id, balance) in self.oracle.balances() {
            let account = self.memory.accounts.values().find(|account| account.id == id).unwrap();
            let totals = account.totals;
            let theirs =
                [totals.dr_posted, totals.cr_posted, totals.dr_pending, totals.cr_pending].map(i128::from);
            assert_eq!(
                theirs,
                [balance.debits, balance.credits, balance.held, balance.expected],
                "{account:?}"
            );
            assert_eq!(account.version, balance.version, "{account:?}");
            accounts += 1;
        }
        assert_eq!(accounts, self.memory.accounts.len());
        for (id, deed) in self.oracle.transfers() {
            assert_eq!(self.memory.reversals.contains_key(id), deed.reversed, "{deed:?}");
            let Some(hold) = self.memory.holds.get(id) else {
                assert!(!deed.is_hold && deed.state == TransferState::Posted, "{deed:?}");
                continue;
            };
            let theirs = [hold.amount, hold.captured, hold.remaining].map(i128::from);
            assert_eq!((theirs, hold.state), ([deed.amount, deed.posted, deed.held], deed.state), "{id}");
        }
        let used = self.memory.grants.iter().map(|(consent, grant)| (*consent, i128::from(grant.used)));
        assert!(used.eq(self.oracle.used()));
    }
}

/// What was refused, or only validated, leaves outcomes and events at most.
fn leaves_nothing(judged: &Judged) {
    assert!(judged.rows.is_empty() && judged.opened.is_empty() && judged.changed.is_empty());
    assert!(judged.settings.is_empty() && judged.parties.is_empty() && judged.grants.is_empty());
    assert!(judged.holds.is_empty() && judged.resolved.is_empty() && judged.reversals.is_empty());
    assert!(judged.periods.is_empty() && judged.details.is_empty());
}

fn keyed(actor: Actor, key: &str, transfer: Transfer, linked: bool) -> Command {
    let request = request(&actor, key, Operation::Transfer, 13, &(&transfer, linked));
    Command { linked, ..bank::command(actor, Action::Transfer(request, transfer)) }
}

fn resolve(actor: &Actor, key: &str, transfer: Uuid, resolution: Resolution) -> Action {
    let operation = resolution.operation();
    let fields = if operation == Operation::Post { 4 } else { 2 };
    let request = request(actor, key, operation, fields, &(transfer, resolution));
    Action::Resolve(request, Resolve { transfer, resolution })
}

/// A key and the digest of a body, which is its text here, in the first of so many fields.
fn request(
    actor: &Actor,
    key: &str,
    operation: Operation,
    fields: usize,
    body: &impl std::fmt::Debug,
) -> Request {
    let key = Key { scope: actor.scope, request_id: key.to_owned() };
    let text = format!("{body:?}");
    let mut bytes: Vec<&[u8]> = vec![&[]; fields];
    bytes[0] = text.as_bytes();
    let body = BodyHash::new(operation, &key, &bytes);
    Request { key, body }
}
