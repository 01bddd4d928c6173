//! Holds to be posted, voided and increased, external ones too.

use super::*;

fn held(resolution: Resolution) -> Case {
    let resolve = Resolve { transfer: TRANSFER, resolution };
    let operation = resolution.operation();
    let fields = if operation == Operation::Post { 4 } else { 2 };
    let mut case = case(partner(), Action::Resolve(request(operation, fields), resolve));
    let hold = Hold {
        creator: partner().scope,
        debit: 1,
        credit: 2,
        amount: 50,
        remaining: 50,
        captured: 0,
        state: TransferState::Pending,
        expires_at: Some(NOW + 1),
        value_date: day_of(NOW),
        link: None,
        external: false,
        exchange: false,
        consent: Some(CONSENT),
        resolved_by: None,
    };
    case.view.holds.insert(TRANSFER, hold);
    case
}

fn foreign(case: &mut Case) {
    case.command.actor = actor("eve");
    case.command.actor.customer = Some("eve".to_owned());
}

fn revoked(case: &mut Case) {
    case.command.actor = partner();
    case.grant().scopes = Scopes::default();
}

fn ended(case: &mut Case) {
    (case.hold().state, case.hold().remaining) = (TransferState::Voided, 0);
}

fn over(case: &mut Case) {
    case.hold().expires_at = Some(NOW);
}

fn half(case: &mut Case) {
    case.hold().exchange = true;
}

#[test]
fn a_posting_is_refused_for_the_first_of_its_reasons() {
    let rules: [Rule; 10] = [
        ("NotPermitted", foreign),
        ("NoTransfer", Case::unknown),
        ("NotPermitted", revoked),
        ("NotPending", ended),
        ("Expired", over),
        ("ExchangeMismatch", half),
        ("ExceedsHold", |case| case.resolve(Resolution::Post { amount: Amount::new(51), keep_rest: true })),
        ("DebitNotOpen", debit_frozen),
        ("CreditNotOpen", credit_frozen),
        ("PeriodClosed", |case| case.hold().value_date = day_of(NOW) - Days::new(10)),
    ];
    let four_eyes: Rule = ("FourEyes", house);
    check(|| held(Resolution::POST_ALL), &[&rules[..], &[four_eyes]].concat());
}

#[test]
fn a_voiding_is_refused_for_the_first_of_its_reasons() {
    let rules: [Rule; 5] = [
        ("NotPermitted", foreign),
        ("NoTransfer", Case::unknown),
        ("NotPending", ended),
        ("Expired", over),
        ("ExchangeMismatch", half),
    ];
    check(|| held(Resolution::Void), &rules);
    // None of these is in the way of giving a hold up.
    for harmless in [revoked, debit_frozen, credit_frozen, house, at_floor, at_ceiling, full] {
        let mut case = held(Resolution::Void);
        harmless(&mut case);
        assert_eq!(verdict(case), "ok");
    }
}

#[test]
fn an_increment_is_refused_for_the_first_of_its_reasons() {
    let rules: [Rule; 14] = [
        ("NotPermitted", foreign),
        ("NoTransfer", Case::unknown),
        ("NotPermitted", revoked),
        ("NotPending", ended),
        ("NotPending", |case| (case.hold().captured, case.hold().remaining) = (20, 30)),
        ("Expired", over),
        ("ExchangeMismatch", half),
        ("DebitNotOpen", debit_frozen),
        ("CreditNotOpen", credit_frozen),
        ("PerTransferCap", |case| case.grant().per_transfer_max = Amount::new(149)),
        ("TotalCap", |case| case.grant().total_max = Amount::new(149)),
        ("InsufficientFunds", at_floor),
        ("Ceiling", at_ceiling),
        ("BalanceOverflow", full),
    ];
    check(|| held(Resolution::Increment(Amount::new(100).unwrap())), &rules);
}

#[test]
fn an_increment_beyond_64_bits_comes_last_of_all() {
    let beyond = || {
        let mut case = held(Resolution::Increment(Amount::new(100).unwrap()));
        case.command.actor = Actor { partner: None, ..partner() };
        case.hold().consent = None;
        case
    };
    let rules: [Rule; 5] = [
        ("DebitNotOpen", debit_frozen),
        ("CreditNotOpen", credit_frozen),
        ("InsufficientFunds", |case| case.debit().floor = Some(0)),
        ("Ceiling", |case| case.credit().ceiling = Some(i64::MAX)),
        ("BalanceOverflow", |case| {
            case.debit().floor = None;
            case.resolve(Resolution::Increment(Amount::new(i64::MAX).unwrap()));
        }),
    ];
    // The ceiling and the floor are reached by the amount alone: they are tried with the largest there is.
    let largest = |case: &mut Case| case.resolve(Resolution::Increment(Amount::new(i64::MAX).unwrap()));
    for (place, (expect, break_it)) in rules.iter().enumerate() {
        let mut case = beyond();
        for (_, break_lower) in rules[place + 1..].iter().rev() {
            break_lower(&mut case);
        }
        break_it(&mut case);
        largest(&mut case);
        assert_eq!(verdict(case), *expect);
    }
}

#[test]
fn who_may_resolve_an_external_hold() {
    let external = |actor: Actor, resolution: Resolution| {
        let mut case = held(resolution);
        case.hold().external = true;
        case.command.actor = actor;
        verdict(case)
    };
    let rail = || Actor { partner: Some("rail".to_owned()), rail: true, ..actor("rail") };
    let maker = partner();
    let more = Resolution::Increment(Amount::new(1).unwrap());
    let table = [
        (rail(), "ok", "ok", "NotPermitted"),
        (staff(), "ok", "ok", "NotPermitted"),
        (maker, "NotPermitted", "NotPermitted", "NotPermitted"),
        (actor("eve"), "NotPermitted", "NotPermitted", "NotPermitted"),
    ];
    for (actor, post, void, increment) in table {
        assert_eq!(external(actor.clone(), Resolution::POST_ALL), post, "{actor:?}");
        assert_eq!(external(actor.clone(), Resolution::Void), void, "{actor:?}");
        assert_eq!(external(actor.clone(), more), increment, "{actor:?}");
    }
    // A rail partner has no business with what stays inside.
    let mut case = held(Resolution::POST_ALL);
    case.command.actor = rail();
    assert_eq!(verdict(case), "NotPermitted");
}

#[test]
fn a_direct_transfer_does_not_wait_to_be_resolved() {
    for resolution in [Resolution::POST_ALL, Resolution::Void, Resolution::Increment(Amount::new(1).unwrap())]
    {
        let mut case = held(resolution);
        case.view.holds.clear();
        case.view.directs.insert(TRANSFER, Direct { debit: 1, credit: 2, amount: 5, is_final: false });
        case.command.actor = staff();
        assert_eq!(verdict(case), "NotPending", "{resolution:?}");
    }
}
