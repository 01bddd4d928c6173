//! What the contract's own options say: `google.api.http`, `(edge.v1.policy)`, `(edge.v1.rest)` and `(edge.v1.field)`. They are
//! read by extension number from the options' bytes, so that it does not matter whether a set carries the files that declare
//! the extensions. No defaults are decided here.

use std::time::Duration;

use prost_reflect::prost::Message as _;
use prost_reflect::{FieldDescriptor, MethodDescriptor};
use proto::edge::v1 as wire;
use serde::{Deserialize, Serialize};

use super::config::{CustomRule, HttpRule};
use crate::policy::{Allow, Bounds, Policy, RateClass};

/// How a method looks over REST beyond its rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestOptions {
    /// 200 when 0; else 201, 202 or 204.
    pub success_status: u16,
    /// A template over the response's fields; empty for none.
    pub location: String,
    pub update_mask_from_body: bool,
    /// As `[transcoding]` has it where it is not set; the next two as well.
    pub print_defaults: Option<bool>,
    pub print_enum_numbers: Option<bool>,
    pub print_proto_names: Option<bool>,
    pub etag: bool,
}

/// Whether a call may be repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idempotency {
    #[default]
    Unknown,
    NoSideEffects,
    Idempotent,
}

/// A method's options, as far as the edge knows them.
#[derive(Debug, Default)]
pub struct MethodOptions {
    pub http: Option<HttpRule>,
    pub policy: Option<wire::Policy>,
    pub rest: RestOptions,
    pub idempotency: Idempotency,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawMethodOptions {
    #[prost(int32, optional, tag = "34")]
    idempotency_level: Option<i32>,
    #[prost(message, optional, tag = "50501")]
    policy: Option<wire::Policy>,
    #[prost(message, optional, tag = "50502")]
    rest: Option<wire::Rest>,
    #[prost(message, optional, tag = "72295728")]
    http: Option<RawHttpRule>,
}

/// `google.api.HttpRule`.
#[derive(Clone, PartialEq, prost::Message)]
struct RawHttpRule {
    #[prost(string, optional, tag = "2")]
    get: Option<String>,
    #[prost(string, optional, tag = "3")]
    put: Option<String>,
    #[prost(string, optional, tag = "4")]
    post: Option<String>,
    #[prost(string, optional, tag = "5")]
    delete: Option<String>,
    #[prost(string, optional, tag = "6")]
    patch: Option<String>,
    #[prost(string, tag = "7")]
    body: String,
    #[prost(message, optional, tag = "8")]
    custom: Option<RawCustom>,
    #[prost(message, repeated, tag = "11")]
    additional_bindings: Vec<RawHttpRule>,
    #[prost(string, tag = "12")]
    response_body: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawCustom {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    path: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawFieldOptions {
    #[prost(message, optional, tag = "50503")]
    field: Option<wire::Field>,
}

impl From<RawHttpRule> for HttpRule {
    fn from(raw: RawHttpRule) -> Self {
        Self {
            get: raw.get,
            put: raw.put,
            post: raw.post,
            delete: raw.delete,
            patch: raw.patch,
            custom: raw.custom.map(|custom| CustomRule { kind: custom.kind, path: custom.path }),
            body: raw.body,
            response_body: raw.response_body,
            additional_bindings: raw.additional_bindings.into_iter().map(Self::from).collect(),
        }
    }
}

/// Reads a method's options.
///
/// # Errors
/// When an option's bytes are not what its number stands for.
pub fn of_method(method: &MethodDescriptor) -> Result<MethodOptions, String> {
    let bytes = method.options().encode_to_vec();
    let raw = RawMethodOptions::decode(bytes.as_slice()).map_err(|error| format!("options: {error}"))?;
    let rest = raw.rest.unwrap_or_default();
    Ok(MethodOptions {
        http: raw.http.map(HttpRule::from),
        policy: raw.policy,
        rest: RestOptions {
            success_status: u16::try_from(rest.success_status)
                .map_err(|_| "rest: success_status out of range")?,
            location: rest.location,
            update_mask_from_body: rest.update_mask_from_body,
            print_defaults: rest.print_defaults,
            print_enum_numbers: rest.print_enum_numbers,
            print_proto_names: rest.print_proto_names,
            etag: rest.etag,
        },
        idempotency: match raw.idempotency_level {
            Some(1) => Idempotency::NoSideEffects,
            Some(2) => Idempotency::Idempotent,
            _ => Idempotency::Unknown,
        },
    })
}

/// Reads what a field means to the edge; a field without the option means nothing special.
///
/// # Errors
/// When the option's bytes are not an `edge.v1.Field`.
pub fn of_field(field: &FieldDescriptor) -> Result<wire::Field, String> {
    let bytes = field.options().encode_to_vec();
    let raw = RawFieldOptions::decode(bytes.as_slice())
        .map_err(|error| format!("options of field {}: {error}", field.full_name()))?;
    Ok(raw.field.unwrap_or_default())
}

/// The policy a descriptor states, checked.
///
/// # Errors
/// Says what is missing or out of range.
pub fn policy(raw: &wire::Policy, streaming: bool) -> Result<Policy, String> {
    let mut allow = Allow::default();
    for kind in raw.allow() {
        match kind {
            wire::PrincipalKind::Unspecified => {
                return Err("policy: allow names an unknown kind of principal".into());
            }
            wire::PrincipalKind::Subject => allow.subject = true,
            wire::PrincipalKind::Partner => allow.partner = true,
            wire::PrincipalKind::Service => allow.service = true,
            wire::PrincipalKind::Anonymous => allow.anonymous = true,
        }
    }
    let bounds = if streaming {
        let stream = raw.stream.as_ref().ok_or("policy: a streaming method needs stream bounds")?;
        Bounds::Stream {
            idle: duration(stream.idle.as_ref(), "stream.idle")?,
            max_age: duration(stream.max_age.as_ref(), "stream.max_age")?,
        }
    } else {
        Bounds::Unary {
            default: duration(raw.default_deadline.as_ref(), "default_deadline")?,
            max: duration(raw.max_deadline.as_ref(), "max_deadline")?,
        }
    };
    Ok(Policy {
        allow,
        any_scope: raw.any_scope.iter().cloned().collect(),
        services: raw.services.iter().cloned().collect(),
        bounds,
        rate_class: match raw.rate_class() {
            wire::RateClass::Unspecified | wire::RateClass::Read => RateClass::Read,
            wire::RateClass::Write => RateClass::Write,
            wire::RateClass::Money => RateClass::Money,
            wire::RateClass::Heavy => RateClass::Heavy,
        },
        audited: raw.audited,
    })
}

fn duration(value: Option<&prost_types::Duration>, name: &str) -> Result<Duration, String> {
    let value = value.ok_or_else(|| format!("policy: {name} is missing"))?;
    Duration::try_from(*value)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("policy: {name} must be positive"))
}
