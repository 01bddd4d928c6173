//! What the journal gives through the edge: entries as they come, resumed where they broke off, and proof that convinces whoever has
//! nothing but the ledger's public key.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use dev::issuer::TokenRequest;
use e2e::World;
use e2e::world::{binaries, eventually, transfer, unique};
use http::Method;
use http_body_util::Full;
use serde_json::Value;

crate::tests![
    entries_are_watched_over_rest_and_resumed_where_they_broke_off,
    a_transfer_is_proven_to_whoever_has_the_public_key,
    the_journal_is_verified_by_an_auditor_and_by_the_command,
];

const PATIENCE: Duration = Duration::from_secs(30);

/// Server-sent events with an entry, as (id, amount).
fn entries(text: &str) -> Vec<(String, String)> {
    let field = |event: &str, name: &str| -> Option<String> {
        event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
    };
    text.split("\n\n")
        .filter_map(|event| {
            let message: Value = serde_json::from_str(&field(event, "data")?).ok()?;
            let amount = message["entry"]["amount"]["minorUnits"].as_str()?.to_owned();
            Some((field(event, "id").expect("an entry has a place"), amount))
        })
        .collect()
}

async fn entries_are_watched_over_rest_and_resumed_where_they_broke_off(world: Arc<World>) {
    let customer = world.customer().await;
    let from = world.account(&customer, "EUR", 0).await;
    let to = world.account(&customer, "EUR", 0).await;
    world.fund(&from, "EUR", 100).await;
    let pay = async |amount| {
        let body = transfer(&from, &to, "EUR", amount, false);
        world.rest.post(&customer.token, "/v1/transfers", &unique("pay"), &body).await.ok();
    };
    let watch = async |last: Option<&str>, wanted: usize| {
        let mut request = world
            .rest
            .request(Method::GET, &format!("/v1/accounts/{from}/entries:watch"))
            .header("authorization", format!("Bearer {}", customer.token))
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Full::default()).unwrap();
        let text = world.rest.read_until(request, |text| entries(text).len() >= wanted).await;
        entries(&text)
    };
    pay(1).await;
    let (first, ()) = futures::join!(watch(None, 4), async {
        // While it is watched.
        pay(2).await;
        pay(3).await;
    });
    let amounts = |seen: &[(String, String)]| -> Vec<String> { seen.iter().map(|it| it.1.clone()).collect() };
    assert_eq!(amounts(&first), ["100", "-1", "-2", "-3"], "what was there, and then what came");
    // The connection broke after the second; two more came meanwhile.
    pay(4).await;
    pay(5).await;
    let resumed = watch(Some(&first[1].0), 4).await;
    assert_eq!(amounts(&resumed), ["-2", "-3", "-4", "-5"], "none is left out and none comes twice");

    let stranger = world.customer().await;
    let path = format!("/v1/accounts/{from}/entries:watch");
    world.rest.get(&stranger.token, &path).await.refused(403, "PERMISSION_DENIED", "NOT_PERMITTED");
}

fn svc_ledger(words: &[&str]) -> Output {
    Command::new(binaries().join("svc-ledger")).args(words).output().unwrap()
}

/// The public half of the key that signs heads.
fn head_key(world: &World) -> Vec<u8> {
    let config: toml::Table = std::fs::read_to_string(config(world)).unwrap().parse().unwrap();
    let printed = svc_ledger(&["head-key", "--key", config["proof"]["signing_key"].as_str().unwrap()]);
    assert!(printed.status.success(), "{printed:?}");
    printed.stdout
}

fn config(world: &World) -> PathBuf {
    world.mesh.folder().join("config/svc-ledger.toml")
}

