//! States, limits and periods.

use super::*;

#[test]
fn a_state_is_refused_for_the_first_of_its_reasons() {
    fn set(case: &mut Case, change: fn(&mut SetState)) {
        if let Action::SetState(wanted) = &mut case.command.action {
            change(wanted);
        }
    }
    let base = || {
        let wanted = SetState { account: Uuid::from_u128(1), state: State::Frozen, state_revision: 4 };
        case(staff(), Action::SetState(wanted))
    };
    let rules: [Rule; 5] = [
        ("NoAccount", |case| set(case, |wanted| wanted.account = Uuid::from_u128(404))),
        ("StaleRevision", |case| set(case, |wanted| wanted.state_revision = 2)),
        ("AccountExists state", |case| {
            set(case, |wanted| (wanted.state_revision, wanted.state) = (3, State::DebitFrozen));
        }),
        ("AccountClosed", |case| case.debit().state = State::Closed),
        ("AccountNotEmpty", |case| set(case, |wanted| wanted.state = State::Closed)),
    ];
    check(base, &rules);
}

#[test]
fn limits_are_refused_for_the_first_of_their_reasons() {
    fn set(case: &mut Case, change: fn(&mut SetLimits)) {
        if let Action::SetLimits(wanted) = &mut case.command.action {
            change(wanted);
        }
    }
    let base = || {
        let wanted =
            SetLimits { account: Uuid::from_u128(1), floor: 850, ceiling: Some(950), state_revision: 4 };
        case(staff(), Action::SetLimits(wanted))
    };
    let rules: [Rule; 6] = [
        ("NoAccount", |case| set(case, |wanted| wanted.account = Uuid::from_u128(404))),
        ("StaleRevision", |case| set(case, |wanted| wanted.state_revision = 2)),
        ("AccountExists min_available_minor_units,max_balance_minor_units", |case| {
            set(case, |wanted| wanted.state_revision = 3);
        }),
        ("AccountClosed", |case| case.debit().state = State::Closed),
        ("LimitBreached min_available_minor_units", |case| set(case, |wanted| wanted.floor = 851)),
        ("LimitBreached max_balance_minor_units", |case| set(case, |wanted| wanted.ceiling = Some(949))),
    ];
    check(base, &rules);
}

#[test]
fn closing_a_period_is_refused_for_the_first_of_its_reasons() {
    let base = || {
        let end_date = day_of(NOW) - Days::new(1);
        case(staff(), Action::ClosePeriod(request(Operation::ClosePeriod, 1), end_date))
    };
    fn set(case: &mut Case, days_ago: u64) {
        if let Action::ClosePeriod(_, end_date) = &mut case.command.action {
            *end_date = day_of(NOW) - Days::new(days_ago);
        }
    }
    let rules: [Rule; 3] = [
        ("NotPermitted", |case| case.command.actor = partner()),
        ("PeriodClosed", |case| set(case, 10)),
        ("PeriodNotOver", |case| set(case, 0)),
    ];
    check(base, &rules);
}
