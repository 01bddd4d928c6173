//! Clients as the edge's users have them: HTTP/1 and HTTP/2 with JSON, and gRPC through the public listener or, as a service,
//! through the mesh listener.

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tonic::codegen::StdError;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request as Call, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::world::World;

/// Which HTTP a client speaks.
#[derive(Clone, Copy, Debug)]
pub enum Http {
    One,
    Two,
}

/// The body of a request, whole or in pieces.
type Body = BoxBody<Bytes, Infallible>;

/// A REST client.
pub struct Rest {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    base: String,
    token: Option<String>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// `Err` when the answer was cut.
    pub body: Result<Bytes, hyper::Error>,
}

impl Rest {
    pub fn new(world: &World, http: Http, token: Option<String>) -> Self {
        Self::over(world, world.client_tls(), http, token)
    }

    /// With its own idea of whom to trust.
    pub fn over(world: &World, tls: rustls::ClientConfig, http: Http, token: Option<String>) -> Self {
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
        let connector = match http {
            Http::One => builder.enable_http1().build(),
            Http::Two => builder.enable_http2().build(),
        };
        let mut client = Client::builder(TokioExecutor::new());
        client.http2_only(matches!(http, Http::Two));
        Self {
            client: client.build(connector),
            base: format!("https://localhost:{}", world.public.port()),
            token,
        }
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let response = self.open(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes());
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request and returns with the head of the answer.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        self.request(method, path, headers, Full::new(body.into()).boxed()).await
    }

    /// As `open`, with a body that comes in pieces.
    pub async fn stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        pieces: impl futures::Stream<Item = Bytes> + Send + Sync + 'static,
    ) -> http::Response<Incoming> {
        let body = StreamBody::new(pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece))));
        self.request(Method::POST, path, headers, BodyExt::boxed(body)).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> http::Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        self.client.request(request.body(body).unwrap()).await.unwrap()
    }

    /// As `get`, where connections come to their end: asks again what was never sent, and says `None` when nobody listens any more.
    /// What was sent must be answered.
    pub async fn get_surely(&self, path: &str) -> Option<StatusCode> {
        let token = self.token.as_deref().unwrap_or_default();
        loop {
            let request = Request::get(format!("{}{path}", self.base))
                .header("authorization", format!("Bearer {token}"));
            match self.client.request(request.body(Full::default().boxed()).unwrap()).await {
                Ok(answer) => {
                    let status = answer.status();
                    answer.into_body().collect().await.unwrap();
                    return Some(status);
                }
                Err(error) if error.is_connect() => return None,
                Err(error) => assert!(never_sent(&error), "a request was lost: {error:?}"),
            }
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn post(&self, path: &str, json: &str) -> Reply {
        self.send(Method::POST, path, &[("content-type", "application/json")], json.to_owned()).await
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.body.as_ref().unwrap()).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.as_ref().unwrap().to_vec()).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The `reason` of the refusal.
    pub fn reason(&self) -> String {
        let json = self.json();
        let details = json["error"]["details"].as_array().unwrap();
        let info =
            details.iter().find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo");
        info.unwrap()["reason"].as_str().unwrap().to_owned()
    }
}

/// A gRPC client of the public listener.
pub struct Grpc {
    channel: Channel,
    token: Option<String>,
}

impl Grpc {
    pub fn new(world: &World, token: Option<String>) -> Self {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(world.ca_pem()));
        let endpoint = Endpoint::from_shared(format!("https://localhost:{}", world.public.port())).unwrap();
        Self { channel: endpoint.tls_config(tls).unwrap().connect_lazy(), token }
    }

    /// A partner with this chain and key, who trusts these roots.
    pub fn partner_with(world: &World, roots: &str, pair: (&str, &str)) -> Self {
        let tls = ClientTlsConfig::new()
            .ca_certificates(roots.split_inclusive("-----END CERTIFICATE-----\n").map(Certificate::from_pem));
        let tls = tls.identity(Identity::from_pem(pair.0, pair.1));
        let endpoint = Endpoint::from_shared(format!("https://localhost:{}", world.partner.port())).unwrap();
        Self { channel: endpoint.tls_config(tls).unwrap().connect_lazy(), token: None }
    }

    /// A client of the partner listener, with a certificate or without.
    pub fn partner(world: &World, certificate: Option<&str>) -> Self {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(world.ca_pem()));
        if let Some(name) = certificate {
            let (chain, key) = world.pair(name);
            tls = tls.identity(Identity::from_pem(chain, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://localhost:{}", world.partner.port())).unwrap();
        Self { channel: endpoint.tls_config(tls).unwrap().connect_lazy(), token: None }
    }

    fn call<T>(&self, message: T) -> Call<T> {
        let mut call = Call::new(message);
        if let Some(token) = &self.token {
            let value: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
            call.metadata_mut().insert("authorization", value);
        }
        call
    }

    pub async fn unary<In, Out>(&self, path: &'static str, message: In) -> Result<Response<Out>, Status>
    where
        In: prost::Message + 'static,
        Out: prost::Message + Default + 'static,
    {
        unary(self.channel.clone(), path, self.call(message)).await
    }

    pub async fn streaming<In, Out>(
        &self,
        path: &'static str,
        messages: impl futures::Stream<Item = In> + Send + 'static,
    ) -> Result<Response<Streaming<Out>>, Status>
    where
        In: prost::Message + 'static,
        Out: prost::Message + Default + 'static,
    {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        client.streaming(self.call(messages), path.parse().unwrap(), ProstCodec::<In, Out>::default()).await
    }
}

/// A unary call through any channel.
pub async fn unary<C, In, Out>(
    channel: C,
    path: &'static str,
    call: Call<In>,
) -> Result<Response<Out>, Status>
where
    C: tonic::client::GrpcService<tonic::body::Body>,
    C::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <C::ResponseBody as tonic::codegen::Body>::Error: Into<StdError> + Send,
    In: prost::Message + 'static,
    Out: prost::Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    client.unary(call, path.parse().unwrap(), ProstCodec::<In, Out>::default()).await
}

/// Whether a client of HTTP/2 gave a request to a connection in the moment in which that was told to go: hyper and tonic say so and
/// leave it to others to ask again, which RFC 9113 section 6.8 makes safe.
pub fn never_sent(error: &impl std::fmt::Debug) -> bool {
    let error = format!("{error:?}");
    error.contains("GoAway(b\"\", NO_ERROR, Remote)") || error.contains("Canceled")
}
