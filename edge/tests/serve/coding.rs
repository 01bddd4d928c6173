//! Bodies in other forms than plain JSON: coded on the way up and down, forms, and answers that the client has already.

use edge::coding::Coding;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use http::{Method, StatusCode};
use serde_json::json;

use crate::client::{Http, Reply, Rest};
use crate::world::World;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread")]
async fn bodies_come_and_go_in_their_codings() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        coded_requests(&rest).await;
        coded_answers(&rest).await;
        forms(&rest).await;
        what_the_client_has_is_not_sent_again(&rest).await;
    }
}

fn encode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    coding.encode(bytes).unwrap_or_else(|| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    })
}

async fn post(rest: &Rest, coding: &str, body: Vec<u8>) -> Reply {
    rest.send(Method::POST, "/v1/notes", &[JSON, ("content-encoding", coding)], body).await
}

async fn coded_requests(rest: &Rest) {
    let text = "so ".repeat(1000);
    let body = json!({"text": text}).to_string();
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
        let reply = post(rest, coding.name(), encode(coding, body.as_bytes())).await;
        assert_eq!((reply.status, &reply.json()["text"]), (StatusCode::CREATED, &json!(text)), "{coding:?}");

        let bomb = json!({"text": "x".repeat(70_000)}).to_string();
        let reply = post(rest, coding.name(), encode(coding, bomb.as_bytes())).await;
        assert_eq!(
            (reply.status, reply.reason().as_str()),
            (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE")
        );

        let whole = encode(coding, body.as_bytes());
        for (wrong, told) in [
            (b"{\"text\": \"plain\"}".to_vec(), "not in the coding"),
            (whole[..whole.len() - 1].to_vec(), "ends before its content coding"),
            ([&whole[..], b" "].concat(), "goes on behind the end"),
        ] {
            let reply = post(rest, coding.name(), wrong).await;
            assert_eq!((reply.status, reply.reason().as_str()), (StatusCode::BAD_REQUEST, "INVALID_REQUEST"));
            assert!(reply.text().contains(told), "{coding:?} {}", reply.text());
        }
    }
    for coding in ["snappy", "gzip, gzip", "aes128gcm"] {
        assert_eq!(post(rest, coding, b"{}".to_vec()).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    assert_eq!(post(rest, "identity", b"{}".to_vec()).await.status, StatusCode::CREATED);
}

async fn coded_answers(rest: &Rest) {
    let body = json!({"text": "so ".repeat(1000)}).to_string();
    let post = async |accept| {
        rest.send(Method::POST, "/v1/notes", &[JSON, ("accept-encoding", accept)], body.clone()).await
    };
    let plain = post("identity").await;
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept-encoding"));
    for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
        let reply = post(coding.name()).await;
        assert_eq!(
            (reply.header("content-encoding"), reply.header("vary")),
            (coding.name(), "accept-encoding")
        );
        let coded = reply.body.as_ref().unwrap();
        assert!(coded.len() < 300, "{coding:?} made {} bytes", coded.len());
        assert_eq!(
            coding.decode(coded, 10_000).as_deref(),
            Ok(&plain.body.as_ref().unwrap()[..]),
            "{coding:?}"
        );
    }
    // Small answers are not worth it.
    let small = rest.send(Method::GET, "/v1/notes/n-7", &[("accept-encoding", "gzip")], "").await;
    assert_eq!((small.header("content-encoding"), small.header("vary")), ("", ""));
}

async fn forms(rest: &Rest) {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let reply = rest.send(Method::POST, "/v1/notes", &form, "text=a+b%26c&size=12").await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.json(), json!({"noteId": "n-1", "text": "a b&c", "size": "12"}));
    for wrong in ["what=1", "size=many", "size=1&size=2", "text=%ff"] {
        let reply = rest.send(Method::POST, "/v1/notes", &form, wrong).await;
        assert_eq!(
            (reply.status, reply.reason().as_str()),
            (StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
            "{wrong}"
        );
    }
    // The one message of a stream.
    let stream =
        async |form_body: &'static str| rest.send(Method::POST, "/v1/notes:collect", &form, form_body).await;
    assert_eq!(stream("text=a&size=7").await.json(), json!({"noteId": "1", "size": "7"}));
    assert_eq!(stream("").await.json(), json!({"noteId": "0"}));
    let wrong = stream("what=a").await;
    assert_eq!((wrong.status, wrong.reason().as_str()), (StatusCode::BAD_REQUEST, "INVALID_REQUEST"));
    // Relative to the field that the body is.
    let field = rest.send(Method::POST, "/v1/notes/n-7:attach", &form, "title=a&scan.contentType=b/c").await;
    assert_eq!(field.json(), json!({"fileId": "n-7 a", "contentType": "b/c", "messages": "1"}));
}

async fn what_the_client_has_is_not_sent_again(rest: &Rest) {
    let get = async |tags| rest.send(Method::GET, "/v1/notes/n-7", &[("if-none-match", tags)], "").await;
    let new = get("\"n-6\"").await;
    assert_eq!((new.status, new.header("etag")), (StatusCode::OK, "\"n-7\""));
    for tags in ["\"n-7\"", "\"n-6\", W/\"n-7\"", "*"] {
        let known = get(tags).await;
        assert_eq!((known.status, known.header("etag")), (StatusCode::NOT_MODIFIED, "\"n-7\""), "{tags}");
        assert_eq!(known.body.unwrap().len(), 0);
        assert_eq!(known.headers.get("content-type"), None);
    }
}
