//! What the edges share: buckets and revocations, seen through two replicas of the service.
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chassis::outbox::Bell;
use chassis::{Drain, Metrics};
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::BoxStream;
use prost::Message as _;
use proto::edge::v1 as pb;
use proto::edge::v1::rate_limit_service_server::RateLimitService as _;
use proto::edge::v1::revocation_service_server::RevocationService as _;
use svc_cache::domain::{BucketKey, BucketLimit, Revocation, Take, Taken};
use svc_cache::rpc::{Pace, RateLimitRpc, RevocationRpc};
use svc_cache::store::Store;
use tonic::{Code, Status};

use crate::world::{Fixture, request};

const EDGE: Option<&str> = Some("edge");

impl Fixture {
    /// Another replica of the service, on the same Redis.
    fn replica(&self) -> Store {
        Store::open(&self.redis.config()).unwrap().0
    }
}

fn take(key: &str, tokens: i64, limit: BucketLimit) -> Take {
    Take::new(BucketKey::parse(key).unwrap(), tokens, limit).unwrap()
}

/// So many a minute, and as many at once.
fn minutely(tokens: i64) -> BucketLimit {
    BucketLimit::new(tokens, Duration::from_secs(60), tokens)
}

async fn one(store: &Store, key: &str, tokens: i64, limit: BucketLimit) -> Taken {
    store.take(&[take(key, tokens, limit)]).await.unwrap()[0]
}

#[tokio::test]
async fn e11_two_replicas_count_in_one_bucket() {
    let cache = Fixture::start().await;
    let (first, second) = (&cache.store, &cache.replica());
    // All at once, each with one token: the bucket gives what it holds and not one more.
    let takes = (0..40).map(|n| one(if n % 2 == 0 { first } else { second }, "k", 1, minutely(30)));
    let taken = join_all(takes).await;
    assert_eq!(taken.iter().filter(|taken| taken.allowed).count(), 30);
    let refused = one(second, "k", 1, minutely(30)).await;
    assert!(!refused.allowed && refused.remaining == 0, "{refused:?}");
    // A token comes every two seconds, the last of thirty after a minute.
    assert!((1_000..=2_000).contains(&refused.retry_after.as_millis()), "{refused:?}");
    assert!((55..=60).contains(&refused.reset_after.as_secs()), "{refused:?}");
}

#[tokio::test]
async fn a_bucket_gives_what_it_holds_and_fills_evenly() {
    let cache = Fixture::start().await;
    let store = &cache.store;

    // Several buckets at once, each for itself; one that refuses takes nothing.
    let takes = [take("a", 10, minutely(10)), take("b", 4, minutely(10)), take("c", 1, minutely(10))];
    let all = store.take(&takes).await.unwrap();
    assert_eq!(all.iter().map(|taken| taken.remaining).collect::<Vec<_>>(), [0, 6, 9]);
    let again = store.take(&takes).await.unwrap();
    assert_eq!(again.iter().map(|taken| taken.allowed).collect::<Vec<_>>(), [false, true, true]);
    let large = one(store, "b", 3, minutely(10)).await;
    assert!(!large.allowed && large.remaining == 2, "{large:?}");
    assert!(large.retry_after > Duration::from_secs(5) && large.retry_after <= Duration::from_secs(6));
    assert!(one(store, "b", 2, minutely(10)).await.allowed, "the refused take took nothing");

    // It is as the last word on it says: a bucket of a minute does not stay closed for one of a second.
    let quick = BucketLimit::new(5, Duration::from_millis(250), 5);
    let refused = one(store, "a", 1, quick).await;
    assert!(!refused.allowed && refused.retry_after <= Duration::from_millis(50), "{refused:?}");
    let begun = Instant::now();
    while !one(store, "a", 5, quick).await.allowed {
        assert!(begun.elapsed() < Duration::from_secs(5), "the bucket never filled");
    }
    assert!(begun.elapsed() >= Duration::from_millis(150), "it filled in {:?}", begun.elapsed());
}

#[tokio::test]
async fn e10_a_key_is_bytes_and_shapes_nothing() {
    let cache = Fixture::start().await;
    for odd in ["{revocations}:last", "}", "*", "a b\r\nSET x y", "\0", "ключ", "'; return 1 --"] {
        assert!(one(&cache.store, odd, 1, minutely(1)).await.allowed, "{odd:?}");
        assert!(!one(&cache.store, odd, 1, minutely(1)).await.allowed, "{odd:?}");
    }
}

