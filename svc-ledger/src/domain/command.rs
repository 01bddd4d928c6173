//! What callers ask for, parsed: a command can be refused by the state of the ledger, but not for its own shape. Times, ids and
//! random bytes come along as arguments, since nothing in the domain may make them up.

use uuid::Uuid;

use super::account::{Amount, Purpose};
use super::audit::Witness;
use super::currency::Currency;
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
}

/// A command and what identifies the row it may become.
#[derive(Clone, Debug)]
pub struct Command {
    /// Who asks.
    pub actor: Actor,
    /// Random bits for the ids of the rows.
    pub nonce: u32,
    /// For the audit.
    pub witness: Option<Witness>,
    /// What is asked.
    pub action: Action,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Action {
    /// Open an account; the account id is its idempotency key.
    Open(Open),
    /// Let a partner act on an account, or not any more; the consent is its idempotency key.
    Grant(Grant),
    /// Move or hold money.
    Transfer(Request, Transfer),
    /// Post or void a hold.
    Resolve(Request, Resolve),
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
    /// Its floor; `None` for the bank's own.
    pub floor: Option<i64>,
    /// Its parties, sorted, without repetition.
    pub customers: Vec<String>,
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

/// Money to move or to hold. The two accounts differ.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Where it leaves.
    pub debit: Uuid,
    /// Where it arrives.
    pub credit: Uuid,
    /// How much.
    pub amount: Amount,
    /// Of what.
    pub currency: Currency,
    /// Whether only to hold it.
    pub pending: bool,
    /// The text both parties read.
    pub detail: Option<Detail>,
}

/// A text that lives outside the journal, and the salted hash of it that lives inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The text.
    pub reference: String,
    /// Without it the hash cannot be tried against guesses once the detail is erased.
    pub salt: [u8; 16],
    /// SHA-256 over salt and text.
    pub hash: [u8; 32],
}

impl Detail {
    /// A text with its salted hash; `None` for an empty text.
    #[must_use]
    pub fn new(reference: String, salt: [u8; 16]) -> Option<Self> {
        use sha2::{Digest as _, Sha256};
        if reference.is_empty() {
            return None;
        }
        let hash = Sha256::new().chain_update(salt).chain_update(reference.as_bytes()).finalize().into();
        Some(Self { reference, salt, hash })
    }
}

/// What to do with a hold.
#[derive(Clone, Copy, Debug)]
pub struct Resolve {
    /// The hold.
    pub transfer: Uuid,
    /// Whether the money moves or is free again.
    pub resolution: Resolution,
}

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The money moves.
    Post,
    /// The money is free again.
    Void,
}

impl Action {
    /// The key and the operation, of actions that carry a key.
    #[must_use]
    pub fn request(&self) -> Option<(&Request, Operation)> {
        match self {
            Self::Open(_) | Self::Grant(_) => None,
            Self::Transfer(request, _) => Some((request, Operation::Transfer)),
            Self::Resolve(request, resolve) => Some((request, resolve.resolution.operation())),
        }
    }
}

impl Resolution {
    /// The operation a key is used for.
    #[must_use]
    pub fn operation(self) -> Operation {
        match self {
            Self::Post => Operation::Post,
            Self::Void => Operation::Void,
        }
    }
}
