//! A foreign gRPC service behind the edge: not of this mesh, without TLS, and known to the edge by its descriptor set and a few
//! lines of TOML only.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_docs,
    reason = "generated code"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/echo.v1.rs"));
}

use v1::echo_service_server::{EchoService, EchoServiceServer};
use v1::{CollectResponse, CountRequest, EchoRequest, EchoResponse, FailRequest};

/// As the compiler wrote it.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/echo.binpb"));

/// The service and what it can tell about the calls it is serving.
#[derive(Clone, Default)]
pub struct Foreign {
    open: Arc<AtomicI64>,
}

impl Foreign {
    /// Serves on a free port of loopback until the process ends; returns the port.
    #[allow(clippy::disallowed_methods, reason = "lives as long as the test process")]
    pub async fn start(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = EchoServiceServer::new(self.clone()).max_decoding_message_size(8 << 20);
        let serving =
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        port
    }

    /// How many streams it is serving.
    #[must_use]
    pub fn open(&self) -> i64 {
        self.open.load(Ordering::SeqCst)
    }

    fn opened(&self) -> Open {
        self.open.fetch_add(1, Ordering::SeqCst);
        Open(self.open.clone())
    }
}

/// What puts the service behind the edge on `port`, with its descriptor set written to `folder`.
#[must_use]
pub fn edge_toml(folder: &Path, port: u16) -> String {
    let set = folder.join("echo.binpb");
    std::fs::write(&set, DESCRIPTOR_SET).unwrap();
    let set = set.display();
    format!(
        r#"
[[descriptor_set]]
path = "{set}"
upstream = "foreign"

[[upstream]]
name = "foreign"
addresses = ["127.0.0.1:{port}"]
tls = "off"
health = false

[[service]]
name = "echo.v1.EchoService"
[service.policy]
allow = ["subject", "anonymous", "partner"]
default_deadline_ms = 5000
max_deadline_ms = 10000
stream_idle_ms = 20000
stream_max_age_ms = 120000

[[method]]
name = "echo.v1.EchoService/Echo"
http = [{{ post = "/v1/echo", body = "*" }}, {{ get = "/v1/echo/{{text}}" }}]

[[method]]
name = "echo.v1.EchoService/Count"
http = [{{ get = "/v1/echo:count" }}]

[[method]]
name = "echo.v1.EchoService/Fail"
http = [{{ post = "/v1/echo:fail", body = "*" }}]
"#
    )
}

struct Open(Arc<AtomicI64>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<EchoResponse, Status>> + Send>>;

#[tonic::async_trait]
impl EchoService for Foreign {
    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        let seen = request.metadata().clone().into_headers();
        let mut metadata: Vec<_> = seen.keys().map(ToString::to_string).collect();
        metadata.sort();
        let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        let headers = seen.iter().map(line).collect();
        let _open = self.opened();
        let EchoRequest { text, payload, delay_ms } = request.into_inner();
        tokio::time::sleep(Duration::from_millis(delay_ms.unsigned_abs().into())).await;
        Ok(Response::new(EchoResponse { text, payload, number: 0, metadata, headers }))
    }

    type CountStream = Answers;

    async fn count(&self, request: Request<CountRequest>) -> Result<Response<Answers>, Status> {
        let CountRequest { count, payload_bytes } = request.into_inner();
        let payload = Bytes::from(vec![7; usize::try_from(payload_bytes).unwrap()]);
        let open = self.opened();
        let last = if count == 0 { i64::MAX } else { count };
        let answers = stream::iter(0..last).map(move |number| {
            let _ = &open;
            Ok(EchoResponse { number, payload: payload.clone(), ..Default::default() })
        });
        let mut response = Response::new(Box::pin(answers) as Answers);
        response.metadata_mut().insert("x-echo", "head".parse().unwrap());
        Ok(response)
    }

    async fn collect(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<CollectResponse>, Status> {
        let _open = self.opened();
        let mut requests = request.into_inner();
        let mut collected = CollectResponse::default();
        while let Some(request) = requests.next().await {
            collected.messages += 1;
            collected.payload_bytes += i64::try_from(request?.payload.len()).unwrap();
        }
        Ok(Response::new(collected))
    }

    type ChatStream = Answers;

    async fn chat(&self, request: Request<Streaming<EchoRequest>>) -> Result<Response<Answers>, Status> {
        let open = self.opened();
        let answers = request.into_inner().enumerate().map(move |(number, request)| {
            let _ = &open;
            let EchoRequest { text, payload, .. } = request?;
            let number = i64::try_from(number).unwrap();
            Ok(EchoResponse { text, payload, number, ..Default::default() })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    type FailStream = Answers;

    #[allow(clippy::disallowed_methods, reason = "a foreign service has errors of its own making")]
    async fn fail(&self, request: Request<FailRequest>) -> Result<Response<Answers>, Status> {
        let FailRequest { code, after_message } = request.into_inner();
        let status = Status::new(Code::from(code), "as you wish: 100 % \u{fc}");
        if !after_message {
            return Err(status);
        }
        Ok(Response::new(Box::pin(stream::iter([Ok(EchoResponse::default()), Err(status)]))))
    }
}
