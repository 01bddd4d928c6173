//! Bodies that come in an envelope, in a coding or in both, and are streams: what arrives is what was sent, and what breaks
//! reaches the service as a stream that broke.

use bytes::Bytes;
use edge::coding::Coding;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use futures::{SinkExt as _, StreamExt as _};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::client::{Http, Reply, Rest};
use crate::upstream::UPLOADS;
use crate::world::World;

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=----edge");
const CODINGS: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

fn text(name: &str, value: &str) -> Vec<u8> {
    format!("------edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into()
}

fn file(content_type: &str, content: &[u8]) -> Vec<u8> {
    let header = "------edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n";
    let content_type =
        if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
    [header.as_bytes(), content_type.as_bytes(), b"\r\n", content, b"\r\n"].concat()
}

fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    [&parts.concat()[..], b"------edge--\r\n"].concat()
}

fn encode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    coding.encode(bytes).unwrap_or_else(|| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    })
}

/// Bytes that no coding makes much smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// How many uploads of a file came to this.
fn uploads(file: &str, what: &str) -> usize {
    UPLOADS.lock().unwrap().iter().filter(|(found, became)| found == file && *became == what).count()
}

async fn put(rest: &Rest, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    rest.send(Method::PUT, "/v1/files/f-1", headers, body).await
}

async fn collect(rest: &Rest, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    rest.send(Method::POST, "/v1/notes:collect", headers, body).await
}

fn refused(reply: &Reply, told: &str) {
    let found = (reply.status, reply.reason());
    assert_eq!(found, (StatusCode::BAD_REQUEST, "INVALID_REQUEST".to_owned()), "{}", reply.text());
    assert!(reply.text().contains(told), "{told}: {}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_and_codings_come_off_on_the_way_up() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        a_file_in_an_envelope_is_an_upload(&rest).await;
        a_form_is_one_request(&rest).await;
        a_file_holds_the_values_of_a_stream(&rest).await;
        coded_streams_are_decoded(&rest).await;
        what_breaks_is_refused(&rest).await;
        world.until("what was refused is given up", || world.calls_behind() == 0).await;
        let open = || uploads("broken", "begun") - uploads("broken", "broken") - uploads("broken", "whole");
        world.until("its service has heard so", || open() == 0).await;
        assert!(uploads("broken", "begun") > 0);
        assert_eq!(uploads("broken", "whole"), 0, "nothing that broke was taken for whole");
    }
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    values_of_a_file_are_answered_while_it_comes(&rest).await;
    a_form_is_cut_anywhere(&rest).await;
}

async fn a_file_in_an_envelope_is_an_upload(rest: &Rest) {
    let content = noise(300_000);
    let reply = put(rest, &[FORM], form(&[file("image/png", &content)])).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    let told = reply.json();
    assert_eq!(
        (&told["fileId"], &told["contentType"], &told["bytes"]),
        (&json!("f-1"), &json!("image/png"), &json!("300000"))
    );
    let largest: i64 = told["largest"].as_str().unwrap().parse().unwrap();
    assert!(largest <= 64 * 1024, "{told}");
    let unknown = put(rest, &[FORM], form(&[file("", b"")])).await.json();
    assert_eq!(unknown, json!({"fileId": "f-1", "contentType": "application/octet-stream", "messages": "1"}));
    // What the path says a text may say too, as in a query.
    let same = put(rest, &[FORM], form(&[text("file_id", "f-1"), file("a/b", b"123")])).await;
    assert_eq!(same.json()["bytes"], "3", "{same:?}");
}

async fn a_form_is_one_request(rest: &Rest) {
    let reply = rest
        .send(Method::POST, "/v1/notes", &[FORM], form(&[text("text", "grüezi"), text("size", "12")]))
        .await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.json(), json!({"noteId": "n-1", "text": "grüezi", "size": "12"}));
    let named = |name: &str, part: Vec<u8>| {
        String::from_utf8(part).unwrap().replace("name=\"file\"", &format!("name=\"{name}\"")).into_bytes()
    };
    let parts = form(&[
        named("picture", file("image/png", b"four")),
        text("title", "a"),
        named("scan", file("application/pdf", b"seven77")),
    ]);
    let reply = rest.send(Method::POST, "/v1/notes/n-7:attach", &[FORM], parts).await;
    assert_eq!(
        reply.json(),
        json!({"fileId": "n-7 a", "contentType": "application/pdf", "bytes": "4", "messages": "1", "largest": "7"})
    );
    let wrong = rest.send(Method::POST, "/v1/notes", &[FORM], form(&[named("text", file("", b"x"))])).await;
    refused(&wrong, "takes no file");
}

