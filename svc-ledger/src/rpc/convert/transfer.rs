//! What is asked about transfers: making, posting, voiding, increasing and reversing them.

use chrono::{Datelike as _, Months, NaiveDate};
use iban::{Iban, IbanLike as _};
use proto::google::r#type::Date;
use proto::ledger::v1 as pb;
use proto::ledger::v1::create_transfer_request::Credit;
use uuid::Uuid;

use super::{Names, REFERENCE_CHARACTERS_MAX, Violations, account_id, at_or_before, is_plain, key};
use crate::domain::account::{Amount, Purpose, house_account};
use crate::domain::command::{
    Action, AmountMode, Condition, Detail, ExternalPayee, Pending, Request, Resolution, Resolve, Reverse,
    Transfer,
};
use crate::domain::currency::Currency;
use crate::domain::exchange::{Exchange, Rate};
use crate::domain::request::{BodyHash, Operation, Scope};
use crate::error::Error;

const NAME_CHARACTERS_MAX: usize = 140;
const QUOTE_BYTES_MAX: usize = 64;
/// How far from today a value date may lie. Wide enough for what a bank corrects and for what it agrees ahead.
const VALUE_DATE_PAST: Months = Months::new(120);
const VALUE_DATE_FUTURE: Months = Months::new(12);

/// What a transfer is parsed by besides itself.
#[derive(Clone, Copy, Debug)]
pub(in crate::rpc) struct Terms<'a> {
    /// What this bank's own IBANs begin with, but for their check digits.
    pub(in crate::rpc) own_ibans: &'a [String],
    /// The UTC day.
    pub(in crate::rpc) today: NaiveDate,
}

/// What CreateTransfer asks for; `salt` protects the texts. A payee token has been opened by now.
pub(in crate::rpc) fn create_transfer(
    scope: Scope,
    request: pb::CreateTransferRequest,
    salt: [u8; 16],
    terms: &Terms<'_>,
) -> Result<(Action, Names), Error> {
    let mut violations = Violations::default();
    let mode = match request.amount_mode() {
        pb::AmountMode::Unspecified | pb::AmountMode::Exact => AmountMode::Exact,
        pb::AmountMode::AtMost => AmountMode::AtMost,
    };
    if pb::AmountMode::try_from(request.amount_mode).is_err() {
        violations.add("amount_mode", "must be a known mode");
    }
    let mut named =
        Names { request_id: request.request_id.clone(), debit: request.debit_account_id, ..Names::default() };
    let key = key(&mut violations, scope, request.request_id);
    let debit = account_id(&mut violations, "debit_account_id", &named.debit);
    let money = request.amount.unwrap_or_default();
    let currency = Currency::parse(&money.currency_code);
    let currency = violations.need("amount.currency_code", "must be an ISO 4217 currency", currency);
    let amount = violations.need("amount.minor_units", "must be positive", Amount::new(money.minor_units));
    let (credit, payee) = credit(&mut violations, &mut named, request.credit, currency, terms);
    if debit.is_some() && debit == credit {
        violations.add("credit_account_id", "must be another account than debit_account_id");
    }
    let reference = reference(&mut violations, request.reference);
    let is_pending = request.pending || payee.is_some();
    let expires_at = at_or_before(&mut violations, "expire_time", request.expire_time.as_ref());
    if request.expire_time.is_some() && !is_pending {
        violations.add("expire_time", "is only for a pending transfer");
    }
    let value_date = value_date(&mut violations, request.value_date, terms.today);
    let debit_condition = condition(request.debit_condition.as_ref());
    let credit_condition = condition(request.credit_condition.as_ref());
    let exchange = request.exchange.and_then(|exchange| exchanged(&mut violations, exchange));
    let (Some(key), Some(debit), Some(credit), Some(currency), Some(amount), true) =
        (key, debit, credit, currency, amount, violations.0.is_empty())
    else {
        return Err(violations.error());
    };
    let transfer = Transfer {
        debit,
        credit,
        amount,
        mode,
        currency,
        pending: is_pending.then_some(Pending { expires_at, external: payee.is_some() }),
        value_date,
        debit_condition,
        credit_condition,
        exchange,
        hidden: false,
        detail: Detail::new(reference, payee, salt),
    };
    let body = BodyHash::new(
        Operation::Transfer,
        &key,
        &body(&transfer, request.linked).each_ref().map(Vec::as_slice),
    );
    Ok((Action::Transfer(Request { key, body }, transfer), named))
}

/// Where the money goes: the account, and the payee if it is outside the bank.
fn credit(
    violations: &mut Violations,
    named: &mut Names,
    credit: Option<Credit>,
    currency: Option<Currency>,
    terms: &Terms<'_>,
) -> (Option<Uuid>, Option<ExternalPayee>) {
    match credit {
        Some(Credit::CreditAccountId(id)) => {
            let account = account_id(violations, "credit_account_id", &id);
            named.credit = id;
            (account, None)
        }
        Some(Credit::ExternalPayee(payee)) => {
            let account = currency.map(|currency| house_account(Purpose::Settlement, currency));
            (account, external(violations, payee, terms))
        }
        // One that is left was not opened: nothing here can say what it stands for.
        Some(Credit::PayeeToken(_)) => {
            violations.add("payee_token", "cannot be taken here");
            (None, None)
        }
        None => {
            violations.add("credit_account_id", "is required, or another way to say who is credited");
            (None, None)
        }
    }
}

