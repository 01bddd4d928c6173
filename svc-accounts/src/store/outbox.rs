//! What others must hear of: audit events, each written in the transaction of its effect, read again in the order of their
//! ids and removed once they are kept elsewhere. What an event says is not for the table to know.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{DeleteRequest, TransactWriteItem, WriteRequest};
use uuid::Uuid;

use super::Store;
use super::fault::{self, Fault};
use super::item::{Item, Reader, Writer};
use super::key::{EVENT_PREFIX, Key, OUTBOX};
use super::query::Range;
use crate::error::Error;

/// DynamoDB's own bound for one BatchWriteItem.
const BATCH_MAX: usize = 25;
/// A batch comes back in parts when the table is throttled; more rounds than this mean that it is not available to us.
const ROUNDS_MAX: u32 = 6;
const FIRST_PAUSE_MS: u64 = 10;

/// An event as it lies in the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// A UUIDv7, by which whoever keeps it knows it.
    pub id: Uuid,
    /// What it says, encoded.
    pub body: Vec<u8>,
}

impl Store {
    /// Puts an event into the box, as a step of the transaction of its effect.
    pub(super) fn put_event(&self, event: &Event) -> Result<TransactWriteItem, Error> {
        self.put_new(encode(event))
    }

    /// Puts an event without an effect into the box.
    pub async fn write_event(&self, event: &Event) -> Result<(), Error> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(encode(event)));
        put.send().await.map(drop).map_err(|error| fault::sort("PutItem", &error))
    }

    /// The oldest events, at most `max`.
    pub async fn events(&self, max: usize) -> Result<Vec<Event>, Error> {
        let range =
            Range { partition: OUTBOX.to_owned(), prefix: Some(EVENT_PREFIX), after: None, limit: max };
        let (items, _more) = self.range(range).await?;
        items.iter().map(decode).collect()
    }

    /// Removes events that are kept elsewhere. One by one and in no transaction: an event that stays is shipped again.
    pub async fn remove_events(&self, ids: impl IntoIterator<Item = Uuid>) -> Result<(), Error> {
        let mut deletes = Vec::new();
        for id in ids {
            let delete = DeleteRequest::builder().set_key(Some(Key::event(id).attributes())).build()?;
            deletes.push(WriteRequest::builder().delete_request(delete).build());
        }
        for deletes in deletes.chunks(BATCH_MAX) {
            self.remove_batch(deletes.to_vec()).await?;
        }
        Ok(())
    }

    async fn remove_batch(&self, deletes: Vec<WriteRequest>) -> Result<(), Error> {
        let mut wanted = HashMap::from([(self.table.clone(), deletes)]);
        let mut pause_ms = FIRST_PAUSE_MS;
        for _round in 0..ROUNDS_MAX {
            let write = self.client.batch_write_item().set_request_items(Some(wanted));
            let answer = write.send().await.map_err(|error| fault::sort("BatchWriteItem", &error))?;
            wanted = answer.unprocessed_items.unwrap_or_default();
            if wanted.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms *= 2;
        }
        let message = format!("unprocessed items after {ROUNDS_MAX} rounds");
        let (operation, code) = ("BatchWriteItem", "throttled".to_owned());
        Err(Error::StoreUnavailable(Fault { operation, code, message }))
    }
}

fn encode(event: &Event) -> Item {
    Writer::at(&Key::event(event.id)).bytes("event", Blob::new(event.body.clone())).done()
}

fn decode(item: &Item) -> Result<Event, Error> {
    let item = Reader(item);
    let id = item.sort_id(EVENT_PREFIX, Uuid::parse_str)?;
    Ok(Event { id, body: item.bytes("event")?.to_vec() })
}
