//! A partner as a consent names it: the id that the edge maps its certificate to.

use std::fmt;

/// Why a text names no partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {max} characters of a-z, 0-9 and the hyphen", max = PartnerId::BYTES_MAX)]
pub struct InvalidPartnerId;

/// Names a partner. Its letters cannot be mistaken for one another in any case or script, and none of them ends a part of a
/// key in the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartnerId(String);

impl PartnerId {
    /// The longest id.
    pub const BYTES_MAX: usize = 64;

    /// Reads an id.
    pub fn parse(text: &str) -> Result<Self, InvalidPartnerId> {
        let fits = (1..=Self::BYTES_MAX).contains(&text.len());
        let plain = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fits && plain { Ok(Self(text.to_owned())) } else { Err(InvalidPartnerId) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PartnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partner_id_is_1_to_64_plain_characters() {
        for (text, valid) in [
            ("psp", true),
            ("aggregator-7", true),
            ("-", true),
            (&"x".repeat(64), true),
            ("", false),
            (&"x".repeat(65), false),
            ("Psp", false),
            ("psp#1", false),
            ("psp.example", false),
            ("psp ", false),
            ("pѕp", false),
        ] {
            assert_eq!(PartnerId::parse(text).is_ok(), valid, "{text}");
        }
    }
}
