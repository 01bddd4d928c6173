//! The cache on Redis. Every operation is one script, so it happens whole or not at all and sees nothing half done; the rules
//! stand in the `.lua` files beside this one. This module calls them, bounds how long that may take, and tells apart what
//! Redis refuses from Redis being away.
mod connection;
mod events;
mod rate;
mod revocations;

pub use connection::Monitor;
pub use revocations::Changes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{FromRedisValue, Script, ScriptInvocation};

use crate::config::StoreConfig;
use crate::domain::{CachedValue, EntryLifetime, Key, LeaseId, LeaseLifetime, Namespace, Tags};
use connection::Connection;

/// The most bytes of values in one answer. gRPC clients take 4 MiB a message by default; the rest is for keys and framing.
const ANSWER_BYTES_MAX: usize = 3 << 20;

/// An entry as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub value: Bytes,
    pub left: Duration,
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Done,
    /// The lease was broken, has run out, or was never given.
    LeaseLost,
    /// A tag, by its position in `Tags`, that the lease was not taken for.
    TagNotCovered(usize),
}

/// What came of asking for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquired {
    Granted,
    /// Another caller computes the entry; look again after this long. Zero: the entry is there.
    Wait(Duration),
}

/// Why Redis did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Known to be away, so that nothing was sent.
    #[error("redis is away")]
    Away,
    #[error("redis did not answer in time")]
    TimedOut,
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
}

impl StoreError {
    /// Whether Redis answered, and its answer says that we are wrong: a script error, a missing permission.
    pub fn is_refusal(&self) -> bool {
        use redis::{ErrorKind, ServerErrorKind};
        match self {
            Self::Away | Self::TimedOut => false,
            Self::Redis(error) => matches!(
                error.kind(),
                ErrorKind::Server(
                    ServerErrorKind::ResponseError | ServerErrorKind::NoPerm | ServerErrorKind::CrossSlot
                ) | ErrorKind::UnexpectedReturnType
                    | ErrorKind::Parse
            ),
        }
    }
}

struct Scripts {
    get: Script,
    set: Script,
    acquire: Script,
    delete: Script,
    invalidate: Script,
    take: Script,
    revoke: Script,
    follow: Script,
    leave: Script,
}

impl Scripts {
    fn new() -> Self {
        let script = |body: &str| Script::new(&format!("{}{body}", include_str!("store/prelude.lua")));
        Self {
            get: script(include_str!("store/get.lua")),
            set: script(include_str!("store/set.lua")),
            acquire: script(include_str!("store/acquire.lua")),
            delete: script(include_str!("store/delete.lua")),
            invalidate: script(include_str!("store/invalidate.lua")),
            take: Script::new(include_str!("store/take.lua")),
            revoke: Script::new(include_str!("store/revoke.lua")),
            follow: Script::new(include_str!("store/follow.lua")),
            leave: Script::new(include_str!("store/leave.lua")),
        }
    }
}

/// The cache. A clone shares the connection.
#[derive(Clone)]
pub struct Store {
    connection: Connection,
    scripts: Arc<Scripts>,
}

impl Store {
    /// Prepares the connection, which is made when the monitor runs or a command needs it.
    ///
    /// # Errors
    /// A URL, certificate or password file that cannot be read.
    pub fn open(config: &StoreConfig) -> anyhow::Result<(Self, Monitor)> {
        let (connection, monitor) = Connection::open(config)?;
        Ok((Self { connection, scripts: Arc::new(Scripts::new()) }, monitor))
    }

    /// Reads one entry.
    pub async fn get(&self, namespace: &Namespace, key: &Key) -> Result<Option<Found>, StoreError> {
        let found = self.get_many(namespace, std::slice::from_ref(key)).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// Reads several entries; the answer has one item for each key, in their order.
    pub async fn get_many(
        &self,
        namespace: &Namespace,
        keys: &[Key],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let mut call = self.scripts.get.key(namespace.prefix());
        call.arg(ANSWER_BYTES_MAX);
        for key in keys {
            call.arg(key.as_str());
        }
        let found: Vec<Option<(Bytes, i64)>> = self.run(&call).await?;
        let millis = |left: i64| Duration::from_millis(u64::try_from(left).unwrap_or(0));
        Ok(found.into_iter().map(|f| f.map(|(value, left)| Found { value, left: millis(left) })).collect())
    }

    /// Writes an entry, under a lease if one is given.
    pub async fn set(
        &self,
        namespace: &Namespace,
        key: &Key,
        value: &CachedValue,
        lifetime: EntryLifetime,
        tags: &Tags,
        lease: Option<&LeaseId>,
    ) -> Result<Written, StoreError> {
        let mut call = self.scripts.set.key(namespace.prefix());
        call.arg(key.as_str()).arg(value.as_bytes()).arg(lifetime.as_millis());
        call.arg(lease.map_or("", LeaseId::as_str));
        for tag in tags.iter() {
            call.arg(tag);
        }
        Ok(match self.run::<i64>(&call).await? {
            0 => Written::Done,
            lost if lost < 0 => Written::LeaseLost,
            uncovered => Written::TagNotCovered(usize::try_from(uncovered - 1).unwrap_or(0)),
        })
    }

    /// Asks for the right to compute an entry. `fresh` becomes the id of the lease if it is granted.
    pub async fn acquire(
        &self,
        namespace: &Namespace,
        key: &Key,
        fresh: &LeaseId,
        lifetime: LeaseLifetime,
        tags: &Tags,
    ) -> Result<Acquired, StoreError> {
        let mut call = self.scripts.acquire.key(namespace.prefix());
        call.arg(key.as_str()).arg(fresh.as_str()).arg(lifetime.as_millis());
        for tag in tags.iter() {
            call.arg(tag);
        }
        let wait: i64 = self.run(&call).await?;
        Ok(u64::try_from(wait).map_or(Acquired::Granted, |ms| Acquired::Wait(Duration::from_millis(ms))))
    }

    /// Removes an entry and breaks its lease. Says whether there was an entry.
    pub async fn delete(&self, namespace: &Namespace, key: &Key) -> Result<bool, StoreError> {
        let mut call = self.scripts.delete.key(namespace.prefix());
        call.arg(key.as_str());
        self.run(&call).await
    }

    /// Removes every entry that carries one of the tags and breaks the leases taken for them. Says how many entries it were.
    pub async fn invalidate(&self, namespace: &Namespace, tags: &Tags) -> Result<u64, StoreError> {
        let mut call = self.scripts.invalidate.key(namespace.prefix());
        for tag in tags.iter() {
            call.arg(tag);
        }
        self.run(&call).await
    }

    async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        self.connection.run(async |mut redis| call.invoke_async(&mut redis).await).await
    }
}
