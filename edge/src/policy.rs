//! A method's policy as the edge uses it: parsed once at load from `(edge.v1.policy)` or from `edge.toml`, checked on every
//! request. Pure data; who builds it is `contract`, who asks it is `authz`.

use std::collections::BTreeSet;
use std::time::Duration;

/// Who may call a method and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub allow: Allow,
    /// A subject or a partner needs one of these; empty asks for none.
    pub any_scope: BTreeSet<String>,
    /// The workloads that may call through the mesh listener, for themselves or for a subject; empty admits none.
    pub services: BTreeSet<String>,
    pub bounds: Bounds,
    pub rate_class: RateClass,
    pub audited: bool,
}

/// The kinds of principal a policy admits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    pub subject: bool,
    pub partner: bool,
    pub service: bool,
    pub anonymous: bool,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// A call with one answer: the budget when none is asked for, and the longest that may be asked for.
    Unary { default: Duration, max: Duration },
    /// A stream: how long nothing may move, and how long it may live.
    Stream { idle: Duration, max_age: Duration },
}

/// The rate limit a call counts against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateClass {
    #[default]
    Read,
    Write,
    Money,
    Heavy,
}

impl Policy {
    /// Whether the method exists at all on a listener: methods open only to services are unknown outside the mesh, and
    /// methods open to no service are unknown inside.
    #[must_use]
    pub fn visible_on(&self, listener: Listener) -> bool {
        match listener {
            // `allow` may name subjects and yet be meant for services acting for them: without a REST rule or a scope list
            // that is told by `services` and `outside`.
            Listener::Public => {
                self.outside() && (self.allow.subject || self.allow.anonymous || self.allow.partner)
            }
            Listener::Partner => self.outside() && (self.allow.partner || self.allow.anonymous),
            Listener::Mesh => !self.services.is_empty(),
        }
    }

    /// Whether principals may reach the method from outside the mesh. A method that lists services and asks a subject for no
    /// scope is the services' own: a subject reaches it only through one of them.
    fn outside(&self) -> bool {
        self.services.is_empty() || !self.any_scope.is_empty() || self.allow.anonymous
    }
}

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    Public,
    Partner,
    Mesh,
}

impl Listener {
    /// The label in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Partner => "partner",
            Self::Mesh => "mesh",
        }
    }
}
