//! Making a statement. The ledger is asked for the balance before the period, the balance at its end, and page by page for the
//! entries between; each page is proven and written before the next is read, so a statement of any length needs the memory of
//! one page. Only a statement whose proof ends well becomes a document.
use chassis::call::Caller;
use chrono::{DateTime, Utc};
use proto::accounts::v1::accounts_service_client::AccountsServiceClient;
use proto::docs::v1 as pb;
use proto::ledger::v1::ListEntriesResponse;
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as ResponseBody, Bytes, StdError};
use uuid::Uuid;

use super::convert::{self, GenerateStatement};
use super::{audit, name, now, same_body};
use crate::domain::access::{Act, Actor};
use crate::domain::audit::Witness;
use crate::domain::document::{Content, CustomerId, Document, DocumentId, FileId};
use crate::domain::statement::money::Money;
use crate::domain::statement::proof::Proof;
use crate::domain::statement::render::{self, Head, Pen};
use crate::domain::statement::{AccountId, Statement};
use crate::error::Error;
use crate::store::{Inserted, Store, Upload};

/// The most entries of a statement: after a hundred pages, the time a call may take is spent.
const ENTRIES_MAX: u64 = 100_000;

/// Everything one statement needs. `edge` leads to the other services and speaks for the caller there.
pub struct Desk<'a, C> {
    pub store: &'a Store,
    pub edge: C,
    pub bytes_max: u64,
    /// For the event of its making.
    pub witness: Witness,
}

/// The ledger's balances around the period.
struct Balances {
    opening: Money,
    closing: Money,
}

/// A word for the counter of statements.
pub(super) fn outcome(made: &Result<pb::Statement, Error>) -> &'static str {
    match made {
        Ok(_) => "made",
        Err(Error::Unproven { .. }) => "unproven",
        Err(_) => "refused",
    }
}

