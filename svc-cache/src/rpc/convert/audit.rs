//! Audit events, from a call and what became of it to the bytes that lie in the box.
use chassis::call::{Call, Principal};
use chassis::error::Failure as _;
use prost::Message as _;
use proto::edge::v1 as pb;

use super::revocation::timestamp;
use crate::domain::Revocation;
use crate::error::Error;

/// The revocation that a call has made, as it is kept if it is news.
pub(in crate::rpc) fn revoked(call: &Call, id: &str, now_ms: u64, revocation: &Revocation) -> Vec<u8> {
    let outcome = pb::AuditOutcome::Done.into();
    let resource = format!("tokens/{}", revocation.token_id);
    pb::AuditEvent { outcome, resource, ..event(call, id, now_ms) }.encode_to_vec()
}

/// The revocation that a call was refused.
pub(in crate::rpc) fn refused(call: &Call, id: &str, now_ms: u64, error: &Error) -> Vec<u8> {
    let outcome = pb::AuditOutcome::Refused.into();
    pb::AuditEvent { outcome, reason: error.reason().to_owned(), ..event(call, id, now_ms) }.encode_to_vec()
}

/// An event that lay in the box.
pub(in crate::rpc) fn read(bytes: &[u8]) -> Option<pb::AuditEvent> {
    pb::AuditEvent::decode(bytes).ok()
}

fn event(call: &Call, id: &str, now_ms: u64) -> pb::AuditEvent {
    pb::AuditEvent {
        event_id: id.to_owned(),
        event_time: Some(timestamp(now_ms)),
        transaction_id: call.transaction_id.to_string(),
        rpc: "edge.v1.RevocationService/Revoke".to_owned(),
        principal: Some(principal(call)),
        ..pb::AuditEvent::default()
    }
}

/// Identifiers only.
fn principal(call: &Call) -> pb::AuditPrincipal {
    let caller = &call.caller;
    let kind = match caller.principal {
        Principal::Anonymous => pb::PrincipalKind::Anonymous,
        Principal::Subject(_) => pb::PrincipalKind::Subject,
        Principal::Partner(_) => pb::PrincipalKind::Partner,
        Principal::Service => pb::PrincipalKind::Service,
    };
    let subject = caller.subject();
    pb::AuditPrincipal {
        kind: kind.into(),
        issuer: subject.map(|subject| subject.issuer.clone()).unwrap_or_default(),
        subject: subject.map(|subject| subject.id.clone()).unwrap_or_default(),
        customer_id: caller.customer_id().unwrap_or_default().to_owned(),
        partner_id: caller.partner_id().unwrap_or_default().to_owned(),
        service: caller.acting_service().unwrap_or_default().to_owned(),
    }
}
