//! gRPC clients of the edge: a channel to a listener, with or without a client certificate, and the token of the caller.

use std::path::Path;
use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

/// Puts the caller's token on every call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<tonic::metadata::Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// What generated clients are made over.
pub type Calling = InterceptedService<Channel, Bearer>;

/// A channel to `https://127.0.0.1:port` under the name `server`.
#[must_use]
pub fn channel(port: u16, server: &str, authority: &Path, identity: Option<(&Path, &Path)>) -> Channel {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(std::fs::read(authority).unwrap()))
        .domain_name(server);
    if let Some((certificate, key)) = identity {
        tls = tls
            .identity(Identity::from_pem(std::fs::read(certificate).unwrap(), std::fs::read(key).unwrap()));
    }
    Endpoint::from_shared(format!("https://127.0.0.1:{port}"))
        .unwrap()
        .connect_timeout(Duration::from_secs(5))
        .tls_config(tls)
        .unwrap()
        .connect_lazy()
}

/// The channel with a caller's token, or without any.
#[must_use]
pub fn calling(channel: Channel, token: Option<&str>) -> Calling {
    let token = token.map(|token| format!("Bearer {token}").parse().unwrap());
    InterceptedService::new(channel, Bearer(token))
}

/// The reason of a refusal, from its `ErrorInfo`.
#[must_use]
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}
