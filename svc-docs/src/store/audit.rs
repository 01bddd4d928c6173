//! Audit events in the store. They are only ever inserted and found: no code here updates or removes one, and in production the
//! database role of the service cannot either (docs/operations.md). An event of this service's own is inserted in the transaction
//! of its effect; one that comes from elsewhere has had such a transaction where its effect was.
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use mongodb::ClientSession;
use mongodb::bson::{self, doc};
use mongodb::error::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::documents::DUPLICATE_KEY;
use super::record::{milliseconds, time};
use super::{Store, StoreError};
use crate::domain::audit::{Event, EventId, Filter, Kind, Outcome, Principal, SKEW_MAX, Witness};

/// The shape is the schema, as in `record`. Names are flat, so that each filter is one index.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EventRecord {
    #[serde(rename = "_id")]
    id: String,
    time: bson::DateTime,
    transaction_id: String,
    rpc: String,
    principal: PrincipalRecord,
    /// Absent when the call was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    writer: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PrincipalRecord {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partner_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
}

impl Store {
    /// Keeps events. One whose id is there already is left as it is.
    pub async fn keep_events(&self, events: &[Event]) -> Result<(), StoreError> {
        let records: Vec<EventRecord> = events.iter().map(EventRecord::from).collect();
        // Unordered: a duplicate does not stop those behind it.
        match self.within(self.audit.insert_many(records).ordered(false)).await {
            Ok(_) => Ok(()),
            Err(StoreError::Mongo(error)) if only_duplicates(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Up to `limit` events that agree with the filter, newest first, from those older than `after` on.
    pub async fn list_events(
        &self,
        filter: &Filter,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let mut ids = doc! {};
        if let Some(start) = filter.start {
            ids.insert("$gte", EventId::first_at(start - SKEW_MAX).to_string());
        }
        // The older of the two bounds holds: where the last page ended, or how young an event before `end` can be.
        let youngest = filter.end.map(|end| EventId::first_at(end + SKEW_MAX));
        if let Some(bound) = after.into_iter().chain(youngest).min() {
            ids.insert("$lt", bound.to_string());
        }
        let mut times = doc! {};
        for (operator, bound) in [("$gte", filter.start), ("$lt", filter.end)] {
            if let Some(bound) = bound {
                times.insert(operator, milliseconds(bound));
            }
        }
        let mut wanted = doc! {};
        for (field, bounds) in [("_id", ids), ("time", times)] {
            if !bounds.is_empty() {
                wanted.insert(field, bounds);
            }
        }
        let equal = [
            ("principal.customer_id", &filter.customer_id),
            ("rpc", &filter.rpc),
            ("transaction_id", &filter.transaction_id),
        ];
        for (field, value) in equal {
            if let Some(value) = value {
                wanted.insert(field, value);
            }
        }
        let page = async {
            let find = self
                .audit
                .find(wanted)
                .sort(doc! { "_id": -1 })
                .limit(i64::try_from(limit).unwrap_or(i64::MAX));
            find.await?.try_collect::<Vec<EventRecord>>().await
        };
        self.within(page).await?.into_iter().map(Event::try_from).collect()
    }

    /// Has an effect and keeps its event, both or neither. An effect that finds nothing to do leaves no event. Transactions that
    /// meet are tried again by the driver, within the time of one operation.
    pub(super) async fn with_event<T, F>(&self, event: &Event, effect: F) -> Result<Option<T>, StoreError>
    where
        T: Send,
        F: for<'s> FnMut(&'s mut ClientSession) -> BoxFuture<'s, Result<Option<T>, Error>> + Send,
    {
        let context = (effect, self.audit.clone(), EventRecord::from(event));
        let both = async {
            let mut session = self.database.client().start_session().await?;
            let transaction =
                session.start_transaction().and_run(context, |session, (effect, audit, record)| {
                    async move {
                        let done = effect(&mut *session).await?;
                        if done.is_some() {
                            audit.insert_one(&*record).session(session).await?;
                        }
                        Ok(done)
                    }
                    .boxed()
                });
            transaction.await
        };
        self.within(both).await
    }
}

/// Whether all that failed was there already.
pub(super) fn only_duplicates(error: &Error) -> bool {
    let ErrorKind::InsertMany(error) = &*error.kind else { return false };
    let duplicates = error.write_errors.as_deref().unwrap_or_default();
    error.write_concern_error.is_none()
        && !duplicates.is_empty()
        && duplicates.iter().all(|one| one.code == DUPLICATE_KEY)
}

impl From<&Event> for EventRecord {
    fn from(event: &Event) -> Self {
        let Witness { transaction_id, rpc, principal } = event.call.clone();
        Self {
            id: event.id.to_string(),
            time: milliseconds(event.time),
            transaction_id,
            rpc,
            principal: PrincipalRecord {
                kind: principal.kind.name().to_owned(),
                issuer: principal.issuer,
                subject: principal.subject,
                customer_id: principal.customer_id,
                partner_id: principal.partner_id,
                service: principal.service,
            },
            refused: match &event.outcome {
                Outcome::Done => None,
                Outcome::Refused(reason) => Some(reason.clone()),
            },
            resource: event.resource.clone(),
            writer: event.writer.clone(),
        }
    }
}

impl TryFrom<EventRecord> for Event {
    type Error = StoreError;

    fn try_from(record: EventRecord) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Damaged {
            what: "audit event",
            detail: format!("{what} of {}", record.id),
        };
        let principal = record.principal;
        Ok(Self {
            id: EventId(Uuid::try_parse(&record.id).map_err(|_| damaged("id"))?),
            time: time(record.time).ok_or_else(|| damaged("time"))?,
            call: Witness {
                principal: Principal {
                    kind: Kind::named(&principal.kind).ok_or_else(|| damaged("principal"))?,
                    issuer: principal.issuer,
                    subject: principal.subject,
                    customer_id: principal.customer_id,
                    partner_id: principal.partner_id,
                    service: principal.service,
                },
                transaction_id: record.transaction_id,
                rpc: record.rpc,
            },
            outcome: record.refused.map_or(Outcome::Done, Outcome::Refused),
            resource: record.resource,
            writer: record.writer,
        })
    }
}
