//! Currencies as an account can hold them: an active ISO 4217 code that has a minor unit. The list itself is in `iso4217`.
//! Amounts are whole minor units by that exponent everywhere in the ledger, so no arithmetic here ever scales one.

use std::fmt;
use std::sync::LazyLock;

use super::iso4217::CODES;

/// Numeric codes have three digits.
const NUMERIC_CODES: usize = 1000;

/// Row of the table by numeric code: stored rows are decoded thousands of times a batch.
static BY_NUMERIC: LazyLock<[Option<u8>; NUMERIC_CODES]> = LazyLock::new(|| {
    let mut rows = [None; NUMERIC_CODES];
    for (row, (_, numeric, exponent)) in CODES.iter().enumerate() {
        if let (Ok(numeric), Ok(row), Some(_)) = (usize::try_from(*numeric), u8::try_from(row), exponent) {
            rows[numeric] = Some(row);
        }
    }
    rows
});

/// An active ISO 4217 currency with a minor unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency(u8);

impl Currency {
    /// The currency of an alphabetic code in capitals; `None` for an unknown code and for one without a minor unit (XXX, XAU).
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        let row = CODES.binary_search_by(|(alphabetic, ..)| (*alphabetic).cmp(code)).ok()?;
        CODES[row].2?;
        u8::try_from(row).ok().map(Self)
    }

    /// The currency of a numeric code.
    #[must_use]
    pub fn from_numeric(numeric: i16) -> Option<Self> {
        BY_NUMERIC.get(usize::try_from(numeric).ok()?).copied().flatten().map(Self)
    }

    /// The three letters.
    #[must_use]
    pub fn code(self) -> &'static str {
        CODES[usize::from(self.0)].0
    }

    /// The three digits, as the store keeps it.
    #[must_use]
    pub fn numeric(self) -> i16 {
        CODES[usize::from(self.0)].1
    }

    /// How many decimal digits the minor unit stands behind the point: 2 for EUR, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn exponent(self) -> u8 {
        CODES[usize::from(self.0)].2.unwrap_or_default()
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn table_is_sorted_and_its_numbers_are_unique() {
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(CODES.iter().map(|code| code.1).collect::<BTreeSet<_>>().len(), CODES.len());
        assert!(CODES.len() <= usize::from(u8::MAX));
    }

    #[test]
    fn codes_and_numbers_lead_to_the_same_currency() {
        for (code, numeric, exponent) in CODES {
            let currency = Currency::parse(code);
            assert_eq!(currency.is_some(), exponent.is_some(), "{code}");
            assert_eq!(currency, Currency::from_numeric(numeric), "{code}");
            if let Some(currency) = currency {
                assert_eq!(
                    (currency.code(), currency.numeric(), Some(currency.exponent())),
                    (code, numeric, exponent)
                );
            }
        }
    }

    #[test]
    fn exponents_are_those_of_the_standard() {
        for (code, exponent) in
            [("EUR", 2), ("JPY", 0), ("KWD", 3), ("BHD", 3), ("CLF", 4), ("UYW", 4), ("ISK", 0), ("XOF", 0)]
        {
            assert_eq!(Currency::parse(code).map(Currency::exponent), Some(exponent), "{code}");
        }
    }

    #[test]
    fn what_is_no_money_is_no_currency() {
        for code in ["XXX", "XAU", "XTS", "XDR", "EURO", "eur", "ZZZ", "", "HRK", "BGN"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
    }
}
