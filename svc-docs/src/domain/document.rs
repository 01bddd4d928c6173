//! A document and its parts. The content lies apart, in a file that never changes: replacing the content means another file.
use std::borrow::Cow;

use chassis::field::{self, NotAUuid};
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::Fault;
use super::request::Request;
use super::statement::Statement;

/// The most characters of a title.
pub const TITLE_CHARS_MAX: usize = 200;

/// The most bytes of a media type with its parameters (RFC 6838 allows 127 for each of the two names).
const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// The id of a document, a UUIDv7: ids sort by the time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentId(pub Uuid);

impl DocumentId {
    pub fn parse(id: &str) -> Result<Self, NotAUuid> {
        field::uuid(id).map(Self)
    }
}

impl std::fmt::Display for DocumentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The id of a file that holds content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId(pub Uuid);

impl std::fmt::Display for FileId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Whose a document is. svc-accounts makes these ids; here they are opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerId(String);

impl CustomerId {
    pub fn parse(id: String) -> Result<Self, Fault> {
        match id.len() {
            0 => Err(Fault::Missing),
            length if length > 64 => Err(Fault::TooLong { max: 64 }),
            _ if id.bytes().all(|b| b.is_ascii_graphic()) => Ok(Self(id)),
            _ => Err(Fault::NotPrintable),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a document is called: 1 to 200 characters on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    pub fn parse(title: String) -> Result<Self, Fault> {
        if title.trim().is_empty() {
            return Err(Fault::Missing);
        }
        if title.chars().count() > TITLE_CHARS_MAX {
            return Err(Fault::TooLong { max: TITLE_CHARS_MAX });
        }
        if title.chars().any(char::is_control) { Err(Fault::Control) } else { Ok(Self(title)) }
    }

    /// What a statement is called. Account ids are short and printable, so this is a title.
    pub fn of_statement(account_id: &str, first: NaiveDate, last: NaiveDate) -> Self {
        Self(format!("Statement of {account_id} from {first} to {last}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A media type (RFC 9110, 8.3.1), checked well enough to be sent as a header again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType(Cow<'static, str>);

impl MediaType {
    pub const JSON: Self = Self(Cow::Borrowed("application/json"));
    pub const CSV: Self = Self(Cow::Borrowed("text/csv; charset=utf-8; header=present"));
    const UNKNOWN: Self = Self(Cow::Borrowed("application/octet-stream"));

    /// An empty one stands for bytes of which nothing is known (RFC 9110, 8.3).
    pub fn parse(media_type: String) -> Result<Self, Fault> {
        if media_type.is_empty() {
            return Ok(Self::UNKNOWN);
        }
        if media_type.len() > MEDIA_TYPE_BYTES_MAX {
            return Err(Fault::TooLong { max: MEDIA_TYPE_BYTES_MAX });
        }
        let token = |s: &str| !s.is_empty() && s.bytes().all(is_token);
        let essence = media_type.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
        let names = essence.split_once('/').is_some_and(|(main, sub)| token(main) && token(sub));
        let sendable = media_type.bytes().all(|b| b == b' ' || b == b'\t' || b.is_ascii_graphic());
        if names && sendable { Ok(Self(media_type.into())) } else { Err(Fault::NotAMediaType) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `tchar` of RFC 9110, 5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// A file with its measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub file: FileId,
    pub media_type: MediaType,
    pub size_bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// A document of a customer, or of the bank when it has no owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub id: DocumentId,
    pub customer_id: Option<CustomerId>,
    pub title: Title,
    pub content: Option<Content>,
    /// Set if the document is a statement; its content is evidence and never replaced.
    pub statement: Option<Statement>,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
    /// Raised by one with every write, from 1.
    pub revision: i64,
    /// The request that made it.
    pub request: Request,
}

impl Document {
    /// Changes with every write, and is never the same for two documents.
    pub fn etag(&self) -> String {
        format!("{}-{}", self.id.0.simple(), self.revision)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::request::Fingerprint;
    use chassis::field::RequestId;
    use proptest::prelude::*;

    pub(crate) fn sample(owner: &str) -> Document {
        let now = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
        Document {
            id: DocumentId(Uuid::from_u128(7)),
            customer_id: Some(CustomerId::parse(owner.into()).unwrap()),
            title: Title::parse("Contract".into()).unwrap(),
            content: None,
            statement: None,
            created: now,
            updated: now,
            revision: 1,
            request: Request {
                scope: "subject:a".into(),
                id: RequestId::parse("r").unwrap(),
                body: Fingerprint::default(),
            },
        }
    }

    #[test]
    fn media_types_can_be_sent_as_headers() {
        let cases = [
            ("", Ok("application/octet-stream")),
            ("application/pdf", Ok("application/pdf")),
            ("text/csv; charset=utf-8", Ok("text/csv; charset=utf-8")),
            ("image/svg+xml ;a=\"b c\"", Ok("image/svg+xml ;a=\"b c\"")),
            ("pdf", Err(Fault::NotAMediaType)),
            ("a/b/c", Err(Fault::NotAMediaType)),
            ("/pdf", Err(Fault::NotAMediaType)),
            ("text/plain\r\nset-cookie: x", Err(Fault::NotAMediaType)),
            ("text/plain;\u{e4}", Err(Fault::NotAMediaType)),
        ];
        for (given, expected) in cases {
            let parsed = MediaType::parse(given.into());
            assert_eq!(parsed.as_ref().map(MediaType::as_str).map_err(|fault| *fault), expected, "{given:?}");
        }
    }

    #[test]
    fn titles_are_one_line_of_characters() {
        assert!(Title::parse("ä".repeat(200)).is_ok());
        assert_eq!(Title::parse("ä".repeat(201)), Err(Fault::TooLong { max: 200 }));
        assert_eq!(Title::parse("  ".into()), Err(Fault::Missing));
        assert_eq!(Title::parse("a\nb".into()), Err(Fault::Control));
    }

    proptest! {
        #[test]
        fn an_id_has_one_spelling(bits in any::<u128>()) {
            let id = DocumentId(Uuid::from_u128(bits));
            prop_assert_eq!(DocumentId::parse(&id.to_string()), Ok(id));
            prop_assert_eq!(DocumentId::parse(&id.0.simple().to_string()), Err(NotAUuid));
        }

        #[test]
        fn nothing_but_visible_ascii_passes_a_media_type(text in ".{1,40}") {
            if let Ok(media_type) = MediaType::parse(text) {
                prop_assert!(media_type.as_str().bytes().all(|b| (0x20..0x7f).contains(&b) || b == b'\t'));
            }
        }
    }
}
