//! Customers: the record, the mark of its email that keeps addresses unique, and its place in the list of all.

use std::collections::HashMap;

use super::item::{Item, Reader, Writer};
use super::key::{CUSTOMER_PREFIX, CUSTOMERS, Key};
use super::query::Range;
use super::request;
use super::transact::Written;
use super::{Event, Store};
use crate::domain::{Customer, CustomerId, CustomerName, Email, Request, UnixMillis};
use crate::error::Error;

/// What became of a request for a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    New,
    /// The same request has made this one before.
    Before(CustomerId),
}

impl Store {
    /// Writes a new customer, unless the request is known or the address taken; a known request comes first.
    pub async fn create_customer(
        &self,
        customer: &Customer,
        request: &Request,
        event: &Event,
    ) -> Result<Created, Error> {
        const REQUEST: usize = 0;
        let email =
            Writer::at(&Key::email(&self.seal, &customer.email)).text("customer_id", customer.id.to_string());
        let steps = vec![
            self.put_new(request::item(request, &customer.id, customer.create_time))?,
            self.put_new(email.done())?,
            self.put_new(encode(customer))?,
            self.put_new(Writer::at(&Key::customer_listed(customer.id)).done())?,
            self.put_event(event)?,
        ];
        match self.transact("CreateCustomer", steps).await? {
            Written::All => Ok(Created::New),
            Written::Nothing(refused) if refused.at(REQUEST) => {
                self.made_before(request, CustomerId::parse).await.map(Created::Before)
            }
            Written::Nothing(_) => Err(Error::EmailTaken),
        }
    }

    /// One customer.
    pub async fn customer(&self, id: CustomerId) -> Result<Option<Customer>, Error> {
        self.get(&Key::customer(id)).await?.as_ref().map(decode).transpose()
    }

    /// Customers in order of their ids, and whether there are more.
    pub async fn list_customers(
        &self,
        after: Option<CustomerId>,
        limit: usize,
    ) -> Result<(Vec<Customer>, bool), Error> {
        let range = Range {
            partition: CUSTOMERS.to_owned(),
            prefix: Some(CUSTOMER_PREFIX),
            after: after.map(Key::customer_listed),
            limit,
        };
        let (listed, more) = self.range(range).await?;
        let id = |item| Reader(item).sort_id(CUSTOMER_PREFIX, CustomerId::parse);
        let ids = listed.iter().map(id).collect::<Result<Vec<_>, _>>()?;

        let keys: Vec<Key> = ids.iter().copied().map(Key::customer).collect();
        let mut customers = HashMap::with_capacity(ids.len());
        for item in self.get_all(&keys).await? {
            let customer = decode(&item)?;
            customers.insert(customer.id, customer);
        }
        Ok((ids.iter().filter_map(|id| customers.remove(id)).collect(), more))
    }
}

fn encode(customer: &Customer) -> Item {
    Writer::at(&Key::customer(customer.id))
        .text("customer_id", customer.id.to_string())
        .text("display_name", customer.display_name.as_str())
        .text("email", customer.email.as_str())
        .number("create_time", customer.create_time.get())
        .number("update_time", customer.update_time.get())
        .number("revision", customer.revision)
        .done()
}

fn decode(item: &Item) -> Result<Customer, Error> {
    let item = Reader(item);
    Ok(Customer {
        id: item.parsed("customer_id", CustomerId::parse)?,
        display_name: item.parsed("display_name", CustomerName::parse)?,
        email: item.parsed("email", Email::parse)?,
        create_time: UnixMillis::new(item.number("create_time")?),
        update_time: UnixMillis::new(item.number("update_time")?),
        revision: item.number("revision")?,
    })
}
