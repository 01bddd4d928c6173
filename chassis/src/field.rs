//! Fields that every contract of the mesh spells alike: ids and request ids. One place says what they look like, so that a
//! client that has learned one service knows all. What an id names, and how long a request id is remembered, is the
//! business of each service.

use uuid::Uuid;

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a UUID in its hyphenated form")]
pub struct NotAUuid;

/// Reads a UUID in its hyphenated form, in either case. Braces, URNs and bare hex would give one object several names, and a
/// name may be a key of a store or of a cache.
///
/// # Errors
/// When the text is anything else.
pub fn uuid(text: &str) -> Result<Uuid, NotAUuid> {
    const HYPHENATED: usize = 36;
    if text.len() != HYPHENATED {
        return Err(NotAUuid);
    }
    Uuid::try_parse(text).map_err(|_| NotAUuid)
}

/// Why a text is no request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {max} printable ASCII characters", max = RequestId::BYTES_MAX)]
pub struct NotARequestId;

/// The caller's key of a write: it may be sent again with the same key and is done once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// The longest key.
    pub const BYTES_MAX: usize = 64;

    /// Reads a key: 1 to 64 bytes from `!` to `~`.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: impl Into<String>) -> Result<Self, NotARequestId> {
        let text = text.into();
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = (1..=Self::BYTES_MAX).contains(&text.len());
        if printable && fits { Ok(Self(text)) } else { Err(NotARequestId) }
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
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
            assert_eq!(uuid(text).is_ok(), valid, "{text}");
        }
    }

    #[test]
    fn a_request_id_is_1_to_64_printable_ascii_characters() {
        let longest = "x".repeat(64);
        for (text, valid) in [
            ("a", true),
            ("!~", true),
            (longest.as_str(), true),
            ("", false),
            (&"x".repeat(65), false),
            ("a b", false),
            ("a\n", false),
            ("\u{7f}", false),
            ("é", false),
        ] {
            assert_eq!(RequestId::parse(text).is_ok(), valid, "{text:?}");
        }
        assert_eq!(NotARequestId.to_string(), "must be 1 to 64 printable ASCII characters");
    }
}
