//! Signs the head every few seconds and sends it to its keeper (`docs.v1.JournalHeadService`), through the edge and as the service.
//! What has left the ledger's own store cannot be taken back by whoever could rewrite that store.

use std::time::Duration;

use chassis::backoff::Backoff;
use chassis::drain::Drain;
use chassis::edge_channel::EdgeChannel;
use chassis::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use proto::docs::v1::AppendJournalHeadsRequest;
use proto::docs::v1::journal_head_service_client::JournalHeadServiceClient;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::convert;
use crate::signing::Signer;
use crate::store::heads::{Heads, NotSigned};

/// How long one message of heads may take. Nobody waits for it.
const BUDGET: Duration = Duration::from_secs(10);
/// Heads in one message: after a long silence of the keeper's there are some thousands.
const HEADS_MAX: i64 = 200;
/// The longest a round may take. A store that hangs is a failure like any other.
const ROUND_LONGEST: Duration = Duration::from_secs(60);
/// The first pause after a failure; it doubles up to the longest, so that a dead keeper costs nothing.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LONGEST: Duration = Duration::from_secs(60);

/// What signs and sends.
#[derive(Debug)]
pub struct Exporter {
    /// Heads of the store.
    pub heads: Heads,
    /// The key.
    pub signer: Signer,
    /// The way out.
    pub edge: EdgeChannel,
    /// How often.
    pub every: Duration,
}

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    #[error("{0}")]
    Sign(#[from] NotSigned),
    #[error("the box: {0}")]
    Store(#[from] sqlx::Error),
    #[error("the keeper: {0}")]
    Keeper(Box<tonic::Status>),
}

impl Exporter {
    /// Signs and sends until the drain. What is not sent by then lies in the store, for the next process or another replica.
    pub fn start(self, drain: &Drain, metrics: &Metrics) {
        let (signed, failures) = (Counter::default(), Counter::default());
        metrics.register("journal_heads_signed", "Heads of the journal signed", signed.clone());
        let help = "Rounds of signing and sending heads that failed and will be repeated";
        metrics.register("journal_heads_failures", help, failures.clone());
        let stopping = drain.stopping();
        drain.spawn("journal-heads", async move {
            tokio::pin!(stopping);
            let working = self.work(&signed, &failures);
            tokio::select! {
                () = &mut stopping => (),
                () = working => (),
            }
        });
    }

    async fn work(&self, signed: &Counter, failures: &Counter) {
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
        loop {
            match timeout(ROUND_LONGEST, self.round(signed)).await {
                Ok(Ok(())) => {
                    backoff.reset();
                    sleep(self.every).await;
                    continue;
                }
                Ok(Err(error)) => self.complain(&error),
                Err(_) => tracing::warn!("heads of the journal were not signed and sent in time"),
            }
            failures.inc();
            sleep(backoff.pause()).await;
        }
    }

    async fn round(&self, signed: &Counter) -> Result<(), Stuck> {
        if self.heads.sign(&self.signer).await?.is_some() {
            signed.inc();
        }
        loop {
            let pending = self.heads.pending(HEADS_MAX).await?;
            if pending.is_empty() {
                return Ok(());
            }
            let heads = pending.iter().map(convert::proof::head).collect();
            let mut keeper = JournalHeadServiceClient::new(self.edge.as_service(BUDGET));
            let kept = keeper.append_journal_heads(AppendJournalHeadsRequest { heads }).await;
            kept.map_err(|status| Stuck::Keeper(Box::new(status)))?;
            self.heads.remove(&pending).await?;
        }
    }

    /// Two of these are no outage: somebody has changed what never changes.
    fn complain(&self, error: &Stuck) {
        let rewritten = match error {
            Stuck::Sign(NotSigned::Broken { .. }) => true,
            Stuck::Keeper(status) => status.code() == Code::AlreadyExists,
            Stuck::Sign(NotSigned::Store(_)) | Stuck::Store(_) => false,
        };
        if rewritten {
            tracing::error!(%error, "THE JOURNAL IS NOT WHAT WAS SIGNED: verify it, and keep what there is as evidence");
        } else {
            tracing::warn!(%error, "heads of the journal were not signed and sent");
        }
    }
}
