//! Holds: posted in parts, voided, increased, expired; external ones; and holds of partners, whose consents get back what did
//! not move.

use super::table::check;

#[test]
fn a_hold_is_posted_in_parts() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         hold alice h a>b 100                          -> ok
         post alice k1 h 30 keep                       -> ok
         stands h 100 30 70 Pending
         is a 70 70 0
         is b 30 0 70
         post alice k2 h 71 keep                       -> ExceedsHold
         post alice k3 h 40                            -> ok
         stands h 100 70 0 Posted
         is a 30 0 0
         post alice k4 h 1                             -> NotPending
         void alice k5 h                               -> NotPending
         hold alice h2 a>b 30                          -> ok
         post alice k6 h2 30 keep                      -> ok
         stands h2 30 30 0 Posted
         fund a 10
         hold alice h3 a>b 10                          -> ok
         post alice k7 h3 4 keep                       -> ok
         void alice k8 h3                              -> ok
         stands h3 10 4 0 Posted",
    );
}

#[test]
fn a_hold_is_increased_until_a_part_of_it_is_posted() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 120                          -> ok
         fund a 150
         hold alice h a>b 50                           -> ok
         more alice k1 h 50                            -> ok
         stands h 100 0 100 Pending
         more anna k2 h 10                             -> NotPermitted
         more alice k3 h 51                            -> InsufficientFunds
         more alice k4 h 21                            -> Ceiling
         more alice k5 h MAX                           -> InsufficientFunds
         post alice k6 h 60 keep                       -> ok
         more alice k7 h 1                             -> NotPending
         stands h 100 60 40 Pending
         post alice k8 h 10                            -> ok
         stands h 100 70 0 Posted
         is a 80 0 0
         is b 70 0 0",
    );
}

#[test]
fn a_hold_ends_at_its_expiry_and_not_before() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         hold alice k0 a>b 1 till=0                    -> Expired
         hold alice h1 a>b 10 till=5                   -> ok
         hold alice h2 a>b 10 till=6                   -> ok
         hold alice h3 a>b 10 till=5                   -> ok
         tick 4
         expire h1                                     -> ok
         stands h1 10 0 10 Pending
         post alice k1 h3 4 keep                       -> ok
         tick 1
         post alice k2 h1                              -> Expired
         void alice k3 h1                              -> Expired
         more alice k4 h1 1                            -> Expired
         post alice k5 h2                              -> ok
         batch
         expire h1                                     -> ok
         expire h1                                     -> ok
         expire h2                                     -> ok
         expire h3                                     -> ok
         post alice k6 h1                              -> NotPending
         commit
         stands h1 10 0 0 Expired
         stands h2 10 10 0 Posted
         stands h3 10 4 0 Posted
         is a 86 0 0
         expire nothing                                -> ok",
    );
}

#[test]
fn expiry_needs_no_account_to_take_part() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         hold alice h a>b 10 till=5                    -> ok
         state a frozen 1                              -> ok
         state b frozen 1                              -> ok
         tick 5
         expire h                                      -> ok
         stands h 10 0 0 Expired
         is a 100 0 0",
    );
}

#[test]
fn an_external_hold_is_for_a_rail_partner() {
    check(
        "open a EUR alice 0 -                          -> ok
         fund a 100
         hold alice h1 a>settlement-EUR 10 external    -> ok
         hold alice h2 a>settlement-EUR 10 external    -> ok
         hold alice h3 a>settlement-EUR 10             -> ok
         post alice k1 h1                              -> NotPermitted
         void alice k2 h1                              -> NotPermitted
         more alice k3 h1 1                            -> NotPermitted
         post rail k4 h1 6                             -> ok
         stands h1 10 6 0 Posted
         void rail k5 h2                               -> ok
         post rail k6 h3                               -> NotPermitted
         post alice k7 h3                              -> ok
         is settlement-EUR -84 0 0",
    );
}

