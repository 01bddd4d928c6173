//! Audit events between the contract and the domain: what a call says of itself goes in as the fields of an event that are known
//! before it is judged; what the judgement adds is put to them when the event is shipped.

use chassis::call::{Call, Principal};
use prost::Message as _;
use prost_types::Timestamp;
use proto::edge::v1 as pb;
use uuid::Uuid;

use super::timestamp;
use crate::domain::audit::Witness;
use crate::store::outbox::Stored;

/// The witness of a call to `method` ("LedgerService/CreateTransfer").
pub(in crate::rpc) fn witness(call: &Call, method: &str) -> Witness {
    let event = pb::AuditEvent {
        transaction_id: call.transaction_id.to_string(),
        rpc: format!("ledger.v1.{method}"),
        principal: Some(principal(call)),
        ..pb::AuditEvent::default()
    };
    Witness { id: Uuid::now_v7(), call: event.encode_to_vec() }
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

/// The event as it is kept. Who writes it is for its keeper to say.
pub(in crate::rpc) fn event(stored: &Stored) -> Result<pb::AuditEvent, prost::DecodeError> {
    let outcome = if stored.reason.is_none() { pb::AuditOutcome::Done } else { pb::AuditOutcome::Refused };
    Ok(pb::AuditEvent {
        event_id: stored.id.to_string(),
        event_time: Some(time_of(stored.id)),
        outcome: outcome.into(),
        reason: stored.reason.clone().unwrap_or_default(),
        resource: stored.resource.clone().unwrap_or_default(),
        ..pb::AuditEvent::decode(stored.call.as_slice())?
    })
}

/// The milliseconds in which a UUIDv7 begins: of a row's id its booking time.
fn time_of(id: Uuid) -> Timestamp {
    timestamp(i64::try_from(id.as_u128() >> 80).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use chassis::call::{Caller, Partner, Subject};
    use chassis::deadline::Deadline;
    use chassis::trace::TraceContext;

    use super::*;

    #[test]
    fn an_event_says_who_called_what_and_what_became_of_it() {
        let subject = Subject {
            issuer: "https://issuer.test".to_owned(),
            id: "sub-1".to_owned(),
            customer_id: Some("c-1".to_owned()),
            scopes: ["payments.write".to_owned()].into(),
        };
        let principal = Principal::Partner(Partner { id: "psp".to_owned(), subject: Some(subject) });
        let call = Call {
            caller: Arc::new(Caller { principal, service: None }),
            token: None,
            deadline: Deadline::after(Duration::from_secs(1)),
            transaction_id: "t-1".into(),
            hops: 0,
            trace: TraceContext::root(),
        };
        let witness = witness(&call, "LedgerService/CreateTransfer");
        let id = crate::domain::journal::row_id(1_700_000_000_123, 7, 9);
        let mut stored =
            Stored { row: 1, id, call: witness.call, reason: None, resource: Some("transfers/x".to_owned()) };
        let expect = pb::AuditEvent {
            event_id: id.to_string(),
            event_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 123_000_000 }),
            transaction_id: "t-1".to_owned(),
            rpc: "ledger.v1.LedgerService/CreateTransfer".to_owned(),
            principal: Some(pb::AuditPrincipal {
                kind: pb::PrincipalKind::Partner.into(),
                issuer: "https://issuer.test".to_owned(),
                subject: "sub-1".to_owned(),
                customer_id: "c-1".to_owned(),
                partner_id: "psp".to_owned(),
                service: String::new(),
            }),
            outcome: pb::AuditOutcome::Done.into(),
            reason: String::new(),
            resource: "transfers/x".to_owned(),
            writer: String::new(),
        };
        assert_eq!(event(&stored), Ok(expect.clone()));
        (stored.reason, stored.resource) = (Some("INSUFFICIENT_FUNDS".to_owned()), None);
        let refused = pb::AuditEvent {
            outcome: pb::AuditOutcome::Refused.into(),
            reason: "INSUFFICIENT_FUNDS".to_owned(),
            resource: String::new(),
            ..expect
        };
        assert_eq!(event(&stored), Ok(refused));
    }
}
