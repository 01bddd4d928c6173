//! An issuer for tests: keys that sign, and a server on loopback that answers as told and counts who asks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chassis::drain::Drain;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// An ES256 key of an issuer.
pub struct Signer {
    pub id: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    pub fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Self { id, pair }
    }

    pub fn jwk(&self) -> Value {
        let (x, y) = self.point()[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": encode(x), "y": encode(y)})
    }

    /// The public key, uncompressed.
    pub fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub fn header(&self) -> Value {
        json!({"alg": "ES256", "typ": "at+jwt", "kid": self.id})
    }

    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.sign(&format!("{}.{}", encode(header.to_string()), encode(claims.to_string())))
    }

    /// Signs two parts as they are.
    pub fn sign(&self, signed: &str) -> String {
        format!("{signed}.{}", encode(self.signature(signed.as_bytes())))
    }

    pub fn signature(&self, signed: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), signed).unwrap().as_ref().to_vec()
    }
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

pub fn key_set(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string()
}

/// What the server says to a path.
#[derive(Clone)]
pub enum Answer {
    Body(String),
    Redirect(String),
    Status(u16),
    Oversized,
}

/// A server on loopback.
pub struct Server {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    answers: Mutex<HashMap<String, Answer>>,
    asked: AtomicUsize,
    last: Mutex<(String, String)>,
    open: watch::Sender<bool>,
}

impl Server {
    pub async fn start(drain: &Drain) -> Self {
        Self::start_with(drain, None).await
    }

    /// Over TLS. Its certificate, for 127.0.0.1, is its own root.
    pub async fn start_tls(drain: &Drain) -> (Self, String) {
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(chassis::identity::crypto())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        let server = Self::start_with(drain, Some(TlsAcceptor::from(Arc::new(config)))).await;
        (server, certified.cert.pem())
    }

    async fn start_with(drain: &Drain, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        state.open.send_replace(true);
        let (shared, spawner) = (state.clone(), drain.clone());
        drain.spawn("issuer", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (shared.clone(), tls.clone());
                spawner.spawn("connection", async move {
                    match tls {
                        None => serve(state, stream).await,
                        Some(tls) => {
                            // A client that does not trust the certificate ends the handshake.
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(state, stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn set(&self, path: &str, answer: Answer) {
        self.state.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// The Authorization and the body of what it was asked last.
    pub fn last(&self) -> (String, String) {
        self.state.last.lock().unwrap().clone()
    }

    /// Lets answers out, or holds them back.
    pub fn open(&self, open: bool) {
        self.state.open.send_replace(open);
    }
}

async fn serve(state: Arc<State>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(move |request| answer(state.clone(), request));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    state.asked.fetch_add(1, Ordering::SeqCst);
    let (header, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let authorization = header.headers.get("authorization").map_or("", |value| value.to_str().unwrap());
    *state.last.lock().unwrap() = (authorization.to_owned(), String::from_utf8(body.to_vec()).unwrap());
    let _ = state.open.subscribe().wait_for(|open| *open).await;
    let answer = state.answers.lock().unwrap().get(header.uri.path()).cloned();
    let (status, location, body) = match answer {
        Some(Answer::Body(body)) => (200, None, body),
        Some(Answer::Redirect(location)) => (302, Some(location), String::new()),
        Some(Answer::Status(status)) => (status, None, String::new()),
        Some(Answer::Oversized) => (200, None, " ".repeat(257 * 1024)),
        None => (404, None, String::new()),
    };
    let mut response = Response::builder().status(status);
    if let Some(location) = location {
        response = response.header("location", location);
    }
    Ok(response.body(Full::new(body.into())).unwrap())
}
