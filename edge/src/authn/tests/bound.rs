//! Tokens bound to keys, and tokens that are taken back, by the authenticator.

use super::*;
use crate::authn::revocation::TokenId;
use crate::jwks::testing::encode;

/// An issuer that binds tokens to keys, if a client has one.
async fn scene(required: bool) -> Scene {
    let signer = Signer::new("k");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    std::fs::write(&path, key_set(&[&signer])).unwrap();
    let mut config = config(Source {
        file: Some(path),
        refresh_s: 3600,
        cooldown_s: 3600,
        deadline_ms: 5000,
        stale_s: 3600,
        ..Source::default()
    });
    let origins = vec!["https://api.example".to_owned()];
    config.issuers[0].dpop = Some(crate::authn::config::DPoP { origins, window_s: 60, required });
    Scene { authenticator: start_with(&config).await, signer, _directory: directory }
}

fn bound_to(client: &Signer) -> Value {
    let key = crate::jwks::Key::from_jwk(client.jwk()).unwrap();
    let mut claims = claims();
    claims["cnf"] = json!({"jkt": encode(key.thumbprint())});
    claims
}

fn proof(client: &Signer, token: &str) -> HeaderValue {
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": client.jwk()});
    let claims = json!({"jti": uuid::Uuid::now_v7().to_string(), "htm": "GET", "htu": "https://api.example/",
                        "iat": NOW_S, "ath": encode(crate::authn::peer::sha256(token.as_bytes()))});
    client.token_with(&header, &claims).try_into().unwrap()
}

fn shown(scheme: &str, token: &str, proof: Option<HeaderValue>) -> HeaderMap {
    let value = HeaderValue::try_from(format!("{scheme} {token}")).unwrap();
    let proof = proof.map(|proof| (http::HeaderName::from_static("dpop"), proof));
    [(AUTHORIZATION, value)].into_iter().chain(proof).collect()
}

#[tokio::test]
async fn a_token_bound_to_a_key_works_with_a_proof_of_it_and_in_no_other_way() {
    let (scene, client, thief) = (scene(false).await, Signer::new("client"), Signer::new("thief"));
    let token = scene.signer.token(&bound_to(&client));
    let memory = Memory::default();
    let ask = async |headers: HeaderMap| {
        scene.authenticator.authenticate(Listener::Public, None, &memory, get(&headers), instant()).await
    };
    // Twice on one connection: the token is remembered, and a proof is asked for all the same.
    for _ in 0..2 {
        assert!(ask(shown("DPoP", &token, Some(proof(&client, &token)))).await.is_ok());
    }
    let invalid = |cause| Refusal::ProofInvalid { cause };
    assert_eq!(ask(shown("DPoP", &token, None)).await.unwrap_err(), invalid(ProofCause::Header));
    let once = proof(&client, &token);
    assert!(ask(shown("dpop", &token, Some(once.clone()))).await.is_ok());
    assert_eq!(ask(shown("DPoP", &token, Some(once))).await.unwrap_err(), invalid(ProofCause::Replayed));
    let stolen = ask(shown("DPoP", &token, Some(proof(&thief, &token)))).await;
    assert_eq!(stolen.unwrap_err(), invalid(ProofCause::Binding));
    let other = scene.signer.token(&{
        let mut claims = bound_to(&client);
        claims["jti"] = json!("other");
        claims
    });
    let for_another = ask(shown("DPoP", &token, Some(proof(&client, &other)))).await;
    assert_eq!(for_another.unwrap_err(), invalid(ProofCause::Token));
    for with in [None, Some(proof(&client, &token))] {
        assert_eq!(ask(shown("Bearer", &token, with)).await.unwrap_err(), Refusal::ProofRequired);
    }
    // A token of nobody's key does not become one's own by a proof.
    let free = scene.signer.token(&claims());
    assert_eq!(cause(ask(shown("DPoP", &free, Some(proof(&client, &free)))).await), Cause::Binding);
    assert!(ask(shown("Bearer", &free, None)).await.is_ok());
}

