//! What comes back: the success a method's options promise, and the failures its comment lists, all in the two shapes of
//! errors.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::parameter::{find, may_be_known};
use super::schema::Schemas;
use super::{comment, well_known};
use crate::contract::Described;
use crate::transcode::{BindingKind, ErrorShape};

/// The component of the error shape. `edge.v1` is the edge's own package, so no contract can have it.
pub(super) const ERROR: &str = "edge.v1.Error";
/// The component of the same for clients that prefer RFC 9457.
pub(super) const PROBLEM: &str = "edge.v1.Problem";

/// The answers of an operation.
pub(super) fn answers(schemas: &mut Schemas<'_>, binding: &Described<'_>) -> Value {
    let mut answers = Map::new();
    let status = binding.binding.success_status();
    answers.insert(status.to_string(), success(schemas, binding));
    if may_be_known(binding) {
        answers.insert("304".to_owned(), json!({"description": "The client has this version."}));
    }
    let comment = schemas
        .comments
        .of_descriptor(&binding.descriptor.parent_service().parent_file(), binding.descriptor.path());
    for (status, reasons) in failures(binding, comment.unwrap_or_default()) {
        answers.insert(status.to_string(), failure(status, &reasons));
    }
    answers.insert("default".to_owned(), failure(0, &["Any other refusal or failure.".to_owned()]));
    answers.into()
}

fn success(schemas: &mut Schemas<'_>, binding: &Described<'_>) -> Value {
    let mut success = Map::new();
    success.insert("description".to_owned(), "Success.".into());
    let mut headers = Map::new();
    if !binding.method.rest.location.is_empty() {
        let text = format!("`{}`, filled from the answer.", binding.method.rest.location);
        headers.insert("Location".to_owned(), header(&text));
    }
    if binding.method.rest.etag {
        headers.insert("ETag".to_owned(), header("The entity tag of the answer, quoted."));
    }
    if !headers.is_empty() {
        success.insert("headers".to_owned(), headers.into());
    }
    if binding.binding.success_status() != 204 {
        success.insert("content".to_owned(), content(schemas, binding));
    }
    success.into()
}

fn content(schemas: &mut Schemas<'_>, binding: &Described<'_>) -> Value {
    if binding.binding.response_is_http_body() {
        // Whatever they are: OpenAPI 3.1 leaves the schema of bytes out.
        return json!({"*/*": {}});
    }
    let output = binding.descriptor.output();
    let schema = match find(&output, binding.response_body) {
        Some(field) => schemas.field(&field),
        None => schemas.message(&output),
    };
    if !matches!(binding.binding.kind(), BindingKind::ServerStream | BindingKind::Bidi) {
        return json!({"application/json": {"schema": schema}});
    }
    let events = json!({"schema": {
        "type": "string",
        "description": "One message an event; a failure on the way is an event named `error`.",
    }});
    if schemas.options.grpc_gateway {
        let lines = json!({
            "type": "object",
            "properties": {"result": schema, "error": {"type": "object"}},
            "description": "One such object a line; a failure on the way is the last line.",
        });
        return json!({"application/json": {"schema": lines}, "text/event-stream": events});
    }
    json!({
        "application/json": {"schema": {
            "type": "array",
            "items": schema,
            "description": "Cut, never closed, when the call fails on the way.",
        }},
        "application/x-ndjson": {"schema": {
            "anyOf": [schema, reference(ERROR)],
            "description": "One message a line; a failure on the way is the last line.",
        }},
        "text/event-stream": events,
    })
}

/// The failures that are worth a line: what the comment says, and what the edge itself says to anyone.
fn failures(binding: &Described<'_>, comment: &str) -> BTreeMap<u16, Vec<String>> {
    let mut failures = comment::errors(comment);
    let mut own = |status: u16, code: &str, why: &str| {
        let reasons = failures.entry(status).or_default();
        // The code alone says less than what follows here.
        reasons.retain(|reason| reason != code);
        reasons.push(format!("{code} ({why})"));
    };
    own(400, "INVALID_ARGUMENT", "not what this operation takes; every violation is named");
    if !binding.method.policy.allow.anonymous {
        own(401, "UNAUTHENTICATED", "no credentials, or not good ones");
        own(403, "PERMISSION_DENIED", "the credentials lack the scope");
    }
    own(429, "RESOURCE_EXHAUSTED", "too many requests");
    own(503, "UNAVAILABLE", "the service cannot be reached");
    failures
}

fn failure(status: u16, reasons: &[String]) -> Value {
    let mut content = json!({"schema": reference(ERROR)});
    let code = reasons.iter().find_map(|reason| comment::code(reason));
    if let (Some(code), Some(content)) = (code, content.as_object_mut()) {
        let example = json!({"error": {"code": status, "status": code, "message": "why", "details": []}});
        content.insert("example".to_owned(), example);
    }
    let mut failure = json!({"description": lines(reasons), "content": {
        (ErrorShape::Plain.content_type()): content,
        (ErrorShape::Problem.content_type()): {"schema": reference(PROBLEM)},
    }});
    let header = match status {
        401 => Some(("WWW-Authenticate", header("The challenge of RFC 6750."))),
        429 | 503 => Some(("Retry-After", header("Seconds until another try is worth it."))),
        _ => None,
    };
    if let (Some((name, value)), Some(failure)) = (header, failure.as_object_mut()) {
        failure.insert("headers".to_owned(), json!({(name): value}));
    }
    failure
}

/// One reason as it is, several as a list.
fn lines(reasons: &[String]) -> String {
    match reasons {
        [one] => one.clone(),
        several => several.iter().map(|reason| format!("- {reason}")).collect::<Vec<_>>().join("\n"),
    }
}

fn header(description: &str) -> Value {
    json!({"description": description, "schema": {"type": "string"}})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// AIP-193.
pub(super) fn error_schema() -> Value {
    json!({
        "type": "object",
        "description": "Every failure, whoever tells it.",
        "properties": {"error": {
            "type": "object",
            "properties": {
                "code": {"type": "integer", "description": "The HTTP status."},
                "status": {"type": "string", "description": "The name of the gRPC code."},
                "message": {"type": "string", "description": "For people; programs read the details."},
                "details": details(),
            },
            "required": ["code", "status", "message", "details"],
        }},
        "required": ["error"],
    })
}

/// RFC 9457, with what AIP-193 has besides.
pub(super) fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "The same failure as a problem (RFC 9457), for clients whose `Accept` prefers it.",
        "properties": {
            "type": {
                "type": "string",
                "format": "uri",
                "description": "Names domain and reason; `about:blank` where there is none.",
            },
            "title": {"type": "string", "description": "The type in words."},
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": {"type": "string", "description": "For people; programs read the rest."},
            "code": {"type": "string", "description": "The name of the gRPC code."},
            "reason": {"type": "string"},
            "domain": {"type": "string"},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "details": details(),
        },
        "required": ["type", "title", "status", "detail", "code", "details"],
    })
}

fn details() -> Value {
    json!({
        "type": "array",
        "description": "A `google.rpc.ErrorInfo` with the reason; for invalid requests a \
            `google.rpc.BadRequest` with every violation; for what may be tried again a `google.rpc.RetryInfo`.",
        "items": well_known::any(),
    })
}
