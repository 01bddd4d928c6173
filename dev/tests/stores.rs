//! The stores and the issuer as a mesh starts them: closed to strangers, alive again after a kill, gone in the end. The
//! workloads are the end-to-end suite's matter.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use bson::doc;
use dev::ports::loopback;
use dev::{Mesh, Part, Setup, TokenRequest};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn setup(parts: &[Part]) -> Setup {
    Setup::temporary(Path::new("/nowhere")).unwrap().only(parts)
}

#[tokio::test]
async fn stores_turn_strangers_away_survive_a_kill_and_leave_nothing_behind() {
    let stores = [Part::Postgres, Part::Redis, Part::Mongo, Part::Dynamo];
    let mesh = Mesh::start(setup(&stores)).await.unwrap();
    postgres_takes_no_plain_text(&mesh).await;
    redis_takes_no_plain_text(&mesh).await;
    mongo_takes_no_stranger(&mesh).await;

    let folder = mesh.folder().to_owned();
    let mut pids = Vec::new();
    for part in Part::STORES {
        let before = mesh.pid(part).unwrap();
        mesh.kill(part).await.unwrap();
        assert!(mesh.pid(part).is_none());
        mesh.start_part(part).await.unwrap_or_else(|error| panic!("{part} after a kill: {error:#}"));
        assert_ne!(Some(before), mesh.pid(part));
        mesh.restart(part).await.unwrap_or_else(|error| panic!("{part} after a stop: {error:#}"));
        pids.push(mesh.pid(part).unwrap());
    }
    mesh.kill(Part::Dynamo).await.unwrap();
    mesh.start_part(Part::Dynamo).await.unwrap();
    assert!(mesh.ended().is_none(), "what was killed on purpose is no news");

    drop(mesh);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left running");
    }
    assert!(!folder.exists());
}

/// What PostgreSQL, or whatever listens there, answers to a login that does not ask for TLS.
async fn postgres_takes_no_plain_text(mesh: &Mesh) {
    let parameters = b"user\0ledger\0database\0ledger\0\0";
    let mut login = (u32::try_from(parameters.len()).unwrap() + 8).to_be_bytes().to_vec();
    login.extend(196_608_u32.to_be_bytes());
    login.extend(parameters);
    let answer = talk(mesh.ports().postgres, &login).await;
    assert!(answer.starts_with('E') && answer.contains("no encryption"), "{answer:?}");
}

async fn redis_takes_no_plain_text(mesh: &Mesh) {
    let answer = talk(mesh.ports().redis, b"PING\r\n").await;
    assert!(!answer.contains("PONG"), "{answer:?}");
}

async fn mongo_takes_no_stranger(mesh: &Mesh) {
    let authority = mesh.pki().server_authority.certificate.display();
    let url = format!(
        "mongodb://127.0.0.1:{}/?directConnection=true&tls=true&tlsCAFile={authority}",
        mesh.ports().mongo
    );
    let client = mongodb::Client::with_uri_str(url).await.unwrap();
    let refusal = client.database("docs").run_command(doc! { "find": "documents" }).await.unwrap_err();
    assert!(refusal.to_string().contains("auth"), "{refusal}");
}

async fn talk(port: u16, words: &[u8]) -> String {
    let mut stream = TcpStream::connect(loopback(port)).await.unwrap();
    stream.write_all(words).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset has said enough.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn tokens_are_good_by_the_keys_that_discovery_names() {
    let mesh = Mesh::start(setup(&[Part::Issuer])).await.unwrap();
    mesh.issuer().set_customer("alice", "0199-alice").unwrap();
    let discovery =
        json("GET", &format!("{}/.well-known/openid-configuration", mesh.issuer().url()), "").await;
    let keys = json("GET", discovery["jwks_uri"].as_str().unwrap(), "").await;
    let token_endpoint = discovery["token_endpoint"].as_str().unwrap();
    let grant =
        json("POST", token_endpoint, "grant_type=dev&user=alice&scope=accounts.read&expires_in=60").await;

    let key = serde_json::from_value(keys["keys"][0].clone()).unwrap();
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&["causeway"]);
    rules.set_issuer(&[mesh.issuer().url()]);
    let verify = |token: &str| {
        jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(&key).unwrap(), &rules)
            .map(|token| token.claims)
    };
    let claims = verify(grant["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(claims["customer_id"], "0199-alice");
    assert_eq!(claims["scope"], "accounts.read");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);

    let request = TokenRequest::new("anyone").lifetime(-3600);
    assert!(verify(&mesh.issuer().issue(&request).unwrap()).is_err(), "the token has run out");
    for (form, error) in [
        ("grant_type=password&user=alice", "unsupported_grant_type"),
        ("grant_type=dev&user=mallory", "invalid_grant"),
        ("grant_type=dev&user=bob", "invalid_grant"),
        ("grant_type=dev&user=alice&scope=staff.write", "invalid_scope"),
        ("grant_type=dev&user=alice&expires_in=0", "invalid_request"),
    ] {
        assert_eq!(json("POST", token_endpoint, form).await["error"], error, "{form}");
    }
}

async fn json(method: &str, url: &str, body: &'static str) -> Value {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request =
        http::Request::builder().method(method).uri(url).body(Full::new(bytes::Bytes::from(body))).unwrap();
    let answer = client.request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&answer).unwrap()
}
