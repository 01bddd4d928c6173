//! The listeners of `edge.toml`: where they listen, whose certificates they show and trust, and what they admit at once. The
//! mesh listener shows the workload's own certificate, so it names none.

use std::net::SocketAddr;
use std::path::PathBuf;

use chassis::identity::Crls;
use serde::{Deserialize, Serialize};

/// `[listener.*]`. Those that are absent do not listen.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listeners {
    /// REST and gRPC for people and their programs; a client certificate is optional.
    pub public: Option<Public>,
    /// REST and gRPC for partners; a client certificate is required.
    pub partner: Option<Partner>,
    /// gRPC for the services of the mesh; a workload certificate is required.
    pub mesh: Option<Mesh>,
}

/// `[listener.public]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    /// Address and port.
    pub listen: SocketAddr,
    /// The certificate chain shown, PEM; watched.
    pub certificate: PathBuf,
    /// Its private key, PEM; watched.
    pub key: PathBuf,
    /// The roots of client certificates, PEM; watched. A client may come without one.
    pub client_ca: PathBuf,
    /// What those roots have revoked; watched, and asked for each request of an open connection.
    #[serde(default)]
    pub client_crl: Crls,
    /// Connections at once. A connection costs about 40 KiB with its TLS state.
    #[serde(default = "outer_connections_max")]
    pub connections_max: usize,
    /// Requests at once; the next is refused.
    #[serde(default = "outer_in_flight_max")]
    pub in_flight_max: usize,
    /// Of these, how many one principal may have.
    #[serde(default = "person_in_flight_max")]
    pub in_flight_each_max: usize,
    /// Streams at once on one HTTP/2 connection.
    #[serde(default = "outer_streams_max")]
    pub streams_max: u32,
    /// Whether browsers are told to come by TLS only, to this host and those below it, for two years. They do not forget: on a
    /// developer's `localhost` it would hold for everything else there too.
    #[serde(default = "yes")]
    pub hsts: bool,
}

/// `[listener.partner]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Partner {
    /// Address and port.
    pub listen: SocketAddr,
    /// The certificate chain shown, PEM; watched.
    pub certificate: PathBuf,
    /// Its private key, PEM; watched.
    pub key: PathBuf,
    /// The roots of partner certificates, PEM; watched. They share none with the workloads'.
    pub client_ca: PathBuf,
    /// What those roots have revoked; watched, and asked for each request of an open connection.
    #[serde(default)]
    pub client_crl: Crls,
    /// Connections at once.
    #[serde(default = "outer_connections_max")]
    pub connections_max: usize,
    /// Requests at once; the next is refused.
    #[serde(default = "outer_in_flight_max")]
    pub in_flight_max: usize,
    /// Of these, how many one principal may have.
    #[serde(default = "partner_in_flight_max")]
    pub in_flight_each_max: usize,
    /// Streams at once on one HTTP/2 connection.
    #[serde(default = "outer_streams_max")]
    pub streams_max: u32,
}

/// `[listener.mesh]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mesh {
    /// Address and port.
    pub listen: SocketAddr,
    /// What the roots of the workloads, which are those of `[identity]`, have revoked; as for the other listeners.
    #[serde(default)]
    pub client_crl: Crls,
    /// Connections at once. Services hold few and keep them.
    #[serde(default = "mesh_connections_max")]
    pub connections_max: usize,
    /// Requests at once. A budget of its own, twice the outer ones': a call half way through the mesh has cost more than
    /// one at the door, so it is shed last.
    #[serde(default = "mesh_in_flight_max")]
    pub in_flight_max: usize,
    /// Streams at once on one connection: a service multiplexes all its calls on a few.
    #[serde(default = "mesh_streams_max")]
    pub streams_max: u32,
}

const fn yes() -> bool {
    true
}
const fn outer_connections_max() -> usize {
    10_000
}
const fn outer_in_flight_max() -> usize {
    2_048
}
// Far more than a person or an application of theirs needs at once. Each may carry the largest message, so this also bounds
// what one person can make the edge hold in memory.
const fn person_in_flight_max() -> usize {
    128
}
// A partner speaks for many people.
const fn partner_in_flight_max() -> usize {
    512
}
// What browsers and gRPC clients are used to.
const fn outer_streams_max() -> u32 {
    100
}
const fn mesh_connections_max() -> usize {
    1_024
}
const fn mesh_in_flight_max() -> usize {
    4_096
}
const fn mesh_streams_max() -> u32 {
    1_000
}
