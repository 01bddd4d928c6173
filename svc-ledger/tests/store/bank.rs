//! A bank on a test's own server: accounts, people, and the words tests speak. Also the checks that hold after whatever was
//! done to it.

use std::collections::HashMap;
use std::time::Duration;

use chassis::drain::Drain;
use chassis::health::Health;
use chassis::metrics::Metrics;
use sqlx::PgConnection;
use svc_ledger::config;
use svc_ledger::domain::account::{Amount, Purpose, house_account};
use svc_ledger::domain::audit::Witness;
use svc_ledger::domain::command::{
    self, Action, Actor, AmountMode, Command, Condition, Detail, Open, Pending, Request, Resolution, Resolve,
    Seed, Transfer,
};
use svc_ledger::domain::currency::Currency;
use svc_ledger::domain::grant::{self, Grant, Terms};
use svc_ledger::domain::request::{BodyHash, Key, Operation, Scope};
use svc_ledger::domain::verdict::{self, Verdict};
use svc_ledger::error::Error;
use svc_ledger::store::Store;
use svc_ledger::store::read::{Named, Viewer};
use svc_ledger::store::verify;
use uuid::Uuid;

use crate::postgres::Postgres;

/// A ledger and the process parts it stands on.
pub struct Bank {
    pub store: Store,
    pub drain: Drain,
    pub health: Health,
    pub config: config::Store,
}

/// The currency of these tests.
pub fn eur() -> Currency {
    Currency::parse("EUR").unwrap()
}

/// A customer, by name.
pub fn customer(name: &str) -> Actor {
    let scope = Scope::of(&format!("subject:test:{name}"));
    Actor { scope, staff: false, customer: Some(name.to_owned()), partner: None, rail: false }
}

/// A member of staff, by name.
pub fn staff(name: &str) -> Actor {
    let scope = Scope::of(&format!("subject:test:{name}"));
    Actor { scope, staff: true, customer: None, partner: None, rail: false }
}

/// Of every command of these tests.
pub fn witness() -> Witness {
    Witness { id: Uuid::now_v7(), call: b"call".to_vec() }
}

/// A partner that acts for a customer.
pub fn partner(partner: &str, name: &str) -> Actor {
    let scope = Scope::of(&format!("partner:{partner}:subject:test:{name}"));
    Actor { scope, partner: Some(partner.to_owned()), ..customer(name) }
}

/// A consent without caps for as long as these tests may run, under revision 1.
pub fn consent(partner: &str, scopes: &[grant::Scope]) -> Terms {
    Terms {
        consent: Uuid::now_v7(),
        partner: partner.to_owned(),
        scopes: scopes.iter().copied().collect(),
        per_transfer_max: None,
        total_max: None,
        expires_at: 4_102_444_800_000,
        revision: 1,
    }
}

/// A transfer to be.
#[derive(Clone)]
pub struct Move {
    pub from: Uuid,
    pub to: Uuid,
    pub amount: i64,
    pub pending: bool,
    pub reference: &'static str,
}

/// A direct transfer without a text.
pub fn direct(from: Uuid, to: Uuid, amount: i64) -> Move {
    Move { from, to, amount, pending: false, reference: "" }
}

/// A hold without a text.
pub fn hold(from: Uuid, to: Uuid, amount: i64) -> Move {
    Move { pending: true, ..direct(from, to, amount) }
}

pub fn settlement() -> Uuid {
    house_account(Purpose::Settlement, eur())
}

pub fn named(id: Uuid) -> Named {
    Named { id, name: id.to_string() }
}

impl Bank {
    /// A ledger on `server` with the bank's own accounts in euro.
    pub async fn on(server: &Postgres) -> Self {
        Self::with(&server.config()).await
    }

    /// The same, with a configuration of its own.
    pub async fn with(config: &config::Store) -> Self {
        let (drain, health) = (Drain::default(), Health::default());
        let store = Store::start(config, &drain, &health, &Metrics::default()).await.unwrap();
        svc_ledger::open_house_accounts(&store, &[eur()]).await.unwrap();
        Self { store, drain, health, config: config.clone() }
    }

    /// Opens an account of a customer.
    pub async fn open(&self, owner: &str, floor: i64) -> Uuid {
        let id = Uuid::new_v4();
        let verdict = self.submit(customer(owner), open_action(id, owner, floor)).await.unwrap();
        assert!(matches!(verdict, Verdict::Opened(account) if account.id == id && account.version == 1));
        id
    }

