//! Transfers: conditions, limits, amounts at most, value dates, the ends of 64 bits, and validation.

use super::table::check;

#[test]
fn money_moves_within_floor_and_ceiling() {
    check(
        "open a EUR alice -100 -                       -> ok
         open b EUR bob 0 150                          -> ok
         fund a 50
         is a 50 0 0 3
         transfer alice k1 a>b 100                     -> ok
         is a -50 0 0 4
         is b 100 0 0 2
         transfer alice k2 a>b 51                      -> InsufficientFunds
         transfer alice k3 a>b 50                      -> ok
         transfer alice k4 a>b 1                       -> InsufficientFunds
         transfer bob k5 b>a 1                         -> ok
         transfer alice k6 a>b 2                       -> InsufficientFunds
         transfer bob k7 b>a 20                        -> ok
         hold alice k8 a>b 21                          -> ok
         transfer alice k9 a>b 1                       -> InsufficientFunds
         is b 129 0 21
         hold bob k10 b>a 129                          -> ok
         transfer bob k11 b>a 1                        -> InsufficientFunds
         is b 129 129 21",
    );
}

#[test]
fn what_is_expected_counts_towards_the_ceiling() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 100                          -> ok
         fund a 500
         hold alice k1 a>b 60                          -> ok
         transfer alice k2 a>b 41                      -> Ceiling
         transfer alice k3 a>b 40                      -> ok
         hold alice k4 a>b 1                           -> Ceiling
         void alice k5 k1                              -> ok
         hold alice k6 a>b 60                          -> ok",
    );
}

#[test]
fn at_most_takes_what_the_limits_leave() {
    check(
        "open a EUR alice -10 -                        -> ok
         open b EUR bob 0 70                           -> ok
         fund a 50
         transfer alice k1 a>b 1000 atmost             -> ok 60
         is a -10 0 0
         transfer alice k2 a>b 1 atmost                -> InsufficientFunds
         fund a 50
         transfer alice k3 a>b MAX atmost              -> ok 10
         transfer alice k4 a>b 5 atmost                -> Ceiling
         transfer alice k1 a>b 1000 atmost             -> ok
         hold bob k5 b>a 500 atmost                    -> ok 70
         stands k5 70 0 70 Pending
         hold anna k6 settlement-EUR>a 25 atmost       -> ok 25",
    );
}

#[test]
fn caps_are_judged_by_the_amount_asked_for_and_used_by_the_amount_taken() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 30
         grant g a psp 100 120 +1000 1                 -> ok
         transfer psp:alice k1 a>b 101 atmost          -> PerTransferCap
         transfer psp:alice k2 a>b 100 atmost          -> ok 30
         used g 30
         transfer psp:alice k3 a>b 91 atmost           -> TotalCap
         transfer psp:alice k4 a>b 90 atmost           -> InsufficientFunds
         fund a 40
         hold psp:alice k5 a>b 90 atmost               -> ok 40
         used g 70
         void psp:alice k6 k5                          -> ok
         used g 30",
    );
}

#[test]
fn conditions_hold_of_the_accounts_as_they_stand() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         transfer alice k1 a>b 10 dv=2                 -> DebitVersion
         transfer alice k2 a>b 10 dv=3 cv=1 da=100 ca=0 -> ok
         transfer alice k3 a>b 10 da=91                -> DebitCondition
         transfer alice k4 a>b 10 ca=11                -> CreditCondition
         transfer alice k5 a>b 10 cv=1                 -> CreditVersion
         hold alice k6 a>b 40                          -> ok
         transfer alice k7 a>b 1 da=51                 -> DebitCondition
         batch
         transfer alice k8 a>b 1 dv=5                  -> ok
         transfer alice k9 a>b 1 dv=5                  -> DebitVersion
         transfer alice k10 a>b 1 dv=6                 -> ok
         commit",
    );
}

#[test]
fn value_dates_may_lie_anywhere_but_in_a_closed_period() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         hold alice k1 a>b 10 date=-2                  -> ok
         hold alice k2 a>b 10 date=-1                  -> ok
         close anna p1 -2                              -> ok
         transfer alice k3 a>b 1 date=-2               -> PeriodClosed
         transfer alice k4 a>b 1 date=-1               -> ok
         transfer alice k5 a>b 1 date=400              -> ok
         post alice k6 k1                              -> PeriodClosed
         void alice k7 k1                              -> ok
         post alice k8 k2                              -> ok",
    );
}