#[tokio::test]
async fn only_the_edge_takes() {
    let mut cache = Fixture::start().await;
    let metrics = Metrics::default();
    let rpc = RateLimitRpc::new(cache.store.clone(), &metrics);
    let bucket = pb::BucketTake {
        key: "k".into(),
        tokens: 1,
        limit: Some(pb::BucketLimit {
            tokens_per_period: 1,
            period: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            burst: 1,
        }),
    };
    let asked = || pb::TakeRequest { takes: vec![bucket.clone()] };
    for stranger in [None, Some("svc-docs"), Some("edge2")] {
        let refused = rpc.take(request(asked(), stranger)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{stranger:?}");
    }
    let invalid = rpc.take(request(pb::TakeRequest { takes: vec![] }, EDGE)).await.unwrap_err();
    assert_eq!(invalid.code(), Code::InvalidArgument);
    let taken = rpc.take(request(asked(), EDGE)).await.unwrap().into_inner().taken;
    assert!(taken[0].allowed && taken[0].retry_after == Some(prost_types::Duration::default()));
    let taken = rpc.take(request(asked(), EDGE)).await.unwrap().into_inner().taken;
    assert!(!taken[0].allowed && taken[0].retry_after.unwrap().seconds >= 50);
    let page = metrics.render().unwrap();
    assert!(page.contains("cache_bucket_takes_total{outcome=\"refused\"} 1"), "{page}");

    cache.redis.stop();
    let away = rpc.take(request(asked(), EDGE)).await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable);
}

/// Of what the store does not read.
const EVENT: &[u8] = b"an event";

/// Looks often, so that no test waits for it.
const PACE: Pace = Pace { look: Duration::from_millis(5), keep_alive: Duration::from_secs(60) };

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn revocation(token_id: &str, lives_ms: u64) -> Revocation {
    Revocation { issuer: "https://issuer".into(), token_id: token_id.into(), expires_ms: now_ms() + lives_ms }
}

type Messages = BoxStream<'static, Result<pb::WatchResponse, Status>>;

async fn watch(store: Store, drain: &Drain, pace: Pace) -> Messages {
    let rpc = RevocationRpc::new(store, Bell::default(), drain.clone(), pace);
    rpc.watch(request(pb::WatchRequest {}, EDGE)).await.unwrap().into_inner()
}

async fn next(messages: &mut Messages) -> Option<Result<pb::WatchResponse, Status>> {
    tokio::time::timeout(Duration::from_secs(10), messages.next()).await.unwrap()
}

/// The ids a message tells.
fn ids(message: &pb::WatchResponse) -> BTreeSet<&str> {
    message.revocations.iter().map(|revocation| &*revocation.token_id).collect()
}

#[tokio::test]
async fn what_one_replica_revokes_all_watches_are_told() {
    let cache = Fixture::start().await;
    let (here, there) = (&cache.store, cache.replica());
    let rpc = RevocationRpc::new(here.clone(), Bell::default(), cache.drain.clone(), PACE);
    let seconds = i64::try_from(now_ms() / 1000).unwrap() + 60;
    let revoke = pb::RevokeRequest {
        issuer: "https://issuer".into(),
        token_id: "first".into(),
        expire_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
    };
    rpc.revoke(request(revoke.clone(), None)).await.unwrap();
    assert!(!here.revoke(&revocation("gone", 0), EVENT).await.unwrap(), "what has expired is no news");

    let mut messages = watch(there, &cache.drain, PACE).await;
    let message = next(&mut messages).await.unwrap().unwrap();
    assert!(message.complete && ids(&message) == ["first"].into(), "{message:?}");
    assert_eq!(message.revocations[0].expire_time, revoke.expire_time);

    // Again is no news, a shorter life neither, a longer one is.
    rpc.revoke(request(revoke, None)).await.unwrap();
    assert!(!here.revoke(&revocation("first", 1_000), EVENT).await.unwrap());
    assert!(here.revoke(&revocation("first", 120_000), EVENT).await.unwrap());
    let message = next(&mut messages).await.unwrap().unwrap();
    assert!(message.complete && ids(&message) == ["first"].into(), "{message:?}");
    assert!(message.revocations[0].expire_time.unwrap().seconds > seconds);

    for stranger in [None, Some("svc-docs")] {
        let refused = rpc.watch(request(pb::WatchRequest {}, stranger)).await.err().unwrap();
        assert_eq!(refused.code(), Code::PermissionDenied, "{stranger:?}");
    }
    let empty = rpc.revoke(request(pb::RevokeRequest::default(), None)).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);

    // Told to stop, a watch ends and says nothing: whoever watches goes to another replica.
    cache.drain.stop();
    assert!(next(&mut messages).await.is_none());
}