#[tokio::test]
async fn an_issuer_may_be_asked_to_bind_every_token() {
    let (scene, client) = (scene(true).await, Signer::new("client"));
    let free = scene.signer.token(&claims());
    assert_eq!(cause(scene.public(&free).await), Cause::Binding);
    let token = scene.signer.token(&bound_to(&client));
    let headers = shown("DPoP", &token, Some(proof(&client, &token)));
    let memory = Memory::default();
    let ask = scene.authenticator.authenticate(Listener::Public, None, &memory, get(&headers), instant());
    assert!(ask.await.is_ok());
}

#[tokio::test]
async fn a_revoked_token_is_refused_wherever_it_was_remembered() {
    let scene = Scene::new().await;
    let token = |jti: Option<&str>| {
        let mut claims = claims();
        if let Some(jti) = jti {
            claims["jti"] = json!(jti);
        }
        scene.signer.token(&claims)
    };
    let (revoked, other, nameless) = (token(Some("t-1")), token(Some("t-2")), token(None));
    let memory = Memory::default();
    let on_one = async |token: &str| {
        let headers = bearer(token);
        scene.authenticator.authenticate(Listener::Public, None, &memory, get(&headers), instant()).await
    };
    let believed = on_one(&revoked).await.unwrap();
    for token in [&other, &nameless] {
        assert!(scene.public(token).await.is_ok());
    }
    let mut lost = Box::pin(believed.credentials.lost());
    assert!(futures::poll!(&mut lost).is_pending());

    let soon = instant() + Duration::from_secs(600);
    scene.authenticator.tokens.revocations.add([(TokenId::new(ISSUER, "t-1"), soon)], instant());
    assert_eq!(on_one(&revoked).await.unwrap_err(), Refusal::TokenRevoked, "by the connection");
    assert_eq!(scene.public(&revoked).await.unwrap_err(), Refusal::TokenRevoked, "by all connections");
    assert_eq!(lost.await, Refusal::TokenRevoked, "and a stream hears of it");
    for token in [&other, &nameless] {
        assert!(on_one(token).await.is_ok());
    }
    // A token of that id that comes only now.
    let mut again = claims();
    (again["jti"], again["scope"]) = (json!("t-1"), json!("staff.write"));
    assert_eq!(scene.public(&scene.signer.token(&again)).await.unwrap_err(), Refusal::TokenRevoked);
}

#[tokio::test]
async fn what_was_taken_back_and_what_was_proven_outlives_a_change_of_configuration() {
    let (scene, client) = (scene(false).await, Signer::new("client"));
    let mut with_id = bound_to(&client);
    with_id["jti"] = json!("t-1");
    let token = scene.signer.token(&with_id);
    let once = proof(&client, &token);
    let headers = shown("DPoP", &token, Some(once));
    let ask = async |authenticator: &Authenticator| {
        let memory = Memory::default();
        authenticator.authenticate(Listener::Public, None, &memory, get(&headers), instant()).await
    };
    assert!(ask(&scene.authenticator).await.is_ok());
    let mut changed = config(Source {
        file: Some(scene._directory.path().join("keys.json")),
        refresh_s: 60,
        cooldown_s: 60,
        deadline_ms: 5000,
        stale_s: 3600,
        ..Source::default()
    });
    let origins = vec!["https://api.example".to_owned()];
    changed.issuers[0].dpop = Some(crate::authn::config::DPoP { origins, window_s: 60, required: true });
    let next = scene.authenticator.renewed(&changed, &Drain::default()).await.unwrap();
    next.forget(&scene.authenticator);
    let replayed = Refusal::ProofInvalid { cause: ProofCause::Replayed };
    assert_eq!(ask(&next).await.unwrap_err(), replayed);
    let soon = instant() + Duration::from_secs(600);
    scene.authenticator.tokens.revocations.add([(TokenId::new(ISSUER, "t-1"), soon)], instant());
    assert_eq!(ask(&next).await.unwrap_err(), Refusal::TokenRevoked);
}
