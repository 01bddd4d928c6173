//! Opaque tokens, by an authenticator whose issuer is a server on loopback.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use chassis::drain::Drain;
use chassis::metrics::Metrics;
use chassis::transaction_token::Signer;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Uri};
use serde_json::{Value, json};

use super::*;
use crate::authn::{Asked, Authenticated, Authenticator, Cause, Config, Memory};
use crate::jwks::testing::{Answer, Server};
use crate::policy::Listener;

const NOW_S: u64 = 1_800_000_000;
const SECRET: &str = "s3cret with / and :";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW_S + seconds)
}

fn active(changes: &Value) -> Answer {
    let mut answer = json!({"active": true, "sub": "alice", "aud": "https://api", "exp": NOW_S + 600,
                            "scope": "accounts.read", "jti": "t-1", "client_id": "web"});
    answer.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    Answer::Body(answer.to_string())
}

struct Scene {
    authenticator: Authenticator,
    server: Server,
    drain: Drain,
    _directory: tempfile::TempDir,
}

impl Scene {
    async fn new(keys: &str) -> Self {
        let drain = Drain::default();
        let server = Server::start(&drain).await;
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let toml = format!(
            r#"
            development = true
            [[issuer]]
            issuer = "https://issuer"
            audiences = ["https://api"]
            [issuer.introspection]
            url = "{}"
            client_id = "the edge"
            client_secret_file = "{}"
            {keys}
            "#,
            server.url("/introspect"),
            secret.display(),
        );
        let config: Config = toml::from_str(&toml).unwrap();
        let signer = Signer::load(None, "causeway.internal", Duration::from_secs(300)).unwrap();
        let authenticator =
            Authenticator::start(&config, "causeway.internal", &signer, &drain, &Metrics::default())
                .await
                .unwrap();
        Self { authenticator, server, drain, _directory: directory }
    }

    async fn at(&self, token: &str, now: SystemTime) -> Result<Authenticated, Refusal> {
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let asked = Asked { headers: &headers, method: &Method::GET, uri: &Uri::from_static("/") };
        self.authenticator.authenticate(Listener::Public, None, &Memory::default(), asked, now).await
    }

    async fn of(&self, token: &str) -> Result<Authenticated, Refusal> {
        self.at(token, at(0)).await
    }
}

#[test]
fn a_token_in_three_parts_is_a_jwt_and_asked_about_by_nobody() {
    for opaque in ["abc", "ory_at_x-y.z~+/==", "a.b.c.d", "a"] {
        assert!(is_opaque(opaque), "{opaque}");
    }
    for other in ["a.b.c", "..", "a\"b", "a%20b", "é", &"a".repeat(BYTES_MAX + 1)] {
        assert!(!is_opaque(other), "{other:.20}");
    }
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_once_and_names_its_subject() {
    let scene = Scene::new("").await;
    scene.server.set("/introspect", active(&json!({})));
    let first = scene.of("opaque/+token").await.unwrap();
    assert_eq!(first.caller.kind(), "subject");
    assert!(first.caller.has_scope("accounts.read"));
    assert_eq!(first.left(at(0)), Duration::from_secs(630));
    assert!(scene.of("opaque/+token").await.is_ok());
    assert_eq!(scene.server.asked(), 1, "the answer is kept");
    let (authorization, body) = scene.server.last();
    let pair = base64::engine::general_purpose::STANDARD.encode("the%20edge:s3cret%20with%20%2F%20and%20%3A");
    assert_eq!(authorization, format!("Basic {pair}"));
    assert_eq!(body, "token=opaque%2F%2Btoken&token_type_hint=access_token");
    // Another token is another question, and what is no JWT and could not be a token is none.
    assert!(scene.of("other").await.is_ok());
    assert_eq!(scene.of("a.b.c").await.unwrap_err(), Cause::Malformed.into());
    assert_eq!(scene.server.asked(), 2);
}

#[tokio::test]
async fn a_belief_is_asked_for_anew_after_its_time_and_never_outlives_the_token() {
    let scene = Scene::new("ttl_s = 60").await;
    scene.server.set("/introspect", active(&json!({"exp": NOW_S + 70})));
    assert!(scene.of("opaque").await.is_ok());
    assert!(scene.at("opaque", at(59)).await.is_ok());
    assert_eq!(scene.server.asked(), 1);
    assert!(scene.at("opaque", at(60)).await.is_ok());
    assert_eq!(scene.server.asked(), 2);
    assert_eq!(scene.at("opaque", at(100)).await.unwrap_err(), Refusal::TokenExpired, "70 and the leeway");
    // Revoked at the issuer: within the time of the belief, the edge hears of it.
    scene.server.set("/introspect", Answer::Body(r#"{"active": false}"#.into()));
    assert!(scene.at("another", at(0)).await.is_err());
}

#[tokio::test]
async fn a_refusal_is_kept_too() {
    let scene = Scene::new("").await;
    scene.server.set("/introspect", Answer::Body(r#"{"active": false}"#.into()));
    for _ in 0..5 {
        assert_eq!(scene.of("opaque").await.unwrap_err(), Cause::Inactive.into());
    }
    assert_eq!(scene.server.asked(), 1);
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_no_verdict() {
    let scene = Scene::new("deadline_ms = 200").await;
    let answers = [
        Answer::Status(500),
        Answer::Status(401),
        Answer::Redirect(scene.server.url("/elsewhere")),
        Answer::Body("no".into()),
        Answer::Body(r#"{"active": true, "active": false}"#.into()),
        Answer::Body(r#"{"sub": "alice"}"#.into()),
    ];
    for answer in answers {
        scene.server.set("/introspect", answer);
        assert_eq!(scene.of("opaque").await.unwrap_err(), Refusal::IssuerUnavailable);
    }
    scene.server.set("/introspect", active(&json!({})));
    scene.server.open(false);
    assert_eq!(scene.of("opaque").await.unwrap_err(), Refusal::IssuerUnavailable, "late");
    scene.server.open(true);
    assert!(scene.of("opaque").await.is_ok(), "nothing of all that was kept");
}

#[tokio::test]
async fn many_requests_with_one_token_are_one_question_and_the_questions_are_bounded() {
    let scene = Arc::new(Scene::new("in_flight_max = 2\ndeadline_ms = 20000").await);
    scene.server.set("/introspect", active(&json!({})));
    scene.server.open(false);
    let ask = |token: &'static str| {
        let scene = Arc::clone(&scene);
        let asking = Arc::clone(&scene);
        scene.drain.spawn("asking", async move { asking.of(token).await })
    };
    let mut asking: Vec<_> = (0..20).map(|_| ask("one")).collect();
    asking.push(ask("two"));
    for _ in 0..1_000 {
        if scene.server.asked() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(scene.of("three").await.unwrap_err(), Refusal::IssuerUnavailable, "no room for it");
    scene.server.open(true);
    for asked in asking {
        assert!(asked.await.unwrap().is_ok());
    }
    assert_eq!(scene.server.asked(), 2);
}
