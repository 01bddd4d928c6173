//! The service behind the edge: a real service of the chassis, mutual TLS included, that echoes and fails as it is asked to.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chassis::call::Call;
use chassis::error::{Failure, Kind};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use proto::edge::v1::audit_service_server::{AuditService, AuditServiceServer};
use proto::edge::v1::{AppendRequest, AppendResponse, AuditEvent};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use proto::edge::v1::revocation_service_server::RevocationServiceServer;

use crate::identity::Revoker;
use crate::messages::*;

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;
type Messages<T> = BoxStream<'static, Result<T, Status>>;

pub fn routes() -> Routes {
    Routes::new(Echo)
        .add_service(Greeter)
        .add_service(AuditServiceServer::new(Keeper))
        .add_service(RevocationServiceServer::new(Revoker))
}

/// Keeps audit events, but for those of subjects whose name says otherwise.
struct Keeper;

/// What keepers of every world were asked to keep, and whether they did.
pub static APPENDED: Mutex<Vec<(Vec<AuditEvent>, bool)>> = Mutex::new(Vec::new());

#[tonic::async_trait]
impl AuditService for Keeper {
    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        let events = request.into_inner().events;
        let of = |events: &[AuditEvent], name: &str| {
            events.iter().any(|event| event.principal.as_ref().is_some_and(|who| who.subject == name))
        };
        let mut appended = APPENDED.lock().unwrap();
        // Away when it is first asked to keep this one's.
        let away = of(&events, "unlucky") && !appended.iter().any(|(before, _)| of(before, "unlucky"));
        let unkeepable = of(&events, "unkeepable");
        appended.push((events, !away && !unkeepable));
        match (away, unkeepable) {
            (true, _) => Err(Refusal::Away.into()),
            (false, true) => Err(Refusal::Unkeepable.into()),
            (false, false) => Ok(Response::new(AppendResponse {})),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("nobody is there")]
    Away,
    #[error("such an event is not kept")]
    Unkeepable,
    #[error("there is no such note")]
    Missing,
    #[error("the stream broke")]
    Broken,
}

impl Failure for Refusal {
    const DOMAIN: &'static str = "echo.v1";

    fn kind(&self) -> Kind {
        match self {
            Self::Away => Kind::Unavailable,
            Self::Unkeepable => Kind::Invalid,
            Self::Missing => Kind::NotFound,
            Self::Broken => Kind::Conflict,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Away => "AWAY",
            Self::Unkeepable => "UNKEEPABLE",
            Self::Missing => "NO_SUCH_NOTE",
            Self::Broken => "STREAM_BROKEN",
        }
    }
}

chassis::status_from!(Refusal);

async fn get(request: Request<GetNoteRequest>) -> Result<Response<Note>, Status> {
    let note_id = request.into_inner().note_id;
    match note_id.as_str() {
        "missing" => return Err(Refusal::Missing.into()),
        "slow" => tokio::time::sleep(Duration::from_secs(20)).await,
        "late" => tokio::time::sleep(Duration::from_millis(1500)).await,
        _ => (),
    }
    Ok(Response::new(Note { note_id, text: "a note".into(), size: i64::MAX }))
}

async fn create(request: Request<CreateNoteRequest>) -> Result<Response<Note>, Status> {
    let CreateNoteRequest { text, size, request_id } = request.into_inner();
    let note_id = if request_id.is_empty() { "n-1".into() } else { request_id };
    Ok(Response::new(Note { note_id, text, size }))
}

async fn watch(request: Request<WatchNotesRequest>) -> Result<Response<Messages<Note>>, Status> {
    let WatchNotesRequest { count, fail, hang, after, late } = request.into_inner();
    if late {
        tokio::time::sleep(Duration::from_millis(400)).await;
        if fail {
            return Err(Refusal::Broken.into());
        }
    }
    let first = if after > 0 { i32::try_from(after).unwrap() + 1 } else { 0 };
    let notes =
        (first..count).map(|i| Ok(Note { note_id: format!("n-{i}"), text: String::new(), size: i.into() }));
    let end: Messages<Note> = if hang {
        stream::pending().boxed()
    } else {
        stream::iter(fail.then(|| Err(Refusal::Broken.into()))).boxed()
    };
    Ok(Response::new(stream::iter(notes).chain(end).boxed()))
}

/// What came of the uploads of every world, by file: "begun", then "whole" or "broken".
pub static UPLOADS: Mutex<Vec<(String, &str)>> = Mutex::new(Vec::new());

/// Reads an upload in a task of its own, as a service does that stores while it receives: when the call is cancelled, the task
/// sees how the stream ends.
async fn upload(request: Request<Streaming<UploadFileRequest>>) -> Result<Response<File>, Status> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = tell.send(store(request.into_inner()).await);
    });
    tasks.detach_all();
    told.await.unwrap()
}

