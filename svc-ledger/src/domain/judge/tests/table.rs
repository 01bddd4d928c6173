//! The language of the tables: one line a command or a check, run against a store of maps, every promise checked after every
//! batch. A line is a batch of its own unless it stands between `batch` and `commit`, and a unit of its own unless it stands
//! between `unit MODE` and `end`.
//!
//! ```text
//! open     ACCOUNT CURRENCY OWNERS FLOOR CEILING        -> VERDICT      floor and ceiling: a number, or - for none
//! fund     ACCOUNT AMOUNT                                             anna holds it from settlement, bert posts it
//! transfer ACTOR KEY FROM>TO AMOUNT [OPTION]...         -> VERDICT      also: hold
//! post     ACTOR KEY TRANSFER [AMOUNT] [keep] [chain]   -> VERDICT      a transfer is called by the key that made it
//! void     ACTOR KEY TRANSFER [chain]                   -> VERDICT
//! more     ACTOR KEY TRANSFER AMOUNT                    -> VERDICT
//! reverse  ACTOR KEY TRANSFER [AMOUNT]                  -> VERDICT
//! state    ACCOUNT STATE REVISION                       -> VERDICT
//! limits   ACCOUNT FLOOR CEILING REVISION               -> VERDICT
//! grant    CONSENT ACCOUNT PARTNER PER TOTAL TILL REVISION [none]  -> VERDICT
//! expire   TRANSFER                                     -> ok
//! close    ACTOR KEY DAY                                -> VERDICT      days count from today
//! tick     MILLISECONDS
//! is       ACCOUNT POSTED HELD EXPECTED [VERSION]
//! stands   TRANSFER AMOUNT CAPTURED REMAINING STATE
//! used     CONSENT AMOUNT
//! ```
//!
//! Options: `till=+MS`, `external`, `atmost`, `date=DAY`, `dv=`, `cv=` (versions), `da=`, `ca=` (available), `fx=QUOTE@RATE`,
//! `linked`, `try` (validate only) and a currency. A partner who acts for somebody is `partner:customer`. The key `k'` is the key
//! `k` once more, under another name for what it makes.

use std::collections::HashMap;

use chrono::{Days, NaiveDate};
use uuid::Uuid;

use super::domain::account::{Account, Amount, Purpose, State, house_id};
use super::domain::command::{
    self, Action, Actor, AmountMode, Command, Condition, FailureMode, Open, Pending, Request, Resolution,
    Resolve, Reverse, Seed, SetLimits, SetState, Transfer, Unit,
};
use super::domain::currency::Currency;
use super::domain::exchange::Exchange;
use super::domain::grant::{self, Terms};
use super::domain::judge::{Judged, judge};
use super::domain::period::day_of;
use super::domain::request::{BodyHash, Key, Operation, Scope};
use super::domain::verdict::Verdict;
use super::memory::Memory;
use super::promises;

/// Noon of a day.
const NOW: i64 = 1_750_000_000_000 - 1_750_000_000_000 % 86_400_000 + 43_200_000;

/// Runs a table.
pub(super) fn check(text: &str) {
    let mut table = Table::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split_once("//").map_or(line, |(line, _)| line).trim();
        if !line.is_empty() {
            table.line(number + 1, line);
        }
    }
    assert!(table.batch.is_none() && table.unit.is_none(), "a batch or a unit has no end");
}

/// A command as written, and what it is to come to.
struct Written {
    number: usize,
    words: Vec<String>,
    expect: String,
}

struct Table {
    memory: Memory,
    /// What transfers are called.
    made: HashMap<String, Uuid>,
    batch: Option<Vec<(FailureMode, Vec<Written>)>>,
    unit: Option<(FailureMode, Vec<Written>)>,
}

impl Table {
    fn new() -> Self {
        let mut table = Self { memory: Memory::at(NOW), made: HashMap::new(), batch: None, unit: None };
        for house in ["settlement-EUR", "exchange-EUR", "exchange-USD", "settlement-USD"] {
            table.line(0, &format!("open {house} {} - - - -> ok", &house[house.len() - 3..]));
        }
        table
    }

