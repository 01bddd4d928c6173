//! What the edge refuses of audited methods, as its keeper gets to know it.

use http::Method;
use proto::edge::v1::{AuditEvent, AuditOutcome, PrincipalKind};
use tonic::Code;

use crate::client::{Grpc, Http, Rest};
use crate::messages::*;
use crate::upstream::APPENDED;
use crate::world::World;

const DELETE: &str = "/echo.v1.EchoService/DeleteNote";

async fn world() -> World {
    World::with(|config| format!("{config}\n[providers]\naudit = \"svc-echo\"")).await
}

/// Asks for what `subject` may not do.
async fn refused(world: &World, subject: &str) {
    let rest = Rest::new(world, Http::Two, Some(world.token_of(subject, "notes.read", 600)));
    let reply = rest.send(Method::DELETE, "/v1/drafts/n-1", &[], "").await;
    assert_eq!(reply.status.as_u16(), 403, "{reply:?}");
}

fn subject(event: &AuditEvent) -> &str {
    &event.principal.as_ref().unwrap().subject
}

/// The events that were kept of these subjects, in order.
fn kept(subjects: &[&str]) -> Vec<AuditEvent> {
    let appended = APPENDED.lock().unwrap();
    let kept = appended.iter().filter(|(_, kept)| *kept).flat_map(|(events, _)| events.clone());
    kept.filter(|event| subjects.contains(&subject(event))).collect()
}

fn number(world: &World, name: &str) -> u64 {
    let page = world.process.metrics.render().unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_edge_refuses_of_an_audited_method_is_kept_and_nothing_else() {
    let world = world().await;
    let rest = |token| Rest::new(&world, Http::Two, token);
    let delete =
        async |rest: Rest, path: &str| rest.send(Method::DELETE, path, &[], "").await.status.as_u16();
    let token = |subject, scopes| Some(world.token_of(subject, scopes, 600));

    // Of the edge: who, whether they may, and what cannot be read.
    assert_eq!(delete(rest(None), "/v1/drafts/n-1").await, 401);
    assert_eq!(delete(rest(Some("a.b.c".into())), "/v1/drafts/n-1").await, 401);
    assert_eq!(delete(rest(token("mallory", "notes.read")), "/v1/drafts/n-1").await, 403);
    assert_eq!(delete(rest(token("mallory", "notes.write")), "/v1/drafts/n-1?what=1").await, 400);
    let grpc = Grpc::new(&world, token("mallory", "notes.read"));
    let status = grpc.unary::<_, Note>(DELETE, GetNoteRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    // Of the service, which writes for itself; of methods that are not audited; and none at all.
    assert_eq!(delete(rest(token("mallory", "notes.write")), "/v1/drafts/missing").await, 404);
    assert_eq!(delete(rest(token("mallory", "notes.write")), "/v1/drafts/n-1").await, 204);
    let note = rest(token("mallory", "notes.write")).get("/v1/notes/n-1").await;
    assert_eq!(note.status.as_u16(), 403);
    refused(&world, "last-of-all").await;

    world.until("all are kept", || !kept(&["last-of-all"]).is_empty()).await;
    let events = kept(&["", "mallory", "last-of-all"]);
    let told: Vec<_> = events.iter().map(|event| (subject(event), event.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            ("", "TOKEN_MISSING"),
            ("", "TOKEN_INVALID"),
            ("mallory", "SCOPE_MISSING"),
            ("mallory", "INVALID_REQUEST"),
            ("mallory", "SCOPE_MISSING"),
            ("last-of-all", "SCOPE_MISSING"),
        ]
    );
    for event in &events {
        assert_eq!((event.rpc.as_str(), event.outcome()), (&DELETE[1..], AuditOutcome::Refused));
        assert_eq!((event.event_id.len(), event.transaction_id.len()), (36, 36), "{event:?}");
        assert!(event.event_time.is_some() && event.resource.is_empty() && event.writer.is_empty());
    }
    let [nobody, _, somebody, ..] = &events[..] else { panic!("{events:?}") };
    assert_eq!(nobody.principal.as_ref().unwrap().kind(), PrincipalKind::Anonymous);
    let somebody = somebody.principal.as_ref().unwrap();
    assert_eq!((somebody.kind(), somebody.customer_id.as_str()), (PrincipalKind::Subject, "customer-1"));
    // The log line of the refusal is found by the event.
    let log = world.access_log();
    assert!(log.iter().any(|line| line["transaction_id"] == events[2].transaction_id.as_str()), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_keeper_that_is_away_and_one_that_cannot_be_kept_takes_no_other_along() {
    let world = world().await;
    refused(&world, "unlucky").await;
    // While the keeper is away these gather behind it, and leave in one batch.
    for subject in ["early", "unkeepable", "late"] {
        refused(&world, subject).await;
    }
    world.until("the others are kept", || kept(&["unlucky", "early", "late"]).len() == 3).await;
    world.until("each is counted", || number(&world, "edge_audit_shipped_total") == 3).await;
    assert_eq!(number(&world, "edge_audit_dropped_total"), 1);
    let appended = APPENDED.lock().unwrap();
    let attempts = appended.iter().flat_map(|(events, _)| events).filter(|event| subject(event) == "unlucky");
    let mut ids: Vec<_> = attempts.map(|event| event.event_id.clone()).collect();
    assert!(ids.len() >= 2, "{ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 1, "an event that is sent twice is kept once, by its id");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_before_the_stop_is_kept_before_the_end() {
    let mut world = world().await;
    for subject in ["leaver-1", "leaver-2"] {
        refused(&world, subject).await;
    }
    world.stop();
    world.stopped().await;
    assert_eq!(kept(&["leaver-1", "leaver-2"]).len(), 2);
    assert_eq!(number(&world, "edge_audit_shipped_total"), 2);
}
