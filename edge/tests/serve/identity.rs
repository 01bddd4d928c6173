//! Who is believed, at the edge's own doors: where a token may stand, proofs of keys, and credentials that are taken back while
//! connections and streams are open.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use proto::edge::v1::revocation_service_server::RevocationService;
use proto::edge::v1::{Revocation, RevokeRequest, RevokeResponse, WatchRequest, WatchResponse};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use crate::client::{Grpc, Http, Reply, Rest};
use crate::messages::*;
use crate::world::{ISSUER, World};

const WATCH: &str = "/echo.v1.EchoService/WatchNotes";
const WHO: &str = "/echo.v1.EchoService/WhoAmI";

fn check(reply: &Reply, reason: &str, challenge: &str) {
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{reply:?}");
    assert_eq!((reply.reason().as_str(), reply.header("www-authenticate")), (reason, challenge));
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_a_token_is_taken_from_one_header_and_never_logged() {
    let world = World::new().await;
    let token = world.token();
    for http in [Http::One, Http::Two] {
        let (nobody, alice) = (Rest::new(&world, http, None), Rest::new(&world, http, Some(token.clone())));
        for name in ["access_token", "token", "authorization", "id_token"] {
            let path = format!("/v1/notes/n-1?{name}={token}");
            check(&nobody.get(&path).await, "TOKEN_MISSING", "Bearer");
            let both = alice.get(&path).await;
            assert_eq!((both.status, both.reason().as_str()), (StatusCode::BAD_REQUEST, "INVALID_REQUEST"));
            assert!(!both.text().contains(&token));
        }
        let form = format!("access_token={token}");
        let posted = [("content-type", "application/x-www-form-urlencoded")];
        check(&nobody.send(Method::POST, "/v1/notes", &posted, form).await, "TOKEN_MISSING", "Bearer");
        let invalid = "Bearer error=\"invalid_token\"";
        for value in [format!("Bearer {token}"), "Basic eDp5".to_owned()] {
            let twice = alice.send(Method::GET, "/v1/notes/n-1", &[("authorization", &value)], "").await;
            check(&twice, "TOKEN_INVALID", invalid);
        }
        for value in
            [format!("Bearer  {token}"), format!("Bearer\t{token}"), format!("Token {token}"), token.clone()]
        {
            let odd = nobody.send(Method::GET, "/v1/notes/n-1", &[("authorization", &value)], "").await;
            check(&odd, "TOKEN_INVALID", invalid);
        }
        let lower = [("authorization", &*format!("bearer {token}"))];
        assert_eq!(nobody.send(Method::GET, "/v1/notes/n-1", &lower, "").await.status, StatusCode::OK);
    }
    world.until("all is logged", || world.access_log().len() >= 32).await;
    let signature = token.rsplit_once('.').unwrap().1;
    for line in world.access_log() {
        assert!(!line.to_string().contains(signature), "{line}");
    }
    assert!(!world.process.metrics.render().unwrap().contains(signature));
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_a_token_that_is_larger_than_a_header_may_be_is_not_read() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let large = Rest::new(&world, http, Some("A".repeat(20_000))).get("/v1/notes/n-1").await;
        assert_eq!(large.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let within = Rest::new(&world, http, Some("A".repeat(9_000))).get("/v1/notes/n-1").await;
        check(&within, "TOKEN_INVALID", "Bearer error=\"invalid_token\"");
    }
}

/// A client with a key of its own.
struct Holder {
    pair: EcdsaKeyPair,
    x: String,
    y: String,
}

impl Holder {
    fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        let pair = pair.unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        Self { pair, x, y }
    }

    fn thumbprint(&self) -> String {
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, self.x, self.y);
        URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
    }

    fn proof(&self, method: &str, url: &str, token: &str) -> String {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": self.x, "y": self.y});
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let ath = URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()));
        let id = uuid::Uuid::now_v7().to_string();
        let claims = json!({"jti": id, "htm": method, "htu": url, "iat": made, "ath": ath});
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_needs_a_proof_for_each_request() {
    let dpop = "[authn.issuer.dpop]\norigins = [\"https://api.test\"]\n        [[descriptor_set]]";
    let world = World::with(|config| config.replacen("[[descriptor_set]]", dpop, 1)).await;
    let holder = Holder::new();
    let token = world.token_with(&json!({"cnf": {"jkt": holder.thumbprint()}}));
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, None);
        let ask =
            async |method: Method, path: &str, scheme: &str, proof: Option<&str>, body: &'static str| {
                let authorization = format!("{scheme} {token}");
                let mut headers =
                    vec![("authorization", authorization.as_str()), ("content-type", "application/json")];
                headers.extend(proof.map(|proof| ("dpop", proof)));
                rest.send(method, path, &headers, body).await
            };
        let get = async |scheme: &str, proof: Option<&str>| {
            ask(Method::GET, "/v1/notes/n-1", scheme, proof, "").await
        };
        let proof = holder.proof("GET", "https://api.test/v1/notes/n-1", &token);
        assert_eq!(get("DPoP", Some(&proof)).await.status, StatusCode::OK);
        let algorithms = "algs=\"ES256 ES384 EdDSA\"";
        let invalid = format!("DPoP error=\"invalid_dpop_proof\", {algorithms}");
        check(&get("DPoP", Some(&proof)).await, "PROOF_INVALID", &invalid);
        check(&get("DPoP", None).await, "PROOF_INVALID", &invalid);
        let missing = format!("DPoP error=\"invalid_token\", {algorithms}");
        check(&get("Bearer", None).await, "PROOF_REQUIRED", &missing);
        for (method, url) in [
            ("POST", "https://api.test/v1/notes/n-1"),
            ("GET", "https://api.test/v1/notes/n-2"),
            ("GET", "https://localhost/v1/notes/n-1"),
        ] {
            let other = holder.proof(method, url, &token);
            check(&get("DPoP", Some(&other)).await, "PROOF_INVALID", &invalid);
        }
        let post = holder.proof("POST", "https://api.test/v1/notes", &token);
        let created = ask(Method::POST, "/v1/notes", "DPoP", Some(&post), "{\"text\": \"a\"}").await;
        assert!(created.status.is_success(), "{created:?}");
    }
}

