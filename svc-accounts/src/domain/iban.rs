//! IBANs after ISO 13616: a country with its fixed length, two check digits by ISO 7064 MOD 97-10, and the national part.
//! Reading accepts every country of the registry; making one is for countries whose national part is a bank code and an
//! account number without a check digit of its own, because a wrong national digit would pass here and fail elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Country and length in characters: SWIFT IBAN Registry.
const LENGTHS: &[&str] = &[
    "AD24", "AE23", "AL28", "AT20", "AZ28", "BA20", "BE16", "BG22", "BH22", "BI27", "BR29", "BY28", "CH21",
    "CR22", "CY28", "CZ24", "DE22", "DJ27", "DK18", "DO28", "EE20", "EG29", "ES24", "FI18", "FK18", "FO18",
    "FR27", "GB22", "GE22", "GI23", "GL18", "GR27", "GT28", "HN28", "HR21", "HU28", "IE22", "IL23", "IQ23",
    "IS26", "IT27", "JO30", "KW30", "KZ20", "LB28", "LC32", "LI21", "LT20", "LU20", "LV21", "LY25", "MC27",
    "MD24", "ME22", "MK19", "MN20", "MR27", "MT31", "MU30", "NI28", "NL18", "NO15", "OM23", "PK24", "PL28",
    "PS29", "PT25", "QA29", "RO24", "RS22", "RU33", "SA24", "SC31", "SD18", "SE24", "SI19", "SK24", "SM27",
    "SO23", "ST25", "SV28", "TL23", "TN24", "TR26", "UA29", "VA22", "VG24", "XK20", "YE30",
];

/// Country, digits of the bank code and digits of the account number, where the national part is just these two.
const ISSUED: &[(&str, usize, usize)] =
    &[("AT", 5, 11), ("CH", 5, 12), ("DE", 8, 10), ("LI", 5, 12), ("LU", 3, 13)];

/// Why a text is no IBAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIban {
    /// Something other than capital letters and digits, or no country and check digits at the front.
    #[error("must begin with a country and two check digits and hold capital letters and digits only")]
    Form,
    /// A country that issues none.
    #[error("must begin with a country that issues IBANs")]
    Country,
    /// Not the length of its country.
    #[error("must have {0} characters in its country")]
    Length(usize),
    /// Wrong check digits.
    #[error("must have valid check digits")]
    CheckDigits,
}

/// An IBAN in its electronic form, without blanks. Personal data: the debug form does not show it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Iban(String);

impl Iban {
    /// Reads the electronic form.
    pub fn parse(text: &str) -> Result<Self, InvalidIban> {
        let alphanumeric = text.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        let (Some(country), Some(check), Some(national)) = (text.get(..2), text.get(2..4), text.get(4..))
        else {
            return Err(InvalidIban::Form);
        };
        if !alphanumeric
            || !country.bytes().all(|c| c.is_ascii_uppercase())
            || !check.bytes().all(|c| c.is_ascii_digit())
        {
            return Err(InvalidIban::Form);
        }
        let length = length_of(country).ok_or(InvalidIban::Country)?;
        if text.len() != length {
            return Err(InvalidIban::Length(length));
        }
        // Computed and compared, instead of testing for remainder 1: that would also accept 00, 01 and 99, which ISO 7064
        // never produces.
        if check != check_digits(country, national) {
            return Err(InvalidIban::CheckDigits);
        }
        Ok(Self(text.to_owned()))
    }

    /// The electronic form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Iban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<Iban> for String {
    fn from(iban: Iban) -> Self {
        iban.0
    }
}

impl TryFrom<String> for Iban {
    type Error = InvalidIban;

    fn try_from(text: String) -> Result<Self, InvalidIban> {
        Self::parse(&text)
    }
}

/// Why IBANs cannot be made from a country and a bank code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRange {
    /// The national part has rules of its own.
    #[error("IBANs can be issued in AT, CH, DE, LI and LU, not in {0:?}")]
    Country(String),
    /// Not a bank code of the country.
    #[error("a bank code of {country} has {digits} digits")]
    BankCode {
        /// The country.
        country: &'static str,
        /// How many digits it asks for.
        digits: usize,
    },
}

/// The IBANs that the bank may give out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IbanRange {
    country: &'static str,
    bank_code: String,
    account_digits: usize,
}

impl IbanRange {
    /// Of a bank in a country.
    pub fn new(country: &str, bank_code: &str) -> Result<Self, InvalidRange> {
        let Some(&(country, bank_digits, account_digits)) = ISSUED.iter().find(|(code, ..)| *code == country)
        else {
            return Err(InvalidRange::Country(country.to_owned()));
        };
        if bank_code.len() != bank_digits || !bank_code.bytes().all(|c| c.is_ascii_digit()) {
            return Err(InvalidRange::BankCode { country, digits: bank_digits });
        }
        Ok(Self { country, bank_code: bank_code.to_owned(), account_digits })
    }

    /// Whether an IBAN is of the bank, whether it has been given out or not.
    pub fn contains(&self, iban: &Iban) -> bool {
        let rest = iban.as_str().strip_prefix(self.country);
        rest.and_then(|rest| rest.get(2..)).is_some_and(|national| national.starts_with(&self.bank_code))
    }

    /// The IBAN of an account number, which is taken modulo the size of the range. Numbers are drawn at random: counting
    /// would tell everyone how many accounts the bank has, and the neighbours' numbers.
    pub fn iban(&self, number: u64) -> Iban {
        let size = 10_u64.pow(u32::try_from(self.account_digits).unwrap_or(10));
        let national = format!("{}{:0width$}", self.bank_code, number % size, width = self.account_digits);
        Iban(format!("{}{}{national}", self.country, check_digits(self.country, &national)))
    }
}

