//! The way of the events to their keeper: in batches, again and again until they are kept, while the queue behind them fills and
//! then loses. Backpressure has no place here, for nobody may wait on it.

use std::time::Duration;

use chassis::backoff::Backoff;
use chassis::drain::Drain;
use proto::edge::v1::audit_service_client::AuditServiceClient;
use proto::edge::v1::{AppendRequest, AuditEvent};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::{Code, Request};

use super::Numbers;
use crate::snapshot::Current;

/// Events in one request; the contract takes 500, and one that large is rare.
const BATCH_MAX: usize = 200;
/// The budget of one request.
const APPEND: Duration = Duration::from_secs(5);
/// Waits after failures, from the first to the last: a keeper that restarts is found soon, a dead one costs nothing.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_LAST: Duration = Duration::from_secs(30);
/// How long a process that stops goes on trying. Its requests in flight have more.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Sends what comes until the last handle has gone. After the stop a keeper that is away gets no more than [`LAST_WORDS`].
pub(super) async fn run(
    mut events: mpsc::Receiver<AuditEvent>,
    current: Current,
    drain: Drain,
    numbers: Numbers,
) {
    let mut batch = Vec::new();
    loop {
        if events.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return;
        }
        let given_up = async {
            drain.stopping().await;
            sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = deliver(&current, &batch, &numbers) => batch.clear(),
            () = given_up => break,
        }
    }
    events.close();
    let mut lost = batch.len() as u64;
    while events.recv().await.is_some() {
        lost += 1;
    }
    numbers.dropped.inc_by(lost);
    tracing::warn!(lost, "audit events were not kept before the end");
}

/// Sends events until each is kept or refused for what it is.
async fn deliver(current: &Current, events: &[AuditEvent], numbers: &Numbers) {
    let Err(code) = insist(current, events).await else {
        numbers.shipped.inc_by(events.len() as u64);
        return;
    };
    if let [event] = events {
        numbers.dropped.inc();
        tracing::error!(rpc = event.rpc, ?code, "an audit event was refused by its keeper");
        return;
    }
    // One that cannot be kept must not take the others along.
    for event in events {
        Box::pin(deliver(current, std::slice::from_ref(event), numbers)).await;
    }
}

/// Sends events until they are kept; an error when they never will be. Who keeps them may change with the configuration.
async fn insist(current: &Current, events: &[AuditEvent]) -> Result<(), Code> {
    let mut backoff = Backoff::new(WAIT_FIRST, WAIT_LAST);
    loop {
        let keeper = current.load().providers.audit.clone();
        let mut client = AuditServiceClient::new(keeper.ok_or(Code::Unimplemented)?);
        let mut request = Request::new(AppendRequest { events: events.to_vec() });
        request.set_timeout(APPEND);
        let code = match timeout(APPEND, client.append(request)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(status)) if is_final(status.code()) => return Err(status.code()),
            Ok(Err(status)) => status.code(),
            Err(_) => Code::DeadlineExceeded,
        };
        tracing::warn!(?code, "audit events not kept");
        sleep(backoff.pause()).await;
    }
}

/// Whether the same events will be refused for ever. Everything else may pass: a keeper that is not ready yet, one that does not
/// let the edge in until its next configuration.
const fn is_final(code: Code) -> bool {
    match code {
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::AlreadyExists => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}
