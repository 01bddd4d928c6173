//! Idempotency: who asked for what under which key. A principal's `request_id` names one write for ever; the same body
//! gets the same record again, another body is refused and told which field differs. Neither the key nor the body is
//! kept, only marks of them.

use std::collections::BTreeMap;

use chassis::field::RequestId;

use super::Seal;
use super::seal::Purpose;

/// One write as its idempotency record knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    key: String,
    rpc: &'static str,
    fields: BTreeMap<&'static str, String>,
}

/// What an idempotency record says of the request that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    /// The RPC that was called.
    pub rpc: String,
    /// A mark for each field of the body.
    pub fields: BTreeMap<String, String>,
}

impl Request {
    /// Marks a request. `scope` names the principal, so that nobody meets another's keys; `fields` is the body without the
    /// request id, as the client wrote it.
    pub fn new(
        seal: &Seal,
        scope: &str,
        id: &RequestId,
        rpc: &'static str,
        fields: &[(&'static str, &[u8])],
    ) -> Self {
        let key = seal.mark(Purpose::Request, &[scope.as_bytes(), id.as_str().as_bytes()]);
        let mark = |(name, value): &(&'static str, &[u8])| {
            // Bound to the key: equal bodies of different requests do not show in the table.
            (*name, seal.mark(Purpose::Field, &[key.as_bytes(), name.as_bytes(), value]))
        };
        Self { fields: fields.iter().map(mark).collect(), key, rpc }
    }

    /// The mark of principal and key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The RPC that was called.
    pub const fn rpc(&self) -> &'static str {
        self.rpc
    }

    /// A mark for each field of the body.
    pub const fn fields(&self) -> &BTreeMap<&'static str, String> {
        &self.fields
    }

    /// The first field, by name, in which this request differs from the recorded one; `rpc` when it was another RPC
    /// or a body of another shape.
    pub fn differs_from(&self, recorded: &RecordedRequest) -> Option<&'static str> {
        if self.rpc != recorded.rpc || self.fields.len() != recorded.fields.len() {
            return Some("rpc");
        }
        let changed = |(name, mark): &(&&'static str, &String)| recorded.fields.get(**name) != Some(*mark);
        self.fields.iter().find(changed).map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(scope: &str, rpc: &'static str, email: &str) -> Request {
        let seal = Seal::new(&[7; 32]).expect("long enough");
        let id = RequestId::parse("key-1").expect("valid");
        let fields = [("display_name", b"Ada".as_slice()), ("email", email.as_bytes())];
        Request::new(&seal, scope, &id, rpc, &fields)
    }

    fn recorded(request: &Request) -> RecordedRequest {
        let fields = request.fields().iter().map(|(name, mark)| ((*name).to_owned(), mark.clone())).collect();
        RecordedRequest { rpc: request.rpc().to_owned(), fields }
    }

    #[test]
    fn the_field_that_changed_is_named() {
        let first = request("subject:a", "CreateCustomer", "ada@example.com");
        let check = |again: &Request, expect| assert_eq!(again.differs_from(&recorded(&first)), expect);
        check(&request("subject:a", "CreateCustomer", "ada@example.com"), None);
        check(&request("subject:a", "CreateCustomer", "eve@example.com"), Some("email"));
        check(&request("subject:a", "OpenAccount", "ada@example.com"), Some("rpc"));
    }

    #[test]
    fn a_record_of_another_shape_is_another_request() {
        let first = request("subject:a", "CreateCustomer", "ada@example.com");
        let mut shorter = recorded(&first);
        shorter.fields.remove("email");
        assert_eq!(first.differs_from(&shorter), Some("rpc"));
    }

    #[test]
    fn principals_do_not_share_keys() {
        let (a, b) = (request("subject:a", "X", "e@x"), request("subject:b", "X", "e@x"));
        assert_ne!(a.key(), b.key());
        assert!(!a.key().contains("key-1"));
    }
}
