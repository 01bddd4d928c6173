//! Ships audit events to whoever keeps them (`edge.v1.AuditService`), through the edge and as the service: an event already says who
//! stood behind its call.
use std::time::Duration;

use chassis::edge_channel::EdgeChannel;
use proto::edge::v1::AppendRequest;
use proto::edge::v1::audit_service_client::AuditServiceClient;

use super::convert;
use crate::store::{Store, StoreError};

/// How long one message of events may take. Nobody waits for it.
const BUDGET: Duration = Duration::from_secs(10);

/// The way from the box to the keeper.
pub struct Shipper {
    /// Where the events lie.
    pub store: Store,
    /// The way out.
    pub edge: EdgeChannel,
}

/// Why events stay in the box.
#[derive(Debug, thiserror::Error)]
pub enum Stuck {
    #[error("the box: {0}")]
    Store(#[from] StoreError),
    #[error("the keeper: {0}")]
    Keeper(Box<tonic::Status>),
}

impl chassis::outbox::Outbox for Shipper {
    type Entry = Vec<u8>;
    type Error = Stuck;

    async fn pending(&self, max: usize) -> Result<Vec<Vec<u8>>, Stuck> {
        Ok(self.store.events(max).await?)
    }

    async fn ship(&self, entries: &[Vec<u8>]) -> Result<(), Stuck> {
        // What cannot be read was not written here; it is dropped, and does not keep the others.
        let events: Vec<_> = entries.iter().filter_map(|entry| convert::audit::read(entry)).collect();
        if events.len() < entries.len() {
            tracing::error!(count = entries.len() - events.len(), "audit events that cannot be read");
        }
        if events.is_empty() {
            return Ok(());
        }
        let mut keeper = AuditServiceClient::new(self.edge.as_service(BUDGET));
        let kept = keeper.append(AppendRequest { events }).await;
        kept.map(|_| ()).map_err(|status| Stuck::Keeper(Box::new(status)))
    }

    async fn remove(&self, entries: &[Vec<u8>]) -> Result<(), Stuck> {
        Ok(self.store.forget(entries).await?)
    }
}
