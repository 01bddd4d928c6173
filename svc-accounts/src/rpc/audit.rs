//! The audit of this service's RPCs. What took effect left its event in the effect's own transaction; what was refused has no
//! transaction, and its event is written afterwards, as well as that goes: nobody waits for it, so many may be under way at
//! once and no more, and none is written while the box overflows. What is lost is counted. Shipping is the chassis's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chassis::error::Kind;
use chassis::outbox::{self, Bell, Outbox};
use chassis::run::Start;
use chassis::{Call, Drain, EdgeChannel, Failure as _};
use prometheus_client::metrics::counter::Counter;
use prost::Message as _;
use proto::edge::v1::audit_service_client::AuditServiceClient;
use proto::edge::v1::{AppendRequest, AuditEvent};
use tokio::sync::Semaphore;
use tonic::Code;

use super::convert::{self, Outcome};
use crate::clock;
use crate::domain::{AccountId, ConsentId, CustomerId};
use crate::error::Error;
use crate::store::{Event, Store};

pub const CREATE_CUSTOMER: &str = "accounts.v1.AccountsService/CreateCustomer";
pub const OPEN_ACCOUNT: &str = "accounts.v1.AccountsService/OpenAccount";
pub const UPDATE_ACCOUNT: &str = "accounts.v1.AccountsService/UpdateAccount";
pub const FREEZE_ACCOUNT: &str = "accounts.v1.AccountsService/FreezeAccount";
pub const UNFREEZE_ACCOUNT: &str = "accounts.v1.AccountsService/UnfreezeAccount";
pub const CLOSE_ACCOUNT: &str = "accounts.v1.AccountsService/CloseAccount";
pub const CREATE_CONSENT: &str = "accounts.v1.AccountsService/CreateConsent";
pub const REVOKE_CONSENT: &str = "accounts.v1.AccountsService/RevokeConsent";

/// Refusals whose events are being written. A write takes milliseconds: so many are thousands of refusals a second, and more
/// is an attack, whose record must not take the table from the others.
const REFUSALS_AT_ONCE: usize = 32;
/// How long one message of events may take. Nobody waits for it.
const APPEND_BUDGET: Duration = Duration::from_secs(10);

/// The event of a call that takes effect, for the transaction of the effect.
pub fn done(call: &Call, rpc: &'static str, resource: String) -> Event {
    convert::event(clock::new_id(), clock::now(), call, rpc, Outcome::Done, resource)
}

/// The name of a customer. Whatever is no id is not repeated.
pub fn customer(customer_id: &str) -> String {
    CustomerId::parse(customer_id).map(|id| format!("customers/{id}")).unwrap_or_default()
}

/// The name of an account.
pub fn account(account_id: &str) -> String {
    AccountId::parse(account_id).map(|id| format!("accounts/{id}")).unwrap_or_default()
}

/// The name of a consent.
pub fn consent(account_id: &str, consent_id: &str) -> String {
    match (AccountId::parse(account_id), ConsentId::parse(consent_id)) {
        (Ok(account), Ok(consent)) => format!("accounts/{account}/consents/{consent}"),
        (_, _) => String::new(),
    }
}

/// Keeps the audit. Clones share everything.
#[derive(Debug, Clone)]
pub struct Audit {
    store: Store,
    bell: Bell,
    drain: Drain,
    refusals: Arc<Semaphore>,
    overflows: Arc<AtomicBool>,
    lost: Counter,
}

impl Audit {
    /// Begins to ship what is in the box.
    pub fn start(store: &Store, start: &Start) -> Self {
        let overflows = Arc::new(AtomicBool::new(false));
        let shipper =
            Shipper { store: store.clone(), edge: start.edge.clone(), overflows: overflows.clone() };
        let bell = outbox::start(shipper, &start.drain, &start.metrics);
        let lost = Counter::default();
        start.metrics.register(
            "accounts_audit_refusals_lost",
            "Refusals whose events were not written",
            lost.clone(),
        );
        let refusals = Arc::new(Semaphore::new(REFUSALS_AT_ONCE));
        Self { store: store.clone(), bell, drain: start.drain.clone(), refusals, overflows, lost }
    }

