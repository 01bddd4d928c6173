//! The cache as services see it, over the mesh listener: entries, leases, tags, and namespaces that follow the certificate.

use std::sync::Arc;

use dev::Part;
use e2e::World;
use e2e::grpc::{calling, reason};
use e2e::world::unique;
use proto::cache::v1::cache_service_client::CacheServiceClient;
use proto::cache::v1::{
    AcquireLeaseRequest, BatchGetEntriesRequest, DeleteEntryRequest, GetEntryRequest, InvalidateTagsRequest,
    SetEntryRequest,
};

crate::tests![
    a_service_sees_its_own_namespace_only,
    a_lease_lets_one_compute_and_an_invalidation_breaks_it,
    the_cache_is_the_services_own
];

type Client = CacheServiceClient<e2e::grpc::Calling>;

fn client(world: &World, workload: Part) -> Client {
    CacheServiceClient::new(calling(world.mesh_as(workload), None))
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn set(key: &str, value: &'static [u8], lease_id: String) -> SetEntryRequest {
    SetEntryRequest {
        key: key.to_owned(),
        value: value.into(),
        time_to_live: seconds(60),
        tags: vec![format!("tag-{key}")],
        lease_id,
    }
}

async fn get(client: &mut Client, key: &str) -> Result<bytes::Bytes, String> {
    let entry = client.get_entry(GetEntryRequest { key: key.to_owned() }).await;
    entry.map(|entry| entry.into_inner().value).map_err(|status| reason(&status))
}

async fn a_service_sees_its_own_namespace_only(world: Arc<World>) {
    let (mut docs, mut ledger) = (client(&world, Part::Docs), client(&world, Part::Ledger));
    let key = unique("ns");
    docs.set_entry(set(&key, b"docs", String::new())).await.unwrap();
    assert_eq!(get(&mut docs, &key).await.unwrap(), "docs");
    assert_eq!(get(&mut ledger, &key).await.unwrap_err(), "ENTRY_NOT_FOUND");
    ledger.delete_entry(DeleteEntryRequest { key: key.clone() }).await.unwrap();
    ledger.invalidate_tags(InvalidateTagsRequest { tags: vec![format!("tag-{key}")] }).await.unwrap();
    assert_eq!(get(&mut docs, &key).await.unwrap(), "docs", "another service's delete did not reach it");
    let keys = vec![key.clone(), unique("absent")];
    let batch = docs.batch_get_entries(BatchGetEntriesRequest { keys }).await.unwrap().into_inner();
    assert_eq!(batch.entries.len(), 1);
    docs.delete_entry(DeleteEntryRequest { key: key.clone() }).await.unwrap();
    assert_eq!(get(&mut docs, &key).await.unwrap_err(), "ENTRY_NOT_FOUND");
}

async fn a_lease_lets_one_compute_and_an_invalidation_breaks_it(world: Arc<World>) {
    let mut docs = client(&world, Part::Docs);
    let key = unique("lease");
    let tag = format!("tag-{key}");
    let lease =
        || AcquireLeaseRequest { key: key.clone(), time_to_live: seconds(10), tags: vec![tag.clone()] };
    let first = docs.acquire_lease(lease()).await.unwrap().into_inner();
    assert!(!first.lease_id.is_empty());
    let second = docs.acquire_lease(lease()).await.unwrap().into_inner();
    assert!(second.lease_id.is_empty() && second.retry_after.is_some(), "one computes, the others wait");

    docs.invalidate_tags(InvalidateTagsRequest { tags: vec![tag.clone()] }).await.unwrap();
    let stale = docs.set_entry(set(&key, b"stale", first.lease_id)).await.unwrap_err();
    assert_eq!(reason(&stale), "LEASE_LOST", "what was read before the invalidation cannot come back");
    assert_eq!(get(&mut docs, &key).await.unwrap_err(), "ENTRY_NOT_FOUND");

    let third = docs.acquire_lease(lease()).await.unwrap().into_inner();
    docs.set_entry(set(&key, b"fresh", third.lease_id)).await.unwrap();
    assert_eq!(get(&mut docs, &key).await.unwrap(), "fresh");
}

async fn the_cache_is_the_services_own(world: Arc<World>) {
    let outside = |token: Option<String>| CacheServiceClient::new(world.public(token.as_deref()));
    for token in [None, Some(world.staff()), Some(world.customer().await.token)] {
        let refused = outside(token).get_entry(GetEntryRequest { key: "any".into() }).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unimplemented, "outside the mesh there is no such method");
    }
}