fn external(
    violations: &mut Violations,
    payee: pb::ExternalPayee,
    terms: &Terms<'_>,
) -> Option<ExternalPayee> {
    let name = payee.name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX || !is_plain(name) {
        violations.add("external_payee.name", "must be 1 to 140 characters, without control characters");
    }
    // The parser lets spaces pass, as IBANs are printed; the same body shall have one form.
    let parsed = payee.iban.parse::<Iban>().ok().filter(|iban| iban.electronic_str() == payee.iban);
    let iban = violations.need(
        "external_payee.iban",
        "must be an IBAN with valid check digits, without spaces",
        parsed,
    )?;
    let iban = iban.electronic_str();
    let bank = |own: &String| {
        let (country, bank) = own.split_at(2);
        iban.starts_with(country) && iban.get(4..).is_some_and(|rest| rest.starts_with(bank))
    };
    if terms.own_ibans.iter().any(bank) {
        violations.add("external_payee.iban", "is of this bank: look it up and pay by its payee token");
    }
    Some(ExternalPayee { iban: iban.to_owned(), name: name.to_owned() })
}

/// The text both parties read.
pub(super) fn reference(violations: &mut Violations, text: String) -> String {
    if text.chars().count() > REFERENCE_CHARACTERS_MAX || !is_plain(&text) {
        violations.add("reference", "must be at most 140 characters, without control characters");
    }
    text
}

fn value_date(violations: &mut Violations, date: Option<Date>, today: NaiveDate) -> Option<NaiveDate> {
    let day = calendar_day(violations, "value_date", &date?)?;
    let from = today.checked_sub_months(VALUE_DATE_PAST).unwrap_or(NaiveDate::MIN);
    let until = today.checked_add_months(VALUE_DATE_FUTURE).unwrap_or(NaiveDate::MAX);
    let fits = (from..=until).contains(&day);
    violations.need("value_date", "must be at most 10 years ago and 1 year ahead", fits.then_some(day))
}

/// A day of the calendar.
pub(super) fn calendar_day(violations: &mut Violations, field: &str, date: &Date) -> Option<NaiveDate> {
    let part = |part: i32| u32::try_from(part).unwrap_or_default();
    let year = (1..=9_999).contains(&date.year).then_some(date.year);
    let day = year.and_then(|year| NaiveDate::from_ymd_opt(year, part(date.month), part(date.day)));
    violations.need(field, "must be a day of the calendar", day)
}

fn condition(condition: Option<&pb::AccountCondition>) -> Condition {
    condition.map_or_else(Condition::default, |condition| Condition {
        version: condition.if_version,
        available_at_least: condition.if_available_at_least_minor_units,
    })
}

fn exchanged(violations: &mut Violations, exchange: pb::Exchange) -> Option<Exchange> {
    let quote = &exchange.quote_id;
    let is_quote =
        (1..=QUOTE_BYTES_MAX).contains(&quote.len()) && quote.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_quote {
        violations.add("exchange.quote_id", "must be 1 to 64 printable ASCII characters");
    }
    let rate = Rate::parse(&exchange.rate);
    violations.need(
        "exchange.rate",
        "must be a positive decimal, 10 digits before and 10 behind the point at most",
        rate,
    )?;
    is_quote.then_some(Exchange { quote: exchange.quote_id, rate: exchange.rate })
}

/// The canonical bytes of a transfer's fields, in the order of [`Operation::Transfer`]'s; none stand for a field at its default.
fn body(transfer: &Transfer, linked: bool) -> [Vec<u8>; 13] {
    let flag = |set: bool| if set { vec![1] } else { Vec::new() };
    let detail = transfer.detail.as_ref();
    let payee = detail.and_then(|detail| detail.payee.as_ref());
    let expires_at = transfer.pending.and_then(|pending| pending.expires_at);
    let units = transfer.amount.minor_units().to_be_bytes();
    [
        transfer.debit.as_bytes().to_vec(),
        transfer.credit.as_bytes().to_vec(),
        [&transfer.currency.numeric().to_be_bytes()[..], &units].concat(),
        detail.map(|detail| detail.reference.clone().into_bytes()).unwrap_or_default(),
        flag(transfer.pending.is_some()),
        payee.map(|payee| [payee.iban.as_bytes(), &[0], payee.name.as_bytes()].concat()).unwrap_or_default(),
        expires_at.map(|at| at.to_be_bytes().to_vec()).unwrap_or_default(),
        flag(transfer.mode == AmountMode::AtMost),
        transfer.value_date.map(|day| day.num_days_from_ce().to_be_bytes().to_vec()).unwrap_or_default(),
        condition_bytes(&transfer.debit_condition),
        condition_bytes(&transfer.credit_condition),
        flag(linked),
        transfer
            .exchange
            .as_ref()
            .map(|exchange| [exchange.quote.as_bytes(), &[0], exchange.rate.as_bytes()].concat())
            .unwrap_or_default(),
    ]
}

