//! Tokens that are no longer believed although they have not expired, by issuer and `jti`. [`watch`] learns of them from the
//! provider of `edge.v1.RevocationService`; here they are kept until their expiry refuses them anyway.
//!
//! Most requests must not pay for it: a token remembers under which state of the set it was last looked up, and as long as that
//! state is current the question costs two loads. Only the first request of a token after a change looks it up.

mod watch;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use ring::digest::{Context, SHA256};
use tokio::sync::watch::{Sender, channel};

use super::config::LEEWAY_S_MAX;

/// A token by its issuer and `jti`: half of a SHA-256, which nobody finds a second text for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(u128);

impl TokenId {
    /// The id of the token that `issuer` gave the id `jti`.
    pub(super) fn new(issuer: &str, jti: &str) -> Self {
        let mut hash = Context::new(&SHA256);
        // The length keeps two pairs apart that would join to the same text.
        hash.update(&(issuer.len() as u64).to_be_bytes());
        hash.update(issuer.as_bytes());
        hash.update(jti.as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&hash.finish().as_ref()[..16]);
        Self(u128::from_be_bytes(half))
    }
}

/// A token that can be revoked, and under which state of the set it was last looked up.
#[derive(Debug)]
pub struct Revocable {
    id: TokenId,
    looked_at: AtomicU64,
    revocations: Arc<Revocations>,
}

impl Revocable {
    /// Whether the token is revoked by now.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        let state = self.revocations.state.load(Ordering::Acquire);
        if self.looked_at.load(Ordering::Relaxed) == state {
            return false;
        }
        if self.revocations.has(self.id) {
            return true;
        }
        // The state was read before the set: a change in between is looked at again.
        self.looked_at.store(state, Ordering::Relaxed);
        false
    }

    /// Resolves when the token is revoked, if ever.
    pub async fn revoked(&self) {
        let mut changed = self.revocations.changed.subscribe();
        while !self.is_revoked() {
            if changed.changed().await.is_err() {
                // The set is gone, and with it whoever could revoke anything.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// What is revoked.
pub struct Revocations {
    entries_max: AtomicUsize,
    /// Rises after every change; zero as long as nothing was ever revoked, as for a token that was never looked up.
    state: AtomicU64,
    ended: RwLock<Ended>,
    changed: Sender<u64>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Ended {
    until: HashMap<TokenId, SystemTime>,
    by_time: BTreeSet<(SystemTime, TokenId)>,
}

#[derive(Clone, Debug, Default)]
struct Metrics {
    entries: Gauge,
    watching: Gauge,
    breaks: Counter,
    dropped: Counter,
}

impl Revocations {
    /// An empty set for at most `entries_max` tokens.
    pub(super) fn new(entries_max: usize, metrics: &chassis::metrics::Metrics) -> Self {
        let own = Metrics::default();
        metrics.register("authn_revoked_tokens", "Revoked tokens that are kept", own.entries.clone());
        metrics.register(
            "authn_revocation_watching",
            "1 while every revocation is known and followed, else 0",
            own.watching.clone(),
        );
        metrics.register(
            "authn_revocation_breaks",
            "Times the watch for revocations broke",
            own.breaks.clone(),
        );
        metrics.register(
            "authn_revocations_dropped",
            "Revocations given up for others that count for longer",
            own.dropped.clone(),
        );
        Self {
            entries_max: AtomicUsize::new(entries_max),
            state: AtomicU64::new(0),
            ended: RwLock::default(),
            changed: channel(0).0,
            metrics: own,
        }
    }

    /// Keeps at most so many tokens from the next change on.
    pub(super) fn bound(&self, entries_max: usize) {
        self.entries_max.store(entries_max, Ordering::Relaxed);
    }

    /// A token of this id, for whoever believes it.
    pub(super) fn revocable(self: &Arc<Self>, id: TokenId) -> Arc<Revocable> {
        Arc::new(Revocable { id, looked_at: AtomicU64::new(0), revocations: Arc::clone(self) })
    }

    fn has(&self, id: TokenId) -> bool {
        self.ended.read().unwrap_or_else(PoisonError::into_inner).until.contains_key(&id)
    }

    /// Takes in what was revoked, each until its token expires, and forgets what has expired by now.
    pub(super) fn add(&self, revoked: impl IntoIterator<Item = (TokenId, SystemTime)>, now: SystemTime) {
        // An expired token is believed for the leeway of its issuer, of which nothing is known here.
        let leeway = Duration::from_secs(LEEWAY_S_MAX);
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        ended.forget(now);
        let mut added = false;
        for (id, expires_at) in revoked {
            let until = expires_at.checked_add(leeway).unwrap_or(expires_at);
            if until > now {
                added = true;
                ended.insert(id, until);
            }
        }
        let entries_max = self.entries_max.load(Ordering::Relaxed);
        while ended.until.len() > entries_max {
            // What expires first can do the least harm.
            ended.drop_first();
            self.metrics.dropped.inc();
        }
        self.metrics.entries.set(i64::try_from(ended.until.len()).unwrap_or(i64::MAX));
        drop(ended);
        if added {
            let state = self.state.fetch_add(1, Ordering::AcqRel) + 1;
            self.changed.send_replace(state);
        }
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Ended {
    fn insert(&mut self, id: TokenId, until: SystemTime) {
        // A revocation is never shortened: who revokes twice with two times means the later.
        let before = self.until.get(&id).copied();
        if before.is_some_and(|before| before >= until) {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, id));
        }
        self.until.insert(id, until);
        self.by_time.insert((until, id));
    }

    fn forget(&mut self, now: SystemTime) {
        while self.by_time.first().is_some_and(|(until, _)| *until <= now) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((_, id)) = self.by_time.pop_first() {
            self.until.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests;
