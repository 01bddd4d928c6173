//! Pages of lists: sizes brought into their bounds, and tokens that say behind which row a page begins. A token carries a digest
//! of the question it belongs to, so that it cannot be used with another list or another filter. It grants nothing: whoever
//! asks for a page is judged as for the first one, and therefore a token is not signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::error::Violation;

/// The form of a token, its first byte.
const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 8;

/// The sizes of a list's pages.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// When the caller names none.
    pub default: usize,
    /// What larger ones are cut to (AIP-158).
    pub max: usize,
}

/// One page of a list whose rows have UUIDs in the order of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    after: Option<Uuid>,
    size: usize,
    question: [u8; DIGEST_BYTES],
}

impl Page {
    /// The page that a caller asks for by `page_size` and `page_token`. `question` is the list's name and its filters.
    ///
    /// # Errors
    /// What is wrong with either field.
    pub fn parse(sizes: Sizes, question: &[&[u8]], size: i32, token: &str) -> Result<Self, Vec<Violation>> {
        let question = digest(question);
        let size = match usize::try_from(size) {
            Ok(0) => Ok(sizes.default),
            Ok(size) => Ok(size.min(sizes.max)),
            Err(_) => Err(Violation::new("page_size", "must not be negative")),
        };
        let after = match token {
            "" => Ok(None),
            token => read(token, question)
                .map(Some)
                .ok_or_else(|| Violation::new("page_token", "must be the next_page_token of the same list")),
        };
        match (size, after) {
            (Ok(size), Ok(after)) => Ok(Self { after, size, question }),
            (size, after) => Err([size.err(), after.err()].into_iter().flatten().collect()),
        }
    }

    /// The row behind which the page begins; `None` for the first page.
    #[must_use]
    pub const fn after(&self) -> Option<Uuid> {
        self.after
    }

    /// How many rows the page has at most.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// How many rows to read: one more than the page has, to know whether another page follows.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.size + 1
    }

    /// Cuts what was read to the page, and answers the token of the next one; empty on the last.
    pub fn cut<T>(&self, rows: &mut Vec<T>, id: impl Fn(&T) -> Uuid) -> String {
        if rows.len() <= self.size {
            return String::new();
        }
        rows.truncate(self.size);
        rows.last().map(|last| self.token(id(last))).unwrap_or_default()
    }

    /// The token of the page behind the row `last`.
    #[must_use]
    pub fn token(&self, last: Uuid) -> String {
        URL_SAFE_NO_PAD.encode([&[VERSION], self.question.as_slice(), last.as_bytes()].concat())
    }
}

fn digest(question: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut sha = Sha256::new();
    for part in question {
        sha.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        sha.update(part);
    }
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(&sha.finalize()[..DIGEST_BYTES]);
    digest
}

fn read(token: &str, question: [u8; DIGEST_BYTES]) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let id = bytes.strip_prefix(&[VERSION])?.strip_prefix(&question)?;
    Uuid::from_slice(id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { default: 2, max: 3 };

    fn fields(refused: Result<Page, Vec<Violation>>) -> Vec<String> {
        refused.unwrap_err().into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn sizes_are_brought_into_their_bounds() {
        for (asked, limit) in [(0, 3), (1, 2), (3, 4), (1_000, 4), (i32::MAX, 4)] {
            assert_eq!(Page::parse(SIZES, &[], asked, "").unwrap().limit(), limit, "{asked}");
        }
        assert_eq!(fields(Page::parse(SIZES, &[], -1, "")), ["page_size"]);
        assert_eq!(fields(Page::parse(SIZES, &[], i32::MIN, "*")), ["page_size", "page_token"]);
    }

    #[test]
    fn tokens_lead_on_and_only_with_their_own_question() {
        let page = Page::parse(SIZES, &[b"a", b"b"], 0, "").unwrap();
        let mut rows = vec![Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)];
        let token = page.cut(&mut rows, |id| *id);
        assert_eq!(rows.len(), 2);
        let next = Page::parse(SIZES, &[b"a", b"b"], 0, &token).unwrap();
        assert_eq!(next.after(), Some(Uuid::from_u128(2)));
        assert_eq!(next.cut(&mut rows, |id| *id), "");
        let truncated = &token[..token.len() - 2];
        for (question, token) in [
            (&[&b"ab"[..], b""], token.as_str()),
            (&[b"a", b"c"], token.as_str()),
            (&[b"a", b"b"], truncated),
            (&[b"a", b"b"], "*"),
            (&[b"a", b"b"], "AQ"),
        ] {
            assert_eq!(fields(Page::parse(SIZES, question, 0, token)), ["page_token"], "{token}");
        }
    }
}