async fn a_file_holds_the_values_of_a_stream(rest: &Rest) {
    for (content_type, content) in [
        ("application/x-ndjson", "{\"size\": 1}\n{\"size\": 2}\n"),
        ("application/json", "[{\"size\": 1}, {\"size\": 2}]"),
        ("application/octet-stream", "{\"size\": 1}{\"size\": 2}"),
        ("text/plain", "{\"size\": 1}\n{\"size\": 2}"),
        ("", "{\"size\": 3}\n{}"),
    ] {
        let reply = collect(rest, &[FORM], form(&[file(content_type, content.as_bytes())])).await;
        assert_eq!(reply.json(), json!({"noteId": "2", "size": "3"}), "{content_type}");
    }
    let image = collect(rest, &[FORM], form(&[file("image/png", b"{}")])).await;
    assert_eq!(image.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);

    // Texts go into the first message, which they are where there is no file.
    let chat = async |parts: &[Vec<u8>]| {
        rest.send(Method::POST, "/v1/notes:chat", &[FORM], form(parts)).await.json()
    };
    let lines = file("application/x-ndjson", b"{\"size\": 1}\n{\"size\": 2}");
    assert_eq!(
        chat(&[text("note_id", "a"), lines.clone()]).await,
        json!([{"noteId": "a", "size": "1"}, {"size": "2"}])
    );
    assert_eq!(chat(&[text("note_id", "a"), text("size", "7")]).await, json!([{"noteId": "a", "size": "7"}]));
    assert_eq!(chat(&[]).await, json!([]));
    let differs = collect(rest, &[FORM], form(&[text("size", "2"), lines])).await;
    refused(&differs, "contradicts");
}