fn condition_bytes(condition: &Condition) -> Vec<u8> {
    if *condition == Condition::default() {
        return Vec::new();
    }
    [condition.version, condition.available_at_least]
        .into_iter()
        .flat_map(|figure| {
            [vec![u8::from(figure.is_some())], figure.unwrap_or_default().to_be_bytes().to_vec()].concat()
        })
        .collect()
}

/// What PostTransfer asks for.
pub(in crate::rpc) fn post(scope: Scope, request: pb::PostTransferRequest) -> Result<(Action, Names), Error> {
    let mut violations = Violations::default();
    let amount = request
        .amount_minor_units
        .and_then(|units| violations.need("amount_minor_units", "must be positive", Amount::new(units)));
    if request.whole_chain && (request.amount_minor_units.is_some() || request.keep_rest) {
        violations
            .add("whole_chain", "is about each transfer in full: not with amount_minor_units or keep_rest");
    }
    let resolution = if request.whole_chain {
        Resolution::PostChain
    } else {
        Resolution::Post { amount, keep_rest: request.keep_rest }
    };
    resolve(violations, scope, &request.transfer_id, request.request_id, resolution)
}

/// What VoidTransfer asks for.
pub(in crate::rpc) fn void(scope: Scope, request: pb::VoidTransferRequest) -> Result<(Action, Names), Error> {
    let resolution = if request.whole_chain { Resolution::VoidChain } else { Resolution::Void };
    resolve(Violations::default(), scope, &request.transfer_id, request.request_id, resolution)
}

/// What IncrementTransfer asks for.
pub(in crate::rpc) fn increment(
    scope: Scope,
    request: pb::IncrementTransferRequest,
) -> Result<(Action, Names), Error> {
    let mut violations = Violations::default();
    let amount = Amount::new(request.amount_minor_units);
    match violations.need("amount_minor_units", "must be positive", amount) {
        Some(amount) => {
            let resolution = Resolution::Increment(amount);
            resolve(violations, scope, &request.transfer_id, request.request_id, resolution)
        }
        // For the other violations.
        None => resolve(violations, scope, &request.transfer_id, request.request_id, Resolution::Void),
    }
}

fn resolve(
    mut violations: Violations,
    scope: Scope,
    transfer_id: &str,
    request_id: String,
    resolution: Resolution,
) -> Result<(Action, Names), Error> {
    let named =
        Names { request_id: request_id.clone(), transfer: transfer_id.to_owned(), ..Names::default() };
    let transfer = violations.take("transfer_id", chassis::field::uuid(transfer_id));
    let key = key(&mut violations, scope, request_id);
    let (Some(transfer), Some(key), true) = (transfer, key, violations.0.is_empty()) else {
        return Err(violations.error());
    };
    let id = transfer.as_bytes().as_slice();
    let units = |amount: Amount| amount.minor_units().to_be_bytes().to_vec();
    let body = |fields: &[&[u8]]| BodyHash::new(resolution.operation(), &key, fields);
    let body = match resolution {
        Resolution::Post { amount, keep_rest } => {
            let amount = amount.map(units).unwrap_or_default();
            body(&[id, &amount, if keep_rest { &[1] } else { &[] }, &[]])
        }
        Resolution::PostChain => body(&[id, &[], &[], &[1]]),
        Resolution::Void => body(&[id, &[]]),
        Resolution::VoidChain => body(&[id, &[1]]),
        Resolution::Increment(amount) => body(&[id, &units(amount)]),
    };
    Ok((Action::Resolve(Request { key, body }, Resolve { transfer, resolution }), named))
}

/// What ReverseTransfer asks for; `salt` protects the text.
pub(in crate::rpc) fn reverse(
    scope: Scope,
    request: pb::ReverseTransferRequest,
    salt: [u8; 16],
) -> Result<(Action, Names), Error> {
    let mut violations = Violations::default();
    let named = Names {
        request_id: request.request_id.clone(),
        transfer: request.transfer_id.clone(),
        ..Names::default()
    };
    let transfer = violations.take("transfer_id", chassis::field::uuid(&request.transfer_id));
    let key = key(&mut violations, scope, request.request_id);
    let amount = request
        .amount_minor_units
        .and_then(|units| violations.need("amount_minor_units", "must be positive", Amount::new(units)));
    let reference = reference(&mut violations, request.reference);
    let (Some(transfer), Some(key), true) = (transfer, key, violations.0.is_empty()) else {
        return Err(violations.error());
    };
    let units = amount.map(|amount| amount.minor_units().to_be_bytes().to_vec()).unwrap_or_default();
    let body = BodyHash::new(Operation::Reverse, &key, &[transfer.as_bytes(), &units, reference.as_bytes()]);
    let detail = Detail::new(reference, None, salt);
    Ok((Action::Reverse(Request { key, body }, Reverse { transfer, amount, detail }), named))
}
