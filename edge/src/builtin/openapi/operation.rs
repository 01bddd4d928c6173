//! Operations and the paths they stand under: one for each REST binding.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{FieldDescriptor, Kind};
use serde_json::{Map, Value, json};

use super::parameter::{Parameters, find};
use super::path::Shown;
use super::schema::Schemas;
use super::{BEARER, MUTUAL_TLS, answer, comment, describe, form};
use crate::contract::{Described, MarkedFields, marks};
use crate::transcode::BindingKind;

/// The operations so far.
#[derive(Default)]
pub(super) struct Operations {
    paths: BTreeMap<String, Path>,
    ids: BTreeSet<String>,
}

/// A path and what can be done with it.
struct Path {
    /// As the first binding that came by names it: OpenAPI wants the parameters of a path to have one name each.
    named: String,
    names: Vec<String>,
    operations: Map<String, Value>,
}

impl Operations {
    pub(super) fn add(&mut self, schemas: &mut Schemas<'_>, binding: &Described<'_>) {
        schemas.speak(&binding.method.rest);
        let shown = Shown::of(binding.template);
        let id = self.id(binding);
        let path = self.paths.entry(shown.shape()).or_insert_with(|| Path {
            named: shown.named(),
            names: shown.wildcards.iter().map(|wildcard| wildcard.name.clone()).collect(),
            operations: Map::new(),
        });
        // The marks were read when the contract was loaded, so they can be read.
        let marks = marks(&binding.descriptor.input()).unwrap_or_default();
        let mut parameters = Parameters { schemas, list: Vec::new() };
        parameters.path(binding, &path.names, &shown.wildcards);
        parameters.query(binding);
        parameters.selection(binding);
        parameters.headers(binding, &marks);
        let parameters = parameters.list;

        let mut operation = Map::new();
        operation.insert("operationId".to_owned(), id.into());
        operation.insert("tags".to_owned(), json!([&*binding.method.service]));
        let text = text(schemas, binding);
        operation.insert("summary".to_owned(), comment::summary(&text).into());
        describe(&mut operation, Some(&text));
        if !parameters.is_empty() {
            operation.insert("parameters".to_owned(), parameters.into());
        }
        if !binding.body.is_empty() {
            let mut body = body(schemas, binding, &marks);
            if let Some(content) = body["content"].as_object_mut() {
                form::add(content, schemas, binding);
            }
            operation.insert("requestBody".to_owned(), body);
        }
        operation.insert("responses".to_owned(), answer::answers(schemas, binding));
        operation.insert("security".to_owned(), security(binding));
        let options = binding.descriptor.method_descriptor_proto().options.as_ref();
        if options.is_some_and(|options| options.deprecated()) {
            operation.insert("deprecated".to_owned(), true.into());
        }
        path.operations.insert(binding.binding.http_method().to_ascii_lowercase(), operation.into());
    }

    pub(super) fn into_paths(self) -> Map<String, Value> {
        self.paths.into_values().map(|path| (path.named, path.operations.into())).collect()
    }

    /// `LedgerService_GetBalance`, as generators of clients expect it; with a number for a method's further bindings, and with
    /// the whole name where two packages have a service of one name.
    fn id(&mut self, binding: &Described<'_>) -> String {
        let method = binding.method;
        let service = method.service.rsplit('.').next().unwrap_or_default();
        let full = method.service.replace('.', "_");
        let short = format!("{service}_{}", method.name);
        let candidates = std::iter::once(short)
            .chain((2..=9).map(|number| format!("{service}_{}_{number}", method.name)))
            .chain(std::iter::once(format!("{full}_{}", method.name)))
            .chain((2..).map(|number| format!("{full}_{}_{number}", method.name)));
        let free = candidates.into_iter().find(|id| !self.ids.contains(id)).unwrap_or_default();
        self.ids.insert(free.clone());
        free
    }
}

/// The RPC's comment, and which scopes it asks for.
fn text(schemas: &Schemas<'_>, binding: &Described<'_>) -> String {
    let descriptor = binding.descriptor;
    let comment =
        schemas.comments.of_descriptor(&descriptor.parent_service().parent_file(), descriptor.path());
    let mut text = comment.map_or_else(|| binding.method.name.to_string(), str::to_owned);
    let scopes: Vec<String> =
        binding.method.policy.any_scope.iter().map(|scope| format!("`{scope}`")).collect();
    if !scopes.is_empty() {
        text.push_str(&format!("\n\nScopes, one of: {}.", scopes.join(", ")));
    }
    if binding.binding.is_dialogue() {
        text.push_str(
            "\n\nOver HTTP/1.1 a WebSocket to this path carries the same messages both ways at once, one JSON object a text \
             frame; an empty text ends the request.",
        );
    }
    text
}

/// The credentials that will do. A list of requirements is a choice, and so are a policy's scopes.
fn security(binding: &Described<'_>) -> Value {
    let policy = &binding.method.policy;
    let mut choices = Vec::new();
    if policy.allow.anonymous {
        choices.push(json!({}));
    }
    let mut schemes = Vec::new();
    schemes.extend(policy.allow.subject.then_some(BEARER));
    schemes.extend(policy.allow.partner.then_some(MUTUAL_TLS));
    for scheme in schemes {
        if policy.any_scope.is_empty() {
            choices.push(json!({(scheme): []}));
        }
        choices.extend(policy.any_scope.iter().map(|scope| json!({(scheme): [scope]})));
    }
    choices.into()
}

fn body(schemas: &mut Schemas<'_>, binding: &Described<'_>, marks: &MarkedFields) -> Value {
    if binding.binding.request_is_http_body() {
        // No bytes are bytes too. The format is what generators of clients and pages with a file chooser look for.
        let bytes = json!({"schema": {"type": "string", "format": "binary"}});
        return json!({
            "description": "The bytes, with their media type.",
            "required": false,
            "content": {"application/octet-stream": bytes, "*/*": bytes},
        });
    }
    let input = binding.descriptor.input();
    let schema = match find(&input, binding.body) {
        Some(field) => schemas.field(&field),
        None => {
            let bound: Vec<&str> =
                binding.template.variables().iter().map(|variable| variable.field.as_str()).collect();
            if bound.is_empty() { schemas.message(&input) } else { schemas.object(&input, &bound) }
        }
    };
    // Every field may come with its default by being left out, but only a body of which nothing is left but what a header may say,
    // and options (flags, and what the contract calls optional), is one that a client would leave out whole.
    let said_elsewhere = |name: &str| {
        let marked = [&marks.request_id, &marks.etag, &marks.resume_position];
        marked.into_iter().any(|mark| mark.as_deref() == Some(name))
            || binding.template.variables().iter().any(|variable| variable.field == name)
    };
    if matches!(binding.binding.kind(), BindingKind::ClientStream | BindingKind::Bidi) {
        return json!({"required": true, "content": {
            "application/json": {"schema": {"type": "array", "items": schema}},
            "application/x-ndjson": {"schema": schema},
        }});
    }
    let is_option = |field: &FieldDescriptor| {
        let is_message = matches!(field.kind(), Kind::Message(_));
        !field.is_list() && (field.kind() == Kind::Bool || (field.supports_presence() && !is_message))
    };
    let dispensable = |field: FieldDescriptor| said_elsewhere(field.name()) || is_option(&field);
    let required = binding.body != "*" || !input.fields().all(dispensable);
    json!({"required": required, "content": {"application/json": {"schema": schema}}})
}
