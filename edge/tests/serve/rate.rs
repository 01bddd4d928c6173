//! Rate limits at the door: how a refusal reads, whom it is counted against, and two edges that count together.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use proto::edge::v1::rate_limit_service_server::RateLimitServiceServer;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::buckets::SharedBuckets;
use crate::client::{Grpc, Http, Reply, Rest};
use crate::messages::*;
use crate::world::World;

const HELLO: &str = "/v1/hello/ann";

/// An edge whose class of reads has these quotas, and some more keys.
async fn limited(quotas: &str, keys: &str) -> World {
    let limits = format!("[rate_limits]\n{keys}\n[rate_limits.read]\n{quotas}\n[limits]");
    World::with(|config| config.replacen("[limits]", &limits, 1)).await
}

fn check_refused(reply: &Reply, limit: &str, scope: &str) {
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{reply:?}");
    assert_eq!(reply.reason(), "RATE_LIMITED");
    let details = reply.json()["error"]["details"].clone();
    let detail = |name: &str| {
        let kind = format!("type.googleapis.com/google.rpc.{name}");
        details.as_array().unwrap().iter().find(|detail| detail["@type"] == *kind).unwrap().clone()
    };
    let metadata = detail("ErrorInfo")["metadata"].clone();
    assert_eq!((metadata["limit"].as_str(), metadata["scope"].as_str()), (Some(limit), Some(scope)));
    assert_eq!(detail("QuotaFailure")["violations"][0]["subject"], limit);
    assert!(detail("RetryInfo")["retryDelay"].is_string());
    let after: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=3_600).contains(&after), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_quota_reads_the_same_by_every_door() {
    let world = limited("subject = { requests = 4, window_s = 3600 }", "").await;
    for (http, who) in [(Http::One, "ann"), (Http::Two, "bob")] {
        let rest = Rest::new(&world, http, Some(world.token_of(who, "notes.read notes.write", 600)));
        let good = rest.get("/v1/notes/n-1").await;
        assert_eq!(good.status, StatusCode::OK);
        assert_eq!(good.header("ratelimit-policy"), "\"read\";q=4;w=3600");
        assert_eq!(good.header("ratelimit"), "\"read\";r=3;t=900");
        // What a service refuses was counted and says so, and what the edge refuses after it had counted too.
        let missing = rest.get("/v1/notes/missing").await;
        assert_eq!(
            (missing.status, missing.header("ratelimit")),
            (StatusCode::NOT_FOUND, "\"read\";r=2;t=1800")
        );
        let invalid = rest.get("/v1/notes/n-1?what=1").await;
        assert_eq!(
            (invalid.status, invalid.header("ratelimit")),
            (StatusCode::BAD_REQUEST, "\"read\";r=1;t=2700")
        );
        let stream = rest.get("/v1/notes:watch?count=1").await;
        assert_eq!((stream.status, stream.header("ratelimit")), (StatusCode::OK, "\"read\";r=0;t=3600"));
        let refused = rest.get("/v1/notes/n-1").await;
        check_refused(&refused, "rate:read:subject", "local");
        assert_eq!(refused.header("ratelimit"), "\"read\";r=0;t=900");
        assert_eq!(refused.header("ratelimit-policy"), "\"read\";q=4;w=3600");
        assert_eq!(refused.header("retry-after"), "900");
        // What has no method has no class, and no bucket.
        assert_eq!(rest.get("/v2/nothing").await.header("ratelimit"), "");
        let page = world.process.metrics.render().unwrap();
        assert!(page.contains("edge_rate_refused_total{class=\"read\",principal=\"subject\""), "{page}");
    }
    let grpc = Grpc::new(&world, Some(world.token_of("bob", "notes.read", 600)));
    let asked = GetNoteRequest { note_id: "n-1".into() };
    let refused = grpc.unary::<_, Note>("/echo.v1.EchoService/GetNote", asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "RATE_LIMITED");
    assert_eq!(details.quota_failure().unwrap().violations[0].subject, "rate:read:subject");
    assert!(details.retry_info().unwrap().retry_delay.unwrap().as_secs() > 800);
    assert_eq!(refused.metadata().get("ratelimit").unwrap(), "\"read\";r=0;t=900");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fields_can_be_left_out_and_no_limit_has_none() {
    let world = limited("subject = { requests = 1, window_s = 60 }", "fields = false").await;
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let reply = rest.get("/v1/notes/n-1").await;
        assert_eq!((reply.status, reply.header("ratelimit")), (status, ""), "{reply:?}");
    }
    let world = limited("subject = { requests = 0, window_s = 0 }", "").await;
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    assert_eq!(rest.get("/v1/notes/n-1").await.header("ratelimit-policy"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn e11_x_forwarded_for_opens_no_other_bucket() {
    let world = limited("anonymous = { requests = 3, window_s = 3600 }", "").await;
    let rest = Rest::new(&world, Http::One, None);
    let hello = async |address: &str| {
        let headers = [("x-forwarded-for", address), ("x-real-ip", address), ("forwarded", "for=192.0.2.60")];
        rest.send(Method::GET, HELLO, &headers, "").await
    };
    for n in 0..3 {
        assert_eq!(hello(&format!("198.51.100.{n}")).await.status, StatusCode::OK);
    }
    check_refused(&hello("198.51.100.77").await, "rate:read:anonymous", "local");
}

#[tokio::test(flavor = "multi_thread")]
async fn e11_behind_a_trusted_proxy_clients_are_told_apart_and_networks_are_one() {
    let quota = "anonymous = { requests = 2, window_s = 3600 }";
    let world = limited(quota, "trusted_proxies = [\"127.0.0.0/8\", \"::1/128\"]").await;
    let rest = Rest::new(&world, Http::One, None);
    let hello = async |addresses: &str| {
        rest.send(Method::GET, HELLO, &[("x-forwarded-for", addresses)], "").await.status
    };
    let (ok, refused) = (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS);
    for (addresses, expect) in [
        ("198.51.100.1", ok),
        ("198.51.100.1", ok),
        ("198.51.100.1", refused),
        ("198.51.100.2", ok),
        // What stands before the last that no proxy of ours wrote is the client's invention.
        ("203.0.113.9, 198.51.100.1", refused),
        ("203.0.113.9, 198.51.100.1, 127.0.0.1", refused),
        ("2001:db8:1:2::1", ok),
        ("2001:db8:1:2::2", ok),
        ("2001:db8:1:2:aaaa:bbbb:cccc:dddd", refused),
        ("2001:db8:1:3::1", ok),
    ] {
        assert_eq!(hello(addresses).await, expect, "{addresses}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_at_tokens_has_a_limit_and_a_good_one_is_not_concerned() {
    let world = limited("anonymous = { requests = 3, window_s = 3600 }", "").await;
    let guess =
        async |token: &str| Rest::new(&world, Http::One, Some(token.to_owned())).get("/v1/notes/n-1").await;
    let good = Rest::new(&world, Http::One, Some(world.token()));
    for n in 0..3 {
        let reply = guess(&format!("a.b.{n}")).await;
        assert_eq!((reply.status, reply.reason()), (StatusCode::UNAUTHORIZED, "TOKEN_INVALID".to_owned()));
    }
    check_refused(&guess("a.b.c").await, "rate:read:anonymous", "local");
    let none = Rest::new(&world, Http::One, None).get("/v1/notes/n-1").await;
    assert_eq!(none.status, StatusCode::TOO_MANY_REQUESTS, "nor without any token");
    assert_eq!(good.get("/v1/notes/n-1").await.status, StatusCode::OK, "from the same address");
}

/// The provider on a socket.
async fn serve(provider: SharedBuckets, tasks: &mut JoinSet<()>) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(RateLimitServiceServer::new(provider));
    tasks.spawn(async move {
        server.serve_with_incoming(TcpListenerStream::new(socket)).await.unwrap();
    });
    address
}

/// An edge with this provider.
async fn sharing(provider: SocketAddr) -> World {
    let keys = format!(
        "[providers]\nrate_limit = \"limits\"\n[[upstream]]\nname = \"limits\"\naddresses = [\"{provider}\"]\n\
         server_name = \"limits.test\"\ntls = \"off\"\nhealth = false\n[rate_limits]\nreport_ms = 10\n\
         [rate_limits.read]\nsubject = {{ requests = 40, window_s = 3600 }}\n[limits]"
    );
    World::with(|config| config.replacen("[limits]", &keys, 1)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn e11_a_principal_has_one_quota_at_two_edges() {
    let (provider, mut tasks) = (SharedBuckets::new(), JoinSet::new());
    let address = serve(provider.clone(), &mut tasks).await;
    let (here, there) = (sharing(address).await, sharing(address).await);
    let client = |world: &World| Rest::new(world, Http::Two, Some(world.token()));
    let (one, other) = (client(&here), client(&there));

    // The same person has used the quota at one edge, and begins at the other.
    for _ in 0..40 {
        assert_eq!(one.get("/v1/notes/n-1").await.status, StatusCode::OK);
    }
    let told = |tokens: i64| {
        let provider = provider.clone();
        move || {
            provider.told().iter().flat_map(|told| &told.takes).map(|take| take.tokens).sum::<i64>() >= tokens
        }
    };
    here.until("the provider has counted them", told(40)).await;
    let mut admitted = 0;
    let refused = loop {
        let reply = other.get("/v1/notes/n-1").await;
        if reply.status != StatusCode::OK {
            break reply;
        }
        admitted += 1;
        assert!(admitted < 40, "the other edge has never heard of it");
    };
    check_refused(&refused, "rate:read:subject", "shared");
    let stranger = Rest::new(&there, Http::Two, Some(there.token_of("bob", "notes.read", 600)));
    assert_eq!(stranger.get("/v1/notes/n-1").await.status, StatusCode::OK);

    // With the provider away, both go on by their own count.
    provider.set_away(true);
    let carol = Rest::new(&here, Http::Two, Some(here.token_of("carol", "notes.read", 600)));
    for _ in 0..40 {
        assert_eq!(carol.get("/v1/notes/n-1").await.status, StatusCode::OK);
    }
    check_refused(&carol.get("/v1/notes/n-1").await, "rate:read:subject", "local");
    here.until("it is counted that nobody counted them", || {
        here.process.metrics.render().unwrap().contains("edge_rate_reported_total{result=\"lost\"} ")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_quotas_hold_once_they_are_read_and_what_was_taken_stays_taken() {
    let world = limited("subject = { requests = 2, window_s = 3600 }", "").await;
    let rest = Rest::new(&world, Http::Two, Some(world.token()));
    let status = async || rest.get("/v1/notes/n-1").await.status;
    let (ok, refused) = (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!([status().await, status().await, status().await], [ok, ok, refused]);
    world.reconfigure(|text| text.replace("requests = 2,", "requests = 0,")).await;
    assert_eq!(status().await, ok);
    world.reconfigure(|text| text.replace("requests = 0,", "requests = 2,")).await;
    assert_eq!(status().await, refused);
}
