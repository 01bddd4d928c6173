//! The audit on a real MongoDB: events of this service's own calls, those that others send, and the auditor's list of both.
use chassis::call::{Call, Caller, Partner, Principal};
use chrono::{DateTime, Utc};
use mongodb::IndexModel;
use mongodb::bson::{Document as Bson, doc};
use mongodb::options::IndexOptions;
use proto::docs::v1 as pb;
use proto::edge::v1::audit_service_server::AuditService as _;
use proto::edge::v1::{AppendRequest, AuditEvent, AuditOutcome, AuditPrincipal, PrincipalKind};
use svc_docs::domain::audit::{self, Kind, Witness};
use svc_docs::rpc::audit::Keeper;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use super::{Arc, Duration, Fixture, alice, bob, bytes, code, staff, subject};

/// A call of this service by alice.
pub fn witness(method: &str) -> Witness {
    Witness {
        transaction_id: "t".to_owned(),
        rpc: format!("docs.v1.DocsService/{method}"),
        principal: audit::Principal {
            kind: Kind::Subject,
            issuer: Some("https://issuer.test".to_owned()),
            subject: Some("alice".to_owned()),
            customer_id: Some("c-alice".to_owned()),
            partner_id: None,
            service: None,
        },
    }
}

fn auditor() -> Caller {
    subject("auditor", None, &["audit.read"])
}

fn service(name: &str) -> Caller {
    Caller { principal: Principal::Service, service: Some(name.to_owned()) }
}

async fn append(docs: &Fixture, caller: Caller, events: Vec<AuditEvent>) -> Result<(), Status> {
    let mut request = Request::new(AppendRequest { events });
    request.extensions_mut().insert(Call {
        caller: Arc::new(caller),
        deadline: chassis::Deadline::after(Duration::from_secs(60)),
        transaction_id: "t".into(),
        hops: 1,
        trace: chassis::trace::TraceContext::root(),
        token: None,
    });
    Keeper::new(docs.store.clone()).append(request).await.map(|_| ())
}

async fn list(docs: &Fixture, filter: pb::ListAuditEventsRequest) -> Vec<AuditEvent> {
    let answer = docs.as_caller(auditor()).list_audit_events(filter).await.unwrap().into_inner();
    assert_eq!(answer.next_page_token, "");
    answer.events
}

async fn all(docs: &Fixture) -> Vec<AuditEvent> {
    list(docs, pb::ListAuditEventsRequest::default()).await
}

/// What happened last, shortly: the method, the reason if refused, and the resource.
async fn last(docs: &Fixture) -> (usize, String, String, String) {
    let events = all(docs).await;
    let count = events.len();
    let Some(event) = events.into_iter().next() else {
        return (0, String::new(), String::new(), String::new());
    };
    assert_eq!((event.writer.as_str(), event.transaction_id.as_str()), ("svc-docs", "t"));
    let method = event.rpc.strip_prefix("docs.v1.DocsService/").unwrap().to_owned();
    (count, method, event.reason, event.resource)
}

