//! Who asks, for how long, and within which transaction: what the edge tells a service about a request. How the caller's
//! identity crosses the wire is known to this file alone; it is believed only because the listener admits nobody but the edge.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::deadline::Deadline;
use crate::error::{Failure, Kind};
use crate::trace::TraceContext;
use crate::transaction;

/// Carries the [`Caller`].
pub const CALLER: &str = "causeway-caller";
/// Names the transaction that every call made on behalf of one request shares.
pub const TRANSACTION_ID: &str = "causeway-transaction-id";
/// How many times the request has crossed the edge before.
pub const HOPS: &str = "causeway-hops";

/// The scopes a token carries.
pub type Scopes = BTreeSet<String>;

/// Who stands behind a request, and which workload brought it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// Who stands behind it.
    pub principal: Principal,
    /// The workload that called through the mesh listener ("svc-docs"); none when the request came from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// Who stands behind a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// Nobody known.
    Anonymous,
    /// A person, by token.
    Subject(Subject),
    /// A partner, by certificate, perhaps for a person.
    Partner(Partner),
    /// The workload itself.
    Service,
}

/// A person, as a trusted issuer describes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The `iss` of the token.
    pub issuer: String,
    /// The `sub` of the token, unique within the issuer.
    pub id: String,
    /// The customer the person is, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// What the token allows.
    pub scopes: Scopes,
}

/// A partner of the bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partner {
    /// As mapped from the certificate.
    pub id: String,
    /// The person it acts for, by a certificate-bound token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
}

impl Caller {
    /// The person behind the request, directly or through a partner.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        match &self.principal {
            Principal::Subject(subject) => Some(subject),
            Principal::Partner(partner) => partner.subject.as_ref(),
            Principal::Anonymous | Principal::Service => None,
        }
    }

    /// The customer behind the request.
    #[must_use]
    pub fn customer_id(&self) -> Option<&str> {
        self.subject()?.customer_id.as_deref()
    }

    /// Whether the token carries `scope`.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.subject().is_some_and(|subject| subject.scopes.contains(scope))
    }

    /// Whether a workload acts for itself.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.principal == Principal::Service
    }

    /// The workload that called, for itself or for somebody.
    #[must_use]
    pub fn acting_service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// What a `request_id` is unique within: the same for the same principal, different for any two.
    #[must_use]
    pub fn idempotency_scope(&self) -> String {
        match &self.principal {
            Principal::Anonymous => "anonymous".to_owned(),
            Principal::Subject(subject) => subject_scope(subject),
            // A partner's own keys and those it uses for a person are apart.
            Principal::Partner(Partner { id, subject: None }) => format!("partner:{id}"),
            Principal::Partner(Partner { id, subject: Some(subject) }) => {
                format!("partner:{id}:{}", subject_scope(subject))
            }
            Principal::Service => format!("service:{}", self.service.as_deref().unwrap_or_default()),
        }
    }

    /// The kind of principal, a bounded label for logs and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.principal {
            Principal::Anonymous => "anonymous",
            Principal::Subject(_) => "subject",
            Principal::Partner(_) => "partner",
            Principal::Service => "service",
        }
    }

    /// The value of the [`CALLER`] header.
    #[must_use]
    pub fn to_header(&self) -> Option<HeaderValue> {
        let json = serde_json::to_vec(self).ok()?;
        HeaderValue::from_maybe_shared(bytes::Bytes::from(URL_SAFE_NO_PAD.encode(json))).ok()
    }

    /// Reads the value of the [`CALLER`] header.
    ///
    /// # Errors
    /// When it is not what [`Caller::to_header`] writes.
    pub fn from_header(value: &HeaderValue) -> Result<Self, CallError> {
        let json = URL_SAFE_NO_PAD.decode(value.as_bytes()).map_err(|_| CallError::CallerMalformed)?;
        serde_json::from_slice(&json).map_err(|_| CallError::CallerMalformed)
    }
}

/// The length prefix keeps an issuer that ends like another's subject begins from sharing a scope with it.
fn subject_scope(subject: &Subject) -> String {
    format!("subject:{}:{}:{}", subject.issuer.len(), subject.issuer, subject.id)
}

