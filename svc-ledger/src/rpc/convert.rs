//! Between the contract's messages and the domain: the only file that sees both. Parsing collects every violated field before it
//! refuses, so that a caller can mend a request in one go.

pub(super) mod account;
pub(super) mod audit;
pub(super) mod journal;
pub(super) mod list;
pub(super) mod proof;
pub(super) mod result;
pub(super) mod transfer;

use std::fmt::Display;

use chassis::error::Violation;
use chassis::field::{self, RequestId};
use chassis::page::{Page, Sizes};
use chrono::Datelike as _;
use prost_types::Timestamp;
use proto::ledger::v1 as pb;
use uuid::Uuid;

use crate::domain::account::{Account, AccountType, Amount, Chart, Purpose, State, display_name, house_id};
use crate::domain::command::{Grant, Open};
use crate::domain::currency::Currency;
use crate::domain::grant;
use crate::domain::request::{Key, Scope};
use crate::domain::verdict::{self, Party, TransferState};
use crate::error::Error;
use crate::store::read::{Balance, Entry, Heading, Named};

const REFERENCE_CHARACTERS_MAX: usize = 140;
const GL_CODES: std::ops::RangeInclusive<i32> = 1..=999_999;
const CUSTOMERS_MAX: usize = 10;
const CUSTOMER_ID_BYTES_MAX: usize = 64;
const PARTNER_ID_BYTES_MAX: usize = 64;

/// How the caller named what the command is about, for errors.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) request_id: String,
    pub(super) debit: String,
    pub(super) credit: String,
    pub(super) transfer: String,
}

/// Collects what is wrong with a request.
#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, field: &str, description: &str) {
        self.0.push(Violation::new(field, description));
    }

    /// The value, or what is wrong with the field it should have come from.
    fn take<T, E: Display>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|why| self.add(field, &why.to_string())).ok()
    }

    /// The value, or a violation of the field it should have come from.
    fn need<T>(&mut self, field: &str, description: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.add(field, description);
        }
        value
    }

    fn error(self) -> Error {
        Error::Invalid(self.0)
    }

    fn none(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(self.error()) }
    }
}

// -- parsing -------------------------------------------------------------------------------------------------------------------

fn account_id(violations: &mut Violations, field: &str, text: &str) -> Option<Uuid> {
    let id = field::uuid(text).ok().or_else(|| house_id(text));
    violations.need(field, "must be a UUID or the name of one of the bank's own accounts", id)
}

fn key(violations: &mut Violations, scope: Scope, request_id: String) -> Option<Key> {
    let request_id = violations.take("request_id", RequestId::parse(request_id))?;
    Some(Key { scope, request_id: request_id.into() })
}

/// A name one of whose characters could be mistaken for another's end, or that no text column takes, is refused.
fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// What CreateLedgerAccount asks for.
pub(super) fn open(request: &pb::CreateLedgerAccountRequest, offered: &[Currency]) -> Result<Open, Error> {
    let mut violations = Violations::default();
    let id = violations.take("account_id", field::uuid(&request.account_id));
    let currency = Currency::parse(&request.currency_code).filter(|currency| offered.contains(currency));
    let currency =
        violations.need("currency_code", "must be an ISO 4217 currency that this bank offers", currency);
    let mut customers = request.customer_ids.clone();
    customers.sort_unstable();
    customers.dedup();
    if customers.len() != request.customer_ids.len() || !(1..=CUSTOMERS_MAX).contains(&customers.len()) {
        violations.add("customer_ids", "must be one to ten customers, each once");
    }
    let names = |id: &String| (1..=CUSTOMER_ID_BYTES_MAX).contains(&id.len()) && is_plain(id);
    if !customers.iter().all(names) {
        violations.add("customer_ids", "must be 1 to 64 bytes each, without control characters");
    }
    if request.min_available_minor_units > 0 {
        violations.add("min_available_minor_units", "must be zero or negative");
    }
    if request.state_revision < 0 {
        violations.add("state_revision", "must not be negative");
    }
    let gl_code = if request.gl_code == 0 { Purpose::Customer.chart().gl_code } else { request.gl_code };
    if !GL_CODES.contains(&gl_code) {
        violations.add("gl_code", "must be 1 to 999999");
    }
    let ceiling = account::ceiling(&mut violations, request.max_balance_minor_units);
    let (Some(id), Some(currency), true) = (id, currency, violations.0.is_empty()) else {
        return Err(violations.error());
    };
    Ok(Open {
        id,
        currency,
        purpose: Purpose::Customer,
        chart: Chart { gl_code, ..Purpose::Customer.chart() },
        floor: Some(request.min_available_minor_units),
        ceiling,
        customers,
        state_revision: request.state_revision,
    })
}

