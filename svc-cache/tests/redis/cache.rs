//! Entries, leases and tags.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proto::cache::v1 as pb;
use proto::cache::v1::cache_service_server::CacheService as _;
use svc_cache::domain::{CachedValue, EntryLifetime, Key, LeaseId, LeaseLifetime, Namespace, Tag, Tags};
use svc_cache::rpc::CacheRpc;
use svc_cache::store::{Acquired, Written};
use tonic::Code;

use crate::world::{Fixture, request};

impl Fixture {
    async fn set(&self, k: &str, value: &str, tags: &[&str], lease: Option<&LeaseId>) -> Written {
        let value = CachedValue::parse(value.to_owned().into()).unwrap();
        self.store.set(&namespace(), &key(k), &value, kept(60_000), &tag_set(tags), lease).await.unwrap()
    }

    async fn get(&self, k: &str) -> Option<String> {
        let found = self.store.get(&namespace(), &key(k)).await.unwrap();
        found.map(|found| String::from_utf8(found.value.to_vec()).unwrap())
    }

    async fn acquire(&self, k: &str, id: u128, tags: &[&str]) -> (Acquired, LeaseId) {
        let fresh = LeaseId::new(id);
        let held = LeaseLifetime::parse(Duration::from_secs(30)).unwrap();
        let acquired = self.store.acquire(&namespace(), &key(k), &fresh, held, &tag_set(tags)).await.unwrap();
        (acquired, fresh)
    }

    async fn lease(&self, k: &str, id: u128, tags: &[&str]) -> LeaseId {
        let (acquired, lease) = self.acquire(k, id, tags).await;
        assert_eq!(acquired, Acquired::Granted);
        lease
    }

    async fn invalidate(&self, tags: &[&str]) -> u64 {
        self.store.invalidate(&namespace(), &tag_set(tags)).await.unwrap()
    }
}

fn namespace() -> Namespace {
    Namespace::of("svc-accounts").unwrap()
}

fn key(key: &str) -> Key {
    Key::parse(key.to_owned()).unwrap()
}

fn tag_set(tags: &[&str]) -> Tags {
    Tags::collect(tags.iter().map(|tag| Tag::parse((*tag).to_owned()).unwrap()).collect()).unwrap()
}

fn kept(ms: u64) -> EntryLifetime {
    EntryLifetime::parse(Duration::from_millis(ms)).unwrap()
}

#[tokio::test]
async fn leases_and_tags_keep_old_values_out() {
    let cache = Fixture::start().await;

    // Single flight: one computes, the others wait, and what was computed is there for them.
    let lease = cache.lease("a", 1, &["t"]).await;
    assert!(
        matches!(cache.acquire("a", 2, &["t"]).await.0, Acquired::Wait(wait) if wait > Duration::from_secs(20))
    );
    assert_eq!(cache.set("a", "v1", &["t"], Some(&lease)).await, Written::Done);
    assert_eq!(cache.acquire("a", 3, &["t"]).await.0, Acquired::Wait(Duration::ZERO));
    assert_eq!(
        cache.set("a", "again", &["t"], Some(&lease)).await,
        Written::LeaseLost,
        "a lease is for one write"
    );

    // An invalidation removes the entry, and what was read before it stays out.
    assert_eq!(cache.invalidate(&["t"]).await, 1);
    assert_eq!(cache.get("a").await, None);
    let reader = cache.lease("a", 4, &["t", "u"]).await;
    assert_eq!(cache.invalidate(&["u"]).await, 0, "a lease is no entry");
    let second = cache.lease("a", 5, &["t"]).await;
    assert_eq!(cache.set("a", "old", &["t"], Some(&reader)).await, Written::LeaseLost);
    assert_eq!(cache.set("a", "new", &["t"], Some(&second)).await, Written::Done);
    assert_eq!(cache.get("a").await.as_deref(), Some("new"));

    // So does a deletion, and a write without a lease.
    for k in ["b", "c"] {
        let lease = cache.lease(k, 6, &[]).await;
        match k {
            "b" => assert!(!cache.store.delete(&namespace(), &key(k)).await.unwrap()),
            _ => assert_eq!(cache.set(k, "direct", &[], None).await, Written::Done),
        }
        assert_eq!(cache.set(k, "old", &[], Some(&lease)).await, Written::LeaseLost, "{k}");
    }

    // A lease writes no tag that it was not taken for, and lives on after the refusal.
    let lease = cache.lease("d", 7, &["t"]).await;
    assert_eq!(cache.set("d", "v", &["t", "x"], Some(&lease)).await, Written::TagNotCovered(1));
    assert_eq!(cache.set("d", "v", &["t"], Some(&lease)).await, Written::Done);
    assert_eq!(cache.set("d", "v", &["t"], Some(&LeaseId::new(99))).await, Written::LeaseLost, "invented");

    // An entry written with other tags leaves the old ones.
    cache.set("e", "1", &["old"], None).await;
    cache.set("e", "2", &["new"], None).await;
    assert_eq!(cache.invalidate(&["old"]).await, 0);
    assert_eq!(cache.get("e").await.as_deref(), Some("2"));
    assert_eq!(cache.invalidate(&["new", "t"]).await, 3, "a, d and e");
}

