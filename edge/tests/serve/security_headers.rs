//! What every answer of the public listener tells a browser, whoever writes the answer.

use http::{HeaderMap, HeaderName, Method};

use crate::client::{Grpc, Http, Reply, Rest};
use crate::messages::*;
use crate::wire::exchange;
use crate::world::World;

const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";

/// What all answers have alike.
fn check(what: &str, headers: &HeaderMap) {
    for (name, value) in [
        ("strict-transport-security", "max-age=63072000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{what}: {headers:?}");
    }
    let policies: Vec<_> = headers.get_all("content-security-policy").iter().collect();
    assert_eq!(policies.len(), 1, "{what}: {headers:?}");
    let policy = policies[0].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.ends_with("frame-ancestors 'none'"),
        "{what}: {policy}"
    );
    // Nor does an answer tell who wrote it.
    for name in ["server", "via", "x-powered-by"] {
        assert!(!headers.contains_key(name), "{what}: {headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_public_listener_tells_browsers_what_not_to_do() {
    let world = World::new().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, Some(world.token()));
        let tag = rest.get("/v1/notes/n-7").await.header("etag").to_owned();
        let known = [("if-none-match", tag.as_str())];
        let web = [("content-type", "application/grpc-web+proto")];
        let get = |path: &'static str| rest.get(path);
        // What, cache rule, whether it may have a policy of its own.
        let answers: Vec<(&str, Reply, &str, bool)> = vec![
            ("one answer", get("/v1/whoami").await, "no-store", false),
            ("a version", get("/v1/notes/n-7").await, "private, no-cache", false),
            (
                "not modified",
                rest.send(Method::GET, "/v1/notes/n-7", &known, "").await,
                "private, no-cache",
                false,
            ),
            ("nothing", rest.send(Method::DELETE, "/v1/drafts/n-7", &[], "").await, "no-store", false),
            ("a stream", get("/v1/notes:watch?count=2").await, "no-store", false),
            ("bytes", get("/v1/files/f?bytes=10").await, "no-store", true),
            ("a service's refusal", get("/v1/notes/missing").await, "no-store", false),
            ("an unknown path", get("/v2/nothing").await, "no-store", false),
            ("a malformed path", get("/v1/notes/%zz").await, "no-store", false),
            ("no token", Rest::new(&world, http, None).get("/v1/notes/n-1").await, "no-store", false),
            ("options", rest.send(Method::OPTIONS, "/v1/notes/n-1", &[], "").await, "no-store", false),
            ("the document", get("/openapi.json").await, "no-cache", false),
            ("the page", get("/docs").await, "no-cache", true),
            (
                "gRPC-Web",
                rest.send(Method::POST, "/echo.v1.EchoService/WhoAmI", &web, vec![0; 5]).await,
                "",
                false,
            ),
            (
                "gRPC-Web refused",
                rest.send(Method::POST, "/no.Such/Method", &web, vec![0; 5]).await,
                "",
                false,
            ),
        ];
        for (what, reply, cache, own_policy) in answers {
            check(what, &reply.headers);
            assert_eq!(reply.header("cache-control"), cache, "{what}: {reply:?}");
            let policy = reply.header("content-security-policy");
            assert_eq!(policy == NO_PAGE, !own_policy, "{what}: {policy}");
        }
    }
    // What is no HTTP at all is answered too.
    let unreadable = exchange(&world, "GET /v1/whoami HTTP/1.1\r\nhost: a\r\nx(y): 1\r\n\r\n").await;
    let fields = unreadable.lines().skip(1).take_while(|line| !line.is_empty());
    let fields = fields.map(|line| line.split_once(": ").unwrap());
    let fields = fields.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
    assert!(unreadable.starts_with("HTTP/1.1 400"), "{unreadable}");
    check("no HTTP", &fields.collect());
    let grpc = Grpc::new(&world, Some(world.token()));
    let note =
        grpc.unary::<_, Note>("/echo.v1.EchoService/GetNote", GetNoteRequest { note_id: "n-1".into() });
    let metadata = note.await.unwrap().metadata().clone().into_headers();
    assert!(
        !metadata.contains_key("strict-transport-security"),
        "to gRPC, headers are metadata: {metadata:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_shared_may_leave_hsts_out() {
    let world =
        World::with(|config| config.replacen("[listener.partner]", "hsts = false\n[listener.partner]", 1))
            .await;
    let reply = Rest::new(&world, Http::Two, None).get("/v1/whoami").await;
    assert!(!reply.headers.contains_key("strict-transport-security"), "{reply:?}");
    assert_eq!(reply.header("x-frame-options"), "DENY");
}
