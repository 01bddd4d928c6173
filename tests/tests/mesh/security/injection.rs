//! E10: texts that mean something to a store. To every store behind the edge they are texts: kept as they are where a text may
//! stand, refused where an id or a name must, and never run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dev::Part;
use e2e::World;
use e2e::grpc::calling;
use e2e::world::{transfer, unique};
use http::Method;
use http_body_util::Full;
use proto::cache::v1::cache_service_client::CacheServiceClient;
use proto::cache::v1::{DeleteEntryRequest, GetEntryRequest, InvalidateTagsRequest, SetEntryRequest};
use serde_json::json;

crate::tests![
    e10_a_text_is_a_text_to_every_store,
    e10_an_id_or_a_filter_is_no_expression,
    e10_a_cache_key_is_no_command_and_stays_in_its_namespace,
];

/// SQL, operators of MongoDB, expressions of DynamoDB, commands of Redis, formats, templates, and what the screen makes of text.
const TEXTS: [&str; 18] = [
    "'; DROP TABLE journal; --",
    "' OR '1'='1",
    "\\'; SELECT pg_sleep(5); --",
    "$1",
    "%s%n%x",
    "{\"$gt\":\"\"}",
    "{\"$where\":\"sleep(5000)\"}",
    "$where",
    "#pk = :pk OR attribute_exists(pk)",
    ":v0",
    "{user1}.key",
    "FLUSHALL",
    "*1\\r\\n$8\\r\\nFLUSHALL\\r\\n",
    "${jndi:ldap://127.0.0.1/a}",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "=HYPERLINK(\"http://x\")",
    "\u{202e}gnp.exe",
];

/// What a store that ran one of them would take.
const ASLEEP: Duration = Duration::from_secs(4);

