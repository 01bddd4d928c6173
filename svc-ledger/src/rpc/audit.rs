//! Ships the ledger's audit events to whoever keeps them (`edge.v1.AuditService`), through the edge and as the service: an event
//! already says who stood behind its call.

use std::time::Duration;

use chassis::edge_channel::EdgeChannel;
use proto::edge::v1::AppendRequest;
use proto::edge::v1::audit_service_client::AuditServiceClient;

use super::convert::audit::event;
use crate::store::outbox::{Outbox, Stored};

/// How long one message of events may take. Nobody waits for it.
const BUDGET: Duration = Duration::from_secs(10);

/// The way from the outbox to the keeper.
#[derive(Debug)]
pub struct Shipper {
    /// Where the events lie.
    pub outbox: Outbox,
    /// The way out.
    pub edge: EdgeChannel,
}

/// Why events stay in the box.
#[derive(Debug, thiserror::Error)]
pub enum Stuck {
    /// The box cannot be read or emptied.
    #[error("the outbox: {0}")]
    Store(#[from] sqlx::Error),
    /// An event that the ledger cannot have written.
    #[error("an unreadable event: {0}")]
    Unreadable(#[from] prost::DecodeError),
    /// The keeper did not take them.
    #[error("the keeper: {0}")]
    Keeper(Box<tonic::Status>),
}

impl chassis::outbox::Outbox for Shipper {
    type Entry = Stored;
    type Error = Stuck;

    async fn pending(&self, max: usize) -> Result<Vec<Stored>, Stuck> {
        Ok(self.outbox.pending(max).await?)
    }

    async fn ship(&self, entries: &[Stored]) -> Result<(), Stuck> {
        let events = entries.iter().map(event).collect::<Result<_, _>>()?;
        let mut keeper = AuditServiceClient::new(self.edge.as_service(BUDGET));
        let kept = keeper.append(AppendRequest { events }).await;
        kept.map(|_| ()).map_err(|status| Stuck::Keeper(Box::new(status)))
    }

    async fn remove(&self, entries: &[Stored]) -> Result<(), Stuck> {
        let mut rows: Vec<_> = entries.iter().map(|entry| entry.row).collect();
        rows.dedup();
        Ok(self.outbox.remove(&rows).await?)
    }
}