#[test]
fn totals_reach_the_end_of_64_bits_and_not_beyond() {
    check(
        "open a EUR alice -MAX -                       -> ok
         open b EUR bob -MAX -                         -> ok
         transfer alice k1 a>b MAX                     -> ok
         is a -MAX 0 0
         transfer bob k2 b>a MAX                       -> ok
         transfer alice k3 a>b 1                       -> BalanceOverflow
         hold alice k4 a>b 1                           -> BalanceOverflow
         reverse bob k5 k1                             -> BalanceOverflow
         is a 0 0 0 3
         open c EUR carl -9223372036854775808 -        -> ok
         open d EUR dora 0 MAX                         -> ok
         hold carl h c>d MAX-1                         -> ok
         more carl k6 h 2                              -> Ceiling
         more carl k7 h 1                              -> ok
         transfer carl k8 c>settlement-EUR 1           -> BalanceOverflow
         transfer carl k9 c>settlement-EUR 2           -> InsufficientFunds
         transfer carl k10 c>d 1                       -> Ceiling
         post carl k11 h                               -> ok
         is c -MAX 0 0
         is d MAX 0 0",
    );
}

#[test]
fn house_accounts_move_under_four_eyes() {
    check(
        "open a EUR alice 0 -                          -> ok
         transfer anna k1 settlement-EUR>a 10          -> FourEyes
         hold anna k2 settlement-EUR>a 10              -> ok
         post anna k3 k2                               -> FourEyes
         post alice k4 k2                              -> NotPermitted
         post bert k5 k2                               -> ok
         is settlement-EUR -10 0 0
         transfer alice k6 a>settlement-EUR 4          -> ok
         is settlement-EUR -6 0 0",
    );
}

#[test]
fn accounts_take_part_by_their_state() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         hold alice h1 a>b 10                          -> ok
         hold alice h2 a>b 10                          -> ok
         hold alice h3 a>b 10                          -> ok
         state a debit-frozen 1                        -> ok
         transfer alice k1 a>b 10                      -> DebitNotOpen
         post alice k2 h1                              -> DebitNotOpen
         void alice k3 h1                              -> ok
         hold anna k4 settlement-EUR>a 5               -> ok
         state a open 2                                -> ok
         state b debit-frozen 1                        -> ok
         transfer alice k5 a>b 10                      -> ok
         transfer bob k6 b>a 10                        -> DebitNotOpen
         state b frozen 2                              -> ok
         transfer alice k7 a>b 10                      -> CreditNotOpen
         post alice k8 h2                              -> CreditNotOpen
         void alice k9 h2                              -> ok",
    );
}

#[test]
fn a_validation_says_what_would_be_and_leaves_nothing() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         batch
         transfer alice k1 a>b 60 try                  -> ok 60
         transfer alice k2 a>b 60                      -> ok
         transfer alice k3 a>b 60 try                  -> InsufficientFunds
         transfer alice k3 a>b 40                      -> ok
         commit
         is a 0 0 0
         transfer alice k2 a>b 60 try                  -> ok
         transfer alice k2 a>b 61 try                  -> BodyChanged amount
         hold bob h b>a 50                             -> ok
         post bob k4 h 20 keep try                     -> would 50 20 30 Pending
         post bob k4 h 20 try                          -> would 50 20 0 Posted
         more bob k4 h 50 try                          -> would 100 0 100 Pending
         more bob k4 h 51 try                          -> InsufficientFunds
         void bob k4 h try                             -> would 50 0 0 Voided
         void alice k4 h try                           -> NotPermitted
         reverse bob k5 k2 try                         -> InsufficientFunds
         reverse bob k5 k3 40 try                      -> ok 40
         reverse bob k5 k3                             -> ok
         stands h 50 0 50 Pending
         is b 60 50 0",
    );
}

#[test]
fn what_cannot_be_taken_back_is_not_validated() {
    check(
        "open a EUR alice 0 - 1                        -> ok
         state a frozen 2 try                          -> NotAttempted
         limits a -5 - 2 try                           -> NotAttempted
         grant g a psp - - +1000 1 try                 -> NotAttempted
         close anna p1 -1 try                          -> NotAttempted
         open b EUR bob 0 - 0 try                      -> NotAttempted
         close anna p1 -1                              -> ok",
    );
}
