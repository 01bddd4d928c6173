//! Who may touch which document. The edge has checked that the caller may call the method at all; here it is decided for the
//! one document, and permission comes before existence: who may not see a document does not learn whether it exists.
use super::document::{CustomerId, Document};

/// Somebody who asks, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// The customer behind a subject; none for staff and auditors.
    pub customer_id: Option<CustomerId>,
    /// `staff.read`.
    pub reads_all: bool,
    /// `staff.write`.
    pub writes_all: bool,
}

/// What somebody wants to do with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Read,
    Write,
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    Forbidden,
    /// Only those who may touch everything are told.
    Missing,
}

impl Actor {
    /// Whether the documents of `owner` may be touched. The bank's own documents have no owner and are for staff only.
    pub fn may(&self, act: Act, owner: Option<&CustomerId>) -> bool {
        self.may_everything(act) || (owner.is_some() && self.customer_id.as_ref() == owner)
    }

    /// The document, if it is there and may be touched.
    pub fn judge(&self, act: Act, document: Option<Document>) -> Result<Document, Denial> {
        match document {
            Some(document) if self.may(act, document.customer_id.as_ref()) => Ok(document),
            None if self.may_everything(act) => Err(Denial::Missing),
            Some(_) | None => Err(Denial::Forbidden),
        }
    }

    fn may_everything(&self, act: Act) -> bool {
        match act {
            Act::Read => self.reads_all,
            Act::Write => self.writes_all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::document::tests::sample;

    #[test]
    fn permission_comes_before_existence() {
        let customer =
            |id: &str| Actor { customer_id: CustomerId::parse(id.into()).ok(), ..Actor::default() };
        let reader = Actor { reads_all: true, ..Actor::default() };
        let writer = Actor { writes_all: true, ..customer("staff-as-customer") };
        let owned = sample("owner");
        let bank = Document { customer_id: None, ..sample("owner") };
        use Act::{Read, Write};
        let cases = [
            (customer("owner"), Read, Some(&owned), Ok(())),
            (customer("owner"), Write, Some(&owned), Ok(())),
            (customer("other"), Read, Some(&owned), Err(Denial::Forbidden)),
            (customer("other"), Read, None, Err(Denial::Forbidden)),
            (customer("owner"), Read, Some(&bank), Err(Denial::Forbidden)),
            (Actor::default(), Read, Some(&bank), Err(Denial::Forbidden)),
            (reader.clone(), Read, Some(&owned), Ok(())),
            (reader.clone(), Read, Some(&bank), Ok(())),
            (reader.clone(), Read, None, Err(Denial::Missing)),
            (reader.clone(), Write, Some(&owned), Err(Denial::Forbidden)),
            (reader, Write, None, Err(Denial::Forbidden)),
            (writer.clone(), Write, Some(&owned), Ok(())),
            (writer.clone(), Read, Some(&owned), Err(Denial::Forbidden)),
            (writer, Write, None, Err(Denial::Missing)),
        ];
        for (actor, act, document, expected) in cases {
            assert_eq!(actor.judge(act, document.cloned()).map(|_| ()), expected, "{actor:?} {act:?}");
        }
    }
}
