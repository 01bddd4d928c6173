//! What callers ask for, parsed: a command can be refused by the state of the ledger, but not for its own shape. Times, ids and
//! random bytes come along as arguments, since nothing in the domain may make them up.

use chrono::NaiveDate;
use uuid::Uuid;

use super::account::{Amount, Chart, Purpose, State};
use super::audit::Witness;
use super::currency::Currency;
use super::exchange::Exchange;
use super::grant;
use super::request::{BodyHash, Key, Operation, Scope};

/// Who asks, as far as the rules care.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Tells one principal from another.
    pub scope: Scope,
    /// Whether it may write any account.
    pub staff: bool,
    /// The customer it speaks for.
    pub customer: Option<String>,
    /// The partner that acts for the customer. It may do what the customer may and has consented to; it is never staff.
    pub partner: Option<String>,
    /// Whether it is a partner that carries out payments to other banks, acting for itself.
    pub rail: bool,
}

/// What a refusal in a unit means for the commands behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureMode {
    /// They are judged all the same.
    #[default]
    Continue,
    /// They are not judged.
    Stop,
    /// All are one chain.
    Atomic,
}

/// Commands that one caller sends together. They are judged one after another in one batch.
#[derive(Clone, Debug)]
pub struct Unit {
    /// In order; at least one.
    pub commands: Vec<Command>,
    /// What a refusal means for those behind it.
    pub mode: FailureMode,
}

impl From<Command> for Unit {
    fn from(command: Command) -> Self {
        Self { commands: vec![command], mode: FailureMode::Continue }
    }
}

/// Random bytes for the rows that a command may become.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// Part of the ids, so that they cannot be guessed.
    pub nonce: u32,
    /// Salts the hashes of a row's sides.
    pub salt: [u8; 16],
}

impl Seed {
    /// The salt of the row with this sequence number: a command may become several.
    #[must_use]
    pub fn salt_of(&self, seq: i64) -> [u8; 16] {
        let mut salt = self.salt;
        for (byte, other) in salt.iter_mut().zip(seq.to_be_bytes()) {
            *byte ^= other;
        }
        salt
    }
}

/// A command and what identifies the row it may become.
#[derive(Clone, Debug)]
pub struct Command {
    /// Who asks.
    pub actor: Actor,
    /// Random bytes for its rows.
    pub seed: Seed,
    /// For the audit.
    pub witness: Option<Witness>,
    /// Whether it stands or falls with the next command of its unit.
    pub linked: bool,
    /// Whether only to say what would become of it.
    pub validate_only: bool,
    /// What is asked.
    pub action: Action,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Action {
    /// Open an account; the account id is its idempotency key.
    Open(Open),
    /// Let an account take part, or not; the revision is its idempotency key.
    SetState(SetState),
    /// Bound an account's balance; the revision is its idempotency key.
    SetLimits(SetLimits),
    /// Let a partner act on an account, or not any more; the consent is its idempotency key.
    Grant(Grant),
    /// Move or hold money.
    Transfer(Request, Transfer),
    /// Post or void a hold, or hold more.
    Resolve(Request, Resolve),
    /// Give back what a transfer moved.
    Reverse(Request, Reverse),
    /// End a hold whose time is over.
    Expire(Uuid),
    /// Close all days up to one.
    ClosePeriod(Request, NaiveDate),
}

/// A caller's key and the digest of the body under it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose, and which.
    pub key: Key,
    /// What the key stands for.
    pub body: BodyHash,
}

/// An account to open.
#[derive(Clone, Debug)]
pub struct Open {
    /// Its id outside.
    pub id: Uuid,
    /// Its currency.
    pub currency: Currency,
    /// What it is for.
    pub purpose: Purpose,
    /// Its place in the chart of accounts.
    pub chart: Chart,
    /// Its floor; `None` for the bank's own.
    pub floor: Option<i64>,
    /// Its ceiling; `None` for no bound.
    pub ceiling: Option<i64>,
    /// Its parties, sorted, without repetition.
    pub customers: Vec<String>,
    /// The revision of the intent.
    pub state_revision: i64,
}

/// A state to set.
#[derive(Clone, Copy, Debug)]
pub struct SetState {
    /// The account's id outside.
    pub account: Uuid,
    /// What it shall be.
    pub state: State,
    /// The revision of the intent.
    pub state_revision: i64,
}

/// Limits to set.
#[derive(Clone, Copy, Debug)]
pub struct SetLimits {
    /// The account's id outside; a customer's.
    pub account: Uuid,
    /// Its floor.
    pub floor: i64,
    /// Its ceiling; `None` for no bound.
    pub ceiling: Option<i64>,
    /// The revision of the intent.
    pub state_revision: i64,
}

/// A grant to set as a whole.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The account's id outside.
    pub account: Uuid,
    /// What it shall be.
    pub terms: grant::Terms,
}

/// How an amount is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AmountMode {
    /// All of it or nothing.
    #[default]
    Exact,
    /// As much of it as the limits leave room for.
    AtMost,
}

