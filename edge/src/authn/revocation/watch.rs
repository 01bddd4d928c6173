//! Follows `edge.v1.RevocationService/Watch`. The stream is begun anew whenever it breaks, with a growing pause; until it is back
//! tokens are believed as before, because a provider that is away must not turn everybody away. How long that lasts is seen in
//! `authn_revocation_watching` and bounded by how long tokens live.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chassis::backoff::Backoff;
use chassis::drain::Drain;
use proto::edge::v1::revocation_service_client::RevocationServiceClient;
use proto::edge::v1::{Revocation, WatchRequest, WatchResponse};
use tokio::time::{sleep, timeout};
use tonic::{Status, Streaming};

use super::{Revocations, TokenId};
use crate::provider::Provider;

/// A provider shows that it lives within a minute (its policy's idle time); half a minute more is for the way.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// The pause after a break, from the first to the last.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the provider refused or broke off")]
    Status(#[from] Status),
    #[error("the provider has ended the stream")]
    Ended,
    #[error("nothing was heard for {SILENCE_MAX:?}")]
    Silent,
}

impl Revocations {
    /// Follows what `provider` says is revoked until the drain. A provider goes where the configuration says; a stream that has
    /// begun elsewhere is heard to its end.
    pub(in crate::authn) fn follow(self: &Arc<Self>, provider: Provider, drain: &Drain) {
        let (revocations, stopping) = (Arc::clone(self), drain.stopping());
        drain.spawn("revocations", async move {
            tokio::select! {
                () = stopping => (),
                () = revocations.follow_on(provider.streaming()) => (),
            }
        });
    }

    async fn follow_on(&self, provider: Provider) {
        let mut client = RevocationServiceClient::new(provider);
        let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        loop {
            let mut complete = false;
            let broken = match timeout(SILENCE_MAX, client.watch(WatchRequest {})).await {
                Ok(Ok(answer)) => self.take(answer.into_inner(), &mut complete).await,
                Ok(Err(status)) => status.into(),
                Err(_) => Broken::Silent,
            };
            self.metrics.watching.set(0);
            self.metrics.breaks.inc();
            if complete {
                backoff.reset();
            }
            tracing::warn!(
                error = chassis::error::chain(&broken),
                "revocations are not followed, tokens are believed as before"
            );
            sleep(backoff.pause()).await;
        }
    }

    /// Takes in what a stream tells until it breaks.
    async fn take(&self, mut stream: Streaming<WatchResponse>, complete: &mut bool) -> Broken {
        loop {
            let message = match timeout(SILENCE_MAX, stream.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Broken::Ended,
                Ok(Err(status)) => return status.into(),
                Err(_) => return Broken::Silent,
            };
            self.add(message.revocations.iter().filter_map(read), SystemTime::now());
            if message.complete && !*complete {
                *complete = true;
                self.metrics.watching.set(1);
                tracing::info!("revocations are followed");
            }
        }
    }
}

/// A revocation without a time counts for nothing: its provider has to say how long to keep it.
fn read(revocation: &Revocation) -> Option<(TokenId, SystemTime)> {
    let expires_at = SystemTime::try_from(revocation.expire_time?).ok()?;
    Some((TokenId::new(&revocation.issuer, &revocation.token_id), expires_at))
}
