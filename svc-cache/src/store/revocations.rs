//! What was revoked, in the order in which it was. Whoever follows asks again and again for what came after the last it has
//! read: the first answers are everything that still counts, the later ones the changes, and there is no moment between the two
//! in which something could be missed. Messages that Redis publishes would be lost with their connection, and a blocking read
//! would hold a connection of its own for each follower.
use super::events::EVENTS;
use super::{Store, StoreError};
use crate::domain::Revocation;

/// The keys, in one slot of a cluster.
const PLACES: &str = "cache:{revocations}:places";
const EXPIRIES: &str = "cache:{revocations}:expiries";
const LAST: &str = "cache:{revocations}:last";

/// How many are read at once. With names of the largest size that is a quarter of a megabyte.
const PAGE: usize = 500;

/// What came after a place in the order of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Where to go on.
    pub place: u64,
    /// What still counts of it.
    pub revocations: Vec<Revocation>,
    /// Whether there was no more at that moment.
    pub complete: bool,
}

impl Store {
    /// Revokes a token, and leaves the event of it for its keeper. Says whether that is news: it was not revoked, or for a shorter
    /// time. What is no news leaves no event.
    pub async fn revoke(&self, revocation: &Revocation, event: &[u8]) -> Result<bool, StoreError> {
        let mut call = self.scripts.revoke.key(PLACES);
        call.key(EXPIRIES).key(LAST).key(EVENTS);
        call.arg(revocation.token()).arg(revocation.expires_ms).arg(event);
        self.run(&call).await
    }

    /// What was revoked after a place; everything, after 0.
    pub async fn revoked_after(&self, place: u64) -> Result<Changes, StoreError> {
        let mut call = self.scripts.follow.key(PLACES);
        call.key(EXPIRIES).arg(place).arg(PAGE);
        let (place, read, tokens): (u64, usize, Vec<(String, u64)>) = self.run(&call).await?;
        let revocations = tokens.iter().filter_map(|(token, expires_ms)| Revocation::of(token, *expires_ms));
        Ok(Changes { place, revocations: revocations.collect(), complete: read < PAGE })
    }
}
