//! Documents and statements: streamed both ways, and a statement that adds up.

use std::sync::Arc;

use bytes::Bytes;
use e2e::World;
use e2e::world::{Customer, transfer, unique};
use http::Method;
use proto::docs::v1::docs_service_client::DocsServiceClient;
use proto::docs::v1::{DownloadContentRequest, UploadContentRequest};
use proto::google::api::HttpBody;
use serde_json::json;
use sha2::{Digest as _, Sha256};

crate::tests![
    content_comes_back_as_it_went,
    content_streams_over_grpc,
    an_upload_over_the_limit_changes_nothing,
    a_document_is_its_owners,
    a_statement_adds_up_in_json_and_csv,
];

async fn document(world: &World, customer: &Customer) -> String {
    let body = json!({ "title": "A letter" });
    let made = world.rest.post(&customer.token, "/v1/documents", &unique("doc"), &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.text("documentId")
}

async fn put(rest: &e2e::Rest, token: &str, id: &str, content: Bytes) -> e2e::Answer {
    let request = rest
        .request(Method::PUT, &format!("/v1/documents/{id}/content"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "image/png");
    rest.send(request.body(content.into()).unwrap()).await
}

async fn content_comes_back_as_it_went(world: Arc<World>) {
    let customer = world.customer().await;
    let id = document(&world, &customer).await;
    let path = format!("/v1/documents/{id}/content");
    world.rest.get(&customer.token, &path).await.refused(404, "NOT_FOUND", "NO_CONTENT");
    for (rest, bytes) in
        [(&world.rest, 3_000_000_usize), (&world.rest2, 70_000), (&world.rest, 1), (&world.rest2, 0)]
    {
        let content = Bytes::from_iter((0..bytes).map(|n| u8::try_from(n * 31 % 251).unwrap()));
        let stored = put(rest, &customer.token, &id, content.clone()).await.ok();
        assert_eq!(stored["sha256"], format!("{:x}", Sha256::digest(&content)));
        for rest in [&world.rest, &world.rest2] {
            let back = rest.get(&customer.token, &path).await;
            assert_eq!(
                (back.status.as_u16(), &back.headers["content-type"]),
                (200, &"image/png".parse().unwrap())
            );
            assert!(back.body == content, "{bytes} bytes came back as {}", back.body.len());
        }
    }
    let listed = world.rest.get(&customer.token, "/v1/documents").await.ok();
    assert_eq!(listed["documents"][0]["documentId"], id);
}

async fn content_streams_over_grpc(world: Arc<World>) {
    let customer = world.customer().await;
    let id = document(&world, &customer).await;
    let mut client = DocsServiceClient::new(world.public(Some(&customer.token)));
    let document_id = id.clone();
    let piece = move |number: u8| UploadContentRequest {
        document_id: if number == 0 { document_id.clone() } else { String::new() },
        content: Some(HttpBody {
            content_type: if number == 0 { "text/plain".into() } else { String::new() },
            data: vec![number; 50_000].into(),
            ..Default::default()
        }),
    };
    let stored = client.upload_content(tokio_stream::iter((0..10).map(piece))).await.unwrap().into_inner();
    assert_eq!(stored.size_bytes, 500_000);
    let mut download = client
        .download_content(DownloadContentRequest { document_id: id.clone() })
        .await
        .unwrap()
        .into_inner();
    let (mut bytes, mut media) = (Vec::new(), String::new());
    while let Some(body) = download.message().await.unwrap() {
        if media.is_empty() {
            media = body.content_type;
        }
        bytes.extend_from_slice(&body.data);
    }
    let expected: Vec<u8> = (0..10).flat_map(|number| vec![number; 50_000]).collect();
    assert!(bytes == expected && media == "text/plain", "{} bytes of {media}", bytes.len());
}

async fn an_upload_over_the_limit_changes_nothing(world: Arc<World>) {
    let customer = world.customer().await;
    let id = document(&world, &customer).await;
    put(&world.rest, &customer.token, &id, Bytes::from_static(b"small")).await.ok();
    let big = Bytes::from(vec![0; 27 << 20]);
    let refused = put(&world.rest2, &customer.token, &id, big).await;
    assert!(matches!(refused.status.as_u16(), 413 | 429), "{refused:?}");
    let back = world.rest.get(&customer.token, &format!("/v1/documents/{id}/content")).await;
    assert_eq!(back.body, "small");
}

async fn a_document_is_its_owners(world: Arc<World>) {
    let (owner, stranger) = (world.customer().await, world.customer().await);
    let id = document(&world, &owner).await;
    put(&world.rest, &owner.token, &id, Bytes::from_static(b"private")).await.ok();
    for path in [format!("/v1/documents/{id}"), format!("/v1/documents/{id}/content")] {
        world.rest.get(&stranger.token, &path).await.refused(403, "PERMISSION_DENIED", "NOT_PERMITTED");
        assert_eq!(world.rest.get(&world.staff(), &path).await.status, 200);
    }
    put(&world.rest, &stranger.token, &id, Bytes::from_static(b"forged")).await.refused(
        403,
        "PERMISSION_DENIED",
        "NOT_PERMITTED",
    );
    let path = format!("/v1/documents?customer_id={}", owner.id);
    world.rest.get(&stranger.token, &path).await.refused(403, "PERMISSION_DENIED", "NOT_PERMITTED");
    let back = world.rest.get(&owner.token, &format!("/v1/documents/{id}/content")).await;
    assert_eq!(back.body, "private");
}

/// The ledger books in whole microseconds.
fn micros(time: chrono::DateTime<chrono::Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

async fn a_statement_adds_up_in_json_and_csv(world: Arc<World>) {
    let customer = world.customer().await;
    let (from, to) = (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    let start = chrono::Utc::now();
    world.fund(&from, "EUR", 10_000).await;
    for amount in [1_250, 3, 99] {
        let body = transfer(&from, &to, "EUR", amount, false);
        world.rest.post(&customer.token, "/v1/transfers", &unique("pay"), &body).await.ok();
    }
    let end = chrono::Utc::now();
    let path = format!("/v1/accounts/{from}/statements");
    let make = async |format: &str, key: &str, token: &str| {
        let body = json!({ "startTime": micros(start), "endTime": micros(end), "format": format });
        world.rest.post(token, &path, key, &body).await
    };
    for format in ["STATEMENT_FORMAT_JSON", "STATEMENT_FORMAT_CSV"] {
        let key = unique("statement");
        let made = make(format, &key, &customer.token).await;
        assert_eq!(made.status, 201, "{made:?}");
        let statement = made.ok();
        assert_eq!(e2e::world::minor_units(&statement["openingBalance"]), 0, "{statement}");
        assert_eq!(statement["closingBalance"]["minorUnits"], "8648", "{statement}");
        assert_eq!(statement["entryCount"], "4", "{statement}");
        assert_eq!(make(format, &key, &customer.token).await.ok(), statement, "once for a request id");
        let document = statement["documentId"].as_str().unwrap();
        let content = world.rest.get(&customer.token, &format!("/v1/documents/{document}/content")).await;
        let text = String::from_utf8(content.body.to_vec()).unwrap();
        if format.ends_with("JSON") {
            let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(parsed["entries"].as_array().unwrap().len(), 4, "{parsed}");
        } else {
            assert!(text.lines().count() >= 5, "{text}");
        }
    }
    let stranger = world.customer().await;
    let refused = make("STATEMENT_FORMAT_JSON", &unique("s"), &stranger.token).await;
    assert_eq!(refused.status, 403, "{refused:?}");
}
