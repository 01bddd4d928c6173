//! What the edges share: the buckets of rate limits, seen through two replicas of the service.
use std::time::{Duration, Instant};

use chassis::Metrics;
use futures::future::join_all;
use proto::edge::v1 as pb;
use proto::edge::v1::rate_limit_service_server::RateLimitService as _;
use svc_cache::domain::{BucketKey, BucketLimit, Take, Taken};
use svc_cache::rpc::RateLimitRpc;
use svc_cache::store::Store;
use tonic::Code;

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
