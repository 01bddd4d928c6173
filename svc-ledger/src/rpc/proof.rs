//! Verification of the whole journal as a call. It is the same pass as that of the command line, on a connection of its own, and
//! lives no longer than its caller listens.

use std::sync::Arc;

use chassis::call::{Call, Principal};
use futures::{FutureExt as _, StreamExt as _, stream};
use proto::ledger::v1 as pb;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Semaphore, mpsc};
use tonic::Status;

use super::journal::Stream;
use super::{Rpc, convert};
use crate::error::Error;
use crate::store::verify::{self, Evidence};

/// Of an auditor's token.
const AUDITOR: &str = "audit.read";

/// Where the whole journal is read, by one at a time: a second reader would only take what the first one needs.
#[derive(Clone, Debug)]
pub(super) struct Verification {
    journal: PgConnectOptions,
    one: Arc<Semaphore>,
}

impl Verification {
    pub(super) fn new(journal: PgConnectOptions) -> Self {
        Self { journal, one: Arc::new(Semaphore::new(1)) }
    }
}

/// Whether the caller's token is an auditor's.
pub(super) fn is_auditor(call: &Call) -> bool {
    matches!(&call.caller.principal, Principal::Subject(subject) if subject.scopes.contains(AUDITOR))
}

impl Rpc {
    /// Verifies the journal while the caller listens.
    pub(super) fn verify(&self, call: &Call) -> Result<Stream<pb::VerifyJournalResponse>, Error> {
        if !is_auditor(call) {
            return Err(Error::NotPermitted);
        }
        let Verification { journal, one } = self.verification.clone();
        let turn = one.try_acquire_owned().map_err(|_| Error::VerificationRunning)?;
        // A word for every so many rows, and findings up to a limit: bounded by the journal, and taken out as it is put in,
        // because one task does both.
        let (out, words) = mpsc::unbounded_channel();
        let pass = async move {
            let told = out.clone();
            let verified =
                verify::verify(&journal, Evidence::NONE, move |progress| told.send(Ok(progress)).is_ok())
                    .await;
            if let Err(error) = verified {
                // Nobody listens any more: then nobody wants to know.
                let _ = out.send(Err(Error::reading(error)));
            }
            drop(turn);
        };
        let words = tokio_stream::wrappers::UnboundedReceiverStream::new(words)
            .map(|word| word.map(convert::proof::progress).map_err(Status::from));
        let working = pass.into_stream().filter_map(|()| std::future::ready(None));
        Ok(Box::pin(stream::select(words, working)))
    }
}
