//! The ledger inside this process, reached by its Rust API over TLS to the same server: accounts that are owned by a few
//! customers, transfers between them, and an audit whose keeper takes every event at once.

use std::sync::Arc;
use std::time::Duration;

use chassis::drain::Drain;
use chassis::health::Health;
use chassis::metrics::Metrics;
use futures::StreamExt as _;
use prost::Message as _;
use proto::edge::v1 as audit;
use svc_ledger::config;
use svc_ledger::domain::account::{Amount, Purpose};
use svc_ledger::domain::audit::Witness;
use svc_ledger::domain::command::{
    Action, Actor, AmountMode, Command, Condition, Detail, Open, Request, Seed, Transfer,
};
use svc_ledger::domain::currency::Currency;
use svc_ledger::domain::request::{BodyHash, Key, Operation, Scope};
use svc_ledger::domain::verdict::Verdict;
use svc_ledger::store::Store;
use svc_ledger::store::outbox::{Outbox, Stored};
use uuid::Uuid;

use crate::load;
use crate::spread::{ACCOUNTS, Pairs, Spread};

/// Who owns the accounts, ten each.
pub const CUSTOMERS: usize = 1_000;
/// What every account may owe: the baselines' accounts begin with as much. Both judge each debit by it.
const FLOOR: i64 = -1_000_000_000_000;
/// The text of transfers that have one.
pub const REFERENCE: &str = "Invoice 2026-11-0042, paid";

/// A ledger, and the parts of a process it stands on.
pub struct Ledger {
    pub store: Store,
    drain: Drain,
}

/// The id of an account by its number.
pub fn account(number: usize) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("bench/{number}").as_bytes())
}

/// The customer who owns an account.
pub fn owner(account: usize) -> usize {
    account % CUSTOMERS
}

/// As the customer is called in tokens and by the ledger.
pub fn customer(number: usize) -> String {
    format!("01a202f5-880c-741f-a3c6-{number:012}")
}

impl Ledger {
    /// Starts on a database, which it migrates, with the bank's own accounts and the benchmark's.
    pub async fn start(config: &config::Store) -> Self {
        let drain = Drain::default();
        let store = Store::start(config, &drain, &Health::default(), &Metrics::default()).await.unwrap();
        svc_ledger::open_house_accounts(&store, &[eur()]).await.unwrap();
        let opened = futures::stream::iter(0..ACCOUNTS).map(|number| open(&store, number));
        opened.buffer_unordered(1_000).collect::<Vec<()>>().await;
        Self { store, drain }
    }

    /// Has the events of the audit shipped from now on, to nowhere.
    pub fn ship(&self, config: &config::Store) {
        let keeper = Keeper(Outbox::new(config).unwrap());
        self.store.announce(chassis::outbox::start(keeper, &self.drain, &Metrics::default()));
    }

    /// Transfers by the Rust API.
    pub fn transfers(&self, spread: Spread, reference: &'static str) -> load::Transfer {
        let (store, pairs) = (self.store.clone(), Arc::new(Pairs::new(spread)));
        Arc::new(move |_| {
            let (store, pairs) = (store.clone(), Arc::clone(&pairs));
            Box::pin(async move {
                let verdict = store.submit(transfer(pairs.draw(), reference)).await;
                assert!(matches!(verdict, Ok(Verdict::Booked(_))), "{verdict:?}");
            })
        })
    }

    /// Whether a transfer could be made; makes none.
    pub async fn validates(&self) -> bool {
        let one = Command { validate_only: true, ..transfer((0, 1), "") };
        self.store.submit(one).await.is_ok()
    }

    /// Stops as SIGTERM would.
    pub async fn stop(self) {
        self.drain.stop();
        assert!(self.drain.finished(Duration::from_secs(10)).await);
    }
}

/// The currency of all of it.
fn eur() -> Currency {
    Currency::parse("EUR").unwrap()
}

async fn open(store: &Store, number: usize) {
    let owner = customer(owner(number));
    let open = Open {
        id: account(number),
        currency: eur(),
        purpose: Purpose::Customer,
        chart: Purpose::Customer.chart(),
        floor: Some(FLOOR),
        ceiling: None,
        customers: vec![owner.clone()],
        state_revision: 1,
    };
    let verdict = store.submit(command(&owner, "CreateLedgerAccount", Action::Open(open))).await;
    assert!(matches!(verdict, Ok(Verdict::Opened(_))), "{verdict:?}");
}

fn transfer((debit, credit): (usize, usize), reference: &'static str) -> Command {
    let customer = customer(owner(debit));
    let (debit, credit) = (account(debit), account(credit));
    let amount = rand::random_range(1..=1_000_i64);
    let key = Key { scope: scope(&customer), request_id: Uuid::now_v7().to_string() };
    let mut fields: [&[u8]; 13] = [&[]; 13];
    let bytes = amount.to_be_bytes();
    fields[..4].copy_from_slice(&[debit.as_bytes(), credit.as_bytes(), &bytes, reference.as_bytes()]);
    let body = BodyHash::new(Operation::Transfer, &key, &fields);
    let wanted = Transfer {
        debit,
        credit,
        amount: Amount::new(amount).unwrap(),
        mode: AmountMode::Exact,
        currency: eur(),
        pending: None,
        value_date: None,
        debit_condition: Condition::default(),
        credit_condition: Condition::default(),
        exchange: None,
        hidden: false,
        detail: Detail::new(reference.to_owned(), None, rand::random()),
    };
    command(&customer, "CreateTransfer", Action::Transfer(Request { key, body }, wanted))
}

fn scope(customer: &str) -> Scope {
    Scope::of(&format!("subject:https://issuer.example:{customer}"))
}

/// A customer's command, with what svc-ledger would have the audit know of its call.
fn command(customer: &str, method: &str, action: Action) -> Command {
    let actor = Actor {
        scope: scope(customer),
        staff: false,
        customer: Some(customer.to_owned()),
        partner: None,
        rail: false,
    };
    let principal = audit::AuditPrincipal {
        kind: audit::PrincipalKind::Subject.into(),
        issuer: "https://issuer.example".to_owned(),
        subject: customer.to_owned(),
        customer_id: customer.to_owned(),
        ..audit::AuditPrincipal::default()
    };
    let call = audit::AuditEvent {
        transaction_id: Uuid::now_v7().to_string(),
        rpc: format!("ledger.v1.LedgerService/{method}"),
        principal: Some(principal),
        ..audit::AuditEvent::default()
    };
    let witness = Witness { id: Uuid::now_v7(), call: call.encode_to_vec() };
    let seed = Seed { nonce: rand::random(), salt: rand::random() };
    Command { actor, seed, witness: Some(witness), linked: false, validate_only: false, action }
}

/// Takes whatever is shipped to it.
struct Keeper(Outbox);

impl chassis::outbox::Outbox for Keeper {
    type Entry = Stored;
    type Error = sqlx::Error;

    async fn pending(&self, max: usize) -> Result<Vec<Stored>, sqlx::Error> {
        self.0.pending(max).await
    }

    async fn ship(&self, _: &[Stored]) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn remove(&self, entries: &[Stored]) -> Result<(), sqlx::Error> {
        let mut rows: Vec<i64> = entries.iter().map(|entry| entry.row).collect();
        rows.dedup();
        self.0.remove(&rows).await
    }
}
