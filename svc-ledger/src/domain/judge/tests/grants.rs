//! Grants: each its own key, the oldest with room first, the owner and staff without one.

use super::table::check;

#[test]
fn a_partner_takes_from_the_oldest_grant_that_has_room() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 500
         grant g1 a psp 50 60 +1000 1                  -> ok
         grant g2 a psp 80 100 +1000 1                 -> ok
         grant g0 a tpp - - +1000 1                    -> ok
         transfer psp:alice k1 a>b 50                  -> ok
         used g1 50
         transfer psp:alice k2 a>b 50                  -> ok
         used g2 50
         transfer psp:alice k3 a>b 10                  -> ok
         used g1 60
         transfer psp:alice k4 a>b 81                  -> PerTransferCap
         transfer psp:alice k5 a>b 51                  -> PerTransferCap
         transfer psp:alice k6 a>b 1                   -> ok
         used g2 51
         transfer psp:bob k7 a>b 1                     -> NotPermitted
         transfer alice k8 a>b 300                     -> ok
         used g1 60",
    );
}

#[test]
fn a_grant_is_its_own_key_and_its_revision_only_rises() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         grant g nowhere psp - - +1000 1               -> NoAccount
         grant g a psp 50 60 +1000 2                   -> ok
         grant g a psp 50 60 +1000 2                   -> ok
         grant g a psp 51 - +1001 2 none               -> GrantExists scopes,per_transfer_max_minor_units,total_max_minor_units,expire_time
         grant g a psp 50 60 +1000 1                   -> StaleRevision
         grant g b tpp 50 60 +1000 3                   -> GrantExists account_id,partner_id
         grant g a psp 10 20 +1000 3                   -> ok",
    );
}

#[test]
fn a_cap_lowered_below_what_was_taken_lets_nothing_more_through() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a 500
         grant g a psp - - +1000 1                     -> ok
         hold psp:alice h a>b 100                      -> ok
         grant g a psp - 40 +1000 2                    -> ok
         used g 100
         more psp:alice k1 h 1                         -> TotalCap
         transfer psp:alice k2 a>b 1                   -> TotalCap
         post psp:alice k3 h 30                        -> ok
         used g 30
         transfer psp:alice k4 a>b 10                  -> ok",
    );
}

#[test]
fn a_cap_holds_at_the_end_of_64_bits() {
    check(
        "open a EUR alice 0 -                          -> ok
         open b EUR bob 0 -                            -> ok
         fund a MAX
         grant g a psp MAX MAX-1 +1000 1               -> ok
         transfer psp:alice k1 a>b MAX                 -> TotalCap
         transfer psp:alice k2 a>b MAX-1               -> ok
         transfer psp:alice k3 a>b MAX                 -> TotalCap
         transfer psp:alice k4 a>b MAX atmost          -> TotalCap",
    );
}
