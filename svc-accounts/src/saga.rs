//! How an account becomes active: OPENING in the table, then the ledger's side, then ACTIVE in the table. Each step may be
//! repeated, and the list of openings outlives the process, so whatever stops in between (this process, the ledger, the
//! edge) the opening goes on: first by the RPC that asked, then by the sweep of any replica. Two that drive the same
//! opening do the same work twice and no harm.

use std::collections::HashMap;
use std::time::Duration;

use chassis::error::{Failure as _, Kind};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tonic::Code;

use crate::cache::Cache;
use crate::clock;
use crate::config::{self, millis};
use crate::domain::{Account, AccountId, AccountState, UnixMillis};
use crate::error::Error;
use crate::ledger::{Ledger, LedgerError};
use crate::store::{Pending, Store};

/// Openings that a sweep reads at once. It reads on only while the ledger answers.
const PAGE: usize = 200;
/// Openings driven on at once by a sweep: a backlog after an outage must not take the ledger's capacity from payments.
pub const DRIVEN_MAX: usize = 8;
/// Pauses between the tries of the RPC that asked: the ledger is usually back in one of the first.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// The longest an opening that the ledger refused is left alone.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// Why an opening did not get to its end this time.
#[derive(Debug, thiserror::Error)]
pub enum Stuck {
    /// The table did not do its part.
    #[error("the store failed")]
    Store(#[from] Error),
    /// The ledger did not do its part.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is no such account.
    #[error("the account is not in the table")]
    Missing,
}

impl Stuck {
    /// Whether trying again soon gets nowhere.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Ledger(LedgerError::Refused(_)) | Self::Missing => true,
            Self::Ledger(LedgerError::Later(_)) => false,
            // An item that cannot be read, or a write that the table will never take.
            Self::Store(error) => matches!(error.kind(), Kind::Internal),
        }
    }

    /// Whether this opening was looked at, so that the next one may fare better; else whoever did not answer would not
    /// answer that one either.
    pub fn was_answered(&self) -> bool {
        let stumbled = match self {
            Self::Ledger(LedgerError::Later(code)) => {
                matches!(code, Code::Internal | Code::Unknown | Code::DataLoss | Code::Aborted)
            }
            Self::Ledger(LedgerError::Refused(_)) | Self::Store(_) | Self::Missing => false,
        };
        stumbled || self.needs_a_person()
    }
}

/// Drives openings on. Clones share everything.
#[derive(Debug, Clone)]
pub struct Saga {
    store: Store,
    ledger: Ledger,
    cache: Cache,
    config: config::Opening,
    waiting: Gauge,
}

impl Saga {
    /// A saga between the table and the ledger. `waiting` counts the openings that a sweep found.
    pub const fn new(
        store: Store,
        ledger: Ledger,
        cache: Cache,
        config: config::Opening,
        waiting: Gauge,
    ) -> Self {
        Self { store, ledger, cache, config, waiting }
    }

    /// One try at the rest of an opening, from wherever it is.
    pub async fn advance(&self, id: AccountId) -> Result<Account, Stuck> {
        let unopened = self.store.unopened(id).await?.ok_or(Stuck::Missing)?;
        let Ok(active) = unopened.account.activated(clock::now()) else {
            return Ok(unopened.account);
        };
        self.ledger.open(&unopened).await?;
        let account = self.store.activate(&unopened.account, &active).await?.ok_or(Stuck::Missing)?;
        self.cache.invalidate(id).await;
        Ok(account)
    }

