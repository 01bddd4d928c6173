//! Between the contract and the domain: `docs.v1` for what is asked and answered, `ledger.v1` and `accounts.v1` for what other
//! services say. Every fault of a request is found before one is answered, each with the path of its field.
pub(super) mod audit;
pub(super) mod heads;

use std::fmt::Display;

use bytes::Bytes;
use chassis::call::{Caller, Principal};
use chassis::error::Violation;
use chassis::field::RequestId;
use chassis::page::{Page, Sizes};
use chrono::{DateTime, Utc};
use proto::accounts::v1::{BatchGetAccountsRequest, BatchGetAccountsResponse};
use proto::docs::v1 as pb;
use proto::google::api::HttpBody;
use proto::ledger::v1 as ledger;

use crate::domain::Fault;
use crate::domain::access::Actor;
use crate::domain::document::{CustomerId, Document, DocumentId, MediaType, Title};
use crate::domain::request::{Fingerprint, Request};
use crate::domain::statement::money::Money;
use crate::domain::statement::{AccountId, Entry, Format, Period};
use crate::error::Error;

/// Documents of one page.
const DOCUMENT_PAGES: Sizes = Sizes { default: 50, max: 200 };

/// Entries of one page: the most the ledger gives.
const PAGE_ENTRIES: i32 = 1000;

/// A CreateDocument that makes sense.
pub(super) struct CreateDocument {
    pub(super) request: Request,
    pub(super) customer_id: CustomerId,
    pub(super) title: Title,
}

/// A ListDocuments that makes sense.
pub(super) struct ListDocuments {
    pub(super) customer_id: CustomerId,
    pub(super) page: Page,
}

/// A GenerateStatement that makes sense.
pub(super) struct GenerateStatement {
    pub(super) request: Request,
    pub(super) account_id: AccountId,
    pub(super) period: Period,
    pub(super) format: Format,
}

/// Another service left out what its contract promises.
#[derive(Debug, thiserror::Error)]
#[error("the answer has no valid {0}")]
struct Malformed(&'static str);

/// The faults found so far.
#[derive(Default)]
struct Faults(Vec<Violation>);

impl Faults {
    /// Takes the value, or notes what is wrong with the field.
    fn take<T, E: Display>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|fault| self.0.push(Violation::new(field, fault.to_string()))).ok()
    }

    fn refusal(self) -> Error {
        Error::Invalid { violations: self.0 }
    }
}

/// Only a subject has documents and staff scopes. A partner acting for one has none of these rights: consents do not reach
/// documents.
pub(super) fn actor(caller: &Caller) -> Actor {
    match &caller.principal {
        Principal::Subject(subject) => Actor {
            customer_id: subject.customer_id.clone().and_then(|id| CustomerId::parse(id).ok()),
            reads_all: subject.scopes.contains("staff.read"),
            writes_all: subject.scopes.contains("staff.write"),
        },
        Principal::Partner(_) | Principal::Service | Principal::Anonymous => Actor::default(),
    }
}

/// The customer that is named, or else the actor's own.
fn customer(named: String, actor: &Actor) -> Result<CustomerId, Fault> {
    match &actor.customer_id {
        Some(own) if named.is_empty() => Ok(own.clone()),
        Some(_) | None => CustomerId::parse(named),
    }
}

pub(super) fn create_document(
    request: pb::CreateDocumentRequest,
    actor: &Actor,
    scope: String,
) -> Result<CreateDocument, Error> {
    let mut faults = Faults::default();
    let id = faults.take("request_id", RequestId::parse(request.request_id));
    let customer_id = faults.take("customer_id", customer(request.customer_id, actor));
    let title = faults.take("title", Title::parse(request.title));
    let (Some(id), Some(customer_id), Some(title)) = (id, customer_id, title) else {
        return Err(faults.refusal());
    };
    let fields = [("customer_id", customer_id.as_str()), ("title", title.as_str())];
    let request = Request { scope, id, body: Fingerprint::of("CreateDocument", &fields) };
    Ok(CreateDocument { request, customer_id, title })
}

