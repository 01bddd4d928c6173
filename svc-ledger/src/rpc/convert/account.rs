//! What svc-accounts asks about accounts, and what staff ask about periods.

use chassis::field;
use chassis::page::{Page, Sizes};
use proto::ledger::v1 as pb;
use uuid::Uuid;

use super::transfer::calendar_day;
use super::{Names, Violations, date, key, timestamp};
use crate::domain::account::State;
use crate::domain::command::{Action, Request, SetLimits, SetState};
use crate::domain::period::Period;
use crate::domain::request::{BodyHash, Operation, Scope};
use crate::error::Error;

const PERIOD_PAGES: Sizes = Sizes { default: 50, max: 500 };

/// What SetLedgerAccountState asks for.
pub(in crate::rpc) fn set_state(request: &pb::SetLedgerAccountStateRequest) -> Result<SetState, Error> {
    let mut violations = Violations::default();
    let account = violations.take("account_id", field::uuid(&request.account_id));
    let state = match request.state() {
        pb::LedgerAccountState::Unspecified => None,
        pb::LedgerAccountState::Open => Some(State::Open),
        pb::LedgerAccountState::DebitFrozen => Some(State::DebitFrozen),
        pb::LedgerAccountState::Frozen => Some(State::Frozen),
        pb::LedgerAccountState::Closed => Some(State::Closed),
    };
    let state = violations.need("state", "must be a known state", state);
    let state_revision = revision(&mut violations, request.state_revision);
    match (account, state) {
        (Some(account), Some(state)) if violations.0.is_empty() => {
            Ok(SetState { account, state, state_revision })
        }
        _ => Err(violations.error()),
    }
}

/// What SetLedgerAccountLimits asks for.
pub(in crate::rpc) fn set_limits(request: &pb::SetLedgerAccountLimitsRequest) -> Result<SetLimits, Error> {
    let mut violations = Violations::default();
    let account: Option<Uuid> = violations.take("account_id", field::uuid(&request.account_id));
    let floor = request.min_available_minor_units;
    if floor > 0 {
        violations.add("min_available_minor_units", "must be zero or negative");
    }
    let ceiling = ceiling(&mut violations, request.max_balance_minor_units);
    let state_revision = revision(&mut violations, request.state_revision);
    match account {
        Some(account) if violations.0.is_empty() => Ok(SetLimits { account, floor, ceiling, state_revision }),
        _ => Err(violations.error()),
    }
}

/// The ceiling of a balance.
pub(super) fn ceiling(violations: &mut Violations, minor_units: Option<i64>) -> Option<i64> {
    if minor_units.is_some_and(|units| units <= 0) {
        violations.add("max_balance_minor_units", "must be positive");
    }
    minor_units
}

fn revision(violations: &mut Violations, revision: i64) -> i64 {
    if revision < 0 {
        violations.add("state_revision", "must not be negative");
    }
    revision
}

/// What ClosePeriod asks for.
pub(in crate::rpc) fn close_period(
    scope: Scope,
    request: pb::ClosePeriodRequest,
) -> Result<(Action, Names), Error> {
    let mut violations = Violations::default();
    let named = Names { request_id: request.request_id.clone(), ..Names::default() };
    let end_date = calendar_day(&mut violations, "end_date", &request.end_date.unwrap_or_default());
    let key = key(&mut violations, scope, request.request_id);
    let (Some(end_date), Some(key)) = (end_date, key) else { return Err(violations.error()) };
    let body = BodyHash::new(Operation::ClosePeriod, &key, &[end_date.to_string().as_bytes()]);
    Ok((Action::ClosePeriod(Request { key, body }, end_date), named))
}

/// A closed period.
pub(in crate::rpc) fn period(period: &Period) -> pb::Period {
    pb::Period {
        end_date: Some(date(period.end_date)),
        seq: period.seq,
        trial_balance_hash: period.trial_balance.to_vec(),
        book_time: Some(timestamp(period.booked_at)),
    }
}

/// What ListPeriods asks for.
pub(in crate::rpc) fn list_periods(request: &pb::ListPeriodsRequest) -> Result<Page, Error> {
    Page::parse(PERIOD_PAGES, &[b"periods"], request.page_size, &request.page_token).map_err(Error::Invalid)
}
