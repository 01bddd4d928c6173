//! Heads of the journal in the store, by their sequence numbers. As of audit events, no code here updates or removes one, and in
//! production the database role of the service cannot either.
use futures::TryStreamExt as _;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{self, Binary, doc};
use serde::{Deserialize, Serialize};

use super::audit::only_duplicates;
use super::record::{milliseconds, time};
use super::{Store, StoreError};
use crate::domain::head::Head;

/// The shape is the schema, as in `record`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HeadRecord {
    #[serde(rename = "_id")]
    seq: i64,
    hash: Binary,
    booked: bson::DateTime,
    key_id: String,
    signature: Binary,
}

impl Store {
    /// Keeps heads; one that is there already stays as it is. Answers those that are there with another hash: the sequence number,
    /// what is kept and what was to be.
    pub async fn keep_heads(&self, heads: &[Head]) -> Result<Vec<(Head, Head)>, StoreError> {
        let records: Vec<HeadRecord> = heads.iter().map(HeadRecord::from).collect();
        // Unordered: one that is there already does not stop those behind it.
        match self.within(self.heads.insert_many(records).ordered(false)).await {
            Ok(_) => return Ok(Vec::new()),
            Err(StoreError::Mongo(error)) if only_duplicates(&error) => {}
            Err(error) => return Err(error),
        }
        let seqs: Vec<i64> = heads.iter().map(|head| head.seq).collect();
        let kept = async {
            self.heads.find(doc! { "_id": { "$in": seqs } }).await?.try_collect::<Vec<HeadRecord>>().await
        };
        let mut conflicts = Vec::new();
        for kept in self.within(kept).await? {
            let kept = Head::try_from(kept)?;
            let others = heads.iter().filter(|head| head.seq == kept.seq && head.hash != kept.hash);
            conflicts.extend(others.map(|other| (kept.clone(), other.clone())));
        }
        Ok(conflicts)
    }

    /// Up to `limit` heads, newest first, from those before `before` on.
    pub async fn list_heads(&self, before: Option<i64>, limit: usize) -> Result<Vec<Head>, StoreError> {
        let wanted = before.map_or_else(|| doc! {}, |seq| doc! { "_id": { "$lt": seq } });
        let page = async {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let find = self.heads.find(wanted).sort(doc! { "_id": -1 }).limit(limit);
            find.await?.try_collect::<Vec<HeadRecord>>().await
        };
        self.within(page).await?.into_iter().map(Head::try_from).collect()
    }
}

fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}

impl From<&Head> for HeadRecord {
    fn from(head: &Head) -> Self {
        Self {
            seq: head.seq,
            hash: binary(&head.hash),
            booked: milliseconds(head.booked),
            key_id: head.key_id.clone(),
            signature: binary(&head.signature),
        }
    }
}

impl TryFrom<HeadRecord> for Head {
    type Error = StoreError;

    fn try_from(record: HeadRecord) -> Result<Self, StoreError> {
        let seq = record.seq;
        let damaged =
            |what: &str| StoreError::Damaged { what: "journal head", detail: format!("{what} of {seq}") };
        Ok(Self {
            seq,
            hash: record.hash.bytes.try_into().map_err(|_| damaged("hash"))?,
            booked: time(record.booked).ok_or_else(|| damaged("time"))?,
            key_id: record.key_id,
            signature: record.signature.bytes.try_into().map_err(|_| damaged("signature"))?,
        })
    }
}