    pub async fn submit(&self, actor: Actor, action: Action) -> Result<Verdict, Error> {
        self.store.submit(command(actor, action)).await
    }

    /// Sets a grant, which must be accepted.
    pub async fn grant(&self, account: Uuid, terms: &Terms) -> Grant {
        let action = Action::Grant(command::Grant { account, terms: terms.clone() });
        let accounts = Actor { scope: Scope::of("service:svc-accounts"), ..staff("svc-accounts") };
        match self.submit(accounts, action).await.unwrap() {
            Verdict::Granted(grant) => grant,
            other => panic!("not granted: {other:?}"),
        }
    }

    pub async fn transfer(&self, actor: Actor, key: &str, transfer: &Move) -> Result<Verdict, Error> {
        let action = transfer_action(&actor, key, transfer);
        self.submit(actor, action).await
    }

    pub async fn resolve(
        &self,
        actor: Actor,
        key: &str,
        transfer: Uuid,
        resolution: Resolution,
    ) -> Result<Verdict, Error> {
        let key = Key { scope: actor.scope, request_id: key.to_owned() };
        let whole = format!("{resolution:?}");
        let fields: [&[u8]; 4] = [transfer.as_bytes(), whole.as_bytes(), &[], &[]];
        let count = if resolution.operation() == Operation::Post { 4 } else { 2 };
        let body = BodyHash::new(resolution.operation(), &key, &fields[..count]);
        let action = Action::Resolve(Request { key, body }, Resolve { transfer, resolution });
        self.submit(actor, action).await
    }

    /// Money enters: held by one member of staff, posted by another.
    pub async fn fund(&self, account: Uuid, amount: i64) {
        let key = Uuid::new_v4().to_string();
        let held = self.transfer(staff("anna"), &key, &hold(settlement(), account, amount)).await.unwrap();
        let posted = self.resolve(staff("bert"), &key, booked(held).id, Resolution::POST_ALL).await.unwrap();
        assert!(matches!(posted, Verdict::Recorded(_)), "{posted:?}");
    }

    /// Posted balance and available balance.
    pub async fn balance(&self, account: Uuid) -> (i64, i64) {
        let balance = self.store.balance(&Viewer::Staff, &named(account)).await.unwrap();
        (balance.posted, balance.available)
    }

    /// Stops the ledger as SIGTERM would.
    pub async fn stop(self) {
        self.drain.stop();
        assert!(self.drain.finished(Duration::from_secs(10)).await);
    }
}

/// A command as it comes from a caller.
pub fn command(actor: Actor, action: Action) -> Command {
    let seed = Seed { nonce: rand::random(), salt: rand::random() };
    Command { actor, seed, witness: Some(witness()), linked: false, validate_only: false, action }
}

pub fn open_action(id: Uuid, owner: &str, floor: i64) -> Action {
    Action::Open(Open {
        id,
        currency: eur(),
        purpose: Purpose::Customer,
        chart: Purpose::Customer.chart(),
        floor: Some(floor),
        ceiling: None,
        customers: vec![owner.to_owned()],
        state_revision: 1,
    })
}

/// A transfer as its caller's key stands for it.
pub fn transfer_action(actor: &Actor, key: &str, transfer: &Move) -> Action {
    let wanted = Transfer {
        debit: transfer.from,
        credit: transfer.to,
        amount: Amount::new(transfer.amount).unwrap(),
        mode: AmountMode::Exact,
        currency: eur(),
        pending: transfer.pending.then(Pending::default),
        value_date: None,
        debit_condition: Condition::default(),
        credit_condition: Condition::default(),
        exchange: None,
        hidden: false,
        detail: Detail::new(transfer.reference.to_owned(), None, rand::random()),
    };
    keyed_transfer(actor, key, wanted)
}

/// Any transfer; what its body holds beyond the plain fields is hashed as one.
pub fn keyed_transfer(actor: &Actor, key: &str, wanted: Transfer) -> Action {
    let key = Key { scope: actor.scope, request_id: key.to_owned() };
    let amount = wanted.amount.minor_units().to_be_bytes();
    let reference = wanted.detail.as_ref().map(|detail| detail.reference.clone()).unwrap_or_default();
    let rest = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        wanted.mode, wanted.value_date, wanted.debit_condition, wanted.credit_condition, wanted.exchange
    );
    let pending = format!("{:?}", wanted.pending);
    let mut fields: [&[u8]; 13] = [&[]; 13];
    fields[..4].copy_from_slice(&[
        wanted.debit.as_bytes(),
        wanted.credit.as_bytes(),
        &amount,
        reference.as_bytes(),
    ]);
    fields[4] = pending.as_bytes();
    fields[6] = rest.as_bytes();
    let body = BodyHash::new(Operation::Transfer, &key, &fields);
    Action::Transfer(Request { key, body }, wanted)
}

