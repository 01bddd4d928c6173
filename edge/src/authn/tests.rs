//! Credentials as they come in on each listener: the rows of forged tokens against a real key set, bound and revoked ones,
//! partners, and the mesh.

mod bound;
mod forged;
mod listeners;
mod tokens;

use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};

use super::*;
use crate::jwks::testing::{Server, Signer, key_set};
use crate::jwks::{Algorithm, Source};

const ISSUER: &str = "https://issuer";
const NOW_S: u64 = 1_800_000_000;

/// The moment at which the tests take place, unless they say another.
fn instant() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW_S)
}

fn config(jwks: Source) -> Config {
    Config {
        issuers: vec![super::config::Issuer {
            issuer: ISSUER.into(),
            audiences: vec!["https://api".into()],
            algorithms: vec![Algorithm::Es256],
            typ: vec!["at+jwt".into()],
            jwks: Some(jwks),
            customer_claim: "customer_id".into(),
            scope_claim: "scope".into(),
            leeway_s: 30,
            lifetime_s_max: 3600,
            required_claims: Vec::new(),
            introspection: None,
            dpop: None,
        }],
        partners: vec![super::config::Partner { uri: "https://psp.example/".into(), id: "psp".into() }],
        token_cache_entries_max: 100,
        revocations_max: 100,
        proofs_max: 100,
        development: true,
    }
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "alice", "aud": "https://api", "exp": NOW_S + 600, "iat": NOW_S,
           "customer_id": "c-1", "scope": "accounts.read"})
}

fn bound(peer: &PeerCertificate) -> Value {
    let mut claims = claims();
    claims["cnf"] = json!({"x5t#S256": crate::jwks::testing::encode(peer.sha256)});
    claims
}

/// What the tests' edge signs with.
fn txn_signer() -> chassis::transaction_token::Signer {
    static SIGNER: std::sync::LazyLock<chassis::transaction_token::Signer> = std::sync::LazyLock::new(|| {
        let lifetime = Duration::from_secs(300);
        chassis::transaction_token::Signer::load(None, "causeway.internal", lifetime).unwrap()
    });
    SIGNER.clone()
}

/// What the service behind is told.
fn told(authenticated: &Authenticated) -> Caller {
    let audience: Arc<str> = "spiffe://causeway.internal/svc-ledger".into();
    let stamp = authenticated.stamp(&audience, instant()).unwrap();
    (*txn_signer().verifier().verify(&stamp, &audience, instant()).unwrap().caller).clone()
}

/// An authenticator whose one issuer has its keys in a file.
struct Scene {
    authenticator: Authenticator,
    signer: Signer,
    _directory: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let signer = Signer::new("k");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        std::fs::write(&path, key_set(&[&signer])).unwrap();
        let jwks = Source {
            file: Some(path),
            refresh_s: 3600,
            cooldown_s: 3600,
            deadline_ms: 5000,
            stale_s: 3600,
            ..Source::default()
        };
        Self { authenticator: start(jwks).await, signer, _directory: directory }
    }

    async fn public(&self, token: &str) -> Result<Authenticated, Refusal> {
        self.authenticator
            .authenticate(Listener::Public, None, &Memory::default(), get(&bearer(token)), instant())
            .await
    }
}

async fn start(jwks: Source) -> Authenticator {
    start_with(&config(jwks)).await
}

async fn start_with(config: &Config) -> Authenticator {
    let (domain, drain, metrics) = ("causeway.internal", Drain::default(), Metrics::default());
    Authenticator::start(config, domain, &txn_signer(), &drain, &metrics).await.unwrap()
}

/// A request that has nothing but headers.
fn get(headers: &HeaderMap) -> Asked<'_> {
    static ROOT: LazyLock<Uri> = LazyLock::new(|| Uri::from_static("/"));
    Asked { headers, method: &Method::GET, uri: &ROOT }
}

fn bearer(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap())])
}

fn cause(result: Result<Authenticated, Refusal>) -> Cause {
    match result {
        Err(Refusal::TokenInvalid { cause }) => cause,
        other => panic!("{other:?}"),
    }
}
