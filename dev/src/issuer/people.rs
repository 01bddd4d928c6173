//! Who the demo's people are and what each may do.

/// Somebody the token endpoint knows.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    pub name: &'static str,
    pub scopes: &'static [&'static str],
    /// Whose customer the token speaks for.
    pub customer: Option<&'static str>,
    /// Whether the token works only together with the partner's certificate.
    pub bound_to_partner: bool,
}

const CUSTOMER: &[&str] =
    &["accounts.read", "accounts.write", "payments.write", "documents.read", "documents.write"];
const STAFF: &[&str] = &["staff.read", "staff.write"];

/// Two customers, two members of staff (money enters by four eyes), an auditor, and a partner acting for alice.
pub const PEOPLE: &[Person] = &[
    Person { name: "alice", scopes: CUSTOMER, customer: Some("alice"), bound_to_partner: false },
    Person { name: "bob", scopes: CUSTOMER, customer: Some("bob"), bound_to_partner: false },
    Person { name: "staff", scopes: STAFF, customer: None, bound_to_partner: false },
    Person { name: "staff2", scopes: STAFF, customer: None, bound_to_partner: false },
    Person { name: "auditor", scopes: &["audit.read"], customer: None, bound_to_partner: false },
    Person {
        name: "partner",
        scopes: &["accounts.read", "payments.write"],
        customer: Some("alice"),
        bound_to_partner: true,
    },
];

impl Person {
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PEOPLE.iter().find(|person| person.name == name)
    }
}
