//! Conversions: two halves that agree, posted or voided together, reversed by nobody.

use super::table::check;

const ACCOUNTS: &str = "open a EUR alice 0 -         -> ok
     open u USD alice 0 -                          -> ok
     fund a 1000
";

#[test]
fn two_halves_that_agree_are_a_conversion() {
    check(&format!(
        "{ACCOUNTS}
         unit atomic
         hold anna x1 a>exchange-EUR 100 fx=q@1.085    -> ok
         hold anna x2 exchange-USD>u 108 USD fx=q@1.085 -> ok
         end
         post bert k1 x1                               -> ExchangeMismatch
         void bert k2 x2                               -> ExchangeMismatch
         more anna k3 x1 5                             -> ExchangeMismatch
         post anna k4 x1 chain                         -> FourEyes
         post bert k5 x2 chain                         -> ok
         is a 900 0 0
         is u 108 0 0
         is exchange-EUR 100 0 0
         is exchange-USD -108 0 0
         reverse anna k6 x1                            -> NotReversible
         reverse anna k7 x2                            -> NotReversible",
    ));
}

#[test]
fn a_rate_is_rounded_half_to_even() {
    check(&format!(
        "{ACCOUNTS}
         unit atomic
         hold anna x1 a>exchange-EUR 100 fx=q@1.085    -> ChainFailed
         hold anna x2 exchange-USD>u 109 USD fx=q@1.085 -> ExchangeMismatch
         end
         unit atomic
         hold anna x3 a>exchange-EUR 100 fx=q@1.075    -> ok
         hold anna x4 exchange-USD>u 108 USD fx=q@1.075 -> ok
         end",
    ));
}

#[test]
fn four_in_a_row_are_two_conversions_and_three_are_none() {
    check(&format!(
        "{ACCOUNTS}
         unit atomic
         hold anna x1 a>exchange-EUR 100 fx=q@2        -> ok
         hold anna x2 exchange-USD>u 200 USD fx=q@2    -> ok
         hold anna x3 a>exchange-EUR 50 fx=q@2         -> ok
         hold anna x4 exchange-USD>u 100 USD fx=q@2    -> ok
         end
         unit atomic
         hold anna y1 a>exchange-EUR 100 fx=q@2        -> ChainFailed
         hold anna y2 exchange-USD>u 200 USD fx=q@2    -> ChainFailed
         hold anna y3 a>exchange-EUR 50 fx=q@2         -> ExchangeMismatch
         end
         void bert k x3 chain                          -> ok
         is a 1000 0 0",
    ));
}

#[test]
fn what_claims_to_be_half_of_a_conversion_and_is_not_is_refused() {
    check(&format!(
        "{ACCOUNTS}
         hold anna k1 a>exchange-EUR 100 fx=q@2        -> ExchangeMismatch
         unit atomic
         hold anna k2 a>exchange-EUR 100 fx=q@2        -> ExchangeMismatch
         hold anna k3 exchange-USD>u 200 USD           -> ChainFailed
         end
         unit atomic
         hold anna k4 a>exchange-EUR 100 fx=q@2        -> ExchangeMismatch
         hold anna k5 exchange-USD>u 200 USD fx=r@2    -> ChainFailed
         end
         unit atomic
         hold anna k6 a>exchange-EUR 100 fx=q@2        -> ChainFailed
         transfer anna k7 exchange-USD>u 200 USD fx=q@2 -> ExchangeMismatch
         end
         unit atomic
         transfer anna k8 a>exchange-EUR 100 fx=q@2    -> ChainFailed
         transfer anna k9 exchange-USD>u 200 USD fx=q@2 -> FourEyes
         end
         unit atomic
         hold anna k10 a>exchange-EUR 100 fx=q@2       -> ChainFailed
         hold anna k11 exchange-EUR>a 200 fx=q@2       -> ExchangeMismatch
         end
         unit atomic
         hold alice k12 a>exchange-EUR 100 fx=q@2      -> ChainFailed
         hold anna k13 exchange-USD>u 200 USD fx=q@2   -> ExchangeMismatch
         end
         unit atomic
         hold anna k14 a>exchange-EUR 100 fx=q@2 till=5 -> ChainFailed
         hold anna k15 exchange-USD>u 200 USD fx=q@2 till=6 -> ExchangeMismatch
         end
         unit atomic
         hold anna k16 a>exchange-EUR 100 fx=q@2 atmost -> ChainFailed
         hold anna k17 exchange-USD>u 200 USD fx=q@2 atmost -> ExchangeMismatch
         end
         unit atomic
         hold anna k18 a>exchange-EUR 1001 fx=q@2      -> InsufficientFunds
         hold anna k19 exchange-USD>u 1 USD fx=q@2     -> ChainFailed
         end
         is a 1000 0 0",
    ));
}

#[test]
fn both_halves_expire_at_the_same_time() {
    check(&format!(
        "{ACCOUNTS}
         unit atomic
         hold anna x1 a>exchange-EUR 100 fx=q@2 till=5 -> ok
         hold anna x2 exchange-USD>u 200 USD fx=q@2 till=5 -> ok
         end
         tick 5
         expire x2                                     -> ok
         post bert k1 x1 chain                         -> Expired
         expire x1                                     -> ok
         is a 1000 0 0",
    ));
}
