//! The plain listener for the kubelet, scrapers and operators: `/live`, `/ready`, `/metrics`, `grpc.health.v1`, and pages a
//! process adds, which only loopback may read. Nothing here changes anything.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt as _;

use crate::accept::{self, Permit};
use crate::drain::Drain;
use crate::health::Health;
use crate::metrics::{self, Metrics};

/// Scrapers and probes are few; more is a mistake or an attack.
const CONNECTIONS_MAX: usize = 64;
/// A probe sends its head at once.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// A page made on demand: its media type and its text.
pub type Page = Arc<dyn Fn() -> (&'static str, String) + Send + Sync>;

/// What the admin listener shows.
#[derive(Clone)]
pub struct Admin {
    health: Health,
    metrics: Metrics,
    grpc: Routes,
    pages: BTreeMap<&'static str, Page>,
}

impl Admin {
    /// The endpoints every process has.
    #[must_use]
    pub fn new(health: Health, metrics: Metrics) -> Self {
        let grpc = Routes::new(health.grpc()).prepare();
        Self { health, metrics, grpc, pages: BTreeMap::new() }
    }

    /// Adds a page that only loopback may read ("/routes").
    #[must_use]
    pub fn page(mut self, path: &'static str, page: Page) -> Self {
        self.pages.insert(path, page);
        self
    }

    /// Serves until `until` says stop. That is the end of the process and not its drain: probes want answers meanwhile.
    pub async fn serve(self, listener: TcpListener, until: Drain) {
        let admin = Arc::new(self);
        let stop = until.clone();
        accept::accept(listener, CONNECTIONS_MAX, &until, move |stream, peer, permit| {
            connection(admin.clone(), stream, peer, permit, stop.clone())
        })
        .await;
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let path = request.uri().path();
        if path.starts_with("/grpc.health.v1.Health/") {
            let Ok(response) = self.grpc.clone().oneshot(request.map(Body::new)).await;
            return response;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned());
        }
        match path {
            "/live" => text(StatusCode::OK, "text/plain", "live\n".to_owned()),
            "/ready" => {
                let missing = self.health.missing();
                if missing.is_empty() {
                    return text(StatusCode::OK, "text/plain", "ready\n".to_owned());
                }
                text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "text/plain",
                    format!("not ready: {}\n", missing.join(", ")),
                )
            }
            "/metrics" => match self.metrics.render() {
                Ok(page) => text(StatusCode::OK, metrics::CONTENT_TYPE, page),
                Err(error) => {
                    tracing::error!(%error, "metrics do not encode");
                    text(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "text/plain",
                        "metrics do not encode\n".to_owned(),
                    )
                }
            },
            other => self.extra(other, peer),
        }
    }

    fn extra(&self, path: &str, peer: SocketAddr) -> Response<Body> {
        match self.pages.get(path) {
            Some(page) if peer.ip().to_canonical().is_loopback() => {
                let (media, body) = page();
                text(StatusCode::OK, media, body)
            }
            Some(_) => text(StatusCode::FORBIDDEN, "text/plain", "only from loopback\n".to_owned()),
            None => text(StatusCode::NOT_FOUND, "text/plain", "no such page\n".to_owned()),
        }
    }
}

fn text(status: StatusCode, media: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn connection(admin: Arc<Admin>, stream: TcpStream, peer: SocketAddr, permit: Permit, stop: Drain) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(admin.answer(request, peer).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEAD_DEADLINE));
    let serving = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.stopping() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection broke");
    }
    drop(permit);
}
