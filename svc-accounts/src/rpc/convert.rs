//! Between the contract and the domain; the only file that sees both. Requests are read whole, so that a client hears of
//! every field that breaks its rule at once.

mod audit;
mod change;
mod consent;

use std::fmt::Display;

use chassis::Violation;
use chassis::field::RequestId;
use chassis::page::{Page, Sizes};
use proto::accounts::v1 as pb;

use crate::domain::{
    Account, AccountId, AccountName, CurrencyCode, Customer, CustomerId, CustomerName, Email, Request, Seal,
};
use crate::error::Error;
use crate::timestamp;
pub use audit::{Outcome, event};
pub use change::{freeze_account, lookup_account, update_account};
pub use consent::{check_consent, consent, consent_name, create_consent, list_consents};

/// Pages of every list.
const PAGES: Sizes = Sizes { default: 50, max: 200 };

/// The most accounts that can be asked for at once.
const BATCH_MAX: usize = 100;

/// Collects what is wrong with a request.
#[derive(Default)]
struct Fields(Vec<Violation>);

impl Fields {
    /// Keeps the value of a field, or what is wrong with it.
    fn take<T, E: Display>(&mut self, field: impl Into<String>, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.0.push(Violation::new(field, error.to_string()))).ok()
    }

    /// Reads the page of a list that belongs to `owner`, the field that was taken last.
    fn page<O>(
        mut self,
        list: &str,
        owner: Option<O>,
        bytes: impl Fn(&O) -> &[u8; 16],
        page_size: i32,
        page_token: &str,
    ) -> Result<(O, Page), Error> {
        // Without the owner there is nothing to hold a token against; the owner's own field is at fault then.
        let (id, token) = owner.as_ref().map_or(([0; 16], ""), |owner| (*bytes(owner), page_token));
        let page = Page::parse(PAGES, &[list.as_bytes(), &id], page_size, token);
        match (owner, page) {
            (Some(owner), Ok(page)) => Ok((owner, page)),
            (_, page) => {
                self.0.extend(page.err().unwrap_or_default());
                Err(self.refused())
            }
        }
    }

    fn refused(self) -> Error {
        Error::Invalid(self.0)
    }
}

/// What CreateCustomer wants.
pub struct CreateCustomer {
    request_id: RequestId,
    /// The legal name.
    pub display_name: CustomerName,
    /// The address.
    pub email: Email,
}

impl CreateCustomer {
    /// The request as its idempotency record knows it.
    pub fn request(&self, seal: &Seal, scope: &str) -> Request {
        let fields = [
            ("display_name", self.display_name.as_str().as_bytes()),
            ("email", self.email.as_str().as_bytes()),
        ];
        Request::new(seal, scope, &self.request_id, "CreateCustomer", &fields)
    }
}

/// What OpenAccount wants.
pub struct OpenAccount {
    request_id: RequestId,
    /// The holder.
    pub customer_id: CustomerId,
    /// One that the bank offers.
    pub currency: CurrencyCode,
    /// What the holder calls it.
    pub display_name: AccountName,
    /// Zero or more.
    pub overdraft_limit_minor_units: i64,
}

impl OpenAccount {
    /// The request as its idempotency record knows it.
    pub fn request(&self, seal: &Seal, scope: &str) -> Request {
        let overdraft = self.overdraft_limit_minor_units.to_be_bytes();
        let fields = [
            ("customer_id", self.customer_id.bytes().as_slice()),
            ("currency_code", self.currency.as_str().as_bytes()),
            ("display_name", self.display_name.as_str().as_bytes()),
            ("overdraft_limit_minor_units", overdraft.as_slice()),
        ];
        Request::new(seal, scope, &self.request_id, "OpenAccount", &fields)
    }
}

/// Reads CreateCustomer.
pub fn create_customer(request: pb::CreateCustomerRequest) -> Result<CreateCustomer, Error> {
    let mut fields = Fields::default();
    let request_id = fields.take("request_id", RequestId::parse(request.request_id));
    let display_name = fields.take("display_name", CustomerName::parse(&request.display_name));
    let email = fields.take("email", Email::parse(&request.email));
    match (request_id, display_name, email) {
        (Some(request_id), Some(display_name), Some(email)) => {
            Ok(CreateCustomer { request_id, display_name, email })
        }
        _ => Err(fields.refused()),
    }
}

/// Reads OpenAccount. `currencies` are those that the bank offers, `overdraft_max` is the largest overdraft.
pub fn open_account(
    request: pb::OpenAccountRequest,
    currencies: &[CurrencyCode],
    overdraft_max: i64,
) -> Result<OpenAccount, Error> {
    let mut fields = Fields::default();
    let customer_id = fields.take("customer_id", CustomerId::parse(&request.customer_id));
    let request_id = fields.take("request_id", RequestId::parse(request.request_id));
    let currency = fields.take("currency_code", offered(&request.currency_code, currencies));
    let display_name = fields.take("display_name", AccountName::parse(&request.display_name));
    let overdraft = overdraft_limit(request.overdraft_limit_minor_units, overdraft_max);
    let overdraft = fields.take("overdraft_limit_minor_units", overdraft);
    match (customer_id, request_id, currency, display_name, overdraft) {
        (Some(customer_id), Some(request_id), Some(currency), Some(display_name), Some(overdraft)) => {
            let overdraft_limit_minor_units = overdraft;
            Ok(OpenAccount { request_id, customer_id, currency, display_name, overdraft_limit_minor_units })
        }
        _ => Err(fields.refused()),
    }
}