/// What a handler knows about its request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who asks.
    pub caller: Arc<Caller>,
    /// By when the answer must be there.
    pub deadline: Deadline,
    /// Shared by every call made on behalf of one request from outside.
    pub transaction_id: Arc<str>,
    /// How many times the request has crossed the edge.
    pub hops: u8,
    /// The trace it belongs to.
    pub trace: TraceContext,
}

impl Call {
    /// The call a request belongs to, put there by the chassis.
    ///
    /// # Errors
    /// `INTERNAL` when the request did not come through the chassis.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, tonic::Status> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| CallError::OutsideChassis.into_status())
    }

    /// Reads what the edge stamped.
    ///
    /// # Errors
    /// When the caller or the transaction id is missing or malformed.
    pub fn from_headers(headers: &HeaderMap, deadline: Deadline) -> Result<Self, CallError> {
        let caller = Caller::from_header(headers.get(CALLER).ok_or(CallError::CallerMissing)?)?;
        let transaction_id = headers
            .get(TRANSACTION_ID)
            .and_then(|value| value.to_str().ok())
            .ok_or(CallError::TransactionIdMissing)?;
        let hops = headers
            .get(HOPS)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        let trace = TraceContext::from_headers(headers).unwrap_or_else(TraceContext::root);
        Ok(Self { caller: Arc::new(caller), deadline, transaction_id: transaction_id.into(), hops, trace })
    }

    /// Runs `future` as part of this call, so that an internal error can name its transaction.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        transaction::scope(self.transaction_id, future).await
    }
}

/// What can be wrong with the identity of a request.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No [`CALLER`] header.
    #[error("the request carries no caller")]
    CallerMissing,
    /// A [`CALLER`] header nobody here wrote.
    #[error("the request carries a malformed caller")]
    CallerMalformed,
    /// No [`TRANSACTION_ID`] header.
    #[error("the request carries no transaction id")]
    TransactionIdMissing,
    /// A handler was reached past the chassis.
    #[error("the request carries no call")]
    OutsideChassis,
}

impl Failure for CallError {
    const DOMAIN: &'static str = "causeway";

    fn kind(&self) -> Kind {
        match self {
            Self::CallerMissing | Self::CallerMalformed | Self::TransactionIdMissing => Kind::Unauthenticated,
            Self::OutsideChassis => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::CallerMissing => "CALLER_MISSING",
            Self::CallerMalformed => "CALLER_MALFORMED",
            Self::TransactionIdMissing => "TRANSACTION_ID_MISSING",
            Self::OutsideChassis => "OUTSIDE_CHASSIS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(issuer: &str, id: &str) -> Subject {
        Subject {
            issuer: issuer.into(),
            id: id.into(),
            customer_id: Some("c-1".into()),
            scopes: ["accounts.read".to_owned()].into(),
        }
    }

    #[test]
    fn a_caller_survives_the_wire() {
        let principals = [
            Principal::Anonymous,
            Principal::Service,
            Principal::Subject(subject("https://issuer", "alice")),
            Principal::Partner(Partner { id: "psp".into(), subject: None }),
            Principal::Partner(Partner {
                id: "psp".into(), subject: Some(subject("https://issuer", "zoë"))
            }),
        ];
        for principal in principals {
            for service in [None, Some("svc-docs".to_owned())] {
                let caller = Caller { principal: principal.clone(), service };
                assert_eq!(Caller::from_header(&caller.to_header().unwrap()).unwrap(), caller);
            }
        }
    }

    #[test]
    fn a_malformed_caller_is_refused() {
        for bad in ["", "e30", "not base64!", "bnVsbA", "eyJwcmluY2lwYWwiOiJhbm9ueW1vdXMiLCJ4IjoxfQ"] {
            assert!(Caller::from_header(&HeaderValue::from_static(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_two_principals_share_an_idempotency_scope() {
        let callers = [
            Principal::Subject(subject("a", "b:c")),
            Principal::Subject(subject("a:b", "c")),
            Principal::Partner(Partner { id: "p".into(), subject: None }),
            Principal::Partner(Partner { id: "p".into(), subject: Some(subject("a", "b:c")) }),
            Principal::Service,
            Principal::Anonymous,
        ]
        .map(|principal| Caller { principal, service: Some("svc-docs".into()) }.idempotency_scope());
        let distinct: BTreeSet<_> = callers.iter().collect();
        assert_eq!(distinct.len(), callers.len());
    }
}