    /// Notes how an audited call ended. `object` is what the request names.
    pub fn ended(&self, call: &Call, rpc: &'static str, object: String, error: Option<&Error>) {
        match error {
            Some(error) if is_judgement(error.kind()) => {
                let outcome = Outcome::Refused(error.reason());
                self.refused(convert::event(clock::new_id(), clock::now(), call, rpc, outcome, object));
            }
            // What failed may have had an effect all the same.
            Some(_) | None => self.bell.ring(),
        }
    }

    /// How many refusals went unrecorded.
    #[cfg(test)]
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// As many refusals under way as there may be, until it is dropped.
    #[cfg(test)]
    pub fn crowded(&self) -> tokio::sync::OwnedSemaphorePermit {
        let all = u32::try_from(REFUSALS_AT_ONCE).expect("few");
        self.refusals.clone().try_acquire_many_owned(all).expect("none under way")
    }

    fn refused(&self, event: Event) {
        let permit = if self.overflows.load(Ordering::Relaxed) {
            None
        } else {
            self.refusals.clone().try_acquire_owned().ok()
        };
        let Some(permit) = permit else {
            self.lost.inc();
            return;
        };
        let audit = self.clone();
        self.drain.spawn("audit refusal", async move {
            match audit.store.write_event(&event).await {
                Ok(()) => audit.bell.ring(),
                Err(error) => {
                    audit.lost.inc();
                    tracing::warn!(error = chassis::error::chain(&error), "a refusal was not recorded");
                }
            }
            drop(permit);
        });
    }
}

/// Whether an error says that the call was looked at and refused, rather than that it could not be served.
const fn is_judgement(kind: Kind) -> bool {
    match kind {
        Kind::Invalid
        | Kind::Unauthenticated
        | Kind::Forbidden
        | Kind::NotFound
        | Kind::Exists
        | Kind::Precondition
        | Kind::Exhausted => true,
        Kind::Conflict | Kind::Unavailable | Kind::Timeout | Kind::Internal => false,
    }
}

/// The way from the box to the keeper.
struct Shipper {
    store: Store,
    edge: EdgeChannel,
    overflows: Arc<AtomicBool>,
}

/// Why events stay in the box.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    /// The box cannot be read or emptied.
    #[error("the box: {}", chassis::error::chain(.0))]
    Store(#[from] Error),
    /// An event that this service cannot have written.
    #[error("an unreadable event: {0}")]
    Unreadable(#[from] prost::DecodeError),
    /// The keeper did not take them.
    #[error("the keeper: {0:?}")]
    Keeper(Code),
}

impl Outbox for Shipper {
    type Entry = Event;
    type Error = Stuck;

    async fn pending(&self, max: usize) -> Result<Vec<Event>, Stuck> {
        let events = self.store.events(max).await?;
        // A full batch means that more come than go. Effects go on leaving their events; refusals can be done without.
        self.overflows.store(events.len() >= max, Ordering::Relaxed);
        Ok(events)
    }

    async fn ship(&self, entries: &[Event]) -> Result<(), Stuck> {
        let decode = |event: &Event| AuditEvent::decode(event.body.as_slice());
        let events = entries.iter().map(decode).collect::<Result<_, _>>()?;
        let mut keeper = AuditServiceClient::new(self.edge.as_service(APPEND_BUDGET));
        let kept = keeper.append(AppendRequest { events }).await;
        kept.map(drop).map_err(|status| Stuck::Keeper(status.code()))
    }

    async fn remove(&self, entries: &[Event]) -> Result<(), Stuck> {
        Ok(self.store.remove_events(entries.iter().map(|event| event.id)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_is_not_repeated() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        for (name, expect) in [
            (customer(id), format!("customers/{id}")),
            (account(&id.to_uppercase()), format!("accounts/{id}")),
            (consent(id, id), format!("accounts/{id}/consents/{id}")),
            (customer("ada\nForged"), String::new()),
            (account(""), String::new()),
            (consent(id, "x"), String::new()),
        ] {
            assert_eq!(name, expect);
        }
    }

    #[test]
    fn only_what_was_looked_at_is_a_refusal() {
        let refusals = [Kind::Invalid, Kind::Forbidden, Kind::NotFound, Kind::Exists, Kind::Precondition];
        assert!(refusals.into_iter().all(is_judgement));
        let failures = [Kind::Conflict, Kind::Unavailable, Kind::Timeout, Kind::Internal];
        assert!(!failures.into_iter().any(is_judgement));
    }
}
