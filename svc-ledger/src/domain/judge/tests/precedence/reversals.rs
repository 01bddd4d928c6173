//! Reversals.

use super::*;

fn booked() -> Case {
    let reverse = Reverse { transfer: TRANSFER, amount: None, detail: None };
    let actor = Actor { customer: Some("bob".to_owned()), ..actor("bob") };
    let mut case = case(actor, Action::Reverse(request(Operation::Reverse, 3), reverse));
    case.view.directs.insert(TRANSFER, Direct { debit: 1, credit: 2, amount: 300, is_final: false });
    case
}

#[test]
fn a_reversal_is_refused_for_the_first_of_its_reasons() {
    // The money goes back: what the transfer credited is debited.
    let rules: [Rule; 11] = [
        ("NotPermitted", |case| {
            case.command.actor =
                Actor { partner: Some("psp".to_owned()), customer: Some("bob".to_owned()), ..actor("psp") };
        }),
        ("NoTransfer", Case::unknown),
        ("NotReversible", |case| case.view.directs.get_mut(&TRANSFER).unwrap().is_final = true),
        ("AlreadyReversed", |case| _ = case.view.reversals.insert(TRANSFER, Uuid::from_u128(78))),
        ("ExceedsTransfer", |case| match &mut case.command.action {
            Action::Reverse(_, reverse) => reverse.amount = Amount::new(301),
            other => panic!("{other:?}"),
        }),
        ("DebitNotOpen", |case| case.credit().state = State::DebitFrozen),
        ("CreditNotOpen", |case| case.debit().state = State::Frozen),
        ("InsufficientFunds", |case| case.credit().floor = Some(850)),
        ("Ceiling", |case| case.debit().ceiling = Some(950)),
        ("BalanceOverflow", |case| {
            case.debit().totals.cr_posted = i64::MAX - 50;
            case.debit().totals.dr_posted = i64::MAX - 950;
        }),
        ("FourEyes", |case| case.credit().purpose = Purpose::Suspense),
    ];
    check(booked, &rules);
    let mut payer = booked();
    payer.command.actor.customer = Some("alice".to_owned());
    assert_eq!(verdict(payer), "NotPermitted", "who paid may not take it back");
}
