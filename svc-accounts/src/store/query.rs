//! Reads: single items, batches of them, and ranges of one partition. All are consistent, so that whoever wrote also
//! reads what was written; there is no scan and no index.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};

use super::Store;
use super::fault::{self, Fault};
use super::item::Item;
use super::key::Key;
use crate::error::Error;

/// DynamoDB's own bound for one BatchGetItem.
const BATCH_MAX: usize = 100;
/// A batch comes back in parts when the table is throttled or the answer would pass 16 MB; more rounds than this mean that
/// the table is not available to us.
const ROUNDS_MAX: u32 = 6;
const FIRST_PAUSE_MS: u64 = 10;

/// Part of one partition, in order of the sort keys.
pub struct Range<'a> {
    /// The partition.
    pub partition: String,
    /// How the sort keys begin; `None` for the whole partition, because DynamoDB takes no empty text for a key.
    pub prefix: Option<&'a str>,
    /// Read on after this item.
    pub after: Option<Key>,
    /// At most so many items.
    pub limit: usize,
}

impl Store {
    /// One item.
    pub(super) async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        let read = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key.attributes()))
            .consistent_read(true);
        let answer = read.send().await.map_err(|error| fault::sort("GetItem", &error))?;
        Ok(answer.item)
    }

    /// Those of the items that exist, in no order. The keys must differ from one another.
    pub(super) async fn get_all(&self, keys: &[Key]) -> Result<Vec<Item>, Error> {
        let mut items = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH_MAX) {
            self.get_batch(keys, &mut items).await?;
        }
        Ok(items)
    }

    async fn get_batch(&self, keys: &[Key], items: &mut Vec<Item>) -> Result<(), Error> {
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys.iter().map(Key::attributes).collect()))
            .consistent_read(true)
            .build()?;
        let mut wanted = HashMap::from([(self.table.clone(), wanted)]);
        let mut pause_ms = FIRST_PAUSE_MS;
        for _round in 0..ROUNDS_MAX {
            let read = self.client.batch_get_item().set_request_items(Some(wanted));
            let answer = read.send().await.map_err(|error| fault::sort("BatchGetItem", &error))?;
            items.extend(answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default());
            wanted = answer.unprocessed_keys.unwrap_or_default();
            if wanted.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms *= 2;
        }
        let message = format!("unprocessed keys after {ROUNDS_MAX} rounds");
        Err(Error::StoreUnavailable(Fault {
            operation: "BatchGetItem",
            code: "throttled".to_owned(),
            message,
        }))
    }

    /// Part of a partition, and whether there is more of it.
    pub(super) async fn range(&self, range: Range<'_>) -> Result<(Vec<Item>, bool), Error> {
        // One more than wanted tells whether there is a next page, which DynamoDB's own last key does not: it is also set
        // when a page ends exactly with the partition.
        let wanted = range.limit.saturating_add(1);
        let mut items: Vec<Item> = Vec::with_capacity(wanted.min(BATCH_MAX));
        let mut after = range.after.map(|key| key.attributes());
        loop {
            let limit = i32::try_from(wanted - items.len()).unwrap_or(i32::MAX);
            let read = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .expression_attribute_values(":partition", AttributeValue::S(range.partition.clone()))
                .limit(limit)
                .set_exclusive_start_key(after);
            let read = match range.prefix {
                None => read.key_condition_expression("pk = :partition"),
                Some(prefix) => read
                    .key_condition_expression("pk = :partition AND begins_with(sk, :prefix)")
                    .expression_attribute_values(":prefix", AttributeValue::S(prefix.to_owned())),
            };
            let answer = read.send().await.map_err(|error| fault::sort("Query", &error))?;
            items.extend(answer.items.unwrap_or_default());
            after = answer.last_evaluated_key;
            if items.len() >= wanted || after.is_none() {
                break;
            }
        }
        let more = items.len() > range.limit;
        items.truncate(range.limit);
        Ok((items, more))
    }
}
