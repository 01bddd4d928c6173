//! The configuration of the edge: its listeners, the contract's descriptor set, the four upstreams, the issuer and the partner.

use super::identity;
use crate::issuer::AUDIENCE;
use crate::part::Part;
use crate::pki::{PARTNER_ID, PARTNER_URI};
use crate::ports::loopback;
use crate::site::Site;
use crate::state;
use anyhow::Result;
use serde_json::{Value, json};

/// Which workload serves which service of the contract.
const SERVICES: [(&str, Part); 8] = [
    ("ledger.v1.LedgerService", Part::Ledger),
    ("accounts.v1.AccountsService", Part::Accounts),
    ("cache.v1.CacheService", Part::Cache),
    ("docs.v1.DocsService", Part::Docs),
    ("docs.v1.JournalHeadService", Part::Docs),
    ("edge.v1.RateLimitService", Part::Cache),
    ("edge.v1.RevocationService", Part::Cache),
    ("edge.v1.AuditService", Part::Docs),
];

pub(super) fn config(site: &Site) -> Result<Value> {
    let descriptors = site.state.config("causeway.binpb");
    state::write_private(&descriptors, proto::DESCRIPTOR_SET)?;

    let issuer = format!("http://127.0.0.1:{}", site.ports.issuer);
    let public = &site.pki.public;
    let listen = |port: u16| loopback(port);
    let upstream = |part: Part, port: u16| {
        let addresses: Vec<_> = site.ports_to(part, port).into_iter().map(loopback).collect();
        json!({ "name": part.name(), "addresses": addresses })
    };
    let service = |(name, part): (&str, Part)| json!({ "name": name, "upstream": part.name() });
    Ok(json!({
        "admin": { "listen": listen(site.ports.edge_admin) },
        "identity": identity(site, Part::Edge),
        "telemetry": { "log": "info", "format": "json" },
        // Nobody balances over this edge, so nobody has to notice that it is about to go.
        "drain": { "lame_duck_ms": 0 },
        "listener": {
            "public": {
                "listen": listen(site.ports.public),
                "certificate": public.certificate,
                "key": public.key,
                "client_ca": site.pki.partner_authority.certificate,
                // A browser would remember it for everything else on localhost.
                "hsts": false,
            },
            "partner": {
                "listen": listen(site.ports.partner),
                "certificate": public.certificate,
                "key": public.key,
                "client_ca": site.pki.partner_authority.certificate,
            },
            "mesh": { "listen": listen(site.ports.mesh) },
        },
        "descriptor_set": [{
            "path": descriptors,
            "upstream": Part::Ledger.name(),
            "policy_source": "descriptor",
        }],
        "service": SERVICES.map(service),
        "upstream": [
            upstream(Part::Ledger, site.ports.ledger),
            upstream(Part::Accounts, site.ports.accounts),
            upstream(Part::Cache, site.ports.cache),
            upstream(Part::Docs, site.ports.docs),
        ],
        "transaction_tokens": { "keys": site.pki.transaction_keys },
        "providers": {
            "rate_limit": Part::Cache.name(),
            "revocation": Part::Cache.name(),
            "audit": Part::Docs.name(),
        },
        // A few people here do what thousands do elsewhere: demonstrations, tests, benchmarks. They are counted, and never refused.
        "rate_limits": rate_limits(),
        "authn": {
            // The issuer is asked over plain HTTP, on loopback.
            "development": true,
            "issuer": [{
                "issuer": issuer,
                "audiences": [AUDIENCE],
                "algorithms": ["ES256"],
                "jwks": { "discovery": format!("{issuer}/.well-known/openid-configuration") },
            }],
            "partner": [{ "id": PARTNER_ID, "uri": PARTNER_URI }],
        },
    }))
}

fn rate_limits() -> Value {
    let wide = json!({ "requests": 1_000_000, "window_s": 1 });
    let class = json!({ "subject": wide, "partner": wide, "anonymous": wide });
    json!({ "read": class, "write": class, "money": class, "heavy": class })
}
