//! What takes more than one write: an intent in the table, then the ledger's side of it, then the table again. Each step may
//! be repeated, and the list of what is not finished outlives the process, so whatever stops in between (this process, the
//! ledger, the edge) the work goes on: first by the RPC that asked, then by the sweep of any replica. Two that drive the
//! same work do it twice and no harm. `opening`, `changing` and `granting` are the works; what drives them is here.

pub mod changing;
pub mod granting;
pub mod opening;

use std::collections::HashMap;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::time::Duration;

use chassis::error::{Failure as _, Kind};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tonic::Code;

use crate::clock;
use crate::config::{self, millis};
use crate::domain::UnixMillis;
use crate::error::Error;
use crate::ledger::LedgerError;
use crate::store::{Waiting, WaitingPage};
pub use changing::{Changing, Changings};
pub use granting::{Granting, Grantings};
pub use opening::{Opening, Openings};

/// Works that a sweep reads at once. It reads on only while the ledger answers.
const PAGE: usize = 200;
/// Works driven on at once by a sweep: a backlog after an outage must not take the ledger's capacity from payments.
pub const DRIVEN_MAX: usize = 8;
/// Pauses between the tries of the RPC that asked: the ledger is usually back in one of the first.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// The longest a work that the ledger refused is left alone.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// Why a work did not get to its end this time.
#[derive(Debug, thiserror::Error)]
pub enum Stuck {
    /// The table did not do its part.
    #[error("the store failed")]
    Store(#[from] Error),
    /// The ledger did not do its part.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is no such record.
    #[error("the record is not in the table")]
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

    /// Whether this work was looked at, so that the next one may fare better; else whoever did not answer would not
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

/// A kind of work that the table lists until it is finished.
pub trait Work: Debug + Clone + Send + Sync + 'static {
    /// What the log calls it.
    const NAME: &'static str;
    /// Names one.
    type Id: Debug + Display + Copy + Eq + Hash + Send + Sync;
    /// What the work is done on.
    type Record: Debug + Send;

    /// What is not finished, the oldest first, and whether there is more.
    fn waiting(
        &self,
        after: Option<Self::Id>,
        limit: usize,
    ) -> impl Future<Output = Result<WaitingPage<Self::Id>, Error>> + Send;

    /// One try at the rest of it, from wherever it is.
    fn advance(&self, id: Self::Id) -> impl Future<Output = Result<Self::Record, Stuck>> + Send;
}

/// Drives works of one kind on. Clones share everything.
#[derive(Debug, Clone)]
pub struct Saga<W> {
    work: W,
    config: config::Saga,
    waiting: Gauge,
}

impl<W: Work> Saga<W> {
    /// A driver. `waiting` counts the works that a sweep found.
    pub const fn new(work: W, config: config::Saga, waiting: Gauge) -> Self {
        Self { work, config, waiting }
    }

    /// One try at the rest of a work, from wherever it is.
    pub async fn advance(&self, id: W::Id) -> Result<W::Record, Stuck> {
        self.work.advance(id).await
    }

    /// Tries until the work is finished, the ledger refuses, or `until`. The answer is the record as it then is; `None` when
    /// the work is not finished.
    pub async fn drive(&self, id: W::Id, until: Instant) -> Option<W::Record> {
        let mut stuck = None;
        let tries = async {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.advance(id).await {
                    Ok(record) => return Some(record),
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
        let record = tokio::time::timeout_at(until, tries).await.ok().flatten();
        if let (None, Some(stuck)) = (&record, &stuck) {
            report::<W>(id, stuck);
        }
        record
    }

    /// Finds works that were left behind and drives them on, until `stopping`.
    pub async fn sweep(self, stopping: impl Future<Output = ()>) {
        let rounds = async {
            let mut refused = Refused::default();
            loop {
                if let Err(error) = self.sweep_once(&mut refused).await {
                    let error = chassis::error::chain(&error);
                    tracing::warn!(work = W::NAME, error, "what waits cannot be read");
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

    async fn sweep_once(&self, refused: &mut Refused<W::Id>) -> Result<(), Error> {
        let mut seen: Vec<Waiting<W::Id>> = Vec::new();
        loop {
            let (page, more) = self.work.waiting(seen.last().map(|last| last.id), PAGE).await?;
            let (now, instant) = (clock::now(), Instant::now());
            let due = page.iter().filter(|waiting| is_left_behind(waiting, now, self.config.grace_ms));
            let due: Vec<W::Id> =
                due.map(|waiting| waiting.id).filter(|id| refused.may_try(*id, instant)).collect();
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
    async fn advance_all(&self, ids: &[W::Id], refused: &mut Refused<W::Id>) -> bool {
        let tries = ids.iter().map(|id| async { (*id, self.advance(*id).await) });
        let mut answered = false;
        for (id, outcome) in futures::future::join_all(tries).await {
            match outcome {
                Ok(_record) => {
                    answered = true;
                    tracing::info!(work = W::NAME, %id, "resumed");
                }
                Err(stuck) => {
                    report::<W>(id, &stuck);
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

fn is_left_behind<I>(waiting: &Waiting<I>, now: UnixMillis, grace_ms: u64) -> bool {
    now.since(waiting.since) >= i64::try_from(grace_ms).unwrap_or(i64::MAX)
}

fn report<W: Work>(id: W::Id, stuck: &Stuck) {
    let error = chassis::error::chain(stuck);
    if stuck.needs_a_person() {
        tracing::error!(work = W::NAME, %id, error, "needs a person");
    } else {
        tracing::warn!(work = W::NAME, %id, error, "waits");
    }
}

/// Works that need a person, and when each may be tried again. In memory only: a restart tries them at once.
#[derive(Debug)]
struct Refused<I>(HashMap<I, (Duration, Instant)>);

impl<I> Default for Refused<I> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<I: Copy + Eq + Hash> Refused<I> {
    fn may_try(&self, id: I, now: Instant) -> bool {
        self.0.get(&id).is_none_or(|(_pause, until)| now >= *until)
    }

    fn put_off(&mut self, id: I, now: Instant, first: Duration) {
        let pause = self.0.get(&id).map_or(first, |(pause, _until)| (*pause * 2).min(REFUSED_PAUSE_MAX));
        self.0.insert(id, (pause, now + pause));
    }

    fn forget_all_but(&mut self, waiting: &[Waiting<I>]) {
        self.0.retain(|id, _| waiting.iter().any(|waiting| waiting.id == *id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_young_work_is_left_to_the_rpc_that_asked() {
        let since = UnixMillis::new(10_000);
        let waiting = Waiting { id: 1, since };
        for (now, expect) in
            [(9_000, false), (10_000, false), (12_999, false), (13_000, true), (99_000, true)]
        {
            assert_eq!(is_left_behind(&waiting, UnixMillis::new(now), 3_000), expect, "{now}");
        }
    }

    #[test]
    fn a_refused_work_is_put_off_for_longer_each_time() {
        let id = 1;
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
        assert!(refused.may_try(id, start), "finished, or gone");
    }
}