impl<C> Desk<'_, C>
where
    C: GrpcService<Body> + Clone + Send + Sync,
    C::Error: Into<StdError>,
    C::Future: Send,
    C::ResponseBody: ResponseBody<Data = Bytes> + Send + 'static,
    <C::ResponseBody as ResponseBody>::Error: Into<StdError> + Send,
{
    /// Makes the statement, or answers with the one that the same request has made.
    ///
    /// # Errors
    /// As the contract says.
    pub async fn generate(
        &self,
        caller: &Caller,
        request: pb::GenerateStatementRequest,
    ) -> Result<pb::Statement, Error> {
        let asked = convert::generate_statement(request, caller.idempotency_scope(), Utc::now())?;
        let before = self.store.made_by(&asked.request).await?;
        if let Some(before) = &before
            && before.request.body == asked.request.body
        {
            return convert::statement(before);
        }
        // What has just ended may still move. The wait is short, and the alternative is a statement that lacks an entry.
        tokio::time::sleep(asked.period.settles_in(Utc::now())).await;
        // Permission comes before the reuse of a request_id, and whether the caller may see the account is the ledger's to say.
        let opening = self.balance(&asked.account_id, asked.period.eve()).await?;
        let owner = self.owner(&convert::actor(caller), &asked.account_id).await?;
        if let Some(before) = before {
            return convert::statement(&same_body(&asked.request, before)?);
        }
        let closing = self.balance(&asked.account_id, asked.period.last()).await?;
        self.make(asked, owner, Balances { opening, closing }).await
    }

    /// Whose the statement will be: the caller's, or with staff the holder's. The bank's own accounts have none.
    async fn owner(&self, actor: &Actor, account_id: &AccountId) -> Result<Option<CustomerId>, Error> {
        let own = actor.customer_id.clone();
        let owner = if !actor.writes_all {
            own
        } else if account_id.is_the_banks() {
            None
        } else {
            self.holder(account_id).await?
        };
        if actor.may(Act::Write, owner.as_ref()) { Ok(owner) } else { Err(Error::NotPermitted) }
    }

    async fn holder(&self, account_id: &AccountId) -> Result<Option<CustomerId>, Error> {
        let asked = convert::holder_request(account_id);
        let answer = AccountsServiceClient::new(self.edge.clone()).batch_get_accounts(asked).await;
        let answer = answer.map_err(|status| Error::upstream("accounts.v1", account_id.as_str(), status))?;
        convert::holder(answer.into_inner(), account_id)
    }

    async fn balance(&self, account_id: &AccountId, as_of: DateTime<Utc>) -> Result<Money, Error> {
        let asked = convert::balance_request(account_id, as_of);
        let answer = LedgerServiceClient::new(self.edge.clone()).get_balance(asked).await;
        let answer = answer.map_err(|status| Error::upstream("ledger.v1", account_id.as_str(), status))?;
        convert::money(answer.into_inner().posted)
    }

    async fn page(
        &self,
        asked: &GenerateStatement,
        page_token: String,
    ) -> Result<ListEntriesResponse, Error> {
        let request = convert::entries_request(asked, page_token);
        let answer = LedgerServiceClient::new(self.edge.clone()).list_entries(request).await;
        let answer =
            answer.map_err(|status| Error::upstream("ledger.v1", asked.account_id.as_str(), status))?;
        Ok(answer.into_inner())
    }

    async fn make(
        &self,
        asked: GenerateStatement,
        owner: Option<CustomerId>,
        balances: Balances,
    ) -> Result<pb::Statement, Error> {
        let file = FileId(Uuid::now_v7());
        let mut upload = self.store.begin_upload(file, self.bytes_max, Utc::now()).await?;
        let entry_count = match self.fill(&mut upload, &asked, &balances).await {
            Ok(entry_count) => entry_count,
            Err(error) => {
                upload.abandon().await;
                return Err(error);
            }
        };
        let content = upload.finish(render::media_type(asked.format)).await?;
        let document = document(asked, owner, balances, entry_count, content);
        // When this fails midway, nobody knows whether the document is there: the file is left to the sweeper, who looks.
        match self.store.insert(&document, &audit::done(&self.witness, name(document.id))).await? {
            Inserted::Done => convert::statement(&document),
            Inserted::Before(before) => {
                self.store.discard(file).await;
                convert::statement(&same_body(&document.request, *before)?)
            }
        }
    }

    /// Writes the whole statement and proves it on the way. Returns the number of entries.
    async fn fill(
        &self,
        upload: &mut Upload,
        asked: &GenerateStatement,
        balances: &Balances,
    ) -> Result<u64, Error> {
        let (opening, closing) = (&balances.opening, &balances.closing);
        let head = Head { account_id: &asked.account_id, period: asked.period, opening, closing };
        let (mut pen, bytes) = Pen::begin(asked.format, &head)?;
        upload.write(&bytes).await?;
        let mut proof = Proof::open(asked.account_id.clone(), asked.period, opening.clone());
        let mut page_token = String::new();
        loop {
            let page = self.page(asked, page_token).await?;
            let entries = page.entries.into_iter().map(convert::entry).collect::<Result<Vec<_>, _>>()?;
            entries.iter().try_for_each(|entry| proof.entry(entry))?;
            if proof.entries() > ENTRIES_MAX {
                return Err(Error::TooManyEntries { entries_max: ENTRIES_MAX });
            }
            upload.write(&pen.entries(&entries)?).await?;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let entry_count = proof.close(closing)?;
        upload.write(&pen.end(entry_count)?).await?;
        Ok(entry_count)
    }
}

fn document(
    asked: GenerateStatement,
    owner: Option<CustomerId>,
    balances: Balances,
    entry_count: u64,
    content: Content,
) -> Document {
    let now = now();
    Document {
        id: DocumentId(Uuid::now_v7()),
        customer_id: owner,
        title: render::title(&asked.account_id, asked.period),
        content: Some(content),
        statement: Some(Statement {
            id: Uuid::now_v7(),
            account_id: asked.account_id,
            period: asked.period,
            opening: balances.opening,
            closing: balances.closing,
            entry_count,
            format: asked.format,
        }),
        created: now,
        updated: now,
        revision: 1,
        request: asked.request,
    }
}
