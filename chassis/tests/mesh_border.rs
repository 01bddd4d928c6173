//! A service's border, from outside: who gets in, what a call carries, when it ends, and how a drain treats it. The peer is a
//! plain h2 client with certificates of its own making, and for the way out a listener that stands for the edge.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its fixtures too")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chassis::call::TRANSACTION_ID;
use chassis::identity::{Clients, Identity};
use chassis::transaction_token::{Signer, TXN_TOKEN};
use chassis::{Call, Caller, Drain, EdgeChannel, Health, Metrics, Principal, Subject, accept, config, serve};
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;

const DOMAIN: &str = "causeway.test";
const OWN: &str = "spiffe://causeway.test/svc-probe";

struct Pki {
    directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(self.directory.path(), name)
    }

    fn identity(&self, workload: &str) -> Identity {
        let mut params = CertificateParams::new(vec![format!("{workload}.{DOMAIN}")]).unwrap();
        params
            .subject_alt_names
            .push(SanType::URI(format!("spiffe://{DOMAIN}/{workload}").try_into().unwrap()));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        std::fs::write(self.path(workload), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(self.path("key"), key.serialize_pem()).unwrap();
        Identity::load(&config::Identity {
            certificate: self.path(workload),
            key: self.path("key"),
            trust_bundle: self.path("ca.pem"),
            trust_domain: DOMAIN.to_owned(),
        })
        .unwrap()
    }
}

/// Answers by the last segment of the path: what it was told about the caller, never, or a stream without an end.
#[derive(Clone)]
struct Probe;

impl NamedService for Probe {
    const NAME: &'static str = "test.Probe";
}

impl tower::Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            let call = Call::of(&tonic::Request::from_http(request.map(|_| ()))).unwrap();
            let text = format!("{} {}", call.caller.idempotency_scope(), call.transaction_id);
            Ok(Response::new(Body::new(Full::from(text).map_err(|never| match never {}))))
        })
    }
}

#[derive(Clone)]
struct Endless;

impl NamedService for Endless {
    const NAME: &'static str = "test.Endless";
}

impl tower::Service<Request<Body>> for Endless {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path().ends_with("/Head") {
                std::future::pending::<()>().await;
            }
            let nothing = futures::stream::pending::<Result<http_body::Frame<bytes::Bytes>, tonic::Status>>();
            Ok(Response::new(Body::new(StreamBody::new(nothing))))
        })
    }
}

struct Served {
    address: SocketAddr,
    /// Mints what the service believes.
    signer: Signer,
    drain: Drain,
    health: Health,
    metrics: Metrics,
}

async fn served(pki: &Pki) -> Served {
    let identity = pki.identity("svc-probe");
    let tls = identity.server(Clients::Only(vec![identity.spiffe_id("edge")]), &[b"h2"]).unwrap();
    let listener = accept::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server: config::Server = toml::from_str(&format!(
        "listen = \"{address}\"\nadmin = \"127.0.0.1:0\"\nedge_keys = \"\"\nin_flight_max = 2"
    ))
    .unwrap();
    let signer = Signer::load(None, DOMAIN, Duration::from_secs(60)).unwrap();
    let callers = serve::Callers { verifier: signer.verifier(), own: OWN.into() };
    let border = serve::Border { tls, callers };
    let (drain, health, metrics) = (Drain::default(), Health::default(), Metrics::default());
    let (task, ready, numbers) = (drain.clone(), health.clone(), metrics.clone());
    // Not on the drain: what is tested is that the drain of its RPCs ends it.
    drop(std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _entered = runtime.enter();
            let std = listener.into_std().unwrap();
            tokio::net::TcpListener::from_std(std).unwrap()
        };
        let routes = Routes::new(Probe).add_service(Endless);
        runtime.block_on(serve::serve(routes, listener, border, &server, &ready, &numbers, &task)).unwrap();
    }));
    Served { address, signer, drain, health, metrics }
}

type Client = hyper::client::conn::http2::SendRequest<Full<bytes::Bytes>>;

