//! Accounts from the shared cache, by svc-cache across the edge. Only whole, ACTIVE accounts are kept, for a short time,
//! and nothing read here decides what anyone may do. A cache that is away costs a small budget and, after a few failures,
//! nothing: then every answer comes from the table.
//!
//! Who misses asks for a lease, reads the table and fills the entry under that lease; an invalidation breaks the lease, so
//! that no value read before a write comes back after it.

pub mod circuit;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis::edge_channel::EdgeCall;
use chassis::{Drain, EdgeChannel, Metrics};
use futures::StreamExt as _;
use futures::stream;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use proto::cache::v1::cache_service_client::CacheServiceClient;
use proto::cache::v1::{
    AcquireLeaseRequest, BatchGetEntriesRequest, GetEntryRequest, InvalidateTagsRequest, SetEntryRequest,
};
use tonic::{Code, Response, Status};

use crate::config::{self, millis};
use crate::domain::{Account, AccountId, AccountState};
use crate::error::Error;
use circuit::Circuit;

/// How long who found another's lease waits before looking once more: a read of the table and a fill take a few
/// milliseconds; who waits longer could have read the table.
const SECOND_LOOK: Duration = Duration::from_millis(15);
/// Entries that one batch fills: each costs a lease before the table is read. A cold cache warms up over a few batches.
const FILLS_MAX: usize = 16;
/// Leases and fills of one batch that are under way at once.
const FILLS_AT_ONCE: usize = 8;

/// The cache as this service uses it. Clones share everything.
#[derive(Debug, Clone)]
pub struct Cache {
    edge: EdgeChannel,
    drain: Drain,
    config: config::Cache,
    circuit: Arc<Circuit>,
    lookups: Family<LookupLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookupLabels {
    outcome: Outcome,
}

/// How a lookup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Hit,
    Miss,
    /// Not asked, or not answered in time.
    Away,
}

/// What the cache says of an account.
enum Lookup {
    Hit(Box<Account>),
    Miss,
    Away,
}

/// The right to fill an entry.
struct Lease {
    account: AccountId,
    id: String,
}

/// What the cache says to who wants to fill an entry.
enum Leased {
    Held(Lease),
    /// Another fills it.
    Busy,
    Away,
}

impl Cache {
    /// A cache across `edge`; fills run on `drain`, so that no answer waits for them.
    pub fn new(edge: EdgeChannel, drain: Drain, config: &config::Cache, metrics: &Metrics) -> Self {
        let lookups = Family::default();
        metrics.register(
            "accounts_cache_lookups",
            "Accounts looked for in the shared cache",
            lookups.clone(),
        );
        let circuit = Arc::new(Circuit::new(config.failures_max, millis(config.rest_ms)));
        Self { edge, drain, config: config.clone(), circuit, lookups }
    }

    /// The account from the cache, else from `load`, which reads the table.
    pub async fn read<F>(&self, id: AccountId, load: impl Fn() -> F) -> Result<Option<Account>, Error>
    where
        F: Future<Output = Result<Option<Account>, Error>>,
    {
        match self.look(id).await {
            Lookup::Hit(account) => return Ok(Some(*account)),
            Lookup::Away => return load().await,
            Lookup::Miss => {}
        }
        match self.lease(id).await {
            Leased::Held(lease) => {
                // Read under the lease: what another writes from here on breaks it.
                let account = load().await?;
                self.fill(vec![(lease, account.clone())]);
                Ok(account)
            }
            Leased::Busy => {
                tokio::time::sleep(SECOND_LOOK).await;
                match self.look(id).await {
                    Lookup::Hit(account) => Ok(Some(*account)),
                    Lookup::Miss | Lookup::Away => load().await,
                }
            }
            Leased::Away => load().await,
        }
    }

    /// Those of the accounts that exist, from the cache, the others from `load`. The ids must differ from one another.
    pub async fn read_all<F>(
        &self,
        ids: &[AccountId],
        load: impl FnOnce(Vec<AccountId>) -> F,
    ) -> Result<Vec<Account>, Error>
    where
        F: Future<Output = Result<Vec<Account>, Error>>,
    {
        let Some(mut accounts) = self.look_all(ids).await else {
            return load(ids.to_vec()).await;
        };
        let missing: Vec<AccountId> =
            ids.iter().copied().filter(|id| !accounts.iter().any(|account| account.id == *id)).collect();
        if missing.is_empty() {
            return Ok(accounts);
        }
        let to_fill = missing.iter().copied().take(FILLS_MAX).collect::<Vec<_>>();
        let leased: Vec<Leased> =
            stream::iter(to_fill).map(|id| self.lease(id)).buffer_unordered(FILLS_AT_ONCE).collect().await;
        let loaded = load(missing).await?;
        let fills = leased.into_iter().filter_map(|leased| match leased {
            Leased::Held(lease) => {
                let account = loaded.iter().find(|account| account.id == lease.account).cloned();
                Some((lease, account))
            }
            Leased::Busy | Leased::Away => None,
        });
        self.fill(fills.collect());
        accounts.extend(loaded);
        Ok(accounts)
    }

