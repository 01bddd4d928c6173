//! How documents lie in MongoDB. The shapes here are the schema: a field that changes its meaning gets another name. What is
//! read is parsed again, so that damage shows here and not in an answer.
use std::collections::BTreeMap;

use chassis::field::RequestId;
use chrono::{DateTime, Utc};
use mongodb::bson;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use crate::domain::document::{Content, CustomerId, Document, DocumentId, FileId, MediaType, Title};
use crate::domain::request::{Fingerprint, Request};
use crate::domain::statement::money::Money;
use crate::domain::statement::{AccountId, Format, Period, Statement};

/// BSON's time, which stops at milliseconds.
pub(super) fn milliseconds(time: DateTime<Utc>) -> bson::DateTime {
    bson::DateTime::from_millis(time.timestamp_millis())
}

pub(super) fn time(time: bson::DateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(time.timestamp_millis())
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(rename = "_id")]
    id: String,
    /// Absent for the bank's own documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<ContentRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statement: Option<StatementRecord>,
    request: RequestRecord,
    created: bson::DateTime,
    updated: bson::DateTime,
    revision: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ContentRecord {
    file: String,
    media_type: String,
    size_bytes: i64,
    sha256: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RequestRecord {
    scope: String,
    id: String,
    body: BTreeMap<String, String>,
}

/// Times are microseconds since 1970, because BSON's own stop at milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StatementRecord {
    id: String,
    account_id: String,
    start_us: i64,
    end_us: i64,
    currency: String,
    opening: i64,
    closing: i64,
    entry_count: i64,
    format: String,
}

impl From<&Document> for Record {
    fn from(document: &Document) -> Self {
        Self {
            id: document.id.to_string(),
            customer_id: document.customer_id.as_ref().map(|id| id.as_str().to_owned()),
            title: document.title.as_str().to_owned(),
            content: document.content.as_ref().map(ContentRecord::from),
            statement: document.statement.as_ref().map(StatementRecord::from),
            request: RequestRecord {
                scope: document.request.scope.clone(),
                id: document.request.id.as_str().to_owned(),
                body: document.request.body.0.clone(),
            },
            created: milliseconds(document.created),
            updated: milliseconds(document.updated),
            revision: document.revision,
        }
    }
}

impl From<&Content> for ContentRecord {
    fn from(content: &Content) -> Self {
        Self {
            file: content.file.to_string(),
            media_type: content.media_type.as_str().to_owned(),
            size_bytes: i64::try_from(content.size_bytes).unwrap_or(i64::MAX),
            sha256: content.sha256.clone(),
        }
    }
}

impl From<&Statement> for StatementRecord {
    fn from(statement: &Statement) -> Self {
        Self {
            id: statement.id.to_string(),
            account_id: statement.account_id.as_str().to_owned(),
            start_us: statement.period.start().timestamp_micros(),
            end_us: statement.period.end().timestamp_micros(),
            currency: statement.opening.currency.clone(),
            opening: statement.opening.minor_units,
            closing: statement.closing.minor_units,
            entry_count: i64::try_from(statement.entry_count).unwrap_or(i64::MAX),
            format: statement.format.name().to_owned(),
        }
    }
}

impl TryFrom<Record> for Document {
    type Error = StoreError;

    fn try_from(record: Record) -> Result<Self, StoreError> {
        let damaged =
            |what: &str| StoreError::Damaged { what: "document", detail: format!("{what} of {}", record.id) };
        Ok(Self {
            id: DocumentId::parse(&record.id).map_err(|_| damaged("id"))?,
            customer_id: match record.customer_id {
                Some(id) => Some(CustomerId::parse(id).map_err(|_| damaged("customer_id"))?),
                None => None,
            },
            title: Title::parse(record.title).map_err(|_| damaged("title"))?,
            content: match record.content {
                Some(content) => Some(content.parse().ok_or_else(|| damaged("content"))?),
                None => None,
            },
            statement: match record.statement {
                Some(statement) => Some(statement.parse().ok_or_else(|| damaged("statement"))?),
                None => None,
            },
            created: time(record.created).ok_or_else(|| damaged("created"))?,
            updated: time(record.updated).ok_or_else(|| damaged("updated"))?,
            revision: record.revision,
            request: Request {
                scope: record.request.scope,
                id: RequestId::parse(record.request.id).map_err(|_| damaged("request"))?,
                body: Fingerprint(record.request.body),
            },
        })
    }
}

impl ContentRecord {
    fn parse(self) -> Option<Content> {
        Some(Content {
            file: FileId(Uuid::try_parse(&self.file).ok()?),
            media_type: MediaType::parse(self.media_type).ok()?,
            size_bytes: u64::try_from(self.size_bytes).ok()?,
            sha256: self.sha256,
        })
    }
}

impl StatementRecord {
    fn parse(self) -> Option<Statement> {
        let time = |micros| DateTime::<Utc>::from_timestamp_micros(micros);
        Some(Statement {
            id: Uuid::try_parse(&self.id).ok()?,
            account_id: AccountId::parse(self.account_id).ok()?,
            period: Period::known(time(self.start_us)?, time(self.end_us)?),
            opening: Money { currency: self.currency.clone(), minor_units: self.opening },
            closing: Money { currency: self.currency, minor_units: self.closing },
            entry_count: u64::try_from(self.entry_count).ok()?,
            format: Format::named(&self.format)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::document::tests::sample;

    #[test]
    fn a_document_survives_the_store() {
        let mut document = sample("owner");
        let plain = document.clone();
        document.customer_id = None;
        document.content = Some(Content {
            file: FileId(Uuid::from_u128(9)),
            media_type: MediaType::parse("text/csv".into()).unwrap(),
            size_bytes: 12,
            sha256: "ab".into(),
        });
        let at = |micros| DateTime::from_timestamp_micros(micros).unwrap();
        document.statement = Some(Statement {
            id: Uuid::from_u128(8),
            account_id: AccountId::parse("settlement-EUR".into()).unwrap(),
            period: Period::known(at(1_750_000_000_000_001), at(1_750_000_000_000_002)),
            opening: Money { currency: "EUR".into(), minor_units: i64::MIN },
            closing: Money { currency: "EUR".into(), minor_units: i64::MAX },
            entry_count: 3,
            format: Format::Csv,
        });
        for document in [plain, document] {
            let bytes = bson::serialize_to_vec(&Record::from(&document)).unwrap();
            let record: Record = bson::deserialize_from_slice(&bytes).unwrap();
            assert_eq!(Document::try_from(record).unwrap(), document);
        }
    }

    #[test]
    fn damage_is_named() {
        let mut record = Record::from(&sample("owner"));
        record.title = String::new();
        let error = Document::try_from(record).unwrap_err().to_string();
        assert!(error.contains("title of "), "{error}");
    }
}
