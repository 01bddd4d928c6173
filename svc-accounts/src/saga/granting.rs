//! How the ledger comes to know of a consent: PENDING or REVOKING in the table, then the ledger's grant, then ACTIVE or
//! REVOKED in the table. What is told to the ledger is always the newest intent as the table has it, with its revision, so
//! that two replicas, or a process that was stopped for an hour, cannot bring back what was taken back.

use super::{Saga, Stuck, Work};
use crate::clock;
use crate::domain::Consent;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::store::{ConsentName, Store, WaitingPage};

/// The granting of consents, and their revocation. Clones share everything.
#[derive(Debug, Clone)]
pub struct Granting {
    /// Where consents wait.
    pub store: Store,
    /// Judges by them.
    pub ledger: Ledger,
}

/// Drives grants and revocations on.
pub type Grantings = Saga<Granting>;

impl Work for Granting {
    const NAME: &'static str = "granting";
    type Id = ConsentName;
    type Record = Consent;

    async fn waiting(
        &self,
        after: Option<ConsentName>,
        limit: usize,
    ) -> Result<WaitingPage<ConsentName>, Error> {
        self.store.grantings(after.map(|name| name.id), limit).await
    }

    async fn advance(&self, name: ConsentName) -> Result<Consent, Stuck> {
        let consent = self.store.consent(name).await?.ok_or(Stuck::Missing)?;
        let now = clock::now();
        let Some(settled) = consent.settled(now) else {
            return Ok(consent);
        };
        if consent.concerns_the_ledger(now) {
            self.ledger.set_grant(&consent).await?;
        }
        self.store.settle_consent(&consent, &settled).await?.ok_or(Stuck::Missing)
    }
}