#[tokio::test]
async fn entries_are_bounded_binary_safe_and_expire() {
    let cache = Fixture::start().await;

    // Names that would break a sloppy encoding.
    for odd in ["", "\0", "{svc-docs}:e:k", "a b\r\n", "ключ", "*", "%"] {
        let name = format!("k{odd}");
        cache.set(&name, &name, &[&format!("t{odd}")], None).await;
        assert_eq!(cache.get(&name).await.as_deref(), Some(&*name));
        assert_eq!(cache.invalidate(&[&format!("t{odd}")]).await, 1, "{odd:?}");
    }

    // A namespace sees nothing of another, whether it reads, deletes or invalidates.
    let other = Namespace::of("svc-docs").unwrap();
    cache.set("mine", "v", &["t"], None).await;
    assert_eq!(cache.store.get(&other, &key("mine")).await.unwrap(), None);
    assert!(!cache.store.delete(&other, &key("mine")).await.unwrap());
    assert_eq!(cache.store.invalidate(&other, &tag_set(&["t"])).await.unwrap(), 0);
    assert_eq!(cache.get("mine").await.as_deref(), Some("v"));

    // An answer stays within what a gRPC client takes: the values that do not fit are misses.
    let large = "x".repeat(1 << 20);
    let keys: Vec<Key> = (0..5).map(|n| key(&format!("large{n}"))).collect();
    for k in &keys {
        cache.set(k.as_str(), &large, &[], None).await;
    }
    let found = cache.store.get_many(&namespace(), &keys).await.unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, false, false]);

    // A tag of more entries than the index takes gives the first of them up, and never serves one it cannot find.
    for n in 0..4_200 {
        let value = CachedValue::parse("v".to_owned().into()).unwrap();
        let life = kept(60_000 + n);
        cache
            .store
            .set(&namespace(), &key(&format!("many{n}")), &value, life, &tag_set(&["many"]), None)
            .await
            .unwrap();
    }
    assert_eq!(cache.get("many0").await, None);
    assert_eq!(cache.get("many4199").await.as_deref(), Some("v"));
    assert_eq!(cache.invalidate(&["many"]).await, 4_096);
    assert_eq!(cache.get("many4199").await, None);

    // Entries and leases run out by themselves.
    let value = CachedValue::parse("v".to_owned().into()).unwrap();
    cache.store.set(&namespace(), &key("short"), &value, kept(30), &tag_set(&["s"]), None).await.unwrap();
    let brief = LeaseLifetime::parse(Duration::from_millis(30)).unwrap();
    let lease = LeaseId::new(8);
    cache.store.acquire(&namespace(), &key("brief"), &lease, brief, &tag_set(&["s"])).await.unwrap();
    let begun = Instant::now();
    while cache.get("short").await.is_some() {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    while cache.acquire("brief", 9, &[]).await.0 != Acquired::Granted {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(cache.set("brief", "late", &["s"], Some(&lease)).await, Written::LeaseLost);
}

/// Readers fill the cache from a truth that writers change and then invalidate. Whatever the order, a value found after an
/// invalidation is not older than the truth was before it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_older_than_an_invalidation_is_found_after_it() {
    let cache = Fixture::start().await;
    let truth = AtomicU64::new(1);
    let reader = async |n: u128| {
        for round in 0..300_u128 {
            let (acquired, lease) = cache.acquire("k", n << 64 | round, &["t"]).await;
            if acquired == Acquired::Granted {
                let read = truth.load(Ordering::SeqCst);
                // Sometimes the answer takes its time, sometimes it does not.
                for _ in 0..(round % 5) {
                    tokio::task::yield_now().await;
                    cache.get("other").await;
                }
                cache.set("k", &read.to_string(), &["t"], Some(&lease)).await;
            }
        }
    };
    let writer = async || {
        let mut found = 0;
        for _ in 0..300 {
            let written = truth.fetch_add(1, Ordering::SeqCst) + 1;
            cache.invalidate(&["t"]).await;
            if let Some(value) = cache.get("k").await {
                let value: u64 = value.parse().unwrap();
                assert!(
                    value >= written,
                    "found {value} after {written} was written and the cache invalidated"
                );
                found += 1;
            }
        }
        found
    };
    let (_, _, _, found, also_found) = tokio::join!(reader(1), reader(2), reader(3), writer(), writer());
    assert!(found + also_found > 0, "the readers never filled the cache");
}

