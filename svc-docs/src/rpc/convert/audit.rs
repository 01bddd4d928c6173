//! Audit events between the contract, the chassis's caller and the domain.
use chassis::call::{Call, Principal as Caller};
use chassis::error::Violation;
use chassis::field;
use chassis::page::{Page, Sizes};
use chrono::{DateTime, TimeDelta, Utc};
use prost_types::Timestamp;
use proto::docs::v1::ListAuditEventsRequest;
use proto::edge::v1 as pb;

use super::{Faults, time, timestamp};
use crate::domain::Fault;
use crate::domain::audit::{Event, EventId, Filter, Kind, Outcome, Principal, SKEW_MAX, Witness};
use crate::error::Error;

/// Events of one page.
const EVENT_PAGES: Sizes = Sizes { default: 100, max: 500 };
/// Events of one Append.
const EVENTS_MAX: usize = 500;
/// The most bytes of any text of an event. Wider than what the edge lets in, for an event that is refused holds up all behind it.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Who calls which method of this service.
pub(in crate::rpc) fn witness(call: &Call, method: &str) -> Witness {
    let caller = &call.caller;
    let (kind, partner_id) = match &caller.principal {
        Caller::Anonymous => (Kind::Anonymous, None),
        Caller::Subject(_) => (Kind::Subject, None),
        Caller::Partner(partner) => (Kind::Partner, Some(partner.id.clone())),
        Caller::Service => (Kind::Service, None),
    };
    let subject = caller.subject();
    Witness {
        transaction_id: call.transaction_id.to_string(),
        rpc: format!("docs.v1.DocsService/{method}"),
        principal: Principal {
            kind,
            issuer: subject.map(|subject| subject.issuer.clone()),
            subject: subject.map(|subject| subject.id.clone()),
            customer_id: caller.customer_id().map(str::to_owned),
            partner_id,
            service: caller.acting_service().map(str::to_owned),
        },
    }
}

/// What Append wants kept, written by `writer`.
pub(in crate::rpc) fn append(request: pb::AppendRequest, writer: &str) -> Result<Vec<Event>, Error> {
    let mut faults = Faults::default();
    if !(1..=EVENTS_MAX).contains(&request.events.len()) {
        faults.0.push(Violation::new("events", format!("must be 1 to {EVENTS_MAX} events")));
        return Err(faults.refusal());
    }
    let events = request.events.into_iter().enumerate();
    let parsed: Vec<_> =
        events.map(|(place, event)| parse(&mut faults, &format!("events[{place}]"), event, writer)).collect();
    if !faults.0.is_empty() {
        return Err(faults.refusal());
    }
    Ok(parsed.into_iter().flatten().collect())
}

fn parse(faults: &mut Faults, path: &str, event: pb::AuditEvent, writer: &str) -> Option<Event> {
    let at = |field: &str| format!("{path}.{field}");
    let outcome = match (event.outcome(), event.reason.is_empty()) {
        (pb::AuditOutcome::Done, true) => Ok(Outcome::Done),
        (pb::AuditOutcome::Refused, false) => Ok(Outcome::Refused(event.reason)),
        (pb::AuditOutcome::Done, false) | (pb::AuditOutcome::Refused, true) => {
            Err("must go with a reason if refused, and only then")
        }
        (pb::AuditOutcome::Unspecified, _) => Err("must be one of the known values"),
    };
    let id = faults.take(&at("event_id"), id(&event.event_id));
    let time = faults.take(&at("event_time"), instant(event.event_time));
    let transaction_id = faults.take(&at("transaction_id"), text(event.transaction_id));
    let rpc = faults.take(&at("rpc"), rpc(event.rpc));
    let outcome = faults.take(&at("outcome"), outcome);
    let resource = faults.take(&at("resource"), optional(event.resource));
    let principal = match event.principal {
        Some(principal) => self::principal(faults, &at("principal"), principal),
        None => faults.take(&at("principal"), Err(Fault::Missing)),
    };
    if let (Some(id), Some(time)) = (id, time)
        && id.time().is_none_or(|of_id| (of_id - time).abs() > SKEW_MAX)
    {
        faults.0.push(Violation::new(at("event_time"), "must be the time of the event's id"));
    }
    let call = Witness { transaction_id: transaction_id?, rpc: rpc?, principal: principal? };
    let writer = writer.to_owned();
    Some(Event { id: id?, time: time?, call, outcome: outcome?, resource: resource?, writer })
}

fn principal(faults: &mut Faults, path: &str, principal: pb::AuditPrincipal) -> Option<Principal> {
    let kind = match principal.kind() {
        pb::PrincipalKind::Subject => Ok(Kind::Subject),
        pb::PrincipalKind::Partner => Ok(Kind::Partner),
        pb::PrincipalKind::Service => Ok(Kind::Service),
        pb::PrincipalKind::Anonymous => Ok(Kind::Anonymous),
        pb::PrincipalKind::Unspecified => Err("must be one of the known values"),
    };
    let at = |field: &str| format!("{path}.{field}");
    let kind = faults.take(&at("kind"), kind);
    let issuer = faults.take(&at("issuer"), optional(principal.issuer));
    let subject = faults.take(&at("subject"), optional(principal.subject));
    let customer_id = faults.take(&at("customer_id"), optional(principal.customer_id));
    let partner_id = faults.take(&at("partner_id"), optional(principal.partner_id));
    let service = faults.take(&at("service"), optional(principal.service));
    Some(Principal {
        kind: kind?,
        issuer: issuer?,
        subject: subject?,
        customer_id: customer_id?,
        partner_id: partner_id?,
        service: service?,
    })
}

