//! Pages of a list. A token is the last id of the page before and a mark of the list it belongs to, so that a token of one
//! customer's list is refused for another's instead of giving a page that means nothing.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Fault;
use super::document::{CustomerId, DocumentId};

/// The most documents on a page.
const SIZE_MAX: i32 = 200;

/// What a page has when nobody says.
const SIZE_DEFAULT: u16 = 50;

/// How many documents, 1 to 200; 50 for 0.
pub fn size(asked: i32) -> Result<u16, Fault> {
    match u16::try_from(asked) {
        Ok(0) => Ok(SIZE_DEFAULT),
        Ok(size) if asked <= SIZE_MAX => Ok(size),
        Ok(_) | Err(_) => Err(Fault::OutOfRange { min: 1, max: SIZE_MAX.into() }),
    }
}

/// The token of the page after `last`.
pub fn token(list: &CustomerId, last: DocumentId) -> String {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(last.0.as_bytes());
    bytes[16..].copy_from_slice(&mark(list));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The id after which a page begins; none for the first page.
pub fn parse_token(list: &CustomerId, token: &str) -> Result<Option<DocumentId>, Fault> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Fault::NotAToken)?;
    match bytes.split_at_checked(16) {
        Some((id, list_mark)) if list_mark == mark(list) => {
            Uuid::from_slice(id).map(|id| Some(DocumentId(id))).map_err(|_| Fault::NotAToken)
        }
        Some(_) | None => Err(Fault::NotAToken),
    }
}

fn mark(list: &CustomerId) -> [u8; 8] {
    let mut mark = [0; 8];
    mark.copy_from_slice(&Sha256::digest(list.as_str())[..8]);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_have_bounds() {
        let cases =
            [(0, Ok(50)), (1, Ok(1)), (200, Ok(200)), (201, Err(())), (-1, Err(())), (i32::MAX, Err(()))];
        for (asked, expected) in cases {
            assert_eq!(size(asked).map_err(|_| ()), expected, "{asked}");
        }
    }

    proptest! {
        #[test]
        fn a_token_belongs_to_its_list(bits in any::<u128>(), noise in "[A-Za-z0-9_-]{1,40}") {
            let list = CustomerId::parse("mine".into()).unwrap();
            let other = CustomerId::parse("other".into()).unwrap();
            let id = DocumentId(Uuid::from_u128(bits));
            prop_assert_eq!(parse_token(&list, &token(&list, id)), Ok(Some(id)));
            prop_assert_eq!(parse_token(&other, &token(&list, id)), Err(Fault::NotAToken));
            prop_assert_eq!(parse_token(&list, &noise), Err(Fault::NotAToken));
        }
    }
}