    /// Says that the account has changed. To be called after the write: an entry that outlives a lost invalidation dies of
    /// its age.
    pub async fn invalidate(&self, id: AccountId) {
        let request = InvalidateTagsRequest { tags: vec![tag(id)] };
        let _removed = self.ask(async |mut cache| cache.invalidate_tags(request).await).await;
    }

    async fn look(&self, id: AccountId) -> Lookup {
        let request = GetEntryRequest { key: key(id) };
        let lookup = match self.ask(async |mut cache| cache.get_entry(request).await).await {
            None => Lookup::Away,
            Some(Err(_miss)) => Lookup::Miss,
            // What cannot be read was written by another version of this service, and is as good as nothing.
            Some(Ok(entry)) => {
                decode(&entry.value).map_or(Lookup::Miss, |account| Lookup::Hit(Box::new(account)))
            }
        };
        self.count(
            match lookup {
                Lookup::Hit(_) => Outcome::Hit,
                Lookup::Miss => Outcome::Miss,
                Lookup::Away => Outcome::Away,
            },
            1,
        );
        lookup
    }

    /// Those of the accounts that are there; `None` when the cache is away.
    async fn look_all(&self, ids: &[AccountId]) -> Option<Vec<Account>> {
        let request = BatchGetEntriesRequest { keys: ids.iter().copied().map(key).collect() };
        let answer = self.ask(async |mut cache| cache.batch_get_entries(request).await).await;
        let Some(Ok(answer)) = answer else {
            self.count(Outcome::Away, ids.len());
            return None;
        };
        let accounts: Vec<Account> = answer.entries.iter().filter_map(|entry| decode(&entry.value)).collect();
        self.count(Outcome::Hit, accounts.len());
        self.count(Outcome::Miss, ids.len().saturating_sub(accounts.len()));
        Some(accounts)
    }

    async fn lease(&self, account: AccountId) -> Leased {
        let request = AcquireLeaseRequest {
            key: key(account),
            time_to_live: duration(self.config.lease_ms),
            tags: vec![tag(account)],
        };
        match self.ask(async |mut cache| cache.acquire_lease(request).await).await {
            Some(Ok(answer)) if !answer.lease_id.is_empty() => {
                Leased::Held(Lease { account, id: answer.lease_id })
            }
            Some(Ok(_held_by_another)) => Leased::Busy,
            Some(Err(_)) | None => Leased::Away,
        }
    }

    /// Fills entries in the background. A lease for an account that does not exist, or that will change by itself in a
    /// moment, is left to lapse.
    fn fill(&self, fills: Vec<(Lease, Option<Account>)>) {
        let requests: Vec<SetEntryRequest> = fills
            .into_iter()
            .filter_map(|(lease, account)| {
                Some((lease, account.filter(|a| a.state == AccountState::Active)?))
            })
            .filter_map(|(lease, account)| {
                Some(SetEntryRequest {
                    key: key(account.id),
                    value: encode(&account)?,
                    time_to_live: duration(self.config.time_to_live_ms),
                    tags: vec![tag(account.id)],
                    lease_id: lease.id,
                })
            })
            .collect();
        if requests.is_empty() {
            return;
        }
        let cache = self.clone();
        self.drain.spawn("cache fill", async move {
            stream::iter(requests)
                .for_each_concurrent(FILLS_AT_ONCE, |request| {
                    let cache = &cache;
                    async move {
                        let _filled = cache.ask(async |mut client| client.set_entry(request).await).await;
                    }
                })
                .await;
        });
    }

    /// Asks within the budget, as the service itself: the namespace is ours, whoever the subject is. `None` when there was
    /// no answer or none was waited for; a status that answers the question is an answer.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(CacheServiceClient<EdgeCall>) -> Result<Response<T>, Status>,
    ) -> Option<Result<T, Code>> {
        if !self.circuit.admits(Instant::now()) {
            return None;
        }
        let budget = millis(self.config.budget_ms);
        let client = CacheServiceClient::new(self.edge.as_service(budget));
        let answer = match tokio::time::timeout(budget, question(client)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(status.code()),
            Err(_elapsed) => Err(Code::DeadlineExceeded),
        };
        match answer {
            Err(code) if !matches!(code, Code::NotFound | Code::FailedPrecondition) => {
                if self.circuit.failed(Instant::now()) {
                    tracing::warn!(code = ?code, rest_ms = self.config.rest_ms, "the cache is away; reading the table");
                }
                None
            }
            answer => {
                if self.circuit.answered() {
                    tracing::info!("the cache is back");
                }
                Some(answer)
            }
        }
    }

    fn count(&self, outcome: Outcome, accounts: usize) {
        self.lookups.get_or_create(&LookupLabels { outcome }).inc_by(accounts as u64);
    }
}

/// The version is of the encoding: another one must not be read as this.
fn key(id: AccountId) -> String {
    format!("account/1/{id}")
}

fn tag(id: AccountId) -> String {
    format!("account/{id}")
}

fn encode(account: &Account) -> Option<Bytes> {
    serde_json::to_vec(account).ok().map(Bytes::from)
}

fn decode(value: &[u8]) -> Option<Account> {
    serde_json::from_slice(value).ok()
}

fn duration(millis: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_millis(millis)).ok()
}
