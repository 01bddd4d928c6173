//! The contract: who may, what is refused first, and that a repeated request is one.

use prost::Message as _;
use proto::accounts::v1 as pb;
use proto::accounts::v1::accounts_service_server::AccountsService as _;
use tonic::{Code, Status};
use uuid::Uuid;

use super::place::{Place, new_account, new_customer, owner, request, service, staff};
use crate::domain::Iban;

fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.expect_err("refused").code()
}

#[tokio::test]
async fn staff_create_customers_once() {
    let place = Place::new().await;
    let rpc = &place.start().await.rpc;
    let create = async |request_id: &str, email: &str| {
        rpc.create_customer(request(&staff(), new_customer(request_id, email)))
            .await
            .map(tonic::Response::into_inner)
    };
    let ada = create("r1", "ada@example.com").await.expect("created");
    assert_eq!((ada.display_name.as_str(), ada.email.as_str()), ("Ada Lovelace", "ada@example.com"));
    assert_eq!(ada.create_time, ada.update_time);
    assert!(!ada.etag.is_empty());
    assert_eq!(create("r1", "ada@example.com").await.expect("known"), ada);
    assert_eq!(code(create("r1", "eve@example.com").await), Code::AlreadyExists);
    assert_eq!(code(create("r2", "Ada@Example.com").await), Code::AlreadyExists);
    assert_eq!(code(create("", "nobody").await), Code::InvalidArgument);
    let stranger = owner(&Uuid::from_u128(1).to_string());
    let refused = rpc.create_customer(request(&stranger, new_customer("r3", "eve@example.com"))).await;
    assert_eq!(code(refused), Code::PermissionDenied);

    let read = async |caller, id: &str| {
        let wanted = pb::GetCustomerRequest { customer_id: id.to_owned() };
        rpc.get_customer(request(&caller, wanted)).await.map(tonic::Response::into_inner)
    };
    let nobody = Uuid::from_u128(9).to_string();
    assert_eq!(read(staff(), &ada.customer_id).await.expect("read"), ada);
    assert_eq!(read(owner(&ada.customer_id), &ada.customer_id).await.expect("read"), ada);
    assert_eq!(code(read(owner(&nobody), &ada.customer_id).await), Code::PermissionDenied);
    assert_eq!(code(read(owner(&nobody), &nobody).await), Code::PermissionDenied, "not even of itself");
    assert_eq!(code(read(staff(), &nobody).await), Code::NotFound);
    assert_eq!(code(read(owner(&nobody), "no id").await), Code::InvalidArgument, "before permission");

    create("r4", "bob@example.com").await.expect("created");
    let list = async |caller, page_token: &str| {
        let wanted = pb::ListCustomersRequest { page_size: 1, page_token: page_token.to_owned() };
        rpc.list_customers(request(&caller, wanted)).await.map(tonic::Response::into_inner)
    };
    let first = list(staff(), "").await.expect("read");
    let second = list(staff(), &first.next_page_token).await.expect("read");
    assert_eq!([first.customers[0].clone()], [ada]);
    assert_eq!(
        (second.customers[0].email.as_str(), second.next_page_token.as_str()),
        ("bob@example.com", "")
    );
    assert_eq!(code(list(staff(), "made-up").await), Code::InvalidArgument);
    assert_eq!(code(list(stranger, "").await), Code::PermissionDenied);
}

