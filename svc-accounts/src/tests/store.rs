//! The table: uniqueness, idempotency, order and what the engine itself must refuse.

use std::collections::HashSet;

use chassis::field::RequestId;
use futures::future::join_all;
use proto::accounts::v1::accounts_service_server::AccountsService as _;
use tonic::Code;
use uuid::Uuid;

use super::place::{Place, Process, eventually, new_account, new_customer, owner, request, staff};
use crate::clock;
use crate::domain::{
    Account, AccountId, AccountName, AccountState, Changes, CurrencyCode, Customer, CustomerId, CustomerName,
    Email, Iban, IbanRange, Request, StateRevision,
};
use crate::error::Error;
use crate::store::{Created, Event, Opened, Store};

fn customer(email: &str) -> Customer {
    let name = CustomerName::parse("Ada Lovelace").expect("valid");
    Customer::new(CustomerId::new(clock::new_id()), name, Email::parse(email).expect("valid"), clock::now())
}

fn iban(number: u64) -> Iban {
    IbanRange::new("DE", "50010517").expect("valid").iban(number)
}

pub fn account(customer_id: CustomerId, number: u64) -> Account {
    let now = clock::now();
    Account {
        id: AccountId::new(clock::new_id()),
        customer_id,
        iban: iban(number),
        currency: CurrencyCode::parse("EUR").expect("valid"),
        display_name: AccountName::parse("Everyday").expect("valid"),
        state: AccountState::Opening,
        overdraft_limit_minor_units: 500,
        changes: Changes::default(),
        state_revision: StateRevision::FIRST,
        create_time: now,
        update_time: now,
        revision: 1,
    }
}

pub fn asked(store: &Store, id: &str, body: &str) -> Request {
    let id = RequestId::parse(id).expect("valid");
    Request::new(store.seal(), "subject:test", &id, "Test", &[("body", body.as_bytes())])
}

/// An event that nobody will read.
pub fn event() -> Event {
    Event { id: clock::new_id(), body: Vec::new() }
}

async fn known_customer(store: &Store) -> Customer {
    let customer = customer("ada@example.com");
    let created =
        store.create_customer(&customer, &asked(store, "customer", ""), &event()).await.expect("written");
    assert_eq!(created, Created::New);
    customer
}

#[tokio::test]
async fn customers_are_unique_by_request_and_by_email() {
    let place = Place::new().await;
    let Process { rpc, .. } = &place.start().await;
    let store = &rpc.store;
    let ada = customer("ada@example.com");
    assert_eq!(
        store.create_customer(&ada, &asked(store, "r1", "ada"), &event()).await.expect("written"),
        Created::New
    );
    assert_eq!(store.customer(ada.id).await.expect("read"), Some(ada.clone()));

    let again =
        store.create_customer(&customer("ada@example.com"), &asked(store, "r1", "ada"), &event()).await;
    assert_eq!(again.expect("known"), Created::Before(ada.id));
    let changed =
        store.create_customer(&customer("eve@example.com"), &asked(store, "r1", "eve"), &event()).await;
    assert!(matches!(changed, Err(Error::RequestIdReused { field: "body" })), "{changed:?}");
    let taken =
        store.create_customer(&customer("ADA@example.com"), &asked(store, "r2", "ada"), &event()).await;
    assert!(matches!(taken, Err(Error::EmailTaken)), "{taken:?}");
    let refused = customer("ADA@example.com");
    assert_eq!(store.customer(refused.id).await.expect("read"), None, "nothing of a refused write is there");

    // The same request many times at once makes one customer; so does the same address under many requests.
    let twins: Vec<Customer> = (0..12).map(|_| customer("twin@example.com")).collect();
    let request = asked(store, "r3", "twin");
    let request = &request;
    let creates =
        twins.iter().map(|twin| async move { store.create_customer(twin, request, &event()).await });
    let answers = join_all(creates).await;
    let made: HashSet<CustomerId> = answers
        .into_iter()
        .zip(&twins)
        .map(|(answer, twin)| match answer.expect("made or known") {
            Created::New => twin.id,
            Created::Before(id) => id,
        })
        .collect();
    assert_eq!(made.len(), 1);
    let rivals: Vec<Customer> = (0..12).map(|_| customer("rival@example.com")).collect();
    let answers = join_all(rivals.iter().enumerate().map(|(at, rival)| async move {
        store.create_customer(rival, &asked(store, &format!("rival-{at}"), ""), &event()).await
    }))
    .await;
    let won = answers.iter().filter(|answer| matches!(answer, Ok(Created::New))).count();
    let lost = answers.iter().filter(|answer| matches!(answer, Err(Error::EmailTaken))).count();
    assert_eq!((won, lost), (1, 11), "{answers:?}");
}

