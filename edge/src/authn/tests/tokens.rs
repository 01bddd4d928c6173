//! Tokens on the public listener.

use super::*;
use crate::jwks::testing::{Answer, decode, encode};

#[tokio::test]
async fn a_good_token_names_its_subject_and_is_remembered() {
    let scene = Scene::new().await;
    let token = scene.signer.token(&claims());
    let first = scene.public(&token).await.unwrap();
    assert_eq!(first.caller.kind(), "subject");
    assert_eq!(first.caller.customer_id(), Some("c-1"));
    assert!(first.caller.has_scope("accounts.read"));
    assert_eq!(first.left(instant()), Duration::from_secs(630));
    assert_eq!(told(&first), *first.caller);
    let second = scene.public(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first.caller, &second.caller), "verified once");
}

#[tokio::test]
async fn a10_a_remembered_token_expires_all_the_same() {
    let scene = Scene::new().await;
    let headers = bearer(&scene.signer.token(&claims()));
    // By all connections, and by the one it came by.
    let memory = Memory::default();
    let at = |seconds| {
        let now = instant() + Duration::from_secs(seconds);
        scene.authenticator.authenticate(Listener::Public, None, &memory, get(&headers), now)
    };
    assert!(at(0).await.is_ok());
    assert!(at(629).await.is_ok());
    assert_eq!(at(630).await.unwrap_err(), Refusal::TokenExpired);
    assert_eq!(at(631).await.unwrap_err(), Refusal::TokenExpired);
}

#[tokio::test]
async fn a_connection_that_is_believed_is_asked_again_for_another_token() {
    let (scene, memory) = (Scene::new().await, Memory::default());
    let on_one = |headers: HeaderMap| {
        let (authenticator, memory) = (&scene.authenticator, &memory);
        async move { authenticator.authenticate(Listener::Public, None, memory, get(&headers), instant()).await }
    };
    let token = scene.signer.token(&claims());
    assert!(on_one(bearer(&token)).await.is_ok());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut changed = decode(signature);
    changed[63] ^= 1;
    let forged = format!("{signed}.{}", encode(changed));
    assert_eq!(on_one(bearer(&forged)).await.unwrap_err(), Cause::Signature.into());
    let mut twice = bearer(&token);
    twice.append(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    assert_eq!(on_one(twice).await.unwrap_err(), Cause::Header.into());
    assert_eq!(on_one(HeaderMap::new()).await.unwrap().caller.kind(), "anonymous");
    assert!(on_one(bearer(&token)).await.is_ok());
}

#[tokio::test]
async fn nobody_is_nobody() {
    let scene = Scene::new().await;
    let nobody = scene
        .authenticator
        .authenticate(Listener::Public, None, &Memory::default(), get(&HeaderMap::new()), instant())
        .await
        .unwrap();
    assert_eq!(nobody.caller.kind(), "anonymous");
    assert_eq!(nobody.left(instant()), Duration::MAX);
    assert_eq!(cause(scene.public("").await), Cause::Header);
}

/// Waits until a token is answered in a certain way.
async fn until(
    authenticator: &Authenticator,
    token: &str,
    done: impl Fn(&Result<Authenticated, Refusal>) -> bool,
) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    // One connection, which remembers as long as it may.
    let memory = Memory::default();
    loop {
        let result =
            authenticator.authenticate(Listener::Public, None, &memory, get(&bearer(token)), instant()).await;
        if done(&result) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{result:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a16_keys_come_and_go_with_their_tokens() {
    let drain = Drain::default();
    let server = Server::start(&drain).await;
    server.set(
        "/discovery",
        Answer::Body(json!({"issuer": ISSUER, "jwks_uri": server.url("/keys")}).to_string()),
    );
    let jwks = Source {
        discovery: Some(server.url("/discovery")),
        refresh_s: 2,
        cooldown_s: 1,
        deadline_ms: 5000,
        stale_s: 3600,
        ..Source::default()
    };
    let authenticator = start(jwks).await;
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let (old_token, new_token) = (old.token(&claims()), new.token(&claims()));
    let first = authenticator
        .authenticate(Listener::Public, None, &Memory::default(), get(&bearer(&old_token)), instant())
        .await;
    assert_eq!(first.unwrap_err(), Refusal::KeysUnavailable, "the issuer has not published anything");
    server.set("/keys", Answer::Body(key_set(&[&old])));
    until(&authenticator, &old_token, Result::is_ok).await;
    // A rotation with an overlap: the new key is found by its unknown id, and the old one still holds.
    server.set("/keys", Answer::Body(key_set(&[&old, &new])));
    until(&authenticator, &new_token, Result::is_ok).await;
    until(&authenticator, &old_token, Result::is_ok).await;
    // The old key goes, and takes along the token that is remembered, by all connections and by one.
    let memory = Memory::default();
    let on_one = |token| {
        let (authenticator, memory, headers) = (&authenticator, &memory, bearer(token));
        async move { authenticator.authenticate(Listener::Public, None, memory, get(&headers), instant()).await }
    };
    assert!(on_one(&old_token).await.is_ok());
    server.set("/keys", Answer::Body(key_set(&[&new])));
    until(&authenticator, &old_token, |result| {
        result.as_ref().is_err_and(|refusal| *refusal == Cause::Key.into())
    })
    .await;
    assert_eq!(on_one(&old_token).await.unwrap_err(), Cause::Key.into());
    until(&authenticator, &new_token, Result::is_ok).await;
}
