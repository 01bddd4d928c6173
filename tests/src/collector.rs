//! A collector of traces for the mesh under test: OTLP over gRPC, keeping everything it is sent as text to be searched.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// See the module.
#[derive(Clone, Default)]
pub struct Collector {
    exports: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// Listens on a free port of loopback until the process ends; returns the endpoint.
    #[allow(clippy::disallowed_methods, reason = "lives as long as the test process")]
    pub async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        endpoint
    }

    /// Whether anything has come from this service.
    #[must_use]
    pub fn has(&self, service: &str) -> bool {
        let name = format!("StringValue(\"{service}\")");
        self.exports().iter().any(|export| export.contains(&name))
    }

    /// The first of these texts that is in anything exported.
    #[must_use]
    pub fn find(&self, texts: &[String]) -> Option<String> {
        let exports = self.exports();
        texts.iter().find(|text| exports.iter().any(|export| export.contains(*text))).cloned()
    }

    fn exports(&self) -> MutexGuard<'_, Vec<String>> {
        self.exports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.exports().push(format!("{:?}", request.into_inner()));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
