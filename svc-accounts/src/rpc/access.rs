//! What a caller may touch. The edge has decided that the caller may call the method; whether it may touch the object is
//! decided here, before anything is read, so that nobody learns from an answer what exists.

use chassis::{Caller, Partner, Principal, Subject};

use crate::domain::{CustomerId, PartnerId};
use crate::error::Error;

/// Staff who may read any object.
const STAFF_READ: &str = "staff.read";
/// Staff who may write any object.
const STAFF_WRITE: &str = "staff.write";

/// How far a caller's permission goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Any object; may know what does not exist.
    Any,
    /// What belongs to this customer; may know nothing else.
    Own(CustomerId),
}

impl Reach {
    /// What to say when there is no such customer.
    pub const fn no_customer(self, id: CustomerId) -> Error {
        match self {
            Self::Any => Error::CustomerNotFound(id),
            Self::Own(_) => Error::NotPermitted,
        }
    }

    /// The error as this caller may see it.
    pub fn hide(self, error: Error) -> Error {
        match (self, error) {
            (Self::Own(_), Error::CustomerNotFound(_) | Error::AccountNotFound(_)) => Error::NotPermitted,
            (Self::Own(_) | Self::Any, error) => error,
        }
    }
}

/// Whose accounts a caller may read, and through whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountReach {
    /// Any account; may know what does not exist.
    Any,
    /// The customer's own.
    Own(CustomerId),
    /// Those of the customer's own that a consent lets the partner read.
    Consented(CustomerId, PartnerId),
}

/// A caller, seen from the objects.
pub struct Access<'a>(&'a Caller);

impl<'a> Access<'a> {
    /// Of a caller.
    pub const fn of(caller: &'a Caller) -> Self {
        Self(caller)
    }

    /// Reads anything at all.
    pub fn read_any(&self) -> Result<(), Error> {
        self.is_staff(STAFF_READ).then_some(()).ok_or(Error::NotPermitted)
    }

    /// Writes anything at all.
    pub fn write_any(&self) -> Result<(), Error> {
        self.is_staff(STAFF_WRITE).then_some(()).ok_or(Error::NotPermitted)
    }

    /// Reads what belongs to a customer.
    pub fn read_customer(&self, id: CustomerId) -> Result<Reach, Error> {
        self.customer(id, STAFF_READ)
    }

    /// Writes what belongs to a customer.
    pub fn write_customer(&self, id: CustomerId) -> Result<Reach, Error> {
        self.customer(id, STAFF_WRITE)
    }

    /// Reads some account. Whether it is the customer's own, and whether there is a consent, is for the table to say.
    pub fn read_account(&self) -> Result<AccountReach, Error> {
        if let Principal::Partner(Partner { id, subject }) = &self.0.principal {
            let customer = subject.as_ref().and_then(customer).ok_or(Error::NotPermitted)?;
            let partner = PartnerId::parse(id).map_err(|_| Error::NotPermitted)?;
            return Ok(AccountReach::Consented(customer, partner));
        }
        Ok(match self.read_consents()? {
            Reach::Any => AccountReach::Any,
            Reach::Own(customer) => AccountReach::Own(customer),
        })
    }

    /// Reads the accounts of a customer.
    pub fn read_accounts_of(&self, id: CustomerId) -> Result<AccountReach, Error> {
        let reach = self.read_account()?;
        match &reach {
            AccountReach::Own(own) | AccountReach::Consented(own, _) if *own != id => {
                Err(Error::NotPermitted)
            }
            AccountReach::Any | AccountReach::Own(_) | AccountReach::Consented(..) => Ok(reach),
        }
    }

    /// Reads the consents to some account. Whether it is the customer's own is for the table to say.
    pub fn read_consents(&self) -> Result<Reach, Error> {
        if self.is_staff(STAFF_READ) {
            return Ok(Reach::Any);
        }
        self.as_holder().map(Reach::Own)
    }

    /// Acts on an account as only its holder may. Whether the account is the customer's own is for the table to say.
    pub fn as_holder(&self) -> Result<CustomerId, Error> {
        self.own().ok_or(Error::NotPermitted)
    }

    /// Reads accounts as another service of the mesh, for itself or for someone.
    pub fn read_for_service(&self) -> Result<(), Error> {
        self.0.acting_service().map(|_service| ()).ok_or(Error::NotPermitted)
    }

    fn customer(&self, id: CustomerId, staff: &str) -> Result<Reach, Error> {
        if self.is_staff(staff) {
            return Ok(Reach::Any);
        }
        let own = self.own().filter(|own| *own == id);
        own.map(Reach::Own).ok_or(Error::NotPermitted)
    }

    /// Staff come themselves: what a member of staff may do, no partner may do with a token of theirs.
    fn is_staff(&self, scope: &str) -> bool {
        self.person().is_some_and(|person| person.scopes.contains(scope))
    }

    /// A claim that is no id of ours owns nothing.
    fn own(&self) -> Option<CustomerId> {
        customer(self.person()?)
    }