    fn line(&mut self, number: usize, line: &str) {
        let (words, expect) = line.split_once("->").unwrap_or((line, ""));
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let word = |place: usize| words.get(place).map_or("", String::as_str);
        match word(0) {
            "batch" => self.batch = Some(Vec::new()),
            "commit" => {
                let units = self.batch.take().unwrap();
                self.submit(units);
            }
            "unit" => self.unit = Some((mode(word(1)), Vec::new())),
            "end" => {
                let unit = self.unit.take().unwrap();
                self.unit_ends(unit);
            }
            "tick" => self.memory.head.now += number_of(word(1)),
            "fund" => {
                let name = format!("fund-{number}");
                self.line(number, &format!("hold anna {name} settlement-EUR>{} {} -> ok", word(1), word(2)));
                self.line(number, &format!("post bert {name}-post {name} -> ok"));
            }
            "is" => self.is(number, &words),
            "stands" => self.stands(number, &words),
            "used" => {
                let grant = &self.memory.grants[&id_of(word(1))];
                assert_eq!(grant.used, number_of(word(2)), "line {number}: {line}");
            }
            _ => {
                let written = Written { number, words, expect: expect.trim().to_owned() };
                match &mut self.unit {
                    Some((_, unit)) => unit.push(written),
                    None => self.unit_ends((FailureMode::Continue, vec![written])),
                }
            }
        }
    }

    fn unit_ends(&mut self, unit: (FailureMode, Vec<Written>)) {
        match &mut self.batch {
            Some(batch) => batch.push(unit),
            None => self.submit(vec![unit]),
        }
    }

    /// Judges and applies a batch. A command may name a transfer that an earlier one of the batch makes: ids follow from what
    /// stands before, so judging again with the ids of the last try settles them one after another.
    fn submit(&mut self, written: Vec<(FailureMode, Vec<Written>)>) {
        loop {
            let units: Vec<Unit> = written
                .iter()
                .map(|(mode, unit)| Unit {
                    mode: *mode,
                    commands: unit.iter().map(|written| self.command(&written.words)).collect(),
                })
                .collect();
            let (judged, _) = judge(self.memory.view(), &units);
            let lines: Vec<&Written> = written.iter().flat_map(|(_, unit)| unit).collect();
            assert_eq!(lines.len(), judged.verdicts.len());
            let mut settled = true;
            for (written, verdict) in lines.iter().zip(&judged.verdicts) {
                let made = verdict.made().filter(|id| !id.is_nil());
                if let Some(id) = made {
                    settled &= self.made.insert(key_of(&written.words), id) == Some(id);
                }
            }
            if settled {
                for (written, verdict) in lines.iter().zip(&judged.verdicts) {
                    let found = told(verdict, written.expect.contains(' '));
                    assert_eq!(found, written.expect, "line {}: {}", written.number, written.words.join(" "));
                }
                refusals_leave_nothing(&judged);
                self.memory.apply(&judged);
                promises::check(&self.memory);
                return;
            }
        }
    }

    fn account(&self, name: &str) -> &Account {
        self.memory.accounts.values().find(|account| account.id == id_of(name)).unwrap()
    }

    fn is(&self, number: usize, words: &[String]) {
        let account = self.account(&words[1]);
        let totals = account.totals;
        let found = [totals.posted(), totals.dr_pending, totals.cr_pending, account.version];
        let expect: Vec<i64> = words[2..].iter().map(|word| number_of(word)).collect();
        assert_eq!(found[..expect.len()], expect, "line {number}: {}", words.join(" "));
    }

    fn stands(&self, number: usize, words: &[String]) {
        let hold = &self.memory.holds[&self.made[&words[1]]];
        let found = [hold.amount, hold.captured, hold.remaining].map(|figure| figure.to_string());
        let found = format!("{} {:?}", found.join(" "), hold.state);
        assert_eq!(found, words[2..].join(" "), "line {number}: {}", words.join(" "));
    }

