//! The rows E1, E2 and E13: what a client may not say, in every spelling, and what the edge says instead.

use std::time::Duration;

use chassis::trace::TraceContext;
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::*;
use crate::policy::Listener;

const FRESH: TraceContext = TraceContext { trace_id: 7, span_id: 9, sampled: true };

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        map
    })
}

fn received(listener: Listener, wire: Wire, pairs: &[(&str, &str)]) -> Result<Received, Refusal> {
    read(&map(pairs), None, listener, wire, FRESH, Uuid::nil())
}

fn sent(wire: Wire, pass: &Pass, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let from = map(pairs);
    let received = read(&from, None, Listener::Public, wire, FRESH, Uuid::nil()).unwrap();
    let caller = HeaderValue::from_static("edge-says");
    let to = upstream(&from, wire, pass, &caller, &received, Duration::from_secs(5));
    let mut pairs: Vec<_> =
        to.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    pairs.sort();
    pairs
}

const STAMPS: [(&str, &str); 7] = [
    ("causeway-hops", "0"),
    ("causeway-transaction-id", "00000000-0000-0000-0000-000000000000"),
    ("content-type", "application/grpc"),
    ("grpc-timeout", "5000000u"),
    ("te", "trailers"),
    ("traceparent", "00-00000000000000000000000000000007-0000000000000009-01"),
    ("txn-token", "edge-says"),
];

