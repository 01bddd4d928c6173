//! No secret, token or personal datum in any log, after everything the suite has done to the mesh; and what a log line does say.

use std::sync::Arc;

use dev::Part;
use e2e::World;
use e2e::world::unique;
use serde_json::{Value, json};

crate::tests![no_secret_and_nothing_personal_is_logged, every_request_is_logged_once_with_its_rpc];

async fn no_secret_and_nothing_personal_is_logged(world: Arc<World>) {
    let marker = unique("Zyxomma");
    let staff = world.staff();
    let email = format!("{marker}@example.com");
    let body = json!({ "displayName": marker, "email": email });
    let id = world.rest.post(&staff, "/v1/customers", &unique("k"), &body).await.text("customerId");
    let taken = world.rest.post(&staff, "/v1/customers", &unique("k"), &body).await;
    assert!(!String::from_utf8_lossy(&taken.body).contains(&email), "an error repeats no address");
    let customer = e2e::world::Customer {
        token: world
            .token(&dev::TokenRequest::new(&marker).scopes(&e2e::world::CUSTOMER_SCOPES).customer(&id)),
        id,
    };
    let account = world.account(&customer, "EUR", 1_000).await;
    let other = world.account(&customer, "EUR", 0).await;
    let pay = |minor_units: i64| {
        json!({
            "debitAccountId": account,
            "creditAccountId": other,
            "amount": { "currencyCode": "EUR", "minorUnits": minor_units.to_string() },
            "reference": format!("for {marker}"),
        })
    };
    world.rest.post(&customer.token, "/v1/transfers", &unique("k"), &pay(5)).await.ok();
    world.rest.post(&customer.token, "/v1/transfers", &unique("k"), &pay(5_000)).await;
    world.rest.get(&customer.token, &format!("/v1/accounts/{marker}/balance?as_of={marker}")).await;
    let iban = world.rest.get(&customer.token, &format!("/v1/accounts/{account}")).await.text("iban");
    let document = json!({ "title": marker });
    world.rest.post(&customer.token, "/v1/documents", &unique("k"), &document).await.ok();

    let mut secrets = vec![marker, iban, customer.token, staff];
    let of = world.mesh.secrets();
    for secret in
        [&of.postgres, &of.postgres_owner, &of.redis, &of.mongo, &of.mongo_key, &of.aws, &of.email_key]
    {
        let text = std::fs::read_to_string(&secret.path).unwrap();
        secrets.push(text.lines().last().unwrap().to_owned());
    }
    for part in Part::WORKLOADS {
        let log = world.mesh.log(part).unwrap();
        assert!(log.lines().count() > 1, "{part} logs");
        for secret in &secrets {
            let line = log.lines().find(|line| line.contains(secret.as_str()));
            assert!(line.is_none(), "{part} logged {secret}: {}", line.unwrap_or_default());
        }
        assert!(!log.contains("Bearer ") && !log.contains("PRIVATE KEY"), "{part}");
    }
}

async fn every_request_is_logged_once_with_its_rpc(world: Arc<World>) {
    let customer = world.customer().await;
    let account = world.account(&customer, "EUR", 0).await;
    let trace = "00-8c7d2f41a6e94b0f9d35c1e87a60b2f4-00f067aa0ba902b7-01";
    let request = world
        .rest
        .request(http::Method::GET, &format!("/v1/accounts/{account}/balance"))
        .header("authorization", format!("Bearer {}", customer.token))
        .header("traceparent", trace);
    world.rest.send(request.body(Default::default()).unwrap()).await.ok();
    let mine = || {
        let log = world.mesh.log(Part::Edge).unwrap();
        let lines = log.lines().filter(|line| line.contains("8c7d2f41a6e94b0f9d35c1e87a60b2f4"));
        lines.map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    e2e::world::eventually("the line is written", std::time::Duration::from_secs(5), || async {
        !mine().is_empty()
    })
    .await;
    let lines = mine();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = lines[0].to_string();
    for part in
        ["ledger.v1.LedgerService", "GetBalance", "subject", "public", "/v1/accounts/{account_id}/balance"]
    {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    assert!(!line.contains(&account), "an access log names no object: {line}");
}