#[tokio::test]
async fn lists_are_in_order_of_ids_and_complete() {
    let place = Place::new().await;
    let Process { rpc, .. } = &place.start_without_sweep().await;
    let store = &rpc.store;
    // More than one BatchGetItem takes.
    let customers: Vec<Customer> = (0..105).map(|at| customer(&format!("c{at}@example.com"))).collect();
    for chunk in customers.chunks(15) {
        let writes = chunk.iter().map(|customer| async move {
            store.create_customer(customer, &asked(store, &customer.id.to_string(), ""), &event()).await
        });
        for written in join_all(writes).await {
            assert_eq!(written.expect("written"), Created::New);
        }
    }
    let expect: Vec<CustomerId> = customers.iter().map(|customer| customer.id).collect();
    assert!(expect.is_sorted(), "ids are in order of creation");
    for size in [1_000, 105, 104, 50, 7] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let (page, more) = store.list_customers(after, size).await.expect("read");
            assert!(page.len() <= size);
            listed.extend(page.iter().map(|customer| customer.id));
            after = listed.last().copied();
            if !more {
                break;
            }
            assert_eq!(page.len(), size, "only the last page is short");
        }
        assert_eq!(listed, expect, "{size}");
    }

    let (holder, other) = (customers[0].id, customers[1].id);
    let accounts: Vec<Account> = (0..5).map(|number| account(holder, number)).collect();
    for account in &accounts {
        let request = asked(store, &account.id.to_string(), "");
        assert_eq!(
            store.open_account(account, "subject:test", &request, &event()).await.expect("written"),
            Opened::New
        );
    }
    let (first, more) = store.list_accounts(holder, None, 2).await.expect("read");
    assert_eq!((first.as_slice(), more), (&accounts[..2], true));
    let (last, more) = store.list_accounts(holder, Some(accounts[2].id), 2).await.expect("read");
    assert_eq!((last.as_slice(), more), (&accounts[3..], false));
    assert_eq!(store.list_accounts(other, None, 2).await.expect("read"), (Vec::new(), false));
}

#[tokio::test]
async fn an_account_is_written_whole_or_not_at_all() {
    let place = Place::new().await;
    let Process { rpc, .. } = &place.start_without_sweep().await;
    let store = &rpc.store;
    let ada = known_customer(store).await;
    let first = account(ada.id, 1);
    let open = async |account: &Account, request: &str, body: &str| {
        store.open_account(account, "subject:test", &asked(store, request, body), &event()).await
    };

    let nobody = CustomerId::new(Uuid::from_u128(1));
    let orphan = open(&account(nobody, 1), "a0", "").await;
    assert!(matches!(orphan, Err(Error::CustomerNotFound(id)) if id == nobody), "{orphan:?}");
    assert_eq!(open(&first, "a1", "x").await.expect("written"), Opened::New);
    assert_eq!(open(&account(ada.id, 2), "a1", "x").await.expect("known"), Opened::Before(first.id));
    let changed = open(&account(ada.id, 3), "a1", "y").await;
    assert!(matches!(changed, Err(Error::RequestIdReused { field: "body" })), "{changed:?}");
    let twin = account(ada.id, 1);
    assert_eq!(open(&twin, "a2", "").await.expect("answered"), Opened::IbanTaken);

    assert_eq!(store.account(first.id).await.expect("read"), Some(first.clone()));
    assert_eq!(store.account(twin.id).await.expect("read"), None);
    assert!(store.is_holder(first.id, ada.id).await.expect("read"));
    assert!(!store.is_holder(first.id, nobody).await.expect("read"));
    assert!(!store.is_holder(twin.id, ada.id).await.expect("read"));
    let found = store.accounts(&[first.id, twin.id]).await.expect("read");
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [first.id]);
    let waiting: Vec<AccountId> =
        store.openings(None, 10).await.expect("read").0.iter().map(|pending| pending.id).collect();
    assert_eq!(waiting, [first.id]);

    // Only the first of two activations writes, and what it writes takes the account off the list.
    let active = first.activated(clock::now()).expect("opening");
    let (one, two) = tokio::join!(store.activate(&first, &active), store.activate(&first, &active));
    assert_eq!(one.expect("written"), Some(active.clone()));
    assert_eq!(two.expect("found written"), Some(active.clone()));
    assert_eq!(store.account(first.id).await.expect("read"), Some(active));
    assert_eq!(store.openings(None, 10).await.expect("read").0, []);
}