/// What SetGrant asks for. What the ledger counts is not asked.
pub(super) fn set_grant(request: &pb::Grant) -> Result<Grant, Error> {
    let mut violations = Violations::default();
    let consent = violations.take("grant.consent_id", field::uuid(&request.consent_id));
    let account = violations.take("grant.account_id", field::uuid(&request.account_id));
    let partner = &request.partner_id;
    if !(1..=PARTNER_ID_BYTES_MAX).contains(&partner.len()) || !is_plain(partner) {
        violations.add("grant.partner_id", "must be 1 to 64 bytes, without control characters");
    }
    let scopes = request.scopes.iter().map(|number| pb::GrantScope::try_from(*number).ok().and_then(scope));
    let scopes = scopes.collect::<Option<Vec<_>>>();
    let scopes = violations.need("grant.scopes", "must be known scopes", scopes);
    let (per_transfer_max, total_max) = (request.per_transfer_max_minor_units, request.total_max_minor_units);
    for (field, cap) in
        [("per_transfer_max_minor_units", per_transfer_max), ("total_max_minor_units", total_max)]
    {
        if cap < 0 {
            violations.add(&format!("grant.{field}"), "must not be negative");
        }
    }
    // A part of a millisecond is not granted: the ledger's clock has none.
    let expires_at = at_or_before(&mut violations, "grant.expire_time", request.expire_time.as_ref());
    if request.expire_time.is_none() {
        violations.add("grant.expire_time", "must be given");
    }
    if request.revision < 0 {
        violations.add("grant.revision", "must not be negative");
    }
    let (Some(consent), Some(account), Some(scopes), Some(expires_at), true) =
        (consent, account, scopes, expires_at, violations.0.is_empty())
    else {
        return Err(violations.error());
    };
    let terms = grant::Terms {
        consent,
        partner: partner.clone(),
        scopes: scopes.into_iter().collect(),
        per_transfer_max: Amount::new(per_transfer_max),
        total_max: Amount::new(total_max),
        expires_at,
        revision: request.revision,
    };
    Ok(Grant { account, terms })
}

fn scope(scope: pb::GrantScope) -> Option<grant::Scope> {
    match scope {
        pb::GrantScope::Unspecified => None,
        pb::GrantScope::ReadBalance => Some(grant::Scope::ReadBalance),
        pb::GrantScope::ReadEntries => Some(grant::Scope::ReadEntries),
        pb::GrantScope::CreateTransfers => Some(grant::Scope::CreateTransfers),
    }
}

/// The error of a field that one transfer alone cannot have.
pub(super) fn only_in_a_batch(field: &'static str) -> Error {
    Error::Invalid(vec![Violation::new(field, "is only for several transfers together")])
}

/// What GetTransfer names.
pub(super) fn transfer_id(text: &str) -> Result<Uuid, Error> {
    field::uuid(text).map_err(|why| Error::Invalid(vec![Violation::new("transfer_id", why.to_string())]))
}

/// The error of a list without the account it must name.
pub(super) fn account_required() -> Error {
    Error::Invalid(vec![Violation::new(
        "account_id",
        "must name an account, unless the caller is a customer",
    )])
}

fn named(violations: &mut Violations, text: &str) -> Option<Named> {
    Some(Named { id: account_id(violations, "account_id", text)?, name: text.to_owned() })
}

/// A time in nanoseconds of the Unix time.
fn nanoseconds(violations: &mut Violations, field: &str, time: Option<&Timestamp>) -> Option<i128> {
    let time = time?;
    let valid = (0..1_000_000_000).contains(&time.nanos) && (0..=253_402_300_799).contains(&time.seconds);
    let nanoseconds = valid.then(|| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos));
    violations.need(field, "must be a time between 1970 and 9999", nanoseconds)
}