    /// Who comes in person.
    fn person(&self) -> Option<&'a Subject> {
        match &self.0.principal {
            Principal::Subject(subject) => Some(subject),
            Principal::Partner(_) | Principal::Anonymous | Principal::Service => None,
        }
    }
}

fn customer(subject: &Subject) -> Option<CustomerId> {
    CustomerId::parse(subject.customer_id.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::AccountId;

    fn subject(customer_id: Option<&str>, scopes: &[&str]) -> Caller {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let subject = Subject {
            issuer: "https://issuer.example".into(),
            id: "s".into(),
            customer_id: customer_id.map(Into::into),
            scopes,
        };
        Caller { principal: Principal::Subject(subject), service: None }
    }

    #[test]
    fn owners_reach_their_own_and_staff_everything() {
        let (mine, other) = (CustomerId::new(Uuid::from_u128(1)), CustomerId::new(Uuid::from_u128(2)));
        let text = mine.to_string();
        for (caller, read_mine, read_other, write_mine, write_other) in [
            (subject(Some(&text), &["accounts.read"]), true, false, true, false),
            (subject(None, &["accounts.read"]), false, false, false, false),
            (subject(Some("not-an-id"), &["accounts.read"]), false, false, false, false),
            (subject(None, &["staff.read"]), true, true, false, false),
            (subject(None, &["staff.write"]), false, false, true, true),
            (
                Caller { principal: Principal::Service, service: Some("svc-docs".into()) },
                false,
                false,
                false,
                false,
            ),
            (Caller { principal: Principal::Anonymous, service: None }, false, false, false, false),
        ] {
            let access = Access::of(&caller);
            assert_eq!(access.read_customer(mine).is_ok(), read_mine, "{caller:?}");
            assert_eq!(access.read_customer(other).is_ok(), read_other, "{caller:?}");
            assert_eq!(access.write_customer(mine).is_ok(), write_mine, "{caller:?}");
            assert_eq!(access.write_customer(other).is_ok(), write_other, "{caller:?}");
        }
    }

    fn partner(id: &str, subject: Option<Caller>) -> Caller {
        let subject = subject.and_then(|caller| caller.subject().cloned());
        Caller { principal: Principal::Partner(Partner { id: id.into(), subject }), service: None }
    }

    #[test]
    fn e6_a_partner_is_neither_staff_nor_holder_whatever_its_token_says() {
        let id = CustomerId::new(Uuid::from_u128(1));
        let everything = subject(Some(&id.to_string()), &["staff.read", "staff.write", "accounts.write"]);
        for caller in [partner("psp", Some(everything)), partner("psp", None)] {
            let access = Access::of(&caller);
            assert!(access.read_any().is_err() && access.write_any().is_err(), "{caller:?}");
            assert!(access.read_customer(id).is_err() && access.write_customer(id).is_err(), "{caller:?}");
            assert!(access.as_holder().is_err() && access.read_consents().is_err(), "{caller:?}");
        }
    }

    #[test]
    fn a_partner_reads_accounts_of_whom_it_acts_for_and_only_by_consent() {
        let (mine, other) = (CustomerId::new(Uuid::from_u128(1)), CustomerId::new(Uuid::from_u128(2)));
        let staff = subject(Some(&mine.to_string()), &["staff.read", "accounts.read"]);
        let psp = PartnerId::parse("psp").expect("valid");
        let acting = partner("psp", Some(staff.clone()));
        let reach = AccountReach::Consented(mine, psp);
        assert_eq!(Access::of(&acting).read_account().ok(), Some(reach.clone()));
        assert_eq!(Access::of(&acting).read_accounts_of(mine).ok(), Some(reach));
        assert!(Access::of(&acting).read_accounts_of(other).is_err());
        for nobody in [
            partner("psp", None),
            partner("psp", Some(subject(None, &["staff.read"]))),
            partner("PSP#", Some(staff)),
            partner("", Some(subject(Some(&mine.to_string()), &[]))),
        ] {
            assert!(Access::of(&nobody).read_account().is_err(), "{nobody:?}");
            assert!(Access::of(&nobody).read_accounts_of(mine).is_err(), "{nobody:?}");
        }
    }

    #[test]
    fn only_who_reaches_all_learns_what_is_not_there() {
        let id = CustomerId::new(Uuid::from_u128(1));
        assert!(matches!(Reach::Any.no_customer(id), Error::CustomerNotFound(_)));
        assert!(matches!(Reach::Own(id).no_customer(id), Error::NotPermitted));
        assert!(matches!(Reach::Own(id).hide(Error::CustomerNotFound(id)), Error::NotPermitted));
        assert!(matches!(Reach::Own(id).hide(Error::Contended), Error::Contended));
        let account = AccountId::new(Uuid::from_u128(2));
        assert!(matches!(Reach::Own(id).hide(Error::AccountNotFound(account)), Error::NotPermitted));
    }

    #[test]
    fn batches_are_for_services() {
        let mut caller = subject(None, &["staff.read"]);
        assert!(Access::of(&caller).read_for_service().is_err());
        caller.service = Some("svc-docs".into());
        assert!(Access::of(&caller).read_for_service().is_ok());
    }
}
