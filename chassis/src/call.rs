//! Who asks, for how long, and within which transaction: what the edge tells a service about a request. Who asks is signed
//! ([`crate::transaction_token`]); the rest is believed because the listener admits nobody but the edge.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};

use crate::deadline::Deadline;
use crate::error::{Failure, Kind, outcome};
use crate::trace::TraceContext;
use crate::transaction;
use crate::transaction_token::{TXN_TOKEN, TokenError, Verifier};

/// Names the transaction that every call made on behalf of one request shares.
pub const TRANSACTION_ID: &str = "causeway-transaction-id";
/// How many times the request has crossed the edge before.
pub const HOPS: &str = "causeway-hops";

/// The scopes a token carries.
pub type Scopes = BTreeSet<String>;

/// Who stands behind a request, and which workload brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who stands behind it.
    pub principal: Principal,
    /// The workload that called through the mesh listener ("svc-docs"); none when the request came from outside.
    pub service: Option<String>,
}

/// Who stands behind a request.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The `iss` of the token.
    pub issuer: String,
    /// The `sub` of the token, unique within the issuer.
    pub id: String,
    /// The customer the person is, if any.
    pub customer_id: Option<String>,
    /// What the token allows.
    pub scopes: Scopes,
}

/// A partner of the bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    /// As mapped from the certificate.
    pub id: String,
    /// The person it acts for, by a certificate-bound token.
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

    /// The partner behind the request, by its certificate.
    #[must_use]
    pub fn partner_id(&self) -> Option<&str> {
        match &self.principal {
            Principal::Partner(partner) => Some(&partner.id),
            Principal::Anonymous | Principal::Subject(_) | Principal::Service => None,
        }
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
    /// The token that said who asks, to be handed back with a call onward; none where nobody's word was needed.
    pub token: Option<HeaderValue>,
}

impl Call {
    /// The call a request belongs to, put there by the chassis.
    ///
    /// # Errors
    /// `INTERNAL` when the request did not come through the chassis.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, tonic::Status> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| CallError::OutsideChassis.into_status())
    }

    /// Reads what the edge stamped for the workload `own`, a SPIFFE id.
    ///
    /// # Errors
    /// When the transaction token is not to be believed, or there is no transaction id.
    pub fn from_headers(
        headers: &HeaderMap,
        deadline: Deadline,
        verifier: &Verifier,
        own: &str,
    ) -> Result<Self, CallError> {
        let verified = verifier.of(headers, own, SystemTime::now())?;
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
        let (caller, token) = (Arc::clone(&verified.caller), headers.get(TXN_TOKEN).cloned());
        Ok(Self { caller, deadline, transaction_id: transaction_id.into(), hops, trace, token })
    }

    /// Runs `future` as part of this call, so that an internal error can name its transaction.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        transaction::scope(self.transaction_id, future).await
    }
}

/// What can be wrong with the identity of a request.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody the edge speaks for.
    #[error(transparent)]
    Token(#[from] TokenError),
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
            Self::Token(error) => error.kind(),
            Self::TransactionIdMissing => Kind::Unauthenticated,
            Self::OutsideChassis => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Token(error) => error.reason(),
            Self::TransactionIdMissing => "TRANSACTION_ID_MISSING",
            Self::OutsideChassis => "OUTSIDE_CHASSIS",
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        // Nobody begins with a call before knowing whose it is.
        vec![(outcome::KEY, outcome::NOT_DONE.to_owned())]
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
