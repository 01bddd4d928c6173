//! Conversions: two transfers in two currencies whose amounts agree by a quoted rate. Rates are decimals of integers, never floats.

use super::account::Amount;
use super::currency::Currency;

/// Digits behind the point of a rate, and before it.
const DIGITS: u32 = 10;

/// A rate: units of the second currency for one unit of the first, in units of 10^-10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(i128);

impl Rate {
    /// From a positive decimal with at most ten digits before and ten behind the point, without sign or exponent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits =
            |text: &str| text.len() <= DIGITS as usize && text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) || (part.is_empty() && text.ends_with('.')) {
            return None;
        }
        let scaled: i128 = format!("{whole}{part:0<width$}", width = DIGITS as usize).parse().ok()?;
        (scaled > 0).then_some(Self(scaled))
    }

    /// What `amount` of one currency is in another, in minor units, rounded half to even; `None` if that is nothing or too much.
    #[must_use]
    pub fn convert(self, amount: Amount, from: Currency, to: Currency) -> Option<Amount> {
        let ten = |exponent: u8| 10_i128.pow(u32::from(exponent));
        let numerator =
            i128::from(amount.minor_units()).checked_mul(self.0)?.checked_mul(ten(to.exponent()))?;
        let denominator = 10_i128.pow(DIGITS) * ten(from.exponent());
        let (quotient, rest) = (numerator / denominator, numerator % denominator);
        let up = match (2 * rest).cmp(&denominator) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => quotient % 2 == 1,
            std::cmp::Ordering::Greater => true,
        };
        Amount::new(i64::try_from(quotient + i128::from(up)).ok()?)
    }
}

/// The quote behind a conversion. The rate is kept as it was written, for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Where the rate was agreed.
    pub quote: String,
    /// The rate as written; it parses.
    pub rate: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_plain_decimals() {
        for good in ["1", "1.0834", "0.0000000001", "9999999999.9999999999"] {
            assert!(Rate::parse(good).is_some(), "{good}");
        }
        for bad in
            ["", "0", "0.0", "-1", "+1", "1.", ".5", "1e3", "1,5", "12345678901", "1.12345678901", "1.2.3"]
        {
            assert!(Rate::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn conversions_follow_exponents_and_round_half_to_even() {
        let currency = |code| Currency::parse(code).unwrap();
        let cases = [
            ("1.0834", 10_000, "EUR", "USD", Some(10_834)),
            ("162.5", 100, "EUR", "JPY", Some(162)),
            ("163.5", 100, "EUR", "JPY", Some(164)),
            ("0.00615", 1_000, "JPY", "EUR", Some(615)),
            ("0.376", 1_000, "USD", "KWD", Some(3_760)),
            ("0.001", 1, "EUR", "USD", None),
            ("9999999999", i64::MAX, "EUR", "USD", None),
        ];
        for (rate, amount, from, to, expect) in cases {
            let converted = Rate::parse(rate).unwrap().convert(
                Amount::new(amount).unwrap(),
                currency(from),
                currency(to),
            );
            assert_eq!(converted.map(Amount::minor_units), expect, "{rate} {amount} {from} {to}");
        }
    }
}
