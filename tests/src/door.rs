//! Calls any RPC of the contract with nothing but its descriptor, by gRPC and by REST, through one listener and with one set of
//! credentials. Both go over the same HTTP/2 connection, so a listener that wants a certificate sees it either way.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Map, Value};
use tonic::Status;
use tonic::client::GrpcService as _;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use crate::contract::{Rpc, Rule};
use crate::rest::Answer;

/// A stream that has said something and then nothing for so long has no end of its own.
const QUIET: Duration = Duration::from_secs(2);

/// A listener and who comes in by it.
#[derive(Clone)]
pub struct Door {
    channel: Channel,
    credentials: HeaderMap,
}

impl Door {
    /// Without credentials beyond the channel's certificate.
    #[must_use]
    pub fn new(channel: &Channel) -> Self {
        Self { channel: channel.clone(), credentials: HeaderMap::new() }
    }

    /// With a person's token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.with("authorization", format!("Bearer {token}").parse().unwrap())
    }

    /// As a service that hands back the token it was given.
    #[must_use]
    pub fn acting_for(self, token: HeaderValue) -> Self {
        self.with(chassis::transaction_token::TXN_TOKEN, token)
    }

    fn with(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.credentials.insert(HeaderName::from_static(name), value);
        self
    }

    /// Calls by gRPC with one message, whatever streams, and reads the answer to its end: how many messages it had.
    pub async fn grpc(&self, rpc: &Rpc, message: &DynamicMessage) -> Result<usize, Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::try_from(format!("/{}", rpc.name())).unwrap();
        let mut request = tonic::Request::new(tokio_stream::iter([message.clone()]));
        *request.metadata_mut() = MetadataMap::from_headers(self.credentials.clone());
        let mut answers = client.streaming(request, path, Raw).await?.into_inner();
        let mut messages = 0;
        loop {
            match tokio::time::timeout(QUIET, answers.next()).await {
                Ok(Some(answer)) => {
                    answer?;
                    messages += 1;
                }
                Ok(None) => return Ok(messages),
                Err(_) if messages > 0 => return Ok(messages),
                Err(_) => {}
            }
        }
    }

    /// Calls by one of its HTTP rules: path, query, key and body are made from the message.
    pub async fn rest(&self, rule: &Rule, message: &DynamicMessage) -> Answer {
        let mut fields = object(serde_json::to_value(message).unwrap());
        let path = fill(&rule.template, &mut fields);
        let key = fields.remove("requestId");
        let (media, body) = body(rule, message, &mut fields);
        let query: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let uri = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
        let mut request = Request::builder().method(rule.verb.clone()).uri(uri);
        request.headers_mut().unwrap().extend(self.credentials.clone());
        if let Some(key) = key {
            request = request.header("idempotency-key", plain(&key));
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, media);
        }
        let request = request.body(tonic::body::Body::new(Full::new(body))).unwrap();

        let mut channel = self.channel.clone();
        futures::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
        let (head, mut frames) = channel.call(request).await.unwrap().into_parts();
        let mut body = Vec::new();
        while let Ok(Some(frame)) = tokio::time::timeout(QUIET, frames.frame()).await {
            body.extend_from_slice(frame.unwrap().data_ref().unwrap_or(&Bytes::new()));
        }
        Answer { status: head.status, headers: head.headers, body: body.into() }
    }
}

/// The path of a template, whose variables leave the fields.
fn fill(template: &str, fields: &mut Map<String, Value>) -> String {
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (variable, after) = after.split_once('}').unwrap();
        assert!(!variable.contains(['=', '.']), "{template}: teach this function about such variables");
        let value = fields.remove(&camel(variable)).unwrap_or_else(|| panic!("{template}: no {variable}"));
        path.push_str(before);
        path.push_str(&plain(&value));
        rest = after;
    }
    path + rest
}

/// The media type and the body, whose fields leave the others.
fn body(rule: &Rule, message: &DynamicMessage, fields: &mut Map<String, Value>) -> (String, Bytes) {
    let json = "application/json".to_owned();
    match rule.body.as_str() {
        "" => (json, Bytes::new()),
        "*" => (json, Value::Object(std::mem::take(fields)).to_string().into()),
        field => {
            let value = fields.remove(&camel(field)).unwrap();
            let field = message.get_field_by_name(field).unwrap();
            match field.as_message().filter(|message| message.get_field_by_name("data").is_some()) {
                None => (json, value.to_string().into()),
                // A google.api.HttpBody is the body itself.
                Some(body) => {
                    let media = body.get_field_by_name("content_type").unwrap();
                    let data = body.get_field_by_name("data").unwrap();
                    (media.as_str().unwrap().to_owned(), data.as_bytes().unwrap().clone())
                }
            }
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(fields) = value else { panic!("a message is an object: {value}") };
    fields
}

/// A scalar as a path or a header has it; what these tests send there needs no escaping.
fn plain(value: &Value) -> String {
    let text = text(value);
    assert!(text.bytes().all(is_safe), "{text} needs escaping");
    text
}

/// A scalar as a query has it.
fn escaped(value: &Value) -> String {
    let one = |byte: u8| if is_safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text(value).bytes().map(one).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn is_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte)
}

/// The JSON name of a field.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let (head, tail) = part.split_at(part.len().min(1));
        name + &head.to_ascii_uppercase() + tail
    })
}

/// Encodes what is sent by its descriptor, and leaves what comes as it is.
struct Raw;

impl Codec for Raw {
    type Encode = DynamicMessage;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(buffer).unwrap();
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