#[tokio::test]
async fn redis_may_go_and_come_back() {
    let mut cache = Fixture::start().await;
    cache.set("k", "v", &[], None).await;

    cache.redis.stop();
    let begun = Instant::now();
    assert!(cache.store.get(&namespace(), &key("k")).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
    cache.eventually(false).await;
    let begun = Instant::now();
    assert!(cache.store.get(&namespace(), &key("k")).await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(50), "a known outage is answered at once");

    // It comes back with another password: the file is read again.
    cache.redis.run("battery-staple");
    cache.eventually(true).await;
    assert_eq!(cache.get("k").await, None);
    assert_eq!(cache.set("k", "v2", &[], None).await, Written::Done, "scripts are loaded again");
    cache.drain.stop();
}

#[tokio::test]
async fn rpcs_speak_the_contract() {
    let mut cache = Fixture::start().await;
    let rpc = CacheRpc::new(cache.store.clone(), &chassis::Metrics::default());
    let accounts = Some("svc-accounts");
    let entry = |k: &str| pb::GetEntryRequest { key: k.into() };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });

    let code = |status: tonic::Status| status.code();
    assert_eq!(
        rpc.get_entry(request(entry("k"), None)).await.map_err(code).unwrap_err(),
        Code::PermissionDenied
    );
    assert_eq!(
        rpc.get_entry(request(entry("k"), Some("a:b"))).await.map_err(code).unwrap_err(),
        Code::PermissionDenied
    );
    assert_eq!(
        rpc.get_entry(request(entry(""), accounts)).await.map_err(code).unwrap_err(),
        Code::InvalidArgument
    );
    assert_eq!(rpc.get_entry(request(entry("k"), accounts)).await.map_err(code).unwrap_err(), Code::NotFound);

    let acquire =
        |tags: Vec<String>| pb::AcquireLeaseRequest { key: "k".into(), time_to_live: seconds(10), tags };
    let lease = rpc.acquire_lease(request(acquire(vec!["t".into()]), accounts)).await.unwrap().into_inner();
    assert_eq!(lease.lease_id.len(), 32);
    let held = rpc.acquire_lease(request(acquire(vec![]), accounts)).await.unwrap().into_inner();
    assert!(held.lease_id.is_empty() && held.retry_after.unwrap().seconds >= 5);

    let set = |tags: &[&str], lease: &str| pb::SetEntryRequest {
        key: "k".into(),
        value: "v".into(),
        time_to_live: seconds(60),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        lease_id: lease.to_owned(),
    };
    let id = &*lease.lease_id;
    assert_eq!(
        rpc.set_entry(request(set(&["u"], id), accounts)).await.map_err(code).unwrap_err(),
        Code::InvalidArgument
    );
    rpc.set_entry(request(set(&["t"], id), accounts)).await.unwrap();
    let lost = rpc.set_entry(request(set(&["t"], id), accounts)).await.map_err(code);
    assert_eq!(lost.unwrap_err(), Code::FailedPrecondition);

    let batch = pb::BatchGetEntriesRequest { keys: vec!["none".into(), "k".into()] };
    let found = rpc.batch_get_entries(request(batch, accounts)).await.unwrap().into_inner().entries;
    assert_eq!(found.iter().map(|e| (&*e.key, &*e.value)).collect::<Vec<_>>(), [("k", &b"v"[..])]);
    assert!(matches!(found[0].time_to_live.unwrap().seconds, 55..=60));

    let tags = pb::InvalidateTagsRequest { tags: vec!["t".into()] };
    assert_eq!(
        rpc.invalidate_tags(request(tags.clone(), Some("svc-docs"))).await.unwrap().into_inner().removed,
        0
    );
    assert_eq!(rpc.invalidate_tags(request(tags, accounts)).await.unwrap().into_inner().removed, 1);
    rpc.delete_entry(request(pb::DeleteEntryRequest { key: "k".into() }, accounts)).await.unwrap();

    cache.redis.stop();
    let begun = Instant::now();
    let down = rpc.get_entry(request(entry("k"), accounts)).await.unwrap_err();
    assert_eq!(down.code(), Code::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(!down.message().contains("127.0.0.1"), "what the driver says stays inside");
}
