//! Chains and failure modes: what stands or falls together, and that what falls leaves nothing.

use super::table::check;

#[test]
fn a_chain_stands_or_falls_together() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         unit continue
         transfer alice k1 a>b 60 linked               -> ChainFailed
         transfer alice k2 a>b 60 linked               -> InsufficientFunds
         transfer alice k3 a>b 10                      -> ChainFailed
         transfer alice k4 a>b 100                     -> ok
         end
         is a 0 0 0 4
         unit continue
         transfer alice k1 a>b 60 linked               -> ChainFailed
         transfer alice k2 a>b 60 linked               -> InsufficientFunds
         transfer alice k3 a>b 10                      -> ChainFailed
         end
         transfer alice k1 a>b 60 linked               -> ChainFailed",
    );
}

#[test]
fn later_ones_of_a_chain_see_what_earlier_ones_did() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         open c EUR carl 0 -                           -> ok
         fund a 100
         unit atomic
         transfer anna k1 a>b 100                      -> ok
         transfer anna k2 b>c 100 da=100 dv=2          -> ok
         transfer anna k3 c>a 100 cv=4                 -> ok
         end
         is a 100 0 0 5
         is b 0 0 0 3
         is c 0 0 0 3",
    );
}

#[test]
fn a_chain_that_falls_restores_accounts_holds_and_grants_it_touched_several_times() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         grant g a psp 90 200 +1000 1                  -> ok
         batch
         transfer psp:alice k1 a>b 10                  -> ok
         unit atomic
         transfer psp:alice k2 a>b 10                  -> ChainFailed
         hold psp:alice k3 a>b 10                      -> ChainFailed
         hold psp:alice k4 a>b 10                      -> ChainFailed
         transfer psp:alice k5 a>b 10                  -> ChainFailed
         transfer psp:alice k6 a>b 91                  -> PerTransferCap
         end
         transfer psp:alice k7 a>b 10                  -> ok
         unit atomic
         hold psp:alice k8 a>b 80                      -> ChainFailed
         transfer psp:alice k9 a>b 1                   -> InsufficientFunds
         end
         hold psp:alice k10 a>b 80                     -> ok
         commit
         is a 80 80 0 6
         used g 100
         unit atomic
         hold psp:alice k11 a>b 1                      -> InsufficientFunds
         transfer psp:alice k12 a>b 10                 -> ChainFailed
         end
         used g 100",
    );
}

#[test]
fn a_chain_of_validations_leaves_nothing_and_sees_itself() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         unit atomic
         transfer alice k1 a>b 60 try                  -> ok 60
         hold bob k2 b>a 60 try                        -> ok 60
         end
         is a 100 0 0 3
         unit atomic
         transfer alice k1 a>b 60 try                  -> ChainFailed
         transfer alice k2 a>b 60 try                  -> InsufficientFunds
         end
         unit atomic
         transfer alice k1 a>b 60                      -> ok
         hold bob k2 b>a 60                            -> ok
         end
         unit atomic
         transfer alice k1 a>b 60 try                  -> ok
         hold bob k2 b>a 60 try                        -> ok
         end",
    );
}

#[test]
fn stop_leaves_the_rest_unjudged() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         unit stop
         transfer alice k1 a>b 10                      -> ok
         transfer alice k2 a>b 10 linked               -> ChainFailed
         transfer alice k3 a>b 91                      -> InsufficientFunds
         transfer alice k4 a>b 10                      -> NotAttempted
         transfer alice k5 a>b 10                      -> NotAttempted
         end
         is a 90 0 0
         unit stop
         transfer alice k1 a>b 10                      -> ok
         transfer alice k4 a>b 10                      -> ok
         transfer alice k3 a>b 91                      -> InsufficientFunds
         transfer alice k5 a>b 10                      -> NotAttempted
         end
         transfer alice k5 a>b 80                      -> ok
         unit stop
         transfer alice k5 a>b 81                      -> BodyChanged amount
         transfer alice k6 a>b 1                       -> NotAttempted
         end",
    );
}

#[test]
fn continue_judges_the_rest_all_the_same() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         batch
         unit continue
         transfer alice k1 a>b 101                     -> InsufficientFunds
         transfer alice k2 a>b 60                      -> ok
         transfer alice k3 a>b 41                      -> InsufficientFunds
         end
         transfer alice k4 a>b 40                      -> ok
         commit
         is a 0 0 0",
    );
}

#[test]
fn a_chain_with_a_known_key_is_not_made() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         transfer alice k1 a>b 10                      -> ok
         unit atomic
         transfer alice k0 a>b 10                      -> ChainFailed
         transfer alice k1 a>b 10                      -> ok
         transfer alice k2 a>b 10                      -> ChainFailed
         end
         is a 90 0 0
         transfer alice k2 a>b 10                      -> ChainFailed
         unit atomic
         transfer alice k3 a>b 10                      -> ChainFailed
         transfer alice k1 a>b 11                      -> BodyChanged amount
         end
         unit atomic
         transfer alice k4 a>b 10                      -> ok
         transfer alice k5 a>b 10                      -> ok
         end
         unit atomic
         transfer alice k4 a>b 10                      -> ok
         transfer alice k5 a>b 10                      -> ok
         end
         is a 70 0 0",
    );
}

#[test]
fn a_chain_with_a_key_twice_is_not_made() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         unit atomic
         transfer alice k1 a>b 10 try                  -> ChainFailed
         transfer alice k1' a>b 10 try                 -> ChainFailed
         end
         unit atomic
         transfer alice k1 a>b 10                      -> ChainFailed
         transfer alice k2 a>b 10                      -> ChainFailed
         transfer alice k1' a>b 10                     -> ChainFailed
         end
         is a 100 0 0 3
         unit atomic
         transfer alice k3 a>b 10                      -> ChainFailed
         transfer alice k3' a>b 11                     -> BodyChanged amount
         end
         transfer alice k3 a>b 10                      -> ChainFailed
         unit atomic
         transfer alice k4 a>b 10                      -> ok
         transfer bob k4' b>a 10                       -> ok
         end",
    );
}

#[test]
fn only_transfers_are_chained() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         hold alice h a>b 10                           -> ok
         unit atomic
         transfer alice k1 a>b 10                      -> ChainFailed
         post alice k2 h                               -> ChainFailed
         end
         stands h 10 0 10 Pending
         transfer alice k3 a>b 10 linked               -> ok",
    );
}
