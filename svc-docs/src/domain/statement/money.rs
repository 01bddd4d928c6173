//! Amounts of money and how people read them. Amounts are whole minor units; the decimal point comes only with the text.

/// An amount in the minor unit of a currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// ISO 4217.
    pub currency: String,
    pub minor_units: i64,
}

impl Money {
    /// The amount with the decimals of its currency: 1234 EUR is "12.34", 1234 JPY is "1234".
    pub fn decimal(&self) -> String {
        let decimals = exponent(&self.currency);
        let sign = if self.minor_units < 0 { "-" } else { "" };
        let digits = self.minor_units.unsigned_abs().to_string();
        if decimals == 0 {
            return format!("{sign}{digits}");
        }
        let digits = format!("{digits:0>width$}", width = decimals + 1);
        let (whole, part) = digits.split_at(digits.len() - decimals);
        format!("{sign}{whole}.{part}")
    }
}

/// The decimals of a currency (ISO 4217, list one). All but these have two.
fn exponent(currency: &str) -> usize {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI"
        | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_follow_the_currency() {
        let cases = [
            ("EUR", 1234, "12.34"),
            ("EUR", 5, "0.05"),
            ("EUR", -5, "-0.05"),
            ("EUR", 0, "0.00"),
            ("JPY", -1234, "-1234"),
            ("KWD", 1, "0.001"),
            ("CLF", 12345, "1.2345"),
            ("EUR", i64::MIN, "-92233720368547758.08"),
        ];
        for (currency, minor_units, expected) in cases {
            assert_eq!(Money { currency: currency.into(), minor_units }.decimal(), expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(minor_units in any::<i64>()) {
            let text = Money { currency: "EUR".into(), minor_units }.decimal();
            prop_assert_eq!(text.replace('.', "").parse::<i64>(), Ok(minor_units));
        }
    }
}
