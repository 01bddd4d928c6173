//! May this principal call this method: the first half of authorization, from the policy alone. The other half, may it touch
//! this object, is the owning service's. Pure; asked once per request, after the method is known and before a byte of the body
//! is read.

use chassis::call::{Caller, Principal};

use crate::policy::{Listener, Policy};

/// Why a policy does not admit a caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody in particular called what asks for somebody.
    #[error("credentials are required")]
    CredentialsRequired,
    /// The method is not for this kind of principal, or not for this service.
    #[error("the caller may not call this method")]
    NotAdmitted {
        /// The kind of principal: a bounded label.
        principal: &'static str,
    },
    /// The subject, or the partner's subject, lacks every scope that would do.
    #[error("the credentials lack a scope that the method asks for")]
    ScopeMissing { any_of: Vec<String> },
}

/// Decides by listener first (each admits its own kinds of principal only), then by kind, then by scope.
pub fn admit(policy: &Policy, listener: Listener, caller: &Caller) -> Result<(), Refusal> {
    let refused = Err(Refusal::NotAdmitted { principal: caller.kind() });
    let service = caller.acting_service();
    // A service's name and the mesh listener go together; anything else is a fault in `authn` and ends here.
    if service.is_some() != (listener == Listener::Mesh) {
        return refused;
    }
    if service.is_some_and(|name| !policy.services.contains(name)) {
        return refused;
    }
    match &caller.principal {
        Principal::Anonymous if policy.allow.anonymous => Ok(()),
        Principal::Anonymous => Err(Refusal::CredentialsRequired),
        Principal::Subject(_) if policy.allow.subject && listener != Listener::Partner => {
            scoped(policy, caller)
        }
        Principal::Partner(_) if policy.allow.partner && listener != Listener::Public => {
            scoped(policy, caller)
        }
        // A service is known by its name; scopes are for those who come with a token.
        Principal::Service if policy.allow.service && listener == Listener::Mesh => Ok(()),
        Principal::Subject(_) | Principal::Partner(_) | Principal::Service => refused,
    }
}

fn scoped(policy: &Policy, caller: &Caller) -> Result<(), Refusal> {
    if policy.any_scope.is_empty() || policy.any_scope.iter().any(|scope| caller.has_scope(scope)) {
        return Ok(());
    }
    Err(Refusal::ScopeMissing { any_of: policy.any_scope.iter().cloned().collect() })
}

#[cfg(test)]
mod tests;