    fn today(&self) -> NaiveDate {
        day_of(self.memory.head.now)
    }

    fn command(&self, words: &[String]) -> Command {
        let word = |place: usize| words.get(place).map_or("", String::as_str);
        let options = Options { words, now: self.memory.head.now, today: self.today() };
        let transfer = |place: usize| self.made.get(word(place)).copied().unwrap_or(Uuid::max());
        let (mut who, key) = (actor(word(1)), word(2));
        let resolve = |resolution: Resolution| {
            let id = transfer(3);
            let amount = match resolution {
                Resolution::Post { amount, .. } => {
                    amount.map_or(String::new(), |amount| amount.minor_units().to_string())
                }
                Resolution::Increment(amount) => amount.minor_units().to_string(),
                Resolution::PostChain | Resolution::Void | Resolution::VoidChain => String::new(),
            };
            let fields: Vec<Vec<u8>> = match resolution.operation() {
                Operation::Post => {
                    vec![id.as_bytes().to_vec(), amount.into(), options.flag("keep"), options.flag("chain")]
                }
                Operation::Void => vec![id.as_bytes().to_vec(), options.flag("chain")],
                _ => vec![id.as_bytes().to_vec(), amount.into()],
            };
            let request = request(&actor(word(1)), key, resolution.operation(), &fields);
            Action::Resolve(request, Resolve { transfer: id, resolution })
        };
        let action = match word(0) {
            "open" => Action::Open(opening(words)),
            "transfer" | "hold" => {
                let transfer = options.transfer();
                Action::Transfer(request(&who, key, Operation::Transfer, &options.body(&transfer)), transfer)
            }
            "post" if options.has("chain") => resolve(Resolution::PostChain),
            "post" => resolve(Resolution::Post { amount: options.amount(4), keep_rest: options.has("keep") }),
            "void" if options.has("chain") => resolve(Resolution::VoidChain),
            "void" => resolve(Resolution::Void),
            "more" => resolve(Resolution::Increment(options.amount(4).unwrap())),
            "reverse" => {
                let (id, amount) = (transfer(3), options.amount(4));
                let figure = amount.map_or(String::new(), |amount| amount.minor_units().to_string());
                let fields = [id.as_bytes().to_vec(), figure.into_bytes(), Vec::new()];
                let request = request(&who, key, Operation::Reverse, &fields);
                Action::Reverse(request, Reverse { transfer: id, amount, detail: None })
            }
            "expire" => {
                who = actor("ledger");
                Action::Expire(transfer(1))
            }
            "close" => {
                let day = options.day(word(3));
                let fields = [day.to_string().into_bytes()];
                Action::ClosePeriod(request(&who, key, Operation::ClosePeriod, &fields), day)
            }
            "state" => Action::SetState(SetState {
                account: id_of(word(1)),
                state: state(word(2)),
                state_revision: number_of(word(3)),
            }),
            "limits" => Action::SetLimits(SetLimits {
                account: id_of(word(1)),
                floor: number_of(word(2)),
                ceiling: limit(word(3)),
                state_revision: number_of(word(4)),
            }),
            "grant" => Action::Grant(options.grant()),
            other => panic!("no such command: {other}"),
        };
        Command {
            actor: who,
            seed: Seed { nonce: 7, salt: [7; 16] },
            witness: None,
            linked: options.has("linked"),
            validate_only: options.has("try"),
            action,
        }
    }
}

/// What stands behind a command's first words.
struct Options<'a> {
    words: &'a [String],
    now: i64,
    today: NaiveDate,
}