fn expected(count: usize, method: &str, reason: &str, resource: &str) -> (usize, String, String, String) {
    (count, method.to_owned(), reason.to_owned(), resource.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_leaves_its_event_with_its_effect_and_a_repetition_none() {
    let docs = Fixture::start().await;
    let made = docs.create(&alice(), "r1", "Contract").await.unwrap();
    let name = format!("documents/{}", made.document_id);
    assert_eq!(last(&docs).await, expected(1, "CreateDocument", "", &name));
    let event = all(&docs).await.remove(0);
    let who = event.principal.unwrap();
    assert_eq!((who.kind(), who.customer_id.as_str()), (PrincipalKind::Subject, "c-alice"));
    assert_eq!(who.issuer, "https://issuer.test");

    docs.create(&alice(), "r1", "Contract").await.unwrap();
    assert_eq!(last(&docs).await.0, 1, "a repeated request has no effect of its own");
    docs.create(&alice(), "r1", "Another").await.unwrap_err();
    assert_eq!(last(&docs).await, expected(2, "CreateDocument", "REQUEST_ID_REUSED", ""));
    docs.create(&alice(), "", "Contract").await.unwrap_err();
    assert_eq!(last(&docs).await.0, 2, "what cannot be read is not judged");

    docs.upload(&alice(), &made.document_id, &bytes(1_000)).await.unwrap();
    assert_eq!(last(&docs).await, expected(3, "UploadContent", "", &name));
    docs.upload(&bob(), &made.document_id, &bytes(1_000)).await.unwrap_err();
    assert_eq!(last(&docs).await, expected(4, "UploadContent", "NOT_PERMITTED", &name));
    docs.upload(&alice(), &made.document_id, &bytes(4 << 20)).await.unwrap_err();
    assert_eq!(last(&docs).await, expected(5, "UploadContent", "CONTENT_TOO_LARGE", &name));

    // An event that cannot be kept takes its effect with it: from now on a transaction may leave one event only.
    let events = docs.database.collection::<Bson>("audit_events");
    events.delete_many(doc! {}).await.unwrap();
    let one = IndexOptions::builder().unique(true).name("one".to_owned()).build();
    events
        .create_index(IndexModel::builder().keys(doc! { "transaction_id": 1 }).options(one).build())
        .await
        .unwrap();
    docs.create(&alice(), "r2", "Kept").await.unwrap();
    assert_eq!(code(docs.create(&alice(), "r3", "Lost").await), Code::Internal);
    assert_eq!(code(docs.upload(&alice(), &made.document_id, &bytes(2_000)).await), Code::Internal);
    assert_eq!((docs.count("documents").await, docs.count("audit_events").await), (2, 1));
    assert_eq!(docs.get(&alice(), &made.document_id).await.unwrap().size_bytes, 1_000);
    events.drop_index("one").await.unwrap();
    docs.create(&alice(), "r3", "Lost").await.unwrap();
    assert_eq!(docs.count("audit_events").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_requests_at_once_make_one_document_and_one_event() {
    let docs = Fixture::start().await;
    let caller = alice();
    let requests = (0..8).map(|_| docs.create(&caller, "same", "Contract"));
    let made = futures::future::join_all(requests).await;
    let ids: std::collections::HashSet<_> = made.into_iter().map(|made| made.unwrap().document_id).collect();
    assert_eq!((ids.len(), docs.count("documents").await, docs.count("audit_events").await), (1, 1, 1));
}

/// An event of the ledger's, at a time.
fn event(time: DateTime<Utc>, customer: &str, rpc: &str, transaction: &str) -> AuditEvent {
    let milliseconds = u128::try_from(time.timestamp_millis()).unwrap();
    let random = rand_bits();
    let id = Uuid::from_u128(milliseconds << 80 | 0x7 << 76 | 0b10 << 62 | random);
    AuditEvent {
        event_id: id.to_string(),
        event_time: Some(prost_types::Timestamp {
            seconds: time.timestamp(),
            nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap(),
        }),
        transaction_id: transaction.to_owned(),
        rpc: rpc.to_owned(),
        principal: Some(AuditPrincipal {
            kind: PrincipalKind::Subject.into(),
            issuer: "https://issuer.test".to_owned(),
            subject: "sub".to_owned(),
            customer_id: customer.to_owned(),
            ..AuditPrincipal::default()
        }),
        outcome: AuditOutcome::Done.into(),
        resource: "transfers/x".to_owned(),
        ..AuditEvent::default()
    }
}

fn rand_bits() -> u128 {
    Uuid::new_v4().as_u128() & 0x3FFF_FFFF_FFFF_FFFF
}

const TRANSFER: &str = "ledger.v1.LedgerService/CreateTransfer";
const OPEN: &str = "accounts.v1.AccountsService/OpenAccount";

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000 + seconds, 123_000_000).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_writes_events_of_its_own_and_none_is_ever_changed() {
    let docs = Fixture::start().await;
    let first = event(at(0), "c-alice", TRANSFER, "t1");
    append(&docs, service("svc-ledger"), vec![first.clone(), event(at(1), "c-bob", TRANSFER, "t2")])
        .await
        .unwrap();
    // Sent again, with others behind it, and with another content: what is kept stays.
    let forged = AuditEvent { resource: "transfers/y".to_owned(), ..first.clone() };
    let third = event(at(2), "c-alice", TRANSFER, "t3");
    append(&docs, service("svc-ledger"), vec![forged, third.clone()]).await.unwrap();
    append(&docs, service("svc-ledger"), vec![third]).await.unwrap();
    let kept = all(&docs).await;
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[2], AuditEvent { writer: "svc-ledger".to_owned(), ..first.clone() });

    // Who does not speak for the RPC; and of a message with one such event nothing is kept.
    let foreign = event(at(3), "c-alice", OPEN, "t4");
    let mixed = || vec![event(at(3), "c-alice", TRANSFER, "t4"), foreign.clone()];
    let partner = Caller {
        principal: Principal::Partner(Partner { id: "psp".to_owned(), subject: None }),
        service: None,
    };
    let borrowed = Caller { service: Some("svc-ledger".to_owned()), ..alice() };
    for caller in [
        service("svc-ledger"),
        service("svc-cache"),
        service("ledger"),
        staff(),
        auditor(),
        partner,
        borrowed,
    ] {
        assert_eq!(code(append(&docs, caller, mixed()).await), Code::PermissionDenied);
    }
    assert_eq!(all(&docs).await.len(), 3);
    // The writer is who sends, whatever the event says.
    let lying = AuditEvent { writer: "svc-ledger".to_owned(), ..foreign };
    append(&docs, service("edge"), vec![lying]).await.unwrap();
    assert_eq!(all(&docs).await[0].writer, "edge");

    let good = || event(at(4), "c-alice", TRANSFER, "t5");
    let broken = [
        AuditEvent { event_id: "x".to_owned(), ..good() },
        AuditEvent { event_id: Uuid::new_v4().to_string(), ..good() },
        AuditEvent { event_time: None, ..good() },
        // The id's time must be the event's, or a range of times would miss it.
        AuditEvent { event_time: event(at(7_200), "", TRANSFER, "").event_time, ..good() },
        AuditEvent { transaction_id: String::new(), ..good() },
        AuditEvent { rpc: "CreateTransfer".to_owned(), ..good() },
        AuditEvent { rpc: "ledger.v1.LedgerService/".to_owned(), ..good() },
        AuditEvent { outcome: 0, ..good() },
        AuditEvent { reason: "WHY".to_owned(), ..good() },
        AuditEvent { outcome: AuditOutcome::Refused.into(), ..good() },
        AuditEvent { principal: None, ..good() },
        AuditEvent { principal: Some(AuditPrincipal::default()), ..good() },
    ];
    for event in broken {
        let refused = append(&docs, service("svc-ledger"), vec![good(), event.clone()]).await;
        assert_eq!(code(refused), Code::InvalidArgument, "{event:?}");
    }
    for count in [0, 501] {
        let events = (0..count).map(|_| good()).collect();
        assert_eq!(code(append(&docs, service("svc-ledger"), events).await), Code::InvalidArgument);
    }
    assert_eq!(all(&docs).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn e6_only_auditors_find_events_and_by_time_customer_rpc_or_transaction() {
    let docs = Fixture::start().await;
    let mut events = Vec::new();
    for place in 0..60 {
        let customer = if place % 2 == 0 { "c-alice" } else { "c-bob" };
        let rpc = if place % 3 == 0 { OPEN } else { TRANSFER };
        events.push(event(at(i64::from(place) * 60), customer, rpc, &format!("t{}", place / 10)));
    }
    append(&docs, service("edge"), events.clone()).await.unwrap();
    let timestamp =
        |seconds: i64| Some(prost_types::Timestamp { seconds: 1_750_000_000 + seconds, nanos: 123_000_000 });
    let none = pb::ListAuditEventsRequest::default;
    let filters = [
        (none(), 60),
        (pb::ListAuditEventsRequest { start_time: timestamp(600), ..none() }, 50),
        (pb::ListAuditEventsRequest { end_time: timestamp(600), ..none() }, 10),
        (pb::ListAuditEventsRequest { start_time: timestamp(600), end_time: timestamp(1_200), ..none() }, 10),
        (pb::ListAuditEventsRequest { customer_id: "c-bob".to_owned(), ..none() }, 30),
        (pb::ListAuditEventsRequest { rpc: OPEN.to_owned(), ..none() }, 20),
        (pb::ListAuditEventsRequest { transaction_id: "t3".to_owned(), ..none() }, 10),
        (
            pb::ListAuditEventsRequest {
                transaction_id: "t3".to_owned(),
                customer_id: "c-bob".to_owned(),
                ..none()
            },
            5,
        ),
        (pb::ListAuditEventsRequest { customer_id: "c-carl".to_owned(), ..none() }, 0),
    ];
    for (filter, count) in filters {
        let found = list(&docs, filter.clone()).await;
        assert_eq!(found.len(), count, "{filter:?}");
        assert!(found.windows(2).all(|pair| pair[0].event_id > pair[1].event_id), "newest first");
        // Page by page it is the same.
        let mut paged = Vec::new();
        let mut page = pb::ListAuditEventsRequest { page_size: 7, ..filter };
        loop {
            let answer =
                docs.as_caller(auditor()).list_audit_events(page.clone()).await.unwrap().into_inner();
            assert!(answer.events.len() <= 7);
            paged.extend(answer.events);
            if answer.next_page_token.is_empty() {
                break;
            }
            page.page_token = answer.next_page_token;
        }
        assert_eq!(paged, found);
    }
    // A bound between two milliseconds does not let in what lies before it.
    let after = prost_types::Timestamp { seconds: 1_750_000_000, nanos: 123_001_000 };
    let found = list(&docs, pb::ListAuditEventsRequest { start_time: Some(after), ..none() }).await;
    assert_eq!(found.len(), 59);

    let denied = [alice(), staff(), service("svc-ledger"), subject("x", Some("c-x"), &["staff.write"])];
    for caller in denied {
        let refused = docs.as_caller(caller).list_audit_events(none()).await;
        assert_eq!(code(refused), Code::PermissionDenied);
    }
    let delegated = Caller {
        principal: Principal::Partner(Partner {
            id: "psp".to_owned(),
            subject: match auditor().principal {
                Principal::Subject(subject) => Some(subject),
                Principal::Anonymous | Principal::Partner(_) | Principal::Service => None,
            },
        }),
        service: None,
    };
    assert_eq!(code(docs.as_caller(delegated).list_audit_events(none()).await), Code::PermissionDenied);
    let broken = [
        pb::ListAuditEventsRequest { rpc: "x".to_owned(), ..none() },
        pb::ListAuditEventsRequest { page_size: -1, ..none() },
        pb::ListAuditEventsRequest { page_token: "x".to_owned(), ..none() },
        pb::ListAuditEventsRequest {
            start_time: Some(prost_types::Timestamp { seconds: -1, nanos: 0 }),
            ..none()
        },
    ];
    for request in broken {
        let refused = docs.as_caller(auditor()).list_audit_events(request.clone()).await;
        assert_eq!(code(refused), Code::InvalidArgument, "{request:?}");
    }
}
