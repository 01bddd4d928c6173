//! What stands in a token: the claims of the draft, and in `tctx` what of a [`Caller`] has no claim of its own.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::TokenError;
use crate::call::{Caller, Partner, Principal, Scopes, Subject};

/// The media type of the draft, without "application/".
const TYPE: &str = "txntoken+jwt";
/// Ed25519: small, fast to sign with, and without a choice of hash or curve to get wrong.
const ALGORITHM: &str = "EdDSA";

/// The protected header. A member more is somebody else's token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header<'a> {
    alg: Cow<'a, str>,
    pub(super) kid: Cow<'a, str>,
    typ: Cow<'a, str>,
}

impl<'a> Header<'a> {
    pub(super) fn new(key_id: &'a str) -> Self {
        Self { alg: ALGORITHM.into(), kid: key_id.into(), typ: TYPE.into() }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.alg == ALGORITHM && self.typ == TYPE
    }
}

/// The payload.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) iat: u64,
    pub(super) exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// The workload that asked for the token: the one whose certificate the edge saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    req_wl: Option<String>,
    tctx: Context,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    kind: PrincipalKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partner_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PrincipalKind {
    Anonymous,
    Subject,
    Partner,
    Service,
}

impl Claims {
    pub(super) fn new(issuer: &str, audience: &str, caller: &Caller, iat: u64, exp: u64) -> Self {
        let subject = caller.subject();
        let kind = match caller.principal {
            Principal::Anonymous => PrincipalKind::Anonymous,
            Principal::Subject(_) => PrincipalKind::Subject,
            Principal::Partner(_) => PrincipalKind::Partner,
            Principal::Service => PrincipalKind::Service,
        };
        Self {
            iss: issuer.to_owned(),
            aud: audience.to_owned(),
            iat,
            exp,
            sub: subject.map(|subject| subject.id.clone()),
            scope: subject.map(|subject| words(&subject.scopes)),
            req_wl: caller.service.clone(),
            tctx: Context {
                kind,
                issuer: subject.map(|subject| subject.issuer.clone()),
                customer_id: subject.and_then(|subject| subject.customer_id.clone()),
                partner_id: caller.partner_id().map(str::to_owned),
            },
        }
    }

    pub(super) fn into_caller(self) -> Result<Caller, TokenError> {
        let Context { kind, issuer, customer_id, partner_id } = self.tctx;
        let subject = match (self.sub, self.scope, issuer) {
            (Some(id), Some(scope), Some(issuer)) => {
                let scopes: Scopes = scope.split_ascii_whitespace().map(str::to_owned).collect();
                Some(Subject { issuer, id, customer_id, scopes })
            }
            (None, None, None) if customer_id.is_none() => None,
            _ => return Err(TokenError::Malformed),
        };
        let principal = match (kind, subject, partner_id) {
            (PrincipalKind::Anonymous, None, None) => Principal::Anonymous,
            (PrincipalKind::Service, None, None) => Principal::Service,
            (PrincipalKind::Subject, Some(subject), None) => Principal::Subject(subject),
            (PrincipalKind::Partner, subject, Some(id)) => Principal::Partner(Partner { id, subject }),
            _ => return Err(TokenError::Malformed),
        };
        Ok(Caller { principal, service: self.req_wl })
    }
}

/// RFC 8693 section 4.2. A scope holds no space: the edge has checked that when it read the subject's token.
fn words(scopes: &Scopes) -> String {
    let mut text = String::new();
    for scope in scopes {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(scope);
    }
    text
}
