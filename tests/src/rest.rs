//! A REST client of the edge: one method a verb, JSON in and out, over HTTP/1.1 or HTTP/2.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

/// Longer than any unary deadline of the contract: what takes longer is lost.
const LONGEST: Duration = Duration::from_secs(70);

/// A client certificate and its key, as PEM files.
pub type Identity<'a> = (&'a Path, &'a Path);

/// The client's side of TLS: trusts one authority, and shows a certificate if it has one.
#[must_use]
pub fn tls(authority: &Path, identity: Option<Identity<'_>>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain =
                CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<_, _>>().unwrap();
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    }
}

/// An HTTP version to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

/// A client of one listener.
#[derive(Clone)]
pub struct Rest {
    base: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Rest {
    #[must_use]
    pub fn new(base: &str, tls: ClientConfig, version: Version) -> Self {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
        let connector = match version {
            Version::Http1 => connector.enable_http1().build(),
            Version::Http2 => connector.enable_http2().build(),
        };
        let client =
            Client::builder(TokioExecutor::new()).http2_only(version == Version::Http2).build(connector);
        Self { base: base.to_owned(), client }
    }

    /// A request to `path`, to be sent with [`Rest::send`].
    pub fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.base))
    }

    /// Sends a request and reads the whole answer; an error is a connection that failed.
    pub async fn try_send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let exchange = async {
            let response =
                self.client.request(request).await.map_err(|error| chassis::error::chain(&error))?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| chassis::error::chain(&error))?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(LONGEST, exchange).await.map_err(|_| "no answer".to_owned())?
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// Reads the answer, a stream that does not end by itself, until `enough` of it has come, and then leaves it.
    pub async fn read_until(&self, request: Request<Full<Bytes>>, enough: impl Fn(&str) -> bool) -> String {
        let reading = async {
            let mut body = self.client.request(request).await.unwrap().into_body();
            let mut text = String::new();
            while !enough(&text) {
                let frame = body.frame().await.unwrap_or_else(|| panic!("it ended: {text}")).unwrap();
                text += std::str::from_utf8(frame.data_ref().map_or(b"", |data| data)).unwrap();
            }
            text
        };
        tokio::time::timeout(LONGEST, reading).await.expect("enough comes in time")
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        let request = self.request(Method::GET, path).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Full::default()).unwrap()).await
    }

    /// Posts JSON under an idempotency key.
    pub async fn post(&self, token: &str, path: &str, key: &str, body: &Value) -> Answer {
        self.try_post(token, path, key, body).await.unwrap()
    }

    /// As [`Rest::post`], for a mesh that is being hurt.
    pub async fn try_post(&self, token: &str, path: &str, key: &str, body: &Value) -> Result<Answer, String> {
        let request = self
            .request(Method::POST, path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        self.try_send(request.body(Full::from(body.to_string())).unwrap()).await
    }
}

impl Answer {
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| {
            panic!("{} is not JSON: {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    /// The JSON of a success.
    #[track_caller]
    #[allow(clippy::must_use_candidate, reason = "a test may only want to know that it succeeded")]
    pub fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// A text field of a success.
    #[must_use]
    pub fn text(&self, field: &str) -> String {
        let json = self.ok();
        json[field].as_str().unwrap_or_else(|| panic!("no {field} in {json}")).to_owned()
    }

    /// Asserts that it is the one error shape, with this status, code name and reason; returns the error object.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str, reason: &str) -> Value {
        let json = self.json();
        let error = &json["error"];
        assert_eq!(self.headers["content-type"], "application/json", "{json}");
        assert_eq!(json.as_object().unwrap().len(), 1, "an error stands alone: {json}");
        assert_eq!((self.status.as_u16(), &error["status"]), (status, &Value::from(code)), "{json}");
        assert_eq!(error["code"], status, "{json}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
        assert_eq!(reason_of(error), Some(reason), "{json}");
        error.clone()
    }
}

/// The reason of an error object, from its `ErrorInfo`.
#[must_use]
pub fn reason_of(error: &Value) -> Option<&str> {
    detail(error, "ErrorInfo")?["reason"].as_str()
}

/// A detail of an error object by the last part of its type.
#[must_use]
pub fn detail<'a>(error: &'a Value, kind: &str) -> Option<&'a Value> {
    let suffix = format!("google.rpc.{kind}");
    error["details"]
        .as_array()?
        .iter()
        .find(|detail| detail["@type"].as_str().is_some_and(|t| t.ends_with(&suffix)))
}
