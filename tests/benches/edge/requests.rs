//! The rows of the comparison: the same requests to either gateway.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use e2e::grpc::{Calling, calling, channel};
use e2e::load::Request;
use e2e::rest::{Rest, Version, tls};
use futures::future::BoxFuture;
use http::Method;
use serde_json::json;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::upstream::v1::bench_service_client::BenchServiceClient;
use crate::upstream::v1::{Entry, GetEntryRequest};

/// A gateway to load.
pub struct Target {
    h1: Rest,
    h2: Rest,
    grpc: BenchServiceClient<Calling>,
    token: String,
}

/// A name, and what makes its request.
pub type Row = (&'static str, fn(&Target) -> Request);

pub const ROWS: [Row; 6] = [
    ("REST GET h1", |target| rest(&target.h1, target, Method::GET, GET, None)),
    ("REST POST h1", |target| rest(&target.h1, target, Method::POST, "/v1/bench/entries", Some(body()))),
    ("REST list of 100 h1", |target| rest(&target.h1, target, Method::GET, LIST, None)),
    ("REST GET h2", |target| rest(&target.h2, target, Method::GET, GET, None)),
    ("gRPC unary", unary),
    ("gRPC bidi message", message),
];

const GET: &str =
    "/v1/bench/01a202f5-880c-741f-a3c6-168acc03d7da/entries/01a202f5-8833-7000-8000-0016bd8081ba";
const LIST: &str = "/v1/bench/01a202f5-880c-741f-a3c6-168acc03d7da/entries?page_size=100";

fn body() -> Bytes {
    json!({
        "requestId": "01a202f5-8846-7000-8000-001a3b52ccad",
        "entry": {
            "accountId": "01a202f5-880c-741f-a3c6-168acc03d7da",
            "amount": "4250",
            "currencyCode": "EUR",
            "balanceAfter": "245750",
            "version": "4",
            "reference": "Dinner on Friday",
            "bookTime": "2026-11-22T11:12:55.366Z",
        },
    })
    .to_string()
    .into()
}

impl Target {
    pub fn new(port: u16, authority: &Path, token: &str) -> Self {
        let base = format!("https://localhost:{port}");
        let rest = |version| Rest::new(&base, tls(authority, None), version);
        let grpc = calling(channel(port, "localhost", authority, None), Some(token));
        Self {
            h1: rest(Version::Http1),
            h2: rest(Version::Http2),
            grpc: BenchServiceClient::new(grpc),
            token: token.to_owned(),
        }
    }
}

fn rest(client: &Rest, target: &Target, method: Method, path: &'static str, body: Option<Bytes>) -> Request {
    let (client, token) = (client.clone(), format!("Bearer {}", target.token));
    Arc::new(move || {
        let (client, token, method, body) = (client.clone(), token.clone(), method.clone(), body.clone());
        Box::pin(async move {
            let mut request = client.request(method, path).header("authorization", token);
            if body.is_some() {
                request = request.header("content-type", "application/json");
            }
            let answer = client.send(request.body(body.unwrap_or_default().into()).unwrap()).await;
            assert!(answer.status.is_success(), "{answer:?}");
        })
    })
}

fn unary(target: &Target) -> Request {
    let client = target.grpc.clone();
    Arc::new(move || {
        let mut client = client.clone();
        Box::pin(async move {
            client.get_entry(question()).await.unwrap();
        })
    })
}

fn question() -> GetEntryRequest {
    GetEntryRequest {
        account_id: "01a202f5-880c-741f-a3c6-168acc03d7da".to_owned(),
        entry_id: "01a202f5-8833-7000-8000-0016bd8081ba".to_owned(),
    }
}

/// A message there and one back, on one of a few streams that stay open.
fn message(target: &Target) -> Request {
    const STREAMS: usize = 16;
    let streams: Arc<Vec<Mutex<Option<Chat>>>> = Arc::new((0..STREAMS).map(|_| Mutex::new(None)).collect());
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let client = target.grpc.clone();
    Arc::new(move || -> BoxFuture<'static, ()> {
        let (streams, client) = (streams.clone(), client.clone());
        let turn = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % STREAMS;
        Box::pin(async move {
            let mut chat = streams[turn].lock().await;
            if chat.is_none() {
                *chat = Some(Chat::open(client).await);
            }
            chat.as_mut().unwrap().turn().await;
        })
    })
}

struct Chat {
    send: mpsc::Sender<GetEntryRequest>,
    answers: Streaming<Entry>,
}

impl Chat {
    async fn open(mut client: BenchServiceClient<Calling>) -> Self {
        let (send, receive) = mpsc::channel(1);
        // Envoy sends the response's head with the first message, so the first question goes out before the answer is awaited.
        send.send(question()).await.unwrap();
        let mut answers = client.chat(ReceiverStream::new(receive)).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap();
        Self { send, answers }
    }

    async fn turn(&mut self) {
        self.send.send(question()).await.unwrap();
        self.answers.message().await.unwrap().unwrap();
    }
}