impl Options<'_> {
    fn has(&self, option: &str) -> bool {
        self.words.iter().any(|word| word == option)
    }

    fn flag(&self, option: &str) -> Vec<u8> {
        if self.has(option) { vec![1] } else { Vec::new() }
    }

    fn value(&self, option: &str) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix(option)?.strip_prefix('='))
    }

    fn amount(&self, place: usize) -> Option<Amount> {
        let word = self
            .words
            .get(place)
            .filter(|word| word.starts_with(|letter: char| letter.is_ascii_digit() || letter == 'M'));
        word.and_then(|word| Amount::new(number_of(word)))
    }

    fn day(&self, text: &str) -> NaiveDate {
        let days = number_of(text);
        let distance = Days::new(days.unsigned_abs());
        if days < 0 { self.today - distance } else { self.today + distance }
    }

    fn transfer(&self) -> Transfer {
        let (debit, credit) = self.words[3].split_once('>').unwrap();
        let till = self.value("till").map(|till| self.now + number_of(till));
        let pending = Pending { expires_at: till, external: self.has("external") };
        let condition = |version: &str, available: &str| Condition {
            version: self.value(version).map(number_of),
            available_at_least: self.value(available).map(number_of),
        };
        let exchange = self.value("fx").and_then(|fx| fx.split_once('@'));
        let currency = if self.has("USD") { "USD" } else { "EUR" };
        Transfer {
            debit: id_of(debit),
            credit: id_of(credit),
            amount: self.amount(4).unwrap(),
            mode: if self.has("atmost") { AmountMode::AtMost } else { AmountMode::Exact },
            currency: Currency::parse(currency).unwrap(),
            pending: (self.words[0] == "hold").then_some(pending),
            value_date: self.value("date").map(|day| self.day(day)),
            debit_condition: condition("dv", "da"),
            credit_condition: condition("cv", "ca"),
            exchange: exchange
                .map(|(quote, rate)| Exchange { quote: quote.to_owned(), rate: rate.to_owned() }),
            hidden: self.has("hidden"),
            detail: None,
        }
    }

    /// The fields of a transfer's body; of what a table tells apart.
    fn body(&self, transfer: &Transfer) -> Vec<Vec<u8>> {
        let text = |option: &str| self.value(option).unwrap_or_default().as_bytes().to_vec();
        let money = format!("{}{}", transfer.currency.code(), transfer.amount.minor_units());
        let pending = if transfer.pending.is_some() { vec![1] } else { Vec::new() };
        vec![
            transfer.debit.as_bytes().to_vec(),
            transfer.credit.as_bytes().to_vec(),
            money.into_bytes(),
            Vec::new(),
            pending,
            self.flag("external"),
            text("till"),
            self.flag("atmost"),
            text("date"),
            [text("dv"), text("da")].concat(),
            [text("cv"), text("ca")].concat(),
            self.flag("linked"),
            text("fx"),
        ]
    }

    fn grant(&self) -> command::Grant {
        let cap = |word: &str| limit(word).and_then(Amount::new);
        let scopes: &[grant::Scope] = if self.has("none") { &[] } else { &[grant::Scope::CreateTransfers] };
        command::Grant {
            account: id_of(&self.words[2]),
            terms: Terms {
                consent: id_of(&self.words[1]),
                partner: self.words[3].clone(),
                scopes: scopes.iter().copied().collect(),
                per_transfer_max: cap(&self.words[4]),
                total_max: cap(&self.words[5]),
                // Not from the time of the batch: the same line again means the same.
                expires_at: NOW + number_of(&self.words[6]),
                revision: number_of(&self.words[7]),
            },
        }
    }
}

fn opening(words: &[String]) -> Open {
    let house = house_id(&words[1]).is_some();
    let purpose = match words[1].split_once('-') {
        Some(("settlement", _)) => Purpose::Settlement,
        Some(("exchange", _)) => Purpose::Exchange,
        _ => Purpose::Customer,
    };
    let owners = words[3].split(',').filter(|_| !house).map(str::to_owned).collect();
    Open {
        id: id_of(&words[1]),
        currency: Currency::parse(&words[2]).unwrap(),
        purpose,
        chart: purpose.chart(),
        floor: limit(&words[4]),
        ceiling: limit(&words[5]),
        customers: owners,
        state_revision: words.get(6).map_or(0, |revision| number_of(revision)),
    }
}