/// What makes a transfer a hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// When it ends by itself, in milliseconds of the Unix time; never if absent.
    pub expires_at: Option<i64>,
    /// Whether it pays somebody outside this bank, and so is for a rail partner to post or void.
    pub external: bool,
}

/// What must hold of an account before a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Its version.
    pub version: Option<i64>,
    /// The least its available balance is.
    pub available_at_least: Option<i64>,
}

/// Money to move or to hold. The two accounts differ.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Where it leaves.
    pub debit: Uuid,
    /// Where it arrives.
    pub credit: Uuid,
    /// How much; the most, if the mode is at most.
    pub amount: Amount,
    /// Exactly or at most.
    pub mode: AmountMode,
    /// Of what.
    pub currency: Currency,
    /// Whether only to hold it.
    pub pending: Option<Pending>,
    /// The day it counts for; that of its booking if absent.
    pub value_date: Option<NaiveDate>,
    /// What must hold of the debited account.
    pub debit_condition: Condition,
    /// What must hold of the credited account.
    pub credit_condition: Condition,
    /// The conversion it is half of.
    pub exchange: Option<Exchange>,
    /// Whether the payer does not know the credited account's id, and is not told.
    pub hidden: bool,
    /// The texts that go with it.
    pub detail: Option<Detail>,
}

/// Somebody outside this bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalPayee {
    /// ISO 13616, without spaces.
    pub iban: String,
    /// What it is called.
    pub name: String,
}

/// Texts that live outside the journal, and the salted hash of them that lives inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// What both parties read; may be empty if there is a payee.
    pub reference: String,
    /// Who is paid outside this bank.
    pub payee: Option<ExternalPayee>,
    /// Without it the hash cannot be tried against guesses once the detail is erased.
    pub salt: [u8; 16],
    /// SHA-256 over salt and texts.
    pub hash: [u8; 32],
}

impl Detail {
    /// Texts with their salted hash; `None` if there are none.
    #[must_use]
    pub fn new(reference: String, payee: Option<ExternalPayee>, salt: [u8; 16]) -> Option<Self> {
        use sha2::{Digest as _, Sha256};
        if reference.is_empty() && payee.is_none() {
            return None;
        }
        let mut hash = Sha256::new().chain_update(salt).chain_update(reference.as_bytes());
        if let Some(payee) = &payee {
            // None of the texts holds a zero byte: control characters are refused.
            hash =
                hash.chain_update([0]).chain_update(&payee.iban).chain_update([0]).chain_update(&payee.name);
        }
        Some(Self { reference, payee, salt, hash: hash.finalize().into() })
    }
}

/// What to do with a hold.
#[derive(Clone, Copy, Debug)]
pub struct Resolve {
    /// The hold, or one of its chain.
    pub transfer: Uuid,
    /// Whether the money moves or is free again, or is more.
    pub resolution: Resolution,
}

/// What becomes of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The money moves: so much of it, or all that is held.
    Post {
        /// How much; all of it if absent.
        amount: Option<Amount>,
        /// Whether the rest stays held.
        keep_rest: bool,
    },
    /// All holds of the chain are posted in full.
    PostChain,
    /// The money is free again.
    Void,
    /// All holds of the chain are voided.
    VoidChain,
    /// More is held.
    Increment(Amount),
}

/// A transfer to give back.
#[derive(Clone, Debug)]
pub struct Reverse {
    /// The transfer.
    pub transfer: Uuid,
    /// How much of it; all that was posted if absent.
    pub amount: Option<Amount>,
    /// The text that goes with it.
    pub detail: Option<Detail>,
}

impl Action {
    /// The key and the operation, of actions that carry a key.
    #[must_use]
    pub fn request(&self) -> Option<(&Request, Operation)> {
        match self {
            Self::Open(_) | Self::SetState(_) | Self::SetLimits(_) | Self::Grant(_) | Self::Expire(_) => None,
            Self::Transfer(request, _) => Some((request, Operation::Transfer)),
            Self::Resolve(request, resolve) => Some((request, resolve.resolution.operation())),
            Self::Reverse(request, _) => Some((request, Operation::Reverse)),
            Self::ClosePeriod(request, _) => Some((request, Operation::ClosePeriod)),
        }
    }
}

impl Resolution {
    /// The posting of all that is held.
    pub const POST_ALL: Self = Self::Post { amount: None, keep_rest: false };

    /// The operation a key is used for.
    #[must_use]
    pub fn operation(self) -> Operation {
        match self {
            Self::Post { .. } | Self::PostChain => Operation::Post,
            Self::Void | Self::VoidChain => Operation::Void,
            Self::Increment(_) => Operation::Increment,
        }
    }

    /// Whether it is about every hold of the chain.
    #[must_use]
    pub fn is_whole_chain(self) -> bool {
        match self {
            Self::PostChain | Self::VoidChain => true,
            Self::Post { .. } | Self::Void | Self::Increment(_) => false,
        }
    }
}