async fn coded_streams_are_decoded(rest: &Rest) {
    let content = [noise(200_000), vec![b'x'; 400_000]].concat();
    let lines: String = (0..5_000).map(|_| "{\"size\": 1}\n").collect();
    for coding in CODINGS {
        let coded = ("content-encoding", coding.name());
        let upload = put(rest, &[("content-type", "image/png"), coded], encode(coding, &content)).await;
        assert_eq!(
            (&upload.json()["bytes"], &upload.json()["contentType"]),
            (&json!("600000"), &json!("image/png"))
        );
        let largest: i64 = upload.json()["largest"].as_str().unwrap().parse().unwrap();
        assert!(largest <= 64 * 1024, "{coding:?} {largest}");
        let stream = collect(rest, &[coded], encode(coding, lines.as_bytes())).await;
        assert_eq!(stream.json(), json!({"noteId": "5000", "size": "5000"}), "{coding:?}");
        let envelope = encode(coding, &form(&[text("file_id", "f-1"), file("a/b", &content)]));
        assert_eq!(put(rest, &[FORM, coded], envelope).await.json()["bytes"], "600000", "{coding:?}");
        let empty = put(rest, &[coded], Vec::new()).await;
        assert_eq!(empty.json()["fileId"], "f-1", "{coding:?}");
    }
    let unknown = put(rest, &[("content-encoding", "snappy")], b"x".to_vec()).await;
    assert_eq!(unknown.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

async fn what_breaks_is_refused(rest: &Rest) {
    let put = async |headers: &[(&str, &str)], body: Vec<u8>| {
        rest.send(Method::PUT, "/v1/files/broken", headers, body).await
    };
    // Long enough for the service to have seen its beginning.
    let content = [noise(300_000), vec![b'x'; 10_000]].concat();
    let a_file = file("a/b", &content);
    let whole = form(std::slice::from_ref(&a_file));
    refused(&put(&[FORM], whole[..whole.len() - 5].to_vec()).await, "it ends too early");
    refused(&put(&[FORM], a_file.clone()).await, "at part 1: it ends too early");
    refused(
        &put(&[FORM], form(&[a_file.clone(), b"------edge\r\nno header\r\n\r\n".to_vec()])).await,
        "at part 2",
    );
    refused(&put(&[FORM], form(&[a_file.clone(), text("file_id", "broken")])).await, "texts come first");
    refused(&put(&[FORM], form(&[a_file.clone(), a_file.clone()])).await, "takes one file part");
    refused(&put(&[FORM], form(&[text("file_id", "broken")])).await, "needs a file part");
    refused(&put(&[FORM], form(&[text("what", "x"), a_file.clone()])).await, "is not a known field");
    refused(&put(&[FORM], form(&[text("file_id", "f-2"), a_file])).await, "contradicts");
    refused(&put(&[("content-type", "multipart/form-data")], whole).await, "names no boundary");

    let late = form(&[file("", b"{\"size\": 1}\n{}"), text("size", "1")]);
    refused(&collect(rest, &[FORM], late).await, "texts come first");
    let cut = collect(rest, &[FORM], file("", b"{\"size\": 1}\n{}\n")).await;
    refused(&cut, "it ends too early");

    for coding in CODINGS {
        let coded = ("content-encoding", coding.name());
        let whole = encode(coding, &content);
        refused(&put(&[coded], whole[..whole.len() - 1].to_vec()).await, "ends before its content coding");
        refused(&put(&[coded], [&whole[..], b"x"].concat()).await, "goes on behind the end");
        refused(&put(&[coded], content.clone()).await, "not in the coding");
        // A megabyte is the bound of an upload, 64 KiB that of a message.
        let bomb = encode(coding, &vec![0; 4 << 20]);
        assert!(bomb.len() < 1 << 20);
        for reply in [
            put(&[coded], bomb).await,
            put(&[FORM, coded], encode(coding, &form(&[file("", &vec![0; 4 << 20])]))).await,
            collect(rest, &[coded], encode(coding, format!("{{}}\n\"{}\"", "x".repeat(4 << 20)).as_bytes()))
                .await,
        ] {
            let told = (reply.status, reply.reason());
            assert_eq!(told, (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE".to_owned()), "{coding:?}");
        }
    }
}

async fn values_of_a_file_are_answered_while_it_comes(rest: &Rest) {
    let (mut say, said) = futures::channel::mpsc::channel(1);
    let lines_back = ("accept", "application/x-ndjson");
    let begin = file("application/x-ndjson", b"{\"noteId\":\"one\"}\n");
    say.send(Bytes::from([&text("size", "7")[..], &begin[..begin.len() - 2]].concat())).await.unwrap();
    let response = rest.stream("/v1/notes:chat", &[FORM, lines_back], said).await;
    let mut body = response.into_body();
    let mut hear = async || -> Value {
        serde_json::from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap()).unwrap()
    };
    assert_eq!(hear().await, json!({"noteId": "one", "size": "7"}));
    say.send(Bytes::from_static(b"{\"noteId\":\"two\"}\n\r\n------ed")).await.unwrap();
    assert_eq!(hear().await, json!({"noteId": "two"}));
    drop(say);
    assert_eq!(hear().await["error"]["status"], "INVALID_ARGUMENT", "its end never came");
}

/// The envelope, the lines in it and a coding around it, in two pieces at every place.
async fn a_form_is_cut_anywhere(rest: &Rest) {
    let plain = form(&[text("size", "7"), file("application/x-ndjson", b"{\"size\":7}\n{\"size\":5}\r\n")]);
    for (coding, body) in [("identity", plain.clone()), ("zstd", encode(Coding::Zstd, &plain))] {
        let cuts = futures::stream::iter(1..body.len()).map(|cut| {
            let pieces = [&body[..cut], &body[cut..]].map(Bytes::copy_from_slice);
            async move {
                let headers = [FORM, ("content-encoding", coding)];
                let response =
                    rest.stream("/v1/notes:collect", &headers, futures::stream::iter(pieces)).await;
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let told: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(told, json!({"noteId": "2", "size": "12"}), "{coding} cut at {cut}");
            }
        });
        cuts.buffer_unordered(16).collect::<()>().await;
    }
}
