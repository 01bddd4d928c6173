//! The upstream of both gateways: answers at once, from memory.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_docs,
    reason = "generated code"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/bench.v1.rs"));
}

use v1::bench_service_server::{BenchService, BenchServiceServer};
use v1::{CreateEntryRequest, Entry, GetEntryRequest, ListEntriesRequest, ListEntriesResponse};

/// As the compiler wrote it.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bench.binpb"));

struct Bench {
    list: ListEntriesResponse,
}

/// An entry of about 250 bytes of JSON.
pub fn entry(number: i64) -> Entry {
    Entry {
        entry_id: "01a202f5-8833-7000-8000-0016bd8081ba".to_owned(),
        account_id: "01a202f5-880c-741f-a3c6-168acc03d7da".to_owned(),
        amount: 4_250 + number,
        currency_code: "EUR".to_owned(),
        balance_after: 250_000 - number,
        version: number,
        reference: "Dinner on Friday".to_owned(),
        book_time: Some(prost_types::Timestamp { seconds: 1_795_000_000 + number, nanos: 351_000_000 }),
    }
}

#[tonic::async_trait]
impl BenchService for Bench {
    async fn get_entry(&self, _: Request<GetEntryRequest>) -> Result<Response<Entry>, Status> {
        Ok(Response::new(entry(7)))
    }

    async fn create_entry(&self, request: Request<CreateEntryRequest>) -> Result<Response<Entry>, Status> {
        Ok(Response::new(request.into_inner().entry.unwrap_or_default()))
    }

    async fn list_entries(
        &self,
        _: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        Ok(Response::new(self.list.clone()))
    }

    type ChatStream = Pin<Box<dyn Stream<Item = Result<Entry, Status>> + Send>>;

    async fn chat(
        &self,
        request: Request<Streaming<GetEntryRequest>>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        Ok(Response::new(Box::pin(request.into_inner().map(|request| request.map(|_| entry(1))))))
    }
}

/// Serves on a free port of loopback until the process ends; returns the port.
#[allow(clippy::disallowed_methods, reason = "lives as long as the benchmark")]
pub async fn start() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let list = ListEntriesResponse { entries: (0..100).map(entry).collect(), next_page_token: String::new() };
    let service = BenchServiceServer::new(Bench { list });
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        stream.inspect(|stream| {
            let _ = stream.set_nodelay(true);
        })
    });
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    port
}
