//! Files that no document may hold. A file is listed before its first byte is written and when a document lets go of it, and
//! taken off the list when a document holds it. So whatever breaks off, and wherever, the file is found: some time later the
//! sweeper removes those on the list that no document holds.
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt as _;
use mongodb::bson::{self, Bson, doc};
use serde::{Deserialize, Serialize};

use super::record::milliseconds;
use super::{Store, StoreError};
use crate::domain::document::FileId;

/// How long a listed file is left alone: twice as long as an upload or a download may take, so that none is under way.
pub(super) const GRACE: TimeDelta = TimeDelta::hours(2);

/// How often the sweeper looks.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

/// How many files the sweeper takes at a time.
const SWEEP_FILES: i64 = 100;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Loose {
    #[serde(rename = "_id")]
    file: String,
    due: bson::DateTime,
}

impl Store {
    /// Lists a file for removal some time after `now`.
    pub(super) async fn mark_loose(&self, file: FileId, now: DateTime<Utc>) -> Result<(), StoreError> {
        let update = doc! { "$set": { "due": milliseconds(now + GRACE) } };
        self.within(self.loose.update_one(doc! { "_id": file.to_string() }, update).upsert(true)).await?;
        Ok(())
    }

    /// Takes a file off the list because a document holds it. If that fails, the sweeper finds it held and does the same.
    pub(super) async fn hold(&self, file: FileId) {
        if let Err(error) = self.within(self.loose.delete_one(doc! { "_id": file.to_string() })).await {
            tracing::debug!(%error, "file stays listed as loose");
        }
    }

    /// Removes a file that no document has come to hold. If that fails, the sweeper does it later.
    pub async fn discard(&self, file: FileId) {
        if let Err(error) = self.remove(&file.to_string()).await {
            tracing::debug!(%error, "file is left to the sweeper");
        }
    }

    /// Removes what has been written of a file that will not be finished. It stays listed: a chunk that the driver had under way
    /// when its upload broke off may land after this, and only the sweeper can know that none does any more.
    pub(super) async fn clear(&self, file: FileId) {
        let chunks = self.chunks.delete_many(doc! { "files_id": file.to_string() });
        if let Err(error) = self.within(chunks).await {
            tracing::debug!(%error, "chunks are left to the sweeper");
        }
    }

    /// Sweeps every ten minutes until dropped.
    pub async fn sweep_for_ever(&self) {
        loop {
            match self.sweep(Utc::now()).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed loose files"),
                Err(error) => tracing::warn!(%error, "cannot sweep loose files"),
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    }

    /// Removes the listed files whose time has come and that no document holds. Says how many.
    pub async fn sweep(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let due = doc! { "due": { "$lt": milliseconds(now) } };
            let batch =
                async { self.loose.find(due).limit(SWEEP_FILES).await?.try_collect::<Vec<Loose>>().await };
            let batch = self.within(batch).await?;
            for loose in &batch {
                let held = self.documents.count_documents(doc! { "content.file": &loose.file }).limit(1);
                if self.within(held).await? > 0 {
                    self.within(self.loose.delete_one(doc! { "_id": &loose.file })).await?;
                } else {
                    self.remove(&loose.file).await?;
                    removed += 1;
                }
            }
            if batch.is_empty() {
                return Ok(removed);
            }
        }
    }

    /// Chunks first, the list last: what breaks off in between is begun again.
    async fn remove(&self, file: &str) -> Result<(), StoreError> {
        self.within(self.chunks.delete_many(doc! { "files_id": file })).await?;
        match self.within(self.bucket.delete(Bson::from(file))).await {
            Ok(()) => {}
            // Never finished, or removed before.
            Err(StoreError::Mongo(error)) if matches!(*error.kind, mongodb::error::ErrorKind::GridFs(_)) => {}
            Err(error) => return Err(error),
        }
        self.within(self.loose.delete_one(doc! { "_id": file })).await?;
        Ok(())
    }
}
