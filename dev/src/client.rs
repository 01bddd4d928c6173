//! A small HTTP client: plain GETs on loopback for readiness, and JSON over HTTPS for the demo data. It trusts one authority
//! and follows nothing.

use crate::ports::loopback;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Longer than any deadline the edge gives a unary call by default.
const CALL_LONGEST: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A client's TLS that trusts one authority.
pub(crate) fn trusting(authority: &Path) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority)
        .with_context(|| format!("cannot read {}", authority.display()))?;
    roots.add(certificate)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// One GET over a connection of its own; only the status counts.
pub(crate) async fn plain_get(port: u16, path: &str) -> Result<StatusCode> {
    let talk = async {
        let stream = TcpStream::connect(loopback(port)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(path).header(header::HOST, "localhost").body(Full::<Bytes>::default())?;
        tokio::select! {
            response = sender.send_request(request) => Ok(response?.status()),
            closed = connection => { closed?; bail!("the connection was closed") }
        }
    };
    tokio::time::timeout(Duration::from_secs(2), talk).await?
}

/// A client of the public listener.
pub(crate) struct Rest {
    base: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Rest {
    pub(crate) fn new(base: &str, authority: &Path) -> Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trusting(authority)?)
            .https_only()
            .enable_http1()
            .build();
        Ok(Self { base: base.to_owned(), client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Result<Value> {
        self.send(self.request(Method::GET, path, token).body(Full::default())?, path).await
    }

    /// Posts JSON under an idempotency key and returns the answer's JSON.
    pub(crate) async fn post(&self, token: &str, path: &str, key: &str, body: &Value) -> Result<Value> {
        let request = self
            .request(Method::POST, path, token)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .body(Full::from(body.to_string()))?;
        self.send(request, path).await
    }

    /// Puts bytes of a media type.
    pub(crate) async fn put(
        &self,
        token: &str,
        path: &str,
        media_type: &str,
        body: &'static [u8],
    ) -> Result<Value> {
        let request = self.request(Method::PUT, path, token).header(header::CONTENT_TYPE, media_type);
        self.send(request.body(Full::from(body))?, path).await
    }

    fn request(&self, method: Method, path: &str, token: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
    }

    async fn send(&self, request: Request<Full<Bytes>>, path: &str) -> Result<Value> {
        let method = request.method().clone();
        let talk = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
            if !status.is_success() {
                bail!("{status}: {}", String::from_utf8_lossy(&body));
            }
            Ok(serde_json::from_slice(&body)?)
        };
        let answer = tokio::time::timeout(CALL_LONGEST, talk).await;
        answer.context("no answer").flatten().with_context(|| format!("{method} {path}"))
    }
}
