//! Transfers and holds to be made, by partners, customers and staff.

use super::*;

fn direct() -> Case {
    let transfer = Transfer {
        debit: Uuid::from_u128(1),
        credit: Uuid::from_u128(2),
        amount: Amount::new(300).unwrap(),
        mode: AmountMode::Exact,
        currency: currency("EUR"),
        pending: None,
        value_date: None,
        debit_condition: Condition::default(),
        credit_condition: Condition::default(),
        exchange: None,
        hidden: false,
        detail: None,
    };
    case(partner(), Action::Transfer(request(Operation::Transfer, 13), transfer))
}

const TRANSFER_RULES: [Rule; 18] = [
    ("NotPermitted", |case| {
        case.command.actor = partner();
        case.grant().scopes = Scopes::default();
    }),
    ("NoDebitAccount", |case| case.unknown()),
    ("NoCreditAccount", |case| case.transfer().credit = Uuid::from_u128(404)),
    ("DebitCurrency", |case| case.debit().currency = currency("USD")),
    ("CreditCurrency", |case| case.credit().currency = currency("USD")),
    ("PeriodClosed", |case| case.transfer().value_date = case.view.head.closed_until),
    ("Expired", |case| case.transfer().pending = Some(Pending { expires_at: Some(NOW), external: false })),
    ("DebitNotOpen", debit_frozen),
    ("CreditNotOpen", credit_frozen),
    ("DebitVersion", |case| case.transfer().debit_condition.version = Some(8)),
    ("CreditVersion", |case| case.transfer().credit_condition.version = Some(10)),
    ("PerTransferCap", |case| case.grant().per_transfer_max = Amount::new(299)),
    ("TotalCap", |case| case.grant().total_max = Amount::new(349)),
    ("DebitCondition", |case| case.transfer().debit_condition.available_at_least = Some(851)),
    ("CreditCondition", |case| case.transfer().credit_condition.available_at_least = Some(851)),
    ("InsufficientFunds", at_floor),
    ("Ceiling", at_ceiling),
    ("BalanceOverflow", full),
];

#[test]
fn a_transfer_is_refused_for_the_first_of_its_reasons() {
    let mut rules = TRANSFER_RULES.to_vec();
    rules.push(("FourEyes", |case| {
        house(case);
        case.transfer().pending = None;
    }));
    check(direct, &rules);
}

#[test]
fn at_most_is_refused_for_the_same_reasons_in_the_same_order() {
    let at_most = || {
        let mut case = direct();
        case.transfer().mode = AmountMode::AtMost;
        case
    };
    check(at_most, &TRANSFER_RULES);
}

#[test]
fn a_hold_is_refused_for_the_same_reasons_in_the_same_order() {
    let pending = || {
        let mut case = direct();
        case.transfer().pending = Some(Pending { expires_at: Some(NOW + 1), external: false });
        case
    };
    check(pending, &TRANSFER_RULES);
}

#[test]
fn a_customer_and_staff_are_refused_for_the_same_reasons_without_caps() {
    let without_caps =
        |rule: &&Rule| !["NotPermitted", "NoDebitAccount", "PerTransferCap", "TotalCap"].contains(&rule.0);
    let rules: Vec<Rule> = TRANSFER_RULES.iter().filter(without_caps).copied().collect();
    let customer = || {
        let mut case = direct();
        case.command.actor.partner = None;
        case
    };
    let foreign: Rule = ("NotPermitted", |case| case.command.actor.customer = Some("eve".to_owned()));
    check(customer, &[&[foreign], &rules[..]].concat());
    let by_staff = || {
        let mut case = direct();
        case.command.actor = staff();
        case
    };
    check(by_staff, &[&[("NoDebitAccount", Case::unknown as fn(&mut Case))], &rules[..]].concat());
}
