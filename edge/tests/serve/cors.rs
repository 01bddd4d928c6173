//! Pages of other origins: what their browsers are told, by REST and gRPC-Web.

use http::Method;

use crate::client::{Http, Reply, Rest};
use crate::world::World;

const APP: &str = "https://app.example";
const GET_NOTE: &str = "/echo.v1.EchoService/GetNote";
const WEB: (&str, &str) = ("content-type", "application/grpc-web+proto");

async fn world() -> World {
    World::with(|config| {
        format!(
            "{config}\n[[cors]]\norigins = [\"{APP}\", \"https://*.partner.example\"]\n\
             [[cors]]\norigins = [\"https://intranet.example\"]\nmethods = [\"GET\"]\ncredentials = true\nprivate_network = true"
        )
    })
    .await
}

async fn preflight(rest: &Rest, path: &str, origin: &str, verb: &str, more: &[(&str, &str)]) -> Reply {
    let mut headers = vec![
        ("origin", origin),
        ("access-control-request-method", verb),
        ("access-control-request-headers", "authorization"),
    ];
    headers.extend(more);
    rest.send(Method::OPTIONS, path, &headers, "").await
}

fn words_of_cors(reply: &Reply) -> Vec<&str> {
    reply
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("access-control-"))
        .collect()
}

/// Without a token: browsers ask before they send one.
#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_from_the_route_table() {
    let world = world().await;
    for http in [Http::One, Http::Two] {
        let rest = Rest::new(&world, http, None);
        for (path, verbs) in [
            ("/v1/notes/n-1", "GET, HEAD, OPTIONS"),
            ("/v1/notes", "OPTIONS, POST"),
            ("/v1/files/f", "GET, HEAD, OPTIONS, PUT"),
            (GET_NOTE, "POST"),
            ("/openapi.json", "GET, HEAD, OPTIONS"),
        ] {
            let reply = preflight(&rest, path, APP, "POST", &[]).await;
            assert_eq!(
                (reply.status.as_u16(), reply.header("access-control-allow-methods")),
                (204, verbs),
                "{path}"
            );
            assert_eq!(reply.header("access-control-allow-origin"), APP);
            assert_eq!(reply.header("access-control-allow-credentials"), "");
            assert_eq!(reply.header("access-control-max-age"), "600");
            let headers = reply.header("access-control-allow-headers");
            assert!(headers.contains("authorization") && headers.contains("x-grpc-web"), "{headers}");
            assert!(reply.header("vary").contains("access-control-request-method"), "{reply:?}");
            assert_eq!(reply.header("x-content-type-options"), "nosniff");
        }
        let unknown = preflight(&rest, "/v2/nothing", APP, "GET", &[]).await;
        assert_eq!((unknown.status.as_u16(), unknown.reason().as_str()), (404, "UNKNOWN_PATH"));

        // What is open to other origins may be less than what is routed.
        let intranet = preflight(&rest, "/v1/files/f", "https://intranet.example", "GET", &[]).await;
        assert_eq!(intranet.header("access-control-allow-methods"), "GET");
        assert_eq!(intranet.header("access-control-allow-credentials"), "true");

        // A page that the public network served wants into a private one.
        let private = [("access-control-request-private-network", "true")];
        let refused = preflight(&rest, "/v1/notes", APP, "POST", &private).await;
        assert_eq!(refused.header("access-control-allow-methods"), "", "{refused:?}");
        assert_eq!(refused.header("access-control-allow-private-network"), "", "{refused:?}");
        let allowed = preflight(&rest, "/v1/notes/n-1", "https://intranet.example", "GET", &private).await;
        assert_eq!(allowed.header("access-control-allow-private-network"), "true", "{allowed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_refusals_can_be_read_by_pages_of_granted_origins_only() {
    let world = world().await;
    for http in [Http::One, Http::Two] {
        for token in [Some(world.token()), None] {
            let rest = Rest::new(&world, http, token);
            for origin in [APP, "https://a.partner.example"] {
                let replies = [
                    rest.send(Method::GET, "/v1/notes/n-1", &[("origin", origin)], "").await,
                    rest.send(Method::GET, "/v1/notes:watch?count=2", &[("origin", origin)], "").await,
                    rest.send(Method::GET, "/v2/nothing", &[("origin", origin)], "").await,
                    rest.send(Method::POST, GET_NOTE, &[WEB, ("origin", origin)], vec![0; 5]).await,
                ];
                for reply in replies {
                    assert_eq!(reply.header("access-control-allow-origin"), origin, "{reply:?}");
                    let expose = reply.header("access-control-expose-headers");
                    assert!(expose.contains("grpc-status,") && expose.contains("etag,"), "{expose}");
                    assert_eq!(reply.header("vary"), "origin");
                }
            }
            for origin in
                ["https://evil.test", "https://a.b.partner.example", "null", "https://app.example.evil.test"]
            {
                let reply = rest.send(Method::GET, "/v1/whoami", &[("origin", origin)], "").await;
                assert_eq!(
                    (reply.status.as_u16(), reply.header("vary")),
                    (200, "origin"),
                    "it is the browser that keeps it"
                );
                assert!(words_of_cors(&reply).is_empty(), "{origin}: {reply:?}");
                let reply = preflight(&rest, "/v1/notes", origin, "POST", &[]).await;
                assert!(words_of_cors(&reply).is_empty(), "{origin}: {reply:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_configured_no_other_origin_hears_a_word() {
    let world = World::new().await;
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    let reply = rest.send(Method::GET, "/v1/notes/n-1", &[("origin", APP)], "").await;
    assert!(words_of_cors(&reply).is_empty() && !reply.headers.contains_key("vary"), "{reply:?}");
    let reply = preflight(&rest, "/v1/notes", APP, "POST", &[]).await;
    assert!(words_of_cors(&reply).is_empty(), "{reply:?}");
    assert_eq!(reply.header("allow"), "OPTIONS, POST", "an OPTIONS like any other: {reply:?}");
}
