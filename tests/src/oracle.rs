//! The oracle: what the ledger has to answer, written once more from `docs/ledger.md` alone. Simple maps, unbounded numbers, one
//! command at a time and no thought of speed. It shares nothing with the judge but the types of what goes in and of what comes
//! out, so that one of the two being wrong shows.
//!
//! ```ignore
//! let mut oracle = Oracle::at(now_ms);
//! let answers = oracle.unit(&unit, &made);      // what each command has to come to
//! oracle.set_time(later_ms);                    // as the clock of the batch goes on
//! let answer = oracle.command(&command, made);
//! let balance = oracle.balance(&account);
//! ```
//!
//! Ids are the ledger's to give: `made` is the id of the transfer that the ledger says a command made, if it made one. Whoever
//! replays a history feeds the commands in the order of the journal, each with the booking time of its batch; refused ones may
//! stand anywhere between the rows before which and behind which they were answered. The closing of a period has to be a
//! batch of its own, as the store sees to: the oracle knows no batches.

mod accounts;
mod books;
mod exchange;
mod holds;
mod transfers;

use std::collections::HashMap;

use svc_ledger::domain::command::{Action, Command, FailureMode, Unit};
use svc_ledger::domain::request::{BodyHash, Key};
use svc_ledger::domain::verdict::{Refusal, TransferState, Verdict};
use uuid::Uuid;

use self::books::Books;
pub use self::books::{Balance, Deed};

/// What the oracle can know of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A transfer was made, or validated, over so much.
    Made(i128),
    /// What was asked is done, by this command or by an earlier one.
    Done,
    /// A validated command would bring the hold to this: held in all, posted, still held.
    Would(i128, i128, i128, TransferState),
    /// Refused.
    Refused(Refusal),
    /// The key was used with another body.
    BodyChanged,
    /// The account, or the consent, is there with other fields.
    Exists,
    /// A later intent was seen.
    Stale,
    /// There is no such account.
    NoAccount,
    /// The account is closed.
    Closed,
    /// The account is not empty.
    NotEmpty,
    /// The account is beyond the limit.
    LimitBreached,
    /// Not judged.
    NotAttempted,
}

impl Expected {
    /// A verdict, without what the oracle does not know.
    #[must_use]
    pub fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Booked(transfer) => Self::Made(transfer.amount.into()),
            Verdict::Opened(_)
            | Verdict::Set(_)
            | Verdict::Granted(_)
            | Verdict::Recorded(_)
            | Verdict::Closed(_)
            | Verdict::Expired => Self::Done,
            Verdict::WouldBecome(standing) => {
                let [amount, posted, held] =
                    [standing.amount, standing.posted, standing.held].map(i128::from);
                Self::Would(amount, posted, held, standing.state)
            }
            Verdict::Refused(refusal) => Self::Refused(*refusal),
            Verdict::BodyChanged(_) => Self::BodyChanged,
            Verdict::AccountExists(_) | Verdict::GrantExists(_) => Self::Exists,
            Verdict::StaleRevision => Self::Stale,
            Verdict::NoAccount => Self::NoAccount,
            Verdict::AccountClosed => Self::Closed,
            Verdict::AccountNotEmpty => Self::NotEmpty,
            Verdict::LimitBreached(_) => Self::LimitBreached,
            Verdict::NotAttempted => Self::NotAttempted,
        }
    }

    /// Whether what was asked is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Made(_) | Self::Done | Self::Would(..))
    }
}

/// See the module.
#[derive(Clone)]
pub struct Oracle {
    books: Books,
    /// What keys stand for. What was made answers as done from then on.
    outcomes: HashMap<Key, (BodyHash, Expected)>,
}

impl Oracle {
    /// An empty ledger at a time in milliseconds of the Unix time.
    #[must_use]
    pub fn at(now: i64) -> Self {
        Self { books: Books::at(now), outcomes: HashMap::new() }
    }

    /// Sets the time of the commands that follow.
    pub fn set_time(&mut self, now: i64) {
        self.books.now = now;
    }

    /// What an account has to hold; none if it was never opened.
    #[must_use]
    pub fn balance(&self, account: &Uuid) -> Option<Balance> {
        self.books.accounts.get(account).map(books::Book::balance)
    }

    /// All accounts with what they have to hold.
    pub fn balances(&self) -> impl Iterator<Item = (Uuid, Balance)> {
        self.books.accounts.iter().map(|(id, book)| (*id, book.balance()))
    }