    /// Tries until the account is active, the ledger refuses, or `until`. The answer is the account as it then is.
    pub async fn drive(&self, opening: Account, until: Instant) -> Account {
        let mut stuck = None;
        let tries = async {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.advance(opening.id).await {
                    Ok(account) => return Some(account),
                    Err(error) => {
                        if stuck.insert(error).needs_a_person() {
                            return None;
                        }
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        };
        let account = tokio::time::timeout_at(until, tries).await.ok().flatten();
        if let (None, Some(stuck)) = (&account, &stuck) {
            report(opening.id, stuck);
        }
        account.unwrap_or(opening)
    }

    /// Finds openings that were left behind and drives them on, until `stopping`.
    pub async fn sweep(self, stopping: impl Future<Output = ()>) {
        let rounds = async {
            let mut refused = Refused::default();
            loop {
                if let Err(error) = self.sweep_once(&mut refused).await {
                    tracing::warn!(error = chassis::error::chain(&error), "openings cannot be read");
                }
                tokio::time::sleep(millis(self.config.sweep_ms)).await;
            }
        };
        // Dropping a round in the middle is what a kill does: the next sweep of any replica goes on.
        tokio::select! {
            () = rounds => {}
            () = stopping => {}
        }
    }

    async fn sweep_once(&self, refused: &mut Refused) -> Result<(), Error> {
        let mut seen: Vec<Pending> = Vec::new();
        loop {
            let (page, more) = self.store.openings(seen.last().map(|last| last.id), PAGE).await?;
            let (now, instant) = (clock::now(), Instant::now());
            let due = page.iter().filter(|pending| is_left_behind(pending, now, self.config.grace_ms));
            let due: Vec<AccountId> =
                due.map(|pending| pending.id).filter(|id| refused.may_try(*id, instant)).collect();
            seen.extend(page);
            self.waiting.set(i64::try_from(seen.len()).unwrap_or(i64::MAX));
            for group in due.chunks(DRIVEN_MAX) {
                if !self.advance_all(group, refused).await {
                    // The ledger, the edge or the table is away: the others would only hear the same.
                    return Ok(());
                }
            }
            if !more {
                break;
            }
        }
        refused.forget_all_but(&seen);
        Ok(())
    }

    /// One try at each. Returns whether any of them was looked at.
    async fn advance_all(&self, ids: &[AccountId], refused: &mut Refused) -> bool {
        let tries = ids.iter().map(|id| async { (*id, self.advance(*id).await) });
        let mut answered = false;
        for (id, outcome) in futures::future::join_all(tries).await {
            match outcome {
                Ok(account) => {
                    answered = true;
                    let active = account.state == AccountState::Active;
                    tracing::info!(account_id = %id, active, "opening resumed");
                }
                Err(stuck) => {
                    report(id, &stuck);
                    answered |= stuck.was_answered();
                    if stuck.needs_a_person() {
                        refused.put_off(id, Instant::now(), millis(self.config.refused_ms));
                    }
                }
            }
        }
        answered
    }
}

fn is_left_behind(pending: &Pending, now: UnixMillis, grace_ms: u64) -> bool {
    now.since(pending.since) >= i64::try_from(grace_ms).unwrap_or(i64::MAX)
}

fn report(id: AccountId, stuck: &Stuck) {
    let error = chassis::error::chain(stuck);
    if stuck.needs_a_person() {
        tracing::error!(account_id = %id, error, "opening needs a person");
    } else {
        tracing::warn!(account_id = %id, error, "opening waits");
    }
}

/// Openings that need a person, and when each may be tried again. In memory only: a restart tries them at once.
#[derive(Debug, Default)]
struct Refused(HashMap<AccountId, (Duration, Instant)>);

impl Refused {
    fn may_try(&self, id: AccountId, now: Instant) -> bool {
        self.0.get(&id).is_none_or(|(_pause, until)| now >= *until)
    }

    fn put_off(&mut self, id: AccountId, now: Instant, first: Duration) {
        let pause = self.0.get(&id).map_or(first, |(pause, _until)| (*pause * 2).min(REFUSED_PAUSE_MAX));
        self.0.insert(id, (pause, now + pause));
    }

    fn forget_all_but(&mut self, pending: &[Pending]) {
        self.0.retain(|id, _| pending.iter().any(|pending| pending.id == *id));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_young_opening_is_left_to_the_rpc_that_asked() {
        let since = UnixMillis::new(10_000);
        let pending = Pending { id: AccountId::new(Uuid::from_u128(1)), since };
        for (now, expect) in
            [(9_000, false), (10_000, false), (12_999, false), (13_000, true), (99_000, true)]
        {
            assert_eq!(is_left_behind(&pending, UnixMillis::new(now), 3_000), expect, "{now}");
        }
    }

    #[test]
    fn a_refused_opening_is_put_off_for_longer_each_time() {
        let id = AccountId::new(Uuid::from_u128(1));
        let (start, first) = (Instant::now(), Duration::from_secs(60));
        let mut refused = Refused::default();
        assert!(refused.may_try(id, start));
        refused.put_off(id, start, first);
        assert!(!refused.may_try(id, start + first / 2));
        assert!(refused.may_try(id, start + first));
        refused.put_off(id, start, first);
        assert!(!refused.may_try(id, start + first));
        assert!(refused.may_try(id, start + first * 2));
        for _ in 0..20 {
            refused.put_off(id, start, first);
        }
        assert!(refused.may_try(id, start + REFUSED_PAUSE_MAX));
        refused.forget_all_but(&[]);
        assert!(refused.may_try(id, start), "opened, or gone");
    }
}
