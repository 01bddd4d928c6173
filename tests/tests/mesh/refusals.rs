//! Bad requests: each gets the documented status, reason and body, changes nothing, and the mesh lives on.

use std::sync::Arc;

use bytes::Bytes;
use dev::TokenRequest;
use e2e::World;
use e2e::grpc::{calling, reason};
use e2e::rest::detail;
use e2e::world::{CUSTOMER_SCOPES, Customer, transfer};
use http::{Method, header};
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use proto::ledger::v1::{CreateTransferRequest, GetBalanceRequest};
use serde_json::{Value, json};
use tonic::Code;

crate::tests![
    a_malformed_body_is_refused_and_nothing_is_written,
    every_violation_is_named_at_once,
    a_bad_token_is_unauthenticated,
    a_scope_is_demanded,
    paths_and_verbs_are_exact,
    a_body_over_the_limit_is_refused,
    headers_over_the_limit_are_refused,
    the_same_refusals_by_grpc,
];

async fn send(
    world: &World,
    method: Method,
    path: &str,
    token: &str,
    media: &str,
    body: impl Into<Bytes>,
) -> e2e::Answer {
    let request = world
        .rest
        .request(method, path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, media);
    world.rest.send(request.body(http_body_util::Full::new(body.into())).unwrap()).await
}

async fn owner(world: &World) -> (Customer, String) {
    let customer = world.customer().await;
    let account = world.account(&customer, "EUR", 100).await;
    (customer, account)
}

async fn a_malformed_body_is_refused_and_nothing_is_written(world: Arc<World>) {
    let (customer, from) = owner(&world).await;
    let to = world.account(&customer, "EUR", 0).await;
    let good = transfer(&from, &to, "EUR", 5, false).to_string();
    let post = async |body: String| {
        send(&world, Method::POST, "/v1/transfers", &customer.token, "application/json", body).await
    };
    for body in
        ["", "{", "[]", "null", "\"text\"", "{\"a\":}", "{'a':1}", "{} {}", "{\"reference\":\"\u{1}\"}"]
    {
        let answer = post(body.to_owned()).await;
        assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
        assert_eq!(answer.json()["error"]["status"], "INVALID_ARGUMENT", "{body:?}");
    }
    let not_utf8 = [b"{\"reference\":\"".as_slice(), &[0xff], b"\"}"].concat();
    let answer =
        send(&world, Method::POST, "/v1/transfers", &customer.token, "application/json", not_utf8).await;
    assert_eq!(answer.status, 400, "{answer:?}");

    let unknown = good.replacen('{', "{\"amonut\":1,", 1);
    let error = post(unknown).await.json();
    assert!(error.to_string().contains("amonut"), "an unknown field is named: {error}");
    for (field, value) in [("reference", json!(5)), ("pending", json!("yes")), ("amount", json!("5 EUR"))] {
        let mut body: Value = serde_json::from_str(&good).unwrap();
        body[field] = value;
        let error = post(body.to_string()).await.json();
        assert!(error["error"]["code"] == 400 && error.to_string().contains(field), "{field}: {error}");
    }
    for media in ["text/plain", "application/xml", ""] {
        let answer = send(&world, Method::POST, "/v1/transfers", &customer.token, media, good.clone()).await;
        assert_eq!(answer.status, 415, "{media:?}: {answer:?}");
    }
    assert_eq!(world.balance(&customer.token, &from).await, 0, "nothing moved");
}

async fn every_violation_is_named_at_once(world: Arc<World>) {
    let (customer, _) = owner(&world).await;
    let body = json!({ "debitAccountId": "x", "creditAccountId": "", "amount": { "currencyCode": "EURO", "minorUnits": "-1" } });
    let answer =
        send(&world, Method::POST, "/v1/transfers", &customer.token, "application/json", body.to_string())
            .await;
    let error = answer.refused(400, "INVALID_ARGUMENT", "INVALID_REQUEST");
    let violations = detail(&error, "BadRequest").unwrap()["fieldViolations"].as_array().unwrap().clone();
    let fields: Vec<_> = violations.iter().map(|violation| violation["field"].as_str().unwrap()).collect();
    for field in
        ["request_id", "debit_account_id", "credit_account_id", "amount.currency_code", "amount.minor_units"]
    {
        assert!(fields.contains(&field), "{field} is missing in {fields:?}");
    }
}

