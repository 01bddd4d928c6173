//! A gateway for the tests: a real Pingora application on a real socket that does nothing but open and relay.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chassis::Drain;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::http::ResponseHeader;
use pingora::prelude::HttpPeer;
use pingora::protocols::http::server::Session as Downstream;
use pingora::protocols::l4::stream::Stream;
use pingora::proxy::{ProxyHttp, Session, http_proxy};
use pingora::server::configuration::ServerConf;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Code;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

use crate::grpc_web::Dialect;
use crate::relay::{Answer, Bounds, Failure, Outcome, run, web};
use crate::upstream::{StreamClass, Terms, Upstream};

/// A running gateway.
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    /// Dropping it would read as a shutdown.
    _shutdown: watch::Sender<bool>,
}

struct App {
    upstream: Arc<Upstream>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
}

struct Plain;

impl Answer for Plain {
    fn header(&mut self, headers: &mut HeaderMap) {
        headers.insert("through", HeaderValue::from_static("the relay"));
    }

    fn trailers(&mut self, trailers: &mut HeaderMap) {
        trailers.insert("trailed", HeaderValue::from_static("too"));
    }

    fn failure(&mut self, failure: &Failure) -> HeaderMap {
        status(failure.grpc_code(), &failure.to_string())
    }
}

fn status(code: Code, message: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", (code as i32).into());
    headers.insert("grpc-message", message.parse().unwrap());
    headers
}

#[async_trait]
impl ProxyHttp for App {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        pingora::Error::e_explain(pingora::InternalError, "everything is relayed")
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> pingora::Result<bool> {
        let request = session.req_header();
        let path = request.uri.path_and_query().unwrap().clone();
        let mut headers = request.headers.clone();
        headers.remove(HOST);
        let number = |name| {
            headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().parse::<u64>().unwrap())
        };
        let bounds = Bounds {
            deadline: number("test-deadline-ms").map(|ms| Instant::now() + Duration::from_millis(ms)),
            idle: number("test-idle-ms").map(Duration::from_millis),
            request_message_bytes_max: 1 << 20,
        };
        let class = if path.path().ends_with("Unary") { StreamClass::Unary } else { StreamClass::Streaming };
        let terms = Terms { class, idempotent: false, deadline: bounds.deadline, outcome: false };
        if let Some(dialect) = Dialect::of(&headers) {
            let upstream = self.upstream.open(terms, &path, headers, false).await.unwrap();
            let outcome =
                web::run(&mut session.downstream_session, upstream, dialect, &bounds, &mut Plain).await;
            let cut = outcome.cut;
            self.outcomes.lock().unwrap().push(outcome);
            return if cut { pingora::Error::e_explain(pingora::InternalError, "cut") } else { Ok(true) };
        }
        let Downstream::H2(downstream) = &mut *session.downstream_session else { panic!("not HTTP/2") };
        let trailers_only = match self.upstream.open(terms, &path, headers, downstream.is_body_empty()).await
        {
            Err(error) => Some(status(error.grpc_code(), &error.to_string())),
            Ok(upstream) => {
                let outcome = run(downstream, upstream, &bounds, &mut Plain).await;
                let unanswered = outcome.failure.as_ref().filter(|_| !outcome.response_started);
                let answer = unanswered.map(|failure| status(failure.grpc_code(), &failure.to_string()));
                self.outcomes.lock().unwrap().push(outcome);
                answer
            }
        };
        if let Some(headers) = trailers_only {
            let mut header = ResponseHeader::build(200, None)?;
            header.insert_header(CONTENT_TYPE, "application/grpc")?;
            for (name, value) in &headers {
                header.insert_header(name, value)?;
            }
            downstream.write_response_header(Box::new(header), true)?;
        }
        Ok(true)
    }
}

impl Gateway {
    pub(super) async fn start(upstream: Arc<Upstream>, drain: &Drain) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let mut app =
            http_proxy(&Arc::new(ServerConf::default()), App { upstream, outcomes: outcomes.clone() });
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        app.server_options = Some(options);
        let app = Arc::new(app);
        let (shutdown, watch) = watch::channel(false);
        let own = drain.clone();
        drain.spawn("gateway", async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let (app, watch) = (app.clone(), watch.clone());
                own.spawn("gateway connection", async move {
                    app.process_new(Box::new(Stream::from(tcp)), &watch).await;
                });
            }
        });
        Self { address, outcomes, _shutdown: shutdown }
    }

    /// A client with a connection of its own.
    pub(super) fn client(&self) -> Grpc<Channel> {
        Grpc::new(Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy())
    }

    /// The outcomes so far, once there are `count`.
    pub(super) async fn outcomes(&self, count: usize) -> Vec<Outcome> {
        crate::upstream::testing::eventually("outcome", || self.outcomes.lock().unwrap().len() >= count)
            .await;
        std::mem::take(&mut *self.outcomes.lock().unwrap())
    }
}
