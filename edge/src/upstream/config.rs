//! `[[upstream]]` tables of `edge.toml`: which services there are, how they are reached and within which bounds. Every number
//! has a default that fits a service of the mesh; a foreign service usually needs a name and an address.

use anyhow::{Context as _, ensure};
use chassis::Identity;
use serde::{Deserialize, Serialize};

/// One service behind the edge.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// What descriptor sets and metrics call it; of a workload, the workload's name.
    pub name: String,
    /// `host:port`. A host may resolve to many addresses, as a headless Kubernetes Service does; each is an endpoint.
    pub addresses: Vec<String>,
    /// The DNS name the certificate must carry, sent as SNI and `:authority`. Absent: `<name>.<trust domain>` with TLS,
    /// otherwise the name.
    #[serde(default)]
    pub server_name: Option<String>,
    /// How the connection is secured.
    #[serde(default)]
    pub tls: Tls,
    /// Concurrent streams on one connection, if the server allows as many.
    #[serde(default = "default::streams_max")]
    pub streams_max: usize,
    /// Connections to one endpoint, for unary calls and streams each. The product with `streams_max` bounds what is in flight
    /// there; above it calls wait `ready_ms`.
    #[serde(default = "default::connections_max")]
    pub connections_max: usize,
    /// Calls at once, streams included; the next is refused. Half of what an outer listener admits, so that a service that hangs
    /// leaves the other half to its sisters.
    #[serde(default = "default::in_flight_max")]
    pub in_flight_max: usize,
    /// Calls that may wait for a place on a connection at once; the next is refused.
    #[serde(default = "default::pending_max")]
    pub pending_max: usize,
    /// When an endpoint is left alone.
    #[serde(default)]
    pub ejection: Ejection,
    /// Which calls are made again.
    #[serde(default)]
    pub retry: Retry,
    /// Whether endpoints are asked over grpc.health.v1; one that does not know that service counts as healthy.
    #[serde(default = "default::health")]
    pub health: bool,
    /// Time between two health checks of an endpoint.
    #[serde(default = "default::health_ms")]
    pub health_ms: u64,
    /// Time for TCP, TLS and the HTTP/2 preface together.
    #[serde(default = "default::dial_ms")]
    pub dial_ms: u64,
    /// How long a call may wait for a free stream before it is refused.
    #[serde(default = "default::ready_ms")]
    pub ready_ms: u64,
    /// Time between two resolutions of the addresses.
    #[serde(default = "default::resolve_ms")]
    pub resolve_ms: u64,
    /// How long a connection without streams is kept.
    #[serde(default = "default::idle_ms")]
    pub idle_ms: u64,
    /// A connection that owes an answer and has been silent for so long is asked for a sign of life, by an HTTP/2 PING.
    #[serde(default = "default::silent_ms")]
    pub silent_ms: u64,
    /// It is closed when it gives none in this time. A process that stands still is found within the sum of the two.
    #[serde(default = "default::pong_ms")]
    pub pong_ms: u64,
    /// A peer that has answered is slow, not dead, and is asked again after this time. Zero: never ask, for servers that count
    /// PINGs and take offence (grpc-go and grpc-core do, on streams that stay quiet for minutes).
    #[serde(default = "default::ping_ms")]
    pub ping_ms: u64,
    /// The age at which a connection is replaced, give or take a tenth; its streams go on. Balancers and certificates in between
    /// may have changed since it was made. Zero: never.
    #[serde(default = "default::age_ms")]
    pub age_ms: u64,
}

/// `[upstream.ejection]`: when an endpoint that fails is left alone, and for how long.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Ejection {
    /// So many failures one after another. Zero: never, nor after any other fault.
    pub failures: u32,
    /// The first time, in milliseconds; it doubles with each that follows soon. Also how often an endpoint is asked, once its time
    /// is over, whether it is back.
    pub ms: u64,
    /// The longest time. An endpoint that has done well for as long begins anew.
    pub ms_max: u64,
    /// The share of all endpoints that may be ejected at once, in percent. Above it, something else than the endpoints is wrong, and
    /// the rest could not carry the load. The last that is fit is never ejected.
    pub percent_max: u8,
}

impl Default for Ejection {
    fn default() -> Self {
        // Five in a row are no accident; a second is what a process needs to start.
        Self { failures: 5, ms: 1_000, ms_max: 30_000, percent_max: 50 }
    }
}

/// `[upstream.retry]`: how often unary calls are made again that the contract calls idempotent (`idempotency_level`) and that failed
/// with UNAVAILABLE or were lost with their connection. What was never processed is moved, which these do not bound.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Retries of one call. Zero: none.
    pub each_max: u32,
    /// Retries for a hundred calls.
    pub percent: u32,
    /// Retries a second that are allowed whatever the number of calls.
    pub per_s_min: u32,
    /// Retries at once.
    pub in_flight_max: usize,
    /// The longest pause before the first retry when the service asks for none, in milliseconds; it doubles.
    pub pause_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        // Two: an endpoint that dies and another that is about to. A tenth is what a service can carry on top of its load.
        Self { each_max: 2, percent: 10, per_s_min: 3, in_flight_max: 64, pause_ms: 25 }
    }
}

