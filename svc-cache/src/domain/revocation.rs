//! Tokens that are no longer believed although they have not expired.
use std::time::Duration;

use super::Fault;

/// The most bytes of an issuer and of a token's id.
pub const NAME_BYTES_MAX: usize = 256;

/// How long before its expiry a token may be revoked: longer than any lives.
const AHEAD_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

/// A token that is no longer believed. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revocation {
    pub issuer: String,
    pub token_id: String,
    pub expires_ms: u64,
}

impl Revocation {
    pub fn name(name: String) -> Result<String, Fault> {
        match name.len() {
            0 => Err(Fault::Missing),
            length if length > NAME_BYTES_MAX => Err(Fault::TooLong { max: NAME_BYTES_MAX }),
            _ => Ok(name),
        }
    }

    /// When a token expires. One that has expired may be revoked: nobody needs to be told.
    pub fn expiry(expires_ms: u64, now_ms: u64) -> Result<u64, Fault> {
        let ahead = Duration::from_millis(expires_ms.saturating_sub(now_ms));
        if ahead > AHEAD_MAX { Err(Fault::TooLasting { max_s: AHEAD_MAX.as_secs() }) } else { Ok(expires_ms) }
    }

    /// What names the token among all others. The length of the issuer keeps two of them apart that end and begin alike.
    pub fn token(&self) -> String {
        format!("{:03}{}{}", self.issuer.len(), self.issuer, self.token_id)
    }

    /// The revocation of a token that [`Revocation::token`] named; `None` if it did not.
    pub fn of(token: &str, expires_ms: u64) -> Option<Self> {
        let (length, rest) = token.split_at_checked(3)?;
        let (issuer, token_id) = rest.split_at_checked(length.parse().ok()?)?;
        Some(Self { issuer: issuer.to_owned(), token_id: token_id.to_owned(), expires_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_token_is_revoked_for_longer_than_one_can_live() {
        let month = 31 * 24 * 3_600_000;
        assert_eq!(Revocation::expiry(1_000 + month, 1_000), Ok(1_000 + month));
        assert_eq!(Revocation::expiry(1_001 + month, 1_000), Err(Fault::TooLasting { max_s: 2_678_400 }));
        assert_eq!(Revocation::expiry(0, 1_000), Ok(0));
    }

    proptest! {
        #[test]
        fn a_revocation_survives_its_name(issuer in ".{1,40}", token_id in ".{1,40}") {
            let revocation = Revocation { issuer, token_id, expires_ms: 7 };
            prop_assert_eq!(Revocation::of(&revocation.token(), 7), Some(revocation));
        }
    }
}