fn stamps() -> Vec<(String, String)> {
    STAMPS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

#[test]
fn e1_no_identity_a_client_claims_reaches_a_service() {
    let claims = [
        ("x-user-id", "1"),
        ("X-User-Id", "2"),
        ("x_user_id", "3"),
        ("x-principal", "admin"),
        ("x-customer-id", "c"),
        ("x_customer_id", "c"),
        ("x-forwarded-client-cert", "URI=spiffe://causeway.internal/edge"),
        ("client-cert", ":MII:"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("authorization", "Bearer abc"),
        ("proxy-authorization", "Basic abc"),
        ("cookie", "session=1"),
        ("dpop", "abc"),
        ("txn-token", "client-says"),
        ("txn-token", "client-says-twice"),
        ("Txn-Token", "client-says-loudly"),
        ("txn_token", "client-says-softly"),
        ("causeway_hops", "9"),
        ("causeway-hops", "9"),
        ("causeway-transaction-id", "mine"),
        ("causeway-anything", "x"),
        ("baggage", "tenant=other"),
        ("tracestate", "tenant=other"),
        ("connection", "txn-token, traceparent, te, grpc-timeout"),
        ("te", "gzip"),
        ("keep-alive", "1"),
        ("upgrade", "h2c"),
    ];
    assert_eq!(sent(Wire::Grpc, &Pass::default(), &claims), stamps());
    assert_eq!(sent(Wire::Rest, &Pass::default(), &claims), stamps());
}

#[test]
fn e2_rest_headers_do_not_become_grpc_metadata() {
    let claims = [
        ("grpc-metadata-x-user-id", "1"),
        ("grpc-timeout", "1n"),
        ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip"),
        ("grpc-status", "0"),
        ("grpc-status-details-bin", "AA=="),
        ("grpc-message", "x"),
        ("te", "trailers, deflate"),
        ("x-trace-bin", "AA=="),
        ("content-type", "application/json"),
    ];
    assert_eq!(sent(Wire::Rest, &Pass::default(), &claims), stamps());
}

#[test]
fn grpc_keeps_its_compression_and_its_message_format() {
    let sent = sent(
        Wire::Grpc,
        &Pass::default(),
        &[("content-type", "application/grpc-web+proto"), ("grpc-encoding", "gzip"), ("grpc-status", "0")],
    );
    assert!(sent.contains(&("content-type".to_owned(), "application/grpc+proto".to_owned())));
    assert!(sent.contains(&("grpc-encoding".to_owned(), "gzip".to_owned())));
    assert!(!sent.iter().any(|(name, _)| name == "grpc-status"));
}

#[test]
fn content_types() {
    let check = |received: &'static str, expect: &str| {
        assert_eq!(grpc_content_type(Some(&HeaderValue::from_static(received))), expect, "{received}");
    };
    check("application/grpc", "application/grpc");
    check("application/grpc+proto", "application/grpc+proto");
    check("application/grpc+json", "application/grpc+json");
    check("application/grpc-web", "application/grpc");
    check("application/grpc-web-text+proto", "application/grpc+proto");
    check("application/grpcfoo", "application/grpc");
    check("text/html", "application/grpc");
    assert_eq!(grpc_content_type(None), "application/grpc");
}

#[test]
fn a_listed_name_passes_with_all_its_values_even_if_the_connection_names_it() {
    let pass = Pass::new(&["x-tenant".to_owned(), "accept-language".to_owned()]).unwrap();
    let sent = sent(
        Wire::Grpc,
        &pass,
        &[
            ("x-tenant", "a"),
            ("x-tenant", "b"),
            ("x_tenant", "c"),
            ("connection", "x-tenant"),
            ("x-other", "d"),
        ],
    );
    let tenants: Vec<_> =
        sent.iter().filter(|(name, _)| name.contains("tenant")).map(|(_, value)| value).collect();
    assert_eq!(tenants, ["a", "b"]);
    assert!(!sent.iter().any(|(name, _)| name == "x-other"));
}

#[test]
fn a_value_that_is_not_visible_ascii_does_not_pass() {
    let pass = Pass::new(&["x-tenant".to_owned()]).unwrap();
    let mut from = HeaderMap::new();
    from.insert("x-tenant", HeaderValue::from_bytes(b"caf\xc3\xa9").unwrap());
    assert!(downstream_rest(&from, &pass).is_empty());
}

#[test]
fn reserved_names_cannot_be_listed() {
    for name in [
        "authorization",
        "Cookie",
        "txn-token",
        "txn_token",
        "causeway_hops",
        "grpc-timeout",
        "x-forwarded-for",
        "X_Forwarded_For",
        "te",
        "connection",
        "traceparent",
        "a b",
        "",
    ] {
        assert!(Pass::new(&[name.to_owned()]).is_err(), "{name:?}");
    }
}

#[test]
fn hops_and_transaction_ids_are_the_meshs_to_say() {
    let said = [("causeway-hops", "3"), ("causeway-transaction-id", "tx-1")];
    for listener in [Listener::Public, Listener::Partner] {
        let received = received(listener, Wire::Grpc, &said).unwrap();
        assert_eq!(received.hops, 0);
        assert_eq!(received.transaction_id, "00000000-0000-0000-0000-000000000000");
    }
    let received = received(Listener::Mesh, Wire::Grpc, &said).unwrap();
    assert_eq!((received.hops, received.transaction_id.to_str().unwrap()), (3, "tx-1"));
}

#[test]
fn a_circle_of_services_ends() {
    let check = |hops: &str, expect: Result<u32, Refusal>| {
        let got =
            received(Listener::Mesh, Wire::Grpc, &[("causeway-hops", hops)]).map(|received| received.hops);
        assert_eq!(got, expect, "{hops:?}");
    };
    let malformed = Err(Refusal::Malformed { header: "causeway-hops" });
    check("0", Ok(0));
    check("4", Ok(4));
    check("5", Err(Refusal::HopsExceeded));
    check("99", Err(Refusal::HopsExceeded));
    check("100", malformed);
    check("-1", malformed);
    check("", malformed);
    check("1 ", malformed);
    assert_eq!(
        received(Listener::Mesh, Wire::Grpc, &[("causeway-hops", "1"), ("causeway-hops", "1")]).unwrap_err(),
        Refusal::Malformed { header: "causeway-hops" }
    );
}

#[test]
fn transaction_ids_that_could_forge_a_log_line_are_refused() {
    for id in ["", "a b", "a\tb", "a;b", "a\"b", &"a".repeat(65)] {
        let got = received(Listener::Mesh, Wire::Grpc, &[("causeway-transaction-id", id)]);
        assert_eq!(got.unwrap_err(), Refusal::Malformed { header: "causeway-transaction-id" }, "{id:?}");
    }
}

#[test]
fn the_shorter_wish_counts_of_those_a_wire_knows() {
    let both = [("grpc-timeout", "2S"), ("x-server-timeout", "1.5")];
    let ask = |wire| received(Listener::Public, wire, &both).unwrap().timeout;
    assert_eq!(ask(Wire::Grpc), Some(Duration::from_secs(2)));
    assert_eq!(ask(Wire::Rest), Some(Duration::from_millis(1500)));
    let shorter = [("grpc-timeout", "1S"), ("x-server-timeout", "1.5")];
    let asked = received(Listener::Public, Wire::Rest, &shorter).unwrap().timeout;
    assert_eq!(asked, Some(Duration::from_secs(1)));
    assert_eq!(received(Listener::Public, Wire::Grpc, &[]).unwrap().timeout, None);
    assert_eq!(
        received(Listener::Public, Wire::Grpc, &[("grpc-timeout", "soon")]).unwrap_err(),
        Refusal::Malformed { header: "grpc-timeout" }
    );
    assert!(
        received(Listener::Public, Wire::Grpc, &[("grpc-timeout", "1S"), ("grpc-timeout", "9S")]).is_err()
    );
    assert!(received(Listener::Public, Wire::Rest, &[("grpc-timeout", "soon")]).is_err());
    assert!(received(Listener::Public, Wire::Grpc, &[("x-server-timeout", "soon")]).is_ok());
}

#[test]
fn a_star_lets_everything_pass_but_what_may_not_be_listed() {
    let claims = [
        ("accept-language", "de"),
        ("authorization", "Bearer x"),
        ("cookie", "a=b"),
        ("txn-token", "me"),
        ("txn_token", "me"),
        ("x-forwarded-for", "1.2.3.4"),
        ("grpc-status", "0"),
        ("grpc-metadata-x", "1"),
        ("grpc-metadata-txn-token", "me"),
        ("grpc-metadata-cookie", "me"),
        ("te", "gzip"),
    ];
    let with = |names: &[&str], gateway| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let sent = sent(Wire::Rest, &Pass::new(&names).unwrap().with_gateway_names(gateway), &claims);
        let stamps = stamps();
        sent.into_iter().filter(|pair| !stamps.contains(pair)).map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(with(&["*"], false), ["accept-language"]);
    assert_eq!(with(&["*"], true), ["accept-language", "x"]);
    assert_eq!(with(&["x"], true), ["x"]);
    assert_eq!(with(&["accept-language"], true), ["accept-language"]);
}

#[test]
fn a_service_hears_which_host_a_rest_request_was_sent_to() {
    let from = map(&[("host", "api.example")]);
    let host =
        |authority, wire| read(&from, authority, Listener::Public, wire, FRESH, Uuid::nil()).unwrap().host;
    assert_eq!(host(None, Wire::Rest).unwrap(), "api.example");
    assert_eq!(host(Some("other.example:8443"), Wire::Rest).unwrap(), "other.example:8443");
    assert_eq!(host(Some("other.example"), Wire::Grpc), None);
    assert!(
        sent(Wire::Rest, &Pass::default(), &[("host", "h")])
            .contains(&("x-forwarded-host".into(), "h".into()))
    );
}

#[test]
fn an_answer_tells_nothing_about_the_inside() {
    let mut headers = map(&[
        ("content-type", "application/grpc"),
        ("grpc-status", "0"),
        ("x-item-count", "3"),
        ("server", "internal/1.2"),
        ("set-cookie", "a=b"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("txn-token", "x"),
        ("causeway-debug", "y"),
    ]);
    let rest = downstream_rest(&headers, &Pass::new(&["x-item-count".to_owned()]).unwrap());
    assert_eq!(rest, map(&[("x-item-count", "3")]));
    downstream_grpc(&mut headers);
    assert_eq!(
        headers,
        map(&[("content-type", "application/grpc"), ("grpc-status", "0"), ("x-item-count", "3")])
    );
}
