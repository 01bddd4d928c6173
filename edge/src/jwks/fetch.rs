//! One HTTPS request to an issuer, fenced in: listed hosts only, no redirects, a bound on the answer. The deadline is the
//! caller's, around everything. hyper-rustls on ring rather than reqwest, whose TLS brings a second crypto provider.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::source::BYTES_MAX;

/// How long a connection waits for the next request: less than what servers commonly allow, so that none is met half closed.
const IDLE: Duration = Duration::from_secs(15);

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("not an absolute URL without credentials")]
    Url,
    #[error("not https")]
    NotHttps,
    #[error("the host is not listed")]
    Host,
    #[error("no roots to trust")]
    Roots(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the request failed")]
    Request(#[source] hyper_util::client::legacy::Error),
    #[error("answered with status {0}")]
    Status(StatusCode),
    #[error("the answer is larger than {BYTES_MAX} bytes")]
    TooLarge,
    #[error("the answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Fetches from the host it was made for, and from the hosts listed beside it.
pub struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    hosts: Vec<String>,
    development: bool,
}

impl Fetcher {
    /// A fetcher for `url` and what it leads to. It keeps up to `idle_max` connections for the next request.
    pub fn new(
        url: &str,
        hosts: &[String],
        ca: Option<&Path>,
        development: bool,
        idle_max: usize,
    ) -> Result<Self, FetchError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(ca)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle_max)
            .build(connector);
        let fetcher = Self { client, hosts: hosts.to_vec(), development };
        let own = host(&url.parse().map_err(|_| FetchError::Url)?)?.to_owned();
        let fetcher = Self { hosts: [fetcher.hosts, vec![own]].concat(), ..fetcher };
        fetcher.admitted(url)?;
        Ok(fetcher)
    }

    /// The body of a 200 answer.
    pub(super) async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        self.send(self.request(url, Method::GET, Bytes::new())?).await
    }

    /// The body of a 200 answer to a form. `authorization` says who asks, and is marked as a secret.
    pub async fn post(
        &self,
        url: &str,
        mut authorization: HeaderValue,
        form: String,
    ) -> Result<Vec<u8>, FetchError> {
        let mut request = self.request(url, Method::POST, form.into())?;
        authorization.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, authorization);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form);
        self.send(request).await
    }

    fn request(&self, url: &str, method: Method, body: Bytes) -> Result<Request<Full<Bytes>>, FetchError> {
        let uri = self.admitted(url)?;
        let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let mut request = Request::new(Full::new(body));
        (*request.uri_mut(), *request.method_mut()) = (uri, method);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(HOST, HeaderValue::try_from(authority).map_err(|_| FetchError::Url)?);
        Ok(request)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Vec<u8>, FetchError> {
        let response = self.client.request(request).await.map_err(FetchError::Request)?;
        // A redirect is not an answer: following it would let the issuer's server choose where the edge connects.
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let bytes_max = usize::try_from(BYTES_MAX).unwrap_or(usize::MAX);
        let body = Limited::new(response.into_body(), bytes_max).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { FetchError::TooLarge } else { FetchError::Body(error) }
        })?;
        Ok(body.to_bytes().to_vec())
    }

    fn admitted(&self, url: &str) -> Result<Uri, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
        let host = host(&uri)?;
        if !self.hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host)) {
            return Err(FetchError::Host);
        }
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let plain = uri.scheme() == Some(&Scheme::HTTP) && self.development && is_loopback(host);
        if secure || plain { Ok(uri) } else { Err(FetchError::NotHttps) }
    }
}

fn host(uri: &Uri) -> Result<&str, FetchError> {
    let authority = uri.authority().ok_or(FetchError::Url)?;
    if authority.as_str().contains('@') { Err(FetchError::Url) } else { Ok(authority.host()) }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls(ca: Option<&Path>) -> Result<ClientConfig, FetchError> {
    let builder = ClientConfig::builder_with_provider(chassis::identity::crypto())
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Roots(error.into()))?;
    let builder = match ca {
        Some(path) => builder.with_root_certificates(roots(path)?),
        None => builder.with_native_roots().map_err(|error| FetchError::Roots(error.into()))?,
    };
    Ok(builder.with_no_client_auth())
}

fn roots(path: &Path) -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| FetchError::Roots(error.into()))? {
        let certificate = certificate.map_err(|error| FetchError::Roots(error.into()))?;
        roots.add(certificate).map_err(|error| FetchError::Roots(error.into()))?;
    }
    if roots.is_empty() { Err(FetchError::Roots("no certificate in the file".into())) } else { Ok(roots) }
}
