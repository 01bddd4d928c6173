//! What customers and accounts are called. Free text in any script, within a length and without control characters, which
//! would forge lines in whatever prints them. Personal data: the debug form does not show it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing but blanks.
    #[error("must not be blank")]
    Blank,
    /// Longer than allowed, in characters.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// A control character.
    #[error("must not hold control characters")]
    Control,
}

fn check(text: &str, characters_max: usize) -> Result<(), InvalidName> {
    if text.chars().any(char::is_control) {
        return Err(InvalidName::Control);
    }
    if text.chars().count() > characters_max {
        return Err(InvalidName::TooLong(characters_max));
    }
    Ok(())
}

/// The legal name of a customer, 1 to 200 characters.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerName(String);

impl CustomerName {
    /// In characters.
    pub const CHARACTERS_MAX: usize = 200;

    /// Reads a name as given; nothing is trimmed, for a legal name is not ours to change.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.trim().is_empty() {
            return Err(InvalidName::Blank);
        }
        check(text, Self::CHARACTERS_MAX)?;
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the holder calls an account, at most 100 characters; may be empty.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountName(String);

impl AccountName {
    /// In characters.
    pub const CHARACTERS_MAX: usize = 100;

    /// Reads a name as given.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check(text, Self::CHARACTERS_MAX)?;
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CustomerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_has_a_name_of_1_to_200_characters() {
        let longest = "ß".repeat(200);
        for (text, expect) in [
            ("Ada Lovelace", None),
            (longest.as_str(), None),
            ("", Some(InvalidName::Blank)),
            (" \u{a0} ", Some(InvalidName::Blank)),
            (&"ß".repeat(201), Some(InvalidName::TooLong(200))),
            ("Ada\nLovelace", Some(InvalidName::Control)),
            ("Ada\u{0}", Some(InvalidName::Control)),
        ] {
            assert_eq!(CustomerName::parse(text).err(), expect, "{text:?}");
        }
    }

    #[test]
    fn an_account_may_go_without_a_name() {
        for (text, expect) in [
            ("", None),
            ("Holidays", None),
            (&"x".repeat(100), None),
            (&"x".repeat(101), Some(InvalidName::TooLong(100))),
            ("a\tb", Some(InvalidName::Control)),
        ] {
            assert_eq!(AccountName::parse(text).err(), expect, "{text:?}");
        }
    }

    #[test]
    fn a_name_is_not_in_the_debug_form() {
        let name = CustomerName::parse("Ada Lovelace").expect("valid");
        assert_eq!(format!("{name:?}"), "[redacted]");
    }
}