async fn e10_a_text_is_a_text_to_every_store(world: Arc<World>) {
    let (customer, staff) = (world.customer().await, world.staff());
    let (from, to) =
        (world.account(&customer, "EUR", 100_000).await, world.account(&customer, "EUR", 0).await);
    let mut paid = 0;
    for text in TEXTS {
        let began = Instant::now();
        // MongoDB
        let made = world
            .rest
            .post(&customer.token, "/v1/documents", &unique("text"), &json!({ "title": text }))
            .await;
        let id = made.text("documentId");
        assert_eq!(world.rest.get(&customer.token, &format!("/v1/documents/{id}")).await.text("title"), text);
        // DynamoDB
        let body = json!({ "displayName": text, "email": format!("{}@example.com", unique("text")) });
        let made = world.rest.post(&staff, "/v1/customers", &unique("text"), &body).await.text("customerId");
        assert_eq!(world.rest.get(&staff, &format!("/v1/customers/{made}")).await.text("displayName"), text);
        // PostgreSQL
        let mut body = transfer(&from, &to, "EUR", 1, false);
        body["reference"] = text.into();
        let made = world.rest.post(&customer.token, "/v1/transfers", &unique("text"), &body).await;
        assert!(matches!(made.status.as_u16(), 201 | 400), "{text}: {made:?}");
        if made.status == 201 {
            paid += 1;
            let read =
                world.rest.get(&customer.token, &format!("/v1/transfers/{}", made.text("transferId"))).await;
            assert_eq!(read.text("reference"), text);
        }
        // The key of a request is a text in all of them.
        let graphic: String = text.chars().filter(char::is_ascii_graphic).take(30).collect();
        let key = format!("\"{}{}\"", unique("k"), graphic.replace('\\', r"\\").replace('"', r#"\""#));
        world.rest.post(&customer.token, "/v1/documents", &key, &json!({ "title": "t" })).await.ok();
        assert!(began.elapsed() < ASLEEP, "{text} took {:?}", began.elapsed());
    }
    assert!(paid > 10, "a reference may hold most of them: {paid}");
    assert_eq!(world.balance(&customer.token, &to).await, paid);
}

async fn e10_an_id_or_a_filter_is_no_expression(world: Arc<World>) {
    let (customer, staff) = (world.customer().await, world.staff());
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    for text in TEXTS {
        let id = escaped(text);
        for path in [
            format!("/v1/accounts/{id}"),
            format!("/v1/accounts/{id}/balance"),
            format!("/v1/accounts/{id}/entries"),
            format!("/v1/transfers/{id}"),
            format!("/v1/documents/{id}"),
            format!("/v1/documents/{id}/content"),
            format!("/v1/customers/{id}"),
            format!("/v1/customers/{id}/accounts"),
            format!("/v1/transfers?page_token={id}"),
            format!("/v1/documents?page_token={id}"),
            format!("/v1/customers?page_token={id}"),
            format!("/v1/transfers?account_id={id}"),
            format!("/v1/documents?customer_id={id}"),
        ] {
            for token in [&customer.token, &staff] {
                let began = Instant::now();
                let answer = world.rest2.get(token, &path).await;
                let empty = answer.status == 200 && !String::from_utf8_lossy(&answer.body).contains("Id\"");
                assert!(
                    matches!(answer.status.as_u16(), 400 | 403 | 404) || empty,
                    "{text}: {path}: {answer:?}"
                );
                assert!(began.elapsed() < ASLEEP, "{text}: {path} took {:?}", began.elapsed());
            }
        }
    }
    // An operator in the place of a text is no text.
    for (path, body) in [
        ("/v1/documents", json!({ "title": { "$gt": "" } })),
        ("/v1/documents", json!({ "title": "t", "customerId": { "$ne": null } })),
        ("/v1/transfers", json!({ "debitAccountId": { "$gt": "" } })),
        ("/v1/documents", json!({ "title": ["$where"] })),
    ] {
        let answer = world.rest.post(&customer.token, path, &unique("operator"), &body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    let query = "/v1/documents?customer_id%5B%24ne%5D=x";
    let request =
        world.rest.request(Method::GET, query).header("authorization", format!("Bearer {}", customer.token));
    assert_eq!(
        world.rest.send(request.body(Full::default()).unwrap()).await.status,
        400,
        "a parameter with an operator"
    );
}

async fn e10_a_cache_key_is_no_command_and_stays_in_its_namespace(world: Arc<World>) {
    let client = |part| CacheServiceClient::new(calling(world.mesh_as(part), None));
    let (mut docs, mut ledger) = (client(Part::Docs), client(Part::Ledger));
    let witness = unique("witness");
    let set = |key: String, tag: String| SetEntryRequest {
        key,
        value: "kept".into(),
        time_to_live: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        tags: vec![tag],
        lease_id: String::new(),
    };
    docs.set_entry(set(witness.clone(), unique("tag"))).await.unwrap();
    let own = unique("key");
    for text in [
        "\r\nFLUSHALL\r\n",
        "*",
        "?",
        "[a-z]",
        "{svc-docs}",
        "}{",
        "svc-docs:x",
        "../svc-docs/x",
        "svc-docs/../x",
        "\0",
        "\"]) return 1 --",
        "entry:svc-docs",
        "a b",
        "\u{7f}",
    ] {
        let key = format!("{own}{text}");
        // Taken as it is, or refused as no key.
        if ledger.set_entry(set(key.clone(), text.to_owned())).await.is_ok() {
            let read = ledger.get_entry(GetEntryRequest { key: key.clone() }).await.unwrap().into_inner();
            assert_eq!(read.value, "kept", "{text:?}");
        }
        // Aimed at a neighbour's entry, it finds none.
        for aimed in [format!("{text}{witness}"), format!("svc-docs{text}{witness}"), witness.clone()] {
            assert!(ledger.get_entry(GetEntryRequest { key: aimed.clone() }).await.is_err(), "{aimed:?}");
            let _ = ledger.delete_entry(DeleteEntryRequest { key: aimed }).await;
        }
        let _ = ledger
            .invalidate_tags(InvalidateTagsRequest { tags: vec![text.to_owned(), "*".to_owned()] })
            .await;
        let kept = docs.get_entry(GetEntryRequest { key: witness.clone() }).await.unwrap().into_inner();
        assert_eq!(kept.value, "kept", "after {text:?}");
    }
}
