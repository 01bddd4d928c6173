//! `docs.v1.DocsService`: decode, judge, ask the store, encode. This file has the documents themselves; content and statements
//! have files of their own. The clock is read and ids are made here and nowhere below.
pub mod audit;
mod content;
mod convert;
pub mod heads;
pub mod statement;

use std::pin::Pin;

use chassis::call::Call;
use chassis::edge_channel::EdgeChannel;
use chrono::{DateTime, SubsecRound as _, Utc};
use futures::Stream;
use proto::docs::v1 as pb;
use proto::docs::v1::docs_service_server::DocsService;
use proto::google::api::HttpBody;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::domain::access::{Act, Actor};
use crate::domain::audit::Witness;
use crate::domain::document::{Document, DocumentId};
use crate::domain::request;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::{Inserted, Store};

/// What a download sends.
type Bodies = Pin<Box<dyn Stream<Item = Result<HttpBody, Status>> + Send>>;

/// The handlers. A clone shares everything.
#[derive(Clone)]
pub struct DocsRpc {
    store: Store,
    edge: EdgeChannel,
    metrics: Metrics,
    bytes_max: u64,
}

impl DocsRpc {
    /// Serves the store, reaches other services through the edge, and refuses content above `bytes_max`.
    pub fn new(
        store: Store,
        edge: EdgeChannel,
        registry: &chassis::metrics::Metrics,
        bytes_max: u64,
    ) -> Self {
        Self { store, edge, metrics: Metrics::register(registry), bytes_max }
    }

    /// The document, if the actor may do that with it.
    async fn document(&self, actor: &Actor, act: Act, id: DocumentId) -> Result<Document, Error> {
        let found = self.store.get(id).await?;
        actor.judge(act, found).map_err(|denial| Error::denied(denial, &id.to_string()))
    }

    async fn create(
        &self,
        call: &Call,
        witness: &Witness,
        request: pb::CreateDocumentRequest,
    ) -> Result<Document, Error> {
        let actor = convert::actor(&call.caller);
        let asked = convert::create_document(request, &actor, call.caller.idempotency_scope())?;
        if !actor.may(Act::Write, Some(&asked.customer_id)) {
            return Err(Error::NotPermitted);
        }
        let now = now();
        let document = Document {
            id: DocumentId(Uuid::now_v7()),
            customer_id: Some(asked.customer_id),
            title: asked.title,
            content: None,
            statement: None,
            created: now,
            updated: now,
            revision: 1,
            request: asked.request,
        };
        match self.store.insert(&document, &audit::done(witness, name(document.id))).await? {
            Inserted::Done => Ok(document),
            Inserted::Before(before) => same_body(&document.request, *before),
        }
    }

    async fn list(
        &self,
        call: &Call,
        request: pb::ListDocumentsRequest,
    ) -> Result<pb::ListDocumentsResponse, Error> {
        let actor = convert::actor(&call.caller);
        let convert::ListDocuments { customer_id, page } = convert::list_documents(request, &actor)?;
        if !actor.may(Act::Read, Some(&customer_id)) {
            return Err(Error::NotPermitted);
        }
        let after = page.after().map(DocumentId);
        let mut documents = self.store.list(&customer_id, after, page.limit()).await?;
        let next_page_token = page.cut(&mut documents, |document| document.id.0);
        let documents = documents.into_iter().map(convert::document).collect();
        Ok(pb::ListDocumentsResponse { documents, next_page_token })
    }
}

/// A document as a resource.
fn name(id: DocumentId) -> String {
    format!("documents/{id}")
}

/// The time, as exact as the store keeps it: what is answered at once is what is read later.
fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

/// The document that a repeated request made, unless the request has another body this time.
fn same_body(asked: &request::Request, before: Document) -> Result<Document, Error> {
    match before.request.body.difference(&asked.body) {
        None => Ok(before),
        Some(field) => Err(Error::RequestReused { field: field.to_owned() }),
    }
}

#[tonic::async_trait]
impl DocsService for DocsRpc {
    type DownloadContentStream = Bodies;

    async fn create_document(
        &self,
        request: Request<pb::CreateDocumentRequest>,
    ) -> Result<Response<pb::Document>, Status> {
        let call = Call::of(&request)?;
        let witness = convert::audit::witness(&call, "CreateDocument");
        let created = self.create(&call, &witness, request.into_inner()).await;
        if let Err(error) = &created {
            self.record_refusal(&witness, error, None).await;
        }
        Ok(Response::new(convert::document(created?)))
    }

    async fn get_document(
        &self,
        request: Request<pb::GetDocumentRequest>,
    ) -> Result<Response<pb::Document>, Status> {
        let actor = convert::actor(&Call::of(&request)?.caller);
        let id = convert::document_id(&request.get_ref().document_id)?;
        let document = self.document(&actor, Act::Read, id).await?;
        Ok(Response::new(convert::document(document)))
    }

    async fn list_documents(
        &self,
        request: Request<pb::ListDocumentsRequest>,
    ) -> Result<Response<pb::ListDocumentsResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.list(&call, request.into_inner()).await?))
    }

    async fn upload_content(
        &self,
        request: Request<Streaming<pb::UploadContentRequest>>,
    ) -> Result<Response<pb::Document>, Status> {
        let call = Call::of(&request)?;
        let (actor, witness) =
            (convert::actor(&call.caller), convert::audit::witness(&call, "UploadContent"));
        let document = self.upload(&actor, &witness, request.into_inner()).await?;
        Ok(Response::new(convert::document(document)))
    }

    async fn download_content(
        &self,
        request: Request<pb::DownloadContentRequest>,
    ) -> Result<Response<Self::DownloadContentStream>, Status> {
        let actor = convert::actor(&Call::of(&request)?.caller);
        let id = convert::document_id(&request.get_ref().document_id)?;
        Ok(Response::new(self.download(&actor, id).await?))
    }

    async fn generate_statement(
        &self,
        request: Request<pb::GenerateStatementRequest>,
    ) -> Result<Response<pb::Statement>, Status> {
        let call = Call::of(&request)?;
        let desk = statement::Desk {
            store: &self.store,
            edge: self.edge.for_call(&call),
            bytes_max: self.bytes_max,
            witness: convert::audit::witness(&call, "GenerateStatement"),
        };
        let request = request.into_inner();
        let resource = format!("accounts/{}", request.account_id);
        let made = desk.generate(&call.caller, request).await;
        if let Err(error) = &made {
            self.record_refusal(&desk.witness, error, Some(resource)).await;
        }
        self.metrics.stated(statement::outcome(&made));
        Ok(Response::new(made?))
    }

    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(self.list_events(&call, request.into_inner()).await?))
    }
}
