//! The nouns of the service and their rules. Pure: no async, no proto, no driver and no clock; time, ids and randomness
//! are arguments. A value of one of these types is valid: whoever holds it need not check it again.

pub mod account;
pub mod change;
pub mod consent;
pub mod customer;
pub mod email;
pub mod etag;
pub mod iban;
pub mod id;
pub mod name;
pub mod partner;
pub mod payee;
pub mod request;
pub mod seal;
pub mod time;

pub use account::{Account, AccountState, CurrencyCode, StateRevision};
pub use change::{Changes, Intent};
pub use consent::{Caps, Consent, ConsentScope, ConsentScopes, ConsentState, Terms};
pub use customer::Customer;
pub use email::Email;
pub use iban::{Iban, IbanRange};
pub use id::{AccountId, ConsentId, CustomerId};
pub use name::{AccountName, CustomerName};
pub use partner::PartnerId;
pub use payee::PayeeName;
pub use request::Request;
pub use seal::Seal;
pub use time::UnixMillis;