/// A key is its caller's; what it made is called by it.
fn key_of(words: &[String]) -> String {
    words[2].clone()
}

fn request(actor: &Actor, key: &str, operation: Operation, fields: &[Vec<u8>]) -> Request {
    let key = Key { scope: actor.scope, request_id: key.trim_end_matches('\'').to_owned() };
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    let body = BodyHash::new(operation, &key, &fields);
    Request { key, body }
}

fn actor(name: &str) -> Actor {
    let staff = ["anna", "bert"].contains(&name);
    let (partner, customer) = match name.split_once(':') {
        Some((partner, customer)) => (Some(partner.to_owned()), customer),
        None => (None, name),
    };
    let nobody = staff || ["rail", "ledger"].contains(&name);
    Actor {
        scope: Scope::of(name),
        staff,
        customer: (!nobody).then(|| customer.to_owned()),
        partner,
        rail: name == "rail",
    }
}

fn id_of(name: &str) -> Uuid {
    house_id(name)
        .unwrap_or_else(|| Uuid::from_u128(name.bytes().fold(0, |id, byte| id << 8 | u128::from(byte))))
}

fn number_of(word: &str) -> i64 {
    if word == "-MAX" {
        return -i64::MAX;
    }
    match word.strip_prefix("MAX") {
        Some("") => i64::MAX,
        Some(less) => i64::MAX + less.parse::<i64>().unwrap(),
        None => word.parse().unwrap_or_else(|_| panic!("not a number: {word}")),
    }
}

fn limit(word: &str) -> Option<i64> {
    (word != "-").then(|| number_of(word))
}

fn state(word: &str) -> State {
    match word {
        "open" => State::Open,
        "debit-frozen" => State::DebitFrozen,
        "frozen" => State::Frozen,
        "closed" => State::Closed,
        other => panic!("no such state: {other}"),
    }
}

fn mode(word: &str) -> FailureMode {
    match word {
        "continue" => FailureMode::Continue,
        "stop" => FailureMode::Stop,
        "atomic" => FailureMode::Atomic,
        other => panic!("no such mode: {other}"),
    }
}

/// A verdict as tables write it; with the amount of what was booked, if that is asked for.
pub(super) fn told(verdict: &Verdict, with_amount: bool) -> String {
    match verdict {
        Verdict::Booked(transfer) if with_amount => format!("ok {}", transfer.amount),
        Verdict::Opened(_)
        | Verdict::Set(_)
        | Verdict::Granted(_)
        | Verdict::Booked(_)
        | Verdict::Recorded(_)
        | Verdict::Closed(_)
        | Verdict::Expired => "ok".to_owned(),
        Verdict::WouldBecome(standing) => {
            format!("would {} {} {} {:?}", standing.amount, standing.posted, standing.held, standing.state)
        }
        Verdict::Refused(refusal) => format!("{refusal:?}"),
        Verdict::LimitBreached(limit) => format!("LimitBreached {limit}"),
        Verdict::BodyChanged(fields) => format!("BodyChanged {}", fields.join(",")),
        Verdict::AccountExists(fields) => format!("AccountExists {}", fields.join(",")),
        Verdict::GrantExists(fields) => format!("GrantExists {}", fields.join(",")),
        Verdict::NotAttempted
        | Verdict::NoAccount
        | Verdict::AccountClosed
        | Verdict::AccountNotEmpty
        | Verdict::StaleRevision => format!("{verdict:?}"),
    }
}

/// A batch in which nothing was done leaves outcomes and events, and not a byte more.
fn refusals_leave_nothing(judged: &Judged) {
    if judged.verdicts.iter().any(Verdict::is_done) {
        return;
    }
    assert!(judged.rows.is_empty() && judged.opened.is_empty() && judged.changed.is_empty());
    assert!(judged.settings.is_empty() && judged.parties.is_empty() && judged.grants.is_empty());
    assert!(judged.holds.is_empty() && judged.resolved.is_empty() && judged.reversals.is_empty());
    assert!(judged.periods.is_empty() && judged.details.is_empty());
}