async fn connect(address: SocketAddr, identity: &Identity, drain: &Drain) -> Result<Client, String> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(identity.client_config().unwrap()));
    let server = rustls::pki_types::ServerName::try_from(format!("svc-probe.{DOMAIN}")).unwrap();
    let tls = connector.connect(server, tcp).await.map_err(|error| error.to_string())?;
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
        .await
        .map_err(|error| error.to_string())?;
    drain.spawn("client", connection);
    Ok(client)
}

/// A token for a workload that says that `caller` asks.
fn mint(signer: &Signer, caller: &Caller, audience: &str) -> http::HeaderValue {
    signer.mint(caller, audience, std::time::SystemTime::now(), None).unwrap().value
}

fn request(path: &str, token: Option<http::HeaderValue>, budget: &str) -> Request<Full<bytes::Bytes>> {
    let mut request = Request::post(format!("http://svc-probe{path}"))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", budget)
        .header(TRANSACTION_ID, "txn-1");
    if let Some(token) = token {
        request = request.header(TXN_TOKEN, token);
    }
    request.body(Full::default()).unwrap()
}

fn alice() -> Caller {
    let subject =
        Subject { issuer: "i".into(), id: "alice".into(), customer_id: None, scopes: Default::default() };
    Caller { principal: Principal::Subject(subject), service: None }
}

fn status(headers: &HeaderMap) -> Option<&str> {
    headers.get("grpc-status").map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn only_the_edge_gets_in_and_a_call_ends_at_its_deadline() {
    let pki = Pki::new();
    let served = served(&pki).await;
    let clients = Drain::default();

    for workload in ["svc-docs", "svc-probe"] {
        // TLS 1.3 tells a client only when it reads that its certificate was refused.
        let refused = match connect(served.address, &pki.identity(workload), &clients).await {
            Err(_) => true,
            Ok(mut client) => client
                .send_request(request("/test.Probe/Who", Some(mint(&served.signer, &alice(), OWN)), "1S"))
                .await
                .is_err(),
        };
        assert!(refused, "{workload} is not the edge");
    }

    let edge = pki.identity("edge");
    let mut client = connect(served.address, &edge, &clients).await.unwrap();
    let answer = client
        .send_request(request("/test.Probe/Who", Some(mint(&served.signer, &alice(), OWN)), "1S"))
        .await
        .unwrap();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "subject:1:i:alice txn-1");

    let nobody = client.send_request(request("/test.Probe/Who", None, "1S")).await.unwrap();
    assert_eq!(status(nobody.headers()), Some("16"), "no caller, no call");

    let (ours, theirs) = (&served.signer, Signer::load(None, DOMAIN, Duration::from_secs(60)).unwrap());
    for (signer, audience, why) in
        [(ours, "spiffe://causeway.test/svc-docs", "minted for another"), (&theirs, OWN, "minted by another")]
    {
        let stolen = Some(mint(signer, &alice(), audience));
        let refused = client.send_request(request("/test.Probe/Who", stolen, "1S")).await.unwrap();
        assert_eq!(status(refused.headers()), Some("16"), "{why}");
    }

    let late = client
        .send_request(request("/test.Endless/Head", Some(mint(&served.signer, &alice(), OWN)), "50m"))
        .await
        .unwrap();
    assert_eq!(status(late.headers()), Some("4"), "before the head the deadline is a trailers-only answer");

    let late = client
        .send_request(request("/test.Endless/Body", Some(mint(&served.signer, &alice(), OWN)), "50m"))
        .await
        .unwrap();
    let trailers = late.into_body().collect().await.unwrap().trailers().cloned().unwrap();
    assert_eq!(status(&trailers), Some("4"), "after it, trailers");

    let page = served.metrics.render().unwrap();
    assert!(
        page.contains(
            r#"rpc_server_call_duration_seconds_count{rpc="test.Endless/Body",code="DEADLINE_EXCEEDED"} 1"#
        ),
        "{page}"
    );
}

