//! One endpoint, in a process of its own: answers at once or, between one SIGUSR1 and the next, after half a second.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::Stream;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_docs,
    reason = "generated code"
)]
mod v1 {
    include!(concat!(env!("OUT_DIR"), "/bench.v1.rs"));
}

use v1::bench_service_server::{BenchService, BenchServiceServer};
use v1::{CreateEntryRequest, Entry, GetEntryRequest, ListEntriesRequest, ListEntriesResponse};

/// What makes this binary an endpoint, followed by its port.
pub const COMMAND: &str = "upstream";
/// How slow a slow one is.
const SLOW: Duration = Duration::from_millis(500);

/// As the compiler wrote it.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bench.binpb"));

#[derive(Clone, Default)]
struct Bench {
    slow: Arc<AtomicBool>,
}

impl Bench {
    async fn answer(&self, entry: Entry) -> Result<Response<Entry>, Status> {
        if self.slow.load(Ordering::Relaxed) {
            tokio::time::sleep(SLOW).await;
        }
        Ok(Response::new(entry))
    }
}

#[tonic::async_trait]
impl BenchService for Bench {
    async fn get_entry(&self, _: Request<GetEntryRequest>) -> Result<Response<Entry>, Status> {
        self.answer(Entry::default()).await
    }

    async fn create_entry(&self, request: Request<CreateEntryRequest>) -> Result<Response<Entry>, Status> {
        self.answer(request.into_inner().entry.unwrap_or_default()).await
    }

    async fn list_entries(
        &self,
        _: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    type ChatStream = Pin<Box<dyn Stream<Item = Result<Entry, Status>> + Send>>;

    async fn chat(
        &self,
        _: Request<Streaming<GetEntryRequest>>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

/// Serves on `port` of loopback until the process is killed.
pub async fn serve(port: u16) {
    let bench = Bench::default();
    let slow = bench.slow.clone();
    let mut turns = signal(SignalKind::user_defined1()).unwrap();
    let turning = async move {
        while turns.recv().await.is_some() {
            slow.fetch_xor(true, Ordering::Relaxed);
        }
    };
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = TcpListenerStream::new(TcpListener::bind(("127.0.0.1", port)).await.unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(health)
        .add_service(BenchServiceServer::new(bench))
        .serve_with_incoming(incoming);
    let (served, ()) = tokio::join!(server, turning);
    served.unwrap();
}