fn id(text: &str) -> Result<EventId, &'static str> {
    let id = field::uuid(text).ok().filter(|id| id.get_version_num() == 7);
    id.map(EventId).ok_or("must be a UUID of version 7")
}

/// The millisecond an event's time falls into: the store keeps no more, and an event is not refused for telling more.
fn instant(time: Option<Timestamp>) -> Result<DateTime<Utc>, Fault> {
    let whole = |time: Timestamp| Timestamp { nanos: time.nanos - time.nanos.rem_euclid(1_000_000), ..time };
    self::time(time.map(whole))
}

/// The first millisecond at or after a time: as a bound on events it means the same.
fn bound(time: Option<Timestamp>) -> Result<Option<DateTime<Utc>>, Fault> {
    let Some(time) = time else { return Ok(None) };
    let floor = instant(Some(time))?;
    let exact = time.nanos % 1_000_000 == 0;
    Ok(Some(if exact { floor } else { floor + TimeDelta::milliseconds(1) }))
}

fn optional(text: String) -> Result<Option<String>, Fault> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Fault::TooLong { max: TEXT_BYTES_MAX });
    }
    Ok((!text.is_empty()).then_some(text))
}

fn text(text: String) -> Result<String, Fault> {
    optional(text)?.ok_or(Fault::Missing)
}

/// A package, a service and a method.
fn rpc(text: String) -> Result<String, &'static str> {
    let (service, method) = text.split_once('/').unwrap_or_default();
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let named = service.contains('.') && service.split('.').all(plain) && plain(method);
    if named && text.len() <= TEXT_BYTES_MAX { Ok(text) } else { Err("must be package.Service/Method") }
}

/// What ListAuditEvents asks for.
pub(in crate::rpc) fn list(request: ListAuditEventsRequest) -> Result<(Filter, Page), Error> {
    let mut faults = Faults::default();
    let bounds = [request.start_time, request.end_time].map(|bound| {
        bound.map_or(0, |bound| i128::from(bound.seconds) * 1_000_000_000 + i128::from(bound.nanos))
    });
    let question: [&[u8]; 6] = [
        b"auditEvents",
        &bounds[0].to_be_bytes(),
        &bounds[1].to_be_bytes(),
        request.customer_id.as_bytes(),
        request.rpc.as_bytes(),
        request.transaction_id.as_bytes(),
    ];
    let page = Page::parse(EVENT_PAGES, &question, request.page_size, &request.page_token);
    let start = faults.take("start_time", bound(request.start_time));
    let end = faults.take("end_time", bound(request.end_time));
    let customer_id = faults.take("customer_id", optional(request.customer_id));
    let rpc = faults.take("rpc", if request.rpc.is_empty() { Ok(None) } else { rpc(request.rpc).map(Some) });
    let transaction_id = faults.take("transaction_id", optional(request.transaction_id));
    let (Ok(page), Some(start), Some(end), Some(customer_id), Some(rpc), Some(transaction_id)) =
        (page.map_err(|wrong| faults.0.extend(wrong)), start, end, customer_id, rpc, transaction_id)
    else {
        return Err(faults.refusal());
    };
    Ok((Filter { start, end, customer_id, rpc, transaction_id }, page))
}

/// An event as it is read.
pub(in crate::rpc) fn event(event: Event) -> pb::AuditEvent {
    let Witness { transaction_id, rpc, principal } = event.call;
    let kind = match principal.kind {
        Kind::Subject => pb::PrincipalKind::Subject,
        Kind::Partner => pb::PrincipalKind::Partner,
        Kind::Service => pb::PrincipalKind::Service,
        Kind::Anonymous => pb::PrincipalKind::Anonymous,
    };
    let (outcome, reason) = match event.outcome {
        Outcome::Done => (pb::AuditOutcome::Done, String::new()),
        Outcome::Refused(reason) => (pb::AuditOutcome::Refused, reason),
    };
    pb::AuditEvent {
        event_id: event.id.to_string(),
        event_time: Some(timestamp(event.time)),
        transaction_id,
        rpc,
        principal: Some(pb::AuditPrincipal {
            kind: kind.into(),
            issuer: principal.issuer.unwrap_or_default(),
            subject: principal.subject.unwrap_or_default(),
            customer_id: principal.customer_id.unwrap_or_default(),
            partner_id: principal.partner_id.unwrap_or_default(),
            service: principal.service.unwrap_or_default(),
        }),
        outcome: outcome.into(),
        reason,
        resource: event.resource.unwrap_or_default(),
        writer: event.writer,
    }
}
