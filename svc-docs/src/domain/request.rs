//! Requests that may be repeated: the same id with the same body gives the same document, with another body it is refused
//! naming the field. The fields are kept as hashes, because a title may be erased while the request id lives on.
use std::collections::BTreeMap;

use chassis::field::RequestId;
use sha2::{Digest as _, Sha256};

/// Who asked, under which key, for what. Scope and id are unique together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The principal; nobody meets the keys of another.
    pub scope: String,
    pub id: RequestId,
    pub body: Fingerprint,
}

/// The body of a request, a hash for each field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprint(pub BTreeMap<String, String>);

impl Fingerprint {
    /// The fields by their names in the contract. The method counts as part of `request_id`: one key, one thing made.
    pub fn of(method: &str, fields: &[(&str, &str)]) -> Self {
        let all = fields.iter().copied().chain([("request_id", method)]);
        Self(all.map(|(field, value)| (field.to_owned(), digest(field, value))).collect())
    }

    /// The first field that differs, the method before all others.
    pub fn difference<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        if self.0.get("request_id") != other.0.get("request_id") {
            return Some("request_id");
        }
        let fields = self.0.keys().chain(other.0.keys());
        fields.map(String::as_str).find(|field| self.0.get(*field) != other.0.get(*field))
    }
}

fn digest(field: &str, value: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(field);
    hash.update([0]);
    hash.update(value);
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_differs_is_named() {
        let of =
            |method, customer, title| Fingerprint::of(method, &[("customer_id", customer), ("title", title)]);
        let stored = of("CreateDocument", "c", "t");
        let cases = [
            (of("CreateDocument", "c", "t"), None),
            (of("CreateDocument", "c", "u"), Some("title")),
            (of("CreateDocument", "d", "u"), Some("customer_id")),
            (of("GenerateStatement", "c", "u"), Some("request_id")),
            (Fingerprint::of("CreateDocument", &[("title", "t")]), Some("customer_id")),
        ];
        for (given, expected) in cases {
            assert_eq!(stored.difference(&given), expected);
        }
    }
}
