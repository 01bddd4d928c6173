//! E5, E6 and E7: a customer and what is another's. `coverage` asks every RPC; here is what it cannot see: that a refusal does not
//! tell what exists, neither by its words nor by its time, that a body sets nothing it may not, and that keys are one's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::World;
use e2e::world::{Customer, transfer, unique};
use futures::future::join_all;
use http::{HeaderMap, Method};
use http_body_util::Full;
use serde_json::{Value, json};

crate::tests![
    e5_what_exists_and_what_does_not_are_refused_alike,
    e5_a_list_shows_ones_own_only,
    e6_a_body_sets_nothing_that_is_not_the_callers_to_set,
    e7_a_key_is_its_principals_own_and_means_one_request,
    e7_the_same_key_at_once_has_one_effect,
];

/// What a stranger can learn from an answer.
fn shape(answer: &e2e::Answer, id: &str) -> (u16, Vec<String>, Value) {
    let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
    names.sort();
    let mut body = answer.json();
    blur(&mut body, id);
    (answer.status.as_u16(), names, body)
}

/// Puts the same in place of what differs between any two answers.
fn blur(value: &mut Value, id: &str) {
    match value {
        Value::String(text) => *text = text.replace(id, "<id>"),
        Value::Array(values) => values.iter_mut().for_each(|value| blur(value, id)),
        Value::Object(fields) => {
            fields.remove("requestId");
            fields.values_mut().for_each(|value| blur(value, id));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

struct Owned {
    owner: Customer,
    /// Paths with `{}` for an id, each with one that exists.
    objects: Vec<(&'static str, String)>,
}

async fn owned(world: &World) -> Owned {
    let owner = world.customer().await;
    let account = world.account(&owner, "EUR", 0).await;
    let other = world.account(&owner, "EUR", 0).await;
    world.fund(&account, "EUR", 1_000).await;
    let pay = transfer(&account, &other, "EUR", 1, false);
    let pay = world.rest.post(&owner.token, "/v1/transfers", &unique("pay"), &pay).await.text("transferId");
    let title = json!({ "title": "private" });
    let document =
        world.rest.post(&owner.token, "/v1/documents", &unique("doc"), &title).await.text("documentId");
    let objects = vec![
        ("/v1/accounts/{}", account.clone()),
        ("/v1/accounts/{}/balance", account.clone()),
        ("/v1/accounts/{}/entries", account.clone()),
        ("/v1/transfers?account_id={}", account),
        ("/v1/transfers/{}", pay),
        ("/v1/documents/{}", document.clone()),
        ("/v1/documents/{}/content", document),
        ("/v1/documents?customer_id={}", owner.id.clone()),
        ("/v1/customers/{}", owner.id.clone()),
        ("/v1/customers/{}/accounts", owner.id.clone()),
    ];
    Owned { owner, objects }
}

async fn e5_what_exists_and_what_does_not_are_refused_alike(world: Arc<World>) {
    const ROUNDS: usize = 40;
    let owned = owned(&world).await;
    let stranger = world.customer().await;
    for (template, id) in &owned.objects {
        assert!(
            world.rest.get(&owned.owner.token, &template.replace("{}", id)).await.status != 403,
            "{template}"
        );
        let mut times = [Vec::new(), Vec::new()];
        let mut shapes = Vec::new();
        for _ in 0..ROUNDS {
            // By turns, so that what else the machine does slows both.
            let made_up = uuid::Uuid::now_v7().to_string();
            for (which, id) in [id, &made_up].into_iter().enumerate() {
                let path = template.replace("{}", id);
                let began = Instant::now();
                let answer = world.rest2.get(&stranger.token, &path).await;
                times[which].push(began.elapsed());
                assert_eq!(answer.status, 403, "{path}: {answer:?}");
                shapes.push(shape(&answer, id));
            }
        }
        assert!(shapes.windows(2).all(|pair| pair[0] == pair[1]), "{template}: {:?}", &shapes[..2]);
        let median = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        let [there, nowhere] = &mut times;
        let (there, nowhere) = (median(there), median(nowhere));
        let far = |one: Duration, other: Duration| one > other * 3 + Duration::from_millis(5);
        assert!(
            !far(there, nowhere) && !far(nowhere, there),
            "{template}: {there:?} where it exists, {nowhere:?} where not"
        );
    }
}

async fn e5_a_list_shows_ones_own_only(world: Arc<World>) {
    let owned = owned(&world).await;
    let stranger = world.customer().await;
    for path in ["/v1/transfers?page_size=500", "/v1/documents?page_size=500"] {
        let listed = world.rest.get(&stranger.token, path).await.ok().to_string();
        for (_, id) in &owned.objects {
            assert!(!listed.contains(id.as_str()), "{path} shows {id}");
        }
        // A place in another's list is no way into it.
        let page = world.rest.get(&owned.owner.token, &path.replace("500", "1")).await.ok();
        let token = page["nextPageToken"].as_str().unwrap_or_default();
        let answer = world.rest.get(&stranger.token, &format!("{path}&page_token={token}")).await;
        let seen = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(owned.objects.iter().all(|(_, id)| !seen.contains(id.as_str())), "{path}: {seen}");
    }
}

async fn e6_a_body_sets_nothing_that_is_not_the_callers_to_set(world: Arc<World>) {
    let (customer, other) = (world.customer().await, world.customer().await);
    // What a customer may not do at all.
    for (method, path) in [
        (Method::POST, "/v1/customers".to_owned()),
        (Method::GET, "/v1/customers".to_owned()),
        (Method::POST, "/v1/tokens:revoke".to_owned()),
    ] {
        let request =
            world.rest.request(method, &path).header("authorization", format!("Bearer {}", customer.token));
        let request =
            request.header("content-type", "application/json").header("idempotency-key", unique("ops"));
        let answer = world.rest.send(request.body(Full::from("{}")).unwrap()).await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
    }
    // What a request has no field for is refused by its name; what is the service's own to say is not taken from anybody.
    let open = format!("/v1/customers/{}/accounts", customer.id);
    for (path, body) in [
        (open.as_str(), json!({ "currencyCode": "EUR", "balance": "1000000" })),
        (&open, json!({ "currencyCode": "EUR", "iban": "DE02100500000024290661" })),
        (&open, json!({ "currencyCode": "EUR", "accountId": uuid::Uuid::now_v7() })),
        (&open, json!({ "currencyCode": "EUR", "state": "ACCOUNT_STATE_ACTIVE" })),
        (&open, json!({ "currencyCode": "EUR", "ownerId": other.id })),
        ("/v1/documents", json!({ "title": "t", "documentId": uuid::Uuid::now_v7() })),
        ("/v1/documents", json!({ "title": "t", "sizeBytes": "5", "sha256": "00" })),
        ("/v1/transfers", json!({ "state": "TRANSFER_STATE_POSTED", "bookTime": "2020-01-01T00:00:00Z" })),
    ] {
        let answer = world.rest.post(&customer.token, path, &unique("mass"), &body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    // What is a field, but names somebody else.
    let body = json!({ "currencyCode": "EUR", "customerId": other.id });
    let answer = world.rest.post(&customer.token, &open, &unique("mass"), &body).await;
    assert!(answer.status == 400 || answer.json()["customerId"] == customer.id.as_str(), "{answer:?}");
    let body = json!({ "title": "planted", "customerId": other.id });
    let answer = world.rest.post(&customer.token, "/v1/documents", &unique("mass"), &body).await;
    assert!(matches!(answer.status.as_u16(), 400 | 403), "{answer:?}");
    let body = json!({ "currencyCode": "EUR", "overdraftLimitMinorUnits": "100" });
    let answer = world.rest.post(&customer.token, &open, &unique("mass"), &body).await;
    assert_eq!(answer.status, 403, "{answer:?}");
}

async fn e7_a_key_is_its_principals_own_and_means_one_request(world: Arc<World>) {
    let (one, other) = (world.customer().await, world.customer().await);
    let key = unique("shared");
    let title = |text: &str| json!({ "title": text });
    let first = world.rest.post(&one.token, "/v1/documents", &key, &title("mine")).await.text("documentId");
    let second =
        world.rest.post(&other.token, "/v1/documents", &key, &title("mine")).await.text("documentId");
    assert_ne!(first, second, "another principal's key of the same name is another key");
    let again = world.rest.post(&one.token, "/v1/documents", &key, &title("mine")).await.text("documentId");
    assert_eq!(again, first);
    world.rest.post(&one.token, "/v1/documents", &key, &title("other")).await.refused(
        409,
        "ALREADY_EXISTS",
        "REQUEST_ID_REUSED",
    );
    // Keys that are none: too long, empty, two at once, beside a field of the same meaning.
    let send = async |headers: HeaderMap, body: Value| {
        let mut request = world.rest.request(Method::POST, "/v1/documents");
        request.headers_mut().unwrap().extend(headers);
        let request = request.header("authorization", format!("Bearer {}", one.token));
        let request = request.header("content-type", "application/json");
        world.rest.send(request.body(Full::from(body.to_string())).unwrap()).await
    };
    let keys = |values: &[&str]| {
        values
            .iter()
            .map(|value| ("idempotency-key".parse().unwrap(), value.parse().unwrap()))
            .collect::<HeaderMap>()
    };
    let long = "k".repeat(10 << 10);
    for (name, headers, body) in [
        ("10 KiB", keys(&[&long]), title("t")),
        ("65 bytes", keys(&[&long[..65]]), title("t")),
        ("empty", keys(&[""]), title("t")),
        ("two", keys(&["one", "two"]), title("t")),
        ("none", keys(&[]), title("t")),
        ("another in the body", keys(&["one"]), json!({ "title": "t", "requestId": "two" })),
    ] {
        let answer = send(headers, body).await;
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
    }
    assert_eq!(
        send(keys(&[r#""key;drop/**/table\"'%$""#]), title("t")).await.status,
        201,
        "any printable text is a key, between quotes"
    );
}

async fn e7_the_same_key_at_once_has_one_effect(world: Arc<World>) {
    let customer = world.customer().await;
    let (from, to) = (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    world.fund(&from, "EUR", 10_000).await;
    let key = unique("race");
    let body = transfer(&from, &to, "EUR", 100, false);
    let answers =
        join_all((0..24).map(|_| world.rest2.post(&customer.token, "/v1/transfers", &key, &body))).await;
    let ids: std::collections::BTreeSet<_> = answers.iter().map(|answer| answer.text("transferId")).collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    assert_eq!(world.balance(&customer.token, &to).await, 100);
}
