//! Pages of a list: how many records, and from where. A page token is opaque and sealed: it names the last id of the page
//! before it, bound to the list it came from, so that a client can neither read on in another's list nor make one up.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::seal::Purpose;
use super::{CustomerId, Seal};

/// Why a page cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPage {
    /// Below zero.
    #[error("must not be negative")]
    NegativeSize,
    /// Not a token of this list.
    #[error("must be the next_page_token of the same list")]
    ForeignToken,
}

/// How many records a page holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(u16);

impl PageSize {
    /// For a request that names none.
    pub const DEFAULT: u16 = 50;
    /// More is cut down to it (AIP-158).
    pub const MAX: u16 = 200;

    /// Reads the field of a request.
    pub fn parse(size: i32) -> Result<Self, InvalidPage> {
        match u16::try_from(size) {
            Ok(0) => Ok(Self(Self::DEFAULT)),
            Ok(size) => Ok(Self(size.min(Self::MAX))),
            Err(_) if size < 0 => Err(InvalidPage::NegativeSize),
            Err(_) => Ok(Self(Self::MAX)),
        }
    }

    /// The number of records.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// A list that has pages. Both are in order of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// All customers.
    Customers,
    /// The accounts of one.
    AccountsOf(CustomerId),
}

impl Listing {
    const ID_BYTES: usize = 16;
    const TAG_BYTES: usize = 16;

    /// The token of the page after the record `last`.
    pub fn token(&self, seal: &Seal, last: &[u8; 16]) -> String {
        let tag: [u8; Self::TAG_BYTES] = seal.tag(Purpose::Page, &[&self.name(), last]);
        URL_SAFE_NO_PAD.encode([last.as_slice(), tag.as_slice()].concat())
    }

    /// The id after which to read on; `None` for the first page.
    pub fn position(&self, seal: &Seal, token: &str) -> Result<Option<Uuid>, InvalidPage> {
        if token.is_empty() {
            return Ok(None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidPage::ForeignToken)?;
        let (id, tag) = bytes.split_at_checked(Self::ID_BYTES).ok_or(InvalidPage::ForeignToken)?;
        if tag.len() != Self::TAG_BYTES || !seal.verifies(Purpose::Page, &[&self.name(), id], tag) {
            return Err(InvalidPage::ForeignToken);
        }
        Uuid::from_slice(id).map(Some).map_err(|_| InvalidPage::ForeignToken)
    }

    fn name(&self) -> Vec<u8> {
        match self {
            Self::Customers => b"customers".to_vec(),
            Self::AccountsOf(customer) => [b"accounts of ".as_slice(), customer.bytes()].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal() -> Seal {
        Seal::new(&[7; 32]).expect("long enough")
    }

    #[test]
    fn sizes_are_defaulted_and_cut_but_never_negative() {
        for (size, expect) in [
            (0, Ok(50)),
            (1, Ok(1)),
            (200, Ok(200)),
            (201, Ok(200)),
            (i32::MAX, Ok(200)),
            (-1, Err(InvalidPage::NegativeSize)),
            (i32::MIN, Err(InvalidPage::NegativeSize)),
        ] {
            assert_eq!(PageSize::parse(size).map(PageSize::get), expect, "{size}");
        }
    }

    #[test]
    fn a_token_of_another_list_or_key_is_foreign() {
        let mine = Listing::AccountsOf(CustomerId::new(Uuid::from_u128(1)));
        let theirs = Listing::AccountsOf(CustomerId::new(Uuid::from_u128(2)));
        let last = Uuid::from_u128(9);
        let token = mine.token(&seal(), last.as_bytes());
        assert_eq!(mine.position(&seal(), &token), Ok(Some(last)));
        assert_eq!(mine.position(&seal(), ""), Ok(None));
        assert_eq!(theirs.position(&seal(), &token), Err(InvalidPage::ForeignToken));
        assert_eq!(Listing::Customers.position(&seal(), &token), Err(InvalidPage::ForeignToken));
        let other = Seal::new(&[8; 32]).expect("long enough");
        assert_eq!(mine.position(&other, &token), Err(InvalidPage::ForeignToken));
    }

    proptest! {
        #[test]
        fn no_made_up_token_is_a_position(token in "[A-Za-z0-9_=+/-]{1,60}") {
            prop_assert_eq!(Listing::Customers.position(&seal(), &token), Err(InvalidPage::ForeignToken));
        }

        #[test]
        fn a_token_with_one_bit_turned_is_foreign(id: u128, bit in 0_usize..256) {
            let token = Listing::Customers.token(&seal(), Uuid::from_u128(id).as_bytes());
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).expect("base64url");
            bytes[bit / 8] ^= 1 << (bit % 8);
            let turned = URL_SAFE_NO_PAD.encode(&bytes);
            prop_assert_eq!(Listing::Customers.position(&seal(), &turned), Err(InvalidPage::ForeignToken));
        }
    }
}