#[tokio::test]
async fn a_full_service_refuses_at_once_and_a_drain_waits_for_what_is_in_flight() {
    let pki = Pki::new();
    let served = served(&pki).await;
    let clients = Drain::default();
    let mut client = connect(served.address, &pki.identity("edge"), &clients).await.unwrap();

    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(
            client
                .send_request(request(
                    "/test.Endless/Body",
                    Some(mint(&served.signer, &alice(), OWN)),
                    "700m",
                ))
                .await
                .unwrap(),
        );
    }
    let third = client
        .send_request(request("/test.Probe/Who", Some(mint(&served.signer, &alice(), OWN)), "1S"))
        .await
        .unwrap();
    assert_eq!(status(third.headers()), Some("8"), "two are in flight");

    served.health.begin_drain();
    served.drain.stop();
    assert!(!served.drain.finished(Duration::from_millis(100)).await, "two are still in flight");
    for answer in open {
        let trailers = answer.into_body().collect().await.unwrap().trailers().cloned().unwrap();
        assert_eq!(
            status(&trailers),
            Some("4"),
            "a stream in flight ends by its own deadline and not by the drain"
        );
    }
    assert!(served.drain.finished(Duration::from_secs(10)).await);
    let refused = TcpStream::connect(served.address).await;
    assert!(refused.is_err(), "the listener is closed");
}

#[tokio::test]
async fn a_call_onward_carries_the_caller_and_less_time() {
    let pki = Pki::new();
    let edge = pki.identity("edge");
    let tls = edge.server(Clients::Required, &[b"h2"]).unwrap();
    let listener = accept::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let drain = Drain::default();
    let (seen, mut heard) = tokio::sync::mpsc::channel::<HeaderMap>(4);
    drain.spawn("edge", async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let tls = tokio_rustls::TlsAcceptor::from(tls.current()).accept(tcp).await.unwrap();
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let seen = seen.clone();
            async move {
                seen.send(request.headers().clone()).await.unwrap();
                Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
            }
        });
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(tls), service)
            .await;
    });

    let out: config::Edge = toml::from_str(&format!("addresses = [\"{address}\"]")).unwrap();
    let channel = EdgeChannel::start(&out, &pki.identity("svc-docs"), &drain).unwrap();
    let signer = Signer::load(None, DOMAIN, Duration::from_secs(60)).unwrap();
    let token = mint(&signer, &alice(), OWN);
    let call = {
        let mut headers = HeaderMap::new();
        headers.insert(TXN_TOKEN, token.clone());
        headers.insert(TRANSACTION_ID, "txn-7".parse().unwrap());
        headers.insert("causeway-hops", "1".parse().unwrap());
        headers.insert(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap(),
        );
        let deadline = chassis::Deadline::after(Duration::from_secs(3));
        Call::from_headers(&headers, deadline, &signer.verifier(), OWN).unwrap()
    };
    let send = |mut channel: chassis::edge_channel::EdgeCall| async move {
        tower::Service::call(
            &mut channel,
            Request::post("/ledger.v1.LedgerService/GetBalance").body(Body::empty()).unwrap(),
        )
        .await
    };
    send(channel.for_call(&call)).await.unwrap();
    let headers = heard.recv().await.unwrap();
    assert_eq!(headers[TXN_TOKEN], token, "what the edge said is handed back as it is");
    assert_eq!(headers[TRANSACTION_ID], "txn-7");
    assert_eq!(headers["causeway-hops"], "2");
    assert!(headers["traceparent"].to_str().unwrap().contains("0af7651916cd43dd8448eb211c80319c"));
    assert!(chassis::deadline::from_headers(&headers).unwrap() < Duration::from_secs(3));

    send(channel.as_service(Duration::from_secs(1))).await.unwrap();
    assert!(!heard.recv().await.unwrap().contains_key(TXN_TOKEN), "a service by itself forwards nobody");

    let spent = Call { deadline: chassis::Deadline::after(Duration::ZERO), ..call };
    let error = send(channel.for_call(&spent)).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
    drain.stop();
}