pub(super) fn list_documents(
    request: pb::ListDocumentsRequest,
    actor: &Actor,
) -> Result<ListDocuments, Error> {
    let mut faults = Faults::default();
    let customer_id = faults.take("customer_id", customer(request.customer_id, actor));
    // Without a list there is nothing to hold a token against.
    let (list, token) = customer_id.as_ref().map_or(("", ""), |id| (id.as_str(), &request.page_token));
    let question: [&[u8]; 2] = [b"documents", list.as_bytes()];
    let page = Page::parse(DOCUMENT_PAGES, &question, request.page_size, token);
    match (customer_id, page) {
        (Some(customer_id), Ok(page)) => Ok(ListDocuments { customer_id, page }),
        (_, page) => {
            faults.0.extend(page.err().unwrap_or_default());
            Err(faults.refusal())
        }
    }
}

pub(super) fn document_id(id: &str) -> Result<DocumentId, Error> {
    let mut faults = Faults::default();
    faults.take("document_id", DocumentId::parse(id)).ok_or_else(|| faults.refusal())
}

/// The first message of an upload: which document, which media type, and the first bytes.
pub(super) fn upload_first(
    message: pb::UploadContentRequest,
) -> Result<(DocumentId, MediaType, Bytes), Error> {
    let HttpBody { content_type, data, .. } = message.content.unwrap_or_default();
    let mut faults = Faults::default();
    let id = faults.take("document_id", DocumentId::parse(&message.document_id));
    let media_type = faults.take("content.content_type", MediaType::parse(content_type));
    match (id, media_type) {
        (Some(id), Some(media_type)) => Ok((id, media_type, data)),
        _ => Err(faults.refusal()),
    }
}

/// A further message: bytes, and nothing that contradicts the first.
pub(super) fn upload_next(
    message: pb::UploadContentRequest,
    id: DocumentId,
    media_type: &MediaType,
) -> Result<Bytes, Error> {
    let HttpBody { content_type, data, .. } = message.content.unwrap_or_default();
    let unchanged =
        |now: &str, first: &str| if now.is_empty() || now == first { Ok(()) } else { Err(Fault::Changed) };
    let mut faults = Faults::default();
    let same_id = faults.take("document_id", unchanged(&message.document_id, &id.to_string()));
    let same_type = faults.take("content.content_type", unchanged(&content_type, media_type.as_str()));
    if same_id.is_some() && same_type.is_some() { Ok(data) } else { Err(faults.refusal()) }
}

pub(super) fn generate_statement(
    request: pb::GenerateStatementRequest,
    scope: String,
    now: DateTime<Utc>,
) -> Result<GenerateStatement, Error> {
    let format = match request.format() {
        pb::StatementFormat::Unspecified => Err(Fault::NoFormat),
        pb::StatementFormat::Json => Ok(Format::Json),
        pb::StatementFormat::Csv => Ok(Format::Csv),
    };
    let mut faults = Faults::default();
    let account_id = faults.take("account_id", AccountId::parse(request.account_id));
    let id = faults.take("request_id", RequestId::parse(request.request_id));
    let start = faults.take("start_time", time(request.start_time));
    let end = faults.take("end_time", time(request.end_time));
    let period = match (start, end) {
        (Some(start), Some(end)) => faults.take("end_time", Period::parse(start, end, now)),
        (Some(_) | None, Some(_) | None) => None,
    };
    let format = faults.take("format", format);
    let (Some(account_id), Some(id), Some(period), Some(format)) = (account_id, id, period, format) else {
        return Err(faults.refusal());
    };
    let micros = |time: DateTime<Utc>| time.timestamp_micros().to_string();
    let fields = [
        ("account_id", account_id.as_str()),
        ("start_time", &micros(period.start())),
        ("end_time", &micros(period.end())),
        ("format", format.name()),
    ];
    let request = Request { scope, id, body: Fingerprint::of("GenerateStatement", &fields) };
    Ok(GenerateStatement { request, account_id, period, format })
}

