//! The audit, from the call to the auditor's list: that events of every service arrive by themselves, say who, what and what became
//! of it, and are nobody else's to read or to write.

use std::sync::Arc;
use std::time::Duration;

use dev::{Part, TokenRequest};
use e2e::World;
use e2e::grpc::reason;
use e2e::world::{Customer, eventually, transfer, unique};
use proto::edge::v1::audit_service_client::AuditServiceClient;
use proto::edge::v1::{AppendRequest, AuditEvent, AuditOutcome, AuditPrincipal, PrincipalKind};
use serde_json::{Value, json};

crate::tests![
    what_is_done_and_what_is_refused_arrives_once,
    a_document_and_its_event_are_there_together,
    nobody_writes_events_of_another,
];

/// Long enough for the box to be looked into twice, should a bell be missed.
const ARRIVES: Duration = Duration::from_secs(15);

fn auditor(world: &World) -> String {
    world.token(&TokenRequest::new("auditor-1").scopes(&["audit.read"]))
}

/// The customer's events of one RPC, newest first.
async fn events(world: &World, customer: &Customer, rpc: &str) -> Vec<Value> {
    let path = format!("/v1/auditEvents?customerId={}&rpc={rpc}", customer.id);
    let answer = world.rest.get(&auditor(world), &path).await.ok();
    answer["events"].as_array().unwrap().clone()
}

async fn arrived(world: &World, customer: &Customer, rpc: &str, count: usize) -> Vec<Value> {
    let all = || async { events(world, customer, rpc).await.len() >= count };
    eventually("the events have arrived", ARRIVES, all).await;
    let events = events(world, customer, rpc).await;
    assert_eq!(events.len(), count, "{events:?}");
    events
}

const TRANSFER: &str = "ledger.v1.LedgerService/CreateTransfer";

async fn what_is_done_and_what_is_refused_arrives_once(world: Arc<World>) {
    let customer = world.customer().await;
    let (from, to) = (world.account(&customer, "EUR", 0).await, world.account(&customer, "EUR", 0).await);
    world.fund(&from, "EUR", 1_000).await;
    let pay = async |key: &str, amount| {
        let body = transfer(&from, &to, "EUR", amount, false);
        world.rest.post(&customer.token, "/v1/transfers", key, &body).await
    };
    let (first, second) = (unique("audited"), unique("audited"));
    let id = pay(&first, 10).await.text("transferId");
    pay(&first, 10).await.ok();
    for _ in 0..2 {
        pay(&second, 5_000).await.refused(400, "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS");
    }
    let events = arrived(&world, &customer, TRANSFER, 2).await;
    let by = |outcome: &str| events.iter().find(|event| event["outcome"] == outcome).unwrap();
    let done = by("AUDIT_OUTCOME_DONE");
    assert_eq!(done["resource"], format!("transfers/{id}"));
    assert_eq!(
        (&done["eventId"], &done["writer"], &done["reason"]),
        (&json!(id), &json!("svc-ledger"), &json!(""))
    );
    assert_eq!(done["principal"]["kind"], "PRINCIPAL_KIND_SUBJECT");
    assert_eq!(done["principal"]["customerId"], customer.id);
    let refused = by("AUDIT_OUTCOME_REFUSED");
    assert_eq!(
        (&refused["reason"], &refused["resource"]),
        (&json!("INSUFFICIENT_FUNDS"), &json!(format!("accounts/{from}")))
    );
    assert_ne!(done["transactionId"], refused["transactionId"]);

    // All that one request set off is found by its transaction, and by nothing else.
    let transaction = done["transactionId"].as_str().unwrap();
    let path = format!("/v1/auditEvents?transactionId={transaction}");
    let found = world.rest.get(&auditor(&world), &path).await.ok();
    assert_eq!(found["events"].as_array().unwrap().len(), 1, "{found:?}");

    // Nobody reads them without the scope.
    for token in [&customer.token, &world.staff()] {
        let answer = world.rest.get(token, "/v1/auditEvents").await;
        assert_eq!(answer.status, 403, "{answer:?}");
    }
}

async fn a_document_and_its_event_are_there_together(world: Arc<World>) {
    let customer = world.customer().await;
    let body = json!({ "title": "A letter" });
    let made = world.rest.post(&customer.token, "/v1/documents", &unique("doc"), &body).await;
    // No waiting: they were one transaction.
    let events = events(&world, &customer, "docs.v1.DocsService/CreateDocument").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["resource"], format!("documents/{}", made.text("documentId")));
    assert_eq!(events[0]["writer"], "svc-docs");
}

fn event(rpc: &str) -> AuditEvent {
    let id = uuid::Uuid::now_v7();
    let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
    AuditEvent {
        event_id: id.to_string(),
        event_time: Some(prost_types::Timestamp {
            seconds: i64::try_from(seconds).unwrap(),
            nanos: i32::try_from(nanos).unwrap(),
        }),
        transaction_id: unique("transaction"),
        rpc: rpc.to_owned(),
        principal: Some(AuditPrincipal { kind: PrincipalKind::Service.into(), ..AuditPrincipal::default() }),
        outcome: AuditOutcome::Done.into(),
        ..AuditEvent::default()
    }
}

async fn nobody_writes_events_of_another(world: Arc<World>) {
    let append = async |workload: Part, rpc: &str| {
        let mut client = AuditServiceClient::new(world.mesh_as(workload));
        client.append(AppendRequest { events: vec![event(rpc)] }).await
    };
    let own = append(Part::Cache, "cache.v1.CacheService/SetEntry").await;
    assert!(own.is_ok(), "{own:?}");
    for (workload, rpc) in [
        (Part::Cache, TRANSFER),
        (Part::Accounts, TRANSFER),
        (Part::Ledger, "docs.v1.DocsService/CreateDocument"),
    ] {
        let refused = append(workload, rpc).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (tonic::Code::PermissionDenied, "NOT_PERMITTED")
        );
    }
    // From outside the method does not exist.
    let mut client = AuditServiceClient::new(world.public(Some(&auditor(&world))));
    let outside = client.append(AppendRequest { events: vec![event(TRANSFER)] }).await.unwrap_err();
    assert_eq!(outside.code(), tonic::Code::Unimplemented);
}
