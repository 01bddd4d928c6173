//! The contract as an OpenAPI 3.1 document: what a REST client on the public listener can call, with whose credentials, and
//! what comes back. A pure function of the contract, so that it cannot disagree with what is served. What only services may
//! call is not in it, and nothing in it is written by hand.
//!
//! `operation` puts one binding together from `parameter`, `form`, `answer` and `schema`; `path` turns templates into OpenAPI's own;
//! `comment` finds what the contract's authors wrote.

mod answer;
mod comment;
mod form;
mod operation;
mod parameter;
mod path;
mod schema;
mod well_known;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use comment::Comments;
use operation::Operations;
use schema::Schemas;

use crate::contract::{Contract, Described};
use crate::policy::Listener;
use crate::transcode::Options;

/// The names of the security schemes.
const BEARER: &str = "bearer";
const MUTUAL_TLS: &str = "mutualTls";

/// Describes `contract`. `options` say how names and enum values are spelled.
#[must_use]
pub fn document(contract: &Contract, title: &str, options: &Options) -> Value {
    let shown: Vec<Described<'_>> = contract.described().filter(is_shown).collect();
    let comments = Comments::of(contract.files());
    let mut schemas = Schemas::new(options, &comments, schema::answered(&shown));
    let mut operations = Operations::default();
    for binding in &shown {
        operations.add(&mut schemas, binding);
    }
    let mut components = schemas.into_components();
    components.insert(answer::ERROR.to_owned(), answer::error_schema());
    components.insert(answer::PROBLEM.to_owned(), answer::problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
        },
        "servers": [{"url": "/"}],
        "tags": tags(&comments, &shown),
        "paths": operations.into_paths(),
        "components": {
            "schemas": components,
            "parameters": {(parameter::FIELDS): parameter::fields()},
            "securitySchemes": security_schemes(),
        },
    })
}

/// What holds for every operation.
const INTRODUCTION: &str = "\
JSON is the canonical JSON of protobuf: 64-bit integers are strings, bytes are base64, times are RFC 3339, a duration is \
`\"1.5s\"`, an enum value is its name. Fields at their default may be left out of answers. Unknown fields and query parameters \
are refused.

Every failure is told in one shape, `edge.v1.Error`: `status` is the gRPC code, and the `ErrorInfo` among the details has a \
`reason` that programs may rely on. Clients whose `Accept` prefers `application/problem+json` get `edge.v1.Problem`.";

/// Whether a REST client of the public listener can call it in a way OpenAPI has words for.
fn is_shown(binding: &Described<'_>) -> bool {
    let verb = matches!(
        binding.binding.http_method(),
        "GET" | "PUT" | "POST" | "DELETE" | "PATCH" | "OPTIONS" | "HEAD" | "TRACE"
    );
    verb && binding.method.policy.visible_on(Listener::Public)
}

/// One tag a service.
fn tags(comments: &Comments, shown: &[Described<'_>]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let mut tags = Vec::new();
    for binding in shown {
        let service = binding.descriptor.parent_service();
        if !seen.insert(service.full_name().to_owned()) {
            continue;
        }
        let mut tag = Map::new();
        tag.insert("name".to_owned(), service.full_name().into());
        describe(&mut tag, comments.of_descriptor(&service.parent_file(), service.path()));
        tags.push(tag.into());
    }
    tags
}

fn security_schemes() -> Value {
    json!({
        (BEARER): {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token. An operation lists the scopes of which the token needs one.",
        },
        (MUTUAL_TLS): {
            "type": "mutualTLS",
            "description": "A partner's client certificate, on the partner listener.",
        },
    })
}

/// Adds a description if there is one.
fn describe(object: &mut Map<String, Value>, text: Option<&str>) {
    if let Some(text) = text {
        object.insert("description".to_owned(), text.into());
    }
}