/// A time from 1970 to 9999 in whole microseconds; a finer one would not be kept as it was given.
fn time(timestamp: Option<prost_types::Timestamp>) -> Result<DateTime<Utc>, Fault> {
    const END_OF_9999: i64 = 253_402_300_799;
    let timestamp = timestamp.ok_or(Fault::Missing)?;
    let nanos = u32::try_from(timestamp.nanos).map_err(|_| Fault::NotATime)?;
    if !(0..=END_OF_9999).contains(&timestamp.seconds) || nanos % 1_000 != 0 {
        return Err(Fault::NotATime);
    }
    DateTime::from_timestamp(timestamp.seconds, nanos).ok_or(Fault::NotATime)
}

fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default();
    prost_types::Timestamp { seconds: time.timestamp(), nanos }
}

pub(super) fn document(document: Document) -> pb::Document {
    let etag = document.etag();
    let (content_type, size_bytes, sha256) = match document.content {
        Some(content) => (content.media_type.as_str().to_owned(), signed(content.size_bytes), content.sha256),
        None => (String::new(), 0, String::new()),
    };
    pb::Document {
        document_id: document.id.to_string(),
        customer_id: document.customer_id.map(|id| id.as_str().to_owned()).unwrap_or_default(),
        title: document.title.as_str().to_owned(),
        content_type,
        size_bytes,
        sha256,
        create_time: Some(timestamp(document.created)),
        update_time: Some(timestamp(document.updated)),
        etag,
    }
}

/// The statement that a document is.
pub(super) fn statement(document: &Document) -> Result<pb::Statement, Error> {
    let statement = document.statement.as_ref().ok_or_else(|| Error::internal(Malformed("statement")))?;
    let money = |money: &Money| {
        Some(ledger::Money { currency_code: money.currency.clone(), minor_units: money.minor_units })
    };
    let format = match statement.format {
        Format::Json => pb::StatementFormat::Json,
        Format::Csv => pb::StatementFormat::Csv,
    };
    Ok(pb::Statement {
        statement_id: statement.id.to_string(),
        document_id: document.id.to_string(),
        account_id: statement.account_id.as_str().to_owned(),
        start_time: Some(timestamp(statement.period.start())),
        end_time: Some(timestamp(statement.period.end())),
        opening_balance: money(&statement.opening),
        closing_balance: money(&statement.closing),
        entry_count: signed(statement.entry_count),
        format: format.into(),
        create_time: Some(timestamp(document.created)),
    })
}

/// Asks the ledger for a balance, everything booked at `as_of` included.
pub(super) fn balance_request(account_id: &AccountId, as_of: DateTime<Utc>) -> ledger::GetBalanceRequest {
    let as_of = Some(timestamp(as_of));
    ledger::GetBalanceRequest { account_id: account_id.as_str().to_owned(), as_of, ..Default::default() }
}

/// Asks the ledger for a page of the period.
pub(super) fn entries_request(asked: &GenerateStatement, page_token: String) -> ledger::ListEntriesRequest {
    ledger::ListEntriesRequest {
        account_id: asked.account_id.as_str().to_owned(),
        start_time: Some(timestamp(asked.period.start())),
        end_time: Some(timestamp(asked.period.end())),
        page_size: PAGE_ENTRIES,
        page_token,
        ..Default::default()
    }
}

/// Asks svc-accounts whose an account is.
pub(super) fn holder_request(account_id: &AccountId) -> BatchGetAccountsRequest {
    BatchGetAccountsRequest { account_ids: vec![account_id.as_str().to_owned()] }
}