async fn store(mut parts: Streaming<UploadFileRequest>) -> Result<Response<File>, Status> {
    let note = |file: &File, what| UPLOADS.lock().unwrap().push((file.file_id.clone(), what));
    let mut file = File::default();
    while let Some(part) = parts.message().await.inspect_err(|_| note(&file, "broken"))? {
        if file.messages == 0 {
            file.file_id = part.file_id;
            if file.file_id == "missing" {
                return Err(Refusal::Missing.into());
            }
            note(&file, "begun");
        }
        let body = part.content.unwrap_or_default();
        if !body.content_type.is_empty() {
            file.content_type = body.content_type;
        }
        file.messages += 1;
        file.bytes += body.data.len() as i64;
        file.largest = file.largest.max(body.data.len() as i64);
    }
    note(&file, "whole");
    Ok(Response::new(file))
}

async fn download(request: Request<DownloadFileRequest>) -> Result<Response<Messages<HttpBody>>, Status> {
    const PIECE: i64 = 32 * 1024;
    let DownloadFileRequest { file_id, bytes, fail } = request.into_inner();
    if file_id == "missing" {
        return Err(Refusal::Missing.into());
    }
    let mut left = bytes;
    let parts = std::iter::from_fn(move || {
        let piece = left.min(PIECE);
        left -= piece;
        let data = Bytes::from(vec![b'x'; usize::try_from(piece).unwrap()]);
        (piece > 0).then(|| Ok(HttpBody { content_type: "text/plain".into(), data }))
    });
    let end = fail.then(|| Err(Refusal::Broken.into()));
    Ok(Response::new(stream::iter(parts).chain(stream::iter(end)).boxed()))
}

async fn collect(request: Request<Streaming<Note>>) -> Result<Response<Note>, Status> {
    let notes: Vec<Note> = request.into_inner().try_collect().await?;
    let size = notes.iter().map(|note| note.size).sum();
    Ok(Response::new(Note { note_id: notes.len().to_string(), text: String::new(), size }))
}

/// Echoes; a note called "later" when nothing more comes, and one called "broken" ends it all.
async fn chat(request: Request<Streaming<Note>>) -> Result<Response<Messages<Note>>, Status> {
    let answers = stream::unfold((request.into_inner().fuse(), Vec::new()), |(mut notes, mut later)| async {
        while let Some(note) = notes.next().await {
            match note {
                Ok(note) if note.note_id == "later" => later.push(Ok(note)),
                Ok(note) if note.note_id == "broken" => {
                    return Some((Err(Refusal::Broken.into()), (notes, later)));
                }
                note => return Some((note, (notes, later))),
            }
        }
        later.pop().map(|note| (note, (notes, later)))
    });
    Ok(Response::new(answers.boxed()))
}

async fn attach(request: Request<AttachFileRequest>) -> Result<Response<File>, Status> {
    let AttachFileRequest { note_id, attachment } = request.into_inner();
    let Attachment { title, picture, scan } = attachment.unwrap_or_default();
    let HttpBody { content_type, data } = scan.unwrap_or_default();
    let (bytes, largest) = (picture.len() as i64, data.len() as i64);
    Ok(Response::new(File {
        file_id: format!("{note_id} {title}"),
        content_type,
        bytes,
        messages: 1,
        largest,
    }))
}

async fn who_am_i(request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
    let call = Call::of(&request)?;
    Ok(Response::new(WhoAmIResponse {
        kind: call.caller.kind().into(),
        service: call.caller.acting_service().unwrap_or_default().into(),
        customer_id: call.caller.customer_id().unwrap_or_default().into(),
        hops: call.hops.into(),
        budget_ms: i64::try_from(call.deadline.remaining().as_millis()).unwrap(),
    }))
}

async fn hello(request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
    let name = request.into_inner().name;
    if name == "slow" {
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    Ok(Response::new(HelloReply { greeting: format!("hello {name}") }))
}

#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "echo.v1.EchoService";
}

fn grpc<Out: prost::Message + Default + Send + 'static, In: prost::Message + Default + Send + 'static>()
-> Grpc<ProstCodec<Out, In>> {
    Grpc::new(ProstCodec::default())
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        use tower::service_fn;
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(match method.as_str() {
                "GetNote" => grpc().unary(service_fn(get), request).await,
                "DeleteNote" => grpc().unary(service_fn(get), request).await,
                "CreateNote" => grpc().unary(service_fn(create), request).await,
                "WatchNotes" => grpc().server_streaming(service_fn(watch), request).await,
                "UploadFile" => grpc().client_streaming(service_fn(upload), request).await,
                "DownloadFile" => grpc().server_streaming(service_fn(download), request).await,
                "CollectNotes" => grpc().client_streaming(service_fn(collect), request).await,
                "Chat" => grpc().streaming(service_fn(chat), request).await,
                "AttachFile" => grpc().unary(service_fn(attach), request).await,
                "WhoAmI" => grpc().unary(service_fn(who_am_i), request).await,
                other => panic!("no method {other}"),
            })
        })
    }
}

#[derive(Clone)]
struct Greeter;

impl NamedService for Greeter {
    const NAME: &'static str = "foreign.Greeter";
}

impl Service<http::Request<Body>> for Greeter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        Box::pin(async move { Ok(grpc().unary(tower::service_fn(hello), request).await) })
    }
}

/// A stream of messages that a test feeds.
pub fn fed<T: Send + 'static>(capacity: usize) -> (tokio::sync::mpsc::Sender<T>, ReceiverStream<T>) {
    let (sender, receiver) = tokio::sync::mpsc::channel(capacity);
    (sender, ReceiverStream::new(receiver))
}
