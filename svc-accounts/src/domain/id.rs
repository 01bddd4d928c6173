//! The ids of customers and accounts: UUIDv7 made by this service, so that their text order is the order of creation.
//! Two types, so that one cannot stand in the place of the other.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a UUID in its hyphenated form")]
pub struct InvalidId;

/// Only the hyphenated form counts: with braces, URNs and bare hex one record would have several names, and a name is also
/// a key of the table and of the cache.
fn parse(text: &str) -> Result<Uuid, InvalidId> {
    const HYPHENATED: usize = 36;
    if text.len() != HYPHENATED {
        return Err(InvalidId);
    }
    Uuid::try_parse(text).map_err(|_| InvalidId)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an id that was just made.
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// Reads the hyphenated form, in either case.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                parse(text).map(Self)
            }

            /// The sixteen bytes of the id.
            pub const fn bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

id! {
    /// Names a customer.
    CustomerId
}
id! {
    /// Names an account, here and in the ledger.
    AccountId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let plain = "01890a5d-ac96-774b-bcce-b302099a8057";
        for (text, valid) in [
            (plain, true),
            ("01890A5D-AC96-774B-BCCE-B302099A8057", true),
            ("01890a5dac96774bbcceb302099a8057", false),
            ("{01890a5d-ac96-774b-bcce-b302099a8057}", false),
            ("urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057", false),
            ("01890a5d-ac96-774b-bcce-b302099a805g", false),
            ("settlement-EUR", false),
            ("", false),
        ] {
            assert_eq!(AccountId::parse(text).is_ok(), valid, "{text}");
        }
        let upper = AccountId::parse(&plain.to_uppercase()).expect("valid");
        assert_eq!(upper.to_string(), plain, "one record has one name");
    }
}
