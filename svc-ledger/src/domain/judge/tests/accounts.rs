//! Accounts and periods: opened once, set by revisions that only rise, closed when nothing is left; days closed in their order.

use super::table::check;

#[test]
fn an_account_is_its_own_key() {
    check(
        "open a EUR alice,bob 0 500 3                  -> ok
         open a EUR alice,bob 0 500 3                  -> ok
         open a EUR alice,bob 0 500 2                  -> StaleRevision
         open a EUR alice 0 500 4                      -> AccountExists customer_ids
         open a USD alice,bob -1 - 4                   -> AccountExists currency_code,min_available_minor_units,max_balance_minor_units
         fund a 10
         open a EUR alice,bob 0 500 3                  -> ok
         is a 10 0 0 3",
    );
}

#[test]
fn an_account_opened_in_a_batch_can_be_used_and_set_in_it() {
    check(
        "batch
         open a EUR alice 0 - 1                        -> ok
         open b EUR bob 0 - 1                          -> ok
         hold anna h settlement-EUR>a 10               -> ok
         limits a -5 100 2                             -> ok
         grant g a psp - - +1000 1                     -> ok
         post bert p h                                 -> ok
         transfer psp:alice k a>b 15                   -> ok
         state b frozen 2                              -> ok
         open a EUR alice -5 100 2                     -> ok
         commit
         is a -5 0 0 5
         is b 15 0 0 3
         used g 15",
    );
}

#[test]
fn limits_bound_what_is_there() {
    check(
        "open a EUR alice 0 - 1                        -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         hold alice h a>b 30                           -> ok
         limits a 71 - 2                               -> LimitBreached min_available_minor_units
         limits a 70 99 2                              -> LimitBreached max_balance_minor_units
         limits a 70 100 2                             -> ok
         limits a 70 100 2                             -> ok
         limits a 70 101 2                             -> AccountExists max_balance_minor_units
         limits a 70 100 1                             -> StaleRevision
         transfer alice k1 a>b 1                       -> InsufficientFunds
         hold anna k2 settlement-EUR>a 1               -> Ceiling
         is a 100 30 0 5
         state a open 2                                -> ok
         state a frozen 2                              -> AccountExists state
         limits b 0 -1 1                               -> LimitBreached max_balance_minor_units",
    );
}

#[test]
fn limits_may_lie_at_the_ends_of_64_bits() {
    check(
        "open a EUR alice -9223372036854775808 -9223372036854775808 1 -> ok
         open b EUR bob 0 -                            -> ok
         transfer alice k1 a>b MAX                     -> ok
         transfer alice k2 a>b 1                       -> BalanceOverflow
         transfer alice k3 a>b 1 atmost                -> BalanceOverflow
         transfer alice k4 a>b MAX                     -> InsufficientFunds
         transfer bob k5 b>a 1                         -> Ceiling
         limits a MAX - 2                              -> LimitBreached min_available_minor_units
         limits a -MAX -9223372036854775808 2          -> LimitBreached max_balance_minor_units
         limits a -MAX -MAX 2                          -> ok
         transfer bob k6 b>a 1 atmost                  -> Ceiling",
    );
}

#[test]
fn an_account_is_closed_when_nothing_is_left() {
    check(
        "open a EUR alice 0 - 1                        -> ok
         open b EUR bob 0 - 1                          -> ok
         fund a 10
         state a closed 2                              -> AccountNotEmpty
         hold alice h a>b 10                           -> ok
         state b closed 2                              -> AccountNotEmpty
         post alice p h                                -> ok
         state a closed 2                              -> ok
         state a closed 2                              -> ok
         state a open 3                                -> AccountClosed
         limits a -5 - 3                               -> AccountClosed
         state a closed 1                              -> StaleRevision
         transfer bob k1 b>a 1                         -> CreditNotOpen
         transfer alice k2 a>b 1                       -> DebitNotOpen
         reverse bob r h                               -> CreditNotOpen
         state nowhere open 1                          -> NoAccount
         limits nowhere 0 - 1                          -> NoAccount",
    );
}

#[test]
fn days_are_closed_in_their_order_and_when_they_are_over() {
    check(
        "open a EUR alice 0 -                          -> ok
         close alice p0 -1                             -> NotPermitted
         close anna p1 0                               -> PeriodNotOver
         close anna p2 -3                              -> ok
         close anna p2 -3                              -> ok
         close bert p3 -3                              -> PeriodClosed
         close bert p4 -4                              -> PeriodClosed
         close bert p5 -1                              -> ok
         tick 43199999
         close bert p6 0                               -> PeriodNotOver
         tick 1
         close bert p7 -1                              -> ok",
    );
}

#[test]
fn a_period_is_sealed_before_anything_else_of_its_batch_or_not_at_all() {
    check(
        "open a EUR alice 0 -                          -> ok
         batch
         hold anna k1 settlement-EUR>a 5               -> ok
         close anna p1 -2                              -> NotAttempted
         commit
         close anna p1 -2                              -> ok
         batch
         transfer alice k2 a>settlement-EUR 5          -> InsufficientFunds
         close anna p2 -1                              -> ok
         close anna p3 -1                              -> PeriodClosed
         transfer anna k3 a>settlement-EUR 5 date=-1   -> PeriodClosed
         commit",
    );
}
