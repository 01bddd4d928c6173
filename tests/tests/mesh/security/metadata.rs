//! E1, E2 and E13: headers by which a client would be somebody else, or have a say in what the mesh tells itself. The foreign
//! service behind the edge shows what reaches a service, values and all.

use std::sync::Arc;

use e2e::World;
use e2e::foreign::v1::EchoRequest;
use e2e::foreign::v1::echo_service_client::EchoServiceClient;
use e2e::wire::exchange;
use http::Method;
use http_body_util::Full;
use tonic::metadata::{AsciiMetadataKey, BinaryMetadataKey, MetadataMap, MetadataValue};

crate::tests![
    e1_no_spelling_of_an_identity_header_reaches_a_service,
    e1_no_connection_header_takes_a_stamp_away,
    e2_no_rest_header_becomes_grpc_metadata,
    e13_a_client_does_not_decide_what_is_traced,
    e13_baggage_is_bounded_and_stays_outside,
];

/// What every forged value holds.
const FORGED: &str = "forged-by-a-client";

/// Names by which somebody upstream of somebody says who is asking.
const IDENTITY: [&str; 28] = [
    "x-user-id",
    "x-user",
    "x-principal",
    "x-customer-id",
    "x-consumer-id",
    "x-authenticated-userid",
    "x-remote-user",
    "remote-user",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-user",
    "x-forwarded-host",
    "x-forwarded-proto",
    "forwarded",
    "x-real-ip",
    "true-client-ip",
    "x-client-cert",
    "client-cert",
    "client-cert-chain",
    "x-ssl-client-s-dn",
    "x-envoy-peer-metadata",
    "x-spiffe-id",
    "causeway-caller",
    "causeway-subject",
    "causeway-transaction-id",
    "causeway-token",
    "txn-token",
    "x-internal",
];

/// A name as careless servers read it too.
fn spellings(name: &str) -> Vec<String> {
    let title: String =
        name.split('-').map(|part| part[..1].to_uppercase() + &part[1..]).collect::<Vec<_>>().join("-");
    vec![name.to_owned(), name.to_uppercase(), title, name.replace('-', "_"), format!("{name}-bin")]
}

/// What the service behind the edge has seen of a request of HTTP/1.1: the status, and lines of "name: value".
async fn seen(world: &World, lines: &str) -> (Vec<u16>, Vec<String>) {
    let head = format!("GET /v1/echo/who HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n");
    let said = exchange(world, head).await;
    let body = said.text().split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let headers = body["headers"].as_array().cloned().unwrap_or_default();
    (said.statuses(), headers.iter().map(|line| line.as_str().unwrap().to_owned()).collect())
}

fn has(headers: &[String], name: &str) -> bool {
    headers.iter().any(|line| line.starts_with(&format!("{name}: ")))
}