/// The last whole millisecond at or before a time: the ledger books in whole milliseconds.
fn at_or_before(violations: &mut Violations, field: &str, time: Option<&Timestamp>) -> Option<i64> {
    nanoseconds(violations, field, time).and_then(|time| i64::try_from(time / 1_000_000).ok())
}

/// The first whole millisecond at or after a time.
fn at_or_after(violations: &mut Violations, field: &str, time: Option<&Timestamp>) -> Option<i64> {
    nanoseconds(violations, field, time).and_then(|time| i64::try_from((time + 999_999) / 1_000_000).ok())
}

fn page(
    violations: &mut Violations,
    sizes: Sizes,
    filters: &[&[u8]],
    size: i32,
    token: &str,
) -> Option<Page> {
    Page::parse(sizes, filters, size, token).map_err(|wrong| violations.0.extend(wrong)).ok()
}

/// As the store counts.
pub(super) fn limit(page: &Page) -> i64 {
    i64::try_from(page.limit()).unwrap_or(i64::MAX)
}

/// What GetBalance asks for: the account and the booking time.
pub(super) fn get_balance(request: &pb::GetBalanceRequest) -> Result<(Named, Option<i64>), Error> {
    let mut violations = Violations::default();
    let account = named(&mut violations, &request.account_id);
    let as_of = at_or_before(&mut violations, "as_of", request.as_of.as_ref());
    if request.min_seq < 0 {
        violations.add("min_seq", "must not be negative");
    }
    if request.version < 0 || (request.version > 0 && request.as_of.is_some()) {
        violations.add("version", "must not be negative, nor come with as_of");
    }
    let Some(account) = account else { return Err(violations.error()) };
    violations.none().map(|()| (account, as_of))
}

/// The booking time of a trial balance.
pub(super) fn as_of(time: Option<&Timestamp>) -> Result<Option<i64>, Error> {
    let mut violations = Violations::default();
    let as_of = at_or_before(&mut violations, "as_of", time);
    violations.none().map(|()| as_of)
}

/// The account that is watched.
pub(super) fn watched_account(text: &str) -> Result<Named, Error> {
    let mut violations = Violations::default();
    named(&mut violations, text).ok_or_else(|| violations.error())
}

/// The error of a number that is less than none.
pub(super) fn negative(field: &'static str) -> Error {
    Error::Invalid(vec![Violation::new(field, "must not be negative")])
}

/// The error of a place where the journal has not come to.
pub(super) fn beyond_the_journal(field: &'static str) -> Error {
    Error::Invalid(vec![Violation::new(field, "must be a sequence number that the journal has reached")])
}

// -- printing ------------------------------------------------------------------------------------------------------------------

fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp {
        seconds: milliseconds.div_euclid(1_000),
        nanos: i32::try_from(milliseconds.rem_euclid(1_000) * 1_000_000).unwrap_or_default(),
    }
}

fn money(currency: Currency, minor_units: i64) -> pb::Money {
    pb::Money { currency_code: currency.code().to_owned(), minor_units }
}

/// An account as it was opened.
pub(super) fn account(account: &Account) -> pb::LedgerAccount {
    pb::LedgerAccount {
        account_id: display_name(account.id, account.purpose, account.currency),
        currency_code: account.currency.code().to_owned(),
        min_available_minor_units: account.floor,
        version: account.version,
        create_time: Some(timestamp(account.opened_at)),
        max_balance_minor_units: account.ceiling,
        state: state(account.state).into(),
        account_type: account_type(account.chart.kind).into(),
        gl_code: account.chart.gl_code,
        state_revision: account.state_revision,
    }
}

fn state(state: State) -> pb::LedgerAccountState {
    match state {
        State::Open => pb::LedgerAccountState::Open,
        State::DebitFrozen => pb::LedgerAccountState::DebitFrozen,
        State::Frozen => pb::LedgerAccountState::Frozen,
        State::Closed => pb::LedgerAccountState::Closed,
    }
}

fn account_type(kind: AccountType) -> pb::AccountType {
    match kind {
        AccountType::Asset => pb::AccountType::Asset,
        AccountType::Liability => pb::AccountType::Liability,
        AccountType::Equity => pb::AccountType::Equity,
        AccountType::Income => pb::AccountType::Income,
        AccountType::Expense => pb::AccountType::Expense,
    }
}

