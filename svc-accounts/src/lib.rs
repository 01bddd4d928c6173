//! Customers and their accounts: who holds what, under which IBAN, how far each account is in its life, and whom its holder
//! has let in. Owns the DynamoDB table and nothing else; what an account holds is the ledger's to say.
//!
//! Reading order: `domain` (what customers, accounts and consents are), `store` (the table), `ledger` and `cache` (the two
//! other services it calls, across the edge), `saga` (how an account becomes active, or frozen, or closed, and a consent known), `rpc` (the contract).
//!
//! Promises:
//! * A write happens once for each principal and request id, for ever, and all of its items are written or none.
//! * An email belongs to one customer and an IBAN to one account; the table keeps a mark of the address in its key, not
//!   the address.
//! * An account that was answered OPENING becomes ACTIVE by itself, whatever stops in between.
//! * An account that was answered FROZEN or CLOSED is that in the ledger; a refused change leaves what was before.
//! * Who pays learns of a payee's account no more than that a name is, or nearly is, its holder's.
//! * A consent that was taken back allows nothing from the first write on, and the answer says so only once the ledger knows.
//! * Whatever an audited RPC does leaves its audit event in the same transaction, once, and it reaches whoever keeps it.
//! * What a caller may touch is read from the table; the cache only makes answers faster, and its absence only slower.

mod cache;
mod clock;
pub mod config;
pub mod domain;
pub mod error;
mod health;
mod ledger;
mod rpc;
mod saga;
mod store;
#[cfg(test)]
mod tests;
mod timestamp;

use anyhow::Context as _;
use chassis::run::{Service, Start};
use prometheus_client::metrics::gauge::Gauge;
use proto::accounts::v1::accounts_service_server::AccountsServiceServer;
use tonic::service::Routes;

use cache::Cache;
use config::{Config, millis};
use domain::Seal;
use ledger::Ledger;
use rpc::{Audit, Payees, Rpc};
use saga::{Changing, Granting, Opening, Saga, Work};
use store::Store;

/// What payee tokens are sealed for; svc-ledger opens them by the same word.
const PAYEE: &str = "ledger payee";

/// The service.
#[derive(Debug)]
pub struct Accounts {
    rpc: Rpc,
}

impl Service for Accounts {
    const NAME: &'static str = "svc-accounts";
    type Config = Config;

    async fn start(config: &Config, start: Start) -> anyhow::Result<Self> {
        start.health.set_ready(health::STORE, false);
        let key = config.store.email_key_file.read().context("[store] email_key_file")?;
        let seal = Seal::new(key.expose_bytes()).context("[store] email_key_file")?;
        let store = Store::connect(&config.store, seal).await?;
        start.health.set_ready(health::STORE, true);

        let cache = Cache::new(start.edge.clone(), start.drain.clone(), &config.cache, &start.metrics);
        let ledger = Ledger::new(start.edge.clone(), millis(config.opening.ledger_ms));
        let opening = Opening { store: store.clone(), ledger, cache: cache.clone() };
        let name = ("accounts_openings_waiting", "Accounts that wait for the ledger");
        let openings = driven(opening, &config.opening, name, &start);
        let ledger = Ledger::new(start.edge.clone(), millis(config.changing.ledger_ms));
        let changing = Changing { store: store.clone(), ledger, cache: cache.clone() };
        let name = ("accounts_changes_waiting", "Accounts that are to change and wait for the ledger");
        let changings = driven(changing, &config.changing, name, &start);
        let ledger = Ledger::new(start.edge.clone(), millis(config.granting.ledger_ms));
        let granting = Granting { store: store.clone(), ledger };
        let name = ("accounts_consents_waiting", "Consents whose newest intent waits for the ledger");
        let grantings = driven(granting, &config.granting, name, &start);

        let audit = Audit::start(&store, &start);
        let drain = &start.drain;
        let period = millis(config.store.probe_ms);
        let watch = health::watch(store.clone(), start.health.clone(), period, drain.stopping());
        drain.spawn("store health", watch);

        let seal = chassis::seal::Seal::load(&config.payee.keys, PAYEE).context("[payee] keys")?;
        seal.watch(drain);
        let payees = Payees { seal, token_s: config.payee.token_s };

        let ibans = config.bank.iban_range()?;
        let currencies = config.bank.currencies.clone().into();
        let overdraft_limit_max = config.bank.overdraft_limit_max_minor_units;
        let consent_days_max = config.bank.consent_days_max;
        Ok(Self {
            rpc: Rpc {
                store,
                cache,
                openings,
                changings,
                grantings,
                payees,
                audit,
                ibans,
                currencies,
                overdraft_limit_max,
                consent_days_max,
            },
        })
    }

    fn routes(&self) -> Routes {
        Routes::new(AccountsServiceServer::new(self.rpc.clone()))
    }
}

/// A saga whose sweep runs until the drain, with the number of works it finds under `name`.
fn driven<W: Work>(
    work: W,
    config: &config::Saga,
    (name, help): (&'static str, &'static str),
    start: &Start,
) -> Saga<W> {
    let waiting = Gauge::default();
    start.metrics.register(name, help, waiting.clone());
    let saga = Saga::new(work, config.clone(), waiting);
    start.drain.spawn(W::NAME, saga.clone().sweep(start.drain.stopping()));
    saga
}
