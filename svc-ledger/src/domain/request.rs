//! What makes a write idempotent: the key a caller chose and a digest of the body it came with. The digest names the fields
//! that differ when a key comes back with another body, even where the first verdict was a refusal and nothing else was kept.
//! Who the caller is stands in the key as a digest too, so that neither the journal nor the outcomes hold a person's name.

use sha2::{Digest as _, Sha256};

/// Who acts: the first 16 bytes of SHA-256 over the principal's idempotency scope ("subject:<issuer>:<id>").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope([u8; 16]);

impl Scope {
    /// The scope of a principal.
    #[must_use]
    pub fn of(principal: &str) -> Self {
        Self(truncated(Sha256::digest(principal.as_bytes()).into()))
    }

    /// As stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From its stored form.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// A caller's key within its scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose key it is.
    pub scope: Scope,
    /// 1 to 64 bytes of printable ASCII.
    pub request_id: String,
}

/// Which operation a body belongs to. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// A transfer or a hold.
    Transfer = 1,
    /// The posting of a hold.
    Post = 2,
    /// The voiding of a hold.
    Void = 3,
    /// More of a hold.
    Increment = 4,
    /// The reversal of a transfer.
    Reverse = 5,
    /// The closing of a period.
    ClosePeriod = 6,
}

impl Operation {
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Transfer => &[
                "debit_account_id",
                "credit_account_id",
                "amount",
                "reference",
                "pending",
                "external_payee",
                "expire_time",
                "amount_mode",
                "value_date",
                "debit_condition",
                "credit_condition",
                "linked",
                "exchange",
            ],
            Self::Post => &["transfer_id", "amount_minor_units", "keep_rest", "whole_chain"],
            Self::Void => &["transfer_id", "whole_chain"],
            Self::Increment => &["transfer_id", "amount_minor_units"],
            Self::Reverse => &["transfer_id", "amount_minor_units", "reference"],
            Self::ClosePeriod => &["end_date"],
        }
    }
}

/// The length of the digest over the whole body.
const WHOLE: usize = 16;
/// The length of a field's hint, behind the field's place: only to name what differs, never to decide whether anything does.
const HINT: usize = 2;

/// The digest of a body: operation, digest of the whole, and a short hint for each field that is not at its default. Most are, and
/// every transfer keeps its digest for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyHash(Vec<u8>);

impl BodyHash {
    /// The digest of the fields' canonical bytes, in the order of the operation's fields; no bytes stand for a field at its
    /// default. The key is hashed along, so that the same text under two keys leaves two digests.
    #[must_use]
    pub fn new(operation: Operation, key: &Key, fields: &[&[u8]]) -> Self {
        debug_assert_eq!(fields.len(), operation.fields().len());
        let seed = Sha256::new()
            .chain_update([operation as u8])
            .chain_update(key.scope.as_bytes())
            .chain_update([u8::try_from(key.request_id.len()).unwrap_or(u8::MAX)])
            .chain_update(key.request_id.as_bytes());
        let mut whole = seed.clone();
        let mut hints = Vec::with_capacity((1 + HINT) * fields.len());
        for (place, field) in fields.iter().enumerate() {
            let length = u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes();
            whole.update(length);
            whole.update(field);
            if field.is_empty() {
                continue;
            }
            let place = u8::try_from(place).unwrap_or(u8::MAX);
            let hint = seed.clone().chain_update([place]).chain_update(field).finalize();
            hints.push(place);
            hints.extend_from_slice(&hint[..HINT]);
        }
        let mut bytes = Vec::with_capacity(1 + WHOLE + hints.len());
        bytes.push(operation as u8);
        bytes.extend_from_slice(&truncated(whole.finalize().into()));
        bytes.extend_from_slice(&hints);
        Self(bytes)
    }

    /// As stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// From its stored form.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Which fields of a body of `operation` differ from an earlier body under the same key; empty when none does.
    /// `request_id` stands for a key that another operation used.
    #[must_use]
    pub fn differences(&self, operation: Operation, earlier: &Self) -> Vec<&'static str> {
        if self == earlier {
            return Vec::new();
        }
        if self.0.first() != earlier.0.first() {
            return vec!["request_id"];
        }
        let named: Vec<&'static str> = (0_u8..)
            .zip(operation.fields())
            .filter(|(place, _)| self.hint(*place) != earlier.hint(*place))
            .map(|(_, field)| *field)
            .collect();
        // The bodies differ, but by chance no hint does: one in 65,536.
        if named.is_empty() { vec!["body"] } else { named }
    }

    /// The hint of the field at `place`; none for a default.
    fn hint(&self, place: u8) -> Option<&[u8]> {
        let hints = self.0.get(1 + WHOLE..).unwrap_or_default();
        hints.chunks_exact(1 + HINT).find(|hint| hint[0] == place).map(|hint| &hint[1..])
    }
}

fn truncated(digest: [u8; 32]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(request_id: &str) -> Key {
        Key { scope: Scope::of("subject:bank:alice"), request_id: request_id.to_owned() }
    }

    #[test]
    fn changed_fields_are_named() {
        let fields: [&[u8]; 13] = [b"a", b"b", b"EUR1", b"rent", b"", b"", b"", b"", b"", b"", b"", b"", b""];
        let body = BodyHash::new(Operation::Transfer, &key("k"), &fields);
        assert!(body.differences(Operation::Transfer, &body).is_empty());
        for (place, name) in Operation::Transfer.fields().iter().enumerate() {
            let mut changed = fields;
            changed[place] = b"other";
            let changed = BodyHash::new(Operation::Transfer, &key("k"), &changed);
            assert_eq!(changed.differences(Operation::Transfer, &body), [*name]);
        }
    }

    #[test]
    fn another_operation_under_the_same_key_is_told_apart() {
        let post = BodyHash::new(Operation::Post, &key("k"), &[b"t", b"", b"", b""]);
        let void = BodyHash::new(Operation::Void, &key("k"), &[b"t", b""]);
        assert_eq!(void.differences(Operation::Void, &post), ["request_id"]);
    }

    #[test]
    fn moved_bytes_between_fields_change_the_digest() {
        let one = BodyHash::new(Operation::Reverse, &key("k"), &[b"ab", b"c", b""]);
        let two = BodyHash::new(Operation::Reverse, &key("k"), &[b"a", b"bc", b""]);
        assert_eq!(one.differences(Operation::Reverse, &two), ["transfer_id", "amount_minor_units"]);
    }
}
