//! Keys: one outcome for ever, refusals too.

use super::table::check;

#[test]
fn a_key_has_one_outcome_whatever_happens_since() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         transfer alice k1 a>b 10                      -> InsufficientFunds
         fund a 100
         transfer alice k1 a>b 10                      -> InsufficientFunds
         transfer alice k1 a>b 11                      -> BodyChanged amount
         hold alice k1 a>b 10                          -> BodyChanged pending
         transfer alice k2 a>b 10                      -> ok
         state a frozen 1                              -> ok
         transfer alice k2 a>b 10                      -> ok
         transfer bob k2 a>b 10                        -> NotPermitted
         post alice k2 k2                              -> BodyChanged request_id
         is a 90 0 0",
    );
}

#[test]
fn a_key_twice_in_a_batch_is_judged_once() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         unit continue
         transfer alice k1 a>b 10                      -> ok
         transfer alice k1' a>b 10                     -> ok
         transfer alice k1' a>b 11                     -> BodyChanged amount
         transfer alice k2 a>b 91                      -> InsufficientFunds
         transfer alice k2' a>b 91                     -> InsufficientFunds
         end
         is a 90 0 0 4",
    );
}

#[test]
fn a_validation_freezes_nothing() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         transfer alice k1 a>b 10 try                  -> InsufficientFunds
         fund a 100
         transfer alice k1 a>b 10                      -> ok
         reverse bob r k1 try                          -> ok 10
         reverse bob r k1 4                            -> ok 4",
    );
}