    /// How a transfer has to stand.
    #[must_use]
    pub fn transfer(&self, id: &Uuid) -> Option<&Deed> {
        self.books.deeds.get(id)
    }

    /// All transfers, holds among them.
    pub fn transfers(&self) -> impl Iterator<Item = (&Uuid, &Deed)> {
        self.books.deeds.iter()
    }

    /// What has to have been taken of each consent.
    pub fn used(&self) -> impl Iterator<Item = (Uuid, i128)> {
        self.books.grants.iter().map(|(consent, grant)| (*consent, grant.used))
    }

    /// What has to become of the commands of a unit; `made` has an id for each command that made a transfer.
    pub fn unit(&mut self, unit: &Unit, made: &[Option<Uuid>]) -> Vec<Expected> {
        assert_eq!(unit.commands.len(), made.len());
        let mut answers: Vec<Expected> = Vec::new();
        while answers.len() < unit.commands.len() {
            let first = answers.len();
            let left = &unit.commands[first..];
            let linked = left.iter().take_while(|command| command.linked).count();
            let length =
                if unit.mode == FailureMode::Atomic { left.len() } else { left.len().min(linked + 1) };
            let made = &made[first..first + length];
            match &left[..length] {
                [command] => answers.push(self.command(command, made[0])),
                chain => answers.extend(self.chain(chain, made)),
            }
            if unit.mode == FailureMode::Stop && !answers[first..].iter().all(Expected::is_done) {
                answers.resize(unit.commands.len(), Expected::NotAttempted);
            }
        }
        answers
    }

    /// What has to become of a command that stands alone.
    pub fn command(&mut self, command: &Command, made: Option<Uuid>) -> Expected {
        if let Some(known) = self.known(command) {
            return known;
        }
        if !command.validate_only {
            let answer = self.books.judge(command, made);
            self.freeze(command, &answer);
            return answer;
        }
        let before = self.books.clone();
        let mut answer = self.books.judge(command, made);
        if let (Expected::Done, Action::Resolve(_, resolve)) = (&answer, &command.action) {
            answer = self.books.deeds[&resolve.transfer].would();
        }
        self.books = before;
        answer
    }

    /// What the command's key stands for already.
    fn known(&self, command: &Command) -> Option<Expected> {
        let (request, _) = command.action.request()?;
        let (body, outcome) = self.outcomes.get(&request.key)?;
        Some(if *body == request.body { outcome.clone() } else { Expected::BodyChanged })
    }

    /// Acceptance and refusal alike, once and for ever.
    fn freeze(&mut self, command: &Command, answer: &Expected) {
        let Some((request, _)) = command.action.request() else { return };
        let outcome = if let Expected::Refused(refusal) = answer {
            Expected::Refused(*refusal)
        } else if matches!(answer, Expected::Made(_) | Expected::Done) {
            Expected::Done
        } else {
            return;
        };
        self.outcomes.entry(request.key.clone()).or_insert_with(|| (request.body.clone(), outcome));
    }

    fn chain(&mut self, chain: &[Command], made: &[Option<Uuid>]) -> Vec<Expected> {
        let failed = Expected::Refused(Refusal::ChainFailed);
        let validation = chain.iter().any(|command| command.validate_only);
        let known: Vec<Option<Expected>> = chain.iter().map(|command| self.known(command)).collect();
        let answers = if known.iter().any(Option::is_some) {
            known.into_iter().map(|known| known.unwrap_or(failed.clone())).collect()
        } else if let Some(answers) = keys_twice(chain) {
            answers
        } else {
            let before = self.books.clone();
            let answers = self.books.chain(chain, made);
            if validation || !answers.iter().all(Expected::is_done) {
                self.books = before;
            }
            answers
        };
        if !validation {
            for (command, answer) in chain.iter().zip(&answers) {
                self.freeze(command, answer);
            }
        }
        answers
    }
}

/// The answers to a chain that has a key twice.
fn keys_twice(chain: &[Command]) -> Option<Vec<Expected>> {
    let mut seen: HashMap<&Key, &BodyHash> = HashMap::new();
    let mut twice = false;
    let mut answers = Vec::new();
    for command in chain {
        let mut answer = Expected::Refused(Refusal::ChainFailed);
        if let Some((request, _)) = command.action.request() {
            if let Some(first) = seen.get(&request.key) {
                twice = true;
                if **first != request.body {
                    answer = Expected::BodyChanged;
                }
            } else {
                seen.insert(&request.key, &request.body);
            }
        }
        answers.push(answer);
    }
    twice.then_some(answers)
}
