//! The configuration of the four services: the chassis's tables, and each one's store.

use super::identity;
use crate::part::Part;
use crate::pki::PARTNER_ID;
use crate::ports::loopback;
use crate::site::Site;
use crate::stores::{mongo, redis};
use serde_json::{Value, json};

/// What every service has; `own` adds its tables.
fn service(site: &Site, part: Part, listen: u16, admin: u16, own: Value) -> Value {
    let mut config = json!({
        "server": {
            "listen": loopback(listen),
            "admin": loopback(admin),
            "edge_keys": site.pki.edge_keys,
            // Nobody has to notice that a process is about to go: the edge is stopped first.
            "lame_duck_ms": 0,
        },
        "identity": identity(site, part),
        "edge": { "addresses": [loopback(site.ports.mesh)] },
        "telemetry": { "log": "info", "format": "json" },
    });
    if let (Value::Object(config), Value::Object(own)) = (&mut config, own) {
        config.extend(own);
    }
    config
}

pub(super) fn ledger(site: &Site) -> Value {
    let postgres = site.ports_to(Part::Postgres, site.ports.postgres)[0];
    let own = json!({
        "store": {
            "url": format!("postgres://ledger@127.0.0.1:{postgres}/ledger"),
            "password_file": site.secrets.postgres.path,
            "migrate_url": format!("postgres://ledger_owner@127.0.0.1:{}/ledger", site.ports.postgres),
            "migrate_password_file": site.secrets.postgres_owner.path,
            "ca": site.pki.server_authority.certificate,
            "connections": 8,
        },
        "ledger": {
            "currencies": ["EUR", "USD", "GBP", "CHF", "JPY"],
            "own_ibans": ["DE50010517"],
            "rail_partners": [PARTNER_ID],
        },
        "payee": { "keys": site.secrets.payee_keys.path },
        // Soon enough for whoever tries a proof by hand.
        "proof": { "signing_key": site.pki.head_key, "sign_every_ms": 1_000 },
    });
    service(site, Part::Ledger, site.ports.ledger, site.ports.ledger_admin, own)
}

pub(super) fn accounts(site: &Site) -> Value {
    let own = json!({
        "store": {
            "endpoint": format!("http://127.0.0.1:{}", site.ports.dynamo),
            "region": "eu-central-1",
            "table": "causeway-accounts",
            "create_table": true,
            "credentials_file": site.secrets.aws.path,
            "email_key_file": site.secrets.email_key.path,
        },
        // The bank code of the IBAN registry's own example.
        "bank": { "iban_country": "DE", "iban_bank_code": "50010517" },
        "payee": { "keys": site.secrets.payee_keys.path },
    });
    service(site, Part::Accounts, site.ports.accounts, site.ports.accounts_admin, own)
}

pub(super) fn cache(site: &Site) -> Value {
    let own = json!({
        "store": {
            "url": format!("rediss://{}@127.0.0.1:{}/0", redis::USER, site.ports.redis),
            "password_file": site.secrets.redis.path,
            "ca": site.pki.server_authority.certificate,
        },
    });
    service(site, Part::Cache, site.ports.cache, site.ports.cache_admin, own)
}

pub(super) fn docs(site: &Site) -> Value {
    let url = format!("mongodb://{}@127.0.0.1:{}/?directConnection=true", mongo::USER, site.ports.mongo);
    let own = json!({
        "store": {
            "url": url,
            "database": mongo::DATABASE,
            "password_file": site.secrets.mongo.path,
            "ca": site.pki.server_authority.certificate,
        },
        "content": { "bytes_max": 25 * 1024 * 1024 },
    });
    service(site, Part::Docs, site.ports.docs, site.ports.docs_admin, own)
}
