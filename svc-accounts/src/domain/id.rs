//! The ids of customers, accounts and consents: UUIDv7 made by this service, so that their text order is the order of
//! creation. A type each, so that one cannot stand in the place of another.

use std::fmt;

use chassis::field::{self, NotAUuid};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
            pub fn parse(text: &str) -> Result<Self, NotAUuid> {
                field::uuid(text).map(Self)
            }

            /// The id.
            pub const fn uuid(&self) -> Uuid {
                self.0
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
id! {
    /// Names a consent, here and in the ledger.
    ConsentId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_has_one_name() {
        let plain = "01890a5d-ac96-774b-bcce-b302099a8057";
        let upper = AccountId::parse(&plain.to_uppercase()).expect("valid");
        assert_eq!(upper.to_string(), plain);
    }
}
