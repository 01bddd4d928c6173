//! What an audit event says, and who may say it. Events are kept as they come and never change; this file has no way to change
//! one either.
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// The edge, which may speak of every RPC: it refuses calls before their owners hear of them.
const EDGE: &str = "edge";

/// How far the time in an event's id may lie from the time the event gives. Both are the writer's word for one instant; a range of
/// times is then a range of ids, give or take this.
pub const SKEW_MAX: TimeDelta = TimeDelta::hours(1);

/// The id of an event, a UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId(pub Uuid);

impl EventId {
    /// The smallest id that begins with this time.
    pub fn first_at(time: DateTime<Utc>) -> Self {
        let milliseconds = u128::from(time.timestamp_millis().max(0).unsigned_abs());
        Self(Uuid::from_u128(milliseconds << 80))
    }

    /// The time the id begins with.
    pub fn time(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(i64::try_from(self.0.as_u128() >> 80).ok()?)
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The kind of who stood behind a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Subject,
    Partner,
    Service,
    Anonymous,
}

impl Kind {
    /// As stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Partner => "partner",
            Self::Service => "service",
            Self::Anonymous => "anonymous",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::Subject, Self::Partner, Self::Service, Self::Anonymous]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// Who stood behind a call. Identifiers only; what does not apply is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub kind: Kind,
    pub issuer: Option<String>,
    pub subject: Option<String>,
    pub customer_id: Option<String>,
    pub partner_id: Option<String>,
    pub service: Option<String>,
}

/// Which call it was: what is known of it before anything is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    pub transaction_id: String,
    /// "docs.v1.DocsService/CreateDocument".
    pub rpc: String,
    pub principal: Principal,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Why, as the caller read it.
    Refused(String),
}

/// One audited call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub time: DateTime<Utc>,
    pub call: Witness,
    pub outcome: Outcome,
    /// What it touched, as a resource name.
    pub resource: Option<String>,
    /// The workload that wrote it, by its certificate.
    pub writer: String,
}

/// Which events are wanted: those that agree with all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub start: Option<DateTime<Utc>>,
    pub end: Option<DateTime<Utc>>,
    pub customer_id: Option<String>,
    pub rpc: Option<String>,
    pub transaction_id: Option<String>,
}

/// Whether a workload may write an event about an RPC: a service about the RPCs of its own package only ("svc-ledger" about
/// "ledger.v1"), so that none can put words into another's mouth.
pub fn may_speak(writer: &str, rpc: &str) -> bool {
    let own = || {
        let (service, (name, rest)) = (writer.strip_prefix("svc-")?, rpc.split_once('.')?);
        let version = rest.split('.').next()?.strip_prefix('v')?;
        let versioned = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        Some(!name.is_empty() && service == name && versioned)
    };
    writer == EDGE || own().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_speaks_of_its_own_package_and_the_edge_of_any() {
        let cases = [
            ("svc-ledger", "ledger.v1.LedgerService/CreateTransfer", true),
            ("svc-ledger", "ledger.v12.LedgerService/CreateTransfer", true),
            ("svc-ledger", "accounts.v1.AccountsService/CloseAccount", false),
            ("svc-ledger", "ledgers.v1.LedgerService/CreateTransfer", false),
            ("svc-ledger", "ledger.LedgerService/CreateTransfer", false),
            ("svc-ledger", "ledger.vx.LedgerService/CreateTransfer", false),
            ("svc-ledger", "ledger", false),
            ("svc-", ".v1.Service/Call", false),
            ("ledger", "ledger.v1.LedgerService/CreateTransfer", false),
            ("edge", "accounts.v1.AccountsService/CloseAccount", true),
            ("svc-edge", "ledger.v1.LedgerService/CreateTransfer", false),
        ];
        for (writer, rpc, expect) in cases {
            assert_eq!(may_speak(writer, rpc), expect, "{writer} {rpc}");
        }
    }

    #[test]
    fn an_id_begins_with_its_time() {
        let time = DateTime::from_timestamp_millis(1_750_000_000_123).unwrap();
        assert_eq!(EventId::first_at(time).time(), Some(time));
        assert!(EventId::first_at(time) > EventId::first_at(time - TimeDelta::milliseconds(1)));
        let id = EventId(Uuid::from_u128(EventId::first_at(time).0.as_u128() | 0x7 << 76 | 0b10 << 62));
        assert!(id.time() == Some(time) && EventId::first_at(time) < id);
    }
}