#[test]
fn a_consent_gets_back_what_did_not_move() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 500
         grant g a psp 90 200 +10 1                    -> ok
         hold psp:alice h1 a>b 80                      -> ok
         more psp:alice k1 h1 11                       -> PerTransferCap
         more psp:alice k2 h1 10                       -> ok
         used g 90
         hold psp:alice h2 a>b 90                      -> ok
         used g 180
         more psp:alice k3 h2 1                        -> PerTransferCap
         hold psp:alice h3 a>b 21                      -> TotalCap
         post psp:alice k4 h1 40 keep                  -> ok
         used g 180
         post psp:alice k5 h1 20                       -> ok
         used g 150
         void bert k6 h2                               -> ok
         used g 60
         hold psp:alice h4 a>b 30 till=3               -> ok
         used g 90
         tick 3
         expire h4                                     -> ok
         used g 60
         hold alice h5 a>b 30                          -> ok
         post psp:alice k7 h5                          -> NotPermitted
         used g 60",
    );
}

#[test]
fn a_hold_made_under_a_consent_taken_back_moves_no_more() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 500
         grant g a psp - - +10 1                       -> ok
         hold psp:alice h1 a>b 10                      -> ok
         hold psp:alice h2 a>b 10                      -> ok
         hold psp:alice h3 a>b 10                      -> ok
         grant g a psp - - +10 2 none                  -> ok
         transfer psp:alice k1 a>b 1                   -> NotPermitted
         post psp:alice k2 h1                          -> NotPermitted
         more psp:alice k3 h1 1                        -> NotPermitted
         void psp:alice k4 h1                          -> ok
         post bert k5 h2                               -> ok
         used g 20
         grant g a psp - - +10 3                       -> ok
         used g 20
         tick 9
         transfer psp:alice k6 a>b 1                   -> ok
         tick 1
         transfer psp:alice k7 a>b 1                   -> NotPermitted
         post psp:alice k8 h3                          -> NotPermitted",
    );
}

#[test]
fn a_whole_chain_is_posted_or_voided_together() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 100
         unit continue
         hold alice h1 a>b 10 linked                   -> ok
         transfer alice t1 a>b 5 linked                -> ok
         hold alice h2 a>b 20 linked                   -> ok
         hold alice h3 a>b 30                          -> ok
         end
         post alice k1 h2 chain                        -> ok
         is a 35 0 0
         post alice k2 h1 chain                        -> NotPending
         unit atomic
         hold alice i1 a>b 10                          -> ok
         hold alice i2 a>b 10                          -> ok
         end
         void alice k3 i1                              -> ok
         post alice k4 i2 chain                        -> NotPending
         void alice k5 i2 chain                        -> NotPending
         stands i2 10 0 10 Pending
         post alice k6 i2                              -> ok
         hold alice j a>b 5                            -> ok
         void alice k7 j chain                         -> ok
         post anna k8 nothing chain                    -> NoTransfer
         void alice k9 nothing chain                   -> NotPermitted",
    );
}

#[test]
fn a_whole_chain_is_resolved_in_full_or_left_as_it_was() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         open c EUR carl 0 -                           -> ok
         fund a 100
         grant g a psp - - +1000 1                     -> ok
         unit continue
         hold psp:alice h1 a>b 10 linked               -> ok
         hold psp:alice h2 a>b 20 linked               -> ok
         hold psp:alice h3 a>c 30                      -> ok
         end
         used g 60
         post psp:alice k0 h1 4 keep                   -> ok
         state c frozen 1                              -> ok
         post psp:alice k1 h1 chain                    -> CreditNotOpen
         stands h1 10 4 6 Pending
         stands h2 20 0 20 Pending
         is a 96 56 0
         used g 60
         post psp:alice k2 h1 chain try                -> CreditNotOpen
         void psp:alice k3 h3 chain try                -> would 30 0 0 Voided
         is a 96 56 0
         void psp:alice k4 h3 chain                    -> ok
         stands h1 10 4 0 Posted
         stands h2 20 0 0 Voided
         stands h3 30 0 0 Voided
         used g 4",
    );
}
