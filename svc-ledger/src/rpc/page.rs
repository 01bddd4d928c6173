//! Pages of lists: sizes brought into their bounds, and tokens that say behind which row a page begins. A token carries a digest
//! of the question it belongs to, so that it cannot be used with another one; it grants nothing, and is therefore not signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The form of a token, its first byte.
const VERSION: u8 = 1;
const DIGEST: usize = 8;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Behind which row it begins; none for the first page.
    pub(super) after: Option<Uuid>,
    size: usize,
    question: [u8; DIGEST],
}

/// Why there is no such page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageError {
    /// A negative size.
    Size,
    /// Not a token of this list with these filters.
    Token,
}

/// The sizes of a list's pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// When the caller names none.
    pub(super) default: usize,
    /// What larger ones are cut to (AIP-158).
    pub(super) max: usize,
}

impl Page {
    /// The page of a list, named by the method and its filters, that a caller asks for.
    pub(super) fn parse(sizes: Sizes, filters: &[&[u8]], size: i32, token: &str) -> Result<Self, PageError> {
        let size = match usize::try_from(size).map_err(|_| PageError::Size)? {
            0 => sizes.default,
            size => size.min(sizes.max),
        };
        let mut digest = Sha256::new();
        for filter in filters {
            digest.update(u32::try_from(filter.len()).unwrap_or(u32::MAX).to_be_bytes());
            digest.update(filter);
        }
        let mut question = [0; DIGEST];
        question.copy_from_slice(&digest.finalize()[..DIGEST]);
        let after =
            if token.is_empty() { None } else { Some(read(token, question).ok_or(PageError::Token)?) };
        Ok(Self { after, size, question })
    }

    /// How many rows to read: one more than the page has, to know whether another follows.
    pub(super) fn limit(&self) -> i64 {
        i64::try_from(self.size + 1).unwrap_or(i64::MAX)
    }

    /// Cuts what was read to the page, and answers the token of the next; empty on the last.
    pub(super) fn cut<T>(&self, rows: &mut Vec<T>, id: impl Fn(&T) -> Uuid) -> String {
        if rows.len() <= self.size {
            return String::new();
        }
        rows.truncate(self.size);
        rows.last().map(|last| self.token(id(last))).unwrap_or_default()
    }

    fn token(&self, last: Uuid) -> String {
        let mut token = vec![VERSION];
        token.extend_from_slice(&self.question);
        token.extend_from_slice(last.as_bytes());
        URL_SAFE_NO_PAD.encode(token)
    }
}

fn read(token: &str, question: [u8; DIGEST]) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let rest = bytes.strip_prefix(&[VERSION])?.strip_prefix(&question)?;
    Uuid::from_slice(rest).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { default: 2, max: 3 };

    #[test]
    fn sizes_are_brought_into_their_bounds() {
        for (asked, limit) in [(0, 3), (1, 2), (3, 4), (1_000, 4)] {
            assert_eq!(Page::parse(SIZES, &[], asked, "").unwrap().limit(), limit, "{asked}");
        }
        assert_eq!(Page::parse(SIZES, &[], -1, ""), Err(PageError::Size));
    }

    #[test]
    fn tokens_lead_on_and_only_with_their_own_question() {
        let page = Page::parse(SIZES, &[b"a", b"b"], 0, "").unwrap();
        let mut rows = vec![Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)];
        let token = page.cut(&mut rows, |id| *id);
        assert_eq!(rows.len(), 2);
        let next = Page::parse(SIZES, &[b"a", b"b"], 0, &token).unwrap();
        assert_eq!(next.after, Some(Uuid::from_u128(2)));
        assert_eq!(next.cut(&mut rows, |id| *id), "");
        let truncated = &token[..token.len() - 2];
        for (filters, token) in [
            (&[&b"ab"[..], b""], token.as_str()),
            (&[b"a", b"b"], truncated),
            (&[b"a", b"b"], "*"),
            (&[b"a", b"b"], "AQ"),
        ] {
            assert_eq!(Page::parse(SIZES, filters, 0, token), Err(PageError::Token), "{token}");
        }
    }
}