fn length_of(country: &str) -> Option<usize> {
    LENGTHS.iter().find_map(|entry| entry.strip_prefix(country))?.parse().ok()
}

/// ISO 7064 MOD 97-10: the national part, the country and 00, letters as numbers from 10, taken modulo 97 and from 98.
fn check_digits(country: &str, national: &str) -> String {
    let remainder =
        national.bytes().chain(country.bytes()).chain(*b"00").fold(0_u32, |remainder, c| match c {
            b'0'..=b'9' => (remainder * 10 + u32::from(c - b'0')) % 97,
            _ => (remainder * 100 + u32::from(c.wrapping_sub(b'A')) + 10) % 97,
        });
    format!("{:02}", 98 - remainder)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ibans_of_the_registry_are_read() {
        for text in [
            "AT611904300234573201",
            "BE68539007547034",
            "CH9300762011623852957",
            "DE89370400440532013000",
            "ES9121000418450200051332",
            "FR1420041010050500013M02606",
            "GB29NWBK60161331926819",
            "LI21088100002324013AA",
            "LU280019400644750000",
            "MT84MALT011000012345MTLCAST001S",
            "NL91ABNA0417164300",
            "NO9386011117947",
            "SC18SSCB11010000000000001497USD",
        ] {
            assert_eq!(Iban::parse(text).map(|iban| iban.as_str().to_owned()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn anything_else_is_refused_for_its_first_fault() {
        for (text, expect) in [
            ("", InvalidIban::Form),
            ("DE8", InvalidIban::Form),
            ("DE89 3704 0044 0532 0130 00", InvalidIban::Form),
            ("de89370400440532013000", InvalidIban::Form),
            ("D189370400440532013000", InvalidIban::Form),
            ("DEX9370400440532013000", InvalidIban::Form),
            ("DÉ89370400440532013000", InvalidIban::Form),
            ("US89370400440532013000", InvalidIban::Country),
            ("DE8937040044053201300", InvalidIban::Length(22)),
            ("DE893704004405320130000", InvalidIban::Length(22)),
            ("DE88370400440532013000", InvalidIban::CheckDigits),
            ("DE89370400440532013001", InvalidIban::CheckDigits),
        ] {
            assert_eq!(Iban::parse(text), Err(expect), "{text}");
        }
    }

    #[test]
    fn every_country_has_one_length_and_its_parts_add_up() {
        assert!(LENGTHS.is_sorted_by(|a, b| a[..2] < b[..2]), "once each");
        assert!(
            LENGTHS
                .iter()
                .all(|entry| length_of(&entry[..2]).is_some_and(|length| (15..=34).contains(&length)))
        );
        for (country, bank, account) in ISSUED {
            assert_eq!(length_of(country), Some(4 + bank + account), "{country}");
        }
    }

    #[test]
    fn a_range_needs_a_country_and_its_bank_code() {
        assert!(IbanRange::new("DE", "50010517").is_ok());
        assert_eq!(IbanRange::new("FR", "20041"), Err(InvalidRange::Country("FR".into())));
        for code in ["5001051", "500105170", "5001051X", ""] {
            let expect = InvalidRange::BankCode { country: "DE", digits: 8 };
            assert_eq!(IbanRange::new("DE", code), Err(expect), "{code}");
        }
    }

    #[test]
    fn a_known_account_gets_its_known_iban() {
        let range = IbanRange::new("DE", "37040044").expect("valid");
        assert_eq!(range.iban(532_013_000).as_str(), "DE89370400440532013000");
        assert_eq!(range.iban(10_532_013_000), range.iban(532_013_000), "taken modulo the range");
    }

    #[test]
    fn the_bank_knows_its_own_ibans() {
        let range = IbanRange::new("DE", "37040044").expect("valid");
        let contains = |text: &str| range.contains(&Iban::parse(text).expect("valid"));
        assert!(contains("DE89370400440532013000"));
        assert!(!contains("AT611904300234573201"));
        assert!(!IbanRange::new("DE", "50010517").expect("valid").contains(&range.iban(1)));
    }

    proptest! {
        #[test]
        fn every_issued_iban_reads_back(at in 0..ISSUED.len(), bank: u64, number: u64) {
            let (country, digits, _) = ISSUED[at];
            let bank = format!("{:0digits$}", bank % 10_u64.pow(digits as u32));
            let iban = IbanRange::new(country, &bank).expect("valid").iban(number);
            prop_assert_eq!(Iban::parse(iban.as_str()), Ok(iban));
        }

        #[test]
        fn a_changed_digit_or_two_swapped_ones_are_noticed(number: u64, at in 4_usize..22, by in 1_u8..10) {
            let iban = IbanRange::new("DE", "50010517").expect("valid").iban(number);
            let mut changed = iban.as_str().as_bytes().to_vec();
            changed[at] = b'0' + (changed[at] - b'0' + by) % 10;
            prop_assert!(Iban::parse(str::from_utf8(&changed).expect("ascii")).is_err());

            let mut swapped = iban.as_str().as_bytes().to_vec();
            if at < 21 && swapped[at] != swapped[at + 1] {
                swapped.swap(at, at + 1);
                prop_assert!(Iban::parse(str::from_utf8(&swapped).expect("ascii")).is_err());
            }
        }

        #[test]
        fn reading_never_panics(text: String) {
            let _ = Iban::parse(&text);
        }
    }
}