async fn e1_no_spelling_of_an_identity_header_reaches_a_service(world: Arc<World>) {
    let honest = seen(&world, "").await.1;
    let names: Vec<&str> = honest.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert!(names.len() > 4, "the service shows what it sees: {honest:?}");
    let mut wrong = Vec::new();
    for name in IDENTITY {
        for spelling in spellings(name) {
            for lines in [
                format!("{spelling}: {FORGED}\r\n"),
                format!("{spelling}: {FORGED}\r\n{spelling}: {FORGED}2\r\n"),
            ] {
                let (statuses, headers) = seen(&world, &lines).await;
                let more = headers.iter().any(|line| !names.contains(&line.split(": ").next().unwrap()));
                // Either it is overheard, or the whole request is refused.
                let passed = headers.iter().any(|line| line.contains(FORGED)) || more;
                if passed || !matches!(statuses[..], [200 | 400]) {
                    wrong.push(format!("{lines:?}: {statuses:?} {headers:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The same as metadata of gRPC, where names are the client's to choose.
    let mut request = tonic::Request::new(EchoRequest::default());
    *request.metadata_mut() = forged();
    let answer = EchoServiceClient::new(world.public(None)).echo(request).await.unwrap().into_inner();
    assert!(!answer.headers.iter().any(|line| line.contains(FORGED)), "{:?}", answer.headers);
}

fn forged() -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for name in IDENTITY {
        metadata.append(AsciiMetadataKey::from_bytes(name.as_bytes()).unwrap(), FORGED.parse().unwrap());
        let binary = BinaryMetadataKey::from_bytes(format!("{name}-bin").as_bytes()).unwrap();
        metadata.append_bin(binary, MetadataValue::from_bytes(FORGED.as_bytes()));
    }
    metadata
}

async fn e1_no_connection_header_takes_a_stamp_away(world: Arc<World>) {
    let honest = seen(&world, "").await.1;
    for line in &honest {
        let name = line.split(": ").next().unwrap();
        let (statuses, headers) = seen(&world, &format!("connection: {name}\r\n{name}: {FORGED}\r\n")).await;
        let refused = statuses == [400];
        assert!(refused || has(&headers, name), "{name} was taken away: {headers:?}");
        assert!(!headers.iter().any(|line| line.contains(FORGED)), "{headers:?}");
    }
}

async fn e2_no_rest_header_becomes_grpc_metadata(world: Arc<World>) {
    let lines = [
        "grpc-metadata-x-user-id",
        "Grpc-Metadata-Authorization",
        "grpc-metadata-causeway-caller",
        "grpc-metadata-x-bin",
        "x-custom-bin",
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "grpc-encoding",
        "grpc-accept-encoding",
        "grpc-timeout",
        "te",
        "grpc-trace-bin",
        "grpc-tags-bin",
        "grpc-previous-rpc-attempts",
        "x-grpc-web",
        "cookie",
        "authorization-bin",
        "dpop",
    ];
    let names = seen(&world, "").await.1;
    let names: Vec<&str> = names.iter().map(|line| line.split(": ").next().unwrap()).collect();
    for name in lines {
        let (statuses, headers) = seen(&world, &format!("{name}: {FORGED}\r\n")).await;
        assert!(matches!(statuses[..], [200 | 400]), "{name}: {statuses:?}");
        assert!(!headers.iter().any(|line| line.contains(FORGED)), "{name}: {headers:?}");
        assert!(
            headers.iter().all(|line| names.contains(&line.split(": ").next().unwrap())),
            "{name}: {headers:?}"
        );
    }
    // A budget is asked for and cut down: nobody waits for longer than the policy allows.
    let (_, headers) = seen(&world, "grpc-timeout: 99999999H\r\n").await;
    let timeout = headers.iter().find(|line| line.starts_with("grpc-timeout: ")).unwrap();
    assert!(!timeout.ends_with('H'), "{timeout}");
}

async fn e13_a_client_does_not_decide_what_is_traced(world: Arc<World>) {
    // This mesh records every trace that starts at its edge: a client that says "not this one" is overheard, as one that says
    // "this one" is where few are recorded (edge/src/headers/trace.rs).
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    let (_, headers) =
        seen(&world, &format!("traceparent: {trace}-00\r\ntracestate: tenant=other\r\n")).await;
    let parent = headers.iter().find(|line| line.starts_with("traceparent: ")).unwrap();
    assert!(parent.contains("4bf92f3577b34da6a3ce929d0e0e4736") && parent.ends_with("-01"), "{parent}");
    assert!(!parent.contains("00f067aa0ba902b7"), "the span is the edge's own: {parent}");
    assert!(!has(&headers, "tracestate"), "{headers:?}");
    for odd in [
        "00-0-0-00",
        "soon",
        &format!("{trace}-01\r\ntraceparent: {trace}-01"),
        &format!("ff{}", &trace[2..]),
        &"0".repeat(8_000),
    ] {
        let (statuses, headers) = seen(&world, &format!("traceparent: {odd}\r\n")).await;
        assert_eq!(statuses, [200], "{odd}");
        assert!(
            !headers.iter().any(|line| line.contains("4bf92f")),
            "{odd} is no trace to go on with: {headers:?}"
        );
    }
}

async fn e13_baggage_is_bounded_and_stays_outside(world: Arc<World>) {
    let (statuses, headers) =
        seen(&world, &format!("baggage: tenant={FORGED}\r\ntracestate: a={FORGED}\r\n")).await;
    assert_eq!(statuses, [200]);
    assert!(!headers.iter().any(|line| line.contains(FORGED)), "{headers:?}");
    for rest in [&world.rest, &world.rest2] {
        let request = rest.request(Method::GET, "/v1/echo/big").header("baggage", "a=b,".repeat(16 * 1024));
        // Too much of it ends the connection, or is refused where there is still somebody to tell.
        if let Ok(answer) = rest.try_send(request.body(Full::default()).unwrap()).await {
            assert_eq!(answer.status, 431, "{answer:?}");
        }
    }
}