/// How a connection is secured.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Mutual TLS with the workload identity; the trust bundle vouches for the server.
    #[default]
    Workload,
    /// HTTP/2 in clear text, for a foreign service in development or behind a sidecar.
    Off,
}

mod default {
    pub(super) const fn streams_max() -> usize {
        100
    }
    pub(super) const fn connections_max() -> usize {
        4
    }
    pub(super) const fn in_flight_max() -> usize {
        1_024
    }
    pub(super) const fn pending_max() -> usize {
        512
    }
    pub(super) const fn health() -> bool {
        true
    }
    pub(super) const fn health_ms() -> u64 {
        2_000
    }
    pub(super) const fn dial_ms() -> u64 {
        1_000
    }
    pub(super) const fn ready_ms() -> u64 {
        2_000
    }
    pub(super) const fn resolve_ms() -> u64 {
        5_000
    }
    pub(super) const fn idle_ms() -> u64 {
        90_000
    }
    // Longer than nearly every call of the mesh takes.
    pub(super) const fn silent_ms() -> u64 {
        1_000
    }
    // A PING is answered by the connection's own task; what takes longer is not merely busy.
    pub(super) const fn pong_ms() -> u64 {
        2_000
    }
    pub(super) const fn ping_ms() -> u64 {
        20_000
    }
    pub(super) const fn age_ms() -> u64 {
        600_000
    }
}

impl UpstreamConfig {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.name.is_empty(), "the name is empty");
        ensure!(!self.addresses.is_empty(), "there is no address");
        for address in &self.addresses {
            let (host, port) = address.rsplit_once(':').unwrap_or_default();
            ensure!(
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0),
                "{address:?} is not host:port"
            );
        }
        ensure!((1..=1_000).contains(&self.streams_max), "streams_max must be 1 to 1000");
        ensure!((1..=64).contains(&self.connections_max), "connections_max must be 1 to 64");
        for (key, value) in [
            ("health_ms", self.health_ms),
            ("dial_ms", self.dial_ms),
            ("ready_ms", self.ready_ms),
            ("resolve_ms", self.resolve_ms),
            ("idle_ms", self.idle_ms),
            ("silent_ms", self.silent_ms),
            ("pong_ms", self.pong_ms),
            ("ejection.ms", self.ejection.ms),
        ] {
            ensure!(value > 0, "{key} must be above zero");
        }
        ensure!(self.in_flight_max > 0, "in_flight_max must be above zero");
        ensure!(self.ejection.ms_max >= self.ejection.ms, "ejection.ms_max is below ejection.ms");
        ensure!(self.retry.percent <= 100, "retry.percent is a share of 100");
        ensure!(self.ejection.percent_max <= 100, "ejection.percent_max is a share of 100");
        Ok(())
    }

    /// The name of the server, in the certificate and in `:authority`.
    pub(super) fn server_name(&self, identity: Option<&Identity>) -> anyhow::Result<String> {
        if let Some(name) = &self.server_name {
            return Ok(name.clone());
        }
        match self.tls {
            Tls::Off => Ok(self.name.clone()),
            Tls::Workload => {
                Ok(identity.context("tls = \"workload\" needs the workload identity")?.dns_name(&self.name))
            }
        }
    }

    /// For whom transaction tokens are minted: the workload whose certificate is demanded. A service without a certificate can
    /// prove to nobody that it is the one a token names, and what it is given is of no use on the mesh.
    pub(super) fn audience(&self, server_name: &str, identity: Option<&Identity>) -> String {
        let workload = identity.filter(|_| self.tls == Tls::Workload).and_then(|identity| {
            let name = server_name.strip_suffix(identity.trust_domain())?.strip_suffix('.')?;
            Some(identity.spiffe_id(name))
        });
        workload.unwrap_or_else(|| self.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(toml: &str) -> Result<UpstreamConfig, String> {
        let config: UpstreamConfig = toml::from_str(toml).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_name_and_an_address_are_enough() {
        let config = parse("name = \"svc-ledger\"\naddresses = [\"ledger.causeway.svc:7001\"]").unwrap();
        assert_eq!(
            (config.tls, config.streams_max, config.connections_max, config.health),
            (Tls::Workload, 100, 4, true)
        );
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (toml, says) in [
            ("name = \"\"\naddresses = [\"a:1\"]", "name is empty"),
            ("name = \"a\"\naddresses = []", "no address"),
            ("name = \"a\"\naddresses = [\"a\"]", "not host:port"),
            ("name = \"a\"\naddresses = [\"a:0\"]", "not host:port"),
            ("name = \"a\"\naddresses = [\":80\"]", "not host:port"),
            ("name = \"a\"\naddresses = [\"a:1\"]\nstreams_max = 0", "streams_max"),
            ("name = \"a\"\naddresses = [\"a:1\"]\ndial_ms = 0", "dial_ms"),
            ("name = \"a\"\naddresses = [\"a:1\"]\ntypo = 1", "typo"),
        ] {
            let error = parse(toml).unwrap_err();
            assert!(error.contains(says), "{toml:?}: {error}");
        }
    }
}
