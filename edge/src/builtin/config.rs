//! `[builtin]`: what the edge answers itself, and who may see it.

use chassis::call::{Caller, Principal};
use serde::{Deserialize, Serialize};

use crate::authz::Refusal;
use crate::contract::PrincipalKind;

/// The whole table.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The name of the API in its description.
    pub title: String,
    /// The contract as an OpenAPI document at `/openapi.json`.
    pub openapi: Access,
    /// A page for people at `/docs`, which reads that document.
    pub docs: Access,
    /// gRPC server reflection, v1 and v1alpha.
    pub reflection: Access,
}

/// Whether a target is there, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    pub enabled: bool,
    /// The kinds of principal that may see it.
    #[serde(default)]
    pub allow: Vec<PrincipalKind>,
    /// A subject or a partner needs one of these; empty asks for none.
    #[serde(default)]
    pub any_scope: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        // What the public listener answers is no secret: whoever writes a client needs it before having a token. Reflection
        // shows the services' own methods too, and so is for those who work on them.
        let public = || Access {
            enabled: true,
            allow: vec![PrincipalKind::Anonymous, PrincipalKind::Subject],
            any_scope: Vec::new(),
        };
        Self {
            title: "Causeway".to_owned(),
            openapi: public(),
            docs: public(),
            reflection: Access {
                enabled: true,
                allow: vec![PrincipalKind::Subject, PrincipalKind::Service],
                any_scope: vec!["staff.read".to_owned()],
            },
        }
    }
}

impl Access {
    /// Whether a caller may see the target.
    ///
    /// # Errors
    /// Why not, in the words of every other refusal.
    pub fn admit(&self, caller: &Caller) -> Result<(), Refusal> {
        let allows = |kind| self.allow.contains(&kind);
        // A workload acts for itself whoever stands behind it: what it may see does not grow with its callers.
        let admitted = match &caller.principal {
            _ if caller.acting_service().is_some() => return self.admit_service(caller),
            Principal::Anonymous if allows(PrincipalKind::Anonymous) => return Ok(()),
            Principal::Anonymous => return Err(Refusal::CredentialsRequired),
            Principal::Subject(_) => allows(PrincipalKind::Subject),
            Principal::Partner(_) => allows(PrincipalKind::Partner),
            Principal::Service => false,
        };
        if !admitted {
            return Err(Refusal::NotAdmitted { principal: caller.kind() });
        }
        if self.any_scope.is_empty() || self.any_scope.iter().any(|scope| caller.has_scope(scope)) {
            return Ok(());
        }
        Err(Refusal::ScopeMissing { any_of: self.any_scope.clone() })
    }

    fn admit_service(&self, caller: &Caller) -> Result<(), Refusal> {
        let admitted = self.allow.contains(&PrincipalKind::Service);
        if admitted { Ok(()) } else { Err(Refusal::NotAdmitted { principal: caller.kind() }) }
    }
}

impl Access {
    /// Whether everyone may see it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.allow.contains(&PrincipalKind::Anonymous)
    }
}
