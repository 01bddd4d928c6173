//! E12: what requests say about themselves ends in logs, spans and metrics, which people read on terminals and keep for years. It
//! forges no line there, and no secret and nothing personal is in it.

use std::sync::Arc;
use std::time::Duration;

use dev::Part;
use e2e::World;
use e2e::wire::exchange;
use e2e::world::{eventually, transfer, unique};
use serde_json::{Value, json};

use crate::COLLECTOR;

crate::tests![e12_nothing_a_client_sends_forges_a_line_or_is_kept];

/// What would end a line, drive a terminal, or turn its text around.
const ODD: &str = "%0d%0a{%22level%22:%22FORGED%22}%1b[2J%1b]0;x%07%e2%80%ae%00";

async fn e12_nothing_a_client_sends_forges_a_line_or_is_kept(world: Arc<World>) {
    let marker = unique("Qyzzyx");
    let customer = world.customer().await;
    let (from, to) = (world.account(&customer, "EUR", 100).await, world.account(&customer, "EUR", 0).await);
    // Wherever a client has a say: path, query, headers, body, key; understood or not.
    for path in [
        format!("/v1/accounts/{marker}{ODD}/balance"),
        format!("/v1/accounts/{from}/balance?as_of={marker}{ODD}"),
        format!("/v1/{marker}{ODD}"),
        format!("/v1/echo/{marker}{ODD}"),
        format!("/v1/transfers?page_token={marker}"),
    ] {
        for (name, value) in [
            ("user-agent", "a\x1b[31m"),
            ("x-request-id", "b"),
            ("referer", "c"),
            ("origin", "https://d"),
            ("cookie", "e"),
        ] {
            let head = format!(
                "GET {path} HTTP/1.1\r\nhost: {marker}.example\r\nauthorization: Bearer {}\r\n{name}: {marker}{value}\r\nconnection: close\r\n\r\n",
                customer.token
            );
            exchange(&world, head).await;
        }
    }
    exchange(&world, format!("GET /v1/echo/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {marker}\r\nconnection: close\r\n\r\n")).await;
    exchange(&world, format!("{marker} /v1/echo/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
    let mut body = transfer(&from, &to, "EUR", 1, false);
    body["reference"] = format!("{marker}\r\n\u{1b}[2J\u{202e}").into();
    world.rest.post(&customer.token, "/v1/transfers", &format!("{marker}-key"), &body).await;
    let title = json!({ "title": marker });
    world.rest.post(&customer.token, "/v1/documents", &unique("doc"), &title).await.ok();
    world
        .rest
        .post(&customer.token, "/v1/documents", &unique("doc"), &json!({ "title": { "a": marker } }))
        .await;
    let email = format!("{marker}@example.com");
    let person = json!({ "displayName": marker, "email": email });
    world.rest.post(&world.staff(), "/v1/customers", &unique("c"), &person).await.ok();
    let iban = world.rest.get(&customer.token, &format!("/v1/accounts/{from}")).await.text("iban");

    let secrets = [marker.as_str(), &iban, &customer.token];
    for part in Part::WORKLOADS {
        let log = std::fs::read(world.mesh.log_path(part)).unwrap();
        // The last line may be half written.
        let whole = &log[..log.iter().rposition(|byte| *byte == b'\n').unwrap_or_default()];
        for line in String::from_utf8(whole.to_vec()).unwrap().lines() {
            let parsed: Result<Value, _> = serde_json::from_str(line);
            assert!(
                parsed.is_ok_and(|line| line.is_object()),
                "{part} wrote a line that is no object: {line}"
            );
            assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{part}: {line:?}");
            assert!(secrets.iter().all(|secret| !line.contains(secret)), "{part} logged {line}");
            assert!(!line.contains("FORGED"), "{part}: {line}");
        }
        let (_, page) = world.admin(part, "/metrics").await;
        let ids = [customer.id.as_str(), &from, &to];
        let told = secrets.iter().chain(&ids).find(|secret| page.contains(**secret));
        assert!(told.is_none(), "{part} counts by {told:?}");
    }
    // Every trace of this mesh is recorded; the collector is this process.
    eventually("spans of all workloads have come", Duration::from_secs(30), || async {
        ["edge", "svc-ledger", "svc-accounts", "svc-docs"].iter().all(|name| COLLECTOR.has(name))
    })
    .await;
    let told = COLLECTOR.find(&secrets.map(str::to_owned));
    assert!(told.is_none(), "a span says {told:?}");
}