#[tokio::test]
async fn a_table_that_is_missing_or_foreign_is_refused() {
    let place = Place::new().await;
    let mut config = place.config("").store;
    let seal = crate::domain::Seal::new(&[7; 32]).expect("long enough");
    config.create_table = false;
    let missing = Store::connect(&config, seal.clone()).await.expect_err("there is none");
    assert_eq!(missing.to_string(), "there is no DynamoDB table \"accounts\"");
    config.create_table = true;
    Store::connect(&config, seal.clone()).await.expect("made");
    config.create_table = false;
    let store = Store::connect(&config, seal.clone()).await.expect("there is one");
    store.probe().await.expect("answers");

    config.endpoint = Some("http://127.0.0.1:1".to_owned());
    config.attempts = 1;
    let unreached = Store::connect(&config, seal).await.expect_err("nobody listens");
    assert!(unreached.to_string().starts_with("cannot describe the DynamoDB table"), "{unreached}");
}

#[tokio::test]
async fn personal_data_stands_in_one_item_and_in_no_key() {
    let place = Place::new().await;
    let process = place.start().await;
    let customer =
        process.rpc.create_customer(request(&staff(), new_customer("key-of-ada", "Ada@Example.com"))).await;
    let customer = customer.expect("created").into_inner().customer_id;
    let account =
        process.rpc.open_account(request(&owner(&customer), new_account(&customer, "key-of-account"))).await;
    let account = account.expect("opened").into_inner();
    let items: Vec<(String, String)> = place
        .items()
        .iter()
        .map(|item| (format!("{:?}", item["sk"]), format!("{item:?}").to_lowercase()))
        .collect();
    let holding = |text: &str| -> Vec<&str> {
        let text = text.to_lowercase();
        items.iter().filter(|(_, item)| item.contains(&text)).map(|(sort, _)| sort.as_str()).collect()
    };
    assert!(items.len() > 8, "{items:?}");
    assert_eq!(holding("ada@example.com"), [r#"S("CUST")"#]);
    assert_eq!(holding("Ada Lovelace"), [r#"S("CUST")"#]);
    assert_eq!(holding("key-of-"), [""; 0]);
    let mut iban = holding(&account.iban);
    iban.sort_unstable();
    assert_eq!(iban, [r#"S("ACCT")"#, r#"S("IBAN")"#]);
    assert_eq!(holding("https://issuer.test:owner"), [r#"S("ACCT")"#], "who asked stays with the record");
}

#[tokio::test]
async fn a_store_that_is_away_is_unavailable_and_loses_nothing() {
    let mut place = Place::new().await;
    let process = place.start().await;
    let create = async |id: &str| {
        let wanted = new_customer(id, &format!("{id}@example.com"));
        process.rpc.create_customer(request(&staff(), wanted)).await.map(tonic::Response::into_inner)
    };
    let ada = create("ada").await.expect("created");
    assert!(process.health.is_ready());

    place.stop_engine().await;
    let away = create("bob").await.expect_err("away");
    assert_eq!(
        (away.code(), away.message()),
        (Code::Unavailable, "the account store is not available; try again")
    );
    eventually("the process says so", || async { !process.health.is_ready() }).await;

    place.start_engine().await;
    eventually("the process says so", || async { process.health.is_ready() }).await;
    assert_eq!(create("ada").await.expect("known"), ada);
    create("bob").await.expect("created at last");
}
