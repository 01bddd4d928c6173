//! Email addresses: one `@`, a text on either side, nothing that a header or a log line would break on. Not a parser of
//! RFC 5322, which admits comments and quoted blanks that no bank accepts; whether an address is read by anyone only a
//! message to it can tell. Personal data: the debug form does not show it.

use std::fmt;

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEmail {
    /// RFC 5321, 4.5.3.1.3 less the angle brackets.
    #[error("must have at most 254 characters")]
    TooLong,
    /// No `@`, or more than one.
    #[error("must have one @")]
    NotOneAt,
    /// Nothing before or after the `@`.
    #[error("must have a text on both sides of the @")]
    EmptySide,
    /// A blank or a control character.
    #[error("must not hold blanks or control characters")]
    Blank,
}

/// An email address, as the customer writes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// In characters.
    pub const CHARACTERS_MAX: usize = 254;

    /// Reads an address as given.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        if text.chars().count() > Self::CHARACTERS_MAX {
            return Err(InvalidEmail::TooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidEmail::Blank);
        }
        let mut sides = text.split('@');
        let (Some(local), Some(domain), None) = (sides.next(), sides.next(), sides.next()) else {
            return Err(InvalidEmail::NotOneAt);
        };
        if local.is_empty() || domain.is_empty() {
            return Err(InvalidEmail::EmptySide);
        }
        Ok(Self(text.to_owned()))
    }

    /// The address as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which two addresses are the same. RFC 5321 lets the local part differ by case; no provider of note does,
    /// and two customers told apart only by it would be a fraud waiting to happen.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_at_and_two_sides() {
        let longest = format!("{}@b.example", "a".repeat(244));
        for (text, expect) in [
            ("ada@example.com", None),
            ("Ada+bank@EXAMPLE.com", None),
            ("jürgen@köln.example", None),
            (longest.as_str(), None),
            (&format!("a{longest}"), Some(InvalidEmail::TooLong)),
            ("", Some(InvalidEmail::NotOneAt)),
            ("ada.example.com", Some(InvalidEmail::NotOneAt)),
            ("ada@x@example.com", Some(InvalidEmail::NotOneAt)),
            ("@example.com", Some(InvalidEmail::EmptySide)),
            ("ada@", Some(InvalidEmail::EmptySide)),
            ("ada @example.com", Some(InvalidEmail::Blank)),
            ("ada@example.com\r\nBcc: eve@example.com", Some(InvalidEmail::Blank)),
        ] {
            assert_eq!(Email::parse(text).err(), expect, "{text:?}");
        }
    }

    #[test]
    fn case_does_not_tell_addresses_apart() {
        let (a, b) = (Email::parse("Ada@Example.COM"), Email::parse("ada@example.com"));
        let (a, b) = (a.expect("valid"), b.expect("valid"));
        assert_eq!(a.folded(), b.folded());
        assert_eq!(a.as_str(), "Ada@Example.COM", "kept as the customer writes it");
    }
}
