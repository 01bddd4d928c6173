//! The parameters of an operation: what of the request message the path, the query and the headers fill, and in which spelling.

use prost_reflect::{FieldDescriptor, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::describe;
use super::path::Wildcard;
use super::schema::Schemas;
use crate::contract::{Described, MarkedFields};

/// How deep the query reaches into messages of messages. It may reach deeper than is worth a line each in a document.
const DEPTH_MAX: usize = 4;

/// The component of the parameter that asks for a part of the answer.
pub(super) const FIELDS: &str = "edge.v1.Fields";

/// The fields of the request message that are not in the body, and how they come in.
pub(super) struct Parameters<'s, 'a> {
    pub(super) schemas: &'s mut Schemas<'a>,
    pub(super) list: Vec<Value>,
}

impl Parameters<'_, '_> {
    /// One for each wildcard of the path.
    pub(super) fn path(&mut self, binding: &Described<'_>, names: &[String], wildcards: &[Wildcard]) {
        for (wildcard, name) in wildcards.iter().zip(names) {
            let field = wildcard.whole.as_deref().and_then(|path| find(&binding.descriptor.input(), path));
            let schema = match &field {
                Some(field) => self.schemas.field(field),
                None => json!({"type": "string"}),
            };
            let mut parameter = parameter("path", name, true, schema);
            let comment = field.as_ref().and_then(|field| self.comment(field));
            let deep = wildcard.deep.then(|| "Takes slashes along.".to_owned());
            let text: Vec<String> = comment.into_iter().chain(deep).collect();
            describe(&mut parameter, (!text.is_empty()).then(|| text.join("\n\n")).as_deref());
            self.list.push(parameter.into());
        }
    }

    /// One for each field that neither the path nor the body fills.
    pub(super) fn query(&mut self, binding: &Described<'_>) {
        if binding.body == "*" {
            return;
        }
        let mut taken: Vec<&str> =
            binding.template.variables().iter().map(|variable| variable.field.as_str()).collect();
        taken.extend(Some(binding.body).filter(|body| !body.is_empty()));
        let input = binding.descriptor.input();
        self.fields(&input, "", "", &taken, &mut vec![input.full_name().to_owned()]);
    }

    /// One for each field of a message that is not taken. `shown` and `path` are the way here in JSON and in proto names.
    pub(super) fn fields(
        &mut self,
        message: &MessageDescriptor,
        shown: &str,
        path: &str,
        taken: &[&str],
        way: &mut Vec<String>,
    ) {
        for field in message.fields() {
            let path = format!("{path}{}", field.name());
            let shown = format!("{shown}{}", self.schemas.name(&field));
            if taken.contains(&path.as_str()) {
                continue;
            }
            let kind = field.kind();
            let object = kind.as_message().filter(|_| !field.is_map());
            match object.filter(|message| super::well_known::message(message.full_name()).is_none()) {
                Some(inner) if field.is_list() || way.len() >= DEPTH_MAX => {
                    tracing::trace!(message = inner.full_name(), "no form in a query");
                }
                Some(inner) if way.iter().any(|name| name == inner.full_name()) => (),
                Some(inner) => {
                    way.push(inner.full_name().to_owned());
                    self.fields(inner, &format!("{shown}."), &format!("{path}."), taken, way);
                    way.pop();
                }
                None => self.query_field(&field, &shown),
            }
        }
    }

    fn query_field(&mut self, field: &FieldDescriptor, name: &str) {
        let kind = field.kind();
        let type_name = kind.as_message().map_or("", MessageDescriptor::full_name);
        if type_name == "google.protobuf.Any" {
            return;
        }
        let schema = self.schemas.field(field);
        let mut parameter = match type_name {
            "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue" => {
                let mut parameter = parameter("query", name, false, Value::Null);
                parameter.remove("schema");
                parameter.insert("content".to_owned(), json!({"application/json": {"schema": schema}}));
                parameter
            }
            _ => parameter("query", name, false, schema),
        };
        if field.is_map() {
            // `name[key]=value`
            parameter.insert("style".to_owned(), "deepObject".into());
            parameter.insert("explode".to_owned(), true.into());
        }
        let comment = self.comment(field);
        describe(&mut parameter, comment.as_deref());
        self.list.push(parameter.into());
    }

    /// The one that asks for a part of the answer, where the answer is JSON.
    pub(super) fn selection(&mut self, binding: &Described<'_>) {
        let binding = binding.binding;
        if !binding.response_is_http_body() && binding.success_status() != 204 {
            self.list.push(json!({"$ref": format!("#/components/parameters/{FIELDS}")}));
        }
    }

    /// Headers that fill fields.
    pub(super) fn headers(&mut self, binding: &Described<'_>, marks: &MarkedFields) {
        let headers = [
            (
                &marks.request_id,
                "Idempotency-Key",
                ", which then may not say otherwise: 1 to 64 printable ASCII characters, quoted or bare. The same key gets the same \
                 outcome, once.",
            ),
            (
                &marks.etag,
                "If-Match",
                ", which then may not say otherwise. The call is refused when the object has another entity tag.",
            ),
            (
                &marks.resume_position,
                "Last-Event-ID",
                ", whatever the query says. The stream goes on behind this position.",
            ),
        ];
        for (field, header, meaning) in headers {
            let Some(field) = field.as_deref().and_then(|name| find(&binding.descriptor.input(), name))
            else {
                continue;
            };
            let name = self.schemas.name(&field);
            self.header(header, &format!("Fills `{name}`{meaning}"));
        }
        if may_be_known(binding) {
            self.header("If-None-Match", "Entity tags of versions that the client has.");
        }
    }

    fn header(&mut self, name: &str, text: &str) {
        let mut parameter = parameter("header", name, false, json!({"type": "string"}));
        describe(&mut parameter, Some(text));
        self.list.push(parameter.into());
    }

    fn comment(&self, field: &FieldDescriptor) -> Option<String> {
        self.schemas.comments.of_descriptor(&field.parent_file(), field.path()).map(str::to_owned)
    }
}

/// Paths of fields, of all operations the same.
pub(super) fn fields() -> Value {
    json!({
        "name": "$fields",
        "in": "query",
        "description": "The fields of the answer that are wanted, as paths separated by commas: `a,b.c`. A path goes through lists \
            and behind a map to the fields of its values. Empty or `*`: all.",
        "schema": {"type": "string"},
        "example": "*",
    })
}

/// Whether an answer may be that the client has it already.
pub(super) fn may_be_known(binding: &Described<'_>) -> bool {
    binding.method.rest.etag && binding.binding.http_method() == "GET"
}

/// The field at the end of a path in proto names.
pub(super) fn find(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    match path.split_once('.') {
        None => message.get_field_by_name(path),
        Some((head, rest)) => find(message.get_field_by_name(head)?.kind().as_message()?, rest),
    }
}

fn parameter(place: &str, name: &str, required: bool, schema: Value) -> Map<String, Value> {
    let mut parameter = Map::new();
    parameter.insert("name".to_owned(), name.into());
    parameter.insert("in".to_owned(), place.into());
    if required {
        parameter.insert("required".to_owned(), true.into());
    }
    parameter.insert("schema".to_owned(), schema);
    parameter
}