fn overdraft_limit(limit: i64, max: i64) -> Result<i64, String> {
    match limit {
        ..0 => Err("must not be negative".to_owned()),
        limit if limit > max => Err(format!("must be at most {max}")),
        limit => Ok(limit),
    }
}

fn offered(text: &str, currencies: &[CurrencyCode]) -> Result<CurrencyCode, String> {
    let code = CurrencyCode::parse(text).map_err(|error| error.to_string())?;
    if currencies.contains(&code) {
        return Ok(code);
    }
    let offered: Vec<&str> = currencies.iter().map(CurrencyCode::as_str).collect();
    Err(format!("must be one of {}", offered.join(", ")))
}

/// Reads the id of a customer.
pub fn customer_id(text: &str) -> Result<CustomerId, Error> {
    CustomerId::parse(text).map_err(|error| Error::invalid("customer_id", error))
}

/// Reads the id of an account in a field.
pub fn account_id(field: &str, text: &str) -> Result<AccountId, Error> {
    AccountId::parse(text).map_err(|error| Error::invalid(field, error))
}

/// Reads ListCustomers.
pub fn list_customers(request: &pb::ListCustomersRequest) -> Result<Page, Error> {
    Page::parse(PAGES, &[b"customers"], request.page_size, &request.page_token).map_err(Error::Invalid)
}

/// Reads ListAccounts.
pub fn list_accounts(request: &pb::ListAccountsRequest) -> Result<(CustomerId, Page), Error> {
    let mut fields = Fields::default();
    let customer = fields.take("customer_id", CustomerId::parse(&request.customer_id));
    fields.page("accounts", customer, CustomerId::bytes, request.page_size, &request.page_token)
}

/// Reads BatchGetAccounts.
pub fn batch_get_accounts(ids: &[String]) -> Result<Vec<AccountId>, Error> {
    if ids.is_empty() || ids.len() > BATCH_MAX {
        return Err(Error::invalid("account_ids", format!("must name 1 to {BATCH_MAX} accounts")));
    }
    let mut fields = Fields::default();
    let parse = |(at, id): (usize, &String)| fields.take(format!("account_ids[{at}]"), AccountId::parse(id));
    let parsed: Vec<AccountId> = ids.iter().enumerate().filter_map(parse).collect();
    if parsed.len() == ids.len() { Ok(parsed) } else { Err(fields.refused()) }
}

/// A customer as the contract shows it.
pub fn customer(customer: &Customer) -> pb::Customer {
    pb::Customer {
        customer_id: customer.id.to_string(),
        display_name: customer.display_name.as_str().to_owned(),
        email: customer.email.as_str().to_owned(),
        create_time: Some(timestamp::of(customer.create_time)),
        update_time: Some(timestamp::of(customer.update_time)),
        etag: customer.etag(),
    }
}

/// An account as the contract shows it.
pub fn account(account: &Account) -> pb::Account {
    pb::Account {
        account_id: account.id.to_string(),
        customer_id: account.customer_id.to_string(),
        iban: account.iban.as_str().to_owned(),
        currency_code: account.currency.as_str().to_owned(),
        display_name: account.display_name.as_str().to_owned(),
        state: change::state(account).into(),
        overdraft_limit_minor_units: account.overdraft_limit_minor_units,
        create_time: Some(timestamp::of(account.create_time)),
        update_time: Some(timestamp::of(account.update_time)),
        etag: account.etag(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    pub(super) fn fields_of(error: Option<Error>) -> Vec<String> {
        match error {
            Some(Error::Invalid(violations)) => {
                violations.into_iter().map(|violation| violation.field).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_broken_field_is_named_at_once() {
        let empty = pb::CreateCustomerRequest::default();
        assert_eq!(fields_of(create_customer(empty).err()), ["request_id", "display_name", "email"]);

        let euro = [CurrencyCode::parse("EUR").expect("valid")];
        let wrong = pb::OpenAccountRequest {
            customer_id: "c-1".into(),
            request_id: "a b".into(),
            currency_code: "XXX".into(),
            display_name: "x".repeat(101),
            overdraft_limit_minor_units: -1,
        };
        let every =
            ["customer_id", "request_id", "currency_code", "display_name", "overdraft_limit_minor_units"];
        assert_eq!(fields_of(open_account(wrong.clone(), &euro, 500).err()), every);
        for (limit, valid) in [(-1, false), (0, true), (500, true), (501, false), (i64::MAX, false)] {
            let mut asked = wrong.clone();
            asked.overdraft_limit_minor_units = limit;
            let broken = fields_of(open_account(asked, &euro, 500).err());
            assert_eq!(!broken.contains(&"overdraft_limit_minor_units".to_owned()), valid, "{limit}");
        }

        let wrong = pb::ListAccountsRequest {
            customer_id: Uuid::from_u128(1).to_string(),
            page_size: -1,
            page_token: "made up".into(),
        };
        assert_eq!(fields_of(list_accounts(&wrong).err()), ["page_size", "page_token"]);
    }

    #[test]
    fn a_batch_names_1_to_100_accounts() {
        let ids = |count: usize| vec![Uuid::from_u128(1).to_string(); count];
        assert_eq!(fields_of(batch_get_accounts(&ids(0)).err()), ["account_ids"]);
        assert_eq!(fields_of(batch_get_accounts(&ids(101)).err()), ["account_ids"]);
        assert!(batch_get_accounts(&ids(100)).is_ok());
        let mixed = [ids(1), vec!["x".to_owned()], ids(1), vec![String::new()]].concat();
        assert_eq!(fields_of(batch_get_accounts(&mixed).err()), ["account_ids[1]", "account_ids[3]"]);
    }
}
