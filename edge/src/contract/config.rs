//! The contract's part of `edge.toml`: which descriptor sets there are, whose policies are believed, and what the operator
//! says about single methods or services. Pure shapes; `contract::load` gives them meaning and checks them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::options::RestOptions;
use crate::policy::{Allow, Bounds, Policy, RateClass};

/// `[[descriptor_set]]`: a file of a compiled contract and the upstream that serves it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DescriptorSet {
    /// A serialized `google.protobuf.FileDescriptorSet`, imports included, as the compiler wrote it.
    pub path: PathBuf,
    /// The name of an `[[upstream]]`. Services of the set that `[[service]]` gives to another upstream go there.
    pub upstream: String,
    #[serde(default)]
    pub policy_source: PolicySource,
}

/// Whose word on policies and REST habits counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicySource {
    /// Only `edge.toml`: what a foreign contract says about itself is not trusted.
    #[default]
    Config,
    /// `(edge.v1.policy)` and `(edge.v1.rest)` of the descriptors; `edge.toml` still overrides.
    Descriptor,
}

/// Everything `edge.toml` says about methods and services.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    #[serde(default, rename = "method")]
    pub methods: Vec<MethodOverride>,
    #[serde(default, rename = "service")]
    pub services: Vec<ServiceOverride>,
}

/// `[[method]]`: the last word on one method.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MethodOverride {
    /// `package.Service/Method`.
    pub name: String,
    /// Replaces the method's `google.api.http` rule, additional bindings included; absent keeps it.
    pub http: Option<Vec<HttpRule>>,
    pub policy: Option<PolicyConfig>,
    pub rest: Option<RestOptions>,
    /// Whether unknown fields of a JSON body are skipped instead of refused.
    pub ignore_unknown_fields: Option<bool>,
}

/// `[[service]]`: what holds for each method of a service that has nothing of its own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceOverride {
    /// `package.Service`.
    pub name: String,
    /// Another upstream than the set's.
    pub upstream: Option<String>,
    pub policy: Option<PolicyConfig>,
    /// Gives methods without a rule `POST /package.Service/Method` with body `*`.
    #[serde(default)]
    pub auto_mapping: bool,
}

/// One binding in the words of `google.api.http`: exactly one of the verbs, or `custom`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRule {
    pub get: Option<String>,
    pub put: Option<String>,
    pub post: Option<String>,
    pub delete: Option<String>,
    pub patch: Option<String>,
    pub custom: Option<CustomRule>,
    #[serde(default)]
    pub body: String,
    #[serde(default)]
    pub response_body: String,
    #[serde(default)]
    pub additional_bindings: Vec<HttpRule>,
}

/// A binding of another HTTP method; kind `*` matches each.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CustomRule {
    pub kind: String,
    pub path: String,
}

/// A policy in the words of `edge.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    pub allow: Vec<PrincipalKind>,
    #[serde(default)]
    pub any_scope: Vec<String>,
    #[serde(default)]
    pub services: Vec<String>,
    #[serde(default = "default_deadline_ms")]
    pub default_deadline_ms: u64,
    #[serde(default = "max_deadline_ms")]
    pub max_deadline_ms: u64,
    #[serde(default = "stream_idle_ms")]
    pub stream_idle_ms: u64,
    #[serde(default = "stream_max_age_ms")]
    pub stream_max_age_ms: u64,
    #[serde(default)]
    pub rate_class: RateClassName,
    #[serde(default)]
    pub audited: bool,
}

/// The kinds of principal, as `edge.toml` writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    Subject,
    Partner,
    Service,
    Anonymous,
}

/// The rate classes, as `edge.toml` writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RateClassName {
    #[default]
    Read,
    Write,
    Money,
    Heavy,
}

// What a customer waits for at a screen, and what a batch job may ask for.
const fn default_deadline_ms() -> u64 {
    5_000
}
const fn max_deadline_ms() -> u64 {
    30_000
}
// Longer than any heartbeat in use, shorter than the patience of address translators on the way.
const fn stream_idle_ms() -> u64 {
    30_000
}
const fn stream_max_age_ms() -> u64 {
    3_600_000
}

impl PolicyConfig {
    /// The policy of a method of this shape.
    #[must_use]
    pub fn to_policy(&self, streaming: bool) -> Policy {
        let bounds = if streaming {
            Bounds::Stream {
                idle: Duration::from_millis(self.stream_idle_ms),
                max_age: Duration::from_millis(self.stream_max_age_ms),
            }
        } else {
            Bounds::Unary {
                default: Duration::from_millis(self.default_deadline_ms),
                max: Duration::from_millis(self.max_deadline_ms),
            }
        };
        let admits = |kind| self.allow.contains(&kind);
        Policy {
            allow: Allow {
                subject: admits(PrincipalKind::Subject),
                partner: admits(PrincipalKind::Partner),
                service: admits(PrincipalKind::Service),
                anonymous: admits(PrincipalKind::Anonymous),
            },
            any_scope: self.any_scope.iter().cloned().collect(),
            services: self.services.iter().cloned().collect(),
            bounds,
            rate_class: match self.rate_class {
                RateClassName::Read => RateClass::Read,
                RateClassName::Write => RateClass::Write,
                RateClassName::Money => RateClass::Money,
                RateClassName::Heavy => RateClass::Heavy,
            },
            audited: self.audited,
        }
    }
}