/// Behind the edge: tells whoever watches what the test revokes. One world a process, so one list of watchers.
#[derive(Clone)]
pub struct Revoker;

static WATCHERS: Mutex<Vec<mpsc::Sender<Result<WatchResponse, Status>>>> = Mutex::new(Vec::new());

#[tonic::async_trait]
impl RevocationService for Revoker {
    async fn revoke(&self, _: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        Ok(Response::new(RevokeResponse {}))
    }

    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(8);
        sender.try_send(Ok(WatchResponse { revocations: Vec::new(), complete: true })).unwrap();
        WATCHERS.lock().unwrap().push(sender);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn revoke(token_id: &str) {
    let expire_time = SystemTime::now() + std::time::Duration::from_secs(600);
    let revocation = Revocation {
        issuer: ISSUER.to_owned(),
        token_id: token_id.to_owned(),
        expire_time: Some(expire_time.into()),
    };
    for watcher in WATCHERS.lock().unwrap().iter() {
        let told = WatchResponse { revocations: vec![revocation.clone()], complete: false };
        let _ = watcher.try_send(Ok(told));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_its_streams_and_is_refused() {
    let providers = "[providers]\n        revocation = \"svc-echo\"\n        [drain]";
    let world = World::with(|config| config.replacen("[drain]", providers, 1)).await;
    world.until("revocations are followed", || world.number("authn_revocation_watching") == 1).await;
    let scopes = json!({"scope": "notes.read", "jti": "t-revoked"});
    let (revoked, other) = (world.token_with(&scopes), world.token());
    let watching = "/v1/notes:watch?count=1&hang=true";
    let mut streams = Vec::new();
    for http in [Http::One, Http::Two] {
        let alice = Rest::new(&world, http, Some(revoked.clone()));
        streams.push(alice.open(Method::GET, watching, &[], "").await);
        assert_eq!(alice.get("/v1/notes/n-1").await.status, StatusCode::OK);
    }
    let hanging =
        || futures::stream::iter([WatchNotesRequest { count: 1, hang: true, ..Default::default() }]);
    let grpc = Grpc::new(&world, Some(revoked.clone()));
    let mut watched = grpc.streaming::<_, Note>(WATCH, hanging()).await.unwrap().into_inner();
    assert!(watched.message().await.unwrap().is_some());
    let bob = Grpc::new(&world, Some(other.clone()));
    let mut kept = bob.streaming::<_, Note>(WATCH, hanging()).await.unwrap().into_inner();
    assert!(kept.message().await.unwrap().is_some());
    world.until("four streams are open", || world.calls_behind() >= 4).await;

    revoke("t-revoked");
    for stream in streams {
        assert!(
            stream.into_body().collect().await.is_err(),
            "a broken answer does not look like a whole one"
        );
    }
    assert!(watched.message().await.is_err());
    for http in [Http::One, Http::Two] {
        let refused = Rest::new(&world, http, Some(revoked.clone())).get("/v1/notes/n-1").await;
        check(&refused, "TOKEN_REVOKED", "Bearer error=\"invalid_token\"");
        assert_eq!(
            Rest::new(&world, http, Some(other.clone())).get("/v1/notes/n-1").await.status,
            StatusCode::OK
        );
    }
    let again = grpc.streaming::<_, Note>(WATCH, hanging()).await.unwrap_err();
    assert_eq!(again.code(), Code::Unauthenticated);
    world.until("their calls have ended behind the edge", || world.calls_behind() == 2).await;
    drop(kept);
    let cut =
        world.access_log().into_iter().filter(|line| line.to_string().contains("TOKEN_REVOKED")).count();
    assert!(cut >= 3, "what ended them is in the log: {cut}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f8_a_certificate_that_is_revoked_is_refused_on_connections_that_are_open() {
    let world = World::with(|config| {
        let at =
            config.split("certificate = \"").nth(1).unwrap().split("/public.pem").next().unwrap().to_owned();
        let list = format!("client_crl = {{ files = [\"{at}/clients.crl\"] }}\n        [[authn.partner]]");
        config.replacen("[[authn.partner]]", &list, 1)
    })
    .await;
    let (partner, stranger) =
        (Grpc::partner(&world, Some("partner")), Grpc::partner(&world, Some("stranger")));
    let who = async |client: &Grpc| client.unary::<_, WhoAmIResponse>(WHO, WhoAmIRequest {}).await;
    assert_eq!(who(&partner).await.unwrap().into_inner().kind, "partner");
    assert_eq!(
        who(&stranger).await.unwrap_err().message(),
        "the client certificate is not accepted: unknown name"
    );

    world.revoke_certificates(&["partner"]);
    let mut refused = None;
    for _ in 0..1_000 {
        refused = who(&partner).await.err();
        if refused.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let refused = refused.unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(refused.message(), "the client certificate is not accepted: no longer vouched for");
    // Whoever is not on the list is asked for their name as before, and a new connection is not made at all.
    assert_eq!(
        who(&stranger).await.unwrap_err().message(),
        "the client certificate is not accepted: unknown name"
    );
    let anew = who(&Grpc::partner(&world, Some("partner"))).await.unwrap_err();
    assert_ne!(anew.code(), Code::Unauthenticated, "{anew:?}");
    assert_eq!(world.number("edge_handshakes_failed_total{listener=\"partner\"}"), 1);
}
