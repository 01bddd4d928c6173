//! The keys of the single table. One item a fact; the facts of one record share its partition, so that they are read in
//! one consistent query and written in one transaction.
//!
//! | partition | sort | what it says |
//! |---|---|---|
//! | `CUST#<customer>` | `CUST` | the customer |
//! | `CUST#<customer>` | `ACCT#<account>` | holds this account |
//! | `CUSTS` | `CUST#<customer>` | there is this customer |
//! | `ACCT#<account>` | `ACCT` | the account |
//! | `ACCT#<account>` | `HOLDER#<customer>` | is held by this customer |
//! | `IBAN#<iban>` | `IBAN` | belongs to this account |
//! | `EMAIL#<mark>` | `EMAIL` | belongs to this customer |
//! | `REQ#<mark>` | `REQ` | was asked for, and made this |
//! | `OPENING` | `ACCT#<account>` | still waits for the ledger |
//! | `CHANGING` | `ACCT#<account>` | is to become something that the ledger has not confirmed |
//! | `TOLD#<account>` | `STATE`, `LIMIT` | is to be told to whoever keeps the audit once the ledger has confirmed it |
//! | `CONSENTS#<account>` | `CONSENT#<consent>` | the consent |
//! | `CONSENTS#<account>` | `PARTNER#<partner>#<consent>` | was given to this partner, and not taken back |
//! | `GRANTING` | `CONSENT#<consent>` | the ledger does not know of its newest intent |
//! | `OUTBOX` | `EVENT#<event>` | is to be told to whoever keeps the audit |
//!
//! Consents stand beside the account's partition and not in it: an opening reads all of that partition, and the consents of
//! an account only grow in number.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use uuid::Uuid;

use crate::domain::seal::Purpose;
use crate::domain::{AccountId, ConsentId, CustomerId, Email, Iban, PartnerId, Request, Seal};

/// The attribute of the partition key.
pub const PARTITION: &str = "pk";
/// The attribute of the sort key.
pub const SORT: &str = "sk";

/// Where all customers are listed. One partition takes a thousand new customers a second, which no bank sees; its items
/// are keys only, so personal data stands in one place and is erased in one place.
pub const CUSTOMERS: &str = "CUSTS";
/// Where accounts wait for the ledger. Empty but for the openings of the last moments.
pub const OPENING: &str = "OPENING";
/// Where accounts that are to change wait for the ledger.
pub const CHANGING: &str = "CHANGING";
/// Where consents wait for the ledger.
pub const GRANTING: &str = "GRANTING";
/// How the sort keys of consents begin.
pub const CONSENT_PREFIX: &str = "CONSENT#";
/// How the sort keys of the marks of partners begin.
pub const PARTNER_PREFIX: &str = "PARTNER#";
/// Where audit events wait to be shipped. Empty but for the last moments. One partition keeps them in the order of their ids
/// and takes a thousand a second; customers, accounts and consents do not change as often.
pub const OUTBOX: &str = "OUTBOX";
/// How the sort keys of events begin.
pub const EVENT_PREFIX: &str = "EVENT#";
/// How the sort keys of customers begin.
pub const CUSTOMER_PREFIX: &str = "CUST#";
/// How the sort keys of accounts begin.
pub const ACCOUNT_PREFIX: &str = "ACCT#";
/// How the sort keys of holders begin.
pub const HOLDER_PREFIX: &str = "HOLDER#";

/// Where an item stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The partition key.
    pub partition: String,
    /// The sort key.
    pub sort: String,
}

impl Key {
    fn new(partition: impl Into<String>, sort: impl Into<String>) -> Self {
        Self { partition: partition.into(), sort: sort.into() }
    }

    /// The customer.
    pub fn customer(id: CustomerId) -> Self {
        Self::new(format!("{CUSTOMER_PREFIX}{id}"), "CUST")
    }

    /// In the list of all customers.
    pub fn customer_listed(id: CustomerId) -> Self {
        Self::new(CUSTOMERS, format!("{CUSTOMER_PREFIX}{id}"))
    }

    /// In the list of a customer's accounts.
    pub fn account_held(customer: CustomerId, account: AccountId) -> Self {
        Self::new(format!("{CUSTOMER_PREFIX}{customer}"), format!("{ACCOUNT_PREFIX}{account}"))
    }

    /// The account.
    pub fn account(id: AccountId) -> Self {
        Self::new(format!("{ACCOUNT_PREFIX}{id}"), "ACCT")
    }

    /// A holder of the account.
    pub fn holder(account: AccountId, customer: CustomerId) -> Self {
        Self::new(format!("{ACCOUNT_PREFIX}{account}"), format!("{HOLDER_PREFIX}{customer}"))
    }

    /// The owner of an IBAN.
    pub fn iban(iban: &Iban) -> Self {
        Self::new(format!("IBAN#{}", iban.as_str()), "IBAN")
    }

    /// The owner of an email address, which itself is not in the key.
    pub fn email(seal: &Seal, email: &Email) -> Self {
        Self::new(format!("EMAIL#{}", seal.mark(Purpose::Email, &[email.folded().as_bytes()])), "EMAIL")
    }

    /// A request and what it made.
    pub fn request(request: &Request) -> Self {
        Self::new(format!("REQ#{}", request.key()), "REQ")
    }

    /// In the list of accounts that wait for the ledger.
    pub fn opening(id: AccountId) -> Self {
        Self::new(OPENING, format!("{ACCOUNT_PREFIX}{id}"))
    }

    /// In the list of accounts that are to change.
    pub fn changing(id: AccountId) -> Self {
        Self::new(CHANGING, format!("{ACCOUNT_PREFIX}{id}"))
    }

    /// The event of a change of the account's state, until there is something to tell.
    pub fn state_told(id: AccountId) -> Self {
        Self::new(format!("TOLD#{id}"), "STATE")
    }

    /// The same of its limit.
    pub fn limit_told(id: AccountId) -> Self {
        Self::new(format!("TOLD#{id}"), "LIMIT")
    }

    /// The partition of an account's consents.
    pub fn consents(account: AccountId) -> String {
        format!("CONSENTS#{account}")
    }

    /// The consent.
    pub fn consent(account: AccountId, consent: ConsentId) -> Self {
        Self::new(Self::consents(account), format!("{CONSENT_PREFIX}{consent}"))
    }

    /// Among what a partner may rely on.
    pub fn consented(account: AccountId, partner: &PartnerId, consent: ConsentId) -> Self {
        Self::new(Self::consents(account), format!("{}{consent}", Self::partner_prefix(partner)))
    }

    /// How the sort keys begin of what one partner may rely on.
    pub fn partner_prefix(partner: &PartnerId) -> String {
        format!("{PARTNER_PREFIX}{partner}#")
    }

    /// In the list of consents that wait for the ledger.
    pub fn granting(consent: ConsentId) -> Self {
        Self::new(GRANTING, format!("{CONSENT_PREFIX}{consent}"))
    }

    /// An audit event.
    pub fn event(id: Uuid) -> Self {
        Self::new(OUTBOX, format!("{EVENT_PREFIX}{}", id.hyphenated()))
    }

    /// Names no item; reading it tells whether the table answers.
    pub fn probe() -> Self {
        Self::new("PROBE", "PROBE")
    }

    /// The key as the driver wants it.
    pub fn attributes(&self) -> HashMap<String, AttributeValue> {
        HashMap::from([
            (PARTITION.to_owned(), AttributeValue::S(self.partition.clone())),
            (SORT.to_owned(), AttributeValue::S(self.sort.clone())),
        ])
    }
}
