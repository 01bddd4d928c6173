//! The file as an operator writes it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Config;
use crate::policy::RateClass;
use crate::rate::{self, Kind};

const EXAMPLE: &str = include_str!("../../edge.example.toml");

/// Loads the text with a root for the issuer, which is read when the file is checked.
fn load(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let (root, file) = (directory.path().join("root.pem"), directory.path().join("edge.toml"));
    let certificate = rcgen::generate_simple_self_signed(["login.example".to_owned()]).unwrap();
    std::fs::write(&root, certificate.cert.pem()).unwrap();
    let own = format!("ca = \"{}\"", root.display());
    std::fs::write(&file, text.replace("# ca = \"/etc/causeway/issuer-ca.pem\"", &own)).unwrap();
    Config::load(&file).map_err(|error| format!("{error:#}"))
}

/// The dotted paths of all values; list items share one.
fn keys(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                keys(value, &format!("{path}.{name}"), into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().for_each(|item| keys(item, path, into));
        }
        // Absent from the file: neither in it nor missing from it.
        Value::Null => (),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            into.insert(path.to_owned());
        }
    }
}

#[test]
fn the_example_is_accepted_and_shows_every_key() {
    let config = load(EXAMPLE).unwrap();
    let (mut read, mut written) = (BTreeSet::new(), BTreeSet::new());
    keys(&serde_json::to_value(&config).unwrap(), "", &mut read);
    keys(&toml::from_str(EXAMPLE).unwrap(), "", &mut written);
    // Alternatives to what the example chooses, and options of a method that belong to the contract.
    let apart = |key: &&String| {
        !key.starts_with(".method.http.")
            && !key.starts_with(".method.rest.")
            && *key != ".authn.issuer.jwks.ca"
            && *key != ".authn.issuer.introspection.ca"
    };
    let missing: Vec<_> = read.difference(&written).filter(apart).collect();
    assert!(missing.is_empty(), "not in the example: {missing:?}");
}

#[test]
fn a_mistake_is_named() {
    let check = |from: &str, to: &str, says: &str| {
        assert!(EXAMPLE.contains(from), "{from}");
        let error = load(&EXAMPLE.replace(from, to)).unwrap_err();
        assert!(error.contains(says), "{error:?} does not say {says:?}");
        assert_eq!(error.lines().count(), 1, "{error:?}");
    };
    check("streams_max = 1000\n", "stream_max = 1000\n", "unknown field `stream_max`");
    check("listen = \"0.0.0.0:8445\"", "listen = \"8445\"", "invalid socket address");
    check("upstream = \"greeter\"", "upstream = \"greter\"", "there is no such [[upstream]]");
    check("name = \"greeter\"", "name = \"svc-ledger\"", "is there twice");
    check("header_bytes_max = 16384", "header_bytes_max = 10", "limits below 1024 bytes");
    check("sse_heartbeat_ms = 15000", "sse_heartbeat_ms = 15", "transcoding.sse_heartbeat_ms");
    check("leeway_s = 30", "leeway_s = 3000", "leeway_s");
    check("requests = 120, window_s = 60", "requests = 120, window_s = 0", "money.subject.window_s");
    check("requests = 120, window_s = 60", "requests = 1000001, window_s = 60", "money.subject.requests");
    check("entries_max = 65536", "entries_max = 63", "[rate_limits]");
    check("\"10.20.0.0/16\"", "\"10.20.0.0/33\"", "invalid IP address");
}

#[test]
fn the_quotas_of_the_example_are_the_defaults() {
    let example = load(EXAMPLE).unwrap().rate_limits;
    for class in [RateClass::Read, RateClass::Write, RateClass::Money, RateClass::Heavy] {
        for kind in Kind::ALL {
            assert_eq!(
                example.quota(class, kind),
                rate::Config::default().quota(class, kind),
                "{class:?} {kind:?}"
            );
        }
    }
}

#[test]
fn what_a_running_edge_cannot_change_is_named() {
    let old = load(EXAMPLE).unwrap();
    let check = |from: &str, to: &str, expect: &[&str]| {
        assert!(EXAMPLE.contains(from), "{from}");
        let new = load(&EXAMPLE.replacen(from, to, 1)).unwrap();
        assert_eq!(old.needs_restart(&new).unwrap(), expect, "{to}");
    };
    check("leeway_s = 30", "leeway_s = 31", &[]);
    check("message_bytes_max = 4194304", "message_bytes_max = 4194303", &[]);
    check("0.0.0.0:8443", "0.0.0.0:9443", &["listener.public.listen"]);
    check("streams_max = 1000", "streams_max = 999", &["listener.mesh.streams_max"]);
    check("grace_ms = 25000", "grace_ms = 25001", &["drain.grace_ms"]);
    check("idle_ms = 300000", "idle_ms = 300001", &["limits.idle_ms"]);
    check("path = \"/var/log/causeway/access.log\"", "", &["access_log.path"]);
    let mesh = EXAMPLE.find("[listener.mesh]").unwrap();
    let end = mesh + EXAMPLE[mesh..].find("\n\n").unwrap();
    check(&EXAMPLE[mesh..end], "", &["listener.mesh"]);
}
