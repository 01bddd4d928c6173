//! svc-docs: documents of customers, their content, statements of accounts, and the audit events of the mesh, on MongoDB.
//!
//! It promises: content is replaced as a whole or not at all, and what is downloaded is what was uploaded, by its hash. A
//! repeated request makes one document. A statement is written only if the ledger's opening balance and every entry lead to
//! the ledger's closing balance, and its content never changes afterwards. An audit event, once kept, stays as it is; one of this
//! service's own calls is kept in the transaction of its effect. A document that the caller may not see does not
//! exist for them.
//!
//! Read `domain` for the rules, `store` for what MongoDB holds, then `rpc`; `rpc/statement` is where the ledger is asked.
pub mod config;
pub mod domain;
pub mod error;
mod metrics;
pub mod rpc;
pub mod store;

use anyhow::Context as _;
use proto::docs::v1::docs_service_server::DocsServiceServer;
use proto::docs::v1::journal_head_service_server::JournalHeadServiceServer;
use proto::edge::v1::audit_service_server::AuditServiceServer;

/// The service, as the chassis runs it.
pub struct Docs {
    rpc: rpc::DocsRpc,
    keeper: rpc::audit::Keeper,
    heads: rpc::heads::Heads,
}

impl chassis::run::Service for Docs {
    const NAME: &'static str = "svc-docs";
    type Config = config::Config;

    async fn start(config: &Self::Config, start: chassis::run::Start) -> anyhow::Result<Self> {
        start.health.set_ready("store", false);
        let store = store::Store::connect(&config.store).await.context("mongodb")?;
        start.health.set_ready("store", true);
        watch(&store, &start);
        sweep(&store, &start);
        let keeper = rpc::audit::Keeper::new(store.clone());
        let heads = rpc::heads::Heads::new(store.clone());
        let rpc = rpc::DocsRpc::new(store, start.edge, &start.metrics, config.content.bytes_max);
        Ok(Self { rpc, keeper, heads })
    }

    fn routes(&self) -> tonic::service::Routes {
        tonic::service::Routes::new(DocsServiceServer::new(self.rpc.clone()))
            .add_service(AuditServiceServer::new(self.keeper.clone()))
            .add_service(JournalHeadServiceServer::new(self.heads.clone()))
    }
}

/// Readiness follows MongoDB.
fn watch(store: &store::Store, start: &chassis::run::Start) {
    let (store, health, stopping) = (store.clone(), start.health.clone(), start.drain.stopping());
    start.drain.spawn("mongodb monitor", async move {
        tokio::select! {
            () = store.monitor(|up| health.set_ready("store", up)) => {}
            () = stopping => {}
        }
    });
}

/// Files that no document has come to hold are removed in the background.
fn sweep(store: &store::Store, start: &chassis::run::Start) {
    let (store, stopping) = (store.clone(), start.drain.stopping());
    start.drain.spawn("loose files", async move {
        tokio::select! {
            () = store.sweep_for_ever() => {}
            () = stopping => {}
        }
    });
}
