//! The ledger: the only truth about money.
//!
//! Owns accounts' balances, transfers and the journal they leave, in PostgreSQL. Promises: every transfer debits and credits the
//! same amount; an available balance never falls below its floor; one `request_id` has one outcome for ever, refusals
//! included; an `OK` is durable; the journal is append-only, gapless and hash-chained, and any moment of it can be read again; a
//! judged call of an audited RPC has left an event for the audit in the transaction of its effect.
//!
//! Reading order: [`domain`] (the rules, pure), [`domain::judge`] first; [`store`] (batches under the head lock, reads);
//! [`rpc`] (the contract, decoded and encoded); [`config`]; [`error`].

pub mod check;
pub mod cli;
pub mod config;
pub mod domain;
pub mod error;
pub mod expiry;
pub mod rpc;
pub mod signing;
pub mod store;

use anyhow::Context as _;
use chassis::run::Start;
use chassis::seal::Seal;
use proto::ledger::v1::journal_service_server::JournalServiceServer;
use proto::ledger::v1::ledger_service_server::LedgerServiceServer;

use crate::domain::account::{Purpose, house_account};
use crate::domain::command::{Action, Actor, Command, Open, Seed};
use crate::domain::currency::Currency;
use crate::domain::request::Scope;
use crate::domain::verdict::Verdict;
use crate::signing::Signer;
use crate::store::Store;
use crate::store::heads::Heads;
use crate::store::outbox::Outbox;

/// The service.
pub struct Ledger {
    rpc: rpc::Rpc,
}

impl chassis::run::Service for Ledger {
    const NAME: &'static str = "svc-ledger";
    type Config = config::Config;

    async fn start(config: &config::Config, start: Start) -> anyhow::Result<Self> {
        let offered = config.ledger.offered()?;
        let store = Store::start(&config.store, &start.drain, &start.health, &start.metrics).await?;
        open_house_accounts(&store, &offered).await?;
        let outbox = Outbox::new(&config.store)?;
        let shipper = rpc::audit::Shipper { outbox, edge: start.edge.clone() };
        store.announce(chassis::outbox::start(shipper, &start.drain, &start.metrics));
        expiry::start(store.clone(), &start.drain);
        let signer = Signer::load(&config.proof.signing_key).context("proof.signing_key")?;
        let heads = Heads::new(&config.store)?;
        let every = config.proof.sign_every();
        rpc::heads::Exporter { heads, signer, edge: start.edge, every }.start(&start.drain, &start.metrics);
        let payees = Seal::load(&config.payee.keys, rpc::payee::PURPOSE).context("payee.keys")?;
        payees.watch(&start.drain);
        Ok(Self { rpc: rpc::Rpc::new(store, offered).paying(payees).of_bank(config.ledger.clone()) })
    }

    fn routes(&self) -> tonic::service::Routes {
        tonic::service::Routes::new(LedgerServiceServer::new(self.rpc.clone()))
            .add_service(JournalServiceServer::new(self.rpc.clone()))
    }
}

/// Opens the bank's own accounts in every currency offered; those that are open already stay as they are.
///
/// # Errors
/// When the store is away, or an account of that id exists and is something else.
pub async fn open_house_accounts(store: &Store, offered: &[Currency]) -> anyhow::Result<()> {
    for &currency in offered {
        for purpose in Purpose::HOUSE {
            let open = Open {
                id: house_account(purpose, currency),
                currency,
                purpose,
                chart: purpose.chart(),
                floor: None,
                ceiling: None,
                customers: Vec::new(),
                state_revision: 0,
            };
            let command = own_command(Action::Open(open));
            let verdict = store.submit(command).await.context("cannot open the bank's own accounts")?;
            anyhow::ensure!(
                matches!(verdict, Verdict::Opened(_)),
                "the bank's own account {purpose:?} in {currency:?} is not what it should be: {verdict:?}"
            );
        }
    }
    Ok(())
}

/// A command that the ledger gives itself.
fn own_command(action: Action) -> Command {
    Command {
        actor: Actor {
            scope: Scope::of("service:svc-ledger"),
            staff: false,
            customer: None,
            partner: None,
            rail: false,
        },
        seed: Seed { nonce: rand::random(), salt: rand::random() },
        witness: None,
        linked: false,
        validate_only: false,
        action,
    }
}