/// Several pages are there when the watch begins, and more come while it reads.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_between_what_was_and_what_comes() {
    let cache = Fixture::start().await;
    let (here, there) = (cache.store.clone(), cache.replica());
    for n in 0..1_200 {
        here.revoke(&revocation(&format!("{n}"), 60_000), EVENT).await.unwrap();
    }
    let writes = async {
        for n in 1_200..1_600 {
            here.revoke(&revocation(&format!("{n}"), 60_000), EVENT).await.unwrap();
        }
    };
    let reads = async {
        let mut messages = watch(there, &cache.drain, PACE).await;
        let (mut told, mut complete_at) = (BTreeMap::new(), None);
        while told.len() < 1_600 {
            let message = next(&mut messages).await.unwrap().unwrap();
            assert!(message.revocations.len() <= 500, "a message is bounded");
            for revocation in &message.revocations {
                *told.entry(revocation.token_id.clone()).or_insert(0) += 1;
            }
            if message.complete && complete_at.is_none() {
                complete_at = Some(told.len());
            }
        }
        (told, complete_at)
    };
    let ((told, complete_at), ()) = tokio::join!(reads, writes);
    assert!(told.values().all(|times| *times == 1), "nothing is told twice");
    assert!(complete_at.unwrap() >= 1_200, "complete means that all of it was told: {complete_at:?}");
}

#[tokio::test]
async fn a_watch_shows_that_it_lives_and_ends_with_redis() {
    let mut cache = Fixture::start().await;
    let pace = Pace { keep_alive: Duration::from_millis(40), ..PACE };
    let mut messages = watch(cache.store.clone(), &cache.drain, pace).await;
    for _ in 0..3 {
        let message = next(&mut messages).await.unwrap().unwrap();
        assert!(message.complete && message.revocations.is_empty(), "{message:?}");
    }
    cache.redis.stop();
    loop {
        match next(&mut messages).await.unwrap() {
            Ok(_) => (),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable);
                break;
            }
        }
    }
    assert!(next(&mut messages).await.is_none());
}

#[tokio::test]
async fn a_revoked_token_is_forgotten_when_it_has_expired() {
    let cache = Fixture::start().await;
    cache.store.revoke(&revocation("short", 50), EVENT).await.unwrap();
    cache.store.revoke(&revocation("long", 60_000), EVENT).await.unwrap();
    let begun = Instant::now();
    while cache.store.revoked_after(0).await.unwrap().revocations.len() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    let left = cache.store.revoked_after(0).await.unwrap();
    assert_eq!(left.revocations[0].token_id, "long");
    assert_eq!(cache.store.revoked_after(left.place).await.unwrap().revocations, []);
}

#[tokio::test]
async fn a_revocation_leaves_its_event_and_so_does_a_refusal() {
    let mut cache = Fixture::start().await;
    let rpc = RevocationRpc::new(cache.store.clone(), Bell::default(), cache.drain.clone(), PACE);
    let seconds = i64::try_from(now_ms() / 1000).unwrap() + 60;
    let revoke = |token_id: &str| pb::RevokeRequest {
        issuer: "https://issuer".into(),
        token_id: token_id.into(),
        expire_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
    };
    for token_id in ["first", "first", "second"] {
        rpc.revoke(request(revoke(token_id), None)).await.unwrap();
    }
    rpc.revoke(request(revoke(""), None)).await.unwrap_err();

    let lying = cache.store.events(10).await.unwrap();
    let events: Vec<_> = lying.iter().map(|event| pb::AuditEvent::decode(&**event).unwrap()).collect();
    let told: Vec<_> =
        events.iter().map(|event| (event.outcome(), &*event.reason, &*event.resource)).collect();
    let (done, refused) = (pb::AuditOutcome::Done, pb::AuditOutcome::Refused);
    // The second of two alike changed nothing, and leaves nothing.
    assert_eq!(
        told,
        [(done, "", "tokens/first"), (done, "", "tokens/second"), (refused, "INVALID_REQUEST", "")]
    );
    assert!(events.iter().all(|event| event.rpc == "edge.v1.RevocationService/Revoke"
        && event.transaction_id == "t"
        && event.event_id.len() == 36
        && event.principal.as_ref().unwrap().kind() == pb::PrincipalKind::Service));
    assert_eq!(cache.store.events(1).await.unwrap(), lying[..1], "the oldest first");
    cache.store.forget(&lying[..2]).await.unwrap();
    assert_eq!(cache.store.events(10).await.unwrap(), lying[2..]);

    cache.redis.stop();
    let away = rpc.revoke(request(revoke("third"), None)).await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable);
}