/// The transfer of a verdict that must have one.
pub fn booked(verdict: Verdict) -> verdict::Transfer {
    match verdict {
        Verdict::Booked(transfer) => transfer,
        other => panic!("not booked: {other:?}"),
    }
}

/// Whether the condition came to hold within a generous time.
pub async fn eventually(mut condition: impl AsyncFnMut() -> bool) -> bool {
    for _ in 0..1_000 {
        if condition().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// What must hold whatever has happened: money is neither made nor lost, versions have no gaps, every balance is that of the
/// last row about it, no customer's balance is below its floor at any version, and the chain leads from its first row to the
/// head.
pub async fn check_invariants(bank: &Bank, root: &mut PgConnection) {
    let (posted, pending): (Option<i64>, Option<i64>) = sqlx::query_as(
        "SELECT sum(cr_posted - dr_posted)::bigint, sum(cr_pending - dr_pending)::bigint FROM ledger.account",
    )
    .fetch_one(&mut *root)
    .await
    .unwrap();
    assert_eq!((posted, pending), (Some(0), Some(0)), "money was made or lost");
    type Side = (i64, i64, i64, i64, i64, Option<i64>);
    let sides: Vec<Side> = sqlx::query_as(
        "SELECT dr, dr_version, dr_posted, dr_held, dr_expected, floor FROM ledger.journal WHERE dr IS NOT NULL \
         UNION ALL \
         SELECT cr, cr_version, cr_posted, cr_held, cr_expected, NULL FROM ledger.journal WHERE kind NOT IN (4, 5) AND cr IS NOT NULL ORDER BY 1, 2",
    )
    .fetch_all(&mut *root)
    .await
    .unwrap();
    let mut last: HashMap<i64, Side> = HashMap::new();
    for side in sides {
        let (account, version, posted, held, _, floor) = side;
        assert_eq!(version, last.get(&account).map_or(0, |last| last.1) + 1, "account {account}");
        assert!(floor.is_none_or(|floor| posted - held >= floor), "account {account} at version {version}");
        last.insert(account, side);
    }
    let accounts: Vec<(i64, i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT no, version, cr_posted - dr_posted, dr_pending, cr_pending FROM ledger.account",
    )
    .fetch_all(&mut *root)
    .await
    .unwrap();
    for (no, version, posted, held, expected) in accounts {
        let (_, last_version, last_posted, last_held, last_expected, _) = last[&no];
        assert_eq!(
            (version, posted, held, expected),
            (last_version, last_posted, last_held, last_expected),
            "{no}"
        );
    }
    // Nothing of these tests ships events, so each accepted command still has its one, and each frozen refusal one of its own.
    let (unwitnessed, refusals, refused): (i64, i64, i64) = sqlx::query_as(
        "WITH event AS (SELECT e.id, e.reason FROM ledger.audit_outbox b CROSS JOIN LATERAL unnest(b.ids, b.reasons) e (id, reason)) \
         SELECT (SELECT count(*) FROM ledger.outcome o WHERE verdict = 0 AND NOT EXISTS \
         (SELECT FROM event e WHERE e.id = o.row_id AND e.reason IS NULL)), \
         (SELECT count(*) FROM ledger.outcome WHERE verdict <> 0), \
         (SELECT count(*) FROM event WHERE reason <> ALL ('{REQUEST_ID_REUSED,ACCOUNT_EXISTS,GRANT_EXISTS,STALE_REVISION,ACCOUNT_CLOSED,ACCOUNT_NOT_EMPTY,LIMIT_BREACHED}'))",
    )
    .fetch_one(&mut *root)
    .await
    .unwrap();
    assert_eq!((unwitnessed, refused), (0, refusals), "the audit was told too little or too much");
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ledger.journal").fetch_one(&mut *root).await.unwrap();
    assert_eq!(bank.store.verify_chain(Some(1)).await.unwrap(), rows);
    let mut findings = Vec::new();
    let source = verify::source(&bank.config).unwrap();
    let report = verify::verify(&source, verify::Evidence::NONE, |progress| {
        findings.extend(progress.findings);
        true
    });
    let report = report.await.unwrap().unwrap();
    assert_eq!(findings, [], "the journal does not replay to the tables");
    assert_eq!((report.rows, report.found), (rows, 0));
}
