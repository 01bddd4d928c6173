//! svc-docs on a real MongoDB server, through its RPCs. The caller is what the chassis would have made of the edge's metadata.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod audit;
mod heads;
mod ledger;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::call::{Call, Caller, Principal, Subject};
use chrono::{TimeDelta, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use ledger::Ledger;
use mongodb::bson::{Document as Bson, doc};
use proto::docs::v1 as pb;
use proto::docs::v1::docs_service_client::DocsServiceClient;
use proto::docs::v1::docs_service_server::DocsServiceServer;
use proto::google::api::HttpBody;
use server::Server;
use sha2::{Digest as _, Sha256};
use svc_docs::rpc::DocsRpc;
use svc_docs::rpc::statement::Desk;
use svc_docs::store::Store;
use tonic::service::Routes;
use tonic::{Code, Request, Status};

/// The most bytes of content here.
const BYTES_MAX: u64 = 3 << 20;

struct Fixture {
    server: Server,
    store: Store,
    rpc: DocsRpc,
    database: mongodb::Database,
}

impl Fixture {
    async fn start() -> Self {
        // The chassis does this for a process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Server::start().await;
        let store = Store::connect(&server.config()).await.unwrap();
        let identity = chassis::Identity::load(&chassis::config::Identity {
            certificate: server.path("workload.pem"),
            key: server.path("workload.key"),
            trust_bundle: server.path("ca.pem"),
            trust_domain: "causeway.test".to_owned(),
        });
        let edge = chassis::config::Edge {
            addresses: vec!["127.0.0.1:9".to_owned()],
            connect_ms: 100,
            connection_age_ms: 60_000,
        };
        let edge =
            chassis::EdgeChannel::start(&edge, &identity.unwrap(), &chassis::Drain::default()).unwrap();
        let rpc = DocsRpc::new(store.clone(), edge, &chassis::Metrics::default(), BYTES_MAX);
        let database = server.database().await;
        Self { server, store, rpc, database }
    }

    /// A client whose calls come from `caller`.
    fn as_caller(&self, caller: Caller) -> DocsServiceClient<Routes> {
        let call = Call {
            caller: Arc::new(caller),
            deadline: chassis::Deadline::after(Duration::from_secs(60)),
            transaction_id: "t".into(),
            hops: 1,
            trace: chassis::trace::TraceContext::root(),
            token: None,
        };
        let with_call = move |mut request: Request<()>| {
            request.extensions_mut().insert(call.clone());
            Ok(request)
        };
        DocsServiceClient::new(Routes::new(DocsServiceServer::with_interceptor(self.rpc.clone(), with_call)))
    }

    async fn create(&self, caller: &Caller, request_id: &str, title: &str) -> Result<pb::Document, Status> {
        let request = pb::CreateDocumentRequest {
            request_id: request_id.into(),
            customer_id: String::new(),
            title: title.into(),
        };
        Ok(self.as_caller(caller.clone()).create_document(request).await?.into_inner())
    }

    async fn get(&self, caller: &Caller, id: &str) -> Result<pb::Document, Status> {
        let request = pb::GetDocumentRequest { document_id: id.into() };
        Ok(self.as_caller(caller.clone()).get_document(request).await?.into_inner())
    }

    async fn upload(&self, caller: &Caller, id: &str, bytes: &[u8]) -> Result<pb::Document, Status> {
        let messages = messages(id, bytes);
        Ok(self.as_caller(caller.clone()).upload_content(stream::iter(messages)).await?.into_inner())
    }

    async fn download(&self, caller: &Caller, id: &str) -> Result<Vec<HttpBody>, Status> {
        let request = pb::DownloadContentRequest { document_id: id.into() };
        self.as_caller(caller.clone()).download_content(request).await?.into_inner().try_collect().await
    }

    async fn chunks(&self) -> u64 {
        self.count("content.chunks").await
    }

    async fn count(&self, collection: &str) -> u64 {
        self.database.collection::<Bson>(collection).count_documents(doc! {}).await.unwrap()
    }
}

fn messages(id: &str, bytes: &[u8]) -> Vec<pb::UploadContentRequest> {
    let message = |(n, data): (usize, &[u8])| pb::UploadContentRequest {
        document_id: if n == 0 { id.to_owned() } else { String::new() },
        content: Some(HttpBody {
            content_type: if n == 0 { "application/pdf".to_owned() } else { String::new() },
            data: data.to_vec().into(),
            extensions: vec![],
        }),
    };
    let first = std::iter::once(&bytes[..0]);
    first.chain(bytes.chunks(100_000)).enumerate().map(message).collect()
}

fn subject(id: &str, customer_id: Option<&str>, scopes: &[&str]) -> Caller {
    Caller {
        principal: Principal::Subject(Subject {
            issuer: "https://issuer.test".into(),
            id: id.into(),
            customer_id: customer_id.map(str::to_owned),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        }),
        service: None,
    }
}

fn alice() -> Caller {
    subject("alice", Some("c-alice"), &["documents.read", "documents.write", "accounts.read"])
}

fn bob() -> Caller {
    subject("bob", Some("c-bob"), &["documents.read", "documents.write", "accounts.read"])
}

fn staff() -> Caller {
    subject("staff", None, &["staff.read", "staff.write"])
}

fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.unwrap_err().code()
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_belong_to_their_owner_and_requests_are_made_once() {
    let docs = Fixture::start().await;
    let made = docs.create(&alice(), "r1", "Contract").await.unwrap();
    assert_eq!((&*made.customer_id, &*made.title, made.size_bytes), ("c-alice", "Contract", 0));
    assert_eq!(docs.create(&alice(), "r1", "Contract").await.unwrap(), made, "as it was answered before");
    assert_eq!(docs.get(&alice(), &made.document_id).await.unwrap(), made);
    let reused = docs.create(&alice(), "r1", "Other").await.unwrap_err();
    assert_eq!(reused.code(), Code::AlreadyExists);
    assert!(reused.message().contains("title"), "{}", reused.message());
    assert_ne!(docs.create(&bob(), "r1", "Contract").await.unwrap().document_id, made.document_id);

    // Many at once with one key make one document.
    let (docs, caller) = (&docs, &alice());
    let many = stream::iter(0..8).map(|_| docs.create(caller, "r2", "Race")).buffer_unordered(8);
    let many: Vec<_> = many.try_collect().await.unwrap();
    assert!(many.iter().all(|document| document.document_id == many[0].document_id));

    // Permission comes before existence.
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(code(docs.get(&bob(), &made.document_id).await), Code::PermissionDenied);
    assert_eq!(code(docs.get(&bob(), unknown).await), Code::PermissionDenied);
    assert_eq!(code(docs.get(&staff(), unknown).await), Code::NotFound);
    assert_eq!(code(docs.get(&staff(), "contract").await), Code::InvalidArgument);
    assert_eq!(docs.get(&staff(), &made.document_id).await.unwrap(), made);
    let for_alice = pb::CreateDocumentRequest {
        request_id: "r".into(),
        customer_id: "c-alice".into(),
        title: "t".into(),
    };
    assert_eq!(code(docs.as_caller(bob()).create_document(for_alice.clone()).await), Code::PermissionDenied);
    docs.as_caller(staff()).create_document(for_alice).await.unwrap();
    assert_eq!(code(docs.create(&staff(), "r", "whose").await), Code::InvalidArgument);

    // Pages, newest first, each document once.
    let list = |caller: Caller, customer_id: &'static str, page_token: String| async move {
        let request = pb::ListDocumentsRequest { customer_id: customer_id.into(), page_size: 2, page_token };
        docs.as_caller(caller).list_documents(request).await.map(tonic::Response::into_inner)
    };
    let first = list(alice(), "", String::new()).await.unwrap();
    let second = list(alice(), "", first.next_page_token.clone()).await.unwrap();
    assert_eq!((first.documents.len(), second.documents.len()), (2, 1));
    assert!(second.next_page_token.is_empty());
    assert_eq!(second.documents[0], made, "the oldest comes last");
    assert_eq!(code(list(bob(), "c-alice", String::new()).await), Code::PermissionDenied);
    assert_eq!(code(list(staff(), "c-bob", first.next_page_token).await), Code::InvalidArgument);
    assert_eq!(list(staff(), "c-alice", String::new()).await.unwrap().documents.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_replaced_whole_or_not_at_all() {
    let docs = Fixture::start().await;
    let made = docs.create(&alice(), "r", "Contract").await.unwrap();
    let id = &*made.document_id;
    assert_eq!(code(docs.download(&alice(), id).await), Code::NotFound);

    let first = bytes(1_300_000);
    let uploaded = docs.upload(&alice(), id, &first).await.unwrap();
    assert_eq!((uploaded.size_bytes, &*uploaded.content_type), (1_300_000, "application/pdf"));
    assert_eq!(uploaded.sha256, format!("{:x}", Sha256::digest(&first)));
    assert_ne!(uploaded.etag, made.etag);
    let pieces = docs.download(&alice(), id).await.unwrap();
    assert_eq!(pieces.iter().flat_map(|piece| piece.data.to_vec()).collect::<Vec<_>>(), first);
    assert!(pieces.iter().all(|piece| piece.data.len() <= 65_536));
    assert_eq!(pieces[0].content_type, "application/pdf");
    assert!(pieces[1..].iter().all(|piece| piece.content_type.is_empty()));
    assert_eq!(docs.count("loose_files").await, 0);

    // What is refused, or breaks off, changes nothing and leaves nothing.
    let chunks = docs.chunks().await;
    assert_eq!(code(docs.upload(&bob(), id, b"x").await), Code::PermissionDenied);
    assert_eq!(code(docs.download(&bob(), id).await), Code::PermissionDenied);
    assert_eq!(
        code(docs.upload(&alice(), id, &bytes(BYTES_MAX as usize + 1)).await),
        Code::ResourceExhausted
    );
    let mut changing = messages(id, &bytes(600_000));
    changing[5].content.as_mut().unwrap().content_type = "text/html".into();
    let changing = docs.as_caller(alice()).upload_content(stream::iter(changing)).await;
    assert_eq!(code(changing), Code::InvalidArgument);
    assert_eq!(code(docs.as_caller(alice()).upload_content(stream::empty()).await), Code::InvalidArgument);
    let stalled = stream::iter(messages(id, &bytes(900_000))).chain(stream::pending());
    let mut client = docs.as_caller(alice());
    let broken_off = async { while docs.chunks().await == chunks {} };
    tokio::select! {
        answer = client.upload_content(stalled) => panic!("{answer:?}"),
        () = broken_off => {}
    }
    drop(client);
    // Of each of the three a chunk that the driver had under way may land late.
    let begun = Instant::now();
    while docs.chunks().await > chunks + 3 {
        assert!(begun.elapsed() < Duration::from_secs(10), "chunks of a broken upload stay");
    }
    assert_eq!(docs.get(&alice(), id).await.unwrap(), uploaded);

    // The old file stays for downloads under way, then goes; the new one never does.
    let second = bytes(400_000);
    let replaced = docs.upload(&alice(), id, &second).await.unwrap();
    assert_eq!(replaced.sha256, format!("{:x}", Sha256::digest(&second)));
    assert_eq!(docs.store.sweep(Utc::now()).await.unwrap(), 0);
    // The sweep takes what landed late.
    assert!(docs.chunks().await >= chunks + 2);
    docs.store.sweep(Utc::now() + TimeDelta::hours(3)).await.unwrap();
    assert_eq!(
        (docs.chunks().await, docs.count("content.files").await, docs.count("loose_files").await),
        (2, 1, 0)
    );
    assert_eq!(
        docs.download(&staff(), id).await.unwrap().iter().map(|piece| piece.data.len()).sum::<usize>(),
        400_000
    );

    // Writers at once: each is told the truth, and what remains is one of them, whole.
    let contents: Vec<_> = (1..=3).map(|n| bytes(300_000 + n)).collect();
    let caller = alice();
    let writers = contents.iter().map(|content| docs.upload(&caller, id, content));
    for result in futures::future::join_all(writers).await {
        assert!(result.as_ref().map_or_else(|status| status.code() == Code::Aborted, |_| true), "{result:?}");
    }
    let left = docs.get(&caller, id).await.unwrap();
    assert!(contents.iter().any(|content| left.sha256 == format!("{:x}", Sha256::digest(content))));
    docs.store.sweep(Utc::now() + TimeDelta::hours(3)).await.unwrap();
    assert_eq!(docs.count("content.files").await, 1);

    // Damage is found, whether a chunk is missing or changed.
    let chunks = docs.database.collection::<Bson>("content.chunks");
    chunks
        .update_one(
            doc! { "n": 1 },
            doc! { "$set": { "data": mongodb::bson::Binary::from_base64("AAAA", None).unwrap() } },
        )
        .await
        .unwrap();
    assert_eq!(code(docs.download(&caller, id).await), Code::Internal);
    chunks.delete_one(doc! { "n": 0 }).await.unwrap();
    assert_eq!(code(docs.download(&caller, id).await), Code::Internal);

    // Nothing is a content too.
    assert_eq!(docs.upload(&caller, id, b"").await.unwrap().size_bytes, 0);
    let empty = docs.download(&caller, id).await.unwrap();
    assert_eq!((empty.len(), &*empty[0].content_type, empty[0].data.len()), (1, "application/pdf", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_proven_and_made_once() {
    let docs = Fixture::start().await;
    let ledger = Ledger::with_entries(2_500);
    let witness = audit::witness("GenerateStatement");
    let desk =
        || Desk { store: &docs.store, edge: ledger.clone(), bytes_max: BYTES_MAX, witness: witness.clone() };
    let request = |request_id: &str, format| ledger.request(request_id, format);
    use pb::StatementFormat::{Csv, Json};

    let json = desk().generate(&alice(), request("s1", Json)).await.unwrap();
    let minor = |money: &Option<proto::ledger::v1::Money>| money.as_ref().unwrap().minor_units;
    assert_eq!(
        (minor(&json.opening_balance), minor(&json.closing_balance)),
        (ledger.opening(), ledger.closing())
    );
    assert_eq!(json.entry_count, 2_500);
    let pieces = docs.download(&alice(), &json.document_id).await.unwrap();
    let content: Vec<u8> = pieces.iter().flat_map(|piece| piece.data.to_vec()).collect();
    let content: serde_json::Value = serde_json::from_slice(&content).unwrap();
    assert_eq!(
        (content["entries"].as_array().unwrap().len(), &content["entryCount"]),
        (2_500, &"2500".into())
    );
    assert_eq!(pieces[0].content_type, "application/json");
    let csv = desk().generate(&alice(), request("s2", Csv)).await.unwrap();
    let pieces = docs.download(&alice(), &csv.document_id).await.unwrap();
    let content = String::from_utf8(pieces.iter().flat_map(|piece| piece.data.to_vec()).collect()).unwrap();
    assert_eq!(content.lines().count(), 2_503);

    // Once made, it is the answer for ever, the ledger unasked; and its content is never replaced.
    let asked = ledger.calls();
    assert_eq!(desk().generate(&alice(), request("s1", Json)).await.unwrap(), json);
    assert_eq!(ledger.calls(), asked);
    let reused = Status::from(desk().generate(&alice(), request("s1", Csv)).await.unwrap_err());
    assert_eq!(reused.code(), Code::AlreadyExists);
    assert!(reused.message().contains("format"));
    assert_eq!(code(docs.upload(&alice(), &json.document_id, b"forged").await), Code::FailedPrecondition);

    // For staff it is the holder's document; of the bank's own accounts it is the bank's.
    let for_staff = desk().generate(&staff(), request("s1", Json)).await.unwrap();
    assert_eq!(docs.get(&alice(), &for_staff.document_id).await.unwrap().customer_id, "c-alice");
    assert_eq!(code(docs.get(&bob(), &for_staff.document_id).await), Code::PermissionDenied);

    // A ledger that contradicts itself makes no statement, and leaves nothing.
    let before = (docs.count("documents").await, docs.count("content.files").await, docs.chunks().await);
    for broken in [ledger.without_an_entry(), ledger.with_another_closing()] {
        let desk = Desk { edge: broken, ..desk() };
        assert_eq!(
            Status::from(desk.generate(&alice(), request("s3", Json)).await.unwrap_err()).code(),
            Code::Internal
        );
    }
    for (refusal, expected) in [
        (Code::PermissionDenied, Code::PermissionDenied),
        (Code::NotFound, Code::NotFound),
        (Code::Unavailable, Code::Unavailable),
        (Code::InvalidArgument, Code::InvalidArgument),
        (Code::DataLoss, Code::Internal),
    ] {
        let desk = Desk { edge: ledger.refusing(refusal), ..desk() };
        assert_eq!(
            Status::from(desk.generate(&alice(), request("s3", Json)).await.unwrap_err()).code(),
            expected
        );
    }
    let service = Caller { principal: Principal::Service, service: Some("svc-accounts".into()) };
    let refused = desk().generate(&service, request("s3", Json)).await.unwrap_err();
    assert_eq!(Status::from(refused).code(), Code::PermissionDenied);
    // What was given up stays listed until no chunk of it can land any more.
    docs.store.sweep(Utc::now() + TimeDelta::hours(3)).await.unwrap();
    assert_eq!(
        (docs.count("documents").await, docs.count("content.files").await, docs.chunks().await),
        before
    );
    assert_eq!(docs.count("loose_files").await, 0);

    // A period must have ended, and one that just has is given the time to settle.
    let mut future = request("s4", Json);
    future.end_time.as_mut().unwrap().seconds += 100_000_000;
    assert_eq!(
        Status::from(desk().generate(&alice(), future).await.unwrap_err()).code(),
        Code::InvalidArgument
    );
    let begun = Instant::now();
    let mut recent = request("s4", Json);
    recent.end_time = Some(prost_types::Timestamp { seconds: Utc::now().timestamp(), nanos: 0 });
    desk().generate(&alice(), recent).await.unwrap();
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_may_go_and_come_back() {
    let mut docs = Fixture::start().await;
    let made = docs.create(&alice(), "r", "Contract").await.unwrap();
    let (tell, mut told) = tokio::sync::watch::channel(true);
    let drain = chassis::Drain::default();
    let store = docs.store.clone();
    drain.spawn("monitor", async move { store.monitor(move |up| _ = tell.send_replace(up)).await });

    docs.server.stop();
    let begun = Instant::now();
    let down = docs.get(&alice(), &made.document_id).await.unwrap_err();
    assert_eq!(down.code(), Code::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!down.message().contains("127.0.0.1"), "what the driver says stays inside");
    tokio::time::timeout(Duration::from_secs(10), told.wait_for(|up| !up)).await.unwrap().unwrap();

    docs.server.run(true);
    tokio::time::timeout(Duration::from_secs(20), told.wait_for(|up| *up)).await.unwrap().unwrap();
    assert_eq!(docs.get(&alice(), &made.document_id).await.unwrap(), made);

    let mut wrong = docs.server.config();
    std::fs::write(docs.server.path("wrong"), "guess").unwrap();
    wrong.password_file = chassis::config::SecretFile::new(docs.server.path("wrong"));
    assert!(Store::connect(&wrong).await.is_err(), "authentication is on");
}
