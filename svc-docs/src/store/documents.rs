//! Documents in the store: one insert makes a document with its request, one conditional update replaces its content.
use chrono::{DateTime, Utc};
use futures::{FutureExt as _, TryStreamExt as _};
use mongodb::bson::{self, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::ReturnDocument;

use super::record::{ContentRecord, Record, milliseconds};
use super::{Store, StoreError};
use crate::domain::audit::Event;
use crate::domain::document::{Content, CustomerId, Document, DocumentId};
use crate::domain::request::Request;

/// The server's code for a second document under a unique key.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// What came of an insert.
#[derive(Debug)]
pub enum Inserted {
    /// The document is there, made by this call.
    Done,
    /// The request made this one before. Whether its body was the same is for the caller to compare.
    Before(Box<Document>),
}

impl Store {
    /// Stores a new document together with the event of its making, unless its request has made one.
    pub async fn insert(&self, document: &Document, event: &Event) -> Result<Inserted, StoreError> {
        let (documents, record) = (self.documents.clone(), Record::from(document));
        let inserting = self.with_event(event, move |session| {
            let (documents, record) = (documents.clone(), record.clone());
            async move { documents.insert_one(record).session(session).await.map(|_| Some(())) }.boxed()
        });
        let error = match inserting.await {
            Ok(_) => {
                if let Some(content) = &document.content {
                    self.hold(content.file).await;
                }
                return Ok(Inserted::Done);
            }
            Err(StoreError::Mongo(error)) if is_duplicate(&error) => error,
            Err(error) => return Err(error),
        };
        match self.made_by(&document.request).await? {
            Some(before) => Ok(Inserted::Before(Box::new(before))),
            // Not the request but the id: a UUID that came twice.
            None => Err(StoreError::Mongo(error)),
        }
    }

    /// The document that a request has made, whatever its body was.
    pub async fn made_by(&self, request: &Request) -> Result<Option<Document>, StoreError> {
        let filter = doc! { "request.scope": &request.scope, "request.id": request.id.as_str() };
        self.within(self.documents.find_one(filter)).await?.map(Document::try_from).transpose()
    }

    pub async fn get(&self, id: DocumentId) -> Result<Option<Document>, StoreError> {
        let filter = doc! { "_id": id.to_string() };
        self.within(self.documents.find_one(filter)).await?.map(Document::try_from).transpose()
    }

    /// Up to `limit` documents of a customer, newest first, from those older than `after` on.
    pub async fn list(
        &self,
        customer_id: &CustomerId,
        after: Option<DocumentId>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let mut filter = doc! { "customer_id": customer_id.as_str() };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$lt": after.to_string() });
        }
        let page = async {
            let find = self
                .documents
                .find(filter)
                .sort(doc! { "_id": -1 })
                .limit(i64::try_from(limit).unwrap_or(i64::MAX));
            find.await?.try_collect::<Vec<Record>>().await
        };
        self.within(page).await?.into_iter().map(Document::try_from).collect()
    }

    /// Gives a document other content, together with the event of it, if it is still at the revision that was read. None if it is
    /// not.
    ///
    /// The file it had before stays for a while, so that downloads under way come to their end.
    pub async fn replace_content(
        &self,
        document: &Document,
        content: &Content,
        event: &Event,
        now: DateTime<Utc>,
    ) -> Result<Option<Document>, StoreError> {
        if let Some(old) = &document.content {
            self.mark_loose(old.file, now).await?;
        }
        let filter = doc! { "_id": document.id.to_string(), "revision": document.revision };
        let content_record =
            bson::serialize_to_document(&ContentRecord::from(content)).map_err(Error::from)?;
        let update = doc! {
            "$set": { "content": content_record, "updated": milliseconds(now) },
            "$inc": { "revision": 1_i64 },
        };
        let documents = self.documents.clone();
        let updating = self.with_event(event, move |session| {
            let (documents, filter, update) = (documents.clone(), filter.clone(), update.clone());
            async move {
                let updating =
                    documents.find_one_and_update(filter, update).return_document(ReturnDocument::After);
                updating.session(session).await
            }
            .boxed()
        });
        let replaced = updating.await?.map(Document::try_from).transpose()?;
        if replaced.is_some() {
            self.hold(content.file).await;
        }
        Ok(replaced)
    }
}

fn is_duplicate(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}