async fn a_bad_token_is_unauthenticated(world: Arc<World>) {
    let (customer, account) = owner(&world).await;
    let path = format!("/v1/accounts/{account}/balance");
    let issue = |request: TokenRequest| world.token(&request);
    let good = || TokenRequest::new("t").scopes(&CUSTOMER_SCOPES).customer(&customer.id);
    let mut forged = issue(good()).into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    let cases = [
        ("expired", issue(good().lifetime(-3600)), "TOKEN_EXPIRED"),
        ("forged", String::from_utf8(forged).unwrap(), "TOKEN_INVALID"),
        ("another audience", issue(good().claim("aud", json!("elsewhere"))), "TOKEN_INVALID"),
        ("another issuer", issue(good().claim("iss", json!("https://elsewhere"))), "TOKEN_INVALID"),
        ("no expiry", issue(good().claim("exp", Value::Null)), "TOKEN_INVALID"),
        ("not a token", "abc".to_owned(), "TOKEN_INVALID"),
    ];
    for (name, token, expect) in cases {
        let answer = world.rest.get(&token, &path).await;
        answer.refused(401, "UNAUTHENTICATED", expect);
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer"), "{name}: {challenge}");
    }
    let bare =
        world.rest.send(world.rest.request(Method::GET, &path).body(Default::default()).unwrap()).await;
    bare.refused(401, "UNAUTHENTICATED", "TOKEN_MISSING");
    let basic = world.rest.request(Method::GET, &path).header("authorization", "Basic YTpi");
    assert_eq!(world.rest.send(basic.body(Default::default()).unwrap()).await.status, 401);
    let in_query = format!("{path}?access_token={}", customer.token);
    let answer =
        world.rest.send(world.rest.request(Method::GET, &in_query).body(Default::default()).unwrap()).await;
    assert!(matches!(answer.status.as_u16(), 400 | 401), "a token in the query is none: {answer:?}");
    world.rest.get(&issue(good()), &path).await.ok();
}

async fn a_scope_is_demanded(world: Arc<World>) {
    let (customer, account) = owner(&world).await;
    let with = |scopes: &[&str]| world.token(&TokenRequest::new("s").scopes(scopes).customer(&customer.id));
    let path = format!("/v1/accounts/{account}/balance");
    for scopes in [&[][..], &["payments.write"], &["accounts"], &["ACCOUNTS.READ"]] {
        let answer = world.rest.get(&with(scopes), &path).await;
        answer.refused(403, "PERMISSION_DENIED", "SCOPE_MISSING");
    }
    world.rest.get(&with(&["accounts.read"]), &path).await.ok();
    let body = json!({ "displayName": "x", "email": "x@example.com" }).to_string();
    let answer = send(&world, Method::POST, "/v1/customers", &customer.token, "application/json", body).await;
    answer.refused(403, "PERMISSION_DENIED", "SCOPE_MISSING");
}

async fn paths_and_verbs_are_exact(world: Arc<World>) {
    let (customer, account) = owner(&world).await;
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v2/transfers",
        "/v1/transfers/",
        "/v1//transfers",
        &format!("/v1/accounts/{account}/balance/x"),
    ] {
        world.rest.get(&customer.token, path).await.refused(404, "NOT_FOUND", "UNKNOWN_PATH");
    }
    // Open to services only: outside the mesh there is no such method.
    let batch = send(
        &world,
        Method::POST,
        "/accounts.v1.AccountsService/BatchGetAccounts",
        &customer.token,
        "application/json",
        "{}",
    )
    .await;
    batch.refused(404, "NOT_FOUND", "UNKNOWN_PATH");
    let answer = send(&world, Method::DELETE, "/v1/transfers", &customer.token, "application/json", "").await;
    let error = answer.refused(405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED");
    let allow = answer.headers["allow"].to_str().unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}: {error}");
    for path in [
        format!("/v1/accounts/{account}%2Fbalance"),
        format!("/v1/accounts/{account}%252Fbalance"),
        "/v1/accounts/%00".to_owned(),
    ] {
        let answer = world.rest.get(&customer.token, &path).await;
        assert!(matches!(answer.status.as_u16(), 400 | 403 | 404), "{path}: {answer:?}");
    }
    let unknown = format!("/v1/accounts/{account}/balance?as_off=1");
    let answer = world.rest.get(&customer.token, &unknown).await;
    assert!(answer.status == 400 && answer.json().to_string().contains("as_off"), "{answer:?}");
}