#[tokio::test]
async fn owners_open_and_read_their_own_accounts() {
    let place = Place::new().await;
    let rpc = &place.start().await.rpc;
    let customer = async |request_id: &str| {
        let email = format!("{request_id}@example.com");
        let created = rpc.create_customer(request(&staff(), new_customer(request_id, &email))).await;
        created.expect("created").into_inner().customer_id
    };
    let (ada, bob) = (customer("ada").await, customer("bob").await);
    let nobody = Uuid::from_u128(9).to_string();
    let open = async |caller, wanted: pb::OpenAccountRequest| {
        rpc.open_account(request(&caller, wanted)).await.map(tonic::Response::into_inner)
    };
    let account = open(owner(&ada), new_account(&ada, "r1")).await.expect("opened");
    assert_eq!(account.state(), pb::AccountState::Active);
    assert_eq!((account.customer_id.as_str(), account.currency_code.as_str()), (ada.as_str(), "EUR"));
    assert!(Iban::parse(&account.iban).is_ok() && account.iban.starts_with("DE"), "{}", account.iban);
    assert_eq!(open(owner(&ada), new_account(&ada, "r1")).await.expect("known"), account);

    let overdraft = |request_id| pb::OpenAccountRequest {
        overdraft_limit_minor_units: 1_000,
        ..new_account(&ada, request_id)
    };
    let dollars = pb::OpenAccountRequest { currency_code: "USD".into(), ..new_account(&ada, "r1") };
    let unknown = pb::OpenAccountRequest { currency_code: "XXX".into(), ..new_account(&nobody, "r1") };
    assert_eq!(code(open(owner(&ada), unknown).await), Code::InvalidArgument, "before permission");
    assert_eq!(code(open(owner(&ada), new_account(&bob, "r2")).await), Code::PermissionDenied);
    assert_eq!(code(open(owner(&ada), overdraft("r2")).await), Code::PermissionDenied);
    assert_eq!(code(open(owner(&nobody), new_account(&nobody, "r2")).await), Code::PermissionDenied);
    assert_eq!(code(open(staff(), new_account(&nobody, "r2")).await), Code::NotFound);
    assert_eq!(code(open(owner(&ada), dollars).await), Code::AlreadyExists);
    let granted = open(staff(), overdraft("r1")).await.expect("another principal's key");
    assert_eq!(granted.overdraft_limit_minor_units, 1_000);

    let get = async |caller, id: &str| {
        let wanted = pb::GetAccountRequest { account_id: id.to_owned() };
        rpc.get_account(request(&caller, wanted)).await.map(tonic::Response::into_inner)
    };
    assert_eq!(get(owner(&ada), &account.account_id).await.expect("read"), account);
    assert_eq!(get(staff(), &account.account_id).await.expect("read"), account);
    assert_eq!(code(get(owner(&bob), &account.account_id).await), Code::PermissionDenied);
    assert_eq!(code(get(owner(&bob), &nobody).await), Code::PermissionDenied, "the same as for another's");
    assert_eq!(code(get(staff(), &nobody).await), Code::NotFound);
    assert_eq!(code(get(service("svc-docs"), &account.account_id).await), Code::PermissionDenied);

    let list = async |caller, customer: &str, page_size, page_token: &str| {
        let (customer_id, page_token) = (customer.to_owned(), page_token.to_owned());
        let wanted = pb::ListAccountsRequest { customer_id, page_size, page_token };
        rpc.list_accounts(request(&caller, wanted)).await.map(tonic::Response::into_inner)
    };
    let first = list(owner(&ada), &ada, 1, "").await.expect("read");
    assert_eq!(first.accounts, std::slice::from_ref(&account));
    let second = list(owner(&ada), &ada, 1, &first.next_page_token).await.expect("read");
    assert_eq!((second.accounts.as_slice(), second.next_page_token.as_str()), ([granted].as_slice(), ""));
    assert_eq!(
        code(list(staff(), &bob, 1, &first.next_page_token).await),
        Code::InvalidArgument,
        "another's list"
    );
    assert_eq!(list(owner(&bob), &bob, 0, "").await.expect("read"), pb::ListAccountsResponse::default());
    assert_eq!(code(list(owner(&bob), &ada, 0, "").await), Code::PermissionDenied);
    assert_eq!(code(list(owner(&nobody), &nobody, 0, "").await), Code::PermissionDenied);
    assert_eq!(code(list(staff(), &nobody, 0, "").await), Code::NotFound);

    let batch = async |caller, account_ids: Vec<String>| {
        let wanted = pb::BatchGetAccountsRequest { account_ids };
        rpc.batch_get_accounts(request(&caller, wanted)).await.map(tonic::Response::into_inner)
    };
    let ids = vec![nobody, account.account_id.clone()];
    assert_eq!(batch(service("svc-docs"), ids.clone()).await.expect("read").accounts, [account]);
    assert_eq!(code(batch(staff(), ids).await), Code::PermissionDenied, "not from outside the mesh");
    assert_eq!(code(batch(service("svc-docs"), vec![]).await), Code::InvalidArgument);
}

/// What only the service says of a record. REST refuses a body with a field that the request does not have, and gRPC drops it:
/// so nothing of a record is for a client to write that no request has a field for.
#[test]
fn e6_no_request_has_a_field_that_only_the_service_may_write() {
    const THE_SERVICES: [&str; 8] = [
        "iban",
        "state",
        "state_revision",
        "revision",
        "etag",
        "create_time",
        "update_time",
        "used_minor_units",
    ];
    let set = prost_types::FileDescriptorSet::decode(proto::DESCRIPTOR_SET).expect("a descriptor set");
    let ours = set.file.iter().filter(|file| file.package() == "accounts.v1");
    let requests: Vec<_> = ours
        .flat_map(|file| &file.message_type)
        .filter(|message| message.name().ends_with("Request"))
        .map(|message| (message.name(), message.field.iter().map(|field| field.name()).collect::<Vec<_>>()))
        .collect();
    assert!(requests.len() >= 12, "{requests:?}");
    for (name, fields) in &requests {
        // The one is a condition and the other is looked for: neither is written.
        let reads = [("UpdateAccountRequest", "etag"), ("LookupAccountRequest", "iban")];
        let written = fields.iter().filter(|field| !reads.contains(&(*name, **field)));
        assert!(!written.into_iter().any(|field| THE_SERVICES.contains(field)), "{name}: {fields:?}");
    }
    let of =
        |wanted: &str| requests.iter().find(|(name, _)| *name == wanted).map(|(_, fields)| fields.as_slice());
    for (write, fields) in [
        ("CreateCustomerRequest", ["request_id", "display_name", "email"].as_slice()),
        (
            "OpenAccountRequest",
            &["customer_id", "request_id", "currency_code", "display_name", "overdraft_limit_minor_units"],
        ),
        (
            "CreateConsentRequest",
            &[
                "account_id",
                "request_id",
                "partner_id",
                "scopes",
                "per_transfer_max_minor_units",
                "total_max_minor_units",
                "expire_time",
            ],
        ),
        ("RevokeConsentRequest", &["account_id", "consent_id"]),
        ("UpdateAccountRequest", &["account_id", "display_name", "overdraft_limit_minor_units", "etag"]),
        ("FreezeAccountRequest", &["account_id", "freeze"]),
        ("UnfreezeAccountRequest", &["account_id"]),
        ("CloseAccountRequest", &["account_id"]),
    ] {
        assert_eq!(of(write), Some(fields), "{write}");
    }
}