fn date(day: chrono::NaiveDate) -> proto::google::r#type::Date {
    let number = |part: u32| i32::try_from(part).unwrap_or_default();
    proto::google::r#type::Date { year: day.year(), month: number(day.month()), day: number(day.day()) }
}

/// A grant as it stands; `account_id` as the caller named it.
pub(super) fn grant(account_id: String, grant: &grant::Grant) -> pb::Grant {
    let number = |scope| match scope {
        grant::Scope::ReadBalance => pb::GrantScope::ReadBalance.into(),
        grant::Scope::ReadEntries => pb::GrantScope::ReadEntries.into(),
        grant::Scope::CreateTransfers => pb::GrantScope::CreateTransfers.into(),
    };
    let cap = |cap: Option<Amount>| cap.map(Amount::minor_units).unwrap_or_default();
    pb::Grant {
        consent_id: grant.terms.consent.to_string(),
        account_id,
        partner_id: grant.terms.partner.clone(),
        scopes: grant.terms.scopes.iter().map(number).collect(),
        per_transfer_max_minor_units: cap(grant.terms.per_transfer_max),
        total_max_minor_units: cap(grant.terms.total_max),
        expire_time: Some(timestamp(grant.terms.expires_at)),
        revision: grant.terms.revision,
        used_minor_units: grant.used,
    }
}

/// A transfer.
pub(super) fn transfer(transfer: &verdict::Transfer) -> pb::Transfer {
    let name = |party: Party| display_name(party.id, party.purpose, transfer.currency);
    let state = match transfer.state {
        TransferState::Pending => pb::TransferState::Pending,
        TransferState::Posted => pb::TransferState::Posted,
        TransferState::Voided => pb::TransferState::Voided,
        TransferState::Expired => pb::TransferState::Expired,
    };
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    pb::Transfer {
        transfer_id: id(Some(transfer.id).filter(|id| !id.is_nil())),
        debit_account_id: transfer.debit.map(name).unwrap_or_default(),
        credit_account_id: transfer.credit.map(name).unwrap_or_default(),
        amount: Some(money(transfer.currency, transfer.amount)),
        state: state.into(),
        reference: transfer.reference.clone(),
        seq: transfer.seq,
        book_time: Some(timestamp(transfer.booked_at)),
        posted_amount: Some(money(transfer.currency, transfer.posted)),
        held_amount: Some(money(transfer.currency, transfer.held)),
        expire_time: transfer.expires_at.map(timestamp),
        value_date: Some(date(transfer.value_date)),
        chain_seq: transfer.link.unwrap_or_default(),
        reverses_transfer_id: id(transfer.reverses),
        reversed_by_transfer_id: id(transfer.reversed_by),
        exchange: transfer
            .exchange
            .as_ref()
            .map(|exchange| pb::Exchange { quote_id: exchange.quote.clone(), rate: exchange.rate.clone() }),
        external_payee: transfer
            .payee
            .as_ref()
            .map(|payee| pb::ExternalPayee { iban: payee.iban.clone(), name: payee.name.clone() }),
    }
}

/// What an account holds.
pub(super) fn balance(id: Uuid, balance: &Balance) -> pb::Balance {
    pb::Balance {
        account_id: display_name(id, balance.purpose, balance.currency),
        posted: Some(money(balance.currency, balance.posted)),
        pending: Some(money(balance.currency, balance.pending)),
        available: Some(money(balance.currency, balance.available)),
        version: balance.version,
        seq: balance.seq,
        book_time: balance.booked_at.map(timestamp),
    }
}

/// An entry of an account.
pub(super) fn entry(id: Uuid, heading: Heading, entry: &Entry) -> pb::Entry {
    let name = |party: Party| display_name(party.id, party.purpose, heading.currency);
    pb::Entry {
        account_id: display_name(id, heading.purpose, heading.currency),
        transfer_id: entry.transfer.to_string(),
        amount: Some(money(heading.currency, entry.amount)),
        balance_after: Some(money(heading.currency, entry.balance_after)),
        version: entry.version,
        seq: entry.seq,
        counterparty_account_id: entry.counterparty.map(name).unwrap_or_default(),
        reference: entry.reference.clone(),
        book_time: Some(timestamp(entry.booked_at)),
        value_date: Some(date(entry.value_date)),
    }
}