async fn a_body_over_the_limit_is_refused(world: Arc<World>) {
    let (customer, _) = owner(&world).await;
    let big = json!({ "reference": "x".repeat(5 << 20) }).to_string();
    for rest in [&world.rest, &world.rest2] {
        let request = rest
            .request(Method::POST, "/v1/transfers")
            .header("authorization", format!("Bearer {}", customer.token))
            .header("content-type", "application/json");
        // A refusal before the whole body was sent may also end the connection.
        if let Ok(answer) = rest.try_send(request.body(big.clone().into()).unwrap()).await {
            answer.refused(413, "RESOURCE_EXHAUSTED", "BODY_TOO_LARGE");
        }
    }
    world.customer().await;
}

async fn headers_over_the_limit_are_refused(world: Arc<World>) {
    let (customer, account) = owner(&world).await;
    let path = format!("/v1/accounts/{account}/balance");
    for rest in [&world.rest, &world.rest2] {
        let request = rest
            .request(Method::GET, &path)
            .header("authorization", format!("Bearer {}", customer.token))
            .header("x-padding", "x".repeat(40_000));
        if let Ok(answer) = rest.try_send(request.body(Default::default()).unwrap()).await {
            assert_eq!(answer.status, 431, "{answer:?}");
        }
        rest.get(&customer.token, &path).await.ok();
    }
}

async fn the_same_refusals_by_grpc(world: Arc<World>) {
    let (customer, account) = owner(&world).await;
    let stranger = world.customer().await;
    let ask = async |token: Option<&str>| {
        let mut client = LedgerServiceClient::new(world.public(token));
        client.get_balance(GetBalanceRequest { account_id: account.clone(), ..Default::default() }).await
    };
    let expired =
        world.token(&TokenRequest::new("t").scopes(&CUSTOMER_SCOPES).customer(&customer.id).lifetime(-3600));
    let scopeless = world.token(&TokenRequest::new("t").customer(&customer.id));
    let cases = [
        (None, Code::Unauthenticated, "TOKEN_MISSING"),
        (Some(expired.as_str()), Code::Unauthenticated, "TOKEN_EXPIRED"),
        (Some("nonsense"), Code::Unauthenticated, "TOKEN_INVALID"),
        (Some(&scopeless), Code::PermissionDenied, "SCOPE_MISSING"),
        (Some(&stranger.token), Code::PermissionDenied, "NOT_PERMITTED"),
    ];
    for (token, code, expect) in cases {
        let refused = ask(token).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, expect), "{refused}");
    }
    ask(Some(&customer.token)).await.unwrap();

    let mut client = LedgerServiceClient::new(world.public(Some(&customer.token)));
    let refused = client.create_transfer(CreateTransferRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    let big = CreateTransferRequest { reference: "x".repeat(5 << 20), ..Default::default() };
    assert_eq!(client.create_transfer(big).await.unwrap_err().code(), Code::ResourceExhausted);

    let mut unknown = tonic::client::Grpc::new(calling(raw(&world), Some(&customer.token)));
    unknown.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<GetBalanceRequest, GetBalanceRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/ledger.v1.LedgerService/PrintMoney");
    let refused =
        unknown.unary(tonic::Request::new(GetBalanceRequest::default()), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

fn raw(world: &World) -> tonic::transport::Channel {
    let authority = &world.mesh.pki().server_authority.certificate;
    e2e::grpc::channel(world.mesh.ports().public, "localhost", authority, None)
}
