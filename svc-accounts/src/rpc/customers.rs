//! Customers: created and listed by staff, read by themselves too.

use chassis::Call;
use proto::accounts::v1 as pb;

use super::access::Access;
use super::{Rpc, audit, convert};
use crate::clock;
use crate::domain::{Customer, CustomerId};
use crate::error::Error;
use crate::store::Created;

impl Rpc {
    pub(super) async fn make_customer(
        &self,
        call: &Call,
        request: pb::CreateCustomerRequest,
    ) -> Result<pb::Customer, Error> {
        let wanted = convert::create_customer(request)?;
        Access::of(&call.caller).write_any()?;
        let request = wanted.request(self.store.seal(), &call.caller.idempotency_scope());
        let id = CustomerId::new(clock::new_id());
        let event = audit::done(call, audit::CREATE_CUSTOMER, format!("customers/{id}"));
        let customer = Customer::new(id, wanted.display_name, wanted.email, clock::now());
        let customer = match self.store.create_customer(&customer, &request, &event).await? {
            Created::New => customer,
            Created::Before(id) => self.store.customer(id).await?.ok_or(Error::CustomerNotFound(id))?,
        };
        Ok(convert::customer(&customer))
    }

    pub(super) async fn read_customer(
        &self,
        call: &Call,
        request: &pb::GetCustomerRequest,
    ) -> Result<pb::Customer, Error> {
        let id = convert::customer_id(&request.customer_id)?;
        let reach = Access::of(&call.caller).read_customer(id)?;
        let customer = self.store.customer(id).await?.ok_or_else(|| reach.no_customer(id))?;
        Ok(convert::customer(&customer))
    }

    pub(super) async fn read_customers(
        &self,
        call: &Call,
        request: &pb::ListCustomersRequest,
    ) -> Result<pb::ListCustomersResponse, Error> {
        let page = convert::list_customers(request)?;
        Access::of(&call.caller).read_any()?;
        let after = page.after().map(CustomerId::new);
        let (customers, more) = self.store.list_customers(after, page.size()).await?;
        let last = customers.last().filter(|_| more);
        Ok(pb::ListCustomersResponse {
            next_page_token: last.map(|last| page.token(last.id.uuid())).unwrap_or_default(),
            customers: customers.iter().map(convert::customer).collect(),
        })
    }
}
