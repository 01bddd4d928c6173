//! D1 to D3: bodies that are small to send and large to read. Each is refused, soon, and costs the edge no memory to speak of.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::World;
use e2e::foreign::v1::EchoRequest;
use e2e::foreign::v1::echo_service_client::EchoServiceClient;
use e2e::grpc::{calling, channel};
use http::Method;
use http_body_util::Full;
use tonic::Code;
use tonic::codec::CompressionEncoding;

use super::withstands;

crate::tests![
    d1_json_that_is_deep_wide_or_wrong_is_refused,
    d1_json_keeps_one_meaning,
    d2_a_bomb_is_refused_at_the_limit_of_what_it_unpacks_to,
    d2_a_bomb_by_grpc_is_refused,
    d3_messages_without_a_bottom_are_refused,
];

/// How long a refusal may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

async fn post(world: &World, coding: Option<&str>, body: impl Into<Bytes>) -> Result<e2e::Answer, String> {
    let mut request = world.rest.request(Method::POST, "/v1/echo").header("content-type", "application/json");
    if let Some(coding) = coding {
        request = request.header("content-encoding", coding);
    }
    world.rest.try_send(request.body(Full::new(body.into())).unwrap()).await
}

async fn d1_json_that_is_deep_wide_or_wrong_is_refused(world: Arc<World>) {
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    let field = |value: &str| format!("{{\"text\":{value}}}");
    let bodies = [
        ("arrays in arrays", nested("[", "]")),
        ("arrays in a field", field(&nested("[", "]"))),
        ("objects in objects", nested("{\"text\":", "}")),
        ("arrays that never end", "[".repeat(1_000_000)),
        ("a million elements", field(&format!("[{}1]", "1,".repeat(1_000_000)))),
        ("a million members", format!("{{{}\"text\":\"\"}}", "\"a\":1,".repeat(600_000))),
        ("a string of 10 MiB", field(&format!("\"{}\"", "x".repeat(10 << 20)))),
        ("a number of a million digits", format!("{{\"delayMs\":{}}}", "9".repeat(1_000_000))),
        ("1e400", "{\"delayMs\":1e400}".to_owned()),
        ("1e999999999", "{\"delayMs\":1e999999999}".to_owned()),
        ("NaN", "{\"delayMs\":NaN}".to_owned()),
        ("minus infinity", "{\"delayMs\":-Infinity}".to_owned()),
        ("a field twice", "{\"text\":\"a\",\"text\":\"b\"}".to_owned()),
        ("a field by both its names", "{\"delayMs\":1,\"delay_ms\":2}".to_owned()),
        ("a lone high surrogate", field("\"\\ud800\"")),
        ("a lone low surrogate", field("\"\\udc00x\"")),
        ("two high surrogates", field("\"\\ud800\\ud800\"")),
        ("a raw NUL in a string", field("\"a\0b\"")),
        ("a raw NUL behind", "{}\0".to_owned()),
        ("a byte order mark", "\u{feff}{}".to_owned()),
        ("a comment", "{}//".to_owned()),
        ("a trailing comma", "{\"text\":\"a\",}".to_owned()),
        ("UTF-16", "{\0}\0".to_owned()),
    ];
    let mut wrong = Vec::new();
    for (name, body) in bodies {
        let began = Instant::now();
        // An edge that has seen enough may also close on whoever goes on sending.
        if let Ok(answer) = withstands(&world, post(&world, None, body)).await
            && !matches!(answer.status.as_u16(), 400 | 413)
        {
            wrong.push(format!("{name}: {}", answer.status));
        }
        if began.elapsed() > SOON {
            wrong.push(format!("{name}: {:?}", began.elapsed()));
        }
    }
    for (name, bytes) in [
        ("an overlong slash", &b"{\"text\":\"\xc0\xaf\"}"[..]),
        ("a surrogate in UTF-8", b"{\"text\":\"\xed\xa0\x80\"}"),
        ("half a character", b"{\"text\":\"\xe2\x82\"}"),
        ("beyond the last character", b"{\"text\":\"\xf4\x90\x80\x80\"}"),
    ] {
        let answer = post(&world, None, bytes).await.unwrap();
        if answer.status != 400 {
            wrong.push(format!("{name}: {}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn d1_json_keeps_one_meaning(world: Arc<World>) {
    for (body, text) in
        [(r#"{"text":"\u0000\ud83d\ude00"}"#, "\0\u{1f600}"), ("{\"text\":\"\u{202e}\"}", "\u{202e}")]
    {
        assert_eq!(post(&world, None, body).await.unwrap().ok()["text"], text, "{body}");
    }
    // Where a store could not keep it, it is refused and not cut short.
    let customer = world.customer().await;
    let account = world.account(&customer, "EUR", 100).await;
    let other = world.account(&customer, "EUR", 0).await;
    let mut body = e2e::world::transfer(&account, &other, "EUR", 1, false);
    body["reference"] = "a\0b".into();
    let answer = world.rest.post(&customer.token, "/v1/transfers", &e2e::world::unique("nul"), &body).await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

/// What unpacks to `bytes` spaces around an empty object.
fn bomb(coding: &str, bytes: usize) -> Vec<u8> {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    let piece = vec![b' '; 1 << 20];
    let fill = |to: &mut dyn std::io::Write| (0..bytes >> 20).for_each(|_| to.write_all(&piece).unwrap());
    let best = Compression::best();
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), best);
            fill(&mut encoder);
            encoder.finish().unwrap()
        }
        "raw deflate" => {
            let mut encoder = DeflateEncoder::new(Vec::new(), best);
            fill(&mut encoder);
            encoder.finish().unwrap()
        }
        _ => {
            let mut encoder = ZlibEncoder::new(Vec::new(), best);
            fill(&mut encoder);
            encoder.finish().unwrap()
        }
    }
}

async fn d2_a_bomb_is_refused_at_the_limit_of_what_it_unpacks_to(world: Arc<World>) {
    for coding in ["gzip", "deflate"] {
        let small = bomb(coding, 256 << 20);
        assert!(small.len() < 1 << 20, "{coding}: {} bytes", small.len());
        let attacks = (0..8).map(|_| post(&world, Some(coding), small.clone()));
        for answer in withstands(&world, futures::future::join_all(attacks)).await.into_iter().flatten() {
            answer.refused(413, "RESOURCE_EXHAUSTED", "BODY_TOO_LARGE");
        }
    }
    // A coding within a coding is a bomb of a thousand times a thousand.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&bomb("gzip", 256 << 20)).unwrap();
    let twice = encoder.finish().unwrap();
    let answer = post(&world, Some("gzip, gzip"), twice).await.unwrap();
    assert_eq!(answer.status, 415, "{answer:?}");
}

async fn d2_a_bomb_by_grpc_is_refused(world: Arc<World>) {
    let authority = &world.mesh.pki().server_authority.certificate;
    let channel = channel(world.mesh.ports().public, "localhost", authority, None);
    let bomb = || EchoRequest { payload: Bytes::from(vec![0; 256 << 20]), ..Default::default() };
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = EchoServiceClient::new(calling(channel.clone(), None)).send_compressed(encoding);
        let refused = withstands(&world, client.echo(bomb())).await.unwrap_err();
        let known = [Code::ResourceExhausted, Code::OutOfRange, Code::Unimplemented];
        assert!(known.contains(&refused.code()), "{encoding:?}: {refused}");
    }
    let mut plain = EchoServiceClient::new(calling(channel, None));
    let refused = withstands(&world, plain.echo(bomb())).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
}

async fn d3_messages_without_a_bottom_are_refused(world: Arc<World>) {
    let token = world.staff();
    let groups = [vec![0x0b; 100_000], vec![0x0c; 100_000]].concat();
    let open = vec![0x0b; 100_000];
    // A field that is a message in a message in a message; each level names the length of the rest.
    let mut nested = Vec::new();
    for _ in 0..2_000 {
        let mut outer = vec![0x1a];
        let mut length = nested.len();
        while length >= 128 {
            outer.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        outer.push(u8::try_from(length).unwrap());
        outer.extend_from_slice(&nested);
        nested = outer;
    }
    for (name, message) in [
        ("groups", groups),
        ("groups that never end", open),
        ("messages", nested),
        ("a length beyond the end", vec![0x0a, 0xff, 0xff, 0xff, 0x7f]),
    ] {
        let frame = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat();
        for path in [
            "/ledger.v1.LedgerService/CreateTransfer",
            "/docs.v1.DocsService/CreateDocument",
            "/accounts.v1.AccountsService/OpenAccount",
        ] {
            let request = world
                .rest2
                .request(Method::POST, path)
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            let answer =
                withstands(&world, world.rest2.send(request.body(frame.clone().into()).unwrap())).await;
            // A status without a message stands in the header.
            let code = answer.headers.get("grpc-status").map(|code| code.to_str().unwrap().to_owned());
            assert!(code.as_deref() == Some("3"), "{name} at {path}: {answer:?}");
        }
    }
}
