//! Reversals: once, in whole or in part, of what was posted.

use super::table::check;

#[test]
fn what_was_posted_goes_back_once() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         transfer alice k1 a>b 60                      -> ok
         reverse alice r1 k1                           -> NotPermitted
         reverse bob r2 k1 61                          -> ExceedsTransfer
         reverse bob r3 k1 20                          -> ok 20
         is a 60 0 0
         reverse bob r4 k1                             -> AlreadyReversed
         reverse anna r5 k1 1                          -> AlreadyReversed
         reverse anna r6 r3                            -> NotReversible
         reverse anna r7 nothing                       -> NoTransfer
         reverse bob r8 nothing                        -> NotPermitted
         reverse bob r3 k1 20                          -> ok
         is a 60 0 0",
    );
}

#[test]
fn a_hold_is_reversed_by_what_of_it_was_posted_when_it_has_ended() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         hold alice h1 a>b 60                          -> ok
         reverse bob r1 h1                             -> NotReversible
         post alice p1 h1 20 keep                      -> ok
         reverse bob r2 h1                             -> NotReversible
         post alice p2 h1 10                           -> ok
         reverse bob r3 h1 31                          -> ExceedsTransfer
         reverse bob r4 h1                             -> ok 30
         is a 100 0 0
         hold alice h2 a>b 60                          -> ok
         void alice v h2                               -> ok
         reverse bob r5 h2                             -> NotReversible
         reverse bob r6 p2                             -> NotPermitted",
    );
}

#[test]
fn a_transfer_of_the_same_batch_can_be_reversed_and_its_reversal_not() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         batch
         transfer alice k1 a>b 60                      -> ok
         reverse anna r1 k1 50                         -> ok 50
         reverse anna r2 k1                            -> AlreadyReversed
         reverse anna r3 r1                            -> NotReversible
         hold alice h a>b 10                           -> ok
         post alice p h                                -> ok
         reverse anna r4 h                             -> ok 10
         post anna p2 k1                               -> NotPending
         commit
         is a 90 0 0",
    );
}

#[test]
fn a_reversal_keeps_limits_states_and_four_eyes() {
    check(
        "open a EUR alice 0 100                        -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         transfer alice k1 a>b 60                      -> ok
         transfer alice k2 a>settlement-EUR 10         -> ok
         reverse anna r0 k2                            -> FourEyes
         fund a 41
         reverse bob r1 k1 30                          -> Ceiling
         transfer bob k3 b>settlement-EUR 40           -> ok
         reverse bob r2 k1 21                          -> InsufficientFunds
         state a debit-frozen 1                        -> ok
         reverse bob r3 k1 20                          -> ok",
    );
}

#[test]
fn what_is_reversed_does_not_go_back_to_the_consent() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         grant g a psp - 60 +1000 1                    -> ok
         transfer psp:alice k1 a>b 60                  -> ok
         reverse psp:bob r1 k1                         -> NotPermitted
         reverse bob r2 k1                             -> ok
         used g 60
         transfer psp:alice k2 a>b 1                   -> TotalCap",
    );
}