pub(super) fn money(money: Option<ledger::Money>) -> Result<Money, Error> {
    match money {
        Some(money) if !money.currency_code.is_empty() => {
            Ok(Money { currency: money.currency_code, minor_units: money.minor_units })
        }
        Some(_) | None => Err(Error::internal(Malformed("money"))),
    }
}

pub(super) fn entry(entry: ledger::Entry) -> Result<Entry, Error> {
    Ok(Entry {
        account_id: entry.account_id,
        transfer_id: entry.transfer_id,
        amount: money(entry.amount)?,
        balance_after: money(entry.balance_after)?,
        version: entry.version,
        counterparty_account_id: entry.counterparty_account_id,
        reference: entry.reference,
        booked: time(entry.book_time).map_err(|_| Error::internal(Malformed("book_time")))?,
    })
}

/// Who holds the account; nobody if svc-accounts does not know it.
pub(super) fn holder(
    answer: BatchGetAccountsResponse,
    asked: &AccountId,
) -> Result<Option<CustomerId>, Error> {
    let found = answer.accounts.into_iter().find(|account| account.account_id == asked.as_str());
    let holder = found.map(|account| CustomerId::parse(account.customer_id));
    holder.transpose().map_err(|_| Error::internal(Malformed("customer_id")))
}

/// Sizes and counts are far below what 63 bits hold.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<T>(refused: Result<T, Error>) -> Vec<String> {
        let Err(Error::Invalid { violations }) = refused else { panic!("not refused as invalid") };
        violations.into_iter().map(|violation| violation.field).collect()
    }

    fn at(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos })
    }

    #[test]
    fn every_fault_of_a_request_is_named_at_once() {
        let create = create_document(pb::CreateDocumentRequest::default(), &Actor::default(), String::new());
        assert_eq!(fields(create), ["request_id", "customer_id", "title"]);
        let list =
            pb::ListDocumentsRequest { customer_id: "c".into(), page_size: -1, page_token: "x".into() };
        assert_eq!(fields(list_documents(list, &Actor::default())), ["page_size", "page_token"]);
        let nobodys =
            pb::ListDocumentsRequest { page_size: -1, page_token: "x".into(), ..Default::default() };
        assert_eq!(fields(list_documents(nobodys, &Actor::default())), ["customer_id", "page_size"]);
        let statement =
            pb::GenerateStatementRequest { start_time: at(-1, 0), format: 7, ..Default::default() };
        let refused = generate_statement(statement, String::new(), Utc::now());
        assert_eq!(fields(refused), ["account_id", "request_id", "start_time", "end_time", "format"]);
    }

    #[test]
    fn times_are_whole_microseconds_of_four_digit_years() {
        let cases = [
            (at(0, 0), true),
            (at(253_402_300_799, 999_999_000), true),
            (at(253_402_300_800, 0), false),
            (at(1, 1), false),
            (at(1, -1_000), false),
            (at(1, 1_000_000_000), false),
            (None, false),
        ];
        for (given, good) in cases {
            let parsed = time(given);
            assert_eq!(parsed.is_ok(), good, "{given:?}");
            assert_eq!(parsed.ok().map(timestamp), given.filter(|_| good));
        }
    }

    #[test]
    fn only_a_subject_has_rights() {
        let subject = chassis::call::Subject {
            issuer: "i".into(),
            id: "s".into(),
            customer_id: Some("c".into()),
            scopes: ["staff.read".to_owned()].into(),
        };
        let partner = chassis::call::Partner { id: "p".into(), subject: Some(subject.clone()) };
        let cases = [
            (
                Principal::Subject(subject),
                Actor { customer_id: CustomerId::parse("c".into()).ok(), reads_all: true, writes_all: false },
            ),
            (Principal::Partner(partner), Actor::default()),
            (Principal::Service, Actor::default()),
            (Principal::Anonymous, Actor::default()),
        ];
        for (principal, expected) in cases {
            assert_eq!(actor(&Caller { principal, service: None }), expected);
        }
    }
}