async fn a_transfer_is_proven_to_whoever_has_the_public_key(world: Arc<World>) {
    let payer = world.customer().await;
    let payee = world.customer().await;
    let from = world.account(&payer, "EUR", 0).await;
    let to = world.account(&payee, "EUR", 0).await;
    world.fund(&from, "EUR", 100).await;
    let body = transfer(&from, &to, "EUR", 40, false);
    let id = world.rest.post(&payer.token, "/v1/transfers", &unique("pay"), &body).await.text("transferId");
    let path = format!("/v1/transfers/{id}/proof");
    // What is younger than the last signed head cannot be proven yet.
    eventually("a head is signed", PATIENCE, || async {
        world.rest.get(&payer.token, &path).await.status.is_success()
    })
    .await;

    let folder = tempfile::tempdir().unwrap();
    let (key, file) = (folder.path().join("head.pub"), folder.path().join("proof.json"));
    std::fs::write(&key, head_key(&world)).unwrap();
    let check = |proof: &Value| {
        std::fs::write(&file, proof.to_string()).unwrap();
        svc_ledger(&["check-proof", "--key", key.to_str().unwrap(), file.to_str().unwrap()])
    };
    for (whose, token) in [("payer", &payer.token), ("payee", &payee.token)] {
        let proof = world.rest.get(token, &path).await.ok();
        let checked = check(&proof);
        assert!(checked.status.success(), "{whose}: {checked:?}");
        let mut forged = proof;
        forged["leafIndex"] = "999999".into();
        let refused = check(&forged);
        assert_eq!(refused.status.code(), Some(1), "{whose}: {refused:?}");
    }
    let stranger = world.customer().await;
    world.rest.get(&stranger.token, &path).await.refused(403, "PERMISSION_DENIED", "NOT_PERMITTED");
}

async fn the_journal_is_verified_by_an_auditor_and_by_the_command(world: Arc<World>) {
    let auditor = world.token(&TokenRequest::new("auditor").scopes(&["audit.read"]));
    let request = world
        .rest
        .request(Method::POST, "/v1/ledger:verify")
        .header("authorization", format!("Bearer {auditor}"))
        .header("content-type", "application/json")
        .header("accept", "application/x-ndjson");
    let answer = world.rest.send(request.body(Full::from("{}")).unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let messages: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = messages.last().unwrap();
    assert_eq!((&last["done"], &last["seq"]), (&Value::from(true), &last["headSeq"]), "{last}");
    let findings = |message: &Value| message["findings"].as_array().map_or(0, Vec::len);
    assert_eq!(messages.iter().map(findings).sum::<usize>(), 0, "{text}");

    let customer = world.customer().await;
    let refused =
        world.rest.post(&customer.token, "/v1/ledger:verify", &unique("verify"), &"{}".into()).await;
    assert_eq!(refused.status, 403);

    let verified = svc_ledger(&["verify", "--config", config(&world).to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let unread = svc_ledger(&["verify", "--config", "/nowhere.toml"]);
    assert_eq!(unread.status.code(), Some(2), "{unread:?}");
    heads_kept_elsewhere_are_heads_of_this_journal(&world, &auditor).await;
}

async fn heads_kept_elsewhere_are_heads_of_this_journal(world: &World, auditor: &str) {
    let kept = async || world.rest.get(auditor, "/v1/journalHeads?page_size=2").await.ok();
    eventually("a head is kept", PATIENCE, || async {
        kept().await["heads"].as_array().is_some_and(|heads| !heads.is_empty())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let (key, file) = (folder.path().join("head.pub"), folder.path().join("heads.json"));
    std::fs::write(&key, head_key(world)).unwrap();
    let verify = |page: &Value| {
        std::fs::write(&file, page.to_string()).unwrap();
        let (key, file) = (key.to_str().unwrap(), file.to_str().unwrap());
        svc_ledger(&["verify", "--config", config(world).to_str().unwrap(), "--key", key, "--heads", file])
    };
    let page = kept().await;
    let verified = verify(&page);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");

    let mut forged = page.clone();
    forged["heads"][0]["signature"] = format!("{}==", "A".repeat(86)).into();
    let found = verify(&forged);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(text.contains("kept head: expected one that the ledger has signed"), "{text}");
    for nothing in [Value::from("no page"), serde_json::json!({ "heads": [] })] {
        let unread = verify(&nothing);
        assert_eq!(unread.status.code(), Some(2), "{unread:?}");
    }
}
